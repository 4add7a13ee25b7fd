/**
 * @file syscall_copy.h
 * A system call instruction is replaced by a jump to a copy of what is around it, which asks the
 * library first whether the call is one of its own.
 */
#ifndef PNO_HOSTLIB_SYSCALL_COPY_H
#define PNO_HOSTLIB_SYSCALL_COPY_H

#include <stdbool.h>
#include <stdint.h>

/** The copies of one object: near enough for jumps both ways. All zero: none yet. */
struct syscall_copies {
    uint8_t *start, *end, *next;
};

/** The function that an instruction lies in. */
struct syscall_function {
    const uint8_t *start, *end;
};

/** Once, before any other. */
void syscall_copy_init(void);

/** Whether the library takes calls of that number. */
bool syscall_copy_takes(long number);

/** Replace the instruction at `site`, in writable memory. @return false: it can't be, and is as it
    was. */
bool syscall_copy_make(struct syscall_copies *copies, const struct syscall_function *function,
                       uint8_t *site);

/** No more will be made. */
void syscall_copies_end(struct syscall_copies *copies);

#endif
