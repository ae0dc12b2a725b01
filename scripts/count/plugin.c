// SPDX-License-Identifier: GPL-2.0
/*
 * QEMU TCG plugin: how often each guest kernel instruction is executed, by address.
 * Ends a phase, and writes its counts, whenever the guest executes the address given by mark=.
 * Code in the ranges that shared= lists is counted by the code that called it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * QEMU's plugin interface. No package ships its header, so what is used of it is declared here.
 * QEMU_PLUGIN_API is the version of it to announce, and scripts/count/build sets it: 1, 2 or 7.
 * Counting with these functions, not with QEMU's inline counters, is what lets code that every
 * layer calls be counted for its caller; those counters changed in version 2, too.
 */
typedef uint64_t qemu_plugin_id_t;

typedef struct {
	const char *target_name;
	struct {
		int min;
		int cur;
	} version;
	bool system_emulation;
	struct {
		int smp_vcpus;
		int max_vcpus;
	} system;
} qemu_info_t;

enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

struct qemu_plugin_tb;
struct qemu_plugin_insn;

typedef void (*executed_t)(unsigned int vcpu, void *data);

/* Up to version 6 callbacks get the plugin's id, since 7 the data they were registered with. */
#if QEMU_PLUGIN_API < 7
void qemu_plugin_register_vcpu_tb_trans_cb(
	qemu_plugin_id_t id,
	void (*cb)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id,
				    void (*cb)(qemu_plugin_id_t id, void *data),
				    void *data);
#else
void qemu_plugin_register_vcpu_tb_trans_cb(
	qemu_plugin_id_t id,
	void (*cb)(struct qemu_plugin_tb *tb, void *data), void *data);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id,
				    void (*cb)(void *data), void *data);
#endif
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
					  executed_t cb,
					  enum qemu_plugin_cb_flags flags,
					  void *data);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    executed_t cb,
					    enum qemu_plugin_cb_flags flags,
					    void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *
qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t idx);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);

#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = QEMU_PLUGIN_API;

/* How often a block was begun, and how often it was left early before each of its instructions. */
struct tally {
	uint64_t begun;
	uint64_t *left;
};

/* A straight run of instructions: QEMU's translation block, kept over retranslation. */
struct block {
	struct block *next;
	struct tally tally;
	size_t count;
	uint64_t address[];
};

/* How often a shared block was executed on behalf of the block that ran last before shared code. */
struct call {
	struct call *next;
	const struct block *shared;
	const struct block *caller;
	struct tally tally;
};

struct range {
	uint64_t start;
	uint64_t end;
};

#define BUCKETS (1 << 16)

static struct block *blocks[BUCKETS];
static struct call *calls[BUCKETS];
static const struct block *caller;
static const struct block *last;
static const struct block *unfinished;
static struct tally *unfinished_tally;
static uint64_t below;
static uint64_t from = 0xffff800000000000;
static uint64_t mark;
static struct range *shared;
static size_t shared_count;
static const char *out;
static unsigned int phase;

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "count plugin: %s: %s\n", what, why);
	exit(1);
}

static void *allocate(size_t size)
{
	void *memory = calloc(1, size);

	if (!memory)
		fail("no memory", strerror(errno));
	return memory;
}

static void write_block(FILE *file, const struct block *block,
			struct tally *tally, uint64_t by)
{
	uint64_t executed = tally->begun;

	for (size_t i = 0; executed && i < block->count; i++) {
		if (tally->left)
			executed -= tally->left[i];
		fprintf(file, "%016" PRIx64 " %" PRIu64 " %016" PRIx64 "\n",
			block->address[i], executed, by);
	}
	tally->begun = 0;
	free(tally->left);
	tally->left = NULL;
}

/*
 * One line per instruction of an executed block: address, executions, and for shared code the
 * address of the call or jump that led there, else 0. Address 0 stands for all below from=.
 */
static void end_phase(void)
{
	char name[4096];
	FILE *file;

	snprintf(name, sizeof(name), "%s.%u", out, phase++);
	file = fopen(name, "w");
	if (!file)
		fail(name, strerror(errno));

	fprintf(file, "%016x %" PRIu64 " %016x\n", 0, below, 0);
	below = 0;
	unfinished = NULL;
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct block *block = blocks[i]; block;
		     block = block->next) {
			write_block(file, block, &block->tally, 0);
		}
		for (struct call *call = calls[i]; call; call = call->next) {
			write_block(file, call->shared, &call->tally,
				    call->caller ?
					    call->caller->address
						    [call->caller->count - 1] :
					    0);
		}
	}

	if (fclose(file))
		fail(name, strerror(errno));
}

static void on_mark(unsigned int vcpu, void *data)
{
	end_phase();
}

static void on_below(unsigned int vcpu, void *data)
{
	below += (uintptr_t)data;
	last = NULL;
	unfinished = NULL;
}

static void on_last_instruction(unsigned int vcpu, void *data)
{
	unfinished = NULL;
}

/*
 * From 8.2 on QEMU leaves a block at an instruction that reads or writes a device's registers,
 * executes that one unseen, and goes on with the next one as the start of another block.
 */
static void leave_unfinished(const struct block *next)
{
	for (size_t i = 1; unfinished && i < unfinished->count; i++) {
		if (unfinished->address[i] != next->address[0])
			continue;
		if (!unfinished_tally->left)
			unfinished_tally->left = allocate(
				unfinished->count * sizeof(uint64_t));
		unfinished_tally->left[i]++;
		break;
	}
	unfinished = NULL;
}

static void begin(const struct block *block, struct tally *tally)
{
	leave_unfinished(block);
	tally->begun++;
	if (block->count > 1) {
		unfinished = block;
		unfinished_tally = tally;
	}
}

