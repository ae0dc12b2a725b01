# SPDX-License-Identifier: GPL-2.0
# Compare the medians of a kernel, $now[0], with those of the baseline, $baseline[0]; both are of gate-medians.jq.
# Prints KTAP.

# By what factor instructions of a kind may grow: a quarter more than equal boots of the case lay apart, but at least as
# far as boots of any case may lie apart, since completions share interrupts by chance; of mapping, also at least by 8
# instructions, which matters to a case that takes a hundred.
def allowed($old; kind):
	1 + ([1.25 * $old.apart[kind],
		{map_unmap: 0.02, path: 0.05}[kind],
		if kind == "map_unmap" then 8 / $old.map_unmap else 0 end] | max);

# What the baseline would take if its I/Os completed in this many batches.
def expected($old; $batches; kind): $old[kind] + ($batches - $old.batches) * $old.batch_cost[kind];

def more_calls($old; $new):
	$old.calls | to_entries[]
	| select($new.calls[.key] > .value + 0.15)
	| "#   \(.key): \($new.calls[.key]) per I/O, \(.value) in the baseline";

def more_instructions($old; $new):
	("map_unmap", "path")
	| expected($old; [$old.batches, $new.batches] | max; .) as $expected
	| select($new[.] > $expected * allowed($old; .))
	| "#   \(.): \($new[.]) instructions in \($new.batches) batches per I/O, \($expected | round) in the baseline";

def grown_functions($old; $new):
	[$new.functions | to_entries[]
		| {key, by: (.value - ($old.functions[.key] // 0))} | select(.by > 2)]
	| sort_by(-.by)[:8][]
	| "#   \(.key) grew by \(.by * 10 | round / 10)";

def fewer_instructions($old; $new):
	select($new.map_unmap < 0.98 * expected($old; [$old.batches, $new.batches] | min; "map_unmap"))
	| "#   map_unmap fell from \($old.map_unmap) to \($new.map_unmap): make the baseline anew with -u";

$baseline[0] as $before
| $now[0] as $now
| ($before.environment == $now.environment) as $comparable
| "KTAP version 1",
"1..\($before.cases | length)",
(if $comparable then empty else "# instructions are not compared, the baseline is of \($before.environment | tojson)" end),
($before.cases | to_entries[]
	| .value as $old
	| "\(.key + 1) \($old.topology), \($old.name)" as $title
	| first($now.cases[] | select(.topology == $old.topology and .name == $old.name)) // null
	| . as $new
	| if $new == null then
		"not ok \($title) # was not counted"
	else
		[more_calls($old; $new), (select($comparable) | more_instructions($old; $new))] as $worse
		| if $worse == [] then
			(select($comparable) | fewer_instructions($old; $new)), "ok \($title)"
		else
			$worse[], grown_functions($old; $new), "not ok \($title)"
		end
	end)
