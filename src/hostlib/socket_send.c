/* Writing. Source: Linux net/ipv4/tcp.c, tcp_sendmsg_locked(); net/core/stream.c. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.h"
#include "hostlib/real.h"
#include "hostlib/socket.h"
#include "hostlib/socket_control.h"
#include "hostlib/socket_extra.h"
#include "hostlib/user_memory.h"

/* How long to wait for others' chunks when the tenant's pool is used up. */
#define POOL_RETRY_NS (1 * NS_PER_MS)

/* A send that finds room fills the buffer that it has begun, also beyond SO_SNDBUF. Linux's hold up
   to half the peer's window (tcp_xmit_size_goal()), which is not known here. A power of two. */
#define BUFFER_BYTES 16384u

/* Where payload comes from: a vector of buffers, or a kernel descriptor. */
struct source {
    const struct iovec *vector;
    size_t within;
    int fd; /**< -1: the vector */
    off_t *offset;
    bool ended;
};

/* Fill up to `length` bytes. @return how many; negative errno of the descriptor. */
static ssize_t fill(struct source *source, uint8_t *to, size_t length)
{
    if (source->fd >= 0) {
        ssize_t got = source->offset != NULL
                          ? syscall(SYS_pread64, source->fd, to, length, *source->offset)
                          : syscall(SYS_read, source->fd, to, length);
        if (got < 0)
            return -errno;
        if (got == 0)
            source->ended = true;
        if (source->offset != NULL)
            *source->offset += got;
        return got;
    }
    size_t filled = 0;
    /* Of bytes in one place Linux takes all or none. */
    while (filled < length) {
        PNO_ASSERT(source->vector != NULL);
        size_t rest = source->vector->iov_len - source->within;
        size_t part = length - filled < rest ? length - filled : rest;
        if (user_memory_copy(to + filled,
                             (const uint8_t *)source->vector->iov_base + source->within, part) != 0)
            return -EFAULT;
        filled += part;
        source->within += part;
        if (source->within == source->vector->iov_len) {
            source->vector++;
            source->within = 0;
        }
    }
    return (ssize_t)filled;
}

/* Whether bytes can be accepted now: 0; -EAGAIN while connecting; -EPIPE and the like. Lock held.
 */
static int may_send(struct socket *socket)
{
    if (socket->error != 0)
        return socket_take_error(socket);
    if (socket->state == SOCKET_CONNECTING)
        return -EAGAIN;
    if (socket->state != SOCKET_CONNECTED || socket_send_is_shut(socket))
        return -EPIPE;
    return 0;
}

static void tell_piece(struct socket *socket, const struct send_room *room, uint64_t stream_offset,
                       uint64_t length, uint8_t flags)
{
    struct link_descriptor operation = socket_operation(socket, LINK_OP_SEND);
    operation.flags = flags;
    operation.data.stream_offset = stream_offset;
    operation.data.arena_offset = room->arena_offset;
    operation.data.length = length;
    if (socket->block->consumed_told != socket->block->read_offset) {
        socket->block->consumed_told = socket->block->read_offset;
        operation.data.consumed = socket->block->read_offset;
    }
    socket_push(socket, &operation);
}

/* Accept as many bytes as the send buffer has room for. Lock held.
   @return bytes; -ENOBUFS: none, since the pool is used up; an error of the source. */
