/* The life of an operation of ours: start, wait, completion, what follows in its chain. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "hostlib/epoll.h"
#include "hostlib/interpose.h"
#include "hostlib/uring.h"
#include "hostlib/uring_ring.h"

/* So many operations are carried on before the program gets to see their completions. */
#define TRIES_MAX 1024

#define ALWAYS ((uint32_t)(EPOLLERR | EPOLLHUP))

/* ---- Waiting on a socket -------------------------------------------------------------------- */

static void watch_socket(struct uring_op *op)
{
    struct socket *socket = (struct socket *)op->file;
    lock_acquire(&uring_event_lock);
    if (op->socket_link == NULL) {
        struct uring_op **place = &socket->uring_ops;
        while (*place != NULL)
            place = &(*place)->socket_next;
        op->socket_next = NULL;
        op->socket_link = place;
        __atomic_store_n(place, op, __ATOMIC_SEQ_CST);
    }
    lock_release(&uring_event_lock);
}

/* uring_event_lock held. */
static void make_ready(struct uring_op *op)
{
    struct uring *ring = op->ring;
    if (op->ready)
        return;
    op->ready = true;
    op->ready_next = NULL;
    *ring->ready_end = op;
    ring->ready_end = &op->ready_next;
}

void uring_op_again(struct uring_op *op)
{
    lock_acquire(&uring_event_lock);
    make_ready(op);
    lock_release(&uring_event_lock);
}

static void leave_lists(struct uring_op *op)
{
    struct uring *ring = op->ring;
    lock_acquire(&uring_event_lock);
    if (op->socket_link != NULL) {
        __atomic_store_n(op->socket_link, op->socket_next, __ATOMIC_RELAXED);
        if (op->socket_next != NULL)
            op->socket_next->socket_link = op->socket_link;
        op->socket_link = NULL;
    }
    if (op->ready) {
        struct uring_op **place = &ring->ready_first;
        while (*place != op)
            place = &(*place)->ready_next;
        *place = op->ready_next;
        if (*place == NULL)
            ring->ready_end = place;
        op->ready = false;
    }
    lock_release(&uring_event_lock);
}

static void wake_ring(struct uring *ring)
{
    if (uring_is_attended(ring))
        wait_queue_wake(&ring->waiters, true);
    else
        uring_worker_wake();
}

void uring_socket_event(struct socket *socket, uint32_t key)
{
    lock_acquire(&uring_event_lock);
    for (struct uring_op *op = socket->uring_ops; op != NULL; op = op->socket_next) {
        if ((key & (op->wanted | ALWAYS)) == 0)
            continue;
        make_ready(op);
        wake_ring(op->ring);
    }
    lock_release(&uring_event_lock);
}

static struct uring_op *take_ready(struct uring *ring)
{
    lock_acquire(&uring_event_lock);
    struct uring_op *op = ring->ready_first;
    if (op != NULL) {
        ring->ready_first = op->ready_next;
        if (ring->ready_first == NULL)
            ring->ready_end = &ring->ready_first;
        op->ready = false;
    }
    lock_release(&uring_event_lock);
    return op;
}

/* ---- Making and freeing --------------------------------------------------------------------- */

static struct file *hold_file(struct uring *ring, const struct io_uring_sqe *sqe, int *fd)
{
    if ((sqe->flags & IOSQE_FIXED_FILE) == 0) {
        *fd = sqe->fd;
        struct file *file = fd_get(sqe->fd);
        if (file != NULL && file->kind == FILE_INTERNAL) {
            file_put(file);
            file = NULL;
        }
        return file;
    }
    *fd = -1;
    if ((uint32_t)sqe->fd >= ring->slot_count)
        return NULL;
    *fd = ring->slots[sqe->fd].fd;
    if (ring->slots[sqe->fd].file != NULL)
        file_hold(ring->slots[sqe->fd].file);
    return ring->slots[sqe->fd].file;
}

