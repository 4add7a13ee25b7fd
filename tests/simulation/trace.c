#include "trace.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "world.h"

const char *trace_address(const struct ip_address *address, char *buffer, uint32_t bytes)
{
    if (ip_address_is_v4(address))
        return inet_ntop(AF_INET, &address->bytes[12], buffer, bytes);
    return inet_ntop(AF_INET6, address->bytes, buffer, bytes);
}

static void print_options(const struct tcp_options *options)
{
    if (options->has_mss)
        printf(" mss %u", options->mss);
    if (options->has_window_scale)
        printf(" wscale %u", options->window_scale);
    if (options->has_sack_permitted)
        printf(" sackOK");
    if (options->has_timestamps)
        printf(" TS val %u ecr %u", options->timestamp_value, options->timestamp_echo);
    for (unsigned i = 0; i < options->sack_block_count; i++)
        printf(" sack %u:%u", options->sack_blocks[i].start.value,
               options->sack_blocks[i].end.value);
}

static void print_tcp(const struct frame_view *view)
{
    static const char letters[] = "FSRP.UEW";
    char flags[9], source[48], destination[48];
    unsigned n = 0;
    for (unsigned i = 0; i < 8; i++) {
        if ((view->flags & (1u << i)) != 0)
            flags[n++] = letters[i];
    }
    flags[n] = '\0';
    printf(" %s.%u > %s.%u: [%s] seq %u:%u(%u) ack %u win %u",
           trace_address(&view->source, source, sizeof(source)), view->source_port,
           trace_address(&view->destination, destination, sizeof(destination)),
           view->destination_port, flags, view->seq, view->seq + view->payload_length,
           view->payload_length, view->ack, view->window);
    print_options(&view->options);
}

static void digest(struct world *world, uint64_t value)
{
    world->digest = random_mix(world->digest ^ value);
}

static void digest_frame(struct world *world, unsigned host, const struct frame *frame)
{
    digest(world, world->now_ns);
    digest(world, (uint64_t)host << 32 | frame->length);
    uint32_t at = 0;
    for (; at + 8 <= frame->length; at += 8) {
        uint64_t word;
        memcpy(&word, frame->bytes + at, sizeof(word));
        digest(world, word);
    }
    for (; at < frame->length; at++)
        digest(world, frame->bytes[at]);
}

void trace_digest_event(struct world *world, unsigned host, const struct tcp_connection *connection,
                        uint32_t bits)
{
    if (!world->digests)
        return;
    struct tcp_connection_info i;
    tcp_get_info(world->hosts[host].stack, connection, world->now_ns, &i);
    const uint64_t facts[] = {
        host,
        bits,
        world->now_ns,
        i.state,
        i.ca_state,
        i.retransmits,
        i.probes,
        i.backoff,
        i.app_limited,
        i.rto_ns,
        i.ato_ns,
        i.srtt_ns,
        i.rttvar_ns,
        i.min_rtt_ns,
        i.rcv_rtt_ns,
        i.snd_mss,
        i.rcv_mss,
        i.unacked,
        i.sacked,
        i.lost,
        i.retrans,
        i.reordering,
        i.snd_cwnd,
        i.snd_ssthresh,
        i.snd_wnd,
        i.rcv_wnd,
        i.rcv_space,
        i.rcv_ssthresh,
        i.bytes_acked,
        i.bytes_sent,
        i.bytes_received,
        i.last_data_sent_ns,
        i.segs_in,
        i.segs_out,
        i.data_segs_in,
        i.last_data_recv_ns,
        i.delivered,
        i.dsack_dups,
        i.data_segs_out,
        i.last_ack_recv_ns,
        i.busy_time_ns,
        i.reord_seen,
        i.rwnd_limited_ns,
        i.sndbuf_limited_ns,
        i.rcv_ooopack,
        i.notsent_bytes,
        i.send_queue_bytes,
        i.receive_queue_bytes,
        i.delivery_rate_bytes_per_s,
        i.pacing_rate_bytes_per_s,
    };
    for (unsigned n = 0; n < sizeof(facts) / sizeof(facts[0]); n++)
        digest(world, facts[n]);
}

void trace_frame(struct world *world, unsigned host, const char *what, const struct frame *frame)
{
    static const char *const kinds[] = {
        [FRAME_TCP] = "TCP",
        [FRAME_ARP] = "ARP",
        [FRAME_ICMP] = "ICMP",
        [FRAME_ICMPV6] = "ICMPv6",
        [FRAME_FRAGMENT] = "fragment",
        [FRAME_OTHER] = "other",
        [FRAME_MALFORMED] = "malformed",
    };
    if (world->digests)
        digest_frame(world, host, frame);
    if (!world->trace)
        return;
    struct frame_view view;
    frame_parse(frame->bytes, frame->length, &view);
    printf("%12.6f h%u %-10s", world_seconds(world), host, what);
    if (view.kind == FRAME_TCP)
        print_tcp(&view);
    else
        printf(" %s type %u code %u, %u bytes", kinds[view.kind], view.icmp_type, view.icmp_code,
               frame->length);
    printf("\n");
}

void trace_note(const struct world *world, const char *format, ...)
{
    if (!world->trace)
        return;
    va_list arguments;
    va_start(arguments, format);
    printf("%12.6f -- ", world_seconds(world));
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
}
