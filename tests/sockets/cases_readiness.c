/* Readiness: poll, select, epoll. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/time.h>
#include <unistd.h>

#include "case.h"

#define ALL_EVENTS (POLLIN | POLLOUT | POLLRDHUP | POLLPRI)
#define EVERYTHING                                                                                 \
    (POLLIN | POLLOUT | POLLRDHUP | POLLPRI | POLLRDNORM | POLLWRNORM | POLLRDBAND | POLLWRBAND)

static void say_epoll(const char *what, int epoll, int timeout_ms)
{
    struct epoll_event events[4];
    int count = epoll_wait(epoll, events, 4, timeout_ms);
    say_result(what, count);
    for (int i = 0; i < count; i++)
        say_events("  event", events[i].events);
}

static int watch(int epoll, int operation, int fd, unsigned events)
{
    struct epoll_event event = {.events = events, .data.u64 = 0x123456789abcdefULL};
    return epoll_ctl(epoll, operation, fd, &event);
}

static void poll_states(const struct case_context *context)
{
    int pair[2];
    int fd = make_socket(context, 0);
    say_events("fresh", events_now(fd, EVERYTHING));
    close(fd);
    fd = make_listener(context, 1);
    say_events("listener", events_now(fd, EVERYTHING));
    int client = make_socket(context, 0);
    connect_to(context, client, port_of(fd));
    say_events("listener with one", wait_for(fd, EVERYTHING));
    close(client);
    close(fd);
    make_pair(context, pair);
    say_events("connected", events_now(pair[0], EVERYTHING));
    send(pair[1], "x", 1, 0);
    usleep(CASE_QUIET_MS * 1000);
    say_events("with data", events_now(pair[0], EVERYTHING));
    say_events("asked for nothing", events_now(pair[0], 0));
    close_pair(pair);
    say_events("closed", events_now(pair[0], EVERYTHING));
}

static void poll_mixed(const struct case_context *context)
{
    int pair[2], ends[2];
    make_pair(context, pair);
    if (pipe(ends) < 0)
        say("no pipe");
    struct pollfd fds[] = {{.fd = ends[0], .events = POLLIN},
                           {.fd = pair[0], .events = POLLIN},
                           {.fd = -1, .events = POLLIN},
                           {.fd = pair[1], .events = POLLIN}};
    say_result("nothing", poll(fds, 4, CASE_QUIET_MS));
    send(pair[1], "x", 1, 0);
    say_result("socket", poll(fds, 4, CASE_WAIT_MS));
    say("%d %d %d %d", fds[0].revents, fds[1].revents, fds[2].revents, fds[3].revents);
    (void)!write(ends[1], "y", 1);
    say_result("both", poll(fds, 4, CASE_WAIT_MS));
    say("%d %d %d %d", fds[0].revents, fds[1].revents, fds[2].revents, fds[3].revents);
    close(ends[0]);
    say_result("one is closed", poll(fds, 4, CASE_WAIT_MS));
    say("%#x", fds[0].revents);
    close(ends[1]);
    close_pair(pair);
}

static void *write_later(void *argument)
{
    usleep(20000);
    (void)!write(*(int *)argument, "z", 1);
    return NULL;
}

static void poll_wakes(const struct case_context *context)
{
    int pair[2], ends[2];
    pthread_t thread;
    make_pair(context, pair);
    if (pipe(ends) < 0)
        say("no pipe");
    struct pollfd fds[] = {{.fd = ends[0], .events = POLLIN}, {.fd = pair[0], .events = POLLIN}};
    pthread_create(&thread, NULL, write_later, &pair[1]);
    say_result("by the socket", poll(fds, 2, CASE_WAIT_MS));
    pthread_join(thread, NULL);
    fds[1].events = 0;
    pthread_create(&thread, NULL, write_later, &ends[1]);
    say_result("by the pipe", poll(fds, 2, CASE_WAIT_MS));
    pthread_join(thread, NULL);
    close(ends[0]);
    close(ends[1]);
    close_pair(pair);
}

static void select_mixed(const struct case_context *context)
{
    int pair[2], listener = make_listener(context, 1);
    fd_set readable, writable;
    struct timeval timeout = {.tv_usec = 30000};
    make_pair(context, pair);
    FD_ZERO(&readable);
    FD_SET(pair[0], &readable);
    FD_SET(pair[1], &readable);
    say_result("nothing", select(pair[1] + 1, &readable, NULL, NULL, &timeout));
    say("time left %ld, bits %d %d", (long)timeout.tv_usec, FD_ISSET(pair[0], &readable),
        FD_ISSET(pair[1], &readable));
    send(pair[0], "x", 1, 0);
    wait_for(pair[1], POLLIN);
    FD_SET(pair[0], &readable);
    FD_SET(pair[1], &readable);
    FD_ZERO(&writable);
    FD_SET(pair[0], &writable);
    say_result("both kinds", select(pair[1] + 1, &readable, &writable, NULL, NULL));
    say("bits %d %d %d", FD_ISSET(pair[0], &readable), FD_ISSET(pair[1], &readable),
        FD_ISSET(pair[0], &writable));
    FD_ZERO(&readable);
    FD_SET(pair[0], &readable);
    close(pair[1]);
    FD_SET(pair[1], &readable);
    say_result("a closed one", select(pair[1] + 1, &readable, NULL, NULL, NULL));
    struct timespec wait = {.tv_nsec = 1000000};
    FD_ZERO(&readable);
    FD_SET(listener, &readable);
    say_result("pselect", pselect(listener + 1, &readable, NULL, NULL, &wait, NULL));
    close_pair(pair);
}

static void epoll_level(const struct case_context *context)
{
    int pair[2], epoll = epoll_create1(0);
    char bytes[8];
    make_pair(context, pair);
    say_result("add", watch(epoll, EPOLL_CTL_ADD, pair[0], EPOLLIN | EPOLLRDHUP));
    say_epoll("nothing", epoll, 0);
    send(pair[1], "abc", 3, 0);
    say_epoll("data", epoll, CASE_WAIT_MS);
    say_epoll("still", epoll, CASE_WAIT_MS);
    (void)!read(pair[0], bytes, 1);
    say_epoll("some left", epoll, CASE_WAIT_MS);
    (void)!read(pair[0], bytes, sizeof(bytes));
    say_epoll("none left", epoll, CASE_QUIET_MS);
    say_result("mod", watch(epoll, EPOLL_CTL_MOD, pair[0], EPOLLOUT));
    say_epoll("writable", epoll, CASE_WAIT_MS);
    watch(epoll, EPOLL_CTL_MOD, pair[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP);
    shutdown(pair[1], SHUT_WR);
    usleep(CASE_QUIET_MS * 1000);
    say_epoll("fin", epoll, CASE_WAIT_MS);
    close(pair[1]);
    say_result("del", epoll_ctl(epoll, EPOLL_CTL_DEL, pair[0], NULL));
    say_epoll("deleted", epoll, 0);
    close(pair[0]);
    close(epoll);
}

static void epoll_edge(const struct case_context *context)
{
    int pair[2], epoll = epoll_create1(0);
    char bytes[8];
    make_pair(context, pair);
    watch(epoll, EPOLL_CTL_ADD, pair[0], EPOLLIN | EPOLLOUT | EPOLLET);
    say_epoll("at first", epoll, CASE_WAIT_MS);
    say_epoll("once", epoll, CASE_QUIET_MS);
    send(pair[1], "abc", 3, 0);
    say_epoll("data", epoll, CASE_WAIT_MS);
    say_epoll("not again", epoll, CASE_QUIET_MS);
    send(pair[1], "def", 3, 0);
    say_epoll("more data", epoll, CASE_WAIT_MS);
    (void)!read(pair[0], bytes, 2);
    say_epoll("reading is no edge", epoll, CASE_QUIET_MS);
    watch(epoll, EPOLL_CTL_MOD, pair[0], EPOLLIN | EPOLLET);
    say_epoll("mod looks again", epoll, CASE_WAIT_MS);
    shutdown(pair[1], SHUT_WR);
    say_epoll("fin", epoll, CASE_WAIT_MS);
    say_epoll("not again", epoll, CASE_QUIET_MS);
    close_pair(pair);
    close(epoll);
}

static void epoll_edge_output(const struct case_context *context)
{
    static char bytes[65536];
    int pair[2], epoll = epoll_create1(0);
    struct epoll_event event;
    make_pair(context, pair);
    set_nonblocking(pair[0], true);
    set_nonblocking(pair[1], true);
    watch(epoll, EPOLL_CTL_ADD, pair[0], EPOLLOUT | EPOLLET);
    say_epoll("at first", epoll, CASE_WAIT_MS);
    do {
        while (write(pair[0], bytes, sizeof(bytes)) > 0)
            ;
        usleep(CASE_QUIET_MS * 1000);
        /* Space may be found in between: then the edge is taken, and it must be filled again. */
    } while (write(pair[0], bytes, sizeof(bytes)) > 0 || epoll_wait(epoll, &event, 1, 0) > 0);
    say_epoll("full", epoll, CASE_QUIET_MS);
    do {
        while (read(pair[1], bytes, sizeof(bytes)) > 0)
            ;
    } while (events_now(pair[1], POLLIN) & POLLIN);
    say_epoll("space", epoll, CASE_WAIT_MS);
    close_pair(pair);
    close(epoll);
}

