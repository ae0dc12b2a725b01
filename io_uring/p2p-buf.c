// SPDX-License-Identifier: GPL-2.0
/*
 * Registered buffers with P2P memory, which its provider may take back.
 *
 * A read or write counts itself as a user for as long as a drive may access the
 * buffer: from before the block layer is asked until the drive is done,
 * whether or not somebody has seen the completion by then, unless it is one that
 * has to be polled for. A provider that goes
 * away stops new users, waits for those there are, and unpins the pages. What
 * comes later ends with -ENODEV. The buffer stays in its ring until it is
 * unregistered.
 */
#include <linux/blkdev.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/p2pdma-pin.h>
#include <linux/percpu-refcount.h>
#include <linux/slab.h>

#include <uapi/linux/io_uring.h>

#include "io_uring.h"
#include "rsrc.h"
#include "p2p-buf.h"

/* That a buffer has pages of a provider */
struct io_p2p_pin {
	struct p2pdma_pin pin;
	struct dev_pagemap *pgmap;
	struct io_p2p_buf *buf; /* owns this */
	struct io_p2p_pin *next;
};

/**
 * struct io_p2p_buf - what a registered buffer with P2P memory needs beside
 * @users: I/O that may access the memory; killed when a provider goes
 * @idle: @users have ended since
 * @lock: protects @released and, until io_p2p_buf_init() has returned, @pins
 * @released: the pages are not pinned any more
 * @imu: the buffer, which owns this
 * @pins: one for each pagemap that the buffer has pages of; owned
 */
struct io_p2p_buf {
	struct percpu_ref users;
	struct completion idle;
	struct mutex lock; /* of @released, and @pins at first */
	bool released;
	struct io_mapped_ubuf *imu;
	struct io_p2p_pin *pins;
};

static void io_p2p_buf_idle(struct percpu_ref *users)
{
	complete_all(&container_of(users, struct io_p2p_buf, users)->idle);
}

static void io_p2p_buf_stop(struct p2pdma_pin *pin)
{
	struct io_p2p_buf *buf = container_of(pin, struct io_p2p_pin, pin)->buf;

	/* of several providers, perhaps, which do not call at the same time */
	if (!percpu_ref_is_dying(&buf->users))
		percpu_ref_kill(&buf->users);
}

static void io_p2p_buf_release(struct p2pdma_pin *pin)
{
	struct io_p2p_buf *buf = container_of(pin, struct io_p2p_pin, pin)->buf;

	mutex_lock(&buf->lock);
	if (!buf->released) {
		wait_for_completion(&buf->idle);
		io_buffer_unpin(buf->imu);
		buf->released = true;
	}
	mutex_unlock(&buf->lock);
}

static const struct p2pdma_pin_ops io_p2p_pin_ops = {
	.stop = io_p2p_buf_stop,
	.release = io_p2p_buf_release,
};

static int io_p2p_buf_alloc(struct io_mapped_ubuf *imu)
{
	struct io_p2p_buf *buf;
	int ret;

	buf = kzalloc(sizeof(*buf), GFP_KERNEL_ACCOUNT);
	if (!buf)
		return -ENOMEM;
	ret = percpu_ref_init(&buf->users, io_p2p_buf_idle, 0,
			      GFP_KERNEL_ACCOUNT);
	if (ret) {
		kfree(buf);
		return ret;
	}
	init_completion(&buf->idle);
	mutex_init(&buf->lock);
	buf->imu = imu;
	imu->p2p = buf;
	return 0;
}

/* Have the provider of @page, which is pinned, know of @buf. */
static int io_p2p_buf_watch(struct io_p2p_buf *buf, struct page *page)
{
	struct io_p2p_pin *pin;
	int ret;

	for (pin = buf->pins; pin; pin = pin->next)
		if (pin->pgmap == page_pgmap(page))
			return 0;

	pin = kzalloc(sizeof(*pin), GFP_KERNEL_ACCOUNT);
	if (!pin)
		return -ENOMEM;
	pin->buf = buf;
	pin->pgmap = page_pgmap(page);
	ret = p2pdma_pin_watch(&pin->pin, &io_p2p_pin_ops, page);
	if (ret) {
		kfree(pin);
		return ret;
	}
	pin->next = buf->pins;
	buf->pins = pin;
	return 0;
}

