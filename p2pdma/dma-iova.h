/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Two-step DMA mapping: allocate a range of I/O virtual addresses (IOVA),
 * then link physical ranges into it. See Documentation/core-api/dma-iova.rst.
 *
 * Include <linux/dma-mapping.h>, which includes this.
 */
#ifndef _LINUX_DMA_IOVA_H
#define _LINUX_DMA_IOVA_H

#include <linux/bits.h>
#include <linux/dma-direction.h>
#include <linux/types.h>

struct device;
struct iommu_domain;

/*
 * DMA_ATTR_MMIO: the memory is a device's, such as a PCI BAR. It is mapped
 * without CPU cache maintenance and never bounced. Unmap with it too.
 */
#define DMA_ATTR_MMIO BIT(10)

/* Flags in dma_iova_state.__size. Some of the range is in bounce buffers: */
#define DMA_IOVA_USE_SWIOTLB BIT_ULL(63)
/* The range is a slot of struct dma_iova_slots, not freed after the transfer: */
#define DMA_IOVA_IN_SLOT BIT_ULL(62)
/* A batch unmaps the range; only its IOVAs are left to free: */
#define DMA_IOVA_UNLINKED BIT_ULL(61)
/* The slot is not used again before the flush queue's next flush: */
#define DMA_IOVA_QUEUED BIT_ULL(60)
/* The page table of the slot is kept: */
#define DMA_IOVA_IN_TABLE BIT_ULL(59)

/* Bytes of the large place of a slot. */
#define DMA_IOVA_SLOT_SHIFT 17
#define DMA_IOVA_SLOT_SIZE BIT(DMA_IOVA_SLOT_SHIFT)

/* Granules that a slot uses in turns, in a domain with a flush queue. */
#define DMA_IOVA_SLOT_TURNS 15

/**
 * struct dma_iova_slot_turns - the granules of a slot that wait for a flush
 * @flush: number of flushes after which each may be used again, modulo 65536
 * @last: the one that was used last
 *
 * Owned by whoever uses the slot. There is one for each tag of each queue.
 */
struct dma_iova_slot_turns {
	u16 flush[DMA_IOVA_SLOT_TURNS];
	u16 last;
};

/**
 * struct dma_iova_slots - IOVAs kept for transfers that come again and again
 * @small: DMA address of the first slot's granule. Those of all slots follow
 *	each other, so that what travels together is unmapped at once
 * @large: DMA address of the first slot of DMA_IOVA_SLOT_SIZE bytes, for what
 *	takes more than a granule; 0 if there are only small ones, as in a
 *	domain with a flush queue
 * @nr: slots; 0 if there are none
 *
 * Owned by the driver. At any time at most one transfer uses a slot; a request's
 * tag makes a good index.
 */
struct dma_iova_slots {
	dma_addr_t small;
	dma_addr_t large;
	unsigned int nr;
	/* private: */
	struct iommu_domain *domain; /* of the device; borrowed */
	/* array, owned, of page tables that the IOMMU's driver keeps; or NULL */
	void **tables;
	u8 prot[2][DMA_NONE + 1]; /* with @tables: IOMMU_*, for P2P in [1] */
	struct dma_iova_slot_turns *turns; /* @nr, owned; flush queue only */
	unsigned int turn; /* that comes next; @small has @nr granules each */
	unsigned int taken; /* slots asked for since a flush, about */
	bool as_memory; /* IOVAs are aligned as the memory is */
};

/**
 * struct dma_iova_state - one allocated range of IOVAs
 * @addr: DMA address of the first byte; valid while dma_use_iova() is true
 * @__size: bytes asked for, and flags; private to the DMA layer
 * @__slots: whose slot it is, with DMA_IOVA_IN_SLOT; private to the DMA layer
 *
 * Owned by the caller, one for each transfer in flight. All zeroes means that
 * nothing is allocated.
 */
struct dma_iova_state {
	dma_addr_t addr;
	u64 __size;
	struct dma_iova_slots *__slots;
};

/**
 * dma_iova_size - the length of an IOVA range
 * @state: IOVA state
 *
 * Return: bytes that dma_iova_try_alloc() was asked for; 0 if it failed.
 */
static inline size_t dma_iova_size(struct dma_iova_state *state)
{
	return state->__size & ~(DMA_IOVA_USE_SWIOTLB | DMA_IOVA_IN_SLOT |
				 DMA_IOVA_UNLINKED | DMA_IOVA_QUEUED |
				 DMA_IOVA_IN_TABLE);
}

/**
 * dma_iova_is_unlinked - whether only the IOVAs of a range are left to free
 * @state: IOVA state
 *
 * Return: true if dma_iova_batch_unlink() left that to dma_iova_destroy(). The
 * memory may stay mapped until dma_iova_batch_sync_unlinked(). False for a slot,
 * which has nothing to free.
 */
static inline bool dma_iova_is_unlinked(struct dma_iova_state *state)
{
	return state->__size & DMA_IOVA_UNLINKED;
}

#ifdef CONFIG_IOMMU_DMA
/**
 * dma_use_iova - whether an IOVA range is allocated
 * @state: IOVA state
 *
 * Return: true if dma_iova_try_alloc() or dma_iova_try_slot() gave @state a range
 * that is not freed yet; false if the caller maps by other means.
 */
