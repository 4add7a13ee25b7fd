/**
 * @file checksum.h
 * The Internet checksum (RFC 1071): sums are kept in the machine's byte order, so that a finished
 * sum is stored with memcpy(), and unfolded between pieces.
 */
#ifndef PNO_BASE_CHECKSUM_H
#define PNO_BASE_CHECKSUM_H

#include <stdbool.h>
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

/** Fold to 16 bits without complement: what hardware offload wants of a pseudo-header. */
static inline uint16_t checksum_fold(uint32_t sum)
{
    sum += sum << 16 | sum >> 16;
    return (uint16_t)(sum >> 16);
}

/** Whether checksum_finish() of what this folds to is 0: it is a multiple of 2^16 - 1, and so is
   what that number's inverse makes of it no more than there are such multiples. Of words of which
   one is not 0. */
static inline bool checksum_is_right(uint64_t sum)
{
    return sum * UINT64_C(0xfffefffefffeffff) <= UINT64_MAX / UINT16_MAX;
}

/** One's complement: the carry comes in again at the lower end. */
static inline uint64_t checksum_add_word(uint64_t sum, const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
    sum += word;
    return sum + (sum < word);
}

/* A sanitizer does not see what assembly reads. */
#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define CHECKSUM_IS_CHECKED
#endif
#endif
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(CHECKSUM_IS_CHECKED)
#define CHECKSUM_BLOCK_BY_ASSEMBLY
#endif

/** Four words. Compilers lose the carry between two of them, and compare to find it again. */
#define CHECKSUM_BLOCK_BYTES 32
static inline uint64_t checksum_add_block(uint64_t sum, const uint8_t *bytes)
{
#ifdef CHECKSUM_BLOCK_BY_ASSEMBLY
    const struct {
        uint64_t word[CHECKSUM_BLOCK_BYTES / 8];
    } __attribute__((packed, may_alias)) *block = (const void *)bytes;
    __asm__("addq %1, %0\n\tadcq %2, %0\n\tadcq %3, %0\n\tadcq %4, %0\n\tadcq $0, %0"
            : "+&r"(sum)
            : "m"(block->word[0]), "m"(block->word[1]), "m"(block->word[2]), "m"(block->word[3])
            : "cc");
    return sum;
#else
    for (unsigned at = 0; at < CHECKSUM_BLOCK_BYTES; at += 8)
        sum = checksum_add_word(sum, bytes + at);
    return sum;
#endif
}

/** What lanes must save before gathering them pays (checksum_add()). */
#define CHECKSUM_LANES_BYTES_MIN 256

/** The last few bytes before end, less than a word, as the beginning of one; the missing ones count
    as zero (RFC 1071 §4.1). A whole word is there to be read before end. */
static inline uint64_t checksum_last_word(const uint8_t *end, unsigned count)
{
    uint64_t word;
    memcpy(&word, end - sizeof(word), sizeof(word));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return word >> (64 - 8 * count);
#else
    return word << (64 - 8 * count);
#endif
}

/** checksum_add() of 8 bytes or more, after words that were summed by themselves, not folded; in
    line: for what is a header mostly, or little more. */
static inline uint64_t checksum_add_short(uint64_t total, const uint8_t *bytes, size_t length)
{
    const uint8_t *end = bytes + (length & ~(size_t)(CHECKSUM_BLOCK_BYTES - 1));
    for (; bytes != end; bytes += CHECKSUM_BLOCK_BYTES)
        total = checksum_add_block(total, bytes);
    length &= CHECKSUM_BLOCK_BYTES - 1;
    if (length == 0)
        return total;
    for (end += length; bytes + 8 <= end; bytes += 8)
        total = checksum_add_word(total, bytes);
    if (bytes != end) {
        uint64_t word = checksum_last_word(end, (unsigned)(end - bytes));
        total += word;
        total += total < word;
    }
    return total;
}

/** The same of a header: a multiple of 4 bytes, at most 60. */
static inline uint32_t checksum_add_header(uint32_t sum, const uint8_t *bytes, uint32_t length)
{
    uint64_t total = sum;
    if (length >= CHECKSUM_BLOCK_BYTES) {
        total = checksum_add_block(total, bytes);
        if (length == CHECKSUM_BLOCK_BYTES) /* as is usual */
            return checksum_fold64(total);
        bytes += CHECKSUM_BLOCK_BYTES;
        length -= CHECKSUM_BLOCK_BYTES;
    }
    for (; length >= 8; length -= 8, bytes += 8)
        total = checksum_add_word(total, bytes);
    uint32_t half = 0;
    if (length > 0)
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

/** The value to store in the checksum field; over data with its checksum, 0 means right. */
static inline uint16_t checksum_finish(uint32_t sum)
{
    return (uint16_t)~checksum_fold(sum);
}

#endif
