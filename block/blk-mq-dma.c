// SPDX-License-Identifier: GPL-2.0
/*
 * From a request's bios to DMA ranges, without a scatterlist.
 *
 * What holds for a device is asked once for each queue (struct blk_dma_client).
 * What holds for a whole request is asked once, when its mapping starts: how the
 * device reaches the memory, and so how it is mapped: linear, in one range of IOVAs, or
 * segment by segment (enum blk_dma_mode; what stays mapped is blk-dma-buffer.c's).
 * After that, addresses only move.
 *
 * Read blk_dma_start() first.
 */
#include <linux/blk-integrity.h>
#include <linux/blk-mq-dma.h>
#include <linux/dma-linear.h>
#include <linux/iommu-dma.h>
#include <linux/mempool.h>
#include <linux/pfn.h>
#include <linux/sched/mm.h>

#include "blk.h"
#include "blk-p2pdma.h"

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

/**
 * blk_rq_map_iter_init - start a walk over the memory of a request
 * @req: the request
 * @iter: the walk; blk_map_iter_next() gives the pieces
 * @is_integrity: over its metadata, which it has; otherwise over its data
 *
 * Context: any.
 */
void blk_rq_map_iter_init(struct request *req, struct blk_map_iter *iter,
			  bool is_integrity)
{
	iter->bio = NULL;
	iter->left = 0;
	iter->done = 0;
	iter->max_len = queue_max_segment_size(req->q);
	iter->boundary = queue_segment_boundary(req->q);
	iter->is_integrity = is_integrity;

	if (!is_integrity && (req->rq_flags & RQF_SPECIAL_PAYLOAD)) {
		iter->bvec = &req->special_vec;
		iter->left = req->special_vec.bv_len;
	} else if (req->bio) {
		blk_map_iter_set_bio(iter, req->bio);
	}
}
EXPORT_SYMBOL_GPL(blk_rq_map_iter_init);

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

static bool blk_dma_fail(struct request *req, struct blk_dma_iter *iter,
			 blk_status_t status)
{
	iter->status = status;
	__blk_rq_dma_trace_error(req, status, iter->iter.is_integrity);
	return false;
}

/* What finds no resources is retried; what the device cannot reach is not. */
static blk_status_t blk_dma_error_status(int error, unsigned long attrs)
{
	if (error == -ENOMEM)
		return BLK_STS_RESOURCE;
	return (attrs & DMA_ATTR_MMIO) ? BLK_STS_TARGET : BLK_STS_IOERR;
}

/* In place of a range's address: by bus address nothing is mapped. */
#define BLK_DMA_NOT_MAPPED DMA_MAPPING_ERROR

/*
 * Mode BLK_DMA_SEGMENTS: each range by itself. What is mapped so may be of
 * several classes (PCI_P2PDMA_MAP_UNKNOWN), and then each range is asked for
 * its own.
 */
static enum pci_p2pdma_map_type
blk_dma_range_map_type(struct device *dev, enum pci_p2pdma_map_type map,
		       phys_addr_t phys, struct pci_p2pdma_map_state *state)
{
	if (likely(map != PCI_P2PDMA_MAP_UNKNOWN))
		return map;
	return pci_p2pdma_state(state, dev, pfn_to_page(PHYS_PFN(phys)));
}

/*
 * What a range was mapped with. How a device reaches a peer may have changed since,
 * and is not asked again; whether memory is a peer's stays.
 */
static unsigned long blk_dma_range_attrs(enum pci_p2pdma_map_type map,
					 phys_addr_t phys)
{
	if (likely(map != PCI_P2PDMA_MAP_UNKNOWN))
		return blk_dma_attrs(map);
	return pci_p2pdma_pgmap(pfn_to_page(PHYS_PFN(phys))) ? DMA_ATTR_MMIO : 0;
}

static mempool_t *blk_dma_reserve_pool(struct blk_dma_client *client,
				       bool is_integrity)
{
	return is_integrity ? &client->reserve->metadata :
			      &client->reserve->data;
}

static dma_addr_t *blk_dma_alloc_addrs(struct blk_dma_client *client,
				       unsigned int max, bool is_integrity)
{
	if (max > BLK_DMA_RESERVE_RANGES)
		return kmalloc_array(max, sizeof(dma_addr_t),
				     GFP_ATOMIC | __GFP_NOWARN);
	return mempool_alloc(blk_dma_reserve_pool(client, is_integrity),
			     GFP_ATOMIC);
}

