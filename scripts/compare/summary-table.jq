# SPDX-License-Identifier: GPL-2.0
# The summary that scripts/compare/summary writes, as a table of text: a row for each case and kernel, and a line for each
# kernel.

def right(n): tostring | if length < n then " " * (n - length) + . else . end;
def left(n): tostring | if length < n then . + " " * (n - length) else . end;
def row:
	"\(.[0] | left(34))\(.[1] | left(10))\(.[2] | right(6))\(.[3] | right(10))\(.[4] | right(10))\(
		.[5] | right(13))\(.[6] | right(8))";

def in_order: reduce .[] as $case ([]; if any(.[]; . == $case) then . else . + [$case] end);

def cases:
	[.kernels[] | .kernel as $kernel | .cases[] | {$kernel} + .] as $all
	| (["", "", "", "", "", "instructions", "per I/O"] | row),
	(["case", "kernel", "I/Os", "verified", "errors", "map + unmap", "path"] | row),
	($all
		| map(.case)
		| in_order[] as $case
		| $all[]
		| select(.case == $case)
		| [.case, .kernel, .ios, .verified // "-", if .error == 0 then "0" else "errno \(.error)" end,
			(.instructions | if . then (.map_unmap, .path | round) else "-", "-" end)]
		| row),
	"",
	"The drive is emulated: map + unmap repeats to a few instructions, the path, from system call to completion, to a few percent.";

def kernel:
	"\(.kernel): \([.release | select(. != "") | "Linux \(.)", ""] | join(" "))on \(.topology)\(
		if .status == 0 then "" else ", failed with status \(.status)" end)";

(select(any(.kernels[].cases[]; true)) | cases),
(.kernels[] | kernel)
