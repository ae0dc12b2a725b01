// SPDX-License-Identifier: GPL-2.0
/*
 * dma-bufs as registered buffers, used in wrong ways, by exporters that behave badly, and with files and requests
 * that cannot have them. Zero-copy sends are not among these: the lab's kernels have no sockets for them. What refuses
 * them is what refuses commands passed through.
 */
#define _GNU_SOURCE
#include <sys/resource.h>
#include <time.h>

#include "dma_bufs.h"
#include "passthrough.h"
#include "rings.h"
#include "trials.h"

#define SIZE (64 * PAGE)
#define LENGTH (16 * (long)PAGE)
#define ROUNDS 20
#define DEPTH 16
/* io_uring has a vector for each GiB. */
#define GIB (1UL << 30)
#define LARGE (GIB + 2 * HUGE)
/* The drive's time-out is ten seconds in some places. */
#define NO_TIMEOUT_SECONDS 8
/* whom nothing else in the lab runs as */
#define LIMITED_USER 64000

struct trial_args {
	unsigned int behaviour; /* of the exporter */
	unsigned int ring_flags;
	/* to register, without the file descriptors that are 0 here */
	struct regbuf_desc desc;
	int flags; /* to open with: the dma-buf, or the drive once more */
	/* the I/O */
	bool write;
	uint64_t at;
	unsigned int length;
};

static struct io_uring ring;
static unsigned char *content;
static int fd, exporter, dmabuf = -1;
static size_t dmabuf_size = SIZE;
static unsigned int ring_flags, slots = 2;

static void set_up(void)
{
	content = fill_drive(opt.device, SIZE, &fd);
	exporter = exporter_open();
	if (io_uring_queue_init(DEPTH, &ring, ring_flags) ||
	    io_uring_register_buffers_sparse(&ring, slots))
		errx(1, "io_uring");
}

static long set_up_as(unsigned int behaviour, unsigned int flags)
{
	set_up();
	dmabuf = exporter_create(exporter, dmabuf_size, behaviour, flags);
	return dma_buf_register(&ring, 0, dmabuf, fd);
}

static struct io_uring_sqe *prepare(int file, bool write, uint64_t at,
				    unsigned int length)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	io_uring_prep_rw(write ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED,
			 sqe, file, (void *)at, length, 0);
	sqe->buf_index = 0;
	return sqe;
}

static long one(int file, bool write, uint64_t at, unsigned int length)
{
	prepare(file, write, at, length);
	io_uring_submit(&ring);
	return reap(&ring);
}

/* What a read returned, if all that it says it read is in the dma-buf */
static long compared(long ret, uint64_t at)
{
	struct dma_memory m = { .fd = dmabuf, .exporter = exporter };
	unsigned char data[LENGTH];

	if (ret != LENGTH)
		return ret;
	dma_memory_copy(&m, data, at, LENGTH, false);
	return memcmp(data, content, LENGTH) ? -EBADMSG : ret;
}

static long read_at(uint64_t at)
{
	return compared(one(fd, false, at, LENGTH), at);
}

/* As it is after set_up_as(): the drive's data is where it belongs. */
static long read_all(const struct trial_args *args)
{
	long ret = set_up_as(args->behaviour, O_RDWR);

	return ret == 1 ? read_at(3 * PAGE) : ret;
}

/* Across the end of a vector, to the next one, and amid that */
static long large(void)
{
	static const uint64_t places[] = { GIB - 2 * PAGE, GIB,
					   GIB + 3 * PAGE };
	long ret;

	dmabuf_size = LARGE;
	ret = set_up_as(EXPORTER_REPEATS, O_RDWR);
	for (int i = 0; ret > 0 && i < 3; i++)
		ret = read_at(places[i]);
	return ret;
}

static void format_drive(const char *how)
{
	char command[256];

	snprintf(command, sizeof(command), "nvme format %s --force %s >/dev/null", opt.device, how);
	if (system(command))
		errx(1, "%s", command);
}

