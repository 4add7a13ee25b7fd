/*
 * An entry lives at the level of the highest 6-bit digit in which its tick differs from the
 * wheel's, in the slot of that digit. So everything at a lower level is due before anything at a
 * higher one, and moving the wheel never needs to look at more than one slot per level.
 */
#include "base/timer_wheel.h"

#include <stddef.h>

#include "base/assert.h"

#define SLOT_BITS  6
#define SLOT_MASK  (TIMER_WHEEL_SLOTS - 1)
#define RANGE_MASK ((UINT64_C(1) << (SLOT_BITS * TIMER_WHEEL_LEVELS)) - 1)

_Static_assert(TIMER_WHEEL_SLOTS == 1 << SLOT_BITS, "a slot is one digit of the tick");

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ns)
{
    *wheel = (struct timer_wheel){.now_ticks = now_ns >> TIMER_WHEEL_TICK_SHIFT};
}

static unsigned slot_of(uint64_t ticks, unsigned level)
{
    return (unsigned)(ticks >> (SLOT_BITS * level)) & SLOT_MASK;
}

static void insert(struct timer_wheel *wheel, struct timer_wheel_entry *entry)
{
    uint64_t ticks = entry->deadline_ns >> TIMER_WHEEL_TICK_SHIFT;
    if (ticks < wheel->now_ticks)
        ticks = wheel->now_ticks;
    if ((ticks ^ wheel->now_ticks) > RANGE_MASK)
        ticks = wheel->now_ticks | RANGE_MASK; /* looked at again when the wheel gets there */

    uint64_t difference = ticks ^ wheel->now_ticks;
    unsigned level = difference == 0 ? 0 : (unsigned)(63 - __builtin_clzll(difference)) / SLOT_BITS;
    unsigned slot = slot_of(ticks, level);
    struct timer_wheel_entry **head = &wheel->slots[level][slot];

    entry->next = *head;
    entry->previous_next = head;
    if (entry->next != NULL)
        entry->next->previous_next = &entry->next;
    *head = entry;
    wheel->occupied[level] |= UINT64_C(1) << slot;
}

void timer_wheel_cancel(struct timer_wheel *wheel, struct timer_wheel_entry *entry)
{
    struct timer_wheel_entry **link = entry->previous_next;
    if (link == NULL)
        return;

    if (!wheel->next_is_exact || entry->deadline_ns <= wheel->next_ns)
        wheel->next_ns = 0;
    *link = entry->next;
    if (entry->next != NULL)
        entry->next->previous_next = link;
    entry->previous_next = NULL;

    struct timer_wheel_entry **slots = &wheel->slots[0][0];
    if (*link == NULL && link >= slots && link < slots + TIMER_WHEEL_LEVELS * TIMER_WHEEL_SLOTS) {
        size_t index = (size_t)(link - slots);
        wheel->occupied[index / TIMER_WHEEL_SLOTS] &= ~(UINT64_C(1) << (index % TIMER_WHEEL_SLOTS));
    }
}

void timer_wheel_set(struct timer_wheel *wheel, struct timer_wheel_entry *entry,
                     uint64_t deadline_ns)
{
    uint64_t next_ns = wheel->next_ns;
    timer_wheel_cancel(wheel, entry);
    if (deadline_ns == TIME_NEVER)
        return;
    entry->deadline_ns = deadline_ns;
    if (deadline_ns < next_ns) {
        wheel->next_ns = deadline_ns;
        wheel->next_is_exact = true;
    }
    insert(wheel, entry);
}

/** The first tick after the present one at which an occupied slot begins; false: none. */
static bool next_occupied(const struct timer_wheel *wheel, uint64_t *ticks, unsigned *at_level)
{
    for (unsigned level = 0; level < TIMER_WHEEL_LEVELS; level++) {
        unsigned slot = slot_of(wheel->now_ticks, level);
        uint64_t later = slot == SLOT_MASK ? 0 : wheel->occupied[level] >> (slot + 1);
        if (later == 0)
            continue;
        unsigned next = slot + 1 + (unsigned)__builtin_ctzll(later);
        uint64_t above = wheel->now_ticks >> (SLOT_BITS * (level + 1)) << (SLOT_BITS * (level + 1));
        *ticks = above | (uint64_t)next << (SLOT_BITS * level);
        *at_level = level;
        return true;
    }
    return false;
}

