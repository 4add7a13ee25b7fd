/* Operations on offloaded sockets: each is tried without waiting. Source: Linux io_uring/net.c,
   rw.c, poll.c, splice.c, cmd_net.c. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "hostlib/epoll.h"
#include "hostlib/interpose.h"
#include "hostlib/socket_extra.h"
#include "hostlib/uring_ring.h"
#include "hostlib/user_memory.h"

#define READABLE ((uint32_t)(EPOLLIN | EPOLLRDHUP | EPOLLPRI))
#define WRITABLE ((uint32_t)EPOLLOUT)

/* How long until senders are tried again when the tenant's memory is used up. */
#define POOL_RETRY_NS (1 * NS_PER_MS)

/* A multishot gives way to others after so many completions. Source: Linux, MULTISHOT_MAX_RETRY. */
#define TURN_MAX 32

#define POINTER(value) ((void *)(uintptr_t)(value))

static struct socket *socket_of(const struct uring_op *op)
{
    return (struct socket *)op->file;
}

static bool is_offloaded(const struct uring_op *op)
{
    return op->file != NULL && op->file->kind == FILE_SOCKET && socket_is_offloaded(socket_of(op));
}

static int wait_to(struct uring_op *op, uint32_t wanted)
{
    op->wanted = wanted;
    return URING_PENDING;
}

static bool is_zero_copy(const struct io_uring_sqe *sqe)
{
    return sqe->opcode == IORING_OP_SEND_ZC || sqe->opcode == IORING_OP_SENDMSG_ZC;
}

/* ---- Buffers ------------------------------------------------------------------------------- */

/* The bytes that an operation moves. */
struct transfer {
    struct msghdr message; /* what of it has a name or control data, too */
    struct iovec single;
    struct iovec *rest; /* allocated: the vector without what was moved before */
    struct uring_picked picked;
    int flags;
    bool is_message, waits_for_all, may_wait, selects;
};

static size_t vector_bytes(const struct msghdr *message)
{
    size_t total = 0;
    for (size_t i = 0; i < message->msg_iovlen; i++)
        total += message->msg_iov[i].iov_len;
    return total;
}

static int use_vector(struct transfer *transfer, const void *vector, size_t count)
{
    transfer->message.msg_iov = POINTER(vector);
    transfer->message.msg_iovlen = count;
    return interpose_check_vector(vector, count);
}

static int use_message(struct transfer *transfer, const void *message)
{
    if (user_memory_copy_in(&transfer->message, message, sizeof(transfer->message)) < 0)
        return -EFAULT;
    transfer->is_message = true;
    if (transfer->message.msg_iovlen > IOV_MAX)
        return -EMSGSIZE;
    return interpose_check_vector(transfer->message.msg_iov, transfer->message.msg_iovlen);
}

static int use_single(struct transfer *transfer, uint64_t address, size_t length)
{
    transfer->single = (struct iovec){POINTER(address), length};
    transfer->message.msg_iov = &transfer->single;
    transfer->message.msg_iovlen = 1;
    return 0;
}

/* Skip what an earlier attempt moved (MSG_WAITALL). */
static int skip_done(struct transfer *transfer, size_t done)
{
    if (done == 0)
        return 0;
    size_t count = transfer->message.msg_iovlen, kept = 0;
    transfer->rest = malloc((count > 0 ? count : 1) * sizeof(struct iovec));
    if (transfer->rest == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        struct iovec part = transfer->message.msg_iov[i];
        size_t skipped = part.iov_len < done ? part.iov_len : done;
        done -= skipped;
        part.iov_base = (uint8_t *)part.iov_base + skipped;
        part.iov_len -= skipped;
        if (part.iov_len > 0)
            transfer->rest[kept++] = part;
    }
    transfer->message.msg_iov = transfer->rest;
    transfer->message.msg_iovlen = kept;
    return 0;
}

/* Buffers of a group in place of the program's. */
static int use_picked(struct uring_op *op, struct transfer *transfer, size_t bytes)
{
    bool bundle = (op->sqe.ioprio & URING_BUNDLE) != 0 && !transfer->is_message;
    int error = uring_buffers_pick(op->ring, op->sqe.buf_group, bytes,
                                   bundle ? URING_BUNDLE_MAX : 1, &transfer->picked);
    transfer->message.msg_iov = transfer->picked.vector;
    transfer->message.msg_iovlen = transfer->picked.count;
    return error;
}

