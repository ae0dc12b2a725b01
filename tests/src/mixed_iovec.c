// SPDX-License-Identifier: GPL-2.0
/*
 * Vectored reads and writes whose iovecs alternate at random between host memory and one or two
 * P2P providers, checked against a model of the drive.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "data.h"
#include "options.h"

#define MAX_PARTS 16 /* as --help says */
#define MAX_ERRNO 134

enum memory { HOST, P2P_A, P2P_B, MEMORIES };
enum engine { ENGINE_IO_URING, ENGINE_LIBAIO, ENGINE_PLAIN };
enum expectation { EXPECT_FULL, EXPECT_REFUSED, EXPECT_ANY };

static const char *const memory_names[] = { "host", "a", "b", NULL };
static const char *const engine_names[] = { "io_uring", "libaio", "plain",
					    NULL };
static const char *const expectation_names[] = { "full", "refused", "any",
						 NULL };

static struct {
	const char *device;
	const char *p2p[MEMORIES];
	const char *unreachable;
	const char *engine;
	const char *expect;
	unsigned long count, parts, part_size, align, region, seed;
} opt = {
	.engine = "io_uring",
	.expect = "full",
	.count = 500,
	.parts = 8,
	.part_size = 16384,
	.region = 4 << 20,
	.seed = 1,
};

static const struct option_entry options[] = {
	{ "device", "PATH",
	  "block device, such as /dev/nvme0n1; --region of it is destroyed",
	  .text = &opt.device },
	{ "a", "PATH",
	  "p2pmem/allocate of a provider; without one, only host memory",
	  .text = &opt.p2p[P2P_A] },
	{ "b", "PATH", "the same of another one", .text = &opt.p2p[P2P_B] },
	{ "unreachable", "WHICH", "a or b: the drive cannot reach it",
	  .text = &opt.unreachable },
	{ "engine", "NAME", "io_uring, libaio or plain", .text = &opt.engine },
	{ "expect", "HOW",
	  "full: every call moves all of its bytes; refused: EREMOTEIO with any part out of reach, else all; any: only the data must be right",
	  .text = &opt.expect },
	{ "count", "N", "calls", .number = &opt.count },
	{ "parts", "N", "most iovecs of one call, at most 16",
	  .number = &opt.parts },
	{ "part-size", "BYTES", "longest iovec", .number = &opt.part_size },
	{ "align", "BYTES",
	  "iovecs start on a multiple of this; 0: of the least the drive takes",
	  .number = &opt.align },
	{ "region", "BYTES", "part of the drive to use, from its start",
	  .number = &opt.region },
	{ "seed", "N", "of everything random", .number = &opt.seed },
	{}
};

/* One iovec of a call and the memory it lies in. */
struct part {
	enum memory memory;
	unsigned char *data;
	size_t length;
};

struct call {
	bool write;
	size_t offset;
	size_t length;
	unsigned int nr_parts;
	struct part parts[MAX_PARTS];
	struct iovec iov[MAX_PARTS];
};

static enum engine engine;
static enum expectation expectation;
static int unreachable = -1; /* memory */
static int fd;
static uint32_t lba_size;
static unsigned char *pools[MEMORIES];
static unsigned char *model, *before, *after, *moved;
static struct io_uring ring;
static aio_context_t aio_context;

static struct {
	unsigned long calls, mixed, full, partial, failed;
	unsigned long errnos[MAX_ERRNO];
} counts;

static size_t random_below(size_t limit)
{
	return random_next() % limit;
}

static size_t pool_size(void)
{
	/* Each part has room of its own, for any start within a page. */
	return opt.parts * (((opt.part_size + PAGE - 1) & ~(PAGE - 1)) + PAGE);
}

static void read_drive(unsigned char *data, size_t offset, size_t length)
{
	ssize_t ret = pread(fd, data, length, offset);

	if (ret < 0)
		err(1, "reading %s into host memory at %zu", opt.device,
		    offset);
	if ((size_t)ret != length)
		errx(1, "reading %s into host memory at %zu: short", opt.device,
		     offset);
}

