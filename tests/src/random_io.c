// SPDX-License-Identifier: GPL-2.0
/*
 * Random vectored I/O of several threads, in flight together and some of it canceled, between a drive or a file
 * and host memory and the memory of two P2P providers, or buffers patched together from pages of all these; all
 * of it is held against models. What fails is shrunk to few operations.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "options.h"
#include "patchwork.h"

#define MAX_PARTS 16
#define MAX_DEPTH 64
#define MAX_THREADS 64
#define FAILURE_SIZE 1024
#define MAX_RUNS 16
/* Pages of one patched buffer in P2P memory, of which there is not so much */
#define MAX_P2P_PAGES 64
/* Operations of a thread between comparisons of everything */
#define CHECK_INTERVAL 64

enum memory { HOST, P2P_A, P2P_B, PATCHED, MEMORIES };
#define WHOLE_MEMORIES PATCHED
enum method { URING_VECTOR, URING_FIXED, URING_PIECES, PLAIN, METHODS };

static const char *const memory_names[] = { "host", "a", "b", "patched" };
static const char *const method_names[] = { "io_uring", "io_uring fixed",
					    "io_uring pieces", "plain" };

static struct {
	const char *device;
	const char *p2p[MEMORIES];
	const char *unreachable;
	bool by_halves;
	const char *replay;
	unsigned long operations, threads, depth, seed;
	unsigned long slot, region, align, p2p_align, tries;
	unsigned long patched, patched_align;
	unsigned long err;
	bool unmixed;
} opt = {
	.operations = 4000,
	.threads = 3,
	.depth = 4,
	.seed = 1,
	.slot = 65536,
	.region = 1 << 20,
	/* QEMU 7.2 loses bytes where a peer's page does not hold whole blocks. */
	.p2p_align = 512,
	.patched_align = 512,
	.tries = 3,
	.err = NOT_SET,
};

static const struct option_entry options[] = {
	{ "device", "PATH",
	  "block device or file; --threads times --region of it is destroyed",
	  .text = &opt.device },
	{ "a", "PATH", "p2pmem/allocate of a provider",
	  .text = &opt.p2p[P2P_A] },
	{ "b", "PATH", "the same of another one", .text = &opt.p2p[P2P_B] },
	{ "unreachable", "WHICH", "a or b: the drive cannot reach it",
	  .text = &opt.unreachable },
	{ "by-halves", NULL,
	  "a call ends before what cannot be reached, or goes on through the page cache, if it begins with other memory",
	  .flag = &opt.by_halves },
	{ "unmixed", NULL, "keep to one memory in each call",
	  .flag = &opt.unmixed },
	{ "operations", "N", "of all threads together",
	  .number = &opt.operations },
	{ "threads", "N",
	  "each with a region of the drive and memory of its own",
	  .number = &opt.threads },
	{ "depth", "N", "operations in flight of each", .number = &opt.depth },
	{ "slot", "BYTES", "of each memory for one operation",
	  .number = &opt.slot },
	{ "region", "BYTES",
	  "of the drive for one thread, the first at its start",
	  .number = &opt.region },
	{ "align", "BYTES",
	  "of buffers in host memory; 0: what the drive takes",
	  .number = &opt.align },
	{ "p2p-align", "BYTES",
	  "of buffers in P2P memory; a peer's loses data below 512 on QEMU 7.2",
	  .number = &opt.p2p_align },
	{ "patched", "BYTES",
	  "of the longest buffer whose pages change their class; 0: have none",
	  .number = &opt.patched },
	{ "patched-align", "BYTES",
	  "of these; below the size of a block, one may be of two classes",
	  .number = &opt.patched_align },
	{ "seed", "N", "of everything random", .number = &opt.seed },
	{ "replay", "LIST",
	  "only these operations, as in 0:12,1:7: the thread and its operation",
	  .text = &opt.replay },
	{ "tries", "N",
	  "how often fewer operations may pass until they count as harmless",
	  .number = &opt.tries },
	{ "err", "N",
	  "let the model of thread 0 err after its operation N or a later one, to test this program",
	  .number = &opt.err },
	{}
};

/* A buffer: where in the thread's part of a memory it begins. */
struct part {
	enum memory memory;
	size_t at;
	size_t length;
};

