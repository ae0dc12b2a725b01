// SPDX-License-Identifier: GPL-2.0
/*
 * dma-bufs of host memory that move when they are asked to, as a GPU's memory does. What they leave behind is filled
 * with a pattern and kept until the next move: a device that still writes there is found out.
 */
#include <linux/atomic.h>
#include <linux/dma-buf.h>
#include <linux/dma-fence.h>
#include <linux/dma-mapping.h>
#include <linux/dma-resv.h>
#include <linux/highmem.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "moving_exporter.h"

#define LEFT_BEHIND 0xdb
#define NOT_COPIED_YET 0x66
#define COPY_LATER_MS 4

/**
 * struct moving_buf - a dma-buf
 * @behaviour: EXPORTER_*
 * @nr: how many pages
 * @pages: where it is; owned, protected by the reservation lock
 * @left: where it was before, if it moved; as @pages
 */
struct moving_buf {
	unsigned int behaviour;
	unsigned int nr;
	struct page **pages;
	struct page **left;
};

static atomic64_t moves, maps, mapped, attached, stale;
static struct workqueue_struct *copies;

static void free_pages_of(struct page **pages, unsigned int nr)
{
	unsigned int i;

	if (!pages)
		return;
	for (i = 0; i < nr; i++)
		if (pages[i])
			__free_page(pages[i]);
	kvfree(pages);
}

/* Scattered: of twice as many pages every second one, if they come in order. */
static struct page **alloc_pages_of(const struct moving_buf *buf)
{
	bool scattered = buf->behaviour & EXPORTER_SCATTERED;
	struct page **pages = kvcalloc(buf->nr, sizeof(*pages), GFP_KERNEL);
	struct page *between = NULL;
	unsigned int i;

