#include "hostlib/lock.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SPINS_BEFORE_SLEEP 100

/* How often a waiter asks whether the owner is still alive. */
#define OWNER_CHECK_NS 50000000L

_Thread_local uint32_t lock_thread_id;

uint32_t lock_fetch_thread_id(void)
{
    lock_thread_id = (uint32_t)syscall(SYS_gettid);
    return lock_thread_id;
}

static bool owner_is_dead(uint32_t owner)
{
    int saved_errno = errno;
    bool dead = syscall(SYS_tkill, owner, 0) != 0 && errno == ESRCH;
    errno = saved_errno;
    return dead;
}

static bool spin_acquire(struct lock *lock, uint32_t self)
{
    for (int i = 0; i < SPINS_BEFORE_SLEEP; i++) {
        uint32_t expected = 0;
        if (atomic_load_explicit(&lock->word, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_weak_explicit(&lock->word, &expected, self,
                                                  memory_order_acquire, memory_order_relaxed))
            return true;
        __builtin_ia32_pause();
    }
    return false;
}

void lock_acquire_contended(struct lock *lock, uint32_t self)
{
    if (spin_acquire(lock, self))
        return;
    int saved_errno = errno;
    for (;;) {
        uint32_t word = atomic_load_explicit(&lock->word, memory_order_relaxed);
        if (word == 0) {
            /* Others may sleep: stay marked as contended, at the price of one wake too many. */
            if (atomic_compare_exchange_strong_explicit(&lock->word, &word, self | LOCK_CONTENDED,
                                                        memory_order_acquire, memory_order_relaxed))
                break;
            continue;
        }
        uint32_t contended = word | LOCK_CONTENDED;
        if (word != contended &&
            !atomic_compare_exchange_strong_explicit(&lock->word, &word, contended,
                                                     memory_order_relaxed, memory_order_relaxed))
            continue;
        struct timespec timeout = {.tv_nsec = OWNER_CHECK_NS};
        long result = syscall(SYS_futex, &lock->word, FUTEX_WAIT, contended, &timeout, NULL, 0);
        if (result != 0 && errno == ETIMEDOUT && owner_is_dead(contended & ~LOCK_CONTENDED) &&
            atomic_compare_exchange_strong_explicit(&lock->word, &contended, self | LOCK_CONTENDED,
                                                    memory_order_acquire, memory_order_relaxed))
            break;
    }
    errno = saved_errno;
}

void lock_release_contended(struct lock *lock)
{
    int saved_errno = errno;
    syscall(SYS_futex, &lock->word, FUTEX_WAKE, 1, NULL, NULL, 0);
    errno = saved_errno;
}