/* Whether sqe->fd is a descriptor, or slot, that the operation is about. */
static bool is_about_fd(uint32_t opcode)
{
    return opcode != IORING_OP_SOCKET && opcode != IORING_OP_CLOSE &&
           opcode != IORING_OP_ASYNC_CANCEL && opcode != IORING_OP_POLL_REMOVE &&
           opcode != IORING_OP_FILES_UPDATE && opcode != IORING_OP_PROVIDE_BUFFERS &&
           opcode != IORING_OP_REMOVE_BUFFERS && opcode != IORING_OP_NOP &&
           opcode != IORING_OP_TIMEOUT && opcode != IORING_OP_LINK_TIMEOUT;
}

struct uring_op *uring_op_create(struct uring *ring, const struct io_uring_sqe *sqe)
{
    struct uring_op *op = calloc(1, sizeof(*op));
    if (op == NULL)
        return NULL;
    op->ring = ring;
    op->sqe = *sqe;
    op->fd = -1;
    op->link = ring->ops_end;
    *ring->ops_end = op;
    ring->ops_end = &op->next;
    atomic_fetch_add(&ring->pending, 1);
    return op;
}

/* Completed, and nothing of it at the helper ring. */
static void op_free(struct uring_op *op)
{
    struct uring *ring = op->ring;
    *op->link = op->next;
    if (op->next != NULL)
        op->next->link = op->link;
    else
        ring->ops_end = op->link;
    atomic_fetch_sub(&ring->pending, 1);
    op->next = ring->graveyard;
    ring->graveyard = op;
}

void uring_bury(struct uring *ring)
{
    lock_acquire(&ring->lock);
    struct uring_op *op = ring->graveyard;
    ring->graveyard = NULL;
    lock_release(&ring->lock);
    while (op != NULL) {
        struct uring_op *next = op->next;
        if (op->file != NULL)
            file_put(op->file);
        free(op);
        op = next;
    }
}

/* ---- The helper ring's part ----------------------------------------------------------------- */

static struct io_uring_sqe *helper_request(struct uring_op *op, uint32_t tag)
{
    struct io_uring_sqe *entry = uring_helper_entry(op->ring);
    if (tag == URING_TAG_KERNEL)
        *entry = op->sqe;
    entry->user_data = (uintptr_t)op | tag;
    op->helpers++;
    op->ring->helper_pending++;
    return entry;
}

/* The request itself completes then. */
static void helper_cancel(struct uring_op *op, uint32_t tag)
{
    struct io_uring_sqe *entry = uring_helper_entry(op->ring);
    entry->opcode = tag == URING_TAG_TIMEOUT ? IORING_OP_TIMEOUT_REMOVE : IORING_OP_ASYNC_CANCEL;
    entry->flags = IOSQE_CQE_SKIP_SUCCESS;
    entry->fd = -1;
    entry->addr = (uintptr_t)op | tag;
}

void uring_op_poll_kernel(struct uring_op *op, uint32_t events)
{
    if (op->polls_kernel || op->fd < 0)
        return;
    op->polls_kernel = true;
    struct io_uring_sqe *entry = helper_request(op, URING_TAG_POLL);
    entry->opcode = IORING_OP_POLL_ADD;
    entry->fd = op->fd;
    entry->poll32_events = events;
}

/* An operation of the kernel's in a chain with ours. What is registered with the program's ring is
   not with this one. */
static void start_at_helper(struct uring_op *op)
{
    bool fixed = (op->sqe.flags & IOSQE_FIXED_FILE) && is_about_fd(op->sqe.opcode);
    if (fixed && op->fd < 0) {
        uring_op_complete(op, -EBADF, 0);
        return;
    }
    struct io_uring_sqe *entry = helper_request(op, URING_TAG_KERNEL);
    if (fixed) {
        entry->fd = op->fd;
        entry->flags &= (uint8_t)~IOSQE_FIXED_FILE;
    }
    entry->flags &=
        (uint8_t) ~(IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_IO_DRAIN | IOSQE_CQE_SKIP_SUCCESS);
    if (entry->opcode == IORING_OP_READ_FIXED)
        entry->opcode = IORING_OP_READ;
    else if (entry->opcode == IORING_OP_WRITE_FIXED)
        entry->opcode = IORING_OP_WRITE;
}

