// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit suite of two-step DMA mapping and of mapping requests, with a real PCI
 * device. It keeps to mainline's names and signatures: it is to compile and to
 * pass on any kernel that has them.
 */
#include <kunit/test.h>
#include <linux/bio-integrity.h>
#include <linux/blk-integrity.h>
#include <linux/blk-mq-dma.h>
#include <linux/blkdev.h>
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/file.h>
#include <linux/iommu.h>
#include <linux/kmsan-checks.h>
#include <linux/module.h>
#include <linux/pci-p2pdma.h>

#include "fail_nth.h"
#include "pci_by_name.h"

#define MAX_PIECES 4
#define PIECE_SIZE SZ_32K
#define STEP 512
#define APART_SIZE SZ_2M
#define APART_TRIES 256

static char *device, *provider, *disk, *p2p = "none";
static bool bounces, can_bounce;

module_param(device, charp, 0444);
MODULE_PARM_DESC(device, "PCI device to map for, as in 0000:01:00.0");
module_param(disk, charp, 0444);
MODULE_PARM_DESC(disk, "its block device, as in /dev/nvme0n1");
module_param(provider, charp, 0444);
MODULE_PARM_DESC(provider, "PCI device with P2P memory (default: none)");
module_param(p2p, charp, 0444);
MODULE_PARM_DESC(p2p, "how that is reached: bus, bridge or none (default)");
module_param(bounces, bool, 0444);
MODULE_PARM_DESC(bounces, "all DMA of host memory bounces (default: no)");
module_param(can_bounce, bool, 0444);
MODULE_PARM_DESC(can_bounce, "there are bounce buffers (default: no)");

static struct pci_dev *drive, *peer;
static struct device *dev;
static struct iommu_domain *domain; /* NULL if nothing translates addresses */
static struct file *disk_file;
static struct request_queue *queue;
static void *host_memory[MAX_PIECES], *p2p_memory[MAX_PIECES];

static int compat_alloc_memory(void)
{
	for (int i = 0; i < MAX_PIECES; i++) {
		host_memory[i] = alloc_pages_exact(PIECE_SIZE, GFP_KERNEL);
		if (!host_memory[i])
			return -ENOMEM;
		if (!peer)
			continue;
		p2p_memory[i] = pci_alloc_p2pmem(peer, PIECE_SIZE);
		if (!p2p_memory[i])
			return -ENOMEM;
	}
	return 0;
}

static int compat_suite_init(struct kunit_suite *suite)
{
	drive = pci_get_by_name(device);
	if (!drive)
		return -ENODEV;
	dev = &drive->dev;
	peer = pci_get_by_name(provider);

	disk_file = bdev_file_open_by_path(disk, BLK_OPEN_READ, NULL, NULL);
	if (IS_ERR(disk_file))
		return PTR_ERR(disk_file);
	queue = bdev_get_queue(file_bdev(disk_file));

	domain = iommu_get_domain_for_dev(dev);
	if (domain && domain->type == IOMMU_DOMAIN_IDENTITY)
		domain = NULL;
	return compat_alloc_memory();
}

static void compat_suite_exit(struct kunit_suite *suite)
{
	for (int i = 0; i < MAX_PIECES; i++) {
		if (host_memory[i])
			free_pages_exact(host_memory[i], PIECE_SIZE);
		if (p2p_memory[i])
			pci_free_p2pmem(peer, p2p_memory[i], PIECE_SIZE);
	}
	if (!IS_ERR_OR_NULL(disk_file))
		fput(disk_file);
	pci_dev_put(peer);
	pci_dev_put(drive);
}

static void compat_exit(struct kunit *test)
{
	drive->untrusted = false;
}

static void need_iommu(struct kunit *test)
{
	if (!domain)
		kunit_skip(test, "nothing translates the device's addresses");
}

static void need_bouncing(struct kunit *test)
{
	need_iommu(test);
	if (!can_bounce)
		kunit_skip(test, "there are no bounce buffers");
	drive->untrusted = true;
}

static void need_p2p(struct kunit *test)
{
	if (!peer)
		kunit_skip(test, "no provider of P2P memory");
}

static size_t granule(void)
{
	return 1UL << __ffs(domain->pgsize_bitmap);
}

/* The physical address behind a DMA address; 0 if there is none. */
static phys_addr_t reached(dma_addr_t addr)
{
	return domain ? iommu_iova_to_phys(domain, addr) : addr;
}

/*
 * Ranges of IOVAs: the first piece of memory begins @start bytes into a granule,
 * each other one in a granule of its own.
 */
struct layout {
	const char *name;
	size_t start;
	size_t pieces[MAX_PIECES];
};

static const struct layout layouts[] = {
	{ "part of a granule", 512, { 100 } },
	{ "start of a granule", 0, { 8 } },
	{ "end of a granule", 4000, { 96 } },
	{ "one granule", 0, { 4096 } },
	{ "two granules straddled", 3000, { 2000 } },
	{ "head and whole granules", 1024, { 3072 + 8192 } },
	{ "whole granules and tail", 0, { 8192 + 20 } },
	{ "head, middle and tail", 100, { 3996 + 4096 + 500 } },
	{ "several pieces of whole granules", 0, { 8192, 4096, 12288 } },
	{ "several pieces, odd at both ends", 2048, { 2048, 4096, 8192, 100 } },
};

KUNIT_ARRAY_PARAM_DESC(layout, layouts, name);

static size_t layout_size(const struct layout *layout)
{
	size_t size = 0;

	for (int i = 0; i < MAX_PIECES; i++)
		size += layout->pieces[i];
	return size;
}

static void *layout_piece(const struct layout *layout, int i)
{
	return host_memory[i] + (i ? 0 : layout->start);
}

static size_t link_layout(struct kunit *test, struct dma_iova_state *state,
			  const struct layout *layout,
			  enum dma_data_direction dir)
{
	size_t linked = 0;

