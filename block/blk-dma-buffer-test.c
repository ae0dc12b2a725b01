// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of bios of registered buffers that stay mapped: where their data is,
 * and how many segments they have. Nothing reads the memory.
 */
#include <kunit/test.h>
#include <linux/blk-dma-buffer.h>
#include <linux/blk-mq-dma.h>
#include <linux/prandom.h>

#include "blk.h"
#include "blk-dma-buffer-limits.h"

#define MAX_VECS 40
#define MAX_RANGES 3

/* A buffer that is mapped as three ranges, and a request */
struct fixture {
	struct bio_vec bvec[MAX_VECS];
	u64 before[MAX_VECS]; /* bytes before each vector */
	struct blk_dma_buffer buf;
	struct blk_dma_buffer_map map;
	struct blk_dma_buffer_client client;
	unsigned int device_takes; /* sectors */
	struct dma_registration *reg;
	struct blk_dma_mapping m;
	struct request rq;
	struct bio bio;
	struct rnd_state rnd;
};

static unsigned int max_sectors(struct blk_dma_buffer_client *client)
{
	return container_of(client, struct fixture, client)->device_takes;
}

static const struct blk_dma_buffer_ops ops = { .max_sectors = max_sectors };

static u32 below(struct fixture *f, u32 limit)
{
	return prandom_u32_state(&f->rnd) % limit;
}

static struct fixture *fixture(struct kunit *test)
{
	struct fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->reg = kunit_kzalloc(test, struct_size(f->reg, ranges, MAX_RANGES + 1),
			       GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, f->reg);
	f->reg->nr_ranges = MAX_RANGES;
	f->client.id = 7;
	f->client.ops = &ops;
	f->map.client = &f->client;
	f->map.client_id = 7;
	f->map.reg = f->reg;
	f->map.map = PCI_P2PDMA_MAP_BUS_ADDR;
	f->map.buf = &f->buf;
	f->rq.bio = &f->bio;
	prandom_seed_state(&f->rnd, 4711);
	return f;
}

/* Vectors of 1 << @shift bytes, of which the first and the last lack some. */
static void lay_buffer(struct fixture *f, unsigned int nr_vecs,
		       unsigned int shift, unsigned int first_lacks,
		       unsigned int last_lacks)
{
	u64 size = 0;
	unsigned int i;

	for (i = 0; i < nr_vecs; i++) {
		u32 from = i ? 0 : first_lacks;
		u32 to = BIT(shift) - (i == nr_vecs - 1 ? last_lacks : 0);

		/* no two of them are neighbours */
		bvec_set_page(&f->bvec[i],
			      pfn_to_page((i + 1) * (2UL << shift) / PAGE_SIZE),
			      to - from, from);
		f->before[i] = size;
		size += to - from;
	}
	blk_dma_buffer_init(&f->buf, f->bvec, nr_vecs, shift);
	f->reg->size = size;
	for (i = 0; i < MAX_RANGES; i++) {
		f->reg->ranges[i].addr = BIT_ULL(40 + i);
		f->reg->ranges[i].offset = f->before[i * nr_vecs / MAX_RANGES];
	}
	f->reg->ranges[MAX_RANGES].offset = size;
}

/* A bio of the bytes @from up to @to of the buffer; as io_uring sets it up */
static void lay_bio(struct fixture *f, u64 from, u64 to)
{
	unsigned int i = f->buf.nr_bvecs;

	while (f->before[--i] > from)
		;
	bio_init(&f->bio, NULL, &f->bvec[i], 0, REQ_OP_READ);
	f->bio.bi_vcnt = f->buf.nr_bvecs - i;
	f->bio.bi_iter.bi_bvec_done = from - f->before[i];
	f->bio.bi_iter.bi_size = to - from;
	bio_set_flag(&f->bio, BIO_DMA_BUFFER);
	f->bio.bi_dma_buffer = &f->map;
	f->rq.__data_len = to - from;
}

static void lay_at_random(struct fixture *f)
{
	unsigned int shift = PAGE_SHIFT + below(f, 4);

	/* a range of at least one vector each */
	lay_buffer(f, MAX_RANGES + below(f, MAX_VECS - MAX_RANGES), shift,
		   below(f, BIT(shift)), below(f, BIT(shift)));
}

