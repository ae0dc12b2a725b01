// SPDX-License-Identifier: GPL-2.0
/*
 * Have the driver of AMD's IOMMU forget that QEMU's caches what is not present, as
 * no hardware is known to do. Mapping is not synced then, and only the sync after
 * unmapping cuts a drive off. Stays until the machine ends.
 */
#include <linux/iommu.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/pci.h>

static unsigned long find_symbol(const char *name)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	unsigned long (*lookup)(const char *name);

	if (register_kprobe(&probe))
		return 0;
	lookup = (void *)probe.addr;
	unregister_kprobe(&probe);
	return lookup(name);
}

/* What a domain is told when it is made */
static void forget_in_domain(struct iommu_domain *domain)
{
#ifdef IOMMU_HAS_SYNC_MAP_IDLE
	if (domain)
		domain->sync_map_idle = true;
#endif
}

static int __init amd_np_cache_init(void)
{
	bool *np_cache = (bool *)find_symbol("amd_iommu_np_cache");
	struct pci_dev *pdev = NULL;

	if (!np_cache || !*np_cache)
		return -ENODEV;
	WRITE_ONCE(*np_cache, false);
	for_each_pci_dev(pdev)
		forget_in_domain(iommu_get_domain_for_dev(&pdev->dev));
	return 0;
}
module_init(amd_np_cache_init);

MODULE_DESCRIPTION("AMD-Vi that caches nothing that is not present");
MODULE_LICENSE("GPL");
