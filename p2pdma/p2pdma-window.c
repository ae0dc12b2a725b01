// SPDX-License-Identifier: GPL-2.0
/*
 * Windows: pages of a provider of P2P memory that stay mapped for a client behind
 * an IOMMU, from their first use until they are freed.
 *
 * A window is a range of IOVAs as large as the provider's pagemap, so that IOVA
 * and physical address differ by a constant. It has a bit for each page. A bit is
 * set when its page is mapped and the IOTLB is in sync, and is cleared, with the
 * page unmapped and the IOTLB in sync, before the page goes back to the provider's
 * pool. Whoever does DMA has pinned the pages, so that no bit that it finds set is
 * cleared meanwhile.
 *
 * Only what a process has mapped from p2pmem/allocate is ever in a window. The
 * rest of the memory, such as submission queues of the provider, is not.
 *
 * Each client has windows of its own, also where several share a domain: a window
 * then ends with its client, and only one DMA mask has to be regarded.
 *
 * Lifetime: a window is opened on behalf of a request, whose pages hold the
 * pagemap, and whose queue holds the client. It is closed when the last user of
 * the client is gone, before the driver is unbound, and so before the domain can
 * change; or when the pagemap is gone, which waits until all pages are freed.
 */
#include <linux/dma-iova.h>
#include <linux/iommu.h>
#include <linux/iommu-dma.h>
#include <linux/iova.h>
#include <linux/mm.h>
#include <linux/p2pdma-window.h>
#include <linux/sched/mm.h>

#include "dma-iommu.h"
#include "iommu-pages.h"

/* Pages that leave windows with interrupts off, at most, but a folio always whole */
#define P2PDMA_WINDOW_PASS 512UL

/*
 * Held while windows are opened and closed, and clients and providers come and go.
 * A drive that is reset may need it: allocate nothing that waits for I/O.
 */
static DEFINE_MUTEX(p2pdma_windows_mutex);
static LIST_HEAD(p2pdma_window_clients);
static LIST_HEAD(p2pdma_window_providers);

static struct pci_p2pdma_pagemap *p2pdma_page_pagemap(struct page *page)
{
	return container_of(page_pgmap(page), struct pci_p2pdma_pagemap, pgmap);
}

static unsigned long p2pdma_window_nr_pages(struct p2pdma_window *window)
{
	return PHYS_PFN(range_len(&window->pagemap->pgmap.range));
}

static unsigned long p2pdma_window_index(struct p2pdma_window *window,
					 struct page *page)
{
	return page_to_pfn(page) - PHYS_PFN(window->start);
}

/* Whether a process has the page from p2pmem/allocate. */
static bool p2pdma_window_may_have(struct p2pdma_window *window,
				   unsigned long index)
{
	struct page *page = pfn_to_page(PHYS_PFN(window->start) + index);

	return READ_ONCE(page_folio(page)->page.zone_device_data) ==
	       window->pagemap;
}

/**
 * p2pdma_windows_lend - let windows have pages
 * @page: the head of a folio that a process has just got; pci_p2pdma_give_back()
 *	ends it
 *
 * Context: any.
 */
void p2pdma_windows_lend(struct page *page)
{
	WRITE_ONCE(page->zone_device_data, p2pdma_page_pagemap(page));
}

/*
 * Pages that are unmapped in a window until p2pdma_window_sync(). The driver is
 * not to sync by itself, as one sync does for all of them.
 */
static void p2pdma_window_start_unmap(struct iommu_iotlb_gather *gather)
{
	iommu_iotlb_gather_init(gather);
	gather->queued = true;
}

static void p2pdma_window_unmap(struct p2pdma_window *window,
				unsigned long first, unsigned long nr,
				struct iommu_iotlb_gather *gather)
{
	dma_iova_unmap_nosync(window->domain, NULL,
			      window->state.addr + PFN_PHYS(first),
			      PFN_PHYS(nr), gather);
}

