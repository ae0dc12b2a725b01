// SPDX-License-Identifier: GPL-2.0
/*
 * One IOTLB sync for several transfers: after they are linked, before the
 * device learns of them; or after they are unlinked, before their IOVAs and
 * their memory are used again.
 *
 * IOVAs of transfers that travel together are close to each other but seldom
 * neighbours. Those within one block share an invalidation: a few descriptors for
 * the hardware rather than one for each transfer, and no translation outside of
 * blocks is lost. Where each page of an invalidation costs a command, neighbours
 * alone share one. Those that are neighbours, in slots, are unmapped as one before
 * that.
 */
#include <linux/dma-iova-batch.h>
#include <linux/dma-map-ops.h>
#include <linux/iommu-dma.h>
#include <linux/iova.h>

#include "dma-iommu.h"

#define DMA_IOVA_BLOCK_SHIFT ilog2(DMA_IOVA_TABLE_SIZE)

/**
 * dma_iova_can_batch - whether batches save a device work
 * @dev: device that will do the DMA
 *
 * While a driver is bound to @dev, false may become true, when its domain gets a
 * flush queue, but not the reverse. Batches are correct where it is false, too.
 *
 * Context: any.
 * Return: true if @dev is behind an IOMMU whose driver syncs several ranges at
 * once, or in a domain with a flush queue, where batches save unmapping only.
 */
bool dma_iova_can_batch(struct device *dev)
{
	struct iommu_domain *domain;

	if (!use_dma_iommu(dev))
		return false;
	domain = iommu_get_dma_domain(dev);
	return domain->ops->iotlb_sync_ranges ||
	       READ_ONCE(domain->iova_cookie->fq_domain);
}
EXPORT_SYMBOL_GPL(dma_iova_can_batch);

/* Whether @range and what is from @start to @end are within one block. */
static bool dma_iova_same_block(struct iommu_iotlb_range *range,
				unsigned long start, unsigned long end)
{
	return !(((range->start ^ start) | (range->start ^ end)) >>
		 DMA_IOVA_BLOCK_SHIFT);
}

/* Whether one invalidation is to cover @range and what is from @start to @end. */
static bool dma_iova_batch_joins(struct dma_iova_batch *batch,
				 struct iommu_iotlb_range *range,
				 unsigned long start, unsigned long end)
{
	if (unlikely(batch->domain->sync_by_page))
		return range->end + 1 == start || end + 1 == range->start;
	return dma_iova_same_block(range, start, end);
}

static void dma_iova_batch_append(struct dma_iova_batch *batch,
				  unsigned long start, unsigned long end)
{
	batch->ranges[batch->nr_ranges++] = (struct iommu_iotlb_range){
		.start = start,
		.end = end,
	};
}

static __always_inline void dma_iova_batch_add(struct dma_iova_batch *batch,
					       unsigned long start,
					       unsigned long end)
{
	unsigned int i = batch->nr_ranges;
	struct iommu_iotlb_range *range;

	while (i--) {
		range = &batch->ranges[i];
		if (dma_iova_batch_joins(batch, range, start, end)) {
			range->start = min(range->start, start);
			range->end = max(range->end, end);
			return;
		}
	}
	dma_iova_batch_append(batch, start, end);
}

/*
 * Transfers of neighbouring slots often end together: unmap their IOVAs as one.
 * Never bridge a hole between two runs, which may be mapped for others. A run
 * grows only within one block. dma_iova_reserve() leaves a gap behind slots
 * there, so that no run joins slots to other IOVAs.
 */
static __always_inline bool
dma_iova_batch_extend_run(struct dma_iova_batch *batch, unsigned long start,
			  unsigned long end)
{
	unsigned int i = batch->nr_runs;
	struct iommu_iotlb_range *run;

	while (i--) {
		run = &batch->runs[i];
		if (!dma_iova_same_block(run, start, end))
			continue;
		if (run->end + 1 == start) {
			run->end = end;
			return true;
		}
		if (end + 1 == run->start) {
			run->start = start;
			return true;
		}
	}
	return false;
}

/* Whether @batch has room for another range of @domain. */
static bool dma_iova_batch_takes(struct dma_iova_batch *batch,
				 struct iommu_domain *domain)
{
	return batch->domain == domain &&
	       batch->nr_ranges < DMA_IOVA_BATCH_RANGES;
}

