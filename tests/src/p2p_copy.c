// SPDX-License-Identifier: GPL-2.0
/*
 * Move data between an NVMe drive and P2P memory and compare it, block by block, with what
 * ordinary reads into host memory see.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "data.h"
#include "options.h"
#include "passthrough.h"

enum engine {
	ENGINE_IO_URING,
	ENGINE_POLLED,
	ENGINE_FIXED,
	ENGINE_FIXED_POLLED,
	ENGINE_PLAIN,
	ENGINE_URING_CMD,
	ENGINE_IOCTL
};

static const char *const engine_names[] = {
	"io_uring", "polled", "fixed", "fixed_polled", "plain", "uring_cmd", "ioctl", NULL
};

static struct {
	const char *device;
	const char *generic;
	const char *p2p;
	const char *engine;
	const char *expect;
	const char *around;
	bool write, atomic, blind, hold;
	unsigned long block_size, buffer_offset, host_page, chunk, count, depth;
	unsigned long start, region, seed, failures;
} opt = {
	.engine = "io_uring",
	.block_size = 4096,
	.count = 64,
	.depth = 8,
	.region = 64 << 20,
	.seed = 1,
};

static const struct option_entry options[] = {
	{ "device", "PATH",
	  "block device, such as /dev/nvme0n1, or file; host memory reads it for comparison",
	  .text = &opt.device },
	{ "generic", "PATH",
	  "its generic device, such as /dev/ng0n1, for uring_cmd and ioctl",
	  .text = &opt.generic },
	{ "p2p", "PATH",
	  "p2pmem/allocate of the provider; without one host memory, as a control",
	  .text = &opt.p2p },
	{ "engine", "NAME",
	  "io_uring, polled, fixed, fixed_polled, plain, uring_cmd or ioctl",
	  .text = &opt.engine },
	{ "write", NULL,
	  "write out of P2P memory: destroys the region (default: read)",
	  .flag = &opt.write },
	{ "atomic", NULL, "of each write all or nothing (RWF_ATOMIC), by plain or io_uring",
	  .flag = &opt.atomic },
	{ "blind", NULL,
	  "do no other I/O and compare nothing (default: compare)",
	  .flag = &opt.blind },
	{ "hold", NULL, "keep the memory when all is done, until killed",
	  .flag = &opt.hold },
	{ "block-size", "BYTES", "size of one I/O", .number = &opt.block_size },
	{ "buffer-offset", "BYTES", "start of each buffer in its page",
	  .number = &opt.buffer_offset },
	{ "host-page", "N",
	  "page N of each buffer is host memory, counted from 1; 0: none",
	  .number = &opt.host_page },
	{ "chunk", "BYTES",
	  "P2P memory is of chunks that do not follow each other in the provider's; 0: all at once",
	  .number = &opt.chunk },
	{ "count", "N", "number of I/Os", .number = &opt.count },
	{ "depth", "N", "I/Os in flight", .number = &opt.depth },
	{ "start", "BYTES", "where the part of the drive to use begins",
	  .number = &opt.start },
	{ "region", "BYTES", "how long it is", .number = &opt.region },
	{ "seed", "N", "of positions and data", .number = &opt.seed },
	{ "expect", "ERRNO",
	  "every I/O must fail so, as in EREMOTEIO, and move no data",
	  .text = &opt.expect },
	{ "failures", "N", "so many of them, the others must not; 0: all",
	  .number = &opt.failures },
	{ "around", "PATH",
	  "write 0 there when the I/Os begin, 1 when they have ended",
	  .text = &opt.around },
	{}
};

#define ATOMIC 0x40 /* RWF_ATOMIC of Linux 6.11, which C libraries may not have */

/* One I/O in flight: guard, data and guard inside its own pages of the P2P mapping. */
struct slot {
	unsigned char *data;
	unsigned char *expected;
	unsigned char *before; /* on the drive before a write */
	uint64_t offset;
	int result;
};

static enum engine engine;
static int expected_errno; /* 0: none */
static int block_fd, io_fd;
static struct iovec buffer; /* all slots, to register */
static uint32_t nsid, lba_size;
static unsigned char *scratch;
static unsigned long failures;

