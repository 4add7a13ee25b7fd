#include "hostlib/waiter.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hostlib/engine_link.h"
#include "hostlib/fd_table.h"
#include "hostlib/joined_links.h"
#include "hostlib/lock.h"
#include "hostlib/policy.h"
#include "hostlib/poll_unrestarted.h"
#include "hostlib/real.h"
#include "hostlib/rejoin.h"

/* A sleep of up to so many times the longest spin suggests that the next one may be spared. */
#define SPIN_WORTH 2

#define SPINS_PER_CLOCK_LOOK 16

/* Eventfds kept for the next sleeper. */
#define SPARE_EVENTFDS_MAX 64

static struct lock waiter_lock; /* all queues, the list of waiters, leadership */
static struct waiter *all_waiters;
static struct waiter *leader;
static uint32_t leads_begun; /* how often somebody began to lead */

/* This thread's, between waiter_begin() and waiter_end(); and that which a handler under way has
   interrupted. */
static _Thread_local struct waiter *own_waiter __attribute__((tls_model("initial-exec")));
static _Thread_local struct waiter *outer_waiter __attribute__((tls_model("initial-exec")));

/* How long it last slept as leader; only measured if spinning is allowed. */
static _Thread_local uint64_t last_sleep_ns __attribute__((tls_model("initial-exec")));

static int spare_eventfds[SPARE_EVENTFDS_MAX];
static unsigned spare_eventfd_count;

uint64_t waiter_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t waiter_deadline_ns(const struct timespec *timeout)
{
    if (timeout == NULL)
        return TIME_NEVER;
    if (timeout->tv_sec == 0 && timeout->tv_nsec == 0)
        return 0;
    uint64_t now_ns = waiter_now_ns();
    if ((uint64_t)timeout->tv_sec > (TIME_NEVER - now_ns) / NS_PER_S - 1)
        return TIME_NEVER;
    return now_ns + (uint64_t)timeout->tv_sec * NS_PER_S + (uint64_t)timeout->tv_nsec;
}

static int take_eventfd(void)
{
    if (__libc_single_threaded)
        return -1;
    lock_acquire(&waiter_lock);
    int fd = spare_eventfd_count > 0 ? spare_eventfds[--spare_eventfd_count] : -1;
    lock_release(&waiter_lock);
    if (fd >= 0)
        return fd;
    fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd < 0 ? -1 : fd_make_internal(fd);
}

static void empty_eventfd(int fd)
{
    uint64_t count;
    int saved_errno = errno;
    (void)!syscall(SYS_read, fd, &count, sizeof(count));
    errno = saved_errno;
}

static void give_eventfd(int fd)
{
    lock_acquire(&waiter_lock);
    bool kept = spare_eventfd_count < SPARE_EVENTFDS_MAX;
    if (kept)
        spare_eventfds[spare_eventfd_count++] = fd;
    lock_release(&waiter_lock);
    if (!kept)
        fd_close_internal(fd);
}

bool waiter_is_waiting(void)
{
    return own_waiter != NULL;
}

void waiter_watch(struct waiter *waiter, struct wait_node *node, struct wait_queue *queue)
{
    lock_acquire(&waiter_lock);
    struct wait_node *head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    node->waiter = waiter;
    node->queue = queue;
    node->next_of_waiter = waiter->nodes;
    waiter->nodes = node;
    node->next = head;
    node->link = NULL;
    if (head != NULL)
        head->link = &node->next;
    atomic_store_explicit(&queue->head, node, memory_order_release);
    lock_release(&waiter_lock);
}

static void unlink_node(struct wait_node *node)
{
    if (node->link != NULL)
        *node->link = node->next;
    else
        atomic_store_explicit(&node->queue->head, node->next, memory_order_release);
    if (node->next != NULL)
        node->next->link = node->link;
}

