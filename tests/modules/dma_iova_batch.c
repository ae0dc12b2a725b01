// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit suite of IOVAs kept in slots and of IOTLB syncs shared by transfers,
 * with a real PCI device behind an IOMMU whose driver is watched.
 */
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/dma-iova-batch.h>
#include <linux/dma-mapping.h>
#include <linux/iommu.h>
#include <linux/kprobes.h>
#include <linux/module.h>

#include "fail_nth.h"
#include "pci_by_name.h"

/* Two to a block of IOVAs, so that the blocks are more than a batch holds */
#define SLOTS_APART 8
#define NR_IN_SLOTS (2 * DMA_IOVA_BATCH_RANGES + 8)
#define NR_TRANSFERS (NR_IN_SLOTS + 4)
#define NR_SLOTS (NR_IN_SLOTS * SLOTS_APART)
/* Slots of an NVMe queue, and more of them than there is room for below 4 GiB */
#define NR_OF_QUEUE 1023
#define NR_QUEUES 256

static char *device;
module_param(device, charp, 0444);
MODULE_PARM_DESC(device, "PCI device to map for, as in 0000:01:00.0");

static char *other;
module_param(other, charp, 0444);
MODULE_PARM_DESC(other, "one that has another domain");

static struct pci_dev *pdev;
static struct device *dev;
static struct iommu_domain *domain;
static struct dma_iova_slots slots;
static void *memory;

static int batch_suite_init(struct kunit_suite *suite)
{
	pdev = pci_get_by_name(device);
	if (!pdev)
		return -ENODEV;
	dev = &pdev->dev;
	domain = iommu_get_domain_for_dev(dev);
	memory = alloc_pages_exact(DMA_IOVA_SLOT_SIZE, GFP_KERNEL);
	if (!memory || !dma_iova_can_batch(dev))
		return -EINVAL;
	dma_iova_alloc_slots(dev, &slots, NR_SLOTS);
	return slots.nr == NR_SLOTS ? 0 : -ENOSPC;
}

static void batch_suite_exit(struct kunit_suite *suite)
{
	if (memory)
		free_pages_exact(memory, DMA_IOVA_SLOT_SIZE);
	if (pdev)
		dma_iova_free_slots(dev, &slots);
	pci_dev_put(pdev);
}

static size_t granule(void)
{
	return 1UL << __ffs(domain->pgsize_bitmap);
}

static bool map_sync_is_idle(void)
{
	return domain->sync_map_idle || !domain->ops->iotlb_sync_map;
}

/* In a domain with a flush queue, slots are for one granule each, in turns. */
static void skip_in_turns(struct kunit *test)
{
	if (slots.turns)
		kunit_skip(test, "this domain has a flush queue");
}

static void expect_place(struct kunit *test, struct dma_iova_state *state,
			 unsigned int index, size_t pad, size_t size)
{
	dma_addr_t first = slots.large + index * DMA_IOVA_SLOT_SIZE;

	KUNIT_EXPECT_EQ(test, size, dma_iova_size(state));
	if (pad + size <= granule()) {
		KUNIT_EXPECT_EQ(test, state->addr,
				slots.small + index * granule() + pad);
		return;
	}
	KUNIT_EXPECT_EQ(test, pad, state->addr % granule());
	KUNIT_EXPECT_GE(test, state->addr, first);
	KUNIT_EXPECT_LE(test, state->addr + size, first + DMA_IOVA_SLOT_SIZE);
}

/* A slot holds what fits it, granule for granule, and nothing beyond it. */
static void test_slot_place(struct kunit *test)
{
	static const unsigned int indexes[] = { 0, 1, 31, 32, NR_SLOTS - 1 };
	static const size_t pads[] = { 0, 1, 512, 4095 };
	static const size_t sizes[] = {
		1, 4096, 4097, SZ_64K, DMA_IOVA_SLOT_SIZE - 4095,
		DMA_IOVA_SLOT_SIZE - 512, DMA_IOVA_SLOT_SIZE - 1,
		DMA_IOVA_SLOT_SIZE, DMA_IOVA_SLOT_SIZE + 1,
	};
	struct dma_iova_state state;

	skip_in_turns(test);
	KUNIT_ASSERT_GE(test, slots.large,
			slots.small + NR_SLOTS * granule());
	for (int i = 0; i < ARRAY_SIZE(indexes) * ARRAY_SIZE(pads) *
			ARRAY_SIZE(sizes); i++) {
		unsigned int index = indexes[i % ARRAY_SIZE(indexes)];
		size_t pad = pads[i / ARRAY_SIZE(indexes) % ARRAY_SIZE(pads)];
		size_t size = sizes[i / ARRAY_SIZE(indexes) / ARRAY_SIZE(pads)];
		bool fits = pad + size <= DMA_IOVA_SLOT_SIZE;

		KUNIT_ASSERT_EQ(test, fits,
				dma_iova_try_slot(dev, &state, &slots, index,
						  virt_to_phys(memory) + pad,
						  size));
		if (fits)
			expect_place(test, &state, index, pad, size);
	}
	KUNIT_EXPECT_FALSE(test, dma_iova_try_slot(dev, &state, &slots,
						   NR_SLOTS, 0, 1));
	KUNIT_EXPECT_FALSE(test, dma_iova_try_slot(dev, &state, NULL, 0, 0, 1));
}

