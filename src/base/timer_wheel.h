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

/** So many changes at most before what is fresh enters its slots. */
#define TIMER_WHEEL_FRESH_MAX 64

/** Finest slot 2^14 ns (16 µs) × 8 levels of 64 slots covers 2^62 ns. */
#define TIMER_WHEEL_TICK_SHIFT 14
#define TIMER_WHEEL_LEVELS     8
#define TIMER_WHEEL_SLOTS      64

struct timer_wheel {
    uint64_t now_ticks;
    /* Of what is in slots: a time not later than the earliest deadline; 0: not worked out since a
       change. And up to where that stands for: the deadline itself, or the end of its slot. */
    uint64_t next_ns, next_until_ns;
    /* Set lately, and in no slot yet: most timers move or are cancelled before long. */
    struct timer_wheel_entry *fresh;
    uint64_t fresh_ns; /**< a time not later than the earliest of them; 0: not known */
    uint32_t fresh_changes;
    uint32_t levels;                       /**< a bit for each with an occupied slot */
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
