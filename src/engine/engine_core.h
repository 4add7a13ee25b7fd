/**
 * @file engine_core.h
 * One engine core: a thread with a stack, a port queue and its part of every tenant. Cores share
 * nothing but messages; what another thread wants of a core, it sends as a message.
 *
 * A core's round: receive (port, frames turned round, frames from other cores) → events → the
 * hosts' operations → timers → events → transmit → tell the hosts → perhaps sleep.
 */
#ifndef PNO_ENGINE_ENGINE_CORE_H
#define PNO_ENGINE_ENGINE_CORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "core/stack.h"
#include "engine/engine.h"
#include "engine/object_pool.h"
#include "engine/pipeline/transmit.h"
#include "engine/tenant.h"
#include "engine/wakeup.h"

/** Listeners of all tenants. */
#define ENGINE_CORE_LISTENERS_MAX 16384

struct capture_ring;
struct rte_ring;
struct engine_core;

/** Work for a core, run by it between bursts. The sender owns it until run() is called. */
struct core_message {
    struct core_message *next; /**< the inbox's */
    void (*run)(struct engine_core *core, struct core_message *message);
};

/** Counters of the engine's own; the stack has its own ones. They only grow. */
struct core_counters {
    uint64_t rounds, wakeups, slept_ns;
    uint64_t operations, events, doorbells;
    uint64_t garbage_descriptors, replies_deferred, rings_full;
    uint64_t frames_unreadable, frames_steered, frames_steer_dropped, frames_turned;
    uint64_t transmit_deferred, fetch_failures, placement_failures;
    uint64_t accept_refused;
};

struct engine_core {
    unsigned index;
    struct engine *engine;
    struct stack *stack;
    void *stack_memory;
    size_t stack_memory_bytes;
    struct dma_device *dma;
    _Atomic bool running; /**< engine_core_run() is */
    uint64_t started_ns;
    uint64_t now_ns; /**< read once per round */

    uint64_t last_placed_ns; /**< when payload came last */
    bool may_trim;           /**< since then no memory was given back to the system */

    struct rte_ring *frames; /**< turned_frame and mbuf pointers from other cores, tagged */
    _Atomic(struct core_message *) inbox; /**< pushed by any thread, newest first */
    bool owns_queue; /**< polls port queue `queue`; else frames come from other cores */
    unsigned queue;

    LIST_HEAD(, tenant_core) tenants;
    TAILQ_HEAD(, channel_core) channels;        /**< all; polled for operations */
    TAILQ_HEAD(, channel_core) told_channels;   /**< with events to push */
    TAILQ_HEAD(, channel_core) lazy_channels;   /**< with events that can wait */
    TAILQ_HEAD(, channel_core) fenced_channels; /**< with a LINK_OP_FENCE to answer */
    uint32_t fenced_rounds;                     /**< since the oldest of these came */
    uint32_t turned_received;                   /**< turned frames received in this round */
    struct object_pool sockets, holders, extras, setups, rx_chunks, tx_extents, dma_operations;

    struct capture_ring *capture; /**< copies of frames go there; NULL: nobody captures */
    struct transmit_queue transmit;
    struct wakeup wakeup;
    struct core_counters counters;
};

/**
 * Make a core.
 * @param problem  filled with one line on failure.
 * @return 0 or a negative errno.
 */
int engine_core_create(struct engine *engine, unsigned index, struct engine_core **core,
                       char *problem, size_t problem_bytes);
void engine_core_destroy(struct engine_core *core);

/** The thread's loop: until engine->stopping. Takes the core; for rte_eal_remote_launch(). */
int engine_core_run(void *core);

/** One round without sleeping. @return whether there was anything to do. */
bool engine_core_round(struct engine_core *core);

/** Deliver events and transmit until nothing is left to do at core->now_ns. */
void engine_core_settle(struct engine_core *core);

/** Send a message; from any thread. Messages of one sender keep their order. */
void engine_core_send(struct engine_core *core, struct core_message *message);

/** Run a function on the core and wait for it. From the control thread only: cores never wait. */
void engine_core_call(struct engine_core *core,
                      void (*function)(struct engine_core *core, void *context), void *context);

#endif
