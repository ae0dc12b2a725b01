// SPDX-License-Identifier: GPL-2.0
/*
 * Two-step DMA mapping through an IOMMU: one range of IOVAs for a transfer,
 * any number of physical ranges linked into it, one IOTLB sync.
 *
 * Terms: a granule is the IOMMU's smallest page. The pad is the distance of an
 * address from the start of its granule.
 */
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/iommu.h>
#include <linux/iommu-dma.h>
#include <linux/iova.h>
#include <linux/kmsan.h>
#include <linux/pci.h>
#include <linux/pfn.h>
#include <linux/sizes.h>
#include <linux/swiotlb.h>
#include <trace/events/iommu.h>

#include "dma-iommu.h"

/**
 * dma_iova_try_alloc - allocate IOVAs for a transfer
 * @dev: device that will do the DMA
 * @state: filled in; owned by the caller. Need not be initialised
 * @phys: physical address of the transfer's first byte; only its pad matters
 * @size: bytes of the whole transfer
 *
 * Link the memory with dma_iova_link(), then call dma_iova_sync() once. End
 * with dma_iova_destroy(), or with dma_iova_free() if nothing is linked.
 *
 * Context: any.
 * Return: true if @state holds a range. False if @dev is not behind an IOMMU
 * that the DMA API manages, or if no IOVAs are left: then use dma_map_phys()
 * for each piece.
 */
bool dma_iova_try_alloc(struct device *dev, struct dma_iova_state *state,
			phys_addr_t phys, size_t size)
{
	struct iommu_domain *domain;
	struct iova_domain *iovad;
	dma_addr_t iova;
	size_t pad;

	*state = (struct dma_iova_state){};
	if (!use_dma_iommu(dev))
		return false;
	if (WARN_ON_ONCE(!size || size > SSIZE_MAX))
		return false;

	domain = iommu_get_dma_domain(dev);
	if (iommu_dma_attach_deferred(dev, domain))
		return false;

	iovad = &domain->iova_cookie->iovad;
	if (dev_WARN_ONCE(dev, dma_get_min_align_mask(dev) > iova_mask(iovad),
			  "Unsupported alignment constraint\n"))
		return false;

	pad = iova_offset(iovad, phys);
	iova = iommu_dma_alloc_iova(domain, iova_align(iovad, size + pad),
				    dma_get_mask(dev), dev);
	if (!iova)
		return false;

	state->addr = iova + pad;
	state->__size = size;
	return true;
}
EXPORT_SYMBOL_GPL(dma_iova_try_alloc);

/* The highest IOVA that @dev can use in @domain. */
static u64 dma_iova_limit(struct device *dev, struct iommu_domain *domain)
{
	u64 limit = min_not_zero(dma_get_mask(dev), dev->bus_dma_limit);

	if (domain->geometry.force_aperture)
		limit = min_t(u64, limit, domain->geometry.aperture_end);
	return limit;
}

static void dma_iova_free_range(struct iommu_domain *domain,
				struct dma_iova_state *state,
				struct iommu_iotlb_gather *gather)
{
	struct iova_domain *iovad = &domain->iova_cookie->iovad;
	size_t pad = iova_offset(iovad, state->addr);

	if (!(state->__size & DMA_IOVA_IN_SLOT))
		iommu_dma_free_iova(domain->iova_cookie, state->addr - pad,
				    iova_align(iovad,
					       dma_iova_size(state) + pad),
				    gather);
	*state = (struct dma_iova_state){};
}

/**
 * dma_iova_free - free a range that nothing is linked into
 * @dev: device it was allocated for
 * @state: the range; all zeroes afterwards
 *
 * Context: any.
 */
void dma_iova_free(struct device *dev, struct dma_iova_state *state)
{
	dma_iova_free_range(iommu_get_dma_domain(dev), state, NULL);
}
EXPORT_SYMBOL_GPL(dma_iova_free);

static u64 dma_iova_slots_limit(struct device *dev, struct iommu_domain *domain)
{
	u64 limit = min3(dma_iova_limit(dev, domain), DMA_BIT_MASK(39),
			 (u64)ULONG_MAX);

	/* cleared when iommu_dma_alloc_iova() finds nothing below 4 GiB */
	if (dev->iommu->pci_32bit_workaround)
		limit = min(limit, DMA_BIT_MASK(32));
	return limit;
}

static bool dma_iova_is_low(u64 addr)
{
	return addr <= DMA_BIT_MASK(32);
}

/*
 * Allocate @size bytes for slots or a window, and DMA_IOVA_TABLE_SIZE more so that
 * the caller can align them. They are below 4 GiB if @dev must stay there, and
 * above if not. Return: NULL if there are none left there, or if all that slots and
 * windows of the domain have below 4 GiB would be more than @most bytes.
 */
