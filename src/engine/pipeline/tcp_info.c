#include "engine/pipeline/tcp_info.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/tcp.h>
#include <stdalign.h>
#include <stddef.h>
#include <string.h>

#include "base/time_units.h"
#include "engine/awaited_copy.h"
#include "engine/engine_core.h"
#include "engine/socket.h"
#include "hostlink/abi.h"

/** Linux's numbers of states, where the stack has no connection to ask. */
enum { LINUX_TCP_TIME_WAIT = 6, LINUX_TCP_CLOSE = 7, LINUX_TCP_LISTEN = 10 };

/** What Linux 6.2 and 6.7 added behind tcpi_snd_wnd; headers may not have it yet. */
struct tcp_info_later {
    uint32_t rcv_wnd, rehash;
    uint16_t total_rto, total_rto_recoveries;
    uint32_t total_rto_time;
};
#define TCP_INFO_LATER_OFFSET (offsetof(struct tcp_info, tcpi_snd_wnd) + sizeof(uint32_t))
_Static_assert(TCP_INFO_LATER_OFFSET == 232, "where Linux has it");

/** TCP_INFO's bytes. */
struct tcp_info_bytes {
    alignas(8) uint8_t bytes[TCP_INFO_LATER_OFFSET + sizeof(struct tcp_info_later)];
};

