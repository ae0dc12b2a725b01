// SPDX-License-Identifier: GPL-2.0
/*
 * Have the driver of Arm's SMMUv3 forget that the SMMU invalidates ranges, as before
 * version 3.2 of the architecture. Stays until the machine ends.
 */
#include <linux/iommu.h>
#include <linux/module.h>
#include <linux/pci.h>

#include "arm-smmu-v3.h"

/* What a domain is told when it is made */
static void forget_in_domain(struct iommu_domain *domain)
{
#ifdef IOMMU_HAS_RANGES
	if (domain)
		domain->sync_by_page = true;
#endif
}

static int __init smmu_no_ranges_init(void)
{
	struct arm_smmu_master *master;
	struct pci_dev *pdev = NULL;
	bool found = false;

	for_each_pci_dev(pdev) {
		if (!dev_iommu_fwspec_get(&pdev->dev))
			continue;
		master = dev_iommu_priv_get(&pdev->dev);
		if (!master)
			continue;
		found |= master->smmu->features & ARM_SMMU_FEAT_RANGE_INV;
		master->smmu->features &= ~ARM_SMMU_FEAT_RANGE_INV;
		forget_in_domain(iommu_get_domain_for_dev(&pdev->dev));
	}
	return found ? 0 : -ENODEV;
}
module_init(smmu_no_ranges_init);

MODULE_DESCRIPTION("SMMUv3 without invalidation of ranges");
MODULE_LICENSE("GPL");
