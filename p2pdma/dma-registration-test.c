// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of registrations: how mixtures of memory are laid out, how a byte is
 * found, and how registrations are revoked. Nothing reads the memory, and no IOMMU
 * maps it, so that none has to be at the physical addresses. Which class they are
 * of is made up, too.
 */
#include <kunit/device.h>
#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/dma-direct.h>
#include <linux/dma-mapping.h>
#include <linux/kthread.h>
#include <linux/prandom.h>
#include <linux/sizes.h>
#include <linux/swiotlb.h>
#include <linux/xarray.h>

#include "registration.h"

#define MAX_PIECES 8
#define MAX_RANDOM_PIECES 40

/* Physical addresses of the memory of two providers, and of one out of reach */
#define A(x) (BIT_ULL(40) + (x))
#define B(x) (BIT_ULL(41) + (x))
#define UNREACHABLE(x) (BIT_ULL(42) + (x))
#define BUS_OFFSET 0x70000000000ULL
#define BUS_A(x) (A(x) + BUS_OFFSET)

struct other;

enum { HOST, PROVIDER_A, PROVIDER_B, NR_PROVIDERS, OUT_OF_REACH = 4 };

struct fixture {
	struct dma_reg_way way;
	enum pci_p2pdma_map_type map[NR_PROVIDERS];
	struct pci_p2pdma_pagemap *pagemap[NR_PROVIDERS];
	struct dma_registration_client client;
	unsigned int replan; /* from this look-up of A on ... */
	enum pci_p2pdma_map_type replan_to; /* ... it is reached in this way */
	struct other *meanwhile; /* begins during the next look-up of a class */
	/* what the owner was told */
	atomic_t revoking;
	atomic_t revoked;
	atomic_t unmapped;
	enum dma_registration_reason reason;
};

static unsigned int class_of(phys_addr_t paddr)
{
	return paddr >> 40;
}

static void begin_meanwhile(struct kunit *test, struct other *other);

static enum pci_p2pdma_map_type
made_up_class(const struct dma_reg_way *way,
	      const struct dma_registration_piece *piece,
	      struct pci_p2pdma_map_state *state)
{
	struct kunit *test = kunit_get_current_test();
	unsigned int class = class_of(piece->paddr);
	struct fixture *f = test->priv;

	if (f->meanwhile)
		begin_meanwhile(test, f->meanwhile);
	if (class == HOST)
		return PCI_P2PDMA_MAP_NONE;
	if (class >= NR_PROVIDERS)
		return PCI_P2PDMA_MAP_NOT_SUPPORTED;
	if (class == PROVIDER_A && f->replan && !--f->replan)
		f->map[PROVIDER_A] = f->replan_to;
	state->mem = &f->pagemap[class]->mem;
	return f->map[class];
}

static int registration_init(struct kunit *test)
{
	struct fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, f);
	for (i = PROVIDER_A; i < NR_PROVIDERS; i++) {
		f->pagemap[i] = kunit_kzalloc(test, sizeof(*f->pagemap[i]),
					      GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, f->pagemap[i]);
		f->pagemap[i]->mem.bus_offset = BUS_OFFSET;
		dma_registrations_init(&f->pagemap[i]->registrations);
	}
	f->map[PROVIDER_A] = PCI_P2PDMA_MAP_BUS_ADDR;
	f->map[PROVIDER_B] = PCI_P2PDMA_MAP_THRU_HOST_BRIDGE;
	f->replan_to = PCI_P2PDMA_MAP_THRU_HOST_BRIDGE;
	f->way.host.last = PHYS_ADDR_MAX;
	f->way.p2p.last = PHYS_ADDR_MAX;
	test->priv = f;
	kunit_activate_static_stub(test, dma_reg_map_type, made_up_class);
	return 0;
}

/* Ranges end with one whose offset is the size of all. */
struct layout_case {
	const char *name;
	u64 granule;
	bool bridge; /* reaches A through the host bridge, too */
	int error;
	unsigned int nr_pieces; /* if they do not end with one of no length */
	struct dma_registration_piece pieces[MAX_PIECES];
	struct dma_registration_range ranges[MAX_PIECES + 1];
};

