/**
 * @file wakeup.h
 * How a core sleeps and what wakes it: its own event (messages, frames from other cores), the
 * tenants' doorbells, the port, the stack's next deadline.
 *
 * Before sleeping it looks around for a bounded time, giving the CPU to others (sched_yield).
 */
#ifndef PNO_ENGINE_WAKEUP_H
#define PNO_ENGINE_WAKEUP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct engine_core;

struct wakeup {
    int epoll_fd;
    int event_fd;              /**< written by other threads */
    _Atomic uint32_t sleeping; /**< 1: who sends something must write event_fd */
    bool port_can_wake;
    uint64_t idle_since_ns; /**< 0: the last round found work */
};

/** @return 0 or a negative errno. */
int wakeup_init(struct engine_core *core);
void wakeup_destroy(struct engine_core *core);

/** Watch a tenant's doorbell, an eventfd: edge-triggered, so that it need not be read. */
int wakeup_watch_doorbell(struct engine_core *core, int fd);

/** Wake the core up if it sleeps; from any thread, after putting work where it looks. */
void wakeup_ring(struct wakeup *wakeup);

/** After each round: decide whether to sleep, and do so. */
void wakeup_idle(struct engine_core *core, bool found_work);

#endif
