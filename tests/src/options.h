/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Long options out of a table, which is also what --help prints.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OPTIONS 32
#define NOT_SET (~0UL) /* a number without a default */

/* One option; what is set first is its default. A name of NULL ends the table. */
struct option_entry {
	const char *name;
	const char *argument; /* what it is called, as in BYTES */
	const char *help;
	const char **text; /* one of these three */
	unsigned long *number;
	bool *flag;
};

static inline void print_options(FILE *out, const struct option_entry *entries)
{
	for (const struct option_entry *entry = entries; entry->name; entry++) {
		int width = fprintf(out, "  --%s %s", entry->name,
				    entry->argument ?: "");

		fprintf(out, "%*s%s", width < 24 ? 24 - width : 1, "",
			entry->help);
		if (entry->text)
			fprintf(out, " (default: %s)", *entry->text ?: "none");
		if (entry->number && *entry->number == NOT_SET)
			fprintf(out, " (default: none)");
		else if (entry->number)
			fprintf(out, " (default: %lu)", *entry->number);
		fputc('\n', out);
	}
	fprintf(out, "  --help                this text\n");
}

static inline unsigned long parse_number(const char *name, const char *text)
{
	unsigned long number;
	char *end;

	errno = 0;
	number = strtoul(text, &end, 0);
	if (errno || end == text || *end)
		errx(1, "--%s wants a number, not '%s'", name, text);
	return number;
}

/**
 * parse_choice() - find which of several names an option has
 * @what: what the names are, for the message if it is none of them
 * @name: the option
 * @names: those to choose from, with NULL after the last
 *
 * Return: the index of the name.
 */
static inline int parse_choice(const char *what, const char *name,
			       const char *const *names)
{
	for (int i = 0; names[i]; i++)
		if (!strcmp(name, names[i]))
			return i;
	errx(1, "unknown %s %s", what, name);
}

/* Set what the command line says; synopsis is what --help starts with. */
static inline void parse_options(int argc, char **argv, const char *synopsis,
				 const struct option_entry *entries)
{
	struct option options[MAX_OPTIONS] = {};
	int c, count = 0;

	for (; entries[count].name; count++)
		options[count] = (struct option){
			.name = entries[count].name,
			.has_arg = !entries[count].flag,
			.val = count + 1,
		};
	options[count] = (struct option){ .name = "help", .val = 'h' };

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		const struct option_entry *entry;

		if (c == 'h') {
			printf("%s\n\n", synopsis);
			print_options(stdout, entries);
			exit(0);
		}
		if (c == '?')
			errx(1, "see --help");
		entry = &entries[c - 1];
		if (entry->text)
			*entry->text = optarg;
		else if (entry->number)
			*entry->number = parse_number(entry->name, optarg);
		else
			*entry->flag = true;
	}
	if (optind != argc)
		errx(1, "'%s' is no option, see --help", argv[optind]);
}

#endif /* OPTIONS_H */
