/* Many threads on the same sockets at once. What each gets is chance; what all of them get
   together, and that every byte and connection goes to one of them, is not. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "case.h"

enum { THREADS = 4, ROUNDS = 150, NUMBERS = 1000 };

static const struct case_context *family;
static int shared_fd, shared_set, ends[THREADS];
static _Atomic unsigned long total, count, wrong;
static _Atomic bool stopping;

static void run_threads(void *(*function)(void *), int threads)
{
    pthread_t ids[2 * THREADS];
    for (int i = 0; i < threads; i++)
        pthread_create(&ids[i], NULL, function, (void *)(intptr_t)i);
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
}

static void begin(const struct case_context *context)
{
    family = context;
    atomic_store(&total, 0);
    atomic_store(&count, 0);
    atomic_store(&wrong, 0);
    atomic_store(&stopping, false);
}

/* ---- One connection, several writers and readers
 * ------------------------------------------------- */

/* The first half of the threads writes numbers, the other reads them: each write of four bytes may
   be split, so the bytes of all are added up. */
static void *write_or_read(void *argument)
{
    int thread = (int)(intptr_t)argument;
    unsigned char bytes[64];
    if (thread < THREADS / 2) {
        for (int i = 0; i < NUMBERS; i++) {
            memset(bytes, i & 0xff, sizeof(bytes));
            if (send(ends[0], bytes, sizeof(bytes), 0) != sizeof(bytes))
                atomic_fetch_add(&wrong, 1);
        }
        return NULL;
    }
    ssize_t got;
    while ((got = recv(ends[1], bytes, sizeof(bytes), 0)) > 0) {
        atomic_fetch_add(&count, (unsigned long)got);
        for (ssize_t i = 0; i < got; i++)
            atomic_fetch_add(&total, bytes[i]);
        if (atomic_load(&count) == (THREADS / 2) * NUMBERS * sizeof(bytes))
            shutdown(ends[0], SHUT_WR);
    }
    return NULL;
}

static void stream_of_many(const struct case_context *context)
{
    begin(context);
    make_pair(context, ends);
    run_threads(write_or_read, THREADS);
    say("bytes %lu, sum %lu, wrong %lu", count, total, wrong);
    close_pair(ends);
}

/* ---- One listener
 * -------------------------------------------------------------------------------- */

/* Answers one byte on each connection that it gets. */
static void serve(int fd)
{
    char byte = 0;
    if (recv(fd, &byte, 1, 0) != 1 || send(fd, &byte, 1, 0) != 1)
        atomic_fetch_add(&wrong, 1);
    atomic_fetch_add(&count, 1);
    close(fd);
}

static bool ask_once(unsigned port)
{
    char byte = 'q';
    int fd = make_socket(family, 0);
    bool good = connect_to(family, fd, port) == 0 && send(fd, &byte, 1, 0) == 1 &&
                recv(fd, &byte, 1, 0) == 1 && byte == 'q' && recv(fd, &byte, 1, 0) == 0;
    close(fd);
    return good;
}

static void *ask(void *argument)
{
    unsigned port = port_of(shared_fd);
    (void)argument;
    for (int i = 0; i < ROUNDS; i++)
        atomic_fetch_add(ask_once(port) ? &total : &wrong, 1);
    return NULL;
}

static void *accept_blocking(void *argument)
{
    int fd;
    (void)argument;
    while ((fd = accept(shared_fd, NULL, NULL)) >= 0)
        serve(fd);
    return NULL;
}

static void serve_with(const struct case_context *context, void *(*server)(void *))
{
    pthread_t servers[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&servers[i], NULL, server, NULL);
    run_threads(ask, THREADS);
    atomic_store(&stopping, true);
    shutdown(shared_fd, SHUT_RDWR);
    for (int i = 0; i < THREADS; i++)
        pthread_join(servers[i], NULL);
    say("asked %lu, served %lu, wrong %lu", total, count, wrong);
    (void)context;
}

static void accepting_blocked(const struct case_context *context)
{
    begin(context);
    shared_fd = make_listener(context, 64);
    serve_with(context, accept_blocking);
    close(shared_fd);
}

