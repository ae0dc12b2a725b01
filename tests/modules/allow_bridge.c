// SPDX-License-Identifier: GPL-2.0
/*
 * Give the host bridge that QEMU's boards for Arm have the identity of one that the
 * kernel lets P2P traffic cross, while loaded. What the kernel has found out about
 * pairs of devices before, it does not look up again.
 */
#include <linux/module.h>
#include <linux/pci.h>

static struct pci_dev *bridge;
static unsigned short vendor, device;

static int __init allow_bridge_init(void)
{
	bridge = pci_get_domain_bus_and_slot(0, 0, PCI_DEVFN(0, 0));
	if (!bridge)
		return -ENODEV;
	vendor = bridge->vendor;
	device = bridge->device;
	/* Sky Lake-E, on the kernel's list without further conditions */
	bridge->vendor = PCI_VENDOR_ID_INTEL;
	bridge->device = 0x2030;
	return 0;
}
module_init(allow_bridge_init);

static void __exit allow_bridge_exit(void)
{
	bridge->vendor = vendor;
	bridge->device = device;
	pci_dev_put(bridge);
}
module_exit(allow_bridge_exit);

MODULE_DESCRIPTION("Let P2P cross the host bridge of a virtual board");
MODULE_LICENSE("GPL");
