// SPDX-License-Identifier: GPL-2.0
/*
 * DMA mapping by physical address, and what is known of a mapping afterwards.
 */
#include <linux/dma-direct.h>
#include <linux/dma-linear.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/iommu-dma.h>
#include <linux/mm.h>
#include <linux/swiotlb.h>

#include "direct.h"

DECLARE_TRACEPOINT(dma_unmap_page);

static bool dma_is_direct(struct device *dev)
{
	return !use_dma_iommu(dev) && !get_dma_ops(dev);
}

/* The architecture must not translate addresses in a way of its own. */
static bool dma_phys_is_linear(struct device *dev)
{
	return IS_ENABLED(CONFIG_ARCH_DMA_ADDR_T_64BIT) &&
	       !IS_ENABLED(CONFIG_ARCH_HAS_PHYS_TO_DMA) && !dev->dma_range_map;
}

/**
 * dma_linear_last - how far DMA addresses are physical ones plus a constant
 * @dev: device that will do the DMA; its DMA mask is set
 * @attrs: DMA_ATTR_MMIO if the memory is a device's
 * @offset: the constant, in bytes; 0 if there is none
 *
 * Up to the physical address returned, and while dma_mappings_watched() says no,
 * memory needs no mapping call: its DMA address is the physical address plus
 * *@offset. No bounce buffer, no cache maintenance and no unmapping is called
 * for. The answer holds until the driver is unbound or sets another DMA mask.
 *
 * If the host encrypts its memory, the DMA address of RAM has the encryption bit
 * set; a device's memory is not encrypted.
 *
 * Context: any.
 * Return: the highest such physical address; 0 if there is none.
 */
phys_addr_t dma_linear_last(struct device *dev, unsigned long attrs,
			    u64 *offset)
{
	u64 limit;

	*offset = 0;
	if (!dma_phys_is_linear(dev) || !dma_is_direct(dev) ||
	    !dev_is_dma_coherent(dev) || is_swiotlb_force_bounce(dev) ||
	    !dev->dma_mask)
		return 0;

	limit = min_not_zero(*dev->dma_mask, dev->bus_dma_limit);
	if (attrs & DMA_ATTR_MMIO)
		*offset = phys_to_dma_unencrypted(dev, 0);
	else
		*offset = phys_to_dma(dev, 0);
	if (*offset > limit)
		return 0;
	return min_t(u64, limit - *offset, PHYS_ADDR_MAX);
}

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
 * dma_can_map_mmio - whether memory of a device can be mapped for another one
 * @dev: device that would do the DMA; its DMA mask is set
 * @phys: first physical address
 * @size: bytes
 *
 * Context: any.
 * Return: false if dma_map_phys() with DMA_ATTR_MMIO fails for some part of it.
 * Behind an IOMMU it may still find no IOVAs or no memory; with an architecture's
 * own DMA operations, nothing is known.
 */
bool dma_can_map_mmio(struct device *dev, phys_addr_t phys, size_t size)
{
	return !dma_is_direct(dev) ||
	       (!is_swiotlb_force_bounce(dev) &&
		dma_capable(dev, phys_to_dma_unencrypted(dev, phys), size,
			    false));
}
EXPORT_SYMBOL_GPL(dma_can_map_mmio);

/* Map memory that is a device's: not bounced, encrypted or in a CPU cache. */
static dma_addr_t dma_map_phys_mmio(struct device *dev, phys_addr_t phys,
				    size_t size, enum dma_data_direction dir,
				    unsigned long attrs)
{
	if (!dma_is_direct(dev))
		return dma_map_resource(dev, phys, size, dir,
					attrs & ~DMA_ATTR_MMIO);
	if (!dma_can_map_mmio(dev, phys, size))
		return DMA_MAPPING_ERROR;
	return phys_to_dma_unencrypted(dev, phys);
}

/*
 * Whether dma_map_page_attrs() and dma_unmap_page_attrs(), given a direction
 * that there is, would only call dma_direct_map_page() and
 * dma_direct_unmap_page().
 */
static bool dma_direct_suffices(struct device *dev)
{
	return dma_is_direct(dev) && dev->dma_mask &&
	       !dma_mappings_watched() && !tracepoint_enabled(dma_unmap_page);
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
	struct page *page;

	if (attrs & DMA_ATTR_MMIO)
		return dma_map_phys_mmio(dev, phys, size, dir, attrs);

	page = pfn_to_page(PHYS_PFN(phys));
	if (dma_direct_suffices(dev))
		return dma_direct_map_page(dev, page, offset_in_page(phys),
					   size, dir, attrs);
	return dma_map_page_attrs(dev, page, offset_in_page(phys), size, dir,
				  attrs);
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
	if (attrs & DMA_ATTR_MMIO) {
		if (!dma_is_direct(dev))
			dma_unmap_resource(dev, addr, size, dir,
					   attrs & ~DMA_ATTR_MMIO);
		return;
	}
	if (dma_direct_suffices(dev))
		dma_direct_unmap_page(dev, addr, size, dir, attrs);
	else
		dma_unmap_page_attrs(dev, addr, size, dir, attrs);
}
EXPORT_SYMBOL_GPL(dma_unmap_phys);
