/* Walks at random over what can be done with the two ends of a connection and an epoll set that has
   both: each walk is a seed's, so the same on both stacks, and says what every step gave. Nothing
   waits: over loopback a call's effect at the other end is there when it returns. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "case.h"

enum { STEPS = 120, BYTES_MAX = 400, URGENT = 1, ENDS = 2 };

struct walk {
    const struct case_context *context;
    uint64_t random;
    unsigned kinds; /* URGENT, ENDS: what may happen */
    int fd[2];
    int set;
    size_t sent[2], received[2];
};

/* Not libc's, so that a seed stays what it is. Source: xorshift64*. */
static unsigned draw(struct walk *walk, unsigned below)
{
    walk->random ^= walk->random >> 12;
    walk->random ^= walk->random << 25;
    walk->random ^= walk->random >> 27;
    return (unsigned)((walk->random * UINT64_C(2685821657736338717)) >> 33) % below;
}

static void watch(struct walk *walk, int operation, int end)
{
    static const uint32_t modes[] = {0, EPOLLET, EPOLLONESHOT, EPOLLET | EPOLLONESHOT};
    struct epoll_event event = {.events = modes[draw(walk, 4)] | EPOLLRDHUP | EPOLLPRI,
                                .data.u32 = (uint32_t)end};
    if (draw(walk, 4) != 0)
        event.events |= EPOLLIN;
    if (draw(walk, 2) != 0)
        event.events |= EPOLLOUT;
    say("watch %d by %#x = %d", end, event.events,
        epoll_ctl(walk->set, operation, walk->fd[end], &event));
}

static void begin(struct walk *walk)
{
    const int on = 1;
    make_pair(walk->context, walk->fd);
    for (int end = 0; end < 2; end++) {
        setsockopt(walk->fd[end], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        set_nonblocking(walk->fd[end], true);
        watch(walk, EPOLL_CTL_ADD, end);
        walk->sent[end] = walk->received[end] = 0;
    }
}

/* ---- Steps: of one end ----------------------------------------------------------------------- */

typedef void step_fn(struct walk *walk, int end);

static void send_some(struct walk *walk, int end)
{
    unsigned char bytes[BYTES_MAX];
    size_t count = draw(walk, BYTES_MAX);
    fill_pattern(bytes, count, walk->sent[end]);
    ssize_t sent = send(walk->fd[end], bytes, count, MSG_NOSIGNAL);
    say_result("send", sent);
    if (sent > 0)
        walk->sent[end] += (size_t)sent;
}

static void receive_by(struct walk *walk, int end, const char *what, int flags)
{
    unsigned char bytes[BYTES_MAX];
    ssize_t got = recv(walk->fd[end], bytes, 1 + draw(walk, BYTES_MAX - 1), flags);
    say_result(what, got);
    if (got <= 0 || (walk->kinds & URGENT) != 0)
        return;
    if ((flags & MSG_TRUNC) == 0 && !is_pattern(bytes, (size_t)got, walk->received[end]))
        say("wrong bytes");
    if ((flags & MSG_PEEK) == 0)
        walk->received[end] += (size_t)got;
}

static void receive_some(struct walk *walk, int end)
{
    receive_by(walk, end, "recv", 0);
}

static void peek(struct walk *walk, int end)
{
    receive_by(walk, end, "peek", MSG_PEEK);
}

static void discard(struct walk *walk, int end)
{
    receive_by(walk, end, "discard", MSG_TRUNC);
}

static void receive_whole(struct walk *walk, int end)
{
    receive_by(walk, end, "all", MSG_WAITALL);
}

static void receive_in_parts(struct walk *walk, int end)
{
    unsigned char bytes[3][8];
    struct iovec parts[] = {{bytes[0], draw(walk, 8)}, {bytes[1], draw(walk, 8)}, {bytes[2], 1}};
    ssize_t got = readv(walk->fd[end], parts, 3);
    say_result("readv", got);
    walk->received[end] += got > 0 ? (size_t)got : 0;
}

static void look(struct walk *walk, int end)
{
    struct pollfd pollfd = {.fd = walk->fd[end],
                            .events = POLLIN | POLLOUT | POLLPRI | POLLRDHUP | POLLRDBAND};
    poll(&pollfd, 1, 0);
    say_events("poll", (unsigned short)pollfd.revents);
}

static void look_by_epoll(struct walk *walk, int end)
{
    struct epoll_event events[2];
    (void)end;
    /* Sockets without a connection are the kernel's, and in no order with the others. */
    bool in_order = (walk->kinds & ENDS) == 0;
    int count = epoll_wait(walk->set, events, in_order ? 1 + (int)draw(walk, 2) : 2, 0);
    say_result("epoll_wait", count);
    if (!in_order && count == 2 && events[0].data.u32 == 1) {
        struct epoll_event first = events[0];
        events[0] = events[1];
        events[1] = first;
    }
    for (int i = 0; i < count; i++)
        say_events(events[i].data.u32 == 0 ? "end 0" : "end 1", events[i].events);
}

static void watch_anew(struct walk *walk, int end)
{
    watch(walk, EPOLL_CTL_MOD, end);
}

static void watch_from_now(struct walk *walk, int end)
{
    (void)epoll_ctl(walk->set, EPOLL_CTL_DEL, walk->fd[end], NULL);
    watch(walk, EPOLL_CTL_ADD, end);
}

static void count_unread(struct walk *walk, int end)
{
    int count = -1;
    int result = ioctl(walk->fd[end], FIONREAD, &count);
    say("FIONREAD = %d: %d", result, count);
}

static void ask_error(struct walk *walk, int end)
{
    say_socket_error("SO_ERROR", walk->fd[end]);
}

static void ask_names(struct walk *walk, int end)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    say_result("getpeername", getpeername(walk->fd[end], (struct sockaddr *)&address, &length));
}

