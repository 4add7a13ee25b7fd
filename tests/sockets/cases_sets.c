/* Epoll sets that others go on with: the next program across exec, a child, whoever is sent one. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "case.h"

/* Numbers that the program knows its descriptors by. */
enum { SET_FD = 50, CONNECTION_FD, LISTENER_FD, PIPE_FD, COMMANDS_FD, ANSWERS_FD };

#define ALL_EVENTS (POLLIN | POLLOUT | POLLRDHUP | POLLPRI)

/* ---- The program: does what it is told, and tells what came ------------------------------------
 */

static int compare_events(const void *one, const void *other)
{
    const struct epoll_event *a = one, *b = other;
    return a->data.u64 < b->data.u64 ? -1 : a->data.u64 > b->data.u64;
}

static void tell_events(int set, int timeout_ms)
{
    struct epoll_event events[8];
    char text[200];
    int count = epoll_wait(set, events, 8, timeout_ms);
    int length = snprintf(text, sizeof(text), "%d", count);
    if (count > 1)
        qsort(events, (size_t)count, sizeof(events[0]), compare_events);
    for (int i = 0; i < count; i++)
        length += snprintf(text + length, sizeof(text) - (size_t)length, " %llu:%x",
                           (unsigned long long)events[i].data.u64, events[i].events);
    (void)!write(ANSWERS_FD, text, (size_t)length + 1);
}

static void tell_result(int result)
{
    char text[64];
    int length =
        snprintf(text, sizeof(text), "%d %s", result, result < 0 ? strerrorname_np(errno) : "fine");
    (void)!write(ANSWERS_FD, text, (size_t)length + 1);
}

static void move(int fd, int to)
{
    dup2(fd, to);
    close(fd);
}

