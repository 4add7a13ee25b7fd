/* Descriptors: closing, duplicating, flags. */
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hostlib/epoll.h"
#include "hostlib/interpose.h"
#include "hostlib/socket_extra.h"
#include "hostlib/uring.h"
#include "hostlib/user_memory.h"

void file_destroy(struct file *file)
{
    if (file->kind == FILE_SOCKET)
        socket_destroy((struct socket *)file);
    else if (file->kind == FILE_EPOLL)
        epoll_destroy((struct epoll_set *)file);
    else if (file->kind == FILE_URING)
        uring_destroy((struct uring *)file);
}

static bool is_internal(int fd)
{
    struct file *file = fd_peek(fd);
    return file != NULL && file->kind == FILE_INTERNAL;
}

PNO_EXPORT int close(int fd)
{
    struct file *file = fd_peek(fd);
    if (__builtin_expect(file == NULL, 1)) {
        turned_round_before_telling_by(fd);
        return REAL(close)(fd);
    }
    if (file->kind == FILE_INTERNAL) {
        errno = EBADF;
        return -1;
    }
    /* The entry goes first: afterwards the number may be another thread's. */
    file = fd_take(fd);
    int result = REAL(close)(fd);
    int saved_errno = errno;
    if (file != NULL)
        file_put(file);
    errno = saved_errno;
    return result;
}

static int real_close_range(unsigned first, unsigned last, int flags)
{
    if (REAL(close_range) != NULL)
        return REAL(close_range)(first, last, flags);
    return (int)syscall(SYS_close_range, first, last, flags);
}

/* Everything in the range but our own descriptors. */
PNO_EXPORT int close_range(unsigned first, unsigned last, int flags)
{
    unsigned high = atomic_load_explicit(&fd_table_high, memory_order_relaxed);
    unsigned internal_high = fd_table_internal_high();
    bool closes = (flags & (int)CLOSE_RANGE_CLOEXEC) == 0;
    unsigned start = first;
    if (internal_high > high)
        high = internal_high;
    for (unsigned fd = first; fd < high && fd <= last; fd++) {
        if (is_internal((int)fd)) {
            if (fd > start && real_close_range(start, fd - 1, flags) < 0)
                return -1;
            start = fd + 1;
        } else if (closes) {
            struct file *file = fd_take((int)fd);
            if (file != NULL)
                file_put(file);
        }
    }
    /* An empty or wrong range is for the kernel to judge. */
    return start <= last || first > last ? real_close_range(start, last, flags) : 0;
}

PNO_EXPORT void closefrom(int lowest)
{
    (void)close_range(lowest < 0 ? 0 : (unsigned)lowest, UINT_MAX, 0);
}

/* After the kernel made `copy` a duplicate of fd. */
static void duplicate_entry(int fd, int copy)
{
    struct file *file = fd_get(fd);
    if (file != NULL && file->kind == FILE_INTERNAL) {
        file_put(file);
        file = NULL;
    }
    bool is_socket = file != NULL && file->kind == FILE_SOCKET;
    if (!fd_set_file(copy, file) && file != NULL)
        file_put(file);
    if (is_socket)
        interpose_standard_stream(copy);
}

PNO_EXPORT int dup(int fd)
{
    int copy = REAL(dup)(fd);
    if (copy >= 0)
        duplicate_entry(fd, copy);
    return copy;
}

PNO_EXPORT int dup2(int fd, int copy)
{
    if (fd == copy)
        return REAL(dup2)(fd, copy);
    fd_evade(copy);
    int result = REAL(dup2)(fd, copy);
    if (result >= 0)
        duplicate_entry(fd, copy);
    return result;
}

PNO_EXPORT int dup3(int fd, int copy, int flags)
{
    if (fd != copy)
        fd_evade(copy);
    int result = REAL(dup3)(fd, copy, flags);
    if (result >= 0)
        duplicate_entry(fd, copy);
    return result;
}

/* ---- fcntl --------------------------------------------------------------------------------- */

/* A listener's kernel half never blocks, whatever the application sees. */
static bool must_stay_nonblocking(const struct socket *socket)
{
    return socket->state == SOCKET_LISTENING && socket->also_kernel;
}

static int set_flags(struct socket *socket, int fd, long flags)
{
    if (socket->is_accepted && (flags & O_DIRECT) != 0)
        return -EINVAL;
    if (!socket->is_accepted) {
        long kernel_flags = must_stay_nonblocking(socket) ? flags | O_NONBLOCK : flags;
        if (syscall(SYS_fcntl, fd, F_SETFL, kernel_flags) < 0)
            return -errno;
    }
    atomic_store_explicit(&socket->nonblocking, (flags & O_NONBLOCK) != 0, memory_order_relaxed);
    return socket_async_set_flags(socket, fd, (int)flags);
}

