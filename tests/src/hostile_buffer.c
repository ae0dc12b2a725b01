// SPDX-License-Identifier: GPL-2.0
/*
 * I/O of a drive to and from buffers in P2P memory that are wrong, or lie where two mappings meet, and other
 * system calls that take buffers.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <liburing.h>
#include <linux/nvme_ioctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "trials.h"

#define IORING_SETUP_WITHOUT_MMAP (1U << 14)
#define CONTENT_SIZE (16 * PAGE)
/* NVMe statuses LBA Out of Range and Invalid Use of Controller Memory Buffer, with Do Not Retry */
#define LBA_OUT_OF_RANGE 0x4080
#define INVALID_USE_OF_CMB 0x4012

struct trial_args {
	/* the buffer: where it lies, and from which byte of that on */
	unsigned char *(*map)(void);
	size_t at;
	size_t length;
	bool write;
	bool host; /* memory, not P2P memory */
	int prot; /* from that byte on */
	uint64_t lba;
	bool select; /* a buffer that was provided */
	unsigned int count; /* of vectors */
	void (*lose)(unsigned char *page); /* so that it cannot be written to */
	bool ring; /* by io_uring */
	bool reference; /* by vmsplice(), not a copy */
	unsigned int flags; /* of vmsplice() */
};

/* What is on the drive, from its start. */
static unsigned char content[CONTENT_SIZE] __attribute__((aligned(PAGE)));

static int open_filled(void)
{
	unsigned int lba_size;
	size_t align;
	int fd = open_drive(opt.device, &lba_size, &align);

	fill_random(content, CONTENT_SIZE);
	if (pwrite(fd, content, CONTENT_SIZE, 0) != (ssize_t)CONTENT_SIZE)
		err(1, "%s", opt.device);
	return fd;
}

/* Whether what is on the drive is in memory, from a byte on. */
static bool is_content(const unsigned char *data, size_t from, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (((const volatile unsigned char *)data)[i] !=
		    content[from + i])
			return false;
	return true;
}

static long read_drive(unsigned char *data, size_t length)
{
	long ret = RESULT(pread(open_filled(), data, length, 0));

	return ret > 0 && !is_content(data, 0, ret) ? -EBADMSG : ret;
}

/* Write the memory to the drive, from its start, and compare. */
static long write_drive(const unsigned char *data, size_t length)
{
	int fd = open_filled();
	long ret = RESULT(pwrite(fd, data, length, 0));

	if (pread(fd, content, CONTENT_SIZE, 0) != (ssize_t)CONTENT_SIZE)
		return -EBADF;
	return ret > 0 && !is_content(data, 0, ret) ? -EBADMSG : ret;
}

static long plain(const struct trial_args *args)
{
	unsigned char *data = args->map() + args->at;

	return args->write ? write_drive(data, args->length) :
			     read_drive(data, args->length);
}

static unsigned char *map_p2p(size_t pages)
{
	return map_memory(opt.p2p, pages * PAGE);
}

static unsigned char *map_page(void)
{
	return map_p2p(1);
}

static unsigned char *map_two_pages(void)
{
	return map_p2p(2);
}

