/**
 * @file receive.h
 * The receive path of a core: frames in bursts through pre-process (parse, look up), protocol
 * (apply the segment) and DMA (place the payload in the tenant's arena).
 */
#ifndef PNO_ENGINE_PIPELINE_RECEIVE_H
#define PNO_ENGINE_PIPELINE_RECEIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine_core;

#define RECEIVE_BURST 64

/** Frames from the port, from other cores, and turned round. @return whether there were any. */
bool receive_run(struct engine_core *core);

/** One frame in memory of its caller's, as if from the wire: for tests and fuzzers. */
void receive_bytes(struct engine_core *core, const uint8_t *frame, uint32_t bytes);

/** Size of the objects in engine_core.dma_operations. */
size_t receive_dma_operation_bytes(void);

/** Nothing waits in memory that sleeping would leave there. */
bool receive_is_idle(const struct engine_core *core);

#endif
