// SPDX-License-Identifier: GPL-2.0
/*
 * Random reads and writes, several in flight, of one large registered buffer of host memory, of P2P memory, of both
 * in turns, or of a dma-buf, which may move meanwhile. The buffer, what surrounds it and the drive, or two drives, are
 * held against models.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "data.h"
#include "dma_bufs.h"
#include "options.h"

#define MAX_DEPTH 16
/* Around what an operation has changed */
#define GUARD 64

static struct {
	const char *device;
	const char *second;
	const char *p2p;
	const char *beside;
	const char *rebind;
	const char *dma_buf;
	unsigned long move, moves;
	unsigned long size, skip, run, operations, depth, longest, seed, align;
	bool huge, unreachable, reregister;
} opt = {
	.size = 4 << 20,
	.operations = 200,
	.depth = 4,
	.longest = 1 << 20,
	.seed = 1,
};

static const struct option_entry options[] = {
	{ "device", "PATH", "block device; its first --size bytes are destroyed",
	  .text = &opt.device },
	{ "second", "PATH",
	  "another one; its first --size bytes are destroyed, too, and each operation is of one of the two",
	  .text = &opt.second },
	{ "p2p", "PATH", "p2pmem/allocate of the memory's provider",
	  .text = &opt.p2p },
	{ "dma-buf", "KIND",
	  "the buffer is one: udmabuf, moving, scattered, late, wandering, resource, half, or the name of a heap",
	  .text = &opt.dma_buf },
	{ "move", "MICROSECONDS",
	  "between moves of a dma-buf that can; 0: it stays",
	  .number = &opt.move },
	{ "reregister", NULL,
	  "no I/O: register it and empty its slot until registering fails, and say how",
	  .flag = &opt.reregister },
	{ "moves", "N", "go on until it has moved as often",
	  .number = &opt.moves },
	{ "unreachable", NULL,
	  "it moves to where the drive cannot reach it, too: I/O that fails with EREMOTEIO is issued again",
	  .flag = &opt.unreachable },
	{ "size", "BYTES", "of the buffer", .number = &opt.size },
	{ "skip", "BYTES", "of its first page that are not registered",
	  .number = &opt.skip },
	{ "run", "BYTES",
	  "of P2P memory, and as many of host memory, in turns; 0: all is of one kind",
	  .number = &opt.run },
	{ "beside", "PATH",
	  "p2pmem/allocate of another provider, whose memory takes the turns of host memory",
	  .text = &opt.beside },
	{ "huge", NULL, "host memory is to be of huge pages",
	  .flag = &opt.huge },
	{ "operations", "N", "how many", .number = &opt.operations },
	{ "depth", "N", "operations in flight, each in its part of the buffer",
	  .number = &opt.depth },
	{ "longest", "BYTES", "of an operation", .number = &opt.longest },
	{ "align", "BYTES", "of operations in the buffer; 0: blocks",
	  .number = &opt.align },
	{ "rebind", "ADDRESS",
	  "PCI address of the drive, whose driver is taken away and given back halfway; --second then has I/O in flight",
	  .text = &opt.rebind },
	{ "seed", "N", "of everything random", .number = &opt.seed },
	{}
};

struct drive {
	const char *path;
	int fd;
	unsigned char *model;
};

struct operation {
	const struct drive *drive;
	bool write;
	size_t at, drive_at, length;
};

static struct io_uring ring;
static struct drive first, second;
static unsigned int lba_size; /* the larger one, of two drives */
/* of the buffer, its model */
static unsigned char *buffer, *shadow, *scratch;
static struct dma_memory memory;
static atomic_bool stop;
static atomic_ulong moved;
static unsigned long again, out_of_reach;

static void load(void *to, size_t at, size_t length)
{
	if (opt.dma_buf)
		dma_memory_copy(&memory, to, at, length, false);
	else
		copy_words(to, buffer + at, length);
}

static void *keep_moving(void *argument)
{
	while (!atomic_load(&stop)) {
		if (ioctl(memory.exporter, EXPORTER_MOVE, memory.fd))
			err(1, "%s: moving", EXPORTER_DEVICE);
		moved++;
		usleep(opt.move);
	}
	return argument;
}