static void read_through_host(unsigned char *data, uint64_t offset)
{
	ssize_t ret = pread(block_fd, data, opt.block_size, offset);

	if (ret < 0)
		err(1, "reading %s into host memory at %lu", opt.device,
		    offset);
	if ((size_t)ret != opt.block_size)
		errx(1, "reading %s into host memory at %lu: %zd of %zu bytes",
		     opt.device, offset, ret, opt.block_size);
}

static void fill_command(struct nvme_uring_cmd *cmd, const struct slot *slot)
{
	uint64_t lba = slot->offset / lba_size;

	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = opt.write ? NVME_CMD_WRITE : NVME_CMD_READ;
	cmd->nsid = nsid;
	cmd->addr = (uintptr_t)slot->data;
	cmd->data_len = opt.block_size;
	cmd->cdw10 = lba;
	cmd->cdw11 = lba >> 32;
	cmd->cdw12 = opt.block_size / lba_size - 1;
}

/* An NVMe status is positive and not an errno: an error that nobody expects. */
static int passthrough_result(int ret)
{
	return ret ? (ret < 0 ? ret : -EIO) : (int)opt.block_size;
}

static bool is_fixed(void)
{
	return engine == ENGINE_FIXED || engine == ENGINE_FIXED_POLLED;
}

static uint8_t opcode(void)
{
	if (is_fixed())
		return opt.write ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED;
	return opt.write ? IORING_OP_WRITE : IORING_OP_READ;
}

static void run_ring(struct slot *slots, unsigned int count)
{
	unsigned int flags = 0;
	struct io_uring ring;
	int ret;

	if (engine == ENGINE_POLLED || engine == ENGINE_FIXED_POLLED)
		flags = IORING_SETUP_IOPOLL;
	if (engine == ENGINE_URING_CMD)
		flags = IORING_SETUP_SQE128 | IORING_SETUP_CQE32;
	ret = io_uring_queue_init(count, &ring, flags);
	if (ret)
		errx(1, "io_uring_queue_init: %s", strerror(-ret));
	ret = is_fixed() ? io_uring_register_buffers(&ring, &buffer, 1) : 0;
	if (ret)
		errx(1, "io_uring_register_buffers: %s", strerror(-ret));
	for (unsigned int i = 0; i < count; i++) {
		struct slot *slot = &slots[i];
		struct nvme_uring_cmd cmd;
		struct io_uring_sqe *sqe;

		if (engine == ENGINE_URING_CMD) {
			fill_command(&cmd, slot);
			sqe = pass_sqe(&ring, io_fd, NVME_URING_CMD_IO, &cmd);
		} else {
			sqe = io_uring_get_sqe(&ring);
			io_uring_prep_rw(opcode(), sqe, io_fd, slot->data,
					 opt.block_size, slot->offset);
			sqe->rw_flags = opt.atomic ? ATOMIC : 0;
		}
		sqe->user_data = i;
	}
	ret = io_uring_submit(&ring);
	if (ret != (int)count)
		errx(1, "io_uring_submit: %d of %u", ret, count);
	for (unsigned int i = 0; i < count; i++) {
		struct io_uring_cqe *cqe;

		ret = io_uring_wait_cqe(&ring, &cqe);
		if (ret)
			errx(1, "io_uring_wait_cqe: %s", strerror(-ret));
		slots[cqe->user_data].result =
			engine == ENGINE_URING_CMD ?
				passthrough_result(cqe->res) :
				cqe->res;
		io_uring_cqe_seen(&ring, cqe);
	}
	io_uring_queue_exit(&ring);
}

static int run_plain(const struct slot *slot)
{
	const struct iovec iov = { slot->data, opt.block_size };
	ssize_t ret;

	if (opt.write)
		ret = pwritev2(io_fd, &iov, 1, slot->offset, opt.atomic ? ATOMIC : 0);
	else
		ret = pread(io_fd, slot->data, opt.block_size, slot->offset);
	return ret < 0 ? -errno : ret;
}

static int run_ioctl(const struct slot *slot)
{
	struct nvme_uring_cmd cmd;

	fill_command(&cmd, slot);
	return passthrough_result(
		pass_ioctl64(io_fd, NVME_IOCTL_IO64_CMD, &cmd));
}

