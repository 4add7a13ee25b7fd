/**
 * @file socket_options_own.h
 * What the files about socket options share, and what setsockopt() decides without a kernel socket.
 * See socket_options.c for the rest.
 */
#ifndef PNO_HOSTLIB_SOCKET_OPTIONS_OWN_H
#define PNO_HOSTLIB_SOCKET_OPTIONS_OWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "hostlink/abi.h"

struct socket;
struct socket_options;

/* Newer than many headers. */
#ifndef TCP_AO_REPAIR
#define TCP_AO_REPAIR 42
#endif

/** An option that means something to the engine. */
struct known_option {
    int level, name;
    uint8_t link_option;
    bool fast;               /* an accepted socket needs no shadow to check it */
    int32_t lowest, highest; /* fast ones: outside is EINVAL */
    bool truth;              /* any value but 0 is 1 */
};

/** @return NULL: none that acts on this socket. */
const struct known_option *socket_option_known(const struct socket *socket, int level, int name);

/** What TCP_CONGESTION calls them. */
extern const char *const socket_congestion_names[LINK_CONGESTION_COUNT];

/** The kernel socket that keeps the options nobody here knows. @return it; a negative errno. */
int socket_option_fd(struct socket *socket, int fd);

/** A connection that is over gives back a port that nobody bound. */
bool socket_option_lost_port(const struct socket *socket);

/** SO_REUSEADDR, SO_REUSEPORT or SO_OOBINLINE. @return false: name is none of these. */
bool socket_option_note_flag(struct socket_options *options, int name, bool on);

/** For accepted sockets. @return 0; negative errno; 1: not one that is kept here. */
int socket_option_set_own(struct socket *socket, int level, int name, const void *value,
                          socklen_t length);

/**
 * Whether the value asks for what only the kernel's stack does: a socket not offloaded yet stays
 * with the kernel then, another is refused.
 * @return 0: no; else the negative errno of a kernel that lacks the option.
 */
int socket_option_needs_kernel(int level, int name, const void *value, socklen_t length);

/** TCP's options that depend on the connection's state, which the kernel's socket does not know. */
int socket_option_judge_state(const struct socket *socket, int level, int name, const void *value,
                              socklen_t length);

#endif
