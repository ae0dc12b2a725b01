# SPDX-License-Identifier: GPL-2.0
# The totals of what was tried, as one object.
# $boots[0] are the results that scripts/test/boot left, $facts[0] what totals-facts.awk found in their KTAP, $mutants[0]
# how many mutants of how many were killed, or null, $versions[0] the kernel versions built and booted; $base and $qemu
# name the base of the series and the emulator.

def of($kind): $facts[0] | map(select(.fact == $kind));
def results($result): map(.cases[] | select(.result == $result)) | length;
def total: map(.count) | add;

{
	environment: {$base, $qemu},
	cases: ($boots[0] | group_by(.kernel) | map({
		kernel: .[0].kernel,
		boots: length,
		passed: results("passed"),
		failed: results("failed"),
		skipped: results("skipped")
	})),
	left_out: ($boots[0] | map(.cases[] | select(.result == "skipped")) | group_by(.reason) | map({
		reason: .[0].reason,
		times: length,
		cases: (map(.name | if startswith("nvme/") then sub(" .*"; "") else . end) | unique)
	}) | sort_by(-.times, .reason)),
	matrix: (of("cells") | group_by([.kernel, .topology]) | map({
		kernel: .[0].kernel,
		topology: .[0].topology,
		combinations: (map(.count) | max),
		impossible: (map(.impossible) | min)
	})),
	faults: (of("fault") | group_by(.name) | map({
		function: .[0].name,
		injected: total,
		topologies: (map(.topology) | unique)
	})),
	removals: (of("removal") | group_by([.kernel, .name]) | map({
		kernel: .[0].kernel,
		what: .[0].name,
		survived: total
	})),
	timeouts: (of("timeout") | group_by([.kernel, .name]) | map({
		kernel: .[0].kernel,
		what: .[0].name,
		resets: total
	})),
	random_operations: (of("operations") | total // 0),
	mutants: $mutants[0],
	versions: $versions[0],
	leaks: (of("leak") | length)
}
