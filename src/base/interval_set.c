#include "base/interval_set.h"

#include <errno.h>

#include "base/assert.h"

void interval_pool_init(struct interval_pool *pool, struct interval *nodes, uint32_t count)
{
    *pool = (struct interval_pool){.fresh = nodes, .fresh_end = nodes + count};
}

static struct interval *node_alloc(struct interval_pool *pool)
{
    struct interval *node = pool->free;
    if (node != NULL)
        pool->free = node->next;
    else if (pool->fresh < pool->fresh_end)
        node = pool->fresh++;
    else
        return NULL;
    pool->in_use++;
    return node;
}

static void node_free(struct interval_set *set, struct interval_pool *pool, struct interval *node)
{
    if (set->hint == node)
        set->hint = NULL;
    PNO_ASSERT(pool->in_use > 0 && set->count > 0);
    node->next = pool->free;
    pool->free = node;
    pool->in_use--;
    set->count--;
}

/** Let node swallow those after it that it now touches. @return bytes they held together. */
static uint64_t absorb_next(struct interval_set *set, struct interval_pool *pool,
                            struct interval *node)
{
    uint64_t held = 0;
    while (node->next != NULL && node->next->start <= node->end) {
        struct interval *next = node->next;
        held += next->end - next->start;
        if (next->end > node->end)
            node->end = next->end;
        node->next = next->next;
        node_free(set, pool, next);
    }
    return held;
}

/** Let node cover [start, end) too. @return bytes newly covered. */
static int64_t extend(struct interval_set *set, struct interval_pool *pool, struct interval *node,
                      uint64_t start, uint64_t end)
{
    uint64_t held = node->end - node->start;
    if (start < node->start)
        node->start = start;
    if (end > node->end)
        node->end = end;
    held += absorb_next(set, pool, node);
    set->hint = node;
    return (int64_t)(node->end - node->start - held);
}

int64_t interval_set_add(struct interval_set *set, struct interval_pool *pool, uint64_t start,
                         uint64_t end, uint32_t count_max)
{
    if (start >= end)
        return 0;

    /* The last interval that starts at or before start, and the one after it. */
    struct interval *before = NULL;
    struct interval *after = set->first;
    if (set->hint != NULL && set->hint->start <= start) {
        before = set->hint;
        after = before->next;
    }
    while (after != NULL && after->start <= start) {
        before = after;
        after = after->next;
    }

    if (before != NULL && before->end >= start)
        return extend(set, pool, before, start, end);
    if (after != NULL && after->start <= end)
        return extend(set, pool, after, start, end);

    struct interval *node = set->count < count_max ? node_alloc(pool) : NULL;
    if (node == NULL)
        return -ENOBUFS;
    *node = (struct interval){.start = start, .end = end, .next = after};
    if (before != NULL)
        before->next = node;
    else
        set->first = node;
    set->count++;
    set->hint = node;
    return (int64_t)(end - start);
}

uint64_t interval_set_remove_below(struct interval_set *set, struct interval_pool *pool,
                                   uint64_t offset)
{
    uint64_t removed = 0;
    while (set->first != NULL && set->first->start < offset) {
        struct interval *node = set->first;
        if (node->end > offset) {
            removed += offset - node->start;
            node->start = offset;
            break;
        }
        removed += node->end - node->start;
        set->first = node->next;
        node_free(set, pool, node);
    }
    return removed;
}

void interval_set_clear(struct interval_set *set, struct interval_pool *pool)
{
    while (set->first != NULL) {
        struct interval *node = set->first;
        set->first = node->next;
        node_free(set, pool, node);
    }
}

const struct interval *interval_set_from(const struct interval_set *set, uint64_t offset)
{
    const struct interval *node = set->first;
    if (set->hint != NULL && set->hint->start <= offset)
        node = set->hint;
    while (node != NULL && node->end <= offset)
        node = node->next;
    return node;
}

const struct interval *interval_set_find(const struct interval_set *set, uint64_t offset)
{
    const struct interval *node = interval_set_from(set, offset);
    return node != NULL && node->start <= offset ? node : NULL;
}

bool interval_set_contains(const struct interval_set *set, uint64_t start, uint64_t end)
{
    if (start >= end)
        return true;
    const struct interval *node = interval_set_find(set, start);
    return node != NULL && node->end >= end;
}

uint64_t interval_set_bytes(const struct interval_set *set)
{
    uint64_t bytes = 0;
    for (const struct interval *node = set->first; node != NULL; node = node->next)
        bytes += node->end - node->start;
    return bytes;
}

void interval_set_check(const struct interval_set *set)
{
    uint32_t count = 0;
    bool hint_found = set->hint == NULL;
    const struct interval *previous = NULL;
    for (const struct interval *node = set->first; node != NULL; node = node->next) {
        PNO_ASSERT(node->start < node->end);
        PNO_ASSERT(previous == NULL || previous->end < node->start);
        hint_found = hint_found || node == set->hint;
        previous = node;
        count++;
    }
    PNO_ASSERT(count == set->count);
    PNO_ASSERT(hint_found);
}
