// SPDX-License-Identifier: GPL-2.0
/*
 * Imports dma-bufs for a PCI device, as its driver would, but does no DMA: looks at what it is given, and lets go when
 * it is told that a buffer moves.
 *
 * Parameters: write a file descriptor to "attach", which attaches and maps, "map" to map what is not mapped, and
 * "detach" for all; read "state".
 */
#include <linux/dma-buf.h>
#include <linux/dma-fence.h>
#include <linux/dma-resv.h>
#include <linux/iommu.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/workqueue.h>

#include "pci_by_name.h"

#define MAX_IMPORTS 16

static char *device;
module_param(device, charp, 0444);
MODULE_PARM_DESC(device, "the PCI device, as in 0000:01:00.0");

static bool dynamic = true;
module_param(dynamic, bool, 0644);
MODULE_PARM_DESC(dynamic, "attach as one that can be told of moves");

static bool peer2peer = true;
module_param(peer2peer, bool, 0644);
MODULE_PARM_DESC(peer2peer, "attach as one that takes P2P memory");

static bool pin;
module_param(pin, bool, 0644);
MODULE_PARM_DESC(pin, "pin before mapping");

static unsigned int lazy;
module_param(lazy, uint, 0644);
MODULE_PARM_DESC(lazy, "milliseconds from being told of a move to unmapping");

static unsigned int fence;
module_param(fence, uint, 0644);
MODULE_PARM_DESC(fence, "milliseconds from being told of a move to signalling a fence; 0 for no fence");

static unsigned long pattern;
module_param(pattern, ulong, 0644);
MODULE_PARM_DESC(pattern, "what the first page begins with; each further one with 1 more");

static struct pci_dev *client;
static DEFINE_MUTEX(imports_mutex);
static unsigned int nr_imports;
static atomic_t notified, late, signalled;
static DEFINE_SPINLOCK(fence_lock);

static struct import {
	struct dma_buf *dmabuf;
	struct dma_buf_attachment *attach;
	struct sg_table *sgt;
	struct delayed_work work;
	struct dma_fence *fence; /* of what would be under way */
	struct delayed_work signal;
} imports[MAX_IMPORTS];

static const char *fence_name(struct dma_fence *f)
{
	return "dmabuf_importer";
}

static const struct dma_fence_ops fence_ops = {
	.get_driver_name = fence_name,
	.get_timeline_name = fence_name,
};

static int add_fence(struct import *import)
{
	struct dma_resv *resv = import->dmabuf->resv;
	int ret = dma_resv_reserve_fences(resv, 1);

	if (ret)
		return ret;
	import->fence = kzalloc(sizeof(*import->fence), GFP_KERNEL);
	if (!import->fence)
		return -ENOMEM;
	dma_fence_init(import->fence, &fence_ops, &fence_lock,
		       dma_fence_context_alloc(1), 1);
	dma_resv_add_fence(resv, import->fence, DMA_RESV_USAGE_BOOKKEEP);
	return 0;
}

static void signal_fence(struct work_struct *work)
{
	struct import *import = container_of(work, struct import, signal.work);

	atomic_inc(&signalled);
	dma_fence_signal(import->fence);
	dma_fence_put(import->fence);
	import->fence = NULL;
}

static void unmap(struct import *import)
{
	if (import->sgt)
		dma_buf_unmap_attachment(import->attach, import->sgt,
					 DMA_BIDIRECTIONAL);
	import->sgt = NULL;
}

static void unmap_late(struct work_struct *work)
{
	struct import *import = container_of(work, struct import, work.work);

	dma_resv_lock(import->dmabuf->resv, NULL);
	if (import->sgt)
		atomic_inc(&late);
	unmap(import);
	dma_resv_unlock(import->dmabuf->resv);
}

static void move_notify(struct dma_buf_attachment *attach)
{
	struct import *import = attach->importer_priv;

	atomic_inc(&notified);
	if (import->fence)
		schedule_delayed_work(&import->signal, msecs_to_jiffies(fence));
	if (lazy)
		schedule_delayed_work(&import->work, msecs_to_jiffies(lazy));
	else
		unmap(import);
}

static const struct dma_buf_attach_ops ops_p2p = {
	.allow_peer2peer = true,
	.move_notify = move_notify,
};

static const struct dma_buf_attach_ops ops_host = {
	.move_notify = move_notify,
};

static int map(struct import *import)
{
	struct sg_table *sgt;
	int ret = 0;

	dma_resv_lock(import->dmabuf->resv, NULL);
	if (pin)
		ret = dma_buf_pin(import->attach);
	if (!ret && fence && !import->fence)
		ret = add_fence(import);
	if (!ret && !import->sgt) {
		sgt = dma_buf_map_attachment(import->attach, DMA_BIDIRECTIONAL);
		ret = PTR_ERR_OR_ZERO(sgt);
		if (!ret)
			import->sgt = sgt;
	}
	dma_resv_unlock(import->dmabuf->resv);
	return ret;
}

static void detach(struct import *import)
{
	flush_delayed_work(&import->work);
	flush_delayed_work(&import->signal);
	if (import->fence)
		signal_fence(&import->signal.work);
	dma_resv_lock(import->dmabuf->resv, NULL);
	unmap(import);
	dma_resv_unlock(import->dmabuf->resv);
	dma_buf_detach(import->dmabuf, import->attach);
	dma_buf_put(import->dmabuf);
}

