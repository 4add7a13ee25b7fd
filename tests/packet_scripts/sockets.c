#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/time_units.h"
#include "machine.h"
#include "sockets.h"

/* ---- Sockets and events ------------------------------------------------------------------- */

struct machine_socket *socket_by_fd(struct machine *machine, int64_t fd)
{
    for (unsigned i = 0; i < MACHINE_SOCKETS_MAX; i++) {
        struct machine_socket *socket = &machine->sockets[i];
        if (socket->kind != SOCKET_FREE && socket->fd == fd)
            return socket;
    }
    return NULL;
}

struct machine_socket *socket_new(struct machine *machine, enum socket_kind kind)
{
    for (unsigned i = 0; i < MACHINE_SOCKETS_MAX; i++) {
        struct machine_socket *socket = &machine->sockets[i];
        if (socket->kind != SOCKET_FREE)
            continue;
        memset(socket, 0, sizeof(*socket));
        socket->kind = kind;
        socket->fd = -1;
        socket->receive_low_water = 1;
        socket->linger_seconds = -1;
        return socket;
    }
    return NULL;
}

int socket_lowest_fd(struct machine *machine)
{
    int fd = 3;
    while (socket_by_fd(machine, fd) != NULL)
        fd++;
    return fd;
}

/** The descriptor that a call returns is the one the script calls it by. */
/** From here on: sockets whose number the script has given to another. */
#define FORGOTTEN_FD 1000000

int socket_fd_for(struct machine *machine, const struct system_call *call)
{
    bool known = true;
    int64_t fd = call->result == NULL ? -1 : node_integer(call->result, &known);
    if (!known || fd < 0)
        return socket_lowest_fd(machine);
    struct machine_socket *before = socket_by_fd(machine, fd);
    if (before != NULL) /* which the script speaks of no more */
        before->fd = FORGOTTEN_FD + (int)(before - machine->sockets);
    return (int)fd;
}

static void announce(struct machine *machine, struct machine_socket *listener)
{
    struct tcp_connection *connection;
    while ((connection = tcp_listener_next(listener->listener)) != NULL) {
        struct machine_socket *socket = socket_new(machine, SOCKET_CONNECTION);
        if (socket == NULL || listener->backlog_count == MACHINE_SOCKETS_MAX) {
            tcp_listener_taken(listener->listener);
            tcp_abort(machine->stack, connection, machine->now_ns);
            continue;
        }
        socket->connection = connection;
        socket->established = socket->connect_reported = true;
        socket->is_ipv6 = listener->is_ipv6;
        socket->options = *tcp_get_options(connection);
        socket->zerocopy = listener->zerocopy;
        socket->oob_inline = listener->oob_inline;
        socket->inq = listener->inq;
        socket->receive_low_water = listener->receive_low_water;
        socket->linger_seconds = listener->linger_seconds;
        socket->reset_on_close = listener->reset_on_close;
        socket->notsent_low_water = listener->notsent_low_water;
        tcp_set_user(connection, socket);
        listener->backlog[listener->backlog_count++] = socket;
        machine->under_test = socket;
    }
}

/** A connection that died in a back-log stays there: accept() still returns it. */
static bool waits_for_accept(const struct machine *machine, const struct machine_socket *socket)
{
    for (unsigned i = 0; i < MACHINE_SOCKETS_MAX; i++) {
        const struct machine_socket *listener = &machine->sockets[i];
        for (unsigned j = 0; j < listener->backlog_count; j++) {
            if (listener->kind == SOCKET_LISTENING && listener->backlog[j] == socket)
                return true;
        }
    }
    return false;
}

