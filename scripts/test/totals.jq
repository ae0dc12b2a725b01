# SPDX-License-Identifier: GPL-2.0
# The totals of what was tried, as one object.
# $boots are what totals-boot.jq printed, $mutants[0] how many mutants of how many were killed, or null, $versions[0] the
# kernel versions built and booted; $base and $qemu name the base of the series and the emulator.

def of($kind): $boots | map(.facts[] | select(.fact == $kind));
def total: map(.count) | add;

{
	environment: {$base, $qemu},
	cases: ($boots | group_by(.kernel) | map({
		kernel: .[0].kernel,
		boots: length,
		passed: (map(.passed) | add),
		failed: (map(.failed) | add),
		skipped: (map(.skipped) | add)
	})),
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
	leaks: (of("leak") | total // 0)
}
