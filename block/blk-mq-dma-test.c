// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the walk over a request's memory and of the ways it is mapped.
 * Nothing reads the memory, so that none has to be at the physical addresses.
 */
#include <kunit/device.h>
#include <kunit/test.h>
#include <linux/blk-integrity.h>
#include <linux/blk-mq-dma.h>
#include <linux/dma-direct.h>
#include <linux/dma-map-ops.h>
#include <linux/pfn.h>
#include <linux/prandom.h>
#include <linux/sizes.h>
#include <linux/swiotlb.h>

#define MAX_BIOS 4
#define MAX_VECS 4
#define MAX_PIECES 10
#define BUS_OFFSET SZ_1T

/* A bio of some vectors, of which @skip bytes are done and @cut are not its. */
struct walk_bio {
	unsigned int skip;
	unsigned int cut;
	struct phys_vec vecs[MAX_VECS];
};

/* A limit of 0 means none. Both lists of vectors end with one of no length. */
struct walk_case {
	const char *name;
	unsigned int max_len;
	unsigned long boundary;
	unsigned int nr_bios;
	struct walk_bio bios[MAX_BIOS];
	struct phys_vec pieces[MAX_PIECES];
};

static const struct walk_case walk_cases[] = {
	{
		.name = "one page",
		.nr_bios = 1,
		.bios = { { .vecs = { { 0x101000, 0x1000 } } } },
		.pieces = { { 0x101000, 0x1000 } },
	},
	{
		.name = "within a page",
		.nr_bios = 1,
		.bios = { { .vecs = { { 0x101a00, 0x200 } } } },
		.pieces = { { 0x101a00, 0x200 } },
	},
	{
		.name = "several vectors",
		.nr_bios = 1,
		.bios = { { .vecs = { { 0x101e00, 0x200 },
				      { 0x105000, 0x3000 },
				      { 0x102000, 0x1000 },
				      { 0x109000, 0x10 } } } },
		.pieces = { { 0x101e00, 0x200 }, { 0x105000, 0x3000 },
			    { 0x102000, 0x1000 }, { 0x109000, 0x10 } },
	},
	{
		.name = "chain of bios",
		.nr_bios = 3,
		.bios = { { .vecs = { { 0x101000, 0x1000 }, { 0x103000, 0x1000 } } },
			  { .vecs = { { 0x105000, 0x1000 } } },
			  { .vecs = { { 0x107000, 0x1000 }, { 0x109000, 0x200 } } } },
		.pieces = { { 0x101000, 0x1000 }, { 0x103000, 0x1000 },
			    { 0x105000, 0x1000 }, { 0x107000, 0x1000 },
			    { 0x109000, 0x200 } },
	},
	{
		.name = "bios without data between others",
		.nr_bios = 4,
		.bios = { { .vecs = { { 0x101000, 0x1000 } } },
			  { },
			  { .skip = 0x1000, .vecs = { { 0x105000, 0x1000 } } },
			  { .vecs = { { 0x103000, 0x1000 } } } },
		.pieces = { { 0x101000, 0x1000 }, { 0x103000, 0x1000 } },
	},
	{
		.name = "bios without data at both ends",
		.nr_bios = 3,
		.bios = { { }, { .vecs = { { 0x101000, 0x1000 } } }, { } },
		.pieces = { { 0x101000, 0x1000 } },
	},
	{
		.name = "no data",
		.nr_bios = 2,
	},
	{
		.name = "bios that meet within a page",
		.nr_bios = 4,
		.bios = { { .vecs = { { 0x101200, 0x400 } } },
			  { .vecs = { { 0x101600, 0x200 } } },
			  { .vecs = { { 0x101800, 0x800 }, { 0x103000, 0x400 } } },
			  { .vecs = { { 0x103400, 0x1c00 } } } },
		.pieces = { { 0x101200, 0xe00 }, { 0x103000, 0x2000 } },
	},
	{
		.name = "bios that meet, but not within a page",
		.nr_bios = 3,
		.bios = { { .vecs = { { 0x101000, 0x1000 } } },
			  { .vecs = { { 0x102000, 0x400 } } },
			  { .vecs = { { 0x102600, 0xa00 } } } },
		.pieces = { { 0x101000, 0x1000 }, { 0x102000, 0x400 },
			    { 0x102600, 0xa00 } },
	},
	{
		.name = "bios that meet with one without data between them",
		.nr_bios = 3,
		.bios = { { .skip = 0x200, .cut = 0x800,
			    .vecs = { { 0x101000, 0x1000 } } },
			  { },
			  { .skip = 0x400, .vecs = { { 0x101400, 0x1000 } } } },
		.pieces = { { 0x101200, 0x1200 } },
	},
	{
		.name = "bios that meet beyond the maximum size",
		.max_len = 0x600,
		.nr_bios = 3,
		.bios = { { .vecs = { { 0x101200, 0x400 } } },
			  { .vecs = { { 0x101600, 0x400 } } },
			  { .vecs = { { 0x101a00, 0x200 } } } },
		.pieces = { { 0x101200, 0x400 }, { 0x101600, 0x600 } },
	},
	{
		.name = "bios that meet at a boundary",
		.boundary = 0x3ff,
		.nr_bios = 3,
		.bios = { { .vecs = { { 0x101200, 0x200 } } },
			  { .vecs = { { 0x101400, 0x200 } } },
			  { .vecs = { { 0x101600, 0x200 } } } },
		.pieces = { { 0x101200, 0x200 }, { 0x101400, 0x400 } },
	},
	{
		.name = "advanced within a vector",
		.nr_bios = 1,
		.bios = { { .skip = 0x600,
			    .vecs = { { 0x101200, 0xe00 }, { 0x103000, 0x1000 } } } },
		.pieces = { { 0x101800, 0x800 }, { 0x103000, 0x1000 } },
	},
	{
		.name = "advanced to a vector",
		.nr_bios = 1,
		.bios = { { .skip = 0xe00,
			    .vecs = { { 0x101200, 0xe00 }, { 0x103000, 0x1000 } } } },
		.pieces = { { 0x103000, 0x1000 } },
	},
	{
		.name = "every bio advanced and split",
		.nr_bios = 2,
		.bios = { { .skip = 0x1200, .cut = 0x1c00,
			    .vecs = { { 0x101000, 0x1000 }, { 0x103000, 0x2000 },
				      { 0x106000, 0x1000 } } },
			  { .skip = 0x200, .cut = 0x200,
			    .vecs = { { 0x108000, 0x1000 } } } },
		.pieces = { { 0x103200, 0x1200 }, { 0x108200, 0xc00 } },
	},
	{
		.name = "maximum size divides",
		.max_len = 0x1000,
		.nr_bios = 2,
		.bios = { { .vecs = { { 0x101000, 0x3000 }, { 0x105000, 0x1000 } } },
			  { .skip = 0x400, .vecs = { { 0x107000, 0x1800 } } } },
		.pieces = { { 0x101000, 0x1000 }, { 0x102000, 0x1000 },
			    { 0x103000, 0x1000 }, { 0x105000, 0x1000 },
			    { 0x107400, 0x1000 }, { 0x108400, 0x400 } },
	},
	{
		.name = "maximum size leaves a rest",
		.max_len = 0x600,
		.nr_bios = 1,
		.bios = { { .cut = 0x100, .vecs = { { 0x101200, 0x1000 } } } },
		.pieces = { { 0x101200, 0x600 }, { 0x101800, 0x600 },
			    { 0x101e00, 0x300 } },
	},
	{
		.name = "boundary divides",
		.boundary = 0xfff,
		.nr_bios = 2,
		.bios = { { .vecs = { { 0x101e00, 0x1400 }, { 0x104000, 0x1000 } } },
			  { .skip = 0x800, .vecs = { { 0x106000, 0x1800 } } } },
		.pieces = { { 0x101e00, 0x200 }, { 0x102000, 0x1000 },
			    { 0x103000, 0x200 }, { 0x104000, 0x1000 },
			    { 0x106800, 0x800 }, { 0x107000, 0x800 } },
	},
	{
		.name = "maximum size and boundary",
		.max_len = 0x600,
		.boundary = 0xfff,
		.nr_bios = 1,
		.bios = { { .vecs = { { 0x101c00, 0x1000 } } } },
		.pieces = { { 0x101c00, 0x400 }, { 0x102000, 0x600 },
			    { 0x102600, 0x600 } },
	},
	{
		.name = "boundary at 4 GiB",
		.boundary = 0xffffffff,
		.nr_bios = 1,
		.bios = { { .vecs = { { 0xfffff000, 0x3000 } } } },
		.pieces = { { 0xfffff000, 0x1000 }, { 0x100000000, 0x2000 } },
	},
	{
		.name = "4 GiB less a sector",
		.nr_bios = 1,
		.bios = { { .vecs = { { 0x100000000, 0xfffffe00 } } } },
		.pieces = { { 0x100000000, 0xfffffe00 } },
	},
	{
		.name = "4 GiB less a sector, divided and advanced",
		.max_len = 0x80000000,
		.boundary = 0xffffffff,
		.nr_bios = 1,
		.bios = { { .skip = 0x200,
			    .vecs = { { 0x80000000, 0xfffffe00 } } } },
		.pieces = { { 0x80000200, 0x7ffffe00 },
			    { 0x100000000, 0x7ffffe00 } },
	},
	{
		.name = "more than 4 GiB in all",
		.boundary = 0xffffffff,
		.nr_bios = 3,
		.bios = { { .vecs = { { 0x100000000, 0xc0000000 } } },
			  { .vecs = { { 0x300000000, 0xc0000000 } } },
			  { .vecs = { { 0x580000000, 0xc0000000 } } } },
		.pieces = { { 0x100000000, 0xc0000000 },
			    { 0x300000000, 0xc0000000 },
			    { 0x580000000, 0x80000000 },
			    { 0x600000000, 0x40000000 } },
	},
};

