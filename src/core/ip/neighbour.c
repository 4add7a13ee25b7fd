#include "core/ip/neighbour.h"

#include "base/assert.h"
#include "core/ip/arp.h"
#include "core/ip/neighbour_discovery.h"
#include "core/ip/packets.h"
#include "core/ip/routes.h"

/* RFC 4861 §10 and Linux's defaults. */
#define RETRANSMIT_NS    (1 * NS_PER_S)
#define DELAY_PROBE_NS   (5 * NS_PER_S)
#define MULTICAST_PROBES 3
#define UNICAST_PROBES   3

#define FAILED_HOLD_NS (1 * NS_PER_S)   /**< what is sent meanwhile is lost, not asked for */
#define UNUSED_NS      (600 * NS_PER_S) /**< forgotten after so long without use */
#define LOCK_NS        (1 * NS_PER_S)   /**< a MAC address just learnt is not replaced so soon */

_Static_assert((NEIGHBOURS_MAX & (NEIGHBOURS_MAX - 1)) == 0, "buckets are masked");

size_t neighbour_bytes(void)
{
    return sizeof(struct neighbour);
}

void neighbours_init(struct stack *stack)
{
    stack->neighbours.deadline_ns = TIME_NEVER;
}

static struct neighbour **bucket_of(struct stack *stack, const struct ip_address *address)
{
    uint64_t words[3] = {0}; /* the last one's upper byte does not count */
    memcpy(words, address->bytes, 16);
    return &stack->neighbours
                .buckets[siphash_1_3_words(&stack->table_key, words, 3) & (NEIGHBOURS_MAX - 1)];
}

struct neighbour *neighbour_find(struct stack *stack, const struct ip_address *address)
{
    struct neighbour *neighbour = *bucket_of(stack, address);
    while (neighbour != NULL && !ip_address_equal(&neighbour->address, address))
        neighbour = neighbour->hash_next;
    return neighbour;
}

/* ---- Entries ------------------------------------------------------------------------------ */

static void deadline_lower(struct stack *stack, uint64_t deadline_ns)
{
    if (deadline_ns < stack->neighbours.deadline_ns)
        stack->neighbours.deadline_ns = deadline_ns;
    if (deadline_ns < stack->ip_deadline_ns)
        stack->ip_deadline_ns = deadline_ns;
}

/** Settled entries have no question open; only they are forgotten. */
static bool is_settled(const struct neighbour *neighbour)
{
    return neighbour->state == NEIGHBOUR_REACHABLE || neighbour->state == NEIGHBOUR_STALE ||
           neighbour->state == NEIGHBOUR_FAILED;
}

static void forget(struct stack *stack, struct neighbour *neighbour)
{
    struct neighbour **link = bucket_of(stack, &neighbour->address);
    PNO_ASSERT(list_is_empty(&neighbour->waiting) && neighbour->packets.first == NULL);
    while (*link != neighbour)
        link = &(*link)->hash_next;
    *link = neighbour->hash_next;
    neighbour->in_use = false;
    neighbour->hash_next = stack->neighbours.free;
    stack->neighbours.free = neighbour;
    stack->route_generation++; /* connections may point to it */
}

/** Make room by forgetting the settled one that was unused for longest. */
static void forget_oldest(struct stack *stack)
{
    struct neighbour *oldest = NULL;
    for (uint32_t i = 0; i < stack->neighbours.fresh; i++) {
        struct neighbour *neighbour = &stack->neighbours.entries[i];
        if (neighbour->in_use && is_settled(neighbour) &&
            (oldest == NULL || neighbour->used_ns < oldest->used_ns))
            oldest = neighbour;
    }
    if (oldest != NULL)
        forget(stack, oldest);
}

