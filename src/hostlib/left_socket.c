#include "hostlib/left_socket.h"

#include "hostlib/socket_extra.h"

void left_socket_describe(const struct socket *socket, struct left_socket *left)
{
    *left = (struct left_socket){
        .state = socket->state,
        .has_slot = socket->link != NULL,
        .nonblocking = atomic_load_explicit(&socket->nonblocking, memory_order_relaxed),
        .is_v6 = socket->is_v6,
        .is_accepted = socket->is_accepted,
        .also_kernel = socket->also_kernel,
        .peer_fin = socket->peer_fin,
        .connect_reported = socket->connect_reported,
        .had_connection = socket->had_connection,
        .shut_early = socket->shut_early,
        .shut_early_send = socket->shut_early_send,
        .core = socket->core,
        .error = socket->error,
        .backlog = socket_bound_of(socket) != NULL ? socket_bound_of(socket)->backlog : 0,
        .name = socket->name,
        .send_limit = socket->send_limit,
        .urgent_offset = socket_urgent_offset(socket),
        .end_offset = socket->receive.end_offset,
        .readiness = atomic_load_explicit(&socket->readiness, memory_order_relaxed),
        .local = socket->local,
        .remote = socket->remote,
        .options = *socket->options,
    };
}

/** What few sockets have. @return false: no memory. */
static bool revive_parts(struct socket *socket, const struct left_socket *left)
{
    if (left->state == SOCKET_BOUND || left->state == SOCKET_LISTENING) {
        if (socket_get_bound(socket) == NULL)
            return false;
        socket_bound_of(socket)->backlog = left->backlog;
    }
    if (left->urgent_offset != 0) {
        if (socket_extra_get(socket) == NULL)
            return false;
        socket->extra->urgent_offset = left->urgent_offset;
    }
    return true;
}

/** It may come from another program. */
static bool is_sound(const struct left_socket *left, const struct engine_link *link)
{
    return left->state <= SOCKET_CLOSED &&
           (!left->has_slot || (link != NULL && left->name.slot < link->hello.slots &&
                                left->core < link->hello.engine_cores));
}

struct socket *left_socket_revive(const struct left_socket *left, struct engine_link *link)
{
    if (!is_sound(left, link))
        return NULL;
    struct socket *socket = socket_create(left->is_v6);
    if (socket == NULL)
        return NULL;
    if (!socket_options_replace(socket, &left->options) || !revive_parts(socket, left)) {
        socket_free(socket);
        return NULL;
    }
    socket->state = left->state;
    atomic_store_explicit(&socket->nonblocking, left->nonblocking, memory_order_relaxed);
    socket->is_accepted = left->is_accepted;
    socket->also_kernel = left->also_kernel;
    socket->peer_fin = left->peer_fin;
    socket->connect_reported = left->connect_reported;
    socket->had_connection = left->had_connection;
    socket->shut_early = left->shut_early;
    socket->shut_early_send = left->shut_early_send;
    socket->core = left->core;
    socket->error = left->error;
    socket->send_limit = left->send_limit;
    socket->local = left->local;
    socket->remote = left->remote;
    if (!left->has_slot)
        return socket;
    socket->link = link;
    socket->name = left->name;
    socket->shared = true;
    socket->block = (struct socket_block *)(void *)(link->blocks +
                                                    left->name.slot * sizeof(struct socket_block));
    /* What was not read is told again. */
    socket->receive.end_offset = socket->block->read_offset;
    engine_link_slot_set(link, left->name.slot, socket);
    socket_changed(socket, 0);
    return socket;
}
