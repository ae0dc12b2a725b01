// SPDX-License-Identifier: GPL-2.0
/*
 * While loaded, the nth call of a kernel function fails, and the ones after it as
 * asked for. How often it was called is in /sys/module/fail_nth/parameters/calls;
 * with 0 written there another round begins.
 */
#include <linux/module.h>

#include "fail_nth.h"

static struct fail_nth fail = { .nth = 1, .count = 1 };
static char *function;

module_param(function, charp, 0444);
MODULE_PARM_DESC(function, "the function, one that is not inlined");
module_param_named(nth, fail.nth, uint, 0644);
MODULE_PARM_DESC(nth, "the first call that fails (default: 1)");
module_param_named(count, fail.count, uint, 0444);
MODULE_PARM_DESC(count, "how many fail from there on; 0 for all (default: 1)");
module_param_named(value, fail.value, long, 0444);
MODULE_PARM_DESC(value, "what they return (default: 0)");
module_param_named(argument, fail.argument, uint, 0444);
MODULE_PARM_DESC(argument,
		 "set this one for the first, which runs (default: 0)");
module_param_named(set, fail.set, ulong, 0444);
MODULE_PARM_DESC(set, "value of that argument (default: 0)");
module_param_named(idle, fail.idle, bool, 0644);
MODULE_PARM_DESC(idle, "calls neither fail nor count (default: no)");
module_param_named(calls, fail.calls.counter, int, 0644);
MODULE_PARM_DESC(calls, "calls so far");

static int __init fail_nth_init(void)
{
	if (!function)
		return -EINVAL;
	return fail_nth_start(&fail, function);
}
module_init(fail_nth_init);

static void __exit fail_nth_exit(void)
{
	fail_nth_stop(&fail);
}
module_exit(fail_nth_exit);

MODULE_DESCRIPTION("Let the nth call of a kernel function fail");
MODULE_LICENSE("GPL");
