// SPDX-License-Identifier: GPL-2.0
/*
 * dma-bufs that move when they are asked to, as a GPU's memory does: within host memory, or to P2P memory and back. What
 * they leave behind is filled with a pattern and kept until the next move: a device that still writes there is found out.
 */
#include <linux/atomic.h>
#include <linux/dma-buf.h>
#include <linux/dma-fence.h>
#include <linux/dma-mapping.h>
#include <linux/dma-resv.h>
#include <linux/io.h>
#include <linux/memremap.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pci-p2pdma.h>
#include <linux/scatterlist.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "moving_exporter.h"
#include "pci_by_name.h"

static char *provider[2];
static int providers;
module_param_array(provider, charp, &providers, 0);
MODULE_PARM_DESC(provider, "PCI devices whose P2P memory dma-bufs that wander move to, in turns with host memory");

#define LEFT_BEHIND 0xdb
#define NOT_COPIED_YET 0x66
#define COPY_LATER_MS 4
#define COPY_SLOW_MS 16000
#define OFF_BY 2 /* bytes, EXPORTER_UNALIGNED and EXPORTER_UNEVEN */

/* EXPORTER_REPEATS: each GiB, which is a vector of io_uring, is the same 2 MiB all over, and no GiB is like another. */
#define ENTRIES_ALIKE (SZ_1G / SZ_2M)
#define PAGES_ALIKE (SZ_2M >> PAGE_SHIFT)

/**
 * struct memory - where a dma-buf is
 * @pages: each of its pages; owned
 * @host: how many of them are host memory, which comes first
 * @p2p: all others, allocated of @pdev; owned
 * @pdev: a provider; a reference is owned
 */
struct memory {
	struct page **pages;
	unsigned int host;
	void *p2p;
	struct pci_dev *pdev;
};

/**
 * struct moving_buf - a dma-buf
 * @behaviour: EXPORTER_*
 * @nr: how many pages there are; a GiB of who repeats has PAGES_ALIKE of them
 * @turn: how often it has moved
 * @now: where it is; protected by the reservation lock
 * @left: where it was before; no pages if it did not move; as @now
 */
struct moving_buf {
	unsigned int behaviour;
	unsigned int nr;
	unsigned int turn;
	struct memory now;
	struct memory left;
};

static atomic64_t moves, maps, mapped, attached, stale;
static struct workqueue_struct *copies;

static size_t p2p_size(const struct moving_buf *buf,
		       const struct memory *memory)
{
	return (size_t)(buf->nr - memory->host) * PAGE_SIZE;
}

static void free_memory(const struct moving_buf *buf, struct memory *memory)
{
	unsigned int i;

	if (memory->p2p)
		pci_free_p2pmem(memory->pdev, memory->p2p,
				p2p_size(buf, memory));
	pci_dev_put(memory->pdev);
	for (i = 0; i < memory->host; i++)
		if (memory->pages[i])
			__free_page(memory->pages[i]);
	kvfree(memory->pages);
	*memory = (struct memory){};
}

static void note_pages(struct page **pages, unsigned int nr, void *piece)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		pages[i] = virt_to_page(piece + i * PAGE_SIZE);
}

static int alloc_p2p_pages(const struct moving_buf *buf, struct memory *memory,
			   const char *name)
{
	memory->pdev = pci_get_by_name(name);
	if (!memory->pdev)
		return -ENODEV;
	memory->p2p = pci_alloc_p2pmem(memory->pdev, p2p_size(buf, memory));
	if (!memory->p2p)
		return -ENOMEM;
	note_pages(memory->pages + memory->host, buf->nr - memory->host,
		   memory->p2p);
	return 0;
}

/* Physically contiguous; each of its pages can be freed by itself. */
static int alloc_host_piece(struct memory *memory)
{
	void *piece = alloc_pages_exact(memory->host * PAGE_SIZE,
					GFP_KERNEL | __GFP_ZERO |
						__GFP_RETRY_MAYFAIL);

	if (!piece)
		return -ENOMEM;
	note_pages(memory->pages, memory->host, piece);
	return 0;
}

