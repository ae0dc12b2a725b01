/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From a request's bios to DMA ranges, without a scatterlist.
 * See Documentation/block/request-dma.rst.
 */
#ifndef BLK_MQ_DMA_H
#define BLK_MQ_DMA_H

#include <linux/blk-integrity.h>
#include <linux/blk-mq.h>
#include <linux/dma-iova-batch.h>
#include <linux/dma-mapping.h>
#include <linux/mempool.h>
#include <linux/p2pdma-window.h>
#include <linux/pci-p2pdma.h>
#include <linux/tracepoint-defs.h>

DECLARE_TRACEPOINT(block_rq_dma_map);
DECLARE_TRACEPOINT(block_rq_dma_unmap);
DECLARE_TRACEPOINT(block_rq_dma_sync);

/**
 * struct phys_vec - a physically contiguous piece of memory
 * @paddr: first physical address
 * @len: bytes
 */
struct phys_vec {
	phys_addr_t paddr;
	u32 len;
};

/**
 * struct blk_map_iter - a walk over the memory of a request, piece by piece
 *
 * Borrows the request, which must not change meanwhile. All fields are private.
 * Two walks over one request give the same pieces.
 */
struct blk_map_iter {
	/* private: */
	const struct bio_vec *bvec; /* the vector that comes next */
	struct bio *bio; /* the bio it is of; NULL for none */
	unsigned int left; /* bytes of the bio still to come */
	unsigned int done; /* bytes of *bvec walked already */
	unsigned int max_len; /* bytes in a piece, at most */
	bool is_integrity;
	unsigned long boundary; /* mask; no piece crosses it */
};

/**
 * enum blk_dma_mode - how memory is mapped, and so what unmapping takes
 * @BLK_DMA_REGISTERED: for as long as its buffer is registered; nothing to unmap
 * @BLK_DMA_LINEAR: a constant added to physical addresses; nothing to unmap. The
 *	memory is reached directly, by bus address, or in a window
 * @BLK_DMA_IOVA: one range of IOVAs
 * @BLK_DMA_SEGMENTS: each range by itself
 * @BLK_DMA_DMA_BUF: by its exporter, who waits until this I/O is unmapped
 *
 * The order counts: up to BLK_DMA_LINEAR there is nothing to unmap.
 */
enum blk_dma_mode {
	BLK_DMA_REGISTERED,
	BLK_DMA_LINEAR,
	BLK_DMA_IOVA,
	BLK_DMA_SEGMENTS,
	BLK_DMA_DMA_BUF,
};

/* An element of a reserve holds the addresses of so many ranges; for more there is none. */
#define BLK_DMA_RESERVE_RANGES 256

/**
 * struct blk_dma_reserve - lets write-out go on when an allocation fails
 * @data: room for the addresses of a request's data; owned
 * @metadata: the same for its metadata, so that it never waits for data; owned
 *
 * One for each controller, so that one that hangs holds up no other.
 */
struct blk_dma_reserve {
	mempool_t data;
	mempool_t metadata;
};

/**
 * struct blk_dma_client - who does the DMA: what stays the same for a queue
 * @dev: the device; borrowed
 * @offset: host memory: DMA minus physical address, in bytes
 * @linear_last: host memory: the highest physical address for which @offset
 *	holds; 0 if each mapping has to be made
 * @linear_all: what the fast path compares max_pfn with: @linear_last, or 0 if
 *	host memory above max_pfn (DAX) might be above @linear_last
 * @iova_mask: bytes of the IOMMU's granule, minus 1; 0 if there are no IOVAs
 * @slots: IOVAs kept for each tag; owned
 * @windows: keeps pages of peers mapped; NULL if it does not
 * @reserve: for the addresses of ranges that are mapped by themselves; borrowed. NULL
 *	if the caller has no struct blk_dma_mapping to keep them in
 *
 * Owned by the driver, from blk_dma_client_init() to blk_dma_client_exit().
 */
struct blk_dma_client {
	struct device *dev;
	u64 offset;
	phys_addr_t linear_last;
	phys_addr_t linear_all;
	unsigned long iova_mask;
	struct dma_iova_slots slots;
	struct p2pdma_window_client *windows;
	struct blk_dma_reserve *reserve;
};

