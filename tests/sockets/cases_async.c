/* Signals for sockets: O_ASYNC with F_SETOWN, F_SETSIG and their relatives; SIGURG. How many come
   says nothing (news merges), so cases say that some came, and what the last one told. */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "case.h"

static atomic_int calls;
static atomic_int codes; /* bit per code of the kind that F_SETSIG brings */
static atomic_int last_code, last_fd, last_number;
static atomic_long last_band;
static atomic_ulong called_thread;

static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)context;
    atomic_store(&last_number, number);
    atomic_store(&last_code, info->si_code);
    if (info->si_code > 0 && info->si_code < 8)
        atomic_fetch_or(&codes, 1 << info->si_code);
    atomic_store(&last_band, info->si_band);
    atomic_store(&last_fd, info->si_fd);
    atomic_store(&called_thread, (unsigned long)pthread_self());
    atomic_fetch_add(&calls, 1); /* last: whoever waits for it looks at the rest */
}

static void watch(int number)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(number, &action, NULL);
}

static void set_async(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);
    say_result("F_SETFL", fcntl(fd, F_SETFL, on ? flags | O_ASYNC : flags & ~O_ASYNC));
}

static void forget(void)
{
    settle();
    atomic_store(&calls, 0);
    atomic_store(&codes, 0);
    atomic_store(&last_number, 0);
}

static bool came(int wait_ms)
{
    for (int i = 0; i < wait_ms && atomic_load(&calls) == 0; i++) {
        struct timespec one_ms = {.tv_nsec = 1000000};
        nanosleep(&one_ms, NULL);
    }
    return atomic_load(&calls) > 0;
}

static void say_signal(const char *what, int fd)
{
    bool any = came(CASE_WAIT_MS / 2);
    settle();
    if (!any)
        say("%s: none", what);
    else if (atomic_load(&last_code) == SI_KERNEL)
        say("%s: signal %d, from the kernel", what, atomic_load(&last_number));
    else
        say("%s: signal %d, codes %x, code %d, band %lx, its descriptor %d", what,
            atomic_load(&last_number), (unsigned)atomic_load(&codes), atomic_load(&last_code),
            (unsigned long)atomic_load(&last_band), atomic_load(&last_fd) == fd);
    forget();
}

static void say_quiet(const char *what)
{
    say("%s: %s", what, came(CASE_QUIET_MS * 2) ? "a signal" : "none");
    forget();
}

/* The program looks at no socket meanwhile. */
static void sigio_for_data(const struct case_context *context)
{
    int pair[2];
    char byte;
    make_pair(context, pair);
    watch(SIGIO);
    say_result("F_SETOWN", fcntl(pair[1], F_SETOWN, getpid()));
    set_async(pair[1], true);
    forget();
    (void)!write(pair[0], "x", 1);
    say_signal("data", pair[1]);
    (void)!write(pair[0], "y", 1);
    say_signal("more", pair[1]);
    say_result("read", read(pair[1], &byte, 1));
    set_async(pair[1], false);
    (void)!write(pair[0], "z", 1);
    say_quiet("switched off");
    close_pair(pair);
}

static void setsig_tells_what(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    watch(SIGRTMIN + 1);
    say_result("F_SETSIG", fcntl(pair[1], F_SETSIG, SIGRTMIN + 1));
    say_result("F_SETOWN", fcntl(pair[1], F_SETOWN, getpid()));
    set_async(pair[1], true);
    forget();
    (void)!write(pair[0], "x", 1);
    say_signal("data", pair[1]);
    shutdown(pair[0], SHUT_WR);
    say_signal("end", pair[1]);
    shutdown(pair[1], SHUT_WR);
    say_quiet("own end");
    close_pair(pair);
}

static void both_ends_shut(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    watch(SIGRTMIN + 1);
    fcntl(pair[1], F_SETSIG, SIGRTMIN + 1);
    fcntl(pair[1], F_SETOWN, getpid());
    set_async(pair[1], true);
    shutdown(pair[1], SHUT_WR);
    forget();
    shutdown(pair[0], SHUT_WR);
    say_signal("the last end", pair[1]);
    close_pair(pair);
}

