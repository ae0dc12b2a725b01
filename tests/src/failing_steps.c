// SPDX-License-Identifier: GPL-2.0
/*
 * Fail the first, second, ... allocation of memory that registering a buffer makes, and that the first and the next
 * read and write of it make, in the thread that submits them and in a worker, which maps the buffer. What fails says
 * so, and is right when it is tried again.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>

#include "data.h"
#include "dma_bufs.h"
#include "options.h"

/* No step makes as many allocations. */
#define MAX_NTH 2000

static struct {
	const char *device;
	const char *p2p;
	const char *dma_buf;
	unsigned long size, run;
} opt = {
	.size = 256 << 10,
};

static const struct option_entry options[] = {
	{ "device", "PATH", "block device; its first --size bytes are destroyed",
	  .text = &opt.device },
	{ "p2p", "PATH", "p2pmem/allocate of the memory's provider",
	  .text = &opt.p2p },
	{ "run", "BYTES",
	  "of P2P memory, and as many of host memory, in turns; 0: all is of one kind",
	  .number = &opt.run },
	{ "dma-buf", "KIND",
	  "the buffer is one: udmabuf, moving, scattered, wandering, or the name of a heap",
	  .text = &opt.dma_buf },
	{ "size", "BYTES", "of the buffer", .number = &opt.size },
	{}
};

static struct io_uring ring;
static int fd;
/* The kernel's own count-down of a thread, of CONFIG_FAULT_INJECTION: of the one that steps are to fail in */
static int fail_nth;
static bool by_worker;
static unsigned char *content, *seen;
/* The buffer; only one of them is there. */
static unsigned char *buffer;
static struct dma_memory memory;

static void map_buffer(void)
{
	int p2p;

	if (opt.dma_buf) {
		memory = dma_memory_create(opt.dma_buf, opt.size);
		return;
	}
	buffer = map_memory(opt.run ? NULL : opt.p2p, opt.size);
	if (!opt.run)
		return;
	p2p = open(opt.p2p, O_RDWR);
	if (p2p < 0)
		err(1, "%s", opt.p2p);
	for (size_t at = 0; at < opt.size; at += 2 * opt.run)
		if (mmap(buffer + at, opt.run, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, p2p, 0) == MAP_FAILED)
			err(1, "%s: mapping %lu bytes", opt.p2p, opt.run);
	close(p2p);
}

static void unmap_buffer(void)
{
	if (!opt.dma_buf) {
		munmap(buffer, opt.size);
		return;
	}
	if (memory.map)
		munmap(memory.map, opt.size);
	if (memory.exporter >= 0)
		close(memory.exporter);
	close(memory.fd);
}

static void load_buffer(unsigned char *to)
{
	if (opt.dma_buf)
		dma_memory_copy(&memory, to, 0, opt.size, false);
	else
		copy_words(to, buffer, opt.size);
}

static void store_buffer(unsigned char *from)
{
	if (opt.dma_buf)
		dma_memory_copy(&memory, from, 0, opt.size, true);
	else
		copy_words(buffer, from, opt.size);
}

static long register_buffer(void)
{
	struct iovec iov = { buffer, opt.size };
	long ret;

	if (opt.dma_buf)
		ret = dma_buf_register(&ring, 0, memory.fd, fd);
	else
		ret = io_uring_register_buffers_update_tag(&ring, 0, &iov, NULL,
							   1);
	return ret < 0 ? ret : 0;
}

static void unregister_buffer(void)
{
	struct iovec iov = {};

	if (io_uring_register_buffers_update_tag(&ring, 0, &iov, NULL, 1) != 1)
		errx(1, "emptying a slot of buffers");
}

/* Returns what the completion says, or why there was none. */
static long transfer(bool write)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	struct io_uring_cqe *cqe;
	long ret;

	if (write)
		io_uring_prep_write_fixed(sqe, fd, buffer, opt.size, 0, 0);
	else
		io_uring_prep_read_fixed(sqe, fd, buffer, opt.size, 0, 0);
	if (by_worker)
		sqe->flags |= IOSQE_ASYNC;
	/* What could not be submitted stays in the queue. */
	do
		ret = io_uring_submit(&ring);
	while (ret == -EAGAIN || ret == -ENOMEM);
	if (ret != 1)
		errx(1, "io_uring_submit: %ld", ret);
	if (io_uring_wait_cqe(&ring, &cqe))
		errx(1, "io_uring_wait_cqe");
	ret = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	if (ret > 0 && ret != (long)opt.size)
		errx(1, "%ld of %lu bytes", ret, opt.size);
	return ret < 0 ? ret : 0;
}

static long read_buffer(void)
{
	return transfer(false);
}

static long write_buffer(void)
{
	return transfer(true);
}

static void set_fail_nth(unsigned int nth)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%u", nth);

	if (pwrite(fail_nth, text, length, 0) != length)
		err(1, "fail-nth");
}