/* A name to send to says nothing of a connection, but has to be one.
   Source: Linux io_uring/net.c, io_send_setup(). */
static int check_address(const struct io_uring_sqe *sqe)
{
    if (sqe->addr2 == 0)
        return 0;
    if (sqe->addr_len > sizeof(struct sockaddr_storage))
        return -EINVAL;
    return user_memory_unreadable(POINTER(sqe->addr2), sqe->addr_len) ? -EFAULT : 0;
}

static int begin_transfer(struct uring_op *op, struct transfer *transfer)
{
    const struct io_uring_sqe *sqe = &op->sqe;
    bool is_rw = false;
    int error;
    memset(&transfer->message, 0, sizeof(transfer->message));
    transfer->rest = NULL;
    transfer->is_message = false;
    switch ((uint32_t)sqe->opcode) {
    case IORING_OP_READV:
    case IORING_OP_WRITEV:
        is_rw = true;
        error = use_vector(transfer, POINTER(sqe->addr), sqe->len);
        break;
    case IORING_OP_SENDMSG:
    case IORING_OP_RECVMSG:
    case IORING_OP_SENDMSG_ZC:
        error = use_message(transfer, POINTER(sqe->addr));
        break;
    case IORING_OP_SEND:
    case IORING_OP_SEND_ZC:
        error = sqe->ioprio & URING_SEND_VECTORIZED
                    ? use_vector(transfer, POINTER(sqe->addr), sqe->len)
                    : use_single(transfer, sqe->addr, sqe->len);
        if (error == 0)
            error = check_address(sqe);
        break;
    case IORING_OP_RECV:
        error = use_single(transfer, sqe->addr, sqe->len);
        break;
    default: /* READ, WRITE, READ_FIXED, WRITE_FIXED, READ_MULTISHOT */
        is_rw = true;
        error = use_single(transfer, sqe->addr, sqe->len);
        break;
    }
    transfer->flags = is_rw ? 0 : (int)sqe->msg_flags;
    transfer->waits_for_all = !is_rw && (sqe->msg_flags & MSG_WAITALL) != 0;
    transfer->may_wait =
        is_rw ? (sqe->rw_flags & RWF_NOWAIT) == 0 : (sqe->msg_flags & MSG_DONTWAIT) == 0;
    transfer->selects = (sqe->flags & IOSQE_BUFFER_SELECT) != 0;
    if (error == 0 && transfer->selects)
        error = use_picked(op, transfer, transfer->is_message ? 0 : sqe->len);
    return error < 0 || transfer->selects ? error : skip_done(transfer, op->done_bytes);
}

/* What a transfer that moved `result` bytes comes to. */
static int end_transfer(struct uring_op *op, struct transfer *transfer, ssize_t result,
                        uint32_t wanted)
{
    size_t total = vector_bytes(&transfer->message);
    free(transfer->rest);
    if (result == -EAGAIN)
        return transfer->may_wait   ? wait_to(op, wanted)
               : op->done_bytes > 0 ? (int)op->done_bytes
                                    : -EAGAIN;
    if (result <= 0)
        return op->done_bytes > 0 ? (int)op->done_bytes : (int)result;
    op->done_bytes += (size_t)result;
    if (transfer->waits_for_all && transfer->may_wait && (size_t)result < total &&
        (transfer->flags & MSG_PEEK) == 0)
        return wait_to(op, wanted);
    return (int)op->done_bytes;
}

/* ---- Receiving ------------------------------------------------------------------------------ */

static uint32_t more_to_read(struct socket *socket)
{
    if (!socket_is_offloaded(socket) || socket->block == NULL)
        return 0;
    bool more = socket->receive.end_offset > socket->block->read_offset || socket->peer_fin;
    return more ? IORING_CQE_F_SOCK_NONEMPTY : 0;
}

/* By the engine or, with a group that is ours, from a descriptor of the kernel's. */
static ssize_t receive(struct uring_op *op, struct transfer *transfer)
{
    struct msghdr *message = &transfer->message;
    int flags = (transfer->flags & ~MSG_WAITALL) | MSG_DONTWAIT;
    if (is_offloaded(op))
        return transfer->is_message ? interpose_receive_message(socket_of(op), message, flags)
                                    : socket_receive(socket_of(op), message->msg_iov,
                                                     message->msg_iovlen, flags, NULL);
    bool is_recv = op->sqe.opcode == IORING_OP_RECV || op->sqe.opcode == IORING_OP_RECVMSG;
    long result = is_recv ? syscall(SYS_recvmsg, op->fd, message, flags)
                          : syscall(SYS_preadv2, op->fd, message->msg_iov, message->msg_iovlen,
                                    op->sqe.off, 0, RWF_NOWAIT);
    return result < 0 ? -errno : result;
}

