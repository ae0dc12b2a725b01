# SPDX-License-Identifier: GPL-2.0
# Which tests have passed where, as a Markdown table: a row for each topology and page size, a column for each kind of tests.
# $boots are the results that scripts/test/boot left. $kinds has a line for each kind: its name, tab, its cases separated
# by spaces; $places has one for each topology: its name, tab, what it is.

def lines: split("\n")[] | select(. != "") | split("\t");
def pages: if .kernel | endswith("64k") then "64 KiB" else "4 KiB" end;

def cell:
	(map(select(.result == "passed")) | length) as $passed
	| (map(select(.result == "failed")) | length) as $failed
	| if $passed + $failed == 0 then "–" elif $failed > 0 then "\($passed), **\($failed) failed**" else "\($passed)" end;

# The results in kernels of the series.
def results:
	$boots
	| map(select(.kernel | test("^(patched|debug)"))
		| . as $boot
		| .cases[]
		| {
			topology: ($boot.topology | split(",")[0]),
			kernel: $boot.kernel,
			result,
			case: (if .name | startswith("nvme/") then .name[5:8] else "kunit" end)
		});

[$kinds | lines | {name: .[0], cases: (.[1] | split(" "))}] as $kinds
| results as $all
| "| topology | pages | \($kinds | map(.name) | join(" | ")) |",
"|---|---|\($kinds | map("---|") | add)",
($places | lines | .[0] as $name
	| $all
	| map(select(.topology == $name))
	| group_by(pages)[]
	| . as $here
	| "| \($name) | \(.[0] | pages) | \($kinds
		| map(.cases as $cases | $here | map(select(.case | IN($cases[]))) | cell)
		| join(" | ")) |")
