#define _GNU_SOURCE
#include "hostlink/send_pool.h"

#include <errno.h>
#include <stddef.h>

#include "base/assert.h"
#include "hostlink/region.h"
#include "hostlink/send_pool_shared.h"

/** Per size, so much is kept on the stacks before chunks go back to the buddies; at least two. */
#define STACK_BYTES_MAX (256u * 1024)

#define HEAD_UNIT_BITS  24
#define HEAD_COUNT_BITS 12
#define HEAD_UNIT_MASK  ((UINT64_C(1) << HEAD_UNIT_BITS) - 1)
#define HEAD_COUNT_MAX  ((1u << HEAD_COUNT_BITS) - 1)
#define HEAD_TURN_SHIFT (HEAD_UNIT_BITS + HEAD_COUNT_BITS)

/* ---- Stacks of freed chunks ----------------------------------------------------------------- */

static uint32_t head_unit(uint64_t head)
{
    return (uint32_t)(head & HEAD_UNIT_MASK) - 1; /* an empty stack gives BUDDY_NONE */
}

static uint32_t head_count(uint64_t head)
{
    return (uint32_t)(head >> HEAD_UNIT_BITS) & HEAD_COUNT_MAX;
}

/** The head that follows `old`: other unit and count, next turn. */
static uint64_t head_after(uint64_t old, uint32_t unit, uint32_t count)
{
    uint64_t turn = (old >> HEAD_TURN_SHIFT) + 1;
    return turn << HEAD_TURN_SHIFT | (uint64_t)count << HEAD_UNIT_BITS |
           ((uint64_t)(unit + 1) & HEAD_UNIT_MASK);
}

static uint32_t stack_limit(unsigned order)
{
    uint32_t limit = STACK_BYTES_MAX / buddy_block_bytes(order);
    return limit > 2 ? limit : 2;
}

static uint32_t stack_pop(struct send_pool_shared *shared, unsigned order)
{
    _Atomic uint64_t *head = &shared->stacks[order].head;
    /* Acquire, here and on success, pairs with the release in stack_push(): the `next` of the unit
       that we see at the head is the one written before it was pushed. */
    uint64_t old = atomic_load_explicit(head, memory_order_acquire);
    for (;;) {
        uint32_t unit = head_unit(old);
        if (unit == BUDDY_NONE)
            return BUDDY_NONE;
        /* May be nonsense when another takes the unit meanwhile; then the exchange fails. */
        uint32_t next = atomic_load_explicit(&shared->buddy.units[unit].next, memory_order_relaxed);
        uint64_t changed = head_after(old, next, head_count(old) - 1);
        if (atomic_compare_exchange_weak_explicit(head, &old, changed, memory_order_acquire,
                                                  memory_order_acquire))
            return unit;
    }
}

/** @return false: it holds `limit` chunks already. */
static bool stack_push(struct send_pool_shared *shared, unsigned order, uint32_t unit,
                       uint32_t limit)
{
    struct buddy_unit *entry = &shared->buddy.units[unit];
    uint32_t owner = atomic_load_explicit(&entry->tag, memory_order_relaxed);
    _Atomic uint64_t *head = &shared->stacks[order].head;
    uint64_t old = atomic_load_explicit(head, memory_order_relaxed);
    while (head_count(old) < limit) {
        atomic_store_explicit(&entry->next, head_unit(old), memory_order_relaxed);
        atomic_store_explicit(&entry->tag, SEND_POOL_OWNER_STACKED, memory_order_relaxed);
        uint64_t changed = head_after(old, unit, head_count(old) + 1);
        /* Release pairs with the acquire in stack_pop(). */
        if (atomic_compare_exchange_weak_explicit(head, &old, changed, memory_order_release,
                                                  memory_order_relaxed))
            return true;
    }
    atomic_store_explicit(&entry->tag, owner, memory_order_relaxed);
    return false;
}

/** Return the stacked chunks to the buddies, where they merge. The lock is held. */
static void flush_stacks(struct send_pool_shared *shared)
{
    for (unsigned order = 0; order < BUDDY_ORDERS; order++) {
        /* Not more than there are now: others keep pushing. */
        uint64_t head = atomic_load_explicit(&shared->stacks[order].head, memory_order_relaxed);
        for (uint32_t left = head_count(head); left > 0; left--) {
            uint32_t unit = stack_pop(shared, order);
            if (unit == BUDDY_NONE)
                break;
            atomic_store_explicit(&shared->buddy.units[unit].tag, SEND_POOL_OWNER_FLUSHED,
                                  memory_order_relaxed);
            buddy_free(&shared->buddy, unit);
        }
    }
}

