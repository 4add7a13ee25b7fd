/**
 * @file syscall_sites.h
 * Some programs make system calls past libc: liburing has the instruction itself, and so have
 * programs in Free Pascal and in Rust with rustix. In the program and liburing, where they make
 * calls about sockets, readiness or rings so, each such instruction is replaced by a jump to a copy
 * that asks the library first (syscall_copy.h). Done before the program starts.
 */
#ifndef PNO_HOSTLIB_SYSCALL_SITES_H
#define PNO_HOSTLIB_SYSCALL_SITES_H

#include <stdbool.h>

/** Look at the objects loaded since the last look, and rewrite those with such calls. */
void syscall_sites_rewrite(void);

/** Whether some object makes, or may have made, such calls past the library. */
bool syscall_sites_escaped(void);

#endif
