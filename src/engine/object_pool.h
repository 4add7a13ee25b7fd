/**
 * @file object_pool.h
 * Fixed-size objects from one reserved range: no allocation after creation, memory touched only as
 * far as objects were ever in use at once. Not thread-safe: one pool per core.
 */
#ifndef PNO_ENGINE_OBJECT_POOL_H
#define PNO_ENGINE_OBJECT_POOL_H

#include <stddef.h>
#include <stdint.h>

struct object_pool {
    uint8_t *memory;
    size_t object_bytes;
    uint32_t capacity;
    uint32_t touched; /**< objects ever handed out: [0, touched) */
    uint32_t in_use;
    void *free_list;
};

/** @return 0 or -ENOMEM. */
int object_pool_init(struct object_pool *pool, size_t object_bytes, uint32_t capacity);
void object_pool_destroy(struct object_pool *pool);

/** @return an object with unspecified contents, or NULL when all are in use. */
void *object_pool_take(struct object_pool *pool);
void object_pool_give(struct object_pool *pool, void *object);

/** What one user may have of a pool that others use too. */
struct object_share {
    struct object_pool *pool;
    uint32_t in_use, limit;
    uint64_t refused; /**< times that the limit was met */
};

static inline void *object_share_take(struct object_share *share)
{
    if (share->in_use == share->limit) {
        share->refused++;
        return NULL;
    }
    void *object = object_pool_take(share->pool);
    share->in_use += object != NULL;
    return object;
}

static inline void object_share_give(struct object_share *share, void *object)
{
    object_pool_give(share->pool, object);
    share->in_use--;
}

#endif
