// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit suite of VT-d's invalidation queue when the hardware reports errors. The
 * driver gets an IOMMU that is modelled here, in memory: a probe lets the model
 * go on whenever the driver polls. No emulator raises a time-out.
 */
#include <kunit/test.h>
#include <linux/kprobes.h>
#include <linux/module.h>

#include "pci_by_name.h"
#include "iommu.h"

#define QI_WRONG_TYPE 0xf
#define GONE 0x1234 /* source ID of a device that is not there */
#define DID 7
#define MAX_DESCS 9
#define MAX_STEPS 2000

/* Not written by the driver, so that a write of it to the register is seen */
#define FSTS_MARK BIT(31)

static char *device;
module_param(device, charp, 0444);
MODULE_PARM_DESC(device, "any PCI device, as in 0000:01:00.0");

/*
 * @wait: a wait descriptor that was fetched and has not completed
 * @fetched: invalidations that may not have happened before a wait completes
 * @done: invalidations that have happened
 * @errors: bits of the fault status register
 * @slow: source ID of the device that times out @times_out times
 * @late: an invalidation was sent that the device will not answer
 * @late_sid: that device's source ID
 * @window: descriptors that are fetched between that and the time-out
 * @silent: the hardware does not tell which device timed out
 * @hopeless: the driver polls for ever and was let go
 */
static struct {
	struct kprobe probe;
	struct pci_dev *pdev;
	struct intel_iommu *iommu;
	struct device_domain_info *present;
	struct q_inval qi;
	struct qi_desc waits[QI_LENGTH], fetched[QI_LENGTH], done[QI_LENGTH];
	unsigned int nr_waits, nr_fetched, nr_done;
	u32 errors;
	u16 slow;
	unsigned int times_out;
	bool late;
	u16 late_sid;
	unsigned int window, left, steps;
	bool silent, hopeless;
} hw;

static int (*submit)(struct intel_iommu *iommu, struct qi_desc *desc,
		     unsigned int count, unsigned long options);
static void (*flush_ranges)(struct dmar_domain *domain,
			    const struct iommu_iotlb_range *ranges,
			    unsigned int nr, int ih);

static u32 *hw_register(unsigned int offset)
{
	return (u32 __force *)(hw.iommu->reg + offset);
}

static void hw_complete_wait(const struct qi_desc *wait)
{
	for (unsigned int i = 0; i < hw.nr_fetched; i++) {
		if (hw.nr_done < QI_LENGTH)
			hw.done[hw.nr_done++] = hw.fetched[i];
	}
	hw.nr_fetched = 0;
	if (wait->qw0 & QI_IWD_STATUS_WRITE)
		*(u32 *)phys_to_virt(wait->qw1) = wait->qw0 >> 32;
}

static bool hw_times_out(const struct qi_desc *desc)
{
	u16 sid = desc->qw0 >> 32;

	if (sid == GONE)
		return true;
	if (sid != hw.slow || !hw.times_out)
		return false;
	hw.times_out--;
	return true;
}

/* Returns false for a descriptor that is wrong. */
static bool hw_fetch(const struct qi_desc *desc)
{
	switch (desc->qw0 & 0xf) {
	case QI_IWD_TYPE:
		if (hw.late)
			hw.waits[hw.nr_waits++ % QI_LENGTH] = *desc;
		else
			hw_complete_wait(desc);
		return true;
	case QI_DIOTLB_TYPE:
		if (!hw.late && hw_times_out(desc)) {
			hw.late = true;
			hw.late_sid = desc->qw0 >> 32;
			hw.left = hw.window + 1;
			return true;
		}
		fallthrough;
	case QI_IOTLB_TYPE:
		hw.fetched[hw.nr_fetched++ % QI_LENGTH] = *desc;
		return true;
	default:
		return false;
	}
}

/* The wait descriptors that were fetched are aborted, and no other is fetched. */
static void hw_time_out(void)
{
	hw.late = false;
	hw.nr_waits = 0;
	hw.errors |= DMA_FSTS_ITE;
	*hw_register(DMAR_IQER_REG + 4) = hw.silent ? 0 : hw.late_sid;
}

