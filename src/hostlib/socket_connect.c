/* Active open. Source: Linux net/ipv4/af_inet.c, __inet_stream_connect(). */
#include <errno.h>
#include <sys/epoll.h>

#include "hostlib/notes.h"
#include "hostlib/policy.h"
#include "hostlib/real.h"
#include "hostlib/rejoin.h"
#include "hostlib/socket.h"
#include "hostlib/socket_extra.h"
#include "hostlib/user_memory.h"

static void let_go(struct socket *socket, uint8_t flags)
{
    struct link_descriptor operation = socket_operation(socket, LINK_OP_CLOSE);
    operation.flags = flags;
    engine_link_unlist_unread(socket->link, socket);
    socket_push(socket, &operation);
    socket_release_slot(socket);
}

/* Back to a socket that can connect again. Lock held. */
static void become_fresh(struct socket *socket, uint8_t flags)
{
    struct engine_link *link = socket->link;
    if (socket->block != NULL)
        send_queue_free(&socket->block->send, &link->send_memory);
    let_go(socket, flags);
    receive_queue_free(&socket->receive);
    socket->receive.end_offset = 0;
    socket->peer_fin = false;
    if (socket->extra != NULL)
        socket->extra->urgent_offset = 0;
    socket->error = 0;
    socket->connect_reported = false;
    socket->syn_held = false;
    socket->shut_early = socket->shut_early_send = false;
    socket->had_connection = true;
    socket->state = SOCKET_FRESH;
    socket->local.address = (struct ip_address){0}; /* the port is told yet, as Linux does */
    socket->remote = (struct ip_endpoint){0};
    socket_changed(socket, 0);
}

/* The engine holds the SYN back for so many bytes, 0: it does not. Without memory to keep the
   number the SYN takes none. */
static void hold_syn(struct socket *socket, uint32_t room)
{
    socket->syn_held = room > 0;
    struct socket_extra *extra = room > 0 ? socket_extra_get(socket) : NULL;
    if (extra != NULL)
        extra->syn_room = room;
}

/* The engine answers at once with the local endpoint, or with what Linux's connect() would say; by
   ECONNREFUSED only if it was asked by LINK_FLAG_IF_HEARD, and then a bound socket is none any
   more. */
static int start(struct socket *socket, const struct ip_endpoint *remote, uint8_t flags)
{
    struct link_descriptor operation = socket_operation(socket, LINK_OP_CONNECT);
    struct link_descriptor answer;
    struct engine_link *link = socket->link;
    socket_options_replay(socket);
    socket_lock(socket);
    socket->state = SOCKET_CONNECTING;
    socket->error = 0;
    socket->connect_reported = false;
    socket->remote = *remote;
    socket_changed(socket, 0);
    socket_unlock(socket);
    operation.endpoints.remote = remote->address;
    operation.endpoints.remote_port = remote->port;
    operation.endpoints.accept_slot = socket->options->port_range;
    operation.flags = flags;
    if (socket->is_v6)
        operation.flags |= LINK_FLAG_IPV6;
    bool fenced = socket_is_fenced(socket) && (flags & LINK_FLAG_FAST_OPEN) == 0;
    int error = fenced ? engine_link_call_fenced(link, socket->core, &operation, &answer)
                       : engine_link_call(link, socket->core, &operation, &answer);
    if (error == 0)
        error = -(int)answer.error;
    socket_lock(socket);
    if (error < 0) {
        bool also_kernel = socket->also_kernel;
        become_fresh(socket, 0);
        socket_unlock(socket);
        if (error != -ECONNREFUSED)
            socket_bind_again(socket, link, also_kernel);
        return error;
    }
    if (socket->state != SOCKET_FRESH) {
        socket->local.address = answer.endpoints.local;
        socket->local.port = answer.endpoints.local_port;
        hold_syn(socket, answer.endpoints.accept_slot);
        socket_changed(socket, socket->syn_held ? EPOLLOUT | EPOLLWRNORM : 0);
    }
    socket_unlock(socket);
    if (!fenced && !socket->syn_held)
        socket_fence(socket);
    return 0;
}

/* The attempt is over, or goes on and this call may not wait. */
static int outcome(struct socket *socket, int while_going_on)
{
    int result;
    socket_lock(socket);
    if (socket->state == SOCKET_CONNECTING) {
        result = while_going_on;
    } else if (socket->state == SOCKET_CONNECTED || socket->peer_fin) {
        socket->connect_reported = true;
        result = 0;
    } else {
        struct engine_link *link = socket->link;
        result = socket_take_error(socket);
        if (result == 0)
            result = -ECONNABORTED;
        bool also_kernel = socket->also_kernel;
        become_fresh(socket, 0);
        socket_unlock(socket);
        socket_bind_again(socket, link, also_kernel);
        return result;
    }
    socket_unlock(socket);
    return result;
}

int socket_connect_result(struct socket *socket)
{
    int result = 0;
    socket_lock(socket);
    if (socket->state == SOCKET_CONNECTING)
        result = -EINPROGRESS;
    else if (socket->state == SOCKET_CONNECTED || socket->peer_fin)
        socket->connect_reported = true;
    else
        result = socket_take_error(socket);
    socket_unlock(socket);
    return result;
}