/* Each granule of @state is mapped to that of @phys; then it is unmapped again. */
static void link_all(struct kunit *test, struct dma_iova_state *state,
		     phys_addr_t phys, size_t size)
{
	KUNIT_ASSERT_EQ(test, 0, dma_iova_link(dev, state, phys, 0, size,
					       DMA_TO_DEVICE, 0));
	KUNIT_ASSERT_EQ(test, 0, dma_iova_sync(dev, state, 0, size));
	for (size_t at = 0; at < size; at += granule())
		KUNIT_ASSERT_EQ(test, phys + at,
				iommu_iova_to_phys(domain, state->addr + at));
	dma_iova_destroy(dev, state, size, DMA_TO_DEVICE, 0);
	KUNIT_ASSERT_EQ(test, 0, iommu_iova_to_phys(domain, state->addr));
	KUNIT_ASSERT_EQ(test, 0, iommu_iova_to_phys(domain, state->addr + size -
								    granule()));
}

/* Wherever in memory: within the slot, and aligned as the memory is as far as there is room. */
static void test_slot_as_memory(struct kunit *test)
{
	phys_addr_t base = ALIGN(virt_to_phys(memory), DMA_IOVA_SLOT_SIZE);
	struct dma_iova_state state;
	size_t at, size, mask;

	skip_in_turns(test);
	if (!slots.as_memory)
		kunit_skip(test, "no page sizes fit in a slot");
	for (at = 0; at < DMA_IOVA_SLOT_SIZE; at += granule())
		for (size = 2 * granule(); size <= DMA_IOVA_SLOT_SIZE;
		     size += granule()) {
			phys_addr_t phys = base + at;

			KUNIT_ASSERT_TRUE(test, dma_iova_try_slot(dev, &state,
								  &slots, 1,
								  phys, size));
			expect_place(test, &state, 1, 0, size);
			mask = DMA_IOVA_SLOT_SIZE - 1;
			while ((at & mask) + size > DMA_IOVA_SLOT_SIZE)
				mask >>= 1;
			KUNIT_ASSERT_EQ(test, at & mask, state.addr & mask);
			link_all(test, &state, phys, size);
		}
}

static bool low_first;

static void restore_low_first(void *unused)
{
	dev->iommu->pci_32bit_workaround = low_first;
}

/* Whether the device is to have addresses below 4 GiB first, for this test. */
static void set_low_first(struct kunit *test, bool value)
{
	low_first = dev->iommu->pci_32bit_workaround;
	dev->iommu->pci_32bit_workaround = value;
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, restore_low_first,
						  NULL));
}

static u64 end_of_slots(const struct dma_iova_slots *s)
{
	if (s->large)
		return s->large + (u64)s->nr * DMA_IOVA_SLOT_SIZE;
	return s->small + (u64)s->nr * granule() *
				  (s->turns ? DMA_IOVA_SLOT_TURNS : 1);
}

/* As many queues as find slots below 4 GiB; their slots are freed again. */
static unsigned int fill_low(struct kunit *test, struct dma_iova_slots *queues,
			     u64 *bytes)
{
	struct dma_iova_state state;
	unsigned int nr;

	*bytes = 0;
	for (nr = 0; nr < NR_QUEUES; nr++) {
		struct dma_iova_slots *queue = &queues[nr];

		dma_iova_alloc_slots(dev, queue, NR_OF_QUEUE);
		if (!queue->nr)
			break;
		*bytes += end_of_slots(queue) - queue->small;
		KUNIT_EXPECT_LE(test, end_of_slots(queue), SZ_4G);
		if (queue->large)
			KUNIT_EXPECT_LE(test, *bytes, SZ_1G / 2);
	}
	/* that did not use up what others look for there */
	KUNIT_EXPECT_TRUE(test, dma_iova_try_alloc(dev, &state, 0, SZ_1M));
	KUNIT_EXPECT_LT(test, state.addr, SZ_4G);
	KUNIT_EXPECT_TRUE(test, dev->iommu->pci_32bit_workaround);
	dma_iova_free(dev, &state);
	for (int i = 0; i < nr; i++)
		dma_iova_free_slots(dev, &queues[i]);
	return nr;
}

