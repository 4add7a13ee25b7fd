#include "hostlib/socket_events.h"

#include <errno.h>
#include <sys/epoll.h>

#include "hostlib/rejoin.h"
#include "hostlib/socket.h"
#include "hostlib/socket_extra.h"

static void on_established(struct socket *socket, const struct link_descriptor *descriptor)
{
    if (socket->state != SOCKET_CONNECTING)
        return;
    socket->local.address = descriptor->endpoints.local;
    socket->local.port = descriptor->endpoints.local_port;
    socket->state = SOCKET_CONNECTED;
    socket_state_changed(socket);
    socket_async_event(socket, SOCKET_WAKE_IO, POLL_OUT);
}

/* The peer can be reached after all. (Acknowledgements say so too, but are told late.) */
static void forget_soft_error(struct socket *socket)
{
    if (socket->extra != NULL)
        socket->extra->soft_error = 0;
}

/* The bytes from `start` on have come. */
static void note_arrival(struct socket *socket, uint64_t start, uint64_t stamp_ns)
{
    bool asked = socket->options->values[LINK_OPTION_RECEIVE_STAMPS] != 0;
    if (!asked && (socket->extra == NULL || socket->extra->stamps.count == 0))
        return;
    struct socket_extra *extra = socket_extra_get(socket);
    if (extra != NULL)
        socket_stamps_add(&extra->stamps, start, socket->receive.end_offset, stamp_ns);
}

static void on_data(struct socket *socket, const struct link_descriptor *descriptor)
{
    const struct link_hello_reply *hello = &socket->link->hello;
    struct receive_extent extent = {
        .stream_offset = descriptor->data.stream_offset,
        .arena_offset = descriptor->data.arena_offset,
        .length = descriptor->data.length,
    };
    if (extent.arena_offset > hello->arena_bytes ||
        extent.length > hello->arena_bytes - extent.arena_offset)
        return;
    uint64_t start = socket->receive.end_offset;
    int appended = receive_queue_append(&socket->receive, extent);
    if (appended < 0) /* the peer will not send again what the engine has acknowledged */
        socket_fail(socket, -appended);
    if (appended <= 0)
        return;
    note_arrival(socket, start, descriptor->data.consumed);
    forget_soft_error(socket);
    if (socket->block == NULL)
        return;
    if (socket->receive.end_offset - socket->block->read_offset >=
        (uint64_t)socket->options->receive_low_water)
        socket_changed(socket, SOCKET_EVENTS_OF_DATA);
    socket_async_event(socket, SOCKET_WAKE_READERS, POLL_IN);
}

static void on_fin(struct socket *socket)
{
    if (socket->peer_fin)
        return;
    socket->peer_fin = true;
    socket_state_changed(socket);
    /* Source: Linux tcp_fin(), and tcp_data_queue() after it. */
    if (socket_send_is_shut(socket))
        socket_async_event(socket, SOCKET_WAKE_READERS, POLL_HUP);
    socket_async_event(socket, SOCKET_WAKE_READERS, POLL_IN);
}

static void on_sent(struct socket *socket, const struct link_descriptor *descriptor)
{
    if (socket->state == SOCKET_CLOSED)
        return;
    if (descriptor->data.length != 0)
        __atomic_store_n(&socket->send_limit, (uint32_t)descriptor->data.length, __ATOMIC_RELAXED);
    if (socket->block == NULL)
        return;
    send_queue_acknowledge(&socket->block->send, &socket->link->send_memory,
                           descriptor->data.stream_offset);
    socket_has_room(socket);
    if (atomic_load_explicit(&socket->lingers, memory_order_relaxed))
        wait_queue_wake(&socket->waiters, false);
}

/* Source: Linux tcp_v4_err(), tcp_v6_err(): the next call fails if the application asked for that,
   else only SO_ERROR tells. */
static void on_soft_error(struct socket *socket, int error)
{
    bool told = ip_address_is_v4(&socket->remote.address) ? socket->options->receive_errors
                                                          : socket->options->receive_errors_v6;
    if (told) {
        socket->error = error;
        socket_changed(socket, EPOLLERR);
        socket_async_event(socket, SOCKET_WAKE_IO, POLL_ERR);
        return;
    }
    struct socket_extra *extra = socket_extra_get(socket);
    if (extra != NULL)
        extra->soft_error = error;
}

static void on_error(struct socket *socket, const struct link_descriptor *descriptor)
{
    int error = descriptor->error;
    if ((descriptor->flags & LINK_FLAG_FATAL) == 0) {
        on_soft_error(socket, error);
        return;
    }
    /* Source: Linux tcp_reset(): a reset after the peer's FIN is EPIPE. */
    if (error == ECONNRESET && socket->peer_fin && !socket_send_is_shut(socket))
        error = EPIPE;
    socket_fail(socket, error);
    socket_async_event(socket, SOCKET_WAKE_IO, POLL_ERR);
}

/* Source: Linux tcp_check_urg(): an urgent byte that another follows is none any more, and comes
   inline, unless it is the next to be read. */
