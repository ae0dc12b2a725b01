// SPDX-License-Identifier: GPL-2.0
/*
 * Registered buffers that stay mapped for the block devices they are used with.
 *
 * The first direct read or write maps the buffer, in the task that submits it, just
 * as registering pinned it there: a worker might not be available. All later I/O
 * passes the map on in its kiocb.
 */
#include <linux/blk-dma-buffer.h>
#include <linux/blkdev.h>
#include <linux/fs.h>
#include <linux/io_uring.h>

#include <uapi/linux/io_uring.h>

#include "io_uring.h"
#include "rsrc.h"
#include "mapped-buf.h"

/*
 * Have the block device that @kiocb is for know how the buffer of @req is mapped for
 * it.
 */
void io_use_mapped_buf(struct io_kiocb *req, struct kiocb *kiocb)
{
	struct blk_dma_buffer *buf = &req->imu->dma;
	struct blk_dma_buffer_client *client;
	struct blk_dma_buffer_map *map;

	if (!S_ISBLK(file_inode(req->file)->i_mode) ||
	    !(kiocb->ki_flags & IOCB_DIRECT))
		return;
	client = bdev_dma_buffer_client(I_BDEV(req->file->f_mapping->host));
	if (!client)
		return;

	map = blk_dma_buffer_find(buf, client);
	if (unlikely(!map)) {
		/* mapping may sleep: without a map, this I/O is mapped by itself */
		if (req->flags & REQ_F_NOWAIT)
			return;
		map = blk_dma_buffer_map(buf, client);
	}
	if (map && blk_dma_buffer_is_live(map)) {
		kiocb->ki_dma_buffer = map;
		kiocb->ki_flags |= IOCB_DMA_BUFFER;
	}
}
