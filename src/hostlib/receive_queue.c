#include "hostlib/receive_queue.h"

#include <errno.h>
#include <stdlib.h>

#include "hostlib/lock.h"
#include "hostlib/slab.h"

#define SLAB_BYTES (16u << 10)

/* Of the smallest ring; those come from the slab, larger ones from malloc(). */
#define FEW 8

struct place {
    uint64_t arena_offset;
    uint32_t length;
};

/* Extents, while a queue has had more than one since it was empty. */
struct receive_ring {
    uint64_t start;    /* stream offset of the first one's first byte */
    uint32_t capacity; /* a power of two */
    uint32_t first;
    struct place places[];
};

static struct lock lock; /* of the slab */
static struct slab rings = {
    .object_bytes = sizeof(struct receive_ring) + FEW * sizeof(struct place),
    .mapped_bytes = SLAB_BYTES,
};

struct lock *receive_queue_fork_lock(void)
{
    return &lock;
}

static struct receive_ring *make_ring(uint32_t capacity)
{
    struct receive_ring *ring;
    if (capacity == FEW) {
        lock_acquire(&lock);
        ring = slab_take(&rings);
        lock_release(&lock);
    } else {
        ring = malloc(sizeof(*ring) + capacity * sizeof(ring->places[0]));
    }
    if (ring != NULL) {
        ring->capacity = capacity;
        ring->first = 0;
    }
    return ring;
}

static void free_ring(struct receive_ring *ring)
{
    if (ring->capacity != FEW) {
        free(ring);
        return;
    }
    lock_acquire(&lock);
    slab_give(&rings, ring);
    lock_release(&lock);
}

static struct place *nth(struct receive_ring *ring, uint32_t n)
{
    return &ring->places[(ring->first + n) & (ring->capacity - 1)];
}

/* Have a ring with room for one more extent. @return false: no memory, or too many. */
static bool grow(struct receive_queue *queue)
{
    struct receive_ring *old = queue->has_ring ? queue->ring : NULL;
    uint32_t wider = old != NULL ? old->capacity * 4 : FEW;
    struct receive_ring *ring = wider <= RECEIVE_QUEUE_EXTENTS_MAX ? make_ring(wider) : NULL;
    if (ring == NULL)
        return false;
    if (old != NULL) {
        ring->start = old->start;
        for (uint32_t i = 0; i < queue->count; i++)
            ring->places[i] = *nth(old, i);
        free_ring(old);
    } else {
        ring->start = queue->end_offset - queue->length;
        ring->places[0] = (struct place){queue->arena_offset, queue->length};
    }
    queue->ring = ring;
    queue->has_ring = true;
    return true;
}

/* @return false: the last extent does not end where these bytes lie. */
static bool join_last(struct receive_queue *queue, uint64_t arena_offset, uint32_t length)
{
    uint64_t start = queue->arena_offset;
    uint32_t *last = &queue->length;
    if (queue->has_ring) {
        struct place *place = nth(queue->ring, queue->count - 1);
        start = place->arena_offset;
        last = &place->length;
    }
    if (start + *last != arena_offset || length > UINT32_MAX - *last)
        return false;
    *last += length;
    return true;
}

int receive_queue_append(struct receive_queue *queue, struct receive_extent extent)
{
    uint64_t end = extent.stream_offset + extent.length;
    if (end <= queue->end_offset || extent.length > UINT32_MAX)
        return 0;
    if (extent.stream_offset > queue->end_offset) {
        /* Only a process that joined by fork meets this: others have read what it never saw. */
        if (queue->count != 0)
            return 0;
    } else {
        uint64_t known = queue->end_offset - extent.stream_offset;
        extent.arena_offset += known;
        extent.length -= known;
    }
    uint32_t length = (uint32_t)extent.length;
    if (queue->count == 0) {
        queue->arena_offset = extent.arena_offset;
        queue->length = length;
        queue->count = 1;
    } else if (!join_last(queue, extent.arena_offset, length)) {
        if ((!queue->has_ring || queue->count == queue->ring->capacity) && !grow(queue))
            return -ENOBUFS;
        *nth(queue->ring, queue->count) = (struct place){extent.arena_offset, length};
        queue->count++;
    }
    __atomic_store_n(&queue->end_offset, end, __ATOMIC_RELAXED);
    return 1;
}

uint64_t receive_queue_at(const struct receive_queue *queue, uint64_t from, uint64_t *arena_offset)
{
    if (queue->count == 0 || from >= queue->end_offset)
        return 0;
    uint64_t start = queue->has_ring ? queue->ring->start : queue->end_offset - queue->length;
    if (from < start)
        return 0;
    uint64_t within = from - start;
    struct place place = {queue->arena_offset, queue->length};
    for (uint32_t i = 0; queue->has_ring; i++) {
        place = *nth(queue->ring, i);
        if (within < place.length)
            break;
        within -= place.length;
    }
    *arena_offset = place.arena_offset + within;
    return place.length - within;
}

static void forget_in_ring(struct receive_queue *queue, uint64_t offset)
{
    struct receive_ring *ring = queue->ring;
    while (queue->count > 0 && ring->start + nth(ring, 0)->length <= offset) {
        ring->start += nth(ring, 0)->length;
        ring->first = (ring->first + 1) & (ring->capacity - 1);
        queue->count--;
    }
    if (queue->count == 0)
        receive_queue_free(queue);
}

void receive_queue_forget(struct receive_queue *queue, uint64_t offset)
{
    if (queue->has_ring)
        forget_in_ring(queue, offset);
    else if (offset >= queue->end_offset)
        queue->count = 0;
    if (offset > queue->end_offset)
        __atomic_store_n(&queue->end_offset, offset, __ATOMIC_RELAXED);
}

void receive_queue_free(struct receive_queue *queue)
{
    if (queue->has_ring)
        free_ring(queue->ring);
    queue->has_ring = false;
    queue->count = 0;
}
