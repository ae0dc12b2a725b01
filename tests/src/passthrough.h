/* SPDX-License-Identifier: GPL-2.0 */
/*
 * NVMe commands passed through to a drive, by io_uring and by ioctl.
 */
#ifndef PASSTHROUGH_H
#define PASSTHROUGH_H

#include <err.h>
#include <errno.h>
#include <liburing.h>
#include <linux/nvme_ioctl.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

#define NVME_CMD_WRITE 1
#define NVME_CMD_READ 2
#define NVME_CMD_ZONE_SEND 0x79
#define NVME_CMD_ZONE_APPEND 0x7d
#define NVME_ZONE_RESET 4

static inline uint32_t pass_nsid(int fd, const char *path)
{
	int nsid = ioctl(fd, NVME_IOCTL_ID);

	if (nsid < 0)
		err(1, "%s: NVME_IOCTL_ID", path);
	return nsid;
}

static inline void pass_ring_init(struct io_uring *ring, unsigned int entries,
				  unsigned int flags)
{
	int ret = io_uring_queue_init(entries, ring,
				      flags | IORING_SETUP_SQE128 |
					      IORING_SETUP_CQE32);

	if (ret)
		errx(1, "io_uring_queue_init: %s", strerror(-ret));
}

/* Of a ring that pass_ring_init() has set up; liburing 2.3 does not step by the larger size of these entries itself. */
static inline struct io_uring_sqe *pass_sqe(struct io_uring *ring, int fd,
					    uint32_t cmd_op,
					    const struct nvme_uring_cmd *cmd)
{
	unsigned int index = ring->sq.sqe_tail++ & *ring->sq.kring_mask;
	struct io_uring_sqe *sqe = &ring->sq.sqes[index << 1];

	memset(sqe, 0, 2 * sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = fd;
	sqe->cmd_op = cmd_op;
	memcpy(sqe->cmd, cmd, sizeof(*cmd));
	return sqe;
}

/* The result of the one entry that is not submitted yet */
static inline int pass_wait(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int ret = io_uring_submit_and_wait(ring, 1);

	if (ret != 1)
		errx(1, "io_uring_submit_and_wait: %d", ret);
	ret = io_uring_wait_cqe(ring, &cqe);
	if (ret)
		errx(1, "io_uring_wait_cqe: %s", strerror(-ret));
	ret = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return ret;
}

/* By NVME_IOCTL_IO64_CMD, or NVME_IOCTL_IO64_CMD_VEC, whose data_len is the number of vectors */
static inline int pass_ioctl64(int fd, unsigned long request,
			       const struct nvme_uring_cmd *cmd)
{
	struct nvme_passthru_cmd64 pass = {
		.opcode = cmd->opcode,
		.nsid = cmd->nsid,
		.addr = cmd->addr,
		.data_len = cmd->data_len,
		.metadata = cmd->metadata,
		.metadata_len = cmd->metadata_len,
		.cdw10 = cmd->cdw10,
		.cdw11 = cmd->cdw11,
		.cdw12 = cmd->cdw12,
		.cdw13 = cmd->cdw13,
	};
	int ret = ioctl(fd, request, &pass);

	return ret < 0 ? -errno : ret;
}

/* By NVME_IOCTL_IO_CMD */
static inline int pass_ioctl(int fd, const struct nvme_uring_cmd *cmd)
{
	struct nvme_passthru_cmd pass = {
		.opcode = cmd->opcode,
		.nsid = cmd->nsid,
		.addr = cmd->addr,
		.data_len = cmd->data_len,
		.cdw10 = cmd->cdw10,
		.cdw11 = cmd->cdw11,
		.cdw12 = cmd->cdw12,
	};
	int ret = ioctl(fd, NVME_IOCTL_IO_CMD, &pass);

	return ret < 0 ? -errno : ret;
}

#endif /* PASSTHROUGH_H */
