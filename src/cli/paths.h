/**
 * @file paths.h
 * Where PnO's other parts are: next to this binary in a build tree, or in the installed places.
 */
#ifndef PNO_CLI_PATHS_H
#define PNO_CLI_PATHS_H

#include <limits.h>
#include <stdbool.h>

/** The folder of the running `pno`, without a trailing slash. False if /proc is not there. */
bool paths_own_folder(char folder[PATH_MAX]);

/** The engine's binary; false if there is none. */
bool paths_find_pnod(char path[PATH_MAX]);

/** pno-wire, the impaired wire; false if there is none. */
bool paths_find_wire(char path[PATH_MAX]);

/** libpno.so, as an absolute path; false if there is none. */
bool paths_find_libpno(char path[PATH_MAX]);

/** The socket for a program to be served: `option` if given, else $PNO_SOCKET, else pnod's default;
    an empty one is as none. */
const char *paths_control_socket(const char *option);

/** The path as it is from any folder, where that can be told. @param space  for the result. */
const char *paths_absolute(const char *path, char space[PATH_MAX]);

/** For a look at an engine: as above, but the default lab's engine if there is no default pnod. */
const char *paths_inspected_socket(const char *option);

#endif
