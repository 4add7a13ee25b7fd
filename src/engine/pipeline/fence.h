/**
 * @file fence.h
 * LINK_OP_FENCE: answered when all that earlier operations, of any process of the tenant's, caused
 * among the engine's own sockets has been done and told. Frames that the engine turns round are
 * counted from their building to the end of the round that received them, on whatever core: without
 * any under way all is done.
 */
#ifndef PNO_ENGINE_PIPELINE_FENCE_H
#define PNO_ENGINE_PIPELINE_FENCE_H

#include <stdbool.h>

#include "hostlink/abi.h"

struct channel_core;
struct engine_core;

/** A frame is about to be queued for this core or another. */
void fence_frame_turned(struct engine_core *core);

/** The operation. Only after notify_reply_room(). */
void fence_begin(struct channel_core *channel, const struct link_descriptor *request);

/**
 * At the end of each round, when all has been told: count what was received in it, and answer the
 * fences if nothing is under way any more (or others' traffic leaves no gap for very long).
 */
void fence_round_ends(struct engine_core *core);

/** Whether anything that was turned round has not been received. */
bool fence_is_under_way(const struct engine_core *core);

/** Whether no fence waits: then the core may sleep. */
bool fence_is_idle(const struct engine_core *core);

/** The channel goes away. */
void fence_forget_channel(struct channel_core *channel);

#endif