/* One page, and then what nobody may touch. Were it not mapped, io_uring's rings could come to lie there. */
static unsigned char *map_with_end(void)
{
	unsigned char *map = map_p2p(2);

	if (mmap(map + PAGE, PAGE, PROT_NONE,
		 MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
		err(1, "mapping nothing");
	return map;
}

static long uring(const struct trial_args *args)
{
	unsigned char *data = args->map();
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	int fd = open_filled();
	int ret = io_uring_queue_init(4, &ring, 0);

	if (ret)
		return ret;
	if (args->select) {
		sqe = io_uring_get_sqe(&ring);
		io_uring_prep_provide_buffers(sqe, data, args->length, 1, 0, 0);
		io_uring_submit(&ring);
		io_uring_wait_cqe(&ring, &cqe);
		io_uring_cqe_seen(&ring, cqe);
	}
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_read(sqe, fd, args->select ? NULL : data, args->length,
			   0);
	sqe->flags = args->select ? IOSQE_BUFFER_SELECT : 0;
	io_uring_submit(&ring);
	ret = io_uring_wait_cqe(&ring, &cqe) ?: cqe->res;
	return ret > 0 && !is_content(data, 0, ret) ? -EBADMSG : ret;
}

/* A page each of the memory of two providers, or of the host where there is no path. */
static unsigned char *map_side_by_side(const char *first, const char *second)
{
	unsigned char *map = map_memory(first, 2 * PAGE);
	int fd = second ? open(second, O_RDWR) : -1;

	if (mmap(map + PAGE, PAGE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED | (second ? 0 : MAP_ANONYMOUS), fd,
		 0) == MAP_FAILED)
		err(1, "mapping P2P and host memory side by side");
	return map;
}

static unsigned char *map_p2p_and_host(void)
{
	return map_side_by_side(opt.p2p, NULL);
}

static unsigned char *map_host_and_p2p(void)
{
	return map_side_by_side(NULL, opt.p2p);
}

/* Two pages of both kinds, and then one that nobody may touch. */
static unsigned char *map_both_with_end(void)
{
	unsigned char *map = map_memory(NULL, 3 * PAGE);

	if (mmap(map, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		 open(opt.p2p, O_RDWR), 0) == MAP_FAILED ||
	    mprotect(map + 2 * PAGE, PAGE, PROT_NONE))
		err(1, "mapping P2P and host memory and nothing side by side");
	return map;
}

static long pass_through(const struct trial_args *args)
{
	unsigned char *data = args->map();
	struct nvme_passthru_cmd command = {
		.opcode = 2, /* read */
		.addr = (uintptr_t)data,
		.cdw10 = args->lba,
		.cdw11 = args->lba >> 32,
	};
	int fd = open_filled();
	unsigned int lba_size;
	size_t align;
	long ret;

	close(open_drive(opt.device, &lba_size, &align));
	command.nsid = ioctl(fd, NVME_IOCTL_ID);
	command.data_len = 2 * PAGE;
	command.cdw12 = 2 * PAGE / lba_size - 1;
	ret = RESULT(ioctl(fd, NVME_IOCTL_IO_CMD, &command));
	return !ret && !is_content(data, 0, 2 * PAGE) ? -EBADMSG : ret;
}

static long next_mapping(void)
{
	unsigned char *map = map_p2p(2);
	int fd = open(opt.p2p, O_RDWR);

	if (mmap(map + PAGE, PAGE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		return -errno;
	return read_drive(map, 2 * PAGE);
}

/* Pages that lie in memory in another order than in the buffer. */
static unsigned char *map_shuffled(void)
{
	static const unsigned int order[] = { 1, 0, 2, 3, 7, 6, 5, 4 };
	unsigned char *map = map_memory(NULL, CONTENT_SIZE);
	int fd = open(opt.p2p, O_RDWR);

	for (size_t i = 0; i < sizeof(order) / sizeof(*order); i++)
		if (mmap(map + order[i] * PAGE, PAGE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
			err(1, "mapping P2P pages one by one");
	if (frame(map) != frame(map + PAGE) + 1)
		errx(1, "P2P pages were not given out in order");
	return map;
}

static long shuffled_write(void)
{
	unsigned char *map = map_shuffled();

	fill_random(map, 8 * PAGE);
	return write_drive(map, 8 * PAGE);
}

/* Of a huge page, with one page among them that is not. */
static unsigned char *map_patched_huge_page(void)
{
	unsigned char *map = map_huge_page();
	unsigned char *page = map + 8 * PAGE;

	if (madvise(page, PAGE, MADV_DONTNEED))
		err(1, "taking a page out of a huge page");
	fill_random(page, PAGE);
	return map + 3 * PAGE;
}

/* Two pages, of which those from a place on have other rights. */
static long rights(const struct trial_args *args)
{
	unsigned char *map = map_p2p(2);

	if (mprotect(map + args->at, 2 * PAGE - args->at, args->prot))
		err(1, "mprotect");
	return args->write ? write_drive(map, 2 * PAGE) :
			     read_drive(map, 2 * PAGE);
}

/* Pinning fails at each page of a buffer in turn: what lies before it is read, and written. */
static long pin_fails(const struct trial_args *args)
{
	for (size_t done = 0; done < CONTENT_SIZE; done += PAGE) {
		long expect = done ? (long)done : -EFAULT;
		unsigned char *data =
			map_memory(args->host ? NULL : opt.p2p, CONTENT_SIZE);

		if (mprotect(data + done, PAGE, PROT_NONE))
			return -errno;
		if (read_drive(data, CONTENT_SIZE) != expect ||
		    write_drive(data, CONTENT_SIZE) != expect)
			return done;
		munmap(data, CONTENT_SIZE);
	}
	return CONTENT_SIZE;
}

static void unmap_page(unsigned char *page)
{
	if (munmap(page, PAGE))
		err(1, "munmap");
}

static void take_all_rights(unsigned char *page)
{
	if (mprotect(page, PAGE, PROT_NONE))
		err(1, "mprotect");
}

static void make_readable(unsigned char *page)
{
	if (mprotect(page, PAGE, PROT_READ))
		err(1, "mprotect");
}

static void drop_page(unsigned char *page)
{
	if (madvise(page, PAGE, MADV_DONTNEED))
		err(1, "madvise");
}

#define UNTOUCHED 0x5eed5eed5eed5eed
#define MAX_VECTORS 256 /* of a bio */

/*
 * Whether what is before @end is the drive's, and what is between that and the lost page is so or untouched. From the
 * lost page on, which can be looked at if it is readable, all is untouched.
 */
static bool is_right(const unsigned char *data, const unsigned char *drive,
		     size_t size, size_t end, size_t lost, bool readable)
{
	for (size_t at = 0; at < size; at += 512) {
		uint64_t word, right = *(const uint64_t *)(drive + at);

		if (at / PAGE == lost && !readable)
			continue;
		word = *(const volatile uint64_t *)(data + at);
		if (word == right ? at / PAGE >= lost :
				    word != UNTOUCHED || at < end)
			return false;
	}
	return true;
}

static long read_with(struct io_uring *ring, int fd, unsigned char *data, size_t size)
{
	struct io_uring_cqe *cqe;
	long ret;

	if (!ring)
		return RESULT(pread(fd, data, size, 0));
	io_uring_prep_read(io_uring_get_sqe(ring), fd, data, size, 0);
	io_uring_submit(ring);
	ret = io_uring_wait_cqe(ring, &cqe) ?: cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return ret;
}

/*
 * In much memory, of several folios, one page in turn cannot be written to. As on stock, what lies before it is read,
 * and the result says how much if a bio could have had all of it.
 */
static long page_lost(const struct trial_args *args)
{
	static const size_t sizes[] = { MAX_VECTORS, MAX_VECTORS + 1, 2048 };
	static const size_t places[] = { 0, 1, 16, 255, 256, 257, 511, 512, 513, 1500, 2047 };
	struct io_uring ring;
	unsigned char *drive;
	int fd;

	drive = fill_drive(opt.device, 2048 * PAGE, &fd);
	if (args->ring && io_uring_queue_init(4, &ring, 0))
		errx(1, "io_uring_queue_init");
	for (unsigned int i = 0; i < 3 * sizeof(places) / sizeof(*places); i++) {
		size_t pages = sizes[i % 3], lost = places[i / 3];
		unsigned char *data;
		long ret, expect;

		if (lost >= pages)
			continue;
		data = map_p2p(pages);
		for (size_t at = 0; at < pages * PAGE; at += 512)
			*(volatile uint64_t *)(data + at) = UNTOUCHED;
		args->lose(data + lost * PAGE);
		ret = read_with(args->ring ? &ring : NULL, fd, data, pages * PAGE);
		expect = pages > MAX_VECTORS && args->ring ? -EIO :
			 pages > MAX_VECTORS || !lost ? -EFAULT :
							 (long)(lost * PAGE);
		if (ret != expect ||
		    !is_right(data, drive, pages * PAGE, ret > 0 ? ret : 0,
			      lost, args->lose == make_readable)) {
			printf("page %zu of %zu: %s, ", lost, pages, result_name(ret));
			return ret != expect ? -EIO : -EBADMSG;
		}
		munmap(data, pages * PAGE);
	}
	return 0;
}

/* One page in every place of a vector. */
static long same_page(const struct trial_args *args)
{
	static struct iovec iov[IOV_MAX + 1];
	unsigned char *map = map_p2p(1);

	for (unsigned int i = 0; i < args->count; i++)
		iov[i] = (struct iovec){ map, PAGE };
	return RESULT(preadv(open_filled(), iov, args->count, 0));
}

static long far_too_long(void)
{
	struct iovec iov[] = { { map_p2p(1), PAGE }, { NULL, SIZE_MAX } };

	return RESULT(preadv(open_filled(), iov, 2, 0));
}

static long kernel_address(void)
{
	struct iovec iov[] = { { map_p2p(1), PAGE }, { (void *)-PAGE, PAGE } };

	return RESULT(preadv(open_filled(), iov, 2, 0));
}

static long register_buffers(struct iovec *iov, unsigned int count)
{
	struct io_uring ring;
	int ret = io_uring_queue_init(4, &ring, 0);

	return ret ?: io_uring_register_buffers(&ring, iov, count);
}

static long registered(void)
{
	struct iovec iov = { map_p2p(2), 2 * PAGE };

	return register_buffers(&iov, 1);
}

static long registered_with_host(void)
{
	struct iovec iov[] = { { content, PAGE }, { map_p2p(2), 2 * PAGE } };

	return register_buffers(iov, 2);
}

/* The last eight bytes of struct io_sqring_offsets and io_cqring_offsets, whose name depends on the header. */
static void set_ring_address(void *offsets, size_t size, const void *ring)
{
	uint64_t address = (uintptr_t)ring;

	memcpy((char *)offsets + size - sizeof(address), &address,
	       sizeof(address));
}

static long ring_in_it(void)
{
	struct io_uring_params params = { .flags = IORING_SETUP_WITHOUT_MMAP };

	set_ring_address(&params.cq_off, sizeof(params.cq_off), map_p2p(4));
	set_ring_address(&params.sq_off, sizeof(params.sq_off), map_p2p(4));
	return RESULT(syscall(SYS_io_uring_setup, 4, &params));
}

static long provided_ring(void)
{
	struct io_uring_buf_reg registration = { .ring_entries = 16 };
	struct io_uring ring;
	int ret = io_uring_queue_init(4, &ring, 0);

	registration.ring_addr = (uintptr_t)map_p2p(1);
	return ret ?: io_uring_register_buf_ring(&ring, &registration, 0);
}

/* Put the memory into a pipe, by reference or as a copy. */
static long into_pipe(const struct trial_args *args)
{
	struct iovec iov = { map_p2p(1), PAGE };
	int fds[2];

	if (pipe(fds))
		return -errno;
	return RESULT(args->reference ? vmsplice(fds[1], &iov, 1, args->flags) :
					write(fds[1], iov.iov_base, PAGE));
}

/* What comes out of the drive by splice() goes into the memory by vmsplice() or read(). */
static long out_of_pipe(const struct trial_args *args)
{
	struct iovec iov = { map_p2p(1), PAGE };
	int fds[2];
	long ret;

	if (pipe(fds))
		return -errno;
	ret = RESULT(splice(open_filled(), NULL, fds[1], NULL, PAGE, 0));
	if (ret != PAGE)
		return ret;
	ret = RESULT(args->reference ? vmsplice(fds[0], &iov, 1, 0) :
				       read(fds[0], iov.iov_base, PAGE));
	return ret > 0 && !is_content(iov.iov_base, 0, ret) ? -EBADMSG : ret;
}

static long buffered(const struct trial_args *args)
{
	unsigned char *map = map_p2p(2);
	int direct = open_filled(), fd = open(opt.device, O_RDWR);
	long ret;

	if (!args->write) {
		ret = RESULT(pread(fd, map, 2 * PAGE, 0));
		return ret > 0 && !is_content(map, 0, ret) ? -EBADMSG : ret;
	}
	ret = RESULT(pwrite(fd, map, 2 * PAGE, 0));
	if (fsync(fd) ||
	    pread(direct, content, CONTENT_SIZE, 0) != (ssize_t)CONTENT_SIZE)
		return -errno;
	return ret > 0 && !is_content(map, 0, ret) ? -EBADMSG : ret;
}

static const struct trial trials[] = {
	{ "odd-start", "read to an odd address",
	  WITH(plain, .map = map_page, .at = 1, .length = 512),
	  .expect = -EINVAL },
	{ "odd-length", "read 100 bytes",
	  WITH(plain, .map = map_page, .length = 100), .expect = -EINVAL },
	{ "nothing", "read no bytes", WITH(plain, .map = map_page, .length = 0),
	  .expect = 0 },
	{ "past-end", "read past the mapping's end",
	  WITH(plain, .map = map_with_end, .length = 2 * PAGE),
	  .expect = PAGE },
	{ "past-end-write", "write past the mapping's end",
	  WITH(plain, .map = map_with_end, .length = 2 * PAGE, .write = true),
	  .expect = PAGE },
	{ "past-end-uring", "read past the mapping's end by io_uring",
	  WITH(uring, .map = map_with_end, .length = 2 * PAGE),
	  .expect = PAGE },
	{ "past-end-block", "read a block past the mapping's end",
	  WITH(plain, .map = map_with_end, .at = PAGE - 256, .length = 512),
	  .expect = -EFAULT },
	{ "beyond-end", "read to where nothing is mapped",
	  WITH(plain, .map = map_with_end, .at = PAGE, .length = PAGE),
	  .expect = -EFAULT },
	{ "into-host", "read to P2P memory and on to host memory",
	  WITH(plain, .map = map_p2p_and_host, .length = 2 * PAGE),
	  .expect = 2 * PAGE, .differs = true, .stock = -EIO },
	{ "into-p2p", "read to host memory and on to P2P memory",
	  WITH(plain, .map = map_host_and_p2p, .length = 2 * PAGE),
	  .expect = 2 * PAGE, .differs = true, .stock = -EIO },
	{ "out-of-both", "write P2P memory and on to host memory",
	  WITH(plain, .map = map_p2p_and_host, .length = 2 * PAGE,
	       .write = true),
	  .expect = 2 * PAGE, .differs = true, .stock = -EIO },
	{ "both-uring", "read to P2P and on to host memory by io_uring",
	  WITH(uring, .map = map_p2p_and_host, .length = 2 * PAGE),
	  .expect = 2 * PAGE, .differs = true, .stock = -EIO },
	{ "past-both", "read to P2P and host memory and past their end",
	  WITH(plain, .map = map_both_with_end, .length = 3 * PAGE),
	  .expect = 2 * PAGE, .differs = true, .stock = -EIO },
	{ "past-both-uring", "the same by io_uring",
	  WITH(uring, .map = map_both_with_end, .length = 3 * PAGE),
	  .expect = 2 * PAGE, .differs = true, .stock = -EIO },
	{ "block-into-host", "read a block to P2P memory and on to host memory",
	  WITH(plain, .map = map_p2p_and_host, .at = PAGE - 256, .length = 512),
	  .expect = 512, .own = -EIO },
	{ "block-into-p2p", "read a block to host memory and on to P2P memory",
	  WITH(plain, .map = map_host_and_p2p, .at = PAGE - 256, .length = 512),
	  .expect = 512, .own = -EIO },
	{ "passthrough", "passthrough read",
	  WITH(pass_through, .map = map_two_pages), .expect = 0 },
	/* the drive itself refuses it, after it is mapped */
	{ "passthrough-past-drive", "passthrough read past the drive's end",
	  WITH(pass_through, .map = map_two_pages, .lba = 1ULL << 48),
	  .expect = LBA_OUT_OF_RANGE },
	{ "passthrough-past-end", "passthrough read past the mapping's end",
	  WITH(pass_through, .map = map_with_end), .expect = -EFAULT },
	{ "passthrough-into-host",
	  "passthrough read to P2P memory and on to host memory",
	  WITH(pass_through, .map = map_p2p_and_host), .expect = 0,
	  .own = INVALID_USE_OF_CMB },
	{ "next-mapping", "read across two mappings", next_mapping,
	  .expect = 2 * PAGE },
	{ "shuffled", "read to pages that lie in another order",
	  WITH(plain, .map = map_shuffled, .length = 8 * PAGE),
	  .expect = 8 * PAGE },
	{ "shuffled-write", "write pages that lie in another order",
	  shuffled_write, .expect = 8 * PAGE },
	{ "patched-huge-page", "read to a huge page with one page replaced",
	  WITH(plain, .map = map_patched_huge_page, .length = CONTENT_SIZE),
	  .expect = CONTENT_SIZE },
	{ "patched-huge-page-write", "write a huge page with one page replaced",
	  WITH(plain, .map = map_patched_huge_page, .length = CONTENT_SIZE,
	       .write = true),
	  .expect = CONTENT_SIZE },
	{ "no-rights", "read to PROT_NONE", WITH(rights, .prot = PROT_NONE),
	  .expect = -EFAULT },
	{ "half-rights", "read to pages the second of which is PROT_NONE",
	  WITH(rights, .at = PAGE, .prot = PROT_NONE), .expect = PAGE },
	{ "pin-fails", "have each of 16 pages in turn not pinned",
	  WITH(pin_fails, .host = false), .expect = CONTENT_SIZE },
	{ "pin-fails-host", "the same of host memory",
	  WITH(pin_fails, .host = true), .expect = CONTENT_SIZE },
	{ "page-unmapped", "read to much memory, one page of which is unmapped",
	  WITH(page_lost, .lose = unmap_page), .expect = 0 },
	{ "page-unmapped-uring", "the same by io_uring",
	  WITH(page_lost, .lose = unmap_page, .ring = true), .expect = 0 },
	{ "page-no-rights", "read to much memory, one page of which is PROT_NONE",
	  WITH(page_lost, .lose = take_all_rights), .expect = 0 },
	{ "page-readable", "the same, but PROT_READ",
	  WITH(page_lost, .lose = make_readable), .expect = 0 },
	{ "page-readable-uring", "the same by io_uring",
	  WITH(page_lost, .lose = make_readable, .ring = true), .expect = 0 },
	{ "page-dropped", "the same after MADV_DONTNEED",
	  WITH(page_lost, .lose = drop_page), .expect = 0 },
	{ "readable-target", "read to PROT_READ",
	  WITH(rights, .prot = PROT_READ), .expect = -EFAULT },
	{ "readable-source", "write from PROT_READ",
	  WITH(rights, .prot = PROT_READ, .write = true), .expect = 2 * PAGE },
	{ "same-page", "read to the same page 1024 times",
	  WITH(same_page, .count = IOV_MAX), .expect = IOV_MAX * PAGE },
	{ "too-many", "read a vector of 1025 buffers",
	  WITH(same_page, .count = IOV_MAX + 1), .expect = -EINVAL },
	{ "far-too-long", "read more than all addresses", far_too_long,
	  .expect = -EINVAL },
	{ "kernel-address", "read to the kernel's memory after a page",
	  kernel_address, .expect = -EFAULT },
	{ "registered", "register it with io_uring", registered, .expect = 0,
	  .differs = true, .stock = -EFAULT },
	{ "registered-with-host", "register it after host memory",
	  registered_with_host, .expect = 0, .differs = true,
	  .stock = -EFAULT },
	{ "provided", "provide it to io_uring as a buffer",
	  WITH(uring, .map = map_two_pages, .length = 2 * PAGE, .select = true),
	  .expect = 2 * PAGE },
	{ "provided-ring", "have io_uring find buffers in it", provided_ring,
	  .expect = -EFAULT },
	{ "ring-in-it", "have io_uring keep its rings in it", ring_in_it,
	  .expect = -EFAULT },
	{ "vmsplice-from", "vmsplice() it into a pipe",
	  WITH(into_pipe, .reference = true), .expect = -EREMOTEIO },
	{ "vmsplice-gift", "give it to a pipe",
	  WITH(into_pipe, .reference = true, .flags = SPLICE_F_GIFT),
	  .expect = -EREMOTEIO },
	{ "vmsplice-into", "vmsplice() into it what the drive gave a pipe",
	  WITH(out_of_pipe, .reference = true), .expect = PAGE },
	{ "pipe-from", "write it into a pipe",
	  WITH(into_pipe, .reference = false), .expect = PAGE },
	{ "pipe-into", "read into it what the drive gave a pipe",
	  WITH(out_of_pipe, .reference = false), .expect = PAGE },
	{ "buffered-read", "read to it through the page cache",
	  WITH(buffered, .write = false), .expect = 2 * PAGE },
	{ "buffered-write", "write it through the page cache",
	  WITH(buffered, .write = true), .expect = 2 * PAGE },
	{}
};

int main(int argc, char **argv)
{
	return run_trials(argc, argv, trials);
}
