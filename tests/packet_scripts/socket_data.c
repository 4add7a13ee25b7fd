#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/sockios.h>

#include "base/time_units.h"
#include "sockets.h"

#ifndef TCP_INQ
#define TCP_INQ 36
#endif

int64_t argument(const struct system_call *call, unsigned index, struct call_state *state)
{
    return node_integer(node_argument(call, index), &state->known);
}

int64_t call_cannot(struct call_state *state, const char *what)
{
    state->cannot = what;
    return -ENOSYS;
}

int64_t call_would_block(const struct machine_socket *socket, struct call_state *state,
                         int64_t flags)
{
    state->blocks = !socket->nonblocking && (flags & MSG_DONTWAIT) == 0;
    return -EAGAIN;
}

bool call_timed_out(const struct machine *machine, const struct call_state *state,
                    int64_t timeout_ms)
{
    return timeout_ms > 0 &&
           machine->now_ns >= state->started_ns + (uint64_t)timeout_ms * NS_PER_MS;
}

int64_t socket_take_error(struct machine_socket *socket)
{
    int error = socket->error;
    socket->error = 0;
    return -error;
}

int64_t socket_readable_bytes(const struct machine_socket *socket)
{
    if (socket->connection == NULL)
        return 0;
    return (int64_t)(tcp_received_offset(socket->connection) - socket->consumed);
}

static uint64_t write_space(const struct machine_socket *socket)
{
    uint64_t queued = socket->written - tcp_acked_offset(socket->connection);
    uint64_t limit = tcp_send_buffer_bytes(socket->connection);
    return queued < limit ? limit - queued : 0;
}

bool socket_has_write_space(const struct machine_socket *socket)
{
    /* Linux tells of room once a third of the buffer is free. */
    return socket->connection != NULL &&
           write_space(socket) >= tcp_send_buffer_bytes(socket->connection) / 3;
}

/* ---- Transfer ----------------------------------------------------------------------------- */

static int64_t iovec_bytes(const struct node *list, struct call_state *state)
{
    int64_t bytes = 0;
    for (const struct node *n = list == NULL ? NULL : list->children; n != NULL; n = n->next)
        bytes += node_integer(n->children == NULL ? NULL : n->children->next, &state->known);
    return bytes;
}

/** msghdr's msg_iov(N) = [...]: what its name(...) = value gives. */
static const struct node *message_iovec(const struct node *message)
{
    return node_field(message, "msg_iov");
}

static int64_t receive(struct machine *machine, struct machine_socket *socket, int64_t size,
                       int64_t flags, struct call_state *state)
{
    if (socket->kind != SOCKET_CONNECTION || (socket->connecting && socket->error == 0))
        return socket->connecting ? call_would_block(socket, state, flags) : -ENOTCONN;
    int64_t available = socket_readable_bytes(socket);
    if ((flags & (MSG_OOB | MSG_ERRQUEUE)) != 0)
        return call_cannot(state, "this flag");
    if (available > 0 && size > 0) {
        int64_t wanted = (flags & MSG_WAITALL) != 0 && !socket->fin_arrived ? size : 1;
        if (available < wanted)
            return call_would_block(socket, state, flags);
        int64_t bytes = available < size ? available : size;
        if ((flags & MSG_PEEK) == 0) {
            socket->consumed += (uint64_t)bytes;
            tcp_consumed(machine->stack, socket->connection, socket->consumed, machine->now_ns);
        }
        return bytes;
    }
    if (socket->error != 0)
        return socket_take_error(socket);
    if (socket->fin_arrived || socket->read_shut || socket->connection == NULL || size == 0)
        return 0;
    return call_would_block(socket, state, flags);
}

