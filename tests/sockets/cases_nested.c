/* epoll sets inside epoll sets, and the two stacks' halves of one event. */
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <unistd.h>

#include "case.h"

#define INNER_DATA 0x1122334455667788u

static int control(int epoll, int operation, int fd, unsigned events)
{
    struct epoll_event event = {.events = events, .data.u64 = INNER_DATA};
    return epoll_ctl(epoll, operation, fd, &event);
}

static int watch(int fd, unsigned events)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (control(epoll, EPOLL_CTL_ADD, fd, events) < 0)
        say_result("add", -1);
    return epoll;
}

static void say_wait_for(const char *what, int epoll, int timeout_ms)
{
    struct epoll_event events[8];
    int count = epoll_wait(epoll, events, 8, timeout_ms);
    say_result(what, count);
    for (int i = 0; i < count; i++) {
        say_events("  event", events[i].events);
        say("  its data %d", events[i].data.u64 == INNER_DATA);
    }
}

static void say_wait(const char *what, int epoll)
{
    say_wait_for(what, epoll, CASE_QUIET_MS);
}

/* pair[1] in the inner set, the inner set in the outer one. */
struct nest {
    int pair[2];
    int inner, outer;
};

static void make_nest(const struct case_context *context, struct nest *nest, unsigned events,
                      unsigned outer_events)
{
    make_pair(context, nest->pair);
    nest->inner = watch(nest->pair[1], events);
    nest->outer = watch(nest->inner, outer_events);
}

static void close_nest(struct nest *nest)
{
    close(nest->outer);
    close(nest->inner);
    close_pair(nest->pair);
}

static void outer_set_sees_inner(const struct case_context *context)
{
    struct nest nest;
    char byte;
    make_nest(context, &nest, EPOLLIN, EPOLLIN);
    say_wait("quiet", nest.outer);
    send(nest.pair[0], "x", 1, 0);
    say_wait("data", nest.outer);
    say_wait("still", nest.outer);
    say_wait("inner", nest.inner);
    (void)!read(nest.pair[1], &byte, 1);
    say_wait("read", nest.outer);
    shutdown(nest.pair[0], SHUT_WR);
    say_wait("end", nest.outer);
    close_nest(&nest);
}

static void outer_set_already_ready(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    send(pair[0], "x", 1, 0);
    settle();
    int inner = watch(pair[1], EPOLLIN), outer = watch(inner, EPOLLIN | EPOLLOUT);
    say_wait("added when ready", outer);
    control(outer, EPOLL_CTL_MOD, inner, EPOLLOUT);
    say_wait("for output", outer);
    control(outer, EPOLL_CTL_MOD, inner, EPOLLIN);
    say_wait("for input again", outer);
    control(outer, EPOLL_CTL_DEL, inner, 0);
    say_wait("removed", outer);
    close(outer);
    close(inner);
    close_pair(pair);
}

static void outer_edge(const struct case_context *context)
{
    struct nest nest;
    make_nest(context, &nest, EPOLLIN, EPOLLIN | EPOLLET);
    send(nest.pair[0], "x", 1, 0);
    say_wait("data", nest.outer);
    say_wait("same data", nest.outer);
    send(nest.pair[0], "y", 1, 0);
    say_wait("more data", nest.outer);
    close_nest(&nest);
}

static void outer_one_shot(const struct case_context *context)
{
    struct nest nest;
    make_nest(context, &nest, EPOLLIN, EPOLLIN | EPOLLONESHOT);
    send(nest.pair[0], "x", 1, 0);
    say_wait("data", nest.outer);
    say_wait("disarmed", nest.outer);
    control(nest.outer, EPOLL_CTL_MOD, nest.inner, EPOLLIN | EPOLLONESHOT);
    say_wait("armed again", nest.outer);
    close_nest(&nest);
}

