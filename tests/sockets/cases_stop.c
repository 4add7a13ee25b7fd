/* Which blocking calls end once the process was stopped and goes on, and which do not notice.
   Source: signal(7), "Interruption of system calls and library functions by stop signals". */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "case.h"

/* ---- Who stops the process: a child, with no sockets --------------------------------------- */

struct stopper {
    pid_t pid;
    int ask[2], answer[2]; /* pipes: a thread's number; a byte once the process goes on */
};

static void run_stopper(const struct stopper *stopper)
{
    pid_t thread, parent = getppid();
    while (read(stopper->ask[0], &thread, sizeof(thread)) == sizeof(thread)) {
        wait_for_state(parent, thread, 'S', CASE_QUIET_MS);
        kill(parent, SIGSTOP);
        wait_for_state(parent, thread, 'T', 1);
        kill(parent, SIGCONT);
        wait_for_state(parent, thread, 'S', 1);
        (void)!write(stopper->answer[1], "", 1);
    }
    _exit(0);
}

static void start_stopper(struct stopper *stopper)
{
    if (pipe2(stopper->ask, O_CLOEXEC) < 0 || pipe2(stopper->answer, O_CLOEXEC) < 0)
        say_result("pipe", -1);
    stopper->pid = fork();
    if (stopper->pid == 0) {
        close(stopper->ask[1]);
        close(stopper->answer[0]);
        run_stopper(stopper);
    }
    close(stopper->ask[0]);
    close(stopper->answer[1]);
}

static void end_stopper(struct stopper *stopper)
{
    close(stopper->ask[1]);
    close(stopper->answer[0]);
    waitpid(stopper->pid, NULL, 0);
}

/* ---- Calls ---------------------------------------------------------------------------------- */

/* How a call that has not ended is brought to its end. */
typedef void finish_fn(int fd);

typedef ssize_t call_fn(int fd);

struct stopping {
    struct stopper *stopper;
    pid_t caller;
    finish_fn *finish;
    int fd;
    atomic_bool over;
};

static void *stop_and_finish(void *argument)
{
    struct stopping *stopping = argument;
    char byte;
    (void)!write(stopping->stopper->ask[1], &stopping->caller, sizeof(stopping->caller));
    (void)!read(stopping->stopper->answer[0], &byte, 1);
    /* One that has gone on sleeps again. */
    wait_for_state(getpid(), stopping->caller, 'S', CASE_QUIET_MS);
    if (!atomic_load(&stopping->over))
        stopping->finish(stopping->fd);
    return NULL;
}

static void stopped(struct stopper *stopper, const char *what, call_fn *call, int fd,
                    finish_fn *finish, int finish_fd)
{
    pthread_t thread;
    struct stopping stopping = {
        .stopper = stopper, .caller = gettid(), .finish = finish, .fd = finish_fd};
    pthread_create(&thread, NULL, stop_and_finish, &stopping);
    ssize_t result = call(fd);
    int error = errno;
    atomic_store(&stopping.over, true);
    pthread_join(thread, NULL);
    errno = error;
    say_result(what, result);
}

static ssize_t call_recv(int fd)
{
    char byte;
    return recv(fd, &byte, 1, 0);
}

static ssize_t call_peek(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK);
}

static ssize_t call_recv_all(int fd)
{
    char bytes[8];
    return recv(fd, bytes, sizeof(bytes), MSG_WAITALL);
}

static ssize_t call_readv(int fd)
{
    char bytes[2];
    struct iovec vector[2] = {{bytes, 1}, {bytes + 1, 1}};
    return readv(fd, vector, 2);
}

static ssize_t call_recvmmsg(int fd)
{
    char bytes[2];
    struct iovec vector[2] = {{bytes, 1}, {bytes + 1, 1}};
    struct mmsghdr messages[2] = {{.msg_hdr = {.msg_iov = &vector[0], .msg_iovlen = 1}},
                                  {.msg_hdr = {.msg_iov = &vector[1], .msg_iovlen = 1}}};
    return recvmmsg(fd, messages, 2, MSG_WAITFORONE, NULL);
}

static ssize_t call_poll(int fd)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, 2 * CASE_WAIT_MS);
}

static ssize_t call_ppoll(int fd)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    sigset_t mask;
    sigfillset(&mask);
    return ppoll(&polled, 1, NULL, &mask);
}

static ssize_t call_select(int fd)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    return select(fd + 1, &set, NULL, NULL, &(struct timeval){.tv_sec = 4});
}