/* @return URING_PENDING also from kernel descriptors, which the helper ring then watches. */
static int wait_to_receive(struct uring_op *op)
{
    if (!is_offloaded(op))
        uring_op_poll_kernel(op, POLLIN);
    return wait_to(op, READABLE);
}

/* What the program reads back of a message. */
static void return_message(struct uring_op *op, const struct transfer *transfer)
{
    struct msghdr *message = POINTER(op->sqe.addr);
    message->msg_flags = transfer->message.msg_flags;
    message->msg_controllen = transfer->message.msg_controllen;
    message->msg_namelen = transfer->message.msg_namelen;
}

static int receive_once(struct uring_op *op, uint32_t *flags)
{
    struct transfer transfer;
    int result;
    do {
        ssize_t received = begin_transfer(op, &transfer);
        if (received == 0)
            received = receive(op, &transfer);
        if (received >= 0 && transfer.is_message)
            return_message(op, &transfer);
        if (received > 0 && transfer.selects)
            *flags |= uring_buffers_use(&transfer.picked, (size_t)received);
        result = end_transfer(op, &transfer, received, READABLE);
        if (received == -EAGAIN && result == URING_PENDING)
            return wait_to_receive(op);
    } while (result == URING_PENDING);
    bool is_recv = op->sqe.opcode == IORING_OP_RECV || op->sqe.opcode == IORING_OP_RECVMSG;
    if (is_recv && result >= 0 && is_offloaded(op))
        *flags |= more_to_read(socket_of(op));
    return result;
}

/* The buffer of a multishot recvmsg starts with a header, the name and the control data, each in
   the room that the program's message has for it. */
static ssize_t receive_framed(struct uring_op *op, struct transfer *transfer, bool *ended)
{
    struct iovec *buffer = &transfer->picked.vector[0];
    struct msghdr *message = &transfer->message;
    size_t name_room = message->msg_namelen, control_room = message->msg_controllen;
    size_t before = sizeof(struct io_uring_recvmsg_out) + name_room + control_room;
    if (buffer->iov_len < before)
        return -EFAULT;
    struct io_uring_recvmsg_out *header = buffer->iov_base;
    size_t room = buffer->iov_len - before;
    transfer->single = (struct iovec){(uint8_t *)buffer->iov_base + before, room};
    message->msg_name = name_room > 0 ? (void *)(header + 1) : NULL;
    message->msg_control = control_room > 0 ? (uint8_t *)(header + 1) + name_room : NULL;
    message->msg_iov = &transfer->single;
    message->msg_iovlen = 1;
    ssize_t result = receive(op, transfer);
    if (result < 0)
        return result;
    header->namelen = message->msg_namelen;
    header->controllen = (uint32_t)message->msg_controllen;
    header->payloadlen = (uint32_t)result;
    header->flags = (uint32_t)message->msg_flags & ~(uint32_t)MSG_CMSG_CLOEXEC;
    *ended = result == 0;
    return (ssize_t)(before + ((size_t)result < room ? (size_t)result : room));
}

static int receive_many(struct uring_op *op, uint32_t *flags)
{
    if ((op->sqe.flags & IOSQE_BUFFER_SELECT) == 0 || (op->sqe.msg_flags & MSG_WAITALL))
        return -EINVAL;
    size_t turn_bytes = 0, most = op->sqe.file_index;
    for (unsigned n = 0; n < TURN_MAX && (op->sqe.len == 0 || turn_bytes < op->sqe.len); n++) {
        struct transfer transfer;
        bool ended = false;
        ssize_t result = begin_transfer(op, &transfer);
        if (result == 0)
            result = transfer.is_message ? receive_framed(op, &transfer, &ended)
                                         : receive(op, &transfer);
        if (result == -EAGAIN)
            return wait_to_receive(op);
        *flags = is_offloaded(op) && result >= 0 ? more_to_read(socket_of(op)) : 0;
        if (result <= 0)
            return (int)result;
        *flags |= uring_buffers_use(&transfer.picked, (size_t)result);
        turn_bytes += (size_t)result;
        op->done_bytes += (size_t)result;
        if (ended || (most > 0 && op->done_bytes >= most))
            return (int)result;
        uring_post(op->ring, op->sqe.user_data, (int)result, *flags | IORING_CQE_F_MORE);
    }
    uring_op_again(op);
    return wait_to(op, READABLE);
}

