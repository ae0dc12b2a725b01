/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From DMA ranges to PRPs and SGLs.
 */
#ifndef NVME_PCI_DMA_H
#define NVME_PCI_DMA_H

#include <linux/blk-mq-dma.h>
#include <linux/dmapool.h>

#include "nvme.h"

#define NVME_SGES_PER_PAGE (NVME_CTRL_PAGE_SIZE / sizeof(struct nvme_sgl_desc))
#define NVME_PRPS_PER_PAGE (NVME_CTRL_PAGE_SIZE / sizeof(__le64))

/* A descriptor list of at most this many bytes comes from a pool of its own. */
#define NVME_SMALL_LIST_SIZE 256

/* Data of a command, in KiB, at most. */
#define NVME_MAX_KB_SZ 8192

/* What a small list holds behind the segment descriptor that leads to it. */
#define NVME_MAX_META_SEGS 15

/*
 * NVME_MAX_KB_SZ from within a page takes 2048 PRPs after PRP 1, and each full list
 * spends its last place on the next: 4 * 511 + 4.
 */
#define NVME_MAX_LISTS 5

/**
 * struct nvme_dma - what mapping needs of a controller
 * @dev: the controller's PCI device; borrowed
 * @page_pool: descriptor lists of NVME_CTRL_PAGE_SIZE bytes; owned
 * @small_pool: descriptor lists of NVME_SMALL_LIST_SIZE bytes; owned
 * @reserve: for the addresses of ranges; owned
 */
struct nvme_dma {
	struct device *dev;
	struct dma_pool *page_pool;
	struct dma_pool *small_pool;
	struct blk_dma_reserve reserve;
};

/**
 * struct nvme_iod - the driver's part of a request
 * @req: what the NVMe core keeps
 * @cmd: the command
 * @aborted: an Abort command was sent for it
 * @small_list: @lists[0] is of the small pool
 * @nr_lists: lists allocated for the data
 * @list_dma: DMA address of @lists[0]
 * @meta_dma: DMA address of @meta_list
 * @data: how the data is mapped
 * @meta: how the metadata is mapped
 * @meta_list: SGL of the metadata, of the small pool; NULL for none
 * @lists: PRP lists, the last PRP of each leading to the next, or one SGL
 *	segment; owned until unmapping
 */
struct nvme_iod {
	struct nvme_request req;
	struct nvme_command cmd;
	bool aborted;
	bool small_list;
	u8 nr_lists;
	dma_addr_t list_dma;
	dma_addr_t meta_dma;
	struct blk_dma_mapping data;
	struct blk_dma_mapping meta;
	struct nvme_sgl_desc *meta_list;
	void *lists[NVME_MAX_LISTS];
};

int nvme_dma_create_pools(struct nvme_dma *dma, struct device *dev,
			  size_t small_align);
void nvme_dma_destroy_pools(struct nvme_dma *dma);

blk_status_t nvme_dma_set_prps(struct nvme_dma *dma,
			       struct blk_dma_client *client,
			       struct request *req, struct blk_dma_iter *iter);
blk_status_t __nvme_dma_set_sgl(struct nvme_dma *dma,
				struct blk_dma_client *client,
				struct request *req, struct blk_dma_iter *iter);
blk_status_t nvme_dma_map_metadata(struct nvme_dma *dma,
				   struct blk_dma_client *client,
				   struct request *req, bool use_sgl,
				   struct dma_iova_batch *batch);
void nvme_dma_free_lists(struct nvme_dma *dma, struct nvme_iod *iod);

static inline struct nvme_iod *nvme_iod(struct request *req)
{
	return blk_mq_rq_to_pdu(req);
}

/* A passthrough command that is tried again still has the flags of the last try. */
static inline void nvme_iod_set_data(struct nvme_iod *iod, bool use_sgl)
{
	iod->nr_lists = 0;
	iod->cmd.rw.flags &= ~NVME_CMD_SGL_ALL;
	if (use_sgl)
		iod->cmd.rw.flags |= NVME_CMD_SGL_METABUF;
}

/**
 * nvme_dma_unmap_data - undo nvme_dma_set_prps() and the like
 * @dma: the controller's
 * @client: the queue's
 * @req: the request, which has data
 *
 * Context: any.
 */