/* A device that may have no wires for addresses of more than 32 bits. */
static void test_slots_low(struct kunit *test)
{
	struct dma_iova_slots *queues = kunit_kcalloc(test, NR_QUEUES,
						      sizeof(*queues),
						      GFP_KERNEL);
	unsigned int nr;
	u64 bytes;

	KUNIT_ASSERT_NOT_NULL(test, queues);
	set_low_first(test, true);
	nr = fill_low(test, queues, &bytes);
	KUNIT_EXPECT_GT(test, nr, 0);
	KUNIT_EXPECT_LT(test, nr, NR_QUEUES);
	KUNIT_EXPECT_LE(test, bytes, SZ_1G);
	kunit_info(test, "%u queues have slots below 4 GiB, %llu MiB", nr,
		   bytes / SZ_1M);
	KUNIT_EXPECT_EQ(test, nr, fill_low(test, queues, &bytes));
}

static void test_slots_high(struct kunit *test)
{
	struct dma_iova_slots queue;

	set_low_first(test, false);
	dma_iova_alloc_slots(dev, &queue, NR_OF_QUEUE);
	KUNIT_EXPECT_EQ(test, NR_OF_QUEUE, queue.nr);
	KUNIT_EXPECT_GE(test, queue.small, SZ_4G);
	KUNIT_EXPECT_NE(test, !queue.large, !queue.turns);
	dma_iova_free_slots(dev, &queue);
}

static unsigned int nr_freed;

static int count_freed(struct kprobe *probe, struct pt_regs *regs)
{
	nr_freed++;
	return 0;
}

/* One granule for @of in slot @index of @in, another one of memory each time. */
static void link_unsynced(struct kunit *test, struct device *of,
			  struct dma_iova_slots *in,
			  struct dma_iova_state *state, unsigned int index)
{
	static unsigned int times;
	phys_addr_t phys = virt_to_phys(memory) +
			   times++ * granule() % DMA_IOVA_SLOT_SIZE;

	KUNIT_ASSERT_TRUE(test, dma_iova_try_slot(of, state, in, index, phys,
						  granule()));
	KUNIT_ASSERT_EQ(test, 0, dma_iova_link(of, state, phys, 0, granule(),
					       DMA_TO_DEVICE, 0));
	KUNIT_EXPECT_EQ(test, phys,
			iommu_iova_to_phys(iommu_get_domain_for_dev(of),
					   state->addr));
}

static void link_granule(struct kunit *test, struct dma_iova_state *state,
			 unsigned int index)
{
	link_unsynced(test, dev, &slots, state, index);
	KUNIT_ASSERT_EQ(test, 0, dma_iova_sync(dev, state, 0, granule()));
}

static void destroy_granule(struct dma_iova_state *state)
{
	dma_iova_destroy(dev, state, granule(), DMA_TO_DEVICE, 0);
}

/* The IOVAs of a transfer that ends by itself stay its slot's. */
static void test_slot_kept(struct kunit *test)
{
	struct kprobe probe = {
		.symbol_name = "iommu_dma_free_iova",
		.pre_handler = count_freed,
	};
	struct dma_iova_state state;

	link_granule(test, &state, 0);

	KUNIT_ASSERT_EQ(test, 0, register_kprobe(&probe));
	destroy_granule(&state);
	unregister_kprobe(&probe);
	KUNIT_EXPECT_EQ(test, 0, nr_freed);
}

/* Flushes of the whole IOTLB, that have begun and that have ended */
static atomic_t begun, ended;

static int flush_begins(struct kretprobe_instance *call, struct pt_regs *regs)
{
	atomic_inc(&begun);
	return 0;
}

static int flush_ends(struct kretprobe_instance *call, struct pt_regs *regs)
{
	atomic_inc(&ended);
	return 0;
}

static struct kretprobe flushes = {
	.kp.symbol_name = "fq_flush_iotlb",
	.entry_handler = flush_begins,
	.handler = flush_ends,
	.maxactive = 64,
};

static void stop_watching_flushes(void *unused)
{
	unregister_kretprobe(&flushes);
}

static void watch_flushes(struct kunit *test)
{
	if (!slots.turns)
		kunit_skip(test, "this domain has no flush queue");
	memset(&flushes.kp.flags, 0, sizeof(flushes.kp.flags));
	flushes.kp.addr = NULL;
	KUNIT_ASSERT_EQ(test, 0, register_kretprobe(&flushes));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, stop_watching_flushes,
						  NULL));
}