KUNIT_ARRAY_PARAM_DESC(walk, walk_cases, name);

/* A request of its own queue; its memory is data or, as laid out, metadata. */
struct fake_rq {
	struct request rq;
	struct request_queue q;
	struct bio_vec vecs[MAX_BIOS][MAX_VECS];
};

static struct fake_rq *fake_rq(struct kunit *test)
{
	struct fake_rq *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->rq.q = &f->q;
	f->q.limits.max_segment_size = UINT_MAX;
	f->q.limits.seg_boundary_mask = ULONG_MAX;
	return f;
}

static void fake_rq_add_bio(struct fake_rq *f, struct bio *bio)
{
	if (f->rq.bio)
		f->rq.biotail->bi_next = bio;
	else
		f->rq.bio = bio;
	f->rq.biotail = bio;
	f->rq.__data_len += bio->bi_iter.bi_size;
}

static struct bvec_iter *lay_integrity(struct kunit *test, struct bio *bio)
{
	struct bio_integrity_payload *bip;

	bip = kunit_kzalloc(test, sizeof(*bip), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, bip);
	bip->bip_vec = bio->bi_io_vec;
	bio->bi_io_vec = NULL;
	bio->bi_integrity = bip;
	bio->bi_opf |= REQ_INTEGRITY;
	return &bip->bip_iter;
}

/* The first GiB of the tables is one that has memory, which may start later. */
static phys_addr_t real_addr(phys_addr_t paddr)
{
	if (paddr >= SZ_1G)
		return paddr;
	return paddr + round_down(page_to_phys(ZERO_PAGE(0)), SZ_1G);
}

