// SPDX-License-Identifier: GPL-2.0
/* The smallest module that DKMS can build with the headers of the patched kernel and load into it. */
#include <linux/module.h>
#include <linux/pci-p2pdma.h>

static int __init p2p_example_init(void)
{
	pr_info("p2p_example: loaded\n");
	return 0;
}

static void __exit p2p_example_exit(void)
{
}

module_init(p2p_example_init);
module_exit(p2p_example_exit);
MODULE_DESCRIPTION("Example of an out-of-tree module");
MODULE_LICENSE("GPL");
