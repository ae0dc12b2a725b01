#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
# Print the commands of README.md, one a line: "here" or "drive", a tab, the command. Those in a block that opens with
# ```sh run anywhere, those in ```sh drive want an NVMe drive with a CMB, and those in ```sh WORD are WORD's: what has
# tests of its own, or needs what is rare. Any other block holds no commands: a line in one that looks like a command is
# printed as "unmarked".
/^```/ {
	where = where ? "" : $0 == "```sh" ? "here" : $1 == "```sh" ? $2 : "unmarked"
	next
}
where == "unmarked" && !/^(make|git|fio|eval|for|sudo|apt|scripts\/[a-z\/-]*) / { next }
where && !/^ *(#|$)/ {
	joined = joined $0
	if (sub(/\\$/, "", joined))
		next
	sub(/ +#.*/, "", joined)
	print where "\t" joined
	joined = ""
}
