/* Servers and ports of a program that is not under PnO, as a test suite's helper may be: with
   PNO_LOOPBACK=1 they are found where they would be if all were the kernel's. */
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "case.h"

struct outside {
    pid_t pid;
    int leash; /**< closed, it ends */
    unsigned port;
};

static void begin(const struct case_context *context, struct outside *outside)
{
    int input[2], output[2];
    char line[16] = "";
    if (pipe(input) < 0 || pipe(output) < 0) {
        say_result("pipe", -1);
        exit(1);
    }
    outside->pid = fork();
    if (outside->pid == 0) {
        dup2(input[0], STDIN_FILENO);
        dup2(output[1], STDOUT_FILENO);
        for (int i = 0; i < 2; i++) {
            close(input[i]);
            close(output[i]);
        }
        exec_static_program("serve", context->family == AF_INET6 ? "6" : "4");
    }
    close(input[0]);
    close(output[1]);
    outside->leash = input[1];
    if (read(output[0], line, sizeof(line) - 1) <= 0)
        say("no server");
    outside->port = (unsigned)strtoul(line, NULL, 10);
    close(output[0]);
}

static void end(const struct outside *outside)
{
    int status = 0;
    close(outside->leash);
    waitpid(outside->pid, &status, 0);
    say("server's status %d", status);
}

static unsigned port_of_peer(int fd)
{
    struct sockaddr_in6 name = {0};
    socklen_t length = sizeof(name);
    return getpeername(fd, (struct sockaddr *)&name, &length) == 0 ? ntohs(name.sin6_port) : 0;
}

static void say_echo(const struct outside *outside, int fd)
{
    char bytes[16];
    say_result("send", send(fd, "to and fro", 10, 0));
    say_bytes("recv", recv(fd, bytes, 10, MSG_WAITALL), bytes);
    say("peer's port %s", port_of_peer(fd) == outside->port ? "right" : "wrong");
    shutdown(fd, SHUT_WR);
    say_result("end", recv(fd, bytes, sizeof(bytes), 0));
}

static void connected(const struct case_context *context)
{
    struct outside outside;
    begin(context, &outside);
    for (int i = 0; i < 3; i++) {
        int fd = make_socket(context, 0);
        say_result("connect", connect_to(context, fd, outside.port));
        say_result("again", connect_to(context, fd, outside.port));
        say_echo(&outside, fd);
        close(fd);
    }
    end(&outside);
}

static void connected_later(const struct case_context *context)
{
    struct outside outside;
    struct epoll_event event = {.events = EPOLLOUT}, got;
    begin(context, &outside);
    for (int in_set = 0; in_set < 2; in_set++) {
        int fd = make_socket(context, SOCK_NONBLOCK);
        int set = epoll_create1(EPOLL_CLOEXEC);
        if (in_set) {
            epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
            say_result("unconnected", epoll_wait(set, &got, 1, 0));
            say_events("events", got.events);
        }
        say_result("connect", connect_to(context, fd, outside.port));
        if (in_set) {
            say_result("wait", epoll_wait(set, &got, 1, CASE_WAIT_MS));
            say_events("events", got.events);
        } else {
            say_events("poll", wait_for(fd, POLLOUT));
        }
        say_socket_error("SO_ERROR", fd);
        set_nonblocking(fd, false);
        say_echo(&outside, fd);
        close(set);
        close(fd);
    }
    end(&outside);
}

static void connected_by_name(const struct case_context *context)
{
    struct outside outside;
    struct sockaddr_storage name;
    begin(context, &outside);
    for (int any = 0; any < 2; any++) {
        int fd = make_socket(context, 0);
        socklen_t length = any ? wildcard(context, &name, 0) : loopback(context, &name, 0);
        say_result("bind", bind(fd, (struct sockaddr *)&name, length));
        unsigned port = port_of(fd);
        say_result("connect", connect_to(context, fd, outside.port));
        say("port kept %d", port_of(fd) == port);
        say_echo(&outside, fd);
        close(fd);
    }
    end(&outside);
}

static void refused_by_both(const struct case_context *context)
{
    struct sockaddr_storage name;
    int listener = make_listener(context, 1);
    unsigned port = port_of(listener);
    close(listener);
    for (int bound = 0; bound < 2; bound++) {
        for (int flags = 0; flags <= SOCK_NONBLOCK; flags += SOCK_NONBLOCK) {
            int fd = make_socket(context, flags);
            socklen_t length = loopback(context, &name, 0);
            if (bound)
                say_result("bind", bind(fd, (struct sockaddr *)&name, length));
            say_result("connect", connect_to(context, fd, port));
            say_events("poll", wait_for(fd, POLLIN | POLLOUT));
            say_socket_error("SO_ERROR", fd);
            say_result("connect again", connect_to(context, fd, port));
            close(fd);
        }
    }
}

/* A socket that was refused finds who listens later. */
static void refused_and_then_connected(const struct case_context *context)
{
    struct sockaddr_storage name;
    int listener = make_socket(context, 0);
    say_result("bind", bind(listener, (struct sockaddr *)&name, loopback(context, &name, 0)));
    int fd = make_socket(context, 0);
    say_result("connect", connect_to(context, fd, port_of(listener)));
    say_result("listen", listen(listener, 4));
    say_result("connect", connect_to(context, fd, port_of(listener)));
    int accepted = accept(listener, NULL, NULL);
    char bytes[8];
    say_result("send", send(fd, "later", 5, 0));
    say_bytes("recv", recv(accepted, bytes, sizeof(bytes), 0), bytes);
    close(accepted);
    close(fd);
    close(listener);
}

static void taken_port(const struct case_context *context)
{
    struct outside outside;
    struct sockaddr_storage name;
    int on = 1;
    begin(context, &outside);
    for (int reuse = 0; reuse < 2; reuse++) {
        for (int any = 0; any < 2; any++) {
            int fd = make_socket(context, 0);
            socklen_t length = any ? wildcard(context, &name, outside.port)
                                   : loopback(context, &name, outside.port);
            if (reuse)
                setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
            say_result(any ? "wildcard" : "loopback", bind(fd, (struct sockaddr *)&name, length));
            close(fd);
        }
    }
    end(&outside);
}

const struct socket_case cases_outside[] = {
    {"outside_connected", connected},
    {"outside_connected_later", connected_later},
    {"outside_connected_by_name", connected_by_name},
    {"outside_refused_by_both", refused_by_both},
    {"outside_refused_and_then_connected", refused_and_then_connected},
    {"outside_taken_port", taken_port},
    {NULL, NULL},
};
