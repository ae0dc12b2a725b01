/* SPDX-License-Identifier: GPL-2.0 */
/* Included before a file of the kernel that is not made to be a module. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kthread.h>
#include <linux/module.h>

/* Not exported; for threads on a NUMA node, which nobody asks for here. */
#define kthread_bind_mask set_cpus_allowed_ptr

MODULE_LICENSE("GPL");
