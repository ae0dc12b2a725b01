// SPDX-License-Identifier: GPL-2.0
/*
 * Direct I/O to runs of pages of large folios, P2P or host memory, of which some are unmapped, moved, protected, copied
 * or shared meanwhile, held against a model of memory and drive.
 */
#define _GNU_SOURCE
#include <liburing.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "data.h"
#include "options.h"

#define MAX_AREAS 8
#define MAX_PAGES 1024 /* of an area */
#define MODELS (4 * MAX_AREAS * MAX_PAGES)
#define PER_PAGE 8 /* sectors, at most */
#define DRIVE_SECTORS 16384 /* of each process */
#define COPY_SIZE (DRIVE_SECTORS * PAGE / 2)
#define MAX_FLIGHT 8
#define MAX_CHILDREN 3
#define FILE_SIZE (256UL << 20) /* of each process */
#define UNKNOWN 0

static const char *device, *p2p, *file;
static unsigned long start, seed = 1, processes = 3, operations = 300;
static unsigned long phases = 5, seconds, max_pages = 96;
static bool is_private, fragment;

static const struct option_entry options[] = {
	{ "device", "PATH", "drive", .text = &device },
	{ "p2p", "PATH", "p2pmem/allocate to map", .text = &p2p },
	{ "file", "PATH", "file to map instead; else anonymous memory",
	  .text = &file },
	{ "private", NULL, "map the file privately", .flag = &is_private },
	{ "fragment", NULL, "only fragment the pool page by page, and map all",
	  .flag = &fragment },
	{ "start", "BYTES", "where on the drive it may write",
	  .number = &start },
	{ "pages", "N", "of an I/O or P2P mapping, at most",
	  .number = &max_pages },
	{ "processes", "N", "at once", .number = &processes },
	{ "operations", "N", "of each process in each phase",
	  .number = &operations },
	{ "phases", "N", "how often all processes end and begin anew",
	  .number = &phases },
	{ "seconds", "N", "phases as long as this, if not 0",
	  .number = &seconds },
	{ "seed", "N", "of everything random", .number = &seed },
	{ NULL }
};

/* What a page holds, wherever it is mapped: an id for each sector, from which all its words follow. */
struct model {
	uint64_t id[PER_PAGE];
	unsigned int flights; /* I/O that may change it */
	bool used;
};

enum right { NONE, READ, WRITE };

struct slot {
	struct model *model; /* NULL: not mapped */
	enum right right;
};

struct area {
	unsigned char *base;
	unsigned long pages; /* 0: no area */
	struct slot slot[MAX_PAGES];
};

struct flight {
	unsigned long sectors, drive;
	bool may_fail; /* something is not as it has to be, or changed meanwhile */
	struct model *model[MAX_PAGES];
	unsigned int first; /* sector in the first page */
	bool done;
};

/* Of all processes */
static struct totals {
	_Atomic unsigned long reads, pages, failed, writes, forks;
} *totals;

static struct area areas[MAX_AREAS];
static struct model models[MODELS];
static uint64_t on_drive[DRIVE_SECTORS];
static struct flight flights[MAX_FLIGHT];
static unsigned char *copy; /* host memory to write from and read back to */
static unsigned char *next_address;
static off_t drive_start;
static struct io_uring ring;
static int drive_fd, memory_fd = -1;
static unsigned int sector_size, per_page;
static unsigned long process, next_model, next_offset;
static struct child {
	pid_t pid;
	int pipe;
} children[MAX_CHILDREN];

/* Where everything begins that fails. */
#define fail(...) (warnx("process %lu:", process), errx(1, __VA_ARGS__))

static unsigned long random_below(unsigned long n)
{
	return random_next() % n;
}

static bool one_in(unsigned long n)
{
	return !random_below(n);
}

static bool copies_on_write(void)
{
	return !p2p && (!file || is_private);
}

static uint64_t new_id(void)
{
	return random_next() | 1;
}

static uint64_t word_of(uint64_t id, unsigned long word)
{
	uint64_t z = id + word * 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	return id == UNKNOWN ? 0 : z ^ (z >> 31);
}

