#include "hostlib/socket.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/assert.h"
#include "hostlib/epoll.h"
#include "hostlib/policy.h"
#include "hostlib/signals.h"
#include "hostlib/slab.h"
#include "hostlib/socket_extra.h"
#include "hostlib/uring.h"

/* Objects are carved from slabs that are never unmapped: a thread may look at an object that
   another has just freed (fd_get_shared). */
#define SLAB_BYTES (256u << 10)

static struct lock slab_lock;
static struct slab sockets = {
    .object_bytes = sizeof(struct socket),
    .mapped_bytes = SLAB_BYTES,
    .link_offset = offsetof(struct socket, accept_next),
};

struct socket *socket_create(bool is_v6)
{
    lock_acquire(&slab_lock);
    /* From the first TCP socket on, before a sandbox may forbid it. */
    if (sockets.free == NULL)
        signals_catch_faults();
    struct socket *socket = slab_take(&sockets);
    lock_release(&slab_lock);
    if (socket == NULL)
        return NULL;
    memset((void *)socket, 0, sizeof(*socket));
    socket->file.kind = FILE_SOCKET;
    socket->is_v6 = is_v6;
    socket->state = SOCKET_FRESH;
    socket->shadow_fd = -1;
    atomic_store_explicit(&socket->options, &option_set_default, memory_order_relaxed);
    atomic_store_explicit(&socket->file.references, 1, memory_order_release);
    return socket;
}

void socket_free(struct socket *socket)
{
    fd_close_internal(socket->shadow_fd);
    receive_queue_free(&socket->receive);
    socket_extra_free(socket);
    if (socket->options_own)
        option_set_free((struct socket_options *)(uintptr_t)socket->options);
    lock_acquire(&slab_lock);
    slab_give(&sockets, socket);
    lock_release(&slab_lock);
}

_Static_assert(sizeof(struct socket) <= 184, "many may be idle");

struct lock *socket_fork_lock(void)
{
    return &slab_lock;
}

void socket_destroy(struct socket *socket)
{
    epoll_forget_socket(socket);
    if (socket->link == NULL)
        socket_free(socket);
    else
        socket_close(socket);
}

void socket_lock(struct socket *socket)
{
    lock_acquire(&socket->lock);
    if (!socket->shared || socket->block == NULL)
        return;
    lock_acquire_shared(&socket->block->lock);
    /* What we are about to learn of a socket that we have let go of may be old news. */
    if (socket->detached && !socket_owns_block(socket)) {
        lock_release_shared(&socket->block->lock);
        __atomic_store_n(&socket->block, NULL, __ATOMIC_RELAXED);
    }
}

void socket_unlock(struct socket *socket)
{
    if (socket->shared && socket->block != NULL)
        lock_release_shared(&socket->block->lock);
    lock_release(&socket->lock);
}

bool socket_owns_block(const struct socket *socket)
{
    return socket->block->incarnation == socket->name.incarnation;
}

void socket_note_linger(struct socket *socket)
{
    const struct linger *linger = &socket->options->linger;
    if (socket->block == NULL)
        return;
    if (linger->l_onoff != 0 && linger->l_linger == 0)
        atomic_fetch_or(&socket->block->shut, SHUT_ABORTS);
    else if (atomic_load_explicit(&socket->block->shut, memory_order_relaxed) & SHUT_ABORTS)
        atomic_fetch_and(&socket->block->shut, ~SHUT_ABORTS);
}

void socket_attach_block(struct socket *socket)
{
    struct engine_link *link = socket->link;
    struct socket_block *block =
        (struct socket_block *)(void *)(link->blocks +
                                        socket->name.slot * sizeof(struct socket_block));
    /* The slot's last user may be another process, which has yet to hear that it is free. */
    lock_acquire_shared(&block->lock);
    if (block->send.first_chunk != 0)
        send_queue_free(&block->send, &link->send_memory);
    _Static_assert(offsetof(struct socket_block, lock) == 0,
                   "all that follows the lock is cleared");
    memset((char *)block + sizeof(block->lock), 0, sizeof(*block) - sizeof(block->lock));
    block->incarnation = socket->name.incarnation;
    lock_release_shared(&block->lock);
    __atomic_store_n(&socket->block, block, __ATOMIC_RELAXED);
    socket_note_linger(socket);
}

uint32_t socket_first_send_limit(const struct socket *socket, const struct engine_link *link)
{
    const struct socket_options *options = socket->options;
    return options->set & (1u << LINK_OPTION_SEND_BUFFER)
               ? (uint32_t)options->values[LINK_OPTION_SEND_BUFFER]
               : link->hello.send_buffer_initial;
}