/* The ring's only worker, which has just done something, and waits for more. */
static int open_worker(void)
{
	DIR *tasks = opendir("/proc/self/task");
	const struct dirent *task;
	char path[300], name[16];
	int worker = -1;

	while ((task = readdir(tasks))) {
		FILE *comm;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm",
			 task->d_name);
		comm = fopen(path, "r");
		if (!comm)
			continue;
		if (fgets(name, sizeof(name), comm) &&
		    !strncmp(name, "iou-wrk-", 8))
			worker = open_path(O_RDWR,
					   "/proc/self/task/%s/fail-nth",
					   task->d_name);
		fclose(comm);
	}
	closedir(tasks);
	if (worker < 0)
		errx(1, "the ring has no worker");
	return worker;
}

/* Have the ring's one worker come up, or stay: it goes by itself after some seconds without work. */
static void wake_worker(void)
{
	unsigned char *page = map_memory(NULL, PAGE);
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	struct io_uring_cqe *cqe;

	io_uring_prep_read(sqe, fd, page, PAGE, 0);
	sqe->flags |= IOSQE_ASYNC;
	if (io_uring_submit(&ring) != 1 || io_uring_wait_cqe(&ring, &cqe) ||
	    cqe->res != PAGE)
		errx(1, "a read by a worker");
	io_uring_cqe_seen(&ring, cqe);
	munmap(page, PAGE);
}

/* Run a step whose nth allocation fails. Returns whether it makes as many. */
static bool fails(long (*step)(void), unsigned int nth, long *result)
{
	char text[16] = "";

	if (by_worker)
		wake_worker();
	fail_nth = by_worker ? open_worker() :
			       open_path(O_RDWR, "/proc/thread-self/fail-nth");
	set_fail_nth(nth);
	*result = step();
	if (pread(fail_nth, text, sizeof(text) - 1, 0) <= 0)
		err(1, "fail-nth");
	set_fail_nth(0);
	close(fail_nth);
	return !atoi(text);
}

/* After a failure or without one: what is registered is right. */
static void check_data(const char *name, unsigned int nth)
{
	memset(seen, 0x5a, opt.size);
	store_buffer(seen);
	if (read_buffer())
		errx(1, "%s, allocation %u: reading after it", name, nth);
	load_buffer(seen);
	if (memcmp(seen, content, opt.size))
		errx(1, "%s, allocation %u: wrong data after it", name, nth);
	fill_random(content, opt.size);
	store_buffer(content);
	if (write_buffer())
		errx(1, "%s, allocation %u: writing after it", name, nth);
	if (pread(fd, seen, opt.size, 0) != (ssize_t)opt.size)
		err(1, "%s", opt.device);
	if (memcmp(seen, content, opt.size))
		errx(1, "%s, allocation %u: the drive has wrong data after it",
		     name, nth);
}

/*
 * before: what is done without failures first, each time in a buffer that was never used.
 */
static void try_step(const char *name, long (*step)(void),
		     long (*before)(void))
{
	unsigned int nth, errors = 0;
	bool failed = true;
	long ret;

	for (nth = 1; failed; nth++) {
		if (nth == MAX_NTH)
			errx(1, "%s: no end of allocations", name);
		map_buffer();
		if (step != register_buffer && register_buffer())
			errx(1, "%s: registering", name);
		if (before && before())
			errx(1, "%s: what comes before", name);
		if (step == write_buffer)
			store_buffer(content);
		failed = fails(step, nth, &ret);
		if (ret && (!failed || ret != -ENOMEM))
			errx(1, "%s, allocation %u: %s", name, nth,
			     strerror(-ret));
		errors += !!ret;
		if (ret && step == register_buffer && register_buffer())
			errx(1, "%s, allocation %u: registering after it", name,
			     nth);
		check_data(name, nth);
		unregister_buffer();
		unmap_buffer();
	}
	printf("%s: %u allocations, %u errors\n", name, nth - 2, errors);
}

int main(int argc, char **argv)
{
	unsigned int workers[2] = { 1, 1 };
	int ret;

	parse_options(argc, argv,
		      "failing_steps --device PATH [option...]\n\n"
		      "Fails each allocation of registering a buffer and of its I/O in turn.",
		      options);
	if (!opt.device || (opt.run && !opt.p2p) || (opt.dma_buf && opt.p2p))
		errx(1, "see --help");
	content = fill_drive(opt.device, opt.size, &fd);
	seen = map_memory(NULL, opt.size);
	ret = io_uring_queue_init(4, &ring, 0) ?:
	      io_uring_register_buffers_sparse(&ring, 1) ?:
	      io_uring_register_iowq_max_workers(&ring, workers);
	if (ret)
		errx(1, "a ring with buffers and a worker: %s", strerror(-ret));
	try_step("registering", register_buffer, NULL);
	try_step("first read", read_buffer, NULL);
	try_step("first write", write_buffer, NULL);
	try_step("next read", read_buffer, read_buffer);
	by_worker = true;
	try_step("mapping for a read", read_buffer, NULL);
	try_step("mapping for a write", write_buffer, NULL);
	return 0;
}
