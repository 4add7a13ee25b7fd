/* poll and select beyond the ordinary: odd entries, many entries, timeouts, what select counts. */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

#include "case.h"

#define EVERYTHING (POLLIN | POLLOUT | POLLRDHUP | POLLPRI | POLLRDNORM | POLLWRNORM)

static void say_polled(const char *what, struct pollfd *fds, nfds_t count, int timeout_ms)
{
    say_result(what, poll(fds, count, timeout_ms));
    for (nfds_t i = 0; i < count; i++)
        say_events("  entry", (unsigned short)fds[i].revents);
}

static void poll_ignores_negative_descriptors(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    struct pollfd fds[3] = {{-1, POLLOUT, 0x55}, {pair[0], POLLOUT, 0}, {-5, POLLIN, 0x55}};
    say_polled("poll", fds, 3, 0);
    close_pair(pair);
}

static void poll_same_socket_twice(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    struct pollfd fds[3] = {{pair[0], POLLOUT, 0}, {pair[0], POLLIN, 0}, {pair[0], 0, 0}};
    say_polled("quiet", fds, 3, 0);
    send(pair[1], "x", 1, 0);
    settle();
    say_polled("with data", fds, 3, 0);
    close(pair[1]);
    settle();
    say_polled("at the end", fds, 3, 0);
    close(pair[0]);
}

static void poll_invalid_among_valid(const struct case_context *context)
{
    int pair[2], closed = open("/dev/null", O_RDONLY);
    make_pair(context, pair);
    close(closed);
    struct pollfd fds[2] = {{closed, POLLIN, 0}, {pair[0], POLLIN, 0}};
    say_polled("poll", fds, 2, 2000);
    close_pair(pair);
}

static void poll_hundred_sockets(const struct case_context *context)
{
    int pairs[50][2];
    struct pollfd fds[100];
    for (int i = 0; i < 50; i++) {
        make_pair(context, pairs[i]);
        fds[2 * i] = (struct pollfd){pairs[i][0], POLLIN, 0};
        fds[2 * i + 1] = (struct pollfd){pairs[i][1], POLLIN, 0};
    }
    say_result("quiet", poll(fds, 100, 0));
    send(pairs[7][0], "x", 1, 0);
    send(pairs[33][1], "x", 1, 0);
    settle();
    say_result("two", poll(fds, 100, 2000));
    say_events("7", (unsigned short)fds[15].revents);
    say_events("33", (unsigned short)fds[66].revents);
    for (int i = 0; i < 50; i++)
        close_pair(pairs[i]);
}

static void poll_many_more_than_descriptors(const struct case_context *context)
{
    static struct pollfd fds[3000];
    int pair[2];
    make_pair(context, pair);
    for (int i = 0; i < 3000; i++)
        fds[i] = (struct pollfd){.fd = i == 1500 ? pair[0] : -1, .events = POLLOUT};
    say_result("poll", poll(fds, 3000, 0));
    close_pair(pair);
}

static void poll_timeouts(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    struct pollfd fds = {pair[0], POLLIN, 0};
    say_result("none", poll(&fds, 1, 0));
    say_result("short", poll(&fds, 1, 5));
    say_result("ppoll none", ppoll(&fds, 1, &(struct timespec){0}, NULL));
    say_result("ppoll short", ppoll(&fds, 1, &(struct timespec){.tv_nsec = 1000000}, NULL));
    say_result("ppoll bad", ppoll(&fds, 1, &(struct timespec){.tv_nsec = 1000000000}, NULL));
    say_result("ppoll negative", ppoll(&fds, 1, &(struct timespec){.tv_sec = -1}, NULL));
    close_pair(pair);
}

