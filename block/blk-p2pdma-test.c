// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the class of bios: what shares a bio or a request, and what
 * does not. Nothing reads the memory, so that struct pages can be made up.
 */
#include <kunit/test.h>
#include <linux/blk-integrity.h>
#include <linux/blk-mq.h>
#include <linux/mm.h>
#include <linux/uio.h>

#include "blk.h"
#include "blk-mq-sched.h"
#include "blk-p2pdma.h"
#include "elevator.h"

#define MAX_VECS 4

/* Host memory, or the memory of one of two providers. */
enum mem_class { HOST, A, B, NR_CLASSES };

struct class_pages {
	struct dev_pagemap pgmap[NR_CLASSES];
	struct page page[NR_CLASSES * MAX_VECS] __aligned(sizeof(struct page));
};

static struct class_pages *class_pages(struct kunit *test)
{
	struct class_pages *pages;
	unsigned int i;

	pages = kunit_kzalloc(test, sizeof(*pages), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, pages);
	for (i = 0; i < ARRAY_SIZE(pages->page); i++) {
		struct page *page = &pages->page[i];
		enum mem_class class = i % NR_CLASSES;

		if (class == HOST)
			continue;
		pages->pgmap[class].type = MEMORY_DEVICE_PCI_P2PDMA;
		set_page_zone(page, ZONE_DEVICE);
		page->pgmap = &pages->pgmap[class];
	}
	return pages;
}

/* The @i-th page of a class; no two of them join. */
static struct page *class_page(struct class_pages *pages, enum mem_class class,
			       unsigned int i)
{
	return &pages->page[i * NR_CLASSES + class];
}

static void class_bio_init(struct bio *bio, struct bio_vec *bv, size_t nr,
			   struct page *page)
{
	bio_init(bio, NULL, bv, nr, REQ_OP_READ);
	if (page)
		__bio_add_page(bio, page, PAGE_SIZE, 0);
}

/* A request of a queue of its own */
struct fake_rq {
	struct request rq;
	struct request_queue q;
	struct bio bio;
	struct bio_vec vecs[MAX_VECS];
	struct bio_vec integrity_vecs[MAX_VECS];
};

/* A request of one page, which may grow. */
static struct fake_rq *class_rq(struct kunit *test, struct page *page)
{
	struct fake_rq *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->q.limits.max_segment_size = UINT_MAX;
	f->q.limits.seg_boundary_mask = ULONG_MAX;
	f->q.limits.max_segments = USHRT_MAX;
	f->q.limits.max_integrity_segments = MAX_VECS;
	f->q.limits.max_sectors = UINT_MAX >> SECTOR_SHIFT;
	f->q.limits.max_hw_sectors = UINT_MAX >> SECTOR_SHIFT;
	f->q.limits.features = BLK_FEAT_PCI_P2PDMA;
	f->rq.q = &f->q;
	f->rq.nr_phys_segments = 1;
	INIT_LIST_HEAD(&f->rq.queuelist);
	INIT_HLIST_NODE(&f->rq.hash);
	class_bio_init(&f->bio, f->vecs, MAX_VECS, page);
	f->rq.bio = &f->bio;
	f->rq.biotail = &f->bio;
	f->rq.__data_len = PAGE_SIZE;
	f->rq.__sector = 1024;
	return f;
}

