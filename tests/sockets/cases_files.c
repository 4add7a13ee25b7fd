/* Between sockets, files and pipes: sendfile, splice, tee, vmsplice, copy_file_range. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "case.h"

/* An unlinked file of `size` pattern bytes, positioned at its start. */
static int make_file(size_t size)
{
    static unsigned char bytes[300000];
    char path[CASE_FILE_BYTES];
    int file = mkstemp(name_file(path));
    unlink(path);
    fill_pattern(bytes, size, 0);
    if (write(file, bytes, size) != (ssize_t)size)
        say("no room for the file");
    lseek(file, 0, SEEK_SET);
    return file;
}

static void say_pattern(const char *what, int fd, size_t size, size_t from)
{
    static unsigned char bytes[300000];
    ssize_t got = recv(fd, bytes, size, MSG_WAITALL);
    say("%s: %zd %s, intact %d", what, got, got < 0 ? strerrorname_np(errno) : "bytes",
        got >= 0 && is_pattern(bytes, (size_t)got, from));
}

static void sendfile_moves_position(const struct case_context *context)
{
    int pair[2], file = make_file(10000);
    make_pair(context, pair);
    say_result("sendfile", sendfile(pair[0], file, NULL, 4000));
    say_result("position", lseek(file, 0, SEEK_CUR));
    say_pattern("read", pair[1], 4000, 0);
    say_result("sendfile", sendfile(pair[0], file, NULL, 100000));
    say_pattern("read", pair[1], 6000, 4000);
    close(file);
    close_pair(pair);
}

static void sendfile_by_offset(const struct case_context *context)
{
    int pair[2], file = make_file(10000);
    off_t offset = 9000;
    make_pair(context, pair);
    say_result("sendfile", sendfile(pair[0], file, &offset, 5000));
    say("offset %ld, position %ld", (long)offset, (long)lseek(file, 0, SEEK_CUR));
    say_result("at the end", sendfile(pair[0], file, &offset, 5000));
    offset = 20000;
    say_result("beyond", sendfile(pair[0], file, &offset, 5000));
    offset = -1;
    say_result("before", sendfile(pair[0], file, &offset, 5000));
    say_pattern("read", pair[1], 1000, 9000);
    close(file);
    close_pair(pair);
}

static void sendfile_of_nothing(const struct case_context *context)
{
    int pair[2], file = make_file(0), some = make_file(10);
    make_pair(context, pair);
    say_result("empty file", sendfile(pair[0], file, NULL, 100));
    say_result("no bytes", sendfile(pair[0], some, NULL, 0));
    say_events("peer", events_now(pair[1], POLLIN));
    close(file);
    close(some);
    close_pair(pair);
}

static void sendfile_from_wrong_descriptors(const struct case_context *context)
{
    int pair[2], ends[2];
    make_pair(context, pair);
    if (pipe(ends) < 0)
        return;
    int written = open("/dev/null", O_WRONLY), folder = open("/tmp", O_RDONLY | O_DIRECTORY);
    say_result("bad", sendfile(pair[0], -1, NULL, 10));
    say_result("write-only", sendfile(pair[0], written, NULL, 10));
    say_result("folder", sendfile(pair[0], folder, NULL, 10));
    say_result("to a bad one", sendfile(-1, written, NULL, 10));
    close(folder);
    close(written);
    close(ends[0]);
    close(ends[1]);
    close_pair(pair);
}

static void sendfile_after_shutdown(const struct case_context *context)
{
    int pair[2], file = make_file(1000);
    make_pair(context, pair);
    shutdown(pair[0], SHUT_WR);
    signal(SIGPIPE, SIG_IGN);
    say_result("sendfile", sendfile(pair[0], file, NULL, 100));
    close(file);
    close_pair(pair);
}

