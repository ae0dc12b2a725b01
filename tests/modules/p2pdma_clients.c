// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit suite of how clients of P2P memory are classified: many of them, more than
 * a provider's table has room for, and one after another under the same number.
 * The clients are made up. Slow look-ups and stores are counted.
 */
#include <kunit/test.h>
#include <linux/hw_breakpoint.h>
#include <linux/kprobes.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/pci-p2pdma.h>

#include "pci_by_name.h"

#define MAX_PROVIDERS 4
#define NR_CLIENTS 24
#define NR_ROUNDS 50
#define MAX_CLIENTS (P2PDMA_NR_MAP_TYPES + NR_CLIENTS)
#define NR_WORKERS 2
#define NR_LIVES 3000
#define NR_WATCHED 4 /* of 8 bytes each, what the processor has */

static char *names[MAX_PROVIDERS];
static int nr_providers;

module_param_array_named(providers, names, charp, &nr_providers, 0444);
MODULE_PARM_DESC(providers, "PCI devices with P2P memory, as in 0000:01:00.0");

static struct pci_dev *providers[MAX_PROVIDERS];
static void *memory[MAX_PROVIDERS];

static struct pci_dev *clients[MAX_CLIENTS];
static unsigned int nr_clients;

static atomic_t slow_look_ups, stores;
static struct perf_event *__percpu *watches[NR_WATCHED];

static int count_slow_look_up(struct kprobe *probe, struct pt_regs *regs)
{
	atomic_inc(&slow_look_ups);
	return 0;
}

static struct kprobe slow_probe = {
	.symbol_name = "__pci_p2pdma_map_type",
	.pre_handler = count_slow_look_up,
};

static void count_store(struct perf_event *event, struct perf_sample_data *data,
			struct pt_regs *regs)
{
	atomic_inc(&stores);
}

static void watch(struct kunit *test, unsigned int i, const void *at)
{
	struct perf_event *__percpu *events;
	struct perf_event_attr attr;

	hw_breakpoint_init(&attr);
	attr.bp_addr = round_down((unsigned long)at, 8);
	attr.bp_len = HW_BREAKPOINT_LEN_8;
	attr.bp_type = HW_BREAKPOINT_W;
	events = register_wide_hw_breakpoint(&attr, count_store, NULL);
	KUNIT_ASSERT_FALSE(test, IS_ERR_PCPU(events));
	watches[i] = events;
}

static void unwatch(void)
{
	for (unsigned int i = 0; i < NR_WATCHED; i++)
		if (watches[i])
			unregister_wide_hw_breakpoint(watches[i]);
	memset(watches, 0, sizeof(watches));
}

/* Released as any other device when its last reference is dropped. */
static struct pci_dev *new_client(struct pci_bus *bus)
{
	struct pci_dev *client = pci_alloc_dev(bus);

	if (!client)
		return NULL;
	device_initialize(&client->dev);
	client->dev.bus = &pci_bus_type;
	client->dev.release = providers[0]->dev.release;
	dev_set_name(&client->dev, "client");
	return client;
}

static struct pci_bus *root_bus(void)
{
	struct pci_bus *bus = providers[0]->bus;

	while (!pci_is_root_bus(bus))
		bus = bus->parent;
	return bus;
}

/* Near each of the providers in turn, and far from all. */
static struct pci_bus *bus_of(unsigned int client)
{
	unsigned int place = client % (nr_providers + 1);

	return place < nr_providers ? providers[place]->bus : root_bus();
}

/* QEMU's host bridges are on no list, but every bridge of a Zen passes. */
static bool bridge_passes(void)
{
#ifdef CONFIG_X86
	return boot_cpu_data.x86_vendor == X86_VENDOR_AMD;
#else
	return false;
#endif
}

static enum pci_p2pdma_map_type expected_type(struct pci_dev *client,
					      unsigned int provider)
{
	if (client->bus == providers[provider]->bus)
		return PCI_P2PDMA_MAP_BUS_ADDR;
	if (bridge_passes())
		return PCI_P2PDMA_MAP_THRU_HOST_BRIDGE;
	return PCI_P2PDMA_MAP_NOT_SUPPORTED;
}

