/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Let calls of a kernel function fail without running it, or run with another
 * argument, on any x86-64 or arm64 kernel with kprobes.
 */
#ifndef FAIL_NTH_H
#define FAIL_NTH_H

#include <linux/atomic.h>
#include <linux/kprobes.h>
#include <linux/ptrace.h>

/*
 * @nth: the first call that fails, counted from 1 at fail_nth_start()
 * @count: how many fail from there on; 0 for all
 * @value: what they return
 * @argument: the first of them runs, with @set as this argument, counted from 1;
 *	0 for none
 * @idle: calls neither fail nor count
 */
struct fail_nth {
	struct kprobe probe;
	unsigned int nth;
	unsigned int count;
	long value;
	unsigned int argument;
	unsigned long set;
	bool idle;
	atomic_t calls;
};

static void fail_nth_set_argument(struct pt_regs *regs, unsigned int argument,
				  unsigned long value)
{
#ifdef CONFIG_X86_64
	unsigned long *places[] = { &regs->di, &regs->si, &regs->dx,
				    &regs->cx, &regs->r8, &regs->r9 };

	if (argument <= ARRAY_SIZE(places))
		*places[argument - 1] = value;
#else
	if (argument <= 8)
		pt_regs_write_reg(regs, argument - 1, value);
#endif
}

/* The probe is at the function's first instruction. */
static void fail_nth_return(struct pt_regs *regs, long value)
{
	regs_set_return_value(regs, value);
#ifdef CONFIG_X86_64
	regs->ip = *(unsigned long *)regs->sp;
	regs->sp += sizeof(unsigned long);
#else
	instruction_pointer_set(regs, procedure_link_pointer(regs));
#endif
}

static int fail_nth_call(struct kprobe *probe, struct pt_regs *regs)
{
	struct fail_nth *fail = container_of(probe, struct fail_nth, probe);
	unsigned int call;

	if (READ_ONCE(fail->idle))
		return 0;
	call = atomic_inc_return(&fail->calls);
	if (call < fail->nth ||
	    (fail->count && call - fail->nth >= fail->count))
		return 0;
	if (fail->argument && call == fail->nth) {
		fail_nth_set_argument(regs, fail->argument, fail->set);
		return 0;
	}
	fail_nth_return(regs, fail->value);
	return 1;
}

/* Keeps the probe from being optimised to a jump, which could not skip the call. */
static void fail_nth_after(struct kprobe *probe, struct pt_regs *regs,
			   unsigned long flags)
{
}

static inline int fail_nth_start(struct fail_nth *fail, const char *function)
{
	fail->probe = (struct kprobe){
		.symbol_name = function,
		.pre_handler = fail_nth_call,
		.post_handler = fail_nth_after,
	};
	atomic_set(&fail->calls, 0);
	return register_kprobe(&fail->probe);
}

static inline void fail_nth_stop(struct fail_nth *fail)
{
	unregister_kprobe(&fail->probe);
}

#endif /* FAIL_NTH_H */
