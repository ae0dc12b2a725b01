// SPDX-License-Identifier: GPL-2.0
/*
 * Map, unmap and sync at random in an IOMMU domain of its own, and have a drive try
 * after each sync which IOVAs it reaches. Those that are mapped have to lead to
 * their pages. Those that were must lead nowhere, also if the drive has used them a
 * moment before.
 *
 * The drive has no driver meanwhile. Its admin queue is run by polling, and the
 * command is Identify (NVM Express Base Specification 2.0, 5.17), which writes a
 * page of 4096 bytes that starts with the vendor's ID, never 0, to wherever PRP1
 * says.
 */
#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/iommu.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/nvme.h>
#include <linux/pci.h>
#include <linux/prandom.h>
#include <linux/sizes.h>

#include "pci_by_name.h"

#ifndef IOMMU_HAS_RANGES
struct iommu_iotlb_range {
	unsigned long start;
	unsigned long end;
};
#endif

/* Where the window of pages to try starts, and where the admin queue is */
#define WINDOW (5ULL * SZ_1G)
#define QUEUES (4ULL * SZ_1G)
#define WINDOW_PAGES 8192
/* Memory comes in chunks that one large page maps, where pages are of 4 KiB */
#define CHUNK_ORDER (PAGE_SHIFT == 12 ? 9 : 4)
#define CHUNK_PAGES (1U << CHUNK_ORDER)
#define NR_CHUNKS 4
#define NR_PAGES (NR_CHUNKS * CHUNK_PAGES)
#define MAX_RUNS 48
#define MAX_RANGES 16
#define MAX_PROBES 8
#define QUEUE_DEPTH 32
#define NOT_MAPPED 0

static char *device;
static unsigned int rounds = 1000;
static ulong seed = 1;
static bool batches = true;
static char report[200] = "not run";
module_param(device, charp, 0444);
MODULE_PARM_DESC(device, "PCI address of an NVMe drive without a driver");
module_param(rounds, uint, 0444);
MODULE_PARM_DESC(rounds, "changes and syncs (default: 1000)");
module_param(seed, ulong, 0444);
MODULE_PARM_DESC(seed, "of the random numbers (default: 1)");
module_param(batches, bool, 0444);
MODULE_PARM_DESC(batches, "sync several ranges at once, too, where the driver can (default: Y)");
module_param_string(report, report, sizeof(report), 0444);
MODULE_PARM_DESC(report, "what was done");

/* Pages from @iova on, counted in the window, that are mapped to those from @page on */
struct run {
	unsigned int iova;
	unsigned int page;
	unsigned int len;
};

struct fuzz {
	struct pci_dev *pdev;
	struct iommu_domain *domain;
	struct rnd_state rnd;
	bool attached;

	/* the controller */
	u8 __iomem *bar;
	u8 __iomem *doorbells;
	unsigned int stride; /* bytes between doorbells */
	struct nvme_command *sq; /* a page */
	struct nvme_completion *cq; /* another */
	unsigned int tail; /* of both queues: all commands of a turn are waited for */
	u8 phase;

	struct page *chunks[NR_CHUNKS];
	/* of each page of the window: the page it leads to or led to last, from 1 */
	u16 now[WINDOW_PAGES];
	u16 before[WINDOW_PAGES];
	struct run runs[MAX_RUNS];
	unsigned int nr_runs;
	/* the last pages of the window that were unmapped */
	u16 gone[256];
	unsigned int nr_gone;

	u64 reached, stopped, wrong, syncs, joined;
};

static u32 below(struct fuzz *f, u32 limit)
{
	return prandom_u32_state(&f->rnd) % limit;
}

static u64 window_iova(unsigned int page)
{
	return WINDOW + ((u64)page << PAGE_SHIFT);
}

static struct page *memory_page(struct fuzz *f, unsigned int page)
{
	return f->chunks[page / CHUNK_PAGES] + page % CHUNK_PAGES;
}

static u32 *memory(struct fuzz *f, unsigned int page)
{
	return page_address(memory_page(f, page));
}

/* The controller */

