/* Descriptors sent over Unix sockets (SCM_RIGHTS), within a process, a family, and beyond. */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "case.h"

enum { DESCRIPTORS_MAX = 8 };

union control {
    char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
    struct cmsghdr alignment;
};

/* One byte with `count` descriptors. */
static ssize_t send_descriptors(int channel, const int *fds, size_t count)
{
    union control control = {{0}};
    char byte = 'd';
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(header), fds, count * sizeof(int));
    return sendmsg(channel, &message, 0);
}

/* @param room  descriptors that there is room for. @return how many came; -1. */
static int receive_descriptors(int channel, int *fds, size_t room, int flags, int *message_flags)
{
    union control control = {{0}};
    char byte;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = room == 0 ? 0 : CMSG_LEN(room * sizeof(int))};
    ssize_t got = recvmsg(channel, &message, flags);
    if (message_flags != NULL)
        *message_flags = message.msg_flags;
    struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (header == NULL)
        return got > 0 ? 0 : -1;
    size_t bytes = header->cmsg_len - CMSG_LEN(0);
    memcpy(fds, CMSG_DATA(header), bytes);
    return (int)(bytes / sizeof(int));
}

static int receive_one(int channel)
{
    int fd = -1;
    return receive_descriptors(channel, &fd, 1, 0, NULL) == 1 ? fd : -1;
}

static void make_channel(int channel[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, channel) < 0)
        say_result("socketpair", -1);
}