/** Entries of the slots that begin at the present tick move to finer levels. */
static void cascade(struct timer_wheel *wheel)
{
    for (unsigned level = TIMER_WHEEL_LEVELS - 1; level > 0; level--) {
        unsigned slot = slot_of(wheel->now_ticks, level);
        uint64_t bit = UINT64_C(1) << slot;
        if ((wheel->occupied[level] & bit) == 0)
            continue;
        struct timer_wheel_entry *entry = wheel->slots[level][slot];
        wheel->slots[level][slot] = NULL;
        wheel->occupied[level] &= ~bit;
        while (entry != NULL) {
            struct timer_wheel_entry *next = entry->next;
            insert(wheel, entry);
            entry = next;
        }
    }
}

/** At the range's last tick, all that is set is what insert() cut back to that tick. */
static void cross_range(struct timer_wheel *wheel)
{
    struct timer_wheel_entry **head = &wheel->slots[0][SLOT_MASK];
    struct timer_wheel_entry *entry = *head;
    *head = NULL;
    wheel->occupied[0] = 0;
    wheel->now_ticks = (wheel->now_ticks | RANGE_MASK) + 1;
    while (entry != NULL) {
        struct timer_wheel_entry *next = entry->next;
        insert(wheel, entry);
        entry = next;
    }
}

struct timer_wheel_entry *timer_wheel_expire(struct timer_wheel *wheel, uint64_t now_ns)
{
    uint64_t target = now_ns >> TIMER_WHEEL_TICK_SHIFT;
    wheel->next_ns = 0;

    for (;;) {
        struct timer_wheel_entry *entry = wheel->slots[0][slot_of(wheel->now_ticks, 0)];
        for (; entry != NULL; entry = entry->next) {
            if (entry->deadline_ns <= now_ns) {
                timer_wheel_cancel(wheel, entry);
                return entry;
            }
        }
        if (wheel->now_ticks >= target)
            return NULL;

        uint64_t ticks;
        unsigned level;
        if (!next_occupied(wheel, &ticks, &level) || ticks > target) {
            if ((wheel->now_ticks ^ target) > RANGE_MASK) {
                cross_range(wheel);
                continue;
            }
            wheel->now_ticks = target;
            return NULL;
        }
        wheel->now_ticks = ticks;
        cascade(wheel);
    }
}

static uint64_t earliest_in(const struct timer_wheel_entry *entry)
{
    uint64_t earliest = TIME_NEVER;
    for (; entry != NULL; entry = entry->next)
        if (entry->deadline_ns < earliest)
            earliest = entry->deadline_ns;
    return earliest;
}

static uint64_t find_next(const struct timer_wheel *wheel, bool *is_exact)
{
    const struct timer_wheel_entry *now = wheel->slots[0][slot_of(wheel->now_ticks, 0)];
    *is_exact = true;
    if (now != NULL)
        return earliest_in(now);

    uint64_t ticks;
    unsigned level;
    if (!next_occupied(wheel, &ticks, &level))
        return TIME_NEVER;
    /* Exact within the finest level, so that whoever waits for it finds something due. */
    if (level == 0)
        return earliest_in(wheel->slots[0][slot_of(ticks, 0)]);
    *is_exact = false;
    return ticks << TIMER_WHEEL_TICK_SHIFT;
}

uint64_t timer_wheel_next_ns(struct timer_wheel *wheel)
{
    if (wheel->next_ns == 0)
        wheel->next_ns = find_next(wheel, &wheel->next_is_exact);
    return wheel->next_ns;
}
