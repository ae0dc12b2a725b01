/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ways in: how a buffer can be read from, or written to, a file or the blocks of a drive.
 */
#ifndef WAYS_H
#define WAYS_H

#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "data.h"
#include "passthrough.h"

#define MAX_WAYS 20
#define MAX_VECTORS 1024

/* What the ways are to */
static struct {
	int fd, generic; /* of a file or drive, and of a drive that takes commands */
	uint32_t nsid, unit; /* bytes of a block */
	struct io_uring ring, polled_ring, cmd_ring, polled_cmd_ring;
	aio_context_t aio;
} target = { .fd = -1, .generic = -1 };

/* One transfer, by one of the ways */
struct transfer {
	bool write;
	void *data;
	size_t length;
	uint64_t at;
};

struct way {
	const char *name;
	long (*issue)(const struct transfer *t, unsigned long how);
	unsigned long how;
};

/* More vectors than a bio takes, if the transfer is long enough */
static inline int way_split(const struct transfer *t, struct iovec *iov)
{
	size_t piece =
		t->length / 700 / target.unit * target.unit + target.unit;
	int nr = 0;

	for (size_t done = 0; done < t->length; done += piece) {
		iov[nr].iov_base = t->data + done;
		iov[nr++].iov_len =
			t->length - done < piece ? t->length - done : piece;
	}
	return nr;
}

/* Vectors of a page each, as commands passed through are bounced if one ends within a page. */
static inline int way_split_pages(const struct transfer *t, struct iovec *iov)
{
	size_t piece = PAGE - (uintptr_t)t->data % PAGE;
	int nr = 0;

	for (size_t done = 0; done < t->length; piece = PAGE) {
		if (piece > t->length - done)
			piece = t->length - done;
		if (nr == MAX_VECTORS)
			errx(1, "more than %d vectors", MAX_VECTORS);
		iov[nr].iov_base = t->data + done;
		iov[nr++].iov_len = piece;
		done += piece;
	}
	return nr;
}

static inline long way_plain(const struct transfer *t, unsigned long how)
{
	ssize_t ret = t->write ? pwrite(target.fd, t->data, t->length, t->at) :
				 pread(target.fd, t->data, t->length, t->at);

	(void)how;
	return ret < 0 ? -errno : ret;
}

/* how: the flags of preadv2() and pwritev2() */
static inline long way_vectors(const struct transfer *t, unsigned long how)
{
	struct iovec iov[MAX_VECTORS];
	int nr = way_split(t, iov);
	ssize_t ret = t->write ? pwritev2(target.fd, iov, nr, t->at, how) :
				 preadv2(target.fd, iov, nr, t->at, how);

	return ret < 0 ? -errno : ret;
}

/* The same with one vector */
static inline long way_vector(const struct transfer *t, unsigned long how)
{
	struct iovec iov = { .iov_base = t->data, .iov_len = t->length };
	ssize_t ret = t->write ? pwritev2(target.fd, &iov, 1, t->at, how) :
				 preadv2(target.fd, &iov, 1, t->at, how);

	return ret < 0 ? -errno : ret;
}

static inline long way_aio(const struct transfer *t, unsigned long how)
{
	struct iocb iocb = {
		.aio_lio_opcode = t->write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
		.aio_fildes = target.fd,
		.aio_buf = (uintptr_t)t->data,
		.aio_nbytes = t->length,
		.aio_offset = t->at,
	};
	struct iocb *iocbs = &iocb;
	struct io_event event;

	(void)how;
	if (syscall(SYS_io_submit, target.aio, 1, &iocbs) != 1)
		return -errno;
	/* a worker that io_uring has the kernel make interrupts, without a signal */
	while (syscall(SYS_io_getevents, target.aio, 1, 1, &event, NULL) != 1)
		if (errno != EINTR)
			err(1, "io_getevents");
	return event.res;
}

/* how: polled or not */
static inline long way_uring(const struct transfer *t, unsigned long how)
{
	struct io_uring *ring = how ? &target.polled_ring : &target.ring;

	io_uring_prep_rw(t->write ? IORING_OP_WRITE : IORING_OP_READ,
			 io_uring_get_sqe(ring), target.fd, t->data, t->length,
			 t->at);
	return pass_wait(ring);
}

/* The same by a registered buffer */
static inline long way_fixed(const struct transfer *t, unsigned long how)
{
	struct io_uring *ring = how ? &target.polled_ring : &target.ring;
	struct iovec iov = { .iov_base = t->data, .iov_len = t->length };
	struct io_uring_sqe *sqe;
	long ret = io_uring_register_buffers(ring, &iov, 1);

	if (ret)
		return ret;
	sqe = io_uring_get_sqe(ring);
	io_uring_prep_rw(t->write ? IORING_OP_WRITE_FIXED :
				    IORING_OP_READ_FIXED,
			 sqe, target.fd, t->data, t->length, t->at);
	sqe->buf_index = 0;
	ret = pass_wait(ring);
	io_uring_unregister_buffers(ring);
	return ret;
}

static inline struct nvme_uring_cmd way_command(uint8_t opcode, uint64_t lba,
						void *data, size_t length)
{
	return (struct nvme_uring_cmd){
		.opcode = opcode,
		.nsid = target.nsid,
		.addr = (uintptr_t)data,
		.data_len = length,
		.cdw10 = lba,
		.cdw11 = lba >> 32,
		.cdw12 = length / target.unit - 1,
	};
}

static inline struct nvme_uring_cmd way_read_or_write(const struct transfer *t)
{
	return way_command(t->write ? NVME_CMD_WRITE : NVME_CMD_READ,
			   t->at / target.unit, t->data, t->length);
}

