# SPDX-License-Identifier: GPL-2.0
# What one boot has counted: its cases as the matrix has them, each with its counts. Inputs are the documents of
# scripts/count/measure; $cases is what scripts/bench/cases prints, $key what the counts depend on.

($cases / "\n" | map(select(. != "") / " " | {key: "\(.[0]) \(.[3])", value: {
	topology: .[0], state: .[1], name: .[3], memory: .[4], direction: .[5], size: .[6], depth: .[7] | tonumber,
	batch: .[8] | tonumber, options: (.[9] // "")}}) | from_entries) as $known
| {key: $key, cases: map($known["\(.topology) \(.section)"] + {
	kernel, arguments, ios,
	path: .path.total, map_unmap: .map_unmap.total, map_unmap_class: .map_unmap_class.total,
	map_unmap_class_own: .map_unmap_class.own,
	layers: (.layers | map_values(.total)), calls: (.calls | map_values(.total)),
	functions: (.functions | map(select(.layer != "rest" and .instructions >= 0.5)) | group_by(.layer)
		| map({key: first.layer, value: (group_by(.function)
			| map({key: first.function, value: (map(.instructions) | add)}) | from_entries)})
		| from_entries)})}
