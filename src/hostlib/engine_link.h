/**
 * @file engine_link.h
 * The process's link to the engine: attached when the first TCP socket needs it, one channel of
 * rings, pushed to by any thread, drained by whoever looks for events. What the events do to
 * sockets is in socket_events.c; who sleeps on the doorbell in waiter.c.
 *
 * A dead engine's link stays mapped, since unread payload lies in its arena; a new one is attached
 * when a restarted engine is found.
 */
#ifndef PNO_HOSTLIB_ENGINE_LINK_H
#define PNO_HOSTLIB_ENGINE_LINK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "hostlib/lock.h"
#include "hostlib/overflow.h"
#include "hostlib/send_queue.h"
#include "hostlib/turned_round.h"
#include "hostlib/waiter.h"
#include "hostlink/abi.h"
#include "hostlink/ring.h"

struct engine_attachment;
struct socket;

/** Host slots not in use, and what is on its way between sockets; in the arena, since all processes
    of the tenant share it. */
struct host_slots {
    struct lock lock;
    uint32_t free_count; /**< of engine_link.free_slots */
    uint32_t next_fresh;
    struct turned_round turned;
};

struct engine_link {
    int control_fd;
    int doorbell_fd;                        /**< ours: read by us */
    int engine_doorbell_fd[LINK_CORES_MAX]; /**< the engine's: written by us */
    uint8_t *arena;
    uint8_t *window;
    struct link_arena_header *header;
    struct link_hello_reply hello;
    _Atomic bool dead;
    bool is_by_ticket; /**< see struct engine_attachment */

    struct lock consume_lock; /**< consumers, and so the order of events */
    struct link_consumer consumers[LINK_CORES_MAX];
    struct lock produce_lock; /**< producers */
    struct link_producer producers[LINK_CORES_MAX];
    struct overflow overflows[LINK_CORES_MAX]; /**< what their rings had no room for */
    _Atomic bool overflowing;                  /**< any of them holds something */
    _Atomic uint32_t *armed[LINK_CORES_MAX];   /**< ours, in the window: written by us */

    struct socket *_Atomic *slots; /**< by slot; NULL: not ours */
    _Atomic uint32_t slots_high;   /**< none of ours at or above */

    /* In the host region, inherited by forked processes. */
    struct host_slots *shared;
    uint32_t *incarnations;   /**< by host slot */
    uint32_t *free_slots;     /**< stack */
    _Atomic uint32_t *claims; /**< by slot: the incarnation that some process accepted */
    _Atomic uint32_t *wakes;  /**< likewise: for which some process woke an exclusive waiter */
    uint8_t *blocks;          /**< by slot: struct socket_block */
    struct send_memory send_memory;

    struct lock reply_lock;
    struct pending_reply *replies;
    uint32_t next_request_id;
    struct wait_queue reply_waiters;

    struct engine_attachment *heir; /**< during a fork: what the child will have; NULL: none */

    struct lock unread_lock;
    struct socket *unread_first; /**< sockets with bytes read but not told */
    _Atomic uint64_t checked_alive_ns;
};

/** An operation that awaits LINK_EVENT_REPLY. */
struct pending_reply {
    struct pending_reply *next;
    uint32_t request_id;
    _Atomic bool done;
    struct link_descriptor answer;
};

/** The link of the living engine, attaching if there is none yet (at most once a second).
    @return NULL: no engine. */
struct engine_link *engine_link_attach(void);

/** As above, however lately one was looked for. */
struct engine_link *engine_link_attach_now(void);

/** At the start of a program: take over the link that the one before exec() left. As above. */
struct engine_link *engine_link_adopt(struct engine_attachment *attachment);

/**
 * Join the tenant that a ticket is of, while there is no link. `adopt` is called before any event
 * can be applied. @return NULL: refused, or there is a link.
 */
struct engine_link *engine_link_join(int ticket_fd, const uint8_t tenant_token[16],
                                     uint32_t ticket_process,
                                     void (*adopt)(struct engine_link *link, void *context),
                                     void *context);

extern struct engine_link *_Atomic engine_link_present;

