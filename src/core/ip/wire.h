/**
 * @file wire.h
 * Numbers and offsets of Ethernet, ARP, IP and ICMP headers, as the RFCs have them.
 */
#ifndef PNO_CORE_IP_WIRE_H
#define PNO_CORE_IP_WIRE_H

#define ETHERNET_HEADER_BYTES 14
#define ETHERTYPE_IPV4        0x0800
#define ETHERTYPE_ARP         0x0806
#define ETHERTYPE_VLAN        0x8100
#define ETHERTYPE_IPV6        0x86dd
#define VLAN_TAG_BYTES        4

#define IPV4_HEADER_BYTES   20
#define IPV4_FLAG_DF        0x4000
#define IPV4_FLAG_MF        0x2000
#define IPV4_OFFSET_MASK    0x1fff
#define IPV6_HEADER_BYTES   40
#define IPV6_FRAGMENT_BYTES 8
#define IPV6_MTU_MIN        1280
#define IP_PACKET_BYTES_MAX 65535

#define IP_PROTOCOL_HOP_BY_HOP  0
#define IP_PROTOCOL_ICMP        1
#define IP_PROTOCOL_TCP         6
#define IP_PROTOCOL_UDP         17
#define IP_PROTOCOL_ROUTING     43
#define IP_PROTOCOL_FRAGMENT    44
#define IP_PROTOCOL_ICMPV6      58
#define IP_PROTOCOL_NONE        59
#define IP_PROTOCOL_DESTINATION 60

#define TCP_HEADER_BYTES 20
#define UDP_HEADER_BYTES 8

#define ICMP_HEADER_BYTES             8
#define ICMP_ECHO_REPLY               0
#define ICMP_UNREACHABLE              3
#define ICMP_UNREACHABLE_PROTOCOL     2
#define ICMP_UNREACHABLE_PORT         3
#define ICMP_UNREACHABLE_FRAGMENT     4
#define ICMP_SOURCE_QUENCH            4
#define ICMP_REDIRECT                 5
#define ICMP_ECHO_REQUEST             8
#define ICMP_TIME_EXCEEDED            11
#define ICMP_TIME_EXCEEDED_REASSEMBLY 1
#define ICMP_PARAMETER_PROBLEM        12

#define ICMPV6_UNREACHABLE             1
#define ICMPV6_UNREACHABLE_PORT        4
#define ICMPV6_PACKET_TOO_BIG          2
#define ICMPV6_TIME_EXCEEDED           3
#define ICMPV6_PARAMETER_PROBLEM       4
#define ICMPV6_PARAMETER_HEADER        0
#define ICMPV6_PARAMETER_NEXT_HEADER   1
#define ICMPV6_PARAMETER_OPTION        2
#define ICMPV6_ECHO_REQUEST            128
#define ICMPV6_ECHO_REPLY              129
#define ICMPV6_ROUTER_SOLICITATION     133
#define ICMPV6_ROUTER_ADVERTISEMENT    134
#define ICMPV6_NEIGHBOUR_SOLICITATION  135
#define ICMPV6_NEIGHBOUR_ADVERTISEMENT 136
#define ICMPV6_ND_REDIRECT             137

#endif
