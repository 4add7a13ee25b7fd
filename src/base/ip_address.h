/**
 * @file ip_address.h
 * One type for IPv4 and IPv6 addresses: 16 bytes in network order, IPv4 as ::ffff:a.b.c.d
 * (RFC 4291 §2.5.5.2). Thus look-ups, the link and the tables know one kind of address.
 */
#ifndef PNO_BASE_IP_ADDRESS_H
#define PNO_BASE_IP_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct ip_address {
    uint8_t bytes[16];
};

/** An address and a port in host order. */
struct ip_endpoint {
    struct ip_address address;
    uint16_t port;
};

static inline struct ip_address ip_address_from_v4(const void *four_bytes)
{
    struct ip_address address = {.bytes = {[10] = 0xff, [11] = 0xff}};
    memcpy(&address.bytes[12], four_bytes, 4);
    return address;
}

static inline struct ip_address ip_address_from_v6(const void *sixteen_bytes)
{
    struct ip_address address;
    memcpy(address.bytes, sixteen_bytes, 16);
    return address;
}

static inline bool ip_address_is_v4(const struct ip_address *a)
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(a->bytes, prefix, sizeof(prefix)) == 0;
}

static inline bool ip_address_equal(const struct ip_address *a, const struct ip_address *b)
{
    return memcmp(a->bytes, b->bytes, 16) == 0;
}

/** :: or 0.0.0.0 (as ::ffff:0.0.0.0). */
static inline bool ip_address_is_any(const struct ip_address *a)
{
    static const uint8_t zero[16];
    return memcmp(a->bytes, zero, 16) == 0 ||
           (ip_address_is_v4(a) && memcmp(&a->bytes[12], zero, 4) == 0);
}

/** ::1 or 127.0.0.0/8. */
static inline bool ip_address_is_loopback(const struct ip_address *a)
{
    static const uint8_t one[16] = {[15] = 1};
    return memcmp(a->bytes, one, 16) == 0 || (ip_address_is_v4(a) && a->bytes[12] == 127);
}

static inline bool ip_address_is_multicast(const struct ip_address *a)
{
    return ip_address_is_v4(a) ? (a->bytes[12] & 0xf0) == 0xe0 : a->bytes[0] == 0xff;
}

/** fe80::/10. */
static inline bool ip_address_is_link_local(const struct ip_address *a)
{
    return a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80;
}

/** True when the first prefix_length bits agree; for IPv4 count prefix_length + 96. */
static inline bool ip_address_in_prefix(const struct ip_address *a, const struct ip_address *prefix,
                                        unsigned prefix_length)
{
    unsigned whole = prefix_length / 8;
    unsigned rest = prefix_length % 8;
    if (memcmp(a->bytes, prefix->bytes, whole) != 0)
        return false;
    return rest == 0 || ((a->bytes[whole] ^ prefix->bytes[whole]) >> (8 - rest)) == 0;
}

#endif