static void fill_sector(unsigned char *at, uint64_t id)
{
	volatile uint64_t *words = (uint64_t *)at;

	for (unsigned long i = 0; i < sector_size / 8; i++)
		words[i] = word_of(id, i);
}

/* The first word, the last one and one between: emulated memory traps on each. */
static bool holds_sector(const unsigned char *at, uint64_t id)
{
	const volatile uint64_t *words = (const uint64_t *)at;
	unsigned long last = sector_size / 8 - 1, some = random_below(last);

	return id == UNKNOWN ||
	       (words[0] == word_of(id, 0) && words[last] == word_of(id, last) &&
		words[some] == word_of(id, some));
}

static struct model *new_model(void)
{
	struct model *model;

	do
		model = &models[next_model++ % MODELS];
	while (model->used || model->flights);
	*model = (struct model){ .used = true };
	return model;
}

static void drop_model(struct slot *slot)
{
	if (slot->model)
		slot->model->used = false;
	slot->model = NULL;
}

/* Nothing is where something was before: I/O that looks for its pages late must not find others there. */
static unsigned char *new_address(unsigned long pages)
{
	unsigned char *address = next_address;

	next_address += (pages + 1 + random_below(600)) * PAGE;
	return address;
}

static struct area *free_area(void)
{
	for (int i = 0; i < MAX_AREAS; i++)
		if (!areas[i].pages)
			return &areas[i];
	return NULL;
}

/* Some area, which may have holes. */
static struct area *any_area(void)
{
	struct area *area = &areas[random_below(MAX_AREAS)];

	return area->pages ? area : NULL;
}

static void verify_page(const struct area *area, unsigned long page)
{
	const struct slot *slot = &area->slot[page];

	if (!slot->model || slot->right == NONE || slot->model->flights)
		return;
	for (unsigned int i = 0; i < per_page; i++)
		if (!holds_sector(area->base + page * PAGE + i * sector_size,
				  slot->model->id[i]))
			fail("page %lu of %lu at %p, sector %u: wrong data",
			     page, area->pages, area->base, i);
}

static void verify_area(const struct area *area)
{
	for (unsigned long i = 0; i < area->pages; i++)
		verify_page(area, i);
}

static int protection(enum right right)
{
	return right == NONE ? PROT_NONE :
	       right == READ ? PROT_READ :
			       PROT_READ | PROT_WRITE;
}

static void add_area(struct area *area, unsigned char *base,
		     unsigned long pages)
{
	*area = (struct area){ .base = base, .pages = pages };
	for (unsigned long i = 0; i < pages; i++)
		area->slot[i] = (struct slot){ new_model(), WRITE };
}

static void map_p2p_area(struct area *area)
{
	unsigned long pages = 1 + random_below(max_pages);
	unsigned char *base;

	if (one_in(3))
		pages = 1UL << random_below(10);
	if (pages > max_pages)
		pages = max_pages;
	base = mmap(new_address(pages), pages * PAGE, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_FIXED_NOREPLACE, memory_fd, 0);
	if (base != MAP_FAILED)
		add_area(area, base, pages);
	else if (errno != ENOMEM)
		err(1, "mapping %lu pages", pages);
}

/* A huge page, in which the I/O begins anywhere. Memory of a private mapping stays the file's until it is written to. */
static void map_host_area(struct area *area)
{
	unsigned long offset = process * FILE_SIZE + next_offset;
	int flags = MAP_FIXED_NOREPLACE;
	unsigned char *base, *content = copy;

	if (file && next_offset == FILE_SIZE)
		return;
	next_offset += file ? HUGE : 0;
	next_address += -(uintptr_t)next_address % HUGE;
	flags |= file && !is_private ? MAP_SHARED : MAP_PRIVATE;
	flags |= file ? 0 : MAP_ANONYMOUS;
	base = mmap(new_address(HUGE / PAGE), HUGE, PROT_READ | PROT_WRITE,
		    flags, memory_fd, offset);
	if (base == MAP_FAILED)
		err(1, "mapping 2 MiB");
	madvise(base, HUGE, MADV_HUGEPAGE);
	if (!file)
		content = base;
	add_area(area, base, HUGE / PAGE);
	for (unsigned long i = 0; i < area->pages * per_page; i++) {
		uint64_t *id = &area->slot[i / per_page].model->id[i % per_page];

		*id = new_id();
		fill_sector(content + i * sector_size, *id);
	}
	if (file && pwrite(memory_fd, content, HUGE, offset) != (long)HUGE)
		err(1, "%s", file);
}

