/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Registered buffers that stay mapped for the devices they are used with.
 * See Documentation/block/request-dma.rst.
 */
#ifndef BLK_DMA_BUFFER_H
#define BLK_DMA_BUFFER_H

#include <linux/blk-mq.h>
#include <linux/dma-registration.h>
#include <linux/mutex.h>
#include <linux/pci-p2pdma.h>

struct blk_dma_buffer;
struct blk_dma_buffer_map;
struct blk_dma_iter;
struct blk_dma_mapping;

/**
 * struct blk_dma_buffer_ops - what a driver keeps beside a mapped buffer
 * @prepare: optional. @map is complete but for @map->driver_data, which may be set.
 *	Without what this would make the map is used all the same
 * @release: with @prepare. @map is unmapped: undo what @prepare did, if it was
 *	called. The driver is still bound
 *
 * Both may sleep.
 */
struct blk_dma_buffer_ops {
	void (*prepare)(struct blk_dma_buffer_map *map);
	void (*release)(struct blk_dma_buffer_map *map);
};

/**
 * struct blk_dma_buffer_client - a device that buffers are mapped for
 * @registrations: of the device
 * @ops: of its driver
 * @id: of all clients since the system was started, only this one has it
 *
 * Owned by the driver, from blk_dma_buffer_client_init() until no block device of it
 * is open. blk_mq_ops.dma_buffer_client tells of it.
 */
struct blk_dma_buffer_client {
	struct dma_registration_client registrations;
	const struct blk_dma_buffer_ops *ops;
	u64 id;
};

/**
 * struct blk_dma_buffer_map - how a buffer is mapped for a client
 * @client_id: of the client, which may be gone
 * @reg: the memory, mapped; NULL: it cannot be, so each I/O is mapped by itself
 * @map: class of the memory; PCI_P2PDMA_MAP_UNKNOWN for memory of several classes
 * @buf: the buffer, which owns this
 * @client: the client, which is there while @reg is mapped; borrowed
 * @driver_data: for the driver's use
 */
struct blk_dma_buffer_map {
	u64 client_id;
	struct dma_registration *reg;
	enum pci_p2pdma_map_type map;
	const struct blk_dma_buffer *buf;
	struct blk_dma_buffer_client *client;
	void *driver_data;
	/* private: */
	struct blk_dma_buffer_map *next;
};

/**
 * struct blk_dma_buffer - memory that is used for I/O again and again
 * @bvec: the memory, pinned by the owner; borrowed
 * @nr_bvecs: how many vectors
 * @shift: all vectors but the first and the last are 1 << @shift bytes
 *
 * Embedded in what owns it, from blk_dma_buffer_init() to blk_dma_buffer_exit().
 */
struct blk_dma_buffer {
	const struct bio_vec *bvec;
	unsigned int nr_bvecs;
	unsigned int shift;
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

static inline struct blk_dma_buffer_map *
blk_dma_buffer_map(struct blk_dma_buffer *buf,
		   struct blk_dma_buffer_client *client)
{
	return NULL;
}

static inline struct blk_dma_buffer_client *
bdev_dma_buffer_client(struct block_device *bdev)
{
	return NULL;
}
#endif /* CONFIG_BLK_DMA_BUFFER */

/**
 * blk_dma_buffer_is_live - whether there are DMA addresses in a map
 * @map: the map
 *
 * Context: any.
 * Return: false if the buffer cannot be mapped, or is not any more.
 */
static inline bool blk_dma_buffer_is_live(const struct blk_dma_buffer_map *map)
{
	return map->reg && READ_ONCE(map->reg->reason) == DMA_REGISTRATION_LIVE;
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
	/* pairs with the release in blk_dma_buffer_make() */
	struct blk_dma_buffer_map *map = smp_load_acquire(&buf->maps);

	while (map && map->client_id != client->id)
		map = map->next;
	return map;
}

bool blk_dma_find_data(struct blk_dma_buffer_client *client, struct request *req,
		       struct blk_dma_mapping *m, struct blk_dma_iter *iter,
		       u64 *offset);

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
