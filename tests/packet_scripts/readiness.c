/* Readiness: poll and epoll, with Linux's rules for edges. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>

#include "sockets.h"

uint32_t socket_ready(struct machine *machine, struct machine_socket *socket)
{
    uint32_t events = 0;
    if (socket->kind == SOCKET_LISTENING)
        return socket->backlog_count != 0 ? EPOLLIN : 0;
    if (socket->kind == SOCKET_NEW)
        return EPOLLOUT | EPOLLHUP;
    if (socket->kind != SOCKET_CONNECTION)
        return 0;
    bool eof = socket->fin_arrived || socket->read_shut;
    if (socket->error != 0 || socket->note_count != 0)
        events |= EPOLLERR;
    if (eof && (socket->write_shut || socket->connection == NULL))
        events |= EPOLLHUP;
    if (eof)
        events |= EPOLLIN | EPOLLRDHUP;
    if (socket->connection != NULL && socket_readable_bytes(socket) >= socket->receive_low_water)
        events |= EPOLLIN;
    if (socket->connection != NULL && socket_urgent_waits(socket))
        events |= EPOLLPRI;
    if (socket->connection == NULL || socket->write_shut)
        events |= EPOLLOUT | EPOLLWRNORM;
    else if (socket->deferred || (socket->established && send_memory_is_writable(machine, socket)))
        events |= EPOLLOUT | EPOLLWRNORM;
    else
        socket->memory.no_space = true;
    return events | ((events & EPOLLIN) != 0 ? EPOLLRDNORM : 0);
}

int64_t socket_poll(struct machine *machine, const struct system_call *call,
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
        int64_t got = socket == NULL
                          ? POLLNVAL
                          : (int64_t)socket_ready(machine, socket) & (wanted | POLLERR | POLLHUP);
        if (!known)
            return call_cannot(state, "a name in pollfd");
        ready += got != 0;
        if (node_field(n, "revents") != NULL && got != expected)
            state->mismatch = "revents differ";
    }
    if (ready == 0 && call_may_wait(machine, state, timeout_ms)) {
        state->blocks = true;
        state->mismatch = NULL;
    }
    return ready;
}

int64_t socket_epoll_create(struct machine *machine, const struct system_call *call,
                            struct call_state *state)
{
    if (strcmp(call->name, "epoll_create") == 0 && argument(call, 0, state) <= 0)
        return -EINVAL;
    struct machine_socket *socket = socket_new(machine, SOCKET_EPOLL);
    if (socket == NULL)
        return -EMFILE;
    for (unsigned i = 0; i < MACHINE_WATCHES_MAX; i++)
        socket->watches[i].fd = -1;
    socket->fd = socket_fd_for(machine, call);
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

int64_t socket_epoll_ctl(struct machine *machine, struct machine_socket *epoll,
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
    watch->wakes = UINT64_MAX;
    return 0;
}

/** How often something happened to a socket that a watch is woken by. */
static uint64_t relevant_wakes(const struct machine_socket *socket, const struct epoll_watch *watch)
{
    uint64_t wakes = socket->wakes[WAKE_STATE] + socket->wakes[WAKE_ERROR];
    if ((watch->events & (EPOLLIN | EPOLLRDNORM | EPOLLPRI)) != 0)
        wakes += socket->wakes[WAKE_IN];
    if ((watch->events & (EPOLLOUT | EPOLLWRNORM)) != 0)
        wakes += socket->wakes[WAKE_OUT];
    return wakes;
}

/** What a watch has to tell now. Edge-triggered: only after something happened. */
static uint32_t watch_ready(struct machine *machine, struct epoll_watch *watch)
{
    struct machine_socket *socket = socket_by_fd(machine, watch->fd);
    if (watch->fd == -1 || socket == NULL || watch->disabled)
        return 0;
    if ((watch->events & EPOLLET) != 0 && watch->wakes == relevant_wakes(socket, watch))
        return 0;
    watch->wakes = relevant_wakes(socket, watch);
    return socket_ready(machine, socket) & (watch->events | EPOLLERR | EPOLLHUP);
}

int64_t socket_epoll_wait(struct machine *machine, struct machine_socket *epoll,
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
        watch->disabled = (watch->events & EPOLLONESHOT) != 0;
        if (expected == NULL || expected->kind != NODE_STRUCT)
            continue;
        if (node_integer(node_field(expected, "events"), &state->known) != (int64_t)events ||
            watch_data(expected, state) != watch->data)
            state->mismatch = "events differ";
        expected = expected->next;
    }
    state->blocks = ready == 0 && call_may_wait(machine, state, timeout_ms);
    return ready;
}
