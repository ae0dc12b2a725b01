// SPDX-License-Identifier: GPL-2.0
/*
 * A guest without a kernel whose executed instructions are known: the counter's own test.
 * QEMU's -kernel boots it as a Multiboot image; when the counts are resolved it stands in for vmlinux.
 */

/* Ends a phase of the count. */
__attribute__((noinline)) void mark(void)
{
	asm volatile("nop" ::: "memory");
}

/* A function of so many instructions that always gets inlined. */
#define STEP(name, instructions)                                          \
	static inline __attribute__((always_inline)) void name(void)      \
	{                                                                 \
		asm volatile(".rept " #instructions "\n\tnop\n\t.endr" :: \
				     : "memory");                         \
	}

/* Reads the local APIC's version. From 8.2 on QEMU leaves a block at a device's register. */
#define READ_DEVICE "mov 0xfee00030, %eax"

#line 1 "block/blk-mq.c"
static inline __attribute__((always_inline)) void start_step(void)
{
	asm volatile(
		".rept 9\n\tnop\n\t.endr\n\tcall allocate\n\tcall allocate");
}

#line 1 "mm/slub.c"
/* Four instructions for whoever calls it. */
__attribute__((naked, noinline, used)) static void allocate(void)
{
	asm volatile("nop\n\t" READ_DEVICE "\n\tnop\n\tret");
}

#line 1 "lib/scatterlist.c"
STEP(segment_step, 7)

#line 1 "block/blk-merge.c"
STEP(limit_step, 5)

/* By file block's, but inlined in a function that is the DMA layer's by name. */
static inline __attribute__((always_inline)) void blk_rq_map_sg(void)
{
	asm volatile("call allocate\n\tmov $16, %ecx\n1:");
	segment_step();
	limit_step();
	asm volatile("dec %ecx\n\tjnz 1b");
}

#line 1 "drivers/nvme/host/pci.c"
/*
 * One I/O: five instructions of its own and a string instruction with its two of set-up, 11 of block,
 * 2 + 16 * (7 + 5 + 2) of the DMA layer; allocate() is called twice by block and once by the DMA layer.
 */
__attribute__((naked, noinline)) void submit(void)
{
	asm volatile("mov $scratch, %edi\n\tmov $64, %ecx\n\trep stosb");
	asm volatile("nop\n\t" READ_DEVICE "\n\tnop\n\t" READ_DEVICE);
	start_step();
	blk_rq_map_sg();
	asm volatile("ret");
}

#line 1 "init/main.c"
/* Three instructions of its own per I/O: call, decrement, jump. */
static inline __attribute__((always_inline)) void submit_many(unsigned int ios)
{
	asm volatile("1:\n\tcall submit\n\tdec %0\n\tjnz 1b"
		     : "+b"(ios)
		     :
		     : "eax", "ecx", "edi", "cc", "memory");
}

void start_kernel(void)
{
	mark();
	submit_many(100);
	mark();
	submit_many(300);
	mark();
	asm volatile("jmp leave");
}

asm(".text\n"
	"	.balign 4\n"
	"	.long 0x1badb002, 0, -0x1badb002\n"
	".globl _start\n"
	"_start:\n"
	"	mov $stack_top, %esp\n"
	"	call start_kernel\n"
	".section .leave, \"ax\"\n" /* A page of its own: QEMU leaves it in the midst of a block. */
	"	.balign 4096\n"
	"leave:\n"
	"	mov $1, %al\n"
	"	outb %al, $0xf4\n"
	".bss\n"
	"scratch:\n"
	"	.skip 4096\n"
	"stack_top:\n"
	".text\n");