struct operation {
	unsigned long number;
	enum method method;
	bool write, busy;
	bool cancel; /* by a request that follows at once */
	bool async; /* a worker of the kernel is to issue it */
	bool hold; /* it is submitted along with the next one */
	size_t offset, length, stamp;
	unsigned int pending; /* requests to io_uring */
	long result;
	bool reached; /* the drive can reach all of it */
	size_t before; /* bytes before the first part that it cannot reach */
	unsigned int nr_parts, nr_runs;
	struct part parts[MAX_PARTS];
	struct iovec iov[MAX_PARTS];
	struct patch_run runs[MAX_RUNS];
};

/* An operation of some thread, of those that a run consists of. */
struct item {
	unsigned int thread;
	unsigned long number;
};

static struct worker {
	unsigned int index;
	pthread_t thread;
	struct io_uring ring;
	off_t start; /* of its region */
	unsigned char *model, *scratch;
	unsigned char *memory[MEMORIES], *shadow[MEMORIES];
	struct patchwork patchworks[MAX_DEPTH];
	struct operation slots[MAX_DEPTH];
	unsigned long *numbers; /* of the operations that it has to issue */
	unsigned long nr_numbers, issued;
	bool erred;
	struct {
		unsigned long mixed, full, cut, refused, canceled;
	} counts;
	char failure[FAILURE_SIZE]; /* empty if there is none */
} workers[MAX_THREADS];

static int fd;
static unsigned int lba_size;
static int unreachable = -1;
static atomic_bool stop;

static size_t random_below(size_t limit)
{
	return random_next() % limit;
}

static void fail(struct worker *w, const char *format, ...)
{
	va_list arguments;

	atomic_store(&stop, true);
	if (*w->failure)
		return;
	va_start(arguments, format);
	vsnprintf(w->failure, sizeof(w->failure), format, arguments);
	va_end(arguments);
}

static bool add_part(const struct worker *w, struct operation *op, size_t unit,
		     enum memory memory, size_t *next)
{
	/* Linux refuses blocks of a registered buffer that straddle its pages. */
	size_t align = op->method == URING_FIXED ? lba_size :
		       memory == HOST		 ? opt.align :
						   opt.p2p_align;
	struct part *part = &op->parts[op->nr_parts];
	size_t blocks = 1 + random_below(1UL << random_below(6));

	if (unit == PAGE)
		*next = (*next + PAGE - 1) & ~(PAGE - 1);
	else
		*next += random_below(PAGE / align) * align;
	if (*next + unit > opt.slot)
		return false;
	if (blocks > (opt.slot - *next) / unit)
		blocks = (opt.slot - *next) / unit;
	part->memory = memory;
	part->at = op->number % opt.depth * opt.slot + *next;
	part->length = blocks * unit;
	op->iov[op->nr_parts].iov_base = w->memory[memory] + part->at;
	op->iov[op->nr_parts].iov_len = part->length;
	op->nr_parts++;
	op->length += part->length;
	*next += part->length;
	return true;
}

/* What a run of pages at that distance from the first one can be of. */
static enum patch_memory choose_memory(const struct operation *op, size_t at,
				       size_t limit, size_t p2p_left)
{
	enum patch_memory memory = random_below(PATCH_MEMORIES);

	if (opt.unmixed && op->nr_runs)
		memory = op->runs[0].memory;
	if (patch_is_p2p(memory) && (patch_fds[memory] < 0 || !p2p_left))
		return PATCH_HOST;
	if (memory == PATCH_HUGE &&
	    (at % (HUGE_PAGE / PAGE) || limit < HUGE_PAGE / PAGE))
		return PATCH_HOST;
	return memory;
}

/* Runs of pages for a patched buffer of so many; how many pages they have got. */
static size_t make_runs(struct operation *op, size_t pages)
{
	size_t laid = 0, p2p_left = MAX_P2P_PAGES;

	while (laid < pages && op->nr_runs < MAX_RUNS) {
		struct patch_run *run = &op->runs[op->nr_runs];
		size_t limit = pages - laid;

		run->memory = choose_memory(op, laid, limit, p2p_left);
		if (opt.unmixed && op->nr_runs &&
		    patch_is_p2p(run->memory) != patch_is_p2p(op->runs->memory))
			break;
		if (patch_is_p2p(run->memory) && limit > p2p_left)
			limit = p2p_left;
		run->pages = 1 + random_below(1UL << random_below(10));
		if (run->memory == PATCH_HUGE)
			run->pages = HUGE_PAGE / PAGE;
		if (run->pages > limit)
			run->pages = limit;
		if (patch_is_p2p(run->memory))
			p2p_left -= run->pages;
		laid += run->pages;
		op->nr_runs++;
	}
	return laid;
}

