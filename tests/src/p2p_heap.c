// SPDX-License-Identifier: GPL-2.0
/*
 * Allocate dma-bufs of a provider's P2P memory, and hold what programs and importers get of them against what they
 * should get: while the provider is there, and after it is gone.
 */
#define _GNU_SOURCE
#include <linux/dma-heap.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>

#include "data.h"
#include "options.h"

#define PATTERN 0x7032700000000000ul
#define MAX_BUFFERS 8
#define MAX_PIECES 512

static struct {
	const char *heap;
	const char *pool;
	const char *device;
	const char *importer;
	const char *driver;
	const char *bdf;
	const char *test;
	bool remove;
	unsigned long size;
	unsigned long seconds;
} opt = { .size = 1 << 20, .seconds = 3 };

static char allocate[256]; /* a file of the pool */

static void expect(const char *what, long result, long wanted)
{
	if (result != wanted)
		errx(1, "%s: %ld, expected %ld", what, result, wanted);
}

static int open_heap(void)
{
	return open_path(O_RDONLY | O_CLOEXEC, "%s", opt.heap);
}

static long try_alloc(int heap, unsigned long size, int flags)
{
	struct dma_heap_allocation_data data = {
		.len = size,
		.fd_flags = flags | O_CLOEXEC,
	};
	long ret = RESULT(ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &data));

	return ret ?: data.fd;
}

static int alloc(int heap, unsigned long size)
{
	long fd = try_alloc(heap, size, O_RDWR);

	if (fd < 0)
		errx(1, "allocating %lu bytes: %s", size, strerror(-fd));
	return fd;
}

static long try_map(int fd, size_t size, int prot, int flags, off_t offset)
{
	return RESULT(mmap(NULL, size, prot, flags, fd, offset));
}

static uint64_t *map(int fd, size_t size)
{
	long ret = try_map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED, 0);

	if (ret < 0 && ret > -4096)
		errx(1, "mapping %zu bytes: %s", size, strerror(-ret));
	return (uint64_t *)ret;
}

#define WORDS (PAGE / sizeof(uint64_t))

static void write_pattern(volatile uint64_t *at, size_t size, uint64_t first)
{
	for (size_t i = 0; i < size / PAGE; i++) {
		at[i * WORDS] = first + i;
		at[i * WORDS + WORDS - 1] = ~(first + i);
	}
}

static void check_pattern(volatile uint64_t *at, size_t size, uint64_t first)
{
	for (size_t i = 0; i < size / PAGE; i++)
		if (at[i * WORDS] != first + i ||
		    at[i * WORDS + WORDS - 1] != ~(first + i))
			errx(1, "page %zu has %#lx, expected %#lx", i,
			     (long)at[i * WORDS], (long)(first + i));
}

static void check_zero(volatile uint64_t *at, size_t size)
{
	for (size_t i = 0; i < size / sizeof(*at); i++)
		if (at[i])
			errx(1, "byte %zu of new memory is not 0", 8 * i);
}

static void unmap(uint64_t *at, size_t size)
{
	if (munmap(at, size))
		err(1, "munmap");
}

static sigjmp_buf after_signal;

static void on_signal(int signal)
{
	siglongjmp(after_signal, signal);
}

/* The signal that touching it gives, or 0. */
static int touch(volatile uint64_t *at, bool write)
{
	int caught = sigsetjmp(after_signal, 1);

	if (caught)
		return caught;
	if (write)
		*at = 1;
	else
		(void)*at;
	return 0;
}

/* What a process has, and its child. */
static void shared_with_child(volatile uint64_t *at, size_t size)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		err(1, "fork");
	if (!pid) {
		check_pattern(at, size, PATTERN);
		write_pattern(at, size, PATTERN + 7);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid)
		err(1, "waitpid");
	expect("child", status, 0);
	check_pattern(at, size, PATTERN + 7);
}

/* The memory cannot be pinned, or it could not be taken back: the dma-buf is there to be imported. */
static void not_pinned(uint64_t *at)
{
	unsigned int block_size;
	size_t align;
	int fd;

	if (!opt.device)
		return;
	fd = open_direct(opt.device, &block_size, &align);
	expect("direct I/O", RESULT(pread(fd, at, PAGE, 0)), -EEXIST);
	close(fd);
}

