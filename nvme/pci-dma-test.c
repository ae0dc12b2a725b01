// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of writing and unmapping PRPs and SGLs. Descriptors are read back
 * as a controller would and held to the memory they were made from. Nothing
 * reads the memory itself, so that none has to be at the physical addresses.
 */
#include <kunit/device.h>
#include <kunit/test.h>
#include <linux/dma-direct.h>
#include <linux/prandom.h>
#include <linux/sizes.h>
#include <linux/swiotlb.h>
#include <linux/tracepoint.h>

#include "pci-dma.h"

#define MAX_RANGES 2049
#define MAX_OBJECTS 32

/*
 * Ranges of @len bytes, each @run of them adjacent. The first begins at @offset
 * and is shorter by as much, the last is shorter by @cut.
 */
struct layout {
	unsigned int nr;
	u32 len;
	u32 offset;
	u32 cut;
	unsigned int run;
};

/* Mappings of a device that are not undone yet */
struct watch {
	struct device *dev;
	struct tracepoint *map;
	struct tracepoint *unmap;
	struct {
		dma_addr_t addr;
		size_t len;
	} open[MAX_RANGES];
	unsigned int nr_open;
	unsigned int nr_maps;
	unsigned int strays; /* unmapped, but not mapped like that */
	unsigned int fail_after; /* so many mappings; 0 for never */
};

/* A request with the driver's part behind it, and the controller it is for */
struct fixture {
	struct request rq;
	struct nvme_iod iod;
	struct request_queue q;
	struct bio bio;
	struct phys_vec vecs[MAX_RANGES];
	unsigned int nr;
	struct nvme_dma dma;
	struct blk_dma_client client;
	struct io_tlb_mem no_bounce;
	u64 dma_mask;
	struct watch watch;
	/* what the controller has read: so many vectors and bytes of one more */
	unsigned int read;
	u32 read_len;
};

static_assert(offsetof(struct fixture, iod) == sizeof(struct request));

static void watch_map(void *data, struct device *dev, phys_addr_t phys,
		      dma_addr_t addr, size_t len, enum dma_data_direction dir,
		      unsigned long attrs)
{
	struct watch *watch = data;

	if (dev != watch->dev || addr == DMA_MAPPING_ERROR)
		return;
	if (watch->nr_open < MAX_RANGES) {
		watch->open[watch->nr_open].addr = addr;
		watch->open[watch->nr_open++].len = len;
	}
	if (++watch->nr_maps == watch->fail_after)
		dev->dma_io_tlb_mem->force_bounce = true;
}

static void watch_unmap(void *data, struct device *dev, dma_addr_t addr,
			size_t len, enum dma_data_direction dir,
			unsigned long attrs)
{
	struct watch *watch = data;
	unsigned int i;

	if (dev != watch->dev)
		return;
	for (i = 0; i < watch->nr_open; i++) {
		if (watch->open[i].addr == addr && watch->open[i].len == len) {
			watch->open[i] = watch->open[--watch->nr_open];
			return;
		}
	}
	watch->strays++;
}

static void watch_map_stop(void *data)
{
	struct watch *watch = data;

	tracepoint_probe_unregister(watch->map, watch_map, watch);
	tracepoint_synchronize_unregister();
}

static void watch_unmap_stop(void *data)
{
	struct watch *watch = data;

	tracepoint_probe_unregister(watch->unmap, watch_unmap, watch);
	tracepoint_synchronize_unregister();
}

static void watch_find(struct tracepoint *tp, void *data)
{
	struct watch *watch = data;

	if (!strcmp(tp->name, "dma_map_page"))
		watch->map = tp;
	if (!strcmp(tp->name, "dma_unmap_page"))
		watch->unmap = tp;
}

/* From now on each range is mapped by itself, and has to be unmapped. */
static void watch_start(struct kunit *test, struct watch *watch)
{
	for_each_kernel_tracepoint(watch_find, watch);
	KUNIT_ASSERT_NOT_NULL(test, watch->map);
	KUNIT_ASSERT_NOT_NULL(test, watch->unmap);
	KUNIT_ASSERT_EQ(test, 0,
			tracepoint_probe_register(watch->map, watch_map, watch));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, watch_map_stop, watch));
	KUNIT_ASSERT_EQ(test, 0, tracepoint_probe_register(watch->unmap,
							   watch_unmap, watch));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, watch_unmap_stop,
							   watch));
}

static void destroy_pools(void *dma)
{
	nvme_dma_destroy_pools(dma);
}

/* Mapping is linear unless it is @watched. */
static struct fixture *fixture(struct kunit *test, bool watched)
{
	/* goes after the device, which refers to it */
	struct fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	struct device *dev = kunit_device_register(test, "nvme-dma");