static int run_receive(struct uring_op *op, uint32_t *flags)
{
    bool is_recv = op->sqe.opcode == IORING_OP_RECV || op->sqe.opcode == IORING_OP_RECVMSG;
    if (is_recv && (op->sqe.ioprio & ~URING_RECVSEND_VALID))
        return -EINVAL;
    if ((is_recv && (op->sqe.ioprio & URING_RECV_MULTISHOT)) ||
        op->sqe.opcode == URING_OP_READ_MULTISHOT)
        return receive_many(op, flags);
    return receive_once(op, flags);
}

/* ---- Sending -------------------------------------------------------------------------------- */

static ssize_t send_transfer(struct uring_op *op, struct transfer *transfer)
{
    struct msghdr *message = &transfer->message;
    int flags = (transfer->flags & ~MSG_WAITALL) | MSG_DONTWAIT;
    bool is_write = op->sqe.opcode == IORING_OP_WRITE || op->sqe.opcode == IORING_OP_WRITEV ||
                    op->sqe.opcode == IORING_OP_WRITE_FIXED;
    if (!is_write)
        flags |= MSG_NOSIGNAL;
    if (!is_offloaded(op)) {
        long result = syscall(SYS_sendmsg, op->fd, message, flags);
        return result < 0 ? -errno : result;
    }
    return transfer->is_message
               ? interpose_send_message(socket_of(op), message, flags)
               : socket_send(socket_of(op), message->msg_iov, message->msg_iovlen, flags);
}

/* No event tells of memory that another socket gave back. */
static void retry_if_writable(struct uring_op *op)
{
    if (is_offloaded(op) && (socket_poll(socket_of(op)) & EPOLLOUT))
        op->ring->retry_ns = waiter_now_ns() + POOL_RETRY_NS;
}

static int run_send(struct uring_op *op, uint32_t *flags)
{
    struct transfer transfer;
    int result;
    if (is_zero_copy(&op->sqe) && (op->sqe.flags & IOSQE_CQE_SKIP_SUCCESS))
        return -EINVAL;
    do {
        ssize_t sent = begin_transfer(op, &transfer);
        if (sent == 0)
            sent = send_transfer(op, &transfer);
        if (sent > 0 && transfer.selects)
            *flags |= uring_buffers_use(&transfer.picked, (size_t)sent);
        if (sent > 0 && is_offloaded(op))
            socket_fence(socket_of(op)); /* the completion queue can be looked at without a call */
        result = end_transfer(op, &transfer, sent, WRITABLE);
        if (sent == -EAGAIN && result == URING_PENDING) {
            if (!is_offloaded(op))
                uring_op_poll_kernel(op, POLLOUT);
            retry_if_writable(op);
            return result;
        }
    } while (result == URING_PENDING);
    if (is_zero_copy(&op->sqe))
        *flags |= IORING_CQE_F_MORE;
    return result;
}

/* ---- Opening -------------------------------------------------------------------------------- */

/* Into the registered files if so asked. */
static int place_accepted(struct uring_op *op, int fd)
{
    if (fd < 0 || op->sqe.file_index == 0)
        return fd;
    uint32_t wanted = op->sqe.file_index;
    int slot =
        uring_slot_install(op->ring, wanted == IORING_FILE_INDEX_ALLOC ? wanted : wanted - 1, fd);
    (void)close(fd);
    return slot >= 0 && wanted != IORING_FILE_INDEX_ALLOC ? 0 : slot;
}

static int run_accept(struct uring_op *op, uint32_t *flags)
{
    struct socket *listener = socket_of(op);
    const struct io_uring_sqe *sqe = &op->sqe;
    bool multishot = (sqe->ioprio & IORING_ACCEPT_MULTISHOT) != 0;
    bool direct = sqe->file_index != 0;
    if ((direct && (sqe->accept_flags & SOCK_CLOEXEC)) ||
        (multishot && direct && sqe->file_index != IORING_FILE_INDEX_ALLOC))
        return -EINVAL;
    for (;;) {
        int result = socket_try_accept(listener, op->fd, POINTER(sqe->addr), POINTER(sqe->addr2),
                                       (int)sqe->accept_flags);
        if (result == -EAGAIN) {
            if (sqe->ioprio & URING_ACCEPT_DONTWAIT)
                return result;
            if (listener->also_kernel)
                uring_op_poll_kernel(op, POLLIN);
            return wait_to(op, EPOLLIN);
        }
        uint32_t more = socket_has_pending(listener) ? IORING_CQE_F_SOCK_NONEMPTY : 0;
        result = place_accepted(op, result);
        if (!multishot || result < 0) {
            *flags = result >= 0 ? more : 0;
            return result;
        }
        uring_post(op->ring, sqe->user_data, result, IORING_CQE_F_MORE | more);
    }
}

