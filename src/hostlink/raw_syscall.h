/**
 * @file raw_syscall.h
 * syscall() that goes straight to the kernel. Included ahead of every file of hostlink and hostlib
 * (by their meson.build): libpno.so exports syscall() to applications, and its own calls must never
 * come back to it.
 */
#ifndef PNO_HOSTLINK_RAW_SYSCALL_H
#define PNO_HOSTLINK_RAW_SYSCALL_H

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h> /* declares the function before the macro hides it */

#ifndef __x86_64__
#error                                                                                             \
    "libpno.so makes its system calls in x86-64 assembly: another architecture needs its own here"
#endif

/* The analyzer believes that assembly writes nothing; of libc's function it knows better. */
#ifndef __clang_analyzer__

/* Results from here on are negative errno. Source: syscall(2), x86-64. */
#define RAW_SYSCALL_ERROR_FIRST (-4095L)

static inline long raw_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    if ((unsigned long)result < (unsigned long)RAW_SYSCALL_ERROR_FIRST)
        return result;
    errno = (int)-result;
    return -1;
}

#define RAW_SYSCALL_OF(number, a, b, c, d, e, f, ...)                                              \
    raw_syscall((long)(number), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

#define syscall(...) RAW_SYSCALL_OF(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

#endif
#endif
