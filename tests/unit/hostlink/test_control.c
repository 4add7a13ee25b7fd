/* The control connection: one daemon per path, whole messages, descriptors that never leak. */
#define _GNU_SOURCE
#include "cmocka_all.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostlink/control.h"

/** A directory of our own with a path for the socket in it, and a connected pair. */
struct fixture {
    char directory[32];
    char path[64];
    int pair[2];
    unsigned open_before;
};

static unsigned count_open_descriptors(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    while (readdir(directory) != NULL)
        count++;
    (void)closedir(directory);
    return count;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->open_before = count_open_descriptors();
    strcpy(f->directory, "/tmp/pno-control-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    (void)snprintf(f->path, sizeof(f->path), "%s/run/pnod.sock", f->directory);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->pair), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char name[96];
    (void)close(f->pair[0]);
    (void)close(f->pair[1]);
    (void)unlink(f->path);
    (void)snprintf(name, sizeof(name), "%s.lock", f->path);
    (void)unlink(name);
    (void)snprintf(name, sizeof(name), "%s/run", f->directory);
    (void)rmdir(name);
    assert_int_equal(rmdir(f->directory), 0);
    assert_int_equal(count_open_descriptors(), f->open_before);
    free(f);
    return 0;
}

static int bind_and_listen(struct link_control_listener *listener, const char *path, mode_t mode)
{
    int error = link_control_bind(listener, path, mode);
    return error == 0 ? link_control_listen(listener) : error;
}

static void test_a_second_instance_is_refused_while_the_first_lives(void **state)
{
    struct fixture *f = *state;
    struct link_control_listener first;
    struct link_control_listener second;
    assert_int_equal(bind_and_listen(&first, f->path, 0600), 0);
    struct stat status;
    assert_int_equal(stat(f->path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(bind_and_listen(&second, f->path, 0600), -EADDRINUSE);
    link_control_unlisten(&second);
    int fd = link_control_connect(f->path);
    assert_true(fd >= 0);
    assert_int_not_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    (void)close(fd);
    link_control_unlisten(&first);
    assert_int_equal(link_control_connect(f->path), -ENOENT);
    assert_int_equal(bind_and_listen(&second, f->path, 0666), 0);
    link_control_unlisten(&second);
}

static void test_the_socket_of_a_dead_daemon_is_replaced(void **state)
{
    struct fixture *f = *state;
    pid_t child = fork();
    if (child == 0) {
        struct link_control_listener listener;
        _exit(bind_and_listen(&listener, f->path, 0600) == 0 ? 7 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 7);
    assert_int_equal(link_control_connect(f->path), -ECONNREFUSED);
    struct link_control_listener listener;
    assert_int_equal(bind_and_listen(&listener, f->path, 0600), 0);
    int fd = link_control_connect(f->path);
    assert_true(fd >= 0);
    (void)close(fd);
    link_control_unlisten(&listener);
}

static void test_something_else_at_the_path_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct link_control_listener listener;
    assert_int_equal(bind_and_listen(&listener, f->path, 0600), 0);
    link_control_unlisten(&listener);
    int fd = open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    (void)close(fd);
    assert_int_equal(bind_and_listen(&listener, f->path, 0600), -ENOTSOCK);
    assert_int_equal(access(f->path, F_OK), 0);
    char longest[200];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(bind_and_listen(&listener, longest, 0600), -ENAMETOOLONG);
    assert_int_equal(link_control_connect(longest), -ENAMETOOLONG);
    assert_int_equal(bind_and_listen(&listener, "/nonexistent/deep/x.sock", 0600), -ENOENT);
}

static void test_a_full_backlog_does_not_hang_who_connects(void **state)
{
    struct fixture *f = *state;
    struct link_control_listener listener;
    int fds[1000];
    unsigned count = 0;
    int last = 0;
    assert_int_equal(bind_and_listen(&listener, f->path, 0600), 0);
    while (count < 1000 && (last = link_control_connect(f->path)) >= 0)
        fds[count++] = last;
    assert_int_equal(last, -EAGAIN);
    assert_true(count > 100);
    for (unsigned i = 0; i < count; i++)
        (void)close(fds[i]);
    link_control_unlisten(&listener);
}

static void test_a_message_comes_whole_with_its_descriptors(void **state)
{
    struct fixture *f = *state;
    int pipes[2];
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    char message[1000];
    char received[1000];
    memset(message, 'm', sizeof(message));
    assert_int_equal(link_control_send(f->pair[0], message, sizeof(message), pipes, 2, 1000), 0);
    assert_int_equal(link_control_send(f->pair[0], "next", 4, NULL, 0, 1000), 0);
    int fds[2];
    unsigned count = 0;
    assert_int_equal(
        link_control_receive(f->pair[1], received, sizeof(received), fds, 2, &count, NULL, 1000),
        0);
    assert_memory_equal(message, received, sizeof(message));
    assert_int_equal(count, 2);
    for (unsigned i = 0; i < 2; i++)
        assert_int_not_equal(fcntl(fds[i], F_GETFD) & FD_CLOEXEC, 0);
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_int_equal(read(pipes[0], received, 1), 1);
    assert_int_equal(link_control_receive(f->pair[1], received, 4, NULL, 0, NULL, NULL, 1000), 0);
    assert_memory_equal(received, "next", 4);
    for (unsigned i = 0; i < 2; i++) {
        (void)close(fds[i]);
        (void)close(pipes[i]);
    }
}

static void test_large_messages_pass_through_full_buffers(void **state)
{
    struct fixture *f = *state;
    size_t bytes = 4 << 20;
    char *message = malloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        message[i] = (char)(i * 7 + i / 1000);
    pid_t child = fork();
    if (child == 0)
        _exit(link_control_send(f->pair[0], message, bytes, NULL, 0, 10000) == 0 ? 0 : 1);
    char *received = malloc(bytes);
    assert_int_equal(link_control_receive(f->pair[1], received, bytes, NULL, 0, NULL, NULL, 10000),
                     0);
    assert_memory_equal(message, received, bytes);
    int status = 1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    free(message);
    free(received);
}

static void test_waiting_ends_at_the_timeout(void **state)
{
    struct fixture *f = *state;
    char buffer[8];
    assert_int_equal(link_control_send(f->pair[0], "half", 4, NULL, 0, 0), 0);
    assert_int_equal(link_control_receive(f->pair[1], buffer, 8, NULL, 0, NULL, NULL, 30),
                     -ETIMEDOUT);
    size_t bytes = 4 << 20;
    char *message = calloc(1, bytes);
    assert_int_equal(link_control_send(f->pair[0], message, bytes, NULL, 0, 30), -ETIMEDOUT);
    free(message);
}

static void test_a_peer_that_is_gone_is_told_not_waited_for(void **state)
{
    struct fixture *f = *state;
    char buffer[8];
    int fds[1] = {f->pair[1]};
    assert_int_equal(link_control_send(f->pair[0], "half", 4, fds, 1, 100), 0);
    (void)shutdown(f->pair[0], SHUT_WR);
    unsigned count = 0;
    assert_int_equal(link_control_receive(f->pair[1], buffer, 8, fds, 1, &count, NULL, 1000),
                     -ECONNRESET);
    assert_int_equal(count, 0);
    int other[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, other), 0);
    (void)close(other[1]);
    assert_int_equal(link_control_send(other[0], "x", 1, NULL, 0, 100), -EPIPE);
    (void)close(other[0]);
}

static void test_the_reader_takes_a_message_byte_by_byte(void **state)
{
    struct fixture *f = *state;
    struct link_control_reader reader;
    char buffer[6];
    link_control_reader_init(&reader, buffer, 1);
    assert_int_equal(link_control_reader_step(&reader, f->pair[1]), 0);
    int fds[1] = {STDERR_FILENO};
    assert_int_equal(link_control_send(f->pair[0], "a", 1, fds, 1, 0), 0);
    assert_int_equal(link_control_reader_step(&reader, f->pair[1]), 1);
    reader.wanted = 6;
    for (const char *rest = "bcdef"; *rest != '\0'; rest++) {
        assert_int_equal(link_control_reader_step(&reader, f->pair[1]), 0);
        assert_int_equal(link_control_send(f->pair[0], rest, 1, NULL, 0, 0), 0);
    }
    assert_int_equal(link_control_send(f->pair[0], "not ours", 8, NULL, 0, 0), 0);
    assert_int_equal(link_control_reader_step(&reader, f->pair[1]), 1);
    assert_memory_equal(buffer, "abcdef", 6);
    assert_int_equal(reader.descriptor_count, 1);
    link_control_reader_discard(&reader);
    assert_int_equal(recv(f->pair[1], buffer, 6, MSG_DONTWAIT), 6);
    assert_memory_equal(buffer, "not ou", 6);
}

static void test_surplus_descriptors_are_refused_and_closed(void **state)
{
    struct fixture *f = *state;
    int fds[LINK_CONTROL_DESCRIPTORS_MAX + 1];
    unsigned count = 0;
    char buffer[2];
    for (unsigned i = 0; i <= LINK_CONTROL_DESCRIPTORS_MAX; i++)
        fds[i] = STDERR_FILENO;
    assert_int_equal(
        link_control_send(f->pair[0], "x", 1, fds, LINK_CONTROL_DESCRIPTORS_MAX + 1, 0), -EINVAL);
    assert_int_equal(link_control_send(f->pair[0], "x", 1, fds, 3, 0), 0);
    assert_int_equal(link_control_receive(f->pair[1], buffer, 1, fds, 2, &count, NULL, 100),
                     -EPROTO);
    assert_int_equal(count, 0);
    /* Too many over several parts of one message. */
    fds[0] = STDERR_FILENO;
    fds[1] = STDERR_FILENO;
    for (unsigned i = 2; i <= LINK_CONTROL_DESCRIPTORS_MAX; i++)
        fds[i] = STDERR_FILENO;
    assert_int_equal(link_control_send(f->pair[0], "x", 1, fds, LINK_CONTROL_DESCRIPTORS_MAX, 0),
                     0);
    assert_int_equal(link_control_send(f->pair[0], "y", 1, fds, 1, 0), 0);
    assert_int_equal(link_control_receive(f->pair[1], buffer, 2, fds, LINK_CONTROL_DESCRIPTORS_MAX,
                                          &count, NULL, 100),
                     -EPROTO);
}

#define CONTROL_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTROL_TEST(test_a_second_instance_is_refused_while_the_first_lives),
        CONTROL_TEST(test_the_socket_of_a_dead_daemon_is_replaced),
        CONTROL_TEST(test_something_else_at_the_path_is_left_alone),
        CONTROL_TEST(test_a_full_backlog_does_not_hang_who_connects),
        CONTROL_TEST(test_a_message_comes_whole_with_its_descriptors),
        CONTROL_TEST(test_large_messages_pass_through_full_buffers),
        CONTROL_TEST(test_waiting_ends_at_the_timeout),
        CONTROL_TEST(test_a_peer_that_is_gone_is_told_not_waited_for),
        CONTROL_TEST(test_the_reader_takes_a_message_byte_by_byte),
        CONTROL_TEST(test_surplus_descriptors_are_refused_and_closed),
    };
    return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
