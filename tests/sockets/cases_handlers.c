/* Signal handlers that use sockets, at any moment: read(), write(), close(), send(), recv(),
   poll(), accept(), shutdown() and others are async-signal-safe (POSIX.1-2017, 2.4.3). */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "case.h"

/* How long a storm of signals lasts. */
#define STORM_MS    400
#define CALLS_LEAST 10

static int handler_fd = -1;
static atomic_int handler_calls, handler_failures;
static atomic_ulong handler_bytes;

static void handle(int number, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigaction(number, &action, NULL);
}

static void set_timer(long interval_us)
{
    struct itimerval timer = {{0, interval_us}, {0, interval_us}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

static long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* On a busy machine a storm lasts until the handler was called some times. */
static bool goes_on(long end_ms)
{
    return now_ms() < end_ms || atomic_load(&handler_calls) <= CALLS_LEAST;
}

static void write_in_handler(int number)
{
    (void)number;
    int saved_errno = errno;
    atomic_fetch_add(&handler_calls, 1);
    ssize_t written = send(handler_fd, "h", 1, MSG_DONTWAIT);
    if (written == 1)
        atomic_fetch_add(&handler_bytes, 1);
    else if (errno != EAGAIN)
        atomic_fetch_add(&handler_failures, 1);
    errno = saved_errno;
}

/* Write all, read all back at the other end, and count what the handler has put in between. */
static size_t bounce(int pair[2], size_t *foreign)
{
    static unsigned char out[3000], in[6000];
    size_t sent = 0, got = 0, wrong = 0;
    memset(out, 'm', sizeof(out));
    while (sent < sizeof(out) || got < sizeof(out)) {
        ssize_t result = 0;
        if (sent < sizeof(out)) {
            result = send(pair[0], out + sent, sizeof(out) - sent, MSG_DONTWAIT);
            sent += result > 0 ? (size_t)result : 0;
        }
        result = recv(pair[1], in, sizeof(in), sent < sizeof(out) ? MSG_DONTWAIT : 0);
        for (ssize_t i = 0; i < result; i++) {
            if (in[i] == 'm')
                got++;
            else if (in[i] == 'h')
                ++*foreign;
            else
                wrong++;
        }
    }
    return wrong;
}

static void write_to_the_same_socket(const struct case_context *context)
{
    int pair[2];
    size_t foreign = 0, wrong = 0;
    make_pair(context, pair);
    handler_fd = pair[0];
    handle(SIGALRM, write_in_handler, SA_RESTART);
    set_timer(150);
    for (long end = now_ms() + STORM_MS; goes_on(end);)
        wrong += bounce(pair, &foreign);
    set_timer(0);
    shutdown(pair[0], SHUT_WR);
    char bytes[512];
    ssize_t rest;
    while ((rest = recv(pair[1], bytes, sizeof(bytes), 0)) > 0)
        foreign += (size_t)rest;
    say("called: %d, failures %d, wrong bytes %zu, lost %ld",
        atomic_load(&handler_calls) > CALLS_LEAST, atomic_load(&handler_failures), wrong,
        (long)atomic_load(&handler_bytes) - (long)foreign);
    close_pair(pair);
}

static int echo_pair[2];

/* A whole exchange within the handler, waiting for its end. */
static void exchange_in_handler(int number)
{
    (void)number;
    int saved_errno = errno;
    char byte = 0;
    if (write(echo_pair[0], "e", 1) != 1 || read(echo_pair[1], &byte, 1) != 1 || byte != 'e')
        atomic_fetch_add(&handler_failures, 1);
    atomic_fetch_add(&handler_calls, 1);
    errno = saved_errno;
}

static void exchange_within(const struct case_context *context)
{
    int pair[2];
    size_t foreign = 0, wrong = 0;
    make_pair(context, pair);
    make_pair(context, echo_pair);
    handle(SIGALRM, exchange_in_handler, SA_RESTART);
    set_timer(400);
    for (long end = now_ms() + STORM_MS; goes_on(end);)
        wrong += bounce(pair, &foreign);
    set_timer(0);
    say("called: %d, failures %d, wrong bytes %zu", atomic_load(&handler_calls) > CALLS_LEAST,
        atomic_load(&handler_failures), wrong + foreign);
    close_pair(pair);
    close_pair(echo_pair);
}

/* The handler waits while the call that it interrupts waits too. */
static void exchange_while_waiting(const struct case_context *context)
{
    int pair[2];
    char byte;
    make_pair(context, pair);
    make_pair(context, echo_pair);
    handle(SIGALRM, exchange_in_handler, SA_RESTART);
    pid_t pid = fork();
    if (pid == 0) {
        handle(SIGALRM, SIG_DFL, 0);
        usleep(100000);
        _exit(write(pair[0], "x", 1) != 1);
    }
    set_timer(2000);
    say_result("read", read(pair[1], &byte, 1));
    set_timer(0);
    waitpid(pid, NULL, 0);
    say("called: %d, failures %d", atomic_load(&handler_calls) > 0, atomic_load(&handler_failures));
    close_pair(pair);
    close_pair(echo_pair);
}

static int own_pair[2];

static void feed_in_handler(int number)
{
    (void)number;
    (void)!write(own_pair[0], "f", 1);
    /* The library learns of its arrival here, not in the call that waits for it. */
    wait_for(own_pair[1], POLLIN);
}

/* What a handler brings about ends the wait that it interrupts. */
static void handler_ends_the_wait(const struct case_context *context)
{
    char byte;
    struct epoll_event event = {.events = EPOLLIN};
    make_pair(context, own_pair);
    handle(SIGALRM, feed_in_handler, SA_RESTART);
    for (int i = 0; i < 20; i++) {
        struct itimerval once = {{0, 0}, {0, 1 + i * 150}};
        setitimer(ITIMER_REAL, &once, NULL);
        if (read(own_pair[1], &byte, 1) != 1 || byte != 'f')
            say_result("read", -1);
    }
    int epoll = epoll_create1(0);
    epoll_ctl(epoll, EPOLL_CTL_ADD, own_pair[1], &event);
    struct itimerval once = {{0, 0}, {0, 20000}};
    setitimer(ITIMER_REAL, &once, NULL);
    say_result("epoll_wait", epoll_wait(epoll, &event, 1, CASE_WAIT_MS));
    say_result("epoll_wait again", epoll_wait(epoll, &event, 1, CASE_WAIT_MS));
    close(epoll);
    close_pair(own_pair);
}

static void close_in_handler(int number)
{
    (void)number;
    close(handler_fd);
}

static void close_from_a_handler(const struct case_context *context)
{
    int pair[2];
    char byte;
    make_pair(context, pair);
    handler_fd = pair[0];
    handle(SIGALRM, close_in_handler, SA_RESTART);
    struct itimerval once = {{0, 0}, {0, 20000}};
    setitimer(ITIMER_REAL, &once, NULL);
    say_result("read", read(pair[1], &byte, 1));
    say_result("closed", write(pair[0], "x", 1));
    close(pair[1]);
}

/* Connections that are opened and closed while a handler uses another. */
static void open_and_close_in_a_storm(const struct case_context *context)
{
    make_pair(context, echo_pair);
    handle(SIGALRM, exchange_in_handler, SA_RESTART);
    int wrong = 0;
    set_timer(500);
    for (long end = now_ms() + STORM_MS; goes_on(end);) {
        int pair[2];
        char byte = 0;
        make_pair(context, pair);
        if (write(pair[0], "o", 1) != 1 || read(pair[1], &byte, 1) != 1 || byte != 'o')
            wrong++;
        close_pair(pair);
    }
    set_timer(0);
    say("called: %d, failures %d, wrong %d", atomic_load(&handler_calls) > 5,
        atomic_load(&handler_failures), wrong);
    close_pair(echo_pair);
}

static atomic_bool storm_is_over;

static void *send_signals(void *argument)
{
    pthread_t target = *(pthread_t *)argument;
    while (!atomic_load(&storm_is_over)) {
        pthread_kill(target, SIGUSR1);
        usleep(100);
    }
    return NULL;
}

static void *bounce_in_a_thread(void *argument)
{
    size_t foreign = 0, wrong = 0;
    while (!atomic_load(&storm_is_over)) {
        char byte = 0;
        int *pair = argument;
        if (write(pair[0], "t", 1) != 1 || read(pair[1], &byte, 1) != 1 || byte != 't')
            wrong++;
    }
    return (void *)(wrong + foreign);
}

static void storm_among_threads(const struct case_context *context)
{
    int pair[2], other[2];
    size_t foreign = 0, wrong = 0;
    void *others_wrong;
    pthread_t self = pthread_self(), sender, thread;
    sigset_t blocked, before;
    make_pair(context, pair);
    make_pair(context, other);
    handler_fd = pair[0];
    handle(SIGUSR1, write_in_handler, SA_RESTART);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    pthread_create(&sender, NULL, send_signals, &self);
    pthread_create(&thread, NULL, bounce_in_a_thread, other);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    for (long end = now_ms() + STORM_MS; goes_on(end);)
        wrong += bounce(pair, &foreign);
    atomic_store(&storm_is_over, true);
    pthread_join(sender, NULL);
    pthread_join(thread, &others_wrong);
    say("called: %d, failures %d, wrong bytes %zu, others' %zu",
        atomic_load(&handler_calls) > CALLS_LEAST, atomic_load(&handler_failures), wrong,
        (size_t)others_wrong);
    close_pair(pair);
    close_pair(other);
}

/* ---- What the handler is told ---------------------------------------------------------------- */

static volatile sig_atomic_t told_number, told_code, told_value, told_pid, told_blocked;

static void note_info(int number, siginfo_t *info, void *context)
{
    (void)context;
    sigset_t mask;
    sigprocmask(SIG_BLOCK, NULL, &mask);
    told_number = number;
    told_code = info->si_code;
    told_value = info->si_value.sival_int;
    told_pid = info->si_pid == getpid();
    told_blocked = sigismember(&mask, number) + 2 * sigismember(&mask, SIGUSR2);
}

static void what_a_handler_is_told(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    struct sigaction action = {.sa_sigaction = note_info, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaddset(&action.sa_mask, SIGUSR2);
    sigaction(SIGRTMIN, &action, NULL);
    action.sa_flags |= SA_NODEFER;
    sigaction(SIGUSR1, &action, NULL);
    sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 77});
    say("number %d, code %d, value %d, from us %d, blocked %d", (int)told_number - SIGRTMIN,
        (int)told_code, (int)told_value, (int)told_pid, (int)told_blocked);
    raise(SIGUSR1);
    say("number %d, code %d, from us %d, blocked %d", (int)told_number, (int)told_code,
        (int)told_pid, (int)told_blocked);
    struct sigaction found;
    sigaction(SIGUSR1, NULL, &found);
    say("found: %d, flags %x, mask %d", found.sa_sigaction == note_info,
        (unsigned)found.sa_flags & ~0x04000000u, sigismember(&found.sa_mask, SIGUSR2));
    close_pair(pair);
}

static void count_call(int number)
{
    (void)number;
    atomic_fetch_add(&handler_calls, 1);
}

static void one_shot_handlers(const struct case_context *context)
{
    struct sigaction found;
    int fd = make_socket(context, 0);
    handle(SIGUSR1, count_call, (int)SA_RESETHAND);
    sigaction(SIGUSR1, NULL, &found);
    say("found: %d, flags %x", found.sa_handler == count_call,
        (unsigned)found.sa_flags & ~0x04000000u);
    raise(SIGUSR1);
    sigaction(SIGUSR1, NULL, &found);
    say("calls %d, then default: %d", atomic_load(&handler_calls), found.sa_handler == SIG_DFL);
    say("signal() tells: %d", signal(SIGUSR2, count_call) == SIG_DFL);
    say("signal() tells: %d", signal(SIGUSR2, SIG_IGN) == count_call);
    say("signal() tells: %d", signal(SIGUSR2, count_call) == SIG_IGN);
    say_result("SIGKILL", sigaction(SIGKILL, &(struct sigaction){.sa_handler = count_call}, NULL));
    say_result("none", sigaction(0, NULL, &found));
    say_result("none", sigaction(65, NULL, &found));
    close(fd);
}

static sigjmp_buf back;

static void jump(int number)
{
    (void)number;
    siglongjmp(back, 1);
}

/* Out of a call that waits, for good: as programs had timeouts before there were others. */
static void jump_out_of_a_call(const struct case_context *context)
{
    int pair[2];
    char byte = 0;
    make_pair(context, pair);
    handle(SIGALRM, jump, 0);
    for (volatile int i = 0; i < 3; i++) {
        if (sigsetjmp(back, 1) == 0) {
            set_timer(20000);
            say_result("read", read(pair[1], &byte, 1));
        }
        set_timer(0);
    }
    handle(SIGALRM, count_call, 0);
    set_timer(20000);
    say_result("interrupted", read(pair[1], &byte, 1));
    set_timer(0);
    say_result("write", write(pair[0], "x", 1));
    say_result("read", read(pair[1], &byte, 1));
    close(pair[0]);
    say_result("end", read(pair[1], &byte, 1));
    close(pair[1]);
}

/* A server that forks while a connection is queued, accepts it then, and is to end by a signal. */
static void queued_at_a_fork(const struct case_context *context)
{
    int listener = make_listener(context, 4);
    int client = make_socket(context, 0);
    say_result("connect", connect_to(context, client, port_of(listener)));
    say_events("listener", wait_for(listener, POLLIN));
    atomic_store(&handler_calls, 0);
    handle(SIGUSR1, count_call, 0);
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    (void)waitpid(child, NULL, 0);
    int fd = accept(listener, NULL, NULL);
    say("accepted %d", fd >= 0);
    kill(getpid(), SIGUSR1);
    (void)events_now(fd, POLLIN);
    say("handled %d", atomic_load(&handler_calls));
    handle(SIGUSR1, SIG_DFL, 0);
    close(fd);
    close(client);
    close(listener);
}

const struct socket_case cases_handlers[] = {
    {"write_to_the_same_socket", write_to_the_same_socket},
    {"exchange_within", exchange_within},
    {"exchange_while_waiting", exchange_while_waiting},
    {"handler_ends_the_wait", handler_ends_the_wait},
    {"close_from_a_handler", close_from_a_handler},
    {"open_and_close_in_a_storm", open_and_close_in_a_storm},
    {"storm_among_threads", storm_among_threads},
    {"what_a_handler_is_told", what_a_handler_is_told},
    {"one_shot_handlers", one_shot_handlers},
    {"jump_out_of_a_call", jump_out_of_a_call},
    {"queued_at_a_fork", queued_at_a_fork},
    {0},
};
