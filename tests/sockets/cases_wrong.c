/* Calls that make no sense: bad pointers, bad descriptors, sockets in the wrong state. */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "case.h"

/* Addresses that no program can use. */
static void *const nowhere[] = {(void *)1, (void *)-1, (void *)4095};

/* Hidden from the compiler, which would warn of them. */
static void *bad(size_t which)
{
    void *volatile pointer = nowhere[which % 3];
    return pointer;
}

static int hidden(int number)
{
    volatile int value = number;
    return value;
}

static void *null_pointer(void)
{
    void *volatile pointer = NULL;
    return pointer;
}

static void say_unharmed(int pair[2])
{
    char bytes[8];
    say_result("then send", send(pair[0], "fine", 4, 0));
    say_bytes("then recv", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
}

static void bad_read_buffer(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    send(pair[0], "data", 4, 0);
    wait_for(pair[1], POLLIN);
    for (size_t i = 0; i < 3; i++) {
        say_result("read", read(pair[1], bad(i), 4));
        say_result("recv", recv(pair[1], bad(i), 4, 0));
    }
    say_result("read to NULL", read(pair[1], null_pointer(), 4));
    say_result("read nothing to NULL", read(pair[1], null_pointer(), 0));
    char bytes[8];
    say_bytes("all there", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
    close_pair(pair);
}

static void bad_write_buffer(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    for (size_t i = 0; i < 3; i++) {
        say_result("write", write(pair[0], bad(i), 4));
        say_result("send", send(pair[0], bad(i), 4, 0));
    }
    say_result("write from NULL", write(pair[0], null_pointer(), 4));
    say_result("write nothing from NULL", write(pair[0], null_pointer(), 0));
    say_unharmed(pair);
    close_pair(pair);
}

static void bad_vectors(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    struct iovec vector[2] = {{bad(0), 4}, {bad(1), 4}};
    say_result("writev of bad parts", writev(pair[0], vector, 2));
    say_result("writev of a bad vector", writev(pair[0], bad(0), 2));
    say_result("writev of NULL", writev(pair[0], null_pointer(), 2));
    say_result("writev of NULL, empty", writev(pair[0], null_pointer(), 0));
    send(pair[0], "x", 1, 0);
    wait_for(pair[1], POLLIN);
    say_result("readv to bad parts", readv(pair[1], vector, 2));
    say_result("readv of a bad vector", readv(pair[1], bad(1), 2));
    say_result("readv of -1 parts", readv(pair[1], vector, hidden(-1)));
    vector[0].iov_len = (size_t)-1;
    say_result("readv of a huge part", readv(pair[1], vector, 2));
    close_pair(pair);
}

static void bad_messages(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    struct msghdr message = {.msg_iov = bad(0), .msg_iovlen = 1};
    say_result("sendmsg of a bad header", sendmsg(pair[0], bad(0), 0));
    say_result("sendmsg of NULL", sendmsg(pair[0], null_pointer(), 0));
    say_result("sendmsg of a bad vector", sendmsg(pair[0], &message, 0));
    send(pair[0], "x", 1, 0);
    wait_for(pair[1], POLLIN);
    say_result("recvmsg of a bad header", recvmsg(pair[1], bad(0), 0));
    say_result("recvmsg of NULL", recvmsg(pair[1], null_pointer(), 0));
    say_result("recvmsg of a bad vector", recvmsg(pair[1], &message, 0));
    say_result("recvmmsg of NULL", recvmmsg(pair[1], null_pointer(), 1, 0, NULL));
    say_result("sendmmsg of NULL", sendmmsg(pair[0], null_pointer(), 1, 0));
    say_result("sendmmsg of none", sendmmsg(pair[0], null_pointer(), 0, 0));
    close_pair(pair);
}

static void bad_names(const struct case_context *context)
{
    int pair[2];
    socklen_t length = 16;
    char name[32];
    make_pair(context, pair);
    for (size_t i = 0; i < 3; i++) {
        say_result("getsockname", getsockname(pair[0], bad(i), &length));
        say_result("getsockname, length", getsockname(pair[0], (void *)name, bad(i)));
        say_result("getpeername", getpeername(pair[1], bad(i), &length));
        say_result("getpeername, length", getpeername(pair[1], (void *)name, bad(i)));
    }
    say_result("getsockname NULL", getsockname(pair[0], null_pointer(), &length));
    say_result("getsockname NULL length", getsockname(pair[0], (void *)name, null_pointer()));
    close_pair(pair);
}

static void bad_addresses(const struct case_context *context)
{
    for (size_t i = 0; i < 3; i++) {
        int fd = make_socket(context, 0);
        say_result("bind", bind(fd, bad(i), 28));
        say_result("connect", connect(fd, bad(i), 28));
        close(fd);
    }
    int fd = make_socket(context, 0);
    say_result("bind NULL", bind(fd, null_pointer(), 28));
    say_result("bind NULL of no length", bind(fd, null_pointer(), 0));
    say_result("connect NULL", connect(fd, null_pointer(), 28));
    say_result("connect NULL of no length", connect(fd, null_pointer(), 0));
    close(fd);
}

static void bad_options(const struct case_context *context)
{
    int pair[2], value = 0;
    socklen_t length = 4;
    make_pair(context, pair);
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < 3; i++) {
            int fd = pair[side];
            say_result("get error", getsockopt(fd, SOL_SOCKET, SO_ERROR, bad(i), &length));
            say_result("get linger", getsockopt(fd, SOL_SOCKET, SO_LINGER, bad(i), &length));
            say_result("length", getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, bad(i)));
            say_result("get nodelay", getsockopt(fd, IPPROTO_TCP, 1, bad(i), &length));
            say_result("set keepalive", setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, bad(i), 4));
            say_result("set nodelay", setsockopt(fd, IPPROTO_TCP, 1, bad(i), 4));
            say_result("set congestion", setsockopt(fd, IPPROTO_TCP, 13, bad(i), 4));
            say_result("set linger", setsockopt(fd, SOL_SOCKET, SO_LINGER, bad(i), 8));
        }
    }
    close_pair(pair);
}

