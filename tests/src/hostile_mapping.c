// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings of P2P memory as nobody should ask for them, and access to them by all ways but the plain one.
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "trials.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#define WORD 0x5eed5eed5eed5eedUL

struct trial_args {
	/* as of open() and mmap() */
	struct {
		int open_flags;
		size_t length;
		int prot;
		int flags;
		off_t offset;
	} map;
	bool all; /* pages, not every other one */
	bool write;
	int advice; /* of madvise() */
	ssize_t (*access)(pid_t pid, const struct iovec *local,
			  unsigned long nr_local, const struct iovec *remote,
			  unsigned long nr_remote, unsigned long flags);
	enum __ptrace_request request;
	int operation; /* of futex() */
};

static long map_it(const struct trial_args *args)
{
	int fd = open(opt.p2p, args->map.open_flags);
	void *map;

	if (fd < 0)
		return -errno;
	map = mmap(NULL, args->map.length, args->map.prot, args->map.flags, fd,
		   args->map.offset);
	return map == MAP_FAILED ? -errno : 0;
}

#define READ_WRITE (PROT_READ | PROT_WRITE)

static long too_long(void)
{
	struct trial_args args = {
		.map = { O_RDWR, p2p_available(opt.p2p) + PAGE, READ_WRITE,
			 MAP_SHARED, 0 },
	};

	return map_it(&args);
}

/* How much less is available after it. */
static long map_and_count(const struct trial_args *args)
{
	long before = p2p_available(opt.p2p);
	long ret = map_it(args);

	return ret ?: before - p2p_available(opt.p2p);
}

static long read_it(void)
{
	char byte;

	return RESULT(read(open(opt.p2p, O_RDWR), &byte, 1));
}

static long write_it(void)
{
	return RESULT(write(open(opt.p2p, O_RDWR), "", 1));
}

/* What is available more once every other of 256 pages is unmapped, or all of them. */
static long unmap_every_other(const struct trial_args *args)
{
	unsigned char *map = map_memory(opt.p2p, 256 * PAGE);
	long before = p2p_available(opt.p2p);

	for (int i = 0; i < 256; i += 2)
		if (munmap(map + i * PAGE, PAGE))
			return -errno;
	for (int i = 1; i < 256; i += 2) {
		map[i * PAGE] = i;
		if (args->all && munmap(map + i * PAGE, PAGE))
			return -errno;
	}
	return p2p_available(opt.p2p) - before;
}

/* Until the provider has no more. */
static long exhaust(const struct trial_args *args)
{
	long ret;

	do {
		ret = map_it(args);
	} while (!ret);
	return ret;
}

static unsigned char *map_word(void)
{
	unsigned char *map = map_memory(opt.p2p, 2 * PAGE);

	*(volatile uint64_t *)map = WORD;
	return map;
}

static long touch(const unsigned char *map)
{
	return *(const volatile uint64_t *)map == WORD;
}

static long without_rights(void)
{
	unsigned char *map = map_word();

	if (mprotect(map, PAGE, PROT_NONE))
		return -errno;
	return touch(map);
}

static long rights_back(void)
{
	unsigned char *map = map_word();

	if (mprotect(map, PAGE, PROT_NONE) || mprotect(map, PAGE, PROT_READ))
		return -errno;
	return touch(map);
}

static long more_rights(void)
{
	int fd = open(opt.p2p, O_RDONLY);
	void *map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);

	return RESULT(mprotect(map, PAGE, READ_WRITE));
}

static long grow(void)
{
	unsigned char *map =
		mremap(map_word(), 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE);

	if (map == MAP_FAILED)
		return -errno;
	return touch(map) ? touch(map + 2 * PAGE) : -EBADMSG;
}

static long duplicate(void)
{
	unsigned char *map = mremap(map_word(), 0, 2 * PAGE, MREMAP_MAYMOVE);

	return map == MAP_FAILED ? -errno : touch(map);
}

static long move(void)
{
	unsigned char *to = map_memory(NULL, 2 * PAGE);
	unsigned char *map = mremap(map_word(), 2 * PAGE, 2 * PAGE,
				    MREMAP_MAYMOVE | MREMAP_FIXED, to);

	return map == MAP_FAILED ? -errno : touch(map);
}

static long advise(const struct trial_args *args)
{
	unsigned char *map = map_word();

	return madvise(map, 2 * PAGE, args->advice) ? -errno : touch(map);
}

static long lock(void)
{
	unsigned char *map = map_word();

	return mlock(map, 2 * PAGE) ? -errno : touch(map);
}