static enum pci_p2pdma_map_type type_of(struct pci_dev *client,
					unsigned int provider)
{
	struct pci_p2pdma_map_state state = {};

	return pci_p2pdma_state(&state, &client->dev,
				virt_to_page(memory[provider]));
}

static const struct p2pdma_provider *memory_of(unsigned int provider)
{
	struct page *page = virt_to_page(memory[provider]);

	return &container_of(page->pgmap, struct pci_p2pdma_pagemap, pgmap)->mem;
}

static void add_client(struct kunit *test, struct pci_bus *bus)
{
	struct pci_dev *client = new_client(bus);

	KUNIT_ASSERT_NOT_NULL(test, client);
	clients[nr_clients++] = client;
}

static void drop_client(void)
{
	put_device(&clients[--nr_clients]->dev);
}

static void expect_types(struct kunit *test, struct pci_dev *client)
{
	for (unsigned int i = 0; i < nr_providers; i++)
		KUNIT_ASSERT_EQ_MSG(test, expected_type(client, i),
				    type_of(client, i),
				    "client number %u, provider %u",
				    client->p2pdma_client, i);
}

static void classify_all(struct kunit *test)
{
	for (unsigned int i = 0; i < nr_clients; i++)
		expect_types(test, clients[i]);
}

/* What is watched is stored to @first times in the first round, then never. */
static void count_rounds(struct kunit *test, unsigned int first)
{
	atomic_set(&slow_look_ups, 0);
	atomic_set(&stores, 0);
	classify_all(test);
	KUNIT_EXPECT_EQ(test, nr_clients * nr_providers,
			atomic_read(&slow_look_ups));
	KUNIT_EXPECT_EQ(test, first, atomic_read(&stores));

	atomic_set(&slow_look_ups, 0);
	atomic_set(&stores, 0);
	for (unsigned int round = 0; round < NR_ROUNDS; round++)
		classify_all(test);
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&slow_look_ups));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&stores));
}

static void add_clients(struct kunit *test)
{
	for (unsigned int i = 0; i < NR_CLIENTS; i++)
		add_client(test, bus_of(i));
}

static void drop_clients(void)
{
	while (nr_clients)
		drop_client();
}

/* The types of a provider */
static void test_types_are_only_read(struct kunit *test)
{
	for (unsigned int i = 0; i < nr_providers; i++) {
		const u8 *types = memory_of(i)->map_types;

		KUNIT_ASSERT_TRUE(test, IS_ALIGNED((unsigned long)types, 8));
		for (unsigned int j = 0; j < NR_WATCHED; j++)
			watch(test, j, types + 8 * j);
		add_clients(test);
		count_rounds(test, NR_CLIENTS);
		for (unsigned int j = 0; j < NR_CLIENTS; j++)
			KUNIT_EXPECT_LT(test, clients[j]->p2pdma_client,
					8 * NR_WATCHED);
		unwatch();
		drop_clients();
	}
}

/* What describes its memory */
static void test_providers_are_only_read(struct kunit *test)
{
	BUILD_BUG_ON(sizeof(struct p2pdma_provider) > 8 * NR_WATCHED);
	for (unsigned int i = 0; i < nr_providers; i++) {
		const void *mem = memory_of(i);

		for (size_t at = 0; at < sizeof(struct p2pdma_provider); at += 8)
			watch(test, at / 8, mem + at);
		add_clients(test);
		count_rounds(test, 0);
		unwatch();
		drop_clients();
	}
}

/* The numbers of clients, four at a time */
static void test_numbers_are_only_read(struct kunit *test)
{
	for (unsigned int i = 0; i < NR_CLIENTS; i += NR_WATCHED) {
		add_clients(test);
		for (unsigned int j = 0; j < NR_WATCHED; j++)
			watch(test, j, &clients[i + j]->p2pdma_client);
		count_rounds(test, NR_WATCHED);
		unwatch();
		drop_clients();
	}
}

/* The last client's number goes to another one, which is elsewhere. */
static void reuse_number(struct kunit *test)
{
	struct pci_dev *near = clients[nr_clients - 1];
	unsigned int number = near->p2pdma_client;

	drop_client();
	add_client(test, root_bus());
	atomic_set(&slow_look_ups, 0);
	expect_types(test, clients[nr_clients - 1]);
	KUNIT_EXPECT_EQ(test, number, clients[nr_clients - 1]->p2pdma_client);
	KUNIT_EXPECT_EQ(test, nr_providers, atomic_read(&slow_look_ups));
}

