/* Addresses: names in each state, buffers of odd sizes, binding, listening, connecting. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

#include "case.h"

typedef int (*name_call)(int, struct sockaddr *, socklen_t *);

/* Family and length; whether the port is set; what lies behind the length is untouched. */
static void say_name(const char *what, name_call call, int fd, socklen_t length)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        unsigned char bytes[128];
    } name;
    memset(&name, 0x5a, sizeof(name));
    socklen_t given = length;
    int result = call(fd, &name.any, &length);
    if (result < 0) {
        say_result(what, result);
        return;
    }
    socklen_t written = given < length ? given : length;
    bool clean = true;
    for (size_t i = written; i < sizeof(name); i++)
        clean = clean && name.bytes[i] == 0x5a;
    say("%s: length %d, clean %d, family %d, port set %d", what, (int)length, clean,
        written >= 2 ? (int)name.any.sa_family : -1, written >= 4 ? name.in.sin_port != 0 : -1);
}

static void name_lengths(const char *what, name_call call, int fd)
{
    static const int lengths[] = {0, 1, 2, 4, 8, 16, 20, 28, 100, -1};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        say("%s into %d", what, lengths[i]);
        say_name(what, call, fd, (socklen_t)lengths[i]);
    }
}

static void own_name_into_buffers_of_all_sizes(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    name_lengths("connected", getsockname, pair[0]);
    name_lengths("accepted", getsockname, pair[1]);
    close_pair(pair);
}

static void peer_name_into_buffers_of_all_sizes(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    name_lengths("connected", getpeername, pair[0]);
    name_lengths("accepted", getpeername, pair[1]);
    close_pair(pair);
}

static void say_both(const char *what, int fd)
{
    say("%s", what);
    say_name("own", getsockname, fd, 128);
    say_name("peer", getpeername, fd, 128);
}

static void names_of_bound_and_listening(const struct case_context *context)
{
    struct sockaddr_storage address;
    socklen_t length = loopback(context, &address, 0);
    int fd = make_socket(context, 0);
    say_both("fresh", fd);
    say_result("bind", bind(fd, (struct sockaddr *)&address, length));
    say_both("bound", fd);
    say_result("listen", listen(fd, 1));
    say_both("listening", fd);
    close(fd);
}

static void names_after_shutdown(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    shutdown(pair[0], SHUT_WR);
    settle();
    say_both("half closed", pair[0]);
    say_both("its peer", pair[1]);
    shutdown(pair[1], SHUT_WR);
    settle();
    say_both("closed first", pair[0]);
    say_both("closed second", pair[1]);
    close_pair(pair);
}

static void names_after_reset(const struct case_context *context)
{
    int pair[2];
    struct linger linger = {.l_onoff = 1};
    make_pair(context, pair);
    setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(pair[0]);
    settle();
    say_both("reset", pair[1]);
    close(pair[1]);
}

static void names_agree_on_both_sides(const struct case_context *context)
{
    int pair[2];
    struct sockaddr_storage own, peer;
    socklen_t own_length = sizeof(own), peer_length = sizeof(peer);
    make_pair(context, pair);
    for (int i = 0; i < 2; i++) {
        own_length = peer_length = sizeof(own);
        memset(&own, 0, sizeof(own));
        memset(&peer, 0, sizeof(peer));
        getsockname(pair[i], (struct sockaddr *)&own, &own_length);
        getpeername(pair[1 - i], (struct sockaddr *)&peer, &peer_length);
        say("same %d", own_length == peer_length && memcmp(&own, &peer, own_length) == 0);
    }
    close_pair(pair);
}

