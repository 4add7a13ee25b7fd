/* Operations about descriptors themselves, and those about other operations: none waits. */
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "hostlib/epoll.h"
#include "hostlib/interpose.h"
#include "hostlib/placeholder.h"
#include "hostlib/uring_ring.h"
#include "hostlib/user_memory.h"

#define POINTER(value) ((void *)(uintptr_t)(value))

/* Source: Linux io_uring/, the *_prep() functions. */
bool uring_sqe_is_wrong(const struct io_uring_sqe *sqe)
{
    switch ((uint32_t)sqe->opcode) {
    case IORING_OP_ACCEPT:
        return sqe->len != 0 || sqe->buf_index != 0;
    case IORING_OP_CONNECT:
    case URING_OP_BIND:
        return sqe->len != 0 || sqe->buf_index != 0 || sqe->rw_flags != 0 || sqe->file_index != 0;
    case URING_OP_LISTEN:
        return sqe->addr != 0 || sqe->buf_index != 0 || sqe->rw_flags != 0 ||
               sqe->file_index != 0 || sqe->addr2 != 0;
    case IORING_OP_SOCKET:
        return sqe->addr != 0 || sqe->rw_flags != 0 || sqe->buf_index != 0;
    case IORING_OP_SHUTDOWN:
        return sqe->off != 0 || sqe->addr != 0 || sqe->rw_flags != 0 || sqe->buf_index != 0 ||
               sqe->file_index != 0;
    case IORING_OP_POLL_ADD:
        return sqe->buf_index != 0 || sqe->off != 0 || sqe->addr != 0 ||
               (sqe->len & ~(IORING_POLL_ADD_MULTI | URING_POLL_ADD_LEVEL)) != 0 ||
               ((sqe->len & IORING_POLL_ADD_MULTI) && (sqe->flags & IOSQE_CQE_SKIP_SUCCESS));
    default:
        return false;
    }
}

static int answer(int result)
{
    return result < 0 ? -errno : result;
}

/* For a socket that may be fresh: bind() and listen() as the calls of these names have them. */
static int run_name(struct uring_op *op)
{
    struct socket *socket = (struct socket *)op->file;
    const struct io_uring_sqe *sqe = &op->sqe;
    int result = (uint32_t)sqe->opcode == URING_OP_BIND
                     ? socket_bind(socket, op->fd, POINTER(sqe->addr), (socklen_t)sqe->off)
                     : socket_listen(socket, op->fd, (int)sqe->len);
    epoll_socket_moved(socket);
    return result;
}

static int run_shutdown(struct uring_op *op)
{
    struct socket *socket = (struct socket *)op->file;
    bool may_move = socket->state != SOCKET_CONNECTED;
    int result = socket_shutdown(socket, op->fd, (int)op->sqe.len);
    if (may_move)
        epoll_socket_moved(socket);
    return result;
}

static int run_socket(struct uring_op *op)
{
    const struct io_uring_sqe *sqe = &op->sqe;
    int fd = answer(socket(sqe->fd, (int)sqe->off, (int)sqe->len));
    if (fd < 0 || sqe->file_index == 0)
        return fd;
    uint32_t wanted = sqe->file_index;
    int slot = wanted != IORING_FILE_INDEX_ALLOC && ((int)sqe->off & SOCK_CLOEXEC)
                   ? -EINVAL
                   : uring_slot_install(
                         op->ring, wanted == IORING_FILE_INDEX_ALLOC ? wanted : wanted - 1, fd);
    (void)close(fd);
    return slot >= 0 && wanted != IORING_FILE_INDEX_ALLOC ? 0 : slot;
}

static int run_close(struct uring_op *op)
{
    const struct io_uring_sqe *sqe = &op->sqe;
    int result;
    if (sqe->file_index == 0)
        result = answer(close(sqe->fd));
    else if (sqe->fd != 0)
        return -EINVAL;
    else
        result = uring_slot_install(op->ring, sqe->file_index - 1, -1);
    turned_round_settle_all(); /* the completion queue can be looked at without a call */
    return result < 0 ? result : 0;
}

