/* Facts for TCP_INFO and `pno ss`: tcp_get_info(), with Linux's meanings. */
#include "core/tcp/congestion.h"
#include "core/tcp/delivery.h"
#include "core/tcp/output.h"
#include "core/tcp/pacing.h"
#include "core/tcp/receive.h"
#include "core/tcp/rto.h"
#include "core/tcp/scoreboard.h"
#include "core/tcp/sent.h"

static uint32_t segments(const struct tcp_connection *connection, uint64_t bytes)
{
    uint32_t mss = connection->hot.mss ? connection->hot.mss : TCP_MSS_DEFAULT;
    return (uint32_t)((bytes + mss - 1) / mss);
}

/** Of what these records hold; a FIN that goes with payload is none of its own. */
static uint32_t segments_of_records(const struct tcp_connection *connection,
                                    const struct tcp_sent *first, bool again_only)
{
    uint32_t count = 0;
    for (const struct tcp_sent *r = first; r != NULL; r = r->next) {
        bool has_fin = tcp_sent_end(r) > connection->hot.snd_end && r->length > 1;
        if (!again_only || r->again)
            count += segments(connection, r->length - has_fin);
    }
    return count;
}

static uint64_t age_ns(uint64_t since_ns, uint64_t now_ns)
{
    return since_ns != 0 ? now_ns - since_ns : now_ns;
}

static uint8_t negotiated(const struct tcp_connection *connection)
{
    const struct tcp_hot *hot = &connection->hot;
    return (uint8_t)(hot->timestamps * 1 | hot->sack * 2 | hot->window_scaling * 4 | hot->ecn * 8 |
                     connection->hot.ecn_seen * 16 | connection->fast_open.data_acked * 32 |
                     connection->fast_open.child * 128);
}

static void fill_congestion(const struct tcp_connection *connection,
                            struct tcp_connection_info *info)
{
    const struct tcp_hot *hot = &connection->hot;
    const struct tcp_recovery *recovery = connection->rare->recovery;
    const struct tcp_congestion *congestion = &connection->congestion;
    const struct tcp_sent *flight = connection->flight.first;
    uint32_t lost = segments_of_records(connection, recovery->lost.first, false);
    uint32_t again = 0;
    if (hot->ca_state >= TCP_CA_RECOVERY) /* else it is a tail probe */
        again = segments_of_records(connection, flight, true);
    uint32_t sacked = segments(connection, recovery->sacked_bytes);
    info->ca_state = hot->ca_state;
    info->retransmits = congestion->retransmits;
    info->probes = congestion->probes;
    info->backoff = hot->state == TCP_STATE_CLOSED ? 0 : congestion->backoff;
    if (hot->snd_una < connection->rare->untimed_end) /* not all has a record */
        info->unacked = segments(connection, tcp_outstanding(connection));
    else
        info->unacked = segments_of_records(connection, flight, false) + sacked +
                        segments_of_records(connection, recovery->lost.first, false);
    info->sacked = segments(connection, recovery->sacked_bytes + recovery->dupack_bytes);
    info->lost = lost + again;
    info->retrans = again;
    info->total_retrans = connection->rare->retransmitted_segments;
    info->reordering = recovery->reordering;
    info->snd_cwnd = hot->mss ? hot->cwnd / hot->mss : 10;
    info->snd_ssthresh = congestion->ssthresh == TCP_SSTHRESH_INFINITE
                             ? 0x7fffffff
                             : congestion->ssthresh / (hot->mss ? hot->mss : 1);
    info->app_limited = connection->delivery.rate_limited;
    info->congestion_name = tcp_congestion_of(connection)->name;
}

static void fill_times(const struct tcp_connection *connection, uint64_t now_ns,
                       struct tcp_connection_info *info)
{
    const struct tcp_congestion *congestion = &connection->congestion;
    /* Probes of a closed window back off by themselves. */
    bool probing = congestion->probes > 0;
    info->rto_ns = probing ? congestion->rto_us * NS_PER_US : tcp_rto_backed_off_ns(connection);
    info->ato_ns = connection->receive.ack_delay_us * NS_PER_US;
    info->srtt_ns = tcp_srtt_us(connection) * NS_PER_US;
    info->rttvar_ns = congestion->mdev_quarter_us / 4 * NS_PER_US;
    info->min_rtt_ns = congestion->min_rtt_us * NS_PER_US; /* all ones: none yet, as Linux has it */
    info->rcv_rtt_ns = connection->receive.rtt_us * NS_PER_US;
    bool pending = connection->fast_open.pending; /* no handshake done: no age */
    uint64_t established_ns = pending ? now_ns : connection->established_ms * NS_PER_MS;
    /* As Linux, before any data the ages count from the handshake. */
    uint64_t sent_ns = connection->hot.last_sent_ns;
    uint32_t received = connection->receive.last_data_ms;
    info->last_data_sent_ns = age_ns(sent_ns ? sent_ns : established_ns, now_ns);
    info->last_data_recv_ns =
        received ? tcp_age_ns(received, now_ns) : age_ns(established_ns, now_ns);
    info->last_ack_recv_ns = tcp_age_ns(congestion->last_ack_ms, now_ns);
}

static void fill_delivery(const struct tcp_connection *connection, uint64_t now_ns,
                          struct tcp_connection_info *info)
{
    const struct tcp_delivery *delivery = &connection->delivery;
    info->busy_time_ns = tcp_chrono_ms(connection, TCP_CHRONO_BUSY, now_ns) * NS_PER_MS;
    info->rwnd_limited_ns =
        tcp_chrono_ms(connection, TCP_CHRONO_RECEIVE_WINDOW, now_ns) * NS_PER_MS;
    info->sndbuf_limited_ns = tcp_chrono_ms(connection, TCP_CHRONO_SEND_BUFFER, now_ns) * NS_PER_MS;
    if (delivery->rate_interval_us != 0)
        info->delivery_rate_bytes_per_s =
            (uint64_t)delivery->rate_bytes * 1000000 / delivery->rate_interval_us;
}

