/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Registrations: memory that is mapped once, for one device, until it is
 * unregistered or revoked. See Documentation/core-api/dma-registration.rst.
 */
#ifndef _LINUX_DMA_REGISTRATION_H
#define _LINUX_DMA_REGISTRATION_H

#include <linux/compiler.h>
#include <linux/completion.h>
#include <linux/dma-direction.h>
#include <linux/dma-iova.h>
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/percpu-refcount.h>
#include <linux/refcount.h>
#include <linux/types.h>
#include <asm/barrier.h>

struct device;
struct dma_registration;

/*
 * How to allocate what is registered with: whoever registers can do without, so
 * no process is killed to find memory, neither of the machine nor of a cgroup.
 */
#define DMA_REGISTRATION_GFP \
	(GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)

/**
 * enum dma_registration_reason - why a registration cannot be used any more
 * @DMA_REGISTRATION_LIVE: it can be used
 * @DMA_REGISTRATION_PROVIDER_GONE: the driver of a device whose P2P memory it
 *	includes is being unbound
 * @DMA_REGISTRATION_CLIENT_GONE: the driver of the device that does the DMA
 *	called dma_registration_client_exit()
 * @DMA_REGISTRATION_OWNER_ASKED: dma_registration_revoke(), or its like for what is
 *	unused
 * @DMA_REGISTRATION_UNREGISTERED: dma_unregister_start(), dma_unregister(), or its like
 *	for what is unused
 */
enum dma_registration_reason {
	DMA_REGISTRATION_LIVE,
	DMA_REGISTRATION_PROVIDER_GONE,
	DMA_REGISTRATION_CLIENT_GONE,
	DMA_REGISTRATION_OWNER_ASKED,
	DMA_REGISTRATION_UNREGISTERED,
};

/**
 * struct dma_registration_ops - what the owner of a registration is told
 * @revoking: optional. There are no new users; those there are will be waited
 *	for. If hardware can use the memory by itself, stop it here
 * @revoked: optional without P2P memory. No user is left, the memory is unmapped
 *	and the IOTLB is in sync. Unpin the memory here: a provider that goes waits
 *	for that
 * @unmapped: optional. The memory is unmapped, whoever asked for that. The client's
 *	driver is still there: give back what it has made for the registration
 *
 * Each is called at most once, in the order @revoking, @unmapped, @revoked, by
 * whoever is first to finish: somebody who revokes, or the owner in
 * dma_unregister(). If the owner unregisters before anybody has begun to revoke,
 * only @unmapped is called.
 * They may sleep, must end within a bounded time, and must not revoke or unregister
 * any registration. All may be called before dma_register_phys() has returned, and
 * none is called or still running when dma_unregister() has returned.
 *
 * No lock of this API is held. The driver core may hold the provider's device lock;
 * the client's driver what it does around dma_registration_client_exit(), as a rule
 * its device lock; the owner what it does when it revokes or unregisters.
 */
struct dma_registration_ops {
	void (*revoking)(struct dma_registration *reg,
			 enum dma_registration_reason reason);
	void (*revoked)(struct dma_registration *reg,
			enum dma_registration_reason reason);
	void (*unmapped)(struct dma_registration *reg);
};

/*
 * The registrations of a client, or those that include memory of one pagemap of a
 * provider. Private to registration.c.
 */
struct dma_registrations {
	struct list_head links;
	bool closed; /* there will be no more */
	unsigned int registering; /* calls of dma_register_phys() */
};

/* That a registration is one of @in. Private to registration.c. */
struct dma_registration_link {
	struct dma_registration *reg;
	struct dma_registrations *in;
	struct list_head node; /* of @in->links */
	struct dma_registration_link *next; /* of the same registration */
};

/**
 * struct dma_registration_client - a device that memory is registered for
 * @dev: does the DMA
 * @registrations: private
 *
 * Owned by the device's driver, from dma_registration_client_init() to
 * dma_registration_client_exit().
 */
struct dma_registration_client {
	struct device *dev;
	struct dma_registrations registrations;
};

/**
 * struct dma_registration_piece - physically contiguous memory to register
 * @paddr: first physical address
 * @len: bytes, not 0
 */
struct dma_registration_piece {
	phys_addr_t paddr;
	u64 len;
};

/**
 * struct dma_registration_memory - what is to be registered
 * @pieces: memory with struct pages, each piece all host memory or all within one
 *	pagemap of one provider; any mixture of pieces. Borrowed during the call
 * @nr_pieces: how many, at least one
 * @dir: direction of all transfers
 * @attrs: DMA_ATTR_*, but not DMA_ATTR_MMIO: who the memory belongs to is found out
 */
struct dma_registration_memory {
	const struct dma_registration_piece *pieces;
	unsigned int nr_pieces;
	enum dma_data_direction dir;
	unsigned long attrs;
};

/**
 * struct dma_registration_range - part of a registration that is contiguous
 * @addr: DMA address of its first byte
 * @offset: bytes of the registration that come before it. It ends where the next
 *	one begins
 */
struct dma_registration_range {
	dma_addr_t addr;
	u64 offset;
};

/* Which of 64 granules a range begins in, and how many ranges begin before them */
struct dma_registration_index {
	u64 begins;
	unsigned int before;
};

