// SPDX-License-Identifier: GPL-2.0
/*
 * Have P2P memory: allocate it, let the drive read into it if asked to, fill it, wait for a line on
 * standard input, and say whether it still holds what it was filled with.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHUNK 65536
#define READS 50

static void usage(FILE *out)
{
	fprintf(out,
		"Usage: p2p_tenant --p2p PATH --size BYTES [--device PATH]\n"
		"\n"
		"  --p2p PATH     p2pmem/allocate of the provider\n"
		"  --size BYTES   memory to allocate\n"
		"  --device PATH  read all of it from there first (default: fill it alone)\n"
		"\n"
		"Prints \"ready\", waits for a line, exits with 1 if the memory has changed by then.\n");
}

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

static uint64_t word_at(size_t at)
{
	return 0x7e4a4e7000000000 + at;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "p2p", required_argument, NULL, 'p' },
		{ "size", required_argument, NULL, 's' },
		{ "device", required_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	const char *p2p = NULL, *device = NULL;
	volatile uint64_t *words;
	unsigned char *map;
	size_t size = 0;
	int opt, fd;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (opt) {
		case 'p':
			p2p = optarg;
			break;
		case 's':
			size = strtoull(optarg, NULL, 0);
			break;
		case 'd':
			device = optarg;
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (!p2p || !size || optind != argc) {
		usage(stderr);
		return 2;
	}

	fd = open(p2p, O_RDWR);
	if (fd < 0)
		err(1, "%s", p2p);
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		err(1, "mapping %zu bytes of %s", size, p2p);
	if (device)
		read_into(map, size, device);
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