/* As everywhere in the DMA API, nobody is told if a sync of unmapping fails. */
static void p2pdma_window_sync(struct p2pdma_window *window,
			       struct iommu_iotlb_gather *gather)
{
	iommu_flush_iotlb_all(window->domain);
	iommu_put_pages_list(&gather->freelist);
}

/* Unmap those of the @nr pages that are in the window. Return: how many were. */
static unsigned long p2pdma_window_unmap_set(struct p2pdma_window *window,
					     unsigned long first,
					     unsigned long nr,
					     struct iommu_iotlb_gather *gather)
{
	unsigned long end = first + nr, run_end, unmapped = 0;

	for_each_set_bitrange_from(first, run_end, window->bits, end) {
		p2pdma_window_unmap(window, first, run_end - first, gather);
		bitmap_clear(window->bits, first, run_end - first);
		unmapped += run_end - first;
	}
	return unmapped;
}

/*
 * Map pages that are not in the window, and let them be in it. One by one, as each
 * may be unmapped by itself, and no IOMMU takes part of a larger mapping away.
 */
static bool p2pdma_window_map_run(struct p2pdma_window *window,
				  unsigned long first, unsigned long end)
{
	struct device *dev = window->client->dev;
	struct iommu_iotlb_gather gather;
	unsigned long i;

	for (i = first; i < end; i++)
		if (!p2pdma_window_may_have(window, i) ||
		    dma_iova_link(dev, &window->state,
				  window->start + PFN_PHYS(i), PFN_PHYS(i),
				  PAGE_SIZE, DMA_BIDIRECTIONAL, DMA_ATTR_MMIO))
			goto undo;
	if (dma_iova_sync(dev, &window->state, PFN_PHYS(first),
			  PFN_PHYS(end - first)))
		goto undo;

	/*
	 * Who finds the bits set may let the device use the pages at once. Pairs
	 * with smp_acquire__after_ctrl_dep() in p2pdma_window_find().
	 */
	smp_wmb();
	bitmap_set(window->bits, first, end - first);
	return true;
undo:
	if (i == first)
		return false;
	p2pdma_window_start_unmap(&gather);
	p2pdma_window_unmap(window, first, i - first, &gather);
	p2pdma_window_sync(window, &gather);
	return false;
}

static bool p2pdma_window_add(struct p2pdma_window *window, unsigned long first,
			      unsigned long end)
{
	spinlock_t *lock = &window->pagemap->provider_windows->lock;
	unsigned long run_end, flags;
	bool ret = true;

	if (WARN_ON_ONCE(end > p2pdma_window_nr_pages(window)))
		return false;

	spin_lock_irqsave(lock, flags);
	for_each_clear_bitrange_from(first, run_end, window->bits, end) {
		ret = p2pdma_window_map_run(window, first, run_end);
		if (!ret)
			break;
	}
	spin_unlock_irqrestore(lock, flags);
	return ret;
}

/* Let p2pdma_windows_work() open a window; that cannot be done in any context. */
static void p2pdma_window_ask(struct p2pdma_window_client *client,
			      struct pci_p2pdma_pagemap *pagemap)
{
	struct p2pdma_windows *windows = pagemap->provider_windows;
	unsigned int number = READ_ONCE(to_pci_dev(client->dev)->p2pdma_client);
	struct p2pdma_window *window;
	unsigned long flags;

	if (!number || number >= P2PDMA_NR_MAP_TYPES)
		return;

	spin_lock_irqsave(&windows->lock, flags);
	/* no window is ever the one of number 0 */
	WRITE_ONCE(client->number, number);
	if (pagemap->client_windows[number])
		goto unlock;
	window = kzalloc(sizeof(*window), GFP_ATOMIC | __GFP_NOWARN);
	if (!window)
		goto unlock;
	window->client = client;
	window->pagemap = pagemap;
	window->start = pagemap->pgmap.range.start;
	window->asked = true;
	list_add(&window->node, &windows->windows);
	/* Pairs with the acquire in p2pdma_window_of() */
	smp_store_release(&pagemap->client_windows[number], window);
	mod_delayed_work(system_unbound_wq, &windows->work, 0);
unlock:
	spin_unlock_irqrestore(&windows->lock, flags);
}

