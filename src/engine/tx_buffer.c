#include "engine/tx_buffer.h"

#include <errno.h>
#include <stddef.h>

#include "base/assert.h"

static struct tx_extent *take(struct tx_memory *memory)
{
    if (memory->in_use == memory->limit)
        return NULL;
    struct tx_extent *extent = object_pool_take(memory->extents);
    if (extent != NULL)
        memory->in_use++;
    return extent;
}

static void give(struct tx_memory *memory, struct tx_extent *extent)
{
    object_pool_give(memory->extents, extent);
    memory->in_use--;
}

/** The extent is the contiguous part's last. */
static void join_ring(struct tx_buffer *buffer, struct tx_extent *extent)
{
    extent->next = extent;
    extent->cursor = NULL;
    if (buffer->tail != NULL) {
        extent->cursor = buffer->tail->cursor;
        extent->next = buffer->tail->next;
        buffer->tail->next = extent;
    }
    buffer->tail = extent;
    buffer->end += extent->bytes;
}

static int append(struct tx_buffer *buffer, struct tx_memory *memory, uint64_t start,
                  uint64_t arena_offset, uint64_t bytes)
{
    struct tx_extent *tail = buffer->tail;
    if (tail != NULL && tail->arena_offset + tail->bytes == arena_offset) {
        tail->bytes += bytes;
        buffer->end += bytes;
        return 0;
    }
    struct tx_extent *extent = take(memory);
    if (extent == NULL)
        return -ENOBUFS;
    *extent = (struct tx_extent){.start = start, .arena_offset = arena_offset, .bytes = bytes};
    join_ring(buffer, extent);
    return 0;
}

static int keep_waiting(struct tx_buffer *buffer, struct tx_memory *memory, uint64_t start,
                        uint64_t arena_offset, uint64_t bytes)
{
    struct tx_extent **place = &buffer->waiting;
    uint32_t count = 0;
    for (; *place != NULL && (*place)->start + (*place)->bytes <= start; count++)
        place = &(*place)->next;
    if (*place != NULL && (*place)->start < start + bytes)
        return -EINVAL;
    for (const struct tx_extent *after = *place; after != NULL; after = after->next)
        count++;
    struct tx_extent *extent = count < TX_WAITING_MAX ? take(memory) : NULL;
    if (extent == NULL)
        return -ENOBUFS;
    *extent = (struct tx_extent){
        .next = *place, .start = start, .arena_offset = arena_offset, .bytes = bytes};
    *place = extent;
    return 0;
}

/** What waited may now join the contiguous part. */
static void absorb_waiting(struct tx_buffer *buffer)
{
    while (buffer->waiting != NULL && buffer->waiting->start == buffer->end) {
        struct tx_extent *extent = buffer->waiting;
        buffer->waiting = extent->next;
        join_ring(buffer, extent);
    }
}

int64_t tx_buffer_add(struct tx_buffer *buffer, struct tx_memory *memory, uint64_t start,
                      uint64_t arena_offset, uint64_t bytes)
{
    if (start < buffer->end)
        return -EINVAL;
    uint64_t before = buffer->end;
    int result;
    if (start > buffer->end) {
        result = keep_waiting(buffer, memory, start, arena_offset, bytes);
    } else if (buffer->waiting != NULL && buffer->waiting->start < start + bytes) {
        result = -EINVAL;
    } else {
        result = append(buffer, memory, start, arena_offset, bytes);
        if (result == 0)
            absorb_waiting(buffer);
    }
    return result == 0 ? (int64_t)(buffer->end - before) : result;
}

struct tx_stretch tx_buffer_find(const struct tx_buffer *buffer, uint64_t offset)
{
    struct tx_extent *tail = buffer->tail;
    if (tail == NULL || offset >= tail->start + tail->bytes)
        return (struct tx_stretch){0};
    struct tx_extent *extent = tail->cursor;
    if (extent == NULL || offset < extent->start)
        extent = tail->next;
    while (offset >= extent->start + extent->bytes)
        extent = extent->next;
    if (offset < extent->start)
        return (struct tx_stretch){0};
    tail->cursor = extent;
    return (struct tx_stretch){
        .arena_offset = extent->arena_offset + (offset - extent->start),
        .length = extent->bytes - (offset - extent->start),
    };
}

static void drop_head(struct tx_buffer *buffer, struct tx_memory *memory)
{
    struct tx_extent *extent = buffer->tail->next;
    PNO_ASSERT(extent != NULL);
    if (buffer->tail->cursor == extent)
        buffer->tail->cursor = NULL;
    if (extent == buffer->tail)
        buffer->tail = NULL;
    else
        buffer->tail->next = extent->next;
    give(memory, extent);
}

void tx_buffer_acknowledge(struct tx_buffer *buffer, struct tx_memory *memory, uint64_t offset)
{
    while (buffer->tail != NULL && buffer->tail->next->start + buffer->tail->next->bytes <= offset)
        drop_head(buffer, memory);
}

void tx_buffer_release(struct tx_buffer *buffer, struct tx_memory *memory)
{
    while (buffer->tail != NULL)
        drop_head(buffer, memory);
    while (buffer->waiting != NULL) {
        struct tx_extent *extent = buffer->waiting;
        buffer->waiting = extent->next;
        give(memory, extent);
    }
}