/* A granule is used again only after a flush that began when it was unmapped. */
static void test_turns(struct kunit *test)
{
	int free_after[DMA_IOVA_SLOT_TURNS];
	struct dma_iova_state state;
	unsigned int turn, taken = 0, refused = 0;

	watch_flushes(test);
	/* a drive with 64 queues has 64 thousand of them */
	KUNIT_EXPECT_LE(test, sizeof(*slots.turns), 32);
	for (int i = 0; i < DMA_IOVA_SLOT_TURNS; i++)
		free_after[i] = -1;
	for (int i = 0; i < 4096; i++) {
		if (!dma_iova_try_slot(dev, &state, &slots, 1,
				       virt_to_phys(memory), granule())) {
			refused++;
			continue;
		}
		taken++;
		turn = (state.addr - slots.small) / granule() / NR_SLOTS;
		KUNIT_ASSERT_LT(test, turn, DMA_IOVA_SLOT_TURNS);
		KUNIT_ASSERT_EQ(test, state.addr,
				slots.small +
					(turn * NR_SLOTS + 1) * granule());
		KUNIT_ASSERT_GT(test, atomic_read(&ended), free_after[turn]);
		KUNIT_ASSERT_EQ(test, 0,
				dma_iova_link(dev, &state, virt_to_phys(memory),
					      0, granule(), DMA_TO_DEVICE, 0));
		destroy_granule(&state);
		free_after[turn] = atomic_read(&begun);
	}
	KUNIT_EXPECT_GE(test, taken, 4096 / 256 * DMA_IOVA_SLOT_TURNS);
	KUNIT_EXPECT_GT(test, refused, 0);
	KUNIT_EXPECT_FALSE(test, dma_iova_try_slot(dev, &state, &slots, 2,
						   virt_to_phys(memory),
						   granule() + 1));
}

/* The numbers of a slot that was idle for so many flushes look like the future. */
static void test_turns_idle(struct kunit *test)
{
	struct dma_iova_state state;
	unsigned int taken = 0;

	watch_flushes(test);
	for (int i = 0; i < DMA_IOVA_SLOT_TURNS; i++)
		slots.turns[20].flush[i] += 20000;
	for (int i = 0; i < 1024; i++) {
		if (!dma_iova_try_slot(dev, &state, &slots, 20,
				       virt_to_phys(memory), granule()))
			continue;
		taken++;
		dma_iova_free(dev, &state);
	}
	KUNIT_EXPECT_GT(test, taken, DMA_IOVA_SLOT_TURNS);
}

static void expect_flush(struct kunit *test, int before)
{
	for (int i = 0; i < 50 && atomic_read(&begun) == before; i++)
		msleep(20);
	KUNIT_EXPECT_GT(test, atomic_read(&begun), before);
}

/* What is unmapped is flushed before long, though nothing asks for a slot. */
static void test_turns_end(struct kunit *test)
{
	struct dma_iova_batch batch;
	struct dma_iova_state state;
	int before;

	watch_flushes(test);
	link_granule(test, &state, 3);
	before = atomic_read(&begun);
	destroy_granule(&state);
	expect_flush(test, before);

	link_granule(test, &state, 3);
	before = atomic_read(&begun);
	dma_iova_batch_init(&batch);
	dma_iova_batch_unlink(&batch, dev, &state, granule(), DMA_TO_DEVICE, 0);
	KUNIT_EXPECT_FALSE(test, dma_use_iova(&state));
	dma_iova_batch_sync_unlinked(&batch);
	KUNIT_EXPECT_EQ(test, 0, iommu_iova_to_phys(domain, state.addr));
	expect_flush(test, before);
}

/* Whoever gets the IOVAs of slots that are freed finds nothing of them in the IOTLB. */
static void test_turns_freed(struct kunit *test)
{
	struct dma_iova_state state;
	struct dma_iova_slots queue;
	int before;

	watch_flushes(test);
	dma_iova_alloc_slots(dev, &queue, 8);
	KUNIT_ASSERT_EQ(test, 8, queue.nr);
	KUNIT_ASSERT_TRUE(test, dma_iova_try_slot(dev, &state, &queue, 3,
						  virt_to_phys(memory),
						  granule()));
	KUNIT_ASSERT_EQ(test, 0, dma_iova_link(dev, &state, virt_to_phys(memory),
					       0, granule(), DMA_TO_DEVICE, 0));
	destroy_granule(&state);
	before = atomic_read(&begun);
	dma_iova_free_slots(dev, &queue);
	KUNIT_EXPECT_GT(test, atomic_read(&begun), before);
}

static unsigned int nr_unmapped;

static int count_unmapped(struct kprobe *probe, struct pt_regs *regs)
{
	nr_unmapped++;
	return 0;
}