/** The link if there is a living one; never attaches. */
static inline struct engine_link *engine_link_current(void)
{
    return atomic_load_explicit(&engine_link_present, memory_order_acquire);
}

/**
 * Push one operation to an engine core, and ring if it sleeps. Never waits: without room it goes
 * with the next call that pushes, drains or sleeps. Lost without a word when the engine is dead.
 */
void engine_link_push(struct engine_link *link, unsigned core,
                      const struct link_descriptor *descriptor);

/**
 * Push an operation and wait for its answer (not interruptible: engines answer at once). With
 * PNO_LOOPBACK=1 only when what is on its way has come: it may be in the operation's way.
 * @return 0 and *answer, whose error the caller looks at; -ECONNRESET: the engine died.
 */
int engine_link_call(struct engine_link *link, unsigned core, struct link_descriptor *descriptor,
                     struct link_descriptor *answer);

/** As above, and then, by the same sleep, as engine_link_fence() waits. */
int engine_link_call_fenced(struct engine_link *link, unsigned core,
                            struct link_descriptor *descriptor, struct link_descriptor *answer);

/**
 * Wait until all that operations to this core, of any process of the tenant's, caused so far among
 * the engine's own sockets is done and told: as long as that takes, but a second at most.
 */
void engine_link_fence(struct engine_link *link, unsigned core);

/** For calls that may block: wait until everything pushed is in its ring, or the engine is dead. */
void engine_link_wait_for_room(struct engine_link *link);

/** Move what had no room into the rings, as far as there is room now. */
void engine_link_push_overflow(struct engine_link *link);

/** Apply all events that have come. @return whether there were any. */
bool engine_link_drain(struct engine_link *link);

/** True when no event is waiting. A hint unless armed. */
static inline bool engine_link_empty(const struct engine_link *link)
{
    for (unsigned core = 0; core < link->hello.engine_cores; core++) {
        if (!link_consumer_empty(&link->consumers[core]))
            return false;
    }
    return true;
}

/** Drain if there is anything to drain, and push what had no room. */
static inline void engine_link_poll(struct engine_link *link)
{
    if (!engine_link_empty(link))
        engine_link_drain(link);
    if (__builtin_expect(atomic_load_explicit(&link->overflowing, memory_order_relaxed), 0))
        engine_link_push_overflow(link);
}

/** Before sleeping on the doorbell. @return false: events are there, nothing is armed. */
bool engine_link_arm(struct engine_link *link);

/** After sleeping. @param rung  the doorbell was readable: reset it. */
void engine_link_disarm(struct engine_link *link, bool rung);

/** Tell the engine what has been read since it was last told, and push what had no room. */
void engine_link_flush(struct engine_link *link);

/** List a socket whose reading is to be told by engine_link_flush(). */
void engine_link_list_unread(struct engine_link *link, struct socket *socket);
void engine_link_unlist_unread(struct engine_link *link, struct socket *socket);

/** LINK_EVENT_REPLY. */
void engine_link_reply_arrived(struct engine_link *link, const struct link_descriptor *descriptor);

/** What fork() has to hold and its child to reset. */
struct lock *engine_link_fork_lock(void);

/** Wait, briefly, until the engine has taken all that was pushed: before a fork or the end of the
    process, which it learns by another way. */
void engine_link_settle(struct engine_link *link);

/** The control connection ended: reset every socket, wake everybody. Idempotent. */
void engine_link_died(struct engine_link *link);

/** For programs that never sleep: look at intervals whether the engine lives. */
void engine_link_check_alive(struct engine_link *link, uint64_t now_ns);

/** From now on events of this slot are the socket's. */
void engine_link_slot_set(struct engine_link *link, uint32_t slot, struct socket *socket);

/** Take a host slot and its next incarnation. @return false: none free. */
bool engine_link_slot_allocate(struct engine_link *link, struct link_socket_name *name);

/** The engine is done with a socket: free what chunks it left, and its slot if that is ours. */
void engine_link_slot_free(struct engine_link *link, const struct link_socket_name *name);

#endif
