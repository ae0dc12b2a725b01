/* SPDX-License-Identifier: GPL-2.0 */
/* Registered buffers with P2P memory, which its provider may take back. */
#ifndef IOU_P2P_BUF_H
#define IOU_P2P_BUF_H

#include <linux/fs.h>
#include <linux/io_uring_types.h>

struct io_mapped_ubuf;

#ifdef CONFIG_PCI_P2PDMA
int io_p2p_buf_init(struct io_mapped_ubuf *imu);
bool io_p2p_buf_exit(struct io_mapped_ubuf *imu);
ssize_t io_p2p_rw(struct io_kiocb *req, struct kiocb *kiocb,
		  struct iov_iter *iter,
		  ssize_t (*rw)(struct kiocb *kiocb, struct iov_iter *iter));
void __io_p2p_rw_done(struct io_kiocb *req);

/* The device is done with the buffer of @req, or never began. Any context. */
static inline void io_p2p_rw_done(struct io_kiocb *req)
{
	if (unlikely(req->flags & REQ_F_P2P_BUF))
		__io_p2p_rw_done(req);
}
#else
static inline int io_p2p_buf_init(struct io_mapped_ubuf *imu)
{
	return 0;
}

static inline bool io_p2p_buf_exit(struct io_mapped_ubuf *imu)
{
	return true;
}

static inline ssize_t io_p2p_rw(struct io_kiocb *req, struct kiocb *kiocb,
				struct iov_iter *iter,
				ssize_t (*rw)(struct kiocb *kiocb,
					      struct iov_iter *iter))
{
	return -EOPNOTSUPP;
}

static inline void io_p2p_rw_done(struct io_kiocb *req)
{
}
#endif

#endif