/* Neighbours are unmapped as one, and nothing that lies between others. */
static void test_unmap_runs(struct kunit *test)
{
	static const unsigned int order[] = { 0, 5, 2, 4, 6, 15, 10, 14 };
	static const unsigned int runs = 5;
	struct kprobe probe = { .pre_handler = count_unmapped };
	struct dma_iova_state states[16];
	struct dma_iova_batch batch;
	unsigned long unlinked = 0;

	for (int i = 0; i < ARRAY_SIZE(states); i++)
		link_granule(test, &states[i], i);
	if (slots.tables)
		probe.addr = (void *)domain->ops->unmap_in_table;
	else
		probe.symbol_name = "iommu_unmap_fast";
	KUNIT_ASSERT_EQ(test, 0, register_kprobe(&probe));
	dma_iova_batch_init(&batch);
	for (int i = 0; i < ARRAY_SIZE(order); i++) {
		unlinked |= BIT(order[i]);
		dma_iova_batch_unlink(&batch, dev, &states[order[i]], granule(),
				      DMA_TO_DEVICE, 0);
	}
	dma_iova_batch_sync_unlinked(&batch);
	unregister_kprobe(&probe);
	if (!slots.turns)
		KUNIT_EXPECT_EQ(test, runs, nr_unmapped);
	for (int i = 0; i < ARRAY_SIZE(states); i++) {
		bool mapped = iommu_iova_to_phys(domain, states[i].addr);

		KUNIT_EXPECT_EQ(test, mapped, !(unlinked & BIT(i)));
		if (mapped)
			destroy_granule(&states[i]);
	}
}

/* All of slot @index, which is large. */
static void link_large(struct kunit *test, struct dma_iova_state *state,
		       unsigned int index)
{
	phys_addr_t phys = virt_to_phys(memory);

	KUNIT_ASSERT_TRUE(test, dma_iova_try_slot(dev, state, &slots, index,
						  phys, DMA_IOVA_SLOT_SIZE));
	KUNIT_ASSERT_EQ(test, 0, dma_iova_link(dev, state, phys, 0,
					       DMA_IOVA_SLOT_SIZE,
					       DMA_TO_DEVICE, 0));
	KUNIT_ASSERT_EQ(test, 0, dma_iova_sync(dev, state, 0,
					       DMA_IOVA_SLOT_SIZE));
	KUNIT_EXPECT_EQ(test, phys + DMA_IOVA_SLOT_SIZE - granule(),
			iommu_iova_to_phys(domain, state->addr +
					   DMA_IOVA_SLOT_SIZE - granule()));
}

/*
 * All slots that one page table maps end in one batch, as one run. The table
 * stays: those who use the slots next find their entries there.
 */
static void test_full_block(struct kunit *test)
{
	static const unsigned int nr_large =
		(SZ_2M - NR_SLOTS * SZ_4K) / DMA_IOVA_SLOT_SIZE;
	struct dma_iova_state *states = kunit_kcalloc(test, NR_SLOTS + nr_large,
						      sizeof(*states),
						      GFP_KERNEL);
	struct dma_iova_batch batch;

	KUNIT_ASSERT_NOT_NULL(test, states);
	skip_in_turns(test);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < NR_SLOTS; i++)
			link_granule(test, &states[i], i);
		for (int i = 0; i < nr_large; i++)
			link_large(test, &states[NR_SLOTS + i], i);
		dma_iova_batch_init(&batch);
		for (int i = 0; i < NR_SLOTS + nr_large; i++)
			dma_iova_batch_unlink(&batch, dev, &states[i],
					      i < NR_SLOTS ? granule() :
							     DMA_IOVA_SLOT_SIZE,
					      DMA_TO_DEVICE, 0);
		KUNIT_EXPECT_EQ(test, 1, batch.nr_runs);
		KUNIT_EXPECT_EQ(test, SZ_2M - 1,
				batch.runs[0].end - batch.runs[0].start);
		dma_iova_batch_sync_unlinked(&batch);
		for (int i = 0; i < NR_SLOTS + nr_large; i++)
			KUNIT_EXPECT_EQ(test, 0,
					iommu_iova_to_phys(domain,
							   states[i].addr));
	}
}

/* Without memory for a page table there is no slot; later there is. */
static void test_no_table(struct kunit *test)
{
	struct fail_nth fail = { .nth = 1, .count = 1, .value = 0 };
	struct dma_iova_state state;
	struct dma_iova_slots queue;
	char function[64];

	if (!slots.tables)
		kunit_skip(test, "this IOMMU's driver keeps no page tables");
	dma_iova_alloc_slots(dev, &queue, 8);
	KUNIT_ASSERT_EQ(test, 8, queue.nr);
	snprintf(function, sizeof(function), "%ps", domain->ops->keep_table);
	KUNIT_ASSERT_EQ(test, 0, fail_nth_start(&fail, function));
	KUNIT_EXPECT_FALSE(test, dma_iova_try_slot(dev, &state, &queue, 1, 0,
						   granule()));
	KUNIT_EXPECT_TRUE(test, dma_iova_try_slot(dev, &state, &queue, 1, 0,
						  granule()));
	fail_nth_stop(&fail);
	KUNIT_EXPECT_EQ(test, 2, atomic_read(&fail.calls));
	dma_iova_free(dev, &state);
	dma_iova_free_slots(dev, &queue);
}

