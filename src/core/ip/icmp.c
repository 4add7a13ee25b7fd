#include "core/ip/icmp.h"

#include <errno.h>

#include "base/byte_order.h"
#include "base/checksum.h"
#include "core/ip/wire.h"

/** Linux's icmp_err_convert: what the codes of "destination unreachable" mean to a socket. */
static const struct icmp_report unreachable_reports[] = {
    {TCP_ICMP_UNREACHABLE_SOFT, ENETUNREACH, 0},  /* net */
    {TCP_ICMP_UNREACHABLE_SOFT, EHOSTUNREACH, 0}, /* host */
    {TCP_ICMP_UNREACHABLE_HARD, ENOPROTOOPT, 0},  /* protocol */
    {TCP_ICMP_UNREACHABLE_HARD, ECONNREFUSED, 0}, /* port */
    {TCP_ICMP_PACKET_TOO_BIG, EMSGSIZE, 0},       /* fragmentation needed */
    {TCP_ICMP_UNREACHABLE_SOFT, EOPNOTSUPP, 0},   /* source route failed */
    {TCP_ICMP_UNREACHABLE_HARD, ENETUNREACH, 0},  /* net unknown */
    {TCP_ICMP_UNREACHABLE_HARD, EHOSTDOWN, 0},    /* host unknown */
    {TCP_ICMP_UNREACHABLE_HARD, ENONET, 0},       /* source host isolated */
    {TCP_ICMP_UNREACHABLE_HARD, ENETUNREACH, 0},  /* net prohibited */
    {TCP_ICMP_UNREACHABLE_HARD, EHOSTUNREACH, 0}, /* host prohibited */
    {TCP_ICMP_UNREACHABLE_SOFT, ENETUNREACH, 0},  /* net, for this service */
    {TCP_ICMP_UNREACHABLE_SOFT, EHOSTUNREACH, 0}, /* host, for this service */
    {TCP_ICMP_UNREACHABLE_HARD, EHOSTUNREACH, 0}, /* filtered */
    {TCP_ICMP_UNREACHABLE_HARD, EHOSTUNREACH, 0}, /* precedence violation */
    {TCP_ICMP_UNREACHABLE_HARD, EHOSTUNREACH, 0}, /* precedence cut off */
};

/** @return false when the message is of no interest. */
static bool report_of(const uint8_t *icmp, struct icmp_report *report)
{
    switch (icmp[0]) {
    case ICMP_UNREACHABLE:
        if (icmp[1] >= sizeof(unreachable_reports) / sizeof(unreachable_reports[0]))
            return false;
        *report = unreachable_reports[icmp[1]];
        if (report->kind == TCP_ICMP_PACKET_TOO_BIG)
            report->mtu = load_be16(icmp + 6);
        return true;
    case ICMP_TIME_EXCEEDED:
        *report = (struct icmp_report){TCP_ICMP_UNREACHABLE_SOFT, EHOSTUNREACH, 0};
        return true;
    case ICMP_PARAMETER_PROBLEM:
        *report = (struct icmp_report){TCP_ICMP_UNREACHABLE_HARD, EPROTO, 0};
        return true;
    default: /* source quench (RFC 6633) and redirects are ignored, like all else */
        return false;
    }
}

enum stack_rx_verdict icmp_receive(struct stack *stack, const struct ip_packet *packet,
                                   uint64_t now_ns, struct stack_rx *rx)
{
    const uint8_t *icmp = packet->bytes + packet->header_length;
    uint32_t length = packet->length - packet->header_length;
    struct icmp_report report;

    if (length < ICMP_HEADER_BYTES || checksum_finish(checksum_add(0, icmp, length)) != 0)
        return rx_drop(stack, rx, DROP_ICMP_MALFORMED);
    stack->counters.icmp_in++;
    if (icmp[0] == ICMP_ECHO_REQUEST && icmp[1] == 0)
        icmp_echo_reply(stack, packet, ICMP_ECHO_REPLY);
    else if (report_of(icmp, &report))
        icmp_error_report(stack, icmp + ICMP_HEADER_BYTES, length - ICMP_HEADER_BYTES, &report,
                          now_ns);
    return STACK_RX_CONSUMED;
}
