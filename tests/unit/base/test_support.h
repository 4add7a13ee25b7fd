/**
 * @file test_support.h
 * What every cmocka test of base and core includes, and a small seeded random generator.
 */
#ifndef PNO_TESTS_UNIT_BASE_TEST_SUPPORT_H
#define PNO_TESTS_UNIT_BASE_TEST_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct test_random {
    uint64_t state;
};

static inline uint32_t test_random_next(struct test_random *random)
{
    random->state = random->state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    uint64_t x = random->state;
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    return (uint32_t)(x >> 32);
}

/** 0 .. below - 1. */
static inline uint32_t test_random_below(struct test_random *random, uint32_t below)
{
    return test_random_next(random) % below;
}

static inline void test_random_fill(struct test_random *random, uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)test_random_next(random);
}

#endif
