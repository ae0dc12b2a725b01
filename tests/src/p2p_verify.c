// SPDX-License-Identifier: GPL-2.0
/*
 * One verified I/O between a drive and P2P memory, for scripts/doctor: what an address that goes
 * nowhere does may succeed, so the data is compared with what host memory sees.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "data.h"
#include "options.h"

#define MOST (1UL << 20)

enum status {
	VERIFIED = 0,
	NOT_TRIED = 1,
	REFUSED = 3,
	WRONG = 4,
	FAILED = 5,
	RANGE_LOST = 6
};

static const char *memory;
static unsigned char *p2p, *expected, *seen;

static enum status say(enum status status, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	fflush(stdout);
	return status;
}

static enum status judge(ssize_t result, size_t length)
{
	if (result == (ssize_t)length)
		return VERIFIED;
	if (result < 0)
		return say(errno == EREMOTEIO ? REFUSED : FAILED,
			   "%zu bytes: %s", length, strerror(errno));
	return say(FAILED, "%zd of %zu bytes", result, length);
}

static void host_read(int fd, unsigned char *data, size_t length, off_t offset)
{
	ssize_t result = pread(fd, data, length, offset);

	if (result < 0)
		err(NOT_TRIED, "reading into host memory");
	if (result != (ssize_t)length)
		errx(NOT_TRIED, "reading into host memory: %zd of %zu bytes",
		     result, length);
}

static enum status compare(size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (seen[i] != expected[i])
			return say(WRONG,
				   "byte %zu of %zu is %#x, expected %#x", i,
				   length, seen[i], expected[i]);
	return VERIFIED;
}

/* Memory that does not hold what is put there is no fault of the I/O. */
static enum status fill_p2p(const unsigned char *data, size_t length)
{
	copy_words(p2p, data, length);
	copy_words(seen, p2p, length);
	if (memcmp(seen, data, length))
		return say(
			FAILED,
			"P2P memory does not hold what the CPU writes there");
	return VERIFIED;
}

/* PRP 1 alone, a PRP list or an SGL, and several pages of a list or several commands */
static const size_t lengths[] = { PAGE, 3 * PAGE, MOST };
#define NR_LENGTHS (sizeof(lengths) / sizeof(*lengths))

/* Map as much P2P memory as there is. Return: how many of the lengths it has room for. */
static unsigned int map_most(void)
{
	int fd = open(memory, O_RDWR);
	unsigned int nr;

	if (fd < 0)
		err(NOT_TRIED, "%s", memory);
	for (nr = NR_LENGTHS; nr; nr--) {
		void *map = mmap(NULL, lengths[nr - 1], PROT_READ | PROT_WRITE,
				 MAP_SHARED, fd, 0);

		if (map != MAP_FAILED) {
			p2p = map;
			close(fd);
			return nr;
		}
	}
	err(NOT_TRIED, "%s: mapping %zu bytes", memory, lengths[0]);
}

static enum status verify_read_of(int fd, const char *device, size_t length)
{
	enum status status;

	/* Somebody may write there meanwhile. */
	for (int tries = 0; tries < 5; tries++) {
		host_read(fd, expected, length, 0);
		for (size_t i = 0; i < length; i++)
			expected[length + i] = ~expected[i];
		status = fill_p2p(expected + length, length);
		if (status)
			return status;
		status = judge(pread(fd, p2p, length, 0), length);
		if (status)
			return status;
		host_read(fd, expected + length, length, 0);
		if (memcmp(expected, expected + length, length))
			continue;
		copy_words(seen, p2p, length);
		return compare(length);
	}
	errx(NOT_TRIED, "the first %zu bytes of %s change all the time", length,
	     device);
}

static enum status verify_read(const char *device)
{
	int fd = open(device, O_RDONLY | O_DIRECT);
	enum status status = VERIFIED;
	unsigned int i, nr;
	uint64_t size;

	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size))
		err(NOT_TRIED, "%s", device);
	nr = map_most();
	for (i = 0; i < nr && lengths[i] <= size && !status; i++)
		status = verify_read_of(fd, device, lengths[i]);
	if (!i)
		errx(NOT_TRIED, "%s has less than %zu bytes", device,
		     lengths[0]);
	return status ?: say(VERIFIED, "up to %zu bytes as through host memory",
			     lengths[i - 1]);
}

/* Write new data out of P2P memory, and read it back through host memory. */
static enum status write_random(int fd, size_t length, off_t offset)
{
	enum status status;

	if (getrandom(&random_state, sizeof(random_state), 0) < 0)
		err(NOT_TRIED, "getrandom");
	fill_random(expected, length);
	status = fill_p2p(expected, length) ?:
			 judge(pwrite(fd, p2p, length, offset), length);
	if (status)
		return status;
	if (pread(fd, seen, length, offset) != (ssize_t)length)
		return say(FAILED, "what was written cannot be read");
	return compare(length) ?:
		       say(VERIFIED, "%zu bytes read back through host memory",
			   length);
}

