/* Threads and signals: closing, shutting down and reading one socket from several threads. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "case.h"

#define ALL_EVENTS (POLLIN | POLLOUT | POLLRDHUP | POLLPRI)

/* Something that another thread does to a descriptor, shortly. */
struct later {
    void (*act)(int fd);
    int fd;
};

static void *run_later(void *argument)
{
    const struct later *later = argument;
    usleep(20000);
    later->act(later->fd);
    return NULL;
}

static pthread_t begin_later(struct later *later)
{
    pthread_t thread;
    pthread_create(&thread, NULL, run_later, later);
    return thread;
}

static void send_one(int fd)
{
    (void)!send(fd, "x", 1, MSG_NOSIGNAL);
}

static void shut_read(int fd)
{
    shutdown(fd, SHUT_RD);
}

static void shut_write(int fd)
{
    shutdown(fd, SHUT_WR);
}

static void shut_both(int fd)
{
    shutdown(fd, SHUT_RDWR);
}

static void close_it(int fd)
{
    close(fd);
}

static void reset_it(int fd)
{
    struct linger linger = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
}

static void say_recv_then(int fd)
{
    char byte;
    say_result("recv", recv(fd, &byte, 1, 0));
}

/* While this thread blocks on pair[1], another acts on pair[side]. */
static void blocked(const struct case_context *context, void (*act)(int fd), int side,
                    void (*block)(int fd))
{
    int pair[2];
    make_pair(context, pair);
    struct later later = {act, pair[side]};
    pthread_t thread = begin_later(&later);
    block(pair[1]);
    pthread_join(thread, NULL);
    close_pair(pair);
}

static void by_poll(int fd)
{
    say_events("poll", wait_for(fd, ALL_EVENTS & ~POLLOUT));
    say_recv_then(fd);
}

static void by_select(int fd)
{
    fd_set read_set;
    struct timeval timeout = {.tv_sec = 2};
    FD_ZERO(&read_set);
    FD_SET(fd, &read_set);
    say_result("select", select(fd + 1, &read_set, NULL, NULL, &timeout));
    say_recv_then(fd);
}

static void by_epoll_of(int fd, unsigned events)
{
    struct epoll_event event = {.events = events};
    int epoll = epoll_create1(0);
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    int count = epoll_wait(epoll, &event, 1, CASE_WAIT_MS);
    say_result("epoll", count);
    if (count > 0)
        say_events("events", event.events);
    say_recv_then(fd);
    close(epoll);
}

static void by_epoll(int fd)
{
    by_epoll_of(fd, EPOLLIN | EPOLLRDHUP);
}

static void by_epoll_edge(int fd)
{
    by_epoll_of(fd, EPOLLIN | EPOLLRDHUP | EPOLLET);
}

static void by_recv(int fd)
{
    say_recv_then(fd);
}

static void by_peek(int fd)
{
    char byte;
    say_result("peek", recv(fd, &byte, 1, MSG_PEEK));
    say_recv_then(fd);
}

static void by_wait_all(int fd)
{
    char bytes[4];
    say_result("waitall", recv(fd, bytes, 4, MSG_WAITALL));
    say_result("again", recv(fd, bytes, 4, MSG_DONTWAIT));
}

#define BLOCKED(X)                                                                                 \
    X(recv_woken_by_data, send_one, 0, by_recv)                                                    \
    X(recv_woken_by_fin, shut_write, 0, by_recv)                                                   \
    X(recv_woken_by_peer_close, close_it, 0, by_recv)                                              \
    X(recv_woken_by_reset, reset_it, 0, by_recv)                                                   \
    X(recv_woken_by_own_shutdown_read, shut_read, 1, by_recv)                                      \
    X(recv_woken_by_own_shutdown, shut_both, 1, by_recv)                                           \
    X(peek_woken_by_data, send_one, 0, by_peek)                                                    \
    X(peek_woken_by_fin, shut_write, 0, by_peek)                                                   \
    X(peek_woken_by_reset, reset_it, 0, by_peek)                                                   \
    X(wait_all_woken_by_fin, shut_write, 0, by_wait_all)                                           \
    X(wait_all_woken_by_reset, reset_it, 0, by_wait_all)                                           \
    X(wait_all_woken_by_own_shutdown, shut_read, 1, by_wait_all)                                   \
    X(poll_woken_by_data, send_one, 0, by_poll)                                                    \
    X(poll_woken_by_fin, shut_write, 0, by_poll)                                                   \
    X(poll_woken_by_peer_close, close_it, 0, by_poll)                                              \
    X(poll_woken_by_reset, reset_it, 0, by_poll)                                                   \
    X(poll_woken_by_own_shutdown_read, shut_read, 1, by_poll)                                      \
    X(poll_woken_by_own_shutdown, shut_both, 1, by_poll)                                           \
    X(select_woken_by_data, send_one, 0, by_select)                                                \
    X(select_woken_by_fin, shut_write, 0, by_select)                                               \
    X(select_woken_by_peer_close, close_it, 0, by_select)                                          \
    X(select_woken_by_reset, reset_it, 0, by_select)                                               \
    X(select_woken_by_own_shutdown_read, shut_read, 1, by_select)                                  \
    X(select_woken_by_own_shutdown, shut_both, 1, by_select)                                       \
    X(epoll_woken_by_data, send_one, 0, by_epoll)                                                  \
    X(epoll_woken_by_fin, shut_write, 0, by_epoll)                                                 \
    X(epoll_woken_by_peer_close, close_it, 0, by_epoll)                                            \
    X(epoll_woken_by_reset, reset_it, 0, by_epoll)                                                 \
    X(epoll_woken_by_own_shutdown_read, shut_read, 1, by_epoll)                                    \
    X(epoll_woken_by_own_shutdown, shut_both, 1, by_epoll)                                         \
    X(epoll_edge_woken_by_data, send_one, 0, by_epoll_edge)                                        \
    X(epoll_edge_woken_by_fin, shut_write, 0, by_epoll_edge)                                       \
    X(epoll_edge_woken_by_peer_close, close_it, 0, by_epoll_edge)                                  \
    X(epoll_edge_woken_by_reset, reset_it, 0, by_epoll_edge)                                       \
    X(epoll_edge_woken_by_own_shutdown_read, shut_read, 1, by_epoll_edge)                          \
    X(epoll_edge_woken_by_own_shutdown, shut_both, 1, by_epoll_edge)