void machine_socket_event(struct machine *machine, const struct stack_event *event)
{
    struct machine_socket *socket = event->user;
    if (socket == NULL)
        return;
    if (event->listener != NULL) {
        socket->wakes[WAKE_IN]++;
        announce(machine, socket);
        return;
    }
    if ((event->bits & STACK_EVENT_ESTABLISHED) != 0) {
        socket->established = true;
        socket->connecting = false;
        socket->wakes[WAKE_STATE]++;
    }
    if ((event->bits & (STACK_EVENT_DATA | STACK_EVENT_URGENT)) != 0)
        socket->wakes[WAKE_IN]++;
    if ((event->bits & STACK_EVENT_FIN) != 0) {
        socket->fin_arrived = socket->peer_fin = true;
        socket->wakes[WAKE_STATE]++;
    }
    if ((event->bits & STACK_EVENT_ACKED) != 0)
        send_memory_acked(machine, socket);
    if ((event->bits & STACK_EVENT_SOFT_ERROR) != 0)
        socket->soft_error = tcp_error(event->connection);
    if ((event->bits & STACK_EVENT_ERROR) != 0) {
        socket->error = tcp_error(event->connection);
        socket->fin_arrived = socket->write_shut = true;
        socket->connecting = socket->established = false;
        socket->wakes[WAKE_STATE]++;
    }
    if ((event->bits & STACK_EVENT_CLOSED) != 0) {
        socket->connection = NULL;
        if (socket->fd < 0 && !waits_for_accept(machine, socket))
            socket->kind = SOCKET_FREE;
    }
}

/* ---- Beginning ---------------------------------------------------------------------------- */

static int64_t call_socket(struct machine *machine, const struct system_call *call,
                           struct call_state *state)
{
    int64_t type = argument(call, 1, state), protocol = argument(call, 2, state);
    if (((int)type & 0xf) != SOCK_STREAM)
        return call_cannot(state, "only SOCK_STREAM");
    if (protocol != IPPROTO_TCP && protocol != 0)
        return call_cannot(state, "only IPPROTO_TCP");
    struct machine_socket *socket = socket_new(machine, SOCKET_NEW);
    if (socket == NULL)
        return -EMFILE;
    socket->nonblocking = (type & SOCK_NONBLOCK) != 0;
    socket->is_ipv6 = machine->sockets_ipv6;
    socket->close_on_exec = (type & SOCK_CLOEXEC) != 0;
    socket->fd = socket_fd_for(machine, call);
    tcp_options_set_init(&socket->options, &machine->config.tcp);
    machine->under_test = socket;
    return socket->fd;
}

/** The port that an address argument names, or the usual one. */
static uint16_t address_port(const struct node *address, uint16_t usual)
{
    static const char *const names[] = {"sin_port", "sin6_port"};
    bool known = true;
    for (unsigned i = 0; i < 2; i++) {
        if (node_field(address, names[i]) != NULL)
            return (uint16_t)node_integer(node_field(address, names[i]), &known);
    }
    return usual;
}

static int64_t call_bind(struct machine *machine, struct machine_socket *socket,
                         const struct system_call *call, struct call_state *state)
{
    (void)state;
    /* What is asked for is "..." as a rule: any address, the port of the script's machine. */
    if (socket->kind != SOCKET_NEW || socket->local.port != 0)
        return -EINVAL;
    if (!socket->is_ipv6)
        socket->local.address = ip_address_from_v4((const uint8_t[4]){0});
    socket->local.port = address_port(node_argument(call, 1), machine->bind_port);
    int error = stack_port_bind(machine->stack, &socket->local, (struct port_range){0},
                                socket->is_ipv6, false, socket->reuse_address, false);
    if (error != 0)
        socket->local.port = 0;
    return error;
}

static int64_t call_listen(struct machine *machine, struct machine_socket *socket,
                           const struct system_call *call, struct call_state *state)
{
    int64_t backlog = argument(call, 1, state);
    if (socket->kind == SOCKET_LISTENING) {
        tcp_listener_set_backlog(socket->listener, (uint32_t)backlog);
        return 0;
    }
    if (socket->kind != SOCKET_NEW)
        return -EINVAL;
    struct tcp_listen_request request = {.local = socket->local,
                                         .is_ipv6 = socket->is_ipv6,
                                         .backlog = (uint32_t)backlog,
                                         .user = socket};
    int error = tcp_listen(machine->stack, &request, &socket->listener);
    if (error != 0)
        return error;
    socket->kind = SOCKET_LISTENING;
    *tcp_listener_options(socket->listener) = socket->options;
    tcp_listener_set_defer_accept(socket->listener, socket->defer_accept_ns);
    socket_fast_open_listen(socket);
    machine->flow_known = false;
    return 0;
}