/* Whether the drive reaches these bytes of a patched buffer. */
static bool runs_reached(const struct operation *op, size_t from, size_t to)
{
	size_t start = 0;

	for (unsigned int i = 0; i < op->nr_runs; i++) {
		size_t end = start + op->runs[i].pages * PAGE;

		if (unreachable >= 0 && from < end && to > start &&
		    op->runs[i].memory - PATCH_A + P2P_A ==
			    (unsigned int)unreachable)
			return false;
		start = end;
	}
	return true;
}

/* Cut a patched buffer into vectors, wherever a block ends. */
static void cut(const struct worker *w, struct operation *op, size_t at,
		unsigned int parts)
{
	size_t left = op->length;

	while (left) {
		struct part *part = &op->parts[op->nr_parts];

		part->memory = PATCHED;
		part->at = at;
		part->length = left;
		if (op->nr_parts + 1 < parts && left > lba_size)
			part->length =
				lba_size * (1 + random_below(left / lba_size));
		op->iov[op->nr_parts].iov_base = w->memory[PATCHED] + at;
		op->iov[op->nr_parts].iov_len = part->length;
		op->nr_parts++;
		at += part->length;
		left -= part->length;
	}
}

static void make_patched(const struct worker *w, struct operation *op,
			 unsigned int parts)
{
	const struct patchwork *p = &w->patchworks[op->number % opt.depth];
	size_t pages = 1 + random_below(1UL << random_below(11));
	size_t offset, blocks;

	pages = make_runs(op, pages < opt.patched / PAGE ? pages :
							   opt.patched / PAGE);
	offset = random_below(PAGE / opt.patched_align) * opt.patched_align;
	if (pages * PAGE - offset < lba_size)
		offset = 0;
	blocks = (pages * PAGE - offset) / lba_size;
	if (random_next() & 1)
		blocks = 1 + random_below(blocks);
	op->length = blocks * lba_size;
	op->reached = runs_reached(op, offset, offset + op->length);
	cut(w, op, p->pages - w->memory[PATCHED] + offset, parts);
}

/* The operation of that number is the same in every run of a seed. */
static void make_operation(const struct worker *w, struct operation *op,
			   unsigned long number)
{
	size_t next[MEMORIES] = {};
	enum memory memory = HOST;
	unsigned int parts;
	size_t unit;

	random_state = opt.seed;
	random_state = random_next() ^ ((uint64_t)w->index << 48 | number);
	memset(op, 0, sizeof(*op));
	op->number = number;
	op->reached = true;
	op->before = 0;
	op->write = random_next() & 1;
	op->method = random_below(METHODS);
	op->cancel = !random_below(8) && op->method < URING_PIECES;
	op->async = !random_below(4);
	op->hold = random_next() & 1;
	/* Whole pages all fit into one command, smaller blocks rarely do. */
	unit = random_next() & 1 ? PAGE : lba_size;
	parts = op->method == URING_FIXED || op->method == URING_PIECES ?
			1 :
			1 + random_below(MAX_PARTS);
	if (opt.patched && op->method != URING_FIXED && random_next() & 1) {
		make_patched(w, op, parts);
		parts = 0;
	}
	for (unsigned int i = 0; i < parts; i++) {
		while (op->method != URING_FIXED && (!i || !opt.unmixed)) {
			memory = random_below(WHOLE_MEMORIES);
			if (w->memory[memory])
				break;
		}
		if (!add_part(w, op, unit, memory, &next[memory]))
			break;
		op->reached &= (int)memory != unreachable;
		if (op->reached)
			op->before = op->length;
	}
	op->offset = random_below((opt.region - op->length) / lba_size + 1) *
		     lba_size;
	op->stamp =
		random_below(lba_size / sizeof(uint32_t)) * sizeof(uint32_t);
}

static int describe(const struct worker *w, const struct operation *op,
		    char *text, size_t size)
{
	int length = snprintf(
		text, size,
		"thread %u operation %lu: %s %s of %zu bytes at %zu%s%s%s,",
		w->index, op->number, method_names[op->method],
		op->write ? "write" : "read", op->length, w->start + op->offset,
		op->async ? ", asynchronous" : "", op->hold ? ", held" : "",
		op->cancel ? ", canceled" : "");

	for (unsigned int i = 0; i < op->nr_parts && (size_t)length < size; i++)
		length += snprintf(text + length, size - length, " %s+%zu:%zu",
				   memory_names[op->parts[i].memory],
				   op->parts[i].at, op->parts[i].length);
	for (unsigned int i = 0; i < op->nr_runs && (size_t)length < size; i++)
		length += snprintf(text + length, size - length, "%s %c%zu",
				   i ? "" : ", pages",
				   PATCH_LETTERS[op->runs[i].memory],
				   op->runs[i].pages);
	return length;
}

