/* Descriptors sent over Unix sockets (SCM_RIGHTS), within a process and a family. */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "case.h"
#include "passing.h"

/* ---- Within a process ------------------------------------------------------------------------ */

static void to_oneself(const struct case_context *context)
{
    int pair[2], channel[2];
    make_pair(context, pair);
    make_channel(channel);
    unsigned local = port_of(pair[1]);
    ino_t inode = inode_of(pair[1]);
    say_result("sendmsg", send_descriptors(channel[0], &pair[1], 1));
    close(pair[1]);
    say_is_empty("not ended by its sender's close", pair[0]);
    int fd = receive_one(channel[1]);
    struct sockaddr_in6 peer = {0}; /* the port lies where IPv4 has it */
    socklen_t length = sizeof(peer);
    say("received: %d, name kept: %d, inode: %d", fd >= 0, port_of(fd) == local,
        inode_of(fd) == inode);
    say_result("getpeername", getpeername(fd, (struct sockaddr *)&peer, &length));
    say("peer: %d", peer.sin6_port == htons((unsigned short)port_of(pair[0])));
    say_works("it works", pair[0], fd);
    close(fd);
    say_end(pair[0]);
    close(pair[0]);
    close_pair(channel);
}

static void the_connecting_end(const struct case_context *context)
{
    int pair[2], channel[2], on = 0;
    socklen_t length = sizeof(on);
    make_pair(context, pair);
    make_channel(channel);
    send_descriptors(channel[0], &pair[0], 1);
    close(pair[0]);
    int fd = receive_one(channel[1]);
    say_works("it works", pair[1], fd);
    say_result("SO_ERROR", getsockopt(fd, SOL_SOCKET, SO_ERROR, &on, &length));
    say_result("shutdown", shutdown(fd, SHUT_WR));
    say_end(pair[1]);
    close(fd);
    close(pair[1]);
    close_pair(channel);
}

static void two_descriptors_of_one(const struct case_context *context)
{
    int pair[2], channel[2];
    make_pair(context, pair);
    make_channel(channel);
    send_descriptors(channel[0], &pair[1], 1);
    int fd = receive_one(channel[1]);
    set_nonblocking(fd, true);
    say("flags shared: %d", (fcntl(pair[1], F_GETFL) & O_NONBLOCK) != 0);
    say_works("by the sent one", pair[0], pair[1]);
    close(pair[1]);
    say_is_empty("lives on", pair[0]);
    set_nonblocking(fd, false);
    say_works("by the received one", pair[0], fd);
    close(fd);
    say_end(pair[0]);
    close(pair[0]);
    close_pair(channel);
}

static void closed_while_under_way(const struct case_context *context)
{
    int pair[2], channel[2];
    make_pair(context, pair);
    make_channel(channel);
    send(pair[0], "sent before", 11, 0);
    wait_for(pair[1], POLLIN);
    send_descriptors(channel[0], &pair[1], 1);
    close(pair[1]);
    send(pair[0], " and after", 10, 0);
    shutdown(pair[0], SHUT_WR);
    settle();
    int fd = receive_one(channel[1]);
    char bytes[64];
    say_bytes("all is there", read_to_end(fd, bytes, sizeof(bytes)), bytes);
    say_result("answer", send(fd, "ok", 2, 0));
    say_bytes("answered", recv(pair[0], bytes, sizeof(bytes), 0), bytes);
    close(fd);
    close(pair[0]);
    close_pair(channel);
}

static void partly_read(const struct case_context *context)
{
    int pair[2], channel[2];
    char bytes[16];
    make_pair(context, pair);
    make_channel(channel);
    send(pair[0], "abcdef", 6, 0);
    wait_for(pair[1], POLLIN);
    say_bytes("before", recv(pair[1], bytes, 2, 0), bytes);
    send_descriptors(channel[0], &pair[1], 1);
    close(pair[1]);
    int fd = receive_one(channel[1]);
    say_bytes("after", recv(fd, bytes, sizeof(bytes), 0), bytes);
    close(fd);
    close(pair[0]);
    close_pair(channel);
}

