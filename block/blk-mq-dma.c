// SPDX-License-Identifier: GPL-2.0
/*
 * From a request's bios to DMA ranges, without a scatterlist.
 *
 * All that holds for a whole request is asked once, when the mapping starts:
 * how the device reaches the memory, and which of three ways of mapping that
 * allows (enum blk_dma_mode). After that, addresses only move.
 */
#include <linux/blk-integrity.h>
#include <linux/blk-mq-dma.h>
#include <linux/dma-linear.h>
#include <linux/pfn.h>

#include "blk.h"

void __blk_map_iter_cut(struct blk_map_iter *iter, struct phys_vec *vec)
{
	u64 room = (u64)iter->boundary - (vec->paddr & iter->boundary);
	u32 len = min(vec->len, iter->max_len);

	if (len > room)
		len = room + 1;

	iter->bvec--;
	iter->done = vec->paddr + len - bvec_phys(iter->bvec);
	iter->left += vec->len - len;
	vec->len = len;
}
EXPORT_SYMBOL_GPL(__blk_map_iter_cut);

/*
 * Bios whose memory meets within a page may share a request in spite of the
 * virt_boundary. No piece may end there: PRPs and IOVAs come by the page.
 */
bool __blk_map_iter_goes_on(struct bio *bio, bool is_integrity, phys_addr_t end)
{
	struct blk_map_iter next = { .bio = bio, .is_integrity = is_integrity };

	return blk_map_iter_next_bio(&next) &&
	       bvec_phys(next.bvec) + next.done == end;
}
EXPORT_SYMBOL_GPL(__blk_map_iter_goes_on);

void __blk_map_iter_join(struct blk_map_iter *iter, struct phys_vec *vec)
{
	struct blk_map_iter next = *iter;
	struct phys_vec more;

	while (!next.left && offset_in_page(vec->paddr + vec->len) &&
	       blk_map_iter_next_bio(&next)) {
		blk_map_iter_take(&next, &more);
		if (more.paddr != vec->paddr + vec->len ||
		    more.len > iter->max_len - vec->len ||
		    ((vec->paddr ^ (more.paddr + more.len - 1)) &
		     ~(phys_addr_t)iter->boundary))
			return;
		vec->len += more.len;
		*iter = next;
	}
}
EXPORT_SYMBOL_GPL(__blk_map_iter_join);

static __always_inline void blk_map_iter_init(struct request *req,
					      struct blk_map_iter *iter,
					      bool is_integrity)
{
	iter->bio = NULL;
	iter->left = 0;
	iter->done = 0;
	iter->max_len = queue_max_segment_size(req->q);
	iter->boundary = queue_segment_boundary(req->q);
	iter->is_integrity = is_integrity;
}

static __always_inline void blk_data_iter_init(struct request *req,
					       struct blk_map_iter *iter)
{
	blk_map_iter_init(req, iter, false);
	if (unlikely(req->rq_flags & RQF_SPECIAL_PAYLOAD)) {
		iter->bvec = &req->special_vec;
		iter->left = req->special_vec.bv_len;
	} else if (req->bio) {
		blk_map_iter_set_bio(iter, req->bio);
	}
}

/**
 * blk_rq_dma_bytes - how much there is to map
 * @req: the request
 * @is_integrity: its metadata; otherwise its data
 *
 * Return: the length in bytes.
 */
unsigned int blk_rq_dma_bytes(struct request *req, bool is_integrity)
{
	struct bio *bio = req->bio;
	unsigned int bytes = 0;

	if (!is_integrity)
		return blk_rq_payload_bytes(req);
	for_each_bio(bio)
		bytes += bio_integrity(bio)->bip_iter.bi_size;
	return bytes;
}
EXPORT_SYMBOL_GPL(blk_rq_dma_bytes);

/**
 * blk_rq_map_iter_init - start a walk over the data of a request
 * @req: the request
 * @iter: the walk; blk_map_iter_next() gives the pieces
 *
 * Context: any.
 */
void blk_rq_map_iter_init(struct request *req, struct blk_map_iter *iter)
{
	blk_data_iter_init(req, iter);
}
EXPORT_SYMBOL_GPL(blk_rq_map_iter_init);

