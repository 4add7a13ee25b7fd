/**
 * @file socket_view.h
 * One socket of pnod's "ss" answer as text, in the manner of iproute2's ss. Formats only: asks
 * nobody, prints nothing.
 */
#ifndef PNO_CLI_SOCKET_VIEW_H
#define PNO_CLI_SOCKET_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/** ss's name of the socket's state: ESTAB, LISTEN, TIME-WAIT, ... */
const char *socket_view_state(const json_t *socket);

/** "10.77.0.1:6379", "[fd77::1]:6379", "*:*"; `side` is "local" or "remote". */
void socket_view_endpoint(const json_t *socket, const char *side, char *text, size_t size);

/** users:(("redis-server",pid=12),...), or nothing for an orphan. */
void socket_view_processes(const json_t *socket, char *text, size_t size);

/** Both endpoints, and whose it is. */
struct socket_view_names {
    char local[80], remote[80], processes[2048];
};
void socket_view_names(const json_t *socket, struct socket_view_names *names);

/** "cubic wscale:7,7 rto:201 rtt:0.1/0.03 mss:1448 cwnd:10 ..." */
void socket_view_info(const json_t *socket, char *text, size_t size);

/** A member's integer, 0 if there is none. */
json_int_t socket_view_integer(const json_t *socket, const char *member);

#endif