	KUNIT_ASSERT_NOT_NULL(test, f);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dev);
	if (!watched && (IS_ENABLED(CONFIG_DMA_API_DEBUG) ||
			 IS_ENABLED(CONFIG_KMSAN)))
		kunit_skip(test, "this kernel watches every mapping");

	f->dma_mask = DMA_BIT_MASK(64);
	dev->dma_mask = &f->dma_mask;
	dev->coherent_dma_mask = DMA_BIT_MASK(64);
	dev->dma_io_tlb_mem = &f->no_bounce;
	/* nothing is to be done for caches: the memory is not the test's */
#ifdef CONFIG_ARCH_HAS_SYNC_DMA_FOR_DEVICE
	dev->dma_coherent = true;
#endif
	f->watch.dev = dev;
	KUNIT_ASSERT_EQ(test, 0,
			nvme_dma_create_pools(&f->dma, dev,
					      NVME_SMALL_LIST_SIZE));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, destroy_pools, &f->dma));
	blk_dma_client_init(&f->client, dev, &f->dma.reserve, 0);
	if (watched)
		watch_start(test, &f->watch);

	f->q.limits.max_segment_size = UINT_MAX;
	f->q.limits.seg_boundary_mask = ULONG_MAX;
	f->q.limits.virt_boundary_mask = NVME_CTRL_PAGE_SIZE - 1;
	f->rq.q = &f->q;
	return f;
}

/* All that @pool can give without more memory. */
static unsigned int pool_objects(struct dma_pool *pool)
{
	dma_addr_t addrs[MAX_OBJECTS];
	void *objects[MAX_OBJECTS];
	unsigned int i, nr = 0;

	for (; nr < MAX_OBJECTS; nr++) {
		objects[nr] = dma_pool_alloc(pool, GFP_KERNEL, &addrs[nr]);
		if (!objects[nr])
			break;
	}
	for (i = 0; i < nr; i++)
		dma_pool_free(pool, objects[i], addrs[i]);
	return nr;
}

static void pool_fill(struct kunit *test, struct dma_pool *pool,
		      unsigned int nr)
{
	dma_addr_t addrs[NVME_MAX_LISTS];
	void *objects[NVME_MAX_LISTS];
	unsigned int i;

	for (i = 0; i < nr; i++) {
		objects[i] = dma_pool_alloc(pool, GFP_KERNEL, &addrs[i]);
		KUNIT_ASSERT_NOT_NULL(test, objects[i]);
	}
	while (i--)
		dma_pool_free(pool, objects[i], addrs[i]);
}

/* Let there be so many page lists, and small lists or not, and no more. */
static void fill_pools(struct kunit *test, struct fixture *f,
		       unsigned int pages, bool small)
{
	f->dma.dev->coherent_dma_mask = DMA_BIT_MASK(64);
	pool_fill(test, f->dma.page_pool, pages);
	pool_fill(test, f->dma.small_pool, small);
	f->dma.dev->coherent_dma_mask = 1;
}

/* Unmap when the controller, which can write to the lists, has done so. */
static void unmap_data(struct fixture *f)
{
	unsigned int i;

	/* all but what leads to the next list */
	for (i = 0; i < f->iod.nr_lists; i++)
		memset(f->iod.lists[i], 0xff,
		       f->iod.small_list ?
			       NVME_SMALL_LIST_SIZE :
			       NVME_CTRL_PAGE_SIZE - sizeof(__le64));
	nvme_dma_unmap_data(&f->dma, &f->client, &f->rq);
}

static void unmap_metadata(struct fixture *f)
{
	if (f->iod.meta_list)
		memset(f->iod.meta_list, 0xff, NVME_SMALL_LIST_SIZE);
	nvme_dma_unmap_metadata(&f->dma, &f->client, &f->rq);
}

/* All lists are back in their pools, and all that was mapped is unmapped. */
static void expect_clean(struct kunit *test, struct fixture *f,
			 unsigned int pages, bool small)
{
	KUNIT_EXPECT_EQ(test, pages, pool_objects(f->dma.page_pool));
	KUNIT_EXPECT_EQ(test, small ? PAGE_SIZE / NVME_SMALL_LIST_SIZE : 0,
			pool_objects(f->dma.small_pool));
	KUNIT_EXPECT_EQ(test, f->watch.nr_open, 0);
	KUNIT_EXPECT_EQ(test, f->watch.strays, 0);
}

/* The addresses of @vecs count from the start of a GiB that has memory. */
static void lay_vecs(struct kunit *test, struct fixture *f,
		     const struct phys_vec *vecs, unsigned int nr,
		     struct bvec_iter *iter, struct bio_vec **bvecs)
{
	phys_addr_t memory_start = round_down(page_to_phys(ZERO_PAGE(0)), SZ_1G);
	struct bio_vec *bv = kunit_kcalloc(test, nr, sizeof(*bv), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, bv);
	KUNIT_ASSERT_LE(test, nr, MAX_RANGES);
	*iter = (struct bvec_iter){};
	*bvecs = bv;
	for (i = 0; i < nr; i++) {
		f->vecs[i].paddr = memory_start + vecs[i].paddr;
		f->vecs[i].len = vecs[i].len;
		bvec_set_page(&bv[i], pfn_to_page(PHYS_PFN(f->vecs[i].paddr)),
			      vecs[i].len, offset_in_page(vecs[i].paddr));
		iter->bi_size += vecs[i].len;
	}
	f->nr = nr;
}

