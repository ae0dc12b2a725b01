// SPDX-License-Identifier: GPL-2.0
/*
 * The least that mapping one transfer can take: read its vectors, add the offset, write what the drive and the IOMMU
 * read. Nothing is asked, nothing can fail. scripts/bench/bound counts its instructions.
 */
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE UINT64_C(4096)
#define MEMORY_MAP UINT64_C(0xffffea0000000000)
#define MAX_PAGES 2048

/* As the kernel's: a page is known by its place in the memory map, which has 64 bytes for each. */
struct vector {
	uint64_t page;
	uint32_t length;
	uint32_t offset;
};

struct sgl_descriptor {
	uint64_t address;
	uint32_t length;
	uint8_t reserved[3];
	uint8_t type;
};

/* Not static, so that the compiler can know nothing of what they hold. */
struct vector vectors[MAX_PAGES];
uint64_t prps[MAX_PAGES];
uint64_t entries[MAX_PAGES];
struct sgl_descriptor descriptor;

static inline uint64_t physical(const struct vector *vector)
{
	return (vector->page - MEMORY_MAP) / 64 * PAGE + vector->offset;
}

static inline void write_range(uint64_t *words, uint64_t at, size_t pages)
{
	for (uint64_t *word = words; word < words + pages; word++, at += PAGE)
		*word = at;
}

static inline void write_pages(uint64_t *words, size_t pages, uint64_t flags)
{
	for (size_t i = 0; i < pages; i++)
		words[i] = physical(&vectors[i]) | flags;
}

static inline void clear(uint64_t *words, size_t pages)
{
	for (uint64_t *word = words; word < words + pages; word++)
		*word = 0;
}

/* One range of addresses the drive can reach: a PRP for each page. */
static void range_to_prps(size_t pages)
{
	write_range(prps, physical(vectors), pages);
}

/* The same as one SGL descriptor. */
static void range_to_sgl(size_t pages)
{
	descriptor.address = physical(vectors);
	descriptor.length = pages * PAGE;
	descriptor.type = 0;
}

/* A vector for each page, none next to another. */
static void pages_to_prps(size_t pages)
{
	write_pages(prps, pages, 0);
}

/* One range behind an IOMMU: its entries set and, after the I/O, cleared; no sync, no IOVA to find. */
static void range_to_iova(size_t pages)
{
	write_range(entries, physical(vectors) | 3, pages);
	write_range(prps, vectors->offset, pages);
	clear(entries, pages);
}

/* The same of a vector for each page. */
static void pages_to_iova(size_t pages)
{
	write_pages(entries, pages, 3);
	write_range(prps, vectors->offset, pages);
	clear(entries, pages);
}

static const struct {
	const char *name;
	void (*map)(size_t pages);
} ways[] = {
	{ "range-prp", range_to_prps }, { "range-sgl", range_to_sgl },
	{ "pages-prp", pages_to_prps }, { "range-iova", range_to_iova },
	{ "pages-iova", pages_to_iova },
};

int main(int argc, char **argv)
{
	size_t pages;
	unsigned long times;

	if (argc != 4)
		errx(1, "usage: bound WAY PAGES TIMES");
	pages = strtoul(argv[2], NULL, 10);
	times = strtoul(argv[3], NULL, 10);
	if (!pages || pages > MAX_PAGES)
		errx(1, "%s: from 1 to %d pages", argv[2], MAX_PAGES);

	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		if (strcmp(ways[i].name, argv[1]))
			continue;
		/* The few instructions of this loop are counted as well. */
		while (times--)
			ways[i].map(pages);
		return 0;
	}
	errx(1, "no way %s", argv[1]);
}
