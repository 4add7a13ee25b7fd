#include "engine/pcapng.h"

#include <string.h>

enum {
    BLOCK_SECTION = 0x0a0d0d0a,
    BLOCK_INTERFACE = 1,
    BLOCK_STATISTICS = 5,
    BLOCK_PACKET = 6,
    BYTE_ORDER_MAGIC = 0x1a2b3c4d,
    LINKTYPE_ETHERNET = 1,
    OPTION_END = 0,
    SECTION_APPLICATION = 4,
    INTERFACE_NAME = 2,
    INTERFACE_RESOLUTION = 9,
    RESOLUTION_NS = 9, /* 10^-9 s */
    PACKET_FLAGS = 2,
    STATISTICS_START = 2,
    STATISTICS_END = 3,
    STATISTICS_RECEIVED = 4,
    STATISTICS_DROPPED = 5,
    STATISTICS_OS_DROPPED = 7,
    STATISTICS_DELIVERED = 8,
    BLOCK_FRAME_BYTES = 12, /* type, length before and after */
    NAME_BYTES_MAX = 64,
};

static size_t padded(size_t bytes)
{
    return (bytes + 3) & ~(size_t)3;
}

static void put(struct pcapng_buffer *buffer, const void *bytes, size_t count)
{
    memcpy(buffer->memory + buffer->end, bytes, count);
    memset(buffer->memory + buffer->end + count, 0, padded(count) - count);
    buffer->end += padded(count);
}

static void put_32(struct pcapng_buffer *buffer, uint32_t value)
{
    put(buffer, &value, sizeof(value));
}

/** A time: the high half comes first, whatever the byte order. */
static void put_time(struct pcapng_buffer *buffer, uint64_t time_ns)
{
    put_32(buffer, (uint32_t)(time_ns >> 32));
    put_32(buffer, (uint32_t)time_ns);
}

static void put_option(struct pcapng_buffer *buffer, uint16_t code, const void *value, size_t bytes)
{
    uint16_t head[2] = {code, (uint16_t)bytes};
    put(buffer, head, sizeof(head));
    put(buffer, value, bytes);
}

static void put_option_time(struct pcapng_buffer *buffer, uint16_t code, uint64_t time_ns)
{
    uint32_t halves[2] = {(uint32_t)(time_ns >> 32), (uint32_t)time_ns};
    put_option(buffer, code, halves, sizeof(halves));
}

static size_t option_bytes(size_t bytes)
{
    return 4 + padded(bytes);
}

/** @return false: no room for a block of this body. */
static bool begin(struct pcapng_buffer *buffer, uint32_t type, size_t body_bytes)
{
    size_t total = body_bytes + BLOCK_FRAME_BYTES;
    if (buffer->size - buffer->end < total)
        return false;
    put_32(buffer, type);
    put_32(buffer, (uint32_t)total);
    return true;
}

static void finish(struct pcapng_buffer *buffer, size_t body_bytes)
{
    put_32(buffer, (uint32_t)(body_bytes + BLOCK_FRAME_BYTES));
}

static size_t name_bytes(const char *name)
{
    return strnlen(name, NAME_BYTES_MAX);
}

bool pcapng_add_section(struct pcapng_buffer *buffer, const char *application)
{
    const uint16_t version[2] = {1, 0};
    const int64_t unknown_length = -1;
    size_t body = 16 + option_bytes(name_bytes(application)) + option_bytes(0);
    if (!begin(buffer, BLOCK_SECTION, body))
        return false;
    put_32(buffer, BYTE_ORDER_MAGIC);
    put(buffer, version, sizeof(version));
    put(buffer, &unknown_length, sizeof(unknown_length));
    put_option(buffer, SECTION_APPLICATION, application, name_bytes(application));
    put_option(buffer, OPTION_END, "", 0);
    finish(buffer, body);
    return true;
}

bool pcapng_add_interface(struct pcapng_buffer *buffer, const char *name)
{
    const uint16_t link_type[2] = {LINKTYPE_ETHERNET, 0};
    const uint8_t resolution = RESOLUTION_NS;
    size_t body = 8 + option_bytes(name_bytes(name)) + option_bytes(1) + option_bytes(0);
    if (!begin(buffer, BLOCK_INTERFACE, body))
        return false;
    put(buffer, link_type, sizeof(link_type));
    put_32(buffer, 0); /* frames are never cut */
    put_option(buffer, INTERFACE_NAME, name, name_bytes(name));
    put_option(buffer, INTERFACE_RESOLUTION, &resolution, 1);
    put_option(buffer, OPTION_END, "", 0);
    finish(buffer, body);
    return true;
}

bool pcapng_add_packet(struct pcapng_buffer *buffer, uint32_t interface, uint64_t time_ns,
                       uint32_t direction, const uint8_t *bytes, uint32_t length)
{
    size_t body = 20 + padded(length) + option_bytes(sizeof(direction)) + option_bytes(0);
    if (!begin(buffer, BLOCK_PACKET, body))
        return false;
    put_32(buffer, interface);
    put_time(buffer, time_ns);
    put_32(buffer, length);
    put_32(buffer, length);
    put(buffer, bytes, length);
    put_option(buffer, PACKET_FLAGS, &direction, sizeof(direction));
    put_option(buffer, OPTION_END, "", 0);
    finish(buffer, body);
    return true;
}

bool pcapng_add_statistics(struct pcapng_buffer *buffer, uint32_t interface,
                           const struct pcapng_statistics *statistics)
{
    size_t body = 12 + 6 * option_bytes(sizeof(uint64_t)) + option_bytes(0);
    if (!begin(buffer, BLOCK_STATISTICS, body))
        return false;
    put_32(buffer, interface);
    put_time(buffer, statistics->end_ns);
    put_option_time(buffer, STATISTICS_START, statistics->start_ns);
    put_option_time(buffer, STATISTICS_END, statistics->end_ns);
    put_option(buffer, STATISTICS_RECEIVED, &statistics->received, sizeof(uint64_t));
    put_option(buffer, STATISTICS_DROPPED, &statistics->dropped, sizeof(uint64_t));
    put_option(buffer, STATISTICS_OS_DROPPED, &statistics->reader_drops, sizeof(uint64_t));
    put_option(buffer, STATISTICS_DELIVERED, &statistics->delivered, sizeof(uint64_t));
    put_option(buffer, OPTION_END, "", 0);
    finish(buffer, body);
    return true;
}
