/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Registered buffers that stay mapped for the devices they are used with.
 * See Documentation/block/request-dma.rst.
 */
#ifndef BLK_DMA_BUFFER_H
#define BLK_DMA_BUFFER_H

#include <linux/blk-mq-dma.h>
#include <linux/dma-buf-registration.h>
#include <linux/dma-registration.h>
#include <linux/mutex.h>
#include <linux/pci-p2pdma.h>

struct blk_dma_buffer;
struct blk_dma_buffer_client;
struct blk_dma_buffer_map;

/**
 * struct blk_dma_buffer_ops - what a driver keeps beside a mapped buffer
 * @prepare: optional. @map, of which no I/O has DMA addresses, will have the memory of
 *	@reg. @map->driver_data, max_bytes and max_segments may be set. Return: 0, or a
 *	negative errno: then a buffer with pages is used without what this would have
 *	made, and some of its data is mapped for each I/O; a dma-buf is not mapped
 * @release: with @prepare. @map is or will be unmapped, and no I/O uses it: undo what
 *	@prepare did, if it was called. The driver is still bound
 * @max_sectors: optional. How many sectors of 512 bytes the device takes in an I/O,
 *	where the limits of the queue may be less; UINT_MAX for any. In any context
 * @dma_bufs: data may be of a dma-buf: see bio_is_dma_buf()
 *
 * @prepare and @release may sleep. Of a dma-buf, its reservation lock is held.
 */
struct blk_dma_buffer_ops {
	int (*prepare)(struct blk_dma_buffer_map *map,
		       const struct dma_registration *reg);
	void (*release)(struct blk_dma_buffer_map *map);
	unsigned int (*max_sectors)(struct blk_dma_buffer_client *client);
	bool dma_bufs;
};

/**
 * struct blk_dma_buffer_client - a device that buffers are mapped for
 * @registrations: of the device
 * @dma_bufs: that are registered for it
 * @ops: of its driver
 * @id: unique among all clients since boot
 *
 * Owned by the driver, from blk_dma_buffer_client_init() until no block device of it
 * is open. blk_mq_ops.dma_buffer_client tells of it.
 */
struct blk_dma_buffer_client {
	struct dma_registration_client registrations;
	struct dma_buf_client dma_bufs;
	const struct blk_dma_buffer_ops *ops;
	u64 id;
};

/**
 * struct blk_dma_buffer_map - how a buffer is mapped for a client
 * @client_id: of the client, which may be gone
 * @reg: the memory, mapped; NULL: it cannot be, so each I/O is mapped by itself.
 *	Of a dma-buf: NULL while it is not mapped; found under RCU
 * @dma_buf: the memory is a dma-buf's; owned. NULL: the pages of @buf
 * @max_bytes: the most that the driver can tell the device of in one I/O; 0: what the
 *	limits of the queue say. It may be more than these, which may be for what is mapped
 *	for each I/O. The driver may set it in @prepare
 * @max_segments: how many segments the driver takes in an I/O of more than the limits of
 *	the queue allow, in case @reg has gone by then. It may set this in @prepare
 * @first_mask: of a dma-buf: bits that are 0 in the DMA address of its first byte
 * @align_mask: of a dma-buf: bits that are 0 in DMA addresses where ranges meet
 * @map: map type; PCI_P2PDMA_MAP_UNKNOWN where it is not the same throughout.
 *	Of a dma-buf: what it was when it was last mapped
 * @buf: the buffer, which owns this
 * @client: the client, which is there while @reg is mapped; borrowed
 * @driver_data: for the driver's use
 */
struct blk_dma_buffer_map {
	u64 client_id;
	struct dma_registration *reg;
	struct dma_buf_registration *dma_buf;
	unsigned int max_bytes;
	unsigned int max_segments;
	unsigned int first_mask;
	unsigned int align_mask;
	enum pci_p2pdma_map_type map;
	const struct blk_dma_buffer *buf;
	struct blk_dma_buffer_client *client;
	void *driver_data;
	/* private: */
	struct blk_dma_buffer_map *next;
};

