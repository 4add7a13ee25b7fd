/* Descriptors sent over Unix sockets (SCM_RIGHTS) to other programs, and from them; and the
   programs that cases start. */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "case.h"
#include "passing.h"

static int program_echo(const struct case_context *context)
{
    (void)context;
    char bytes[64];
    int fd = receive_one(STDIN_FILENO);
    ssize_t got, total = 0;
    while ((got = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
        send(fd, bytes, (size_t)got, 0);
        total += got;
    }
    return fd < 0 ? 99 : (int)total;
}

static int program_accept(const struct case_context *context)
{
    (void)context;
    int listener = receive_one(STDIN_FILENO);
    int fd = accept(listener, NULL, NULL);
    echo_once(fd);
    return fd < 0 ? 99 : 0;
}

/* It has connections of its own when the descriptor comes. */
static int program_busy_echo(const struct case_context *context)
{
    int pair[2];
    char byte = 0;
    make_pair(context, pair);
    send(pair[0], "m", 1, 0);
    int received = program_echo(context);
    return recv(pair[1], &byte, 1, 0) == 1 && byte == 'm' ? received : 98;
}

/* Likewise, and a child of its own waits for what comes, by epoll. */
static int program_busy_child(const struct case_context *context)
{
    int pair[2], status = 0;
    char bytes[64];
    make_pair(context, pair);
    int fd = receive_one(STDIN_FILENO), set = epoll_create1(0);
    struct epoll_event events[2] = {{.events = EPOLLIN, .data.fd = fd},
                                    {.events = EPOLLIN, .data.fd = pair[1]}};
    for (int i = 0; i < 2; i++)
        epoll_ctl(set, EPOLL_CTL_ADD, events[i].data.fd, &events[i]);
    pid_t pid = fork();
    if (pid == 0) {
        int got = epoll_wait(set, events, 2, CASE_WAIT_MS);
        if (got != 1 || events[0].data.fd != fd)
            _exit(93);
        echo_once(fd);
        _exit(send(pair[0], "own", 3, 0) == 3 ? 0 : 92);
    }
    waitpid(pid, &status, 0);
    if (WEXITSTATUS(status) == 0 && recv(pair[1], bytes, sizeof(bytes), 0) == 3)
        echo_once(fd);
    return WEXITSTATUS(status);
}

/* Likewise, and another program yet goes on with the socket. */
static int program_cat(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    int fd = receive_one(STDIN_FILENO);
    dup2(fd, STDIN_FILENO);
    dup2(fd, STDOUT_FILENO);
    execl("/bin/cat", "cat", (char *)NULL);
    return 94;
}

static int program_send(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    send_descriptors(STDIN_FILENO, &pair[0], 1);
    send_descriptors(STDIN_FILENO, &pair[1], 1);
    return 0;
}

/* As a service that was given its listener; see sd_listen_fds(3). */
static int program_activated(const struct case_context *context)
{
    (void)context;
    const char *count = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");
    int listening = 0;
    socklen_t length = sizeof(listening);
    if (count == NULL || strcmp(count, "1") != 0 || pid == NULL || atoi(pid) != (int)getpid())
        return 97;
    if (getsockopt(3, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) < 0 || !listening)
        return 96;
    int fd = accept(3, NULL, NULL);
    echo_once(fd);
    return fd < 0 ? 95 : 0;
}

static const struct {
    const char *name;
    int (*run)(const struct case_context *context);
} programs[] = {
    {"echo", program_echo},           {"accept", program_accept},
    {"busy_echo", program_busy_echo}, {"busy_child", program_busy_child},
    {"send", program_send},           {"activated", program_activated},
    {"set", program_with_set},        {"cat", program_cat},
    {"in_storm", program_in_storm},   {"shut_early", program_shut_early},
};

int case_program(int argc, char **argv)
{
    struct case_context context = {.family = argc > 3 && argv[3][0] == '6' ? AF_INET6 : AF_INET};
    for (size_t i = 0; argc > 2 && i < sizeof(programs) / sizeof(programs[0]); i++) {
        if (strcmp(argv[2], programs[i].name) == 0)
            return programs[i].run(&context);
    }
    return 96;
}

/* In a child that has done nothing with sockets yet: become one of the programs above, with the
   channel as its standard input. */
_Noreturn static void become(const struct case_context *context, int channel, const char *program,
                             bool bare)
{
    char *const none[] = {NULL};
    const char *family = context->family == AF_INET6 ? "6" : "4";
    dup2(channel, STDIN_FILENO);
    if (bare)
        execle("/proc/self/exe", "pno-socket-cases", "program", program, family, (char *)NULL,
               none);
    else
        execl("/proc/self/exe", "pno-socket-cases", "program", program, family, (char *)NULL);
    _exit(95);
}

static pid_t start(const struct case_context *context, int channel[2], const char *program,
                   bool bare)
{
    make_channel(channel);
    pid_t pid = fork();
    if (pid == 0) {
        close(channel[0]);
        become(context, channel[1], program, bare);
    }
    close(channel[1]);
    return pid;
}

/* The peer's credentials of a socketpair are its maker's; a connected one's are the accepter's. */
static void say_echo_by(const struct case_context *context, const char *program, bool bare)
{
    int channel[2], pair[2];
    char bytes[64];
    pid_t pid = start(context, channel, program, bare);
    make_pair(context, pair);
    say_result("sendmsg", send_descriptors(channel[0], &pair[1], 1));
    close(pair[1]);
    send(pair[0], "to the program", 14, 0);
    say_bytes("echoed", recv(pair[0], bytes, sizeof(bytes), 0), bytes);
    send(pair[0], " again", 6, 0);
    say_bytes("echoed", recv(pair[0], bytes, sizeof(bytes), 0), bytes);
    shutdown(pair[0], SHUT_WR);
    say_end(pair[0]);
    close(pair[0]);
    close(channel[0]);
    say_status(pid);
}

static void to_another_program(const struct case_context *context)
{
    say_echo_by(context, "echo", false);
}

static void to_a_program_with_sockets(const struct case_context *context)
{
    say_echo_by(context, "busy_echo", false);
}

static void to_a_program_that_execs(const struct case_context *context)
{
    say_echo_by(context, "cat", false);
}

static void to_a_child_of_a_program(const struct case_context *context)
{
    int channel[2], pair[2];
    char bytes[64];
    pid_t pid = start(context, channel, "busy_child", false);
    make_pair(context, pair);
    send_descriptors(channel[0], &pair[1], 1);
    close(pair[1]);
    settle();
    send(pair[0], "for the child", 13, 0);
    say_bytes("echoed", recv(pair[0], bytes, sizeof(bytes), 0), bytes);
    send(pair[0], "for the parent", 14, 0);
    say_bytes("echoed", read_to_end(pair[0], bytes, sizeof(bytes)), bytes);
    say_status(pid);
    close(pair[0]);
    close(channel[0]);
}

static void listener_to_another_program(const struct case_context *context)
{
    int channel[2];
    char bytes[16];
    pid_t pid = start(context, channel, "accept", false);
    int listener = make_listener(context, 4);
    unsigned port = port_of(listener);
    int client = make_socket(context, 0);
    say_result("connect", connect_to(context, client, port));
    send_descriptors(channel[0], &listener, 1);
    close(listener);
    send(client, "question", 8, 0);
    say_bytes("answer", read_to_end(client, bytes, sizeof(bytes)), bytes);
    say_status(pid);
    close(client);
    close(channel[0]);
}

static void from_another_program(const struct case_context *context)
{
    int channel[2];
    pid_t pid = start(context, channel, "send", false);
    int one = receive_one(channel[0]);
    int other = receive_one(channel[0]);
    say_status(pid);
    say_works("its pair", one, other);
    close(one);
    say_end(other);
    close(other);
    close(channel[0]);
}

const struct socket_case cases_programs[] = {
    {"passing_to_another_program", to_another_program},
    {"passing_to_a_program_with_sockets", to_a_program_with_sockets},
    {"passing_to_a_program_that_execs", to_a_program_that_execs},
    {"passing_to_a_child_of_a_program", to_a_child_of_a_program},
    {"passing_listener_to_another_program", listener_to_another_program},
    {"passing_from_another_program", from_another_program},
    {0},
};
