/* Segment size and path MTU (RFC 1191, RFC 8201, RFC 9293 §3.7.1, RFC 6691). */
#include <errno.h>

#include "core/tcp/congestion.h"
#include "core/tcp/fast_open.h"
#include "core/tcp/mtu_probe.h"
#include "core/tcp/output.h"
#include "core/tcp/rare.h"
#include "core/tcp/recovery.h"
#include "core/tcp/state.h"

#define TCP_HEADER_BYTES 20

static uint32_t headers(const struct tcp_connection *connection)
{
    return (connection->is_ipv6 ? 40 : 20) + TCP_HEADER_BYTES;
}

/** Payload that fits a packet of mtu bytes, TCP options not counted (RFC 6691 §2). */
static uint32_t payload_of_mtu(const struct tcp_connection *connection, uint32_t mtu)
{
    uint32_t least = headers(connection) + TCP_MSS_MIN;
    return (mtu > least ? mtu : least) - headers(connection);
}

void tcp_link_mss_set(struct tcp_connection *connection, uint16_t mtu)
{
    connection->link_mss = (uint16_t)payload_of_mtu(connection, mtu);
}

uint32_t tcp_path_mss(const struct tcp_connection *connection)
{
    uint32_t mss = payload_of_mtu(connection, connection->path_mtu);
    uint32_t maxseg = connection->options->maxseg;
    return maxseg != 0 && maxseg < mss ? maxseg : mss;
}

void tcp_mss_update(struct tcp_connection *connection)
{
    uint32_t mss = tcp_path_mss(connection);
    if (connection->mtu_probing &&
        payload_of_mtu(connection, connection->rare->mtu_probe.low) < mss)
        mss = payload_of_mtu(connection, connection->rare->mtu_probe.low);
    if (connection->peer_mss < mss)
        mss = connection->peer_mss;
    if (mss < TCP_MSS_MIN)
        mss = TCP_MSS_MIN;
    uint32_t options = connection->hot.timestamps ? TCP_TIMESTAMP_OPTION_BYTES : 0;
    uint32_t window = connection->congestion.max_window;
    uint32_t half = window > TCP_MSS_DEFAULT ? window / 2 : window;
    if (half != 0 && half < mss)
        mss = half > TCP_MSS_MIN ? half : TCP_MSS_MIN;
    connection->hot.mss = (uint16_t)(mss - options);
}

static enum tcp_mtu_discover discovery(const struct tcp_connection *connection)
{
    return connection->is_ipv6 ? connection->options->mtu_discover_v6
                               : connection->options->mtu_discover_v4;
}

bool tcp_accepts_path_mtu(const struct tcp_connection *connection)
{
    return !connection->is_ipv6 || (discovery(connection) != TCP_MTU_DISCOVER_INTERFACE &&
                                    discovery(connection) != TCP_MTU_DISCOVER_OMIT);
}

/** Whether what did not fit is sent again at once: not where it should have been fragmented.
    Source: Linux tcp_v4_mtu_reduced(), tcp_v6_mtu_reduced(). */
static bool resends_at_once(const struct tcp_connection *connection)
{
    return connection->is_ipv6 || discovery(connection) == TCP_MTU_DISCOVER_WANT ||
           discovery(connection) == TCP_MTU_DISCOVER_DO ||
           discovery(connection) == TCP_MTU_DISCOVER_PROBE;
}

/** As Linux, which counts it in segments, the window lets out as many of the smaller ones. */
static void window_rescale(struct tcp_connection *connection, uint16_t before)
{
    struct tcp_hot *hot = &connection->hot;
    uint32_t *ssthresh = &connection->congestion.ssthresh;
    hot->cwnd = hot->cwnd > before ? hot->cwnd / before * hot->mss : hot->mss;
    if (*ssthresh != TCP_SSTHRESH_INFINITE)
        *ssthresh = *ssthresh > before ? *ssthresh / before * hot->mss : hot->mss;
}

static void packet_too_big(struct stack *stack, struct tcp_connection *connection, uint16_t mtu)
{
    uint16_t before = connection->hot.mss;
    if (mtu == 0 || mtu >= connection->path_mtu)
        return;
    connection->path_mtu = mtu;
    tcp_mtu_probe_limit(connection, mtu);
    if (connection->hot.state == TCP_STATE_SYN_SENT) {
        /* A SYN with data: once more, plain, and the peer is to send no larger ones either. */
        if (!connection->fast_open.data_sent || connection->hot.syn_due)
            return;
        connection->fast_open.wanted = false;
        if (payload_of_mtu(connection, mtu) < connection->link_mss)
            tcp_link_mss_set(connection, mtu);
        connection->hot.syn_due = true;
        tcp_output_request(stack, connection);
        return;
    }
    tcp_mss_update(connection);
    if (connection->hot.mss >= before || !tcp_is_synchronized(connection))
        return;
    window_rescale(connection, before);
    if (resends_at_once(connection))
        tcp_recovery_path_mtu_shrank(stack, connection);
}

bool tcp_sequence_in_flight(const struct tcp_connection *connection, seq_t seq)
{
    uint64_t number = tcp_unwrap(connection->hot.snd_una, seq);
    uint64_t first = connection->hot.snd_una - tcp_fast_open_is_pending(connection); /* the SYN */
    return number >= first && number <= connection->hot.snd_nxt;
}

void tcp_icmp_arrives(struct stack *stack, struct tcp_connection *connection,
                      enum tcp_icmp_kind kind, int error, uint16_t mtu, seq_t seq, uint64_t now_ns)
{
    const struct tcp_hot *hot = &connection->hot;
    (void)now_ns;
    /* It must quote something in flight (RFC 5927 §4.1). */
    if (hot->state == TCP_STATE_CLOSED || !tcp_sequence_in_flight(connection, seq))
        return;
    if (kind == TCP_ICMP_PACKET_TOO_BIG) {
        packet_too_big(stack, connection, mtu);
        return;
    }
    /* An embryonic connection goes with an unreachable network or host (as Linux). */
    bool embryonic = connection->queued && !tcp_fast_open_is_pending(connection);
    bool opening =
        hot->state == TCP_STATE_SYN_SENT ||
        (hot->state == TCP_STATE_SYN_RECEIVED && (!embryonic || kind == TCP_ICMP_UNREACHABLE_SOFT));
    if (opening) { /* hard or soft: Linux gives up on either */
        tcp_enter_closed(stack, connection, error);
        tcp_release_if_done(stack, connection);
        return;
    }
    /* RFC 1122 §4.2.3.9: not a reason to abort; remembered for when retries run out. */
    tcp_rare_take(stack, connection)->soft_error = (uint16_t)error;
    tcp_event_raise(stack, connection, STACK_EVENT_SOFT_ERROR);
}

void tcp_neighbour_failed(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    (void)now_ns;
    if (connection->hot.state == TCP_STATE_SYN_SENT) {
        tcp_enter_closed(stack, connection, EHOSTUNREACH);
        tcp_release_if_done(stack, connection);
        return;
    }
    tcp_rare_take(stack, connection)->soft_error = EHOSTUNREACH;
    tcp_event_raise(stack, connection, STACK_EVENT_SOFT_ERROR);
}
