/**
 * @file socket_extra.h
 * What few sockets need: made on demand, so that the others are small. Guarded by the socket's
 * lock.
 */
#ifndef PNO_HOSTLIB_SOCKET_EXTRA_H
#define PNO_HOSTLIB_SOCKET_EXTRA_H

#include <signal.h>

#include "hostlib/socket.h"
#include "hostlib/socket_async.h"
#include "hostlib/socket_control.h"
#include "hostlib/socket_stamps.h"

struct socket_extra {
    struct socket_bound *bound; /**< NULL: as if all of it were zero */
    struct socket_async async;
    struct socket_error_queue errors;
    struct socket_stamps stamps;
    uint64_t urgent_offset; /**< stream offset after the urgent byte, 0: none */
    uint32_t syn_room;      /**< while the SYN is held: bytes that it takes */
    int soft_error;         /**< what ICMP said meanwhile, for SO_ERROR: positive errno */
    bool urgent_taken;      /**< that byte was read by MSG_OOB */
    bool peeks_onward;      /**< SO_PEEK_OFF was set: */
    int32_t peek_offset;    /**< ... where the next MSG_PEEK begins, from the next byte to read on;
                                 negative: as if it were not set */
};

/** The socket's, made if need be. @return NULL: no memory. */
struct socket_extra *socket_extra_get(struct socket *socket);

void socket_extra_free(struct socket *socket);

/** The socket's part for bind() and listen(), made if need be. Lock not held.
    @return NULL: no memory. */
struct socket_bound *socket_get_bound(struct socket *socket);

/** What bind() and listen() made of it; NULL: as if all of it were zero. */
static inline struct socket_bound *socket_bound_of(const struct socket *socket)
{
    return socket->extra != NULL ? socket->extra->bound : NULL;
}

/** Listening, with connections that nobody has accepted. */
static inline bool socket_has_pending(const struct socket *socket)
{
    const struct socket_bound *bound = socket_bound_of(socket);
    return bound != NULL && __atomic_load_n(&bound->accept_first, __ATOMIC_RELAXED) != NULL;
}

/** The stream offset after the urgent byte; 0: there is none. */
static inline uint64_t socket_urgent_offset(const struct socket *socket)
{
    return socket->extra != NULL ? socket->extra->urgent_offset : 0;
}

/** An event that may be worth a SIGIO. Socket lock held. */
static inline void socket_async_event(struct socket *socket, enum socket_wake wake, int reason)
{
    if (__builtin_expect(socket->extra != NULL, 0))
        socket_async_signal(socket, wake, reason);
}

#endif