static int wait_ready(struct fuzz *f, u32 ready)
{
	ktime_t end = ktime_add_ms(ktime_get(), 10000);

	while ((readl(f->bar + NVME_REG_CSTS) & NVME_CSTS_RDY) != ready) {
		if (ktime_after(ktime_get(), end))
			return -ETIMEDOUT;
		usleep_range(100, 200);
	}
	return 0;
}

static int controller_stop(struct fuzz *f)
{
	writel(0, f->bar + NVME_REG_CC);
	return wait_ready(f, 0);
}

static int controller_start(struct fuzz *f)
{
	u32 depth = QUEUE_DEPTH - 1;
	int ret = controller_stop(f);

	if (ret)
		return ret;
	f->phase = 1;
	writel(depth << 16 | depth, f->bar + NVME_REG_AQA);
	lo_hi_writeq(QUEUES, f->bar + NVME_REG_ASQ);
	lo_hi_writeq(QUEUES + PAGE_SIZE, f->bar + NVME_REG_ACQ);
	writel(NVME_CC_ENABLE | NVME_CC_IOSQES | NVME_CC_IOCQES,
	       f->bar + NVME_REG_CC);
	return wait_ready(f, NVME_CSTS_RDY);
}

/* Have the drive write to each of @iovas, and wait until it has tried to. */
static int controller_write_to(struct fuzz *f, const u64 *iovas,
			       unsigned int nr)
{
	ktime_t end = ktime_add_ms(ktime_get(), 10000);
	unsigned int i;

	for (i = 0; i < nr; i++) {
		struct nvme_command *cmd =
			&f->sq[(f->tail + i) % QUEUE_DEPTH];

		*cmd = (struct nvme_command){};
		cmd->identify.opcode = nvme_admin_identify;
		cmd->identify.command_id = i;
		cmd->identify.dptr.prp1 = cpu_to_le64(iovas[i]);
		cmd->identify.cns = NVME_ID_CNS_CTRL;
	}
	dma_wmb();
	writel((f->tail + nr) % QUEUE_DEPTH, f->doorbells);
	for (i = 0; i < nr; i++) {
		unsigned int slot = (f->tail + i) % QUEUE_DEPTH;

		while ((le16_to_cpu(READ_ONCE(f->cq[slot].status)) & 1) !=
		       f->phase) {
			if (ktime_after(ktime_get(), end))
				return -ETIMEDOUT;
			cpu_relax();
		}
		if (slot == QUEUE_DEPTH - 1)
			f->phase ^= 1;
	}
	dma_rmb();
	f->tail = (f->tail + nr) % QUEUE_DEPTH;
	writel(f->tail, f->doorbells + f->stride);
	return 0;
}

/* What the drive reaches */

/* Some IOVA: mapped, unmapped lately, or any */
static unsigned int some_iova(struct fuzz *f)
{
	unsigned int kind = below(f, 8);
	struct run *run;

	if (kind < 4 && f->nr_runs) {
		run = &f->runs[below(f, f->nr_runs)];
		return run->iova + below(f, run->len);
	}
	if (kind < 7 && f->nr_gone)
		return f->gone[below(f, min_t(u32, f->nr_gone,
					      ARRAY_SIZE(f->gone)))];
	return below(f, WINDOW_PAGES);
}

static void complain(struct fuzz *f, unsigned int iova, const char *what)
{
	if (f->wrong++ < 10)
		pr_err("iotlb_fuzz: page %u of the window %s; mapped %u, before %u\n",
		       iova, what, f->now[iova], f->before[iova]);
}

static void check(struct fuzz *f, unsigned int iova)
{
	unsigned int now = f->now[iova], before = f->before[iova];

	if (now != NOT_MAPPED) {
		f->reached++;
		if (!*memory(f, now - 1))
			complain(f, iova, "is mapped, and not reached");
	} else {
		f->stopped++;
	}
	if (before != NOT_MAPPED && before != now && *memory(f, before - 1))
		complain(f, iova, "still leads to where it did");
}