static bool blk_dma_fail(struct request *req, struct blk_dma_iter *iter,
			 blk_status_t status)
{
	iter->status = status;
	__blk_rq_dma_trace_error(req, status, iter->iter.is_integrity);
	return false;
}

/* What finds no resources is retried; what the device cannot reach is not. */
static bool blk_dma_map_fail(struct request *req, struct blk_dma_iter *iter,
			     int error)
{
	if (error == -ENOMEM)
		return blk_dma_fail(req, iter, BLK_STS_RESOURCE);
	if (iter->attrs & DMA_ATTR_MMIO)
		return blk_dma_fail(req, iter, BLK_STS_TARGET);
	return blk_dma_fail(req, iter, BLK_STS_IOERR);
}

/*
 * Classify P2P memory by its first page, @page, which stands for all. Sets
 * @linear to whether its DMA addresses are physical ones plus @iter->offset.
 */
static bool blk_dma_classify(struct request *req, struct device *dma_dev,
			     struct blk_dma_iter *iter, struct page *page,
			     bool *linear)
{
	phys_addr_t last = PFN_PHYS(max_pfn) - 1;

	switch (pci_p2pdma_state(&iter->p2pdma, dma_dev, page)) {
	case PCI_P2PDMA_MAP_BUS_ADDR:
		iter->offset = pci_p2pdma_bus_addr_map(iter->p2pdma.mem, 0);
		*linear = true;
		return true;
	case PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:
		/* not RAM: no cache to maintain, no copy to make */
		iter->attrs = DMA_ATTR_MMIO;
		last = page->pgmap->range.end;
		fallthrough;
	case PCI_P2PDMA_MAP_NONE:
		*linear = dma_linear_offset(dma_dev, last, &iter->offset);
		return true;
	default:
		return blk_dma_fail(req, iter, BLK_STS_TARGET);
	}
}

/*
 * IOVAs come in granules. Where pieces begin or end inside one, each piece gets
 * granules of its own; @iova is the end of the last piece's.
 */
static dma_addr_t blk_dma_iova_place(struct blk_dma_iter *iter, dma_addr_t iova,
				     phys_addr_t phys)
{
	return ALIGN(iova, iter->granule) + (phys & (iter->granule - 1));
}

/* Bytes from the first IOVA of memory with gaps to the last. */
static size_t blk_dma_iova_span(struct blk_dma_iter *iter)
{
	struct blk_map_iter walk = iter->iter;
	dma_addr_t start = 0, end = 0;
	struct phys_vec vec;

	while (blk_map_iter_next_bvec(&walk, &vec)) {
		dma_addr_t place = blk_dma_iova_place(iter, end, vec.paddr);

		if (!end)
			start = place;
		end = place + vec.len;
	}
	return end - start;
}

/*
 * Link all memory into @state and set *@linked to the bytes of IOVAs that took.
 */
static int blk_dma_link(struct request *req, struct device *dma_dev,
			struct dma_iova_state *state, struct blk_dma_iter *iter,
			size_t *linked)
{
	enum dma_data_direction dir = rq_dma_dir(req);
	struct blk_map_iter walk = iter->iter;
	struct phys_vec vec;
	size_t done = 0;
	int error = 0;

	while (blk_map_iter_next_bvec(&walk, &vec)) {
		error = dma_iova_link(dma_dev, state, vec.paddr, done, vec.len,
				      dir, iter->attrs);
		if (unlikely(error))
			break;
		done += vec.len;
	}
	*linked = done;
	return error;
}

static int blk_dma_link_gaps(struct request *req, struct device *dma_dev,
			     struct dma_iova_state *state,
			     struct blk_dma_iter *iter, size_t *linked)
{
	struct blk_map_iter walk = iter->iter;
	struct phys_vec vec;
	size_t offset;
	int error;

