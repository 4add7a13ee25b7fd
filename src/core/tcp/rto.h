/**
 * @file rto.h
 * Round-trip time and the retransmission timeout (RFC 6298), and for how long to try.
 * Sets no timers (timers.h).
 */
#ifndef PNO_CORE_TCP_RTO_H
#define PNO_CORE_TCP_RTO_H

#include "core/tcp/connection.h"

#define TCP_RTO_INITIAL_US UINT32_C(1000000)
/** Once the handshake is done and gave no sample (RFC 6298 §5.7). */
#define TCP_RTO_FALL_BACK_US UINT32_C(3000000)
/** What takes longer than any timeout may is no round trip. */
#define TCP_RTO_MAX_US UINT32_C(120000000)

/** No sample yet: RTO is one second (RFC 6298 §2.1). */
void tcp_rto_init(struct tcp_connection *connection);

/** The handshake is done, and there is none still (RFC 6298 §5.7). */
void tcp_rto_fall_back(struct tcp_connection *connection);

/** Take one measurement of a segment that was not retransmitted (or is told apart by timestamps):
    RFC 6298 §2.2-2.4 as Linux does it. There is a sample for every ACK, so the variance term is the
    largest mean deviation of the round trip, falls by a quarter of the difference a round trip, and
   is at least rto_min. */
void tcp_rto_sample(struct tcp_connection *connection, uint32_t rtt_us);

/** Keep the shortest round trip of the last 300 s. */
void tcp_rto_min_note(struct tcp_connection *connection, uint32_t rtt_us, uint64_t now_ns);

/** The timeout with back-off (RFC 6298 §5.5), at most rto_max, nanoseconds. */
uint64_t tcp_rto_backed_off_ns(const struct tcp_connection *connection);

/** The timeout to arm now, nanoseconds: that, but not past the user timeout. */
uint64_t tcp_rto_ns(const struct tcp_connection *connection, uint64_t now_ns);

/** For TCP_INFO: the retransmission timer expired; congestion.retransmits does not count it yet. */
void tcp_timeout_note(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** What timeouts began is repaired. */
void tcp_timeout_repaired(struct tcp_connection *connection, uint64_t now_ns);

/** How long retries with exponential back-off from rto_min take, nanoseconds: the meaning Linux
    gives tcp_retries2 (RFC 1122 §4.2.3.5: R2). */
uint64_t tcp_retries_ns(const struct tcp_connection *connection, unsigned retries);

#endif
