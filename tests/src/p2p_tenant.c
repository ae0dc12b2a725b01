// SPDX-License-Identifier: GPL-2.0
/*
 * Have P2P memory: allocate it, let the drive read into it if asked to, fill it, wait for a line on
 * standard input, and say whether it still holds what it was filled with.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "options.h"

#define CHUNK 65536
#define READS 50

/* Several times, as a window is opened on behalf of the first. */
static void read_into(unsigned char *map, size_t size, const char *device)
{
	int fd = open(device, O_RDONLY | O_DIRECT);

	if (fd < 0)
		err(1, "%s", device);
	for (int i = 0; i < READS; i++) {
		for (size_t at = 0; at < size; at += CHUNK) {
			size_t len = size - at < CHUNK ? size - at : CHUNK;

			if (pread(fd, map + at, len, at) != (ssize_t)len)
				err(1, "reading %s", device);
		}
		if (size > 16 * CHUNK && i == 1)
			break;
		usleep(2000);
	}
	close(fd);
}

static unsigned char *map_p2p(const char *p2p, size_t size)
{
	int fd = open(p2p, O_RDWR);
	unsigned char *map;

	if (fd < 0)
		err(1, "%s", p2p);
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		err(1, "mapping %zu bytes of %s", size, p2p);
	close(fd);
	return map;
}

static uint64_t word_at(size_t at)
{
	return 0x7e4a4e7000000000 + at;
}

int main(int argc, char **argv)
{
	const char *p2p = NULL, *device = NULL, *also = NULL;
	unsigned long size = 0, again = 0;
	const struct option_entry entries[] = {
		{ "p2p", "PATH", "p2pmem/allocate of the provider",
		  .text = &p2p },
		{ "size", "BYTES", "memory to allocate", .number = &size },
		{ "device", "PATH", "read all of it from there first",
		  .text = &device },
		{ "also", "PATH", "and then from there", .text = &also },
		{ "again", "N",
		  "then free it and allocate as much at once, so many times",
		  .number = &again },
		{}
	};
	volatile uint64_t *words;
	unsigned char *map;

	parse_options(
		argc, argv,
		"Usage: p2p_tenant --p2p PATH --size BYTES [--device PATH [--also PATH] [--again N]]\n"
		"\n"
		"Prints \"ready\", waits for a line, exits with 1 if the memory has changed by then.",
		entries);
	if (!p2p || !size)
		errx(2, "--p2p and --size are needed, see --help");

	map = map_p2p(p2p, size);
	if (device)
		read_into(map, size, device);
	if (also)
		read_into(map, size, also);
	for (unsigned long i = 0; i < again; i++) {
		munmap(map, size);
		map = map_p2p(p2p, size);
		read_into(map, CHUNK, device);
	}
	words = (uint64_t *)map;
	for (size_t at = 0; at < size; at += 512)
		words[at / 8] = word_at(at);
	puts("ready");
	fflush(stdout);
	getchar();
	for (size_t at = 0; at < size; at += 512)
		if (words[at / 8] != word_at(at))
			errx(1, "byte %zu has changed", at);
	return 0;
}
