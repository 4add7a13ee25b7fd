/* Connections that outlive an exec. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "case.h"

static void say_exit(pid_t pid)
{
    int status = 0;
    waitpid(pid, &status, 0);
    say("exit %d", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
}

/* All that the program says on the other end, once it and we have let go. */
static void say_all(int pair[2])
{
    char bytes[256];
    close(pair[1]);
    say_bytes("it said", read_to_end(pair[0], bytes, sizeof(bytes)), bytes);
    close(pair[0]);
}

static void as_standard_input_and_output(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    send(pair[0], "through cat", 11, 0);
    shutdown(pair[0], SHUT_WR);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(pair[1], STDIN_FILENO);
        dup2(pair[1], STDOUT_FILENO);
        close(pair[0]);
        close(pair[1]);
        execl("/bin/cat", "cat", (char *)NULL);
        _exit(99);
    }
    say_exit(pid);
    say_all(pair);
}

/* stdio writes by libc's own calls. */
static void as_standard_output_of_stdio(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(pair[1], STDOUT_FILENO);
        execlp("printf", "printf", "%s-%s\n", "one", "two", (char *)NULL);
        _exit(99);
    }
    say_exit(pid);
    say_all(pair);
}

static void after_vfork(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    pid_t pid = vfork();
    if (pid == 0) {
        dup2(pair[0], STDOUT_FILENO);
        execl("/bin/sh", "sh", "-c", "echo spoken", (char *)NULL);
        _exit(99);
    }
    say_exit(pid);
    close(pair[0]);
    char bytes[64];
    say_bytes("it said", read_to_end(pair[1], bytes, sizeof(bytes)), bytes);
    close(pair[1]);
}

static void with_an_empty_environment(const struct case_context *context)
{
    int pair[2];
    char shell[] = "/bin/sh", option[] = "-c", script[] = "echo ${HOME-none}; exec echo again";
    char *arguments[] = {shell, option, script, NULL}, *none[] = {NULL};
    make_pair(context, pair);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(pair[1], STDOUT_FILENO);
        execve(shell, arguments, none);
        _exit(99);
    }
    say_exit(pid);
    say_all(pair);
}

static void close_on_exec(const struct case_context *context)
{
    int pair[2];
    char byte;
    make_pair(context, pair);
    fcntl(pair[1], F_SETFD, FD_CLOEXEC);
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        execl("/bin/sleep", "sleep", "0.3", (char *)NULL);
        _exit(99);
    }
    usleep(100000);
    close(pair[1]);
    say_events("ended before the program", wait_for(pair[0], POLLIN | POLLRDHUP));
    say_result("recv", recv(pair[0], &byte, 1, 0));
    close(pair[0]);
    say_exit(pid);
}

static void kept_open_by_the_program(const struct case_context *context)
{
    int pair[2];
    char byte;
    make_pair(context, pair);
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        execl("/bin/sleep", "sleep", "0.3", (char *)NULL);
        _exit(99);
    }
    close(pair[1]);
    say_events("while it runs", events_now(pair[0], POLLIN | POLLRDHUP));
    say_exit(pid);
    say_result("then", recv(pair[0], &byte, 1, 0));
    close(pair[0]);
}

static void failed_exec(const struct case_context *context)
{
    int pair[2];
    char bytes[16];
    make_pair(context, pair);
    fcntl(pair[0], F_SETFD, 0);
    say_result("execl", execl("/nowhere", "nowhere", (char *)NULL));
    say_result("execlp", execlp("no-such-program", "x", (char *)NULL));
    send(pair[0], "alive", 5, 0);
    say_bytes("recv", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
    close_pair(pair);
}

static void what_was_not_read(const struct case_context *context)
{
    int pair[2];
    char byte;
    make_pair(context, pair);
    send(pair[0], "abcdef", 6, 0);
    wait_for(pair[1], POLLIN);
    say_result("read before", recv(pair[1], &byte, 1, 0));
    shutdown(pair[0], SHUT_WR);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(pair[1], STDIN_FILENO);
        dup2(pair[1], STDOUT_FILENO);
        execl("/bin/cat", "cat", (char *)NULL);
        _exit(99);
    }
    say_exit(pid);
    say_all(pair);
}

/* ---- Signals that come meanwhile ------------------------------------------------------------- */

/* How many programs are started while signals come. */
#define STORM_PROGRAMS   20
#define FAILING_PROGRAMS 25

/* How long the storm waits for a handler to have come to its end: programs that have none are sent
   signals as well. */
#define STORM_PATIENCE_US 2000
#define STORM_STEP_US     50

static int storm_fd = -1;
static atomic_int storm_bytes;
static atomic_int *storm_calls; /* shared with the storm */

static void write_in_storm(int number)
{
    (void)number;
    int saved_errno = errno;
    if (send(storm_fd, "s", 1, MSG_DONTWAIT) == 1)
        atomic_fetch_add(&storm_bytes, 1);
    atomic_fetch_add(storm_calls, 1);
    errno = saved_errno;
}

/* Send signals, one after the other's handler has ended and the program has had a moment, as
   another storm would leave it no time. */
_Noreturn static void storm_at(pid_t target)
{
    for (unsigned turn = 0; kill(target, SIGURG) == 0; turn++) {
        int calls = atomic_load(storm_calls);
        for (int waited = 0; waited < STORM_PATIENCE_US && atomic_load(storm_calls) == calls;
             waited += STORM_STEP_US)
            usleep(STORM_STEP_US);
        usleep(turn * 37 % 500);
    }
    _exit(0);
}

