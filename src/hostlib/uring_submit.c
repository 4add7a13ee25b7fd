/* Submissions: which are ours, and the rest to the kernel in order. */
#include <errno.h>
#include <sys/epoll.h>

#include "hostlib/interpose.h"
#include "hostlib/uring_ring.h"
#include "hostlib/user_memory.h"

#define CHAINED ((uint32_t)(IOSQE_IO_LINK | IOSQE_IO_HARDLINK))

/* ---- Which are ours ------------------------------------------------------------------------ */

/* What a submission's descriptor refers to, without a reference. */
static struct file *peek(const struct uring *ring, const struct io_uring_sqe *sqe, int fd)
{
    if ((sqe->flags & IOSQE_FIXED_FILE) == 0)
        return fd_peek(fd);
    return (uint32_t)fd < ring->slot_count ? ring->slots[fd].file : NULL;
}

static bool is_socket(const struct file *file, enum socket_state least)
{
    return file != NULL && file->kind == FILE_SOCKET &&
           ((const struct socket *)file)->state != SOCKET_KERNEL &&
           ((const struct socket *)file)->state >= least;
}

/* About an offloaded socket. */
static bool is_offloaded(const struct uring *ring, const struct io_uring_sqe *sqe)
{
    return is_socket(peek(ring, sqe, sqe->fd), SOCKET_BOUND);
}

static bool is_epoll(const struct file *file)
{
    return file != NULL && file->kind == FILE_EPOLL;
}

static bool selects_ours(struct uring *ring, const struct io_uring_sqe *sqe)
{
    if ((sqe->flags & IOSQE_BUFFER_SELECT) == 0)
        return false;
    if (uring_group_is_ours(ring, sqe->buf_group))
        return true;
    uring_group_note_kernel(ring, sqe->buf_group);
    return false;
}

static bool splices_ours(const struct uring *ring, const struct io_uring_sqe *sqe)
{
    struct io_uring_sqe in = {.fd = sqe->splice_fd_in};
    if (sqe->splice_flags & URING_SPLICE_FD_FIXED)
        in.flags = IOSQE_FIXED_FILE;
    return is_offloaded(ring, sqe) || is_offloaded(ring, &in);
}

static bool is_tcp_socket(const struct io_uring_sqe *sqe)
{
    int type = (int)sqe->off & ~(SOCK_CLOEXEC | SOCK_NONBLOCK);
    return (sqe->fd == AF_INET || sqe->fd == AF_INET6) && type == SOCK_STREAM &&
           (sqe->len == 0 || sqe->len == IPPROTO_TCP) && sqe->rw_flags == 0;
}

static bool closes_ours(const struct uring *ring, const struct io_uring_sqe *sqe)
{
    if (sqe->file_index != 0)
        return sqe->file_index - 1 < ring->slot_count &&
               ring->slots[sqe->file_index - 1].file != NULL;
    const struct file *file = fd_peek(sqe->fd);
    return file != NULL && file->kind != FILE_URING; /* Linux closes no ring in this way */
}

/* IORING_OP_FILES_UPDATE: one of ours comes or goes. */
static bool updates_ours(const struct uring *ring, const struct io_uring_sqe *sqe)
{
    const int *fds = (const int *)(uintptr_t)sqe->addr;
    uint32_t first = (uint32_t)sqe->off;
    if (ring->slot_count == 0 || sqe->len == 0 || sqe->len > ring->slot_count ||
        user_memory_unreadable(fds, sqe->len * sizeof(*fds)))
        return false;
    for (uint32_t i = 0; i < sqe->len; i++) {
        const struct file *file = fd_peek(fds[i]);
        bool is_known = file != NULL && (file->kind == FILE_SOCKET || file->kind == FILE_EPOLL);
        if (is_known || (first + i < ring->slot_count && ring->slots[first + i].file != NULL))
            return true;
    }
    return false;
}

