// SPDX-License-Identifier: GPL-2.0
/*
 * Passthrough reads and writes with separate metadata, data and metadata each in host or in P2P
 * memory, compared with what host memory sees.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "data.h"
#include "options.h"
#include "passthrough.h"

#define BUFFER (256UL << 10)

enum engine { ENGINE_IOCTL, ENGINE_URING_CMD, ENGINES };

static const char *const engine_names[] = { "ioctl", "uring_cmd" };

static struct {
	const char *generic;
	const char *p2p;
	unsigned long lba_size, metadata_size, start, seed;
	bool mixed;
} opt = {
	.lba_size = 512,
	.metadata_size = 64,
	.start = 32768,
	.seed = 1,
};

static const struct option_entry options[] = {
	{ "generic", "PATH",
	  "generic device, such as /dev/ng0n1; blocks from --start on are overwritten",
	  .text = &opt.generic },
	{ "p2p", "PATH",
	  "p2pmem/allocate of the provider; without one host memory, as a control",
	  .text = &opt.p2p },
	{ "lba-size", "BYTES", "data of one block, at most 4096",
	  .number = &opt.lba_size },
	{ "metadata-size", "BYTES",
	  "its metadata, kept apart, no more than its data",
	  .number = &opt.metadata_size },
	{ "start", "BLOCK", "where to read and write", .number = &opt.start },
	{ "seed", "N", "of the data", .number = &opt.seed },
	{ "mixed", NULL, "metadata that is in host and in P2P memory, too",
	  .flag = &opt.mixed },
	{}
};

/* Where metadata is; that of the last two goes on in other memory where a page ends. */
enum place { HOST, P2P, HOST_THEN_P2P, P2P_THEN_HOST, PLACES };

static const char *const place_names[] = {
	"host", "P2P", "host, then P2P,", "P2P, then host"
};

/* Where one command finds its data and metadata. */
struct buffers {
	unsigned char *data;
	unsigned char *metadata;
};

static int fd;
static unsigned int nsid;
static struct io_uring ring;
static unsigned char *host, *p2p, *written, *seen;
static unsigned char *metadata[PLACES];

static void transfer(enum engine engine, bool write, const struct buffers *at,
		     unsigned int blocks)
{
	struct nvme_uring_cmd cmd = {
		.opcode = write ? NVME_CMD_WRITE : NVME_CMD_READ,
		.nsid = nsid,
		.addr = (uintptr_t)at->data,
		.data_len = blocks * opt.lba_size,
		.metadata = (uintptr_t)at->metadata,
		.metadata_len = blocks * opt.metadata_size,
		.cdw10 = opt.start,
		.cdw11 = opt.start >> 32,
		.cdw12 = blocks - 1,
	};
	int ret;

	if (engine == ENGINE_IOCTL) {
		ret = pass_ioctl64(fd, NVME_IOCTL_IO64_CMD, &cmd);
	} else {
		pass_sqe(&ring, fd, NVME_URING_CMD_IO, &cmd);
		ret = pass_wait(&ring);
	}
	if (ret)
		errx(1, "%s %s of %u blocks: %d%s%s", engine_names[engine],
		     write ? "write" : "read", blocks, ret, ret < 0 ? " " : "",
		     ret < 0 ? strerrorname_np(-ret) : "");
}

/* Lay data and metadata into a buffer as one run of bytes, or take them out. */
static void put(const struct buffers *at, const unsigned char *from,
		unsigned int blocks)
{
	copy_words(at->data, from, blocks * opt.lba_size);
	copy_words(at->metadata, from + blocks * opt.lba_size,
		   blocks * opt.metadata_size);
}

static void take(unsigned char *to, const struct buffers *at,
		 unsigned int blocks)
{
	copy_words(to, at->data, blocks * opt.lba_size);
	copy_words(to + blocks * opt.lba_size, at->metadata,
		   blocks * opt.metadata_size);
}

static void check(const char *what, unsigned int blocks)
{
	size_t length = blocks * (opt.lba_size + opt.metadata_size);

	for (size_t i = 0; i < length; i++)
		if (seen[i] != written[i])
			errx(1, "%s of %u blocks: byte %zu of the %s is %#x, expected %#x",
			     what, blocks,
			     i < blocks * opt.lba_size ?
				     i : i - blocks * opt.lba_size,
			     i < blocks * opt.lba_size ? "data" : "metadata",
			     seen[i], written[i]);
	/* What is not read next must not look right by accident. */
	for (size_t i = 0; i < length; i++)
		seen[i] = ~seen[i];
}

