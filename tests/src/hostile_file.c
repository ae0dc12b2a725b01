// SPDX-License-Identifier: GPL-2.0
/*
 * Direct I/O through a file system to and from P2P memory: holes, ends, parts of blocks, cached pages, and files
 * that are cut and processes that are killed in mid-I/O.
 */
#define _GNU_SOURCE
#include <liburing.h>
#include <sys/uio.h>

#include "trials.h"

#define SIZE (16 * PAGE)
#define BLOCK 512UL /* a part of a block of the file system */
#define ROUNDS 20

struct trial_args {
	bool write;
	bool cached; /* through the page cache, not directly */
	size_t length;
	off_t offset;
};

/* What is written to the file or is in it; what is found. */
static unsigned char *content, *found;
static int direct, cached;

/* A file of that size with random content, on the drive. */
static void set_up(size_t size)
{
	direct = open(opt.file, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600);
	cached = open(opt.file, O_RDWR);
	if (direct < 0 || cached < 0)
		err(1, "%s", opt.file);
	content = map_memory(NULL, SIZE);
	found = map_memory(NULL, SIZE);
	fill_random(content, SIZE);
	if (write(cached, content, size) != (ssize_t)size || fsync(cached))
		err(1, "%s", opt.file);
}

static unsigned char *map_p2p(void)
{
	unsigned char *map = map_memory(opt.p2p, SIZE);

	for (size_t i = 0; i < SIZE; i += sizeof(uint64_t))
		*(volatile uint64_t *)(map + i) = random_next();
	return map;
}

/* A result that stands if the bytes are as they should be. */
static long checked(long ret, const unsigned char *data,
		    const unsigned char *expected, size_t length)
{
	if (ret < 0)
		return ret;
	copy_words(found, data, length);
	return memcmp(found, expected, length) ? -EBADMSG : ret;
}

static long read_from(int fd, size_t length, size_t expect)
{
	unsigned char *map = map_p2p();

	return checked(RESULT(pread(fd, map, length, 0)), map, content, expect);
}

/* Write P2P memory, and find it in the file by the other way. */
static long write_to(int fd, size_t length, off_t offset)
{
	unsigned char *map = map_p2p();
	long ret = RESULT(pwrite(fd, map, length, offset));

	copy_words(content + offset, map, ret > 0 ? ret : 0);
	if (fsync(cached) ||
	    pread(fd == direct ? cached : direct, found, SIZE, 0) < 0)
		return -errno;
	return ret > 0 && memcmp(found, content, SIZE) ? -EBADMSG : ret;
}

static long plain(const struct trial_args *args)
{
	int fd;

	set_up(SIZE);
	fd = args->cached ? cached : direct;
	return args->write ? write_to(fd, SIZE / 2, SIZE / 2) :
			     read_from(fd, SIZE, SIZE);
}

static long uring(const struct trial_args *args)
{
	unsigned char *map = map_p2p();
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	int ret;

	set_up(SIZE);
	ret = io_uring_queue_init(1, &ring, 0);
	if (ret)
		return ret;
	io_uring_prep_rw(args->write ? IORING_OP_WRITE : IORING_OP_READ,
			 io_uring_get_sqe(&ring), direct, map, SIZE, 0);
	io_uring_submit(&ring);
	ret = io_uring_wait_cqe(&ring, &cqe) ?: cqe->res;
	if (ret > 0 && args->write &&
	    pread(direct, content, SIZE, 0) != (ssize_t)SIZE)
		return -errno;
	return checked(ret, map, content, SIZE);
}

/* Pages of host memory and P2P memory in turn. */
static long vector(const struct trial_args *args)
{
	unsigned char *map = map_p2p(), *host;
	struct iovec iov[SIZE / PAGE];
	long ret;

	set_up(SIZE);
	host = map_memory(NULL, SIZE);
	fill_random(host, SIZE);
	for (size_t i = 0; i < SIZE / PAGE; i++)
		iov[i] =
			(struct iovec){ (i % 2 ? host : map) + i * PAGE, PAGE };
	if (!args->write)
		ret = RESULT(preadv(direct, iov, SIZE / PAGE, 0));
	else
		ret = RESULT(pwritev(direct, iov, SIZE / PAGE, 0));
	if (args->write && pread(direct, content, SIZE, 0) != (ssize_t)SIZE)
		return -errno;
	for (size_t i = 0; i < SIZE / PAGE && ret > 0; i++)
		ret = checked(ret, iov[i].iov_base, content + i * PAGE, PAGE);
	return ret;
}

static long odd_start(void)
{
	set_up(SIZE);
	return RESULT(pread(direct, map_p2p() + 1, PAGE, 0));
}

static long odd_length(void)
{
	set_up(SIZE);
	return RESULT(pwrite(direct, map_p2p(), 100, 0));
}

/* PAGE is of the drive's; the kernel's may be larger. */
static long past_end(void)
{
	size_t page = sysconf(_SC_PAGESIZE);
	unsigned char *map;

	set_up(SIZE);
	map = map_memory(opt.p2p, 2 * page);
	if (mprotect(map + page, page, PROT_NONE))
		return -errno;
	return RESULT(pread(direct, map + page - PAGE, 2 * PAGE, 0));
}

static long hole(void)
{
	set_up(0);
	if (ftruncate(direct, SIZE))
		return -errno;
	memset(content, 0, SIZE);
	return read_from(direct, SIZE, SIZE);
}

static long into_hole(const struct trial_args *args)
{
	set_up(0);
	if (ftruncate(direct, SIZE))
		return -errno;
	memset(content, 0, SIZE);
	return write_to(direct, args->length, args->offset);
}