/* What the driver of the IOMMU is asked to sync; @first is the argument that has it */
struct watch {
	struct kprobe probe;
	unsigned int first;
	unsigned int nr;
	struct iommu_iotlb_range ranges[2 * NR_TRANSFERS];
	struct iommu_domain *domains[2 * NR_TRANSFERS]; /* of the ranges */
};

static int watch_call(struct kprobe *probe, struct pt_regs *regs)
{
	struct watch *watch = container_of(probe, struct watch, probe);
	struct iommu_iotlb_range *ranges =
		(void *)regs_get_kernel_argument(regs, watch->first);
	unsigned int nr = regs_get_kernel_argument(regs, watch->first + 1);

	while (nr-- && watch->nr < ARRAY_SIZE(watch->ranges)) {
		watch->domains[watch->nr] =
			(void *)regs_get_kernel_argument(regs, 0);
		watch->ranges[watch->nr++] = *ranges++;
	}
	return 0;
}

static void watch_stop(void *data)
{
	struct watch *watch = data;

	unregister_kprobe(&watch->probe);
}

static struct watch *watch_start(struct kunit *test, void *function,
				 unsigned int first)
{
	struct watch *watch = kunit_kzalloc(test, sizeof(*watch), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, watch);
	watch->probe.addr = function;
	watch->probe.pre_handler = watch_call;
	watch->first = first;
	KUNIT_ASSERT_EQ(test, 0, register_kprobe(&watch->probe));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, watch_stop,
							   watch));
	return watch;
}

/* Transfers of two granules that each begins and ends inside */
struct transfer {
	struct dma_iova_state state;
	dma_addr_t addr;
	bool in_slot;
};

static size_t transfer_size(void)
{
	return granule() + 512;
}

static struct transfer *link_transfers(struct kunit *test)
{
	struct transfer *transfers = kunit_kcalloc(test, NR_TRANSFERS,
						   sizeof(*transfers),
						   GFP_KERNEL);
	phys_addr_t phys = virt_to_phys(memory) + granule() - 256;

	KUNIT_ASSERT_NOT_NULL(test, transfers);
	skip_in_turns(test);
	for (int i = 0; i < NR_TRANSFERS; i++) {
		struct transfer *t = &transfers[i];

		t->in_slot = i < NR_IN_SLOTS;
		if (t->in_slot)
			KUNIT_ASSERT_TRUE(test, dma_iova_try_slot(dev,
					&t->state, &slots, i * SLOTS_APART,
					phys, transfer_size()));
		else
			KUNIT_ASSERT_TRUE(test, dma_iova_try_alloc(dev,
					&t->state, phys, transfer_size()));
		t->addr = t->state.addr;
		KUNIT_ASSERT_EQ(test, 0, dma_iova_link(dev, &t->state, phys, 0,
						       transfer_size(),
						       DMA_TO_DEVICE, 0));
		KUNIT_EXPECT_EQ(test, phys,
				iommu_iova_to_phys(domain, t->addr));
	}
	return transfers;
}

static void expect_covered(struct kunit *test, const struct watch *watch,
			   const struct transfer *t)
{
	unsigned long start = round_down(t->addr, granule());
	unsigned long end = round_up(t->addr + transfer_size(), granule()) - 1;

	for (int i = 0; i < watch->nr; i++)
		if (watch->ranges[i].start <= start &&
		    watch->ranges[i].end >= end)
			return;
	KUNIT_FAIL(test, "%lx to %lx not synced", start, end);
}

static void destroy(struct transfer *t)
{
	dma_iova_destroy(dev, &t->state, transfer_size(), DMA_TO_DEVICE, 0);
}

static void test_map_batch(struct kunit *test)
{
	struct transfer *transfers;
	struct dma_iova_batch batch;
	struct watch *watch;

	if (!domain->ops->iotlb_sync_map_ranges)
		kunit_skip(test, "this IOMMU's driver syncs no mapping");
	watch = watch_start(test, domain->ops->iotlb_sync_map_ranges, 1);
	transfers = link_transfers(test);
	dma_iova_batch_init(&batch);
	for (int i = 0; i < NR_TRANSFERS; i++)
		KUNIT_EXPECT_EQ(test, 0,
				dma_iova_batch_sync_later(&batch, dev,
							  &transfers[i].state,
							  transfer_size()));
	KUNIT_EXPECT_EQ(test, 0, dma_iova_batch_sync(&batch));
	KUNIT_EXPECT_TRUE(test, dma_iova_batch_is_empty(&batch));
	if (map_sync_is_idle())
		KUNIT_EXPECT_EQ(test, 0, watch->nr);
	else
		for (int i = 0; i < NR_TRANSFERS; i++)
			expect_covered(test, watch, &transfers[i]);
	for (int i = 0; i < NR_TRANSFERS; i++)
		destroy(&transfers[i]);
}

