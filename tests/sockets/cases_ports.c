/* How a port comes to a socket: IP_BIND_ADDRESS_NO_PORT, IP_LOCAL_PORT_RANGE. */
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "case.h"

#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif

/* Within what any stack chooses from, and wide: others use some of it. */
#define FIRST_PORT 40000u
#define LAST_PORT  45000u

static int make_portless(const struct case_context *context, bool any)
{
    struct sockaddr_storage address;
    int one = 1;
    int fd = make_socket(context, 0);
    say_result("set", setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)));
    socklen_t length = any ? wildcard(context, &address, 0) : loopback(context, &address, 0);
    say_result("bind", bind(fd, (struct sockaddr *)&address, length));
    say("port %u", port_of(fd));
    return fd;
}

static void say_peer(const char *what, int fd, int peer)
{
    struct sockaddr_storage own = {0}, seen = {0};
    socklen_t length = sizeof(own);
    getsockname(fd, (struct sockaddr *)&own, &length);
    length = sizeof(seen);
    getpeername(peer, (struct sockaddr *)&seen, &length);
    say("%s: has a port %d, the same %d", what, port_of(fd) != 0, memcmp(&own, &seen, length) == 0);
}

static void ports_at_connect(const struct case_context *context)
{
    for (int any = 0; any < 2; any++) {
        int listener = make_listener(context, 1);
        int fd = make_portless(context, any);
        say_events("bound", events_now(fd, POLLIN | POLLOUT));
        say_result("connect", connect_to(context, fd, port_of(listener)));
        int accepted = accept(listener, NULL, NULL);
        say_peer("connected", fd, accepted);
        (void)!write(accepted, "x", 1);
        say_events("data", wait_for(fd, POLLIN));
        close(accepted);
        close(fd);
        close(listener);
    }
}

static void ports_at_listen(const struct case_context *context)
{
    for (int any = 0; any < 2; any++) {
        int listener = make_portless(context, any);
        say_result("listen", listen(listener, 1));
        unsigned port = port_of(listener);
        say("has a port %d", port != 0);
        int fd = make_socket(context, 0);
        say_result("connect", connect_to(context, fd, port));
        int accepted = accept(listener, NULL, NULL);
        say_peer("accepted", accepted, fd);
        close(accepted);
        close(fd);
        close(listener);
    }
}

static void ports_bound_again(const struct case_context *context)
{
    struct sockaddr_storage address;
    int listener = make_listener(context, 1);
    for (int first = 0; first < 2; first++) {
        for (int second = 0; second < 3; second++) {
            int fd = make_portless(context, first);
            int zero = 0;
            if (second == 2) /* with a port at last */
                setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &zero, sizeof(zero));
            socklen_t length =
                second == 1 ? wildcard(context, &address, 0) : loopback(context, &address, 0);
            say_result("bind again", bind(fd, (struct sockaddr *)&address, length));
            say("has a port %d", port_of(fd) != 0);
            say_result("connect", connect_to(context, fd, port_of(listener)));
            close(accept(listener, NULL, NULL));
            close(fd);
        }
    }
    close(listener);
}

static void ports_named_are_bound(const struct case_context *context)
{
    struct sockaddr_storage address;
    int one = 1;
    int holder = make_listener(context, 1);
    int fd = make_socket(context, 0);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    socklen_t length = loopback(context, &address, port_of(holder));
    say_result("bind", bind(fd, (struct sockaddr *)&address, length));
    close(holder);
    close(fd);
}

static void ports_after_a_refusal(const struct case_context *context)
{
    int listener = make_listener(context, 1);
    int closed = make_listener(context, 1);
    unsigned nobody = port_of(closed);
    close(closed);
    int fd = make_portless(context, false);
    say_result("refused", connect_to(context, fd, nobody));
    say_result("connect", connect_to(context, fd, port_of(listener)));
    int accepted = accept(listener, NULL, NULL);
    say_peer("connected", fd, accepted);
    close(accepted);
    close(fd);
    close(listener);
}

static void ports_many_without(const struct case_context *context)
{
    enum { COUNT = 20 };
    int fds[COUNT];
    for (int i = 0; i < COUNT; i++)
        fds[i] = make_portless(context, false);
    int listener = make_listener(context, COUNT);
    for (int i = 0; i < COUNT; i++)
        say_result("connect", connect_to(context, fds[i], port_of(listener)));
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    close(listener);
}

static void say_in_range(const char *what, int fd)
{
    unsigned port = port_of(fd);
    say("%s: in range %d", what, port >= FIRST_PORT && port <= LAST_PORT);
}

static void ports_of_a_range(const struct case_context *context)
{
    const uint32_t range = LAST_PORT << 16 | FIRST_PORT;
    struct sockaddr_storage address;
    int one = 1;
    int listener = make_listener(context, 10);
    for (int i = 0; i < 5; i++) {
        int fd = make_socket(context, 0);
        say_result("set", setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof(range)));
        if (i == 4)
            setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
        if (i > 1) {
            socklen_t length =
                i == 2 ? wildcard(context, &address, 0) : loopback(context, &address, 0);
            say_result("bind", bind(fd, (struct sockaddr *)&address, length));
        }
        if (i == 1)
            say_result("listen", listen(fd, 1));
        else
            say_result("connect", connect_to(context, fd, port_of(listener)));
        say_in_range("port", fd);
        close(fd);
    }
    close(listener);
}

static void ports_of_wrong_ranges(const struct case_context *context)
{
    static const uint32_t ranges[] = {
        0, 1, 40000, 40000u << 16, 100u << 16 | 200, 65535u << 16 | 1};
    int fd = make_socket(context, 0);
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        uint32_t got = 77;
        socklen_t length = sizeof(got);
        say_result("set",
                   setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &ranges[i], sizeof(ranges[i])));
        say_result("get", getsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &got, &length));
        say("range %x", got);
    }
    close(fd);
}

const struct socket_case cases_ports[] = {
    {"ports_at_connect", ports_at_connect},
    {"ports_at_listen", ports_at_listen},
    {"ports_bound_again", ports_bound_again},
    {"ports_named_are_bound", ports_named_are_bound},
    {"ports_after_a_refusal", ports_after_a_refusal},
    {"ports_many_without", ports_many_without},
    {"ports_of_a_range", ports_of_a_range},
    {"ports_of_wrong_ranges", ports_of_wrong_ranges},
    {0},
};
