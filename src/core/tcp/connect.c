#include "core/tcp/connect.h"

#include <errno.h>

#include "core/tcp/congestion.h"
#include "core/tcp/delivery.h"
#include "core/tcp/ecn.h"
#include "core/tcp/fast_open.h"
#include "core/tcp/keepalive.h"
#include "core/tcp/mtu_probe.h"
#include "core/tcp/output.h"
#include "core/tcp/prototype.h"
#include "core/tcp/rare.h"
#include "core/tcp/receive.h"
#include "core/tcp/recovery.h"
#include "core/tcp/rto.h"
#include "core/tcp/state.h"
#include "core/tcp/timers.h"

void tcp_options_set_init(struct tcp_options_set *options, const struct tcp_defaults *defaults)
{
    *options = (struct tcp_options_set){
        .congestion = defaults->congestion,
        .max_pacing_rate = UINT64_MAX,
        .keepalive_count = defaults->keepalive_count,
        .syn_retries = defaults->syn_retries,
        .keepalive_idle_ns = defaults->keepalive_idle_ns,
        .keepalive_interval_ns = defaults->keepalive_interval_ns,
        .linger2_ns = defaults->fin_wait2_timeout_ns,
        .rto_min_us = (uint32_t)(defaults->rto_min_ns / NS_PER_US),
        .rto_max_us = (uint32_t)(defaults->rto_max_ns / NS_PER_US),
        .ack_delay_max_us = TCP_ACK_DELAY_MAX_US,
        .mtu_discover_v4 = TCP_MTU_DISCOVER_WANT,
        .mtu_discover_v6 = TCP_MTU_DISCOVER_WANT,
    };
}

uint16_t tcp_link_mtu(const struct stack *stack, uint16_t path_mtu)
{
    uint16_t mtu = stack_get_config(stack)->mtu;
    return path_mtu > mtu ? path_mtu : mtu;
}

void tcp_numbers_init(struct stack *stack, struct tcp_connection *connection, const seq_t *iss,
                      uint64_t now_ns)
{
    struct tcp_first_numbers first = tcp_first_numbers_choose(stack, &connection->flow, now_ns);
    struct tcp_hot *hot = &connection->hot;
    if (iss != NULL)
        first.iss = *iss;
    hot->snd_first = seq_add(first.iss, 1);
    hot->snd_end = hot->snd_nxt = tcp_snd_start(hot); /* the SYN is taken to be sent */
    hot->snd_una = hot->snd_end - 1;
    hot->snd_sml = first.iss;
    hot->ts_offset = first.ts_offset;
    connection->congestion.flight_round = first.iss;
}

void tcp_connection_init(struct stack *stack, struct tcp_connection *connection,
                         const struct tcp_options_set *options, const seq_t *iss, uint64_t now_ns)
{
    struct tcp_hot *hot = &connection->hot;
    tcp_numbers_init(stack, connection, iss, now_ns);
    uint16_t mtu = stack_path_mtu(stack, &connection->flow.remote, now_ns);
    connection->options = tcp_options_share(stack, options);
    tcp_congestion_note(connection);
    const struct tcp_defaults *defaults = &stack_get_config(stack)->tcp;
    connection->send_buffer_max = defaults->send_buffer_max;
    connection->send_buffer_initial = defaults->send_buffer_initial < defaults->send_buffer_max
                                          ? defaults->send_buffer_initial
                                          : defaults->send_buffer_max;
    connection->is_ipv6 = !ip_address_is_v4(&connection->flow.remote);
    connection->path_mtu = mtu;
    tcp_link_mss_set(connection, tcp_link_mtu(stack, mtu));
    connection->peer_mss = TCP_MSS_DEFAULT;
    connection->state_deadline_ns = TIME_NEVER;
    hot->send_deadline_ns = hot->ack_deadline_ns = TIME_NEVER;
    hot->state = TCP_STATE_CLOSED;
    hot->rcv_nxt = TCP_SEQ_EPOCH; /* tcp_rcv_start(), and 0 on the wire, until there is a SYN */
    hot->pingpong = options->delay_acks;
    tcp_rare_init(connection);
    tcp_rto_init(connection);
    tcp_delivery_init(connection);
}

void tcp_rcv_mss_init(struct tcp_connection *connection)
{
    uint32_t mss = tcp_advertised_mss(connection);
    if (mss > connection->hot.mss)
        mss = connection->hot.mss;
    if (mss > TCP_MSS_DEFAULT)
        mss = TCP_MSS_DEFAULT;
    connection->hot.rcv_mss = (uint16_t)(mss < TCP_RCV_MSS_MIN ? TCP_RCV_MSS_MIN : mss);
}

/** Room for ten of the largest segments, twice, each in memory of a power of two with its
    bookkeeping, as Linux's tcp_sndbuf_expand() counts it. With Ethernet's that is no more than the
    usual; over loopback programs write a megabyte or two before they read it. */
