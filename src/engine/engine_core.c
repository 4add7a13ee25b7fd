#include "engine/dpdk.h"

#include "engine/engine_core.h"

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <time.h>

#include "base/assert.h"
#include "base/log.h"
#include "engine/pipeline/events.h"
#include "engine/pipeline/fence.h"
#include "engine/pipeline/host_operations.h"
#include "engine/pipeline/notify.h"
#include "engine/pipeline/receive.h"
#include "engine/ports/port.h"
#include "engine/socket.h"

/** Bursts of window-based congestion control overflow shallow buffers far away; nearby they cost
    nothing, while a timer for each would. */
#define PACE_RTT_NS (2 * NS_PER_MS)

#define FRAME_RING_SLOTS   4096
#define DMA_OPERATIONS_MAX 4096
#define FRAGMENTS_BYTES    (UINT32_C(4) << 20)

/** Times that events and transmission may cause one another in engine_core_settle(). */
#define SETTLE_ROUNDS_MAX 64

uint64_t engine_now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t engine_real_now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* ---- Making
 * -------------------------------------------------------------------------------------- */

static void configure_stack(const struct engine *engine, unsigned index,
                            struct stack_config *config)
{
    const struct engine_options *options = &engine->options;
    *config = options->stack;
    config->tcp.pace_rtt_ns = PACE_RTT_NS;
    memcpy(config->mac, options->has_mac ? options->mac : port_mac(engine->port),
           sizeof(config->mac));
    config->mtu = options->mtu;
    config->prefix_count = options->address_count;
    memcpy(config->prefixes, options->addresses, sizeof(config->prefixes));
    config->has_gateway_v4 = options->has_gateway_v4;
    config->has_gateway_v6 = options->has_gateway_v6;
    config->gateway_v4 = options->gateway_v4;
    config->gateway_v6 = options->gateway_v6;
    memcpy(config->secret, engine->secret, sizeof(config->secret));
    (void)getrandom(&config->random_seed, sizeof(config->random_seed), 0);
    config->connections_max = options->connections_max;
    config->listeners_max = ENGINE_CORE_LISTENERS_MAX;
    config->fragments_bytes_max = FRAGMENTS_BYTES;
    config->core_index = (uint16_t)index;
    config->core_count = (uint16_t)engine->core_count;
    /* A window must fit what each core keeps free of a tenant's receive region (tenant.c). */
    uint64_t share = ((uint64_t)options->arena_mib << 20) / 2 / engine->core_count;
    if (config->tcp.receive_buffer_max > share / 8)
        config->tcp.receive_buffer_max = (uint32_t)(share / 8);
    if (config->tcp.receive_buffer_initial > config->tcp.receive_buffer_max)
        config->tcp.receive_buffer_initial = config->tcp.receive_buffer_max;
}