static void never_received(const struct case_context *context)
{
    int pair[2], channel[2];
    make_pair(context, pair);
    make_channel(channel);
    send_descriptors(channel[0], &pair[1], 1);
    close(pair[1]);
    say_is_empty("under way", pair[0]);
    close_pair(channel);
    say_end(pair[0]);
    close(pair[0]);
}

static void read_without_descriptors(const struct case_context *context)
{
    int pair[2], channel[2];
    char byte;
    make_pair(context, pair);
    make_channel(channel);
    send_descriptors(channel[0], &pair[1], 1);
    close(pair[1]);
    say_result("read", read(channel[1], &byte, 1));
    say_end(pair[0]);
    close(pair[0]);
    close_pair(channel);
}

static void cut_off(const struct case_context *context)
{
    int pair[2], other[2], channel[2], fds[2] = {-1, -1}, flags = 0;
    make_pair(context, pair);
    make_pair(context, other);
    make_channel(channel);
    int sent[] = {pair[1], other[1]};
    send_descriptors(channel[0], sent, 2);
    close(pair[1]);
    close(other[1]);
    say("received %d", receive_descriptors(channel[1], fds, 1, 0, &flags));
    say("MSG_CTRUNC: %d", (flags & MSG_CTRUNC) != 0);
    say_works("the first", pair[0], fds[0]);
    say_end(other[0]);
    close(fds[0]);
    close(pair[0]);
    close(other[0]);
    close_pair(channel);
}

static void peeked(const struct case_context *context)
{
    int pair[2], channel[2], first = -1;
    make_pair(context, pair);
    make_channel(channel);
    send_descriptors(channel[0], &pair[1], 1);
    close(pair[1]);
    say("peeked: %d", receive_descriptors(channel[1], &first, 1, MSG_PEEK, NULL));
    int second = receive_one(channel[1]);
    say("two numbers: %d", first >= 0 && second >= 0 && first != second);
    say_works("by the first", pair[0], first);
    close(first);
    say_works("by the second", pair[0], second);
    close(second);
    say_end(pair[0]);
    close(pair[0]);
    close_pair(channel);
}

static void close_on_exec_flag(const struct case_context *context)
{
    int pair[2], channel[2], fd = -1;
    make_pair(context, pair);
    make_channel(channel);
    for (int i = 0; i < 2; i++) {
        send_descriptors(channel[0], &pair[i], 1);
        receive_descriptors(channel[1], &fd, 1, MSG_CMSG_CLOEXEC, NULL);
        say("MSG_CMSG_CLOEXEC: %d", fcntl(fd, F_GETFD));
        close(fd);
        send_descriptors(channel[0], &pair[i], 1);
        fd = receive_one(channel[1]);
        say("without: %d", fcntl(fd, F_GETFD));
        close(fd);
    }
    say_works("unharmed", pair[0], pair[1]);
    close_pair(pair);
    close_pair(channel);
}

static void several_kinds(const struct case_context *context)
{
    int pair[2], ends[2], channel[2], fds[4] = {-1, -1, -1, -1};
    char byte = 0;
    make_pair(context, pair);
    make_channel(channel);
    if (pipe(ends) < 0)
        say_result("pipe", -1);
    int listener = make_listener(context, 4);
    unsigned port = port_of(listener);
    int sent[] = {ends[0], pair[0], listener, pair[1]};
    send_descriptors(channel[0], sent, 4);
    close_pair(pair);
    close(listener);
    close(ends[0]);
    say("received %d", receive_descriptors(channel[1], fds, 4, 0, NULL));
    (void)!write(ends[1], "p", 1);
    say_result("pipe", read(fds[0], &byte, 1));
    say_works("pair", fds[1], fds[3]);
    int client = make_socket(context, 0);
    say_result("connect", connect_to(context, client, port));
    int accepted = accept(fds[2], NULL, NULL);
    say_works("accepted", client, accepted);
    close(client);
    close(accepted);
    close(ends[1]);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    close_pair(channel);
}