static void hw_process_queue(void)
{
	u32 head = *hw_register(DMAR_IQH_REG) >> DMAR_IQ_SHIFT;
	u32 tail = *hw_register(DMAR_IQT_REG) >> DMAR_IQ_SHIFT;
	struct qi_desc desc = {};

	while (head != tail && !hw.errors) {
		memcpy(&desc, hw.qi.desc + (head << DMAR_IQ_SHIFT),
		       1 << DMAR_IQ_SHIFT);
		if (!hw_fetch(&desc)) {
			hw.errors |= DMA_FSTS_IQE;
			break;
		}
		head = (head + 1) % QI_LENGTH;
		if (hw.late && !--hw.left)
			hw_time_out();
	}
	if (hw.late && head == tail)
		hw_time_out();
	*hw_register(DMAR_IQH_REG) = head << DMAR_IQ_SHIFT;
}

static void hw_step(void)
{
	u32 *status = hw_register(DMAR_FSTS_REG);

	if (!(*status & FSTS_MARK))
		hw.errors &= ~*status;
	if (++hw.steps > MAX_STEPS) {
		hw.hopeless = true;
		for (int i = 0; i < QI_LENGTH; i++)
			hw.qi.desc_status[i] = QI_DONE;
	} else if (!hw.errors) {
		hw_process_queue();
	}
	*status = hw.errors | FSTS_MARK;
}

static int hw_poll(struct kprobe *probe, struct pt_regs *regs)
{
	if (regs_get_kernel_argument(regs, 0) == (unsigned long)&hw.qi.q_lock)
		hw_step();
	return 0;
}

/* An empty queue whose first descriptor will be the one at @start. */
static void hw_reset(unsigned int start)
{
	memset(hw.qi.desc_status, 0, QI_LENGTH * sizeof(*hw.qi.desc_status));
	hw.qi.free_head = start;
	hw.qi.free_tail = start;
	hw.qi.free_cnt = QI_LENGTH;
	*hw_register(DMAR_IQH_REG) = start << DMAR_IQ_SHIFT;
	*hw_register(DMAR_IQT_REG) = start << DMAR_IQ_SHIFT;
	*hw_register(DMAR_FSTS_REG) = FSTS_MARK;
	hw.nr_waits = 0;
	hw.nr_fetched = 0;
	hw.nr_done = 0;
	hw.errors = 0;
	hw.slow = 0;
	hw.times_out = 0;
	hw.late = false;
	hw.window = 0;
	hw.silent = false;
	hw.steps = 0;
	hw.hopeless = false;
}

static u16 present_sid(void)
{
	return PCI_DEVID(hw.present->bus, hw.present->devfn);
}

static struct qi_desc iotlb_desc(u64 addr)
{
	struct qi_desc desc = {};

	qi_desc_iotlb(hw.iommu, DID, addr, 0, DMA_TLB_PSI_FLUSH, &desc);
	return desc;
}

static struct qi_desc devtlb_desc(u16 sid, u64 addr)
{
	struct qi_desc desc = {};

	qi_desc_dev_iotlb(sid, 0, 0, addr, 0, &desc);
	return desc;
}

static bool is_done(const struct qi_desc *desc)
{
	for (unsigned int i = 0; i < hw.nr_done; i++) {
		if (hw.done[i].qw0 == desc->qw0 && hw.done[i].qw1 == desc->qw1)
			return true;
	}
	return false;
}

static void expect_done(struct kunit *test, const struct qi_desc *descs,
			unsigned int nr, const char *what, int a, int b, int c)
{
	for (unsigned int i = 0; i < nr; i++)
		KUNIT_EXPECT_TRUE_MSG(test, is_done(&descs[i]),
				      "%s (%d, %d, %d): descriptor %u was not waited for",
				      what, a, b, c, i);
	KUNIT_EXPECT_FALSE_MSG(test, hw.hopeless, "%s (%d, %d, %d): no end",
			       what, a, b, c);
}