/* The kernel connects the socket: it is its own now. */
static int connect_kernel(struct uring_op *op)
{
    op->is_kernels = true;
    uring_op_start(op);
    return URING_PENDING;
}

static int run_connect(struct uring_op *op)
{
    struct socket *socket = socket_of(op);
    if (op->is_kernels)
        return URING_PENDING;
    if (op->started) {
        int result = socket_connect_result(socket);
        return result == -EINPROGRESS ? URING_PENDING : result;
    }
    socklen_t length = (socklen_t)op->sqe.off;
    int result = socket_connect_now(socket, op->fd, POINTER(op->sqe.addr), length);
    if (result == -ECONNABORTED) /* the attempt before this one: Linux tries again, once */
        result = socket_connect_now(socket, op->fd, POINTER(op->sqe.addr), length);
    epoll_socket_moved(socket);
    if (result == 1)
        return connect_kernel(op);
    if (result != -EINPROGRESS)
        return result;
    op->started = true;
    return wait_to(op, EPOLLOUT);
}

/* ---- Readiness ------------------------------------------------------------------------------ */

static int run_poll(struct uring_op *op)
{
    struct socket *socket = socket_of(op);
    uint32_t wanted = op->sqe.poll32_events | EPOLLERR | EPOLLHUP;
    uint32_t mask = socket_poll(socket) & wanted;
    if (socket->state == SOCKET_LISTENING && socket->also_kernel) {
        struct pollfd kernel = {.fd = op->fd, .events = (short)wanted};
        if (syscall(SYS_poll, &kernel, 1, 0) > 0)
            mask |= (unsigned short)kernel.revents & wanted;
        else
            uring_op_poll_kernel(op, wanted);
    }
    op->wanted = wanted;
    if ((op->sqe.len & IORING_POLL_ADD_MULTI) == 0)
        return mask != 0 ? (int)mask : URING_PENDING;
    if (mask != 0)
        uring_post(op->ring, op->sqe.user_data, (int)mask, IORING_CQE_F_MORE);
    return URING_PENDING;
}

/* ---- Splicing ------------------------------------------------------------------------------- */

static int splice_slot(const struct uring_op *op, bool in)
{
    const struct io_uring_sqe *sqe = &op->sqe;
    int number = in ? sqe->splice_fd_in : sqe->fd;
    bool fixed = in ? (sqe->splice_flags & URING_SPLICE_FD_FIXED) != 0
                    : (sqe->flags & IOSQE_FIXED_FILE) != 0;
    if (!fixed)
        return number;
    return (uint32_t)number < op->ring->slot_count ? op->ring->slots[number].fd : -1;
}

/* Wait for the pipe, or for the socket. */
static int wait_for_splice(struct uring_op *op, int in, int out, bool into_socket)
{
    int pipe_fd = into_socket ? in : out;
    struct pollfd pipe = {.fd = pipe_fd, .events = into_socket ? POLLIN : POLLOUT};
    if (syscall(SYS_poll, &pipe, 1, 0) == 0) {
        op->fd = pipe_fd;
        uring_op_poll_kernel(op, (uint32_t)pipe.events);
    }
    return wait_to(op, into_socket ? WRITABLE : READABLE);
}

