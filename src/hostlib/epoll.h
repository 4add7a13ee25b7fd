/**
 * @file epoll.h
 * epoll sets that hold offloaded sockets beside kernel descriptors. The application's real epoll
 * descriptor holds the kernel's descriptors only, so that it works on in forked children and under
 * poll(); what is ready among offloaded sockets is on our own list, as in Linux's fs/eventpoll.c,
 * whose rules for level, edge and one-shot triggering are followed.
 */
#ifndef PNO_HOSTLIB_EPOLL_H
#define PNO_HOSTLIB_EPOLL_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "hostlib/fd_table.h"
#include "hostlib/waiter.h"

struct lock;

struct engine_link;
struct socket;
struct epoll_set;
struct epoll_shared;
struct epoll_shared_parts;

/** One entry of a set, as it is told to who goes on with the set (handover.h). */
struct epoll_entry {
    struct epoll_set *set;
    struct file *file; /**< a socket, or another set */
    int fd;            /**< by which it was added */
    uint32_t events;
    epoll_data_t data;
    bool in_kernel; /**< the kernel's set has it too; stays so while the descriptor is open */
    bool is_ready;  /**< its event was not collected yet */
};

/** Know an epoll descriptor just made. @return false: no memory. */
bool epoll_register(int fd);

/** The set behind fd, with a reference; NULL: it is none. */
struct epoll_set *epoll_get(int fd);

/** A set that came here with its kernel descriptor, still without entries. NULL: no memory. */
struct epoll_set *epoll_adopt(int fd);

/** The number by which it can be reached. */
void epoll_note_descriptor(struct epoll_set *set, int fd);

/** Call `visit` for each entry that refers to `file`. The epoll lock is held (epoll_fork_lock()).
 */
void epoll_visit_entries(struct file *file,
                         void (*visit)(void *context, const struct epoll_entry *entry),
                         void *context);

/** Add an entry that another process or program had; it is ready if it was, or if what it waits for
    is there and told whenever it is (level-triggered). @param happened  or if this is set. */
void epoll_restore_entry(const struct epoll_entry *entry, bool happened);

/** Last reference gone. */
void epoll_destroy(struct epoll_set *set);

/** epoll_ctl() for a descriptor that is a TCP socket of ours or an epoll set. @return 0 or negative
    errno. */
int epoll_control(struct epoll_set *set, int epoll_fd, int operation, int fd, struct file *file,
                  struct epoll_event *event);

/** A kernel descriptor was added or removed by the kernel's epoll_ctl(). */
void epoll_count_kernel(struct epoll_set *set, int change);

/** epoll_wait() and its family. @return events, or negative errno. */
int epoll_wait_for_events(struct epoll_set *set, int epoll_fd, struct epoll_event *events,
                          int max_events, const struct timespec *timeout, const sigset_t *mask);

/** Something happened to a socket in some set; socket's lock held. key: EPOLL* bits; all ones wakes
    whatever is waited for. */
void epoll_socket_event(struct socket *socket, uint32_t key);

/** The socket went over from the kernel to the engine or back: register it where it belongs. */
void epoll_socket_moved(struct socket *socket);

/** The socket's last descriptor is gone: it leaves all sets. */
void epoll_forget_socket(struct socket *socket);

/** For poll(): whether an offloaded socket in the set is ready. */
bool epoll_is_ready(struct epoll_set *set);

/** The queue to wait on for that. */
struct wait_queue *epoll_pollers(struct epoll_set *set);

/** What processes share of it; NULL: it is this one's alone. */
struct epoll_shared *epoll_shared_of(struct epoll_set *set);

/** Share the set, which is to be sent, if it can be. @return what goes along; memory_fd -1: nothing
    does. */
struct epoll_shared_parts epoll_share_out(struct epoll_set *set, struct engine_link *link);

/** This process's set which shares that memory, with a reference; NULL: none. */
struct epoll_set *epoll_find_shared(int memory_fd);

/** A set that came here by descriptor fd, with what is shared of it. NULL: no memory, or that is
    wrong. */
struct epoll_set *epoll_adopt_shared(int fd, const struct epoll_shared_parts *parts);

/** The socket was sent here: it may be in sets that came before. */
void epoll_socket_came(struct socket *socket);

/** Before a fork: what is in the sets is from now on in them for all processes that have them. */
void epoll_share_sets(void);

/** In a forked child. */
void epoll_fork_child(void);

/** What fork() has to hold and its child to reset. */
struct lock *epoll_fork_lock(void);

#endif
