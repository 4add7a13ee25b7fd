/**
 * @file waiter.h
 * How a thread sleeps until something it cares about happens, and how others wake it.
 *
 * Of all threads that sleep, one (the leader) also watches the engine's doorbell and its control
 * connection; having drained the rings it wakes just those whose sockets saw events. The others
 * sleep on an eventfd of their own. Every sleep is a real ppoll(), so that signals, masks,
 * cancellation and timeouts behave as in Linux. Not a scheduler: nobody runs here but the callers.
 *
 * Lost wake-ups are excluded thus: who sleeps first puts itself on the queues of what it awaits,
 * then looks at the condition once more; who makes a condition true does so first, then looks at
 * the queue. Both look under the lock of the awaited object.
 */
#ifndef PNO_HOSTLIB_WAITER_H
#define PNO_HOSTLIB_WAITER_H

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/time_units.h"

struct lock;

struct file;
struct waiter;

/** Part of whatever can be waited for. All zero: nobody waits. */
struct wait_queue {
    struct wait_node *_Atomic head;
};

/** One waiter on one queue; lives with the waiter. */
struct wait_node {
    struct wait_node *next;
    struct wait_node **link; /**< what points here; NULL: on no queue */
    struct wait_node *next_of_waiter;
    struct wait_queue *queue;
    struct waiter *waiter;
};

struct waiter {
    struct waiter *next, **link; /**< among all waiters */
    struct waiter *outer; /**< this thread's, in which the handler that waits here was called */
    struct wait_node *nodes;
    struct file *held;       /**< reference to give back if the thread is cancelled */
    struct pollfd *own_poll; /**< while asleep or about to: where event_fd is watched */
    int event_fd;            /**< -1 while the process has one thread and nobody wakes us */
    _Atomic bool woken;
    bool woke_itself;  /**< while about to sleep it applied an event that it waits for */
    bool rung;         /**< event_fd was written to */
    bool restarts;     /**< a handler with SA_RESTART does not end the call */
    bool ends_by_stop; /**< -EINTR once the process was stopped; needs no `restarts` */
    bool handled;      /**< a handler was called meanwhile */
    bool interrupted;  /**< ... one without SA_RESTART */
    bool is_leader;
    bool follows;         /**< asleep, or about to be, while another leads */
    bool is_suspended;    /**< its thread is in a handler */
    uint32_t led_as;      /**< how many had led when it was suspended as leader */
    bool cancels_at_once; /**< asleep with ends_by_stop: cancel_type is the program's */
    int cancel_type;
    bool slept; /**< the last waiter_sleep() asked the kernel about its descriptors */
};

/** pollfd entries at the start of the array given to waiter_sleep() that are its own. */
#define WAITER_POLLFDS 4

/** Start waiting; `held` is given back by file_put() should the thread be cancelled, or NULL. */
void waiter_begin(struct waiter *waiter, struct file *held);

/** Also wake up for this queue; node is the caller's and stays until waiter_end(). */
void waiter_watch(struct waiter *waiter, struct wait_node *node, struct wait_queue *queue);

/**
 * Sleep once: until woken, an engine event, a kernel descriptor's event, a signal, or the deadline.
 * The caller has looked at its condition since waiter_watch(), and looks again afterwards. What is
 * read but not told to the engine yet is told first.
 * @param pollfds      WAITER_POLLFDS free entries, then kernel_count of the caller's.
 * @param deadline_ns  by waiter_now_ns(); TIME_NEVER for none; 0: do not sleep.
 * @param mask         signal mask while asleep, or NULL; not with waiter->restarts.
 * @return 0: look again; -EINTR (with waiter->restarts only by a handler without SA_RESTART; with
 *         waiter->ends_by_stop also after a stop); -ETIMEDOUT.
 */
int waiter_sleep(struct waiter *waiter, struct pollfd *pollfds, nfds_t kernel_count,
                 uint64_t deadline_ns, const sigset_t *mask);

/**
 * A handler is about to be called in this thread: it waits apart from the call that it interrupts.
 * @param restarts  it has SA_RESTART.
 * @return for waiter_go_on(), after the handler.
 */
struct waiter *waiter_interrupt(bool restarts);
void waiter_go_on(struct waiter *waiter);

/** Whether this thread is in a handler that has interrupted a wait. */
bool waiter_is_interrupted(void);

/** The handler is about to jump to where the stack pointer was this: end, as if their thread were
    cancelled, the waits of calls that are left by that. */
void waiter_abandon(uintptr_t stack_pointer);

/** Whether this thread is between waiter_begin() and waiter_end(). */
bool waiter_is_waiting(void);

/** Stop waiting: leave all queues; another waiter leads from now on if this one did. */
void waiter_end(struct waiter *waiter);

void wait_queue_wake_slowly(struct wait_queue *queue, bool one);

/** Whether anybody waits who is not on the way to wake up. */
bool wait_queue_has_sleeper(struct wait_queue *queue);

/** Wake all (or one) who wait. The condition is already true. */
static inline void wait_queue_wake(struct wait_queue *queue, bool one)
{
    if (__builtin_expect(atomic_load_explicit(&queue->head, memory_order_relaxed) != NULL, 0))
        wait_queue_wake_slowly(queue, one);
}

/** Wake every waiter there is: the engine died. */
void waiter_wake_all(void);

/** Monotonic time. */
uint64_t waiter_now_ns(void);

/** now + timeout; NULL: TIME_NEVER. */
uint64_t waiter_deadline_ns(const struct timespec *timeout);

/** What fork() has to hold and its child to reset. */
struct lock *waiter_fork_lock(void);

/** In a forked child: the other threads' waiters don't exist; eventfds are made anew. */
void waiter_fork_child(void);

#endif
