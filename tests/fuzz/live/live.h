/**
 * @file live.h
 * One stack with live connections, the programs that use them and the peer they talk to; what
 * live-input's files share. Every byte of every stream, in either direction, is a function of its
 * ports and its sequence number (live_byte()), so whatever is placed or sent can be told right from
 * wrong, however a hostile peer cut and repeated it.
 */
#ifndef PNO_FUZZ_LIVE_H
#define PNO_FUZZ_LIVE_H

#include <stdbool.h>

#include "base/time_units.h"
#include "core/stack.h"
#include "live_input.h"
#include "simulation/frame.h"

#define LIVE_SLOTS         8
#define LIVE_FLOWS         8
#define LIVE_RECORDS       16 /**< segments a flow remembers of what the stack sent */
#define LIVE_FINS          64
#define LIVE_KEPT          8
#define LIVE_PENDING       32
#define LIVE_STREAM_BYTES  (1u << 19) /**< longest stream that is followed */
#define LIVE_LISTEN_PORT   80
#define LIVE_PAYLOAD_MAX   9000
#define LIVE_TURNED_MAX    256
#define LIVE_CONNECTIONS   16
#define LIVE_RECEIVE_BYTES (1u << 18) /**< of buffer at most */

/** A program's end of a connection, and what the oracle knows of it. */
struct live_slot {
    struct tcp_connection *connection; /**< NULL: free */
    bool closed;                       /**< by the program: only CLOSED is to come */
    bool shut;                         /**< the program wants a FIN sent */
    bool read_shut;
    bool edge_known, timestamp_known;
    unsigned pending;       /**< placements under way */
    uint64_t consumed;      /**< stream offset */
    uint64_t placed_prefix; /**< all before it is in place */
    uint64_t placed_high;   /**< one past the highest byte in place */
    uint64_t edge;          /**< the window offered ends at this stream offset */
    uint32_t timestamp;     /**< last one sent */
    uint8_t placed[LIVE_STREAM_BYTES / 8];
};

/** The peer's view of a connection, from the frames that the stack sent. */
struct live_flow {
    bool used;
    uint16_t local_port, peer_port;
    uint32_t iss;       /**< the stack's */
    uint32_t next;      /**< number of the next byte that the peer sends in order */
    uint32_t expected;  /**< the stack's last acknowledgement */
    uint32_t edge;      /**< the window that the stack offers ends here */
    uint32_t sent;      /**< one past the highest number that the stack sent */
    uint32_t acked;     /**< what the peer acknowledged last */
    uint32_t timestamp; /**< of the stack's latest segment */
    uint8_t scale;      /**< of the stack's window */
    bool timestamps;
    unsigned record_count;
    struct {
        uint32_t seq, length;
    } records[LIVE_RECORDS];
};

/** Payload that will be in place later. */
struct live_placement {
    struct live_slot *slot;
    struct tcp_connection *connection;
    uint64_t offset;
    uint32_t length;
};

struct live {
    const uint8_t *input;
    size_t left;
    bool is_ipv6, trace;
    bool asked; /**< for a neighbour */
    bool over;  /**< longer than is followed: no more operations */
    bool accepts_late, places_late, fin_overflow;
    uint32_t gso_bytes_max;
    uint64_t now_ns;
    uint64_t arrival_cpu_ns; /**< of the frame that took most */
    void *memory;
    size_t memory_bytes;
    struct stack_config config;
    struct stack *stack;
    struct tcp_listener *listener; /**< NULL: closed */
    unsigned untaken;              /**< announced connections whose place is still held */
    uint8_t cookie_length, cookie[16];
    struct live_slot slots[LIVE_SLOTS];
    struct live_flow flows[LIVE_FLOWS];
    unsigned flow_next;
    unsigned fin_count;
    struct {
        uint16_t source_port, destination_port;
        uint32_t seq;
    } fins[LIVE_FINS]; /**< that arrived: ends of stream that there may be */
    struct frame *kept[LIVE_KEPT];
    unsigned kept_next;
    unsigned pending_count;
    struct live_placement pending[LIVE_PENDING];
    struct frame *turned, **turned_last; /**< frames of the stack to itself */
    unsigned turned_count;
    unsigned frames; /**< without payload, sent in this operation */
    unsigned operations;
};

/** Print what does not hold, and abort. */
_Noreturn void live_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

static inline uint8_t live_byte(uint16_t source_port, uint16_t destination_port, uint32_t seq)
{
    uint32_t key = (uint32_t)source_port << 16 | destination_port;
    return (uint8_t)(((seq ^ key) * UINT32_C(2654435761)) >> 24);
}

struct ip_address live_address(bool is_ipv6, uint8_t host);

/* ---- live_input.c: the embedder ------------------------------------------------------------ */

/** A frame arrives. how: enum live_how. */
void live_receive(struct live *live, const struct frame *frame, uint8_t how);
/** Events and frames until there are no more, with all checks. */
void live_settle(struct live *live);

/* ---- live_peer.c ---------------------------------------------------------------------------- */

uint8_t live_take(struct live *live);
uint32_t live_take_word(struct live *live);
/** 0 as a rule, small often, anything at times. */
uint32_t live_take_offset(struct live *live);

/** Learn from a frame that the stack sent. */
void live_peer_learn(struct live *live, const struct frame_view *view);
/** The peer says where it is, as if asked by ARP or neighbour discovery. */
void live_peer_be_neighbour(struct live *live);
/** One operation of the peer's: LIVE_SEGMENT to LIVE_ICMP, LIVE_AGAIN and LIVE_RAW. */
void live_peer_operate(struct live *live, enum live_operation operation);
/** A right segment of a connection: payload from a stream offset on, all acknowledged that was
    sent, the window wide open. */
void live_peer_answer(struct live *live, const struct tcp_connection *connection, uint64_t offset,
                      uint32_t payload_length);

/* ---- live_oracle.c -------------------------------------------------------------------------- */

/** A TCP frame that the stack sent, complete. */
void live_oracle_sent(struct live *live, const struct stack_frame *out, const struct frame *frame,
                      const struct frame_view *view);
/** A segment arrives (is parsed): note where a stream may end. */
void live_oracle_arrives(struct live *live, const struct tcp_segment *segment);
/** Payload of a segment comes to lie at a stream offset. */
void live_oracle_placed(struct live *live, struct live_slot *slot,
                        const struct tcp_connection *connection, uint64_t offset,
                        const uint8_t *bytes, uint32_t length);
/** Delayed placement: now it is there. */
void live_oracle_in_place(struct live *live, struct live_slot *slot, uint64_t offset,
                          uint32_t length);
/** After each operation. */
void live_oracle_check(struct live *live);
/** Everything was aborted and enough time has passed: nothing is left. */
void live_oracle_check_empty(struct live *live);

#endif
