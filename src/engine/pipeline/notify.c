#include "engine/pipeline/notify.h"

#include <string.h>
#include <sys/eventfd.h>

#include "base/assert.h"
#include "engine/engine_core.h"

/* ---- Queues of holders with something to tell ----------------------------------------------- */

static void enqueue_pending(struct socket_holder *holder)
{
    struct channel_core *channel = holder_channel(holder);
    struct engine_core *core = channel->tenant->core;
    TAILQ_INSERT_TAIL(&channel->pending, holder, queue_link);
    holder->queue = HOLDER_PENDING;
    if (!channel->is_told) {
        channel->is_told = true;
        TAILQ_INSERT_TAIL(&core->told_channels, channel, told_link);
    }
}

static void enqueue_lazy(struct socket_holder *holder)
{
    struct channel_core *channel = holder_channel(holder);
    struct engine_core *core = channel->tenant->core;
    TAILQ_INSERT_TAIL(&channel->lazy, holder, queue_link);
    holder->queue = HOLDER_LAZY;
    if (!channel->is_lazy) {
        channel->is_lazy = true;
        channel->lazy_since_ns = core->now_ns;
        TAILQ_INSERT_TAIL(&core->lazy_channels, channel, lazy_link);
    }
}

static void dequeue(struct socket_holder *holder)
{
    struct channel_core *channel = holder_channel(holder);
    if (holder->queue == HOLDER_PENDING)
        TAILQ_REMOVE(&channel->pending, holder, queue_link);
    else if (holder->queue == HOLDER_LAZY)
        TAILQ_REMOVE(&channel->lazy, holder, queue_link);
    holder->queue = HOLDER_QUIET;
}

/**
 * SENT can wait while the host, by what it surely knows, has more than half its send buffer free,
 * so that nobody waits for room; unless somebody may wait for everything to be sent.
 */
static bool sent_can_wait(const struct socket_holder *holder)
{
    const struct engine_socket *socket = holder->socket;
    uint32_t untold = (uint32_t)socket->tx.end - holder->told_sent;
    return untold < holder->told_limit / 2 && !holder->released && !socket->shutdown_told &&
           socket->connection != NULL;
}

void notify_holder(struct socket_holder *holder, uint16_t dirty)
{
    if (holder->released)
        dirty &= DIRTY_SENT | DIRTY_SLOT_FREE;
    if (dirty == 0)
        return;
    /* A buffer made smaller counts until a larger one is told surely: lazy news of it may have been
       heard, and its room been filled. */
    if ((dirty & DIRTY_SENT) != 0 && holder->socket->send_limit < holder->told_limit)
        holder->told_limit = holder->socket->send_limit;
    holder->dirty |= dirty;
    if (holder->channel == 0 || holder->queue == HOLDER_PENDING)
        return;
    if (holder->dirty == DIRTY_SENT && sent_can_wait(holder)) {
        if (holder->queue == HOLDER_QUIET)
            enqueue_lazy(holder);
        return;
    }
    dequeue(holder);
    enqueue_pending(holder);
}

void notify_socket(struct engine_socket *socket, uint16_t dirty)
{
    for (struct socket_holder *holder = socket_holders(socket); holder != NULL;
         holder = holder->next)
        notify_holder(holder, dirty);
}

void notify_reconsider(struct engine_socket *socket)
{
    for (struct socket_holder *holder = socket_holders(socket); holder != NULL;
         holder = holder->next) {
        if (holder->queue == HOLDER_LAZY && !sent_can_wait(holder))
            notify_holder(holder, DIRTY_SENT);
    }
}

void notify_forget(struct socket_holder *holder)
{
    if (holder->channel != 0)
        dequeue(holder);
    holder->dirty = 0;
}

void notify_move(struct socket_holder *holder, struct channel_core *channel)
{
    uint8_t number = channel_number(channel);
    if (holder->channel == number)
        return;
    uint16_t dirty = holder->dirty;
    notify_forget(holder);
    holder->channel = number;
    notify_holder(holder, dirty);
}

void notify_forget_channel(struct channel_core *channel)
{
    struct engine_core *core = channel->tenant->core;
    PNO_ASSERT(TAILQ_EMPTY(&channel->pending) && TAILQ_EMPTY(&channel->lazy));
    if (channel->is_told)
        TAILQ_REMOVE(&core->told_channels, channel, told_link);
    if (channel->is_lazy)
        TAILQ_REMOVE(&core->lazy_channels, channel, lazy_link);
    channel->is_told = channel->is_lazy = false;
}

/* ---- Telling -------------------------------------------------------------------------------- */

