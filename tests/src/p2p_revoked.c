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
#include "dma_bufs.h"
#include "options.h"

#define LENGTH (4 * PAGE)
#define DEPTH 16
#define SIZE (DEPTH * LENGTH)
#define SLOTS 32

/* UNUSED is not read into while the provider is there */
enum { P2P, HOST, BOTH, UNUSED, NR_BUFFERS };

static struct {
	const char *device;
	const char *p2p;
	const char *beside;
	const char *heap;
	const char *gone;
	const char *fault;
	const char *stuck;
	bool polled;
	bool still;
	bool alone;
	bool toggle;
	bool churn;
} opt;

static struct iovec buffers[SLOTS];
static unsigned char *content;
static struct io_uring ring;
static int fd;

/* Of other memory than what is mapped there */
static void map_over(void *at, size_t length, int flags, int file)
{
	if (mmap(at, length, PROT_READ | PROT_WRITE, flags | MAP_FIXED, file,
		 0) == MAP_FAILED)
		err(1, "mmap");
}

/* Its reads have offsets for addresses, so that buffers[P2P] is empty. Nobody but the ring holds the dma-buf. */
static void register_heap_buffer(void)
{
	int dmabuf = heap_alloc(opt.heap, SIZE);
	long ret = dma_buf_register(&ring, P2P, dmabuf, fd);

	if (ret != 1)
		errx(1, "registering a dma-buf: %s", strerror(-ret));
	close(dmabuf);
}

static void set_up(void)
{
	int ret;

	content = fill_drive(opt.device, SIZE, &fd);
	for (int i = opt.heap ? HOST : P2P; i < NR_BUFFERS; i++)
		buffers[i] = (struct iovec){
			map_memory(i == HOST ? NULL : opt.p2p, SIZE), SIZE
		};
	/* P2P memory, but the first half of it, which has what is read there */
	map_over(buffers[BOTH].iov_base, SIZE / 2, MAP_PRIVATE | MAP_ANONYMOUS,
		 -1);
	memcpy(buffers[BOTH].iov_base, content, SIZE / 2);
	if (opt.beside)
		map_over(buffers[BOTH].iov_base + SIZE / 4 * 3, SIZE / 4,
			 MAP_SHARED, open_path(O_RDWR, "%s", opt.beside));

	ret = io_uring_queue_init(DEPTH, &ring,
				  opt.polled ? IORING_SETUP_IOPOLL : 0) ?:
	      io_uring_register_buffers(&ring, buffers, NR_BUFFERS);
	if (ret)
		errx(1, "registering: %s", strerror(-ret));
	if (opt.heap)
		register_heap_buffer();
}

/* @at is a multiple of LENGTH, and leaves room for the index in user_data. */
static void prepare(unsigned int index, size_t at)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	io_uring_prep_read_fixed(sqe, fd, buffers[index].iov_base + at, LENGTH,
				 at, index);
	sqe->user_data = at + index;
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
		prepare(next % UNUSED, next % DEPTH * LENGTH);
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
	unsigned long done, gone, again;
};

/* The dma-buf was taken away after the read was submitted, and before the drive had it. The next try says why. */
static bool retried(const struct io_uring_cqe *cqe)
{
	unsigned int index = cqe->user_data % LENGTH;

	if (!opt.heap || index != P2P || cqe->res != -EAGAIN)
		return false;
	prepare(index, cqe->user_data - index);
	submit(1);
	return true;
}