static void start_timeout(struct uring_op *timeout)
{
    struct io_uring_sqe *entry = helper_request(timeout, URING_TAG_TIMEOUT);
    entry->opcode = IORING_OP_TIMEOUT;
    entry->addr = timeout->sqe.addr;
    entry->len = timeout->sqe.len;
    entry->timeout_flags = timeout->sqe.timeout_flags & IORING_TIMEOUT_ABS;
    entry->timeout_flags |= timeout->sqe.timeout_flags & IORING_TIMEOUT_CLOCK_MASK;
}

static void helper_completed(uint64_t user_data, int32_t result, uint32_t flags)
{
    struct uring_op *op = (struct uring_op *)(uintptr_t)(user_data & ~(uint64_t)URING_TAG_MASK);
    op->helpers--;
    if (op->finished) {
        if (op->helpers == 0)
            op_free(op);
        return;
    }
    switch (user_data & URING_TAG_MASK) {
    case URING_TAG_POLL:
        op->polls_kernel = false;
        uring_op_again(op);
        break;
    case URING_TAG_KERNEL:
        uring_op_complete(op, result, flags);
        break;
    default: { /* URING_TAG_TIMEOUT */
        struct uring_op *timed = op->timed;
        if (timed != NULL && result == -ETIME) {
            timed->timeout = NULL;
            op->timed = NULL;
            uring_op_complete(op, -ETIME, 0);
            uring_op_complete(timed, -ECANCELED, 0);
        } else {
            uring_op_complete(op, result, 0);
        }
        break;
    }
    }
}

void uring_helper_drain(struct uring *ring)
{
    struct uring_queue *helper = &ring->helper;
    uint32_t mask = helper->cq_entries - 1;
    for (;;) {
        uint32_t head = atomic_load_explicit(helper->cq_head, memory_order_relaxed);
        if (head == atomic_load_explicit(helper->cq_tail, memory_order_acquire))
            return;
        const struct io_uring_cqe *cqe =
            (const struct io_uring_cqe *)(void *)helper->cqes + (head & mask);
        uint64_t user_data = cqe->user_data;
        int32_t result = cqe->res;
        uint32_t flags = cqe->flags;
        atomic_store_explicit(helper->cq_head, head + 1, memory_order_release);
        if (user_data == 0)
            continue; /* a message that failed, or a request that was over before it was cancelled
                       */
        ring->helper_pending--;
        if (user_data == URING_TAG_INSTALL)
            ring->installed_slot = result;
        else
            helper_completed(user_data, result, flags);
    }
}

/* ---- Start and completion ------------------------------------------------------------------- */

/* Try it, and have it wait if it must. */
static void try(struct uring_op *op)
{
    uint32_t flags = 0;
    if (op->cancelled) {
        uring_op_complete(op, -ECANCELED, 0);
        return;
    }
    bool polls_on = op->sqe.opcode == IORING_OP_POLL_ADD && (op->sqe.len & IORING_POLL_ADD_MULTI);
    if (polls_on && op->socket_link == NULL) /* what it finds it tells: once only */
        watch_socket(op);
    int result = uring_op_run(op, &flags);
    if (result == URING_PENDING && !op->finished && op->file != NULL &&
        op->file->kind == FILE_SOCKET && op->socket_link == NULL) {
        /* What has come since is not told by an event. */
        watch_socket(op);
        result = uring_op_run(op, &flags);
    }
    if (result != URING_PENDING)
        uring_op_complete(op, result, flags);
}

/* IOSQE_IO_DRAIN: an operation waits for all of ours before it, and all of ours after it wait for
   it. (For its own, the kernel sees to that.) */
static bool must_wait(const struct uring_op *op)
{
    const struct uring_op *before = op->ring->ops;
    if (op->sqe.flags & IOSQE_IO_DRAIN) {
        while (before != op && (before->finished || before->timed != NULL))
            before = before->next;
        return before != op;
    }
    while (before != op && (before->finished || (before->sqe.flags & IOSQE_IO_DRAIN) == 0))
        before = before->next;
    return before != op;
}

static void start_drained(struct uring *ring)
{
    struct uring_op *op = ring->ops;
    while (ring->draining > 0 && op != NULL) {
        struct uring_op *next = op->next;
        if (op->drains && !must_wait(op)) {
            op->drains = false;
            ring->draining--;
            uring_op_start(op);
            next = ring->ops; /* whatever was started may be over */
        }
        op = next;
    }
}