bool uring_is_ours(struct uring *ring, const struct io_uring_sqe *sqe)
{
    switch ((uint32_t)sqe->opcode) {
    case IORING_OP_READ:
    case IORING_OP_READV:
    case IORING_OP_RECV:
    case IORING_OP_RECVMSG:
    case URING_OP_READ_MULTISHOT:
        return is_offloaded(ring, sqe) || selects_ours(ring, sqe);
    case IORING_OP_SEND:
        return is_offloaded(ring, sqe) || selects_ours(ring, sqe);
    case IORING_OP_READ_FIXED:
    case IORING_OP_WRITE_FIXED:
    case IORING_OP_WRITE:
    case IORING_OP_WRITEV:
    case IORING_OP_SENDMSG:
    case IORING_OP_SEND_ZC:
    case IORING_OP_SENDMSG_ZC:
    case IORING_OP_ACCEPT:
    case IORING_OP_SHUTDOWN:
    case IORING_OP_URING_CMD:
        return is_offloaded(ring, sqe);
    case IORING_OP_POLL_ADD:
        return is_offloaded(ring, sqe);
    case IORING_OP_CONNECT:
    case URING_OP_BIND:
    case URING_OP_LISTEN:
        return is_socket(peek(ring, sqe, sqe->fd), SOCKET_FRESH);
    case IORING_OP_SOCKET:
        return is_tcp_socket(sqe);
    case IORING_OP_CLOSE:
        return closes_ours(ring, sqe);
    case IORING_OP_EPOLL_CTL:
        return is_epoll(fd_peek(sqe->fd));
    case IORING_OP_SPLICE:
        return splices_ours(ring, sqe);
    case IORING_OP_ASYNC_CANCEL:
    case IORING_OP_POLL_REMOVE:
        return atomic_load_explicit(&ring->pending, memory_order_relaxed) > 0 &&
               uring_cancel_is_ours(ring, sqe);
    case IORING_OP_FILES_UPDATE:
        return updates_ours(ring, sqe);
    case IORING_OP_PROVIDE_BUFFERS:
    case IORING_OP_REMOVE_BUFFERS:
        return uring_group_is_ours(ring, sqe->buf_group) || engine_link_current() != NULL;
    case URING_OP_FIXED_FD_INSTALL:
        return peek(ring, sqe, sqe->fd) != NULL;
    default:
        return false;
    }
}

/* ---- The program's queue ------------------------------------------------------------------- */

static uint32_t available(const struct uring *ring, uint32_t count)
{
    const struct uring_queue *queue = &ring->program;
    uint32_t there = atomic_load_explicit(queue->sq_tail, memory_order_acquire) -
                     atomic_load_explicit(queue->sq_head, memory_order_relaxed);
    there = there < queue->sq_entries ? there : queue->sq_entries;
    return count < there ? count : there;
}

/* The index of the n-th entry that waits; beyond the queue's end: the program's mistake. */
static uint32_t entry_index(const struct uring *ring, uint32_t n)
{
    const struct uring_queue *queue = &ring->program;
    uint32_t mask = queue->sq_entries - 1;
    uint32_t place = (atomic_load_explicit(queue->sq_head, memory_order_relaxed) + n) & mask;
    if (ring->flags & IORING_SETUP_NO_SQARRAY)
        return place;
    return queue->sq_array[place];
}

static struct io_uring_sqe *entry(const struct uring *ring, uint32_t index)
{
    const struct uring_queue *queue = &ring->program;
    return (struct io_uring_sqe *)(void *)(queue->sqes + ((size_t)index << queue->sqe_shift));
}

bool uring_has_ours(struct uring *ring, uint32_t count)
{
    count = available(ring, count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = entry_index(ring, i);
        if (index < ring->program.sq_entries && uring_is_ours(ring, entry(ring, index)))
            return true;
    }
    return false;
}

/* ---- The kernel's share --------------------------------------------------------------------- */

/* Exchange what the kernel's next entries are for those of the run, or put back what was there. */
static void place_run(struct uring *ring, uint32_t from, uint32_t count, bool back)
{
    struct uring_queue *queue = &ring->program;
    uint32_t *run = ring->scratch, *saved = ring->scratch + queue->sq_entries;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t *place = &queue->sq_array[(from + i) & (queue->sq_entries - 1)];
        if (back) {
            *place = saved[i];
        } else {
            saved[i] = *place;
            *place = run[i];
        }
    }
}