	while (blk_map_iter_next_bvec(&walk, &vec)) {
		offset = 0;
		if (*linked)
			offset = blk_dma_iova_place(iter, state->addr + *linked,
						    vec.paddr) -
				 state->addr;
		error = dma_iova_link(dma_dev, state, vec.paddr, offset,
				      vec.len, rq_dma_dir(req), iter->attrs);
		if (error)
			return error;
		*linked = offset + vec.len;
	}
	return 0;
}

/*
 * Bounce buffers keep the address bits of dma_get_min_align_mask() only, and in
 * IOVAs with gaps it is not known later where one began.
 */
static bool blk_dma_can_use_iova(struct request *req, struct device *dma_dev,
				 struct blk_dma_iter *iter)
{
	unsigned long mask = dma_get_merge_boundary(dma_dev);

	if (!mask)
		return false;

	iter->granule = mask + 1;
	iter->gaps = mask & ~queue_virt_boundary(req->q);
	if (!iter->gaps && mask <= dma_get_min_align_mask(dma_dev))
		return true;
	return (iter->attrs & DMA_ATTR_MMIO) ||
	       !dma_iova_can_bounce(dma_dev, rq_dma_dir(req));
}

/* Without gaps the memory is one range, as far as the queue takes it as one. */
static __always_inline bool blk_dma_iova_next(struct blk_dma_iter *iter)
{
	struct phys_vec vec;

	if (!iter->gaps) {
		if (!iter->left)
			return false;
		iter->addr = iter->iova;
		iter->len = min_t(size_t, iter->left, iter->iter.max_len);
		iter->left -= iter->len;
	} else {
		if (!blk_map_iter_next_bvec(&iter->iter, &vec))
			return false;
		iter->addr = blk_dma_iova_place(iter, iter->iova, vec.paddr);
		iter->len = vec.len;
	}
	iter->iova = iter->addr + iter->len;
	return true;
}

static __always_inline bool blk_dma_map_segment(struct request *req,
						struct device *dma_dev,
						struct blk_dma_iter *iter,
						phys_addr_t phys, u32 len)
{
	iter->addr = dma_map_phys(dma_dev, phys, len, rq_dma_dir(req),
				  iter->attrs);
	if (dma_mapping_error(dma_dev, iter->addr))
		return blk_dma_map_fail(
			req, iter,
			(iter->attrs & DMA_ATTR_MMIO) ? -EREMOTEIO : -ENOMEM);
	iter->len = len;
	if (tracepoint_enabled(block_rq_dma_map))
		iter->bounced |= dma_is_bounced(dma_dev, iter->addr);
	return true;
}

static bool blk_dma_segment_next(struct request *req, struct device *dma_dev,
				 struct blk_dma_iter *iter)
{
	struct phys_vec vec;

	if (!blk_map_iter_next(&iter->iter, &vec))
		return false;
	return blk_dma_map_segment(req, dma_dev, iter, vec.paddr, vec.len);
}

static bool blk_dma_start_segments(struct request *req, struct device *dma_dev,
				   struct blk_dma_iter *iter)
{
	iter->mode = BLK_DMA_SEGMENTS;
	iter->bounced = false;
	return blk_dma_segment_next(req, dma_dev, iter);
}

bool __blk_rq_dma_map_iter_next(struct request *req, struct device *dma_dev,
				struct blk_dma_iter *iter)
{
	if (iter->mode == BLK_DMA_IOVA)
		return blk_dma_iova_next(iter);
	return blk_dma_segment_next(req, dma_dev, iter);
}
EXPORT_SYMBOL_GPL(__blk_rq_dma_map_iter_next);

static int blk_dma_sync(struct request *req, struct device *dma_dev,
			struct dma_iova_state *state, size_t linked,
			struct dma_iova_batch *batch)
{
	if (batch)
		return dma_iova_batch_sync_later(batch, dma_dev, state, linked);
	blk_rq_dma_trace_sync(req, dma_dev, false);
	return dma_iova_sync(dma_dev, state, 0, linked);
}

static bool blk_dma_unwind_iova(struct request *req, struct device *dma_dev,
				struct dma_iova_state *state,
				struct blk_dma_iter *iter, size_t linked,
				int error)
{
	dma_iova_destroy(dma_dev, state, linked, rq_dma_dir(req), iter->attrs);
	return blk_dma_map_fail(req, iter, error);
}