static void accept_into_buffers_of_all_sizes(const struct case_context *context)
{
    static const int lengths[] = {0, 1, 2, 8, 16, 28, 100};
    int listener = make_listener(context, 16);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        unsigned char bytes[128];
        socklen_t length = (socklen_t)lengths[i];
        memset(bytes, 0x5a, sizeof(bytes));
        int client = make_socket(context, 0);
        connect_to(context, client, port_of(listener));
        int fd = accept(listener, (struct sockaddr *)bytes, &length);
        say("into %d: %s, length %u, next byte %#x", lengths[i], fd >= 0 ? "accepted" : "failed",
            length, bytes[lengths[i]]);
        close(fd);
        close(client);
    }
    close(listener);
}

static void accept_into_negative_length(const struct case_context *context)
{
    int listener = make_listener(context, 4), client = make_socket(context, 0);
    char bytes[128];
    socklen_t length = (socklen_t)-1;
    connect_to(context, client, port_of(listener));
    wait_for(listener, POLLIN);
    say_result("accept", accept(listener, (struct sockaddr *)bytes, &length));
    close(client);
    close(listener);
}

/* ---- bind ---------------------------------------------------------------------------------- */

static void bind_lengths(const struct case_context *context)
{
    struct sockaddr_storage address;
    (void)loopback(context, &address, 0);
    static const int lengths[] = {0, 1, 2, 8, 15, 16, 24, 27, 28, 128, 129, -1};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        int fd = make_socket(context, 0);
        say("length %d", lengths[i]);
        say_result("bind", bind(fd, (struct sockaddr *)&address, (socklen_t)lengths[i]));
        close(fd);
    }
}

static void bind_families(const struct case_context *context)
{
    static const int families[] = {AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6, AF_PACKET, 99};
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        struct sockaddr_storage address;
        memset(&address, 0, sizeof(address));
        address.ss_family = (sa_family_t)families[i];
        int fd = make_socket(context, 0);
        say("family %d", families[i]);
        say_result("bind", bind(fd, (struct sockaddr *)&address, 28));
        say_both("afterwards", fd);
        close(fd);
    }
}

static int bind_port(const struct case_context *context, int fd, unsigned port, bool any)
{
    struct sockaddr_storage address;
    socklen_t length = any ? wildcard(context, &address, port) : loopback(context, &address, port);
    return bind(fd, (struct sockaddr *)&address, length);
}

/* Two sockets on one port with every mixture of options, listening or not. */
static void bind_conflict(const struct case_context *context, int option, bool first_any,
                          bool second_any, bool first_listens)
{
    for (int set = 0; set < 4; set++) {
        int first = make_socket(context, 0), second = make_socket(context, 0), one = 1;
        if (set & 1)
            setsockopt(first, SOL_SOCKET, option, &one, sizeof(one));
        if (set & 2)
            setsockopt(second, SOL_SOCKET, option, &one, sizeof(one));
        bind_port(context, first, 0, first_any);
        if (first_listens)
            listen(first, 1);
        say("on first %d, on second %d", set & 1, set >> 1);
        int result = bind_port(context, second, port_of(first), second_any);
        say_result("second bind", result);
        if (result == 0)
            say_result("second listen", listen(second, 1));
        if (result == 0 && !first_listens)
            say_result("first listen", listen(first, 1));
        close(second);
        close(first);
    }
}

#define BIND_CONFLICT(name, ...)                                                                   \
    static void name(const struct case_context *context)                                           \
    {                                                                                              \
        bind_conflict(context, __VA_ARGS__);                                                       \
    }
BIND_CONFLICT(conflict_reuseaddr, SO_REUSEADDR, false, false, false)
BIND_CONFLICT(conflict_reuseaddr_listening, SO_REUSEADDR, false, false, true)
BIND_CONFLICT(conflict_reuseaddr_wildcard_first, SO_REUSEADDR, true, false, false)
BIND_CONFLICT(conflict_reuseaddr_wildcard_first_listening, SO_REUSEADDR, true, false, true)
BIND_CONFLICT(conflict_reuseaddr_wildcard_second, SO_REUSEADDR, false, true, false)
BIND_CONFLICT(conflict_reuseaddr_wildcard_second_listening, SO_REUSEADDR, false, true, true)
BIND_CONFLICT(conflict_reuseaddr_both_wildcard, SO_REUSEADDR, true, true, false)
BIND_CONFLICT(conflict_reuseport, SO_REUSEPORT, false, false, false)
BIND_CONFLICT(conflict_reuseport_listening, SO_REUSEPORT, false, false, true)
BIND_CONFLICT(conflict_reuseport_wildcard_first, SO_REUSEPORT, true, false, true)
BIND_CONFLICT(conflict_reuseport_wildcard_second, SO_REUSEPORT, false, true, true)
BIND_CONFLICT(conflict_reuseport_both_wildcard, SO_REUSEPORT, true, true, true)

