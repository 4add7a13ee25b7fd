/**
 * @file sockets.h
 * System calls on sockets, inside: what sockets.c (descriptors, opening, closing, readiness) and
 * socket_data.c (transfer, options) share.
 */
#ifndef PNO_PACKET_SCRIPTS_SOCKETS_H
#define PNO_PACKET_SCRIPTS_SOCKETS_H

#include "machine.h"

/** What became of one try of a call. */
struct call_state {
    bool blocks;          /**< it would sleep */
    bool known;           /**< all names in its arguments are known */
    const char *cannot;   /**< what of it can't be run */
    const char *mismatch; /**< what it gave back that the script did not expect */
    uint64_t started_ns;
};

int64_t argument(const struct system_call *call, unsigned index, struct call_state *state);
int64_t call_cannot(struct call_state *state, const char *what);
/** -EAGAIN for a non-blocking socket or call, else it sleeps. */
int64_t call_would_block(const struct machine_socket *socket, struct call_state *state,
                         int64_t flags);
bool call_timed_out(const struct machine *machine, const struct call_state *state,
                    int64_t timeout_ms);

struct machine_socket *socket_by_fd(struct machine *machine, int64_t fd);
/** The pending error, negative, and it is no longer pending. */
int64_t socket_take_error(struct machine_socket *socket);
int64_t socket_readable_bytes(const struct machine_socket *socket);
bool socket_has_write_space(const struct machine_socket *socket);
uint32_t socket_ready(struct machine_socket *socket);

int64_t socket_transfer(struct machine *machine, struct machine_socket *socket,
                        const struct system_call *call, struct call_state *state);
int64_t socket_set_option(struct machine *machine, struct machine_socket *socket,
                          const struct system_call *call, struct call_state *state);
int64_t socket_get_option(struct machine *machine, struct machine_socket *socket,
                          const struct system_call *call, struct call_state *state);
int64_t socket_ioctl(struct machine *machine, struct machine_socket *socket,
                     const struct system_call *call, struct call_state *state);

#endif
