/* Each call on a socket in every state that a stream's socket can be in: what it answers, and what
   the socket's readiness and its error are before and after. One case a call, a line a state. */
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "case.h"

/* All that is to be closed after. */
struct stage {
    int fd;   /* the socket in question, which does not block */
    int peer; /* the other end; -1: none */
    int listener;
};

static const short all_events =
    POLLIN | POLLPRI | POLLOUT | POLLRDHUP | POLLRDNORM | POLLWRNORM | POLLRDBAND | POLLWRBAND;

static void reset_by(int fd)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(fd);
}

/* ---- States ---------------------------------------------------------------------------------- */

static void fresh(const struct case_context *context, struct stage *stage)
{
    stage->fd = make_socket(context, 0);
}

static void bound(const struct case_context *context, struct stage *stage)
{
    struct sockaddr_storage address;
    socklen_t length = loopback(context, &address, 0);
    stage->fd = make_socket(context, 0);
    if (bind(stage->fd, (struct sockaddr *)&address, length) < 0)
        say_result("bind", -1);
}

static void listening(const struct case_context *context, struct stage *stage)
{
    stage->fd = make_listener(context, 4);
}

static void listening_with_a_queue(const struct case_context *context, struct stage *stage)
{
    stage->fd = make_listener(context, 4);
    stage->peer = make_socket(context, 0);
    connect_to(context, stage->peer, port_of(stage->fd));
    wait_for(stage->fd, POLLIN);
}

static void listener_shut(const struct case_context *context, struct stage *stage)
{
    stage->fd = make_listener(context, 4);
    shutdown(stage->fd, SHUT_RD);
}

static unsigned closed_port(const struct case_context *context)
{
    int listener = make_listener(context, 1);
    unsigned port = port_of(listener);
    close(listener);
    return port;
}

static void refused(const struct case_context *context, struct stage *stage)
{
    unsigned port = closed_port(context);
    stage->fd = make_socket(context, 0);
    connect_to(context, stage->fd, port);
}

static void refused_and_not_told(const struct case_context *context, struct stage *stage)
{
    unsigned port = closed_port(context);
    stage->fd = make_socket(context, SOCK_NONBLOCK);
    connect_to(context, stage->fd, port);
    wait_for(stage->fd, POLLOUT);
}

static void connected(const struct case_context *context, struct stage *stage)
{
    int pair[2];
    make_pair(context, pair);
    stage->fd = pair[0];
    stage->peer = pair[1];
}

static void accepted(const struct case_context *context, struct stage *stage)
{
    int pair[2];
    make_pair(context, pair);
    stage->fd = pair[1];
    stage->peer = pair[0];
}

static void with_data(const struct case_context *context, struct stage *stage)
{
    accepted(context, stage);
    send(stage->peer, "bytes", 5, 0);
    wait_for(stage->fd, POLLIN);
}

static void with_urgent_data(const struct case_context *context, struct stage *stage)
{
    accepted(context, stage);
    send(stage->peer, "ab", 2, 0);
    send(stage->peer, "u", 1, MSG_OOB);
    wait_for(stage->fd, POLLPRI);
}

