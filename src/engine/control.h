/**
 * @file control.h
 * The control socket: applications join and leave here, operators ask here. Runs in the control
 * thread, in an event loop of its own; no request or slow reader holds up another.
 */
#ifndef PNO_ENGINE_CONTROL_H
#define PNO_ENGINE_CONTROL_H

#include <stddef.h>
#include <sys/queue.h>

#include "base/siphash.h"
#include "engine/capture.h"
#include "engine/tenant.h"
#include "hostlink/control.h"

struct control_connection;

struct control {
    struct engine *engine;
    struct link_control_listener listener;
    struct siphash_key port_right_key;
    int epoll_fd;
    int signal_fd;
    LIST_HEAD(, tenant) tenants;
    LIST_HEAD(, control_connection) connections;
    struct capture capture;
    unsigned connection_count;
    unsigned tenant_count;
    uint32_t next_tenant_id;
    uint32_t next_process_id;
};

/**
 * Listen on the control socket; from then on a second instance is refused.
 * @param problem  filled with one line on failure.
 * @return 0 or a negative errno.
 */
int control_open(struct control *control, struct engine *engine, char *problem,
                 size_t problem_bytes);

/** Serve until SIGTERM or SIGINT. The cores must be running. */
void control_run(struct control *control);

/** Let go of all tenants and remove the socket. The cores must still be running. */
void control_close(struct control *control);

#endif
