// SPDX-License-Identifier: GPL-2.0
/*
 * Threads map P2P memory over each other's mappings while others do direct I/O there. P2P memory
 * that nobody else maps must keep what is written to it, and take what is read from the drive.
 *
 * Calls that race may fail, with EFAULT where memory is no longer mapped. What is checked is memory
 * that was in use a moment before, and now has another owner.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "options.h"

#define PAGE 4096UL
#define LINE 64UL
#define ARENA_PAGES 1024UL
#define DISK_PAGES 1024UL /* what is read, and behind it what is written */
#define MAX_READ_PAGES 128UL
#define MAPPERS 2
#define SUBMITTERS 3
#define OWNERS 3

static const char *device, *p2p;
static unsigned long seed = 1, rounds = 40;
static int device_fd, p2p_fd;
static unsigned char *arena, *disk;
static atomic_bool stop;
static atomic_ulong mappings, transfers, refused, bad;

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static uint64_t random_start(uintptr_t number)
{
	return seed * 0x9e3779b97f4a7c15 + number * 0xbf58476d1ce4e5b9 + 1;
}

/* Replaces mappings in the arena, and takes away the right to write. */
static void *map_over(void *number)
{
	uint64_t state = random_start((uintptr_t)number);

	while (!stop) {
		unsigned long first = random_next(&state) % ARENA_PAGES;
		unsigned long nr =
			1 + random_next(&state) % (ARENA_PAGES - first);
		unsigned char *at = arena + first * PAGE;

		switch (random_next(&state) % 8) {
		case 0:
			mprotect(at, nr * PAGE, PROT_READ);
			break;
		case 1:
			mprotect(at, nr * PAGE, PROT_READ | PROT_WRITE);
			break;
		case 2:
			if (mmap(at, nr * PAGE, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
				 0) == MAP_FAILED)
				err(1, "mmap");
			break;
		default:
			if (mmap(at, nr * PAGE, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_FIXED, p2p_fd,
				 0) != MAP_FAILED) {
				mappings++;
				break;
			}
			/* No more memory. What was there is gone: nobody else may be given the addresses. */
			if (mmap(at, nr * PAGE, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
				 0) != at)
				err(1, "mmap");
		}
	}
	return NULL;
}

static void *submit(void *number)
{
	uint64_t state = random_start((uintptr_t)number);

	while (!stop) {
		unsigned long first = random_next(&state) % ARENA_PAGES;
		size_t size = (1 + random_next(&state) % MAX_READ_PAGES) * PAGE;
		off_t at = random_next(&state) % 64 * PAGE;
		ssize_t ret;

		if (size > (ARENA_PAGES - first) * PAGE)
			size = (ARENA_PAGES - first) * PAGE;
		if (random_next(&state) % 8)
			ret = pread(device_fd, arena + first * PAGE, size, at);
		else
			ret = pwrite(device_fd, arena + first * PAGE, size,
				     at + DISK_PAGES * PAGE);
		if (ret > 0)
			transfers++;
		else if (errno == EFAULT)
			refused++;
		else
			err(1, "direct I/O to the arena");
	}
	return NULL;
}

/* A word in each of the lines of a page, all the same. */
static volatile uint64_t *word_of(unsigned char *map, unsigned long page,
				  unsigned int line)
{
	return (uint64_t *)(map + page * PAGE + line * LINE);
}

static void write_page(unsigned char *map, unsigned long page, uint64_t word)
{
	for (unsigned int line = 0; line < PAGE / LINE; line++)
		*word_of(map, page, line) = word;
}

/* How much of a page is wrong tells a store from a block and from a page, and what it is where that came from. */
static void expect_page(unsigned char *map, unsigned long page, uint64_t word)
{
	unsigned int wrong = 0, first = 0;
	uint64_t has = word;

	for (unsigned int line = 0; line < PAGE / LINE; line++) {
		uint64_t now = *word_of(map, page, line);

		if (now == word)
			continue;
		if (!wrong++) {
			first = line;
			has = now;
		}
	}
	if (!wrong)
		return;
	bad++;
	printf("page %lu at %p: %u words of %lu wrong, the first at %lu: wrote %#" PRIx64
	       ", has %#" PRIx64 ", then %#" PRIx64 "\n",
	       page, (void *)map, wrong, PAGE / LINE, first * LINE, word, has,
	       *word_of(map, page, first));
	for (unsigned long i = 0; i < DISK_PAGES; i++)
		if (*word_of(disk, i, first) == has)
			printf("  it is of page %lu of the drive\n", i);
}