struct iova *dma_iova_reserve(struct device *dev, struct iommu_domain *domain,
			      u64 size, u64 most)
{
	struct iommu_dma_cookie *cookie = domain->iova_cookie;
	struct iova_domain *iovad = &cookie->iovad;
	u64 limit = dma_iova_slots_limit(dev, domain);
	bool low = dma_iova_is_low(limit);
	struct iova *iova = NULL;

	size += DMA_IOVA_TABLE_SIZE;
	if (!low || atomic64_add_return(size, &cookie->low_reserved) <= most)
		iova = alloc_iova(iovad, size >> iova_shift(iovad),
				  limit >> iova_shift(iovad), false);
	if (iova && low == dma_iova_is_low(iova_dma_addr(iovad, iova)))
		return iova;

	if (iova)
		__free_iova(iovad, iova);
	if (low)
		atomic64_sub(size, &cookie->low_reserved);
	return NULL;
}

void dma_iova_unreserve(struct iommu_dma_cookie *cookie, struct iova *iova)
{
	struct iova_domain *iovad = &cookie->iovad;

	if (dma_iova_is_low(iova_dma_addr(iovad, iova)))
		atomic64_sub((u64)iova_size(iova) << iova_shift(iovad),
			     &cookie->low_reserved);
	__free_iova(iovad, iova);
}

static int dma_iova_map_prot(struct device *dev, enum dma_data_direction dir,
			     unsigned long attrs)
{
	if (attrs & DMA_ATTR_MMIO)
		return dma_info_to_prot(dir, false, attrs) | IOMMU_MMIO;
	return dma_info_to_prot(dir, dev_is_dma_coherent(dev), attrs);
}

/*
 * Make room to keep the page tables of @size bytes of slots, if the IOMMU's driver
 * can do so in this domain. For cache-coherent devices only, as storing an entry
 * maintains no CPU cache. What bounces is linked by the slow path.
 */
static void dma_iova_alloc_tables(struct device *dev,
				  struct dma_iova_slots *slots, u64 size)
{
	struct iommu_domain *domain = slots->domain;
	enum dma_data_direction dir;

	if (!domain->ops->keep_table || !dev_is_dma_coherent(dev) ||
	    !domain->ops->keep_table(domain, slots->small, GFP_KERNEL))
		return;
	for (dir = DMA_BIDIRECTIONAL; dir < DMA_NONE; dir++) {
		slots->prot[0][dir] = dma_iova_map_prot(dev, dir, 0);
		slots->prot[1][dir] = dma_iova_map_prot(dev, dir,
							DMA_ATTR_MMIO);
	}
	slots->tables = kvcalloc(DIV_ROUND_UP(size, DMA_IOVA_TABLE_SIZE),
				 sizeof(*slots->tables), GFP_KERNEL);
}

static bool dma_iova_alloc_slots_iova(struct device *dev,
				      struct iommu_domain *domain,
				      struct dma_iova_slots *slots,
				      unsigned int nr)
{
	struct iova_domain *iovad = &domain->iova_cookie->iovad;
	u64 small = (u64)nr << iova_shift(iovad);
	u64 large = (u64)nr << DMA_IOVA_SLOT_SHIFT;
	struct iova *iova = NULL;

	if (slots->turns) {
		small *= DMA_IOVA_SLOT_TURNS;
	} else {
		small = ALIGN(small, DMA_IOVA_SLOT_SIZE);
		iova = dma_iova_reserve(dev, domain, small + large,
					DMA_IOVA_LOW_SLOTS / 2);
	}
	if (!iova) {
		large = 0;
		iova = dma_iova_reserve(dev, domain, small, DMA_IOVA_LOW_SLOTS);
	}
	if (!iova)
		return false;

	slots->small = ALIGN(iova_dma_addr(iovad, iova), DMA_IOVA_TABLE_SIZE);
	if (large)
		slots->large = slots->small + small;
	dma_iova_alloc_tables(dev, slots, small + large);
	slots->nr = nr;
	return true;
}

/*
 * Whether some page is larger than the smallest and fits into a slot, so that less
 * has to be mapped where memory and IOVAs are aligned alike.
 */
static bool dma_iova_maps_as_memory(struct iommu_domain *domain)
{
	unsigned long larger = domain->pgsize_bitmap &
			       (domain->pgsize_bitmap - 1);

	return !domain->any_size && (larger & (2 * DMA_IOVA_SLOT_SIZE - 1));
}

/**
 * dma_iova_alloc_slots - allocate IOVAs to keep for many transfers
 * @dev: device that will do the DMA
 * @slots: filled in; owned by the caller until dma_iova_free_slots()
 * @nr: how many
 *
 * They save an allocation for each transfer. In a domain with a flush queue they
 * are for transfers of one granule only, which take turns to use several.
 *
 * As dma_iova_try_alloc(), slots stay below 4 GiB if @dev is a PCI device that
 * was not found to need more, and iommu.forcedac does not say otherwise. There all
 * slots of a domain together take no more than 1 GiB; when slots and windows have
 * taken half of it, further slots are for one granule only. Other slots are between
 * 4 GiB and 512 GiB, which three levels of page tables map.
 *
 * On return @slots->nr is 0 if there are none to be had, which is no error.
 *
 * Context: may sleep.
 */