/**
 * struct blk_dma_segments - the ranges of mode BLK_DMA_SEGMENTS
 * @addr: DMA address of the range, if there is but one
 * @addrs: DMA addresses of all, if there are several; owned. DMA_MAPPING_ERROR for
 *	one that is reached by bus address, which nothing was mapped for
 * @max: how many there is room for
 * @nr: how many are mapped
 *
 * For unmapping, which must not go by the descriptors: the device can write to
 * them.
 */
struct blk_dma_segments {
	union {
		dma_addr_t addr;
		dma_addr_t *addrs;
	};
	unsigned int max;
	unsigned int nr;
};

/**
 * struct blk_dma_mapping - how the data, or the metadata, of a request is mapped
 * @iova: the range of IOVAs, in mode BLK_DMA_IOVA
 * @segments: the ranges, in mode BLK_DMA_SEGMENTS
 * @mode: enum blk_dma_mode
 * @map: enum pci_p2pdma_map_type; PCI_P2PDMA_MAP_UNKNOWN for memory of several
 *	classes
 * @is_integrity: it is the metadata
 *
 * Owned by the driver, which keeps it for each request in flight.
 */
struct blk_dma_mapping {
	union {
		struct dma_iova_state iova;
		struct blk_dma_segments segments;
	};
	u8 mode;
	u8 map;
	bool is_integrity;
};

/**
 * struct blk_dma_iter - the DMA ranges of a request
 * @addr: DMA address of the current range
 * @len: bytes of the current range
 * @status: why the function that was to give a range returned false; BLK_STS_OK
 *	at the end of the request
 * @mode: how the request is mapped
 * @p2pdma: the provider of the memory, and in @p2pdma.map the map type, which is
 *	PCI_P2PDMA_MAP_NONE for host memory
 *
 * On the stack of whoever maps the request. Unmapping does not need it.
 */
struct blk_dma_iter {
	dma_addr_t addr;
	u32 len;
	blk_status_t status;
	enum blk_dma_mode mode;
	struct pci_p2pdma_map_state p2pdma;
	/* private: */
	struct blk_map_iter iter;
	u64 offset; /* linear: DMA minus physical address */
	dma_addr_t iova; /* IOVA: where the next range begins */
	size_t left; /* IOVA: bytes from there on */
	size_t granule; /* IOVA: bytes that map as one */
	bool gaps; /* IOVA: pieces do not join */
	struct blk_dma_segments *segments; /* SEGMENTS; NULL if not kept here */
};

int blk_dma_reserve_init(struct blk_dma_reserve *reserve);
void blk_dma_reserve_exit(struct blk_dma_reserve *reserve);
void blk_dma_client_init(struct blk_dma_client *client, struct device *dev,
			 struct blk_dma_reserve *reserve,
			 unsigned int nr_slots);
void blk_dma_client_use_windows(struct blk_dma_client *client,
				enum p2pdma_window_use use);
void blk_dma_client_exit(struct blk_dma_client *client);
bool __blk_dma_map_data(struct blk_dma_client *client, struct request *req,
			struct dma_iova_state *state, struct blk_dma_iter *iter,
			struct dma_iova_batch *batch);
bool __blk_dma_map_metadata(struct blk_dma_client *client, struct request *req,
			    struct dma_iova_state *state,
			    struct blk_dma_iter *iter,
			    struct dma_iova_batch *batch);
bool __blk_dma_next(struct request *req, struct device *dev,
		    struct blk_dma_iter *iter);
void __blk_dma_unmap(struct blk_dma_client *client, struct request *req,
		     struct blk_dma_mapping *m);
void blk_dma_unlink(struct blk_dma_client *client, struct request *req,
		    struct blk_dma_mapping *m, struct dma_iova_batch *batch);

#ifdef CONFIG_BLK_DMA_BUFFER
void blk_dma_put_data(struct request *req);
#else
static inline void blk_dma_put_data(struct request *req)
{
}
#endif

