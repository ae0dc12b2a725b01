// SPDX-License-Identifier: GPL-2.0
/*
 * Registrations of dma-bufs.
 *
 * A dma-buf is attached for as long as it is registered, and never pinned: its
 * exporter may move it at any time. It is mapped when somebody asks for that, as a
 * registration whose ranges are the exporter's DMA addresses, which are read once.
 * When the exporter moves the memory, or the client goes, users are turned away and
 * waited for, and it is unmapped before the exporter hears that it may go on. The
 * next who asks has it mapped where it is then.
 *
 * The reservation lock of the dma-buf protects what is mapped. Waiting for users
 * with it held is bounded, as users are DMA that the device has been asked for, which
 * ends by itself. They are counted by one atomic, so that to turn them away takes no
 * RCU grace period, of which there would be one for each attachment.
 */
#include <linux/device.h>
#include <linux/dma-buf.h>
#include <linux/dma-buf-registration.h>
#include <linux/dma-iova.h>
#include <linux/dma-resv.h>
#include <linux/ioport.h>
#include <linux/iommu.h>
#include <linux/jiffies.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pfn.h>
#include <linux/slab.h>

#include "registration.h"

/* How long to wait for the exporter, which moves the memory, before trying again. */
#define DMA_BUF_REG_TIMEOUT (10 * HZ)

/**
 * struct dma_buf_registration - a dma-buf that a device may read and write
 * @dmabuf: a reference to it is owned
 * @client: the device's; not there after dma_buf_client_exit(), which detaches
 * @ops: the owner's
 * @owner: as given to dma_buf_register()
 * @lock: protects @attach. Taken before the reservation lock
 * @attach: NULL if it is not attached any more; owned
 * @sgt: the exporter's, while @reg is there
 * @reg: how it is mapped; NULL if it is not. Owned, protected by the reservation lock
 * @node: of @client->bufs
 * @refs: the owner's, and those of who detaches
 */
struct dma_buf_registration {
	struct dma_buf *dmabuf;
	struct dma_buf_client *client;
	const struct dma_buf_registration_ops *ops;
	void *owner;
	struct mutex lock; /* of @attach */
	struct dma_buf_attachment *attach;
	struct sg_table *sgt;
	struct dma_registration *reg;
	struct list_head node;
	refcount_t refs;
};

/* Protects struct dma_buf_client. Not held while waiting. */
static DEFINE_MUTEX(dma_buf_clients_mutex);

static void dma_buf_reg_unmapped(struct dma_registration *reg)
{
	struct dma_buf_registration *buf = reg->owner;

	buf->ops->unmapping(buf->owner, reg);
}

static const struct dma_registration_ops dma_buf_reg_ops = {
	.unmapped = dma_buf_reg_unmapped,
};

/* Wait for all users, unless it is @unused, and unmap. The reservation lock is held. */
static void dma_buf_reg_unmap(struct dma_buf_registration *buf, bool unused)
{
	dma_resv_assert_held(buf->dmabuf->resv);
	if (!buf->reg)
		return;
	if (unused)
		dma_unregister_unused(buf->reg);
	else
		dma_unregister(buf->reg);
	buf->reg = NULL;
	dma_buf_unmap_attachment(buf->attach, buf->sgt, DMA_BIDIRECTIONAL);
	buf->sgt = NULL;
	/* the exporter has unmapped it by way of a flush queue perhaps */
	dma_iova_flush(buf->attach->dev);
}

/*
 * The exporter tells all who are attached, one after the other. Turn users of all
 * registrations away before the first is waited for: the exporter holds its lock for
 * the longest wait, not for the sum of them.
 */
static void dma_buf_reg_move(struct dma_buf_attachment *attach)
{
	struct dma_buf_registration *buf = attach->importer_priv, *each;
	struct dma_buf_attachment *other;

	dma_resv_assert_held(attach->dmabuf->resv);
	if (buf->reg && !percpu_ref_is_dying(&buf->reg->users)) {
		list_for_each_entry(other, &attach->dmabuf->attachments, node) {
			if (other->importer_ops != attach->importer_ops)
				continue;
			each = other->importer_priv;
			if (each->reg)
				dma_unregister_start(each->reg);
		}
	}
	dma_buf_reg_unmap(buf, false);
}

