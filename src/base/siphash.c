#include "base/siphash.h"

#include <string.h>

static uint64_t load_le64(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof(value));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

struct siphash_key siphash_key_load(const uint8_t bytes[16])
{
    return (struct siphash_key){load_le64(bytes), load_le64(bytes + 8)};
}

uint64_t siphash_2_4(const struct siphash_key *key, const void *bytes, size_t length)
{
    const uint8_t *position = bytes;
    struct siphash_state s = siphash_begin(key);
    uint64_t last = (uint64_t)length << 56;

    for (size_t left = length / 8; left > 0; left--, position += 8) {
        uint64_t word = load_le64(position);
        s.v3 ^= word;
        siphash_round(&s);
        siphash_round(&s);
        s.v0 ^= word;
    }
    for (size_t i = 0; i < length % 8; i++)
        last |= (uint64_t)position[i] << (8 * i);
    s.v3 ^= last;
    siphash_round(&s);
    siphash_round(&s);
    s.v0 ^= last;
    s.v2 ^= 0xff;
    for (int i = 0; i < 4; i++)
        siphash_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
