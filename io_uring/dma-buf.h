/* SPDX-License-Identifier: GPL-2.0 */
/* Registered buffers that are dma-bufs. */
#ifndef IOU_DMA_BUF_H
#define IOU_DMA_BUF_H

#include <linux/fs.h>
#include <linux/io_uring_types.h>

struct io_mapped_ubuf;
struct io_uring_regbuf_desc;

#ifdef CONFIG_IO_URING_DMA_BUF
struct io_mapped_ubuf *io_dma_buf_register(struct io_ring_ctx *ctx,
					   const struct io_uring_regbuf_desc *desc);
void io_dma_buf_unregister(struct io_ring_ctx *ctx, struct io_mapped_ubuf *imu);
ssize_t io_dma_buf_rw(struct io_kiocb *req, struct kiocb *kiocb,
		      struct iov_iter *iter, bool nonblock,
		      ssize_t (*rw)(struct kiocb *kiocb, struct iov_iter *iter));
bool io_dma_buf_is_queued(struct io_kiocb *req);
#else
static inline bool io_dma_buf_is_queued(struct io_kiocb *req)
{
	return false;
}

static inline struct io_mapped_ubuf *
io_dma_buf_register(struct io_ring_ctx *ctx,
		    const struct io_uring_regbuf_desc *desc)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static inline void io_dma_buf_unregister(struct io_ring_ctx *ctx,
					 struct io_mapped_ubuf *imu)
{
}

static inline ssize_t io_dma_buf_rw(struct io_kiocb *req, struct kiocb *kiocb,
				    struct iov_iter *iter, bool nonblock,
				    ssize_t (*rw)(struct kiocb *kiocb,
						  struct iov_iter *iter))
{
	return -EOPNOTSUPP;
}
#endif

#endif