/** What the lock's dead owner was taking off the stacks is nobody's: forget it. */
static void free_flushed(struct send_pool_shared *shared)
{
    struct buddy *buddy = &shared->buddy;
    for (uint32_t unit = 0; unit < buddy->frontier; unit++) {
        if (buddy_is_allocated(buddy, unit) &&
            atomic_load_explicit(&buddy->units[unit].tag, memory_order_relaxed) ==
                SEND_POOL_OWNER_FLUSHED)
            buddy_free(buddy, unit);
    }
}

/* ---- The lock ------------------------------------------------------------------------------- */

bool send_pool_lock(struct send_pool_shared *shared)
{
    int error = pthread_mutex_lock(&shared->lock);
    if (error == EDEADLK)
        return false;
    if (error == EOWNERDEAD) {
        buddy_rebuild(&shared->buddy);
        free_flushed(shared);
        atomic_fetch_add_explicit(&shared->rebuilds, 1, memory_order_relaxed);
        error = pthread_mutex_consistent(&shared->lock);
    }
    PNO_ASSERT(error == 0);
    return true;
}

void send_pool_unlock(struct send_pool_shared *shared)
{
    (void)pthread_mutex_unlock(&shared->lock);
}

static int make_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attributes;
    int error = pthread_mutexattr_init(&attributes);
    if (error != 0)
        return -error;
    (void)pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    (void)pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    /* Tells a signal handler that it interrupted the owner, instead of hanging it. */
    (void)pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    error = pthread_mutex_init(lock, &attributes);
    (void)pthread_mutexattr_destroy(&attributes);
    return -error;
}

/* ---- Public --------------------------------------------------------------------------------- */

int send_pool_create(struct send_pool *pool, uint8_t *arena, uint64_t offset, uint64_t bytes)
{
    PNO_ASSERT(offset % _Alignof(struct send_pool_shared) == 0);
    uint32_t units = buddy_units_for(bytes);
    uint64_t metadata = offsetof(struct send_pool_shared, buddy) + buddy_metadata_bytes(units);
    uint64_t chunks = (offset + metadata + BUDDY_BLOCK_BYTES_MAX - 1) / BUDDY_BLOCK_BYTES_MAX *
                      BUDDY_BLOCK_BYTES_MAX;
    if (chunks >= offset + bytes)
        return -EINVAL;
    units = buddy_units_for(offset + bytes - chunks);
    if (units == 0)
        return -EINVAL;
    struct send_pool_shared *shared = (struct send_pool_shared *)(void *)(arena + offset);
    int error = make_lock(&shared->lock);
    if (error < 0)
        return error;
    shared->chunks = chunks;
    shared->chunk_bytes = (uint64_t)units * BUDDY_UNIT_BYTES;
    buddy_init(&shared->buddy, units);
    *pool = (struct send_pool){.arena = arena, .shared = shared};
    return 0;
}

void send_pool_adopt(struct send_pool *pool, uint8_t *arena, uint64_t offset)
{
    *pool = (struct send_pool){.arena = arena,
                               .shared = (struct send_pool_shared *)(void *)(arena + offset)};
}

/** Under the lock: from the buddies, and if they are used up, from what the stacks still hold. */
static uint32_t allocate_slowly(struct send_pool_shared *shared, unsigned order, uint32_t owner)
{
    if (!send_pool_lock(shared))
        return BUDDY_NONE;
    uint32_t unit = buddy_allocate(&shared->buddy, order, owner);
    if (unit == BUDDY_NONE) {
        flush_stacks(shared);
        unit = buddy_allocate(&shared->buddy, order, owner);
    }
    send_pool_unlock(shared);
    return unit;
}