/**
 * struct blk_dma_buffer - memory that is used for I/O again and again
 * @bvec: the memory, pinned by the owner; borrowed. Of a dma-buf: its length alone,
 *	with no pages
 * @nr_bvecs: how many vectors
 * @shift: all vectors but the first and the last are 1 << @shift bytes
 * @lacks: bytes that the first vector lacks of that, if it is not the only one
 *
 * Embedded in what owns it, from blk_dma_buffer_init() to blk_dma_buffer_exit().
 */
struct blk_dma_buffer {
	const struct bio_vec *bvec;
	unsigned int nr_bvecs;
	unsigned int shift;
	unsigned long lacks;
	/* private: */
	struct mutex lock; /* of changes to @maps, and of @revoked */
	bool revoked;
	struct blk_dma_buffer_map *maps; /* owned; grows at its head */
};

#ifdef CONFIG_BLK_DMA_BUFFER
void blk_dma_buffer_client_init(struct blk_dma_buffer_client *client,
				struct device *dev,
				const struct blk_dma_buffer_ops *ops);
void blk_dma_buffer_client_exit(struct blk_dma_buffer_client *client);

void blk_dma_buffer_init(struct blk_dma_buffer *buf, const struct bio_vec *bvec,
			 unsigned int nr_bvecs, unsigned int shift);
void blk_dma_buffer_exit(struct blk_dma_buffer *buf);
void blk_dma_buffer_revoke(struct blk_dma_buffer *buf);
struct blk_dma_buffer_map *
blk_dma_buffer_map(struct blk_dma_buffer *buf,
		   struct blk_dma_buffer_client *client);
struct blk_dma_buffer_client *bdev_dma_buffer_client(struct block_device *bdev);
int blk_dma_buffer_attach(struct blk_dma_buffer *buf, struct block_device *bdev,
			  struct dma_buf *dmabuf);
int blk_dma_buffer_ready(struct blk_dma_buffer_map *map, bool nowait);
#else /* CONFIG_BLK_DMA_BUFFER */
static inline void blk_dma_buffer_init(struct blk_dma_buffer *buf,
				       const struct bio_vec *bvec,
				       unsigned int nr_bvecs,
				       unsigned int shift)
{
}

static inline void blk_dma_buffer_exit(struct blk_dma_buffer *buf)
{
}

static inline void blk_dma_buffer_revoke(struct blk_dma_buffer *buf)
{
}

#endif /* CONFIG_BLK_DMA_BUFFER */

/**
 * bio_is_dma_buf - whether a bio has a dma-buf's memory, and no pages
 * @bio: the bio, which has data
 *
 * Its vectors say where in the dma-buf the data is. Nobody may look for pages there.
 *
 * Context: any.
 * Return: true if it has.
 */
static inline bool bio_is_dma_buf(struct bio *bio)
{
	return bio_flagged(bio, BIO_DMA_BUFFER) && !bio->bi_io_vec->bv_page;
}

/**
 * blk_dma_buffer_is_live - whether there are DMA addresses in a map
 * @map: the map; not of a dma-buf
 *
 * Context: any.
 * Return: false if the buffer cannot be mapped, or is not any more.
 */
static inline bool blk_dma_buffer_is_live(const struct blk_dma_buffer_map *map)
{
	return map->reg && dma_registration_is_live(map->reg);
}

/**
 * blk_dma_buffer_find - how a buffer is mapped for a client
 * @buf: the buffer
 * @client: the client
 *
 * Takes a few instructions for each client that the buffer was ever used with.
 *
 * Context: any. The caller's I/O keeps @buf from its end.
 * Return: the map, whose @reg is NULL if the buffer cannot be mapped for @client;
 * NULL if that was not tried yet.
 */
static inline struct blk_dma_buffer_map *
blk_dma_buffer_find(struct blk_dma_buffer *buf,
		    const struct blk_dma_buffer_client *client)
{
	/* pairs with the releases in blk_dma_buffer_make() and blk_dma_buffer_attach() */
	struct blk_dma_buffer_map *map = smp_load_acquire(&buf->maps);

	while (map && map->client_id != client->id)
		map = map->next;
	return map;
}

/*
 * Which vector of @buf the data of @bio begins in; not one of them if somebody has
 * given @bio other vectors.
 */