static void sigio_for_a_reset(const struct case_context *context)
{
    int pair[2];
    struct linger linger = {.l_onoff = 1};
    make_pair(context, pair);
    watch(SIGRTMIN + 1);
    fcntl(pair[1], F_SETSIG, SIGRTMIN + 1);
    fcntl(pair[1], F_SETOWN, getpid());
    set_async(pair[1], true);
    forget();
    setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(pair[0]);
    say_signal("reset", pair[1]);
    close(pair[1]);
}

static void sigio_for_connections(const struct case_context *context)
{
    int listener = make_listener(context, 4);
    int fd = make_socket(context, SOCK_NONBLOCK);
    watch(SIGRTMIN + 1);
    fcntl(listener, F_SETSIG, SIGRTMIN + 1);
    fcntl(listener, F_SETOWN, getpid());
    set_async(listener, true);
    forget();
    connect_to(context, fd, port_of(listener));
    say_signal("a connection", listener);
    int accepted = accept(listener, NULL, NULL);
    say("accepted: flags %x, owner %d", (unsigned)fcntl(accepted, F_GETFL),
        fcntl(accepted, F_GETOWN));
    close(accepted);
    close(fd);
    close(listener);
}

static void sigio_for_a_connect(const struct case_context *context)
{
    int listener = make_listener(context, 4);
    unsigned port = port_of(listener);
    int fd = make_socket(context, SOCK_NONBLOCK);
    watch(SIGRTMIN + 1);
    fcntl(fd, F_SETSIG, SIGRTMIN + 1);
    fcntl(fd, F_SETOWN, getpid());
    set_async(fd, true);
    forget();
    connect_to(context, fd, port);
    say_signal("connected", fd);
    close(fd);
    close(listener);
    fd = make_socket(context, SOCK_NONBLOCK);
    fcntl(fd, F_SETSIG, SIGRTMIN + 1);
    fcntl(fd, F_SETOWN, getpid());
    set_async(fd, true);
    forget();
    connect_to(context, fd, port);
    say_signal("refused", fd);
    say_socket_error("error", fd);
    close(fd);
}

static void sigio_for_space(const struct case_context *context)
{
    int pair[2];
    static char bytes[65536];
    make_pair(context, pair);
    set_nonblocking(pair[0], true);
    set_nonblocking(pair[1], true);
    while (write(pair[0], bytes, sizeof(bytes)) > 0)
        ;
    watch(SIGRTMIN + 1);
    fcntl(pair[0], F_SETSIG, SIGRTMIN + 1);
    fcntl(pair[0], F_SETOWN, getpid());
    set_async(pair[0], true);
    settle();
    while (write(pair[0], bytes, sizeof(bytes)) > 0)
        ;
    forget();
    for (int i = 0; i < 20; i++) {
        while (read(pair[1], bytes, sizeof(bytes)) > 0)
            ;
        usleep(2000);
    }
    say_signal("space", pair[0]);
    close_pair(pair);
}

/* Who waits in a read needs no signal. */
static void no_sigio_for_readers(const struct case_context *context)
{
    int pair[2];
    char byte;
    make_pair(context, pair);
    watch(SIGIO);
    fcntl(pair[1], F_SETOWN, getpid());
    set_async(pair[1], true);
    forget();
    pid_t pid = fork();
    if (pid == 0) {
        usleep(50000);
        _exit(write(pair[0], "x", 1) != 1);
    }
    say_result("read", read(pair[1], &byte, 1));
    say_quiet("meanwhile");
    waitpid(pid, NULL, 0);
    close_pair(pair);
}

static void urgent_signal_by_owner(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    watch(SIGURG);
    watch(SIGIO);
    send(pair[0], "a", 1, MSG_OOB);
    say_quiet("nobody's");
    fcntl(pair[1], F_SETOWN, getpid());
    forget();
    send(pair[0], "b", 1, MSG_OOB);
    say_signal("urgent", pair[1]);
    (void)!write(pair[0], "c", 1);
    say_quiet("data");
    close_pair(pair);
}