/* A word that is nowhere else, in every block that the operation moves, or moves data over. */
static void stamp(struct worker *w, const struct operation *op)
{
	for (unsigned int i = 0; i < op->nr_parts; i++) {
		const struct part *part = &op->parts[i];

		for (size_t at = part->at; at < part->at + part->length;
		     at += lba_size) {
			uint32_t word = random_next();

			*(volatile uint32_t *)(w->memory[part->memory] + at +
					       op->stamp) = word;
			memcpy(w->shadow[part->memory] + at + op->stamp, &word,
			       sizeof(word));
		}
	}
}

static bool read_region(struct worker *w, size_t offset, size_t length)
{
	ssize_t ret = pread(fd, w->scratch, length, w->start + offset);

	if (ret != (ssize_t)length)
		fail(w,
		     "thread %u: reading %zu bytes at %zu into host memory gave %zd",
		     w->index, length, w->start + offset,
		     ret < 0 ? -errno : ret);
	return ret == (ssize_t)length;
}

/* A block that was reported to have moved is where it had to go, any other is there or is not. */
static const char *settle_block(struct worker *w, const struct operation *op,
				const struct part *part, size_t at, size_t done,
				size_t reported)
{
	unsigned char *memory = w->memory[part->memory] + at;
	unsigned char *shadow = w->shadow[part->memory] + at;
	unsigned char *model = w->model + op->offset + done;
	unsigned char *to = op->write ? model : shadow;
	unsigned char *from = op->write ? shadow : model;
	unsigned char *actual = w->scratch + done;

	if (done < reported) {
		memcpy(to, from, lba_size);
		if (!op->write && *(volatile uint32_t *)(memory + op->stamp) !=
					  *(uint32_t *)(shadow + op->stamp))
			return "wrong data was read";
		return NULL;
	}
	if (!op->write)
		copy_words(actual, memory, lba_size);
	if (memcmp(actual, to, lba_size) && memcmp(actual, from, lba_size))
		return "a block that was not reported as moved holds foreign data";
	memcpy(to, actual, lba_size);
	return NULL;
}

static const char *settle(struct worker *w, const struct operation *op,
			  size_t reported)
{
	size_t done = 0;

	if (op->write && reported < op->length &&
	    !read_region(w, op->offset, op->length))
		return "and so this was not compared";
	for (unsigned int i = 0; i < op->nr_parts; i++) {
		const struct part *part = &op->parts[i];

		for (size_t at = part->at; at < part->at + part->length;
		     at += lba_size, done += lba_size) {
			const char *wrong =
				settle_block(w, op, part, at, done, reported);

			if (wrong)
				return wrong;
		}
	}
	return NULL;
}

/*
 * What the drive cannot reach fails the whole call. For a device that takes no P2P memory, pages end where it
 * begins, on stock as well; a plain call is short then, and goes on through the page cache.
 */
static bool expected(const struct operation *op, long ret)
{
	if (ret == -ECANCELED)
		return op->cancel;
	if (opt.by_halves && op->before && !op->reached)
		return ret == (long)op->before ||
		       (op->method == PLAIN && ret == (long)op->length);
	return ret == (op->reached ? (long)op->length : -EREMOTEIO);
}

static void count(struct worker *w, const struct operation *op, long ret)
{
	if (op->nr_runs > 1)
		w->counts.mixed++;
	for (unsigned int i = 1; i < op->nr_parts; i++) {
		if (op->parts[i].memory != op->parts[0].memory) {
			w->counts.mixed++;
			break;
		}
	}
	if (ret == -ECANCELED)
		w->counts.canceled++;
	else if (ret < 0)
		w->counts.refused++;
	else if ((size_t)ret < op->length)
		w->counts.cut++;
	else
		w->counts.full++;
}

