// SPDX-License-Identifier: GPL-2.0
/*
 * Memory, rights, files and processes that go away while I/O to P2P memory is in flight.
 */
#define _GNU_SOURCE
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "trials.h"

/* Small enough for one command everywhere: what is split may be put off, and then look for its pages late. */
#define LENGTH (16 * PAGE)
#define DEPTH 32
#define SIZE (DEPTH * LENGTH)
#define MAX_ROUNDS 2000
#define ROUNDS 30

struct trial_args {
	unsigned char *(*act)(unsigned char *map); /* with reads in flight */
	void (*child)(unsigned char *map);
	bool killed; /* the child, and does not end by itself */
	long (*read)(unsigned char *map);
};

static unsigned char *content;
static struct io_uring ring;
static int fd;

static void set_up_ring(void)
{
	int ret = io_uring_queue_init(DEPTH, &ring, 0);

	if (ret)
		errx(1, "io_uring_queue_init: %s", strerror(-ret));
}

static void submit_reads(unsigned char *map)
{
	for (size_t at = 0; at < SIZE; at += LENGTH)
		io_uring_prep_read(io_uring_get_sqe(&ring), fd, map + at,
				   LENGTH, at);
	if (io_uring_submit(&ring) != DEPTH)
		errx(1, "io_uring_submit");
}

static long reap_reads(void)
{
	struct io_uring_cqe *cqe;

	for (int i = 0; i < DEPTH; i++) {
		int ret = io_uring_wait_cqe(&ring, &cqe) ?: cqe->res;

		io_uring_cqe_seen(&ring, cqe);
		if (ret != LENGTH)
			return ret < 0 ? ret : -EBADMSG;
	}
	return 0;
}

static bool holds(const unsigned char *map, uint64_t word)
{
	for (size_t at = 0; at < SIZE; at += 512)
		if (*(const volatile uint64_t *)(map + at) != word)
			return false;
	return true;
}

/*
 * Read to P2P memory and act while that is in flight, until this was so once. Every read has to end well, for
 * its pages are pinned; act() returns memory that none of them may have come to, or NULL.
 */
static long while_in_flight(const struct trial_args *args)
{
	bool was_in_flight = false;
	long ret = 0;

	content = fill_drive(opt.device, SIZE, &fd);
	set_up_ring();
	for (int i = 0; i < MAX_ROUNDS && !was_in_flight && !ret; i++) {
		unsigned char *map = map_memory(opt.p2p, SIZE);
		unsigned char *other;
		uint64_t word;

		submit_reads(map);
		other = args->act(map);
		word = other ? *(volatile uint64_t *)other : 0;
		was_in_flight = io_uring_cq_ready(&ring) < DEPTH;
		ret = reap_reads();
		if (!ret && other && !holds(other, word))
			ret = -EBADMSG;
		munmap(map, SIZE);
		if (other && other != map)
			munmap(other, SIZE);
	}
	return ret ?: was_in_flight;
}

static unsigned char *act_unmap(unsigned char *map)
{
	munmap(map, SIZE);
	return NULL;
}

static unsigned char *act_dontneed(unsigned char *map)
{
	madvise(map, SIZE, MADV_DONTNEED);
	return NULL;
}

static unsigned char *act_protect(unsigned char *map)
{
	mprotect(map, SIZE, PROT_NONE);
	return NULL;
}