void __blk_rq_dma_trace_map(struct request *req, struct blk_dma_mapping *m,
			    struct blk_dma_iter *iter);
void __blk_rq_dma_trace_unmap(struct request *req, struct blk_dma_mapping *m);
void __blk_rq_dma_trace_sync(struct request *req, struct device *dma_dev,
			     bool unmap);
void __blk_rq_dma_trace_error(struct request *req, blk_status_t status,
			      bool is_integrity);
void blk_rq_map_iter_init(struct request *req, struct blk_map_iter *iter,
			  bool is_integrity);
unsigned int blk_rq_dma_bytes(struct request *req, bool is_integrity);

bool blk_rq_dma_map_iter_start(struct request *req, struct device *dma_dev,
			       struct dma_iova_state *state,
			       struct blk_dma_iter *iter);
#ifdef CONFIG_BLK_DEV_INTEGRITY
bool blk_rq_integrity_dma_map_iter_start(struct request *req,
					 struct device *dma_dev,
					 struct dma_iova_state *state,
					 struct blk_dma_iter *iter);
#else /* CONFIG_BLK_DEV_INTEGRITY */
static inline bool
blk_rq_integrity_dma_map_iter_start(struct request *req, struct device *dma_dev,
				    struct dma_iova_state *state,
				    struct blk_dma_iter *iter)
{
	iter->status = BLK_STS_NOTSUPP;
	return false;
}
#endif /* CONFIG_BLK_DEV_INTEGRITY */

static __always_inline void blk_map_iter_set_bio(struct blk_map_iter *iter,
						 struct bio *bio)
{
	struct bvec_iter *bi = &bio->bi_iter;

	iter->bio = bio;
	iter->bvec = bio->bi_io_vec;
	if (iter->is_integrity) {
		bi = &bio_integrity(bio)->bip_iter;
		iter->bvec = bio_integrity(bio)->bip_vec;
	}
	iter->bvec += bi->bi_idx;
	iter->left = bi->bi_size;
	iter->done = bi->bi_bvec_done;
}

static __always_inline bool blk_map_iter_next_bio(struct blk_map_iter *iter)
{
	while (iter->bio && iter->bio->bi_next) {
		blk_map_iter_set_bio(iter, iter->bio->bi_next);
		if (iter->left)
			return true;
	}
	return false;
}

static __always_inline void blk_map_iter_take(struct blk_map_iter *iter,
					      struct phys_vec *vec)
{
	const struct bio_vec *bv = iter->bvec++;

	vec->paddr = bvec_phys(bv) + iter->done;
	vec->len = min(bv->bv_len - iter->done, iter->left);
	iter->left -= vec->len;
	iter->done = 0;
}

/* Whether the memory of the bio after @bio begins at @end. */
bool __blk_map_iter_goes_on(struct bio *bio, bool is_integrity,
			    phys_addr_t end);

/* *vec is the end of a bio, within a page: add what goes on there. */
void __blk_map_iter_join(struct blk_map_iter *iter, struct phys_vec *vec);

/* *vec is beyond a limit of the queue: shorten it. */
void __blk_map_iter_cut(struct blk_map_iter *iter, struct phys_vec *vec);

/**
 * blk_map_iter_next_bvec - the rest of a bio_vec
 * @iter: the walk
 * @vec: the memory, set if there is any
 *
 * For hardware that divides memory into pages by itself: the queue's limits for
 * the size and the boundaries of segments are not regarded. Where a bio ends
 * within a page and the next one goes on there, their memory is one piece.
 *
 * Return: false at the end of the request.
 */
static __always_inline bool blk_map_iter_next_bvec(struct blk_map_iter *iter,
						   struct phys_vec *vec)
{
	struct phys_vec more;

	if (unlikely(!iter->left) && !blk_map_iter_next_bio(iter))
		return false;

