/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Windows: pages of a provider that stay mapped for a client behind an IOMMU. See
 * Documentation/core-api/dma-iova.rst.
 */
#ifndef _LINUX_P2PDMA_WINDOW_H
#define _LINUX_P2PDMA_WINDOW_H

#include <linux/bitmap.h>
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/pci-p2pdma.h>
#include <linux/pfn.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

struct iommu_domain;
struct iova;

/**
 * enum p2pdma_window_use - whether a client wants windows
 * @P2PDMA_WINDOW_AUTO: in a domain with a flush queue, which invalidates the
 *	IOTLB late anyway; not in a strict one
 * @P2PDMA_WINDOW_ON: in a strict domain, too
 * @P2PDMA_WINDOW_OFF: no
 */
enum p2pdma_window_use {
	P2PDMA_WINDOW_AUTO,
	P2PDMA_WINDOW_ON,
	P2PDMA_WINDOW_OFF,
};

/* A device that wants windows. Private to the functions below and p2pdma-window.c. */
struct p2pdma_window_client {
	struct device *dev; /* borrowed while a driver is bound */
	unsigned int number; /* as clients of P2P memory have; 0 for no windows yet */
	unsigned int users; /* p2pdma_window_client_get() without put */
	struct list_head node;
};

/*
 * The windows of all clients into one provider's memory, and the pages that have
 * to leave them before they go back to its pool. Private to p2pdma-window.c.
 */
struct p2pdma_windows {
	/* Held when pages enter or leave a window, and when windows come and go */
	spinlock_t lock;
	struct list_head windows;
	struct page *leaving; /* linked by zone_device_data */
	struct delayed_work work;
	struct list_head node;
};

/*
 * One client's window into one pagemap. The IOVA of a page that is in it is the
 * page's physical address plus @offset. Private to the functions below and
 * p2pdma-window.c.
 */
struct p2pdma_window {
	phys_addr_t start; /* of the pagemap */
	u64 offset; /* bytes, modulo 2^64 */
	unsigned long *bits; /* pages that are in it; NULL for no window; owned */
	struct p2pdma_window_client *client; /* borrowed; outlives the window */
	struct pci_p2pdma_pagemap *pagemap; /* borrowed; outlives the window */
	struct iommu_domain *domain; /* of the client; borrowed */
	struct iova *iova; /* owned */
	struct dma_iova_state state; /* of all of it, to link pages in */
	struct list_head node;
	bool asked; /* waits for p2pdma_windows_work() to open it */
};

#if defined(CONFIG_PCI_P2PDMA) && defined(CONFIG_IOMMU_DMA)
struct p2pdma_window_client *
p2pdma_window_client_get(struct device *dev, enum p2pdma_window_use use);
void p2pdma_window_client_put(struct p2pdma_window_client *client);

/* For drivers/pci/p2pdma.c */
void p2pdma_windows_init(struct p2pdma_windows *windows);
void p2pdma_windows_exit(struct p2pdma_windows *windows);
void p2pdma_windows_close_pagemap(struct pci_p2pdma_pagemap *pagemap);
void p2pdma_windows_lend(struct page *page);
void p2pdma_windows_drain(struct p2pdma_windows *windows);
bool p2pdma_windows_take(struct p2pdma_windows *windows, struct page *page);

/* The client's window, if it has one or has asked for one */
static __always_inline struct p2pdma_window *
p2pdma_window_of(struct p2pdma_window_client *client,
		 struct pci_p2pdma_pagemap *pagemap)
{
	unsigned int number = READ_ONCE(client->number);

	/* Pairs with the release in p2pdma_window_ask() */
	return smp_load_acquire(&pagemap->client_windows[number]);
}

/* Calls nothing, for callers that want no stack frame. */
static __always_inline bool p2pdma_window_all_set(const unsigned long *bits,
						  unsigned long first,
						  unsigned long last)
{
	const unsigned long *word = bits + BIT_WORD(first);
	const unsigned long *last_word = bits + BIT_WORD(last);
	unsigned long mask = BITMAP_FIRST_WORD_MASK(first);

	for (; word < last_word; word++, mask = ~0UL)
		if (~READ_ONCE(*word) & mask)
			return false;
	return !(~READ_ONCE(*word) & mask & BITMAP_LAST_WORD_MASK(last + 1));
}

/**
 * p2pdma_window_find - reach P2P memory that is in a client's window
 * @client: as for p2pdma_window_map()
 * @mem: as for p2pdma_window_map()
 * @phys: as for p2pdma_window_map()
 * @len: as for p2pdma_window_map()
 * @offset: as for p2pdma_window_map()
 *
 * The caller has pinned the memory until the device is done with it. So none of
 * its pages is freed meanwhile, and what is in the window stays there: bits that
 * are found set here need no lock and no reference.
 *
 * Context: any.
 * Return: as p2pdma_window_map(), which may be asked if this is false.
 */
static __always_inline bool
p2pdma_window_find(struct p2pdma_window_client *client,
		   struct p2pdma_provider *mem, phys_addr_t phys, size_t len,
		   u64 *offset)
{
	struct pci_p2pdma_pagemap *pagemap =
		container_of(mem, struct pci_p2pdma_pagemap, mem);
	struct p2pdma_window *window = p2pdma_window_of(client, pagemap);
	unsigned long *bits;

	if (unlikely(!window))
		return false;
	/* Pairs with the release in p2pdma_window_open() */
	bits = smp_load_acquire(&window->bits);
	phys -= window->start;
	if (unlikely(!bits || !p2pdma_window_all_set(bits, PHYS_PFN(phys),
						     PHYS_PFN(phys + len - 1))))
		return false;
	/* Pairs with the barrier in p2pdma_window_map_run() */
	smp_acquire__after_ctrl_dep();
	*offset = window->offset;
	return true;
}

bool p2pdma_window_map(struct p2pdma_window_client *client,
		       struct p2pdma_provider *mem, phys_addr_t phys,
		       size_t len, u64 *offset);
#else /* CONFIG_PCI_P2PDMA && CONFIG_IOMMU_DMA */
static inline struct p2pdma_window_client *
p2pdma_window_client_get(struct device *dev, enum p2pdma_window_use use)
{
	return NULL;
}

static inline void p2pdma_window_client_put(struct p2pdma_window_client *client)
{
}

static inline void p2pdma_windows_init(struct p2pdma_windows *windows)
{
}

static inline void p2pdma_windows_exit(struct p2pdma_windows *windows)
{
}

static inline void
p2pdma_windows_close_pagemap(struct pci_p2pdma_pagemap *pagemap)
{
}

static inline void p2pdma_windows_lend(struct page *page)
{
}

static inline void p2pdma_windows_drain(struct p2pdma_windows *windows)
{
}

static inline bool p2pdma_windows_take(struct p2pdma_windows *windows,
				       struct page *page)
{
	return false;
}

static inline bool p2pdma_window_find(struct p2pdma_window_client *client,
				      struct p2pdma_provider *mem,
				      phys_addr_t phys, size_t len, u64 *offset)
{
	return false;
}

static inline bool p2pdma_window_map(struct p2pdma_window_client *client,
				     struct p2pdma_provider *mem,
				     phys_addr_t phys, size_t len, u64 *offset)
{
	return false;
}
#endif /* CONFIG_PCI_P2PDMA && CONFIG_IOMMU_DMA */
#endif /* _LINUX_P2PDMA_WINDOW_H */