static void one_size(int heap, size_t size)
{
	long before = p2p_available(allocate);
	int fd = alloc(heap, size - 1);
	uint64_t *first, *second;

	expect("available", p2p_available(allocate), before - size);
	expect("size", lseek(fd, 0, SEEK_END), size);
	first = map(fd, size);
	check_zero(first, size);
	write_pattern(first, size, PATTERN);
	second = map(fd, size);
	check_pattern(second, size, PATTERN);
	shared_with_child(first, size);
	check_pattern(second, size, PATTERN + 7);
	not_pinned(first);

	if (mprotect(first, size, PROT_READ))
		err(1, "mprotect");
	expect("writing to what is read-only", touch(first, true), SIGSEGV);
	if (mprotect(first, size, PROT_READ | PROT_WRITE))
		err(1, "mprotect");
	write_pattern(first, size, PATTERN + 9);
	unmap(first, size);
	check_pattern(second, size, PATTERN + 9);

	expect("private mapping",
	       try_map(fd, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0), -EINVAL);
	expect("mapping beyond the end",
	       try_map(fd, size + PAGE, PROT_READ, MAP_SHARED, 0), -EINVAL);
	expect("mapping behind the end",
	       try_map(fd, PAGE, PROT_READ, MAP_SHARED, size), -EINVAL);
	first = (uint64_t *)try_map(fd, PAGE, PROT_READ, MAP_SHARED, size - PAGE);
	expect("last page", *(volatile uint64_t *)first,
	       PATTERN + 9 + size / PAGE - 1);
	unmap(first, PAGE);

	/* the mapping keeps it */
	close(fd);
	check_pattern(second, size, PATTERN + 9);
	expect("available", p2p_available(allocate), before - size);
	unmap(second, size);
	expect("available", p2p_available(allocate), before);
}

static void test_memory(void)
{
	static const size_t pages[] = { 1, 3, 256, 512 + 7 };
	int heap = open_heap();
	long before = p2p_available(allocate);
	int fd;

	for (size_t i = 0; i < sizeof(pages) / sizeof(*pages); i++)
		one_size(heap, pages[i] * PAGE);
	expect("no bytes", try_alloc(heap, 0, O_RDWR), -EINVAL);
	fd = try_alloc(heap, PAGE, O_RDONLY);
	expect("writable mapping of what is read-only",
	       try_map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0), -EACCES);
	unmap((uint64_t *)try_map(fd, PAGE, PROT_READ, MAP_SHARED, 0), PAGE);
	close(fd);
	expect("available", p2p_available(allocate), before);
	close(heap);
}

static void test_too_much(void)
{
	int heap = open_heap();
	long before = p2p_available(allocate);

	expect("too much", try_alloc(heap, before + PAGE, O_RDWR), -ENOMEM);
	expect("available", p2p_available(allocate), before);
	close(heap);
}

static int parameter_fd(const char *name, int flags)
{
	return open_path(flags, "%s/%s", opt.importer, name);
}

static long set_parameter(const char *name, unsigned long value)
{
	int fd = parameter_fd(name, O_WRONLY);
	char text[32];
	int length = snprintf(text, sizeof(text), "%lu", value);
	long ret = RESULT(write(fd, text, length));

	close(fd);
	return ret == length ? 0 : ret;
}

static long state(const char *name)
{
	static char text[512];
	int fd = parameter_fd("state", O_RDONLY);
	ssize_t length = read(fd, text, sizeof(text) - 1);
	const char *found;
	char wanted[32];

	close(fd);
	if (length < 0)
		err(1, "state");
	text[length] = 0;
	snprintf(wanted, sizeof(wanted), "%s=", name);
	found = strstr(text, wanted);
	if (!found)
		errx(1, "no %s in %s", name, text);
	return atol(found + strlen(wanted));
}

static void show_state(void)
{
	char text[512];
	int fd = parameter_fd("state", O_RDONLY);
	ssize_t length = read(fd, text, sizeof(text));

	close(fd);
	printf("%.*s", (int)length, text);
	fflush(stdout);
}

/* What an importer finds is the memory, page by page. */
static void imported(size_t size, long entries)
{
	expect("pattern", set_parameter("pattern", PATTERN), 0);
	show_state();
	expect("pages", state("pages"), size / PAGE);
	expect("pages that are right", state("right"), size / PAGE);
	expect("pages for the CPU", state("with_page"), 0);
	if (entries)
		expect("entries", state("entries"), entries);
}

