/**
 * @file bottleneck.h
 * Congestion control seen from outside: many flows from one host to another through one queue, in
 * virtual time, with the core as it ships. Payload is never looked at here (world.h's runs do
 * that); what counts is who gets how much, and how long the queue is.
 */
#ifndef PNO_SIMULATION_BOTTLENECK_H
#define PNO_SIMULATION_BOTTLENECK_H

#include <stdbool.h>
#include <stdint.h>

#define BOTTLENECK_FLOWS_MAX 64

struct bottleneck_settings {
    unsigned flows;
    uint8_t congestion[BOTTLENECK_FLOWS_MAX]; /**< enum tcp_congestion_id of each */
    uint64_t start_ns[BOTTLENECK_FLOWS_MAX];
    uint64_t max_pacing_rate;                /**< of all; 0: none */
    uint64_t rtt_ns, changed_rtt_ns;         /**< changed_rtt_ns from the middle on; 0: never */
    uint64_t rate_bytes_per_s, changed_rate; /**< changed_rate from the middle on; 0: never */
    uint32_t buffer_bytes;
    uint32_t mark_above_bytes;     /**< ECN: marked when the queue is longer; 0: never */
    unsigned loss;                 /**< parts per 10,000 */
    uint64_t policer_bytes;        /**< no queue but a token bucket of this depth; 0: a queue */
    uint64_t ack_gather_ns;        /**< ACKs arrive in bunches this far apart */
    unsigned ack_loss;             /**< parts per 10,000 */
    uint64_t ack_rate_bytes_per_s; /**< asymmetric: of the way back; 0 as the other */
    uint64_t bytes_per_flow;       /**< 0: as much as fits into the time */
    uint64_t duration_ns;
    uint64_t measure_from_ns; /**< figures below are from here to the end */
};

struct bottleneck_result {
    double goodput[BOTTLENECK_FLOWS_MAX]; /**< bytes per second of each */
    double utilization;                   /**< of the rate, by all */
    double jain;                          /**< fairness: 1 when all get the same */
    double queue_mean_bytes;              /**< as arriving packets found it */
    uint32_t queue_max_bytes;
    uint64_t dropped, marked, packets; /**< at the bottleneck */
    uint64_t rto_expirations, retransmits;
    const char *window_failure; /**< window_check.h: NULL, or which limit did not hold */
    uint64_t finished_ns; /**< with bytes_per_flow: when all was through; 0 not within the time */
};

/** Run it; the same seed gives the same figures. */
void bottleneck_run(const struct bottleneck_settings *settings, uint64_t seed,
                    struct bottleneck_result *result);

/** The scenarios by name, as `pno-simulate --scenario` takes them. @return NULL: no such one. */
struct bottleneck_scenario {
    const char *name;
    const char *what;
    /** @return NULL, or what does not hold. */
    const char *(*run)(uint64_t seed, bool trace);
};
const struct bottleneck_scenario *bottleneck_scenario_by_number(unsigned number);

#endif
