# SPDX-License-Identifier: GPL-2.0
# One line for each case of all boots: medians, what a batch of completions costs, and how far boots lie apart.
# Inputs are the counts of scripts/bench/run-matrix; $environment[0] is what they were counted in.

def mean: add / length;
def median: sort | (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2;
def tenth: . * 10 | round / 10 + 0;

# The largest distance of a boot from the median, as a share of it.
def apart:
	median as $middle
	| if $middle > 0 then (map(. - $middle | fabs) | max) / $middle else 0 end;

def batches: .calls.completion_batch // 0;

# Least squares: by how much the field grows if each I/O takes one batch more, at least 0.
def slope(field):
	if . == [] then 0 else
		(map(batches) | mean) as $x
		| (map(field) | mean) as $y
		| (map((batches - $x) * (batches - $x)) | add) as $square
		| if $square == 0 then 0 else [(map((batches - $x) * (field - $y)) | add) / $square, 0] | max end
	end;

def slopes: {map_unmap: slope(.map_unmap_class_own), path: slope(.path)};

# What a batch of completions costs in one topology, from the cases of each memory and size that also has a case of depth
# 1, where each I/O is a batch. Cases that submit several I/Os together are left out, as that alone makes them cheaper.
def topology_batch_cost:
	map(select(.depth == 1) | [.memory, .direction, .size]) as $alike
	| map(select(.batch == 1 and ([.memory, .direction, .size] | IN($alike[]))))
	| slopes;

# What a batch costs in one case: what it costs in the topology, or more if boots of the case say so. They are asked only
# if their batches differ enough.
def batch_cost($topology):
	(if (map(batches) | max - min) < 0.2 then {} else slopes end) as $own
	| $topology
	| with_entries(.value = ([.value, $own[.key] // 0] | max | tenth));

# Calls per I/O. Each batch of completions has one sync; iotlb_sync_alone counts those beyond that.
def calls:
	map(.calls | .iotlb_sync_alone = ([(.iotlb_sync // 0) - .completion_batch, 0] | max)) as $calls
	| ["classification", "iotlb_sync_alone", "pool_allocation", "slab_allocation", "iova_allocation"]
	| map({key: ., value: (. as $call | $calls | map(.[$call] // 0) | median | tenth)})
	| from_entries;

# Functions of one boot, of every layer, that take at least three instructions per I/O.
def functions:
	[.functions[] | to_entries[]]
	| group_by(.key)
	| map({key: first.key, value: (map(.value) | add | tenth)} | select(.value >= 3))
	| from_entries;

[inputs.cases[]]
| (group_by(.topology) | map({key: first.topology, value: topology_batch_cost}) | from_entries) as $topology_cost
| group_by([.topology, .name])
| {
	environment: $environment[0],
	boots: (map(length) | min),
	cases: map(
		. as $boots
		| first as $first
		| batch_cost($topology_cost[$first.topology]) as $cost
		| {
			topology: $first.topology,
			name: $first.name,
			batches: (map(batches) | median * 1000 | round / 1000),
			batch_cost: $cost,
			map_unmap: (map(.map_unmap_class_own) | median | tenth),
			path: (map(.path) | median | tenth),
			apart: {
				map_unmap: (map(.map_unmap_class_own - batches * $cost.map_unmap) | apart),
				path: (map(.path - batches * $cost.path) | apart)
			},
			calls: calls,
			functions: ($first | functions)
		})
}