static void bind_after_connection_closed(const struct case_context *context)
{
    for (int reuse = 0; reuse < 2; reuse++) {
        int pair[2], listener = make_listener(context, 1);
        unsigned port = port_of(listener);
        pair[0] = make_socket(context, 0);
        connect_to(context, pair[0], port);
        pair[1] = accept(listener, NULL, NULL);
        close(listener);
        close(pair[1]);
        settle();
        close(pair[0]);
        settle();
        int fd = make_socket(context, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse));
        say("TIME-WAIT on the port, SO_REUSEADDR %d", reuse);
        say_result("bind", bind_port(context, fd, port, false));
        say_result("listen", listen(fd, 1));
        close(fd);
    }
}

static void bind_beside_living_connection(const struct case_context *context)
{
    for (int reuse = 0; reuse < 2; reuse++) {
        int pair[2], listener = make_socket(context, 0);
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse));
        bind_port(context, listener, 0, false);
        listen(listener, 1);
        unsigned port = port_of(listener);
        pair[0] = make_socket(context, 0);
        connect_to(context, pair[0], port);
        pair[1] = accept(listener, NULL, NULL);
        close(listener);
        int fd = make_socket(context, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse));
        say("SO_REUSEADDR %d", reuse);
        say_result("bind", bind_port(context, fd, port, false));
        say_result("listen", listen(fd, 1));
        close(fd);
        close_pair(pair);
    }
}

static void bind_connected_socket(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    say_result("connected", bind_port(context, pair[0], 0, false));
    say_result("accepted", bind_port(context, pair[1], 0, false));
    int fd = make_listener(context, 1);
    say_result("listening", bind_port(context, fd, 0, false));
    close(fd);
    close_pair(pair);
}

static void bind_no_port_option_connects(const struct case_context *context)
{
    int one = 1, listener = make_listener(context, 1), fd = make_socket(context, 0);
    say_result("option", setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)));
    say_result("bind", bind_port(context, fd, 0, false));
    say_result("connect", connect_to(context, fd, port_of(listener)));
    say_both("connected", fd);
    close(fd);
    close(listener);
}

/* ---- listen -------------------------------------------------------------------------------- */

static void listen_backlogs(const struct case_context *context)
{
    static const int backlogs[] = {0, 1, -1, -2147483647, 2147483647, 65536};
    for (size_t i = 0; i < sizeof(backlogs) / sizeof(backlogs[0]); i++) {
        int fd = make_listener(context, backlogs[i]), client = make_socket(context, 0);
        say("backlog %d", backlogs[i]);
        say_result("connect", connect_to(context, client, port_of(fd)));
        say_events("listener", wait_for(fd, POLLIN | POLLOUT));
        close(client);
        close(fd);
    }
}

static void listen_again_with_queue(const struct case_context *context)
{
    int fd = make_listener(context, 8), clients[3];
    for (int i = 0; i < 3; i++) {
        clients[i] = make_socket(context, 0);
        connect_to(context, clients[i], port_of(fd));
    }
    settle();
    say_result("smaller", listen(fd, 1));
    say_result("larger", listen(fd, 20));
    for (int i = 0; i < 3; i++) {
        int accepted = accept(fd, NULL, NULL);
        say("accepted %d", accepted >= 0);
        close(accepted);
        close(clients[i]);
    }
    close(fd);
}

