# SPDX-License-Identifier: GPL-2.0
# What totals needs of one boot. The input is what totals-facts.awk found in its KTAP, $boot[0] what scripts/test/boot left,
# $of what scripts/test/suite wrote down of what it was.

def results($result): $boot[0].cases | map(select(.result == $result)) | length;

{
	of: ($of / "\n" | map(select(. != ""))),
	kernel: $boot[0].kernel,
	topology: $boot[0].topology,
	seconds: $boot[0].seconds,
	passed: results("passed"),
	failed: results("failed"),
	skipped: results("skipped"),
	facts: (group_by([.fact, .name, .topology]) | map(.[0] + {count: (map(.count) | add)}))
}