static void map_area(void)
{
	struct area *area = free_area();

	if (area && p2p)
		map_p2p_area(area);
	else if (area)
		map_host_area(area);
}

static void someone_may_fail(void)
{
	for (int i = 0; i < MAX_FLIGHT; i++)
		flights[i].may_fail = true;
}

/* Some pages of an area, all of them now and then. */
static struct area *some_pages(unsigned long *first, unsigned long *count)
{
	struct area *area = any_area();

	if (!area)
		return NULL;
	*first = random_below(area->pages);
	*count = one_in(2) ? 1 : 1 + random_below(area->pages - *first);
	if (one_in(16)) {
		*first = 0;
		*count = area->pages;
	}
	return area;
}

static void forget_if_empty(struct area *area)
{
	for (unsigned long i = 0; i < area->pages; i++)
		if (area->slot[i].model)
			return;
	area->pages = 0;
}

static void unmap_pages(void)
{
	unsigned long first, count;
	struct area *area = some_pages(&first, &count);

	if (!area)
		return;
	if (munmap(area->base + first * PAGE, count * PAGE))
		err(1, "munmap");
	for (unsigned long i = first; i < first + count; i++)
		drop_model(&area->slot[i]);
	someone_may_fail();
	forget_if_empty(area);
}

static void drop_pages(void)
{
	unsigned long first, count;
	struct area *area = file ? NULL : some_pages(&first, &count);

	if (!area)
		return;
	for (unsigned long i = first; i < first + count; i++) {
		struct slot *slot = &area->slot[i];

		if (!slot->model || (!p2p && slot->model->flights))
			continue;
		if (madvise(area->base + i * PAGE, PAGE, MADV_DONTNEED))
			err(1, "madvise");
		drop_model(slot);
		if (p2p)
			/* nothing comes in its place */
			munmap(area->base + i * PAGE, PAGE);
		else
			slot->model = new_model();
	}
	someone_may_fail();
	forget_if_empty(area);
}

static void protect_pages(void)
{
	unsigned long first, count;
	struct area *area = some_pages(&first, &count);
	enum right right = one_in(2) ? WRITE : random_below(2);

	if (!area)
		return;
	for (unsigned long i = first; i < first + count; i++) {
		if (!area->slot[i].model)
			continue;
		if (mprotect(area->base + i * PAGE, PAGE, protection(right)))
			err(1, "mprotect");
		area->slot[i].right = right;
	}
	someone_may_fail();
}

/* Move pages that are mapped alike to an area of their own. */
static void move_pages(void)
{
	unsigned long first, count, i;
	struct area *to = free_area();
	struct area *area = some_pages(&first, &count);
	unsigned char *address;

	if (!to || !area || to == area || file)
		return;
	for (i = 0; i < count; i++)
		if (!area->slot[first + i].model ||
		    area->slot[first + i].right != area->slot[first].right)
			break;
	count = i;
	if (!count)
		return;
	address = mremap(area->base + first * PAGE, count * PAGE, count * PAGE,
			 MREMAP_MAYMOVE | MREMAP_FIXED, new_address(count));
	/* Areas whose rights came and went are several mappings. */
	if (address == MAP_FAILED) {
		if (errno != EFAULT)
			err(1, "mremap");
		return;
	}
	*to = (struct area){ .base = address, .pages = count };
	for (i = 0; i < count; i++) {
		to->slot[i] = area->slot[first + i];
		area->slot[first + i].model = NULL;
	}
	someone_may_fail();
	forget_if_empty(area);
}