static const struct layout_case layout_cases[] = {
	{
		.name = "one page",
		.pieces = { { 0x101000, 0x1000 } },
		.ranges = { { 0x101000, 0 }, { 0, 0x1000 } },
	},
	{
		.name = "pages that follow each other",
		.pieces = { { 0x101000, 0x1000 }, { 0x102000, 0x1000 },
			    { 0x103000, 0x200 } },
		.ranges = { { 0x101000, 0 }, { 0, 0x2200 } },
	},
	{
		.name = "scattered pages",
		.pieces = { { 0x101000, 0x1000 }, { 0x103000, 0x1000 },
			    { 0x102000, 0x1000 } },
		.ranges = { { 0x101000, 0 }, { 0x103000, 0x1000 },
			    { 0x102000, 0x2000 }, { 0, 0x3000 } },
	},
	{
		.name = "IOMMU, scattered pages",
		.granule = SZ_4K,
		.pieces = { { 0x101000, 0x1000 }, { 0x103000, 0x1000 },
			    { 0x102000, 0x1000 } },
		.ranges = { { 0, 0 }, { 0, 0x3000 } },
	},
	{
		.name = "IOMMU, both ends within a granule",
		.granule = SZ_4K,
		.pieces = { { 0x101200, 0xe00 }, { 0x103000, 0x1000 },
			    { 0x102000, 0x10 } },
		.ranges = { { 0x200, 0 }, { 0, 0x1e10 } },
	},
	{
		.name = "IOMMU, ends within a granule",
		.granule = SZ_4K,
		.pieces = { { 0x101000, 0x200 }, { 0x105000, 0x1000 } },
		.ranges = { { 0, 0 }, { 0x1000, 0x200 }, { 0, 0x1200 } },
	},
	{
		.name = "IOMMU, begins within a granule",
		.granule = SZ_4K,
		.pieces = { { 0x101000, 0x1000 }, { 0x105200, 0xe00 } },
		.ranges = { { 0, 0 }, { 0x1200, 0x1000 }, { 0, 0x1e00 } },
	},
	{
		.name = "IOMMU, where one ends in its granule the other begins",
		.granule = SZ_4K,
		.pieces = { { 0x101000, 0x200 }, { 0x105200, 0xe00 } },
		.ranges = { { 0, 0 }, { 0x1200, 0x200 }, { 0, 0x1000 } },
	},
	{
		.name = "IOMMU, meet within a granule",
		.granule = SZ_4K,
		.pieces = { { 0x101000, 0x200 }, { 0x101200, 0xe00 },
			    { 0x109000, 0x1000 } },
		.ranges = { { 0, 0 }, { 0, 0x2000 } },
	},
	{
		.name = "IOMMU, single bytes",
		.granule = SZ_4K,
		.pieces = { { 0x101fff, 1 }, { 0x203000, 1 }, { 0x305001, 1 } },
		.ranges = { { 0xfff, 0 }, { 0x2001, 2 }, { 0, 3 } },
	},
	{
		.name = "IOMMU, larger granules",
		.granule = SZ_64K,
		.pieces = { { 0x10000, 0x1000 }, { 0x21000, 0xf000 },
			    { 0x40000, 0x10000 } },
		.ranges = { { 0, 0 }, { 0x11000, 0x1000 }, { 0, 0x20000 } },
	},
	{
		.name = "IOMMU, in turns, through the host bridge",
		.granule = SZ_4K,
		.bridge = true,
		.pieces = { { 0x101000, 0x1000 }, { A(0), 0x1000 },
			    { 0x107000, 0x1000 }, { B(0x5000), 0x2000 } },
		.ranges = { { 0, 0 }, { 0, 0x5000 } },
	},
	{
		.name = "IOMMU, in turns, A by bus address",
		.granule = SZ_4K,
		.pieces = { { 0x101000, 0x1000 }, { A(0), 0x1000 },
			    { 0x107000, 0x1000 }, { B(0x5000), 0x2000 } },
		.ranges = { { 0, 0 }, { BUS_A(0), 0x1000 }, { 0x1000, 0x2000 },
			    { 0, 0x5000 } },
	},
	{
		.name = "in turns",
		.pieces = { { 0x101000, 0x1000 }, { A(0), 0x1000 },
			    { 0x107000, 0x1000 }, { B(0x5000), 0x2000 } },
		.ranges = { { 0x101000, 0 }, { BUS_A(0), 0x1000 },
			    { 0x107000, 0x2000 }, { B(0x5000), 0x3000 },
			    { 0, 0x5000 } },
	},
	{
		.name = "bus addresses that follow each other",
		.granule = SZ_4K,
		.pieces = { { A(0x3000), 0x10 }, { A(0x3010), 0x1ff0 },
			    { A(0x8000), 0x1000 } },
		.ranges = { { BUS_A(0x3000), 0 }, { BUS_A(0x8000), 0x2000 },
			    { 0, 0x3000 } },
	},
	{
		.name = "host memory before a provider's",
		.bridge = true,
		.pieces = { { A(0) - 0x1000, 0x1000 }, { A(0), 0x1000 } },
		.ranges = { { A(0) - 0x1000, 0 }, { A(0), 0x1000 },
			    { 0, 0x2000 } },
	},
	{
		.name = "a provider's memory before another's",
		.bridge = true,
		.pieces = { { B(0) - 0x1000, 0x1000 }, { B(0), 0x1000 } },
		.ranges = { { B(0) - 0x1000, 0 }, { B(0), 0x1000 },
			    { 0, 0x2000 } },
	},
	{
		.name = "beyond 4 GiB",
		.pieces = { { 0x100001000, 6ULL * SZ_1G }, { 0x1000, 0x3000 },
			    { 0x900000000, 5ULL * SZ_1G + 1 } },
		.ranges = { { 0x100001000, 0 }, { 0x1000, 6ULL * SZ_1G },
			    { 0x900000000, 6ULL * SZ_1G + 0x3000 },
			    { 0, 11ULL * SZ_1G + 0x3001 } },
	},
	{
		.name = "IOMMU, beyond 4 GiB",
		.granule = SZ_4K,
		.pieces = { { 0x100001000, 6ULL * SZ_1G }, { 0x1000, 0x3000 },
			    { 0x900000000, 5ULL * SZ_1G + 1 } },
		.ranges = { { 0, 0 }, { 0, 11ULL * SZ_1G + 0x3001 } },
	},
	{
		.name = "joined at odd addresses, far apart",
		.granule = SZ_4K,
		.pieces = { { 0x100000000, SZ_1G }, { 0x1001, 1 },
			    { 0x900000002, SZ_1G } },
		.ranges = { { 0, 0 }, { SZ_1G + 1, SZ_1G },
			    { SZ_1G + 0x1002, SZ_1G + 1 },
			    { 0, 2ULL * SZ_1G + 1 } },
	},
	{
		.name = "out of reach",
		.granule = SZ_4K,
		.pieces = { { 0x101000, 0x1000 }, { UNREACHABLE(0), 0x1000 } },
		.error = -EREMOTEIO,
	},
	{
		.name = "a piece that wraps around",
		.pieces = { { 0x101000, 0x1000 }, { -0x1000ULL, 0x1001 } },
		.error = -EINVAL,
	},
	{
		.name = "too large",
		.pieces = { { 0x101000, 0x1000 }, { 0x1000, SSIZE_MAX } },
		.error = -EINVAL,
	},
	{
		.name = "a piece of nothing",
		.pieces = { { 0x101000, 0x1000 }, { 0x103000, 0 },
			    { 0x105000, 0x1000 } },
		.nr_pieces = 3,
		.error = -EINVAL,
	},
	{
		.name = "nothing",
		.error = -EINVAL,
	},
};

