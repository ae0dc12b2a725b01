// SPDX-License-Identifier: GPL-2.0
/*
 * Batches of sequential requests of several lengths, submitted at once, so that the block layer merges them:
 * written, and read back. Their data may be of two registered buffers in turns.
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
	bool registered;
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
	{ "registered", NULL,
	  "every other request is of another registered buffer (default: of none, and all data together)",
	  .flag = &opt.registered },
	{}
};

static struct io_uring ring;
static int fd;

enum { WRITTEN, READ_BACK, NR_SIDES };

/* The data of all requests, contiguous. With --registered, each half is a buffer, and requests alternate between them. */
static unsigned char *sides[NR_SIDES];
static size_t half;

static void set_up(void)
{
	struct iovec halves[2 * NR_SIDES];
	int ret;

	half = REQUESTS * opt.longest;
	for (int i = 0; i < NR_SIDES; i++) {
		sides[i] = aligned_alloc(PAGE, 2 * half);
		if (!sides[i])
			errx(1, "out of memory");
		halves[2 * i] = (struct iovec){ sides[i], half };
		halves[2 * i + 1] = (struct iovec){ sides[i] + half, half };
	}
	ret = io_uring_queue_init(REQUESTS, &ring, 0);
	if (!ret && opt.registered)
		ret = io_uring_register_buffers(&ring, halves, 2 * NR_SIDES);
	if (ret)
		errx(1, "io_uring: %s", strerror(-ret));
}

/* Of request @i, which begins at @offset on the drive */
static unsigned char *place(int side, int i, size_t offset)
{
	return sides[side] + offset + (opt.registered && i % 2 ? half : 0);
}

static void prepare(int side, int i, size_t offset, size_t length)
{
	static const uint8_t opcodes[NR_SIDES][2] = {
		[WRITTEN] = { IORING_OP_WRITE, IORING_OP_WRITE_FIXED },
		[READ_BACK] = { IORING_OP_READ, IORING_OP_READ_FIXED },
	};
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	io_uring_prep_rw(opcodes[side][opt.registered], sqe, fd,
			 place(side, i, offset), length, offset);
	sqe->buf_index = opt.registered ? 2 * side + i % 2 : 0;
	sqe->user_data = i;
}

/* Requests that follow each other on the drive. Returns how many did not end in full. */
static unsigned int transfer(int side, const size_t *lengths)
{
	unsigned int wrong = 0;
	size_t offset = 0;

	for (int i = 0; i < REQUESTS; i++) {
		prepare(side, i, offset, lengths[i]);
		offset += lengths[i];
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
			      side == WRITTEN ? "write" : "read", (int)cqe->user_data,
			      lengths[cqe->user_data], cqe->res);
		}
		io_uring_cqe_seen(&ring, cqe);
	}
	return wrong;
}

static void choose_lengths(size_t *lengths)
{
	for (int i = 0; i < REQUESTS; i++)
		lengths[i] = PAGE * (1 + random_next() % (opt.longest / PAGE));
}

/* Whatever is of no request is zero, and has to stay so. */
static void fill_sides(const size_t *lengths)
{
	size_t offset = 0;

	for (int side = 0; side < NR_SIDES; side++)
		memset(sides[side], 0, 2 * half);
	for (int i = 0; i < REQUESTS; i++) {
		fill_random(place(WRITTEN, i, offset), lengths[i]);
		offset += lengths[i];
	}
}

int main(int argc, char **argv)
{
	unsigned int wrong = 0;

	parse_options(argc, argv, "Usage: merged_io --device PATH [option...]",
		      options);
	if (!opt.device)
		errx(1, "--device is missing; see --help");
	fd = open(opt.device, O_RDWR | O_DIRECT);
	if (fd < 0)
		err(1, "%s", opt.device);
	set_up();

	random_state = opt.seed;
	for (unsigned long batch = 0; batch < opt.batches; batch++) {
		size_t lengths[REQUESTS];

		choose_lengths(lengths);
		fill_sides(lengths);
		wrong += transfer(WRITTEN, lengths);
		wrong += transfer(READ_BACK, lengths);
		if (memcmp(sides[WRITTEN], sides[READ_BACK], 2 * half)) {
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
