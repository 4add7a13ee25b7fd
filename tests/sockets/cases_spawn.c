/* Programs that libc starts with sockets: posix_spawn(), system(), popen(); and programs that are
   linked statically. */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "case.h"

static void say_status(const char *what, int status)
{
    if (WIFEXITED(status))
        say("%s: exit %d", what, WEXITSTATUS(status));
    else
        say("%s: signal %d", what, WTERMSIG(status));
}

static void say_spawned(int error, pid_t pid)
{
    int status = 0;
    say("posix_spawn: %s", error == 0 ? "0" : strerrorname_np(error));
    if (error == 0 && waitpid(pid, &status, 0) == pid)
        say_status("program", status);
}

static void say_all(int fd)
{
    char bytes[256];
    ssize_t got = read_to_end(fd, bytes, sizeof(bytes));
    for (ssize_t i = 0; i < got; i++) {
        if (bytes[i] == '\n' || bytes[i] == '\t')
            bytes[i] = ' ';
    }
    say_bytes("it said", got, bytes);
    close(fd);
}

/* sh -c SCRIPT with these actions and attributes. */
static void spawn_shell(const char *script, const posix_spawn_file_actions_t *actions,
                        const posix_spawnattr_t *attributes, char *const environment[])
{
    char shell[] = "sh", option[] = "-c", text[256];
    char *arguments[] = {shell, option, text, NULL};
    pid_t pid = 0;
    (void)snprintf(text, sizeof(text), "%s", script);
    int error = posix_spawn(&pid, "/bin/sh", actions, attributes, arguments, environment);
    say_spawned(error, pid);
}

static void inherited_by_spawn(const struct case_context *context)
{
    int pair[2];
    char script[64];
    make_pair(context, pair);
    fcntl(pair[1], F_SETFD, 0);
    (void)snprintf(script, sizeof(script), "echo by number >&%d", pair[1]);
    spawn_shell(script, NULL, NULL, environ);
    close(pair[1]);
    say_all(pair[0]);
}

static void as_standard_streams(const struct case_context *context)
{
    int pair[2];
    posix_spawn_file_actions_t actions;
    make_pair(context, pair);
    fcntl(pair[1], F_SETFD, FD_CLOEXEC);
    fcntl(pair[0], F_SETFD, FD_CLOEXEC);
    send(pair[0], "read and written", 16, 0);
    shutdown(pair[0], SHUT_WR);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pair[1], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, pair[1], STDOUT_FILENO);
    spawn_shell("cat", &actions, NULL, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pair[1]);
    say_all(pair[0]);
}

static void with_an_empty_environment(const struct case_context *context)
{
    int pair[2];
    char *none[] = {NULL};
    posix_spawn_file_actions_t actions;
    make_pair(context, pair);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pair[1], STDOUT_FILENO);
    spawn_shell("echo ${HOME-no home}", &actions, NULL, none);
    posix_spawn_file_actions_destroy(&actions);
    close(pair[1]);
    say_all(pair[0]);
}

static void with_all_actions(const struct case_context *context)
{
    int pair[2];
    char script[160];
    posix_spawn_file_actions_t actions;
    make_pair(context, pair);
    fcntl(pair[1], F_SETFD, FD_CLOEXEC);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/proc/self/status", O_RDONLY, 0);
    posix_spawn_file_actions_addchdir_np(&actions, "/usr");
    posix_spawn_file_actions_adddup2(&actions, pair[1], pair[1]);
    posix_spawn_file_actions_adddup2(&actions, pair[1], 1);
    posix_spawn_file_actions_addclose(&actions, pair[1]);
    posix_spawn_file_actions_addclosefrom_np(&actions, 5);
    (void)snprintf(script, sizeof(script), "pwd; head -c 5; (echo >&%d) 2>/dev/null || echo closed",
                   pair[1]);
    spawn_shell(script, &actions, NULL, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pair[1]);
    say_all(pair[0]);
}

