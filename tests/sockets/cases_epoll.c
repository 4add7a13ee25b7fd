/* epoll beyond the ordinary: sequences of edges, one shot, exclusive, duplicates, nesting, shared
 * sets. */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "case.h"

static int control(int epoll, int operation, int fd, unsigned events)
{
    struct epoll_event event = {.events = events, .data.u64 = 1};
    return epoll_ctl(epoll, operation, fd, &event);
}

static int watch(int fd, unsigned events)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (control(epoll, EPOLL_CTL_ADD, fd, events) < 0)
        say_result("add", -1);
    return epoll;
}

static void say_wait(const char *what, int epoll)
{
    struct epoll_event events[8];
    int count = epoll_wait(epoll, events, 8, CASE_QUIET_MS);
    say_result(what, count);
    for (int i = 0; i < count; i++)
        say_events("  event", events[i].events);
}

/* A pair whose second half is in a set. */
static int pair_in_set(const struct case_context *context, int pair[2], unsigned events)
{
    make_pair(context, pair);
    return watch(pair[1], events);
}

static void edge_sequence_of_data(const struct case_context *context)
{
    int pair[2], epoll = pair_in_set(context, pair, EPOLLIN | EPOLLET);
    char byte;
    say_wait("quiet", epoll);
    send(pair[0], "ab", 2, 0);
    say_wait("data", epoll);
    say_wait("same data", epoll);
    (void)!read(pair[1], &byte, 1);
    say_wait("read a part", epoll);
    send(pair[0], "c", 1, 0);
    say_wait("more data", epoll);
    control(epoll, EPOLL_CTL_MOD, pair[1], EPOLLIN | EPOLLET);
    say_wait("modified", epoll);
    close(epoll);
    close_pair(pair);
}

