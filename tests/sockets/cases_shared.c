/* Several processes that have a set, or a listener in sets of their own: who is woken, and what
   poll() and select() say of a set that another process changes or collects from. */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "case.h"

#define WORKERS 4

/* What a child waits for, and what it tells. */
struct board {
    _Atomic int ready, go, woken[WORKERS];
};

static struct board *make_board(void)
{
    struct board *board =
        mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED)
        say_result("mmap", -1);
    return board;
}

static void wait_until(const _Atomic int *value, int least)
{
    for (int waited_ms = 0; waited_ms < CASE_WAIT_MS && *value < least; waited_ms++)
        usleep(1000);
}

static void wait_for_children(void)
{
    while (wait(NULL) > 0)
        ;
}

static int watch(int set, int operation, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    return epoll_ctl(set, operation, fd, &event);
}

/* ---- poll() and select() of a set that processes share --------------------------------------- */

typedef int look_fn(int set, int timeout_ms);

static int look_by_poll(int set, int timeout_ms)
{
    struct pollfd polled = {.fd = set, .events = POLLIN};
    return poll(&polled, 1, timeout_ms);
}

static int look_by_select(int set, int timeout_ms)
{
    fd_set wanted;
    struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    FD_ZERO(&wanted);
    FD_SET(set, &wanted);
    return select(set + 1, &wanted, NULL, NULL, &timeout);
}

static int look_by_outer_set(int set, int timeout_ms)
{
    struct epoll_event event;
    int outer = epoll_create1(EPOLL_CLOEXEC);
    watch(outer, EPOLL_CTL_ADD, set, EPOLLIN);
    int result = epoll_wait(outer, &event, 1, timeout_ms);
    close(outer);
    return result;
}

static const struct {
    const char *name;
    look_fn *look;
} looks[] = {{"poll", look_by_poll}, {"select", look_by_select}, {"outer set", look_by_outer_set}};

#define LOOKS (sizeof(looks) / sizeof(looks[0]))

/* Not by an outer set: docs/sockets.md. */
#define OWN_LOOKS 2

#define LONG_LOOK_S 6

/* The child looks for long; what we do meanwhile wakes it. */
static void change_while_looked_at(const struct case_context *context, int operation)
{
    for (size_t i = 0; i < OWN_LOOKS; i++) {
        struct board *board = make_board();
        int pair[2], set = epoll_create1(0);
        make_pair(context, pair);
        watch(set, EPOLL_CTL_ADD, pair[0], EPOLLIN);
        if (operation == EPOLL_CTL_MOD)
            watch(set, EPOLL_CTL_ADD, pair[1], EPOLLIN);
        pid_t child = fork();
        if (child == 0) {
            struct timespec begin, end;
            clock_gettime(CLOCK_MONOTONIC, &begin);
            board->ready = 1;
            say_result(looks[i].name, looks[i].look(set, LONG_LOOK_S * 1000));
            clock_gettime(CLOCK_MONOTONIC, &end);
            say("in time %d", end.tv_sec - begin.tv_sec < LONG_LOOK_S);
            exit(0);
        }
        wait_until(&board->ready, 1);
        wait_for_state(child, child, 'S', CASE_QUIET_MS);
        watch(set, operation, pair[1], EPOLLIN | EPOLLOUT);
        wait_for_children();
        say_result("own", looks[i].look(set, 0));
        close_pair(pair);
        close(set);
        munmap(board, sizeof(*board));
    }
}

static void added_while_looked_at(const struct case_context *context)
{
    change_while_looked_at(context, EPOLL_CTL_ADD);
}

static void modified_while_looked_at(const struct case_context *context)
{
    change_while_looked_at(context, EPOLL_CTL_MOD);
}