static void epoll_one_shot(const struct case_context *context)
{
    int pair[2], epoll = epoll_create1(0);
    make_pair(context, pair);
    watch(epoll, EPOLL_CTL_ADD, pair[0], EPOLLIN | EPOLLONESHOT);
    send(pair[1], "a", 1, 0);
    say_epoll("once", epoll, CASE_WAIT_MS);
    send(pair[1], "b", 1, 0);
    say_epoll("not twice", epoll, CASE_QUIET_MS);
    shutdown(pair[1], SHUT_RDWR);
    close(pair[1]);
    say_epoll("not even the end", epoll, CASE_QUIET_MS);
    watch(epoll, EPOLL_CTL_MOD, pair[0], EPOLLIN | EPOLLONESHOT);
    say_epoll("armed again", epoll, CASE_WAIT_MS);
    close(pair[0]);
    close(epoll);
}

static void epoll_errors(const struct case_context *context)
{
    int pair[2], epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    make_pair(context, pair);
    say_result("add", watch(epoll, EPOLL_CTL_ADD, pair[0], EPOLLIN));
    say_result("add again", watch(epoll, EPOLL_CTL_ADD, pair[0], EPOLLIN));
    say_result("mod unknown", watch(epoll, EPOLL_CTL_MOD, pair[1], EPOLLIN));
    say_result("del unknown", watch(epoll, EPOLL_CTL_DEL, pair[1], 0));
    say_result("del", epoll_ctl(epoll, EPOLL_CTL_DEL, pair[0], &event));
    say_result("wrong operation", watch(epoll, 77, pair[0], EPOLLIN));
    say_result("into a socket", watch(pair[1], EPOLL_CTL_ADD, pair[0], EPOLLIN));
    say_result("no room", epoll_wait(epoll, &event, 0, 0));
    say_result("wait on a socket", epoll_wait(pair[0], &event, 1, 0));
    say_result("exclusive and more",
               watch(epoll, EPOLL_CTL_ADD, pair[0], EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT));
    say_result("exclusive", watch(epoll, EPOLL_CTL_ADD, pair[0], EPOLLIN | EPOLLEXCLUSIVE));
    say_result("mod exclusive", watch(epoll, EPOLL_CTL_MOD, pair[0], EPOLLIN));
    close_pair(pair);
    say_result("add closed", watch(epoll, EPOLL_CTL_ADD, pair[0], EPOLLIN));
    close(epoll);
}

