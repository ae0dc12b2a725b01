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
#include <linux/pci.h>
#include <linux/swiotlb.h>

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

	iovad = iommu_dma_iovad(domain);
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

static void dma_iova_free_range(struct iommu_domain *domain,
				struct dma_iova_state *state,
				struct iommu_iotlb_gather *gather)
{
	struct iova_domain *iovad = iommu_dma_iovad(domain);
	size_t pad = iova_offset(iovad, state->addr);

	iommu_dma_free_iova(domain, state->addr - pad,
			    iova_align(iovad, dma_iova_size(state) + pad),
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
 * granules.
 */
bool dma_iova_can_bounce(struct device *dev, enum dma_data_direction dir)
{
	return IS_ENABLED(CONFIG_SWIOTLB) &&
	       (dev_is_untrusted(dev) || !dma_kmalloc_safe(dev, dir));
}
EXPORT_SYMBOL_GPL(dma_iova_can_bounce);

static int dma_iova_map_prot(struct device *dev, enum dma_data_direction dir,
			     unsigned long attrs)
{
	if (attrs & DMA_ATTR_MMIO)
		return dma_info_to_prot(dir, false, attrs) | IOMMU_MMIO;
	return dma_info_to_prot(dir, dev_is_dma_coherent(dev), attrs);
}

/* Map whole granules around @phys at @addr. Both have the same pad. */
static int dma_iova_map(struct device *dev, dma_addr_t addr, phys_addr_t phys,
			size_t size, enum dma_data_direction dir,
			unsigned long attrs)
{
	struct iommu_domain *domain = iommu_get_dma_domain(dev);
	struct iova_domain *iovad = iommu_dma_iovad(domain);
	int prot = dma_iova_map_prot(dev, dir, attrs);
	size_t pad = iova_offset(iovad, phys);
	int ret;

	if (unlikely(iova_offset(iovad, addr) != pad))
		return -EINVAL;

	if (!(prot & (IOMMU_CACHE | IOMMU_MMIO)) &&
	    !(attrs & DMA_ATTR_SKIP_CPU_SYNC))
		arch_sync_dma_for_device(phys, size, dir);

	size = iova_align(iovad, size + pad);
	ret = iommu_map_nosync(domain, addr - pad, phys - pad, size, prot,
			       GFP_ATOMIC);
	/* virtio-iommu refuses IOMMU_MMIO unless the device knows of it */
	if (ret == -EINVAL && (prot & IOMMU_MMIO))
		ret = iommu_map_nosync(domain, addr - pad, phys - pad, size,
				       prot & ~IOMMU_MMIO, GFP_ATOMIC);
	return ret;
}

/* Map @size bytes at @phys from a copy: they share a granule with others. */
static int dma_iova_map_bounce(struct device *dev, dma_addr_t addr,
			       phys_addr_t phys, size_t size,
			       enum dma_data_direction dir, unsigned long attrs)
{
	phys_addr_t bounce = iommu_dma_map_swiotlb(dev, phys, size, dir, attrs);
	int ret;

	if (bounce == DMA_MAPPING_ERROR)
		return -ENOMEM;

	ret = dma_iova_map(dev, addr, bounce, size, dir, attrs);
	if (ret)
		swiotlb_tbl_unmap_single(dev, bounce, size, dir,
					 attrs | DMA_ATTR_SKIP_CPU_SYNC);
	return ret;
}

/*
 * The pieces of a range that begins or ends inside a granule: what lies in a
 * first granule that it does not fill, whole granules, and the rest.
 */
struct dma_iova_pieces {
	size_t head;
	size_t middle;
	size_t tail;
};

static struct dma_iova_pieces dma_iova_split(struct iova_domain *iovad,
					     dma_addr_t addr, size_t size)
{
	size_t pad = iova_offset(iovad, addr);
	struct dma_iova_pieces p = {};

	if (pad)
		p.head = min(size, iovad->granule - pad);
	p.middle = iova_align_down(iovad, size - p.head);
	p.tail = size - p.head - p.middle;
	return p;
}

static void dma_iova_sync_for_cpu(struct device *dev,
				  struct iommu_domain *domain, dma_addr_t addr,
				  size_t size, enum dma_data_direction dir)
{
	struct iova_domain *iovad = iommu_dma_iovad(domain);

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
 * Unmap @size bytes at @addr, linked at once or in succession, and free the
 * range of @free if given. A bounce buffer is released only after the IOTLB
 * sync, when the device cannot write to it any more; in a domain with a flush
 * queue that is never certain, and the DMA API accepts it.
 */
static void dma_iova_unmap(struct device *dev, dma_addr_t addr, size_t size,
			   enum dma_data_direction dir, unsigned long attrs,
			   struct dma_iova_state *free, bool bounced)
{
	struct iommu_domain *domain = iommu_get_dma_domain(dev);
	struct iova_domain *iovad = iommu_dma_iovad(domain);
	size_t pad = iova_offset(iovad, addr);
	phys_addr_t head = 0, tail = 0;
	struct dma_iova_pieces p = {};
	struct iommu_iotlb_gather gather;
	size_t unmapped;

	if (!dev_is_dma_coherent(dev) &&
	    !(attrs & (DMA_ATTR_MMIO | DMA_ATTR_SKIP_CPU_SYNC)))
		dma_iova_sync_for_cpu(dev, domain, addr, size, dir);

	if (unlikely(bounced)) {
		p = dma_iova_split(iovad, addr, size);
		if (p.head)
			head = iommu_iova_to_phys(domain, addr);
		if (p.tail)
			tail = iommu_iova_to_phys(domain, addr + size - p.tail);
	}

	iommu_dma_gather_init(domain, &gather);
	/* Only a range that is freed as a whole can wait in the flush queue */
	if (!free)
		gather.queued = false;

	unmapped = iommu_unmap_fast(domain, addr - pad,
				    iova_align(iovad, size + pad), &gather);
	WARN_ON(unmapped != iova_align(iovad, size + pad));

	if (!gather.queued)
		iommu_iotlb_sync(domain, &gather);
	if (free)
		dma_iova_free_range(domain, free, &gather);

	dma_iova_unbounce(dev, head, p.head, dir, attrs);
	dma_iova_unbounce(dev, tail, p.tail, dir, attrs);
}

static int dma_iova_link_bounce(struct device *dev,
				struct dma_iova_state *state, phys_addr_t phys,
				dma_addr_t addr, size_t size,
				enum dma_data_direction dir,
				unsigned long attrs)
{
	struct iova_domain *iovad = iommu_dma_iovad(iommu_get_dma_domain(dev));
	struct dma_iova_pieces p = dma_iova_split(iovad, addr, size);
	size_t done = 0;
	int ret = 0;

	state->__size |= DMA_IOVA_USE_SWIOTLB;

	if (p.head) {
		ret = dma_iova_map_bounce(dev, addr, phys, p.head, dir, attrs);
		if (ret)
			return ret;
		done = p.head;
	}
	if (p.middle) {
		ret = dma_iova_map(dev, addr + done, phys + done, p.middle, dir,
				   attrs);
		if (ret)
			goto unwind;
		done += p.middle;
	}
	if (p.tail) {
		ret = dma_iova_map_bounce(dev, addr + done, phys + done, p.tail,
					  dir, attrs);
		if (ret)
			goto unwind;
	}
	return 0;
unwind:
	if (done)
		dma_iova_unmap(dev, addr, done, dir,
			       attrs | DMA_ATTR_SKIP_CPU_SYNC, NULL, true);
	return ret;
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
 * parts of two links: link from the start of a granule unless @offset is 0.
 *
 * The device may use the memory only after dma_iova_sync().
 *
 * Context: any.
 * Return: 0, or a negative errno and this piece not mapped. What was linked
 * before stays: end with dma_iova_destroy().
 */
int dma_iova_link(struct device *dev, struct dma_iova_state *state,
		  phys_addr_t phys, size_t offset, size_t size,
		  enum dma_data_direction dir, unsigned long attrs)
{
	dma_addr_t addr = state->addr + offset;
	struct iova_domain *iovad;

	if (WARN_ON_ONCE(!size || size > dma_iova_size(state) - offset))
		return -EINVAL;

	if (unlikely(dma_iova_bounces(dev, size, dir, attrs))) {
		iovad = iommu_dma_iovad(iommu_get_dma_domain(dev));
		if (iova_offset(iovad, phys | size))
			return dma_iova_link_bounce(dev, state, phys, addr,
						    size, dir, attrs);
	}
	return dma_iova_map(dev, addr, phys, size, dir, attrs);
}
EXPORT_SYMBOL_GPL(dma_iova_link);

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
	struct iova_domain *iovad = iommu_dma_iovad(domain);
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
	dma_iova_unmap(dev, state->addr + offset, size, dir, attrs, NULL,
		       state->__size & DMA_IOVA_USE_SWIOTLB);
}
EXPORT_SYMBOL_GPL(dma_iova_unlink);

/**
 * dma_iova_destroy - unmap and free a range
 * @dev: device the range was allocated for
 * @state: the range; all zeroes afterwards
 * @mapped_len: bytes linked, from the start of the range and without a hole;
 *	may be 0
 * @dir: direction, as at dma_iova_link()
 * @attrs: attributes, as at dma_iova_link()
 *
 * Context: any.
 */
void dma_iova_destroy(struct device *dev, struct dma_iova_state *state,
		      size_t mapped_len, enum dma_data_direction dir,
		      unsigned long attrs)
{
	if (!mapped_len) {
		dma_iova_free(dev, state);
		return;
	}
	dma_iova_unmap(dev, state->addr, mapped_len, dir, attrs, state,
		       state->__size & DMA_IOVA_USE_SWIOTLB);
}
EXPORT_SYMBOL_GPL(dma_iova_destroy);