static void listen_after_shutdown(const struct case_context *context)
{
    int fd = make_listener(context, 4), client = make_socket(context, 0);
    unsigned port = port_of(fd);
    say_result("shutdown", shutdown(fd, SHUT_RDWR));
    say_result("again", shutdown(fd, SHUT_RDWR));
    say("same port %d", port_of(fd) == port);
    say_result("connect", connect_to(context, client, port));
    close(client);
    say_result("listen", listen(fd, 4));
    say("same port %d", port_of(fd) == port);
    client = make_socket(context, 0);
    say_result("connect", connect_to(context, client, port));
    close(client);
    close(fd);
}

static void listen_on_closed_connection(const struct case_context *context)
{
    int pair[2];
    struct linger linger = {.l_onoff = 1};
    make_pair(context, pair);
    setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(pair[1]);
    settle();
    say_result("listen after reset", listen(pair[0], 1));
    say_both("then", pair[0]);
    close(pair[0]);
}

static void listen_while_connecting(const struct case_context *context)
{
    int listener = make_listener(context, 1), fd = make_socket(context, SOCK_NONBLOCK);
    connect_to(context, fd, port_of(listener));
    wait_for(fd, POLLOUT);
    say_result("listen when connected", listen(fd, 1));
    close(fd);
    close(listener);
}

/* ---- connect ------------------------------------------------------------------------------- */

static void connect_lengths(const struct case_context *context)
{
    static const int lengths[] = {0, 1, 2, 8, 15, 16, 24, 27, 28, 128, 129, -1};
    int listener = make_listener(context, 64);
    struct sockaddr_storage address;
    (void)loopback(context, &address, port_of(listener));
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        int fd = make_socket(context, 0);
        say("length %d", lengths[i]);
        say_result("connect", connect(fd, (struct sockaddr *)&address, (socklen_t)lengths[i]));
        close(fd);
    }
    close(listener);
}

static void connect_families(const struct case_context *context)
{
    static const int families[] = {AF_UNSPEC, AF_UNIX, AF_PACKET, 99};
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        struct sockaddr_storage address;
        memset(&address, 0, sizeof(address));
        address.ss_family = (sa_family_t)families[i];
        int fd = make_socket(context, 0);
        say("family %d", families[i]);
        say_result("connect", connect(fd, (struct sockaddr *)&address, 28));
        close(fd);
    }
}

static void connect_again_after_refusal(const struct case_context *context)
{
    int listener = make_listener(context, 2), fd = make_socket(context, 0);
    unsigned port = port_of(listener);
    close(listener);
    say_result("refused", connect_to(context, fd, port));
    say_socket_error("SO_ERROR", fd);
    say_both("then", fd);
    say_result("refused again", connect_to(context, fd, port));
    listener = make_listener(context, 2);
    say_result("accepted", connect_to(context, fd, port_of(listener)));
    say_both("then", fd);
    close(fd);
    close(listener);
}

static void connect_states_nonblocking(const struct case_context *context)
{
    int listener = make_listener(context, 2), fd = make_socket(context, SOCK_NONBLOCK);
    unsigned port = port_of(listener);
    (void)connect_to(context, fd, port);
    say_events("events", wait_for(fd, POLLOUT));
    say_socket_error("SO_ERROR", fd);
    say_result("second", connect_to(context, fd, port));
    say_result("third", connect_to(context, fd, port));
    shutdown(fd, SHUT_RDWR);
    say_result("after shutdown", connect_to(context, fd, port));
    close(fd);
    close(listener);
}

static void connect_after_peer_closed(const struct case_context *context)
{
    int listener = make_listener(context, 4), fd = make_socket(context, 0);
    unsigned port = port_of(listener);
    connect_to(context, fd, port);
    close(accept(listener, NULL, NULL));
    settle();
    say_result("still open on this side", connect_to(context, fd, port));
    shutdown(fd, SHUT_WR);
    settle();
    say_events("events", events_now(fd, POLLIN | POLLOUT | POLLRDHUP));
    close(fd);
    close(listener);
}