static void set_low_water(struct walk *walk, int end)
{
    int bytes = (int)draw(walk, 200);
    say_result("low water",
               setsockopt(walk->fd[end], SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes)));
}

/* The same connection by another number; the set forgets it, and is told of it again. */
static void change_number(struct walk *walk, int end)
{
    int copy = dup(walk->fd[end]);
    (void)epoll_ctl(walk->set, EPOLL_CTL_DEL, walk->fd[end], NULL);
    close(walk->fd[end]);
    walk->fd[end] = copy;
    watch(walk, EPOLL_CTL_ADD, end);
}

static void begin_anew(struct walk *walk)
{
    close_pair(walk->fd);
    begin(walk);
}

/* Linux tells an epoll set when a FIN is acknowledged, which may take its peer a while. */
static void shut_something(struct walk *walk, int end)
{
    struct tcp_info info = {.tcpi_state = TCP_FIN_WAIT1};
    socklen_t length = sizeof(info);
    say_result("shutdown", shutdown(walk->fd[end], (int)draw(walk, 3)));
    for (int waited_ms = 0; waited_ms < CASE_WAIT_MS && info.tcpi_state == TCP_FIN_WAIT1;
         waited_ms++) {
        getsockopt(walk->fd[end], IPPROTO_TCP, TCP_INFO, &info, &length);
        if (info.tcpi_state == TCP_FIN_WAIT1)
            usleep(1000);
    }
}

static void reset(struct walk *walk, int end)
{
    const struct linger now = {.l_onoff = 1};
    setsockopt(walk->fd[end], SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(walk->fd[end]);
    say("reset");
    walk->fd[end] = make_socket(walk->context, SOCK_NONBLOCK);
    watch(walk, EPOLL_CTL_ADD, end);
}

static void dissolve(struct walk *walk, int end)
{
    const struct sockaddr none = {.sa_family = AF_UNSPEC};
    say_result("dissolve", connect(walk->fd[end], &none, sizeof(none)));
}

static void close_and_go_on(struct walk *walk, int end)
{
    close(walk->fd[end]);
    say("close");
    look(walk, 1 - end);
    receive_by(walk, 1 - end, "recv", 0);
    ask_error(walk, 1 - end);
    walk->fd[end] = -1;
    begin_anew(walk);
}

static void start_again(struct walk *walk, int end)
{
    (void)end;
    say("again");
    begin_anew(walk);
}

static void send_urgent(struct walk *walk, int end)
{
    say_result("send urgent", send(walk->fd[end], "!", 1, MSG_OOB | MSG_NOSIGNAL));
}

static void receive_urgent(struct walk *walk, int end)
{
    char byte = '?';
    say_result("recv urgent", recv(walk->fd[end], &byte, 1, MSG_OOB));
    say("%c", byte);
}

static void peek_urgent(struct walk *walk, int end)
{
    char byte;
    say_result("peek urgent", recv(walk->fd[end], &byte, 1, MSG_OOB | MSG_PEEK));
}

static void ask_mark(struct walk *walk, int end)
{
    say("at mark: %d", sockatmark(walk->fd[end]));
}

static void switch_inline(struct walk *walk, int end)
{
    int on = (int)draw(walk, 2);
    say("inline %d = %d", on, setsockopt(walk->fd[end], SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)));
}

