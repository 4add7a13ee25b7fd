/**
 * @file stack_internal.h
 * The seam between the stack (tables, IP, timers: src/core) and TCP (src/core/tcp). Not for
 * embedders.
 *
 * The stack owns: memory, connection and listener pools, the flow and port tables, the timer
 * wheel, the lists of connections that want to send or have events, routes and neighbours, header
 * parsing and building. TCP owns: what a connection is (tcp/connection.h, which embeds struct
 * tcp_links below as `links`), and every decision of the protocol.
 */
#ifndef PNO_CORE_STACK_INTERNAL_H
#define PNO_CORE_STACK_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/interval_set.h"
#include "base/list.h"
#include "base/timer_wheel.h"
#include "core/stack.h"

/** The 4-tuple, and what routing found out; the pre-process stage's part of a connection. */
struct tcp_flow {
    struct ip_address local;
    struct ip_address remote;
    uint16_t local_port;
    uint16_t remote_port;
};

/** The flow that an arriving segment belongs to: we are its destination. */
static inline struct tcp_flow tcp_segment_flow(const struct tcp_segment *segment)
{
    return (struct tcp_flow){
        .local = segment->destination.address,
        .remote = segment->source.address,
        .local_port = segment->destination.port,
        .remote_port = segment->source.port,
    };
}

/** What the stack hangs a connection into. Written by the stack only. */
struct tcp_links {
    uint32_t route_generation;
    uint32_t hash;           /**< of the flow, while in the flow table */
    struct list_node output; /**< of those that want to send, or wait for their neighbour */
    struct timer_wheel_entry timer;
    /* References to connections (stack_state.h); 0: none. */
    uint32_t hash_next;                /**< of this bucket; of those free */
    uint32_t port_next, port_previous; /**< of those with this local port */
    uint32_t event_next; /**< of those with events; EVENT_LAST: none after it; 0: not one of them */
    uint32_t neighbour;  /**< next hop, right while route_generation is the stack's: a reference
                              (ip/neighbour.h); 0: inside */
    uint16_t events;     /**< enum stack_event_bit, pending */
    bool is_ipv6;        /**< the flow's addresses, while in the flow table */
    bool in_use : 1;
    bool in_flow_table : 1;
    bool reuse_address : 1, reuse_port : 1; /**< its port may be bound again by such sockets */
};

/** Where a connection has its links, with its flow behind them: behind struct tcp_hot, which TCP
    alone uses. Known here, so that no segment pays for finding out. */
#define TCP_LINKS_OFFSET 120
#define TCP_FLOW_OFFSET  (TCP_LINKS_OFFSET + sizeof(struct tcp_links))

/* ---- What the stack gives TCP ------------------------------------------------------------- */

/** A connection from the pool, zeroed but for links; NULL and DROP_CONNECTION_LIMIT counted when
    empty. Not in any table yet. */
struct tcp_connection *stack_connection_alloc(struct stack *stack);

/** The same with the contents of another; links zeroed. */
struct tcp_connection *stack_connection_copy(struct stack *stack,
                                             const struct tcp_connection *prototype);

/** Take it out of all tables, lists and the wheel and give it back. Pending events are lost; TCP
    raises STACK_EVENT_CLOSED and frees only after it has been delivered (see stack_event_raise). */
void stack_connection_free(struct stack *stack, struct tcp_connection *connection);

/** Enter into the flow table. @return 0, -EADDRINUSE when the 4-tuple is taken. */
int stack_flow_insert(struct stack *stack, struct tcp_connection *connection);
void stack_flow_remove(struct stack *stack, struct tcp_connection *connection);
struct tcp_connection *stack_flow_find(struct stack *stack, const struct tcp_flow *flow);

/** Choose source address and ephemeral port (RFC 6056 §3.3.3 algorithm 3, skipping what is in use)
    for a flow whose local address and/or port are unset, or check those given.
    @return 0, -EADDRINUSE, -EADDRNOTAVAIL, -ENETUNREACH. */
int stack_flow_choose_local(struct stack *stack, struct tcp_flow *flow, struct port_range ports,
                            bool reuse_address);

/** One deadline per connection; TIME_NEVER cancels. On expiry tcp_timer_expired() is called. */
void stack_timer_set(struct stack *stack, struct tcp_connection *connection, uint64_t deadline_ns);

/** The connection's area for what only paced connections need, of tcp_pacing_bytes(); its contents
    are the connection's own, left over from an earlier one at first. */
struct tcp_pacing *stack_pacing_area(struct stack *stack, struct tcp_connection *connection);

/** The connection has other options than before: what the stack knows by the old ones is not right
    any more. */
void stack_options_changed(struct stack *stack);

/** The connection has something to send: tcp_output_next() will be called from stack_transmit(). */
void stack_output_mark(struct stack *stack, struct tcp_connection *connection);

/** Merge event bits. With STACK_EVENT_CLOSED the embedder's use ends; after delivering it the stack
    calls tcp_closed_delivered(), upon which TCP frees the connection (or keeps it for TIME_WAIT).
 */
