/*
 * Listeners by port; within a port the most specific one wins, as in Linux: a given address before
 * the wildcard, and for IPv4 an AF_INET socket's before an AF_INET6 socket's. Equals (SO_REUSEPORT)
 * share by the flow's hash.
 */
#include <errno.h>

#include "base/assert.h"
#include "core/ip/routes.h"
#include "core/ports.h"
#include "core/stack_state.h"

enum listener_match {
    MATCH_NONE,
    MATCH_WILDCARD_BY_IPV6, /**< an AF_INET6 socket takes IPv4 */
    MATCH_WILDCARD,
    MATCH_ADDRESS_BY_IPV6,
    MATCH_ADDRESS
};

static struct tcp_listener **bucket_of(const struct stack *stack, uint16_t port)
{
    return &stack->listener_buckets[port % LISTENER_BUCKETS];
}

static enum listener_match match(const struct tcp_listener_key *key,
                                 const struct ip_endpoint *destination)
{
    if (key->local.port != destination->port)
        return MATCH_NONE;
    bool is_v4 = ip_address_is_v4(&destination->address);
    bool by_ipv6 = is_v4 && key->is_ipv6;
    if (!ip_address_is_any(&key->local.address)) {
        if (!ip_address_equal(&key->local.address, &destination->address))
            return MATCH_NONE;
        return by_ipv6 ? MATCH_ADDRESS_BY_IPV6 : MATCH_ADDRESS;
    }
    struct port_scope scope = port_scope_of(&key->local.address, key->is_ipv6, key->v6only);
    if (is_v4 ? !scope.v4 : !scope.v6)
        return MATCH_NONE;
    return by_ipv6 ? MATCH_WILDCARD_BY_IPV6 : MATCH_WILDCARD;
}

/** Among several of a bucket. Apart, so that one alone does not pay for its registers. */
static __attribute__((noinline)) struct tcp_listener *
find_best(const struct stack *stack, const struct ip_endpoint *destination, uint32_t hash)
{
    struct tcp_listener *best = NULL;
    enum listener_match best_match = MATCH_NONE;
    uint32_t equals = 0;

    for (struct tcp_listener *listener = *bucket_of(stack, destination->port); listener != NULL;
         listener = *tcp_listener_hash_next(listener)) {
        enum listener_match this_match = match(tcp_listener_key(listener), destination);
        if (this_match == MATCH_NONE || this_match < best_match)
            continue;
        equals = this_match > best_match ? 1 : equals + 1;
        if (this_match > best_match)
            best = listener;
        best_match = this_match;
    }
    if (equals <= 1)
        return best;

    uint32_t wanted = (uint32_t)((uint64_t)hash * equals >> 32);
    for (struct tcp_listener *listener = best; listener != NULL;
         listener = *tcp_listener_hash_next(listener))
        if (match(tcp_listener_key(listener), destination) == best_match && wanted-- == 0)
            return listener;
    return best;
}

struct tcp_listener *listener_table_find(const struct stack *stack,
                                         const struct ip_endpoint *destination, uint32_t hash)
{
    struct tcp_listener *first = *bucket_of(stack, destination->port);
    if (first == NULL)
        return NULL;
    if (*tcp_listener_hash_next(first) != NULL)
        return find_best(stack, destination, hash);
    return match(tcp_listener_key(first), destination) != MATCH_NONE ? first : NULL;
}

struct tcp_listener *stack_listener_find(struct stack *stack, const struct tcp_flow *flow)
{
    struct ip_endpoint destination = {flow->local, flow->local_port};
    return listener_table_find(stack, &destination, flow_table_hash(stack, flow));
}

bool stack_is_heard(const struct stack *stack, const struct ip_endpoint *destination,
                    const struct ip_endpoint *source)
{
    if (listener_table_find(stack, destination, 0) != NULL)
        return true;
    return source->port == destination->port &&
           (ip_address_is_any(&source->address) ||
            ip_address_equal(&source->address, &destination->address));
}

/** Two listeners get in each other's way unless both allow it; their SO_REUSEADDR does not help. */
bool listener_table_conflicts(const struct stack *stack, const struct ip_endpoint *local,
                              struct port_scope scope, bool reuse_port)
{
    for (struct tcp_listener *other = *bucket_of(stack, local->port); other != NULL;
         other = *tcp_listener_hash_next(other)) {
        const struct tcp_listener_key *key = tcp_listener_key(other);
        if (key->local.port != local->port || (reuse_port && key->reuse_port))
            continue;
        struct port_scope theirs = port_scope_of(&key->local.address, key->is_ipv6, key->v6only);
        if (port_scopes_intersect(&local->address, scope, &key->local.address, theirs))
            return true;
    }
    return false;
}

int stack_listener_insert(struct stack *stack, struct tcp_listener *listener)
{
    const struct tcp_listener_key *key = tcp_listener_key(listener);
    struct port_scope scope = port_scope_of(&key->local.address, key->is_ipv6, key->v6only);

    if (key->local.port == 0 || !route_can_bind(stack, &key->local.address))
        return -EADDRNOTAVAIL;
    if (listener_table_conflicts(stack, &key->local, scope, key->reuse_port))
        return -EADDRINUSE;

    struct tcp_listener **bucket = bucket_of(stack, key->local.port);
    *tcp_listener_hash_next(listener) = *bucket;
    *bucket = listener;
    return 0;
}

void stack_listener_remove(struct stack *stack, struct tcp_listener *listener)
{
    struct tcp_listener **link = bucket_of(stack, tcp_listener_key(listener)->local.port);
    while (*link != NULL && *link != listener)
        link = tcp_listener_hash_next(*link);
    if (*link == NULL)
        return;
    *link = *tcp_listener_hash_next(listener);
    *tcp_listener_hash_next(listener) = NULL;
}

void listener_table_check(struct stack *stack)
{
    uint32_t count = 0;
    for (uint32_t bucket = 0; bucket < LISTENER_BUCKETS; bucket++)
        for (struct tcp_listener *listener = stack->listener_buckets[bucket]; listener != NULL;
             listener = *tcp_listener_hash_next(listener)) {
            PNO_ASSERT(tcp_listener_key(listener)->local.port % LISTENER_BUCKETS == bucket);
            PNO_ASSERT(++count <= stack->listeners_fresh);
        }
}
