/**
 * @file buddy.h
 * Buddy allocation over a region cut into units, in memory that may be shared.
 *
 * Block sizes are powers of two from one unit to BUDDY_BLOCK_BYTES_MAX; each operation takes at
 * most BUDDY_ORDERS steps; freed neighbours merge at once, so memory is never stuck in a size.
 * Only offsets are kept, never pointers. The region's contents are never touched.
 *
 * No locking here: chunk_pool.h has one user, send_pool.h brings a lock. What makes sharing safe is
 * that one byte per unit is the truth (allocated with which order, or not) and is changed by one
 * store, while free lists follow from it: buddy_rebuild() restores them whatever instruction the
 * previous user was killed at.
 */
#ifndef PNO_HOSTLINK_BUDDY_H
#define PNO_HOSTLINK_BUDDY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUDDY_UNIT_BYTES      2048u
#define BUDDY_ORDERS          8u /**< 2, 4, 8, …, 256 KiB */
#define BUDDY_TOP_ORDER       (BUDDY_ORDERS - 1)
#define BUDDY_TOP_UNITS       (1u << BUDDY_TOP_ORDER)
#define BUDDY_BLOCK_BYTES_MAX (BUDDY_UNIT_BYTES * BUDDY_TOP_UNITS)

/** 32 GiB. */
#define BUDDY_UNITS_MAX (1u << 24)

/** "No unit": the end of a list, or nothing could be allocated. */
#define BUDDY_NONE UINT32_MAX

struct buddy_unit {
    _Atomic uint32_t next; /**< in a list that this unit heads a block of */
    uint32_t previous;     /**< in a free list */
    _Atomic uint32_t tag;  /**< the user's, kept while allocated */
    _Atomic uint8_t state; /**< the truth; see buddy.c */
    uint8_t reserved[3];
};

/** Followed in memory by one struct buddy_unit per unit. Zeroed memory plus buddy_init(). */
struct buddy {
    uint32_t unit_count; /**< a multiple of BUDDY_TOP_UNITS */
    uint32_t frontier;   /**< units from here on have never been used */
    /** Heads of the free lists by order; the last holds top blocks whose pages were given back. */
    uint32_t free[BUDDY_ORDERS + 1];
    uint32_t warm_top_blocks; /**< free top blocks that still have their pages */
    uint64_t allocated_units;
    struct buddy_unit units[];
};

/** Units of a region of this many bytes: whole top blocks only, at most BUDDY_UNITS_MAX. */
uint32_t buddy_units_for(uint64_t region_bytes);

/** Bytes that struct buddy needs for so many units. */
size_t buddy_metadata_bytes(uint32_t unit_count);

/** @param buddy  zeroed memory of buddy_metadata_bytes(unit_count), touched only where needed. */
void buddy_init(struct buddy *buddy, uint32_t unit_count);

/** Smallest order whose blocks hold so many bytes; bytes must be 1..BUDDY_BLOCK_BYTES_MAX. */
unsigned buddy_order_for(uint32_t bytes);

static inline uint32_t buddy_block_bytes(unsigned order)
{
    return BUDDY_UNIT_BYTES << order;
}

/**
 * @param tag  kept with the block, in its first unit.
 * @return the block's first unit, or BUDDY_NONE: no block of that order is left.
 */
uint32_t buddy_allocate(struct buddy *buddy, unsigned order, uint32_t tag);

/** Order of the allocated block that starts at `unit`; traps when there is none. */
unsigned buddy_order_of(const struct buddy *buddy, uint32_t unit);

bool buddy_is_allocated(const struct buddy *buddy, uint32_t unit);

/** Free the allocated block that starts at `unit`; traps when there is none. */
void buddy_free(struct buddy *buddy, uint32_t unit);

/**
 * Take a free top block whose pages can be given back to the system; hand it to buddy_put_cold()
 * afterwards. @return BUDDY_NONE: there is none.
 */
uint32_t buddy_take_warm(struct buddy *buddy);
void buddy_put_cold(struct buddy *buddy, uint32_t unit);

/** Make free lists and counters anew from the units' states. Steps in proportion to `frontier`. */
void buddy_rebuild(struct buddy *buddy);

/** For tests: whether states, lists and counters agree. */
bool buddy_is_consistent(const struct buddy *buddy);

#endif
