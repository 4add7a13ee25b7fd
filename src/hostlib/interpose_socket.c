/* Sockets: making, naming, opening, ending, options. */
#include "hostlib/epoll.h"
#include "hostlib/interpose.h"
#include "hostlib/notes.h"
#include "hostlib/user_memory.h"

static bool is_tcp(int domain, int type, int protocol)
{
    return (domain == AF_INET || domain == AF_INET6) &&
           (type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) == SOCK_STREAM &&
           (protocol == 0 || protocol == IPPROTO_TCP);
}

PNO_EXPORT int socket(int domain, int type, int protocol)
{
    int fd = REAL(socket)(domain, type, protocol);
    if (fd < 0)
        return fd;
    /* Whatever was known of this number is gone (closed behind our back). */
    fd_set_file(fd, NULL);
    notes_forget(fd);
    if (!is_tcp(domain, type, protocol)) {
        if (domain == AF_INET || domain == AF_INET6)
            notes_set(fd, SOCKET_NOTE_UNSUPPORTED, 0);
        return fd;
    }
    struct socket *socket = socket_create(domain == AF_INET6);
    if (socket == NULL)
        return fd;
    atomic_store_explicit(&socket->nonblocking, (type & SOCK_NONBLOCK) != 0, memory_order_relaxed);
    if (!fd_set_file(fd, &socket->file))
        file_put(&socket->file);
    else
        interpose_standard_stream(fd);
    return fd;
}

PNO_EXPORT int bind(int fd, const struct sockaddr *address, socklen_t length)
{
    struct socket *socket = interpose_socket(fd);
    if (socket == NULL)
        return REAL(bind)(fd, address, length);
    int result = socket_bind(socket, fd, address, length);
    epoll_socket_moved(socket);
    return interpose_end_int(socket, result);
}

PNO_EXPORT int listen(int fd, int backlog)
{
    struct socket *socket = interpose_socket(fd);
    if (socket == NULL)
        return REAL(listen)(fd, backlog);
    int result = socket_listen(socket, fd, backlog);
    epoll_socket_moved(socket);
    return interpose_end_int(socket, result);
}

/* By the kernel. */
static int accepted(int listener, int fd)
{
    notes_inherit(fd, listener);
    return fd;
}

static int accept_engines(struct socket *listener, int fd, struct sockaddr *address,
                          socklen_t *length, int flags)
{
    int accepted_fd = socket_accept(listener, fd, address, length, flags);
    if (accepted_fd >= 0)
        interpose_standard_stream(accepted_fd);
    return interpose_end_int(listener, accepted_fd);
}

PNO_EXPORT int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    struct socket *socket = interpose_cancellable(fd);
    if (socket == NULL)
        return accepted(fd, REAL(accept4)(fd, address, length, flags));
    return accept_engines(socket, fd, address, length, flags);
}

PNO_EXPORT int accept(int fd, struct sockaddr *address, socklen_t *length)
{
    struct socket *socket = interpose_cancellable(fd);
    if (socket == NULL)
        return accepted(fd, REAL(accept)(fd, address, length));
    return accept_engines(socket, fd, address, length, 0);
}

PNO_EXPORT int connect(int fd, const struct sockaddr *address, socklen_t length)
{
    if (fd_peek(fd) != NULL)
        pthread_testcancel();
    struct socket *socket = interpose_socket(fd);
    if (socket == NULL)
        return REAL(connect)(fd, address, length);
    int result = socket_connect(socket, fd, address, length);
    epoll_socket_moved(socket);
    return interpose_end_int(socket, result);
}

PNO_EXPORT int shutdown(int fd, int how)
{
    struct socket *socket = interpose_socket(fd);
    if (socket == NULL)
        return REAL(shutdown)(fd, how);
    if (!socket_is_offloaded(socket))
        (void)REAL(shutdown)(fd, how);
    bool may_move = socket->state != SOCKET_CONNECTED;
    int result = socket_shutdown(socket, fd, how);
    if (may_move)
        epoll_socket_moved(socket);
    return interpose_end_int(socket, result);
}

PNO_EXPORT int getsockname(int fd, struct sockaddr *address, socklen_t *length)
{
    struct socket *socket = interpose_socket(fd);
    /* After a connection that is no more, Linux still tells its port. */
    if (socket != NULL && !socket_is_offloaded(socket) && socket->local.port == 0) {
        file_put(&socket->file);
        socket = NULL;
    }
    if (socket == NULL)
        return REAL(getsockname)(fd, address, length);
    return interpose_end_int(socket, socket_getsockname(socket, address, length));
}

PNO_EXPORT int getpeername(int fd, struct sockaddr *address, socklen_t *length)
{
    struct socket *socket = interpose_offloaded(fd);
    if (socket == NULL)
        return REAL(getpeername)(fd, address, length);
    return interpose_end_int(socket, socket_getpeername(socket, address, length));
}

PNO_EXPORT int setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    struct socket *socket = interpose_socket(fd);
    if (socket == NULL)
        return REAL(setsockopt)(fd, level, name, value, length);
    bool was_kernels = socket->state == SOCKET_KERNEL;
    int result = socket_setsockopt(socket, fd, level, name, value, length);
    if (socket->state == SOCKET_KERNEL && !was_kernels)
        epoll_socket_moved(socket);
    return interpose_end_int(socket, result);
}

PNO_EXPORT int getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
    struct socket *socket = interpose_socket(fd);
    if (socket != NULL && !socket_is_offloaded(socket)) {
        if (level == SOL_SOCKET && name == SO_ERROR && socket_has_readiness(socket) &&
            !user_memory_unwritable(length, sizeof(*length)))
            return interpose_end_int(socket, socket_get_error(socket, value, length));
        file_put(&socket->file);
        socket = NULL;
    }
    if (socket == NULL)
        return REAL(getsockopt)(fd, level, name, value, length);
    return interpose_end_int(socket, socket_getsockopt(socket, fd, level, name, value, length));
}

PNO_EXPORT int sockatmark(int fd)
{
    struct socket *socket = interpose_offloaded(fd);
    if (socket == NULL)
        return REAL(sockatmark)(fd);
    return interpose_end_int(socket, socket_is_at_mark(socket));
}
