/**
 * @file seq.h
 * TCP sequence numbers: 32-bit, compared modulo 2^32 (RFC 9293 §3.4).
 *
 * A distinct type, so that a sequence number is never mixed up with a length or a stream offset,
 * and so that '<' on two of them does not compile.
 */
#ifndef PNO_BASE_SEQ_H
#define PNO_BASE_SEQ_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint32_t value;
} seq_t;

static inline seq_t seq_of(uint32_t value)
{
    return (seq_t){value};
}

static inline seq_t seq_add(seq_t a, uint32_t bytes)
{
    return (seq_t){a.value + bytes};
}

static inline seq_t seq_sub(seq_t a, uint32_t bytes)
{
    return (seq_t){a.value - bytes};
}

/** Signed distance a - b; right when the two are within 2^31 of each other. */
static inline int32_t seq_diff(seq_t a, seq_t b)
{
    return (int32_t)(a.value - b.value);
}

static inline bool seq_eq(seq_t a, seq_t b)
{
    return a.value == b.value;
}

static inline bool seq_lt(seq_t a, seq_t b)
{
    return seq_diff(a, b) < 0;
}

static inline bool seq_leq(seq_t a, seq_t b)
{
    return seq_diff(a, b) <= 0;
}

static inline bool seq_gt(seq_t a, seq_t b)
{
    return seq_diff(a, b) > 0;
}

static inline bool seq_geq(seq_t a, seq_t b)
{
    return seq_diff(a, b) >= 0;
}

static inline seq_t seq_max(seq_t a, seq_t b)
{
    return seq_lt(a, b) ? b : a;
}

static inline seq_t seq_min(seq_t a, seq_t b)
{
    return seq_lt(a, b) ? a : b;
}

#endif