static void by_sendmmsg(const struct case_context *context)
{
    int pair[2], channel[2];
    union passing_control controls[2] = {{{0}}, {{0}}}, received[2] = {{{0}}, {{0}}};
    char bytes[2] = "ab", back[2];
    struct iovec parts[2], back_parts[2];
    struct mmsghdr messages[2] = {0}, answers[2] = {0};
    make_pair(context, pair);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, channel) < 0)
        say_result("socketpair", -1);
    for (int i = 0; i < 2; i++) {
        parts[i] = (struct iovec){&bytes[i], 1};
        back_parts[i] = (struct iovec){&back[i], 1};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i],
                                              .msg_iovlen = 1,
                                              .msg_control = controls[i].bytes,
                                              .msg_controllen = CMSG_SPACE(sizeof(int))};
        answers[i].msg_hdr = (struct msghdr){.msg_iov = &back_parts[i],
                                             .msg_iovlen = 1,
                                             .msg_control = received[i].bytes,
                                             .msg_controllen = CMSG_SPACE(sizeof(int))};
        struct cmsghdr *header = CMSG_FIRSTHDR(&messages[i].msg_hdr);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &pair[i], sizeof(int));
    }
    say_result("sendmmsg", sendmmsg(channel[0], messages, 2, 0));
    close_pair(pair);
    say_result("recvmmsg", recvmmsg(channel[1], answers, 2, 0, NULL));
    for (int i = 0; i < 2; i++) {
        const struct cmsghdr *header = CMSG_FIRSTHDR(&answers[i].msg_hdr);
        pair[i] = -1;
        if (header != NULL)
            memcpy(&pair[i], CMSG_DATA(header), sizeof(int));
    }
    say_works("both", pair[0], pair[1]);
    close_pair(pair);
    close_pair(channel);
}

static void without_an_address(const struct case_context *context)
{
    int channel[2];
    make_channel(channel);
    int listener = make_listener(context, 1), client = make_socket(context, 0);
    send_descriptors(channel[0], &client, 1);
    close(client);
    client = receive_one(channel[1]);
    say_result("connect", connect_to(context, client, port_of(listener)));
    int accepted = accept(listener, NULL, NULL);
    say_works("it works", client, accepted);
    close(client);
    close(accepted);
    close(listener);
    close_pair(channel);
}

static void bound_and_then_listening(const struct case_context *context)
{
    int channel[2];
    struct sockaddr_storage address;
    make_channel(channel);
    int bound = make_socket(context, 0);
    socklen_t length = loopback(context, &address, 0);
    say_result("bind", bind(bound, (struct sockaddr *)&address, length));
    send_descriptors(channel[0], &bound, 1);
    close(bound);
    int listener = receive_one(channel[1]);
    say_result("listen", listen(listener, 2));
    int client = make_socket(context, 0);
    say_result("connect", connect_to(context, client, port_of(listener)));
    int accepted = accept(listener, NULL, NULL);
    say_works("it works", client, accepted);
    close(client);
    close(accepted);
    close(listener);
    close_pair(channel);
}

static void into_an_epoll_set(const struct case_context *context)
{
    int pair[2], channel[2];
    make_pair(context, pair);
    make_channel(channel);
    send_descriptors(channel[0], &pair[1], 1);
    close(pair[1]);
    int fd = receive_one(channel[1]), set = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = fd};
    say_result("add", epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    say_result("nothing yet", epoll_wait(set, &event, 1, 0));
    send(pair[0], "x", 1, 0);
    say_result("then", epoll_wait(set, &event, 1, CASE_WAIT_MS));
    say_events("events", event.events);
    close(set);
    close(fd);
    close(pair[0]);
    close_pair(channel);
}

/* ---- Epoll sets ------------------------------------------------------------------------------ */

