// SPDX-License-Identifier: GPL-2.0
/*
 * From DMA ranges to PRPs and SGLs: NVM Express Base Specification, Physical
 * Region Page Entry and List, Scatter Gather List.
 *
 * The block layer's iterator gives the DMA ranges of a request one by one, and
 * they are written where the controller reads them. The controller can write
 * there, too, so that data and metadata are not unmapped by what is there. Only
 * the link from one PRP list to the next is read back, as on stock.
 */
#include <kunit/visibility.h>

#include "pci-dma.h"

#define NVME_PAGE_MASK (NVME_CTRL_PAGE_SIZE - 1)

/**
 * nvme_dma_create_pools - create the pools of descriptor lists, and the reserve
 * @dma: filled in
 * @dev: the controller's PCI device; must outlive @dma
 * @small_align: alignment of small lists, in bytes
 *
 * Context: may sleep.
 * Return: 0, or -ENOMEM.
 */
int nvme_dma_create_pools(struct nvme_dma *dma, struct device *dev,
			  size_t small_align)
{
	dma->dev = dev;
	dma->page_pool = dma_pool_create("prp list page", dev,
					 NVME_CTRL_PAGE_SIZE,
					 NVME_CTRL_PAGE_SIZE, 0);
	if (!dma->page_pool)
		return -ENOMEM;

	dma->small_pool = dma_pool_create("prp list 256", dev,
					  NVME_SMALL_LIST_SIZE, small_align, 0);
	if (!dma->small_pool)
		goto destroy_page_pool;
	if (blk_dma_reserve_init(&dma->reserve))
		goto destroy_small_pool;
	return 0;

destroy_small_pool:
	dma_pool_destroy(dma->small_pool);
destroy_page_pool:
	dma_pool_destroy(dma->page_pool);
	return -ENOMEM;
}
EXPORT_SYMBOL_IF_KUNIT(nvme_dma_create_pools);

/**
 * nvme_dma_destroy_pools - undo nvme_dma_create_pools()
 * @dma: the controller's; no request may be mapped
 *
 * Context: may sleep.
 */
void nvme_dma_destroy_pools(struct nvme_dma *dma)
{
	blk_dma_reserve_exit(&dma->reserve);
	dma_pool_destroy(dma->small_pool);
	dma_pool_destroy(dma->page_pool);
}
EXPORT_SYMBOL_IF_KUNIT(nvme_dma_destroy_pools);

/* Allocate the first list: @size bytes, or a page if that is less. */
static void *nvme_alloc_list(struct nvme_dma *dma, struct nvme_iod *iod,
			     size_t size)
{
	struct dma_pool *pool = dma->page_pool;

	iod->small_list = size <= NVME_SMALL_LIST_SIZE;
	if (iod->small_list)
		pool = dma->small_pool;

	iod->lists[0] = dma_pool_alloc(pool, GFP_ATOMIC, &iod->list_dma);
	if (iod->lists[0])
		iod->nr_lists = 1;
	return iod->lists[0];
}

/* For nvme_dma_unmap_data(): the lists of the data. */
void nvme_dma_free_lists(struct nvme_dma *dma, struct nvme_iod *iod)
{
	dma_addr_t list_dma = iod->list_dma;
	unsigned int i;

	if (iod->small_list) {
		dma_pool_free(dma->small_pool, iod->lists[0], list_dma);
		return;
	}

	for (i = 0; i < iod->nr_lists; i++) {
		__le64 *list = iod->lists[i];
		dma_addr_t next_dma = le64_to_cpu(list[NVME_PRPS_PER_PAGE - 1]);

		dma_pool_free(dma->page_pool, list, list_dma);
		list_dma = next_dma;
	}
}
EXPORT_SYMBOL_IF_KUNIT(nvme_dma_free_lists);

static __always_inline bool nvme_next_range(struct nvme_dma *dma,
					    struct request *req,
					    struct blk_dma_iter *iter,
					    const bool linear)
{
	if (linear)
		return blk_dma_linear_next(iter);
	return blk_dma_next(req, dma->dev, iter);
}

