// SPDX-License-Identifier: GPL-2.0
/*
 * QEMU TCG plugin: how often each guest kernel instruction is executed, by address.
 * Ends a phase, and writes its counts, whenever the guest executes the address given by mark=.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * QEMU's plugin interface. No package ships its header, so what is used of it is declared here.
 * QEMU_PLUGIN_API is 1 up to QEMU 8.2, whose inline counters are plain memory, and 2 from 9.0
 * on, where they became per-vCPU scoreboards.
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

enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

struct qemu_plugin_tb;
struct qemu_plugin_insn;

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
					   void (*cb)(qemu_plugin_id_t id,
						      struct qemu_plugin_tb *tb));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id,
				    void (*cb)(qemu_plugin_id_t id, void *data), void *data);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    void (*cb)(unsigned int vcpu, void *data),
					    enum qemu_plugin_cb_flags flags, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t idx);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);

#if QEMU_PLUGIN_API == 1
typedef uint64_t counter_t;

void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, enum qemu_plugin_op op,
					      void *ptr, uint64_t imm);

static void counter_init(counter_t *counter)
{
	*counter = 0;
}

static void counter_attach(struct qemu_plugin_tb *tb, counter_t *counter, uint64_t add)
{
	qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, counter, add);
}

static uint64_t counter_read(const counter_t *counter)
{
	return *counter;
}
#elif QEMU_PLUGIN_API == 2
struct qemu_plugin_scoreboard;

typedef struct {
	struct qemu_plugin_scoreboard *score;
	size_t offset;
} counter_t;

struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t element_size);
void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb *tb,
						       enum qemu_plugin_op op, counter_t entry,
						       uint64_t imm);
uint64_t qemu_plugin_u64_sum(counter_t entry);

static void counter_init(counter_t *counter)
{
	counter->score = qemu_plugin_scoreboard_new(sizeof(uint64_t));
	counter->offset = 0;
}

static void counter_attach(struct qemu_plugin_tb *tb, counter_t *counter, uint64_t add)
{
	qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, QEMU_PLUGIN_INLINE_ADD_U64, *counter,
							  add);
}

static uint64_t counter_read(const counter_t *counter)
{
	return qemu_plugin_u64_sum(*counter);
}
#else
#error "build with scripts/count/build: it sets QEMU_PLUGIN_API to what the installed QEMU speaks"
#endif

#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = QEMU_PLUGIN_API;

/* A straight run of instructions: QEMU's translation block, kept over retranslation. */
struct block {
	struct block *next;
	counter_t executed;
	uint64_t seen;
	size_t count;
	uint64_t address[];
};

#define BUCKETS (1 << 16)

static struct block *buckets[BUCKETS];
static counter_t below;
static uint64_t below_seen;
static uint64_t from = 0xffff800000000000;
static uint64_t mark;
static const char *out;
static unsigned int phase;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "count plugin: %s: %s\n", what, why);
	exit(1);
}

static void write_block(FILE *file, struct block *block)
{
	uint64_t now = counter_read(&block->executed);
	uint64_t executed = now - block->seen;

	block->seen = now;
	for (size_t i = 0; executed && i < block->count; i++)
		fprintf(file, "%016" PRIx64 " %" PRIu64 "\n", block->address[i], executed);
}

/* One line per executed block and instruction: address, executions. Address 0 is all below from=. */
static void end_phase(void)
{
	char name[4096];
	uint64_t now;
	FILE *file;

	snprintf(name, sizeof(name), "%s.%u", out, phase++);
	file = fopen(name, "w");
	if (!file)
		fail(name, strerror(errno));

	now = counter_read(&below);
	fprintf(file, "%016x %" PRIu64 "\n", 0, now - below_seen);
	below_seen = now;
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct block *block = buckets[i]; block; block = block->next)
			write_block(file, block);

	if (fclose(file))
		fail(name, strerror(errno));
}

static void on_mark(unsigned int vcpu, void *data)
{
	pthread_mutex_lock(&lock);
	end_phase();
	pthread_mutex_unlock(&lock);
}

static void on_exit_of_qemu(qemu_plugin_id_t id, void *data)
{
	on_mark(0, data);
}

static bool same_code(const struct block *block, const struct qemu_plugin_tb *tb, size_t count)
{
	if (block->count != count)
		return false;
	for (size_t i = 0; i < count; i++)
		if (block->address[i] != qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, i)))
			return false;
	return true;
}

static struct block *find_block(const struct qemu_plugin_tb *tb, uint64_t start, size_t count)
{
	struct block **bucket = &buckets[(start ^ start >> 16) % BUCKETS];
	struct block *block;

	for (block = *bucket; block; block = block->next)
		if (same_code(block, tb, count))
			return block;

	block = calloc(1, sizeof(*block) + count * sizeof(block->address[0]));
	if (!block)
		fail("no memory for a translation block", strerror(errno));
	counter_init(&block->executed);
	block->count = count;
	for (size_t i = 0; i < count; i++)
		block->address[i] = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, i));
	block->next = *bucket;
	*bucket = block;
	return block;
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t count = qemu_plugin_tb_n_insns(tb);
	struct qemu_plugin_insn *first = qemu_plugin_tb_get_insn(tb, 0);
	uint64_t start = qemu_plugin_insn_vaddr(first);

	if (start < from) {
		counter_attach(tb, &below, count);
		return;
	}

	pthread_mutex_lock(&lock);
	counter_attach(tb, &find_block(tb, start, count)->executed, 1);
	pthread_mutex_unlock(&lock);

	/* A function's entry always starts a block, because it is called. */
	if (mark && start == mark)
		qemu_plugin_register_vcpu_insn_exec_cb(first, on_mark, QEMU_PLUGIN_CB_NO_REGS,
						       NULL);
}

static uint64_t parse_address(const char *text)
{
	char *end;
	uint64_t address = strtoull(text, &end, 16);

	if (end == text || *end)
		fail(text, "not a hexadecimal address");
	return address;
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4))
			out = strdup(argv[i] + 4);
		else if (!strncmp(argv[i], "mark=", 5))
			mark = parse_address(argv[i] + 5);
		else if (!strncmp(argv[i], "from=", 5))
			from = parse_address(argv[i] + 5);
		else
			fail(argv[i], "unknown option; known are out=FILE, mark=ADDRESS and from=ADDRESS");
	}
	if (!out)
		fail("out=FILE", "missing; it names the counts, FILE.0 and up");
	if (!info->system_emulation)
		fail(info->target_name, "counts whole machines (qemu-system-*) only");
	if (QEMU_PLUGIN_API == 1 && info->system.max_vcpus > 1)
		fail("more than one CPU", "this QEMU's inline counters lose counts then; use -smp 1");

	counter_init(&below);
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
	qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
	return 0;
}