static void full(const struct case_context *context, struct stage *stage)
{
    static const char bytes[65536];
    accepted(context, stage);
    while (send(stage->fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        wait_for(stage->peer, POLLIN);
    settle();
    while (send(stage->fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        settle();
}

static void peer_shut(const struct case_context *context, struct stage *stage)
{
    accepted(context, stage);
    shutdown(stage->peer, SHUT_WR);
    wait_for(stage->fd, POLLRDHUP);
}

static void peer_shut_after_data(const struct case_context *context, struct stage *stage)
{
    with_data(context, stage);
    shutdown(stage->peer, SHUT_WR);
    wait_for(stage->fd, POLLRDHUP);
}

static void shut_for_writing(const struct case_context *context, struct stage *stage)
{
    connected(context, stage);
    shutdown(stage->fd, SHUT_WR);
    wait_for(stage->peer, POLLRDHUP);
}

static void shut_for_reading(const struct case_context *context, struct stage *stage)
{
    connected(context, stage);
    shutdown(stage->fd, SHUT_RD);
}

static void shut_for_reading_with_data(const struct case_context *context, struct stage *stage)
{
    with_data(context, stage);
    shutdown(stage->fd, SHUT_RD);
}

static void shut_for_both(const struct case_context *context, struct stage *stage)
{
    connected(context, stage);
    shutdown(stage->fd, SHUT_RDWR);
    wait_for(stage->peer, POLLRDHUP);
}

/* The one that ends last has no TIME_WAIT. */
static void shut_after_its_peer(const struct case_context *context, struct stage *stage)
{
    peer_shut(context, stage);
    shutdown(stage->fd, SHUT_WR);
    wait_for(stage->peer, POLLRDHUP);
    wait_for(stage->fd, 0);
}

static void shut_before_its_peer(const struct case_context *context, struct stage *stage)
{
    shut_for_writing(context, stage);
    shutdown(stage->peer, SHUT_WR);
    wait_for(stage->fd, 0);
}

static void peer_closed(const struct case_context *context, struct stage *stage)
{
    accepted(context, stage);
    close(stage->peer);
    stage->peer = -1;
    wait_for(stage->fd, POLLRDHUP);
}

static void sent_to_a_closed_peer(const struct case_context *context, struct stage *stage)
{
    peer_closed(context, stage);
    send(stage->fd, "late", 4, 0);
    wait_for(stage->fd, 0);
}

static void reset(const struct case_context *context, struct stage *stage)
{
    accepted(context, stage);
    reset_by(stage->peer);
    stage->peer = -1;
    wait_for(stage->fd, 0);
}

static void reset_after_data(const struct case_context *context, struct stage *stage)
{
    with_data(context, stage);
    reset_by(stage->peer);
    stage->peer = -1;
    wait_for(stage->fd, 0);
}

static void reset_after_its_end(const struct case_context *context, struct stage *stage)
{
    shut_for_writing(context, stage);
    reset_by(stage->peer);
    stage->peer = -1;
    wait_for(stage->fd, 0);
}

static void dissolved(const struct case_context *context, struct stage *stage)
{
    const struct sockaddr none = {.sa_family = AF_UNSPEC};
    connected(context, stage);
    (void)connect(stage->fd, &none, sizeof(none));
}

static const struct {
    const char *name;
    void (*make)(const struct case_context *context, struct stage *stage);
} states[] = {
    {"fresh", fresh},
    {"bound", bound},
    {"listening", listening},
    {"listening with a queue", listening_with_a_queue},
    {"listener shut", listener_shut},
    {"refused", refused},
    {"refused and not told", refused_and_not_told},
    {"connected", connected},
    {"accepted", accepted},
    {"with data", with_data},
    {"with urgent data", with_urgent_data},
    {"full", full},
    {"peer shut", peer_shut},
    {"peer shut after data", peer_shut_after_data},
    {"shut for writing", shut_for_writing},
    {"shut for reading", shut_for_reading},
    {"shut for reading with data", shut_for_reading_with_data},
    {"shut for both", shut_for_both},
    {"shut after its peer", shut_after_its_peer},
    {"shut before its peer", shut_before_its_peer},
    {"peer closed", peer_closed},
    {"sent to a closed peer", sent_to_a_closed_peer},
    {"reset", reset},
    {"reset after data", reset_after_data},
    {"reset after its end", reset_after_its_end},
    {"dissolved", dissolved},
};

enum { STATES = sizeof(states) / sizeof(states[0]) };

/* ---- What is done in each -------------------------------------------------------------------- */

typedef void probe_fn(const struct case_context *context, const struct stage *stage,
                      const char *state);

static void say_readiness(const char *state, int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = all_events};
    char what[96];
    poll(&pollfd, 1, 0);
    (void)snprintf(what, sizeof(what), "%s, then", state);
    say_events(what, (unsigned short)pollfd.revents);
}

static void in_every_state(const struct case_context *context, probe_fn *probe, bool changes)
{
    (void)signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < STATES; i++) {
        struct stage stage = {.fd = -1, .peer = -1, .listener = -1};
        states[i].make(context, &stage);
        set_nonblocking(stage.fd, true);
        probe(context, &stage, states[i].name);
        if (changes) {
            say_readiness(states[i].name, stage.fd);
            say_socket_error(states[i].name, stage.fd);
        }
        close(stage.fd);
        close(stage.peer);
    }
}

#define CASE_THAT_LOOKS(name)                                                                      \
    static void each_##name(const struct case_context *context)                                    \
    {                                                                                              \
        in_every_state(context, name, false);                                                      \
    }

#define CASE_THAT_CHANGES(name)                                                                    \
    static void each_##name(const struct case_context *context)                                    \
    {                                                                                              \
        in_every_state(context, name, true);                                                       \
    }

#define PROBE(name)                                                                                \
    static void name(const struct case_context *context, const struct stage *stage,                \
                     const char *state)

PROBE(poll_mask)
{
    (void)context;
    struct pollfd pollfd = {.fd = stage->fd, .events = all_events};
    poll(&pollfd, 1, 0);
    say_events(state, (unsigned short)pollfd.revents);
}

PROBE(epoll_mask)
{
    (void)context;
    int set = epoll_create1(0);
    struct epoll_event event = {.events = (unsigned short)all_events | EPOLLET};
    epoll_ctl(set, EPOLL_CTL_ADD, stage->fd, &event);
    int count = epoll_wait(set, &event, 1, 0);
    say_events(state, count == 1 ? event.events : 0);
    say("%s, again = %d", state, epoll_wait(set, &event, 1, 0));
    close(set);
}

PROBE(select_sets)
{
    (void)context;
    fd_set readable, writable, special;
    struct timeval none = {0};
    FD_ZERO(&readable);
    FD_ZERO(&writable);
    FD_ZERO(&special);
    FD_SET(stage->fd, &readable);
    FD_SET(stage->fd, &writable);
    FD_SET(stage->fd, &special);
    int count = select(stage->fd + 1, &readable, &writable, &special, &none);
    say("%s = %d: %d %d %d", state, count, FD_ISSET(stage->fd, &readable),
        FD_ISSET(stage->fd, &writable), FD_ISSET(stage->fd, &special));
}

static void say_request(const char *state, const char *name, int fd, unsigned long request,
                        bool by_sign)
{
    char what[96];
    int value = -1;
    int result = ioctl(fd, request, &value);
    (void)snprintf(what, sizeof(what), "%s, %s", state, name);
    if (result < 0)
        say_result(what, result);
    else
        say("%s: %d", what, by_sign ? value > 0 : value);
}

PROBE(queues)
{
    (void)context;
    bool is_full = strcmp(state, "full") == 0;
    say_request(state, "FIONREAD", stage->fd, FIONREAD, false);
    /* Elsewhere they count a FIN that waits for its acknowledgement, or what Linux has left over
       of a connection that is no more. */
    if (stage->peer >= 0 && strncmp(state, "shut", 4) != 0 && strcmp(state, "dissolved") != 0) {
        say_request(state, "SIOCOUTQ", stage->fd, SIOCOUTQ, is_full);
        say_request(state, "SIOCOUTQNSD", stage->fd, SIOCOUTQNSD, is_full);
    }
    say_request(state, "SIOCATMARK", stage->fd, SIOCATMARK, false);
}

PROBE(names)
{
    (void)context;
    struct sockaddr_in6 address = {0}; /* the port lies where IPv4 has it */
    socklen_t length = sizeof(address);
    int result = getpeername(stage->fd, (struct sockaddr *)&address, &length);
    say_result(state, result);
    if (result == 0)
        say("%s: family %d, %d bytes, port %d", state, address.sin6_family, (int)length,
            address.sin6_port != 0);
    length = sizeof(address);
    result = getsockname(stage->fd, (struct sockaddr *)&address, &length);
    say_result(state, result);
    say("%s: family %d, %d bytes, port %d", state, address.sin6_family, (int)length,
        address.sin6_port != 0);
}

PROBE(socket_error)
{
    (void)context;
    say_socket_error(state, stage->fd);
    say_socket_error(state, stage->fd);
}

PROBE(state_of_info)
{
    (void)context;
    struct tcp_info info = {0};
    socklen_t length = sizeof(info);
    say_result(state, getsockopt(stage->fd, IPPROTO_TCP, TCP_INFO, &info, &length));
    /* The acknowledgement of a FIN may be delayed. */
    if (info.tcpi_state == TCP_FIN_WAIT1)
        info.tcpi_state = TCP_FIN_WAIT2;
    say("%s: state %d", state, info.tcpi_state);
}

static void say_received(const char *state, int fd, int flags)
{
    char bytes[16];
    say_bytes(state, recv(fd, bytes, sizeof(bytes), flags), bytes);
}

PROBE(receive_twice)
{
    (void)context;
    say_received(state, stage->fd, 0);
    say_received(state, stage->fd, 0);
}

PROBE(peek)
{
    (void)context;
    say_received(state, stage->fd, MSG_PEEK);
}

PROBE(receive_urgent)
{
    (void)context;
    say_received(state, stage->fd, MSG_OOB);
}

PROBE(peek_urgent)
{
    (void)context;
    say_received(state, stage->fd, MSG_OOB | MSG_PEEK);
    say_received(state, stage->fd, MSG_OOB);
    say_received(state, stage->fd, MSG_OOB);
}

PROBE(receive_errors)
{
    (void)context;
    say_received(state, stage->fd, MSG_ERRQUEUE);
}

PROBE(receive_nothing)
{
    (void)context;
    char byte;
    say_result(state, recv(stage->fd, &byte, 0, 0));
    say_result(state, read(stage->fd, &byte, 0));
    say_result(state, readv(stage->fd, NULL, 0));
}

PROBE(cut_short)
{
    (void)context;
    say_result(state, recv(stage->fd, NULL, 3, MSG_TRUNC));
    say_received(state, stage->fd, 0);
}

PROBE(receive_all)
{
    (void)context;
    say_received(state, stage->fd, MSG_WAITALL);
}

PROBE(receive_with_name)
{
    (void)context;
    char bytes[16];
    struct sockaddr_storage address;
    struct iovec part = {bytes, 3};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_name = &address,
                             .msg_namelen = sizeof(address),
                             .msg_flags = -1};
    ssize_t got = recvmsg(stage->fd, &message, 0);
    say_result(state, got);
    if (got >= 0)
        say("%s: name of %u bytes, flags %#x", state, message.msg_namelen, message.msg_flags);
}

PROBE(send_byte)
{
    (void)context;
    say_result(state, send(stage->fd, "x", 1, MSG_NOSIGNAL));
}

PROBE(send_nothing)
{
    (void)context;
    say_result(state, send(stage->fd, "x", 0, MSG_NOSIGNAL));
    say_result(state, write(stage->fd, "x", 0));
    say_result(state, writev(stage->fd, NULL, 0));
}

PROBE(send_twice)
{
    (void)context;
    if (strcmp(state, "full") == 0)
        return; /* the buffers may yet grow */
    say_result(state, send(stage->fd, "x", 1, MSG_NOSIGNAL));
    (void)events_now(stage->fd, 0);
    say_result(state, send(stage->fd, "x", 1, MSG_NOSIGNAL));
}

PROBE(send_urgent)
{
    (void)context;
    say_result(state, send(stage->fd, "x", 1, MSG_OOB | MSG_NOSIGNAL));
}

PROBE(send_to_a_name)
{
    struct sockaddr_storage address;
    socklen_t length = loopback(context, &address, 9);
    say_result(state, sendto(stage->fd, "x", 1, MSG_NOSIGNAL, (struct sockaddr *)&address, length));
    address.ss_family = AF_UNIX;
    say_result(state, sendto(stage->fd, "x", 1, MSG_NOSIGNAL, (struct sockaddr *)&address, 1));
}

PROBE(send_a_file)
{
    (void)context;
    int file = open("/proc/self/exe", O_RDONLY);
    say_result(state, sendfile(stage->fd, file, NULL, 10));
    say_result(state, sendfile(stage->fd, file, NULL, 0));
    close(file);
}

PROBE(splice_out)
{
    (void)context;
    int pipes[2];
    if (pipe(pipes) < 0)
        return;
    say_result(state, splice(stage->fd, NULL, pipes[1], NULL, 100, SPLICE_F_NONBLOCK));
    close_pair(pipes);
}

PROBE(splice_in)
{
    (void)context;
    int pipes[2];
    if (pipe(pipes) < 0)
        return;
    say_result(state, splice(pipes[0], NULL, stage->fd, NULL, 100, SPLICE_F_NONBLOCK));
    (void)!write(pipes[1], "piped", 5);
    say_result(state, splice(pipes[0], NULL, stage->fd, NULL, 100, SPLICE_F_NONBLOCK));
    close_pair(pipes);
}

PROBE(shut_reading)
{
    (void)context;
    say_result(state, shutdown(stage->fd, SHUT_RD));
}

PROBE(shut_writing)
{
    (void)context;
    say_result(state, shutdown(stage->fd, SHUT_WR));
    say_result(state, shutdown(stage->fd, SHUT_WR));
}

PROBE(shut_all)
{
    (void)context;
    say_result(state, shutdown(stage->fd, SHUT_RDWR));
    say_received(state, stage->fd, 0);
    say_result(state, send(stage->fd, "x", 1, MSG_NOSIGNAL));
}

PROBE(listen_on)
{
    (void)context;
    say_result(state, listen(stage->fd, 2));
}

PROBE(accept_on)
{
    (void)context;
    int fd = accept(stage->fd, NULL, NULL);
    say_result(state, fd < 0 ? fd : 0);
    close(fd);
}

PROBE(bind_to_any)
{
    struct sockaddr_storage address;
    socklen_t length = loopback(context, &address, 0);
    /* Linux binds what was connected once more, though it can neither connect nor listen then. */
    if (strncmp(state, "re", 2) != 0 && strncmp(state, "shut ", 5) != 0 &&
        strncmp(state, "sent", 4) != 0)
        say_result(state, bind(stage->fd, (struct sockaddr *)&address, length));
}

PROBE(connect_on)
{
    int listener = make_listener(context, 1);
    say_result(state, connect_to(context, stage->fd, port_of(listener)));
    (void)events_now(stage->fd, POLLOUT);
    say_result(state, connect_to(context, stage->fd, port_of(listener)));
    close(listener);
}

PROBE(dissolve)
{
    (void)context;
    const struct sockaddr none = {.sa_family = AF_UNSPEC};
    say_result(state, connect(stage->fd, &none, sizeof(none)));
    say("%s: port kept %d", state, port_of(stage->fd) != 0);
    say_received(state, stage->fd, 0);
}

PROBE(connect_by_short_name)
{
    struct sockaddr_storage address;
    (void)loopback(context, &address, 9);
    say_result(state, connect(stage->fd, (struct sockaddr *)&address, 1));
    say_result(state, connect(stage->fd, (struct sockaddr *)&address, 7));
    address.ss_family = AF_UNIX;
    say_result(state, connect(stage->fd, (struct sockaddr *)&address, sizeof(struct sockaddr_in)));
}

PROBE(make_blocking_and_time_out)
{
    (void)context;
    if (strcmp(state, "full") == 0)
        return; /* the buffers may yet grow */
    const struct timeval soon = {.tv_usec = 1000};
    char byte;
    setsockopt(stage->fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
    setsockopt(stage->fd, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof(soon));
    set_nonblocking(stage->fd, false);
    say_result(state, recv(stage->fd, &byte, 1, 0));
    say_result(state, send(stage->fd, "x", 1, MSG_NOSIGNAL));
    int fd = accept(stage->fd, NULL, NULL);
    say_result(state, fd < 0 ? fd : 0);
    close(fd);
}

/* What its peer finds. */
PROBE(close_it)
{
    (void)context;
    if (stage->peer < 0 || strcmp(state, "full") == 0)
        return;
    int copy = dup(stage->peer);
    char bytes[16];
    close(stage->fd);
    (void)events_now(copy, POLLRDHUP);
    struct pollfd pollfd = {.fd = copy, .events = all_events};
    poll(&pollfd, 1, 0);
    say_events(state, (unsigned short)pollfd.revents);
    say_bytes(state, recv(copy, bytes, sizeof(bytes), MSG_DONTWAIT), bytes);
    say_bytes(state, recv(copy, bytes, sizeof(bytes), MSG_DONTWAIT), bytes);
    say_socket_error(state, copy);
    close(copy);
}

PROBE(linger_zero)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    say_result(state, setsockopt(stage->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)));
    close_it(context, stage, state);
}