static int64_t transmit(struct machine *machine, struct machine_socket *socket, int64_t size,
                        int64_t flags, struct call_state *state)
{
    if (socket->kind == SOCKET_CONNECTION && socket->connecting && socket->error == 0)
        return call_would_block(socket, state, flags);
    if (socket->error != 0)
        return socket_take_error(socket);
    if (socket->kind != SOCKET_CONNECTION || socket->write_shut || socket->connection == NULL)
        return -EPIPE;
    if ((flags & MSG_OOB) != 0 && size == 0)
        return 0;
    uint64_t room = write_space(socket);
    if (room == 0 && size > 0)
        return call_would_block(socket, state, flags);
    bool sleeps = !socket->nonblocking && (flags & MSG_DONTWAIT) == 0;
    uint64_t bytes = (uint64_t)size - machine->partly_written;
    if (bytes > room)
        bytes = room;
    int error = tcp_send(machine->stack, socket->connection, bytes, (flags & MSG_MORE) != 0,
                         machine->now_ns);
    if (error != 0)
        return error;
    socket->written += bytes;
    if ((flags & MSG_OOB) != 0)
        tcp_send_urgent(machine->stack, socket->connection, machine->now_ns);
    machine->partly_written += bytes;
    if (sleeps && machine->partly_written < (uint64_t)size) {
        state->blocks = true;
        return -EAGAIN;
    }
    return (int64_t)machine->partly_written;
}

int64_t socket_transfer(struct machine *machine, struct machine_socket *socket,
                        const struct system_call *call, struct call_state *state)
{
    const char *name = call->name;
    if (strcmp(name, "read") == 0)
        return receive(machine, socket, argument(call, 2, state), 0, state);
    if (strcmp(name, "recv") == 0 || strcmp(name, "recvfrom") == 0)
        return receive(machine, socket, argument(call, 2, state), argument(call, 3, state), state);
    if (strcmp(name, "readv") == 0)
        return receive(machine, socket, iovec_bytes(node_argument(call, 1), state), 0, state);
    if (strcmp(name, "recvmsg") == 0)
        return receive(machine, socket, iovec_bytes(message_iovec(node_argument(call, 1)), state),
                       argument(call, 2, state), state);
    if (strcmp(name, "write") == 0)
        return transmit(machine, socket, argument(call, 2, state), 0, state);
    if (strcmp(name, "send") == 0 || strcmp(name, "sendto") == 0)
        return transmit(machine, socket, argument(call, 2, state), argument(call, 3, state), state);
    if (strcmp(name, "writev") == 0)
        return transmit(machine, socket, iovec_bytes(node_argument(call, 1), state), 0, state);
    if (strcmp(name, "sendmsg") == 0)
        return transmit(machine, socket, iovec_bytes(message_iovec(node_argument(call, 1)), state),
                        argument(call, 2, state), state);
    return call_cannot(state, "the call");
}

int64_t socket_ioctl(struct machine *machine, struct machine_socket *socket,
                     const struct system_call *call, struct call_state *state)
{
    const struct node *out = node_argument(call, 2);
    int64_t request = argument(call, 1, state), value;
    if (request == FIONBIO) {
        socket->nonblocking = argument(call, 2, state) != 0;
        return 0;
    }
    if (socket->kind == SOCKET_LISTENING)
        return -EINVAL;
    struct tcp_connection_info info = {0};
    if (socket->connection != NULL)
        tcp_get_info(machine->stack, socket->connection, machine->now_ns, &info);
    if (request == SIOCINQ)
        value = socket_readable_bytes(socket);
    else if (request == SIOCOUTQ)
        value = socket->connection == NULL
                    ? 0
                    : (int64_t)(socket->written - tcp_acked_offset(socket->connection));
    else if (request == SIOCOUTQNSD)
        value = (int64_t)info.notsent_bytes;
    else
        return call_cannot(state, "this ioctl");
    if (out != NULL && out->kind == NODE_LIST && node_integer(out, &state->known) != value)
        state->mismatch = "the value differs";
    return 0;
}

/* ---- Options ------------------------------------------------------------------------------ */

static int64_t apply(struct machine *machine, struct machine_socket *socket)
{
    if (socket->listener != NULL && socket->kind == SOCKET_LISTENING)
        *tcp_listener_options(socket->listener) = socket->options;
    else if (socket->connection != NULL)
        tcp_set_options(machine->stack, socket->connection, &socket->options, machine->now_ns);
    return 0;
}

