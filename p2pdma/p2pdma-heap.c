// SPDX-License-Identifier: GPL-2.0
/*
 * P2P memory as dma-bufs: every provider that has published its memory has a DMA
 * heap, until it goes. See Documentation/driver-api/pci/p2pdma.rst.
 */
#include <linux/completion.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/dma-mapping.h>
#include <linux/dma-resv.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/iommu-dma.h>
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pci-p2pdma.h>
#include <linux/pci.h>
#include <linux/pfn_t.h>
#include <linux/refcount.h>
#include <linux/scatterlist.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "p2pdma-heap.h"

/*
 * How long a provider that goes waits for what importers have under way, and then
 * for them to unmap what they do not use any more.
 */
#define P2PDMA_FENCE_TIMEOUT	(60 * HZ)
#define P2PDMA_UNMAP_TIMEOUT	(10 * HZ)

/* Lengths in a scatterlist have 32 bits. */
#define P2PDMA_MAX_ENTRY	((size_t)SZ_2G)

/* The heap of a provider. */
struct p2pdma_heap {
	struct list_head node; /* of p2pdma_heaps */
	refcount_t refs; /* of that list, and of each buffer */
	struct pci_dev *provider; /* referenced */
	struct dma_heap *heap;
	bool closing;
	struct mutex lock; /* of @buffers, and of who takes each of them back */
	struct list_head buffers;
	char name[32];
};

/* Physically contiguous memory, allocated from the provider in one go. */
struct p2pdma_piece {
	phys_addr_t phys;
	size_t len;
};

/*
 * The memory of a dma-buf. @revoked changes under the lock of its reservation
 * object. The memory is there until @revoked, and given back by who
 * revokes the buffer or, if nobody does, by who releases it.
 */
struct p2pdma_buffer {
	struct p2pdma_heap *heap; /* referenced */
	struct list_head node; /* of @heap->buffers, unless @taken */
	bool taken; /* somebody revokes it, or has done so; under @heap->lock */
	refcount_t refs; /* of the dma-buf, and of who revokes */
	struct dma_buf *dmabuf; /* which owns this */
	struct inode *inode; /* of the dma-buf's file; referenced */
	struct completion stopped; /* who revokes is done with @dmabuf */
	struct dma_fence *fence; /* what is under way as the buffer is revoked */
	wait_queue_head_t unmapped;
	struct list_head mappings;
	struct mutex lock; /* of @mappings, where @dmabuf may be gone */
	size_t size;
	bool revoked;
	unsigned int nr_pieces;
	unsigned int max_pieces;
	struct p2pdma_piece *pieces;
};

/* What an importer has mapped, as long as it keeps @sgt. */
struct p2pdma_mapping {
	struct list_head node; /* of the buffer's @mappings */
	struct sg_table sgt;
	struct device *dev; /* of the importer, which is there until it unmaps */
	enum dma_data_direction dir;
	struct dma_iova_state iova; /* of all the buffer, if allocated */
	bool cut_off; /* nothing is linked in @iova any more */
	enum pci_p2pdma_map_type map;
};

static LIST_HEAD(p2pdma_heaps);
static DEFINE_MUTEX(p2pdma_heaps_mutex);

static void p2pdma_heap_put(struct p2pdma_heap *heap)
{
	if (!refcount_dec_and_test(&heap->refs))
		return;
	pci_dev_put(heap->provider);
	kfree(heap);
}

static void p2pdma_buffer_put(struct p2pdma_buffer *buf)
{
	if (!refcount_dec_and_test(&buf->refs))
		return;
	p2pdma_heap_put(buf->heap);
	kvfree(buf->pieces);
	kfree(buf);
}

static struct page *p2pdma_piece_page(const struct p2pdma_piece *piece)
{
	return pfn_to_page(PHYS_PFN(piece->phys));
}

static void p2pdma_buffer_free_memory(struct p2pdma_buffer *buf)
{
	const struct p2pdma_piece *piece = buf->pieces;

	for (; piece < buf->pieces + buf->nr_pieces; piece++)
		pci_free_p2pmem(buf->heap->provider,
				page_to_virt(p2pdma_piece_page(piece)),
				piece->len);
}