/* A thread that has no eventfd is woken from its own handler: by a descriptor that it finds in its
   array if it has yet to enter the kernel. waiter_lock held. */
static void give_event_to(struct waiter *waiter)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    waiter->event_fd = fd < 0 ? -1 : fd_make_internal(fd);
    if (waiter->own_poll != NULL)
        waiter->own_poll->fd = waiter->event_fd;
}

/* waiter_lock held. */
static void wake(struct waiter *waiter)
{
    /* Who drains the rings itself looks again; if about to sleep, it is told to. */
    if (waiter == own_waiter) {
        waiter->woke_itself = true;
        return;
    }
    if (atomic_exchange_explicit(&waiter->woken, true, memory_order_acq_rel))
        return;
    if (waiter->event_fd < 0)
        give_event_to(waiter);
    if (waiter->event_fd < 0)
        return;
    waiter->rung = true;
    uint64_t one = 1;
    int saved_errno = errno;
    (void)!syscall(SYS_write, waiter->event_fd, &one, sizeof(one));
    errno = saved_errno;
}

/* waiter_lock held. Those whose thread is in a handler can't. */
static void wake_next_leader(void)
{
    for (struct waiter *waiter = all_waiters; waiter != NULL; waiter = waiter->next) {
        if (!waiter->is_suspended) {
            wake(waiter);
            return;
        }
    }
}

void wait_queue_wake_slowly(struct wait_queue *queue, bool one)
{
    lock_acquire(&waiter_lock);
    for (struct wait_node *node = atomic_load_explicit(&queue->head, memory_order_relaxed);
         node != NULL; node = node->next) {
        bool was_awake = atomic_load_explicit(&node->waiter->woken, memory_order_relaxed);
        wake(node->waiter);
        if (one && !was_awake)
            break;
    }
    lock_release(&waiter_lock);
}

bool wait_queue_has_sleeper(struct wait_queue *queue)
{
    bool found = false;
    if (atomic_load_explicit(&queue->head, memory_order_relaxed) == NULL)
        return false;
    lock_acquire(&waiter_lock);
    for (struct wait_node *node = atomic_load_explicit(&queue->head, memory_order_relaxed);
         node != NULL && !found; node = node->next) {
        const struct waiter *waiter = node->waiter;
        found =
            !waiter->is_suspended &&
            !(waiter == own_waiter ? waiter->woke_itself
                                   : atomic_load_explicit(&waiter->woken, memory_order_relaxed));
    }
    lock_release(&waiter_lock);
    return found;
}

void waiter_wake_all(void)
{
    lock_acquire(&waiter_lock);
    for (struct waiter *waiter = all_waiters; waiter != NULL; waiter = waiter->next)
        wake(waiter);
    lock_release(&waiter_lock);
}

void waiter_begin(struct waiter *waiter, struct file *held)
{
    *waiter = (struct waiter){.held = held, .event_fd = take_eventfd(), .outer = outer_waiter};
    lock_acquire(&waiter_lock);
    waiter->next = all_waiters;
    waiter->link = &all_waiters;
    if (all_waiters != NULL)
        all_waiters->link = &waiter->next;
    all_waiters = waiter;
    /* What we drain and disarm in a handler, the call that it has interrupted must look at again.
     */
    for (struct waiter *outer = waiter->outer; outer != NULL; outer = outer->outer)
        wake(outer);
    own_waiter = waiter;
    lock_release(&waiter_lock);
}

void waiter_end(struct waiter *waiter)
{
    lock_acquire(&waiter_lock);
    own_waiter = NULL;
    for (struct wait_node *node = waiter->nodes; node != NULL; node = node->next_of_waiter)
        unlink_node(node);
    waiter->nodes = NULL;
    *waiter->link = waiter->next;
    if (waiter->next != NULL)
        waiter->next->link = waiter->link;
    if (leader == waiter)
        leader = NULL;
    /* Also when we never led: we may have been woken to lead, and have found what we waited for. */
    if (leader == NULL)
        wake_next_leader();
    lock_release(&waiter_lock);
    if (waiter->event_fd >= 0) {
        if (waiter->rung)
            empty_eventfd(waiter->event_fd);
        give_eventfd(waiter->event_fd);
    }
}

