/* Socket options, on sockets that connected, were accepted, or listen. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "case.h"

static int get(int fd, int level, int name)
{
    int value = -12345;
    socklen_t length = sizeof(value);
    if (getsockopt(fd, level, name, &value, &length) < 0)
        return -errno;
    return value;
}

static void set_and_get(const char *what, int fd, int level, int name, int value)
{
    say_result(what, setsockopt(fd, level, name, &value, sizeof(value)));
    say("  reads back %d", get(fd, level, name));
}

/* The same calls on every kind of socket. */
static void tcp_options(int fd)
{
    say("NODELAY %d", get(fd, IPPROTO_TCP, TCP_NODELAY));
    set_and_get("NODELAY 1", fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_and_get("NODELAY 7", fd, IPPROTO_TCP, TCP_NODELAY, 7);
    set_and_get("CORK 1", fd, IPPROTO_TCP, TCP_CORK, 1);
    set_and_get("KEEPALIVE 1", fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_and_get("KEEPIDLE 100", fd, IPPROTO_TCP, TCP_KEEPIDLE, 100);
    set_and_get("KEEPIDLE 0", fd, IPPROTO_TCP, TCP_KEEPIDLE, 0);
    set_and_get("KEEPIDLE 40000", fd, IPPROTO_TCP, TCP_KEEPIDLE, 40000);
    set_and_get("KEEPINTVL 20", fd, IPPROTO_TCP, TCP_KEEPINTVL, 20);
    set_and_get("KEEPCNT 5", fd, IPPROTO_TCP, TCP_KEEPCNT, 5);
    set_and_get("KEEPCNT 200", fd, IPPROTO_TCP, TCP_KEEPCNT, 200);
    set_and_get("USER_TIMEOUT 3000", fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 3000);
    set_and_get("USER_TIMEOUT -1", fd, IPPROTO_TCP, TCP_USER_TIMEOUT, -1);
    set_and_get("SYNCNT 3", fd, IPPROTO_TCP, TCP_SYNCNT, 3);
    set_and_get("LINGER2 5", fd, IPPROTO_TCP, TCP_LINGER2, 5);
    set_and_get("NOTSENT_LOWAT 9999", fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 9999);
}

static void options_connected(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    tcp_options(pair[0]);
    close_pair(pair);
}

static void options_accepted(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    tcp_options(pair[1]);
    close_pair(pair);
}

static void options_listening(const struct case_context *context)
{
    int fd = make_listener(context, 1);
    tcp_options(fd);
    say("ACCEPTCONN %d", get(fd, SOL_SOCKET, SO_ACCEPTCONN));
    close(fd);
}

static void options_inherited(const struct case_context *context)
{
    int one = 1, idle = 77, buffer = 50000;
    struct linger linger = {.l_onoff = 1, .l_linger = 3};
    int listener = make_listener(context, 1), client = make_socket(context, 0);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(listener, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    setsockopt(listener, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
    setsockopt(listener, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    connect_to(context, client, port_of(listener));
    int fd = accept(listener, NULL, NULL);
    say("NODELAY %d", get(fd, IPPROTO_TCP, TCP_NODELAY));
    say("KEEPALIVE %d", get(fd, SOL_SOCKET, SO_KEEPALIVE));
    say("KEEPIDLE %d", get(fd, IPPROTO_TCP, TCP_KEEPIDLE));
    say("RCVBUF %d", get(fd, SOL_SOCKET, SO_RCVBUF));
    memset(&linger, 0, sizeof(linger));
    socklen_t length = sizeof(linger);
    getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length);
    say("LINGER %d %d", linger.l_onoff, linger.l_linger);
    linger.l_onoff = 0;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
    close(client);
    close(listener);
}

static void options_of_sockets(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    for (int i = 0; i < 2; i++) {
        say(i == 0 ? "connected" : "accepted");
        say("TYPE %d", get(pair[i], SOL_SOCKET, SO_TYPE));
        say("DOMAIN right %d", get(pair[i], SOL_SOCKET, SO_DOMAIN) == context->family);
        say("PROTOCOL %d", get(pair[i], SOL_SOCKET, SO_PROTOCOL));
        say("ACCEPTCONN %d", get(pair[i], SOL_SOCKET, SO_ACCEPTCONN));
        say("ERROR %d", get(pair[i], SOL_SOCKET, SO_ERROR));
        set_and_get("RCVBUF 30000", pair[i], SOL_SOCKET, SO_RCVBUF, 30000);
        set_and_get("RCVBUF 1", pair[i], SOL_SOCKET, SO_RCVBUF, 1);
        set_and_get("SNDBUF 30000", pair[i], SOL_SOCKET, SO_SNDBUF, 30000);
        set_and_get("RCVLOWAT 0", pair[i], SOL_SOCKET, SO_RCVLOWAT, 0);
        set_and_get("REUSEADDR", pair[i], SOL_SOCKET, SO_REUSEADDR, 1);
        set_and_get("PRIORITY 3", pair[i], SOL_SOCKET, SO_PRIORITY, 3);
        set_and_get("read-only TYPE", pair[i], SOL_SOCKET, SO_TYPE, 1);
        set_and_get("unknown", pair[i], SOL_SOCKET, 9999, 1);
        set_and_get("unknown level", pair[i], 777, 1, 1);
    }
    close_pair(pair);
}

static void options_short_values(const struct case_context *context)
{
    int pair[2], value = 1;
    make_pair(context, pair);
    for (int i = 0; i < 2; i++) {
        say_result("set 2 bytes", setsockopt(pair[i], IPPROTO_TCP, TCP_NODELAY, &value, 2));
        value = 0x55555555;
        socklen_t length = 2;
        say_result("get 2 bytes", getsockopt(pair[i], SOL_SOCKET, SO_ERROR, &value, &length));
        say("length %u, value %#x", length, value);
        length = 100;
        say_result("get 100 bytes", getsockopt(pair[i], SOL_SOCKET, SO_ERROR, &value, &length));
        say("length %u", length);
    }
    close_pair(pair);
}

static void options_ip(const struct case_context *context)
{
    int pair[2];
    bool v4 = context->family == AF_INET;
    make_pair(context, pair);
    for (int i = 0; i < 2; i++) {
        if (v4) {
            set_and_get("TOS 16", pair[i], IPPROTO_IP, IP_TOS, 16);
            set_and_get("TTL 33", pair[i], IPPROTO_IP, IP_TTL, 33);
            set_and_get("TTL 0", pair[i], IPPROTO_IP, IP_TTL, 0);
        } else {
            set_and_get("TCLASS 16", pair[i], IPPROTO_IPV6, IPV6_TCLASS, 16);
            set_and_get("HOPS 33", pair[i], IPPROTO_IPV6, IPV6_UNICAST_HOPS, 33);
            set_and_get("V6ONLY", pair[i], IPPROTO_IPV6, IPV6_V6ONLY, 1);
        }
    }
    close_pair(pair);
}

static void say_classes(const char *who, int fd)
{
    int class = -1, tos = -1, hops = -1, ttl = -1;
    socklen_t length = sizeof(int);
    getsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &class, &length);
    getsockopt(fd, IPPROTO_IP, IP_TOS, &tos, &length);
    getsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &hops, &length);
    getsockopt(fd, IPPROTO_IP, IP_TTL, &ttl, &length);
    say("%s: class %d, TOS %d, hops %d, TTL %d", who, class, tos, hops, ttl);
}

/* An IPv6 connection has IPv4's options beside its own, and neither changes the other. */
static void options_of_both_families(const struct case_context *context)
{
    if (context->family != AF_INET6)
        return;
    int listener = make_listener(context, 1), fds[2] = {make_socket(context, 0)};
    setsockopt(listener, IPPROTO_IPV6, IPV6_TCLASS, &(int){184}, sizeof(int));
    say_result("connect", connect_to(context, fds[0], port_of(listener)));
    fds[1] = accept(listener, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        say_classes("first", fds[i]);
        set_and_get("TOS 8", fds[i], IPPROTO_IP, IP_TOS, 8);
        set_and_get("TTL 33", fds[i], IPPROTO_IP, IP_TTL, 33);
        say_classes("then", fds[i]);
        set_and_get("TCLASS 16", fds[i], IPPROTO_IPV6, IPV6_TCLASS, 16);
        set_and_get("HOPS 44", fds[i], IPPROTO_IPV6, IPV6_UNICAST_HOPS, 44);
        say_classes("at last", fds[i]);
        close(fds[i]);
    }
    close(listener);
}

static void congestion(const struct case_context *context)
{
    int pair[2];
    char name[16] = "";
    socklen_t length = sizeof(name);
    make_pair(context, pair);
    for (int i = 0; i < 2; i++) {
        say_result("reno", setsockopt(pair[i], IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
        length = sizeof(name);
        getsockopt(pair[i], IPPROTO_TCP, TCP_CONGESTION, name, &length);
        say("'%s' %u", name, length);
        say_result("nonesuch", setsockopt(pair[i], IPPROTO_TCP, TCP_CONGESTION, "nonesuch", 8));
    }
    close_pair(pair);
}

static void info(const struct case_context *context)
{
    int pair[2];
    struct tcp_info tcp_info;
    make_pair(context, pair);
    for (int i = 0; i < 2; i++) {
        socklen_t length = sizeof(tcp_info);
        memset(&tcp_info, 0, sizeof(tcp_info));
        say_result("TCP_INFO", getsockopt(pair[i], IPPROTO_TCP, TCP_INFO, &tcp_info, &length));
        say("length %u, state %u, mss set %d, rtt set %d", length, tcp_info.tcpi_state,
            tcp_info.tcpi_snd_mss > 0, tcp_info.tcpi_rtt > 0);
    }
    close_pair(pair);
    int fd = make_socket(context, 0);
    socklen_t length = sizeof(tcp_info);
    getsockopt(fd, IPPROTO_TCP, TCP_INFO, &tcp_info, &length);
    say("fresh: state %u", tcp_info.tcpi_state);
    close(fd);
}

const struct socket_case cases_options[] = {
    {"options_connected", options_connected},
    {"options_accepted", options_accepted},
    {"options_listening", options_listening},
    {"options_inherited", options_inherited},
    {"options_of_sockets", options_of_sockets},
    {"options_short_values", options_short_values},
    {"options_ip", options_ip},
    {"options_of_both_families", options_of_both_families},
    {"congestion", congestion},
    {"info", info},
    {0},
};
