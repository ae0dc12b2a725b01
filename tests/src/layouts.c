// SPDX-License-Identifier: GPL-2.0
/*
 * Reads and writes of a table of buffers whose pages change their class of memory in chosen places, by every way
 * in. Prints how each ended, what was moved compared with what had to be, and everything around it, too.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <liburing.h>
#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "options.h"
#include "patchwork.h"

#define MAX_RUNS 16
#define MAX_PAGES 1088
#define MAX_VECTORS 1024
/* What must not change in the file before and behind what is written */
#define MARGIN (16 * PAGE)
#define FILE_SIZE (MAX_PAGES * PAGE + 2 * MARGIN)

/*
 * Runs of pages: their number after what they are of, h or H of the host, p, a or b of a provider; then how far into
 * the first page the buffer begins. One that does not begin with a page ends as far into its last page.
 */
static const char *const mixed_table[] = {
	"h300 p32 +256", /* once lost what one bio took: wrong data, and bytes written behind it */
	"h300 p32 +0",
	"h300 p32 +512",
	"h280 p32 +260",
	"h520 p32 +256",
	"h20 p16 +256", /* once EINVAL */
	"h20 p16 +512",
	"h20 p16 +4",
	"h20 p16 +508",
	"p16 h20 +256",
	"p20 h300 +256",
	"p2 +256",
	"h1 p1 +3840", /* the first block is of two classes, and the last */
	"p1 h1 +3840",
	"h2 p2 +3840", /* the first one */
	"p2 h2 +3840",
	"h2 p1 +256", /* the last one */
	"p2 h1 +256",
	"h2 p2 h2 p2 h2 +256", /* some within */
	"p2 h2 p2 h2 p2 +4",
	"h1 p1 h1 p1 h1 p1 h1 p1 h1 +256",
	"h1 p1 h1 p1 h1 p1 h1 p1 h1 +0",
	"h255 p1 h1 +256", /* around the 256 vectors of a bio */
	"h256 p1 h1 +256",
	"h257 p1 h1 +256",
	"h255 p2 h255 p2 +256",
	"h128 p128 h128 p128 +256",
	"H512 p16 +256", /* a huge page */
	"p16 h496 H512 +256",
	"h512 p16 +0",
	"h700 p64 h200 +260",
	"a2 b2 h2 +256", /* three classes */
	"h2 a2 b2 h2 +256",
	"h2 a2 b2 h2 +512",
	"b1 a1 h1 b1 a1 h1 +256",
	"h300 a16 b16 +256",
	"a16 b16 h300 +4",
	"H512 a2 h2 b2 +256",
	NULL
};

static const char *const host_table[] = { "h1 +0",   "h16 +256",  "h256 +0",
					  "h257 +0", "h257 +256", "h600 +0",
					  "h600 +4", "h1024 +0",  "H512 +512",
					  NULL };

enum way { PLAIN, VECTOR, URING, LIBAIO, WAYS };

static struct {
	const char *file, *place, *a, *b, *only, *unreachable;
	unsigned long unit, at;
	bool host, cached, blind, list;
} opt = {
	.place = "-",
};

static const struct option_entry options[] = {
	{ "file", "PATH",
	  "block device or file, of which 4.4 MiB are destroyed",
	  .text = &opt.file },
	{ "place", "NAME", "what to call it", .text = &opt.place },
	{ "a", "PATH", "p2pmem/allocate of a provider", .text = &opt.a },
	{ "b", "PATH", "the same of another one", .text = &opt.b },
	{ "unreachable", "LETTERS",
	  "those that the drive cannot reach: see that nothing moves their bytes",
	  .text = &opt.unreachable },
	{ "cached", NULL,
	  "see whether the page cache is gone through, by the probes in kprobe_profile",
	  .flag = &opt.cached },
	{ "blind", NULL, "compare no data, as the file fails in some places",
	  .flag = &opt.blind },
	{ "host", NULL, "the table without P2P memory", .flag = &opt.host },
	{ "only", "LAYOUT", "not the table but this one, as in 'h300 p32 +256'",
	  .text = &opt.only },
	{ "unit", "BYTES", "what the file takes; 0: what it says",
	  .number = &opt.unit },
	{ "at", "BYTES", "where in the file to begin", .number = &opt.at },
	{ "list", NULL, "print the table, run nothing", .flag = &opt.list },
	{}
};