/* Waits in a set, its own or one for all; takes what it can get. */
static void wait_and_accept(int set)
{
    struct epoll_event events[4];
    while (!atomic_load(&stopping)) {
        int ready = epoll_wait(set, events, 4, 50);
        for (int i = 0; i < ready; i++) {
            int fd;
            while ((fd = accept4(shared_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
                serve(fd);
            if (events[i].events & EPOLLONESHOT) /* never told */
                atomic_fetch_add(&wrong, 1);
        }
    }
}

static void *accept_by_own_set(void *argument)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE};
    int set = epoll_create1(EPOLL_CLOEXEC);
    (void)argument;
    epoll_ctl(set, EPOLL_CTL_ADD, shared_fd, &event);
    wait_and_accept(set);
    close(set);
    return NULL;
}

static void *accept_by_shared_set(void *argument)
{
    (void)argument;
    wait_and_accept(shared_set);
    return NULL;
}

static void accepting_exclusively(const struct case_context *context)
{
    begin(context);
    shared_fd = make_listener(context, 64);
    set_nonblocking(shared_fd, true);
    serve_with(context, accept_by_own_set);
    close(shared_fd);
}

static void accept_from_one_set(const struct case_context *context, uint32_t events)
{
    struct epoll_event event = {.events = events};
    begin(context);
    shared_fd = make_listener(context, 64);
    set_nonblocking(shared_fd, true);
    shared_set = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(shared_set, EPOLL_CTL_ADD, shared_fd, &event);
    serve_with(context, accept_by_shared_set);
    close(shared_set);
    close(shared_fd);
}

static void accepting_from_one_set(const struct case_context *context)
{
    accept_from_one_set(context, EPOLLIN);
}

static void accepting_by_edges(const struct case_context *context)
{
    accept_from_one_set(context, EPOLLIN | EPOLLET);
}

/* ---- Numbers that come and go
 * --------------------------------------------------------------------- */

/* Each thread makes connections, duplicates them, and closes all; numbers go round among the
   threads. A byte that reaches a stranger is wrong. */
static void *make_and_close(void *argument)
{
    unsigned char mine = (unsigned char)(intptr_t)argument;
    for (int i = 0; i < ROUNDS; i++) {
        int pair[2];
        unsigned char byte = 0xff;
        make_pair(family, pair);
        int copy = dup(pair[0]);
        close(pair[0]);
        if (send(copy, &mine, 1, 0) != 1 || recv(pair[1], &byte, 1, 0) != 1 || byte != mine)
            atomic_fetch_add(&wrong, 1);
        int other = dup2(pair[1], copy); /* the connection's last end here */
        if (other != copy || recv(other, &byte, 1, 0) != 0)
            atomic_fetch_add(&wrong, 1);
        close(other);
        close(pair[1]);
        atomic_fetch_add(&count, 1);
    }
    return NULL;
}

static void numbers_go_round(const struct case_context *context)
{
    begin(context);
    run_threads(make_and_close, THREADS);
    say("made %lu, wrong %lu", count, wrong);
}

/* One thread waits in a set to which the others add connections and close them without a word,
   while data is on its way. It answers what it finds; an event of a number that is another's by now
   is no harm, as it never blocks. */
static void *answer_what_comes(void *argument)
{
    struct epoll_event events[16];
    (void)argument;
    while (!atomic_load(&stopping)) {
        int ready = epoll_wait(shared_set, events, 16, 20);
        for (int i = 0; i < ready; i++) {
            char bytes[16];
            ssize_t got = recv(events[i].data.fd, bytes, sizeof(bytes), MSG_DONTWAIT);
            if (got > 0)
                send(events[i].data.fd, bytes, (size_t)got, MSG_DONTWAIT | MSG_NOSIGNAL);
        }
    }
    return NULL;
}

static void *add_and_close(void *argument)
{
    (void)argument;
    for (int i = 0; i < ROUNDS; i++) {
        int pair[2];
        char byte = 'e';
        make_pair(family, pair);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = pair[1]};
        if (epoll_ctl(shared_set, EPOLL_CTL_ADD, pair[1], &event) < 0 ||
            send(pair[0], &byte, 1, 0) != 1)
            atomic_fetch_add(&wrong, 1);
        if (i % 3 != 0 && recv(pair[0], &byte, 1, 0) != 1)
            atomic_fetch_add(&wrong, 1);
        close(pair[1]);
        close(pair[0]);
        atomic_fetch_add(&count, 1);
    }
    return NULL;
}

