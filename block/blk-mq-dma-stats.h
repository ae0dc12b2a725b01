/* SPDX-License-Identifier: GPL-2.0 */
#ifndef BLK_MQ_DMA_STATS_H
#define BLK_MQ_DMA_STATS_H

#include <linux/types.h>

struct blk_mq_hw_ctx;
struct seq_file;

#ifdef CONFIG_BLK_DEBUG_FS
int blk_mq_dma_stats_show(void *data, struct seq_file *m);
ssize_t blk_mq_dma_stats_write(void *data, const char __user *buf, size_t count,
			       loff_t *ppos);
void blk_mq_dma_stats_free(struct blk_mq_hw_ctx *hctx);
#else /* CONFIG_BLK_DEBUG_FS */
static inline void blk_mq_dma_stats_free(struct blk_mq_hw_ctx *hctx)
{
}
#endif /* CONFIG_BLK_DEBUG_FS */

#endif /* BLK_MQ_DMA_STATS_H */
