// SPDX-License-Identifier: GPL-2.0
/*
 * A driver for one NVMe controller that uses memory as an RDMA memory region is used: host memory and P2P memory of
 * several providers in turns, registered as one buffer. Bind it by hand, in place of nvme. Its parameters then
 * register, move data and compare it, and revoke; what they print tells what became of it.
 */
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/dma-registration.h>
#include <linux/iommu.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/nvme.h>
#include <linux/pci-p2pdma.h>

#include "pci_by_name.h"

#define MAX_PROVIDERS 4
#define MAX_PIECES 64
#define NR_SLOTS 16
#define DEPTH 32
#define BLOCK 512
#define NVME_PAGE 4096
#define FIRST_LBA 65536
/* A page that differs from all that a buffer holds */
#define OTHER_LBA 32768
#define OTHER 0x5a
#define OTHER_WORD 0x5a5a5a5a5a5a5a5aULL
/* Where the buffer begins in its first page: not at a granule */
#define HEAD 1024
#define GUARD 0xee

static char *providers;
module_param(providers, charp, 0444);
MODULE_PARM_DESC(providers, "PCI devices whose P2P memory to use in turns, as in 0000:01:00.0,0000:02:00.0");

/* Polled; commands are identified by the slot they use. */
struct queue {
	struct nvme_command *sq;
	struct nvme_completion *cq;
	dma_addr_t sq_dma, cq_dma;
	unsigned int id, tail, head, phase;
};

static struct pci_dev *pdev;
static void __iomem *bar;
static unsigned int doorbell_stride;
static struct queue admin, io;
static __le64 *lists[NR_SLOTS];
static dma_addr_t lists_dma[NR_SLOTS];
/* A page that the drive reaches by other means */
static void *plain;
static dma_addr_t plain_dma;
static struct dma_registration_client client;
/* Held by all that uses the above or the buffer */
static DEFINE_MUTEX(lock);

struct piece {
	void *virt;
	size_t len, skip;
	struct pci_dev *provider; /* NULL for host memory */
};

static struct piece pieces[MAX_PIECES];
static struct dma_registration_piece vecs[MAX_PIECES];
static unsigned int nr_pieces;
static struct dma_registration *reg;
static dma_addr_t stale_addr;

static struct task_struct *thread;
static atomic_t users, revoking, revoked, early;
static unsigned int nr_ios, status, last_ranges;
static int reason, reached;
module_param(nr_ios, uint, 0444);
module_param(status, uint, 0444);

static void ring(struct queue *q, unsigned int value, bool is_cq)
{
	writel(value, bar + NVME_REG_DBS + (q->id * 2 + is_cq) * doorbell_stride);
}

static void submit(struct queue *q, struct nvme_command *cmd, u16 slot)
{
	cmd->common.command_id = slot;
	q->sq[q->tail] = *cmd;
	q->tail = (q->tail + 1) % DEPTH;
	/* the command before the doorbell */
	wmb();
	ring(q, q->tail, false);
}

/* Wait for the next completion. Return: its status, or that it did not come. */
static int wait_one(struct queue *q)
{
	struct nvme_completion *cqe = &q->cq[q->head];
	unsigned long end = jiffies + 20 * HZ;
	u16 word;

	while (((word = le16_to_cpu(READ_ONCE(cqe->status))) & 1) != q->phase) {
		if (time_after(jiffies, end))
			return -ETIMEDOUT;
		cond_resched();
	}
	/* the rest of the entry, and the data, after the phase */
	rmb();
	if (++q->head == DEPTH) {
		q->head = 0;
		q->phase ^= 1;
	}
	ring(q, q->head, true);
	if (word >> 1)
		status = word >> 1;
	return word >> 1 ? -EIO : 0;
}

static int command(struct queue *q, struct nvme_command *cmd)
{
	submit(q, cmd, 0);
	return wait_one(q);
}

static int queue_init(struct queue *q, unsigned int id)
{
	*q = (struct queue){ .id = id, .phase = 1 };
	q->sq = dmam_alloc_coherent(&pdev->dev, NVME_PAGE, &q->sq_dma, GFP_KERNEL);
	q->cq = dmam_alloc_coherent(&pdev->dev, NVME_PAGE, &q->cq_dma, GFP_KERNEL);
	return q->sq && q->cq ? 0 : -ENOMEM;
}

static int set_enabled(u32 cc, bool enabled)
{
	unsigned long end = jiffies + 20 * HZ;

	writel(cc, bar + NVME_REG_CC);
	while (!!(readl(bar + NVME_REG_CSTS) & NVME_CSTS_RDY) != enabled) {
		if (time_after(jiffies, end))
			return -ETIMEDOUT;
		msleep(20);
	}
	return 0;
}

