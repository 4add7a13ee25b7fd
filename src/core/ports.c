#include "core/ports.h"

#include <errno.h>

#include "base/assert.h"
#include "core/ip/routes.h"

/** One bound socket's hold on a port. */
struct port_bind {
    struct port_bind *next;
    struct ip_address address;
    bool is_ipv6, v6only, reuse_address, reuse_port;
};

size_t port_bind_bytes(void)
{
    return sizeof(struct port_bind);
}

struct port_scope port_scope_of(const struct ip_address *address, bool is_ipv6, bool v6only)
{
    bool address_is_v4 = ip_address_is_v4(address);
    if (!ip_address_is_any(address))
        return (struct port_scope){.v4 = address_is_v4, .v6 = !address_is_v4};
    if (!is_ipv6 || address_is_v4)
        return (struct port_scope){.v4 = true};
    return (struct port_scope){.v4 = !v6only, .v6 = true};
}

bool port_scopes_intersect(const struct ip_address *a, struct port_scope a_scope,
                           const struct ip_address *b, struct port_scope b_scope)
{
    if (!(a_scope.v4 && b_scope.v4) && !(a_scope.v6 && b_scope.v6))
        return false;
    return ip_address_is_any(a) || ip_address_is_any(b) || ip_address_equal(a, b);
}

/* ---- Connections -------------------------------------------------------------------------- */

static struct tcp_links *port_neighbour(const struct stack *stack, uint32_t reference)
{
    return connection_links(stack, connection_referred(stack, reference));
}

void ports_connection_enter(struct stack *stack, struct tcp_connection *connection)
{
    struct tcp_links *links = connection_links(stack, connection);
    const struct tcp_flow *flow = connection_flow(stack, connection);
    struct port_slot *slot = &stack->ports[flow->local_port];

    /* Inherited from the socket that was bound: the listener, or its own. */
    links->reuse_address = false;
    links->reuse_port = false;
    for (const struct port_bind *bind = slot->binds; bind != NULL; bind = bind->next) {
        if (!ip_address_is_any(&bind->address) && !ip_address_equal(&bind->address, &flow->local))
            continue;
        links->reuse_address = links->reuse_address || bind->reuse_address;
        links->reuse_port = links->reuse_port || bind->reuse_port;
    }

    uint32_t reference = connection_reference(stack, connection);
    links->port_next = slot->connections;
    links->port_previous = 0;
    if (links->port_next != 0)
        port_neighbour(stack, links->port_next)->port_previous = reference;
    slot->connections = reference;
}

void ports_connection_leave(struct stack *stack, struct tcp_connection *connection)
{
    struct tcp_links *links = connection_links(stack, connection);
    if (links->port_previous != 0)
        port_neighbour(stack, links->port_previous)->port_next = links->port_next;
    else
        stack->ports[connection_flow(stack, connection)->local_port].connections = links->port_next;
    if (links->port_next != 0)
        port_neighbour(stack, links->port_next)->port_previous = links->port_previous;
    links->port_next = links->port_previous = 0;
}

/* ---- Bound sockets ------------------------------------------------------------------------ */

/** inet_csk_bind_conflict(): everyone on the port whose address intersects must agree to share. */
static bool bind_conflicts(struct stack *stack, const struct ip_endpoint *local,
                           struct port_scope scope, bool reuse_address, bool reuse_port)
{
    const struct port_slot *slot = &stack->ports[local->port];

    for (const struct port_bind *other = slot->binds; other != NULL; other = other->next) {
        if ((reuse_address && other->reuse_address) || (reuse_port && other->reuse_port))
            continue;
        struct port_scope theirs = port_scope_of(&other->address, other->is_ipv6, other->v6only);
        if (port_scopes_intersect(&local->address, scope, &other->address, theirs))
            return true;
    }
    const struct tcp_links *links;
    for (uint32_t other = slot->connections; other != 0; other = links->port_next) {
        struct tcp_connection *connection = connection_referred(stack, other);
        links = connection_links(stack, connection);
        if ((reuse_address && links->reuse_address) || (reuse_port && links->reuse_port))
            continue;
        const struct ip_address *address = &connection_flow(stack, connection)->local;
        bool is_v4 = ip_address_is_v4(address);
        struct port_scope theirs = {.v4 = is_v4, .v6 = !is_v4};
        if (port_scopes_intersect(&local->address, scope, address, theirs))
            return true;
    }
    return listener_table_conflicts(stack, local, scope, reuse_port);
}

