# SPDX-License-Identifier: GPL-2.0
# Pass the KTAP of one boot on, indented as subtests of another, and put its results into a table.
#
# Reads KTAP. Prints each line as soon as it is read, but diagnostics only of what failed and at the end, unless the
# variable verbose is 1. Appends each result to the file that the variable table names: passed, failed or skipped, name,
# why it was skipped, milliseconds; separated by tabs.
#
# A line less indented than the one before sums up its subtests, and counts only if it failed and none of them did.

function show(text) {
	printf "%s", text
	fflush()
}

!/^ *(not )?ok [0-9]+/ {
	if (/^ *#/ && verbose != 1)
		diagnostics = diagnostics "    " $0 "\n"
	else
		show("    " $0 "\n")
	next
}

{
	match($0, /^ */)
	summary = RLENGTH < depth
	depth = RLENGTH
	failed = $1 == "not"
	name = $0
	sub(/^ *(not )?ok [0-9]+ *(- *)?/, "", name)
	remark = name
	sub(/ *# .*/, "", name)
	remark = substr(remark, length(name) + 1)
	sub(/^ *# */, "", remark)
	skipped = !failed && sub(/^SKIP */, "", remark)
	if (!summary || (failed && !subtest_failed)) {
		printf "%s\t%s\t%s\t%d\n", failed ? "failed" : skipped ? "skipped" : "passed", name,
			skipped ? remark : "", skipped ? 0 : remark >>table
		fflush(table)
	}
	subtest_failed = summary && depth == 0 ? 0 : subtest_failed || failed
	show((failed ? diagnostics : "") "    " $0 "\n")
	diagnostics = ""
}

END {
	show(diagnostics)
}
