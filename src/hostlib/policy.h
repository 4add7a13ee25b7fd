/**
 * @file policy.h
 * Which sockets are the engine's: decided by addresses, once, at bind or connect. Not a firewall,
 * and nothing here looks at a socket.
 */
#ifndef PNO_HOSTLIB_POLICY_H
#define PNO_HOSTLIB_POLICY_H

#include <stdbool.h>

#include "base/ip_address.h"
#include "hostlib/engine_link.h"

/** Read PNO_LOOPBACK, PNO_SPIN_US and PNO_LOG; once, at start. */
void policy_init(void);

/** Whether loopback addresses are the engine's too (PNO_LOOPBACK=1). */
bool policy_offloads_loopback(void);

/** How long a thread may look at the rings before it sleeps: PNO_SPIN_US, by default not at all,
    since here host CPU is what is to be saved. */
uint64_t policy_spin_ns(void);

/** Whether an address to bind to is one of the engine's own. */
bool policy_is_local(const struct engine_link *link, const struct ip_address *address);

/** Whether the kernel serves this destination whatever the engine has. */
bool policy_is_kernels(const struct ip_address *remote);

/** Whether the engine can reach a destination: on its links, or by its gateway. */
bool policy_is_reachable(const struct engine_link *link, const struct ip_address *remote);

#endif
