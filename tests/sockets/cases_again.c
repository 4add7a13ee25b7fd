/* Sockets whose connection is no more: disconnected by AF_UNSPEC, refused, connected again. */
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <unistd.h>

#include "case.h"

#define ALL_EVENTS (POLLIN | POLLOUT | POLLRDHUP | POLLPRI)

static int disconnect(int fd)
{
    return connect(fd, &(struct sockaddr){.sa_family = AF_UNSPEC}, sizeof(struct sockaddr));
}

static void say_names(const struct case_context *context, const char *what, int fd)
{
    struct sockaddr_storage name = {0}, peer = {0}, any;
    socklen_t length = sizeof(name);
    getsockname(fd, (struct sockaddr *)&name, &length);
    unsigned port = port_of(fd);
    length = wildcard(context, &any, port);
    say("%s: wildcard %d, port %d", what, memcmp(&name, &any, length) == 0, port != 0);
    length = sizeof(peer);
    say_result("  peer", getpeername(fd, (struct sockaddr *)&peer, &length));
}

/* The port of a listener that is gone. */
static unsigned refusing_port(const struct case_context *context)
{
    int listener = make_listener(context, 1);
    unsigned port = port_of(listener);
    close(listener);
    return port;
}

static int bound_socket(const struct case_context *context, bool to_any, unsigned port)
{
    struct sockaddr_storage address;
    int fd = make_socket(context, 0);
    socklen_t length =
        to_any ? wildcard(context, &address, port) : loopback(context, &address, port);
    say_result("bind", bind(fd, (struct sockaddr *)&address, length));
    return fd;
}

/* One that a socket can be bound to, nothing of an earlier case being in its way. */
static unsigned free_port(const struct case_context *context, bool to_any)
{
    struct sockaddr_storage address;
    int fd = make_socket(context, 0);
    socklen_t length = to_any ? wildcard(context, &address, 0) : loopback(context, &address, 0);
    bind(fd, (struct sockaddr *)&address, length);
    unsigned port = port_of(fd);
    close(fd);
    return port;
}

static void connect_to_port_zero(const struct case_context *context)
{
    int fd = make_socket(context, 0);
    say_result("connect", connect_to(context, fd, 0));
    say_socket_error("SO_ERROR", fd);
    say_events("events", events_now(fd, ALL_EVENTS));
    close(fd);
    fd = make_socket(context, SOCK_NONBLOCK);
    int result = connect_to(context, fd, 0);
    say("in progress or refused %d", result < 0 && (errno == EINPROGRESS || errno == ECONNREFUSED));
    close(fd);
}

static void disconnect_fresh(const struct case_context *context)
{
    int fd = make_socket(context, 0);
    say_result("disconnect", disconnect(fd));
    say_events("events", events_now(fd, ALL_EVENTS));
    say_socket_error("SO_ERROR", fd);
    close(fd);
}

static void disconnect_connected(const struct case_context *context)
{
    int pair[2];
    char byte;
    make_pair(context, pair);
    say_result("disconnect", disconnect(pair[0]));
    say_events("events", events_now(pair[0], ALL_EVENTS));
    say_names(context, "names", pair[0]);
    say_socket_error("SO_ERROR", pair[0]);
    say_socket_error("again", pair[0]);
    say_events("events then", events_now(pair[0], ALL_EVENTS));
    say_result("recv", recv(pair[0], &byte, 1, MSG_DONTWAIT));
    say_result("send", send(pair[0], &byte, 1, MSG_NOSIGNAL));
    say_events("peer", wait_for(pair[1], POLLIN | POLLRDHUP));
    say_result("peer's recv", recv(pair[1], &byte, 1, 0));
    close_pair(pair);
}

static void disconnect_after_both_ends(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    shutdown(pair[1], SHUT_WR);
    settle();
    shutdown(pair[0], SHUT_WR);
    settle();
    say_result("disconnect", disconnect(pair[0]));
    say_socket_error("SO_ERROR", pair[0]);
    close_pair(pair);
}

static void disconnect_seen_by_epoll_and_select(const struct case_context *context)
{
    int pair[2], epoll = epoll_create1(0);
    struct timeval none = {0};
    make_pair(context, pair);
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], &event);
    disconnect(pair[0]);
    say_result("epoll", epoll_wait(epoll, &event, 1, CASE_QUIET_MS));
    say_events("event", event.events);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(pair[0], &set);
    say_result("select", select(pair[0] + 1, &set, NULL, NULL, &none));
    say_socket_error("SO_ERROR", pair[0]);
    say_result("epoll then", epoll_wait(epoll, &event, 1, CASE_QUIET_MS));
    say_events("event", event.events);
    close(epoll);
    close_pair(pair);
}

static void disconnect_and_connect_again(const struct case_context *context)
{
    int listener = make_listener(context, 4), fd = make_socket(context, 0);
    char byte = 'a';
    for (int i = 0; i < 3; i++) {
        say_result("connect", connect_to(context, fd, port_of(listener)));
        int accepted = accept(listener, NULL, NULL);
        say_result("send", send(fd, &byte, 1, 0));
        say_result("recv", recv(accepted, &byte, 1, 0));
        say_result("answer", send(accepted, "b", 1, 0));
        say_events("answered", wait_for(fd, POLLIN));
        if (i != 1)
            say_result("read", recv(fd, &byte, 1, 0));
        say_result("disconnect", disconnect(fd));
        close(accepted);
    }
    close(fd);
    close(listener);
}

