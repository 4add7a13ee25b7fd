/* Fast open as system calls see it: Linux's tcp_sendmsg_fastopen() and the options. */
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "sockets.h"

void socket_fast_open_listen(struct machine_socket *socket)
{
    if (socket->fast_open_queue > 0)
        tcp_listener_set_fast_open(socket->listener, socket->fast_open_queue);
    tcp_listener_set_fast_open_keys(socket->listener, socket->fast_open_keys,
                                    socket->fast_open_key_count);
}

/** Open, or let the SYN go that connect() held, with as much as it takes. */
static int64_t open_fast(struct machine *machine, struct machine_socket *socket, int64_t size,
                         int64_t flags, bool sleeps)
{
    if (!socket->deferred) {
        int64_t error =
            socket_connect_begin(machine, socket, machine->connect_port, true, sleeps && size > 0);
        if (error != 0)
            return error;
    }
    socket->deferred = false;
    uint32_t room = tcp_fast_open_room(machine->stack, socket->connection);
    uint64_t bytes = (uint64_t)size < room ? (uint64_t)size : room;
    if (bytes > 0)
        (void)tcp_send(machine->stack, socket->connection, bytes, false, machine->now_ns);
    socket->written += bytes;
    if (bytes > 0) {
        send_memory_written(socket, socket->written, true);
        error_queue_written(machine, socket, flags, socket->written);
    }
    socket->memory.pushed = socket->written;
    machine->partly_written = bytes;
    machine->partly_opened = true;
    tcp_fast_open_go(machine->stack, socket->connection, sleeps && bytes < (uint64_t)size);
    machine_pump(machine);
    return 0;
}

bool socket_fast_open_write(struct machine *machine, struct machine_socket *socket, int64_t size,
                            int64_t flags, struct call_state *state, int64_t *result)
{
    bool sleeps = !socket->nonblocking && (flags & MSG_DONTWAIT) == 0;
    if (!socket->deferred && !machine->partly_opened && (flags & MSG_FASTOPEN) == 0)
        return false;
    *result = -EOPNOTSUPP;
    if (!(machine->config.tcp.fast_open & TCP_FAST_OPEN_CLIENT))
        return true;
    bool opens = socket->kind == SOCKET_NEW || socket->deferred;
    if (opens) {
        *result = open_fast(machine, socket, size, flags, sleeps);
        if (*result != 0)
            return true;
    }
    if (machine->partly_opened && socket->error != 0 && !socket->connect_reported) {
        machine->partly_written = 0; /* it never got anywhere */
        *result = socket_take_error(socket);
        return true;
    }
    if (socket->kind != SOCKET_CONNECTION || (socket->connecting && !sleeps)) {
        *result = machine->partly_opened ? -EINPROGRESS : -EALREADY;
        if (machine->partly_written > 0)
            *result = (int64_t)machine->partly_written;
        return true;
    }
    if (socket->connecting) {
        state->blocks = true;
        *result = -EAGAIN;
        return true;
    }
    if (socket->error == 0 && socket->connect_reported && !machine->partly_opened) {
        *result = -EISCONN;
        return true;
    }
    socket->connect_reported = true;
    return false;
}

/** The bytes of a string with escapes \xHH. @return how many. */
static unsigned unescape(const struct node *value, uint8_t *bytes, unsigned most)
{
    const char *text = value != NULL && value->text != NULL ? value->text : "";
    unsigned count = 0;
    while (*text != '\0' && count < most) {
        unsigned high, low;
        if (text[0] == '\\' && text[1] == 'x' && text[2] != '\0' && text[3] != '\0') {
            high = (unsigned)(strchr("0123456789abcdef", text[2] | 0x20) - "0123456789abcdef");
            low = (unsigned)(strchr("0123456789abcdef", text[3] | 0x20) - "0123456789abcdef");
            bytes[count++] = (uint8_t)(high << 4 | (low & 15));
            text += 4;
        } else {
            bytes[count++] = (uint8_t)*text++;
        }
    }
    return count;
}

static int64_t set_keys(struct machine_socket *socket, const struct node *value, int64_t size)
{
    uint8_t bytes[32] = {0};
    if (size != 16 && size != 32)
        return -EINVAL;
    (void)unescape(value, bytes, sizeof(bytes));
    memcpy(socket->fast_open_keys, bytes, sizeof(bytes));
    socket->fast_open_key_count = (unsigned)size / 16;
    if (socket->kind == SOCKET_LISTENING)
        tcp_listener_set_fast_open_keys(socket->listener, socket->fast_open_keys,
                                        socket->fast_open_key_count);
    return 0;
}

bool socket_fast_open_option(struct machine *machine, struct machine_socket *socket, int64_t name,
                             const struct node *value, int64_t number, int64_t size,
                             int64_t *result)
{
    bool fresh = socket->kind == SOCKET_NEW;
    bool listening = socket->kind == SOCKET_LISTENING;
    *result = -EINVAL;
    switch (name) {
    case TCP_FASTOPEN:
        if (number < 0 || !(fresh || listening))
            return true;
        socket->fast_open_queue = (uint32_t)number;
        if (listening)
            tcp_listener_set_fast_open(socket->listener, (uint32_t)number);
        break;
    case TCP_FASTOPEN_CONNECT:
        if (number < 0 || number > 1)
            return true;
        if (!(machine->config.tcp.fast_open & TCP_FAST_OPEN_CLIENT)) {
            *result = -EOPNOTSUPP;
            return true;
        }
        if (!fresh)
            return true;
        socket->fast_open_connect = number != 0;
        break;
    case TCP_FASTOPEN_NO_COOKIE:
        if (number < 0 || number > 1 || !(fresh || listening))
            return true;
        socket->options.fast_open_no_cookie = number != 0;
        if (listening)
            tcp_listener_options(socket->listener)->fast_open_no_cookie = number != 0;
        break;
    case TCP_FASTOPEN_KEY:
        *result = set_keys(socket, value, size);
        return true;
    default:
        return false;
    }
    *result = 0;
    return true;
}
