#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/sockios.h>

#include "base/time_units.h"
#include "sockets.h"

#ifndef TCP_CM_INQ
#define TCP_CM_INQ 36
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

static bool has_waited(const struct machine *machine, const struct call_state *state,
                       uint64_t timeout_ns)
{
    return machine->now_ns >= state->started_ns + timeout_ns;
}

int64_t call_would_block(struct machine *machine, const struct machine_socket *socket,
                         struct call_state *state, int64_t flags, uint64_t timeout_ns)
{
    state->blocks = !socket->nonblocking && (flags & MSG_DONTWAIT) == 0 &&
                    (timeout_ns == 0 || !has_waited(machine, state, timeout_ns));
    if (state->blocks && timeout_ns != 0)
        machine->call_deadline_ns = state->started_ns + timeout_ns;
    return -EAGAIN;
}

bool call_may_wait(struct machine *machine, const struct call_state *state, int64_t timeout_ms)
{
    uint64_t timeout_ns = (uint64_t)timeout_ms * NS_PER_MS;
    if (timeout_ms < 0)
        return true;
    if (has_waited(machine, state, timeout_ns))
        return false;
    machine->call_deadline_ns = state->started_ns + timeout_ns;
    return true;
}

int64_t socket_take_error(struct machine_socket *socket)
{
    int error = socket->error;
    socket->error = 0;
    return -error;
}

/** Where the byte of urgent data is that is not read with the rest; UINT64_MAX: nowhere. */
static uint64_t urgent_at(const struct machine_socket *socket)
{
    uint64_t after = socket->connection == NULL ? 0 : tcp_urgent_offset(socket->connection);
    return after <= socket->consumed || socket->oob_inline ? UINT64_MAX : after - 1;
}

bool socket_urgent_waits(const struct machine_socket *socket)
{
    return urgent_at(socket) != UINT64_MAX &&
           tcp_received_offset(socket->connection) > urgent_at(socket);
}

int64_t socket_readable_bytes(const struct machine_socket *socket)
{
    if (socket->connection == NULL)
        return 0;
    uint64_t end = tcp_received_offset(socket->connection), mark = urgent_at(socket);
    if (mark == socket->consumed)
        return end > mark ? (int64_t)(end - mark - 1) : 0;
    return (int64_t)((mark < end ? mark : end) - socket->consumed);
}

