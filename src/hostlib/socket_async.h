/**
 * @file socket_async.h
 * SIGIO and SIGURG of offloaded sockets: O_ASYNC, F_SETOWN, F_SETSIG and their relatives, by
 * Linux's rules of which event sends what (net/socket.c, sock_wake_async(); fs/fcntl.c,
 * send_sigio()).
 *
 * Events come by the ring, which nobody looks at while the program does something else; so there is
 * a thread that waits for them, made when a socket first gets an owner, all its signals blocked.
 *
 * What several processes share after fork, each signals for itself if it is the owner; for an owner
 * without the library, the process that named it does.
 */
#ifndef PNO_HOSTLIB_SOCKET_ASYNC_H
#define PNO_HOSTLIB_SOCKET_ASYNC_H

#include <fcntl.h>
#include <stdbool.h>
#include <sys/types.h>

struct socket;

struct socket_async {
    struct f_owner_ex owner;  /**< pid 0: nobody */
    pid_t named_by;           /**< the process that set it */
    int signal;               /**< F_SETSIG; 0: SIGIO without further word */
    int fd;                   /**< O_ASYNC was set by this number */
    int flags;                /**< O_ASYNC, and of accepted sockets what else F_SETFL keeps */
    _Atomic unsigned readers; /**< threads that sleep in a read: they need no signal */
};

/** Flags that F_SETFL changes besides O_NONBLOCK, and sockets have. */
#define SOCKET_ASYNC_FLAGS (O_ASYNC | O_APPEND | O_NOATIME)

/** What happened: as SOCK_WAKE_* in Linux, which decides whether it counts. */
enum socket_wake { SOCKET_WAKE_IO, SOCKET_WAKE_READERS, SOCKET_WAKE_URGENT };

/** F_GETOWN: a process, a group as a negative number, 0. */
int socket_async_owner(struct socket *socket);

/** F_SETOWN, F_SETOWN_EX, F_GETOWN_EX, F_SETSIG, F_GETSIG.
    @return what fcntl() returns; negative errno. */
int socket_async_control(struct socket *socket, int fd, int command, void *argument);

/** Whether a command is one of those. */
bool socket_async_is_control(int command);

/** FIOSETOWN and SIOCSPGRP; FIOGETOWN and SIOCGPGRP. */
int socket_async_set_owner(struct socket *socket, int fd, const int *owner);
int socket_async_get_owner(struct socket *socket, int fd, int *owner);

/** F_SETFL's flags (after the kernel has taken them for sockets of its own). */
int socket_async_set_flags(struct socket *socket, int fd, int flags);

/** Send the signal. Socket lock held. @param reason  POLL_IN and so on. */
void socket_async_signal(struct socket *socket, enum socket_wake wake, int reason);

/** Whether signals may be due to this process for what comes. */
bool socket_async_is_used(void);

/** In a forked child: the thread does not exist here. */
void socket_async_fork_child(void);

#endif