/**
 * struct nvme_prp_writer - where the PRPs after PRP 1 go
 * @next: place of the next PRP
 * @end: end of the places in this list
 * @later: PRPs that do not fit into it, for lists that follow
 */
struct nvme_prp_writer {
	__le64 *next;
	__le64 *end;
	unsigned int later;
};

static __always_inline void nvme_prps_begin_list(struct nvme_prp_writer *w,
						 __le64 *list, unsigned int nr)
{
	unsigned int here = nr;

	/* the last place of a full list leads to the next one */
	if (unlikely(nr > NVME_PRPS_PER_PAGE))
		here = NVME_PRPS_PER_PAGE - 1;
	w->next = list;
	w->end = list + here;
	w->later = nr - here;
}

/* Let another list follow the one whose last place is @last. */
static noinline __le64 *nvme_chain_list(struct nvme_dma *dma,
					struct nvme_iod *iod, __le64 *last)
{
	dma_addr_t list_dma;
	__le64 *list;

	if (WARN_ON_ONCE(iod->nr_lists == NVME_MAX_LISTS))
		return NULL;
	list = dma_pool_alloc(dma->page_pool, GFP_ATOMIC, &list_dma);
	if (!list)
		return NULL;

	iod->lists[iod->nr_lists++] = list;
	*last = cpu_to_le64(list_dma);
	return list;
}

/* The pages of a range after its first, of which @addr and @len are the rest. */
static __always_inline void nvme_prps_add_range(struct nvme_prp_writer *w,
						dma_addr_t *addr, u32 *len)
{
	unsigned int nr = min((*len - 1) / NVME_CTRL_PAGE_SIZE,
			      (unsigned int)(w->end - w->next));

	*len -= nr * NVME_CTRL_PAGE_SIZE;
	while (nr--) {
		*addr += NVME_CTRL_PAGE_SIZE;
		*w->next++ = cpu_to_le64(*addr);
	}
}

/* Ranges of one page each, as many as come next. Return: their bytes. */
static __always_inline unsigned int
nvme_prps_add_pages(struct nvme_prp_writer *w, struct blk_dma_iter *iter)
{
	unsigned int max = blk_dma_linear_max_pages(iter);
	__le64 *first = w->next, *end = w->end;

	if (PAGE_SIZE != NVME_CTRL_PAGE_SIZE)
		return 0;
	if (end - first > max)
		end = first + max;
	while (w->next < end && blk_dma_linear_next_page(iter))
		*w->next++ = cpu_to_le64(iter->addr);
	return (w->next - first) * NVME_CTRL_PAGE_SIZE;
}

/*
 * One PRP for each page. Compiled twice, so that the linear case keeps the
 * iteration in registers.
 *
 * Every range but the first starts on a page and every range but the last ends
 * on one; queue_limits.virt_boundary_mask sees to it.
 */
static __always_inline blk_status_t nvme_write_prps(struct nvme_dma *dma,
						    struct request *req,
						    struct blk_dma_iter *iter,
						    const bool linear)
{
	unsigned int todo = blk_rq_payload_bytes(req) - iter->len;
	struct nvme_iod *iod = nvme_iod(req);
	union nvme_data_ptr *dptr = &iod->cmd.rw.dptr;
	u32 pad = iter->addr & NVME_PAGE_MASK;
	dma_addr_t addr = iter->addr - pad;
	u32 len = iter->len + pad;
	unsigned int nr = (len + todo - 1) / NVME_CTRL_PAGE_SIZE;
	__le64 *list = &dptr->prp2;
	struct nvme_prp_writer w;

	dptr->prp1 = cpu_to_le64(iter->addr);
	dptr->prp2 = 0;
	if (nr > 1) {
		list = nvme_alloc_list(dma, iod, nr * sizeof(*list));
		if (!list)
			return BLK_STS_RESOURCE;
		dptr->prp2 = cpu_to_le64(iod->list_dma);
	}
	nvme_prps_begin_list(&w, list, nr);

	while (w.next < w.end) {
		if (len > NVME_CTRL_PAGE_SIZE) {
			addr += NVME_CTRL_PAGE_SIZE;
			len -= NVME_CTRL_PAGE_SIZE;
		} else {
			if (len != NVME_CTRL_PAGE_SIZE)
				goto bad_range;
			if (!nvme_next_range(dma, req, iter, linear))
				return iter->status ?: BLK_STS_IOERR;
			addr = iter->addr;
			len = iter->len;
			todo -= len;
		}
		*w.next++ = cpu_to_le64(addr);
		if (addr & NVME_PAGE_MASK)
			goto bad_range;

		nvme_prps_add_range(&w, &addr, &len);
		if (linear && len == NVME_CTRL_PAGE_SIZE)
			todo -= nvme_prps_add_pages(&w, iter);
		if (unlikely(w.next == w.end && w.later)) {
			list = nvme_chain_list(dma, iod, w.end);
			if (!list)
				return BLK_STS_RESOURCE;
			nvme_prps_begin_list(&w, list, w.later);
		}
	}
	if (len <= NVME_CTRL_PAGE_SIZE && !todo)
		return BLK_STS_OK;

bad_range:
	dev_err_ratelimited(dma->dev, "PRPs cannot describe the data\n");
	return BLK_STS_IOERR;
}

