/**
 * @file timer_wheel.h
 * A hierarchical timing wheel (Varghese & Lauck): O(1) set and cancel, intrusive entries, no
 * allocation, no clock of its own.
 */
#ifndef PNO_BASE_TIMER_WHEEL_H
#define PNO_BASE_TIMER_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/time_units.h"

struct timer_wheel_entry {
    struct timer_wheel_entry *next, **previous_next; /**< NULL previous_next: not set */
    uint64_t deadline_ns;
};

/** Finest slot 2^14 ns (16 µs) × 8 levels of 64 slots covers 2^62 ns. */
#define TIMER_WHEEL_TICK_SHIFT 14
#define TIMER_WHEEL_LEVELS     8
#define TIMER_WHEEL_SLOTS      64

struct timer_wheel {
    uint64_t now_ticks;
    uint64_t next_ns;   /**< timer_wheel_next_ns(), unless 0: not worked out since a change */
    bool next_is_exact; /**< it is the earliest deadline, not a slot's beginning */
    uint64_t occupied[TIMER_WHEEL_LEVELS]; /**< a bit per slot */
    struct timer_wheel_entry *slots[TIMER_WHEEL_LEVELS][TIMER_WHEEL_SLOTS];
};

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ns);

/** Set or move; a deadline in the past is due at once. TIME_NEVER cancels. */
void timer_wheel_set(struct timer_wheel *wheel, struct timer_wheel_entry *entry,
                     uint64_t deadline_ns);
void timer_wheel_cancel(struct timer_wheel *wheel, struct timer_wheel_entry *entry);

/** Take one entry whose deadline is <= now_ns (never early); NULL when none. Entries may be set
    again while expiring; one set to <= now_ns is returned again. */
struct timer_wheel_entry *timer_wheel_expire(struct timer_wheel *wheel, uint64_t now_ns);

/** A time not later than the earliest deadline (slot granularity may make it early); TIME_NEVER. */
uint64_t timer_wheel_next_ns(struct timer_wheel *wheel);

#endif