static ssize_t call_pselect(int fd)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    return pselect(fd + 1, &set, NULL, NULL, NULL, NULL);
}

static int make_set(int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    return epoll;
}

static ssize_t end_of_set(int epoll, ssize_t result)
{
    int error = errno;
    close(epoll);
    errno = error;
    return result;
}

static ssize_t call_epoll_wait(int fd)
{
    struct epoll_event event;
    int epoll = make_set(fd);
    return end_of_set(epoll, epoll_wait(epoll, &event, 1, -1));
}

static ssize_t call_epoll_pwait(int fd)
{
    struct epoll_event event;
    sigset_t mask;
    int epoll = make_set(fd);
    sigfillset(&mask);
    return end_of_set(epoll, epoll_pwait(epoll, &event, 1, 2 * CASE_WAIT_MS, &mask));
}

static ssize_t call_epoll_pwait2(int fd)
{
    struct epoll_event event;
    const struct timespec timeout = {.tv_sec = 4};
    int epoll = make_set(fd);
    return end_of_set(epoll, epoll_pwait2(epoll, &event, 1, &timeout, NULL));
}

/* poll() looks at the set, and does not notice. */
static ssize_t call_poll_set(int fd)
{
    int epoll = make_set(fd);
    return end_of_set(epoll, call_poll(epoll));
}

static void send_bytes(int fd)
{
    (void)!send(fd, "12345678", 8, MSG_NOSIGNAL);
}

static void do_nothing(int fd)
{
    (void)fd;
}

static void set_timeout(int fd, int option, int seconds)
{
    struct timeval timeout = {.tv_sec = seconds};
    setsockopt(fd, SOL_SOCKET, option, &timeout, sizeof(timeout));
}

static const struct {
    const char *name;
    call_fn *call;
} readers[] = {
    {"recv", call_recv},
    {"peek", call_peek},
    {"readv", call_readv},
    {"recvmmsg", call_recvmmsg},
    {"recv all", call_recv_all},
    {"poll", call_poll},
    {"ppoll", call_ppoll},
    {"select", call_select},
    {"pselect", call_pselect},
    {"epoll_wait", call_epoll_wait},
    {"epoll_pwait", call_epoll_pwait},
    {"epoll_pwait2", call_epoll_pwait2},
    {"poll of a set", call_poll_set},
};

static void all_readers(const struct case_context *context, int timeout_s)
{
    struct stopper stopper;
    int pair[2];
    start_stopper(&stopper);
    for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++) {
        make_pair(context, pair);
        set_timeout(pair[1], SO_RCVTIMEO, timeout_s);
        stopped(&stopper, readers[i].name, readers[i].call, pair[1], send_bytes, pair[0]);
        close_pair(pair);
    }
    end_stopper(&stopper);
}

static void stopped_reader(const struct case_context *context)
{
    all_readers(context, 0);
}

static void stopped_reader_with_timeout(const struct case_context *context)
{
    all_readers(context, 4);
}

/* What was read already is the call's result. */
static void stopped_with_a_part_read(const struct case_context *context)
{
    struct stopper stopper;
    int pair[2];
    start_stopper(&stopper);
    for (int timeout_s = 0; timeout_s <= 4; timeout_s += 4) {
        make_pair(context, pair);
        set_timeout(pair[1], SO_RCVTIMEO, timeout_s);
        send(pair[0], "abc", 3, 0);
        settle();
        stopped(&stopper, timeout_s != 0 ? "with a timeout" : "without", call_recv_all, pair[1],
                send_bytes, pair[0]);
        say_events("left", events_now(pair[1], POLLIN));
        close_pair(pair);
    }
    end_stopper(&stopper);
}

static ssize_t call_accept(int fd)
{
    int accepted = accept(fd, NULL, NULL);
    if (accepted >= 0)
        close(accepted);
    return accepted >= 0 ? 0 : accepted;
}

static struct case_context connecting;

static void connect_port(int port)
{
    int fd = make_socket(&connecting, 0);
    connect_to(&connecting, fd, (unsigned)port);
    close(fd);
}

static void stopped_in_accept(const struct case_context *context)
{
    struct stopper stopper;
    connecting = *context;
    start_stopper(&stopper);
    for (int timeout_s = 0; timeout_s <= 4; timeout_s += 4) {
        int listener = make_listener(context, 4);
        set_timeout(listener, SO_RCVTIMEO, timeout_s);
        stopped(&stopper, timeout_s != 0 ? "with a timeout" : "without", call_accept, listener,
                connect_port, (int)port_of(listener));
        close(listener);
    }
    end_stopper(&stopper);
}