static void fit_send_buffer(struct tcp_connection *connection)
{
    enum { SEGMENTS = 2 * 10, HEADERS_BYTES = 640, RECORD_BYTES = 256 };
    uint32_t bytes =
        connection->peer_mss < connection->link_mss ? connection->peer_mss : connection->link_mss;
    bytes = 1u << (32 - __builtin_clz(bytes + HEADERS_BYTES - 1));
    bytes = SEGMENTS * (bytes + RECORD_BYTES);
    if (connection->send_buffer_initial < bytes)
        connection->send_buffer_initial =
            bytes < connection->send_buffer_max ? bytes : connection->send_buffer_max;
}

void tcp_syn_accept(struct stack *stack, struct tcp_connection *connection,
                    const struct tcp_segment *segment, const struct tcp_options *options,
                    uint64_t now_ns)
{
    const struct tcp_defaults *defaults = &stack_get_config(stack)->tcp;
    struct tcp_hot *hot = &connection->hot;
    hot->timestamps = defaults->timestamps & options->has_timestamps;
    hot->sack = defaults->sack & options->has_sack_permitted;
    hot->window_scaling = defaults->window_scaling & options->has_window_scale;
    tcp_ecn_negotiate(stack, connection, segment);
    hot->snd_wscale = 0;
    if (hot->window_scaling)
        hot->snd_wscale = options->window_scale < TCP_WINDOW_SCALE_MAX ? options->window_scale
                                                                       : TCP_WINDOW_SCALE_MAX;
    tcp_syn_numbers_note(connection, segment, options, now_ns);
    connection->peer_mss = options->mss != 0 ? options->mss : TCP_MSS_DEFAULT;
    if (connection->peer_mss < TCP_MSS_MIN)
        connection->peer_mss = TCP_MSS_MIN;
    fit_send_buffer(connection);
    hot->snd_wnd = connection->congestion.max_window = segment->window; /* of a SYN: not scaled */
    tcp_mss_update(connection);
    tcp_rcv_mss_init(connection);
}

void tcp_transfer_begin(struct stack *stack, struct tcp_connection *connection, uint64_t una,
                        uint64_t now_ns)
{
    struct tcp_hot *hot = &connection->hot;
    hot->snd_una = una;
    tcp_mtu_probe_init(stack, connection, now_ns);
    tcp_cwnd_init(stack, connection, now_ns);
    tcp_window_established(connection, now_ns);
}

/** The rest of it, which a connection opened fast still lacks. */
static void established(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_hot *hot = &connection->hot;
    tcp_timeout_repaired(connection, now_ns);
    connection->congestion.backoff = 0;
    connection->congestion.retransmits = 0;
    if (tcp_rare_is_own(connection))
        connection->rare->retransmit_began_ns = 0;
    connection->congestion.last_ack_ms = tcp_clock_ms(now_ns);
    connection->statistics.delivered_segments++; /* the SYN, as Linux counts */
    connection->established_ms = (uint32_t)(now_ns / NS_PER_MS);
    hot->syn_due = false;
    if (hot->last_sent_ns != 0)
        hot->last_sent_ns = now_ns; /* with the SYN or its answer: as Linux, that is no idleness */
    if (connection->passive)
        hot->challenge_acked = false; /* what was said of the handshake does not count */
    hot->cwr_due = hot->ecn && !connection->passive && connection->syn_timeouts > 0;
    tcp_set_state(stack, connection, TCP_STATE_ESTABLISHED);
    tcp_send_timer_restart(stack, connection, now_ns);
    tcp_keepalive_update(stack, connection, now_ns);
    stack_reachability_confirm(stack, connection, now_ns);
    if (connection->fin_after_handshake)
        tcp_shutdown_write(stack, connection, now_ns);
    tcp_output_request_if_wanted(stack, connection);
}

void tcp_establish(struct stack *stack, struct tcp_connection *connection, uint64_t una,
                   uint64_t now_ns)
{
    if (connection->congestion.srtt_eighth == 0)
        tcp_rto_fall_back(connection);
    tcp_transfer_begin(stack, connection, una, now_ns);
    established(stack, connection, now_ns);
}

void tcp_establish_fast(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    if (connection->congestion.srtt_eighth == 0)
        tcp_rto_fall_back(connection);
    tcp_fast_open_leave(stack, connection, false, now_ns);
    established(stack, connection, now_ns);
}

