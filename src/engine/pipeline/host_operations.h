/**
 * @file host_operations.h
 * What hosts ask for: descriptors from their rings, copied once, validated, applied. Everything
 * here may come from a hostile tenant: a descriptor that makes no sense is counted and ignored, and
 * harms at most the sockets of its own tenant.
 */
#ifndef PNO_ENGINE_PIPELINE_HOST_OPERATIONS_H
#define PNO_ENGINE_PIPELINE_HOST_OPERATIONS_H

#include <stdbool.h>

#include "hostlink/abi.h"

struct engine_core;
struct channel_core;
struct process_core;

/** A bounded number from each channel in turn. @return whether there were any. */
bool host_operations_run(struct engine_core *core);

/**
 * Everything that a process has put into its rings so far, at once: before it is forked or taken
 * for dead, since what it did before counts.
 */
void host_operations_drain(struct engine_core *core, struct process_core *process);

/** Apply one descriptor as if it had come by this channel. The entry for fuzzers and tests. */
void host_operations_apply(struct channel_core *channel, const struct link_descriptor *descriptor);

/** No ring holds anything. */
bool host_operations_are_idle(const struct engine_core *core);

/** Report credit for everything taken, and wake who waits for it: before sleeping. */
void host_operations_report(struct engine_core *core);

#endif
