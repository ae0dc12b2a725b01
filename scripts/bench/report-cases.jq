# SPDX-License-Identifier: GPL-2.0
# One object for each case and kernel of a measured set: the mean of its boots, and how far they lie apart.
# Inputs are the counts of scripts/bench/run-matrix; $environment[0] is what they were counted in, and $bound[0] for each kernel
# what scripts/bench/bound counted. Prints one array, sorted by case and then in the order of the environment's kernels.

include "mapping";

def mean: add / length;
def apart: max - min;

# No figure give cases without a sound boot, and boots further apart than half of their mean.
def repeats: mean >= 2 * apart;

def pages: if endswith("m") then .[:-1] | tonumber * 256 elif endswith("k") then .[:-1] | tonumber / 4 else 1 end;

# The least that mapping can take; not known with bounce buffers or metadata.
def least:
	. as $case
	| (if .memory | test("^(p2p|sgl|(p2p|sgl)-registered|window.*|contiguous.*)$") then "range" else "pages" end) as $form
	| ((.size | pages) >= 8 and (.arguments | contains("sgl_threshold=0") | not)) as $sgl
	| (.memory | test("^window|(^|-)registered$|^scattered$")) as $mapped_before
	| (if (.topology | test("^(vtd|viommu|amd)")) and ($mapped_before | not) then "iova" elif $sgl then "sgl" else "prp" end) as $way
	# a list of PRPs is written when the buffer is mapped
	| (if .memory | test("(^|-)registered$|^scattered$") then [.size | pages, 2] | min else .size | pages end) as $pages
	| first($bound[0][]
		| select(.way == "\($form)-\($way)" and .pages == $pages and ($case.topology | contains(",") | not)).instructions)
		// null;

def title:
	"\(.topology), \(.memory) \(.direction) \(.size)"
	+ (if .depth != 8 then ", depth \(.depth)" else "" end)
	+ (if .batch != 1 then ", batch \(.batch)" else "" end)
	+ (if .options != "" then ", polled" else "" end);

# The mean of each member of an object that boots have, such as the calls of one function.
def mean_by_name(object):
	. as $boots
	| map(object | keys[])
	| unique
	| map(. as $name | {key: ., value: ($boots | map(object[$name] // 0) | mean)})
	| from_entries;

[$environment[0].kernels[].kernel] as $order
# Whether pages of host memory are neighbours is chance unless the case sees to it, so of the others take one page only.
| [inputs.cases[] | select((.size | pages) == 1 or (.memory | IN("host", "registered") | not))]
| group_by([.kernel, .topology, .name])
| map(. as $all
	| map(select(adds_up)) as $sound
	| (if $sound == [] then . else $sound end) as $boots
	| $boots[0]
	| del(.functions) + {
		boots: ($boots | length),
		pages: (.size | pages),
		least: least,
		map_unmap_repeats: ($sound != [] and ($all | map(.map_unmap_class) | repeats)),
		path_repeats: ($all | map(.path) | repeats),
		path: ($boots | map(.path) | mean),
		path_apart: ($all | map(.path) | apart),
		map_unmap: ($boots | map(.map_unmap_class) | mean),
		map_unmap_apart: ($all | map(.map_unmap_class) | apart),
		layers: ($boots | mean_by_name(.layers)),
		calls: ($boots | mean_by_name(.calls)),
		title: title
	}
	| if .map_unmap_repeats then . else .map_unmap = null end
	| if .path_repeats then . else .path = null end
	| .order = (.kernel as $kernel | $order | index($kernel)))
| sort_by([.topology, .memory, .direction, .pages, .options, .batch, .depth, .order])