static int64_t set_socket_level(struct machine *machine, struct machine_socket *socket,
                                int64_t name, const struct node *value, int64_t number,
                                struct call_state *state)
{
    bool known = true;
    switch (name) {
    case SO_REUSEADDR:
        socket->reuse_address = number != 0;
        return 0;
    case SO_REUSEPORT:
    case SO_PRIORITY:
    case SO_MARK:
        return 0;
    case SO_KEEPALIVE:
        socket->options.keepalive = number != 0;
        break;
    case SO_RCVBUF:
        /* Linux doubles what is asked for, and gives no less than it needs itself. */
        socket->options.receive_buffer = (uint32_t)(number * 2 < 2304 ? 2304 : number * 2);
        break;
    case SO_SNDBUF:
        socket->options.send_buffer = (uint32_t)(number * 2 < 4608 ? 4608 : number * 2);
        break;
    case SO_RCVLOWAT:
        socket->receive_low_water = number < 1 ? 1 : number;
        return 0;
    case SO_MAX_PACING_RATE:
        socket->options.max_pacing_rate = number == -1 ? UINT64_MAX : (uint32_t)number;
        break;
    case SO_LINGER:
        socket->reset_on_close = node_integer(node_field(value, "onoff"), &known) != 0 &&
                                 node_integer(node_field(value, "linger"), &known) == 0;
        return 0;
    default:
        return call_cannot(state, "this option");
    }
    return apply(machine, socket);
}

static int64_t set_congestion(struct machine_socket *socket, const struct node *value)
{
    const struct node *name = value != NULL && value->kind == NODE_LIST ? value->children : value;
    if (name == NULL || name->text == NULL)
        return -EFAULT;
    if (strcmp(name->text, "cubic") == 0)
        socket->options.congestion = TCP_CONGESTION_CUBIC;
    else if (strcmp(name->text, "reno") == 0)
        socket->options.congestion = TCP_CONGESTION_NEWRENO;
    else if (strcmp(name->text, "dctcp") == 0)
        socket->options.congestion = TCP_CONGESTION_DCTCP;
    else
        return -ENOENT;
    return 0;
}

static int64_t set_tcp_level(struct machine *machine, struct machine_socket *socket, int64_t name,
                             const struct node *value, int64_t number, struct call_state *state)
{
    struct tcp_options_set *options = &socket->options;
    switch (name) {
    case TCP_NODELAY:
        options->nodelay = number != 0;
        break;
    case TCP_CORK:
        options->cork = number != 0;
        break;
    case TCP_QUICKACK:
        options->quickack = number != 0;
        break;
    case TCP_MAXSEG:
        if (number != 0 && (number < 88 || number > 32767))
            return -EINVAL;
        options->maxseg = (uint16_t)number;
        break;
    case TCP_KEEPIDLE:
        options->keepalive_idle_ns = (uint64_t)number * NS_PER_S;
        break;
    case TCP_KEEPINTVL:
        options->keepalive_interval_ns = (uint64_t)number * NS_PER_S;
        break;
    case TCP_KEEPCNT:
        options->keepalive_count = (uint8_t)number;
        break;
    case TCP_SYNCNT:
        options->syn_retries = (uint8_t)number;
        break;
    case TCP_LINGER2:
        options->linger2_ns = number < 0 ? UINT64_MAX : (uint64_t)number * NS_PER_S;
        break;
    case TCP_WINDOW_CLAMP:
        options->window_clamp = (uint32_t)number;
        break;
    case TCP_USER_TIMEOUT:
        options->user_timeout_ns = (uint64_t)number * NS_PER_MS;
        break;
    case TCP_DEFER_ACCEPT:
        socket->defer_accept_ns = (uint64_t)number * NS_PER_S;
        if (socket->kind == SOCKET_LISTENING)
            tcp_listener_set_defer_accept(socket->listener, socket->defer_accept_ns);
        return 0;
    case TCP_CONGESTION: {
        int64_t error = set_congestion(socket, value);
        return error != 0 ? error : apply(machine, socket);
    }
    default:
        return call_cannot(state, "this option");
    }
    return apply(machine, socket);
}