static void lay_data(struct kunit *test, struct fixture *f,
		     const struct phys_vec *vecs, unsigned int nr)
{
	bio_init(&f->bio, NULL, NULL, 0, REQ_OP_READ);
	lay_vecs(test, f, vecs, nr, &f->bio.bi_iter, &f->bio.bi_io_vec);
	f->rq.bio = &f->bio;
	f->rq.__data_len = f->bio.bi_iter.bi_size;
	f->rq.nr_phys_segments = nr;
}

static void lay_metadata(struct kunit *test, struct fixture *f,
			 const struct phys_vec *vecs, unsigned int nr)
{
	struct bio_integrity_payload *bip;

	bip = kunit_kzalloc(test, sizeof(*bip), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, bip);
	bio_init(&f->bio, NULL, NULL, 0, REQ_OP_READ | REQ_INTEGRITY);
	f->bio.bi_integrity = bip;
	lay_vecs(test, f, vecs, nr, &bip->bip_iter, &bip->bip_vec);
	f->rq.bio = &f->bio;
	f->rq.nr_integrity_segments = nr;
}

static struct phys_vec *layout_vecs(struct kunit *test, const struct layout *l)
{
	struct phys_vec *vecs;
	phys_addr_t paddr = SZ_4M;
	unsigned int i;

	vecs = kunit_kcalloc(test, l->nr, sizeof(*vecs), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vecs);
	for (i = 0; i < l->nr; i++) {
		vecs[i].paddr = paddr;
		vecs[i].len = l->len;
		paddr += l->len;
		if (!l->run || (i + 1) % l->run == 0)
			paddr += 3 * NVME_CTRL_PAGE_SIZE;
	}
	vecs[0].paddr += l->offset;
	vecs[0].len -= l->offset;
	vecs[l->nr - 1].len -= l->cut;
	return vecs;
}

/* The controller reads or writes the next bytes of the memory at @addr. */
static void read_memory(struct kunit *test, struct fixture *f, u64 addr,
			u32 len)
{
	while (len) {
		struct phys_vec *vec = &f->vecs[f->read];
		u32 n;

		KUNIT_ASSERT_LT(test, f->read, f->nr);
		n = min(len, vec->len - f->read_len);
		KUNIT_ASSERT_EQ(test, dma_to_phys(f->dma.dev, addr),
				vec->paddr + f->read_len);
		addr += n;
		len -= n;
		f->read_len += n;
		if (f->read_len == vec->len) {
			f->read++;
			f->read_len = 0;
		}
	}
}

static void expect_all_read(struct kunit *test, struct fixture *f)
{
	KUNIT_EXPECT_EQ(test, f->read, f->nr);
	KUNIT_EXPECT_EQ(test, f->read_len, 0);
	f->read = 0;
	f->read_len = 0;
}

static void *list_at(struct fixture *f, u64 addr)
{
	return phys_to_virt(dma_to_phys(f->dma.dev, addr));
}

/* Read what the PRPs of the command describe. Returns the number of lists. */
static unsigned int read_prps(struct kunit *test, struct fixture *f)
{
	u64 prp1 = le64_to_cpu(f->iod.cmd.rw.dptr.prp1);
	u64 prp2 = le64_to_cpu(f->iod.cmd.rw.dptr.prp2);
	u32 left = f->rq.__data_len;
	u32 len = min(left, NVME_CTRL_PAGE_SIZE - prp1 % NVME_CTRL_PAGE_SIZE);
	unsigned int lists = 1, i = 0;
	__le64 *prps;

	read_memory(test, f, prp1, len);
	left -= len;
	if (left <= NVME_CTRL_PAGE_SIZE) {
		if (left) {
			KUNIT_EXPECT_EQ(test, prp2 % NVME_CTRL_PAGE_SIZE, 0);
			read_memory(test, f, prp2, left);
		}
		return 0;
	}

	for (prps = list_at(f, prp2); left; left -= len, i++) {
		u64 prp = le64_to_cpu(prps[i]);

		if (i == NVME_PRPS_PER_PAGE - 1 && left > NVME_CTRL_PAGE_SIZE) {
			prps = list_at(f, prp);
			prp = le64_to_cpu(prps[0]);
			i = 0;
			lists++;
		}
		KUNIT_EXPECT_EQ(test, prp % NVME_CTRL_PAGE_SIZE, 0);
		len = min(left, NVME_CTRL_PAGE_SIZE);
		read_memory(test, f, prp, len);
	}
	return lists;
}