	blk_map_iter_take(iter, vec);
	/* The walk may be in registers: pass none of it by reference. */
	while (!iter->left && unlikely(offset_in_page(vec->paddr + vec->len)) &&
	       iter->bio && iter->bio->bi_next &&
	       __blk_map_iter_goes_on(iter->bio, iter->is_integrity,
				      vec->paddr + vec->len)) {
		blk_map_iter_next_bio(iter);
		blk_map_iter_take(iter, &more);
		vec->len += more.len;
	}
	return true;
}

/**
 * blk_map_iter_next - the next piece of a request's memory
 * @iter: the walk
 * @vec: the piece, set if there is one
 *
 * A piece is one of blk_map_iter_next_bvec() or, where that is beyond the queue's
 * limits for segments, part of one.
 *
 * Return: false at the end of the request.
 */
static __always_inline bool blk_map_iter_next(struct blk_map_iter *iter,
					      struct phys_vec *vec)
{
	if (unlikely(!iter->left) && !blk_map_iter_next_bio(iter))
		return false;

	blk_map_iter_take(iter, vec);
	if (unlikely(vec->len > iter->max_len ||
		     ((vec->paddr ^ (vec->paddr + vec->len - 1)) &
		      ~(phys_addr_t)iter->boundary)))
		__blk_map_iter_cut(iter, vec);
	else if (!iter->left && unlikely(offset_in_page(vec->paddr + vec->len)))
		__blk_map_iter_join(iter, vec);
	return true;
}

/**
 * blk_dma_linear_next - the next range of memory mapped as BLK_DMA_LINEAR
 * @iter: the iteration
 *
 * As blk_map_iter_next_bvec(), for hardware that divides memory into pages by
 * itself. Cannot fail.
 *
 * Return: false at the end of the request.
 */
static __always_inline bool blk_dma_linear_next(struct blk_dma_iter *iter)
{
	struct phys_vec vec;

	if (!blk_map_iter_next_bvec(&iter->iter, &vec))
		return false;
	iter->addr = vec.paddr + iter->offset;
	iter->len = vec.len;
	return true;
}

/**
 * blk_dma_linear_max_pages - how many single pages may come next
 * @iter: the iteration, of memory mapped as BLK_DMA_LINEAR
 *
 * Return: how often blk_dma_linear_next_page() may be called at most.
 */
static __always_inline unsigned int
blk_dma_linear_max_pages(struct blk_dma_iter *iter)
{
	return iter->iter.done ? 0 : iter->iter.left / PAGE_SIZE;
}

/**
 * blk_dma_linear_next_page - the next range, if it is just one page
 * @iter: the iteration, for which blk_dma_linear_max_pages() allows it
 *
 * The quick way through scattered memory, which is made of single pages.
 *
 * Return: true with a whole page in @iter->addr and @iter->len. False if
 * blk_dma_linear_next() has to be asked.
 */
static __always_inline bool blk_dma_linear_next_page(struct blk_dma_iter *iter)
{
	const struct bio_vec *bv = iter->iter.bvec;

	if (bv->bv_len != PAGE_SIZE || bv->bv_offset)
		return false;
	iter->addr = page_to_phys(bv->bv_page) + iter->offset;
	iter->len = PAGE_SIZE;
	iter->iter.left -= PAGE_SIZE;
	iter->iter.bvec++;
	return true;
}

/**
 * blk_dma_next - map the next range of a request's data or metadata
 * @req: the request
 * @dev: device that will do the DMA
 * @iter: the iteration
 *
 * Context: any.
 * Return: true with the range in @iter->addr and @iter->len. False at the end
 * of the request, with BLK_STS_OK in @iter->status, or if mapping failed. Then
 * the ranges mapped so far have to be unmapped.
 */
static __always_inline bool blk_dma_next(struct request *req,
					 struct device *dev,
					 struct blk_dma_iter *iter)
{
	struct phys_vec vec;

	if (unlikely(iter->mode != BLK_DMA_LINEAR))
		return __blk_dma_next(req, dev, iter);
	if (!blk_map_iter_next(&iter->iter, &vec))
		return false;
	iter->addr = vec.paddr + iter->offset;
	iter->len = vec.len;
	return true;
}

static inline unsigned long blk_dma_attrs(enum pci_p2pdma_map_type map)
{
	return map == PCI_P2PDMA_MAP_THRU_HOST_BRIDGE ? DMA_ATTR_MMIO : 0;
}

