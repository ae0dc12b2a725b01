// SPDX-License-Identifier: GPL-2.0
/*
 * Read the beginning of a block device into a registered buffer of P2P memory, and compare it with what a registered
 * buffer of host memory gets. An example for io_uring_p2p_buffers(7), to be copied: it needs liburing alone.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { P2P, HOST, NR_BUFFERS };

static void *map_memory(const char *allocate, size_t length, unsigned char fill)
{
	int flags = MAP_SHARED | (allocate ? 0 : MAP_ANONYMOUS), fd = -1;
	volatile uint64_t *words;

	if (allocate) {
		fd = open(allocate, O_RDWR);
		if (fd < 0)
			err(1, "%s: name the p2pmem/allocate of a PCI device that has P2P memory, as root", allocate);
	}
	words = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (words == MAP_FAILED)
		err(1, "%zu bytes of %s: ask for no more than there is%s", length,
		    allocate ? allocate : "host memory",
		    allocate ? ", see p2pmem/available" : "");
	if (allocate)
		close(fd);
	/* The CPU may reach P2P memory slowly, so by words. */
	for (size_t i = 0; i < length / sizeof(*words); i++)
		words[i] = fill * 0x0101010101010101;
	return (void *)words;
}

static void check_registered(int ret)
{
	if (ret == -EFAULT)
		errx(1, "registering: this kernel registers no P2P memory: boot one that does");
	if (ret == -ENOMEM)
		errx(1, "registering: raise the limit of locked memory (ulimit -l)");
	if (ret)
		errx(1, "registering: %s: see io_uring_p2p_buffers(7)", strerror(-ret));
}

static void check_read(const char *device, int ret, size_t length)
{
	if (ret == -EREMOTEIO)
		errx(1, "%s cannot reach the P2P memory: take that of a provider below the same PCI switch, or host memory",
		     device);
	if (ret == -ENODEV)
		errx(1, "the P2P memory went with its driver: bind that again, and map and register anew");
	if (ret == -EINVAL)
		errx(1, "%s: BYTES is not a multiple of the logical block size: see blockdev --getss", device);
	if (ret == -EOPNOTSUPP)
		errx(1, "%s is no block device: name one", device);
	if (ret < 0)
		errx(1, "%s: %s: see the kernel's log", device, strerror(-ret));
	if ((size_t)ret != length)
		errx(1, "%s ended after %d bytes: ask for no more than it has", device, ret);
}

int main(int argc, char **argv)
{
	size_t length = argc > 3 ? strtoul(argv[3], NULL, 0) : 65536;
	struct iovec buffers[NR_BUFFERS];
	volatile uint64_t *p2p, *host;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	int fd, ret;

	if (argc < 3 || argc > 4 || !length || length > 1 << 30)
		errx(1, "Usage: registered_read DEVICE P2PMEM_ALLOCATE [BYTES, default 65536, at most 1 GiB]");
	fd = open(argv[1], O_RDONLY | O_DIRECT);
	if (fd < 0)
		err(1, "%s: name a block device that you may read", argv[1]);
	p2p = map_memory(argv[2], length, 0x55);
	host = map_memory(NULL, length, 0xaa);
	buffers[P2P] = (struct iovec){ (void *)p2p, length };
	buffers[HOST] = (struct iovec){ (void *)host, length };

	ret = io_uring_queue_init(NR_BUFFERS, &ring, 0);
	if (ret)
		errx(1, "io_uring: %s: see the sysctl kernel.io_uring_disabled", strerror(-ret));
	check_registered(io_uring_register_buffers(&ring, buffers, NR_BUFFERS));
	for (int i = 0; i < NR_BUFFERS; i++)
		io_uring_prep_read_fixed(io_uring_get_sqe(&ring), fd, buffers[i].iov_base, length, 0, i);
	if (io_uring_submit(&ring) != NR_BUFFERS)
		errx(1, "io_uring_submit: see the kernel's log");
	for (int i = 0; i < NR_BUFFERS; i++) {
		ret = io_uring_wait_cqe(&ring, &cqe);
		check_read(argv[1], ret ?: cqe->res, length);
		io_uring_cqe_seen(&ring, cqe);
	}

	for (size_t i = 0; i < length / sizeof(*p2p); i++)
		if (p2p[i] != host[i])
			errx(1, "word %zu differs: unless somebody writes to the device, use no P2P memory with it", i);
	printf("%zu bytes of %s read into P2P memory, the same as into host memory\n", length, argv[1]);
	io_uring_queue_exit(&ring); /* which unregisters the buffers, too */
	return 0;
}