/* Read what @desc describes. Returns the number of data descriptors. */
static unsigned int read_sgl(struct kunit *test, struct fixture *f,
			     struct nvme_sgl_desc *desc)
{
	unsigned int i, nr = 1;

	if (desc->type == NVME_SGL_FMT_LAST_SEG_DESC << 4) {
		KUNIT_EXPECT_EQ(test, le32_to_cpu(desc->length) % sizeof(*desc),
				0);
		nr = le32_to_cpu(desc->length) / sizeof(*desc);
		desc = list_at(f, le64_to_cpu(desc->addr));
	}
	for (i = 0; i < nr; i++) {
		KUNIT_EXPECT_EQ(test, desc[i].type, NVME_SGL_FMT_DATA_DESC << 4);
		read_memory(test, f, le64_to_cpu(desc[i].addr),
			    le32_to_cpu(desc[i].length));
	}
	return nr;
}

/* Returns a negative errno, as all that maps here. */
static int map_data(struct fixture *f, bool use_sgl)
{
	struct blk_dma_iter iter;
	blk_status_t status;

	if (!blk_dma_map_data(&f->client, &f->rq, &f->iod.data, &iter, NULL))
		status = iter.status;
	else if (use_sgl)
		status = nvme_dma_set_sgl(&f->dma, &f->client, &f->rq, &iter);
	else
		status = nvme_dma_set_prps(&f->dma, &f->client, &f->rq, &iter);
	return blk_status_to_errno(status);
}

static int map_metadata(struct fixture *f, bool use_sgl)
{
	return blk_status_to_errno(nvme_dma_map_metadata(&f->dma, &f->client,
							 &f->rq, use_sgl,
							 NULL));
}

static const struct prp_case {
	const char *name;
	struct layout data;
	unsigned int lists;
	bool small;
} prp_cases[] = {
	{ "a page", { 1, 0x1000 } },
	{ "within a page", { 1, 0x1000, 0xa00, 0x200 } },
	{ "two pages", { 1, 0x2000 } },
	{ "two pages apart", { 2, 0x1000 } },
	{ "from within a page to within the next", { 1, 0x2000, 0xe00, 0xc00 } },
	{ "the same apart", { 2, 0x1000, 0xe00, 0xc00 } },
	{ "three pages", { 1, 0x3000 }, 1, true },
	{ "three pages apart", { 3, 0x1000 }, 1, true },
	{ "from within a page to within the third",
	  { 1, 0x3000, 0xffc, 0xffc }, 1, true },
	{ "a small list, full", { 1, 33 * 0x1000 }, 1, true },
	{ "a small list, full, apart", { 33, 0x1000, 0xe00, 0xe00 }, 1, true },
	{ "beyond a small list", { 1, 34 * 0x1000 }, 1 },
	{ "beyond a small list, apart", { 34, 0x1000 }, 1 },
	{ "511 in a list", { 1, 512 * 0x1000 }, 1 },
	{ "511 in a list, apart", { 512, 0x1000 }, 1 },
	{ "512 in a list", { 1, 513 * 0x1000 }, 1 },
	{ "512 in a list, apart", { 513, 0x1000 }, 1 },
	{ "513 in two lists", { 1, 514 * 0x1000 }, 2 },
	{ "513 in two lists, apart", { 514, 0x1000 }, 2 },
	{ "1023 in two lists", { 1, 1024 * 0x1000 }, 2 },
	{ "1023 in two lists, apart", { 1024, 0x1000, 0x200, 0x200 }, 2 },
	{ "1024 in three lists", { 1, 1025 * 0x1000 }, 3 },
	{ "1024 in three lists, apart", { 1025, 0x1000 }, 3 },
	{ "1534 in three lists, apart", { 1535, 0x1000 }, 3 },
	{ "1535 in four lists, apart", { 1536, 0x1000 }, 4 },
	{ "8 MiB in 128 ranges", { 128, 16 * 0x1000 }, 5 },
	{ "8 MiB in ranges across lists", { 293, 7 * 0x1000, 0, 0x3000 }, 5 },
	{ "8 MiB from within a page", { 1, 2049 * 0x1000, 0x200, 0xe00 }, 5 },
	{ "8 MiB from within a page, apart",
	  { 2049, 0x1000, 0x200, 0xe00 }, 5 },
};

KUNIT_ARRAY_PARAM_DESC(prp, prp_cases, name);

static const void *list_gen_params(const void *c, char *desc)
{
	do
		c = prp_gen_params(c, desc);
	while (c && !((const struct prp_case *)c)->lists);
	return c;
}

static void lay_prp_case(struct kunit *test, struct fixture *f)
{
	const struct prp_case *c = test->param_value;

	lay_data(test, f, layout_vecs(test, &c->data), c->data.nr);
}

