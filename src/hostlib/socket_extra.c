#include "hostlib/socket_extra.h"

#include <stdlib.h>

struct socket_extra *socket_extra_get(struct socket *socket)
{
    if (socket->extra == NULL)
        socket->extra = calloc(1, sizeof(*socket->extra));
    return socket->extra;
}

struct socket_bound *socket_get_bound(struct socket *socket)
{
    socket_lock(socket);
    struct socket_extra *extra = socket_extra_get(socket);
    if (extra != NULL && extra->bound == NULL)
        extra->bound = calloc(1, sizeof(*extra->bound));
    struct socket_bound *bound = extra != NULL ? extra->bound : NULL;
    socket_unlock(socket);
    return bound;
}

void socket_extra_free(struct socket *socket)
{
    if (socket->extra != NULL)
        free(socket->extra->bound);
    free(socket->extra);
    socket->extra = NULL;
}
