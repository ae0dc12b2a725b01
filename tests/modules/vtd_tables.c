// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit suite of VT-d's page tables, those that are kept for slots of IOVAs and
 * others: a domain that no device uses, the bits of which the tests set as they
 * like, and the domain of a real device.
 */
#include <kunit/test.h>
#include <linux/dma-mapping.h>
#include <linux/iommu.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/sizes.h>

#include "fail_nth.h"
#include "pci_by_name.h"
#include "iommu.h"

#define IOVA (3 * (unsigned long)SZ_1G)
#define PHYS 0x12345000ULL
#define NR_ENTRIES (SZ_2M / VTD_PAGE_SIZE)

static char *device;
module_param(device, charp, 0444);
MODULE_PARM_DESC(device, "PCI device behind VT-d, as in 0000:01:00.0");

static struct pci_dev *pdev;
static struct iommu_domain *domain;
static const struct iommu_domain_ops *ops;

static int tables_suite_init(struct kunit_suite *suite)
{
	pdev = pci_get_by_name(device);
	if (!pdev)
		return -ENODEV;
	domain = iommu_paging_domain_alloc(&pdev->dev);
	if (IS_ERR(domain))
		return PTR_ERR(domain);
	ops = domain->ops;
	return ops->keep_table ? 0 : -EOPNOTSUPP;
}

static void tables_suite_exit(struct kunit_suite *suite)
{
	if (!IS_ERR_OR_NULL(domain))
		iommu_domain_free(domain);
	pci_dev_put(pdev);
}

static struct dma_pte *keep(struct kunit *test, unsigned long iova)
{
	struct dma_pte *table = ops->keep_table(domain, iova, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, table);
	return table;
}

static void expect_mapped(struct kunit *test, unsigned long iova,
			  phys_addr_t phys)
{
	KUNIT_EXPECT_EQ(test, phys, iommu_iova_to_phys(domain, iova));
}

/* Whoever asks finds the table where mapping by other means has its entries. */
static void test_same_table(struct kunit *test)
{
	struct dma_pte *table = keep(test, IOVA);

	KUNIT_EXPECT_PTR_EQ(test, table, keep(test, IOVA + SZ_2M - SZ_4K));
	KUNIT_EXPECT_PTR_NE(test, table, keep(test, IOVA + SZ_2M));
	KUNIT_EXPECT_PTR_NE(test, table, keep(test, IOVA - SZ_4K));
	KUNIT_ASSERT_EQ(test, 0, iommu_map(domain, IOVA + 5 * SZ_4K, PHYS,
					   SZ_4K, IOMMU_READ, GFP_KERNEL));
	KUNIT_EXPECT_EQ(test, PHYS, dma_pte_addr(&table[5]));
	KUNIT_EXPECT_EQ(test, SZ_4K, iommu_unmap(domain, IOVA + 5 * SZ_4K,
						 SZ_4K));
	KUNIT_EXPECT_FALSE(test, dma_pte_present(&table[5]));
}

/* All that a table maps is mapped and unmapped there, twice: it stays. */
static void test_full_table(struct kunit *test)
{
	struct dma_pte *table = keep(test, IOVA);
	unsigned long last = IOVA + SZ_2M - SZ_4K;

	for (int i = 0; i < 2; i++) {
		KUNIT_ASSERT_EQ(test, 0,
				ops->map_in_table(domain, table, IOVA, PHYS,
						  SZ_2M, IOMMU_READ));
		expect_mapped(test, IOVA, PHYS);
		expect_mapped(test, last, PHYS + SZ_2M - SZ_4K);
		ops->unmap_in_table(domain, table, IOVA, SZ_2M - SZ_4K);
		expect_mapped(test, IOVA, 0);
		expect_mapped(test, last, PHYS + SZ_2M - SZ_4K);
		ops->unmap_in_table(domain, table, last, SZ_4K);
		expect_mapped(test, last, 0);
		KUNIT_EXPECT_PTR_EQ(test, table, keep(test, IOVA));
	}
}