static const struct dma_buf_attach_ops dma_buf_reg_attach_ops = {
	.allow_peer2peer = true,
	.move_notify = dma_buf_reg_move,
};

static bool dma_buf_reg_is_ram(phys_addr_t phys, u64 len)
{
	return region_intersects(phys, len, IORESOURCE_SYSTEM_RAM,
				 IORES_DESC_NONE) == REGION_INTERSECTS;
}

/* Class of what an IOMMU leads the device to. What is neither RAM nor in a BAR cannot be told. */
static enum pci_p2pdma_map_type
dma_buf_reg_phys_map_type(const struct dma_reg_way *way, phys_addr_t phys)
{
	if (dma_buf_reg_is_ram(phys, 1))
		return PCI_P2PDMA_MAP_NONE;
	return pci_p2pdma_resource_map_type(way->dev, phys);
}

/*
 * Class of a range that an exporter gave out, or PCI_P2PDMA_MAP_NOT_SUPPORTED if it
 * cannot have meant @addr for the device. Behind an IOMMU that translates, what is not
 * mapped there can only be a bus address that a switch routes; exporters that give out
 * addresses of the CPU meet this. What is mapped there is classed by both of its ends.
 * Without an IOMMU, a BAR that the device must not be led to is told, nothing else.
 */
static enum pci_p2pdma_map_type
dma_buf_reg_map_type(const struct dma_reg_way *way, dma_addr_t addr, u64 len)
{
	struct iommu_domain *domain;
	enum pci_p2pdma_map_type map, map_last;
	phys_addr_t first, last;

	if (way->bus_last && addr + len - 1 > way->bus_last)
		return PCI_P2PDMA_MAP_NOT_SUPPORTED;
	if (!way->granule) {
		if (dma_buf_reg_is_ram(addr - way->host.offset, len))
			return PCI_P2PDMA_MAP_NONE;
		return pci_p2pdma_bar_map_type(way->dev, addr, len);
	}

	domain = iommu_get_domain_for_dev(way->dev);
	first = iommu_iova_to_phys(domain, addr);
	last = iommu_iova_to_phys(domain, addr + len - 1);
	if (first && last) {
		map = dma_buf_reg_phys_map_type(way, first);
		map_last = dma_buf_reg_phys_map_type(way, last);
		if (map == map_last || map == PCI_P2PDMA_MAP_NOT_SUPPORTED)
			return map;
		if (map_last == PCI_P2PDMA_MAP_NOT_SUPPORTED)
			return map_last;
		return PCI_P2PDMA_MAP_UNKNOWN;
	}
	map = pci_p2pdma_bar_map_type(way->dev, addr, len);
	return map == PCI_P2PDMA_MAP_BUS_ADDR ? map :
						PCI_P2PDMA_MAP_NOT_SUPPORTED;
}

/*
 * Count the ranges of the first @size bytes; with @reg, which has room for them, fill
 * them in. Return: how many, or 0 if there are not as many bytes.
 */
static unsigned int dma_buf_reg_lay_out(struct sg_table *sgt, u64 size,
					struct dma_registration *reg)
{
	dma_addr_t end = 0;
	unsigned int nr = 0, i;
	struct scatterlist *sg;
	u64 offset = 0;

	for_each_sgtable_dma_sg(sgt, sg, i) {
		if (offset >= size)
			break;
		if (!sg_dma_len(sg))
			continue;
		if (!nr || sg_dma_address(sg) != end) {
			if (reg) {
				reg->ranges[nr].addr = sg_dma_address(sg);
				reg->ranges[nr].offset = offset;
			}
			nr++;
		}
		end = sg_dma_address(sg) + sg_dma_len(sg);
		offset += sg_dma_len(sg);
	}
	if (reg)
		reg->ranges[nr].offset = size;
	return offset < size ? 0 : nr;
}