/* If there are patched buffers, it is behind one of these. */
static void err_on_purpose(struct worker *w, const struct operation *op)
{
	const struct patchwork *p = &w->patchworks[op - w->slots];

	if (opt.patched && !op->nr_runs)
		return;
	if (op->nr_runs)
		*patch_shadow(p, p->size) ^= 1;
	else
		w->model[op->offset] ^= 1;
	w->erred = true;
}

static void complete(struct worker *w, struct operation *op, long ret)
{
	const struct patchwork *p = &w->patchworks[op - w->slots];
	const char *wrong = NULL;
	char text[FAILURE_SIZE - 100];

	op->busy = false;
	count(w, op, ret);
	if (!expected(op, ret))
		wrong = "it did not end as it has to";
	if (!wrong)
		wrong = settle(w, op, ret < 0 ? 0 : ret);
	if (!w->index && op->number >= opt.err && !w->erred)
		err_on_purpose(w, op);
	if (!wrong && op->nr_runs &&
	    !patch_holds(p, -(ptrdiff_t)GUARD, p->size + GUARD))
		wrong = "wrong data was read, or written around the buffer";
	if (wrong) {
		describe(w, op, text, sizeof(text));
		fail(w, "%s gave %ld%s%s: %s", text, ret, ret < 0 ? " " : "",
		     ret < 0 ? strerrorname_np(-ret) : "", wrong);
	}
}

static void complete_request(struct worker *w, struct operation *op, int ret)
{
	if (ret < 0 || op->result < 0)
		op->result = ret < 0 ? ret : op->result;
	else
		op->result += ret;
	if (!--op->pending)
		complete(w, op, op->result);
}

/* Submit what is held, wait for one completion at least, take all there are. */
static void reap(struct worker *w)
{
	struct io_uring_cqe *cqe;
	int ret = io_uring_submit_and_wait(&w->ring, 1);

	if (ret < 0)
		errx(1, "io_uring_submit_and_wait: %s", strerror(-ret));
	while (!io_uring_peek_cqe(&w->ring, &cqe)) {
		unsigned long slot = cqe->user_data;

		if (slot < opt.depth)
			complete_request(w, &w->slots[slot], cqe->res);
		else if (cqe->res && cqe->res != -ENOENT &&
			 cqe->res != -EALREADY)
			fail(w, "thread %u: a cancel gave %d", w->index,
			     cqe->res);
		io_uring_cqe_seen(&w->ring, cqe);
	}
}

/*
 * Whether an operation in flight and this one touch the same page, one of them to write. Those that go on through
 * the page cache need more than different blocks.
 */
static bool conflict(const struct worker *w, const struct operation *op)
{
	for (unsigned int i = 0; i < opt.depth; i++) {
		const struct operation *other = &w->slots[i];

		if (other->busy && (op->write || other->write) &&
		    op->offset < ((other->offset + other->length + PAGE - 1) &
				  -PAGE) &&
		    other->offset <
			    ((op->offset + op->length + PAGE - 1) & -PAGE))
			return true;
	}
	return false;
}

static bool in_flight(const struct worker *w)
{
	for (unsigned int i = 0; i < opt.depth; i++)
		if (w->slots[i].busy)
			return true;
	return false;
}

static struct io_uring_sqe *next_sqe(struct worker *w)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(&w->ring)))
		io_uring_submit(&w->ring);
	return sqe;
}

static void queue(struct worker *w, struct operation *op, const void *data,
		  unsigned int length, size_t done)
{
	static const uint8_t opcodes[][2] = {
		[URING_VECTOR] = { IORING_OP_READV, IORING_OP_WRITEV },
		[URING_FIXED] = { IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED },
		[URING_PIECES] = { IORING_OP_READ, IORING_OP_WRITE },
	};
	struct io_uring_sqe *sqe = next_sqe(w);

	io_uring_prep_rw(opcodes[op->method][op->write], sqe, fd, data, length,
			 w->start + op->offset + done);
	if (op->async)
		sqe->flags |= IOSQE_ASYNC;
	sqe->user_data = op - w->slots;
	op->busy = true;
	op->pending++;
}

/* One buffer in many requests, which the block layer may merge again. */
static void queue_pieces(struct worker *w, struct operation *op)
{
	size_t least = (op->length / lba_size + MAX_PARTS - 1) / MAX_PARTS;
	size_t piece = (least + random_below(4)) * lba_size;

	for (size_t done = 0; done < op->length; done += piece)
		queue(w, op, (char *)op->iov->iov_base + done,
		      op->length - done < piece ? op->length - done : piece,
		      done);
}

