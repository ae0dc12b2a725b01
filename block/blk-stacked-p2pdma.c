// SPDX-License-Identifier: GPL-2.0
/*
 * How a stacked device, or a file system on several devices, learns whether they
 * reach P2P memory before it sends them anything.
 */
#include <linux/bio.h>
#include <linux/blk-stacked-p2pdma.h>
#include <linux/blkdev.h>
#include <linux/export.h>

static bool bdev_reaches_page(struct block_device *bdev, struct page *page,
			      bool mixed)
{
	struct gendisk *disk = bdev->bd_disk;

	if (!is_pci_p2pdma_page(page))
		return true;
	return blk_queue_pci_p2pdma(bdev_get_queue(bdev)) &&
	       disk->fops->reaches_p2pdma &&
	       disk->fops->reaches_p2pdma(disk, page, mixed);
}

/**
 * bdev_reaches_bio - whether a block device reaches the memory of a bio
 * @bdev: the block device
 * @bio: a bio of any block device, which has data
 *
 * For a caller that has to send the bio to several devices or to none.
 *
 * Context: any.
 * Return: true for host memory, and for P2P memory that @bdev takes and whose
 * reach its driver confirms. False also if the driver cannot tell.
 */
bool bdev_reaches_bio(struct block_device *bdev, struct bio *bio)
{
	struct bvec_iter iter;
	struct bio_vec bv;

	if (!(bio->bi_opf & REQ_MIXED_CLASS))
		return bdev_reaches_page(bdev, bio_page(bio), false);

	bio_for_each_segment(bv, bio, iter)
		if (!bdev_reaches_page(bdev, bv.bv_page, true))
			return false;
	return true;
}
EXPORT_SYMBOL_GPL(bdev_reaches_bio);
