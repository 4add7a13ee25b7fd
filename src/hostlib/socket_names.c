/* Addresses between the application's forms and the link's. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "hostlib/socket.h"
#include "hostlib/socket_extra.h"
#include "hostlib/user_memory.h"

int socket_endpoint_parse(const struct sockaddr *address, socklen_t length, bool is_v6,
                          struct ip_endpoint *endpoint)
{
    /* An IPv6 address without its scope was once allowed: RFC 2133's shorter structure. */
    const socklen_t v6_length_min = offsetof(struct sockaddr_in6, sin6_scope_id);
    if (length > sizeof(struct sockaddr_storage))
        return -EINVAL;
    if (length < sizeof(address->sa_family))
        return -EINVAL;
    struct sockaddr_storage copy;
    if (user_memory_copy_in(&copy, address, length) < 0)
        return -EFAULT;
    address = (const struct sockaddr *)&copy;
    if (is_v6) {
        struct sockaddr_in6 in6 = {0};
        if (length < v6_length_min)
            return -EINVAL;
        if (address->sa_family != AF_INET6)
            return -EAFNOSUPPORT;
        memcpy(&in6, address, length < sizeof(in6) ? length : sizeof(in6));
        endpoint->address = ip_address_from_v6(&in6.sin6_addr);
        endpoint->port = ntohs(in6.sin6_port);
        return 0;
    }
    struct sockaddr_in in;
    if (length < sizeof(in))
        return -EINVAL;
    if (address->sa_family != AF_INET)
        return -EAFNOSUPPORT;
    memcpy(&in, address, sizeof(in));
    endpoint->address = ip_address_from_v4(&in.sin_addr);
    endpoint->port = ntohs(in.sin_port);
    return 0;
}

void socket_endpoint_write(const struct ip_endpoint *endpoint, bool is_v6, struct sockaddr *address,
                           socklen_t *length)
{
    union {
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } name;
    socklen_t name_length;
    memset(&name, 0, sizeof(name));
    if (is_v6) {
        name.in6.sin6_family = AF_INET6;
        name.in6.sin6_port = htons(endpoint->port);
        memcpy(&name.in6.sin6_addr, endpoint->address.bytes, 16);
        name_length = sizeof(name.in6);
    } else {
        name.in.sin_family = AF_INET;
        name.in.sin_port = htons(endpoint->port);
        if (ip_address_is_v4(&endpoint->address))
            memcpy(&name.in.sin_addr, &endpoint->address.bytes[12], 4);
        name_length = sizeof(name.in);
    }
    memcpy(address, &name, *length < name_length ? *length : name_length);
    *length = name_length;
}

static int write_name(struct socket *socket, const struct ip_endpoint *endpoint,
                      struct sockaddr *address, socklen_t *length)
{
    if (user_memory_unwritable(length, sizeof(*length)))
        return -EFAULT;
    if ((int)*length < 0)
        return -EINVAL;
    if (*length > 0 && user_memory_unwritable(address, 1))
        return -EFAULT;
    socket_endpoint_write(endpoint, socket->is_v6, address, length);
    return 0;
}

int socket_getsockname(struct socket *socket, struct sockaddr *address, socklen_t *length)
{
    struct ip_endpoint name = socket->local;
    if (socket->state == SOCKET_BOUND && socket_bound_of(socket)->former_port != 0)
        name.port = socket_bound_of(socket)->former_port;
    return write_name(socket, &name, address, length);
}

int socket_getpeername(struct socket *socket, struct sockaddr *address, socklen_t *length)
{
    socket_look(socket);
    if (socket->state != SOCKET_CONNECTED || socket_is_over(socket))
        return -ENOTCONN;
    return write_name(socket, &socket->remote, address, length);
}
