// SPDX-License-Identifier: GPL-2.0
/*
 * What a process without privileges gets of the drive and of P2P memory: by name nothing, and by what it
 * inherited what that was opened for.
 */
#define _GNU_SOURCE
#include <glob.h>
#include <grp.h>
#include <linux/nvme_ioctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "trials.h"

#define NOBODY 65534
#define LENGTH (2 * PAGE)

struct trial_args {
	const char **option; /* which path to open, */
	const char *format; /* or that of others, for path_of() */
	int flags; /* to open with */
	bool write;
	uint8_t opcode;
	unsigned long request; /* of ioctl() */
	long (*reach)(pid_t pid, void *map);
};

/* Leave root behind for good. */
static void drop(void)
{
	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY))
		err(1, "becoming nobody");
}

/* The first of those that a pattern of the shell matches; the pattern itself if there is none */
static const char *first_match(const char *pattern)
{
	static glob_t matches;

	if (glob(pattern, GLOB_NOCHECK, NULL, &matches))
		errx(1, "%s", pattern);
	return matches.gl_pathv[0];
}

/* One of the drive's own files, its other devices and those in sysfs; or any, without a place for the drive's number. */
static const char *path_of(const char *format)
{
	static char path[256];
	const char *name;

	if (!strchr(format, '%'))
		return first_match(format);
	name = strrchr(opt.device, '/') + 1;
	snprintf(path, sizeof(path), format,
		 (int)strcspn(name + strlen("nvme"), "n"),
		 name + strlen("nvme"));
	return path;
}

static long open_by_name(const struct trial_args *args)
{
	const char *path = args->option ? *args->option : path_of(args->format);

	drop();
	return RESULT(open(path, args->flags)) < 0 ? -errno : 0;
}

static long inherited_map(const struct trial_args *args)
{
	int fd = open(opt.p2p, args->flags);
	void *map;

	drop();
	map = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return map == MAP_FAILED ? -errno : 0;
}

static long inherited_drive(const struct trial_args *args)
{
	int fd = open(opt.device, O_RDONLY | O_DIRECT);
	void *map = map_memory(opt.p2p, LENGTH);

	drop();
	return RESULT(args->write ? pwrite(fd, map, LENGTH, 0) :
				    pread(fd, map, LENGTH, 0));
}

static long pass_through(const struct trial_args *args)
{
	int fd = open(opt.device, O_RDONLY);
	struct nvme_passthru_cmd command = {
		.opcode = args->opcode,
		.nsid = ioctl(fd, NVME_IOCTL_ID),
		.addr = (uintptr_t)map_memory(opt.p2p, LENGTH),
		.data_len = PAGE,
		.cdw12 = PAGE / 512 - 1,
	};

	drop();
	return RESULT(ioctl(fd, args->request, &command));
}

/* Memory of a process of root. */
static long of_root(const struct trial_args *args)
{
	void *map = map_memory(opt.p2p, LENGTH);
	pid_t root = fork(), nobody;
	int status;

	if (!root) {
		pause();
		_exit(0);
	}
	nobody = fork();
	if (!nobody) {
		drop();
		_exit(-args->reach(root, map));
	}
	waitpid(nobody, &status, 0);
	kill(root, SIGKILL);
	waitpid(root, NULL, 0);
	return -WEXITSTATUS(status);
}

static long reach_vm(pid_t pid, void *map)
{
	char byte;
	struct iovec local = { &byte, 1 }, remote = { map, 1 };

	return RESULT(process_vm_readv(pid, &local, 1, &remote, 1, 0));
}

static long reach_trace(pid_t pid, void *map)
{
	(void)map;
	return RESULT(ptrace(PTRACE_ATTACH, pid, NULL, NULL));
}

static long reach_mem(pid_t pid, void *map)
{
	char path[64];

	(void)map;
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	return RESULT(open(path, O_RDONLY));
}