void dma_iova_alloc_slots(struct device *dev, struct dma_iova_slots *slots,
			  unsigned int nr)
{
	struct iommu_domain *domain;

	*slots = (struct dma_iova_slots){};
	if (!nr || !use_dma_iommu(dev))
		return;

	domain = iommu_get_dma_domain(dev);
	if (iommu_dma_attach_deferred(dev, domain) ||
	    domain->iova_cookie->iovad.granule > DMA_IOVA_SLOT_SIZE)
		return;

	slots->domain = domain;
	slots->as_memory = dma_iova_maps_as_memory(domain);
	if (READ_ONCE(domain->iova_cookie->fq_domain)) {
		slots->turns = kvcalloc(nr, sizeof(*slots->turns), GFP_KERNEL);
		if (!slots->turns)
			return;
	}
	if (dma_iova_alloc_slots_iova(dev, domain, slots, nr))
		return;

	kvfree(slots->turns);
	slots->turns = NULL;
}
EXPORT_SYMBOL_GPL(dma_iova_alloc_slots);

/**
 * dma_iova_free_slots - free what dma_iova_alloc_slots() allocated
 * @dev: device they were allocated for
 * @slots: the slots; no transfer may use any
 *
 * Context: may sleep.
 */
void dma_iova_free_slots(struct device *dev, struct dma_iova_slots *slots)
{
	struct iommu_dma_cookie *cookie;
	struct iova_domain *iovad;

	if (!slots->nr)
		return;
	cookie = slots->domain->iova_cookie;
	iovad = &cookie->iovad;
	if (slots->turns)
		fq_flush_iotlb(cookie);
	dma_iova_unreserve(cookie,
			   find_iova(iovad,
				     iova_pfn(iovad, slots->small)));
	kvfree(slots->turns);
	kvfree(slots->tables);
	*slots = (struct dma_iova_slots){};
}
EXPORT_SYMBOL_GPL(dma_iova_free_slots);

/*
 * The number of flushes after which nothing is in the IOTLB that is unmapped by
 * now: one to come, as one that has started may be past it.
 */
static u64 dma_iova_next_flush(struct iommu_dma_cookie *cookie)
{
	/*
	 * Unmapped before the counter is read. Pairs with the barrier in
	 * fq_flush_iotlb(): a flush that is not counted here sees it unmapped.
	 */
	smp_mb();
	return atomic64_read(&cookie->fq_flush_start_cnt) + 1;
}

/*
 * Whether a granule may be in an IOTLB. No more flushes are under way than there
 * are CPUs, so that its number is not far ahead; but one that is far behind may
 * seem to be ahead.
 */
static bool dma_iova_turn_waits(struct iommu_dma_cookie *cookie,
				struct dma_iova_slot_turns *turns,
				unsigned int turn)
{
	u16 flushed = atomic64_read(&cookie->fq_flush_finish_cnt);

	return (s16)(turns->flush[turn] - flushed) > 0;
}

/*
 * Whether one of the slot's granules is in no IOTLB; then it is the last used.
 * What used the slot before is unmapped by now. As often as a flush queue would
 * be full, flush the IOTLB for the next turn.
 *
 * @slots->turn and @slots->taken are hints, which whoever uses another slot may
 * change meanwhile.
 */
static bool dma_iova_take_turn(struct iommu_dma_cookie *cookie,
			       struct dma_iova_slots *slots, unsigned int index)
{
	struct dma_iova_slot_turns *turns = &slots->turns[index];
	unsigned int turn = READ_ONCE(slots->turn);
	unsigned int taken = READ_ONCE(slots->taken) + 1;
	u16 next = dma_iova_next_flush(cookie);
	bool waits;

	turns->flush[turns->last] = next;
	waits = dma_iova_turn_waits(cookie, turns, turn);
	if (unlikely(waits)) {
		turn = turn + 1 < DMA_IOVA_SLOT_TURNS ? turn + 1 : 0;
		waits = dma_iova_turn_waits(cookie, turns, turn);
		if (waits && taken >= cookie->options.fq_size) {
			fq_flush_iotlb(cookie);
			taken = 0;
			waits = dma_iova_turn_waits(cookie, turns, turn);
		}
		WRITE_ONCE(slots->turn, turn);
	}
	WRITE_ONCE(slots->taken, taken);
	if (waits) {
		/* if its number was far behind, it waits for one flush only */
		turns->flush[turn] = next;
		return false;
	}
	turns->last = turn;
	return true;
}

