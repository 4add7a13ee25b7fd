/**
 * @file socket_control.h
 * What recvmsg() tells beside the bytes: TCP_INQ, and the error queue, which here holds what
 * MSG_ZEROCOPY sends have come to. Payload is always copied, within the call: so a send is over,
 * and so reported (SO_EE_CODE_ZEROCOPY_COPIED), when it returns.
 */
#ifndef PNO_HOSTLIB_SOCKET_CONTROL_H
#define PNO_HOSTLIB_SOCKET_CONTROL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct socket;

/** The error queue: consecutive reports merge, so there is at most one. */
struct socket_error_queue {
    uint32_t next;        /**< number of the next MSG_ZEROCOPY send */
    uint32_t first, last; /**< the sends that are over */
    bool waits;           /**< there is a report */
};

/** Control messages as they are put into the application's msghdr. */
struct control_room {
    char *at;
    size_t left, used;
    bool truncated;
};

/** Where the application wants control messages. */
struct control_room control_room_of(const struct msghdr *message);

/** Linux's put_cmsg(). @return 0; -EFAULT. */
int control_put(struct control_room *room, int level, int type, const void *data, size_t length);

/** A send with MSG_ZEROCOPY has returned. */
void socket_zerocopy_sent(struct socket *socket);

/** Take a report off the error queue, into the room (or nowhere, if that is NULL).
    @return 0, as no bytes belong to it; -EAGAIN: there is none. */
int socket_take_report(struct socket *socket, struct control_room *room);

/** TCP_INQ's figure: bytes that can be read, and one more for the end of the stream. */
int socket_inq(struct socket *socket);

#endif
