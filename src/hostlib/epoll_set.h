/**
 * @file epoll_set.h
 * Epoll sets from within: for epoll.c and epoll_follow.c alone.
 */
#ifndef PNO_HOSTLIB_EPOLL_SET_H
#define PNO_HOSTLIB_EPOLL_SET_H

#include "hostlib/epoll.h"
#include "hostlib/epoll_shared.h"
#include "hostlib/lock.h"

/** Bits of epoll_event.events that are no events. */
#define EPOLL_MODE_BITS ((uint32_t)(EPOLLET | EPOLLONESHOT | EPOLLWAKEUP | EPOLLEXCLUSIVE))

struct epoll_item {
    struct epoll_item *next_of_file, **link_of_file;
    struct epoll_item *ready_next, **ready_link; /* ready_link NULL: not on the list */
    struct epoll_item *next_merged;
    struct epoll_item *next_displaced;
    struct epoll_set *set;
    struct file *file; /* a socket, or another set */
    int fd;
    uint32_t events; /* what is asked for, with ALWAYS_REPORTED and MODE_BITS */
    epoll_data_t data;
    bool in_kernel;   /* the kernel's set has it (not offloaded), or has it too (then merged) */
    bool merged;      /* both look at it, and what they say becomes one event; MERGED_MARK */
    bool kernel_said; /* merged: the kernel has reported it */
    bool shared;      /* it follows its entry in set->shared */
};

struct epoll_set {
    struct file file;          /* first */
    struct epoll_item *items;  /* of sets that this one is in */
    struct epoll_item *merged; /* by next_merged */
    int fd;                    /* the descriptor last used for it */
    /* Descriptors added to the kernel's set; closed ones may stay counted. */
    _Atomic int kernel_count;
    int native_waiters;
    _Atomic int kick_fd; /* makes a thread that waits in the kernel alone come back; -1: none */
    uint32_t by_fd_count;
    struct epoll_item **by_fd;
    struct epoll_item *displaced; /* their number came to mean another file; by next_displaced */
    struct epoll_item *ready_first, **ready_end;
    struct wait_queue waiters; /* in epoll_wait(): one of them is woken */
    struct wait_queue pollers; /* in poll() and select(): all are */
    _Atomic uint64_t kernel_looked_ns;
    struct epoll_shared *_Atomic shared; /* with other processes; NULL: it is this one's alone */
};

/** Guards all sets' items and lists, and is held for all functions below but those of following.
    Taken after a socket's lock. */
extern struct lock epoll_lock;

/** @return NULL: no memory. */
struct epoll_item *epoll_item_new(struct epoll_set *set, int fd, struct file *file,
                                  const struct epoll_event *event);
void epoll_item_free(struct epoll_item *item);

/** NULL: none. */
struct epoll_item *epoll_item_find(struct epoll_set *set, int fd, const struct file *file);

/** Put it on the list of what is ready if it is. */
void epoll_item_look(struct epoll_item *item);

void epoll_item_set_merged(struct epoll_item *item, bool merged);

/** Whether both the kernel's set and ours look at it. */
bool epoll_belongs_in_both(const struct file *file);

/** A thread that waits in the kernel alone would not see offloaded sockets: make it come back. */
void epoll_kick_native_waiters(struct epoll_set *set);

/* ---- Sets that processes share (epoll_follow.c) ---- */

/** The item was added, or modified: tell the other processes. */
void epoll_item_publish(struct epoll_item *item);

/** The application has removed it. */
void epoll_item_withdraw(struct epoll_item *item);

/** Do what other processes did to the set. No lock held. */
void epoll_follow(struct epoll_set *set);

/** What an item of a shared set reports now, which then counts as told for all its processes.
    @param poll  tells what the item would report by itself. */
uint32_t epoll_item_claim(struct epoll_item *item, uint32_t (*poll)(struct epoll_item *item));

/** As above, and nothing is told. */
uint32_t epoll_item_peek(struct epoll_item *item, uint32_t (*poll)(struct epoll_item *item));

#endif