void stack_event_raise(struct stack *stack, struct tcp_connection *connection, uint32_t bits);
void stack_listener_event_raise(struct stack *stack, struct tcp_listener *listener, uint32_t bits);

/** A segment without connection: RST for what arrived (RFC 9293 §3.10.7.1), SYN-ACK cookie, or a
    TIME_WAIT acknowledgement. Kept in a bounded queue; dropped when that is full, unless it ends a
    connection. */
struct tcp_reply {
    struct tcp_flow flow; /**< local = us */
    seq_t seq, ack;
    uint8_t flags;
    uint8_t traffic_class, ttl;
    uint16_t window;
    bool ends_connection;
    uint8_t options_length;
    uint8_t options[TCP_OPTIONS_MAX];
};
void stack_reply_queue(struct stack *stack, const struct tcp_reply *reply);

/** IP bytes per packet towards this destination: link MTU or what path MTU discovery learnt
    (RFC 1191, 8201), 65535 for our own addresses. */
uint16_t stack_path_mtu(struct stack *stack, const struct ip_address *remote, uint64_t now_ns);

/** Neighbour reachability hint (RFC 4861 §7.3.1): forward progress on this connection. */
void stack_reachability_confirm(struct stack *stack, struct tcp_connection *connection,
                                uint64_t now_ns);

enum flow_hash_purpose {
    FLOW_HASH_NUMBERS, /**< lower half: RFC 6528 §3, without the clock part; upper half: the
                            timestamp clock's offset (RFC 7323 §5.4) */
    FLOW_HASH_PORT,    /**< RFC 6056 §3.3.3: the first port to try */
};

/** A hash of the flow by a secret key: outsiders cannot guess it, nor one purpose's by another's.
 */
uint64_t stack_flow_hash(struct stack *stack, const struct tcp_flow *flow,
                         enum flow_hash_purpose purpose);
/** SipHash-2-4 of arbitrary bytes under the stack's secret (SYN cookies, fast open). */
uint64_t stack_siphash(struct stack *stack, const void *bytes, uint32_t length);
/** Deterministic pseudo-random numbers from config.random_seed. */
uint32_t stack_random(struct stack *stack);

/** What fast open remembers (tcp/fast_open.h). */
struct tcp_fast_open_memory *stack_fast_open_memory(struct stack *stack);

/** What new connections are copied from (tcp/prototype.h). */
struct tcp_prototypes *stack_prototypes(struct stack *stack);

struct interval_pool *stack_interval_pool(struct stack *stack);
struct tcp_sent_pool;
struct tcp_sent_pool *stack_sent_pool(struct stack *stack);
const struct stack_config *stack_get_config(const struct stack *stack);
struct stack_counters *stack_counters(struct stack *stack);

/* Listeners: pool and table. TCP owns the struct's contents (tcp/listener.h). */
struct tcp_listener *stack_listener_alloc(struct stack *stack);
void stack_listener_free(struct stack *stack, struct tcp_listener *listener);

/* ---- What TCP gives the stack ------------------------------------------------------------- */

/** One segment to send. The stack builds the headers around it. */
struct tcp_output {
    seq_t seq, ack;
    uint8_t flags;
    uint16_t window; /**< as on the wire */
    uint16_t urgent_pointer;
    uint8_t ecn;            /**< IP ECN bits */
    uint8_t options_length; /**< multiple of 4 */
    uint8_t options[TCP_OPTIONS_MAX];
    uint64_t stream_offset;
    uint32_t payload_length;
    uint16_t gso_size; /**< 0, or payload is several segments of this size */
    bool is_last;      /**< certainly nothing more to send for now: asking again is needless */
};

_Static_assert(offsetof(struct tcp_output, ack) == offsetof(struct tcp_output, seq) + 4,
               "headers take both at once");

/** Segments that the port will make of it. */
static inline uint32_t tcp_output_segments(const struct tcp_output *output)
{
    if (output->gso_size == 0)
        return 1;
    return (output->payload_length + output->gso_size - 1) / output->gso_size;
}

size_t tcp_connection_bytes(void); /**< sizeof, for the pool */

/** Parts of one kind, which a connection has only while it needs it. There is one for each
    connection, so that taking one cannot fail. One writer. */
struct part_pool {
    void *free;     /**< given back: each begins with a pointer to the next */
    uint8_t *fresh; /**< never used so far: memory stays untouched */
    size_t bytes;   /**< of a part */
};

static inline void *part_take(struct part_pool *pool)
{
    void *part = pool->free;
    if (part != NULL) {
        memcpy(&pool->free, part, sizeof(void *));
        return part;
    }
    part = pool->fresh;
    pool->fresh += pool->bytes;
    return part;
}

static inline void part_give_back(struct part_pool *pool, void *part)
{
    memcpy(part, &pool->free, sizeof(void *));
    pool->free = part;
}

/** Sets of option values that connections share (tcp/option_sets.c). */
#define TCP_OPTION_SETS_RECENT 4
struct tcp_option_sets {
    struct part_pool pool; /**< of more than connections: a change takes before it gives back, and
                                listeners and prototypes hold some */
    struct tcp_option_set *recent[TCP_OPTION_SETS_RECENT];
    unsigned next; /**< of those, the one to go */
};
size_t tcp_option_set_bytes(void);
struct tcp_option_sets *stack_option_sets(struct stack *stack);

