// SPDX-License-Identifier: GPL-2.0
/*
 * What a process without privileges gets of the drive and of P2P memory: by name nothing, and by what it
 * inherited what that was opened for.
 */
#define _GNU_SOURCE
#include <grp.h>
#include <linux/nvme_ioctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "trials.h"

#define NOBODY 65534
#define LENGTH (2 * PAGE)

/* Leave root behind for good. */
static void drop(void)
{
	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY))
		err(1, "becoming nobody");
}

static long open_by_name(const char *path, int flags)
{
	drop();
	return RESULT(open(path, flags)) < 0 ? -errno : 0;
}

static long open_p2p(void)
{
	return open_by_name(opt.p2p, O_RDWR);
}

static long open_p2p_to_read(void)
{
	return open_by_name(opt.p2p, O_RDONLY);
}

static long open_device(void)
{
	return open_by_name(opt.device, O_RDONLY);
}

/* The drive's own files: its other devices, and those in sysfs. */
static const char *path_of(const char *format)
{
	static char path[256];
	const char *name = strrchr(opt.device, '/') + 1;

	snprintf(path, sizeof(path), format,
		 (int)strcspn(name + strlen("nvme"), "n"),
		 name + strlen("nvme"));
	return path;
}

static long open_controller(void)
{
	return open_by_name(path_of("/dev/nvme%.*s"), O_RDONLY);
}

static long open_generic(void)
{
	return open_by_name(path_of("/dev/ng%.*sn1"), O_RDONLY);
}

static long open_reset(void)
{
	return open_by_name(
		path_of("/sys/class/nvme/nvme%.*s/reset_controller"), O_WRONLY);
}

static long open_unbind(void)
{
	return open_by_name(
		path_of("/sys/class/nvme/nvme%.*s/device/driver/unbind"),
		O_WRONLY);
}

static long open_threshold(void)
{
	return open_by_name("/sys/module/nvme/parameters/sgl_threshold",
			    O_WRONLY);
}

static long open_batch(void)
{
	return open_by_name("/sys/module/nvme/parameters/iotlb_batch",
			    O_WRONLY);
}

static long open_counters(void)
{
	return open_by_name("/sys/kernel/debug/block", O_RDONLY);
}

static long open_trace(void)
{
	return open_by_name("/sys/kernel/tracing/events", O_RDONLY);
}

static void *map_inherited(int fd, int prot)
{
	drop();
	return mmap(NULL, LENGTH, prot, MAP_SHARED, fd, 0);
}

static long inherited_map(void)
{
	void *map =
		map_inherited(open(opt.p2p, O_RDWR), PROT_READ | PROT_WRITE);

	return map == MAP_FAILED ? -errno : 0;
}

static long inherited_map_to_read(void)
{
	void *map =
		map_inherited(open(opt.p2p, O_RDONLY), PROT_READ | PROT_WRITE);

	return map == MAP_FAILED ? -errno : 0;
}

static long inherited_drive(bool write)
{
	int fd = open(opt.device, O_RDONLY | O_DIRECT);
	void *map = map_memory(opt.p2p, LENGTH);

	drop();
	return RESULT(write ? pwrite(fd, map, LENGTH, 0) :
			      pread(fd, map, LENGTH, 0));
}

static long inherited_read(void)
{
	return inherited_drive(false);
}

static long inherited_write(void)
{
	return inherited_drive(true);
}

static long pass_through(uint8_t opcode, unsigned long request)
{
	int fd = open(opt.device, O_RDONLY);
	struct nvme_passthru_cmd command = {
		.opcode = opcode,
		.nsid = ioctl(fd, NVME_IOCTL_ID),
		.addr = (uintptr_t)map_memory(opt.p2p, LENGTH),
		.data_len = PAGE,
		.cdw12 = PAGE / 512 - 1,
	};

	drop();
	return RESULT(ioctl(fd, request, &command));
}

static long passthrough_read(void)
{
	return pass_through(2, NVME_IOCTL_IO_CMD);
}

static long passthrough_write(void)
{
	return pass_through(1, NVME_IOCTL_IO_CMD);
}

/* Get Log Page: not for everyone, unlike Identify of a namespace. */
static long passthrough_admin(void)
{
	return pass_through(2, NVME_IOCTL_ADMIN_CMD);
}

/* Memory of a process of root. */
static long of_root(long (*reach)(pid_t pid, void *map))
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
		_exit(-reach(root, map));
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

static long root_vm(void)
{
	return of_root(reach_vm);
}

static long root_trace(void)
{
	return of_root(reach_trace);
}

static long root_mem(void)
{
	return of_root(reach_mem);
}

static const struct trial trials[] = {
	{ "open-p2p", "open P2P memory", open_p2p, .expect = -EACCES },
	{ "open-p2p-to-read", "open P2P memory to read", open_p2p_to_read,
	  .expect = -EACCES },
	{ "open-device", "open the drive", open_device, .expect = -EACCES },
	{ "open-controller", "open its controller", open_controller,
	  .expect = -EACCES },
	{ "open-generic", "open its generic device", open_generic,
	  .expect = -EACCES },
	{ "open-reset", "open what resets it", open_reset, .expect = -EACCES },
	{ "open-unbind", "open what unbinds it", open_unbind,
	  .expect = -EACCES },
	{ "open-threshold", "open the threshold of SGLs", open_threshold,
	  .expect = -EACCES },
	{ "open-batch", "open what turns batches off", open_batch,
	  .expect = -EACCES, .differs = true, .stock = -ENOENT },
	{ "open-counters", "open the counters of the block layer",
	  open_counters, .expect = -EACCES },
	{ "open-trace", "open the tracepoints", open_trace, .expect = -EACCES },
	{ "inherited-map", "map P2P memory that was opened before",
	  inherited_map, .expect = 0 },
	{ "inherited-map-to-read", "map to write what was opened to read",
	  inherited_map_to_read, .expect = -EACCES },
	{ "inherited-read", "read a drive that was opened to read",
	  inherited_read, .expect = LENGTH, .reach = true },
	{ "inherited-write", "write a drive that was opened to read",
	  inherited_write, .expect = -EBADF },
	{ "passthrough-read", "read by passthrough", passthrough_read,
	  .expect = 0, .reach = true },
	{ "passthrough-write", "write by passthrough what was opened to read",
	  passthrough_write, .expect = -EACCES },
	{ "passthrough-admin", "read a log by passthrough", passthrough_admin,
	  .expect = -EACCES },
	{ "root-vm", "process_vm_readv() of root's", root_vm,
	  .expect = -EPERM },
	{ "root-trace", "trace root's process", root_trace, .expect = -EPERM },
	{ "root-mem", "open the memory of root's process", root_mem,
	  .expect = -EACCES },
	{}
};

int main(int argc, char **argv)
{
	return run_trials(argc, argv, trials);
}