static struct neighbour *create(struct stack *stack, const struct ip_address *address,
                                uint64_t now_ns)
{
    struct neighbour_table *table = &stack->neighbours;
    if (table->free == NULL && table->fresh == NEIGHBOURS_MAX)
        forget_oldest(stack);

    struct neighbour *neighbour = table->free;
    if (neighbour != NULL)
        table->free = neighbour->hash_next;
    else if (table->fresh < NEIGHBOURS_MAX)
        neighbour = &table->entries[table->fresh++];
    else
        return NULL;

    struct neighbour **bucket = bucket_of(stack, address);
    *neighbour = (struct neighbour){.hash_next = *bucket,
                                    .address = *address,
                                    .state = NEIGHBOUR_FAILED,
                                    .used_ns = now_ns,
                                    .in_use = true};
    list_init(&neighbour->waiting);
    packet_queue_init(&neighbour->packets);
    *bucket = neighbour;
    deadline_lower(stack, now_ns + UNUSED_NS);
    return neighbour;
}

/* ---- Asking ------------------------------------------------------------------------------- */

static void ask(struct stack *stack, struct neighbour *neighbour, uint64_t now_ns)
{
    const uint8_t *mac = neighbour->state == NEIGHBOUR_PROBE ? neighbour->mac : NULL;
    if (ip_address_is_v4(&neighbour->address))
        arp_request(stack, &neighbour->address, mac);
    else
        neighbour_solicit(stack, &neighbour->address, mac);
    neighbour->probes++;
    neighbour->deadline_ns = now_ns + RETRANSMIT_NS;
    deadline_lower(stack, neighbour->deadline_ns);
}

static void begin_asking(struct stack *stack, struct neighbour *neighbour,
                         enum neighbour_state state, uint64_t now_ns)
{
    neighbour->state = (uint8_t)state;
    neighbour->probes = 0;
    ask(stack, neighbour, now_ns);
}

enum neighbour_verdict neighbour_use_unsure(struct stack *stack, struct neighbour *neighbour,
                                            uint64_t now_ns)
{
    switch ((enum neighbour_state)neighbour->state) {
    case NEIGHBOUR_REACHABLE: /* it went stale unnoticed */
    case NEIGHBOUR_STALE:
        neighbour->state = NEIGHBOUR_DELAY;
        neighbour->deadline_ns = now_ns + DELAY_PROBE_NS;
        deadline_lower(stack, neighbour->deadline_ns);
        return NEIGHBOUR_READY;
    case NEIGHBOUR_DELAY:
    case NEIGHBOUR_PROBE:
        return NEIGHBOUR_READY;
    case NEIGHBOUR_INCOMPLETE:
        return NEIGHBOUR_WAIT;
    case NEIGHBOUR_FAILED:
        break;
    }
    if (now_ns < neighbour->deadline_ns)
        return NEIGHBOUR_DEAD;
    begin_asking(stack, neighbour, NEIGHBOUR_INCOMPLETE, now_ns);
    return NEIGHBOUR_WAIT;
}

/** neighbour_for(), by the routes. */
static enum neighbour_verdict look_up(struct stack *stack, const struct ip_address *destination,
                                      uint64_t now_ns, struct neighbour **neighbour)
{
    struct ip_address next_hop;

    *neighbour = NULL;
    switch (route_next_hop(stack, destination, &next_hop)) {
    case ROUTE_NONE:
        return NEIGHBOUR_DEAD;
    case ROUTE_INSIDE:
        return NEIGHBOUR_READY;
    case ROUTE_LINK:
        break;
    }
    *neighbour = neighbour_find(stack, &next_hop);
    if (*neighbour == NULL)
        *neighbour = create(stack, &next_hop, now_ns);
    return *neighbour == NULL ? NEIGHBOUR_DEAD : neighbour_use(stack, *neighbour, now_ns);
}