/*
 * Map memory in one range of IOVAs, or range by range if none is left. To be
 * called if blk_dma_can_use_iova().
 */
static bool blk_dma_start_iova(struct request *req, struct device *dma_dev,
			       struct dma_iova_state *state,
			       struct blk_dma_iter *iter,
			       struct dma_iova_slots *slots,
			       struct dma_iova_batch *batch)
{
	phys_addr_t first = bvec_phys(iter->iter.bvec) + iter->iter.done;
	size_t total = blk_rq_dma_bytes(req, iter->iter.is_integrity);
	size_t linked = 0, span = total;
	int error;

	if (unlikely(iter->gaps))
		span = blk_dma_iova_span(iter);
	if (!dma_iova_try_slot(dma_dev, state, slots, req->tag, first, span) &&
	    !dma_iova_try_alloc(dma_dev, state, first, span))
		return blk_dma_start_segments(req, dma_dev, iter);

	if (unlikely(iter->gaps))
		error = blk_dma_link_gaps(req, dma_dev, state, iter, &linked);
	else
		error = blk_dma_link(req, dma_dev, state, iter, &linked);
	if (!error)
		error = blk_dma_sync(req, dma_dev, state, linked, batch);
	if (unlikely(error))
		return blk_dma_unwind_iova(req, dma_dev, state, iter, linked,
					   error);

	iter->mode = BLK_DMA_IOVA;
	iter->left = total;
	iter->iova = state->addr;
	/* blk_dma_iova_place() adds the pad of the first piece again */
	if (unlikely(iter->gaps))
		iter->iova = ALIGN_DOWN(state->addr, iter->granule);
	return blk_dma_iova_next(iter);
}

/* What holds until something else is found. */
static __always_inline void blk_dma_iter_init(struct dma_iova_state *state,
					      struct blk_dma_iter *iter,
					      bool is_integrity)
{
	state->__size = 0;
	iter->p2pdma.mem = NULL;
	iter->p2pdma.map = PCI_P2PDMA_MAP_NONE;
	iter->status = BLK_STS_OK;
	iter->mode = BLK_DMA_LINEAR;
	iter->attrs = 0;
	iter->iter.is_integrity = is_integrity;
}

static __always_inline bool blk_dma_host_is_linear(struct device *dma_dev,
						   struct blk_dma_iter *iter)
{
	return dma_linear_offset(dma_dev, PFN_PHYS(max_pfn) - 1, &iter->offset);
}

static noinline bool blk_dma_walk_data(struct request *req,
				       struct device *dma_dev,
				       struct blk_dma_iter *iter)
{
	blk_data_iter_init(req, &iter->iter);
	return blk_rq_dma_map_iter_next(req, dma_dev, iter);
}

/* Give the only vector of the data or metadata as the only range: no walk. */
static __always_inline void blk_dma_set_only_range(struct blk_dma_iter *iter,
						   const struct bio_vec *bvecs,
						   const struct bvec_iter *bi)
{
	const struct bio_vec *bv = &bvecs[bi->bi_idx];

	iter->addr = bvec_phys(bv) + bi->bi_bvec_done + iter->offset;
	iter->len = bi->bi_size;
	iter->iter.bio = NULL;
	iter->iter.left = 0;
}

static __always_inline bool blk_dma_only_range(struct request *req,
					       struct blk_dma_iter *iter)
{
	if (!blk_rq_is_one_vector(req))
		return false;
	blk_dma_set_only_range(iter, req->bio->bi_io_vec, &req->bio->bi_iter);
	return true;
}

/*
 * What blk_dma_only_range() gives, mapped in a slot. @iter is done but for the
 * address.
 */
static bool blk_dma_link_only_range(struct request *req, struct device *dma_dev,
				    struct dma_iova_state *state,
				    struct blk_dma_iter *iter,
				    struct dma_iova_batch *batch)
{
	size_t linked = 0;
	int error;