static noinline blk_status_t nvme_write_prps_mapped(struct nvme_dma *dma,
						    struct request *req,
						    struct blk_dma_iter *iter)
{
	return nvme_write_prps(dma, req, iter, false);
}

static blk_status_t nvme_write_prps_linear(struct nvme_dma *dma,
					   struct request *req,
					   struct blk_dma_iter *iter)
{
	struct blk_dma_iter local = *iter;

	return nvme_write_prps(dma, req, &local, true);
}

/**
 * nvme_dma_set_prps - describe the data of a request by PRPs
 * @dma: the controller's
 * @client: the queue's
 * @req: the request
 * @iter: holds the first range of the data
 *
 * Context: any.
 * Return: BLK_STS_OK; undo with nvme_dma_unmap_data(). Otherwise nothing is
 * mapped any more, and BLK_STS_RESOURCE means that it is worth trying again.
 */
blk_status_t nvme_dma_set_prps(struct nvme_dma *dma,
			       struct blk_dma_client *client,
			       struct request *req, struct blk_dma_iter *iter)
{
	blk_status_t status;

	nvme_iod_set_data(nvme_iod(req), false);
	if (likely(iter->mode == BLK_DMA_LINEAR))
		status = nvme_write_prps_linear(dma, req, iter);
	else
		status = nvme_write_prps_mapped(dma, req, iter);

	if (unlikely(status))
		nvme_dma_unmap_data(dma, client, req);
	return status;
}
EXPORT_SYMBOL_IF_KUNIT(nvme_dma_set_prps);

static void nvme_sgl_set_segment(struct nvme_sgl_desc *desc,
				 dma_addr_t list_dma, unsigned int entries)
{
	*desc = (struct nvme_sgl_desc){
		.addr = cpu_to_le64(list_dma),
		.length = cpu_to_le32(entries * sizeof(*desc)),
		.type = NVME_SGL_FMT_LAST_SEG_DESC << 4,
	};
}

/*
 * Describe the range in @iter and those after it, of which @left are the bytes, by
 * a list of at most @max descriptors, and let @desc be the only one or lead to the
 * list. Ranges that join share a descriptor, up to the queue's segment boundary.
 */
static blk_status_t nvme_write_sgl(struct nvme_dma *dma, struct request *req,
				   struct blk_dma_iter *iter,
				   struct nvme_sgl_desc *desc,
				   struct nvme_sgl_desc *list,
				   dma_addr_t list_dma, unsigned int max,
				   unsigned int left)
{
	unsigned long boundary = queue_segment_boundary(req->q);
	dma_addr_t addr = iter->addr;
	u32 len = iter->len;
	unsigned int i = 0;

	nvme_sgl_set_data(&list[i++], iter);
	while (left) {
		if (!blk_dma_next(req, dma->dev, iter))
			return iter->status ?: BLK_STS_IOERR;
		left -= iter->len;
		if (addr + len == iter->addr && iter->len <= U32_MAX - len &&
		    !nvme_crosses_boundary(addr, len + iter->len, boundary)) {
			len += iter->len;
			list[i - 1].length = cpu_to_le32(len);
			continue;
		}
		if (WARN_ON_ONCE(i == max))
			return BLK_STS_IOERR;
		nvme_sgl_set_data(&list[i++], iter);
		addr = iter->addr;
		len = iter->len;
	}

	if (i == 1)
		*desc = list[0];
	else
		nvme_sgl_set_segment(desc, list_dma, i);
	return BLK_STS_OK;
}