/* A command moves all or fails. A status of the drive's is positive, and no errno. */
static inline long way_result(const struct transfer *t, int ret)
{
	return ret ? (ret < 0 ? ret : -EIO) : (long)t->length;
}

enum { CMD_PLAIN = 0, CMD_VECTORS = 1, CMD_POLLED = 2 };

/* how: of the above */
static inline long way_cmd(const struct transfer *t, unsigned long how)
{
	struct io_uring *ring = how & CMD_POLLED ? &target.polled_cmd_ring :
						   &target.cmd_ring;
	struct nvme_uring_cmd cmd = way_read_or_write(t);
	struct iovec iov[MAX_VECTORS];

	if (how & CMD_VECTORS) {
		cmd.addr = (uintptr_t)iov;
		cmd.data_len = way_split_pages(t, iov);
	}
	pass_sqe(ring, target.generic,
		 how & CMD_VECTORS ? NVME_URING_CMD_IO_VEC : NVME_URING_CMD_IO,
		 &cmd);
	return way_result(t, pass_wait(ring));
}

/* Of a zone, whose write pointer is where the transfer begins; how: bytes of a zone. Reads are ordinary commands. */
static inline long way_append(const struct transfer *t, unsigned long how)
{
	struct nvme_uring_cmd cmd = way_read_or_write(t);
	uint64_t zone = t->at / how * how / target.unit;

	if (t->write)
		cmd = way_command(NVME_CMD_ZONE_APPEND, zone, t->data,
				  t->length);
	pass_sqe(&target.cmd_ring, target.generic, NVME_URING_CMD_IO, &cmd);
	return way_result(t, pass_wait(&target.cmd_ring));
}

/* how: the request */
static inline long way_ioctl(const struct transfer *t, unsigned long how)
{
	struct nvme_uring_cmd cmd = way_read_or_write(t);
	struct iovec iov[MAX_VECTORS];

	if (how == NVME_IOCTL_IO_CMD)
		return way_result(t, pass_ioctl(target.generic, &cmd));
	if (how == NVME_IOCTL_IO64_CMD_VEC) {
		cmd.addr = (uintptr_t)iov;
		cmd.data_len = way_split_pages(t, iov);
	}
	return way_result(t, pass_ioctl64(target.generic, how, &cmd));
}

static inline long way_submit_io(const struct transfer *t, unsigned long how)
{
	struct nvme_user_io io = {
		.opcode = t->write ? NVME_CMD_WRITE : NVME_CMD_READ,
		.nblocks = t->length / target.unit - 1,
		.addr = (uintptr_t)t->data,
		.slba = t->at / target.unit,
	};
	int ret = ioctl(target.generic, NVME_IOCTL_SUBMIT_IO, &io);

	(void)how;
	return way_result(t, ret < 0 ? -errno : ret);
}

/* Zones of the drives here; a power of two is what Linux takes. */
#define ZONE_SIZE (8UL << 20)

static const struct way all_ways[] = {
	{ "pread", way_plain, 0 },
	{ "preadv", way_vectors, 0 },
	{ "io_uring", way_uring, 0 },
	{ "fixed", way_fixed, 0 },
	{ "fixed-iopoll", way_fixed, 1 },
	{ "libaio", way_aio, 0 },
	{ "nowait", way_vector, RWF_NOWAIT },
	{ "hipri", way_vectors, RWF_HIPRI },
	{ "iopoll", way_uring, 1 },
	{ "cmd", way_cmd, CMD_PLAIN },
	{ "cmd-vec", way_cmd, CMD_VECTORS },
	{ "cmd-iopoll", way_cmd, CMD_POLLED },
	{ "ioctl", way_ioctl, NVME_IOCTL_IO_CMD },
	{ "ioctl64", way_ioctl, NVME_IOCTL_IO64_CMD },
	{ "ioctl64-vec", way_ioctl, NVME_IOCTL_IO64_CMD_VEC },
	{ "submit-io", way_submit_io, 0 },
	{ "append", way_append, ZONE_SIZE },
};

#define NR_WAYS (sizeof(all_ways) / sizeof(*all_ways))

/* Fill in the ways of a list of names with commas between them; returns their number. */
static inline int parse_ways(const char *names, const struct way **ways)
{
	char *list = strdup(names);
	int nr = 0;

	for (char *name = strtok(list, ","); name; name = strtok(NULL, ",")) {
		unsigned int i = 0;

		while (i < NR_WAYS && strcmp(all_ways[i].name, name))
			i++;
		if (i == NR_WAYS || nr == MAX_WAYS)
			errx(1, "%s is no way in, or one too many", name);
		ways[nr++] = &all_ways[i];
	}
	free(list);
	return nr;
}

/* target.fd, .generic and .unit are set, or -1. */
static inline void set_up_ways(const char *generic)
{
	if (io_uring_queue_init(4, &target.ring, 0) ||
	    io_uring_queue_init(4, &target.polled_ring, IORING_SETUP_IOPOLL))
		errx(1, "io_uring_queue_init");
	if (syscall(SYS_io_setup, 4, &target.aio))
		err(1, "io_setup");
	if (!generic)
		return;
	target.generic = open(generic, O_RDWR);
	if (target.generic < 0)
		err(1, "%s", generic);
	target.nsid = pass_nsid(target.generic, generic);
	pass_ring_init(&target.cmd_ring, 4, 0);
	pass_ring_init(&target.polled_cmd_ring, 4, IORING_SETUP_IOPOLL);
}

#endif /* WAYS_H */