static void obey(const struct case_context *context, char command)
{
    struct epoll_event event = {.events = EPOLLOUT, .data.u64 = 99};
    char bytes[1 << 16] = "";
    switch (command) {
    case 'w': /* wait */
        tell_events(SET_FD, CASE_QUIET_MS);
        break;
    case 'b': /* blocked */
        tell_events(SET_FD, CASE_WAIT_MS);
        break;
    case 'r':
        tell_result((int)recv(CONNECTION_FD, bytes, sizeof(bytes), MSG_DONTWAIT));
        break;
    case 'a':
        tell_result(epoll_ctl(SET_FD, EPOLL_CTL_ADD, CONNECTION_FD, &event));
        break;
    case 'm':
        tell_result(epoll_ctl(SET_FD, EPOLL_CTL_MOD, CONNECTION_FD, &event));
        break;
    case 'd':
        tell_result(epoll_ctl(SET_FD, EPOLL_CTL_DEL, CONNECTION_FD, NULL));
        break;
    case 'c':
        tell_result(close(CONNECTION_FD));
        break;
    case 'f': /* fill */
        while (send(CONNECTION_FD, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
            ;
        tell_result(-1);
        break;
    case 's':
        tell_result(shutdown(CONNECTION_FD, SHUT_WR));
        break;
    case 'n': { /* new sockets */
        int pair[2];
        make_pair(context, pair);
        move(pair[0], CONNECTION_FD);
        tell_result((int)send(pair[1], "new", 3, 0));
        break;
    }
    default: {
        int accepted = accept(LISTENER_FD, NULL, NULL);
        tell_result(accepted < 0 ? -1 : close(accepted));
        break;
    }
    }
}

int program_with_set(const struct case_context *context)
{
    char command;
    while (read(COMMANDS_FD, &command, 1) == 1)
        obey(context, command);
    return 0;
}

/* ---- Who tells it -----------------------------------------------------------------------------
 */

struct told {
    int commands, answers;
    pid_t pid;
};

static void tell(const struct told *told, const char *what, char command)
{
    char text[200] = "no answer";
    size_t length = 0;
    if (write(told->commands, &command, 1) != 1)
        say_result("command", -1);
    while (length < sizeof(text) && read(told->answers, text + length, 1) == 1 &&
           text[length] != '\0')
        length++;
    say("%s: %s", what, text);
}

/* Let a child go on, as a new program if so wanted, with the descriptors named above. */
static void start(const struct case_context *context, struct told *told, bool as_program)
{
    int commands[2] = {-1, -1}, answers[2] = {-1, -1};
    if (pipe2(commands, O_CLOEXEC) < 0 || pipe2(answers, O_CLOEXEC) < 0)
        say_result("pipe", -1);
    told->pid = fork();
    if (told->pid == 0) {
        close(commands[1]);
        dup2(commands[0], COMMANDS_FD);
        dup2(answers[1], ANSWERS_FD);
        close(answers[1]);
        if (as_program)
            execl("/proc/self/exe", "pno-socket-cases", "program", "set",
                  context->family == AF_INET6 ? "6" : "4", (char *)NULL);
        _exit(as_program ? 95 : program_with_set(context));
    }
    close(commands[0]);
    close(answers[1]);
    told->commands = commands[1];
    told->answers = answers[0];
}

static void end(struct told *told)
{
    int status = 0;
    close(told->commands);
    waitpid(told->pid, &status, 0);
    say("exit %d", status);
    close(told->answers);
}

/* A set with a connection, a listener and a pipe in it, at the numbers above. */
static void make_set(const struct case_context *context, uint32_t events, int *peer, int *pipe_end)
{
    int pair[2], ends[2];
    make_pair(context, pair);
    *peer = pair[0];
    fcntl(pair[0], F_SETFD, FD_CLOEXEC);
    move(pair[1], CONNECTION_FD);
    move(make_listener(context, 4), LISTENER_FD);
    if (pipe(ends) < 0)
        say_result("pipe", -1);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    *pipe_end = ends[1];
    move(ends[0], PIPE_FD);
    move(epoll_create1(0), SET_FD);
    for (int i = 0; i < 3; i++) {
        static const int fds[] = {CONNECTION_FD, LISTENER_FD, PIPE_FD};
        struct epoll_event event = {.events = events, .data.u64 = (uint64_t)i + 1};
        say_result("add", epoll_ctl(SET_FD, EPOLL_CTL_ADD, fds[i], &event));
    }
}

static void close_set(int peer, int pipe_end)
{
    const int fds[] = {SET_FD, CONNECTION_FD, LISTENER_FD, PIPE_FD, peer, pipe_end};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        close(fds[i]);
}

static void say_own_events(const char *what)
{
    struct epoll_event events[8];
    int count = epoll_wait(SET_FD, events, 8, CASE_QUIET_MS);
    say_result(what, count);
    if (count > 1)
        qsort(events, (size_t)count, sizeof(events[0]), compare_events);
    for (int i = 0; i < count; i++)
        say("  %llu:%x", (unsigned long long)events[i].data.u64, events[i].events);
}

/* ---- Across exec --------------------------------------------------------------------------------
 */

static void exec_level(const struct case_context *context)
{
    struct told told;
    int peer, pipe_end;
    make_set(context, EPOLLIN, &peer, &pipe_end);
    start(context, &told, true);
    tell(&told, "nothing", 'w');
    send(peer, "x", 1, 0);
    tell(&told, "data", 'w');
    tell(&told, "still", 'w');
    (void)!write(pipe_end, "x", 1);
    tell(&told, "and the pipe", 'w');
    tell(&told, "read", 'r');
    tell(&told, "the pipe", 'w');
    int client = make_socket(context, 0);
    connect_to(context, client, port_of(LISTENER_FD));
    tell(&told, "and the listener", 'w');
    tell(&told, "accept", 'l');
    tell(&told, "add again", 'a');
    tell(&told, "modify", 'm');
    tell(&told, "writable", 'w');
    tell(&told, "remove", 'd');
    tell(&told, "without", 'w');
    tell(&told, "add", 'a');
    tell(&told, "with", 'w');
    tell(&told, "close", 'c');
    end(&told);
    close(client);
    close_set(peer, pipe_end);
}

static void exec_with_unread(const struct case_context *context, uint32_t events, bool collected)
{
    struct told told;
    int peer, pipe_end;
    make_set(context, events, &peer, &pipe_end);
    send(peer, "before", 6, 0);
    wait_for(CONNECTION_FD, POLLIN);
    if (collected)
        say_own_events("before");
    start(context, &told, true);
    tell(&told, "after", 'w');
    tell(&told, "after", 'w');
    send(peer, "more", 4, 0);
    settle();
    tell(&told, "more", 'w');
    tell(&told, "read", 'r');
    shutdown(peer, SHUT_WR);
    settle();
    tell(&told, "end", 'w');
    tell(&told, "modify", 'm');
    tell(&told, "modified", 'w');
    end(&told);
    close_set(peer, pipe_end);
}

static void exec_edge(const struct case_context *context)
{
    exec_with_unread(context, EPOLLIN | EPOLLRDHUP | EPOLLET, false);
}

static void exec_edge_collected(const struct case_context *context)
{
    exec_with_unread(context, EPOLLIN | EPOLLRDHUP | EPOLLET, true);
}

static void exec_one_shot(const struct case_context *context)
{
    exec_with_unread(context, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, false);
}

static void exec_one_shot_collected(const struct case_context *context)
{
    exec_with_unread(context, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, true);
}

static void exec_blocked(const struct case_context *context)
{
    struct told told;
    int peer, pipe_end;
    make_set(context, EPOLLIN, &peer, &pipe_end);
    start(context, &told, true);
    char command = 'b';
    (void)!write(told.commands, &command, 1);
    settle();
    send(peer, "x", 1, 0);
    tell(&told, "woken", 'w');
    tell(&told, "still", 'r');
    end(&told);
    close_set(peer, pipe_end);
}

static void exec_closes_some(const struct case_context *context)
{
    struct told told;
    int peer, pipe_end;
    make_set(context, EPOLLIN, &peer, &pipe_end);
    fcntl(CONNECTION_FD, F_SETFD, FD_CLOEXEC);
    send(peer, "x", 1, 0);
    wait_for(CONNECTION_FD, POLLIN);
    say_own_events("before");
    int pair[2];
    make_pair(context, pair);
    close(pair[0]);
    close(pair[1]);
    start(context, &told, true);
    close(CONNECTION_FD); /* the program's end of it is closed by exec */
    tell(&told, "not that one", 'w');
    tell(&told, "read", 'r');
    end(&told);
    close_set(peer, pipe_end);
}

static void exec_of_a_copy(const struct case_context *context)
{
    struct told told;
    int peer, pipe_end;
    make_set(context, EPOLLIN, &peer, &pipe_end);
    int copy = dup(CONNECTION_FD);
    fcntl(CONNECTION_FD, F_SETFD, FD_CLOEXEC);
    start(context, &told, true);
    close(CONNECTION_FD);
    send(peer, "x", 1, 0);
    settle();
    tell(&told, "by its copy", 'w');
    tell(&told, "no such number", 'r');
    end(&told);
    close(copy);
    close_set(peer, pipe_end);
}

static void exec_nested(const struct case_context *context)
{
    struct told told;
    int peer, pipe_end;
    make_set(context, EPOLLIN, &peer, &pipe_end);
    int inner = dup(SET_FD);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 7};
    move(epoll_create1(0), SET_FD);
    say_result("add", epoll_ctl(SET_FD, EPOLL_CTL_ADD, inner, &event));
    start(context, &told, true);
    tell(&told, "nothing", 'w');
    send(peer, "x", 1, 0);
    tell(&told, "through both", 'w');
    tell(&told, "read", 'r');
    tell(&told, "nothing", 'w');
    end(&told);
    close(inner);
    close_set(peer, pipe_end);
}

/* A set without sockets in it yet is only a descriptor to the new program. */
static void exec_empty(const struct case_context *context)
{
    struct told told;
    int pair[2];
    make_pair(context, pair);
    move(epoll_create1(0), SET_FD);
    fcntl(pair[0], F_SETFD, FD_CLOEXEC);
    move(pair[1], CONNECTION_FD);
    start(context, &told, true);
    tell(&told, "add", 'a');
    tell(&told, "writable", 'w');
    tell(&told, "add again", 'a');
    end(&told);
    close(SET_FD);
    close(CONNECTION_FD);
    close(pair[0]);
}

static void exec_alone(const struct case_context *context)
{
    struct told told;
    move(epoll_create1(0), SET_FD);
    start(context, &told, true);
    tell(&told, "sockets of its own", 'n');
    tell(&told, "add", 'a');
    tell(&told, "writable", 'w');
    tell(&told, "remove", 'd');
    tell(&told, "nothing", 'w');
    end(&told);
    close(SET_FD);
}

/* ---- Across fork --------------------------------------------------------------------------------
 */

static void say_modified(const char *what, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = 8};
    say_result(what, epoll_ctl(SET_FD, EPOLL_CTL_MOD, CONNECTION_FD, &event));
}