static const struct trial trials[] = {
	{ "open-p2p", "open P2P memory",
	  WITH(open_by_name, .option = &opt.p2p, .flags = O_RDWR),
	  .expect = -EACCES },
	{ "open-p2p-to-read", "open P2P memory to read",
	  WITH(open_by_name, .option = &opt.p2p, .flags = O_RDONLY),
	  .expect = -EACCES },
	{ "open-heap", "open a DMA heap of P2P memory",
	  WITH(open_by_name, .format = "/dev/dma_heap/p2pdma-*",
	       .flags = O_RDONLY),
	  .expect = -EACCES, .differs = true, .stock = -ENOENT },
	{ "open-device", "open the drive",
	  WITH(open_by_name, .option = &opt.device, .flags = O_RDONLY),
	  .expect = -EACCES },
	{ "open-controller", "open its controller",
	  WITH(open_by_name, .format = "/dev/nvme%.*s", .flags = O_RDONLY),
	  .expect = -EACCES },
	{ "open-generic", "open its generic device",
	  WITH(open_by_name, .format = "/dev/ng%.*sn1", .flags = O_RDONLY),
	  .expect = -EACCES },
	{ "open-reset", "open what resets it",
	  WITH(open_by_name,
	       .format = "/sys/class/nvme/nvme%.*s/reset_controller",
	       .flags = O_WRONLY),
	  .expect = -EACCES },
	{ "open-unbind", "open what unbinds it",
	  WITH(open_by_name,
	       .format = "/sys/class/nvme/nvme%.*s/device/driver/unbind",
	       .flags = O_WRONLY),
	  .expect = -EACCES },
	{ "open-threshold", "open the threshold of SGLs",
	  WITH(open_by_name,
	       .format = "/sys/module/nvme/parameters/sgl_threshold",
	       .flags = O_WRONLY),
	  .expect = -EACCES },
	{ "open-batch", "open what turns batches off",
	  WITH(open_by_name,
	       .format = "/sys/module/nvme/parameters/iotlb_batch",
	       .flags = O_WRONLY),
	  .expect = -EACCES, .differs = true, .stock = -ENOENT },
	{ "open-counters", "open the counters of the block layer",
	  WITH(open_by_name, .format = "/sys/kernel/debug/block",
	       .flags = O_RDONLY),
	  .expect = -EACCES },
	{ "open-trace", "open the tracepoints",
	  WITH(open_by_name, .format = "/sys/kernel/tracing/events",
	       .flags = O_RDONLY),
	  .expect = -EACCES },
	{ "inherited-map", "map P2P memory that was opened before",
	  WITH(inherited_map, .flags = O_RDWR), .expect = 0 },
	{ "inherited-map-to-read", "map to write what was opened to read",
	  WITH(inherited_map, .flags = O_RDONLY), .expect = -EACCES },
	{ "inherited-read", "read a drive that was opened to read",
	  WITH(inherited_drive, .write = false), .expect = LENGTH,
	  .reach = true },
	{ "inherited-write", "write a drive that was opened to read",
	  WITH(inherited_drive, .write = true), .expect = -EBADF },
	{ "passthrough-read", "read by passthrough",
	  WITH(pass_through, .opcode = 2, .request = NVME_IOCTL_IO_CMD),
	  .expect = 0, .reach = true },
	{ "passthrough-write", "write by passthrough what was opened to read",
	  WITH(pass_through, .opcode = 1, .request = NVME_IOCTL_IO_CMD),
	  .expect = -EACCES },
	/* Get Log Page: not for everyone, unlike Identify of a namespace. */
	{ "passthrough-admin", "read a log by passthrough",
	  WITH(pass_through, .opcode = 2, .request = NVME_IOCTL_ADMIN_CMD),
	  .expect = -EACCES },
	{ "root-vm", "process_vm_readv() of root's",
	  WITH(of_root, .reach = reach_vm), .expect = -EPERM },
	{ "root-trace", "trace root's process",
	  WITH(of_root, .reach = reach_trace), .expect = -EPERM },
	{ "root-mem", "open the memory of root's process",
	  WITH(of_root, .reach = reach_mem), .expect = -EACCES },
	{}
};

int main(int argc, char **argv)
{
	return run_trials(argc, argv, trials);
}
