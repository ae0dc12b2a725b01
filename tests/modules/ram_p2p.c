// SPDX-License-Identifier: GPL-2.0
/*
 * Makes the memory of QEMU's ivshmem devices P2P memory. For the emulator that is RAM: unlike a Controller
 * Memory Buffer it is not copied piece by piece when another device reaches it, at any alignment, and processors
 * reach it without trapping.
 */
#include <linux/module.h>
#include <linux/pci-p2pdma.h>
#include <linux/pci.h>

#define BAR_OF_MEMORY 2

static int ram_p2p_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	int ret = pcim_enable_device(pdev);

	if (ret)
		return ret;
	pci_set_master(pdev);
	ret = pci_p2pdma_add_resource(pdev, BAR_OF_MEMORY, 0, 0);
	if (ret)
		return ret;
	pci_p2pmem_publish(pdev, true);
	return 0;
}

static const struct pci_device_id ram_p2p_ids[] = {
	{ PCI_DEVICE(PCI_VENDOR_ID_REDHAT_QUMRANET, 0x1110) },
	{}
};

static struct pci_driver ram_p2p_driver = {
	.name = "ram_p2p",
	.id_table = ram_p2p_ids,
	.probe = ram_p2p_probe,
};
module_pci_driver(ram_p2p_driver);

MODULE_DESCRIPTION("Make the memory of ivshmem devices P2P memory");
MODULE_LICENSE("GPL");