static long unwritten(void)
{
	set_up(0);
	if (posix_fallocate(direct, 0, SIZE))
		return -ENOSPC;
	memset(content, 0, SIZE);
	return write_to(direct, PAGE, 2 * PAGE);
}

static long end_of_file(void)
{
	set_up(PAGE + 1000);
	return read_from(direct, 4 * PAGE, PAGE + 1000);
}

static long append(void)
{
	struct stat status;
	long ret;

	set_up(PAGE);
	ret = RESULT(pwrite(direct, map_p2p(), PAGE, PAGE));
	if (ret < 0 || fstat(direct, &status))
		return ret;
	return status.st_size;
}

/* Direct reads see what is only in the page cache yet. */
static long dirty(void)
{
	set_up(SIZE);
	fill_random(content, SIZE);
	if (pwrite(cached, content, SIZE, 0) != (ssize_t)SIZE)
		return -errno;
	return read_from(direct, SIZE, SIZE);
}

/* Direct writes replace what is in the page cache. */
static long stale(void)
{
	set_up(SIZE);
	if (pread(cached, found, SIZE, 0) != (ssize_t)SIZE)
		return -errno;
	return write_to(direct, SIZE, 0);
}

/* Cutting the file waits for I/O in flight, which then went well. */
static long cut(void)
{
	unsigned char *map = map_p2p();
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	int ret;

	set_up(SIZE);
	ret = io_uring_queue_init(SIZE / PAGE, &ring, 0);
	if (ret)
		return ret;
	for (size_t at = 0; at < SIZE; at += PAGE)
		io_uring_prep_read(io_uring_get_sqe(&ring), direct, map + at,
				   PAGE, at);
	io_uring_submit(&ring);
	if (ftruncate(cached, 0))
		return -errno;
	for (size_t i = 0; i < SIZE / PAGE; i++) {
		ret = io_uring_wait_cqe(&ring, &cqe) ?: cqe->res;
		io_uring_cqe_seen(&ring, cqe);
		if (ret != PAGE)
			return ret ?: -EBADMSG;
	}
	return checked(0, map, content, SIZE);
}

static long kill_writers(void)
{
	long killed = 0;

	for (int i = 0; i < ROUNDS; i++) {
		pid_t pid = fork();
		int status;

		if (!pid) {
			unsigned char *map = map_p2p();

			set_up(0);
			for (off_t at = 0;; at = (at + SIZE) % (64 * SIZE))
				if (pwrite(direct, map, SIZE, at) < 0 &&
				    errno != EREMOTEIO)
					_exit(1);
		}
		usleep(20000 + random_next() % 20000);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		killed += WIFSIGNALED(status);
	}
	return killed;
}

static const struct trial trials[] = {
	{ "direct-read", "direct read", WITH(plain, .write = false),
	  .expect = SIZE, .reach = true },
	{ "direct-write", "direct write", WITH(plain, .write = true),
	  .expect = SIZE / 2, .reach = true },
	{ "uring-read", "direct read by io_uring", WITH(uring, .write = false),
	  .expect = SIZE, .reach = true },
	{ "uring-write", "direct write by io_uring", WITH(uring, .write = true),
	  .expect = SIZE, .reach = true },
	{ "vector-read", "direct read to pages of host and P2P memory",
	  WITH(vector, .write = false), .expect = SIZE, .reach = true,
	  .differs = true, .stock = -EIO },
	{ "vector-write", "direct write of pages of host and P2P memory",
	  WITH(vector, .write = true), .expect = SIZE, .reach = true,
	  .differs = true, .stock = -EIO },
	{ "odd-start", "direct read to an odd address", odd_start,
	  .expect = -EINVAL },
	{ "odd-length", "direct write of 100 bytes", odd_length,
	  .expect = -EINVAL },
	{ "past-end", "direct read past the mapping's end", past_end,
	  .expect = -EFAULT, .reach = true },
	{ "hole", "direct read of a hole", hole, .expect = SIZE },
	{ "into-hole", "direct write into a hole",
	  WITH(into_hole, .length = PAGE, .offset = 2 * PAGE), .expect = PAGE,
	  .reach = true },
	{ "unwritten", "direct write of what was but allocated", unwritten,
	  .expect = PAGE, .reach = true },
	/* the rest of a block of the file system reads as zeros */
	{ "part-of-block", "direct write of a part of a block",
	  WITH(into_hole, .length = BLOCK, .offset = 2 * PAGE + 3 * BLOCK),
	  .expect = BLOCK, .reach = true },
	{ "end-of-file", "direct read across the end of the file", end_of_file,
	  .expect = PAGE + 1000, .reach = true },
	{ "append", "direct write at the end of the file", append,
	  .expect = 2 * PAGE, .reach = true },
	{ "buffered-read", "read through the page cache",
	  WITH(plain, .write = false, .cached = true), .expect = SIZE },
	{ "buffered-write", "write through the page cache",
	  WITH(plain, .write = true, .cached = true), .expect = SIZE / 2 },
	{ "dirty", "direct read of dirty pages", dirty, .expect = SIZE,
	  .reach = true },
	{ "stale", "direct write of cached pages", stale, .expect = SIZE,
	  .reach = true },
	{ "cut", "cut the file while direct reads are in flight", cut,
	  .expect = 0, .reach = true },
	{ "kill-writers", "kill processes in the midst of direct writes",
	  kill_writers, .expect = ROUNDS },
	{}
};

int main(int argc, char **argv)
{
	return run_trials(argc, argv, trials);
}
