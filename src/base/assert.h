/**
 * @file assert.h
 * Assertions of our own invariants. Never for input: what a peer or a host sends yields a verdict.
 *
 * PNO_ASSERT is always on and must be cheap. PNO_DEBUG_ASSERT is on in debug builds, simulation
 * and fuzzing (PNO_DEBUG_CHECKS defined). Both trap, without calling anything, so that the pure
 * core stays free of symbols.
 */
#ifndef PNO_BASE_ASSERT_H
#define PNO_BASE_ASSERT_H

#define PNO_ASSERT(condition) ((condition) ? (void)0 : __builtin_trap())

#ifdef PNO_DEBUG_CHECKS
#define PNO_DEBUG_ASSERT(condition) PNO_ASSERT(condition)
#else
#define PNO_DEBUG_ASSERT(condition) ((void)sizeof(condition))
#endif

#endif
