# SPDX-License-Identifier: GPL-2.0
# What scripts/bench/steps has counted, as Markdown tables, a step a row. Inputs are its documents.

def case($title; $topology; $memory; $size; $depth; $batch):
	{$title, key: {$topology, $memory, direction: "read", $size, $depth, $batch}};
def columns:
	case("own CMB, 4 KiB"; "own-cmb"; "p2p"; "4k"; 8; 1),
	case("own CMB, 64 KiB, by SGL"; "own-cmb"; "sgl"; "64k"; 8; 1),
	case("host, 4 KiB"; "own-cmb"; "host"; "4k"; 8; 1),
	case("64 KiB in 16 scattered pages, registered"; "own-cmb"; "scattered"; "64k"; 8; 1),
	case("VT-d strict, peer CMB, 64 KiB, batch 16"; "vtd-strict"; "p2p"; "64k"; 32; 16),
	case("VT-d strict, host, 4 KiB, batch 16, registered"; "vtd-strict"; "registered"; "4k"; 32; 16),
	case("virtio-iommu strict, peer CMB, 64 KiB, batch 16"; "viommu-strict"; "p2p"; "64k"; 32; 16);
def of($key): . as $case | $key | to_entries | all(.value == $case[.key]);
def row: "| " + join(" | ") + " |";

def figure($key; $field): [.cases[] | select(of($key)) | .[$field]][0];

# What changes by more than boots of one kernel differ by stands out.
def cells($field):
	. as $steps
	| range(length) as $i
	| [$steps[$i].step, $steps[$i].subject] + [columns as $column
		| ($steps[$i] | figure($column.key; $field)) as $now
		| (if $i > 0 then $steps[$i - 1] | figure($column.key; $field) else null end) as $before
		| if $now == null then "–"
			elif $before != null and ($now - $before | fabs) > 0.03 * $before then "**\($now | round)**"
			else $now | round | tostring end];
def table($field):
	(["step", "subject", (columns | .title)] | row),
	(["---", "---", (columns | "---")] | row),
	(cells($field) | row);

sort_by(.step | tonumber)
| "Instructions per read, counted on the kernel as of each step, one boot each. What differs from the row above by more than",
"3 percent is bold. A row has all that changed since the row above. Layers are those of the day of the count: [what differs",
"from the tables of today](../README.md).",
"",
"## Map + unmap",
"",
table("map_unmap"),
"",
"## Path",
"",
table("path")