int socket_connect_outcome(struct socket *socket, int while_going_on, bool nonblocking)
{
    if (nonblocking) {
        socket_look(socket);
        return outcome(socket, while_going_on);
    }
    uint64_t deadline_ns = socket_deadline_ns(socket->options->send_timeout_ns);
    int result = socket_wait(socket, EPOLLOUT | EPOLLERR | EPOLLHUP, -1, deadline_ns,
                             deadline_ns == TIME_NEVER);
    if (result == -EINTR)
        return result;
    return outcome(socket, while_going_on);
}

static int wait_for_outcome(struct socket *socket, int while_going_on)
{
    return socket_connect_outcome(socket, while_going_on,
                                  atomic_load_explicit(&socket->nonblocking, memory_order_relaxed));
}

bool socket_disconnect(struct socket *socket, int fd, bool shuts)
{
    socket_look(socket);
    socket_lock(socket);
    struct engine_link *link = socket->link;
    /* Another thread was faster, and may be binding it again. */
    if (link == NULL || socket->state == SOCKET_FRESH ||
        (shuts && socket->state != SOCKET_LISTENING && socket->state != SOCKET_CONNECTING)) {
        socket_unlock(socket);
        return false;
    }
    bool fenced = socket_is_fenced(socket);
    unsigned core = socket->core;
    if (socket->state == SOCKET_LISTENING) {
        rejoin_remove(socket);
        socket_accept_discard(socket);
        if (socket->also_kernel)
            (void)REAL(shutdown)(fd, SHUT_RDWR);
        if (!ip_address_is_any(&socket->local.address))
            socket->also_kernel = false; /* it was since listen() */
    }
    /* Where a reset is due the socket itself learns of it too. */
    bool resets =
        socket->state == SOCKET_CONNECTING ||
        (socket->state == SOCKET_CONNECTED && !(socket->peer_fin && socket_send_is_shut(socket)));
    int error = resets ? ECONNRESET : socket->error;
    become_fresh(socket, LINK_FLAG_ABORT);
    socket->error = error;
    socket_state_changed(socket);
    bool also_kernel = socket->also_kernel;
    socket_unlock(socket);
    if (fenced)
        socket_end_turned_round(link, core);
    socket_bind_again(socket, link, also_kernel);
    return true;
}

/* connect(AF_UNSPEC) */
static int disconnect(struct socket *socket, int fd, const struct sockaddr *address,
                      socklen_t length)
{
    if (socket->link == NULL) {
        socket_lock(socket);
        socket->shut_early = socket->shut_early_send = false;
        socket_changed(socket, 0);
        socket_unlock(socket);
        return REAL(connect)(fd, address, length) < 0 ? -errno : 0;
    }
    (void)socket_disconnect(socket, fd, false);
    return 0;
}

/* Linux takes the wildcard address as a destination for the loopback address. */
static void become_loopback_if_any(struct ip_address *address)
{
    if (!ip_address_is_any(address))
        return;
    if (ip_address_is_v4(address))
        address->bytes[12] = 127;
    address->bytes[15] = 1;
}

/* Give the kernel's socket the name that the engine's had. @return whether it has it. */
static bool move_name(const struct socket *socket, int fd, const struct ip_endpoint *local)
{
    struct sockaddr_storage name;
    socklen_t length = sizeof(name);
    socket_endpoint_write(local, socket->is_v6, (struct sockaddr *)&name, &length);
    return REAL(bind)(fd, (struct sockaddr *)&name, length) == 0;
}

/* With PNO_LOOPBACK=1 servers may be outside PnO as well, and only the kernel's: connect there what
   finds nobody in the engine. @return as connect_engine(). */
static int connect_loopback(struct socket *socket, int fd, const struct ip_endpoint *remote,
                            uint8_t flags)
{
    struct engine_link *link = socket->link;
    struct ip_endpoint local = socket->local;
    bool has_name = socket->state == SOCKET_BOUND;
    if (socket->is_accepted) /* its descriptor is no socket */
        return start(socket, remote, flags);
    int error = start(socket, remote, flags | LINK_FLAG_IF_HEARD);
    if (error != -ECONNREFUSED)
        return error;
    if (has_name && !socket->also_kernel && !move_name(socket, fd, &local)) {
        socket_bind_again(socket, link, false);
        error = socket_take_slot(socket, link);
        return error == 0 ? start(socket, remote, flags) : error;
    }
    notes_set(fd, SOCKET_NOTE_UNHEARD, 0);
    socket->state = SOCKET_KERNEL;
    return 1;
}

/* @return 0: the engine connects; 1: the socket is not the engine's, and notes say why; negative
   errno. */