/* Free while nobody traces or counts. */
static __always_inline void blk_rq_dma_trace_unmap(struct request *req,
						   struct blk_dma_mapping *m)
{
	if (tracepoint_enabled(block_rq_dma_unmap))
		__blk_rq_dma_trace_unmap(req, m);
}

static __always_inline void blk_rq_dma_trace_sync(struct request *req,
						  struct device *dma_dev,
						  bool unmap)
{
	if (tracepoint_enabled(block_rq_dma_sync))
		__blk_rq_dma_trace_sync(req, dma_dev, unmap);
}

static __always_inline void blk_dma_keep(struct blk_dma_mapping *m,
					 struct blk_dma_iter *iter)
{
	m->mode = iter->mode;
	m->map = iter->p2pdma.map;
	m->is_integrity = iter->iter.is_integrity;
}

/**
 * blk_dma_map_data - map the data of a request and give its first DMA range
 * @client: who will do the DMA
 * @req: the request; has data
 * @m: filled in; owned by the caller and kept until unmapping
 * @iter: filled in; blk_dma_next() gives the further ranges
 * @batch: takes the IOTLB sync, if one is due; NULL to sync at once
 *
 * When all ranges are taken, call blk_dma_map_done(). With @batch the device must
 * not learn of the request before blk_dma_sync_batch(). If that fails, unmap the
 * request as if it had been done.
 *
 * Context: any.
 * Return: true with a range in @iter. False and nothing mapped, with the reason
 * in @iter->status: BLK_STS_RESOURCE if it is worth trying again, BLK_STS_TARGET
 * if the device cannot reach the memory or it is a peer's and the IOMMU failed,
 * BLK_STS_IOERR if the IOMMU failed for host memory. What an IOMMU refuses of
 * memory that is mapped range by range is BLK_STS_RESOURCE: it does not say why.
 */
static __always_inline bool blk_dma_map_data(struct blk_dma_client *client,
					     struct request *req,
					     struct blk_dma_mapping *m,
					     struct blk_dma_iter *iter,
					     struct dma_iova_batch *batch)
{
	if (!__blk_dma_map_data(client, req, &m->iova, iter, batch))
		return false;
	blk_dma_keep(m, iter);
	return true;
}

/**
 * blk_dma_map_metadata - as blk_dma_map_data(), of the metadata
 * @client: who will do the DMA
 * @req: the request; has metadata
 * @m: a mapping of its own; metadata may be of another class than the data
 * @iter: as for blk_dma_map_data()
 * @batch: as for blk_dma_map_data()
 *
 * Context: any.
 * Return: as blk_dma_map_data().
 */
static __always_inline bool
blk_dma_map_metadata(struct blk_dma_client *client, struct request *req,
		     struct blk_dma_mapping *m, struct blk_dma_iter *iter,
		     struct dma_iova_batch *batch)
{
	if (!__blk_dma_map_metadata(client, req, &m->iova, iter, batch))
		return false;
	blk_dma_keep(m, iter);
	return true;
}

/**
 * blk_dma_map_done - all ranges of a mapping are taken
 * @req: the request
 * @m: its data's or its metadata's mapping
 * @iter: the iteration, or a copy of it as it was at an earlier range
 *
 * Context: any. Free while nobody traces or counts.
 */
static __always_inline void blk_dma_map_done(struct request *req,
					     struct blk_dma_mapping *m,
					     struct blk_dma_iter *iter)
{
	if (tracepoint_enabled(block_rq_dma_map)) {
		/* so that @iter can be in registers */
		struct blk_dma_iter traced = *iter;

		__blk_rq_dma_trace_map(req, m, &traced);
	}
}

/**
 * blk_dma_unmap - unmap the data or the metadata of a request
 * @client: who did the DMA
 * @req: the request
 * @m: its data's or its metadata's mapping; also after blk_dma_unlink(), or when
 *	not all ranges were taken
 *
 * Context: any.
 */