#define BLOCKED_CASE(name, act, side, block)                                                       \
    static void name(const struct case_context *context)                                           \
    {                                                                                              \
        blocked(context, act, side, block);                                                        \
    }
BLOCKED(BLOCKED_CASE)

static void *accept_one(void *argument)
{
    int fd = accept(*(int *)argument, NULL, NULL);
    if (fd >= 0)
        close(fd);
    return (void *)(intptr_t)(fd >= 0);
}

static void threads_accept_each_one(const struct case_context *context)
{
    int listener = make_listener(context, 8), clients[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, accept_one, &listener);
    for (int i = 0; i < 4; i++) {
        clients[i] = make_socket(context, 0);
        connect_to(context, clients[i], port_of(listener));
    }
    intptr_t accepted = 0;
    for (int i = 0; i < 4; i++) {
        void *one;
        pthread_join(threads[i], &one);
        accepted += (intptr_t)one;
        close(clients[i]);
    }
    say("accepted %d", (int)accepted);
    close(listener);
}

static void *read_one(void *argument)
{
    char byte = 0;
    ssize_t result = recv(*(int *)argument, &byte, 1, 0);
    return (void *)(intptr_t)(result == 1 ? byte - 'a' : 100);
}

static void threads_read_each_byte_once(const struct case_context *context)
{
    int pair[2], sum = 0;
    pthread_t threads[4];
    make_pair(context, pair);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, read_one, &pair[1]);
    usleep(20000);
    send(pair[0], "bcde", 4, 0);
    for (int i = 0; i < 4; i++) {
        void *one;
        pthread_join(threads[i], &one);
        sum += (int)(intptr_t)one;
    }
    say("sum %d", sum);
    close_pair(pair);
}

static void threads_all_learn_of_the_end(const struct case_context *context)
{
    int pair[2], sum = 0;
    pthread_t threads[4];
    make_pair(context, pair);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, read_one, &pair[1]);
    usleep(20000);
    shutdown(pair[0], SHUT_WR);
    for (int i = 0; i < 4; i++) {
        void *one;
        pthread_join(threads[i], &one);
        sum += (int)(intptr_t)one;
    }
    say("sum %d", sum);
    close_pair(pair);
}

static void number_reused_while_other_waits(const struct case_context *context)
{
    int first[2], second[2];
    char byte;
    make_pair(context, first);
    close(first[1]);
    make_pair(context, second);
    send(second[0], "2", 1, 0);
    say("reused %d", second[0] == first[1] || second[1] == first[1]);
    say_bytes("the new one's", recv(second[1], &byte, 1, 0), &byte);
    say_result("the old one's peer", recv(first[0], &byte, 1, 0));
    close(first[0]);
    close_pair(second);
}

static volatile sig_atomic_t handled;

static void on_io(int number)
{
    (void)number;
    handled = handled + 1;
}

static int write_end;

static void send_from_handler(int number)
{
    (void)number;
    (void)!send(write_end, "h", 1, MSG_NOSIGNAL);
}

static void handler_sends_while_recv_blocks(const struct case_context *context)
{
    int pair[2];
    char byte = 0;
    struct sigaction action = {.sa_handler = send_from_handler, .sa_flags = SA_RESTART};
    make_pair(context, pair);
    write_end = pair[0];
    sigaction(SIGALRM, &action, NULL);
    ualarm(20000, 0);
    say_bytes("recv", recv(pair[1], &byte, 1, 0), &byte);
    close_pair(pair);
}

