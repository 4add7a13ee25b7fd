/**
 * @file user_memory.h
 * Pointers that the application gives us where the kernel would expect them. The kernel answers
 * EFAULT to a bad one; here those that can never be good are told apart (NULL, small numbers made
 * pointers, anything beyond user space). Not a check of what is mapped: other wild pointers fault.
 */
#ifndef PNO_HOSTLIB_USER_MEMORY_H
#define PNO_HOSTLIB_USER_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Below: vm.mmap_min_addr; at and above: the kernel's half. */
#define USER_MEMORY_LOWEST ((uintptr_t)1 << 16)
#define USER_MEMORY_END    ((uintptr_t)1 << 47)

/** Whether nothing can lie there. For accesses of at least one byte. */
static inline bool user_memory_is_bad(const volatile void *pointer)
{
    return (uintptr_t)pointer - USER_MEMORY_LOWEST >= USER_MEMORY_END - USER_MEMORY_LOWEST;
}

/** Whether so many bytes from there on end within user space. */
static inline bool user_memory_holds(const volatile void *pointer, size_t count)
{
    return count <= USER_MEMORY_END && (uintptr_t)pointer <= USER_MEMORY_END - count;
}

#endif
