/**
 * @file passing.h
 * Descriptors over Unix sockets (SCM_RIGHTS), when they are sockets of the engine's.
 *
 * What travels in place of such a descriptor is a *ticket*: one end of a control connection whose
 * process at the engine holds the socket. So the kernel keeps the books: the socket lives as long
 * as a copy of the ticket is open or under way, and a message that is discarded or cut off lets go
 * of it. In the ticket's receive buffer lies the deed, which says what the socket is; receivers
 * only ever peek at it. Who finds a ticket among the descriptors of a message redeems it: gets a
 * hold of its own on the socket, and a placeholder (or the kernel's half) at the descriptor's
 * number.
 *
 * In place of an epoll set travels a socket in whose receive buffer the set lies, with what its
 * processes share of it (epoll_shared.h). It holds no sockets: the receiver has events of those
 * that it has too, or will have.
 *
 * A receiver that is not under PnO can't do that. It is sent a kernel stream in place of a
 * connection (pump.h), of a listener the kernel's half, and of an epoll set likewise.
 */
#ifndef PNO_HOSTLIB_PASSING_H
#define PNO_HOSTLIB_PASSING_H

#include <stddef.h>
#include <sys/socket.h>

/** What a message's descriptors were replaced by, to be closed when it is sent. */
struct passing {
    struct msghdr message;
    void *control;
    int *sent;
    size_t sent_count;
    int error;
};

/**
 * Replace the engine's sockets among the descriptors of a message to be sent by `fd`.
 * @return the message to send: the given one if it passes none; NULL: it can't be sent, see
 *         passing->error (a negative errno). passing_end() in any case.
 */
const struct msghdr *passing_begin(struct passing *passing, int fd, const struct msghdr *message);
void passing_end(struct passing *passing);

/** Redeem the tickets among the descriptors that a message brought. errno stays as it is. */
void passing_received(struct msghdr *message);

#endif