static ssize_t accept_bytes(struct socket *socket, struct source *source, size_t wanted, int flags)
{
    struct send_queue_shared *queue = &socket->block->send;
    struct send_memory *memory = &socket->link->send_memory;
    uint8_t step = socket_is_fenced(socket) ? LINK_FLAG_STEP : 0;
    size_t accepted = 0;
    while (accepted < wanted && !source->ended) {
        uint64_t outstanding = send_queue_outstanding(queue);
        if (outstanding >= socket->send_limit)
            break;
        uint64_t free_bytes = socket->send_limit - outstanding;
        free_bytes = (free_bytes + BUFFER_BYTES - 1) & ~(uint64_t)(BUFFER_BYTES - 1);
        uint64_t rest = wanted - accepted;
        struct send_room room;
        if (!send_queue_reserve(queue, memory, socket->name.slot,
                                rest < free_bytes ? rest : free_bytes, &room))
            return accepted > 0 ? (ssize_t)accepted : -ENOBUFS;
        ssize_t filled = fill(source, room.bytes, room.length);
        if (filled < 0)
            return accepted > 0 ? (ssize_t)accepted : filled;
        if (filled == 0)
            break;
        uint64_t stream_offset = queue->end_offset;
        send_queue_commit(queue, memory, (uint64_t)filled);
        accepted += (size_t)filled;
        bool more = (flags & MSG_MORE) ||
                    (accepted < wanted && (uint64_t)filled < free_bytes && !source->ended);
        bool last = accepted == wanted;
        tell_piece(socket, &room, stream_offset, (uint64_t)filled,
                   (uint8_t)((more ? LINK_FLAG_MORE : 0) |
                             (last && (flags & MSG_OOB) ? LINK_FLAG_URGENT : 0) |
                             (last && (flags & MSG_EOR) ? LINK_FLAG_RECORD_END : 0) |
                             (last ? step : 0)));
    }
    return (ssize_t)accepted;
}

/* A call that has sent something is not restarted: it returns what it sent. */
static int wait_for_space(struct socket *socket, uint64_t deadline_ns, bool pool_empty, bool sent)
{
    bool restarts = deadline_ns == TIME_NEVER && !sent;
    if (pool_empty) {
        uint64_t retry_ns = waiter_now_ns() + POOL_RETRY_NS;
        int result = socket_wait(socket, EPOLLERR | EPOLLHUP, -1,
                                 retry_ns < deadline_ns ? retry_ns : deadline_ns, restarts);
        return result == -ETIMEDOUT && retry_ns < deadline_ns ? 0 : result;
    }
    return socket_wait(socket, EPOLLOUT | EPOLLERR | EPOLLHUP, -1, deadline_ns, restarts);
}

/* A buffer that was filled, and is empty already: what tells a poller. Lock held. */
static uint32_t has_room_again(struct socket *socket)
{
    if (socket->block == NULL || send_queue_outstanding(&socket->block->send) > 0)
        return 0;
    atomic_store_explicit(&socket->wants_space, false, memory_order_relaxed);
    return SOCKET_EVENTS_OF_SPACE;
}

/* A guess, without the lock. */
static uint64_t room_now(const struct socket *socket)
{
    const struct socket_block *block = socket->block;
    uint64_t outstanding = block != NULL ? send_queue_outstanding(&block->send) : 0;
    return outstanding < socket->send_limit ? socket->send_limit - outstanding : 0;
}

static ssize_t send_all(struct socket *socket, struct source *source, size_t wanted, int flags)
{
    bool nonblocking =
        (flags & MSG_DONTWAIT) || atomic_load_explicit(&socket->nonblocking, memory_order_relaxed);
    uint64_t deadline_ns = 0;
    size_t sent = 0;
    ssize_t result = 0;
    if (nonblocking && wanted > room_now(socket))
        socket_look(socket); /* what was sent has been acknowledged */
    /* A reset that has arrived is this call's to report, as if the kernel had processed it. */
    turned_round_settle_ends(socket->link);
    socket_hear(socket);
    struct engine_link *link = socket->link;
    /* A call that may not wait fills the buffer once: Linux hears of acknowledgements after it. */
    uint64_t fills =
        nonblocking ? __atomic_load_n(&socket->send_limit, __ATOMIC_RELAXED) : UINT64_MAX;
    for (;;) {
        socket_lock(socket);
        /* An error that comes after some bytes were accepted is the next call's to report. */
        result = sent > 0 && socket->error != 0 ? -EPIPE : may_send(socket);
        if (result == 0 && sent < wanted) {
            result = accept_bytes(socket, source, wanted - sent, flags);
            if (result > 0)
                sent += (size_t)result;
        }
        bool done = sent == wanted || source->ended;
        if (!done && result >= 0)
            socket_wants_space(socket);
        bool filled = sent >= fills;
        socket_changed(socket, filled && !done ? has_room_again(socket) : 0);
        socket_unlock(socket);
        if (!nonblocking && link != NULL)
            engine_link_wait_for_room(link);
        if (done && result >= 0) {
            result = 0;
            break;
        }
        bool pool_empty = result == -ENOBUFS;
        if (result < 0 && !pool_empty && result != -EAGAIN)
            break;
        if (result >= 0 || pool_empty)
            result = -EAGAIN;
        if (nonblocking) {
            /* Acknowledgements may be waiting in the ring. */
            if (!filled && link != NULL && !engine_link_empty(link) && engine_link_drain(link))
                continue;
            break;
        }
        if (deadline_ns == 0)
            deadline_ns = socket_deadline_ns(socket->options->send_timeout_ns);
        result = wait_for_space(socket, deadline_ns, pool_empty, sent > 0);
        if (result < 0) {
            result = result == -ETIMEDOUT ? -EAGAIN : result;
            break;
        }
    }
    if (sent > 0) {
        if (flags & MSG_OOB)
            socket_fence(socket);
        else
            socket_turned_round(socket, false);
        return (ssize_t)sent;
    }
    if (result == -EPIPE && (flags & MSG_NOSIGNAL) == 0)
        (void)raise(SIGPIPE);
    return result;
}