static void run(struct slot *slots, unsigned int count)
{
	if (engine != ENGINE_PLAIN && engine != ENGINE_IOCTL) {
		run_ring(slots, count);
		return;
	}
	for (unsigned int i = 0; i < count; i++)
		slots[i].result = engine == ENGINE_PLAIN ?
					  run_plain(&slots[i]) :
					  run_ioctl(&slots[i]);
}

static void prepare(struct slot *slot, uint64_t number)
{
	uint64_t blocks = (opt.region - opt.block_size) / lba_size + 1;

	if (opt.blind) {
		slot->offset = opt.start + number % blocks * lba_size;
		return;
	}
	lay_guard(slot->data - GUARD_LENGTH);
	lay_guard(slot->data + opt.block_size);
	if (opt.write) {
		/* Writes in flight together must not overlap. */
		slot->offset =
			opt.start +
			number * opt.block_size %
				(opt.region / opt.block_size * opt.block_size);
		read_through_host(slot->before, slot->offset);
		fill_random(slot->expected, opt.block_size);
		/* What is not written must not look right by accident. */
		for (size_t i = 0; i < opt.block_size; i++)
			if (slot->expected[i] == slot->before[i])
				slot->expected[i] ^= 0xff;
		copy_words(slot->data, slot->expected, opt.block_size);
		return;
	}
	slot->offset = opt.start + random_next() % blocks * lba_size;
	read_through_host(slot->expected, slot->offset);
	/* What is not read must not look right by accident. */
	for (size_t i = 0; i < opt.block_size; i++)
		scratch[i] = ~slot->expected[i];
	copy_words(slot->data, scratch, opt.block_size);
}

static void compare(const struct slot *slot, const unsigned char *expected,
		    unsigned char flip, const char *where)
{
	for (size_t i = 0; i < opt.block_size; i++)
		if (scratch[i] != (unsigned char)(expected[i] ^ flip))
			errx(1,
			     "%s of %zu bytes at %lu: byte %zu %s is %#x, expected %#x",
			     opt.write ? "write" : "read", opt.block_size,
			     slot->offset, i, where, scratch[i],
			     (unsigned char)(expected[i] ^ flip));
}

/* What fails moves no data. */
static void check(const struct slot *slot)
{
	bool failed = expected_errno && slot->result == -expected_errno;

	if (!failed && slot->result != (int)opt.block_size)
		errx(1, "%s of %zu bytes at %lu gave %d%s%s, expected %zu%s%s",
		     opt.write ? "write" : "read", opt.block_size, slot->offset,
		     slot->result, slot->result < 0 ? " " : "",
		     slot->result < 0 ? strerrorname_np(-slot->result) : "",
		     opt.block_size, opt.expect ? " or " : "",
		     opt.expect ?: "");
	failures += failed;
	if (opt.blind)
		return;
	if (!guard_holds(slot->data - GUARD_LENGTH) ||
	    !guard_holds(slot->data + opt.block_size))
		errx(1, "I/O at %lu wrote outside its buffer", slot->offset);
	if (opt.write) {
		read_through_host(scratch, slot->offset);
		compare(slot, failed ? slot->before : slot->expected, 0,
			"on the drive");
	} else {
		copy_words(scratch, slot->data, opt.block_size);
		compare(slot, slot->expected, failed ? 0xff : 0,
			"in P2P memory");
	}
}

static void mark(const char *what)
{
	int fd;

	if (!opt.around)
		return;
	fd = open(opt.around, O_WRONLY);
	if (fd < 0 || write(fd, what, 1) != 1)
		err(1, "%s", opt.around);
	close(fd);
}

static void open_devices(void)
{
	struct stat status;

	block_fd = open_path(O_RDWR | O_DIRECT, "%s", opt.device);
	if (fstat(block_fd, &status))
		err(1, "%s", opt.device);
	if (S_ISREG(status.st_mode))
		lba_size = status.st_blksize;
	else if (ioctl(block_fd, BLKSSZGET, &lba_size))
		err(1, "%s: BLKSSZGET", opt.device);
	io_fd = block_fd;
	if (engine == ENGINE_URING_CMD || engine == ENGINE_IOCTL) {
		io_fd = open_path(O_RDWR, "%s", opt.generic);
		nsid = pass_nsid(io_fd, opt.generic);
	}
}

