/**
 * @file transmit.h
 * The transmit path of a core: what the stack wants to send is laid out in frames, payload fetched
 * from the tenants' arenas by DMA, checksums completed, and handed to the port in bursts; frames
 * to our own addresses turn round.
 *
 * Order is kept: a frame leaves when those before it have left, also when copies complete late.
 */
#ifndef PNO_ENGINE_PIPELINE_TRANSMIT_H
#define PNO_ENGINE_PIPELINE_TRANSMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/stack.h"

struct engine_core;
struct rte_mbuf;
struct rte_mempool;

#define TRANSMIT_QUEUE_FRAMES 256 /**< power of two */
#define TRANSMIT_BURST        64

/** A frame to one of our own addresses: as large as IP allows. */
struct turned_frame {
    uint32_t bytes;
    uint8_t data[65536 + STACK_HEADER_MAX];
};

/** A frame being built or waiting for the port. */
struct transmit_entry {
    struct rte_mbuf *mbuf;       /**< for the wire */
    struct turned_frame *turned; /**< or for ourselves */
    struct stack_frame frame;    /**< as the stack gave it */
    uint32_t copies_in_flight;
    bool failed; /**< payload could not be fetched: drop it */
    bool tapped; /**< those who capture have seen it */
};

struct transmit_queue {
    struct transmit_entry entries[TRANSMIT_QUEUE_FRAMES];
    uint32_t first, end;         /**< modulo 2^32 */
    struct rte_mbuf *spare_mbuf; /**< taken before the stack is asked, so that nothing it gives */
    struct turned_frame *spare_turned; /**< us is lost for want of memory */
    struct rte_mbuf *spare_large; /**< for segments that the port is to cut; NULL: one at a time */
    struct turned_frame *turned[TRANSMIT_QUEUE_FRAMES]; /**< on their way to our own receive path */
    uint32_t turned_first, turned_end;
};

/** @return whether anything was sent. */
bool transmit_run(struct engine_core *core);

/** Send a finished frame for a core that has no port queue of its own. Consumes the mbuf. */
void transmit_relay(struct engine_core *core, struct rte_mbuf *mbuf);

/** No frame waits for the port. */
bool transmit_is_idle(const struct engine_core *core);

/** Free what waits. */
void transmit_discard(struct engine_core *core);

#endif
