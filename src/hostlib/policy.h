/**
 * @file policy.h
 * Which sockets are the engine's: decided by calls, addresses and rules, once, when a socket gets
 * its first address. Not a firewall, and nothing here looks at a socket.
 *
 * In this order: addresses that the kernel serves whatever is said (loopback without
 * PNO_LOOPBACK=1, multicast); the first rule of PNO_POLICY that fits; the first of the engine's
 * that fits; else what the engine's addresses reach is offloaded. A program whose
 * own system calls can't be followed has the kernel's sockets unless PNO_POLICY says otherwise. No
 * rule makes the engine serve what it can't reach.
 */
#ifndef PNO_HOSTLIB_POLICY_H
#define PNO_HOSTLIB_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/ip_address.h"
#include "hostlink/socket_notes.h"

struct engine_link;

/** Read PNO_LOOPBACK, PNO_POLICY, PNO_SPIN_US and PNO_LOG; once, at start. */
void policy_init(void);

/** How long a thread may look at the rings before it sleeps: PNO_SPIN_US, by default not at all,
    since here host CPU is what is to be saved. */
uint64_t policy_spin_ns(void);

/** Why the kernel has a socket. */
struct policy_reason {
    enum socket_note_reason reason;
    uint32_t rule; /**< counted from 1, for a reason that is a rule */
};

/**
 * Who serves a socket that binds to `local`. Attaches to the engine if need be.
 * @return the engine's link; NULL: the kernel, and `reason` says why.
 */
struct engine_link *policy_for_bind(const struct ip_endpoint *local, struct policy_reason *reason);

/** Whether a socket bound in the engine and in the kernel may listen in the engine; likewise. */
bool policy_for_listen(const struct engine_link *link, const struct ip_endpoint *local,
                       struct policy_reason *reason);

/**
 * Who serves a connection to `remote`.
 * @param link      where the socket is bound already, or NULL.
 * @param is_bound  to an address of the engine's alone: rules have had their say.
 * @return as policy_for_bind().
 */
struct engine_link *policy_for_connect(struct engine_link *link, bool is_bound,
                                       const struct ip_endpoint *remote,
                                       struct policy_reason *reason);

/** Set once, by policy_init(). */
extern bool policy_loopback;

/** Whether loopback is offloaded: PNO_LOOPBACK=1. */
static inline bool policy_offloads_loopback(void)
{
    return policy_loopback;
}

/** Whether what goes to this address the engine turns round for a program that speaks to itself:
    with PNO_LOOPBACK=1, loopback and the engine's own addresses. */
bool policy_turns_round(const struct engine_link *link, const struct ip_address *remote);

#endif
