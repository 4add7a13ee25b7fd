#include "hostlib/poll_unrestarted.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/rseq.h>
#include <sys/syscall.h>

/* Bytes of the kernel's signal set. */
#define KERNEL_MASK_BYTES 8

/* From the thread pointer to libc's struct rseq; 0: there is none. */
static ptrdiff_t rseq_offset;

void poll_unrestarted_init(void)
{
    const ptrdiff_t *offset = dlsym(RTLD_DEFAULT, "__rseq_offset");
    const unsigned *size = dlsym(RTLD_DEFAULT, "__rseq_size");
    if (offset != NULL && size != NULL && *size != 0)
        rseq_offset = *offset;
}

/* Thread-local, as libc registers one for each thread. Without one nothing looks at it. */
static struct rseq *own_rseq(struct rseq *none)
{
    if (rseq_offset == 0)
        return none;
    return (struct rseq *)(void *)((char *)__builtin_thread_pointer() + rseq_offset);
}

/* One system call, as a sequence of one instruction, label 1 to 2. The instruction itself leaves
   its return address in rcx, which was 0: so an abort tells whether the thread had been in the
   kernel, or lost its processor just before. After a return, aborted or not, the sequence is
   over. Source: Linux kernel/rseq.c, rseq_ip_fixup(); arch/x86/kernel/signal.c,
   arch_do_signal_or_restart(). */
static long call(struct rseq *rseq, struct pollfd *pollfds, nfds_t count, struct timespec *timeout,
                 const sigset_t *mask, bool *restarted)
{
    long result = SYS_ppoll;
    uintptr_t entered;
    uint32_t aborted = 0;
    register struct timespec *third __asm__("rdx") = timeout;
    register const sigset_t *fourth __asm__("r10") = mask;
    register long fifth __asm__("r8") = KERNEL_MASK_BYTES;
    __asm__ volatile(
        ".pushsection .data.rel.ro.pno_rseq, \"aw\"\n\t"
        ".balign 32\n"
        "3:\t.long 0, 0\n\t"
        ".quad 1f, 2f - 1f, 4f\n\t"
        ".popsection\n\t"
        "leaq 3b(%%rip), %%rcx\n\t"
        "movq %%rcx, %[sequence]\n\t"
        "xorl %%ecx, %%ecx\n"
        "1:\tsyscall\n"
        "2:\tjmp 5f\n\t"
        ".byte 0x0f, 0xb9, 0x3d\n\t" /* ud1, whose operand is the signature */
        ".long %c[signature]\n"
        "4:\tmovl $1, %[aborted]\n"
        "5:"
        : "+a"(result), "=&c"(entered), [aborted] "+r"(aborted), [sequence] "=m"(rseq->rseq_cs)
        : "D"(pollfds), "S"(count), "r"(third), "r"(fourth), "r"(fifth), [signature] "i"(RSEQ_SIG)
        : "r11", "memory");
    rseq->rseq_cs = 0;
    *restarted = aborted != 0;
    return aborted != 0 && entered != 0 ? -EINTR : result;
}

int poll_unrestarted(struct pollfd *pollfds, nfds_t count, struct timespec *timeout,
                     const sigset_t *mask)
{
    struct rseq none;
    struct rseq *rseq = own_rseq(&none);
    long result;
    bool aborted;
    do {
        result = call(rseq, pollfds, count, timeout, mask, &aborted);
    } while (aborted && result != -EINTR);
    return (int)result;
}
