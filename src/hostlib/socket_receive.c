/* Reading. Source: Linux net/ipv4/tcp.c, tcp_recvmsg_locked(). */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "hostlib/socket.h"
#include "hostlib/socket_control.h"
#include "hostlib/socket_extra.h"
#include "hostlib/user_memory.h"

/* Reading is told to the engine when so much has gathered, with the next write, or before sleep. */
#define TELL_BYTES 16384

/* The payload of a segment between two sockets of the engine; those on wires are smaller. */
#define SEGMENT_BYTES_MAX 32768

/* Where in a vector of buffers the next byte goes. */
struct cursor {
    const struct iovec *vector;
    size_t count;
    size_t within;
    bool faulted; /* the buffer there is bad */
};

/* @return whether all were copied: not where a buffer is bad. */
static bool copy_out(struct cursor *cursor, const uint8_t *from, size_t length, bool discard)
{
    while (length > 0) {
        size_t room = cursor->vector->iov_len - cursor->within;
        size_t part = length < room ? length : room;
        if (!discard &&
            user_memory_copy((uint8_t *)cursor->vector->iov_base + cursor->within, from, part) != 0)
            return false;
        from += part;
        length -= part;
        cursor->within += part;
        if (cursor->within == cursor->vector->iov_len) {
            cursor->vector++;
            cursor->count--;
            cursor->within = 0;
        }
    }
    return true;
}

void socket_tell_consumed(struct socket *socket)
{
    struct socket_block *block = socket->block;
    if (block == NULL || block->read_offset == block->consumed_told ||
        socket->state == SOCKET_CLOSED)
        return;
    block->consumed_told = block->read_offset;
    struct link_descriptor operation = socket_operation(socket, LINK_OP_CONSUMED);
    operation.data.stream_offset = block->read_offset;
    socket_push(socket, &operation);
}

/* What the peer may send before it hears of reading: SO_RCVBUF and TCP_WINDOW_CLAMP limit it. */
static uint64_t window_limit(const struct socket_options *options)
{
    uint64_t limit = UINT64_MAX;
    if (options->set & (1u << LINK_OPTION_RECEIVE_BUFFER))
        limit = (uint64_t)options->values[LINK_OPTION_RECEIVE_BUFFER] / 2;
    uint64_t clamp = (uint64_t)options->values[LINK_OPTION_WINDOW_CLAMP];
    if ((options->set & (1u << LINK_OPTION_WINDOW_CLAMP)) && clamp != 0 && clamp < limit)
        limit = clamp;
    return limit;
}

/* Whether `untold` bytes have to be told at once. A closed window opens for a whole segment only
   (RFC 9293 section 3.8.6.2.2), and a thread that has read all need not wait in this library: of a
   window that a segment and what may stay untold would not fit in, nothing read stays untold. */
static bool must_tell(const struct socket *socket, uint64_t untold)
{
    uint64_t limit = window_limit(socket->options);
    if (untold >= TELL_BYTES || untold >= limit / 2)
        return true;
    return limit < TELL_BYTES + SEGMENT_BYTES_MAX &&
           socket->block->read_offset == socket->receive.end_offset;
}

/* @return whether the engine was told. */
static bool advance(struct socket *socket, uint64_t offset)
{
    bool told = false;
    struct socket_block *block = socket->block;
    __atomic_store_n(&block->read_offset, offset, __ATOMIC_RELAXED);
    receive_queue_forget(&socket->receive, offset);
    if (must_tell(socket, offset - block->consumed_told)) {
        socket_tell_consumed(socket);
        told = true;
    } else if (!atomic_load_explicit(&socket->unread_listed, memory_order_relaxed)) {
        engine_link_list_unread(socket->link, socket);
    }
    socket_changed(socket, 0);
    return told;
}

/* Bytes up to the urgent one, where a read ends also if it comes inline. */
static uint64_t up_to_urgent(const struct socket *socket, uint64_t from, uint64_t length)
{
    uint64_t urgent = socket_urgent_offset(socket);
    if (urgent == 0)
        return length;
    uint64_t mark = urgent - 1;
    return mark > from && mark - from < length ? mark - from : length;
}

/* Copy what is there, at most `wanted` bytes. *at is the stream offset to go on from. */
static size_t copy_available(struct socket *socket, struct cursor *cursor, size_t wanted,
                             uint64_t *at, bool discard)
{
    size_t copied = 0;
    while (copied < wanted) {
        uint64_t arena_offset;
        uint64_t length = receive_queue_at(&socket->receive, *at, &arena_offset);
        if (length == 0)
            break;
        bool is_urgent = socket_urgent_offset(socket) == *at + 1;
        if (is_urgent && copied > 0)
            break;
        if (is_urgent && !socket->options->oob_inline) {
            (*at)++; /* the urgent byte is read by MSG_OOB alone */
            continue;
        }
        length = up_to_urgent(socket, *at, length);
        size_t part = length < wanted - copied ? (size_t)length : wanted - copied;
        /* As Linux: of bytes that lie together all are read or none. */
        if (!copy_out(cursor, socket->link->arena + arena_offset, part, discard)) {
            cursor->faulted = true;
            break;
        }
        copied += part;
        *at += part;
    }
    return copied;
}

