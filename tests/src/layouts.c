// SPDX-License-Identifier: GPL-2.0
/*
 * Reads and writes of a table of buffers whose pages change their class of memory in chosen places, by every way
 * in. Prints how each ended, what was moved compared with what had to be, and everything around it, too.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <linux/blkzoned.h>
#include <stdint.h>

#include "options.h"
#include "patchwork.h"
#include "ways.h"

#define MAX_RUNS 16
#define MAX_PAGES 1088
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

/* What one command takes, which moves 512 KiB here, 128 KiB behind an IOMMU, and has 128 segments at most on stock */
static const char *const short_table[] = {
	"h1 +0",
	"h2 +4",
	"h128 +0",
	"p1 +0",
	"p2 +256",
	"p128 +0",
	"p129 +4",
	"h20 p16 +256",
	"h20 p16 +0",
	"p16 h20 +256",
	"p16 h20 +0",
	"h16 p16 +0",
	"p16 h17 +508",
	"h1 p1 +3840",
	"p1 h1 +3840",
	"h2 p2 h2 p2 h2 +256",
	"p2 h2 p2 h2 p2 +4",
	"h1 p1 h1 p1 h1 p1 h1 p1 h1 +256",
	"h1 p1 h1 p1 h1 p1 h1 p1 h1 +0",
	"h100 p28 +0",
	"h60 p69 +508",
	"h64 p64 +0",
	"p64 h65 +256",
	"a2 b2 h2 +256",
	"h2 a2 b2 h2 +0",
	"b1 a1 h1 b1 a1 h1 +256",
	"a10 b10 h12 +0",
	"a40 b40 h48 +0",
	NULL
};

static struct {
	const char *file, *place, *a, *b, *only, *unreachable, *ways, *generic;
	unsigned long unit, at, align;
	bool host, brief, cached, blind, list, reads, zone;
} opt = {
	.place = "-",
	.ways = "pread,preadv,io_uring,libaio",
	.align = 1,
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
	{ "short", NULL, "the table of what one command takes",
	  .flag = &opt.brief },
	{ "ways", "LIST",
	  "of pread, preadv, io_uring, libaio, nowait, hipri, iopoll and, by commands passed through, cmd, cmd-vec, cmd-iopoll, ioctl, ioctl64, ioctl64-vec, submit-io, append",
	  .text = &opt.ways },
	{ "generic", "PATH", "what takes those commands, as in /dev/ng0n1",
	  .text = &opt.generic },
	{ "reads", NULL, "no writes", .flag = &opt.reads },
	{ "zone", NULL,
	  "the file is a zone, reset before each write; a drive's generic device if Linux has no block device of it",
	  .flag = &opt.zone },
	{ "only", "LAYOUT", "not the table but this one, as in 'h300 p32 +256'",
	  .text = &opt.only },
	{ "unit", "BYTES", "what the file takes; 0: what it says",
	  .number = &opt.unit },
	{ "align", "BYTES", "leave out what begins elsewhere in its page",
	  .number = &opt.align },
	{ "at", "BYTES", "where in the file to begin", .number = &opt.at },
	{ "list", NULL, "print the table, run nothing", .flag = &opt.list },
	{}
};

struct layout {
	struct patch_run runs[MAX_RUNS];
	unsigned int nr_runs;
	size_t offset, length;
};

static struct patchwork buffer;
static unsigned char *model, *found; /* of the file */
static const struct way *ways[MAX_WAYS];
static int nr_ways;
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

/* The file's first bytes, by none of the ways under test. A drive without a block device takes them by the piece. */
static void move(bool write, unsigned char *data, size_t length)
{
	size_t piece = target.fd < 0 ? 32 * PAGE : length;

	for (size_t done = 0; done < length; done += piece) {
		struct transfer t = {
			.write = write,
			.data = data + done,
			.length = length - done < piece ? length - done : piece,
			.at = opt.at + done,
		};
		long ret = target.fd < 0 ? way_ioctl(&t, NVME_IOCTL_IO64_CMD) :
					   way_plain(&t, 0);

		if (ret != (long)t.length)
			errx(1, "%s: %s it outside of trials: %ld", opt.file,
			     write ? "writing" : "reading", ret);
	}
}

static void read_file(void)
{
	move(false, found, FILE_SIZE);
}