static void bad_readiness(const struct case_context *context)
{
    int pair[2], epoll = epoll_create1(0);
    make_pair(context, pair);
    struct epoll_event event = {.events = EPOLLOUT};
    for (size_t i = 0; i < 3; i++)
        say_result("add", epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], bad(i)));
    say_result("add NULL", epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], null_pointer()));
    say_result("add", epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], &event));
    say_result("delete with NULL", epoll_ctl(epoll, EPOLL_CTL_DEL, pair[0], null_pointer()));
    say_result("add", epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], &event));
    say_result("delete with bad", epoll_ctl(epoll, EPOLL_CTL_DEL, pair[0], bad(0)));
    say_result("add", epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], &event));
    say_result("wait", epoll_wait(epoll, null_pointer(), 1, 0));
    say_result("wait for none", epoll_wait(epoll, &event, 0, 0));
    say_result("wait for -1", epoll_wait(epoll, &event, hidden(-1), 0));
    say_result("wait for too many", epoll_wait(epoll, &event, hidden(1 << 30), 0));
    say_result("poll NULL", poll(null_pointer(), 1, 0));
    say_result("poll of none", poll(null_pointer(), 0, 0));
    close(epoll);
    close_pair(pair);
}

static void bad_requests(const struct case_context *context)
{
    int pair[2], value = 0;
    make_pair(context, pair);
    for (int side = 0; side < 2; side++) {
        say_result("FIONREAD", ioctl(pair[side], FIONREAD, null_pointer()));
        say_result("FIONBIO", ioctl(pair[side], FIONBIO, null_pointer()));
        say_result("TIOCOUTQ", ioctl(pair[side], TIOCOUTQ, null_pointer()));
        say_result("TCGETS", ioctl(pair[side], 0x5401, &value));
        say_result("unknown", ioctl(pair[side], 0x12345, &value));
        say_result("F_GETFL", fcntl(pair[side], F_GETFL) & O_ACCMODE);
        say_result("F_SETPIPE_SZ", fcntl(pair[side], F_SETPIPE_SZ, 4096));
        say_result("unknown fcntl", fcntl(pair[side], 9999, 1));
        say_result("fsync", fsync(pair[side]));
        say_result("ftruncate", ftruncate(pair[side], 0));
        say_result("lseek", lseek(pair[side], 0, SEEK_CUR));
        say_result("pread", pread(pair[side], &value, 1, 0));
        say_result("pwrite", pwrite(pair[side], "x", 1, 0));
        say_result("fchdir", fchdir(pair[side]));
    }
    close_pair(pair);
}