/* Let @state have @size bytes at @addr, with flags. */
static __always_inline void dma_iova_use_slot(struct dma_iova_state *state,
					      struct dma_iova_slots *slots,
					      dma_addr_t addr, u64 size)
{
	state->addr = addr;
	state->__size = size | DMA_IOVA_IN_SLOT;
	state->__slots = slots;
}

/* The first time in a page table. Any CPU finds the same. */
static noinline bool dma_iova_use_new_table(struct dma_iova_state *state,
					    struct dma_iova_slots *slots,
					    dma_addr_t addr, u64 size)
{
	void *table = slots->domain->ops->keep_table(slots->domain, addr,
						     GFP_ATOMIC);

	if (!table)
		return false;
	/* After what is in it. Pairs with READ_ONCE() in dma_iova_try_place() */
	smp_store_release(dma_iova_table(slots, addr), table);
	dma_iova_use_slot(state, slots, addr, size | DMA_IOVA_IN_TABLE);
	return true;
}

/* False if there is no page table for it. */
static __always_inline bool dma_iova_try_place(struct dma_iova_state *state,
					       struct dma_iova_slots *slots,
					       dma_addr_t addr, u64 size)
{
	if (slots->tables) {
		if (unlikely(!READ_ONCE(*dma_iova_table(slots, addr))))
			return dma_iova_use_new_table(state, slots, addr, size);
		size |= DMA_IOVA_IN_TABLE;
	}
	dma_iova_use_slot(state, slots, addr, size);
	return true;
}

/* dma_iova_try_slot() in a domain with a flush queue */
static noinline bool dma_iova_try_turn(struct dma_iova_state *state,
				       struct dma_iova_slots *slots,
				       unsigned int index, size_t pad,
				       size_t size)
{
	struct iommu_dma_cookie *cookie = slots->domain->iova_cookie;
	struct iova_domain *iovad = &cookie->iovad;
	u64 granule = index;

	if (size + pad > iovad->granule ||
	    !dma_iova_take_turn(cookie, slots, index))
		return false;
	granule += (u64)slots->turns[index].last * slots->nr;
	return dma_iova_try_place(state, slots,
				  slots->small + pad +
					(granule << iova_shift(iovad)),
				  size | DMA_IOVA_QUEUED);
}

/* Short transfers start in different granules, for the IOTLB's sets. */
static size_t dma_iova_place_by_index(size_t pad, u64 offset, size_t size)
{
	size_t colour = offset & (DMA_IOVA_SLOT_SIZE - 1);

	return pad + (size + pad + colour > DMA_IOVA_SLOT_SIZE ? 0 : colour);
}

/* What is aligned in memory is so in the slot, as far as there is room. */
static size_t dma_iova_place_as_memory(phys_addr_t phys, size_t size)
{
	size_t mask = DMA_IOVA_SLOT_SIZE - 1;

	while ((phys & mask) + size > DMA_IOVA_SLOT_SIZE)
		mask >>= 1;
	return phys & mask;
}

/**
 * dma_iova_try_slot - use a slot for a transfer
 * @dev: device that will do the DMA
 * @state: filled in, as by dma_iova_try_alloc()
 * @slots: the slots; may be NULL
 * @index: number of the slot; no other transfer uses it
 * @phys: as for dma_iova_try_alloc()
 * @size: as for dma_iova_try_alloc()
 *
 * The IOVAs go back to the slot with dma_iova_free(), or with dma_iova_destroy(),
 * which syncs the IOTLB first, unless there is a flush queue. They also go back
 * with dma_iova_batch_unlink(): then no transfer may use the slot until the batch
 * is synced.
 *
 * Context: any.
 * Return: true if @state holds a range, as after dma_iova_try_alloc(). False, and
 * @state as it was, if there is no such slot, if it is too small, if all of it
 * waits for a flush, if there is no memory for a page table, or if the domain got
 * its flush queue after the slots.
 */
bool dma_iova_try_slot(struct device *dev, struct dma_iova_state *state,
		       struct dma_iova_slots *slots, unsigned int index,
		       phys_addr_t phys, size_t size)
{
	struct iommu_dma_cookie *cookie;
	struct iova_domain *iovad;
	size_t pad, place;
	u64 offset;

	if (!slots || index >= slots->nr)
		return false;

	cookie = slots->domain->iova_cookie;
	iovad = &cookie->iovad;
	pad = iova_offset(iovad, phys);
	if (slots->turns)
		return dma_iova_try_turn(state, slots, index, pad, size);
	if (unlikely(READ_ONCE(cookie->fq_domain)))
		return false;

	offset = (u64)index << iova_shift(iovad);
	if (size + pad <= iovad->granule)
		return dma_iova_try_place(state, slots,
					  slots->small + pad + offset, size);
	if (!slots->large || size + pad > DMA_IOVA_SLOT_SIZE)
		return false;

	if (slots->as_memory)
		place = dma_iova_place_as_memory(phys, size);
	else
		place = dma_iova_place_by_index(pad, offset, size);
	return dma_iova_try_place(state, slots,
				  slots->large + place +
					((u64)index << DMA_IOVA_SLOT_SHIFT),
				  size);
}
EXPORT_SYMBOL_GPL(dma_iova_try_slot);