static int probe(struct fuzz *f)
{
	unsigned int pages[MAX_PROBES], nr = 0, i, tries;
	DECLARE_BITMAP(taken, NR_PAGES + 1) = {};
	u64 iovas[MAX_PROBES];
	int ret;

	/* no two of them tell of the same page of memory */
	for (tries = 0; tries < 2 * MAX_PROBES && nr < MAX_PROBES; tries++) {
		unsigned int iova = some_iova(f);
		unsigned int now = f->now[iova], before = f->before[iova];

		if ((now && test_bit(now, taken)) ||
		    (before && test_bit(before, taken)))
			continue;
		set_bit(now, taken);
		set_bit(before, taken);
		if (now)
			*memory(f, now - 1) = 0;
		if (before)
			*memory(f, before - 1) = 0;
		pages[nr] = iova;
		iovas[nr++] = window_iova(iova);
	}
	ret = controller_write_to(f, iovas, nr);
	for (i = 0; i < nr && !ret; i++)
		check(f, pages[i]);
	return ret;
}

/* Mapping and unmapping */

static bool is_free(struct fuzz *f, unsigned int iova, unsigned int len)
{
	if (iova + len > WINDOW_PAGES)
		return false;
	while (len--)
		if (f->now[iova + len] != NOT_MAPPED)
			return false;
	return true;
}

static struct run some_run(struct fuzz *f)
{
	struct run run = { .len = 1 };

	switch (below(f, 4)) {
	case 0:
		run.len = 1 + below(f, min(40U, CHUNK_PAGES));
		break;
	case 1:
		run.len = 1 + below(f, CHUNK_PAGES);
		break;
	case 2:
		/* as one large page */
		run.len = CHUNK_PAGES;
		run.page = below(f, NR_CHUNKS) * CHUNK_PAGES;
		run.iova = below(f, WINDOW_PAGES / CHUNK_PAGES) * CHUNK_PAGES;
		return run;
	}
	run.page = below(f, NR_CHUNKS) * CHUNK_PAGES +
		   below(f, CHUNK_PAGES - run.len + 1);
	/* many near each other, as those of one page table are */
	run.iova = below(f, below(f, 2) ? WINDOW_PAGES : CHUNK_PAGES);
	return run;
}

static struct iommu_iotlb_range run_range(const struct run *run)
{
	return (struct iommu_iotlb_range){
		.start = window_iova(run->iova),
		.end = window_iova(run->iova + run->len) - 1,
	};
}

/*
 * Add @run to the ranges, or make one longer up to it, as batches do: what is in
 * between is for others.
 */
static unsigned int fuzz_add_range(struct fuzz *f, struct iommu_iotlb_range *ranges,
			      unsigned int nr, const struct run *run)
{
	struct iommu_iotlb_range range = run_range(run);

	if (nr && below(f, 2)) {
		ranges[nr - 1].start = min(ranges[nr - 1].start, range.start);
		ranges[nr - 1].end = max(ranges[nr - 1].end, range.end);
		f->joined++;
		return nr;
	}
	ranges[nr] = range;
	return nr + 1;
}

static void remember(struct fuzz *f, const struct run *run, bool mapped)
{
	unsigned int i;

	for (i = 0; i < run->len; i++) {
		if (mapped) {
			f->now[run->iova + i] = run->page + i + 1;
			continue;
		}
		f->before[run->iova + i] = f->now[run->iova + i];
		f->now[run->iova + i] = NOT_MAPPED;
	}
	/* the ends, and some within */
	for (i = 0; !mapped && i < run->len;
	     i += 1 + (i ? below(f, run->len) : 0))
		f->gone[f->nr_gone++ % ARRAY_SIZE(f->gone)] = run->iova + i;
	if (!mapped)
		f->gone[f->nr_gone++ % ARRAY_SIZE(f->gone)] =
			run->iova + run->len - 1;
}

static int map_run(struct fuzz *f, const struct run *run, bool sync)
{
	phys_addr_t phys = page_to_phys(memory_page(f, run->page));
	int prot = IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE;
	size_t size = (size_t)run->len << PAGE_SHIFT;

#ifdef IOMMU_HAS_RANGES
	if (!sync)
		return iommu_map_nosync(f->domain, window_iova(run->iova), phys,
					size, prot, GFP_KERNEL);
#endif
	return iommu_map(f->domain, window_iova(run->iova), phys, size, prot,
			 GFP_KERNEL);
}

