/**
 * @file live_input.h
 * The language of live-input's inputs, shared with the writer of its seeds. An input is two bytes
 * of configuration, then operations until it ends: a byte modulo LIVE_OPERATIONS says which one,
 * and its parameters follow, of a byte each where not said. What is missing at the end is 0.
 */
#ifndef PNO_FUZZ_LIVE_INPUT_H
#define PNO_FUZZ_LIVE_INPUT_H

#include <stddef.h>
#include <stdint.h>

enum live_operation {
    LIVE_SEGMENT,   /**< flow, how, flags, seq base and offset, ack base and offset, window (2),
                         payload (2), option bits, as each wants; urgent pointer (2) with URG */
    LIVE_ACK,       /**< flow, how, window (2): a plain acknowledgement of all that was sent */
    LIVE_SACK,      /**< flow, how, blocks, for each the record and how it is bent */
    LIVE_DATA,      /**< flow, how, payload (2): what comes next */
    LIVE_SYN,       /**< flow, how, option bits, MSS (2), scale, fast open */
    LIVE_ICMP,      /**< flow, type, code, word (2), offset */
    LIVE_SEND,      /**< slot, how, bytes (2) */
    LIVE_READ,      /**< slot, bytes (2) */
    LIVE_OPEN,      /**< how, congestion */
    LIVE_END,       /**< slot, enum live_ending */
    LIVE_OPTIONS,   /**< slot, bits, congestion, four limits */
    LIVE_LISTENER,  /**< what, value */
    LIVE_TIME,      /**< how, amount (2) */
    LIVE_PLACEMENT, /**< what: payload is placed later, or now */
    LIVE_AGAIN,     /**< which: a frame of before arrives again */
    LIVE_RAW,       /**< length, then so many bytes as a TCP header with its options */
    LIVE_OPERATIONS
};

/** Bits of how, of an arriving segment. */
enum live_how {
    LIVE_HOW_FRAGMENTED = 1,
    LIVE_HOW_REFUSED = 2, /**< the embedder has no memory for its payload */
    LIVE_HOW_CORRUPT = 4, /**< a byte is changed, the checksum not */
    LIVE_HOW_HELD = 8,    /**< does not arrive until LIVE_AGAIN asks for it */
    LIVE_HOW_ECN = 0x30,  /**< the IP header's bits, shifted by 4 */
    LIVE_HOW_NO_TIMESTAMP = 0x40,
    LIVE_HOW_FIN = 0x80, /**< with LIVE_DATA and LIVE_ACK */
};

enum live_ending {
    LIVE_SHUT_WRITE,
    LIVE_SHUT_READ,
    LIVE_CLOSE,
    LIVE_ABORT,
    LIVE_URGENT,
    LIVE_ENDINGS
};

/** Bits of the first byte of configuration; the second's low three bits are the congestion control,
    the others below. */
enum live_configuration {
    LIVE_IPV6 = 1,
    LIVE_NO_TIMESTAMPS = 2,
    LIVE_NO_SACK = 4,
    LIVE_NO_SCALING = 8,
    LIVE_FAST_OPEN = 0x10,
    LIVE_MTU_PROBING = 0x20,
    LIVE_FEW_RECORDS = 0x40, /**< of intervals and of what was sent */
    LIVE_PACED = 0x80,
};
enum live_more_configuration {
    LIVE_ECN = 8,
    LIVE_GSO = 0x10,
    LIVE_BACKLOG_ONE = 0x20, /**< cookies soon */
    LIVE_LARGE_MTU = 0x40,
    LIVE_SMALL_BUFFERS = 0x80,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