static void shared_level(const struct case_context *context)
{
    struct told told;
    int peer, pipe_end;
    make_set(context, EPOLLIN, &peer, &pipe_end);
    start(context, &told, false);
    tell(&told, "nothing", 'w');
    send(peer, "x", 1, 0);
    settle();
    tell(&told, "data", 'w');
    say_own_events("here too");
    tell(&told, "read", 'r');
    say_own_events("read");
    tell(&told, "nothing", 'w');
    end(&told);
    close_set(peer, pipe_end);
}

/* An edge is told to one of the two. */
static void shared_edge(const struct case_context *context)
{
    struct told told;
    int peer, pipe_end;
    make_set(context, EPOLLIN | EPOLLRDHUP | EPOLLET, &peer, &pipe_end);
    start(context, &told, false);
    for (int i = 0; i < 3; i++) {
        send(peer, "one", 3, 0);
        settle();
        say_own_events("here first");
        tell(&told, "not there", 'w');
        send(peer, "another", 7, 0);
        settle();
        tell(&told, "there first", 'w');
        say_own_events("not here");
        if (i == 1)
            tell(&told, "read", 'r');
    }
    (void)!write(pipe_end, "x", 1);
    tell(&told, "the pipe", 'w');
    say_own_events("no more");
    shutdown(peer, SHUT_WR);
    settle();
    tell(&told, "the end", 'w');
    say_own_events("no more");
    end(&told);
    close_set(peer, pipe_end);
}

