# SPDX-License-Identifier: GPL-2.0
# Fill in the cover letter of git format-patch: the first line of the file that the variable text names is the subject, the
# rest the text.

(place = index($0, "*** SUBJECT HERE ***")) {
	getline line <text
	$0 = substr($0, 1, place - 1) line
}
/^\*\*\* BLURB HERE \*\*\*$/ {
	getline line <text
	while ((getline line <text) > 0)
		print line
	next
}
{ print }
