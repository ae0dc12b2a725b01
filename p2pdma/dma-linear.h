/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Whether mapping for DMA takes any work at all. For layers between drivers and
 * the DMA API, which ask on their fast path.
 */
#ifndef _LINUX_DMA_LINEAR_H
#define _LINUX_DMA_LINEAR_H

#include <linux/tracepoint-defs.h>
#include <linux/types.h>

struct device;

DECLARE_TRACEPOINT(dma_map_page);

/**
 * dma_mappings_watched - whether somebody wants to see every mapping
 *
 * CONFIG_DMA_API_DEBUG, CONFIG_KMSAN and the tracepoint dma_map_page do. None is
 * told of device memory mapped without an IOMMU (DMA_ATTR_MMIO): for that,
 * callers need not ask.
 *
 * Context: any.
 * Return: true if nothing may be mapped without a call of the DMA API.
 */
static inline bool dma_mappings_watched(void)
{
	return IS_ENABLED(CONFIG_DMA_API_DEBUG) || IS_ENABLED(CONFIG_KMSAN) ||
	       (IS_ENABLED(CONFIG_HAS_DMA) && tracepoint_enabled(dma_map_page));
}

#ifdef CONFIG_HAS_DMA
phys_addr_t dma_linear_last(struct device *dev, unsigned long attrs,
			    u64 *offset);
#else
static inline phys_addr_t dma_linear_last(struct device *dev,
					  unsigned long attrs, u64 *offset)
{
	*offset = 0;
	return 0;
}
#endif

#endif /* _LINUX_DMA_LINEAR_H */