static uint32_t to_us(uint64_t ns)
{
    uint64_t us = ns / NS_PER_US;
    return us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static uint32_t to_ms(uint64_t ns)
{
    uint64_t ms = ns / NS_PER_MS;
    return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

static void fill_counts(struct tcp_info *info, const struct tcp_connection_info *from)
{
    info->tcpi_unacked = from->unacked;
    info->tcpi_sacked = from->sacked;
    info->tcpi_lost = from->lost;
    info->tcpi_retrans = from->retrans;
    info->tcpi_total_retrans = from->total_retrans;
    info->tcpi_reordering = from->reordering;
    info->tcpi_bytes_acked = from->bytes_acked;
    info->tcpi_bytes_received = from->bytes_received;
    info->tcpi_bytes_sent = from->bytes_sent;
    info->tcpi_bytes_retrans = from->bytes_retrans;
    info->tcpi_segs_in = from->segs_in;
    info->tcpi_segs_out = from->segs_out;
    info->tcpi_data_segs_in = from->data_segs_in;
    info->tcpi_data_segs_out = from->data_segs_out;
    info->tcpi_delivered = from->delivered;
    info->tcpi_delivered_ce = from->delivered_ce;
    info->tcpi_dsack_dups = from->dsack_dups;
    info->tcpi_reord_seen = from->reord_seen;
    info->tcpi_notsent_bytes =
        from->notsent_bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)from->notsent_bytes;
    info->tcpi_rcv_ooopack = from->rcv_ooopack;
    info->tcpi_snd_wnd = from->snd_wnd;
}

static void fill_times(struct tcp_info *info, const struct tcp_connection_info *from)
{
    info->tcpi_rto = to_us(from->rto_ns);
    info->tcpi_ato = to_us(from->ato_ns);
    info->tcpi_rtt = to_us(from->srtt_ns);
    info->tcpi_rttvar = to_us(from->rttvar_ns);
    info->tcpi_min_rtt = to_us(from->min_rtt_ns);
    info->tcpi_rcv_rtt = to_us(from->rcv_rtt_ns);
    info->tcpi_last_data_sent = to_ms(from->last_data_sent_ns);
    info->tcpi_last_data_recv = to_ms(from->last_data_recv_ns);
    info->tcpi_last_ack_recv = to_ms(from->last_ack_recv_ns);
    info->tcpi_busy_time = from->busy_time_ns / NS_PER_US;
    info->tcpi_rwnd_limited = from->rwnd_limited_ns / NS_PER_US;
    info->tcpi_sndbuf_limited = from->sndbuf_limited_ns / NS_PER_US;
}

static void fill(struct tcp_info *info, const struct tcp_connection_info *from)
{
    /* On Linux a socket has nothing to do with TIME_WAIT: it is closed. */
    info->tcpi_state = from->state == LINUX_TCP_TIME_WAIT ? LINUX_TCP_CLOSE : from->state;
    info->tcpi_ca_state = from->ca_state;
    info->tcpi_retransmits = from->retransmits;
    info->tcpi_probes = from->probes;
    info->tcpi_backoff = from->backoff;
    info->tcpi_options = from->options;
    info->tcpi_snd_wscale = from->snd_wscale & 0xfu;
    info->tcpi_rcv_wscale = from->rcv_wscale & 0xfu;
    info->tcpi_delivery_rate_app_limited = from->app_limited;
    info->tcpi_fastopen_client_fail = from->fast_open_failure & 3u;
    info->tcpi_snd_mss = from->snd_mss;
    info->tcpi_rcv_mss = from->rcv_mss;
    info->tcpi_advmss = from->advmss;
    info->tcpi_pmtu = from->pmtu;
    info->tcpi_snd_cwnd = from->snd_cwnd;
    info->tcpi_snd_ssthresh = from->snd_ssthresh;
    info->tcpi_rcv_space = from->rcv_space;
    info->tcpi_rcv_ssthresh = from->rcv_ssthresh;
    info->tcpi_pacing_rate = from->pacing_rate_bytes_per_s;
    info->tcpi_max_pacing_rate = from->max_pacing_rate_bytes_per_s;
    info->tcpi_delivery_rate = from->delivery_rate_bytes_per_s;
    fill_times(info, from);
    fill_counts(info, from);
}

/** Linux's union, of which the algorithm fills one; the others have nothing to tell. */
static uint32_t fill_congestion(union tcp_cc_info *info, const struct tcp_congestion_info *from)
{
    switch (from->kind) {
    case TCP_CONGESTION_INFO_DCTCP:
        if (from->dctcp_enabled) {
            info->dctcp.dctcp_enabled = 1;
            info->dctcp.dctcp_ce_state = from->dctcp_ce;
            info->dctcp.dctcp_alpha = from->dctcp_alpha;
            info->dctcp.dctcp_ab_ecn = from->dctcp_marked_bytes;
            info->dctcp.dctcp_ab_tot = from->dctcp_acked_bytes;
        }
        return sizeof(info->dctcp);
    case TCP_CONGESTION_INFO_BBR:
        info->bbr.bbr_bw_lo = (uint32_t)from->bandwidth;
        info->bbr.bbr_bw_hi = (uint32_t)(from->bandwidth >> 32);
        info->bbr.bbr_min_rtt = from->min_rtt_us;
        info->bbr.bbr_pacing_gain = from->pacing_gain;
        info->bbr.bbr_cwnd_gain = from->cwnd_gain;
        return sizeof(info->bbr);
    case TCP_CONGESTION_INFO_NONE:
        break;
    }
    return 0;
}

int tcp_congestion_info_write(struct engine_socket *socket, uint64_t arena_offset, uint32_t bytes)
{
    struct link_congestion_info answer = {.length = 0};
    struct tcp_congestion_info facts = {.kind = TCP_CONGESTION_INFO_NONE};
    union tcp_cc_info info = {0};
    if (socket->connection != NULL)
        tcp_get_congestion_info(socket->connection, &facts);
    answer.length = fill_congestion(&info, &facts);
    _Static_assert(sizeof(info) <= sizeof(answer.bytes), "Linux's union fits");
    memcpy(answer.bytes, &info, sizeof(info));
    return awaited_copy_write(socket, arena_offset, &answer,
                              bytes < sizeof(answer) ? bytes : (uint32_t)sizeof(answer));
}

int tcp_info_write(struct engine_socket *socket, uint64_t arena_offset, uint32_t bytes)
{
    struct engine_core *core = socket_core(socket);
    struct tcp_info info = {.tcpi_state = LINUX_TCP_CLOSE};
    struct tcp_info_later later = {0};
    struct tcp_info_bytes answer;
    if (socket->connection != NULL) {
        struct tcp_connection_info facts;
        tcp_get_info(core->stack, socket->connection, core->now_ns, &facts);
        fill(&info, &facts);
        later = (struct tcp_info_later){
            .rcv_wnd = facts.rcv_wnd,
            .total_rto = facts.total_rto,
            .total_rto_recoveries = facts.total_rto_recoveries,
            .total_rto_time = facts.total_rto_ms,
        };
    } else if (socket_listener(socket) != NULL) {
        struct tcp_listener_info facts;
        tcp_listener_get_info(socket_listener(socket), &facts);
        info.tcpi_state = LINUX_TCP_LISTEN;
        /* As Linux: the accept queue and its limit. */
        info.tcpi_unacked = facts.accept_queue;
        info.tcpi_sacked = facts.backlog;
    }
    memcpy(answer.bytes, &info, TCP_INFO_LATER_OFFSET);
    memcpy(answer.bytes + TCP_INFO_LATER_OFFSET, &later, sizeof(later));
    if (bytes > sizeof(answer))
        bytes = sizeof(answer);
    return awaited_copy_write(socket, arena_offset, &answer, bytes);
}
