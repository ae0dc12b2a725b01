// SPDX-License-Identifier: GPL-2.0
/*
 * Registered buffers that stay mapped for the devices they are used with.
 *
 * The owner of a buffer has its memory pinned, and knows when I/O to it is under
 * way. When it is first used with a device, the owner has it mapped; all I/O after
 * that brings the map along in its bios, and the driver finds DMA addresses there.
 * The bios have their vectors as ever. Where a map is of no use, each I/O is mapped
 * as if there were none.
 *
 * I/O to pinned pages does not count as a user of a registration. So only those may
 * end one who know that no I/O is under way: the owner, at the end of its buffer or
 * when a provider wants P2P memory back; the client's driver, when its queues are
 * gone.
 *
 * A dma-buf is a buffer without pages, for one client. Its exporter may move it at any
 * time, and waits for users: each request is one, from the time that DMA addresses are
 * found for it until it is unmapped. The one map stays; what it has mapped comes and goes.
 */
#include <kunit/visibility.h>
#include <linux/blk-dma-buffer.h>
#include <linux/blk-mq-dma.h>
#include <linux/blkdev.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "blk.h"

/**
 * blk_dma_buffer_client_init - let buffers be mapped for a device
 * @client: filled in; owned by the caller
 * @dev: the device, with its DMA mask set and its driver bound; borrowed until
 *	blk_dma_buffer_client_exit()
 * @ops: what the driver does then; not NULL
 *
 * Context: any.
 */
void blk_dma_buffer_client_init(struct blk_dma_buffer_client *client,
				struct device *dev,
				const struct blk_dma_buffer_ops *ops)
{
	static atomic64_t ids;

	dma_registration_client_init(&client->registrations, dev);
	dma_buf_client_init(&client->dma_bufs, dev);
	client->ops = ops;
	client->id = atomic64_inc_return(&ids);
}
EXPORT_SYMBOL_GPL(blk_dma_buffer_client_init);

/**
 * blk_dma_buffer_client_exit - unmap all buffers, and map no more
 * @client: no request of any of its queues is or will be mapped any more
 *
 * Context: may sleep.
 */
void blk_dma_buffer_client_exit(struct blk_dma_buffer_client *client)
{
	dma_buf_client_exit(&client->dma_bufs);
	dma_registration_client_exit(&client->registrations);
}
EXPORT_SYMBOL_GPL(blk_dma_buffer_client_exit);

/**
 * bdev_dma_buffer_client - who does the DMA of a block device
 * @bdev: the block device, which the caller has open
 *
 * Return: the client, which stays while @bdev is open; NULL if its driver, or the
 * way it is set up, has none.
 */
struct blk_dma_buffer_client *bdev_dma_buffer_client(struct block_device *bdev)
{
	struct request_queue *q = bdev_get_queue(bdev);

	if (!q->mq_ops || !q->mq_ops->dma_buffer_client)
		return NULL;
	return q->mq_ops->dma_buffer_client(q);
}

/**
 * blk_dma_buffer_init - memory that is to be used again and again
 * @buf: filled in
 * @bvec: the memory, of which the owner has each page pinned until
 *	blk_dma_buffer_exit() or blk_dma_buffer_revoke() has returned; borrowed
 * @nr_bvecs: how many vectors
 * @shift: all of them but the first and the last are 1 << @shift bytes
 */
void blk_dma_buffer_init(struct blk_dma_buffer *buf, const struct bio_vec *bvec,
			 unsigned int nr_bvecs, unsigned int shift)
{
	buf->bvec = bvec;
	buf->nr_bvecs = nr_bvecs;
	buf->shift = shift;
	buf->lacks = nr_bvecs > 1 ? BIT(shift) - bvec->bv_len : 0;
	buf->revoked = false;
	buf->maps = NULL;
	mutex_init(&buf->lock);
}
EXPORT_SYMBOL_IF_KUNIT(blk_dma_buffer_init);

/* Unpinning is the buffer's owner's, who comes to that by itself. */
static void blk_dma_buffer_revoked(struct dma_registration *reg,
				   enum dma_registration_reason reason)
{
}

