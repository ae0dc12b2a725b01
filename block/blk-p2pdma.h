/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The class of a bio: all host memory, or all peer-to-peer (P2P) memory of one
 * provider. It is that of any of its pages, so nothing has to be kept: a device
 * that maps the bio for DMA asks once, of the first page, how it reaches all of
 * them.
 *
 * What cannot be divided may be of several classes: a logical block that begins
 * in one and ends in another, an atomic write, a passthrough command. It says
 * so, by REQ_MIXED_CLASS in bi_opf or BIP_MIXED_CLASS in bip_flags, and each of
 * its ranges is asked for.
 */
#ifndef BLK_P2PDMA_H
#define BLK_P2PDMA_H

#include <linux/bio-integrity.h>
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/memremap.h>

/* The class of @page: its provider's pagemap, or NULL for host memory. */
static inline struct dev_pagemap *page_class(const struct page *page)
{
	return pci_p2pdma_pgmap(page);
}

static inline bool page_is_of_class(const struct page *page,
				    const struct dev_pagemap *class)
{
	return page_class(page) == class;
}

/* The class of @bio, which is not mixed; NULL also if it has no data. */
static inline struct dev_pagemap *bio_class(struct bio *bio)
{
	if (!bio_has_data(bio))
		return NULL;
	return page_class(bio->bi_io_vec[bio->bi_iter.bi_idx].bv_page);
}

/*
 * Whether @a and @b, of the same operation, may share a request of @q, of which
 * a device asks one page how it reaches all of them.
 */
static inline bool bio_class_mergeable(struct request_queue *q,
				       struct bio *a, struct bio *b)
{
	return !blk_queue_pci_p2pdma(q) || bio_class(a) == bio_class(b);
}

/* Let every range of @bio be asked for its class. Nothing joins its request. */
static inline void bio_set_mixed_class(struct bio *bio)
{
	bio->bi_opf |= REQ_MIXED_CLASS | REQ_NOMERGE;
}

/*
 * Of the next @size bytes for @bio, @len are of its class, or of one class if it is
 * empty. Return: how many of the @size it takes. Where the class changes, set
 * BIO_CLASS_END and take whole logical blocks before that, perhaps none; an empty
 * bio takes the one block in which it changes, and is marked as mixed. What cannot
 * be divided takes all, and is marked as mixed, too.
 */
static inline size_t bio_take_class(struct bio *bio, size_t len, size_t size)
{
	size_t block;

	if (likely(len >= size))
		return size;
	if (!bio->bi_bdev || (bio->bi_opf & REQ_ATOMIC)) {
		bio_set_mixed_class(bio);
		return size;
	}

	bio_set_flag(bio, BIO_CLASS_END);
	block = bdev_logical_block_size(bio->bi_bdev);
	if (len >= block || bio->bi_iter.bi_size)
		return round_down(len, block);
	bio_set_mixed_class(bio);
	return min(block, size);
}

/* Bytes of one class, counted from @done bytes into *@bv; may exceed @size. */
static inline size_t bvecs_one_class(const struct bio_vec *bv, size_t done,
				     size_t size)
{
	struct dev_pagemap *class;
	size_t len = 0;

	if (!size)
		return 0;
	class = page_class(bv->bv_page);
	size += done;
	do {
		len += bv++->bv_len;
	} while (len < size && page_is_of_class(bv->bv_page, class));
	return len - done;
}

#ifdef CONFIG_BLK_DEV_INTEGRITY
/* The class of @bip, which has a page and is not mixed. */
static inline struct dev_pagemap *
bip_class(const struct bio_integrity_payload *bip)
{
	return page_class(bip->bip_vec[bip->bip_iter.bi_idx].bv_page);
}
#endif

#endif /* BLK_P2PDMA_H */
