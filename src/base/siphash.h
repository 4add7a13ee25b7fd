/**
 * @file siphash.h
 * SipHash (Aumasson & Bernstein): a keyed hash that an attacker who does not know the key cannot
 * steer. SipHash-2-4 for secrets that leave the machine (sequence numbers, cookies), SipHash-1-3
 * for hash tables.
 */
#ifndef PNO_BASE_SIPHASH_H
#define PNO_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
    uint64_t k0, k1;
};

struct siphash_key siphash_key_load(const uint8_t bytes[16]);

/** SipHash-2-4 of bytes. */
uint64_t siphash_2_4(const struct siphash_key *key, const void *bytes, size_t length);

static inline uint64_t siphash_rotate(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}

struct siphash_state {
    uint64_t v0, v1, v2, v3;
};

static inline void siphash_round(struct siphash_state *s)
{
    s->v0 += s->v1;
    s->v1 = siphash_rotate(s->v1, 13) ^ s->v0;
    s->v0 = siphash_rotate(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = siphash_rotate(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = siphash_rotate(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = siphash_rotate(s->v1, 17) ^ s->v2;
    s->v2 = siphash_rotate(s->v2, 32);
}

static inline struct siphash_state siphash_begin(const struct siphash_key *key)
{
    return (struct siphash_state){
        key->k0 ^ UINT64_C(0x736f6d6570736575), key->k1 ^ UINT64_C(0x646f72616e646f6d),
        key->k0 ^ UINT64_C(0x6c7967656e657261), key->k1 ^ UINT64_C(0x7465646279746573)};
}

/** The last word of count with the length in its upper byte: one byte less than so many words. */
static inline uint64_t siphash_last_word(const uint64_t *words, unsigned count)
{
    return (words[count - 1] & (UINT64_MAX >> 8)) | (uint64_t)(count * 8 - 1) << 56;
}

/** SipHash-2-4 of the bytes of these words, in this machine's order, but for the last one's upper
    byte, which is left out. */
static inline uint64_t siphash_2_4_words(const struct siphash_key *key, const uint64_t *words,
                                         unsigned count)
{
    struct siphash_state s = siphash_begin(key);
    for (unsigned i = 0; i < count; i++) {
        uint64_t word = i + 1 < count ? words[i] : siphash_last_word(words, count);
        s.v3 ^= word;
        siphash_round(&s);
        siphash_round(&s);
        s.v0 ^= word;
    }
    s.v2 ^= 0xff;
    for (unsigned i = 0; i < 4; i++)
        siphash_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

/** SipHash-1-3 of the same; inline because tables hash few words, of a count known there. */
static inline uint64_t siphash_1_3_words(const struct siphash_key *key, const uint64_t *words,
                                         unsigned count)
{
    struct siphash_state s = siphash_begin(key);
    for (unsigned i = 0; i < count; i++) {
        uint64_t word = i + 1 < count ? words[i] : siphash_last_word(words, count);
        s.v3 ^= word;
        siphash_round(&s);
        s.v0 ^= word;
    }
    s.v2 ^= 0xff;
    siphash_round(&s);
    siphash_round(&s);
    siphash_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

#endif