void uring_op_start(struct uring_op *op)
{
    bool draining = op->ring->draining > 0 || (op->sqe.flags & IOSQE_IO_DRAIN) != 0;
    if (draining && must_wait(op)) {
        op->drains = true;
        op->ring->draining++;
        return;
    }
    if (op->timeout != NULL)
        start_timeout(op->timeout);
    /* Only now: what came before in its chain may have made it. */
    if (is_about_fd(op->sqe.opcode) && op->file == NULL)
        op->file = hold_file(op->ring, &op->sqe, &op->fd);
    op->is_kernels = op->is_kernels || !uring_is_ours(op->ring, &op->sqe);
    if (op->is_kernels)
        start_at_helper(op);
    else if (uring_sqe_is_wrong(&op->sqe))
        uring_op_complete(op, -EINVAL, 0);
    else
        try(op);
}

/* An operation that never started: with its chain, it is cancelled. */
static void cancel_chain(struct uring_op *op)
{
    while (op != NULL) {
        struct uring_op *next = op->chain;
        if (op->timeout != NULL) {
            op->timeout->timed = NULL;
            uring_post(op->ring, op->timeout->sqe.user_data, -ECANCELED, 0);
            op_free(op->timeout);
        }
        uring_post(op->ring, op->sqe.user_data, -ECANCELED, 0);
        op_free(op);
        op = next;
    }
}

static void end_timeout(struct uring_op *op)
{
    struct uring_op *timeout = op->timeout;
    if (timeout == NULL)
        return;
    op->timeout = NULL;
    timeout->timed = NULL;
    if (timeout->helpers > 0)
        helper_cancel(timeout, URING_TAG_TIMEOUT); /* it completes with -ECANCELED */
    else
        uring_op_complete(timeout, -ECANCELED, 0);
}

void uring_op_complete(struct uring_op *op, int32_t result, uint32_t flags)
{
    bool failed = uring_op_failed(op, result);
    struct uring_op *next = op->chain;
    op->chain = NULL;
    leave_lists(op);
    if (failed || (op->sqe.flags & IOSQE_CQE_SKIP_SUCCESS) == 0)
        uring_post(op->ring, op->sqe.user_data, result, flags);
    /* A zero-copy send tells again when its buffer is free. Ours was copied. */
    if (flags & IORING_CQE_F_MORE)
        uring_post(op->ring, op->sqe.user_data,
                   op->sqe.ioprio & URING_REPORT_USAGE ? (int32_t)IORING_NOTIF_USAGE_ZC_COPIED : 0,
                   IORING_CQE_F_NOTIF);
    op->finished = true;
    end_timeout(op);
    if (op->polls_kernel)
        helper_cancel(op, URING_TAG_POLL);
    else if (op->is_kernels && op->helpers > 0)
        helper_cancel(op, URING_TAG_KERNEL);
    bool goes_on = !failed || (op->sqe.flags & IOSQE_IO_HARDLINK);
    if (op->helpers == 0)
        op_free(op);
    if (next != NULL && goes_on)
        uring_op_start(next);
    else
        cancel_chain(next);
}

void uring_process(struct uring *ring)
{
    lock_acquire(&ring->lock);
    struct uring_op *op;
    uring_helper_drain(ring);
    if (ring->retry_ns != TIME_NEVER && waiter_now_ns() >= ring->retry_ns) {
        ring->retry_ns = TIME_NEVER;
        lock_acquire(&uring_event_lock);
        for (op = ring->ops; op != NULL; op = op->next) {
            if (op->socket_link != NULL)
                make_ready(op);
        }
        lock_release(&uring_event_lock);
    }
    for (unsigned n = 0; n < TRIES_MAX && (op = take_ready(ring)) != NULL; n++)
        try(op);
    start_drained(ring);
    uring_helper_flush(ring);
    bool dead = ring->graveyard != NULL;
    lock_release(&ring->lock);
    if (dead)
        uring_bury(ring);
}

bool uring_has_work(struct uring *ring)
{
    const struct uring_queue *helper = &ring->helper;
    lock_acquire(&uring_event_lock);
    bool ready = ring->ready_first != NULL;
    lock_release(&uring_event_lock);
    return ready || atomic_load_explicit(helper->cq_head, memory_order_relaxed) !=
                        atomic_load_explicit(helper->cq_tail, memory_order_acquire);
}