/**
 * p2pdma_window_map - let a client reach P2P memory through its window
 * @client: the client
 * @mem: the provider, for which pci_p2pdma_state() has returned
 *	PCI_P2PDMA_MAP_THRU_HOST_BRIDGE
 * @phys: first physical address
 * @len: bytes, all in the same pagemap; not 0
 * @offset: set if the answer is true: DMA minus physical address, in bytes, which
 *	is the same for all memory of @mem
 *
 * The caller has pinned the memory until the device is done with it.
 *
 * Context: any.
 * Return: true if the device can use physical addresses plus *@offset, and there
 * is nothing to sync or to unmap. False if the memory has to be mapped otherwise:
 * that is always possible, and it is no error.
 */
bool p2pdma_window_map(struct p2pdma_window_client *client,
		       struct p2pdma_provider *mem, phys_addr_t phys,
		       size_t len, u64 *offset)
{
	struct pci_p2pdma_pagemap *pagemap =
		container_of(mem, struct pci_p2pdma_pagemap, mem);
	struct p2pdma_window *window;

	if (p2pdma_window_find(client, mem, phys, len, offset))
		return true;
	window = p2pdma_window_of(client, pagemap);
	if (!window) {
		p2pdma_window_ask(client, pagemap);
		return false;
	}
	/* Pairs with the release in p2pdma_window_open() */
	if (!smp_load_acquire(&window->bits))
		return false;
	phys -= window->start;
	/* what kernel code has takes no lock for a window it never gets */
	if (!p2pdma_window_may_have(window, PHYS_PFN(phys)) ||
	    !p2pdma_window_add(window, PHYS_PFN(phys),
			       PHYS_PFN(phys + len - 1) + 1))
		return false;
	*offset = window->offset;
	return true;
}

/*
 * Pages come and go one by one, so that the IOMMU must not have larger ones only;
 * and one sync must be able to do for many.
 */
static bool p2pdma_window_domain_fits(struct iommu_domain *domain)
{
	return domain->iova_cookie->iovad.granule <= PAGE_SIZE &&
	       domain->ops->flush_iotlb_all;
}

/* If this fails, there is no window until the client or the provider is new. */
static void p2pdma_window_open(struct p2pdma_window *window)
{
	struct device *dev = window->client->dev;
	struct iommu_domain *domain = iommu_get_dma_domain(dev);
	u64 size = range_len(&window->pagemap->pgmap.range);
	unsigned long *bits;
	struct iova *iova;

	if (!p2pdma_window_domain_fits(domain))
		return;
	bits = kvcalloc(BITS_TO_LONGS(p2pdma_window_nr_pages(window)),
			sizeof(*bits), GFP_KERNEL | __GFP_RETRY_MAYFAIL |
						__GFP_NOWARN);
	if (!bits)
		return;
	iova = dma_iova_reserve(dev, domain, size,
				DMA_IOVA_LOW_SLOTS + DMA_IOVA_LOW_WINDOWS);
	if (!iova) {
		kvfree(bits);
		return;
	}

	window->domain = domain;
	window->iova = iova;
	window->state.addr = iova_dma_addr(&domain->iova_cookie->iovad, iova);
	window->state.__size = size;
	window->offset = window->state.addr - window->start;
	spin_lock_irq(&window->pagemap->provider_windows->lock);
	/* Pairs with the acquire in p2pdma_window_map() */
	smp_store_release(&window->bits, bits);
	spin_unlock_irq(&window->pagemap->provider_windows->lock);
}

