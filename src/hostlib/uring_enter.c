/* io_uring_enter(): submitting, and waiting for completions of both kinds. */
#include <errno.h>
#include <sys/epoll.h>

#include "hostlib/interpose.h"
#include "hostlib/uring.h"
#include "hostlib/uring_ring.h"
#include "hostlib/user_memory.h"

static long call_kernel(uint32_t fd, uint32_t to_submit, uint32_t least, uint32_t flags,
                        const void *argument, size_t bytes)
{
    long result = syscall(SYS_io_uring_enter, fd, to_submit, least, flags, argument, bytes);
    return result < 0 ? -errno : result;
}

/* When and how to wake from the wait, as the program said. */
struct wait_terms {
    uint64_t deadline_ns;
    const sigset_t *mask;
};

static bool parse_timeout(uint64_t address, bool is_absolute, struct wait_terms *terms)
{
    struct __kernel_timespec timeout;
    const void *from = (const void *)(uintptr_t)address;
    if (user_memory_copy_in(&timeout, from, sizeof(timeout)) < 0 || timeout.tv_sec < 0 ||
        (uint64_t)timeout.tv_nsec >= NS_PER_S)
        return false;
    uint64_t now_ns = is_absolute ? 0 : waiter_now_ns();
    if ((uint64_t)timeout.tv_sec < (TIME_NEVER - now_ns) / NS_PER_S - 1)
        terms->deadline_ns =
            now_ns + (uint64_t)timeout.tv_sec * NS_PER_S + (uint64_t)timeout.tv_nsec;
    return true;
}

/* @return whether these are terms that we can keep; else the kernel waits. */
static bool parse_terms(uint32_t flags, const void *argument, size_t bytes,
                        struct wait_terms *terms)
{
    struct io_uring_getevents_arg extended;
    *terms = (struct wait_terms){.deadline_ns = TIME_NEVER};
    if (flags & URING_ENTER_ARG_REG)
        return false;
    if ((flags & IORING_ENTER_EXT_ARG) == 0) {
        terms->mask = argument;
        return argument == NULL || (bytes == _NSIG / 8 && !user_memory_unreadable(argument, bytes));
    }
    if (bytes != sizeof(extended) || user_memory_copy_in(&extended, argument, sizeof(extended)) < 0)
        return false;
    if (extended.pad != 0 || (extended.sigmask != 0 && extended.sigmask_sz != _NSIG / 8))
        return false; /* a least time to wait; or nonsense */
    terms->mask = (const sigset_t *)(uintptr_t)extended.sigmask;
    return extended.ts == 0 ||
           parse_timeout(extended.ts, (flags & URING_ENTER_ABS_TIMER) != 0, terms);
}

/* Overflown completions, and the kernel's work that waits for its task. */
static void flush_kernel(const struct uring *ring)
{
    uint32_t flags = atomic_load_explicit(ring->program.sq_flags, memory_order_relaxed);
    if (flags & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN))
        syscall(SYS_io_uring_enter, ring->program.fd, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0);
}

/* The ring's descriptor is readable while there is any completion; who waits for more than there
   are must be told of each new one. */
static int edge_fd(struct uring *ring)
{
    if (ring->edge_fd >= 0)
        return ring->edge_fd;
    int fd = (int)syscall(SYS_epoll_create1, EPOLL_CLOEXEC);
    if (fd < 0)
        return -1;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    if (syscall(SYS_epoll_ctl, fd, EPOLL_CTL_ADD, ring->program.fd, &event) < 0) {
        syscall(SYS_close, fd);
        return -1;
    }
    ring->edge_fd = fd_make_internal(fd);
    return ring->edge_fd;
}

static void poll_link(void)
{
    struct engine_link *link = engine_link_current();
    if (link != NULL)
        engine_link_poll(link);
}

static int sleep_for_more(struct uring *ring, uint32_t least, const struct wait_terms *terms)
{
    struct waiter waiter;
    struct wait_node node;
    struct pollfd pollfds[WAITER_POLLFDS + 2];
    int result = 0;
    uint64_t deadline_ns =
        terms->deadline_ns < ring->retry_ns ? terms->deadline_ns : ring->retry_ns;
    int more_fd = least > 1 ? edge_fd(ring) : ring->program.fd;
    waiter_begin(&waiter, &ring->file);
    waiter_watch(&waiter, &node, &ring->waiters);
    poll_link();
    if (!uring_has_work(ring) && uring_ready_count(ring) < least) {
        struct epoll_event event;
        pollfds[WAITER_POLLFDS] = (struct pollfd){.fd = more_fd, .events = POLLIN};
        pollfds[WAITER_POLLFDS + 1] = (struct pollfd){
            .fd = ring->helper_pending > 0 ? ring->helper.fd : -1, .events = POLLIN};
        result = waiter_sleep(&waiter, pollfds, 2, deadline_ns, terms->mask);
        if (least > 1)
            syscall(SYS_epoll_wait, more_fd, &event, 1, 0);
    }
    waiter_end(&waiter);
    poll_link();
    return result == -ETIMEDOUT && deadline_ns != terms->deadline_ns ? 0 : result;
}

