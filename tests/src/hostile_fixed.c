// SPDX-License-Identifier: GPL-2.0
/*
 * Registered buffers of P2P memory, used in wrong ways, taken away in the midst of I/O, and given to files that
 * cannot have them.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <liburing.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "passthrough.h"
#include "rings.h"
#include "trials.h"

#define LENGTH (16 * (long)PAGE)
#define DEPTH 16
#define SIZE (DEPTH * LENGTH)
#define ROUNDS 20

struct trial_args {
	void (*end)(void); /* of a process */
	bool host; /* memory instead of P2P memory */
	int prot; /* what mprotect() leaves the memory for a while */
	unsigned int pieces; /* in so many calls */
	bool between; /* every second page is host memory that nobody has touched */
};

static struct io_uring ring;
static unsigned char *content, *map;
static int fd;

static long set_up_ring(struct io_uring *new)
{
	return io_uring_queue_init(DEPTH, new, 0);
}

/* The drive with random content, and P2P memory that is registered. */
static long set_up(void)
{
	struct iovec iov = { .iov_len = SIZE };

	content = fill_drive(opt.device, SIZE, &fd);
	map = map_memory(opt.p2p, SIZE);
	iov.iov_base = map;
	return set_up_ring(&ring) ?:
	       io_uring_register_buffers(&ring, &iov, 1);
}

static struct io_uring_sqe *prepare(struct io_uring *in, int file, bool write, size_t at)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(in);

	io_uring_prep_rw(write ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED,
			 sqe, file, map + at, LENGTH, at);
	sqe->buf_index = 0;
	sqe->user_data = 0;
	return sqe;
}

static long one(struct io_uring *in, int file, bool write, size_t at)
{
	prepare(in, file, write, at);
	if (io_uring_submit(in) != 1)
		errx(1, "io_uring_submit");
	return reap(in);
}

static void submit_all(struct io_uring *in)
{
	for (size_t at = 0; at < SIZE; at += LENGTH)
		prepare(in, fd, false, at);
	if (io_uring_submit(in) != DEPTH)
		errx(1, "io_uring_submit");
}

static long reap_all(struct io_uring *in)
{
	long ret = LENGTH;

	for (int i = 0; i < DEPTH; i++) {
		long one = reap(in);

		if (one != LENGTH)
			ret = one < 0 ? one : -EBADMSG;
	}
	return ret;
}

static bool differs(const unsigned char *memory)
{
	for (size_t at = 0; at < SIZE; at += sizeof(uint64_t))
		if (*(const volatile uint64_t *)(memory + at) !=
		    *(const uint64_t *)(content + at))
			return true;
	return false;
}

static long read_all(void)
{
	long ret = set_up();

	if (ret)
		return ret;
	submit_all(&ring);
	ret = reap_all(&ring);
	return ret == LENGTH && differs(map) ? -EBADMSG : ret;
}

/* What is unmapped stays registered, and the device still has the data that was in it. */
static long write_unmapped(void)
{
	unsigned char *found;
	long ret = set_up();

	if (ret)
		return ret;
	fill_random(content, SIZE);
	copy_words(map, content, SIZE);
	munmap(map, SIZE);
	for (size_t at = 0; at < SIZE; at += LENGTH) {
		ret = one(&ring, fd, true, at);
		if (ret != LENGTH)
			return ret;
	}
	found = map_memory(NULL, SIZE);
	if (pread(fd, found, SIZE, 0) != SIZE)
		err(1, "%s", opt.device);
	return differs(found) ? -EBADMSG : LENGTH;
}

/* Nobody else gets memory that is unmapped but registered. */
static long read_unmapped(void)
{
	unsigned char *other;
	long ret = set_up();
	size_t size;

	if (ret)
		return ret;
	munmap(map, SIZE);
	size = p2p_available(opt.p2p);
	other = map_memory(opt.p2p, size);
	for (size_t at = 0; at < size; at += 512)
		*(volatile uint64_t *)(other + at) = 0x5eed5eed5eed5eed;
	submit_all(&ring);
	ret = reap_all(&ring);
	for (size_t at = 0; at < size && ret == LENGTH; at += 512)
		if (*(volatile uint64_t *)(other + at) != 0x5eed5eed5eed5eed)
			return -EBADMSG;
	return ret;
}