KUNIT_ARRAY_PARAM_DESC(layout, layout_cases, name);

/* The range that has @offset, by looking at each. */
static unsigned int naive_find(struct dma_registration *reg, u64 offset)
{
	unsigned int i = 0;

	while (reg->ranges[i + 1].offset <= offset)
		i++;
	return i;
}

static bool is_iova(struct fixture *f, const struct dma_registration_piece *p)
{
	unsigned int class = class_of(p->paddr);

	return f->way.granule &&
	       (class == HOST ||
		f->map[class] == PCI_P2PDMA_MAP_THRU_HOST_BRIDGE);
}

/* Whether @p goes on where @last ends, for the device. */
static bool joins(struct fixture *f, const struct dma_registration_piece *last,
		  const struct dma_registration_piece *p)
{
	phys_addr_t end = last->paddr + last->len;

	if (class_of(last->paddr) == class_of(p->paddr) && p->paddr == end)
		return true;
	return is_iova(f, last) && is_iova(f, p) &&
	       !((end | p->paddr) & (f->way.granule - 1));
}

/*
 * Hold the DMA address of a byte to its physical one; @granules knows what is
 * mapped at an IOVA.
 */
static void expect_byte(struct kunit *test, struct dma_registration *reg,
			struct xarray *granules,
			const struct dma_registration_piece *p, u64 offset,
			u64 in_piece)
{
	struct fixture *f = test->priv;
	phys_addr_t paddr = p->paddr + in_piece;
	u64 left = 0, more, granule = f->way.granule;
	dma_addr_t addr;
	void *there;

	KUNIT_ASSERT_EQ_MSG(test, __dma_registration_find(reg, offset),
			    naive_find(reg, offset), "offset %#llx", offset);
	addr = dma_registration_addr(reg, offset, &left);
	KUNIT_ASSERT_GT_MSG(test, left, 0, "offset %#llx", offset);
	KUNIT_ASSERT_LE_MSG(test, left, reg->size - offset, "offset %#llx",
			    offset);
	KUNIT_EXPECT_EQ_MSG(test, addr + left - 1,
			    dma_registration_addr(reg, offset + left - 1, &more),
			    "offset %#llx", offset);
	KUNIT_EXPECT_EQ_MSG(test, more, 1, "offset %#llx", offset);
	if (!is_iova(f, p)) {
		if (class_of(paddr) != HOST &&
		    f->map[class_of(paddr)] == PCI_P2PDMA_MAP_BUS_ADDR)
			paddr += BUS_OFFSET;
		KUNIT_EXPECT_EQ_MSG(test, addr, paddr, "offset %#llx", offset);
		return;
	}
	KUNIT_EXPECT_EQ_MSG(test, (addr ^ paddr) & (granule - 1), 0,
			    "offset %#llx", offset);
	KUNIT_EXPECT_LT(test, addr, reg->span);
	there = xa_store(granules, addr / granule,
			 xa_mk_value(paddr / granule), GFP_KERNEL);
	KUNIT_EXPECT_TRUE_MSG(test, !there ||
			      there == xa_mk_value(paddr / granule),
			      "offset %#llx", offset);
}

static void expect_layout(struct kunit *test, struct dma_registration *reg,
			  const struct dma_registration_memory *mem,
			  struct rnd_state *rnd)
{
	struct fixture *f = test->priv;
	const struct dma_registration_piece *p;
	struct xarray granules;
	unsigned int i, k, nr = 1;
	u64 offset = 0, in_piece;

	xa_init(&granules);
	for (i = 0; i < mem->nr_pieces; i++) {
		p = &mem->pieces[i];
		if (i && !joins(f, p - 1, p))
			nr++;
		for (k = 0; k < 6; k++) {
			in_piece = prandom_u32_state(rnd);
			in_piece = (in_piece << 32 | prandom_u32_state(rnd)) %
				   p->len;
			if (k < 2)
				in_piece = k ? p->len - 1 : 0;
			expect_byte(test, reg, &granules, p, offset + in_piece,
				    in_piece);
		}
		offset += p->len;
	}
	KUNIT_EXPECT_EQ(test, reg->nr_ranges, nr);
	KUNIT_EXPECT_EQ(test, reg->size, offset);
	xa_destroy(&granules);
}

