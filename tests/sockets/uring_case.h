/**
 * @file uring_case.h
 * Rings of io_uring, for the cases about them: making one, two operations, and what is said of a
 * completion. Needs case.h and liburing.
 */
#ifndef PNO_TESTS_SOCKETS_URING_CASE_H
#define PNO_TESTS_SOCKETS_URING_CASE_H

#include <liburing.h>
#include <stdbool.h>

#define RING_ENTRIES 32

struct __kernel_timespec milliseconds(long count);

/** @param flags  IORING_SETUP_*. @return whether there is one; else it is told why not. */
bool open_ring(struct io_uring *ring, unsigned flags);

/** An entry whose completion will be told under a name. */
struct io_uring_sqe *entry(struct io_uring *ring, const char *name);

/** Likewise, of an entry that liburing has filled since. */
void name_entry(struct io_uring_sqe *sqe, const char *name);

/** Wait for and tell one completion. @return its result. */
int complete(struct io_uring *ring);

/** Likewise of one that makes a descriptor: these differ between stacks. @return it; -1. */
int complete_descriptor(struct io_uring *ring);

/** Tell whether there is a completion by now. */
void nothing_yet(struct io_uring *ring);

/** The entry of a recv(). */
void receive(struct io_uring *ring, const char *name, int fd, void *bytes, unsigned count,
             int flags);

/** The entry of a send(). */
void transmit(struct io_uring *ring, const char *name, int fd, const void *bytes, unsigned count,
              int flags);

#endif
