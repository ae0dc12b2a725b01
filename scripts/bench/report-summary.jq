# SPDX-License-Identifier: GPL-2.0
# The summary of a measured set, as Markdown.
# Reads the array that report-cases.jq prints; $environment[0] and $memory[0] are the JSON of the set.

def figure:
	if . == null then "-" elif fabs < 0.005 then 0 elif . >= 10 then round else . * 100 | round / 100 end
	| tostring;
def row: "| " + join(" | ") + " |";
def header: row, (map("---") | row);

# A table of all cases, a column for each of $kernels, the ratio of patched to stock, and the least where that is wanted.
def compare($kernels; figure_of; $least):
	("stock" | IN($kernels[])) as $ratio
	| (["case"] + $kernels + [if $ratio then "patched / stock" else empty end] + [if $least then "least" else empty end] | header),
	(group_by([.topology, .memory, .direction, .pages, .options, .batch, .depth])[]
		| . as $row
		| def of($kernel): $row | map(select(.kernel == $kernel) | figure_of) | first // null;
		of("stock") as $stock
		| of("patched") as $patched
		| [$row[0].title] + [$kernels[] as $kernel | of($kernel) | figure]
			+ [if $ratio then if $stock and $patched and $stock > 0 then $patched / $stock | figure else "-" end else empty end]
			+ [if $least then $row[0].least | figure else empty end]
		| row);

def calls:
	(["case", "kernel", "classifications", "map", "unmap", "IOTLB syncs", "pool allocations", "slab allocations",
		"doorbell batches", "single submissions", "completion batches", "interrupts"] | header),
	(.[]
		| [.title, .kernel] + ([.calls | .classification, .map, .unmap, .iotlb_sync, .pool_allocation, .slab_allocation,
			.submission_batch, .submission, .completion_batch, .interrupt] | map(figure))
		| row);

def memory_in_flight:
	(["memory", "kernel", "DMA pools", "kmalloc", "struct nvme_iod"] | header),
	([$memory[0][] | . as $of | .in_flight[] | . + {kernel: $of.kernel, iod: $of.iod}]
		| group_by([.memory, .size])[][]
		| ["\(.memory) \(.size)", .kernel, (.dma_pools, .kmalloc, .iod | figure)]
		| row);

def largest_transfer($kernels):
	(["memory"] + $kernels | header),
	("p2p", "contiguous", "scattered"
		| . as $name
		| [$name] + [$kernels[] as $kernel
			| $memory[0][]
			| select(.kernel == $kernel).largest[$name]
			| if . then . / 1024 else . end
			| figure]
		| row);

def how_far_apart:
	if all(.[]; .boots == 1) then
		"Each case was booted once."
	else
		"The largest difference between boots of the same kernel and case, the A/A null: map and unmap \(
		map(select(.boots > 1 and .map_unmap_repeats) | .map_unmap_apart) | max | figure) instructions, path \(
		map(select(.boots > 1 and .path_repeats) | .path_apart) | max | figure) instructions or \(
		map(select(.boots > 1 and .path_repeats) | 100 * .path_apart / .path) | max | figure) percent.\(
		map(select((.map_unmap_repeats and .path_repeats) | not)) | if . == [] then "" else
			" Boots of these lie further apart than half of their mean, or mapping their buffers once outweighs the I/Os, so that there is no figure: \(
			map("\(.kernel), \(.title)") | join("; "))." end)"
	end;

def origin:
	$environment[0]
	| (["", ""] | header),
	(["measured on", .date], ["commit", .commit] | row),
	(.programs | to_entries[] | [.key, .value] | row),
	(.kernels[]
		| ["kernel \(.kernel)",
			"\(.source), built from \(.made_from), configuration \(.configuration), \(.compiler), preemption \(.preemption)"]
		| row);

[$environment[0].kernels[].kernel] as $kernels
| "# Work per I/O\n",
"Made by `scripts/bench/report` from the JSON in this folder. Kernel instructions and calls are counted in the guest;",
"nothing here is a time, because the drive is emulated.\n",
"## DMA map and unmap, instructions per I/O\n",
"All that replaces the scatterlist, keeping classes of memory apart included. \"Least\" is the barest loop that",
"writes the same PRPs and page-table entries, compiled and counted the same way.\n",
compare($kernels; .map_unmap; true),
"\n## From system call to completion, instructions per I/O\n",
compare($kernels; .path; false),
"\n## Calls per I/O\n",
calls,
"\n## Memory per I/O in flight, bytes\n",
"DMA pools and kmalloc, as the slope between 8 and 40 I/Os held in flight; `struct nvme_iod` is part of every request.\n",
memory_in_flight,
"\n## Largest transfer in one command, KiB\n",
largest_transfer($kernels),
"\n## How far equal boots lie apart\n",
how_far_apart,
"\n## Where it comes from\n",
origin