static int sync_mapped(struct fuzz *f, const struct iommu_iotlb_range *ranges,
		       unsigned int nr)
{
	int ret = 0;
#ifdef IOMMU_HAS_RANGES
	const struct iommu_domain_ops *ops = f->domain->ops;
	unsigned int i;

	if (ops->iotlb_sync_map_ranges && below(f, 4))
		return ops->iotlb_sync_map_ranges(f->domain, ranges, nr);
	for (i = 0; i < nr && !ret; i++)
		ret = iommu_sync_map(f->domain, ranges[i].start,
				     ranges[i].end - ranges[i].start + 1);
#endif
	return ret;
}

static int map_some(struct fuzz *f)
{
	struct iommu_iotlb_range ranges[MAX_RANGES];
	unsigned int nr = 0, i, wanted = 1 + below(f, MAX_RANGES);
	bool sync = true;
	int ret;

#ifdef IOMMU_HAS_RANGES
	sync = !batches || below(f, 3) == 0;
#endif
	for (i = 0; i < wanted && f->nr_runs < MAX_RUNS; i++) {
		struct run run = some_run(f);

		if (!is_free(f, run.iova, run.len))
			continue;
		ret = map_run(f, &run, sync);
		if (ret)
			return ret;
		remember(f, &run, true);
		f->runs[f->nr_runs++] = run;
		nr = fuzz_add_range(f, ranges, nr, &run);
	}
	f->syncs++;
	return sync || !nr ? 0 : sync_mapped(f, ranges, nr);
}

/* Whole: a driver need not part what was mapped at once. */
static struct run take_run(struct fuzz *f)
{
	unsigned int i = below(f, f->nr_runs);
	struct run taken = f->runs[i];

	f->runs[i] = f->runs[--f->nr_runs];
	return taken;
}

static bool can_sync_ranges(struct fuzz *f)
{
#ifdef IOMMU_HAS_RANGES
	return batches && f->domain->ops->iotlb_sync_ranges;
#else
	return false;
#endif
}

static void sync_unmapped(struct fuzz *f, struct iommu_iotlb_gather *gather,
			  const struct iommu_iotlb_range *ranges,
			  unsigned int nr)
{
#ifdef IOMMU_HAS_RANGES
	if (gather->queued) {
		f->domain->ops->iotlb_sync_ranges(f->domain, gather, ranges, nr);
		return;
	}
#endif
	iommu_iotlb_sync(f->domain, gather);
}

static int unmap_some(struct fuzz *f)
{
	struct iommu_iotlb_range ranges[MAX_RANGES];
	unsigned int nr = 0, wanted = 1 + below(f, MAX_RANGES);
	struct iommu_iotlb_gather gather;
	int ret = 0;

	iommu_iotlb_gather_init(&gather);
	gather.queued = can_sync_ranges(f) && below(f, 4);
	while (wanted-- && f->nr_runs) {
		struct run run = take_run(f);
		size_t size = (size_t)run.len << PAGE_SHIFT;

		if (iommu_unmap_fast(f->domain, window_iova(run.iova), size,
				     &gather) != size)
			ret = -EIO;
		remember(f, &run, false);
		nr = fuzz_add_range(f, ranges, nr, &run);
	}
	sync_unmapped(f, &gather, ranges, nr);
	f->syncs++;
	return ret;
}

static int fuzz_rounds(struct fuzz *f)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < rounds && !ret; i++) {
		ret = f->nr_runs && below(f, 2) ? unmap_some(f) : map_some(f);
		if (!ret)
			ret = probe(f);
		if (signal_pending(current))
			ret = -EINTR;
		cond_resched();
	}
	while (f->nr_runs)
		unmap_some(f);
	return ret;
}

/* Set-up */