static int attach(struct import *import, int fd)
{
	const struct dma_buf_attach_ops *ops = peer2peer ? &ops_p2p : &ops_host;
	int ret;

	import->dmabuf = dma_buf_get(fd);
	if (IS_ERR(import->dmabuf))
		return PTR_ERR(import->dmabuf);
	import->sgt = NULL;
	import->fence = NULL;
	INIT_DELAYED_WORK(&import->work, unmap_late);
	INIT_DELAYED_WORK(&import->signal, signal_fence);
	import->attach = dma_buf_dynamic_attach(import->dmabuf, &client->dev,
						dynamic ? ops : NULL, import);
	if (IS_ERR(import->attach)) {
		dma_buf_put(import->dmabuf);
		return PTR_ERR(import->attach);
	}
	ret = map(import);
	if (ret)
		detach(import);
	return ret;
}

static int attach_set(const char *value, const struct kernel_param *param)
{
	int fd, ret;

	ret = kstrtoint(value, 0, &fd);
	if (ret)
		return ret;
	mutex_lock(&imports_mutex);
	ret = -ENOSPC;
	if (client && nr_imports < MAX_IMPORTS)
		ret = attach(&imports[nr_imports], fd);
	if (!ret)
		nr_imports++;
	mutex_unlock(&imports_mutex);
	return ret;
}

static int map_set(const char *value, const struct kernel_param *param)
{
	int ret = 0;

	mutex_lock(&imports_mutex);
	for (unsigned int i = 0; i < nr_imports && !ret; i++)
		ret = map(&imports[i]);
	mutex_unlock(&imports_mutex);
	return ret;
}

static int detach_set(const char *value, const struct kernel_param *param)
{
	mutex_lock(&imports_mutex);
	while (nr_imports)
		detach(&imports[--nr_imports]);
	mutex_unlock(&imports_mutex);
	return 0;
}

/* Where the DMA address leads; 0 if nowhere. */
static phys_addr_t resolve(dma_addr_t addr)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(&client->dev);

	if (domain && domain->type & __IOMMU_DOMAIN_PAGING)
		return iommu_iova_to_phys(domain, addr);
	return addr;
}

struct look {
	unsigned long pages, right, translated, nowhere, entries, with_page;
};

static void look_at_page(struct look *look, dma_addr_t addr)
{
	phys_addr_t phys = resolve(addr);
	void __iomem *at = phys ? ioremap(phys, PAGE_SIZE) : NULL;

	if (!phys)
		look->nowhere++;
	else if (phys != addr)
		look->translated++;
	if (at) {
		if (readq(at) == pattern + look->pages)
			look->right++;
		iounmap(at);
	}
	look->pages++;
}

static void look_at(struct import *import, struct look *look)
{
	struct scatterlist *sg;
	unsigned int i;

	if (!import->sgt)
		return;
	for_each_sgtable_sg(import->sgt, sg, i)
		if (sg_page(sg))
			look->with_page++;
	for_each_sgtable_dma_sg(import->sgt, sg, i) {
		look->entries++;
		for (u64 at = 0; at < sg_dma_len(sg); at += PAGE_SIZE)
			look_at_page(look, sg_dma_address(sg) + at);
	}
}

static int state_get(char *buffer, const struct kernel_param *param)
{
	struct look look = {};
	unsigned int mapped = 0;

	mutex_lock(&imports_mutex);
	for (unsigned int i = 0; i < nr_imports; i++) {
		dma_resv_lock(imports[i].dmabuf->resv, NULL);
		mapped += !!imports[i].sgt;
		look_at(&imports[i], &look);
		dma_resv_unlock(imports[i].dmabuf->resv);
	}
	mutex_unlock(&imports_mutex);
	return sysfs_emit(buffer,
			  "notified=%d late=%d signalled=%d attached=%u mapped=%u entries=%lu pages=%lu right=%lu translated=%lu nowhere=%lu with_page=%lu\n",
			  atomic_read(&notified), atomic_read(&late),
			  atomic_read(&signalled), nr_imports, mapped,
			  look.entries, look.pages, look.right, look.translated,
			  look.nowhere, look.with_page);
}

static const struct kernel_param_ops attach_ops = { .set = attach_set };
static const struct kernel_param_ops map_ops = { .set = map_set };
static const struct kernel_param_ops detach_ops = { .set = detach_set };
static const struct kernel_param_ops state_ops = { .get = state_get };
module_param_cb(attach, &attach_ops, NULL, 0200);
module_param_cb(map, &map_ops, NULL, 0200);
module_param_cb(detach, &detach_ops, NULL, 0200);
module_param_cb(state, &state_ops, NULL, 0400);

static int __init importer_init(void)
{
	client = pci_get_by_name(device);
	return client ? 0 : -ENODEV;
}

static void __exit importer_exit(void)
{
	detach_set(NULL, NULL);
	pci_dev_put(client);
}

module_init(importer_init);
module_exit(importer_exit);
MODULE_DESCRIPTION("An importer of dma-bufs");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS(DMA_BUF);
