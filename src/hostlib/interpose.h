/**
 * @file interpose.h
 * What the definitions that replace libc's share: finding the object behind a descriptor, and
 * turning our negative errno into libc's convention.
 */
#ifndef PNO_HOSTLIB_INTERPOSE_H
#define PNO_HOSTLIB_INTERPOSE_H

#include <errno.h>
#include <pthread.h>
#include <stdint.h>

#include "hostlib/fd_table.h"
#include "hostlib/loadable.h"
#include "hostlib/real.h"
#include "hostlib/socket.h"

/* libc has these, but declares them nowhere or where fortified programs look alone. */
ssize_t __read_chk(int fd, void *buffer, size_t count, size_t buffer_length);
ssize_t __recv_chk(int fd, void *buffer, size_t count, size_t buffer_length, int flags);
ssize_t __recvfrom_chk(int fd, void *buffer, size_t count, size_t buffer_length, int flags,
                       struct sockaddr *address, socklen_t *length);
int __vasprintf_chk(char **text, int flag, const char *format, va_list arguments);
int __dprintf_chk(int fd, int flag, const char *format, ...);
int __vdprintf_chk(int fd, int flag, const char *format, va_list arguments);
FILE *_IO_fdopen(int fd, const char *mode);
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t fds_bytes);
int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                const sigset_t *mask, size_t fds_bytes);

/** A socket has come to descriptor fd: if that is 0, 1 or 2, libc's stream of that number must use
    our calls. */
void interpose_standard_stream(int fd);

/** What fork() has to hold and its child to reset. */
struct lock *dlopen_fork_lock(void);

/** What the program `file`, searched for along PATH or not, would do with this library. */
enum loadable interpose_loadable(const char *file, bool searches);

/** Linux's import_iovec(). @return 0; -EINVAL, -EFAULT. */
int interpose_check_vector(const struct iovec *vector, size_t count);

/** recvmsg() and sendmsg() on an offloaded socket. @return bytes, or negative errno. */
ssize_t interpose_receive_message(struct socket *socket, struct msghdr *message, int flags);
ssize_t interpose_send_message(struct socket *socket, const struct msghdr *message, int flags);

/** A system call's, as the kernel takes them: six registers. */
struct interpose_arguments {
    long a, b, c, d, e, f;
};

/** As syscall(). */
long interpose_call(long number, const struct interpose_arguments *arguments);

/** The numbers that interpose_call() does not just leave to the kernel; INTERPOSE_NUMBER_END ends
    the list. Without clone() and vfork(), which may return on another stack, or twice on this. */
extern const uint16_t interpose_numbers[];

/** Beyond all of them. */
#define INTERPOSE_NUMBER_END 448

/** The TCP socket behind fd whoever serves it, with a reference to give back; NULL: none of ours.
    A socket found to be the kernel's for good is forgotten here. */
static inline struct socket *interpose_socket(int fd)
{
    struct file *file = fd_get(fd);
    if (__builtin_expect(file == NULL, 1))
        return NULL;
    struct socket *socket = (struct socket *)file;
    if (file->kind == FILE_SOCKET && socket->state != SOCKET_KERNEL)
        return socket;
    if (file->kind == FILE_SOCKET)
        fd_clear_if(fd, file);
    file_put(file);
    return NULL;
}

/** As above, but only if the engine serves it. */
static inline struct socket *interpose_offloaded(int fd)
{
    struct socket *socket = interpose_socket(fd);
    if (__builtin_expect(socket == NULL, 1) || socket_is_offloaded(socket))
        return socket;
    file_put(&socket->file);
    return NULL;
}

/** As interpose_offloaded(), or it has had a connection. */
static inline struct socket *interpose_stream(int fd)
{
    struct socket *socket = interpose_socket(fd);
    if (__builtin_expect(socket == NULL, 1) || socket_has_readiness(socket))
        return socket;
    file_put(&socket->file);
    return NULL;
}

/** As interpose_stream(), for calls that are cancellation points whether they block or not. */
static inline struct socket *interpose_cancellable(int fd)
{
    if (__builtin_expect(fd_peek(fd) != NULL, 0))
        pthread_testcancel();
    return interpose_stream(fd);
}

/** End a call on `socket`: give back the reference, set errno. */
static inline ssize_t interpose_end(struct socket *socket, ssize_t result)
{
    file_put(&socket->file);
    if (result >= 0)
        return result;
    errno = (int)-result;
    return -1;
}

static inline int interpose_end_int(struct socket *socket, int result)
{
    return (int)interpose_end(socket, result);
}

#endif