static void expect_found(struct kunit *test, struct fixture *f, u64 from,
			 u64 to)
{
	unsigned int i = MAX_RANGES;
	struct blk_dma_iter iter;
	u64 offset;

	KUNIT_ASSERT_TRUE(test, blk_dma_has_buffer(&f->rq));
	KUNIT_ASSERT_TRUE(test, blk_dma_find_data(&f->client, &f->rq, &f->m,
						  &iter, &offset));
	while (f->reg->ranges[--i].offset > from)
		;
	KUNIT_ASSERT_EQ(test, offset, from);
	KUNIT_ASSERT_EQ(test, iter.addr,
			BIT_ULL(40 + i) + from - f->reg->ranges[i].offset);
	KUNIT_ASSERT_EQ(test, iter.len,
			min(to, f->reg->ranges[i + 1].offset) - from);
	KUNIT_ASSERT_EQ(test, iter.mode, BLK_DMA_REGISTERED);
	KUNIT_ASSERT_EQ(test, iter.p2pdma.map, PCI_P2PDMA_MAP_BUS_ADDR);
	KUNIT_ASSERT_EQ(test, f->m.mode, BLK_DMA_REGISTERED);
	KUNIT_ASSERT_EQ(test, f->m.map, PCI_P2PDMA_MAP_BUS_ADDR);
}

/* Data is where its vectors are, also after the bio has been advanced. */
static void find_test(struct kunit *test)
{
	struct fixture *f = fixture(test);
	unsigned int i;

	for (i = 0; i < 2000; i++) {
		u64 from, to;

		lay_at_random(f);
		from = below(f, f->reg->size);
		to = from + 1 + below(f, f->reg->size - from);
		lay_bio(f, from, to);
		expect_found(test, f, from, to);
		while (to - from > 1) {
			u32 done = 1 + below(f, to - from - 1);

			bio_advance_iter(&f->bio, &f->bio.bi_iter, done);
			from += done;
			f->rq.__data_len = to - from;
			expect_found(test, f, from, to);
		}
	}
}

static bool finds(struct fixture *f)
{
	struct blk_dma_iter iter;
	u64 offset;

	return blk_dma_find_data(&f->client, &f->rq, &f->m, &iter, &offset);
}

/* Whatever is not known to be right is mapped as if there were no map. */
static void not_found_test(struct kunit *test)
{
	struct fixture *f = fixture(test);
	struct bio other = {};
	struct bio_vec copy;

	lay_buffer(f, 6, PAGE_SHIFT, 512, 0);
	lay_bio(f, 0, 512);
	KUNIT_EXPECT_TRUE(test, finds(f));

	f->client.id++;
	KUNIT_EXPECT_FALSE(test, finds(f));
	f->client.id--;

	f->bio.bi_next = &other;
	KUNIT_EXPECT_FALSE(test, finds(f));
	f->bio.bi_next = NULL;

	copy = f->bvec[0];
	f->bio.bi_io_vec = &copy;
	KUNIT_EXPECT_FALSE(test, finds(f));
	f->bio.bi_io_vec = f->bvec + f->buf.nr_bvecs;
	KUNIT_EXPECT_FALSE(test, finds(f));
	f->bio.bi_io_vec = f->bvec;
	KUNIT_EXPECT_TRUE(test, finds(f));

	f->reg->reason = DMA_REGISTRATION_CLIENT_GONE;
	KUNIT_EXPECT_FALSE(test, finds(f));
	f->map.reg = NULL;
	KUNIT_EXPECT_FALSE(test, finds(f));
}