static void p2pdma_window_empty(struct p2pdma_window *window)
{
	unsigned long i, nr = p2pdma_window_nr_pages(window);
	spinlock_t *lock = &window->pagemap->provider_windows->lock;
	struct iommu_iotlb_gather gather;

	for (i = 0; i < nr; i += P2PDMA_WINDOW_PASS) {
		p2pdma_window_start_unmap(&gather);
		spin_lock_irq(lock);
		if (p2pdma_window_unmap_set(window, i,
					    min(nr - i, P2PDMA_WINDOW_PASS),
					    &gather))
			p2pdma_window_sync(window, &gather);
		spin_unlock_irq(lock);
		cond_resched();
	}
}

/* Nobody uses it for DMA any more. */
static void p2pdma_window_close(struct p2pdma_windows *windows,
				struct p2pdma_window *window)
{
	if (window->bits)
		p2pdma_window_empty(window);

	spin_lock_irq(&windows->lock);
	list_del(&window->node);
	window->pagemap->client_windows[window->client->number] = NULL;
	spin_unlock_irq(&windows->lock);

	if (window->bits)
		dma_iova_unreserve(window->domain->iova_cookie, window->iova);
	kvfree(window->bits);
	kfree(window);
}

/* A window that is of @client or of @pagemap, or waits to be opened */
static struct p2pdma_window *
p2pdma_windows_find(struct p2pdma_windows *windows,
		    struct p2pdma_window_client *client,
		    struct pci_p2pdma_pagemap *pagemap, bool asked)
{
	struct p2pdma_window *window, *found = NULL;

	spin_lock_irq(&windows->lock);
	list_for_each_entry(window, &windows->windows, node)
		if (window->client == client || window->pagemap == pagemap ||
		    (asked && window->asked)) {
			window->asked = false;
			found = window;
			break;
		}
	spin_unlock_irq(&windows->lock);
	return found;
}

/**
 * p2pdma_windows_close_pagemap - close all windows into a pagemap
 * @pagemap: its pages are all freed
 *
 * Context: may sleep.
 */
void p2pdma_windows_close_pagemap(struct pci_p2pdma_pagemap *pagemap)
{
	struct p2pdma_windows *windows = pagemap->provider_windows;
	struct p2pdma_window *window;

	mutex_lock(&p2pdma_windows_mutex);
	while ((window = p2pdma_windows_find(windows, NULL, pagemap, false)))
		p2pdma_window_close(windows, window);
	mutex_unlock(&p2pdma_windows_mutex);
}

/* Unmap those of the pages that are in the window, with one sync. */
static void p2pdma_window_drop(struct p2pdma_window *window, struct page *pages)
{
	struct iommu_iotlb_gather gather;
	unsigned long first, nr, unmapped = 0;
	struct page *page;

	if (!window->bits)
		return;
	p2pdma_window_start_unmap(&gather);
	for (page = pages; page; page = page->zone_device_data) {
		if (p2pdma_page_pagemap(page) != window->pagemap)
			continue;
		first = p2pdma_window_index(window, page);
		nr = folio_nr_pages(page_folio(page));
		unmapped += p2pdma_window_unmap_set(window, first, nr, &gather);
	}
	if (unmapped)
		p2pdma_window_sync(window, &gather);
}

/* Some of the pages that have to leave all windows, cut off from the others */
static struct page *p2pdma_windows_next_leaving(struct p2pdma_windows *windows)
{
	struct page *pages = windows->leaving, *last = pages, *next;
	size_t nr_windows = list_count_nodes(&windows->windows) ?: 1;
	unsigned long nr;

	if (!pages)
		return NULL;
	nr = folio_nr_pages(page_folio(last));
	while ((next = last->zone_device_data)) {
		nr += folio_nr_pages(page_folio(next));
		if (nr * nr_windows > P2PDMA_WINDOW_PASS)
			break;
		last = next;
	}
	windows->leaving = last->zone_device_data;
	last->zone_device_data = NULL;
	return pages;
}

