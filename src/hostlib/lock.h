/**
 * @file lock.h
 * Futex mutexes that work in private and in shared memory, and single-thread elision.
 *
 * Robust: a lock whose owner was killed is taken over by who waits for it (the critical sections
 * in shared memory are written so that any prefix of their stores leaves them usable). Not
 * recursive, not fair, never held while sleeping; signal handlers wait meanwhile (signal_guard.h).
 */
#ifndef PNO_HOSTLIB_LOCK_H
#define PNO_HOSTLIB_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/single_threaded.h>

#include "hostlib/signal_guard.h"

struct lock {
    _Atomic uint32_t word; /**< 0 free; else the owner's thread id, with LOCK_CONTENDED or not */
};

#define LOCK_CONTENDED 0x80000000u

/** This thread's id, 0 = not asked for yet. */
extern _Thread_local uint32_t lock_thread_id __attribute__((tls_model("initial-exec")));

uint32_t lock_fetch_thread_id(void);
void lock_acquire_contended(struct lock *lock, uint32_t self);
void lock_release_contended(struct lock *lock);

static inline uint32_t lock_self(void)
{
    uint32_t self = lock_thread_id;
    return __builtin_expect(self != 0, 1) ? self : lock_fetch_thread_id();
}

static inline void lock_take(struct lock *lock)
{
    uint32_t expected = 0;
    uint32_t self = lock_self();
    if (!atomic_compare_exchange_strong_explicit(&lock->word, &expected, self, memory_order_acquire,
                                                 memory_order_relaxed))
        lock_acquire_contended(lock, self);
}

static inline void lock_drop(struct lock *lock)
{
    if (atomic_exchange_explicit(&lock->word, 0, memory_order_release) & LOCK_CONTENDED)
        lock_release_contended(lock);
}

/** Acquire in memory that other processes see too. */
static inline void lock_acquire_shared(struct lock *lock)
{
    signal_guard_enter();
    lock_take(lock);
}

static inline void lock_release_shared(struct lock *lock)
{
    lock_drop(lock);
    signal_guard_leave();
}

/** Acquire in private memory: nothing to exclude but handlers while the process has one thread. */
static inline void lock_acquire(struct lock *lock)
{
    signal_guard_enter();
    if (!__libc_single_threaded)
        lock_take(lock);
}

/** A lock that was elided is still 0, whether or not threads have come to be since. */
static inline void lock_release(struct lock *lock)
{
    if (atomic_load_explicit(&lock->word, memory_order_relaxed) != 0)
        lock_drop(lock);
    signal_guard_leave();
}

/** @return false: somebody else holds it. */
static inline bool lock_try_acquire(struct lock *lock)
{
    uint32_t expected = 0;
    signal_guard_enter();
    if (__libc_single_threaded ||
        atomic_compare_exchange_strong_explicit(&lock->word, &expected, lock_self(),
                                                memory_order_acquire, memory_order_relaxed))
        return true;
    signal_guard_leave();
    return false;
}

/** In a forked child: whoever held it does not exist here. */
static inline void lock_reset(struct lock *lock)
{
    atomic_store_explicit(&lock->word, 0, memory_order_relaxed);
}

#endif
