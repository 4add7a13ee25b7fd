#include "hostlink/buddy.h"

#include "base/assert.h"

/* A unit's state. Zero: not the start of a block. ALLOCATED is set exactly on the first unit of an
   allocated block; the low bits hold the order. */
#define STATE_ORDER     0x0f
#define STATE_COLD      0x20 /* free, in the list of blocks without pages */
#define STATE_FREE      0x40
#define STATE_ALLOCATED 0x80

#define COLD_LIST BUDDY_ORDERS

static uint8_t state_of(const struct buddy *buddy, uint32_t unit)
{
    return atomic_load_explicit(&buddy->units[unit].state, memory_order_relaxed);
}

static void set_state(struct buddy *buddy, uint32_t unit, unsigned state)
{
    /* Release, so that a process killed right after it has left the tag that goes with it. */
    atomic_store_explicit(&buddy->units[unit].state, (uint8_t)state, memory_order_release);
}

static uint32_t next_of(const struct buddy *buddy, uint32_t unit)
{
    return atomic_load_explicit(&buddy->units[unit].next, memory_order_relaxed);
}

static void set_next(struct buddy *buddy, uint32_t unit, uint32_t next)
{
    atomic_store_explicit(&buddy->units[unit].next, next, memory_order_relaxed);
}

/* ---- Free lists ----------------------------------------------------------------------------- */

static unsigned list_of(uint8_t state)
{
    return (state & STATE_COLD) != 0 ? COLD_LIST : state & STATE_ORDER;
}

static void push_free(struct buddy *buddy, uint32_t unit, unsigned list)
{
    uint32_t head = buddy->free[list];
    set_next(buddy, unit, head);
    buddy->units[unit].previous = BUDDY_NONE;
    if (head != BUDDY_NONE)
        buddy->units[head].previous = unit;
    buddy->free[list] = unit;
    if (list == BUDDY_TOP_ORDER)
        buddy->warm_top_blocks++;
    set_state(buddy, unit,
              list == COLD_LIST ? STATE_FREE | STATE_COLD | BUDDY_TOP_ORDER : STATE_FREE | list);
}

static void remove_free(struct buddy *buddy, uint32_t unit)
{
    unsigned list = list_of(state_of(buddy, unit));
    uint32_t next = next_of(buddy, unit);
    uint32_t previous = buddy->units[unit].previous;
    if (next != BUDDY_NONE)
        buddy->units[next].previous = previous;
    if (previous != BUDDY_NONE)
        set_next(buddy, previous, next);
    else
        buddy->free[list] = next;
    if (list == BUDDY_TOP_ORDER)
        buddy->warm_top_blocks--;
    set_state(buddy, unit, 0);
}

static void empty_lists(struct buddy *buddy)
{
    for (unsigned list = 0; list <= COLD_LIST; list++)
        buddy->free[list] = BUDDY_NONE;
    buddy->warm_top_blocks = 0;
}

/* ---- Public --------------------------------------------------------------------------------- */

uint32_t buddy_units_for(uint64_t region_bytes)
{
    uint64_t units = region_bytes / BUDDY_BLOCK_BYTES_MAX * BUDDY_TOP_UNITS;
    return units < BUDDY_UNITS_MAX ? (uint32_t)units : BUDDY_UNITS_MAX;
}

size_t buddy_metadata_bytes(uint32_t unit_count)
{
    return sizeof(struct buddy) + (size_t)unit_count * sizeof(struct buddy_unit);
}

void buddy_init(struct buddy *buddy, uint32_t unit_count)
{
    PNO_ASSERT(unit_count <= BUDDY_UNITS_MAX && unit_count % BUDDY_TOP_UNITS == 0);
    buddy->unit_count = unit_count;
    buddy->frontier = 0;
    buddy->allocated_units = 0;
    empty_lists(buddy);
}

unsigned buddy_order_for(uint32_t bytes)
{
    PNO_ASSERT(bytes >= 1 && bytes <= BUDDY_BLOCK_BYTES_MAX);
    uint32_t units = (bytes + BUDDY_UNIT_BYTES - 1) / BUDDY_UNIT_BYTES;
    return units == 1 ? 0 : 32 - (unsigned)__builtin_clz(units - 1);
}

/** Take some free block of at least this order off its list, its order in *found. */
static uint32_t take_free(struct buddy *buddy, unsigned order, unsigned *found)
{
    for (unsigned list = order; list <= COLD_LIST; list++) {
        uint32_t unit = buddy->free[list];
        if (unit != BUDDY_NONE) {
            remove_free(buddy, unit);
            *found = list < COLD_LIST ? list : BUDDY_TOP_ORDER;
            return unit;
        }
    }
    if (buddy->frontier == buddy->unit_count)
        return BUDDY_NONE;
    uint32_t unit = buddy->frontier;
    buddy->frontier += BUDDY_TOP_UNITS;
    *found = BUDDY_TOP_ORDER;
    return unit;
}

