// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the PRP lists of registered buffers. Commands are read as a
 * controller would, and held to the DMA addresses of the buffer.
 */
#include <kunit/device.h>
#include <kunit/test.h>
#include <linux/dma-direct.h>
#include <linux/prandom.h>
#include <linux/sizes.h>

#include "pci-buffer.h"

/* Pages of the largest buffer: it needs four lists */
#define MAX_PAGES (3 * NVME_PRPS_PER_LIST + 9)

/* The page that begins after 4 GiB, and the pages of a buffer that goes on there */
#define FAR_PAGE (SZ_4G / NVME_CTRL_PAGE_SIZE)
#define FAR_PAGES (FAR_PAGE + 16)

/* A request with the driver's part behind it, and the buffer that it is for */
struct fixture {
	struct request rq;
	struct nvme_iod iod;
	struct device *dev;
	u64 dma_mask;
	struct dma_registration *reg;
	struct nvme_buffer_prps *prps;
};

static_assert(offsetof(struct fixture, iod) == sizeof(struct request));

static struct fixture *fixture(struct kunit *test)
{
	struct fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->dev = kunit_device_register(test, "nvme-buffer");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, f->dev);
	f->dma_mask = DMA_BIT_MASK(64);
	f->dev->dma_mask = &f->dma_mask;
	f->dev->coherent_dma_mask = DMA_BIT_MASK(64);
	/* lists are read where they are, not by the alias that wrote them */
#ifdef CONFIG_ARCH_HAS_SYNC_DMA_FOR_DEVICE
	f->dev->dma_coherent = true;
#endif
	f->reg = kunit_kzalloc(test, struct_size(f->reg, ranges, MAX_PAGES + 1),
			       GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, f->reg);
	return f;
}

static void free_prps(void *data)
{
	struct fixture *f = data;

	nvme_buffer_free_prps(f->dev, f->prps);
	f->prps = NULL;
}

static void write_prps(struct kunit *test, struct fixture *f)
{
	f->prps = nvme_buffer_write_prps(f->dev, f->reg);
	KUNIT_ASSERT_NOT_NULL(test, f->prps);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, free_prps, f));
}

/* As many pages, every three of them neighbours, without the first @pad bytes. */
static void lay_buffer(struct fixture *f, unsigned int nr_pages,
		       unsigned int pad, unsigned int cut)
{
	struct dma_registration *reg = f->reg;
	unsigned int i;

	reg->size = (u64)nr_pages * NVME_CTRL_PAGE_SIZE - pad - cut;
	reg->nr_ranges = DIV_ROUND_UP(nr_pages, 3);
	for (i = 0; i < reg->nr_ranges; i++) {
		reg->ranges[i].addr = BIT_ULL(40) + i * 7 * NVME_CTRL_PAGE_SIZE;
		reg->ranges[i].offset = i * 3 * NVME_CTRL_PAGE_SIZE - pad;
	}
	reg->ranges[0].addr += pad;
	reg->ranges[0].offset = 0;
	reg->ranges[reg->nr_ranges].offset = reg->size;
}

/* FAR_PAGES in two ranges, 8 of them in the second; without the first @pad bytes */
static void lay_far_buffer(struct fixture *f, unsigned int pad)
{
	struct dma_registration *reg = f->reg;
	unsigned int i;

	reg->size = FAR_PAGES * NVME_CTRL_PAGE_SIZE - pad;
	reg->nr_ranges = 2;
	for (i = 0; i < reg->nr_ranges; i++)
		reg->ranges[i].addr = BIT_ULL(40 + 4 * i);
	reg->ranges[0].addr += pad;
	reg->ranges[0].offset = 0;
	reg->ranges[1].offset = reg->size - 8 * NVME_CTRL_PAGE_SIZE;
	reg->ranges[2].offset = reg->size;
}

/* The controller reads or writes @len bytes of memory at @addr. */
static void expect_memory(struct kunit *test, struct fixture *f, u64 addr,
			  u64 offset, u32 len)
{
	u64 left;

	KUNIT_ASSERT_EQ(test, addr,
			dma_registration_addr(f->reg, offset, &left));
	KUNIT_ASSERT_LE(test, len, left);
}