/* The child keeps what its parent lets go of. */
static long inherit(void)
{
	unsigned char *map = map_word();
	long before = p2p_available(opt.p2p), while_child_has_it;
	int status, unmapped[2];
	char byte = 0;
	pid_t pid;

	if (pipe(unmapped))
		return -errno;
	pid = fork();
	if (!pid) {
		close(unmapped[1]);
		_exit(read(unmapped[0], &byte, 1) == 1 && touch(map) ? 0 : 1);
	}
	munmap(map, 2 * PAGE);
	while_child_has_it = p2p_available(opt.p2p);
	if (write(unmapped[1], &byte, 1) != 1)
		return -errno;
	waitpid(pid, &status, 0);
	return status || while_child_has_it != before ?
		       -EBADMSG :
		       p2p_available(opt.p2p) - before;
}

/* A child that has the word in P2P memory and waits for its end. */
static pid_t start_victim(unsigned char **map)
{
	pid_t pid;

	*map = map_word();
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	return pid;
}

static long end_victim(pid_t pid, long ret)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return ret;
}

static long vm_access(const struct trial_args *args)
{
	struct iovec remote = { .iov_len = 8 }, local = { .iov_len = 8 };
	uint64_t word = 0;
	unsigned char *map;
	pid_t pid = start_victim(&map);

	remote.iov_base = map;
	local.iov_base = &word;
	return end_victim(pid,
			  RESULT(args->access(pid, &local, 1, &remote, 1, 0)));
}

static long vm_read_into(void)
{
	unsigned char *map = map_memory(opt.p2p, PAGE);
	struct iovec local = { map, 8 };
	uint64_t word = WORD;
	struct iovec remote = { &word, 8 };
	long ret = RESULT(process_vm_readv(getpid(), &local, 1, &remote, 1, 0));

	return ret < 0 ? ret : touch(map);
}

static long trace(const struct trial_args *args)
{
	unsigned char *map;
	pid_t pid = start_victim(&map);
	long ret;

	if (ptrace(PTRACE_ATTACH, pid, NULL, NULL))
		return end_victim(pid, -errno);
	waitpid(pid, NULL, 0);
	errno = 0;
	ret = ptrace(args->request, pid, map, NULL);
	return end_victim(pid, errno ? -errno : (uint64_t)ret == WORD);
}

static long proc_mem(const struct trial_args *args)
{
	unsigned char *map = map_word();
	int fd = open("/proc/self/mem", O_RDWR);
	uint64_t word = WORD;

	return RESULT(args->write ? pwrite(fd, &word, 8, (uintptr_t)map) :
				    pread(fd, &word, 8, (uintptr_t)map));
}

static long futex_wait(const struct trial_args *args)
{
	return RESULT(syscall(SYS_futex, map_word(), args->operation, 0, NULL,
			      NULL, 0));
}

/* The dump passes over what it must not touch, and the process ends as it would have. */
static long dump_core(void)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	int fd = open("/proc/self/coredump_filter", O_WRONLY);

	if (chdir("/tmp") || setrlimit(RLIMIT_CORE, &limit) || fd < 0 ||
	    write(fd, "0xff", 4) != 4)
		return -errno;
	map_word();
	abort();
}