	KUNIT_ASSERT_TRUE(test, dma_iova_try_alloc(dev, state,
				virt_to_phys(layout_piece(layout, 0)),
				layout_size(layout)));
	for (int i = 0; i < MAX_PIECES && layout->pieces[i]; i++) {
		KUNIT_ASSERT_EQ(test, 0, dma_iova_link(dev, state,
				virt_to_phys(layout_piece(layout, i)), linked,
				layout->pieces[i], dir, 0));
		linked += layout->pieces[i];
	}
	KUNIT_ASSERT_EQ(test, 0, dma_iova_sync(dev, state, 0, linked));
	return linked;
}

static void expect_nothing_at(struct kunit *test, dma_addr_t addr, size_t size)
{
	for (size_t i = 0; i < size; i += granule())
		KUNIT_EXPECT_EQ_MSG(test, 0, reached(addr + i), "byte %zu", i);
	KUNIT_EXPECT_EQ(test, 0, reached(addr + size - 1));
}

static void test_alloc_and_free(struct kunit *test)
{
	struct dma_iova_state state = { .addr = 1, .__size = 1 };
	phys_addr_t phys = virt_to_phys(host_memory[0]) + 1536;

	KUNIT_ASSERT_EQ(test, !!domain,
			dma_iova_try_alloc(dev, &state, phys, 10000));
	KUNIT_EXPECT_EQ(test, !!domain, dma_use_iova(&state));
	if (!domain)
		return;
	KUNIT_EXPECT_EQ(test, 10000, dma_iova_size(&state));
	KUNIT_EXPECT_EQ(test, 1536 % granule(), state.addr % granule());
	expect_nothing_at(test, state.addr, 10000);
	dma_iova_free(dev, &state);
}

static void test_link(struct kunit *test)
{
	const struct layout *layout = test->param_value;
	struct dma_iova_state state;
	dma_addr_t addr;
	size_t size;

	need_iommu(test);
	size = link_layout(test, &state, layout, DMA_BIDIRECTIONAL);
	addr = state.addr;
	KUNIT_EXPECT_EQ(test, size, dma_iova_size(&state));
	for (int i = 0; i < MAX_PIECES; i++)
		for (size_t at = 0; at < layout->pieces[i]; at++)
			KUNIT_ASSERT_EQ_MSG(test, reached(addr++),
				virt_to_phys(layout_piece(layout, i) + at),
				"byte %zu of piece %d", at, i);
	addr = state.addr;
	dma_iova_destroy(dev, &state, size, DMA_BIDIRECTIONAL, 0);
	expect_nothing_at(test, addr, size);
}

/* Whether a byte lies in a granule that its piece does not fill. */
static bool is_odd(const struct layout *layout, int i, size_t at)
{
	size_t pad = offset_in_page(layout_piece(layout, i));
	size_t end = pad + layout->pieces[i];

	return (pad && pad + at < granule()) ||
	       pad + at >= round_down(end, granule());
}

static u8 pattern(int i, size_t at)
{
	return 7 * at + 31 * i + (at >> 8) + 1;
}

static void fill_pieces(const struct layout *layout, u8 flip)
{
	for (int i = 0; i < MAX_PIECES; i++) {
		memset(host_memory[i], 0, PIECE_SIZE);
		for (size_t at = 0; at < layout->pieces[i]; at++)
			((u8 *)layout_piece(layout, i))[at] =
				pattern(i, at) ^ flip;
	}
}

/* The device finds the data: in the memory itself, or in a copy if it is odd. */
static void test_bounce_out(struct kunit *test)
{
	const struct layout *layout = test->param_value;
	struct dma_iova_state state;
	dma_addr_t addr;
	size_t size;

	need_bouncing(test);
	fill_pieces(layout, 0);
	size = link_layout(test, &state, layout, DMA_TO_DEVICE);
	addr = state.addr;
	for (int i = 0; i < MAX_PIECES; i++) {
		u8 *piece = layout_piece(layout, i);

		for (size_t at = 0; at < layout->pieces[i]; at++, addr++) {
			phys_addr_t phys = reached(addr);

			KUNIT_ASSERT_NE(test, 0, phys);
			KUNIT_ASSERT_EQ_MSG(test, is_odd(layout, i, at),
					    phys != virt_to_phys(piece + at),
					    "byte %zu of piece %d", at, i);
			KUNIT_ASSERT_EQ_MSG(test, pattern(i, at),
					    *(u8 *)phys_to_virt(phys),
					    "byte %zu of piece %d", at, i);
		}
	}
	addr = state.addr;
	dma_iova_destroy(dev, &state, size, DMA_TO_DEVICE, 0);
	expect_nothing_at(test, addr, size);
}

/* What the device wrote is in the memory after unmapping, and no more than that. */
static void test_bounce_in(struct kunit *test)
{
	const struct layout *layout = test->param_value;
	struct dma_iova_state state;
	dma_addr_t addr;
	size_t size;

	need_bouncing(test);
	fill_pieces(layout, 0xff);
	size = link_layout(test, &state, layout, DMA_FROM_DEVICE);
	addr = state.addr;
	for (int i = 0; i < MAX_PIECES; i++)
		for (size_t at = 0; at < layout->pieces[i]; at++)
			*(u8 *)phys_to_virt(reached(addr++)) = pattern(i, at);
	dma_iova_destroy(dev, &state, size, DMA_FROM_DEVICE, 0);
	for (int i = 0; i < MAX_PIECES; i++) {
		u8 *piece = layout_piece(layout, i);

		for (size_t at = 0; at < layout->pieces[i]; at++)
			KUNIT_ASSERT_EQ_MSG(test, pattern(i, at), piece[at],
					    "byte %zu of piece %d", at, i);
		KUNIT_EXPECT_EQ(test, 0, piece[layout->pieces[i]]);
		KUNIT_EXPECT_TRUE(test, !offset_in_page(piece) || !piece[-1]);
	}
}

