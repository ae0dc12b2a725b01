/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How requests were mapped for DMA.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM block

#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE block_dma

#if !defined(_TRACE_BLOCK_DMA_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_BLOCK_DMA_H

#include <linux/blk-mq-dma.h>
#include <linux/tracepoint.h>

#ifndef _TRACE_BLOCK_DMA_ONCE
#define _TRACE_BLOCK_DMA_ONCE
static inline dev_t blk_rq_dma_trace_dev(struct request *rq)
{
	return rq->q->disk ? disk_devt(rq->q->disk) : 0;
}
#endif

TRACE_DEFINE_ENUM(BLK_DMA_REGISTERED);
TRACE_DEFINE_ENUM(BLK_DMA_LINEAR);
TRACE_DEFINE_ENUM(BLK_DMA_IOVA);
TRACE_DEFINE_ENUM(BLK_DMA_SEGMENTS);
TRACE_DEFINE_ENUM(BLK_DMA_DMA_BUF);
TRACE_DEFINE_ENUM(PCI_P2PDMA_MAP_UNKNOWN);
TRACE_DEFINE_ENUM(PCI_P2PDMA_MAP_NONE);
TRACE_DEFINE_ENUM(PCI_P2PDMA_MAP_BUS_ADDR);
TRACE_DEFINE_ENUM(PCI_P2PDMA_MAP_THRU_HOST_BRIDGE);

#define show_blk_dma_mode(mode) __print_symbolic(mode,		\
	{ BLK_DMA_REGISTERED,		"registered" },		\
	{ BLK_DMA_LINEAR,		"linear" },		\
	{ BLK_DMA_IOVA,			"iova" },		\
	{ BLK_DMA_SEGMENTS,		"segments" },		\
	{ BLK_DMA_DMA_BUF,		"dma_buf" })

#define show_p2pdma_map(map) __print_symbolic(map,		\
	{ PCI_P2PDMA_MAP_UNKNOWN,	"mixed" },		\
	{ PCI_P2PDMA_MAP_NONE,		"none" },		\
	{ PCI_P2PDMA_MAP_BUS_ADDR,	"bus_addr" },		\
	{ PCI_P2PDMA_MAP_THRU_HOST_BRIDGE, "host_bridge" })

/**
 * block_rq_dma_map - the data or the metadata of a request was mapped
 * @rq: the request
 * @map: map type of the memory
 * @mode: how it was mapped
 * @bytes: its length
 * @ranges: segments of the memory, or 1 if it is one range of IOVAs, or of
 *          what is registered
 * @metadata: it is metadata
 */
TRACE_EVENT(block_rq_dma_map,

	TP_PROTO(struct request *rq, enum pci_p2pdma_map_type map,
		 enum blk_dma_mode mode, unsigned int bytes,
		 unsigned int ranges, bool metadata),
	TP_ARGS(rq, map, mode, bytes, ranges, metadata),

	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(sector_t, sector)
		__field(unsigned int, bytes)
		__field(unsigned int, ranges)
		__field(u8, map)
		__field(u8, mode)
		__field(bool, metadata)
	),

	TP_fast_assign(
		__entry->dev = blk_rq_dma_trace_dev(rq);
		__entry->sector = blk_rq_is_passthrough(rq) ? 0 : blk_rq_pos(rq);
		__entry->bytes = bytes;
		__entry->ranges = ranges;
		__entry->map = map;
		__entry->mode = mode;
		__entry->metadata = metadata;
	),

	TP_printk("%d,%d %s sector=%llu bytes=%u ranges=%u map=%s mode=%s",
		  MAJOR(__entry->dev), MINOR(__entry->dev),
		  __entry->metadata ? "metadata" : "data",
		  (unsigned long long)__entry->sector, __entry->bytes,
		  __entry->ranges, show_p2pdma_map(__entry->map),
		  show_blk_dma_mode(__entry->mode))
);

/**
 * block_rq_dma_unmap - the data or the metadata of a request is being unmapped
 * @rq: the request
 * @map: map type of the memory
 * @mode: how it was mapped
 * @bytes: its length
 * @metadata: it is metadata
 */
TRACE_EVENT(block_rq_dma_unmap,

	TP_PROTO(struct request *rq, enum pci_p2pdma_map_type map,
		 enum blk_dma_mode mode, unsigned int bytes, bool metadata),
	TP_ARGS(rq, map, mode, bytes, metadata),

	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(sector_t, sector)
		__field(unsigned int, bytes)
		__field(u8, map)
		__field(u8, mode)
		__field(bool, metadata)
	),

	TP_fast_assign(
		__entry->dev = blk_rq_dma_trace_dev(rq);
		__entry->sector = blk_rq_is_passthrough(rq) ? 0 : blk_rq_pos(rq);
		__entry->bytes = bytes;
		__entry->map = map;
		__entry->mode = mode;
		__entry->metadata = metadata;
	),

	TP_printk("%d,%d %s sector=%llu bytes=%u map=%s mode=%s",
		  MAJOR(__entry->dev), MINOR(__entry->dev),
		  __entry->metadata ? "metadata" : "data",
		  (unsigned long long)__entry->sector, __entry->bytes,
		  show_p2pdma_map(__entry->map),
		  show_blk_dma_mode(__entry->mode))
);

/**
 * block_rq_dma_sync - the IOTLB is about to be synced
 * @rq: the request, or one of those that share the sync
 * @unmap: after unmapping; otherwise after mapping
 */
TRACE_EVENT(block_rq_dma_sync,

	TP_PROTO(struct request *rq, bool unmap),
	TP_ARGS(rq, unmap),

	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(bool, unmap)
	),

	TP_fast_assign(
		__entry->dev = blk_rq_dma_trace_dev(rq);
		__entry->unmap = unmap;
	),

	TP_printk("%d,%d %s", MAJOR(__entry->dev), MINOR(__entry->dev),
		  __entry->unmap ? "unmap" : "map")
);

/**
 * block_rq_dma_error - the data or the metadata of a request was not mapped
 * @rq: the request
 * @status: why; BLK_STS_TARGET if the device cannot reach the memory, or the IOMMU
 *	failed for a peer's
 * @metadata: it is metadata
 */
TRACE_EVENT(block_rq_dma_error,

	TP_PROTO(struct request *rq, blk_status_t status, bool metadata),
	TP_ARGS(rq, status, metadata),

	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(sector_t, sector)
		__field(int, error)
		__field(bool, metadata)
	),

	TP_fast_assign(
		__entry->dev = blk_rq_dma_trace_dev(rq);
		__entry->sector = blk_rq_is_passthrough(rq) ? 0 : blk_rq_pos(rq);
		__entry->error = blk_status_to_errno(status);
		__entry->metadata = metadata;
	),

	TP_printk("%d,%d %s sector=%llu error=%d",
		  MAJOR(__entry->dev), MINOR(__entry->dev),
		  __entry->metadata ? "metadata" : "data",
		  (unsigned long long)__entry->sector, __entry->error)
);

#endif /* _TRACE_BLOCK_DMA_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