static long issue(const struct call *call)
{
	struct iocb iocb = {}, *iocbs = &iocb;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	struct io_event event;
	long ret;

	switch (engine) {
	case ENGINE_PLAIN:
		ret = call->write ? pwritev(fd, call->iov, call->nr_parts,
					    call->offset) :
				    preadv(fd, call->iov, call->nr_parts,
					   call->offset);
		return ret < 0 ? -errno : ret;
	case ENGINE_LIBAIO:
		iocb.aio_lio_opcode = call->write ? IOCB_CMD_PWRITEV :
						    IOCB_CMD_PREADV;
		iocb.aio_fildes = fd;
		iocb.aio_buf = (uintptr_t)call->iov;
		iocb.aio_nbytes = call->nr_parts;
		iocb.aio_offset = call->offset;
		if (syscall(SYS_io_submit, aio_context, 1, &iocbs) != 1)
			return -errno;
		if (syscall(SYS_io_getevents, aio_context, 1, 1, &event,
			    NULL) != 1)
			err(1, "io_getevents");
		return event.res;
	case ENGINE_IO_URING:
		sqe = io_uring_get_sqe(&ring);
		if (call->write)
			io_uring_prep_writev(sqe, fd, call->iov, call->nr_parts,
					     call->offset);
		else
			io_uring_prep_readv(sqe, fd, call->iov, call->nr_parts,
					    call->offset);
		ret = io_uring_submit_and_wait(&ring, 1);
		if (ret < 0)
			errx(1, "io_uring_submit_and_wait: %s", strerror(-ret));
		ret = io_uring_wait_cqe(&ring, &cqe);
		if (ret)
			errx(1, "io_uring_wait_cqe: %s", strerror(-ret));
		ret = cqe->res;
		io_uring_cqe_seen(&ring, cqe);
		return ret;
	}
	errx(1, "no engine");
}

/* Where nothing may be read to: before and beyond part @i, in the room that is its own; NULL where that has ended. */
static unsigned char *guard_place(const struct call *call, unsigned int i, bool beyond)
{
	const struct part *part = &call->parts[i];
	size_t room = pool_size() / opt.parts;
	unsigned char *begin = pools[part->memory] + i * room;

	if (beyond)
		return part->data + part->length + GUARD_LENGTH <= begin + room ?
			       part->data + part->length : NULL;
	return part->data >= begin + GUARD_LENGTH ? part->data - GUARD_LENGTH : NULL;
}

static void lay_guards(const struct call *call)
{
	for (unsigned int i = 0; i < 2 * call->nr_parts; i++) {
		unsigned char *place = guard_place(call, i / 2, i % 2);

		if (place)
			lay_guard(place);
	}
}

static bool guards_hold(const struct call *call)
{
	for (unsigned int i = 0; i < 2 * call->nr_parts; i++) {
		unsigned char *place = guard_place(call, i / 2, i % 2);

		if (place && !guard_holds(place))
			return false;
	}
	return true;
}

static void make_call(struct call *call)
{
	/* Half the calls consist of whole pages, which all fit into one command. */
	size_t unit = random_next() & 1 && opt.part_size >= PAGE ? PAGE :
								   lba_size;
	size_t room = pool_size() / opt.parts;

	call->write = random_next() & 1;
	call->nr_parts = 1 + random_below(opt.parts);
	call->length = 0;
	for (unsigned int i = 0; i < call->nr_parts; i++) {
		struct part *part = &call->parts[i];

		do {
			part->memory = random_below(MEMORIES);
		} while (!pools[part->memory]);
		part->length = unit * (1 + random_below(opt.part_size / unit));
		part->data = pools[part->memory] + i * room;
		if (unit != PAGE)
			part->data +=
				random_below(PAGE / opt.align) * opt.align;
		call->iov[i].iov_base = part->data;
		call->iov[i].iov_len = part->length;
		call->length += part->length;
	}
	call->offset =
		random_below((opt.region - call->length) / lba_size + 1) *
		lba_size;
	if (call->write)
		fill_random(before, call->length);
	else
		for (size_t i = 0; i < call->length; i++)
			before[i] = ~model[call->offset + i];
	for (size_t i = 0, done = 0; i < call->nr_parts;
	     done += call->parts[i++].length)
		copy_words(call->parts[i].data, before + done,
			   call->parts[i].length);
	lay_guards(call);
}

static void describe(const struct call *call, unsigned long number, long ret)
{
	fprintf(stderr,
		"seed %lu call %lu: %s %s of %zu bytes at %zu gave %ld%s%s\n",
		opt.seed, number, opt.engine,
		call->write ? "pwritev" : "preadv", call->length, call->offset,
		ret, ret < 0 ? " " : "", ret < 0 ? strerrorname_np(-ret) : "");
	for (unsigned int i = 0; i < call->nr_parts; i++)
		fprintf(stderr, "  part %u: %-4s page offset %4zu length %zu\n",
			i, memory_names[call->parts[i].memory],
			(size_t)((uintptr_t)call->parts[i].data & (PAGE - 1)),
			call->parts[i].length);
}

/* Whether the result is what --expect calls for. */
static bool expected(const struct call *call, long ret)
{
	bool reached = true;

	for (unsigned int i = 0; i < call->nr_parts; i++)
		if ((int)call->parts[i].memory == unreachable)
			reached = false;
	switch (expectation) {
	case EXPECT_FULL:
		return ret == (long)call->length;
	case EXPECT_REFUSED:
		return ret == (reached ? (long)call->length : -EREMOTEIO);
	case EXPECT_ANY:
		return true;
	}
	return false;
}