/* As many segments as by looking through the vectors, or not a word. */
static void segments_test(struct kunit *test)
{
	struct fixture *f = fixture(test);
	unsigned int i, fits = 0;

	for (i = 0; i < 20000; i++) {
		struct queue_limits lim = {
			.max_segments = 1 + below(f, MAX_VECS),
			.max_segment_size = PAGE_SIZE << below(f, 5),
			.seg_boundary_mask = (PAGE_SIZE << below(f, 8)) - 1,
			.virt_boundary_mask = below(f, 2) ?
				(PAGE_SIZE << below(f, 4)) - 1 : 0,
			.logical_block_size = 512,
		};
		unsigned short max_segments = lim.max_segments;
		unsigned int nr, expected, max_bytes;
		u64 from, to;

		lay_at_random(f);
		from = below(f, f->reg->size);
		to = from + 1 + below(f, f->reg->size - from);
		lay_bio(f, from, to);
		max_bytes = below(f, 2) ? f->reg->size : below(f, to - from + 1);
		if (!blk_dma_buffer_fits(&f->bio, &lim, &max_bytes,
					 &max_segments, &nr))
			continue;
		fits++;
		KUNIT_ASSERT_EQ(test, 0, bio_split_rw_at(&f->bio, &lim,
							 &expected, max_bytes));
		KUNIT_ASSERT_EQ(test, nr, expected);
	}
	KUNIT_EXPECT_GT(test, fits, 1000);
}

static const struct blk_dma_buffer_ops no_ops;

/* Only whether there is one is asked. */
static struct dma_buf_registration *const a_dma_buf = (void *)&no_ops;

static const struct queue_limits wide_limits = {
	.max_segments = MAX_VECS,
	.max_segment_size = UINT_MAX,
	.seg_boundary_mask = ULONG_MAX,
};

/* A dma-buf's limit holds, also below the queue's; pages beyond a limit are mapped for the I/O. */
static void max_bytes_test(struct kunit *test)
{
	static const struct {
		unsigned int of_map, of_queue, of_io;
		bool dma_buf, fits;
	} cases[] = {
		{ 0, 3 * PAGE_SIZE, 3 * PAGE_SIZE, true, true },
		{ 2 * PAGE_SIZE, 3 * PAGE_SIZE, 3 * PAGE_SIZE, true, true },
		{ 2 * PAGE_SIZE - 512, 3 * PAGE_SIZE, 2 * PAGE_SIZE - 512, true, false },
		{ 2 * PAGE_SIZE - 512, 3 * PAGE_SIZE, 3 * PAGE_SIZE, false, true },
		{ 3 * PAGE_SIZE, 2 * PAGE_SIZE - 512, 2 * PAGE_SIZE - 512, false, false },
	};
	struct fixture *f = fixture(test);
	unsigned short max_segments = MAX_VECS;
	unsigned int i, max_bytes, nr;
	struct bio_vec foreign;

	lay_buffer(f, 6, PAGE_SHIFT, 0, 0);
	lay_bio(f, 0, 2 * PAGE_SIZE);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		f->map.max_bytes = cases[i].of_map;
		f->map.dma_buf = NULL;
		if (cases[i].dma_buf)
			f->map.dma_buf = a_dma_buf;
		max_bytes = cases[i].of_queue;
		KUNIT_EXPECT_EQ(test, cases[i].fits,
				blk_dma_buffer_fits(&f->bio, &wide_limits,
						    &max_bytes, &max_segments,
						    &nr));
		KUNIT_EXPECT_EQ(test, max_bytes, cases[i].of_io);
	}

	/* of another bio's vectors nothing is known */
	f->map.max_bytes = 0;
	f->map.dma_buf = NULL;
	f->bio.bi_io_vec = &foreign;
	max_bytes = UINT_MAX;
	KUNIT_EXPECT_FALSE(test, blk_dma_buffer_fits(&f->bio, &wide_limits,
						     &max_bytes, &max_segments,
						     &nr));
}

