/**
 * @file not_offloaded.h
 * The sockets of programs under `pno run` that the kernel serves, and why: from the notes that
 * libpno.so keeps in those programs (hostlink/socket_notes.h), and from /proc for the rest. Needs
 * no pnod; sees the processes whose memory the caller may read, so for all of them root.
 */
#ifndef PNO_CLI_NOT_OFFLOADED_H
#define PNO_CLI_NOT_OFFLOADED_H

#include <jansson.h>

/**
 * List them.
 * @return an array of objects: "netid", "state", "family", "local", "remote", "processes" (with
 *         "fd"), "reason", "why", and "rule" for a reason that is one. NULL: no memory.
 */
json_t *not_offloaded_list(void);

#endif
