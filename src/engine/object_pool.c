#include "engine/object_pool.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"

int object_pool_init(struct object_pool *pool, size_t object_bytes, uint32_t capacity)
{
    *pool = (struct object_pool){.object_bytes = object_bytes, .capacity = capacity};
    void *memory = mmap(NULL, object_bytes * capacity, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return -ENOMEM;
    pool->memory = memory;
    return 0;
}

void object_pool_destroy(struct object_pool *pool)
{
    if (pool->memory != NULL)
        (void)munmap(pool->memory, pool->object_bytes * pool->capacity);
    *pool = (struct object_pool){0};
}

void *object_pool_take(struct object_pool *pool)
{
    void *object = pool->free_list;
    if (object != NULL)
        memcpy(&pool->free_list, object, sizeof(pool->free_list));
    else if (pool->touched < pool->capacity)
        object = pool->memory + (size_t)pool->touched++ * pool->object_bytes;
    else
        return NULL;
    pool->in_use++;
    return object;
}

void object_pool_give(struct object_pool *pool, void *object)
{
    PNO_ASSERT(pool->in_use > 0);
    memcpy(object, &pool->free_list, sizeof(pool->free_list));
    pool->free_list = object;
    pool->in_use--;
}
