/**
 * @file tool.h
 * Run another program to its end and learn why it failed. For the few system tools (ip, ethtool)
 * that the lab is built with; no shell is involved.
 */
#ifndef PNO_CLI_TOOL_H
#define PNO_CLI_TOOL_H

#include <stdbool.h>
#include <stddef.h>

/**
 * Run a command line of words separated by single spaces, no quoting, and wait for it.
 *
 * @param message  on failure, the command and the first line it wrote to standard error.
 */
__attribute__((format(printf, 3, 4))) bool tool_run(char *message, size_t message_size,
                                                    const char *format, ...);

#endif
