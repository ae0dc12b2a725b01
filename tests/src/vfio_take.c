// SPDX-License-Identifier: GPL-2.0
/*
 * Have a PCI device by VFIO: in a domain of user space, reset, with memory of this process mapped for it, until a line
 * comes on standard input.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "options.h"

#define MEMORY (1 << 20) /* bytes */

static int open_path(const char *path)
{
	int fd = open(path, O_RDWR);

	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

/* Put the group into a container, which has the IOMMU. */
static void attach(int container, int group)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };

	if (ioctl(group, VFIO_GROUP_GET_STATUS, &status))
		err(1, "status of the group");
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		errx(1, "the group is not viable: another driver has a device of it");
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) ||
	    ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		err(1, "setting the IOMMU");
}

static void map_memory(int container, unsigned long iova)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.iova = iova,
		.size = MEMORY,
	};
	void *memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		err(1, "memory");
	map.vaddr = (uintptr_t)memory;
	if (ioctl(container, VFIO_IOMMU_MAP_DMA, &map))
		err(1, "mapping IOVA %#lx", iova);
}

static void reset_device(int group, const char *name)
{
	int device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name);

	if (device < 0)
		err(1, "%s", name);
	if (ioctl(device, VFIO_DEVICE_RESET))
		err(1, "resetting %s", name);
}

int main(int argc, char **argv)
{
	const char *group_path = NULL, *device = NULL;
	unsigned long iova = 1 << 20;
	const struct option_entry entries[] = {
		{ "group", "PATH", "/dev/vfio/N", .text = &group_path },
		{ "device", "BDF", "a PCI device of that group",
		  .text = &device },
		{ "iova", "ADDRESS", "where it gets to see memory",
		  .number = &iova },
		{}
	};
	int container, group;

	parse_options(
		argc, argv,
		"Usage: vfio_take --group PATH --device BDF [--iova ADDRESS]\n"
		"\n"
		"Prints \"taken\", and keeps the device until a line comes.",
		entries);
	if (!group_path || !device)
		errx(2, "--group and --device are needed, see --help");

	container = open_path("/dev/vfio/vfio");
	group = open_path(group_path);
	attach(container, group);
	map_memory(container, iova);
	reset_device(group, device);
	puts("taken");
	fflush(stdout);
	getchar();
	return 0;
}
