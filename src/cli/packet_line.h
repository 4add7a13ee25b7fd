/**
 * @file packet_line.h
 * One line for people about one Ethernet frame, in the manner of tcpdump. Not a dissector: TCP's
 * header in full words, of anything else who talks to whom.
 */
#ifndef PNO_CLI_PACKET_LINE_H
#define PNO_CLI_PACKET_LINE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/** Print a line, from the time to the newline. Trusts nothing in the frame. */
void packet_line_print(FILE *to, uint64_t time_ns, const uint8_t *frame, size_t bytes);

#endif
