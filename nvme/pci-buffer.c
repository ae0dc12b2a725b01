// SPDX-License-Identifier: GPL-2.0
/*
 * Registered buffers that stay mapped, as PRPs: NVM Express Base Specification,
 * Physical Region Page Entry and List.
 *
 * The PRP lists of a whole buffer are written once, and PRP 2 of a command points
 * into them. What the last place of a list means depends on the command: a PRP
 * where the data ends with it, otherwise the address of the next list. So there are
 * two of each list. The PRP that a chained list has no place for is the first of the
 * next.
 */
#include <kunit/visibility.h>
#include <linux/dma-mapping.h>
#include <linux/slab.h>

#include "pci-buffer.h"

static void nvme_buffer_free_list(struct device *dev,
				  struct nvme_buffer_list *list)
{
	if (list->last)
		dma_free_coherent(dev, NVME_CTRL_PAGE_SIZE, list->last,
				  list->last_dma);
	if (list->chained)
		dma_free_coherent(dev, NVME_CTRL_PAGE_SIZE, list->chained,
				  list->chained_dma);
}

static bool nvme_buffer_alloc_list(struct device *dev,
				   struct nvme_buffer_list *list)
{
	list->last = dma_alloc_coherent(dev, NVME_CTRL_PAGE_SIZE,
					&list->last_dma, DMA_REGISTRATION_GFP);
	list->chained = dma_alloc_coherent(dev, NVME_CTRL_PAGE_SIZE,
					   &list->chained_dma,
					   DMA_REGISTRATION_GFP);
	return list->last && list->chained;
}

/**
 * nvme_buffer_free_prps - undo nvme_buffer_write_prps()
 * @dev: as given there
 * @prps: the lists, which no command in flight uses; NULL for none
 *
 * Context: may sleep.
 */
void nvme_buffer_free_prps(struct device *dev, struct nvme_buffer_prps *prps)
{
	unsigned int i;

	if (!prps)
		return;
	for (i = 0; i < prps->nr_lists; i++) {
		nvme_buffer_free_list(dev, &prps->lists[i]);
		cond_resched();
	}
	kvfree(prps);
}
EXPORT_SYMBOL_IF_KUNIT(nvme_buffer_free_prps);

static struct nvme_buffer_prps *
nvme_buffer_alloc_prps(struct device *dev, unsigned int pad, u64 size)
{
	u64 nr_pages = DIV_ROUND_UP_ULL(pad + size, NVME_CTRL_PAGE_SIZE);
	struct nvme_buffer_prps *prps;
	unsigned int nr_lists, i;

	if (nr_pages > UINT_MAX)
		return NULL;
	nr_lists = DIV_ROUND_UP((unsigned int)nr_pages - 1, NVME_PRPS_PER_LIST);
	prps = kvzalloc(struct_size(prps, lists, nr_lists), DMA_REGISTRATION_GFP);
	if (!prps)
		return NULL;
	prps->pad = pad;
	prps->nr_pages = nr_pages;
	prps->nr_lists = nr_lists;
	for (i = 0; i < nr_lists; i++) {
		if (!nvme_buffer_alloc_list(dev, &prps->lists[i])) {
			nvme_buffer_free_prps(dev, prps);
			return NULL;
		}
		cond_resched();
	}
	return prps;
}

/* The PRP of @page, which is not the first, wherever it has a place. */
static void nvme_buffer_set_prp(struct nvme_buffer_prps *prps,
				unsigned int page, dma_addr_t addr)
{
	unsigned int i = (page - 1) % NVME_PRPS_PER_LIST;
	struct nvme_buffer_list *list =
		&prps->lists[(page - 1) / NVME_PRPS_PER_LIST];

	list->last[i] = cpu_to_le64(addr);
	list->chained[i] = cpu_to_le64(addr);
	if (!i && list != prps->lists)
		list[-1].last[NVME_PRPS_PER_LIST] = cpu_to_le64(addr);
}

/**
 * nvme_buffer_write_prps - write the PRP lists of a buffer
 * @dev: the controller's PCI device
 * @reg: the buffer, which stays mapped until nvme_buffer_free_prps()
 *
 * Context: may sleep.
 * Return: the lists, owned by the caller; NULL if PRPs cannot describe the buffer,
 * or if there is no memory.
 */
struct nvme_buffer_prps *nvme_buffer_write_prps(struct device *dev,
						const struct dma_registration *reg)
{
	unsigned int pad = reg->ranges[0].addr & (NVME_CTRL_PAGE_SIZE - 1);
	struct nvme_buffer_prps *prps;
	dma_addr_t addr;
	u64 at, left;
	unsigned int page, i;

	dma_registration_addr(reg, 0, &left);
	if (left < min_t(u64, NVME_CTRL_PAGE_SIZE - pad, reg->size))
		return NULL;
	prps = nvme_buffer_alloc_prps(dev, pad, reg->size);
	if (!prps)
		return NULL;
	for (page = 1; page < prps->nr_pages; page++) {
		at = (u64)page * NVME_CTRL_PAGE_SIZE - pad;
		addr = dma_registration_addr(reg, at, &left);
		if ((addr & (NVME_CTRL_PAGE_SIZE - 1)) ||
		    left < min_t(u64, NVME_CTRL_PAGE_SIZE, reg->size - at)) {
			nvme_buffer_free_prps(dev, prps);
			return NULL;
		}
		nvme_buffer_set_prp(prps, page, addr);
		if (!(page % NVME_PRPS_PER_LIST))
			cond_resched();
	}
	for (i = 0; i + 1 < prps->nr_lists; i++)
		prps->lists[i].chained[NVME_PRPS_PER_LIST] =
			cpu_to_le64(prps->lists[i + 1].last_dma);
	return prps;
}
EXPORT_SYMBOL_IF_KUNIT(nvme_buffer_write_prps);