/*
 * Of the first page the class is read, so it has a struct page: beyond the end
 * of memory, that of one a long way before.
 */
static void lay_vec(struct bio_vec *bv, const struct phys_vec *vec)
{
	phys_addr_t zero_page = page_to_phys(ZERO_PAGE(0));
	phys_addr_t paddr = real_addr(vec->paddr);

	bvec_set_page(bv, pfn_to_page(PHYS_PFN(paddr)), vec->len,
		      offset_in_page(paddr));
	if (!pfn_valid(PHYS_PFN(paddr)) && paddr - zero_page <= U32_MAX)
		bvec_set_page(bv, ZERO_PAGE(0), vec->len, paddr - zero_page);
}

static void lay_bio(struct kunit *test, struct fake_rq *f, unsigned int i,
		    const struct walk_bio *layout, bool integrity)
{
	struct bio *bio = kunit_kzalloc(test, sizeof(*bio), GFP_KERNEL);
	struct bio_vec *bv = f->vecs[i];
	struct bvec_iter *iter;
	unsigned int j;

	KUNIT_ASSERT_NOT_NULL(test, bio);
	iter = &bio->bi_iter;
	bio_init(bio, NULL, bv, MAX_VECS, REQ_OP_READ);
	if (integrity)
		iter = lay_integrity(test, bio);
	for (j = 0; j < MAX_VECS && layout->vecs[j].len; j++) {
		lay_vec(&bv[j], &layout->vecs[j]);
		iter->bi_size += layout->vecs[j].len;
	}
	bvec_iter_advance(bv, iter, layout->skip);
	iter->bi_size -= layout->cut;
	fake_rq_add_bio(f, bio);
}

/*
 * What the block layer counts may be 1 for any number of vectors, if one ends
 * within a logical block. But it regards the queue's limits.
 */
static unsigned int count_segments(const struct walk_case *c)
{
	unsigned int nr = 1;

	if (c->max_len || c->boundary)
		while (nr < MAX_PIECES && c->pieces[nr].len)
			nr++;
	return nr;
}

static struct fake_rq *lay_rq(struct kunit *test, const struct walk_case *c,
			      bool integrity)
{
	struct fake_rq *f = fake_rq(test);
	unsigned int i;

	if (c->max_len)
		f->q.limits.max_segment_size = c->max_len;
	if (c->boundary)
		f->q.limits.seg_boundary_mask = c->boundary;
	for (i = 0; i < c->nr_bios; i++)
		lay_bio(test, f, i, &c->bios[i], integrity);
	if (!integrity)
		f->rq.nr_phys_segments = count_segments(c);
	return f;
}

static void walk_init(struct fake_rq *f, struct blk_map_iter *walk,
		      bool integrity)
{
	blk_rq_map_iter_init(&f->rq, walk, integrity);
}

/* The bytes of the bios in order, by the block layer's own iterator. */
struct reference {
	bool integrity;
	struct bio *bio;
	struct bvec_iter iter;
};

static void reference_set(struct reference *ref, struct bio *bio,
			  bool integrity)
{
	ref->integrity = integrity;
	ref->bio = bio;
	if (bio)
		ref->iter = integrity ? bio_integrity(bio)->bip_iter :
					bio->bi_iter;
}

static bool reference_next(struct reference *ref, struct phys_vec *vec)
{
	struct bio_vec *vecs, bv;

	while (ref->bio && !ref->iter.bi_size)
		reference_set(ref, ref->bio->bi_next, ref->integrity);
	if (!ref->bio)
		return false;

	vecs = ref->integrity ? bio_integrity(ref->bio)->bip_vec :
				ref->bio->bi_io_vec;
	bv = mp_bvec_iter_bvec(vecs, ref->iter);
	bvec_iter_advance(vecs, &ref->iter, bv.bv_len);
	vec->paddr = bvec_phys(&bv);
	vec->len = bv.bv_len;
	return true;
}

static void expect_vec(struct kunit *test, unsigned int i,
		       const struct phys_vec *vec, phys_addr_t addr, u32 len)
{
	KUNIT_EXPECT_EQ_MSG(test, addr, vec->paddr, "piece %u", i);
	KUNIT_EXPECT_EQ_MSG(test, len, vec->len, "piece %u", i);
}

/* @piece is one of a table. */
static void expect_piece(struct kunit *test, unsigned int i,
			 const struct phys_vec *piece, phys_addr_t addr,
			 u32 len)
{
	const struct phys_vec vec = { real_addr(piece->paddr), piece->len };

	expect_vec(test, i, &vec, addr, len);
}

static unsigned int nr_pieces(const struct walk_case *c)
{
	unsigned int i = 0;

	while (i < MAX_PIECES && c->pieces[i].len)
		i++;
	return i;
}

/* The pieces are those of the table. */
static void expect_pieces(struct kunit *test, const struct walk_case *c,
			  bool integrity)
{
	struct fake_rq *f = lay_rq(test, c, integrity);
	struct blk_map_iter walk;
	struct phys_vec vec;
	unsigned int i = 0;

	walk_init(f, &walk, integrity);
	while (i < nr_pieces(c) && blk_map_iter_next(&walk, &vec)) {
		expect_piece(test, i, &c->pieces[i], vec.paddr, vec.len);
		i++;
	}
	KUNIT_EXPECT_EQ(test, i, nr_pieces(c));
	KUNIT_EXPECT_FALSE(test, blk_map_iter_next(&walk, &vec));
	KUNIT_EXPECT_FALSE(test, blk_map_iter_next(&walk, &vec));
}

