/* pnod: the PnO engine. */
#include "engine/dpdk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "engine/control.h"
#include "engine/eal.h"
#include "engine/engine_core.h"
#include "engine/namespace_sysctls.h"
#include "engine/ports/port.h"

#define TURNED_FRAMES  512
#define PROBLEM_BYTES  768
#define OPEN_FILES_MAX 1048576

/** Each process and channel takes descriptors. */
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max < OPEN_FILES_MAX ? limit.rlim_max : OPEN_FILES_MAX;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int make_cores(struct engine *engine, char *problem)
{
    engine->turned_frames =
        rte_mempool_create("turned", TURNED_FRAMES - 1, sizeof(struct turned_frame), 0, 0, NULL,
                           NULL, NULL, NULL, SOCKET_ID_ANY, 0);
    if (engine->turned_frames == NULL) {
        (void)snprintf(problem, PROBLEM_BYTES, "no memory for frames to ourselves");
        return -ENOMEM;
    }
    for (unsigned i = 0; i < engine->core_count; i++) {
        int result = engine_core_create(engine, i, &engine->cores[i], problem, PROBLEM_BYTES);
        if (result != 0)
            return result;
    }
    return 0;
}

static int start(struct engine *engine, struct control *control, char *problem)
{
    const struct engine_options *options = &engine->options;
    engine->core_count = options->core_count;
    engine->dma = &dma_backend_memcpy;
    first_core_flows_init(&engine->first_core_flows);
    if (getrandom(engine->secret, sizeof(engine->secret), 0) != (ssize_t)sizeof(engine->secret)) {
        (void)snprintf(problem, PROBLEM_BYTES, "no random numbers: %s", strerror(errno));
        return -EIO;
    }
    /* First of all the socket: a second instance must not touch the first one's port. */
    int result = control_open(control, engine, problem, PROBLEM_BYTES);
    if (result == 0)
        result = eal_start(options, problem, PROBLEM_BYTES);
    if (result == 0)
        result = port_open(&engine->port, options->port, engine->core_count, options->mtu, problem,
                           PROBLEM_BYTES);
    if (result == 0)
        result = make_cores(engine, problem);
    return result;
}

static void stop_cores(struct engine *engine)
{
    atomic_store_explicit(&engine->stopping, true, memory_order_relaxed);
    for (unsigned i = 0; i < engine->core_count; i++) {
        wakeup_ring(&engine->cores[i]->wakeup);
        (void)rte_eal_wait_lcore(eal_core_lcore(i));
    }
    for (unsigned i = 0; i < engine->core_count; i++)
        engine_core_destroy(engine->cores[i]);
}

int main(int argc, char **argv)
{
    static struct engine engine;
    static struct control control;
    char problem[PROBLEM_BYTES] = "";
    log_set("pnod", LOG_LEVEL_INFO);
    engine_options_init(&engine.options);
    namespace_sysctls_follow(&engine.options.stack);
    engine_options_parse(&engine.options, argc, argv);
    log_set("pnod", engine.options.log_level);
    raise_file_limit();
    engine.started_ns = engine_now_ns();
    if (start(&engine, &control, problem) != 0) {
        log_error("%s", problem);
        link_control_unlisten(&control.listener);
        return EXIT_FAILURE;
    }
    for (unsigned i = 0; i < engine.core_count; i++)
        (void)rte_eal_remote_launch(engine_core_run, engine.cores[i], eal_core_lcore(i));
    log_info("serving %u address(es) on %s, %u core(s), control socket %s",
             engine.options.address_count, port_name(engine.port), engine.core_count,
             engine.options.socket_path);
    /* Only now, so that nobody waits for an engine that is still getting ready. */
    if (link_control_listen(&control.listener) != 0)
        log_error("cannot listen on %s", engine.options.socket_path);
    (void)puts("pnod: ready");
    (void)fflush(stdout);
    control_run(&control);
    log_info("stopping");
    control_close(&control);
    stop_cores(&engine);
    port_close(engine.port);
    eal_stop();
    return EXIT_SUCCESS;
}