static void wrong_descriptors(const struct case_context *context)
{
    struct sockaddr_storage address;
    socklen_t length = loopback(context, &address, 1);
    const struct sockaddr *name = (const struct sockaddr *)&address;
    int file = open("/dev/null", O_RDWR);
    const int fds[] = {-1, 1 << 19, 1 << 21, 2147483647, file};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        int fd = fds[i], value = 0;
        socklen_t value_length = sizeof(value);
        say("descriptor %zu", i);
        say_result("bind", bind(fd, name, length));
        say_result("listen", listen(fd, 1));
        say_result("accept", accept(fd, NULL, NULL));
        say_result("connect", connect(fd, name, length));
        say_result("shutdown", shutdown(fd, SHUT_RD));
        say_result("send", send(fd, "x", 1, 0));
        say_result("recv", recv(fd, &value, 1, 0));
        say_result("get", getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &value_length));
        say_result("set", setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, 4));
        say_result("dup2 to itself", dup2(fd, fd) == fd ? 0 : -1);
    }
    say_result("dup2 to -1", dup2(file, -1));
    say_result("dup3 to itself", dup3(file, file, 0));
    say_result("dup3 odd flags", dup3(file, 60, 1));
    close(file);
}

static void listener_as_stream(const struct case_context *context)
{
    char bytes[8];
    struct iovec vector = {bytes, sizeof(bytes)};
    int fd = make_listener(context, 1), null = open("/dev/null", O_RDWR), count = 0;
    say_result("read", read(fd, bytes, 8));
    say_result("readv", readv(fd, &vector, 1));
    say_result("recv peek", recv(fd, bytes, 8, MSG_PEEK));
    say_result("recv oob", recv(fd, bytes, 8, MSG_OOB));
    say_result("recv errqueue", recv(fd, bytes, 8, MSG_ERRQUEUE | MSG_DONTWAIT));
    say_result("send", send(fd, bytes, 8, MSG_NOSIGNAL));
    say_result("send nothing", send(fd, bytes, 0, MSG_NOSIGNAL));
    say_result("sendfile", sendfile(null, fd, NULL, 8));
    say_result("outq", ioctl(fd, TIOCOUTQ, &count));
    say_result("atmark", sockatmark(fd));
    say_result("getpeername", getpeername(fd, (struct sockaddr *)bytes, &(socklen_t){8}));
    close(null);
    close(fd);
}

static void fresh_as_stream(const struct case_context *context)
{
    char bytes[8];
    int fd = make_socket(context, 0), count = -1;
    say_result("read", read(fd, bytes, 8));
    say_result("read nothing", read(fd, bytes, 0));
    say_result("recv nothing", recv(fd, bytes, 0, 0));
    say_result("recv peek", recv(fd, bytes, 8, MSG_PEEK));
    say_result("recv oob", recv(fd, bytes, 8, MSG_OOB));
    say_result("recv waitall", recv(fd, bytes, 8, MSG_WAITALL));
    say_result("send nothing", send(fd, bytes, 0, MSG_NOSIGNAL));
    say_result("FIONREAD", ioctl(fd, FIONREAD, &count));
    say("count %d", count);
    say_result("outq", ioctl(fd, TIOCOUTQ, &count));
    say_result("atmark", sockatmark(fd));
    say_result("shutdown read", shutdown(fd, SHUT_RD));
    say_result("shutdown both", shutdown(fd, SHUT_RDWR));
    say_result("shutdown -1", shutdown(fd, -1));
    say_result("accept", accept(fd, NULL, NULL));
    close(fd);
}

static void bound_as_stream(const struct case_context *context)
{
    struct sockaddr_storage address;
    socklen_t length = loopback(context, &address, 0);
    char bytes[8];
    int fd = make_socket(context, 0), count = -1;
    bind(fd, (struct sockaddr *)&address, length);
    say_events("poll", events_now(fd, POLLIN | POLLOUT | POLLRDHUP));
    say_result("read", read(fd, bytes, 8));
    say_result("recv nothing", recv(fd, bytes, 0, 0));
    say_result("recv peek", recv(fd, bytes, 8, MSG_PEEK));
    say_result("recv oob", recv(fd, bytes, 8, MSG_OOB));
    say_result("send", send(fd, bytes, 8, MSG_NOSIGNAL));
    say_result("send nothing", send(fd, bytes, 0, MSG_NOSIGNAL));
    say_result("FIONREAD", ioctl(fd, FIONREAD, &count));
    say_result("outq", ioctl(fd, TIOCOUTQ, &count));
    say_result("atmark", sockatmark(fd));
    say_result("shutdown", shutdown(fd, SHUT_RDWR));
    say_result("accept", accept(fd, NULL, NULL));
    say_socket_error("SO_ERROR", fd);
    close(fd);
}

