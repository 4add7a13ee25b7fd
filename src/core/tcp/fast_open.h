/**
 * @file fast_open.h
 * TCP Fast Open (RFC 7413): data on SYNs, and the cookies that make it safe.
 *
 * A server's cookie is a keyed hash of the two addresses (the key may be changed; the one before is
 * still taken, and answered with a cookie of the new). A SYN that brings one back makes a
 * connection that is given to the application at once, in SYN_RECEIVED; a listener has at most so
 * many of these as TCP_FASTOPEN says.
 *
 * A client keeps the cookies it was given, and the peers' MSS, by address, in a cache of fixed
 * size. A SYN with data is held until the application gave the data. Whatever of it the SYN-ACK
 * does not acknowledge is sent again at once; a SYN that has to be repeated goes without all this.
 */
#ifndef PNO_CORE_TCP_FAST_OPEN_H
#define PNO_CORE_TCP_FAST_OPEN_H

#include "core/tcp/connection.h"

/** Bytes of the cookies we make (RFC 7413 §4.1.2: 4 to 16). */
#define TCP_FAST_OPEN_COOKIE_BYTES 8

/** Why a client's SYN carried no data that was taken; Linux's tcpi_fastopen_client_fail. */
enum tcp_fast_open_failure {
    TCP_FAST_OPEN_NO_FAILURE = 0,
    TCP_FAST_OPEN_NO_COOKIE_CACHED = 1,
    TCP_FAST_OPEN_NOT_ACKNOWLEDGED = 2,
    TCP_FAST_OPEN_SYN_REPEATED = 3,
};

/* ---- Client -------------------------------------------------------------------------------- */

/** Active open with fast open wanted: hold the SYN for data if a cookie is there, or none needed.
    @return whether it is held. */
bool tcp_fast_open_begin(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** Put the option into the options of the first SYN.
    @return bytes of payload that go along. */
uint32_t tcp_fast_open_syn(struct stack *stack, struct tcp_connection *connection,
                           struct tcp_options *options);

/** The SYN-ACK of a connection that just got established; its payload is welcome if this says so.
    What of the SYN's data it leaves out is marked lost. */
bool tcp_fast_open_synack_arrives(struct stack *stack, struct tcp_connection *connection,
                                  const struct tcp_segment *segment, uint64_t now_ns);

/** A retransmission timeout, the last one if expired: a middle-box may swallow what fast open
    sends. */
void tcp_fast_open_timeout(struct stack *stack, const struct tcp_connection *connection,
                           bool expired, uint64_t now_ns);

/** TIMESTAMPs that don't answer our SYN: the SYN-ACK is not of this connection. */
bool tcp_syn_timestamp_is_wrong(const struct tcp_connection *connection,
                                const struct tcp_segment *segment, uint64_t now_ns);

/* ---- Server -------------------------------------------------------------------------------- */

/** What to do about a SYN. */
enum tcp_fast_open_verdict {
    TCP_FAST_OPEN_ORDINARY, /**< nothing */
    TCP_FAST_OPEN_ANSWER,   /**< an ordinary handshake; the SYN-ACK brings a cookie */
    TCP_FAST_OPEN_ACCEPT,   /**< to the accept queue with it */
    TCP_FAST_OPEN_RENEW,    /**< the same, and the SYN-ACK brings a cookie of the present key */
};
enum tcp_fast_open_verdict tcp_fast_open_judge(struct stack *stack, struct tcp_listener *listener,
                                               const struct tcp_segment *segment, uint64_t now_ns);

/** The cookie that a SYN-ACK of this connection brings, if one is due. */
void tcp_fast_open_synack(struct stack *stack, struct tcp_connection *connection,
                          struct tcp_options *options);

/** A connection in SYN_RECEIVED, not in any list, begins as a fast one. */
void tcp_fast_open_accept(struct stack *stack, struct tcp_listener *listener,
                          struct tcp_connection *connection, uint64_t now_ns);

/** Take the payload of a SYN that was accepted, if it was not taken yet.
    @return whether it has been. */
bool tcp_fast_open_take_payload(struct stack *stack, struct tcp_connection *connection,
                                const struct tcp_segment *segment, uint64_t now_ns,
                                struct stack_rx_result *result);

/** In SYN_RECEIVED, but open for the application's data. */
static inline bool tcp_fast_open_is_pending(const struct tcp_connection *connection)
{
    return connection->fast_open.pending;
}

/** The handshake is done, or will never be (reset or given up): out of the listener's queue. */
void tcp_fast_open_leave(struct stack *stack, struct tcp_connection *connection, bool failed,
                         uint64_t now_ns);

#endif