static inline bool dma_use_iova(struct dma_iova_state *state)
{
	return state->__size != 0;
}

bool dma_iova_try_alloc(struct device *dev, struct dma_iova_state *state,
			phys_addr_t phys, size_t size);
void dma_iova_free(struct device *dev, struct dma_iova_state *state);
void dma_iova_alloc_slots(struct device *dev, struct dma_iova_slots *slots,
			  unsigned int nr);
void dma_iova_free_slots(struct device *dev, struct dma_iova_slots *slots);
bool dma_iova_try_slot(struct device *dev, struct dma_iova_state *state,
		       struct dma_iova_slots *slots, unsigned int index,
		       phys_addr_t phys, size_t size);
int dma_iova_link_gfp(struct device *dev, struct dma_iova_state *state,
		      phys_addr_t phys, size_t offset, size_t size,
		      enum dma_data_direction dir, unsigned long attrs,
		      gfp_t gfp);
int dma_iova_link(struct device *dev, struct dma_iova_state *state,
		  phys_addr_t phys, size_t offset, size_t size,
		  enum dma_data_direction dir, unsigned long attrs);
int dma_iova_sync(struct device *dev, struct dma_iova_state *state,
		  size_t offset, size_t size);
void dma_iova_unlink(struct device *dev, struct dma_iova_state *state,
		     size_t offset, size_t size, enum dma_data_direction dir,
		     unsigned long attrs);
void dma_iova_destroy(struct device *dev, struct dma_iova_state *state,
		      size_t mapped_len, enum dma_data_direction dir,
		      unsigned long attrs);
bool dma_iova_can_bounce(struct device *dev, enum dma_data_direction dir);
bool dma_iova_sync_is_idle(struct device *dev, bool unmap);
#else /* CONFIG_IOMMU_DMA */
static inline bool dma_use_iova(struct dma_iova_state *state)
{
	return false;
}

static inline bool dma_iova_try_alloc(struct device *dev,
				      struct dma_iova_state *state,
				      phys_addr_t phys, size_t size)
{
	return false;
}

static inline void dma_iova_free(struct device *dev,
				 struct dma_iova_state *state)
{
}

static inline void dma_iova_alloc_slots(struct device *dev,
					struct dma_iova_slots *slots,
					unsigned int nr)
{
	slots->nr = 0;
}

static inline void dma_iova_free_slots(struct device *dev,
				       struct dma_iova_slots *slots)
{
}

static inline bool dma_iova_try_slot(struct device *dev,
				     struct dma_iova_state *state,
				     struct dma_iova_slots *slots,
				     unsigned int index, phys_addr_t phys,
				     size_t size)
{
	return false;
}

static inline int dma_iova_link_gfp(struct device *dev,
				    struct dma_iova_state *state,
				    phys_addr_t phys, size_t offset,
				    size_t size, enum dma_data_direction dir,
				    unsigned long attrs, gfp_t gfp)
{
	return -EOPNOTSUPP;
}

static inline int dma_iova_link(struct device *dev,
				struct dma_iova_state *state, phys_addr_t phys,
				size_t offset, size_t size,
				enum dma_data_direction dir,
				unsigned long attrs)
{
	return -EOPNOTSUPP;
}

static inline int dma_iova_sync(struct device *dev,
				struct dma_iova_state *state, size_t offset,
				size_t size)
{
	return -EOPNOTSUPP;
}

static inline void dma_iova_unlink(struct device *dev,
				   struct dma_iova_state *state, size_t offset,
				   size_t size, enum dma_data_direction dir,
				   unsigned long attrs)
{
}

static inline void dma_iova_destroy(struct device *dev,
				    struct dma_iova_state *state,
				    size_t mapped_len,
				    enum dma_data_direction dir,
				    unsigned long attrs)
{
}

static inline bool dma_iova_can_bounce(struct device *dev,
				       enum dma_data_direction dir)
{
	return false;
}

static inline bool dma_iova_sync_is_idle(struct device *dev, bool unmap)
{
	return true;
}
#endif /* CONFIG_IOMMU_DMA */

#ifdef CONFIG_HAS_DMA
bool dma_can_map_mmio(struct device *dev, phys_addr_t phys, size_t size);
bool dma_need_unmap(struct device *dev);
dma_addr_t dma_map_phys(struct device *dev, phys_addr_t phys, size_t size,
			enum dma_data_direction dir, unsigned long attrs);
void dma_unmap_phys(struct device *dev, dma_addr_t addr, size_t size,
		    enum dma_data_direction dir, unsigned long attrs);
#else /* CONFIG_HAS_DMA */
static inline bool dma_can_map_mmio(struct device *dev, phys_addr_t phys,
				    size_t size)
{
	return false;
}

static inline bool dma_need_unmap(struct device *dev)
{
	return false;
}

static inline dma_addr_t dma_map_phys(struct device *dev, phys_addr_t phys,
				      size_t size, enum dma_data_direction dir,
				      unsigned long attrs)
{
	return ~(dma_addr_t)0;
}

static inline void dma_unmap_phys(struct device *dev, dma_addr_t addr,
				  size_t size, enum dma_data_direction dir,
				  unsigned long attrs)
{
}
#endif /* CONFIG_HAS_DMA */
#endif /* _LINUX_DMA_IOVA_H */