/* A failure in one piece of a link: the pieces before it must not stay. */
struct failure {
	const char *name;
	const char *function;
	unsigned int nth;
	long value;
	int error;
};

static const struct failure bounce_failures[] = {
	{ "mapping the head", "iommu_map_nosync", 1, -EIO, -EIO },
	{ "mapping the middle", "iommu_map_nosync", 2, -EIO, -EIO },
	{ "mapping the tail", "iommu_map_nosync", 3, -EIO, -EIO },
	{ "copying the head", "swiotlb_tbl_map_single", 1, -1, -ENOMEM },
	{ "copying the tail", "swiotlb_tbl_map_single", 2, -1, -ENOMEM },
};

KUNIT_ARRAY_PARAM_DESC(bounce_failure, bounce_failures, name);

static void test_bounce_fails(struct kunit *test)
{
	const struct failure *failure = test->param_value;
	struct fail_nth fail = {
		.nth = failure->nth,
		.count = 1,
		.value = failure->value,
	};
	phys_addr_t phys = virt_to_phys(host_memory[0]) + 100;
	size_t size = 3996 + 4096 + 500;
	struct dma_iova_state state;
	int ret;

	need_bouncing(test);
	KUNIT_ASSERT_TRUE(test, dma_iova_try_alloc(dev, &state, phys, size));
	KUNIT_ASSERT_EQ(test, 0, fail_nth_start(&fail, failure->function));
	ret = dma_iova_link(dev, &state, phys, 0, size, DMA_TO_DEVICE, 0);
	fail_nth_stop(&fail);
	KUNIT_EXPECT_EQ(test, failure->error, ret);
	expect_nothing_at(test, state.addr, size);
	dma_iova_free(dev, &state);
}

#ifdef DMA_IOVA_SLOT_SHIFT /* mainline warns of these callers */
/* Pieces each @start bytes into a granule of its own. */
static const struct layout gap_layouts[] = {
	{ "inside of granules", 512, { 1024, 1024, 1024 } },
	{ "to the end of granules", 512, { 3584, 3584, 3584 } },
	{ "from the start of granules", 0, { 1024, 1024, 1024 } },
	{ "a granule more each", 512, { 3584 + 4096, 3584 + 4096, 100 } },
};

KUNIT_ARRAY_PARAM_DESC(gap_layout, gap_layouts, name);

/* Refused, or copied back: no piece is linked and then lost. */
static void test_bounce_gaps(struct kunit *test)
{
	const struct layout *layout = test->param_value;
	size_t offsets[MAX_PIECES], end = 0;
	struct dma_iova_state state;
	int linked = 0, ret = 0;

	need_bouncing(test);
	for (int i = 0; i < MAX_PIECES && layout->pieces[i]; i++) {
		offsets[i] = i ? ALIGN(layout->start + end, granule()) : 0;
		end = offsets[i] + layout->pieces[i];
		memset(host_memory[i], 0, PIECE_SIZE);
	}
	KUNIT_ASSERT_TRUE(test, dma_iova_try_alloc(dev, &state, layout->start,
						   end));
	for (; linked < MAX_PIECES && layout->pieces[linked]; linked++) {
		ret = dma_iova_link(dev, &state,
				    virt_to_phys(host_memory[linked]) +
				    layout->start, offsets[linked],
				    layout->pieces[linked], DMA_FROM_DEVICE, 0);
		if (ret)
			break;
	}
	if (ret)
		KUNIT_EXPECT_EQ(test, -EINVAL, ret);
	for (int i = 0; i < linked; i++)
		for (size_t at = 0; at < layout->pieces[i]; at++)
			*(u8 *)phys_to_virt(reached(state.addr + offsets[i] +
						    at)) = pattern(i, at);
	end = linked ? offsets[linked - 1] + layout->pieces[linked - 1] : 0;
	dma_iova_destroy(dev, &state, end, DMA_FROM_DEVICE, 0);
	for (int i = 0; i < linked; i++)
		for (size_t at = 0; at < layout->pieces[i]; at++)
			KUNIT_ASSERT_EQ_MSG(test, pattern(i, at),
				((u8 *)host_memory[i])[layout->start + at],
				"byte %zu of piece %d", at, i);
}

/* In granules, of a range of two. */
static const struct {
	size_t offset;
	size_t size;
} outside[] = {
	{ 0, 3 }, { 1, 2 }, { 2, 1 }, { 3, 1 }, { 100, 1 }, { 0, 0 }, { 2, 0 },
};

static void test_link_outside(struct kunit *test)
{
	phys_addr_t phys = virt_to_phys(host_memory[0]);
	struct dma_iova_state state;
	dma_addr_t addr;

	need_iommu(test);
	/* what lies behind the first range is this test's, too */
	KUNIT_ASSERT_TRUE(test, dma_iova_try_alloc(dev, &state, 0,
						   128 * granule()));
	addr = state.addr;
	state.__size = 2 * granule();
	for (int i = 0; i < ARRAY_SIZE(outside); i++) {
		size_t offset = outside[i].offset * granule();

		KUNIT_EXPECT_EQ_MSG(test, -EINVAL,
			dma_iova_link(dev, &state, phys, offset,
				      outside[i].size * granule(),
				      DMA_TO_DEVICE, 0),
			"%zu granules at %zu", outside[i].size,
			outside[i].offset);
		KUNIT_EXPECT_EQ(test, 0, reached(addr + offset));
	}
	state.__size = 128 * granule();
	dma_iova_free(dev, &state);
}

#ifdef CONFIG_KMSAN
/*
 * KMSAN takes for initialised what the device was given to write. Otherwise it
 * reports this to the kernel's log, and an empty buffer that is written out.
 */
