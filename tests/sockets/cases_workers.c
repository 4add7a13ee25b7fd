/* Several processes that wait on one epoll set, and change it, at the same time. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "case.h"

/* ---- Workers ------------------------------------------------------------------------------------
 */

#define WORKERS 3
#define PAIRS   6
#define ROUNDS  200

/* Reads what it is told of, until all is read. */
static void work(int set, uint32_t mode, int rounds, _Atomic int *total)
{
    char bytes[16];
    while (*total < rounds * PAIRS) {
        struct epoll_event event;
        if (epoll_wait(set, &event, 1, 100) != 1)
            continue;
        while (recv(event.data.fd, bytes, 1, MSG_DONTWAIT) == 1)
            (*total)++;
        event.events = EPOLLIN | mode;
        if (mode & EPOLLONESHOT)
            epoll_ctl(set, EPOLL_CTL_MOD, event.data.fd, &event);
    }
    _exit(0);
}

/* A byte on each connection; the next when all are read: an event that nobody gets is seen. */
static void workers(const struct case_context *context, uint32_t mode)
{
    int pairs[PAIRS][2], late = 0;
    _Atomic int *total =
        mmap(NULL, sizeof(*total), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int set = epoll_create1(0);
    for (int i = 0; i < PAIRS; i++) {
        make_pair(context, pairs[i]);
        struct epoll_event event = {.events = EPOLLIN | mode, .data.fd = pairs[i][1]};
        epoll_ctl(set, EPOLL_CTL_ADD, pairs[i][1], &event);
    }
    for (int i = 0; i < WORKERS; i++) {
        if (fork() == 0)
            work(set, mode, ROUNDS, total);
    }
    for (int round = 1; round <= ROUNDS && late == 0; round++) {
        for (int i = 0; i < PAIRS; i++)
            send(pairs[i][0], "x", 1, 0);
        for (int waited_ms = 0; *total < round * PAIRS && late == 0; waited_ms++) {
            usleep(waited_ms == 0 ? 100 : 1000);
            late = waited_ms == CASE_WAIT_MS ? round : 0;
        }
    }
    say("late in round: %d", late);
    *total = ROUNDS * PAIRS;
    while (wait(NULL) > 0)
        ;
    for (int i = 0; i < PAIRS; i++)
        close_pair(pairs[i]);
    close(set);
    munmap((void *)total, sizeof(*total));
}

static void workers_level(const struct case_context *context)
{
    workers(context, 0);
}

static void workers_edge(const struct case_context *context)
{
    workers(context, EPOLLET);
}

static void workers_one_shot(const struct case_context *context)
{
    workers(context, EPOLLONESHOT);
}

static void workers_one_shot_edge(const struct case_context *context)
{
    workers(context, EPOLLONESHOT | EPOLLET);
}

/* ---- A thread that waited before there was a child ----------------------------------------------
 */

static void *wait_for_event(void *context)
{
    struct epoll_event event = {0};
    int count = epoll_wait(*(int *)context, &event, 1, CASE_WAIT_MS);
    say("woken: %d %x", count, event.events);
    return NULL;
}

static void workers_wake_a_thread(const struct case_context *context)
{
    int pair[2], set = epoll_create1(0);
    make_pair(context, pair);
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(set, EPOLL_CTL_ADD, pair[1], &event);
    pthread_t thread;
    pthread_create(&thread, NULL, wait_for_event, &set);
    settle();
    pid_t child = fork();
    if (child == 0) {
        event.events = EPOLLOUT;
        _exit(epoll_ctl(set, EPOLL_CTL_MOD, pair[1], &event));
    }
    pthread_join(thread, NULL);
    int status = -1;
    waitpid(child, &status, 0);
    say("exit %d", status);
    close_pair(pair);
    close(set);
}

const struct socket_case cases_workers[] = {
    {"child_shares_set_as_workers_level", workers_level},
    {"child_shares_set_as_workers_edge", workers_edge},
    {"child_shares_set_as_workers_one_shot", workers_one_shot},
    {"child_shares_set_as_workers_one_shot_edge", workers_one_shot_edge},
    {"child_shares_set_wakes_a_thread", workers_wake_a_thread},
    {NULL, NULL},
};