static int64_t call_accept(struct machine *machine, struct machine_socket *socket,
                           const struct system_call *call, struct call_state *state)
{
    if (socket->kind != SOCKET_LISTENING)
        return -EINVAL;
    if (socket->backlog_count == 0)
        return call_would_block(machine, socket, state, 0, socket->receive_timeout_ns);
    struct machine_socket *accepted = socket->backlog[0];
    memmove(socket->backlog, socket->backlog + 1, --socket->backlog_count * sizeof(accepted));
    accepted->fd = socket_fd_for(machine, call);
    tcp_listener_taken(socket->listener);
    if (strcmp(call->name, "accept4") == 0)
        accepted->nonblocking = (argument(call, 3, state) & SOCK_NONBLOCK) != 0;
    machine->under_test = accepted;
    return accepted->fd;
}

int64_t socket_connect_begin(struct machine *machine, struct machine_socket *socket, uint16_t port,
                             bool fast, bool more)
{
    struct tcp_connect_request request = {.local = socket->local, .options = &socket->options};
    request.remote.address = machine->remote;
    request.remote.port = port;
    request.reuse_address = socket->reuse_address;
    request.user = socket;
    request.fast_open = fast;
    request.more = more;
    if (socket->local.port != 0)
        stack_port_release(machine->stack, &socket->local, socket->is_ipv6, false);
    int error = tcp_connect(machine->stack, &request, machine->now_ns, &socket->connection);
    if (error != 0)
        return error;
    struct ip_endpoint local, remote;
    tcp_endpoints(socket->connection, &local, &remote);
    machine_flow_begin(machine, local.port, remote.port);
    socket->kind = SOCKET_CONNECTION;
    socket->connecting = true;
    machine_pump(machine);
    return 0;
}

/** Linux's tcp_disconnect(): the connection is reset, and the socket may open another. */
static int64_t disconnect(struct machine *machine, struct machine_socket *socket)
{
    struct tcp_connection *connection = socket->connection;
    if (connection != NULL) {
        tcp_set_user(connection, NULL);
        tcp_abort(machine->stack, connection, machine->now_ns);
        socket->error = ECONNRESET;
        socket->wakes[WAKE_STATE]++;
    }
    socket->kind = SOCKET_NEW;
    socket->connection = NULL;
    socket->connecting = socket->established = socket->connect_reported = false;
    socket->read_shut = socket->write_shut = socket->fin_arrived = socket->deferred = false;
    socket->peer_fin = false;
    socket->written = socket->consumed = socket->urgent_read = 0;
    socket->memory = (struct send_memory){0};
    socket->note_count = socket->waiting_count = 0;
    socket->local.port = 0;
    return 0;
}

static int64_t call_connect(struct machine *machine, struct machine_socket *socket,
                            const struct system_call *call, struct call_state *state)
{
    bool first = socket->kind == SOCKET_NEW;
    const struct node *address = node_argument(call, 1);
    if (socket->kind == SOCKET_LISTENING)
        return -EISCONN;
    if (address != NULL && address->kind == NODE_WORD && strcmp(address->text, "AF_UNSPEC") == 0)
        return disconnect(machine, socket);
    if (first) {
        int64_t error =
            socket_connect_begin(machine, socket, address_port(address, machine->connect_port),
                                 socket->fast_open_connect, false);
        if (error != 0)
            return error;
        socket->deferred = tcp_fast_open_room(machine->stack, socket->connection) > 0;
        if (socket->deferred)
            return 0;
    }
    if (socket->deferred)
        return -EISCONN;
    if (socket->error != 0 && !first)
        return socket_take_error(socket);
    if (socket->established) {
        if (socket->connect_reported)
            return -EISCONN;
        socket->connect_reported = true;
        return 0;
    }
    if (!socket->connecting)
        return -ECONNABORTED;
    if (socket->nonblocking)
        return first ? -EINPROGRESS : -EALREADY;
    int64_t result = call_would_block(machine, socket, state, 0, socket->send_timeout_ns);
    return state->blocks ? result : -EINPROGRESS;
}

/* ---- Ending ------------------------------------------------------------------------------- */

