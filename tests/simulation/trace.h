/**
 * @file trace.h
 * Frames as people read them, in the manner of tcpdump; for --trace.
 */
#ifndef PNO_SIMULATION_TRACE_H
#define PNO_SIMULATION_TRACE_H

#include <stdint.h>

#include "base/ip_address.h"

struct world;
struct frame;
struct tcp_connection;

/** One line to standard output, when tracing; what = "sent", "lost", "corrupted" … */
void trace_frame(struct world *world, unsigned host, const char *what, const struct frame *frame);

/** Any other line. */
void trace_note(const struct world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/** What a run did, as one number: mixes in a connection as it is when told an event's bits. Frames
    mix themselves in as they are traced. */
void trace_digest_event(struct world *world, unsigned host, const struct tcp_connection *connection,
                        uint32_t bits);

/** Text of an address; buffer of at least 48 bytes; returned. */
const char *trace_address(const struct ip_address *address, char *buffer, uint32_t bytes);

#endif
