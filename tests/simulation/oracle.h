/**
 * @file oracle.h
 * Says what may be on the wire and in the applications' hands, independently of the core: watches
 * every frame sent and delivered, every byte placed, every event.
 */
#ifndef PNO_SIMULATION_ORACLE_H
#define PNO_SIMULATION_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/stack.h"

struct world;
struct host;
struct endpoint;
struct frame;
struct frame_view;
struct connection_pair;

#define ORACLE_SYNS_MAX 16

/** One direction of a 4-tuple as the wire shows it. */
struct flow_side {
    struct ip_address address;
    uint16_t port;
    uint32_t syn_seqs[ORACLE_SYNS_MAX]; /**< initial sequence numbers seen, a ring */
    unsigned syn_count;
    bool scale_offered;
    uint8_t scale;
    bool edge_known;
    uint32_t edge; /**< right edge of the window that the other side was offered, delivered */
    uint16_t syn_window;
    uint16_t opening_window; /**< that a SYN offered this side: for fast open */
    bool echo_known;
    uint32_t echo_max;         /**< newest timestamp that this side may echo (RFC 7323 §4.3) */
    struct endpoint *endpoint; /**< the newest at this side */
};

struct flow_watch {
    struct flow_watch *next;
    struct flow_side sides[2];
};

/** The watch for a 4-tuple, made when new; *side is the one whose address and port come first. */
struct flow_watch *oracle_flow(struct world *world, const struct ip_address *source,
                               uint16_t source_port, const struct ip_address *destination,
                               uint16_t destination_port, unsigned *side);

/** Which pair a connection accepted just now belongs to; NULL when its opener is unknown. */
struct connection_pair *oracle_pair_of_accepted(struct world *world,
                                                struct tcp_connection *connection);

/** A frame leaves its host. endpoint is whose payload it carries, or NULL. */
void oracle_frame_sent(struct world *world, struct host *host, const struct frame *frame,
                       const struct frame_view *view, struct endpoint *endpoint,
                       uint64_t stream_offset);

/** A segment reached a host and was found good. */
void oracle_segment_delivered(struct world *world, const struct tcp_segment *segment);

/** Payload of this segment is wanted: should it be? */
void oracle_segment_taken(struct world *world, const struct endpoint *endpoint,
                          const struct tcp_segment *segment);

/** The stack says where payload goes: compare, then note it as placed. */
void oracle_payload_placed(struct world *world, struct endpoint *endpoint, uint64_t offset,
                           const uint8_t *bytes, uint32_t length);

/** A program is told where the peer's urgent byte ends. */
void oracle_urgent(struct world *world, const struct endpoint *endpoint, uint64_t offset);

/** An error was reported to an endpoint: was it due? */
void oracle_error_reported(struct world *world, struct endpoint *endpoint, int error);

/** An endpoint is through: did it get what it had to? */
void oracle_endpoint_ended(struct world *world, struct endpoint *endpoint);

/** All is over: nothing may be left anywhere. */
void oracle_world_ended(struct world *world);

#endif