static void touch_pages(void)
{
	unsigned long first, count;
	struct area *area = some_pages(&first, &count);

	if (!area)
		return;
	count = count > 8 ? 8 : count;
	for (unsigned long i = first; i < first + count; i++) {
		struct slot *slot = &area->slot[i];
		unsigned int s = random_below(per_page);

		verify_page(area, i);
		if (!slot->model || slot->right != WRITE || slot->model->flights)
			continue;
		slot->model->id[s] = new_id();
		fill_sector(area->base + i * PAGE + s * sector_size,
			    slot->model->id[s]);
	}
}

/* Sectors of an area to do I/O with: mostly such that can be, but also others. */
static struct area *some_sectors(enum right right, unsigned long *first,
				 unsigned long *count, bool *good)
{
	unsigned long page, pages, s;
	struct area *area = some_pages(&page, &pages);

	if (!area)
		return NULL;
	*first = page * per_page + random_below(per_page);
	*count = pages * per_page - (*first - page * per_page);
	if (*count > 1 && one_in(2))
		*count -= random_below(per_page < *count ? per_page : *count);
	if (*count > max_pages * per_page)
		*count = max_pages * per_page;
	*good = true;
	for (s = *first; s < *first + *count; s++) {
		struct slot *slot = &area->slot[s / per_page];

		if (slot->model && slot->model->flights)
			return NULL;
		if (!slot->model || slot->right < right) {
			if (!one_in(8) && s > *first) {
				*count = s - *first;
				break;
			}
			*good = false;
			break;
		}
	}
	return area;
}

static struct flight *free_flight(void)
{
	for (int i = 0; i < MAX_FLIGHT; i++)
		if (flights[i].done)
			return &flights[i];
	return NULL;
}

static void end_reads(void);

static void start_read(void)
{
	unsigned long first, count;
	bool good;
	struct flight *flight = free_flight();
	struct area *area = some_sectors(WRITE, &first, &count, &good);
	struct io_uring_sqe *sqe;

	if (!area || !flight)
		return;
	*flight = (struct flight){
		.sectors = count,
		.drive = random_below(DRIVE_SECTORS - count),
		.first = first % per_page,
		.may_fail = !good,
	};
	for (unsigned long s = first; s < first + count; s++) {
		struct slot *slot = &area->slot[s / per_page];
		struct model **in = &flight->model[s / per_page -
						   first / per_page];

		if (slot->model && slot->right == WRITE && !*in) {
			slot->model->flights++;
			*in = slot->model;
		}
	}
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_read(sqe, drive_fd, area->base + first * sector_size,
			   count * sector_size,
			   drive_start + flight->drive * sector_size);
	io_uring_sqe_set_data(sqe, flight);
	if (io_uring_submit(&ring) != 1)
		fail("io_uring_submit");
	/* What it must not write to, nothing may make writable meanwhile. */
	if (!good)
		end_reads();
}

static void end_read(struct flight *flight, long result)
{
	bool full = result == (long)(flight->sectors * sector_size);

	totals->reads += full;
	totals->failed += !full;
	totals->pages += full ? flight->sectors / per_page : 0;
	if (!full && !flight->may_fail)
		fail("read of %lu sectors: result %ld", flight->sectors, result);
	if (!full && result < 0 && result != -EFAULT && result != -EIO)
		fail("read of %lu sectors that may fail: result %ld",
		     flight->sectors, result);
	for (unsigned long s = 0; s < flight->sectors; s++) {
		unsigned long at = flight->first + s;
		struct model *model = flight->model[at / per_page];

		if (model)
			model->id[at % per_page] =
				full ? on_drive[flight->drive + s] : UNKNOWN;
		else if (full)
			fail("read into a page that is not writable");
	}
	for (unsigned long i = 0; i < MAX_PAGES; i++)
		if (flight->model[i])
			flight->model[i]->flights--;
	flight->done = true;
}