static __le64 *list_at(struct fixture *f, u64 addr)
{
	return phys_to_virt(dma_to_phys(f->dev, addr));
}

static void expect_prps(struct kunit *test, struct fixture *f, u64 offset,
			u32 left)
{
	u64 prp1 = le64_to_cpu(f->iod.cmd.rw.dptr.prp1);
	u64 prp2 = le64_to_cpu(f->iod.cmd.rw.dptr.prp2);
	u32 len = min(left, NVME_CTRL_PAGE_SIZE - prp1 % NVME_CTRL_PAGE_SIZE);
	unsigned int i = prp2 % NVME_CTRL_PAGE_SIZE / sizeof(__le64);
	__le64 *list;

	expect_memory(test, f, prp1, offset, len);
	offset += len;
	left -= len;
	if (left <= NVME_CTRL_PAGE_SIZE) {
		if (left)
			expect_memory(test, f, prp2, offset, left);
		return;
	}
	KUNIT_EXPECT_EQ(test, prp2 % sizeof(__le64), 0);
	list = list_at(f, prp2 & ~(u64)(NVME_CTRL_PAGE_SIZE - 1));
	for (; left; left -= len, offset += len, i++) {
		if (i == NVME_PRPS_PER_PAGE - 1 && left > NVME_CTRL_PAGE_SIZE) {
			list = list_at(f, le64_to_cpu(list[i]));
			i = 0;
		}
		len = min(left, NVME_CTRL_PAGE_SIZE);
		expect_memory(test, f, le64_to_cpu(list[i]), offset, len);
	}
}

/* Data that touches @nr pages from @page on, @from bytes behind its beginning */
static void expect_data(struct kunit *test, struct fixture *f,
			unsigned int page, unsigned int nr, unsigned int from,
			unsigned int to)
{
	unsigned int pad = f->prps->pad;
	u64 start = (u64)page * NVME_CTRL_PAGE_SIZE + from;
	u64 end = (u64)(page + nr) * NVME_CTRL_PAGE_SIZE - to;
	bool fits = page % NVME_PRPS_PER_LIST + nr - 1 <=
		    NVME_PRPS_PER_LIST + NVME_PRPS_PER_PAGE;
	dma_addr_t addr;
	u64 left;

	if (start < pad)
		start = pad;
	if (end > pad + f->reg->size)
		end = pad + f->reg->size;
	if (start >= end)
		return;
	f->rq.__data_len = end - start;
	addr = dma_registration_addr(f->reg, start - pad, &left);
	memset(&f->iod.cmd, 0xff, sizeof(f->iod.cmd));
	KUNIT_ASSERT_EQ(test, fits,
			nvme_dma_set_buffer_prps(&f->rq, f->prps, addr,
						 start - pad));
	if (!fits)
		return;
	KUNIT_EXPECT_FALSE(test, f->iod.cmd.rw.flags & NVME_CMD_SGL_ALL);
	expect_prps(test, f, start - pad, end - start);
}

/* Every beginning and end of lists, with every one of them before the other */
static void expect_all_data(struct kunit *test, struct fixture *f)
{
	static const int around[] = { -2, -1, 0, 1, 2 };
	unsigned int nr_pages = f->prps->nr_pages, i, j, k, l;
	struct rnd_state rnd;

	for (i = 0; i <= 3; i++)
		for (j = 0; j < ARRAY_SIZE(around); j++)
			for (k = i; k <= 3; k++)
				for (l = 0; l < ARRAY_SIZE(around); l++) {
					int first = i * NVME_PRPS_PER_LIST + around[j];
					int last = k * NVME_PRPS_PER_LIST + around[l];

					if (first < 0 || last < first ||
					    last >= nr_pages)
						continue;
					expect_data(test, f, first,
						    last - first + 1, 0, 0);
					expect_data(test, f, first,
						    last - first + 1, 512, 8);
				}

	prandom_seed_state(&rnd, 4711);
	for (i = 0; i < 2000; i++) {
		j = prandom_u32_state(&rnd) % nr_pages;
		k = 1 + prandom_u32_state(&rnd) % (nr_pages - j);
		expect_data(test, f, j, k,
			    prandom_u32_state(&rnd) % NVME_CTRL_PAGE_SIZE & ~3,
			    prandom_u32_state(&rnd) % NVME_CTRL_PAGE_SIZE & ~3);
	}
}

