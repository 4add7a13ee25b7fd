/**
 * @file handover.h
 * Sockets and epoll sets that outlive an exec(): what the old program leaves and the new one finds.
 *
 * The kernel hands over descriptors; what they mean lies in a memfd beside them, named by the
 * environment variable PNO_HANDOVER, with connections to the engine that hold the sockets in
 * between. A program that can't load libpno.so gets none of this: see interpose_exec.c.
 */
#ifndef PNO_HOSTLIB_HANDOVER_H
#define PNO_HOSTLIB_HANDOVER_H

#include <stdbool.h>

#include "hostlib/engine_attach.h"

struct left_memory;

struct handover {
    struct engine_attachment *attachments; /**< one for each link */
    struct left_memory *memory;            /**< what memory_fd holds, shared with the heir */
    int memory_fd;                         /**< -1: nothing is handed over */
};

/** Whether fd stays open across exec() and is a TCP socket of the engine's. */
bool handover_includes(int fd);

/** Whether any descriptor that stays open across exec() refers to a TCP socket of ours. */
bool handover_is_needed(void);

/** Prepare for exec(). @return 0; a negative errno: nothing is prepared. */
int handover_prepare(struct handover *handover);

/** The exec() failed: go on as before. */
void handover_cancel(struct handover *handover);

/** At the start of a program: take what its predecessor left, if anything. */
void handover_adopt(void);

#define HANDOVER_VARIABLE "PNO_HANDOVER"

#endif
