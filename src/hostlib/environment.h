/**
 * @file environment.h
 * The environments of the programs that this one executes, and our own variables in this one's.
 *
 * A program started by `pno run` loads this library by LD_PRELOAD and finds pnod by PNO_ variables.
 * Programs that start others with an environment made anew (dovecot, env -i) know nothing of these:
 * they are added at exec(), listed in PNO_ADDED, and taken out again when the new program begins,
 * which so sees the environment that it was given.
 */
#ifndef PNO_HOSTLIB_ENVIRONMENT_H
#define PNO_HOSTLIB_ENVIRONMENT_H

#include <stdbool.h>
#include <stddef.h>

#include "hostlib/loadable.h"

/** A copy of an environment with variables added or taken away; in memory of its own, since a child
   of a threaded program must not allocate. */
struct environment {
    char **variables;
    size_t count;
    char *text;
    size_t text_left;
    size_t bytes;
};

/** At the program's beginning, before any of our variables is read. */
void environment_adopt(void);

/** One of our variables, as the program has it or had it at its beginning. @return NULL: in
 * neither. */
const char *environment_value(const char *name);

/** Whether such a program, given this, would not load us, and nobody chose that (an empty
   LD_PRELOAD says that nothing is to be loaded); or would not start for our sake. */
bool environment_is_to_change(char *const given[], enum loadable loadable);

/** A copy with what the program needs to load us and find pnod, as far as that is missing; of a
    program that can't load us, without us.
    @return false: no memory, errno is set. Else environment_release() gives it back. */
bool environment_begin(struct environment *environment, char *const given[],
                       enum loadable loadable);
void environment_release(struct environment *environment);

/** One more variable: there is room for two, of names and values of some 50 bytes. */
void environment_set(struct environment *environment, const char *name, const char *value);
#endif
