#include "hostlink/ring.h"

#include "base/assert.h"

static void assert_ring_slots(uint32_t ring_slots)
{
    PNO_ASSERT(ring_slots >= LINK_RING_SLOTS_MIN && ring_slots <= LINK_RING_SLOTS_MAX);
    PNO_ASSERT((ring_slots & (ring_slots - 1)) == 0);
}

void link_producer_init(struct link_producer *producer, struct link_descriptor *slots,
                        struct link_feedback *feedback, uint32_t ring_slots)
{
    assert_ring_slots(ring_slots);
    *producer = (struct link_producer){
        .slots = slots,
        .feedback = feedback,
        .mask = ring_slots - 1,
        .lap_shift = (uint32_t)__builtin_ctz(ring_slots),
    };
}

void link_consumer_init(struct link_consumer *consumer, struct link_descriptor *slots,
                        struct link_feedback *feedback, uint32_t ring_slots)
{
    assert_ring_slots(ring_slots);
    *consumer = (struct link_consumer){
        .slots = slots,
        .feedback = feedback,
        .mask = ring_slots - 1,
        .lap_shift = (uint32_t)__builtin_ctz(ring_slots),
    };
}

/* The fences of these two pair: either the waker sees the flag, or the sleeper's next look at the
   ring (or at the feedback) sees what the waker wrote. Without them both stores may still sit in
   store buffers while both loads see the old values. */

static void arm(_Atomic uint32_t *armed, uint32_t why)
{
    atomic_store_explicit(armed, why, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
}

static bool take_armed(_Atomic uint32_t *armed, uint32_t why)
{
    atomic_thread_fence(memory_order_seq_cst);
    if ((atomic_load_explicit(armed, memory_order_relaxed) & why) == 0)
        return false;
    return atomic_exchange_explicit(armed, 0, memory_order_relaxed) != 0;
}

void link_arm(_Atomic uint32_t *armed)
{
    arm(armed, LINK_ARMED_FOR_DESCRIPTORS);
}

void link_arm_for_room(_Atomic uint32_t *armed)
{
    arm(armed, LINK_ARMED_FOR_DESCRIPTORS | LINK_ARMED_FOR_ROOM);
}

void link_disarm(_Atomic uint32_t *armed)
{
    atomic_store_explicit(armed, 0, memory_order_relaxed);
}

bool link_take_armed(_Atomic uint32_t *armed)
{
    return take_armed(armed, LINK_ARMED_FOR_DESCRIPTORS);
}

bool link_take_armed_for_room(_Atomic uint32_t *armed)
{
    return take_armed(armed, LINK_ARMED_FOR_ROOM);
}