static int start_controller(void)
{
	u64 cap = readq(bar + NVME_REG_CAP);
	struct nvme_command cmd = {};
	int ret;

	doorbell_stride = 4 << NVME_CAP_STRIDE(cap);
	ret = set_enabled(0, false) ?: queue_init(&admin, 0) ?: queue_init(&io, 1);
	if (ret)
		return ret;
	writel((DEPTH - 1) << 16 | (DEPTH - 1), bar + NVME_REG_AQA);
	writeq(admin.sq_dma, bar + NVME_REG_ASQ);
	writeq(admin.cq_dma, bar + NVME_REG_ACQ);
	ret = set_enabled(NVME_CC_ENABLE | NVME_CC_IOSQES | NVME_CC_IOCQES, true);
	if (ret)
		return ret;

	cmd.create_cq.opcode = nvme_admin_create_cq;
	cmd.create_cq.prp1 = cpu_to_le64(io.cq_dma);
	cmd.create_cq.cqid = cpu_to_le16(1);
	cmd.create_cq.qsize = cpu_to_le16(DEPTH - 1);
	cmd.create_cq.cq_flags = cpu_to_le16(NVME_QUEUE_PHYS_CONTIG);
	ret = command(&admin, &cmd);
	if (ret)
		return ret;
	cmd = (struct nvme_command){};
	cmd.create_sq.opcode = nvme_admin_create_sq;
	cmd.create_sq.prp1 = cpu_to_le64(io.sq_dma);
	cmd.create_sq.sqid = cpu_to_le16(1);
	cmd.create_sq.qsize = cpu_to_le16(DEPTH - 1);
	cmd.create_sq.sq_flags = cpu_to_le16(NVME_QUEUE_PHYS_CONTIG);
	cmd.create_sq.cqid = cpu_to_le16(1);
	return command(&admin, &cmd);
}

/* The controller's own memory, if it has any. */
static int add_cmb(void)
{
	u64 cap = readq(bar + NVME_REG_CAP), unit, size, offset;
	u32 cmbsz, cmbloc;
	int bir;

	if (!NVME_CAP_CMBS(cap))
		return 0;
	writel(NVME_CMBMSC_CRE, bar + NVME_REG_CMBMSC);
	cmbsz = readl(bar + NVME_REG_CMBSZ);
	cmbloc = readl(bar + NVME_REG_CMBLOC);
	if (!cmbsz)
		return 0;
	unit = 1ULL << (12 + 4 * ((cmbsz >> NVME_CMBSZ_SZU_SHIFT) & NVME_CMBSZ_SZU_MASK));
	size = unit * ((cmbsz >> NVME_CMBSZ_SZ_SHIFT) & NVME_CMBSZ_SZ_MASK);
	offset = unit * NVME_CMB_OFST(cmbloc);
	bir = NVME_CMB_BIR(cmbloc);
	writeq(NVME_CMBMSC_CRE | NVME_CMBMSC_CMSE | (pci_bus_address(pdev, bir) + offset),
		     bar + NVME_REG_CMBMSC);
	return pci_p2pdma_add_resource(pdev, bir, size, offset);
}

/* A read or a write of @len bytes that are contiguous for the device. */
static void start_io(unsigned int slot, u8 opcode, u64 lba, dma_addr_t addr, size_t len)
{
	struct nvme_command cmd = {};
	size_t first = min_t(size_t, len, NVME_PAGE - (addr & (NVME_PAGE - 1)));
	unsigned int i = 0;

	cmd.rw.opcode = opcode;
	cmd.rw.nsid = cpu_to_le32(1);
	cmd.rw.slba = cpu_to_le64(lba);
	cmd.rw.length = cpu_to_le16(len / BLOCK - 1);
	cmd.rw.dptr.prp1 = cpu_to_le64(addr);
	if (len - first > NVME_PAGE) {
		for (size_t at = first; at < len; at += NVME_PAGE)
			lists[slot][i++] = cpu_to_le64(addr + at);
		cmd.rw.dptr.prp2 = cpu_to_le64(lists_dma[slot]);
	} else if (len > first) {
		cmd.rw.dptr.prp2 = cpu_to_le64(addr + first);
	}
	submit(&io, &cmd, slot);
}

/* Wait for all commands that were started. */
static int wait_all(unsigned int *nr)
{
	int ret = 0;

	for (; *nr && ret != -ETIMEDOUT; --*nr)
		ret = wait_one(&io) ?: ret;
	*nr = 0;
	return ret;
}

