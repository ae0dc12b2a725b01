# SPDX-License-Identifier: GPL-2.0
# The cases of scripts/bench/matrix, one a line: topology, state, I/Os, name, memory, direction, size, depth, batch, options.
# With set=quick not those that are "full"; with topologies="..." of these alone.

# A few large transfers tell as much as many, and each takes long under emulation.
function ios_of(size) { return size ~ /^(256|512)k$|m$/ ? 32 : 192 }

BEGIN { split(topologies, list, " "); for (i in list) { wanted[list[i]]; chosen = 1 } }
/^#/ || !NF || ($1 == "full" && set == "quick") || (chosen && !($2 in wanted)) { next }
{
	sizes = split($5, size, ",")
	depths = split($6, depth, ",")
	batches = split($7, batch, ",")
	state = $3
	sub(/-(un)?registered$/, "", state)
	if (state !~ /^(scattered|contiguous|sgl|window|window-sgl)$/)
		state = $8 ~ /hipri/ ? "polled" : "plain"
	for (s = 1; s <= sizes; s++) for (d = 1; d <= depths; d++) for (b = 1; b <= batches; b++) {
		deep = depth[d] < 2 * batch[b] && batch[b] > 1 ? 2 * batch[b] : depth[d]
		name = $3 "-" $4 "-" size[s] "-depth-" deep "-batch-" batch[b] ($8 == "" ? "" : "-polled")
		if (!(($2, name) in seen))
			print $2, state, ios_of(size[s]), name, $3, $4, size[s], deep, batch[b], $8
		seen[$2, name]
	}
}