/* What the child has collected we are not told of. */
static void collected_by_the_child(const struct case_context *context, uint32_t mode)
{
    int pair[2], set = epoll_create1(0);
    make_pair(context, pair);
    watch(set, EPOLL_CTL_ADD, pair[1], EPOLLIN | mode);
    for (size_t i = 0; i < LOOKS; i++) {
        struct board *board = make_board();
        if (fork() == 0) {
            struct epoll_event event;
            board->ready = 1;
            wait_until(&board->go, 1);
            say_result("child", epoll_wait(set, &event, 1, CASE_QUIET_MS));
            exit(0);
        }
        wait_until(&board->ready, 1);
        send(pair[0], "x", 1, 0);
        settle();
        say_result(looks[i].name, looks[i].look(set, 0));
        board->go = 1;
        wait_for_children();
        say_result("then", looks[i].look(set, 0));
        munmap(board, sizeof(*board));
        if (mode & EPOLLONESHOT)
            watch(set, EPOLL_CTL_MOD, pair[1], EPOLLIN | mode);
    }
    close_pair(pair);
    close(set);
}

static void collected_level(const struct case_context *context)
{
    collected_by_the_child(context, 0);
}

static void collected_edge(const struct case_context *context)
{
    collected_by_the_child(context, EPOLLET);
}

static void collected_one_shot(const struct case_context *context)
{
    collected_by_the_child(context, EPOLLONESHOT);
}

/* ---- A listener in a set of each process ----------------------------------------------------- */

static _Noreturn void wait_for_one(struct board *board, int number, int listener, uint32_t mode)
{
    struct epoll_event event;
    int set = epoll_create1(0);
    watch(set, EPOLL_CTL_ADD, listener, EPOLLIN | mode);
    board->ready++;
    if (epoll_wait(set, &event, 1, -1) == 1)
        board->woken[number] = 1;
    for (;;)
        pause();
}

static int count_woken(const struct board *board)
{
    int woken = 0;
    for (int worker = 0; worker < WORKERS; worker++)
        woken += board->woken[worker];
    return woken;
}

/* Who is woken neither accepts nor waits again, so the next connection is another's. */
static void woken_by_connections(const struct case_context *context, uint32_t mode)
{
    struct board *board = make_board();
    int listener = make_listener(context, WORKERS), clients[WORKERS];
    pid_t pids[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            wait_for_one(board, i, listener, mode);
    }
    wait_until(&board->ready, WORKERS);
    for (int i = 0; i < WORKERS; i++)
        wait_for_state(pids[i], pids[i], 'S', CASE_QUIET_MS);
    for (int i = 0; i < WORKERS; i++) {
        int expected = mode & EPOLLEXCLUSIVE ? i + 1 : WORKERS;
        clients[i] = make_socket(context, 0);
        connect_to(context, clients[i], port_of(listener));
        for (int waited_ms = 0; waited_ms < CASE_WAIT_MS && count_woken(board) < expected;
             waited_ms++)
            usleep(1000);
        settle();
        say("woken: %d", count_woken(board));
    }
    for (int i = 0; i < WORKERS; i++) {
        kill(pids[i], SIGKILL);
        close(clients[i]);
    }
    wait_for_children();
    munmap(board, sizeof(*board));
    close(listener);
}

static void woken_exclusively(const struct case_context *context)
{
    woken_by_connections(context, EPOLLEXCLUSIVE);
}

static void woken_exclusively_by_edge(const struct case_context *context)
{
    woken_by_connections(context, EPOLLEXCLUSIVE | EPOLLET);
}

static void woken_together(const struct case_context *context)
{
    woken_by_connections(context, 0);
}

const struct socket_case cases_shared[] = {
    {"child_shares_set_added_while_looked_at", added_while_looked_at},
    {"child_shares_set_modified_while_looked_at", modified_while_looked_at},
    {"child_shares_set_collected_level", collected_level},
    {"child_shares_set_collected_edge", collected_edge},
    {"child_shares_set_collected_one_shot", collected_one_shot},
    {"child_is_woken_exclusively", woken_exclusively},
    {"child_is_woken_exclusively_by_edge", woken_exclusively_by_edge},
    {"child_is_woken_together", woken_together},
    {0},
};
