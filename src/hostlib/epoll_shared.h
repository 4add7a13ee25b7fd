/**
 * @file epoll_shared.h
 * What the processes that share an epoll set, after a fork or since it was sent, agree on: which
 * offloaded sockets are in it, what is asked of each, and which edges and one-shot events one of
 * them has collected. Memory that all map, an entry per slot of the link. Each process keeps items
 * of its own, which it makes follow this (epoll.c).
 *
 * A socket is in it by one descriptor. What only one of the processes has, no other sees events of.
 */
#ifndef PNO_HOSTLIB_EPOLL_SHARED_H
#define PNO_HOSTLIB_EPOLL_SHARED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "hostlink/abi.h"

struct engine_link;
struct epoll_shared;
struct socket;

/** How far a socket has come. The same in every process, sooner or later. */
struct epoll_progress {
    uint64_t received;     /**< bytes and FIN: later is more */
    uint32_t space_wanted; /**< how often it was seen not writable */
    uint32_t connections;  /**< of a listener: that have come */
};

struct epoll_shared_entry {
    uint32_t incarnation; /**< of the slot; 0: nothing is there */
    int32_t fd;           /**< by which it was added */
    uint32_t events;      /**< EPOLL*; a one-shot entry that has fired has no events left */
    uint32_t told_events; /**< collected last, since it was added or modified; 0: none */
    epoll_data_t data;
    struct epoll_progress told; /**< valid with told_events */
};

/** @return NULL: no memory, or no descriptor. */
struct epoll_shared *epoll_shared_make(struct engine_link *link);

/** What to send, for another to join. */
struct epoll_shared_parts {
    const uint8_t *tenant_token; /**< of the link, which a receiver may not have yet */
    int memory_fd, bell_fd;      /**< memory_fd -1: there is nothing to join */
};
struct epoll_shared_parts epoll_shared_parts_of(const struct epoll_shared *shared);

/** What another process has made; the descriptors stay the caller's. NULL: no memory, or that is no
    such thing. */
struct epoll_shared *epoll_shared_join(const struct epoll_shared_parts *parts);

/** In a forked child: hear the bell by itself. Without a descriptor left for that, it does not. */
void epoll_shared_fork_child(struct epoll_shared *shared);

/** This process is done with it. */
void epoll_shared_leave(struct epoll_shared *shared);

/** Whether entries of the socket can be in it. */
bool epoll_shared_takes(struct epoll_shared *shared, const struct socket *socket);

/** The socket was added, or what is asked of it modified.
    @return false: the entry is by another of its descriptors. */
bool epoll_shared_put(struct epoll_shared *shared, const struct socket *socket, int fd,
                      const struct epoll_event *event);

/** The socket was removed. */
void epoll_shared_remove(struct epoll_shared *shared, const struct socket *socket, int fd);

/**
 * Look at the socket's entry, and change it, with the table locked; epoll_shared_release() follows.
 * @return NULL: it was removed, or is by another descriptor.
 */
struct epoll_shared_entry *epoll_shared_hold(struct epoll_shared *shared,
                                             const struct socket *socket, int fd);
void epoll_shared_release(struct epoll_shared *shared);

struct epoll_progress epoll_progress_of(const struct socket *socket);

/** Whether an edge-triggered entry has something to tell that none of the processes has told.
    @param progress  as it was before `mask` was looked at. */
bool epoll_shared_is_news(const struct epoll_shared_entry *entry,
                          const struct epoll_progress *progress, uint32_t mask);

/** Note that it is told. */
void epoll_shared_tell(struct epoll_shared_entry *entry, const struct epoll_progress *progress,
                       uint32_t mask);

/**
 * What others have changed since the last look, one at a time.
 * @return false: no more. Else *socket is this process's one whose entry may have changed, with a
 *         reference; NULL: it has none. *entry is a copy; incarnation 0: removed.
 */
bool epoll_shared_next_change(struct epoll_shared *shared, struct socket **socket,
                              struct epoll_shared_entry *entry);

/** What is asked of a socket that has come here just now. @return false: nothing. */
bool epoll_shared_look_up(struct epoll_shared *shared, const struct socket *socket,
                          struct epoll_shared_entry *entry);

/** Whether there may be such changes. */
bool epoll_shared_has_changed(const struct epoll_shared *shared);

/** Around sleeps, each after a look at what has changed: the descriptor is readable when another
    process has changed something, until this one silences it. */
void epoll_shared_begin_sleep(struct epoll_shared *shared);
void epoll_shared_end_sleep(struct epoll_shared *shared);
int epoll_shared_bell(const struct epoll_shared *shared);
void epoll_shared_silence(struct epoll_shared *shared);

#endif
