// SPDX-License-Identifier: GPL-2.0
/*
 * Look into a drive's window into a provider's memory, as the IOMMU has it, and let
 * the drive write to an IOVA of one's choice.
 *
 * While loaded, a page of the provider belongs to the kernel, and the drive has read
 * a block into it: it has no business in a window.
 */
#include <linux/bio.h>
#include <linux/blk-mq-dma.h>
#include <linux/blkdev.h>
#include <linux/delay.h>
#include <linux/iommu.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/p2pdma-window.h>

#include "pci_by_name.h"

static char *provider_name, *drive_name, *disk;
static unsigned long raw;
static unsigned int redirected;
static struct pci_dev *provider, *drive;
static void *memory;

module_param_named(provider, provider_name, charp, 0444);
MODULE_PARM_DESC(provider, "PCI device with P2P memory, as in 0000:01:00.0");
module_param_named(drive, drive_name, charp, 0444);
MODULE_PARM_DESC(drive, "PCI device of the drive");
module_param(disk, charp, 0444);
MODULE_PARM_DESC(disk, "block device of the drive");
module_param(raw, ulong, 0644);
MODULE_PARM_DESC(raw, "IOVA that pages of host memory are read into instead; 0 for none");
module_param(redirected, uint, 0444);
MODULE_PARM_DESC(redirected, "how many pages were");

static struct pci_p2pdma_pagemap *pagemap(void)
{
	return container_of(page_pgmap(virt_to_page(memory)),
			    struct pci_p2pdma_pagemap, pgmap);
}

static bool is_lent(unsigned long pfn)
{
	return page_folio(pfn_to_page(pfn))->page.zone_device_data == pagemap();
}

/*
 * Of all pages: how many the IOMMU lets the drive reach, how many bits are set, how
 * many are reached that no process has, and where the first is.
 */
static int window_get(char *buffer, const struct kernel_param *kp)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(&drive->dev);
	struct p2pdma_window *window =
		pagemap()->client_windows[drive->p2pdma_client];
	unsigned long nr = PHYS_PFN(range_len(&pagemap()->pgmap.range));
	unsigned long mapped = 0, bits = 0, stray = 0, first = 0;

	if (!window || !window->bits)
		return sysfs_emit(buffer, "none\n");
	for (unsigned long i = 0; i < nr; i++) {
		phys_addr_t phys = window->start + PFN_PHYS(i);
		dma_addr_t iova = phys + window->offset;
		bool is_mapped = iommu_iova_to_phys(domain, iova) == phys;

		if (is_mapped && !first)
			first = iova;
		mapped += is_mapped;
		bits += test_bit(i, window->bits);
		stray += is_mapped && !is_lent(PHYS_PFN(phys));
	}
	return sysfs_emit(buffer, "mapped=%lu bits=%lu stray=%lu first=%#lx\n",
			  mapped, bits, stray, first);
}

static const struct kernel_param_ops window_ops = { .get = window_get };
module_param_cb(window, &window_ops, NULL, 0444);

struct mapping {
	struct blk_dma_client *client;
	struct blk_dma_iter *iter;
};

static int mapping_starts(struct kretprobe_instance *instance,
			  struct pt_regs *regs)
{
	struct mapping *mapping = (struct mapping *)instance->data;

	mapping->client = (void *)regs_get_kernel_argument(regs, 0);
	mapping->iter = (void *)regs_get_kernel_argument(regs, 3);
	return 0;
}

/* Unmapping goes by the range of IOVAs, not by what the drive was told. */
static int mapping_starts_end(struct kretprobe_instance *instance,
			      struct pt_regs *regs)
{
	struct mapping *mapping = (struct mapping *)instance->data;
	struct blk_dma_iter *iter = mapping->iter;

	if (READ_ONCE(raw) && (u8)regs_return_value(regs) &&
	    mapping->client->dev == &drive->dev &&
	    iter->mode == BLK_DMA_IOVA && iter->len == PAGE_SIZE) {
		iter->addr = raw;
		redirected++;
	}
	return 0;
}

static struct kretprobe probe = {
	.kp.symbol_name = "__blk_dma_map_data",
	.entry_handler = mapping_starts,
	.handler = mapping_starts_end,
	.data_size = sizeof(struct mapping),
};

/* Twice, so that a window that is asked for the first time is there the second. */
static int read_into_kernel_page(struct file *file)
{
	struct block_device *bdev = file_bdev(file);
	struct bio_vec vec;
	struct bio bio;
	int ret = 0;

	for (int i = 0; i < 8 && !ret; i++) {
		bio_init(&bio, bdev, &vec, 1, REQ_OP_READ | REQ_NOMERGE);
		__bio_add_page(&bio, virt_to_page(memory), PAGE_SIZE, 0);
		ret = submit_bio_wait(&bio);
		bio_uninit(&bio);
		msleep(20);
	}
	return ret;
}

static int use_kernel_page(void)
{
	struct file *file = bdev_file_open_by_path(disk, BLK_OPEN_READ, NULL,
						   NULL);
	int ret;

	if (IS_ERR(file))
		return PTR_ERR(file);
	ret = read_into_kernel_page(file);
	fput(file);
	return ret;
}

static void give_back(void)
{
	if (memory)
		pci_free_p2pmem(provider, memory, PAGE_SIZE);
	pci_dev_put(drive);
	pci_dev_put(provider);
}

static int __init p2p_windows_init(void)
{
	int ret = -ENODEV;

	provider = pci_get_by_name(provider_name);
	drive = pci_get_by_name(drive_name);
	if (!provider || !drive)
		goto out;
	memory = pci_alloc_p2pmem(provider, PAGE_SIZE);
	if (!memory)
		goto out;
	ret = use_kernel_page();
	if (!ret)
		ret = register_kretprobe(&probe);
out:
	if (ret)
		give_back();
	return ret;
}
module_init(p2p_windows_init);

static void __exit p2p_windows_exit(void)
{
	unregister_kretprobe(&probe);
	give_back();
}
module_exit(p2p_windows_exit);

MODULE_DESCRIPTION("Look into a window of P2P memory, and past it");
MODULE_LICENSE("GPL");