/* Give the bio a payload without pages, and a device to ask for limits. */
static void add_integrity(struct kunit *test, struct fake_rq *f)
{
	struct bio_integrity_payload *bip;
	struct block_device *bdev;

	bip = kunit_kzalloc(test, sizeof(*bip), GFP_KERNEL);
	bdev = kunit_kzalloc(test, sizeof(*bdev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, bip);
	KUNIT_ASSERT_NOT_NULL(test, bdev);
	bdev->bd_queue = &f->q;
	bip->bip_vec = f->integrity_vecs;
	bip->bip_max_vcnt = MAX_VECS;
	f->bio.bi_bdev = bdev;
	f->bio.bi_integrity = bip;
	f->bio.bi_opf |= REQ_INTEGRITY;
}

/* Memory of two classes, the same or not */
static const struct class_pair {
	const char *name;
	enum mem_class a, b;
} class_pairs[] = {
	{ "host and host", HOST, HOST },
	{ "host and A", HOST, A },
	{ "host and B", HOST, B },
	{ "A and host", A, HOST },
	{ "A and A", A, A },
	{ "A and B", A, B },
	{ "B and host", B, HOST },
	{ "B and A", B, A },
	{ "B and B", B, B },
};

KUNIT_ARRAY_PARAM_DESC(pair, class_pairs, name);

/* Sets a page of each class of the pair. Returns whether the classes are one. */
static bool pair_pages(struct kunit *test, struct page **a, struct page **b)
{
	const struct class_pair *pair = test->param_value;
	struct class_pages *pages = class_pages(test);

	*a = class_page(pages, pair->a, 0);
	*b = class_page(pages, pair->b, 1);
	return pair->a == pair->b;
}

static void class_bio_test(struct kunit *test)
{
	const struct class_pair *pair = test->param_value;
	struct page *a, *b;
	bool same = pair_pages(test, &a, &b);
	struct bio_vec vecs[2];
	struct bio bio;

	class_bio_init(&bio, vecs, 2, a);
	KUNIT_EXPECT_EQ(test, !!bio_class(&bio), pair->a != HOST);
	KUNIT_EXPECT_EQ(test, bio_class(&bio) == page_class(b), same);
	KUNIT_EXPECT_EQ(test, bio_add_page(&bio, b, PAGE_SIZE, 0),
			same ? PAGE_SIZE : 0);
	KUNIT_EXPECT_EQ(test, bio.bi_vcnt, same ? 2 : 1);

	/* What is left after the first page is of its class, too. */
	if (same)
		bio_advance(&bio, PAGE_SIZE);
	KUNIT_EXPECT_PTR_EQ(test, bio_class(&bio), page_class(a));

	/* Vectors that come as they are may have others before the bio's. */
	bvec_set_page(&vecs[1], b, PAGE_SIZE, 0);
	bio.bi_iter = (struct bvec_iter){ .bi_idx = 1, .bi_size = PAGE_SIZE };
	KUNIT_EXPECT_PTR_EQ(test, bio_class(&bio), page_class(b));
}

/* A command that cannot be divided takes every class, and says so. */
static void class_hw_test(struct kunit *test)
{
	struct page *a, *b;
	bool same = pair_pages(test, &a, &b);
	struct fake_rq *f = class_rq(test, NULL);

	KUNIT_EXPECT_EQ(test, bio_add_pc_page(&f->q, &f->bio, a, 512, 0), 512);
	KUNIT_EXPECT_FALSE(test, f->bio.bi_opf & REQ_MIXED_CLASS);
	KUNIT_EXPECT_EQ(test, bio_add_pc_page(&f->q, &f->bio, b, 512, 0), 512);
	KUNIT_EXPECT_EQ(test, !(f->bio.bi_opf & REQ_MIXED_CLASS), same);
	KUNIT_EXPECT_EQ(test, !(f->bio.bi_opf & REQ_NOMERGE), same);
}

static void class_integrity_test(struct kunit *test)
{
	struct page *a, *b;
	bool same = pair_pages(test, &a, &b);
	struct page *pages[] = { a, b };
	struct fake_rq *f[2];
	unsigned int i;

	for (i = 0; i < 2; i++) {
		f[i] = class_rq(test, NULL);
		add_integrity(test, f[i]);
		KUNIT_ASSERT_EQ(test, 64, bio_integrity_add_page(&f[i]->bio,
								 pages[i], 64,
								 0));
		KUNIT_EXPECT_PTR_EQ(test, page_class(pages[i]),
				    bip_class(f[i]->bio.bi_integrity));
	}

	KUNIT_EXPECT_EQ(test, bio_integrity_add_page(&f[0]->bio, b, 64, 0),
			same ? 64 : 0);
}

/* A device with blocks of 512 bytes */
static struct block_device *class_bdev(struct kunit *test)
{
	struct fake_rq *f = class_rq(test, NULL);
	struct block_device *bdev;

	bdev = kunit_kzalloc(test, sizeof(*bdev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, bdev);
	f->q.limits.logical_block_size = SECTOR_SIZE;
	bdev->bd_queue = &f->q;
	return bdev;
}

/*
 * Vectors made elsewhere, @done bytes of the first of them gone already. A bio
 * takes @taken bytes of them. Without a device, or if it is atomic, it takes all.
 */
static const struct bvecs_case {
	const char *name;
	unsigned int nr;
	enum mem_class classes[MAX_VECS];
	size_t done;
	size_t size;
	size_t taken;
	bool mixed;
} bvecs_cases[] = {
	{ "nothing", 1, { A }, 0, 0, 0 },
	{ "host", 3, { HOST, HOST, HOST }, 0, 0x3000, 0x3000 },
	{ "one provider", 3, { A, A, A }, 0, 0x2800, 0x2800 },
	{ "P2P after host", 3, { HOST, HOST, A }, 0, 0x3000, 0x2000 },
	{ "host after P2P", 2, { B, HOST }, 0x200, 0x1c00, 0xe00 },
	{ "two providers", 4, { A, A, B, A }, 0x200, 0x3000, 0x1e00 },
	{ "two providers, one used", 2, { A, B }, 0x800, 0x800, 0x800 },
	{ "two providers, a block", 2, { A, B }, 0x800, 0xa00, 0x800 },
	{ "host, within a block", 3, { HOST, HOST, A }, 0x100, 0x2c00, 0x1e00 },
	{ "in the first block", 2, { HOST, A }, 0xf00, 0x1000, 0x200, true },
	{ "in the only block", 2, { A, HOST }, 0xf04, 0x200, 0x200, true },
	{ "providers in the first block", 3, { B, A, B }, 0xffc, 0x1200, 0x200,
	  true },
};

KUNIT_ARRAY_PARAM_DESC(bvecs, bvecs_cases, name);

static void take_bvecs(struct kunit *test, struct block_device *bdev,
		       blk_opf_t opf, size_t taken, bool mixed, bool ends)
{
	const struct bvecs_case *c = test->param_value;
	struct class_pages *pages = class_pages(test);
	struct bio_vec vecs[MAX_VECS];
	struct iov_iter iter;
	struct bio bio;
	unsigned int i;

	for (i = 0; i < c->nr; i++)
		bvec_set_page(&vecs[i], class_page(pages, c->classes[i], i),
			      PAGE_SIZE, 0);
	bio_init(&bio, NULL, NULL, 0, opf);
	bio.bi_bdev = bdev;
	iov_iter_bvec(&iter, ITER_DEST, vecs, c->nr, c->done + c->size);
	iov_iter_advance(&iter, c->done);
	KUNIT_EXPECT_EQ(test, bio_iov_iter_get_pages(&bio, &iter), 0);
	KUNIT_EXPECT_EQ(test, bio.bi_iter.bi_size, taken);
	KUNIT_EXPECT_EQ(test, bio_flagged(&bio, BIO_CLASS_END), ends);
	KUNIT_EXPECT_EQ(test, !!(bio.bi_opf & REQ_MIXED_CLASS), mixed);
	KUNIT_EXPECT_EQ(test, iov_iter_count(&iter), c->size - taken);
}

static void class_bvecs_test(struct kunit *test)
{
	const struct bvecs_case *c = test->param_value;
	struct block_device *bdev = class_bdev(test);
	bool mixed = c->mixed || c->taken < c->size;

	take_bvecs(test, bdev, REQ_OP_READ, c->taken, c->mixed, mixed);
	take_bvecs(test, bdev, REQ_OP_WRITE | REQ_ATOMIC, c->size, mixed,
		   false);
	take_bvecs(test, NULL, REQ_OP_DRV_IN, c->size, mixed, false);
}

static void merge_bio_test(struct kunit *test)
{
	struct page *a, *b;
	bool same = pair_pages(test, &a, &b);
	static const unsigned int sectors[] = {
		1024 + (PAGE_SIZE >> SECTOR_SHIFT),
		1024 - (PAGE_SIZE >> SECTOR_SHIFT),
	};
	struct bio_vec bv;
	struct bio bio;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sectors); i++) {
		struct fake_rq *f = class_rq(test, a);
		LIST_HEAD(list);

		list_add(&f->rq.queuelist, &list);
		class_bio_init(&bio, &bv, 1, b);
		bio.bi_iter.bi_sector = sectors[i];
		KUNIT_EXPECT_EQ(test, same,
				blk_bio_list_merge(&f->q, &list, &bio, 1));
		KUNIT_EXPECT_EQ(test, f->rq.__data_len,
				same ? 2 * PAGE_SIZE : PAGE_SIZE);
	}
}

