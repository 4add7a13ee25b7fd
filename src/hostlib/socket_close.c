/* The end of a socket. Source: Linux net/ipv4/tcp.c, tcp_close() and tcp_shutdown(); af_inet.c,
   inet_shutdown(). */
#include <errno.h>
#include <pthread.h>
#include <sys/epoll.h>

#include "hostlib/rejoin.h"
#include "hostlib/socket.h"

static int shut_down_locked(struct socket *socket, int how)
{
    if (socket->state != SOCKET_CONNECTED) {
        /* The call fails, and has its effect, also on the connection to come. */
        socket->shut_early = socket->shut_early || how != SHUT_WR;
        socket->shut_early_send = socket->shut_early_send || how != SHUT_RD;
        socket_state_changed(socket);
        return -ENOTCONN;
    }
    if (how != SHUT_WR) {
        atomic_fetch_or(&socket->block->shut, SHUT_DONE_READ);
        struct link_descriptor operation = socket_operation(socket, LINK_OP_SHUTDOWN_READ);
        socket_push(socket, &operation);
    }
    if (how != SHUT_RD &&
        (atomic_fetch_or(&socket->block->shut, SHUT_DONE_WRITE) & SHUT_DONE_WRITE) == 0) {
        struct link_descriptor operation = socket_operation(socket, LINK_OP_SHUTDOWN_WRITE);
        operation.data.stream_offset = socket->block->send.end_offset;
        socket_push(socket, &operation);
    }
    socket_state_changed(socket);
    return 0;
}

int socket_shutdown(struct socket *socket, int fd, int how)
{
    if (how < SHUT_RD || how > SHUT_RDWR)
        return -EINVAL;
    socket_look_at_others(socket);
    struct engine_link *link = socket->link;
    bool fenced = socket_is_fenced(socket);
    int result = 0;
    bool listens = socket->state == SOCKET_LISTENING;
    bool resets = listens || (socket->state == SOCKET_CONNECTING && !socket->syn_held);
    if ((listens && how == SHUT_WR) || (resets && socket_disconnect(socket, fd, true))) {
        /* nothing more */
    } else if (socket->state == SOCKET_CONNECTED && socket_is_over(socket)) {
        result = -ENOTCONN; /* in TIME-WAIT Linux's socket is TCP_CLOSE; who polls is woken */
        socket_lock(socket);
        socket_state_changed(socket);
        socket_unlock(socket);
    } else {
        socket_lock(socket);
        result = shut_down_locked(socket, how);
        socket_unlock(socket);
    }
    if (fenced && result == 0 && !listens)
        socket_end_turned_round(link, socket->core);
    return result;
}

/* SO_LINGER with a time: wait until the peer has everything. */
static void linger(struct socket *socket)
{
    uint64_t deadline_ns =
        waiter_now_ns() + (uint64_t)(unsigned)socket->options->linger.l_linger * NS_PER_S;
    struct waiter waiter;
    struct wait_node node;
    struct pollfd pollfds[WAITER_POLLFDS];
    int cancellable;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancellable);
    waiter_begin(&waiter, NULL);
    waiter.ends_by_stop = true;
    waiter_watch(&waiter, &node, &socket->waiters);
    for (;;) {
        socket_hear(socket);
        /* Under the lock: another thread may apply the acknowledgement just now. */
        socket_lock(socket);
        atomic_store_explicit(&socket->lingers, true, memory_order_relaxed);
        bool done =
            socket->state != SOCKET_CONNECTED || send_queue_outstanding(&socket->block->send) == 0;
        socket_unlock(socket);
        if (done)
            break;
        if (waiter_sleep(&waiter, pollfds, 0, deadline_ns, NULL) < 0)
            break;
    }
    waiter_end(&waiter);
    (void)pthread_setcancelstate(cancellable, NULL);
}

void socket_close(struct socket *socket)
{
    struct engine_link *link = socket->link;
    turned_round_settle(link, turned_by(&socket->name)); /* unread bytes make it a reset */
    bool fenced = socket_is_fenced(socket);
    unsigned core = socket->core;
    rejoin_remove(socket);
    bool aborts = socket->options->linger.l_onoff != 0 && socket->options->linger.l_linger == 0;
    bool lingers =
        socket->options->linger.l_onoff != 0 && !aborts && socket->state == SOCKET_CONNECTED;
    if (lingers) {
        (void)socket_shutdown(socket, -1, SHUT_WR);
        linger(socket);
    }
    /* Under consume_lock no event can be looking at the object while it goes. */
    lock_acquire(&link->consume_lock);
    engine_link_unlist_unread(link, socket);
    socket_lock(socket);
    if (socket->state == SOCKET_LISTENING)
        socket_accept_discard(socket);
    bool in_flight = socket->block != NULL && send_queue_outstanding(&socket->block->send) > 0;
    bool lives_on =
        in_flight && !aborts && !atomic_load_explicit(&link->dead, memory_order_relaxed);
    /* What an abort leaves unsent the engine may be reading still: SLOT_FREE or the slot's next
       user frees it. */
    if (socket->block != NULL && !socket->shared && !in_flight)
        send_queue_free(&socket->block->send, &link->send_memory);
    struct link_descriptor operation = socket_operation(socket, LINK_OP_CLOSE);
    operation.flags = aborts ? LINK_FLAG_ABORT : 0;
    operation.data.stream_offset = socket->block != NULL ? socket->block->read_offset : 0;
    socket_push(socket, &operation);
    /* From here on the slot may be another's. */
    socket->detached = true;
    if (!lives_on)
        socket_release_slot(socket);
    socket_unlock(socket);
    socket->shared = true;
    lock_release(&link->consume_lock);
    if (!lives_on)
        socket_free(socket);
    if (fenced)
        socket_end_turned_round(link, core);
}
