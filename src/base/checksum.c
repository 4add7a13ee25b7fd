#include "base/checksum.h"

#include <string.h>

/** Vectors of the compiler's own kind, which every machine has, instead of intrinsics. */
typedef uint64_t lanes_t __attribute__((vector_size(16)));

/** 32-bit words summed in 64-bit lanes, apart by parity, two vectors a step. */
struct lane_sums {
    lanes_t low[2];
    lanes_t high[2];
};

#define STEP_BYTES (2 * sizeof(lanes_t))

static inline void sum_step(struct lane_sums *sums, lanes_t first, lanes_t second)
{
    sums->low[0] += first & 0xffffffff;
    sums->high[0] += first >> 32;
    sums->low[1] += second & 0xffffffff;
    sums->high[1] += second >> 32;
}

static inline uint64_t sum_lanes(const struct lane_sums *sums)
{
    lanes_t all = sums->low[0] + sums->high[0] + sums->low[1] + sums->high[1];
    return (uint64_t)checksum_fold64(all[0]) + checksum_fold64(all[1]);
}

static uint64_t sum_tail(uint64_t sum, const uint8_t *bytes, size_t length)
{
    uint32_t word;
    for (; length >= sizeof(word); length -= sizeof(word), bytes += sizeof(word)) {
        memcpy(&word, bytes, sizeof(word));
        sum += word;
    }
    if (length > 0) {
        word = 0; /* the missing bytes count as zero (RFC 1071 §4.1) */
        memcpy(&word, bytes, length);
        sum += word;
    }
    return sum;
}

uint32_t checksum_add(uint32_t sum, const void *bytes, size_t length)
{
    const uint8_t *position = bytes;
    uint64_t total = sum;

    if (length >= STEP_BYTES) {
        struct lane_sums sums = {0};
        for (; length >= STEP_BYTES; length -= STEP_BYTES, position += STEP_BYTES) {
            lanes_t words[2];
            memcpy(words, position, STEP_BYTES);
            sum_step(&sums, words[0], words[1]);
        }
        total += sum_lanes(&sums);
    }
    return checksum_fold64(sum_tail(total, position, length));
}

uint32_t checksum_copy(uint32_t sum, void *restrict destination, const void *restrict source,
                       size_t length)
{
    const uint8_t *from = source;
    uint8_t *to = destination;
    uint64_t total = sum;

    if (length >= STEP_BYTES) {
        struct lane_sums sums = {0};
        for (; length >= STEP_BYTES; length -= STEP_BYTES, from += STEP_BYTES, to += STEP_BYTES) {
            lanes_t words[2];
            memcpy(words, from, STEP_BYTES);
            memcpy(to, words, STEP_BYTES);
            sum_step(&sums, words[0], words[1]);
        }
        total += sum_lanes(&sums);
    }
    memcpy(to, from, length);
    return checksum_fold64(sum_tail(total, from, length));
}