/*
 * The slow part of nvme_dma_set_sgl(): more than one range, for which the rest
 * is set already.
 */
blk_status_t __nvme_dma_set_sgl(struct nvme_dma *dma,
				struct blk_dma_client *client,
				struct request *req, struct blk_dma_iter *iter)
{
	struct nvme_iod *iod = nvme_iod(req);
	unsigned int max = blk_rq_nr_phys_segments(req);
	unsigned int left = blk_rq_payload_bytes(req) - iter->len;
	blk_status_t status = BLK_STS_RESOURCE;
	struct nvme_sgl_desc *list;

	list = nvme_alloc_list(dma, iod, max * sizeof(*list));
	if (likely(list))
		status = nvme_write_sgl(dma, req, iter, &iod->cmd.rw.dptr.sgl,
					list, iod->list_dma, max, left);
	if (unlikely(status))
		nvme_dma_unmap_data(dma, client, req);
	return status;
}
EXPORT_SYMBOL_IF_KUNIT(__nvme_dma_set_sgl);

/*
 * A list of its own: a segment descriptor and the data descriptors it leads to,
 * or one data descriptor.
 */
static blk_status_t nvme_set_meta_sgl(struct nvme_dma *dma, struct request *req,
				      struct blk_dma_iter *iter)
{
	unsigned int left = blk_rq_dma_bytes(req, true) - iter->len;
	struct nvme_iod *iod = nvme_iod(req);
	struct nvme_sgl_desc *list;

	list = dma_pool_alloc(dma->small_pool, GFP_ATOMIC, &iod->meta_dma);
	if (!list)
		return BLK_STS_RESOURCE;
	iod->meta_list = list;
	iod->cmd.rw.flags = NVME_CMD_SGL_METASEG;
	iod->cmd.rw.metadata = cpu_to_le64(iod->meta_dma);
	return nvme_write_sgl(dma, req, iter, &list[0], &list[1],
			      iod->meta_dma + sizeof(*list), NVME_MAX_META_SEGS,
			      left);
}

/**
 * nvme_dma_map_metadata - map the metadata of a request and describe it
 * @dma: the controller's
 * @client: the queue's
 * @req: the request; has metadata
 * @use_sgl: by an SGL; otherwise it is one segment and the command has its
 *	address
 * @batch: takes the IOTLB sync, if one is due; NULL to sync at once
 *
 * Context: any.
 * Return: BLK_STS_OK; undo with nvme_dma_unmap_metadata(). Otherwise none of
 * it is mapped.
 */
blk_status_t nvme_dma_map_metadata(struct nvme_dma *dma,
				   struct blk_dma_client *client,
				   struct request *req, bool use_sgl,
				   struct dma_iova_batch *batch)
{
	struct nvme_iod *iod = nvme_iod(req);
	struct blk_dma_iter iter __uninitialized;
	blk_status_t status = BLK_STS_OK;

	if (!blk_dma_map_metadata(client, req, &iod->meta, &iter, batch))
		return iter.status;

	iod->meta_list = NULL;
	iod->cmd.rw.metadata = cpu_to_le64(iter.addr);
	if (use_sgl) {
		status = nvme_set_meta_sgl(dma, req, &iter);
		if (unlikely(status)) {
			nvme_dma_unmap_metadata(dma, client, req);
			return status;
		}
	}
	blk_dma_map_done(req, &iod->meta, &iter);
	return BLK_STS_OK;
}
EXPORT_SYMBOL_IF_KUNIT(nvme_dma_map_metadata);