/* The kernel would make metadata of the data, which it cannot look at. */
static long formatted(void)
{
	long ret, registered;

	slots = 2;
	ret = set_up_as(0, O_RDWR);
	if (ret != 1)
		return ret;
	format_drive("--lbaf=1 --pi=1");
	ret = one(fd, false, 0, LENGTH);
	registered = dma_buf_register(&ring, 1, dmabuf, fd);
	format_drive("--lbaf=0 --pi=0");
	if (registered != ret)
		return registered < 0 ? registered : -EBUSY;
	return ret;
}

/* The exporter must not have to wait for somebody to poll, or for the drive's time-out. */
static long polled(void)
{
	time_t begin;
	long ret;

	ring_flags = IORING_SETUP_IOPOLL;
	ret = set_up_as(0, O_RDWR);
	if (ret == 1)
		ret = read_at(0);
	if (ret != LENGTH)
		return ret;
	/* or liburing would have submitting poll */
	ring.flags &= ~IORING_SETUP_IOPOLL;
	begin = time(NULL);
	prepare(fd, false, PAGE, LENGTH);
	io_uring_submit(&ring);
	if (ioctl(exporter, EXPORTER_MOVE, dmabuf))
		return -errno;
	if (time(NULL) - begin > NO_TIMEOUT_SECONDS)
		return -ETIMEDOUT;
	return compared(reap(&ring), PAGE);
}

/* A move takes the dma-buf from all slots, and each has it again with its own next read. */
static long many(void)
{
	unsigned char other[LENGTH] = {};
	long ret;

	/* CONFIG_DMA_API_DEBUG warns of more than 8 mappings of one place */
	slots = access("/sys/kernel/debug/dma-api", F_OK) ? 64 : 7;
	ret = set_up_as(0, O_RDWR);
	for (unsigned int i = 1; ret == 1 && i < slots; i++)
		ret = dma_buf_register(&ring, i, dmabuf, fd);
	if (ret != 1)
		return ret;
	for (unsigned int i = 0; i < 4 * slots; i++) {
		struct dma_memory m = { .fd = dmabuf, .exporter = exporter };
		bool moves = i % slots == 5;

		dma_memory_copy(&m, other, PAGE, LENGTH, true);
		prepare(fd, false, PAGE, LENGTH)->buf_index = i % slots;
		io_uring_submit(&ring);
		if (moves && ioctl(exporter, EXPORTER_MOVE, dmabuf))
			return -errno;
		ret = compared(reap(&ring), PAGE);
		if (ret != LENGTH && (!moves || ret != -EAGAIN))
			return ret;
	}
	return LENGTH;
}

/* Nobody tries for ever: I/O of a ring that polls fails, and later I/O goes on. */
static long slow(void)
{
	long ret;

	ring_flags = IORING_SETUP_IOPOLL;
	ret = set_up_as(EXPORTER_SLOW, O_RDWR);
	if (ret == 1)
		ret = read_at(0);
	if (ret != LENGTH)
		return ret;
	if (ioctl(exporter, EXPORTER_MOVE, dmabuf))
		return -errno;
	ret = one(fd, false, PAGE, LENGTH);
	if (ret != -ETIMEDOUT)
		return ret < 0 ? ret : -EBUSY;
	return read_at(PAGE);
}

/* An exporter that says so says nothing of who polls. */
static long again(const struct trial_args *args)
{
	long ret;

	ring_flags = args->ring_flags;
	ret = set_up_as(EXPORTER_AGAIN, O_RDWR);
	return ret == 1 ? one(fd, false, 0, LENGTH) : ret;
}

/* Blocks that follow each other, which the block layer would join to one request */
static long neighbours(void)
{
	long ret = set_up_as(0, O_RDWR);

	if (ret == 1)
		ret = one(fd, false, 0, PAGE);
	if (ret != (long)PAGE)
		return ret;
	for (unsigned long i = 0; i < 16; i++)
		prepare(fd, false, i * PAGE, PAGE)->off = i * PAGE;
	io_uring_submit(&ring);
	for (int i = 0; i < 16; i++) {
		ret = reap(&ring);
		if (ret != (long)PAGE)
			return ret;
	}
	return compared(LENGTH, 0);
}