static bool dma_iova_bounces(struct device *dev, size_t size,
			     enum dma_data_direction dir, unsigned long attrs)
{
	return !(attrs & DMA_ATTR_MMIO) && dev_use_swiotlb(dev, size, dir);
}

/**
 * dma_iova_can_bounce - whether linking may need bounce buffers
 * @dev: device that will do the DMA
 * @dir: direction of the transfer
 *
 * The answer holds for every transfer of @dev in direction @dir.
 *
 * Context: any.
 * Return: true if dma_iova_link() may copy pieces that do not fill their
 * granules; then leave no gaps between pieces.
 */
bool dma_iova_can_bounce(struct device *dev, enum dma_data_direction dir)
{
	return IS_ENABLED(CONFIG_SWIOTLB) &&
	       (dev_is_untrusted(dev) || !dma_kmalloc_safe(dev, dir));
}

/**
 * dma_iova_sync_is_idle - whether IOTLB syncs do nothing
 * @dev: device that does the DMA
 * @unmap: after unmapping; otherwise after mapping
 *
 * For statistics.
 *
 * Context: any.
 * Return: true if @dev has no IOMMU, or if its IOMMU needs no sync of mapping, or
 * leaves that of unmapping to a flush queue.
 */
bool dma_iova_sync_is_idle(struct device *dev, bool unmap)
{
	struct iommu_domain *domain;

	if (!use_dma_iommu(dev))
		return true;
	domain = iommu_get_dma_domain(dev);
	if (unmap)
		return READ_ONCE(domain->iova_cookie->fq_domain);
	return dma_iova_map_sync_is_idle(domain);
}

/* Map whole granules around @phys at @addr. Both have the same pad. */
static __always_inline int
dma_iova_map(struct device *dev, struct iommu_domain *domain, dma_addr_t addr,
	     phys_addr_t phys, size_t size, enum dma_data_direction dir,
	     unsigned long attrs, gfp_t gfp)
{
	struct iova_domain *iovad = &domain->iova_cookie->iovad;
	int prot = dma_iova_map_prot(dev, dir, attrs);
	size_t pad = iova_offset(iovad, phys);

	if (unlikely(iova_offset(iovad, addr) != pad))
		return -EINVAL;

	if (!(prot & (IOMMU_CACHE | IOMMU_MMIO)) &&
	    !(attrs & DMA_ATTR_SKIP_CPU_SYNC))
		arch_sync_dma_for_device(phys, size, dir);

	size = iova_align(iovad, size + pad);
	return iommu_map_nosync(domain, addr - pad, phys - pad, size, prot, gfp);
}

/* Map @size bytes at @phys from a copy: they share a granule with others. */
static noinline int
dma_iova_map_bounce(struct device *dev, struct iommu_domain *domain,
		    dma_addr_t addr, phys_addr_t phys, size_t size,
		    enum dma_data_direction dir, unsigned long attrs)
{
	phys_addr_t bounce = iommu_dma_map_swiotlb(dev, phys, size, dir, attrs);
	int ret;

	if (bounce == DMA_MAPPING_ERROR)
		return -ENOMEM;

	ret = dma_iova_map(dev, domain, addr, bounce, size, dir, attrs,
			   GFP_ATOMIC);
	if (ret)
		swiotlb_tbl_unmap_single(dev, bounce, size, dir,
					 attrs | DMA_ATTR_SKIP_CPU_SYNC);
	return ret;
}

/*
 * The pieces of a range that begins or ends inside a granule: what lies in a
 * first granule that it does not fill, whole granules, and the rest.
 */
struct dma_iova_parts {
	size_t head;
	size_t middle;
	size_t tail;
};

static struct dma_iova_parts dma_iova_split(struct iova_domain *iovad,
					    dma_addr_t addr, size_t size)
{
	size_t pad = iova_offset(iovad, addr);
	struct dma_iova_parts p = {};

	if (pad)
		p.head = min(size, iovad->granule - pad);
	p.middle = iova_align_down(iovad, size - p.head);
	p.tail = size - p.head - p.middle;
	return p;
}

void dma_iova_sync_for_cpu(struct device *dev, struct iommu_domain *domain,
			   dma_addr_t addr, size_t size,
			   enum dma_data_direction dir)
{
	struct iova_domain *iovad = &domain->iova_cookie->iovad;

	while (size) {
		size_t len = iovad->granule - iova_offset(iovad, addr);

		len = min(len, size);
		arch_sync_dma_for_cpu(iommu_iova_to_phys(domain, addr), len,
				      dir);
		addr += len;
		size -= len;
	}
}