static void test_kmsan(struct kunit *test)
{
	struct dma_iova_state state;
	struct page *page;
	dma_addr_t addr;

	page = alloc_page(GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, page);
	if (domain) {
		KUNIT_ASSERT_TRUE(test, dma_iova_try_alloc(dev, &state, 0,
							   PAGE_SIZE));
		KUNIT_EXPECT_EQ(test, 0, dma_iova_link(dev, &state,
				page_to_phys(page), 0, PAGE_SIZE,
				DMA_FROM_DEVICE, 0));
		dma_iova_destroy(dev, &state, PAGE_SIZE, DMA_FROM_DEVICE, 0);
	} else {
		addr = dma_map_phys(dev, page_to_phys(page), PAGE_SIZE,
				    DMA_FROM_DEVICE, 0);
		KUNIT_EXPECT_EQ(test, 0, dma_mapping_error(dev, addr));
		dma_unmap_phys(dev, addr, PAGE_SIZE, DMA_FROM_DEVICE, 0);
	}
	kmsan_check_memory(page_address(page), PAGE_SIZE);
	__free_page(page);
}
#endif
#endif

static const struct failure link_failures[] = {
	{ "first link", "iommu_map_nosync", 1, -ENOMEM, -ENOMEM },
	{ "second link", "iommu_map_nosync", 2, -ENOMEM, -ENOMEM },
	{ "last link", "iommu_map_nosync", 3, -EIO, -EIO },
	{ "sync", "iommu_sync_map", 1, -EIO, -EIO },
};

KUNIT_ARRAY_PARAM_DESC(link_failure, link_failures, name);

static void test_link_fails(struct kunit *test)
{
	const struct failure *failure = test->param_value;
	struct fail_nth fail = {
		.nth = failure->nth,
		.count = 1,
		.value = failure->value,
	};
	struct dma_iova_state state;
	size_t linked = 0, size;
	dma_addr_t addr;
	int ret = 0;

	need_iommu(test);
	size = 3 * granule();
	KUNIT_ASSERT_TRUE(test, dma_iova_try_alloc(dev, &state, 0, size));
	addr = state.addr;
	KUNIT_ASSERT_EQ(test, 0, fail_nth_start(&fail, failure->function));
	for (int i = 0; i < 3 && !ret; i++) {
		ret = dma_iova_link(dev, &state, virt_to_phys(host_memory[i]),
				    linked, granule(), DMA_TO_DEVICE, 0);
		if (!ret)
			linked += granule();
	}
	if (!ret)
		ret = dma_iova_sync(dev, &state, 0, linked);
	fail_nth_stop(&fail);

	KUNIT_EXPECT_EQ(test, failure->error, ret);
	for (int i = 0; i < 3; i++)
		KUNIT_EXPECT_EQ(test, reached(addr + i * granule()),
				i * granule() < linked ?
					virt_to_phys(host_memory[i]) : 0);
	dma_iova_destroy(dev, &state, linked, DMA_TO_DEVICE, 0);
	expect_nothing_at(test, addr, size);
}

static void test_unlink_part(struct kunit *test)
{
	struct dma_iova_state state;
	size_t step, size;

	need_iommu(test);
	step = granule();
	size = MAX_PIECES * step;
	KUNIT_ASSERT_TRUE(test, dma_iova_try_alloc(dev, &state, 0, size));
	/* a gap at first, then another piece in it */
	for (int i = 0; i < MAX_PIECES; i++)
		if (i != 1)
			KUNIT_ASSERT_EQ(test, 0, dma_iova_link(dev, &state,
					virt_to_phys(host_memory[i]), i * step,
					step, DMA_TO_DEVICE, 0));
	expect_nothing_at(test, state.addr + step, step);
	KUNIT_ASSERT_EQ(test, 0, dma_iova_link(dev, &state,
			virt_to_phys(host_memory[1]), step, step,
			DMA_TO_DEVICE, 0));
	KUNIT_ASSERT_EQ(test, 0, dma_iova_sync(dev, &state, 0, size));

	dma_iova_unlink(dev, &state, step, 2 * step, DMA_TO_DEVICE, 0);
	expect_nothing_at(test, state.addr + step, 2 * step);
	KUNIT_EXPECT_EQ(test, virt_to_phys(host_memory[0]),
			reached(state.addr));
	KUNIT_EXPECT_EQ(test, virt_to_phys(host_memory[3]),
			reached(state.addr + 3 * step));
	dma_iova_unlink(dev, &state, 0, step, DMA_TO_DEVICE, 0);
	dma_iova_unlink(dev, &state, 3 * step, step, DMA_TO_DEVICE, 0);
	expect_nothing_at(test, state.addr, size);
	dma_iova_free(dev, &state);
}

/* Of a transfer that was never linked, or only in part. */
static void test_destroy_part(struct kunit *test)
{
	struct dma_iova_state state;
	dma_addr_t addr;
	size_t size;

	need_iommu(test);
	size = 8 * granule();
	KUNIT_ASSERT_TRUE(test, dma_iova_try_alloc(dev, &state, 0, size));
	dma_iova_destroy(dev, &state, 0, DMA_TO_DEVICE, 0);

	KUNIT_ASSERT_TRUE(test, dma_iova_try_alloc(dev, &state, 0, size));
	addr = state.addr;
	KUNIT_ASSERT_EQ(test, 0, dma_iova_link(dev, &state,
			virt_to_phys(host_memory[0]), 0, 2 * granule(),
			DMA_TO_DEVICE, 0));
	KUNIT_ASSERT_EQ(test, 0, dma_iova_sync(dev, &state, 0, 2 * granule()));
	dma_iova_destroy(dev, &state, 2 * granule(), DMA_TO_DEVICE, 0);
	expect_nothing_at(test, addr, size);
}

/*
 * More than 32 bits can count, of memory that nobody reads: no RAM is so high.
 * The kernel then thinks that IOVAs below 4 GiB have run out and begins at the
 * other end, where QEMU 7.2 errs: to it an SGL descriptor is too long already
 * if it ends with the last of all addresses.
 */
