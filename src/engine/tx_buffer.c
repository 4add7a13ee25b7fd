#include "engine/tx_buffer.h"

#include <errno.h>
#include <stddef.h>

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
    if (tail != NULL)
        tail->next = extent;
    else
        buffer->head = extent;
    buffer->tail = extent;
    buffer->end += bytes;
    return 0;
}

static int keep_waiting(struct tx_buffer *buffer, struct tx_memory *memory, uint64_t start,
                        uint64_t arena_offset, uint64_t bytes)
{
    if (buffer->waiting_count == TX_WAITING_MAX)
        return -ENOBUFS;
    struct tx_extent **place = &buffer->waiting;
    while (*place != NULL && (*place)->start + (*place)->bytes <= start)
        place = &(*place)->next;
    if (*place != NULL && (*place)->start < start + bytes)
        return -EINVAL;
    struct tx_extent *extent = take(memory);
    if (extent == NULL)
        return -ENOBUFS;
    *extent = (struct tx_extent){
        .next = *place, .start = start, .arena_offset = arena_offset, .bytes = bytes};
    *place = extent;
    buffer->waiting_count++;
    return 0;
}

/** What waited may now join the contiguous part. */
static void absorb_waiting(struct tx_buffer *buffer)
{
    while (buffer->waiting != NULL && buffer->waiting->start == buffer->end) {
        struct tx_extent *extent = buffer->waiting;
        buffer->waiting = extent->next;
        buffer->waiting_count--;
        extent->next = NULL;
        if (buffer->tail != NULL)
            buffer->tail->next = extent;
        else
            buffer->head = extent;
        buffer->tail = extent;
        buffer->end += extent->bytes;
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

struct tx_stretch tx_buffer_find(struct tx_buffer *buffer, uint64_t offset)
{
    struct tx_extent *extent = buffer->cursor;
    if (extent == NULL || offset < extent->start)
        extent = buffer->head;
    while (extent != NULL && offset >= extent->start + extent->bytes)
        extent = extent->next;
    if (extent == NULL || offset < extent->start)
        return (struct tx_stretch){0};
    buffer->cursor = extent;
    return (struct tx_stretch){
        .arena_offset = extent->arena_offset + (offset - extent->start),
        .length = extent->bytes - (offset - extent->start),
    };
}

static void drop_head(struct tx_buffer *buffer, struct tx_memory *memory)
{
    struct tx_extent *extent = buffer->head;
    if (buffer->cursor == extent)
        buffer->cursor = NULL;
    buffer->head = extent->next;
    if (buffer->head == NULL)
        buffer->tail = NULL;
    give(memory, extent);
}

void tx_buffer_acknowledge(struct tx_buffer *buffer, struct tx_memory *memory, uint64_t offset)
{
    while (buffer->head != NULL && buffer->head->start + buffer->head->bytes <= offset)
        drop_head(buffer, memory);
}

void tx_buffer_release(struct tx_buffer *buffer, struct tx_memory *memory)
{
    while (buffer->head != NULL)
        drop_head(buffer, memory);
    while (buffer->waiting != NULL) {
        struct tx_extent *extent = buffer->waiting;
        buffer->waiting = extent->next;
        give(memory, extent);
    }
    buffer->waiting_count = 0;
}
