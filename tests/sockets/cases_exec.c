/* Connections that outlive an exec. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
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

const struct socket_case cases_exec[] = {
    {"exec_as_standard_input_and_output", as_standard_input_and_output},
    {"exec_as_standard_output_of_stdio", as_standard_output_of_stdio},
    {"exec_after_vfork", after_vfork},
    {"exec_with_an_empty_environment", with_an_empty_environment},
    {"exec_close_on_exec", close_on_exec},
    {"exec_kept_open_by_the_program", kept_open_by_the_program},
    {"exec_failed", failed_exec},
    {"exec_what_was_not_read", what_was_not_read},
    {0},
};