int socket_take_slot(struct socket *socket, struct engine_link *link)
{
    int error = 0;
    /* Not the lock of its block too: it has none, or that is not touched. */
    lock_acquire(&socket->lock);
    if (socket->link != NULL) {
        /* kept */
    } else if (!engine_link_slot_allocate(link, &socket->name)) {
        error = -ENOBUFS;
    } else {
        socket->link = link;
        socket->send_limit = socket_first_send_limit(socket, link);
        socket_attach_block(socket);
        engine_link_slot_set(link, socket->name.slot, socket);
    }
    lock_release(&socket->lock);
    return error;
}

static void leave_slot(struct socket *socket)
{
    struct socket *expected = socket;
    if (socket->shared && socket->block != NULL &&
        (atomic_load_explicit(&socket->block->lock.word, memory_order_relaxed) & ~LOCK_CONTENDED) ==
            lock_self())
        lock_release_shared(&socket->block->lock);
    atomic_compare_exchange_strong(&socket->link->slots[socket->name.slot], &expected, NULL);
}

void socket_release_slot(struct socket *socket)
{
    leave_slot(socket);
    __atomic_store_n(&socket->block, NULL, __ATOMIC_RELAXED);
    socket->link = NULL;
}

void socket_change_link(struct socket *socket, struct engine_link *link,
                        const struct link_socket_name *name)
{
    socket_lock(socket);
    leave_slot(socket);
    if (socket->shared)
        socket_bound_of(socket)->shared_out = true; /* it listens */
    socket->shared = false;
    socket->link = link;
    socket->name = *name;
    socket->core = 0;
    socket_attach_block(socket);
    engine_link_slot_set(link, name->slot, socket);
    lock_release(&socket->lock);
}

static bool is_writable(const struct socket *socket)
{
    uint64_t outstanding = send_queue_outstanding(&socket->block->send);
    return outstanding <= socket->send_limit && socket->send_limit - outstanding >= outstanding / 2;
}

static bool is_readable(const struct socket *socket)
{
    uint64_t unread = socket->receive.end_offset - socket->block->read_offset;
    uint64_t wanted = (uint64_t)socket->options->receive_low_water;
    /* The urgent byte is none that read() gives. */
    if (socket_urgent_offset(socket) == socket->block->read_offset + 1 &&
        !socket->options->oob_inline)
        wanted++;
    return unread > 0 && unread >= wanted;
}

/* What compute_readiness() comes to for nearly all events: a connection with nothing but data. */
static bool has_only_data(const struct socket *socket)
{
    return socket->state == SOCKET_CONNECTED && socket->error == 0 && socket->extra == NULL &&
           !socket->peer_fin && !socket->shut_early && !socket->shut_early_send &&
           socket->block != NULL &&
           atomic_load_explicit(&socket->block->shut, memory_order_relaxed) == 0;
}

static uint32_t readiness_of_data(const struct socket *socket)
{
    uint64_t unread = socket->receive.end_offset - socket->block->read_offset;
    uint32_t mask = is_writable(socket) ? EPOLLOUT | EPOLLWRNORM : 0;
    if (unread > 0 && unread >= (uint64_t)socket->options->receive_low_water)
        mask |= EPOLLIN | EPOLLRDNORM;
    return mask;
}

/* Source: Linux net/ipv4/tcp.c, tcp_poll(). */
static uint32_t compute_readiness(const struct socket *socket)
{
    bool reports = socket->extra != NULL && socket->extra->errors.waits;
    uint32_t mask = socket->error != 0 || reports ? EPOLLERR : 0;
    bool receive_shut = socket_receive_is_shut(socket);
    bool send_shut = socket_send_is_shut(socket);
    if (receive_shut)
        mask |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
    if (receive_shut && send_shut)
        mask |= EPOLLHUP;
    switch ((enum socket_state)socket->state) {
    case SOCKET_LISTENING:
        return socket_has_pending(socket) ? EPOLLIN | EPOLLRDNORM : 0;
    case SOCKET_FRESH:
    case SOCKET_KERNEL:
    case SOCKET_BOUND:
        return mask | EPOLLOUT | EPOLLWRNORM | EPOLLHUP;
    case SOCKET_CONNECTING:
        return socket->syn_held ? mask | EPOLLOUT | EPOLLWRNORM : mask;
    case SOCKET_CONNECTED:
    case SOCKET_CLOSED:
        break;
    }
    if (socket->block == NULL)
        return mask | EPOLLOUT | EPOLLWRNORM;
    if (is_readable(socket))
        mask |= EPOLLIN | EPOLLRDNORM;
    if (send_shut || is_writable(socket))
        mask |= EPOLLOUT | EPOLLWRNORM;
    if (socket_urgent_offset(socket) > socket->block->read_offset && !socket->extra->urgent_taken)
        mask |= EPOLLPRI;
    return mask;
}