static bool push(struct channel_core *channel, const struct link_descriptor *descriptor)
{
    struct engine_core *core = channel->tenant->core;
    if (!link_producer_push(&channel->to_host, descriptor)) {
        core->counters.rings_full++;
        return false;
    }
    channel->pushed = true;
    core->counters.events++;
    return true;
}

static void set_endpoints(struct link_descriptor *descriptor, const struct engine_socket *socket)
{
    struct ip_endpoint local, remote;
    socket_endpoints(socket, &local, &remote);
    descriptor->endpoints.local = local.address;
    descriptor->endpoints.local_port = local.port;
    descriptor->endpoints.remote = remote.address;
    descriptor->endpoints.remote_port = remote.port;
}

static bool tell_accept(struct socket_holder *holder)
{
    const struct engine_socket *socket = holder->socket;
    if (!socket_is_unaccepted(socket))
        return true;
    struct link_descriptor event = {
        .type = LINK_EVENT_ACCEPT,
        .socket = socket->extra->listener->name,
        .request_id = socket->extra->accept_sequence,
        .accept_incarnation = socket->name.incarnation,
    };
    set_endpoints(&event, socket);
    event.endpoints.accept_slot = socket->name.slot;
    return push(holder_channel(holder), &event);
}

static uint64_t arrived_ns(const struct engine_socket *socket)
{
    return socket->stamps && socket->extra != NULL ? socket->extra->arrived_ns : 0;
}

static bool tell_data(struct socket_holder *holder)
{
    struct engine_socket *socket = holder->socket;
    if (socket->copies_in_flight > 0)
        return true; /* not all there yet: told when the last copy completes */
    uint64_t consumed = socket->rx.consumed;
    uint64_t told = consumed + (uint32_t)(holder->told_data - (uint32_t)consumed);
    while (told < socket->received) {
        struct rx_extent extent = rx_buffer_find(&socket->rx, told, socket->received);
        if (extent.length == 0)
            return true; /* payload dropped after shutdown of reading has no place */
        struct link_descriptor event = {
            .type = LINK_EVENT_DATA,
            .socket = socket->name,
            .data = {.stream_offset = told,
                     .arena_offset = extent.arena_offset,
                     .length = extent.length,
                     .consumed = arrived_ns(socket)},
        };
        if (!push(holder_channel(holder), &event))
            return false;
        told += extent.length;
        holder->told_data = (uint32_t)told;
    }
    return true;
}

static bool tell_sent(const struct socket_holder *holder)
{
    const struct engine_socket *socket = holder->socket;
    struct link_descriptor event = {
        .type = LINK_EVENT_SENT,
        .socket = socket->name,
        .data = {.stream_offset = socket_acked(socket), .length = socket->send_limit},
    };
    return push(holder_channel(holder), &event);
}

static bool tell_simple(struct socket_holder *holder, uint16_t bit)
{
    const struct engine_socket *socket = holder->socket;
    struct link_descriptor event = {.socket = socket->name};
    switch (bit) {
    case DIRTY_ESTABLISHED:
        event.type = LINK_EVENT_ESTABLISHED;
        set_endpoints(&event, socket);
        break;
    case DIRTY_URGENT:
        event.type = LINK_EVENT_URGENT;
        event.data.stream_offset = socket_urgent_offset(socket);
        break;
    case DIRTY_FIN:
        event.type = LINK_EVENT_FIN;
        event.data.stream_offset = socket->received;
        break;
    case DIRTY_SOFT_ERROR:
        event.type = LINK_EVENT_ERROR;
        event.error = socket->extra != NULL ? socket->extra->soft_error : 0;
        break;
    case DIRTY_ERROR:
        event.type = LINK_EVENT_ERROR;
        event.flags = LINK_FLAG_FATAL;
        event.error = socket_error(socket);
        break;
    default:
        event.type = LINK_EVENT_SLOT_FREE;
        break;
    }
    return push(holder_channel(holder), &event);
}

static bool tell_bit(struct socket_holder *holder, uint16_t bit)
{
    switch (bit) {
    case DIRTY_ACCEPT:
        return tell_accept(holder);
    case DIRTY_DATA:
        return tell_data(holder);
    case DIRTY_SENT:
        return tell_sent(holder);
    default:
        return tell_simple(holder, bit);
    }
}

/**
 * Tell all that is dirty, in the order of the bits.
 * @param lazy  what can wait is told too.
 * @return false: no room for all.
 */
