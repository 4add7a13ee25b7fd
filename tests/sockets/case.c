#include "case.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Longer, and a case hangs. */
#define CASE_LIMIT_MS 20000

static char prefix[128];

void say(const char *format, ...)
{
    va_list arguments;
    printf("%s: ", prefix);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    (void)fflush(stdout);
}

void say_result(const char *what, ssize_t result)
{
    if (result < 0)
        say("%s = %zd %s", what, result, strerrorname_np(errno));
    else
        say("%s = %zd", what, result);
}

void say_bytes(const char *what, ssize_t result, const void *bytes)
{
    if (result < 0)
        say_result(what, result);
    else
        say("%s = %zd '%.*s'", what, result, (int)result, (const char *)bytes);
}

void say_events(const char *what, unsigned events)
{
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {
        {EPOLLIN, "IN"},         {EPOLLPRI, "PRI"},       {EPOLLOUT, "OUT"},
        {EPOLLERR, "ERR"},       {EPOLLHUP, "HUP"},       {POLLNVAL, "NVAL"},
        {EPOLLRDNORM, "RDNORM"}, {EPOLLRDBAND, "RDBAND"}, {EPOLLWRNORM, "WRNORM"},
        {EPOLLWRBAND, "WRBAND"}, {EPOLLRDHUP, "RDHUP"},
    };
    char text[128] = "";
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (events & names[i].bit) {
            strcat(text, " ");
            strcat(text, names[i].name);
        }
    }
    say("%s:%s", what, text[0] != '\0' ? text : " none");
}

void say_socket_error(const char *what, int fd)
{
    int error = -1;
    socklen_t length = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        say_result(what, -1);
    else
        say("%s: %s", what, error == 0 ? "0" : strerrorname_np(error));
}

static socklen_t make_address(int family, struct sockaddr_storage *address, unsigned port, bool any)
{
    memset(address, 0, sizeof(*address));
    if (family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)address;
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)port);
        in->sin_addr.s_addr = htonl(any ? INADDR_ANY : INADDR_LOOPBACK);
        return sizeof(*in);
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)address;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons((uint16_t)port);
    in6->sin6_addr = any ? in6addr_any : in6addr_loopback;
    return sizeof(*in6);
}

socklen_t loopback(const struct case_context *context, struct sockaddr_storage *address,
                   unsigned port)
{
    return make_address(context->family, address, port, false);
}

socklen_t wildcard(const struct case_context *context, struct sockaddr_storage *address,
                   unsigned port)
{
    return make_address(context->family, address, port, true);
}

unsigned port_of(int fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        return 0;
    return ntohs(address.ss_family == AF_INET ? ((struct sockaddr_in *)&address)->sin_port
                                              : ((struct sockaddr_in6 *)&address)->sin6_port);
}

ino_t inode_of(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 ? status.st_ino : 0;
}

int make_socket(const struct case_context *context, int flags)
{
    int fd = socket(context->family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0)
        say_result("socket", fd);
    return fd;
}

int make_listener(const struct case_context *context, int backlog)
{
    struct sockaddr_storage address;
    socklen_t length = loopback(context, &address, 0);
    int fd = make_socket(context, 0);
    if (bind(fd, (struct sockaddr *)&address, length) < 0)
        say_result("bind", -1);
    if (listen(fd, backlog) < 0)
        say_result("listen", -1);
    return fd;
}

int connect_to(const struct case_context *context, int fd, unsigned port)
{
    struct sockaddr_storage address;
    socklen_t length = loopback(context, &address, port);
    return connect(fd, (struct sockaddr *)&address, length);
}

void make_pair(const struct case_context *context, int pair[2])
{
    int listener = make_listener(context, 1);
    pair[0] = make_socket(context, 0);
    if (connect_to(context, pair[0], port_of(listener)) < 0)
        say_result("connect", -1);
    pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (pair[1] < 0)
        say_result("accept", -1);
    close(listener);
}

void close_pair(int pair[2])
{
    close(pair[0]);
    close(pair[1]);
}

void set_nonblocking(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

void exec_static_program(const char *operation, const char *argument)
{
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 32);
    if (length < 0)
        _exit(94);
    path[length] = '\0';
    char *name = strrchr(path, '/');
    (void)snprintf(name, sizeof(path) - (size_t)(name - path), "/pno-static-program");
    execl(path, "pno-static-program", operation, argument, (char *)NULL);
    _exit(95);
}

void settle(void)
{
    usleep(CASE_QUIET_MS * 1000);
}

/* 'S', 'T', 'R' ...; 0: there is none. */
static char state_of(pid_t process, pid_t thread)
{
    char path[64], text[256] = "";
    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)process, (int)thread);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = read(fd, text, sizeof(text) - 1);
    close(fd);
    char *end = got > 0 ? strrchr(text, ')') : NULL;
    return end != NULL ? end[2] : '\0';
}

void wait_for_state(pid_t process, pid_t thread, char state, int how_long_ms)
{
    const int looks = 5000;
    int seen_ms = 0;
    for (int i = 0; i < looks && seen_ms < how_long_ms; i++) {
        seen_ms = state_of(process, thread) == state ? seen_ms + 1 : 0;
        usleep(1000);
    }
}

