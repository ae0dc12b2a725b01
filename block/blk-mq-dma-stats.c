// SPDX-License-Identifier: GPL-2.0
/*
 * Counters of how the requests of a hardware queue were mapped for DMA, in
 * debugfs: dma_stats. They are probes of the tracepoints, so that they cost
 * nothing while nobody counts.
 */
#include <linux/blk-mq-dma.h>
#include <linux/sched/mm.h>
#include <linux/seq_file.h>
#include <trace/events/block_dma.h>

#include "blk.h"
#include "blk-mq.h"
#include "blk-mq-dma-stats.h"

enum blk_dma_stat {
	/* requests, by how the device reaches their data */
	BLK_DMA_STAT_HOST,
	BLK_DMA_STAT_BUS_ADDR,
	BLK_DMA_STAT_HOST_BRIDGE,
	BLK_DMA_STAT_MIXED,
	/* attempts to map data or metadata that the device cannot reach */
	BLK_DMA_STAT_UNREACHABLE,
	/* requests, by how their data was mapped */
	BLK_DMA_STAT_REGISTERED,
	BLK_DMA_STAT_LINEAR,
	BLK_DMA_STAT_IOVA,
	BLK_DMA_STAT_SEGMENTS,
	/* IOTLB syncs */
	BLK_DMA_STAT_MAP_SYNCS,
	BLK_DMA_STAT_UNMAP_SYNCS,
	/* attempts to map data or metadata that failed for another reason */
	BLK_DMA_STAT_FAILED,
	BLK_DMA_NR_STATS,
};

/*
 * Counters of one hardware queue, from the first time somebody starts them
 * until the queue is freed.
 */
struct blk_dma_stats {
	bool on;
	atomic64_t count[BLK_DMA_NR_STATS];
};

static const char *const blk_dma_stat_names[BLK_DMA_NR_STATS] = {
	[BLK_DMA_STAT_HOST] = "host",
	[BLK_DMA_STAT_BUS_ADDR] = "bus_addr",
	[BLK_DMA_STAT_HOST_BRIDGE] = "host_bridge",
	[BLK_DMA_STAT_MIXED] = "mixed",
	[BLK_DMA_STAT_UNREACHABLE] = "unreachable",
	[BLK_DMA_STAT_REGISTERED] = "registered",
	[BLK_DMA_STAT_LINEAR] = "linear",
	[BLK_DMA_STAT_IOVA] = "iova",
	[BLK_DMA_STAT_SEGMENTS] = "segments",
	[BLK_DMA_STAT_MAP_SYNCS] = "map_syncs",
	[BLK_DMA_STAT_UNMAP_SYNCS] = "unmap_syncs",
	[BLK_DMA_STAT_FAILED] = "failed",
};

/* Held while probes come and go. */
static DEFINE_MUTEX(blk_dma_stats_mutex);
static unsigned int blk_dma_stats_users;

/* NULL if nobody counts on @req's queue. */
static struct blk_dma_stats *blk_dma_stats(struct request *req)
{
	struct blk_dma_stats *stats = READ_ONCE(req->mq_hctx->dma_stats);

	return stats && READ_ONCE(stats->on) ? stats : NULL;
}

static void blk_dma_stat_inc(struct blk_dma_stats *stats,
			     enum blk_dma_stat stat)
{
	atomic64_inc(&stats->count[stat]);
}

static void blk_dma_probe_map(void *data, struct request *req,
			      enum pci_p2pdma_map_type map,
			      enum blk_dma_mode mode, unsigned int bytes,
			      unsigned int ranges, bool metadata)
{
	struct blk_dma_stats *stats = blk_dma_stats(req);

	if (!stats || metadata)
		return;

	switch (map) {
	case PCI_P2PDMA_MAP_BUS_ADDR:
		blk_dma_stat_inc(stats, BLK_DMA_STAT_BUS_ADDR);
		break;
	case PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:
		blk_dma_stat_inc(stats, BLK_DMA_STAT_HOST_BRIDGE);
		break;
	case PCI_P2PDMA_MAP_UNKNOWN:
		blk_dma_stat_inc(stats, BLK_DMA_STAT_MIXED);
		break;
	default:
		blk_dma_stat_inc(stats, BLK_DMA_STAT_HOST);
	}

	switch (mode) {
	case BLK_DMA_REGISTERED:
	case BLK_DMA_DMA_BUF:
		blk_dma_stat_inc(stats, BLK_DMA_STAT_REGISTERED);
		break;
	case BLK_DMA_LINEAR:
		blk_dma_stat_inc(stats, BLK_DMA_STAT_LINEAR);
		break;
	case BLK_DMA_IOVA:
		blk_dma_stat_inc(stats, BLK_DMA_STAT_IOVA);
		break;
	case BLK_DMA_SEGMENTS:
		blk_dma_stat_inc(stats, BLK_DMA_STAT_SEGMENTS);
		break;
	}
}