static void epoll_before_connect(const struct case_context *context)
{
    int listener = make_listener(context, 1), epoll = epoll_create1(0);
    int fd = make_socket(context, SOCK_NONBLOCK);
    say_result("add", watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET));
    say_epoll("fresh", epoll, 0);
    connect_to(context, fd, port_of(listener));
    int accepted = accept(listener, NULL, NULL);
    send(accepted, "x", 1, 0);
    usleep(CASE_QUIET_MS * 1000);
    struct epoll_event event;
    int count = epoll_wait(epoll, &event, 1, CASE_WAIT_MS);
    say("events %d, readable %d", count, (event.events & EPOLLIN) != 0);
    close(accepted);
    close(fd);
    close(listener);
    close(epoll);
}

static void epoll_mixed(const struct case_context *context)
{
    int pair[2], ends[2], epoll = epoll_create1(0);
    pthread_t thread;
    struct epoll_event events[4];
    make_pair(context, pair);
    if (pipe(ends) < 0)
        say("no pipe");
    watch(epoll, EPOLL_CTL_ADD, ends[0], EPOLLIN);
    watch(epoll, EPOLL_CTL_ADD, pair[0], EPOLLIN);
    pthread_create(&thread, NULL, write_later, &ends[1]);
    say_epoll("pipe wakes", epoll, CASE_WAIT_MS);
    pthread_join(thread, NULL);
    pthread_create(&thread, NULL, write_later, &pair[1]);
    pthread_join(thread, NULL);
    usleep(CASE_QUIET_MS * 1000);
    int seen = 0;
    for (int i = 0; i < 20 && seen != 2; i++) {
        int count = epoll_wait(epoll, events, 4, CASE_WAIT_MS);
        seen = count > seen ? count : seen;
        usleep(1000);
    }
    say("both at once: %d", seen);
    close(ends[0]);
    close(ends[1]);
    close_pair(pair);
    say_epoll("all closed", epoll, 0);
    close(epoll);
}

