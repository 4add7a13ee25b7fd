#include "hostlib/send_queue.h"

#include <stdatomic.h>

/* At the start of every chunk, before its payload. */
struct send_chunk {
    uint64_t next;       /* arena offset; 0: last */
    uint64_t end_offset; /* stream offset after its last byte */
    uint32_t used;       /* bytes, with this header */
    uint32_t bytes;
};

static struct send_chunk *chunk_at(struct send_memory *memory, uint64_t offset)
{
    return (struct send_chunk *)(void *)(memory->arena + offset);
}

/* Keeps the order of stores for whoever takes over after a kill. */
static void publish(uint64_t *place, uint64_t value)
{
    atomic_signal_fence(memory_order_seq_cst);
    *(volatile uint64_t *)place = value;
    atomic_signal_fence(memory_order_seq_cst);
}

static bool append_chunk(struct send_queue_shared *queue, struct send_memory *memory,
                         uint32_t owner, uint64_t wanted)
{
    struct chunk chunk;
    if (!send_pool_allocate(&memory->pool, wanted + sizeof(struct send_chunk), owner, &chunk))
        return false;
    struct send_chunk *fresh = chunk_at(memory, chunk.offset);
    *fresh = (struct send_chunk){
        .end_offset = queue->end_offset, .used = sizeof(*fresh), .bytes = chunk.bytes};
    if (queue->last_chunk != 0)
        publish(&chunk_at(memory, queue->last_chunk)->next, chunk.offset);
    else
        publish(&queue->first_chunk, chunk.offset);
    publish(&queue->last_chunk, chunk.offset);
    return true;
}

bool send_queue_reserve(struct send_queue_shared *queue, struct send_memory *memory, uint32_t owner,
                        uint64_t wanted, struct send_room *room)
{
    struct send_chunk *last = queue->last_chunk != 0 ? chunk_at(memory, queue->last_chunk) : NULL;
    if (last == NULL || last->used == last->bytes) {
        if (!append_chunk(queue, memory, owner, wanted))
            return false;
        last = chunk_at(memory, queue->last_chunk);
    }
    room->bytes = (uint8_t *)last + last->used;
    room->arena_offset = queue->last_chunk + last->used;
    room->length = last->bytes - last->used < wanted ? last->bytes - last->used : wanted;
    return true;
}

void send_queue_commit(struct send_queue_shared *queue, struct send_memory *memory, uint64_t length)
{
    struct send_chunk *last = chunk_at(memory, queue->last_chunk);
    last->used += (uint32_t)length;
    last->end_offset += length;
    publish(&queue->end_offset, last->end_offset);
}

void send_queue_acknowledge(struct send_queue_shared *queue, struct send_memory *memory,
                            uint64_t offset)
{
    if (offset <= queue->acked_offset || offset > queue->end_offset)
        return;
    queue->acked_offset = offset;
    while (queue->first_chunk != 0) {
        uint64_t first = queue->first_chunk;
        struct send_chunk *chunk = chunk_at(memory, first);
        if (chunk->end_offset > offset)
            return;
        if (chunk->next == 0)
            publish(&queue->last_chunk, 0);
        publish(&queue->first_chunk, chunk->next);
        send_pool_free(&memory->pool, first);
    }
}

void send_queue_free(struct send_queue_shared *queue, struct send_memory *memory)
{
    while (queue->first_chunk != 0) {
        uint64_t first = queue->first_chunk;
        publish(&queue->first_chunk, chunk_at(memory, first)->next);
        send_pool_free(&memory->pool, first);
    }
    queue->last_chunk = 0;
}