/* ---- Cancelling ----------------------------------------------------------------------------- */

static bool cancel_matches(const struct uring_op *op, const struct io_uring_sqe *sqe)
{
    uint32_t flags = sqe->cancel_flags;
    if (op->finished || op->cancelled || op->sqe.opcode == IORING_OP_LINK_TIMEOUT)
        return false;
    if (flags & IORING_ASYNC_CANCEL_ANY)
        return true;
    if (flags & IORING_ASYNC_CANCEL_FD) {
        bool fixed = (flags & IORING_ASYNC_CANCEL_FD_FIXED) != 0;
        const struct file *file = !fixed ? fd_peek(sqe->fd)
                                  : (uint32_t)sqe->fd < op->ring->slot_count
                                      ? op->ring->slots[sqe->fd].file
                                      : NULL;
        if (op->file == NULL || op->file != file)
            return false;
    }
    if ((flags & URING_CANCEL_OP) && op->sqe.opcode != sqe->len)
        return false;
    bool by_data = (flags & URING_CANCEL_USERDATA) ||
                   (flags & (IORING_ASYNC_CANCEL_FD | URING_CANCEL_OP)) == 0;
    return !by_data || op->sqe.user_data == sqe->addr;
}

/* Linux tells of the cancelling first, then of what was cancelled. */
static void cancel_soon(struct uring_op *op)
{
    op->cancelled = true;
    uring_op_again(op);
}

/* Whether it was begun: of a chain, only the first is. */
static bool is_under_way(const struct uring_op *op)
{
    return op->socket_link != NULL || op->helpers > 0 || op->polls_kernel;
}

int uring_cancel(struct uring *ring, const struct io_uring_sqe *sqe)
{
    int cancelled = 0;
    for (;;) {
        struct uring_op *op = ring->ops;
        while (op != NULL && !(is_under_way(op) && cancel_matches(op, sqe)))
            op = op->next;
        if (op == NULL)
            break;
        cancel_soon(op);
        cancelled++;
        if ((sqe->cancel_flags & (IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY)) == 0)
            break;
    }
    return cancelled > 0 ? cancelled : -ENOENT;
}

/* The poll that IORING_OP_POLL_REMOVE names. */
static struct uring_op *find_poll(struct uring *ring, uint64_t user_data)
{
    struct uring_op *op = ring->ops;
    while (op != NULL && !(op->sqe.opcode == IORING_OP_POLL_ADD && is_under_way(op) &&
                           !op->finished && !op->cancelled && op->sqe.user_data == user_data))
        op = op->next;
    return op;
}

bool uring_cancel_is_ours(struct uring *ring, const struct io_uring_sqe *sqe)
{
    if (sqe->opcode == IORING_OP_POLL_REMOVE)
        return find_poll(ring, sqe->addr) != NULL;
    for (struct uring_op *op = ring->ops; op != NULL; op = op->next) {
        if (is_under_way(op) && cancel_matches(op, sqe))
            return true;
    }
    return false;
}

int uring_poll_update(struct uring *ring, const struct io_uring_sqe *sqe)
{
    struct uring_op *op = find_poll(ring, sqe->addr);
    if (op == NULL)
        return -ENOENT;
    if ((sqe->len & (IORING_POLL_UPDATE_EVENTS | IORING_POLL_UPDATE_USER_DATA)) == 0) {
        cancel_soon(op);
        return 0;
    }
    if (sqe->len & IORING_POLL_UPDATE_EVENTS)
        op->sqe.poll32_events = sqe->poll32_events;
    if (sqe->len & IORING_POLL_UPDATE_USER_DATA)
        op->sqe.user_data = sqe->off;
    if (sqe->len & IORING_POLL_ADD_MULTI)
        op->sqe.len |= IORING_POLL_ADD_MULTI;
    uring_op_again(op);
    return 0;
}

void uring_ops_drop(struct uring *ring)
{
    lock_acquire(&ring->lock);
    while (ring->ops != NULL) {
        leave_lists(ring->ops);
        op_free(ring->ops);
    }
    lock_release(&ring->lock);
    uring_bury(ring);
}
