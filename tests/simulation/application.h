/**
 * @file application.h
 * Programs at the ends of connections: random state machines that write, read, half-close, close
 * and abort as a plan says, and know what each must get in return.
 */
#ifndef PNO_SIMULATION_APPLICATION_H
#define PNO_SIMULATION_APPLICATION_H

#include <stdbool.h>
#include <stdint.h>

#include "core/stack.h"

struct world;
struct host;

/** How a side ends its part. */
enum ending {
    ENDING_SHUTDOWN_THEN_EOF, /**< FIN after the last write, read to the end, close */
    ENDING_AFTER_EOF,         /**< read to the peer's end first, then FIN and close at once */
    ENDING_CLOSE_WHEN_DONE,   /**< close when all is written and all that will come is read */
    ENDING_CLOSE_EARLY,       /**< close when all is written, whatever there is to read */
    ENDING_ABORT,             /**< reset at a moment of chance */
    ENDING_NEVER,             /**< stays until an error comes */
};

enum write_style { WRITE_BULK, WRITE_RANDOM, WRITE_SMALL, WRITE_BYTES, WRITE_STYLES };
enum read_style { READ_EAGER, READ_RANDOM, READ_SLOW, READ_STOP_AND_GO, READ_STYLES };

struct plan {
    uint64_t total;
    enum write_style write_style;
    enum read_style read_style;
    enum ending ending;
    uint64_t write_pause_ns, read_pause_ns; /**< longest of each; 0 = none */
    uint64_t end_pause_ns;                  /**< before the ending */
    uint64_t idle_at, idle_ns;              /**< after so many bytes written, do nothing so long */
    uint64_t abort_after_ns;                /**< ENDING_ABORT: from the start of the connection */
    bool changes_options;
};

#define URGENT_MARKS_MAX 64

/** A connection between two endpoints: [0] opens, [1] accepts (or opens too). */
struct connection_pair {
    struct connection_pair *next;
    struct plan plans[2];
    uint64_t keys[2]; /**< of the streams from that side */
    struct endpoint *endpoints[2];
    bool reset_is_due;   /**< a side ended so that the other may be reset */
    bool refusal_is_due; /**< nobody listens, or the other side may not have opened yet */
    bool simultaneous;
    bool ghosted;   /**< its opener's SYN was accepted twice */
    bool fast_open; /**< the SYN may bring payload */
};

struct endpoint {
    struct endpoint *next;
    struct host *host;
    unsigned host_generation;
    unsigned id;
    unsigned side; /**< in the pair */
    struct connection_pair *pair;
    struct tcp_connection *connection; /**< NULL when gone */
    struct tcp_listener *listener;     /**< that it came from, until taken */

    bool established, shut_down, closed_by_us, fin_arrived, eof, ended, idled;
    int error;
    uint64_t written, consumed, acked; /**< stream offsets; below acked, bytes are forgotten */
    uint64_t next_read_ns, next_write_ns, abort_ns, timer_ns;
    uint64_t closed_since_ns; /**< all was read, yet the window offered is closed; 0 = not so */
    uint64_t end_ns;          /**< when to end, once that is decided; 0 = not yet */

    uint8_t *placed; /**< bit per byte of the peer's stream */
    uint64_t placed_capacity, placed_prefix;
    unsigned placements_pending;
    struct placement *placements; /**< those */

    /* What the oracle saw of it on the wire. */
    bool iss_known, tsval_known, acked_on_wire;
    uint32_t iss, tsval, tsecr;
    uint64_t ack_high;     /**< highest stream offset acknowledged to the peer */
    uint64_t offered_edge; /**< one past the last offset that the peer was allowed to send */
    uint64_t sent_high;

    uint64_t urgent_marks[URGENT_MARKS_MAX]; /**< one past each urgent byte written, a ring */
    unsigned urgent_count;
};

struct connection_pair *application_new_pair(struct world *world);

/** Open a pair's connection from a host. */
void application_connect(struct world *world, struct host *host, struct connection_pair *pair,
                         unsigned side, const struct tcp_connect_request *request);

/** A listener announced a connection. */
void application_announced(struct world *world, struct host *host, struct tcp_listener *listener,
                           struct tcp_connection *connection);

/** The stack says something about an endpoint's connection. */
void application_event(struct world *world, struct endpoint *endpoint, uint32_t bits);

/** The host was restarted: its endpoints are gone without a word. */
void application_host_gone(struct world *world, struct host *host);

/** The peer's plan, and what it will have sent in all when it ends in order. */
const struct plan *application_peer_plan(const struct endpoint *endpoint);
uint64_t application_peer_key(const struct endpoint *endpoint);

#endif