static struct port_bind *bind_alloc(struct stack *stack)
{
    struct port_bind *bind = stack->binds_free;
    if (bind != NULL)
        stack->binds_free = bind->next;
    else if (stack->binds_fresh < stack->binds_max)
        bind = &stack->binds[stack->binds_fresh++];
    return bind;
}

/** Narrow the stack's range of ports. */
static uint32_t ports_to_choose_from(const struct stack *stack, struct port_range ports,
                                     uint32_t *first)
{
    uint32_t last = stack->config.local_port_last;
    *first = stack->config.local_port_first;
    bool has_first = ports.first >= *first && ports.first <= last;
    bool has_last = ports.last >= *first && ports.last <= last;
    if (has_first && !(has_last && ports.first > ports.last))
        *first = ports.first;
    if (has_last && ports.last >= *first)
        last = ports.last;
    return last - *first + 1;
}

/** A random free port for bind() to port 0. @return 0 when there is none. */
static uint16_t bind_choose_port(struct stack *stack, const struct ip_endpoint *local,
                                 struct port_range ports, struct port_scope scope)
{
    uint32_t first;
    uint32_t count = ports_to_choose_from(stack, ports, &first);
    uint32_t start = stack_random(stack) % count;
    for (uint32_t i = 0; i < count; i++) {
        struct ip_endpoint candidate = *local;
        candidate.port = (uint16_t)(first + (start + i) % count);
        /* Whoever asks for any port does not get a shared one (inet_csk_find_open_port). */
        if (!bind_conflicts(stack, &candidate, scope, false, false))
            return candidate.port;
    }
    return 0;
}

bool stack_may_bind(const struct stack *stack, const struct ip_address *address)
{
    return route_can_bind(stack, address);
}

int stack_port_bind(struct stack *stack, struct ip_endpoint *local, struct port_range ports,
                    bool is_ipv6, bool v6only, bool reuse_address, bool reuse_port)
{
    struct port_scope scope = port_scope_of(&local->address, is_ipv6, v6only);
    uint16_t port = local->port;

    if (!route_can_bind(stack, &local->address))
        return -EADDRNOTAVAIL;
    if (port == 0) {
        port = bind_choose_port(stack, local, ports, scope);
        if (port == 0)
            return -EADDRINUSE;
    } else if (bind_conflicts(stack, local, scope, reuse_address, reuse_port)) {
        return -EADDRINUSE;
    }

    struct port_bind *bind = bind_alloc(stack);
    if (bind == NULL)
        return -EADDRINUSE;
    local->port = port;
    *bind = (struct port_bind){.next = stack->ports[port].binds,
                               .address = local->address,
                               .is_ipv6 = is_ipv6,
                               .v6only = v6only,
                               .reuse_address = reuse_address,
                               .reuse_port = reuse_port};
    stack->ports[port].binds = bind;
    return 0;
}

void stack_port_release(struct stack *stack, const struct ip_endpoint *local, bool is_ipv6,
                        bool v6only)
{
    struct port_bind **link = &stack->ports[local->port].binds;
    for (; *link != NULL; link = &(*link)->next) {
        struct port_bind *bind = *link;
        if (bind->is_ipv6 != is_ipv6 || bind->v6only != v6only ||
            !ip_address_equal(&bind->address, &local->address))
            continue;
        *link = bind->next;
        bind->next = stack->binds_free;
        stack->binds_free = bind;
        return;
    }
}

/* ---- Ephemeral ports ---------------------------------------------------------------------- */

static bool flow_is_on_our_core(const struct stack *stack, const struct tcp_flow *flow)
{
    if (stack->config.core_count <= 1)
        return true;
    struct ip_endpoint local = {flow->local, flow->local_port};
    struct ip_endpoint remote = {flow->remote, flow->remote_port};
    return rss_flow_core(&stack->table_key, &local, &remote, stack->config.core_count) ==
           stack->config.core_index;
}