static void fill_statistics(const struct tcp_connection *connection, uint64_t now_ns,
                            struct tcp_connection_info *info)
{
    const struct tcp_statistics *statistics = &connection->statistics;
    const struct tcp_rare *rare = connection->rare;
    /* Linux counts a client's SYN and either side's FIN. */
    const struct tcp_hot *hot = &connection->hot;
    uint64_t first = tcp_snd_start(hot) - !connection->passive;
    info->bytes_acked = hot->snd_una > first ? hot->snd_una - first : 0;
    info->bytes_received = tcp_received_offset(connection) + hot->fin_received;
    uint64_t sent_end = hot->snd_nxt < hot->snd_end ? hot->snd_nxt : hot->snd_end;
    uint64_t sent = sent_end > tcp_snd_start(hot) ? sent_end - tcp_snd_start(hot) : 0;
    info->bytes_sent = sent + rare->bytes_retransmitted;
    info->bytes_retrans = rare->bytes_retransmitted;
    info->segs_in = statistics->segments_in;
    info->segs_out = statistics->segments_out;
    info->data_segs_in = statistics->data_segments_in;
    info->data_segs_out = statistics->data_segments_out;
    info->delivered = statistics->delivered_segments;
    info->dsack_dups = rare->dsacks;
    info->reord_seen = rare->reordering_seen;
    info->rcv_ooopack = rare->out_of_order;
    info->delivered_ce = rare->delivered_marked;
    info->total_rto = rare->timeouts;
    info->total_rto_recoveries = rare->timeout_episodes;
    info->total_rto_ms = rare->timeout_ms;
    if (rare->timeout_began_ms != 0)
        info->total_rto_ms += (uint32_t)(now_ns / NS_PER_MS) - rare->timeout_began_ms;
}

void tcp_get_congestion_info(const struct tcp_connection *connection,
                             struct tcp_congestion_info *info)
{
    *info = (struct tcp_congestion_info){.kind = TCP_CONGESTION_INFO_NONE};
    /* What sets a rate has its state once it was begun, when the handshake is done. */
    const struct tcp_congestion_control *algorithm = tcp_congestion_of(connection);
    bool begun = !algorithm->sets_rate || connection->hot.paced;
    if (algorithm->fill_info != NULL && begun)
        algorithm->fill_info(connection, info);
}

/** While connecting, what only the answer will tell is as Linux has it until then. */
static void fill_connecting(const struct tcp_connection *connection,
                            struct tcp_connection_info *info)
{
    uint32_t maxseg = connection->options->maxseg;
    uint32_t mss = maxseg != 0 ? maxseg : TCP_MSS_DEFAULT;
    info->advmss = tcp_advertised_mss(connection);
    if (mss > info->advmss)
        mss = info->advmss;
    info->snd_mss = mss - (connection->hot.timestamps ? TCP_TIMESTAMP_OPTION_BYTES : 0);
    info->rcv_mss = TCP_RCV_MSS_MIN;
    info->options = 0;
    info->unacked += !connection->hot.syn_due; /* the SYN */
    info->snd_ssthresh = 0x7fffffff;
    if (connection->syn_timeouts > 0) {
        info->ca_state = TCP_CA_LOSS;
        info->lost = info->snd_cwnd = 1;
        info->retrans = info->unacked;
    }
    info->rttvar_ns = TCP_RTO_INITIAL_US * NS_PER_US / 4;
}

void tcp_get_info(const struct stack *stack, const struct tcp_connection *connection,
                  uint64_t now_ns, struct tcp_connection_info *info)
{
    const struct tcp_hot *hot = &connection->hot;
    (void)stack;
    *info = (struct tcp_connection_info){
        .state = hot->state,
        .options = negotiated(connection),
        .fast_open_failure = connection->fast_open.failure,
        .snd_wscale = hot->snd_wscale,
        .rcv_wscale = hot->rcv_wscale,
        .snd_mss = hot->mss,
        .rcv_mss = hot->rcv_mss,
        .advmss =
            tcp_advertised_mss(connection) - (hot->timestamps ? TCP_TIMESTAMP_OPTION_BYTES : 0),
        .pmtu = connection->path_mtu,
        .snd_wnd = hot->snd_wnd,
        .rcv_wnd = hot->rcv_wnd,
        .rcv_space = connection->receive.space,
        .rcv_ssthresh = connection->receive.ssthresh,
        .rcv_buffer = connection->receive.buffer,
        .rcv_memory = connection->rare->unread_memory,
        .notsent_bytes = tcp_unsent(connection),
        .send_queue_bytes = tcp_send_end_offset(connection) - tcp_acked_offset(connection),
        .receive_queue_bytes = tcp_received_end(connection) - tcp_rcv_read(hot),
    };
    fill_congestion(connection, info);
    fill_times(connection, now_ns, info);
    fill_delivery(connection, now_ns, info);
    fill_statistics(connection, now_ns, info);
    if (hot->state == TCP_STATE_SYN_SENT)
        fill_connecting(connection, info);
    info->pacing_rate_bytes_per_s = tcp_pacing_rate(connection);
    info->max_pacing_rate_bytes_per_s = connection->options->max_pacing_rate;
}