static void inner_edge(const struct case_context *context)
{
    struct nest nest;
    make_nest(context, &nest, EPOLLIN | EPOLLET, EPOLLIN);
    send(nest.pair[0], "x", 1, 0);
    say_wait("data", nest.outer);
    say_wait("inner", nest.inner);
    say_wait("taken", nest.outer);
    send(nest.pair[0], "y", 1, 0);
    say_wait("more", nest.outer);
    close_nest(&nest);
}

static void three_sets_deep(const struct case_context *context)
{
    struct nest nest;
    make_nest(context, &nest, EPOLLIN, EPOLLIN);
    int outermost = watch(nest.outer, EPOLLIN);
    struct pollfd polled = {.fd = outermost, .events = POLLIN};
    say_result("poll when quiet", poll(&polled, 1, 0));
    send(nest.pair[0], "x", 1, 0);
    say_wait_for("data", outermost, CASE_WAIT_MS);
    say_result("poll", poll(&polled, 1, 0));
    say_events("polled", (unsigned short)polled.revents);
    close(outermost);
    close_nest(&nest);
}

static void poll_and_select_see_outer(const struct case_context *context)
{
    struct nest nest;
    make_nest(context, &nest, EPOLLIN, EPOLLIN);
    struct timeval timeout = {.tv_sec = 2};
    fd_set set;
    send(nest.pair[0], "x", 1, 0);
    say_events("poll", wait_for(nest.outer, POLLIN | POLLOUT));
    FD_ZERO(&set);
    FD_SET(nest.outer, &set);
    say_result("select", select(nest.outer + 1, &set, NULL, NULL, &timeout));
    say_result("select for output", select(nest.outer + 1, NULL, &set, NULL, &(struct timeval){0}));
    close_nest(&nest);
}

static void inner_of_both_stacks(const struct case_context *context)
{
    struct nest nest;
    make_nest(context, &nest, EPOLLIN, EPOLLIN);
    int event_fd = eventfd(0, EFD_NONBLOCK);
    control(nest.inner, EPOLL_CTL_ADD, event_fd, EPOLLIN);
    eventfd_write(event_fd, 1);
    say_wait("kernel's", nest.outer);
    send(nest.pair[0], "x", 1, 0);
    settle();
    say_wait("both", nest.outer);
    eventfd_t value;
    eventfd_read(event_fd, &value);
    say_wait("socket's", nest.outer);
    close(event_fd);
    close_nest(&nest);
}

static void inner_closed(const struct case_context *context)
{
    struct nest nest;
    make_nest(context, &nest, EPOLLIN, EPOLLIN);
    send(nest.pair[0], "x", 1, 0);
    say_wait("data", nest.outer);
    close(nest.inner);
    say_wait("closed", nest.outer);
    nest.inner = dup(nest.outer);
    close_nest(&nest);
}

static void rules_of_nesting(const struct case_context *context)
{
    struct nest nest;
    make_nest(context, &nest, EPOLLIN, EPOLLIN);
    say_result("loop", control(nest.inner, EPOLL_CTL_ADD, nest.outer, EPOLLIN));
    say_result("twice", control(nest.outer, EPOLL_CTL_ADD, nest.inner, EPOLLIN));
    int other = epoll_create1(0);
    say_result("exclusive", control(other, EPOLL_CTL_ADD, nest.inner, EPOLLIN | EPOLLEXCLUSIVE));
    say_result("modify absent", control(other, EPOLL_CTL_MOD, nest.inner, EPOLLIN));
    say_result("delete absent", control(other, EPOLL_CTL_DEL, nest.inner, EPOLLIN));
    close(other);
    close_nest(&nest);
}

struct waiting {
    int epoll;
    bool polls;
    int result;
};

static void *wait_in_thread(void *argument)
{
    struct waiting *waiting = argument;
    struct epoll_event event;
    struct pollfd polled = {.fd = waiting->epoll, .events = POLLIN};
    waiting->result = waiting->polls ? poll(&polled, 1, CASE_WAIT_MS)
                                     : epoll_wait(waiting->epoll, &event, 1, CASE_WAIT_MS);
    return NULL;
}

