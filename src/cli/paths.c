#include "paths.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hostlink/abi.h"

#define DEFAULT_LAB_SOCKET "/run/pno/pno.sock"

bool paths_own_folder(char folder[PATH_MAX])
{
    ssize_t length = readlink("/proc/self/exe", folder, PATH_MAX - 1);
    if (length <= 0) {
        return false;
    }
    folder[length] = '\0';
    char *slash = strrchr(folder, '/');
    if (slash == NULL) {
        return false;
    }
    *slash = '\0';
    return true;
}

/* The first of these places, relative to our own folder, that holds an accessible file. */
static bool find_relative(char path[PATH_MAX], const char *const places[], int mode)
{
    char folder[PATH_MAX];
    if (!paths_own_folder(folder)) {
        return false;
    }
    for (size_t i = 0; places[i] != NULL; i++) {
        char candidate[PATH_MAX];
        int length = snprintf(candidate, sizeof(candidate), "%s/%s", folder, places[i]);
        if (length < 0 || (size_t)length >= sizeof(candidate)) {
            continue;
        }
        if (access(candidate, mode) == 0 && realpath(candidate, path) != NULL) {
            return true;
        }
    }
    return false;
}

bool paths_find_pnod(char path[PATH_MAX])
{
    static const char *const places[] = {"../engine/pnod", "pnod", "../sbin/pnod", NULL};
    return find_relative(path, places, X_OK);
}

bool paths_find_wire(char path[PATH_MAX])
{
    static const char *const places[] = {"../wire/pno-wire", "pno-wire", "../libexec/pno/pno-wire",
                                         NULL};
    return find_relative(path, places, X_OK);
}

bool paths_find_libpno(char path[PATH_MAX])
{
    static const char *const places[] = {"../hostlib/libpno.so", PNO_INSTALLED_LIBPNO,
                                         "../lib/pno/libpno.so", "../lib/libpno.so", NULL};
    return find_relative(path, places, R_OK);
}

const char *paths_control_socket(const char *option)
{
    if (option != NULL && option[0] != '\0') {
        return option;
    }
    const char *environment = getenv("PNO_SOCKET");
    return environment != NULL && environment[0] != '\0' ? environment : LINK_SOCKET_PATH_DEFAULT;
}

const char *paths_absolute(const char *path, char space[PATH_MAX])
{
    char folder[PATH_MAX];
    if (path[0] == '/' || getcwd(folder, sizeof(folder)) == NULL) {
        return path;
    }
    int length = snprintf(space, PATH_MAX, "%s/%s", folder, path);
    return length > 0 && length < PATH_MAX ? space : path;
}

const char *paths_inspected_socket(const char *option)
{
    const char *path = paths_control_socket(option);
    if (strcmp(path, LINK_SOCKET_PATH_DEFAULT) == 0 && access(path, F_OK) != 0 &&
        access(DEFAULT_LAB_SOCKET, F_OK) == 0) {
        return DEFAULT_LAB_SOCKET;
    }
    return path;
}
