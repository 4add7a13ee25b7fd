/**
 * @file frames.h
 * Frames passed from core to core: a pointer and what is to be done with it, in one word.
 */
#ifndef PNO_ENGINE_PIPELINE_FRAMES_H
#define PNO_ENGINE_PIPELINE_FRAMES_H

#include "engine/dpdk.h"

#include <stdbool.h>
#include <stdint.h>

enum frame_tag {
    FRAME_RECEIVED, /**< mbuf from a port: this core's flow */
    FRAME_TURNED,   /**< struct turned_frame: to one of our own addresses */
    FRAME_TO_SEND,  /**< mbuf for the port: this core owns a queue */
};

#define FRAME_TAG_MASK UINT64_C(7) /**< both kinds are aligned to 8 bytes at least */

static inline bool frames_pass(struct rte_ring *ring, void *frame, enum frame_tag tag)
{
    return rte_ring_enqueue(ring, (void *)((uintptr_t)frame | (uintptr_t)tag)) == 0;
}

static inline void *frames_untag(void *word, enum frame_tag *tag)
{
    *tag = (enum frame_tag)((uintptr_t)word & FRAME_TAG_MASK);
    return (void *)((uintptr_t)word & ~(uintptr_t)FRAME_TAG_MASK);
}

#endif
