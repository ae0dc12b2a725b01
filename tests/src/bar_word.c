// SPDX-License-Identifier: GPL-2.0
/* Print a register of 64 bits in a memory BAR, or set it behind the back of the driver. */
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "options.h"

static const char *bar;
static unsigned long offset = NOT_SET, value = NOT_SET;

static const struct option_entry options[] = {
	{ "bar", "FILE", "resourceN of the PCI device in sysfs", .text = &bar },
	{ "offset", "BYTES", "where in the BAR's first page", .number = &offset },
	{ "set", "VALUE", "what to write there", .number = &value },
	{}
};

int main(int argc, char **argv)
{
	long page = sysconf(_SC_PAGESIZE);
	volatile uint64_t *word;
	char *map;
	int fd;

	parse_options(argc, argv,
		      "Usage: bar_word --bar FILE --offset BYTES [--set VALUE]", options);
	if (!bar || offset % sizeof(*word) || offset >= (unsigned long)page)
		errx(1, "--bar and a multiple of 8 within a page as --offset are needed, see --help");
	fd = open(bar, O_RDWR);
	if (fd < 0)
		err(1, "%s", bar);
	map = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		err(1, "mapping %s", bar);
	word = (volatile uint64_t *)(map + offset);
	if (value == NOT_SET)
		printf("%#llx\n", (unsigned long long)*word);
	else
		*word = value;
	return 0;
}
