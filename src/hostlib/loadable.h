/**
 * @file loadable.h
 * Whether a program would load libpno.so.
 */
#ifndef PNO_HOSTLIB_LOADABLE_H
#define PNO_HOSTLIB_LOADABLE_H

/** Where this library lies; "" if that is not known. */
const char *loadable_library_path(void);

enum loadable {
    LOADABLE_YES,
    LOADABLE_IGNORED, /**< statically linked, or gains privileges: its LD_PRELOAD does nothing */
    LOADABLE_REFUSED, /**< of another C library or architecture: its loader would not start it, or
                         complain, as long as LD_PRELOAD names us */
};

/** What the program behind an open descriptor, or the interpreter that its first line names, would
    do. LOADABLE_YES if that can't be told: exec() itself will say what is wrong. */
enum loadable loadable_by(int fd);

#endif