static int make_stack(struct engine_core *core)
{
    struct stack_config config;
    configure_stack(core->engine, core->index, &config);
    core->stack_memory_bytes = stack_memory_bytes(&config);
    if (core->stack_memory_bytes == 0)
        return -EINVAL;
    void *memory = mmap(NULL, core->stack_memory_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return -ENOMEM;
    core->stack_memory = memory;
    core->stack = stack_create(memory, &config, core->now_ns);
    return core->stack != NULL ? 0 : -EINVAL;
}

static int make_ring(struct engine_core *core)
{
    char name[32];
    (void)snprintf(name, sizeof(name), "frames%u", core->index);
    core->frames = rte_ring_create(name, FRAME_RING_SLOTS, SOCKET_ID_ANY, RING_F_SC_DEQ);
    return core->frames != NULL ? 0 : -ENOMEM;
}

static int make_pools(struct engine_core *core)
{
    uint32_t sockets = core->engine->options.connections_max + TENANT_HOST_SLOTS;
    int result = object_pool_init(&core->sockets, sizeof(struct engine_socket), sockets);
    if (result == 0)
        result = object_pool_init(&core->holders, sizeof(struct socket_holder), sockets * 4);
    if (result == 0)
        result = object_pool_init(&core->extras, sizeof(struct socket_extra), sockets);
    if (result == 0)
        result = object_pool_init(&core->setups, sizeof(struct socket_setup), sockets);
    if (result == 0)
        result = object_pool_init(&core->rx_chunks, sizeof(struct rx_chunk), sockets * 4);
    if (result == 0)
        result = object_pool_init(&core->tx_extents, sizeof(struct tx_extent), sockets * 8);
    if (result == 0)
        result = object_pool_init(&core->dma_operations, receive_dma_operation_bytes(),
                                  DMA_OPERATIONS_MAX);
    return result;
}

int engine_core_create(struct engine *engine, unsigned index, struct engine_core **out,
                       char *problem, size_t problem_bytes)
{
    struct engine_core *core = calloc(1, sizeof(*core));
    if (core == NULL) {
        (void)snprintf(problem, problem_bytes, "out of memory");
        return -ENOMEM;
    }
    core->index = index;
    core->engine = engine;
    core->now_ns = engine_now_ns();
    core->owns_queue = index < port_queue_count(engine->port);
    core->queue = index;
    LIST_INIT(&core->tenants);
    TAILQ_INIT(&core->channels);
    TAILQ_INIT(&core->told_channels);
    TAILQ_INIT(&core->lazy_channels);
    TAILQ_INIT(&core->fenced_channels);
    core->dma = engine->dma->create();
    const char *what = "DMA backend";
    int result = core->dma != NULL ? 0 : -ENOMEM;
    if (result == 0) {
        what = "stack (check --addr, --gateway, --connections)";
        result = make_stack(core);
    }
    if (result == 0) {
        what = "memory pools";
        result = make_pools(core);
    }
    if (result == 0) {
        what = "ring";
        result = make_ring(core);
    }
    if (result == 0) {
        what = "wake-up";
        result = wakeup_init(core);
    }
    if (result != 0) {
        (void)snprintf(problem, problem_bytes, "core %u: cannot make its %s: %s", index, what,
                       strerror(-result));
        return result;
    }
    *out = core;
    return 0;
}

void engine_core_destroy(struct engine_core *core)
{
    PNO_ASSERT(!atomic_load_explicit(&core->running, memory_order_acquire));
    transmit_discard(core);
    wakeup_destroy(core);
    rte_ring_free(core->frames);
    object_pool_destroy(&core->sockets);
    object_pool_destroy(&core->holders);
    object_pool_destroy(&core->extras);
    object_pool_destroy(&core->setups);
    object_pool_destroy(&core->rx_chunks);
    object_pool_destroy(&core->tx_extents);
    object_pool_destroy(&core->dma_operations);
    core->engine->dma->destroy(core->dma);
    (void)munmap(core->stack_memory, core->stack_memory_bytes);
    free(core);
}

/* ---- Messages
 * ------------------------------------------------------------------------------------ */

void engine_core_send(struct engine_core *core, struct core_message *message)
{
    struct core_message *newest = atomic_load_explicit(&core->inbox, memory_order_relaxed);
    /* Release pairs with the acquire in run_messages(): what the message points to is complete. */
    do
        message->next = newest;
    while (!atomic_compare_exchange_weak_explicit(&core->inbox, &newest, message,
                                                  memory_order_release, memory_order_relaxed));
    wakeup_ring(&core->wakeup);
}

struct call {
    struct core_message message;
    void (*function)(struct engine_core *core, void *context);
    void *context;
    sem_t done;
};

static void run_call(struct engine_core *core, struct core_message *message)
{
    struct call *call = (struct call *)message;
    call->function(core, call->context);
    (void)sem_post(&call->done);
}

void engine_core_call(struct engine_core *core,
                      void (*function)(struct engine_core *core, void *context), void *context)
{
    struct call call = {.message = {.run = run_call}, .function = function, .context = context};
    (void)sem_init(&call.done, 0, 0);
    engine_core_send(core, &call.message);
    while (sem_wait(&call.done) != 0) {
        /* interrupted by a signal: the core still holds our call */
    }
    (void)sem_destroy(&call.done);
}

static bool run_messages(struct engine_core *core)
{
    if (atomic_load_explicit(&core->inbox, memory_order_relaxed) == NULL)
        return false;
    /* Acquire pairs with the release in engine_core_send(). */
    struct core_message *newest =
        atomic_exchange_explicit(&core->inbox, NULL, memory_order_acquire);
    struct core_message *oldest = NULL;
    while (newest != NULL) {
        struct core_message *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        /* The message is its sender's again, and may be gone, once it has run. */
        struct core_message *next = oldest->next;
        oldest->run(core, oldest);
        oldest = next;
    }
    return true;
}

/* ---- The loop
 * ------------------------------------------------------------------------------------ */

void engine_core_settle(struct engine_core *core)
{
    for (unsigned i = 0; i < SETTLE_ROUNDS_MAX; i++) {
        bool any = events_run(core);
        any = transmit_run(core) || any;
        if (!any)
            break;
    }
    (void)notify_flush(core);
}

/* A core that did not run for so long, less than any probe's timeout waits (RFC 8985 §7.2: two
   round trips and more), may find more than a burst of acknowledgements: they count before the
   timers that they answer. */
#define STALL_NS         NS_PER_MS
#define STALL_BURSTS_MAX 64

bool engine_core_round(struct engine_core *core)
{
    uint64_t before_ns = core->now_ns;
    core->now_ns = engine_now_ns();
    core->counters.rounds++;
    bool any = run_messages(core);
    (void)core->engine->dma->poll(core->dma);
    unsigned bursts = core->now_ns - before_ns >= STALL_NS ? STALL_BURSTS_MAX : 1;
    while (bursts-- > 0 && receive_run(core)) {
        any = true;
        /* The host can start on what came while we go on. */
        (void)events_run(core);
        (void)notify_flush(core);
    }
    any = host_operations_run(core) || any;
    if (stack_next_deadline(core->stack) <= core->now_ns) {
        stack_advance(core->stack, core->now_ns);
        any = true;
    }
    any = events_run(core) || any;
    any = transmit_run(core) || any;
    any = events_run(core) || any;
    (void)notify_flush(core);
    fence_round_ends(core);
    return any;
}

int engine_core_run(void *argument)
{
    struct engine_core *core = argument;
    /* Pacing and delayed acknowledgements want to be woken on time, not 50 µs late. */
    (void)prctl(PR_SET_TIMERSLACK, 1);
    core->started_ns = engine_now_ns();
    atomic_store_explicit(&core->running, true, memory_order_relaxed);
    while (!atomic_load_explicit(&core->engine->stopping, memory_order_relaxed)) {
        bool found_work = engine_core_round(core);
        wakeup_idle(core, found_work);
    }
    /* Release pairs with the acquire in engine_core_destroy(): all that the thread did is done. */
    atomic_store_explicit(&core->running, false, memory_order_release);
    return 0;
}