/* Copy back and release a bounce buffer, if @phys is in one. */
static void dma_iova_unbounce(struct device *dev, phys_addr_t phys, size_t size,
			      enum dma_data_direction dir, unsigned long attrs)
{
	if (size)
		swiotlb_tbl_unmap_single(dev, phys, size, dir, attrs);
}

/*
 * Unmap whole granules, linked at once or in succession; @table maps them if it
 * is kept, and must not be emptied by other means: that frees it. No link may stay
 * in part then, as it may be one page. What @gather collects is not synced.
 */
void dma_iova_unmap_nosync(struct iommu_domain *domain, void *table,
			   dma_addr_t addr, size_t size,
			   struct iommu_iotlb_gather *gather)
{
	if (!table) {
		WARN_ON(iommu_unmap_fast(domain, addr, size, gather) != size);
		return;
	}
	domain->ops->unmap_in_table(domain, table, addr, size);
	trace_unmap(addr, size, size);
	if (gather->queued)
		return;
	/* what the table's entries map */
	gather->pgsize = BIT(__ffs(domain->pgsize_bitmap));
	iommu_iotlb_gather_add_range(gather, addr, size);
}

/* Unmap @size bytes at @addr and, if given, free the range of @free. */
static void dma_iova_unmap(struct device *dev, struct iommu_domain *domain,
			   dma_addr_t addr, size_t size,
			   enum dma_data_direction dir, unsigned long attrs,
			   struct dma_iova_state *free)
{
	struct iova_domain *iovad = &domain->iova_cookie->iovad;
	struct iommu_iotlb_gather gather __uninitialized;
	size_t pad = iova_offset(iovad, addr);
	void *table = NULL;

	iommu_iotlb_gather_init(&gather);
	/* Only a range that is freed as a whole can wait in the flush queue */
	if (free && (free->__size & DMA_IOVA_IN_SLOT))
		gather.queued = free->__size & DMA_IOVA_QUEUED;
	else if (free)
		gather.queued = READ_ONCE(domain->iova_cookie->fq_domain);

	if (free && (free->__size & DMA_IOVA_IN_TABLE))
		table = READ_ONCE(*dma_iova_table(free->__slots, addr));
	dma_iova_to_cpu(dev, domain, addr, size, dir, attrs);
	dma_iova_unmap_nosync(domain, table, addr - pad,
			      iova_align(iovad, size + pad), &gather);
	if (!gather.queued)
		iommu_iotlb_sync(domain, &gather);
	else if (free->__size & DMA_IOVA_QUEUED)
		iommu_dma_flush_later(domain->iova_cookie, &gather.freelist);
	if (free)
		dma_iova_free_range(domain, free, &gather);
}

/*
 * As dma_iova_unmap(), of memory some of which is in bounce buffers. They are
 * released only after the IOTLB sync, when the device cannot write to them any
 * more; in a domain with a flush queue that is never certain, and the DMA API
 * accepts it.
 */
static void dma_iova_unmap_bounced(struct device *dev,
				   struct iommu_domain *domain, dma_addr_t addr,
				   size_t size, enum dma_data_direction dir,
				   unsigned long attrs,
				   struct dma_iova_state *free)
{
	struct dma_iova_parts p =
		dma_iova_split(&domain->iova_cookie->iovad, addr, size);
	phys_addr_t head = 0, tail = 0;

	if (p.head)
		head = iommu_iova_to_phys(domain, addr);
	if (p.tail)
		tail = iommu_iova_to_phys(domain, addr + size - p.tail);

	dma_iova_unmap(dev, domain, addr, size, dir, attrs, free);

	dma_iova_unbounce(dev, head, p.head, dir, attrs);
	dma_iova_unbounce(dev, tail, p.tail, dir, attrs);
}

/*
 * Whether @size bytes at @offset may bounce. Unmapping a range looks for bounce
 * buffers only in its first and its last granule, so a piece that bounces may
 * begin or end within a granule only where the range does.
 */
static bool dma_iova_may_bounce_at(struct iova_domain *iovad,
				   struct dma_iova_state *state, size_t offset,
				   size_t size)
{
	dma_addr_t addr = state->addr + offset;

	return (!offset || !iova_offset(iovad, addr)) &&
	       (offset + size == dma_iova_size(state) ||
		!iova_offset(iovad, addr + size));
}