static void test_beyond_4g(struct kunit *test)
{
	const size_t size = SZ_4G + SZ_2M + SZ_4K;
	const phys_addr_t phys = 1ULL << 36;
	static const size_t at[] = { 0, SZ_2M, SZ_4G - 1, SZ_4G, SZ_4G + SZ_2M,
				     SZ_4G + SZ_2M + SZ_4K - 1 };
	struct dma_iova_state state;
	bool low_first;
	dma_addr_t addr;

	need_iommu(test);
	low_first = dev->iommu->pci_32bit_workaround;
	KUNIT_ASSERT_TRUE(test, dma_iova_try_alloc(dev, &state, phys, size));
	dev->iommu->pci_32bit_workaround = low_first;
	KUNIT_EXPECT_EQ(test, size, dma_iova_size(&state));
	addr = state.addr;
	KUNIT_ASSERT_EQ(test, 0, dma_iova_link(dev, &state, phys, 0,
					       SZ_4G + SZ_2M, DMA_TO_DEVICE,
					       DMA_ATTR_MMIO));
	KUNIT_ASSERT_EQ(test, 0, dma_iova_link(dev, &state, phys + SZ_4G + SZ_2M,
					       SZ_4G + SZ_2M, SZ_4K,
					       DMA_TO_DEVICE, DMA_ATTR_MMIO));
	KUNIT_ASSERT_EQ(test, 0, dma_iova_sync(dev, &state, 0, size));
	for (int i = 0; i < ARRAY_SIZE(at); i++)
		KUNIT_EXPECT_EQ(test, phys + at[i], reached(addr + at[i]));

	dma_iova_unlink(dev, &state, SZ_4G + SZ_2M, SZ_4K, DMA_TO_DEVICE,
			DMA_ATTR_MMIO);
	KUNIT_EXPECT_EQ(test, 0, reached(addr + SZ_4G + SZ_2M));
	KUNIT_EXPECT_EQ(test, phys + SZ_2M, reached(addr + SZ_2M));
	dma_iova_destroy(dev, &state, SZ_4G + SZ_2M, DMA_TO_DEVICE,
			 DMA_ATTR_MMIO);
	for (int i = 0; i < ARRAY_SIZE(at); i++)
		KUNIT_EXPECT_EQ(test, 0, reached(addr + at[i]));
}

static bool is_reached_by(const char *how)
{
	return !strcmp(p2p, how);
}

static void test_map_phys(struct kunit *test)
{
	void *kva = host_memory[0] + 1000;
	dma_addr_t addr;

	memset(kva, 0x5a, 5000);
	addr = dma_map_phys(dev, virt_to_phys(kva), 5000, DMA_TO_DEVICE, 0);
	KUNIT_ASSERT_EQ(test, 0, dma_mapping_error(dev, addr));
	KUNIT_EXPECT_EQ(test, !bounces || domain,
			reached(addr) == virt_to_phys(kva));
	KUNIT_EXPECT_EQ(test, 0x5a, *(u8 *)phys_to_virt(reached(addr + 4999)));
	if (domain || bounces)
		KUNIT_EXPECT_TRUE(test, dma_need_unmap(dev));
	dma_unmap_phys(dev, addr, 5000, DMA_TO_DEVICE, 0);
	if (domain)
		expect_nothing_at(test, addr, 5000);
}

static void test_map_phys_p2p(struct kunit *test)
{
	phys_addr_t phys;
	dma_addr_t addr;

	need_p2p(test);
	if (!is_reached_by("bridge"))
		kunit_skip(test, "P2P memory is not reached by mapping it");
	phys = virt_to_phys(p2p_memory[0]) + 4096;
	addr = dma_map_phys(dev, phys, 8192, DMA_FROM_DEVICE, DMA_ATTR_MMIO);
	KUNIT_ASSERT_EQ(test, 0, dma_mapping_error(dev, addr));
	KUNIT_EXPECT_EQ(test, phys + 8191, reached(addr + 8191));
	dma_unmap_phys(dev, addr, 8192, DMA_FROM_DEVICE, DMA_ATTR_MMIO);
	if (domain)
		expect_nothing_at(test, addr, 8192);
}

#ifdef P2P_STATE_EXPORTED
static void test_p2p_class(struct kunit *test)
{
	struct pci_p2pdma_map_state state = {};
	enum pci_p2pdma_map_type expected = PCI_P2PDMA_MAP_NOT_SUPPORTED;

	KUNIT_EXPECT_EQ(test, PCI_P2PDMA_MAP_NONE,
			pci_p2pdma_state(&state, dev,
					 virt_to_page(host_memory[0])));
	need_p2p(test);
	if (is_reached_by("bus"))
		expected = PCI_P2PDMA_MAP_BUS_ADDR;
	else if (is_reached_by("bridge"))
		expected = PCI_P2PDMA_MAP_THRU_HOST_BRIDGE;
	KUNIT_EXPECT_EQ(test, expected,
			pci_p2pdma_state(&state, dev,
					 virt_to_page(p2p_memory[0])));
	/* the emulated bus has the addresses of the processor */
	KUNIT_EXPECT_EQ(test, virt_to_phys(p2p_memory[0]),
			pci_p2pdma_bus_addr_map(state.mem,
						virt_to_phys(p2p_memory[0])));
	KUNIT_EXPECT_EQ(test, PCI_P2PDMA_MAP_NONE,
			pci_p2pdma_state(&state, dev,
					 virt_to_page(host_memory[0])));
}
#endif

/* The memory of a request; pieces of one bio follow each other. */
struct request_layout {
	const char *name;
	struct {
		unsigned int bio;
		unsigned int start;
		unsigned int len;
	} pieces[MAX_PIECES];
};

