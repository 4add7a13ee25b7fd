/**
 * @file random.h
 * The simulator's only source of chance: a seeded generator (splitmix64). Everything a run does
 * follows from its seed.
 */
#ifndef PNO_SIMULATION_RANDOM_H
#define PNO_SIMULATION_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct random {
    uint64_t state;
};

static inline uint64_t random_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline uint64_t random_next(struct random *random)
{
    random->state += UINT64_C(0x9e3779b97f4a7c15);
    return random_mix(random->state);
}

/** Uniform in [0, bound); 0 when bound is 0. */
static inline uint64_t random_below(struct random *random, uint64_t bound)
{
    return bound == 0 ? 0 : random_next(random) % bound;
}

/** Uniform in [low, high]. */
static inline uint64_t random_between(struct random *random, uint64_t low, uint64_t high)
{
    return low + random_below(random, high - low + 1);
}

/** True with a probability in parts per thousand. */
static inline bool random_chance(struct random *random, unsigned per_mille)
{
    return random_below(random, 1000) < per_mille;
}

/** Between low and high, all orders of magnitude alike: small values are as common as large. */
static inline uint64_t random_log_between(struct random *random, uint64_t low, uint64_t high)
{
    unsigned low_bits = 64 - (unsigned)__builtin_clzll(low | 1);
    unsigned high_bits = 64 - (unsigned)__builtin_clzll(high | 1);
    uint64_t top = UINT64_C(1) << random_between(random, low_bits, high_bits);
    uint64_t value = random_between(random, low, top > high || top < low ? high : top);
    return value;
}

#endif