/* Unregistering waits for the I/O, and then nothing of the memory is in use. */
static long unregister(void)
{
	long ret = set_up();

	for (int i = 0; i < ROUNDS && !ret; i++) {
		struct iovec iov = { map, SIZE };

		submit_all(&ring);
		ret = io_uring_unregister_buffers(&ring);
		if (!ret && reap_all(&ring) != LENGTH)
			ret = -EBADMSG;
		if (!ret && differs(map))
			ret = -EBADMSG;
		if (!ret)
			ret = io_uring_register_buffers(&ring, &iov, 1);
	}
	return ret ?: LENGTH;
}

/* Other memory in the same place of the table, while there is I/O to what was there. */
static long update(void)
{
	unsigned char *maps[2];
	long ret = set_up();

	maps[0] = map;
	maps[1] = ret ? NULL : map_memory(opt.p2p, SIZE);
	for (int i = 0; i < ROUNDS && !ret; i++) {
		struct iovec iov = { maps[~i & 1], SIZE };
		__u64 tag = 0;

		submit_all(&ring);
		ret = io_uring_register_buffers_update_tag(&ring, 0, &iov,
							   &tag, 1);
		if (ret != 1)
			return ret ?: -EBADMSG;
		ret = reap_all(&ring) == LENGTH && !differs(map) ? 0 :
								   -EBADMSG;
		map = maps[~i & 1];
	}
	return ret ?: LENGTH;
}

/* Tags count down, and the last buffer has none, so that nothing but the final read may complete after it. */
static long tags(const struct trial_args *args)
{
	const char *provider = args->host ? NULL : opt.p2p;
	struct iovec iov = { .iov_len = SIZE };
	unsigned char *maps[2];
	__u64 tag = 4, next;
	long ret;

	content = fill_drive(opt.device, SIZE, &fd);
	for (int i = 0; i < 2; i++)
		maps[i] = map_memory(provider, SIZE);
	map = maps[0];
	iov.iov_base = map;
	ret = set_up_ring(&ring) ?:
	      io_uring_register_buffers_tags(&ring, &iov, &tag, 1);
	for (; tag && !ret; tag = next) {
		next = tag - 1;
		iov.iov_base = maps[next & 1];
		submit_all(&ring);
		ret = io_uring_register_buffers_update_tag(&ring, 0, &iov,
							   &next, 1);
		if (ret != 1)
			return ret ?: -EBADMSG;
		ret = reap_tagged(&ring, DEPTH, LENGTH, tag);
		if (!ret && differs(map))
			ret = -EBADMSG;
		map = iov.iov_base;
	}
	ret = ret ?: one(&ring, fd, false, 0);
	return ret == LENGTH && io_uring_cq_ready(&ring) ? -EEXIST : ret;
}

/* A ring that has the buffers of another one, which is gone. */
static long cloned(void)
{
	struct io_uring second;
	long ret = set_up() ?: set_up_ring(&second);

	ret = ret ?: clone_buffers(&second, &ring);
	if (ret)
		return ret;
	submit_all(&ring);
	submit_all(&second);
	ret = reap_all(&second);
	io_uring_queue_exit(&ring);
	if (ret != LENGTH)
		return ret;
	submit_all(&second);
	ret = reap_all(&second);
	return ret == LENGTH && differs(map) ? -EBADMSG : ret;
}