static const struct trial trials[] = {
	{ "no-length", "map nothing",
	  WITH(map_it, .map = { O_RDWR, 0, READ_WRITE, MAP_SHARED, 0 }),
	  .expect = -EINVAL },
	{ "too-long", "map a page more than there is", too_long,
	  .expect = -ENOMEM },
	{ "much-too-long", "map 64 TiB",
	  WITH(map_it, .map = { O_RDWR, 1UL << 46, READ_WRITE, MAP_SHARED, 0 }),
	  .expect = -ENOMEM },
	{ "one-byte", "map one byte and get a page",
	  WITH(map_and_count, .map = { O_RDWR, 1, READ_WRITE, MAP_SHARED, 0 }),
	  .expect = PAGE },
	{ "at-a-page", "map from the second page on",
	  WITH(map_it, .map = { O_RDWR, PAGE, READ_WRITE, MAP_SHARED, PAGE }),
	  .expect = -EINVAL },
	{ "at-the-end", "map the last page of all offsets",
	  WITH(map_it, .map = { O_RDWR, PAGE, READ_WRITE, MAP_SHARED, -PAGE }),
	  .expect = -EOVERFLOW },
	{ "at-a-byte", "map from the second byte on",
	  WITH(map_it, .map = { O_RDWR, PAGE, READ_WRITE, MAP_SHARED, 1 }),
	  .expect = -EINVAL },
	{ "private", "map for oneself",
	  WITH(map_it, .map = { O_RDWR, PAGE, READ_WRITE, MAP_PRIVATE, 0 }),
	  .expect = -EINVAL },
	{ "private-readable", "map for oneself to read",
	  WITH(map_it, .map = { O_RDONLY, PAGE, PROT_READ, MAP_PRIVATE, 0 }),
	  .expect = -EINVAL },
	{ "readable", "map to read what was opened to read",
	  WITH(map_it, .map = { O_RDONLY, PAGE, PROT_READ, MAP_SHARED, 0 }),
	  .expect = 0 },
	{ "writable-of-readable", "map to write what was opened to read",
	  WITH(map_it, .map = { O_RDONLY, PAGE, READ_WRITE, MAP_SHARED, 0 }),
	  .expect = -EACCES },
	{ "synchronous", "map with MAP_SYNC",
	  WITH(map_it, .map = { O_RDWR, PAGE, READ_WRITE,
				MAP_SHARED_VALIDATE | MAP_SYNC, 0 }),
	  .expect = -EOPNOTSUPP },
	{ "huge", "map with MAP_HUGETLB",
	  WITH(map_it, .map = { O_RDWR, 2 << 20, READ_WRITE,
				MAP_SHARED | MAP_HUGETLB, 0 }),
	  .expect = -EINVAL },
	{ "executable", "map to execute",
	  WITH(map_it,
	       .map = { O_RDWR, PAGE, READ_WRITE | PROT_EXEC, MAP_SHARED, 0 }),
	  .expect = -EPERM },
	{ "read-it", "read the file", read_it, .expect = -EIO },
	{ "write-it", "write the file", write_it, .expect = -EIO },
	/* one folio, whose memory is in use as long as one of its pages is */
	{ "holes", "unmap every other of 256 pages",
	  WITH(unmap_every_other, .all = false), .expect = 0, .differs = true,
	  .stock = 128 * PAGE },
	{ "pieces", "unmap all of 256 pages, one by one",
	  WITH(unmap_every_other, .all = true), .expect = 256 * PAGE },
	{ "exhaust", "map until there is no more",
	  WITH(exhaust,
	       .map = { O_RDWR, 64 * PAGE, READ_WRITE, MAP_SHARED, 0 }),
	  .expect = -ENOMEM },
	{ "without-rights", "touch after mprotect() with PROT_NONE",
	  without_rights, .expect = KILLED(SIGSEGV) },
	{ "rights-back", "touch after PROT_NONE and PROT_READ", rights_back,
	  .expect = 1 },
	{ "more-rights", "mprotect() to write what was opened to read",
	  more_rights, .expect = -EACCES },
	{ "grow", "touch what mremap() grew by", grow,
	  .expect = KILLED(SIGBUS) },
	{ "duplicate", "touch what mremap() from size 0 mapped", duplicate,
	  .expect = KILLED(SIGBUS) },
	{ "move", "touch what mremap() moved", move, .expect = 1 },
	{ "advise-dontneed", "touch after MADV_DONTNEED",
	  WITH(advise, .advice = MADV_DONTNEED), .expect = KILLED(SIGBUS) },
	{ "advise-free", "MADV_FREE", WITH(advise, .advice = MADV_FREE),
	  .expect = -EINVAL },
	{ "advise-remove", "MADV_REMOVE", WITH(advise, .advice = MADV_REMOVE),
	  .expect = -EOPNOTSUPP },
	{ "advise-pageout", "touch after MADV_PAGEOUT",
	  WITH(advise, .advice = MADV_PAGEOUT), .expect = 1 },
	{ "advise-populate", "MADV_POPULATE_WRITE",
	  WITH(advise, .advice = MADV_POPULATE_WRITE), .expect = -ENOMEM },
	{ "advise-collapse", "MADV_COLLAPSE",
	  WITH(advise, .advice = MADV_COLLAPSE), .expect = -EINVAL },
	{ "lock", "mlock()", lock, .expect = -EREMOTEIO },
	{ "inherit", "fork(), the parent unmaps, the child goes on", inherit,
	  .expect = 2 * PAGE },
	{ "vm-read", "process_vm_readv() of another's",
	  WITH(vm_access, .access = process_vm_readv), .expect = -EFAULT },
	{ "vm-write", "process_vm_writev() to another's",
	  WITH(vm_access, .access = process_vm_writev), .expect = -EFAULT },
	{ "vm-read-into", "process_vm_readv() into it", vm_read_into,
	  .expect = 1 },
	{ "trace-peek", "PTRACE_PEEKDATA",
	  WITH(trace, .request = PTRACE_PEEKDATA), .expect = -EIO },
	{ "trace-poke", "PTRACE_POKEDATA",
	  WITH(trace, .request = PTRACE_POKEDATA), .expect = -EIO },
	{ "proc-mem-read", "read through /proc/self/mem",
	  WITH(proc_mem, .write = false), .expect = -EIO },
	{ "proc-mem-write", "write through /proc/self/mem",
	  WITH(proc_mem, .write = true), .expect = -EIO },
	{ "futex-shared", "FUTEX_WAIT on a word in it",
	  WITH(futex_wait, .operation = FUTEX_WAIT), .expect = -EREMOTEIO },
	{ "futex-private", "FUTEX_WAIT_PRIVATE on a word in it",
	  WITH(futex_wait, .operation = FUTEX_WAIT_PRIVATE),
	  .expect = -EAGAIN },
	{ "dump-core", "abort() with a core dump of everything", dump_core,
	  .expect = KILLED(SIGABRT) },
	{}
};

int main(int argc, char **argv)
{
	return run_trials(argc, argv, trials);
}