static void edge_of_both_directions(const struct case_context *context)
{
    int pair[2], epoll = pair_in_set(context, pair, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    say_wait("first", epoll);
    say_wait("second", epoll);
    send(pair[0], "x", 1, 0);
    say_wait("data", epoll);
    shutdown(pair[0], SHUT_WR);
    say_wait("end", epoll);
    say_wait("after", epoll);
    close(epoll);
    close_pair(pair);
}

static void edge_of_reset(const struct case_context *context)
{
    int pair[2], epoll = pair_in_set(context, pair, EPOLLIN | EPOLLET);
    struct linger linger = {.l_onoff = 1};
    setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(pair[0]);
    say_wait("reset", epoll);
    say_wait("again", epoll);
    close(epoll);
    close(pair[1]);
}

static void one_shot_sequence(const struct case_context *context)
{
    int pair[2], epoll = pair_in_set(context, pair, EPOLLIN | EPOLLONESHOT);
    send(pair[0], "x", 1, 0);
    say_wait("first", epoll);
    say_wait("disarmed", epoll);
    shutdown(pair[0], SHUT_RDWR);
    say_wait("still disarmed at the end", epoll);
    control(epoll, EPOLL_CTL_MOD, pair[1], EPOLLIN | EPOLLONESHOT);
    say_wait("armed again", epoll);
    close(epoll);
    close_pair(pair);
}

static void one_shot_edge(const struct case_context *context)
{
    int pair[2], epoll = pair_in_set(context, pair, EPOLLIN | EPOLLONESHOT | EPOLLET);
    send(pair[0], "x", 1, 0);
    say_wait("first", epoll);
    send(pair[0], "y", 1, 0);
    say_wait("disarmed", epoll);
    control(epoll, EPOLL_CTL_MOD, pair[1], EPOLLIN | EPOLLONESHOT | EPOLLET);
    say_wait("armed", epoll);
    close(epoll);
    close_pair(pair);
}

static void exclusive_rules(const struct case_context *context)
{
    int listener = make_listener(context, 4), client = make_socket(context, 0);
    int epoll = watch(listener, EPOLLIN | EPOLLEXCLUSIVE);
    say_result("modify", control(epoll, EPOLL_CTL_MOD, listener, EPOLLIN));
    say_result("with one shot",
               control(epoll, EPOLL_CTL_ADD, client, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT));
    say_result("with RDHUP",
               control(epoll, EPOLL_CTL_ADD, client, EPOLLIN | EPOLLEXCLUSIVE | EPOLLRDHUP));
    connect_to(context, client, port_of(listener));
    say_wait("connection", epoll);
    say_result("delete", control(epoll, EPOLL_CTL_DEL, listener, 0));
    close(epoll);
    close(client);
    close(listener);
}

static void wrong_operations(const struct case_context *context)
{
    int pair[2], epoll = pair_in_set(context, pair, EPOLLIN), file = open("/dev/null", O_RDONLY);
    say_result("add twice", control(epoll, EPOLL_CTL_ADD, pair[1], EPOLLIN));
    say_result("modify absent", control(epoll, EPOLL_CTL_MOD, pair[0], EPOLLIN));
    say_result("delete absent", control(epoll, EPOLL_CTL_DEL, pair[0], EPOLLIN));
    say_result("operation 9", control(epoll, 9, pair[1], EPOLLIN));
    say_result("operation 0", control(epoll, 0, pair[1], EPOLLIN));
    say_result("itself", control(epoll, EPOLL_CTL_ADD, epoll, EPOLLIN));
    say_result("no epoll", control(pair[0], EPOLL_CTL_ADD, pair[1], EPOLLIN));
    say_result("not watchable", control(epoll, EPOLL_CTL_ADD, file, EPOLLIN));
    say_result("closed epoll", control(-1, EPOLL_CTL_ADD, pair[1], EPOLLIN));
    say_result("closed", control(epoll, EPOLL_CTL_ADD, -1, EPOLLIN));
    struct epoll_event event;
    say_result("wait on a socket", epoll_wait(pair[0], &event, 1, 0));
    say_result("create 0", epoll_create(0));
    say_result("create with flags", epoll_create1(1));
    close(file);
    close(epoll);
    close_pair(pair);
}

static void duplicate_descriptors_apart(const struct case_context *context)
{
    int pair[2], epoll = pair_in_set(context, pair, EPOLLIN);
    int copy = dup(pair[1]);
    say_result("add the copy", control(epoll, EPOLL_CTL_ADD, copy, EPOLLIN | EPOLLOUT));
    send(pair[0], "x", 1, 0);
    settle();
    say_wait("both", epoll);
    say_result("delete the first", control(epoll, EPOLL_CTL_DEL, pair[1], 0));
    say_wait("the copy", epoll);
    close(copy);
    say_wait("the copy closed", epoll);
    close(epoll);
    close_pair(pair);
}

static void closed_number_still_watched(const struct case_context *context)
{
    int pair[2], epoll = pair_in_set(context, pair, EPOLLIN);
    int copy = dup(pair[1]);
    close(pair[1]);
    send(pair[0], "x", 1, 0);
    settle();
    say_wait("through the copy", epoll);
    say_result("delete by the closed number", control(epoll, EPOLL_CTL_DEL, pair[1], 0));
    close(copy);
    say_wait("all closed", epoll);
    close(epoll);
    close(pair[0]);
}

/* An entry is of a number and what it meant when it was added. */
static void number_means_another(const struct case_context *context)
{
    int pair[2], other[2], epoll = pair_in_set(context, pair, EPOLLIN);
    int number = pair[1], first = dup(pair[1]);
    make_pair(context, other);
    dup2(other[1], number);
    say_result("add the other", control(epoll, EPOLL_CTL_ADD, number, EPOLLIN));
    send(pair[0], "x", 1, 0);
    settle();
    say_wait("the first has data", epoll);
    send(other[0], "x", 1, 0);
    settle();
    say_wait("both have", epoll);
    say_result("delete the other", control(epoll, EPOLL_CTL_DEL, number, 0));
    say_wait("the first", epoll);
    dup2(first, number);
    say_result("add the first again", control(epoll, EPOLL_CTL_ADD, number, EPOLLIN));
    dup2(other[1], number);
    say_result("add the other again", control(epoll, EPOLL_CTL_ADD, number, EPOLLIN));
    dup2(first, number);
    say_result("modify the first", control(epoll, EPOLL_CTL_MOD, number, EPOLLOUT));
    say_wait("room and data", epoll);
    say_result("delete the first", control(epoll, EPOLL_CTL_DEL, number, 0));
    say_result("and again", control(epoll, EPOLL_CTL_DEL, number, 0));
    say_result("add it once more", control(epoll, EPOLL_CTL_ADD, number, EPOLLIN));
    dup2(other[1], number);
    close(epoll);
    send(pair[0], "x", 1, 0);
    settle();
    close(first);
    close(other[1]);
    close_pair(pair);
    close(other[0]);
}

static void nothing_asked_for(const struct case_context *context)
{
    int pair[2], epoll = pair_in_set(context, pair, 0);
    send(pair[0], "x", 1, 0);
    say_wait("data", epoll);
    shutdown(pair[0], SHUT_WR);
    say_wait("end", epoll);
    shutdown(pair[1], SHUT_WR);
    say_wait("both ends", epoll);
    close(epoll);
    close_pair(pair);
}

static void set_in_poll(const struct case_context *context)
{
    int pair[2], set = pair_in_set(context, pair, EPOLLIN);
    say_events("quiet", events_now(set, POLLIN));
    send(pair[0], "x", 1, 0);
    say_events("with data", wait_for(set, POLLIN));
    say_wait("itself", set);
    close(set);
    close_pair(pair);
}

static void set_duplicated(const struct case_context *context)
{
    int pair[2], epoll = pair_in_set(context, pair, EPOLLIN);
    int copy = dup(epoll);
    close(epoll);
    send(pair[0], "x", 1, 0);
    say_wait("by the copy", copy);
    say_result("modify", control(copy, EPOLL_CTL_MOD, pair[1], EPOLLOUT));
    say_wait("writable", copy);
    close(copy);
    close_pair(pair);
}

static void two_sets_one_socket(const struct case_context *context)
{
    int pair[2], first = pair_in_set(context, pair, EPOLLIN), second = watch(pair[1], EPOLLIN);
    char byte;
    send(pair[0], "x", 1, 0);
    settle();
    say_wait("first", first);
    say_wait("second", second);
    (void)!read(pair[1], &byte, 1);
    say_wait("first, read", first);
    close(first);
    send(pair[0], "y", 1, 0);
    say_wait("second", second);
    close(second);
    close_pair(pair);
}

static void added_before_listen(const struct case_context *context)
{
    struct sockaddr_storage address;
    socklen_t length = loopback(context, &address, 0);
    int fd = make_socket(context, 0), client = make_socket(context, 0);
    int epoll = watch(fd, EPOLLIN);
    say_wait("fresh", epoll);
    bind(fd, (struct sockaddr *)&address, length);
    say_wait("bound", epoll);
    listen(fd, 4);
    say_wait("listening", epoll);
    connect_to(context, client, port_of(fd));
    say_wait("connection", epoll);
    close(epoll);
    close(client);
    close(fd);
}

static void listener_edge_counts_once(const struct case_context *context)
{
    int listener = make_listener(context, 8), clients[2];
    int epoll = watch(listener, EPOLLIN | EPOLLET);
    for (int i = 0; i < 2; i++) {
        clients[i] = make_socket(context, 0);
        connect_to(context, clients[i], port_of(listener));
    }
    settle();
    say_wait("two connections", epoll);
    close(accept(listener, NULL, NULL));
    say_wait("one accepted", epoll);
    close(accept(listener, NULL, NULL));
    say_wait("both accepted", epoll);
    close(epoll);
    close(clients[0]);
    close(clients[1]);
    close(listener);
}

static void listener_shut_down(const struct case_context *context)
{
    int listener = make_listener(context, 8), epoll = watch(listener, EPOLLIN);
    shutdown(listener, SHUT_RDWR);
    say_wait("shut down", epoll);
    close(epoll);
    close(listener);
}

static void child_waits_on_inherited_set(const struct case_context *context)
{
    int pair[2], epoll = pair_in_set(context, pair, EPOLLIN);
    pid_t child = fork();
    if (child == 0) {
        struct epoll_event event;
        int count = epoll_wait(epoll, &event, 1, CASE_WAIT_MS);
        exit(count == 1 && event.events == EPOLLIN ? 7 : 8);
    }
    send(pair[0], "x", 1, 0);
    int status;
    waitpid(child, &status, 0);
    say("child %d", WEXITSTATUS(status));
    say_wait("parent", epoll);
    close(epoll);
    close_pair(pair);
}

static void wait_for_at_most_one(const struct case_context *context)
{
    int pairs[3][2], epoll = epoll_create1(0), seen = 0;
    struct epoll_event event;
    for (int i = 0; i < 3; i++) {
        make_pair(context, pairs[i]);
        event = (struct epoll_event){.events = EPOLLIN, .data.u32 = 1u << i};
        epoll_ctl(epoll, EPOLL_CTL_ADD, pairs[i][1], &event);
        send(pairs[i][0], "x", 1, 0);
    }
    settle();
    for (int i = 0; i < 3; i++) {
        say_result("wait", epoll_wait(epoll, &event, 1, CASE_WAIT_MS));
        seen |= (int)event.data.u32;
    }
    say("each had its turn %d", seen == 7);
    for (int i = 0; i < 3; i++)
        close_pair(pairs[i]);
    close(epoll);
}

static void timeouts_of_epoll(const struct case_context *context)
{
    int pair[2], epoll = pair_in_set(context, pair, EPOLLIN);
    struct epoll_event event;
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    say_result("wait 40 ms", epoll_wait(epoll, &event, 1, 40));
    clock_gettime(CLOCK_MONOTONIC, &end);
    long ms = (end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000;
    say("not too short %d", ms >= 39);
    say_result("pwait2", epoll_pwait2(epoll, &event, 1, &(struct timespec){.tv_nsec = 1000}, NULL));
    say_result("pwait2 bad",
               epoll_pwait2(epoll, &event, 1, &(struct timespec){.tv_nsec = -1}, NULL));
    close(epoll);
    close_pair(pair);
}

const struct socket_case cases_epoll[] = {
    {"edge_sequence_of_data", edge_sequence_of_data},
    {"edge_of_both_directions", edge_of_both_directions},
    {"edge_of_reset", edge_of_reset},
    {"one_shot_sequence", one_shot_sequence},
    {"one_shot_edge", one_shot_edge},
    {"exclusive_rules", exclusive_rules},
    {"wrong_operations", wrong_operations},
    {"duplicate_descriptors_apart", duplicate_descriptors_apart},
    {"closed_number_still_watched", closed_number_still_watched},
    {"number_means_another", number_means_another},
    {"nothing_asked_for", nothing_asked_for},
    {"set_in_poll", set_in_poll},
    {"set_duplicated", set_duplicated},
    {"two_sets_one_socket", two_sets_one_socket},
    {"added_before_listen", added_before_listen},
    {"listener_edge_counts_once", listener_edge_counts_once},
    {"listener_shut_down", listener_shut_down},
    {"child_waits_on_inherited_set", child_waits_on_inherited_set},
    {"wait_for_at_most_one", wait_for_at_most_one},
    {"timeouts_of_epoll", timeouts_of_epoll},
    {0},
};
