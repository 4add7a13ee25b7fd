/**
 * @file ports.h
 * Who may use which local port: Linux's rules for bind() (inet_csk_bind_conflict) and the choice of
 * ephemeral ports (RFC 6056). Internal to the stack.
 */
#ifndef PNO_CORE_PORTS_H
#define PNO_CORE_PORTS_H

#include "core/stack_state.h"

/** Families that a bound address receives. */
struct port_scope {
    bool v4, v6;
};

struct port_scope port_scope_of(const struct ip_address *address, bool is_ipv6, bool v6only);

/** Could one segment be meant for both? */
bool port_scopes_intersect(const struct ip_address *a, struct port_scope a_scope,
                           const struct ip_address *b, struct port_scope b_scope);

size_t port_bind_bytes(void);

bool listener_table_conflicts(const struct stack *stack, const struct ip_endpoint *local,
                              struct port_scope scope, bool reuse_port);

#endif
