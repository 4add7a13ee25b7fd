/**
 * @file host.h
 * A host: a stack, and its embedder as simple as one can be, but with an embedder's freedoms: it
 * may be late, may take frames and events in bursts, may be without memory for payload, may place
 * payload later.
 */
#ifndef PNO_SIMULATION_HOST_H
#define PNO_SIMULATION_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "core/stack.h"

struct world;
struct frame;
struct endpoint;

/** Payload that reaches its place only later. */
struct placement {
    struct placement *next; /**< of the endpoint's */
    struct endpoint *endpoint;
    uint64_t offset;
    uint32_t length;
    uint8_t bytes[];
};

#define HOST_LISTEN_PORT 80
#define HOST_CLOSED_PORT 81

struct host {
    unsigned index;
    void *memory;
    size_t memory_bytes;
    struct stack_config config;
    struct stack *stack;
    unsigned generation; /**< counts restarts */
    struct tcp_listener *listener;
    uint32_t gso_bytes_max;
    uint64_t wake_ns;          /**< the wake-up scheduled; others are stale */
    uint64_t wake_deadline_ns; /**< the deadline it is for; it may be late */
    bool transmit_scheduled;
    bool placing; /**< payload lies received, but not yet in its place */
};

void host_create(struct world *world, struct host *host, unsigned index);
void host_destroy(struct host *host);

/** Power off and on again: all state is lost, nothing is said on the wire. */
void host_restart(struct world *world, struct host *host);

void host_receive(struct world *world, struct host *host, const struct frame *frame,
                  bool turned_round);

/** After anything done to the stack: take events, send what it has, plan the next wake-up. */
void host_pump(struct world *world, struct host *host);

struct ip_address host_address(unsigned index, bool is_ipv6);

#endif