struct layout {
	struct patch_run runs[MAX_RUNS];
	unsigned int nr_runs;
	size_t offset, length;
};

static int fd;
static struct patchwork buffer;
static unsigned char *model, *found; /* of the file */
static struct io_uring ring;
static aio_context_t aio_context;
static uint64_t seed;

static bool parse_run(struct layout *layout, char letter, size_t pages)
{
	struct patch_run *run = &layout->runs[layout->nr_runs++];
	const char *at = strchr(PATCH_LETTERS, letter);

	run->pages = pages;
	if (letter == 'p')
		run->memory = opt.b ? PATCH_B : PATCH_A;
	else if (at)
		run->memory = at - PATCH_LETTERS;
	else
		errx(1, "no memory is called %c", letter);
	return !patch_is_p2p(run->memory) || patch_fds[run->memory] >= 0;
}

/* Whether there is all memory that the layout wants. */
static bool parse_layout(struct layout *layout, const char *text)
{
	bool possible = true;
	size_t pages = 0, number;
	char letter;
	int length;

	memset(layout, 0, sizeof(*layout));
	while (sscanf(text, " %c%zu%n", &letter, &number, &length) == 2) {
		text += length;
		if (letter == '+') {
			layout->offset = number;
			break;
		}
		pages += number;
		if (layout->nr_runs == MAX_RUNS || pages > MAX_PAGES)
			errx(1, "a layout has %u runs and %u pages at most",
			     MAX_RUNS, MAX_PAGES);
		possible &= parse_run(layout, letter, number);
	}
	if (*text || !pages || layout->offset >= PAGE)
		errx(1, "this is no layout: %s", text);
	layout->length = (pages - !!layout->offset) * PAGE;
	if (!layout->length)
		layout->length = PAGE - layout->offset;
	return possible;
}

static bool is_unreachable(enum patch_memory memory)
{
	return opt.unreachable &&
	       strchr(opt.unreachable, PATCH_LETTERS[memory]);
}

/* Of the bytes of the buffer from one to another, are there any that the drive cannot reach? */
static bool has_unreachable(const struct layout *layout, size_t from, size_t to)
{
	size_t start = 0;

	for (unsigned int i = 0; i < layout->nr_runs; i++) {
		size_t end = start + layout->runs[i].pages * PAGE;

		if (is_unreachable(layout->runs[i].memory) &&
		    layout->offset + from < end && layout->offset + to > start)
			return true;
		start = end;
	}
	return false;
}

/* More vectors than a bio takes, if the buffer is long enough */
static int split(const struct layout *layout, struct iovec *iov)
{
	unsigned char *data = buffer.pages + layout->offset;
	size_t piece = layout->length / 700 / opt.unit * opt.unit + opt.unit;
	int nr = 0;

	for (size_t done = 0; done < layout->length; done += piece) {
		iov[nr].iov_base = data + done;
		iov[nr++].iov_len = layout->length - done < piece ?
					    layout->length - done :
					    piece;
	}
	return nr;
}

static long issue_aio(bool write, void *data, size_t length)
{
	struct iocb iocb = {
		.aio_lio_opcode = write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
		.aio_fildes = fd,
		.aio_buf = (uintptr_t)data,
		.aio_nbytes = length,
		.aio_offset = opt.at + MARGIN,
	};
	struct iocb *iocbs = &iocb;
	struct io_event event;

	if (syscall(SYS_io_submit, aio_context, 1, &iocbs) != 1)
		return -errno;
	if (syscall(SYS_io_getevents, aio_context, 1, 1, &event, NULL) != 1)
		err(1, "io_getevents");
	return event.res;
}

