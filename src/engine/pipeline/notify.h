/**
 * @file notify.h
 * The last stages towards the host: what the stack reports is merged per socket and holder
 * (dirty bits and offsets), then told through the rings as there is room, then doorbells ring.
 *
 * Whoever finds a ring full leaves the work where it is; it merges with what comes and goes out
 * when credit returns. SENT alone is not worth waking anybody unless the host may be waiting for
 * room: it is told lazily, with other news or after NOTIFY_LAZY_NS.
 */
#ifndef PNO_ENGINE_PIPELINE_NOTIFY_H
#define PNO_ENGINE_PIPELINE_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/time_units.h"
#include "engine/socket.h"

struct engine_core;

/** How long a SENT that nobody waits for may stay untold. */
#define NOTIFY_LAZY_NS (1 * NS_PER_MS)

/** The holder has something to be told: enum dirty_bit. */
void notify_holder(struct socket_holder *holder, uint16_t dirty);

/** All who hold the socket. */
void notify_socket(struct engine_socket *socket, uint16_t dirty);

/** The socket has sent more, or ended its stream: a SENT that could wait may be awaited now. */
void notify_reconsider(struct engine_socket *socket);

/** Take the holder out of its queue, e.g. because it goes away. */
void notify_forget(struct socket_holder *holder);

/** The holder is told through this channel from now on. */
void notify_move(struct socket_holder *holder, struct channel_core *channel);

/** Answer a request; only after notify_reply_room(). */
void notify_reply(struct channel_core *channel, const struct link_descriptor *reply);
bool notify_reply_room(const struct channel_core *channel);

/** The channel goes away. */
void notify_forget_channel(struct channel_core *channel);

/** Push what can be pushed, ring the doorbells of who sleeps. @return false: some ring is full. */
bool notify_flush(struct engine_core *core);

/** When a lazy SENT is due; TIME_NEVER: there is none. */
uint64_t notify_next_deadline(const struct engine_core *core);

#endif
