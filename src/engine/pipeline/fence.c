#include "engine/pipeline/fence.h"

#include <string.h>

#include "base/assert.h"
#include "engine/engine_core.h"
#include "engine/pipeline/notify.h"

/** Rounds that a fence waits for a moment without turned frames: more than a full send buffer takes
    to go round, so that only the traffic of others can make it longer. */
#define FENCE_ROUNDS_MAX 2048

/** Of what each other process of the tenant has pushed, a fence is for so many operations. */
#define FENCE_OPERATIONS_MAX 256

void fence_frame_turned(struct engine_core *core)
{
    atomic_fetch_add_explicit(&core->engine->frames_going_round, 1, memory_order_relaxed);
}

void fence_begin(struct channel_core *channel, const struct link_descriptor *request)
{
    struct engine_core *core = channel->tenant->core;
    PNO_ASSERT(channel->fence_count < CHANNEL_REPLIES_MAX);
    channel->fences[channel->fence_count++] = request->request_id;
    if (channel->fence_count == 1)
        TAILQ_INSERT_TAIL(&core->fenced_channels, channel, fenced_link);
    struct channel_core *other;
    TAILQ_FOREACH(other, &core->channels, link)
    {
        if (other == channel || other->tenant != channel->tenant)
            continue;
        uint32_t waiting = link_consumer_waiting(&other->to_engine, FENCE_OPERATIONS_MAX);
        if (waiting > other->before_fence)
            other->before_fence = waiting;
    }
}

bool fence_is_under_way(const struct engine_core *core)
{
    return atomic_load_explicit(&core->engine->frames_going_round, memory_order_acquire) != 0;
}

static void answer(struct channel_core *channel)
{
    unsigned count = channel->fence_count;
    channel->fence_count = 0; /* the room of the fences is that of their answers */
    for (unsigned i = 0; i < count; i++) {
        struct link_descriptor reply = {.type = LINK_EVENT_REPLY, .request_id = channel->fences[i]};
        notify_reply(channel, &reply);
    }
}

/** Whether all is taken that other processes of a fence's tenant had pushed before it. What a
   process can't be answered for want of room is not waited for. */
static bool others_are_taken(const struct engine_core *core)
{
    const struct channel_core *channel;
    TAILQ_FOREACH(channel, &core->channels, link)
    {
        if (channel->before_fence > 0 && notify_reply_room(channel))
            return false;
    }
    return true;
}

void fence_round_ends(struct engine_core *core)
{
    struct engine *engine = core->engine;
    if (core->turned_received > 0) {
        /* Release pairs with the acquire in fence_is_under_way(): who sees that nothing is under
           way answers after all that it caused has been told. */
        atomic_fetch_sub_explicit(&engine->frames_going_round, core->turned_received,
                                  memory_order_release);
        core->turned_received = 0;
    }
    if (TAILQ_EMPTY(&core->fenced_channels))
        return;
    bool under_way = fence_is_under_way(core) || !others_are_taken(core);
    if (under_way && ++core->fenced_rounds < FENCE_ROUNDS_MAX)
        return;
    core->fenced_rounds = 0;
    struct channel_core *channel;
    while ((channel = TAILQ_FIRST(&core->fenced_channels)) != NULL) {
        TAILQ_REMOVE(&core->fenced_channels, channel, fenced_link);
        answer(channel);
    }
    (void)notify_flush(core);
}

bool fence_is_idle(const struct engine_core *core)
{
    return TAILQ_EMPTY(&core->fenced_channels);
}

void fence_forget_channel(struct channel_core *channel)
{
    if (channel->fence_count > 0)
        TAILQ_REMOVE(&channel->tenant->core->fenced_channels, channel, fenced_link);
    channel->fence_count = 0;
}
