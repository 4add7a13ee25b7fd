#include "engine/capture_ring.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/assert.h"

#define CACHE_LINE 64

struct capture_ring {
    uint64_t capacity; /**< power of two */
    uint8_t *memory;
    uint64_t reserved; /**< producer's: where the frame being filled ends */
    _Alignas(CACHE_LINE) _Atomic uint64_t head; /**< bytes ever committed; the producer's */
    _Atomic uint64_t drops[CAPTURE_INTERFACES]; /**< the producer's */
    _Alignas(CACHE_LINE) _Atomic uint64_t tail; /**< bytes ever consumed; the consumer's */
};

/** A record with its bytes, so that the next one is aligned. */
static uint64_t record_bytes(uint32_t frame_bytes)
{
    const uint64_t align = _Alignof(struct capture_record);
    return (sizeof(struct capture_record) + frame_bytes + align - 1) & ~(align - 1);
}

static struct capture_record *record_at(const struct capture_ring *ring, uint64_t position)
{
    return (struct capture_record *)(void *)(ring->memory + (position & (ring->capacity - 1)));
}

struct capture_ring *capture_ring_create(uint64_t bytes)
{
    PNO_ASSERT((bytes & (bytes - 1)) == 0);
    struct capture_ring *ring = aligned_alloc(CACHE_LINE, sizeof(*ring));
    if (ring == NULL)
        return NULL;
    *ring = (struct capture_ring){.capacity = bytes};
    /* Touched as it fills: a capture of little costs little. */
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        free(ring);
        return NULL;
    }
    ring->memory = memory;
    return ring;
}

void capture_ring_destroy(struct capture_ring *ring)
{
    if (ring == NULL)
        return;
    (void)munmap(ring->memory, ring->capacity);
    free(ring);
}

uint8_t *capture_ring_reserve(struct capture_ring *ring, enum capture_interface interface,
                              enum capture_direction direction, uint32_t bytes, uint64_t time_ns)
{
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    /* Acquire pairs with the release in capture_ring_next(): the consumer has read what was there.
     */
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    uint64_t wanted = record_bytes(bytes);
    uint64_t to_end = ring->capacity - (head & (ring->capacity - 1));
    uint64_t filler = to_end < wanted ? to_end : 0;
    if (ring->capacity - (head - tail) < filler + wanted) {
        atomic_fetch_add_explicit(&ring->drops[interface], 1, memory_order_relaxed);
        return NULL;
    }
    /* Less than a record's header up to the end is filler without saying so. */
    if (filler >= sizeof(struct capture_record))
        record_at(ring, head)->interface = CAPTURE_INTERFACES;
    struct capture_record *record = record_at(ring, head + filler);
    *record = (struct capture_record){
        .time_ns = time_ns,
        .bytes = bytes,
        .interface = (uint8_t)interface,
        .direction = (uint8_t)direction,
    };
    ring->reserved = head + filler + wanted;
    return (uint8_t *)(record + 1);
}

void capture_ring_commit(struct capture_ring *ring)
{
    /* Release pairs with the acquire in capture_ring_first(): the frame is complete. */
    atomic_store_explicit(&ring->head, ring->reserved, memory_order_release);
}

const struct capture_record *capture_ring_first(struct capture_ring *ring)
{
    /* Acquire pairs with the release in capture_ring_commit(). */
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    if (head == tail)
        return NULL;
    uint64_t to_end = ring->capacity - (tail & (ring->capacity - 1));
    if (to_end < sizeof(struct capture_record) ||
        record_at(ring, tail)->interface == CAPTURE_INTERFACES) {
        tail += to_end;
        atomic_store_explicit(&ring->tail, tail, memory_order_release);
    }
    return record_at(ring, tail);
}

void capture_ring_next(struct capture_ring *ring)
{
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    /* Release pairs with the acquire in capture_ring_reserve(). */
    atomic_store_explicit(&ring->tail, tail + record_bytes(record_at(ring, tail)->bytes),
                          memory_order_release);
}

uint64_t capture_ring_drops(const struct capture_ring *ring, enum capture_interface interface)
{
    return atomic_load_explicit(&ring->drops[interface], memory_order_relaxed);
}