/* Memory in pieces, between which others have theirs. */
static void test_pieces(void)
{
	int fds[MAX_PIECES], heap = open_heap(), fd;
	size_t piece = 3 * PAGE, rest = 64 * piece, size;
	long before = p2p_available(allocate);
	unsigned char *most;
	unsigned int nr = 0;
	uint64_t *at;

	/* All but little of it goes */
	most = map_memory(allocate, before - rest);
	while (nr < MAX_PIECES && p2p_available(allocate) >= (long)piece)
		fds[nr++] = alloc(heap, piece);
	for (unsigned int i = 0; i < nr; i++) {
		at = map(fds[i], piece);
		write_pattern(at, piece, PATTERN + 1000 * i);
		unmap(at, piece);
	}
	for (unsigned int i = 0; i < nr; i += 2)
		close(fds[i]);
	size = p2p_available(allocate) / PAGE * PAGE;
	printf("%zu bytes in pieces\n", size);
	fd = alloc(heap, size);
	expect("available", p2p_available(allocate) < (long)PAGE, true);
	at = map(fd, size);
	check_zero(at, size);
	write_pattern(at, size, PATTERN);
	check_pattern(at, size, PATTERN);
	if (opt.importer) {
		expect("attach", set_parameter("attach", fd), 0);
		imported(size, 0);
		expect("detach", set_parameter("detach", 0), 0);
	}
	unmap(at, size);
	close(fd);
	for (unsigned int i = 1; i < nr; i += 2) {
		at = map(fds[i], piece);
		check_pattern(at, piece, PATTERN + 1000 * i);
		unmap(at, piece);
		close(fds[i]);
	}
	munmap(most, before - rest);
	expect("available", p2p_available(allocate), before);
}

static void test_import(void)
{
	int heap = open_heap(), fd = alloc(heap, opt.size);
	uint64_t *at = map(fd, opt.size);

	write_pattern(at, opt.size, PATTERN);
	expect("attach", set_parameter("attach", fd), 0);
	imported(opt.size, 1);
	expect("attach again", set_parameter("attach", fd), 0);
	expect("attachments", state("attached"), 2);
	expect("detach", set_parameter("detach", 0), 0);

	expect("dynamic", set_parameter("dynamic", 0), 0);
	expect("attach who cannot be told", set_parameter("attach", fd),
	       -EOPNOTSUPP);
	expect("dynamic", set_parameter("dynamic", 1), 0);
	expect("peer2peer", set_parameter("peer2peer", 0), 0);
	expect("attach who takes no P2P memory", set_parameter("attach", fd),
	       -EOPNOTSUPP);
	expect("peer2peer", set_parameter("peer2peer", 1), 0);
	expect("pin", set_parameter("pin", 1), 0);
	expect("attach who pins", set_parameter("attach", fd), -EOPNOTSUPP);
	expect("pin", set_parameter("pin", 0), 0);

	expect("attach", set_parameter("attach", fd), 0);
	unmap(at, opt.size);
	close(fd);
	/* the importer keeps it */
	imported(opt.size, 1);
	expect("detach", set_parameter("detach", 0), 0);
}

static void test_unreachable(void)
{
	int heap = open_heap(), fd = alloc(heap, opt.size);

	expect("attach for who cannot reach it", set_parameter("attach", fd),
	       -EREMOTEIO);
	expect("attachments", state("attached"), 0);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void unbind_provider(void)
{
	const char *text = opt.remove ? "1" : opt.bdf;
	double start = now();
	char path[256];
	int fd;

	if (opt.remove)
		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/remove",
			 opt.bdf);
	else
		snprintf(path, sizeof(path), "%s/unbind", opt.driver);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		err(1, "%s", path);
	close(fd);
	printf("gone in %.1f s\n", now() - start);
	fflush(stdout);
}

static void test_revoke(void)
{
	int heap = open_heap(), fds[MAX_BUFFERS];
	uint64_t *at[MAX_BUFFERS];
	long before = 0;

	if (opt.importer)
		before = state("notified");
	for (int i = 0; i < MAX_BUFFERS; i++) {
		fds[i] = alloc(heap, opt.size);
		at[i] = map(fds[i], opt.size);
		/* some are there, some are not */
		if (i % 2)
			write_pattern(at[i], opt.size, PATTERN);
		if (opt.importer && i % 4)
			expect("attach", set_parameter("attach", fds[i]), 0);
	}
	/* nobody but the mapping has it */
	close(fds[1]);
	unbind_provider();

	for (int i = 0; i < MAX_BUFFERS; i++) {
		expect("reading", touch(at[i] + WORDS, false), SIGBUS);
		expect("writing", touch(at[i], true), SIGBUS);
		if (i == 1)
			continue;
		expect("mapping", try_map(fds[i], PAGE, PROT_READ, MAP_SHARED, 0),
		       -ENODEV);
		if (opt.importer)
			expect("attach", set_parameter("attach", fds[i]),
			       -ENODEV);
	}
	expect("allocating", try_alloc(heap, PAGE, O_RDWR), -ENODEV);
	expect("heap", RESULT(open(opt.heap, O_RDONLY)), -ENOENT);
	if (opt.importer) {
		show_state();
		expect("mapped", state("mapped"), 0);
		expect("told", state("notified") - before, 6);
		expect("map", set_parameter("map", 1), -ENODEV);
		expect("detach", set_parameter("detach", 0), 0);
	}
	for (int i = 0; i < MAX_BUFFERS; i++) {
		unmap(at[i], opt.size);
		if (i != 1)
			close(fds[i]);
	}
}