static void test_number_reused(struct kunit *test)
{
	add_clients(test);
	classify_all(test);
	for (unsigned int i = 0; i < nr_providers; i++) {
		add_client(test, providers[i]->bus);
		expect_types(test, clients[nr_clients - 1]);
		reuse_number(test);
		drop_client();
	}
}

/* Right, and read without a calculation; but by a call. */
static void test_beyond_table(struct kunit *test)
{
	struct pci_dev *last;

	while (nr_clients < MAX_CLIENTS - 1)
		add_client(test, bus_of(nr_clients));
	add_client(test, providers[nr_providers - 1]->bus);
	last = clients[nr_clients - 1];
	classify_all(test);
	KUNIT_ASSERT_GE(test, last->p2pdma_client, P2PDMA_NR_MAP_TYPES);
	classify_all(test);
	reuse_number(test);
}

struct life {
	struct work_struct work;
	unsigned int cpu;
	unsigned int wrong;
	unsigned int lacking;
};

/* Clients come and go; each takes the lowest number, which others had before. */
static void live(struct work_struct *work)
{
	struct life *life = container_of(work, struct life, work);

	for (unsigned int i = 0; i < NR_LIVES; i++) {
		struct pci_dev *client = new_client(bus_of(i + life->cpu));

		if (!client) {
			life->lacking++;
			continue;
		}
		for (unsigned int j = 0; j < nr_providers; j++)
			if (type_of(client, j) != expected_type(client, j))
				life->wrong++;
		put_device(&client->dev);
		cond_resched();
	}
}

static void test_lives_in_parallel(struct kunit *test)
{
	struct life *lives = kunit_kcalloc(test, NR_WORKERS, sizeof(*lives),
					   GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, lives);
	if (!bridge_passes())
		kunit_skip(test, "each client that cannot reach it is logged");
	for (i = 0; i < NR_WORKERS; i++) {
		lives[i].cpu = i;
		INIT_WORK(&lives[i].work, live);
		queue_work_on(i % num_online_cpus(), system_wq, &lives[i].work);
	}
	for (i = 0; i < NR_WORKERS; i++)
		flush_work(&lives[i].work);
	for (i = 0; i < NR_WORKERS; i++) {
		KUNIT_EXPECT_EQ(test, 0, lives[i].wrong);
		KUNIT_EXPECT_EQ(test, 0, lives[i].lacking);
	}
}

static void clients_exit(struct kunit *test)
{
	unwatch();
	drop_clients();
}

static int clients_suite_init(struct kunit_suite *suite)
{
	for (unsigned int i = 0; i < nr_providers; i++) {
		providers[i] = pci_get_by_name(names[i]);
		if (!providers[i])
			return -ENODEV;
		memory[i] = pci_alloc_p2pmem(providers[i], PAGE_SIZE);
		if (!memory[i])
			return -ENOMEM;
	}
	return nr_providers ? register_kprobe(&slow_probe) : -ENODEV;
}

static void clients_suite_exit(struct kunit_suite *suite)
{
	unregister_kprobe(&slow_probe);
	for (unsigned int i = 0; i < nr_providers; i++) {
		if (memory[i])
			pci_free_p2pmem(providers[i], memory[i], PAGE_SIZE);
		pci_dev_put(providers[i]);
	}
}

static struct kunit_case clients_test_cases[] = {
	KUNIT_CASE(test_types_are_only_read),
	KUNIT_CASE(test_providers_are_only_read),
	KUNIT_CASE(test_numbers_are_only_read),
	KUNIT_CASE(test_number_reused),
	KUNIT_CASE(test_beyond_table),
	KUNIT_CASE(test_lives_in_parallel),
	{}
};

static struct kunit_suite clients_suite = {
	.name = "p2pdma_clients",
	.suite_init = clients_suite_init,
	.suite_exit = clients_suite_exit,
	.exit = clients_exit,
	.test_cases = clients_test_cases,
};
kunit_test_suite(clients_suite);

MODULE_DESCRIPTION("Classification of many P2P clients, tested");
MODULE_LICENSE("GPL");
