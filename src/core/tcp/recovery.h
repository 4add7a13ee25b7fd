/**
 * @file recovery.h
 * Loss detection and repair: fast retransmit and fast recovery with SACK (RFC 6675) and without
 * (RFC 6582), limited transmit (RFC 3042, by way of pipe), proportional rate reduction (RFC 6937),
 * retransmission timeouts, and undo of what proves spurious (RFC 3522 by timestamps, RFC 3708 by
 * D-SACK). Decides what is lost and how large cwnd is meanwhile; output.h does the sending.
 *
 * SACKs above a hole prove it lost at once when they cover three segments (more, on a path seen to
 * reorder), else after a quarter of a round trip (after RFC 8985 §6.2).
 */
#ifndef PNO_CORE_TCP_RECOVERY_H
#define PNO_CORE_TCP_RECOVERY_H

#include "core/tcp/connection.h"

/** What one acknowledgement said. Bytes. */
struct tcp_ack_facts {
    uint64_t now_ns;
    uint64_t prior_una;
    uint32_t acked;        /**< cumulatively */
    uint32_t newly_sacked; /**< by its SACK blocks */
    uint32_t delivered;    /**< newly known to have arrived, one way or the other */
    uint32_t dsack_bytes;  /**< reported as duplicate */
    uint32_t timestamp_echo;
    bool has_timestamp_echo;
    bool congestion_echo; /**< ECE, on a connection with ECN */
    bool is_duplicate;    /**< in the sense of RFC 5681 §2, or with new SACKs */
};

/** Take an acknowledgement into account. snd_una and the scoreboard are up to date already. */
void tcp_recovery_on_ack(struct stack *stack, struct tcp_connection *connection,
                         const struct tcp_ack_facts *facts);

/** The retransmission timer expired (RFC 5681 §3.1, RFC 6675 §5.1). */
void tcp_recovery_timeout(struct stack *stack, struct tcp_connection *connection);

/** The reorder timer expired: the holes it was set for are lost. */
void tcp_recovery_reorder_expired(struct stack *stack, struct tcp_connection *connection,
                                  uint64_t now_ns);

/** The path carries only smaller packets: what is in flight is lost, but not by congestion. */
void tcp_recovery_path_mtu_shrank(struct stack *stack, struct tcp_connection *connection);

/** Output retransmitted [start, end). */
void tcp_recovery_retransmitted(struct tcp_connection *connection, uint64_t start, uint64_t end,
                                uint64_t now_ns);

/** Output sent bytes, new or again: for proportional rate reduction. */
void tcp_recovery_sent(struct tcp_connection *connection, uint32_t bytes);

/** A SACK or ACK showed that an original transmission arrived distance bytes late. */
void tcp_recovery_reordered(struct tcp_connection *connection, uint64_t distance);

#endif
