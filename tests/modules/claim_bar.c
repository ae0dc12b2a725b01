// SPDX-License-Identifier: GPL-2.0
/*
 * Claims a BAR of a PCI device, as a driver that uses it would.
 */
#include <linux/module.h>
#include <linux/pci.h>

#include "pci_by_name.h"

static char *device;
module_param(device, charp, 0444);
MODULE_PARM_DESC(device, "the PCI device, as in 0000:01:00.0");

static int bar;
module_param(bar, int, 0444);
MODULE_PARM_DESC(bar, "number of its BAR");

static struct pci_dev *pdev;
static struct resource *claimed;

static int __init claim_init(void)
{
	pdev = pci_get_by_name(device);
	if (!pdev)
		return -ENODEV;
	claimed = request_mem_region(pci_resource_start(pdev, bar),
				     pci_resource_len(pdev, bar), "claim_bar");
	if (claimed)
		return 0;
	pci_dev_put(pdev);
	return -EBUSY;
}

static void __exit claim_exit(void)
{
	release_mem_region(claimed->start, resource_size(claimed));
	pci_dev_put(pdev);
}

module_init(claim_init);
module_exit(claim_exit);
MODULE_DESCRIPTION("Claims a BAR");
MODULE_LICENSE("GPL");