	error = dma_iova_link(dma_dev, state, iter->addr, 0, iter->len,
			      rq_dma_dir(req), iter->attrs);
	if (likely(!error)) {
		linked = iter->len;
		error = blk_dma_sync(req, dma_dev, state, linked, batch);
	}
	if (unlikely(error))
		return blk_dma_unwind_iova(req, dma_dev, state, iter, linked,
					   error);

	iter->mode = BLK_DMA_IOVA;
	iter->addr = state->addr;
	iter->left = 0;
	return true;
}

/* Range by range, where neither a constant nor a range of IOVAs will do. */
static noinline bool blk_dma_map_data_segments(struct request *req,
					       struct device *dma_dev,
					       struct blk_dma_iter *iter)
{
	iter->offset = 0;
	if (likely(!(req->rq_flags & RQF_SPECIAL_PAYLOAD) &&
		   blk_dma_only_range(req, iter))) {
		iter->mode = BLK_DMA_SEGMENTS;
		iter->bounced = false;
		return blk_dma_map_segment(req, dma_dev, iter, iter->addr,
					   iter->len);
	}

	blk_data_iter_init(req, &iter->iter);
	return blk_dma_start_segments(req, dma_dev, iter);
}

static noinline bool blk_dma_map_data_iova(struct request *req,
					   struct device *dma_dev,
					   struct dma_iova_state *state,
					   struct blk_dma_iter *iter,
					   struct dma_iova_slots *slots,
					   struct dma_iova_batch *batch)
{
	if (!blk_dma_can_use_iova(req, dma_dev, iter))
		return blk_dma_map_data_segments(req, dma_dev, iter);

	iter->offset = 0;
	if (likely(!(req->rq_flags & RQF_SPECIAL_PAYLOAD) &&
		   blk_dma_only_range(req, iter))) {
		if (likely(dma_iova_try_slot(dma_dev, state, slots, req->tag,
					     iter->addr, iter->len)))
			return blk_dma_link_only_range(req, dma_dev, state,
						       iter, batch);
		/* to ask again counts as another transfer */
		slots = NULL;
	}

	blk_data_iter_init(req, &iter->iter);
	return blk_dma_start_iova(req, dma_dev, state, iter, slots, batch);
}

/* Map memory whose DMA addresses the IOMMU or the CPU has to provide for. */
static __always_inline bool
blk_dma_map_data(struct request *req, struct device *dma_dev,
		 struct dma_iova_state *state, struct blk_dma_iter *iter,
		 struct dma_iova_slots *slots, struct dma_iova_batch *batch)
{
	if (!use_dma_iommu(dma_dev))
		return blk_dma_map_data_segments(req, dma_dev, iter);
	return blk_dma_map_data_iova(req, dma_dev, state, iter, slots, batch);
}

/* P2P memory that is not known to be reached by bus address. */
static noinline bool blk_dma_start_other(struct request *req,
					 struct device *dma_dev,
					 struct dma_iova_state *state,
					 struct blk_dma_iter *iter,
					 struct page *page,
					 struct dma_iova_slots *slots,
					 struct dma_iova_batch *batch)
{
	bool linear;

	if (!blk_dma_classify(req, dma_dev, iter, page, &linear))
		return false;
	if (!linear)
		return blk_dma_map_data(req, dma_dev, state, iter, slots,
					batch);
	if (likely(blk_dma_only_range(req, iter)))
		return true;
	return blk_dma_walk_data(req, dma_dev, iter);
}

static noinline bool blk_dma_start_p2p(struct request *req,
				       struct device *dma_dev,
				       struct dma_iova_state *state,
				       struct blk_dma_iter *iter,
				       struct dma_iova_slots *slots,
				       struct dma_iova_batch *batch)
{
	struct bio *bio = req->bio;
	struct page *page = bio->bi_io_vec[bio->bi_iter.bi_idx].bv_page;

	if (unlikely(pci_p2pdma_recent_state(&iter->p2pdma, dma_dev, page) !=
		     PCI_P2PDMA_MAP_BUS_ADDR))
		return blk_dma_start_other(req, dma_dev, state, iter, page,
					   slots, batch);
	iter->offset = pci_p2pdma_bus_addr_map(iter->p2pdma.mem, 0);
	if (likely(blk_dma_only_range(req, iter)))
		return true;
	return blk_dma_walk_data(req, dma_dev, iter);
}

