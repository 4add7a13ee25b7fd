/* TCP Fast Open by its calls: without a cookie, as net.ipv4.tcp_fastopen's default leaves it. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "case.h"

static ssize_t send_fast(const struct case_context *context, int fd, const void *bytes,
                         size_t count, unsigned port)
{
    struct sockaddr_storage address;
    socklen_t length = loopback(context, &address, port);
    return sendto(fd, bytes, count, MSG_FASTOPEN | MSG_NOSIGNAL, (struct sockaddr *)&address,
                  length);
}

static void say_received(int listener)
{
    char bytes[64] = "";
    int accepted = accept(listener, NULL, NULL);
    say_events("accepted", wait_for(accepted, POLLIN));
    say_bytes("read", read(accepted, bytes, sizeof(bytes)), bytes);
    close(accepted);
}

static void waiting(const struct case_context *context)
{
    int listener = make_listener(context, 1), fd = make_socket(context, 0);
    say_result("sendto", send_fast(context, fd, "hello", 5, port_of(listener)));
    say_received(listener);
    close(fd);
    close(listener);
}

static void message(const struct case_context *context)
{
    int listener = make_listener(context, 1), fd = make_socket(context, 0);
    struct sockaddr_storage address;
    struct iovec vector[2] = {{(void *)(uintptr_t) "to", 2}, {(void *)(uintptr_t) "gether", 6}};
    struct msghdr header = {.msg_iov = vector, .msg_iovlen = 2, .msg_name = &address};
    header.msg_namelen = loopback(context, &address, port_of(listener));
    say_result("sendmsg", sendmsg(fd, &header, MSG_FASTOPEN | MSG_NOSIGNAL));
    say_received(listener);
    close(fd);
    close(listener);
}

static void not_waiting(const struct case_context *context)
{
    int listener = make_listener(context, 1), fd = make_socket(context, 0);
    set_nonblocking(fd, true);
    say_result("sendto", send_fast(context, fd, "first", 5, port_of(listener)));
    say_events("then", wait_for(fd, POLLOUT));
    say_socket_error("error", fd);
    say_result("again", send_fast(context, fd, "second", 6, port_of(listener)));
    say_result("once more", send_fast(context, fd, "third", 5, port_of(listener)));
    say_result("send", send(fd, "fourth", 6, MSG_NOSIGNAL));
    say_received(listener);
    close(fd);
    close(listener);
}

static void nothing_to_send(const struct case_context *context)
{
    int listener = make_listener(context, 1), fd = make_socket(context, 0);
    set_nonblocking(fd, true);
    say_result("sendto", send_fast(context, fd, "", 0, port_of(listener)));
    say_events("then", wait_for(fd, POLLOUT));
    close(fd);
    close(listener);
}

static void refused(const struct case_context *context)
{
    int listener = make_listener(context, 1), fd = make_socket(context, 0);
    unsigned port = port_of(listener);
    close(listener);
    say_result("sendto", send_fast(context, fd, "hello", 5, port));
    say_socket_error("error", fd);
    close(fd);
}

static void wrong_addresses(const struct case_context *context)
{
    int fd = make_socket(context, 0);
    struct sockaddr_storage unspecified = {.ss_family = AF_UNSPEC};
    say_result("none", send(fd, "hello", 5, MSG_FASTOPEN | MSG_NOSIGNAL));
    say_result("AF_UNSPEC", sendto(fd, "hello", 5, MSG_FASTOPEN | MSG_NOSIGNAL,
                                   (struct sockaddr *)&unspecified, sizeof(unspecified)));
    close(fd);
}

static void connected_already(const struct case_context *context)
{
    int pair[2], listener = make_listener(context, 1);
    make_pair(context, pair);
    say_result("connected", send_fast(context, pair[0], "hello", 5, port_of(listener)));
    say_result("accepted", send_fast(context, pair[1], "hello", 5, port_of(listener)));
    say_result("listening", send_fast(context, listener, "hello", 5, port_of(listener)));
    close_pair(pair);
    close(listener);
}

static void deferred_connect(const struct case_context *context)
{
    int one = 1, value = -1, listener = make_listener(context, 1), fd = make_socket(context, 0);
    socklen_t length = sizeof(value);
    say_result("option", setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof(one)));
    (void)getsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &value, &length);
    say("reads back %d", value);
    say_result("connect", connect_to(context, fd, port_of(listener)));
    say_result("write", write(fd, "hello", 5));
    say_received(listener);
    say_result("too late", setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof(one)));
    close(fd);
    close(listener);
}

static void queue_of_a_listener(const struct case_context *context)
{
    int queue = 7, value = -1, listener = make_listener(context, 1), fd = make_socket(context, 0);
    socklen_t length = sizeof(value);
    say_result("option", setsockopt(listener, IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof(queue)));
    (void)getsockopt(listener, IPPROTO_TCP, TCP_FASTOPEN, &value, &length);
    say("reads back %d", value);
    say_result("sendto", send_fast(context, fd, "hello", 5, port_of(listener)));
    say_received(listener);
    close(fd);
    close(listener);
}

const struct socket_case cases_fast_open[] = {
    {"fast_open_waiting", waiting},
    {"fast_open_message", message},
    {"fast_open_not_waiting", not_waiting},
    {"fast_open_nothing_to_send", nothing_to_send},
    {"fast_open_refused", refused},
    {"fast_open_wrong_addresses", wrong_addresses},
    {"fast_open_connected_already", connected_already},
    {"fast_open_deferred_connect", deferred_connect},
    {"fast_open_queue_of_a_listener", queue_of_a_listener},
    {0},
};