/* Host memory might be bounced, or need cache maintenance, for each transfer. */
static int dma_buf_reg_find_way(struct device *dev, struct dma_reg_way *way)
{
	int ret = dma_reg_find_way(dev, way);

	if (!ret && PFN_PHYS(max_pfn) - 1 > way->host.last)
		ret = -EOPNOTSUPP;
	return ret;
}

/* Whether the device reaches all of it; sets the class of all. */
static int dma_buf_reg_check(struct dma_buf_registration *buf,
			     struct dma_registration *reg)
{
	struct dma_registration_range *range = reg->ranges;
	enum pci_p2pdma_map_type map;
	struct dma_reg_way way;
	unsigned int i;
	int ret;

	ret = dma_buf_reg_find_way(buf->attach->dev, &way);
	if (ret)
		return ret;
	for (i = 0; i < reg->nr_ranges; i++, range++) {
		map = dma_buf_reg_map_type(&way, range->addr,
					   range[1].offset - range->offset);
		if (map == PCI_P2PDMA_MAP_NOT_SUPPORTED)
			return -EREMOTEIO;
		if (!i)
			reg->map = map;
		else if (reg->map != map)
			reg->map = PCI_P2PDMA_MAP_UNKNOWN;
		cond_resched();
	}
	return 0;
}

/* The exporter's addresses as a registration, of which the caller is a user. */
static struct dma_registration *
dma_buf_reg_make(struct dma_buf_registration *buf, struct sg_table *sgt)
{
	unsigned int nr = dma_buf_reg_lay_out(sgt, buf->dmabuf->size, NULL);
	struct dma_registration *reg;
	int ret;

	if (!nr)
		return ERR_PTR(-EINVAL);
	reg = kvzalloc(struct_size(reg, ranges, (size_t)nr + 1),
		       DMA_REGISTRATION_GFP);
	if (!reg)
		return ERR_PTR(-ENOMEM);
	reg->dir = DMA_BIDIRECTIONAL;
	reg->size = buf->dmabuf->size;
	reg->nr_ranges = nr;
	dma_buf_reg_lay_out(sgt, reg->size, reg);
	if (nr > 1)
		dma_reg_make_index(reg);
	ret = dma_buf_reg_check(buf, reg) ?:
	      dma_reg_init(reg, NULL, &dma_buf_reg_ops, buf,
			   PERCPU_REF_INIT_ATOMIC);
	if (ret) {
		dma_reg_free(reg);
		return ERR_PTR(ret);
	}
	dma_reg_announce(reg);
	return reg;
}

/*
 * The memory may still be on its way to where the exporter says that it is. @end, in
 * jiffies, is the same for all who began to wait at the same time, one after the other
 * as they do.
 */
static int dma_buf_reg_wait(struct dma_buf_registration *buf, unsigned long end)
{
	unsigned long timeout = time_before(jiffies, end) ? end - jiffies : 0;
	long left = dma_resv_wait_timeout(buf->dmabuf->resv,
					  DMA_RESV_USAGE_KERNEL, false, timeout);

	if (left < 0)
		return left;
	return left ? 0 : -ETIMEDOUT;
}

/* The reservation lock is held. */
static int dma_buf_reg_map(struct dma_buf_registration *buf, unsigned long end)
{
	struct dma_registration *reg;
	struct sg_table *sgt;
	int ret;

	sgt = dma_buf_map_attachment(buf->attach, DMA_BIDIRECTIONAL);
	if (IS_ERR(sgt))
		return PTR_ERR(sgt);
	ret = dma_buf_reg_wait(buf, end);
	if (ret)
		goto unmap;
	reg = dma_buf_reg_make(buf, sgt);
	if (IS_ERR(reg)) {
		ret = PTR_ERR(reg);
		goto unmap;
	}

	buf->sgt = sgt;
	buf->reg = reg;
	ret = buf->ops->mapped(buf->owner, reg);
	percpu_ref_put(&reg->users);
	if (ret)
		dma_buf_reg_unmap(buf, true);
	return ret;
unmap:
	dma_buf_unmap_attachment(buf->attach, sgt, DMA_BIDIRECTIONAL);
	return ret;
}