PROBE(seek_and_such)
{
    (void)context;
    char byte;
    say_result(state, lseek(stage->fd, 0, SEEK_CUR));
    say_result(state, pread(stage->fd, &byte, 1, 0));
    say_result(state, pwrite(stage->fd, "x", 1, 0));
    say_result(state, ftruncate(stage->fd, 0));
    say_result(state, fsync(stage->fd));
    say_result(state, fallocate(stage->fd, 0, 0, 1));
}

CASE_THAT_LOOKS(poll_mask)
CASE_THAT_LOOKS(epoll_mask)
CASE_THAT_LOOKS(select_sets)
CASE_THAT_LOOKS(queues)
CASE_THAT_LOOKS(names)
CASE_THAT_CHANGES(socket_error)
CASE_THAT_LOOKS(state_of_info)
CASE_THAT_CHANGES(receive_twice)
CASE_THAT_CHANGES(peek)
CASE_THAT_CHANGES(receive_urgent)
CASE_THAT_CHANGES(peek_urgent)
CASE_THAT_CHANGES(receive_errors)
CASE_THAT_CHANGES(receive_nothing)
CASE_THAT_CHANGES(cut_short)
CASE_THAT_CHANGES(receive_all)
CASE_THAT_CHANGES(receive_with_name)
CASE_THAT_CHANGES(send_byte)
CASE_THAT_CHANGES(send_nothing)
CASE_THAT_CHANGES(send_twice)
CASE_THAT_CHANGES(send_urgent)
CASE_THAT_CHANGES(send_to_a_name)
CASE_THAT_CHANGES(send_a_file)
CASE_THAT_CHANGES(splice_out)
CASE_THAT_CHANGES(splice_in)
CASE_THAT_CHANGES(shut_reading)
CASE_THAT_CHANGES(shut_writing)
CASE_THAT_CHANGES(shut_all)
CASE_THAT_CHANGES(listen_on)
CASE_THAT_CHANGES(accept_on)
CASE_THAT_CHANGES(bind_to_any)
CASE_THAT_CHANGES(connect_on)
CASE_THAT_CHANGES(dissolve)
CASE_THAT_CHANGES(connect_by_short_name)
CASE_THAT_CHANGES(make_blocking_and_time_out)
CASE_THAT_LOOKS(close_it)
CASE_THAT_LOOKS(linger_zero)
CASE_THAT_CHANGES(seek_and_such)

