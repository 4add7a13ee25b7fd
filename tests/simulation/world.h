/**
 * @file world.h
 * A simulated world: virtual time, hosts (each a stack with its applications) and the wires
 * between them. Single-threaded; everything follows from the seed.
 */
#ifndef PNO_SIMULATION_WORLD_H
#define PNO_SIMULATION_WORLD_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

#include "application.h"
#include "base/time_units.h"
#include "coverage.h"
#include "frame.h"
#include "host.h"
#include "oracle.h"
#include "random.h"
#include "scenarios.h"
#include "wire.h"

#define WORLD_HOSTS_MAX 3

/** Something that happens at a time; run gets the context it was scheduled with. */
typedef void world_action(struct world *world, void *context);

struct world_event {
    uint64_t time_ns;
    uint64_t order; /**< of events at the same time: first scheduled, first run */
    world_action *run;
    void *context;
};

struct world_probe {
    uint32_t seq, timestamp;
};

struct world {
    uint64_t seed;
    uint64_t now_ns, start_ns;
    uint64_t heal_ns;          /**< from here on the wires are without fault */
    uint64_t last_progress_ns; /**< when any application last got ahead */
    struct random random;
    const struct scenario *scenario;
    struct settings settings;
    bool trace;
    bool no_prediction; /**< the stacks go the whole way with every segment */
    bool digests;
    uint64_t digest; /**< of frames and events, if asked for */

    struct world_event *events; /**< binary heap */
    uint32_t event_count, event_capacity;
    uint64_t event_order;

    struct host hosts[WORLD_HOSTS_MAX];
    struct wire wires[WORLD_HOSTS_MAX]; /**< from that host to the others */
    uint32_t frames_in_flight;
    uint64_t frames_total;
    uint64_t frames_bound_work; /**< writes, reads and the like: what frames may be spent on */

    struct endpoint *endpoints; /**< all of this run, newest first */
    unsigned endpoint_count;
    unsigned connections_started, connections_wanted;
    struct connection_pair *pairs;
    struct flow_watch *flows; /**< the oracle's, one per 4-tuple */

    struct coverage coverage;
    jmp_buf *failure;          /**< where world_fail() goes */
    struct world_probe *probe; /**< run only up to the first SYN, to learn its numbers */
};

/** What a run was like. */
struct world_result {
    bool failed;
    bool wraps_sequence, wraps_timestamp; /**< as the settings were drawn */
    uint8_t features[2], congestion[2];   /**< features: 1 + number, 0 without */
    uint32_t wrap_after_bytes;
    struct coverage coverage;
    uint64_t digest; /**< of all that happened, if asked for */
};

/** How to run, besides what the seed decides. */
struct world_manner {
    bool trace;         /**< print every frame */
    bool no_prediction; /**< struct stack_config's */
    bool digests;
};

/** One run, from creation to the last check. Prints a FAIL line when it does not hold. */
struct world_result world_run(uint64_t seed, const struct scenario *scenario,
                              const struct world_manner *manner);

void world_schedule(struct world *world, uint64_t time_ns, world_action *run, void *context);

/** Give up: print the FAIL line with seed, scenario and virtual time. Does not return. */
_Noreturn void world_fail(struct world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/** A SYN or SYN-ACK was sent: all that a probing run wants to know. */
void world_probe_syn(struct world *world, const struct frame_view *view);

/** Virtual time since the world began, in seconds, for people. */
double world_seconds(const struct world *world);

bool world_healed(const struct world *world);

/** An application got ahead: nothing is stalled. */
void world_note_progress(struct world *world);

/** Start one more connection between the hosts as the settings say. */
void world_start_connection(struct world *world);

#endif
