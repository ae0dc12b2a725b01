// SPDX-License-Identifier: GPL-2.0
/*
 * Keep reading into registered buffers until the provider of their P2P memory is gone, and see that they end as they
 * have to, and others and the ring live on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "data.h"
#include "options.h"

#define LENGTH (4 * PAGE)
#define DEPTH 16
#define SIZE (DEPTH * LENGTH)

enum { P2P, HOST, BOTH, NR_BUFFERS };

static struct {
	const char *device;
	const char *p2p;
	const char *gone;
	const char *fault;
	bool polled;
	bool still;
	bool alone;
	bool toggle;
} opt;

static struct iovec buffers[NR_BUFFERS];
static unsigned char *content;
static struct io_uring ring;
static int fd;

static void set_up(void)
{
	int ret;

	content = fill_drive(opt.device, SIZE, &fd);
	buffers[P2P] = (struct iovec){ map_memory(opt.p2p, SIZE), SIZE };
	buffers[HOST] = (struct iovec){ map_memory(NULL, SIZE), SIZE };
	/* P2P memory, but the first half of it */
	buffers[BOTH] = (struct iovec){ map_memory(opt.p2p, SIZE), SIZE };
	if (mmap(buffers[BOTH].iov_base, SIZE / 2, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		err(1, "mmap");

	ret = io_uring_queue_init(DEPTH, &ring,
				  opt.polled ? IORING_SETUP_IOPOLL : 0) ?:
	      io_uring_register_buffers(&ring, buffers, NR_BUFFERS);
	if (ret)
		errx(1, "registering: %s", strerror(-ret));
}

static void prepare(unsigned int index, size_t at)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	io_uring_prep_read_fixed(sqe, fd, buffers[index].iov_base + at, LENGTH,
				 at, index);
	sqe->user_data = index;
}

static void submit(unsigned int count)
{
	int ret = io_uring_submit(&ring);

	if (ret != (int)count)
		errx(1, "io_uring_submit: %d of %u", ret, count);
}

/* Of every buffer some: count times the next one */
static void submit_next(int count)
{
	static unsigned int next;

	for (int i = 0; i < count; i++, next++)
		prepare(next % NR_BUFFERS, next % DEPTH * LENGTH);
	submit(count);
}

/* The next completion; who is stopped in waiting for it waits again. */
static struct io_uring_cqe *wait_cqe(void)
{
	struct io_uring_cqe *cqe;
	int ret;

	do {
		ret = io_uring_wait_cqe(&ring, &cqe);
	} while (ret == -EINTR);
	if (ret)
		errx(1, "io_uring_wait_cqe: %s", strerror(-ret));
	return cqe;
}

struct counts {
	unsigned long done, gone;
};

static void reap(struct counts *counts, int count)
{
	for (int i = 0; i < count; i++) {
		struct io_uring_cqe *cqe = wait_cqe();
		int ret = cqe->res;

		if (ret == -ENODEV && cqe->user_data != HOST)
			counts->gone++;
		else if (ret == LENGTH)
			counts->done++;
		else if (!opt.alone && !(opt.toggle && ret == -EINVAL))
			errx(1, "read into buffer %llu: %d",
			     (unsigned long long)cqe->user_data, ret);
		io_uring_cqe_seen(&ring, cqe);
	}
}

static long one(unsigned int index, size_t at)
{
	struct io_uring_cqe *cqe;
	long ret;

	prepare(index, at);
	submit(1);
	cqe = wait_cqe();
	ret = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	return ret;
}

static void expect(const char *what, long result, long wanted)
{
	if (result != wanted)
		errx(1, "%s: %ld, expected %ld", what, result, wanted);
}

static atomic_bool stop;

static void *toggle_direct(void *argument)
{
	int flags = fcntl(fd, F_GETFL);

	while (!atomic_load(&stop)) {
		fcntl(fd, F_SETFL, flags & ~O_DIRECT);
		fcntl(fd, F_SETFL, flags);
	}
	return argument;
}

