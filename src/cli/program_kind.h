/**
 * @file program_kind.h
 * Whether libpno.so can be preloaded into a program. Reads the program's file; runs nothing.
 */
#ifndef PNO_CLI_PROGRAM_KIND_H
#define PNO_CLI_PROGRAM_KIND_H

#include <stdbool.h>

/**
 * Why a program's TCP will stay with the kernel.
 *
 * @param program  a path, or a name to be found along PATH; for a script, its interpreter counts.
 * @param refuses  set to whether its dynamic loader would not start it, or complain, if LD_PRELOAD
 *                 named libpno.so; otherwise what it starts itself may yet be offloaded.
 * @return         a phrase such as "it is statically linked", or NULL if nothing speaks against it
 *                 (also if the program can't be read: then exec decides).
 */
const char *program_kind_obstacle(const char *program, bool *refuses);

#endif