/* The pieces are the bytes of the bios in order, and within the limits. */
static void expect_bytes(struct kunit *test, struct fake_rq *f, bool integrity)
{
	struct queue_limits *lim = &f->q.limits;
	struct phys_vec vec, want = {};
	struct blk_map_iter walk;
	struct reference ref;
	u32 len;

	reference_set(&ref, f->rq.bio, integrity);
	walk_init(f, &walk, integrity);
	while (blk_map_iter_next(&walk, &vec)) {
		KUNIT_ASSERT_NE(test, vec.len, 0);
		KUNIT_EXPECT_LE(test, vec.len, lim->max_segment_size);
		KUNIT_EXPECT_EQ(test, vec.paddr & ~lim->seg_boundary_mask,
				(vec.paddr + vec.len - 1) &
					~lim->seg_boundary_mask);
		for (; vec.len; vec.len -= len, want.len -= len) {
			if (!want.len)
				KUNIT_ASSERT_TRUE(test,
						  reference_next(&ref, &want));
			KUNIT_ASSERT_EQ(test, vec.paddr, want.paddr);
			len = min(vec.len, want.len);
			vec.paddr += len;
			want.paddr += len;
		}
	}
	KUNIT_EXPECT_EQ(test, want.len, 0);
	KUNIT_EXPECT_FALSE(test, reference_next(&ref, &want));
}

/*
 * Without the queue's limits the pieces are the rests of the vectors, but those
 * that meet within a page may be one.
 */
static void expect_bvecs(struct kunit *test, struct fake_rq *f, bool integrity)
{
	struct phys_vec vec, want, more;
	struct blk_map_iter walk;
	struct reference ref;
	unsigned int i = 0;

	reference_set(&ref, f->rq.bio, integrity);
	walk_init(f, &walk, integrity);
	while (blk_map_iter_next_bvec(&walk, &vec)) {
		KUNIT_ASSERT_TRUE(test, reference_next(&ref, &want));
		while (want.len < vec.len &&
		       offset_in_page(want.paddr + want.len)) {
			KUNIT_ASSERT_TRUE(test, reference_next(&ref, &more));
			KUNIT_ASSERT_EQ(test, want.paddr + want.len,
					more.paddr);
			want.len += more.len;
		}
		expect_vec(test, i++, &want, vec.paddr, vec.len);
	}
	KUNIT_EXPECT_FALSE(test, reference_next(&ref, &want));
}

static void walk_test(struct kunit *test)
{
	const struct walk_case *c = test->param_value;
	int integrity;

	for (integrity = 0; integrity <= 1; integrity++) {
		expect_pieces(test, c, integrity);
		expect_bytes(test, lay_rq(test, c, integrity), integrity);
		expect_bvecs(test, lay_rq(test, c, integrity), integrity);
	}
}

static void random_case(struct rnd_state *rnd, struct walk_case *c)
{
	static const unsigned long boundaries[] = { 0, 0xfff, 0xffff, 0x1ff };
	phys_addr_t end = 0; /* of what the bio before has left in its last vector */
	unsigned int i, j, nr;

	*c = (struct walk_case){ .nr_bios = 1 +
					    prandom_u32_state(rnd) % MAX_BIOS };
	c->boundary =
		boundaries[prandom_u32_state(rnd) % ARRAY_SIZE(boundaries)];
	if (prandom_u32_state(rnd) % 2)
		c->max_len = 512 + prandom_u32_state(rnd) % 0x3000;
	for (i = 0; i < c->nr_bios; i++) {
		struct walk_bio *bio = &c->bios[i];
		unsigned int size = 0;

		nr = prandom_u32_state(rnd) % (MAX_VECS + 1);
		for (j = 0; j < nr; j++) {
			bio->vecs[j].paddr =
				SZ_1M + prandom_u32_state(rnd) % SZ_8M;
			bio->vecs[j].len = 1 + prandom_u32_state(rnd) % 0x4000;
			size += bio->vecs[j].len;
		}
		if (nr && end && prandom_u32_state(rnd) % 2)
			bio->vecs[0].paddr = end;
		else if (size && prandom_u32_state(rnd) % 2)
			bio->skip = prandom_u32_state(rnd) % size;
		if (size && prandom_u32_state(rnd) % 2)
			bio->cut = prandom_u32_state(rnd) % (size - bio->skip);
		if (nr)
			end = bio->vecs[nr - 1].paddr + bio->vecs[nr - 1].len -
			      min(bio->cut, bio->vecs[nr - 1].len);
	}
}

static void walk_random_test(struct kunit *test)
{
	struct rnd_state rnd;
	struct walk_case c;
	unsigned int i;

	prandom_seed_state(&rnd, 6);
	for (i = 0; i < 300; i++) {
		random_case(&rnd, &c);
		expect_bytes(test, lay_rq(test, &c, i % 2), i % 2);
		expect_bvecs(test, lay_rq(test, &c, i % 2), i % 2);
	}
}

/* A discard's payload is not its bios' memory. */
static void walk_special_payload_test(struct kunit *test)
{
	const struct phys_vec payload = { 0x109200, 0x800 };
	struct fake_rq *f = lay_rq(test, &walk_cases[0], false);
	struct blk_map_iter walk;
	struct phys_vec vec;

	f->rq.rq_flags = RQF_SPECIAL_PAYLOAD;
	lay_vec(&f->rq.special_vec, &payload);
	blk_rq_map_iter_init(&f->rq, &walk, false);
	KUNIT_ASSERT_TRUE(test, blk_map_iter_next(&walk, &vec));
	expect_piece(test, 0, &payload, vec.paddr, vec.len);
	KUNIT_EXPECT_FALSE(test, blk_map_iter_next(&walk, &vec));
	KUNIT_EXPECT_EQ(test, blk_rq_dma_bytes(&f->rq, false), payload.len);
}

