/* Files and pipes: just enough of them for open, pipe, sendfile and splice. Nothing is read from
 * the machine's disk; a file is as long as the script's commands made it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "sockets.h"

#define PIPE_BYTES 65536

int64_t file_open(struct machine *machine, const struct system_call *call, struct call_state *state)
{
    const struct node *name = node_argument(call, 0);
    (void)state;
    if (name == NULL || name->kind != NODE_STRING)
        return -EFAULT;
    for (unsigned i = 0; i < machine->file_count; i++) {
        if (strcmp(machine->files[i].name, name->text) != 0)
            continue;
        struct machine_socket *file = socket_new(machine, SOCKET_FILE);
        if (file == NULL)
            return -EMFILE;
        file->file_bytes = machine->files[i].bytes;
        file->fd = socket_fd_for(machine, call);
        return file->fd;
    }
    return -ENOENT;
}

/** pipe([5, 6]): the script says which descriptors it expects; they are the lowest free. */
int64_t file_pipe(struct machine *machine, const struct system_call *call, struct call_state *state)
{
    const struct node *pair = node_argument(call, 0);
    struct machine_socket *ends[2];
    const struct node *expected = pair == NULL ? NULL : pair->children;
    for (unsigned i = 0; i < 2; i++) {
        ends[i] = socket_new(machine, SOCKET_PIPE);
        if (ends[i] == NULL)
            return -EMFILE;
        ends[i]->fd = socket_lowest_fd(machine);
        if (expected != NULL && expected->kind == NODE_INTEGER && expected->value != ends[i]->fd)
            state->mismatch = "other descriptors";
        expected = expected == NULL ? NULL : expected->next;
    }
    ends[0]->peer = ends[1];
    ends[1]->peer = ends[0];
    return 0;
}

/** Of a file or pipe: how much can be read, and that it was. */
static uint64_t take(struct machine_socket *file, uint64_t bytes)
{
    uint64_t there = file->kind == SOCKET_FILE
                         ? (file->file_at < file->file_bytes ? file->file_bytes - file->file_at : 0)
                         : file->file_bytes;
    if (bytes > there)
        bytes = there;
    if (file->kind == SOCKET_FILE)
        file->file_at += bytes;
    else
        file->file_bytes -= bytes;
    return bytes;
}

int64_t file_sendfile(struct machine *machine, struct machine_socket *socket,
                      const struct system_call *call, struct call_state *state)
{
    struct machine_socket *file = socket_by_fd(machine, argument(call, 1, state));
    const struct node *offset = node_argument(call, 2);
    int64_t count = argument(call, 3, state);
    if (file == NULL)
        return -EBADF;
    if (file->kind != SOCKET_FILE)
        return -EINVAL;
    bool given = offset != NULL && offset->kind == NODE_LIST;
    uint64_t before = file->file_at;
    if (given)
        file->file_at = (uint64_t)node_integer(offset, &state->known);
    uint64_t start = file->file_at, bytes = take(file, count < 0 ? 0 : (uint64_t)count);
    int64_t sent = bytes == 0 ? 0 : socket_transmit(machine, socket, (int64_t)bytes, 0, state);
    file->file_at = given ? before : start + (uint64_t)(sent > 0 ? sent : 0);
    return sent;
}

int64_t file_splice(struct machine *machine, struct machine_socket *socket,
                    const struct system_call *call, struct call_state *state)
{
    struct machine_socket *to = socket_by_fd(machine, argument(call, 2, state));
    int64_t count = argument(call, 4, state), flags = argument(call, 5, state);
    if (to == NULL)
        return -EBADF;
    if (to->kind == SOCKET_PIPE && to->peer != NULL) {
        if (socket->kind != SOCKET_CONNECTION)
            return -EINVAL;
        uint64_t held = to->peer->file_bytes;
        int64_t most = held < PIPE_BYTES ? (int64_t)(PIPE_BYTES - held) : 0;
        if (socket_readable_bytes(socket) == 0 && socket_urgent_waits(socket))
            return 0; /* it stops before urgent data */
        int64_t got = socket_receive(machine, socket, count < most ? count : most,
                                     (flags & SPLICE_F_NONBLOCK) != 0 ? MSG_DONTWAIT : 0, state);
        to->peer->file_bytes += (uint64_t)(got > 0 ? got : 0);
        return got;
    }
    if (socket->kind != SOCKET_PIPE || to->kind != SOCKET_CONNECTION)
        return -EINVAL;
    uint64_t bytes = socket->file_bytes < (uint64_t)count ? socket->file_bytes : (uint64_t)count;
    int64_t sent = bytes == 0 ? 0 : socket_transmit(machine, to, (int64_t)bytes, 0, state);
    take(socket, (uint64_t)(sent > 0 ? sent : 0));
    return sent;
}

int64_t file_transfer(struct machine *machine, struct machine_socket *socket,
                      const struct system_call *call, struct call_state *state)
{
    int64_t count = argument(call, 2, state);
    (void)machine;
    if (count < 0)
        return -EINVAL;
    if (strcmp(call->name, "read") == 0)
        return (int64_t)take(socket, (uint64_t)count);
    if (strcmp(call->name, "write") != 0)
        return -ENOTSOCK;
    if (socket->kind == SOCKET_PIPE && socket->peer != NULL)
        socket->peer->file_bytes += (uint64_t)count;
    return count;
}
