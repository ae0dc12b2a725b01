/* SPDX-License-Identifier: GPL-2.0 */
/* Registered buffers that stay mapped for the block devices they are used with. */
#ifndef IOU_MAPPED_BUF_H
#define IOU_MAPPED_BUF_H

#include <linux/fs.h>
#include <linux/io_uring_types.h>

#ifdef CONFIG_BLK_DMA_BUFFER
void io_use_mapped_buf(struct io_kiocb *req, struct kiocb *kiocb);
#else
static inline void io_use_mapped_buf(struct io_kiocb *req, struct kiocb *kiocb)
{
}
#endif

#endif