static void walk_no_bio_test(struct kunit *test)
{
	struct fake_rq *f = fake_rq(test);
	struct blk_map_iter walk;
	struct phys_vec vec;

	blk_rq_map_iter_init(&f->rq, &walk, false);
	KUNIT_EXPECT_FALSE(test, blk_map_iter_next(&walk, &vec));
	KUNIT_EXPECT_FALSE(test, blk_map_iter_next_bvec(&walk, &vec));
}

/* Has no bounce buffers. */
static void set_up_dma(struct kunit *test, struct device *dev)
{
	struct io_tlb_mem *mem = kunit_kzalloc(test, sizeof(*mem), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, mem);
	dev->coherent_dma_mask = DMA_BIT_MASK(64);
	dev->dma_mask = &dev->coherent_dma_mask;
	dev->dma_io_tlb_mem = mem;
	/* nothing is to be done for caches: the memory is not the test's */
#ifdef CONFIG_ARCH_HAS_SYNC_DMA_FOR_DEVICE
	dev->dma_coherent = true;
#endif
}

/* Sees memory that far from where the CPU does. */
static struct device *fake_device(struct kunit *test, u64 offset)
{
	struct device *dev = kunit_device_register(test, "blk-dma");
	struct bus_dma_region *map;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dev);
	set_up_dma(test, dev);
	if (!offset)
		return dev;

	/* one region and the end of the list; freed with the device */
	map = kcalloc(2, sizeof(*map), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, map);
	map->dma_start = offset;
	map->size = SZ_1T;
	dev->dma_range_map = map;
	return dev;
}

/* A PCI device that providers know as their client number 1 */
static struct device *fake_peer(struct kunit *test)
{
	struct pci_dev *pdev = kunit_kzalloc(test, sizeof(*pdev), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, pdev);
	pdev->dev.init_name = "blk-dma-peer";
	pdev->dev.bus = &pci_bus_type;
	pdev->p2pdma_client = 1;
	set_up_dma(test, &pdev->dev);
	return &pdev->dev;
}

static void exit_reserve(void *reserve)
{
	blk_dma_reserve_exit(reserve);
}

static void init_client(struct kunit *test, struct blk_dma_client *client,
			struct device *dev)
{
	struct blk_dma_reserve *reserve =
		kunit_kzalloc(test, sizeof(*reserve), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, reserve);
	KUNIT_ASSERT_EQ(test, 0, blk_dma_reserve_init(reserve));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, exit_reserve,
							   reserve));
	blk_dma_client_init(client, dev, reserve, 0);
}

static bool dma_start(struct fake_rq *f, struct device *dev,
		      struct dma_iova_state *state, struct blk_dma_iter *iter,
		      bool integrity)
{
	if (integrity)
		return blk_rq_integrity_dma_map_iter_start(&f->rq, dev, state,
							   iter);
	return blk_rq_dma_map_iter_start(&f->rq, dev, state, iter);
}

static bool dma_next(struct fake_rq *f, struct device *dev,
		     struct blk_dma_iter *iter)
{
	if (iter->iter.is_integrity)
		return blk_rq_integrity_dma_map_iter_next(&f->rq, dev, iter);
	return blk_rq_dma_map_iter_next(&f->rq, dev, iter);
}

static void expect_error(struct kunit *test, struct blk_dma_iter *iter,
			 int error)
{
	KUNIT_EXPECT_EQ(test, blk_status_to_errno(iter->status), error);
}

/* The ranges are the pieces. */
static void expect_ranges(struct kunit *test, struct device *dev,
			  enum blk_dma_mode mode, bool integrity)
{
	const struct walk_case *c = test->param_value;
	struct fake_rq *f = lay_rq(test, c, integrity);
	struct dma_iova_state state;
	struct blk_dma_iter iter;
	unsigned int i = 0;
	bool more;

	/* The first bio of a request has data. */
	if (!c->bios[0].vecs[0].len)
		kunit_skip(test, "nothing to map");
	for (more = dma_start(f, dev, &state, &iter, integrity);
	     more && i < nr_pieces(c); more = dma_next(f, dev, &iter)) {
		expect_piece(test, i, &c->pieces[i],
			     dma_to_phys(dev, iter.addr), iter.len);
		if (mode == BLK_DMA_SEGMENTS)
			dma_unmap_phys(dev, iter.addr, iter.len,
				       DMA_FROM_DEVICE, 0);
		i++;
	}
	KUNIT_EXPECT_FALSE(test, more);
	KUNIT_EXPECT_EQ(test, i, nr_pieces(c));
	expect_error(test, &iter, 0);
	KUNIT_EXPECT_EQ(test, iter.mode, mode);
	KUNIT_EXPECT_EQ(test, iter.p2pdma.map, PCI_P2PDMA_MAP_NONE);
	KUNIT_EXPECT_FALSE(test, dma_use_iova(&state));
}

static void skip_if_all_is_mapped(struct kunit *test)
{
	if (IS_ENABLED(CONFIG_DMA_API_DEBUG) || IS_ENABLED(CONFIG_KMSAN))
		kunit_skip(test, "this kernel watches every mapping");
}

static void map_linear_test(struct kunit *test)
{
	struct device *dev = fake_device(test, 0);

	skip_if_all_is_mapped(test);
	expect_ranges(test, dev, BLK_DMA_LINEAR, false);
	expect_ranges(test, dev, BLK_DMA_LINEAR, true);
}

static void map_segments_test(struct kunit *test)
{
	struct device *dev = fake_device(test, SZ_1T);

	expect_ranges(test, dev, BLK_DMA_SEGMENTS, false);
	expect_ranges(test, dev, BLK_DMA_SEGMENTS, true);
}