static void shared_edge_of_a_listener(const struct case_context *context)
{
    struct told told;
    int peer, pipe_end, clients[4];
    make_set(context, EPOLLIN | EPOLLET, &peer, &pipe_end);
    start(context, &told, false);
    for (int i = 0; i < 4; i++) {
        clients[i] = make_socket(context, 0);
        connect_to(context, clients[i], port_of(LISTENER_FD));
        settle();
        if (i % 2 == 0)
            say_own_events("here first");
        tell(&told, "there", 'w');
        say_own_events("here");
        if (i == 1)
            tell(&told, "accept", 'l');
    }
    end(&told);
    for (int i = 0; i < 4; i++)
        close(clients[i]);
    close_set(peer, pipe_end);
}

/* A write that fills the connection, and a peer that makes room. */
static void shared_edge_of_room(const struct case_context *context)
{
    struct told told;
    int peer, pipe_end;
    static char bytes[1 << 16];
    make_set(context, EPOLLOUT | EPOLLET, &peer, &pipe_end);
    say_own_events("writable");
    start(context, &told, false);
    for (int i = 0; i < 2; i++) {
        while (send(CONNECTION_FD, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
            ;
        say_own_events("full");
        while (recv(peer, bytes, sizeof(bytes), MSG_DONTWAIT) > 0 || events_now(peer, POLLIN) != 0)
            ;
        settle();
        if (i == 0)
            tell(&told, "there", 'w');
        say_own_events("here");
        tell(&told, "there", 'w');
    }
    end(&told);
    close_set(peer, pipe_end);
}

static void shared_one_shot(const struct case_context *context)
{
    struct told told;
    int peer, pipe_end;
    make_set(context, EPOLLIN | EPOLLONESHOT, &peer, &pipe_end);
    start(context, &told, false);
    for (int i = 0; i < 3; i++) {
        send(peer, "x", 1, 0);
        settle();
        tell(&told, "there", 'w');
        say_own_events("not here");
        send(peer, "x", 1, 0);
        settle();
        tell(&told, "no more", 'w');
        say_own_events("no more");
        say_modified("armed", EPOLLIN | EPOLLONESHOT);
        say_own_events("here");
        tell(&told, "not there", 'w');
        tell(&told, "read", 'r');
        say_modified("armed", EPOLLIN | EPOLLONESHOT);
    }
    end(&told);
    close_set(peer, pipe_end);
}

static void shared_changes(const struct case_context *context)
{
    struct told told;
    int peer, pipe_end;
    struct epoll_event event = {.events = EPOLLOUT, .data.u64 = 5};
    make_set(context, EPOLLIN, &peer, &pipe_end);
    start(context, &told, false);
    tell(&told, "modify", 'm');
    say_own_events("modified there");
    say_modified("modify", EPOLLIN);
    tell(&told, "modified here", 'w');
    send(peer, "x", 1, 0);
    settle();
    tell(&told, "data", 'w');
    tell(&told, "remove", 'd');
    say_own_events("removed there");
    say_result("remove", epoll_ctl(SET_FD, EPOLL_CTL_DEL, CONNECTION_FD, NULL));
    say_modified("modify", EPOLLIN);
    tell(&told, "add", 'a');
    say_result("add", epoll_ctl(SET_FD, EPOLL_CTL_ADD, CONNECTION_FD, &event));
    say_own_events("added there");
    say_result("remove", epoll_ctl(SET_FD, EPOLL_CTL_DEL, CONNECTION_FD, NULL));
    tell(&told, "removed here", 'w');
    tell(&told, "remove", 'd');
    say_result("add", epoll_ctl(SET_FD, EPOLL_CTL_ADD, CONNECTION_FD, &event));
    tell(&told, "added here", 'w');
    tell(&told, "close", 'c');
    say_own_events("closed there");
    end(&told);
    say_own_events("afterwards");
    close_set(peer, pipe_end);
}

/* More changes than are remembered one by one. */
static void shared_many_changes(const struct case_context *context)
{
    struct told told;
    int peer, pipe_end;
    make_set(context, EPOLLIN, &peer, &pipe_end);
    start(context, &told, false);
    for (int i = 0; i < 1000; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)i};
        epoll_ctl(SET_FD, EPOLL_CTL_MOD, i % 2 ? CONNECTION_FD : LISTENER_FD, &event);
    }
    say_result("remove", epoll_ctl(SET_FD, EPOLL_CTL_DEL, LISTENER_FD, NULL));
    say_modified("modify", EPOLLOUT);
    tell(&told, "the last one", 'w');
    int client = make_socket(context, 0);
    connect_to(context, client, port_of(LISTENER_FD));
    tell(&told, "without the listener", 'w');
    end(&told);
    close(client);
    close_set(peer, pipe_end);
}

