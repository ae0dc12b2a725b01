/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Whether mapping for DMA takes any work at all. For layers between drivers and
 * the DMA API, which ask on their fast path.
 */
#ifndef _LINUX_DMA_LINEAR_H
#define _LINUX_DMA_LINEAR_H

#include <linux/dma-direct.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/iommu-dma.h>
#include <linux/swiotlb.h>
#include <linux/tracepoint-defs.h>

DECLARE_TRACEPOINT(dma_map_page);

/*
 * Debugging and sanitizing want to see every mapping, and so does somebody who
 * traces them.
 */
static inline bool dma_mappings_watched(void)
{
	return IS_ENABLED(CONFIG_DMA_API_DEBUG) || IS_ENABLED(CONFIG_KMSAN) ||
	       tracepoint_enabled(dma_map_page);
}

/* The architecture must not translate addresses in a way of its own. */
static inline bool dma_phys_is_linear(struct device *dev)
{
	return IS_ENABLED(CONFIG_ARCH_DMA_ADDR_T_64BIT) &&
	       !IS_ENABLED(CONFIG_ARCH_HAS_PHYS_TO_DMA) && !dev->dma_range_map;
}

static inline bool dma_is_direct(struct device *dev)
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
static inline bool dma_linear_offset(struct device *dev, phys_addr_t last,
				     u64 *offset)
{
	dma_addr_t limit;

	if (!IS_ENABLED(CONFIG_HAS_DMA) || !dma_phys_is_linear(dev) ||
	    !dma_is_direct(dev) || !dev_is_dma_coherent(dev) ||
	    is_swiotlb_force_bounce(dev) || dma_mappings_watched())
		return false;

	limit = min_not_zero(*dev->dma_mask, dev->bus_dma_limit);
	if (phys_to_dma(dev, last) > limit)
		return false;

	*offset = phys_to_dma(dev, 0);
	return true;
}

#endif /* _LINUX_DMA_LINEAR_H */