struct waiter *waiter_interrupt(bool restarts)
{
    struct waiter *waiter = own_waiter;
    if (waiter == NULL)
        return NULL;
    waiter->handled = true;
    waiter->interrupted = waiter->interrupted || !restarts;
    lock_acquire(&waiter_lock);
    own_waiter = NULL;
    outer_waiter = waiter;
    waiter->is_suspended = true;
    if (leader == waiter) {
        leader = NULL;
        waiter->led_as = leads_begun;
        wake_next_leader();
    }
    lock_release(&waiter_lock);
    return waiter;
}

void waiter_go_on(struct waiter *waiter)
{
    if (waiter == NULL)
        return;
    lock_acquire(&waiter_lock);
    waiter->is_suspended = false;
    if (waiter->is_leader && leader == NULL && leads_begun == waiter->led_as) {
        leader = waiter; /* nobody has touched what it armed */
    } else if (waiter->is_leader || (waiter->follows && leader == NULL)) {
        /* Others have led since; or who led has gone, and could not hand the lead to us. */
        waiter->is_leader = false;
        wake(waiter);
    }
    own_waiter = waiter;
    outer_waiter = waiter->outer;
    lock_release(&waiter_lock);
}

static void cancelled(void *argument)
{
    struct waiter *waiter = argument;
    struct file *held = waiter->held;
    waiter_end(waiter);
    if (held != NULL)
        file_put(held);
}

bool waiter_is_interrupted(void)
{
    return outer_waiter != NULL;
}

void waiter_abandon(uintptr_t stack_pointer)
{
    while (outer_waiter != NULL && (uintptr_t)outer_waiter < stack_pointer) {
        struct waiter *waiter = outer_waiter;
        waiter_go_on(waiter);
        if (waiter->cancels_at_once)
            (void)pthread_setcanceltype(waiter->cancel_type, NULL);
        cancelled(waiter);
    }
}

static bool lead(struct waiter *waiter)
{
    lock_acquire(&waiter_lock);
    if (leader == NULL) {
        leader = waiter;
        leads_begun++;
    }
    waiter->is_leader = leader == waiter;
    waiter->follows = !waiter->is_leader;
    lock_release(&waiter_lock);
    return waiter->is_leader;
}

/* Descriptors beyond are not looked at by select_instead(). */
#define SELECT_DESCRIPTORS_MAX (1 << 18)
#define BITS_PER_WORD          (8 * (int)sizeof(unsigned long))

/* A program may forbid itself all new descriptors, and poll() refuses to look at more than are
   allowed; select() does not. No cancellation point. */
static int select_instead(struct pollfd *pollfds, nfds_t count, const struct timespec *timeout,
                          const sigset_t *mask)
{
    unsigned long readable[SELECT_DESCRIPTORS_MAX / BITS_PER_WORD] = {0};
    int end = 0;
    for (nfds_t i = 0; i < count; i++) {
        int fd = pollfds[i].fd;
        if (fd >= SELECT_DESCRIPTORS_MAX || (fd >= 0 && pollfds[i].events != POLLIN))
            return -EINVAL;
        if (fd < 0)
            continue;
        readable[fd / BITS_PER_WORD] |= 1UL << (fd % BITS_PER_WORD);
        end = fd < end ? end : fd + 1;
    }
    struct timespec left = timeout != NULL ? *timeout : (struct timespec){0};
    struct {
        const sigset_t *set;
        size_t bytes;
    } signals = {mask, _NSIG / 8};
    long result =
        syscall(SYS_pselect6, end, readable, NULL, NULL, timeout != NULL ? &left : NULL, &signals);
    if (result < 0)
        return -errno;
    for (nfds_t i = 0; i < count; i++) {
        int fd = pollfds[i].fd;
        bool ready = fd >= 0 && (readable[fd / BITS_PER_WORD] >> (fd % BITS_PER_WORD) & 1) != 0;
        pollfds[i].revents = result > 0 && ready ? POLLIN : 0;
    }
    return (int)result;
}

