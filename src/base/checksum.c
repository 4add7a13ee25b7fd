#include "base/checksum.h"

#include <string.h>

/** Vectors of the compiler's own kind, which every machine has, instead of intrinsics. */
typedef uint64_t lanes_t __attribute__((vector_size(16)));

/**
 * Two vectors a step, summed in 64-bit lanes: whole lanes, modulo 2^64, and their upper halves.
 * What the lower halves come to, below 2^64, follows from both; masking them out would cost more.
 */
struct lane_sums {
    lanes_t whole[2];
    lanes_t upper[2];
};

#define STEP_BYTES (2 * sizeof(lanes_t))

static inline lanes_t load_lanes(const uint8_t *bytes)
{
    lanes_t lanes;
    memcpy(&lanes, bytes, sizeof(lanes));
    return lanes;
}

static inline void sum_step(struct lane_sums *sums, lanes_t first, lanes_t second)
{
    sums->whole[0] += first;
    sums->upper[0] += first >> 32;
    sums->whole[1] += second;
    sums->upper[1] += second >> 32;
}

static inline uint64_t sum_lanes(const struct lane_sums *sums)
{
    lanes_t whole = sums->whole[0] + sums->whole[1];
    lanes_t upper = sums->upper[0] + sums->upper[1];
    lanes_t lower = whole - (upper << 32);
    return (uint64_t)checksum_fold64(lower[0]) + checksum_fold64(lower[1]) +
           checksum_fold64(upper[0]) + checksum_fold64(upper[1]);
}

static inline void add_step(struct lane_sums *sums, const uint8_t *bytes)
{
    sum_step(sums, load_lanes(bytes), load_lanes(bytes + sizeof(lanes_t)));
}

static inline void copy_step(struct lane_sums *sums, uint8_t *to, const uint8_t *from)
{
    lanes_t first = load_lanes(from), second = load_lanes(from + sizeof(lanes_t));
    memcpy(to, &first, sizeof(first));
    memcpy(to + sizeof(first), &second, sizeof(second));
    sum_step(sums, first, second);
}

/** Less than a step. */
static inline uint64_t sum_tail(uint64_t sum, const uint8_t *bytes, size_t length)
{
    uint64_t words;
    for (; length >= sizeof(words); length -= sizeof(words), bytes += sizeof(words)) {
        memcpy(&words, bytes, sizeof(words));
        sum += (words & 0xffffffff) + (words >> 32);
    }
    if (length >= 4) {
        uint32_t word;
        memcpy(&word, bytes, sizeof(word));
        sum += word;
        length -= sizeof(word);
        bytes += sizeof(word);
    }
    if (length > 0) {
        uint32_t word = 0; /* the missing bytes count as zero (RFC 1071 §4.1) */
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
        for (; length >= 2 * STEP_BYTES; length -= 2 * STEP_BYTES, position += 2 * STEP_BYTES) {
            add_step(&sums, position);
            add_step(&sums, position + STEP_BYTES);
        }
        if (length >= STEP_BYTES) {
            add_step(&sums, position);
            length -= STEP_BYTES;
            position += STEP_BYTES;
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
        while (length >= 2 * STEP_BYTES) {
            copy_step(&sums, to, from);
            copy_step(&sums, to + STEP_BYTES, from + STEP_BYTES);
            length -= 2 * STEP_BYTES;
            from += 2 * STEP_BYTES;
            to += 2 * STEP_BYTES;
        }
        if (length >= STEP_BYTES) {
            copy_step(&sums, to, from);
            length -= STEP_BYTES;
            from += STEP_BYTES;
            to += STEP_BYTES;
        }
        total += sum_lanes(&sums);
    }
    memcpy(to, from, length);
    return checksum_fold64(sum_tail(total, from, length));
}