/** A keyed hash of the destination; the latest is remembered, as clients come back to it. */
static uint32_t port_offset(struct stack *stack, const struct tcp_flow *flow)
{
    struct port_choice *latest = &stack->latest_port;
    if (!latest->is_valid || latest->remote_port != flow->remote_port ||
        !ip_address_equal(&latest->remote, &flow->remote) ||
        !ip_address_equal(&latest->local, &flow->local)) {
        struct tcp_flow hashed = *flow;
        hashed.local_port = 0;
        *latest = (struct port_choice){
            .local = flow->local,
            .remote = flow->remote,
            .remote_port = flow->remote_port,
            .is_valid = true,
            .offset = (uint32_t)stack_flow_hash(stack, &hashed, FLOW_HASH_PORT),
        };
    }
    return latest->offset;
}

/** RFC 6056 §3.3.3, algorithm 3: an offset by a keyed hash of the destination, and a counter. */
static int choose_ephemeral(struct stack *stack, struct tcp_flow *flow, struct port_range ports)
{
    uint32_t first;
    uint32_t count = ports_to_choose_from(stack, ports, &first);
    uint32_t offset = port_offset(stack, flow);
    for (uint32_t i = 0; i < count; i++) {
        flow->local_port = (uint16_t)(first + (offset + stack->port_counter++) % count);
        /* Ports that someone bound by name are theirs (tb->fastreuse >= 0 in Linux). */
        struct ip_endpoint local = {flow->local, flow->local_port};
        bool is_v4 = ip_address_is_v4(&flow->local);
        struct port_scope scope = {.v4 = is_v4, .v6 = !is_v4};
        if (stack->ports[flow->local_port].binds != NULL ||
            listener_table_conflicts(stack, &local, scope, false) ||
            !flow_is_on_our_core(stack, flow) || stack_flow_find(stack, flow) != NULL)
            continue;
        return 0;
    }
    flow->local_port = 0;
    return -EADDRNOTAVAIL;
}

/** route_choose_source(), which takes long, of the destination before: routes do not change. */
static int choose_source(struct stack *stack, struct tcp_flow *flow)
{
    struct source_choice *latest = &stack->latest_source;
    if (!ip_address_is_any(&flow->local))
        return route_choose_source(stack, &flow->remote, &flow->local);
    if (!latest->is_valid || !ip_address_equal(&latest->destination, &flow->remote)) {
        int error = route_choose_source(stack, &flow->remote, &flow->local);
        if (error != 0)
            return error;
        *latest = (struct source_choice){flow->remote, flow->local, true};
    }
    flow->local = latest->source;
    return 0;
}

int stack_flow_choose_local(struct stack *stack, struct tcp_flow *flow, struct port_range ports,
                            bool reuse_address)
{
    (void)reuse_address; /* the port's holder agreed at bind; here only the 4-tuple counts */
    bool local_given = !ip_address_is_any(&flow->local);
    if (local_given && !route_can_bind(stack, &flow->local))
        return -EADDRNOTAVAIL;
    int error = choose_source(stack, flow);
    if (error != 0)
        return error;
    if (flow->local_port == 0)
        return choose_ephemeral(stack, flow, ports);
    return stack_flow_find(stack, flow) != NULL ? -EADDRNOTAVAIL : 0;
}

void ports_check(struct stack *stack)
{
    for (uint32_t i = 0; i < stack->connections_fresh; i++) {
        struct tcp_connection *connection = connection_at(stack, i);
        const struct tcp_links *links = connection_links(stack, connection);
        if (!links->in_flow_table) {
            PNO_ASSERT(links->port_next == 0 && links->port_previous == 0);
            continue;
        }
        uint32_t before = links->port_previous;
        PNO_ASSERT(
            (before != 0
                 ? port_neighbour(stack, before)->port_next
                 : stack->ports[connection_flow(stack, connection)->local_port].connections) ==
            connection_reference(stack, connection));
    }
}
