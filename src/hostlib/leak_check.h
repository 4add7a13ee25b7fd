/**
 * @file leak_check.h
 * A program may have been built with LeakSanitizer, which at its end reports what no pointer leads
 * to, and looks for these in no mapped memory but what it has been told of.
 */
#ifndef PNO_HOSTLIB_LEAK_CHECK_H
#define PNO_HOSTLIB_LEAK_CHECK_H

#include <stddef.h>

/** Of the program's sanitizer. Source: LLVM, sanitizer/lsan_interface.h. */
extern void __lsan_register_root_region(const void *memory, size_t bytes) __attribute__((weak));

/** What mapped memory points to is in use. */
static inline void leak_check_look_into(const void *memory, size_t bytes)
{
    if (__lsan_register_root_region != NULL)
        __lsan_register_root_region(memory, bytes);
}

#endif
