# SPDX-License-Identifier: GPL-2.0
# The cases of scripts/bench/targets as a table, one column a kernel and then those named as arguments.
# Reads the array that report-cases.jq prints; $targets is the text of that file, $environment[0] the JSON of the set,
# $figure the figure to show: map_unmap or path.

def row: "| " + join(" | ") + " |";
def whole: if . == null then "-" else round | tostring end;

# Each case that is there: { target, title, of }, where "of" has the case on each kernel.
def cases:
	. as $all
	| $targets
	| split("\n")[]
	| select(test("^[^#]"))
	| split("; *"; null) as [$topology, $memory, $size, $depth, $batch, $map_unmap, $path, $title]
	| {target: {$map_unmap, $path}[$figure], $title, of: [$all[] | select(.topology == $topology and .memory == $memory and .size == $size
		and .depth == ($depth | tonumber) and .batch == ($batch | tonumber) and .direction == "read" and .options == "")]}
	| select(.of != []);

$ARGS.positional as $columns
| $environment[0] as $set
| [$set.kernels[].kernel] as $kernels
| [cases] as $cases
| (["instructions per I/O"] + $kernels + $columns | row, (map("---") | row)),
($cases[]
	| . as $case
	| [.title] + [$kernels[] as $kernel | $case.of | map(select(.kernel == $kernel)[$figure]) | first | whole
		| if $kernel == "patched" then "**\(.)**" else . end]
		+ [$columns[] | if . == "target" then $case.target else $case.of[0][.] | whole end]
	| row),
([$cases[] | .title as $title | .of[] | select(.boots > 1 and .[$figure] > 0)
		| {apart: .[$figure + "_apart"], percent: (100 * .[$figure + "_apart"] / .[$figure]), which: "\($title), \(.kernel)"}]
	| "",
	"Counted as of commit \($set.commit[:7]), on \($set.date), in \($set.programs.qemu | sub(" emulator version"; "") | sub(" \\(.*"; "")).",
	if . == [] then empty else
		max_by(.apart) as $most | max_by(.percent) as $worst
		| "Between equal boots these differ by at most \($most.apart | whole) instructions"
			+ if $most.which == $worst.which then ", \($worst.percent | whole) percent (\($most.which))."
			else " (\($most.which)), and by at most \($worst.percent | whole) percent (\($worst.which), \($worst.apart | whole))."
			end
	end)
