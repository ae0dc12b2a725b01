/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A buffer that is one range of addresses but patched together from pages of different memory, with memory before
 * and behind it that nothing may change, and the model of all that.
 */
#ifndef PATCHWORK_H
#define PATCHWORK_H

#include "data.h"

/* Before the first page and behind the last one */
#define GUARD (16 * PAGE)
#define HUGE_PAGE (2UL << 20)

/* Host memory in single pages, host memory in a huge page, two P2P providers */
enum patch_memory { PATCH_HOST, PATCH_HUGE, PATCH_A, PATCH_B, PATCH_MEMORIES };

#define PATCH_LETTERS "hHab"

struct patch_run {
	enum patch_memory memory;
	size_t pages;
};

struct patchwork {
	unsigned char *pages; /* GUARD behind where the range starts */
	unsigned char *shadow; /* of pages[-GUARD] and what follows */
	size_t size; /* of all pages */
};

static int patch_fds[PATCH_MEMORIES] = { -1, -1, -1, -1 };

static inline void patch_use(enum patch_memory memory, const char *path)
{
	patch_fds[memory] = open(path, O_RDWR);
	if (patch_fds[memory] < 0)
		err(1, "%s", path);
}

static inline bool patch_is_p2p(enum patch_memory memory)
{
	return memory >= PATCH_A;
}

/* Every other page first, or else successive ones would often be physical neighbours. */
static inline void patch_scatter(unsigned char *map, size_t length)
{
	for (size_t first = 0; first <= PAGE; first += PAGE)
		for (size_t i = first; i < length; i += 2 * PAGE)
			map[i] = 0;
}

static inline void patch_map(unsigned char *at, size_t length,
			     enum patch_memory memory)
{
	bool p2p = patch_is_p2p(memory);

	if (mmap(at, length, PROT_READ | PROT_WRITE,
		 MAP_FIXED | (p2p ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS),
		 patch_fds[memory], 0) == MAP_FAILED)
		err(1, "mapping %zu bytes of memory %c", length,
		    PATCH_LETTERS[memory]);
	if (p2p)
		return;
	if (madvise(at, length,
		    memory == PATCH_HUGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE))
		err(1, "madvise");
	if (memory == PATCH_HOST)
		patch_scatter(at, length);
}

/* Room for as many bytes of pages; the first page is where a huge page can be. */
static inline void patch_reserve(struct patchwork *p, size_t room)
{
	size_t length = room + 2 * GUARD;
	unsigned char *map = mmap(NULL, length + HUGE_PAGE, PROT_NONE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				  -1, 0);

	if (map == MAP_FAILED)
		err(1, "memory");
	p->pages = (unsigned char *)(((uintptr_t)map + GUARD + HUGE_PAGE - 1) &
				     -HUGE_PAGE);
	p->size = 0;
	p->shadow = aligned_alloc(PAGE, length);
	if (!p->shadow)
		err(1, "memory");
	patch_map(p->pages - GUARD, length, PATCH_HOST);
}

/* Lay the pages anew, which gives those of before back. */
static inline void patch_lay(struct patchwork *p, const struct patch_run *runs,
			     unsigned int nr_runs)
{
	unsigned char *at = p->pages;

	if (p->size)
		patch_map(p->pages, p->size, PATCH_HOST);
	for (unsigned int i = 0; i < nr_runs; i++) {
		patch_map(at, runs[i].pages * PAGE, runs[i].memory);
		at += runs[i].pages * PAGE;
	}
	p->size = at - p->pages;
}

/* Words that no other seed gives, in the pages and around them. */
static inline void patch_fill(struct patchwork *p, uint64_t seed)
{
	size_t length = p->size + 2 * GUARD;
	uint64_t *words = (uint64_t *)p->shadow;

	for (size_t i = 0; i < length / sizeof(*words); i++)
		words[i] = (i + (seed << 32)) * 0x9e3779b97f4a7c15;
	copy_words(p->pages - GUARD, p->shadow, length);
}

/* Where the model has the byte at that distance from the first page */
static inline unsigned char *patch_shadow(const struct patchwork *p,
					  ptrdiff_t at)
{
	return p->shadow + GUARD + at;
}

/* Whether these bytes, counted from the first page, are as in the model. */
static inline bool patch_holds(const struct patchwork *p, ptrdiff_t from,
			       ptrdiff_t to)
{
	const volatile uint64_t *words;
	uint64_t word;

	while (from < to && from % (ptrdiff_t)sizeof(word)) {
		if (*(volatile unsigned char *)(p->pages + from) !=
		    *patch_shadow(p, from))
			return false;
		from++;
	}
	words = (const volatile uint64_t *)(p->pages + from);
	for (; to - from >= (ptrdiff_t)sizeof(word); from += sizeof(word)) {
		memcpy(&word, patch_shadow(p, from), sizeof(word));
		if (*words++ != word)
			return false;
	}
	for (; from < to; from++)
		if (*(volatile unsigned char *)(p->pages + from) !=
		    *patch_shadow(p, from))
			return false;
	return true;
}

/* Whether all but the buffer in these bytes, that is, everything around it, is as in the model. */
static inline bool patch_guards_hold(const struct patchwork *p, size_t offset,
				     size_t length)
{
	return patch_holds(p, -(ptrdiff_t)GUARD, offset) &&
	       patch_holds(p, offset + length, p->size + GUARD);
}

#endif /* PATCHWORK_H */