static void expect_prps(struct kunit *test, bool watched)
{
	const struct prp_case *c = test->param_value;
	struct fixture *f = fixture(test, watched);

	fill_pools(test, f, NVME_MAX_LISTS, true);
	lay_prp_case(test, f);
	f->iod.cmd.rw.flags = NVME_CMD_SGL_METABUF;
	KUNIT_ASSERT_EQ(test, map_data(f, false), 0);
	KUNIT_EXPECT_EQ(test, f->iod.cmd.rw.flags, 0);
	KUNIT_EXPECT_EQ(test, f->iod.data.mode,
			watched ? BLK_DMA_SEGMENTS : BLK_DMA_LINEAR);
	KUNIT_EXPECT_EQ(test, read_prps(test, f), c->lists);
	expect_all_read(test, f);
	KUNIT_EXPECT_EQ(test, f->iod.nr_lists, c->lists);
	if (c->lists)
		KUNIT_EXPECT_EQ(test, f->iod.small_list, c->small);
	KUNIT_EXPECT_EQ(test, f->watch.nr_open, watched ? f->nr : 0);
	unmap_data(f);
	expect_clean(test, f, NVME_MAX_LISTS, true);
}

static void prps_linear_test(struct kunit *test)
{
	expect_prps(test, false);
}

static void prps_segments_test(struct kunit *test)
{
	expect_prps(test, true);
}

/* The quick way gives the same, and knows when it cannot. */
static void two_prps_test(struct kunit *test)
{
	const struct prp_case *c = test->param_value;
	struct fixture *f = fixture(test, false);
	struct blk_dma_iter iter;

	lay_prp_case(test, f);
	KUNIT_ASSERT_TRUE(test, blk_dma_map_data(&f->client, &f->rq,
						 &f->iod.data, &iter, NULL));
	KUNIT_EXPECT_EQ(test, nvme_dma_fits_two_prps(&f->rq, &iter),
			!c->lists && f->nr == 1);
	if (!nvme_dma_fits_two_prps(&f->rq, &iter))
		return;
	nvme_dma_set_two_prps(&f->rq, &iter);
	read_prps(test, f);
	expect_all_read(test, f);
	unmap_data(f);
}

static void prps_random_test(struct kunit *test)
{
	struct fixture *f = fixture(test, true);
	struct rnd_state rnd;
	unsigned int i;

	fill_pools(test, f, NVME_MAX_LISTS, true);
	prandom_seed_state(&rnd, 3);
	for (i = 0; i < 100; i++) {
		u32 pages = 1 + prandom_u32_state(&rnd) % 40;
		struct layout data = {
			.nr = 1 + prandom_u32_state(&rnd) % 50,
			.len = pages * NVME_CTRL_PAGE_SIZE,
			.offset = prandom_u32_state(&rnd) % 512 * 4,
			.cut = prandom_u32_state(&rnd) % 512 * 4,
			.run = prandom_u32_state(&rnd) % 4,
		};

		lay_data(test, f, layout_vecs(test, &data), data.nr);
		KUNIT_ASSERT_EQ(test, map_data(f, false), 0);
		read_prps(test, f);
		expect_all_read(test, f);
		unmap_data(f);
		expect_clean(test, f, NVME_MAX_LISTS, true);
	}
}

/* What PRPs cannot describe: ranges that do not join at pages */
static const struct bad_case {
	const char *name;
	struct phys_vec vecs[4];
} bad_cases[] = {
	{ "the first ends early", { { 0x101000, 0xe00 }, { 0x103000, 0x1000 } } },
	{ "the second of two begins late",
	  { { 0x101000, 0x1000 }, { 0x103200, 0xe00 } } },
	{ "the second begins late",
	  { { 0x101000, 0x1000 }, { 0x103200, 0xe00 }, { 0x105000, 0x1000 } } },
	{ "the second ends early",
	  { { 0x101000, 0x1000 }, { 0x103000, 0xe00 }, { 0x105000, 0x1000 } } },
	{ "two share the second page",
	  { { 0x101000, 0x1000 }, { 0x103000, 0x800 }, { 0x105000, 0x800 } } },
	{ "the third ends early",
	  { { 0x101000, 0x1000 }, { 0x103000, 0x1000 }, { 0x105000, 0xe00 },
	    { 0x107000, 0x1000 } } },
	{ "the last begins late",
	  { { 0x101000, 0x1000 }, { 0x103000, 0x2000 }, { 0x106200, 0x600 } } },
};

KUNIT_ARRAY_PARAM_DESC(bad, bad_cases, name);

static void bad_prps_test(struct kunit *test)
{
	const struct bad_case *c = test->param_value;
	struct fixture *f = fixture(test, false);
	unsigned int nr = 0;

	while (nr < ARRAY_SIZE(c->vecs) && c->vecs[nr].len)
		nr++;
	fill_pools(test, f, 1, true);
	lay_data(test, f, c->vecs, nr);
	/* as is counted if a vector ends within a logical block */
	f->rq.nr_phys_segments = 1;
	KUNIT_EXPECT_EQ(test, map_data(f, false), -EIO);
	expect_clean(test, f, 1, true);

	watch_start(test, &f->watch);
	KUNIT_EXPECT_EQ(test, map_data(f, false), -EIO);
	KUNIT_EXPECT_GT(test, f->watch.nr_maps, 0);
	expect_clean(test, f, 1, true);
}

