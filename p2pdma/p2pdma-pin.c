// SPDX-License-Identifier: GPL-2.0
/*
 * P2P memory that is pinned for long, and how its provider gets it back.
 */
#include <linux/errno.h>
#include <linux/mutex.h>
#include <linux/p2pdma-pin.h>
#include <linux/pci-p2pdma.h>

/* Protects all pins. Not held while memory is released. */
static DEFINE_MUTEX(p2pdma_pins_mutex);

/**
 * p2pdma_pin_watch - be told when a provider wants its memory back
 * @pin: of the caller, who owns it, until p2pdma_pin_unwatch()
 * @ops: what the provider asks for then; may be called before this has returned
 * @page: a P2PDMA page that the caller has pinned
 *
 * Holds for all memory of the same pagemap that the caller has pinned, or pins
 * later on.
 *
 * Context: may sleep.
 * Return: 0, or -ENODEV: the provider is going away, so unpin at once.
 */
int p2pdma_pin_watch(struct p2pdma_pin *pin, const struct p2pdma_pin_ops *ops,
		     struct page *page)
{
	struct p2pdma_pins *pins =
		&container_of(page_pgmap(page), struct pci_p2pdma_pagemap,
			      pgmap)->pins;
	int ret = 0;

	pin->ops = ops;
	pin->taken = false;
	init_completion(&pin->released);

	mutex_lock(&p2pdma_pins_mutex);
	if (pins->closed)
		ret = -ENODEV;
	else
		list_add(&pin->node, &pins->list);
	mutex_unlock(&p2pdma_pins_mutex);
	return ret;
}

/**
 * p2pdma_pin_unwatch - be told no more
 * @pin: given to p2pdma_pin_watch(), which took it
 *
 * When it returns, @pin's ops are not called any more and have returned. Unless
 * its provider took the memory back, the caller has to unpin it after this.
 *
 * Context: may sleep, for as long as the owner's own @release takes. The caller
 * must not hold what that needs.
 */
void p2pdma_pin_unwatch(struct p2pdma_pin *pin)
{
	bool taken;

	mutex_lock(&p2pdma_pins_mutex);
	taken = pin->taken;
	if (!taken)
		list_del(&pin->node);
	mutex_unlock(&p2pdma_pins_mutex);
	if (taken)
		wait_for_completion(&pin->released);
}

void p2pdma_pins_init(struct p2pdma_pins *pins)
{
	INIT_LIST_HEAD(&pins->list);
	pins->closed = false;
}

/*
 * Take back all that is pinned of a pagemap, and let there be no more pins. All
 * owners stop before the first is waited for, so that their I/O ends meanwhile.
 */
void p2pdma_pins_close(struct p2pdma_pins *pins)
{
	struct p2pdma_pin *pin;

	mutex_lock(&p2pdma_pins_mutex);
	pins->closed = true;
	list_for_each_entry(pin, &pins->list, node)
		pin->ops->stop(pin);
	while (!list_empty(&pins->list)) {
		pin = list_first_entry(&pins->list, struct p2pdma_pin, node);
		list_del(&pin->node);
		pin->taken = true;
		mutex_unlock(&p2pdma_pins_mutex);
		pin->ops->release(pin);
		/* after which the owner may free it */
		complete(&pin->released);
		mutex_lock(&p2pdma_pins_mutex);
	}
	mutex_unlock(&p2pdma_pins_mutex);
}