/** Connections that nobody accepted end with it. */
static void close_listener(struct machine *machine, struct machine_socket *socket)
{
    for (unsigned i = 0; i < socket->backlog_count; i++) {
        tcp_listener_taken(socket->listener);
        if (socket->backlog[i]->connection != NULL)
            tcp_abort(machine->stack, socket->backlog[i]->connection, machine->now_ns);
        else
            socket->backlog[i]->kind = SOCKET_FREE;
    }
    socket->backlog_count = 0;
    tcp_listener_close(machine->stack, socket->listener, machine->now_ns);
    if (socket->local.port != 0)
        stack_port_release(machine->stack, &socket->local, socket->is_ipv6, false);
}

/** In TIME-WAIT Linux's socket is closed already. */
static bool is_over(const struct machine *machine, const struct machine_socket *socket)
{
    struct tcp_connection_info info;
    tcp_get_info(machine->stack, socket->connection, machine->now_ns, &info);
    return info.state == TCP_TIME_WAIT || info.state == TCP_CLOSE;
}

static int64_t call_shutdown(struct machine *machine, struct machine_socket *socket,
                             const struct system_call *call, struct call_state *state)
{
    int64_t how = argument(call, 1, state);
    if (how < SHUT_RD || how > SHUT_RDWR)
        return -EINVAL;
    if (socket->kind == SOCKET_LISTENING && how != SHUT_WR) {
        close_listener(machine, socket);
        socket->kind = SOCKET_NEW;
        socket->local.port = 0;
        return 0;
    }
    if (socket->connecting && socket->connection != NULL && !socket->deferred)
        return disconnect(machine, socket); /* as Linux */
    if (socket->kind != SOCKET_CONNECTION || socket->connection == NULL || socket->connecting ||
        (!socket->established && socket->error == 0) || is_over(machine, socket))
        return -ENOTCONN;
    if (how != SHUT_WR) {
        socket->read_shut = true;
        tcp_shutdown_read(machine->stack, socket->connection);
        socket->wakes[WAKE_STATE]++;
    }
    if (how != SHUT_RD && !socket->write_shut) {
        socket->write_shut = true;
        tcp_shutdown_write(machine->stack, socket->connection, machine->now_ns);
    }
    return 0;
}

/** SO_LINGER: close() returns when all that was sent is acknowledged, FIN included, or in time. */
static bool close_lingers(struct machine *machine, struct machine_socket *socket,
                          struct call_state *state)
{
    struct tcp_connection_info info;
    if (socket->linger_seconds <= 0 || socket->connection == NULL)
        return false;
    machine_pump(machine);
    if (socket->connection == NULL)
        return false;
    tcp_get_info(machine->stack, socket->connection, machine->now_ns, &info);
    state->blocks =
        (info.state == TCP_FIN_WAIT1 || info.state == TCP_CLOSING || info.state == TCP_LAST_ACK) &&
        call_may_wait(machine, state, socket->linger_seconds * 1000);
    return state->blocks;
}

static int64_t call_close(struct machine *machine, struct machine_socket *socket,
                          const struct system_call *call, struct call_state *state)
{
    (void)call;
    if (socket->lingers) {
        if (close_lingers(machine, socket, state))
            return 0;
        socket->fd = -1;
        if (socket->connection == NULL)
            socket->kind = SOCKET_FREE;
        return 0;
    }
    int fd = socket->fd;
    socket->fd = -1;
    if (socket->kind == SOCKET_LISTENING)
        close_listener(machine, socket);
    else if (socket->kind == SOCKET_NEW && socket->local.port != 0)
        stack_port_release(machine->stack, &socket->local, socket->is_ipv6, false);
    if (socket->peer != NULL)
        socket->peer->peer = NULL;
    if (socket->kind != SOCKET_CONNECTION || socket->connection == NULL) {
        socket->kind = SOCKET_FREE;
        return 0;
    }
    if (socket->reset_on_close)
        tcp_abort(machine->stack, socket->connection, machine->now_ns);
    else
        tcp_close(machine->stack, socket->connection, machine->now_ns);
    socket->lingers = close_lingers(machine, socket, state);
    if (socket->lingers)
        socket->fd = fd;
    return 0;
}

/* ---- Dispatch ----------------------------------------------------------------------------- */

