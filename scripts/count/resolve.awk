# SPDX-License-Identifier: GPL-2.0
# Instructions and calls per I/O, by function and by symbol, as lines of JSON. Reads, after layers.awk
# and the rules: the symbol of each address, what addr2line -afi says of it, and the slopes.

FILENAME ~ /symbols$/ {
	symbol_at[$1] = $2
	entry_at[$1] = $3
}

FILENAME ~ /inlined$/ {
	if ($0 ~ /^0x/) {
		address = substr($0, 3)
		address = substr("00000000", 1, 16 - length(address)) address
		depth_at[address] = 0
	} else if (++lines % 2) {
		function_at[address, ++depth_at[address]] = $1
	} else {
		file_at[address, depth_at[address]] = plain_file($0, tree)
	}
}

FILENAME ~ /slopes$/ {
	layer = layer_at($1, 1)
	name = function_at[$1, deciding]
	kind = "own"
	if (layer == "shared") {
		layer = $2 ~ /[1-9a-f]/ ? layer_at($2, 0) : layer_at($1, 0)
		kind = "called"
	}
	work[layer, name, kind] += $3

	symbol = symbol_at[$1]
	symbol_work[symbol] += $3
	if (!(symbol in symbol_layer))
		symbol_layer[symbol] = layer_of_symbol($1)
	if (entry_at[$1]) {
		symbol_calls[symbol] += $3
		calls[plain_name(symbol), layer] += $3
	}
}

END {
	for (key in work) {
		split(key, part, SUBSEP)
		printf "{\"function\":\"%s\",\"layer\":\"%s\",\"kind\":\"%s\",\"instructions\":%.9g}\n",
			part[2], part[1], part[3], work[key]
	}
	for (symbol in symbol_work)
		printf "{\"symbol\":\"%s\",\"layer\":\"%s\",\"instructions\":%.9g,\"calls\":%.9g}\n",
			symbol, symbol_layer[symbol], symbol_work[symbol], symbol_calls[symbol]
	for (key in calls) {
		split(key, part, SUBSEP)
		printf "{\"called\":\"%s\",\"layer\":\"%s\",\"calls\":%.9g}\n", part[1], part[2], calls[key]
	}
}

# The layer of an instruction by its chain of inlined functions; sets deciding, which of them decided.
# Where shared is 0, shared functions of the chain do not count, only what they are inlined in.
function layer_at(at, shared,   by_file, layer) {
	if (!depth_at[at])
		depth_at[at] = 1
	if (function_at[at, depth_at[at]] == "" || function_at[at, depth_at[at]] == "??")
		function_at[at, depth_at[at]] = plain_name(symbol_at[at])
	for (by_file = 0; by_file <= 1; by_file++) {
		for (deciding = 1; deciding <= depth_at[at]; deciding++) {
			layer = find_layer(by_file ? file_at[at, deciding] : function_at[at, deciding], by_file)
			if (layer != "" && (shared || layer != "shared"))
				return layer
		}
	}
	deciding = depth_at[at]
	return "rest"
}

function layer_of_symbol(at,   layer) {
	layer = find_layer(plain_name(symbol_at[at]), 0)
	if (layer == "")
		layer = find_layer(file_at[at, depth_at[at]], 1)
	return layer == "" ? "rest" : layer
}