static const struct request_layout request_layouts[] = {
	{ "one page", { { 0, 0, 4096 } } },
	{ "a sector inside a page", { { 0, 1024, 512 } } },
	{ "two pages straddled", { { 0, 3584, 1024 } } },
	{ "many pages of one folio", { { 0, 0, 32768 } } },
	{ "scattered pages of a bio",
	  { { 0, 1536, 2560 }, { 0, 0, 4096 }, { 0, 0, 8192 }, { 0, 0, 512 } } },
	{ "bios of one page each",
	  { { 0, 0, 4096 }, { 1, 0, 4096 }, { 2, 0, 4096 }, { 3, 0, 1024 } } },
	{ "bios of several pages",
	  { { 0, 0, 8192 }, { 0, 0, 4096 }, { 1, 0, 20480 }, { 1, 0, 512 } } },
};

KUNIT_ARRAY_PARAM_DESC(request_layout, request_layouts, name);

static void free_request(void *data)
{
	struct request *req = data;
	struct bio *bio;

	while ((bio = req->bio)) {
		req->bio = bio->bi_next;
		bio_put(bio);
	}
	blk_mq_free_request(req);
}

static struct request *make_request(struct kunit *test, enum req_op op,
				    const struct request_layout *layout,
				    void **memory)
{
	struct request *req = blk_mq_alloc_request(queue, op, 0);
	struct bio *bio;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, req);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, free_request, req));
	for (int i = 0; i < MAX_PIECES && layout->pieces[i].len;) {
		unsigned int nr = layout->pieces[i].bio;

		bio = bio_alloc(file_bdev(disk_file), MAX_PIECES, op,
				GFP_KERNEL);
		for (; i < MAX_PIECES && layout->pieces[i].len &&
		     layout->pieces[i].bio == nr; i++) {
			void *kva = memory[i] + layout->pieces[i].start;

			KUNIT_ASSERT_EQ(test, layout->pieces[i].len,
					bio_add_page(bio, virt_to_page(kva),
						     layout->pieces[i].len,
						     offset_in_page(kva)));
		}
		KUNIT_ASSERT_EQ(test, 0, blk_rq_append_bio(req, bio));
	}
	return req;
}

/* The DMA ranges of a request, as a driver keeps them until it unmaps. */
struct mapping {
	struct dma_iova_state state;
	enum pci_p2pdma_map_type map;
	size_t size;
	unsigned int nr;
	struct {
		dma_addr_t addr;
		u32 len;
	} ranges[64];
};

static void keep_range(struct kunit *test, struct mapping *m,
		      struct blk_dma_iter *iter)
{
	KUNIT_ASSERT_LT(test, m->nr, ARRAY_SIZE(m->ranges));
	m->ranges[m->nr].addr = iter->addr;
	m->ranges[m->nr++].len = iter->len;
	m->size += iter->len;
}

static struct mapping *map_request(struct kunit *test, struct request *req)
{
	struct mapping *m = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);
	struct blk_dma_iter iter;

	KUNIT_ASSERT_NOT_NULL(test, m);
	KUNIT_ASSERT_TRUE(test, blk_rq_dma_map_iter_start(req, dev, &m->state,
							  &iter));
	do {
		keep_range(test, m, &iter);
	} while (blk_rq_dma_map_iter_next(req, dev, &iter));
	KUNIT_ASSERT_EQ(test, 0, blk_status_to_errno(iter.status));
	m->map = iter.p2pdma.map;
	return m;
}

static void unmap_request(struct request *req, struct mapping *m)
{
	unsigned long attrs = 0;

	if (blk_rq_dma_unmap(req, dev, &m->state, m->size, m->map))
		return;
	if (m->map == PCI_P2PDMA_MAP_THRU_HOST_BRIDGE)
		attrs = DMA_ATTR_MMIO;
	for (unsigned int i = 0; i < m->nr; i++)
		dma_unmap_phys(dev, m->ranges[i].addr, m->ranges[i].len,
			       rq_dma_dir(req), attrs);
}

static void expect_unmapped(struct kunit *test, const struct mapping *m)
{
	if (!domain || m->map == PCI_P2PDMA_MAP_BUS_ADDR)
		return;
	for (unsigned int i = 0; i < m->nr; i++)
		expect_nothing_at(test, m->ranges[i].addr, m->ranges[i].len);
}

/* The DMA address of a byte of a request. */
static dma_addr_t mapped_at(struct kunit *test, const struct mapping *m,
			    size_t at)
{
	unsigned int i;

	for (i = 0; i < m->nr && at >= m->ranges[i].len; i++)
		at -= m->ranges[i].len;
	KUNIT_ASSERT_LT(test, i, m->nr);
	return m->ranges[i].addr + at;
}

static phys_addr_t p2p_reached(const struct mapping *m, dma_addr_t addr)
{
	return m->map == PCI_P2PDMA_MAP_BUS_ADDR ? addr : reached(addr);
}

static void fill_memory(void)
{
	for (int i = 0; i < MAX_PIECES; i++)
		for (size_t at = 0; at < PIECE_SIZE; at++)
			((u8 *)host_memory[i])[at] = pattern(i, at);
}

static void map_host_request(struct kunit *test, struct request *req,
			     const struct request_layout *layout,
			     bool may_bounce)
{
	struct mapping *m;
	size_t done = 0;

	fill_memory();
	m = map_request(test, req);
	for (int i = 0; i < MAX_PIECES; i++) {
		void *piece = host_memory[i] + layout->pieces[i].start;
		size_t len = layout->pieces[i].len;

		for (size_t at = 0; at < len; at += STEP, done += STEP) {
			phys_addr_t phys = reached(mapped_at(test, m, done));

			KUNIT_ASSERT_NE(test, 0, phys);
			if (!may_bounce)
				KUNIT_ASSERT_EQ(test, phys,
						virt_to_phys(piece + at));
			KUNIT_ASSERT_MEMEQ(test, phys_to_virt(phys),
					   piece + at, STEP);
		}
	}
	KUNIT_EXPECT_EQ(test, done, m->size);
	unmap_request(req, m);
	expect_unmapped(test, m);
}