struct buffer_case {
	unsigned int nr_pages;
	unsigned int pad;
	unsigned int cut;
};

static const struct buffer_case buffer_cases[] = {
	{ 1, 512, 8 },
	{ 2, 0, 0 },
	{ 2, 4092, 4092 },
	{ NVME_PRPS_PER_LIST + 1, 0, 0 }, /* all places of a list */
	{ NVME_PRPS_PER_LIST + 2, 0, 0 }, /* and one PRP more */
	{ NVME_PRPS_PER_LIST + 3, 8, 1 },
	{ 2 * NVME_PRPS_PER_LIST + 1, 0, 0 },
	{ MAX_PAGES, 0, 0 },
	{ MAX_PAGES, 3584, 512 },
};

static void buffer_case_desc(const struct buffer_case *c, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u pages but %u and %u bytes",
		 c->nr_pages, c->pad, c->cut);
}

KUNIT_ARRAY_PARAM(buffer, buffer_cases, buffer_case_desc);

static void buffer_prps_test(struct kunit *test)
{
	const struct buffer_case *c = test->param_value;
	struct fixture *f = fixture(test);

	lay_buffer(f, c->nr_pages, c->pad, c->cut);
	write_prps(test, f);
	KUNIT_EXPECT_EQ(test, f->prps->nr_pages, c->nr_pages);
	expect_all_data(test, f);
}

/* Bytes are counted beyond 32 bits. The lists take 17 MiB. */
static void far_buffer_test(struct kunit *test)
{
	static const unsigned int pads[] = { 0, 3584 };
	struct fixture *f = fixture(test);
	unsigned int i, page, nr;

	for (i = 0; i < ARRAY_SIZE(pads); i++) {
		lay_far_buffer(f, pads[i]);
		write_prps(test, f);
		KUNIT_EXPECT_EQ(test, f->prps->nr_pages, FAR_PAGES);
		for (page = FAR_PAGE - 1; page < FAR_PAGES; page++)
			for (nr = 1; page + nr <= FAR_PAGES; nr++)
				expect_data(test, f, page, nr, 0, 0);
		kunit_release_action(test, free_prps, f);
	}
}

static void expect_no_prps(struct kunit *test, struct fixture *f)
{
	f->prps = nvme_buffer_write_prps(f->dev, f->reg);
	KUNIT_EXPECT_NULL(test, f->prps);
	free_prps(f);
}

/* What does not come by the page has no lists, nor have 16 TiB. */
static void bad_buffer_test(struct kunit *test)
{
	struct fixture *f = fixture(test);

	lay_buffer(f, 6, 0, 0);
	f->reg->ranges[1].offset -= 4;
	expect_no_prps(test, f);

	lay_buffer(f, 6, 0, 0);
	f->reg->ranges[1].addr += 4;
	expect_no_prps(test, f);

	lay_far_buffer(f, 0);
	f->reg->size = (UINT_MAX + 2ULL) * NVME_CTRL_PAGE_SIZE;
	f->reg->ranges[2].offset = f->reg->size;
	expect_no_prps(test, f);

	/* the first page is two ranges */
	lay_buffer(f, 4, 512, 0);
	f->reg->ranges[1].offset = 8;
	expect_no_prps(test, f);
}

static struct kunit_case nvme_pci_buffer_cases[] = {
	KUNIT_CASE_PARAM(buffer_prps_test, buffer_gen_params),
	KUNIT_CASE(far_buffer_test),
	KUNIT_CASE(bad_buffer_test),
	{}
};

static struct kunit_suite nvme_pci_buffer_suite = {
	.name = "nvme-pci-buffer",
	.test_cases = nvme_pci_buffer_cases,
};

kunit_test_suite(nvme_pci_buffer_suite);

MODULE_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);
MODULE_DESCRIPTION("KUnit tests of the PRP lists of registered buffers");
MODULE_LICENSE("GPL");