static void poll_sleeps_as_long_as_asked(const struct case_context *context)
{
    int pair[2];
    struct timespec begin, end;
    make_pair(context, pair);
    struct pollfd fds = {pair[0], POLLIN, 0};
    clock_gettime(CLOCK_MONOTONIC, &begin);
    say_result("poll", poll(&fds, 1, 50));
    clock_gettime(CLOCK_MONOTONIC, &end);
    long ms = (end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000;
    say("not too short %d", ms >= 49);
    close_pair(pair);
}

static void say_selected(const char *what, int fd, bool read, bool write, bool except)
{
    fd_set sets[3];
    struct timeval timeout = {.tv_usec = CASE_QUIET_MS * 1000};
    const bool wanted[3] = {read, write, except};
    for (int i = 0; i < 3; i++) {
        FD_ZERO(&sets[i]);
        if (wanted[i])
            FD_SET(fd, &sets[i]);
    }
    say_result(what, select(fd + 1, &sets[0], &sets[1], &sets[2], &timeout));
    say("  read %d, write %d, except %d", FD_ISSET(fd, &sets[0]) != 0, FD_ISSET(fd, &sets[1]) != 0,
        FD_ISSET(fd, &sets[2]) != 0);
}

static void select_counts_bits(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    say_selected("quiet", pair[1], true, true, true);
    send(pair[0], "x", 1, 0);
    settle();
    say_selected("data", pair[1], true, true, true);
    say_selected("only read", pair[1], true, false, false);
    say_selected("only except", pair[1], false, false, true);
    close_pair(pair);
}

static void select_urgent_is_except(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    send(pair[0], "abX", 3, MSG_OOB);
    settle();
    say_selected("urgent", pair[1], true, false, true);
    close_pair(pair);
}

static void select_states(const struct case_context *context)
{
    int pair[2], fd = make_socket(context, 0);
    say_selected("fresh", fd, true, true, true);
    close(fd);
    fd = make_listener(context, 1);
    say_selected("listener", fd, true, true, true);
    close(fd);
    make_pair(context, pair);
    shutdown(pair[0], SHUT_WR);
    settle();
    say_selected("peer of half closed", pair[1], true, true, true);
    close(pair[1]);
    settle();
    say_selected("closed on both sides", pair[0], true, true, true);
    close(pair[0]);
}

static void select_after_reset(const struct case_context *context)
{
    int pair[2];
    struct linger linger = {.l_onoff = 1};
    make_pair(context, pair);
    setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(pair[1]);
    settle();
    say_selected("reset", pair[0], true, true, true);
    say_socket_error("SO_ERROR", pair[0]);
    say_selected("then", pair[0], true, true, true);
    close(pair[0]);
}

static void select_refused_connect(const struct case_context *context)
{
    int listener = make_listener(context, 1), fd = make_socket(context, SOCK_NONBLOCK);
    unsigned port = port_of(listener);
    close(listener);
    say_result("connect", connect_to(context, fd, port));
    settle();
    say_selected("refused", fd, true, true, true);
    say_socket_error("SO_ERROR", fd);
    close(fd);
}

static void select_wrong(const struct case_context *context)
{
    int pair[2];
    fd_set set;
    struct timeval timeout = {0};
    make_pair(context, pair);
    FD_ZERO(&set);
    FD_SET(pair[0], &set);
    say_result("negative count", select(-1, &set, NULL, NULL, &timeout));
    say_result("no sets", select(0, NULL, NULL, NULL, &timeout));
    say_result("count too small", select(pair[0], &set, NULL, NULL, &timeout));
    say("cleared or kept %d", FD_ISSET(pair[0], &set) != 0);
    timeout.tv_usec = -1;
    say_result("bad time", select(pair[0] + 1, &set, NULL, NULL, &timeout));
    timeout.tv_usec = 0;
    close(pair[0]);
    FD_SET(pair[0], &set);
    say_result("closed", select(pair[0] + 1, &set, NULL, NULL, &timeout));
    close(pair[1]);
}

static void select_updates_the_timeout(const struct case_context *context)
{
    int pair[2];
    fd_set set;
    struct timeval timeout = {.tv_usec = 20000};
    make_pair(context, pair);
    FD_ZERO(&set);
    FD_SET(pair[0], &set);
    say_result("select", select(pair[0] + 1, &set, NULL, NULL, &timeout));
    say("left %ld s %ld us", (long)timeout.tv_sec, (long)timeout.tv_usec);
    timeout = (struct timeval){.tv_sec = 5};
    send(pair[1], "x", 1, 0);
    FD_SET(pair[0], &set);
    say_result("select", select(pair[0] + 1, &set, NULL, NULL, &timeout));
    say("less than given %d", timeout.tv_sec == 4);
    close_pair(pair);
}

const struct socket_case cases_waiting[] = {
    {"poll_ignores_negative_descriptors", poll_ignores_negative_descriptors},
    {"poll_same_socket_twice", poll_same_socket_twice},
    {"poll_invalid_among_valid", poll_invalid_among_valid},
    {"poll_hundred_sockets", poll_hundred_sockets},
    {"poll_many_more_than_descriptors", poll_many_more_than_descriptors},
    {"poll_timeouts", poll_timeouts},
    {"poll_sleeps_as_long_as_asked", poll_sleeps_as_long_as_asked},
    {"select_counts_bits", select_counts_bits},
    {"select_urgent_is_except", select_urgent_is_except},
    {"select_states", select_states},
    {"select_after_reset", select_after_reset},
    {"select_refused_connect", select_refused_connect},
    {"select_wrong", select_wrong},
    {"select_updates_the_timeout", select_updates_the_timeout},
    {0},
};
