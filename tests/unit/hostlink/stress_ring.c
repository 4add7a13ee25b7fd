/*
 * Two threads, two small rings, sleep and wake by eventfd: no descriptor is lost, none is seen
 * early, nobody sleeps through a wake-up. Both ends also wait for room in full rings. Built
 * with the thread sanitizer as well. Two runs: first both send as fast as the rings allow, then a
 * single descriptor goes to and fro, so that a wake-up lost once is lost for good. (Without
 * the fences it is lost within a second here; tests/models/wakeup.pml leaves nothing to chance.)
 * Usage: stress_ring [SEED]
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "hostlink/ring.h"

#define SLOTS         8
#define RUN_SECONDS   2     /**< then each sends a last descriptor */
#define LOST_AFTER_MS 10000 /**< nobody pauses that long: a wake-up was lost */

/** Set by the main thread when time is up. */
static _Atomic bool time_is_up;

struct endpoint {
    const char *name;
    struct link_producer producer;
    struct link_consumer consumer;
    _Atomic uint32_t *armed;
    int doorbell;
    struct endpoint *peer;
    int32_t ahead; /**< how many more it may send than it has received */
    bool last_sent;
    bool last_received;
    uint32_t sent;
    uint32_t received;
    uint32_t sleeps;
    uint64_t seed;
};

static uint32_t random_below(struct endpoint *self, uint32_t limit)
{
    self->seed = self->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(self->seed >> 33) % limit;
}

static void fail(const struct endpoint *self, const char *why)
{
    (void)fprintf(stderr, "%s: %s (sent %u, received %u, slept %u times)\n", self->name, why,
                  self->sent, self->received, self->sleeps);
    exit(1);
}

static void ring_doorbell(const struct endpoint *other)
{
    uint64_t one = 1;
    if (write(other->doorbell, &one, sizeof(one)) != sizeof(one))
        fail(other, "cannot ring its doorbell");
}

static bool may_send(const struct endpoint *self)
{
    return !self->last_sent && (int32_t)(self->sent - self->received) < self->ahead;
}

static uint32_t receive_burst(struct endpoint *self)
{
    struct link_descriptor descriptor;
    uint32_t burst = 1 + random_below(self, 2 * SLOTS);
    uint32_t count = 0;
    while (count < burst && link_consumer_pop(&self->consumer, &descriptor)) {
        if (descriptor.request_id != self->received ||
            descriptor.data.length != (uint32_t)~self->received)
            fail(self, "a descriptor is wrong or out of order");
        self->last_received = descriptor.type == LINK_OP_CLOSE;
        self->received++;
        count++;
    }
    if (count > 0) {
        link_consumer_report(&self->consumer);
        if (link_take_armed_for_room(self->peer->armed))
            ring_doorbell(self->peer);
    }
    return count;
}

static uint32_t send_burst(struct endpoint *self)
{
    uint32_t burst = 1 + random_below(self, 2 * SLOTS);
    uint32_t count = 0;
    while (count < burst && may_send(self)) {
        bool last = atomic_load_explicit(&time_is_up, memory_order_relaxed);
        struct link_descriptor descriptor = {.type = last ? LINK_OP_CLOSE : LINK_OP_SEND,
                                             .request_id = self->sent};
        descriptor.data.length = (uint32_t)~self->sent;
        if (!link_producer_push(&self->producer, &descriptor))
            break;
        self->last_sent = last;
        self->sent++;
        count++;
    }
    if (count > 0 && link_take_armed(self->peer->armed))
        ring_doorbell(self->peer);
    return count;
}

static void sleep_unless_work(struct endpoint *self)
{
    /* As real ends do; here so that arming meets the other's push as often as can be. */
    for (uint32_t spins = random_below(self, 1u << random_below(self, 16)); spins > 0; spins--) {
        if (!link_consumer_empty(&self->consumer))
            return;
    }
    bool more_to_send = may_send(self);
    if (more_to_send)
        link_arm_for_room(self->armed);
    else
        link_arm(self->armed);
    if (!link_consumer_empty(&self->consumer) ||
        (more_to_send && link_producer_room(&self->producer, 1) > 0)) {
        link_disarm(self->armed);
        return;
    }
    self->sleeps++;
    struct pollfd pollfd = {.fd = self->doorbell, .events = POLLIN};
    if (poll(&pollfd, 1, LOST_AFTER_MS) != 1)
        fail(self, "a wake-up was lost");
    uint64_t rings;
    if (read(self->doorbell, &rings, sizeof(rings)) != sizeof(rings))
        fail(self, "cannot read its doorbell");
}

static void *run(void *argument)
{
    struct endpoint *self = argument;
    while (!self->last_sent || !self->last_received) {
        uint32_t received = receive_burst(self);
        uint32_t sent = send_burst(self);
        if (received == 0 && sent == 0)
            sleep_unless_work(self);
    }
    return NULL;
}

static struct link_descriptor slots[2][SLOTS];
static struct link_feedback feedback[2];
static _Atomic uint32_t armed[2];

static void open_endpoint(struct endpoint *ends, unsigned which, int32_t ahead, uint64_t seed)
{
    struct endpoint *self = &ends[which];
    unsigned other = 1 - which;
    *self = (struct endpoint){
        .name = which == 0 ? "host" : "engine",
        .armed = &armed[which],
        .doorbell = eventfd(0, EFD_CLOEXEC),
        .peer = &ends[other],
        .ahead = ahead,
        .seed = seed * 2 + which,
    };
    link_producer_init(&self->producer, slots[other], &feedback[other], SLOTS);
    link_consumer_init(&self->consumer, slots[which], &feedback[which], SLOTS);
}

/** @param host_ahead, engine_ahead  how many more each may send than it has received. */
static void run_both(int32_t host_ahead, int32_t engine_ahead, uint64_t seed)
{
    struct endpoint ends[2];
    pthread_t threads[2];
    memset((void *)slots, 0, sizeof(slots));
    memset((void *)feedback, 0, sizeof(feedback));
    memset((void *)armed, 0, sizeof(armed));
    atomic_store(&time_is_up, false);
    open_endpoint(ends, 0, host_ahead, seed);
    open_endpoint(ends, 1, engine_ahead, seed);
    for (unsigned i = 0; i < 2; i++) {
        if (pthread_create(&threads[i], NULL, run, &ends[i]) != 0)
            fail(&ends[i], "no thread");
    }
    struct timespec run_time = {.tv_sec = RUN_SECONDS};
    (void)nanosleep(&run_time, NULL);
    atomic_store(&time_is_up, true);
    for (unsigned i = 0; i < 2; i++)
        (void)pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < 2; i++) {
        (void)printf("%s: sent %u, received %u, slept %u times\n", ends[i].name, ends[i].sent,
                     ends[i].received, ends[i].sleeps);
        if (ends[i].sent != ends[i].peer->received)
            fail(&ends[i], "what it sent is not what the other received");
        if (ends[i].sleeps == 0)
            fail(&ends[i], "never slept, so nothing was tried");
        (void)close(ends[i].doorbell);
    }
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL);
    (void)printf("seed %llu\n", (unsigned long long)seed);
    run_both(INT32_MAX, INT32_MAX, seed);
    run_both(1, 0, seed);
    return 0;
}