/* Others had the memory before. */
static int p2pdma_piece_clear(const struct p2pdma_piece *piece,
			      const struct p2pdma_heap *heap)
{
	char *at = page_to_virt(p2pdma_piece_page(piece));
	size_t left = piece->len, len;

	for (; left; left -= len, at += len) {
		if (READ_ONCE(heap->closing))
			return -ENODEV;
		if (fatal_signal_pending(current))
			return -EINTR;
		len = min_t(size_t, left, SZ_64K);
		memset_io((void __iomem *)at, 0, len);
		cond_resched();
	}
	/* or other devices might reach the memory before the zeroes do */
	readb((void __iomem *)(at - 1));
	return 0;
}

static int p2pdma_buffer_clear(struct p2pdma_buffer *buf)
{
	int ret = 0;

	for (unsigned int i = 0; i < buf->nr_pieces && !ret; i++)
		ret = p2pdma_piece_clear(&buf->pieces[i], buf->heap);
	return ret;
}

static int p2pdma_buffer_add_piece(struct p2pdma_buffer *buf, size_t len)
{
	struct p2pdma_piece *pieces;
	unsigned int max;
	void *kaddr;

	if (buf->nr_pieces == buf->max_pieces) {
		max = max(2 * buf->max_pieces, 4U);
		pieces = kvrealloc(buf->pieces, array_size(max, sizeof(*pieces)),
				   GFP_KERNEL_ACCOUNT);
		if (!pieces)
			return -ENOMEM;
		buf->pieces = pieces;
		buf->max_pieces = max;
	}

	kaddr = pci_alloc_p2pmem(buf->heap->provider, len);
	if (!kaddr)
		return -ENOSPC;
	buf->pieces[buf->nr_pieces++] = (struct p2pdma_piece) {
		.phys = PFN_PHYS(page_to_pfn(virt_to_page(kaddr))),
		.len = len,
	};
	return 0;
}