static void issue(struct worker *w, struct operation *op)
{
	struct io_uring_sqe *sqe;
	ssize_t ret;

	switch (op->method) {
	case PLAIN:
		ret = (op->write ? pwritev : preadv)(fd, op->iov, op->nr_parts,
						     w->start + op->offset);
		complete(w, op, ret < 0 ? -errno : ret);
		return;
	case URING_VECTOR:
		queue(w, op, op->iov, op->nr_parts, 0);
		break;
	case URING_FIXED:
		queue(w, op, op->iov->iov_base, op->iov->iov_len, 0);
		break;
	default:
		queue_pieces(w, op);
	}
	if (op->cancel) {
		sqe = next_sqe(w);
		io_uring_prep_cancel64(sqe, op - w->slots, 0);
		sqe->user_data = opt.depth + (op - w->slots);
	}
	if (!op->hold)
		io_uring_submit(&w->ring);
}

static void drain(struct worker *w)
{
	while (in_flight(w))
		reap(w);
}

static void compare(struct worker *w, const char *what,
		    const unsigned char *model, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (w->scratch[i] != model[i]) {
			fail(w,
			     "thread %u: byte %zu of its %s is %#x, the model says %#x",
			     w->index, i, what, w->scratch[i], model[i]);
			return;
		}
	}
}

/* Compare every byte that the thread owns. */
static void check(struct worker *w)
{
	drain(w);
	if (!read_region(w, 0, opt.region))
		return;
	compare(w, "region", w->model, opt.region);
	for (int i = 0; i < WHOLE_MEMORIES; i++) {
		if (!w->memory[i])
			continue;
		copy_words(w->scratch, w->memory[i], opt.depth * opt.slot);
		compare(w, memory_names[i], w->shadow[i], opt.depth * opt.slot);
	}
	for (unsigned int i = 0; opt.patched && i < opt.depth; i++) {
		const struct patchwork *p = &w->patchworks[i];

		if (p->size &&
		    !patch_holds(p, -(ptrdiff_t)GUARD, p->size + GUARD))
			fail(w,
			     "thread %u: patched buffer %u changed after its operation",
			     w->index, i);
	}
}

static void fill(struct worker *w)
{
	random_state = opt.seed + w->index;
	fill_random(w->model, opt.region);
	if (pwrite(fd, w->model, opt.region, w->start) != (ssize_t)opt.region)
		err(1, "filling %s", opt.device);
	for (int i = 0; i < WHOLE_MEMORIES; i++) {
		if (!w->memory[i])
			continue;
		fill_random(w->shadow[i], opt.depth * opt.slot);
		copy_words(w->memory[i], w->shadow[i], opt.depth * opt.slot);
	}
}

static void lay(struct worker *w, const struct operation *op)
{
	struct patchwork *p = &w->patchworks[op - w->slots];

	patch_lay(p, op->runs, op->nr_runs);
	patch_fill(p, (uint64_t)w->index << 32 | op->number);
}

static void *work(void *argument)
{
	struct worker *w = argument;

	for (unsigned int i = 0; opt.patched && i < opt.depth; i++)
		patch_lay(&w->patchworks[i], NULL, 0);
	fill(w);
	while (w->issued < w->nr_numbers && !atomic_load(&stop)) {
		unsigned long number = w->numbers[w->issued];
		struct operation *op = &w->slots[number % opt.depth];

		while (op->busy)
			reap(w);
		make_operation(w, op, number);
		while (conflict(w, op))
			reap(w);
		if (op->nr_runs)
			lay(w, op);
		stamp(w, op);
		issue(w, op);
		if (!(++w->issued % CHECK_INTERVAL))
			check(w);
	}
	check(w);
	return NULL;
}

/* Run these operations from the start; whether that failed, and then why. */
static bool run(const struct item *items, size_t nr_items, char *failure)
{
	bool failed = false;

	atomic_store(&stop, false);
	for (unsigned int i = 0; i < opt.threads; i++) {
		workers[i].nr_numbers = workers[i].issued = 0;
		*workers[i].failure = '\0';
		workers[i].erred = false;
	}
	for (size_t i = 0; i < nr_items; i++) {
		struct worker *w = &workers[items[i].thread];

		w->numbers[w->nr_numbers++] = items[i].number;
	}
	for (unsigned int i = 0; i < opt.threads; i++)
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			errx(1, "no thread can be created");
	for (unsigned int i = 0; i < opt.threads; i++) {
		pthread_join(workers[i].thread, NULL);
		if (*workers[i].failure && !failed) {
			memcpy(failure, workers[i].failure, FAILURE_SIZE);
			failed = true;
		}
	}
	return failed;
}