/* The hardware has fetched all, and will not write to slots that are free. */
static void expect_empty(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, *hw_register(DMAR_IQH_REG),
			*hw_register(DMAR_IQT_REG));
	hw_step();
	hw_step();
	KUNIT_EXPECT_NULL(test, memchr_inv(hw.qi.desc_status, QI_FREE,
					   QI_LENGTH * sizeof(int)));
	KUNIT_EXPECT_EQ(test, QI_LENGTH, hw.qi.free_cnt);
}

/* A device answers late: wherever that is in a batch, all of it is repeated. */
static void test_slow_device(struct kunit *test)
{
	struct qi_desc descs[MAX_DESCS], kept[MAX_DESCS];

	for (unsigned int i = 0; i < 3 * 4 * 5; i++) {
		unsigned int nr = 2 + i % 3, late = i / 3 % 4,
			     window = i / 3 / 4;

		if (late >= nr || window > nr)
			continue;
		hw_reset(i % 2 ? QI_LENGTH - 2 : i);
		hw.slow = present_sid();
		hw.times_out = 2;
		hw.window = window;
		for (unsigned int j = 0; j < nr; j++)
			kept[j] = j == late ? devtlb_desc(hw.slow, j << 12) :
					      iotlb_desc(j << 12);
		memcpy(descs, kept, sizeof(descs));
		KUNIT_EXPECT_EQ(test, 0, submit(hw.iommu, descs, nr, 0));
		expect_done(test, kept, nr, "slow device", nr, late, window);
		expect_empty(test);
	}
}

/* A device is gone: all but what is for it is waited for. */
static void test_gone_device(struct kunit *test)
{
	struct qi_desc descs[6], kept[4];

	for (unsigned int i = 0; i < 2 * 8; i++) {
		unsigned int window = i / 2;

		hw_reset(window);
		hw.window = window;
		hw.silent = i % 2;
		descs[0] = iotlb_desc(0x1000);
		descs[1] = devtlb_desc(GONE, 0x1000);
		descs[2] = devtlb_desc(present_sid(), 0x1000);
		descs[3] = iotlb_desc(0x2000);
		descs[4] = devtlb_desc(GONE, 0x2000);
		descs[5] = devtlb_desc(present_sid(), 0x2000);
		kept[0] = descs[0];
		kept[1] = descs[2];
		kept[2] = descs[3];
		kept[3] = descs[5];
		submit(hw.iommu, descs, ARRAY_SIZE(descs), 0);
		expect_done(test, kept, ARRAY_SIZE(kept), "gone device", window,
			    hw.silent, 0);
		expect_empty(test);
	}
}

/* Nothing but what is for a device that is gone. */
static void test_gone_device_alone(struct kunit *test)
{
	struct qi_desc desc = devtlb_desc(GONE, 0);

	hw_reset(0);
	submit(hw.iommu, &desc, 1, 0);
	expect_done(test, NULL, 0, "gone device alone", 0, 0, 0);
	expect_empty(test);
}

/* Put into the queue what another processor submits. */
static void submit_elsewhere(struct qi_desc desc)
{
	int wait_index = (hw.qi.free_head + 1) % QI_LENGTH;
	struct qi_desc wait = {
		.qw0 = QI_IWD_STATUS_DATA(QI_DONE) | QI_IWD_STATUS_WRITE |
		       QI_IWD_TYPE,
		.qw1 = virt_to_phys(&hw.qi.desc_status[wait_index]),
	};

	memcpy(hw.qi.desc + (hw.qi.free_head << DMAR_IQ_SHIFT), &desc,
	       1 << DMAR_IQ_SHIFT);
	memcpy(hw.qi.desc + (wait_index << DMAR_IQ_SHIFT), &wait,
	       1 << DMAR_IQ_SHIFT);
	hw.qi.desc_status[hw.qi.free_head] = QI_IN_USE;
	hw.qi.desc_status[wait_index] = QI_IN_USE;
	hw.qi.free_head = (wait_index + 1) % QI_LENGTH;
	hw.qi.free_cnt -= 2;
}