/** SYN_SENT with a SYN in the making. */
static void open_active(struct stack *stack, struct tcp_connection *connection,
                        const struct tcp_connect_request *request, uint64_t now_ns)
{
    const struct tcp_defaults *defaults = &stack_get_config(stack)->tcp;
    struct tcp_hot *hot = &connection->hot;
    hot->timestamps = defaults->timestamps;
    hot->sack = defaults->sack;
    hot->window_scaling = defaults->window_scaling;
    tcp_ecn_request(stack, connection);
    tcp_window_init(stack, connection, tcp_advertised_mss(connection));
    connection->fast_open.more = request->more || connection->options->delay_acks;
    hot->syn_due = !request->fast_open || !tcp_fast_open_begin(stack, connection, now_ns);
    tcp_set_state(stack, connection, TCP_STATE_SYN_SENT);
    stack_counters(stack)->active_opens++;
    if (hot->syn_due)
        tcp_output_request(stack, connection);
}

/** The whole way. NULL: none is left. */
static struct tcp_connection *connect_anew(struct stack *stack,
                                           const struct tcp_connect_request *request,
                                           const struct tcp_flow *flow, uint64_t now_ns)
{
    struct tcp_options_set options;
    struct tcp_connection *c = stack_connection_alloc(stack);
    if (c == NULL)
        return NULL;
    if (request->options)
        options = *request->options;
    else
        tcp_options_set_init(&options, &stack_get_config(stack)->tcp);
    c->flow = *flow;
    tcp_connection_init(stack, c, &options, NULL, now_ns);
    return c;
}

int tcp_connect(struct stack *stack, const struct tcp_connect_request *request, uint64_t now_ns,
                struct tcp_connection **connection)
{
    struct tcp_flow flow = {
        .local = request->local.address,
        .remote = request->remote.address,
        .local_port = request->local.port,
        .remote_port = request->remote.port,
    };
    if (ip_address_is_any(&flow.remote))
        return -EINVAL;
    if (ip_address_is_multicast(&flow.remote))
        return -ENETUNREACH;
    int error = stack_flow_choose_local(stack, &flow, request->ports, request->reuse_address);
    if (error != 0)
        return error;
    const struct tcp_prototype *like = tcp_prototype_active(stack, &flow, request, now_ns);
    struct tcp_connection *c = like != NULL ? tcp_prototype_copy(stack, like, &flow, NULL, now_ns)
                                            : connect_anew(stack, request, &flow, now_ns);
    if (c == NULL)
        return -ENOBUFS;
    c->user = request->user;
    error = stack_flow_insert(stack, c);
    if (error != 0) {
        tcp_connection_free(stack, c);
        return error;
    }
    if (like != NULL) {
        c->fast_open.more = request->more || c->options->delay_acks;
        stack_counters(stack)->active_opens++;
        tcp_output_request(stack, c);
    } else {
        open_active(stack, c, request, now_ns);
        tcp_prototype_active_keep(stack, c, request);
    }
    *connection = c;
    return 0;
}

/** Since the first SYN: the user timeout, or what the retries would take if each waited twice as
    long as the one before (as Linux), whatever their number in the end. */
static bool syn_took_too_long(const struct tcp_connection *connection, uint64_t elapsed_ns)
{
    uint64_t limit_ns = connection->options->user_timeout_ns;
    unsigned doublings = connection->options->syn_retries;
    uint64_t max_us = connection->options->rto_max_us;
    if (limit_ns == 0) {
        unsigned most = 0; /* until a wait is the longest there is */
        while (TCP_RTO_INITIAL_US << (most + 1) <= max_us)
            most++;
        unsigned doubled = doublings < most ? doublings : most;
        limit_ns = ((UINT64_C(2) << doubled) - 1) * TCP_RTO_INITIAL_US * NS_PER_US +
                   (doublings - doubled) * max_us * NS_PER_US;
    }
    return elapsed_ns >= limit_ns;
}

void tcp_syn_sent_expired(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_congestion *congestion = &connection->congestion;
    unsigned linear = stack_get_config(stack)->tcp.syn_linear_timeouts;
    uint64_t elapsed_ns = tcp_handshake_age_ns(connection, now_ns);
    bool given_up = connection->syn_timeouts >= connection->options->syn_retries + linear ||
                    syn_took_too_long(connection, elapsed_ns);
    tcp_fast_open_timeout(stack, connection, given_up, now_ns);
    if (given_up) {
        tcp_enter_closed(stack, connection,
                         connection->rare->soft_error ? connection->rare->soft_error : ETIMEDOUT);
        return;
    }
    struct tcp_rare *rare = tcp_rare_take(stack, connection);
    if (rare->retransmit_began_ns == 0)
        rare->retransmit_began_ns = now_ns - elapsed_ns;
    tcp_timeout_note(stack, connection, now_ns);
    connection->syn_timeouts++;
    congestion->retransmits = connection->syn_timeouts;
    if (connection->syn_timeouts > linear)
        congestion->backoff++;
    connection->hot.syn_due = true;
    tcp_send_timer_set(stack, connection, TCP_SEND_TIMER_RETRANSMIT,
                       now_ns + tcp_rto_ns(connection, now_ns));
    tcp_output_request(stack, connection);
}