static void end_reads(void)
{
	struct io_uring_cqe *cqe;

	for (int i = 0; i < MAX_FLIGHT; i++) {
		while (!flights[i].done) {
			int ret = io_uring_wait_cqe(&ring, &cqe);

			if (ret == -EINTR)
				continue;
			if (ret)
				fail("io_uring_wait_cqe: %d", ret);
			end_read(io_uring_cqe_get_data(cqe), cqe->res);
			io_uring_cqe_seen(&ring, cqe);
		}
	}
}

/* Write out of an area, and look at what came to the drive through host memory that nothing happens to. */
static void write_out(void)
{
	unsigned long first, count, at;
	bool good;
	struct area *area = some_sectors(READ, &first, &count, &good);
	ssize_t length, ret;

	/* Reads in flight must not meet it. */
	end_reads();
	if (!area)
		return;
	length = count * sector_size;
	at = random_below(DRIVE_SECTORS - count);
	ret = pwrite(drive_fd, area->base + first * sector_size, length,
		     drive_start + at * sector_size);
	if (ret != length && good)
		fail("write of %lu sectors: %s", count,
		     ret < 0 ? strerror(errno) : "short");
	if (ret == length && !good)
		fail("write of a page that is not readable");
	for (unsigned long s = 0; s < count; s++) {
		struct slot *slot = &area->slot[(first + s) / per_page];

		on_drive[at + s] = good ? slot->model->id[(first + s) % per_page] :
					  UNKNOWN;
	}
	if (!good)
		return;
	totals->writes++;
	ret = pread(drive_fd, copy, length, drive_start + at * sector_size);
	if (ret != length)
		fail("read of %lu sectors to host memory", count);
	for (unsigned long s = 0; s < count; s++)
		if (!holds_sector(copy + s * sector_size, on_drive[at + s]))
			fail("sector %lu of %lu: wrong data written", s, count);
}

/* Lives on what its parent had when it was forked, and looks at that when it ends. */
static void be_child(int fd)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	random_state ^= getpid();
	for (int i = 0; i < MAX_FLIGHT; i++)
		for (int page = 0; !flights[i].done && page < MAX_PAGES; page++)
			if (flights[i].model[page]) {
				struct model *model = flights[i].model[page];

				model->flights = 0;
				memset(model->id, 0, sizeof(model->id));
			}
	for (int i = random_below(6); i > 0; i--) {
		if (copies_on_write() && one_in(2))
			touch_pages();
		else
			unmap_pages();
	}
	if (write(fd, "", 1) != 1 && errno != EPIPE)
		_exit(1);
	poll(&(struct pollfd){ fd, POLLIN, 0 }, 1, -1);
	if (one_in(4))
		raise(SIGKILL);
	if (copies_on_write())
		for (int i = 0; i < MAX_AREAS; i++)
			verify_area(&areas[i]);
	_exit(0);
}

static void end_child(struct child *child)
{
	int status;

	if (!child->pid)
		return;
	close(child->pipe);
	if (waitpid(child->pid, &status, 0) != child->pid)
		err(1, "waitpid");
	if (WIFEXITED(status) ? WEXITSTATUS(status) :
				WTERMSIG(status) != SIGKILL)
		fail("child: status %#x", status);
	child->pid = 0;
}

static void fork_child(void)
{
	struct child *child = &children[random_below(MAX_CHILDREN)];
	int fds[2];
	char byte;

	end_child(child);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
		err(1, "socketpair");
	child->pid = fork();
	if (child->pid < 0)
		err(1, "fork");
	if (!child->pid) {
		/* or it would keep its elder siblings from their end */
		for (int i = 0; i < MAX_CHILDREN; i++)
			if (&children[i] != child && children[i].pid)
				close(children[i].pipe);
		close(fds[0]);
		be_child(fds[1]);
	}
	totals->forks++;
	close(fds[1]);
	child->pipe = fds[0];
	if (one_in(2) && read(child->pipe, &byte, 1) != 1)
		fail("child ended early");
	someone_may_fail();
}

