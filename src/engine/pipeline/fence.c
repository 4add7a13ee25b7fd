#include "engine/pipeline/fence.h"

#include <string.h>

#include "base/assert.h"
#include "engine/engine_core.h"
#include "engine/pipeline/host_operations.h"
#include "engine/pipeline/notify.h"

/** Rounds that a fence waits for a moment without turned frames: more than a full send buffer takes
    to go round, so that only the traffic of others can make it longer. */
#define FENCE_ROUNDS_MAX 2048

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

/** Whether another process of the channel's tenant waits for a fence. */
static bool is_fenced_by_another(const struct channel_core *channel)
{
    const struct channel_core *fenced;
    TAILQ_FOREACH(fenced, &channel->tenant->core->fenced_channels, fenced_link)
    {
        if (fenced != channel && fenced->tenant == channel->tenant)
            return true;
    }
    return false;
}

/** A fence is for what other processes of its tenant have pushed before it, too: one of them may
    have been looked at before that in this round. @return whether there was something. */
static bool take_from_others(struct engine_core *core)
{
    struct channel_core *channel;
    bool any = false;
    TAILQ_FOREACH(channel, &core->channels, link)
    {
        if (is_fenced_by_another(channel) && host_operations_take(channel))
            any = true;
    }
    return any;
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
    bool under_way = fence_is_under_way(core) || take_from_others(core);
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
