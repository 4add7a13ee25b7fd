/**
 * @file recovery.h
 * Loss repair: fast recovery with SACK, where RACK (rack.h) tells what is lost, and without (RFC
 * 6582), limited transmit (RFC 3042, by way of pipe), proportional rate reduction (RFC 6937),
 * retransmission timeouts with F-RTO (RFC 5682), and undo of what proves spurious (undo.c: RFC
 * 4015, RFC 3708). Decides how large cwnd is meanwhile; output.h does the sending.
 */
#ifndef PNO_CORE_TCP_RECOVERY_H
#define PNO_CORE_TCP_RECOVERY_H

#include "core/tcp/sent.h"

/** What one acknowledgement said. Bytes. */
struct tcp_ack_facts {
    uint64_t now_ns;
    uint64_t prior_una;
    uint32_t acked;        /**< cumulatively */
    uint32_t newly_sacked; /**< by its SACK blocks */
    uint32_t delivered;    /**< newly known to have arrived, one way or the other */
    uint32_t newly_lost;   /**< found lost in consequence */
    uint32_t dsack_bytes;  /**< reported as duplicate */
    uint32_t timestamp_echo;
    uint32_t prior_in_flight; /**< tcp_pipe() before it */
    uint32_t rtt_us;          /**< of the newest segment sent just once that arrived; 0: none */
    bool has_timestamp_echo;
    bool congestion_echo; /**< ECE, on a connection with ECN */
    bool is_duplicate;    /**< in the sense of RFC 5681 §2, or with new SACKs */
    bool dsack_of_probe;  /**< the duplicate is the tail probe */
    bool timer_restart;   /**< the send timer is to run from now */
    /* Of the records of what arrived. */
    bool again_delivered;    /**< something sent more than once was acknowledged */
    bool original_delivered; /**< something sent just once, before the episode's RecoveryPoint */
    bool original_timed;     /**< something sent just once: the oldest and newest when … */
    uint32_t oldest_sent_us, newest_sent_us;
    bool sampled;            /**< … and the most recently sent of all: */
    struct tcp_sent sample;  /**< its record, as far as it arrived */
    uint64_t reordered_from; /**< lowest original to arrive after a later one; UINT64_MAX none */
};

/* ---- recovery_state.c ---------------------------------------------------------------------- */

/** What recovery keeps of this connection, its own from now on: one is there for each. And a struct
    tcp_rare, which stays. */
struct tcp_recovery *tcp_recovery_take(struct stack *stack, struct tcp_connection *connection);

/** Give it back if it says nothing: nothing amiss, nothing to undo, nothing learnt of the path. */
void tcp_recovery_release_if_idle(struct stack *stack, struct tcp_connection *connection);

/** Give it back. Nothing is SACKed, nothing in `lost`. */
void tcp_recovery_drop(struct stack *stack, struct tcp_connection *connection);

/* ---- recovery.c ---------------------------------------------------------------------------- */

/** Part of a record, what of it lies in [start, end), has arrived. */
void tcp_recovery_note_delivered(struct tcp_connection *connection, const struct tcp_sent *record,
                                 uint64_t start, uint64_t end, struct tcp_ack_facts *facts);

/** Take an acknowledgement into account. snd_una and the scoreboard are up to date already. */
void tcp_recovery_on_ack(struct stack *stack, struct tcp_connection *connection,
                         struct tcp_ack_facts *facts);

/** The retransmission timer expired (RFC 5681 §3.1, RFC 8985 §6.3). */
void tcp_recovery_timeout(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** The reorder timer expired: RACK looks again. */
void tcp_recovery_reorder_expired(struct stack *stack, struct tcp_connection *connection,
                                  uint64_t now_ns);

/** The path carries only smaller packets: what is in flight is lost, but not by congestion. */
void tcp_recovery_path_mtu_shrank(struct stack *stack, struct tcp_connection *connection);

/** Output retransmitted [start, end) in segments of mss bytes. */
void tcp_recovery_retransmitted(struct tcp_connection *connection, uint64_t start, uint64_t end,
                                uint32_t mss, uint64_t now_ns);

/** Output sent bytes, new or again: for proportional rate reduction. */
void tcp_recovery_sent(struct tcp_connection *connection, uint32_t bytes);

/** An original numbered low arrived after later ones had been SACKed. */
void tcp_recovery_reordered(struct tcp_connection *connection, uint64_t low);

/** F-RTO wanted new data to be sent, and there is none: repair as ever. */
void tcp_recovery_frto_give_up(struct tcp_connection *connection);

/** Whether lost data may be sent again now. */
static inline bool tcp_recovery_may_retransmit(const struct tcp_connection *connection)
{
    return connection->rare->recovery->lost.first != NULL &&
           connection->hot.ca_state >= TCP_CA_RECOVERY && !connection->rare->recovery->frto_new;
}

/* ---- undo.c -------------------------------------------------------------------------------- */

/** The window is about to be reduced: remember it, in case the loss proves spurious. */
void tcp_undo_begin(struct tcp_connection *connection);

/** There is nothing to undo any more. */
void tcp_undo_forget(struct tcp_connection *connection);

/** Count a D-SACK of [start, end) towards undoing. */
void tcp_undo_dsack(struct tcp_connection *connection, const struct tcp_ack_facts *facts,
                    uint64_t start, uint64_t end);

/** The ACK answers what was sent before the episode's first retransmission, or there was none: the
    original was late, not lost (RFC 3522). */
bool tcp_undo_was_delayed(const struct tcp_connection *connection,
                          const struct tcp_ack_facts *facts);

/** Every retransmission of the episode was reported as a duplicate (RFC 3708). */
bool tcp_undo_all_duplicates(const struct tcp_connection *connection);

/** Back to the window before (RFC 4015 §3.2). */
void tcp_undo(struct tcp_connection *connection);

#endif
