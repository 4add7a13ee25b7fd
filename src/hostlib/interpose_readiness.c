/* Waiting for readiness: poll, select, epoll. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hostlib/epoll.h"
#include "hostlib/interpose.h"
#include "hostlib/poll.h"

static int end(int result)
{
    if (result >= 0)
        return result;
    errno = -result;
    return -1;
}

static struct timespec from_ms(int timeout_ms)
{
    return (struct timespec){.tv_sec = timeout_ms / 1000,
                             .tv_nsec = timeout_ms % 1000 * (long)NS_PER_MS};
}

PNO_EXPORT int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    if (!poll_has_offloaded(fds, count))
        return REAL(poll)(fds, count, timeout_ms);
    struct timespec timeout = from_ms(timeout_ms);
    pthread_testcancel();
    return end(poll_wait(fds, count, timeout_ms < 0 ? NULL : &timeout, NULL));
}

PNO_EXPORT int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t fds_bytes)
{
    if (fds_bytes / sizeof(*fds) < count || !poll_has_offloaded(fds, count))
        return REAL(__poll_chk)(fds, count, timeout_ms, fds_bytes);
    return poll(fds, count, timeout_ms);
}

static bool is_valid(const struct timespec *timeout)
{
    return timeout == NULL ||
           (timeout->tv_sec >= 0 && timeout->tv_nsec >= 0 && timeout->tv_nsec < (long)NS_PER_S);
}

PNO_EXPORT int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                     const sigset_t *mask)
{
    if (!poll_has_offloaded(fds, count) || !is_valid(timeout))
        return REAL(ppoll)(fds, count, timeout, mask);
    pthread_testcancel();
    return end(poll_wait(fds, count, timeout, mask));
}

PNO_EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                           const sigset_t *mask, size_t fds_bytes)
{
    if (fds_bytes / sizeof(*fds) < count || !poll_has_offloaded(fds, count))
        return REAL(__ppoll_chk)(fds, count, timeout, mask, fds_bytes);
    return ppoll(fds, count, timeout, mask);
}

/* Linux's select() leaves the time not slept in *timeout. */
PNO_EXPORT int select(int count, fd_set *read_set, fd_set *write_set, fd_set *except_set,
                      struct timeval *timeout)
{
    if (!select_has_offloaded(count, read_set, write_set, except_set) ||
        (timeout != NULL && (timeout->tv_sec < 0 || timeout->tv_usec < 0)))
        return REAL(select)(count, read_set, write_set, except_set, timeout);
    pthread_testcancel();
    if (timeout == NULL)
        return end(select_wait(count, read_set, write_set, except_set, NULL, NULL));
    struct timespec wanted = {.tv_sec = timeout->tv_sec + timeout->tv_usec / 1000000,
                              .tv_nsec = timeout->tv_usec % 1000000 * (long)NS_PER_US};
    uint64_t deadline_ns = waiter_deadline_ns(&wanted);
    int result = select_wait(count, read_set, write_set, except_set, &wanted, NULL);
    uint64_t now_ns = waiter_now_ns();
    uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    if (deadline_ns != TIME_NEVER) {
        timeout->tv_sec = (time_t)(left_ns / NS_PER_S);
        timeout->tv_usec = (suseconds_t)(left_ns % NS_PER_S / NS_PER_US);
    }
    return end(result);
}

PNO_EXPORT int pselect(int count, fd_set *read_set, fd_set *write_set, fd_set *except_set,
                       const struct timespec *timeout, const sigset_t *mask)
{
    if (!select_has_offloaded(count, read_set, write_set, except_set) || !is_valid(timeout))
        return REAL(pselect)(count, read_set, write_set, except_set, timeout, mask);
    pthread_testcancel();
    return end(select_wait(count, read_set, write_set, except_set, timeout, mask));
}

/* ---- epoll --------------------------------------------------------------------------------- */

/* Waiting is a cancellation point whether it blocks or not. */
static struct epoll_set *get_set_to_wait(int fd)
{
    if (fd_peek(fd) != NULL)
        pthread_testcancel();
    return epoll_get(fd);
}

static int end_with(struct epoll_set *set, int result)
{
    file_put((struct file *)set);
    return end(result);
}

