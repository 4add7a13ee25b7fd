/* Every option number of every level that a TCP socket has, known or not, on a socket in every
   state: what it is at first, what values of which lengths do to it, and what is read back. */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "case.h"

#define NUMBERS 128

#define LINE_BYTES 1024

enum state { FRESH, BOUND, LISTENING, CONNECTED, ACCEPTED, ENDED, STATES };

static const char *const state_names[STATES] = {
    [FRESH] = "fresh",         [BOUND] = "bound",       [LISTENING] = "listening",
    [CONNECTED] = "connected", [ACCEPTED] = "accepted", [ENDED] = "ended",
};

/* What is read says something of the machine or of the moment, not of the option. */
static bool is_told_by_length_alone(int level, int name)
{
    static const int of_socket[] = {SO_SNDBUF,       SO_RCVBUF,           SO_SNDBUFFORCE,
                                    SO_RCVBUFFORCE,  SO_INCOMING_CPU,     SO_COOKIE,
                                    SO_NETNS_COOKIE, SO_INCOMING_NAPI_ID, SO_MEMINFO,
                                    SO_PEERNAME,     SO_PEERSEC};
    static const int of_tcp[] = {TCP_INFO,      TCP_MAXSEG,   TCP_WINDOW_CLAMP, TCP_CC_INFO,
                                 TCP_TIMESTAMP, TCP_QUICKACK, TCP_CONGESTION};
    if (level == SOL_SOCKET) {
        for (size_t i = 0; i < sizeof(of_socket) / sizeof(of_socket[0]); i++) {
            if (of_socket[i] == name)
                return true;
        }
    }
    if (level == IPPROTO_TCP) {
        for (size_t i = 0; i < sizeof(of_tcp) / sizeof(of_tcp[0]); i++) {
            if (of_tcp[i] == name)
                return true;
        }
    }
    /* The path's; the port, which is IP_PROTOCOL's answer of TCP sockets. */
    return (level == IPPROTO_IP && name == 52) || (level == IPPROTO_IP && name == IP_MTU) ||
           (level == IPPROTO_IPV6 && name == IPV6_MTU);
}

/* What only the kernel's stack does (docs/sockets.md, "Options"): such a socket stays with it, so
   the others are not tried. TCP_CC_INFO is the algorithm's, of which there are two; an accepted
   socket's interface is the one its SYN came by. */
static bool is_left_out(int level, int name, enum state state)
{
    static const struct {
        int level, name;
    } of_kernel[] = {
        {SOL_SOCKET, SO_BINDTODEVICE},    {SOL_SOCKET, SO_BINDTOIFINDEX},
        {SOL_SOCKET, SO_ATTACH_FILTER},   {SOL_SOCKET, SO_ATTACH_BPF},
        {SOL_SOCKET, SO_TXTIME},          {IPPROTO_TCP, TCP_REPAIR},
        {IPPROTO_TCP, TCP_SAVE_SYN},      {IPPROTO_TCP, TCP_ULP},
        {IPPROTO_TCP, TCP_TX_DELAY},      {IPPROTO_IP, IP_OPTIONS},
        {IPPROTO_IP, IP_TRANSPARENT},     {IPPROTO_IP, IP_MINTTL},
        {IPPROTO_IPV6, IPV6_TRANSPARENT}, {IPPROTO_IPV6, IPV6_MINHOPCOUNT},
        {IPPROTO_IPV6, IPV6_HOPOPTS},     {IPPROTO_IPV6, IPV6_RTHDRDSTOPTS},
        {IPPROTO_IPV6, IPV6_RTHDR},       {IPPROTO_IPV6, IPV6_DSTOPTS},
    };
    for (size_t i = 0; i < sizeof(of_kernel) / sizeof(of_kernel[0]); i++) {
        if (of_kernel[i].level == level && of_kernel[i].name == name)
            return state != FRESH;
    }
    return (level == IPPROTO_TCP && name == TCP_CC_INFO) ||
           (level == IPPROTO_IPV6 && name == IPV6_MULTICAST_IF && state == ACCEPTED);
}