static void update(struct socket *socket)
{
    uint32_t readiness =
        has_only_data(socket) ? readiness_of_data(socket) : compute_readiness(socket);
    /* Under the socket's lock we are the only writer; what stays needs no costly ordered store. */
    if (atomic_load_explicit(&socket->readiness, memory_order_relaxed) != readiness)
        atomic_store_explicit(&socket->readiness, readiness, memory_order_seq_cst);
}

/* After update(). Who adds itself to these lists looks at the readiness after that, so one of the
   two sees the other. */
static void tell(struct socket *socket, uint32_t events)
{
    if (__atomic_load_n(&socket->items, __ATOMIC_SEQ_CST) != NULL)
        epoll_socket_event(socket, events);
    if (__atomic_load_n(&socket->uring_ops, __ATOMIC_SEQ_CST) != NULL)
        uring_socket_event(socket, events);
    wait_queue_wake(&socket->waiters, false);
}

void socket_changed(struct socket *socket, uint32_t events)
{
    update(socket);
    if (events == 0)
        return;
    tell(socket, events);
}

/* Source: Linux net/ipv4/tcp.c, tcp_set_rcvlowat(). */
void socket_low_water_changed(struct socket *socket)
{
    bool tells = socket->state >= SOCKET_CONNECTED &&
                 (socket->peer_fin || (socket->block != NULL && is_readable(socket)));
    socket_changed(socket, tells ? SOCKET_EVENTS_OF_DATA : 0);
}

void socket_state_changed(struct socket *socket)
{
    update(socket);
    tell(socket, UINT32_MAX);
}

void socket_wants_space(struct socket *socket)
{
    atomic_store_explicit(&socket->wants_space, true, memory_order_seq_cst);
    if (socket->block != NULL)
        atomic_fetch_add(&socket->block->space_wanted, 1);
}

/* Whether another process that shares it has seen it not writable. */
static bool others_want_space(const struct socket *socket)
{
    return socket->shared && socket->block != NULL &&
           (uint16_t)atomic_load(&socket->block->space_wanted) != socket->space_seen;
}

void socket_has_room(struct socket *socket)
{
    update(socket);
    if ((atomic_load_explicit(&socket->readiness, memory_order_relaxed) & EPOLLOUT) == 0 ||
        (!atomic_load_explicit(&socket->wants_space, memory_order_relaxed) &&
         !others_want_space(socket)))
        return;
    atomic_store_explicit(&socket->wants_space, false, memory_order_relaxed);
    if (socket->block != NULL)
        socket->space_seen = (uint16_t)atomic_load(&socket->block->space_wanted);
    socket_changed(socket, SOCKET_EVENTS_OF_SPACE);
    if (!socket_send_is_shut(socket))
        socket_async_event(socket, SOCKET_WAKE_IO, POLL_OUT);
}

/* What is left of it when other processes have read, written, shut down or accepted: readiness is
   as of this process's last event. Their events come here too, so what is missed is told of. */
static uint32_t with_others(const struct socket *socket, uint32_t mask)
{
    const uint32_t readable = EPOLLIN | EPOLLRDNORM;
    if (socket->state == SOCKET_LISTENING)
        return (mask & EPOLLIN) != 0 && socket_accept_all_taken(socket) ? mask & ~readable : mask;
    return socket->state == SOCKET_CONNECTED && socket->block != NULL ? compute_readiness(socket)
                                                                      : mask;
}

uint32_t socket_poll(struct socket *socket)
{
    uint32_t mask = atomic_load_explicit(&socket->readiness, memory_order_acquire);
    if (__builtin_expect(socket->shared, 0))
        mask = with_others(socket, mask);
    if ((mask & EPOLLOUT) == 0 && socket->state >= SOCKET_CONNECTED) {
        socket_wants_space(socket);
        mask = atomic_load_explicit(&socket->readiness, memory_order_seq_cst);
        if (__builtin_expect(socket->shared, 0))
            mask = with_others(socket, mask);
    }
    return mask;
}

void socket_fail(struct socket *socket, int error)
{
    if (socket->state == SOCKET_CLOSED || socket->state == SOCKET_LISTENING)
        return;
    if (error != 0)
        socket->error = error;
    socket->state = SOCKET_CLOSED;
    /* Linux purges the write queue; the engine reads no chunk of a dead connection. */
    if (socket->block != NULL && socket_owns_block(socket)) {
        send_queue_free(&socket->block->send, &socket->link->send_memory);
        socket->block->send.acked_offset = socket->block->send.end_offset;
    }
    socket_state_changed(socket);
}

