// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit suite of scatterlists with P2P memory, as nvmet and RDMA still map them:
 * alone, and with host memory between.
 */
#include <kunit/test.h>
#include <linux/dma-mapping.h>
#include <linux/iommu.h>
#include <linux/module.h>
#include <linux/pci-p2pdma.h>
#include <linux/scatterlist.h>

#include "pci_by_name.h"

#define MEMORY_SIZE SZ_64K
#define MAX_ENTRIES 6

static char *device, *provider, *p2p = "none";

module_param(device, charp, 0444);
MODULE_PARM_DESC(device, "PCI device to map for, as in 0000:01:00.0");
module_param(provider, charp, 0444);
MODULE_PARM_DESC(provider, "PCI device with P2P memory");
module_param(p2p, charp, 0444);
MODULE_PARM_DESC(p2p, "how that is reached: bus, bridge or none (default)");

static struct pci_dev *drive, *peer;
static struct iommu_domain *domain; /* NULL if nothing translates addresses */
static void *host_memory, *p2p_memory;

static int sg_suite_init(struct kunit_suite *suite)
{
	drive = pci_get_by_name(device);
	peer = pci_get_by_name(provider);
	if (!drive || !peer)
		return -ENODEV;
	domain = iommu_get_domain_for_dev(&drive->dev);
	if (domain && domain->type == IOMMU_DOMAIN_IDENTITY)
		domain = NULL;
	host_memory = alloc_pages_exact(MEMORY_SIZE, GFP_KERNEL);
	p2p_memory = pci_alloc_p2pmem(peer, MEMORY_SIZE);
	return host_memory && p2p_memory ? 0 : -ENOMEM;
}

static void sg_suite_exit(struct kunit_suite *suite)
{
	if (host_memory)
		free_pages_exact(host_memory, MEMORY_SIZE);
	if (p2p_memory)
		pci_free_p2pmem(peer, p2p_memory, MEMORY_SIZE);
	pci_dev_put(peer);
	pci_dev_put(drive);
}

struct sg_case {
	const char *name;
	struct {
		bool p2p;
		unsigned int start;
		unsigned int len;
	} entries[MAX_ENTRIES];
};

static const struct sg_case sg_cases[] = {
	{ "host memory", { { false, 0, 4096 }, { false, 16384, 8192 } } },
	{ "P2P memory", { { true, 0, 4096 } } },
	{ "scattered P2P memory",
	  { { true, 512, 3584 }, { true, 8192, 4096 }, { true, 32768, 512 } } },
	{ "P2P, then host memory", { { true, 0, 8192 }, { false, 0, 4096 } } },
	{ "host, then P2P memory", { { false, 0, 4096 }, { true, 4096, 8192 } } },
	{ "both in turn",
	  { { false, 0, 4096 },
	    { true, 0, 4096 },
	    { true, 12288, 8192 },
	    { false, 8192, 4096 },
	    { true, 40960, 4096 },
	    { false, 20480, 1024 } } },
};

KUNIT_ARRAY_PARAM_DESC(sg_case, sg_cases, name);

static void *entry_memory(const struct sg_case *c, unsigned int i)
{
	return (c->entries[i].p2p ? p2p_memory : host_memory) +
	       c->entries[i].start;
}

static bool has_p2p(const struct sg_case *c)
{
	for (unsigned int i = 0; i < MAX_ENTRIES; i++)
		if (c->entries[i].p2p)
			return true;
	return false;
}

static void make_table(struct kunit *test, struct sg_table *table,
		       const struct sg_case *c)
{
	struct scatterlist *sg;
	unsigned int i, nr = 0;

	while (nr < MAX_ENTRIES && c->entries[nr].len)
		nr++;
	KUNIT_ASSERT_EQ(test, 0, sg_alloc_table(table, nr, GFP_KERNEL));
	for_each_sgtable_sg(table, sg, i) {
		void *kva = entry_memory(c, i);

		sg_set_page(sg, virt_to_page(kva), c->entries[i].len,
			    offset_in_page(kva));
	}
}

static phys_addr_t reached(struct scatterlist *sg, size_t at)
{
	if (!domain || sg_dma_is_bus_address(sg))
		return sg_dma_address(sg) + at;
	return iommu_iova_to_phys(domain, sg_dma_address(sg) + at);
}

/* Byte for byte, whatever entries were joined. */
static void check_mapped(struct kunit *test, struct sg_table *table,
			 const struct sg_case *c)
{
	struct scatterlist *sg = table->sgl;
	unsigned int nr = 1;
	size_t at = 0;

	for (unsigned int i = 0; i < MAX_ENTRIES && c->entries[i].len; i++) {
		phys_addr_t phys = virt_to_phys(entry_memory(c, i));

		for (size_t done = 0; done < c->entries[i].len;
		     done += 512, at += 512) {
			if (at == sg_dma_len(sg)) {
				KUNIT_ASSERT_LT(test, nr++, table->nents);
				sg = sg_next(sg);
				at = 0;
			}
			KUNIT_ASSERT_EQ_MSG(test, phys + done, reached(sg, at),
					    "byte %zu of entry %u", done, i);
			KUNIT_ASSERT_EQ(test, sg_dma_is_bus_address(sg),
					c->entries[i].p2p &&
					!strcmp(p2p, "bus"));
		}
	}
	KUNIT_EXPECT_EQ(test, nr, table->nents);
	KUNIT_EXPECT_EQ(test, at, sg_dma_len(sg));
}

static void test_map_sg(struct kunit *test)
{
	const struct sg_case *c = test->param_value;
	dma_addr_t iovas[MAX_ENTRIES] = {};
	struct scatterlist *sg;
	struct sg_table table;
	unsigned int i;

	make_table(test, &table, c);
	if (has_p2p(c) && !strcmp(p2p, "none")) {
		KUNIT_EXPECT_EQ(test, -EREMOTEIO,
				dma_map_sgtable(&drive->dev, &table,
						DMA_BIDIRECTIONAL, 0));
		goto free;
	}
	KUNIT_ASSERT_EQ(test, 0,
			dma_map_sgtable(&drive->dev, &table,
					DMA_BIDIRECTIONAL, 0));
	check_mapped(test, &table, c);
	for_each_sgtable_dma_sg(&table, sg, i)
		if (!sg_dma_is_bus_address(sg))
			iovas[i] = sg_dma_address(sg);

	dma_unmap_sgtable(&drive->dev, &table, DMA_BIDIRECTIONAL, 0);
	for (i = 0; domain && i < MAX_ENTRIES; i++)
		if (iovas[i])
			KUNIT_EXPECT_EQ(test, 0,
					iommu_iova_to_phys(domain, iovas[i]));
free:
	sg_free_table(&table);
}

static struct kunit_case sg_test_cases[] = {
	KUNIT_CASE_PARAM(test_map_sg, sg_case_gen_params),
	{}
};

static struct kunit_suite sg_suite = {
	.name = "dma_p2p_sg",
	.suite_init = sg_suite_init,
	.suite_exit = sg_suite_exit,
	.test_cases = sg_test_cases,
};
kunit_test_suite(sg_suite);

MODULE_DESCRIPTION("Scatterlists with P2P memory, tested");
MODULE_LICENSE("GPL");
