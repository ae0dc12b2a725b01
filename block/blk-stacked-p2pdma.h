/* SPDX-License-Identifier: GPL-2.0 */
/*
 * P2P memory in bios of stacked devices, such as of MD, and of btrfs, which pass bios
 * on to their members. A stacked device that never touches data by the CPU may set
 * BLK_FEAT_PCI_P2PDMA before blk_stack_limits() clears it for the first member that
 * does not take P2P memory. Members may change after a bio was given its memory: the
 * device asks blk_queue_refuses_bio() where they cannot any more.
 *
 * A bio that waits for a stacked device that is suspended keeps its memory, and so the
 * memory's provider, until the device is resumed.
 */
#ifndef LINUX_BLK_STACKED_P2PDMA_H
#define LINUX_BLK_STACKED_P2PDMA_H

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/memremap.h>
#include <linux/pci-p2pdma.h>

/**
 * bio_had_p2pdma - whether a bio that has ended had P2P memory
 * @bio: the bio; had data
 *
 * Context: any.
 * Return: true if all of its memory is a provider's, or some may be.
 */
static inline bool bio_had_p2pdma(struct bio *bio)
{
	return (bio->bi_opf & REQ_MIXED_CLASS) ||
	       is_pci_p2pdma_page(bio->bi_io_vec->bv_page);
}

/**
 * bio_has_p2pdma - whether a bio has P2P memory
 * @bio: the bio, which has not ended
 *
 * Context: any. Looks at nothing until there is a provider.
 * Return: true if all of its memory is a provider's, or some may be.
 */
static inline bool bio_has_p2pdma(struct bio *bio)
{
	return pci_p2pdma_is_provided() && bio_has_data(bio) &&
	       bio_had_p2pdma(bio);
}

/**
 * blk_queue_refuses_bio - whether a bio has P2P memory that a queue does not take
 * @q: the queue
 * @bio: a bio for it, which is to fail with BLK_STS_TARGET then
 *
 * Context: any.
 * Return: false if it takes the bio's memory, or if that is of the host.
 */
static inline bool blk_queue_refuses_bio(struct request_queue *q,
					 struct bio *bio)
{
	return bio_has_p2pdma(bio) && !blk_queue_pci_p2pdma(q);
}

bool bdev_reaches_bio(struct block_device *bdev, struct bio *bio);

#endif /* LINUX_BLK_STACKED_P2PDMA_H */