static int disconnect(int fd)
{
    struct sockaddr_storage address;
    memset(&address, 0, sizeof(address));
    return connect(fd, (struct sockaddr *)&address, sizeof(struct sockaddr_in6));
}

static void disconnect_connected(const struct case_context *context)
{
    int pair[2];
    char byte;
    make_pair(context, pair);
    say_result("disconnect", disconnect(pair[0]));
    say_both("then", pair[0]);
    settle();
    say_events("peer", events_now(pair[1], POLLIN | POLLOUT | POLLRDHUP));
    say_result("peer recv", recv(pair[1], &byte, 1, 0));
    int listener = make_listener(context, 1);
    say_result("connect elsewhere", connect_to(context, pair[0], port_of(listener)));
    int fd = accept(listener, NULL, NULL);
    say_result("send", send(pair[0], "x", 1, 0));
    say_result("recv", recv(fd, &byte, 1, 0));
    close(fd);
    close(listener);
    close_pair(pair);
}

static void disconnect_fresh_and_listening(const struct case_context *context)
{
    int fd = make_socket(context, 0);
    say_result("fresh", disconnect(fd));
    close(fd);
    fd = make_listener(context, 1);
    say_result("listening", disconnect(fd));
    say_result("accept", accept(fd, NULL, NULL));
    say_events("events", events_now(fd, POLLIN | POLLOUT));
    close(fd);
}

static void connect_to_itself(const struct case_context *context)
{
    int fd = make_socket(context, 0);
    char bytes[8];
    bind_port(context, fd, 0, false);
    say_result("connect", connect_to(context, fd, port_of(fd)));
    say_result("send", send(fd, "mirror", 6, 0));
    wait_for(fd, POLLIN);
    say_bytes("recv", recv(fd, bytes, sizeof(bytes), 0), bytes);
    say_result("shutdown", shutdown(fd, SHUT_WR));
    say_result("recv", recv(fd, bytes, sizeof(bytes), 0));
    close(fd);
}

static void connect_mapped_address(const struct case_context *context)
{
    struct case_context v4 = {.family = AF_INET};
    struct sockaddr_in6 address = {.sin6_family = AF_INET6};
    int listener = make_listener(&v4, 2), fd = make_socket(context, 0), off = 0, on = 1;
    char text[64];
    address.sin6_port = htons((uint16_t)port_of(listener));
    inet_pton(AF_INET6, "::ffff:127.0.0.1", &address.sin6_addr);
    say_result("connect", connect(fd, (struct sockaddr *)&address, sizeof(address)));
    socklen_t length = sizeof(address);
    if (context->family == AF_INET6 && getpeername(fd, (struct sockaddr *)&address, &length) == 0)
        say("peer %s", inet_ntop(AF_INET6, &address.sin6_addr, text, sizeof(text)));
    close(fd);
    fd = make_socket(context, 0);
    say_result("V6ONLY off", setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)));
    say_result("V6ONLY on", setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)));
    say_result("connect", connect(fd, (struct sockaddr *)&address, sizeof(address)));
    close(fd);
    close(listener);
}

static void bind_mapped_address(const struct case_context *context)
{
    struct case_context v4 = {.family = AF_INET};
    struct sockaddr_in6 address = {.sin6_family = AF_INET6};
    int fd = make_socket(context, 0), client = make_socket(&v4, 0);
    inet_pton(AF_INET6, "::ffff:127.0.0.1", &address.sin6_addr);
    say_result("bind", bind(fd, (struct sockaddr *)&address, sizeof(address)));
    say_result("listen", listen(fd, 1));
    if (context->family == AF_INET6) {
        char text[64];
        socklen_t length = sizeof(address);
        say_result("connect", connect_to(&v4, client, port_of(fd)));
        int accepted = accept(fd, (struct sockaddr *)&address, &length);
        say("peer %s", inet_ntop(AF_INET6, &address.sin6_addr, text, sizeof(text)));
        say_both("accepted", accepted);
        close(accepted);
    }
    close(client);
    close(fd);
}