/* ---- Walks ----------------------------------------------------------------------------------- */

static const struct {
    step_fn *step;
    unsigned weight;
    unsigned kind; /* only in walks of this kind */
} steps[] = {
    {send_some, 14, 0},
    {receive_some, 10, 0},
    {peek, 5, 0},
    {discard, 3, 0},
    {receive_whole, 3, 0},
    {receive_in_parts, 4, 0},
    {look, 8, 0},
    {look_by_epoll, 16, 0},
    {watch_anew, 4, 0},
    {watch_from_now, 2, 0},
    {count_unread, 5, 0},
    {ask_error, 2, 0},
    {ask_names, 1, 0},
    {set_low_water, 3, 0},
    {change_number, 2, 0},
    {shut_something, 4, ENDS},
    {reset, 1, ENDS},
    {dissolve, 1, ENDS},
    {close_and_go_on, 2, ENDS},
    {start_again, 3, ENDS},
    {send_urgent, 6, URGENT},
    {receive_urgent, 6, URGENT},
    {peek_urgent, 2, URGENT},
    {ask_mark, 3, URGENT},
    {switch_inline, 2, URGENT},
};

static void take_step(struct walk *walk)
{
    unsigned total = 0;
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
        total += (steps[i].kind & ~walk->kinds) == 0 ? steps[i].weight : 0;
    unsigned drawn = draw(walk, total);
    int end = (int)draw(walk, 2);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        unsigned weight = (steps[i].kind & ~walk->kinds) == 0 ? steps[i].weight : 0;
        if (drawn < weight) {
            steps[i].step(walk, end);
            return;
        }
        drawn -= weight;
    }
}

static void walk_by(const struct case_context *context, unsigned kinds, unsigned seed)
{
    struct walk walk = {.context = context,
                        .random = UINT64_C(0x9e3779b97f4a7c15) * (seed + 1),
                        .kinds = kinds,
                        .set = epoll_create1(0)};
    begin(&walk);
    for (int i = 0; i < STEPS; i++)
        take_step(&walk);
    close_pair(walk.fd);
    close(walk.set);
}

/* Seeds [10 * number, 10 * number + 10) of each kind. */
#define WALKS(number)                                                                              \
    static void of_data_##number(const struct case_context *context)                               \
    {                                                                                              \
        for (unsigned i = 0; i < 10; i++)                                                          \
            walk_by(context, 0, number * 10 + i);                                                  \
    }                                                                                              \
    static void with_ends_##number(const struct case_context *context)                             \
    {                                                                                              \
        for (unsigned i = 0; i < 10; i++)                                                          \
            walk_by(context, ENDS, number * 10 + i);                                               \
    }                                                                                              \
    static void with_urgent_bytes_##number(const struct case_context *context)                     \
    {                                                                                              \
        for (unsigned i = 0; i < 10; i++)                                                          \
            walk_by(context, URGENT, number * 10 + i);                                             \
    }                                                                                              \
    static void with_both_##number(const struct case_context *context)                             \
    {                                                                                              \
        for (unsigned i = 0; i < 10; i++)                                                          \
            walk_by(context, URGENT | ENDS, number * 10 + i);                                      \
    }

WALKS(0)
WALKS(1)
WALKS(2)

const struct socket_case cases_random[] = {
    {"random_data_0", of_data_0},
    {"random_data_1", of_data_1},
    {"random_data_2", of_data_2},
    {"random_ends_0", with_ends_0},
    {"random_ends_1", with_ends_1},
    {"random_ends_2", with_ends_2},
    {"random_urgent_0", with_urgent_bytes_0},
    {"random_urgent_1", with_urgent_bytes_1},
    {"random_urgent_2", with_urgent_bytes_2},
    {"random_both_0", with_both_0},
    {"random_both_1", with_both_1},
    {"random_both_2", with_both_2},
    {0},
};
