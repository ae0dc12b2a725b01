# SPDX-License-Identifier: GPL-2.0
# Print a text with what it quotes as the quoted files have it now; see scripts/bench/quote.

/^<!-- end -->$/ { quoting = 0 }
!quoting
/^<!-- results\/.* -->$/ {
	quoting = 1
	while ((got = (getline line <$2)) > 0)
		print line
	if (got < 0) {
		print "bench/quote: cannot read " $2 >"/dev/stderr"
		exit 1
	}
}