/* Nothing that another function does is worth a stack frame here. */
static __always_inline bool
blk_dma_start_data(struct request *req, struct device *dma_dev,
		   struct dma_iova_state *state, struct blk_dma_iter *iter,
		   struct dma_iova_slots *slots, struct dma_iova_batch *batch)
{
	bool special = req->rq_flags & RQF_SPECIAL_PAYLOAD;

	blk_dma_iter_init(state, iter, false);
	if (unlikely(!special && (req->bio->bi_opf & REQ_P2PDMA)))
		return blk_dma_start_p2p(req, dma_dev, state, iter, slots,
					 batch);
	if (unlikely(!blk_dma_host_is_linear(dma_dev, iter)))
		return blk_dma_map_data(req, dma_dev, state, iter, slots,
					batch);
	if (likely(!special && blk_dma_only_range(req, iter)))
		return true;
	return blk_dma_walk_data(req, dma_dev, iter);
}

/**
 * blk_rq_dma_map_iter_start - map a request and give its first DMA range
 * @req: the request; has data
 * @dma_dev: device that will do the DMA
 * @state: filled in; owned by the caller and kept until unmapping. Need not be
 *	initialised
 * @iter: filled in; blk_rq_dma_map_iter_next() gives the further ranges
 *
 * When all ranges are taken, what unmapping takes depends on @iter->mode; or
 * leave it to blk_rq_dma_unmap().
 *
 * Context: any.
 * Return: true with a range in @iter. False and nothing mapped, with the reason
 * in @iter->status: BLK_STS_TARGET if the device cannot reach the memory,
 * BLK_STS_RESOURCE if it is worth trying again.
 */
bool blk_rq_dma_map_iter_start(struct request *req, struct device *dma_dev,
			       struct dma_iova_state *state,
			       struct blk_dma_iter *iter)
{
	return blk_dma_start_data(req, dma_dev, state, iter, NULL, NULL);
}
EXPORT_SYMBOL_GPL(blk_rq_dma_map_iter_start);

/**
 * blk_rq_dma_map_iter_start_batch - as blk_rq_dma_map_iter_start(), for drivers
 *	that save IOVA allocations and IOTLB syncs
 * @req: the request; has data
 * @dma_dev: device that will do the DMA
 * @state: as for blk_rq_dma_map_iter_start()
 * @iter: as for blk_rq_dma_map_iter_start()
 * @slots: IOVAs kept for requests, by tag; NULL for none
 * @batch: takes the IOTLB sync, if one is due; NULL to sync at once
 *
 * With @batch the device must not learn of the request before dma_iova_batch_sync(). If
 * that fails, unmap the request as if it had been done.
 *
 * Context: any.
 * Return: as blk_rq_dma_map_iter_start().
 */
bool blk_rq_dma_map_iter_start_batch(struct request *req,
				     struct device *dma_dev,
				     struct dma_iova_state *state,
				     struct blk_dma_iter *iter,
				     struct dma_iova_slots *slots,
				     struct dma_iova_batch *batch)
{
	return blk_dma_start_data(req, dma_dev, state, iter, slots, batch);
}
EXPORT_SYMBOL_GPL(blk_rq_dma_map_iter_start_batch);

#ifdef CONFIG_BLK_DEV_INTEGRITY
/* As blk_dma_only_range(); but segments of metadata may be of several vectors. */
static __always_inline bool blk_dma_only_metadata(struct request *req,
						  struct blk_dma_iter *iter)
{
	struct bio_integrity_payload *bip = bio_integrity(req->bio);
	const struct bvec_iter *bi = &bip->bip_iter;
	const struct bio_vec *bv = &bip->bip_vec[bi->bi_idx];
	phys_addr_t phys = bvec_phys(bv) + bi->bi_bvec_done;

	if (req->bio->bi_next || bi->bi_size > bv->bv_len - bi->bi_bvec_done ||
	    bi->bi_size > queue_max_segment_size(req->q) ||
	    (phys ^ (phys + bi->bi_size - 1)) &
		    ~(phys_addr_t)queue_segment_boundary(req->q))
		return false;
	blk_dma_set_only_range(iter, bip->bip_vec, bi);
	return true;
}