/* An entry has the bits that mapping by other means gives it. */
static void test_bits(struct kunit *test)
{
	struct dmar_domain *dmar_domain = to_dmar_domain(domain);
	struct dma_pte *table = keep(test, IOVA);
	bool first_level = dmar_domain->use_first_level;
	bool snoop = dmar_domain->set_pte_snp;

	for (int i = 0; i < 16; i++) {
		int prot = IOMMU_CACHE | (i & (IOMMU_READ | IOMMU_WRITE));
		int ret;

		dmar_domain->use_first_level = i & 4;
		dmar_domain->set_pte_snp = i & 8;
		ret = ops->map_in_table(domain, table, IOVA, PHYS, SZ_4K, prot);
		KUNIT_EXPECT_EQ(test, ret,
				iommu_map(domain, IOVA + SZ_4K, PHYS, SZ_4K,
					  prot, GFP_KERNEL));
		KUNIT_EXPECT_EQ(test, !!ret, !(i & 3));
		KUNIT_EXPECT_EQ(test, table[0].val, table[1].val);
		ops->unmap_in_table(domain, table, IOVA, 2 * SZ_4K);
		KUNIT_EXPECT_EQ(test, 0, table[0].val | table[1].val);
	}
	dmar_domain->use_first_level = first_level;
	dmar_domain->set_pte_snp = snoop;
}

/* What is flushed from the CPU's cache between two entries of a table */
static struct {
	struct kprobe probe;
	unsigned long start, end, flushed;
} watch;

static int watch_flush(struct kprobe *probe, struct pt_regs *regs)
{
	unsigned long start = regs_get_kernel_argument(regs, 0);

	if (start >= watch.start && start < watch.end)
		watch.flushed += (u32)regs_get_kernel_argument(regs, 1);
	return 0;
}

static void unwatch(void *probe)
{
	unregister_kprobe(probe);
}

static void watch_calls(struct kunit *test, struct kprobe *probe,
			const char *function, kprobe_pre_handler_t handler)
{
	*probe = (struct kprobe){
		.symbol_name = function,
		.pre_handler = handler,
	};
	KUNIT_ASSERT_EQ(test, 0, register_kprobe(probe));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, unwatch, probe));
}

static void watch_entries(struct kunit *test, struct dma_pte *pte,
			  unsigned int nr)
{
	watch.start = (unsigned long)pte;
	watch.end = (unsigned long)(pte + nr);
	watch_calls(test, &watch.probe, "clflush_cache_range", watch_flush);
}

static void expect_flushed(struct kunit *test, unsigned long bytes)
{
	KUNIT_EXPECT_EQ(test, bytes, watch.flushed);
	watch.flushed = 0;
}

/* Hardware that does not snoop the CPU's cache sees each entry that changes. */
static void test_flush(struct kunit *test)
{
	struct dmar_domain *dmar_domain = to_dmar_domain(domain);
	struct dma_pte *table = keep(test, IOVA);
	bool coherent = dmar_domain->iommu_coherency;

	watch_entries(test, table + 7, 3);
	for (int i = 0; i < 2; i++) {
		unsigned long bytes = i ? 0 : 3 * sizeof(*table);

		dmar_domain->iommu_coherency = i;
		KUNIT_EXPECT_EQ(test, 0,
				ops->map_in_table(domain, table,
						  IOVA + 7 * SZ_4K, PHYS,
						  3 * SZ_4K, IOMMU_WRITE));
		expect_flushed(test, bytes);
		ops->unmap_in_table(domain, table, IOVA + 7 * SZ_4K,
				    3 * SZ_4K);
		expect_flushed(test, bytes);
	}
	dmar_domain->iommu_coherency = coherent;
}

/* Who finds an upper entry set cannot know that whoever set it has flushed it by now. */
static void test_flush_upper(struct kunit *test)
{
	struct dmar_domain *dmar_domain = to_dmar_domain(domain);
	const unsigned long iova = IOVA + 2UL * SZ_1G;
	const unsigned long pfn = iova >> VTD_PAGE_SHIFT;
	bool coherent = dmar_domain->iommu_coherency;
	struct dma_pte *entry = dmar_domain->pgd;
	int level;

	KUNIT_ASSERT_EQ(test, 0,
			iommu_map(domain, iova, PHYS, SZ_4K, IOMMU_WRITE,
				  GFP_KERNEL));
	for (level = agaw_to_level(dmar_domain->agaw); level > 2; level--)
		entry = phys_to_virt(dma_pte_addr(entry +
						  pfn_level_offset(pfn, level)));
	watch_entries(test, entry + pfn_level_offset(pfn, 2), 1);
	for (int i = 0; i < 2; i++) {
		dmar_domain->iommu_coherency = i;
		KUNIT_EXPECT_EQ(test, 0,
				iommu_map(domain, iova + SZ_4K, PHYS, SZ_4K,
					  IOMMU_WRITE, GFP_KERNEL));
		expect_flushed(test, i ? 0 : sizeof(*entry));
		KUNIT_EXPECT_EQ(test, SZ_4K,
				iommu_unmap(domain, iova + SZ_4K, SZ_4K));
	}
	dmar_domain->iommu_coherency = coherent;
	KUNIT_EXPECT_EQ(test, SZ_4K, iommu_unmap(domain, iova, SZ_4K));
}