static __always_inline void nvme_dma_unmap_data(struct nvme_dma *dma,
						struct blk_dma_client *client,
						struct request *req)
{
	struct nvme_iod *iod = nvme_iod(req);

	blk_dma_unmap(client, req, &iod->data);
	if (iod->nr_lists)
		nvme_dma_free_lists(dma, iod);
}

/**
 * nvme_dma_unmap_metadata - undo nvme_dma_map_metadata()
 * @dma: the controller's
 * @client: the queue's
 * @req: the request, which has metadata
 *
 * Context: any.
 */
static __always_inline void
nvme_dma_unmap_metadata(struct nvme_dma *dma, struct blk_dma_client *client,
			struct request *req)
{
	struct nvme_iod *iod = nvme_iod(req);

	blk_dma_unmap(client, req, &iod->meta);
	if (iod->meta_list)
		dma_pool_free(dma->small_pool, iod->meta_list, iod->meta_dma);
}

/**
 * nvme_dma_fits_two_prps - whether PRP 1 and PRP 2 can describe all of the data
 * @req: the request
 * @iter: holds the first range of the data
 *
 * Return: true if nvme_dma_set_two_prps() will do.
 */
static inline bool nvme_dma_fits_two_prps(struct request *req,
					  struct blk_dma_iter *iter)
{
	return iter->len == blk_rq_payload_bytes(req) &&
	       (iter->addr & (NVME_CTRL_PAGE_SIZE - 1)) + iter->len <=
		       NVME_CTRL_PAGE_SIZE * 2;
}

/**
 * nvme_dma_set_two_prps - describe the data of a request by PRP 1 and PRP 2
 * @req: the request; nvme_dma_fits_two_prps() says so
 * @iter: holds the only range of the data
 *
 * Context: any. Undo with nvme_dma_unmap_data().
 */
static inline void nvme_dma_set_two_prps(struct request *req,
					 struct blk_dma_iter *iter)
{
	struct nvme_iod *iod = nvme_iod(req);
	union nvme_data_ptr *dptr = &iod->cmd.rw.dptr;
	unsigned int first =
		NVME_CTRL_PAGE_SIZE - (iter->addr & (NVME_CTRL_PAGE_SIZE - 1));

	nvme_iod_set_data(iod, false);
	dptr->prp1 = cpu_to_le64(iter->addr);
	dptr->prp2 = iter->len > first ? cpu_to_le64(iter->addr + first) : 0;
}

/* Whether @len bytes at @addr are more than one DMA segment of the device. */
static inline bool nvme_crosses_boundary(dma_addr_t addr, u64 len,
					 unsigned long boundary)
{
	return (addr ^ (addr + len - 1)) & ~(u64)boundary;
}

static inline void nvme_sgl_set_data(struct nvme_sgl_desc *desc,
				     struct blk_dma_iter *iter)
{
	*desc = (struct nvme_sgl_desc){
		.addr = cpu_to_le64(iter->addr),
		.length = cpu_to_le32(iter->len),
		.type = NVME_SGL_FMT_DATA_DESC << 4,
	};
}

/**
 * nvme_dma_set_one_sgl - describe the data of a request by one SGL descriptor
 * @req: the request; of an I/O queue of a controller that supports SGLs
 * @iter: holds the only range of the data
 *
 * Context: any. Undo with nvme_dma_unmap_data().
 */
static inline void nvme_dma_set_one_sgl(struct request *req,
					struct blk_dma_iter *iter)
{
	struct nvme_iod *iod = nvme_iod(req);

	nvme_iod_set_data(iod, true);
	nvme_sgl_set_data(&iod->cmd.rw.dptr.sgl, iter);
}

/**
 * nvme_dma_set_sgl - describe the data of a request by an SGL
 * @dma: the controller's
 * @client: the queue's
 * @req: the request; of an I/O queue of a controller that supports SGLs
 * @iter: holds the first range of the data
 *
 * Context: any.
 * Return: as nvme_dma_set_prps().
 */
static inline blk_status_t nvme_dma_set_sgl(struct nvme_dma *dma,
					    struct blk_dma_client *client,
					    struct request *req,
					    struct blk_dma_iter *iter)
{
	nvme_dma_set_one_sgl(req, iter);
	if (iter->len == blk_rq_payload_bytes(req))
		return BLK_STS_OK;
	return __nvme_dma_set_sgl(dma, client, req, iter);
}

#endif /* NVME_PCI_DMA_H */