static dma_addr_t *blk_dma_segment_addrs(struct blk_dma_segments *segments)
{
	return segments->max > 1 ? segments->addrs : &segments->addr;
}

/* Make room for the address of each range. */
static bool blk_dma_init_segments(struct blk_dma_client *client,
				  struct request *req,
				  struct dma_iova_state *state,
				  struct blk_dma_iter *iter, bool one)
{
	struct blk_dma_segments *segments;
	struct blk_map_iter walk;
	unsigned int max = one;
	struct phys_vec vec;

	iter->segments = NULL;
	if (!client->reserve)
		return true;
	segments = &container_of(state, struct blk_dma_mapping, iova)->segments;
	if (!one) {
		blk_rq_map_iter_init(req, &walk, iter->iter.is_integrity);
		while (blk_map_iter_next(&walk, &vec))
			max++;
	}
	segments->max = max;
	segments->nr = 0;
	iter->segments = segments;
	if (max <= 1)
		return true;
	segments->addrs = blk_dma_alloc_addrs(client, max,
					      iter->iter.is_integrity);
	return segments->addrs ||
	       blk_dma_fail(req, iter, BLK_STS_RESOURCE);
}

static void blk_dma_exit_segments(struct blk_dma_client *client,
				  struct blk_dma_segments *segments,
				  bool is_integrity)
{
	if (!segments || segments->max <= 1)
		return;
	if (segments->max > BLK_DMA_RESERVE_RANGES)
		kfree(segments->addrs);
	else
		mempool_free(segments->addrs,
			     blk_dma_reserve_pool(client, is_integrity));
}

/* Set @iter to the range, and *@mapped to what there is to unmap. */
static bool blk_dma_find_range(struct request *req, struct device *dev,
			       struct blk_dma_iter *iter,
			       const struct phys_vec *vec, dma_addr_t *mapped)
{
	struct pci_p2pdma_map_state state = {};
	unsigned long attrs = 0;

	iter->len = vec->len;
	switch (blk_dma_range_map_type(dev, iter->p2pdma.map, vec->paddr,
				       &state)) {
	case PCI_P2PDMA_MAP_NONE:
		/* what finds no room is tried again */
		attrs = DMA_ATTR_NO_WARN;
		break;
	case PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:
		attrs = DMA_ATTR_MMIO;
		break;
	case PCI_P2PDMA_MAP_BUS_ADDR:
		iter->addr = pci_p2pdma_bus_addr_map(state.mem, vec->paddr);
		*mapped = BLK_DMA_NOT_MAPPED;
		return true;
	default:
		return blk_dma_fail(req, iter, BLK_STS_TARGET);
	}

	iter->addr = dma_map_phys(dev, vec->paddr, vec->len, rq_dma_dir(req),
				  attrs);
	/*
	 * IOVAs and bounce buffers come back. Without an IOMMU a peer beyond the
	 * device's mask is out of its reach.
	 */
	if (dma_mapping_error(dev, iter->addr))
		return blk_dma_fail(req, iter,
				    (attrs == DMA_ATTR_MMIO &&
				     !use_dma_iommu(dev)) ?
					    BLK_STS_TARGET :
					    BLK_STS_RESOURCE);
	*mapped = iter->addr;
	return true;
}

static bool blk_dma_map_range(struct request *req, struct device *dev,
			      struct blk_dma_iter *iter,
			      const struct phys_vec *vec)
{
	struct blk_dma_segments *segments = iter->segments;
	dma_addr_t mapped;

	if (segments && WARN_ON_ONCE(segments->nr == segments->max))
		return blk_dma_fail(req, iter, BLK_STS_IOERR);
	if (!blk_dma_find_range(req, dev, iter, vec, &mapped))
		return false;
	if (segments)
		blk_dma_segment_addrs(segments)[segments->nr++] = mapped;
	return true;
}

static void blk_dma_unmap_segments(struct blk_dma_client *client,
				   struct request *req,
				   struct blk_dma_mapping *m)
{
	dma_addr_t *addrs = blk_dma_segment_addrs(&m->segments);
	struct blk_map_iter walk;
	struct phys_vec vec;
	unsigned int i;