static int run_splice(struct uring_op *op)
{
    int in = splice_slot(op, true), out = splice_slot(op, false);
    int64_t offset_in = (int64_t)op->sqe.splice_off_in, offset_out = (int64_t)op->sqe.off;
    struct socket *sink = interpose_offloaded(out);
    uint32_t flags = op->sqe.splice_flags & ~URING_SPLICE_FD_FIXED;
    ssize_t result;
    if (sink != NULL) {
        result =
            offset_in != -1 || offset_out != -1
                ? -ESPIPE
                : socket_send_from_fd(sink, in, NULL, op->sqe.len,
                                      MSG_DONTWAIT | (flags & SPLICE_F_MORE ? MSG_MORE : 0), false);
        file_put(&sink->file);
    } else {
        struct socket *source = interpose_offloaded(in);
        bool empty = source != NULL && (socket_poll(source) & READABLE) == 0;
        if (source != NULL && op->file != &source->file) {
            /* It is the socket that is waited on. */
            struct file *before = op->file;
            op->file = &source->file;
            if (before != NULL)
                file_put(before);
        } else if (source != NULL) {
            file_put(&source->file);
        }
        result = empty ? -EAGAIN
                       : splice(in, offset_in == -1 ? NULL : &offset_in, out,
                                offset_out == -1 ? NULL : &offset_out, op->sqe.len,
                                flags | SPLICE_F_NONBLOCK);
        if (result < 0 && !empty)
            result = -errno;
    }
    if (result != -EAGAIN || (flags & SPLICE_F_NONBLOCK))
        return (int)result;
    return wait_for_splice(op, in, out, sink != NULL);
}

/* ---- Commands ------------------------------------------------------------------------------- */

static int run_command(struct uring_op *op)
{
    struct socket *socket = socket_of(op);
    const struct io_uring_sqe *sqe = &op->sqe;
    void *value = POINTER(sqe->addr3);
    socklen_t length = sqe->file_index;
    bool listening = socket->state == SOCKET_LISTENING;
    int result;
    switch (sqe->cmd_op) {
    case URING_SOCKET_SIOCINQ:
        return listening ? -EINVAL : socket_unread_bytes(socket);
    case URING_SOCKET_SIOCOUTQ:
        return listening ? -EINVAL : socket_unacknowledged_bytes(socket);
    case URING_SOCKET_GETSOCKOPT:
        if (uring_sqe_level(sqe) != SOL_SOCKET)
            return -EOPNOTSUPP;
        result = socket_getsockopt(socket, op->fd, SOL_SOCKET, (int)uring_sqe_option(sqe), value,
                                   &length);
        return result < 0 ? result : (int)length;
    case URING_SOCKET_SETSOCKOPT:
        return socket_setsockopt(socket, op->fd, (int)uring_sqe_level(sqe),
                                 (int)uring_sqe_option(sqe), value, length);
    default:
        return -EOPNOTSUPP;
    }
}

/* ---- All ------------------------------------------------------------------------------------ */

int uring_op_run(struct uring_op *op, uint32_t *flags)
{
    switch ((uint32_t)op->sqe.opcode) {
    case IORING_OP_READ:
    case IORING_OP_READV:
    case IORING_OP_READ_FIXED:
    case IORING_OP_RECV:
    case IORING_OP_RECVMSG:
    case URING_OP_READ_MULTISHOT:
        return run_receive(op, flags);
    case IORING_OP_WRITE:
    case IORING_OP_WRITEV:
    case IORING_OP_WRITE_FIXED:
    case IORING_OP_SEND:
    case IORING_OP_SENDMSG:
    case IORING_OP_SEND_ZC:
    case IORING_OP_SENDMSG_ZC:
        return run_send(op, flags);
    case IORING_OP_ACCEPT:
        return run_accept(op, flags);
    case IORING_OP_CONNECT:
        return run_connect(op);
    case IORING_OP_POLL_ADD:
        return run_poll(op);
    case IORING_OP_SPLICE:
        return run_splice(op);
    case IORING_OP_URING_CMD:
        return run_command(op);
    default:
        return uring_run_files(op);
    }
}

bool uring_op_failed(const struct uring_op *op, int32_t result)
{
    const struct io_uring_sqe *sqe = &op->sqe;
    if (result < 0)
        return !(sqe->opcode == IORING_OP_TIMEOUT && result == -ETIME &&
                 (sqe->timeout_flags & IORING_TIMEOUT_ETIME_SUCCESS));
    switch (sqe->opcode) {
    case IORING_OP_READ:
    case IORING_OP_WRITE:
    case IORING_OP_READ_FIXED:
    case IORING_OP_WRITE_FIXED:
        return (uint32_t)result != sqe->len;
    case IORING_OP_SEND:
    case IORING_OP_RECV:
    case IORING_OP_SEND_ZC:
        return (sqe->msg_flags & MSG_WAITALL) && (uint32_t)result < sqe->len;
    default:
        return false;
    }
}