static struct page *bip_first_page(struct bio *bio)
{
	struct bio_integrity_payload *bip = bio_integrity(bio);

	return bip->bip_vec[bip->bip_iter.bi_idx].bv_page;
}

/**
 * blk_rq_integrity_map_iter_init - start a walk over the metadata of a request
 * @req: the request; has metadata
 * @iter: the walk; blk_map_iter_next() gives the pieces
 *
 * Context: any.
 */
void blk_rq_integrity_map_iter_init(struct request *req,
				    struct blk_map_iter *iter)
{
	blk_map_iter_init(req, iter, true);
	blk_map_iter_set_bio(iter, req->bio);
}
EXPORT_SYMBOL_GPL(blk_rq_integrity_map_iter_init);

/**
 * blk_rq_integrity_dma_map_iter_start - map the metadata of a request
 * @req: the request; has metadata
 * @dma_dev: device that will do the DMA
 * @state: as for blk_rq_dma_map_iter_start(), a state of its own
 * @iter: as for blk_rq_dma_map_iter_start()
 *
 * Data and metadata may be of different classes.
 *
 * Context: any.
 * Return: as blk_rq_dma_map_iter_start().
 */
bool blk_rq_integrity_dma_map_iter_start(struct request *req,
					 struct device *dma_dev,
					 struct dma_iova_state *state,
					 struct blk_dma_iter *iter)
{
	return blk_rq_integrity_dma_map_iter_start_batch(req, dma_dev, state,
							 iter, NULL);
}
EXPORT_SYMBOL_GPL(blk_rq_integrity_dma_map_iter_start);

/**
 * blk_rq_integrity_dma_map_iter_start_batch - as for data
 * @req: the request; has metadata
 * @dma_dev: device that will do the DMA
 * @state: as for blk_rq_integrity_dma_map_iter_start()
 * @iter: as for blk_rq_integrity_dma_map_iter_start()
 * @batch: as for blk_rq_dma_map_iter_start_batch(); NULL to sync at once
 *
 * Context: any.
 * Return: as blk_rq_dma_map_iter_start().
 */
bool blk_rq_integrity_dma_map_iter_start_batch(struct request *req,
					       struct device *dma_dev,
					       struct dma_iova_state *state,
					       struct blk_dma_iter *iter,
					       struct dma_iova_batch *batch)
{
	bool linear;

	blk_dma_iter_init(state, iter, true);
	if (likely(!bio_integrity_flagged(req->bio, BIP_P2PDMA)))
		linear = blk_dma_host_is_linear(dma_dev, iter);
	else if (!blk_dma_classify(req, dma_dev, iter,
				   bip_first_page(req->bio), &linear))
		return false;
	if (likely(linear && blk_dma_only_metadata(req, iter)))
		return true;

	blk_rq_integrity_map_iter_init(req, &iter->iter);
	if (likely(linear))
		return blk_rq_dma_map_iter_next(req, dma_dev, iter);
	if (!blk_dma_can_use_iova(req, dma_dev, iter))
		return blk_dma_start_segments(req, dma_dev, iter);
	return blk_dma_start_iova(req, dma_dev, state, iter, NULL, batch);
}
EXPORT_SYMBOL_GPL(blk_rq_integrity_dma_map_iter_start_batch);

/**
 * blk_rq_integrity_dma_map_iter_next - map the next range of metadata
 * @req: the request
 * @dma_dev: device that will do the DMA
 * @iter: the iteration
 *
 * Context: any.
 * Return: as blk_rq_dma_map_iter_next().
 */
bool blk_rq_integrity_dma_map_iter_next(struct request *req,
					struct device *dma_dev,
					struct blk_dma_iter *iter)
{
	return blk_rq_dma_map_iter_next(req, dma_dev, iter);
}
EXPORT_SYMBOL_GPL(blk_rq_integrity_dma_map_iter_next);
#endif /* CONFIG_BLK_DEV_INTEGRITY */
