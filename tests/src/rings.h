/* SPDX-License-Identifier: GPL-2.0 */
/*
 * io_uring rings: one completion at a time, and what old versions of liburing have no function for.
 */
#ifndef RINGS_H
#define RINGS_H

#include <liburing.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "data.h"

#define REGISTER_CLONE_BUFFERS 30

/* Wait for one completion; what it says. */
static inline long reap(struct io_uring *from)
{
	struct io_uring_cqe *cqe;
	long ret = io_uring_wait_cqe(from, &cqe) ?: cqe->res;

	io_uring_cqe_seen(from, cqe);
	return ret;
}

/**
 * reap_tagged() - see I/O end, and after it the use of its buffer
 * @from: ring in which nothing else is under way
 * @nr: how many operations, of user_data 0, are to move @length bytes each
 * @tag: of the buffer that they use, which has been replaced; not 0
 *
 * Return: 0, or -EBADMSG if something else completed, or in another order.
 */
static inline long reap_tagged(struct io_uring *from, unsigned int nr,
			       long length, uint64_t tag)
{
	long ret = 0;

	for (unsigned int i = 0; i <= nr; i++) {
		struct io_uring_cqe *cqe;

		if (io_uring_wait_cqe(from, &cqe))
			errx(1, "io_uring_wait_cqe");
		if (cqe->user_data != (i < nr ? 0 : tag) ||
		    cqe->res != (i < nr ? length : 0))
			ret = -EBADMSG;
		io_uring_cqe_seen(from, cqe);
	}
	return ret;
}

/**
 * clone_buffers() - give a ring the registered buffers of another one
 * @to: ring without registered buffers
 * @from: ring that has them, and keeps them
 *
 * Return: 0, or a negative errno.
 */
static inline long clone_buffers(const struct io_uring *to,
				 const struct io_uring *from)
{
	struct {
		uint32_t src_fd, flags, pad[6];
	} clone = { .src_fd = from->ring_fd };

	return RESULT(syscall(SYS_io_uring_register, to->ring_fd,
			      REGISTER_CLONE_BUFFERS, &clone, 1));
}

#endif /* RINGS_H */
