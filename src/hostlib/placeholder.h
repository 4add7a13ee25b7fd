/**
 * @file placeholder.h
 * The kernel descriptors that stand for accepted connections: duplicates of one unconnected TCP
 * socket per family, the cheapest thing that is a socket to fstat() and to the kernel; or a socket
 * each, where the limit of descriptors has no room for the one to duplicate.
 */
#ifndef PNO_HOSTLIB_PLACEHOLDER_H
#define PNO_HOSTLIB_PLACEHOLDER_H

#include <stdbool.h>

struct lock;

/** The lowest free descriptor, as Linux's accept() would return. @return negative errno: EMFILE. */
int placeholder_open(bool is_v6, bool close_on_exec);

/** What fork() has to hold and its child to reset. */
struct lock *placeholder_fork_lock(void);

#endif