/* Flushes of the domain, and those of its page tables while one waits to be freed */
static struct {
	struct kprobe probe;
	struct iommu_iotlb_gather gather;
	unsigned int flushes, of_tables;
} sync_watch;

static int watch_sync(struct kprobe *probe, struct pt_regs *regs)
{
	bool leaves_only = (u32)regs_get_kernel_argument(regs, 3);

	if (regs_get_kernel_argument(regs, 0) !=
	    (unsigned long)to_dmar_domain(domain))
		return 0;
	sync_watch.flushes++;
	if (!leaves_only && !list_empty(&sync_watch.gather.freelist))
		sync_watch.of_tables++;
	return 0;
}

/* The hardware may go on using a table that it has cached, until that is flushed. */
static void test_freed_after_flush(struct kunit *test)
{
	const unsigned long iova = IOVA - SZ_1G;
	struct iommu_iotlb_range range = { iova, iova + SZ_2M - 1 };

	KUNIT_ASSERT_EQ(test, 0, iommu_map(domain, iova, PHYS, SZ_2M, IOMMU_READ,
					   GFP_KERNEL));
	iommu_iotlb_gather_init(&sync_watch.gather);
	sync_watch.gather.queued = true;
	KUNIT_ASSERT_EQ(test, SZ_2M, iommu_unmap_fast(domain, iova, SZ_2M,
						      &sync_watch.gather));
	watch_calls(test, &sync_watch.probe, "cache_tag_flush_ranges",
		    watch_sync);
	ops->iotlb_sync_ranges(domain, &sync_watch.gather, &range, 1);
	KUNIT_EXPECT_EQ(test, 1, sync_watch.flushes);
	KUNIT_EXPECT_EQ(test, 1, sync_watch.of_tables);
	KUNIT_EXPECT_TRUE(test, list_empty(&sync_watch.gather.freelist));
}

/* The table in whose place a large page comes, and its references at the flush */
static struct {
	struct kprobe probe;
	struct page *table;
	unsigned int flushes;
	int references;
} large_watch;

static int watch_large(struct kprobe *probe, struct pt_regs *regs)
{
	if (regs_get_kernel_argument(regs, 0) !=
	    (unsigned long)to_dmar_domain(domain))
		return 0;
	large_watch.flushes++;
	large_watch.references = page_count(large_watch.table);
	return 0;
}

static void test_large_after_flush(struct kunit *test)
{
	const unsigned long iova = IOVA - 2UL * SZ_1G;
	struct dmar_domain *dmar_domain = to_dmar_domain(domain);
	unsigned long sizes = domain->pgsize_bitmap;
	int superpage = dmar_domain->iommu_superpage;

	/* no device is attached, so that nothing walks the tables */
	dmar_domain->iommu_superpage = 1;
	domain->pgsize_bitmap |= SZ_2M;
	large_watch.table = virt_to_page(keep(test, iova));
	watch_calls(test, &large_watch.probe, "cache_tag_flush_range",
		    watch_large);
	KUNIT_ASSERT_EQ(test, 0, iommu_map(domain, iova, ALIGN(PHYS, SZ_2M),
					   SZ_2M, IOMMU_READ, GFP_KERNEL));
	KUNIT_EXPECT_EQ(test, 1, large_watch.flushes);
	KUNIT_EXPECT_EQ(test, 1, large_watch.references);
	KUNIT_EXPECT_EQ(test, SZ_2M, iommu_unmap(domain, iova, SZ_2M));
	dmar_domain->iommu_superpage = superpage;
	domain->pgsize_bitmap = sizes;
}

