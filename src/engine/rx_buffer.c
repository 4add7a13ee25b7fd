#include "engine/rx_buffer.h"

/** Bulk streams grow their chunks up to this: fewer extents to tell of, little lost per stream. */
#define CHUNK_BYTES_WANTED_MAX 65536

/**
 * Chunks grow with what lies unread: a request fits the smallest, bulk soon gets large ones.
 */
static uint64_t wanted_bytes(const struct rx_buffer *buffer, uint64_t start, uint64_t end)
{
    uint64_t backlog = end - start + (start > buffer->consumed ? start - buffer->consumed : 0);
    return backlog < CHUNK_BYTES_WANTED_MAX ? backlog : CHUNK_BYTES_WANTED_MAX;
}

bool rx_buffer_extend(struct rx_buffer *buffer, const struct rx_memory *memory, uint64_t base,
                      uint64_t end)
{
    uint64_t start = buffer->tail != NULL ? buffer->tail->start + buffer->tail->bytes : base;
    while (start < end) {
        struct chunk got;
        struct rx_chunk *chunk = object_share_take(memory->chunks);
        if (chunk == NULL)
            return false;
        uint64_t wanted = wanted_bytes(buffer, start, end);
        if (!chunk_pool_allocate(memory->pool, wanted, &got) &&
            !chunk_pool_allocate(memory->pool, CHUNK_BYTES_MIN, &got)) {
            object_share_give(memory->chunks, chunk);
            return false;
        }
        *chunk = (struct rx_chunk){.start = start, .arena_offset = got.offset, .bytes = got.bytes};
        chunk->next = chunk;
        if (buffer->tail != NULL) {
            chunk->next = buffer->tail->next;
            buffer->tail->next = chunk;
        }
        buffer->tail = chunk;
        start += got.bytes;
    }
    return true;
}

struct rx_extent rx_buffer_find(const struct rx_buffer *buffer, uint64_t offset, uint64_t end)
{
    const struct rx_chunk *chunk = buffer->tail;
    if (chunk == NULL || offset >= chunk->start + chunk->bytes || offset >= end)
        return (struct rx_extent){0};
    /* New payload nearly always lies in the last chunk. */
    if (offset < chunk->start) {
        chunk = chunk->next;
        while (offset >= chunk->start + chunk->bytes)
            chunk = chunk->next;
        if (offset < chunk->start)
            return (struct rx_extent){0};
    }
    uint64_t chunk_end = chunk->start + chunk->bytes;
    return (struct rx_extent){
        .arena_offset = chunk->arena_offset + (offset - chunk->start),
        .length = (end < chunk_end ? end : chunk_end) - offset,
    };
}

static void drop_head(struct rx_buffer *buffer, const struct rx_memory *memory)
{
    struct rx_chunk *chunk = buffer->tail->next;
    if (chunk == buffer->tail)
        buffer->tail = NULL;
    else
        buffer->tail->next = chunk->next;
    chunk_pool_free(memory->pool, chunk->arena_offset);
    object_share_give(memory->chunks, chunk);
}

void rx_buffer_consume(struct rx_buffer *buffer, const struct rx_memory *memory, uint64_t offset,
                       bool all)
{
    if (offset > buffer->consumed)
        buffer->consumed = offset;
    while (buffer->tail != NULL &&
           (all || buffer->tail->next->start + buffer->tail->next->bytes <= buffer->consumed))
        drop_head(buffer, memory);
}

void rx_buffer_release(struct rx_buffer *buffer, const struct rx_memory *memory)
{
    while (buffer->tail != NULL)
        drop_head(buffer, memory);
}
