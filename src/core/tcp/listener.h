/**
 * @file listener.h
 * A listening endpoint (state LISTEN), its embryonic connections (SYN_RECEIVED, Linux's SYN queue)
 * and its accept queue. The back-log means what it means on Linux: up to backlog + 1 connections
 * wait for accept(); beyond that SYNs and the handshakes' last ACKs are dropped, and while the SYN
 * queue holds backlog embryonic connections, SYNs are answered with cookies.
 */
#ifndef PNO_CORE_TCP_LISTENER_H
#define PNO_CORE_TCP_LISTENER_H

#include "base/siphash.h"
#include "core/tcp/connection.h"

/** Fast open (RFC 7413 §5.1): how many connections may be in use before their handshake is done. */
struct tcp_fast_open_queue {
    uint32_t max; /**< TCP_FASTOPEN; 0: off */
    uint32_t count;
    uint32_t penalty_count; /**< those reset in the last minute count as well … */
    uint32_t penalty_s;     /**< … by the second, up to this one */
    uint16_t penalties[60];
    uint8_t key_count; /**< 0: the stack's */
    struct siphash_key keys[2];
};

struct tcp_listener {
    struct tcp_listener_key key;
    struct stack *stack;
    uint32_t id;                     /**< no other listener had it before */
    struct tcp_listener *hash_next;  /**< the stack's */
    struct tcp_listener *event_next; /**< the stack's */
    uint32_t events;                 /**< the stack's */
    uint32_t backlog;
    uint32_t accept_count;                                   /**< established, not yet taken */
    uint32_t syn_count;                                      /**< embryonic */
    struct tcp_connection *accept_first, **accept_last_next; /**< not yet announced */
    struct tcp_connection *embryonic_first;
    uint64_t defer_ns;           /**< TCP_DEFER_ACCEPT */
    uint64_t cookies_allowed_ns; /**< until when cookies that come back are looked at */
    uint64_t syn_cookies_sent, overflows;
    struct tcp_fast_open_queue fast_open;
    struct tcp_options_set options;
    const struct tcp_options_set *shared_options; /**< the same, held; NULL: not known */
    void *user;
};

static inline bool tcp_accept_queue_is_full(const struct tcp_listener *listener)
{
    return listener->accept_count > listener->backlog;
}

/** As the accept queue, it holds one more than the backlog says. */
static inline bool tcp_syn_queue_is_full(const struct tcp_listener *listener)
{
    return listener->syn_count > listener->backlog;
}

/** The listener of a connection that the application does not have yet; NULL: it has it, or opened
    it. */
static inline struct tcp_listener *tcp_listener_of(const struct tcp_connection *connection)
{
    return connection->queued ? connection->pending->listener : NULL;
}

/** Such a connection leaves its listener. */
void tcp_pending_drop(struct stack *stack, struct tcp_connection *connection);

/** A new connection of this listener for an acceptable SYN, in SYN_RECEIVED but not in any list;
    iss 0: chosen. NULL: none left. */
struct tcp_connection *tcp_listener_spawn(struct tcp_listener *listener,
                                          const struct tcp_segment *segment, const seq_t *iss,
                                          const struct tcp_options *options, uint64_t now_ns);

/** Into the accept queue. */
void tcp_listener_accept(struct stack *stack, struct tcp_connection *connection);

/** An embryonic connection died: out of its listener. */
void tcp_listener_forget_embryonic(struct stack *stack, struct tcp_connection *connection);

/** The last ACK of the handshake came: into the accept queue. */
void tcp_listener_established(struct stack *stack, struct tcp_connection *connection);

/** A new SYN for this listener. */
void tcp_listener_syn_arrives(struct stack *stack, struct tcp_listener *listener,
                              const struct tcp_segment *segment, const seq_t *iss, uint64_t now_ns,
                              struct stack_rx_result *result);

/** The retransmission timer in SYN_RECEIVED. */
void tcp_syn_received_expired(struct stack *stack, struct tcp_connection *connection,
                              uint64_t now_ns);

/* ---- cookies.c: RFC 4987 §3.6 -------------------------------------------------------------- */

/** Answer a SYN without keeping anything of it. */
void tcp_cookie_send(struct stack *stack, struct tcp_listener *listener,
                     const struct tcp_segment *segment, uint64_t now_ns);

/** Whether this ACK returns a cookie of ours; if so, the options of the SYN as far as kept, and
    whether it was granted ECN. */
bool tcp_cookie_check(struct stack *stack, const struct tcp_segment *segment, uint64_t now_ns,
                      struct tcp_options *options, bool *ecn);

#endif
