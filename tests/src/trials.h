/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A table of trials of hostile user space: each runs in a process of its own, which may die of it, has a defined
 * result, and leaves no P2P memory in use.
 */
#ifndef TRIALS_H
#define TRIALS_H

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "data.h"
#include "options.h"

/* A trial that does not end in this time has failed. */
#define TRIAL_SECONDS 300

/* Results: a count or zero, -errno, or the signal that ended the process. */
#define KILLED(signal) (-1000L - (signal))

/* The constants in which trials of one function differ; each program defines its own. */
struct trial_args;

struct trial {
	const char *name;
	const char *what;
	/* one of these two, the second by WITH() */
	long (*run)(void);
	long (*run_with)(const struct trial_args *args);
	const struct trial_args *args;
	long expect;
	bool reach; /* EREMOTEIO instead if the drive cannot reach the memory */
	bool differs; /* the stock kernel is different: */
	long stock;
	/* if not 0, what comes instead where the memory is the drive's own */
	long own;
};

/* What a trial runs, in a table: a function and the members of its struct trial_args that are not 0. */
#define WITH(function, ...)      \
	.run_with = (function), \
	.args = &(const struct trial_args){ __VA_ARGS__ }

static struct trial_options {
	const char *device;
	const char *p2p;
	const char *file;
	const char *only;
	bool stock;
	bool own;
	bool unreachable;
	bool list;
} opt;

static inline const char *result_name(long result)
{
	static char text[32];

	if (result == KILLED(SIGALRM))
		return "no end";
	if (result < 0 && strerrorname_np(-result))
		return strerrorname_np(-result);
	if (result < KILLED(0) && result > KILLED(NSIG))
		snprintf(text, sizeof(text), "SIG%s",
			 sigabbrev_np(KILLED(0) - result));
	else
		snprintf(text, sizeof(text), "%ld", result);
	return text;
}

static inline long run_trial(const struct trial *trial)
{
	int status, fds[2];
	long result;
	pid_t pid;

	if (pipe(fds))
		err(1, "pipe");
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (!pid) {
		alarm(TRIAL_SECONDS);
		result = trial->run ? trial->run() :
				      trial->run_with(trial->args);
		_exit(write(fds[1], &result, sizeof(result)) != sizeof(result));
	}
	close(fds[1]);
	if (waitpid(pid, &status, 0) != pid)
		err(1, "waitpid");
	if (WIFSIGNALED(status))
		result = KILLED(WTERMSIG(status));
	else if (read(fds[0], &result, sizeof(result)) != sizeof(result))
		errx(1, "%s ended with status %#x", trial->name, status);
	close(fds[0]);
	return result;
}

static inline long expected_result(const struct trial *trial)
{
	if (opt.unreachable && trial->reach)
		return -EREMOTEIO;
	if (opt.own && trial->own)
		return trial->own;
	return opt.stock && trial->differs ? trial->stock : trial->expect;
}

/* I/O of a process that is dead may take its time. */
static inline bool given_back(long before)
{
	for (int i = 0; i < 6000; i++) {
		if (p2p_available(opt.p2p) == before)
			return true;
		usleep(10000);
	}
	return false;
}

static inline void list_trials(const struct trial *trials)
{
	for (; trials->name; trials++) {
		printf("%-24s %s: %s", trials->name, trials->what,
		       result_name(trials->expect));
		if (trials->differs)
			printf(" (stock: %s)", result_name(trials->stock));
		if (trials->own)
			printf(" (own CMB: %s)", result_name(trials->own));
		putchar('\n');
	}
}

/* Run a table that ends with {}; what main() of such a program consists of. */
static inline int run_trials(int argc, char **argv, const struct trial *trials)
{
	static const struct option_entry options[] = {
		{ "device", "PATH", "block device, destroyed",
		  .text = &opt.device },
		{ "p2p", "PATH", "p2pmem/allocate of the provider",
		  .text = &opt.p2p },
		{ "file", "PATH", "file of a file system on the drive",
		  .text = &opt.file },
		{ "only", "NAME", "trial to run", .text = &opt.only },
		{ "stock", NULL, "expect what the stock kernel does",
		  .flag = &opt.stock },
		{ "own", NULL, "the memory is the drive's own CMB",
		  .flag = &opt.own },
		{ "unreachable", NULL, "the drive cannot reach the memory",
		  .flag = &opt.unreachable },
		{ "list", NULL, "print the trials and their results, run none",
		  .flag = &opt.list },
		{}
	};
	int wrong = 0, tried = 0;
	long before;

	parse_options(argc, argv, "Usage: see --list for what is tried",
		      options);
	if (opt.list) {
		list_trials(trials);
		return 0;
	}
	setvbuf(stdout, NULL, _IONBF, 0);
	before = p2p_available(opt.p2p);
	for (; trials->name; trials++) {
		long result;

		if (opt.only && strcmp(opt.only, trials->name))
			continue;
		tried++;
		printf("%s: ", trials->name);
		result = run_trial(trials);
		printf("%s", result_name(result));
		if (result != expected_result(trials)) {
			printf(", expected %s: %s",
			       result_name(expected_result(trials)),
			       trials->what);
			wrong++;
		}
		if (!given_back(before)) {
			printf(", and %ld bytes of P2P memory are still in use",
			       before - p2p_available(opt.p2p));
			wrong++;
		}
		putchar('\n');
	}
	if (!tried)
		errx(2, "there is no trial %s: see --list", opt.only);
	return wrong ? 1 : 0;
}

#endif /* TRIALS_H */