/**
 * dma_buf_registration_map - map a registered dma-buf, unless it is mapped already
 * @buf: the dma-buf
 *
 * Waits for the exporter if it is moving the memory.
 *
 * Context: may sleep. The caller is no user, and holds no reservation lock.
 * Return: 0, after which it may be moved again; or a negative errno:
 *
 * * -ENODEV: the client's driver goes away
 * * -EREMOTEIO: some address cannot be meant for the device
 * * -EINVAL: the exporter gave out less memory than the dma-buf has, or what the
 *   owner cannot use
 * * -EOPNOTSUPP, -EPERM: as for dma_register_phys()
 * * -ENOMEM: no memory for the ranges
 * * -ETIMEDOUT: the exporter was not done with moving it within 10 seconds
 * * -EINTR: the exporter gave up for a signal
 * * others: the exporter's
 */
int dma_buf_registration_map(struct dma_buf_registration *buf)
{
	unsigned long end = jiffies + DMA_BUF_REG_TIMEOUT;
	int ret = -ENODEV;

	mutex_lock(&buf->lock);
	/* A client that goes does not wait for mappings made meanwhile. */
	if (buf->attach && !READ_ONCE(buf->client->closed)) {
		dma_resv_lock(buf->dmabuf->resv, NULL);
		ret = buf->reg ? 0 : dma_buf_reg_map(buf, end);
		dma_resv_unlock(buf->dmabuf->resv);
	}
	mutex_unlock(&buf->lock);
	return ret == -ERESTARTSYS ? -EINTR : ret;
}

static void dma_buf_reg_put(struct dma_buf_registration *buf)
{
	if (!refcount_dec_and_test(&buf->refs))
		return;
	dma_buf_put(buf->dmabuf);
	kfree(buf);
}

/* Once, whoever comes first. The others wait for that. */
static void dma_buf_reg_detach(struct dma_buf_registration *buf, bool unused)
{
	struct device *dev;

	mutex_lock(&buf->lock);
	if (buf->attach) {
		dma_resv_lock(buf->dmabuf->resv, NULL);
		dma_buf_reg_unmap(buf, unused);
		dma_resv_unlock(buf->dmabuf->resv);
		dev = buf->attach->dev;
		dma_buf_detach(buf->dmabuf, buf->attach);
		buf->attach = NULL;
		/* which unmaps what the exporter cannot move */
		dma_iova_flush(dev);
	}
	mutex_unlock(&buf->lock);
}

static int dma_buf_reg_enlist(struct dma_buf_registration *buf)
{
	int ret = 0;

	mutex_lock(&dma_buf_clients_mutex);
	if (buf->client->closed)
		ret = -ENODEV;
	else
		list_add_tail(&buf->node, &buf->client->bufs);
	mutex_unlock(&dma_buf_clients_mutex);
	return ret;
}

/* The client, which is gone perhaps, has taken it off its list then. */
static void dma_buf_reg_delist(struct dma_buf_registration *buf)
{
	mutex_lock(&dma_buf_clients_mutex);
	list_del_init(&buf->node);
	mutex_unlock(&dma_buf_clients_mutex);
}

/*
 * A client that goes waits for @buf->lock from the time that it is in its list, and
 * its device has an IOMMU's domain until then. Attaching maps what an exporter cannot
 * move, so the device is looked at before.
 */
static int dma_buf_reg_attach(struct dma_buf_registration *buf)
{
	struct dma_buf_attachment *attach;
	struct dma_reg_way way;
	int ret;

	mutex_lock(&buf->lock);
	ret = dma_buf_reg_enlist(buf) ?:
	      dma_buf_reg_find_way(buf->client->dev, &way);
	if (!ret) {
		attach = dma_buf_dynamic_attach(buf->dmabuf, buf->client->dev,
						&dma_buf_reg_attach_ops, buf);
		if (IS_ERR(attach))
			ret = PTR_ERR(attach);
		else
			buf->attach = attach;
	}
	mutex_unlock(&buf->lock);
	return ret;
}