static long described(const struct trial_args *args)
{
	struct regbuf_desc desc = args->desc;

	set_up();
	dmabuf = exporter_create(exporter, SIZE, 0, O_RDWR);
	desc.dmabuf_fd = desc.dmabuf_fd ?: dmabuf;
	desc.target_fd = desc.target_fd ?: fd;
	return regbuf_update(&ring, 0, &desc, 1, NULL);
}

static long of_a_file(void)
{
	struct trial_args args = { .desc.type = REGBUF_DMABUF };

	args.desc.target_fd = open("/dev/shm", O_TMPFILE | O_RDWR, 0600);
	return described(&args);
}

static long no_table(void)
{
	set_up();
	io_uring_unregister_buffers(&ring);
	return dma_buf_register(&ring, 0, exporter_create(exporter, SIZE, 0,
							  O_RDWR), fd);
}

static long beyond_table(void)
{
	set_up();
	return dma_buf_register(&ring, 2, exporter_create(exporter, SIZE, 0,
							  O_RDWR), fd);
}

/* Host memory by the same interface, and the slot emptied by it */
static long by_address(void)
{
	struct regbuf_desc descs[] = {
		{ .type = REGBUF_UADDR, .size = SIZE },
		{ .type = REGBUF_EMPTY },
	};
	unsigned char *host = map_memory(NULL, SIZE);
	long ret;

	set_up();
	descs[0].uaddr = (uintptr_t)host;
	ret = regbuf_update(&ring, 0, descs, 2, NULL);
	if (ret != 2)
		return ret;
	ret = one(fd, false, (uintptr_t)host, LENGTH);
	if (ret != LENGTH || memcmp(host, content, LENGTH))
		return ret < 0 ? ret : -EBADMSG;
	ret = regbuf_update(&ring, 0, &descs[1], 1, NULL);
	return ret == 1 ? one(fd, false, (uintptr_t)host, LENGTH) : ret;
}

/* Accounting for a huge page looks for it in all other buffers. */
static long beside_huge(void)
{
	struct regbuf_desc desc = { .type = REGBUF_UADDR, .size = HUGE };
	unsigned char *huge = map_huge_page();
	long ret = set_up_as(0, O_RDWR);

	desc.uaddr = (uintptr_t)huge;
	if (ret == 1)
		ret = regbuf_update(&ring, 1, &desc, 1, NULL);
	if (ret != 1)
		return ret;
	prepare(fd, false, desc.uaddr, LENGTH)->buf_index = 1;
	io_uring_submit(&ring);
	ret = reap(&ring);
	if (ret != LENGTH || memcmp(huge, content, LENGTH))
		return ret < 0 ? ret : -EBADMSG;
	return read_at(0);
}

static long replaced(void)
{
	struct regbuf_desc empty = { .type = REGBUF_EMPTY };
	long ret = set_up_as(0, O_RDWR);

	if (ret == 1)
		ret = one(fd, false, 0, LENGTH);
	if (ret == LENGTH)
		ret = regbuf_update(&ring, 0, &empty, 1, NULL);
	return ret == 1 ? one(fd, false, 0, LENGTH) : ret;
}

/* To each part of the dma-buf several times, the same data */
static void read_everywhere(void)
{
	for (int i = 0; i < DEPTH; i++)
		prepare(fd, false, i * LENGTH % SIZE, LENGTH)->user_data = 0;
	if (io_uring_submit(&ring) != DEPTH)
		errx(1, "io_uring_submit");
}

/* The same dma-buf again and again, with tags that count down. Then the slot is empty: only the final read may complete. */
static long tags(void)
{
	struct regbuf_desc desc = { .type = REGBUF_DMABUF };
	uint64_t tag = ROUNDS;
	long ret;

	set_up();
	dmabuf = exporter_create(exporter, SIZE, 0, O_RDWR);
	desc.dmabuf_fd = dmabuf;
	desc.target_fd = fd;
	ret = regbuf_update(&ring, 0, &desc, 1, &tag);
	while (ret == 1 && tag) {
		uint64_t next = tag - 1;

		if (!next)
			desc = (struct regbuf_desc){ .type = REGBUF_EMPTY };
		read_everywhere();
		ret = regbuf_update(&ring, 0, &desc, 1, &next);
		if (ret == 1 && (reap_tagged(&ring, DEPTH, LENGTH, tag) ||
				 compared(LENGTH, SIZE - LENGTH) != LENGTH))
			return -EBADMSG;
		tag = next;
	}
	if (ret == 1)
		ret = one(fd, false, 0, LENGTH);
	return ret == -EFAULT && io_uring_cq_ready(&ring) ? -EEXIST : ret;
}

