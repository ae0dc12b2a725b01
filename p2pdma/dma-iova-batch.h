/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One IOTLB sync for several transfers. See Documentation/core-api/dma-iova.rst.
 */
#ifndef _LINUX_DMA_IOVA_BATCH_H
#define _LINUX_DMA_IOVA_BATCH_H

#include <linux/dma-mapping.h>
#include <linux/iommu.h>

/* Ranges that one sync covers; a batch that has more is synced early. */
#define DMA_IOVA_BATCH_RANGES 16
/* Runs of adjacent IOVAs, each unmapped as one; for one more, unmap all. */
#define DMA_IOVA_BATCH_RUNS 8

/**
 * struct dma_iova_batch - transfers that wait for one IOTLB sync
 *
 * On the stack of whoever maps or unmaps several transfers; for mapping or for
 * unmapping, not for both. Not shared between CPUs. All fields are private.
 *
 * The batch owns the runs until they are unmapped: nobody else maps there.
 */
struct dma_iova_batch {
	/* private: */
	struct iommu_domain *domain; /* of all ranges; borrowed */
	unsigned int nr_ranges;
	unsigned int nr_runs;
	bool queued; /* a flush queue syncs later; unmapping */
	int error; /* of an earlier sync of this batch; negative errno */
	struct iommu_iotlb_gather gather; /* page tables to free; unmapping */
	struct iommu_iotlb_range ranges[DMA_IOVA_BATCH_RANGES];
	struct iommu_iotlb_range runs[DMA_IOVA_BATCH_RUNS]; /* still mapped */
	void *tables[DMA_IOVA_BATCH_RUNS]; /* of each run; NULL if not kept */
};

/**
 * dma_iova_batch_init - start a batch
 * @batch: set to hold nothing
 *
 * A batch that nothing was added to needs no end.
 */
static inline void dma_iova_batch_init(struct dma_iova_batch *batch)
{
	batch->domain = NULL;
	batch->nr_ranges = 0;
	batch->nr_runs = 0;
	batch->error = 0;
}

/**
 * dma_iova_batch_is_empty - whether nothing waits for a sync
 * @batch: the batch
 *
 * Return: true if ending the batch would do nothing.
 */
static inline bool dma_iova_batch_is_empty(struct dma_iova_batch *batch)
{
	return !batch->domain;
}

#ifdef CONFIG_IOMMU_DMA
bool dma_iova_can_batch(struct device *dev);
int dma_iova_batch_sync_later(struct dma_iova_batch *batch, struct device *dev,
			      struct dma_iova_state *state, size_t size);
int dma_iova_batch_sync(struct dma_iova_batch *batch);
void dma_iova_batch_unlink(struct dma_iova_batch *batch, struct device *dev,
			   struct dma_iova_state *state, size_t mapped_len,
			   enum dma_data_direction dir, unsigned long attrs);
void dma_iova_batch_sync_unlinked(struct dma_iova_batch *batch);
#else /* CONFIG_IOMMU_DMA */
static inline bool dma_iova_can_batch(struct device *dev)
{
	return false;
}

static inline int dma_iova_batch_sync_later(struct dma_iova_batch *batch,
					    struct device *dev,
					    struct dma_iova_state *state,
					    size_t size)
{
	return -EOPNOTSUPP;
}

static inline int dma_iova_batch_sync(struct dma_iova_batch *batch)
{
	return 0;
}

static inline void dma_iova_batch_unlink(struct dma_iova_batch *batch,
					 struct device *dev,
					 struct dma_iova_state *state,
					 size_t mapped_len,
					 enum dma_data_direction dir,
					 unsigned long attrs)
{
}

static inline void dma_iova_batch_sync_unlinked(struct dma_iova_batch *batch)
{
}
#endif /* CONFIG_IOMMU_DMA */
#endif /* _LINUX_DMA_IOVA_BATCH_H */