/* Scattered: of twice as many pages every second one, if they come in order. */
static int alloc_host_pages(const struct moving_buf *buf, struct memory *memory)
{
	bool scattered = buf->behaviour & EXPORTER_SCATTERED;
	struct page **pages = memory->pages, *between = NULL;
	unsigned int i;
	int ret = 0;

	if (buf->behaviour & (EXPORTER_REPEATS | EXPORTER_UNALIGNED))
		return alloc_host_piece(memory);
	for (i = 0; !ret && i < memory->host; i++) {
		pages[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (scattered) {
			if (between)
				__free_page(between);
			between = alloc_page(GFP_KERNEL);
		}
		if (!pages[i] || (scattered && !between))
			ret = -ENOMEM;
	}
	if (between)
		__free_page(between);
	return ret;
}

/* The place of each turn: host memory, and for who wanders each provider then. */
static int alloc_memory(const struct moving_buf *buf, unsigned int turn,
			struct memory *memory)
{
	unsigned int place = 0;
	int ret;

	if (buf->behaviour & EXPORTER_WANDERS)
		place = turn % (providers + 1);
	*memory = (struct memory){
		.pages = kvcalloc(buf->nr, sizeof(*memory->pages), GFP_KERNEL),
		.host = buf->nr,
	};
	if (!memory->pages)
		return -ENOMEM;
	if (place)
		memory->host = buf->behaviour & EXPORTER_HALF ? buf->nr / 2 : 0;
	ret = alloc_host_pages(buf, memory);
	if (!ret && place)
		ret = alloc_p2p_pages(buf, memory, provider[place - 1]);
	if (ret)
		free_memory(buf, memory);
	return ret;
}

/* P2P memory is as device memory to the CPU; host memory can be reached as that. */
static void store(struct page *page, size_t at, const void *data, size_t length)
{
	memcpy_toio((void __iomem *)page_address(page) + at, data, length);
}

static void load(void *data, struct page *page, size_t at, size_t length)
{
	memcpy_fromio(data, (void __iomem *)page_address(page) + at, length);
}

static void fill(struct page *page, int pattern)
{
	memset_io((void __iomem *)page_address(page), pattern, PAGE_SIZE);
}

static int moving_attach(struct dma_buf *dmabuf,
			 struct dma_buf_attachment *attach)
{
	struct moving_buf *buf = dmabuf->priv;

	if (buf->behaviour & EXPORTER_REFUSES_ATTACH)
		return -EBUSY;
	atomic64_inc(&attached);
	return 0;
}

static void moving_detach(struct dma_buf *dmabuf,
			  struct dma_buf_attachment *attach)
{
	atomic64_dec(&attached);
}

/* It moves; who pins is refused. */
static int moving_pin(struct dma_buf_attachment *attach)
{
	return -EOPNOTSUPP;
}

static void moving_unpin(struct dma_buf_attachment *attach)
{
}

/* Whether each entry of its table is mapped by itself */
static bool is_by_entry(const struct moving_buf *buf)
{
	return (buf->behaviour & EXPORTER_REPEATS) ||
	       (buf->behaviour & EXPORTER_RESOURCE && buf->now.p2p);
}

/* P2P memory as drivers of GPUs do, whose memory has no pages */
static dma_addr_t map_entry(struct device *dev, struct scatterlist *sg,
			    enum dma_data_direction dir)
{
	if (is_pci_p2pdma_page(sg_page(sg)))
		return dma_map_resource(dev, sg_phys(sg), sg->length, dir, 0);
	return dma_map_page_attrs(dev, sg_page(sg), 0, sg->length, dir,
				  DMA_ATTR_SKIP_CPU_SYNC);
}

/* Whether an entry has the address of the one before */
static bool is_alike(const struct moving_buf *buf, unsigned int entry)
{
	return buf->behaviour & EXPORTER_REPEATS && entry % ENTRIES_ALIKE;
}

static void unmap_entries(const struct moving_buf *buf, struct device *dev,
			  struct sg_table *sgt, unsigned int nr,
			  enum dma_data_direction dir)
{
	struct scatterlist *sg;
	unsigned int i;

	for_each_sg(sgt->sgl, sg, nr, i) {
		if (is_alike(buf, i))
			continue;
		if (is_pci_p2pdma_page(sg_page(sg)))
			dma_unmap_resource(dev, sg_dma_address(sg), sg->length,
					   dir, 0);
		else
			dma_unmap_page_attrs(dev, sg_dma_address(sg),
					     sg->length, dir,
					     DMA_ATTR_SKIP_CPU_SYNC);
	}
}

static int map_entries(struct moving_buf *buf, struct device *dev,
		       struct sg_table *sgt, enum dma_data_direction dir)
{
	dma_addr_t addr = DMA_MAPPING_ERROR;
	struct scatterlist *sg;
	unsigned int i;

	for_each_sgtable_sg(sgt, sg, i) {
		if (!is_alike(buf, i))
			addr = map_entry(dev, sg, dir);
		if (dma_mapping_error(dev, addr)) {
			unmap_entries(buf, dev, sgt, i, dir);
			return -EIO;
		}
		sg_dma_address(sg) = addr;
		sg_dma_len(sg) = sg->length;
	}
	sgt->nents = sgt->orig_nents;
	return 0;
}

static int moving_map_sgt(struct moving_buf *buf, struct device *dev,
			  struct sg_table *sgt, enum dma_data_direction dir)
{
	struct scatterlist *sg;
	int i;

	if (is_by_entry(buf))
		return map_entries(buf, dev, sgt, dir);
	if (!(buf->behaviour & EXPORTER_PHYSICAL))
		return dma_map_sgtable(dev, sgt, dir, DMA_ATTR_SKIP_CPU_SYNC);
	for_each_sgtable_sg(sgt, sg, i) {
		sg_dma_address(sg) = sg_phys(sg);
		sg_dma_len(sg) = sg->length;
	}
	sgt->nents = sgt->orig_nents;
	return 0;
}

static int alloc_table(const struct dma_buf *dmabuf, struct sg_table *sgt)
{
	const struct moving_buf *buf = dmabuf->priv;
	unsigned int nr = buf->nr - !!(buf->behaviour & EXPORTER_SHORT);
	struct scatterlist *sg;
	unsigned int i;
	int ret;

	if (!(buf->behaviour & EXPORTER_REPEATS))
		return sg_alloc_table_from_pages(sgt, buf->now.pages, nr, 0,
						 nr * PAGE_SIZE, GFP_KERNEL);
	ret = sg_alloc_table(sgt, dmabuf->size / SZ_2M, GFP_KERNEL);
	if (ret)
		return ret;
	for_each_sgtable_sg(sgt, sg, i)
		sg_set_page(sg, buf->now.pages[i / ENTRIES_ALIKE * PAGES_ALIKE],
			    SZ_2M, 0);
	return 0;
}

/* The first entry, or the second if there is one, leads elsewhere by so many bytes. */
static void shift_entry(struct moving_buf *buf, struct sg_table *sgt, int by)
{
	if ((buf->behaviour & EXPORTER_UNEVEN) && sgt->nents > 1)
		sg_dma_address(sg_next(sgt->sgl)) += by;
	else if (buf->behaviour & (EXPORTER_UNALIGNED | EXPORTER_UNEVEN))
		sg_dma_address(sgt->sgl) += by;
}

static struct sg_table *moving_map(struct dma_buf_attachment *attach,
				   enum dma_data_direction dir)
{
	struct moving_buf *buf = attach->dmabuf->priv;
	struct sg_table *sgt;
	int ret;

	if (buf->behaviour & EXPORTER_REFUSES_MAP)
		return ERR_PTR(-ENOSPC);
	if (buf->behaviour & EXPORTER_AGAIN)
		return ERR_PTR(-EAGAIN);
	sgt = kzalloc(sizeof(*sgt), GFP_KERNEL);
	if (!sgt)
		return ERR_PTR(-ENOMEM);
	ret = alloc_table(attach->dmabuf, sgt);
	if (ret)
		goto free;
	ret = moving_map_sgt(buf, attach->dev, sgt, dir);
	if (ret)
		goto free_table;
	shift_entry(buf, sgt, OFF_BY);
	atomic64_inc(&maps);
	atomic64_inc(&mapped);
	return sgt;
free_table:
	sg_free_table(sgt);
free:
	kfree(sgt);
	return ERR_PTR(ret);
}

static void moving_unmap(struct dma_buf_attachment *attach,
			 struct sg_table *sgt, enum dma_data_direction dir)
{
	struct moving_buf *buf = attach->dmabuf->priv;

	shift_entry(buf, sgt, -OFF_BY);
	if (is_by_entry(buf))
		unmap_entries(buf, attach->dev, sgt, sgt->orig_nents, dir);
	else if (!(buf->behaviour & EXPORTER_PHYSICAL))
		dma_unmap_sgtable(attach->dev, sgt, dir, DMA_ATTR_SKIP_CPU_SYNC);
	sg_free_table(sgt);
	kfree(sgt);
	atomic64_dec(&mapped);
}

/* Protects the page by way of which data are copied and looked at. */
static DEFINE_MUTEX(between_mutex);
static u8 between[PAGE_SIZE];

/* Whether what was left behind is as it was left; it is freed. */
static void check_left(struct moving_buf *buf)
{
	unsigned int i;

	mutex_lock(&between_mutex);
	for (i = 0; buf->left.pages && i < buf->nr; i++) {
		load(between, buf->left.pages[i], 0, PAGE_SIZE);
		if (memchr_inv(between, LEFT_BEHIND, PAGE_SIZE))
			atomic64_inc(&stale);
	}
	mutex_unlock(&between_mutex);
	free_memory(buf, &buf->left);
}

static void moving_release(struct dma_buf *dmabuf)
{
	struct moving_buf *buf = dmabuf->priv;

	check_left(buf);
	free_memory(buf, &buf->now);
	kfree(buf);
}

static const struct dma_buf_ops moving_ops = {
	.attach = moving_attach,
	.detach = moving_detach,
	.pin = moving_pin,
	.unpin = moving_unpin,
	.map_dma_buf = moving_map,
	.unmap_dma_buf = moving_unmap,
	.release = moving_release,
};

static void move_data(struct moving_buf *buf, struct page **to,
		      struct page **from)
{
	unsigned int i;

	mutex_lock(&between_mutex);
	for (i = 0; i < buf->nr; i++) {
		load(between, from[i], 0, PAGE_SIZE);
		store(to[i], 0, between, PAGE_SIZE);
		fill(from[i], LEFT_BEHIND);
	}
	mutex_unlock(&between_mutex);
}

/* A move whose data follow later, as a GPU copies them: the fence tells when. */
struct late_copy {
	struct dma_fence fence;
	spinlock_t lock; /* of the fence */
	struct delayed_work work;
	struct dma_buf *dmabuf; /* a reference */
	struct page **to;
	struct page **from;
};

static const char *late_name(struct dma_fence *fence)
{
	return "moving_exporter";
}

static const struct dma_fence_ops late_fence_ops = {
	.get_driver_name = late_name,
	.get_timeline_name = late_name,
};

static void late_copy_work(struct work_struct *work)
{
	struct late_copy *copy =
		container_of(to_delayed_work(work), struct late_copy, work);
	struct dma_buf *dmabuf = copy->dmabuf;

	move_data(dmabuf->priv, copy->to, copy->from);
	dma_fence_signal(&copy->fence);
	dma_fence_put(&copy->fence);
	dma_buf_put(dmabuf);
}

/* The reservation lock is held. Return: false if it has to be copied at once. */
static bool copy_later(struct dma_buf *dmabuf, struct page **to)
{
	struct moving_buf *buf = dmabuf->priv;
	struct late_copy *copy;
	unsigned int i;

	if (!(buf->behaviour & (EXPORTER_LATE | EXPORTER_SLOW)) ||
	    dma_resv_reserve_fences(dmabuf->resv, 1))
		return false;
	copy = kzalloc(sizeof(*copy), GFP_KERNEL);
	if (!copy)
		return false;
	for (i = 0; i < buf->nr; i++)
		fill(to[i], NOT_COPIED_YET);
	spin_lock_init(&copy->lock);
	dma_fence_init(&copy->fence, &late_fence_ops, &copy->lock,
		       dma_fence_context_alloc(1), 1);
	INIT_DELAYED_WORK(&copy->work, late_copy_work);
	get_dma_buf(dmabuf);
	copy->dmabuf = dmabuf;
	copy->to = to;
	copy->from = buf->now.pages;
	dma_resv_add_fence(dmabuf->resv, &copy->fence, DMA_RESV_USAGE_KERNEL);
	queue_delayed_work(copies, &copy->work,
			   msecs_to_jiffies(buf->behaviour & EXPORTER_SLOW ? COPY_SLOW_MS : COPY_LATER_MS));
	return true;
}

/* The reservation lock is held. Of all data that were to be copied later */
static void wait_for_data(struct dma_buf *dmabuf)
{
	dma_resv_wait_timeout(dmabuf->resv, DMA_RESV_USAGE_KERNEL, false,
			      MAX_SCHEDULE_TIMEOUT);
}

/* The reservation lock is held. */
static int move(struct dma_buf *dmabuf)
{
	struct moving_buf *buf = dmabuf->priv;
	struct memory to;
	int ret;

	ret = alloc_memory(buf, buf->turn + 1, &to);
	if (ret)
		return ret;
	wait_for_data(dmabuf);
	dma_buf_move_notify(dmabuf);
	if (!copy_later(dmabuf, to.pages))
		move_data(buf, to.pages, buf->now.pages);
	check_left(buf);
	buf->left = buf->now;
	buf->now = to;
	buf->turn++;
	atomic64_inc(&moves);
	return 0;
}

/* A dma-buf of this module's, with a reference */
static struct dma_buf *get_buf(int fd)
{
	struct dma_buf *dmabuf = dma_buf_get(fd);

	if (!IS_ERR(dmabuf) && dmabuf->ops != &moving_ops) {
		dma_buf_put(dmabuf);
		return ERR_PTR(-EINVAL);
	}
	return dmabuf;
}

static long exporter_move(int fd)
{
	struct dma_buf *dmabuf = get_buf(fd);
	int ret;

	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	dma_resv_lock(dmabuf->resv, NULL);
	ret = move(dmabuf);
	dma_resv_unlock(dmabuf->resv);
	dma_buf_put(dmabuf);
	return ret;
}

static struct page *page_at(const struct moving_buf *buf, u64 at)
{
	unsigned int i = at >> PAGE_SHIFT;

	if (buf->behaviour & EXPORTER_REPEATS)
		i = (at >> 30) * PAGES_ALIKE + i % PAGES_ALIKE;
	return buf->now.pages[i];
}

/* Copy between the dma-buf, where it is now, and @data. */
static void copy_data(struct dma_buf *dmabuf, u64 at, size_t length, void *data,
		      bool write)
{
	struct moving_buf *buf = dmabuf->priv;
	size_t part;

	dma_resv_lock(dmabuf->resv, NULL);
	wait_for_data(dmabuf);
	for (; length; at += part, data += part, length -= part) {
		struct page *page = page_at(buf, at);

		part = min_t(size_t, length, PAGE_SIZE - offset_in_page(at));
		if (write)
			store(page, offset_in_page(at), data, part);
		else
			load(data, page, offset_in_page(at), part);
	}
	dma_resv_unlock(dmabuf->resv);
}

/* By way of memory that no fault is taken for with the reservation lock held */
static long exporter_data(const struct exporter_data *d)
{
	struct dma_buf *dmabuf = get_buf(d->fd);
	void __user *user = u64_to_user_ptr(d->data);
	void *data;
	long ret = 0;

	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	if (d->offset > dmabuf->size || d->length > dmabuf->size - d->offset) {
		dma_buf_put(dmabuf);
		return -EINVAL;
	}
	data = kvmalloc(d->length, GFP_KERNEL);
	if (!data)
		ret = -ENOMEM;
	else if (d->write && copy_from_user(data, user, d->length))
		ret = -EFAULT;
	if (!ret) {
		copy_data(dmabuf, d->offset, d->length, data, d->write);
		if (!d->write && copy_to_user(user, data, d->length))
			ret = -EFAULT;
	}
	kvfree(data);
	dma_buf_put(dmabuf);
	return ret;
}

/* What is off by some bytes ends in a page more. */
static unsigned int pages_of(const struct exporter_create *c)
{
	if (c->behaviour & EXPORTER_REPEATS)
		return DIV_ROUND_UP(c->size, SZ_1G) * PAGES_ALIKE;
	return (c->size >> PAGE_SHIFT) +
	       !!(c->behaviour & (EXPORTER_UNALIGNED | EXPORTER_UNEVEN));
}

static long exporter_create(const struct exporter_create *c)
{
	size_t unit = c->behaviour & EXPORTER_REPEATS ? SZ_2M : PAGE_SIZE;
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct moving_buf *buf;
	struct dma_buf *dmabuf;
	int fd, ret;

	if (!c->size || c->size % unit || c->size > SZ_2G ||
	    c->behaviour & ~EXPORTER_BEHAVIOURS)
		return -EINVAL;
	buf = kzalloc(sizeof(*buf), GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	buf->behaviour = c->behaviour;
	buf->nr = pages_of(c);
	ret = alloc_memory(buf, 0, &buf->now);
	if (ret) {
		kfree(buf);
		return ret;
	}
	info.ops = &moving_ops;
	info.size = c->size;
	info.flags = c->flags;
	info.priv = buf;
	dmabuf = dma_buf_export(&info);
	if (IS_ERR(dmabuf)) {
		free_memory(buf, &buf->now);
		kfree(buf);
		return PTR_ERR(dmabuf);
	}
	fd = dma_buf_fd(dmabuf, O_CLOEXEC);
	if (fd < 0)
		dma_buf_put(dmabuf);
	return fd;
}

static long exporter_counts(void __user *to)
{
	struct exporter_counts counts = {
		.moves = atomic64_read(&moves),
		.maps = atomic64_read(&maps),
		.mapped = atomic64_read(&mapped),
		.attached = atomic64_read(&attached),
		.stale = atomic64_read(&stale),
	};

	return copy_to_user(to, &counts, sizeof(counts)) ? -EFAULT : 0;
}

static long exporter_ioctl(struct file *file, unsigned int cmd,
			   unsigned long argument)
{
	void __user *from = (void __user *)argument;
	struct exporter_create create;
	struct exporter_data data;

	switch (cmd) {
	case EXPORTER_CREATE:
		if (copy_from_user(&create, from, sizeof(create)))
			return -EFAULT;
		return exporter_create(&create);
	case EXPORTER_MOVE:
		return exporter_move(argument);
	case EXPORTER_DATA:
		if (copy_from_user(&data, from, sizeof(data)))
			return -EFAULT;
		return exporter_data(&data);
	case EXPORTER_COUNTS:
		return exporter_counts(from);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations exporter_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = exporter_ioctl,
};

static struct miscdevice exporter = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "moving_exporter",
	.fops = &exporter_fops,
};

static int __init exporter_init(void)
{
	int ret;

	copies = alloc_workqueue("moving_exporter", WQ_UNBOUND, 0);
	if (!copies)
		return -ENOMEM;
	ret = misc_register(&exporter);
	if (ret)
		destroy_workqueue(copies);
	return ret;
}
module_init(exporter_init);

/* The last dma-buf may have gone at the end of its copy, which has not returned yet. */
static void __exit exporter_exit(void)
{
	misc_deregister(&exporter);
	destroy_workqueue(copies);
}
module_exit(exporter_exit);

MODULE_DESCRIPTION("Export dma-bufs that move");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS(DMA_BUF);
