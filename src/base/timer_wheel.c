/*
 * An entry lives at the level of the highest 6-bit digit in which its tick differs from the
 * wheel's, in the slot of that digit. So everything at a lower level is due before anything at a
 * higher one, and moving the wheel never needs to look at more than one slot per level.
 *
 * What is set waits in a list until something in it may be due, or enough has changed, and enters
 * the slots only then.
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
    *wheel = (struct timer_wheel){
        .now_ticks = now_ns >> TIMER_WHEEL_TICK_SHIFT,
        .next_ns = TIME_NEVER,
        .next_until_ns = TIME_NEVER,
        .fresh_ns = TIME_NEVER,
    };
}

static unsigned slot_of(uint64_t ticks, unsigned level)
{
    return (unsigned)(ticks >> (SLOT_BITS * level)) & SLOT_MASK;
}

static inline void push(struct timer_wheel_entry **head, struct timer_wheel_entry *entry)
{
    entry->next = *head;
    entry->previous_next = head;
    if (entry->next != NULL)
        entry->next->previous_next = &entry->next;
    *head = entry;
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
    push(&wheel->slots[level][slot], entry);
    wheel->occupied[level] |= UINT64_C(1) << slot;
    wheel->levels |= UINT32_C(1) << level;
}

/** What is fresh enters the slots. Apart, so that setting one does not pay for its registers. */
static __attribute__((noinline)) void settle(struct timer_wheel *wheel)
{
    struct timer_wheel_entry *entry = wheel->fresh;
    wheel->fresh = NULL;
    wheel->fresh_ns = TIME_NEVER;
    wheel->fresh_changes = 0;
    while (entry != NULL) {
        struct timer_wheel_entry *next = entry->next;
        if (entry->deadline_ns < wheel->next_ns)
            wheel->next_ns = wheel->next_until_ns = entry->deadline_ns;
        insert(wheel, entry);
        entry = next;
    }
}

static void slot_clear(struct timer_wheel *wheel, unsigned level, unsigned slot)
{
    wheel->occupied[level] &= ~(UINT64_C(1) << slot);
    if (wheel->occupied[level] == 0)
        wheel->levels &= ~(UINT32_C(1) << level);
}

static inline void take_out(struct timer_wheel *wheel, struct timer_wheel_entry *entry)
{
    struct timer_wheel_entry **link = entry->previous_next;
    *link = entry->next;
    if (entry->next != NULL)
        entry->next->previous_next = link;
    entry->previous_next = NULL;

    struct timer_wheel_entry **slots = &wheel->slots[0][0];
    if (*link == NULL && link >= slots && link < slots + TIMER_WHEEL_LEVELS * TIMER_WHEEL_SLOTS) {
        size_t index = (size_t)(link - slots);
        slot_clear(wheel, (unsigned)(index / TIMER_WHEEL_SLOTS),
                   (unsigned)(index % TIMER_WHEEL_SLOTS));
    }
}

void timer_wheel_cancel(struct timer_wheel *wheel, struct timer_wheel_entry *entry)
{
    if (entry->previous_next == NULL)
        return;
    if (entry->deadline_ns <= wheel->next_until_ns)
        wheel->next_ns = 0;
    if (entry->deadline_ns <= wheel->fresh_ns)
        wheel->fresh_ns = 0;
    take_out(wheel, entry);
}

void timer_wheel_set(struct timer_wheel *wheel, struct timer_wheel_entry *entry,
                     uint64_t deadline_ns)
{
    uint64_t fresh_ns = wheel->fresh_ns;
    if (entry == wheel->fresh && deadline_ns != TIME_NEVER) { /* nothing is to be linked */
        if (deadline_ns <= fresh_ns)
            wheel->fresh_ns = deadline_ns;
        else if (entry->deadline_ns <= fresh_ns)
            wheel->fresh_ns = 0;
        entry->deadline_ns = deadline_ns;
        return;
    }
    timer_wheel_cancel(wheel, entry);
    if (deadline_ns == TIME_NEVER)
        return;
    entry->deadline_ns = deadline_ns;
    push(&wheel->fresh, entry);
    if (deadline_ns <= fresh_ns)
        wheel->fresh_ns = deadline_ns;
    if (++wheel->fresh_changes >= TIMER_WHEEL_FRESH_MAX)
        settle(wheel);
}

/** The first tick after the present one at which an occupied slot begins; false: none. */
static bool next_occupied(const struct timer_wheel *wheel, uint64_t *ticks, unsigned *at_level)
{
    for (uint32_t levels = wheel->levels; levels != 0; levels &= levels - 1) {
        unsigned level = (unsigned)__builtin_ctz(levels);
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
        slot_clear(wheel, level, slot);
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
    wheel->levels = 0;
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
    if (wheel->fresh_ns <= now_ns)
        settle(wheel);
    wheel->next_ns = 0;

    for (;;) {
        struct timer_wheel_entry *entry = wheel->slots[0][slot_of(wheel->now_ticks, 0)];
        for (; entry != NULL; entry = entry->next) {
            if (entry->deadline_ns <= now_ns) {
                take_out(wheel, entry);
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

static void find_next(struct timer_wheel *wheel)
{
    const struct timer_wheel_entry *now = wheel->slots[0][slot_of(wheel->now_ticks, 0)];
    uint64_t ticks;
    unsigned level;
    if (now != NULL) {
        wheel->next_ns = wheel->next_until_ns = earliest_in(now);
    } else if (!next_occupied(wheel, &ticks, &level)) {
        wheel->next_ns = wheel->next_until_ns = TIME_NEVER;
    } else if (level == 0) {
        /* Exact within the finest level, so that whoever waits for it finds something due. */
        wheel->next_ns = wheel->next_until_ns = earliest_in(wheel->slots[0][slot_of(ticks, 0)]);
    } else {
        uint64_t slot_ticks = UINT64_C(1) << (SLOT_BITS * level);
        wheel->next_ns = ticks << TIMER_WHEEL_TICK_SHIFT;
        wheel->next_until_ns = (ticks + slot_ticks) << TIMER_WHEEL_TICK_SHIFT;
    }
}

uint64_t timer_wheel_next_ns(struct timer_wheel *wheel)
{
    if (wheel->fresh_ns == 0)
        settle(wheel);
    if (wheel->next_ns == 0)
        find_next(wheel);
    return wheel->fresh_ns < wheel->next_ns ? wheel->fresh_ns : wheel->next_ns;
}