/* What the call reported must be there; each block beyond is as before or as asked for. */
static const char *check_read(const struct call *call, size_t reported)
{
	for (size_t i = 0, done = 0; i < call->nr_parts;
	     done += call->parts[i++].length)
		copy_words(moved + done, call->parts[i].data,
			   call->parts[i].length);
	if (memcmp(moved, model + call->offset, reported))
		return "wrong data was read";
	for (size_t i = reported; i < call->length; i += lba_size)
		if (memcmp(moved + i, model + call->offset + i, lba_size) &&
		    memcmp(moved + i, before + i, lba_size))
			return "a block that was not reported as read holds foreign data";
	if (!guards_hold(call))
		return "memory beside a part was written to";
	return NULL;
}

static const char *check_write(const struct call *call, size_t reported)
{
	unsigned char *old = model + call->offset;

	read_drive(after, call->offset, call->length);
	if (memcmp(after, before, reported))
		return "wrong data was written";
	for (size_t i = reported; i < call->length; i += lba_size)
		if (memcmp(after + i, before + i, lba_size) &&
		    memcmp(after + i, old + i, lba_size))
			return "a block that was not reported as written holds foreign data";
	memcpy(old, after, call->length);
	return NULL;
}

static void count(const struct call *call, long ret)
{
	counts.calls++;
	for (unsigned int i = 1; i < call->nr_parts; i++) {
		if (call->parts[i].memory != call->parts[0].memory) {
			counts.mixed++;
			break;
		}
	}
	if (ret < 0) {
		counts.failed++;
		counts.errnos[-ret < MAX_ERRNO ? -ret : 0]++;
	} else if ((size_t)ret < call->length) {
		counts.partial++;
	} else {
		counts.full++;
	}
}

static bool run_call(unsigned long number)
{
	const char *wrong;
	struct call call;
	long ret;

	make_call(&call);
	ret = issue(&call);
	count(&call, ret);
	wrong = (call.write ? check_write : check_read)(&call,
							ret < 0 ? 0 : ret);
	if (!wrong && !expected(&call, ret))
		wrong = "the call did not end as it has to";
	if (wrong) {
		describe(&call, number, ret);
		warnx("%s", wrong);
	}
	return !wrong;
}

static void report(void)
{
	const char *comma = "";

	printf("{\"engine\":\"%s\",\"seed\":%lu,\"calls\":%lu,\"mixed\":%lu,",
	       opt.engine, opt.seed, counts.calls, counts.mixed);
	printf("\"full\":%lu,\"short\":%lu,\"failed\":%lu,\"errors\":{",
	       counts.full, counts.partial, counts.failed);
	for (int i = 0; i < MAX_ERRNO; i++) {
		if (!counts.errnos[i])
			continue;
		printf("%s\"%s\":%lu", comma, strerrorname_np(i) ?: "other",
		       counts.errnos[i]);
		comma = ",";
	}
	printf("}}\n");
}

static void set_up(void)
{
	size_t longest = opt.parts * opt.part_size;
	size_t align;
	int ret;

	if (!opt.device)
		errx(1, "--device is missing, see --help");
	engine = parse_choice("engine", opt.engine, engine_names);
	expectation =
		parse_choice("expectation", opt.expect, expectation_names);
	if (opt.unreachable)
		unreachable =
			parse_choice("memory", opt.unreachable, memory_names);
	fd = open_drive(opt.device, &lba_size, &align);
	if (!opt.align)
		opt.align = align;
	if (!opt.parts || opt.parts > MAX_PARTS || opt.part_size < lba_size ||
	    longest > opt.region)
		errx(1,
		     "--parts is 1 to %u, --part-size at least %u, and their product at most --region",
		     MAX_PARTS, lba_size);

	pools[HOST] = map_memory(NULL, pool_size());
	for (int i = P2P_A; i < MEMORIES; i++)
		if (opt.p2p[i])
			pools[i] = map_memory(opt.p2p[i], pool_size());
	model = aligned_alloc(PAGE, opt.region);
	before = aligned_alloc(PAGE, longest);
	after = aligned_alloc(PAGE, longest);
	moved = aligned_alloc(PAGE, longest);
	if (!model || !before || !after || !moved)
		err(1, "memory");

	if (engine == ENGINE_IO_URING) {
		ret = io_uring_queue_init(1, &ring, 0);
		if (ret)
			errx(1, "io_uring_queue_init: %s", strerror(-ret));
	}
	if (engine == ENGINE_LIBAIO && syscall(SYS_io_setup, 1, &aio_context))
		err(1, "io_setup");

	random_state = opt.seed;
	fill_random(model, opt.region);
	if (pwrite(fd, model, opt.region, 0) != (ssize_t)opt.region)
		err(1, "filling %s", opt.device);
}

int main(int argc, char **argv)
{
	unsigned long wrong = 0;

	parse_options(argc, argv,
		      "Usage: mixed_iovec --device PATH [option...]\n\n"
		      "Prints how the calls ended as one line of JSON.",
		      options);
	set_up();
	for (unsigned long i = 0; i < opt.count && wrong < 3; i++)
		wrong += !run_call(i);
	report();
	return wrong ? 1 : 0;
}