static void poll_interrupted_despite_restart(const struct case_context *context)
{
    int pair[2];
    struct sigaction action = {.sa_handler = on_io, .sa_flags = SA_RESTART};
    struct pollfd pollfd = {.events = POLLIN};
    struct epoll_event event = {.events = EPOLLIN};
    make_pair(context, pair);
    pollfd.fd = pair[1];
    sigaction(SIGALRM, &action, NULL);
    ualarm(20000, 0);
    say_result("poll", poll(&pollfd, 1, 2000));
    int epoll = epoll_create1(0);
    epoll_ctl(epoll, EPOLL_CTL_ADD, pair[1], &event);
    ualarm(20000, 0);
    say_result("epoll_wait", epoll_wait(epoll, &event, 1, 2000));
    fd_set set;
    FD_ZERO(&set);
    FD_SET(pair[1], &set);
    ualarm(20000, 0);
    say_result("select", select(pair[1] + 1, &set, NULL, NULL, &(struct timeval){.tv_sec = 2}));
    say("handled %d", (int)handled);
    close(epoll);
    close_pair(pair);
}

static void pending_signal_ends_masked_wait(const struct case_context *context)
{
    int pair[2];
    sigset_t block, none;
    struct sigaction action = {.sa_handler = on_io};
    make_pair(context, pair);
    sigaction(SIGUSR1, &action, NULL);
    sigemptyset(&none);
    sigemptyset(&block);
    sigaddset(&block, SIGUSR1);
    sigprocmask(SIG_BLOCK, &block, NULL);
    raise(SIGUSR1);
    struct pollfd pollfd = {.fd = pair[1], .events = POLLIN};
    say_result("ppoll", ppoll(&pollfd, 1, &(struct timespec){.tv_sec = 2}, &none));
    say("handled %d", (int)handled);
    raise(SIGUSR1);
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(0);
    epoll_ctl(epoll, EPOLL_CTL_ADD, pair[1], &event);
    say_result("epoll_pwait", epoll_pwait(epoll, &event, 1, 2000, &none));
    say("handled %d", (int)handled);
    close(epoll);
    close_pair(pair);
}

#define SHORT_LIVED 16
#define BATCHES     6

static void *echo_until_end(void *argument)
{
    int fd = (int)(intptr_t)argument;
    char byte;
    while (recv(fd, &byte, 1, 0) == 1)
        send_one(fd);
    close(fd);
    return NULL;
}

static void *accept_for_threads(void *argument)
{
    for (;;) {
        int fd = accept((int)(intptr_t)argument, NULL, NULL);
        pthread_t thread;
        if (fd < 0)
            return NULL;
        pthread_create(&thread, NULL, echo_until_end, (void *)(intptr_t)fd);
        pthread_detach(thread);
    }
}

/* @return how many of the connections were answered. */
static int talk_in_batches(const struct case_context *context, unsigned port)
{
    int answered = 0;
    for (int batch = 0; batch < BATCHES; batch++) {
        int fds[SHORT_LIVED];
        for (int i = 0; i < SHORT_LIVED; i++) {
            fds[i] = make_socket(context, 0);
            connect_to(context, fds[i], port);
            send_one(fds[i]);
        }
        for (int i = 0; i < SHORT_LIVED; i++) {
            char byte;
            if ((wait_for(fds[i], POLLIN) & POLLIN) == 0)
                return answered;
            answered += recv(fds[i], &byte, 1, 0) == 1;
        }
        for (int i = 0; i < SHORT_LIVED; i++)
            close(fds[i]);
        usleep(10000);
    }
    return answered;
}

/* All other threads come and go; the client is another process, so that nothing else in this one
   looks for events. */
static void accept_outlives_other_threads(const struct case_context *context)
{
    int listener = make_listener(context, SHORT_LIVED);
    pid_t client = fork();
    if (client == 0)
        _exit(talk_in_batches(context, port_of(listener)));
    pthread_t thread;
    pthread_create(&thread, NULL, accept_for_threads, (void *)(intptr_t)listener);
    int status = 0;
    say_result("client", waitpid(client, &status, 0) == client ? 0 : -1);
    say("answered %d", WEXITSTATUS(status));
    shutdown(listener, SHUT_RD);
    pthread_join(thread, NULL);
    close(listener);
}

#define BLOCKED_ENTRY(name, act, side, block) {#name, name},

const struct socket_case cases_threads[] = {
    BLOCKED(BLOCKED_ENTRY){"threads_accept_each_one", threads_accept_each_one},
    {"accept_outlives_other_threads", accept_outlives_other_threads},
    {"threads_read_each_byte_once", threads_read_each_byte_once},
    {"threads_all_learn_of_the_end", threads_all_learn_of_the_end},
    {"number_reused_while_other_waits", number_reused_while_other_waits},
    {"handler_sends_while_recv_blocks", handler_sends_while_recv_blocks},
    {"poll_interrupted_despite_restart", poll_interrupted_despite_restart},
    {"pending_signal_ends_masked_wait", pending_signal_ends_masked_wait},
    {0},
};
