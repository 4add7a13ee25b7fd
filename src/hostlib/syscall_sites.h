/**
 * @file syscall_sites.h
 * io_uring's system calls are seldom made by libc's syscall(): liburing, as a library or linked
 * into the program, has the instruction itself. In such objects, and no others, each such
 * instruction is replaced by a jump to a copy that asks the library first. Done before the program
 * starts.
 */
#ifndef PNO_HOSTLIB_SYSCALL_SITES_H
#define PNO_HOSTLIB_SYSCALL_SITES_H

#include <stdbool.h>

/** Look at the objects loaded since the last look, and rewrite those that make rings. */
void syscall_sites_rewrite(void);

/** Whether some object makes, or may have made, rings past the library. */
bool syscall_sites_escaped(void);

#endif
