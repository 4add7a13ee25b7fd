#include "trace.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>

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

void trace_frame(const struct world *world, unsigned host, const char *what,
                 const struct frame *frame)
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