/* In one piece, or the larger half in one piece, and so on. */
static int p2pdma_buffer_alloc_memory(struct p2pdma_buffer *buf, size_t len)
{
	size_t max = len;
	int ret;

	while (len) {
		if (READ_ONCE(buf->heap->closing))
			return -ENODEV;
		/* Fail before taking memory that others could have used. */
		if (p2pdma_available(buf->heap->provider) < len)
			return -ENOMEM;
		max = min(max, len);
		ret = p2pdma_buffer_add_piece(buf, max);
		if (!ret)
			len -= max;
		else if (ret == -ENOSPC && max > PAGE_SIZE)
			max = rounddown_pow_of_two(max - PAGE_SIZE);
		else
			return -ENOMEM;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

/* How a device reaches a piece, with the buffer's lock held. */
static int p2pdma_buffer_reach(struct p2pdma_buffer *buf, struct device *dev,
			       const struct p2pdma_piece *piece,
			       struct pci_p2pdma_map_state *state)
{
	if (buf->revoked)
		return -ENODEV;

	switch (pci_p2pdma_state(state, dev, p2pdma_piece_page(piece))) {
	case PCI_P2PDMA_MAP_BUS_ADDR:
	case PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:
		return 0;
	default:
		return -EREMOTEIO;
	}
}

static int p2pdma_heap_attach(struct dma_buf *dmabuf,
			      struct dma_buf_attachment *attach)
{
	struct p2pdma_buffer *buf = dmabuf->priv;
	struct pci_p2pdma_map_state state = {};
	int ret;

	/* A provider does not wait for who cannot be told that it goes. */
	if (!dma_buf_attachment_is_dynamic(attach) || !attach->peer2peer)
		return -EOPNOTSUPP;

	dma_resv_lock(dmabuf->resv, NULL);
	ret = p2pdma_buffer_reach(buf, attach->dev, buf->pieces, &state);
	dma_resv_unlock(dmabuf->resv);
	return ret;
}

static int p2pdma_heap_pin(struct dma_buf_attachment *attach)
{
	return -EOPNOTSUPP;
}

static void p2pdma_heap_unpin(struct dma_buf_attachment *attach)
{
}

/* Without a flush queue: the memory may have another owner at once. */
static void p2pdma_mapping_unlink(struct p2pdma_mapping *mapping, size_t size)
{
	if (size)
		dma_iova_unlink(mapping->dev, &mapping->iova, 0, size,
				mapping->dir, DMA_ATTR_MMIO);
	dma_iova_free(mapping->dev, &mapping->iova);
}

/*
 * One range of IOVAs for all pieces, if there is a translating IOMMU. Pieces by
 * themselves could be unmapped by way of a flush queue, after they have other owners.
 */
static int p2pdma_mapping_link(struct p2pdma_mapping *mapping,
			       struct p2pdma_buffer *buf, struct device *dev,
			       enum dma_data_direction dir)
{
	const struct p2pdma_piece *piece = buf->pieces;
	size_t offset = 0;
	int ret = 0;

	if (mapping->map != PCI_P2PDMA_MAP_THRU_HOST_BRIDGE || !use_dma_iommu(dev))
		return 0;
	if (dma_get_merge_boundary(dev) >= PAGE_SIZE)
		return -EREMOTEIO;
	if (!dma_iova_try_alloc_kept(dev, &mapping->iova, piece->phys,
				     buf->size))
		return -ENOMEM;

	for (; piece < buf->pieces + buf->nr_pieces && !ret; piece++) {
		ret = dma_iova_link_gfp(dev, &mapping->iova, piece->phys, offset,
					piece->len, dir, DMA_ATTR_MMIO,
					GFP_KERNEL_ACCOUNT);
		if (!ret)
			offset += piece->len;
	}
	if (!ret)
		ret = dma_iova_sync(dev, &mapping->iova, 0, buf->size);
	if (ret)
		p2pdma_mapping_unlink(mapping, offset);
	return ret;
}

static unsigned int p2pdma_mapping_nr_entries(struct p2pdma_mapping *mapping,
					      struct p2pdma_buffer *buf)
{
	unsigned int nr = 0;

	if (dma_use_iova(&mapping->iova))
		return DIV_ROUND_UP(buf->size, P2PDMA_MAX_ENTRY);

	for (unsigned int i = 0; i < buf->nr_pieces; i++)
		nr += DIV_ROUND_UP(buf->pieces[i].len, P2PDMA_MAX_ENTRY);
	return nr;
}

/* Importers find DMA addresses here, and nothing for the CPU. */
static void p2pdma_set_entry(struct scatterlist *sg, dma_addr_t addr, size_t len)
{
	sg_set_page(sg, NULL, len, 0);
	sg_dma_address(sg) = addr;
	sg_dma_len(sg) = len;
}

static dma_addr_t p2pdma_map_bus_addr(struct p2pdma_provider *mem,
				      struct device *dev, phys_addr_t phys,
				      size_t len)
{
	dma_addr_t addr = pci_p2pdma_bus_addr_map(mem, phys);
	u64 last = min_not_zero(dma_get_mask(dev), dev->bus_dma_limit);

	return addr + len - 1 > last ? DMA_MAPPING_ERROR : addr;
}

/* Map @piece by as many entries as it takes; those that are mapped are counted. */
static int p2pdma_mapping_fill(struct p2pdma_mapping *mapping,
			       const struct p2pdma_piece *piece,
			       struct pci_p2pdma_map_state *state,
			       struct device *dev, struct scatterlist **sg,
			       enum dma_data_direction dir)
{
	phys_addr_t phys = piece->phys;
	size_t left = piece->len, len;
	dma_addr_t addr;

	for (; left; left -= len, phys += len) {
		len = min(left, P2PDMA_MAX_ENTRY);
		if (mapping->map == PCI_P2PDMA_MAP_BUS_ADDR)
			addr = p2pdma_map_bus_addr(state->mem, dev, phys, len);
		else
			addr = dma_map_phys(dev, phys, len, dir, DMA_ATTR_MMIO);
		if (dma_mapping_error(dev, addr))
			return -EREMOTEIO;
		p2pdma_set_entry(*sg, addr, len);
		*sg = sg_next(*sg);
		mapping->sgt.nents++;
	}
	return 0;
}

static int p2pdma_mapping_fill_all(struct p2pdma_mapping *mapping,
				   struct p2pdma_buffer *buf,
				   struct device *dev,
				   enum dma_data_direction dir)
{
	struct pci_p2pdma_map_state state = {};
	struct scatterlist *sg = mapping->sgt.sgl;
	int ret = 0;

	mapping->sgt.nents = 0;
	for (unsigned int i = 0; i < buf->nr_pieces && !ret; i++) {
		/* each may be of another BAR */
		ret = p2pdma_buffer_reach(buf, dev, &buf->pieces[i], &state);
		if (!ret && state.map != mapping->map)
			ret = -EREMOTEIO;
		if (!ret)
			ret = p2pdma_mapping_fill(mapping, &buf->pieces[i],
						  &state, dev, &sg, dir);
	}
	return ret;
}

static void p2pdma_mapping_fill_iova(struct p2pdma_mapping *mapping, size_t size)
{
	dma_addr_t addr = mapping->iova.addr;
	struct scatterlist *sg;
	unsigned int i;
	size_t len;

	for_each_sgtable_sg(&mapping->sgt, sg, i) {
		len = min(size, P2PDMA_MAX_ENTRY);
		p2pdma_set_entry(sg, addr, len);
		addr += len;
		size -= len;
	}
}

/* Needs nothing of the provider, which may be gone. */
static void p2pdma_mapping_undo(struct p2pdma_mapping *mapping, size_t size)
{
	struct scatterlist *sg;
	unsigned int i;

	if (dma_use_iova(&mapping->iova)) {
		p2pdma_mapping_unlink(mapping, mapping->cut_off ? 0 : size);
	} else if (mapping->map == PCI_P2PDMA_MAP_THRU_HOST_BRIDGE) {
		for_each_sgtable_dma_sg(&mapping->sgt, sg, i)
			dma_unmap_phys(mapping->dev, sg_dma_address(sg),
				       sg_dma_len(sg), mapping->dir,
				       DMA_ATTR_MMIO);
	}
}

/* Where there is a translating IOMMU, let what the importer still does fault. */
static void p2pdma_mapping_cut_off(struct p2pdma_mapping *mapping,
				   struct p2pdma_buffer *buf)
{
	if (dma_use_iova(&mapping->iova)) {
		/* The IOVAs stay its own. */
		dma_iova_unlink(mapping->dev, &mapping->iova, 0, buf->size,
				mapping->dir, DMA_ATTR_MMIO);
		mapping->cut_off = true;
	}
	dev_warn(mapping->dev, "keeps memory of %s mapped that is taken back%s\n",
		 pci_name(buf->heap->provider),
		 mapping->cut_off ? "; cut off" : "");
}

static int p2pdma_mapping_make(struct p2pdma_mapping *mapping,
			       struct p2pdma_buffer *buf)
{
	enum dma_data_direction dir = mapping->dir;
	struct pci_p2pdma_map_state state = {};
	struct device *dev = mapping->dev;
	int ret;

	ret = p2pdma_buffer_reach(buf, dev, buf->pieces, &state);
	if (ret)
		return ret;
	mapping->map = state.map;
	ret = p2pdma_mapping_link(mapping, buf, dev, dir);
	if (ret)
		return ret;

	ret = sg_alloc_table(&mapping->sgt,
			     p2pdma_mapping_nr_entries(mapping, buf),
			     GFP_KERNEL_ACCOUNT);
	if (ret)
		mapping->sgt.nents = 0;
	else if (dma_use_iova(&mapping->iova))
		p2pdma_mapping_fill_iova(mapping, buf->size);
	else
		ret = p2pdma_mapping_fill_all(mapping, buf, dev, dir);
	if (ret) {
		p2pdma_mapping_undo(mapping, buf->size);
		sg_free_table(&mapping->sgt);
	}
	return ret;
}

static struct sg_table *p2pdma_heap_map(struct dma_buf_attachment *attach,
					enum dma_data_direction dir)
{
	struct p2pdma_buffer *buf = attach->dmabuf->priv;
	struct p2pdma_mapping *mapping;
	int ret;

	mapping = kzalloc(sizeof(*mapping), GFP_KERNEL_ACCOUNT);
	if (!mapping)
		return ERR_PTR(-ENOMEM);

	mapping->dev = attach->dev;
	mapping->dir = dir;
	ret = p2pdma_mapping_make(mapping, buf);
	if (ret) {
		kfree(mapping);
		return ERR_PTR(ret);
	}
	/* Who looks for pages finds no entry; unmapping looks for @nents. */
	mapping->sgt.orig_nents = 0;
	mutex_lock(&buf->lock);
	list_add(&mapping->node, &buf->mappings);
	mutex_unlock(&buf->lock);
	return &mapping->sgt;
}

static void p2pdma_heap_unmap(struct dma_buf_attachment *attach,
			      struct sg_table *sgt, enum dma_data_direction dir)
{
	struct p2pdma_mapping *mapping =
		container_of(sgt, struct p2pdma_mapping, sgt);
	struct p2pdma_buffer *buf = attach->dmabuf->priv;

	/* The memory goes back as soon as nothing is in the list. */
	mutex_lock(&buf->lock);
	p2pdma_mapping_undo(mapping, buf->size);
	list_del(&mapping->node);
	mutex_unlock(&buf->lock);
	wake_up_all(&buf->unmapped);

	sgt->orig_nents = sgt->nents;
	sg_free_table(sgt);
	kfree(mapping);
}

/* Map what surrounds a fault, up to where a page table ends. */
static vm_fault_t p2pdma_buffer_fault(struct p2pdma_buffer *buf,
				      struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long at = max(vmf->address & PMD_MASK, vma->vm_start);
	unsigned long end = min((vmf->address & PMD_MASK) + PMD_SIZE - 1,
				vma->vm_end - 1);
	u64 offset = ((u64)vma->vm_pgoff << PAGE_SHIFT) + (at - vma->vm_start);
	const struct p2pdma_piece *piece = buf->pieces;
	vm_fault_t ret = VM_FAULT_NOPAGE;

	for (; offset >= piece->len; piece++)
		offset -= piece->len;
	while (at < end && ret == VM_FAULT_NOPAGE) {
		ret = vmf_insert_mixed(vma, at,
				       phys_to_pfn_t(piece->phys + offset,
						     PFN_DEV));
		at += PAGE_SIZE;
		offset += PAGE_SIZE;
		if (offset == piece->len) {
			piece++;
			offset = 0;
		}
	}
	return ret;
}

static vm_fault_t p2pdma_heap_fault(struct vm_fault *vmf)
{
	struct p2pdma_buffer *buf = vmf->vma->vm_private_data;
	vm_fault_t ret = VM_FAULT_SIGBUS;

	/* Who revokes it holds the lock until all I/O to it has ended. */
	if (READ_ONCE(buf->revoked))
		return ret;
	dma_resv_lock(buf->dmabuf->resv, NULL);
	if (!buf->revoked)
		ret = p2pdma_buffer_fault(buf, vmf);
	dma_resv_unlock(buf->dmabuf->resv);
	return ret;
}

static const struct vm_operations_struct p2pdma_heap_vm_ops = {
	.fault = p2pdma_heap_fault,
};

/*
 * By special PTEs: nobody can pin the memory, so it can be taken away at any time.
 * Neither VM_PFNMAP nor VM_IO: out of such mappings KVM and VFIO take PFNs, and keep
 * them when the memory has another owner.
 */
static int p2pdma_heap_mmap(struct dma_buf *dmabuf, struct vm_area_struct *vma)
{
	struct p2pdma_buffer *buf = dmabuf->priv;

	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (READ_ONCE(buf->revoked))
		return -ENODEV;

	vm_flags_set(vma, VM_MIXEDMAP | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_page_prot = pgprot_writecombine(vma->vm_page_prot);
	vma->vm_ops = &p2pdma_heap_vm_ops;
	vma->vm_private_data = buf;
	return 0;
}

static void p2pdma_heap_release(struct dma_buf *dmabuf)
{
	struct p2pdma_buffer *buf = dmabuf->priv;
	bool taken;

	mutex_lock(&buf->heap->lock);
	taken = buf->taken;
	if (!taken)
		list_del(&buf->node);
	mutex_unlock(&buf->heap->lock);

	if (taken)
		wait_for_completion(&buf->stopped);
	else
		p2pdma_buffer_free_memory(buf);
	iput(buf->inode);
	p2pdma_buffer_put(buf);
}

static const struct dma_buf_ops p2pdma_heap_buf_ops = {
	.attach = p2pdma_heap_attach,
	.pin = p2pdma_heap_pin,
	.unpin = p2pdma_heap_unpin,
	.map_dma_buf = p2pdma_heap_map,
	.unmap_dma_buf = p2pdma_heap_unmap,
	.mmap = p2pdma_heap_mmap,
	.release = p2pdma_heap_release,
};

static struct p2pdma_buffer *p2pdma_buffer_new(struct p2pdma_heap *heap,
					       size_t size)
{
	struct p2pdma_buffer *buf = kzalloc(sizeof(*buf), GFP_KERNEL_ACCOUNT);

	if (!buf)
		return NULL;
	refcount_inc(&heap->refs);
	buf->heap = heap;
	refcount_set(&buf->refs, 1);
	init_completion(&buf->stopped);
	init_waitqueue_head(&buf->unmapped);
	INIT_LIST_HEAD(&buf->mappings);
	mutex_init(&buf->lock);
	buf->size = size;
	return buf;
}

static struct dma_buf *p2pdma_buffer_export(struct p2pdma_buffer *buf,
					    u32 fd_flags)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct dma_buf *dmabuf;

	info.exp_name = buf->heap->name;
	info.ops = &p2pdma_heap_buf_ops;
	info.size = buf->size;
	info.flags = fd_flags;
	info.priv = buf;
	dmabuf = dma_buf_export(&info);
	if (IS_ERR(dmabuf))
		return dmabuf;

	buf->dmabuf = dmabuf;
	buf->inode = file_inode(dmabuf->file);
	/* The inode may go before the dma-buf is released. */
	ihold(buf->inode);
	mutex_lock(&buf->heap->lock);
	list_add_tail(&buf->node, &buf->heap->buffers);
	mutex_unlock(&buf->heap->lock);
	return dmabuf;
}

static struct dma_buf *p2pdma_heap_allocate(struct dma_heap *dma_heap,
					    unsigned long len, u32 fd_flags,
					    u64 heap_flags)
{
	struct p2pdma_heap *heap = dma_heap_get_drvdata(dma_heap);
	struct p2pdma_buffer *buf = p2pdma_buffer_new(heap, len);
	struct dma_buf *dmabuf;
	int ret;

	if (!buf)
		return ERR_PTR(-ENOMEM);

	ret = p2pdma_buffer_alloc_memory(buf, len);
	if (!ret)
		ret = p2pdma_buffer_clear(buf);
	dmabuf = ret ? ERR_PTR(ret) : p2pdma_buffer_export(buf, fd_flags);
	if (IS_ERR(dmabuf)) {
		p2pdma_buffer_free_memory(buf);
		p2pdma_buffer_put(buf);
	}
	return dmabuf;
}

static const struct dma_heap_ops p2pdma_heap_ops = {
	.allocate = p2pdma_heap_allocate,
};

static struct p2pdma_heap *p2pdma_heap_new(struct pci_dev *provider)
{
	struct p2pdma_heap *heap = kzalloc(sizeof(*heap), GFP_KERNEL);

	if (!heap)
		return NULL;
	refcount_set(&heap->refs, 1);
	heap->provider = pci_dev_get(provider);
	mutex_init(&heap->lock);
	INIT_LIST_HEAD(&heap->buffers);
	scnprintf(heap->name, sizeof(heap->name), "p2pdma-%s",
		  pci_name(provider));
	return heap;
}

static struct p2pdma_heap *p2pdma_heap_find(struct pci_dev *provider)
{
	struct p2pdma_heap *heap;

	list_for_each_entry(heap, &p2pdma_heaps, node)
		if (heap->provider == provider)
			return heap;
	return NULL;
}

static int __p2pdma_heap_add(struct pci_dev *provider)
{
	struct dma_heap_export_info info = { .ops = &p2pdma_heap_ops };
	struct p2pdma_heap *heap;
	struct dma_heap *dma_heap;

	if (p2pdma_heap_find(provider))
		return 0;
	heap = p2pdma_heap_new(provider);
	if (!heap)
		return -ENOMEM;

	info.name = heap->name;
	info.priv = heap;
	dma_heap = dma_heap_add(&info);
	if (IS_ERR(dma_heap)) {
		p2pdma_heap_put(heap);
		return PTR_ERR(dma_heap);
	}
	heap->heap = dma_heap;
	list_add(&heap->node, &p2pdma_heaps);
	return 0;
}

/*
 * p2pdma_heap_add - let user space allocate dma-bufs of a provider's memory
 * @provider: has P2P memory; p2pdma_heap_remove() it before that goes
 */
void p2pdma_heap_add(struct pci_dev *provider)
{
	int ret;

	mutex_lock(&p2pdma_heaps_mutex);
	ret = __p2pdma_heap_add(provider);
	mutex_unlock(&p2pdma_heaps_mutex);
	if (ret)
		pci_warn(provider, "no DMA heap for its memory: %d\n", ret);
}

/* From here on, nobody begins to use the memory. */
static void p2pdma_buffer_stop(struct p2pdma_buffer *buf)
{
	struct dma_resv *resv = buf->dmabuf->resv;

	dma_resv_lock(resv, NULL);
	WRITE_ONCE(buf->revoked, true);
	dma_buf_move_notify(buf->dmabuf);
	unmap_mapping_range(buf->inode->i_mapping, 0, 0, 1);
	if (dma_resv_get_singleton(resv, DMA_RESV_USAGE_BOOKKEEP, &buf->fence))
		dma_resv_wait_timeout(resv, DMA_RESV_USAGE_BOOKKEEP, false,
				      P2PDMA_FENCE_TIMEOUT);
	dma_resv_unlock(resv);
	complete(&buf->stopped);
}

static long p2pdma_time_left(unsigned long until)
{
	return time_before(jiffies, until) ? until - jiffies : 0;
}

/* Wait for what is under way. The dma-buf may be gone. */
static void p2pdma_buffer_wait_fence(struct p2pdma_buffer *buf,
				     unsigned long until)
{
	if (buf->fence &&
	    dma_fence_wait_timeout(buf->fence, false,
				   p2pdma_time_left(until)) <= 0)
		pci_warn(buf->heap->provider,
			 "a fence of memory that is taken back does not signal\n");
	dma_fence_put(buf->fence);
}

static void p2pdma_buffer_take_back(struct p2pdma_buffer *buf,
				    unsigned long until)
{
	struct p2pdma_mapping *mapping;

	wait_event_timeout(buf->unmapped, list_empty(&buf->mappings),
			   p2pdma_time_left(until));
	/* also for who has just unmapped, but not let go of the lock */
	mutex_lock(&buf->lock);
	list_for_each_entry(mapping, &buf->mappings, node)
		p2pdma_mapping_cut_off(mapping, buf);
	mutex_unlock(&buf->lock);
	p2pdma_buffer_free_memory(buf);
	p2pdma_buffer_put(buf);
}

static void p2pdma_heap_revoke_all(struct p2pdma_heap *heap)
{
	unsigned long until = jiffies + P2PDMA_FENCE_TIMEOUT;
	struct p2pdma_buffer *buf, *next;
	LIST_HEAD(buffers);

	mutex_lock(&heap->lock);
	list_splice_init(&heap->buffers, &buffers);
	list_for_each_entry(buf, &buffers, node) {
		buf->taken = true;
		refcount_inc(&buf->refs);
	}
	mutex_unlock(&heap->lock);

	/* All stop before fences and mappings are waited for. */
	list_for_each_entry(buf, &buffers, node)
		p2pdma_buffer_stop(buf);
	list_for_each_entry(buf, &buffers, node)
		p2pdma_buffer_wait_fence(buf, until);
	until = jiffies + P2PDMA_UNMAP_TIMEOUT;
	list_for_each_entry_safe(buf, next, &buffers, node)
		p2pdma_buffer_take_back(buf, until);
}

/*
 * p2pdma_heap_remove - take all memory back that dma-bufs have of a provider
 * @provider: need not have a heap
 *
 * When this returns, no dma-buf of it has or will get any memory. Sleeps: waits for
 * what importers wait for when they are told, such as I/O in flight, one dma-buf after
 * the other; P2PDMA_FENCE_TIMEOUT for the fences of its dma-bufs, or as much for each if
 * memory is short; and then P2PDMA_UNMAP_TIMEOUT for mappings.
 */
void p2pdma_heap_remove(struct pci_dev *provider)
{
	struct p2pdma_heap *heap;

	mutex_lock(&p2pdma_heaps_mutex);
	heap = p2pdma_heap_find(provider);
	if (heap)
		list_del(&heap->node);
	mutex_unlock(&p2pdma_heaps_mutex);
	if (!heap)
		return;

	WRITE_ONCE(heap->closing, true);
	dma_heap_remove(heap->heap);
	p2pdma_heap_revoke_all(heap);
	p2pdma_heap_put(heap);
}