/**
 * struct dma_registration - memory that is mapped for a device
 * @size: bytes
 * @nr_ranges: how many there are in @ranges
 * @map: of a dma-buf: enum pci_p2pdma_map_type; PCI_P2PDMA_MAP_UNKNOWN where it
 *	is not the same throughout, or cannot be told
 * @owner: as given to dma_register_phys(); of a dma-buf, what has it mapped
 * @ranges: the whole memory, in order, and an entry at its end that holds @size
 *
 * Made by dma_register_phys(), owned by its caller until dma_unregister(); or, of a
 * dma-buf, made and owned by dma_buf_registration_map(). These fields are the same all
 * the time. @ranges may be used, and so may dma_registration_addr(), between
 * dma_registration_tryget() and dma_registration_put().
 */
struct dma_registration {
	/* private: */
	struct percpu_ref users;
	/* public: */
	u64 size;
	unsigned int nr_ranges;
	u8 map;
	/* private: */
	unsigned int shift; /* of the granules of @index */
	u64 pad; /* where offset 0 is in the first of them */
	struct dma_registration_index *index; /* NULL: search */
	struct dma_registration_client *client;
	const struct dma_registration_ops *ops;
	/* public: */
	void *owner;
	/* private: */
	enum dma_data_direction dir;
	enum dma_registration_reason reason; /* the first one */
	bool announced; /* the owner is to be told */
	bool finishing; /* somebody revokes it, or has done so */
	struct dma_iova_state iova;
	u64 span; /* bytes of IOVAs that are needed */
	u64 linked; /* of these, from the first on */
	refcount_t refs; /* the owner's, and those of who waits for @done */
	struct completion turned_away; /* there are no new users */
	struct completion idle; /* no user is left */
	struct completion done; /* revoked */
	struct dma_registration_link of_client; /* first of all links */
	struct rcu_head rcu;
	/* public: */
	struct dma_registration_range ranges[];
};

void dma_registration_client_init(struct dma_registration_client *client,
				  struct device *dev);
void dma_registration_client_exit(struct dma_registration_client *client);

struct dma_registration *
dma_register_phys(struct dma_registration_client *client,
		  const struct dma_registration_memory *mem,
		  const struct dma_registration_ops *ops, void *owner);
void dma_unregister_start(struct dma_registration *reg);
void dma_unregister(struct dma_registration *reg);
void dma_unregister_unused(struct dma_registration *reg);
void dma_registration_revoke(struct dma_registration *reg);
void dma_registration_revoke_unused(struct dma_registration *reg);

unsigned int __dma_registration_find(const struct dma_registration *reg,
				     u64 offset);

/**
 * dma_registration_tryget - begin to use a registration, for an I/O
 * @reg: the registration. It must not be gone: have the owner see to that, or find
 *	it by a pointer that is cleared before dma_unregister(), in an RCU read-side
 *	critical section
 *
 * While the registration is live, this writes to nothing that CPUs share; except
 * for a dma-buf, whose users are counted by one atomic.
 *
 * Context: any.
 * Return: true if the memory stays mapped until dma_registration_put(), which the
 * caller has to call within a bounded time; false if the registration is revoked
 * or unregistered, or is about to be: see dma_registration_reason().
 */
static inline bool dma_registration_tryget(struct dma_registration *reg)
{
	return percpu_ref_tryget_live(&reg->users);
}

/**
 * dma_registration_put - end what dma_registration_tryget() began
 * @reg: the registration; the device is done with its memory
 *
 * Context: any.
 */
static inline void dma_registration_put(struct dma_registration *reg)
{
	percpu_ref_put(&reg->users);
}

/**
 * dma_registration_is_live - whether a registration can be used
 * @reg: the registration; as for dma_registration_tryget()
 *
 * A hint only, unless the caller keeps it from being revoked meanwhile.
 *
 * Context: any.
 * Return: false if it is revoked or unregistered, or is about to be.
 */
static inline bool
dma_registration_is_live(const struct dma_registration *reg)
{
	return READ_ONCE(reg->reason) == DMA_REGISTRATION_LIVE;
}

/**
 * dma_registration_reason - whether a registration can be used, or why not
 * @reg: the registration; as for dma_registration_tryget()
 *
 * Context: any.
 * Return: the reason that came first; it stays.
 */
static inline enum dma_registration_reason
dma_registration_reason(const struct dma_registration *reg)
{
	/*
	 * Of who was turned away: what turned it away comes after the reason.
	 * Pairs with smp_wmb() in dma_reg_begin_revoke().
	 */
	smp_rmb();
	return READ_ONCE(reg->reason);
}

/**
 * dma_registration_addr - the DMA address of a byte
 * @reg: the registration, after dma_registration_tryget()
 * @offset: bytes from its beginning, less than @reg->size
 * @left: set to the bytes from there on that are contiguous for the device
 *
 * Takes no lock and, if there is an index, constant time. There is none if memory was
 * short, or if a large registration has few ranges that meet at offsets which are not
 * multiples of 512 bytes apart; then it is a binary search.
 *
 * Context: any.
 * Return: the DMA address.
 */
static inline dma_addr_t dma_registration_addr(const struct dma_registration *reg,
					       u64 offset, u64 *left)
{
	const struct dma_registration_range *range = reg->ranges;

	if (unlikely(reg->nr_ranges != 1))
		range += __dma_registration_find(reg, offset);
	*left = range[1].offset - offset;
	return range->addr + (offset - range->offset);
}

/* For drivers/pci/p2pdma.c */
static inline void dma_registrations_init(struct dma_registrations *regs)
{
	INIT_LIST_HEAD(&regs->links);
	regs->closed = false;
	regs->registering = 0;
}

void dma_registrations_close(struct dma_registrations *regs,
			     enum dma_registration_reason reason);

#endif /* _LINUX_DMA_REGISTRATION_H */
