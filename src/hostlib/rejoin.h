/**
 * @file rejoin.h
 * Listeners that outlive their engine: when it has died they are kept here, and are made again at
 * the next one. Nobody runs for that but the calls that wait for such a listener: they look for an
 * engine at intervals that grow to a second, and only as long as there is something to make again.
 *
 * Only what this process waits for is made again (accept(), poll(), an epoll set): a parent that
 * left its listener to its children must not take connections from them. What several processes
 * share each of them makes for itself, as with SO_REUSEPORT.
 */
#ifndef PNO_HOSTLIB_REJOIN_H
#define PNO_HOSTLIB_REJOIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/time_units.h"

struct lock;
struct socket;

extern struct socket *_Atomic rejoin_first;

/** The listener's engine has died. Lock held. Harmless if it is known already. */
void rejoin_add(struct socket *listener);

/** It listens no more, or is freed. */
void rejoin_remove(struct socket *listener);

/** Whether any listener waits for an engine. */
static inline bool rejoin_is_wanted(void)
{
    return atomic_load_explicit(&rejoin_first, memory_order_relaxed) != NULL;
}

void rejoin_try(void);

/** Look for an engine if it is time to, and make the listeners again there. No locks held. */
static inline void rejoin_poll(void)
{
    if (__builtin_expect(rejoin_is_wanted(), 0))
        rejoin_try();
}

/** When rejoin_poll() will do something again; TIME_NEVER: nothing waits. */
uint64_t rejoin_due_ns(void);

/** Before fork(): parent and child have these listeners both. */
void rejoin_share(void);

/** What fork() has to hold and its child to reset. */
struct lock *rejoin_fork_lock(void);

#endif