/* Submit the entries whose indices are in scratch.
   The kernel counts the entries that it has taken by itself and never looks at the head that we
   write; it is behind by those that we took (lag). So its next entries are not where the program's
   are: for the time of the call they are put where it looks.
   @return 0, or a negative errno if it took none. */
static int submit_run(struct uring *ring, uint32_t count, uint32_t head)
{
    struct uring_queue *queue = &ring->program;
    uint32_t from = head - ring->lag;
    uint32_t done = 0;
    long taken = 0;
    place_run(ring, from, count, false);
    while (done < count) {
        taken = syscall(SYS_io_uring_enter, queue->fd, count - done, 0, 0, NULL, 0);
        if (taken < 0 && errno == EINTR)
            continue;
        if (taken <= 0)
            break;
        done += (uint32_t)taken;
    }
    int error = taken < 0 ? -errno : 0;
    place_run(ring, from, count, true);
    /* What the kernel has no room for is told as failed. */
    for (uint32_t i = done; done > 0 && i < count; i++)
        uring_post(ring, entry(ring, ring->scratch[i])->user_data, error, 0);
    ring->lag += count - done;
    return done == 0 ? error : 0;
}

/* ---- Chains -------------------------------------------------------------------------------- */

/* How many entries from the i-th on are linked together. */
static uint32_t chain_length(const struct uring *ring, uint32_t i, uint32_t count)
{
    uint32_t length = 1;
    for (; i + length < count; length++) {
        uint32_t index = entry_index(ring, i + length - 1);
        if (index >= ring->program.sq_entries || (entry(ring, index)->flags & CHAINED) == 0)
            break;
    }
    return length;
}

static bool chain_is_ours(struct uring *ring, uint32_t i, uint32_t length)
{
    bool ours = false;
    for (uint32_t end = i + length; i < end; i++) {
        uint32_t index = entry_index(ring, i);
        ours =
            ours || (index < ring->program.sq_entries && uring_is_ours(ring, entry(ring, index)));
    }
    return ours;
}

/* Make the chain's operations; not of what lies beyond the queue's end. */
static void start_chain(struct uring *ring, uint32_t i, uint32_t length)
{
    struct uring_op *first = NULL, **end = &first, *before = NULL;
    for (uint32_t last = i + length; i < last; i++) {
        uint32_t index = entry_index(ring, i);
        if (index >= ring->program.sq_entries)
            continue;
        const struct io_uring_sqe *sqe = entry(ring, index);
        struct uring_op *op = uring_op_create(ring, sqe);
        if (op == NULL) {
            uring_post(ring, sqe->user_data, -ENOMEM, 0);
            continue;
        }
        if (sqe->opcode == IORING_OP_LINK_TIMEOUT && before != NULL && before->timeout == NULL) {
            before->timeout = op;
            op->timed = before;
            continue;
        }
        *end = op;
        end = &op->chain;
        before = op;
    }
    if (first != NULL)
        uring_op_start(first);
}

int uring_submit(struct uring *ring, uint32_t count)
{
    struct uring_queue *queue = &ring->program;
    uint32_t head = atomic_load_explicit(queue->sq_head, memory_order_relaxed);
    uint32_t run = 0, ours = 0;
    count = available(ring, count);
    for (uint32_t i = 0, length; i < count; i += length) {
        length = chain_length(ring, i, count);
        if (chain_is_ours(ring, i, length)) {
            ours += length;
            start_chain(ring, i, length);
            continue;
        }
        for (uint32_t k = 0; k < length; k++) {
            uint32_t index = entry_index(ring, i + k);
            if (index < queue->sq_entries)
                ring->scratch[run++] = index;
            else
                ours++; /* dropped; the kernel would count it and go on */
        }
    }
    int error = run > 0 ? submit_run(ring, run, head) : 0;
    if (error < 0 && ours == 0) {
        ring->lag -= run; /* they stay in the queue */
        atomic_store_explicit(queue->sq_head, head, memory_order_release);
        return error;
    }
    ring->lag += ours;
    atomic_store_explicit(queue->sq_head, head + count, memory_order_release);
    return (int)count;
}