/* A cancellation point as libc makes them. */
static int poll_until_stopped(struct waiter *waiter, struct pollfd *pollfds, nfds_t count,
                              const struct timespec *timeout, const sigset_t *mask)
{
    struct timespec left;
    if (timeout != NULL)
        left = *timeout;
    (void)pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &waiter->cancel_type);
    waiter->cancels_at_once = true;
    int result = poll_unrestarted(pollfds, count, timeout != NULL ? &left : NULL, mask);
    waiter->cancels_at_once = false;
    (void)pthread_setcanceltype(waiter->cancel_type, NULL);
    return result;
}

static int cancellable_ppoll(struct waiter *waiter, struct pollfd *pollfds, nfds_t count,
                             const struct timespec *timeout, const sigset_t *mask)
{
    int result;
    pthread_cleanup_push(cancelled, waiter);
    if (waiter->ends_by_stop) {
        result = poll_until_stopped(waiter, pollfds, count, timeout, mask);
    } else {
        result = REAL(ppoll)(pollfds, count, timeout, mask);
        result = result < 0 ? -errno : result;
    }
    pthread_cleanup_pop(0);
    return result == -EINVAL ? select_instead(pollfds, count, timeout, mask) : result;
}

/* Whether the handlers that were called since the wait began end it. */
static bool handlers_end(struct waiter *waiter)
{
    if (waiter->interrupted || (waiter->handled && !waiter->restarts))
        return true;
    waiter->handled = false;
    return false;
}

static bool timeout_until(uint64_t deadline_ns, struct timespec *timeout)
{
    uint64_t now_ns = waiter_now_ns();
    if (deadline_ns <= now_ns)
        return false;
    timeout->tv_sec = (time_t)((deadline_ns - now_ns) / NS_PER_S);
    timeout->tv_nsec = (long)((deadline_ns - now_ns) % NS_PER_S);
    return true;
}

/* Look at the rings for up to PNO_SPIN_US before sleeping, if the last sleep was about as short:
   an idle or slowly served thread never spins. */
static bool spin(struct engine_link *link)
{
    uint64_t limit_ns = policy_spin_ns();
    if (limit_ns == 0 || last_sleep_ns > SPIN_WORTH * limit_ns)
        return false;
    uint64_t end_ns = waiter_now_ns() + limit_ns;
    do {
        for (int i = 0; i < SPINS_PER_CLOCK_LOOK; i++) {
            if (!engine_link_empty(link))
                return true;
            __builtin_ia32_pause();
        }
    } while (waiter_now_ns() < end_ns);
    return false;
}

