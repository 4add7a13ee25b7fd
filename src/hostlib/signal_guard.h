/**
 * @file signal_guard.h
 * Stretches of code that no handler of the program may interrupt, since a handler may call read(),
 * write() or close() on a socket of ours (POSIX promises that it can). A signal that comes in such
 * a stretch is handled at its end; see signals.c. Costs two stores and a look, no system call.
 *
 * Every lock is such a stretch (lock.h). Nothing sleeps in one for long.
 */
#ifndef PNO_HOSTLIB_SIGNAL_GUARD_H
#define PNO_HOSTLIB_SIGNAL_GUARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/** This thread's. A handler leaves `depth` as it found it, so plain stores do. */
struct signal_guard {
    uint32_t depth;   /**< stretches entered and not left */
    uint32_t pending; /**< 1: signals are held back until the outermost stretch is left */
};

extern _Thread_local struct signal_guard signal_guard __attribute__((tls_model("initial-exec")));

/** Let go of what was held back; its handlers run within. errno stays. */
void signal_guard_deliver(void);

static inline void signal_guard_enter(void)
{
    signal_guard.depth++;
    atomic_signal_fence(memory_order_seq_cst);
}

static inline void signal_guard_leave(void)
{
    atomic_signal_fence(memory_order_seq_cst);
    signal_guard.depth--;
    atomic_signal_fence(memory_order_seq_cst);
    if (__builtin_expect(signal_guard.pending != 0, 0) && signal_guard.depth == 0)
        signal_guard_deliver();
}

/** Leave all stretches in a forked child, whose locks are reset rather than released. */
void signal_guard_fork_child(void);

#endif
