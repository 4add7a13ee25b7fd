#include "base/checksum.h"

#include <string.h>

/* ---- Bulk: vectors ------------------------------------------------------------------------ */

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

/* ---- Headers and small payloads: whole words and their carries ---------------------------- */

static inline uint64_t load_8(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
    return word;
}

static inline uint32_t load_4(const uint8_t *bytes)
{
    uint32_t word;
    memcpy(&word, bytes, sizeof(word));
    return word;
}

static inline uint64_t copy_8(uint8_t *to, const uint8_t *from)
{
    uint64_t word = load_8(from);
    memcpy(to, &word, sizeof(word));
    return word;
}

/** One's complement: the carry comes in again at the lower end. */
static inline uint64_t add_carry(uint64_t sum, uint64_t word)
{
    sum += word;
    return sum + (sum < word);
}

/** Less than a word: the missing bytes count as zero (RFC 1071 §4.1). */
static inline uint64_t load_rest(const uint8_t *bytes, size_t length)
{
    uint64_t word = 0;
    if (length >= 4) {
        word = load_4(bytes);
        if (length > 4) {
            uint32_t rest = 0;
            memcpy(&rest, bytes + 4, length - 4);
            word |= (uint64_t)rest << 32;
        }
    } else if (length > 0) {
        memcpy(&word, bytes, length);
    }
    return word;
}

#define BLOCK_BYTES ((size_t)CHECKSUM_BLOCK_BYTES)

static inline uint64_t sum_words(uint64_t sum, const uint8_t *bytes, size_t length)
{
    const uint8_t *end = bytes + (length & ~(BLOCK_BYTES - 1));
    for (; bytes != end; bytes += BLOCK_BYTES)
        sum = checksum_add_block(sum, bytes);
    length &= BLOCK_BYTES - 1;
    if (length == 0)
        return sum;
    for (; length >= 8; length -= 8, bytes += 8)
        sum = add_carry(sum, load_8(bytes));
    return length > 0 ? add_carry(sum, load_rest(bytes, length)) : sum;
}

static inline uint64_t copy_words(uint64_t sum, uint8_t *to, const uint8_t *from, size_t length)
{
    const uint8_t *end = from + (length & ~(BLOCK_BYTES - 1));
    for (; from != end; from += BLOCK_BYTES, to += BLOCK_BYTES) {
        memcpy(to, from, BLOCK_BYTES);
        sum = checksum_add_block(sum, from);
    }
    length &= BLOCK_BYTES - 1;
    if (length == 0)
        return sum;
    for (; length >= 8; length -= 8, from += 8, to += 8)
        sum = add_carry(sum, copy_8(to, from));
    if (length == 0)
        return sum;
    memcpy(to, from, length);
    return add_carry(sum, load_rest(from, length));
}

/* ---- Both --------------------------------------------------------------------------------- */

/** Apart, so that a header's sum does not pay for saving its registers. */
static __attribute__((noinline)) uint64_t add_bulk(const uint8_t *bytes, size_t length)
{
    struct lane_sums sums = {0};
    for (const uint8_t *end = bytes + length; bytes < end; bytes += 2 * STEP_BYTES) {
        add_step(&sums, bytes);
        add_step(&sums, bytes + STEP_BYTES);
    }
    return sum_lanes(&sums);
}

static __attribute__((noinline)) uint64_t copy_bulk(uint8_t *to, const uint8_t *from, size_t length)
{
    struct lane_sums sums = {0};
    for (const uint8_t *end = from + length; from < end;
         from += 2 * STEP_BYTES, to += 2 * STEP_BYTES) {
        copy_step(&sums, to, from);
        copy_step(&sums, to + STEP_BYTES, from + STEP_BYTES);
    }
    return sum_lanes(&sums);
}

/** So that sums of pieces can be added. */
static inline uint32_t partial(uint64_t sum)
{
    uint32_t folded = checksum_fold64(sum);
    return (folded >> 16) + (folded & 0xffff);
}

/** As much of a piece as is gathered in vectors: whole pairs of steps. */
static inline size_t bulk_bytes(size_t length)
{
    return length >= CHECKSUM_LANES_BYTES_MIN ? length - length % (2 * STEP_BYTES) : 0;
}

uint32_t checksum_add(uint32_t sum, const void *bytes, size_t length)
{
    uint64_t total = sum;
    size_t bulk = bulk_bytes(length);
    if (bulk > 0)
        total += add_bulk(bytes, bulk);
    return partial(sum_words(total, (const uint8_t *)bytes + bulk, length - bulk));
}

uint32_t checksum_copy(uint32_t sum, void *restrict destination, const void *restrict source,
                       size_t length)
{
    uint64_t total = sum;
    size_t bulk = bulk_bytes(length);
    if (bulk > 0)
        total += copy_bulk(destination, source, bulk);
    total = copy_words(total, (uint8_t *)destination + bulk, (const uint8_t *)source + bulk,
                       length - bulk);
    return partial(total);
}
