# SPDX-License-Identifier: GPL-2.0
# Which layer a function or a source file is of, by the rules of the file "layers".

FILENAME ~ /layers$/ {
	if (NF && $0 !~ /^#/) {
		rule_layer[++rules] = $1
		rule_by_file[rules] = $2 ~ /\//
		gsub(/[.+]/, "\\\\&", $2)
		gsub(/\*/, ".*", $2)
		rule[rules] = "^" $2 "$"
	}
	next
}

# The layer of a function (by_file 0) or of a source file (by_file 1), "" if no rule fits.
function find_layer(text, by_file,   key, i) {
	key = text SUBSEP by_file
	if (!(key in known_layer)) {
		known_layer[key] = ""
		for (i = 1; i <= rules; i++) {
			if (rule_by_file[i] == by_file && text ~ rule[i]) {
				known_layer[key] = rule_layer[i]
				break
			}
		}
	}
	return known_layer[key]
}

# A symbol's name as the source has it.
function plain_name(symbol) {
	sub(/\.(constprop|isra|part|cold|lto_priv).*/, "", symbol)
	return symbol
}

# A source file of the kernel tree, from a line of addr2line and the tree's place. An object that
# ccache compiled for another tree names that one, but is relative to a folder within it.
function plain_file(line, tree) {
	sub(/:[0-9?]+( \(discriminator [0-9]+\))?$/, "", line)
	if (index(line, tree) == 1)
		return substr(line, length(tree) + 1)
	if (index(line, "/../"))
		return substr(line, index(line, "/../") + 4)
	return line
}