	if (!pages)
		return NULL;
	for (i = 0; i < buf->nr; i++) {
		pages[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (scattered) {
			if (between)
				__free_page(between);
			between = alloc_page(GFP_KERNEL);
		}
		if (!pages[i] || (scattered && !between)) {
			free_pages_of(pages, buf->nr);
			pages = NULL;
			break;
		}
	}
	if (between)
		__free_page(between);
	return pages;
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

static int moving_map_sgt(struct moving_buf *buf, struct device *dev,
			  struct sg_table *sgt, enum dma_data_direction dir)
{
	struct scatterlist *sg;
	int i;

	if (!(buf->behaviour & EXPORTER_PHYSICAL))
		return dma_map_sgtable(dev, sgt, dir, DMA_ATTR_SKIP_CPU_SYNC);
	for_each_sgtable_sg(sgt, sg, i) {
		sg_dma_address(sg) = sg_phys(sg);
		sg_dma_len(sg) = sg->length;
	}
	sgt->nents = sgt->orig_nents;
	return 0;
}

static struct sg_table *moving_map(struct dma_buf_attachment *attach,
				   enum dma_data_direction dir)
{
	struct moving_buf *buf = attach->dmabuf->priv;
	unsigned int nr = buf->nr - !!(buf->behaviour & EXPORTER_SHORT);
	struct sg_table *sgt;
	int ret;

	if (buf->behaviour & EXPORTER_REFUSES_MAP)
		return ERR_PTR(-ENOSPC);
	sgt = kzalloc(sizeof(*sgt), GFP_KERNEL);
	if (!sgt)
		return ERR_PTR(-ENOMEM);
	ret = sg_alloc_table_from_pages(sgt, buf->pages, nr, 0,
					(unsigned long)nr * PAGE_SIZE,
					GFP_KERNEL);
	if (ret)
		goto free;
	ret = moving_map_sgt(buf, attach->dev, sgt, dir);
	if (ret)
		goto free_table;
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

	if (!(buf->behaviour & EXPORTER_PHYSICAL))
		dma_unmap_sgtable(attach->dev, sgt, dir, DMA_ATTR_SKIP_CPU_SYNC);
	sg_free_table(sgt);
	kfree(sgt);
	atomic64_dec(&mapped);
}

/* Whether what was left behind is as it was left. */
static void check_left(struct moving_buf *buf)
{
	unsigned int i;

	for (i = 0; buf->left && i < buf->nr; i++) {
		void *data = kmap_local_page(buf->left[i]);

		if (memchr_inv(data, LEFT_BEHIND, PAGE_SIZE))
			atomic64_inc(&stale);
		kunmap_local(data);
	}
}

static void moving_release(struct dma_buf *dmabuf)
{
	struct moving_buf *buf = dmabuf->priv;

	check_left(buf);
	free_pages_of(buf->left, buf->nr);
	free_pages_of(buf->pages, buf->nr);
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

	for (i = 0; i < buf->nr; i++) {
		copy_highpage(to[i], from[i]);
		memset_page(from[i], 0, LEFT_BEHIND, PAGE_SIZE);
	}
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

	if (!(buf->behaviour & EXPORTER_LATE) ||
	    dma_resv_reserve_fences(dmabuf->resv, 1))
		return false;
	copy = kzalloc(sizeof(*copy), GFP_KERNEL);
	if (!copy)
		return false;
	for (i = 0; i < buf->nr; i++)
		memset_page(to[i], 0, NOT_COPIED_YET, PAGE_SIZE);
	spin_lock_init(&copy->lock);
	dma_fence_init(&copy->fence, &late_fence_ops, &copy->lock,
		       dma_fence_context_alloc(1), 1);
	INIT_DELAYED_WORK(&copy->work, late_copy_work);
	get_dma_buf(dmabuf);
	copy->dmabuf = dmabuf;
	copy->to = to;
	copy->from = buf->pages;
	dma_resv_add_fence(dmabuf->resv, &copy->fence, DMA_RESV_USAGE_KERNEL);
	queue_delayed_work(copies, &copy->work, msecs_to_jiffies(COPY_LATER_MS));
	return true;
}

/* The reservation lock is held. Of all data that were to be copied later */
static void wait_for_data(struct dma_buf *dmabuf)
{
	dma_resv_wait_timeout(dmabuf->resv, DMA_RESV_USAGE_KERNEL, false,
			      MAX_SCHEDULE_TIMEOUT);
}

/* The reservation lock is held. */
static void move_to(struct dma_buf *dmabuf, struct page **pages)
{
	struct moving_buf *buf = dmabuf->priv;

	wait_for_data(dmabuf);
	dma_buf_move_notify(dmabuf);
	if (!copy_later(dmabuf, pages))
		move_data(buf, pages, buf->pages);
	check_left(buf);
	free_pages_of(buf->left, buf->nr);
	buf->left = buf->pages;
	buf->pages = pages;
	atomic64_inc(&moves);
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
	struct page **pages;

	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	pages = alloc_pages_of(dmabuf->priv);
	if (pages) {
		dma_resv_lock(dmabuf->resv, NULL);
		move_to(dmabuf, pages);
		dma_resv_unlock(dmabuf->resv);
	}
	dma_buf_put(dmabuf);
	return pages ? 0 : -ENOMEM;
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
		struct page *page = buf->pages[at >> PAGE_SHIFT];

		part = min_t(size_t, length, PAGE_SIZE - offset_in_page(at));
		if (write)
			memcpy_to_page(page, offset_in_page(at), data, part);
		else
			memcpy_from_page(data, page, offset_in_page(at), part);
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

static long exporter_create(const struct exporter_create *c)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct moving_buf *buf;
	struct dma_buf *dmabuf;
	int fd;

	if (!c->size || c->size % PAGE_SIZE || c->size > SZ_1G ||
	    c->behaviour & ~EXPORTER_BEHAVIOURS)
		return -EINVAL;
	buf = kzalloc(sizeof(*buf), GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	buf->behaviour = c->behaviour;
	buf->nr = c->size >> PAGE_SHIFT;
	buf->pages = alloc_pages_of(buf);
	if (!buf->pages) {
		kfree(buf);
		return -ENOMEM;
	}
	info.ops = &moving_ops;
	info.size = c->size;
	info.flags = c->flags;
	info.priv = buf;
	dmabuf = dma_buf_export(&info);
	if (IS_ERR(dmabuf)) {
		free_pages_of(buf->pages, buf->nr);
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