static bool fails(const struct item *items, size_t nr_items, char *failure)
{
	for (unsigned long i = 0; i < opt.tries; i++)
		if (run(items, nr_items, failure))
			return true;
	return false;
}

/* Leave out what is not needed to fail: halves, then smaller and smaller chunks. */
static size_t shrink(struct item *items, size_t nr_items, char *failure)
{
	struct item *rest = calloc(nr_items, sizeof(*rest));
	size_t chunk = nr_items;

	if (!rest)
		err(1, "memory");
	do {
		chunk = (chunk + 1) / 2;
		for (size_t start = 0; start < nr_items;) {
			size_t after = start + chunk < nr_items ?
					       start + chunk :
					       nr_items;
			size_t left = start + nr_items - after;

			memcpy(rest, items, start * sizeof(*items));
			memcpy(rest + start, items + after,
			       (nr_items - after) * sizeof(*items));
			if (left && fails(rest, left, failure)) {
				memcpy(items, rest, left * sizeof(*items));
				nr_items = left;
			} else {
				start = after;
			}
		}
	} while (chunk > 1);
	free(rest);
	return nr_items;
}

/* Of what was to be done, keep what was begun. */
static size_t begun(struct item *items, size_t nr_items)
{
	unsigned long seen[MAX_THREADS] = {};
	size_t kept = 0;

	for (size_t i = 0; i < nr_items; i++)
		if (seen[items[i].thread]++ < workers[items[i].thread].issued)
			items[kept++] = items[i];
	return kept;
}

static void print_failure(int argc, char **argv, const struct item *items,
			  size_t nr_items, const char *failure)
{
	struct operation op;
	char text[FAILURE_SIZE];

	fprintf(stderr, "%zu operation%s remain%s:\n", nr_items,
		nr_items == 1 ? "" : "s", nr_items == 1 ? "s" : "");
	for (size_t i = 0; i < nr_items; i++) {
		make_operation(&workers[items[i].thread], &op, items[i].number);
		describe(&workers[items[i].thread], &op, text, sizeof(text));
		fprintf(stderr, "  %s\n", text);
	}
	fprintf(stderr, "%s\nreplay:", failure);
	for (int i = 0; i < argc; i++)
		fprintf(stderr, " %s", argv[i]);
	for (size_t i = 0; i < nr_items; i++)
		fprintf(stderr, "%s%u:%lu", i ? "," : " --replay ",
			items[i].thread, items[i].number);
	fputc('\n', stderr);
}

static void report(size_t nr_items)
{
	unsigned long mixed = 0, full = 0, cut = 0, refused = 0, canceled = 0;

	for (unsigned int i = 0; i < opt.threads; i++) {
		mixed += workers[i].counts.mixed;
		full += workers[i].counts.full;
		cut += workers[i].counts.cut;
		refused += workers[i].counts.refused;
		canceled += workers[i].counts.canceled;
	}
	printf("{\"seed\":%lu,\"operations\":%zu,\"mixed\":%lu,\"full\":%lu,\"short\":%lu,\"refused\":%lu,\"canceled\":%lu}\n",
	       opt.seed, nr_items, mixed, full, cut, refused, canceled);
}

static struct item *all_items(size_t *nr_items)
{
	struct item *items = calloc(opt.operations, sizeof(*items));

	if (!items)
		err(1, "memory");
	for (size_t i = 0; i < opt.operations; i++) {
		items[i].thread = i % opt.threads;
		items[i].number = i / opt.threads;
	}
	*nr_items = opt.operations;
	return items;
}

static struct item *replay_items(size_t *nr_items)
{
	struct item *items = NULL;
	const char *text = opt.replay;
	int length;

	for (*nr_items = 0;; text += length + 1) {
		struct item item;

		if (sscanf(text, "%u:%lu%n", &item.thread, &item.number,
			   &length) != 2 ||
		    item.thread >= opt.threads)
			errx(1, "--replay wants THREAD:NUMBER,..., not '%s'",
			     text);
		items = realloc(items, (*nr_items + 1) * sizeof(*items));
		if (!items)
			err(1, "memory");
		items[(*nr_items)++] = item;
		if (text[length] != ',')
			return items;
	}
}

