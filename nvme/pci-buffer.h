/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Registered buffers that stay mapped, as PRPs.
 */
#ifndef NVME_PCI_BUFFER_H
#define NVME_PCI_BUFFER_H

#include <linux/blk-dma-buffer.h>

#include "pci-dma.h"

/*
 * The PRPs of list number i are those of pages NVME_PRPS_PER_LIST * i + 1 and after
 * of a buffer. A list whose last place leads to another has one PRP less.
 */
#define NVME_PRPS_PER_LIST (NVME_PRPS_PER_PAGE - 1)

/* Data of so many bytes takes no more than two lists, wherever it begins. */
#define NVME_BUFFER_MAX_BYTES (NVME_PRPS_PER_PAGE * NVME_CTRL_PAGE_SIZE)

/**
 * struct nvme_buffer_list - a PRP list of a buffer, as both kinds that are needed
 * @last: all places are PRPs; owned
 * @last_dma: its DMA address
 * @chained: the last place leads to @last of the next list; owned
 * @chained_dma: its DMA address
 */
struct nvme_buffer_list {
	__le64 *last;
	dma_addr_t last_dma;
	__le64 *chained;
	dma_addr_t chained_dma;
};

/**
 * struct nvme_buffer_prps - the PRP lists of a buffer, written once
 * @pad: bytes of the first page that come before the buffer
 * @nr_pages: pages of NVME_CTRL_PAGE_SIZE that the buffer touches
 * @nr_lists: how many lists there are
 * @lists: the PRPs of all pages but the first
 */
struct nvme_buffer_prps {
	unsigned int pad;
	unsigned int nr_pages;
	unsigned int nr_lists;
	struct nvme_buffer_list lists[];
};

struct nvme_buffer_prps *nvme_buffer_write_prps(struct device *dev,
						const struct dma_registration *reg);
void nvme_buffer_free_prps(struct device *dev, struct nvme_buffer_prps *prps);

/**
 * nvme_buffer_prp2 - PRP 2 for data in a buffer
 * @prps: of the buffer
 * @offset: bytes of the buffer before the data
 * @len: bytes of data; they touch more than one page
 *
 * Context: any.
 * Return: a page's DMA address if the data touches two pages, a list's otherwise;
 * 0 if the data takes more than two lists.
 */
static inline dma_addr_t nvme_buffer_prp2(const struct nvme_buffer_prps *prps,
					  u64 offset, unsigned int len)
{
	u64 start = prps->pad + offset;
	unsigned int page = start / NVME_CTRL_PAGE_SIZE;
	unsigned int nr = (start + len - 1) / NVME_CTRL_PAGE_SIZE - page;
	unsigned int i = page % NVME_PRPS_PER_LIST;
	const struct nvme_buffer_list *list =
		&prps->lists[page / NVME_PRPS_PER_LIST];

	if (nr == 1)
		return le64_to_cpu(list->last[i]);
	if (likely(i + nr <= NVME_PRPS_PER_PAGE))
		return list->last_dma + i * sizeof(__le64);
	if (i + nr > NVME_PRPS_PER_LIST + NVME_PRPS_PER_PAGE)
		return 0;
	return list->chained_dma + i * sizeof(__le64);
}

/**
 * nvme_dma_set_buffer_prps - describe data by the PRP lists of its buffer
 * @req: the request
 * @prps: of the buffer
 * @addr: DMA address of the data's first byte
 * @offset: bytes of the buffer before the data
 *
 * Context: any. Undo with nvme_dma_unmap_data().
 * Return: false, with nothing set, if the lists cannot describe it.
 */
static inline bool nvme_dma_set_buffer_prps(struct request *req,
					    const struct nvme_buffer_prps *prps,
					    dma_addr_t addr, u64 offset)
{
	struct nvme_iod *iod = nvme_iod(req);
	union nvme_data_ptr *dptr = &iod->cmd.rw.dptr;
	unsigned int len = blk_rq_payload_bytes(req);
	dma_addr_t prp2 = 0;

	if ((addr & (NVME_CTRL_PAGE_SIZE - 1)) + len > NVME_CTRL_PAGE_SIZE) {
		prp2 = nvme_buffer_prp2(prps, offset, len);
		if (!prp2)
			return false;
	}
	nvme_iod_set_data(iod, false);
	dptr->prp1 = cpu_to_le64(addr);
	dptr->prp2 = cpu_to_le64(prp2);
	return true;
}

#endif /* NVME_PCI_BUFFER_H */
