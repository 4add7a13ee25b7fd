/* Threads cancelled in socket calls: blocked ones, and ones that find the cancellation pending. */
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/uio.h>
#include <unistd.h>

#include "case.h"

static void call_recv(int fd)
{
    char byte;
    (void)!recv(fd, &byte, 1, 0);
}

static void call_read(int fd)
{
    char byte;
    (void)!read(fd, &byte, 1);
}

static void call_readv(int fd)
{
    char byte;
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};
    (void)!readv(fd, &vector, 1);
}

static void call_recvmsg(int fd)
{
    char byte;
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    (void)!recvmsg(fd, &message, 0);
}

static void call_send(int fd)
{
    static char bytes[1 << 20];
    for (;;)
        (void)!send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL);
}

static void call_poll(int fd)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    (void)poll(&polled, 1, CASE_WAIT_MS);
}

static void call_many_polled(int fd)
{
    struct pollfd polled[100];
    for (int i = 0; i < 100; i++)
        polled[i] = (struct pollfd){.fd = fd, .events = POLLIN};
    (void)poll(polled, 100, CASE_WAIT_MS);
}

static void call_select(int fd)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    (void)select(fd + 1, &set, NULL, NULL, &(struct timeval){.tv_sec = 2});
}

static void close_set(void *argument)
{
    close((int)(intptr_t)argument);
}

static void call_epoll(int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(0);
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    pthread_cleanup_push(close_set, (void *)(intptr_t)epoll);
    (void)epoll_wait(epoll, &event, 1, CASE_WAIT_MS);
    pthread_cleanup_pop(1);
}

struct cancelled {
    void (*call)(int fd);
    int fd;
    bool pending; /* the cancellation comes before the call */
    sem_t ready;
};

static void *run_cancelled(void *argument)
{
    struct cancelled *cancelled = argument;
    if (cancelled->pending) {
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
        pthread_cancel(pthread_self());
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    }
    sem_post(&cancelled->ready);
    cancelled->call(cancelled->fd);
    return NULL;
}

static void cancel_call(void (*call)(int fd), int fd, bool pending)
{
    struct cancelled cancelled = {.call = call, .fd = fd, .pending = pending};
    pthread_t thread;
    void *result = NULL;
    sem_init(&cancelled.ready, 0, 0);
    pthread_create(&thread, NULL, run_cancelled, &cancelled);
    sem_wait(&cancelled.ready);
    settle();
    if (!pending)
        say("cancel = %d", pthread_cancel(thread));
    pthread_join(thread, &result);
    say("cancelled %d", result == PTHREAD_CANCELED);
    sem_destroy(&cancelled.ready);
}

/* The socket is no worse for it, and its last close() is one. */
static void cancel_blocked(const struct case_context *context, void (*call)(int fd))
{
    int pair[2];
    char byte = 'x';
    make_pair(context, pair);
    cancel_call(call, pair[1], false);
    cancel_call(call, pair[1], false);
    say_result("send", send(pair[0], &byte, 1, 0));
    say_events("data", wait_for(pair[1], POLLIN));
    say_result("recv", recv(pair[1], &byte, 1, 0));
    close(pair[1]);
    say_events("peer", wait_for(pair[0], POLLRDHUP));
    close(pair[0]);
}

static void cancel_pending(const struct case_context *context, void (*call)(int fd))
{
    int pair[2];
    char byte = 'x';
    make_pair(context, pair);
    say_result("send", send(pair[0], &byte, 1, 0));
    settle();
    cancel_call(call, pair[1], true);
    say_result("recv", recv(pair[1], &byte, 1, MSG_DONTWAIT));
    close_pair(pair);
}

#define CANCEL_CASES(X)                                                                            \
    X(recv)                                                                                        \
    X(read)                                                                                        \
    X(readv)                                                                                       \
    X(recvmsg)                                                                                     \
    X(poll)                                                                                        \
    X(many_polled)                                                                                 \
    X(select)                                                                                      \
    X(epoll)

#define DEFINE(name)                                                                               \
    static void cancel_blocked_##name(const struct case_context *context)                          \
    {                                                                                              \
        cancel_blocked(context, call_##name);                                                      \
    }                                                                                              \
    static void cancel_pending_##name(const struct case_context *context)                          \
    {                                                                                              \
        cancel_pending(context, call_##name);                                                      \
    }

CANCEL_CASES(DEFINE)

static void cancel_blocked_send(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    cancel_call(call_send, pair[1], false);
    close(pair[1]);
    char bytes[4096];
    while (recv(pair[0], bytes, sizeof(bytes), 0) > 0)
        ;
    say_events("peer at the end", wait_for(pair[0], POLLRDHUP));
    close(pair[0]);
}

static void call_accept(int fd)
{
    int accepted = accept(fd, NULL, NULL);
    if (accepted >= 0)
        close(accepted);
}

static void cancel_blocked_accept(const struct case_context *context)
{
    int listener = make_listener(context, 4), client = make_socket(context, 0);
    cancel_call(call_accept, listener, false);
    say_result("connect", connect_to(context, client, port_of(listener)));
    int accepted = accept(listener, NULL, NULL);
    say("accepted %d", accepted >= 0);
    unsigned port = port_of(listener);
    close(listener);
    close(accepted);
    close(client);
    client = make_socket(context, 0);
    say_result("connect when closed", connect_to(context, client, port));
    close(client);
}

#define ENTRY(name)                                                                                \
    {"cancel_blocked_" #name, cancel_blocked_##name},                                              \
        {"cancel_pending_" #name, cancel_pending_##name},

const struct socket_case cases_cancel[] = {
    CANCEL_CASES(ENTRY){"cancel_blocked_send", cancel_blocked_send},
    {"cancel_blocked_accept", cancel_blocked_accept},
    {0},
};
