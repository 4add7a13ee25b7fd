/**
 * @file stack_state.h
 * The stack's own state, for the files of src/core and src/core/ip; TCP sees stack_internal.h only.
 * One writer: whichever core runs the stack.
 */
#ifndef PNO_CORE_STACK_STATE_H
#define PNO_CORE_STACK_STATE_H

#include "base/siphash.h"
#include "core/stack_internal.h"

/** Own addresses: those of the prefixes and the link-local one. */
#define OWN_ADDRESSES_MAX (STACK_PREFIXES_MAX + 1)

/** Neighbours known at a time; Linux's gc_thresh3. */
#define NEIGHBOURS_MAX 1024
/** Packets of the stack's own that wait for one neighbour to be resolved. */
#define NEIGHBOUR_PACKETS_MAX 16

/** Packets of the stack's own (replies, ICMP, ARP) by size, see ip/packets.h. */
enum packet_class { PACKET_SMALL, PACKET_MEDIUM, PACKET_LARGE, PACKET_CLASS_COUNT };

#define CACHE_LINE_BYTES 64

/** Of the last connection with events; no reference. */
#define EVENT_LAST UINT32_MAX

#define FLOW_KEY_WORDS   4
#define LISTENER_BUCKETS 1024
#define PATH_MTU_ENTRIES 1024

/** Segments one connection may send before the next one gets its turn. */
#define OUTPUT_TURN_SEGMENTS 16

struct packet;
struct fragment_datagram;
struct path_mtu_entry;
struct port_bind;

/** The address of ours that was chosen last, and what for. */
struct source_choice {
    struct ip_address destination, source;
    bool is_valid;
};

/** Where the search for a port began for the latest destination. */
struct port_choice {
    struct ip_address local, remote;
    uint16_t remote_port;
    bool is_valid;
    uint32_t offset;
};

/** What holds one local port: bound sockets, and connections (whether in a bound socket or not). */
struct port_slot {
    struct port_bind *binds;
    uint32_t connections; /**< reference to the latest */
};

#define USUAL_BEGINNING_BYTES 16 /* Ethernet, IPv4's version, header length, traffic class */

/** The connection of the latest IPv4 segment without anything unusual, by its header's words as
   they lie there: a flow in these words has passed all checks of addresses. */
struct usual_flow {
    struct tcp_connection *connection; /**< NULL: none */
    uint32_t flow[3];                  /**< source, destination, ports */
    /* What the headers of its latest short segment began with, and IP said: a segment with the same
       has passed all checks of them, too. */
    bool is_read;  /**< there was one, if only a SYN of no connection yet */
    bool is_known; /**< there was one, and there is a connection */
    uint8_t beginning[USUAL_BEGINNING_BYTES];
    uint32_t fragment_to_protocol; /**< IPv4's second half of the second word, and of the third */
    uint8_t said[4]; /**< struct tcp_segment's flags (none), ecn, ttl, traffic_class */
};

static inline void usual_flow_forget(struct usual_flow *usual)
{
    usual->connection = NULL;
    usual->is_read = usual->is_known = false;
}

/** What the headers of a connection's segments have in common, of the connection that sent the
   latest ones: IPv4, to a neighbour, not to be fragmented. Segments go out in trains, too. */
#define USUAL_HEADER_BYTES 38 /* Ethernet, IPv4, TCP's ports */
struct usual_header {
    const struct tcp_connection *connection; /**< whose segment was the latest; NULL: nobody's */
    const struct tcp_options_set *options;   /**< of which this was made; NULL: it is not made */
    uint16_t ip_sum, pseudo_sum;             /**< length not counted */
    uint8_t bytes[USUAL_HEADER_BYTES];       /**< lengths and checksums left open */
    uint8_t ecn;
};

/** The latest flow that was looked for in vain, with its hash: who opens a connection looks first.
 */
struct missed_flow {
    struct tcp_flow flow;
    uint32_t hash;
};

struct packet_pool {
    struct packet *free;
    uint8_t *fresh, *fresh_end;
    uint32_t bytes; /**< payload bytes a packet of this class holds */
    uint32_t in_use;
};