/* Unmap, sync, and only then give back. Return: whether there are more. */
static bool p2pdma_windows_drain_some(struct p2pdma_windows *windows)
{
	struct p2pdma_window *window;
	struct page *pages, *next;

	lockdep_assert_held(&windows->lock);
	pages = p2pdma_windows_next_leaving(windows);
	list_for_each_entry(window, &windows->windows, node)
		p2pdma_window_drop(window, pages);
	for (; pages; pages = next) {
		next = pages->zone_device_data;
		pci_p2pdma_give_back(pages);
	}
	return windows->leaving;
}

static bool p2pdma_windows_drain_pass(struct p2pdma_windows *windows)
{
	unsigned long flags;
	bool more;

	/* The lock also if nothing waits: somebody else may be at it */
	spin_lock_irqsave(&windows->lock, flags);
	more = p2pdma_windows_drain_some(windows);
	spin_unlock_irqrestore(&windows->lock, flags);
	return more;
}

/**
 * p2pdma_windows_drain - give pages back to the provider's pool that were freed
 * @windows: the provider's
 *
 * When it returns, what p2pdma_windows_take() took before is in the pool.
 *
 * Context: any.
 */
void p2pdma_windows_drain(struct p2pdma_windows *windows)
{
	while (p2pdma_windows_drain_pass(windows))
		;
}

static bool p2pdma_windows_have(struct p2pdma_windows *windows,
				struct page *page)
{
	struct pci_p2pdma_pagemap *pagemap = p2pdma_page_pagemap(page);
	unsigned long nr = folio_nr_pages(page_folio(page));
	struct p2pdma_window *window;
	unsigned long first;

	lockdep_assert_held(&windows->lock);
	list_for_each_entry(window, &windows->windows, node) {
		if (!window->bits || window->pagemap != pagemap)
			continue;
		first = p2pdma_window_index(window, page);
		if (find_next_bit(window->bits, first + nr, first) < first + nr)
			return true;
	}
	return false;
}

/**
 * p2pdma_windows_take - take freed pages that windows have
 * @windows: the provider's
 * @page: the head of a folio, whose last reference is gone
 *
 * They are unmapped a little later, together with others, and are then given to
 * pci_p2pdma_give_back(). Until then the pagemap's reference for them is kept.
 *
 * No window can take pages in meanwhile, as nobody has them pinned. So the check
 * without the lock is right: who put them into a window had pinned them.
 *
 * Context: any, as bios that end drop pages in interrupts, too.
 * Return: false if no window has them: then the caller gives them back.
 */
bool p2pdma_windows_take(struct p2pdma_windows *windows, struct page *page)
{
	unsigned long flags;
	bool ret;

	if (list_empty(&windows->windows))
		return false;

	spin_lock_irqsave(&windows->lock, flags);
	ret = p2pdma_windows_have(windows, page);
	if (ret) {
		page->zone_device_data = windows->leaving;
		windows->leaving = page;
		/* under the lock: later the provider may be gone */
		queue_delayed_work(system_unbound_wq, &windows->work, 1);
	}
	spin_unlock_irqrestore(&windows->lock, flags);
	return ret;
}

static void p2pdma_windows_work(struct work_struct *work)
{
	struct p2pdma_windows *windows =
		container_of(work, struct p2pdma_windows, work.work);
	struct p2pdma_window *window;
	unsigned int noio;

	while (p2pdma_windows_drain_pass(windows))
		cond_resched();

	mutex_lock(&p2pdma_windows_mutex);
	noio = memalloc_noio_save();
	while ((window = p2pdma_windows_find(windows, NULL, NULL, true)))
		p2pdma_window_open(window);
	memalloc_noio_restore(noio);
	mutex_unlock(&p2pdma_windows_mutex);
}

/**
 * p2pdma_windows_init - a provider comes
 * @windows: the provider's; owned by it until p2pdma_windows_exit()
 *
 * Context: may sleep.
 */
