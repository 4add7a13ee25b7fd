#include "hostlib/receive_queue.h"

#include <stdlib.h>

#include "base/assert.h"

static struct receive_extent *ring(struct receive_queue *queue)
{
    return queue->extents != NULL ? queue->extents : queue->few;
}

static uint32_t capacity(const struct receive_queue *queue)
{
    return queue->extents != NULL ? queue->capacity : sizeof(queue->few) / sizeof(queue->few[0]);
}

static struct receive_extent *nth(struct receive_queue *queue, uint32_t n)
{
    return &ring(queue)[(queue->first + n) & (capacity(queue) - 1)];
}

static bool grow(struct receive_queue *queue)
{
    uint32_t wider = capacity(queue) * 4;
    if (wider > RECEIVE_QUEUE_EXTENTS_MAX)
        return false;
    PNO_ASSERT(wider > 0);
    struct receive_extent *extents = malloc(wider * sizeof(*extents));
    if (extents == NULL)
        return false;
    for (uint32_t i = 0; i < queue->count; i++)
        extents[i] = *nth(queue, i);
    free(queue->extents);
    queue->extents = extents;
    queue->capacity = wider;
    queue->first = 0;
    return true;
}

bool receive_queue_append(struct receive_queue *queue, struct receive_extent extent)
{
    uint64_t end = extent.stream_offset + extent.length;
    if (end <= queue->end_offset)
        return false;
    if (extent.stream_offset > queue->end_offset) {
        /* Only a process that joined by fork meets this: others have read what it never saw. */
        if (queue->count != 0)
            return false;
    } else {
        uint64_t known = queue->end_offset - extent.stream_offset;
        extent.stream_offset += known;
        extent.arena_offset += known;
        extent.length -= known;
    }
    if (queue->count > 0) {
        struct receive_extent *last = nth(queue, queue->count - 1);
        if (last->arena_offset + last->length == extent.arena_offset) {
            last->length += extent.length;
            queue->end_offset = end;
            return true;
        }
    }
    if (queue->count == capacity(queue) && !grow(queue))
        return false;
    *nth(queue, queue->count) = extent;
    queue->count++;
    queue->end_offset = end;
    return true;
}

uint64_t receive_queue_at(struct receive_queue *queue, uint64_t from, uint64_t *arena_offset)
{
    for (uint32_t i = 0; i < queue->count; i++) {
        const struct receive_extent *extent = nth(queue, i);
        if (from < extent->stream_offset)
            return 0;
        uint64_t within = from - extent->stream_offset;
        if (within < extent->length) {
            *arena_offset = extent->arena_offset + within;
            return extent->length - within;
        }
    }
    return 0;
}

void receive_queue_forget(struct receive_queue *queue, uint64_t offset)
{
    while (queue->count > 0) {
        struct receive_extent *extent = nth(queue, 0);
        if (extent->stream_offset + extent->length > offset)
            return;
        queue->first = (queue->first + 1) & (capacity(queue) - 1);
        queue->count--;
    }
    if (offset > queue->end_offset)
        queue->end_offset = offset;
    queue->first = 0;
}

void receive_queue_free(struct receive_queue *queue)
{
    free(queue->extents);
    queue->extents = NULL;
    queue->first = queue->count = 0;
}
