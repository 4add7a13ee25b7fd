/**
 * @file pcapng.h
 * The blocks of a capture file, appended to a buffer of bounded size. Only what we write: one
 * section, Ethernet interfaces, times in nanoseconds.
 *
 * Source: draft-ietf-opsawg-pcapng (block types 1, 5, 6 and 0x0A0D0D0A).
 */
#ifndef PNO_ENGINE_PCAPNG_H
#define PNO_ENGINE_PCAPNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Bytes to be written; [first, end) of memory[size]. */
struct pcapng_buffer {
    uint8_t *memory;
    size_t size, first, end;
};

/** What an interface statistics block says. */
struct pcapng_statistics {
    uint64_t start_ns, end_ns;
    uint64_t received;     /**< seen, whether or not they could be kept */
    uint64_t dropped;      /**< found no room between the engine's core and us */
    uint64_t reader_drops; /**< dropped because the reader was slow */
    uint64_t delivered;
};

/* Each returns false, and appends nothing, when there is no room. */

bool pcapng_add_section(struct pcapng_buffer *buffer, const char *application);
bool pcapng_add_interface(struct pcapng_buffer *buffer, const char *name);

/** @param direction  1: received, 2: sent. */
bool pcapng_add_packet(struct pcapng_buffer *buffer, uint32_t interface, uint64_t time_ns,
                       uint32_t direction, const uint8_t *bytes, uint32_t length);
bool pcapng_add_statistics(struct pcapng_buffer *buffer, uint32_t interface,
                           const struct pcapng_statistics *statistics);

#endif
