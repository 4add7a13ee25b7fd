/* A program whose every call may find no memory, once: it tries again, and then all is as ever.
   Exit status 0: all bytes came, all events, and no descriptor is left. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PAIRS = 40, STREAM_BYTES = 200000, PIECE_BYTES = 7000, AHEAD_BYTES = 60000 };

static int clients[PAIRS], servers[PAIRS];

static bool no_memory(void)
{
    return errno == ENOBUFS || errno == ENOMEM;
}

static void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

/* The call, and once more where there was no memory. */
#define TRY(call)                                                                                  \
    ({                                                                                             \
        long result = (call);                                                                      \
        if (result < 0 && no_memory())                                                             \
            result = (call);                                                                       \
        if (result < 0)                                                                            \
            fail(#call);                                                                           \
        (int)result;                                                                               \
    })

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < 1000; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void set_some(int fd)
{
    static const int options[][3] = {
        {SOL_SOCKET, SO_RCVBUF, 60000},     {SOL_SOCKET, SO_PRIORITY, 3},
        {SOL_SOCKET, SO_TIMESTAMP, 1},      {SOL_SOCKET, SO_ZEROCOPY, 1},
        {IPPROTO_TCP, TCP_KEEPCNT, 5},      {IPPROTO_TCP, TCP_NODELAY, 1},
        {IPPROTO_TCP, TCP_DEFER_ACCEPT, 1},
    };
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        TRY(setsockopt(fd, options[i][0], options[i][1], &options[i][2], sizeof(int)));
}

static int make_pairs(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof(address);
    int listener = TRY(socket(AF_INET, SOCK_STREAM, 0));
    TRY(bind(listener, (struct sockaddr *)&address, sizeof(address)));
    TRY(listen(listener, PAIRS));
    TRY(getsockname(listener, (struct sockaddr *)&address, &length));
    for (int i = 0; i < PAIRS; i++) {
        clients[i] = TRY(socket(AF_INET, SOCK_STREAM, 0));
        if (i == 3)
            set_some(clients[i]);
        TRY(connect(clients[i], (struct sockaddr *)&address, sizeof(address)));
        servers[i] = TRY(accept(listener, NULL, NULL));
    }
    return listener;
}

/* Pieces that are far ahead of their reader, so that much has to be remembered of them. A
   connection may fail for want of memory, and says so: then what it gave before was right. */
static void stream(int from, int to)
{
    static unsigned char sent[STREAM_BYTES], received[STREAM_BYTES];
    size_t out = 0, in = 0;
    for (size_t i = 0; i < STREAM_BYTES; i++)
        sent[i] = (unsigned char)(i * 7 + i / 251);
    while (in < STREAM_BYTES) {
        size_t piece = STREAM_BYTES - out < PIECE_BYTES ? STREAM_BYTES - out : PIECE_BYTES;
        ssize_t result = piece > 0 ? send(from, sent + out, piece, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
        if (result > 0)
            out += (size_t)result;
        if (out < AHEAD_BYTES && result >= 0)
            continue;
        result = recv(to, received + in, STREAM_BYTES - in, MSG_DONTWAIT);
        if (result > 0)
            in += (size_t)result;
        else if (result < 0 && errno == ENOBUFS)
            break;
        else if (result == 0 || errno != EAGAIN)
            fail("recv");
    }
    if (memcmp(sent, received, in) != 0)
        fail("bytes");
}

/* All but the first pair, whose connection may have failed. */
static void watch_all(void)
{
    struct epoll_event event = {.events = EPOLLIN}, events[PAIRS];
    struct pollfd pollfds[PAIRS];
    fd_set writable;
    int set = TRY(epoll_create1(EPOLL_CLOEXEC));
    FD_ZERO(&writable);
    for (int i = 1; i < PAIRS; i++) {
        event.data.fd = servers[i];
        TRY(epoll_ctl(set, EPOLL_CTL_ADD, servers[i], &event));
        FD_SET(clients[i], &writable);
        pollfds[i] = (struct pollfd){.fd = servers[i], .events = POLLIN};
        TRY(send(clients[i], "abc", 3, i == 5 ? MSG_OOB : 0));
    }
    if (TRY(poll(pollfds + 1, PAIRS - 1, 0)) != PAIRS - 1)
        fail("poll");
    if (TRY(select(FD_SETSIZE, NULL, &writable, NULL, NULL)) != PAIRS - 1)
        fail("select");
    int ready = TRY(epoll_wait(set, events, PAIRS, 0));
    if (ready != PAIRS - 1)
        fail("epoll_wait");
    for (int i = 0; i < ready; i++) {
        char bytes[8];
        TRY(recv(events[i].data.fd, bytes, sizeof(bytes), 0));
    }
    close(set);
}

int main(void)
{
    unsigned before = open_descriptors();
    int listener = make_pairs();
    stream(clients[0], servers[0]);
    watch_all();
    for (int i = 0; i < PAIRS; i++) {
        char bytes[8];
        close(clients[i]);
        if (i != 0 && i != 5 && TRY(recv(servers[i], bytes, sizeof(bytes), 0)) != 0)
            fail("end");
        close(servers[i]);
    }
    close(listener);
    if (open_descriptors() != before)
        fail("descriptors");
    return 0;
}