static phys_addr_t last_addr(const struct walk_case *c)
{
	phys_addr_t last = 0;
	unsigned int i;

	for (i = 0; i < nr_pieces(c); i++)
		last = max(last, real_addr(c->pieces[i].paddr) +
					 c->pieces[i].len - 1);
	return last;
}

/* What a device reaches needs no mapping, though it does not reach all memory. */
static void map_within_reach_test(struct kunit *test)
{
	struct device *dev = fake_device(test, 0);

	skip_if_all_is_mapped(test);
	dev->coherent_dma_mask = phys_to_dma(dev, last_addr(test->param_value));
	expect_ranges(test, dev, BLK_DMA_LINEAR, false);
	expect_ranges(test, dev, BLK_DMA_LINEAR, true);
}

/* What is to bounce is looked at, and the table has addresses without memory. */
static bool has_memory(const struct walk_case *c)
{
	unsigned int i;

	for (i = 0; i < nr_pieces(c); i++)
		if (!pfn_valid(PHYS_PFN(real_addr(c->pieces[i].paddr))))
			return false;
	return true;
}

/* The last byte is beyond its reach: what is mapped finds no bounce buffers. */
static void map_beyond_reach_test(struct kunit *test)
{
	const struct walk_case *c = test->param_value;
	struct device *dev = fake_device(test, 0);
	struct blk_dma_client client;
	struct blk_dma_mapping m;
	struct blk_dma_iter iter;
	struct fake_rq *f;

	skip_if_all_is_mapped(test);
	if (!c->bios[0].vecs[0].len || !has_memory(c))
		kunit_skip(test, "nothing to map");
	dev->coherent_dma_mask = phys_to_dma(dev, last_addr(c)) - 1;
	init_client(test, &client, dev);
	dev->dma_io_tlb_mem->force_bounce = true;

	f = lay_rq(test, c, false);
	KUNIT_EXPECT_FALSE(test, blk_dma_map_data(&client, &f->rq, &m, &iter,
						  NULL));
	expect_error(test, &iter, -ENOMEM);
	f = lay_rq(test, c, true);
	KUNIT_EXPECT_FALSE(test, blk_dma_map_metadata(&client, &f->rq, &m,
						      &iter, NULL));
	expect_error(test, &iter, -ENOMEM);
}

/*
 * Whole pages are taken one by one, and nothing else is. The first range is cut,
 * for the queue's limits; what is left of its page is no whole page.
 */
static void map_linear_page_test(struct kunit *test)
{
	static const struct walk_case c = {
		.max_len = 0x800,
		.nr_bios = 3,
		.bios = { { .vecs = { { 0x101000, 0x1000 }, { 0x103000, 0x1000 },
				      { 0x105000, 0x2000 }, { 0x108000, 0x1000 } } },
			  { .skip = 0x200, .vecs = { { 0x10a000, 0x1000 },
						     { 0x10c000, 0x1000 } } },
			  { .cut = 0x200, .vecs = { { 0x10e200, 0x1000 },
						    { 0x110000, 0x1000 } } } },
	};
	static const struct {
		bool page;
		struct phys_vec vec;
	} ranges[] = {
		{ false, { 0x101800, 0x800 } },
		{ true, { 0x103000, 0x1000 } },	 { false, { 0x105000, 0x2000 } },
		{ true, { 0x108000, 0x1000 } },	 { false, { 0x10a200, 0xe00 } },
		{ true, { 0x10c000, 0x1000 } },	 { false, { 0x10e200, 0x1000 } },
		{ false, { 0x110000, 0xe00 } },
	};
	struct device *dev = fake_device(test, 0);
	struct fake_rq *f = lay_rq(test, &c, false);
	struct dma_iova_state state;
	struct blk_dma_iter iter;
	unsigned int i;
	bool page;

	skip_if_all_is_mapped(test);
	KUNIT_ASSERT_TRUE(test, blk_rq_dma_map_iter_start(&f->rq, dev, &state,
							  &iter));
	for (i = 0; i < ARRAY_SIZE(ranges); i++) {
		page = blk_dma_linear_max_pages(&iter) &&
		       blk_dma_linear_next_page(&iter);
		KUNIT_EXPECT_EQ_MSG(test, page, ranges[i].page, "range %u", i);
		if (!page)
			KUNIT_ASSERT_TRUE(test, blk_dma_linear_next(&iter));
		expect_piece(test, i, &ranges[i].vec, iter.addr, iter.len);
	}
	KUNIT_EXPECT_EQ(test, blk_dma_linear_max_pages(&iter), 0);
	KUNIT_EXPECT_FALSE(test, blk_dma_linear_next(&iter));
}

/* Memory to be copied can turn up late: then every range is to be unmapped. */
static void map_late_bounce_test(struct kunit *test)
{
	struct device *dev = fake_device(test, SZ_1T);
	struct fake_rq *f = lay_rq(test, &walk_cases[3], false);
	struct dma_iova_state state;
	struct blk_dma_iter iter;
	unsigned int pieces = 1;

	skip_if_all_is_mapped(test);
	dev->dma_skip_sync = true;
	KUNIT_ASSERT_TRUE(test, blk_rq_dma_map_iter_start(&f->rq, dev, &state,
							  &iter));
	KUNIT_EXPECT_TRUE(test, blk_rq_dma_unmap(&f->rq, dev, &state, iter.len,
						 iter.p2pdma.map));
	dma_reset_need_sync(dev);
	while (blk_rq_dma_map_iter_next(&f->rq, dev, &iter))
		pieces++;
	expect_error(test, &iter, 0);
	KUNIT_EXPECT_EQ(test, pieces, nr_pieces(&walk_cases[3]));
	KUNIT_EXPECT_FALSE(test, blk_rq_dma_unmap(&f->rq, dev, &state,
						  f->rq.__data_len,
						  iter.p2pdma.map));
}