static void expect_disk(unsigned char *map, unsigned long nr,
			unsigned long first)
{
	for (unsigned long i = 0; i < nr; i++) {
		if (!memcmp(map + i * PAGE, disk + (first + i) * PAGE, PAGE))
			continue;
		bad++;
		printf("page %lu of %lu read from page %lu: wrong data\n", i,
		       nr, first);
	}
}

/* Has P2P memory of its own, again and again. */
static void *own_memory(void *number)
{
	uint64_t state = random_start((uintptr_t)number);

	for (unsigned long round = 0; round < rounds;) {
		unsigned long nr = 1 + random_next(&state) % 200;
		unsigned long first = random_next(&state) % 64;
		uint64_t word = random_next(&state);
		size_t size = nr * PAGE;
		unsigned char *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
					  MAP_SHARED, p2p_fd, 0);

		if (map == MAP_FAILED) /* the arena has it all */
			continue;
		if (map < arena + ARENA_PAGES * PAGE && map + size > arena)
			errx(1, "the owners' memory is in the arena");
		/* so that a drive may know the memory when the words are in it */
		if (pread(device_fd, map, PAGE * (nr < 8 ? nr : 8), 0) < 0)
			err(1, "reading into memory of its own");
		for (unsigned long i = 0; i < nr; i++)
			write_page(map, i, word + i);
		usleep(random_next(&state) % 3000);
		for (unsigned long i = 0; i < nr; i++)
			expect_page(map, i, word + i);

		if (nr > MAX_READ_PAGES)
			nr = MAX_READ_PAGES;
		if (pread(device_fd, map, nr * PAGE, first * PAGE) !=
		    (ssize_t)(nr * PAGE))
			err(1, "reading into memory of its own");
		expect_disk(map, nr, first);
		munmap(map, size);
		round++;
	}
	return NULL;
}

static void fill_disk(void)
{
	uint64_t state = random_start(1000);

	if (posix_memalign((void **)&disk, PAGE, DISK_PAGES * PAGE))
		errx(1, "no memory");
	for (size_t i = 0; i < DISK_PAGES * PAGE / 8; i++)
		((uint64_t *)disk)[i] = random_next(&state);
	for (size_t at = 0; at < DISK_PAGES * PAGE; at += 64 * PAGE)
		if (pwrite(device_fd, disk + at, 64 * PAGE, at) !=
		    (ssize_t)(64 * PAGE))
			err(1, "%s", device);
}

int main(int argc, char **argv)
{
	const struct option_entry entries[] = {
		{ "device", "PATH", "drive, which is written to",
		  .text = &device },
		{ "p2p", "PATH", "p2pmem/allocate of the provider",
		  .text = &p2p },
		{ "seed", "N", "of what the threads do", .number = &seed },
		{ "rounds", "N", "of each of three threads that verify",
		  .number = &rounds },
		{}
	};
	pthread_t threads[MAPPERS + SUBMITTERS + OWNERS];
	uintptr_t nr = 0;

	parse_options(
		argc, argv,
		"Usage: mapping_storm --device PATH --p2p PATH [OPTION...]\n"
		"\n"
		"Maps P2P memory over P2P memory during I/O; exits with 1 if other P2P memory changes.\n",
		entries);
	if (!device || !p2p)
		errx(2, "--device and --p2p are needed, see --help");
	device_fd = open(device, O_RDWR | O_DIRECT);
	p2p_fd = open(p2p, O_RDWR);
	if (device_fd < 0 || p2p_fd < 0)
		err(1, "open");
	fill_disk();
	arena = mmap(NULL, ARENA_PAGES * PAGE, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (arena == MAP_FAILED)
		err(1, "mmap");

	while (nr < MAPPERS + SUBMITTERS + OWNERS) {
		void *(*thread)(void *) = nr < MAPPERS ? map_over :
					  nr < MAPPERS + SUBMITTERS ?
							 submit :
							 own_memory;

		if (pthread_create(&threads[nr], NULL, thread, (void *)nr))
			errx(1, "no thread");
		nr++;
	}
	while (nr > MAPPERS + SUBMITTERS)
		pthread_join(threads[--nr], NULL);
	stop = true;
	while (nr)
		pthread_join(threads[--nr], NULL);
	printf("mapped %lu times, %lu transfers, %lu refused, %lu bad\n",
	       mappings, transfers, refused, bad);
	if (!mappings || !transfers)
		errx(1, "nothing was mapped over, or nothing transferred");
	return bad != 0;
}