static noinline int dma_iova_batch_sync_slow(struct dma_iova_batch *batch,
					     struct device *dev,
					     struct dma_iova_state *state,
					     size_t size)
{
	struct iommu_domain *domain = iommu_get_dma_domain(dev);
	size_t mask;

	if (dma_iova_map_sync_is_idle(domain))
		return 0;
	if (!domain->ops->iotlb_sync_map_ranges)
		return dma_iova_sync(dev, state, 0, size);

	if (unlikely(!dma_iova_batch_takes(batch, domain))) {
		batch->error = dma_iova_batch_sync(batch);
		batch->domain = domain;
	}
	mask = iova_mask(&domain->iova_cookie->iovad);
	dma_iova_batch_add(batch, state->addr & ~mask,
			   (state->addr + size - 1) | mask);
	return 0;
}

/**
 * dma_iova_batch_sync_later - leave the sync of a linked range to a batch
 * @batch: the batch, for mapping
 * @dev: device the range was allocated for
 * @state: the range; may be freed or used again by the caller at any time
 * @size: bytes linked, from the start of the range
 *
 * In place of dma_iova_sync(). The device may use the memory only after
 * dma_iova_batch_sync().
 *
 * Context: any.
 * Return: 0, or a negative errno if the driver of the IOMMU knows no batches
 * and syncing this range failed.
 */
int dma_iova_batch_sync_later(struct dma_iova_batch *batch, struct device *dev,
			      struct dma_iova_state *state, size_t size)
{
	if ((state->__size & DMA_IOVA_IN_SLOT) &&
	    dma_iova_map_sync_is_idle(state->__slots->domain))
		return 0;
	return dma_iova_batch_sync_slow(batch, dev, state, size);
}
EXPORT_SYMBOL_GPL(dma_iova_batch_sync_later);

/**
 * dma_iova_batch_sync - let the device see what a batch was given
 * @batch: the batch, for mapping; empty afterwards
 *
 * Context: any.
 * Return: 0, or a negative errno; then none of the batch's transfers may start.
 * Their mappings stay: dma_iova_destroy() each.
 */
int dma_iova_batch_sync(struct dma_iova_batch *batch)
{
	struct iommu_domain *domain = batch->domain;
	int error = batch->error;

	if (!domain)
		return 0;
	if (!error)
		error = domain->ops->iotlb_sync_map_ranges(domain,
							   batch->ranges,
							   batch->nr_ranges);
	dma_iova_batch_init(batch);
	return error;
}
EXPORT_SYMBOL_GPL(dma_iova_batch_sync);

/* Sync what is unmapped. Page tables that this emptied are freed after that. */
static void dma_iova_batch_sync_ranges(struct dma_iova_batch *batch)
{
	struct iommu_domain *domain = batch->domain;

	if (batch->queued)
		iommu_dma_flush_later(domain->iova_cookie,
				      &batch->gather.freelist);
	else
		domain->ops->iotlb_sync_ranges(domain, &batch->gather,
					       batch->ranges, batch->nr_ranges);
	batch->nr_ranges = 0;
}

static void dma_iova_batch_unmap_runs(struct dma_iova_batch *batch)
{
	struct iommu_iotlb_range *run = batch->runs;
	void **table = batch->tables;

	for (; batch->nr_runs; batch->nr_runs--, run++) {
		dma_iova_unmap_nosync(batch->domain, *table++, run->start,
				      run->end - run->start + 1,
				      &batch->gather);
		if (batch->queued)
			continue;
		dma_iova_batch_add(batch, run->start, run->end);
		if (unlikely(batch->nr_ranges == DMA_IOVA_BATCH_RANGES))
			dma_iova_batch_sync_ranges(batch);
	}
}

/* Start to unmap in @domain. Return: false if that is not for batches. */
static noinline bool dma_iova_batch_start_unlink(struct dma_iova_batch *batch,
						 struct iommu_domain *domain)
{
	bool queued = READ_ONCE(domain->iova_cookie->fq_domain);

	dma_iova_batch_sync_unlinked(batch);
	if (!queued && !domain->ops->iotlb_sync_ranges)
		return false;

	iommu_iotlb_gather_init(&batch->gather);
	/* the driver is not to sync or to record ranges by itself */
	batch->gather.queued = true;
	batch->queued = queued;
	batch->domain = domain;
	return true;
}