/* A slot lets the device do what the transfer's direction is, and no more. */
static void test_directions(struct kunit *test)
{
	static const u64 bits[] = {
		[DMA_BIDIRECTIONAL] = DMA_PTE_READ | DMA_PTE_WRITE,
		[DMA_TO_DEVICE] = DMA_PTE_READ,
		/* bit 0 is always set: "present" of the first stage */
		[DMA_FROM_DEVICE] = DMA_PTE_READ | DMA_PTE_WRITE,
	};
	struct device *dev = &pdev->dev;
	phys_addr_t phys = virt_to_phys(empty_zero_page);
	struct dma_iova_slots slots;
	struct dma_iova_state state;
	struct dma_pte *table;

	/* what the first stage calls so means something else */
	if (to_dmar_domain(iommu_get_domain_for_dev(dev))->use_first_level)
		kunit_skip(test, "the device has first-stage page tables");
	dma_iova_alloc_slots(dev, &slots, 8);
	KUNIT_ASSERT_EQ(test, 8, slots.nr);
	for (int i = 0; i < 2 * ARRAY_SIZE(bits); i++) {
		unsigned long attrs = i & 1 ? DMA_ATTR_MMIO : 0;

		KUNIT_ASSERT_TRUE(test, dma_iova_try_slot(dev, &state, &slots,
							  3, phys, SZ_4K));
		KUNIT_ASSERT_EQ(test, 0, dma_iova_link(dev, &state, phys, 0,
						       SZ_4K, i / 2, attrs));
		table = slots.tables[(state.addr - slots.small) / SZ_2M];
		KUNIT_EXPECT_EQ(test, phys | bits[i / 2],
				table[state.addr / SZ_4K % NR_ENTRIES].val &
					(VTD_PAGE_MASK | DMA_PTE_READ |
					 DMA_PTE_WRITE));
		dma_iova_destroy(dev, &state, SZ_4K, i / 2, attrs);
	}
	dma_iova_free_slots(dev, &slots);
}

/* No page table is left for the rest of a mapping: none of it stays mapped. */
static void test_no_table(struct kunit *test)
{
	const unsigned long iova = IOVA + SZ_1G + SZ_4K, size = 3 * SZ_2M;
	struct fail_nth fail = { .count = 1 };
	unsigned long at;

	for (fail.nth = 1; fail.nth <= 4; fail.nth++) {
		atomic_set(&fail.calls, 0);
		KUNIT_ASSERT_EQ(test, 0,
				fail_nth_start(&fail, "pfn_to_dma_pte"));
		KUNIT_EXPECT_EQ(test, -ENOMEM,
				iommu_map(domain, iova, PHYS, size,
					  IOMMU_READ | IOMMU_WRITE,
					  GFP_KERNEL));
		fail_nth_stop(&fail);
		for (at = iova; at < iova + size; at += SZ_4K)
			KUNIT_ASSERT_EQ(test, 0,
					iommu_iova_to_phys(domain, at));
	}
	KUNIT_ASSERT_EQ(test, 0, iommu_map(domain, iova, PHYS, size, IOMMU_READ,
					   GFP_KERNEL));
	for (at = 0; at < size; at += SZ_4K)
		expect_mapped(test, iova + at, PHYS + at);
	KUNIT_EXPECT_EQ(test, size, iommu_unmap(domain, iova, size));
}

static struct kunit_case tables_cases[] = {
	KUNIT_CASE(test_same_table),
	KUNIT_CASE(test_full_table),
	KUNIT_CASE(test_bits),
	KUNIT_CASE(test_flush),
	KUNIT_CASE(test_flush_upper),
	KUNIT_CASE(test_freed_after_flush),
	KUNIT_CASE(test_large_after_flush),
	KUNIT_CASE(test_directions),
	KUNIT_CASE(test_no_table),
	{}
};

static struct kunit_suite tables_suite = {
	.name = "vtd_tables",
	.suite_init = tables_suite_init,
	.suite_exit = tables_suite_exit,
	.test_cases = tables_cases,
};
kunit_test_suite(tables_suite);

MODULE_DESCRIPTION("Page tables of VT-d that are kept, tested");
MODULE_LICENSE("GPL");