static void layout_test(struct kunit *test)
{
	const struct layout_case *c = test->param_value;
	struct dma_registration_memory mem = { .pieces = c->pieces };
	struct fixture *f = test->priv;
	struct dma_registration *reg;
	struct rnd_state rnd;
	unsigned int i;

	mem.nr_pieces = c->nr_pieces;
	while (mem.nr_pieces < MAX_PIECES && c->pieces[mem.nr_pieces].len)
		mem.nr_pieces++;
	f->way.granule = c->granule;
	if (c->bridge)
		f->map[PROVIDER_A] = PCI_P2PDMA_MAP_THRU_HOST_BRIDGE;
	reg = dma_reg_plan(&f->way, &mem);
	if (c->error) {
		KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(reg), c->error);
		return;
	}
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, reg);

	for (i = 0; i < reg->nr_ranges; i++) {
		KUNIT_EXPECT_EQ_MSG(test, reg->ranges[i].addr,
				    c->ranges[i].addr, "range %u", i);
		KUNIT_EXPECT_EQ_MSG(test, reg->ranges[i].offset,
				    c->ranges[i].offset, "range %u", i);
	}
	KUNIT_EXPECT_EQ(test, reg->ranges[i].offset, c->ranges[i].offset);
	prandom_seed_state(&rnd, 1);
	expect_layout(test, reg, &mem, &rnd);
	dma_reg_free(reg);
}

static void random_pieces(struct rnd_state *rnd,
			  struct dma_registration_piece *pieces,
			  unsigned int nr)
{
	static const u64 units[] = { 1, 4, SZ_512, SZ_4K, SZ_4K, SZ_64K };
	u64 unit = units[prandom_u32_state(rnd) % ARRAY_SIZE(units)];
	unsigned int i;

	for (i = 0; i < nr; i++) {
		struct dma_registration_piece *p = &pieces[i];
		u32 kind = prandom_u32_state(rnd);

		/* the start and the end of the whole are as they may be */
		p->len = unit * (1 + prandom_u32_state(rnd) % 40);
		p->paddr = unit * (prandom_u32_state(rnd) % SZ_1M);
		if (i && !(kind & 3))
			p->paddr = p[-1].paddr + p[-1].len;
		else if (kind & 4)
			p->paddr += kind & 8 ? A(0) : B(0);
		if (!i && kind & 16)
			p->len += unit - 1;
		if (!i && kind & 16)
			p->paddr -= unit - 1;
	}
}

static void layout_random_test(struct kunit *test)
{
	struct dma_registration_piece pieces[MAX_RANDOM_PIECES];
	struct dma_registration_memory mem = { .pieces = pieces };
	static const u64 granules[] = { 0, SZ_4K, SZ_64K };
	struct fixture *f = test->priv;
	struct dma_registration *reg;
	struct rnd_state rnd;
	unsigned int i;

	prandom_seed_state(&rnd, 2);
	for (i = 0; i < 600; i++) {
		mem.nr_pieces = 1 + prandom_u32_state(&rnd) % MAX_RANDOM_PIECES;
		random_pieces(&rnd, pieces, mem.nr_pieces);
		pieces[0].paddr += SZ_1M;
		f->way.granule = granules[i % ARRAY_SIZE(granules)];
		f->map[PROVIDER_A] = i & 8 ? PCI_P2PDMA_MAP_BUS_ADDR :
					     PCI_P2PDMA_MAP_THRU_HOST_BRIDGE;
		reg = dma_reg_plan(&f->way, &mem);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, reg);
		expect_layout(test, reg, &mem, &rnd);
		dma_reg_free(reg);
	}
}

/* What finds a byte is in proportion to the memory or to the ranges. */
static void index_test(struct kunit *test)
{
	struct dma_registration_piece pieces[MAX_PIECES] = {
		{ 0x100000200, SZ_1G - 0x200 },
		{ 0x1000, 0x1000 },
		{ 0x900000000, SZ_1G },
	};
	struct dma_registration_memory mem = { pieces, 3 };
	struct fixture *f = test->priv;
	struct dma_registration *reg;

	/* where the first granule begins is free */
	reg = dma_reg_plan(&f->way, &mem);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, reg);
	KUNIT_EXPECT_NOT_NULL(test, reg->index);
	KUNIT_EXPECT_EQ(test, reg->shift, 12);
	KUNIT_EXPECT_EQ(test, reg->pad, 0x200);
	dma_reg_free(reg);

	/* a byte more would want a bit for each byte */
	pieces[1].len++;
	reg = dma_reg_plan(&f->way, &mem);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, reg);
	KUNIT_EXPECT_NULL(test, reg->index);
	dma_reg_free(reg);

	/* which is little where there are few */
	pieces[0].len = 2;
	pieces[1].len = 3;
	pieces[2].len = 100;
	reg = dma_reg_plan(&f->way, &mem);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, reg);
	KUNIT_EXPECT_NOT_NULL(test, reg->index);
	KUNIT_EXPECT_EQ(test, reg->shift, 0);
	dma_reg_free(reg);
}

static void told_revoking(struct dma_registration *reg,
			  enum dma_registration_reason reason)
{
	struct fixture *f = reg->owner;

	f->reason = reason;
	atomic_inc(&f->revoking);
}

