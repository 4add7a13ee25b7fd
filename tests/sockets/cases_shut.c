/* shutdown() of sockets that listen, connect or are over, and limits that calls have: what others'
   test suites ask for. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "case.h"

#define ALL_EVENTS (POLLIN | POLLOUT | POLLRDHUP | POLLPRI)

static int listener_on(const struct case_context *context, bool to_any, unsigned port)
{
    struct sockaddr_storage address;
    socklen_t length =
        to_any ? wildcard(context, &address, port) : loopback(context, &address, port);
    int fd = make_socket(context, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    say_result("bind", bind(fd, (struct sockaddr *)&address, length));
    say_result("listen", listen(fd, 4));
    return fd;
}

static void shut_down_and_listen_again(const struct case_context *context, bool to_any, int how)
{
    int probe = make_listener(context, 1);
    unsigned port = port_of(probe);
    close(probe);
    int fd = listener_on(context, to_any, port);
    int client = make_socket(context, 0);
    say_result("shutdown", shutdown(fd, how));
    say_events("events", events_now(fd, ALL_EVENTS));
    say_result("accept", accept4(fd, NULL, NULL, SOCK_NONBLOCK));
    say("port kept %d", port_of(fd) == port);
    say_result("refused", connect_to(context, client, port));
    say_result("shutdown again", shutdown(fd, how));
    say_result("listen again", listen(fd, 4));
    say("port kept %d", port_of(fd) == port);
    close(client);
    client = make_socket(context, 0);
    say_result("connect", connect_to(context, client, port_of(fd)));
    say_events("events", wait_for(fd, POLLIN));
    int accepted = accept(fd, NULL, NULL);
    say("accepted %d", accepted >= 0);
    close(accepted);
    close(client);
    close(fd);
}

static void shut_down_listener_and_listen_again(const struct case_context *context)
{
    shut_down_and_listen_again(context, false, SHUT_RD);
}

static void shut_down_wildcard_listener_and_listen_again(const struct case_context *context)
{
    shut_down_and_listen_again(context, true, SHUT_RDWR);
}

static void shut_down_listener_on_any_port(const struct case_context *context)
{
    int fd = listener_on(context, true, 0);
    int client = make_socket(context, 0);
    say_result("shutdown", shutdown(fd, SHUT_RDWR));
    say_result("listen again", listen(fd, 4));
    say_result("connect", connect_to(context, client, port_of(fd)));
    close(client);
    close(fd);
}

struct accepting {
    int listener;
    _Atomic int ended;
};

static void *accept_until_shut(void *argument)
{
    struct accepting *accepting = argument;
    int fd;
    while ((fd = accept(accepting->listener, NULL, NULL)) >= 0)
        close(fd);
    if (errno == EINVAL)
        atomic_fetch_add(&accepting->ended, 1);
    return NULL;
}

/* Who finds it shut shuts it too, as pools of workers do. */
static void listener_shut_down_by_many(const struct case_context *context)
{
    int ended = 0;
    for (int round = 0; round < 50; round++) {
        int listener = make_listener(context, 8);
        struct accepting accepting = {.listener = listener};
        pthread_t threads[3];
        for (int i = 0; i < 3; i++)
            pthread_create(&threads[i], NULL, accept_until_shut, &accepting);
        int client = make_socket(context, 0);
        connect_to(context, client, port_of(listener));
        shutdown(listener, SHUT_RDWR);
        shutdown(listener, SHUT_RDWR);
        for (int i = 0; i < 3; i++)
            pthread_join(threads[i], NULL);
        ended += atomic_load(&accepting.ended);
        close(client);
        close(listener);
    }
    say("ended by EINVAL %d", ended);
}

static void *shut_down(void *argument)
{
    shutdown(*(int *)argument, SHUT_RDWR);
    return NULL;
}

static void listener_shut_down_at_the_same_time(const struct case_context *context)
{
    for (int round = 0; round < 200; round++) {
        int listener = make_listener(context, 8);
        pthread_t threads[4];
        for (int i = 0; i < 4; i++)
            pthread_create(&threads[i], NULL, shut_down, &listener);
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        close(listener);
    }
    say("still there");
}

/* A listener whose queue is full answers no SYN. */
static void shut_down_connecting(const struct case_context *context, int how)
{
    int listener = make_listener(context, 0);
    int queued = make_socket(context, 0), fd = make_socket(context, SOCK_NONBLOCK);
    connect_to(context, queued, port_of(listener));
    say_result("connect", connect_to(context, fd, port_of(listener)));
    say_result("shutdown", shutdown(fd, how));
    say_events("events", events_now(fd, ALL_EVENTS));
    say_socket_error("SO_ERROR", fd);
    say_result("shutdown again", shutdown(fd, how));
    close(fd);
    close(queued);
    close(listener);
}

static void shut_down_connecting_for_reading(const struct case_context *context)
{
    shut_down_connecting(context, SHUT_RD);
}

static void shut_down_connecting_for_writing(const struct case_context *context)
{
    shut_down_connecting(context, SHUT_WR);
}

static void shut_down_in_time_wait(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    say_result("first", shutdown(pair[0], SHUT_WR));
    say_result("twice", shutdown(pair[0], SHUT_WR));
    say_result("peer", shutdown(pair[1], SHUT_RDWR));
    settle();
    say_result("in TIME-WAIT", shutdown(pair[0], SHUT_WR));
    say_result("in CLOSED", shutdown(pair[1], SHUT_RDWR));
    close_pair(pair);
}

