/* SPDX-License-Identifier: GPL-2.0 */
/* What the limits of a queue mean for bios of registered buffers that stay mapped. */
#ifndef BLK_DMA_BUFFER_LIMITS_H
#define BLK_DMA_BUFFER_LIMITS_H

#include <linux/blk-dma-buffer.h>

#ifdef CONFIG_BLK_DMA_BUFFER
/*
 * For bio_split_rw(): whether a bio with a map is within the limits as it is, and of
 * how many segments. All its vectors but the first and the last are alike and begin
 * on a page, so they need not be looked through. *@max_bytes gets smaller if those of
 * a dma-buf are fewer.
 */
static inline bool blk_dma_buffer_fits(struct bio *bio,
				       const struct queue_limits *lim,
				       unsigned int *max_bytes,
				       unsigned int *nr_segs)
{
	const struct blk_dma_buffer_map *map = bio->bi_dma_buffer;
	const struct blk_dma_buffer *buf = map->buf;
	unsigned long i = blk_dma_buffer_index(buf, bio);
	unsigned long mask = BIT(buf->shift) - 1;
	unsigned long done = bio->bi_iter.bi_bvec_done + (i ? 0 : buf->lacks);

	if (unlikely(map->max_bytes))
		*max_bytes = min(*max_bytes, map->max_bytes);
	if (bio->bi_iter.bi_size > *max_bytes || mask >= lim->max_segment_size ||
	    (lim->seg_boundary_mask & mask) != mask ||
	    (lim->virt_boundary_mask & ~mask) || i >= buf->nr_bvecs)
		return false;
	*nr_segs = ((done + bio->bi_iter.bi_size - 1) >> buf->shift) + 1;
	return *nr_segs <= lim->max_segments;
}
#else /* CONFIG_BLK_DMA_BUFFER */
static inline bool blk_dma_buffer_fits(struct bio *bio,
				       const struct queue_limits *lim,
				       unsigned int *max_bytes,
				       unsigned int *nr_segs)
{
	return false;
}
#endif /* CONFIG_BLK_DMA_BUFFER */

#endif /* BLK_DMA_BUFFER_LIMITS_H */
