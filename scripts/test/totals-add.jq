# SPDX-License-Identifier: GPL-2.0
# The boots of a set that is run in parts: those run now, $boots, and those of $before that stand beside them.

def emulator: .of[0] // "" | sub(".*, "; "");
def made_from: .of[1:];

($boots | map(.of[0])) as $again
| ($boots | map(emulator)) as $emulators
| ($boots | map({key: .kernel, value: made_from}) | from_entries) as $now
| ($before[]
	| select(emulator | IN($emulators[]))
	| select(.of[0] | IN($again[]) | not)
	| select(made_from == ($now[.kernel] // made_from))),
$boots[]
