// SPDX-License-Identifier: GPL-2.0
/*
 * Which mutant a kernel that holds many of them is to be, by the boot parameter
 * "mutant=NAME"; none by default. scripts/test/mutants --lay-all puts this in lib/.
 */
#include <linux/export.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/printk.h>
#include <linux/string.h>

bool mutant_is(int number);

static const char *const names[] = {
#include "mutant-names.h"
};

static int chosen;
static bool runs;

/* Whether mutant @number was chosen. Its code then runs, which is said once. */
bool notrace mutant_is(int number)
{
	if (likely(number != chosen))
		return false;
	if (unlikely(!runs)) {
		runs = true;
		/* whatever the console shows; no mutant holds locks of the scheduler */
		pr_emerg("mutant: %s runs\n", names[number]);
	}
	return true;
}
EXPORT_SYMBOL_GPL(mutant_is);

static int __init choose_mutant(char *name)
{
	for (int i = 1; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(names[i], name))
			chosen = i;
	}
	if (!chosen)
		pr_err("mutant: there is no %s\n", name);
	return 0;
}
early_param("mutant", choose_mutant);