struct line {
    char text[LINE_BYTES];
    size_t used;
};

static void add(struct line *line, const char *text)
{
    int written = snprintf(line->text + line->used, LINE_BYTES - line->used, " %s", text);
    line->used += written > 0 ? (size_t)written : 0;
}

static void add_get(struct line *line, int fd, int level, int name, socklen_t length)
{
    char text[64];
    union {
        int32_t number;
        uint8_t bytes[256];
    } value;
    memset(&value, 0x5a, sizeof(value));
    if (getsockopt(fd, level, name, &value, &length) < 0)
        (void)snprintf(text, sizeof(text), "%s", strerrorname_np(errno));
    else if (is_told_by_length_alone(level, name))
        (void)snprintf(text, sizeof(text), "?/%d", (int)length);
    else if (length >= 4)
        (void)snprintf(text, sizeof(text), "%d/%d", value.number, (int)length);
    else
        (void)snprintf(text, sizeof(text), "%d/%d", value.bytes[0], (int)length);
    add(line, text);
}

static void add_set(struct line *line, int fd, int level, int name, int32_t number,
                    socklen_t length)
{
    int32_t value[32] = {number};
    int result = setsockopt(fd, level, name, value, length);
    add(line, result < 0 ? strerrorname_np(errno) : "ok");
}

/* On the descriptor of a new socket each time: an option may ruin it. */
static void try_option(int fd, const char *state, int level, int name)
{
    static const int32_t numbers[] = {1, 0, -1, 300000};
    struct line line = {0};
    add_get(&line, fd, level, name, 4);
    add_get(&line, fd, level, name, 1);
    add_get(&line, fd, level, name, 200);
    add_get(&line, fd, level, name, 0);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        add(&line, "|");
        add_set(&line, fd, level, name, numbers[i], 4);
        add_get(&line, fd, level, name, 4);
    }
    add(&line, "|");
    add_set(&line, fd, level, name, 1, 0);
    add_set(&line, fd, level, name, 1, 1);
    add_set(&line, fd, level, name, 1, 8);
    add_set(&line, fd, level, name, 1, 16);
    add_set(&line, fd, level, name, 1, (socklen_t)-1);
    add_get(&line, fd, level, name, 4);
    say("%s %d:%s", state, name, line.text);
}

struct made {
    int fd, other;
};

static struct made make(const struct case_context *context, enum state state)
{
    struct sockaddr_storage address;
    struct made made = {-1, -1};
    int pair[2];
    switch (state) {
    case FRESH:
    case BOUND:
        made.fd = make_socket(context, 0);
        if (state == BOUND &&
            bind(made.fd, (struct sockaddr *)&address, loopback(context, &address, 0)) < 0)
            say_result("bind", -1);
        break;
    case LISTENING:
        made.fd = make_listener(context, 1);
        break;
    default:
        make_pair(context, pair);
        made.fd = pair[state == ACCEPTED];
        made.other = pair[state != ACCEPTED];
        if (state == ENDED) {
            char byte;
            struct linger linger = {.l_onoff = 1};
            setsockopt(made.other, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
            close(made.other);
            made.other = -1;
            (void)!read(made.fd, &byte, 1);
        }
        break;
    }
    return made;
}

static void walk(const struct case_context *context, int level, enum state state)
{
    for (int name = 0; name < NUMBERS; name++) {
        if (is_left_out(level, name, state))
            continue;
        struct made made = make(context, state);
        try_option(made.fd, state_names[state], level, name);
        close(made.fd);
        close(made.other);
    }
}

/* Set the option, before it is bound, to the first of some values that changes it.
   @return whether one did. */
static bool change_option(int fd, int level, int name)
{
    static const int32_t numbers[] = {1, 2, 3, 0, 1000, 50000 << 16 | 40000};
    int32_t before = -77;
    socklen_t length = sizeof(before);
    if (getsockopt(fd, level, name, &before, &length) < 0)
        return false;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        int32_t now = -77;
        length = sizeof(now);
        if (setsockopt(fd, level, name, &numbers[i], sizeof(numbers[i])) == 0 &&
            getsockopt(fd, level, name, &now, &length) == 0 && now != before)
            return true;
    }
    return false;
}

