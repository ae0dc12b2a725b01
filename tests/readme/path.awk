# SPDX-License-Identifier: GPL-2.0
# The table of a read's path in README.md: for each line the functions, as one pattern, and after a tab its patches, each
# with its folder.

NR > 2 && NF {
	layer = functions = patches = ""
	for (rest = $2; match(rest, /`[A-Za-z_0-9]+\(\)`/); rest = substr(rest, RSTART + RLENGTH))
		functions = functions (functions ? "|" : "") substr(rest, RSTART + 1, RLENGTH - 4)
	n = split($4, list, ", ")
	for (i = 1; i <= n; i++) {
		if (list[i] ~ "/") layer = substr(list[i], 1, index(list[i], "/"))
		else list[i] = layer list[i]
		patches = patches " " list[i]
	}
	print functions "\t" patches
}