bool send_pool_allocate(struct send_pool *pool, uint64_t wanted_bytes, uint32_t owner,
                        struct chunk *chunk)
{
    struct send_pool_shared *shared = pool->shared;
    if (wanted_bytes > CHUNK_BYTES_MAX)
        wanted_bytes = CHUNK_BYTES_MAX;
    unsigned order = buddy_order_for(wanted_bytes == 0 ? 1 : (uint32_t)wanted_bytes);
    uint32_t unit = stack_pop(shared, order);
    if (unit != BUDDY_NONE)
        atomic_store_explicit(&shared->buddy.units[unit].tag, owner, memory_order_relaxed);
    else
        unit = allocate_slowly(shared, order, owner);
    if (unit == BUDDY_NONE) {
        atomic_fetch_add_explicit(&shared->failures, 1, memory_order_relaxed);
        return false;
    }
    chunk->offset = shared->chunks + (uint64_t)unit * BUDDY_UNIT_BYTES;
    chunk->bytes = buddy_block_bytes(order);
    return true;
}

void send_pool_free(struct send_pool *pool, uint64_t offset)
{
    struct send_pool_shared *shared = pool->shared;
    uint64_t within = offset - shared->chunks;
    PNO_ASSERT(within % BUDDY_UNIT_BYTES == 0 && within < shared->chunk_bytes);
    uint32_t unit = (uint32_t)(within / BUDDY_UNIT_BYTES);
    unsigned order = buddy_order_of(&shared->buddy, unit);
    if (stack_push(shared, order, unit, stack_limit(order)))
        return;
    if (!send_pool_lock(shared)) {
        /* In a signal handler above the lock's owner: the stack can take it all the same. */
        (void)stack_push(shared, order, unit, HEAD_COUNT_MAX);
        return;
    }
    buddy_free(&shared->buddy, unit);
    send_pool_unlock(shared);
}

uint64_t send_pool_reclaim(struct send_pool *pool, send_pool_gone_fn *gone, void *context)
{
    struct send_pool_shared *shared = pool->shared;
    struct buddy *buddy = &shared->buddy;
    uint64_t freed = 0;
    if (!send_pool_lock(shared))
        return 0;
    for (uint32_t unit = 0; unit < buddy->frontier; unit++) {
        if (!buddy_is_allocated(buddy, unit))
            continue;
        uint32_t owner = atomic_load_explicit(&buddy->units[unit].tag, memory_order_relaxed);
        if (owner > SEND_POOL_OWNER_MAX || !gone(context, owner))
            continue;
        freed += buddy_block_bytes(buddy_order_of(buddy, unit));
        buddy_free(buddy, unit);
    }
    send_pool_unlock(shared);
    return freed;
}

uint64_t send_pool_trim(struct send_pool *pool, uint64_t keep_bytes, unsigned runs_max)
{
    struct send_pool_shared *shared = pool->shared;
    uint64_t returned = 0;
    if (!send_pool_lock(shared))
        return 0;
    flush_stacks(shared);
    for (unsigned run = 0; run < runs_max; run++) {
        if ((uint64_t)shared->buddy.warm_top_blocks * CHUNK_BYTES_MAX <= keep_bytes)
            break;
        uint32_t unit = buddy_take_warm(&shared->buddy);
        uint64_t offset = shared->chunks + (uint64_t)unit * BUDDY_UNIT_BYTES;
        returned += link_region_discard(pool->arena, offset, CHUNK_BYTES_MAX);
        buddy_put_cold(&shared->buddy, unit);
    }
    send_pool_unlock(shared);
    return returned;
}

void send_pool_read_statistics(const struct send_pool *pool,
                               struct send_pool_statistics *statistics)
{
    struct send_pool_shared *shared = pool->shared;
    *statistics = (struct send_pool_statistics){
        .bytes_total = shared->chunk_bytes,
        .failures = atomic_load_explicit(&shared->failures, memory_order_relaxed),
        .rebuilds = atomic_load_explicit(&shared->rebuilds, memory_order_relaxed),
    };
    if (!send_pool_lock(shared))
        return;
    uint64_t in_use = shared->buddy.allocated_units * BUDDY_UNIT_BYTES;
    for (unsigned order = 0; order < BUDDY_ORDERS; order++) {
        uint64_t head = atomic_load_explicit(&shared->stacks[order].head, memory_order_relaxed);
        in_use -= (uint64_t)head_count(head) * buddy_block_bytes(order);
    }
    send_pool_unlock(shared);
    statistics->bytes_in_use = in_use;
}