static bool tell(struct socket_holder *holder, bool lazy)
{
    /* FIN must not overtake payload that a copy in flight holds back. */
    bool held_back = holder->socket->copies_in_flight > 0;
    uint16_t keep = !lazy && sent_can_wait(holder) ? DIRTY_SENT : 0;
    while ((holder->dirty & ~keep) != 0) {
        uint16_t candidates = holder->dirty & (uint16_t)~keep;
        uint16_t bit = (uint16_t)(candidates & -candidates);
        if (held_back && (bit & (DIRTY_DATA | DIRTY_FIN | DIRTY_ERROR)) != 0) {
            keep |= bit;
            holder->socket->news_held_back = true;
            continue;
        }
        if (!tell_bit(holder, bit))
            return false;
        if (bit == DIRTY_SENT && !lazy) {
            /* Lazy news may lie in the ring of a sleeper: it does not count as known. */
            holder->told_sent = (uint32_t)socket_acked(holder->socket);
            holder->told_limit = holder->socket->send_limit;
        }
        holder->dirty &= (uint16_t)~bit;
    }
    return true;
}

static bool flush_replies(struct channel_core *channel)
{
    while (channel->reply_count > 0) {
        if (!push(channel, &channel->replies[channel->reply_first]))
            return false;
        channel->reply_first = (channel->reply_first + 1) % CHANNEL_REPLIES_MAX;
        channel->reply_count--;
    }
    return true;
}

/** @return false: its ring is full. */
static bool flush_channel(struct channel_core *channel)
{
    if (!flush_replies(channel))
        return false;
    struct socket_holder *holder;
    while ((holder = TAILQ_FIRST(&channel->pending)) != NULL) {
        if (!tell(holder, false))
            return false;
        bool slot_freed =
            holder->released && holder->socket->orphan && holder->socket->connection == NULL;
        dequeue(holder);
        if (holder->dirty == DIRTY_SENT)
            enqueue_lazy(holder);
        else if (slot_freed && holder->dirty == 0)
            socket_finish_if_orphan(holder->socket);
    }
    return true;
}

static void ring_doorbell(struct channel_core *channel)
{
    struct engine_core *core = channel->tenant->core;
    if (!channel->pushed)
        return;
    channel->pushed = false;
    if (!link_take_armed(&channel->to_host.feedback->armed))
        return;
    core->counters.doorbells++;
    (void)eventfd_write(channel->channel->doorbell_fd, 1);
}

/** Lazy news goes along without waking anybody. */
static void flush_lazy(struct channel_core *channel)
{
    struct engine_core *core = channel->tenant->core;
    struct socket_holder *holder;
    while ((holder = TAILQ_FIRST(&channel->lazy)) != NULL) {
        bool pushed_before = channel->pushed;
        if (!tell(holder, true)) {
            /* The ring is full: now it is worth a doorbell, as pending work. */
            dequeue(holder);
            enqueue_pending(holder);
            continue;
        }
        channel->pushed = pushed_before;
        dequeue(holder);
    }
    channel->is_lazy = false;
    TAILQ_REMOVE(&core->lazy_channels, channel, lazy_link);
}

bool notify_flush(struct engine_core *core)
{
    bool all = true;
    struct channel_core *channel, *next;
    while ((channel = TAILQ_FIRST(&core->lazy_channels)) != NULL &&
           core->now_ns - channel->lazy_since_ns >= NOTIFY_LAZY_NS)
        flush_lazy(channel);
    for (channel = TAILQ_FIRST(&core->told_channels); channel != NULL; channel = next) {
        next = TAILQ_NEXT(channel, told_link);
        bool done = flush_channel(channel);
        if (done) {
            channel->is_told = false;
            TAILQ_REMOVE(&core->told_channels, channel, told_link);
        } else {
            /* Whoever sleeps on a full ring has to be woken to make room in it. */
            channel->pushed = true;
            all = false;
        }
        ring_doorbell(channel);
    }
    return all;
}

uint64_t notify_next_deadline(const struct engine_core *core)
{
    const struct channel_core *channel = TAILQ_FIRST(&core->lazy_channels);
    return channel == NULL ? TIME_NEVER : channel->lazy_since_ns + NOTIFY_LAZY_NS;
}

/* ---- Replies -------------------------------------------------------------------------------- */

bool notify_reply_room(const struct channel_core *channel)
{
    return channel->reply_count + channel->fence_count < CHANNEL_REPLIES_MAX;
}

void notify_reply(struct channel_core *channel, const struct link_descriptor *reply)
{
    struct engine_core *core = channel->tenant->core;
    PNO_ASSERT(notify_reply_room(channel));
    unsigned place = (channel->reply_first + channel->reply_count) % CHANNEL_REPLIES_MAX;
    memcpy((void *)&channel->replies[place], reply, sizeof(*reply));
    channel->reply_count++;
    if (!channel->is_told) {
        channel->is_told = true;
        TAILQ_INSERT_TAIL(&core->told_channels, channel, told_link);
    }
}