/* A set that we did not know would be told of the kernel's half of offloaded sockets. */
static int know_set(int fd)
{
    if (fd < 0 || epoll_register(fd))
        return fd;
    (void)REAL(close)(fd);
    errno = ENOMEM;
    return -1;
}

PNO_EXPORT int epoll_create1(int flags)
{
    return know_set(REAL(epoll_create1)(flags));
}

PNO_EXPORT int epoll_create(int size)
{
    return know_set(REAL(epoll_create)(size));
}

static int control_kernel(struct epoll_set *set, int epoll_fd, int operation, int fd,
                          struct epoll_event *event)
{
    int result = REAL(epoll_ctl)(epoll_fd, operation, fd, event);
    if (set == NULL || result < 0)
        return result;
    if (operation == EPOLL_CTL_ADD)
        epoll_count_kernel(set, 1);
    else if (operation == EPOLL_CTL_DEL)
        epoll_count_kernel(set, -1);
    return result;
}

/* What an epoll set treats as ours: sockets, other sets, and no socket that is the kernel's for
 * good.
 */
static struct file *get_watchable(int fd)
{
    struct file *file = fd_get(fd);
    if (file == NULL || file->kind == FILE_EPOLL)
        return file;
    file_put(file);
    return (struct file *)interpose_socket(fd);
}

/* A set that came here without a word of it: inherited by a program that inherited no sockets, or
   sent by one that is not under PnO. */
static struct epoll_set *adopt_set(int fd)
{
    static const char expected[] = "anon_inode:[eventpoll]";
    char path[32], target[sizeof(expected)];
    if (fd < 0 || fd_peek(fd) != NULL)
        return NULL;
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (syscall(SYS_readlinkat, AT_FDCWD, path, target, sizeof(target)) !=
            (long)sizeof(expected) - 1 ||
        memcmp(target, expected, sizeof(expected) - 1) != 0)
        return NULL;
    struct epoll_set *set = epoll_adopt(fd);
    if (set == NULL)
        return NULL;
    file_hold((struct file *)set);
    if (fd_set_file(fd, (struct file *)set))
        return set;
    file_put((struct file *)set);
    file_put((struct file *)set);
    return NULL;
}

PNO_EXPORT int epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event)
{
    struct epoll_set *set = epoll_get(epoll_fd);
    if (set == NULL && operation == EPOLL_CTL_ADD && fd_peek(fd) != NULL)
        set = adopt_set(epoll_fd);
    struct file *file = set != NULL ? get_watchable(fd) : NULL;
    int result;
    if (file != NULL) {
        result = end(epoll_control(set, epoll_fd, operation, fd, file, event));
        file_put(file);
    } else {
        result = control_kernel(set, epoll_fd, operation, fd, event);
    }
    int saved_errno = errno;
    if (set != NULL)
        file_put((struct file *)set);
    errno = saved_errno;
    return result;
}

PNO_EXPORT int epoll_pwait(int fd, struct epoll_event *events, int max_events, int timeout_ms,
                           const sigset_t *mask)
{
    struct epoll_set *set = get_set_to_wait(fd);
    if (set == NULL)
        return REAL(epoll_pwait)(fd, events, max_events, timeout_ms, mask);
    struct timespec timeout = from_ms(timeout_ms);
    return end_with(set, epoll_wait_for_events(set, fd, events, max_events,
                                               timeout_ms < 0 ? NULL : &timeout, mask));
}

PNO_EXPORT int epoll_wait(int fd, struct epoll_event *events, int max_events, int timeout_ms)
{
    struct epoll_set *set = get_set_to_wait(fd);
    if (set == NULL)
        return REAL(epoll_wait)(fd, events, max_events, timeout_ms);
    struct timespec timeout = from_ms(timeout_ms);
    return end_with(set, epoll_wait_for_events(set, fd, events, max_events,
                                               timeout_ms < 0 ? NULL : &timeout, NULL));
}

PNO_EXPORT int epoll_pwait2(int fd, struct epoll_event *events, int max_events,
                            const struct timespec *timeout, const sigset_t *mask)
{
    struct epoll_set *set = get_set_to_wait(fd);
    if (set == NULL)
        return REAL(epoll_pwait2)(fd, events, max_events, timeout, mask);
    if (!is_valid(timeout))
        return end_with(set, -EINVAL);
    return end_with(set, epoll_wait_for_events(set, fd, events, max_events, timeout, mask));
}