	blk_rq_map_iter_init(req, &walk, m->is_integrity);
	for (i = 0; i < m->segments.nr && blk_map_iter_next(&walk, &vec); i++) {
		if (addrs[i] == BLK_DMA_NOT_MAPPED)
			continue;
		dma_unmap_phys(client->dev, addrs[i], vec.len, rq_dma_dir(req),
			       blk_dma_range_attrs(m->map, vec.paddr));
	}
	WARN_ON_ONCE(i != m->segments.nr);
	blk_dma_exit_segments(client, &m->segments, m->is_integrity);
}

static bool blk_dma_range_next(struct request *req, struct device *dev,
			       struct blk_dma_iter *iter)
{
	struct phys_vec vec;

	return blk_map_iter_next(&iter->iter, &vec) &&
	       blk_dma_map_range(req, dev, iter, &vec);
}

/*
 * Mode BLK_DMA_IOVA: one range of IOVAs. They come in granules. Where pieces
 * begin or end inside one (@iter->gaps), each piece gets granules of its own;
 * @iova is the end of the last piece's.
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
 * Bounce buffers keep the address bits of dma_get_min_align_mask() only, and in
 * IOVAs with gaps it is not known later where one began.
 */
static bool blk_dma_can_use_iova(struct blk_dma_client *client,
				 struct request *req, struct blk_dma_iter *iter)
{
	unsigned long mask = client->iova_mask;

	if (!mask || iter->p2pdma.map == PCI_P2PDMA_MAP_UNKNOWN)
		return false;
	iter->granule = mask + 1;
	iter->gaps = mask;
	/* the metadata of merged bios need not join */
	if (!iter->iter.is_integrity)
		iter->gaps = mask & ~queue_virt_boundary(req->q);
	if (!iter->gaps && mask <= dma_get_min_align_mask(client->dev))
		return true;
	return blk_dma_attrs(iter->p2pdma.map) ||
	       !dma_iova_can_bounce(client->dev, rq_dma_dir(req));
}

/* Link all memory into @state and set *@linked to the bytes of IOVAs that took. */
static int blk_dma_iova_link(struct request *req, struct device *dev,
			     struct dma_iova_state *state,
			     struct blk_dma_iter *iter, size_t *linked)
{
	unsigned long attrs = blk_dma_attrs(iter->p2pdma.map);
	enum dma_data_direction dir = rq_dma_dir(req);
	struct blk_map_iter walk = iter->iter;
	struct phys_vec vec;
	size_t done = 0, at = 0;
	int error = 0;

	while (blk_map_iter_next_bvec(&walk, &vec)) {
		if (unlikely(iter->gaps) && done)
			at = blk_dma_iova_place(iter, state->addr + done,
						vec.paddr) - state->addr;
		error = dma_iova_link(dev, state, vec.paddr, at, vec.len, dir,
				      attrs);
		if (unlikely(error))
			break;
		at += vec.len;
		done = at;
	}
	*linked = done;
	return error;
}

/* Without gaps the memory is one range, as far as the queue takes it as one. */
static bool blk_dma_iova_next(struct blk_dma_iter *iter)
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

static int blk_dma_iova_sync(struct request *req, struct device *dev,
			     struct dma_iova_state *state, size_t linked,
			     struct dma_iova_batch *batch)
{
	if (batch)
		return dma_iova_batch_sync_later(batch, dev, state, linked);
	blk_rq_dma_trace_sync(req, dev, false);
	return dma_iova_sync(dev, state, 0, linked);
}

/*
 * Link the memory, @total bytes, into @state, which is allocated; with gaps for
 * more than @total. If @one, the memory is the one vector that begins at @first.
 */
static bool blk_dma_iova_start(struct request *req, struct device *dev,
			       struct dma_iova_state *state,
			       struct blk_dma_iter *iter,
			       struct dma_iova_batch *batch, phys_addr_t first,
			       size_t total, bool one)
{
	unsigned long attrs = blk_dma_attrs(iter->p2pdma.map);
	size_t linked;
	int error;

	if (likely(one)) {
		error = dma_iova_link(dev, state, first, 0, total,
				      rq_dma_dir(req), attrs);
		linked = error ? 0 : total;
	} else {
		error = blk_dma_iova_link(req, dev, state, iter, &linked);
	}
	if (!error)
		error = blk_dma_iova_sync(req, dev, state, linked, batch);
	if (unlikely(error)) {
		dma_iova_destroy(dev, state, linked, rq_dma_dir(req), attrs);
		return blk_dma_fail(req, iter,
				    blk_dma_error_status(error, attrs));
	}

	iter->mode = BLK_DMA_IOVA;
	iter->left = 0;
	if (likely(one)) {
		iter->addr = state->addr;
		return true;
	}
	iter->left = total;
	iter->iova = state->addr;
	/* blk_dma_iova_place() adds the pad of the first piece again */
	if (unlikely(iter->gaps))
		iter->iova = ALIGN_DOWN(state->addr, iter->granule);
	return blk_dma_iova_next(iter);
}