static int dma_iova_link_bounce(struct device *dev, struct iommu_domain *domain,
				struct dma_iova_state *state, phys_addr_t phys,
				size_t offset, size_t size,
				enum dma_data_direction dir,
				unsigned long attrs)
{
	struct iova_domain *iovad = &domain->iova_cookie->iovad;
	dma_addr_t addr = state->addr + offset;
	struct dma_iova_parts p = dma_iova_split(iovad, addr, size);
	size_t done = 0;
	int ret = 0;

	if (!dma_iova_may_bounce_at(iovad, state, offset, size))
		return -EINVAL;

	state->__size |= DMA_IOVA_USE_SWIOTLB;

	if (p.head) {
		ret = dma_iova_map_bounce(dev, domain, addr, phys, p.head, dir,
					  attrs);
		if (ret)
			return ret;
		done = p.head;
	}
	if (p.middle) {
		ret = dma_iova_map(dev, domain, addr + done, phys + done,
				   p.middle, dir, attrs, GFP_ATOMIC);
		if (ret)
			goto unwind;
		done += p.middle;
	}
	if (p.tail) {
		ret = dma_iova_map_bounce(dev, domain, addr + done, phys + done,
					  p.tail, dir, attrs);
		if (ret)
			goto unwind;
	}
	return 0;
unwind:
	if (done)
		dma_iova_unmap_bounced(dev, domain, addr, done, dir,
				       attrs | DMA_ATTR_SKIP_CPU_SYNC, NULL);
	return ret;
}

static noinline int
dma_iova_link_slow(struct device *dev, struct dma_iova_state *state,
		   phys_addr_t phys, size_t offset, size_t size,
		   enum dma_data_direction dir, unsigned long attrs)
{
	struct iommu_domain *domain = iommu_get_dma_domain(dev);

	if (iova_offset(&domain->iova_cookie->iovad, phys | size) &&
	    unlikely(dma_iova_bounces(dev, size, dir, attrs)))
		return dma_iova_link_bounce(dev, domain, state, phys, offset,
					    size, dir, attrs);
	return dma_iova_map(dev, domain, state->addr + offset, phys, size, dir,
			    attrs, GFP_ATOMIC);
}

/*
 * Whether linking is to store entries into a page table that is kept, and no
 * more: whole granules do not bounce.
 */
static __always_inline bool dma_iova_can_store(struct dma_iova_state *state,
					       dma_addr_t addr,
					       phys_addr_t phys, size_t size,
					       unsigned long attrs)
{
	struct iommu_domain *domain;

	if (!(state->__size & DMA_IOVA_IN_TABLE) || trace_map_enabled() ||
	    (attrs & DMA_ATTR_PRIVILEGED))
		return false;
	domain = state->__slots->domain;
	return !iova_offset(&domain->iova_cookie->iovad, addr | phys | size);
}

static __always_inline int dma_iova_store(struct dma_iova_slots *slots,
					  dma_addr_t addr, phys_addr_t phys,
					  size_t size,
					  enum dma_data_direction dir,
					  unsigned long attrs)
{
	struct iommu_domain *domain = slots->domain;
	void *table = READ_ONCE(*dma_iova_table(slots, addr));

	return domain->ops->map_in_table(domain, table, addr, phys, size,
					 slots->prot[!!(attrs & DMA_ATTR_MMIO)]
						    [dir]);
}

/**
 * dma_iova_link - map memory into part of an IOVA range
 * @dev: device the range was allocated for
 * @state: the range
 * @phys: first physical address to map
 * @offset: distance from the start of the range, in bytes
 * @size: bytes to map
 * @dir: direction of the transfer, the same for the whole range
 * @attrs: DMA_ATTR_MMIO, DMA_ATTR_SKIP_CPU_SYNC, ...
 *
 * @state->addr + @offset must have the pad of @phys, and no granule may hold
 * parts of two links. A piece that bounces has to begin where the range does or
 * at the start of a granule, and to end where the range does or at the end of a
 * granule; and its pad has to be within dma_get_min_align_mask(), which is what a
 * copy keeps of an address.
 *
 * The device may use the memory only after dma_iova_sync().
 *
 * Context: any.
 * Return: 0, or a negative errno, and this piece is not mapped: -EINVAL if the pads
 * differ, if it would bounce where it must not, or if it is not within the range.
 * Whether links share a granule is not checked. What was linked before stays
 * linked: end with dma_iova_destroy().
 */
int dma_iova_link(struct device *dev, struct dma_iova_state *state,
		  phys_addr_t phys, size_t offset, size_t size,
		  enum dma_data_direction dir, unsigned long attrs)
{
	size_t total = dma_iova_size(state);
	dma_addr_t addr = state->addr + offset;

	if (unlikely(!size || size > total || offset > total - size))
		return -EINVAL;

	/* As the DMA API does. P2P memory is not KMSAN's */
	if (!(attrs & DMA_ATTR_MMIO))
		kmsan_handle_dma(pfn_to_page(PHYS_PFN(phys)),
				 offset_in_page(phys), size, dir);

	if (likely(dma_iova_can_store(state, addr, phys, size, attrs)))
		return dma_iova_store(state->__slots, addr, phys, size, dir,
				      attrs);
	return dma_iova_link_slow(dev, state, phys, offset, size, dir, attrs);
}
EXPORT_SYMBOL_GPL(dma_iova_link);

