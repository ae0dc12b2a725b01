# SPDX-License-Identifier: GPL-2.0
# What the KTAP of one boot says the tests did: faults, removals, timeouts, cells of the matrix, random operations, and
# leaks found. Reads the KTAP; the variable kernel is the kernel booted. Prints a JSON object for each.

function fact(kind, name, topology, count, more) {
	printf "{\"fact\":\"%s\",\"kernel\":\"%s\",\"name\":\"%s\",\"topology\":\"%s\",\"count\":%d%s}\n",
		kind, kernel, name, topology, count, more
}

$1 != "#" { next }
$2 == "faults" && NF == 5 { fact("fault", $4, $3, $5) }
$2 == "removals" && NF == 7 { fact("removal", $6 ", " $4, $3, $7) }
$2 == "timeouts" && NF == 5 { fact("timeout", $4, $3, $5) }
$2 == "cells" && NF == 11 { fact("cells", "matrix", $3, $4, ",\"impossible\":" $6) }
$2 ~ /^\{"seed":[0-9]*,"operations":/ {
	match($2, /"operations":[0-9]*/)
	fact("operations", "random", "", substr($2, RSTART + 13, RLENGTH - 13))
}
/ in use after it: |unreferenced object/ { fact("leak", $0, "", 1) }
