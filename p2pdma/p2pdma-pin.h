/* SPDX-License-Identifier: GPL-2.0 */
/*
 * P2P memory that is pinned for long, and how its provider gets it back.
 *
 * A provider cannot go while somebody holds its pages. Who pins pages for longer
 * than a transfer has pin_user_pages_revocable(), and tells each provider of a
 * struct p2pdma_pin.
 */
#ifndef _LINUX_P2PDMA_PIN_H
#define _LINUX_P2PDMA_PIN_H

#include <linux/completion.h>
#include <linux/list.h>

struct p2pdma_pin;
struct page;

/**
 * struct p2pdma_pin_ops - what a provider that goes away asks of those who have
 *	pinned its memory
 * @stop: begin nothing that uses the memory. Must not sleep for long, nor call
 *	p2pdma_pin_watch() or p2pdma_pin_unwatch(). Called for each pin of an
 *	owner that has several, but never for two pins at the same time
 * @release: wait for what uses the memory, which has to end within a bounded
 *	time, and unpin it. @stop has been called. Must not call
 *	p2pdma_pin_unwatch()
 *
 * Both are called in the process that unbinds the provider's driver, with its
 * device lock held. @stop comes for all pins of the memory before any @release.
 */
struct p2pdma_pin_ops {
	void (*stop)(struct p2pdma_pin *pin);
	void (*release)(struct p2pdma_pin *pin);
};

/**
 * struct p2pdma_pin - that somebody pinned memory of one provider
 *
 * Owned by who pinned; one for each pagemap that the pages are of.
 */
struct p2pdma_pin {
	/* private: */
	const struct p2pdma_pin_ops *ops;
	struct list_head node; /* of struct p2pdma_pins, unless @taken */
	bool taken; /* @ops->release is called, or was */
	struct completion released;
};

/* The pins of a pagemap. Private to drivers/pci/p2pdma.c and p2pdma-pin.c. */
struct p2pdma_pins {
	struct list_head list;
	bool closed; /* there will be no more */
};

int p2pdma_pin_watch(struct p2pdma_pin *pin, const struct p2pdma_pin_ops *ops,
		     struct page *page);
void p2pdma_pin_unwatch(struct p2pdma_pin *pin);

void p2pdma_pins_init(struct p2pdma_pins *pins);
void p2pdma_pins_close(struct p2pdma_pins *pins);

#endif /* _LINUX_P2PDMA_PIN_H */
