/**
 * @file engine.h
 * The whole engine: what its cores and its control thread share. Written before the cores start;
 * constant afterwards, but for what says otherwise.
 */
#ifndef PNO_ENGINE_ENGINE_H
#define PNO_ENGINE_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/first_core_flows.h"
#include "engine/options.h"
#include "hostlink/dma.h"

struct engine_core;
struct port;
struct rte_mempool;

#define ENGINE_VERSION "0.1.0"

struct engine {
    struct engine_options options;
    struct port *port;
    struct rte_mempool *turned_frames; /**< buffers of frames to our own addresses */
    const struct dma_backend *dma;
    uint8_t secret[32]; /**< one for all cores: they must agree which core a flow belongs to */
    unsigned core_count;
    struct engine_core *cores[LINK_CORES_MAX];
    struct first_core_flows first_core_flows; /**< guarded by its lock */
    uint64_t started_ns;
    _Atomic uint32_t frames_going_round; /**< to our own addresses; see pipeline/fence.h */
    int control_event_fd; /**< cores write it to have the control thread look at its tenants */
    _Atomic bool stopping;
};

/** CLOCK_MONOTONIC in nanoseconds. */
uint64_t engine_now_ns(void);

/** Nanoseconds of CLOCK_REALTIME: for what programs are told. */
uint64_t engine_real_now_ns(void);

#endif