struct packet_queue {
    struct packet *first, **last_next;
};

struct neighbour_table {
    struct neighbour *entries; /**< NEIGHBOURS_MAX */
    struct neighbour **buckets;
    struct neighbour *free;
    uint32_t fresh;
    uint64_t deadline_ns;     /**< when one of them wants attention */
    struct neighbour *latest; /**< next hop last found (NULL: inside), right while … */
    struct ip_address latest_destination;
    uint32_t latest_generation; /**< … this is the stack's route_generation */
};

struct fragment_table {
    struct fragment_datagram *datagrams;
    uint8_t *buffers;
    uint32_t count;
    uint32_t in_use;
    uint64_t deadline_ns;
};

/** Tokens for ICMP errors (RFC 4443 §2.4 f, RFC 1812 §4.3.2.8). */
struct icmp_limit {
    uint64_t tokens_ns;
    uint64_t updated_ns;
};

struct stack {
    struct stack_config config;
    struct siphash_key secret_key;     /**< what leaves the machine: ISN, cookies, ports */
    struct siphash_key table_key;      /**< hash tables and RSS */
    uint64_t flow_key[FLOW_KEY_WORDS]; /**< the flow table's, of IPv4 */
    uint64_t random_state;
    struct stack_counters counters;

    /* Pools: free lists for what was used before, fresh for what was never touched. */
    uint8_t *connections;
    struct tcp_connection *connections_free; /**< by links.hash_next */
    uint32_t connections_fresh;
    size_t connection_stride;
    uint8_t *pacing_areas; /**< one per connection */
    size_t pacing_stride;
    uint8_t *listeners;
    struct tcp_listener *listeners_free; /**< by tcp_listener_hash_next() */
    uint32_t listeners_fresh;
    size_t listener_stride;
    struct interval_pool intervals;
    struct tcp_sent_pool sent;
    struct part_pool pendings, rares, recoveries, reassemblies;
    struct tcp_option_sets option_sets;
    struct packet_pool packet_pools[PACKET_CLASS_COUNT];

    /* Tables. */
    uint32_t *flow_buckets;            /**< references to connections */
    struct tcp_connection *flow_found; /**< latest find of receiving: segments come in trains */
    struct usual_flow usual_flow;
    struct usual_header usual_header;
    struct missed_flow missed_flow;
    uint32_t flow_mask;
    struct tcp_listener **listener_buckets;
    struct port_slot *ports; /**< 65536 */
    struct port_bind *binds, *binds_free;
    uint32_t binds_fresh, binds_max;
    uint32_t port_counter; /**< RFC 6056 algorithm 3 */
    struct source_choice latest_source;
    struct port_choice latest_port;

    /* What wants to happen. */
    struct timer_wheel timers;
    struct list_node output; /**< struct tcp_links.output */
    uint32_t output_turn;    /**< segments the first of them has sent in its turn */
    struct tcp_connection *events_first, *events_last; /**< by links.event_next; NULL: none */
    struct tcp_listener *listener_events, **listener_events_last;
    struct tcp_connection *closed_delivered; /**< told to the embedder; let go at the next call */
    struct packet_queue packets;
    struct packet *packet_sent; /**< its bytes are in the last frame given out */

    /* IP. */
    uint8_t inside_source_mac[6], inside_destination_mac[6]; /**< of frames turned round: secret,
                                 so that no frame from the wire passes for one */
    struct ip_address own[OWN_ADDRESSES_MAX];                /**< IPv4 first */
    uint32_t own_v4_count, own_count;
    struct ip_address link_local;
    struct {
        uint32_t network, host_mask; /**< host order */
    } broadcast[STACK_PREFIXES_MAX]; /**< IPv4 prefixes that have broadcast addresses */
    uint32_t broadcast_count;
    uint32_t route_generation; /**< changes when a connection's cached neighbour may be wrong */
    struct neighbour_table neighbours;
    struct fragment_table fragments;
    uint64_t ip_deadline_ns; /**< the earlier of theirs */
    struct path_mtu_entry *path_mtu;
    struct tcp_fast_open_memory *fast_open;
    struct tcp_prototypes *prototypes;
    bool path_mtu_learnt; /**< false: no need to look */
    struct icmp_limit icmp_limit;
    uint32_t ip_identification; /**< of packets that we fragment, or others may */
};