int waiter_sleep(struct waiter *waiter, struct pollfd *pollfds, nfds_t kernel_count,
                 uint64_t deadline_ns, const sigset_t *mask)
{
    struct timespec timeout = {0};
    waiter->slept = false;
    waiter->woke_itself = false;
    waiter->follows = false;
    if (deadline_ns != TIME_NEVER && !timeout_until(deadline_ns, &timeout))
        return -ETIMEDOUT;
    rejoin_poll();
    uint64_t rejoin_ns = rejoin_due_ns();
    bool rejoins_first = rejoin_ns < deadline_ns;
    if (rejoins_first && !timeout_until(deadline_ns = rejoin_ns, &timeout))
        return 0;
    struct engine_link *link = engine_link_current();
    bool joined = joined_links_any();
    bool leads = (link != NULL || joined) && lead(waiter);
    if (link != NULL)
        engine_link_flush(link);
    if (joined)
        joined_links_flush();
    /* Telling what was read may close a socket, and that drain the rings. */
    if (waiter->woke_itself)
        return 0;
    if (leads && link != NULL && (spin(link) || !engine_link_arm(link)))
        return 0;
    joined = joined && leads;
    if (joined && !joined_links_arm()) {
        if (link != NULL)
            engine_link_disarm(link, false);
        return 0;
    }
    leads = leads && link != NULL;
    uint64_t slept_ns = leads && policy_spin_ns() != 0 ? waiter_now_ns() : 0;
    pollfds[0] = (struct pollfd){.fd = waiter->event_fd, .events = POLLIN};
    pollfds[1] = (struct pollfd){.fd = leads ? link->doorbell_fd : -1, .events = POLLIN};
    pollfds[2] = (struct pollfd){.fd = leads ? link->control_fd : -1, .events = POLLIN};
    pollfds[3] = (struct pollfd){.fd = joined ? joined_links_wake_fd() : -1, .events = POLLIN};
    int result = 1;
    waiter->own_poll = &pollfds[0];
    atomic_signal_fence(memory_order_seq_cst);
    if (handlers_end(waiter)) {
        result = -EINTR;
    } else if (!atomic_load_explicit(&waiter->woken, memory_order_acquire)) {
        const struct timespec *left = deadline_ns == TIME_NEVER ? NULL : &timeout;
        result = cancellable_ppoll(waiter, pollfds, WAITER_POLLFDS + kernel_count, left, mask);
        if (result == -EINTR && waiter->restarts && !handlers_end(waiter))
            result = 1;
        waiter->slept = true;
    }
    waiter->own_poll = NULL;
    if (slept_ns != 0)
        last_sleep_ns = waiter_now_ns() - slept_ns;
    /* While a handler ran another may have come to lead, whose flags these are now. */
    leads = leads && waiter->is_leader;
    joined = joined && waiter->is_leader;
    if (leads)
        engine_link_disarm(link, result > 0 && pollfds[1].revents != 0);
    if (joined)
        joined_links_disarm(result > 0 && pollfds[3].revents != 0);
    if (atomic_load_explicit(&waiter->woken, memory_order_acquire)) {
        lock_acquire(&waiter_lock);
        if (waiter->rung)
            empty_eventfd(waiter->event_fd);
        waiter->rung = false;
        atomic_store_explicit(&waiter->woken, false, memory_order_relaxed);
        lock_release(&waiter_lock);
    }
    if (leads && result > 0 && pollfds[2].revents != 0)
        engine_link_died(link);
    return result < 0 ? result : result == 0 && !rejoins_first ? -ETIMEDOUT : 0;
}

struct lock *waiter_fork_lock(void)
{
    return &waiter_lock;
}

/* Whether it is this thread's, as the waits that a handler under way has interrupted are. */
static bool is_own(const struct waiter *waiter)
{
    if (waiter == own_waiter)
        return true;
    for (const struct waiter *outer = outer_waiter; outer != NULL; outer = outer->outer) {
        if (waiter == outer)
            return true;
    }
    return false;
}

void waiter_fork_child(void)
{
    for (unsigned i = 0; i < spare_eventfd_count; i++)
        fd_close_internal(spare_eventfds[i]);
    spare_eventfd_count = 0;
    struct waiter **link = &all_waiters;
    struct waiter *next;
    for (struct waiter *waiter = all_waiters; waiter != NULL; waiter = next) {
        next = waiter->next;
        fd_close_internal(waiter->event_fd);
        waiter->event_fd = -1;
        if (is_own(waiter)) {
            *link = waiter;
            waiter->link = link;
            link = &waiter->next;
            continue;
        }
        for (struct wait_node *node = waiter->nodes; node != NULL; node = node->next_of_waiter)
            unlink_node(node);
    }
    *link = NULL;
    leader = NULL;
}
