# What was counted for each I/O: in all, by layer, by function, and calls by name. $found has a line of resolve.awk each.
def rounded: . * 10000 | round / 10000;
def sum: add // 0 | rounded;
def by(group; figure): group_by(group) | map({key: first | group, value: map(figure) | sum}) | from_entries;
def work: {
	own: map(select(.kind == "own").instructions) | sum,
	called: map(select(.kind == "called").instructions) | sum,
	total: map(.instructions) | sum
};
($found | map(select(.function))) as $functions
| ($found | map(select(.symbol))) as $symbols
| ($found | map(select(.called))) as $calls
| ($calls | by(.called; .calls)) as $calls_of
| {
	ios: ($ios | split(",") | map(tonumber)),
	path: ($functions | map(select(.layer != "rest")) | work),
	map_unmap: ($functions | map(select(.layer | IN("dma", "iommu", "virtio"))) | work),
	map_unmap_class: ($functions | map(select(.layer | IN("class", "dma", "iommu", "virtio"))) | work),
	layers: ($functions | group_by(.layer) | map({key: first.layer, value: work}) | from_entries),
	user: ($user | rounded),
	calls: ($names | group_by(.name)
		| map({
			key: first.name,
			value: (map(.functions | max_by($calls_of[.] // 0)) as $of | $calls | map(select(.called | IN($of[])))
				| {total: map(.calls) | sum} + by(.layer; .calls))
		}) | from_entries),
	functions: ($functions
		| map(.instructions |= rounded | select(.instructions != 0) | .calls = $calls_of[.function])
		| sort_by(-.instructions)),
	symbols: ($symbols
		| map(.instructions |= rounded | .calls |= rounded | select(.instructions != 0))
		| sort_by(-.instructions))
}
