/* A process that is given no more memory. The kernel's sockets need none of its own, so it says
   little: what counts is that nobody is left waiting. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "case.h"

/* Sockets, then connections: together more than one piece of memory holds the books of. */
#define SOCKETS     1350
#define CONNECTIONS 200

/* No more address space than there is; past libc, so that all that is mapped counts. */
static void take_memory_away(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL || fscanf(file, "%lu", &pages) != 1)
        say("no statm");
    if (file != NULL)
        (void)fclose(file);
    const struct rlimit limit = {.rlim_cur = pages * 4096, .rlim_max = RLIM_INFINITY};
    syscall(SYS_prlimit64, 0, RLIMIT_AS, &limit, NULL);
}

static void give_memory_back(void)
{
    const struct rlimit limit = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    syscall(SYS_prlimit64, 0, RLIMIT_AS, &limit, NULL);
}

/* Once told to: of the connections, those that fail, or do not end after their peer has closed what
   it accepted. */
static int connect_many(const struct case_context *context, unsigned port, int go, int told)
{
    static int fds[CONNECTIONS];
    char byte;
    int endless = 0, failed = 0;
    (void)!read(told, &byte, 1);
    for (int i = 0; i < CONNECTIONS; i++) {
        fds[i] = make_socket(context, 0);
        failed += connect_to(context, fds[i], port) < 0;
    }
    (void)!write(go, "x", 1);
    (void)!read(told, &byte, 1);
    for (int i = 0; i < CONNECTIONS; i++)
        endless += wait_for(fds[i], POLLIN) == 0;
    return endless + failed;
}

static void connections_are_refused(const struct case_context *context)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < 4096) {
        files.rlim_cur = files.rlim_max < 4096 ? files.rlim_max : 4096;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    static int accepted[CONNECTIONS], sockets[SOCKETS];
    int go[2], told[2], status = 0, count = 0;
    char byte;
    int listener = make_listener(context, CONNECTIONS);
    unsigned port = port_of(listener);
    if (pipe(go) < 0 || pipe(told) < 0) {
        say_result("pipe", -1);
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(listener);
        _exit(connect_many(context, port, go[1], told[0]) > 0);
    }
    set_nonblocking(listener, true);
    for (int i = 0; i < SOCKETS; i++)
        sockets[i] = make_socket(context, 0);
    take_memory_away();
    (void)!write(told[1], "x", 1);
    (void)!read(go[0], &byte, 1);
    while (count < CONNECTIONS && (events_now(listener, POLLIN) & POLLIN) != 0) {
        int fd = accept(listener, NULL, NULL);
        if (fd >= 0)
            accepted[count++] = fd;
    }
    give_memory_back();
    for (int i = 0; i < count; i++)
        close(accepted[i]);
    (void)!write(told[1], "x", 1);
    for (int i = 0; i < SOCKETS; i++)
        close(sockets[i]);
    /* The listener's end would end what it has announced. */
    waitpid(pid, &status, 0);
    close(listener);
    say("some accepted %d, all ended %d", count > 0, status == 0);
}

const struct socket_case cases_shortage[] = {
    {"shortage_connections_are_refused", connections_are_refused},
    {NULL, NULL},
};