/* Beside data and metadata: a read must not come there. With @lay it is patterned, otherwise looked at. */
static void guard(const struct buffers *at, unsigned int blocks, bool lay)
{
	unsigned char *places[] = { at->data + blocks * opt.lba_size,
				    at->metadata - GUARD_LENGTH,
				    at->metadata + blocks * opt.metadata_size };

	for (int i = 0; i < 3; i++) {
		if (lay)
			lay_guard(places[i]);
		else if (!guard_holds(places[i]))
			errx(1, "a read of %u blocks wrote %s", blocks,
			     i == 0 ? "beyond its data" :
			     i == 1 ? "before its metadata" :
				      "beyond its metadata");
	}
}

static void both_ways(enum engine engine, const struct buffers *at,
		      const struct buffers *control, unsigned int blocks)
{
	size_t length = blocks * (opt.lba_size + opt.metadata_size);

	fill_random(written, length);
	put(at, written, blocks);
	transfer(engine, true, at, blocks);
	transfer(ENGINE_IOCTL, false, control, blocks);
	take(seen, control, blocks);
	check("write", blocks);

	put(at, seen, blocks);
	guard(at, blocks, true);
	transfer(engine, false, at, blocks);
	guard(at, blocks, false);
	take(seen, at, blocks);
	check("read", blocks);
}

static void run(enum engine engine, bool data_p2p, enum place place)
{
	static const unsigned int blocks[] = { 1, 8, 32 };
	static const size_t offsets[] = { 0, 64, 2048 };
	struct buffers control = { host + 2 * BUFFER, host + 3 * BUFFER };

	for (size_t i = 0; i < sizeof(blocks) / sizeof(*blocks); i++)
		for (size_t j = 0; j < sizeof(offsets) / sizeof(*offsets);
		     j++) {
			struct buffers at = {
				(data_p2p ? p2p : host),
				metadata[place] + offsets[j],
			};

			both_ways(engine, &at, &control, blocks[i]);
		}
	printf("%s: data in %s, metadata in %s memory\n", engine_names[engine],
	       data_p2p ? "P2P" : "host", place_names[place]);
}

/* Host memory with P2P memory in place of some pages. Return: 128 bytes before its second page. */
static unsigned char *map_mixed(size_t at, size_t pages)
{
	unsigned char *map = map_memory(NULL, BUFFER);
	int provider = open_path(O_RDWR, "%s", opt.p2p);

	if (mmap(map + at * PAGE, pages * PAGE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, provider, 0) == MAP_FAILED)
		err(1, "%s", opt.p2p);
	close(provider);
	return map + PAGE - 128;
}

int main(int argc, char **argv)
{
	parse_options(argc, argv,
		      "Usage: p2p_metadata --generic PATH [option...]",
		      options);
	if (!opt.generic || !opt.lba_size || !opt.metadata_size ||
	    opt.lba_size > 4096 || opt.metadata_size > opt.lba_size ||
	    (opt.mixed && !opt.p2p))
		errx(1,
		     "--generic or --p2p is missing, or a size is out of bounds, see --help");
	random_state = opt.seed;
	fd = open_path(O_RDWR, "%s", opt.generic);
	nsid = pass_nsid(fd, opt.generic);
	pass_ring_init(&ring, 4, 0);
	host = map_memory(NULL, 4 * BUFFER);
	p2p = map_memory(opt.p2p, 2 * BUFFER);
	metadata[HOST] = host + BUFFER;
	metadata[P2P] = p2p + BUFFER;
	if (opt.mixed) {
		metadata[HOST_THEN_P2P] = map_mixed(1, BUFFER / PAGE - 1);
		metadata[P2P_THEN_HOST] = map_mixed(0, 1);
	}
	written = map_memory(NULL, BUFFER);
	seen = map_memory(NULL, BUFFER);

	for (int engine = 0; engine < ENGINES; engine++)
		for (int place = 0; place < PLACES && metadata[place]; place++)
			for (int data_p2p = 0; data_p2p < 2; data_p2p++)
				run(engine, data_p2p, place);
	return 0;
}
