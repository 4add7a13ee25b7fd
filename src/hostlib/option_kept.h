/**
 * @file option_kept.h
 * Options that only a kernel socket keeps, in the order in which a program set them: what a socket
 * from accept(), which has no kernel socket until one is needed, takes over from its listener.
 *
 * Lists are never changed and never freed, and equal ones are the same, so that sockets may share
 * them without counting. There are OPTION_KEPT_MAX entries in all; what does not fit is not taken
 * over.
 */
#ifndef PNO_HOSTLIB_OPTION_KEPT_H
#define PNO_HOSTLIB_OPTION_KEPT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define OPTION_KEPT_MAX         1024
#define OPTION_KEPT_BYTES_MAX   16 /**< of a value; longer ones are not kept */
#define OPTION_KEPT_ENTRIES_MAX 64 /**< of one list */

struct lock;

/** The last option that was set, and those before. NULL: none. */
struct option_kept {
    const struct option_kept *before;
    int32_t level, name;
    uint32_t length;
    uint32_t unused; /**< no padding: entries are compared as bytes */
    uint8_t value[OPTION_KEPT_BYTES_MAX];
};

/** Whether Linux gives it to accepted sockets as it was set, and it can be set again. */
bool option_kept_is_inherited(int level, int name);

/** The list with this option last, in place of an earlier value of it.
    @return `list` itself if it can't be kept. */
const struct option_kept *option_kept_add(const struct option_kept *list, int level, int name,
                                          const void *value, socklen_t length);

/** @return the entry of this option, NULL: there is none. */
const struct option_kept *option_kept_find(const struct option_kept *list, int level, int name);

/** Set all of them on a kernel socket, the oldest first. */
void option_kept_apply(const struct option_kept *list, int kernel_fd);

/** What fork() has to hold and its child to reset. */
struct lock *option_kept_fork_lock(void);

#endif
