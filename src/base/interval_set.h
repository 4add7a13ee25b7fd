/**
 * @file interval_set.h
 * Ordered sets of disjoint, non-adjacent half-open intervals of stream offsets, out of a shared
 * pool: the reassembly queue (what lies beyond a gap) and the SACK scoreboard. No limit on the
 * number of intervals but the pool's and a limit that the caller gives.
 */
#ifndef PNO_BASE_INTERVAL_SET_H
#define PNO_BASE_INTERVAL_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct interval {
    uint64_t start;
    uint64_t end; /**< one past the last; start < end */
    struct interval *next;
};

/** Nodes for many sets; one writer. */
struct interval_pool {
    struct interval *free;
    struct interval *fresh; /**< never used so far: memory stays untouched */
    struct interval *fresh_end;
    uint32_t in_use;
};

struct interval_set {
    struct interval *first;
    uint32_t count;
    struct interval *hint; /**< where the last insertion ended: makes in-order growth O(1) */
};

void interval_pool_init(struct interval_pool *pool, struct interval *nodes, uint32_t count);

/**
 * Add [start, end), merging with what it touches or overlaps.
 * @return bytes newly covered (0: all known before), or -ENOBUFS when it needs a node and the pool
 *         is empty or the set has count_max intervals: the set is unchanged.
 */
int64_t interval_set_add(struct interval_set *set, struct interval_pool *pool, uint64_t start,
                         uint64_t end, uint32_t count_max);

/** Remove everything below offset. @return bytes removed. */
uint64_t interval_set_remove_below(struct interval_set *set, struct interval_pool *pool,
                                   uint64_t offset);
void interval_set_clear(struct interval_set *set, struct interval_pool *pool);

/** The interval that contains offset, or NULL. */
const struct interval *interval_set_find(const struct interval_set *set, uint64_t offset);
/** The first interval that ends after offset, or NULL. */
const struct interval *interval_set_from(const struct interval_set *set, uint64_t offset);
bool interval_set_contains(const struct interval_set *set, uint64_t start, uint64_t end);
uint64_t interval_set_bytes(const struct interval_set *set);

/** Traps unless ordered, disjoint, non-adjacent and counted right. */
void interval_set_check(const struct interval_set *set);

#endif
