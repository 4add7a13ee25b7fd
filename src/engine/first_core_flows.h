/**
 * @file first_core_flows.h
 * With several cores: the connections that core 0 made from ports which their programs had bound,
 * and whose flows may hash to other cores. Those cores ask here before they give a segment to a
 * listener of their own; without listeners on the port they pass on what they don't know anyway.
 *
 * Written by core 0, read by the others; rarely, so that one lock does.
 */
#ifndef PNO_ENGINE_FIRST_CORE_FLOWS_H
#define PNO_ENGINE_FIRST_CORE_FLOWS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/ip_address.h"

#define FIRST_CORE_FLOWS_BUCKETS 1024

/** One such connection; part of its socket. All zero: none. */
struct first_core_flow {
    struct ip_endpoint local, remote;
    LIST_ENTRY(first_core_flow) link;
    bool listed;
};

struct first_core_flows {
    pthread_mutex_t lock;
    _Atomic uint32_t count;
    LIST_HEAD(, first_core_flow) buckets[FIRST_CORE_FLOWS_BUCKETS];
};

void first_core_flows_init(struct first_core_flows *flows);

/** From core 0 only. */
void first_core_flows_add(struct first_core_flows *flows, struct first_core_flow *flow,
                          const struct ip_endpoint *local, const struct ip_endpoint *remote);

/** From core 0 only; harmless for one that was never added. */
void first_core_flows_remove(struct first_core_flows *flows, struct first_core_flow *flow);

bool first_core_flows_have(struct first_core_flows *flows, const struct ip_endpoint *local,
                           const struct ip_endpoint *remote);

#endif