static void reset_zone(void)
{
	struct blk_zone_range range = {
		.sector = opt.at >> 9,
		.nr_sectors = ZONE_SIZE >> 9,
	};
	struct nvme_uring_cmd cmd;

	if (target.fd >= 0) {
		if (ioctl(target.fd, BLKRESETZONE, &range))
			err(1, "%s: BLKRESETZONE", opt.file);
		return;
	}
	cmd = way_command(NVME_CMD_ZONE_SEND, opt.at / opt.unit, NULL, 0);
	cmd.cdw12 = 0;
	cmd.cdw13 = NVME_ZONE_RESET;
	if (pass_ioctl64(target.generic, NVME_IOCTL_IO64_CMD, &cmd))
		errx(1, "%s: resetting a zone", opt.file);
}

/* A zone is written from its beginning on, and reads as zeroes behind what has been written. */
static void prepare_zone(void)
{
	reset_zone();
	memset(model + MARGIN, 0, FILE_SIZE - MARGIN);
	move(true, model, MARGIN);
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

static void try(const struct layout *layout, bool write, const struct way *way,
		char *text, size_t size)
{
	struct transfer transfer = {
		.write = write,
		.data = buffer.pages + layout->offset,
		.length = layout->length,
		.at = opt.at + MARGIN,
	};
	unsigned long calls;
	const char *wrong;
	long ret;

	if (write && opt.zone)
		prepare_zone();
	patch_fill(&buffer, ++seed);
	calls = probed_calls();
	ret = way->issue(&transfer, way->how);
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
	char results[2 * MAX_WAYS][24];
	int trials = opt.reads ? nr_ways : 2 * nr_ways;
	struct layout layout;
	bool alike = true;

	if (!parse_layout(&layout, text) || layout.length % opt.unit ||
	    layout.offset % opt.align)
		return;
	patch_lay(&buffer, layout.runs, layout.nr_runs);
	for (int i = 0; i < trials; i++) {
		try(&layout, i >= nr_ways, ways[i % nr_ways], results[i],
		    sizeof(results[i]));
		alike &= !strcmp(results[i], results[0]);
	}
	printf("%s %s:", opt.place, text);
	for (int i = 0; i < (alike ? 1 : trials); i++)
		printf(" %s", results[i]);
	putchar('\n');
}

/* As large as the table needs it, with content that no other place has. */
static void fill_file(void)
{
	random_state = 1;
	fill_random(model, FILE_SIZE);
	if (opt.zone)
		reset_zone();
	move(true, model, FILE_SIZE);
	read_file();
	if (memcmp(found, model, FILE_SIZE))
		errx(1, "%s does not hold what was written", opt.file);
}

/* A file system that does not say what direct I/O wants takes what its drive does. */
static void open_file(void)
{
	unsigned int unit = 512;
	struct stat status;
	size_t align;

	if (!opt.file)
		errx(1, "--file is missing, see --help");
	if (!stat(opt.file, &status) && S_ISCHR(status.st_mode))
		opt.generic = opt.file;
	else if (opt.unit)
		target.fd = open(opt.file, O_RDWR | O_CREAT | O_DIRECT, 0600);
	else
		target.fd = open_direct(opt.file, &unit, &align);
	if (target.fd < 0 && opt.generic != opt.file)
		err(1, "%s", opt.file);
	if (!opt.unit)
		opt.unit = unit;
	target.unit = opt.unit;
}

static void set_up(void)
{
	nr_ways = parse_ways(opt.ways, ways);
	open_file();
	set_up_ways(opt.generic);
	if (opt.a)
		patch_use(PATCH_A, opt.a);
	if (opt.b)
		patch_use(PATCH_B, opt.b);
	patch_reserve(&buffer, MAX_PAGES * PAGE);
	model = aligned_alloc(PAGE, FILE_SIZE);
	found = aligned_alloc(PAGE, FILE_SIZE);
	if (!model || !found)
		err(1, "memory");
}

int main(int argc, char **argv)
{
	const char *const *table;

	parse_options(
		argc, argv,
		"Usage: layouts --file PATH [option...]\n\n"
		"Prints a line for each layout: reads by each of the ways, then writes by each, or one result if all are alike.\n"
		"full: all was moved, and nothing else; a number: so many bytes, all right; an error, and nothing was moved\n"
		"that it should not. wrong: of other content than reported; spill: more than the buffer was written to;\n"
		"moved: memory that the drive cannot reach was read or written; cached: through the page cache.",
		options);
	table = opt.host ? host_table : opt.brief ? short_table : mixed_table;
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
