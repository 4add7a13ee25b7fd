/**
 * @file user_memory.h
 * Pointers that the application gives us where the kernel would expect them. The kernel answers
 * EFAULT to a bad one, and so do we: every access goes through the functions below, whose faults
 * the handler in signals.c turns into their failure. That costs nothing while pointers are good.
 *
 * Not caught in a thread that blocks SIGSEGV, or where the program ignores it: the kernel ends it.
 */
#ifndef PNO_HOSTLIB_USER_MEMORY_H
#define PNO_HOSTLIB_USER_MEMORY_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Below: vm.mmap_min_addr; at and above: the kernel's half. */
#define USER_MEMORY_LOWEST ((uintptr_t)1 << 16)
#define USER_MEMORY_END    ((uintptr_t)1 << 47)

/**
 * memcpy() that may fault: count bytes that do not overlap, either side the application's.
 * @return 0; 1: it faulted, and some bytes may have been copied.
 */
int user_memory_copy(void *to, const void *from, size_t count);

/** Whether `count` bytes (at least one) can be read there. */
int user_memory_try_read(const volatile void *pointer, size_t count);

/** ... and written; they stay as they are. */
int user_memory_try_write(volatile void *pointer, size_t count);

/** In the handler of a fault: end the access by one of the above. @return false: it was none. */
bool user_memory_end_access(void *ucontext);

/** Whether so many bytes from there on end within user space. */
static inline bool user_memory_holds(const volatile void *pointer, size_t count)
{
    return count <= USER_MEMORY_END && (uintptr_t)pointer <= USER_MEMORY_END - count;
}

/** Whether not all of `count` bytes (at least one) can be read there. */
static inline bool user_memory_unreadable(const volatile void *pointer, size_t count)
{
    return (uintptr_t)pointer < USER_MEMORY_LOWEST || !user_memory_holds(pointer, count) ||
           user_memory_try_read(pointer, count) != 0;
}

static inline bool user_memory_unwritable(volatile void *pointer, size_t count)
{
    return (uintptr_t)pointer < USER_MEMORY_LOWEST || !user_memory_holds(pointer, count) ||
           user_memory_try_write(pointer, count) != 0;
}

/** @return 0; -EFAULT. */
static inline int user_memory_copy_in(void *to, const void *from, size_t count)
{
    return user_memory_copy(to, from, count) == 0 ? 0 : -EFAULT;
}

static inline int user_memory_copy_out(void *to, const void *from, size_t count)
{
    return user_memory_copy(to, from, count) == 0 ? 0 : -EFAULT;
}

#endif