static void with_attributes(const struct case_context *context)
{
    int pair[2];
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    sigset_t set;
    make_pair(context, pair);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
    posix_spawnattr_init(&attributes);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    posix_spawnattr_setsigdefault(&attributes, &set);
    sigaddset(&set, SIGUSR2);
    posix_spawnattr_setsigmask(&attributes, &set);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETPGROUP);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pair[1], STDOUT_FILENO);
    spawn_shell("sed -nE 's/^(SigIgn|SigBlk).*(....)/\\1 \\2/p' /proc/self/status; "
                "[ $(cut -d' ' -f5 /proc/$$/stat) = $$ ] && echo leads",
                &actions, &attributes, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    signal(SIGUSR1, SIG_DFL);
    signal(SIGUSR2, SIG_DFL);
    close(pair[1]);
    say_all(pair[0]);
}

static void that_fails(const struct case_context *context)
{
    int pair[2];
    char name[] = "nowhere", *arguments[] = {name, NULL}, byte;
    pid_t pid = -7;
    posix_spawn_file_actions_t actions;
    make_pair(context, pair);
    fcntl(pair[1], F_SETFD, 0);
    say_spawned(posix_spawn(&pid, "/nowhere", NULL, NULL, arguments, environ), pid);
    say_spawned(posix_spawnp(&pid, "no-such-program", NULL, NULL, arguments, environ), pid);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, 777, 1);
    say_spawned(posix_spawn(&pid, "/bin/true", &actions, NULL, arguments, environ), pid);
    posix_spawn_file_actions_destroy(&actions);
    say("pid untouched: %d", pid == -7);
    say_result("no child left", waitpid(-1, NULL, WNOHANG));
    send(pair[0], "x", 1, 0);
    say_result("unharmed", recv(pair[1], &byte, 1, 0));
    close_pair(pair);
}

static void by_name(const struct case_context *context)
{
    int pair[2];
    char name[] = "echo", text[] = "found", *arguments[] = {name, text, NULL};
    pid_t pid = 0;
    posix_spawn_file_actions_t actions;
    make_pair(context, pair);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pair[1], STDOUT_FILENO);
    say_spawned(posix_spawnp(&pid, "echo", &actions, NULL, arguments, environ), pid);
    posix_spawn_file_actions_destroy(&actions);
    close(pair[1]);
    say_all(pair[0]);
}

static void by_system(const struct case_context *context)
{
    int pair[2];
    char script[64];
    make_pair(context, pair);
    fcntl(pair[1], F_SETFD, 0);
    (void)snprintf(script, sizeof(script), "echo by the shell >&%d; exit 5", pair[1]);
    say_status("system", system(script));
    say_status("killed", system("kill -TERM $$"));
    say_status("not found", system("/nowhere/at/all 2>/dev/null"));
    say("a shell: %d", system(NULL) != 0);
    close(pair[1]);
    say_all(pair[0]);
}

static void by_popen(const struct case_context *context)
{
    int pair[2];
    char script[96], line[64] = "";
    make_pair(context, pair);
    fcntl(pair[1], F_SETFD, 0);
    (void)snprintf(script, sizeof(script), "echo to the socket >&%d; echo to the pipe; exit 3",
                   pair[1]);
    FILE *reader = popen(script, "r");
    say("line: %s", reader != NULL && fgets(line, sizeof(line), reader) != NULL ? "yes" : "no");
    say("it is: %.11s", line);
    (void)snprintf(script, sizeof(script), "cat >&%d", pair[1]);
    FILE *writer = popen(script, "we");
    say("close-on-exec: %d", writer != NULL ? fcntl(fileno(writer), F_GETFD) : -1);
    if (writer != NULL)
        (void)fputs("through cat", writer);
    say_status("writer", writer != NULL ? pclose(writer) : -1);
    say_status("reader", reader != NULL ? pclose(reader) : -1);
    FILE *none = popen("true", "x");
    say("wrong mode: %s", none == NULL ? strerrorname_np(errno) : "opened");
    close(pair[1]);
    say_all(pair[0]);
}

/* ---- A program that can load no library ------------------------------------------------------ */

