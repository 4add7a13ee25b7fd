/* SO_PEEK_OFF: where MSG_PEEK begins. */
#include <pthread.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "case.h"

static void say_offset(int fd)
{
    int offset = -77;
    socklen_t length = sizeof(offset);
    int result = getsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &offset, &length);
    if (result < 0)
        say_result("get", result);
    else
        say("offset %d", offset);
}

static void set_offset(int fd, int offset)
{
    say_result("set", setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset)));
}

static void take(const char *what, int fd, size_t count, int flags)
{
    char bytes[64] = "";
    ssize_t result = recv(fd, bytes, count, flags | MSG_DONTWAIT);
    if ((flags & MSG_TRUNC) != 0)
        say_result(what, result);
    else
        say_bytes(what, result, bytes);
}

static void peeks_go_on(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    for (int i = 0; i < 2; i++) {
        int fd = pair[i];
        say_offset(fd);
        (void)!write(pair[1 - i], "0123456789", 10);
        settle();
        take("peek", fd, 3, MSG_PEEK);
        set_offset(fd, 0);
        take("peek", fd, 3, MSG_PEEK);
        take("peek", fd, 3, MSG_PEEK);
        say_offset(fd);
        take("read", fd, 2, 0);
        say_offset(fd);
        take("peek", fd, 3, MSG_PEEK);
        take("peek", fd, 30, MSG_PEEK);
        take("peek past all", fd, 3, MSG_PEEK);
        say_events("poll", events_now(fd, 1));
        set_offset(fd, 2);
        take("peek", fd, 0, MSG_PEEK);
        take("peek, cut", fd, 3, MSG_PEEK | MSG_TRUNC);
        say_offset(fd);
        take("read, cut", fd, 1, MSG_TRUNC);
        say_offset(fd);
        take("read more", fd, 6, 0);
        say_offset(fd);
        set_offset(fd, -1);
        take("peek", fd, 3, MSG_PEEK);
        take("peek", fd, 3, MSG_PEEK);
        set_offset(fd, -5);
        say_offset(fd);
        take("peek", fd, 3, MSG_PEEK);
        take("read", fd, 3, 0);
        say_offset(fd);
    }
    close_pair(pair);
}

static void peeks_beyond_the_end(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    (void)!write(pair[0], "0123", 4);
    shutdown(pair[0], SHUT_WR);
    settle();
    set_offset(pair[1], 20);
    take("peek", pair[1], 3, MSG_PEEK);
    say_offset(pair[1]);
    take("read", pair[1], 30, 0);
    say_offset(pair[1]);
    take("read", pair[1], 30, 0);
    close_pair(pair);
}

static void *write_later(void *argument)
{
    const int *fd = argument;
    settle();
    (void)!write(*fd, "456789", 6);
    return NULL;
}

static void peek_waits_for_bytes_beyond(const struct case_context *context)
{
    int pair[2];
    pthread_t writer;
    char bytes[64] = "";
    make_pair(context, pair);
    (void)!write(pair[0], "0123", 4);
    settle();
    set_offset(pair[1], 4);
    pthread_create(&writer, NULL, write_later, &pair[0]);
    ssize_t result = recv(pair[1], bytes, 6, MSG_PEEK | MSG_WAITALL);
    say_bytes("peek", result, bytes);
    pthread_join(writer, NULL);
    say_offset(pair[1]);
    take("read", pair[1], 10, 0);
    close_pair(pair);
}

static void peek_offset_by_vector(const struct case_context *context)
{
    int pair[2];
    char first[2], second[3];
    struct iovec vector[2] = {{first, 2}, {second, 3}};
    struct msghdr message = {.msg_iov = vector, .msg_iovlen = 2};
    make_pair(context, pair);
    (void)!write(pair[0], "0123456789", 10);
    settle();
    set_offset(pair[1], 1);
    for (int i = 0; i < 3; i++) {
        ssize_t result = recvmsg(pair[1], &message, MSG_PEEK | MSG_DONTWAIT);
        say_bytes("first", result < 2 ? result : 2, first);
        say_bytes("second", result < 2 ? 0 : result - 2, second);
    }
    close_pair(pair);
}

static void peek_offset_is_inherited(const struct case_context *context)
{
    int listener = make_listener(context, 1);
    int fd = make_socket(context, 0);
    set_offset(listener, 3);
    connect_to(context, fd, port_of(listener));
    int accepted = accept(listener, NULL, NULL);
    (void)!write(fd, "0123456789", 10);
    settle();
    say_offset(accepted);
    take("peek", accepted, 2, MSG_PEEK);
    say_offset(accepted);
    say_offset(listener);
    close(accepted);
    close(fd);
    close(listener);
}

const struct socket_case cases_peeks[] = {
    {"peeks_go_on", peeks_go_on},
    {"peeks_beyond_the_end", peeks_beyond_the_end},
    {"peek_waits_for_bytes_beyond", peek_waits_for_bytes_beyond},
    {"peek_offset_by_vector", peek_offset_by_vector},
    {"peek_offset_is_inherited", peek_offset_is_inherited},
    {0},
};
