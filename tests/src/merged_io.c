// SPDX-License-Identifier: GPL-2.0
/*
 * Batches of sequential requests of several lengths, submitted at once, so that the block layer merges them:
 * written, and read back.
 */
#include <liburing.h>
#include <stdlib.h>

#include "data.h"
#include "options.h"

#define REQUESTS 8

static struct {
	const char *device;
	unsigned long batches;
	unsigned long longest;
	unsigned long seed;
} opt = {
	.batches = 200,
	.longest = 40960,
	.seed = 1,
};

static const struct option_entry options[] = {
	{ "device", "PATH", "block device; its start is destroyed",
	  .text = &opt.device },
	{ "batches", "N", "of some requests each", .number = &opt.batches },
	{ "longest", "BYTES", "request, of whole pages",
	  .number = &opt.longest },
	{ "seed", "N", "of lengths and data", .number = &opt.seed },
	{}
};

static struct io_uring ring;
static int fd;

/* Requests that follow each other on the drive and in memory. Returns how many did not end in full. */
static unsigned int transfer(unsigned char *data, const size_t *lengths,
			     uint64_t offset, bool is_write)
{
	unsigned int wrong = 0;

	for (int i = 0; i < REQUESTS; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

		if (is_write)
			io_uring_prep_write(sqe, fd, data, lengths[i], offset);
		else
			io_uring_prep_read(sqe, fd, data, lengths[i], offset);
		sqe->user_data = i;
		offset += lengths[i];
		data += lengths[i];
	}
	if (io_uring_submit_and_wait(&ring, REQUESTS) < 0)
		errx(1, "io_uring_submit_and_wait");
	for (int i = 0; i < REQUESTS; i++) {
		struct io_uring_cqe *cqe;

		if (io_uring_wait_cqe(&ring, &cqe))
			errx(1, "io_uring_wait_cqe");
		if (cqe->res != (int)lengths[cqe->user_data]) {
			wrong++;
			warnx("%s %d of %zu bytes gave %d",
			      is_write ? "write" : "read", (int)cqe->user_data,
			      lengths[cqe->user_data], cqe->res);
		}
		io_uring_cqe_seen(&ring, cqe);
	}
	return wrong;
}

int main(int argc, char **argv)
{
	unsigned char *written, *read_back;
	unsigned int wrong = 0;
	size_t pages;

	parse_options(argc, argv, "Usage: merged_io --device PATH [option...]",
		      options);
	if (!opt.device)
		errx(1, "--device is missing; see --help");
	fd = open(opt.device, O_RDWR | O_DIRECT);
	if (fd < 0)
		err(1, "%s", opt.device);
	if (io_uring_queue_init(REQUESTS, &ring, 0))
		errx(1, "io_uring_queue_init");
	written = aligned_alloc(PAGE, REQUESTS * opt.longest);
	read_back = aligned_alloc(PAGE, REQUESTS * opt.longest);
	if (!written || !read_back)
		errx(1, "out of memory");

	pages = opt.longest / PAGE;
	random_state = opt.seed;
	for (unsigned long batch = 0; batch < opt.batches; batch++) {
		size_t lengths[REQUESTS], total = 0;

		for (int i = 0; i < REQUESTS; i++) {
			lengths[i] = PAGE * (1 + random_next() % pages);
			total += lengths[i];
		}
		fill_random(written, total);
		memset(read_back, 0, total);
		wrong += transfer(written, lengths, 0, true);
		wrong += transfer(read_back, lengths, 0, false);
		if (memcmp(written, read_back, total)) {
			wrong++;
			warnx("batch %lu: what is read is not what was written",
			      batch);
		}
		if (wrong)
			break;
	}
	printf("%lu batches of %d requests, %u wrong\n", opt.batches, REQUESTS,
	       wrong);
	return wrong ? 1 : 0;
}