static void blk_dma_buffer_unmapped(struct dma_registration *reg)
{
	struct blk_dma_buffer_map *map = reg->owner;

	if (map->client->ops->release)
		map->client->ops->release(map);
}

static const struct dma_registration_ops blk_dma_buffer_reg_ops = {
	.revoked = blk_dma_buffer_revoked,
	.unmapped = blk_dma_buffer_unmapped,
};

static enum pci_p2pdma_map_type
blk_dma_buffer_map_type(struct blk_dma_buffer *buf, struct device *dev)
{
	struct pci_p2pdma_map_state state = {};
	enum pci_p2pdma_map_type map, first = PCI_P2PDMA_MAP_UNKNOWN;
	unsigned int i;

	for (i = 0; i < buf->nr_bvecs; i++) {
		map = pci_p2pdma_state(&state, dev, buf->bvec[i].bv_page);
		if (i && map != first)
			return PCI_P2PDMA_MAP_UNKNOWN;
		first = map;
	}
	return first;
}

static struct dma_registration *
blk_dma_buffer_register(struct blk_dma_buffer_map *map)
{
	const struct blk_dma_buffer *buf = map->buf;
	struct dma_registration_memory mem = {
		.nr_pieces = buf->nr_bvecs,
		.dir = DMA_BIDIRECTIONAL,
	};
	struct dma_registration_piece *pieces;
	struct dma_registration *reg;
	unsigned int i;

	/* which has to know of each transfer */
	if (IS_ENABLED(CONFIG_KMSAN))
		return ERR_PTR(-EOPNOTSUPP);

	pieces = kvmalloc_array(buf->nr_bvecs, sizeof(*pieces),
				DMA_REGISTRATION_GFP);
	if (!pieces)
		return ERR_PTR(-ENOMEM);
	for (i = 0; i < buf->nr_bvecs; i++) {
		pieces[i].paddr = bvec_phys(&buf->bvec[i]);
		pieces[i].len = buf->bvec[i].bv_len;
	}
	mem.pieces = pieces;
	reg = dma_register_phys(&map->client->registrations, &mem,
				&blk_dma_buffer_reg_ops, map);
	kvfree(pieces);
	return reg;
}

/* The driver adds what it needs while nobody can revoke @reg. */
static void blk_dma_buffer_prepare(struct blk_dma_buffer_map *map,
				   struct dma_registration *reg)
{
	if (!dma_registration_tryget(reg))
		return;
	map->reg = reg;
	if (map->client->ops->prepare)
		map->client->ops->prepare(map, reg);
	dma_registration_put(reg);
}

static struct blk_dma_buffer_map *
blk_dma_buffer_make(struct blk_dma_buffer *buf,
		    struct blk_dma_buffer_client *client)
{
	struct blk_dma_buffer_map *map;
	struct dma_registration *reg;

	map = kzalloc(sizeof(*map), DMA_REGISTRATION_GFP);
	if (!map)
		return NULL;
	map->client = client;
	map->client_id = client->id;
	map->map = blk_dma_buffer_map_type(buf, client->registrations.dev);
	map->buf = buf;
	reg = blk_dma_buffer_register(map);
	if (!IS_ERR(reg)) {
		blk_dma_buffer_prepare(map, reg);
		/* revoked already */
		if (!map->reg)
			dma_unregister_unused(reg);
	}
	map->next = buf->maps;
	/* for blk_dma_buffer_find() */
	smp_store_release(&buf->maps, map);
	return map;
}

/**
 * blk_dma_buffer_map - map a buffer for a client, unless it is mapped already
 * @buf: the buffer
 * @client: of a block device that the caller has open
 *
 * Tried once for each client: memory that cannot be mapped, or for which there is no
 * room, is not tried again for each I/O.
 *
 * Context: may sleep. The caller's I/O keeps @buf from its end. It may meet
 * blk_dma_buffer_revoke(), after which nothing is mapped any more.
 * Return: the map as of blk_dma_buffer_find(), also one that was there when @buf was
 * revoked, which is not live; NULL if there is no memory for it, if @buf has none, or
 * if @buf was revoked before.
 */
