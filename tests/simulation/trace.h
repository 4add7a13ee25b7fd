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

/** One line to standard output, when tracing; what = "sent", "lost", "corrupted" … */
void trace_frame(const struct world *world, unsigned host, const char *what,
                 const struct frame *frame);

/** Any other line. */
void trace_note(const struct world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/** Text of an address; buffer of at least 48 bytes; returned. */
const char *trace_address(const struct ip_address *address, char *buffer, uint32_t bytes);

#endif