static noinline bool blk_dma_start_linear(struct request *req,
					  struct blk_dma_iter *iter)
{
	struct phys_vec vec;

	blk_rq_map_iter_init(req, &iter->iter, iter->iter.is_integrity);
	if (!blk_map_iter_next(&iter->iter, &vec))
		return false;
	iter->addr = vec.paddr + iter->offset;
	iter->len = vec.len;
	return true;
}

/*
 * Whether all of it is host memory that needs no mapping, for a device which does
 * not reach all that there may be.
 */
static bool blk_dma_is_within_reach(struct blk_dma_client *client,
				    struct request *req,
				    struct blk_dma_iter *iter)
{
	struct blk_map_iter walk;
	struct phys_vec vec;

	if (!client->linear_last || dma_mappings_watched() ||
	    iter->p2pdma.map != PCI_P2PDMA_MAP_NONE)
		return false;
	blk_rq_map_iter_init(req, &walk, iter->iter.is_integrity);
	while (blk_map_iter_next_bvec(&walk, &vec))
		if (vec.paddr + vec.len - 1 > client->linear_last)
			return false;
	return true;
}

/*
 * Memory whose DMA addresses the IOMMU or the CPU has to provide for. If @one, it
 * is the range that is in @iter.
 */
static noinline bool blk_dma_start_mapped(struct blk_dma_client *client,
					  struct request *req,
					  struct dma_iova_state *state,
					  struct blk_dma_iter *iter,
					  struct dma_iova_batch *batch,
					  bool one)
{
	struct device *dev = client->dev;
	bool is_integrity = iter->iter.is_integrity;
	size_t total, span;
	struct phys_vec vec;

	if (likely(one)) {
		vec.paddr = iter->addr - iter->offset;
		vec.len = iter->len;
	} else {
		blk_rq_map_iter_init(req, &iter->iter, is_integrity);
		vec.paddr = bvec_phys(iter->iter.bvec) + iter->iter.done;
	}
	if (blk_dma_can_use_iova(client, req, iter)) {
		total = likely(one) ? vec.len :
				      blk_rq_dma_bytes(req, is_integrity);
		span = total;
		if (unlikely(iter->gaps && !one))
			span = blk_dma_iova_span(iter);
		if (likely(!is_integrity &&
			   dma_iova_try_slot(dev, state, &client->slots,
					     req->tag, vec.paddr, span)) ||
		    dma_iova_try_alloc(dev, state, vec.paddr, span))
			return blk_dma_iova_start(req, dev, state, iter, batch,
						  vec.paddr, total, one);
	}

	if (blk_dma_is_within_reach(client, req, iter))
		return one || blk_dma_start_linear(req, iter);

	iter->mode = BLK_DMA_SEGMENTS;
	if (!blk_dma_init_segments(client, req, state, iter, one))
		return false;
	if (one ? blk_dma_map_range(req, dev, iter, &vec) :
		  blk_dma_range_next(req, dev, iter))
		return true;
	blk_dma_exit_segments(client, iter->segments, is_integrity);
	return false;
}

/*
 * If the data or metadata is one vector that the queue takes as one range, set
 * @iter to it as for BLK_DMA_LINEAR, without a walk. blk_dma_start_mapped() takes
 * @iter->offset off again.
 *
 * nr_phys_segments regards the queue's limits; the count for metadata takes
 * vectors that join for one, so the limits are checked here.
 */
