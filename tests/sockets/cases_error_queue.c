/* What recvmsg() tells beside the bytes: the error queue, and TCP_INQ. */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include <linux/errqueue.h>

#include "case.h"

static void say_report(const char *what, int fd, size_t room)
{
    char control[256];
    char byte;
    struct iovec vector = {&byte, 1};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = room > 0 ? control : NULL,
                             .msg_controllen = room};
    ssize_t result = recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT);
    if (result < 0) {
        say_result(what, result);
        return;
    }
    say("%s = %zd, flags %x, control %d", what, result, (unsigned)message.msg_flags,
        (int)message.msg_controllen);
    struct cmsghdr *header = room >= sizeof(*header) ? CMSG_FIRSTHDR(&message) : NULL;
    if (header == NULL)
        return;
    struct sock_extended_err error;
    say("  level %d, type %d, length %d", header->cmsg_level, header->cmsg_type,
        (int)header->cmsg_len);
    if (header->cmsg_len < CMSG_LEN(sizeof(error)))
        return;
    memcpy(&error, CMSG_DATA(header), sizeof(error));
    say("  errno %u, origin %u, code %u, %u to %u", error.ee_errno, error.ee_origin, error.ee_code,
        error.ee_info, error.ee_data);
}

static void zerocopy_reports(const struct case_context *context)
{
    int pair[2];
    int one = 1;
    static char bytes[40000];
    make_pair(context, pair);
    say_result("not asked for", send(pair[0], bytes, 10, MSG_ZEROCOPY));
    say_report("report", pair[0], 200);
    for (int i = 0; i < 2; i++) {
        int fd = pair[i];
        say_result("SO_ZEROCOPY", setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)));
        say_events("before", events_now(fd, POLLOUT));
        say_result("send", send(fd, bytes, 10000, MSG_ZEROCOPY));
        (void)!recv(pair[1 - i], bytes, 10000, MSG_WAITALL);
        say_events("then", wait_for(fd, POLLPRI));
        say_report("report", fd, 200);
        say_report("again", fd, 200);
        say_events("then", events_now(fd, POLLOUT));
        for (int n = 0; n < 3; n++)
            (void)!send(fd, bytes, 5000, MSG_ZEROCOPY);
        say_result("nothing", send(fd, bytes, 0, MSG_ZEROCOPY));
        (void)!recv(pair[1 - i], bytes, 15000, MSG_WAITALL);
        settle();
        say_report("merged", fd, 200);
        (void)!send(fd, bytes, 5000, MSG_ZEROCOPY);
        (void)!recv(pair[1 - i], bytes, 5000, MSG_WAITALL);
        settle();
        say_report("with little room", fd, 24);
        (void)!send(fd, bytes, 5000, MSG_ZEROCOPY);
        (void)!recv(pair[1 - i], bytes, 5000, MSG_WAITALL);
        settle();
        say_report("without room", fd, 0);
        (void)!send(fd, bytes, 5000, MSG_ZEROCOPY);
        (void)!recv(pair[1 - i], bytes, 5000, MSG_WAITALL);
        settle();
        say_result("recv", recv(fd, bytes, 10, MSG_ERRQUEUE));
        say_result("recv", recv(fd, bytes, 10, MSG_ERRQUEUE));
    }
    close_pair(pair);
}

static void zerocopy_wakes_epoll(const struct case_context *context)
{
    int pair[2];
    int one = 1;
    char bytes[4000] = "";
    struct epoll_event event = {.events = EPOLLET};
    make_pair(context, pair);
    int epoll = epoll_create1(0);
    setsockopt(pair[0], SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one));
    epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], &event);
    say_result("epoll_wait", epoll_wait(epoll, &event, 1, 0));
    (void)!send(pair[0], bytes, sizeof(bytes), MSG_ZEROCOPY);
    (void)!recv(pair[1], bytes, sizeof(bytes), MSG_WAITALL);
    say_result("epoll_wait", epoll_wait(epoll, &event, 1, CASE_WAIT_MS));
    say_events("events", event.events);
    say_report("report", pair[0], 200);
    close(epoll);
    close_pair(pair);
}

static void say_inq(const char *what, int fd, size_t count, int flags, size_t room)
{
    char control[64];
    char bytes[16];
    int inq = -1;
    struct iovec vector = {bytes, count};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room};
    ssize_t result = recvmsg(fd, &message, flags);
    if (result < 0) {
        say_result(what, result);
        return;
    }
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header != NULL && header->cmsg_len >= CMSG_LEN(sizeof(inq)))
        memcpy(&inq, CMSG_DATA(header), sizeof(inq));
    say("%s = %zd, flags %x, control %d, inq %d", what, result, (unsigned)message.msg_flags,
        (int)message.msg_controllen, inq);
}

static void inq_is_told(const struct case_context *context)
{
    int pair[2];
    int one = 1;
    make_pair(context, pair);
    for (int i = 0; i < 2; i++) {
        int fd = pair[i];
        (void)!write(pair[1 - i], "0123456789", 10);
        settle();
        say_inq("not asked for", fd, 1, 0, 64);
        say_result("TCP_INQ", setsockopt(fd, IPPROTO_TCP, TCP_INQ, &one, sizeof(one)));
        say_inq("asked for", fd, 2, 0, 64);
        say_inq("peek", fd, 2, MSG_PEEK, 64);
        say_inq("with little room", fd, 1, 0, 18);
        say_inq("without room", fd, 1, 0, 0);
        say_inq("the rest", fd, 16, 0, 64);
        say_inq("nothing", fd, 16, MSG_DONTWAIT, 64);
    }
    (void)!write(pair[0], "xy", 2);
    shutdown(pair[0], SHUT_WR);
    settle();
    say_inq("before the end", pair[1], 1, 0, 64);
    say_inq("at the end", pair[1], 1, 0, 64);
    say_inq("after it", pair[1], 1, 0, 64);
    close_pair(pair);
}

static void inherited_from_a_listener(const struct case_context *context)
{
    int one = 1, got = -1;
    socklen_t length = sizeof(got);
    int listener = make_listener(context, 1);
    int fd = make_socket(context, 0);
    setsockopt(listener, IPPROTO_TCP, TCP_INQ, &one, sizeof(one));
    setsockopt(listener, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one));
    connect_to(context, fd, port_of(listener));
    int accepted = accept(listener, NULL, NULL);
    getsockopt(accepted, IPPROTO_TCP, TCP_INQ, &got, &length);
    say("TCP_INQ %d", got);
    length = sizeof(got);
    getsockopt(accepted, SOL_SOCKET, SO_ZEROCOPY, &got, &length);
    say("SO_ZEROCOPY %d", got);
    close(accepted);
    close(fd);
    close(listener);
}

const struct socket_case cases_error_queue[] = {
    {"zerocopy_reports", zerocopy_reports},
    {"zerocopy_wakes_epoll", zerocopy_wakes_epoll},
    {"inq_is_told", inq_is_told},
    {"inherited_from_a_listener", inherited_from_a_listener},
    {0},
};
