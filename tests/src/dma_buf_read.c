// SPDX-License-Identifier: GPL-2.0
/*
 * Read the beginning of a block device into a dma-buf of a DMA heap, and compare it with what pread() gets. An example
 * for io_uring_p2p_buffers(7), to be copied: it needs liburing alone. A GPU's driver takes the place of the heap.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of the interface that is proposed for mainline, which has no names in liburing */
#define REGISTER_BUFFERS_UPDATE 16
#define UPDATE_EXTENDED 2
#define REGBUF_DMABUF 2

struct regbuf_desc {
	uint32_t type, flags;
	uint64_t size, uaddr;
	int32_t dmabuf_fd, target_fd;
	uint64_t reserved[6];
};

struct regbuf_update {
	uint32_t offset, flags;
	uint64_t data, tags;
	uint32_t nr, reserved;
};

static int allocate(const char *heap, size_t length)
{
	struct dma_heap_allocation_data data = { .len = length, .fd_flags = O_RDWR | O_CLOEXEC };
	int fd = open(heap, O_RDONLY);

	if (fd < 0)
		err(1, "%s: name a heap in /dev/dma_heap, as root", heap);
	if (ioctl(fd, DMA_HEAP_IOCTL_ALLOC, &data))
		err(1, "%s: ask for no more than there is", heap);
	close(fd);
	return data.fd;
}

static void register_dma_buf(struct io_uring *ring, int dmabuf, int device)
{
	struct regbuf_desc desc = { .type = REGBUF_DMABUF, .dmabuf_fd = dmabuf, .target_fd = device };
	struct regbuf_update update = { .flags = UPDATE_EXTENDED, .data = (uintptr_t)&desc, .nr = 1 };

	if (io_uring_register_buffers_sparse(ring, 1))
		errx(1, "io_uring: no table of buffers");
	if (syscall(SYS_io_uring_register, ring->ring_fd, REGISTER_BUFFERS_UPDATE, &update, sizeof(update)) == 1)
		return;
	if (errno == EINVAL)
		errx(1, "registering: this kernel registers no dma-bufs: boot one that does");
	if (errno == EOPNOTSUPP)
		errx(1, "registering: the device takes no dma-bufs: name a drive on PCI that has no metadata");
	err(1, "registering: the exporter refuses the drive");
}

/* The CPU's caches may have to know of what a device did, or the CPU did. */
static void sync_cpu(int dmabuf, uint64_t flags)
{
	struct dma_buf_sync sync = { .flags = flags };

	if (ioctl(dmabuf, DMA_BUF_IOCTL_SYNC, &sync))
		err(1, "DMA_BUF_IOCTL_SYNC");
}

static int read_device(struct io_uring *ring, int device, size_t length)
{
	struct io_uring_cqe *cqe;
	int ret;

	/* an offset into the dma-buf is its address */
	io_uring_prep_read_fixed(io_uring_get_sqe(ring), device, (void *)0, length, 0, 0);
	io_uring_submit(ring);
	ret = io_uring_wait_cqe(ring, &cqe) ?: cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return ret;
}

int main(int argc, char **argv)
{
	size_t length = argc > 3 ? strtoul(argv[3], NULL, 0) : 65536;
	volatile uint64_t *words;
	struct io_uring ring;
	int dmabuf, fd, ret;
	uint64_t *host;

	if (argc < 3 || argc > 4 || !length || length % 4096 || length > 1 << 30)
		errx(1, "Usage: dma_buf_read DEVICE HEAP [BYTES, default 65536, a multiple of 4096, at most 1 GiB]");
	fd = open(argv[1], O_RDONLY | O_DIRECT);
	if (fd < 0)
		err(1, "%s: name a block device that you may read", argv[1]);
	dmabuf = allocate(argv[2], length);
	host = aligned_alloc(4096, length);
	words = mmap(NULL, length, PROT_READ, MAP_SHARED, dmabuf, 0);
	if (!host || words == MAP_FAILED)
		err(1, "%zu bytes of memory", length);

	ret = io_uring_queue_init(1, &ring, 0);
	if (ret)
		errx(1, "io_uring: %s: see the sysctl kernel.io_uring_disabled", strerror(-ret));
	register_dma_buf(&ring, dmabuf, fd);
	ret = read_device(&ring, fd, length);
	if (ret == -EREMOTEIO)
		errx(1, "%s cannot reach the memory: take that of a device below the same PCI switch", argv[1]);
	if (ret != (int)length)
		errx(1, "%s: %s: see io_uring_p2p_buffers(7)", argv[1], ret < 0 ? strerror(-ret) : "it ended early");
	if (pread(fd, host, length, 0) != (ssize_t)length)
		err(1, "%s", argv[1]);

	sync_cpu(dmabuf, DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ);
	for (size_t i = 0; i < length / sizeof(*words); i++)
		if (words[i] != host[i])
			errx(1, "word %zu differs: unless somebody writes to the device, use no dma-bufs with it", i);
	sync_cpu(dmabuf, DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ);
	printf("%zu bytes of %s read into a dma-buf of %s\n", length, argv[1], argv[2]);
	io_uring_queue_exit(&ring); /* which detaches the drive, too */
	return 0;
}
