/* SPDX-License-Identifier: GPL-2.0 */
#ifndef PCI_BY_NAME_H
#define PCI_BY_NAME_H

#include <linux/pci.h>

/* The device called @name, as in 0000:01:00.0, or NULL; pci_dev_put() it. */
static inline struct pci_dev *pci_get_by_name(const char *name)
{
	unsigned int domain, bus, slot, function;

	if (!name ||
	    sscanf(name, "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4)
		return NULL;
	return pci_get_domain_bus_and_slot(domain, bus,
					   PCI_DEVFN(slot, function));
}

#endif /* PCI_BY_NAME_H */