static void *allocate(size_t size)
{
	void *memory = aligned_alloc(PAGE, (size + PAGE - 1) & -PAGE);

	if (!memory)
		err(1, "memory");
	return memory;
}

/* Buffers for each slot of a thread, in one range of memory */
static void set_up_patchworks(struct worker *w)
{
	size_t stride = (opt.patched + 2 * GUARD + HUGE_PAGE - 1) & -HUGE_PAGE;
	struct patchwork all;

	patch_reserve(&all, opt.depth * stride - 2 * GUARD);
	w->memory[PATCHED] = all.pages - GUARD;
	w->shadow[PATCHED] = all.shadow;
	for (unsigned int i = 0; i < opt.depth; i++) {
		w->patchworks[i] = all;
		w->patchworks[i].pages += i * stride;
		w->patchworks[i].shadow += i * stride;
	}
}

static void set_up_worker(struct worker *w, size_t nr_numbers)
{
	size_t size = opt.depth * opt.slot;
	struct iovec host = { .iov_len = size };
	int ret;

	w->start = w->index * opt.region;
	w->model = allocate(opt.region);
	w->scratch = allocate(size > opt.region ? size : opt.region);
	w->numbers = allocate(nr_numbers * sizeof(*w->numbers));
	if (opt.patched)
		set_up_patchworks(w);
	for (int i = 0; i < WHOLE_MEMORIES; i++) {
		if (i != HOST && !opt.p2p[i])
			continue;
		w->memory[i] = map_memory(opt.p2p[i], size);
		w->shadow[i] = allocate(size);
	}
	ret = io_uring_queue_init((MAX_PARTS + 1) * opt.depth, &w->ring, 0);
	if (ret)
		errx(1, "io_uring_queue_init: %s", strerror(-ret));
	host.iov_base = w->memory[HOST];
	ret = io_uring_register_buffers(&w->ring, &host, 1);
	if (ret)
		errx(1, "io_uring_register_buffers: %s", strerror(-ret));
}

static void set_up(void)
{
	size_t align;

	if (!opt.device)
		errx(1, "--device is missing, see --help");
	fd = open_direct(opt.device, &lba_size, &align);
	if (!opt.align)
		opt.align = align;
	if (!opt.threads || opt.threads > MAX_THREADS || !opt.depth ||
	    opt.depth > MAX_DEPTH)
		errx(1, "--threads is 1 to %u, --depth 1 to %u", MAX_THREADS,
		     MAX_DEPTH);
	if (opt.slot < 2 * PAGE || (opt.slot | opt.region) & (PAGE - 1) ||
	    opt.region < WHOLE_MEMORIES * opt.slot)
		errx(1,
		     "--slot is whole pages, two at least, and --region is whole pages, %u slots at least",
		     WHOLE_MEMORIES);
	if (opt.patched & (PAGE - 1) || opt.patched > opt.region)
		errx(1, "--patched is whole pages, no more than --region");
	for (int i = P2P_A; i <= P2P_B; i++)
		if (opt.patched && opt.p2p[i])
			patch_use(PATCH_A + i - P2P_A, opt.p2p[i]);
	/* What readahead caches would be stale after another thread's direct writes. */
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	for (int i = P2P_A; opt.unreachable && i <= P2P_B; i++)
		if (!strcmp(opt.unreachable, memory_names[i]))
			unreachable = i;
	if (opt.unreachable && unreachable < 0)
		errx(1, "--unreachable is a or b");
}

int main(int argc, char **argv)
{
	struct item *items;
	char failure[FAILURE_SIZE];
	size_t nr_items;

	parse_options(
		argc, argv,
		"Usage: random_io --device PATH [option...]\n\n"
		"Prints how the operations ended as one line of JSON, or else the fewest that fail.",
		options);
	set_up();
	items = opt.replay ? replay_items(&nr_items) : all_items(&nr_items);
	for (unsigned int i = 0; i < opt.threads; i++) {
		workers[i].index = i;
		set_up_worker(&workers[i], nr_items);
	}
	if (!run(items, nr_items, failure)) {
		report(nr_items);
		return 0;
	}
	warnx("%s", failure);
	if (opt.replay)
		return 1;
	nr_items = begun(items, nr_items);
	if (!fails(items, nr_items, failure))
		errx(1, "this did not happen again in %lu tries", opt.tries);
	nr_items = shrink(items, nr_items, failure);
	print_failure(argc, argv, items, nr_items, failure);
	return 1;
}