/* The time-out is another processor's, and seen here first. */
static void test_time_out_elsewhere(struct kunit *test)
{
	struct qi_desc descs[2], kept[2];

	for (unsigned int window = 0; window <= 5; window++) {
		hw_reset(window);
		hw.window = window;
		submit_elsewhere(devtlb_desc(GONE, 0));
		descs[0] = iotlb_desc(0x1000);
		descs[1] = iotlb_desc(0x2000);
		memcpy(kept, descs, sizeof(kept));
		KUNIT_EXPECT_EQ(test, 0, submit(hw.iommu, descs, 2, 0));
		expect_done(test, kept, 2, "time-out elsewhere", window, 0, 0);
		/* The other one sees that its own was aborted. */
		KUNIT_EXPECT_EQ(test, QI_ABORT, hw.qi.desc_status[window]);
	}
}

/* A descriptor that is wrong does not stop those around it. */
static void test_wrong_descriptor(struct kunit *test)
{
	struct qi_desc descs[3], kept[2];

	for (unsigned int wrong = 0; wrong < ARRAY_SIZE(descs); wrong++) {
		unsigned int nr = 0;

		hw_reset(QI_LENGTH - 1 - wrong);
		for (unsigned int i = 0; i < ARRAY_SIZE(descs); i++) {
			descs[i] = iotlb_desc(i << 12);
			if (i == wrong)
				descs[i].qw0 |= QI_WRONG_TYPE;
			else
				kept[nr++] = descs[i];
		}
		KUNIT_EXPECT_EQ(test, -EINVAL,
				submit(hw.iommu, descs, ARRAY_SIZE(descs), 0));
		expect_done(test, kept, nr, "wrong descriptor", wrong, 0, 0);
		expect_empty(test);
	}
}

static void add_tag(struct dmar_domain *domain, struct cache_tag *tag,
		    enum cache_tag_type type, struct device *dev)
{
	tag->type = type;
	tag->iommu = hw.iommu;
	tag->dev = dev;
	tag->domain_id = DID;
	tag->pasid = IOMMU_NO_PASID;
	list_add_tail(&tag->node, &domain->cache_tags);
}

static struct device *fake_device(struct kunit *test, u16 sid)
{
	struct device_domain_info *info;
	struct device *dev;

	dev = kunit_kzalloc(test, sizeof(*dev), GFP_KERNEL);
	info = kunit_kzalloc(test, sizeof(*info), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, dev);
	KUNIT_ASSERT_NOT_NULL(test, info);
	dev->iommu = kunit_kzalloc(test, sizeof(*dev->iommu), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, dev->iommu);
	dev->iommu->priv = info;
	info->bus = PCI_BUS_NUM(sid);
	info->devfn = sid & 0xff;
	return dev;
}

/* Of two devices that share a domain, one is pulled: several ranges are synced. */
static void test_gone_device_of_group(struct kunit *test)
{
	static const struct iommu_iotlb_range ranges[] = {
		{ 0x1000, 0x1fff }, { 0x5000, 0x5fff }, { 0x9000, 0x9fff },
	};
	struct cache_tag tags[3] = {};
	struct dmar_domain *domain;
	struct qi_desc wanted[2];

	domain = kunit_kzalloc(test, sizeof(*domain), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, domain);
	domain->qi_batch = kunit_kzalloc(test, sizeof(*domain->qi_batch),
					 GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, domain->qi_batch);
	spin_lock_init(&domain->cache_lock);
	INIT_LIST_HEAD(&domain->cache_tags);
	add_tag(domain, &tags[0], CACHE_TAG_IOTLB, NULL);
	add_tag(domain, &tags[1], CACHE_TAG_DEVTLB, fake_device(test, GONE));
	add_tag(domain, &tags[2], CACHE_TAG_DEVTLB,
		fake_device(test, present_sid()));

	for (unsigned int window = 0; window <= 10; window++) {
		hw_reset(window);
		hw.window = window;
		flush_ranges(domain, ranges, ARRAY_SIZE(ranges), 0);
		for (int i = 0; i < ARRAY_SIZE(ranges); i++) {
			wanted[0] = iotlb_desc(ranges[i].start);
			wanted[1] = devtlb_desc(present_sid(), ranges[i].start);
			expect_done(test, wanted, 2, "group", window, i, 0);
		}
		expect_empty(test);
	}
}