static int parse_errno(const char *name)
{
	for (int number = 1; number < 134; number++)
		if (strerrorname_np(number) &&
		    !strcmp(name, strerrorname_np(number)))
			return number;
	errx(1, "unknown errno %s", name);
}

static void parse(int argc, char **argv)
{
	parse_options(argc, argv, "Usage: p2p_copy --device PATH [option...]",
		      options);
	if (!opt.device)
		errx(1, "--device is missing, see --help");
	engine = parse_choice("engine", opt.engine, engine_names);
	if (opt.expect)
		expected_errno = parse_errno(opt.expect);
}

/* @pages: of the buffer of one I/O, all of them in P2P memory so far */
static void put_host_page(unsigned char *pages)
{
	void *page = pages + (opt.host_page - 1) * PAGE;

	if (mmap(page, PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != page)
		err(1, "mapping host memory");
}

/* The last comes first from the provider. */
static void map_chunks(unsigned char *map, size_t size)
{
	int fd = open_path(O_RDWR, "%s", opt.p2p);
	size_t at = size;

	while (at) {
		size_t len = (at - 1) % opt.chunk + 1;

		at -= len;
		if (mmap(map + at, len, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, 0) != map + at)
			err(1, "%s", opt.p2p);
	}
	close(fd);
}

int main(int argc, char **argv)
{
	size_t stride, aligned_size;
	unsigned char *p2p, *expected, *before;
	struct slot *slots;

	parse(argc, argv);
	open_devices();
	if (!opt.block_size || opt.block_size % lba_size ||
	    opt.start % lba_size || opt.region < opt.block_size)
		errx(1,
		     "--block-size and --start must be multiples of %u, and a block fit into --region",
		     lba_size);
	if (opt.chunk % PAGE || (opt.chunk && !opt.p2p))
		errx(1, "--chunk must be whole pages, of --p2p");
	if (opt.host_page >
	    (opt.buffer_offset + opt.block_size + PAGE - 1) / PAGE)
		errx(1, "--host-page is no page of a buffer");
	if (!opt.depth ||
	    (opt.write && opt.depth * opt.block_size > opt.region))
		errx(1,
		     "--depth must be positive and depth x block size fit into --region");
	random_state = opt.seed;

	/* The guard before the data takes the end of a page of its own. */
	stride =
		(PAGE + opt.buffer_offset + opt.block_size + GUARD_LENGTH + PAGE - 1) &
		~(PAGE - 1);
	p2p = map_memory(opt.chunk ? NULL : opt.p2p, stride * opt.depth);
	if (opt.chunk)
		map_chunks(p2p, stride * opt.depth);
	buffer = (struct iovec){ p2p, stride * opt.depth };
	slots = calloc(opt.depth, sizeof(*slots));
	aligned_size = (opt.block_size + PAGE - 1) & ~(PAGE - 1);
	expected = aligned_alloc(PAGE, opt.depth * aligned_size);
	before = aligned_alloc(PAGE, opt.depth * aligned_size);
	scratch = aligned_alloc(PAGE, aligned_size);
	if (!slots || !expected || !before || !scratch)
		err(1, "memory");
	for (unsigned long i = 0; i < opt.depth; i++) {
		slots[i].data = p2p + i * stride + PAGE + opt.buffer_offset;
		if (opt.host_page)
			put_host_page(p2p + i * stride + PAGE);
		slots[i].expected = expected + i * aligned_size;
		slots[i].before = before + i * aligned_size;
	}

	for (unsigned long done = 0; done < opt.count;) {
		unsigned int batch = opt.count - done < opt.depth ?
					     opt.count - done :
					     opt.depth;

		for (unsigned int i = 0; i < batch; i++)
			prepare(&slots[i], done + i);
		mark("0");
		run(slots, batch);
		mark("1");
		for (unsigned int i = 0; i < batch; i++)
			check(&slots[i]);
		done += batch;
	}
	if (opt.expect && failures != (opt.failures ?: opt.count))
		errx(1, "%lu of %lu I/Os failed with %s, expected %lu",
		     failures, opt.count, opt.expect,
		     opt.failures ?: opt.count);
	if (opt.hold)
		pause();
	return 0;
}
