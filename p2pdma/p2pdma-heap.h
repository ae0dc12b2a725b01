/* SPDX-License-Identifier: GPL-2.0 */
/*
 * P2P memory as dma-bufs. For drivers/pci/p2pdma.c.
 */
#ifndef _PCI_P2PDMA_HEAP_H
#define _PCI_P2PDMA_HEAP_H

struct pci_dev;

size_t p2pdma_available(struct pci_dev *pdev);

#ifdef CONFIG_PCI_P2PDMA_HEAP
void p2pdma_heap_add(struct pci_dev *provider);
void p2pdma_heap_remove(struct pci_dev *provider);
#else
static inline void p2pdma_heap_add(struct pci_dev *provider)
{
}

static inline void p2pdma_heap_remove(struct pci_dev *provider)
{
}
#endif

#endif /* _PCI_P2PDMA_HEAP_H */
