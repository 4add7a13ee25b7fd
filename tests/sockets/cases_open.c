/* Opening: bind, listen, connect, accept, names. */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "case.h"

static void bind_twice(const struct case_context *context)
{
    int fd = make_listener(context, 1);
    struct sockaddr_storage address;
    socklen_t length = loopback(context, &address, 0);
    say_result("bind again", bind(fd, (struct sockaddr *)&address, length));
    close(fd);
}

static void bind_taken_port(const struct case_context *context)
{
    int first = make_listener(context, 1);
    int second = make_socket(context, 0);
    struct sockaddr_storage address;
    socklen_t length = loopback(context, &address, port_of(first));
    say_result("bind", bind(second, (struct sockaddr *)&address, length));
    close(first);
    say_result("after close", bind(second, (struct sockaddr *)&address, length));
    close(second);
}

static void bind_taken_port_on_wildcard(const struct case_context *context)
{
    int first = make_listener(context, 1);
    int second = make_socket(context, 0);
    struct sockaddr_storage address;
    socklen_t length = wildcard(context, &address, port_of(first));
    say_result("bind", bind(second, (struct sockaddr *)&address, length));
    close(first);
    close(second);
}

static void bind_reuse_port(const struct case_context *context)
{
    int one = 1;
    struct sockaddr_storage address;
    int first = make_socket(context, 0), second = make_socket(context, 0);
    setsockopt(first, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
    setsockopt(second, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
    socklen_t length = loopback(context, &address, 0);
    say_result("first", bind(first, (struct sockaddr *)&address, length));
    length = loopback(context, &address, port_of(first));
    say_result("second", bind(second, (struct sockaddr *)&address, length));
    say_result("listen", listen(first, 1));
    say_result("listen", listen(second, 1));
    close(first);
    close(second);
}

static void bind_wrong_family(const struct case_context *context)
{
    struct case_context other = {.family = context->family == AF_INET ? AF_INET6 : AF_INET};
    struct sockaddr_storage address;
    socklen_t length = loopback(&other, &address, 0);
    int fd = make_socket(context, 0);
    say_result("bind", bind(fd, (struct sockaddr *)&address, length));
    say_result("bind short", bind(fd, (struct sockaddr *)&address, 4));
    close(fd);
}

static void bind_foreign_address(const struct case_context *context)
{
    struct sockaddr_storage address;
    socklen_t length = loopback(context, &address, 0);
    if (context->family == AF_INET)
        ((struct sockaddr_in *)&address)->sin_addr.s_addr = htonl(0xc0000201);
    else
        ((struct sockaddr_in6 *)&address)->sin6_addr.s6_addr[0] = 0x20;
    int fd = make_socket(context, 0);
    say_result("bind", bind(fd, (struct sockaddr *)&address, length));
    close(fd);
}

static void listen_unbound(const struct case_context *context)
{
    int fd = make_socket(context, 0);
    say_result("listen", listen(fd, 1));
    say("has a port: %d", port_of(fd) != 0);
    int client = make_socket(context, 0);
    say_result("connect", connect_to(context, client, port_of(fd)));
    int accepted = accept(fd, NULL, NULL);
    say("accepted: %d", accepted >= 0);
    close(accepted);
    close(client);
    close(fd);
}

static void listen_connected(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    say_result("listen", listen(pair[0], 1));
    say_result("listen accepted", listen(pair[1], 1));
    close_pair(pair);
}

static void listen_twice(const struct case_context *context)
{
    int fd = make_listener(context, 1);
    say_result("again", listen(fd, 5));
    close(fd);
}

static void accept_not_listening(const struct case_context *context)
{
    int pair[2];
    int fd = make_socket(context, 0);
    say_result("fresh", accept(fd, NULL, NULL));
    make_pair(context, pair);
    say_result("connected", accept(pair[0], NULL, NULL));
    say_result("accepted", accept(pair[1], NULL, NULL));
    close_pair(pair);
    close(fd);
}

static void accept_nothing(const struct case_context *context)
{
    int fd = make_listener(context, 1);
    set_nonblocking(fd, true);
    say_result("accept", accept(fd, NULL, NULL));
    struct timeval timeout = {.tv_usec = 30000};
    set_nonblocking(fd, false);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    say_result("accept with timeout", accept(fd, NULL, NULL));
    say_result("wrong flags", accept4(fd, NULL, NULL, 0x40));
    close(fd);
}

static void accept_flags(const struct case_context *context)
{
    int listener = make_listener(context, 4);
    int client = make_socket(context, 0), another = make_socket(context, 0);
    connect_to(context, client, port_of(listener));
    connect_to(context, another, port_of(listener));
    set_nonblocking(listener, true);
    wait_for(listener, POLLIN);
    int plain = accept(listener, NULL, NULL);
    say("accept: nonblocking %d, cloexec %d", (fcntl(plain, F_GETFL) & O_NONBLOCK) != 0,
        fcntl(plain, F_GETFD) & FD_CLOEXEC);
    wait_for(listener, POLLIN);
    int flagged = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    say("accept4: nonblocking %d, cloexec %d", (fcntl(flagged, F_GETFL) & O_NONBLOCK) != 0,
        fcntl(flagged, F_GETFD) & FD_CLOEXEC);
    say("flags of accepted: %#x", fcntl(plain, F_GETFL) & (O_ACCMODE | O_NONBLOCK | O_APPEND));
    close(plain);
    close(flagged);
    close(client);
    close(another);
    close(listener);
}

static void accept_names(const struct case_context *context)
{
    int listener = make_listener(context, 1);
    int client = make_socket(context, 0);
    connect_to(context, client, port_of(listener));
    struct sockaddr_storage peer, own;
    memset(&peer, 0, sizeof(peer));
    socklen_t length = sizeof(peer);
    int accepted = accept(listener, (struct sockaddr *)&peer, &length);
    socklen_t own_length = sizeof(own);
    getsockname(client, (struct sockaddr *)&own, &own_length);
    say("length %u, family %s, peer is the client: %d", length,
        peer.ss_family == AF_INET ? "inet" : "inet6", memcmp(&peer, &own, length) == 0);
    own_length = sizeof(own);
    say_result("getpeername", getpeername(accepted, (struct sockaddr *)&own, &own_length));
    say("same as accept said: %d", memcmp(&peer, &own, length) == 0);
    own_length = 4;
    say_result("short getsockname", getsockname(accepted, (struct sockaddr *)&own, &own_length));
    say("needed %u", own_length);
    say("ports agree: %d", port_of(accepted) == port_of(listener));
    close(accepted);
    close(client);
    close(listener);
}

static void accept_order(const struct case_context *context)
{
    int listener = make_listener(context, 8), clients[4];
    for (int i = 0; i < 4; i++) {
        clients[i] = make_socket(context, 0);
        connect_to(context, clients[i], port_of(listener));
        char byte = (char)('a' + i);
        send(clients[i], &byte, 1, 0);
    }
    for (int i = 0; i < 4; i++) {
        int accepted = accept(listener, NULL, NULL);
        char byte = 0;
        ssize_t got = recv(accepted, &byte, 1, 0);
        say_bytes("first byte", got, &byte);
        close(accepted);
        close(clients[i]);
    }
    close(listener);
}

static void accept_after_client_left(const struct case_context *context)
{
    int listener = make_listener(context, 1), client = make_socket(context, 0);
    connect_to(context, client, port_of(listener));
    send(client, "left", 4, 0);
    close(client);
    usleep(CASE_QUIET_MS * 1000);
    int accepted = accept(listener, NULL, NULL);
    char bytes[16];
    ssize_t got = recv(accepted, bytes, sizeof(bytes), 0);
    say_bytes("recv", got, bytes);
    say_result("recv", recv(accepted, bytes, sizeof(bytes), 0));
    close(accepted);
    close(listener);
}

static void connect_refused(const struct case_context *context)
{
    int listener = make_listener(context, 1);
    unsigned port = port_of(listener);
    close(listener);
    int fd = make_socket(context, 0);
    say_result("connect", connect_to(context, fd, port));
    say_socket_error("SO_ERROR", fd);
    say_result("send", send(fd, "x", 1, MSG_NOSIGNAL));
    say_result("connect again", connect_to(context, fd, port));
    close(fd);
}

static void connect_refused_nonblocking(const struct case_context *context)
{
    int listener = make_listener(context, 1);
    unsigned port = port_of(listener);
    close(listener);
    int fd = make_socket(context, SOCK_NONBLOCK);
    int result = connect_to(context, fd, port);
    say("connect in progress or refused: %d",
        result < 0 && (errno == EINPROGRESS || errno == ECONNREFUSED));
    say_events("poll", wait_for(fd, POLLIN | POLLOUT | POLLRDHUP));
    say_socket_error("SO_ERROR", fd);
    say_socket_error("SO_ERROR again", fd);
    say_events("poll", events_now(fd, POLLIN | POLLOUT | POLLRDHUP));
    close(fd);
}

static void connect_nonblocking(const struct case_context *context)
{
    int listener = make_listener(context, 1);
    int fd = make_socket(context, SOCK_NONBLOCK);
    int result = connect_to(context, fd, port_of(listener));
    say("in progress or done: %d", result == 0 || errno == EINPROGRESS);
    say("has a port at once: %d", port_of(fd) != 0);
    say_events("poll", wait_for(fd, POLLOUT));
    say_socket_error("SO_ERROR", fd);
    say_result("connect again", connect_to(context, fd, port_of(listener)));
    say_result("and again", connect_to(context, fd, port_of(listener)));
    close(fd);
    close(listener);
}

static void connect_connected(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    say_result("connected", connect_to(context, pair[0], 9));
    say_result("accepted", connect_to(context, pair[1], 9));
    close_pair(pair);
}

static void connect_listening(const struct case_context *context)
{
    int fd = make_listener(context, 1);
    say_result("connect", connect_to(context, fd, 9));
    close(fd);
}

static void connect_bound(const struct case_context *context)
{
    int listener = make_listener(context, 1), fd = make_socket(context, 0);
    struct sockaddr_storage address;
    socklen_t length = loopback(context, &address, 0);
    say_result("bind", bind(fd, (struct sockaddr *)&address, length));
    unsigned port = port_of(fd);
    say_result("connect", connect_to(context, fd, port_of(listener)));
    say("port kept: %d", port_of(fd) == port);
    struct sockaddr_storage peer;
    length = sizeof(peer);
    int accepted = accept(listener, (struct sockaddr *)&peer, &length);
    length = sizeof(address);
    getsockname(fd, (struct sockaddr *)&address, &length);
    say("peer sees it: %d", memcmp(&peer, &address, length) == 0);
    close(accepted);
    close(fd);
    close(listener);
}

static void connect_bad_address(const struct case_context *context)
{
    struct sockaddr_storage address;
    loopback(context, &address, 9);
    int fd = make_socket(context, 0);
    say_result("short", connect(fd, (struct sockaddr *)&address, 6));
    address.ss_family = AF_UNIX;
    say_result("wrong family", connect(fd, (struct sockaddr *)&address, sizeof(address)));
    close(fd);
}

static void connect_wildcard_means_loopback(const struct case_context *context)
{
    int listener = make_listener(context, 1), fd = make_socket(context, 0);
    struct sockaddr_storage address;
    socklen_t length = wildcard(context, &address, port_of(listener));
    say_result("connect", connect(fd, (struct sockaddr *)&address, length));
    close(fd);
    close(listener);
}

static void names_unconnected(const struct case_context *context)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    int fd = make_socket(context, 0);
    say_result("getsockname", getsockname(fd, (struct sockaddr *)&address, &length));
    say("length %u, port %u", length, port_of(fd));
    length = sizeof(address);
    say_result("getpeername", getpeername(fd, (struct sockaddr *)&address, &length));
    close(fd);
    fd = make_listener(context, 1);
    length = sizeof(address);
    say_result("getpeername of listener", getpeername(fd, (struct sockaddr *)&address, &length));
    close(fd);
}

static void wildcard_listener(const struct case_context *context)
{
    struct sockaddr_storage address;
    socklen_t length = wildcard(context, &address, 0);
    int listener = make_socket(context, 0), client = make_socket(context, 0);
    say_result("bind", bind(listener, (struct sockaddr *)&address, length));
    say_result("listen", listen(listener, 4));
    say_result("connect", connect_to(context, client, port_of(listener)));
    say_events("poll", wait_for(listener, POLLIN));
    length = sizeof(address);
    int accepted = accept(listener, (struct sockaddr *)&address, &length);
    say_result("send", send(client, "abc", 3, 0));
    char bytes[8];
    say_bytes("recv", recv(accepted, bytes, sizeof(bytes), 0), bytes);
    set_nonblocking(listener, true);
    say_result("no more", accept(listener, NULL, NULL));
    close(accepted);
    close(client);
    close(listener);
}

static void v4_client_of_v6_listener(const struct case_context *context)
{
    struct case_context v4 = {.family = AF_INET}, v6 = {.family = AF_INET6};
    struct sockaddr_storage address;
    int only = context->family == AF_INET; /* the two runs try both settings */
    socklen_t length = wildcard(&v6, &address, 0);
    int listener = make_socket(&v6, 0), client = make_socket(&v4, 0);
    setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
    bind(listener, (struct sockaddr *)&address, length);
    listen(listener, 4);
    int result = connect_to(&v4, client, port_of(listener));
    say_result(only ? "connect to v6only" : "connect to dual", result);
    if (result == 0) {
        length = sizeof(address);
        int accepted = accept(listener, (struct sockaddr *)&address, &length);
        say("family %d, length %u, mapped %d", address.ss_family, length,
            IN6_IS_ADDR_V4MAPPED(&((struct sockaddr_in6 *)&address)->sin6_addr));
        close(accepted);
    }
    close(client);
    close(listener);
}

static void on_alarm(int number)
{
    (void)number;
}

static void accept_interrupted(const struct case_context *context)
{
    int listener = make_listener(context, 1);
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval timer = {.it_value = {.tv_usec = 30000}};
    setitimer(ITIMER_REAL, &timer, NULL);
    say_result("accept", accept(listener, NULL, NULL));
    close(listener);
}

const struct socket_case cases_open[] = {
    {"bind_twice", bind_twice},
    {"bind_taken_port", bind_taken_port},
    {"bind_taken_port_on_wildcard", bind_taken_port_on_wildcard},
    {"bind_reuse_port", bind_reuse_port},
    {"bind_wrong_family", bind_wrong_family},
    {"bind_foreign_address", bind_foreign_address},
    {"listen_unbound", listen_unbound},
    {"listen_connected", listen_connected},
    {"listen_twice", listen_twice},
    {"accept_not_listening", accept_not_listening},
    {"accept_nothing", accept_nothing},
    {"accept_flags", accept_flags},
    {"accept_names", accept_names},
    {"accept_order", accept_order},
    {"accept_after_client_left", accept_after_client_left},
    {"accept_interrupted", accept_interrupted},
    {"connect_refused", connect_refused},
    {"connect_refused_nonblocking", connect_refused_nonblocking},
    {"connect_nonblocking", connect_nonblocking},
    {"connect_connected", connect_connected},
    {"connect_listening", connect_listening},
    {"connect_bound", connect_bound},
    {"connect_bad_address", connect_bad_address},
    {"connect_wildcard_means_loopback", connect_wildcard_means_loopback},
    {"names_unconnected", names_unconnected},
    {"wildcard_listener", wildcard_listener},
    {"v4_client_of_v6_listener", v4_client_of_v6_listener},
    {0},
};
