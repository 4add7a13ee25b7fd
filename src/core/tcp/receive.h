/**
 * @file receive.h
 * The receiving half: what payload is new and in order, when to acknowledge it, which SACK blocks
 * to report, and the window to offer. Places no bytes: it says which of them are wanted.
 */
#ifndef PNO_CORE_TCP_RECEIVE_H
#define PNO_CORE_TCP_RECEIVE_H

#include "core/tcp/connection.h"

/** No ACK waits longer (TCP_DELACK_MAX_US sets less): Linux's TCP_DELACK_MAX. */
#define TCP_ACK_DELAY_MAX_US UINT32_C(200000)

/* ---- reassembly.c -------------------------------------------------------------------------- */

/** The connection's own from now on: one is there for each. */
struct tcp_reassembly *tcp_reassembly_take(struct stack *stack, struct tcp_connection *connection);

/** Give it back if it says nothing any more. */
void tcp_reassembly_release_if_idle(struct stack *stack, struct tcp_connection *connection);

/** All is in order, or nothing more will come: no news for the peer any more (as Linux has it). */
void tcp_reassembly_clear(struct stack *stack, struct tcp_connection *connection);

/** Give it back, with all it says. */
void tcp_reassembly_drop(struct stack *stack, struct tcp_connection *connection);

/* ---- receive.c: payload and acknowledgements ----------------------------------------------- */

/**
 * Take in the payload and FIN of a segment that overlaps the window (RFC 9293 §3.10.7.4, seventh
 * and eighth check).
 * @param seq     the segment's number, unwrapped.
 * @param result  place_* say what to place; drop, why nothing.
 * @return        true when the peer's FIN has just come into order.
 */
bool tcp_receive_payload(struct stack *stack, struct tcp_connection *connection,
                         const struct tcp_segment *segment, uint64_t seq, uint64_t now_ns,
                         struct stack_rx_result *result);

/** The same of payload that begins at rcv_nxt, ends within the window and comes alone, with nothing
    waiting beyond a gap (header prediction, RFC 7323 §5.6). */
void tcp_receive_predicted(struct stack *stack, struct tcp_connection *connection,
                           const struct tcp_segment *segment, uint64_t now_ns,
                           struct stack_rx_result *result);

/** The same of payload, or none, with a FIN behind it; then there is a window. */
void tcp_receive_predicted_fin(struct stack *stack, struct tcp_connection *connection,
                               const struct tcp_segment *segment, uint64_t now_ns,
                               struct stack_rx_result *result);

/** Payload [start, end) was there already: report it (RFC 2883), and acknowledge it and the next at
    once (as Linux). */
void tcp_duplicate_report(struct stack *stack, struct tcp_connection *connection, uint64_t start,
                          uint64_t end);

/** What goes out acknowledges what was pending. */
static inline void tcp_ack_rides_along(struct tcp_connection *connection)
{
    struct tcp_hot *hot = &connection->hot;
    if (hot->quick_acks > 0 && (hot->acks_owed > 0 || hot->ack_deadline_ns != TIME_NEVER))
        hot->quick_acks--;
    hot->ack_deadline_ns = TIME_NEVER;
}

/** The delayed ACK's time is up: nothing came that could carry it. If that should have been an
    answer, it is no exchange of request and response after all; else the next waits longer. */
void tcp_ack_delay_expired(struct tcp_connection *connection);

/** Send a pure ACK at once. */
void tcp_ack_now(struct stack *stack, struct tcp_connection *connection);

/** An acknowledgement is due: now (quick mode, or more than a segment's worth) or delayed. */
void tcp_ack_schedule(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** Whether something unacceptable may be answered now; then that is noted. */
bool tcp_challenge_allowed(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** Answer something unacceptable with an ACK, not more often than Linux does (RFC 5961 §7). */
void tcp_challenge_ack(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** The next ACKs are sent without delay (new connection, trouble on the path, long idleness). */
void tcp_quick_ack_enter(struct tcp_connection *connection, unsigned count_max);

/** Fill the SACK blocks to send, at most max. @return how many. Clears a D-SACK it reported. */
unsigned tcp_sack_blocks(struct tcp_connection *connection, unsigned max,
                         struct tcp_sack_block *blocks);

/** How many SACK blocks (with D-SACK) want reporting. */
unsigned tcp_sack_blocks_wanted(const struct tcp_connection *connection);

/** Whether this number is one past the highest byte that waits beyond a gap, as SACK reports it. */
bool tcp_sack_ends_at(const struct tcp_connection *connection, seq_t number);

/* ---- receive_window.c ---------------------------------------------------------------------- */

/** Before the handshake: what to offer in the SYN or SYN-ACK, and our window scale.
    @param mss  payload of a full segment, for rounding. */
void tcp_window_init(struct stack *stack, struct tcp_connection *connection, uint32_t mss);

/** The window to begin with for this receive buffer, and the scale to go with it. A SYN or SYN-ACK
    tells of 65535 bytes of it at most. */
uint32_t tcp_window_initial(const struct stack *stack, const struct tcp_options_set *options,
                            uint32_t mss, bool scaling, uint8_t *scale);

/** So much payload of one segment was taken, and waits to be read. */
void tcp_receive_memory_take(struct stack *stack, struct tcp_connection *connection,
                             uint32_t payload);
static inline void tcp_receive_memory_add(struct stack *stack, struct tcp_connection *connection,
                                          uint32_t payload)
{
    if (__builtin_expect(stack_get_config(stack)->receive_memory != NULL, 0))
        tcp_receive_memory_take(stack, connection, payload);
}

/** Segments of another size come: how much of the buffer their payload takes. */
void tcp_window_measure(struct stack *stack, struct tcp_connection *connection, uint32_t payload);

/** Established: what of the buffer is offered, and where right-sizing starts. */
void tcp_window_established(struct tcp_connection *connection, uint64_t now_ns);

/** The window field of the next segment; moves the right edge, never to the left (RFC 9293
    §3.8.6.2.1: SHLD-14). Forgets the acknowledgement that was pending: it is being sent. */
uint16_t tcp_window_advertise(struct tcp_connection *connection);

/** Bytes from rcv_nxt to the right edge last advertised. */
uint32_t tcp_receive_window(const struct tcp_connection *connection);

/** The buffer has no room for another segment: an ACK now would close the window. */
bool tcp_window_is_closing(const struct tcp_connection *connection);

/** In-order payload arrived: offer more, as long as there is room (Linux's tcp_grow_window). */
void tcp_window_grow(struct tcp_connection *connection, uint32_t length);

/** Payload arrived beyond a gap: as Linux, the window grows as well, and the buffer by what waits,
    lest that close the window before the gap is filled. */
void tcp_window_keep_up(const struct stack *stack, struct tcp_connection *connection,
                        uint32_t length);

/** Round-trip time as the receiver sees it, for right-sizing. */
void tcp_receive_rtt_measure(struct tcp_connection *connection, const struct tcp_segment *segment,
                             uint64_t now_ns);

#endif