static inline struct tcp_links *connection_links(const struct stack *stack,
                                                 struct tcp_connection *connection)
{
    (void)stack;
    return (struct tcp_links *)(void *)((uint8_t *)connection + TCP_LINKS_OFFSET);
}

static inline struct tcp_flow *connection_flow(const struct stack *stack,
                                               struct tcp_connection *connection)
{
    (void)stack;
    return (struct tcp_flow *)(void *)((uint8_t *)connection + TCP_FLOW_OFFSET);
}

static inline struct tcp_connection *links_connection(const struct stack *stack,
                                                      const struct tcp_links *links)
{
    (void)stack;
    return (struct tcp_connection *)(void *)((uint8_t *)links - TCP_LINKS_OFFSET);
}

static inline struct tcp_connection *output_connection(const struct stack *stack,
                                                       struct list_node *node)
{
    return links_connection(
        stack, (struct tcp_links *)(void *)((uint8_t *)node - offsetof(struct tcp_links, output)));
}

static inline struct tcp_connection *connection_at(const struct stack *stack, uint32_t index)
{
    return (struct tcp_connection *)(void *)(stack->connections +
                                             (size_t)index * stack->connection_stride);
}

/** Half a pointer's size: the line of the pool where the connection begins, counted from 1; 0:
 * NULL. */
static inline uint32_t connection_reference(const struct stack *stack,
                                            const struct tcp_connection *connection)
{
    if (connection == NULL)
        return 0;
    size_t offset = (size_t)((const uint8_t *)connection - stack->connections);
    return (uint32_t)(offset / CACHE_LINE_BYTES) + 1;
}

static inline struct tcp_connection *connection_referred(const struct stack *stack,
                                                         uint32_t reference)
{
    if (reference == 0)
        return NULL;
    return (struct tcp_connection *)(void *)(stack->connections +
                                             (size_t)(reference - 1) * CACHE_LINE_BYTES);
}

static inline struct tcp_listener *listener_at(const struct stack *stack, uint32_t index)
{
    return (struct tcp_listener *)(void *)(stack->listeners +
                                           (size_t)index * stack->listener_stride);
}

static inline void stack_drop_count(struct stack *stack, enum drop_reason reason)
{
    stack->counters.drops[reason]++;
}

/** Once table_key is there. */
void flow_table_init(struct stack *stack);
/** Hash of a flow for tables: keyed, in a core's own direction. */
uint32_t flow_table_hash(const struct stack *stack, const struct tcp_flow *flow);
/** @param hash  set to the flow's, unless NULL. */
struct tcp_connection *flow_table_find(struct stack *stack, const struct tcp_flow *flow,
                                       uint32_t *hash);
/** Whether a segment of this flow goes to the connection that the one before went to. */
bool flow_is_found(const struct stack *stack, const struct tcp_flow *flow);
void flow_table_check(struct stack *stack);

/** The connection goes: what it has to tell is lost. Takes time by how many have something to tell,
    so it is for those few that go untold. */
void stack_event_forget(struct stack *stack, struct tcp_connection *connection);

/** The listener for a segment to this endpoint: most specific first; hash spreads over a
    reuse-port group. */
struct tcp_listener *listener_table_find(const struct stack *stack,
                                         const struct ip_endpoint *destination, uint32_t hash);
void listener_table_check(struct stack *stack);

/** Keep the port's list of connections; called as a connection enters and leaves the flow table. */
void ports_connection_enter(struct stack *stack, struct tcp_connection *connection);
void ports_connection_leave(struct stack *stack, struct tcp_connection *connection);
void ports_check(struct stack *stack);

/** The flow's core, the same for both directions. */
unsigned rss_flow_core(const struct siphash_key *key, const struct ip_endpoint *a,
                       const struct ip_endpoint *b, unsigned core_count);

#endif