static void threads_wait_on_both_sets(const struct case_context *context)
{
    struct nest nest;
    pthread_t threads[3];
    make_nest(context, &nest, EPOLLIN, EPOLLIN);
    struct waiting waiting[3] = {
        {nest.inner, false, 0}, {nest.outer, false, 0}, {nest.outer, true, 0}};
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, wait_in_thread, &waiting[i]);
    settle();
    send(nest.pair[0], "x", 1, 0);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        say_result("woken", waiting[i].result);
    }
    close_nest(&nest);
}

/* A listener on the wildcard address has a half on each stack. */
static void wildcard_listener_one_event(const struct case_context *context)
{
    struct sockaddr_storage address;
    int listener = make_socket(context, 0), client = make_socket(context, 0);
    int epoll = watch(listener, EPOLLIN);
    bind(listener, (struct sockaddr *)&address, wildcard(context, &address, 0));
    listen(listener, 4);
    connect_to(context, client, port_of(listener));
    say_wait("connection", epoll);
    say_wait("again", epoll);
    close(accept(listener, NULL, NULL));
    say_wait("accepted", epoll);
    close(epoll);
    close(client);
    close(listener);
}

static void wildcard_listener_one_shot(const struct case_context *context)
{
    struct sockaddr_storage address;
    int listener = make_socket(context, 0), client = make_socket(context, 0);
    bind(listener, (struct sockaddr *)&address, wildcard(context, &address, 0));
    listen(listener, 4);
    int epoll = watch(listener, EPOLLIN | EPOLLONESHOT);
    connect_to(context, client, port_of(listener));
    say_wait("connection", epoll);
    say_wait("disarmed", epoll);
    control(epoll, EPOLL_CTL_MOD, listener, EPOLLIN | EPOLLONESHOT);
    say_wait("armed", epoll);
    close(epoll);
    close(client);
    close(listener);
}

/* Of two sets in which nobody waits both learn; of two waited for, only the one added first. */
static void exclusive_wakes_one(const struct case_context *context)
{
    int listener = make_listener(context, 4), client = make_socket(context, 0);
    int sets[2] = {watch(listener, EPOLLIN | EPOLLEXCLUSIVE),
                   watch(listener, EPOLLIN | EPOLLEXCLUSIVE)};
    struct waiting waiting[2] = {{sets[0], false, 0}, {sets[1], false, 0}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, wait_in_thread, &waiting[i]);
    settle();
    connect_to(context, client, port_of(listener));
    settle();
    close(accept(listener, NULL, NULL));
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        say_result(i == 0 ? "first" : "second", waiting[i].result);
    }
    int other = make_socket(context, 0);
    connect_to(context, other, port_of(listener));
    settle(); /* it has arrived before anybody waits */
    say_wait_for("nobody waits: first", sets[0], CASE_QUIET_MS);
    say_wait_for("nobody waits: second", sets[1], CASE_QUIET_MS);
    close(sets[0]);
    close(sets[1]);
    close(other);
    close(client);
    close(listener);
}

const struct socket_case cases_nested[] = {
    {"outer_set_sees_inner", outer_set_sees_inner},
    {"outer_set_already_ready", outer_set_already_ready},
    {"outer_edge", outer_edge},
    {"outer_one_shot", outer_one_shot},
    {"inner_edge", inner_edge},
    {"three_sets_deep", three_sets_deep},
    {"poll_and_select_see_outer", poll_and_select_see_outer},
    {"inner_of_both_stacks", inner_of_both_stacks},
    {"inner_closed", inner_closed},
    {"rules_of_nesting", rules_of_nesting},
    {"threads_wait_on_both_sets", threads_wait_on_both_sets},
    {"wildcard_listener_one_event", wildcard_listener_one_event},
    {"wildcard_listener_one_shot", wildcard_listener_one_shot},
    {"exclusive_wakes_one", exclusive_wakes_one},
    {0},
};
