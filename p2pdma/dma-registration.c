// SPDX-License-Identifier: GPL-2.0
/*
 * Registrations: memory that is mapped once, for one device, until it is
 * unregistered or revoked.
 *
 * Terms: a piece is physically contiguous memory, as given by the owner. A run is
 * as many pieces as follow each other in memory of one class. A range is as many
 * runs as follow each other in DMA addresses. Behind an IOMMU all runs that it
 * translates share one allocation of IOVAs, and each begins in a granule of its own
 * unless the run before ends with its granule.
 *
 * Revoking has two parts. It begins under the mutex, where the first reason wins
 * and new users are turned away. Whoever comes first then finishes it without the
 * mutex: tells the owner, waits for the users, unmaps. All others wait for that,
 * and nobody for another registration.
 */
#include <kunit/static_stub.h>
#include <kunit/visibility.h>
#include <linux/bitops.h>
#include <linux/dma-linear.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/iommu-dma.h>
#include <linux/kmsan.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pfn.h>
#include <linux/sched/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "registration.h"

/* Protects struct dma_registrations, and who revokes. Not held while waiting. */
static DEFINE_MUTEX(dma_registrations_mutex);
/* For the calls of dma_register_phys() that are under way to end */
static DECLARE_WAIT_QUEUE_HEAD(dma_registrations_wait);

/* A walk over the runs of what is registered; the fields but the first tell a run */
struct dma_reg_walk {
	const struct dma_reg_way *way;
	const struct dma_registration_memory *mem;
	struct pci_p2pdma_map_state p2pdma;
	unsigned int next; /* piece */
	phys_addr_t paddr;
	u64 len;
	u64 offset; /* of the run, in the registration */
	struct p2pdma_provider *provider; /* NULL for host memory */
	enum pci_p2pdma_map_type map;
	bool is_iova;
	bool joins; /* the range of the run before */
	dma_addr_t addr; /* IOVAs start at 0 */
	u64 iova_end;
	u64 iova_base; /* of those that were allocated */
};

/* How the device reaches a piece; @state holds the provider, if there is one. */
VISIBLE_IF_KUNIT enum pci_p2pdma_map_type
dma_reg_map_type(const struct dma_reg_way *way,
		 const struct dma_registration_piece *piece,
		 struct pci_p2pdma_map_state *state)
{
	phys_addr_t last = piece->paddr + piece->len - 1;
	struct dev_pagemap *pgmap;
	struct page *page;

	KUNIT_STATIC_STUB_REDIRECT(dma_reg_map_type, way, piece, state);

	if (!pfn_valid(PHYS_PFN(piece->paddr)) || !pfn_valid(PHYS_PFN(last)))
		return PCI_P2PDMA_MAP_UNKNOWN;
	page = pfn_to_page(PHYS_PFN(piece->paddr));
	pgmap = pci_p2pdma_pgmap(page);
	if (pgmap ? last > pgmap->range.end :
		    is_pci_p2pdma_page(pfn_to_page(PHYS_PFN(last))))
		return PCI_P2PDMA_MAP_UNKNOWN;
	return pci_p2pdma_state(state, way->dev, page);
}
EXPORT_SYMBOL_IF_KUNIT(dma_reg_map_type);

/* Take another piece into the run if it is its first or continues it. */
static bool dma_reg_take(struct dma_reg_walk *walk)
{
	const struct dma_registration_piece *piece;
	struct p2pdma_provider *provider = NULL;
	enum pci_p2pdma_map_type map;

	if (walk->next == walk->mem->nr_pieces)
		return false;
	piece = &walk->mem->pieces[walk->next];
	if (walk->len && piece->paddr != walk->paddr + walk->len)
		return false;
	map = dma_reg_map_type(walk->way, piece, &walk->p2pdma);
	if (map != PCI_P2PDMA_MAP_NONE)
		provider = walk->p2pdma.mem;
	if (!walk->len) {
		walk->paddr = piece->paddr;
		walk->map = map;
		walk->provider = provider;
	} else if (map != walk->map || provider != walk->provider) {
		return false;
	}
	walk->len += piece->len;
	walk->next++;
	return true;
}

