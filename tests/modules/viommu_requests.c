// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit suite of how many requests to a virtio-iommu await one sync, with a real
 * PCI device behind one.
 */
#include <kunit/test.h>
#include <linux/dma-iova.h>
#include <linux/dma-mapping.h>
#include <linux/iommu.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/virtio.h>
#include <linux/virtio_ids.h>

#include "pci_by_name.h"

#define NR_PAGES 256
/* What may await a sync, with interrupts off, however long the queue is */
#define MAX_WAITING 16

static char *device;
module_param(device, charp, 0444);
MODULE_PARM_DESC(device, "PCI device behind a virtio-iommu, as in 0000:01:00.0");

static unsigned int waiting, most;

/* The probes see the queues of all virtio devices. */
static bool is_iommu(struct pt_regs *regs)
{
	struct virtqueue *vq = (void *)regs_get_kernel_argument(regs, 0);

	return vq->vdev->id.device == VIRTIO_ID_IOMMU;
}

static int request_added(struct kprobe *probe, struct pt_regs *regs)
{
	if (is_iommu(regs))
		most = max(most, ++waiting);
	return 0;
}

static int queue_kicked(struct kprobe *probe, struct pt_regs *regs)
{
	if (is_iommu(regs))
		waiting = 0;
	return 0;
}

static struct kprobe probes[] = {
	{ .symbol_name = "virtqueue_add_sgs", .pre_handler = request_added },
	{ .symbol_name = "virtqueue_kick", .pre_handler = queue_kicked },
};

static void stop_watching(void *unused)
{
	for (int i = 0; i < ARRAY_SIZE(probes); i++)
		unregister_kprobe(&probes[i]);
}

static void watch(struct kunit *test)
{
	struct kprobe *list[] = { &probes[0], &probes[1] };

	KUNIT_ASSERT_EQ(test, 0, register_kprobes(list, ARRAY_SIZE(list)));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, stop_watching,
							   NULL));
}

/* Far more pages than a batch has are mapped and unmapped before one sync each. */
static void test_bounded(struct kunit *test)
{
	struct pci_dev *pdev = pci_get_by_name(device);
	struct iommu_iotlb_gather gather;
	struct dma_iova_state state = {};
	struct iommu_domain *domain;
	phys_addr_t phys;
	void *memory;

	KUNIT_ASSERT_NOT_NULL(test, pdev);
	domain = iommu_get_domain_for_dev(&pdev->dev);
	memory = kunit_kzalloc(test, PAGE_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, memory);
	phys = virt_to_phys(memory);
	KUNIT_ASSERT_TRUE(test, dma_iova_try_alloc(&pdev->dev, &state, phys,
						   NR_PAGES * PAGE_SIZE));
	watch(test);
	for (int i = 0; i < NR_PAGES; i++)
		KUNIT_ASSERT_EQ(test, 0,
				iommu_map_nosync(domain,
						 state.addr + i * PAGE_SIZE,
						 phys, PAGE_SIZE, IOMMU_READ,
						 GFP_KERNEL));
	KUNIT_EXPECT_GT(test, most, 1);
	KUNIT_EXPECT_LE(test, most, MAX_WAITING);
	KUNIT_EXPECT_EQ(test, 0, iommu_sync_map(domain, state.addr,
						NR_PAGES * PAGE_SIZE));
	for (int i = 0; i < NR_PAGES; i++)
		KUNIT_EXPECT_EQ(test, phys,
				iommu_iova_to_phys(domain,
						   state.addr + i * PAGE_SIZE));

	most = 0;
	iommu_iotlb_gather_init(&gather);
	for (int i = 0; i < NR_PAGES; i++)
		KUNIT_EXPECT_EQ(test, PAGE_SIZE,
				iommu_unmap_fast(domain,
						 state.addr + i * PAGE_SIZE,
						 PAGE_SIZE, &gather));
	KUNIT_EXPECT_GT(test, most, 1);
	KUNIT_EXPECT_LE(test, most, MAX_WAITING);
	iommu_iotlb_sync(domain, &gather);
	dma_iova_free(&pdev->dev, &state);
	pci_dev_put(pdev);
}

static struct kunit_case requests_cases[] = {
	KUNIT_CASE(test_bounded),
	{}
};

static struct kunit_suite requests_suite = {
	.name = "viommu_requests",
	.test_cases = requests_cases,
};
kunit_test_suite(requests_suite);

MODULE_DESCRIPTION("Requests to a virtio-iommu that await one sync, tested");
MODULE_LICENSE("GPL");