/**
 * dma_buf_register - let a device read and write a dma-buf
 * @client: the device, whose driver is bound and stays so during the call
 * @dmabuf: the dma-buf; a reference of its own is taken
 * @ops: what to tell the owner; not NULL
 * @owner: for the owner's use
 *
 * Attaches to it. It is mapped by dma_buf_registration_map(), and users find it as
 * @ops say, for dma_registration_tryget(). From there to dma_registration_put() there
 * must be nothing but DMA that the device has been asked for: the exporter waits.
 *
 * Context: may sleep. The reservation lock is not held.
 * Return: the dma-buf, registered, to be ended with dma_buf_unregister(), or an
 * ERR_PTR(): -ENODEV if the client's driver goes away, -EOPNOTSUPP or -EPERM as for
 * dma_register_phys(), -ENOMEM, or the exporter's.
 */
struct dma_buf_registration *
dma_buf_register(struct dma_buf_client *client, struct dma_buf *dmabuf,
		 const struct dma_buf_registration_ops *ops, void *owner)
{
	struct dma_buf_registration *buf;
	int ret;

	buf = kzalloc(sizeof(*buf), GFP_KERNEL_ACCOUNT);
	if (!buf)
		return ERR_PTR(-ENOMEM);
	get_dma_buf(dmabuf);
	buf->dmabuf = dmabuf;
	buf->client = client;
	buf->ops = ops;
	buf->owner = owner;
	mutex_init(&buf->lock);
	INIT_LIST_HEAD(&buf->node);
	refcount_set(&buf->refs, 1);

	ret = dma_buf_reg_attach(buf);
	if (!ret)
		return buf;
	dma_buf_unregister(buf);
	return ERR_PTR(ret);
}

/**
 * dma_buf_unregister - end what dma_buf_register() began
 * @buf: the dma-buf; freed. It has no users, and will have none
 *
 * Waits for an exporter or a client that takes it back. When it returns the device cannot
 * reach the memory, and the owner will not be told anything.
 *
 * Context: may sleep. The reservation lock is not held.
 */
void dma_buf_unregister(struct dma_buf_registration *buf)
{
	dma_buf_reg_detach(buf, true);
	dma_buf_reg_delist(buf);
	dma_buf_reg_put(buf);
}

/**
 * dma_buf_client_init - let dma-bufs be registered for a device
 * @client: filled in; owned by the caller
 * @dev: the device, with its DMA mask set and its driver bound; borrowed until
 *	dma_buf_client_exit()
 *
 * Context: any.
 */
void dma_buf_client_init(struct dma_buf_client *client, struct device *dev)
{
	client->dev = dev;
	INIT_LIST_HEAD(&client->bufs);
	client->closed = false;
}

/**
 * dma_buf_client_exit - detach from all dma-bufs, and register no more
 * @client: of the device; as for dma_registration_client_exit()
 *
 * When it returns nothing is mapped or attached. dma-bufs are still to be
 * unregistered by their owners.
 *
 * Context: may sleep. No reservation lock is held.
 */
void dma_buf_client_exit(struct dma_buf_client *client)
{
	struct dma_buf_registration *buf;

	mutex_lock(&dma_buf_clients_mutex);
	WRITE_ONCE(client->closed, true);
	while (!list_empty(&client->bufs)) {
		buf = list_first_entry(&client->bufs,
				       struct dma_buf_registration, node);
		list_del_init(&buf->node);
		refcount_inc(&buf->refs);
		mutex_unlock(&dma_buf_clients_mutex);
		dma_buf_reg_detach(buf, false);
		dma_buf_reg_put(buf);
		mutex_lock(&dma_buf_clients_mutex);
	}
	mutex_unlock(&dma_buf_clients_mutex);
}