void p2pdma_windows_init(struct p2pdma_windows *windows)
{
	spin_lock_init(&windows->lock);
	INIT_LIST_HEAD(&windows->windows);
	INIT_DELAYED_WORK(&windows->work, p2pdma_windows_work);
	mutex_lock(&p2pdma_windows_mutex);
	list_add(&windows->node, &p2pdma_window_providers);
	mutex_unlock(&p2pdma_windows_mutex);
}

/**
 * p2pdma_windows_exit - a provider goes
 * @windows: the provider's; all its pagemaps are gone
 *
 * Context: may sleep.
 */
void p2pdma_windows_exit(struct p2pdma_windows *windows)
{
	mutex_lock(&p2pdma_windows_mutex);
	list_del(&windows->node);
	mutex_unlock(&p2pdma_windows_mutex);
	/* who freed the last page may still hold the lock */
	spin_lock_irq(&windows->lock);
	spin_unlock_irq(&windows->lock);
	cancel_delayed_work_sync(&windows->work);
}

static struct p2pdma_window_client *p2pdma_window_client_find(struct device *dev)
{
	struct p2pdma_window_client *client;

	list_for_each_entry(client, &p2pdma_window_clients, node)
		if (client->dev == dev)
			return client;
	return NULL;
}

static struct p2pdma_window_client *p2pdma_window_client_new(struct device *dev)
{
	struct p2pdma_window_client *client;

	client = kzalloc(sizeof(*client), GFP_NOIO);
	if (!client)
		return NULL;
	client->dev = dev;
	list_add(&client->node, &p2pdma_window_clients);
	return client;
}

static bool p2pdma_window_may_use(struct device *dev, enum p2pdma_window_use use)
{
	struct iommu_domain *domain;

	/* Real-time kernels free pages where no lock of theirs may be taken */
	if (IS_ENABLED(CONFIG_PREEMPT_RT) || use == P2PDMA_WINDOW_OFF ||
	    !dev_is_pci(dev) ||
	    !use_dma_iommu(dev) || dev_is_untrusted(dev))
		return false;
	domain = iommu_get_dma_domain(dev);
	return use == P2PDMA_WINDOW_ON ||
	       READ_ONCE(domain->iova_cookie->fq_domain);
}

/**
 * p2pdma_window_client_get - a user of a device wants windows
 * @dev: device that will do the DMA, its DMA mask set; borrowed until
 *	p2pdma_window_client_put()
 * @use: in which domains. It is decided now, also if the domain becomes lazy later
 *
 * Context: may sleep.
 * Return: to be given to p2pdma_window_map(). NULL if there will be no windows, as
 * for a device that has no IOMMU managed by the DMA API or is not trusted, and with
 * CONFIG_PREEMPT_RT.
 */
struct p2pdma_window_client *
p2pdma_window_client_get(struct device *dev, enum p2pdma_window_use use)
{
	struct p2pdma_window_client *client;

	if (!p2pdma_window_may_use(dev, use))
		return NULL;

	mutex_lock(&p2pdma_windows_mutex);
	client = p2pdma_window_client_find(dev) ?:
		 p2pdma_window_client_new(dev);
	if (client)
		client->users++;
	mutex_unlock(&p2pdma_windows_mutex);
	return client;
}

/**
 * p2pdma_window_client_put - undo p2pdma_window_client_get()
 * @client: what that returned; may be NULL. The user's DMA is done
 *
 * With the last user the device is cut off from all windows. That must be before
 * the driver is unbound, as the domain may be another one after that.
 *
 * Context: may sleep.
 */
void p2pdma_window_client_put(struct p2pdma_window_client *client)
{
	struct p2pdma_windows *windows;
	struct p2pdma_window *window;

	if (!client)
		return;

	mutex_lock(&p2pdma_windows_mutex);
	if (--client->users)
		goto unlock;
	list_for_each_entry(windows, &p2pdma_window_providers, node)
		while ((window = p2pdma_windows_find(windows, client, NULL,
						     false)))
			p2pdma_window_close(windows, window);
	list_del(&client->node);
	kfree(client);
unlock:
	mutex_unlock(&p2pdma_windows_mutex);
}