static __always_inline bool blk_dma_only_range(struct request *req,
					       struct blk_dma_iter *iter,
					       const struct bio_vec *bv,
					       const struct bvec_iter *bi,
					       bool is_integrity)
{
	phys_addr_t phys = bvec_phys(bv) + bi->bi_bvec_done;

	if (!is_integrity && req->nr_phys_segments != 1)
		return false;
	if (req->bio->bi_next || bi->bi_size > bv->bv_len - bi->bi_bvec_done)
		return false;
	if (is_integrity &&
	    (bi->bi_size > queue_max_segment_size(req->q) ||
	     (phys ^ (phys + bi->bi_size - 1)) &
		     ~(phys_addr_t)queue_segment_boundary(req->q)))
		return false;
	iter->addr = phys + iter->offset;
	iter->len = bi->bi_size;
	iter->iter.bio = NULL;
	iter->iter.left = 0;
	return true;
}

/* The class is known, and so whether mapping is @linear. */
static __always_inline bool
blk_dma_start_class(struct blk_dma_client *client, struct request *req,
		    struct dma_iova_state *state, struct blk_dma_iter *iter,
		    struct dma_iova_batch *batch, const struct bio_vec *bv,
		    const struct bvec_iter *bi, bool is_integrity, bool linear)
{
	bool one = blk_dma_only_range(req, iter, bv, bi, is_integrity);

	if (unlikely(!linear))
		return blk_dma_start_mapped(client, req, state, iter, batch,
					    one);
	if (likely(one))
		return true;
	return blk_dma_start_linear(req, iter);
}

static __always_inline const struct bio_vec *
blk_dma_first_vec(struct request *req, const struct bvec_iter **bi,
		  bool is_integrity)
{
	if (is_integrity) {
		*bi = &bio_integrity(req->bio)->bip_iter;
		return &bio_integrity(req->bio)->bip_vec[(*bi)->bi_idx];
	}
	*bi = &req->bio->bi_iter;
	return &req->bio->bi_io_vec[(*bi)->bi_idx];
}

static __always_inline bool blk_dma_is_mixed(struct request *req,
					     bool is_integrity)
{
	if (is_integrity)
		return bio_integrity_flagged(req->bio, BIP_MIXED_CLASS);
	return req->bio->bi_opf & REQ_MIXED_CLASS;
}

/* Whether the client has, or can have, all of the memory in its window. */
static bool blk_dma_use_window(struct blk_dma_client *client,
			       struct request *req, struct blk_dma_iter *iter)
{
	struct p2pdma_provider *mem = iter->p2pdma.mem;
	struct phys_vec vec;

	/* the pages are pinned, as p2pdma_window_map() asks for, until @req ends */
	blk_rq_map_iter_init(req, &iter->iter, iter->iter.is_integrity);
	while (blk_map_iter_next_bvec(&iter->iter, &vec))
		if (!p2pdma_window_map(client->windows, mem, vec.paddr, vec.len,
				       &iter->offset))
			return false;
	return true;
}

/* P2P memory through the host bridge or not classified yet, or memory of several classes. */
static noinline bool blk_dma_start_p2p_slow(struct blk_dma_client *client,
					    struct request *req,
					    struct dma_iova_state *state,
					    struct blk_dma_iter *iter,
					    struct dma_iova_batch *batch)
{
	bool is_integrity = iter->iter.is_integrity;
	const struct bvec_iter *bi;
	const struct bio_vec *bv = blk_dma_first_vec(req, &bi, is_integrity);
	struct page *page = bv->bv_page;
	bool linear = true;

	if (blk_dma_is_mixed(req, is_integrity)) {
		iter->p2pdma.map = PCI_P2PDMA_MAP_UNKNOWN;
		return blk_dma_start_mapped(client, req, state, iter, batch,
					    false);
	}

	switch (pci_p2pdma_state(&iter->p2pdma, client->dev, page)) {
	case PCI_P2PDMA_MAP_BUS_ADDR:
		iter->offset = pci_p2pdma_bus_addr_map(iter->p2pdma.mem, 0);
		break;
	case PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:
		if (client->windows) {
			linear = blk_dma_use_window(client, req, iter);
			break;
		}
		/* not RAM: no cache to maintain, no copy to make */
		linear = page_pgmap(page)->range.end <=
			 dma_linear_last(client->dev, DMA_ATTR_MMIO,
					 &iter->offset);
		break;
	default:
		return blk_dma_fail(req, iter, BLK_STS_TARGET);
	}
	return blk_dma_start_class(client, req, state, iter, batch, bv, bi,
				   is_integrity, linear);
}