/* The sync that a full batch makes early fails: that is told at the end, once. */
static void test_map_batch_fails(struct kunit *test)
{
	struct fail_nth fail = { .nth = 1, .count = 1, .value = -EIO };
	struct transfer *transfers;
	struct dma_iova_batch batch;
	char function[64];

	if (map_sync_is_idle())
		kunit_skip(test, "this IOMMU needs no sync of mapping");
	snprintf(function, sizeof(function), "%ps",
		 domain->ops->iotlb_sync_map_ranges);
	transfers = link_transfers(test);
	dma_iova_batch_init(&batch);
	KUNIT_ASSERT_EQ(test, 0, fail_nth_start(&fail, function));
	for (int i = 0; i < NR_TRANSFERS; i++)
		dma_iova_batch_sync_later(&batch, dev, &transfers[i].state,
					  transfer_size());
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&fail.calls));
	KUNIT_EXPECT_EQ(test, -EIO, dma_iova_batch_sync(&batch));
	dma_iova_batch_sync_later(&batch, dev, &transfers[0].state,
				  transfer_size());
	KUNIT_EXPECT_EQ(test, 0, dma_iova_batch_sync(&batch));
	fail_nth_stop(&fail);
	for (int i = 0; i < NR_TRANSFERS; i++)
		destroy(&transfers[i]);
}

/* IOVAs that the device may still reach are nobody else's. */
static void expect_not_free(struct kunit *test, const struct transfer *t)
{
	struct dma_iova_state others[8];

	for (int i = 0; i < ARRAY_SIZE(others); i++) {
		KUNIT_ASSERT_TRUE(test, dma_iova_try_alloc(dev, &others[i],
							   t->addr,
							   transfer_size()));
		KUNIT_EXPECT_NE(test, t->addr, others[i].addr);
	}
	for (int i = 0; i < ARRAY_SIZE(others); i++)
		dma_iova_free(dev, &others[i]);
}

static void test_unmap_batch(struct kunit *test)
{
	struct watch *watch = watch_start(test, domain->ops->iotlb_sync_ranges,
					  2);
	struct transfer *transfers = link_transfers(test);
	struct dma_iova_batch batch;

	dma_iova_batch_init(&batch);
	for (int i = 0; i < NR_TRANSFERS; i++) {
		struct transfer *t = &transfers[i];

		KUNIT_ASSERT_EQ(test, 0, dma_iova_sync(dev, &t->state, 0,
						       transfer_size()));
		dma_iova_batch_unlink(&batch, dev, &t->state, transfer_size(),
				      DMA_TO_DEVICE, 0);
		KUNIT_EXPECT_EQ(test, !t->in_slot, dma_use_iova(&t->state));
	}
	expect_not_free(test, &transfers[NR_TRANSFERS - 1]);
	dma_iova_batch_sync_unlinked(&batch);
	KUNIT_EXPECT_TRUE(test, dma_iova_batch_is_empty(&batch));
	for (int i = 0; i < NR_TRANSFERS; i++) {
		struct transfer *t = &transfers[i];

		expect_covered(test, watch, t);
		KUNIT_EXPECT_EQ(test, 0, iommu_iova_to_phys(domain, t->addr));
		KUNIT_EXPECT_EQ(test, 0,
				iommu_iova_to_phys(domain, t->addr +
						   transfer_size() - 1));
		if (!t->in_slot)
			destroy(t);
	}
}

static void expect_synced(struct kunit *test, const struct watch *watch,
			  struct iommu_domain *in, dma_addr_t addr)
{
	for (int i = 0; i < watch->nr; i++)
		if (watch->domains[i] == in && watch->ranges[i].start <= addr &&
		    watch->ranges[i].end >= addr + granule() - 1)
			return;
	KUNIT_FAIL(test, "%pad not synced in its domain", &addr);
}

/*
 * A polled ring of two drives ends requests of both in one batch. Here are two
 * of each, in turns: they are mapped and cut off in the domain of their drive.
 */
static void expect_two_domains(struct kunit *test, struct device *devs[2],
			       struct dma_iova_slots *in[2])
{
	struct dma_iova_state states[4];
	struct dma_iova_batch batch;
	struct iommu_domain *of;
	struct watch *mapped = NULL, *unmapped;