/* Move what is at @offset of the registration; the caller uses it. No command takes more than @most bytes. */
static int transfer(u8 opcode, u64 offset, u64 len, size_t most)
{
	unsigned int started = 0;
	dma_addr_t addr;
	int ret = 0;
	u64 left;

	for (; len && !ret; offset += left, len -= left) {
		addr = dma_registration_addr(reg, offset, &left);
		left = min3(left, len, most);
		start_io(started++, opcode, FIRST_LBA + offset / BLOCK, addr, left);
		WRITE_ONCE(nr_ios, nr_ios + 1);
		if (started == NR_SLOTS)
			ret = wait_all(&started);
	}
	return wait_all(&started) ?: ret;
}

/* Move a block in the plain page. */
static int transfer_plain(u8 opcode, u64 lba, size_t len)
{
	start_io(0, opcode, lba, plain_dma, len);
	return wait_one(&io);
}

static u32 word_at(u64 offset, u32 seed)
{
	return (u32)(offset / 4 + 1) * 2654435761U ^ seed;
}

static struct piece *piece_at(u64 *offset)
{
	struct piece *p = pieces;

	for (; *offset >= p->len; p++)
		*offset -= p->len;
	return p;
}

static u32 *word_in_buffer(u64 offset)
{
	struct piece *p = piece_at(&offset);

	return p->virt + p->skip + offset;
}

static int compare(u64 offset, u32 found, u32 seed, const char *where)
{
	if (found == word_at(offset, seed))
		return 0;
	pr_err("nvme_registered: offset %#llx %s: %#x, expected %#x\n", offset, where, found, word_at(offset, seed));
	return -EILSEQ;
}

/* The processor writes the buffer, the drive reads it; then what the drive has is read by other means. */
static int verify_write(u32 seed, size_t most)
{
	u64 offset, at;
	int ret;

	for (offset = 0; offset < reg->size; offset += 4)
		WRITE_ONCE(*word_in_buffer(offset), word_at(offset, seed));
	/* before the doorbell */
	mb();
	ret = transfer(nvme_cmd_write, 0, reg->size, most);
	for (offset = 0; offset < reg->size && !ret; offset += at) {
		size_t len = min_t(u64, reg->size - offset, NVME_PAGE);

		ret = transfer_plain(nvme_cmd_read, FIRST_LBA + offset / BLOCK, len);
		for (at = 0; at < len && !ret; at += 4)
			ret = compare(offset + at, *(u32 *)(plain + at), seed, "on the drive");
	}
	return ret;
}

static int verify_guards(void)
{
	struct piece *p = pieces;
	u8 *byte;

	for (byte = p->virt; byte < (u8 *)p->virt + p->skip; byte++)
		if (*byte != GUARD)
			return -EILSEQ;
	return 0;
}

/* The other way round. */
static int verify_read(u32 seed, size_t most)
{
	u64 offset, at;
	int ret = 0;

	for (offset = 0; offset < reg->size && !ret; offset += at) {
		size_t len = min_t(u64, reg->size - offset, NVME_PAGE);

		for (at = 0; at < len; at += 4)
			*(u32 *)(plain + at) = word_at(offset + at, seed);
		/* before the doorbell */
		mb();
		ret = transfer_plain(nvme_cmd_write, FIRST_LBA + offset / BLOCK, len);
	}
	ret = ret ?: transfer(nvme_cmd_read, 0, reg->size, most);
	for (offset = 0; offset < reg->size && !ret; offset += 4)
		ret = compare(offset, READ_ONCE(*word_in_buffer(offset)), seed, "in the buffer");
	return ret ?: verify_guards();
}

static void free_p2p(void)
{
	for (struct piece *p = pieces; p < pieces + nr_pieces; p++) {
		if (!p->provider)
			continue;
		pci_free_p2pmem(p->provider, p->virt, p->len);
		pci_dev_put(p->provider);
		p->provider = NULL;
		p->virt = NULL;
	}
}

static bool is_translated(void)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(&pdev->dev);

	return domain && iommu_is_dma_domain(domain);
}

static bool is_mapped(void)
{
	return is_translated() && iommu_iova_to_phys(iommu_get_domain_for_dev(&pdev->dev), stale_addr);
}

/* Whether the drive can still write where the buffer was, to a page that is this driver's in any case. */
static bool is_reached(void)
{
	u64 *host = pieces[2].virt;

	if (!is_translated())
		return false;
	/* The pages came as they were: of a slab with poison, they would hold the same. */
	memset(host, 0, NVME_PAGE);
	/* before the doorbell */
	mb();
	start_io(0, nvme_cmd_read, OTHER_LBA, stale_addr, NVME_PAGE);
	wait_one(&io);
	for (int i = 0; i < NVME_PAGE / sizeof(*host); i++)
		if (READ_ONCE(host[i]) == OTHER_WORD)
			return true;
	return false;
}