/* Data that may be one vector in the client's window. */
static noinline bool blk_dma_start_window(struct blk_dma_client *client,
					  struct request *req,
					  struct dma_iova_state *state,
					  struct blk_dma_iter *iter,
					  struct dma_iova_batch *batch)
{
	const struct bvec_iter *bi;
	const struct bio_vec *bv = blk_dma_first_vec(req, &bi, false);
	phys_addr_t phys = bvec_phys(bv) + bi->bi_bvec_done;

	if (!blk_dma_only_range(req, iter, bv, bi, false) ||
	    !p2pdma_window_find(client->windows, iter->p2pdma.mem, phys,
				iter->len, &iter->offset))
		return blk_dma_start_p2p_slow(client, req, state, iter, batch);
	iter->addr = phys + iter->offset;
	return true;
}

static __always_inline bool blk_dma_host_is_linear(struct blk_dma_client *client)
{
	return PFN_PHYS(max_pfn) - 1 <= client->linear_all &&
	       !dma_mappings_watched();
}

/*
 * Map the data or the metadata of a request and give its first range. The class
 * of the first page stands for all, unless the bio says otherwise.
 *
 * Fast path: keep it frameless; slow cases are noinline.
 */
static __always_inline bool
blk_dma_start(struct blk_dma_client *client, struct request *req,
	      struct dma_iova_state *state, struct blk_dma_iter *iter,
	      struct dma_iova_batch *batch, const bool is_integrity)
{
	const struct bvec_iter *bi;
	struct dev_pagemap *pgmap;
	const struct bio_vec *bv;
	bool linear = true;

	state->__size = 0;
	iter->p2pdma.mem = NULL;
	iter->p2pdma.map = PCI_P2PDMA_MAP_NONE;
	iter->status = BLK_STS_OK;
	iter->mode = BLK_DMA_LINEAR;
	iter->offset = client->offset;
	iter->iter.is_integrity = is_integrity;

	if (unlikely(!is_integrity &&
		     (req->rq_flags & RQF_SPECIAL_PAYLOAD))) {
		if (!blk_dma_host_is_linear(client))
			return blk_dma_start_mapped(client, req, state, iter,
						    batch, false);
		return blk_dma_start_linear(req, iter);
	}

	bv = blk_dma_first_vec(req, &bi, is_integrity);
	if (unlikely(blk_dma_is_mixed(req, is_integrity)))
		return blk_dma_start_p2p_slow(client, req, state, iter, batch);
	pgmap = pci_p2pdma_pgmap(bv->bv_page);
	if (likely(!pgmap)) {
		linear = blk_dma_host_is_linear(client);
	} else {
		if (pci_p2pdma_known_state(&iter->p2pdma, client->dev, pgmap) !=
		    PCI_P2PDMA_MAP_BUS_ADDR) {
			if (!is_integrity && client->windows &&
			    iter->p2pdma.map == PCI_P2PDMA_MAP_THRU_HOST_BRIDGE)
				return blk_dma_start_window(client, req, state,
							    iter, batch);
			return blk_dma_start_p2p_slow(client, req, state, iter,
						      batch);
		}
		iter->offset = pci_p2pdma_bus_addr_map(iter->p2pdma.mem, 0);
	}
	return blk_dma_start_class(client, req, state, iter, batch, bv, bi,
				   is_integrity, linear);
}

/* For blk_dma_map_data(). */
bool __blk_dma_map_data(struct blk_dma_client *client, struct request *req,
			struct dma_iova_state *state, struct blk_dma_iter *iter,
			struct dma_iova_batch *batch)
{
	return blk_dma_start(client, req, state, iter, batch, false);
}
EXPORT_SYMBOL_GPL(__blk_dma_map_data);

/* For blk_dma_map_metadata(). */
bool __blk_dma_map_metadata(struct blk_dma_client *client, struct request *req,
			    struct dma_iova_state *state,
			    struct blk_dma_iter *iter,
			    struct dma_iova_batch *batch)
{
	return blk_dma_start(client, req, state, iter, batch, true);
}
EXPORT_SYMBOL_GPL(__blk_dma_map_metadata);

