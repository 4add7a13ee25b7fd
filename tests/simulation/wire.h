/**
 * @file wire.h
 * One direction of the network: what leaves a host goes through its wire to all other hosts (they
 * filter by MAC address). Loses, duplicates, reorders, delays, corrupts, re-cuts and fragments.
 */
#ifndef PNO_SIMULATION_WIRE_H
#define PNO_SIMULATION_WIRE_H

#include <stdbool.h>
#include <stdint.h>

struct world;
struct frame;

#define WIRE_OUTAGES_MAX 4

/** Chances are in parts per thousand. */
struct wire_settings {
    uint64_t delay_ns, jitter_ns;
    uint64_t reorder_delay_ns; /**< how much a reordered frame is held back at most */
    uint64_t rate_bytes_per_s; /**< 0 = unlimited */
    uint32_t buffer_bytes;     /**< before the rate limit; more is dropped */
    unsigned loss, duplicate, reorder, corrupt, split, join, fragment, pad;
    uint32_t join_bytes_max;      /**< payload of what is joined */
    uint64_t policer_bytes_per_s; /**< 0 = none; what exceeds its bucket is dropped, not queued */
    uint32_t policer_bucket_bytes;
    unsigned ack_loss;        /**< of segments without payload */
    uint64_t ack_bunch_ns;    /**< 0, or these arrive together at multiples of it */
    uint64_t change_after_ns; /**< 0, or when the path becomes another: the next two */
    uint64_t changed_delay_ns, changed_rate_bytes_per_s;
    unsigned mark;          /**< ECN: congestion experienced */
    uint16_t path_mtu;      /**< a router on the way takes no more, and says so by ICMP; 0 = none */
    bool black_hole;        /**< … but does not say so */
    bool spares_neighbours; /**< ARP and ND pass unharmed, and no queue: their failure is an
                                 error TCP reports */
    unsigned outage_count;
    struct {
        uint64_t start_ns, end_ns; /**< since the world began */
    } outages[WIRE_OUTAGES_MAX];
};

struct wire {
    struct wire_settings settings;
    unsigned from; /**< host */
    uint64_t busy_until_ns;
    uint64_t newest_arrival_ns;
    uint64_t policer_filled_ns; /**< when its bucket was last looked at … */
    uint64_t policer_bytes;     /**< … and what was in it */
    uint32_t fragment_id;
    struct frame *held; /**< waits for one it can be joined with */
    uint64_t held_since_ns;
};

/** Take over a frame that the wire's host sends. */
void wire_send(struct world *world, struct wire *wire, struct frame *frame);

/** From now on the wire only delays and limits its rate. */
void wire_heal(struct world *world, struct wire *wire);

#endif