static void urgent_signal_with_setsig(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    watch(SIGRTMIN + 1);
    fcntl(pair[1], F_SETSIG, SIGRTMIN + 1);
    fcntl(pair[1], F_SETOWN, getpid());
    signal(SIGURG, SIG_IGN);
    set_async(pair[1], true);
    forget();
    send(pair[0], "b", 1, MSG_OOB);
    bool any = came(CASE_WAIT_MS / 2);
    settle();
    say("some: %d", any);
    close_pair(pair);
}

struct sleeper {
    atomic_int tid;
    atomic_bool over;
};

static void *sleep_in_thread(void *argument)
{
    struct sleeper *sleeper = argument;
    atomic_store(&sleeper->tid, (int)syscall(SYS_gettid));
    while (!atomic_load(&sleeper->over))
        usleep(1000);
    return NULL;
}

static void owner_is_a_thread(const struct case_context *context)
{
    int pair[2];
    struct sleeper sleeper = {0};
    pthread_t thread;
    make_pair(context, pair);
    watch(SIGIO);
    pthread_create(&thread, NULL, sleep_in_thread, &sleeper);
    while (atomic_load(&sleeper.tid) == 0)
        usleep(1000);
    struct f_owner_ex owner = {.type = F_OWNER_TID, .pid = atomic_load(&sleeper.tid)};
    say_result("F_SETOWN_EX", fcntl(pair[1], F_SETOWN_EX, &owner));
    set_async(pair[1], true);
    forget();
    (void)!write(pair[0], "x", 1);
    bool any = came(CASE_WAIT_MS / 2);
    say("came %d, there %d", any, atomic_load(&called_thread) == (unsigned long)thread);
    atomic_store(&sleeper.over, true);
    pthread_join(thread, NULL);
    close_pair(pair);
}

static void owner_is_a_group(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    setpgid(0, 0);
    watch(SIGIO);
    say_result("F_SETOWN", fcntl(pair[1], F_SETOWN, -getpid()));
    say("owner is us: %d", fcntl(pair[1], F_GETOWN) == -getpid());
    set_async(pair[1], true);
    forget();
    (void)!write(pair[0], "x", 1);
    say("came: %d", came(CASE_WAIT_MS / 2));
    close_pair(pair);
}

static void say_owner(const char *what, int fd)
{
    struct f_owner_ex owner = {.type = (enum __pid_type)77, .pid = 77};
    say_result(what, fcntl(fd, F_GETOWN_EX, &owner));
    say("%s: type %d, us %d, none %d", what, (int)owner.type, owner.pid == getpid(),
        owner.pid == 0);
}

static void try_owners(const char *what, int fd)
{
    int number = getpid();
    struct f_owner_ex owner = {.type = (enum __pid_type)9, .pid = getpid()};
    say("%s", what);
    say_result("F_GETSIG", fcntl(fd, F_GETSIG));
    say_result("F_GETOWN", fcntl(fd, F_GETOWN));
    say_owner("at first", fd);
    say_result("F_SETSIG 65", fcntl(fd, F_SETSIG, 65));
    say_result("F_SETSIG -1", fcntl(fd, F_SETSIG, -1));
    say_result("F_SETSIG", fcntl(fd, F_SETSIG, SIGUSR1));
    say_result("F_GETSIG", fcntl(fd, F_GETSIG));
    say_result("F_SETOWN of nobody", fcntl(fd, F_SETOWN, 0x3fffffff));
    say_result("F_SETOWN INT_MIN", fcntl(fd, F_SETOWN, INT_MIN));
    say_result("F_SETOWN_EX of a wrong type", fcntl(fd, F_SETOWN_EX, &owner));
    say_result("F_SETOWN_EX NULL", fcntl(fd, F_SETOWN_EX, NULL));
    owner.type = F_OWNER_PID;
    say_result("F_SETOWN_EX", fcntl(fd, F_SETOWN_EX, &owner));
    say_owner("then", fd);
    say_result("F_SETOWN 0", fcntl(fd, F_SETOWN, 0));
    say_owner("then", fd);
    say_result("SIOCSPGRP", ioctl(fd, SIOCSPGRP, &number));
    number = 0;
    say_result("SIOCGPGRP", ioctl(fd, SIOCGPGRP, &number));
    say("us: %d", number == getpid());
    say_result("FIOSETOWN", ioctl(fd, FIOSETOWN, &number));
    say_result("FIOGETOWN", ioctl(fd, FIOGETOWN, &number));
    say_result("FIOSETOWN NULL", ioctl(fd, FIOSETOWN, NULL));
    number = 1;
    say_result("FIOASYNC", ioctl(fd, FIOASYNC, &number));
    say("flags %x", (unsigned)fcntl(fd, F_GETFL));
    number = 0;
    say_result("FIOASYNC", ioctl(fd, FIOASYNC, &number));
    say("flags %x", (unsigned)fcntl(fd, F_GETFL));
    say_result("F_SETFL", fcntl(fd, F_SETFL, O_APPEND | O_NOATIME | O_NONBLOCK | O_SYNC));
    say("flags %x", (unsigned)fcntl(fd, F_GETFL));
    say_result("F_SETFL O_DIRECT", fcntl(fd, F_SETFL, O_DIRECT));
    say_result("F_SETFL", fcntl(fd, F_SETFL, 0));
    say("flags %x", (unsigned)fcntl(fd, F_GETFL));
}