static void told_revoking(struct dma_registration *told, enum dma_registration_reason why)
{
	atomic_inc(&revoking);
}

/* The provider's memory is let go of here and nowhere else. */
static void told_revoked(struct dma_registration *told, enum dma_registration_reason why)
{
	if (atomic_read(&users) || !atomic_read(&revoking) || is_mapped())
		atomic_inc(&early);
	/* nothing else is in flight */
	reached = is_reached();
	reason = why;
	free_p2p();
	atomic_inc(&revoked);
}

static const struct dma_registration_ops ops = {
	.revoking = told_revoking,
	.revoked = told_revoked,
};

static void free_pieces(void)
{
	free_p2p();
	for (struct piece *p = pieces; p < pieces + nr_pieces; p++)
		if (p->virt)
			free_pages_exact(p->virt, p->skip + p->len);
	nr_pieces = 0;
}

static int add_piece(const char *provider, size_t skip, size_t len)
{
	struct piece *p = &pieces[nr_pieces];
	struct pci_dev *dev = NULL;

	if (nr_pieces == MAX_PIECES)
		return -ENOSPC;
	if (provider) {
		dev = pci_get_by_name(provider);
		if (!dev)
			return -ENODEV;
	}
	*p = (struct piece){
		.virt = dev ? pci_alloc_p2pmem(dev, len) : alloc_pages_exact(skip + len, GFP_KERNEL),
		.len = len,
		.skip = skip,
		.provider = dev,
	};
	if (!p->virt) {
		pci_dev_put(dev);
		return -ENOMEM;
	}
	if (skip)
		memset(p->virt, GUARD, skip);
	vecs[nr_pieces++] = (struct dma_registration_piece){
		.paddr = page_to_phys(virt_to_page(p->virt)) + offset_in_page(p->virt) + skip,
		.len = len,
	};
	return 0;
}

/* Host memory and a provider's in turns, with every provider in its turn; the last piece is a block and no page. */
static int add_pieces(unsigned int turns)
{
	char *list = kstrdup(providers, GFP_KERNEL), *rest = list, *name;
	int ret = list ? 0 : -ENOMEM;

	for (unsigned int i = 0; i < turns && !ret; i++) {
		strscpy(list, providers, strlen(providers) + 1);
		rest = list;
		while ((name = strsep(&rest, ",")) && !ret)
			ret = add_piece(NULL, nr_pieces ? 0 : HEAD, nr_pieces ? (1 + i) * NVME_PAGE :
				       NVME_PAGE - HEAD) ?:
			      add_piece(name, 0, (3 + i) * NVME_PAGE);
	}
	kfree(list);
	return ret ?: add_piece(NULL, 0, BLOCK);
}

static int do_register(unsigned int turns)
{
	struct dma_registration_memory mem = { .pieces = vecs, .dir = DMA_BIDIRECTIONAL };
	u64 left;
	int ret;

	if (reg)
		return -EBUSY;
	ret = add_pieces(turns);
	memset(plain, OTHER, NVME_PAGE);
	/* before the doorbell */
	mb();
	ret = ret ?: transfer_plain(nvme_cmd_write, OTHER_LBA, NVME_PAGE);
	mem.nr_pieces = nr_pieces;
	if (!ret) {
		atomic_set(&revoking, 0);
		atomic_set(&revoked, 0);
		atomic_set(&early, 0);
		reason = 0;
		reached = 0;
		reg = dma_register_phys(&client, &mem, &ops, NULL);
		ret = PTR_ERR_OR_ZERO(reg);
	}
	if (ret) {
		reg = NULL;
		free_pieces();
		return ret;
	}
	last_ranges = reg->nr_ranges;
	/* the second host piece, which keeps its memory */
	stale_addr = dma_registration_addr(reg, vecs[0].len + vecs[1].len, &left);
	return 0;
}

static int do_unregister(void)
{
	if (thread)
		kthread_stop_put(thread);
	thread = NULL;
	if (!reg)
		return -ENOENT;
	dma_unregister(reg);
	reg = NULL;
	free_pieces();
	return 0;
}