static void reap(struct counts *counts, int count)
{
	while (count) {
		struct io_uring_cqe *cqe = wait_cqe();
		unsigned int index = cqe->user_data % LENGTH;
		bool again = retried(cqe);
		int ret = cqe->res;

		if (again)
			counts->again++;
		else if (ret == -ENODEV && index != HOST)
			counts->gone++;
		else if (ret == LENGTH)
			counts->done++;
		else if (!opt.alone && !(opt.toggle && ret == -EINVAL))
			errx(1, "read into buffer %u: %d", index, ret);
		count -= !again;
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

static long update(unsigned int index, struct iovec iov)
{
	return io_uring_register_buffers_update_tag(&ring, index, &iov, NULL,
						    1);
}

/* What is left when the provider has gone */
static void check_reads(void)
{
	unsigned char *host = buffers[HOST].iov_base;

	expect("P2P memory", one(P2P, 0), -ENODEV);
	expect("P2P memory for the first time", one(UNUSED, 0), -ENODEV);
	expect("host memory beside P2P memory", one(BOTH, 0), -ENODEV);
	memset(host, 0, LENGTH);
	expect("host memory", one(HOST, 0), LENGTH);
	expect("its data", memcmp(host, content, LENGTH), 0);
}

/* A huge page in the place of a buffer is looked for in all the others. */
static void replace(void)
{
	unsigned char *map = map_huge_page();

	buffers[P2P] = (struct iovec){ map, HUGE };
	expect("update", update(P2P, buffers[P2P]), 1);
	if (opt.alone)
		return;
	expect("updated", one(P2P, LENGTH), LENGTH);
	expect("its data", memcmp(map + LENGTH, content + LENGTH, LENGTH), 0);
}

/* The host memory of a buffer is still there, and nobody else's. */
static void unregister(void)
{
	expect("unregister", io_uring_unregister_buffers(&ring), 0);
	map_memory(NULL, SIZE);
	expect("data of host memory beside P2P memory",
	       memcmp(buffers[BOTH].iov_base, content, SIZE / 2), 0);
}

static int register_faulting(void)
{
	int file = open(opt.fault, O_RDONLY), ret;
	struct iovec iov = { .iov_len = 2 * PAGE };

	if (file < 0)
		err(1, "%s", opt.fault);
	iov.iov_base = map_memory(opt.p2p, iov.iov_len);
	map_over(iov.iov_base + PAGE, PAGE, MAP_PRIVATE, file);
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

/* The device takes no P2P memory, and so has no reason to wait for what is cached of it with some in its hands. */
static int read_stuck(void)
{
	int cached = open(opt.stuck, O_RDWR);
	char page[PAGE] = "";

	buffers[P2P] = (struct iovec){ map_memory(opt.p2p, LENGTH), LENGTH };
	fd = open(opt.stuck, O_RDONLY | O_DIRECT);
	if (cached < 0 || fd < 0 || write(cached, page, PAGE) != PAGE)
		err(1, "%s", opt.stuck);
	expect("queue", io_uring_queue_init(DEPTH, &ring, 0), 0);
	expect("register", io_uring_register_buffers(&ring, buffers, 1), 0);
	prepare(P2P, 0);
	submit(1);
	puts("ready");
	expect("read", wait_cqe()->res, -EREMOTEIO);
	/* it closes as soon as it has written the page */
	while (access(opt.gone, F_OK))
		usleep(10000);
	return 0;
}

/*
 * Empty slots and fill them again while the provider goes. It first takes its
 * memory out of processes, and no slot can be filled any more. Those that are left
 * are emptied as soon as I/O to them is stopped, before they are released.
 */
static int churn(void)
{
	unsigned char *memory;
	unsigned int i;
	long ret;

	fill_drive(opt.device, LENGTH, &fd);
	memory = map_memory(opt.p2p, LENGTH);
	ret = io_uring_queue_init(DEPTH, &ring, 0) ?:
	      io_uring_register_buffers_sparse(&ring, SLOTS);
	if (ret)
		errx(1, "registering: %s", strerror(-ret));
	for (i = 0; i < SLOTS; i++) {
		buffers[i] = (struct iovec){ memory, LENGTH };
		expect("filling", update(i, buffers[i]), 1);
	}
	puts("ready");
	for (i = 0;; i++) {
		expect("emptying", update(i % SLOTS, (struct iovec){}), 1);
		ret = update(i % SLOTS, buffers[0]);
		if (ret != 1)
			break;
	}
	/* not mapped any more, or mapped at the last moment */
	if (ret != -ENODEV)
		expect("filling again", ret, -EFAULT);
	do {
		ret = one((i + 1) % SLOTS, 0);
	} while (ret == LENGTH && access(opt.gone, F_OK));
	expect("unregister", io_uring_unregister_buffers(&ring), 0);
	expect("P2P memory", ret, -ENODEV);
	printf("%u slots were filled again\n", i);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option_entry options[] = {
		{ "device", "PATH", "block device, destroyed",
		  .text = &opt.device },
		{ "p2p", "PATH", "p2pmem/allocate of the provider",
		  .text = &opt.p2p },
		{ "beside", "PATH",
		  "p2pmem/allocate of a provider that goes next, for a quarter of a buffer",
		  .text = &opt.beside },
		{ "heap", "NAME", "its first buffer is a dma-buf of this heap",
		  .text = &opt.heap },
		{ "gone", "PATH", "made when the provider is gone",
		  .text = &opt.gone },
		{ "fault", "PATH",
		  "register P2P memory with a page of this file behind it, which takes until the provider is gone",
		  .text = &opt.fault },
		{ "stuck", "PATH",
		  "read from this block device, which writes nothing until the provider is gone",
		  .text = &opt.stuck },
		{ "polled", NULL, "by a ring that polls", .flag = &opt.polled },
		{ "still", NULL,
		  "begin some reads and see them end when the provider has gone (default: go on reading)",
		  .flag = &opt.still },
		{ "toggle", NULL,
		  "take O_DIRECT from the drive's file and give it back all the time",
		  .flag = &opt.toggle },
		{ "alone", NULL, "the device itself goes away, too",
		  .flag = &opt.alone },
		{ "churn", NULL,
		  "register and unregister all the time (default: read)",
		  .flag = &opt.churn },
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
	if (opt.stuck)
		return read_stuck();
	if (opt.churn)
		return churn();
	set_up();
	/* by a worker, which maps it: later reads are in flight once they are submitted */
	if (opt.heap)
		expect("dma-buf", one(P2P, 0), LENGTH);
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
		check_reads();
	replace();
	unregister();
	printf("%lu reads done, %lu found the memory gone, %lu were issued again\n",
	       counts.done, counts.gone, counts.again);
	return 0;
}