static int get_flags(struct socket *socket, int fd)
{
    int flags = (int)syscall(SYS_fcntl, fd, F_GETFL);
    if (flags < 0)
        return -errno;
    flags &= ~O_NONBLOCK;
    if (socket->is_accepted && socket->extra != NULL)
        flags |= socket->extra->async.flags;
    return atomic_load_explicit(&socket->nonblocking, memory_order_relaxed) ? flags | O_NONBLOCK
                                                                            : flags;
}

static int descriptor_control(int fd, int command, void *argument)
{
    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) {
        int copy = REAL(fcntl64) != NULL ? REAL(fcntl64)(fd, command, argument)
                                         : REAL(fcntl)(fd, command, argument);
        if (copy >= 0)
            duplicate_entry(fd, copy);
        return copy;
    }
    struct socket *socket = NULL;
    bool is_async = socket_async_is_control(command);
    if (command == F_SETFL || command == F_GETFL || is_async)
        socket = interpose_socket(fd);
    if (socket != NULL && command == F_GETOWN) {
        int owner = socket_async_owner(socket);
        file_put(&socket->file);
        return owner; /* negative: a group */
    }
    if (socket != NULL && is_async)
        return interpose_end_int(socket, socket_async_control(socket, fd, command, argument));
    if (socket == NULL)
        return REAL(fcntl64) != NULL ? REAL(fcntl64)(fd, command, argument)
                                     : REAL(fcntl)(fd, command, argument);
    return interpose_end_int(socket, command == F_SETFL ? set_flags(socket, fd, (long)argument)
                                                        : get_flags(socket, fd));
}

PNO_EXPORT int fcntl(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return descriptor_control(fd, command, argument);
}

PNO_EXPORT int fcntl64(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return descriptor_control(fd, command, argument);
}

/* ---- ioctl --------------------------------------------------------------------------------- */

static int set_nonblocking(struct socket *socket, int fd, const int *on)
{
    int flags = get_flags(socket, fd);
    if (flags < 0)
        return flags;
    return set_flags(socket, fd, *on != 0 ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

static int set_async(struct socket *socket, int fd, const int *on)
{
    int flags = get_flags(socket, fd);
    if (flags < 0)
        return flags;
    return set_flags(socket, fd, *on != 0 ? flags | O_ASYNC : flags & ~O_ASYNC);
}

/* @return 1: not one of ours. */
static int socket_control(struct socket *socket, int fd, unsigned long request, int *argument)
{
    bool sets_flag = request == FIONBIO || request == FIOASYNC;
    if (sets_flag && user_memory_unreadable(argument, sizeof(*argument)))
        return -EFAULT;
    if (request == FIONBIO)
        return set_nonblocking(socket, fd, argument);
    if (request == FIOASYNC)
        return set_async(socket, fd, argument);
    if (request == FIOSETOWN || request == SIOCSPGRP)
        return socket_async_set_owner(socket, fd, argument);
    if (request == FIOGETOWN || request == SIOCGPGRP)
        return socket_async_get_owner(socket, fd, argument);
    if (!socket_is_offloaded(socket))
        return 1;
    bool listening = socket->state == SOCKET_LISTENING;
    bool is_ours = request == FIONREAD || request == SIOCOUTQ || request == SIOCOUTQNSD ||
                   request == SIOCATMARK;
    if (is_ours && user_memory_unwritable(argument, sizeof(*argument)))
        return -EFAULT;
    switch (request) {
    case FIONREAD:
        if (listening)
            return -EINVAL;
        *argument = socket_unread_bytes(socket);
        return 0;
    case SIOCOUTQ:
    case SIOCOUTQNSD:
        if (listening)
            return -EINVAL;
        *argument = socket_unacknowledged_bytes(socket);
        return 0;
    case SIOCATMARK:
        *argument = socket_is_at_mark(socket);
        return 0;
    default:
        return 1;
    }
}

PNO_EXPORT int ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    struct socket *socket = interpose_socket(fd);
    if (socket == NULL)
        return REAL(ioctl)(fd, request, argument);
    int result = socket_control(socket, fd, request, argument);
    if (result <= 0)
        return interpose_end_int(socket, result);
    file_put(&socket->file);
    return REAL(ioctl)(fd, request, argument);
}