/* What is mapped may be more than the queue's limit for I/O of a page. */
static void more_bytes_test(struct kunit *test)
{
	static const struct {
		const char *what;
		unsigned int of_map, of_device, of_user, chunk; /* bytes */
		unsigned char tuple;
		blk_opf_t opf;
		bool gone, dma_buf, fits;
	} cases[] = {
		{ "within", 3 * PAGE_SIZE, 3 * PAGE_SIZE, .fits = true },
		{ "just", 2 * PAGE_SIZE, 2 * PAGE_SIZE, .fits = true },
		{ "too much for the map", 2 * PAGE_SIZE - 512, 3 * PAGE_SIZE },
		{ "too much for the device", 3 * PAGE_SIZE, 2 * PAGE_SIZE - 512 },
		{ "no limit of the map", 0, 3 * PAGE_SIZE },
		{ "no limit of the device", 3 * PAGE_SIZE, 0 },
		{ "lowered", 3 * PAGE_SIZE, 3 * PAGE_SIZE, PAGE_SIZE },
		{ "raised", 3 * PAGE_SIZE, 3 * PAGE_SIZE, 2 * PAGE_SIZE, .fits = true },
		{ "chunks", 3 * PAGE_SIZE, 3 * PAGE_SIZE, .chunk = PAGE_SIZE },
		{ "metadata", 3 * PAGE_SIZE, 3 * PAGE_SIZE, .tuple = 8 },
		{ "atomic", 3 * PAGE_SIZE, 3 * PAGE_SIZE, .opf = REQ_ATOMIC },
		{ "gone", 3 * PAGE_SIZE, 3 * PAGE_SIZE, .gone = true },
		{ "dma-buf", 3 * PAGE_SIZE, 3 * PAGE_SIZE, .gone = true,
		  .dma_buf = true, .fits = true },
	};
	struct queue_limits lim = wide_limits;
	struct fixture *f = fixture(test);
	unsigned int i, max_bytes, nr;
	unsigned short max_segments;

	lim.max_segments = 1;
	f->map.max_segments = 2;
	lay_buffer(f, 6, PAGE_SHIFT, 0, 0);
	lay_bio(f, 0, 2 * PAGE_SIZE);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		f->device_takes = cases[i].of_device >> SECTOR_SHIFT;
		lim.max_user_sectors = cases[i].of_user >> SECTOR_SHIFT;
		lim.chunk_sectors = cases[i].chunk >> SECTOR_SHIFT;
		lim.integrity.tuple_size = cases[i].tuple;
		f->bio.bi_opf = REQ_OP_READ | cases[i].opf;
		f->map.max_bytes = cases[i].of_map;
		f->map.dma_buf = NULL;
		if (cases[i].dma_buf)
			f->map.dma_buf = a_dma_buf;
		f->reg->reason = DMA_REGISTRATION_LIVE;
		if (cases[i].gone)
			f->reg->reason = DMA_REGISTRATION_CLIENT_GONE;
		max_bytes = PAGE_SIZE;
		max_segments = lim.max_segments;
		KUNIT_EXPECT_EQ_MSG(test, cases[i].fits,
				    blk_dma_buffer_fits(&f->bio, &lim, &max_bytes,
							&max_segments, &nr),
				    "%s", cases[i].what);
		KUNIT_EXPECT_EQ(test, max_segments,
				max_bytes > PAGE_SIZE ? 2 : 1);
	}

	/* no more than the block layer's default, unless a user wants it */
	f->device_takes = UINT_MAX;
	f->map.max_bytes = UINT_MAX;
	f->map.dma_buf = NULL;
	f->reg->reason = DMA_REGISTRATION_LIVE;
	KUNIT_EXPECT_EQ(test, BLK_DEF_MAX_SECTORS_CAP << SECTOR_SHIFT,
			blk_dma_buffer_max_bytes(&f->map, &lim, 0, PAGE_SIZE));
	lim.max_user_sectors = 2 * BLK_DEF_MAX_SECTORS_CAP;
	KUNIT_EXPECT_EQ(test, 2 * BLK_DEF_MAX_SECTORS_CAP << SECTOR_SHIFT,
			blk_dma_buffer_max_bytes(&f->map, &lim, 0, PAGE_SIZE));

	/* nothing is known of the device */
	f->client.ops = &no_ops;
	KUNIT_EXPECT_EQ(test, PAGE_SIZE,
			blk_dma_buffer_max_bytes(&f->map, &lim, 0, PAGE_SIZE));
}

static struct kunit_case blk_dma_buffer_cases[] = {
	KUNIT_CASE(find_test),
	KUNIT_CASE(not_found_test),
	KUNIT_CASE(segments_test),
	KUNIT_CASE(max_bytes_test),
	KUNIT_CASE(more_bytes_test),
	{}
};

static struct kunit_suite blk_dma_buffer_suite = {
	.name = "blk-dma-buffer",
	.test_cases = blk_dma_buffer_cases,
};

kunit_test_suite(blk_dma_buffer_suite);

MODULE_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);
MODULE_DESCRIPTION("KUnit tests of bios of registered buffers");
MODULE_LICENSE("GPL");