/* Data of one class, metadata of any two */
static void merge_integrity_test(struct kunit *test)
{
	struct page *a, *b;
	bool same = pair_pages(test, &a, &b);
	struct fake_rq *f = class_rq(test, a);
	struct fake_rq *other = class_rq(test, a);
	LIST_HEAD(list);

	add_integrity(test, f);
	add_integrity(test, other);
	KUNIT_ASSERT_EQ(test, bio_integrity_add_page(&f->bio, a, 64, 0), 64);
	KUNIT_ASSERT_EQ(test, bio_integrity_add_page(&other->bio, b, 64, 0), 64);
	f->rq.cmd_flags |= REQ_INTEGRITY;
	f->rq.nr_integrity_segments = 1;
	list_add(&f->rq.queuelist, &list);
	other->bio.bi_iter.bi_sector = 1024 + (PAGE_SIZE >> SECTOR_SHIFT);
	KUNIT_EXPECT_EQ(test, same,
			blk_bio_list_merge(&f->q, &list, &other->bio, 1));
	KUNIT_EXPECT_EQ(test, f->rq.nr_integrity_segments, same ? 2 : 1);
}

static void merge_rq_test(struct kunit *test)
{
	struct page *a, *b;
	bool same = pair_pages(test, &a, &b);
	static struct elevator_type type;
	struct elevator_queue elevator = { .type = &type };
	struct fake_rq *f = class_rq(test, a);
	struct fake_rq *next = class_rq(test, b);
	LIST_HEAD(free);

	next->rq.q = &f->q;
	next->rq.__sector += PAGE_SIZE >> SECTOR_SHIFT;
	f->q.elevator = &elevator;
	f->q.last_merge = &f->rq;
	f->q.queue_flags = BIT(QUEUE_FLAG_NOXMERGES);
	KUNIT_EXPECT_EQ(test, same,
			blk_mq_sched_try_insert_merge(&f->q, &next->rq, &free));
	KUNIT_EXPECT_EQ(test, same, f->bio.bi_next == &next->bio);
}

