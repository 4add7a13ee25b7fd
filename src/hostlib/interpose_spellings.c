/* Further names by which libc exports calls of the table. */
#include <fcntl.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hostlib/interpose.h"
#include "hostlib/process.h"

ssize_t __read(int fd, void *buffer, size_t count);
ssize_t __write(int fd, const void *buffer, size_t count);
ssize_t __send(int fd, const void *buffer, size_t count, int flags);
int __connect(int fd, const struct sockaddr *address, socklen_t length);
int __close(int fd);
int __dup2(int fd, int copy);
int __fcntl(int fd, int command, ...);
int __poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __select(int count, fd_set *read_set, fd_set *write_set, fd_set *except_set,
             struct timeval *timeout);
pid_t __vfork(void);
FILE *_IO_popen(const char *command, const char *type);

PNO_EXPORT ssize_t __read(int fd, void *buffer, size_t count)
{
    return read(fd, buffer, count);
}

PNO_EXPORT ssize_t __write(int fd, const void *buffer, size_t count)
{
    return write(fd, buffer, count);
}

PNO_EXPORT ssize_t __send(int fd, const void *buffer, size_t count, int flags)
{
    return send(fd, buffer, count, flags);
}

PNO_EXPORT int __connect(int fd, const struct sockaddr *address, socklen_t length)
{
    return connect(fd, address, length);
}

PNO_EXPORT int __close(int fd)
{
    return close(fd);
}

PNO_EXPORT int __dup2(int fd, int copy)
{
    return dup2(fd, copy);
}

PNO_EXPORT int __fcntl(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return fcntl(fd, command, argument);
}

PNO_EXPORT int __poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    return poll(fds, count, timeout_ms);
}

PNO_EXPORT int __select(int count, fd_set *read_set, fd_set *write_set, fd_set *except_set,
                        struct timeval *timeout)
{
    return select(count, read_set, write_set, except_set, timeout);
}

PNO_EXPORT pid_t __vfork(void)
{
    return process_fork_until_exec();
}

PNO_EXPORT FILE *_IO_popen(const char *command, const char *type)
{
    return popen(command, type);
}