static void end_areas(void)
{
	for (int i = 0; i < MAX_AREAS; i++) {
		struct area *area = &areas[i];

		verify_area(area);
		while (area->pages) {
			unsigned long page = random_below(area->pages);

			munmap(area->base + page * PAGE, PAGE);
			drop_model(&area->slot[page]);
			forget_if_empty(area);
		}
	}
}

static void operate(void)
{
	static void (*const some[])(void) = {
		map_area, map_area, unmap_pages, drop_pages, protect_pages,
		protect_pages, move_pages, touch_pages, fork_child, write_out,
		write_out, end_reads, end_reads, start_read, start_read,
		start_read, start_read, start_read, start_read,
	};

	some[random_below(sizeof(some) / sizeof(*some))]();
}

static void write_ids(void)
{
	for (unsigned long s = 0; s < DRIVE_SECTORS; s++) {
		on_drive[s] = new_id();
		fill_sector(copy + s * sector_size, on_drive[s]);
	}
	if (pwrite(drive_fd, copy, DRIVE_SECTORS * sector_size, drive_start) !=
	    (ssize_t)DRIVE_SECTORS * sector_size)
		err(1, "%s", device);
}

static void be_process(uint64_t state)
{
	int ret = io_uring_queue_init(2 * MAX_FLIGHT, &ring, 0);

	if (ret)
		errx(1, "io_uring_queue_init: %s", strerror(-ret));
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	random_state = state;
	next_address = (unsigned char *)0x100000000000;
	drive_start = start + process * DRIVE_SECTORS * sector_size;
	/* not shared with the others */
	copy = map_memory(NULL, COPY_SIZE);
	for (int i = 0; i < MAX_FLIGHT; i++)
		flights[i].done = true;
	write_ids();
	for (unsigned long i = 0; i < operations; i++) {
		operate();
		if (one_in(8) && any_area())
			verify_area(&areas[random_below(MAX_AREAS)]);
	}
	/* What is in flight, and what children still map, may outlive it. */
	if (one_in(3))
		_exit(0);
	end_reads();
	for (int i = 0; i < MAX_CHILDREN; i++)
		end_child(&children[i]);
	end_areas();
	_exit(0);
}

/* The last I/O of a process may end after it. */
static void wait_for_all(long bytes, const char *what)
{
	for (int i = 0; i < 6000 && p2p_available(p2p) != bytes; i++)
		usleep(10000);
	if (p2p_available(p2p) != bytes)
		errx(1, "%s: %ld bytes available, %ld before", what,
		     p2p_available(p2p), bytes);
}

static void run_phase(unsigned long number)
{
	long before = p2p_available(p2p);
	pid_t pids[64];
	int status;

	if (file && (ftruncate(memory_fd, 0) ||
		     ftruncate(memory_fd, processes * FILE_SIZE)))
		err(1, "%s", file);
	for (process = 0; process < processes; process++) {
		pids[process] = fork();
		if (pids[process] < 0)
			err(1, "fork");
		if (!pids[process])
			be_process(seed * 1000003 + number * 64 + process);
	}
	if (one_in(2)) {
		usleep(50000 + random_below(1000000));
		kill(pids[random_below(processes)], SIGKILL);
	}
	for (unsigned long i = 0; i < processes; i++) {
		if (waitpid(pids[i], &status, 0) != pids[i])
			err(1, "waitpid");
		if (WIFEXITED(status) ? WEXITSTATUS(status) :
					WTERMSIG(status) != SIGKILL)
			errx(1, "seed %lu, phase %lu, process %lu: status %#x",
			     seed, number, i, status);
	}
	wait_for_all(before, "after a phase");
}

static unsigned char *map_p2p(size_t length)
{
	return mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd,
		    0);
}

static void expect_available(long bytes, const char *what)
{
	if (p2p_available(p2p) != bytes)
		errx(1, "%s: %ld bytes available instead of %ld", what,
		     p2p_available(p2p), bytes);
}

