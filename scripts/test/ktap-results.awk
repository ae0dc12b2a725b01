# SPDX-License-Identifier: GPL-2.0
# The results of tests that the KTAP of one boot holds.
# Reads the KTAP. Prints for each test: its name, as a mutant's line "Caught-by" has it; tab; ok, not ok or skip. KUnit
# tests in modules come as output of their case, before its own result.

function result() {
	return $1 == "not" ? "not ok" : / # SKIP/ ? "skip" : "ok"
}

/^    # Subtest: / { suite = $3 }

/^#  +(not )?ok [0-9]+ [A-Za-z_0-9]+/ {
	sub(/^# +/, "")
	inner[++count] = $($1 == "not" ? 4 : 3) "\t" result()
	next
}

/^(not )?ok .* nvme\/[0-9]/ {
	match($0, /nvme\/[0-9]+/)
	name = substr($0, RSTART + 5, RLENGTH - 5)
	print name "\t" result()
	for (i = 1; i <= count; i++)
		print name "/" inner[i]
	count = 0
}

/^    (not )?ok / { print suite "." $($1 == "not" ? 4 : 3) "\t" result() }