/* A command takes the bios of every class. */
static void append_bio_test(struct kunit *test)
{
	struct page *a, *b;
	bool same = pair_pages(test, &a, &b);
	struct fake_rq *f = class_rq(test, a);
	struct bio_vec bv;
	struct bio bio;

	f->rq.cmd_flags = REQ_OP_DRV_IN;
	class_bio_init(&bio, &bv, 1, b);
	KUNIT_EXPECT_EQ(test, blk_rq_append_bio(&f->rq, &bio), 0);
	KUNIT_EXPECT_PTR_EQ(test, f->rq.biotail, &bio);
	KUNIT_EXPECT_EQ(test, !(f->bio.bi_opf & REQ_MIXED_CLASS), same);

	/* One that is mixed makes the command so, whatever it begins with. */
	f = class_rq(test, a);
	f->rq.cmd_flags = REQ_OP_DRV_IN;
	class_bio_init(&bio, &bv, 1, a);
	bio.bi_opf |= REQ_MIXED_CLASS;
	KUNIT_EXPECT_EQ(test, blk_rq_append_bio(&f->rq, &bio), 0);
	KUNIT_EXPECT_TRUE(test, f->bio.bi_opf & REQ_MIXED_CLASS);
}

/* Only what a file may want back is marked. */
static void dirty_test(struct kunit *test)
{
	const struct class_pair *pair = test->param_value;
	struct page *a, *b;
	bool same = pair_pages(test, &a, &b);
	bool is_p2p = same && pair->a != HOST;
	struct bio_vec vecs[2];
	struct bio bio;

	class_bio_init(&bio, vecs, 2, a);
	__bio_add_page(&bio, b, PAGE_SIZE, 0);
	if (!same)
		bio_set_mixed_class(&bio);
	bio_set_pages_dirty(&bio);
	KUNIT_EXPECT_EQ(test, PageDirty(a), !is_p2p);
	KUNIT_EXPECT_EQ(test, PageDirty(b), !is_p2p);
}

static struct kunit_case blk_p2pdma_cases[] = {
	KUNIT_CASE_PARAM(class_bio_test, pair_gen_params),
	KUNIT_CASE_PARAM(class_hw_test, pair_gen_params),
	KUNIT_CASE_PARAM(class_integrity_test, pair_gen_params),
	KUNIT_CASE_PARAM(class_bvecs_test, bvecs_gen_params),
	KUNIT_CASE_PARAM(merge_bio_test, pair_gen_params),
	KUNIT_CASE_PARAM(merge_integrity_test, pair_gen_params),
	KUNIT_CASE_PARAM(merge_rq_test, pair_gen_params),
	KUNIT_CASE_PARAM(append_bio_test, pair_gen_params),
	KUNIT_CASE_PARAM(dirty_test, pair_gen_params),
	{}
};

static struct kunit_suite blk_p2pdma_suite = {
	.name = "blk-p2pdma",
	.test_cases = blk_p2pdma_cases,
};

kunit_test_suite(blk_p2pdma_suite);

MODULE_DESCRIPTION("KUnit tests of the class of bios");
MODULE_LICENSE("GPL");