/* Nothing of the connection is remembered when the next socket comes. */
static void disconnect_after_a_part_was_read(const struct case_context *context)
{
    char bytes[4];
    int pair[2];
    for (int round = 0; round < 3; round++) {
        make_pair(context, pair);
        say_result("send", send(pair[0], "some bytes", 10, MSG_NOSIGNAL));
        say_result("recv", recv(pair[1], bytes, sizeof(bytes), MSG_WAITALL));
        say_result("disconnect", disconnect(pair[1]));
        close(pair[1]);
        pair[1] = make_socket(context, 0); /* in the other's memory, perhaps */
        say_result("poll", poll(&(struct pollfd){.fd = pair[0], .events = ALL_EVENTS}, 1, 1000));
        say_socket_error("error", pair[0]);
        close_pair(pair);
    }
}

static void disconnect_listener(const struct case_context *context)
{
    int listener = make_listener(context, 4), client = make_socket(context, 0);
    unsigned port = port_of(listener);
    say_result("disconnect", disconnect(listener));
    say_events("events", events_now(listener, ALL_EVENTS));
    say_socket_error("SO_ERROR", listener);
    say_result("accept", accept(listener, NULL, NULL));
    say_result("connect", connect_to(context, client, port));
    say_result("listen", listen(listener, 4));
    close(client);
    client = make_socket(context, 0);
    say_result("connect", connect_to(context, client, port_of(listener)));
    close(client);
    close(listener);
}

static void bound_port_kept_when_refused(const struct case_context *context, bool to_any)
{
    int listener = make_listener(context, 4);
    unsigned refusing = refusing_port(context), port = free_port(context, to_any);
    int fd = bound_socket(context, to_any, port);
    say_result("refused", connect_to(context, fd, refusing));
    say_names(context, "names", fd);
    say("port kept %d", port_of(fd) == port);
    int other = bound_socket(context, to_any, port);
    close(other);
    say_result("connect", connect_to(context, fd, port_of(listener)));
    say("port kept %d", port_of(fd) == port);
    close(fd);
    close(listener);
}

static void bound_address_port_kept_when_refused(const struct case_context *context)
{
    bound_port_kept_when_refused(context, false);
}

static void bound_wildcard_port_kept_when_refused(const struct case_context *context)
{
    bound_port_kept_when_refused(context, true);
}

static void bound_address_kept_when_refused(const struct case_context *context)
{
    int fd = bound_socket(context, false, 0);
    say_result("refused", connect_to(context, fd, refusing_port(context)));
    say_names(context, "names", fd);
    say_result("listen", listen(fd, 1));
    say_names(context, "listening", fd);
    close(fd);
}

static int reusing_socket(const struct case_context *context, bool to_any, unsigned port)
{
    struct sockaddr_storage address;
    int fd = make_socket(context, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    socklen_t length =
        to_any ? wildcard(context, &address, port) : loopback(context, &address, port);
    say_result("bind", bind(fd, (struct sockaddr *)&address, length));
    return fd;
}

/* The pair of addresses is in use: connect() says so before anything is sent. */
static void bound_port_kept_when_pair_is_taken(const struct case_context *context, bool to_any)
{
    int listener = make_listener(context, 4), client = make_socket(context, 0);
    unsigned port = refusing_port(context);
    int first = reusing_socket(context, to_any, port), fd = reusing_socket(context, to_any, port);
    say_result("connect", connect_to(context, first, port_of(listener)));
    say_result("the same pair", connect_to(context, fd, port_of(listener)));
    say_socket_error("SO_ERROR", fd);
    say_names(context, "names", fd);
    say("port kept %d", port_of(fd) == port);
    say_result("again", connect_to(context, fd, port_of(listener)));
    say_result("listen", listen(fd, 1));
    say("port kept %d", port_of(fd) == port);
    say_result("is reached", connect_to(context, client, port));
    close(client);
    close(fd);
    close(first);
    close(listener);
}

static void bound_address_port_kept_when_pair_is_taken(const struct case_context *context)
{
    bound_port_kept_when_pair_is_taken(context, false);
}

static void bound_wildcard_port_kept_when_pair_is_taken(const struct case_context *context)
{
    bound_port_kept_when_pair_is_taken(context, true);
}

static void bound_port_kept_when_disconnected(const struct case_context *context)
{
    int listener = make_listener(context, 4);
    unsigned port = refusing_port(context);
    int fd = bound_socket(context, false, port);
    connect_to(context, fd, port_of(listener));
    say_result("disconnect", disconnect(fd));
    say_names(context, "names", fd);
    say("port kept %d", port_of(fd) == port);
    say_events("events", events_now(fd, ALL_EVENTS));
    say_socket_error("SO_ERROR", fd);
    say_result("connect", connect_to(context, fd, port_of(listener)));
    say("port kept %d", port_of(fd) == port);
    close(fd);
    close(listener);
}

const struct socket_case cases_again[] = {
    {"connect_to_port_zero", connect_to_port_zero},
    {"disconnect_fresh", disconnect_fresh},
    {"disconnect_connected", disconnect_connected},
    {"disconnect_after_a_part_was_read", disconnect_after_a_part_was_read},
    {"disconnect_after_both_ends", disconnect_after_both_ends},
    {"disconnect_seen_by_epoll_and_select", disconnect_seen_by_epoll_and_select},
    {"disconnect_and_connect_again", disconnect_and_connect_again},
    {"disconnect_listener", disconnect_listener},
    {"bound_address_port_kept_when_refused", bound_address_port_kept_when_refused},
    {"bound_wildcard_port_kept_when_refused", bound_wildcard_port_kept_when_refused},
    {"bound_address_kept_when_refused", bound_address_kept_when_refused},
    {"bound_address_port_kept_when_pair_is_taken", bound_address_port_kept_when_pair_is_taken},
    {"bound_wildcard_port_kept_when_pair_is_taken", bound_wildcard_port_kept_when_pair_is_taken},
    {"bound_port_kept_when_disconnected", bound_port_kept_when_disconnected},
    {0},
};
