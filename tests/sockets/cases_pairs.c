/* Two sockets of every kind of name at one port, with all combinations of SO_REUSEADDR and
   SO_REUSEPORT: which may be there together, and which of them connections find. */
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "case.h"

struct kind {
    const char *name;
    int family;
    const char address[sizeof(struct in6_addr)];
    bool only_v6;
};

#define MAPPED    "\0\0\0\0\0\0\0\0\0\0\xff\xff"
#define V6_ANY    ""
#define V6_ITSELF "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"

static const struct kind kinds[] = {
    {"4 address", AF_INET, "\x7f\0\0\x01", false},
    {"4 another", AF_INET, "\x7f\0\0\x02", false},
    {"4 any", AF_INET, "", false},
    {"6 address", AF_INET6, V6_ITSELF, false},
    {"6 any", AF_INET6, V6_ANY, false},
    {"6 any alone", AF_INET6, V6_ANY, true},
    {"mapped address", AF_INET6, MAPPED "\x7f\0\0\x01", false},
    {"mapped any", AF_INET6, MAPPED, false},
};

enum { KINDS = sizeof(kinds) / sizeof(kinds[0]), REUSES = 4 };

static socklen_t address_of(const struct kind *kind, unsigned port,
                            struct sockaddr_storage *address)
{
    memset(address, 0, sizeof(*address));
    address->ss_family = (sa_family_t)kind->family;
    if (kind->family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)address;
        in->sin_port = htons((uint16_t)port);
        memcpy(&in->sin_addr, kind->address, sizeof(in->sin_addr));
        return sizeof(*in);
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)address;
    in6->sin6_port = htons((uint16_t)port);
    memcpy(&in6->sin6_addr, kind->address, sizeof(in6->sin6_addr));
    return sizeof(*in6);
}

/* @param reuse  bit 0: SO_REUSEADDR, bit 1: SO_REUSEPORT. */
static int socket_of_kind(const struct kind *kind, int reuse)
{
    int on = 1;
    int fd = socket(kind->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (kind->only_v6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (reuse & 1)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (reuse & 2)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    return fd;
}

static int bind_to_port(int fd, const struct kind *kind, unsigned port)
{
    struct sockaddr_storage address;
    socklen_t length = address_of(kind, port, &address);
    return bind(fd, (struct sockaddr *)&address, length);
}

/* One where nothing of an earlier case is in the way of any name. */
static unsigned free_port(void)
{
    int fd = socket_of_kind(&kinds[4], 0);
    bind_to_port(fd, &kinds[4], 0);
    unsigned port = port_of(fd);
    close(fd);
    return port;
}

/* +: it binds and listens; b: it can only be bound; else why it can't be. */
static char outcome_of(int fd, const struct kind *kind, unsigned port)
{
    if (bind_to_port(fd, kind, port) < 0)
        return errno == EADDRINUSE ? '-' : errno == EINVAL ? 'i' : '?';
    if (listen(fd, 4) < 0)
        return errno == EADDRINUSE ? 'b' : '!';
    return '+';
}

/* What the second can do, for each of the reuse options of the second in turn, of the first from
   group to group. */
static void try_pair(const struct kind *first, const struct kind *second, bool listens)
{
    char said[REUSES * (REUSES + 1) + 1];
    char *end = said;
    unsigned port = free_port();
    for (int reuse = 0; reuse < REUSES; reuse++) {
        for (int other = 0; other < REUSES; other++) {
            int one = socket_of_kind(first, reuse), two = socket_of_kind(second, other);
            bool stands = bind_to_port(one, first, port) == 0 && (!listens || listen(one, 4) == 0);
            *end++ = stands ? outcome_of(two, second, port) : 'x';
            close(one);
            close(two);
        }
        *end++ = ' ';
    }
    end[-1] = '\0';
    say("%s%s, %s: %s", first->name, listens ? " listens" : "", second->name, said);
}

static void try_pairs(const struct case_context *context, bool listens)
{
    for (int first = 0; first < KINDS; first++) {
        for (int second = 0; second < KINDS && kinds[first].family == context->family; second++)
            try_pair(&kinds[first], &kinds[second], listens);
    }
}

static void pairs_bound(const struct case_context *context)
{
    try_pairs(context, false);
}

static void pairs_listening(const struct case_context *context)
{
    try_pairs(context, true);
}

/* Which of two listeners a connection to `to` comes to. */
static char taken_by(const int listeners[2], const struct kind *to, unsigned port)
{
    struct sockaddr_storage address;
    struct pollfd pollfds[2] = {{.fd = listeners[0], .events = POLLIN},
                                {.fd = listeners[1], .events = POLLIN}};
    int fd = socket_of_kind(to, 0);
    socklen_t length = address_of(to, port, &address);
    char taken = '-';
    if (connect(fd, (struct sockaddr *)&address, length) == 0) {
        poll(pollfds, 2, CASE_WAIT_MS);
        taken = pollfds[0].revents & POLLIN ? '1' : '2';
        close(accept(listeners[taken == '2'], NULL, NULL));
    }
    close(fd);
    return taken;
}

/* With both options listeners of any two kinds stand together; where both are as good, either is.
 */
static void pairs_connected(const struct case_context *context)
{
    static const int targets[] = {0, 1, 3, 6};
    for (int first = 0; first < KINDS; first++) {
        for (int second = 0; second < KINDS && kinds[first].family == context->family; second++) {
            bool alike = first == second || (first == 4 && second == 5) ||
                         (first == 5 && second == 4) || (first == 4 && second == 7) ||
                         (first == 7 && second == 4);
            if (alike)
                continue;
            unsigned port = free_port();
            int listeners[2] = {socket_of_kind(&kinds[first], 3),
                                socket_of_kind(&kinds[second], 3)};
            if (bind_to_port(listeners[0], &kinds[first], port) < 0 ||
                listen(listeners[0], 4) < 0 ||
                bind_to_port(listeners[1], &kinds[second], port) < 0 || listen(listeners[1], 4) < 0)
                say("%s, %s: not both", kinds[first].name, kinds[second].name);
            else
                say("%s, %s: %c %c %c %c", kinds[first].name, kinds[second].name,
                    taken_by(listeners, &kinds[targets[0]], port),
                    taken_by(listeners, &kinds[targets[1]], port),
                    taken_by(listeners, &kinds[targets[2]], port),
                    taken_by(listeners, &kinds[targets[3]], port));
            close(listeners[0]);
            close(listeners[1]);
        }
    }
}

const struct socket_case cases_pairs[] = {
    {"pairs_bound", pairs_bound},
    {"pairs_listening", pairs_listening},
    {"pairs_connected", pairs_connected},
    {NULL, NULL},
};