static void told_revoked(struct dma_registration *reg,
			 enum dma_registration_reason reason)
{
	struct fixture *f = reg->owner;

	/* in this order, for the same reason */
	if (reason == f->reason &&
	    atomic_read(&f->revoking) == atomic_read(&f->revoked) + 1 &&
	    atomic_read(&f->unmapped) > atomic_read(&f->revoked))
		atomic_inc(&f->revoked);
}

static void told_unmapped(struct dma_registration *reg)
{
	struct fixture *f = reg->owner;

	atomic_inc(&f->unmapped);
}

static const struct dma_registration_ops told = {
	.revoking = told_revoking,
	.revoked = told_revoked,
	.unmapped = told_unmapped,
};

static const struct dma_registration_piece in_turns[] = {
	{ 0x101000, 0x1000 }, { A(0), 0x1000 },
	{ 0x107000, 0x1000 }, { B(0x5000), 0x2000 },
};

/* A device without bounce buffers, and no IOMMU */
static struct device *fake_client(struct kunit *test)
{
	struct device *dev = kunit_device_register(test, "dma-registration");
	struct io_tlb_mem *mem = kunit_kzalloc(test, sizeof(*mem), GFP_KERNEL);
	struct fixture *f = test->priv;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dev);
	KUNIT_ASSERT_NOT_NULL(test, mem);
	dev->coherent_dma_mask = DMA_BIT_MASK(64);
	dev->dma_mask = &dev->coherent_dma_mask;
	dev->dma_io_tlb_mem = mem;
#ifdef CONFIG_ARCH_HAS_SYNC_DMA_FOR_DEVICE
	dev->dma_coherent = true;
#endif
	dma_registration_client_init(&f->client, dev);
	return dev;
}

static struct dma_registration *
register_pieces(struct kunit *test, const struct dma_registration_piece *pieces,
		unsigned int nr)
{
	struct dma_registration_memory mem = {
		.pieces = pieces,
		.nr_pieces = nr,
		.dir = DMA_BIDIRECTIONAL,
	};
	struct fixture *f = test->priv;

	return dma_register_phys(&f->client, &mem, &told, f);
}

static struct dma_registration *register_in_turns(struct kunit *test)
{
	struct dma_registration *reg =
		register_pieces(test, in_turns, ARRAY_SIZE(in_turns));

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, reg);
	return reg;
}

static void expect_told(struct kunit *test, int times,
			enum dma_registration_reason reason)
{
	struct fixture *f = test->priv;

	KUNIT_EXPECT_EQ(test, atomic_read(&f->revoking), times);
	KUNIT_EXPECT_EQ(test, atomic_read(&f->revoked), times);
	KUNIT_EXPECT_EQ(test, f->reason, reason);
}

static void register_test(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct dma_registration *reg;
	dma_addr_t addr;
	u64 left;

	fake_client(test);
	reg = register_in_turns(test);
	KUNIT_EXPECT_PTR_EQ(test, reg->owner, f);
	KUNIT_EXPECT_EQ(test, reg->nr_ranges, 4);
	KUNIT_ASSERT_TRUE(test, dma_registration_tryget(reg));
	addr = dma_registration_addr(reg, 0x1abc, &left);
	KUNIT_EXPECT_EQ(test, addr, BUS_A(0xabc));
	KUNIT_EXPECT_EQ(test, left, 0x544);
	dma_registration_put(reg);
	dma_unregister(reg);
	expect_told(test, 0, DMA_REGISTRATION_LIVE);
	KUNIT_EXPECT_EQ(test, atomic_read(&f->unmapped), 1);
	KUNIT_EXPECT_TRUE(test, list_empty(&f->client.registrations.links));
	KUNIT_EXPECT_TRUE(test, list_empty(&f->pagemap[PROVIDER_A]
						->registrations.links));

	reg = register_in_turns(test);
	dma_unregister_start(reg);
	KUNIT_EXPECT_FALSE(test, dma_registration_tryget(reg));
	KUNIT_EXPECT_EQ(test, dma_registration_reason(reg),
			DMA_REGISTRATION_UNREGISTERED);
	dma_unregister(reg);
	expect_told(test, 0, DMA_REGISTRATION_LIVE);
}

static void unused_test(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct dma_registration *reg;

	fake_client(test);
	reg = register_in_turns(test);
	dma_unregister_unused(reg);
	expect_told(test, 0, DMA_REGISTRATION_LIVE);
	KUNIT_EXPECT_EQ(test, atomic_read(&f->unmapped), 1);
	KUNIT_EXPECT_TRUE(test, list_empty(&f->client.registrations.links));

	reg = register_in_turns(test);
	dma_registration_revoke_unused(reg);
	expect_told(test, 1, DMA_REGISTRATION_OWNER_ASKED);
	KUNIT_EXPECT_EQ(test, atomic_read(&f->unmapped), 2);
	dma_registration_revoke(reg);
	dma_unregister_unused(reg);
	expect_told(test, 1, DMA_REGISTRATION_OWNER_ASKED);
	KUNIT_EXPECT_EQ(test, atomic_read(&f->unmapped), 2);

	/* revoked before */
	reg = register_in_turns(test);
	dma_registration_client_exit(&f->client);
	expect_told(test, 2, DMA_REGISTRATION_CLIENT_GONE);
	dma_registration_revoke_unused(reg);
	dma_unregister_unused(reg);
	expect_told(test, 2, DMA_REGISTRATION_CLIENT_GONE);
	KUNIT_EXPECT_EQ(test, atomic_read(&f->unmapped), 3);
}