static void shared_blocked(const struct case_context *context)
{
    struct told told;
    int peer, pipe_end;
    char text[64] = "";
    make_set(context, EPOLLIN, &peer, &pipe_end);
    start(context, &told, false);
    for (int i = 0; i < 3; i++) {
        char command = 'b';
        (void)!write(told.commands, &command, 1);
        settle();
        say_modified("modify", EPOLLOUT);
        ssize_t got = read(told.answers, text, sizeof(text) - 1);
        say("woken: %.*s", (int)got, text);
        say_modified("modify", EPOLLIN);
    }
    end(&told);
    close_set(peer, pipe_end);
}

static void shared_level_of_a_listener(const struct case_context *context)
{
    struct told told;
    int peer, pipe_end, clients[3];
    make_set(context, EPOLLIN, &peer, &pipe_end);
    start(context, &told, false);
    for (int i = 0; i < 3; i++) {
        clients[i] = make_socket(context, 0);
        connect_to(context, clients[i], port_of(LISTENER_FD));
    }
    for (int i = 0; i < 3; i++) {
        settle();
        say_own_events("a connection");
        say_events("poll", events_now(LISTENER_FD, ALL_EVENTS));
        tell(&told, "there", 'w');
        tell(&told, "accept", 'l');
    }
    say_own_events("all accepted");
    tell(&told, "there", 'w');
    say_events("poll", events_now(LISTENER_FD, ALL_EVENTS));
    close(clients[1]);
    clients[1] = make_socket(context, 0);
    connect_to(context, clients[1], port_of(LISTENER_FD));
    settle();
    say_own_events("another");
    say_events("poll", events_now(LISTENER_FD, ALL_EVENTS));
    tell(&told, "there", 'w');
    end(&told);
    for (int i = 0; i < 3; i++)
        close(clients[i]);
    close_set(peer, pipe_end);
}

