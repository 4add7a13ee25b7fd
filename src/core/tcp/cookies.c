/*
 * SYN cookies (RFC 4987 §3.6): the SYN-ACK's number holds what is needed to tell, when it comes
 * back, that we sent it lately and which MSS the peer named; the timestamp's low bits hold window
 * scale, SACK-permitted and ECN, as on Linux.
 *
 *     31    27 26  24 23                     0
 *    | minute |  mss |  keyed hash of the rest |
 */
#include <string.h>

#include "core/tcp/congestion.h"
#include "core/tcp/connect.h"
#include "core/tcp/ecn.h"
#include "core/tcp/listener.h"
#include "core/tcp/options.h"
#include "core/tcp/receive.h"

#define PERIOD_NS        (UINT64_C(1) << 36) /* 69 s */
#define PERIODS_ACCEPTED 2
#define ALLOWED_NS       (PERIODS_ACCEPTED * PERIOD_NS)

/** Low bits of the timestamp: window scale (15: none), SACK-permitted, ECN (RFC 3168). */
#define TS_OPTION_BITS 6
#define TS_SCALE_MASK  0x0fu
#define TS_SCALE_NONE  0x0fu
#define TS_SACK        0x10u
#define TS_ECN         0x20u

static const uint16_t mss_table[8] = {TCP_MSS_DEFAULT, 1220, 1300, 1400, 1440, 1460, 4312, 8940};

/** The hash takes in the flow, the peer's number, the period and the MSS index. */
static uint32_t cookie_hash(struct stack *stack, const struct tcp_flow *flow, seq_t irs,
                            uint32_t period, uint32_t mss_index)
{
    uint8_t bytes[48];
    const uint32_t words[3] = {irs.value, period, mss_index};
    memcpy(bytes, flow->local.bytes, 16);
    memcpy(bytes + 16, flow->remote.bytes, 16);
    memcpy(bytes + 32, &flow->local_port, 2);
    memcpy(bytes + 34, &flow->remote_port, 2);
    memcpy(bytes + 36, words, sizeof(words));
    return (uint32_t)stack_siphash(stack, bytes, sizeof(bytes)) & 0xffffff;
}

/** Our timestamp clock, not after now, with the SYN's options in its low bits. */
static uint32_t timestamp_with_options(uint32_t now, const struct tcp_options *options, bool ecn)
{
    uint32_t bits = options->has_window_scale ? options->window_scale : TS_SCALE_NONE;
    if (options->has_window_scale && bits > TCP_WINDOW_SCALE_MAX)
        bits = TCP_WINDOW_SCALE_MAX;
    if (options->has_sack_permitted)
        bits |= TS_SACK;
    if (ecn)
        bits |= TS_ECN;
    uint32_t mask = (1u << TS_OPTION_BITS) - 1;
    uint32_t value = (now & ~mask) | bits;
    return (int32_t)(value - now) > 0 ? value - (1u << TS_OPTION_BITS) : value;
}

void tcp_cookie_send(struct stack *stack, struct tcp_listener *listener,
                     const struct tcp_segment *segment, uint64_t now_ns)
{
    const struct tcp_defaults *defaults = &stack_get_config(stack)->tcp;
    struct tcp_flow flow = tcp_segment_flow(segment);
    uint32_t period = (uint32_t)(now_ns / PERIOD_NS);
    uint16_t peer_mss = segment->options.has_mss ? segment->options.mss : TCP_MSS_DEFAULT;
    uint32_t index = 0;
    while (index + 1 < sizeof(mss_table) / sizeof(mss_table[0]) && mss_table[index + 1] <= peer_mss)
        index++;
    uint32_t hash = cookie_hash(stack, &flow, segment->seq, period, index);

    bool timestamps = defaults->timestamps && segment->options.has_timestamps;
    uint16_t mtu = tcp_link_mtu(stack, stack_path_mtu(stack, &flow.remote, now_ns));
    uint32_t headers = ip_address_is_v4(&flow.remote) ? 40 : 60;
    uint32_t mss = mtu - headers;
    uint8_t scale;
    uint32_t clock =
        (uint32_t)(now_ns / NS_PER_MS) + tcp_first_numbers_choose(stack, &flow, now_ns).ts_offset;
    uint32_t rounding = mss - (timestamps ? TCP_TIMESTAMP_OPTION_BYTES : 0);
    const struct tcp_congestion_control *algorithm =
        tcp_congestion_find(listener->options.congestion);
    bool ecn = timestamps && tcp_ecn_is_accepted(stack, algorithm, segment);
    bool scaling = timestamps && segment->options.has_window_scale && defaults->window_scaling;
    uint32_t window = tcp_window_initial(stack, &listener->options, rounding, scaling, &scale);
    const struct tcp_options options = {
        .has_mss = true,
        .mss = (uint16_t)mss,
        .has_timestamps = timestamps,
        .timestamp_value = timestamp_with_options(clock, &segment->options, ecn),
        .timestamp_echo = segment->options.timestamp_value,
        .has_sack_permitted = timestamps && segment->options.has_sack_permitted && defaults->sack,
        .has_window_scale = scaling,
        .window_scale = scale,
    };
    struct tcp_reply reply = {
        .flow = flow,
        .seq = seq_of((period & 0x1f) << 27 | index << 24 | hash),
        .ack = seq_add(segment->seq, 1),
        .flags = TCP_SYN | TCP_ACK | (ecn ? TCP_ECE : 0),
        .traffic_class = listener->options.traffic_class,
        .ttl = listener->options.ttl,
        .window = (uint16_t)window,
    };
    reply.options_length = tcp_options_build_syn(&options, reply.options);
    stack_reply_queue(stack, &reply);
    listener->syn_cookies_sent++;
    listener->cookies_allowed_ns = now_ns + ALLOWED_NS;
    stack_counters(stack)->syn_cookies_sent++;
}

bool tcp_cookie_check(struct stack *stack, const struct tcp_segment *segment, uint64_t now_ns,
                      struct tcp_options *options, bool *ecn)
{
    struct tcp_flow flow = tcp_segment_flow(segment);
    uint32_t cookie = segment->ack.value - 1;
    uint32_t index = cookie >> 24 & 7;
    uint32_t now_period = (uint32_t)(now_ns / PERIOD_NS);
    uint32_t age = (now_period - (cookie >> 27)) & 0x1f;
    if (age >= PERIODS_ACCEPTED)
        return false;
    seq_t irs = seq_sub(segment->seq, 1);
    if (cookie_hash(stack, &flow, irs, now_period - age, index) != (cookie & 0xffffff))
        return false;
    *options = (struct tcp_options){.has_mss = true, .mss = mss_table[index]};
    *ecn = false;
    if (!segment->options.has_timestamps)
        return true;
    /* What we sent as timestamp comes back as echo. */
    uint32_t bits = segment->options.timestamp_echo;
    options->has_timestamps = true;
    options->timestamp_value = segment->options.timestamp_value;
    options->timestamp_echo = segment->options.timestamp_echo;
    options->has_sack_permitted = bits & TS_SACK;
    *ecn = bits & TS_ECN;
    options->window_scale = bits & TS_SCALE_MASK;
    options->has_window_scale = options->window_scale != TS_SCALE_NONE;
    return true;
}
