# SPDX-License-Identifier: GPL-2.0
# The address ranges of functions that scripts/count/layers calls shared. Reads the files layers, symbols (address and
# name) and lines (of addr2line, for each symbol); needs layers.awk. The variable tree is where the kernel was compiled.

FILENAME ~ /symbols$/ {
	start[++symbols] = $1
	name[symbols] = plain_name($2)
}
FILENAME ~ /lines$/ {
	if ($0 ~ /^0x/)
		current++
	else
		file[current] = plain_file($0, tree)
}
END {
	for (i = 1; i < symbols; i++) {
		layer = find_layer(name[i], 0)
		if (layer == "")
			layer = find_layer(file[i], 1)
		if (layer == "shared")
			print start[i], start[i + 1]
	}
}