/* Why nothing more can come right now: 0 end of stream, -EAGAIN: it may still come. Lock held. */
static int why_empty(struct socket *socket)
{
    if (socket->peer_fin) /* SOCK_DONE comes before sk_err, which stays */
        return 0;
    if (socket->error != 0)
        return socket_take_error(socket);
    if (socket_receive_is_shut(socket))
        return 0;
    if (socket->state == SOCKET_FRESH || socket->state == SOCKET_BOUND)
        return -ENOTCONN;
    return -EAGAIN;
}

/* Where MSG_PEEK begins, counted from the next byte to read. Lock held. */
static uint64_t peek_start(const struct socket *socket)
{
    const struct socket_extra *extra = socket->extra;
    return extra != NULL && extra->peeks_onward && extra->peek_offset > 0
               ? (uint64_t)extra->peek_offset
               : 0;
}

/* SO_PEEK_OFF. Source: Linux include/net/sock.h, sk_peek_offset_fwd() and sk_peek_offset_bwd(). */
static void move_peek_offset(struct socket_extra *extra, size_t given, bool peeked)
{
    int64_t offset = extra->peek_offset;
    if (!extra->peeks_onward || offset < 0)
        return;
    offset = peeked ? offset + (int64_t)given : offset - (int64_t)given;
    extra->peek_offset = (int32_t)(offset < 0 ? 0 : offset < INT32_MAX ? offset : INT32_MAX);
}

/* Bytes were given up to stream offset `at`. Lock held. */
static void note_given(struct socket *socket, uint64_t at, size_t given, bool peeked,
                       struct socket_received *received)
{
    struct socket_extra *extra = socket->extra;
    if (__builtin_expect(extra == NULL || given == 0, 1))
        return;
    if (received != NULL)
        received->stamp_ns = socket_stamps_at(&extra->stamps, at - 1);
    if (!peeked)
        socket_stamps_forget(&extra->stamps, at);
    move_peek_offset(extra, given, peeked);
}

/* Asked for no bytes: whether there is one at `at`, which counts for its time. Lock held. */
static bool has_byte(const struct socket *socket, uint64_t at, struct socket_received *received)
{
    if (socket->receive.end_offset <= at)
        return false;
    if (socket->extra != NULL && received != NULL)
        received->stamp_ns = socket_stamps_at(&socket->extra->stamps, at);
    return true;
}

/* MSG_OOB: the urgent byte alone. Source: tcp_recv_urg(). */
static ssize_t receive_urgent(struct socket *socket, const struct iovec *vector, size_t count,
                              int flags, struct socket_received *received)
{
    ssize_t result = -EINVAL;
    socket_look_at_others(socket);
    socket_lock(socket);
    uint64_t urgent = socket_urgent_offset(socket);
    if (urgent != 0 && !socket->extra->urgent_taken && !socket->options->oob_inline &&
        socket->block != NULL && urgent > socket->block->read_offset) {
        uint64_t arena_offset;
        if (socket->state == SOCKET_CLOSED && !socket->peer_fin) {
            result = -ENOTCONN;
        } else if (receive_queue_at(&socket->receive, urgent - 1, &arena_offset) == 0) {
            result = socket_receive_is_shut(socket) ? 0 : -EAGAIN;
        } else {
            struct cursor cursor = {.vector = vector, .count = count};
            while (cursor.count > 0 && cursor.vector->iov_len == 0) {
                cursor.vector++;
                cursor.count--;
            }
            result = cursor.count > 0 ? 1 : 0;
            if (cursor.count > 0 &&
                !copy_out(&cursor, socket->link->arena + arena_offset, 1, false)) {
                socket_unlock(socket);
                return -EFAULT;
            }
            if (received != NULL)
                received->flags |= MSG_OOB;
            if ((flags & MSG_PEEK) == 0) { /* the stream stays where it is, at the mark maybe */
                socket->extra->urgent_taken = true;
                socket_changed(socket, 0);
            }
        }
    }
    socket_unlock(socket);
    return result;
}

static size_t vector_bytes(const struct iovec *vector, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += vector[i].iov_len;
    return bytes < SOCKET_IO_BYTES_MAX ? bytes : SOCKET_IO_BYTES_MAX;
}