static void map_layout(struct kunit *test, bool may_bounce)
{
	const struct request_layout *layout = test->param_value;
	struct request *req = make_request(test, REQ_OP_DRV_OUT, layout,
					   host_memory);

	map_host_request(test, req, layout, may_bounce);
}

static void test_request(struct kunit *test)
{
	map_layout(test, bounces && !domain);
}

static void test_request_bounced(struct kunit *test)
{
	need_bouncing(test);
	map_layout(test, true);
}

/* Of a queue that takes pieces which begin and end anywhere; the disk's does not. */
static void test_request_gaps(struct kunit *test)
{
	static const struct request_layout layout = {
		.pieces = { { 0, 1024, 512 }, { 0, 512, 5120 },
			    { 0, 3584, 8192 }, { 0, 0, 1536 } },
	};
	struct request *model = make_request(test, REQ_OP_DRV_OUT,
					     &request_layouts[0], host_memory);
	struct request_queue *q = kunit_kzalloc(test, sizeof(*q), GFP_KERNEL);
	struct request *req = kunit_kzalloc(test, sizeof(*req), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, q);
	KUNIT_ASSERT_NOT_NULL(test, req);
	q->limits = queue->limits;
	q->limits.virt_boundary_mask = 0;
	req->q = q;
	req->tag = model->tag;
	req->cmd_flags = model->cmd_flags;
	req->bio = model->bio;
	bio_reset(req->bio, file_bdev(disk_file), REQ_OP_DRV_OUT);
	for (int i = 0; i < MAX_PIECES; i++) {
		void *kva = host_memory[i] + layout.pieces[i].start;

		KUNIT_ASSERT_EQ(test, layout.pieces[i].len,
				bio_add_page(req->bio, virt_to_page(kva),
					     layout.pieces[i].len,
					     offset_in_page(kva)));
	}
	req->__data_len = req->bio->bi_iter.bi_size;
	req->nr_phys_segments = MAX_PIECES;
	map_host_request(test, req, &layout, bounces && !domain);
}

static void test_request_p2p(struct kunit *test)
{
	const struct request_layout *layout = test->param_value;
	struct dma_iova_state state;
	struct blk_dma_iter iter;
	struct request *req;
	struct mapping *m;
	size_t done = 0;

	need_p2p(test);
	req = make_request(test, REQ_OP_DRV_IN, layout, p2p_memory);
	if (is_reached_by("none")) {
		KUNIT_EXPECT_FALSE(test, blk_rq_dma_map_iter_start(req, dev,
								   &state,
								   &iter));
		KUNIT_EXPECT_NE(test, 0, blk_status_to_errno(iter.status));
		return;
	}
	m = map_request(test, req);
	for (int i = 0; i < MAX_PIECES; i++) {
		void *piece = p2p_memory[i] + layout->pieces[i].start;
		size_t len = layout->pieces[i].len;

		for (size_t at = 0; at < len; at += STEP, done += STEP)
			KUNIT_ASSERT_EQ(test, virt_to_phys(piece + at),
					p2p_reached(m, mapped_at(test, m,
								 done)));
	}
	KUNIT_EXPECT_EQ(test, done, m->size);
	unmap_request(req, m);
	expect_unmapped(test, m);
}

/* Two blocks of memory with as much as possible between them, bounce buffers too. */
static void alloc_apart(struct kunit *test, void **low, void **high)
{
	void **blocks = kunit_kcalloc(test, APART_TRIES, sizeof(*blocks),
				      GFP_KERNEL);
	unsigned int nr;

	KUNIT_ASSERT_NOT_NULL(test, blocks);
	for (nr = 0; nr < APART_TRIES; nr++) {
		blocks[nr] = alloc_pages_exact(APART_SIZE, GFP_KERNEL |
					       __GFP_NORETRY | __GFP_NOWARN);
		if (!blocks[nr])
			break;
		*low = nr ? min(*low, blocks[nr]) : blocks[nr];
		*high = nr ? max(*high, blocks[nr]) : blocks[nr];
	}
	while (nr--)
		if (blocks[nr] != *low && blocks[nr] != *high)
			free_pages_exact(blocks[nr], APART_SIZE);
}

/* Have everything from @limit on bounce; forget what has bounced so far. */
static void limit_reach(struct kunit *test, u64 limit)
{
	dev->bus_dma_limit = limit;
	KUNIT_ASSERT_EQ(test, 0, dma_set_mask(dev, dma_get_mask(dev)));
}

static void limit_reach_below(struct kunit *test, void *high)
{
	dma_addr_t addr;

	limit_reach(test, virt_to_phys(high) - 1);
	addr = dma_map_phys(dev, virt_to_phys(high), PAGE_SIZE, DMA_TO_DEVICE,
			    0);
	if (dma_mapping_error(dev, addr)) {
		limit_reach(test, 0);
		KUNIT_FAIL_AND_ABORT(test, "no bounce buffer is so low");
	}
	dma_unmap_phys(dev, addr, PAGE_SIZE, DMA_TO_DEVICE, 0);
	limit_reach(test, virt_to_phys(high) - 1);
}

static int read_disk(void *pieces[], size_t len)
{
	struct bio *bio = bio_alloc(file_bdev(disk_file), MAX_PIECES,
				    REQ_OP_READ, GFP_KERNEL);
	int ret;

	bio->bi_iter.bi_sector = SZ_16M >> SECTOR_SHIFT;
	for (int i = 0; i < MAX_PIECES; i++)
		if (bio_add_page(bio, virt_to_page(pieces[i]), len, 0) != len)
			break;
	ret = bio->bi_iter.bi_size == MAX_PIECES * len ? submit_bio_wait(bio) :
							 -E2BIG;
	bio_put(bio);
	return ret;
}