/* IORING_OP_FILES_UPDATE: as io_uring_register() does it; with an offset of "anywhere", each
   descriptor goes to a free slot, whose number takes its place. */
static int run_files_update(struct uring_op *op)
{
    int *fds = POINTER(op->sqe.addr);
    bool anywhere = (uint32_t)op->sqe.off == IORING_FILE_INDEX_ALLOC;
    uint32_t done = 0;
    int result = 0;
    if (op->sqe.len == 0)
        return -EINVAL;
    if (user_memory_unwritable(fds, op->sqe.len * sizeof(*fds)))
        return -EFAULT;
    for (; done < op->sqe.len; done++) {
        if (!anywhere && fds[done] == IORING_REGISTER_FILES_SKIP)
            continue;
        uint32_t slot = anywhere ? IORING_FILE_INDEX_ALLOC : (uint32_t)op->sqe.off + done;
        result = uring_slot_install(op->ring, slot, fds[done]);
        if (result < 0)
            break;
        if (anywhere)
            fds[done] = result;
    }
    return done > 0 ? (int)done : result;
}

/* Source: Linux io_uring/cancel.c. Where several are meant, the kernel's count too. */
static int run_cancel(struct uring_op *op)
{
    const struct io_uring_sqe *sqe = &op->sqe;
    int ours = uring_cancel(op->ring, sqe);
    bool all = (sqe->cancel_flags & (IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY)) != 0;
    if (ours > 0 && !all)
        return 0;
    struct io_uring_sync_cancel_reg kernels = {
        .addr = sqe->addr, .fd = sqe->fd, .flags = sqe->cancel_flags, .timeout = {0, 0}};
    long result = syscall(SYS_io_uring_register, op->ring->program.fd, IORING_REGISTER_SYNC_CANCEL,
                          &kernels, 1);
    if (ours > 0)
        return ours + (result > 0 ? (int)result : 0);
    if (result < 0 && errno == ETIME)
        return -EALREADY;
    return result < 0 ? -errno : (int)result;
}

static int run_epoll_control(struct uring_op *op)
{
    const struct io_uring_sqe *sqe = &op->sqe;
    return answer(epoll_ctl(sqe->fd, (int)sqe->len, (int)sqe->off, POINTER(sqe->addr)));
}

/* IORING_OP_FIXED_FD_INSTALL: a registered file gets a descriptor. */
static int run_install(struct uring_op *op)
{
    bool close_on_exec = op->sqe.rw_flags == 0; /* else IORING_FIXED_FD_NO_CLOEXEC */
    if ((op->sqe.flags & IOSQE_FIXED_FILE) == 0)
        return -EBADF;
    int copy =
        op->fd >= 0
            ? answer((int)syscall(SYS_fcntl, op->fd, close_on_exec ? F_DUPFD_CLOEXEC : F_DUPFD, 0))
            : placeholder_open(((struct socket *)op->file)->is_v6, close_on_exec);
    if (copy < 0)
        return copy;
    file_hold(op->file);
    if (!fd_set_file(copy, op->file))
        file_put(op->file);
    return copy;
}

int uring_run_files(struct uring_op *op)
{
    switch ((uint32_t)op->sqe.opcode) {
    case URING_OP_BIND:
    case URING_OP_LISTEN:
        return run_name(op);
    case IORING_OP_SHUTDOWN:
        return run_shutdown(op);
    case IORING_OP_SOCKET:
        return run_socket(op);
    case IORING_OP_CLOSE:
        return run_close(op);
    case IORING_OP_FILES_UPDATE:
        return run_files_update(op);
    case IORING_OP_ASYNC_CANCEL:
        return run_cancel(op);
    case IORING_OP_POLL_REMOVE:
        return uring_poll_update(op->ring, &op->sqe);
    case IORING_OP_EPOLL_CTL:
        return run_epoll_control(op);
    case IORING_OP_PROVIDE_BUFFERS:
        return uring_buffers_provide(op->ring, &op->sqe);
    case IORING_OP_REMOVE_BUFFERS:
        return uring_buffers_remove(op->ring, &op->sqe);
    case URING_OP_FIXED_FD_INSTALL:
        return run_install(op);
    default:
        return -EOPNOTSUPP;
    }
}