static int io_p2p_buf_watch_all(struct io_mapped_ubuf *imu)
{
	unsigned int i;
	int ret = 0;

	/* No page is unpinned while some are still looked at. */
	mutex_lock(&imu->p2p->lock);
	for (i = 0; i < imu->nr_bvecs && !ret; i++)
		if (is_pci_p2pdma_page(imu->bvec[i].bv_page))
			ret = io_p2p_buf_watch(imu->p2p, imu->bvec[i].bv_page);
	mutex_unlock(&imu->p2p->lock);
	return ret;
}

static unsigned int io_buffer_p2p_vecs(struct io_mapped_ubuf *imu)
{
	unsigned int i, nr = 0;

	for (i = 0; i < imu->nr_bvecs; i++)
		nr += is_pci_p2pdma_page(imu->bvec[i].bv_page);
	return nr;
}

/*
 * Let the providers of @imu, whose pages are pinned, take them back. On failure,
 * the pages are not pinned any more.
 */
int io_p2p_buf_init(struct io_mapped_ubuf *imu)
{
	unsigned int nr = io_buffer_p2p_vecs(imu);
	int ret;

	if (!nr)
		return 0;

	ret = io_p2p_buf_alloc(imu);
	if (!ret)
		ret = io_p2p_buf_watch_all(imu);
	if (!ret)
		imu->one_class = nr == imu->nr_bvecs && !imu->p2p->pins->next;
	else if (io_p2p_buf_exit(imu))
		io_buffer_unpin(imu);
	return ret;
}

/* Undo io_p2p_buf_init(). Return whether the pages are still pinned. */
bool io_p2p_buf_exit(struct io_mapped_ubuf *imu)
{
	struct io_p2p_buf *buf = imu->p2p;
	struct io_p2p_pin *pin;
	bool released;

	if (!buf)
		return true;

	while ((pin = buf->pins)) {
		buf->pins = pin->next;
		p2pdma_pin_unwatch(&pin->pin);
		kfree(pin);
	}
	/* Stopped, perhaps, but no longer in anybody's list */
	if (percpu_ref_is_dying(&buf->users))
		wait_for_completion(&buf->idle);
	released = buf->released;
	percpu_ref_exit(&buf->users);
	kfree(buf);
	imu->p2p = NULL;
	return !released;
}

void __io_p2p_rw_done(struct io_kiocb *req)
{
	req->flags &= ~REQ_F_P2P_BUF;
	percpu_ref_put(&req->imu->p2p->users);
}

/*
 * Have @rw, of the file of @req, read or write @iter, of a buffer with P2P
 * memory. Only drives are asked, as a provider that goes waits for this user: a
 * file system may wait for locks, a suspended stacked device for whoever resumes
 * it, and writing back another device's cache for a program (ublk) or a server
 * (nbd).
 */
ssize_t io_p2p_rw(struct io_kiocb *req, struct kiocb *kiocb,
		  struct iov_iter *iter,
		  ssize_t (*rw)(struct kiocb *kiocb, struct iov_iter *iter))
{
	ssize_t ret;

	if (!IS_ENABLED(CONFIG_BLOCK) || !S_ISBLK(file_inode(req->file)->i_mode) ||
	    !queue_is_mq(bdev_get_queue(I_BDEV(req->file->f_mapping->host))))
		return -EOPNOTSUPP;
	if (!(kiocb->ki_flags & IOCB_DIRECT))
		return -EINVAL;
	if (!blk_queue_pci_p2pdma(bdev_get_queue(I_BDEV(req->file->f_mapping->host))))
		return -EREMOTEIO;
	if (!percpu_ref_tryget_live(&req->imu->p2p->users))
		return -ENODEV;

	req->flags |= REQ_F_P2P_BUF;
	ret = rw(kiocb, iter);
	/* if queued, the completion ends the use, and may have done so already */
	if (ret != -EIOCBQUEUED)
		io_p2p_rw_done(req);
	return ret;
}
