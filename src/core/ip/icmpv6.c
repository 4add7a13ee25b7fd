#include <errno.h>

#include "base/byte_order.h"
#include "base/checksum.h"
#include "core/ip/icmp.h"
#include "core/ip/neighbour_discovery.h"
#include "core/ip/wire.h"

/** Linux's tab_unreach: what the codes of "destination unreachable" mean to a socket. */
static const struct icmp_report unreachable_reports[] = {
    {TCP_ICMP_UNREACHABLE_SOFT, ENETUNREACH, 0},  /* no route */
    {TCP_ICMP_UNREACHABLE_HARD, EACCES, 0},       /* prohibited */
    {TCP_ICMP_UNREACHABLE_SOFT, EHOSTUNREACH, 0}, /* beyond scope */
    {TCP_ICMP_UNREACHABLE_SOFT, EHOSTUNREACH, 0}, /* address */
    {TCP_ICMP_UNREACHABLE_HARD, ECONNREFUSED, 0}, /* port */
    {TCP_ICMP_UNREACHABLE_HARD, EACCES, 0},       /* source address failed policy */
    {TCP_ICMP_UNREACHABLE_HARD, EACCES, 0},       /* reject route */
};

/** @return false when the message is of no interest. */
static bool report_of(const uint8_t *icmp, struct icmp_report *report)
{
    switch (icmp[0]) {
    case ICMPV6_UNREACHABLE:
        if (icmp[1] >= sizeof(unreachable_reports) / sizeof(unreachable_reports[0]))
            return false;
        *report = unreachable_reports[icmp[1]];
        return true;
    case ICMPV6_PACKET_TOO_BIG:
        *report = (struct icmp_report){TCP_ICMP_PACKET_TOO_BIG, EMSGSIZE, load_be32(icmp + 4)};
        return true;
    case ICMPV6_TIME_EXCEEDED:
        *report = (struct icmp_report){TCP_ICMP_UNREACHABLE_SOFT, EHOSTUNREACH, 0};
        return true;
    case ICMPV6_PARAMETER_PROBLEM:
        *report = (struct icmp_report){TCP_ICMP_UNREACHABLE_HARD, EPROTO, 0};
        return true;
    default:
        return false;
    }
}

enum stack_rx_verdict icmpv6_receive(struct stack *stack, const struct ip_packet *packet,
                                     uint64_t now_ns, struct stack_rx *rx)
{
    const uint8_t *icmp = packet->bytes + packet->header_length;
    uint32_t length = packet->length - packet->header_length;
    struct icmp_report report;

    uint32_t sum = ip_pseudo_sum(&packet->source, &packet->destination, IP_PROTOCOL_ICMPV6, length);
    if (length < ICMP_HEADER_BYTES || checksum_finish(checksum_add(sum, icmp, length)) != 0)
        return rx_drop(stack, rx, DROP_ICMP_MALFORMED);
    stack->counters.icmp_in++;
    if (icmp[0] >= ICMPV6_ROUTER_SOLICITATION && icmp[0] <= ICMPV6_ND_REDIRECT)
        return neighbour_discovery_receive(stack, packet, now_ns, rx);
    if (icmp[0] == ICMPV6_ECHO_REQUEST && icmp[1] == 0)
        icmp_echo_reply(stack, packet, ICMPV6_ECHO_REPLY);
    else if (report_of(icmp, &report))
        icmp_error_report(stack, icmp + ICMP_HEADER_BYTES, length - ICMP_HEADER_BYTES, &report,
                          now_ns);
    return STACK_RX_CONSUMED;
}