static long transfer(const struct trial_args *args)
{
	return set_up_as(0, args->flags) == 1 ?
		       one(fd, args->write, args->at, args->length) :
		       -EBADMSG;
}

static long read_reopened(const struct trial_args *args)
{
	return set_up_as(0, O_RDWR) == 1 ?
		       one(open(opt.device, args->flags), false, 0, LENGTH) :
		       -EBADMSG;
}

static long other_file(void)
{
	int other = open("/dev/shm", O_TMPFILE | O_RDWR | O_DIRECT, 0600);

	return set_up_as(0, O_RDWR) == 1 ? one(other, true, 0, LENGTH) :
					   -EBADMSG;
}

static long passthrough(void)
{
	const char *number = strstr(opt.device, "nvme") + strlen("nvme");
	struct nvme_uring_cmd cmd = {
		.opcode = NVME_CMD_READ,
		.addr = PAGE, /* 0 would be no data */
		.data_len = PAGE,
		.cdw12 = PAGE / 512 - 1,
	};
	struct io_uring commands;
	struct io_uring_sqe *sqe;
	char generic[64];
	long ret;
	int file;

	set_up();
	snprintf(generic, sizeof(generic), "/dev/ng%s", number);
	file = open(generic, O_RDWR);
	if (file < 0)
		err(1, "%s", generic);
	pass_ring_init(&commands, 4, 0);
	ret = io_uring_register_buffers_sparse(&commands, 1);
	if (ret)
		return ret;
	ret = dma_buf_register(&commands, 0,
			       exporter_create(exporter, SIZE, 0, O_RDWR), fd);
	if (ret != 1)
		return ret;
	cmd.nsid = pass_nsid(file, generic);
	sqe = pass_sqe(&commands, file, NVME_URING_CMD_IO, &cmd);
	sqe->uring_cmd_flags = IORING_URING_CMD_FIXED;
	sqe->buf_index = 0;
	return pass_wait(&commands);
}

/* A clone has an empty slot in its place. */
static long cloned(void)
{
	struct io_uring other = {};
	struct io_uring_sqe *sqe;
	long ret;

	if (set_up_as(0, O_RDWR) != 1)
		return -EBADMSG;
	if (io_uring_queue_init(4, &other, 0))
		return -EBADMSG;
	ret = clone_buffers(&other, &ring);
	if (ret)
		return ret;
	sqe = io_uring_get_sqe(&other);
	io_uring_prep_read_fixed(sqe, fd, NULL, LENGTH, 0, 0);
	io_uring_submit(&other);
	return reap(&other);
}

