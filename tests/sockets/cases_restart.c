/* Which blocking calls a signal ends: SA_RESTART or not, each handler by itself, timeouts. Source:
   signal(7), "Interruption of system calls and library functions by signal handlers". */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

#include "case.h"

#define SIGNALS 3

static void on_signal(int number)
{
    (void)number;
}

static void handle(int number, int flags)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};
    sigaction(number, &action, NULL);
}

/* Signals a thread while it is in a call, then lets the call end by itself. */
struct signaller {
    pthread_t target;
    int number;
    void (*finish)(const struct signaller *signaller);
    const struct case_context *context;
    int fd;
    atomic_bool over;
};

static void *run_signaller(void *argument)
{
    struct signaller *signaller = argument;
    for (int i = 0; i < SIGNALS && !atomic_load(&signaller->over); i++) {
        usleep(20000);
        if (!atomic_load(&signaller->over))
            pthread_kill(signaller->target, signaller->number);
    }
    usleep(20000);
    if (!atomic_load(&signaller->over))
        signaller->finish(signaller);
    return NULL;
}

static void finish_by_data(const struct signaller *signaller)
{
    (void)!send(signaller->fd, "x", 1, MSG_NOSIGNAL);
}

static void finish_by_reading(const struct signaller *signaller)
{
    char bytes[65536];
    while (recv(signaller->fd, bytes, sizeof(bytes), 0) > 0)
        ;
}

static void finish_by_connecting(const struct signaller *signaller)
{
    int fd = make_socket(signaller->context, 0);
    connect_to(signaller->context, fd, (unsigned)signaller->fd);
    close(fd);
}

typedef ssize_t call_fn(int fd);

static void signalled(const char *what, struct signaller *signaller, call_fn *call, int fd)
{
    pthread_t thread;
    sigset_t blocked, before;
    sigfillset(&blocked);
    signaller->target = pthread_self();
    atomic_store(&signaller->over, false);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    pthread_create(&thread, NULL, run_signaller, signaller);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    ssize_t result = call(fd);
    int error = errno;
    atomic_store(&signaller->over, true);
    pthread_join(thread, NULL);
    errno = error;
    say_result(what, result);
}

static ssize_t call_recv(int fd)
{
    char byte;
    return recv(fd, &byte, 1, 0);
}

static ssize_t call_read(int fd)
{
    char byte;
    return read(fd, &byte, 1);
}

static ssize_t call_poll(int fd)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, CASE_WAIT_MS);
}

static ssize_t call_select(int fd)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    return select(fd + 1, &set, NULL, NULL, &(struct timeval){.tv_sec = 2});
}

static ssize_t call_epoll(int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(0);
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    ssize_t result = epoll_wait(epoll, &event, 1, CASE_WAIT_MS);
    int error = errno;
    close(epoll);
    errno = error;
    return result;
}

static void reading(const struct case_context *context, const char *what, call_fn *call, int number)
{
    int pair[2];
    make_pair(context, pair);
    struct signaller signaller = {.number = number, .finish = finish_by_data, .fd = pair[0]};
    signalled(what, &signaller, call, pair[1]);
    close_pair(pair);
}

static void all_calls(const struct case_context *context, int number)
{
    reading(context, "recv", call_recv, number);
    reading(context, "read", call_read, number);
    reading(context, "poll", call_poll, number);
    reading(context, "select", call_select, number);
    reading(context, "epoll_wait", call_epoll, number);
}

static void handler_restarts(const struct case_context *context)
{
    handle(SIGUSR1, SA_RESTART);
    all_calls(context, SIGUSR1);
}

static void handler_interrupts(const struct case_context *context)
{
    handle(SIGUSR1, 0);
    all_calls(context, SIGUSR1);
}

static void each_handler_by_itself(const struct case_context *context)
{
    handle(SIGUSR1, SA_RESTART);
    handle(SIGUSR2, 0);
    say("the one that restarts");
    all_calls(context, SIGUSR1);
    say("the one that does not");
    all_calls(context, SIGUSR2);
}

