/**
 * @file checksum.h
 * The Internet checksum (RFC 1071): sums are kept in the machine's byte order, so that a finished
 * sum is stored with memcpy(), and unfolded between pieces.
 */
#ifndef PNO_BASE_CHECKSUM_H
#define PNO_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/**
 * Add bytes that begin at an even offset of what is summed.
 * @param sum  what checksum_add() returned for the pieces before, or 0.
 * @return     the new partial sum, below 2^17.
 */
uint32_t checksum_add(uint32_t sum, const void *bytes, size_t length);

/** The same while copying to destination; the two must not overlap. */
uint32_t checksum_copy(uint32_t sum, void *restrict destination, const void *restrict source,
                       size_t length);

/** A 64-bit sum folded to 32 bits, in one step: added to itself turned by half, its upper half is
    the sum of both with the carry. */
static inline uint32_t checksum_fold64(uint64_t sum)
{
    sum += sum << 32 | sum >> 32;
    return (uint32_t)(sum >> 32);
}

/** One's complement: the carry comes in again at the lower end. */
static inline uint64_t checksum_add_word(uint64_t sum, const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
    sum += word;
    return sum + (sum < word);
}

/** checksum_add() of a header: a multiple of 4 bytes, at most 60. */
static inline uint32_t checksum_add_header(uint32_t sum, const uint8_t *bytes, uint32_t length)
{
    uint64_t total = sum;
    for (; length >= 16; length -= 16, bytes += 16) {
        total = checksum_add_word(total, bytes);
        total = checksum_add_word(total, bytes + 8);
    }
    if (length & 8) {
        total = checksum_add_word(total, bytes);
        bytes += 8;
    }
    uint32_t half = 0;
    if (length & 4)
        memcpy(&half, bytes, sizeof(half));
    return checksum_fold64(total + half + (total + half < half));
}

/** The sum of a piece, as it counts when the piece begins at an odd offset. */
static inline uint32_t checksum_shift_odd(uint32_t sum)
{
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    return ((sum & 0xff) << 8) | (sum >> 8);
}

/** Fold to 16 bits without complement: what hardware offload wants of a pseudo-header. */
static inline uint16_t checksum_fold(uint32_t sum)
{
    sum += sum << 16 | sum >> 16;
    return (uint16_t)(sum >> 16);
}

/** The value to store in the checksum field; over data with its checksum, 0 means right. */
static inline uint16_t checksum_finish(uint32_t sum)
{
    return (uint16_t)~checksum_fold(sum);
}

#endif