static long issue_uring(bool write, void *data, size_t length)
{
	struct io_uring_cqe *cqe;
	long ret;

	io_uring_prep_rw(write ? IORING_OP_WRITE : IORING_OP_READ,
			 io_uring_get_sqe(&ring), fd, data, length,
			 opt.at + MARGIN);
	if (io_uring_submit(&ring) != 1 || io_uring_wait_cqe(&ring, &cqe))
		errx(1, "io_uring");
	ret = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	return ret;
}

static long issue(const struct layout *layout, bool write, enum way way)
{
	unsigned char *data = buffer.pages + layout->offset;
	struct iovec iov[MAX_VECTORS];
	long ret;
	int nr;

	switch (way) {
	case PLAIN:
		ret = write ? pwrite(fd, data, layout->length,
				     opt.at + MARGIN) :
			      pread(fd, data, layout->length, opt.at + MARGIN);
		return ret < 0 ? -errno : ret;
	case VECTOR:
		nr = split(layout, iov);
		ret = write ? pwritev(fd, iov, nr, opt.at + MARGIN) :
			      preadv(fd, iov, nr, opt.at + MARGIN);
		return ret < 0 ? -errno : ret;
	case URING:
		return issue_uring(write, data, layout->length);
	default:
		return issue_aio(write, data, layout->length);
	}
}

/* How often the functions were called that kprobes have been set on. */
static unsigned long probed_calls(void)
{
	FILE *file;
	unsigned long hits, missed, calls = 0;

	if (!opt.cached)
		return 0;
	file = fopen("/sys/kernel/tracing/kprobe_profile", "r");
	if (!file)
		err(1, "kprobe_profile");
	while (fscanf(file, "%*s %lu %lu", &hits, &missed) == 2)
		calls += hits + missed;
	fclose(file);
	return calls;
}

/* Whether what the drive cannot reach is as it was, from that byte of the buffer on. */
static bool unreachable_holds(const struct layout *layout, size_t done)
{
	size_t from = layout->offset + done, end = 0;

	for (unsigned int i = 0; i < layout->nr_runs; i++) {
		size_t start = end;

		end += layout->runs[i].pages * PAGE;
		if (is_unreachable(layout->runs[i].memory) && end > from &&
		    !patch_holds(&buffer, start > from ? start : from, end))
			return false;
	}
	return true;
}

static const char *check_read(const struct layout *layout, size_t done)
{
	if (!patch_guards_hold(&buffer, layout->offset, layout->length))
		return "spill";
	if (!unreachable_holds(layout, done))
		return "moved";
	if (opt.blind)
		return NULL;
	memcpy(patch_shadow(&buffer, layout->offset), model + MARGIN, done);
	if (!patch_holds(&buffer, layout->offset, layout->offset + done))
		return "wrong";
	return NULL;
}

static void read_file(void)
{
	if (pread(fd, found, FILE_SIZE, opt.at) != (ssize_t)FILE_SIZE)
		err(1, "%s: reading it back", opt.file);
}

static const char *check_write(const struct layout *layout, size_t done)
{
	unsigned char *source = patch_shadow(&buffer, layout->offset);
	size_t end = MARGIN + layout->length, unit = opt.unit;
	const char *wrong = NULL;

	if (opt.blind)
		return NULL;
	read_file();
	if (!patch_holds(&buffer, -(ptrdiff_t)GUARD, buffer.size + GUARD) ||
	    memcmp(found, model, MARGIN) ||
	    memcmp(found + end, model + end, FILE_SIZE - end))
		wrong = "spill";
	else if (memcmp(found + MARGIN, source, done))
		wrong = "wrong";
	for (size_t at = done; opt.unreachable && at < layout->length;
	     at += unit)
		if (has_unreachable(layout, at, at + unit) &&
		    memcmp(found + MARGIN + at, model + MARGIN + at, unit))
			wrong = "moved";
	memcpy(model, found, FILE_SIZE);
	return wrong;
}