uint32_t buddy_allocate(struct buddy *buddy, unsigned order, uint32_t tag)
{
    PNO_ASSERT(order < BUDDY_ORDERS);
    unsigned found = 0;
    uint32_t unit = take_free(buddy, order, &found);
    if (unit == BUDDY_NONE)
        return BUDDY_NONE;
    while (found > order) {
        found--;
        push_free(buddy, unit + (1u << found), found);
    }
    buddy->allocated_units += UINT64_C(1) << order;
    atomic_store_explicit(&buddy->units[unit].tag, tag, memory_order_relaxed);
    set_state(buddy, unit, STATE_ALLOCATED | order);
    return unit;
}

bool buddy_is_allocated(const struct buddy *buddy, uint32_t unit)
{
    /* Not `frontier`, which others may be moving: states beyond it are zero. */
    return unit < buddy->unit_count && (state_of(buddy, unit) & STATE_ALLOCATED) != 0;
}

unsigned buddy_order_of(const struct buddy *buddy, uint32_t unit)
{
    PNO_ASSERT(buddy_is_allocated(buddy, unit));
    return state_of(buddy, unit) & STATE_ORDER;
}

void buddy_free(struct buddy *buddy, uint32_t unit)
{
    unsigned order = buddy_order_of(buddy, unit);
    set_state(buddy, unit, 0);
    buddy->allocated_units -= UINT64_C(1) << order;
    while (order < BUDDY_TOP_ORDER) {
        uint32_t neighbour = unit ^ (1u << order);
        if (state_of(buddy, neighbour) != (STATE_FREE | order))
            break;
        remove_free(buddy, neighbour);
        unit &= ~(1u << order);
        order++;
    }
    push_free(buddy, unit, order);
}

uint32_t buddy_take_warm(struct buddy *buddy)
{
    uint32_t unit = buddy->free[BUDDY_TOP_ORDER];
    if (unit != BUDDY_NONE)
        remove_free(buddy, unit);
    return unit;
}

void buddy_put_cold(struct buddy *buddy, uint32_t unit)
{
    push_free(buddy, unit, COLD_LIST);
}

/* ---- Rebuilding and checking ---------------------------------------------------------------- */

/** File the free parts of one top block under the largest orders that fit. */
static void file_free_parts(struct buddy *buddy, uint32_t top)
{
    uint32_t unit = top;
    while (unit < top + BUDDY_TOP_UNITS) {
        uint8_t state = state_of(buddy, unit);
        if ((state & STATE_ALLOCATED) != 0) {
            buddy->allocated_units += UINT64_C(1) << (state & STATE_ORDER);
            unit += 1u << (state & STATE_ORDER);
            continue;
        }
        uint32_t end = unit;
        while (end < top + BUDDY_TOP_UNITS && (state_of(buddy, end) & STATE_ALLOCATED) == 0)
            set_state(buddy, end++, 0);
        while (unit < end) {
            unsigned order = unit == top ? BUDDY_TOP_ORDER : (unsigned)__builtin_ctz(unit - top);
            while (unit + (1u << order) > end)
                order--;
            push_free(buddy, unit, order);
            unit += 1u << order;
        }
    }
}

void buddy_rebuild(struct buddy *buddy)
{
    empty_lists(buddy);
    buddy->allocated_units = 0;
    for (uint32_t top = 0; top < buddy->frontier; top += BUDDY_TOP_UNITS)
        file_free_parts(buddy, top);
}

/** Count the units in one free list, or return BUDDY_NONE when it is broken. */
static uint32_t units_in_list(const struct buddy *buddy, unsigned list)
{
    uint32_t units = 0;
    uint32_t previous = BUDDY_NONE;
    unsigned order = list < COLD_LIST ? list : BUDDY_TOP_ORDER;
    for (uint32_t unit = buddy->free[list]; unit != BUDDY_NONE; unit = next_of(buddy, unit)) {
        uint8_t state = state_of(buddy, unit);
        if (unit >= buddy->frontier || buddy->units[unit].previous != previous ||
            (state & STATE_FREE) == 0 || list_of(state) != list || units > buddy->unit_count)
            return BUDDY_NONE;
        units += 1u << order;
        previous = unit;
    }
    return units;
}

bool buddy_is_consistent(const struct buddy *buddy)
{
    uint64_t listed = 0;
    for (unsigned list = 0; list <= COLD_LIST; list++) {
        uint32_t units = units_in_list(buddy, list);
        if (units == BUDDY_NONE)
            return false;
        listed += units;
        if (list == BUDDY_TOP_ORDER && units / BUDDY_TOP_UNITS != buddy->warm_top_blocks)
            return false;
    }
    uint64_t allocated = 0;
    uint64_t free_units = 0;
    for (uint32_t unit = 0; unit < buddy->frontier;) {
        uint8_t state = state_of(buddy, unit);
        uint32_t units = 1u << (state & STATE_ORDER);
        if ((state & (STATE_ALLOCATED | STATE_FREE)) == 0 || unit % units != 0)
            return false;
        for (uint32_t inner = unit + 1; inner < unit + units; inner++) {
            if (state_of(buddy, inner) != 0)
                return false;
        }
        *((state & STATE_ALLOCATED) != 0 ? &allocated : &free_units) += units;
        unit += units;
    }
    return listed == free_units && allocated == buddy->allocated_units &&
           listed + allocated == buddy->frontier;
}