/* There are fewer bytes in ranges than the request says. */
static void short_data_test(struct kunit *test)
{
	static const struct layout data = { 4, 0x1000 };
	struct fixture *f = fixture(test, true);
	int use_sgl;

	fill_pools(test, f, 1, true);
	lay_data(test, f, layout_vecs(test, &data), data.nr);
	f->rq.__data_len += NVME_CTRL_PAGE_SIZE;
	for (use_sgl = 0; use_sgl <= 1; use_sgl++) {
		KUNIT_EXPECT_EQ(test, map_data(f, use_sgl), -EIO);
		expect_clean(test, f, 1, true);
	}
	KUNIT_EXPECT_EQ(test, f->watch.nr_maps, 2 * data.nr);
}

/* Each list in turn cannot be had. */
static void prps_no_list_test(struct kunit *test)
{
	const struct prp_case *c = test->param_value;
	struct fixture *f = fixture(test, true);
	unsigned int lists;

	lay_prp_case(test, f);
	for (lists = 0; lists < c->lists; lists++) {
		fill_pools(test, f, lists, false);
		KUNIT_EXPECT_EQ(test, map_data(f, false), -ENOMEM);
		expect_clean(test, f, lists, false);
	}
}

static const struct sgl_case {
	const char *name;
	struct layout data;
	unsigned int joined; /* data descriptors, if adjacent ranges join */
} sgl_cases[] = {
	{ "one range", { 1, 0x3000, 0xa04, 0x10 }, 1 },
	{ "two ranges", { 2, 0x1404, 0x200 }, 2 },
	{ "adjacent ranges", { 8, 0x1000, 0x200, 0x200, 8 }, 1 },
	{ "adjacent pairs", { 14, 0x1234, 0, 0, 2 }, 7 },
	{ "15 ranges", { 15, 0x200 }, 15 },
	{ "a small list, full", { 16, 0x1000 }, 16 },
	{ "beyond a small list", { 17, 0x1000 }, 17 },
	{ "256 ranges", { 256, 0x8000, 0xffc }, 256 },
	{ "256 ranges, 3 of them adjacent", { 256, 0x8000, 0, 0, 3 }, 86 },
};

KUNIT_ARRAY_PARAM_DESC(sgl, sgl_cases, name);

static const void *several_gen_params(const void *c, char *desc)
{
	do
		c = sgl_gen_params(c, desc);
	while (c && ((const struct sgl_case *)c)->data.nr == 1);
	return c;
}

static const void *metadata_gen_params(const void *c, char *desc)
{
	do
		c = sgl_gen_params(c, desc);
	while (c && ((const struct sgl_case *)c)->data.nr > NVME_MAX_META_SEGS);
	return c;
}

static void lay_sgl_case(struct kunit *test, struct fixture *f)
{
	const struct sgl_case *c = test->param_value;

	lay_data(test, f, layout_vecs(test, &c->data), c->data.nr);
}

static void expect_sgl(struct kunit *test, bool watched)
{
	const struct sgl_case *c = test->param_value;
	struct fixture *f = fixture(test, watched);
	struct nvme_rw_command *cmd = &f->iod.cmd.rw;

	fill_pools(test, f, 1, true);
	lay_sgl_case(test, f);
	KUNIT_ASSERT_EQ(test, map_data(f, true), 0);
	KUNIT_EXPECT_EQ(test, f->iod.data.mode,
			watched ? BLK_DMA_SEGMENTS : BLK_DMA_LINEAR);
	KUNIT_EXPECT_EQ(test, cmd->flags, NVME_CMD_SGL_METABUF);
	KUNIT_EXPECT_EQ(test, read_sgl(test, f, &cmd->dptr.sgl),
			c->joined);
	expect_all_read(test, f);
	KUNIT_EXPECT_EQ(test, f->iod.nr_lists, f->nr > 1);
	KUNIT_EXPECT_EQ(test, f->watch.nr_open, watched ? f->nr : 0);
	unmap_data(f);
	expect_clean(test, f, 1, true);
}

static void sgl_linear_test(struct kunit *test)
{
	expect_sgl(test, false);
}

static void sgl_segments_test(struct kunit *test)
{
	expect_sgl(test, true);
}

/* Ranges that meet at the queue's segment boundary share no descriptor. */
static void sgl_boundary_test(struct kunit *test)
{
	static const struct layout data = { 16, 0x1000, 0, 0, 16 };
	struct fixture *f = fixture(test, false);
	unsigned int i, descriptors = 1;

	f->q.limits.seg_boundary_mask = 0x3fff;
	fill_pools(test, f, 1, true);
	lay_data(test, f, layout_vecs(test, &data), data.nr);
	for (i = 1; i < data.nr; i++)
		descriptors += !(f->vecs[i].paddr & 0x3fff);
	KUNIT_ASSERT_GT(test, descriptors, 1);
	KUNIT_ASSERT_EQ(test, map_data(f, true), 0);
	KUNIT_EXPECT_EQ(test, read_sgl(test, f, &f->iod.cmd.rw.dptr.sgl),
			descriptors);
	expect_all_read(test, f);
	unmap_data(f);
	expect_clean(test, f, 1, true);
}

