#include "hostlib/socket_extra.h"

#include <stdlib.h>

struct socket_extra *socket_extra_get(struct socket *socket)
{
    if (socket->extra == NULL)
        socket->extra = calloc(1, sizeof(*socket->extra));
    return socket->extra;
}

void socket_extra_free(struct socket *socket)
{
    free(socket->extra);
    socket->extra = NULL;
}