/** A read ends before the urgent byte, even if that comes with the rest. */
static int64_t up_to_urgent(const struct machine_socket *socket, int64_t bytes)
{
    uint64_t after = tcp_urgent_offset(socket->connection);
    uint64_t ahead = after > socket->consumed + 1 ? after - 1 - socket->consumed : UINT64_MAX;
    return ahead < (uint64_t)bytes ? (int64_t)ahead : bytes;
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

/** The urgent byte: once, and when it has come. */
static int64_t receive_urgent(struct machine_socket *socket, int64_t flags)
{
    uint64_t after = socket->connection == NULL ? 0 : tcp_urgent_offset(socket->connection);
    if (urgent_at(socket) == UINT64_MAX || after == socket->urgent_read)
        return -EINVAL;
    if (!socket_urgent_waits(socket))
        return -EAGAIN;
    if ((flags & MSG_PEEK) == 0)
        socket->urgent_read = after;
    return 1;
}

/** How many bytes a read waits for: recv(MSG_WAITALL), SO_RCVLOWAT. */
static int64_t wanted_bytes(const struct machine_socket *socket, int64_t size, int64_t flags)
{
    if ((flags & MSG_WAITALL) != 0)
        return size;
    return socket->receive_low_water < size ? socket->receive_low_water : size;
}

int64_t socket_receive(struct machine *machine, struct machine_socket *socket, int64_t size,
                       int64_t flags, struct call_state *state)
{
    uint64_t timeout_ns = socket->receive_timeout_ns;
    if (size < 0)
        return -EINVAL;
    if (socket->kind != SOCKET_CONNECTION || (socket->connecting && socket->error == 0))
        return socket->connecting ? call_would_block(machine, socket, state, flags, timeout_ns)
                                  : -ENOTCONN;
    if ((flags & MSG_OOB) != 0)
        return receive_urgent(socket, flags);
    int64_t available = socket_readable_bytes(socket);
    bool ended = socket->fin_arrived || socket->read_shut || socket->connection == NULL ||
                 socket->error != 0;
    if (available > 0 && available < wanted_bytes(socket, size, flags) && !ended) {
        int64_t result = call_would_block(machine, socket, state, flags, timeout_ns);
        if (state->blocks)
            return result;
    }
    if (available > 0 && size > 0) {
        int64_t bytes = up_to_urgent(socket, available < size ? available : size);
        if ((flags & MSG_PEEK) == 0) {
            socket->consumed += (urgent_at(socket) == socket->consumed) + (uint64_t)bytes;
            tcp_consumed(machine->stack, socket->connection, socket->consumed, machine->now_ns);
        }
        return bytes;
    }
    if (socket->error != 0 && !socket->peer_fin) /* as Linux, where SOCK_DONE comes first */
        return socket_take_error(socket);
    if (ended || size == 0)
        return 0;
    return call_would_block(machine, socket, state, flags, timeout_ns);
}

/** Hand bytes to the core; pushed: Linux would send what it has so far. */
static int64_t hand_over(struct machine *machine, struct machine_socket *socket, uint64_t bytes,
                         bool more)
{
    int error = tcp_send(machine->stack, socket->connection, bytes, more, machine->now_ns);
    if (error != 0)
        return error;
    socket->written += bytes;
    return 0;
}

/**
 * Write as tcp_sendmsg() does, buffer by buffer: each full one is sent before the next is begun if
 * nothing waits before it, or once half the peer's window is written.
 * @return bytes taken, or a negative errno when none were.
 */
static int64_t write_buffers(struct machine *machine, struct machine_socket *socket, uint64_t size,
                             bool more)
{
    struct send_memory *memory = &socket->memory;
    uint64_t left = size, room;
    if (memory->writer_sleeps && memory->no_space)
        return 0; /* it is woken once a third is free, not before */
    memory->writer_sleeps = false;
    while (left > 0) {
        bool free = send_memory_is_free(machine, socket, &room);
        bool fresh = room == 0;
        if (fresh && !free) {
            memory->no_space = true;
            break;
        }
        if (fresh)
            room = send_memory_goal(machine, socket);
        uint64_t bytes = left < room ? left : room;
        bool last = bytes == left;
        bool forced = !last && socket->written + bytes - memory->pushed >
                                   (uint64_t)machine->peer_max_window / 2;
        int64_t error = hand_over(machine, socket, bytes, last ? more : !forced);
        if (error != 0)
            return left == size ? error : (int64_t)(size - left);
        send_memory_written(socket, socket->written, fresh);
        if (forced || (last && !more))
            memory->pushed = socket->written;
        if (!last)
            machine_pump(machine);
        left -= bytes;
    }
    if (left > 0 && left < size) {
        /* It sleeps or returns early: what is there goes out whatever the flags say. */
        hand_over(machine, socket, 0, false);
        memory->pushed = socket->written;
    }
    return (int64_t)(size - left);
}

int64_t socket_transmit(struct machine *machine, struct machine_socket *socket, int64_t size,
                        int64_t flags, struct call_state *state)
{
    uint64_t timeout_ns = socket->send_timeout_ns;
    int64_t opened;
    if (size < 0)
        return -EINVAL;
    if (socket_fast_open_write(machine, socket, size, flags, state, &opened))
        return opened;
    if (socket->kind == SOCKET_CONNECTION && socket->connecting && socket->error == 0)
        return call_would_block(machine, socket, state, flags, timeout_ns);
    if (machine->partly_written > 0 && (socket->error != 0 || socket->write_shut))
        return (int64_t)machine->partly_written;
    if (socket->error != 0)
        return socket_take_error(socket);
    if (socket->kind != SOCKET_CONNECTION || socket->write_shut || socket->connection == NULL)
        return -EPIPE;
    if (size == 0)
        return 0;
    uint64_t left = (uint64_t)size - machine->partly_written;
    if (left == 0)
        return size;
    int64_t taken = write_buffers(machine, socket, left, (flags & MSG_MORE) != 0);
    if (taken < 0)
        return taken;
    machine->partly_written += (uint64_t)taken;
    if ((uint64_t)taken == left && (flags & MSG_EOR) != 0)
        tcp_send_record_end(machine->stack, socket->connection);
    if (taken > 0 && (flags & MSG_OOB) != 0)
        tcp_send_urgent(machine->stack, socket->connection, machine->now_ns);
    if ((uint64_t)taken < left) {
        int64_t result = call_would_block(machine, socket, state, flags, timeout_ns);
        socket->memory.writer_sleeps = state->blocks;
        if (state->blocks || machine->partly_written == 0)
            return result;
    }
    error_queue_written(machine, socket, flags, socket->written);
    return (int64_t)machine->partly_written;
}

void machine_sent_payload(struct machine *machine, struct tcp_connection *connection, uint64_t end)
{
    struct machine_socket *socket = tcp_user(connection);
    if (socket == NULL || socket->connection != connection)
        return;
    send_memory_sent(socket, end);
    error_queue_sent(machine, socket, end);
}

/* ---- Messages ----------------------------------------------------------------------------- */

/** The control message TCP_CM_INQ says how much is left; the end of the stream counts as a byte. */
static void check_inq(const struct machine_socket *socket, const struct node *message,
                      struct call_state *state)
{
    const struct node *control = node_field(message, "msg_control");
    if (!socket->inq || control == NULL || control->kind != NODE_LIST)
        return;
    const struct node *first = control->children;
    int64_t left = socket_readable_bytes(socket) + socket->fin_arrived;
    if (first == NULL ||
        node_integer(node_field(first, "cmsg_type"), &state->known) != TCP_CM_INQ ||
        node_integer(node_field(first, "cmsg_data"), &state->known) != left)
        state->mismatch = "TCP_CM_INQ differs";
}

static int64_t receive_message(struct machine *machine, struct machine_socket *socket,
                               const struct system_call *call, struct call_state *state)
{
    const struct node *message = node_argument(call, 1);
    int64_t flags = argument(call, 2, state);
    if ((flags & MSG_ERRQUEUE) != 0)
        return error_queue_receive(machine, socket, message, state);
    int64_t got =
        socket_receive(machine, socket, iovec_bytes(message_iovec(message), state), flags, state);
    if (got >= 0 && !state->blocks)
        check_inq(socket, message, state);
    return got;
}

/** A buffer that is NULL is found out about when bytes are to be copied. */
static bool is_null(const struct system_call *call, unsigned index)
{
    const struct node *node = node_argument(call, index);
    return node != NULL && node->kind == NODE_WORD && strcmp(node->text, "NULL") == 0;
}

enum transfer_form { FORM_BUFFER, FORM_VECTOR, FORM_MESSAGE };

int64_t socket_transfer(struct machine *machine, struct machine_socket *socket,
                        const struct system_call *call, struct call_state *state)
{
    static const struct {
        const char *name;
        bool sends, has_flags;
        enum transfer_form form;
    } calls[] = {
        {"read", false, false, FORM_BUFFER},    {"recv", false, true, FORM_BUFFER},
        {"recvfrom", false, true, FORM_BUFFER}, {"readv", false, false, FORM_VECTOR},
        {"recvmsg", false, true, FORM_MESSAGE}, {"write", true, false, FORM_BUFFER},
        {"send", true, true, FORM_BUFFER},      {"sendto", true, true, FORM_BUFFER},
        {"writev", true, false, FORM_VECTOR},   {"sendmsg", true, true, FORM_MESSAGE},
    };
    for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        if (strcmp(calls[i].name, call->name) != 0)
            continue;
        const struct node *second = node_argument(call, 1);
        bool message = calls[i].form == FORM_MESSAGE;
        int64_t size = calls[i].form == FORM_BUFFER ? argument(call, 2, state)
                       : message                    ? iovec_bytes(message_iovec(second), state)
                                                    : iovec_bytes(second, state);
        int64_t flags = calls[i].has_flags ? argument(call, message ? 2 : 3, state) : 0;
        if (message && !calls[i].sends)
            return receive_message(machine, socket, call, state);
        if (is_null(call, 1) && size > 0 && (calls[i].sends || socket_readable_bytes(socket) > 0))
            return -EFAULT;
        /* Opening by sendto() with AF_UNSPEC is not disconnecting (as Linux). */
        const struct node *address = node_argument(call, 4);
        if ((flags & MSG_FASTOPEN) != 0 && address != NULL && address->kind == NODE_WORD &&
            strcmp(address->text, "AF_UNSPEC") == 0)
            return -EOPNOTSUPP;
        return calls[i].sends ? socket_transmit(machine, socket, size, flags, state)
                              : socket_receive(machine, socket, size, flags, state);
    }
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
    else if (request == SIOCATMARK)
        value = socket_urgent_waits(socket) && urgent_at(socket) == socket->consumed;
    else
        return call_cannot(state, "this ioctl");
    if (out != NULL && out->kind == NODE_LIST && node_integer(out, &state->known) != value)
        state->mismatch = "the value differs";
    return 0;
}