static void sgl_no_list_test(struct kunit *test)
{
	struct fixture *f = fixture(test, true);

	fill_pools(test, f, 0, false);
	lay_sgl_case(test, f);
	KUNIT_EXPECT_EQ(test, map_data(f, true), -ENOMEM);
	expect_clean(test, f, 0, false);
}

/* From now on so many ranges can be mapped, for want of bounce buffers. */
static void fail_after(struct fixture *f, unsigned int nr)
{
	f->no_bounce.force_bounce = !nr;
	f->watch.nr_maps = 0;
	f->watch.fail_after = nr;
}

static void *no_memory(gfp_t gfp, void *pool_data)
{
	return NULL;
}

/*
 * Each range in turn cannot be mapped: those before it are unmapped, and the
 * reserve, which keeps their addresses for want of memory, is given back.
 */
static void range_fails_test(struct kunit *test)
{
	static const struct layout data = { 20, 0x2000 };
	struct fixture *f = fixture(test, true);
	unsigned int nr;
	int use_sgl;

	f->dma.reserve.data.alloc = no_memory;
	fill_pools(test, f, 1, true);
	lay_data(test, f, layout_vecs(test, &data), data.nr);
	for (nr = 0; nr < data.nr; nr++) {
		for (use_sgl = 0; use_sgl <= 1; use_sgl++) {
			fail_after(f, nr);
			KUNIT_EXPECT_EQ(test, map_data(f, use_sgl),
					-ENOMEM);
			KUNIT_EXPECT_EQ(test, f->watch.nr_maps, nr);
			KUNIT_EXPECT_EQ(test, f->dma.reserve.data.curr_nr, 1);
			expect_clean(test, f, 1, true);
		}
	}
}

/* A peer's memory is unmapped as what it was mapped as, which is not RAM. */
static void mmio_test(struct kunit *test)
{
	static const struct layout data = { 3, 0x1000 };
	struct fixture *f = fixture(test, true);
	struct blk_dma_iter iter;
	blk_status_t status;
	int use_sgl;

	fill_pools(test, f, 0, true);
	lay_data(test, f, layout_vecs(test, &data), data.nr);
	for (use_sgl = 0; use_sgl <= 1; use_sgl++) {
		KUNIT_ASSERT_TRUE(test, blk_dma_map_data(&f->client, &f->rq,
							 &f->iod.data, &iter,
							 NULL));
		dma_unmap_phys(f->dma.dev, iter.addr, iter.len,
			       DMA_FROM_DEVICE, 0);
		iter.p2pdma.map = PCI_P2PDMA_MAP_THRU_HOST_BRIDGE;
		f->iod.data.map = PCI_P2PDMA_MAP_THRU_HOST_BRIDGE;
		iter.addr = dma_map_phys(f->dma.dev, f->vecs[0].paddr, iter.len,
					 DMA_FROM_DEVICE, DMA_ATTR_MMIO);
		status = use_sgl ? nvme_dma_set_sgl(&f->dma, &f->client,
						    &f->rq, &iter) :
				   nvme_dma_set_prps(&f->dma, &f->client,
						     &f->rq, &iter);
		KUNIT_ASSERT_EQ(test, blk_status_to_errno(status), 0);
		unmap_data(f);
		expect_clean(test, f, 0, true);
	}
}

static void expect_metadata(struct kunit *test, bool watched)
{
	const struct sgl_case *c = test->param_value;
	struct fixture *f = fixture(test, watched);
	struct nvme_rw_command *cmd = &f->iod.cmd.rw;
	int use_sgl;

	fill_pools(test, f, 0, true);
	for (use_sgl = c->data.nr > 1; use_sgl <= 1; use_sgl++) {
		lay_metadata(test, f, layout_vecs(test, &c->data), c->data.nr);
		KUNIT_ASSERT_EQ(test, map_metadata(f, use_sgl), 0);
		KUNIT_EXPECT_EQ(test, f->iod.meta.mode,
				watched ? BLK_DMA_SEGMENTS : BLK_DMA_LINEAR);
		if (use_sgl) {
			KUNIT_EXPECT_EQ(test, cmd->flags, NVME_CMD_SGL_METASEG);
			KUNIT_EXPECT_EQ(test, c->joined,
					read_sgl(test, f,
						 list_at(f, le64_to_cpu(
							cmd->metadata))));
		} else {
			read_memory(test, f, le64_to_cpu(cmd->metadata),
				    f->vecs[0].len);
		}
		expect_all_read(test, f);
		KUNIT_EXPECT_EQ(test, f->watch.nr_open, watched ? f->nr : 0);
		unmap_metadata(f);
		expect_clean(test, f, 0, true);
	}
}