/* The child has neither the mapping nor, when it ends, anything to take away. */
static long fork_off(void)
{
	long ret = set_up();
	pid_t pid;

	if (ret)
		return ret;
	submit_all(&ring);
	pid = fork();
	if (!pid) {
		munmap(map, SIZE);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	ret = reap_all(&ring);
	return ret == LENGTH && differs(map) ? -EBADMSG : ret;
}

static void wait_for_end(void)
{
	for (;;)
		pause();
}

static void leave(void)
{
	_exit(0);
}

static void execute(void)
{
	execl("/bin/true", "true", NULL);
}

/* Processes that end with reads in flight; how many did. */
static long many(const struct trial_args *args)
{
	long count = 0;

	for (int i = 0; i < ROUNDS; i++) {
		int status, ready[2];
		pid_t pid;
		char byte = 0;

		if (pipe(ready))
			err(1, "pipe");
		pid = fork();
		if (!pid) {
			long ret = set_up();

			if (ret)
				_exit(-ret);
			submit_all(&ring);
			if (write(ready[1], &byte, 1) != 1)
				_exit(1);
			args->end();
		}
		close(ready[1]);
		if (read(ready[0], &byte, 1) == 1 && args->end == wait_for_end)
			kill(pid, SIGKILL);
		close(ready[0]);
		waitpid(pid, &status, 0);
		if (WIFEXITED(status) && WEXITSTATUS(status))
			return -WEXITSTATUS(status);
		count++;
	}
	return count;
}

static long to_file(int file, bool write)
{
	long ret = file < 0 ? -errno : set_up();

	return ret ?: one(&ring, file, write, 0);
}

static long buffered(void)
{
	return to_file(open(opt.device, O_RDWR), false);
}

static long to_pipe(void)
{
	int fds[2];

	if (pipe(fds))
		err(1, "pipe");
	return to_file(fds[1], true);
}

/* Refused at once, not when there is something to read. */
static long from_empty_pipe(void)
{
	int fds[2];

	if (pipe(fds))
		err(1, "pipe");
	return to_file(fds[0], false);
}

static long to_tmpfs(void)
{
	char name[] = "/dev/shm/lab.XXXXXX";
	int file = mkostemp(name, O_DIRECT);

	if (file >= 0)
		unlink(name);
	return to_file(file, true);
}

static void *keep_dirty(void *page)
{
	volatile uint64_t *word = page;

	for (;;)
		*word = *word;
	return NULL;
}

/*
 * Where the page cache has a page that is dirty again before it can be dropped, a direct write of other memory goes
 * through it. A write that finds it dropped is right, too: it writes what is there.
 */
static long busy_page(void)
{
	pthread_t thread;
	long ret = set_up();
	void *page;

	if (ret)
		return ret;
	copy_words(map, content, LENGTH);
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		err(1, "%s", opt.device);
	if (pthread_create(&thread, NULL, keep_dirty, page))
		errx(1, "pthread_create");
	for (int i = 0; i < 200 * ROUNDS && ret >= 0; i++)
		ret = one(&ring, fd, true, 0);
	return ret;
}

/* Of a file system, whose page cache has nothing of it yet: io_uring tries such reads again by itself. */
static long cold_file(void)
{
	static const char cold[LENGTH];
	int file = open("/tmp/cold/file", O_RDWR | O_CREAT, 0600);

	if (file < 0)
		err(1, "/tmp/cold/file");
	if (pwrite(file, cold, sizeof(cold), 0) != sizeof(cold) || fsync(file) ||
	    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED))
		err(1, "/tmp/cold/file");
	return to_file(file, false);
}

/* A drive whose driver takes no P2P memory */
static long no_p2p_queue(void)
{
	return opt.file ? to_file(open(opt.file, O_RDONLY | O_DIRECT), false) :
			  -EREMOTEIO;
}

/* A command to the beginning of the drive, with @length bytes of the registered buffer from @at on */
static long pass_fixed(struct io_uring *commands, int generic, uint8_t opcode, size_t at, size_t length)
{
	struct nvme_uring_cmd cmd = {
		.opcode = opcode,
		.nsid = pass_nsid(generic, opt.device),
		.addr = (uintptr_t)map + at,
		.data_len = length,
	};
	struct io_uring_sqe *sqe;
	unsigned int lba_size;

	ioctl(fd, BLKSSZGET, &lba_size);
	cmd.cdw12 = length / lba_size - 1;
	sqe = pass_sqe(commands, generic, NVME_URING_CMD_IO, &cmd);
	sqe->uring_cmd_flags = IORING_URING_CMD_FIXED;
	sqe->buf_index = 0;
	return pass_wait(commands);
}

#define PASSED (5 * PAGE)