static void sendfile_unconnected(const struct case_context *context)
{
    int fd = make_socket(context, 0), file = make_file(1000);
    signal(SIGPIPE, SIG_IGN);
    say_result("fresh", sendfile(fd, file, NULL, 100));
    close(fd);
    fd = make_listener(context, 1);
    say_result("listener", sendfile(fd, file, NULL, 100));
    close(fd);
    close(file);
}

static void sendfile_whole(const struct case_context *context)
{
    int pair[2], file = make_file(300000);
    make_pair(context, pair);
    off_t offset = 0;
    pid_t pid = fork();
    if (pid == 0) {
        say_pattern("read", pair[1], 300000, 0);
        exit(0);
    }
    while (offset < 300000) {
        if (sendfile(pair[0], file, &offset, 300000) <= 0)
            break;
    }
    waitpid(pid, NULL, 0);
    say_result("offset", offset);
    close(file);
    close_pair(pair);
}

static void splice_states(const struct case_context *context)
{
    int pair[2], ends[2], file = make_file(100);
    loff_t offset = 0;
    make_pair(context, pair);
    if (pipe(ends) < 0)
        return;
    say_result("socket to socket", splice(pair[0], NULL, pair[1], NULL, 10, 0));
    say_result("file to socket", splice(file, NULL, pair[0], NULL, 10, 0));
    say_result("offset in", splice(pair[0], &offset, ends[1], NULL, 10, 0));
    say_result("offset out", splice(ends[0], NULL, pair[0], &offset, 10, 0));
    say_result("no bytes in", splice(ends[0], NULL, pair[0], NULL, 0, 0));
    say_result("no bytes out", splice(pair[0], NULL, ends[1], NULL, 0, 0));
    say_result("empty pipe", splice(ends[0], NULL, pair[0], NULL, 10, SPLICE_F_NONBLOCK));
    say_result("wrong end", splice(ends[1], NULL, pair[0], NULL, 10, SPLICE_F_NONBLOCK));
    close(ends[1]);
    say_result("closed pipe", splice(ends[0], NULL, pair[0], NULL, 10, 0));
    close(ends[0]);
    close(file);
    close_pair(pair);
}

/* Whoever fills a pipe that blocks, and is its reader too, must not be left waiting for itself. */
static void splice_to_a_full_pipe(const struct case_context *context)
{
    int pair[2], ends[2];
    static char bytes[5000000];
    make_pair(context, pair);
    if (pipe(ends) < 0)
        return;
    if (fork() == 0) {
        close(pair[1]);
        signal(SIGPIPE, SIG_DFL);
        exit(write(pair[0], bytes, sizeof(bytes)) < 0);
    }
    wait_for(pair[1], POLLIN);
    usleep(100000);
    ssize_t first = splice(pair[1], NULL, ends[1], NULL, sizeof(bytes), SPLICE_F_NONBLOCK);
    say("some of it: %d", first > 0);
    ssize_t more = first;
    while (more > 0)
        more = splice(pair[1], NULL, ends[1], NULL, sizeof(bytes), SPLICE_F_NONBLOCK);
    say_result("full", more);
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    say_result("full, of a pipe that does not block", splice(pair[1], NULL, ends[1], NULL, 10, 0));
    say_result("read", read(ends[0], bytes, 3));
    say_result("room for less than a page",
               splice(pair[1], NULL, ends[1], NULL, 10, SPLICE_F_NONBLOCK));
    close(ends[0]);
    signal(SIGPIPE, SIG_IGN);
    say_result("nobody reads", splice(pair[1], NULL, ends[1], NULL, 10, 0));
    close(ends[1]);
    close_pair(pair);
}

static void splice_at_the_end(const struct case_context *context)
{
    int pair[2], ends[2];
    char bytes[16];
    make_pair(context, pair);
    if (pipe(ends) < 0)
        return;
    send(pair[0], "last", 4, 0);
    shutdown(pair[0], SHUT_WR);
    settle();
    say_result("splice", splice(pair[1], NULL, ends[1], NULL, 100, 0));
    say_result("again", splice(pair[1], NULL, ends[1], NULL, 100, 0));
    say_bytes("pipe", read(ends[0], bytes, sizeof(bytes)), bytes);
    close(ends[0]);
    close(ends[1]);
    close_pair(pair);
}