int socket_take_error(struct socket *socket)
{
    int error = socket->error;
    if (error != 0) {
        socket->error = 0;
        update(socket);
    }
    return -error;
}

/* What a listener announces may come from anywhere, and be reset with it. */
static bool is_fenced(const struct socket *socket, const struct engine_link *link)
{
    return policy_offloads_loopback() && link != NULL &&
           (socket->state == SOCKET_LISTENING || policy_turns_round(link, &socket->remote.address));
}

bool socket_is_fenced(const struct socket *socket)
{
    return is_fenced(socket, socket->link);
}

void socket_fence(const struct socket *socket)
{
    struct engine_link *link = socket->link;
    if (is_fenced(socket, link))
        engine_link_fence(link, socket->core);
}

/* What has no room yet, or comes back by other ways than calls that look, is waited for. */
static bool must_wait(const struct engine_link *link)
{
    return atomic_load_explicit(&link->overflowing, memory_order_relaxed) || socket_async_is_used();
}

void socket_turned_round(const struct socket *socket, bool comes_back)
{
    struct engine_link *link = socket->link;
    if (!is_fenced(socket, link))
        return;
    if (socket->peer_fin) { /* the answer may be a reset */
        socket_end_turned_round(link, socket->core);
        return;
    }
    if (must_wait(link)) {
        engine_link_fence(link, socket->core);
        return;
    }
    comes_back = comes_back || (socket->local.port == socket->remote.port &&
                                ip_address_equal(&socket->local.address, &socket->remote.address));
    turned_round_note(link, socket->core,
                      comes_back ? TURNED_BY_SEVERAL : turned_by(&socket->name));
}

void socket_end_turned_round(struct engine_link *link, unsigned core)
{
    if (must_wait(link))
        engine_link_fence(link, core);
    else
        turned_round_note_end(link, core);
}

uint64_t socket_deadline_ns(uint64_t timeout_ns)
{
    return timeout_ns == TIME_NEVER ? TIME_NEVER : waiter_now_ns() + timeout_ns;
}

/* What a blocking call waits for: readiness bits, or bytes beyond a stream offset. */
struct awaited {
    uint32_t readiness;
    uint64_t known_offset;
    bool bytes;
};

static bool has_come(struct socket *socket, const struct awaited *awaited)
{
    socket_hear(socket);
    if (!awaited->bytes)
        return (socket_poll(socket) & awaited->readiness) != 0;
    socket_lock(socket);
    bool come = socket->receive.end_offset > awaited->known_offset || socket->error != 0 ||
                socket_receive_is_shut(socket) || socket->state < SOCKET_CONNECTING;
    socket_unlock(socket);
    return come;
}

static int wait_for(struct socket *socket, const struct awaited *awaited, int kernel_fd,
                    uint64_t deadline_ns, bool interrupted_restarts)
{
    struct waiter waiter;
    struct wait_node node;
    struct pollfd pollfds[WAITER_POLLFDS + 1];
    int result = 0;
    waiter_begin(&waiter, &socket->file);
    waiter.restarts = interrupted_restarts;
    waiter.ends_by_stop = !interrupted_restarts;
    waiter_watch(&waiter, &node, &socket->waiters);
    struct socket_extra *extra = awaited->bytes ? socket->extra : NULL;
    if (extra != NULL)
        extra->async.readers++;
    while (!has_come(socket, awaited)) {
        nfds_t kernel_count = 0;
        if (kernel_fd >= 0)
            pollfds[WAITER_POLLFDS + kernel_count++] =
                (struct pollfd){.fd = kernel_fd, .events = POLLIN};
        result = waiter_sleep(&waiter, pollfds, kernel_count, deadline_ns, NULL);
        if (result < 0)
            break;
        if (kernel_count > 0 && pollfds[WAITER_POLLFDS].revents != 0)
            break;
    }
    if (extra != NULL)
        extra->async.readers--;
    waiter_end(&waiter);
    return result;
}

int socket_wait(struct socket *socket, uint32_t wanted, int kernel_fd, uint64_t deadline_ns,
                bool interrupted_restarts)
{
    struct awaited awaited = {.readiness = wanted};
    return wait_for(socket, &awaited, kernel_fd, deadline_ns, interrupted_restarts);
}

int socket_wait_for_bytes(struct socket *socket, uint64_t known, uint64_t deadline_ns,
                          bool interrupted_restarts)
{
    struct awaited awaited = {.known_offset = known, .bytes = true};
    return wait_for(socket, &awaited, -1, deadline_ns, interrupted_restarts);
}