/* Both ways, at a place that is not the buffer's first, nor a page's */
static long pass_host(struct io_uring *commands, int generic)
{
	const size_t at = 3 * PAGE + 512;
	unsigned char *found = map_memory(NULL, PASSED);
	long ret = pass_fixed(commands, generic, NVME_CMD_READ, at, PASSED);

	if (ret)
		return ret;
	if (memcmp(map + at, content, PASSED) || map[at - 1] || map[at + PASSED])
		return -EBADMSG;
	fill_random(map + at, PASSED);
	ret = pass_fixed(commands, generic, NVME_CMD_WRITE, at, PASSED);
	if (ret)
		return ret;
	if (pread(fd, found, PASSED, 0) != (ssize_t)PASSED)
		err(1, "%s", opt.device);
	return memcmp(map + at, found, PASSED) ? -EBADMSG : 0;
}

static long passthrough(const struct trial_args *args)
{
	const char *number = strstr(opt.device, "nvme") + strlen("nvme");
	struct iovec iov = { .iov_len = SIZE };
	struct io_uring commands;
	int generic;
	long ret;

	content = fill_drive(opt.device, SIZE, &fd);
	map = map_memory(args->host ? NULL : opt.p2p, SIZE);
	iov.iov_base = map;
	generic = open_path(O_RDWR, "/dev/ng%s", number);
	pass_ring_init(&commands, 4, 0);
	ret = io_uring_register_buffers(&commands, &iov, 1);
	if (ret)
		return ret;
	if (args->host)
		return pass_host(&commands, generic);
	return pass_fixed(&commands, generic, NVME_CMD_READ, 0, PAGE);
}

static long outside(void)
{
	long ret = set_up();

	if (ret)
		return ret;
	prepare(&ring, fd, false, SIZE - LENGTH + 512);
	io_uring_submit(&ring);
	return reap(&ring);
}

/* A ring itself lies in memory that nobody takes away. */
static long ring_memory(void)
{
	struct io_uring_params params = {
		.flags = 1U << 14, /* IORING_SETUP_NO_MMAP */
	};
	unsigned char *memory = map_memory(opt.p2p, 16 * PAGE);
	uint64_t rings[2] = { (uintptr_t)memory,
			      (uintptr_t)memory + 8 * PAGE };

	/* user_addr, the last member, has no name in old headers */
	memcpy((char *)(&params.sq_off + 1) - 8, &rings[0], 8);
	memcpy((char *)(&params.cq_off + 1) - 8, &rings[1], 8);
	return RESULT(syscall(SYS_io_uring_setup, 4, &params));
}

/* Who has no right to lock more memory cannot register more. */
static long limit(void)
{
	struct rlimit none = { 64 << 10, 64 << 10 };
	struct iovec iov = { .iov_len = SIZE };

	iov.iov_base = map_memory(opt.p2p, SIZE);
	if (setrlimit(RLIMIT_MEMLOCK, &none) || setgid(65534) || setuid(65534))
		err(1, "setuid");
	return set_up_ring(&ring) ?:
	       io_uring_register_buffers(&ring, &iov, 1);
}

/* P2P memory counts by the page, however large its folios are. Return: how many pages may be locked. */
static long limit_by_page(void)
{
	struct rlimit few = { 16 * PAGE, 16 * PAGE };
	struct iovec iov = { .iov_len = PAGE };
	long ret;

	iov.iov_base = map_memory(opt.p2p, SIZE);
	if (setrlimit(RLIMIT_MEMLOCK, &few) || setgid(65534) || setuid(65534))
		err(1, "setuid");
	ret = set_up_ring(&ring) ?: io_uring_register_buffers_sparse(&ring, 32);
	if (ret)
		return ret;
	for (unsigned int i = 0; i < 32; i++) {
		ret = io_uring_register_buffers_update_tag(&ring, i, &iov, NULL, 1);
		if (ret != 1)
			return ret == -ENOMEM ? (long)i : ret;
		iov.iov_base = (unsigned char *)iov.iov_base + PAGE;
	}
	return -ERANGE;
}