static __always_inline void blk_dma_unmap(struct blk_dma_client *client,
					  struct request *req,
					  struct blk_dma_mapping *m)
{
	blk_rq_dma_trace_unmap(req, m);
	if (m->mode <= BLK_DMA_LINEAR ||
	    (m->mode == BLK_DMA_IOVA && !dma_use_iova(&m->iova)))
		return;
	__blk_dma_unmap(client, req, m);
}

/**
 * blk_dma_sync_batch - let the device see what several requests had mapped
 * @client: who will do the DMA
 * @req: any of the requests
 * @batch: the batch, for mapping; empty afterwards
 *
 * Context: any.
 * Return: 0, or a negative errno; then none of the requests may start.
 */
static __always_inline int blk_dma_sync_batch(struct blk_dma_client *client,
					      struct request *req,
					      struct dma_iova_batch *batch)
{
	if (!dma_iova_batch_is_empty(batch))
		blk_rq_dma_trace_sync(req, client->dev, false);
	return dma_iova_batch_sync(batch);
}

/**
 * blk_dma_sync_unlinked - invalidate the IOTLB for all that was unlinked
 * @client: who did the DMA
 * @req: any of the requests
 * @batch: the batch, for unmapping; empty afterwards
 *
 * Context: any.
 */
static __always_inline void blk_dma_sync_unlinked(struct blk_dma_client *client,
						  struct request *req,
						  struct dma_iova_batch *batch)
{
	if (dma_iova_batch_is_empty(batch))
		return;
	blk_rq_dma_trace_sync(req, client->dev, true);
	dma_iova_batch_sync_unlinked(batch);
}

/* Mainline's names, for drivers written for them. */

/**
 * blk_rq_dma_map_iter_next - map the next range of a request
 * @req: the request
 * @dma_dev: device that will do the DMA
 * @iter: the iteration
 *
 * Context: any.
 * Return: as blk_dma_next().
 */
static __always_inline bool blk_rq_dma_map_iter_next(struct request *req,
						     struct device *dma_dev,
						     struct blk_dma_iter *iter)
{
	return blk_dma_next(req, dma_dev, iter);
}

/**
 * blk_rq_integrity_dma_map_iter_next - map the next range of metadata
 * @req: the request
 * @dma_dev: device that will do the DMA
 * @iter: the iteration
 *
 * Context: any.
 * Return: as blk_dma_next().
 */
static inline bool blk_rq_integrity_dma_map_iter_next(struct request *req,
						      struct device *dma_dev,
						      struct blk_dma_iter *iter)
{
	return blk_dma_next(req, dma_dev, iter);
}

/**
 * blk_rq_dma_map_coalesce - whether a request was mapped as one
 * @state: IOVA state given to blk_rq_dma_map_iter_start()
 *
 * Return: true if all of the request's memory was linked into one allocation of
 * IOVAs. Only the IOMMU's granule and the queue's limits divide it.
 */
static inline bool blk_rq_dma_map_coalesce(struct dma_iova_state *state)
{
	return dma_use_iova(state);
}

/**
 * blk_rq_dma_unmap - unmap what needs no list of ranges
 * @req: the request
 * @dma_dev: device that did the DMA
 * @state: IOVA state given to blk_rq_dma_map_iter_start()
 * @mapped_len: bytes mapped; an IOVA range is always mapped in full
 * @map: map type, @iter->p2pdma.map at the end of mapping
 *
 * Context: any.
 * Return: true if nothing is left to do. False if the caller has to call
 * dma_unmap_phys() for each range.
 */
static inline bool blk_rq_dma_unmap(struct request *req, struct device *dma_dev,
				    struct dma_iova_state *state,
				    size_t mapped_len,
				    enum pci_p2pdma_map_type map)
{
	if (map == PCI_P2PDMA_MAP_BUS_ADDR)
		return true;
	if (dma_use_iova(state)) {
		dma_iova_destroy(dma_dev, state, dma_iova_size(state),
				 rq_dma_dir(req), blk_dma_attrs(map));
		return true;
	}
	return !dma_need_unmap(dma_dev);
}

#endif /* BLK_MQ_DMA_H */