size_t tcp_pending_bytes(void);
size_t tcp_rare_bytes(void);
size_t tcp_recovery_bytes(void);
size_t tcp_reassembly_bytes(void);
struct part_pool *stack_pendings(struct stack *stack);
struct part_pool *stack_rares(struct stack *stack);
struct part_pool *stack_recoveries(struct stack *stack);
struct part_pool *stack_reassemblies(struct stack *stack);

struct tcp_sent;
/** Records of what was sent (tcp/sent.h), for all connections of a stack; one writer. */
struct tcp_sent_pool {
    struct tcp_sent *free;
    struct tcp_sent *fresh; /**< never used so far: memory stays untouched */
    struct tcp_sent *fresh_end;
    uint32_t share; /**< left for connections' second and further records */
};
size_t tcp_sent_bytes(void); /**< sizeof a record */
/** Over nodes[connections + share], zeroed. */
void tcp_sent_pool_init(struct tcp_sent_pool *pool, void *nodes, uint32_t connections,
                        uint32_t share);

size_t tcp_listener_bytes(void);
size_t tcp_pacing_bytes(void);
size_t tcp_fast_open_bytes(void);  /**< of what stack_fast_open_memory() gives, zeroed at first */
size_t tcp_prototypes_bytes(void); /**< of what stack_prototypes() gives, zeroed at first */
/** They are not right any more: defaults have changed. */
void tcp_prototypes_forget(struct stack *stack);
const struct tcp_options_set *tcp_connection_options(const struct tcp_connection *connection);

/** The next segment this connection may send now; false: none (it leaves the output list). */
bool tcp_output_next(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns,
                     uint32_t gso_bytes_max, struct tcp_output *output);

void tcp_timer_expired(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);
void tcp_closed_delivered(struct stack *stack, struct tcp_connection *connection);

/** RFC 9293 §3.10.7.2-4; result->drop says what became of it. A drop is counted. */
void tcp_segment_arrives(struct stack *stack, struct tcp_connection *connection,
                         const struct tcp_segment *segment, uint64_t now_ns,
                         struct stack_rx_result *result);
/** A segment for a listener (state LISTEN, incl. SYN cookies coming back). A drop is counted. */
void tcp_listener_segment_arrives(struct stack *stack, struct tcp_listener *listener,
                                  const struct tcp_segment *segment, uint64_t now_ns,
                                  struct stack_rx_result *result);
/** A segment for nobody: queue the RST it deserves. */
void tcp_closed_segment_arrives(struct stack *stack, const struct tcp_segment *segment);

enum tcp_icmp_kind {
    TCP_ICMP_UNREACHABLE_SOFT,
    TCP_ICMP_UNREACHABLE_HARD,
    TCP_ICMP_PACKET_TOO_BIG
};
/** An ICMP error about a segment of this connection; seq is the one quoted (RFC 5927 checks). */
void tcp_icmp_arrives(struct stack *stack, struct tcp_connection *connection,
                      enum tcp_icmp_kind kind, int error, uint16_t mtu, seq_t seq, uint64_t now_ns);
/** Whether it heeds what ICMP says of its path's MTU (IPV6_MTU_DISCOVER). */
bool tcp_accepts_path_mtu(const struct tcp_connection *connection);
/** Is seq within what the connection has sent and not had acknowledged (RFC 5927 §4.1)? */
bool tcp_sequence_in_flight(const struct tcp_connection *connection, seq_t seq);
/** The neighbour could not be resolved: EHOSTUNREACH as Linux reports it. */
void tcp_neighbour_failed(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

void tcp_connection_check(const struct stack *stack, const struct tcp_connection *connection);

/** Where a listener stands in the listener table, filled by TCP before stack_listener_insert(). */
struct tcp_listener_key {
    struct ip_endpoint local;
    bool is_ipv6, v6only, reuse_port;
};
const struct tcp_listener_key *tcp_listener_key(const struct tcp_listener *listener);
struct tcp_listener **tcp_listener_hash_next(struct tcp_listener *listener);
/** Enter into the listener table. @return 0, -EADDRINUSE, -EADDRNOTAVAIL. */
int stack_listener_insert(struct stack *stack, struct tcp_listener *listener);
void stack_listener_remove(struct stack *stack, struct tcp_listener *listener);
/** The listener that a SYN of this flow goes to, as stack_receive_parse() finds it; NULL: none.
    TCP asks when a SYN ends a TIME_WAIT (RFC 6191, RFC 1122 §4.2.2.13). */
struct tcp_listener *stack_listener_find(struct stack *stack, const struct tcp_flow *flow);
uint32_t *tcp_listener_events(struct tcp_listener *listener); /**< pending bits; stack writes */
struct tcp_listener **tcp_listener_event_next(struct tcp_listener *listener);
void *tcp_listener_user(const struct tcp_listener *listener);

#endif
