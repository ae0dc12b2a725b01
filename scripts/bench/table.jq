# SPDX-License-Identifier: GPL-2.0
# The counts of a measured set as a Markdown table, the kernels of a case beside each other.
# Inputs are the counts of scripts/bench/run-matrix; $base names the source that the kernels are made from.

def mean: add / length;
def figure: if . >= 10 then round else . * 100 | round / 100 end | tostring;
def row: "| " + join(" | ") + " |";

def title:
	"\(.topology), \(.memory), \(.size | ascii_upcase | sub("K$"; " KiB") | sub("M$"; " MiB"))\(
		if .batch > 1 then ", batch \(.batch)" else "" end)";

# What one kernel takes for a case, from its boots.
def cell:
	if . == [] then "–" else
		"\(map(.map_unmap_class) | mean | figure) (\(map(.calls.iotlb_sync // 0) | mean | figure)), \(
			map(.path) | mean | figure)"
	end;

def how_far_apart:
	group_by([.kernel, .topology, .name])
	| if all(length == 1) then "Each case was booted once." else
		"Equal boots lie apart by at most \(
			map(map(.map_unmap_class) | max - min) | max | figure) instructions of map and unmap, \(
			map(map(.path) | 100 * (max - min) / max) | max | figure) percent of the path."
	end;

[inputs.cases[] | .kernel |= sub("-arm64$"; "")]
| (map(.kernel) | unique | sort_by(startswith("patched"))) as $kernels
| "Kernels of \($base). In a cell: instructions of map and unmap (IOTLB syncs), instructions of the path.",
"",
(["per I/O"] + $kernels | row),
(["---"] + ($kernels | map("---")) | row),
(group_by([.topology, .memory, (.size | sub("k$"; "000") | sub("m$"; "000000") | tonumber), .batch])[]
	| [.[0] | title] + [$kernels[] as $kernel | map(select(.kernel == $kernel)) | cell]
	| row),
"",
how_far_apart
