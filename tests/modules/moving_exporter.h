/* SPDX-License-Identifier: GPL-2.0 */
/*
 * /dev/moving_exporter: dma-bufs that move when asked to, and exporters that behave badly. For the
 * module and for its users.
 */
#ifndef MOVING_EXPORTER_H
#define MOVING_EXPORTER_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* How the exporter of a dma-buf behaves */
#define EXPORTER_SCATTERED 1U	/* single pages, of which no two are neighbours */
#define EXPORTER_REFUSES_ATTACH 2U	/* with EBUSY */
#define EXPORTER_REFUSES_MAP 4U	/* with ENOSPC */
#define EXPORTER_SHORT 8U	/* gives out a page less than there is */
#define EXPORTER_PHYSICAL 16U	/* gives out the CPU's addresses */
#define EXPORTER_LATE 32U	/* copies what it moves later, and has a fence until then */
#define EXPORTER_WANDERS 64U	/* between host memory and that of the module's providers */
#define EXPORTER_RESOURCE 128U	/* maps P2P memory as a BAR, without its pages, whoever may reach it */
#define EXPORTER_HALF 256U	/* its first half is host memory, wherever it wanders */
#define EXPORTER_REPEATS 512U	/* each GiB is the same 2 MiB of host memory again and again, and no GiB as another */
#define EXPORTER_UNALIGNED 1024U	/* one range, from the third byte of a page on */
#define EXPORTER_SLOW 2048U	/* as EXPORTER_LATE, but takes longer than the ten seconds that are waited for it */
#define EXPORTER_AGAIN 4096U	/* says EAGAIN whenever it is to be mapped */
#define EXPORTER_UNEVEN 8192U	/* as EXPORTER_UNALIGNED, but the second range, if there are two */
#define EXPORTER_BEHAVIOURS 16383U

/**
 * struct exporter_create - make a dma-buf
 * @size: bytes, a multiple of the page size
 * @behaviour: EXPORTER_*
 * @flags: of the file: O_RDWR and so on
 */
struct exporter_create {
	__u64 size;
	__u32 behaviour;
	__u32 flags;
};

/**
 * struct exporter_data - copy between the dma-buf and its user, by the CPU
 * @fd: the dma-buf
 * @write: to the dma-buf
 * @offset: in bytes
 * @length: in bytes
 * @data: of the user
 */
struct exporter_data {
	__s32 fd;
	__u32 write;
	__u64 offset;
	__u64 length;
	__u64 data;
};

/**
 * struct exporter_counts - what happened to all dma-bufs since the module was loaded
 * @moves: times that one moved
 * @maps: times that one was mapped for a device
 * @mapped: mappings that are there
 * @attached: attachments that are there
 * @stale: pages that were written to after they had moved
 */
struct exporter_counts {
	__u64 moves;
	__u64 maps;
	__u64 mapped;
	__u64 attached;
	__u64 stale;
};

#define EXPORTER_CREATE _IOW('e', 1, struct exporter_create) /* returns the fd */
#define EXPORTER_MOVE _IO('e', 2) /* argument: the fd */
#define EXPORTER_DATA _IOW('e', 3, struct exporter_data)
#define EXPORTER_COUNTS _IOR('e', 4, struct exporter_counts)

#endif /* MOVING_EXPORTER_H */