/* @batch is of the domain of @state. False if there is no room for a run. */
static __always_inline bool dma_iova_batch_add_run(struct dma_iova_batch *batch,
						   struct iommu_domain *domain,
						   struct dma_iova_state *state,
						   size_t mapped_len)
{
	size_t mask = iova_mask(&domain->iova_cookie->iovad);
	unsigned long start = state->addr & ~mask;
	unsigned long end = (state->addr + mapped_len - 1) | mask;
	unsigned int nr = batch->nr_runs;

	if (dma_iova_batch_extend_run(batch, start, end))
		return true;
	if (unlikely(nr == DMA_IOVA_BATCH_RUNS))
		return false;
	batch->runs[nr].start = start;
	batch->runs[nr].end = end;
	batch->tables[nr] = NULL;
	if (state->__size & DMA_IOVA_IN_TABLE)
		batch->tables[nr] = READ_ONCE(*dma_iova_table(state->__slots,
							      start));
	batch->nr_runs++;
	return true;
}

static noinline void
dma_iova_batch_unlink_slow(struct dma_iova_batch *batch, struct device *dev,
			   struct dma_iova_state *state, size_t mapped_len,
			   enum dma_data_direction dir, unsigned long attrs)
{
	struct iommu_domain *domain = iommu_get_dma_domain(dev);
	u64 flags = state->__size;

	/* IOVAs outside slots go to the flush queue now; bounce buffers cannot wait */
	if (unlikely(!mapped_len || (flags & DMA_IOVA_USE_SWIOTLB)) ||
	    (unlikely(batch->domain != domain) &&
	     !dma_iova_batch_start_unlink(batch, domain)) ||
	    batch->queued != !!(flags & DMA_IOVA_QUEUED)) {
		dma_iova_destroy(dev, state, mapped_len, dir, attrs);
		return;
	}

	dma_iova_to_cpu(dev, domain, state->addr, mapped_len, dir, attrs);
	if (!dma_iova_batch_add_run(batch, domain, state, mapped_len)) {
		dma_iova_batch_unmap_runs(batch);
		dma_iova_batch_add_run(batch, domain, state, mapped_len);
	}
	/* a slot has nothing to free */
	if (flags & DMA_IOVA_IN_SLOT)
		state->__size = 0;
	else
		state->__size = flags | DMA_IOVA_UNLINKED;
}

/**
 * dma_iova_batch_unlink - leave unmapping of a range and the sync to a batch
 * @batch: the batch, for unmapping
 * @dev: device the range was allocated for
 * @state: the range, in no use afterwards if it was a slot or is freed already
 * @mapped_len: bytes linked, as for dma_iova_destroy()
 * @dir: direction, as at dma_iova_link()
 * @attrs: attributes, as at dma_iova_link()
 *
 * The device may reach the memory until dma_iova_batch_sync_unlinked(), so do not
 * let go of it. After that, if dma_use_iova() is still true of @state, give it to
 * dma_iova_destroy(), which frees the IOVAs.
 *
 * Context: any.
 */
void dma_iova_batch_unlink(struct dma_iova_batch *batch, struct device *dev,
			   struct dma_iova_state *state, size_t mapped_len,
			   enum dma_data_direction dir, unsigned long attrs)
{
	u64 flags = state->__size;

	/* A page table is kept only for coherent devices: no dma_iova_to_cpu() */
	if (likely((flags & DMA_IOVA_IN_TABLE) &&
		   !(flags & DMA_IOVA_USE_SWIOTLB) && mapped_len &&
		   batch->domain == state->__slots->domain &&
		   batch->queued == !!(flags & DMA_IOVA_QUEUED) &&
		   dma_iova_batch_add_run(batch, batch->domain, state,
					  mapped_len))) {
		state->__size = 0;
		return;
	}
	dma_iova_batch_unlink_slow(batch, dev, state, mapped_len, dir, attrs);
}
EXPORT_SYMBOL_GPL(dma_iova_batch_unlink);

/**
 * dma_iova_batch_sync_unlinked - invalidate the IOTLB for all unlinked ranges
 * @batch: the batch, for unmapping; empty afterwards
 *
 * Page tables that unmapping has emptied are freed after that. In a domain with
 * a flush queue the device is cut off at its next flush.
 *
 * Context: any.
 */
void dma_iova_batch_sync_unlinked(struct dma_iova_batch *batch)
{
	if (!batch->domain)
		return;
	dma_iova_batch_unmap_runs(batch);
	dma_iova_batch_sync_ranges(batch);
	dma_iova_batch_init(batch);
}
EXPORT_SYMBOL_GPL(dma_iova_batch_sync_unlinked);
