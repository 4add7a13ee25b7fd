#include "hostlib/rejoin.h"

#include <errno.h>
#include <stddef.h>

#include "base/log.h"
#include "hostlib/engine_link.h"
#include "hostlib/socket.h"
#include "hostlib/socket_extra.h"
#include "hostlib/waiter.h"

/* How long after an engine's death, and after each vain attempt, the next one comes. */
#define FIRST_PAUSE_NS (20 * NS_PER_MS)
#define PAUSE_MAX_NS   NS_PER_S

struct socket *_Atomic rejoin_first;

static struct lock rejoin_lock;   /* the list, chained by rejoin_next */
static _Atomic uint64_t next_ns;  /* of attempts */
static uint64_t pause_ns;         /* before the next but one; the attempting thread's */
static _Atomic bool is_under_way; /* some thread attempts */

void rejoin_add(struct socket *listener)
{
    lock_acquire(&rejoin_lock);
    struct socket_bound *bound = socket_bound_of(listener);
    if (!bound->rejoins) {
        struct socket *first = atomic_load_explicit(&rejoin_first, memory_order_relaxed);
        if (first == NULL) {
            pause_ns = FIRST_PAUSE_NS;
            atomic_store_explicit(&next_ns, waiter_now_ns() + pause_ns, memory_order_relaxed);
        }
        bound->rejoins = true;
        bound->rejoin_next = first;
        atomic_store_explicit(&rejoin_first, listener, memory_order_release);
    }
    lock_release(&rejoin_lock);
}

static struct socket *next_of(const struct socket *listener)
{
    return socket_bound_of(listener)->rejoin_next;
}

/* rejoin_lock held. */
static void unlink_listener(struct socket *listener)
{
    struct socket *first = atomic_load_explicit(&rejoin_first, memory_order_relaxed);
    if (first == listener) {
        atomic_store_explicit(&rejoin_first, next_of(listener), memory_order_release);
    } else {
        while (next_of(first) != listener)
            first = next_of(first);
        socket_bound_of(first)->rejoin_next = next_of(listener);
    }
    socket_bound_of(listener)->rejoins = false;
}

void rejoin_remove(struct socket *listener)
{
    if (!rejoin_is_wanted())
        return;
    lock_acquire(&rejoin_lock);
    if (socket_bound_of(listener) != NULL && socket_bound_of(listener)->rejoins)
        unlink_listener(listener);
    lock_release(&rejoin_lock);
}

static bool is_awaited(const struct socket *listener)
{
    return listener->items != NULL || socket_bound_of(listener)->accepts ||
           atomic_load_explicit(&listener->waiters.head, memory_order_relaxed) != NULL;
}

/* The next one to try in this attempt, with a reference; each is tried once. */
static struct socket *take_next(uint32_t attempt)
{
    lock_acquire(&rejoin_lock);
    struct socket *listener = atomic_load_explicit(&rejoin_first, memory_order_relaxed);
    while (listener != NULL && (socket_bound_of(listener)->rejoin_attempt == attempt ||
                                !is_awaited(listener) || !file_hold_living(&listener->file)))
        listener = next_of(listener);
    if (listener != NULL)
        socket_bound_of(listener)->rejoin_attempt = attempt;
    lock_release(&rejoin_lock);
    return listener;
}

static bool any_is_awaited(void)
{
    lock_acquire(&rejoin_lock);
    struct socket *listener = atomic_load_explicit(&rejoin_first, memory_order_relaxed);
    while (listener != NULL && !is_awaited(listener))
        listener = next_of(listener);
    lock_release(&rejoin_lock);
    return listener != NULL;
}

/* An engine that has died since has found the listener in the list; then it stays there. */
static void done(struct socket *listener, const struct engine_link *link)
{
    lock_acquire(&rejoin_lock);
    if (socket_bound_of(listener)->rejoins &&
        !atomic_load_explicit(&link->dead, memory_order_acquire))
        unlink_listener(listener);
    lock_release(&rejoin_lock);
}

static void attempt_all(struct engine_link *link)
{
    static uint32_t attempts;
    uint32_t attempt = ++attempts;
    struct socket *listener;
    while ((listener = take_next(attempt)) != NULL) {
        int error = socket_listen_again(listener, link);
        if (error == 0)
            done(listener, link);
        else if (error != -EADDRINUSE && error != -ECONNRESET)
            log_info("a listener can't be made again at the restarted engine: error %d", -error);
        file_put(&listener->file);
    }
}

void rejoin_try(void)
{
    uint64_t now_ns = waiter_now_ns();
    if (now_ns < atomic_load_explicit(&next_ns, memory_order_relaxed) || !any_is_awaited() ||
        atomic_exchange_explicit(&is_under_way, true, memory_order_acquire))
        return;
    int saved_errno = errno;
    struct engine_link *link = engine_link_attach_now();
    if (link != NULL)
        attempt_all(link);
    pause_ns = pause_ns * 2 < PAUSE_MAX_NS ? pause_ns * 2 : PAUSE_MAX_NS;
    atomic_store_explicit(&next_ns, waiter_now_ns() + pause_ns, memory_order_relaxed);
    errno = saved_errno;
    atomic_store_explicit(&is_under_way, false, memory_order_release);
}

uint64_t rejoin_due_ns(void)
{
    if (!rejoin_is_wanted() || !any_is_awaited())
        return TIME_NEVER;
    uint64_t due_ns = atomic_load_explicit(&next_ns, memory_order_relaxed);
    /* A thread that attempts, or fails to, must not have the others spin. */
    uint64_t soonest_ns = waiter_now_ns() + NS_PER_MS;
    return due_ns > soonest_ns ? due_ns : soonest_ns;
}

void rejoin_share(void)
{
    lock_acquire(&rejoin_lock);
    for (struct socket *listener = atomic_load_explicit(&rejoin_first, memory_order_relaxed);
         listener != NULL; listener = next_of(listener))
        socket_bound_of(listener)->shared_out = true;
    lock_release(&rejoin_lock);
}

struct lock *rejoin_fork_lock(void)
{
    return &rejoin_lock;
}
