/**
 * @file witness.h
 * An honest tenant beside the fuzzed one: a connection to itself through the engine, over which
 * bytes must keep coming, whatever the other tenant does.
 */
#ifndef PNO_TESTS_FUZZ_LINK_WITNESS_H
#define PNO_TESTS_FUZZ_LINK_WITNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/stack.h"
#include "fuzz/link/fuzz_host.h"

struct witness {
    struct fuzz_host host;
    struct ip_endpoint server;
    struct link_socket_name listener, client, accepted;
    bool bound, listening, established;
    uint64_t sent, acknowledged, received; /**< stream offsets, client to accepted */
};

/** Listen at `server`, connect to it, accept; aborts when that fails within some rounds. */
void witness_open(struct witness *witness, struct engine *engine, const struct ip_endpoint *server);

/** Send some bytes to and fro; aborts when they don't arrive, or not as they were sent. */
void witness_speak(struct witness *witness, struct engine *engine);

#endif
