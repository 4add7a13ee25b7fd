/**
 * @file events.h
 * Post-process: take what the stack reports of its connections and listeners, and mark the sockets
 * that have something to be told; announce accepted connections.
 */
#ifndef PNO_ENGINE_PIPELINE_EVENTS_H
#define PNO_ENGINE_PIPELINE_EVENTS_H

#include <stdbool.h>

struct engine_core;

/** Until the stack has no more. @return whether there were any. */
bool events_run(struct engine_core *core);

#endif