/* What a listener was told, asked of the socket that it accepts; and when that is changed. */
static void inherit_option(const struct case_context *context, int level, int name)
{
    struct sockaddr_storage address;
    struct line line = {0};
    int listener = make_socket(context, 0);
    if (!change_option(listener, level, name) ||
        bind(listener, (struct sockaddr *)&address, loopback(context, &address, 0)) < 0 ||
        listen(listener, 1) < 0) {
        close(listener);
        return;
    }
    int fd = make_socket(context, 0);
    connect_to(context, fd, port_of(listener));
    (void)!write(fd, "", 1); /* TCP_DEFER_ACCEPT waits for it */
    int accepted = accept(listener, NULL, NULL);
    add_get(&line, listener, level, name, 4);
    add_get(&line, accepted, level, name, 4);
    add_set(&line, accepted, level, name, 0, 4);
    add_get(&line, accepted, level, name, 4);
    say("inherited %d:%s", name, line.text);
    close(accepted);
    close(fd);
    close(listener);
}

static void inherit_all(const struct case_context *context, int level)
{
    for (int name = 0; name < NUMBERS; name++) {
        if (!is_left_out(level, name, BOUND))
            inherit_option(context, level, name);
    }
}

static void inherited_of_socket(const struct case_context *context)
{
    inherit_all(context, SOL_SOCKET);
}

static void inherited_of_tcp(const struct case_context *context)
{
    inherit_all(context, IPPROTO_TCP);
}

static void inherited_of_ip(const struct case_context *context)
{
    inherit_all(context, IPPROTO_IP);
}

static void inherited_of_ipv6(const struct case_context *context)
{
    if (context->family == AF_INET6)
        inherit_all(context, IPPROTO_IPV6);
}

#define WALK(level_name, level)                                                                    \
    static void walk_##level_name##_fresh(const struct case_context *context)                      \
    {                                                                                              \
        walk(context, level, FRESH);                                                               \
    }                                                                                              \
    static void walk_##level_name##_bound(const struct case_context *context)                      \
    {                                                                                              \
        walk(context, level, BOUND);                                                               \
    }                                                                                              \
    static void walk_##level_name##_listening(const struct case_context *context)                  \
    {                                                                                              \
        walk(context, level, LISTENING);                                                           \
    }                                                                                              \
    static void walk_##level_name##_connected(const struct case_context *context)                  \
    {                                                                                              \
        walk(context, level, CONNECTED);                                                           \
    }                                                                                              \
    static void walk_##level_name##_accepted(const struct case_context *context)                   \
    {                                                                                              \
        walk(context, level, ACCEPTED);                                                            \
    }                                                                                              \
    static void walk_##level_name##_ended(const struct case_context *context)                      \
    {                                                                                              \
        walk(context, level, ENDED);                                                               \
    }

WALK(socket, SOL_SOCKET)
WALK(tcp, IPPROTO_TCP)
WALK(ip, IPPROTO_IP)
WALK(ipv6, IPPROTO_IPV6)

#define WALKS(level_name)                                                                          \
    {"walk_" #level_name "_fresh", walk_##level_name##_fresh},                                     \
        {"walk_" #level_name "_bound", walk_##level_name##_bound},                                 \
        {"walk_" #level_name "_listening", walk_##level_name##_listening},                         \
        {"walk_" #level_name "_connected", walk_##level_name##_connected},                         \
        {"walk_" #level_name "_accepted", walk_##level_name##_accepted},                           \
    {                                                                                              \
        "walk_" #level_name "_ended", walk_##level_name##_ended                                    \
    }

const struct socket_case cases_option_walk[] = {
    WALKS(socket),
    WALKS(tcp),
    WALKS(ip),
    WALKS(ipv6),
    {"inherited_of_socket", inherited_of_socket},
    {"inherited_of_tcp", inherited_of_tcp},
    {"inherited_of_ip", inherited_of_ip},
    {"inherited_of_ipv6", inherited_of_ipv6},
    {0},
};