static void add_to(int set, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event event = {.events = events, .data.u64 = data};
    say_result("add", epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
}

static void say_event(const char *what, int set, int timeout_ms)
{
    struct epoll_event event = {0};
    say_result(what, epoll_wait(set, &event, 1, timeout_ms));
    say_events("its events", event.events);
    say("its data: %llx", (unsigned long long)event.data.u64);
}

static void set_to_oneself(const struct case_context *context)
{
    int pair[2], channel[2], set = epoll_create1(0);
    make_pair(context, pair);
    make_channel(channel);
    add_to(set, pair[1], EPOLLIN | EPOLLET, 0x123456789abcdef0);
    say_result("sendmsg", send_descriptors(channel[0], &set, 1));
    int other = receive_one(channel[1]);
    say_event("nothing", other, 0);
    send(pair[0], "x", 1, 0);
    say_event("by the received one", other, CASE_WAIT_MS);
    say_event("told already", set, 0);
    send(pair[0], "y", 1, 0);
    say_event("by the sent one", set, CASE_WAIT_MS);
    say_event("told already", other, 0);
    close(set);
    add_to(other, pair[0], EPOLLOUT, 7);
    say_event("its other end", other, CASE_WAIT_MS);
    close(pair[0]);
    say_event("end of the stream", other, CASE_WAIT_MS);
    close(pair[1]);
    say_event("none is left", other, 0);
    close(other);
    close_pair(channel);
}

static void empty_set_to_oneself(const struct case_context *context)
{
    int pair[2], channel[2], set = epoll_create1(0);
    make_pair(context, pair);
    make_channel(channel);
    send_descriptors(channel[0], &set, 1);
    int other = receive_one(channel[1]);
    add_to(set, pair[1], EPOLLIN, 1);
    struct epoll_event event = {.events = EPOLLIN};
    say_result("there already", epoll_ctl(other, EPOLL_CTL_ADD, pair[1], &event));
    send(pair[0], "x", 1, 0);
    say_event("by the received one", other, CASE_WAIT_MS);
    say_event("and by the sent one", set, 0);
    close(set);
    close(other);
    close_pair(pair);
    close_pair(channel);
}

/* What a child says goes to standard output as what its parent says, so they take turns. */
static void take_turn(int channel, bool begins)
{
    char byte = 't';
    if (begins)
        (void)!write(channel, &byte, 1);
    (void)!read(channel, &byte, 1);
}

/* A child that was there before gets the set and the socket: together, or the set first. */
static void set_and_socket_to_a_child(const struct case_context *context, bool together)
{
    int pair[2], channel[2], fds[2];
    make_channel(channel);
    pid_t pid = fork();
    if (pid == 0) {
        if (together) {
            receive_descriptors(channel[1], fds, 2, 0, NULL);
        } else {
            fds[0] = receive_one(channel[1]);
            fds[1] = receive_one(channel[1]);
        }
        say_event("what was told before", fds[0], CASE_QUIET_MS);
        take_turn(channel[1], true);
        say_event("in the child", fds[0], CASE_WAIT_MS);
        char bytes[4];
        say_result("recv", recv(fds[1], bytes, sizeof(bytes), 0));
        take_turn(channel[1], true);
        _exit(0);
    }
    make_pair(context, pair);
    fds[0] = epoll_create1(0);
    fds[1] = pair[1];
    send(pair[0], "abc", 3, 0);
    add_to(fds[0], pair[1], EPOLLIN | EPOLLET, 1);
    say_event("before", fds[0], CASE_WAIT_MS);
    if (together) {
        send_descriptors(channel[0], fds, 2);
    } else {
        send_descriptors(channel[0], &fds[0], 1);
        send_descriptors(channel[0], &fds[1], 1);
    }
    char byte;
    (void)!read(channel[0], &byte, 1);
    send(pair[0], "d", 1, 0);
    take_turn(channel[0], true);
    send(pair[0], "e", 1, 0);
    say_event("in the parent", fds[0], CASE_WAIT_MS);
    (void)!write(channel[0], "t", 1);
    say_status(pid);
    say_event("told already", fds[0], 0);
    close(fds[0]);
    close_pair(pair);
    close_pair(channel);
}

static void set_to_a_child(const struct case_context *context)
{
    set_and_socket_to_a_child(context, true);
}

static void set_before_its_socket(const struct case_context *context)
{
    set_and_socket_to_a_child(context, false);
}

/* A child that has the sockets by fork is sent a set that was made later, and is woken by what
   comes while it waits. */
static void set_of_inherited_sockets(const struct case_context *context)
{
    int pair[2], channel[2];
    make_pair(context, pair);
    make_channel(channel);
    int listener = make_listener(context, 4);
    pid_t pid = fork();
    if (pid == 0) {
        int set = receive_one(channel[1]);
        (void)!write(channel[1], "t", 1);
        say_event("the connection", set, CASE_WAIT_MS);
        take_turn(channel[1], true);
        say_event("the listener", set, CASE_WAIT_MS);
        int accepted = accept(listener, NULL, NULL);
        say("accepted: %d", accepted >= 0);
        add_to(set, accepted, EPOLLIN, 3);
        take_turn(channel[1], true);
        say_event("what was accepted", set, CASE_WAIT_MS);
        _exit(0);
    }
    int set = epoll_create1(0);
    char byte;
    add_to(set, pair[1], EPOLLIN | EPOLLONESHOT, 1);
    add_to(set, listener, EPOLLIN, 2);
    send_descriptors(channel[0], &set, 1);
    (void)!read(channel[0], &byte, 1);
    settle();
    send(pair[0], "x", 1, 0);
    (void)!read(channel[0], &byte, 1);
    say_event("fired once", set, 0);
    int client = make_socket(context, 0);
    connect_to(context, client, port_of(listener));
    take_turn(channel[0], true);
    say_event("only the child can", set, 0);
    (void)!write(channel[0], "t", 1);
    send(client, "y", 1, 0);
    say_status(pid);
    close(client);
    close(listener);
    close(set);
    close_pair(pair);
    close_pair(channel);
}

static void set_never_received(const struct case_context *context)
{
    int pair[2], channel[2], set = epoll_create1(0);
    make_pair(context, pair);
    make_channel(channel);
    add_to(set, pair[1], EPOLLIN, 1);
    send_descriptors(channel[0], &set, 1);
    close(set);
    close_pair(channel);
    say_works("it works", pair[0], pair[1]);
    close(pair[1]);
    say_end(pair[0]);
    close(pair[0]);
}

/* ---- To a child ------------------------------------------------------------------------------ */

static void to_a_child(const struct case_context *context)
{
    int channel[2], pair[2];
    char bytes[64];
    make_channel(channel);
    pid_t pid = fork();
    if (pid == 0) {
        close(channel[0]);
        for (int i = 0; i < 3; i++) {
            int fd = receive_one(channel[1]);
            echo_once(fd);
            close(fd);
        }
        _exit(3);
    }
    close(channel[1]);
    for (int i = 0; i < 3; i++) {
        make_pair(context, pair);
        send_descriptors(channel[0], &pair[1], 1);
        close(pair[1]);
        send(pair[0], "to the child", 12, 0);
        say_bytes("echoed", read_to_end(pair[0], bytes, sizeof(bytes)), bytes);
        close(pair[0]);
    }
    close(channel[0]);
    say_status(pid);
}

static void from_a_child_that_ends(const struct case_context *context)
{
    int channel[2];
    char bytes[16];
    make_channel(channel);
    int listener = make_listener(context, 1);
    pid_t pid = fork();
    if (pid == 0) {
        int client = make_socket(context, 0);
        connect_to(context, client, port_of(listener));
        send(client, "from the child", 14, 0);
        send_descriptors(channel[1], &client, 1);
        _exit(0);
    }
    int accepted = accept(listener, NULL, NULL);
    say_status(pid);
    int fd = receive_one(channel[0]);
    say_bytes("recv", recv(accepted, bytes, sizeof(bytes), 0), bytes);
    say_works("it works", fd, accepted);
    close(fd);
    say_end(accepted);
    close(accepted);
    close(listener);
    close_pair(channel);
}

static void listener_to_a_child(const struct case_context *context)
{
    int channel[2];
    make_channel(channel);
    pid_t pid = fork();
    if (pid == 0) {
        int listener = receive_one(channel[1]);
        for (int i = 0; i < 3; i++) {
            int fd = accept(listener, NULL, NULL);
            echo_once(fd);
            close(fd);
        }
        _exit(0);
    }
    int listener = make_listener(context, 4);
    unsigned port = port_of(listener);
    int waiting[2];
    for (int i = 0; i < 2; i++) {
        waiting[i] = make_socket(context, 0);
        say_result("connect before", connect_to(context, waiting[i], port));
    }
    wait_for(listener, POLLIN);
    send_descriptors(channel[0], &listener, 1);
    close(listener);
    int late = make_socket(context, 0);
    say_result("connect after", connect_to(context, late, port));
    char bytes[16];
    int all[] = {waiting[0], waiting[1], late};
    for (int i = 0; i < 3; i++) {
        send(all[i], "question", 8, 0);
        say_bytes("answer", read_to_end(all[i], bytes, sizeof(bytes)), bytes);
        close(all[i]);
    }
    say_status(pid);
    int refused = make_socket(context, 0);
    say_result("connect at last", connect_to(context, refused, port));
    close(refused);
    close_pair(channel);
}

static void shared_by_both(const struct case_context *context)
{
    int channel[2], pair[2];
    char bytes[32];
    make_pair(context, pair);
    make_channel(channel);
    pid_t pid = fork();
    if (pid == 0) {
        close_pair(pair);
        close(channel[0]);
        int fd = receive_one(channel[1]);
        send(fd, "child,", 6, 0);
        (void)!write(channel[1], "x", 1);
        (void)!read(channel[1], bytes, 1);
        _exit(0);
    }
    close(channel[1]);
    send_descriptors(channel[0], &pair[1], 1);
    (void)!read(channel[0], bytes, 1);
    send(pair[1], "parent", 6, 0);
    close(pair[1]);
    say_bytes("both", recv(pair[0], bytes, 12, MSG_WAITALL), bytes);
    say_is_empty("the child has it yet", pair[0]);
    close(channel[0]);
    say_status(pid);
    say_end(pair[0]);
    close(pair[0]);
}

const struct socket_case cases_passing[] = {
    {"passing_to_oneself", to_oneself},
    {"passing_the_connecting_end", the_connecting_end},
    {"passing_two_descriptors_of_one", two_descriptors_of_one},
    {"passing_closed_while_under_way", closed_while_under_way},
    {"passing_partly_read", partly_read},
    {"passing_never_received", never_received},
    {"passing_read_without_descriptors", read_without_descriptors},
    {"passing_cut_off", cut_off},
    {"passing_peeked", peeked},
    {"passing_close_on_exec_flag", close_on_exec_flag},
    {"passing_several_kinds", several_kinds},
    {"passing_by_sendmmsg", by_sendmmsg},
    {"passing_without_an_address", without_an_address},
    {"passing_bound_and_then_listening", bound_and_then_listening},
    {"passing_into_an_epoll_set", into_an_epoll_set},
    {"passing_set_to_oneself", set_to_oneself},
    {"passing_empty_set_to_oneself", empty_set_to_oneself},
    {"passing_set_to_a_child", set_to_a_child},
    {"passing_set_before_its_socket", set_before_its_socket},
    {"passing_set_of_inherited_sockets", set_of_inherited_sockets},
    {"passing_set_never_received", set_never_received},
    {"passing_to_a_child", to_a_child},
    {"passing_from_a_child_that_ends", from_a_child_that_ends},
    {"passing_listener_to_a_child", listener_to_a_child},
    {"passing_shared_by_both", shared_by_both},
    {0},
};
