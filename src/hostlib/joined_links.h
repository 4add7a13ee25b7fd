/**
 * @file joined_links.h
 * Links to other applications' memory at the engine, for sockets that they have sent us
 * (passing.h). A process makes its own sockets over its one link (engine_link_current()); these are
 * beside it, few and rare, so nothing here costs anything as long as there is none.
 *
 * All of them are slept on by one epoll descriptor. A joined link is given up when another is
 * joined and none of its sockets is left; its mappings stay, since other threads may be looking.
 */
#ifndef PNO_HOSTLIB_JOINED_LINKS_H
#define PNO_HOSTLIB_JOINED_LINKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "hostlib/engine_link.h"

#define JOINED_LINKS_MAX 64

struct engine_attachment;

/** Slots used so far; the links in them may be NULL or dead. */
extern _Atomic unsigned joined_links_count;
extern struct engine_link *_Atomic joined_links[JOINED_LINKS_MAX];

static inline bool joined_links_any(void)
{
    return __builtin_expect(atomic_load_explicit(&joined_links_count, memory_order_acquire) != 0,
                            0);
}

/** The living link to this tenant. NULL: none. */
struct engine_link *joined_links_find(const uint8_t tenant_token[16]);

/** As engine_link_join(), beside the link that there is. @return false: refused, or too many. */
bool joined_links_join(int ticket_fd, const uint8_t tenant_token[16], uint32_t ticket_process,
                       void (*adopt)(struct engine_link *link, void *context), void *context);

/** At the start of a program: take over a link that the one before exec() had joined.
    @return NULL: it is of no use. */
struct engine_link *joined_links_adopt(struct engine_attachment *attachment);

/** engine_link_poll() on all. */
void joined_links_poll(void);

/** engine_link_poll() on all and on this process's own link, whichever there are.
    @return the own link; NULL: none. */
static inline struct engine_link *links_poll_all(void)
{
    struct engine_link *link = engine_link_current();
    if (link != NULL)
        engine_link_poll(link);
    if (joined_links_any())
        joined_links_poll();
    return link;
}

/** turned_round_wait() on all. */
void joined_links_settle(void);

/** Tell their engine what has been read. */
void joined_links_flush(void);

/** engine_link_arm() on all. @return false: events are there, nothing is armed. */
bool joined_links_arm(void);

/** engine_link_disarm() on all; if `rung`, their doorbells are reset and the dead buried. */
void joined_links_disarm(bool rung);

/** Readable when a doorbell rings or an engine ends; -1: nothing to sleep on. */
int joined_links_wake_fd(void);

/** In a forked child, once its links have their own descriptors: sleep on these. */
void joined_links_fork_child(void);

#endif