static void every_way_to_set_an_owner(const struct case_context *context)
{
    int pair[2];
    int other[2];
    make_pair(context, pair);
    make_pair(context, other);
    int listener = make_listener(context, 1);
    int fresh = make_socket(context, 0);
    try_owners("fresh", fresh);
    try_owners("listener", listener);
    try_owners("connected", pair[0]);
    try_owners("accepted", pair[1]);
    say_owner("another accepted", other[1]);
    close(fresh);
    close(listener);
    close_pair(pair);
    close_pair(other);
}

/* A blocking call is interrupted by it as by any signal. */
static void sigio_interrupts(const struct case_context *context)
{
    int pair[2], idle[2];
    char byte;
    make_pair(context, pair);
    make_pair(context, idle);
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    sigaction(SIGIO, &action, NULL);
    fcntl(pair[1], F_SETOWN, getpid());
    set_async(pair[1], true);
    pid_t pid = fork();
    if (pid == 0) {
        usleep(50000);
        _exit(write(pair[0], "x", 1) != 1);
    }
    say_result("read of another", read(idle[1], &byte, 1));
    say_result("read", read(pair[1], &byte, 1));
    waitpid(pid, NULL, 0);
    close_pair(pair);
    close_pair(idle);
}

/* As servers by "real-time signals" do it. */
static void signals_waited_for(const struct case_context *context)
{
    int pair[2];
    sigset_t set;
    siginfo_t info;
    struct timespec limit = {.tv_sec = 1};
    make_pair(context, pair);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    fcntl(pair[1], F_SETSIG, SIGRTMIN + 2);
    fcntl(pair[1], F_SETOWN, getpid());
    set_async(pair[1], true);
    (void)!write(pair[0], "x", 1);
    memset(&info, 0, sizeof(info));
    int number = sigtimedwait(&set, &info, &limit);
    say("signal %d, code %d, band %lx, its descriptor %d", number, info.si_code,
        (unsigned long)info.si_band, info.si_fd == pair[1]);
    close_pair(pair);
}

const struct socket_case cases_async[] = {
    {"signals_waited_for", signals_waited_for},
    {"sigio_for_data", sigio_for_data},
    {"setsig_tells_what", setsig_tells_what},
    {"both_ends_shut", both_ends_shut},
    {"sigio_for_a_reset", sigio_for_a_reset},
    {"sigio_for_connections", sigio_for_connections},
    {"sigio_for_a_connect", sigio_for_a_connect},
    {"sigio_for_space", sigio_for_space},
    {"no_sigio_for_readers", no_sigio_for_readers},
    {"urgent_signal_by_owner", urgent_signal_by_owner},
    {"urgent_signal_with_setsig", urgent_signal_with_setsig},
    {"owner_is_a_thread", owner_is_a_thread},
    {"owner_is_a_group", owner_is_a_group},
    {"every_way_to_set_an_owner", every_way_to_set_an_owner},
    {"sigio_interrupts", sigio_interrupts},
    {0},
};
