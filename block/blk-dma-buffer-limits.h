/* SPDX-License-Identifier: GPL-2.0 */
/* What the limits of a queue mean for bios of registered buffers that stay mapped. */
#ifndef BLK_DMA_BUFFER_LIMITS_H
#define BLK_DMA_BUFFER_LIMITS_H

#include <linux/blk-dma-buffer.h>

#ifdef CONFIG_BLK_DMA_BUFFER
/*
 * How many bytes an I/O with a map may have, where the queue's limits say @max_bytes.
 * A driver may limit its queue to what the DMA API maps quickly, which is no reason to
 * split what is mapped. Other reasons remain: what the device takes, what a user has asked
 * for, or else the default of all devices, chunks, atomic writes, metadata, which is
 * allocated in one piece, and a map that has gone.
 */
static inline unsigned int
blk_dma_buffer_max_bytes(const struct blk_dma_buffer_map *map,
			 const struct queue_limits *lim, blk_opf_t opf,
			 unsigned int max_bytes)
{
	unsigned int sectors = map->max_bytes >> SECTOR_SHIFT;
	const struct blk_dma_buffer_ops *ops;

	/* nothing else can map more of a dma-buf */
	if (map->dma_buf && sectors)
		max_bytes = min(max_bytes, map->max_bytes);
	else if (!map->dma_buf && !blk_dma_buffer_is_live(map))
		return max_bytes;
	/* who maps it is still there */
	ops = map->client->ops;
	if (!ops->max_sectors || lim->chunk_sectors ||
	    lim->integrity.tuple_size || (opf & REQ_ATOMIC))
		return max_bytes;
	sectors = min(sectors, lim->max_user_sectors ?: BLK_DEF_MAX_SECTORS_CAP);
	sectors = min(sectors, ops->max_sectors(map->client));
	return max(max_bytes, sectors << SECTOR_SHIFT);
}

/*
 * For bio_split_rw(): whether a bio with a map is within the limits as it is, and of
 * how many segments. All its vectors but the first and the last are alike and begin
 * on a page, so they need not be looked through. *@max_bytes and *@max_segments, which
 * are the queue's, become what holds for @bio.
 */
static inline bool blk_dma_buffer_fits(struct bio *bio,
				       const struct queue_limits *lim,
				       unsigned int *max_bytes,
				       unsigned short *max_segments,
				       unsigned int *nr_segs)
{
	const struct blk_dma_buffer_map *map = bio->bi_dma_buffer;
	const struct blk_dma_buffer *buf = map->buf;
	unsigned int size = bio->bi_iter.bi_size;
	unsigned long i = blk_dma_buffer_index(buf, bio);
	unsigned long mask = BIT(buf->shift) - 1;
	unsigned long done = bio->bi_iter.bi_bvec_done + (i ? 0 : buf->lacks);

	if (unlikely(i >= buf->nr_bvecs))
		return false;
	if (unlikely(size > min(*max_bytes, map->max_bytes))) {
		unsigned int bytes = blk_dma_buffer_max_bytes(map, lim, bio->bi_opf,
							      *max_bytes);

		if (bytes > *max_bytes)
			*max_segments = max(*max_segments, map->max_segments);
		*max_bytes = bytes;
	}
	if (size > *max_bytes || mask >= lim->max_segment_size ||
	    (lim->seg_boundary_mask & mask) != mask ||
	    (lim->virt_boundary_mask & ~mask))
		return false;
	*nr_segs = ((done + size - 1) >> buf->shift) + 1;
	return *nr_segs <= *max_segments;
}
#else /* CONFIG_BLK_DMA_BUFFER */
static inline unsigned int
blk_dma_buffer_max_bytes(const struct blk_dma_buffer_map *map,
			 const struct queue_limits *lim, blk_opf_t opf,
			 unsigned int max_bytes)
{
	return max_bytes;
}

static inline bool blk_dma_buffer_fits(struct bio *bio,
				       const struct queue_limits *lim,
				       unsigned int *max_bytes,
				       unsigned short *max_segments,
				       unsigned int *nr_segs)
{
	return false;
}
#endif /* CONFIG_BLK_DMA_BUFFER */

#endif /* BLK_DMA_BUFFER_LIMITS_H */
