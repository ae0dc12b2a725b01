/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Registrations of dma-bufs: memory of another driver's that a device reads and
 * writes, until its exporter moves it.
 * See Documentation/core-api/dma-registration.rst.
 */
#ifndef _LINUX_DMA_BUF_REGISTRATION_H
#define _LINUX_DMA_BUF_REGISTRATION_H

#include <linux/list.h>
#include <linux/types.h>

struct device;
struct dma_buf;
struct dma_buf_registration;
struct dma_registration;

/**
 * struct dma_buf_client - a device that dma-bufs are registered for
 * @dev: does the DMA
 *
 * Owned by the device's driver, from dma_buf_client_init() to dma_buf_client_exit().
 */
struct dma_buf_client {
	struct device *dev;
	/* private: */
	struct list_head bufs;
	bool closed; /* there will be no more */
};

/**
 * struct dma_buf_registration_ops - what the owner of a registered dma-buf is told
 * @mapped: the memory is mapped. Let users find @reg, by a pointer that is read in an
 *	RCU read-side critical section. @reg has the size of the dma-buf. Return: 0, or
 *	a negative errno for which it is unmapped again
 * @unmapping: no user is left and there will be none; the memory is about to be
 *	unmapped. Clear the pointer. Also called when @mapped failed
 *
 * They may sleep. The dma-buf's reservation lock is held: allocate as under that,
 * and wait for nobody who may want it.
 */
struct dma_buf_registration_ops {
	int (*mapped)(void *owner, struct dma_registration *reg);
	void (*unmapping)(void *owner, struct dma_registration *reg);
};

#ifdef CONFIG_DMA_SHARED_BUFFER
void dma_buf_client_init(struct dma_buf_client *client, struct device *dev);
void dma_buf_client_exit(struct dma_buf_client *client);

struct dma_buf_registration *
dma_buf_register(struct dma_buf_client *client, struct dma_buf *dmabuf,
		 const struct dma_buf_registration_ops *ops, void *owner);
int dma_buf_registration_map(struct dma_buf_registration *buf);
void dma_buf_unregister(struct dma_buf_registration *buf);
#else /* CONFIG_DMA_SHARED_BUFFER */
static inline void dma_buf_client_init(struct dma_buf_client *client,
				       struct device *dev)
{
}

static inline void dma_buf_client_exit(struct dma_buf_client *client)
{
}

static inline void dma_buf_unregister(struct dma_buf_registration *buf)
{
}
#endif /* CONFIG_DMA_SHARED_BUFFER */

#endif /* _LINUX_DMA_BUF_REGISTRATION_H */
