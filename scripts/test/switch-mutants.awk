# SPDX-License-Identifier: GPL-2.0
# Put functions as mutants have them beside those of one kernel source file.
#
# Arguments: PLAN FILE. FILE is the source file as it is. Each line of PLAN is: number of a mutant, tab, FILE as that
# mutant has it, tab, what diff says of the two. Prints FILE with a copy of each function that a mutant changes, which
# the function calls if that mutant is chosen. Says why on stderr and exits with 1 where a mutant changes something
# else: a struct, a macro, an initialiser, what a function takes and returns.
#
# The kernel's style tells what a function is: its braces stand alone in the first column, and what is before the
# first of them, back to an empty line or the end of another thing, is its head.

function die(message) {
	print FILE ": " message >"/dev/stderr"
	failed = 1
	exit 1
}

# Finds all functions: first[], body[] and last[] line of each; nr_functions.
function find_functions(	i, j, open) {
	for (i = 1; i <= nr; i++) {
		if (base[i] == "{") {
			open = i
		} else if (base[i] == "}" && open) {
			for (j = open; j > 1 && base[j - 1] !~ /^$|[;}]$|\*\/$|^#|\\$/; j--)
				;
			nr_functions++
			first[nr_functions] = j
			body[nr_functions] = open
			last[nr_functions] = i
			open = 0
		} else if (base[i] ~ /^[^ \t#\/]/ && base[i] ~ /\{$/) {
			open = 0
		}
	}
}

# The function in whose body lines FROM to TO are, or between which two lines something is to be put in.
function function_of(from, to, inserted,	f) {
	for (f = 1; f <= nr_functions; f++)
		if (from > body[f] - inserted && to < last[f])
			return f
	return 0
}

# Splits the head of function F: before[F] its name, name[F], after[F] it; and finds parameters[F]. Each word in front
# of parentheses could be the name, but for those that have attributes in them.
function take_head(f,	head, i, c, depth, start, list, n, parts, passed) {
	for (i = first[f]; i < body[f]; i++)
		head = head base[i] "\n"
	start = 0
	while (match(substr(head, start + 1), /[A-Za-z_][A-Za-z_0-9]*\(/)) {
		name[f] = substr(head, start + RSTART, RLENGTH - 1)
		before[f] = substr(head, 1, start + RSTART - 1)
		start += RSTART + RLENGTH - 1
		depth = 1
		for (i = start + 1; depth && i <= length(head); i++) {
			c = substr(head, i, 1)
			depth += c == "(" ? 1 : c == ")" ? -1 : 0
		}
		if (name[f] !~ /^__(attribute__|printf|scanf|section|aligned|alloc_size|malloc|bos)$/)
			break
		start = i - 1
		name[f] = ""
	}
	if (name[f] == "" || depth)
		die("line " first[f] " begins no function that can be called")
	after[f] = substr(head, start)
	list = substr(head, start + 1, i - start - 2)

	# commas between parameters, not those within one
	n = 0
	depth = 0
	parts[1] = ""
	for (i = 1; i <= length(list); i++) {
		c = substr(list, i, 1)
		depth += c == "(" ? 1 : c == ")" ? -1 : 0
		if (c == "," && !depth)
			parts[++n + 1] = ""
		else
			parts[n + 1] = parts[n + 1] c
	}
	passed = ""
	for (i = 1; i <= n + 1; i++) {
		gsub(/[ \t\n]+/, " ", parts[i])
		if (parts[i] ~ /^ ?void ?$/ && !n)
			break
		if (parts[i] ~ /\.\.\./)
			die(name[f] "() takes any number of arguments")
		if (match(parts[i], /\(\*[A-Za-z_0-9]+\)/)) {
			parts[i] = substr(parts[i], RSTART + 2, RLENGTH - 3)
		} else {
			gsub(/(\[[^]]*\]|__always_unused|__maybe_unused| )+$/, "", parts[i])
			if (!match(parts[i], /[A-Za-z_][A-Za-z_0-9]*$/))
				die(name[f] "() has a parameter without a name")
			parts[i] = substr(parts[i], RSTART)
		}
		passed = passed (i > 1 ? ", " : "") parts[i]
	}
	parameters[f] = passed
}

# The head of function F for mutant NUMBER's copy of it. No caller but F knows it, and it is not part of F, however
# small it is: functions that are probed or counted are called as often as without it.
function copied_head(f, number,	words) {
	words = " " before[f]
	while (match(words, /[ \n\t](static|extern|inline|noinline|__always_inline|asmlinkage)[ \n\t]/))
		words = substr(words, 1, RSTART) substr(words, RSTART + RLENGTH - 1)
	sub(/^[ \t\n]+/, "", words)
	return "static noinline __maybe_unused " words name[f] "__mutant_" number after[f]
}

function add_mutant(number, mutated, differences,	line, i, f, part, from, to, new, shift, changed, at, copy, nr_lines) {
	while ((getline line <differences) > 0) {
		if (line !~ /^[0-9]/)
			continue
		split(line, part, /[acd]/)
		i = split(part[1], at, ",")
		from = at[1]
		to = at[i]
		new = 0
		if (line !~ /d/) {
			i = split(part[2], at, ",")
			new = at[i] - at[1] + 1
		}
		f = function_of(from + 0, to + 0, line ~ /a/)
		if (!f)
			die("line " from " is in no function")
		if (line !~ /a/)
			new -= to - from + 1
		changed[f] += new
	}
	close(differences)
	while ((getline line <mutated) > 0)
		copy[++nr_lines] = line
	close(mutated)
	shift = 0
	for (f = 1; f <= nr_functions; f++) {
		if (!(f in changed))
			continue
		if (name[f] == "")
			take_head(f)
		calls[f] = calls[f] "\tif (mutant_is(" number "))\n\t\treturn " name[f] "__mutant_" number "(" \
			parameters[f] ");\n"
		line = copied_head(f, number)
		declared[f] = declared[f] substr(line, 1, length(line) - 1) ";\n"
		copies[f] = copies[f] "\n" line
		for (i = body[f] + shift; i <= last[f] + shift + changed[f]; i++)
			copies[f] = copies[f] copy[i] "\n"
		if (copy[last[f] + shift + changed[f]] != "}" || copy[body[f] + shift] != "{")
			die(name[f] "() begins or ends elsewhere in " mutated)
		shift += changed[f]
	}
}

BEGIN {
	FILE = ARGV[2]
	while ((getline line <FILE) > 0)
		base[++nr] = line
	find_functions()
	while ((getline line <ARGV[1]) > 0) {
		split(line, field, "\t")
		add_mutant(field[1], field[2], field[3])
	}
	for (i = 1; i <= nr; i++) {
		for (f in calls) {
			if (i == first[f])
				printf "bool mutant_is(int number);\n%s\n", declared[f]
		}
		print base[i]
		for (f in calls) {
			if (i == body[f])
				printf "%s", calls[f]
			if (i == last[f])
				printf "%s", copies[f]
		}
	}
	exit failed
}