struct p2p_page {
	struct page *page;
	enum zone_type zone; /* where it goes back to */
	struct pci_dev provider;
	struct pci_p2pdma_pagemap pagemap;
	u8 map_types[P2PDMA_NR_MAP_TYPES];
};

static void p2p_page_free(void *data)
{
	struct p2p_page *p2p = data;

	set_page_zone(p2p->page, p2p->zone);
	p2p->page->pgmap = NULL;
	__free_page(p2p->page);
}

/* A page that is lent to a provider, whose only peer is fake_peer(), by @map. */
static struct page *p2p_page(struct kunit *test, enum pci_p2pdma_map_type map)
{
	struct p2p_page *p2p = kunit_kzalloc(test, sizeof(*p2p), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, p2p);
	p2p->page = alloc_page(GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p2p->page);
	p2p->zone = page_zonenum(p2p->page);
	p2p->pagemap.mem.owner = &p2p->provider.dev;
	p2p->pagemap.mem.bus_offset = BUS_OFFSET;
	p2p->map_types[1] = map;
	p2p->pagemap.mem.map_types = p2p->map_types;
	p2p->pagemap.pgmap.type = MEMORY_DEVICE_PCI_P2PDMA;
	p2p->pagemap.pgmap.range.start = page_to_phys(p2p->page);
	p2p->pagemap.pgmap.range.end = page_to_phys(p2p->page) + PAGE_SIZE - 1;
	set_page_zone(p2p->page, ZONE_DEVICE);
	p2p->page->pgmap = &p2p->pagemap.pgmap;
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, p2p_page_free,
							   p2p));
	return p2p->page;
}

/* What the device cannot reach ends the request, whatever else is in it. */
static void map_unreachable_test(struct kunit *test)
{
	struct device *dev = fake_device(test, 0);
	struct fake_rq *f = lay_rq(test, &walk_cases[0], false);
	struct dma_iova_state state;
	struct blk_dma_iter iter;

	f->vecs[0][0].bv_page = p2p_page(test, PCI_P2PDMA_MAP_BUS_ADDR);
	KUNIT_EXPECT_FALSE(test, blk_rq_dma_map_iter_start(&f->rq, dev, &state,
							   &iter));
	expect_error(test, &iter, -EREMOTEIO);
	KUNIT_EXPECT_EQ(test, iter.p2pdma.map, PCI_P2PDMA_MAP_NOT_SUPPORTED);
	KUNIT_EXPECT_FALSE(test, dma_use_iova(&state));

	lay_integrity(test, f->rq.bio)->bi_size = PAGE_SIZE;
	KUNIT_EXPECT_FALSE(test, blk_rq_integrity_dma_map_iter_start(
					 &f->rq, dev, &state, &iter));
	expect_error(test, &iter, -EREMOTEIO);
}

/* Memory of several classes is asked for page by page, host memory too. */
static void map_mixed_test(struct kunit *test)
{
	struct device *dev = fake_device(test, SZ_1T);
	struct fake_rq *f = lay_rq(test, &walk_cases[3], false);
	struct phys_vec host = walk_cases[3].pieces[0];
	struct dma_iova_state state;
	struct blk_dma_client client;
	struct blk_dma_mapping m;
	struct blk_dma_iter iter;

	host.paddr = real_addr(host.paddr);
	f->rq.bio->bi_opf |= REQ_MIXED_CLASS;
	f->vecs[0][1].bv_page = p2p_page(test, PCI_P2PDMA_MAP_BUS_ADDR);
	init_client(test, &client, dev);
	KUNIT_ASSERT_TRUE(test, blk_dma_map_data(&client, &f->rq, &m, &iter,
						 NULL));
	expect_vec(test, 0, &host, dma_to_phys(dev, iter.addr), iter.len);
	KUNIT_EXPECT_EQ(test, m.map, PCI_P2PDMA_MAP_UNKNOWN);
	KUNIT_EXPECT_FALSE(test, blk_dma_next(&f->rq, dev, &iter));
	expect_error(test, &iter, -EREMOTEIO);
	KUNIT_EXPECT_EQ(test, m.segments.nr, 1);
	blk_dma_unmap(&client, &f->rq, &m);

	/* Drivers that ask once for all ranges do not get it. */
	KUNIT_EXPECT_FALSE(test, blk_rq_dma_map_iter_start(&f->rq, dev, &state,
							   &iter));
	expect_error(test, &iter, -EREMOTEIO);
}

static void map_bus_addr_test(struct kunit *test)
{
	struct device *dev = fake_peer(test);
	struct page *page = p2p_page(test, PCI_P2PDMA_MAP_BUS_ADDR);
	struct dma_iova_state state;
	struct blk_dma_iter iter;
	struct phys_vec want;
	struct fake_rq *f;
	int integrity;

	for (integrity = 0; integrity <= 1; integrity++) {
		f = lay_rq(test, &walk_cases[0], integrity);
		f->vecs[0][0].bv_page = page;
		want.paddr = bvec_phys(&f->vecs[0][0]) + BUS_OFFSET;
		want.len = f->vecs[0][0].bv_len;
		KUNIT_ASSERT_TRUE(test, dma_start(f, dev, &state, &iter,
						  integrity));
		expect_vec(test, integrity, &want, iter.addr, iter.len);
		KUNIT_EXPECT_EQ(test, iter.mode, BLK_DMA_LINEAR);
		KUNIT_EXPECT_EQ(test, iter.p2pdma.map, PCI_P2PDMA_MAP_BUS_ADDR);
		KUNIT_EXPECT_FALSE(test, dma_next(f, dev, &iter));
	}
}