static void leave_urgent(struct socket *socket, struct socket_extra *extra)
{
    struct socket_block *block = socket->block;
    extra->urgent_taken = false;
    if (extra->urgent_offset == 0 || block == NULL || socket->options->oob_inline ||
        block->read_offset + 1 != extra->urgent_offset ||
        socket->receive.end_offset <= block->read_offset)
        return;
    block->read_offset++; /* told with what is read next */
    receive_queue_forget(&socket->receive, block->read_offset);
}

static void on_urgent(struct socket *socket, const struct link_descriptor *descriptor)
{
    struct socket_extra *extra = socket_extra_get(socket);
    if (extra == NULL)
        return; /* then it comes inline */
    if (extra->urgent_offset != descriptor->data.stream_offset)
        leave_urgent(socket, extra);
    extra->urgent_offset = descriptor->data.stream_offset;
    socket_changed(socket, SOCKET_EVENTS_OF_DATA);
    socket_async_event(socket, SOCKET_WAKE_URGENT, POLL_PRI);
}

/* Whether the object can go: closed by the application, and nothing of it in flight. */
static bool is_finished(const struct socket *socket)
{
    return socket->detached && socket->is_accepted &&
           (socket->block == NULL || send_queue_outstanding(&socket->block->send) == 0);
}

static void apply_to_socket(struct socket *socket, unsigned core,
                            const struct link_descriptor *descriptor)
{
    if (descriptor->type == LINK_EVENT_ACCEPT) {
        /* Any core may announce connections; the listener itself is the first core's. */
        socket_accept_arrived(socket, core, descriptor);
        return;
    }
    if (socket->core != core)
        socket->core = (uint8_t)core;
    switch ((enum link_event)descriptor->type) {
    case LINK_EVENT_ESTABLISHED:
        on_established(socket, descriptor);
        break;
    case LINK_EVENT_DATA:
        on_data(socket, descriptor);
        break;
    case LINK_EVENT_FIN:
        on_fin(socket);
        break;
    case LINK_EVENT_SENT:
        on_sent(socket, descriptor);
        break;
    case LINK_EVENT_ERROR:
        on_error(socket, descriptor);
        break;
    case LINK_EVENT_URGENT:
        on_urgent(socket, descriptor);
        break;
    default: /* a newer engine's events would have another ABI version */
        break;
    }
}

/* Another thread may have given the slot up since it was found there, and taken one again. Lock
   held. */
static bool has_slot(const struct socket *socket, const struct engine_link *link,
                     const struct link_socket_name *name)
{
    return socket->link == link && socket->name.slot == name->slot &&
           socket->name.incarnation == name->incarnation;
}

/* The slot's last user is gone at the engine too. */
static void on_slot_free(struct engine_link *link, struct socket *socket,
                         const struct link_socket_name *name)
{
    if (socket != NULL) {
        socket_lock(socket);
        bool has_it = has_slot(socket, link, name);
        if (has_it && !socket->detached) {
            /* Still ours to close; closing sends nothing then. */
            socket_fail(socket, 0);
            socket_unlock(socket);
            return;
        }
        socket_unlock(socket);
        if (has_it) {
            socket_release_slot(socket);
            socket_free(socket);
        }
    }
    engine_link_slot_free(link, name);
}

void socket_events_apply(struct engine_link *link, unsigned core,
                         const struct link_descriptor *descriptor)
{
    if (descriptor->type == LINK_EVENT_REPLY) {
        engine_link_reply_arrived(link, descriptor);
        return;
    }
    uint32_t slot = descriptor->socket.slot;
    if (slot >= link->hello.slots)
        return;
    struct socket *socket = atomic_load_explicit(&link->slots[slot], memory_order_acquire);
    if (socket != NULL && __atomic_load_n(&socket->name.incarnation, __ATOMIC_RELAXED) !=
                              descriptor->socket.incarnation)
        return;
    if (descriptor->type == LINK_EVENT_SLOT_FREE) {
        on_slot_free(link, socket, &descriptor->socket);
        return;
    }
    if (socket == NULL)
        return;
    socket_lock(socket);
    if (!has_slot(socket, link, &descriptor->socket)) {
        socket_unlock(socket);
        return;
    }
    apply_to_socket(socket, core, descriptor);
    bool finished = is_finished(socket);
    socket_unlock(socket);
    if (finished) {
        socket_release_slot(socket);
        socket_free(socket);
    }
}

void socket_events_engine_died(struct socket *socket)
{
    socket_lock(socket);
    if (socket->detached) {
        socket_unlock(socket);
        socket_release_slot(socket);
        socket_free(socket);
        return;
    }
    if (socket->state == SOCKET_LISTENING) {
        socket_accept_discard(socket);
        socket_changed(socket, 0);
        rejoin_add(socket);
    } else if (socket->state == SOCKET_CONNECTED || socket->state == SOCKET_CONNECTING) {
        socket_fail(socket, ECONNRESET);
    }
    wait_queue_wake(&socket->waiters, false);
    socket_unlock(socket);
}
