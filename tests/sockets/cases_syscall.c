/* The calls by number, as libuv closes and some run-times do everything. */
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "case.h"

static void numbered_open_and_close(const struct case_context *context)
{
    struct sockaddr_storage address;
    socklen_t length = loopback(context, &address, 0);
    long listener = syscall(SYS_socket, context->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    say_result("bind", syscall(SYS_bind, listener, &address, length));
    say_result("listen", syscall(SYS_listen, listener, 4));
    say_result("name", syscall(SYS_getsockname, listener, &address, &length));
    long fd = syscall(SYS_socket, context->family, SOCK_STREAM, 0);
    say_result("connect", syscall(SYS_connect, fd, &address, length));
    long accepted = syscall(SYS_accept4, listener, NULL, NULL, SOCK_NONBLOCK);
    say("accepted %d", accepted >= 0);
    char byte = 'x';
    say_result("read", syscall(SYS_read, accepted, &byte, 1));
    say_result("write", syscall(SYS_write, fd, &byte, 1));
    say_events("poll", wait_for((int)accepted, POLLIN));
    say_result("read", syscall(SYS_read, accepted, &byte, 1));
    say_result("close", syscall(SYS_close, accepted));
    say_result("close again", syscall(SYS_close, accepted));
    say_events("end", wait_for((int)fd, POLLIN | POLLRDHUP));
    say_result("read", syscall(SYS_read, fd, &byte, 1));
    say_result("close", syscall(SYS_close, fd));
    say_result("close", syscall(SYS_close, listener));
}

static void numbered_data(const struct case_context *context)
{
    int pair[2];
    char bytes[16];
    make_pair(context, pair);
    struct iovec vector = {.iov_base = bytes, .iov_len = sizeof(bytes)};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    say_result("sendto", syscall(SYS_sendto, pair[0], "abc", 3, 0, NULL, 0));
    settle();
    ssize_t got = syscall(SYS_recvfrom, pair[1], bytes, sizeof(bytes), MSG_PEEK, NULL, NULL);
    say_bytes("recvfrom", got, bytes);
    got = syscall(SYS_recvmsg, pair[1], &message, 0);
    say_bytes("recvmsg", got, bytes);
    vector.iov_len = 2;
    say_result("sendmsg", syscall(SYS_sendmsg, pair[1], &message, 0));
    settle();
    say_result("readv", syscall(SYS_readv, pair[0], &vector, 1));
    say_result("writev", syscall(SYS_writev, pair[0], &vector, 1));
    say_result("recv of none", syscall(SYS_recvfrom, pair[0], bytes, 1, MSG_DONTWAIT, NULL, NULL));
    say_result("shutdown", syscall(SYS_shutdown, pair[0], SHUT_WR));
    int value = 0;
    socklen_t length = sizeof(value);
    say_result("getsockopt",
               syscall(SYS_getsockopt, pair[0], SOL_SOCKET, SO_ERROR, &value, &length));
    say("value %d, length %u", value, length);
    close_pair(pair);
}

static void numbered_readiness(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    int epoll = (int)syscall(SYS_epoll_create1, 0);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 7};
    say_result("add", syscall(SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, pair[1], &event));
    say_result("wait", syscall(SYS_epoll_wait, epoll, &event, 1, 0));
    send(pair[0], "x", 1, 0);
    say_result("wait", syscall(SYS_epoll_pwait, epoll, &event, 1, CASE_WAIT_MS, NULL, 8));
    struct pollfd polled = {.fd = pair[1], .events = POLLIN};
    say_result("poll", syscall(SYS_poll, &polled, 1, 0));
    say_result("ppoll", syscall(SYS_ppoll, &polled, 1, NULL, NULL, 8));
    say_events("polled", (unsigned short)polled.revents);
    close(epoll);
    close_pair(pair);
}

static void numbered_duplicates(const struct case_context *context)
{
    int pair[2];
    char byte;
    make_pair(context, pair);
    int copy = (int)syscall(SYS_dup, pair[0]), other = (int)syscall(SYS_dup3, pair[0], 300, 0);
    say_result("close", syscall(SYS_close, pair[0]));
    say_result("send", send(copy, "x", 1, 0));
    say_result("close", close(copy));
    say_result("send", send(other, "y", 1, 0));
    say_result("close", syscall(SYS_close_range, 300, 300, 0));
    say_result("read", recv(pair[1], &byte, 1, 0));
    say_result("read", recv(pair[1], &byte, 1, 0));
    say_result("read", recv(pair[1], &byte, 1, 0));
    close(pair[1]);
}

/* What a child that was made by number closes stays its parent's. */
static void numbered_fork(const struct case_context *context)
{
    static const long numbers[] = {SYS_clone, SYS_fork};
    int pair[2];
    char byte;
    make_pair(context, pair);
    for (unsigned i = 0; i < 2; i++) {
        long child = syscall(numbers[i], SIGCHLD, 0, 0, 0, 0);
        if (child == 0) {
            send(pair[0], "c", 1, 0);
            close(pair[0]);
            close(pair[1]);
            _exit(0);
        }
        int status = -1;
        say("waited %d", waitpid((pid_t)child, &status, 0) == child);
        say("status %d", status);
        say_result("send", send(pair[0], "p", 1, 0));
        say_result("read", recv(pair[1], &byte, 1, 0));
        say_result("read", recv(pair[1], &byte, 1, 0));
    }
    close_pair(pair);
}

const struct socket_case cases_syscall[] = {
    {"numbered_fork", numbered_fork},
    {"numbered_open_and_close", numbered_open_and_close},
    {"numbered_data", numbered_data},
    {"numbered_readiness", numbered_readiness},
    {"numbered_duplicates", numbered_duplicates},
    {0},
};