static int register_error(struct kunit *test,
			  const struct dma_registration_piece *piece)
{
	struct dma_registration *reg = register_pieces(test, piece, 1);

	if (IS_ERR(reg))
		return PTR_ERR(reg);
	dma_unregister(reg);
	return 0;
}

static void register_error_test(struct kunit *test)
{
	static const struct dma_registration_ops not_told;
	struct dma_registration_memory mem = {
		.pieces = in_turns,
		.nr_pieces = ARRAY_SIZE(in_turns),
		.dir = DMA_TO_DEVICE,
	};
	const struct dma_registration_piece host = { 0x101000, 0x1000 };
	const struct dma_registration_piece high = { BIT_ULL(36) - 0x1000,
						     0x1001 };
	const struct dma_registration_piece b = { B(0), 0x1000 };
	const struct dma_registration_piece a = { A(0), 0x1000 };
	struct device *dev = fake_client(test);
	struct fixture *f = test->priv;

	/* beyond the DMA mask by a byte */
	dev->coherent_dma_mask = DMA_BIT_MASK(36);
	KUNIT_EXPECT_EQ(test, register_error(test, &host), 0);
	KUNIT_EXPECT_EQ(test, register_error(test, &high), -EOPNOTSUPP);
	KUNIT_EXPECT_EQ(test, register_error(test, &b), -EREMOTEIO);
	KUNIT_EXPECT_EQ(test, register_error(test, &a), -EREMOTEIO);
	dev->coherent_dma_mask = DMA_BIT_MASK(64);

	/* bounces; a bus address does not */
	dev->dma_io_tlb_mem->force_bounce = true;
	KUNIT_EXPECT_EQ(test, register_error(test, &host), -EOPNOTSUPP);
	KUNIT_EXPECT_EQ(test, register_error(test, &a), 0);
	dev->dma_io_tlb_mem->force_bounce = false;

	/* who is not told does not let go */
	KUNIT_EXPECT_EQ(test, PTR_ERR(dma_register_phys(&f->client, &mem,
							&not_told, f)),
			-EINVAL);
	mem.attrs = DMA_ATTR_MMIO;
	KUNIT_EXPECT_EQ(test, PTR_ERR(dma_register_phys(&f->client, &mem, &told,
							f)),
			-EINVAL);
	mem.attrs = 0;
	mem.dir = DMA_NONE;
	KUNIT_EXPECT_EQ(test, PTR_ERR(dma_register_phys(&f->client, &mem, &told,
							f)),
			-EINVAL);

	/* gone */
	dma_registrations_close(&f->pagemap[PROVIDER_B]->registrations,
				DMA_REGISTRATION_PROVIDER_GONE);
	KUNIT_EXPECT_EQ(test, register_error(test, &b), -ENODEV);
	KUNIT_EXPECT_EQ(test, register_error(test, &a), 0);
	dma_registration_client_exit(&f->client);
	KUNIT_EXPECT_EQ(test, register_error(test, &host), -ENODEV);
	expect_told(test, 0, DMA_REGISTRATION_LIVE);
}

/* How a provider is reached changes while its memory is registered. */
static void replan_test(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct dma_registration *reg;
	unsigned int at, failed = 0;
	u64 left;

	fake_client(test);
	for (at = 1, f->replan = 0; !f->replan; at++) {
		f->map[PROVIDER_A] = PCI_P2PDMA_MAP_BUS_ADDR;
		f->replan = at;
		reg = register_pieces(test, in_turns, ARRAY_SIZE(in_turns));
		if (IS_ERR(reg)) {
			KUNIT_EXPECT_EQ(test, PTR_ERR(reg), -ENODEV);
			failed++;
			continue;
		}
		KUNIT_EXPECT_EQ(test, dma_registration_addr(reg, 0x1000, &left),
				f->replan ? BUS_A(0) : A(0));
		dma_unregister(reg);
	}
	KUNIT_EXPECT_GT(test, failed, 0);
}

/* So that there are more ranges than were counted, or fewer, or none of them there. */
static void replan_iova_test(struct kunit *test)
{
	const struct dma_registration_memory mem = {
		.pieces = in_turns,
		.nr_pieces = ARRAY_SIZE(in_turns),
		.dir = DMA_BIDIRECTIONAL,
	};
	struct fixture *f = test->priv;
	struct dma_registration *reg;
	unsigned int i;

	f->way.granule = SZ_4K;
	for (i = 0; i < 2; i++) {
		f->map[PROVIDER_A] = i ? PCI_P2PDMA_MAP_BUS_ADDR :
					 PCI_P2PDMA_MAP_THRU_HOST_BRIDGE;
		f->replan_to = i ? PCI_P2PDMA_MAP_THRU_HOST_BRIDGE :
				   PCI_P2PDMA_MAP_BUS_ADDR;
		f->replan = 2;
		reg = dma_reg_plan(&f->way, &mem);
		KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(reg), -ENODEV);
		KUNIT_EXPECT_EQ(test, f->replan, 0);
	}
}