static void in_a_static_program(const struct case_context *context)
{
    int pair[2], status = 0;
    unsigned char bytes[4096];
    make_pair(context, pair);
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        dup2(pair[1], STDIN_FILENO);
        dup2(pair[1], STDOUT_FILENO);
        close(pair[1]);
        exec_static_program("echo", NULL);
    }
    close(pair[1]);
    fill_pattern(bytes, sizeof(bytes), 0);
    size_t good = 0;
    for (int i = 0; i < 50; i++) {
        send(pair[0], bytes, sizeof(bytes), 0);
        unsigned char back[sizeof(bytes)];
        if (recv(pair[0], back, sizeof(back), MSG_WAITALL) == (ssize_t)sizeof(back) &&
            is_pattern(back, sizeof(back), 0))
            good += sizeof(back);
    }
    say("echoed %zu bytes", good);
    shutdown(pair[0], SHUT_WR);
    say_result("end", recv(pair[0], bytes, sizeof(bytes), 0));
    waitpid(pid, &status, 0);
    say_status("program", status);
    close(pair[0]);
}

static void fail_to_exec_a_static_program(void)
{
    char path[CASE_FILE_BYTES];
    static const char head[64] = "\177ELF\2\1\1";
    int fd = mkstemp(name_file(path));
    (void)!write(fd, head, sizeof(head));
    fchmod(fd, 0700);
    close(fd);
    say_result("execl", execl(path, path, (char *)NULL));
    unlink(path);
}

static void failed_exec_of_a_static_program(const struct case_context *context)
{
    int pair[2];
    char bytes[8];
    make_pair(context, pair);
    fail_to_exec_a_static_program();
    send(pair[0], "alive", 5, 0);
    say_bytes("recv", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
    close_pair(pair);
}

/* Nobody else takes what comes right after. */
static void failed_exec_with_streams(const struct case_context *context)
{
    int pair[2];
    char bytes[8];
    make_pair(context, pair);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd += 2)
        dup2(pair[1], fd);
    for (int i = 0; i < 5; i++) {
        fail_to_exec_a_static_program();
        send(pair[0], "alive", 5, 0);
        settle();
        say_bytes("recv", recv(STDIN_FILENO, bytes, sizeof(bytes), MSG_DONTWAIT), bytes);
        say_result("send", send(STDERR_FILENO, "too", 3, 0));
        say_bytes("recv", recv(pair[0], bytes, sizeof(bytes), 0), bytes);
    }
    close(STDIN_FILENO);
    close(STDERR_FILENO);
    close(pair[1]);
    say_result("end", recv(pair[0], bytes, sizeof(bytes), 0));
    close(pair[0]);
}

static void say_both_ways(const char *what, const int pair[2])
{
    char bytes[8];
    for (int i = 0; i < 2; i++)
        say_result(what, send(pair[i], "bytes", 5, MSG_NOSIGNAL));
    usleep(50000);
    for (int i = 0; i < 2; i++)
        say_bytes(what, recv(pair[i], bytes, sizeof(bytes), MSG_DONTWAIT), bytes);
}

/* As a server does that runs sudo or sendmail without having thought of its descriptors. */
static void beside_a_static_program(const struct case_context *context)
{
    int pair[2], input[2], status = 0;
    make_pair(context, pair);
    for (int i = 0; i < 2; i++)
        fcntl(pair[i], F_SETFD, 0);
    (void)!pipe(input);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(input[0], STDIN_FILENO);
        close(input[0]);
        close(input[1]);
        dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
        exec_static_program("echo", NULL);
    }
    close(input[0]);
    usleep(100000);
    say_both_ways("beside", pair);
    close(input[1]);
    waitpid(pid, &status, 0);
    say_status("program", status);
    usleep(50000);
    say_both_ways("afterwards", pair);
    close_pair(pair);
}

const struct socket_case cases_spawn[] = {
    {"spawn_inherited", inherited_by_spawn},
    {"spawn_as_standard_streams", as_standard_streams},
    {"spawn_with_an_empty_environment", with_an_empty_environment},
    {"spawn_with_all_actions", with_all_actions},
    {"spawn_with_attributes", with_attributes},
    {"spawn_that_fails", that_fails},
    {"spawn_by_name", by_name},
    {"spawn_by_system", by_system},
    {"spawn_by_popen", by_popen},
    {"spawn_in_a_static_program", in_a_static_program},
    {"spawn_beside_a_static_program", beside_a_static_program},
    {"spawn_failed_exec_of_a_static_program", failed_exec_of_a_static_program},
    {"spawn_failed_exec_with_streams", failed_exec_with_streams},
    {0},
};