/* Every other page of the pool's end is free: what is mapped has to be put together from those. */
static void fragment_pool(void)
{
	static unsigned char *page[4096];
	long before = p2p_available(p2p);
	unsigned long count = before / PAGE < 4096 ? before / PAGE & ~1 : 4096;
	size_t rest = before - count * PAGE, length = count / 2 * PAGE;
	unsigned char *first = rest ? map_p2p(rest) : NULL;
	unsigned char *map;

	if (first == MAP_FAILED)
		err(1, "mapping %zu bytes", rest);
	expect_available(count * PAGE, "all but some pages mapped");
	for (unsigned long i = 0; i < count; i++) {
		page[i] = map_p2p(PAGE);
		if (page[i] == MAP_FAILED)
			err(1, "page %lu of %lu", i, count);
	}
	expect_available(0, "all mapped");
	for (unsigned long i = 0; i < count / 2; i++)
		munmap(page[2 * i], PAGE);
	expect_available(length, "every other page unmapped");

	map = map_p2p(length + PAGE);
	if (map != MAP_FAILED || errno != ENOMEM)
		errx(1, "more mapped than available");
	expect_available(length, "failed to map");
	map = map_p2p(length);
	if (map == MAP_FAILED)
		err(1, "mapping %zu bytes of a fragmented pool", length);
	expect_available(0, "all mapped again");

	fill_random(copy, length);
	if (pwrite(drive_fd, copy, length, start) != (ssize_t)length ||
	    pread(drive_fd, map, length, start) != (ssize_t)length)
		err(1, "%s", device);
	for (size_t at = 0; at < length; at += 256)
		if (*(volatile uint64_t *)(map + at) != *(uint64_t *)(copy + at))
			errx(1, "wrong data at %zu in a fragmented mapping", at);

	for (unsigned long i = 0; i < count / 2; i++)
		munmap(page[2 * i + 1], PAGE);
	for (unsigned long i = 0; i < length / PAGE; i++) {
		unsigned long other = random_below(length / PAGE);

		munmap(map + other * PAGE, PAGE);
	}
	munmap(map, length);
	if (first)
		munmap(first, rest);
	wait_for_all(before, "after a fragmented pool");

	map = map_p2p(before);
	if (map == MAP_FAILED)
		err(1, "mapping all %ld bytes", before);
	expect_available(0, "the whole pool mapped");
	munmap(map, before);
	wait_for_all(before, "after the whole pool");
	printf("%lu pages of a fragmented pool in one mapping\n", count / 2);
}

int main(int argc, char **argv)
{
	struct timespec begin, now;
	unsigned long number = 0;
	size_t align;

	parse_options(argc, argv,
		      "page_runs --device PATH [--p2p PATH | --file PATH] [OPTION...]: direct I/O to runs of pages",
		      options);
	if (!device || processes < 1 || processes > 64 || max_pages < 1 ||
	    max_pages > MAX_PAGES)
		errx(1, "see --help");
	drive_fd = open_drive(device, &sector_size, &align);
	per_page = PAGE / sector_size;
	if (per_page < 2 || per_page > PER_PAGE)
		errx(1, "%s: blocks of %u bytes", device, sector_size);
	if (p2p || file) {
		memory_fd = open(p2p ?: file, O_RDWR | O_CREAT, 0600);
		if (memory_fd < 0)
			err(1, "%s", p2p ?: file);
	}
	random_state = seed;
	copy = map_memory(NULL, COPY_SIZE);
	totals = (struct totals *)map_memory(NULL, PAGE);
	signal(SIGPIPE, SIG_IGN);
	if (fragment) {
		fragment_pool();
		return 0;
	}

	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		run_phase(number++);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (seconds ? (unsigned long)(now.tv_sec - begin.tv_sec) < seconds :
			   number < phases);
	printf("seed %lu: %lu phases of %lu processes, %lu operations each\n",
	       seed, number, processes, operations);
	printf("%lu reads of %lu pages, %lu that could not be done, %lu writes, %lu forks\n",
	       totals->reads, totals->pages, totals->failed, totals->writes,
	       totals->forks);
	if (!totals->reads || !totals->writes)
		errx(1, "nothing was read, or nothing written");
	return 0;
}
