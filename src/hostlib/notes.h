/**
 * @file notes.h
 * This process's notes on sockets that are not offloaded (hostlink/socket_notes.h). Their memory is
 * made with the first note; a program without such sockets has none.
 */
#ifndef PNO_HOSTLIB_NOTES_H
#define PNO_HOSTLIB_NOTES_H

#include <stdint.h>

#include "hostlink/socket_notes.h"

/** Note why fd is the kernel's. @param rule  counted from 1, for a reason that is a rule. */
void notes_set(int fd, enum socket_note_reason reason, uint32_t rule);

/** Another socket has this number: what was noted of an earlier one is no longer true. */
void notes_forget(int fd);

/** fd was accepted from `listener`: the kernel has it for the same reason. */
void notes_inherit(int fd, int listener);

#endif