static void metadata_linear_test(struct kunit *test)
{
	expect_metadata(test, false);
}

static void metadata_segments_test(struct kunit *test)
{
	expect_metadata(test, true);
}

/* The list cannot be had, or each range in turn not be mapped. */
static void metadata_fails_test(struct kunit *test)
{
	static const struct layout data = { NVME_MAX_META_SEGS, 0x200 };
	struct fixture *f = fixture(test, true);
	unsigned int nr;

	f->dma.reserve.metadata.alloc = no_memory;
	lay_metadata(test, f, layout_vecs(test, &data), data.nr);
	fill_pools(test, f, 0, false);
	KUNIT_EXPECT_EQ(test, map_metadata(f, true), -ENOMEM);
	expect_clean(test, f, 0, false);
	fill_pools(test, f, 0, true);
	for (nr = 0; nr < data.nr; nr++) {
		fail_after(f, nr);
		KUNIT_EXPECT_EQ(test, map_metadata(f, true), -ENOMEM);
		KUNIT_EXPECT_EQ(test, f->watch.nr_maps, nr);
		KUNIT_EXPECT_EQ(test, f->dma.reserve.metadata.curr_nr, 1);
		expect_clean(test, f, 0, true);
	}
}

/* Without memory one request at a time goes on, its data and metadata by themselves. */
static void reserve_test(struct kunit *test)
{
	static const struct layout data = { 20, 0x2000 };
	static const struct layout metadata = { NVME_MAX_META_SEGS, 0x200 };
	struct fixture *f = fixture(test, true);
	struct blk_dma_reserve *reserve = &f->dma.reserve;
	void *taken;
	int use_sgl;

	reserve->data.alloc = no_memory;
	reserve->metadata.alloc = no_memory;
	fill_pools(test, f, 1, true);
	lay_data(test, f, layout_vecs(test, &data), data.nr);
	for (use_sgl = 0; use_sgl <= 1; use_sgl++) {
		KUNIT_ASSERT_EQ(test, map_data(f, use_sgl), 0);
		KUNIT_EXPECT_EQ(test, reserve->data.curr_nr, 0);
		KUNIT_EXPECT_EQ(test, reserve->metadata.curr_nr, 1);
		unmap_data(f);
		KUNIT_EXPECT_EQ(test, reserve->data.curr_nr, 1);
		expect_clean(test, f, 1, true);
	}

	taken = mempool_alloc_preallocated(&reserve->data);
	KUNIT_ASSERT_NOT_NULL(test, taken);
	KUNIT_EXPECT_EQ(test, map_data(f, false), -ENOMEM);
	expect_clean(test, f, 1, true);

	lay_metadata(test, f, layout_vecs(test, &metadata), metadata.nr);
	KUNIT_EXPECT_EQ(test, map_metadata(f, true), 0);
	KUNIT_EXPECT_EQ(test, reserve->metadata.curr_nr, 0);
	unmap_metadata(f);
	KUNIT_EXPECT_EQ(test, reserve->metadata.curr_nr, 1);
	mempool_free(taken, &reserve->data);
}

static struct kunit_case nvme_pci_dma_cases[] = {
	KUNIT_CASE_PARAM(prps_linear_test, prp_gen_params),
	KUNIT_CASE_PARAM(prps_segments_test, prp_gen_params),
	KUNIT_CASE_PARAM(two_prps_test, prp_gen_params),
	KUNIT_CASE(prps_random_test),
	KUNIT_CASE_PARAM(bad_prps_test, bad_gen_params),
	KUNIT_CASE(short_data_test),
	KUNIT_CASE_PARAM(prps_no_list_test, list_gen_params),
	KUNIT_CASE_PARAM(sgl_linear_test, sgl_gen_params),
	KUNIT_CASE_PARAM(sgl_segments_test, sgl_gen_params),
	KUNIT_CASE(sgl_boundary_test),
	KUNIT_CASE_PARAM(sgl_no_list_test, several_gen_params),
	KUNIT_CASE(range_fails_test),
	KUNIT_CASE(mmio_test),
	KUNIT_CASE_PARAM(metadata_linear_test, metadata_gen_params),
	KUNIT_CASE_PARAM(metadata_segments_test, metadata_gen_params),
	KUNIT_CASE(metadata_fails_test),
	KUNIT_CASE(reserve_test),
	{}
};

static struct kunit_suite nvme_pci_dma_suite = {
	.name = "nvme-pci-dma",
	.test_cases = nvme_pci_dma_cases,
};

kunit_test_suite(nvme_pci_dma_suite);

MODULE_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);
MODULE_DESCRIPTION("KUnit tests of PRPs and SGLs");
MODULE_LICENSE("GPL");
