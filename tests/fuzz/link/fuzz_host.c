#include "fuzz/link/fuzz_host.h"

#include <stdlib.h>
#include <string.h>

/** What must work for the fuzzing to mean anything. */
static void require(bool condition)
{
    if (!condition)
        abort();
}

bool fuzz_host_add_process(struct fuzz_host *host, const struct fuzz_process *parent)
{
    struct fuzz_process *process = host->processes;
    while (process < host->processes + FUZZ_PROCESSES_MAX && process->process != NULL)
        process++;
    if (process == host->processes + FUZZ_PROCESSES_MAX)
        return false;
    struct link_channel_reply place = {0};
    require(process_create(host->tenant, parent != NULL ? parent->process : NULL,
                           ++host->next_process_id, 1, "fuzz", &process->process) == 0);
    require(channel_create(process->process, &process->channel, &place) == 0);
    uint8_t *arena = host->tenant->arena.base;
    uint8_t *window = host->tenant->window;
    link_producer_init(&process->to_engine, (void *)(window + place.core[0].to_engine_ring),
                       (void *)(arena + place.core[0].to_engine_feedback), place.ring_slots);
    link_consumer_init(&process->to_host, (void *)(arena + place.core[0].to_host_ring),
                       (void *)(window + place.core[0].to_host_feedback), place.ring_slots);
    return true;
}

void fuzz_host_open(struct fuzz_host *host, struct engine *engine, uint32_t tenant_id)
{
    memset(host, 0, sizeof(*host));
    require(tenant_create(engine, tenant_id, &host->tenant) == 0);
    require(fuzz_host_add_process(host, NULL));
}

void fuzz_host_kill_process(struct fuzz_process *process)
{
    if (process->process == NULL)
        return;
    process_destroy(process->process);
    process->process = NULL;
}

void fuzz_host_kill(struct fuzz_host *host)
{
    for (unsigned i = 0; i < FUZZ_PROCESSES_MAX; i++)
        fuzz_host_kill_process(&host->processes[i]);
}
