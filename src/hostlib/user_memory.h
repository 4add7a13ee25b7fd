/**
 * @file user_memory.h
 * Pointers that the application gives us where the kernel would expect them. The kernel answers
 * EFAULT to a bad one; here those that can never be good are told apart (NULL, small numbers made
 * pointers, anything beyond user space). Not a check of what is mapped: other wild pointers fault.
 */
#ifndef PNO_HOSTLIB_USER_MEMORY_H
#define PNO_HOSTLIB_USER_MEMORY_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Below: vm.mmap_min_addr; at and above: the kernel's half. */
#define USER_MEMORY_LOWEST ((uintptr_t)1 << 16)
#define USER_MEMORY_END    ((uintptr_t)1 << 47)

/** Whether nothing can lie there. For accesses of at least one byte. */
static inline bool user_memory_is_bad(const volatile void *pointer)
{
    return (uintptr_t)pointer - USER_MEMORY_LOWEST >= USER_MEMORY_END - USER_MEMORY_LOWEST;
}

/**
 * Copy a small structure from the application as the kernel would: with EFAULT where nothing
 * readable lies. One system call, so for calls that are rare.
 * @return 0; -EFAULT.
 */
static inline int user_memory_copy_in(void *to, const void *from, size_t count)
{
    struct iovec local = {.iov_base = to, .iov_len = count};
    struct iovec remote = {.iov_base = (void *)(uintptr_t)from, .iov_len = count};
    int saved_errno = errno;
    long got = syscall(SYS_process_vm_readv, syscall(SYS_getpid), &local, 1, &remote, 1, 0);
    bool fault = got < 0 ? errno == EFAULT : (size_t)got < count;
    errno = saved_errno;
    if (fault)
        return -EFAULT;
    if (got < 0)
        memcpy(to, from, count); /* a sandbox without that call */
    return 0;
}

/** Whether so many bytes from there on end within user space. */
static inline bool user_memory_holds(const volatile void *pointer, size_t count)
{
    return count <= USER_MEMORY_END && (uintptr_t)pointer <= USER_MEMORY_END - count;
}

#endif
