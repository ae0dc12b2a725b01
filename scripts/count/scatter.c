// SPDX-License-Identifier: GPL-2.0
/*
 * Run a command whose anonymous memory consists of pages no two of which are physical neighbours.
 * Leaves the kernel only single free pages to hand out: every second page frame stays held meanwhile.
 */
#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define FRAME_MASK ((UINT64_C(1) << 55) - 1)

static unsigned long mebibytes = 256;

static void usage(FILE *to)
{
	fprintf(to,
		"Usage: scatter [--mebibytes=N] -- COMMAND [ARGUMENT...]\n"
		"Runs COMMAND with physically scattered anonymous memory; needs root.\n"
		"  -m, --mebibytes=N  memory to break up, half of it stays held (default %lu)\n"
		"  -h, --help         this text\n",
		mebibytes);
}

static uint64_t frame_of(int pagemap, const char *address, long page)
{
	uint64_t entry;
	off_t at = (uintptr_t)address / page * sizeof(entry);

	if (pread(pagemap, &entry, sizeof(entry), at) != sizeof(entry))
		err(1, "/proc/self/pagemap");
	if (!(entry & FRAME_MASK))
		errx(1, "/proc/self/pagemap hides the frames: run as root");
	return entry & FRAME_MASK;
}

/* Gives back every page with an even frame, so that none of the free ones has a free neighbour. */
static void hold_odd_frames(void)
{
	size_t size = mebibytes << 20;
	long page = sysconf(_SC_PAGESIZE);
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	char *memory;

	if (pagemap < 0)
		err(1, "/proc/self/pagemap");
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED)
		err(1, "mmap of %lu MiB; give the guest more memory",
		    mebibytes);
	memset(memory, 1, size);

	for (char *at = memory; at < memory + size; at += page)
		if (frame_of(pagemap, at, page) % 2 == 0 &&
		    madvise(at, page, MADV_DONTNEED))
			err(1, "madvise");
	close(pagemap);
}

static int run(char *const command[])
{
	pid_t child = fork();
	int status;

	if (child < 0)
		err(1, "fork");
	if (!child) {
		execvp(command[0], command);
		err(127, "%s", command[0]);
	}
	if (waitpid(child, &status, 0) < 0)
		err(1, "waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "mebibytes", required_argument, NULL, 'm' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	char *end;
	int option;

	while ((option = getopt_long(argc, argv, "+m:h", options, NULL)) !=
	       -1) {
		switch (option) {
		case 'm':
			mebibytes = strtoul(optarg, &end, 0);
			if (*end || !mebibytes)
				errx(1, "--mebibytes=%s is no number of MiB",
				     optarg);
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 1;
		}
	}
	if (optind == argc) {
		usage(stderr);
		return 1;
	}

	/* Inherited: huge pages would be contiguous again. */
	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		err(1, "PR_SET_THP_DISABLE");
	hold_odd_frames();
	return run(argv + optind);
}