enum neighbour_verdict neighbour_for(struct stack *stack, const struct ip_address *destination,
                                     uint64_t now_ns, struct neighbour **neighbour)
{
    struct neighbour_table *table = &stack->neighbours;
    if (table->latest_generation == stack->route_generation &&
        ip_address_equal(destination, &table->latest_destination)) {
        *neighbour = table->latest;
        return neighbour_use(stack, *neighbour, now_ns);
    }
    enum neighbour_verdict verdict = look_up(stack, destination, now_ns, neighbour);
    if (verdict != NEIGHBOUR_DEAD || *neighbour != NULL) {
        table->latest = *neighbour;
        table->latest_destination = *destination;
        table->latest_generation = stack->route_generation;
    }
    return verdict;
}

/* ---- Those who wait ----------------------------------------------------------------------- */

void neighbour_park_packet(struct stack *stack, struct neighbour *neighbour, struct packet *packet)
{
    if (neighbour->packet_count >= NEIGHBOUR_PACKETS_MAX) {
        packet_free(stack, packet);
        stack_drop_count(stack, DROP_NEIGHBOUR_UNREACHABLE);
        return;
    }
    neighbour->packet_count++;
    packet_queue_push(&neighbour->packets, packet);
}

static void release_waiting(struct stack *stack, struct neighbour *neighbour)
{
    struct packet *packet;
    while ((packet = packet_queue_pop(&neighbour->packets)) != NULL)
        packet_send(stack, packet);
    neighbour->packet_count = 0;
    list_splice_back(&stack->output, &neighbour->waiting);
}

/** It did not answer. Connections hear of it, then send into the void for a while: their own
    timers take it as loss. */
static void fail(struct stack *stack, struct neighbour *neighbour, uint64_t now_ns)
{
    struct list_node failed;
    struct packet *packet;

    bool was_resolving = neighbour->state == NEIGHBOUR_INCOMPLETE;
    neighbour->state = NEIGHBOUR_FAILED;
    neighbour->deadline_ns = was_resolving ? now_ns + FAILED_HOLD_NS : now_ns;
    while ((packet = packet_queue_pop(&neighbour->packets)) != NULL) {
        packet_free(stack, packet);
        stack_drop_count(stack, DROP_NEIGHBOUR_UNREACHABLE);
    }
    neighbour->packet_count = 0;

    list_init(&failed);
    list_splice_back(&failed, &neighbour->waiting);
    while (!list_is_empty(&failed)) {
        struct list_node *node = failed.next;
        list_remove(node);
        list_push_back(&stack->output, node);
        tcp_neighbour_failed(stack, output_connection(stack, node), now_ns);
    }
}

/* ---- Learning ----------------------------------------------------------------------------- */

static void set_mac(struct neighbour *neighbour, const uint8_t mac[6], uint64_t now_ns)
{
    memcpy(neighbour->mac, mac, 6);
    neighbour->updated_ns = now_ns;
}

void neighbour_heard(struct stack *stack, const struct ip_address *address, const uint8_t mac[6],
                     bool create_entry, uint64_t now_ns)
{
    struct neighbour *neighbour = neighbour_find(stack, address);
    if (neighbour == NULL && create_entry)
        neighbour = create(stack, address, now_ns);
    if (neighbour == NULL)
        return;

    bool known = neighbour->state != NEIGHBOUR_INCOMPLETE && neighbour->state != NEIGHBOUR_FAILED;
    if (known && memcmp(neighbour->mac, mac, 6) == 0)
        return;
    if (known && now_ns - neighbour->updated_ns < LOCK_NS)
        return;
    set_mac(neighbour, mac, now_ns);
    neighbour->state = NEIGHBOUR_STALE;
    deadline_lower(stack, neighbour->used_ns + UNUSED_NS);
    release_waiting(stack, neighbour);
}

void neighbour_confirm(struct neighbour *neighbour, uint64_t now_ns)
{
    if (neighbour->state != NEIGHBOUR_REACHABLE) {
        if (neighbour->state == NEIGHBOUR_INCOMPLETE || neighbour->state == NEIGHBOUR_FAILED)
            return;
        neighbour->state = NEIGHBOUR_REACHABLE;
    }
    neighbour->confirmed_ns = now_ns;
}