static void bound_to_one_family_connects_to_the_other(const struct case_context *context)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in6 mapped = {.sin6_family = AF_INET6};
    if (context->family != AF_INET6)
        return;
    mapped.sin6_addr.s6_addr[10] = mapped.sin6_addr.s6_addr[11] = 0xff;
    mapped.sin6_addr.s6_addr[12] = 127;
    mapped.sin6_addr.s6_addr[15] = 1;
    int fd = make_socket(context, 0);
    say_result("bind v6", bind(fd, (struct sockaddr *)&v6, sizeof(v6)));
    mapped.sin6_port = htons(9);
    say_result("connect mapped", connect(fd, (struct sockaddr *)&mapped, sizeof(mapped)));
    close(fd);
    fd = make_socket(context, 0);
    mapped.sin6_port = 0;
    say_result("bind mapped", bind(fd, (struct sockaddr *)&mapped, sizeof(mapped)));
    v6.sin6_port = htons(9);
    say_result("connect v6", connect(fd, (struct sockaddr *)&v6, sizeof(v6)));
    close(fd);
}

static void sendmmsg_takes_so_many(const struct case_context *context)
{
    static struct mmsghdr messages[UIO_MAXIOV + 1];
    char byte = 'x';
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    int pair[2];
    make_pair(context, pair);
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++)
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &part, .msg_iovlen = 1};
    say_result("sendmmsg", sendmmsg(pair[0], messages, UIO_MAXIOV + 1, 0));
    close_pair(pair);
}

static void window_clamp_of_none(const struct case_context *context)
{
    int pair[2], zero = 0, value = 0;
    socklen_t length = sizeof(value);
    make_pair(context, pair);
    int fresh = make_socket(context, 0), listener = make_listener(context, 1);
    say_result("fresh", setsockopt(fresh, IPPROTO_TCP, TCP_WINDOW_CLAMP, &zero, sizeof(zero)));
    say_result("listener",
               setsockopt(listener, IPPROTO_TCP, TCP_WINDOW_CLAMP, &zero, sizeof(zero)));
    for (int i = 0; i < 2; i++) {
        say_result("connected",
                   setsockopt(pair[i], IPPROTO_TCP, TCP_WINDOW_CLAMP, &zero, sizeof(zero)));
        say_result("bad", setsockopt(pair[i], IPPROTO_TCP, TCP_WINDOW_CLAMP, NULL, sizeof(zero)));
        int small = 5;
        say_result("small",
                   setsockopt(pair[i], IPPROTO_TCP, TCP_WINDOW_CLAMP, &small, sizeof(small)));
        say_result("get", getsockopt(pair[i], IPPROTO_TCP, TCP_WINDOW_CLAMP, &value, &length));
        say("value %d", value);
    }
    close(fresh);
    close(listener);
    close_pair(pair);
}

/* TCP_MAXSEG set on a connection is for its next one: what is corked goes in one segment. */
static void maxseg_set_when_connected(const struct case_context *context)
{
    int pair[2], on = 1, size = 1024;
    char bytes[1024] = "";
    make_pair(context, pair);
    setsockopt(pair[0], IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
    say_result("TCP_MAXSEG", setsockopt(pair[0], IPPROTO_TCP, TCP_MAXSEG, &size, sizeof(size)));
    say_result("send", send(pair[0], bytes, sizeof(bytes), 0));
    say_result("recv", recv(pair[1], bytes, sizeof(bytes), 0));
    close_pair(pair);
}

static void write_beyond_send_buffer(const struct case_context *context)
{
    int pair[2], size = 0;
    socklen_t length = sizeof(size);
    make_pair(context, pair);
    for (int i = 0; i < 2; i++) {
        getsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &size, &length);
        char *bytes = calloc(3, (size_t)size);
        ssize_t sent = send(pair[i], bytes, 3 * (size_t)size, MSG_DONTWAIT);
        say("some %d, all %d", sent > 0, sent == 3 * (ssize_t)size);
        free(bytes);
    }
    close_pair(pair);
}

const struct socket_case cases_shut[] = {
    {"shut_down_listener_and_listen_again", shut_down_listener_and_listen_again},
    {"shut_down_wildcard_listener_and_listen_again", shut_down_wildcard_listener_and_listen_again},
    {"shut_down_listener_on_any_port", shut_down_listener_on_any_port},
    {"listener_shut_down_by_many", listener_shut_down_by_many},
    {"listener_shut_down_at_the_same_time", listener_shut_down_at_the_same_time},
    {"shut_down_connecting_for_reading", shut_down_connecting_for_reading},
    {"shut_down_connecting_for_writing", shut_down_connecting_for_writing},
    {"shut_down_in_time_wait", shut_down_in_time_wait},
    {"bound_to_one_family_connects_to_the_other", bound_to_one_family_connects_to_the_other},
    {"sendmmsg_takes_so_many", sendmmsg_takes_so_many},
    {"window_clamp_of_none", window_clamp_of_none},
    {"maxseg_set_when_connected", maxseg_set_when_connected},
    {"write_beyond_send_buffer", write_beyond_send_buffer},
    {0},
};
