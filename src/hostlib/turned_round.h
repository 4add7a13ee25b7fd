/**
 * @file turned_round.h
 * Linux's loopback delivers within the call that sends; the engine does so a little later. Under
 * PNO_LOOPBACK=1 a call that sends or ends notes that something is on its way to another socket of
 * the engine, and whoever could see that it has not arrived waits for it first: any thread, of any
 * process that shares the tenant's memory. What others could be told of by other means than its
 * sockets (a pipe, a datagram) the process waits for before it tells.
 */
#ifndef PNO_HOSTLIB_TURNED_ROUND_H
#define PNO_HOSTLIB_TURNED_ROUND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "hostlib/policy.h"
#include "hostlink/abi.h"

struct engine_link;

/** In the memory that a tenant's processes share; all zero at first. By engine core. */
struct turned_round {
    /** How often something was on its way (upper half, which wraps round), and by whom since all
        had arrived: a socket's slot + 1, or TURNED_BY_SEVERAL. */
    _Atomic uint64_t noted[LINK_CORES_MAX];
    _Atomic uint32_t arrived[LINK_CORES_MAX]; /**< of these: all up to that one */
    _Atomic uint32_t ended[LINK_CORES_MAX];   /**< of these: the last that others' sends wait for */
};

#define TURNED_BY_NONE    0u
#define TURNED_BY_SEVERAL UINT32_MAX

/** How turned_round_note() and turned_round_settle() call a socket. */
static inline uint32_t turned_by(const struct link_socket_name *name)
{
    return name->slot + 1;
}

/** After pushing: what socket `by` has told this core is on its way. */
void turned_round_note(struct engine_link *link, unsigned core, uint32_t by);

/** The same of an end (close(), shutdown(), what is sent after the peer's end): whoever sends next,
    on any socket, might be told of it. */
void turned_round_note_end(struct engine_link *link, unsigned core);

/** How often it was noted so far: before a fence is pushed, for turned_round_arrived() after it. */
uint32_t turned_round_count(const struct engine_link *link, unsigned core);
void turned_round_arrived(struct engine_link *link, unsigned core, uint32_t count);

/** Wait for all that is on its way, unless only socket `except` sent (TURNED_BY_NONE: none is
    excepted): for callers that have found PNO_LOOPBACK=1. */
void turned_round_wait(struct engine_link *link, uint32_t except);

/** As above where it may matter. No lock held; link may be NULL. */
static inline void turned_round_settle(struct engine_link *link, uint32_t except)
{
    if (__builtin_expect(policy_offloads_loopback(), 0) && link != NULL)
        turned_round_wait(link, except);
}

/** Wait for the ends that are on their way: before a call that sends. As turned_round_wait(). */
void turned_round_wait_for_ends(struct engine_link *link);

static inline void turned_round_settle_ends(struct engine_link *link)
{
    if (__builtin_expect(policy_offloads_loopback(), 0) && link != NULL)
        turned_round_wait_for_ends(link);
}

/** turned_round_settle() on all links that this process has. */
void turned_round_wait_all(void);

static inline void turned_round_settle_all(void)
{
    if (__builtin_expect(policy_offloads_loopback(), 0))
        turned_round_wait_all();
}

/** Something that this process sent may be on its way. */
extern _Atomic bool turned_round_any;

/** Before a call by which others may learn, past the engine, that this process has sent. */
static inline void turned_round_before_telling(void)
{
    if (__builtin_expect(atomic_load_explicit(&turned_round_any, memory_order_relaxed), 0))
        turned_round_wait_all();
}

/** turned_round_wait_all() unless `fd` is a regular file. errno stays. */
void turned_round_wait_unless_file(int fd);

/** turned_round_before_telling() where the call writes to the kernel's `fd` or closes it. A regular
    file tells nobody of itself, and servers write logs, or close what they have sent, after each
    answer. */
static inline void turned_round_before_telling_by(int fd)
{
    if (__builtin_expect(atomic_load_explicit(&turned_round_any, memory_order_relaxed), 0))
        turned_round_wait_unless_file(fd);
}

#endif