static enum status verify_file(const char *path)
{
	enum status status;
	int fd;

	p2p = map_memory(memory, PAGE);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_DIRECT, 0600);
	if (fd < 0)
		err(NOT_TRIED, "%s, which has to be a new file", path);
	/* whatever ends this, no file stays */
	if (unlink(path))
		err(NOT_TRIED, "%s", path);
	/* a block that is there, so that no byte comes from a hole */
	memset(seen, 0, PAGE);
	if (pwrite(fd, seen, PAGE, 0) != PAGE || fsync(fd))
		err(NOT_TRIED, "%s", path);
	status = write_random(fd, PAGE, 0);
	close(fd);
	return status;
}

static bool sync_folder(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY);
	bool synced = fd >= 0 && !fsync(fd);

	close(fd);
	return synced;
}

/* It has to outlast a crash, with its name and that of its folder, which may be as young. */
static void save(const char *path, const unsigned char *data, size_t length)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	char *folder = strdup(path);

	if (fd < 0)
		err(NOT_TRIED, "saving what was there to %s", path);
	if (write(fd, data, length) != (ssize_t)length || fsync(fd) ||
	    !folder || !sync_folder(dirname(folder)) ||
	    !sync_folder(dirname(folder))) {
		warn("saving what was there to %s", path);
		unlink(path);
		exit(NOT_TRIED);
	}
	free(folder);
	close(fd);
}

/* The number behind the last colon, which is cut off. */
static uint64_t last_number(char *range)
{
	char *colon = strrchr(range, ':'), *end;
	uint64_t number;

	if (!colon)
		errx(NOT_TRIED, "--range wants DEV:OFFSET:LENGTH");
	*colon = 0;
	errno = 0;
	number = strtoull(colon + 1, &end, 10);
	if (errno || end == colon + 1 || *end)
		errx(NOT_TRIED, "--range wants numbers of bytes");
	return number;
}

static enum status verify_range(char *range, const char *saved)
{
	uint64_t offset, length, size;
	enum status status;
	sigset_t all;
	int lba_size, fd;

	length = last_number(range);
	offset = last_number(range);
	if (!saved)
		errx(NOT_TRIED, "--range wants --save");
	/* refused while it is mounted, or md or dm hold it; who else writes there is not seen */
	fd = open(range, O_RDWR | O_DIRECT | O_EXCL);
	if (fd < 0)
		err(NOT_TRIED, "%s, which nobody may have in use", range);
	if (ioctl(fd, BLKSSZGET, &lba_size) || ioctl(fd, BLKGETSIZE64, &size))
		err(NOT_TRIED, "%s", range);
	if (!length || length > MOST || offset % lba_size ||
	    length % lba_size || length > size || offset > size - length)
		errx(NOT_TRIED,
		     "the range must be blocks of %d bytes within %s, at most %lu bytes",
		     lba_size, range, MOST);

	p2p = map_memory(memory, (length + PAGE - 1) & ~(PAGE - 1));
	host_read(fd, expected + MOST, length, offset);
	save(saved, expected + MOST, length);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	status = write_random(fd, length, offset);
	if (pwrite(fd, expected + MOST, length, offset) != (ssize_t)length ||
	    fsync(fd) || pread(fd, seen, length, offset) != (ssize_t)length ||
	    memcmp(seen, expected + MOST, length))
		errx(RANGE_LOST,
		     "what was at %lu of %s could NOT be put back; it is in %s",
		     offset, range, saved);
	unlink(saved);
	return status;
}

int main(int argc, char **argv)
{
	static const char *device, *file, *range, *saved;
	static const struct option_entry options[] = {
		{ "p2p", "PATH", "p2pmem/allocate of the provider",
		  .text = &memory },
		{ "device", "DEV",
		  "read the first bytes of this block device, up to 1 MiB, compare",
		  .text = &device },
		{ "file", "FILE",
		  "write 4096 bytes to this new file, compare, remove it",
		  .text = &file },
		{ "range", "DEV:OFFSET:LENGTH",
		  "write over these bytes of a block device, compare, put back what was there",
		  .text = &range },
		{ "save", "PATH", "where that is kept meanwhile, a new file",
		  .text = &saved },
		{}
	};

	parse_options(
		argc, argv,
		"Usage: p2p_verify --p2p PATH (--device DEV | --file FILE | --range DEV:OFFSET:LENGTH --save PATH)\n\n"
		"Exit status: 0 verified, 1 not tried, 3 refused (EREMOTEIO), 4 wrong data, 5 failed.",
		options);
	if (!memory || !device + !file + !range != 2)
		errx(NOT_TRIED,
		     "--p2p and one of --device, --file and --range are needed, see --help");
	expected = aligned_alloc(PAGE, 2 * MOST);
	seen = aligned_alloc(PAGE, MOST);
	if (!expected || !seen)
		err(NOT_TRIED, "memory");
	if (device)
		return verify_read(device);
	return file ? verify_file(file) : verify_range(strdup(range), saved);
}