/* A driver may ask for the reach of its device once, when it is bound. */
static void bind_again(struct kunit *test)
{
	int tries = 100;

	__fput_sync(disk_file);
	disk_file = NULL;
	KUNIT_ASSERT_EQ(test, 0, device_reprobe(dev));
	do {
		msleep(50);
		disk_file = bdev_file_open_by_path(disk, BLK_OPEN_READ, NULL,
						   NULL);
	} while (IS_ERR(disk_file) && --tries);
	KUNIT_ASSERT_FALSE(test, IS_ERR(disk_file));
	queue = bdev_get_queue(file_bdev(disk_file));
}

/*
 * A device that never bounced anything, and of one request only the last piece
 * is out of its reach: whether to unmap is not known at the first piece.
 */
static void test_late_bounce(struct kunit *test)
{
	void *pieces[MAX_PIECES], *low = NULL, *high = NULL, *last;
	int ret;

	if (domain || bounces || !can_bounce)
		kunit_skip(test, "nothing bounces for want of reach");
	if (peer == drive)
		kunit_skip(test, "the drive's P2P memory keeps it bound");
	alloc_apart(test, &low, &high);
	KUNIT_ASSERT_PTR_NE(test, low, high);
	for (int i = 0; i < MAX_PIECES; i++)
		pieces[i] = low + i * PIECE_SIZE;
	last = pieces[MAX_PIECES - 1];
	KUNIT_ASSERT_EQ(test, 0, read_disk(pieces, PAGE_SIZE));
	pieces[MAX_PIECES - 1] = high;
	memset(high, 0xa5, PAGE_SIZE);

	limit_reach_below(test, high);
	bind_again(test);
	limit_reach(test, virt_to_phys(high) - 1);
	KUNIT_EXPECT_FALSE(test, dma_need_unmap(dev));
	ret = read_disk(pieces, PAGE_SIZE);
	KUNIT_EXPECT_TRUE(test, dma_need_unmap(dev));
	limit_reach(test, 0);
	bind_again(test);

	KUNIT_EXPECT_EQ(test, 0, ret);
	KUNIT_EXPECT_MEMEQ(test, last, high, PAGE_SIZE);
	free_pages_exact(high, APART_SIZE);
	free_pages_exact(low, APART_SIZE);
}

static struct mapping *map_metadata(struct kunit *test, struct request *req)
{
	struct mapping *m = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);
	struct blk_dma_iter iter;

	KUNIT_ASSERT_NOT_NULL(test, m);
	KUNIT_ASSERT_TRUE(test, blk_rq_integrity_dma_map_iter_start(req, dev,
								    &m->state,
								    &iter));
	keep_range(test, m, &iter);
	m->map = iter.p2pdma.map;
	return m;
}

/* Data in host memory; its metadata in P2P memory too, where there is some. */
static void test_metadata(struct kunit *test)
{
	void *kinds[] = { host_memory[1], peer ? p2p_memory[1] : NULL };
	struct request *req;
	struct mapping *m;
	phys_addr_t phys;

	if (!queue_max_integrity_segments(queue))
		kunit_skip(test, "the disk takes no metadata");
	fill_memory();
	for (int i = 0; i < ARRAY_SIZE(kinds) && kinds[i]; i++) {
		if (i && is_reached_by("none"))
			break;
		req = make_request(test, REQ_OP_DRV_OUT, &request_layouts[0],
				   host_memory);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test,
			bio_integrity_alloc(req->bio, GFP_KERNEL, 1));
		KUNIT_ASSERT_EQ(test, 64,
			bio_integrity_add_page(req->bio, virt_to_page(kinds[i]),
					       64, 192));
		m = map_metadata(test, req);
		KUNIT_EXPECT_EQ(test, 64, m->size);
		phys = p2p_reached(m, m->ranges[0].addr);
		if (i || domain || !bounces)
			KUNIT_EXPECT_EQ(test, virt_to_phys(kinds[i] + 192),
					phys);
		else
			KUNIT_EXPECT_MEMEQ(test, phys_to_virt(phys),
					   kinds[i] + 192, 64);
		unmap_request(req, m);
		expect_unmapped(test, m);
	}
}

static struct kunit_case compat_cases[] = {
	KUNIT_CASE(test_alloc_and_free),
	KUNIT_CASE_PARAM(test_link, layout_gen_params),
	KUNIT_CASE_PARAM(test_bounce_out, layout_gen_params),
	KUNIT_CASE_PARAM(test_bounce_in, layout_gen_params),
	KUNIT_CASE_PARAM(test_bounce_fails, bounce_failure_gen_params),
#ifdef DMA_IOVA_SLOT_SHIFT
	KUNIT_CASE_PARAM(test_bounce_gaps, gap_layout_gen_params),
	KUNIT_CASE(test_link_outside),
#ifdef CONFIG_KMSAN
	KUNIT_CASE(test_kmsan),
#endif
#endif
	KUNIT_CASE_PARAM(test_link_fails, link_failure_gen_params),
	KUNIT_CASE(test_unlink_part),
	KUNIT_CASE(test_destroy_part),
	KUNIT_CASE(test_beyond_4g),
	KUNIT_CASE(test_map_phys),
	KUNIT_CASE(test_map_phys_p2p),
#ifdef P2P_STATE_EXPORTED
	KUNIT_CASE(test_p2p_class),
#endif
	KUNIT_CASE_PARAM(test_request, request_layout_gen_params),
	KUNIT_CASE_PARAM(test_request_bounced, request_layout_gen_params),
	KUNIT_CASE(test_request_gaps),
	KUNIT_CASE_PARAM(test_request_p2p, request_layout_gen_params),
	KUNIT_CASE(test_late_bounce),
	KUNIT_CASE(test_metadata),
	{}
};

static struct kunit_suite compat_suite = {
	.name = "dma_iova_compat",
	.suite_init = compat_suite_init,
	.suite_exit = compat_suite_exit,
	.exit = compat_exit,
	.test_cases = compat_cases,
};
kunit_test_suite(compat_suite);

MODULE_DESCRIPTION("Two-step DMA mapping by mainline's names, tested");
MODULE_LICENSE("GPL");