/* The ring, the dma-buf and the drive are closed with I/O under way, in processes that end. */
static long leave(void)
{
	struct exporter_counts counts;

	set_up();
	for (int i = 0; i < ROUNDS; i++) {
		pid_t pid = fork();

		if (!pid) {
			if (set_up_as(0, O_RDWR) != 1)
				_exit(1);
			for (int j = 0; j < 8; j++)
				prepare(fd, false, 0, LENGTH);
			io_uring_submit(&ring);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
	}
	for (int i = 0; i < 6000; i++) {
		counts = exporter_counts(exporter);
		if (!counts.attached && !counts.mapped)
			return counts.stale ? -EBADMSG : 0;
		usleep(10000);
	}
	return -ETIMEDOUT;
}

/* One dma-buf for two rings */
static long two_rings(void)
{
	struct io_uring other = {};
	struct io_uring_sqe *sqe;
	long ret = set_up_as(EXPORTER_SCATTERED, O_RDWR);

	if (ret != 1 || io_uring_queue_init(4, &other, 0) ||
	    io_uring_register_buffers_sparse(&other, 1) ||
	    dma_buf_register(&other, 0, dmabuf, fd) != 1)
		return -EBADMSG;
	ret = one(fd, false, 0, LENGTH);
	if (ret != LENGTH)
		return ret;
	io_uring_queue_exit(&ring);
	sqe = io_uring_get_sqe(&other);
	io_uring_prep_read_fixed(sqe, fd, NULL, LENGTH, 0, 0);
	io_uring_submit(&other);
	return reap(&other);
}

/* Who has no right to lock more memory cannot have it mapped in more slots, but in another one. */
static long limit(void)
{
	struct rlimit once = { SIZE, SIZE };
	struct regbuf_desc empty = { .type = REGBUF_EMPTY };
	long ret;

	content = fill_drive(opt.device, SIZE, &fd);
	exporter = exporter_open();
	dmabuf = exporter_create(exporter, SIZE, 0, O_RDWR);
	if (setrlimit(RLIMIT_MEMLOCK, &once) || setgid(LIMITED_USER) ||
	    setuid(LIMITED_USER))
		err(1, "setuid");
	ret = io_uring_queue_init(DEPTH, &ring, 0) ?:
	      io_uring_register_buffers_sparse(&ring, 2) ?:
	      dma_buf_register(&ring, 1, dmabuf, fd);
	if (ret != 1)
		return ret;
	ret = dma_buf_register(&ring, 0, dmabuf, fd);
	if (ret != -ENOMEM)
		return ret < 0 ? ret : -ERANGE;
	ret = regbuf_update(&ring, 1, &empty, 1, NULL);
	if (ret == 1)
		ret = dma_buf_register(&ring, 0, dmabuf, fd);
	return ret == 1 ? read_at(PAGE) : ret;
}

/* Where the exporter gives out the CPU's addresses, only an IOMMU that translates can tell. */
static const struct trial trials[] = {
	{ "read", "read into it", WITH(read_all, .behaviour = 0),
	  .expect = LENGTH },
	{ "scattered", "read into single pages",
	  WITH(read_all, .behaviour = EXPORTER_SCATTERED), .expect = LENGTH },
	{ "large", "read where io_uring goes from one vector to the next",
	  large, .expect = LENGTH },
	{ "formatted", "read and register after the drive was formatted with metadata",
	  formatted, .expect = -EOPNOTSUPP },
	{ "polled", "read into it by a ring that polls, and move it meanwhile",
	  polled, .expect = LENGTH },
	{ "many", "register it in many slots, and move it", many,
	  .expect = LENGTH },
	{ "slow", "read into it by a ring that polls, while it is copied for more than ten seconds",
	  slow, .expect = LENGTH },
	{ "again", "read into what its exporter says EAGAIN of",
	  WITH(again, .ring_flags = 0), .expect = -EAGAIN },
	{ "again-polled", "the same by a ring that polls",
	  WITH(again, .ring_flags = IORING_SETUP_IOPOLL), .expect = -ETIMEDOUT },
	{ "neighbours", "read blocks that could be merged", neighbours,
	  .expect = LENGTH },
	{ "two-rings", "register it twice and close one ring", two_rings,
	  .expect = LENGTH },
	{ "same-file", "read by another open of the same device",
	  WITH(read_reopened, .flags = O_RDWR | O_DIRECT), .expect = LENGTH },
	{ "limit", "register it in more slots than RLIMIT_MEMLOCK allows",
	  limit, .expect = LENGTH },
	{ "leave", "end with reads in flight", leave, .expect = 0 },
	{ "by-address", "host memory by a descriptor, then none", by_address,
	  .expect = -EFAULT },
	{ "beside-huge", "register a huge page beside it", beside_huge,
	  .expect = LENGTH },
	{ "replaced", "empty its slot", replaced, .expect = -EFAULT },
	{ "tags", "replace and empty its slot with reads in flight: one completion of its tag, behind theirs",
	  tags, .expect = -EFAULT },
	{ "cloned", "read by a clone of the buffers", cloned,
	  .expect = -EFAULT },
	{ "size", "register with a size",
	  WITH(described, .desc = { .type = REGBUF_DMABUF, .size = SIZE }),
	  .expect = -EINVAL },
	{ "flags", "register with flags",
	  WITH(described, .desc = { .type = REGBUF_DMABUF, .flags = 1 }),
	  .expect = -EINVAL },
	{ "more", "register with what is reserved",
	  WITH(described, .desc = { .type = REGBUF_DMABUF, .reserved[5] = 1 }),
	  .expect = -EINVAL },
	{ "kind", "register what is of no kind",
	  WITH(described, .desc = { .type = 3 }), .expect = -EINVAL },
	{ "no-dma-buf", "register what is no dma-buf",
	  WITH(described, .desc = { .type = REGBUF_DMABUF, .dmabuf_fd = 1 }),
	  .expect = -EINVAL },
	{ "closed", "register what is not open",
	  WITH(described, .desc = { .type = REGBUF_DMABUF, .dmabuf_fd = 1000 }),
	  .expect = -EBADF },
	{ "closed-target", "register for what is not open",
	  WITH(described, .desc = { .type = REGBUF_DMABUF, .target_fd = 1000 }),
	  .expect = -EBADF },
	{ "of-a-file", "register for a file of no drive", of_a_file,
	  .expect = -EOPNOTSUPP },
	{ "no-table", "register without a table", no_table, .expect = -ENXIO },
	{ "beyond", "register beyond the table", beyond_table,
	  .expect = -EINVAL },
	{ "outside", "read beyond its end",
	  WITH(transfer, .flags = O_RDWR, .at = SIZE - LENGTH + 512,
	       .length = LENGTH),
	  .expect = -EFAULT },
	{ "far-outside", "read at an offset that overflows",
	  WITH(transfer, .flags = O_RDWR, .at = -PAGE, .length = LENGTH),
	  .expect = -EFAULT },
	{ "misaligned", "read to where the drive cannot",
	  WITH(transfer, .flags = O_RDWR, .at = 2, .length = 512),
	  .expect = -EINVAL },
	{ "buffered", "read through the page cache",
	  WITH(read_reopened, .flags = O_RDWR), .expect = -EINVAL },
	{ "other-file", "write it to another file", other_file,
	  .expect = -EINVAL },
	{ "read-only", "read into what is open for reading",
	  WITH(transfer, .flags = O_RDONLY, .length = LENGTH),
	  .expect = -EACCES },
	{ "only-read", "write what is open for reading",
	  WITH(transfer, .flags = O_RDONLY, .write = true, .length = LENGTH),
	  .expect = LENGTH },
	{ "only-written", "write what is open for writing",
	  WITH(transfer, .flags = O_WRONLY, .write = true, .length = LENGTH),
	  .expect = -EACCES },
	{ "passthrough", "read into it by a command passed through",
	  passthrough, .expect = -EOPNOTSUPP },
	{ "refuses-attach", "an exporter that refuses to attach",
	  WITH(read_all, .behaviour = EXPORTER_REFUSES_ATTACH),
	  .expect = -EBUSY },
	{ "refuses-map", "an exporter that refuses to map",
	  WITH(read_all, .behaviour = EXPORTER_REFUSES_MAP),
	  .expect = -ENOSPC },
	{ "short", "an exporter that gives out less",
	  WITH(read_all, .behaviour = EXPORTER_SHORT), .expect = -EINVAL },
	{ "unaligned", "an exporter whose first byte no drive can begin at",
	  WITH(read_all, .behaviour = EXPORTER_UNALIGNED), .expect = -EINVAL },
	{ "uneven", "an exporter with a range that PRPs cannot go on in",
	  WITH(read_all, .behaviour = EXPORTER_SCATTERED | EXPORTER_UNEVEN),
	  .expect = -EINVAL },
	{ "physical", "an exporter that gives out the CPU's addresses",
	  WITH(read_all, .behaviour = EXPORTER_PHYSICAL), .expect = LENGTH,
	  .reach = true },
	{}
};

int main(int argc, char **argv)
{
	return run_trials(argc, argv, trials);
}
