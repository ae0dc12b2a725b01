/* SPDX-License-Identifier: GPL-2.0 */
/*
 * dma-bufs of several exporters, what is in them, and how they are registered.
 */
#ifndef DMA_BUFS_H
#define DMA_BUFS_H

#include <errno.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "../modules/moving_exporter.h"
#include "data.h"

#define EXPORTER_DEVICE "/dev/moving_exporter"

/* A dma-buf: mapped, or to be asked for what is in it */
struct dma_memory {
	int fd;
	unsigned char *map;
	int exporter; /* that moves it; -1 for others */
	size_t size;
};

/* The interface that is proposed for mainline; liburing has no names for it. */
#define REGISTER_BUFFERS_UPDATE 16
#define UPDATE_EXTENDED (1U << 1)

enum { REGBUF_EMPTY = 0, REGBUF_UADDR = 1, REGBUF_DMABUF = 2 };

struct regbuf_desc {
	uint32_t type;
	uint32_t flags;
	uint64_t size;
	uint64_t uaddr;
	int32_t dmabuf_fd;
	int32_t target_fd;
	uint64_t reserved[6];
};

struct regbuf_update {
	uint32_t offset;
	uint32_t flags;
	uint64_t data;
	uint64_t tags;
	uint32_t nr;
	uint32_t reserved;
};

static inline long regbuf_update(struct io_uring *ring, unsigned int slot,
				 const struct regbuf_desc *descs,
				 unsigned int nr, const uint64_t *tags)
{
	struct regbuf_update update = {
		.offset = slot,
		.flags = UPDATE_EXTENDED,
		.data = (uintptr_t)descs,
		.tags = (uintptr_t)tags,
		.nr = nr,
	};
	long ret = syscall(SYS_io_uring_register, ring->ring_fd,
			   REGISTER_BUFFERS_UPDATE, &update, sizeof(update));

	return ret < 0 ? -errno : ret;
}

/* Returns 1, or a negative errno. */
static inline long dma_buf_register(struct io_uring *ring, unsigned int slot,
				    int dmabuf, int target)
{
	struct regbuf_desc desc = {
		.type = REGBUF_DMABUF,
		.dmabuf_fd = dmabuf,
		.target_fd = target,
	};

	return regbuf_update(ring, slot, &desc, 1, NULL);
}

static inline int exporter_create(int exporter, size_t size,
				  unsigned int behaviour, unsigned int flags)
{
	struct exporter_create create = {
		.size = size,
		.behaviour = behaviour,
		.flags = flags,
	};
	int fd = ioctl(exporter, EXPORTER_CREATE, &create);

	if (fd < 0)
		err(1, "%s: a dma-buf of %zu bytes", EXPORTER_DEVICE, size);
	return fd;
}

static inline int exporter_open(void)
{
	return open_path(O_RDWR, EXPORTER_DEVICE);
}

static inline struct exporter_counts exporter_counts(int exporter)
{
	struct exporter_counts counts;

	if (ioctl(exporter, EXPORTER_COUNTS, &counts))
		err(1, "%s", EXPORTER_DEVICE);
	return counts;
}

static inline int udmabuf_create(size_t size)
{
	int device = open("/dev/udmabuf", O_RDWR), fd;
	struct udmabuf_create create = {
		.memfd = memfd_create("udmabuf", MFD_ALLOW_SEALING),
		.size = size,
	};

	if (device < 0)
		err(1, "/dev/udmabuf");
	if ((int)create.memfd < 0 || ftruncate(create.memfd, size) ||
	    fcntl(create.memfd, F_ADD_SEALS, F_SEAL_SHRINK))
		err(1, "memfd");
	fd = ioctl(device, UDMABUF_CREATE, &create);
	if (fd < 0)
		err(1, "/dev/udmabuf: %zu bytes", size);
	close(create.memfd);
	close(device);
	return fd;
}

static inline int heap_alloc(const char *heap, size_t size)
{
	struct dma_heap_allocation_data data = {
		.len = size,
		.fd_flags = O_RDWR | O_CLOEXEC,
	};
	int fd = open_path(O_RDONLY, "/dev/dma_heap/%s", heap);

	if (ioctl(fd, DMA_HEAP_IOCTL_ALLOC, &data))
		err(1, "/dev/dma_heap/%s: %zu bytes", heap, size);
	close(fd);
	return data.fd;
}

/* kind: moving, scattered, late, wandering, resource, half, udmabuf, or the name of a heap */
static inline struct dma_memory dma_memory_create(const char *kind, size_t size)
{
	struct dma_memory m = { .exporter = -1, .size = size };
	unsigned int behaviour = 0;

	if (!strcmp(kind, "scattered"))
		behaviour = EXPORTER_SCATTERED;
	if (!strcmp(kind, "late"))
		behaviour = EXPORTER_LATE;
	if (!strcmp(kind, "wandering"))
		behaviour = EXPORTER_WANDERS | EXPORTER_SCATTERED;
	if (!strcmp(kind, "resource"))
		behaviour = EXPORTER_WANDERS | EXPORTER_RESOURCE;
	if (!strcmp(kind, "half"))
		behaviour = EXPORTER_WANDERS | EXPORTER_RESOURCE |
			    EXPORTER_HALF;
	if (behaviour || !strcmp(kind, "moving")) {
		m.exporter = exporter_open();
		m.fd = exporter_create(m.exporter, size, behaviour, O_RDWR);
		return m;
	}
	m.fd = strcmp(kind, "udmabuf") ? heap_alloc(kind, size) :
					 udmabuf_create(size);
	m.map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, m.fd, 0);
	if (m.map == MAP_FAILED)
		err(1, "%s: mmap", kind);
	return m;
}

static inline void dma_memory_copy(const struct dma_memory *m, void *data,
				   size_t at, size_t length, bool write)
{
	struct exporter_data copy = {
		.fd = m->fd,
		.write = write,
		.offset = at,
		.length = length,
		.data = (uintptr_t)data,
	};

	if (m->exporter < 0 && write)
		copy_words(m->map + at, data, length);
	else if (m->exporter < 0)
		copy_words(data, m->map + at, length);
	else if (ioctl(m->exporter, EXPORTER_DATA, &copy))
		err(1, "%s: %zu bytes at %zu", EXPORTER_DEVICE, length, at);
}

#endif /* DMA_BUFS_H */
