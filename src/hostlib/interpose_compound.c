/* Functions of libc that do several things to descriptors by its own calls, which nobody can
   intercept. */
#include <netinet/in.h>
#include <pty.h>
#include <unistd.h>
#include <utmp.h>

#include "hostlib/interpose.h"

/* Where libc looks for a reserved port. */
#define RESERVED_FIRST 600
#define RESERVED_LOW   512
#define RESERVED_LAST  1023

/* Other files have taken the place of whatever they were. */
static void forget_standard_descriptors(void)
{
    int saved_errno = errno;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        (void)fd_set_file(fd, NULL);
    errno = saved_errno;
}

PNO_EXPORT int daemon(int stays_in_directory, int keeps_descriptors)
{
    int result = REAL(daemon)(stays_in_directory, keeps_descriptors);
    if (result == 0 && !keeps_descriptors)
        forget_standard_descriptors();
    return result;
}

PNO_EXPORT int login_tty(int fd)
{
    int result = REAL(login_tty)(fd);
    if (result == 0)
        forget_standard_descriptors();
    return result;
}

PNO_EXPORT pid_t forkpty(int *master, char *name, const struct termios *settings,
                         const struct winsize *size)
{
    pid_t pid = REAL(forkpty)(master, name, settings, size);
    if (pid == 0)
        forget_standard_descriptors();
    return pid;
}

/* Source: glibc sunrpc/bindrsvprt.c. */
PNO_EXPORT int bindresvport(int fd, struct sockaddr_in *address)
{
    static _Atomic unsigned next;
    struct sockaddr_in any = {.sin_family = AF_INET};
    struct socket *socket = interpose_socket(fd);
    if (socket == NULL)
        return REAL(bindresvport)(fd, address);
    file_put(&socket->file);
    if (address == NULL)
        address = &any;
    if (address->sin_family != AF_INET) {
        errno = EAFNOSUPPORT;
        return -1;
    }
    const unsigned first_count = RESERVED_LAST - RESERVED_FIRST + 1;
    const unsigned count = RESERVED_LAST - RESERVED_LOW + 1;
    unsigned start = atomic_fetch_add(&next, 1) + (unsigned)getpid();
    int result = -1;
    errno = EADDRINUSE;
    for (unsigned i = 0; i < count && result < 0 && errno == EADDRINUSE; i++) {
        /* The upper ones first, from any of them on, then those below. */
        unsigned port = i < first_count ? RESERVED_FIRST + (start + i) % first_count
                                        : RESERVED_FIRST - 1 - (i - first_count);
        address->sin_port = htons((uint16_t)port);
        result = bind(fd, (struct sockaddr *)address, sizeof(*address));
    }
    return result;
}