static void epoll_closed_descriptor(const struct case_context *context)
{
    int pair[2], epoll = epoll_create1(0);
    make_pair(context, pair);
    watch(epoll, EPOLL_CTL_ADD, pair[0], EPOLLIN);
    int copy = dup(pair[0]);
    close(pair[0]);
    send(pair[1], "x", 1, 0);
    say_epoll("lives on as a copy", epoll, CASE_WAIT_MS);
    close(copy);
    say_epoll("gone", epoll, CASE_QUIET_MS);
    close(pair[1]);
    close(epoll);
}

static void epoll_fair(const struct case_context *context)
{
    int pairs[4][2], epoll = epoll_create1(0), seen = 0;
    for (int i = 0; i < 4; i++) {
        make_pair(context, pairs[i]);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = 1u << i};
        epoll_ctl(epoll, EPOLL_CTL_ADD, pairs[i][0], &event);
        send(pairs[i][1], "x", 1, 0);
    }
    usleep(CASE_QUIET_MS * 1000);
    for (int i = 0; i < 4; i++) {
        struct epoll_event event = {0};
        (void)epoll_wait(epoll, &event, 1, CASE_WAIT_MS);
        seen |= (int)event.data.u32;
    }
    say("all seen, one at a time: %d", seen == 15);
    for (int i = 0; i < 4; i++)
        close_pair(pairs[i]);
    close(epoll);
}

static void on_alarm(int number)
{
    (void)number;
}

static void interrupted(const struct case_context *context)
{
    int pair[2], epoll = epoll_create1(0);
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval timer = {.it_value = {.tv_usec = 20000}};
    struct epoll_event event;
    sigset_t blocked, none;
    sigaction(SIGALRM, &action, NULL);
    make_pair(context, pair);
    watch(epoll, EPOLL_CTL_ADD, pair[0], EPOLLIN);
    setitimer(ITIMER_REAL, &timer, NULL);
    say_result("epoll_wait", epoll_wait(epoll, &event, 1, CASE_WAIT_MS));
    struct pollfd pollfd = {.fd = pair[0], .events = POLLIN};
    setitimer(ITIMER_REAL, &timer, NULL);
    say_result("poll", poll(&pollfd, 1, CASE_WAIT_MS));
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGALRM);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    usleep(40000);
    say_result("epoll_pwait with a pending signal",
               epoll_pwait(epoll, &event, 1, CASE_WAIT_MS, &none));
    setitimer(ITIMER_REAL, &timer, NULL);
    struct timespec wait = {.tv_nsec = 50000000};
    say_result("ppoll with it blocked", ppoll(&pollfd, 1, &wait, NULL));
    close_pair(pair);
    close(epoll);
}

static void nested_epoll(const struct case_context *context)
{
    int pair[2], epoll = epoll_create1(0);
    make_pair(context, pair);
    watch(epoll, EPOLL_CTL_ADD, pair[0], EPOLLIN);
    say_events("poll of the set", events_now(epoll, POLLIN));
    send(pair[1], "x", 1, 0);
    say_events("poll of the set", wait_for(epoll, POLLIN));
    close_pair(pair);
    close(epoll);
}

const struct socket_case cases_readiness[] = {
    {"poll_states", poll_states},
    {"poll_mixed", poll_mixed},
    {"poll_wakes", poll_wakes},
    {"select_mixed", select_mixed},
    {"epoll_level", epoll_level},
    {"epoll_edge", epoll_edge},
    {"epoll_edge_output", epoll_edge_output},
    {"epoll_one_shot", epoll_one_shot},
    {"epoll_errors", epoll_errors},
    {"epoll_before_connect", epoll_before_connect},
    {"epoll_mixed", epoll_mixed},
    {"epoll_closed_descriptor", epoll_closed_descriptor},
    {"epoll_fair", epoll_fair},
    {"readiness_interrupted", interrupted},
    {"nested_epoll", nested_epoll},
    {0},
};
