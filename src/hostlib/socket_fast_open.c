/* Fast open (RFC 7413) by the calls. Source: Linux net/ipv4/tcp.c, tcp_sendmsg_fastopen(). */
#include <errno.h>
#include <stdlib.h>

#include "hostlib/real.h"
#include "hostlib/socket.h"
#include "hostlib/user_memory.h"

static size_t total(const struct iovec *vector, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += vector[i].iov_len;
    return bytes;
}

/* The rest of a write of which the SYN took some. */
static ssize_t send_rest(struct socket *socket, const struct iovec *vector, size_t count, int flags,
                         size_t taken)
{
    struct iovec *rest = malloc(count * sizeof(*rest));
    if (rest == NULL)
        return (ssize_t)taken;
    size_t skip = taken, used = 0;
    for (size_t i = 0; i < count; i++) {
        size_t part = skip < vector[i].iov_len ? skip : vector[i].iov_len;
        skip -= part;
        rest[used].iov_base = (char *)vector[i].iov_base + part;
        rest[used].iov_len = vector[i].iov_len - part;
        used += rest[used].iov_len > 0;
    }
    ssize_t sent = used > 0 ? socket_send(socket, rest, used, flags) : 0;
    free(rest);
    return sent < 0 ? (ssize_t)taken : (ssize_t)taken + sent;
}

/* Open, as far as to a held SYN. @return as socket_connect_fast(). */
static int open_fast(struct socket *socket, int fd, const struct sockaddr *address,
                     socklen_t length, bool more)
{
    if (address == NULL || length < sizeof(address->sa_family))
        return -EINVAL;
    if (user_memory_unreadable(address, sizeof(address->sa_family)))
        return -EFAULT;
    if (address->sa_family == AF_UNSPEC)
        return -EOPNOTSUPP;
    return socket_connect_fast(socket, fd, address, length, more);
}

ssize_t socket_send_fast(struct socket *socket, int fd, const struct iovec *vector, size_t count,
                         int flags, const struct sockaddr *address, socklen_t length, bool *kernel)
{
    bool nonblocking = (flags & MSG_DONTWAIT) != 0 ||
                       atomic_load_explicit(&socket->nonblocking, memory_order_relaxed);
    bool fresh = socket->state < SOCKET_LISTENING;
    bool opens = fresh || socket->syn_held;
    size_t wanted = total(vector, count);
    ssize_t taken = 0;
    *kernel = false;
    if (socket->state == SOCKET_LISTENING)
        return -EISCONN;
    if (fresh) {
        int result = open_fast(socket, fd, address, length, !nonblocking && wanted > 0);
        *kernel = result > 0;
        if (result != 0)
            return *kernel ? 0 : result;
    }
    if (socket->syn_held) {
        taken = socket_send_syn(socket, vector, count, !nonblocking);
        if (taken < 0)
            return taken;
    }
    /* Linux never knows the outcome before it returns from an attempt that may not wait. */
    if (opens && nonblocking)
        return taken > 0 ? taken : -EINPROGRESS;
    if (socket->state == SOCKET_CONNECTING && nonblocking)
        return -EALREADY;
    if (!opens && socket->state == SOCKET_CONNECTED &&
        (socket->connect_reported || socket->is_accepted))
        return -EISCONN;
    if (socket->state == SOCKET_CONNECTING || !socket->connect_reported) {
        int result = socket_connect_outcome(socket, -EALREADY, false);
        if (result < 0)
            return result;
    }
    return send_rest(socket, vector, count, flags & ~MSG_FASTOPEN, (size_t)taken);
}