/* With buffers that do not grow, full is what takes no more for a while: what was on its way makes
   room yet. */
static void make_full_pair(const struct case_context *context, int pair[2])
{
    static char bytes[65536];
    const int size = 1 << 17;
    make_pair(context, pair);
    setsockopt(pair[0], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    for (int quiet = 0; quiet < 10; quiet++) {
        while (send(pair[1], bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
            quiet = -1;
        settle();
    }
}

static void read_all(int fd)
{
    char bytes[65536];
    while (recv(fd, bytes, sizeof(bytes), 0) > 0)
        ;
}

static ssize_t shut_after(int fd, ssize_t result)
{
    int error = errno;
    shutdown(fd, SHUT_WR);
    errno = error;
    return result;
}

static ssize_t call_send(int fd)
{
    return shut_after(fd, send(fd, "x", 1, MSG_NOSIGNAL));
}

static ssize_t call_sendmsg(int fd)
{
    char bytes[] = "xy";
    struct iovec vector = {bytes, 2};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    return shut_after(fd, sendmsg(fd, &message, MSG_NOSIGNAL));
}

static int file_of_bytes;

static ssize_t call_sendfile(int fd)
{
    off_t from = 0;
    return shut_after(fd, sendfile(fd, file_of_bytes, &from, 100));
}

static const struct {
    const char *name;
    call_fn *call;
} writers[] = {{"send", call_send}, {"sendmsg", call_sendmsg}, {"sendfile", call_sendfile}};

static void all_writers(const struct case_context *context, int timeout_s)
{
    struct stopper stopper;
    int pair[2];
    char path[CASE_FILE_BYTES];
    file_of_bytes = mkstemp(name_file(path));
    (void)unlink(path);
    (void)!ftruncate(file_of_bytes, 100);
    start_stopper(&stopper);
    for (size_t i = 0; i < sizeof(writers) / sizeof(writers[0]); i++) {
        make_full_pair(context, pair);
        set_timeout(pair[1], SO_SNDTIMEO, timeout_s);
        stopped(&stopper, writers[i].name, writers[i].call, pair[1], read_all, pair[0]);
        close_pair(pair);
    }
    end_stopper(&stopper);
    close(file_of_bytes);
}

static void stopped_writer(const struct case_context *context)
{
    all_writers(context, 0);
}

static void stopped_writer_with_timeout(const struct case_context *context)
{
    all_writers(context, 4);
}

/* A wait that a stop has ended loses nothing: the next one is as any. */
static void stopped_again_and_again(const struct case_context *context)
{
    struct stopper stopper;
    int pair[2];
    start_stopper(&stopper);
    make_pair(context, pair);
    for (int i = 0; i < 5; i++) {
        stopped(&stopper, "epoll_wait", call_epoll_wait, pair[1], do_nothing, -1);
        stopped(&stopper, "recv", call_recv, pair[1], send_bytes, pair[0]);
        char bytes[8];
        say_result("the rest", recv(pair[1], bytes, sizeof(bytes), 0));
    }
    close_pair(pair);
    end_stopper(&stopper);
}

static ssize_t call_close(int fd)
{
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    ssize_t result = close(fd);
    clock_gettime(CLOCK_MONOTONIC, &end);
    say("before its time %d", end.tv_sec - begin.tv_sec < 8);
    return result;
}

/* It lingers no longer, and what was sent goes on its way. */
static void stopped_lingering(const struct case_context *context)
{
    const struct linger linger = {.l_onoff = 1, .l_linger = 10};
    struct stopper stopper;
    int pair[2];
    start_stopper(&stopper);
    make_full_pair(context, pair);
    setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    stopped(&stopper, "close", call_close, pair[1], do_nothing, -1);
    char bytes[65536];
    ssize_t got = 1;
    while (got > 0)
        got = recv(pair[0], bytes, sizeof(bytes), 0);
    say_result("at the end", got);
    close(pair[0]);
    end_stopper(&stopper);
}

const struct socket_case cases_stop[] = {
    {"stopped_reader", stopped_reader},
    {"stopped_reader_with_timeout", stopped_reader_with_timeout},
    {"stopped_with_a_part_read", stopped_with_a_part_read},
    {"stopped_in_accept", stopped_in_accept},
    {"stopped_writer", stopped_writer},
    {"stopped_writer_with_timeout", stopped_writer_with_timeout},
    {"stopped_lingering", stopped_lingering},
    {"stopped_again_and_again", stopped_again_and_again},
    {0},
};
