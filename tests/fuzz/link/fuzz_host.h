/**
 * @file fuzz_host.h
 * The host's end of the link as a fuzzer drives it: a tenant of an engine in the same process, with
 * one thread for everything. Not the host library: it can say whatever it likes.
 */
#ifndef PNO_TESTS_FUZZ_LINK_FUZZ_HOST_H
#define PNO_TESTS_FUZZ_LINK_FUZZ_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/tenant.h"
#include "hostlink/ring.h"

#define FUZZ_PROCESSES_MAX 4

/** A process with one channel. */
struct fuzz_process {
    struct process *process; /**< NULL: there is none */
    struct channel *channel;
    struct link_producer to_engine;
    struct link_consumer to_host;
};

struct fuzz_host {
    struct tenant *tenant;
    struct fuzz_process processes[FUZZ_PROCESSES_MAX];
    uint32_t next_process_id;
};

/** Make a tenant with one process. */
void fuzz_host_open(struct fuzz_host *host, struct engine *engine, uint32_t tenant_id);

/** One more process, forked off `parent` (or NULL). @return false: no room. */
bool fuzz_host_add_process(struct fuzz_host *host, const struct fuzz_process *parent);

void fuzz_host_kill_process(struct fuzz_process *process);

/** Kill all processes. The tenant stays while its connections end. */
void fuzz_host_kill(struct fuzz_host *host);

#endif
