// SPDX-License-Identifier: GPL-2.0
/*
 * While loaded, a PCI device counts as untrusted: behind an IOMMU, what does not
 * fill its granules bounces.
 */
#include <linux/module.h>

#include "pci_by_name.h"

static struct pci_dev *pdev;
static char *device;

module_param(device, charp, 0444);
MODULE_PARM_DESC(device, "the device, as in 0000:01:00.0");

static int __init untrust_init(void)
{
	pdev = pci_get_by_name(device);
	if (!pdev)
		return -ENODEV;
	pdev->untrusted = true;
	return 0;
}
module_init(untrust_init);

static void __exit untrust_exit(void)
{
	pdev->untrusted = false;
	pci_dev_put(pdev);
}
module_exit(untrust_exit);

MODULE_DESCRIPTION("Treat a PCI device as untrusted");
MODULE_LICENSE("GPL");
