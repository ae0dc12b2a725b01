# SPDX-License-Identifier: GPL-2.0
# Bootstrap intervals of the ratio of two kernels, and of one kernel to itself.
#
# Reads lines of group, kernel and figure, in the order measured, separated by tabs. Prints for each group the second
# kernel's mean over the first's with its 95 percent interval, then the same of the first kernel's even runs over its odd
# ones: the A/A null. A generator of its own makes the intervals repeat with every awk.

BEGIN {
	FS = OFS = "\t"
	state = 20061
	resamples = 1000
}

{
	if (!($1 in known)) {
		known[$1]
		group[++groups] = $1
	}
	if (!arms++)
		first = $2
	kernel = $2 == first ? 1 : 2
	value[$1, kernel, ++runs[$1, kernel]] = $3
	if (kernel == 1) {
		half = runs[$1, 1] % 2 ? 3 : 4
		value[$1, half, ++runs[$1, half]] = $3
	}
}

END {
	for (i = 1; i <= groups; i++)
		print group[i], interval(group[i], 1, 2), interval(group[i], 3, 4)
}

function random(below) {
	state = state * 16807 % 2147483647
	return state % below
}

function mean(name, kernel, resample,   i, sum) {
	for (i = 1; i <= runs[name, kernel]; i++)
		sum += value[name, kernel, resample ? 1 + random(runs[name, kernel]) : i]
	return sum / runs[name, kernel]
}

function interval(name, below, above,   i, j, ratio, sorted) {
	for (i = 1; i <= resamples; i++) {
		ratio = mean(name, above, 1) / mean(name, below, 1)
		for (j = i - 1; j >= 1 && sorted[j] > ratio; j--)
			sorted[j + 1] = sorted[j]
		sorted[j + 1] = ratio
	}
	return sprintf("%.3f\t%.3f\t%.3f", mean(name, above, 0) / mean(name, below, 0),
		sorted[int(resamples * 0.025)], sorted[int(resamples * 0.975)])
}