/* What is no memory, and what is: by the pages themselves. */
static void real_class_test(struct kunit *test)
{
	const struct dma_registration_piece memory = {
		page_to_phys(ZERO_PAGE(0)), PAGE_SIZE,
	};
	const struct dma_registration_piece nowhere = {
		PHYS_ADDR_MAX - 0xffff, 0x1000,
	};
	const struct dma_registration_piece into_nowhere = {
		memory.paddr, BIT_ULL(50), /* less than what is too large */
	};

	fake_client(test);
	kunit_deactivate_static_stub(test, dma_reg_map_type);
	KUNIT_EXPECT_EQ(test, register_error(test, &memory), 0);
	KUNIT_EXPECT_EQ(test, register_error(test, &nowhere), -EINVAL);
	KUNIT_EXPECT_EQ(test, register_error(test, &into_nowhere), -EINVAL);
}

static void revoke_test(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct dma_registration *reg;

	fake_client(test);
	reg = register_in_turns(test);
	dma_registration_revoke(reg);
	expect_told(test, 1, DMA_REGISTRATION_OWNER_ASKED);
	KUNIT_EXPECT_FALSE(test, dma_registration_tryget(reg));
	dma_registration_revoke(reg);
	/* nothing is left for others to revoke, and they don't wait */
	dma_registrations_close(&f->pagemap[PROVIDER_A]->registrations,
				DMA_REGISTRATION_PROVIDER_GONE);
	dma_registration_client_exit(&f->client);
	expect_told(test, 1, DMA_REGISTRATION_OWNER_ASKED);
	KUNIT_EXPECT_EQ(test, dma_registration_reason(reg),
			DMA_REGISTRATION_OWNER_ASKED);
	dma_unregister(reg);
	expect_told(test, 1, DMA_REGISTRATION_OWNER_ASKED);
}

/* Only what includes the provider's memory is revoked, and all of that. */
static void revoke_provider_test(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct dma_registration *reg[4];
	unsigned int i;

	fake_client(test);
	reg[0] = register_pieces(test, &in_turns[0], 2);
	reg[1] = register_pieces(test, &in_turns[0], 1);
	reg[2] = register_pieces(test, &in_turns[2], 2);
	reg[3] = register_in_turns(test);
	for (i = 0; i < ARRAY_SIZE(reg); i++)
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, reg[i]);

	dma_registrations_close(&f->pagemap[PROVIDER_B]->registrations,
				DMA_REGISTRATION_PROVIDER_GONE);
	expect_told(test, 2, DMA_REGISTRATION_PROVIDER_GONE);
	for (i = 0; i < 2; i++) {
		KUNIT_ASSERT_TRUE(test, dma_registration_tryget(reg[i]));
		dma_registration_put(reg[i]);
		KUNIT_EXPECT_FALSE(test, dma_registration_tryget(reg[i + 2]));
	}
	dma_registration_client_exit(&f->client);
	expect_told(test, 4, DMA_REGISTRATION_CLIENT_GONE);
	for (i = 0; i < ARRAY_SIZE(reg); i++) {
		KUNIT_EXPECT_EQ(test, dma_registration_reason(reg[i]),
				i < 2 ? DMA_REGISTRATION_CLIENT_GONE :
					DMA_REGISTRATION_PROVIDER_GONE);
		dma_unregister(reg[i]);
	}
}

/* Something that is done beside the test, to @reg or else to @regs */
struct other {
	struct dma_registrations *regs;
	enum dma_registration_reason reason;
	struct dma_registration *reg;
	struct completion *start;
	struct completion done;
};

static int other_revokes(void *data)
{
	struct other *other = data;

	if (other->start)
		wait_for_completion(other->start);
	if (other->reg)
		dma_registration_revoke(other->reg);
	else
		dma_registrations_close(other->regs, other->reason);
	complete(&other->done);
	return 0;
}

static void other_starts(struct kunit *test, struct other *other,
			 struct completion *start)
{
	struct task_struct *task;

	other->start = start;
	init_completion(&other->done);
	task = kthread_run(other_revokes, other, "revokes");
	KUNIT_EXPECT_NOT_ERR_OR_NULL(test, task);
	if (IS_ERR(task))
		complete(&other->done);
}

/*
 * Hold up registering until @other has closed the client, and 100 ms longer. No failure
 * is due to timing: @other must not return in any time; in too short a one it might just
 * not be seen to.
 */
static void begin_meanwhile(struct kunit *test, struct other *other)
{
	struct fixture *f = test->priv;
	unsigned int i;

	f->meanwhile = NULL;
	other_starts(test, other, NULL);
	for (i = 0; i < 100 && !READ_ONCE(other->regs->closed); i++)
		msleep(20);
	msleep(100);
	KUNIT_EXPECT_FALSE(test, completion_done(&other->done));
}

/* A client that goes waits for memory that is being registered for it. */
static void register_waits_test(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct other client = {
		.regs = &f->client.registrations,
		.reason = DMA_REGISTRATION_CLIENT_GONE,
	};

	fake_client(test);
	f->meanwhile = &client;
	KUNIT_EXPECT_EQ(test, register_error(test, in_turns), -ENODEV);
	wait_for_completion(&client.done);
	expect_told(test, 0, DMA_REGISTRATION_LIVE);
}

