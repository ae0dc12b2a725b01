/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Seeded random data for the test programs, memory to hold it, and the way to copy it to and from
 * P2P memory; files and drives to open.
 */
#ifndef DATA_H
#define DATA_H

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096UL
#define HUGE (2UL << 20)

/* System calls and library functions that set errno, as kernel functions return. */
#define RESULT(call)                              \
	({                                        \
		long result_ = (long)(call);      \
		result_ == -1 ? -errno : result_; \
	})

/* The seed, and then the state, of everything random of one thread. */
static _Thread_local uint64_t random_state;

static inline uint64_t random_next(void)
{
	uint64_t z = (random_state += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static inline void fill_random(unsigned char *data, size_t length)
{
	for (size_t i = 0; i < length; i += sizeof(uint64_t)) {
		uint64_t value = random_next();

		memcpy(data + i, &value, sizeof(value));
	}
}

/*
 * Emulated P2P memory traps on every access, whatever its size, and the C library copies long
 * ranges byte by byte on some processors.
 */
static inline void copy_words(void *to, const void *from, size_t length)
{
	volatile uint64_t *words = to;
	const volatile uint64_t *source = from;

	for (size_t i = 0; i < length / sizeof(*words); i++)
		words[i] = source[i];
}

/* Memory beside a buffer, in bytes, where nothing may come to */
#define GUARD_LENGTH 64
#define GUARD_BYTE 0xa5

static inline void lay_guard(void *place)
{
	unsigned char pattern[GUARD_LENGTH];

	memset(pattern, GUARD_BYTE, sizeof(pattern));
	copy_words(place, pattern, sizeof(pattern));
}

static inline bool guard_holds(const void *place)
{
	unsigned char found[GUARD_LENGTH];

	copy_words(found, place, sizeof(found));
	for (size_t i = 0; i < sizeof(found); i++)
		if (found[i] != GUARD_BYTE)
			return false;
	return true;
}

/**
 * open_path() - open a file or end the program
 * @flags: as of open(), without O_CREAT
 * @format: of the file's path, as of printf()
 *
 * Return: the file descriptor.
 */
static inline int __attribute__((format(printf, 2, 3)))
open_path(int flags, const char *format, ...)
{
	va_list arguments;
	char path[512];
	int fd;

	va_start(arguments, format);
	vsnprintf(path, sizeof(path), format, arguments);
	va_end(arguments);
	fd = open(path, flags);
	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

/**
 * p2p_available() - how much P2P memory a provider has left
 * @allocate: path of its p2pmem/allocate, or NULL
 *
 * Return: the bytes, 0 without a provider.
 */
static inline long p2p_available(const char *allocate)
{
	char path[256];
	long bytes = 0;
	FILE *file;

	if (!allocate)
		return 0;
	snprintf(path, sizeof(path), "%.*s/available",
		 (int)(strrchr(allocate, '/') - allocate), allocate);
	file = fopen(path, "r");
	if (!file || fscanf(file, "%ld", &bytes) != 1)
		err(1, "%s", path);
	fclose(file);
	return bytes;
}

/* Memory of the P2P provider whose p2pmem/allocate is at path; host memory if there is no path. */
static inline unsigned char *map_memory(const char *path, size_t length)
{
	int flags = MAP_SHARED | (path ? 0 : MAP_ANONYMOUS);
	int fd = path ? open(path, O_RDWR) : -1;
	unsigned char *map;

	if (path && fd < 0)
		err(1, "%s", path);
	map = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (map == MAP_FAILED)
		err(1, "%s: mapping %zu bytes", path ? path : "host memory",
		    length);
	if (path) {
		close(fd);
		return map;
	}
	/* Every other page first, or else successive ones would often be physical neighbours. */
	for (size_t first = 0; first <= PAGE; first += PAGE)
		for (size_t i = first; i < length; i += 2 * PAGE)
			map[i] = 0;
	return map;
}

/* Where in memory a page lies that was touched or is P2P memory. */
static inline uint64_t frame(const unsigned char *page)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry;

	if (pread(fd, &entry, sizeof(entry),
		  (uintptr_t)page / PAGE * sizeof(entry)) != sizeof(entry))
		err(1, "/proc/self/pagemap");
	close(fd);
	return entry & ((1ULL << 55) - 1);
}

/* A huge page of host memory, with random data */
static inline unsigned char *map_huge_page(void)
{
	unsigned char *map = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		err(1, "mapping host memory");
	map += -(uintptr_t)map % HUGE;
	madvise(map, HUGE, MADV_HUGEPAGE);
	fill_random(map, HUGE);
	if (frame(map) % (HUGE / PAGE) ||
	    frame(map + HUGE - PAGE) != frame(map) + HUGE / PAGE - 1)
		errx(1, "there is no huge page to be had");
	return map;
}

/* Open a drive for direct I/O; what it wants its blocks and buffers to be multiples of. */
static inline int open_drive(const char *path, unsigned int *lba_size,
			     size_t *align)
{
	int fd = open(path, O_RDWR | O_DIRECT);
	struct statx status;

	if (fd < 0)
		err(1, "%s", path);
	if (ioctl(fd, BLKSSZGET, lba_size))
		err(1, "%s: BLKSSZGET", path);
	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status))
		err(1, "%s: statx", path);
	*align = status.stx_mask & STATX_DIOALIGN ? status.stx_dio_mem_align :
						    *lba_size;
	return fd;
}

/* Open a drive and write random data to its first bytes; returns what it has, in host memory. */
static inline unsigned char *fill_drive(const char *path, size_t size, int *fd)
{
	unsigned char *content = map_memory(NULL, size);
	unsigned int lba_size;
	size_t align;

	*fd = open_drive(path, &lba_size, &align);
	fill_random(content, size);
	if (pwrite(*fd, content, size, 0) != (ssize_t)size)
		err(1, "%s", path);
	return content;
}

/* As open_drive(), for files as well, which are made if need be. */
static inline int open_direct(const char *path, unsigned int *block_size,
			      size_t *align)
{
	int fd = open(path, O_RDWR | O_CREAT | O_DIRECT, 0600);
	struct statx status;

	if (fd < 0)
		err(1, "%s", path);
	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN | STATX_TYPE, &status))
		err(1, "%s: statx", path);
	if (S_ISBLK(status.stx_mode)) {
		close(fd);
		return open_drive(path, block_size, align);
	}
	if (!(status.stx_mask & STATX_DIOALIGN) || !status.stx_dio_mem_align)
		errx(1, "%s: no direct I/O", path);
	*block_size = status.stx_dio_offset_align;
	*align = status.stx_dio_mem_align;
	return fd;
}

#endif /* DATA_H */
