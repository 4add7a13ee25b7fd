/* When bytes came: SO_TIMESTAMP and its relatives. */
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "case.h"

/* The kernel switches its stamps on, for all sockets, by and by. */
#define TRIES_MOST 1000

#define SECOND_NS 1000000000LL

static long long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * SECOND_NS + now.tv_nsec;
}

/* Both forms are pairs of 64-bit numbers: seconds, and microseconds or nanoseconds. */
static long long stamp_ns(const struct cmsghdr *header)
{
    long long parts[2];
    bool in_us = header->cmsg_type == SO_TIMESTAMP_OLD || header->cmsg_type == SO_TIMESTAMP_NEW;
    memcpy(parts, CMSG_DATA(header), sizeof(parts));
    return parts[0] * SECOND_NS + parts[1] * (in_us ? 1000 : 1);
}

/* @param from_ns  no stamp may be before this, to a microsecond. */
static void take(const char *what, int fd, size_t count, int flags, size_t room, long long from_ns)
{
    char bytes[64] = "";
    char control[256];
    struct iovec vector = {bytes, count};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = room > 0 ? control : NULL,
                             .msg_controllen = room};
    ssize_t result = recvmsg(fd, &message, flags | MSG_DONTWAIT);
    say_bytes(what, result, bytes);
    if (result < 0)
        return;
    say("  flags %x, control %d", (unsigned)message.msg_flags, (int)message.msg_controllen);
    struct cmsghdr *header = room >= sizeof(*header) ? CMSG_FIRSTHDR(&message) : NULL;
    for (; header != NULL; header = CMSG_NXTHDR(&message, header)) {
        say("  level %d, type %d, length %d", header->cmsg_level, header->cmsg_type,
            (int)header->cmsg_len);
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_len >= CMSG_LEN(16))
            say("  true: %d", stamp_ns(header) >= from_ns - 1000 && stamp_ns(header) <= now_ns());
    }
}

/* @return a pair that keeps the kernel's stamps on, once they are. */
static void switch_on(const struct case_context *context, int keeper[2])
{
    int one = 1;
    make_pair(context, keeper);
    setsockopt(keeper[1], SOL_SOCKET, SO_TIMESTAMP, &one, sizeof(one));
    for (int i = 0; i < TRIES_MOST; i++) {
        char byte;
        char control[64];
        struct iovec vector = {&byte, 1};
        struct msghdr message = {.msg_iov = &vector,
                                 .msg_iovlen = 1,
                                 .msg_control = control,
                                 .msg_controllen = sizeof(control)};
        (void)!write(keeper[0], "x", 1);
        if (recvmsg(keeper[1], &message, 0) == 1 && message.msg_controllen > 0)
            return;
        usleep(2000);
    }
    say("no stamps");
}

static void set(int fd, int name, int number)
{
    say_result("set", setsockopt(fd, SOL_SOCKET, name, &number, sizeof(number)));
}

static void stamps_by(const struct case_context *context, int name, int number)
{
    int pair[2], keeper[2];
    switch_on(context, keeper);
    make_pair(context, pair);
    for (int i = 0; i < 2; i++) {
        int fd = pair[i];
        set(fd, name, number);
        long long from_ns = now_ns();
        (void)!write(pair[1 - i], "0123456789", 10);
        settle();
        take("peek", fd, 2, MSG_PEEK, 256, from_ns);
        take("read", fd, 2, 0, 256, from_ns);
        take("no bytes", fd, 0, 0, 256, from_ns);
        take("no room", fd, 1, 0, 0, from_ns);
        take("little room", fd, 1, 0, 20, from_ns);
        take("rest", fd, 20, 0, 256, from_ns);
        take("nothing", fd, 20, 0, 256, from_ns);
        from_ns = now_ns();
        (void)!write(pair[1 - i], "abc", 3);
        settle();
        take("later", fd, 20, 0, 256, from_ns);
        set(fd, name, 0);
        (void)!write(pair[1 - i], "def", 3);
        settle();
        take("switched off", fd, 20, 0, 256, from_ns);
    }
    shutdown(pair[0], SHUT_WR);
    settle();
    take("end", pair[1], 20, 0, 256, 0);
    close_pair(pair);
    close_pair(keeper);
}

static void stamps_in_microseconds(const struct case_context *context)
{
    stamps_by(context, SO_TIMESTAMP_OLD, 1);
    stamps_by(context, SO_TIMESTAMP_NEW, 1);
}

static void stamps_in_nanoseconds(const struct case_context *context)
{
    stamps_by(context, SO_TIMESTAMPNS_OLD, 1);
    stamps_by(context, SO_TIMESTAMPNS_NEW, 1);
}

static void stamps_of_software(const struct case_context *context)
{
    int flags = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE;
    stamps_by(context, SO_TIMESTAMPING_OLD, flags);
    stamps_by(context, SO_TIMESTAMPING_NEW, flags);
}

static void stamps_not_reported(const struct case_context *context)
{
    stamps_by(context, SO_TIMESTAMPING_OLD, SOF_TIMESTAMPING_RX_SOFTWARE);
}

static void stamps_of_all_kinds(const struct case_context *context)
{
    int pair[2], keeper[2];
    int one = 1;
    switch_on(context, keeper);
    make_pair(context, pair);
    for (int i = 0; i < 2; i++) {
        int fd = pair[i];
        set(fd, SO_TIMESTAMPNS_OLD, 1);
        set(fd, SO_TIMESTAMPING_OLD, SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE);
        setsockopt(fd, IPPROTO_TCP, TCP_INQ, &one, sizeof(one));
        long long from_ns = now_ns();
        (void)!write(pair[1 - i], "0123456789", 10);
        settle();
        take("three", fd, 4, 0, 256, from_ns);
        take("room for two", fd, 2, 0, CMSG_SPACE(16) + CMSG_SPACE(48), from_ns);
        take("room for one", fd, 2, 0, CMSG_SPACE(16), from_ns);
    }
    close_pair(pair);
    close_pair(keeper);
}

static void stamps_are_inherited(const struct case_context *context)
{
    int keeper[2];
    switch_on(context, keeper);
    int listener = make_listener(context, 1);
    int fd = make_socket(context, 0);
    int got = -1;
    socklen_t length = sizeof(got);
    set(listener, SO_TIMESTAMP_NEW, 1);
    connect_to(context, fd, port_of(listener));
    long long from_ns = now_ns();
    (void)!write(fd, "0123456789", 10);
    int accepted = accept(listener, NULL, NULL);
    settle();
    getsockopt(accepted, SOL_SOCKET, SO_TIMESTAMP_NEW, &got, &length);
    say("got %d", got);
    take("read", accepted, 4, 0, 256, from_ns);
    set(accepted, SO_TIMESTAMPING_NEW, SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE);
    take("read", accepted, 4, 0, 256, from_ns);
    close(accepted);
    close(fd);
    close(listener);
    close_pair(keeper);
}

const struct socket_case cases_stamps[] = {
    {"stamps_in_microseconds", stamps_in_microseconds},
    {"stamps_in_nanoseconds", stamps_in_nanoseconds},
    {"stamps_of_software", stamps_of_software},
    {"stamps_not_reported", stamps_not_reported},
    {"stamps_of_all_kinds", stamps_of_all_kinds},
    {"stamps_are_inherited", stamps_are_inherited},
    {0},
};
