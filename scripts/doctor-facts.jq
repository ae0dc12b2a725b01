# SPDX-License-Identifier: GPL-2.0
# The lines that scripts/doctor collects, LIST and NAME=TEXT or NAME:=JSON apart by 0x1f, as one object of lists.
def pairs:
	map(capture("^(?<name>[^:=]+)(?<raw>:?)=(?<value>.*)$")
		| (if .raw == ":" then .value | fromjson else .value end) as $value
		| if .name == "*" then $value else {(.name): $value} end)
	| add;

reduce (inputs | select(. != "") / "\u001f") as $line
	({kernel: null, processor: null, iommu: null, limits: null, controllers: [], providers: [], exporters: [], drives: [], pairs: [],
		verified: [], obstacles: [], notes: []};
	($line[1:] | pairs) as $fact
	| if .[$line[0]] | type == "array" then .[$line[0]] += [$fact] else .[$line[0]] = $fact end)
| .exit_status = $status