/* Whether fewer bytes are known to have come. Looked at without lock, so another thread may read
   them, or disconnect the socket; its block's memory stays. */
static bool knows_less(const struct socket *socket, size_t bytes)
{
    const struct socket_block *block = __atomic_load_n(&socket->block, __ATOMIC_RELAXED);
    return block != NULL && __atomic_load_n(&socket->receive.end_offset, __ATOMIC_RELAXED) -
                                    __atomic_load_n(&block->read_offset, __ATOMIC_RELAXED) <
                                bytes;
}

ssize_t socket_receive(struct socket *socket, const struct iovec *vector, size_t count, int flags,
                       struct socket_received *received)
{
    if (flags & MSG_ERRQUEUE) {
        int taken = socket_take_report(socket, NULL);
        if (taken == 0 && received != NULL)
            received->flags |= MSG_ERRQUEUE;
        return taken;
    }
    if (socket->state == SOCKET_LISTENING)
        return -ENOTCONN;
    if (flags & MSG_OOB)
        return receive_urgent(socket, vector, count, flags, received);
    struct cursor cursor = {.vector = vector, .count = count};
    size_t wanted = vector_bytes(vector, count);
    size_t low_water = (size_t)socket->options->receive_low_water;
    size_t target = (flags & MSG_WAITALL) || low_water > wanted ? wanted : low_water;
    bool nonblocking =
        (flags & MSG_DONTWAIT) || atomic_load_explicit(&socket->nonblocking, memory_order_relaxed);
    uint64_t deadline_ns = 0;
    bool peeks = (flags & MSG_PEEK) != 0;
    uint64_t peeked = 0;
    size_t copied = 0;
    ssize_t result = 0;
    bool told = false;
    /* All that has come counts, as it would in the kernel. */
    if (knows_less(socket, wanted > 0 ? wanted : 1))
        socket_look_at_others(socket);
    for (;;) {
        socket_lock(socket);
        if (socket->block != NULL) {
            if (peeks && copied == 0)
                peeked = peek_start(socket);
            uint64_t at = socket->block->read_offset + peeked;
            size_t part =
                copy_available(socket, &cursor, wanted - copied, &at, (flags & MSG_TRUNC) != 0);
            copied += part;
            note_given(socket, at, part, peeks, received);
            if (peeks)
                peeked += part;
            else if (at != socket->block->read_offset)
                told = advance(socket, at) || told;
        }
        bool enough = copied > 0 && copied >= target;
        if (wanted == 0 && socket->block != NULL)
            enough = has_byte(socket, socket->block->read_offset + peeked, received);
        enough = enough || cursor.faulted;
        if (enough)
            result = cursor.faulted ? -EFAULT : 0;
        else
            result = copied > 0 && socket->error != 0 ? 0 : why_empty(socket);
        uint64_t known = socket->receive.end_offset; /* others may drain as soon as we unlock */
        socket_unlock(socket);
        if (enough || result != -EAGAIN || nonblocking) {
            /* Who only ever tries must learn of the engine's death too: next time. */
            struct engine_link *link = socket->link;
            if (result == -EAGAIN && link != NULL)
                engine_link_check_alive(link, waiter_now_ns());
            break;
        }
        if (deadline_ns == 0)
            deadline_ns = socket_deadline_ns(socket->options->receive_timeout_ns);
        /* What is there already was copied (or peeked at): only more of it, or the end, counts. */
        result = socket_wait_for_bytes(socket, known, deadline_ns,
                                       copied == 0 && deadline_ns == TIME_NEVER);
        if (result < 0) {
            if (result == -ETIMEDOUT)
                result = -EAGAIN;
            break;
        }
    }
    if (told)
        socket_turned_round(socket, true); /* a writer finds the room, and goes on */
    return copied > 0 ? (ssize_t)copied : result;
}

int socket_unread_bytes(struct socket *socket)
{
    socket_look_at_others(socket);
    socket_lock(socket);
    uint64_t unread = 0;
    if (socket->block != NULL) {
        uint64_t from = socket->block->read_offset;
        unread = socket->receive.end_offset - from;
        uint64_t urgent = socket_urgent_offset(socket);
        if (urgent > from && !socket->options->oob_inline)
            unread = urgent - 1 - from < unread ? urgent - 1 - from : unread;
    }
    socket_unlock(socket);
    return (int)unread;
}

int socket_is_at_mark(struct socket *socket)
{
    socket_look_at_others(socket);
    socket_lock(socket);
    uint64_t urgent = socket_urgent_offset(socket);
    bool at_mark = socket->block != NULL && urgent != 0 && socket->block->read_offset == urgent - 1;
    socket_unlock(socket);
    return at_mark;
}
