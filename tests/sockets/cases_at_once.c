/* Over Linux's loopback what a call causes at the other end is there when it returns: these cases
   never wait for it. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "case.h"

#define ALL_EVENTS (POLLIN | POLLOUT | POLLRDHUP | POLLPRI)

static void say_now(const char *what, int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = ALL_EVENTS};
    if (poll(&pollfd, 1, 0) < 0)
        say_result("poll", -1);
    say_events(what, (unsigned short)pollfd.revents);
}

static void say_read_now(const char *what, int fd)
{
    char bytes[64];
    say_bytes(what, recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT), bytes);
}

static void sent_bytes(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    for (int i = 0; i < 20; i++) {
        int from = i % 2;
        int unread = -1;
        send(pair[from], "hello", 5, 0);
        say_now("peer", pair[1 - from]);
        ioctl(pair[1 - from], FIONREAD, &unread);
        say("unread %d", unread);
        say_read_now("read", pair[1 - from]);
        say_read_now("read again", pair[1 - from]);
    }
    close_pair(pair);
}

static void sent_many(const struct case_context *context)
{
    static char bytes[10000];
    int pair[2], unread = -1;
    make_pair(context, pair);
    for (int i = 0; i < 3; i++) {
        say_result("send", send(pair[0], bytes, sizeof(bytes), 0));
        ioctl(pair[1], FIONREAD, &unread);
        say("unread %d", unread);
    }
    size_t left = 3 * sizeof(bytes);
    while (left > 0) {
        ssize_t got = recv(pair[1], bytes, sizeof(bytes), MSG_DONTWAIT);
        if (got <= 0)
            break;
        left -= (size_t)got;
    }
    say("left %zu", left);
    close_pair(pair);
}

static void nonblocking_connect(const struct case_context *context)
{
    int listener = make_listener(context, 4);
    set_nonblocking(listener, true);
    int fd = make_socket(context, SOCK_NONBLOCK);
    say_result("accept", accept(listener, NULL, NULL));
    say_result("connect", connect_to(context, fd, port_of(listener)));
    say_now("connecting", fd);
    say_now("listener", listener);
    int accepted = accept(listener, NULL, NULL);
    say("accepted %d", accepted >= 0);
    say_result("connect again", connect_to(context, fd, port_of(listener)));
    say_result("once more", connect_to(context, fd, port_of(listener)));
    say_now("connected", fd);
    say_now("accepted", accepted);
    close(fd);
    say_now("after close", accepted);
    close(accepted);
    close(listener);
}

static void blocking_connect(const struct case_context *context)
{
    int listener = make_listener(context, 4);
    set_nonblocking(listener, true);
    int fd = make_socket(context, 0);
    say_result("connect", connect_to(context, fd, port_of(listener)));
    int accepted = accept(listener, NULL, NULL);
    say("accepted %d", accepted >= 0);
    close(accepted);
    say_now("after close", fd);
    close(fd);
    close(listener);
}

static void refused_connect(const struct case_context *context)
{
    int listener = make_listener(context, 1);
    unsigned port = port_of(listener);
    close(listener);
    int fd = make_socket(context, SOCK_NONBLOCK);
    say_result("connect", connect_to(context, fd, port));
    say_now("refused", fd);
    say_socket_error("SO_ERROR", fd);
    close(fd);
}

static void queued_connections(const struct case_context *context)
{
    int fds[3];
    int listener = make_listener(context, 8);
    set_nonblocking(listener, true);
    for (int i = 0; i < 3; i++) {
        fds[i] = make_socket(context, SOCK_NONBLOCK);
        connect_to(context, fds[i], port_of(listener));
        send(fds[i], &"abc"[i], 1, 0);
    }
    for (int i = 0; i < 3; i++) {
        int accepted = accept(listener, NULL, NULL);
        say_read_now("first bytes", accepted);
        close(accepted);
        say_now("closed by the peer", fds[i]);
    }
    close(listener);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

static void closed_listener(const struct case_context *context)
{
    int listener = make_listener(context, 8);
    int fd = make_socket(context, SOCK_NONBLOCK);
    connect_to(context, fd, port_of(listener));
    say_now("connected", fd);
    close(listener);
    say_now("listener closed", fd);
    say_read_now("read", fd);
    close(fd);
}

static void shut_down(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    say_result("shutdown", shutdown(pair[0], SHUT_WR));
    say_now("peer", pair[1]);
    say_read_now("read", pair[1]);
    say_result("shutdown", shutdown(pair[1], SHUT_WR));
    say_now("both", pair[0]);
    say_now("both", pair[1]);
    close_pair(pair);
}

static void sent_and_closed(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    send(pair[0], "last", 4, 0);
    close(pair[0]);
    say_now("peer", pair[1]);
    say_read_now("read", pair[1]);
    say_read_now("end", pair[1]);
    say_result("send", send(pair[1], "x", 1, MSG_NOSIGNAL));
    say_now("after reset", pair[1]);
    say_result("send", send(pair[1], "x", 1, MSG_NOSIGNAL));
    close(pair[1]);
}

static void reset_by_linger(const struct case_context *context)
{
    int pair[2];
    struct linger none = {.l_onoff = 1};
    make_pair(context, pair);
    setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    close(pair[0]);
    say_now("peer", pair[1]);
    say_read_now("read", pair[1]);
    close(pair[1]);
}

static void reset_by_unread(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    send(pair[1], "unread", 6, 0);
    close(pair[0]);
    say_now("peer", pair[1]);
    say_socket_error("SO_ERROR", pair[1]);
    close(pair[1]);
}

static void disconnected(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    say_result("disconnect", connect(pair[0], &(struct sockaddr){.sa_family = AF_UNSPEC},
                                     sizeof(struct sockaddr)));
    say_now("peer", pair[1]);
    close_pair(pair);
}

static void urgent_byte(const struct case_context *context)
{
    int pair[2];
    char byte = '-';
    make_pair(context, pair);
    send(pair[0], "ab!", 3, MSG_OOB);
    say_now("peer", pair[1]);
    say_result("urgent", recv(pair[1], &byte, 1, MSG_OOB | MSG_DONTWAIT));
    say("it is %c", byte);
    say_read_now("before it", pair[1]);
    close_pair(pair);
}

static void uncorked(const struct case_context *context)
{
    int pair[2], on = 1, off = 0;
    make_pair(context, pair);
    setsockopt(pair[0], IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
    send(pair[0], "held", 4, 0);
    say_now("corked", pair[1]);
    setsockopt(pair[0], IPPROTO_TCP, TCP_CORK, &off, sizeof(off));
    say_now("uncorked", pair[1]);
    say_read_now("read", pair[1]);
    close_pair(pair);
}

static void room_after_reading(const struct case_context *context)
{
    static char bytes[65536];
    int pair[2];
    make_pair(context, pair);
    set_nonblocking(pair[0], true);
    size_t sent = 0;
    ssize_t result;
    while ((result = send(pair[0], bytes, sizeof(bytes), 0)) > 0)
        sent += (size_t)result;
    say_result("full", result);
    say_now("full", pair[0]);
    size_t got = 0;
    while (got < sent && (result = recv(pair[1], bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        got += (size_t)result;
    say("all read %d", got == sent);
    say_now("room", pair[0]);
    close_pair(pair);
}

static void epoll_edges(const struct case_context *context)
{
    int pair[2];
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET}, got[4];
    make_pair(context, pair);
    int set = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(set, EPOLL_CTL_ADD, pair[1], &event);
    say_result("nothing", epoll_wait(set, got, 4, 0));
    for (int i = 0; i < 3; i++) {
        send(pair[0], "x", 1, 0);
        say_result("one", epoll_wait(set, got, 4, 0));
        say_events("events", got[0].events);
        say_result("no more", epoll_wait(set, got, 4, 0));
    }
    send(pair[0], "x", 1, 0);
    close(pair[0]);
    say_result("both at once", epoll_wait(set, got, 4, 0));
    say_events("events", got[0].events);
    say_result("no more", epoll_wait(set, got, 4, 0));
    close(set);
    close(pair[1]);
}

static void told_by_a_pipe(const struct case_context *context)
{
    int pair[2], told[2], heard[2];
    char byte;
    make_pair(context, pair);
    if (pipe(told) < 0 || pipe(heard) < 0)
        say_result("pipe", -1);
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[1]);
        for (int i = 0; i < 10; i++) {
            send(pair[0], "from the child", 14, 0);
            if (write(told[1], "x", 1) != 1 || read(heard[0], &byte, 1) != 1)
                _exit(1);
        }
        _exit(0);
    }
    close(pair[0]);
    for (int i = 0; i < 10; i++) {
        if (read(told[0], &byte, 1) != 1)
            say_result("pipe", -1);
        say_read_now("read", pair[1]);
        if (write(heard[1], "x", 1) != 1)
            say_result("pipe", -1);
    }
    waitpid(pid, NULL, 0);
    close(pair[1]);
}

/* By memory alone: no call of the writer's after send() tells of it. */
static void told_by_memory(const struct case_context *context)
{
    int pair[2];
    _Atomic int *turn =
        mmap(NULL, sizeof(*turn), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (turn == MAP_FAILED) {
        say_result("mmap", -1);
        return;
    }
    make_pair(context, pair);
    pid_t pid = fork();
    for (int i = 0; i < 20; i++) {
        bool mine = (pid == 0) == (i % 2 == 0);
        while (atomic_load(turn) != 2 * i + (mine ? 0 : 1))
            sched_yield();
        if (mine)
            send(pair[i % 2], "by memory", 9, 0);
        else
            say_read_now("read", pair[1 - i % 2]);
        atomic_store(turn, 2 * i + (mine ? 1 : 2));
        fflush(stdout);
    }
    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
    munmap((void *)turn, sizeof(*turn));
    close_pair(pair);
}

/* A send and a line of a log, as servers do for each answer: nobody is waited for. */
static void logged(const struct case_context *context)
{
    enum { ROUNDS = 500, SLEEPS_AT_MOST = ROUNDS / 5 };
    int pair[2], failed = 0;
    struct rusage before, after;
    FILE *log = tmpfile();
    if (log == NULL) {
        say_result("tmpfile", -1);
        return;
    }
    make_pair(context, pair);
    getrusage(RUSAGE_THREAD, &before);
    for (int i = 0; i < ROUNDS; i++) {
        failed += send(pair[0], "x", 1, 0) != 1;
        failed += write(fileno(log), "a line\n", 7) != 7;
    }
    getrusage(RUSAGE_THREAD, &after);
    say("%d failed, slept %s", failed,
        after.ru_nvcsw - before.ru_nvcsw <= SLEEPS_AT_MOST ? "seldom" : "often");
    fclose(log);
    close_pair(pair);
}

static void *send_thrice(void *fd)
{
    for (int i = 0; i < 3; i++)
        send(*(int *)fd, "abc", 3, 0);
    return NULL;
}

/* All is there, so that a read that would be content with less has it. */
static void one_read_of_several(const struct case_context *context)
{
    int pair[2], on = 1;
    pthread_t thread;
    char bytes[64];
    make_pair(context, pair);
    setsockopt(pair[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    for (int i = 0; i < 10; i++) {
        send_thrice(&pair[0]);
        say_bytes("blocking", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
        pthread_create(&thread, NULL, send_thrice, &pair[0]);
        pthread_join(thread, NULL);
        say_bytes("after a thread", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
    }
    close_pair(pair);
}

static void several_ready(const struct case_context *context)
{
    int pairs[8][2];
    struct epoll_event event = {.events = EPOLLIN}, got[16];
    int set = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < 8; i++) {
        make_pair(context, pairs[i]);
        event.data.u32 = (uint32_t)i;
        epoll_ctl(set, EPOLL_CTL_ADD, pairs[i][1], &event);
    }
    for (int i = 7; i >= 0; i--)
        send(pairs[i][0], "x", 1, 0);
    int count = epoll_wait(set, got, 16, -1);
    say_result("ready", count);
    for (int i = 0; i < count; i++)
        say("%u", got[i].data.u32);
    close(set);
    for (int i = 0; i < 8; i++)
        close_pair(pairs[i]);
}

/* What was sent before is acknowledged or has room beside it, so that each send that may not wait
   takes all; and all of it is there to be read. */
static void room_for_the_next(const struct case_context *context)
{
    static char bytes[20000];
    int pair[2], on = 1, taken = 0, read_whole = 0;
    make_pair(context, pair);
    setsockopt(pair[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    for (int i = 0; i < 50; i++) {
        taken += send(pair[0], bytes, sizeof(bytes), MSG_DONTWAIT) == (ssize_t)sizeof(bytes);
        read_whole += recv(pair[1], bytes, sizeof(bytes), MSG_DONTWAIT) == (ssize_t)sizeof(bytes);
    }
    say("taken %d, read %d", taken, read_whole);
    close_pair(pair);
}

/* What ended is known to the next call on the other end, be it one that sends. */
static void ended_and_sent(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    send(pair[1], "unread", 6, 0);
    close(pair[0]);
    say_result("send after a reset", send(pair[1], "x", 1, MSG_NOSIGNAL));
    say_result("send again", send(pair[1], "x", 1, MSG_NOSIGNAL));
    close(pair[1]);

    make_pair(context, pair);
    close(pair[0]);
    say_result("send after the end", send(pair[1], "x", 1, MSG_NOSIGNAL));
    say_result("send again", send(pair[1], "x", 1, MSG_NOSIGNAL));
    close(pair[1]);

    make_pair(context, pair);
    say_result("disconnect", connect(pair[0], &(struct sockaddr){.sa_family = AF_UNSPEC},
                                     sizeof(struct sockaddr)));
    say_result("send after it", send(pair[1], "x", 1, MSG_NOSIGNAL));
    close_pair(pair);

    make_pair(context, pair);
    say_result("shutdown", shutdown(pair[0], SHUT_RDWR));
    say_result("send after it", send(pair[1], "x", 1, MSG_NOSIGNAL));
    say_result("send again", send(pair[1], "x", 1, MSG_NOSIGNAL));
    say_result("shutdown", shutdown(pair[1], SHUT_RDWR));
    say_now("both", pair[0]);
    close_pair(pair);
}

static void half_closed(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    shutdown(pair[0], SHUT_WR);
    for (int i = 0; i < 10; i++) {
        say_result("send", send(pair[1], "after the end", 13, MSG_NOSIGNAL));
        say_now("peer", pair[0]);
        say_read_now("read", pair[0]);
    }
    close(pair[0]);
    say_result("send", send(pair[1], "x", 1, MSG_NOSIGNAL));
    say_result("send", send(pair[1], "x", 1, MSG_NOSIGNAL));
    close(pair[1]);
}

/* Names and ports are free when those that had them are gone. */
static void ended_and_bound(const struct case_context *context)
{
    struct sockaddr_storage address;
    int pair[2];
    for (int i = 0; i < 5; i++) {
        int listener = make_listener(context, 4);
        unsigned port = port_of(listener);
        pair[0] = make_socket(context, 0);
        say_result("connect", connect_to(context, pair[0], port));
        pair[1] = accept(listener, NULL, NULL);
        close(listener);
        int late = make_socket(context, 0);
        say_result("no listener", connect_to(context, late, port));
        close(late);
        close(pair[0]);
        close(pair[1]);
        int again = make_socket(context, 0);
        socklen_t length = loopback(context, &address, port);
        say_result("bind again", bind(again, (struct sockaddr *)&address, length));
        close(again);
    }
}

static void *close_it(void *fd)
{
    close(*(int *)fd);
    return NULL;
}

static void closed_by_a_thread(const struct case_context *context)
{
    for (int i = 0; i < 5; i++) {
        int pair[2];
        pthread_t thread;
        make_pair(context, pair);
        pthread_create(&thread, NULL, close_it, &pair[0]);
        pthread_join(thread, NULL);
        say_now("peer", pair[1]);
        close(pair[1]);
    }
}

/* By memory alone: no call of the child's after close() tells of it. */
static void closed_by_a_child(const struct case_context *context)
{
    _Atomic int *turn =
        mmap(NULL, sizeof(*turn), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (turn == MAP_FAILED) {
        say_result("mmap", -1);
        return;
    }
    int pairs[6][2];
    int listener = make_listener(context, 4);
    unsigned port = port_of(listener);
    for (int i = 0; i < 6; i++)
        make_pair(context, pairs[i]);
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 6; i++) {
            while (atomic_load(turn) != 2 * i + 1)
                sched_yield();
            if (i % 2)
                shutdown(pairs[i][0], SHUT_WR);
            close(pairs[i][0]);
            if (i == 5)
                close(listener);
            atomic_store(turn, 2 * i + 2);
        }
        for (;;)
            pause();
    }
    for (int i = 0; i < 6; i++)
        close(pairs[i][0]);
    close(listener);
    for (int i = 0; i < 6; i++) {
        atomic_store(turn, 2 * i + 1);
        while (atomic_load(turn) != 2 * i + 2)
            sched_yield();
        if (i < 4)
            say_now("closed by the child", pairs[i][1]);
        else
            say_read_now("closed by the child", pairs[i][1]);
    }
    int late = make_socket(context, 0);
    say_result("no listener", connect_to(context, late, port));
    close(late);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    munmap((void *)turn, sizeof(*turn));
    for (int i = 0; i < 6; i++)
        close(pairs[i][1]);
}

/* More than a ring of operations holds, none of which waits. */
static void many_ended(const struct case_context *context)
{
    static int fds[64][2];
    int hung_up = 0;
    for (int i = 0; i < 64; i++) {
        make_pair(context, fds[i]);
        for (int j = 0; j < 200; j++)
            send(fds[i][0], "x", 1, 0);
    }
    for (int i = 0; i < 64; i++)
        close(fds[i][0]);
    for (int i = 0; i < 64; i++) {
        char bytes[1000];
        struct pollfd pollfd = {.fd = fds[i][1], .events = POLLRDHUP};
        hung_up += poll(&pollfd, 1, 0) == 1 && (pollfd.revents & POLLRDHUP) != 0;
        if (recv(fds[i][1], bytes, sizeof(bytes), 0) != 200)
            say_result("recv", -1);
        close(fds[i][1]);
    }
    say("hung up %d", hung_up);
}

const struct socket_case cases_at_once[] = {
    {"at_once_sent_bytes", sent_bytes},
    {"at_once_sent_many", sent_many},
    {"at_once_nonblocking_connect", nonblocking_connect},
    {"at_once_blocking_connect", blocking_connect},
    {"at_once_refused_connect", refused_connect},
    {"at_once_queued_connections", queued_connections},
    {"at_once_closed_listener", closed_listener},
    {"at_once_shut_down", shut_down},
    {"at_once_sent_and_closed", sent_and_closed},
    {"at_once_reset_by_linger", reset_by_linger},
    {"at_once_reset_by_unread", reset_by_unread},
    {"at_once_disconnected", disconnected},
    {"at_once_urgent_byte", urgent_byte},
    {"at_once_corked_until_told", uncorked},
    {"at_once_room_after_reading", room_after_reading},
    {"at_once_epoll_edges", epoll_edges},
    {"at_once_logged", logged},
    {"at_once_told_by_a_pipe", told_by_a_pipe},
    {"at_once_told_by_memory", told_by_memory},
    {"at_once_one_read_of_several", one_read_of_several},
    {"at_once_several_ready", several_ready},
    {"at_once_room_for_the_next", room_for_the_next},
    {"at_once_ended_and_sent", ended_and_sent},
    {"at_once_half_closed", half_closed},
    {"at_once_ended_and_bound", ended_and_bound},
    {"at_once_closed_by_a_thread", closed_by_a_thread},
    {"at_once_closed_by_a_child", closed_by_a_child},
    {"at_once_many_ended", many_ended},
    {NULL, NULL},
};
