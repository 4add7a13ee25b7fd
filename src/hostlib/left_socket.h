/**
 * @file left_socket.h
 * A socket as one process describes it to another that goes on with it: the next program across
 * exec() (handover.h), or whoever is sent its descriptor (passing.h).
 */
#ifndef PNO_HOSTLIB_LEFT_SOCKET_H
#define PNO_HOSTLIB_LEFT_SOCKET_H

#include "hostlib/socket.h"

/** What a socket is made of that neither the engine nor its shared block knows. */
struct left_socket {
    uint8_t state; /**< enum socket_state */
    bool has_slot, nonblocking, is_v6, is_accepted, also_kernel, peer_fin, connect_reported;
    bool had_connection, shut_early, shut_early_send;
    uint8_t core;
    int error;
    int32_t backlog;
    struct link_socket_name name;
    uint32_t send_limit;
    uint64_t urgent_offset;
    uint64_t end_offset; /**< bytes received so far */
    uint32_t readiness;
    struct ip_endpoint local, remote;
    struct socket_options options;
};

void left_socket_describe(const struct socket *socket, struct left_socket *left);

/**
 * The same socket in this process, with one reference. The engine tells it again what has not been
 * read, so no event may be applied before this.
 * @return NULL: no memory, or the description is wrong.
 */
struct socket *left_socket_revive(const struct left_socket *left, struct engine_link *link);

#endif
