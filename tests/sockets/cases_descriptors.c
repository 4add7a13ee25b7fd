/* Descriptors: numbers, duplicates, flags, closing in bulk. */
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "case.h"

static void lowest_number(const struct case_context *context)
{
    int pair[2], listener = make_listener(context, 4);
    int clients[3], accepted[3];
    int base = listener;
    for (int i = 0; i < 3; i++) {
        clients[i] = make_socket(context, 0);
        connect_to(context, clients[i], port_of(listener));
        accepted[i] = accept(listener, NULL, NULL);
        say("client +%d, accepted +%d", clients[i] - base, accepted[i] - base);
    }
    close(clients[1]);
    close(accepted[0]);
    make_pair(context, pair);
    say("then +%d +%d", pair[0] - base, pair[1] - base);
}

static void duplicates(const struct case_context *context)
{
    int pair[2];
    char bytes[8];
    make_pair(context, pair);
    int copy = dup(pair[0]);
    close(pair[0]);
    say_result("send by the copy", send(copy, "abc", 3, 0));
    say_bytes("recv", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
    say_result("dup2", dup2(copy, 50) - 50);
    close(copy);
    say_result("send by 50", send(50, "def", 3, 0));
    say_bytes("recv", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
    say_result("dup3 same", dup3(50, 50, 0));
    say_result("F_DUPFD", fcntl(50, F_DUPFD, 60) - 60);
    say_result("F_DUPFD_CLOEXEC", fcntl(50, F_DUPFD_CLOEXEC, 61) - 61);
    say("cloexec %d %d", fcntl(60, F_GETFD), fcntl(61, F_GETFD));
    close(50);
    close(60);
    say_events("peer while one is open", events_now(pair[1], POLLIN | POLLRDHUP));
    close(61);
    say_events("peer after the last", wait_for(pair[1], POLLIN | POLLRDHUP));
    close(pair[1]);
}

static void dup2_over_a_socket(const struct case_context *context)
{
    int pair[2], null = open("/dev/null", O_RDWR);
    char byte;
    make_pair(context, pair);
    say_result("dup2", dup2(null, pair[0]) == pair[0] ? 0 : -1);
    say_result("peer sees the end", recv(pair[1], &byte, 1, 0));
    say_result("write goes to null", write(pair[0], "x", 1));
    say_result("send does not", send(pair[0], "x", 1, 0));
    close_pair(pair);
    close(null);
}

static void shared_flags(const struct case_context *context)
{
    int pair[2], one = 1, zero = 0;
    char byte;
    make_pair(context, pair);
    int copy = dup(pair[0]);
    set_nonblocking(copy, true);
    say("nonblocking by both: %d", (fcntl(pair[0], F_GETFL) & O_NONBLOCK) != 0);
    say_result("recv", recv(pair[0], &byte, 1, 0));
    say_result("FIONBIO 0", ioctl(pair[0], FIONBIO, &zero));
    say("nonblocking: %d", (fcntl(copy, F_GETFL) & O_NONBLOCK) != 0);
    say_result("FIONBIO 1", ioctl(pair[1], FIONBIO, &one));
    say("access mode %d", fcntl(pair[1], F_GETFL) & (O_ACCMODE | O_NONBLOCK));
    fcntl(pair[0], F_SETFD, FD_CLOEXEC);
    say("cloexec is per descriptor: %d %d", fcntl(pair[0], F_GETFD), fcntl(copy, F_GETFD));
    close(copy);
    close_pair(pair);
}

static void is_a_socket(const struct case_context *context)
{
    int pair[2];
    struct stat status;
    make_pair(context, pair);
    for (int i = 0; i < 2; i++) {
        say_result("fstat", fstat(pair[i], &status));
        say("S_ISSOCK %d", S_ISSOCK(status.st_mode));
    }
    close_pair(pair);
}

static void inodes(const struct case_context *context)
{
    int pairs[2][2];
    struct stat status;
    struct statx extended;
    for (int i = 0; i < 2; i++)
        make_pair(context, pairs[i]);
    int *fds[] = {&pairs[0][0], &pairs[0][1], &pairs[1][0], &pairs[1][1]};
    for (int i = 0; i < 4; i++) {
        ino_t inode = inode_of(*fds[i]);
        int copy = dup(*fds[i]);
        say("fstatat: %d",
            fstatat(*fds[i], "", &status, AT_EMPTY_PATH) == 0 && status.st_ino == inode);
        say("statx: %d", statx(*fds[i], "", AT_EMPTY_PATH, STATX_INO, &extended) == 0 &&
                             extended.stx_ino == inode);
        say("of a copy: %d", inode_of(copy) == inode);
        pid_t child = fork();
        if (child == 0) {
            say("in a child: %d", inode_of(copy) == inode);
            exit(0);
        }
        waitpid(child, NULL, 0);
        close(copy);
        for (int other = 0; other < i; other++)
            say("of another: %d", inode_of(*fds[other]) == inode);
    }
    for (int i = 0; i < 2; i++)
        close_pair(pairs[i]);
}

static void close_ranges(const struct case_context *context)
{
    int pair[2], listener = make_listener(context, 4), client = make_socket(context, 0);
    char bytes[8];
    make_pair(context, pair);
    int high = fcntl(pair[1], F_DUPFD, 100);
    say_result("close_range", close_range(50, 99, 0));
    say_result("close_range cloexec", close_range(100, 100, CLOSE_RANGE_CLOEXEC));
    say("cloexec now %d", fcntl(high, F_GETFD));
    say_result("close_range wrong", close_range(9, 8, 0));
    say_result("close_range of the copy", close_range(100, ~0u, 0));
    say_result("copy is closed", fcntl(high, F_GETFD));
    send(pair[0], "abc", 3, 0);
    say_bytes("the original lives", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
    say_result("still connects", connect_to(context, client, port_of(listener)));
    for (int fd = 3; fd < 1024; fd++)
        close(fd);
    listener = make_listener(context, 4);
    client = make_socket(context, 0);
    say_result("connects after a loop of closes", connect_to(context, client, port_of(listener)));
    closefrom(3);
    listener = make_listener(context, 4);
    client = make_socket(context, 0);
    say_result("connects after closefrom", connect_to(context, client, port_of(listener)));
    say_events("and is seen", wait_for(listener, POLLIN));
}

/* Numbers below `end` alone from now on. @return the limit before. */
static struct rlimit limit_descriptors(int end)
{
    struct rlimit limit, before;
    getrlimit(RLIMIT_NOFILE, &before);
    limit = before;
    limit.rlim_cur = (rlim_t)end;
    setrlimit(RLIMIT_NOFILE, &limit);
    return before;
}

static void out_of_descriptors(const struct case_context *context)
{
    int listener = make_listener(context, 4), client = make_socket(context, 0);
    connect_to(context, client, port_of(listener));
    wait_for(listener, POLLIN);
    struct rlimit before = limit_descriptors(client + 1);
    say_result("accept", accept(listener, NULL, NULL));
    say_result("socket", socket(context->family, SOCK_STREAM, 0));
    setrlimit(RLIMIT_NOFILE, &before);
    int accepted = accept(listener, NULL, NULL);
    say("accept later: %d", accepted >= 0);
    close(accepted);
    close(client);
    close(listener);
}

/* accept() takes its descriptor before it looks for a connection. */
static void out_of_descriptors_nothing_queued(const struct case_context *context)
{
    int listener = make_listener(context, 4);
    struct rlimit before = limit_descriptors(listener + 1);
    say_result("accept", accept(listener, NULL, NULL));
    set_nonblocking(listener, true);
    say_result("nonblocking", accept(listener, NULL, NULL));
    setrlimit(RLIMIT_NOFILE, &before);
    say_result("with one free", accept(listener, NULL, NULL));
    close(listener);
}

/* The process's first accept() gets the last descriptor that it may have. */
static void last_descriptor(const struct case_context *context)
{
    int listener = make_listener(context, 4), client = make_socket(context, 0);
    char bytes[8];
    connect_to(context, client, port_of(listener));
    wait_for(listener, POLLIN);
    struct rlimit before = limit_descriptors(client + 2);
    int accepted = accept(listener, NULL, NULL);
    say("accept +%d", accepted - client);
    say_result("one more", accept(listener, NULL, NULL));
    send(client, "abc", 3, 0);
    say_bytes("recv", recv(accepted, bytes, sizeof(bytes), 0), bytes);
    setrlimit(RLIMIT_NOFILE, &before);
    close(accepted);
    close(client);
    close(listener);
}

/* A limit on the address space is the program's own, whatever the sockets need. */
static void address_space_limit(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    struct rlimit limit = {.rlim_cur = 200 << 20, .rlim_max = 300 << 20}, got;
    say_result("set", setrlimit(RLIMIT_AS, &limit));
    say_result("get", getrlimit(RLIMIT_AS, &got));
    say("%llu %llu", (unsigned long long)got.rlim_cur, (unsigned long long)got.rlim_max);
    void *small = mmap(NULL, 50 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *large = mmap(NULL, 400 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    say("50 MB %d, 400 MB %d", small != MAP_FAILED, large != MAP_FAILED);
    say_result("send", send(pair[0], "x", 1, 0));
    limit.rlim_cur = 400 << 20;
    say_result("beyond the hard limit", setrlimit(RLIMIT_AS, &limit));
    close_pair(pair);
}

/* A process that may have no further descriptors waits on those it has. */
static void no_more_descriptors(const struct case_context *context)
{
    int pair[2];
    char byte;
    make_pair(context, pair);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = {0};
        say_result("limit", setrlimit(RLIMIT_NOFILE, &none));
        send(pair[1], "r", 1, 0);
        say_result("recv", recv(pair[1], &byte, 1, 0));
        exit(0);
    }
    say_result("recv", recv(pair[0], &byte, 1, 0));
    usleep(100000);
    send(pair[0], "x", 1, 0);
    waitpid(child, NULL, 0);
    close_pair(pair);
}

const struct socket_case cases_descriptors[] = {
    {"no_more_descriptors", no_more_descriptors},
    {"address_space_limit", address_space_limit},
    {"lowest_number", lowest_number},
    {"duplicates", duplicates},
    {"dup2_over_a_socket", dup2_over_a_socket},
    {"shared_flags", shared_flags},
    {"is_a_socket", is_a_socket},
    {"inodes", inodes},
    {"close_ranges", close_ranges},
    {"out_of_descriptors", out_of_descriptors},
    {"out_of_descriptors_nothing_queued", out_of_descriptors_nothing_queued},
    {"last_descriptor", last_descriptor},
    {0},
};