static void try(const struct layout *layout, bool write, enum way way,
		char *text, size_t size)
{
	unsigned long calls;
	const char *wrong;
	long ret;

	patch_fill(&buffer, ++seed);
	calls = probed_calls();
	ret = issue(layout, write, way);
	calls = probed_calls() - calls;
	wrong = (write ? check_write : check_read)(layout, ret < 0 ? 0 : ret);
	if (wrong)
		snprintf(text, size, "%s", wrong);
	else if (calls)
		snprintf(text, size, "cached");
	else if (ret == (long)layout->length)
		snprintf(text, size, "full");
	else if (ret < 0)
		snprintf(text, size, "%s", strerrorname_np(-ret));
	else
		snprintf(text, size, "%ld", ret);
}

static void run(const char *text)
{
	char results[2 * WAYS][24];
	struct layout layout;
	bool alike = true;

	if (!parse_layout(&layout, text) || layout.length % opt.unit)
		return;
	patch_lay(&buffer, layout.runs, layout.nr_runs);
	for (int i = 0; i < 2 * WAYS; i++) {
		try(&layout, i >= WAYS, i % WAYS, results[i],
		    sizeof(results[i]));
		alike &= !strcmp(results[i], results[0]);
	}
	printf("%s %s:", opt.place, text);
	for (int i = 0; i < (alike ? 1 : 2 * WAYS); i++)
		printf(" %s", results[i]);
	putchar('\n');
}

/* As large as the table needs it, with content that no other place has. */
static void fill_file(void)
{
	random_state = 1;
	fill_random(model, FILE_SIZE);
	if (pwrite(fd, model, FILE_SIZE, opt.at) != (ssize_t)FILE_SIZE)
		err(1, "filling %s", opt.file);
	read_file();
	if (memcmp(found, model, FILE_SIZE))
		errx(1, "%s does not hold what was written", opt.file);
}

static void set_up(void)
{
	unsigned int unit;
	size_t align;

	if (!opt.file)
		errx(1, "--file is missing, see --help");
	fd = open_direct(opt.file, &unit, &align);
	if (!opt.unit)
		opt.unit = unit;
	if (opt.a)
		patch_use(PATCH_A, opt.a);
	if (opt.b)
		patch_use(PATCH_B, opt.b);
	patch_reserve(&buffer, MAX_PAGES * PAGE);
	model = aligned_alloc(PAGE, FILE_SIZE);
	found = aligned_alloc(PAGE, FILE_SIZE);
	if (!model || !found)
		err(1, "memory");
	if (io_uring_queue_init(4, &ring, 0))
		errx(1, "io_uring_queue_init");
	if (syscall(SYS_io_setup, 4, &aio_context))
		err(1, "io_setup");
}

int main(int argc, char **argv)
{
	const char *const *table;

	parse_options(
		argc, argv,
		"Usage: layouts --file PATH [option...]\n\n"
		"Prints a line for each layout: reads by pread, preadv, io_uring and libaio, then writes in the same ways, or\n"
		"one result if all are alike.\n"
		"full: all was moved, and nothing else; a number: so many bytes, all right; an error, and nothing was moved\n"
		"that it should not. wrong: of other content than reported; spill: more than the buffer was written to;\n"
		"moved: memory that the drive cannot reach was read or written; cached: through the page cache.",
		options);
	table = opt.host ? host_table : mixed_table;
	if (opt.list) {
		for (; *table; table++)
			puts(*table);
		return 0;
	}
	set_up();
	if (!opt.blind)
		fill_file();
	if (opt.only)
		run(opt.only);
	for (; !opt.only && *table; table++)
		run(*table);
	return 0;
}