static void connected_as_listener(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    for (int side = 0; side < 2; side++) {
        say_result("accept", accept(pair[side], NULL, NULL));
        say_result("accept4", accept4(pair[side], NULL, NULL, SOCK_NONBLOCK));
        say_result("listen", listen(pair[side], 1));
    }
    close_pair(pair);
}

static void accept_flags_wrong(const struct case_context *context)
{
    int fd = make_listener(context, 1), client = make_socket(context, 0);
    connect_to(context, client, port_of(fd));
    wait_for(fd, POLLIN);
    say_result("flags 1", accept4(fd, NULL, NULL, 1));
    say_result("flags -1", accept4(fd, NULL, NULL, -1));
    int accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
    say("nonblocking %d, close-on-exec %d", (fcntl(accepted, F_GETFL) & O_NONBLOCK) != 0,
        fcntl(accepted, F_GETFD));
    close(accepted);
    close(client);
    close(fd);
}

static void sockets_wrong(const struct case_context *context)
{
    static const struct {
        int type, protocol;
    } kinds[] = {{SOCK_STREAM, 17},
                 {SOCK_DGRAM, 6},
                 {SOCK_STREAM, 255},
                 {SOCK_STREAM, -1},
                 {0, 0},
                 {99, 0},
                 {SOCK_STREAM, 6},
                 {SOCK_STREAM | 0x10000, 0},
                 {SOCK_SEQPACKET, 0},
                 {SOCK_STREAM, 256 + 6}};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        int fd = socket(context->family, kinds[i].type, kinds[i].protocol);
        if (fd < 0)
            say_result("socket", fd);
        else
            say("socket made");
        close(fd);
    }
}

/* Mapped, but not to be read: what conformance suites take for a bad address. */
static void protected_addresses(const struct case_context *context)
{
    int fd = make_socket(context, 0), listener = make_listener(context, 1);
    void *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    say_result("bind", bind(fd, page, sizeof(struct sockaddr_in6)));
    say_result("connect", connect(fd, page, sizeof(struct sockaddr_in6)));
    say_result("connect when listening", connect(listener, page, sizeof(struct sockaddr_in6)));
    say_result("connect short", connect(fd, page, 1));
    munmap(page, 4096);
    close(fd);
    close(listener);
}

static void wrong_name_lengths(const struct case_context *context)
{
    int pair[2];
    char bytes[4] = "abc";
    struct sockaddr_storage name;
    socklen_t length = (socklen_t)-1;
    struct iovec vector = {.iov_base = bytes, .iov_len = 1};
    struct msghdr message = {
        .msg_name = &name, .msg_namelen = length, .msg_iov = &vector, .msg_iovlen = 1};
    make_pair(context, pair);
    send(pair[0], "abc", 3, 0);
    settle();
    say_result("recvfrom", recvfrom(pair[1], bytes, 1, 0, (struct sockaddr *)&name, &length));
    say_result("recvmsg", recvmsg(pair[1], &message, 0));
    say_result("sendmsg", sendmsg(pair[1], &message, 0));
    message.msg_name = NULL;
    say_result("recvmsg without name", recvmsg(pair[1], &message, 0));
    say_result("recv", recv(pair[1], bytes, sizeof(bytes), MSG_DONTWAIT));
    close_pair(pair);
}

const struct socket_case cases_wrong[] = {
    {"bad_read_buffer", bad_read_buffer},
    {"bad_write_buffer", bad_write_buffer},
    {"bad_vectors", bad_vectors},
    {"bad_messages", bad_messages},
    {"bad_names", bad_names},
    {"bad_addresses", bad_addresses},
    {"bad_options", bad_options},
    {"bad_readiness", bad_readiness},
    {"bad_requests", bad_requests},
    {"wrong_descriptors", wrong_descriptors},
    {"listener_as_stream", listener_as_stream},
    {"fresh_as_stream", fresh_as_stream},
    {"bound_as_stream", bound_as_stream},
    {"connected_as_listener", connected_as_listener},
    {"accept_flags_wrong", accept_flags_wrong},
    {"sockets_wrong", sockets_wrong},
    {"protected_addresses", protected_addresses},
    {"wrong_name_lengths", wrong_name_lengths},
    {0},
};
