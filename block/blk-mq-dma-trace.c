// SPDX-License-Identifier: GPL-2.0
/*
 * Tracepoints of how requests were mapped for DMA. What costs anything is here,
 * out of the fast path.
 */
#include <linux/blk-mq-dma.h>

#include "blk.h"

#define CREATE_TRACE_POINTS
#include <trace/events/block_dma.h>

EXPORT_TRACEPOINT_SYMBOL_GPL(block_rq_dma_map);
EXPORT_TRACEPOINT_SYMBOL_GPL(block_rq_dma_unmap);
EXPORT_TRACEPOINT_SYMBOL_GPL(block_rq_dma_sync);

static unsigned int blk_dma_count_ranges(struct request *req,
					 struct blk_dma_iter *iter)
{
	struct blk_map_iter walk;
	unsigned int ranges = 0;
	struct phys_vec vec;

	if ((iter->mode == BLK_DMA_IOVA && !iter->gaps) ||
	    ((iter->mode == BLK_DMA_REGISTERED ||
	      iter->mode == BLK_DMA_DMA_BUF) &&
	     iter->len == blk_rq_payload_bytes(req)))
		return 1;
	blk_rq_map_iter_init(req, &walk, iter->iter.is_integrity);
	while (blk_map_iter_next(&walk, &vec))
		ranges++;
	return ranges;
}

void __blk_rq_dma_trace_map(struct request *req, struct blk_dma_mapping *m,
			    struct blk_dma_iter *iter)
{
	trace_block_rq_dma_map(req, m->map, m->mode,
			       blk_rq_dma_bytes(req, m->is_integrity),
			       blk_dma_count_ranges(req, iter),
			       m->is_integrity);
}
EXPORT_SYMBOL_GPL(__blk_rq_dma_trace_map);

void __blk_rq_dma_trace_unmap(struct request *req, struct blk_dma_mapping *m)
{
	/* told when it was unlinked */
	if (m->mode == BLK_DMA_IOVA && (!dma_use_iova(&m->iova) ||
					dma_iova_is_unlinked(&m->iova)))
		return;
	trace_block_rq_dma_unmap(req, m->map, m->mode,
				 blk_rq_dma_bytes(req, m->is_integrity),
				 m->is_integrity);
}
EXPORT_SYMBOL_GPL(__blk_rq_dma_trace_unmap);

void __blk_rq_dma_trace_sync(struct request *req, struct device *dma_dev,
			     bool unmap)
{
	if (!dma_iova_sync_is_idle(dma_dev, unmap))
		trace_block_rq_dma_sync(req, unmap);
}
EXPORT_SYMBOL_GPL(__blk_rq_dma_trace_sync);

void __blk_rq_dma_trace_error(struct request *req, blk_status_t status,
			      bool is_integrity)
{
	trace_block_rq_dma_error(req, status, is_integrity);
}
