/**
 * @file ip_harness.h
 * A stack under test without TCP: the seam's TCP side is a double (ip_harness.c) that sends what a
 * test tells it to and records what it is told. Frames are built and taken apart here,
 * independently of the code under test.
 */
#ifndef PNO_TESTS_UNIT_CORE_IP_HARNESS_H
#define PNO_TESTS_UNIT_CORE_IP_HARNESS_H

#include "../base/test_support.h"
#include "core/stack_internal.h"

/** The double's idea of a connection. */
struct tcp_connection {
    uint8_t tcp_alone[TCP_LINKS_OFFSET];
    struct tcp_links links;
    struct tcp_flow flow;
    struct tcp_options_set options;
    void *user;
    uint32_t segments_wanted; /**< to send */
    uint32_t payload_bytes;   /**< of each */
    uint32_t segments_sent;
    uint32_t timer_expirations;
    uint32_t neighbour_failures;
    uint32_t icmp_count;
    enum tcp_icmp_kind icmp_kind;
    int icmp_error;
    uint16_t icmp_mtu;
    uint32_t segments_received;
    bool closed_delivered;
};

struct tcp_listener {
    struct tcp_listener_key key;
    struct tcp_listener *hash_next, *event_next;
    uint32_t events;
    uint32_t segments_received;
    void *user;
};

/** Sequence numbers that the double says are in flight. */
#define HARNESS_SEQ_FIRST 1000
#define HARNESS_SEQ_LAST  2000

#define HARNESS_FRAME_MAX 70000

struct harness {
    struct stack *stack;
    void *memory;
    struct stack_config config;
    uint64_t now_ns;
    struct stack_rx rx; /**< of the last frame */
    struct stack_frame frame;
    uint8_t sent[HARNESS_FRAME_MAX]; /**< the last frame out, checksum complete */
    uint32_t sent_bytes;
    uint32_t closed_segments; /**< segments for nobody */
};

extern struct harness harness;

/** cmocka setup and teardown: 10.77.0.1/24 (gateway .254), fd77::1/64 (gateway fd77::fe). */
int harness_setup(void **state);
int harness_teardown(void **state);
/** Make the stack anew from harness.config. */
void harness_restart(void);

extern const uint8_t our_mac[6], peer_mac[6], other_mac[6];
struct ip_address v4(const char *text);
struct ip_address v6(const char *text);
struct ip_endpoint endpoint(struct ip_address address, uint16_t port);

enum stack_rx_verdict harness_receive(const uint8_t *frame, uint32_t bytes);
/** Take the next frame out; false: none. */
bool harness_transmit(void);
void harness_advance(uint64_t ns);
void assert_nothing_sent(void);
uint64_t drops(enum drop_reason reason);

struct tcp_connection *harness_connection(struct ip_address local, uint16_t local_port,
                                          struct ip_address remote, uint16_t remote_port);
void harness_send(struct tcp_connection *connection, uint32_t segments, uint32_t payload_bytes);

/* ---- Building frames ---------------------------------------------------------------------- */

/** A frame being put together, from the outside in. */
struct frame_builder {
    uint8_t bytes[HARNESS_FRAME_MAX];
    uint32_t length;
    uint32_t l3, l4;
};

void build_ethernet(struct frame_builder *b, const uint8_t to[6], const uint8_t from[6],
                    uint16_t type);
void build_ipv4(struct frame_builder *b, struct ip_address from, struct ip_address to,
                uint8_t protocol, const void *payload, uint32_t bytes);
void build_ipv6(struct frame_builder *b, struct ip_address from, struct ip_address to,
                uint8_t next_header, uint8_t hop_limit, const void *payload, uint32_t bytes);
/** Set a byte of the IPv4 header and make its checksum right again. */
void patch_ipv4(struct frame_builder *b, uint32_t offset, const void *bytes, uint32_t count);
/** TCP header (with checksum) and payload, as the IP payload of either family. */
uint32_t build_tcp(uint8_t *to, const struct ip_endpoint *from, const struct ip_endpoint *dest,
                   uint32_t seq, uint32_t payload_bytes);
/** ICMP or ICMPv6 message with checksum. */
uint32_t build_icmp(uint8_t *to, bool is_v4, const struct ip_address *from,
                    const struct ip_address *dest, uint8_t type, uint8_t code, uint32_t second_word,
                    const void *rest, uint32_t rest_bytes);
void build_arp(struct frame_builder *b, const uint8_t frame_to[6], uint16_t operation,
               const uint8_t sender_mac[6], struct ip_address sender, struct ip_address target);

/** The checksum, computed byte pair by byte pair, as it would be stored in network order. */
uint16_t naive_checksum(uint32_t sum, const uint8_t *bytes, uint32_t length);
uint32_t naive_pseudo(const struct ip_address *from, const struct ip_address *to, uint8_t protocol,
                      uint32_t length);

uint16_t get16(const uint8_t *bytes);
uint32_t get32(const uint8_t *bytes);
void put16(uint8_t *bytes, uint16_t value);
void put32(uint8_t *bytes, uint32_t value);

/** Have the peer's MAC address known, by a request of its for ours. */
void harness_meet_peer(void);

#define PEER_V4 v4("\x0a\x4d\x00\x02")
#define OUR_V4  v4("\x0a\x4d\x00\x01")
#define PEER_V6 v6("\xfd\x77\0\0\0\0\0\0\0\0\0\0\0\0\0\x02")
#define OUR_V6  v6("\xfd\x77\0\0\0\0\0\0\0\0\0\0\0\0\0\x01")

#endif