bool __blk_dma_next(struct request *req, struct device *dev,
		    struct blk_dma_iter *iter)
{
	switch (iter->mode) {
	case BLK_DMA_IOVA:
		return blk_dma_iova_next(iter);
	case BLK_DMA_SEGMENTS:
		return blk_dma_range_next(req, dev, iter);
	default:
		/* blk_dma_find_data() has no next range, and set up no walk */
		WARN_ON_ONCE(1);
		iter->status = BLK_STS_IOERR;
		return false;
	}
}
EXPORT_SYMBOL_GPL(__blk_dma_next);

/* The slow part of blk_dma_unmap(). */
void __blk_dma_unmap(struct blk_dma_client *client, struct request *req,
		     struct blk_dma_mapping *m)
{
	if (m->mode == BLK_DMA_SEGMENTS) {
		blk_dma_unmap_segments(client, req, m);
		return;
	}
	if (m->mode == BLK_DMA_DMA_BUF) {
		blk_dma_put_data(req);
		return;
	}
	if (!dma_iova_is_unlinked(&m->iova))
		blk_rq_dma_trace_sync(req, client->dev, true);
	dma_iova_destroy(client->dev, &m->iova, dma_iova_size(&m->iova),
			 rq_dma_dir(req), blk_dma_attrs(m->map));
}
EXPORT_SYMBOL_GPL(__blk_dma_unmap);

/**
 * blk_dma_unlink - leave unmapping of a request's IOVAs and the sync to a batch
 * @client: who did the DMA
 * @req: the request
 * @m: its data's or its metadata's mapping
 * @batch: the batch
 *
 * Call blk_dma_unmap() as ever, but only after blk_dma_sync_unlinked(). What is
 * mapped by other means is left to it.
 *
 * Context: any.
 */
void blk_dma_unlink(struct blk_dma_client *client, struct request *req,
		    struct blk_dma_mapping *m, struct dma_iova_batch *batch)
{
	if (m->mode != BLK_DMA_IOVA)
		return;
	blk_rq_dma_trace_unmap(req, m);
	dma_iova_batch_unlink(batch, client->dev, &m->iova,
			      dma_iova_size(&m->iova), rq_dma_dir(req),
			      blk_dma_attrs(m->map));
}
EXPORT_SYMBOL_GPL(blk_dma_unlink);

static void blk_dma_client_ask(struct blk_dma_client *client,
			       struct device *dev)
{
	client->dev = dev;
	client->linear_last = dma_linear_last(dev, 0, &client->offset);
	client->linear_all = client->linear_last;
#ifdef CONFIG_ZONE_DEVICE
	/* host memory that is no RAM, as of DAX, may be above max_pfn */
	if (client->linear_last < BIT_ULL(MAX_PHYSMEM_BITS) - 1)
		client->linear_all = 0;
#endif
	client->iova_mask = 0;
	if (use_dma_iommu(dev))
		client->iova_mask = dma_get_merge_boundary(dev);
	client->slots.nr = 0;
	client->windows = NULL;
	client->reserve = NULL;
}

/**
 * blk_dma_reserve_init - set room aside for the addresses of ranges
 * @reserve: filled in; owned by the caller until blk_dma_reserve_exit()
 *
 * Context: may sleep.
 * Return: 0, or -ENOMEM.
 */
int blk_dma_reserve_init(struct blk_dma_reserve *reserve)
{
	size_t size = BLK_DMA_RESERVE_RANGES * sizeof(dma_addr_t);

	*reserve = (struct blk_dma_reserve){};
	if (mempool_init_kmalloc_pool(&reserve->data, 1, size))
		return -ENOMEM;
	if (!mempool_init_kmalloc_pool(&reserve->metadata, 1, size))
		return 0;
	mempool_exit(&reserve->data);
	return -ENOMEM;
}
EXPORT_SYMBOL_GPL(blk_dma_reserve_init);

/**
 * blk_dma_reserve_exit - undo blk_dma_reserve_init()
 * @reserve: no request of its clients is mapped
 *
 * Context: may sleep.
 */
void blk_dma_reserve_exit(struct blk_dma_reserve *reserve)
{
	mempool_exit(&reserve->data);
	mempool_exit(&reserve->metadata);
}
EXPORT_SYMBOL_GPL(blk_dma_reserve_exit);

