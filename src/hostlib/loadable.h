/**
 * @file loadable.h
 * Whether a program would load libpno.so: not a statically linked one, nor one that gains
 * privileges, for which the dynamic loader ignores LD_PRELOAD.
 */
#ifndef PNO_HOSTLIB_LOADABLE_H
#define PNO_HOSTLIB_LOADABLE_H

#include <stdbool.h>

/** Where this library lies; "" if that is not known. */
const char *loadable_library_path(void);

/** Whether the program behind an open descriptor, or the interpreter that its first line names,
    would load us. True if that can't be told: exec() itself will say what is wrong. */
bool loadable_by(int fd);

#endif
