#include "packet_line.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#define NS_PER_S UINT64_C(1000000000)

enum {
    ETHERNET_BYTES = 14,
    ETHERTYPE_OFFSET = 12,
    ETHERTYPE_IPV4 = 0x0800,
    ETHERTYPE_ARP = 0x0806,
    ETHERTYPE_IPV6 = 0x86dd,
    IPV4_BYTES = 20,
    IPV6_BYTES = 40,
    ARP_BYTES = 28,
    PROTOCOL_ICMP = 1,
    PROTOCOL_TCP = 6,
    PROTOCOL_ICMPV6 = 58,
    TCP_BYTES = 20,
    FRAGMENT_OFFSET_MASK = 0x1fff,
};

/** What is left of a frame. */
struct view {
    const uint8_t *bytes;
    size_t length;
};

static unsigned get_16(const uint8_t *bytes)
{
    return (unsigned)bytes[0] << 8 | bytes[1];
}

static uint32_t get_32(const uint8_t *bytes)
{
    return (uint32_t)get_16(bytes) << 16 | get_16(bytes + 2);
}

static void print_tcp(FILE *to, struct view segment, const char *source, const char *destination)
{
    /* As tcpdump orders them. */
    static const struct {
        unsigned bit;
        char letter;
    } flags[] = {{0x01, 'F'}, {0x02, 'S'}, {0x04, 'R'}, {0x08, 'P'},
                 {0x10, '.'}, {0x20, 'U'}, {0x40, 'E'}, {0x80, 'W'}};
    const uint8_t *header = segment.bytes;
    size_t header_bytes = segment.length >= TCP_BYTES ? (size_t)(header[12] >> 4) * 4 : 0;
    if (header_bytes < TCP_BYTES || header_bytes > segment.length) {
        fprintf(to, " %s > %s: TCP, cut short", source, destination);
        return;
    }
    char letters[sizeof(flags) / sizeof(flags[0]) + 1];
    size_t count = 0;
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if ((header[13] & flags[i].bit) != 0) {
            letters[count++] = flags[i].letter;
        }
    }
    letters[count] = '\0';
    size_t payload = segment.length - header_bytes;
    uint32_t sequence = get_32(header + 4);
    fprintf(to, " %s.%u > %s.%u: Flags [%s], seq %" PRIu32, source, get_16(header), destination,
            get_16(header + 2), count > 0 ? letters : "none", sequence);
    if (payload > 0) {
        fprintf(to, ":%" PRIu32, (uint32_t)(sequence + payload));
    }
    if ((header[13] & 0x10) != 0) {
        fprintf(to, ", ack %" PRIu32, get_32(header + 8));
    }
    fprintf(to, ", win %u, length %zu", get_16(header + 14), payload);
}

static void print_ip(FILE *to, struct view packet, unsigned version)
{
    char source[INET6_ADDRSTRLEN];
    char destination[INET6_ADDRSTRLEN];
    size_t fixed_bytes = version == 4 ? IPV4_BYTES : IPV6_BYTES;
    const uint8_t *header = packet.bytes;
    fprintf(to, version == 4 ? " IP" : " IP6");
    if (packet.length < fixed_bytes) {
        fprintf(to, ", cut short");
        return;
    }
    size_t header_bytes = version == 4 ? (size_t)(header[0] & 0xf) * 4 : IPV6_BYTES;
    size_t total = version == 4 ? get_16(header + 2) : get_16(header + 4) + (size_t)IPV6_BYTES;
    unsigned protocol = version == 4 ? header[9] : header[6];
    unsigned fragment = version == 4 ? get_16(header + 6) & FRAGMENT_OFFSET_MASK : 0;
    inet_ntop(version == 4 ? AF_INET : AF_INET6, header + (version == 4 ? 12 : 8), source,
              sizeof(source));
    inet_ntop(version == 4 ? AF_INET : AF_INET6, header + (version == 4 ? 16 : 24), destination,
              sizeof(destination));
    /* Ethernet pads short frames. */
    size_t end = total < packet.length ? total : packet.length;
    if (header_bytes < fixed_bytes || end < header_bytes) {
        fprintf(to, " %s > %s: bad header", source, destination);
        return;
    }
    struct view payload = {header + header_bytes, end - header_bytes};
    if (protocol == PROTOCOL_TCP && fragment == 0) {
        print_tcp(to, payload, source, destination);
    } else if (protocol == PROTOCOL_ICMP || protocol == PROTOCOL_ICMPV6) {
        fprintf(to, " %s > %s: %s type %d, length %zu", source, destination,
                protocol == PROTOCOL_ICMP ? "ICMP" : "ICMP6",
                payload.length > 0 ? payload.bytes[0] : -1, payload.length);
    } else {
        fprintf(to, " %s > %s: protocol %u%s, length %zu", source, destination, protocol,
                fragment != 0 ? ", a later fragment" : "", payload.length);
    }
}

static void print_arp(FILE *to, struct view packet)
{
    char sender[INET_ADDRSTRLEN];
    char target[INET_ADDRSTRLEN];
    if (packet.length < ARP_BYTES) {
        fprintf(to, " ARP, cut short");
        return;
    }
    inet_ntop(AF_INET, packet.bytes + 14, sender, sizeof(sender));
    inet_ntop(AF_INET, packet.bytes + 24, target, sizeof(target));
    if (get_16(packet.bytes + 6) == 1) {
        fprintf(to, " ARP, Request who-has %s tell %s", target, sender);
    } else {
        fprintf(to, " ARP, Reply %s is-at %02x:%02x:%02x:%02x:%02x:%02x", sender, packet.bytes[8],
                packet.bytes[9], packet.bytes[10], packet.bytes[11], packet.bytes[12],
                packet.bytes[13]);
    }
}

void packet_line_print(FILE *to, uint64_t time_ns, const uint8_t *frame, size_t bytes)
{
    time_t seconds = (time_t)(time_ns / NS_PER_S);
    struct tm local;
    char clock[16] = "";
    if (localtime_r(&seconds, &local) != NULL) {
        strftime(clock, sizeof(clock), "%H:%M:%S", &local);
    }
    fprintf(to, "%s.%09" PRIu64, clock, time_ns % NS_PER_S);
    unsigned type = bytes >= ETHERNET_BYTES ? get_16(frame + ETHERTYPE_OFFSET) : 0;
    struct view packet = {frame + ETHERNET_BYTES, bytes - ETHERNET_BYTES};
    if (bytes < ETHERNET_BYTES) {
        fprintf(to, " cut short");
    } else if (type == ETHERTYPE_IPV4) {
        print_ip(to, packet, 4);
    } else if (type == ETHERTYPE_IPV6) {
        print_ip(to, packet, 6);
    } else if (type == ETHERTYPE_ARP) {
        print_arp(to, packet);
    } else {
        fprintf(to, " ethertype 0x%04x, length %zu", type, bytes);
    }
    fputc('\n', to);
}
