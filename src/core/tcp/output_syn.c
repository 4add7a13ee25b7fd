/* SYN and SYN-ACK. */
#include "core/tcp/congestion.h"
#include "core/tcp/ecn.h"
#include "core/tcp/fast_open.h"
#include "core/tcp/options.h"
#include "core/tcp/output.h"
#include "core/tcp/rare.h"
#include "core/tcp/rto.h"
#include "core/tcp/sent.h"
#include "core/tcp/timers.h"

/** As negotiated so far. */
static void fill_options(const struct tcp_connection *connection, uint64_t now_ns,
                         struct tcp_options *options)
{
    const struct tcp_hot *hot = &connection->hot;
    *options = (struct tcp_options){
        .has_mss = true,
        .mss = (uint16_t)tcp_advertised_mss(connection),
        .has_sack_permitted = hot->sack,
        .has_timestamps = hot->timestamps,
        .timestamp_value = tcp_timestamp_now(connection, now_ns),
        .timestamp_echo = hot->ts_recent,
        .has_window_scale = hot->window_scaling,
        .window_scale = hot->rcv_wscale,
    };
}

/** Account for payload that goes with the SYN. */
static void sent_with_syn(struct stack *stack, struct tcp_connection *connection, uint32_t payload,
                          uint64_t now_ns)
{
    connection->hot.snd_nxt = tcp_snd_start(&connection->hot) + payload;
    tcp_rare_take(stack, connection)->untimed_end =
        connection->hot.snd_nxt; /* the handshake times it */
    connection->hot.last_sent_ns = now_ns;
    connection->statistics.data_segments_out++;
    tcp_chrono_update(stack, connection, now_ns);
}

/** Any options. @return payload that goes along. */
static __attribute__((noinline)) uint32_t write_options(struct stack *stack,
                                                        struct tcp_connection *connection,
                                                        uint64_t now_ns, struct tcp_output *output)
{
    struct tcp_options options;
    uint32_t payload = 0;
    fill_options(connection, now_ns, &options);
    if (connection->hot.state == TCP_STATE_SYN_RECEIVED && !connection->passive) {
        /* SYNs crossed: what ours offered is offered again (as Linux), whatever theirs did; but no
           scale that will not be used. */
        const struct tcp_defaults *defaults = &stack_get_config(stack)->tcp;
        options.has_sack_permitted = defaults->sack;
        options.has_timestamps = defaults->timestamps;
    }
    if (connection->hot.state == TCP_STATE_SYN_RECEIVED)
        tcp_fast_open_synack(stack, connection, &options);
    else
        payload = tcp_fast_open_syn(stack, connection, &options);
    output->options_length = tcp_options_build_syn(&options, output->options);
    return payload;
}

/** The same, quicker where they are the usual ones. */
static inline uint32_t write_options_quickly(struct stack *stack, struct tcp_connection *connection,
                                             uint64_t now_ns, struct tcp_output *output)
{
    const struct tcp_hot *hot = &connection->hot;
    const uint32_t usual = TCP_HOT_FLAGS(.timestamps = true, .sack = true, .window_scaling = true);
    if ((hot->flags & usual) != usual || connection->fast_open.wanted ||
        connection->fast_open.answer)
        return write_options(stack, connection, now_ns, output);
    output->options_length = tcp_options_build_usual_syn(
        (uint16_t)tcp_advertised_mss(connection), tcp_timestamp_now(connection, now_ns),
        hot->ts_recent, hot->rcv_wscale, output->options);
    return 0;
}

void tcp_output_syn(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns,
                    struct tcp_output *output)
{
    struct tcp_hot *hot = &connection->hot;
    bool answer = hot->state == TCP_STATE_SYN_RECEIVED;
    uint32_t payload = write_options_quickly(stack, connection, now_ns, output);
    uint64_t number = tcp_snd_start(hot) - 1;
    output->seq = tcp_wire(number);
    output->ack = answer ? tcp_wire(hot->rcv_nxt) : seq_of(0);
    hot->rcv_wup = tcp_wire(hot->rcv_nxt); /* 0 until there is an answer */
    output->flags = answer ? TCP_SYN | TCP_ACK : TCP_SYN;
    if (hot->ecn && answer)
        output->flags |= TCP_ECE;
    else if (hot->ecn && connection->syn_timeouts == 0) /* the path may drop SYNs that ask */
        output->flags |= TCP_ECE | TCP_CWR;
    output->window = (uint16_t)(hot->rcv_wnd < UINT16_MAX ? hot->rcv_wnd : UINT16_MAX);
    output->urgent_pointer = 0;
    /* As Linux: DCTCP's handshake is ECN-capable too. */
    bool capable = hot->ecn && tcp_congestion_of(connection)->needs_ecn;
    output->ecn = capable ? ECN_ECT_0 : ECN_NOT_ECT;
    output->stream_offset = 0;
    output->payload_length = payload;
    output->gso_size = 0;
    hot->syn_due = false;
    if (payload > 0)
        sent_with_syn(stack, connection, payload, now_ns);
    hot->acks_owed = 0;
    /* An answer to the SYN that came twice tells no time either. */
    if (connection->syn_timeouts == 0 && !(answer && hot->challenge_acked)) {
        if (!answer)
            connection->established_ms = (uint32_t)(now_ns / NS_PER_MS);
        connection->congestion.syn_sent_us = tcp_sent_clock_us(now_ns);
        connection->syn_timed = true;
    } else {
        connection->syn_timed = false;
        tcp_rare_take(stack, connection)->retransmitted_segments++;
    }
    connection->statistics.segments_out += !connection->passive; /* as Linux counts */
    if (hot->send_timer == TCP_SEND_TIMER_NONE)
        tcp_send_timer_set(stack, connection, TCP_SEND_TIMER_RETRANSMIT,
                           now_ns + tcp_rto_ns(connection, now_ns));
}