/* What one reads, writes and shuts down the other need not be told of. */
static void shared_readiness(const struct case_context *context)
{
    struct told told;
    int peer, pipe_end;
    char bytes[1 << 12] = "";
    make_set(context, EPOLLIN, &peer, &pipe_end);
    start(context, &told, false);
    for (int i = 0; i < 2; i++) {
        send(peer, "bytes", 5, 0);
        settle();
        say_events("data", events_now(CONNECTION_FD, ALL_EVENTS));
        tell(&told, "read", 'r');
        say_events("read there", events_now(CONNECTION_FD, ALL_EVENTS));
        say_result("recv", recv(CONNECTION_FD, bytes, 1, MSG_DONTWAIT));
    }
    tell(&told, "fill", 'f');
    say_events("filled there", events_now(CONNECTION_FD, ALL_EVENTS));
    while (recv(peer, bytes, sizeof(bytes), MSG_DONTWAIT) > 0 || events_now(peer, POLLIN) != 0)
        ;
    say_events("room", wait_for(CONNECTION_FD, POLLOUT));
    tell(&told, "shut down", 's');
    say_events("shut down there", events_now(CONNECTION_FD, ALL_EVENTS));
    say_result("send", send(CONNECTION_FD, "x", 1, MSG_NOSIGNAL));
    shutdown(peer, SHUT_WR);
    settle();
    say_events("both", events_now(CONNECTION_FD, ALL_EVENTS));
    say_own_events("in the set");
    end(&told);
    close_set(peer, pipe_end);
}

/* No descriptor is left for whatever sharing may need. */
static void shared_at_the_limit(const struct case_context *context)
{
    int peer, pipe_end, status = 0;
    struct rlimit limit;
    make_set(context, EPOLLIN, &peer, &pipe_end);
    send(peer, "x", 1, 0);
    settle();
    getrlimit(RLIMIT_NOFILE, &limit);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = 3;
    say_result("setrlimit", setrlimit(RLIMIT_NOFILE, &limit));
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    waitpid(pid, &status, 0);
    say_own_events("the parent goes on");
    limit.rlim_cur = before;
    setrlimit(RLIMIT_NOFILE, &limit);
    close_set(peer, pipe_end);
}

const struct socket_case cases_sets[] = {
    {"child_shares_set_at_the_limit", shared_at_the_limit},
    {"child_shares_set_level_of_a_listener", shared_level_of_a_listener},
    {"child_shares_readiness", shared_readiness},
    {"child_shares_set_level", shared_level},
    {"child_shares_set_edge", shared_edge},
    {"child_shares_set_edge_of_a_listener", shared_edge_of_a_listener},
    {"child_shares_set_edge_of_room", shared_edge_of_room},
    {"child_shares_set_one_shot", shared_one_shot},
    {"child_shares_set_changes", shared_changes},
    {"child_shares_set_many_changes", shared_many_changes},
    {"child_shares_set_blocked", shared_blocked},
    {"exec_set_level", exec_level},
    {"exec_set_edge", exec_edge},
    {"exec_set_edge_collected", exec_edge_collected},
    {"exec_set_one_shot", exec_one_shot},
    {"exec_set_one_shot_collected", exec_one_shot_collected},
    {"exec_set_blocked", exec_blocked},
    {"exec_set_closes_some", exec_closes_some},
    {"exec_set_of_a_copy", exec_of_a_copy},
    {"exec_set_nested", exec_nested},
    {"exec_set_empty", exec_empty},
    {"exec_set_alone", exec_alone},
    {NULL, NULL},
};
