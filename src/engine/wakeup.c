#include "engine/dpdk.h"

#include "engine/wakeup.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/time_units.h"
#include "engine/engine_core.h"
#include "engine/pipeline/fence.h"
#include "engine/pipeline/host_operations.h"
#include "engine/pipeline/notify.h"
#include "engine/pipeline/receive.h"
#include "engine/ports/port.h"

/** How long to sleep at most: with a port that cannot wake us, and while it takes no frames. */
#define NAP_NS (50 * NS_PER_US)

#define EVENTS_MAX 8

/** When no payload has come for this long, receive memory goes back to the system, but for some. */
#define TRIM_AFTER_NS   (1 * NS_PER_S)
#define TRIM_KEEP_BYTES (UINT64_C(1) << 20)
#define TRIM_RUNS_MAX   32

static int watch(struct engine_core *core, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data = {.fd = fd}};
    return epoll_ctl(core->wakeup.epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

int wakeup_watch_doorbell(struct engine_core *core, int fd)
{
    return watch(core, fd, EPOLLIN | EPOLLET);
}

int wakeup_init(struct engine_core *core)
{
    struct wakeup *wakeup = &core->wakeup;
    wakeup->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    wakeup->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (wakeup->event_fd < 0 || wakeup->epoll_fd < 0)
        return -errno;
    int result = watch(core, wakeup->event_fd, EPOLLIN | EPOLLET);
    if (result != 0)
        return result;
    if (!core->owns_queue) {
        wakeup->port_can_wake = true; /* other cores pass the frames on and wake us */
        return 0;
    }
    int descriptors[EVENTS_MAX];
    unsigned count =
        port_wait_descriptors(core->engine->port, core->queue, descriptors, EVENTS_MAX);
    uint32_t edge = port_has_interrupts(core->engine->port) ? EPOLLET : 0;
    for (unsigned i = 0; i < count && result == 0; i++)
        result = watch(core, descriptors[i], EPOLLIN | edge);
    wakeup->port_can_wake = count > 0;
    return result;
}

void wakeup_destroy(struct engine_core *core)
{
    (void)close(core->wakeup.epoll_fd);
    (void)close(core->wakeup.event_fd);
}

void wakeup_ring(struct wakeup *wakeup)
{
    /* Pairs with the fence in go_to_sleep(): either we see the flag, or it sees what we put. */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&wakeup->sleeping, memory_order_relaxed) != 0 &&
        atomic_exchange_explicit(&wakeup->sleeping, 0, memory_order_relaxed) != 0)
        (void)eventfd_write(wakeup->event_fd, 1);
}

/* ---- Sleeping
 * ------------------------------------------------------------------------------------ */

static _Atomic uint32_t *armed_flag(const struct tenant_core *tenant)
{
    struct link_arena_header *header =
        (struct link_arena_header *)(void *)tenant->tenant->arena.base;
    return &header->engine[tenant->core->index].armed;
}

static void arm(struct engine_core *core, bool for_room)
{
    struct tenant_core *tenant;
    LIST_FOREACH(tenant, &core->tenants, link)
    {
        if (for_room)
            link_arm_for_room(armed_flag(tenant));
        else
            link_arm(armed_flag(tenant));
    }
    if (core->owns_queue)
        port_arm(core->engine->port, core->queue);
    atomic_store_explicit(&core->wakeup.sleeping, 1, memory_order_relaxed);
    /* Pairs with the fence in wakeup_ring(). */
    atomic_thread_fence(memory_order_seq_cst);
}

static void disarm(struct engine_core *core)
{
    struct tenant_core *tenant;
    atomic_store_explicit(&core->wakeup.sleeping, 0, memory_order_relaxed);
    LIST_FOREACH(tenant, &core->tenants, link)
    {
        link_disarm(armed_flag(tenant));
    }
    if (core->owns_queue)
        port_disarm(core->engine->port, core->queue);
}

/** After arming: is there still nothing? */
static bool nothing_came(struct engine_core *core)
{
    /* Frames that came before the interrupt was switched on cause none. */
    if (core->owns_queue && port_has_interrupts(core->engine->port) && receive_run(core))
        return false;
    return host_operations_are_idle(core) &&
           atomic_load_explicit(&core->inbox, memory_order_relaxed) == NULL &&
           receive_is_idle(core) && fence_is_idle(core) &&
           !atomic_load_explicit(&core->engine->stopping, memory_order_relaxed);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/** Give idle receive memory back, some at a time. */
static void trim(struct engine_core *core)
{
    struct tenant_core *tenant;
    uint64_t given_back = 0;
    if (!core->may_trim || core->now_ns - core->last_placed_ns < TRIM_AFTER_NS)
        return;
    LIST_FOREACH(tenant, &core->tenants, link)
    {
        given_back += chunk_pool_trim(&tenant->receive_pool, tenant->tenant->arena.base,
                                      TRIM_KEEP_BYTES, TRIM_RUNS_MAX);
    }
    core->may_trim = given_back > 0;
}

static uint64_t sleep_until(const struct engine_core *core, uint64_t now_ns)
{
    uint64_t until = earlier(stack_next_deadline(core->stack), notify_next_deadline(core));
    /* Frames that the port would not take are tried again soon; so is a port that can't wake us. */
    if (!transmit_is_idle(core) || !core->wakeup.port_can_wake)
        until = earlier(until, now_ns + NAP_NS);
    if (core->may_trim)
        until = earlier(until, core->last_placed_ns + TRIM_AFTER_NS);
    return until;
}

static void sleep_now(struct engine_core *core, uint64_t now_ns)
{
    struct epoll_event events[EVENTS_MAX];
    uint64_t until = sleep_until(core, now_ns);
    struct timespec timeout;
    struct timespec *limit = NULL;
    if (until <= now_ns)
        return;
    if (until != TIME_NEVER) {
        timeout.tv_sec = (time_t)((until - now_ns) / NS_PER_S);
        timeout.tv_nsec = (long)((until - now_ns) % NS_PER_S);
        limit = &timeout;
    }
    (void)epoll_pwait2(core->wakeup.epoll_fd, events, EVENTS_MAX, limit, NULL);
    core->counters.wakeups++;
}

static void go_to_sleep(struct engine_core *core)
{
    uint64_t now_ns = core->now_ns;
    trim(core);
    host_operations_report(core);
    bool all_told = notify_flush(core);
    arm(core, !all_told);
    /* Room may have come between the flush and the arming. */
    if (nothing_came(core) && (all_told || !notify_flush(core)))
        sleep_now(core, now_ns);
    disarm(core);
    uint64_t after_ns = engine_now_ns();
    core->counters.slept_ns += after_ns - now_ns;
}

void wakeup_idle(struct engine_core *core, bool found_work)
{
    struct wakeup *wakeup = &core->wakeup;
    if (found_work || core->engine->options.poll) {
        wakeup->idle_since_ns = 0;
        return;
    }
    if (wakeup->idle_since_ns == 0)
        wakeup->idle_since_ns = core->now_ns;
    if (core->now_ns - wakeup->idle_since_ns < core->engine->options.spin_us * NS_PER_US) {
        (void)sched_yield();
        return;
    }
    go_to_sleep(core);
    wakeup->idle_since_ns = 0;
}