struct blk_dma_buffer_map *
blk_dma_buffer_map(struct blk_dma_buffer *buf,
		   struct blk_dma_buffer_client *client)
{
	struct blk_dma_buffer_map *map;
	unsigned int noio;

	/* of no memory, and perhaps constant */
	if (!buf->nr_bvecs)
		return NULL;

	mutex_lock(&buf->lock);
	map = blk_dma_buffer_find(buf, client);
	if (!map && !buf->revoked) {
		/* as dma_register_phys(), for what is made beside it, too */
		noio = memalloc_noio_save();
		map = blk_dma_buffer_make(buf, client);
		memalloc_noio_restore(noio);
	}
	mutex_unlock(&buf->lock);
	return map;
}

/**
 * blk_dma_buffer_revoke - take the memory of a buffer back
 * @buf: the buffer. No I/O has its memory described to a device, and none will; who
 *	is about to begin may still look for a map
 *
 * When it returns, no device has the memory mapped.
 *
 * Context: may sleep. Waits for no grace period.
 */
void blk_dma_buffer_revoke(struct blk_dma_buffer *buf)
{
	struct blk_dma_buffer_map *map;

	mutex_lock(&buf->lock);
	buf->revoked = true;
	for (map = buf->maps; map; map = map->next)
		if (map->reg)
			dma_registration_revoke_unused(map->reg);
	mutex_unlock(&buf->lock);
}

/**
 * blk_dma_buffer_exit - undo blk_dma_buffer_init()
 * @buf: the buffer; no I/O uses it, and none will
 *
 * When it returns, no device has the memory mapped.
 *
 * Context: may sleep.
 */
void blk_dma_buffer_exit(struct blk_dma_buffer *buf)
{
	struct blk_dma_buffer_map *map;

	while ((map = buf->maps)) {
		buf->maps = map->next;
		if (map->dma_buf)
			dma_buf_unregister(map->dma_buf);
		else if (map->reg)
			dma_unregister_unused(map->reg);
		kfree(map);
	}
}

#ifdef CONFIG_DMA_SHARED_BUFFER
/* For the device, data of two ranges must be like data of two pages. */
static bool blk_dma_buffer_aligned(const struct dma_registration *reg, u64 mask)
{
	const struct dma_registration_range *range = reg->ranges;
	const struct dma_registration_range *last = range + reg->nr_ranges - 1;

	for (; range < last; range++)
		if ((range->addr + (range[1].offset - range->offset)) & mask ||
		    range[1].addr & mask)
			return false;
	return true;
}

static int blk_dma_buffer_mapped(void *owner, struct dma_registration *reg)
{
	struct blk_dma_buffer_map *map = owner;
	const struct blk_dma_buffer_ops *ops = map->client->ops;
	int ret = 0;

	if (!blk_dma_buffer_aligned(reg, map->align_mask) ||
	    (reg->ranges[0].addr & map->first_mask))
		return -EINVAL;
	if (ops->prepare)
		ret = ops->prepare(map, reg);
	if (ret)
		return ret;
	/* for blk_dma_buffer_tryget() */
	smp_store_release(&map->reg, reg);
	return 0;
}

static void blk_dma_buffer_unmapping(void *owner, struct dma_registration *reg)
{
	struct blk_dma_buffer_map *map = owner;

	WRITE_ONCE(map->reg, NULL);
	if (map->client->ops->release)
		map->client->ops->release(map);
}

static const struct dma_buf_registration_ops blk_dma_buf_ops = {
	.mapped = blk_dma_buffer_mapped,
	.unmapping = blk_dma_buffer_unmapping,
};