static void v6only_listener_refuses_v4(const struct case_context *context)
{
    struct case_context v4 = {.family = AF_INET};
    int fd = make_socket(context, 0), client = make_socket(&v4, 0), on = 1;
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    say_result("bind", bind_port(context, fd, 0, true));
    say_result("listen", listen(fd, 1));
    say_result("V6ONLY when bound", setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)));
    if (context->family == AF_INET6)
        say_result("connect", connect_to(&v4, client, port_of(fd)));
    int beside = make_socket(&v4, 0);
    say_result("a v4 wildcard beside it", bind_port(&v4, beside, port_of(fd), true));
    close(beside);
    close(client);
    close(fd);
}

const struct socket_case cases_names[] = {
    {"own_name_into_buffers_of_all_sizes", own_name_into_buffers_of_all_sizes},
    {"peer_name_into_buffers_of_all_sizes", peer_name_into_buffers_of_all_sizes},
    {"names_of_bound_and_listening", names_of_bound_and_listening},
    {"names_after_shutdown", names_after_shutdown},
    {"names_after_reset", names_after_reset},
    {"names_agree_on_both_sides", names_agree_on_both_sides},
    {"accept_into_buffers_of_all_sizes", accept_into_buffers_of_all_sizes},
    {"accept_into_negative_length", accept_into_negative_length},
    {"bind_lengths", bind_lengths},
    {"bind_families", bind_families},
    {"conflict_reuseaddr", conflict_reuseaddr},
    {"conflict_reuseaddr_listening", conflict_reuseaddr_listening},
    {"conflict_reuseaddr_wildcard_first", conflict_reuseaddr_wildcard_first},
    {"conflict_reuseaddr_wildcard_first_listening", conflict_reuseaddr_wildcard_first_listening},
    {"conflict_reuseaddr_wildcard_second", conflict_reuseaddr_wildcard_second},
    {"conflict_reuseaddr_wildcard_second_listening", conflict_reuseaddr_wildcard_second_listening},
    {"conflict_reuseaddr_both_wildcard", conflict_reuseaddr_both_wildcard},
    {"conflict_reuseport", conflict_reuseport},
    {"conflict_reuseport_listening", conflict_reuseport_listening},
    {"conflict_reuseport_wildcard_first", conflict_reuseport_wildcard_first},
    {"conflict_reuseport_wildcard_second", conflict_reuseport_wildcard_second},
    {"conflict_reuseport_both_wildcard", conflict_reuseport_both_wildcard},
    {"bind_after_connection_closed", bind_after_connection_closed},
    {"bind_beside_living_connection", bind_beside_living_connection},
    {"bind_connected_socket", bind_connected_socket},
    {"bind_no_port_option_connects", bind_no_port_option_connects},
    {"listen_backlogs", listen_backlogs},
    {"listen_again_with_queue", listen_again_with_queue},
    {"listen_after_shutdown", listen_after_shutdown},
    {"listen_on_closed_connection", listen_on_closed_connection},
    {"listen_while_connecting", listen_while_connecting},
    {"connect_lengths", connect_lengths},
    {"connect_families", connect_families},
    {"connect_again_after_refusal", connect_again_after_refusal},
    {"connect_states_nonblocking", connect_states_nonblocking},
    {"connect_after_peer_closed", connect_after_peer_closed},
    {"disconnect_connected", disconnect_connected},
    {"disconnect_fresh_and_listening", disconnect_fresh_and_listening},
    {"connect_to_itself", connect_to_itself},
    {"connect_mapped_address", connect_mapped_address},
    {"bind_mapped_address", bind_mapped_address},
    {"v6only_listener_refuses_v4", v6only_listener_refuses_v4},
    {0},
};