/**
 * dma_iova_link_gfp - map memory into part of an IOVA range, for long
 * @dev: as for dma_iova_link()
 * @state: the range, not of a slot
 * @phys: as for dma_iova_link()
 * @offset: as for dma_iova_link()
 * @size: as for dma_iova_link()
 * @dir: as for dma_iova_link()
 * @attrs: as for dma_iova_link()
 * @gfp: how to allocate page tables
 *
 * Context: as @gfp.
 * Return: as dma_iova_link(); -EOPNOTSUPP for memory that would bounce.
 */
int dma_iova_link_gfp(struct device *dev, struct dma_iova_state *state,
		      phys_addr_t phys, size_t offset, size_t size,
		      enum dma_data_direction dir, unsigned long attrs,
		      gfp_t gfp)
{
	struct iommu_domain *domain = iommu_get_dma_domain(dev);
	size_t total = dma_iova_size(state);

	if (!size || size > total || offset > total - size)
		return -EINVAL;
	if (iova_offset(&domain->iova_cookie->iovad, phys | size) &&
	    dma_iova_bounces(dev, size, dir, attrs))
		return -EOPNOTSUPP;
	if (!(attrs & DMA_ATTR_MMIO))
		kmsan_handle_dma(pfn_to_page(PHYS_PFN(phys)),
				 offset_in_page(phys), size, dir);
	return dma_iova_map(dev, domain, state->addr + offset, phys, size, dir,
			    attrs, gfp);
}

/**
 * dma_iova_sync - let the device see what was linked
 * @dev: device the range was allocated for
 * @state: the range
 * @offset: distance of the first byte from the start of the range
 * @size: bytes to cover; everything linked there becomes visible
 *
 * Context: any.
 * Return: 0, or a negative errno. The mappings stay: dma_iova_destroy() them.
 */
int dma_iova_sync(struct device *dev, struct dma_iova_state *state,
		  size_t offset, size_t size)
{
	struct iommu_domain *domain = iommu_get_dma_domain(dev);
	struct iova_domain *iovad = &domain->iova_cookie->iovad;
	dma_addr_t addr = state->addr + offset;
	size_t pad = iova_offset(iovad, addr);

	return iommu_sync_map(domain, addr - pad,
			      iova_align(iovad, size + pad));
}
EXPORT_SYMBOL_GPL(dma_iova_sync);

/**
 * dma_iova_unlink - unmap part of a range
 * @dev: device the range was allocated for
 * @state: the range, which stays allocated
 * @offset: distance from the start of the range, as at dma_iova_link()
 * @size: bytes, as at dma_iova_link()
 * @dir: direction, as at dma_iova_link()
 * @attrs: attributes, as at dma_iova_link()
 *
 * The IOTLB is in sync when this returns.
 *
 * Context: any.
 */
void dma_iova_unlink(struct device *dev, struct dma_iova_state *state,
		     size_t offset, size_t size, enum dma_data_direction dir,
		     unsigned long attrs)
{
	struct iommu_domain *domain = iommu_get_dma_domain(dev);

	if (unlikely(state->__size & DMA_IOVA_USE_SWIOTLB))
		dma_iova_unmap_bounced(dev, domain, state->addr + offset, size,
				       dir, attrs, NULL);
	else
		dma_iova_unmap(dev, domain, state->addr + offset, size, dir,
			       attrs, NULL);
}
EXPORT_SYMBOL_GPL(dma_iova_unlink);

/**
 * dma_iova_destroy - unmap and free a range
 * @dev: device the range was allocated for
 * @state: the range; all zeroes afterwards
 * @mapped_len: bytes linked, from the start of the range and without a hole;
 *	may be 0. Ignored after dma_iova_batch_unlink()
 * @dir: direction, as at dma_iova_link()
 * @attrs: attributes, as at dma_iova_link()
 *
 * The IOTLB is in sync when this returns, unless the domain has a flush queue.
 *
 * Context: any.
 */
void dma_iova_destroy(struct device *dev, struct dma_iova_state *state,
		      size_t mapped_len, enum dma_data_direction dir,
		      unsigned long attrs)
{
	struct iommu_domain *domain = iommu_get_dma_domain(dev);

	if (!mapped_len || (state->__size & DMA_IOVA_UNLINKED))
		dma_iova_free_range(domain, state, NULL);
	else if (unlikely(state->__size & DMA_IOVA_USE_SWIOTLB))
		dma_iova_unmap_bounced(dev, domain, state->addr, mapped_len,
				       dir, attrs, state);
	else
		dma_iova_unmap(dev, domain, state->addr, mapped_len, dir, attrs,
			       state);
}
EXPORT_SYMBOL_GPL(dma_iova_destroy);