static void *function(const char *name)
{
	struct kprobe probe = { .symbol_name = name };
	void *addr;

	if (register_kprobe(&probe))
		return NULL;
	addr = probe.addr;
	unregister_kprobe(&probe);
	return addr;
}

static int errors_suite_init(struct kunit_suite *suite)
{
	submit = function("qi_submit_sync");
	flush_ranges = function("cache_tag_flush_ranges");
	hw.pdev = pci_get_by_name(device);
	if (!hw.pdev || !submit || !flush_ranges)
		return -ENODEV;
	hw.iommu = kzalloc(sizeof(*hw.iommu), GFP_KERNEL);
	hw.present = kzalloc(sizeof(*hw.present), GFP_KERNEL);
	hw.qi.desc = (void *)get_zeroed_page(GFP_KERNEL);
	hw.qi.desc_status = kcalloc(QI_LENGTH, sizeof(int), GFP_KERNEL);
	if (!hw.iommu || !hw.present || !hw.qi.desc || !hw.qi.desc_status)
		return -ENOMEM;
	hw.iommu->reg = (void __iomem __force *)get_zeroed_page(GFP_KERNEL);
	if (!hw.iommu->reg)
		return -ENOMEM;
	raw_spin_lock_init(&hw.qi.q_lock);
	hw.iommu->qi = &hw.qi;
	hw.iommu->gcmd = DMA_GCMD_TE;
	/* Invalidates pages, up to 2^18 of them, by the queue */
	hw.iommu->cap = BIT_ULL(39) | 18ULL << 48;
	hw.iommu->ecap = BIT_ULL(1);
	strscpy(hw.iommu->name, "model", sizeof(hw.iommu->name));
	spin_lock_init(&hw.iommu->device_rbtree_lock);
	hw.present->bus = hw.pdev->bus->number;
	hw.present->devfn = hw.pdev->devfn;
	hw.present->dev = &hw.pdev->dev;
	rb_link_node(&hw.present->node, NULL, &hw.iommu->device_rbtree.rb_node);
	rb_insert_color(&hw.present->node, &hw.iommu->device_rbtree);

	hw.probe.symbol_name = "_raw_spin_lock";
	hw.probe.pre_handler = hw_poll;
	return register_kprobe(&hw.probe);
}

static void errors_suite_exit(struct kunit_suite *suite)
{
	if (hw.probe.addr)
		unregister_kprobe(&hw.probe);
	if (hw.iommu)
		free_page((unsigned long __force)hw.iommu->reg);
	free_page((unsigned long)hw.qi.desc);
	kfree(hw.qi.desc_status);
	kfree(hw.present);
	kfree(hw.iommu);
	pci_dev_put(hw.pdev);
}

static struct kunit_case errors_cases[] = {
	KUNIT_CASE(test_slow_device),
	KUNIT_CASE(test_gone_device),
	KUNIT_CASE(test_gone_device_alone),
	KUNIT_CASE(test_time_out_elsewhere),
	KUNIT_CASE(test_wrong_descriptor),
	KUNIT_CASE(test_gone_device_of_group),
	{}
};

static struct kunit_suite errors_suite = {
	.name = "vtd_errors",
	.suite_init = errors_suite_init,
	.suite_exit = errors_suite_exit,
	.test_cases = errors_cases,
};
kunit_test_suite(errors_suite);

MODULE_DESCRIPTION("Errors of VT-d's invalidation queue, tested");
MODULE_LICENSE("GPL");