/* @return 0; -ETIME; -EINTR. */
static int wait_here(struct uring *ring, uint32_t least, const struct wait_terms *terms)
{
    if (atomic_exchange(&ring->polled, false))
        uring_worker_look_again(); /* lest it goes on to lead */
    for (;;) {
        uring_process(ring);
        flush_kernel(ring);
        if (uring_ready_count(ring) >= least)
            return 0;
        int result = sleep_for_more(ring, least, terms);
        if (result == -EINTR)
            return result;
        if (result == -ETIMEDOUT) {
            uring_process(ring);
            return uring_ready_count(ring) >= least ? 0 : -ETIME;
        }
    }
}

/* The kernel waits. Should an operation of ours come to be meanwhile, the worker carries it on. */
static long wait_natively(struct uring *ring, uint32_t fd, uint32_t to_submit, uint32_t least,
                          uint32_t flags, const void *argument, size_t bytes)
{
    atomic_fetch_add(&ring->native_waiters, 1);
    if (least > 0 && atomic_load(&ring->pending) > 0)
        uring_worker_notice(ring);
    long result = call_kernel(fd, to_submit, least, flags, argument, bytes);
    atomic_fetch_sub(&ring->native_waiters, 1);
    return result;
}

static long wait_for(struct uring *ring, uint32_t fd, uint32_t least, uint32_t flags,
                     const void *argument, size_t bytes)
{
    struct wait_terms terms;
    uint32_t most = ring->program.cq_entries;
    if (least == 0 || atomic_load(&ring->pending) == 0 ||
        !parse_terms(flags, argument, bytes, &terms))
        return wait_natively(ring, fd, 0, least, flags, argument, bytes);
    return wait_here(ring, least < most ? least : most, &terms);
}

/* IORING_SETUP_SINGLE_ISSUER, and IORING_SETUP_DEFER_TASKRUN for waiting too. */
static bool may_enter(const struct uring *ring, uint32_t to_submit)
{
    if ((ring->flags & IORING_SETUP_SINGLE_ISSUER) == 0 ||
        (to_submit == 0 && (ring->flags & IORING_SETUP_DEFER_TASKRUN) == 0))
        return true;
    return ring->submitter == 0 || ring->submitter == lock_self();
}

static long enter(struct uring *ring, uint32_t fd, uint32_t to_submit, uint32_t min_complete,
                  uint32_t flags, const void *argument, size_t bytes)
{
    long submitted = 0, waited = 0;
    uint32_t asked = to_submit;
    if (!may_enter(ring, to_submit))
        return -EEXIST;
    atomic_fetch_add_explicit(&ring->entered, 1, memory_order_relaxed);
    if (ring->flags & IORING_SETUP_SQPOLL) {
        flags &= ~(uint32_t)(IORING_ENTER_SQ_WAKEUP | IORING_ENTER_SQ_WAIT);
        to_submit = ring->program.sq_entries;
    }
    bool ours = atomic_load(&ring->pending) > 0 || ring->lag != 0 ||
                ((ring->flags & IORING_SETUP_SQPOLL) != 0);
    if (!ours && to_submit > 0) {
        lock_acquire(&ring->lock); /* registered files and buffers may change meanwhile */
        ours = uring_has_ours(ring, to_submit);
        lock_release(&ring->lock);
    }
    if (!ours)
        return wait_natively(ring, fd, to_submit, min_complete, flags, argument, bytes);
    if (to_submit > 0) {
        lock_acquire(&ring->lock);
        submitted = uring_submit(ring, to_submit);
        uring_helper_flush(ring);
        lock_release(&ring->lock);
        uring_bury(ring);
    }
    uring_process(ring);
    if (submitted >= 0 && (flags & IORING_ENTER_GETEVENTS))
        waited = wait_for(ring, fd, min_complete, flags, argument, bytes);
    if (atomic_load(&ring->pending) > 0)
        uring_worker_notice(ring);
    if ((ring->flags & IORING_SETUP_SQPOLL) && submitted >= 0)
        submitted = asked; /* to the polling thread, all is left */
    return submitted != 0 ? submitted : waited;
}

long uring_enter(uint32_t fd, uint32_t to_submit, uint32_t min_complete, uint32_t flags,
                 const void *argument, size_t argument_bytes)
{
    struct uring *ring = uring_get(fd, (flags & IORING_ENTER_REGISTERED_RING) != 0);
    if (ring == NULL)
        return call_kernel(fd, to_submit, min_complete, flags, argument, argument_bytes);
    int saved_errno = errno;
    turned_round_settle_all();
    long result = enter(ring, fd, to_submit, min_complete, flags, argument, argument_bytes);
    file_put(&ring->file);
    errno = saved_errno;
    return result;
}

long uring_call(long number, long a, long b, long c, long d, long e, long f)
{
    switch (number) {
    case SYS_io_uring_setup:
        return uring_setup((uint32_t)a, (struct io_uring_params *)b);
    case SYS_io_uring_enter:
        return uring_enter((uint32_t)a, (uint32_t)b, (uint32_t)c, (uint32_t)d, (const void *)e,
                           (size_t)f);
    default: /* SYS_io_uring_register */
        return uring_register((uint32_t)a, (uint32_t)b, (void *)c, (uint32_t)d);
    }
}
