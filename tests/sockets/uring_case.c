/* See uring_case.h. */
#include "uring_case.h"

#include <string.h>

#include "case.h"

struct __kernel_timespec milliseconds(long count)
{
    return (struct __kernel_timespec){.tv_nsec = count * 1000000};
}

bool open_ring(struct io_uring *ring, unsigned flags)
{
    int error = io_uring_queue_init(RING_ENTRIES, ring, flags);
    if (error < 0)
        say("no ring: %d", error);
    return error == 0;
}

struct io_uring_sqe *entry(struct io_uring *ring, const char *name)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    memset(sqe, 0, sizeof(*sqe));
    sqe->user_data = (uintptr_t)name;
    return sqe;
}

void name_entry(struct io_uring_sqe *sqe, const char *name)
{
    sqe->user_data = (uintptr_t)name;
}

static void say_completion(const struct io_uring_cqe *cqe)
{
    const char *name = (const char *)(uintptr_t)cqe->user_data;
    errno = cqe->res < 0 ? -cqe->res : 0;
    say_result(name != NULL ? name : "(unnamed)", cqe->res < 0 ? -1 : cqe->res);
    unsigned flags = cqe->flags & (IORING_CQE_F_MORE | IORING_CQE_F_BUFFER | IORING_CQE_F_NOTIF |
                                   IORING_CQE_F_SOCK_NONEMPTY);
    if (flags != 0)
        say("  flags %x, buffer %u", flags,
            cqe->flags & IORING_CQE_F_BUFFER ? cqe->flags >> IORING_CQE_BUFFER_SHIFT : 0);
}

int complete(struct io_uring *ring)
{
    struct io_uring_cqe *cqe = NULL;
    struct __kernel_timespec limit = milliseconds(CASE_WAIT_MS / 2);
    int error = io_uring_wait_cqe_timeout(ring, &cqe, &limit);
    if (error < 0 || cqe == NULL) {
        say("no completion: %d", error);
        return error;
    }
    int result = cqe->res;
    say_completion(cqe);
    io_uring_cqe_seen(ring, cqe);
    return result;
}

int complete_descriptor(struct io_uring *ring)
{
    struct io_uring_cqe *cqe = NULL;
    struct __kernel_timespec limit = milliseconds(CASE_WAIT_MS / 2);
    if (io_uring_wait_cqe_timeout(ring, &cqe, &limit) < 0) {
        say("no descriptor");
        return -1;
    }
    int fd = cqe->res;
    say("%s is a descriptor: %d, flags %x", (const char *)(uintptr_t)cqe->user_data, fd >= 0,
        cqe->flags);
    io_uring_cqe_seen(ring, cqe);
    return fd;
}

void nothing_yet(struct io_uring *ring)
{
    struct io_uring_cqe *cqe;
    struct __kernel_timespec limit = milliseconds(CASE_QUIET_MS);
    int error = io_uring_wait_cqe_timeout(ring, &cqe, &limit);
    if (error == -ETIME)
        say("nothing yet");
    else
        say("something already: %d", error);
}

void receive(struct io_uring *ring, const char *name, int fd, void *bytes, unsigned count,
             int flags)
{
    struct io_uring_sqe *sqe = entry(ring, name);
    io_uring_prep_recv(sqe, fd, bytes, count, flags);
    name_entry(sqe, name);
}

void transmit(struct io_uring *ring, const char *name, int fd, const void *bytes, unsigned count,
              int flags)
{
    struct io_uring_sqe *sqe = entry(ring, name);
    io_uring_prep_send(sqe, fd, bytes, count, flags);
    name_entry(sqe, name);
}