/* What is left when the provider has gone */
static void check(void)
{
	unsigned char *host = buffers[HOST].iov_base;
	struct iovec other = { map_memory(NULL, SIZE), SIZE };
	__u64 tag = 0;

	expect("P2P memory", one(P2P, 0), -ENODEV);
	expect("host memory beside P2P memory", one(BOTH, 0), -ENODEV);
	memset(host, 0, LENGTH);
	expect("host memory", one(HOST, 0), LENGTH);
	expect("its data", memcmp(host, content, LENGTH), 0);
	expect("update", io_uring_register_buffers_update_tag(&ring, P2P, &other,
							      &tag, 1), 1);
	buffers[P2P] = other;
	expect("updated", one(P2P, LENGTH), LENGTH);
	expect("its data",
	       memcmp(other.iov_base + LENGTH, content + LENGTH, LENGTH), 0);
	expect("unregister", io_uring_unregister_buffers(&ring), 0);
}

static int register_faulting(void)
{
	int file = open(opt.fault, O_RDONLY), ret;
	struct iovec iov = { .iov_len = 2 * PAGE };

	if (file < 0)
		err(1, "%s", opt.fault);
	iov.iov_base = map_memory(opt.p2p, iov.iov_len);
	if (mmap(iov.iov_base + PAGE, PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_FIXED, file, 0) == MAP_FAILED)
		err(1, "%s: mmap", opt.fault);
	ret = io_uring_queue_init(DEPTH, &ring, 0);
	if (ret)
		errx(1, "io_uring_queue_init: %s", strerror(-ret));
	puts("ready");
	ret = io_uring_register_buffers(&ring, &iov, 1);
	if (!ret)
		errx(1, "memory that is gone was registered");
	printf("registering: %s\n", strerror(-ret));
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option_entry options[] = {
		{ "device", "PATH", "block device, destroyed",
		  .text = &opt.device },
		{ "p2p", "PATH", "p2pmem/allocate of the provider",
		  .text = &opt.p2p },
		{ "gone", "PATH", "made when the provider is gone",
		  .text = &opt.gone },
		{ "fault", "PATH",
		  "register P2P memory with a page of this file behind it, which takes until the provider is gone",
		  .text = &opt.fault },
		{ "polled", NULL, "by a ring that polls", .flag = &opt.polled },
		{ "still", NULL,
		  "begin some reads and see them end when the provider has gone (default: go on reading)",
		  .flag = &opt.still },
		{ "toggle", NULL,
		  "take O_DIRECT from the drive's file and give it back all the time",
		  .flag = &opt.toggle },
		{ "alone", NULL, "the device itself goes away, too",
		  .flag = &opt.alone },
		{}
	};
	struct counts counts = {};
	pthread_t thread;

	parse_options(argc, argv,
		      "Usage: p2p_revoked --device PATH --p2p PATH [option...]\n\n"
		      "Says \"ready\" when the provider may go.",
		      options);
	if (!opt.device || !opt.p2p || !opt.gone)
		errx(1, "--device, --p2p and --gone are needed, see --help");
	setvbuf(stdout, NULL, _IONBF, 0);
	if (opt.fault)
		return register_faulting();
	set_up();
	if (opt.toggle && pthread_create(&thread, NULL, toggle_direct, NULL))
		errx(1, "pthread_create");
	submit_next(DEPTH);
	puts("ready");
	while (access(opt.gone, F_OK)) {
		if (opt.still) {
			nanosleep(&(struct timespec){ .tv_nsec = 10000000 },
				  NULL);
			continue;
		}
		/* so that there is always one in flight */
		reap(&counts, 1);
		submit_next(1);
	}
	/* The device must be done with memory that is gone. */
	io_uring_get_events(&ring);
	if (opt.still && !opt.polled && io_uring_cq_ready(&ring) != DEPTH)
		errx(1, "%u reads of %u have ended", io_uring_cq_ready(&ring),
		     DEPTH);
	reap(&counts, DEPTH);
	if (opt.toggle) {
		atomic_store(&stop, true);
		pthread_join(thread, NULL);
	}
	if (!opt.alone)
		check();
	printf("%lu reads done, %lu found the memory gone\n", counts.done,
	       counts.gone);
	return 0;
}
