/* SPDX-License-Identifier: GPL-2.0 */
/* For registration.c, registration-buf.c and their KUnit tests */
#ifndef _KERNEL_DMA_REGISTRATION_H
#define _KERNEL_DMA_REGISTRATION_H

#include <linux/dma-registration.h>
#include <linux/pci-p2pdma.h>

/* How DMA addresses come about of one kind of memory */
struct dma_reg_reach {
	phys_addr_t last; /* highest physical address; 0 if none is reached */
	u64 offset; /* DMA minus physical address, without an IOMMU */
};

/* What is to be known of a device to lay out a registration */
struct dma_reg_way {
	struct device *dev;
	u64 granule; /* the IOMMU's smallest page; 0 for no IOMMU */
	struct dma_reg_reach host;
	struct dma_reg_reach p2p; /* through the host bridge */
	u64 bus_last; /* highest bus address; 0 for no limit */
};

int dma_reg_find_way(struct device *dev, struct dma_reg_way *way);
void dma_reg_make_index(struct dma_registration *reg);
int dma_reg_init(struct dma_registration *reg,
		 struct dma_registration_client *client,
		 const struct dma_registration_ops *ops, void *owner,
		 unsigned int flags);
int dma_reg_announce(struct dma_registration *reg);
void dma_reg_free(struct dma_registration *reg);

#if IS_ENABLED(CONFIG_KUNIT)
enum pci_p2pdma_map_type
dma_reg_map_type(const struct dma_reg_way *way,
		 const struct dma_registration_piece *piece,
		 struct pci_p2pdma_map_state *state);
struct dma_registration *
dma_reg_plan(const struct dma_reg_way *way,
	     const struct dma_registration_memory *mem);
#endif

#endif /* _KERNEL_DMA_REGISTRATION_H */