static unsigned poll_one(int fd, short events, int timeout_ms)
{
    struct pollfd pollfd = {.fd = fd, .events = events};
    if (poll(&pollfd, 1, timeout_ms) < 0)
        say_result("poll", -1);
    return (unsigned short)pollfd.revents;
}

unsigned wait_for(int fd, short events)
{
    return poll_one(fd, events, CASE_WAIT_MS);
}

unsigned events_now(int fd, short events)
{
    return poll_one(fd, events, CASE_QUIET_MS);
}

ssize_t read_to_end(int fd, void *buffer, size_t size)
{
    size_t total = 0;
    while (total < size) {
        ssize_t got = read(fd, (char *)buffer + total, size - total);
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        total += (size_t)got;
    }
    return (ssize_t)total;
}

void fill_pattern(unsigned char *bytes, size_t count, size_t from)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = (unsigned char)((from + i) * 131 >> 3);
}

bool is_pattern(const unsigned char *bytes, size_t count, size_t from)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != (unsigned char)((from + i) * 131 >> 3))
            return false;
    }
    return true;
}

/* ---- Files ---------------------------------------------------------------------------------- */

#define FILES "/tmp/pno-case-"

/* The process that runs the cases. */
static pid_t runner;

char *name_file(char path[CASE_FILE_BYTES])
{
    (void)snprintf(path, CASE_FILE_BYTES, FILES "%d-XXXXXX", (int)runner);
    return path;
}

/* Of this runner, and of such as are dead. */
static void remove_left_files(void)
{
    glob_t found;
    if (glob(FILES "*-*", GLOB_NOSORT, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        pid_t owner = (pid_t)strtol(found.gl_pathv[i] + strlen(FILES), NULL, 10);
        if (owner > 0 && (owner == runner || (kill(owner, 0) < 0 && errno == ESRCH)))
            (void)remove(found.gl_pathv[i]);
    }
    globfree(&found);
}

/* ---- Running -------------------------------------------------------------------------------- */

static const struct socket_case *const tables[] = {
    cases_open,     cases_data,           cases_end,         cases_readiness,
    cases_options,  cases_descriptors,    cases_processes,   cases_option_values,
    cases_names,    cases_wrong,          cases_flags,       cases_epoll,
    cases_waiting,  cases_files,          cases_threads,     cases_exec,
    cases_nested,   cases_passing,        cases_spawn,       cases_again,
    cases_syscall,  cases_confined,       cases_fast_open,   cases_cancel,
    cases_restart,  cases_at_once,        cases_libc,        cases_memory,
    cases_handlers, cases_async,          cases_sets,        cases_shut,
    cases_stress,   cases_option_effects, cases_option_walk, cases_error_queue,
    cases_peeks,    cases_ports,          cases_stamps,      cases_uring,
    cases_workers,  cases_programs,       cases_rings,       cases_states,
    cases_random,   cases_stop,           cases_outside,     cases_shortage,
    cases_shared,   cases_pairs,
};

/* Not by alarm(): cases use that timer. @return false: it was killed after CASE_LIMIT_MS. */
static bool wait_for_end(pid_t pid, int *status)
{
    for (int waited_ms = 0; waited_ms < CASE_LIMIT_MS; waited_ms++) {
        if (waitpid(pid, status, WNOHANG) == pid)
            return true;
        usleep(1000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, status, 0);
    return false;
}

/* Each in a process of its own, so that none inherits another's leavings, and a hang is one line.
 */
static void run_case(const struct socket_case *one, int family)
{
    (void)snprintf(prefix, sizeof(prefix), "%s %s", family == AF_INET ? "ipv4" : "ipv6", one->name);
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        struct case_context context = {.family = family};
        one->run(&context);
        exit(0);
    }
    int status = 0;
    if (pid < 0 || !wait_for_end(pid, &status))
        say("does not end");
    else if (WIFSIGNALED(status))
        say("killed by SIG%s", sigabbrev_np(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 0)
        say("exit status %d", WEXITSTATUS(status));
    else
        say("done");
}

static bool is_wanted(const struct socket_case *one, int argc, char **argv)
{
    bool any_asked_for = false, asked_for = false;
    for (int i = 1; i < argc; i++) {
        bool excludes = argv[i][0] == '-';
        bool matches = strstr(one->name, argv[i] + excludes) != NULL;
        if (excludes && matches)
            return false;
        any_asked_for = any_asked_for || !excludes;
        asked_for = asked_for || (!excludes && matches);
    }
    return asked_for || !any_asked_for;
}

/* pno-socket-cases [PART_OF_NAME]... [-PART_OF_NAME]...: all cases, or those that match, but for
   those that match what follows a minus. */
int main(int argc, char **argv)
{
    runner = getpid();
    if (argc > 1 && strcmp(argv[1], "program") == 0)
        return case_program(argc, argv);
    for (size_t table = 0; table < sizeof(tables) / sizeof(tables[0]); table++) {
        for (const struct socket_case *one = tables[table]; one->name != NULL; one++) {
            if (!is_wanted(one, argc, argv))
                continue;
            run_case(one, AF_INET);
            run_case(one, AF_INET6);
        }
    }
    remove_left_files();
    return 0;
}
