// SPDX-License-Identifier: GPL-2.0
/* A source file for tests/mutation/test to put mutants in, with heads of functions of all kinds. */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define noinline __attribute__((noinline))
#define __maybe_unused __attribute__((unused))
#define __printf(a, b) __attribute__((format(printf, a, b)))

struct pair {
	int a;
	int b;
};

#define TWICE(x) \
	((x) + \
	 (x))

static const int table[] = {
	1,
	2,
};

static struct pair made;

/**
 * computed - what a comment says
 * @a: one
 */
static __always_inline int
computed(int a, const struct pair *pair,
	 int (*call)(int x, int y))
{
	int sum = a + pair->a;

	if (sum > 100)
		goto out;
	sum = call(sum, pair->b);
out:
	return sum;
}

static int times(int x, int y)
{
	return x * y;
}

static void set(struct pair *pair, const int list[2])
{
	pair->a = list[0];
	pair->b = list[1];
}

int nothing(void);
int nothing(void)
{
	return 0;
}

static __printf(1, 2) int say(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	return 0;
}

static int odd(unsigned int n);

static int even(unsigned int n)
{
	return n ? odd(n - 1) : 1;
}

static int odd(unsigned int n)
{
	return n ? even(n - 1) : 0;
}

bool mutant_is(int number)
{
	const char *chosen = getenv("MUTANT");

	return chosen && atoi(chosen) == number;
}

int main(void)
{
	set(&made, table);
	return say("%d %d %d %d %d\n", computed(3, &made, times), made.b, TWICE(nothing()), even(4), odd(4));
}
