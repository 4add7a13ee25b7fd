/**
 * @file config.h
 * What a wire does to frames, and the text that says so: `loss=1%,delay=10ms,rate=100mbit,...`.
 * Not here: doing it (direction.h).
 */
#ifndef PNO_WIRE_CONFIG_H
#define PNO_WIRE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_FULL_FRAME_BYTES       1514
#define WIRE_BUFFER_PACKETS_DEFAULT 1000

/** The same for each direction. Probabilities are 0 to 1. */
struct wire_config {
    double loss;
    double reorder; /**< skips delay and jitter, and so overtakes those before it */
    double duplicate;
    double corrupt;     /**< one bit flipped */
    uint64_t delay_ns;  /**< one way */
    uint64_t jitter_ns; /**< added to the delay: uniform between -jitter and +jitter */
    uint64_t rate_bps;  /**< bits per second of whole frames; 0: no limit */
    /** The drop-tail queue before the rate limit; either is 0 when it sets no limit. */
    uint64_t buffer_bytes;
    uint64_t buffer_packets;
    uint64_t seed;
    bool turned; /**< `seed=7r`: what seed=7 does one way is done the other way, and vice versa */
};

/** For usage texts. */
#define WIRE_CONFIG_HELP                                                                           \
    "loss=1%,delay=10ms,jitter=1ms,reorder=1%,dup=1%,corrupt=0.1%,rate=100mbit,"                   \
    "buffer=64kb|100packets|1bdp,seed=1"

/**
 * Read a wire's description: `KEY=VALUE` separated by commas, each key at most once; what isn't
 * named is not impaired. Percentages are `1%` or fractions below 1; times need ns, us, ms or s;
 * rates bit, kbit, mbit or gbit; buffers bytes, kb, mb, packets or bdp (rate times twice the delay;
 * at least two full frames).
 *
 * @param problem  on failure: what is wrong, and what to say instead, without a full stop.
 */
bool wire_config_parse(const char *text, struct wire_config *config, char *problem,
                       size_t problem_bytes);

#endif