static void tee_and_copies_refused(const struct case_context *context)
{
    int pair[2], ends[2], file = make_file(100);
    make_pair(context, pair);
    if (pipe(ends) < 0)
        return;
    struct iovec vector = {(char[]){'x'}, 1};
    say_result("tee out", tee(ends[0], pair[0], 10, SPLICE_F_NONBLOCK));
    say_result("tee in", tee(pair[0], ends[1], 10, SPLICE_F_NONBLOCK));
    say_result("vmsplice", vmsplice(pair[0], &vector, 1, 0));
    say_result("copy out", copy_file_range(file, NULL, pair[0], NULL, 10, 0));
    say_result("copy in", copy_file_range(pair[0], NULL, file, NULL, 10, 0));
    say_result("sendfile from a socket", sendfile(file, pair[0], NULL, 0));
    close(ends[0]);
    close(ends[1]);
    close(file);
    close_pair(pair);
}

static void vectors_of_many_parts(const struct case_context *context)
{
    int pair[2];
    static char bytes[1024], back[1024];
    struct iovec out[1024], in[1024];
    make_pair(context, pair);
    for (int i = 0; i < 1024; i++) {
        bytes[i] = (char)('a' + i % 26);
        out[i] = (struct iovec){&bytes[i], 1};
        in[i] = (struct iovec){&back[i], 1};
    }
    say_result("writev", writev(pair[0], out, 1024));
    settle();
    say_result("readv", readv(pair[1], in, 1024));
    say("same %d", memcmp(bytes, back, sizeof(bytes)) == 0);
    volatile int more = 1025;
    say_result("writev of one more", writev(pair[0], out, more));
    close_pair(pair);
}

static void vectors_with_empty_parts(const struct case_context *context)
{
    int pair[2];
    char a[2] = "", b[3] = "";
    struct iovec out[5] = {
        {NULL, 0}, {(char[]){'1'}, 1}, {NULL, 0}, {(char[]){'2', '3'}, 2}, {NULL, 0}};
    struct iovec in[4] = {{NULL, 0}, {a, 1}, {NULL, 0}, {b, 2}};
    make_pair(context, pair);
    say_result("writev", writev(pair[0], out, 5));
    settle();
    say_result("readv", readv(pair[1], in, 4));
    say("'%s' '%s'", a, b);
    say_result("pwritev2 at -1", pwritev2(pair[0], out, 5, -1, 0));
    settle();
    say_result("preadv2 at -1", preadv2(pair[1], in, 4, -1, 0));
    say_result("preadv2 at 0", preadv2(pair[1], in, 4, 0, 0));
    say_result("preadv", preadv(pair[1], in, 4, 0));
    say_result("pwritev", pwritev(pair[0], out, 5, 0));
    say_result("preadv2 not waiting", preadv2(pair[1], in, 4, -1, RWF_NOWAIT));
    close_pair(pair);
}

const struct socket_case cases_files[] = {
    {"sendfile_moves_position", sendfile_moves_position},
    {"sendfile_by_offset", sendfile_by_offset},
    {"sendfile_of_nothing", sendfile_of_nothing},
    {"sendfile_from_wrong_descriptors", sendfile_from_wrong_descriptors},
    {"sendfile_after_shutdown", sendfile_after_shutdown},
    {"sendfile_unconnected", sendfile_unconnected},
    {"sendfile_whole", sendfile_whole},
    {"splice_states", splice_states},
    {"splice_to_a_full_pipe", splice_to_a_full_pipe},
    {"splice_at_the_end", splice_at_the_end},
    {"tee_and_copies_refused", tee_and_copies_refused},
    {"vectors_of_many_parts", vectors_of_many_parts},
    {"vectors_with_empty_parts", vectors_with_empty_parts},
    {0},
};