int64_t socket_set_option(struct machine *machine, struct machine_socket *socket,
                          const struct system_call *call, struct call_state *state)
{
    int64_t level = argument(call, 1, state), name = argument(call, 2, state), number = 0;
    const struct node *value = node_argument(call, 3);
    bool is_number = value != NULL && value->kind == NODE_LIST && value->children != NULL &&
                     value->children->kind != NODE_STRING;
    if (is_number)
        number = node_integer(value, &state->known);
    if (!state->known)
        return call_cannot(state, "a name");
    if (level == SOL_SOCKET)
        return set_socket_level(machine, socket, name, value, number, state);
    if (level == SOL_TCP)
        return set_tcp_level(machine, socket, name, value, number, state);
    if ((level == SOL_IP && name == IP_TOS) || (level == SOL_IPV6 && name == IPV6_TCLASS))
        socket->options.traffic_class = (uint8_t)number;
    else if ((level == SOL_IP && name == IP_TTL) ||
             (level == SOL_IPV6 && name == IPV6_UNICAST_HOPS))
        socket->options.ttl = (uint8_t)number;
    else if (level == SOL_IP && name == IP_MTU_DISCOVER)
        return number == IP_PMTUDISC_WANT || number == IP_PMTUDISC_DO
                   ? 0
                   : call_cannot(state, "this value");
    else
        return call_cannot(state, "this option");
    return apply(machine, socket);
}

static int64_t get_tcp_level(struct machine *machine, const struct machine_socket *socket,
                             int64_t name, struct call_state *state)
{
    const struct tcp_options_set *options = &socket->options;
    struct tcp_connection_info info = {0};
    if (socket->connection != NULL)
        tcp_get_info(machine->stack, socket->connection, machine->now_ns, &info);
    switch (name) {
    case TCP_NODELAY:
        return options->nodelay;
    case TCP_CORK:
        return options->cork;
    case TCP_MAXSEG:
        return info.snd_mss != 0      ? (int64_t)info.snd_mss
               : options->maxseg != 0 ? options->maxseg
                                      : 536;
    case TCP_KEEPIDLE:
        return (int64_t)(options->keepalive_idle_ns / NS_PER_S);
    case TCP_KEEPINTVL:
        return (int64_t)(options->keepalive_interval_ns / NS_PER_S);
    case TCP_KEEPCNT:
        return options->keepalive_count;
    case TCP_USER_TIMEOUT:
        return (int64_t)(options->user_timeout_ns / NS_PER_MS);
    case TCP_SYNCNT:
        return options->syn_retries;
    default:
        return call_cannot(state, "this option");
    }
}

static int64_t get_socket_level(struct machine_socket *socket, int64_t name,
                                struct call_state *state)
{
    switch (name) {
    case SO_ERROR:
        if (socket->error == 0 && socket->soft_error != 0) {
            int error = socket->soft_error;
            socket->soft_error = 0;
            return error;
        }
        return -socket_take_error(socket);
    case SO_KEEPALIVE:
        return socket->options.keepalive;
    case SO_REUSEADDR:
        return socket->reuse_address;
    case SO_RCVBUF:
        return socket->options.receive_buffer != 0 ? socket->options.receive_buffer : 131072;
    case SO_SNDBUF:
        return socket->options.send_buffer != 0 ? socket->options.send_buffer
               : socket->connection != NULL     ? tcp_send_buffer_bytes(socket->connection)
                                                : 16384;
    case SO_RCVLOWAT:
        return socket->receive_low_water;
    default:
        return call_cannot(state, "this option");
    }
}

int64_t socket_get_option(struct machine *machine, struct machine_socket *socket,
                          const struct system_call *call, struct call_state *state)
{
    int64_t level = argument(call, 1, state), name = argument(call, 2, state);
    const struct node *expected = node_argument(call, 3);
    if (!state->known)
        return call_cannot(state, "a name");
    if (level != SOL_SOCKET && level != SOL_TCP)
        return call_cannot(state, "this option");
    int64_t value = level == SOL_SOCKET ? get_socket_level(socket, name, state)
                                        : get_tcp_level(machine, socket, name, state);
    if (state->cannot == NULL && expected != NULL && expected->kind == NODE_LIST &&
        expected->children != NULL && expected->children->kind != NODE_ANY &&
        node_integer(expected, &state->known) != value)
        state->mismatch = "the value differs";
    return state->cannot != NULL ? -ENOSYS : 0;
}
