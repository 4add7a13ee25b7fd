/* Processes and threads that share sockets. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "case.h"

static void say_status(const char *what, pid_t pid)
{
    int status = 0;
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status))
        say("%s: signal %d", what, WTERMSIG(status));
    else
        say("%s: exit %d", what, WEXITSTATUS(status));
}

static void child_sends(const struct case_context *context)
{
    int pair[2];
    char bytes[64];
    make_pair(context, pair);
    send(pair[0], "parent,", 7, 0);
    pid_t pid = fork();
    if (pid == 0) {
        send(pair[0], "child,", 6, 0);
        _exit(0);
    }
    say_status("child", pid);
    send(pair[0], "parent again", 12, 0);
    close(pair[0]);
    say_bytes("all", read_to_end(pair[1], bytes, sizeof(bytes)), bytes);
    close(pair[1]);
}

static void child_reads(const struct case_context *context)
{
    int pair[2];
    char bytes[64];
    make_pair(context, pair);
    send(pair[0], "abcdef", 6, 0);
    wait_for(pair[1], POLLIN);
    say_bytes("parent", recv(pair[1], bytes, 2, 0), bytes);
    pid_t pid = fork();
    if (pid == 0) {
        say_bytes("child", recv(pair[1], bytes, 2, 0), bytes);
        exit(0);
    }
    say_status("child", pid);
    say_bytes("parent", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
    close_pair(pair);
}

static void child_keeps_connection(const struct case_context *context)
{
    int pair[2], go[2];
    char bytes[64];
    make_pair(context, pair);
    if (pipe(go) < 0)
        say("no pipe");
    pid_t pid = fork();
    if (pid == 0) {
        (void)!read(go[0], bytes, 1);
        send(pair[0], "still here", 10, 0);
        _exit(3);
    }
    close(pair[0]);
    say_events("not ended by the parent", events_now(pair[1], POLLIN | POLLRDHUP));
    (void)!write(go[1], "x", 1);
    say_bytes("child", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
    say_status("child", pid);
    say_result("ended by the last", recv(pair[1], bytes, sizeof(bytes), 0));
    close(pair[1]);
    close(go[0]);
    close(go[1]);
}

/* SO_LINGER without time resets whoever ends the connection, also by being killed. */
static void killed_with_linger(const struct case_context *context)
{
    const char *const whose[] = {"nobody's", "the connection's", "its listener's"};
    const struct linger reset = {.l_onoff = 1};
    for (int i = 0; i < 3; i++) {
        char byte;
        int listener = make_listener(context, 1);
        if (i == 2)
            setsockopt(listener, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        int fd = make_socket(context, 0);
        connect_to(context, fd, port_of(listener));
        pid_t pid = fork();
        if (pid == 0) {
            close(fd);
            int accepted = accept(listener, NULL, NULL);
            if (i == 1)
                setsockopt(accepted, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
            send(accepted, "x", 1, 0);
            for (;;)
                sleep(1);
        }
        (void)!recv(fd, &byte, 1, 0);
        kill(pid, SIGKILL);
        say_status(whose[i], pid);
        say_result("end", recv(fd, &byte, 1, 0));
        close(fd);
        close(listener);
    }
}

/* Who has read all closes, and the last that has the connection ends without a word. */
static void reader_closes_last_exits(const struct case_context *context)
{
    int pair[2], go[2];
    char bytes[64];
    make_pair(context, pair);
    if (pipe(go) < 0)
        say("no pipe");
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[1]);
        close(go[1]);
        (void)!read(go[0], bytes, 1);
        _exit(0);
    }
    send(pair[1], "all of it", 9, 0);
    shutdown(pair[1], SHUT_WR);
    ssize_t got = read_to_end(pair[0], bytes, sizeof(bytes));
    say_bytes("read", got, bytes);
    close(pair[0]);
    (void)!write(go[1], "x", 1);
    say_status("child", pid);
    say_result("an end, no reset", recv(pair[1], bytes, sizeof(bytes), 0));
    close(pair[1]);
    close(go[0]);
    close(go[1]);
}