	unmapped = watch_start(test, domain->ops->iotlb_sync_ranges, 2);
	if (!map_sync_is_idle())
		mapped = watch_start(test, domain->ops->iotlb_sync_map_ranges,
				     1);
	dma_iova_batch_init(&batch);
	for (int i = 0; i < ARRAY_SIZE(states); i++) {
		link_unsynced(test, devs[i % 2], in[i % 2], &states[i], i / 2);
		KUNIT_EXPECT_EQ(test, 0,
				dma_iova_batch_sync_later(&batch, devs[i % 2],
							  &states[i],
							  granule()));
	}
	KUNIT_EXPECT_EQ(test, 0, dma_iova_batch_sync(&batch));
	dma_iova_batch_init(&batch);
	for (int i = 0; i < ARRAY_SIZE(states); i++)
		dma_iova_batch_unlink(&batch, devs[i % 2], &states[i],
				      granule(), DMA_TO_DEVICE, 0);
	dma_iova_batch_sync_unlinked(&batch);
	for (int i = 0; i < ARRAY_SIZE(states); i++) {
		of = iommu_get_domain_for_dev(devs[i % 2]);
		KUNIT_EXPECT_EQ(test, 0,
				iommu_iova_to_phys(of, states[i].addr));
		expect_synced(test, unmapped, of, states[i].addr);
		if (mapped)
			expect_synced(test, mapped, of, states[i].addr);
	}
}

static void test_two_domains(struct kunit *test)
{
	struct dma_iova_slots of_second;
	struct pci_dev *second;

	skip_in_turns(test);
	second = other ? pci_get_by_name(other) : NULL;
	if (!second || iommu_get_domain_for_dev(&second->dev) == domain) {
		pci_dev_put(second);
		kunit_skip(test, "no device with another domain");
	}
	dma_iova_alloc_slots(&second->dev, &of_second, 8);
	KUNIT_EXPECT_EQ(test, 8, of_second.nr);
	expect_two_domains(test, (struct device *[]){ dev, &second->dev },
			   (struct dma_iova_slots *[]){ &slots, &of_second });
	dma_iova_free_slots(&second->dev, &of_second);
	pci_dev_put(second);
}

static bool by_page;

static void restore_by_page(void *unused)
{
	domain->sync_by_page = by_page;
}

/* Where each page that is synced costs a command, no other page is. */
static void test_by_page(struct kunit *test)
{
	static const unsigned int indexes[] = { 0, 1, 2, 5, 9 };
	struct dma_iova_state states[ARRAY_SIZE(indexes)];
	struct dma_iova_batch batch;
	struct watch *watch;
	u64 size = 0;

	skip_in_turns(test);
	watch = watch_start(test, domain->ops->iotlb_sync_ranges, 2);
	by_page = domain->sync_by_page;
	domain->sync_by_page = true;
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, restore_by_page, NULL));
	dma_iova_batch_init(&batch);
	for (int i = 0; i < ARRAY_SIZE(indexes); i++) {
		link_granule(test, &states[i], indexes[i]);
		dma_iova_batch_unlink(&batch, dev, &states[i], granule(),
				      DMA_TO_DEVICE, 0);
	}
	dma_iova_batch_sync_unlinked(&batch);
	KUNIT_EXPECT_EQ(test, 3, watch->nr);
	for (int i = 0; i < watch->nr; i++)
		size += watch->ranges[i].end - watch->ranges[i].start + 1;
	KUNIT_EXPECT_EQ(test, ARRAY_SIZE(indexes) * granule(), size);
}

static struct kunit_case batch_cases[] = {
	KUNIT_CASE(test_slot_place),
	KUNIT_CASE(test_slot_as_memory),
	KUNIT_CASE(test_slots_low),
	KUNIT_CASE(test_slots_high),
	KUNIT_CASE(test_slot_kept),
	KUNIT_CASE(test_turns),
	KUNIT_CASE(test_turns_end),
	KUNIT_CASE(test_turns_freed),
	KUNIT_CASE(test_turns_idle),
	KUNIT_CASE(test_map_batch),
	KUNIT_CASE(test_map_batch_fails),
	KUNIT_CASE(test_unmap_batch),
	KUNIT_CASE(test_unmap_runs),
	KUNIT_CASE(test_full_block),
	KUNIT_CASE(test_by_page),
	KUNIT_CASE(test_two_domains),
	KUNIT_CASE(test_no_table),
	{}
};

static struct kunit_suite batch_suite = {
	.name = "dma_iova_batch",
	.suite_init = batch_suite_init,
	.suite_exit = batch_suite_exit,
	.test_cases = batch_cases,
};
kunit_test_suite(batch_suite);

MODULE_DESCRIPTION("Slots of IOVAs and batches of IOTLB syncs, tested");
MODULE_LICENSE("GPL");