/* Keep a buffer, imported, until killed. */
static void test_hold(void)
{
	int heap = open_heap(), fd = alloc(heap, opt.size);

	expect("attach", set_parameter("attach", fd), 0);
	puts("held");
	fflush(stdout);
	pause();
}

/* All there is to do, while the provider comes and goes. Returns whether memory was had. */
static bool use_once(void)
{
	int heap = open(opt.heap, O_RDONLY);
	uint64_t *at = NULL;
	long fd, ret;

	if (heap < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO))
		return false;
	if (heap < 0)
		err(1, "%s", opt.heap);
	fd = try_alloc(heap, opt.size, O_RDWR);
	if (fd < 0 && fd != -ENODEV && fd != -ENOMEM)
		errx(1, "allocating: %s", strerror(-fd));
	if (fd >= 0) {
		ret = try_map(fd, opt.size, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
		if (ret != -ENODEV)
			at = (uint64_t *)ret;
		for (size_t i = 0; at && i < opt.size / PAGE; i += 16) {
			ret = touch(at + i * WORDS, true);
			if (ret && ret != SIGBUS)
				errx(1, "writing: signal %ld", ret);
		}
		ret = set_parameter("attach", fd);
		if (ret && ret != -ENODEV && ret != -ENOSPC)
			errx(1, "attach: %s", strerror(-ret));
		if (random_next() % 4 == 0)
			set_parameter("detach", 0);
		close(fd);
		if (at)
			unmap(at, opt.size);
	}
	close(heap);
	return fd >= 0;
}

static void test_use(void)
{
	double end = now() + opt.seconds;
	unsigned long count = 0, used = 0;

	random_state = getpid();
	/* a slow machine may take that long to have a heap again */
	for (; now() < end || (!used && now() < end + 60); count++)
		used += use_once();
	set_parameter("detach", 0);
	printf("%lu times, %lu of them with memory\n", count, used);
	if (!used)
		errx(1, "there never was memory");
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{ "memory", test_memory },	     { "pieces", test_pieces },
	{ "too-much", test_too_much },
	{ "import", test_import },	     { "unreachable", test_unreachable },
	{ "revoke", test_revoke },	     { "hold", test_hold },
	{ "use", test_use },
};

int main(int argc, char **argv)
{
	static const struct option_entry options[] = {
		{ "heap", "PATH", "DMA heap of the provider", .text = &opt.heap },
		{ "pool", "PATH", "p2pmem of the provider", .text = &opt.pool },
		{ "device", "PATH", "block device to try direct I/O with",
		  .text = &opt.device },
		{ "importer", "PATH", "parameters of the module dmabuf_importer",
		  .text = &opt.importer },
		{ "driver", "PATH", "the provider's driver", .text = &opt.driver },
		{ "bdf", "ADDRESS", "the provider", .text = &opt.bdf },
		{ "remove", NULL, "remove the device, not only its driver",
		  .flag = &opt.remove },
		{ "size", "BYTES", "of a dma-buf", .number = &opt.size },
		{ "seconds", "N", "how long to use it", .number = &opt.seconds },
		{ "test", "NAME",
		  "memory, pieces, too-much, import, unreachable, revoke, hold or use",
		  .text = &opt.test },
		{}
	};

	parse_options(argc, argv, "Usage: p2p_heap --heap PATH --pool PATH --test NAME [OPTION]...",
		      options);
	if (!opt.heap || !opt.pool || !opt.test)
		errx(1, "--heap, --pool and --test are needed, see --help");
	snprintf(allocate, sizeof(allocate), "%s/allocate", opt.pool);
	signal(SIGBUS, on_signal);
	signal(SIGSEGV, on_signal);
	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++)
		if (!strcmp(tests[i].name, opt.test)) {
			tests[i].run();
			return 0;
		}
	errx(1, "no test %s", opt.test);
}