ssize_t socket_send_syn(struct socket *socket, const struct iovec *vector, size_t count, bool more)
{
    struct source source = {.vector = vector, .fd = -1};
    struct link_descriptor operation;
    size_t wanted = 0;
    for (size_t i = 0; i < count; i++)
        wanted += vector[i].iov_len;
    socket_lock(socket);
    size_t room = socket->extra != NULL ? socket->extra->syn_room : 0;
    more = more && wanted > room;
    if (wanted > room)
        wanted = room;
    ssize_t taken = wanted > 0 ? accept_bytes(socket, &source, wanted, 0) : 0;
    socket->syn_held = false;
    operation = socket_operation(socket, LINK_OP_SEND);
    operation.flags = (uint8_t)(LINK_FLAG_FAST_OPEN | (more ? LINK_FLAG_MORE : 0));
    socket_push(socket, &operation);
    socket_changed(socket, 0);
    socket_unlock(socket);
    socket_fence(socket);
    return taken;
}

ssize_t socket_send(struct socket *socket, const struct iovec *vector, size_t count, int flags)
{
    if (socket->syn_held) {
        bool kernel;
        return socket_send_fast(socket, -1, vector, count, flags, NULL, 0, &kernel);
    }
    struct source source = {.vector = vector, .fd = -1};
    size_t wanted = 0;
    for (size_t i = 0; i < count; i++)
        wanted += vector[i].iov_len;
    if (wanted > SOCKET_IO_BYTES_MAX)
        wanted = SOCKET_IO_BYTES_MAX;
    ssize_t sent = send_all(socket, &source, wanted, flags);
    if ((flags & MSG_ZEROCOPY) && sent > 0 && socket->options->zerocopy)
        socket_zerocopy_sent(socket);
    return sent;
}

/* A pipe may have nothing for us yet: wait for it without holding the socket's lock.
   @return bytes that can be read without blocking; 0: none and none will come; negative errno. */
static ssize_t pipe_bytes(int fd, bool nonblocking)
{
    for (;;) {
        int available = 0;
        if (syscall(SYS_ioctl, fd, FIONREAD, &available) < 0)
            return -errno;
        if (available > 0)
            return available;
        struct pollfd pollfd = {.fd = fd, .events = POLLIN};
        int ready = REAL(poll)(&pollfd, 1, nonblocking ? 0 : -1);
        if (ready < 0)
            return -errno;
        if (ready == 0)
            return -EAGAIN;
        if ((pollfd.revents & POLLIN) == 0)
            return 0;
    }
}

ssize_t socket_send_from_fd(struct socket *socket, int in_fd, off_t *offset, size_t count,
                            int flags, bool wait_for_pipe)
{
    if (socket->syn_held)
        (void)socket_send_syn(socket, NULL, 0, true);
    struct source source = {.fd = in_fd, .offset = offset};
    struct stat status;
    if (fstat(in_fd, &status) < 0)
        return -errno;
    if (S_ISDIR(status.st_mode))
        return -EINVAL;
    if (count == 0)
        return 0;
    if (S_ISFIFO(status.st_mode)) {
        ssize_t available = pipe_bytes(in_fd, !wait_for_pipe);
        if (available <= 0)
            return available;
        if ((size_t)available < count)
            count = (size_t)available;
    }
    return send_all(socket, &source, count, flags);
}