static int64_t call_fcntl(struct machine *machine, struct machine_socket *socket,
                          const struct system_call *call, struct call_state *state)
{
    int64_t value = argument(call, 2, state);
    (void)machine;
    switch (argument(call, 1, state)) {
    case F_GETFL:
        return O_RDWR | (socket->nonblocking ? O_NONBLOCK : 0);
    case F_SETFL:
        socket->nonblocking = (value & O_NONBLOCK) != 0;
        return 0;
    case F_GETFD:
        return socket->close_on_exec ? FD_CLOEXEC : 0;
    case F_SETFD:
        socket->close_on_exec = (value & FD_CLOEXEC) != 0;
        return 0;
    default:
        return call_cannot(state, "this fcntl");
    }
}

/** getsockname, getpeername: what they give is "..." in scripts; whether they may is checked. */
static int64_t call_names(struct machine *machine, struct machine_socket *socket,
                          const struct system_call *call, struct call_state *state)
{
    (void)machine;
    (void)state;
    bool peer = strcmp(call->name, "getpeername") == 0;
    return peer && (socket->kind != SOCKET_CONNECTION || socket->connecting) ? -ENOTCONN : 0;
}

typedef int64_t socket_call(struct machine *machine, struct machine_socket *socket,
                            const struct system_call *call, struct call_state *state);

static socket_call *find_call(const char *name)
{
    static const struct {
        const char *name;
        socket_call *call;
    } calls[] = {
        {"bind", call_bind},
        {"listen", call_listen},
        {"accept", call_accept},
        {"accept4", call_accept},
        {"connect", call_connect},
        {"shutdown", call_shutdown},
        {"close", call_close},
        {"fcntl", call_fcntl},
        {"getsockname", call_names},
        {"getpeername", call_names},
        {"epoll_ctl", socket_epoll_ctl},
        {"epoll_wait", socket_epoll_wait},
        {"epoll_pwait", socket_epoll_wait},
        {"setsockopt", socket_set_option},
        {"getsockopt", socket_get_option},
        {"ioctl", socket_ioctl},
        {"sendfile", file_sendfile},
        {"splice", file_splice},
    };
    for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        if (strcmp(calls[i].name, name) == 0)
            return calls[i].call;
    }
    return socket_transfer;
}

static int64_t call_on_socket(struct machine *machine, struct machine_socket *socket,
                              const struct system_call *call, struct call_state *state)
{
    bool is_file = socket != NULL && (socket->kind == SOCKET_PIPE || socket->kind == SOCKET_FILE);
    socket_call *run = find_call(call->name);
    if (socket == NULL)
        return -EBADF;
    if (is_file && run != file_splice && run != file_sendfile && run != call_close &&
        run != call_fcntl)
        return run == socket_transfer ? file_transfer(machine, socket, call, state) : -ENOTSOCK;
    return run(machine, socket, call, state);
}

int64_t machine_call(struct machine *machine, const struct system_call *call, bool *blocks,
                     struct script_error *bad)
{
    struct call_state state = {.known = true};
    int64_t result;
    state.started_ns = machine->call_started_ns;
    machine->call_deadline_ns = TIME_NEVER;
    if (strcmp(call->name, "socket") == 0)
        result = call_socket(machine, call, &state);
    else if (strncmp(call->name, "epoll_create", 12) == 0)
        result = socket_epoll_create(machine, call, &state);
    else if (strcmp(call->name, "poll") == 0 || strcmp(call->name, "ppoll") == 0)
        result = socket_poll(machine, call, &state);
    else if (strcmp(call->name, "open") == 0)
        result = file_open(machine, call, &state);
    else if (strcmp(call->name, "pipe") == 0 || strcmp(call->name, "pipe2") == 0)
        result = file_pipe(machine, call, &state);
    else
        result =
            call_on_socket(machine, socket_by_fd(machine, argument(call, 0, &state)), call, &state);
    machine_pump(machine);
    *blocks = state.blocks;
    if (!state.known && state.cannot == NULL)
        state.cannot = "an argument";
    if (state.cannot != NULL)
        script_error_set(bad, 1, "%s: %s can't be run here", call->name, state.cannot);
    else if (state.mismatch != NULL)
        script_error_set(bad, 1, "%s: %s", call->name, state.mismatch);
    return result;
}