/* Who revokes waits for the users, and so does who finds that another revokes. */
static void revoke_waits_test(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct other provider = {
		.regs = &f->pagemap[PROVIDER_A]->registrations,
		.reason = DMA_REGISTRATION_PROVIDER_GONE,
	};
	struct other client = {
		.regs = &f->client.registrations,
		.reason = DMA_REGISTRATION_CLIENT_GONE,
	};
	struct other owner = {};
	struct dma_registration *reg;
	unsigned int i;

	fake_client(test);
	reg = register_in_turns(test);
	KUNIT_ASSERT_TRUE(test, dma_registration_tryget(reg));
	other_starts(test, &provider, NULL);
	for (i = 0; i < 100 && !atomic_read(&f->revoking); i++)
		msleep(20);
	other_starts(test, &client, NULL);
	owner.reg = reg;
	other_starts(test, &owner, NULL);
	/* longer than RCU takes to turn the count of users */
	msleep(200);
	KUNIT_EXPECT_EQ(test, atomic_read(&f->revoking), 1);
	KUNIT_EXPECT_EQ(test, atomic_read(&f->revoked), 0);
	KUNIT_EXPECT_FALSE(test, dma_registration_tryget(reg));
	KUNIT_EXPECT_FALSE(test, completion_done(&provider.done));
	KUNIT_EXPECT_FALSE(test, completion_done(&client.done));
	KUNIT_EXPECT_FALSE(test, completion_done(&owner.done));
	dma_registration_put(reg);
	wait_for_completion(&provider.done);
	wait_for_completion(&client.done);
	wait_for_completion(&owner.done);
	expect_told(test, 1, DMA_REGISTRATION_PROVIDER_GONE);
	dma_unregister(reg);
}

/* How long it takes until the client has none of so many. */
static unsigned long time_to_revoke(struct kunit *test, unsigned int nr)
{
	struct dma_registration **regs =
		kunit_kcalloc(test, nr, sizeof(*regs), GFP_KERNEL);
	struct fixture *f = test->priv;
	unsigned long start;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, regs);
	f->client.registrations.closed = false;
	for (i = 0; i < nr; i++)
		regs[i] = register_in_turns(test);
	start = jiffies;
	dma_registration_client_exit(&f->client);
	start = jiffies - start;
	for (i = 0; i < nr; i++)
		dma_unregister(regs[i]);
	return start;
}

/* A grace period is waited for once for all of them. */
static void revoke_many_test(struct kunit *test)
{
	unsigned long one, many;

	fake_client(test);
	one = time_to_revoke(test, 1);
	/* a machine that stands still is not likely to do so twice */
	many = min(time_to_revoke(test, 400), time_to_revoke(test, 400));
	KUNIT_EXPECT_LT_MSG(test, many, 100 * (one + 1), "one takes %lu", one);
	expect_told(test, 801, DMA_REGISTRATION_CLIENT_GONE);
}

/* Whoever comes first, the owner is told once, or not at all if it did. */
static void revoke_race_test(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct other others[] = {
		{ &f->pagemap[PROVIDER_A]->registrations,
		  DMA_REGISTRATION_PROVIDER_GONE },
		{ &f->pagemap[PROVIDER_B]->registrations,
		  DMA_REGISTRATION_PROVIDER_GONE },
		{ &f->client.registrations, DMA_REGISTRATION_CLIENT_GONE },
	};
	struct dma_registration *reg;
	struct completion start;
	int told_before, i, k;

	fake_client(test);
	for (i = 0; i < 60; i++) {
		for (k = 0; k < ARRAY_SIZE(others); k++)
			others[k].regs->closed = false;
		told_before = atomic_read(&f->revoked);
		reg = register_in_turns(test);
		init_completion(&start);
		for (k = 0; k < ARRAY_SIZE(others); k++)
			other_starts(test, &others[k], &start);
		complete_all(&start);
		if (i & 1)
			dma_registration_revoke(reg);
		dma_unregister(reg);
		KUNIT_EXPECT_EQ(test, atomic_read(&f->revoking),
				atomic_read(&f->revoked));
		KUNIT_EXPECT_LE(test, atomic_read(&f->revoked), told_before + 1);
		KUNIT_EXPECT_GE(test, atomic_read(&f->revoked),
				told_before + (i & 1));
		for (k = 0; k < ARRAY_SIZE(others); k++)
			wait_for_completion(&others[k].done);
	}
}

static struct kunit_case dma_registration_cases[] = {
	KUNIT_CASE_PARAM(layout_test, layout_gen_params),
	KUNIT_CASE(layout_random_test),
	KUNIT_CASE(index_test),
	KUNIT_CASE(register_test),
	KUNIT_CASE(unused_test),
	KUNIT_CASE(register_error_test),
	KUNIT_CASE(replan_test),
	KUNIT_CASE(replan_iova_test),
	KUNIT_CASE(real_class_test),
	KUNIT_CASE(revoke_test),
	KUNIT_CASE(revoke_provider_test),
	KUNIT_CASE(register_waits_test),
	KUNIT_CASE(revoke_waits_test),
	KUNIT_CASE(revoke_many_test),
	KUNIT_CASE(revoke_race_test),
	{}
};

static struct kunit_suite dma_registration_suite = {
	.name = "dma-registration",
	.init = registration_init,
	.test_cases = dma_registration_cases,
};

kunit_test_suite(dma_registration_suite);

MODULE_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);
MODULE_DESCRIPTION("KUnit tests of memory that is mapped once");
MODULE_LICENSE("GPL");