/* Through the host bridge nothing is mapped, but what the device cannot address fails. */
static void map_host_bridge_test(struct kunit *test)
{
	struct page *page = p2p_page(test, PCI_P2PDMA_MAP_THRU_HOST_BRIDGE);
	struct fake_rq *f = lay_rq(test, &walk_cases[0], false);
	struct device *dev = fake_peer(test);
	struct dma_iova_state state;
	struct blk_dma_iter iter;
	struct phys_vec want;

	f->vecs[0][0].bv_page = page;
	want.paddr = phys_to_dma_unencrypted(dev, bvec_phys(&f->vecs[0][0]));
	want.len = f->vecs[0][0].bv_len;
	KUNIT_ASSERT_TRUE(test, blk_rq_dma_map_iter_start(&f->rq, dev, &state,
							  &iter));
	expect_vec(test, 0, &want, iter.addr, iter.len);
	KUNIT_EXPECT_EQ(test, iter.mode, BLK_DMA_LINEAR);

	dev->coherent_dma_mask = page_to_phys(page) - 1;
	KUNIT_EXPECT_FALSE(test, blk_rq_dma_map_iter_start(&f->rq, dev, &state,
							   &iter));
	expect_error(test, &iter, -EREMOTEIO);
}

/* The offset is that of the provider's memory alone. */
static void map_mixed_bus_addr_test(struct kunit *test)
{
	const struct walk_case *c = &walk_cases[3];
	struct fake_rq *f = lay_rq(test, c, false);
	struct device *dev = fake_peer(test);
	struct phys_vec vec, want;
	struct blk_dma_client client;
	struct blk_map_iter walk;
	struct blk_dma_mapping m;
	struct blk_dma_iter iter;
	unsigned int i;
	bool more;

	f->rq.bio->bi_opf |= REQ_MIXED_CLASS;
	f->vecs[0][1].bv_page = p2p_page(test, PCI_P2PDMA_MAP_BUS_ADDR);
	init_client(test, &client, dev);
	walk_init(f, &walk, false);
	more = blk_dma_map_data(&client, &f->rq, &m, &iter, NULL);
	for (i = 0; blk_map_iter_next(&walk, &vec); i++) {
		KUNIT_ASSERT_TRUE(test, more);
		want = vec;
		want.paddr = i == 1 ? vec.paddr + BUS_OFFSET :
				      phys_to_dma(dev, vec.paddr);
		expect_vec(test, i, &want, iter.addr, iter.len);
		KUNIT_EXPECT_EQ(test, m.segments.addrs[i],
				i == 1 ? DMA_MAPPING_ERROR : iter.addr);
		more = blk_dma_next(&f->rq, dev, &iter);
	}
	KUNIT_EXPECT_FALSE(test, more);
	KUNIT_EXPECT_EQ(test, i, nr_pieces(c));
	expect_error(test, &iter, 0);
	blk_dma_unmap(&client, &f->rq, &m);
}

/*
 * The second range cannot be mapped, for want of bounce buffers. As host memory
 * it is worth another try, as a peer's memory it is not.
 */
static void map_error_test(struct kunit *test)
{
	static const struct {
		enum pci_p2pdma_map_type map;
		int error;
	} cases[] = {
		{ PCI_P2PDMA_MAP_NONE, -ENOMEM },
		{ PCI_P2PDMA_MAP_THRU_HOST_BRIDGE, -EREMOTEIO },
	};
	struct fake_rq *f = lay_rq(test, &walk_cases[3], false);
	struct device *dev = fake_device(test, SZ_1T);
	struct dma_iova_state state;
	struct blk_dma_iter iter;
	struct phys_vec first;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		dev->dma_io_tlb_mem->force_bounce = false;
		KUNIT_ASSERT_TRUE(test, blk_rq_dma_map_iter_start(
						&f->rq, dev, &state, &iter));
		first = (struct phys_vec){ iter.addr, iter.len };
		iter.p2pdma.map = cases[i].map;
		dev->dma_io_tlb_mem->force_bounce = true;
		KUNIT_EXPECT_FALSE(test, blk_rq_dma_map_iter_next(&f->rq, dev,
								  &iter));
		expect_error(test, &iter, cases[i].error);
		dev->dma_io_tlb_mem->force_bounce = false;
		dma_unmap_phys(dev, first.paddr, first.len, DMA_FROM_DEVICE, 0);
	}
}

static struct kunit_case blk_mq_dma_cases[] = {
	KUNIT_CASE_PARAM(walk_test, walk_gen_params),
	KUNIT_CASE(walk_random_test),
	KUNIT_CASE(walk_special_payload_test),
	KUNIT_CASE(walk_no_bio_test),
	KUNIT_CASE_PARAM(map_linear_test, walk_gen_params),
	KUNIT_CASE_PARAM(map_within_reach_test, walk_gen_params),
	KUNIT_CASE_PARAM(map_beyond_reach_test, walk_gen_params),
	KUNIT_CASE(map_linear_page_test),
	KUNIT_CASE_PARAM(map_segments_test, walk_gen_params),
	KUNIT_CASE(map_late_bounce_test),
	KUNIT_CASE(map_unreachable_test),
	KUNIT_CASE(map_mixed_test),
	KUNIT_CASE(map_bus_addr_test),
	KUNIT_CASE(map_host_bridge_test),
	KUNIT_CASE(map_mixed_bus_addr_test),
	KUNIT_CASE(map_error_test),
	{}
};

static struct kunit_suite blk_mq_dma_suite = {
	.name = "blk-mq-dma",
	.test_cases = blk_mq_dma_cases,
};

kunit_test_suite(blk_mq_dma_suite);

MODULE_DESCRIPTION("KUnit tests of how requests are walked and mapped for DMA");
MODULE_LICENSE("GPL");