const struct socket_case cases_states[] = {
    {"each_state_polled", each_poll_mask},
    {"each_state_in_epoll", each_epoll_mask},
    {"each_state_selected", each_select_sets},
    {"each_state_queues", each_queues},
    {"each_state_names", each_names},
    {"each_state_error_twice", each_socket_error},
    {"each_state_info", each_state_of_info},
    {"each_state_receive", each_receive_twice},
    {"each_state_peek", each_peek},
    {"each_state_receive_urgent", each_receive_urgent},
    {"each_state_peek_urgent", each_peek_urgent},
    {"each_state_error_queue", each_receive_errors},
    {"each_state_receive_nothing", each_receive_nothing},
    {"each_state_truncate", each_cut_short},
    {"each_state_receive_all", each_receive_all},
    {"each_state_receive_with_name", each_receive_with_name},
    {"each_state_send", each_send_byte},
    {"each_state_send_nothing", each_send_nothing},
    {"each_state_send_twice", each_send_twice},
    {"each_state_send_urgent", each_send_urgent},
    {"each_state_send_to_a_name", each_send_to_a_name},
    {"each_state_send_a_file", each_send_a_file},
    {"each_state_splice_out", each_splice_out},
    {"each_state_splice_in", each_splice_in},
    {"each_state_shut_reading", each_shut_reading},
    {"each_state_shut_writing", each_shut_writing},
    {"each_state_shut_both", each_shut_all},
    {"each_state_listen", each_listen_on},
    {"each_state_accept", each_accept_on},
    {"each_state_bind", each_bind_to_any},
    {"each_state_connect", each_connect_on},
    {"each_state_dissolve", each_dissolve},
    {"each_state_wrong_names", each_connect_by_short_name},
    {"each_state_times_out", each_make_blocking_and_time_out},
    {"each_state_close", each_close_it},
    {"each_state_linger_zero", each_linger_zero},
    {"each_state_not_a_file", each_seek_and_such},
    {0},
};