static void closed_while_waited_for(const struct case_context *context)
{
    pthread_t waiter;
    begin(context);
    shared_set = epoll_create1(EPOLL_CLOEXEC);
    pthread_create(&waiter, NULL, answer_what_comes, NULL);
    run_threads(add_and_close, THREADS - 1);
    atomic_store(&stopping, true);
    pthread_join(waiter, NULL);
    say("made %lu, wrong %lu", count, wrong);
    close(shared_set);
}

/* ---- Both kinds
 * ----------------------------------------------------------------------------------- */

/* Echoes for as long as it is asked. */
static void *keep_busy(void *argument)
{
    int fd = ends[(intptr_t)argument];
    char byte = 'b';
    while (!atomic_load(&stopping)) {
        if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(fd, &byte, 1, 0) != 1)
            break;
    }
    return NULL;
}

/* Turns after which neither was starved. */
#define ENOUGH 5000

static long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* One loop serves a TCP connection and a Unix one, both never at rest: neither may starve. */
static void both_kinds_at_once(const struct case_context *context)
{
    int tcp[2], local[2];
    unsigned long served[2] = {0};
    pthread_t threads[2];
    begin(context);
    make_pair(context, tcp);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, local) < 0)
        say_result("socketpair", -1);
    ends[0] = tcp[0];
    ends[1] = local[0];
    int set = epoll_create1(EPOLL_CLOEXEC);
    const int fds[2] = {tcp[1], local[1]};
    for (int i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        epoll_ctl(set, EPOLL_CTL_ADD, fds[i], &event);
        pthread_create(&threads[i], NULL, keep_busy, (void *)(intptr_t)i);
    }
    for (long end = now_ms() + CASE_WAIT_MS;
         now_ms() < end && (served[0] < ENOUGH || served[1] < ENOUGH);) {
        struct epoll_event event;
        char byte;
        if (epoll_wait(set, &event, 1, CASE_WAIT_MS) != 1)
            break;
        int fd = fds[event.data.u32];
        if (recv(fd, &byte, 1, 0) != 1 || send(fd, &byte, 1, MSG_NOSIGNAL) != 1)
            atomic_fetch_add(&wrong, 1);
        served[event.data.u32]++;
    }
    atomic_store(&stopping, true);
    for (int i = 0; i < 2; i++)
        shutdown(fds[i], SHUT_RDWR);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    say("TCP served %d, Unix served %d, wrong %lu", served[0] > 2, served[1] > 2, wrong);
    close(set);
    close_pair(tcp);
    close_pair(local);
}

/* ---- Polling what others read -------------------------------------------------------------------
 */

static void *poll_and_read(void *argument)
{
    (void)argument;
    for (;;) {
        char byte;
        struct pollfd pollfd = {.fd = ends[1], .events = POLLIN};
        if (poll(&pollfd, 1, CASE_WAIT_MS) != 1)
            return NULL;
        ssize_t got = recv(ends[1], &byte, 1, MSG_DONTWAIT);
        if (got == 0)
            return NULL;
        if (got == 1)
            atomic_fetch_add(&count, 1);
    }
}

static void *write_slowly(void *argument)
{
    (void)argument;
    for (int i = 0; i < 2000; i++) {
        if (send(ends[0], "x", 1, 0) != 1)
            atomic_fetch_add(&wrong, 1);
    }
    shutdown(ends[0], SHUT_WR);
    return NULL;
}

static void polled_by_many(const struct case_context *context)
{
    pthread_t writer;
    begin(context);
    make_pair(context, ends);
    pthread_create(&writer, NULL, write_slowly, NULL);
    run_threads(poll_and_read, THREADS);
    pthread_join(writer, NULL);
    say("read %lu, wrong %lu", count, wrong);
    close_pair(ends);
}

const struct socket_case cases_stress[] = {
    {"stress_stream_of_many", stream_of_many},
    {"stress_accepting_blocked", accepting_blocked},
    {"stress_accepting_exclusively", accepting_exclusively},
    {"stress_accepting_from_one_set", accepting_from_one_set},
    {"stress_accepting_by_edges", accepting_by_edges},
    {"stress_numbers_go_round", numbers_go_round},
    {"stress_closed_while_waited_for", closed_while_waited_for},
    {"stress_both_kinds_at_once", both_kinds_at_once},
    {"stress_polled_by_many", polled_by_many},
    {NULL, NULL},
};