static int map_queues(struct fuzz *f)
{
	int prot = IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE, ret;

	ret = iommu_map(f->domain, QUEUES, virt_to_phys(f->sq), PAGE_SIZE, prot,
			GFP_KERNEL);
	if (ret)
		return ret;
	return iommu_map(f->domain, QUEUES + PAGE_SIZE, virt_to_phys(f->cq),
			 PAGE_SIZE, prot, GFP_KERNEL);
}

static int fuzz_alloc(struct fuzz *f)
{
	unsigned int i;

	f->sq = (void *)get_zeroed_page(GFP_KERNEL);
	f->cq = (void *)get_zeroed_page(GFP_KERNEL);
	if (!f->sq || !f->cq)
		return -ENOMEM;
	for (i = 0; i < NR_CHUNKS; i++) {
		f->chunks[i] = alloc_pages(GFP_KERNEL | __GFP_ZERO, CHUNK_ORDER);
		if (!f->chunks[i])
			return -ENOMEM;
	}
	return 0;
}

static int fuzz_start(struct fuzz *f)
{
	struct device *dev = &f->pdev->dev;
	int ret;

	pci_intx(f->pdev, 0);
	f->bar = pci_iomap(f->pdev, 0, 0);
	if (!f->bar)
		return -ENOMEM;
	ret = controller_stop(f);
	if (ret)
		return ret;

	f->domain = iommu_paging_domain_alloc(dev);
	if (IS_ERR(f->domain))
		return PTR_ERR(f->domain);
	ret = iommu_attach_device(f->domain, dev);
	if (ret)
		return ret;
	f->attached = true;
	ret = map_queues(f);
	if (ret)
		return ret;
	f->stride = 4 << NVME_CAP_STRIDE(lo_hi_readq(f->bar + NVME_REG_CAP));
	f->doorbells = f->bar + NVME_REG_DBS;
	pci_set_master(f->pdev);
	return controller_start(f);
}

static void fuzz_end(struct fuzz *f)
{
	unsigned int i;

	if (f->bar) {
		controller_stop(f);
		pci_iounmap(f->pdev, f->bar);
	}
	pci_clear_master(f->pdev);
	if (f->attached)
		iommu_detach_device(f->domain, &f->pdev->dev);
	if (!IS_ERR_OR_NULL(f->domain))
		iommu_domain_free(f->domain);
	pci_intx(f->pdev, 1);
	for (i = 0; i < NR_CHUNKS; i++)
		if (f->chunks[i])
			__free_pages(f->chunks[i], CHUNK_ORDER);
	free_page((unsigned long)f->sq);
	free_page((unsigned long)f->cq);
}

static int __init iotlb_fuzz_init(void)
{
	struct fuzz *f = kvzalloc(sizeof(*f), GFP_KERNEL);
	int ret = -ENODEV;

	if (!f)
		return -ENOMEM;
	prandom_seed_state(&f->rnd, seed);
	f->pdev = pci_get_by_name(device);
	if (!f->pdev)
		goto free;
	ret = -EBUSY;
	if (f->pdev->dev.driver)
		goto put;
	ret = pci_enable_device_mem(f->pdev);
	if (ret)
		goto put;
	ret = fuzz_alloc(f);
	if (!ret)
		ret = fuzz_start(f);
	if (!ret)
		ret = fuzz_rounds(f);
	snprintf(report, sizeof(report),
		 "rounds=%u reached=%llu stopped=%llu wrong=%llu syncs=%llu joined=%llu ranges=%u error=%d",
		 rounds, f->reached, f->stopped, f->wrong, f->syncs, f->joined,
		 f->domain && can_sync_ranges(f), ret);
	fuzz_end(f);
	pci_disable_device(f->pdev);
	/* what was found is read from the parameter */
	ret = 0;
put:
	pci_dev_put(f->pdev);
free:
	kvfree(f);
	return ret;
}
module_init(iotlb_fuzz_init);

static void __exit iotlb_fuzz_exit(void)
{
}
module_exit(iotlb_fuzz_exit);

MODULE_DESCRIPTION("IOTLB syncs, tried by a drive");
MODULE_LICENSE("GPL");