/* siginterrupt() too, though libc would rather not have it used. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
static void handlers_change_their_minds(const struct case_context *context)
{
    handle(SIGUSR2, 0);
    signal(SIGUSR1, on_signal);
    reading(context, "signal()", call_recv, SIGUSR1);
    siginterrupt(SIGUSR1, 1);
    reading(context, "siginterrupt()", call_recv, SIGUSR1);
    siginterrupt(SIGUSR1, 0);
    reading(context, "taken back", call_recv, SIGUSR1);
    handle(SIGUSR1, 0);
    reading(context, "sigaction()", call_recv, SIGUSR1);
    signal(SIGUSR1, SIG_IGN);
    reading(context, "ignored", call_recv, SIGUSR1);
}

#pragma GCC diagnostic pop

/* Blocked by the program: it stays pending through the call, and does not make it spin. */
static void blocked_signal_stays_pending(const struct case_context *context)
{
    sigset_t set, pending;
    struct timespec begin, end;
    handle(SIGUSR1, SA_RESTART);
    handle(SIGUSR2, 0);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    reading(context, "recv", call_recv, SIGUSR1);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    sigpending(&pending);
    say("pending %d", sigismember(&pending, SIGUSR1));
    say("idle %d",
        (end.tv_sec - begin.tv_sec) * 1000000000 + end.tv_nsec - begin.tv_nsec < 40000000);
}

static void timeout_is_never_restarted(const struct case_context *context)
{
    int pair[2];
    struct timeval timeout = {.tv_sec = 2};
    handle(SIGUSR1, SA_RESTART);
    make_pair(context, pair);
    setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    struct signaller signaller = {.number = SIGUSR1, .finish = finish_by_data, .fd = pair[0]};
    signalled("recv", &signaller, call_recv, pair[1]);
    close_pair(pair);
}

static ssize_t call_accept(int fd)
{
    int accepted = accept(fd, NULL, NULL);
    if (accepted >= 0)
        close(accepted);
    return accepted >= 0 ? 0 : accepted;
}

static void accept_by_either_handler(const struct case_context *context)
{
    handle(SIGUSR1, SA_RESTART);
    handle(SIGUSR2, 0);
    int listener = make_listener(context, 4);
    struct signaller signaller = {.number = SIGUSR1,
                                  .finish = finish_by_connecting,
                                  .context = context,
                                  .fd = (int)port_of(listener)};
    signalled("restarts", &signaller, call_accept, listener);
    signaller.number = SIGUSR2;
    signalled("does not", &signaller, call_accept, listener);
    close(listener);
}

static void fill_up(int fd)
{
    static char bytes[65536];
    for (int i = 0; i < 5; i++) { /* what was on its way makes room yet */
        while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
            ;
        settle();
    }
}

static ssize_t call_send(int fd)
{
    ssize_t result = send(fd, "x", 1, MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    return result;
}

static void send_by_either_handler(const struct case_context *context)
{
    static const int numbers[] = {SIGUSR1, SIGUSR2};
    handle(SIGUSR1, SA_RESTART);
    handle(SIGUSR2, 0);
    for (int i = 0; i < 2; i++) {
        int pair[2];
        make_pair(context, pair);
        fill_up(pair[1]);
        struct signaller signaller = {
            .number = numbers[i], .finish = finish_by_reading, .fd = pair[0]};
        signalled(i == 0 ? "restarts" : "does not", &signaller, call_send, pair[1]);
        close_pair(pair);
    }
}

struct changer {
    int fd;
    atomic_bool over;
};

static void *change_user(void *argument)
{
    struct changer *changer = argument;
    for (int i = 0; i < SIGNALS; i++) {
        usleep(20000);
        (void)!setuid(getuid());
    }
    usleep(20000);
    if (!atomic_load(&changer->over))
        (void)!send(changer->fd, "x", 1, MSG_NOSIGNAL);
    return NULL;
}

/* libc signals all threads then, by a handler of its own with SA_RESTART. */
static void another_thread_changes_the_user(const struct case_context *context)
{
    static const struct {
        const char *name;
        call_fn *call;
    } calls[] = {{"recv", call_recv}, {"poll", call_poll}, {"epoll_wait", call_epoll}};
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        int pair[2];
        pthread_t thread;
        make_pair(context, pair);
        struct changer changer = {.fd = pair[0]};
        pthread_create(&thread, NULL, change_user, &changer);
        ssize_t result = calls[i].call(pair[1]);
        int error = errno;
        atomic_store(&changer.over, true);
        pthread_join(thread, NULL);
        errno = error;
        say_result(calls[i].name, result);
        close_pair(pair);
    }
}

const struct socket_case cases_restart[] = {
    {"handler_restarts", handler_restarts},
    {"handler_interrupts", handler_interrupts},
    {"each_handler_by_itself", each_handler_by_itself},
    {"handlers_change_their_minds", handlers_change_their_minds},
    {"blocked_signal_stays_pending", blocked_signal_stays_pending},
    {"timeout_is_never_restarted", timeout_is_never_restarted},
    {"accept_by_either_handler", accept_by_either_handler},
    {"another_thread_changes_the_user", another_thread_changes_the_user},
    {"send_by_either_handler", send_by_either_handler},
    {0},
};