/* Who may have no more threads, as those of the kernel that work for a process are, does I/O all the same. */
static long no_worker(void)
{
	struct rlimit none = { 0, 0 };
	struct iovec iov = { .iov_len = SIZE };
	long ret;

	content = fill_drive(opt.device, SIZE, &fd);
	map = map_memory(NULL, SIZE);
	iov.iov_base = map;
	if (setrlimit(RLIMIT_NPROC, &none) || setgid(65534) || setuid(65534))
		err(1, "setuid");
	ret = set_up_ring(&ring) ?:
	      io_uring_register_buffers(&ring, &iov, 1);
	if (ret)
		return ret;
	submit_all(&ring);
	ret = reap_all(&ring);
	return ret == LENGTH && differs(map) ? -EBADMSG : ret;
}

static bool has_iommu(void)
{
	DIR *units = opendir("/sys/class/iommu");
	const struct dirent *unit;
	bool found = false;

	while (units && (unit = readdir(units)))
		found |= unit->d_name[0] != '.';
	if (units)
		closedir(units);
	return found;
}

/* A huge page again and again */
static unsigned char *map_repeated(size_t size, size_t huge)
{
	int file = memfd_create("huge", MFD_HUGETLB);
	unsigned char *memory = mmap(NULL, size + huge, PROT_NONE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (file < 0 || ftruncate(file, huge) || memory == MAP_FAILED)
		err(1, "a huge page");
	memory += -(uintptr_t)memory & (huge - 1);
	for (size_t at = 0; at < size; at += huge)
		if (mmap(memory + at, huge, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED)
			err(1, "a huge page");
	close(file);
	return memory;
}

/*
 * Registered memory stays mapped, and the drive has but so many addresses: of 39 bits, 512 of these buffers would take
 * all. What is not registered moves all the same. Return: how much.
 */
static long all_addresses(void)
{
	struct iovec iov = { .iov_len = 1UL << 30 };
	unsigned char *seen = map_memory(NULL, SIZE);
	long ret;

	if (opt.stock || !has_iommu())
		return SIZE;
	content = fill_drive(opt.device, SIZE, &fd);
	map = map_repeated(iov.iov_len, 2UL << 20);
	iov.iov_base = map;
	ret = set_up_ring(&ring) ?: io_uring_register_buffers_sparse(&ring, 520);
	for (int i = 0; !ret && i < 520; i++) {
		ret = io_uring_register_buffers_update_tag(&ring, i, &iov, NULL, 1);
		if (ret != 1)
			return ret;
		prepare(&ring, fd, false, 0)->buf_index = i;
		if (io_uring_submit(&ring) != 1)
			errx(1, "io_uring_submit");
		ret = reap(&ring);
		ret = ret == LENGTH ? 0 : ret < 0 ? ret : -EIO;
	}
	if (ret)
		return ret;
	ret = RESULT(pread(fd, seen, SIZE, 0));
	return ret == SIZE && differs(seen) ? -EBADMSG : ret;
}

static long aligned_as_said(size_t at, size_t length, unsigned int lba_size)
{
	size_t first = length < PAGE - at ? length : PAGE - at;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	long expect = length, ret;

	if (at % 4 || length % lba_size || first % lba_size)
		expect = -EINVAL;
	memset(map, 0x5a, SIZE);
	io_uring_prep_rw(IORING_OP_READ_FIXED, sqe, fd, map + at, length, 0);
	sqe->buf_index = 0;
	if (io_uring_submit(&ring) != 1)
		errx(1, "io_uring_submit");
	ret = reap(&ring);
	if (ret != expect) {
		printf("%zu bytes at %zu: %ld\n", length, at, ret);
		return ret < 0 ? ret : -EBADMSG;
	}
	if (ret > 0 && memcmp(map + at, content, length))
		return -EBADMSG;
	for (size_t i = 0; i < SIZE; i++)
		if (map[i] != 0x5a && (ret < 0 || i < at || i >= at + length))
			return -EBADMSG;
	return 0;
}

/*
 * Linux takes data of a registered buffer whose first page holds whole blocks of it, or all of it. Return: 0, if that
 * is what it does for each place and length.
 */
static long alignment(void)
{
	static const unsigned int places[] = { 0, 1, 2, 4, 6, 508, 511, 512, 514, 2048, PAGE - 512, PAGE - 4 };
	static const unsigned int lengths[] = { 4, 511, 512, 514, 1024, PAGE - 512, PAGE, PAGE + 512, PAGE + 514, 5 * PAGE };
	struct iovec iov = { .iov_len = SIZE };
	unsigned int lba_size;
	long ret;

	content = fill_drive(opt.device, SIZE, &fd);
	ioctl(fd, BLKSSZGET, &lba_size);
	map = map_memory(NULL, SIZE);
	if (madvise(map, SIZE, MADV_NOHUGEPAGE))
		err(1, "madvise");
	iov.iov_base = map;
	ret = set_up_ring(&ring) ?:
	      io_uring_register_buffers(&ring, &iov, 1);
	for (unsigned int i = 0; !ret && i < sizeof(places) / sizeof(*places); i++) {
		for (unsigned int j = 0; !ret && j < sizeof(lengths) / sizeof(*lengths); j++)
			ret = aligned_as_said(places[i], lengths[j], lba_size);
	}
	return ret;
}

/*
 * From the first of 65537 vectors on, which a bio counts in 16 bits. Stock takes them for one, and leads the drive to
 * address 0, so it is not asked. Nor is an IOMMU: where 256 MiB of IOVAs are not free below 4 GiB, the drive gets them
 * from the top of 64 bits from then on, and QEMU's refuses an SGL descriptor that ends at 2^64. Return: 0.
 */
static long many_vectors(void)
{
	const size_t size = 65536UL * PAGE;
	struct iovec iov = { .iov_len = size };
	struct io_uring_sqe *sqe;
	long ret;

	if (opt.stock || has_iommu())
		return 0;
	content = fill_drive(opt.device, SIZE, &fd);
	map = map_memory(NULL, size + PAGE);
	if (madvise(map, size + PAGE, MADV_NOHUGEPAGE))
		err(1, "madvise");
	iov.iov_base = map + 512;
	ret = set_up_ring(&ring) ?:
	      io_uring_register_buffers(&ring, &iov, 1);
	if (ret)
		return ret;
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_read_fixed(sqe, fd, map + 512, SIZE, 0, 0);
	if (io_uring_submit(&ring) != 1)
		errx(1, "io_uring_submit");
	ret = reap(&ring);
	if (ret != SIZE)
		return ret < 0 ? ret : -EIO;
	return memcmp(map + 512, content, SIZE) ? -EBADMSG : 0;
}

/* How often the kernel has called a function whose calls the case counts */
static long calls(const char *function)
{
	FILE *profile = fopen("/sys/kernel/tracing/kprobe_profile", "r");
	long hits, missed;
	char name[64];

	while (profile && fscanf(profile, "%63s %ld %ld", name, &hits, &missed) == 3) {
		if (!strcmp(name, function)) {
			fclose(profile);
			return hits + missed;
		}
	}
	errx(1, "no kprobe is at %s()", function);
}

static void take_rights(const struct trial_args *args, unsigned char *memory, size_t size)
{
	size_t piece = size / args->pieces;

	for (size_t at = 0; at < size; at += piece)
		if (mprotect(memory + at, piece, args->prot))
			err(1, "mprotect");
	if (mprotect(memory, size, PROT_READ | PROT_WRITE))
		err(1, "mprotect");
}

/* Up to where the I/O goes. */
static void put_host_between(unsigned char *memory, size_t size)
{
	for (size_t at = PAGE; at < size - SIZE; at += 2 * PAGE)
		if (mmap(memory + at, PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
			err(1, "mmap");
}

/* Return: how often pages were walked through to pin that much memory, whose last part moves right data then. */
static long rounds_for(const struct trial_args *args, size_t size)
{
	struct iovec iov = { map_memory(opt.p2p, size), size };
	long before, rounds, ret;

	take_rights(args, iov.iov_base, size);
	if (args->between)
		put_host_between(iov.iov_base, size);
	before = calls("gup_fast_fallback");
	ret = io_uring_register_buffers(&ring, &iov, 1);
	rounds = calls("gup_fast_fallback") - before;
	if (ret)
		return ret;
	map = (unsigned char *)iov.iov_base + size - SIZE;
	submit_all(&ring);
	ret = reap_all(&ring);
	if (ret == LENGTH && differs(map))
		ret = -EBADMSG;
	munmap(iov.iov_base, size);
	return ret == LENGTH ? io_uring_unregister_buffers(&ring) ?: rounds : ret;
}

/*
 * After mprotect() no page of P2P memory is writable before somebody touches it, and each piece stays a mapping of its
 * own. What is pinned again whenever one page more was touched takes time by the square. Here: a try as host memory,
 * one that finds nothing writable, and one after all was made so; some may be of others. Return: 0, or how many rounds
 * are too many.
 */
static long after_mprotect(const struct trial_args *args)
{
	static const size_t sizes[] = { SIZE, 4 * SIZE, 16 * SIZE };
	long ret;

	if (opt.stock)
		return -EFAULT;
	content = fill_drive(opt.device, SIZE, &fd);
	ret = set_up_ring(&ring);
	for (unsigned int i = 0; !ret && i < sizeof(sizes) / sizeof(*sizes); i++) {
		ret = rounds_for(args, sizes[i]);
		printf("%zu pages: %ld rounds, ", sizes[i] / PAGE, ret);
		if (ret >= 0 && ret <= 8)
			ret = 0;
	}
	return ret;
}

#define FILE_PAGES 64UL

/* How many pages of a mapped file the page cache has to write back: bit 4 of their flags */
static long dirty_pages(const unsigned char *file)
{
	int fd = open_path(O_RDONLY, "/proc/kpageflags");
	long dirty = 0;

	for (size_t at = 0; at < FILE_PAGES * PAGE; at += PAGE) {
		uint64_t flags;

		/* which has a frame when it was touched */
		(void)*(const volatile unsigned char *)(file + at);
		if (pread(fd, &flags, sizeof(flags), frame(file + at) * sizeof(flags)) != sizeof(flags))
			err(1, "/proc/kpageflags");
		dirty += flags >> 4 & 1;
	}
	close(fd);
	return dirty;
}

/* So much of the buffer before the file: of P2P memory, or of the host's */
static long dirtied(int file, const char *p2p, size_t before)
{
	size_t size = before + FILE_PAGES * PAGE;
	struct iovec iov = { map_memory(p2p, size), size };
	unsigned char *pages = (unsigned char *)iov.iov_base + before;
	long dirty, ret;

	if (mmap(pages, FILE_PAGES * PAGE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED)
		err(1, "%s", opt.device);
	if (dirty_pages(pages))
		errx(1, "%s is dirty before it is given away", opt.device);
	ret = io_uring_register_buffers(&ring, &iov, 1);
	dirty = dirty_pages(pages);
	/* a count that does not count tells nothing */
	for (size_t at = FILE_PAGES / 2 * PAGE; at < FILE_PAGES * PAGE; at += PAGE)
		*(volatile unsigned char *)(pages + at) = 0;
	if (dirty_pages(pages) < (long)FILE_PAGES / 2)
		errx(1, "what is written to is not dirty");
	if (msync(pages, FILE_PAGES * PAGE, MS_SYNC))
		err(1, "%s", opt.device);
	munmap(iov.iov_base, size);
	return ret == -EFAULT ? dirty : ret ?: -EEXIST;
}

/*
 * A mapped file, here the drive's page cache, cannot be registered. To make its pages writable before that is found
 * dirties it. Return: how many pages.
 */
static long refused_file(void)
{
	int file = open_path(O_RDWR, "%s", opt.device);
	long ret;

	content = fill_drive(opt.device, SIZE, &fd);
	ret = set_up_ring(&ring);
	ret = ret ?: dirtied(file, NULL, 0);
	ret = ret ?: dirtied(file, NULL, LENGTH);
	return ret ?: dirtied(file, opt.p2p, LENGTH);
}

#define STOCK .differs = true, .stock = -EFAULT

static const struct trial trials[] = {
	{ "read", "read into all of it", read_all, .expect = LENGTH,
	  .reach = true, STOCK },
	{ "write-unmapped", "write what was unmapped since", write_unmapped,
	  .expect = LENGTH, .reach = true, STOCK },
	{ "read-unmapped", "read to what was unmapped since", read_unmapped,
	  .expect = LENGTH, .reach = true, STOCK },
	{ "unregister", "unregister it with reads in flight", unregister,
	  .expect = LENGTH, STOCK },
	{ "update", "register other memory in its place with reads in flight",
	  update, .expect = LENGTH, STOCK },
	{ "tags", "register other memory in its place with reads in flight: one completion of its tag, behind theirs",
	  WITH(tags, .host = false), .expect = LENGTH, STOCK },
	{ "tags-host", "the same with host memory", WITH(tags, .host = true),
	  .expect = LENGTH },
	{ "clone", "give it to another ring and close the first", cloned,
	  .expect = LENGTH, STOCK },
	{ "fork", "fork() a process that unmaps it and ends", fork_off,
	  .expect = LENGTH, STOCK },
	{ "kill", "kill processes with reads in flight",
	  WITH(many, .end = wait_for_end), .expect = ROUNDS, STOCK },
	{ "exit", "processes that end with reads in flight",
	  WITH(many, .end = leave), .expect = ROUNDS, STOCK },
	{ "execute", "execve() with reads in flight",
	  WITH(many, .end = execute), .expect = ROUNDS, STOCK },
	{ "alignment", "read host memory to places and of lengths that are not blocks",
	  alignment, .expect = 0 },
	{ "many-vectors", "read to host memory of more vectors than a bio counts",
	  many_vectors, .expect = 0 },
	{ "outside", "read beyond its end", outside, .expect = -EFAULT },
	{ "buffered", "read through the page cache", buffered,
	  .expect = -EINVAL, STOCK },
	{ "busy-page", "write it to what the page cache cannot drop", busy_page,
	  .expect = -EBUSY, STOCK },
	{ "pipe", "write it to a pipe", to_pipe, .expect = -EOPNOTSUPP, STOCK },
	{ "empty-pipe", "read into it from a pipe that nobody writes to",
	  from_empty_pipe, .expect = -EOPNOTSUPP, STOCK },
	{ "tmpfs", "write it to a file of no drive", to_tmpfs,
	  .expect = -EOPNOTSUPP, STOCK },
	{ "cold-file", "read into it from a file, through the page cache",
	  cold_file, .expect = -EOPNOTSUPP, STOCK },
	{ "queue", "read into it from a drive that takes no P2P memory",
	  no_p2p_queue, .expect = -EREMOTEIO, STOCK },
	{ "passthrough", "read into it by a command passed through",
	  WITH(passthrough, .host = false), .expect = -EOPNOTSUPP, STOCK },
	{ "passthrough-host", "read and write host memory by commands passed through",
	  WITH(passthrough, .host = true), .expect = 0 },
	{ "ring", "have a ring in P2P memory", ring_memory, .expect = -EFAULT },
	{ "no-rights", "register it after PROT_NONE, in rounds that are not by pages",
	  WITH(after_mprotect, .prot = PROT_NONE, .pieces = 1), .expect = 0,
	  STOCK },
	{ "readable", "the same after PROT_READ",
	  WITH(after_mprotect, .prot = PROT_READ, .pieces = 1), .expect = 0,
	  STOCK },
	{ "readable-pieces", "the same after PROT_READ of each of 64 parts",
	  WITH(after_mprotect, .prot = PROT_READ, .pieces = 64), .expect = 0,
	  STOCK },
	{ "readable-between", "the same with untouched host pages between",
	  WITH(after_mprotect, .prot = PROT_READ, .pieces = 1, .between = true),
	  .expect = 0, STOCK },
	{ "refused-file", "register a mapped file, of which no page is dirty then",
	  refused_file, .expect = 0 },
	{ "limit", "register more than one may lock", limit, .expect = -ENOMEM,
	  STOCK },
	{ "limit-by-page", "register single pages until no more may be locked",
	  limit_by_page, .expect = 16, STOCK },
	{ "no-worker", "read into host memory where the kernel has no thread for it",
	  no_worker, .expect = LENGTH },
	{ "all-addresses", "keep all addresses of the drive, then read to memory that is not registered",
	  all_addresses, .expect = SIZE },
	{}
};

int main(int argc, char **argv)
{
	return run_trials(argc, argv, trials);
}
