#include "hostlib/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostlib/interpose.h"
#include "hostlib/process.h"

#define PUMP_BYTES (64u << 10)

/* ---- The pump ------------------------------------------------------------------------------- */

struct pump {
    int from, to;
    size_t start, end; /**< bytes read and not yet written */
    bool ended;        /**< and told so */
    char bytes[PUMP_BYTES];
};

/* @return false: this direction failed. Both descriptors are non-blocking. */
static bool pump_step(struct pump *pump)
{
    if (pump->start == pump->end) {
        ssize_t got = read(pump->from, pump->bytes, sizeof(pump->bytes));
        if (got < 0)
            return errno == EAGAIN || errno == EINTR;
        pump->start = 0;
        pump->end = (size_t)got;
        if (got == 0) {
            pump->ended = true;
            return shutdown(pump->to, SHUT_WR) == 0;
        }
    }
    ssize_t put = write(pump->to, pump->bytes + pump->start, pump->end - pump->start);
    if (put < 0)
        return errno == EAGAIN || errno == EINTR;
    pump->start += (size_t)put;
    return true;
}

static void pump_add_events(const struct pump *pump, struct pollfd *from, struct pollfd *to)
{
    if (pump->ended)
        return;
    if (pump->start == pump->end)
        from->events |= POLLIN;
    else
        to->events |= POLLOUT;
}

static void reset_connection(int fd)
{
    struct linger abort = {.l_onoff = 1};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
}

/* The helper's life: both directions until both have ended, or one has failed. */
_Noreturn static void pump_run(int connection, int stream)
{
    static struct pump in, out;
    in = (struct pump){.from = connection, .to = stream};
    out = (struct pump){.from = stream, .to = connection};
    while (!in.ended || !out.ended) {
        struct pollfd fds[] = {{.fd = connection}, {.fd = stream}};
        pump_add_events(&in, &fds[0], &fds[1]);
        pump_add_events(&out, &fds[1], &fds[0]);
        /* What is not waited for must not wake us either. */
        for (size_t i = 0; i < 2; i++)
            fds[i].fd = fds[i].events != 0 ? fds[i].fd : -1;
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        if ((!in.ended && !pump_step(&in)) || (!out.ended && !pump_step(&out))) {
            reset_connection(connection);
            reset_connection(stream);
            break;
        }
    }
    close(connection);
    close(stream);
    _exit(0);
}

/* ---- The stream ----------------------------------------------------------------------------- */

static int real_tcp(void)
{
    return REAL(socket)(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static bool connect_pair(int listener, int ends[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_in own, peer;
    socklen_t length = sizeof(address), own_length = sizeof(own), peer_length = sizeof(peer);
    if (REAL(bind)(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        REAL(listen)(listener, 1) < 0 ||
        REAL(getsockname)(listener, (struct sockaddr *)&address, &length) < 0 ||
        REAL(connect)(ends[0], (struct sockaddr *)&address, sizeof(address)) < 0)
        return false;
    ends[1] = REAL(accept4)(listener, (struct sockaddr *)&peer, &peer_length, SOCK_CLOEXEC);
    if (ends[1] < 0 || REAL(getsockname)(ends[0], (struct sockaddr *)&own, &own_length) < 0)
        return false;
    return own.sin_port == peer.sin_port; /* else somebody else was faster */
}

static void close_raw(int fd)
{
    if (fd >= 0)
        syscall(SYS_close, fd);
}

static int make_stream(int ends[2])
{
    ends[1] = -1;
    ends[0] = real_tcp();
    int listener = real_tcp();
    bool made = ends[0] >= 0 && listener >= 0 && connect_pair(listener, ends);
    close_raw(listener);
    if (made)
        return 0;
    close_raw(ends[0]);
    close_raw(ends[1]);
    return (int)syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0 ? -errno
                                                                                          : 0;
}

/* Close all descriptors but these; -1 stands for none. */
static void close_all_but(const int *kept, size_t count)
{
    unsigned first = 0;
    for (;;) {
        unsigned next = UINT_MAX; /* the lowest that is kept, from `first` on */
        for (size_t i = 0; i < count; i++) {
            if (kept[i] >= 0 && (unsigned)kept[i] >= first && (unsigned)kept[i] < next)
                next = (unsigned)kept[i];
        }
        if (next == UINT_MAX)
            break;
        if (next > first)
            (void)close_range(first, next - 1, 0);
        first = next + 1;
    }
    (void)close_range(first, UINT_MAX, 0);
}

/* @return false: the helper is not wanted after all. */
static bool wait_to_go(int go_fd)
{
    char byte;
    long got = 0;
    while (go_fd >= 0 && (got = syscall(SYS_read, go_fd, &byte, 1)) < 0 && errno == EINTR)
        ;
    return got == 0;
}

/* In the helper: everything but the three is the application's business. */
_Noreturn static void become_pump(int connection, int stream, int go_fd)
{
    const int kept[] = {connection, stream, go_fd};
    sigset_t all;
    sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, NULL);
    (void)setsid();
    close_all_but(kept, sizeof(kept) / sizeof(kept[0]));
    if (!wait_to_go(go_fd))
        syscall(SYS_exit_group, 0);
    close_raw(go_fd);
    (void)fcntl(connection, F_SETFL, O_RDWR | O_NONBLOCK);
    (void)fcntl(stream, F_SETFL, O_RDWR | O_NONBLOCK);
    pump_run(connection, stream);
}

/* A grandchild, so that the application is never told of it. */
static int start_pump(int connection, int stream, int go_fd)
{
    process_fork_prepare();
    pid_t between = (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, NULL);
    int error = between < 0 ? -errno : 0;
    if (between == 0) {
        pid_t helper = REAL(_Fork)();
        if (helper != 0)
            syscall(SYS_exit, helper < 0);
        process_fork_child();
        become_pump(connection, stream, go_fd);
    }
    process_fork_parent();
    int status = 0;
    while (between > 0 && syscall(SYS_wait4, between, &status, __WCLONE, NULL) < 0 &&
           errno == EINTR)
        ;
    return error < 0 || status == 0 ? error : -EAGAIN;
}

int pump_promote(int fd, int go_fd)
{
    struct socket *socket = interpose_offloaded(fd);
    if (socket == NULL)
        return -ENOTSOCK;
    int result = -ENOTSOCK;
    if (socket->state == SOCKET_CONNECTED) {
        int ends[2];
        result = make_stream(ends);
        if (result == 0) {
            result = start_pump(fd, ends[1], go_fd);
            close_raw(ends[1]);
            if (result == 0)
                result = ends[0];
            else
                close_raw(ends[0]);
        }
    }
    file_put(&socket->file);
    return result;
}
