#include "engine/pipeline/tcp_info.h"

#include <errno.h>
#include <linux/tcp.h>
#include <string.h>

#include "base/time_units.h"
#include "engine/engine_core.h"
#include "engine/socket.h"

/** Linux's numbers of states, where the stack has no connection to ask. */
enum { LINUX_TCP_CLOSE = 7, LINUX_TCP_LISTEN = 10 };

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
    info->tcpi_state = from->state;
    info->tcpi_ca_state = from->ca_state;
    info->tcpi_retransmits = from->retransmits;
    info->tcpi_probes = from->probes;
    info->tcpi_backoff = from->backoff;
    info->tcpi_options = from->options;
    info->tcpi_snd_wscale = from->snd_wscale & 0xfu;
    info->tcpi_rcv_wscale = from->rcv_wscale & 0xfu;
    info->tcpi_delivery_rate_app_limited = from->app_limited;
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

struct awaited_copy {
    bool done;
    int error;
};

static void copy_done(void *context, int error)
{
    struct awaited_copy *copy = context;
    copy->done = true;
    copy->error = error;
}

int tcp_info_write(struct engine_socket *socket, uint64_t arena_offset, uint32_t bytes)
{
    struct engine_core *core = socket_core(socket);
    struct tcp_info info = {.tcpi_state = LINUX_TCP_CLOSE};
    if (socket->connection != NULL) {
        struct tcp_connection_info facts;
        tcp_get_info(core->stack, socket->connection, core->now_ns, &facts);
        fill(&info, &facts);
    } else if (socket->listener != NULL) {
        struct tcp_listener_info facts;
        tcp_listener_get_info(socket->listener, &facts);
        info.tcpi_state = LINUX_TCP_LISTEN;
        /* As Linux: the accept queue and its limit. */
        info.tcpi_unacked = facts.accept_queue;
        info.tcpi_sacked = facts.backlog;
    }
    if (bytes > sizeof(info))
        bytes = sizeof(info);
    /* The copy is awaited: the caller's answer must not overtake it. */
    const struct dma_backend *dma = core->engine->dma;
    struct awaited_copy copy = {.done = false};
    int result;
    while ((result = dma->write(core->dma, &socket->tenant->tenant->arena, arena_offset, &info,
                                bytes, copy_done, &copy)) == -EAGAIN)
        (void)dma->poll(core->dma);
    while (result == 0 && !copy.done)
        (void)dma->poll(core->dma);
    return result == 0 ? copy.error : result;
}
