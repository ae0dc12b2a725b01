/* SPDX-License-Identifier: GPL-2.0 */
/*
 * P2P memory in bios of stacked devices, such as of MD, which pass bios on to their
 * members. A stacked device that never touches data by the CPU may set
 * BLK_FEAT_PCI_P2PDMA before blk_stack_limits() clears it for the first member that
 * does not take P2P memory.
 */
#ifndef LINUX_BLK_STACKED_P2PDMA_H
#define LINUX_BLK_STACKED_P2PDMA_H

#include <linux/bio.h>
#include <linux/memremap.h>

struct block_device;

/**
 * bio_has_p2pdma - whether a bio has P2P memory
 * @bio: the bio, which has data, or had it before it ended
 *
 * Context: any.
 * Return: true if all of its memory is a provider's, or some may be.
 */
static inline bool bio_has_p2pdma(struct bio *bio)
{
	return (bio->bi_opf & REQ_MIXED_CLASS) ||
	       is_pci_p2pdma_page(bio->bi_io_vec->bv_page);
}

bool bdev_reaches_bio(struct block_device *bdev, struct bio *bio);

#endif /* LINUX_BLK_STACKED_P2PDMA_H */