static int connect_engine(struct socket *socket, int fd, const struct sockaddr *address,
                          socklen_t length, uint8_t flags)
{
    struct ip_endpoint remote;
    bool bound_to_engine = socket->state == SOCKET_BOUND && !socket->also_kernel;
    int error = socket_endpoint_parse(address, length, socket->is_v6, &remote);
    if (error < 0) {
        /* No address at all: the kernel says what is wrong with it, and nothing is decided. */
        return bound_to_engine ? error : 1;
    }
    become_loopback_if_any(&remote.address);
    if (socket->is_v6 && ip_address_is_v4(&remote.address)) {
        socket_note_v6only(socket, fd);
        if (socket->options->v6only)
            return -ENETUNREACH;
    }
    if (socket->state == SOCKET_BOUND && !ip_address_is_any(&socket->local.address) &&
        ip_address_is_v4(&socket->local.address) != ip_address_is_v4(&remote.address))
        return ip_address_is_v4(&remote.address) ? -ENETUNREACH : -EAFNOSUPPORT;
    struct policy_reason reason;
    struct engine_link *link = policy_for_connect(socket->link, bound_to_engine, &remote, &reason);
    if (link != NULL) {
        if ((flags & LINK_FLAG_FAST_OPEN) && !link->hello.fast_open) {
            if (!socket->options->fast_open_connect)
                return -EOPNOTSUPP;
            flags = 0;
        }
        error = socket_take_slot(socket, link);
        if (error < 0)
            return error;
        return ip_address_is_loopback(&remote.address)
                   ? connect_loopback(socket, fd, &remote, flags)
                   : start(socket, &remote, flags);
    }
    if (bound_to_engine)
        return -ENETUNREACH;
    if (socket->link != NULL)
        let_go(socket, 0);
    notes_set(fd, reason.reason, reason.rule);
    socket->state = SOCKET_KERNEL;
    return 1;
}

/* @return as connect_engine(), but -EINPROGRESS: the engine connects. */
static int connect_begin(struct socket *socket, int fd, const struct sockaddr *address,
                         socklen_t length)
{
    uint8_t flags = socket->options->fast_open_connect ? LINK_FLAG_FAST_OPEN : 0;
    int result = connect_engine(socket, fd, address, length, flags);
    if (result != 0 || socket->syn_held)
        return result; /* TCP_FASTOPEN_CONNECT: the first write sends the SYN */
    return -EINPROGRESS;
}

static int connect_first(struct socket *socket, int fd, const struct sockaddr *address,
                         socklen_t length)
{
    int result = connect_begin(socket, fd, address, length);
    if (result > 0)
        return REAL(connect)(fd, address, length) < 0 ? -errno : 0;
    if (result != -EINPROGRESS)
        return result;
    /* Linux never knows the outcome before it returns from a connect that may not wait. */
    return atomic_load_explicit(&socket->nonblocking, memory_order_relaxed)
               ? -EINPROGRESS
               : wait_for_outcome(socket, -EINPROGRESS);
}

int socket_connect_fast(struct socket *socket, int fd, const struct sockaddr *address,
                        socklen_t length, bool more)
{
    return connect_engine(socket, fd, address, length,
                          (uint8_t)(LINK_FLAG_FAST_OPEN | (more ? LINK_FLAG_MORE : 0)));
}

/* What comes before the socket's state does. @return 1: nothing; else the call's result. */
static int check_connect(struct socket *socket, int fd, const struct sockaddr *address,
                         socklen_t length)
{
    struct sockaddr_storage copy = {.ss_family = AF_INET};
    if (length > 0 && length <= sizeof(copy) && user_memory_copy_in(&copy, address, length) < 0)
        return -EFAULT;
    if (length < sizeof(copy.ss_family) || length > sizeof(copy))
        return -EINVAL;
    if (copy.ss_family == AF_UNSPEC)
        return disconnect(socket, fd, address, length);
    socket_look(socket);
    return 1;
}

int socket_connect_now(struct socket *socket, int fd, const struct sockaddr *address,
                       socklen_t length)
{
    int result = check_connect(socket, fd, address, length);
    if (result != 1)
        return result;
    if (socket->state < SOCKET_LISTENING)
        return connect_begin(socket, fd, address, length);
    if (socket->state == SOCKET_CONNECTING && !socket->syn_held)
        return outcome(socket, -EALREADY);
    if (socket->state < SOCKET_CONNECTED || socket->connect_reported)
        return -EISCONN;
    return outcome(socket, -EALREADY);
}

int socket_connect(struct socket *socket, int fd, const struct sockaddr *address, socklen_t length)
{
    int result = check_connect(socket, fd, address, length);
    if (result != 1)
        return result;
    switch ((enum socket_state)socket->state) {
    case SOCKET_FRESH:
    case SOCKET_KERNEL:
    case SOCKET_BOUND:
        return connect_first(socket, fd, address, length);
    case SOCKET_LISTENING:
        return -EISCONN;
    case SOCKET_CONNECTING:
        return socket->syn_held ? -EISCONN : wait_for_outcome(socket, -EALREADY);
    case SOCKET_CONNECTED:
    case SOCKET_CLOSED:
        break;
    }
    return socket->connect_reported ? -EISCONN : outcome(socket, -EALREADY);
}