/**
 * blk_dma_buffer_attach - let a dma-buf be the memory of a buffer
 * @buf: after blk_dma_buffer_init(), with vectors of @dmabuf's size without pages;
 *	has no map yet
 * @bdev: block device that it is to be used with, which the caller has open until
 *	blk_dma_buffer_exit()
 * @dmabuf: the dma-buf; borrowed
 *
 * It is mapped by the first blk_dma_buffer_ready() of @buf->maps, the only map.
 *
 * Context: may sleep. Nobody else uses @buf yet.
 * Return: 0; -EOPNOTSUPP if the block device takes no dma-bufs; or as
 * dma_buf_register().
 */
int blk_dma_buffer_attach(struct blk_dma_buffer *buf, struct block_device *bdev,
			  struct dma_buf *dmabuf)
{
	struct blk_dma_buffer_client *client = bdev_dma_buffer_client(bdev);
	struct request_queue *q = bdev_get_queue(bdev);
	struct blk_dma_buffer_map *map;

	if (!client || !client->ops->dma_bufs || IS_ENABLED(CONFIG_KMSAN) ||
	    !blk_queue_pci_p2pdma(q) || bdev_is_zoned(bdev) ||
	    blk_get_integrity(bdev->bd_disk))
		return -EOPNOTSUPP;
	map = kzalloc(sizeof(*map), DMA_REGISTRATION_GFP);
	if (!map)
		return -ENOMEM;
	map->client = client;
	map->client_id = client->id;
	map->map = PCI_P2PDMA_MAP_UNKNOWN;
	map->buf = buf;
	map->first_mask = queue_dma_alignment(q);
	map->align_mask = queue_virt_boundary(q) | map->first_mask;
	map->dma_buf = dma_buf_register(&client->dma_bufs, dmabuf,
					&blk_dma_buf_ops, map);
	if (IS_ERR(map->dma_buf)) {
		int ret = PTR_ERR(map->dma_buf);

		kfree(map);
		return ret;
	}
	/* for blk_dma_buffer_find() */
	smp_store_release(&buf->maps, map);
	return 0;
}

/**
 * blk_dma_buffer_ready - have a dma-buf mapped before I/O to it is submitted
 * @map: of a dma-buf
 * @nowait: do not map it
 *
 * Context: may sleep unless @nowait.
 * Return: 0, after which it may be moved again; -EAGAIN if @nowait and it is not
 * mapped; or as dma_buf_registration_map().
 */
int blk_dma_buffer_ready(struct blk_dma_buffer_map *map, bool nowait)
{
	struct dma_registration *reg;
	bool ready;

	rcu_read_lock();
	reg = READ_ONCE(map->reg);
	ready = reg && dma_registration_is_live(reg);
	rcu_read_unlock();
	if (likely(ready))
		return 0;
	if (nowait)
		return -EAGAIN;
	return dma_buf_registration_map(map->dma_buf);
}
#else /* CONFIG_DMA_SHARED_BUFFER */
int blk_dma_buffer_attach(struct blk_dma_buffer *buf, struct block_device *bdev,
			  struct dma_buf *dmabuf)
{
	return -EOPNOTSUPP;
}

int blk_dma_buffer_ready(struct blk_dma_buffer_map *map, bool nowait)
{
	return -EOPNOTSUPP;
}
#endif /* CONFIG_DMA_SHARED_BUFFER */

/* For blk_dma_find_data(): become a user of a dma-buf, if it is mapped. */
bool blk_dma_buffer_tryget(struct blk_dma_buffer_map *map)
{
	struct dma_registration *reg;
	bool got;

	rcu_read_lock();
	/* pairs with the release in blk_dma_buffer_mapped(): @map->driver_data */
	reg = smp_load_acquire(&map->reg);
	got = reg && dma_registration_tryget(reg);
	rcu_read_unlock();
	return got;
}
EXPORT_SYMBOL_GPL(blk_dma_buffer_tryget);

/**
 * blk_dma_put_data - end the use of a dma-buf that blk_dma_find_data() found
 * @req: the request, whose data is in the dma-buf; the device is done with it
 *
 * Context: any.
 */
void blk_dma_put_data(struct request *req)
{
	dma_registration_put(req->bio->bi_dma_buffer->reg);
}
EXPORT_SYMBOL_GPL(blk_dma_put_data);