/* Sizes that PRPs have one, two and a list of pages for, and that begin within pages. */
static int do_verify(unsigned int unused)
{
	static const size_t sizes[] = { BLOCK, 7 * BLOCK, NVME_PAGE, 3 * NVME_PAGE, SZ_64K, SZ_128K };
	int ret = 0;

	if (!reg || !dma_registration_tryget(reg))
		return -ENOENT;
	for (int i = 0; i < ARRAY_SIZE(sizes) && !ret; i++)
		ret = verify_write(2 * i + 1, sizes[i]) ?: verify_read(2 * i + 2, sizes[i]);
	dma_registration_put(reg);
	return ret;
}

/* Uses the registration for as long as it can be used. */
static int moves_data(void *unused)
{
	while (!kthread_should_stop()) {
		if (!dma_registration_tryget(reg)) {
			msleep(20);
			continue;
		}
		atomic_inc(&users);
		if (transfer(nr_ios & 1 ? nvme_cmd_write : nvme_cmd_read, 0, reg->size, SZ_16K))
			pr_err("nvme_registered: a transfer failed, status %#x\n", status);
		atomic_dec(&users);
		dma_registration_put(reg);
		cond_resched();
	}
	return 0;
}

static int do_io(unsigned int unused)
{
	struct task_struct *started;

	if (!reg || thread)
		return -ENOENT;
	started = kthread_create(moves_data, NULL, "moves_data");
	if (IS_ERR(started))
		return PTR_ERR(started);
	thread = get_task_struct(started);
	wake_up_process(thread);
	return 0;
}

static int do_revoke(unsigned int unused)
{
	if (!reg)
		return -ENOENT;
	dma_registration_revoke(reg);
	return 0;
}

static int do_drop(unsigned int unused)
{
	return do_unregister();
}

struct action {
	int (*run)(unsigned int argument);
};

static int action_set(const char *value, const struct kernel_param *kp)
{
	const struct action *action = kp->arg;
	unsigned int argument;
	int ret = kstrtouint(value, 0, &argument);

	if (ret)
		return ret;
	mutex_lock(&lock);
	ret = pdev ? action->run(argument) : -ENODEV;
	mutex_unlock(&lock);
	return ret;
}

static const struct kernel_param_ops action_ops = { .set = action_set };

#define ACTION(name)								\
	static struct action name##_action = { .run = do_##name };		\
	module_param_cb(name, &action_ops, &name##_action, 0200)

ACTION(register);
ACTION(verify);
ACTION(io);
ACTION(revoke);
ACTION(drop);

static int state_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "ranges=%u pieces=%u reason=%d revoking=%d revoked=%d early=%d reached=%d\n",
			  last_ranges, nr_pieces, reason, atomic_read(&revoking), atomic_read(&revoked),
			  atomic_read(&early), reached);
}

static const struct kernel_param_ops state_ops = { .get = state_get };
module_param_cb(state, &state_ops, NULL, 0444);

static int map_controller(struct pci_dev *dev)
{
	int ret = pcim_enable_device(dev);

	if (ret)
		return ret;
	pci_set_master(dev);
	ret = dma_set_mask_and_coherent(&dev->dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;
	bar = pcim_iomap(dev, 0, 0);
	return bar ? 0 : -ENOMEM;
}

static int nvme_registered_probe(struct pci_dev *dev, const struct pci_device_id *id)
{
	bool allocated;
	int ret;

	if (pdev)
		return -EBUSY;
	ret = map_controller(dev);
	if (ret)
		return ret;
	mutex_lock(&lock);
	pdev = dev;
	plain = dmam_alloc_coherent(&dev->dev, NVME_PAGE, &plain_dma, GFP_KERNEL);
	allocated = plain;
	for (int i = 0; i < NR_SLOTS && allocated; i++) {
		lists[i] = dmam_alloc_coherent(&dev->dev, NVME_PAGE, &lists_dma[i], GFP_KERNEL);
		allocated = lists[i];
	}
	ret = allocated ? start_controller() : -ENOMEM;
	ret = ret ?: add_cmb();
	if (ret)
		pdev = NULL;
	else
		dma_registration_client_init(&client, &dev->dev);
	mutex_unlock(&lock);
	return ret;
}

/* The drive still works: what is under way ends by itself. */
static void nvme_registered_remove(struct pci_dev *dev)
{
	mutex_lock(&lock);
	dma_registration_client_exit(&client);
	do_unregister();
	set_enabled(0, false);
	pdev = NULL;
	mutex_unlock(&lock);
}

static struct pci_driver nvme_registered_driver = {
	.name = "nvme_registered",
	.probe = nvme_registered_probe,
	.remove = nvme_registered_remove,
};
module_pci_driver(nvme_registered_driver);

MODULE_DESCRIPTION("Use registered memory of several providers by an NVMe drive");
MODULE_LICENSE("GPL");