/* Every other run of the buffer, from @at on, becomes memory of @provider. */
static void map_turns(const char *provider, size_t at)
{
	int fd;

	if (!provider || !opt.run)
		return;
	fd = open(provider, O_RDWR);
	if (fd < 0)
		err(1, "%s", provider);
	for (; at < opt.size; at += 2 * opt.run)
		if (mmap(buffer + at, opt.run, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
			err(1, "%s: mapping %lu bytes", provider, opt.run);
	close(fd);
}

static void map_buffer(void)
{
	if (opt.dma_buf) {
		memory = dma_memory_create(opt.dma_buf, opt.size);
		return;
	}
	buffer = map_memory(opt.run ? NULL : opt.p2p, opt.size);
	if (opt.huge && madvise(buffer, opt.size, MADV_HUGEPAGE))
		err(1, "madvise");
	map_turns(opt.p2p, 0);
	map_turns(opt.beside, opt.run);
}

static int register_buffer(void)
{
	struct iovec iov = { buffer + opt.skip, opt.size - opt.skip };
	int ret;

	if (!opt.dma_buf)
		return io_uring_register_buffers(&ring, &iov, 1);
	ret = io_uring_register_buffers_sparse(&ring, 1);
	if (!ret)
		ret = dma_buf_register(&ring, 0, memory.fd, first.fd);
	return ret < 0 ? ret : 0;
}

static void set_up_drive(struct drive *drive, const char *path)
{
	unsigned int size;

	drive->path = path;
	drive->model = fill_drive(path, opt.size, &drive->fd);
	ioctl(drive->fd, BLKSSZGET, &size);
	if (size > lba_size)
		lba_size = size;
}

static void set_up(void)
{
	int ret;

	map_buffer();
	shadow = map_memory(NULL, opt.size);
	scratch = map_memory(NULL, opt.size);
	fill_random(shadow, opt.size);
	if (opt.dma_buf)
		dma_memory_copy(&memory, shadow, 0, opt.size, true);
	else
		copy_words(buffer, shadow, opt.size);
	set_up_drive(&first, opt.device);
	if (opt.second)
		set_up_drive(&second, opt.second);
	if (!opt.align)
		opt.align = lba_size;
	ret = io_uring_queue_init(MAX_DEPTH, &ring, 0) ?: register_buffer();
	if (ret)
		errx(1, "registering: %s", strerror(-ret));
}

/* Lengths of all orders of magnitude; places that are often where a page or a list of them begins or ends. */
static struct operation choose(size_t from, size_t room)
{
	size_t blocks = room / lba_size, longest = opt.longest / lba_size;
	size_t length = 1 + random_next() % (1UL << random_next() % 16);
	struct operation op = { .write = random_next() % 2 };

	if (length > longest)
		length = longest;
	if (length > blocks)
		length = blocks;
	op.length = length * lba_size;
	op.at = from + random_next() % ((room - op.length) / opt.align + 1) *
			       opt.align;
	if (random_next() % 2 && op.at / PAGE * PAGE >= from)
		op.at = op.at / PAGE * PAGE;
	if (op.at < from)
		op.at = from;
	return op;
}

static void prepare(const struct operation *op, unsigned int index)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	if (op->write)
		io_uring_prep_write_fixed(sqe, op->drive->fd, buffer + op->at,
					  op->length, op->drive_at, 0);
	else
		io_uring_prep_read_fixed(sqe, op->drive->fd, buffer + op->at,
					 op->length, op->drive_at, 0);
	sqe->user_data = index;
}

/* Its memory was taken away before the drive had it, or is out of the drive's reach for now. */
static bool retried(const struct io_uring_cqe *cqe, const struct operation *op)
{
	if (opt.move && cqe->res == -EAGAIN)
		again++;
	else if (opt.unreachable && cqe->res == -EREMOTEIO)
		out_of_reach++;
	else
		return false;
	prepare(op, cqe->user_data);
	if (io_uring_submit(&ring) != 1)
		errx(1, "io_uring_submit");
	return true;
}

/* Returns whether the operation is over. */
static bool reap(const struct operation *ops)
{
	struct io_uring_cqe *cqe;
	const struct operation *op;
	bool over;

	if (io_uring_wait_cqe(&ring, &cqe))
		errx(1, "io_uring_wait_cqe");
	op = &ops[cqe->user_data];
	over = !retried(cqe, op);
	if (over && cqe->res != (int)op->length)
		errx(1, "%s of %zu bytes at %zu: %d",
		     op->write ? "write" : "read", op->length, op->at,
		     cqe->res);
	io_uring_cqe_seen(&ring, cqe);
	return over;
}

static void compare(const unsigned char *model, size_t at, size_t length,
		    unsigned long number)
{
	size_t from = at < GUARD ? 0 : (at - GUARD) / 8 * 8;
	size_t to = (at + length + GUARD + 7) / 8 * 8;

	if (to > opt.size)
		to = opt.size;
	load(scratch + from, from, to - from);
	for (size_t i = from; i < to; i++)
		if (scratch[i] != model[i])
			errx(1, "operation %lu: the buffer at %zu is %#x, not %#x, in %zu bytes at %zu",
			     number, i, scratch[i], model[i], length, at);
}

static void apply(const struct operation *op)
{
	if (op->write)
		memcpy(op->drive->model + op->drive_at, shadow + op->at,
		       op->length);
	else
		memcpy(shadow + op->at, op->drive->model + op->drive_at,
		       op->length);
}

static void check(const struct operation *op, unsigned long number)
{
	static unsigned char *blocks;
	const struct drive *drive = op->drive;
	size_t from = op->drive_at < lba_size ? 0 : op->drive_at - lba_size;
	size_t to = op->drive_at + op->length + lba_size;

	compare(shadow, op->at, op->length, number);
	if (!op->write)
		return;
	blocks = blocks ?: map_memory(NULL, opt.size);
	if (to > opt.size)
		to = opt.size;
	if (pread(drive->fd, blocks + from, to - from, from) !=
	    (ssize_t)(to - from))
		err(1, "%s", drive->path);
	if (memcmp(blocks + from, drive->model + from, to - from))
		errx(1, "operation %lu: %s does not hold the %zu bytes written at %zu from %zu",
		     number, drive->path, op->length, op->drive_at, op->at);
}

static void tell_driver(const char *file)
{
	char path[64];
	int driver;

	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/nvme/%s", file);
	driver = open(path, O_WRONLY);
	if (driver < 0 ||
	    write(driver, opt.rebind, strlen(opt.rebind)) < 0)
		err(1, "%s", path);
	close(driver);
}

/* The buffer stays registered, and the drive comes back as another one. */
static void rebind(void)
{
	close(first.fd);
	tell_driver("unbind");
	tell_driver("bind");
	opt.rebind = NULL;
	for (int i = 0; i < 300; i++) {
		first.fd = open(opt.device, O_RDWR | O_DIRECT);
		if (first.fd >= 0)
			return;
		usleep(100000);
	}
	err(1, "%s", opt.device);
}

/* A drive that is about to go has nothing in flight. */
static const struct drive *choose_drive(bool first_goes)
{
	if (!opt.second)
		return &first;
	return first_goes || random_next() % 2 ? &second : &first;
}

/* As many operations in flight as there are parts of the buffer, and parts of the drive in another order. */
static void submit_round(struct operation *ops, bool first_goes)
{
	size_t part = opt.size / opt.depth / PAGE * PAGE;
	unsigned int turn = random_next() % opt.depth;

	for (unsigned int i = 0; i < opt.depth; i++) {
		size_t from = i * part, room = part;

		if (!i) {
			from = opt.skip;
			room -= opt.skip;
		}
		ops[i] = choose(from, room);
		ops[i].drive_at = (i + turn) % opt.depth * part +
				  random_next() %
					  ((part - ops[i].length) / lba_size +
					   1) * lba_size;
		ops[i].drive = choose_drive(first_goes);
		prepare(&ops[i], i);
	}
	if (io_uring_submit(&ring) != (int)opt.depth)
		errx(1, "io_uring_submit");
}

static void end_round(const struct operation *ops, unsigned long number)
{
	unsigned int i;

	for (i = 0; i < opt.depth;)
		i += reap(ops);
	for (i = 0; i < opt.depth; i++)
		apply(&ops[i]);
	for (i = 0; i < opt.depth; i++)
		check(&ops[i], number + i);
}

static void round_of(unsigned long number)
{
	bool rebinds = opt.rebind && number >= opt.operations / 2;
	struct operation ops[MAX_DEPTH];

	if (rebinds && !opt.second)
		rebind();
	submit_round(ops, rebinds);
	if (rebinds && opt.second)
		rebind();
	end_round(ops, number);
}

/* The drive may be going meanwhile; it is open, and stays so. */
static void register_until_refused(void)
{
	struct iovec iov = {};
	unsigned long count = 0;
	int ret;

	do {
		if (io_uring_register_buffers_update_tag(&ring, 0, &iov, NULL,
							 1) != 1)
			errx(1, "emptying a slot of buffers");
		if (count++ == 10) {
			puts("registered again and again");
			fflush(stdout);
		}
		ret = dma_buf_register(&ring, 0, memory.fd, first.fd);
	} while (ret == 1);
	printf("registered %lu times, then: %s\n", count, strerror(-ret));
}

int main(int argc, char **argv)
{
	unsigned long number;
	pthread_t mover;

	parse_options(argc, argv,
		      "mapped_buffer --device PATH [option...]\n\n"
		      "Reads and writes a registered buffer at random, and compares.",
		      options);
	if (!opt.device || !opt.depth || opt.depth > MAX_DEPTH ||
	    opt.skip >= PAGE || (opt.run && !opt.p2p) ||
	    (opt.beside && !opt.run) ||
	    (opt.moves && !opt.move) ||
	    (opt.reregister && !opt.dma_buf) ||
	    (opt.dma_buf && (opt.skip || opt.run || opt.p2p || opt.rebind ||
			     opt.second)))
		errx(1, "see --help");
	random_state = opt.seed;
	set_up();
	if (opt.reregister) {
		register_until_refused();
		return 0;
	}
	if (opt.move && pthread_create(&mover, NULL, keep_moving, NULL))
		errx(1, "pthread_create");
	for (number = 0; number < opt.operations || moved < opt.moves;
	     number += opt.depth)
		round_of(number);
	atomic_store(&stop, true);
	if (opt.move)
		pthread_join(mover, NULL);
	compare(shadow, 0, opt.size, number);
	if (io_uring_unregister_buffers(&ring))
		errx(1, "unregistering");
	printf("%lu operations\n", number);
	if (memory.exporter >= 0 && opt.dma_buf &&
	    exporter_counts(memory.exporter).stale)
		errx(1, "the drive wrote to memory that had moved");
	if (opt.move)
		printf("moved %lu times, issued again %lu times\n",
		       atomic_load(&moved), again);
	if (opt.unreachable)
		printf("out of reach %lu times\n", out_of_reach);
	return 0;
}
