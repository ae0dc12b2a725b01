// SPDX-License-Identifier: GPL-2.0
/*
 * Offers a memory BAR of any PCI function as P2P memory. Bound by hand alone: see
 * Documentation/driver-api/pci/p2pdma.rst.
 */
#include <linux/memremap.h>
#include <linux/module.h>
#include <linux/pci-p2pdma.h>
#include <linux/pci.h>

static int bar = -1;
module_param(bar, int, 0644);
MODULE_PARM_DESC(bar, "Number of the BAR for devices that are bound from now on (default: the largest that is prefetchable)");

static bool p2pdma_bar_is_memory(struct pci_dev *pdev, int nr)
{
	unsigned long flags = pci_resource_flags(pdev, nr);

	return (flags & IORESOURCE_MEM) && !(flags & IORESOURCE_UNSET) &&
	       pci_resource_len(pdev, nr);
}

static int p2pdma_bar_largest(struct pci_dev *pdev)
{
	int largest = -ENODEV;

	for (int nr = 0; nr < PCI_STD_NUM_BARS; nr++) {
		if (!p2pdma_bar_is_memory(pdev, nr) ||
		    !(pci_resource_flags(pdev, nr) & IORESOURCE_PREFETCH))
			continue;
		if (largest < 0 || pci_resource_len(pdev, nr) >
				   pci_resource_len(pdev, largest))
			largest = nr;
	}
	if (largest < 0)
		pci_err(pdev, "no prefetchable memory BAR; name another one by the parameter bar\n");
	return largest;
}

/* Whoever can write to the MSI-X table can make the device write anywhere. */
static bool p2pdma_bar_has_msix(struct pci_dev *pdev, int nr)
{
	u32 table, pba;

	if (!pdev->msix_cap)
		return false;
	pci_read_config_dword(pdev, pdev->msix_cap + PCI_MSIX_TABLE, &table);
	pci_read_config_dword(pdev, pdev->msix_cap + PCI_MSIX_PBA, &pba);
	return (table & PCI_MSIX_TABLE_BIR) == nr ||
	       (pba & PCI_MSIX_PBA_BIR) == nr;
}

static int p2pdma_bar_check(struct pci_dev *pdev, int nr)
{
	u64 align = memremap_compat_align();

	if (nr >= PCI_STD_NUM_BARS || !p2pdma_bar_is_memory(pdev, nr)) {
		pci_err(pdev, "BAR %d is no memory\n", nr);
		return -EINVAL;
	}
	if (p2pdma_bar_has_msix(pdev, nr)) {
		pci_err(pdev, "BAR %d has the MSI-X table or pending bits\n", nr);
		return -EBUSY;
	}
	if (!IS_ALIGNED(pci_resource_start(pdev, nr) |
			pci_resource_len(pdev, nr), align)) {
		pci_err(pdev, "BAR %d is less than the %llu bytes that can have pages\n",
			nr, align);
		return -EINVAL;
	}
	return 0;
}

static int p2pdma_bar_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	int nr = READ_ONCE(bar);
	int ret;

	if (nr < 0)
		nr = p2pdma_bar_largest(pdev);
	if (nr < 0)
		return nr;
	ret = p2pdma_bar_check(pdev, nr);
	if (ret)
		return ret;

	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	/* Its memory is all that is wanted. Firmware may have made it a bus master. */
	pci_clear_master(pdev);
	ret = pci_request_region(pdev, nr, KBUILD_MODNAME);
	if (ret)
		return ret;
	ret = pci_p2pdma_add_resource(pdev, nr, 0, 0);
	if (ret)
		return ret;
	pci_p2pmem_publish(pdev, true);
	return 0;
}

/* No ID: it matches who has it as driver_override. */
static struct pci_driver p2pdma_bar_driver = {
	.name = "p2pdma_bar",
	.probe = p2pdma_bar_probe,
};
module_pci_driver(p2pdma_bar_driver);

MODULE_DESCRIPTION("Offers a BAR of any PCI function as peer-to-peer memory");
MODULE_LICENSE("GPL");