/* By a signal that is ignored where it has no handler. @return the child that sends it until it is
   killed, or we are no more. */
static pid_t start_storm(int fd)
{
    struct sigaction action = {.sa_handler = write_in_storm, .sa_flags = SA_RESTART};
    storm_fd = fd;
    storm_calls =
        mmap(NULL, sizeof(*storm_calls), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    sigaction(SIGURG, &action, NULL);
    pid_t target = getpid(), pid = fork();
    if (pid == 0)
        storm_at(target);
    return pid;
}

static void end_storm(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void *sleep_on(void *argument)
{
    (void)pause();
    return argument;
}

/* With another thread, so that locks are no matter of form. */
static void failing_in_a_storm(const struct case_context *context)
{
    int pair[2], failures = 0;
    char bytes[16];
    pthread_t thread;
    make_pair(context, pair);
    fcntl(pair[0], F_SETFD, 0);
    pthread_create(&thread, NULL, sleep_on, NULL);
    pid_t storm = start_storm(pair[0]);
    while (atomic_load(storm_calls) < 10)
        usleep(1000);
    for (int i = 0; i < FAILING_PROGRAMS; i++)
        failures += execl("/nowhere", "nowhere", (char *)NULL) == -1 && errno == ENOENT;
    end_storm(storm);
    say("failures %d", failures);
    shutdown(pair[0], SHUT_WR);
    int heard = 0;
    ssize_t got;
    while ((got = recv(pair[1], bytes, sizeof(bytes), 0)) > 0)
        heard += (int)got;
    say("heard all: %d", heard == atomic_load(&storm_bytes));
    close_pair(pair);
}

int program_in_storm(const struct case_context *context)
{
    (void)context;
    sigset_t mask;
    char byte = 0;
    sigprocmask(SIG_BLOCK, NULL, &mask);
    for (int number = 1; number < SIGRTMAX; number++) {
        if (sigismember(&mask, number) == 1)
            return 2;
    }
    return read(STDIN_FILENO, &byte, 1) == 1 && byte == 'q' && write(STDIN_FILENO, "a", 1) == 1 ? 0
                                                                                                : 3;
}

static void in_a_storm(const struct case_context *context)
{
    int good = 0, answers = 0;
    for (int i = 0; i < STORM_PROGRAMS; i++) {
        int pair[2], status = -1;
        char byte;
        make_pair(context, pair);
        send(pair[0], "q", 1, 0);
        pid_t pid = fork();
        if (pid == 0) {
            close(pair[0]);
            dup2(pair[1], STDIN_FILENO);
            (void)start_storm(pair[1]);
            while (atomic_load(storm_calls) < 3)
                usleep(100);
            execl("/proc/self/exe", "pno-socket-cases", "program", "in_storm", (char *)NULL);
            _exit(95);
        }
        close(pair[1]);
        waitpid(pid, &status, 0);
        good += status == 0;
        while (recv(pair[0], &byte, 1, 0) == 1)
            answers += byte == 'a';
        close(pair[0]);
    }
    say("good %d, answers %d", good, answers);
}

/* Its standard input is a socket, its standard output a listener. */
int program_shut_early(const struct case_context *context)
{
    char byte;
    struct pollfd polled = {.fd = STDIN_FILENO, .events = POLLRDHUP};
    if (connect_to(context, STDIN_FILENO, port_of(STDOUT_FILENO)) < 0)
        return 99;
    int status = recv(STDIN_FILENO, &byte, 1, MSG_DONTWAIT) == 0 ? 1 : 0;
    status |= send(STDIN_FILENO, "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE ? 2 : 0;
    poll(&polled, 1, 0);
    status |= (polled.revents & POLLRDHUP) != 0 ? 4 : 0;
    return status | ((polled.revents & POLLHUP) != 0 ? 8 : 0);
}

/* shutdown() without a connection fails, and counts once there is one. */
static void shut_before_a_connection(const struct case_context *context)
{
    static const int hows[] = {SHUT_RD, SHUT_WR, SHUT_RDWR};
    int listener = make_listener(context, 8);
    for (int i = 0; i < 6; i++) {
        struct sockaddr_storage address;
        socklen_t length = loopback(context, &address, 0);
        int fd = make_socket(context, 0);
        if (i >= 3)
            say_result("bind", bind(fd, (struct sockaddr *)&address, length));
        say_result("shutdown", shutdown(fd, hows[i % 3]));
        pid_t pid = fork();
        if (pid == 0) {
            dup2(fd, STDIN_FILENO);
            dup2(listener, STDOUT_FILENO);
            execl("/proc/self/exe", "pno-socket-cases", "program", "shut_early",
                  context->family == AF_INET6 ? "6" : "4", (char *)NULL);
            _exit(98);
        }
        say_exit(pid);
        close(fd);
    }
    close(listener);
}

const struct socket_case cases_exec[] = {
    {"exec_as_standard_input_and_output", as_standard_input_and_output},
    {"exec_as_standard_output_of_stdio", as_standard_output_of_stdio},
    {"exec_shut_before_a_connection", shut_before_a_connection},
    {"exec_after_vfork", after_vfork},
    {"exec_with_an_empty_environment", with_an_empty_environment},
    {"exec_close_on_exec", close_on_exec},
    {"exec_kept_open_by_the_program", kept_open_by_the_program},
    {"exec_failed", failed_exec},
    {"exec_what_was_not_read", what_was_not_read},
    {"exec_failing_in_a_storm", failing_in_a_storm},
    {"exec_in_a_storm", in_a_storm},
    {0},
};