void neighbour_answered(struct stack *stack, struct neighbour *neighbour, const uint8_t mac[6],
                        uint64_t now_ns)
{
    set_mac(neighbour, mac, now_ns);
    neighbour->state = NEIGHBOUR_REACHABLE;
    neighbour->confirmed_ns = now_ns;
    deadline_lower(stack, neighbour->used_ns + UNUSED_NS);
    release_waiting(stack, neighbour);
}

void stack_reachability_confirm(struct stack *stack, struct tcp_connection *connection,
                                uint64_t now_ns)
{
    const struct tcp_links *links = connection_links(stack, connection);
    if (links->neighbour != 0 && links->route_generation == stack->route_generation)
        neighbour_confirm(neighbour_referred(stack, links->neighbour), now_ns);
}

/* ---- Time --------------------------------------------------------------------------------- */

static void advance_one(struct stack *stack, struct neighbour *neighbour, uint64_t now_ns)
{
    switch ((enum neighbour_state)neighbour->state) {
    case NEIGHBOUR_INCOMPLETE:
        if (now_ns < neighbour->deadline_ns)
            return;
        if (neighbour->probes < MULTICAST_PROBES)
            ask(stack, neighbour, now_ns);
        else
            fail(stack, neighbour, now_ns);
        return;
    case NEIGHBOUR_DELAY:
        if (now_ns >= neighbour->deadline_ns)
            begin_asking(stack, neighbour, NEIGHBOUR_PROBE, now_ns);
        return;
    case NEIGHBOUR_PROBE:
        if (now_ns < neighbour->deadline_ns)
            return;
        if (neighbour->probes < UNICAST_PROBES)
            ask(stack, neighbour, now_ns);
        else
            fail(stack, neighbour, now_ns);
        return;
    case NEIGHBOUR_REACHABLE:
    case NEIGHBOUR_STALE:
    case NEIGHBOUR_FAILED:
        if (now_ns - neighbour->used_ns >= UNUSED_NS)
            forget(stack, neighbour);
        return;
    }
}

void neighbours_advance(struct stack *stack, uint64_t now_ns)
{
    struct neighbour_table *table = &stack->neighbours;
    uint64_t next_ns = TIME_NEVER;

    for (uint32_t i = 0; i < table->fresh; i++) {
        struct neighbour *neighbour = &table->entries[i];
        if (!neighbour->in_use)
            continue;
        advance_one(stack, neighbour, now_ns);
        if (!neighbour->in_use)
            continue;
        uint64_t deadline_ns =
            is_settled(neighbour) ? neighbour->used_ns + UNUSED_NS : neighbour->deadline_ns;
        if (deadline_ns < next_ns)
            next_ns = deadline_ns;
    }
    table->deadline_ns = next_ns;
}

void neighbours_check(struct stack *stack)
{
    const struct neighbour_table *table = &stack->neighbours;
    PNO_ASSERT(table->latest_generation != stack->route_generation || table->latest == NULL ||
               table->latest->in_use);
    for (uint32_t i = 0; i < stack->neighbours.fresh; i++) {
        struct neighbour *neighbour = &stack->neighbours.entries[i];
        if (!neighbour->in_use)
            continue;
        PNO_ASSERT(neighbour_find(stack, &neighbour->address) == neighbour);
        PNO_ASSERT(neighbour->packet_count <= NEIGHBOUR_PACKETS_MAX);
        if (neighbour->state != NEIGHBOUR_INCOMPLETE)
            PNO_ASSERT(list_is_empty(&neighbour->waiting) && neighbour->packets.first == NULL);
        PNO_ASSERT(is_settled(neighbour) ||
                   neighbour->deadline_ns >= stack->neighbours.deadline_ns);
    }
}
