/**
 * @file cmocka_all.h
 * cmocka with the headers that it wants included before it, and a seeded random number generator.
 */
#ifndef PNO_TESTS_UNIT_HOSTLINK_CMOCKA_ALL_H
#define PNO_TESTS_UNIT_HOSTLINK_CMOCKA_ALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/** xorshift64: repeatable from a seed other than 0. */
static inline uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/** 0..limit-1 */
static inline uint32_t random_below(uint64_t *state, uint32_t limit)
{
    return (uint32_t)((random_next(state) >> 16) % limit);
}

#endif