static __always_inline unsigned long
blk_dma_buffer_index(const struct blk_dma_buffer *buf, const struct bio *bio)
{
	return bio->bi_io_vec + bio->bi_iter.bi_idx - buf->bvec;
}

bool blk_dma_buffer_tryget(struct blk_dma_buffer_map *map);

/**
 * blk_dma_find_data - the data of a request whose buffer stays mapped
 * @client: who will do the DMA
 * @req: the request, for which blk_dma_has_buffer() is true
 * @m: as for blk_dma_map_data()
 * @iter: only its @addr, @len, @mode and @p2pdma.map are set: where the data
 *	begins, and how many bytes from there on are contiguous, up to the end of
 *	the data. Do not pass it to blk_dma_next()
 * @offset: set to the bytes of the buffer that come before the data
 *
 * Where @iter->len is all of the data, the caller may go on as if
 * blk_dma_map_data() had mapped it as one range. Otherwise it finds the rest in
 * @req->bio->bi_dma_buffer or, unless the data is a dma-buf's, calls
 * blk_dma_map_data(). A dma-buf has no pages to map: call blk_dma_put_data(),
 * then fail the request as blk_dma_data_is_gone() says.
 *
 * The vectors of the bio say where in the buffer the data is, so the bio may have
 * been split. For a request of several bios this returns false.
 *
 * Where it returns true and the caller does not go on, call blk_dma_unmap(), or
 * blk_dma_put_data() for the data of a dma-buf, which is all that has to be undone.
 *
 * Context: any.
 * Return: false if the data is to be mapped by blk_dma_map_data(), or is gone: see
 * blk_dma_data_is_gone().
 */
static __always_inline bool
blk_dma_find_data(const struct blk_dma_buffer_client *client,
		  struct request *req, struct blk_dma_mapping *m,
		  struct blk_dma_iter *iter, u64 *offset)
{
	struct bio *bio = req->bio;
	struct blk_dma_buffer_map *map = bio->bi_dma_buffer;
	const struct blk_dma_buffer *buf = map->buf;
	unsigned long i = blk_dma_buffer_index(buf, bio);
	u64 left;

	if (map->client_id != client->id || bio->bi_next || i >= buf->nr_bvecs)
		return false;
	iter->mode = BLK_DMA_REGISTERED;
	if (unlikely(map->dma_buf)) {
		if (!blk_dma_buffer_tryget(map))
			return false;
		iter->mode = BLK_DMA_DMA_BUF;
		/* blk_dma_data_is_gone() may have been told so before */
		req->rq_flags &= ~RQF_QUIET;
	} else if (!blk_dma_buffer_is_live(map)) {
		return false;
	}
	*offset = bio->bi_iter.bi_bvec_done;
	if (i)
		*offset += ((u64)i << buf->shift) - buf->lacks;
	iter->addr = dma_registration_addr(map->reg, *offset, &left);
	iter->len = min_t(u64, left, bio->bi_iter.bi_size);
	iter->p2pdma.map = map->map;
	iter->iter.is_integrity = false;
	blk_dma_keep(m, iter);
	return true;
}

/**
 * blk_dma_data_is_gone - how to fail a request whose data is gone
 * @req: the request, for which blk_dma_find_data() returned false, or whose data
 *	was found but could not be described
 * @status: set if @req is to fail, as its data is a dma-buf's, which nothing else
 *	can map
 *
 * The request is marked so that its failing is not logged: io_uring or the user
 * issues it again, which has the dma-buf mapped anew.
 *
 * Context: any.
 * Return: false if the data is to be mapped by blk_dma_map_data().
 */
static inline bool blk_dma_data_is_gone(struct request *req,
					blk_status_t *status)
{
	if (likely(!bio_is_dma_buf(req->bio)))
		return false;
	req->rq_flags |= RQF_QUIET;
	*status = BLK_STS_AGAIN;
	return true;
}

/**
 * blk_dma_has_buffer - whether blk_dma_find_data() is worth asking
 * @req: the request; has data
 *
 * Context: any.
 * Return: true if the data may be of a registered buffer that stays mapped.
 */
static __always_inline bool blk_dma_has_buffer(struct request *req)
{
	return bio_flagged(req->bio, BIO_DMA_BUFFER);
}

#endif /* BLK_DMA_BUFFER_H */