static void say_status(pid_t pid)
{
    int status = 0;
    waitpid(pid, &status, 0);
    say("exit %d", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
}

/* Both directions of a pair. */
static void say_works(const char *what, int one, int other)
{
    char bytes[8] = "";
    send(one, "there", 5, 0);
    wait_for(other, POLLIN);
    ssize_t there = recv(other, bytes, sizeof(bytes), 0);
    send(other, "back", 4, 0);
    wait_for(one, POLLIN);
    ssize_t back = recv(one, bytes, sizeof(bytes), 0);
    say("%s: %zd there, %zd back", what, there, back);
}

static void say_end(int fd)
{
    char byte;
    say_events("end", wait_for(fd, POLLIN | POLLRDHUP));
    say_result("recv", recv(fd, &byte, 1, 0));
}

static void say_is_empty(const char *what, int fd)
{
    char byte;
    say_result(what, recv(fd, &byte, 1, MSG_DONTWAIT));
}

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
    union control controls[2] = {{{0}}, {{0}}}, received[2] = {{{0}}, {{0}}};
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

/* ---- To a child ------------------------------------------------------------------------------ */

static void echo_once(int fd)
{
    char bytes[64];
    ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
    if (got > 0)
        send(fd, bytes, (size_t)got, 0);
}

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

/* ---- To another program ---------------------------------------------------------------------- */

static int program_echo(const struct case_context *context)
{
    (void)context;
    char bytes[64];
    int fd = receive_one(STDIN_FILENO);
    ssize_t got, total = 0;
    while ((got = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
        send(fd, bytes, (size_t)got, 0);
        total += got;
    }
    return fd < 0 ? 99 : (int)total;
}

static int program_accept(const struct case_context *context)
{
    (void)context;
    int listener = receive_one(STDIN_FILENO);
    int fd = accept(listener, NULL, NULL);
    echo_once(fd);
    return fd < 0 ? 99 : 0;
}

/* It has connections of its own when the descriptor comes. */
static int program_busy_echo(const struct case_context *context)
{
    int pair[2];
    char byte = 0;
    make_pair(context, pair);
    send(pair[0], "m", 1, 0);
    int received = program_echo(context);
    return recv(pair[1], &byte, 1, 0) == 1 && byte == 'm' ? received : 98;
}

/* Likewise, and a child of its own waits for what comes, by epoll. */
static int program_busy_child(const struct case_context *context)
{
    int pair[2], status = 0;
    char bytes[64];
    make_pair(context, pair);
    int fd = receive_one(STDIN_FILENO), set = epoll_create1(0);
    struct epoll_event events[2] = {{.events = EPOLLIN, .data.fd = fd},
                                    {.events = EPOLLIN, .data.fd = pair[1]}};
    for (int i = 0; i < 2; i++)
        epoll_ctl(set, EPOLL_CTL_ADD, events[i].data.fd, &events[i]);
    pid_t pid = fork();
    if (pid == 0) {
        int got = epoll_wait(set, events, 2, CASE_WAIT_MS);
        if (got != 1 || events[0].data.fd != fd)
            _exit(93);
        echo_once(fd);
        _exit(send(pair[0], "own", 3, 0) == 3 ? 0 : 92);
    }
    waitpid(pid, &status, 0);
    if (WEXITSTATUS(status) == 0 && recv(pair[1], bytes, sizeof(bytes), 0) == 3)
        echo_once(fd);
    return WEXITSTATUS(status);
}

/* Likewise, and another program yet goes on with the socket. */
static int program_cat(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    int fd = receive_one(STDIN_FILENO);
    dup2(fd, STDIN_FILENO);
    dup2(fd, STDOUT_FILENO);
    execl("/bin/cat", "cat", (char *)NULL);
    return 94;
}

static int program_send(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    send_descriptors(STDIN_FILENO, &pair[0], 1);
    send_descriptors(STDIN_FILENO, &pair[1], 1);
    return 0;
}

/* As a service that was given its listener; see sd_listen_fds(3). */
static int program_activated(const struct case_context *context)
{
    (void)context;
    const char *count = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");
    int listening = 0;
    socklen_t length = sizeof(listening);
    if (count == NULL || strcmp(count, "1") != 0 || pid == NULL || atoi(pid) != (int)getpid())
        return 97;
    if (getsockopt(3, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) < 0 || !listening)
        return 96;
    int fd = accept(3, NULL, NULL);
    echo_once(fd);
    return fd < 0 ? 95 : 0;
}

static const struct {
    const char *name;
    int (*run)(const struct case_context *context);
} programs[] = {
    {"echo", program_echo},           {"accept", program_accept},
    {"busy_echo", program_busy_echo}, {"busy_child", program_busy_child},
    {"send", program_send},           {"activated", program_activated},
    {"set", program_with_set},        {"cat", program_cat},
    {"in_storm", program_in_storm},
};

int case_program(int argc, char **argv)
{
    struct case_context context = {.family = argc > 3 && argv[3][0] == '6' ? AF_INET6 : AF_INET};
    for (size_t i = 0; argc > 2 && i < sizeof(programs) / sizeof(programs[0]); i++) {
        if (strcmp(argv[2], programs[i].name) == 0)
            return programs[i].run(&context);
    }
    return 96;
}

/* In a child that has done nothing with sockets yet: become one of the programs above, with the
   channel as its standard input. */
_Noreturn static void become(const struct case_context *context, int channel, const char *program,
                             bool bare)
{
    char *const none[] = {NULL};
    const char *family = context->family == AF_INET6 ? "6" : "4";
    dup2(channel, STDIN_FILENO);
    if (bare)
        execle("/proc/self/exe", "pno-socket-cases", "program", program, family, (char *)NULL,
               none);
    else
        execl("/proc/self/exe", "pno-socket-cases", "program", program, family, (char *)NULL);
    _exit(95);
}

static pid_t start(const struct case_context *context, int channel[2], const char *program,
                   bool bare)
{
    make_channel(channel);
    pid_t pid = fork();
    if (pid == 0) {
        close(channel[0]);
        become(context, channel[1], program, bare);
    }
    close(channel[1]);
    return pid;
}

/* The peer's credentials of a socketpair are its maker's; a connected one's are the accepter's. */
static void say_echo_by(const struct case_context *context, const char *program, bool bare)
{
    int channel[2], pair[2];
    char bytes[64];
    pid_t pid = start(context, channel, program, bare);
    make_pair(context, pair);
    say_result("sendmsg", send_descriptors(channel[0], &pair[1], 1));
    close(pair[1]);
    send(pair[0], "to the program", 14, 0);
    say_bytes("echoed", recv(pair[0], bytes, sizeof(bytes), 0), bytes);
    send(pair[0], " again", 6, 0);
    say_bytes("echoed", recv(pair[0], bytes, sizeof(bytes), 0), bytes);
    shutdown(pair[0], SHUT_WR);
    say_end(pair[0]);
    close(pair[0]);
    close(channel[0]);
    say_status(pid);
}

static void to_another_program(const struct case_context *context)
{
    say_echo_by(context, "echo", false);
}

static void to_a_program_with_sockets(const struct case_context *context)
{
    say_echo_by(context, "busy_echo", false);
}

static void to_a_program_that_execs(const struct case_context *context)
{
    say_echo_by(context, "cat", false);
}

static void to_a_child_of_a_program(const struct case_context *context)
{
    int channel[2], pair[2];
    char bytes[64];
    pid_t pid = start(context, channel, "busy_child", false);
    make_pair(context, pair);
    send_descriptors(channel[0], &pair[1], 1);
    close(pair[1]);
    settle();
    send(pair[0], "for the child", 13, 0);
    say_bytes("echoed", recv(pair[0], bytes, sizeof(bytes), 0), bytes);
    send(pair[0], "for the parent", 14, 0);
    say_bytes("echoed", read_to_end(pair[0], bytes, sizeof(bytes)), bytes);
    say_status(pid);
    close(pair[0]);
    close(channel[0]);
}

static void listener_to_another_program(const struct case_context *context)
{
    int channel[2];
    char bytes[16];
    pid_t pid = start(context, channel, "accept", false);
    int listener = make_listener(context, 4);
    unsigned port = port_of(listener);
    int client = make_socket(context, 0);
    say_result("connect", connect_to(context, client, port));
    send_descriptors(channel[0], &listener, 1);
    close(listener);
    send(client, "question", 8, 0);
    say_bytes("answer", read_to_end(client, bytes, sizeof(bytes)), bytes);
    say_status(pid);
    close(client);
    close(channel[0]);
}

static void from_another_program(const struct case_context *context)
{
    int channel[2];
    pid_t pid = start(context, channel, "send", false);
    int one = receive_one(channel[0]);
    int other = receive_one(channel[0]);
    say_status(pid);
    say_works("its pair", one, other);
    close(one);
    say_end(other);
    close(other);
    close(channel[0]);
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
    {"passing_to_a_child", to_a_child},
    {"passing_from_a_child_that_ends", from_a_child_that_ends},
    {"passing_listener_to_a_child", listener_to_a_child},
    {"passing_shared_by_both", shared_by_both},
    {"passing_to_another_program", to_another_program},
    {"passing_to_a_program_with_sockets", to_a_program_with_sockets},
    {"passing_to_a_program_that_execs", to_a_program_that_execs},
    {"passing_to_a_child_of_a_program", to_a_child_of_a_program},
    {"passing_listener_to_another_program", listener_to_another_program},
    {"passing_from_another_program", from_another_program},
    {0},
};