/*
 * Up to QEMU 9.2 a string instruction with a rep prefix is executed again and again as a block of
 * its own, once for each element. A processor counts it once, and so do we.
 */
static bool is_repetition(const struct block *block)
{
	const struct block *before = last;

	last = block;
	return block->count == 1 && before &&
	       before->address[before->count - 1] == block->address[0];
}

static void on_block(unsigned int vcpu, void *data)
{
	struct block *block = data;

	if (is_repetition(block))
		return;
	begin(block, &block->tally);
	caller = block;
}

static void on_shared_block(unsigned int vcpu, void *data)
{
	struct call **bucket =
		&calls[((uintptr_t)data / 16 * 31 + (uintptr_t)caller / 16) %
		       BUCKETS];
	struct call *call;

	if (is_repetition(data))
		return;
	for (call = *bucket; call; call = call->next) {
		if (call->shared == data && call->caller == caller) {
			begin(data, &call->tally);
			return;
		}
	}

	call = allocate(sizeof(*call));
	call->shared = data;
	call->caller = caller;
	call->next = *bucket;
	*bucket = call;
	begin(data, &call->tally);
}

static bool is_shared(uint64_t address)
{
	size_t low = 0, high = shared_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (address < shared[middle].start)
			high = middle;
		else if (address >= shared[middle].end)
			low = middle + 1;
		else
			return true;
	}
	return false;
}

static bool same_code(const struct block *block,
		      const struct qemu_plugin_tb *tb, size_t count)
{
	if (block->count != count)
		return false;
	for (size_t i = 0; i < count; i++)
		if (block->address[i] !=
		    qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, i)))
			return false;
	return true;
}

static struct block *find_block(const struct qemu_plugin_tb *tb, uint64_t start,
				size_t count)
{
	struct block **bucket = &blocks[(start ^ start >> 16) % BUCKETS];
	struct block *block;

	for (block = *bucket; block; block = block->next)
		if (same_code(block, tb, count))
			return block;

	block = allocate(sizeof(*block) + count * sizeof(block->address[0]));
	block->count = count;
	for (size_t i = 0; i < count; i++)
		block->address[i] =
			qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, i));
	block->next = *bucket;
	*bucket = block;
	return block;
}

static void translate(struct qemu_plugin_tb *tb)
{
	size_t count = qemu_plugin_tb_n_insns(tb);
	uint64_t start = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));
	executed_t executed = is_shared(start) ? on_shared_block : on_block;

	if (start < from) {
		qemu_plugin_register_vcpu_tb_exec_cb(
			tb, on_below, QEMU_PLUGIN_CB_NO_REGS, (void *)count);
		return;
	}

	/* A function's entry always starts a block, because it is called. */
	if (mark && start == mark)
		qemu_plugin_register_vcpu_tb_exec_cb(
			tb, on_mark, QEMU_PLUGIN_CB_NO_REGS, NULL);
	qemu_plugin_register_vcpu_tb_exec_cb(tb, executed,
					     QEMU_PLUGIN_CB_NO_REGS,
					     find_block(tb, start, count));
	if (count > 1)
		qemu_plugin_register_vcpu_insn_exec_cb(
			qemu_plugin_tb_get_insn(tb, count - 1),
			on_last_instruction, QEMU_PLUGIN_CB_NO_REGS, NULL);
}

#if QEMU_PLUGIN_API < 7
static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	translate(tb);
}

static void on_exit_of_qemu(qemu_plugin_id_t id, void *data)
{
	end_phase();
}

static void start(qemu_plugin_id_t id)
{
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
	qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
}
#else
static void on_translate(struct qemu_plugin_tb *tb, void *data)
{
	translate(tb);
}

static void on_exit_of_qemu(void *data)
{
	end_phase();
}

static void start(qemu_plugin_id_t id)
{
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate, NULL);
	qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
}
#endif

static void read_shared(const char *name)
{
	FILE *file = fopen(name, "r");
	struct range range;
	size_t room = 0;

	if (!file)
		fail(name, strerror(errno));
	while (fscanf(file, "%" SCNx64 " %" SCNx64, &range.start, &range.end) ==
	       2) {
		if (shared_count == room) {
			room = room ? 2 * room : 1024;
			shared = realloc(shared, room * sizeof(*shared));
			if (!shared)
				fail("no memory", strerror(errno));
		}
		if (range.end <= range.start ||
		    (shared_count &&
		     range.start < shared[shared_count - 1].end))
			fail(name, "its ranges are not in order");
		shared[shared_count++] = range;
	}
	if (!feof(file))
		fail(name, "not lines of two hexadecimal addresses");
	fclose(file);
}

static uint64_t parse_address(const char *text)
{
	char *end;
	uint64_t address = strtoull(text, &end, 16);

	if (end == text || *end)
		fail(text, "not a hexadecimal address");
	return address;
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info,
			       int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4))
			out = strdup(argv[i] + 4);
		else if (!strncmp(argv[i], "mark=", 5))
			mark = parse_address(argv[i] + 5);
		else if (!strncmp(argv[i], "from=", 5))
			from = parse_address(argv[i] + 5);
		else if (!strncmp(argv[i], "shared=", 7))
			read_shared(argv[i] + 7);
		else
			fail(argv[i],
			     "unknown option; known are out=, mark=, from= and shared=");
	}
	if (!out)
		fail("out=FILE", "missing; it names the counts, FILE.0 and up");
	if (!info->system_emulation)
		fail(info->target_name,
		     "counts whole machines (qemu-system-*) only");
	if (info->system.max_vcpus > 1)
		fail("more than one CPU",
		     "counts would not repeat; use -smp 1");

	start(id);
	return 0;
}