static unsigned char *act_replace(unsigned char *map)
{
	return mmap(map, SIZE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

/* Who maps P2P memory next must not get pages that the drive still writes to. */
static unsigned char *act_reuse(unsigned char *map)
{
	munmap(map, SIZE);
	map = map_memory(opt.p2p, SIZE);
	for (size_t at = 0; at < SIZE; at += 512)
		*(volatile uint64_t *)(map + at) = 0x5eed5eed5eed5eed;
	return map;
}

static unsigned char *act_fork(unsigned char *map)
{
	pid_t pid = fork();

	if (!pid) {
		munmap(map, SIZE);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	return NULL;
}

static unsigned char *act_close(unsigned char *map)
{
	unsigned int lba_size;
	size_t align;

	(void)map;
	close(fd);
	fd = open_drive(opt.device, &lba_size, &align);
	return NULL;
}

/* Processes that end in the midst of I/O; how many did so as they had to. */
static long many(const struct trial_args *args)
{
	long count = 0;

	content = fill_drive(opt.device, SIZE, &fd);
	for (int i = 0; i < ROUNDS; i++) {
		pid_t pid = fork();
		int status;

		if (!pid) {
			set_up_ring();
			args->child(map_memory(opt.p2p, SIZE));
			_exit(1);
		}
		if (args->killed) {
			usleep(10000 + random_next() % 30000);
			kill(pid, SIGKILL);
		}
		waitpid(pid, &status, 0);
		count += args->killed ? WIFSIGNALED(status) : !status;
	}
	return count;
}

static void child_reads(unsigned char *map)
{
	do {
		submit_reads(map);
	} while (!reap_reads());
}

static void child_reads_plain(unsigned char *map)
{
	struct iovec iov[] = { { map, LENGTH }, { content, LENGTH } };

	while (preadv(fd, iov, opt.stock ? 1 : 2, 0) > 0)
		;
}

static void child_exits(unsigned char *map)
{
	submit_reads(map);
	_exit(0);
}

static void child_executes(unsigned char *map)
{
	submit_reads(map);
	execl("/bin/true", "true", NULL);
}

static atomic_bool stop;

/* Make each page in turn P2P memory, host memory or nothing. */
static void *change_pages(void *argument)
{
	unsigned char *map = argument;
	int allocate = open(opt.p2p, O_RDWR);

	random_state = 1;
	for (int i = 0; i < 5000; i++) {
		void *page = map + random_next() % (LENGTH / PAGE) * PAGE;
		unsigned int what = random_next() % 8;

		if (what > 4)
			mmap(page, PAGE, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_FIXED, allocate, 0);
		else
			mmap(page, PAGE,
			     what ? PROT_READ | PROT_WRITE : PROT_NONE,
			     MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0);
	}
	atomic_store(&stop, true);
	return NULL;
}

/*
 * Something, or nothing because the first page is none. The page cache gives what direct I/O stopped before, and can
 * end anywhere in a page that goes meanwhile. EIO where a device refuses what is mixed, and on any kernel where a
 * page goes between two bios of one class.
 */
static bool is_result(long ret)
{
	return ret > 0 || ret == -EFAULT || ret == -EIO || (opt.stock && !ret);
}

static long while_pages_change(const struct trial_args *args)
{
	unsigned char *map = map_memory(NULL, LENGTH);
	pthread_t thread;
	long ret = 0;

	content = fill_drive(opt.device, SIZE, &fd);
	set_up_ring();
	if (pthread_create(&thread, NULL, change_pages, map))
		return -EAGAIN;
	do {
		ret = args->read(map);
	} while (is_result(ret) && !atomic_load(&stop));
	pthread_join(thread, NULL);
	if (!is_result(ret))
		return ret ?: -EBADMSG;
	return args->read(map_memory(opt.p2p, LENGTH)) == LENGTH;
}

static long read_plain(unsigned char *map)
{
	return RESULT(pread(fd, map, LENGTH, 0));
}

static long read_uring(unsigned char *map)
{
	struct io_uring_cqe *cqe;
	long ret;

	io_uring_prep_read(io_uring_get_sqe(&ring), fd, map, LENGTH, 0);
	io_uring_submit_and_wait(&ring, 1);
	ret = io_uring_wait_cqe(&ring, &cqe) ?: cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	return ret;
}

static void ignore(int number)
{
	(void)number;
}

/* Signals do not cut direct I/O short. */
static long signals(void)
{
	struct itimerval interval = { { 0, 500 }, { 0, 500 } };
	struct sigaction action = { .sa_handler = ignore };
	unsigned char *map = map_memory(opt.p2p, LENGTH);
	long ret = LENGTH;

	content = fill_drive(opt.device, SIZE, &fd);
	sigaction(SIGPROF, &action, NULL);
	setitimer(ITIMER_PROF, &interval, NULL);
	for (int i = 0; i < 300 && ret == LENGTH; i++)
		ret = read_plain(map);
	return ret;
}

static const struct trial trials[] = {
	{ "unmap", "munmap()", WITH(while_in_flight, .act = act_unmap),
	  .expect = 1 },
	{ "dontneed", "MADV_DONTNEED",
	  WITH(while_in_flight, .act = act_dontneed), .expect = 1 },
	{ "protect", "mprotect() with PROT_NONE",
	  WITH(while_in_flight, .act = act_protect), .expect = 1 },
	{ "replace", "map host memory in its place",
	  WITH(while_in_flight, .act = act_replace), .expect = 1 },
	{ "reuse", "unmap it, and map P2P memory again",
	  WITH(while_in_flight, .act = act_reuse), .expect = 1 },
	{ "fork", "fork() a process that unmaps it and ends",
	  WITH(while_in_flight, .act = act_fork), .expect = 1 },
	{ "close", "close the drive", WITH(while_in_flight, .act = act_close),
	  .expect = 1 },
	{ "kill-uring", "kill processes that read by io_uring",
	  WITH(many, .child = child_reads, .killed = true), .expect = ROUNDS },
	{ "kill-plain", "kill processes that read vectors",
	  WITH(many, .child = child_reads_plain, .killed = true),
	  .expect = ROUNDS },
	{ "exit", "processes that end with reads in flight",
	  WITH(many, .child = child_exits), .expect = ROUNDS },
	{ "execute", "execve() with reads in flight",
	  WITH(many, .child = child_executes), .expect = ROUNDS },
	{ "change-plain", "read while the pages change",
	  WITH(while_pages_change, .read = read_plain), .expect = 1 },
	{ "change-uring", "read by io_uring while the pages change",
	  WITH(while_pages_change, .read = read_uring), .expect = 1 },
	{ "signals", "read under a hail of signals", signals,
	  .expect = LENGTH },
	{}
};

int main(int argc, char **argv)
{
	return run_trials(argc, argv, trials);
}