/* Killed right after it has read all: the end is an end. With bytes left it is a reset. */
static void killed_reader(const struct case_context *context)
{
    for (int left = 0; left < 2; left++) {
        int pair[2], done[2];
        char byte;
        make_pair(context, pair);
        if (pipe(done) < 0)
            say("no pipe");
        send(pair[1], "request", 7, 0);
        wait_for(pair[0], POLLIN);
        pid_t pid = fork();
        if (pid == 0) {
            char bytes[16];
            (void)!recv(pair[0], bytes, left == 0 ? sizeof(bytes) : 3, 0);
            (void)!write(done[1], "x", 1);
            for (;;)
                sleep(1);
        }
        close(pair[0]);
        (void)!read(done[0], &byte, 1);
        kill(pid, SIGKILL);
        say_status("child", pid);
        say_result(left == 0 ? "all read" : "bytes left", recv(pair[1], &byte, 1, 0));
        close(pair[1]);
        close(done[0]);
        close(done[1]);
    }
}

static void killed_child(const struct case_context *context)
{
    int listener = make_listener(context, 1);
    char bytes[16];
    pid_t pid = fork();
    if (pid == 0) {
        int client = make_socket(context, 0);
        connect_to(context, client, port_of(listener));
        send(client, "hi", 2, 0);
        pause();
    }
    int accepted = accept(listener, NULL, NULL);
    say_bytes("recv", recv(accepted, bytes, sizeof(bytes), 0), bytes);
    kill(pid, SIGKILL);
    say_status("child", pid);
    say_result("end", recv(accepted, bytes, sizeof(bytes), 0));
    close(accepted);
    close(listener);
}

static void workers_share_listener(const struct case_context *context)
{
    int listener = make_listener(context, 16), served = 0;
    pid_t workers[2];
    for (int i = 0; i < 2; i++) {
        workers[i] = fork();
        if (workers[i] == 0) {
            for (;;) {
                int fd = accept(listener, NULL, NULL);
                char byte;
                if (recv(fd, &byte, 1, 0) == 1)
                    send(fd, &byte, 1, 0);
                close(fd);
            }
        }
    }
    for (int i = 0; i < 20; i++) {
        int fd = make_socket(context, 0);
        char byte = (char)('a' + i), back = 0;
        if (connect_to(context, fd, port_of(listener)) == 0 && send(fd, &byte, 1, 0) == 1 &&
            recv(fd, &back, 1, 0) == 1 && back == byte)
            served++;
        close(fd);
    }
    say("served %d", served);
    for (int i = 0; i < 2; i++) {
        kill(workers[i], SIGTERM);
        say_status("worker", workers[i]);
    }
    close(listener);
}

static void fork_per_connection(const struct case_context *context)
{
    int listener = make_listener(context, 4);
    pid_t server = fork();
    if (server == 0) {
        for (int i = 0; i < 3; i++) {
            int fd = accept(listener, NULL, NULL);
            if (fork() == 0) {
                char byte;
                close(listener);
                if (recv(fd, &byte, 1, 0) == 1)
                    send(fd, &byte, 1, 0);
                exit(0);
            }
            close(fd);
        }
        while (wait(NULL) > 0)
            ;
        _exit(0);
    }
    for (int i = 0; i < 3; i++) {
        char bytes[8];
        int fd = make_socket(context, 0);
        connect_to(context, fd, port_of(listener));
        send(fd, "q", 1, 0);
        say_bytes("answer", read_to_end(fd, bytes, sizeof(bytes)), bytes);
        close(fd);
    }
    say_status("server", server);
    close(listener);
}