/**
 * blk_dma_client_init - get ready to map for a device's queue
 * @client: filled in; owned by the caller until blk_dma_client_exit()
 * @dev: device that will do the DMA, its DMA mask set; borrowed until then
 * @reserve: of all queues of the controller; borrowed until then
 * @nr_slots: tags for which to keep IOVAs; 0 for none
 *
 * Context: may sleep.
 */
void blk_dma_client_init(struct blk_dma_client *client, struct device *dev,
			 struct blk_dma_reserve *reserve, unsigned int nr_slots)
{
	unsigned int noio;

	blk_dma_client_ask(client, dev);
	client->reserve = reserve;
	/* Reclaim may wait for I/O to the very device that is being reset. */
	noio = memalloc_noio_save();
	dma_iova_alloc_slots(dev, &client->slots, nr_slots);
	memalloc_noio_restore(noio);
}
EXPORT_SYMBOL_GPL(blk_dma_client_init);

/**
 * blk_dma_client_use_windows - keep pages of peers mapped behind an IOMMU
 * @client: after blk_dma_client_init(), with no request mapped
 * @use: in which domains; see Documentation/core-api/dma-iova.rst for what it
 *	means for isolation
 *
 * Context: may sleep.
 */
void blk_dma_client_use_windows(struct blk_dma_client *client,
				enum p2pdma_window_use use)
{
	client->windows = p2pdma_window_client_get(client->dev, use);
}
EXPORT_SYMBOL_GPL(blk_dma_client_use_windows);

/**
 * blk_dma_client_exit - undo blk_dma_client_init()
 * @client: has no request mapped
 *
 * Context: may sleep.
 */
void blk_dma_client_exit(struct blk_dma_client *client)
{
	p2pdma_window_client_put(client->windows);
	dma_iova_free_slots(client->dev, &client->slots);
}
EXPORT_SYMBOL_GPL(blk_dma_client_exit);

/* Mainline's names, for drivers written for them. */

/* Such drivers ask for the class of a request, not of each range. */
static bool blk_dma_refuse_mixed(struct request *req, struct blk_dma_iter *iter,
				 struct dma_iova_state *state,
				 bool is_integrity)
{
	if (!req->bio || !blk_dma_is_mixed(req, is_integrity))
		return false;
	*iter = (struct blk_dma_iter){ .iter.is_integrity = is_integrity };
	state->__size = 0;
	blk_dma_fail(req, iter, BLK_STS_TARGET);
	return true;
}

/**
 * blk_rq_dma_map_iter_start - map a request and give its first DMA range
 * @req: the request; has data
 * @dma_dev: device that will do the DMA
 * @state: filled in; owned by the caller and kept until unmapping. Need not be
 *	initialised
 * @iter: filled in; blk_rq_dma_map_iter_next() gives the further ranges
 *
 * Unmap with blk_rq_dma_unmap(). A request of several classes is refused.
 *
 * Context: any.
 * Return: as blk_dma_map_data().
 */
bool blk_rq_dma_map_iter_start(struct request *req, struct device *dma_dev,
			       struct dma_iova_state *state,
			       struct blk_dma_iter *iter)
{
	struct blk_dma_client client;

	if (blk_dma_refuse_mixed(req, iter, state, false))
		return false;
	blk_dma_client_ask(&client, dma_dev);
	return blk_dma_start(&client, req, state, iter, NULL, false);
}
EXPORT_SYMBOL_GPL(blk_rq_dma_map_iter_start);

#ifdef CONFIG_BLK_DEV_INTEGRITY
/**
 * blk_rq_integrity_dma_map_iter_start - map the metadata of a request
 * @req: the request; has metadata
 * @dma_dev: device that will do the DMA
 * @state: as for blk_rq_dma_map_iter_start(), a state of its own
 * @iter: as for blk_rq_dma_map_iter_start()
 *
 * Context: any.
 * Return: as blk_dma_map_data().
 */
bool blk_rq_integrity_dma_map_iter_start(struct request *req,
					 struct device *dma_dev,
					 struct dma_iova_state *state,
					 struct blk_dma_iter *iter)
{
	struct blk_dma_client client;

	if (blk_dma_refuse_mixed(req, iter, state, true))
		return false;
	blk_dma_client_ask(&client, dma_dev);
	return blk_dma_start(&client, req, state, iter, NULL, true);
}
EXPORT_SYMBOL_GPL(blk_rq_integrity_dma_map_iter_start);
#endif /* CONFIG_BLK_DEV_INTEGRITY */