static void blk_dma_probe_sync(void *data, struct request *req, bool unmap)
{
	struct blk_dma_stats *stats = blk_dma_stats(req);

	if (stats)
		blk_dma_stat_inc(stats, unmap ? BLK_DMA_STAT_UNMAP_SYNCS :
						BLK_DMA_STAT_MAP_SYNCS);
}

static void blk_dma_probe_error(void *data, struct request *req,
				blk_status_t status, bool metadata)
{
	struct blk_dma_stats *stats = blk_dma_stats(req);

	if (!stats)
		return;
	blk_dma_stat_inc(stats, status == BLK_STS_TARGET ?
					BLK_DMA_STAT_UNREACHABLE :
					BLK_DMA_STAT_FAILED);
}

static int blk_dma_stats_get(void)
{
	int ret;

	if (blk_dma_stats_users++)
		return 0;

	ret = register_trace_block_rq_dma_map(blk_dma_probe_map, NULL);
	if (ret)
		goto put;
	ret = register_trace_block_rq_dma_sync(blk_dma_probe_sync, NULL);
	if (ret)
		goto unregister_map;
	ret = register_trace_block_rq_dma_error(blk_dma_probe_error, NULL);
	if (ret)
		goto unregister_sync;
	return 0;

unregister_sync:
	unregister_trace_block_rq_dma_sync(blk_dma_probe_sync, NULL);
unregister_map:
	unregister_trace_block_rq_dma_map(blk_dma_probe_map, NULL);
put:
	blk_dma_stats_users--;
	return ret;
}

static void blk_dma_stats_put(void)
{
	if (--blk_dma_stats_users)
		return;
	unregister_trace_block_rq_dma_map(blk_dma_probe_map, NULL);
	unregister_trace_block_rq_dma_sync(blk_dma_probe_sync, NULL);
	unregister_trace_block_rq_dma_error(blk_dma_probe_error, NULL);
}

static int blk_dma_stats_start(struct blk_mq_hw_ctx *hctx)
{
	struct blk_dma_stats *stats = hctx->dma_stats;
	int i, ret;

	if (!stats) {
		stats = kzalloc(sizeof(*stats), GFP_KERNEL);
		if (!stats)
			return -ENOMEM;
		WRITE_ONCE(hctx->dma_stats, stats);
	}

	for (i = 0; i < BLK_DMA_NR_STATS; i++)
		atomic64_set(&stats->count[i], 0);
	if (stats->on)
		return 0;
	ret = blk_dma_stats_get();
	if (!ret)
		WRITE_ONCE(stats->on, true);
	return ret;
}

static void blk_dma_stats_stop(struct blk_mq_hw_ctx *hctx)
{
	struct blk_dma_stats *stats = hctx->dma_stats;

	if (!stats || !stats->on)
		return;
	WRITE_ONCE(stats->on, false);
	blk_dma_stats_put();
}

/**
 * blk_mq_dma_stats_show - print the counters of a hardware queue
 * @data: the &struct blk_mq_hw_ctx
 * @m: where to
 *
 * Return: 0.
 */
int blk_mq_dma_stats_show(void *data, struct seq_file *m)
{
	struct blk_mq_hw_ctx *hctx = data;
	struct blk_dma_stats *stats = READ_ONCE(hctx->dma_stats);
	int i;

	seq_printf(m, "counting %d\n", stats && stats->on);
	for (i = 0; stats && i < BLK_DMA_NR_STATS; i++)
		seq_printf(m, "%s %lld\n", blk_dma_stat_names[i],
			   atomic64_read(&stats->count[i]));
	return 0;
}

/**
 * blk_mq_dma_stats_write - start or stop counting
 * @data: the &struct blk_mq_hw_ctx
 * @buf: a boolean; true sets the counters to zero and starts them
 * @count: bytes in @buf
 * @ppos: ignored
 *
 * Context: may sleep.
 * Return: @count or a negative errno.
 */
ssize_t blk_mq_dma_stats_write(void *data, const char __user *buf, size_t count,
			       loff_t *ppos)
{
	unsigned int noio;
	bool on;
	int ret;

	ret = kstrtobool_from_user(buf, count, &on);
	if (ret)
		return ret;

	/* Memory may wait for a frozen drive, which waits for who has its file open */
	noio = memalloc_noio_save();
	mutex_lock(&blk_dma_stats_mutex);
	if (on)
		ret = blk_dma_stats_start(data);
	else
		blk_dma_stats_stop(data);
	mutex_unlock(&blk_dma_stats_mutex);
	memalloc_noio_restore(noio);
	return ret ?: count;
}

/**
 * blk_mq_dma_stats_free - free the counters of a hardware queue
 * @hctx: the queue; has no request and is about to be freed
 *
 * Context: may sleep.
 */
void blk_mq_dma_stats_free(struct blk_mq_hw_ctx *hctx)
{
	mutex_lock(&blk_dma_stats_mutex);
	blk_dma_stats_stop(hctx);
	mutex_unlock(&blk_dma_stats_mutex);
	kfree(hctx->dma_stats);
}