static void dma_reg_place_iova(struct dma_reg_walk *walk, bool after_iova)
{
	u64 pad = walk->paddr & (walk->way->granule - 1);
	u64 start = ALIGN(walk->iova_end, walk->way->granule);

	walk->is_iova = true;
	walk->joins = after_iova && !pad && start == walk->iova_end;
	walk->addr = start + pad;
	walk->iova_end = walk->addr + walk->len;
}

/* Find the DMA address of the run, or why there is none. */
static int dma_reg_place(struct dma_reg_walk *walk)
{
	const struct dma_reg_reach *reach = &walk->way->host;
	bool after_iova = walk->is_iova;

	walk->is_iova = false;
	walk->joins = false;
	switch (walk->map) {
	case PCI_P2PDMA_MAP_NONE:
		break;
	case PCI_P2PDMA_MAP_BUS_ADDR:
		walk->addr = pci_p2pdma_bus_addr_map(walk->provider,
						     walk->paddr);
		if (walk->way->bus_last &&
		    walk->addr + walk->len - 1 > walk->way->bus_last)
			return -EREMOTEIO;
		return 0;
	case PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:
		reach = &walk->way->p2p;
		break;
	case PCI_P2PDMA_MAP_NOT_SUPPORTED:
		return -EREMOTEIO;
	default:
		return -EINVAL;
	}

	if (!reach->last || walk->paddr + walk->len - 1 > reach->last)
		return walk->provider ? -EREMOTEIO : -EOPNOTSUPP;
	if (walk->way->granule)
		dma_reg_place_iova(walk, after_iova);
	else
		walk->addr = walk->paddr + reach->offset;
	return 0;
}

/* Return: 1 for a further run, 0 for none, or a negative errno. */
static int dma_reg_next(struct dma_reg_walk *walk)
{
	int ret;

	walk->offset += walk->len;
	walk->len = 0;
	while (dma_reg_take(walk))
		cond_resched();
	if (!walk->len)
		return 0;
	ret = dma_reg_place(walk);
	return ret ?: 1;
}

static void dma_reg_free_links(struct dma_registration_link *link)
{
	struct dma_registration_link *next;

	for (; link; link = next) {
		next = link->next;
		kfree(link);
	}
}

void dma_reg_free(struct dma_registration *reg)
{
	dma_reg_free_links(reg->of_client.next);
	kvfree(reg->index);
	kvfree(reg);
}
EXPORT_SYMBOL_IF_KUNIT(dma_reg_free);

/* Note that the registration includes memory of a provider. */
static int dma_reg_add_link(struct dma_registration *reg,
			    struct p2pdma_provider *provider)
{
	struct dma_registrations *in =
		&container_of(provider, struct pci_p2pdma_pagemap, mem)
			 ->registrations;
	struct dma_registration_link *link;

	for (link = reg->of_client.next; link; link = link->next)
		if (link->in == in)
			return 0;
	link = kzalloc(sizeof(*link), DMA_REGISTRATION_GFP);
	if (!link)
		return -ENOMEM;
	link->reg = reg;
	link->in = in;
	link->next = reg->of_client.next;
	reg->of_client.next = link;
	return 0;
}

/* Whether a bit for each of @granules is in proportion to what is registered. */
static bool dma_reg_worth_index(struct dma_registration *reg, u64 granules)
{
	return reg->shift >= ilog2(SZ_512) || granules / 64 <= reg->nr_ranges;
}

/*
 * Find the largest granules that are all within one range, and note which of them
 * ranges begin with. Without an index the ranges are searched.
 */
void dma_reg_make_index(struct dma_registration *reg)
{
	u64 first = reg->ranges[1].offset, differ = 0, granules, g;
	unsigned int i, before = 0;

	for (i = 2; i < reg->nr_ranges; i++)
		differ |= reg->ranges[i].offset - first;
	reg->shift = differ ? __ffs64(differ) : fls64(reg->size);
	reg->pad = -first & (BIT_ULL(reg->shift) - 1);

	granules = ((reg->size - 1 + reg->pad) >> reg->shift) + 1;
	if (!dma_reg_worth_index(reg, granules))
		return;
	reg->index = kvcalloc(DIV_ROUND_UP_ULL(granules, 64),
			      sizeof(*reg->index),
			      DMA_REGISTRATION_GFP);
	if (!reg->index)
		return;

	for (i = 0; i < reg->nr_ranges; i++) {
		g = (reg->ranges[i].offset + reg->pad) >> reg->shift;
		reg->index[g / 64].begins |= BIT_ULL(g % 64);
	}
	for (g = 0; g < DIV_ROUND_UP_ULL(granules, 64); g++) {
		reg->index[g].before = before;
		before += hweight64(reg->index[g].begins);
	}
}

