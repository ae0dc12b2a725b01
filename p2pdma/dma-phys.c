// SPDX-License-Identifier: GPL-2.0
/*
 * DMA mapping by physical address, and the question whether mapping needs any
 * work at all.
 */
#include <linux/dma-direct.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/iommu.h>
#include <linux/iommu-dma.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/swiotlb.h>
#include <trace/events/dma.h>

/*
 * Debugging and sanitizing want to see every mapping, and so does somebody who
 * traces them.
 */
static bool dma_mappings_watched(void)
{
	return IS_ENABLED(CONFIG_DMA_API_DEBUG) || IS_ENABLED(CONFIG_KMSAN) ||
	       trace_dma_map_page_enabled();
}

/* The architecture must not translate addresses in a way of its own. */
static bool dma_phys_is_linear(struct device *dev)
{
	return IS_ENABLED(CONFIG_ARCH_DMA_ADDR_T_64BIT) &&
	       !IS_ENABLED(CONFIG_ARCH_HAS_PHYS_TO_DMA) && !dev->dma_range_map;
}

static bool dma_is_direct(struct device *dev)
{
	return !use_dma_iommu(dev) && !get_dma_ops(dev);
}

/**
 * dma_linear_offset - whether DMA addresses are physical ones plus a constant
 * @dev: device that will do the DMA
 * @last: highest physical address that will be mapped
 * @offset: the constant, set if the answer is true
 *
 * If true, memory up to @last needs no mapping call: a DMA address is the
 * physical address plus *@offset. No bounce buffer, no cache maintenance and
 * no unmapping is called for. Ask once per transfer, not per piece of it.
 *
 * Context: any.
 * Return: true if so. False if each piece has to be mapped and unmapped.
 */
bool dma_linear_offset(struct device *dev, phys_addr_t last, u64 *offset)
{
	dma_addr_t limit;

	if (!dma_phys_is_linear(dev) || !dma_is_direct(dev) ||
	    !dev_is_dma_coherent(dev) || is_swiotlb_force_bounce(dev) ||
	    dma_mappings_watched())
		return false;

	limit = min_not_zero(*dev->dma_mask, dev->bus_dma_limit);
	if (phys_to_dma(dev, last) > limit)
		return false;

	*offset = phys_to_dma(dev, 0);
	return true;
}
EXPORT_SYMBOL_GPL(dma_linear_offset);

/**
 * dma_need_unmap - whether mappings of a device have to be unmapped
 * @dev: device that does the DMA
 *
 * May change from false to true while mappings exist, as soon as one of them
 * needs a bounce buffer: ask after the last mapping of a transfer, not before.
 *
 * Context: any.
 * Return: false if dma_unmap_phys() has nothing to do for any mapping of @dev
 * made so far.
 */
bool dma_need_unmap(struct device *dev)
{
	return !dma_is_direct(dev) || dma_dev_need_sync(dev) ||
	       dma_mappings_watched();
}
EXPORT_SYMBOL_GPL(dma_need_unmap);

/**
 * dma_is_bounced - whether a mapping is of a bounce buffer
 * @dev: device that does the DMA
 * @addr: DMA address in the mapping
 *
 * For tracing, not for the fast path.
 *
 * Context: any.
 * Return: true if the memory behind @addr is a copy.
 */
bool dma_is_bounced(struct device *dev, dma_addr_t addr)
{
	phys_addr_t phys;

	if (use_dma_iommu(dev))
		phys = iommu_iova_to_phys(iommu_get_domain_for_dev(dev), addr);
	else if (dma_is_direct(dev))
		phys = dma_to_phys(dev, addr);
	else
		return false;
	return swiotlb_find_pool(dev, phys);
}
EXPORT_SYMBOL_GPL(dma_is_bounced);

/* Map memory that is a device's: never bounced, never in a CPU cache. */
static dma_addr_t dma_map_phys_mmio(struct device *dev, phys_addr_t phys,
				    size_t size, enum dma_data_direction dir,
				    unsigned long attrs)
{
	dma_addr_t addr;

	if (!dma_is_direct(dev))
		return dma_map_resource(dev, phys, size, dir,
					attrs & ~DMA_ATTR_MMIO);
	if (is_swiotlb_force_bounce(dev))
		return DMA_MAPPING_ERROR;

	addr = phys_to_dma(dev, phys);
	return dma_capable(dev, addr, size, false) ? addr : DMA_MAPPING_ERROR;
}

/**
 * dma_map_phys - map a physical range for DMA
 * @dev: device that will do the DMA
 * @phys: first physical address; must have a struct page unless @attrs says
 *	DMA_ATTR_MMIO
 * @size: bytes
 * @dir: direction of the transfer
 * @attrs: DMA_ATTR_MMIO and other attributes
 *
 * Context: any.
 * Return: the DMA address, or DMA_MAPPING_ERROR (test with
 * dma_mapping_error()). End with dma_unmap_phys() and the same attributes.
 */
dma_addr_t dma_map_phys(struct device *dev, phys_addr_t phys, size_t size,
			enum dma_data_direction dir, unsigned long attrs)
{
	if (attrs & DMA_ATTR_MMIO)
		return dma_map_phys_mmio(dev, phys, size, dir, attrs);
	return dma_map_page_attrs(dev, pfn_to_page(PHYS_PFN(phys)),
				  offset_in_page(phys), size, dir, attrs);
}
EXPORT_SYMBOL_GPL(dma_map_phys);

/**
 * dma_unmap_phys - undo dma_map_phys()
 * @dev: device that did the DMA
 * @addr: what dma_map_phys() returned
 * @size: bytes, as mapped
 * @dir: direction, as mapped
 * @attrs: attributes, as mapped
 *
 * Context: any.
 */
void dma_unmap_phys(struct device *dev, dma_addr_t addr, size_t size,
		    enum dma_data_direction dir, unsigned long attrs)
{
	if (!(attrs & DMA_ATTR_MMIO))
		dma_unmap_page_attrs(dev, addr, size, dir, attrs);
	else if (!dma_is_direct(dev))
		dma_unmap_resource(dev, addr, size, dir,
				   attrs & ~DMA_ATTR_MMIO);
}
EXPORT_SYMBOL_GPL(dma_unmap_phys);