static void run_a_program(const struct case_context *context)
{
    int pair[2];
    char bytes[8];
    make_pair(context, pair);
    say("system: %d", system("exit 7") >> 8);
    pid_t pid = vfork();
    if (pid == 0) {
        close(pair[0]);
        execl("/bin/true", "true", (char *)NULL);
        _exit(9);
    }
    say_status("vfork and exec", pid);
    char name[] = "true", *arguments[] = {name, NULL};
    if (posix_spawn(&pid, "/bin/true", NULL, NULL, arguments, NULL) == 0)
        say_status("posix_spawn", pid);
    send(pair[0], "ok", 2, 0);
    say_bytes("connection unharmed", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
    close_pair(pair);
}

static void *echo(void *argument)
{
    char bytes[64];
    ssize_t got;
    int fd = *(int *)argument;
    while ((got = recv(fd, bytes, sizeof(bytes), 0)) > 0)
        send(fd, bytes, (size_t)got, 0);
    close(fd);
    return NULL;
}

static void thread_per_connection(const struct case_context *context)
{
    enum { COUNT = 8, ROUNDS = 50 };
    int pairs[COUNT][2], good = 0;
    pthread_t threads[COUNT];
    for (int i = 0; i < COUNT; i++) {
        make_pair(context, pairs[i]);
        pthread_create(&threads[i], NULL, echo, &pairs[i][1]);
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < COUNT; i++)
            send(pairs[i][0], &round, sizeof(round), 0);
        for (int i = 0; i < COUNT; i++) {
            int back = -1;
            good += recv(pairs[i][0], &back, sizeof(back), MSG_WAITALL) == sizeof(back) &&
                    back == round;
        }
    }
    say("echoed %d of %d", good, COUNT * ROUNDS);
    for (int i = 0; i < COUNT; i++) {
        shutdown(pairs[i][0], SHUT_WR);
        pthread_join(threads[i], NULL);
        close(pairs[i][0]);
    }
}

static void *read_forever(void *argument)
{
    char byte;
    (void)!read(*(int *)argument, &byte, 1);
    return NULL;
}

static void cancelled_thread(const struct case_context *context)
{
    int pair[2];
    char bytes[8];
    pthread_t thread;
    void *result = NULL;
    make_pair(context, pair);
    pthread_create(&thread, NULL, read_forever, &pair[1]);
    usleep(20000);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    say("cancelled: %d", result == PTHREAD_CANCELED);
    send(pair[0], "abc", 3, 0);
    say_bytes("others read on", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
    close(pair[1]);
    say_result("and the end is seen", recv(pair[0], bytes, sizeof(bytes), 0));
    close(pair[0]);
}

/* No port that connect() may choose by itself: it would find itself there. */
#define KNOWN_PORT 7321

_Noreturn static void connect_forever(const struct case_context *context)
{
    for (;;) {
        char byte;
        int fd = make_socket(context, 0);
        if (connect_to(context, fd, KNOWN_PORT) == 0)
            (void)!recv(fd, &byte, 1, 0);
        close(fd);
    }
}

/* Somebody who tries all the time is there as soon as it listens, also before listen() returns. */
static void child_connects_at_once(const struct case_context *context)
{
    int accepted = 0, on = 1;
    struct sockaddr_storage address;
    socklen_t length = loopback(context, &address, KNOWN_PORT);
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        connect_forever(context);
    }
    for (int i = 0; i < 60; i++) {
        int listener = make_socket(context, 0);
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 4) < 0)
            say_result("listen", -1);
        int fd = wait_for(listener, POLLIN) != 0 ? accept(listener, NULL, NULL) : -1;
        accepted += fd >= 0;
        close(fd);
        close(listener);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    say("accepted %d", accepted);
}

const struct socket_case cases_processes[] = {
    {"child_sends", child_sends},
    {"child_reads", child_reads},
    {"child_connects_at_once", child_connects_at_once},
    {"child_keeps_connection", child_keeps_connection},
    {"killed_child", killed_child},
    {"killed_reader", killed_reader},
    {"killed_with_linger", killed_with_linger},
    {"reader_closes_last_exits", reader_closes_last_exits},
    {"workers_share_listener", workers_share_listener},
    {"fork_per_connection", fork_per_connection},
    {"run_a_program", run_a_program},
    {"thread_per_connection", thread_per_connection},
    {"cancelled_thread", cancelled_thread},
    {0},
};