static unsigned int dma_reg_search(const struct dma_registration *reg,
				   u64 offset)
{
	unsigned int low = 0, high = reg->nr_ranges - 1;

	while (low < high) {
		unsigned int middle = high - (high - low) / 2;

		if (reg->ranges[middle].offset <= offset)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

/* For dma_registration_addr(): the number of the range that has @offset. */
unsigned int __dma_registration_find(const struct dma_registration *reg,
				     u64 offset)
{
	const struct dma_registration_index *index;
	u64 granule;

	if (unlikely(!reg->index))
		return dma_reg_search(reg, offset);
	granule = (offset + reg->pad) >> reg->shift;
	index = &reg->index[granule / 64];
	return index->before +
	       hweight64(index->begins & GENMASK_ULL(granule % 64, 0)) - 1;
}
EXPORT_SYMBOL_GPL(__dma_registration_find);

/* Count the ranges; with @reg, which has room for them, fill them in as well. */
static int dma_reg_lay_out(const struct dma_reg_way *way,
			   const struct dma_registration_memory *mem,
			   struct dma_registration *reg,
			   unsigned int *nr_ranges)
{
	struct dma_reg_walk walk = { .way = way, .mem = mem };
	int ret;

	*nr_ranges = 0;
	while ((ret = dma_reg_next(&walk)) > 0) {
		if (reg && !walk.joins) {
			/* A provider that goes may change how the others are reached. */
			if (*nr_ranges == reg->nr_ranges)
				return -ENODEV;
			reg->ranges[*nr_ranges].addr = walk.addr;
			reg->ranges[*nr_ranges].offset = walk.offset;
		}
		*nr_ranges += !walk.joins;
		if (reg && walk.provider)
			ret = dma_reg_add_link(reg, walk.provider);
		if (ret < 0)
			return ret;
	}
	if (ret || !reg)
		return ret;
	if (*nr_ranges != reg->nr_ranges)
		return -ENODEV;
	reg->ranges[*nr_ranges].offset = walk.offset;
	reg->size = walk.offset;
	reg->span = walk.iova_end;
	return 0;
}

static int dma_reg_check(const struct dma_registration_memory *mem)
{
	const struct dma_registration_piece *piece = mem->pieces;
	u64 size = 0;

	if (!valid_dma_direction(mem->dir) || mem->dir == DMA_NONE ||
	    (mem->attrs & DMA_ATTR_MMIO) || !mem->nr_pieces)
		return -EINVAL;
	for (; piece < mem->pieces + mem->nr_pieces; piece++) {
		/* Room for the flags of an IOVA state, and for granules */
		if (!piece->len || piece->len > SSIZE_MAX / 64 ||
		    piece->paddr + piece->len - 1 < piece->paddr)
			return -EINVAL;
		size += piece->len;
		if (size > SSIZE_MAX / 64)
			return -EINVAL;
	}
	return 0;
}

/* All of a registration but the mapping; IOVAs start at 0. */
VISIBLE_IF_KUNIT struct dma_registration *
dma_reg_plan(const struct dma_reg_way *way,
	     const struct dma_registration_memory *mem)
{
	struct dma_registration *reg;
	unsigned int nr, again;
	int ret;

	ret = dma_reg_check(mem) ?: dma_reg_lay_out(way, mem, NULL, &nr);
	if (ret)
		return ERR_PTR(ret);
	reg = kvzalloc(struct_size(reg, ranges, (size_t)nr + 1),
		       DMA_REGISTRATION_GFP);
	if (!reg)
		return ERR_PTR(-ENOMEM);
	reg->dir = mem->dir;
	reg->nr_ranges = nr;
	ret = dma_reg_lay_out(way, mem, reg, &again);
	if (ret) {
		dma_reg_free(reg);
		return ERR_PTR(ret);
	}
	if (nr > 1)
		dma_reg_make_index(reg);
	return reg;
}
EXPORT_SYMBOL_IF_KUNIT(dma_reg_plan);

/* Return: 0, or a negative errno if nothing may stay mapped for @dev. */
int dma_reg_find_way(struct device *dev, struct dma_reg_way *way)
{
	*way = (struct dma_reg_way){
		.dev = dev,
		.bus_last = min_not_zero(dma_get_mask(dev), dev->bus_dma_limit),
	};
	if (dev_is_pci(dev) && to_pci_dev(dev)->untrusted)
		return -EPERM;
	if (use_dma_iommu(dev)) {
		way->granule = dma_get_merge_boundary(dev) + 1;
		/* the device would have pages of others for as long */
		if (way->granule > PAGE_SIZE)
			return -EOPNOTSUPP;
		/* no cache maintenance, so no bounce buffers either */
		if (dev_is_dma_coherent(dev))
			way->host.last = PHYS_ADDR_MAX;
		way->p2p.last = PHYS_ADDR_MAX;
		return 0;
	}
	way->host.last = dma_linear_last(dev, 0, &way->host.offset);
	way->p2p.last = dma_linear_last(dev, DMA_ATTR_MMIO, &way->p2p.offset);
	return 0;
}

/*
 * Whether the run is where it was planned to be. How P2P memory is reached may
 * change at any time: with the access control of bridges, if a provider goes.
 */
static bool dma_reg_as_planned(struct dma_registration *reg,
			       struct dma_reg_walk *walk, unsigned int nr_ranges)
{
	struct dma_registration_range *range = &reg->ranges[nr_ranges - 1];

	if (!nr_ranges || nr_ranges > reg->nr_ranges ||
	    (walk->is_iova && walk->addr + walk->len > reg->span))
		return false;
	return walk->joins ||
	       (range->offset == walk->offset && range->addr == walk->addr);
}

/* Map a run; the first of a range that has IOVAs gets to know where they are. */
static int dma_reg_map_run(struct dma_registration *reg,
			   struct dma_reg_walk *walk,
			   struct dma_registration_range *range)
{
	unsigned long attrs = walk->mem->attrs;
	u64 offset;
	int ret;

	if (walk->provider)
		attrs |= DMA_ATTR_MMIO;
	if (!walk->is_iova) {
		/* As the DMA API does. P2P memory is not KMSAN's */
		if (!walk->provider)
			kmsan_handle_dma(pfn_to_page(PHYS_PFN(walk->paddr)),
					 offset_in_page(walk->paddr), walk->len,
					 reg->dir);
		return 0;
	}
	if (!reg->linked &&
	    !dma_iova_try_alloc_kept(walk->way->dev, &reg->iova, walk->paddr,
				     reg->span - walk->addr))
		return -ENOMEM;
	/* the first run begins with the allocation, wherever in a granule */
	if (!reg->linked)
		walk->iova_base = reg->iova.addr - walk->addr;
	if (!walk->joins)
		range->addr += walk->iova_base;
	offset = walk->iova_base + walk->addr - reg->iova.addr;
	ret = dma_iova_link_gfp(walk->way->dev, &reg->iova, walk->paddr, offset,
				walk->len, reg->dir, attrs, DMA_REGISTRATION_GFP);
	if (!ret)
		reg->linked = offset + walk->len;
	return ret;
}

static int dma_reg_map(struct dma_registration *reg,
		       const struct dma_reg_way *way,
		       const struct dma_registration_memory *mem)
{
	struct dma_reg_walk walk = { .way = way, .mem = mem };
	unsigned int nr_ranges = 0;
	int ret;

	while ((ret = dma_reg_next(&walk)) > 0) {
		nr_ranges += !walk.joins;
		if (!dma_reg_as_planned(reg, &walk, nr_ranges))
			return -ENODEV;
		ret = dma_reg_map_run(reg, &walk, &reg->ranges[nr_ranges - 1]);
		if (ret)
			return ret;
	}
	if (!ret && (nr_ranges != reg->nr_ranges || walk.iova_end != reg->span))
		ret = -ENODEV;
	if (!ret && reg->linked)
		ret = dma_iova_sync(way->dev, &reg->iova, 0, reg->linked);
	return ret;
}

/*
 * Also in a domain with a flush queue the device is cut off before this returns, as
 * the memory may have another owner at once.
 */
static void dma_reg_unmap(struct dma_registration *reg)
{
	struct device *dev;

	/* of a dma-buf, whose exporter has mapped it */
	if (!reg->client)
		return;
	dev = reg->client->dev;
	if (reg->linked)
		dma_iova_unlink(dev, &reg->iova, 0, reg->linked, reg->dir,
				DMA_ATTR_SKIP_CPU_SYNC);
	if (dma_use_iova(&reg->iova))
		dma_iova_free(dev, &reg->iova);
}

static void dma_reg_idle(struct percpu_ref *users)
{
	complete(&container_of(users, struct dma_registration, users)->idle);
}

static void dma_reg_free_rcu(struct rcu_head *rcu)
{
	struct dma_registration *reg =
		container_of(rcu, struct dma_registration, rcu);

	percpu_ref_exit(&reg->users);
	kvfree(reg);
}

/* RCU readers may still call dma_registration_tryget(), which needs @users. */
static void dma_reg_release(struct dma_registration *reg)
{
	if (!refcount_dec_and_test(&reg->refs))
		return;
	dma_reg_free_links(reg->of_client.next);
	kvfree(reg->index);
	call_rcu(&reg->rcu, dma_reg_free_rcu);
}

static int dma_reg_enlist(struct dma_registration *reg)
{
	struct dma_registration_link *link;
	int ret = 0;

	mutex_lock(&dma_registrations_mutex);
	for (link = &reg->of_client; link; link = link->next)
		if (link->in->closed)
			ret = -ENODEV;
	for (link = &reg->of_client; link && !ret; link = link->next)
		list_add_tail(&link->node, &link->in->links);
	mutex_unlock(&dma_registrations_mutex);
	return ret;
}

static void dma_reg_delist(struct dma_registration *reg)
{
	struct dma_registration_link *link;

	mutex_lock(&dma_registrations_mutex);
	for (link = &reg->of_client; link; link = link->next)
		list_del(&link->node);
	mutex_unlock(&dma_registrations_mutex);
}

static void dma_reg_turned_away(struct percpu_ref *users)
{
	complete_all(&container_of(users, struct dma_registration,
				   users)->turned_away);
}

/*
 * The first reason stays. If the registration is @unused, and nobody could become a
 * user, there is nobody to be turned away or waited for.
 */
static void dma_reg_begin_revoke(struct dma_registration *reg,
				 enum dma_registration_reason reason,
				 bool unused)
{
	lockdep_assert_held(&dma_registrations_mutex);
	if (reg->reason != DMA_REGISTRATION_LIVE)
		return;
	WRITE_ONCE(reg->reason, reason);
	if (unused) {
		complete_all(&reg->turned_away);
		complete(&reg->idle);
		return;
	}
	/* Who is turned away sees the reason. Pairs with dma_registration_reason(). */
	smp_wmb();
	percpu_ref_kill_and_confirm(&reg->users, dma_reg_turned_away);
}

static bool dma_reg_claim(struct dma_registration *reg)
{
	bool claimed;

	mutex_lock(&dma_registrations_mutex);
	claimed = !reg->finishing;
	reg->finishing = true;
	mutex_unlock(&dma_registrations_mutex);
	return claimed;
}

/*
 * Finish what dma_reg_begin_revoke() began, whoever did that: the first who comes
 * does it, all others wait. The caller has a reference, and does not wait for any
 * other registration.
 */
static void dma_reg_finish_revoke(struct dma_registration *reg)
{
	bool tell = reg->announced &&
		    reg->reason != DMA_REGISTRATION_UNREGISTERED;

	if (!dma_reg_claim(reg)) {
		wait_for_completion(&reg->done);
		return;
	}
	wait_for_completion(&reg->turned_away);
	if (tell && reg->ops->revoking)
		reg->ops->revoking(reg, reg->reason);
	wait_for_completion(&reg->idle);
	dma_reg_unmap(reg);
	if (reg->announced && reg->ops->unmapped)
		reg->ops->unmapped(reg);
	if (tell && reg->ops->revoked)
		reg->ops->revoked(reg, reg->reason);
	dma_reg_delist(reg);
	complete_all(&reg->done);
}

/* Let the owner know of revocations from now on, if there was none yet. */
int dma_reg_announce(struct dma_registration *reg)
{
	int ret = 0;

	mutex_lock(&dma_registrations_mutex);
	if (reg->reason == DMA_REGISTRATION_LIVE)
		reg->announced = true;
	else
		ret = -ENODEV;
	mutex_unlock(&dma_registrations_mutex);
	return ret;
}

/*
 * Make @reg, which is laid out, one that can be used, revoked and unregistered. The
 * caller is its first user. @flags are of percpu_ref_init().
 */
int dma_reg_init(struct dma_registration *reg,
		 struct dma_registration_client *client,
		 const struct dma_registration_ops *ops, void *owner,
		 unsigned int flags)
{
	int ret;

	reg->ops = ops;
	reg->owner = owner;
	reg->client = client;
	reg->of_client.reg = reg;
	INIT_LIST_HEAD(&reg->of_client.node);
	refcount_set(&reg->refs, 1);
	init_completion(&reg->turned_away);
	init_completion(&reg->idle);
	init_completion(&reg->done);
	ret = percpu_ref_init(&reg->users, dma_reg_idle, flags,
			      DMA_REGISTRATION_GFP);
	if (ret)
		return ret;
	/* Who revokes it now waits until it is mapped */
	percpu_ref_get(&reg->users);
	return 0;
}

static int dma_reg_prepare(struct dma_registration *reg,
			   struct dma_registration_client *client,
			   const struct dma_registration_ops *ops, void *owner)
{
	int ret;

	/* or the provider would wait for its pages forever */
	if (reg->of_client.next && !ops->revoked)
		return -EINVAL;
	ret = dma_reg_init(reg, client, ops, owner, 0);
	if (ret)
		return ret;
	reg->of_client.in = &client->registrations;
	ret = dma_reg_enlist(reg);
	if (ret)
		percpu_ref_exit(&reg->users);
	return ret;
}

/* Begin to register for a client, which does not go before that has ended. */
static int dma_reg_enter(struct dma_registrations *regs)
{
	int ret = 0;

	mutex_lock(&dma_registrations_mutex);
	if (regs->closed)
		ret = -ENODEV;
	else
		regs->registering++;
	mutex_unlock(&dma_registrations_mutex);
	return ret;
}

static void dma_reg_leave(struct dma_registrations *regs)
{
	mutex_lock(&dma_registrations_mutex);
	/* who waits for this may free @regs */
	smp_store_release(&regs->registering, regs->registering - 1);
	mutex_unlock(&dma_registrations_mutex);
	wake_up_all(&dma_registrations_wait);
}

static struct dma_registration *
dma_reg_make(struct dma_registration_client *client,
	     const struct dma_registration_memory *mem,
	     const struct dma_registration_ops *ops, void *owner)
{
	struct dma_reg_way way;
	struct dma_registration *reg;
	int ret;

	ret = dma_reg_find_way(client->dev, &way);
	if (ret)
		return ERR_PTR(ret);
	reg = dma_reg_plan(&way, mem);
	if (IS_ERR(reg))
		return reg;
	ret = dma_reg_prepare(reg, client, ops, owner);
	if (ret) {
		dma_reg_free(reg);
		return ERR_PTR(ret);
	}

	ret = dma_reg_map(reg, &way, mem) ?: dma_reg_announce(reg);
	percpu_ref_put(&reg->users);
	if (!ret)
		return reg;
	dma_unregister(reg);
	return ERR_PTR(ret);
}

/**
 * dma_register_phys - map memory for a device until further notice
 * @client: the device
 * @mem: the memory. It must be pinned until dma_unregister() has returned or the
 *	registration is revoked; long pins need an owner who lets go when told
 * @ops: what to tell the owner; not NULL. With P2P memory @ops->revoked is needed,
 *	as who does not unpin it keeps the provider from going
 * @owner: for the owner's use
 *
 * Behind an IOMMU that the DMA API manages, everything that it translates is in one
 * range of IOVAs, which is the only range if no two neighbouring pieces meet within
 * a granule. Otherwise, and for P2P memory that is reached by bus address, there
 * are as few ranges as DMA addresses allow.
 *
 * Context: may sleep.
 * Return: the registration, to be ended with dma_unregister(), or an ERR_PTR():
 *
 * * -EOPNOTSUPP: some host memory needs a bounce buffer or cache maintenance, the
 *   architecture translates addresses, or the IOMMU's smallest page is larger than
 *   PAGE_SIZE: map it for each transfer
 * * -EREMOTEIO: the device cannot reach some of the P2P memory
 * * -EPERM: the device is not trusted; nothing stays mapped for it
 * * -ENODEV: the client's driver or a provider's goes away
 * * -ENOMEM: an allocation failed, or no IOVAs are left; map it for each transfer
 * * -EINVAL: no piece; a piece that is empty, wraps around, ends behind its pagemap
 *   or has no struct page; more than SSIZE_MAX / 64 bytes; no direction;
 *   DMA_ATTR_MMIO; or P2P memory without @ops->revoked
 * * others: the IOMMU's driver failed to map it
 */
struct dma_registration *
dma_register_phys(struct dma_registration_client *client,
		  const struct dma_registration_memory *mem,
		  const struct dma_registration_ops *ops, void *owner)
{
	struct dma_registration *reg;
	unsigned int noio;
	int ret;

	ret = dma_reg_enter(&client->registrations);
	if (ret)
		return ERR_PTR(ret);
	/* The client's driver may wait for this with its queues stopped. */
	noio = memalloc_noio_save();
	reg = dma_reg_make(client, mem, ops, owner);
	memalloc_noio_restore(noio);
	dma_reg_leave(&client->registrations);
	return reg;
}
EXPORT_SYMBOL_GPL(dma_register_phys);

/**
 * dma_unregister_start - turn new users of a registration away
 * @reg: the registration; call dma_unregister() for it soon after
 *
 * For an owner of many: waiting for the users of one takes an RCU grace period,
 * even if there are none; this way one period is enough for all. The owner
 * is not told of any revocation that begins later.
 *
 * Context: may sleep.
 */
void dma_unregister_start(struct dma_registration *reg)
{
	mutex_lock(&dma_registrations_mutex);
	dma_reg_begin_revoke(reg, DMA_REGISTRATION_UNREGISTERED, false);
	mutex_unlock(&dma_registrations_mutex);
}
EXPORT_SYMBOL_IF_KUNIT(dma_unregister_start);

/**
 * dma_unregister - end a registration
 * @reg: the registration; freed
 *
 * Waits for all users, and for a revocation that is under way. When it returns, the
 * memory is unmapped, the IOTLB is in sync, and the owner will not be told anything.
 *
 * Context: may sleep. The caller must not hold what @reg's ops take, or what users
 * need to call dma_registration_put().
 */
void dma_unregister(struct dma_registration *reg)
{
	dma_unregister_start(reg);
	dma_reg_finish_revoke(reg);
	dma_reg_release(reg);
}
EXPORT_SYMBOL_GPL(dma_unregister);

/**
 * dma_unregister_unused - end a registration that nobody uses
 * @reg: the registration; freed
 *
 * As dma_unregister(), for an owner who knows that no user is left and that there
 * will be none: there is no RCU grace period to wait for.
 *
 * Context: may sleep; as for dma_unregister().
 */
void dma_unregister_unused(struct dma_registration *reg)
{
	mutex_lock(&dma_registrations_mutex);
	dma_reg_begin_revoke(reg, DMA_REGISTRATION_UNREGISTERED, true);
	mutex_unlock(&dma_registrations_mutex);
	dma_reg_finish_revoke(reg);
	dma_reg_release(reg);
}
EXPORT_SYMBOL_IF_KUNIT(dma_unregister_unused);

static void dma_reg_revoke(struct dma_registration *reg, bool unused)
{
	mutex_lock(&dma_registrations_mutex);
	dma_reg_begin_revoke(reg, DMA_REGISTRATION_OWNER_ASKED, unused);
	/* the owner may unregister it meanwhile */
	refcount_inc(&reg->refs);
	mutex_unlock(&dma_registrations_mutex);
	dma_reg_finish_revoke(reg);
	dma_reg_release(reg);
}

/**
 * dma_registration_revoke - take the memory of a registration back
 * @reg: the registration; stays until dma_unregister(), and cannot be used again
 *
 * For the owner, such as one whose memory moves. When it returns, whoever revoked
 * first, the memory is unmapped, the IOTLB is in sync and the ops were called.
 *
 * Context: may sleep; as for dma_unregister().
 */
void dma_registration_revoke(struct dma_registration *reg)
{
	dma_reg_revoke(reg, false);
}
EXPORT_SYMBOL_GPL(dma_registration_revoke);

/**
 * dma_registration_revoke_unused - take the memory of a registration back
 * @reg: as for dma_registration_revoke()
 *
 * As dma_registration_revoke(), for an owner who knows that no user is left and that
 * there will be none: there is no RCU grace period to wait for.
 *
 * Context: may sleep; as for dma_unregister().
 */
void dma_registration_revoke_unused(struct dma_registration *reg)
{
	dma_reg_revoke(reg, true);
}
EXPORT_SYMBOL_IF_KUNIT(dma_registration_revoke_unused);

/*
 * Revoke all registrations of a client or a provider, and let there be no more. All
 * of them turn users away before the first is waited for: one grace period is
 * enough, and I/O in flight ends for all at the same time.
 */
void dma_registrations_close(struct dma_registrations *regs,
			     enum dma_registration_reason reason)
{
	struct dma_registration_link *link;
	struct dma_registration *reg;

	mutex_lock(&dma_registrations_mutex);
	regs->closed = true;
	list_for_each_entry(link, &regs->links, node)
		dma_reg_begin_revoke(link->reg, reason, false);
	while (!list_empty(&regs->links)) {
		reg = list_first_entry(&regs->links,
				       struct dma_registration_link, node)->reg;
		refcount_inc(&reg->refs);
		mutex_unlock(&dma_registrations_mutex);
		dma_reg_finish_revoke(reg);
		dma_reg_release(reg);
		mutex_lock(&dma_registrations_mutex);
	}
	mutex_unlock(&dma_registrations_mutex);
	wait_event(dma_registrations_wait,
		   /* what the last one did comes before @regs is freed */
		   !smp_load_acquire(&regs->registering));
}
EXPORT_SYMBOL_IF_KUNIT(dma_registrations_close);

/**
 * dma_registration_client_init - let memory be registered for a device
 * @client: filled in; owned by the caller, and there until
 *	dma_registration_client_exit() and all calls of dma_register_phys() have
 *	returned. Registrations that are not unregistered by then do not need it
 * @dev: the device, with its DMA mask set and its driver bound; borrowed until
 *	dma_registration_client_exit()
 *
 * Context: any.
 */
void dma_registration_client_init(struct dma_registration_client *client,
				  struct device *dev)
{
	client->dev = dev;
	dma_registrations_init(&client->registrations);
}
EXPORT_SYMBOL_GPL(dma_registration_client_init);

/**
 * dma_registration_client_exit - revoke all registrations of a device
 * @client: of the device
 *
 * For the driver's remove(), which calls it when the device has stopped or has been
 * cut off and no I/O that is under way will be left waiting: the driver alone knows
 * when that is so. That must be before the driver is unbound, as the device's domain
 * may be another one after that. When it returns, nothing is mapped, owners have
 * been told, and dma_register_phys() is refused. Registrations are still to be
 * unregistered by their owners.
 *
 * Context: may sleep; as for dma_unregister().
 */
void dma_registration_client_exit(struct dma_registration_client *client)
{
	dma_registrations_close(&client->registrations,
				DMA_REGISTRATION_CLIENT_GONE);
}
EXPORT_SYMBOL_GPL(dma_registration_client_exit);
