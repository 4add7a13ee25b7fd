#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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

static struct machine_socket *socket_new(struct machine *machine, enum socket_kind kind)
{
    for (unsigned i = 0; i < MACHINE_SOCKETS_MAX; i++) {
        struct machine_socket *socket = &machine->sockets[i];
        if (socket->kind != SOCKET_FREE)
            continue;
        memset(socket, 0, sizeof(*socket));
        socket->kind = kind;
        socket->fd = -1;
        socket->receive_low_water = 1;
        return socket;
    }
    return NULL;
}

static int lowest_fd(struct machine *machine)
{
    int fd = 3;
    while (socket_by_fd(machine, fd) != NULL)
        fd++;
    return fd;
}

/** The descriptor that a call returns is the one the script calls it by. */
static int fd_for(struct machine *machine, const struct system_call *call)
{
    bool known = true;
    int64_t fd = call->result == NULL ? -1 : node_integer(call->result, &known);
    return known && fd >= 0 && socket_by_fd(machine, fd) == NULL ? (int)fd : lowest_fd(machine);
}

static void announce(struct machine *machine, struct machine_socket *listener)
{
    struct tcp_connection *connection;
    while ((connection = tcp_listener_next(listener->listener)) != NULL) {
        struct machine_socket *socket = socket_new(machine, SOCKET_CONNECTION);
        if (socket == NULL || listener->backlog_count == MACHINE_SOCKETS_MAX)
            abort();
        socket->connection = connection;
        socket->established = socket->connect_reported = true;
        socket->is_ipv6 = listener->is_ipv6;
        socket->options = *tcp_get_options(connection);
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
    socket->activity++;
    if (event->listener != NULL) {
        announce(machine, socket);
        return;
    }
    if ((event->bits & STACK_EVENT_ESTABLISHED) != 0) {
        socket->established = true;
        socket->connecting = false;
    }
    if ((event->bits & STACK_EVENT_FIN) != 0)
        socket->fin_arrived = true;
    if ((event->bits & STACK_EVENT_SOFT_ERROR) != 0)
        socket->soft_error = tcp_error(event->connection);
    if ((event->bits & STACK_EVENT_ERROR) != 0) {
        socket->error = tcp_error(event->connection);
        socket->fin_arrived = socket->write_shut = true;
        socket->connecting = socket->established = false;
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
    int64_t type = argument(call, 1, state);
    if (((int)type & 0xf) != SOCK_STREAM)
        return call_cannot(state, "only SOCK_STREAM");
    struct machine_socket *socket = socket_new(machine, SOCKET_NEW);
    if (socket == NULL)
        return -EMFILE;
    socket->nonblocking = (type & SOCK_NONBLOCK) != 0;
    socket->is_ipv6 = machine->is_ipv6;
    socket->fd = fd_for(machine, call);
    tcp_options_set_init(&socket->options, &machine->config.tcp);
    machine->under_test = socket;
    return socket->fd;
}

static int64_t call_bind(struct machine *machine, struct machine_socket *socket)
{
    /* What is asked for is "..." as a rule: any address, the port of the script's machine. */
    if (socket->kind != SOCKET_NEW || socket->local.port != 0)
        return -EINVAL;
    if (!socket->is_ipv6)
        socket->local.address = ip_address_from_v4((const uint8_t[4]){0});
    socket->local.port = MACHINE_PORT;
    int error = stack_port_bind(machine->stack, &socket->local, socket->is_ipv6, false,
                                socket->reuse_address, false);
    if (error != 0)
        socket->local.port = 0;
    return error;
}

static int64_t call_listen(struct machine *machine, struct machine_socket *socket, int64_t backlog)
{
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
    if (socket->local.port != 0)
        stack_port_release(machine->stack, &socket->local, socket->is_ipv6, false);
    int error = tcp_listen(machine->stack, &request, &socket->listener);
    if (error != 0)
        return error;
    socket->kind = SOCKET_LISTENING;
    *tcp_listener_options(socket->listener) = socket->options;
    tcp_listener_set_defer_accept(socket->listener, socket->defer_accept_ns);
    machine->flow_known = false;
    return 0;
}

static int64_t call_accept(struct machine *machine, struct machine_socket *socket,
                           const struct system_call *call, struct call_state *state)
{
    if (socket->kind != SOCKET_LISTENING)
        return -EINVAL;
    if (socket->backlog_count == 0)
        return call_would_block(socket, state, 0);
    struct machine_socket *accepted = socket->backlog[0];
    memmove(socket->backlog, socket->backlog + 1, --socket->backlog_count * sizeof(accepted));
    accepted->fd = fd_for(machine, call);
    tcp_listener_taken(socket->listener);
    if (strcmp(call->name, "accept4") == 0)
        accepted->nonblocking = (argument(call, 3, state) & SOCK_NONBLOCK) != 0;
    machine->under_test = accepted;
    return accepted->fd;
}

static int64_t connect_begin(struct machine *machine, struct machine_socket *socket)
{
    struct tcp_connect_request request = {.local = socket->local, .options = &socket->options};
    request.remote.address = machine->remote;
    request.remote.port = MACHINE_PORT;
    request.reuse_address = socket->reuse_address;
    request.user = socket;
    if (socket->local.port != 0)
        stack_port_release(machine->stack, &socket->local, socket->is_ipv6, false);
    machine->flow_known = false;
    int error = tcp_connect(machine->stack, &request, machine->now_ns, &socket->connection);
    if (error != 0)
        return error;
    socket->kind = SOCKET_CONNECTION;
    socket->connecting = true;
    machine_pump(machine);
    return 0;
}

static int64_t call_connect(struct machine *machine, struct machine_socket *socket,
                            struct call_state *state)
{
    bool first = socket->kind == SOCKET_NEW;
    if (socket->kind == SOCKET_LISTENING)
        return -EISCONN;
    if (first) {
        int64_t error = connect_begin(machine, socket);
        if (error != 0)
            return error;
    }
    if (socket->error != 0)
        return socket_take_error(socket);
    if (socket->established) {
        if (socket->connect_reported)
            return -EISCONN;
        socket->connect_reported = true;
        return 0;
    }
    if (!socket->connecting)
        return -ECONNABORTED;
    if (!socket->nonblocking) {
        state->blocks = true;
        return -EAGAIN;
    }
    return first ? -EINPROGRESS : -EALREADY;
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
}

static int64_t call_shutdown(struct machine *machine, struct machine_socket *socket, int64_t how)
{
    if (how < SHUT_RD || how > SHUT_RDWR)
        return -EINVAL;
    if (socket->kind == SOCKET_LISTENING && how != SHUT_WR) {
        close_listener(machine, socket);
        socket->kind = SOCKET_NEW;
        socket->local.port = 0;
        return 0;
    }
    if (socket->kind != SOCKET_CONNECTION || socket->connection == NULL || socket->connecting ||
        (!socket->established && socket->error == 0))
        return -ENOTCONN;
    if (how != SHUT_WR) {
        socket->read_shut = true;
        tcp_shutdown_read(machine->stack, socket->connection);
    }
    if (how != SHUT_RD && !socket->write_shut) {
        socket->write_shut = true;
        tcp_shutdown_write(machine->stack, socket->connection, machine->now_ns);
    }
    return 0;
}

static int64_t call_close(struct machine *machine, struct machine_socket *socket)
{
    socket->fd = -1;
    if (socket->kind == SOCKET_LISTENING)
        close_listener(machine, socket);
    else if (socket->kind == SOCKET_NEW && socket->local.port != 0)
        stack_port_release(machine->stack, &socket->local, socket->is_ipv6, false);
    if (socket->kind != SOCKET_CONNECTION || socket->connection == NULL) {
        socket->kind = SOCKET_FREE;
        return 0;
    }
    if (socket->reset_on_close)
        tcp_abort(machine->stack, socket->connection, machine->now_ns);
    else
        tcp_close(machine->stack, socket->connection, machine->now_ns);
    return 0;
}

/* ---- Readiness ---------------------------------------------------------------------------- */

uint32_t socket_ready(struct machine_socket *socket)
{
    uint32_t events = 0;
    if (socket->kind == SOCKET_LISTENING)
        return socket->backlog_count != 0 ? EPOLLIN : 0;
    if (socket->kind == SOCKET_NEW)
        return EPOLLOUT | EPOLLHUP;
    if (socket->kind != SOCKET_CONNECTION)
        return 0;
    bool eof = socket->fin_arrived || socket->read_shut;
    if (socket->error != 0)
        events |= EPOLLERR;
    if (eof && (socket->write_shut || socket->connection == NULL))
        events |= EPOLLHUP;
    if (eof)
        events |= EPOLLIN | EPOLLRDHUP;
    if (socket->connection != NULL && socket_readable_bytes(socket) >= socket->receive_low_water)
        events |= EPOLLIN;
    if (socket->connection == NULL || socket->write_shut ||
        (socket->established && socket_has_write_space(socket)))
        events |= EPOLLOUT;
    return events;
}

static int64_t call_poll(struct machine *machine, const struct system_call *call,
                         struct call_state *state)
{
    const struct node *list = node_argument(call, 0);
    int64_t timeout_ms = argument(call, 2, state), ready = 0;
    for (const struct node *n = list == NULL ? NULL : list->children; n != NULL; n = n->next) {
        bool known = true;
        int64_t fd = node_integer(node_field(n, "fd"), &known);
        int64_t wanted = node_integer(node_field(n, "events"), &known);
        int64_t expected = node_integer(node_field(n, "revents"), &known);
        struct machine_socket *socket = socket_by_fd(machine, fd);
        int64_t got = socket == NULL ? POLLNVAL
                                     : (int64_t)socket_ready(socket) & (wanted | POLLERR | POLLHUP);
        if (!known)
            return call_cannot(state, "a name in pollfd");
        ready += got != 0;
        if (node_field(n, "revents") != NULL && got != expected)
            state->mismatch = "revents differ";
    }
    if (ready == 0 && timeout_ms != 0 && !call_timed_out(machine, state, timeout_ms)) {
        state->blocks = true;
        state->mismatch = NULL;
    }
    return ready;
}

static int64_t call_epoll_create(struct machine *machine, const struct system_call *call)
{
    struct machine_socket *socket = socket_new(machine, SOCKET_EPOLL);
    if (socket == NULL)
        return -EMFILE;
    for (unsigned i = 0; i < MACHINE_WATCHES_MAX; i++)
        socket->watches[i].fd = -1;
    socket->fd = fd_for(machine, call);
    return socket->fd;
}

static int64_t watch_data(const struct node *event, struct call_state *state)
{
    static const char *const names[] = {"ptr", "fd", "u32", "u64"};
    for (unsigned i = 0; i < 4; i++) {
        if (node_field(event, names[i]) != NULL)
            return node_integer(node_field(event, names[i]), &state->known);
    }
    return 0;
}

static int64_t call_epoll_ctl(struct machine *machine, struct machine_socket *epoll,
                              const struct system_call *call, struct call_state *state)
{
    int64_t operation = argument(call, 1, state), fd = argument(call, 2, state);
    const struct node *event = node_argument(call, 3);
    struct epoll_watch *found = NULL, *unused = NULL;
    for (unsigned i = 0; i < MACHINE_WATCHES_MAX; i++) {
        if (epoll->watches[i].fd == fd)
            found = &epoll->watches[i];
        else if (epoll->watches[i].fd == -1)
            unused = &epoll->watches[i];
    }
    if (socket_by_fd(machine, fd) == NULL)
        return -EBADF;
    if (operation == EPOLL_CTL_ADD && found != NULL)
        return -EEXIST;
    if (operation != EPOLL_CTL_ADD && found == NULL)
        return -ENOENT;
    struct epoll_watch *watch = found == NULL ? unused : found;
    if (watch == NULL)
        return -ENOSPC;
    memset(watch, 0, sizeof(*watch));
    watch->fd = operation == EPOLL_CTL_DEL ? -1 : (int)fd;
    watch->events = (uint32_t)node_integer(node_field(event, "events"), &state->known);
    watch->data = watch_data(event, state);
    watch->activity = UINT64_MAX;
    return 0;
}

/** What a watch has to tell now. Edge-triggered: only after something happened. */
static uint32_t watch_ready(struct machine *machine, struct epoll_watch *watch)
{
    struct machine_socket *socket = socket_by_fd(machine, watch->fd);
    if (watch->fd == -1 || socket == NULL || watch->disabled)
        return 0;
    uint32_t events = socket_ready(socket) & (watch->events | EPOLLERR | EPOLLHUP);
    if ((watch->events & EPOLLET) != 0 && watch->activity == socket->activity)
        return 0;
    return events;
}

static int64_t call_epoll_wait(struct machine *machine, struct machine_socket *epoll,
                               const struct system_call *call, struct call_state *state)
{
    const struct node *expected = node_argument(call, 1);
    int64_t timeout_ms = argument(call, 3, state), ready = 0;
    if (expected != NULL && expected->kind == NODE_LIST)
        expected = expected->children;
    for (unsigned i = 0; i < MACHINE_WATCHES_MAX; i++) {
        struct epoll_watch *watch = &epoll->watches[i];
        uint32_t events = watch_ready(machine, watch);
        if (events == 0)
            continue;
        ready++;
        watch->activity = socket_by_fd(machine, watch->fd)->activity;
        watch->disabled = (watch->events & EPOLLONESHOT) != 0;
        if (expected == NULL || expected->kind != NODE_STRUCT)
            continue;
        if (node_integer(node_field(expected, "events"), &state->known) != (int64_t)events ||
            watch_data(expected, state) != watch->data)
            state->mismatch = "events differ";
        expected = expected->next;
    }
    if (ready == 0 && timeout_ms != 0 && !call_timed_out(machine, state, timeout_ms))
        state->blocks = true;
    return ready;
}

/* ---- Dispatch ----------------------------------------------------------------------------- */

static int64_t call_fcntl(struct machine_socket *socket, const struct system_call *call,
                          struct call_state *state)
{
    int64_t command = argument(call, 1, state);
    if (command == F_GETFL)
        return O_RDWR | (socket->nonblocking ? O_NONBLOCK : 0);
    if (command != F_SETFL)
        return call_cannot(state, "this fcntl");
    socket->nonblocking = (argument(call, 2, state) & O_NONBLOCK) != 0;
    return 0;
}

static int64_t call_on_socket(struct machine *machine, struct machine_socket *socket,
                              const struct system_call *call, struct call_state *state)
{
    const char *name = call->name;
    if (socket == NULL)
        return -EBADF;
    if (strcmp(name, "bind") == 0)
        return call_bind(machine, socket);
    if (strcmp(name, "listen") == 0)
        return call_listen(machine, socket, argument(call, 1, state));
    if (strcmp(name, "accept") == 0 || strcmp(name, "accept4") == 0)
        return call_accept(machine, socket, call, state);
    if (strcmp(name, "connect") == 0)
        return call_connect(machine, socket, state);
    if (strcmp(name, "shutdown") == 0)
        return call_shutdown(machine, socket, argument(call, 1, state));
    if (strcmp(name, "close") == 0)
        return call_close(machine, socket);
    if (strcmp(name, "fcntl") == 0)
        return call_fcntl(socket, call, state);
    if (strcmp(name, "epoll_ctl") == 0)
        return call_epoll_ctl(machine, socket, call, state);
    if (strcmp(name, "epoll_wait") == 0)
        return call_epoll_wait(machine, socket, call, state);
    if (strcmp(name, "setsockopt") == 0)
        return socket_set_option(machine, socket, call, state);
    if (strcmp(name, "getsockopt") == 0)
        return socket_get_option(machine, socket, call, state);
    if (strcmp(name, "ioctl") == 0)
        return socket_ioctl(machine, socket, call, state);
    return socket_transfer(machine, socket, call, state);
}

int64_t machine_call(struct machine *machine, const struct system_call *call, bool *blocks,
                     struct script_error *bad)
{
    struct call_state state = {.known = true};
    int64_t result;
    state.started_ns = machine->call_started_ns;
    if (strcmp(call->name, "socket") == 0)
        result = call_socket(machine, call, &state);
    else if (strncmp(call->name, "epoll_create", 12) == 0)
        result = call_epoll_create(machine, call);
    else if (strcmp(call->name, "poll") == 0)
        result = call_poll(machine, call, &state);
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
