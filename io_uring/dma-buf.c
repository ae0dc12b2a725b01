// SPDX-License-Identifier: GPL-2.0
/*
 * Registered buffers that are dma-bufs, for direct I/O of one block device.
 *
 * The drive's driver counts what the drive has been asked for, and an exporter that
 * moves the dma-buf waits for that. What comes later has it mapped anew, in a worker.
 * Between the two an I/O may find that it was moved, and ends with -EAGAIN.
 */
#include <linux/blk-dma-buffer.h>
#include <linux/blkdev.h>
#include <linux/dma-buf.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include <uapi/linux/io_uring.h>

#include "io_uring.h"
#include "rsrc.h"
#include "dma-buf.h"
#include "rw.h"

/* log2 of the bytes in each vector but the last; the vectors have no pages */
#define IO_DMA_BUF_SHIFT ilog2(SZ_1G)

static struct io_mapped_ubuf *io_dma_buf_alloc(struct dma_buf *dmabuf)
{
	struct io_mapped_ubuf *imu;
	u64 left = dmabuf->size;
	unsigned int nr, i;

	if (!left || left > (u64)INT_MAX << IO_DMA_BUF_SHIFT)
		return ERR_PTR(-EINVAL);
	nr = DIV_ROUND_UP_ULL(left, 1U << IO_DMA_BUF_SHIFT);
	imu = kvzalloc(struct_size(imu, bvec, nr), GFP_KERNEL_ACCOUNT);
	if (!imu)
		return ERR_PTR(-ENOMEM);
	imu->len = left;
	imu->nr_bvecs = nr;
	imu->folio_shift = IO_DMA_BUF_SHIFT;
	imu->one_class = true;
	imu->mode = dmabuf->file->f_mode;
	imu->acct_pages = DIV_ROUND_UP_ULL(dmabuf->size, PAGE_SIZE);
	refcount_set(&imu->refs, 1);
	for (i = 0; i < nr; i++) {
		imu->bvec[i].bv_len = min_t(u64, left, 1U << IO_DMA_BUF_SHIFT);
		left -= imu->bvec[i].bv_len;
	}
	blk_dma_buffer_init(&imu->dma, imu->bvec, nr, imu->folio_shift);
	return imu;
}

/*
 * Each registration attaches the drive once more, which maps all of the memory, at
 * once or later: it counts as if it were pinned.
 */
static struct io_mapped_ubuf *io_dma_buf_attach(struct io_ring_ctx *ctx,
						struct dma_buf *dmabuf,
						struct file *target)
{
	struct io_mapped_ubuf *imu;
	int ret;

	if (!S_ISBLK(file_inode(target)->i_mode))
		return ERR_PTR(-EOPNOTSUPP);
	imu = io_dma_buf_alloc(dmabuf);
	if (IS_ERR(imu))
		return imu;
	ret = io_account_mem(ctx, imu->acct_pages);
	if (ret)
		goto free;
	ret = blk_dma_buffer_attach(&imu->dma, I_BDEV(target->f_mapping->host),
				    dmabuf);
	if (ret)
		goto unaccount;
	imu->target = get_file(target);
	return imu;
unaccount:
	io_unaccount_mem(ctx, imu->acct_pages);
free:
	kvfree(imu);
	return ERR_PTR(ret);
}

/* Return: a buffer, to be ended with io_dma_buf_unregister(), or an ERR_PTR(). */
struct io_mapped_ubuf *io_dma_buf_register(struct io_ring_ctx *ctx,
					   const struct io_uring_regbuf_desc *desc)
{
	struct io_mapped_ubuf *imu;
	struct dma_buf *dmabuf;
	struct file *target;

	if (desc->size || desc->uaddr)
		return ERR_PTR(-EINVAL);
	target = fget(desc->target_fd);
	if (!target)
		return ERR_PTR(-EBADF);
	dmabuf = dma_buf_get(desc->dmabuf_fd);
	if (IS_ERR(dmabuf)) {
		imu = ERR_CAST(dmabuf);
	} else {
		imu = io_dma_buf_attach(ctx, dmabuf, target);
		dma_buf_put(dmabuf);
	}
	fput(target);
	return imu;
}

void io_dma_buf_unregister(struct io_ring_ctx *ctx, struct io_mapped_ubuf *imu)
{
	blk_dma_buffer_exit(&imu->dma);
	io_unaccount_mem(ctx, imu->acct_pages);
	fput(imu->target);
	kvfree(imu);
}

static int io_dma_buf_check(struct io_kiocb *req, struct kiocb *kiocb,
			    struct iov_iter *iter)
{
	struct io_mapped_ubuf *imu = req->imu;

	if (req->file->f_mapping != imu->target->f_mapping ||
	    !(kiocb->ki_flags & IOCB_DIRECT))
		return -EINVAL;
	/* as mmap() of the dma-buf would ask for */
	if (!(imu->mode & (iov_iter_rw(iter) == READ ? FMODE_WRITE : FMODE_READ)))
		return -EACCES;
	return 0;
}

/*
 * A dma-buf may turn out to have moved after its I/O was issued, as late as in flushing
 * a plug, or in another task that runs the queue: nobody looks for REQ_F_REISSUE then.
 * @req is a read or a write of any kind.
 */
bool io_dma_buf_is_queued(struct io_kiocb *req)
{
	struct io_async_rw *io = req->async_data;

	return io->iter.p2p_memory && req->imu->target &&
	       READ_ONCE(io->issuer) != current;
}

/* Have @rw, of the file of @req, read or write @iter, of a dma-buf. */
ssize_t io_dma_buf_rw(struct io_kiocb *req, struct kiocb *kiocb,
		      struct iov_iter *iter, bool nonblock,
		      ssize_t (*rw)(struct kiocb *kiocb, struct iov_iter *iter))
{
	struct blk_dma_buffer_map *map = req->imu->dma.maps;
	struct io_async_rw *io = req->async_data;
	ssize_t ret;

	nonblock |= !!(req->flags & REQ_F_NOWAIT);
	ret = io_dma_buf_check(req, kiocb, iter) ?:
	      blk_dma_buffer_ready(map, nonblock);
	/*
	 * A signal may interrupt the exporter, but not a block device's I/O. In a
	 * polled ring a worker that is told to try again does so without end: with
	 * the signal pending, or as long as the exporter is not done.
	 */
	if (req->ctx->flags & IORING_SETUP_IOPOLL) {
		if (ret == -EAGAIN && !nonblock)
			ret = -ETIMEDOUT;
	} else if (ret == -EINTR || ret == -ETIMEDOUT) {
		ret = -EAGAIN;
	}
	if (ret)
		return ret;

	kiocb->ki_dma_buffer = map;
	kiocb->ki_flags |= IOCB_DMA_BUFFER;
	/* or the exporter would wait for somebody to poll */
	kiocb->ki_flags &= ~IOCB_HIPRI;
	WRITE_ONCE(io->issuer, current);
	ret = rw(kiocb, iter);
	WRITE_ONCE(io->issuer, NULL);
	return ret;
}
