/* See passing.h. */
#include "passing.h"

#include <poll.h>
#include <string.h>
#include <sys/wait.h>

#include "case.h"

ssize_t send_descriptors(int channel, const int *fds, size_t count)
{
    union passing_control control = {{0}};
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

int receive_descriptors(int channel, int *fds, size_t room, int flags, int *message_flags)
{
    union passing_control control = {{0}};
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

int receive_one(int channel)
{
    int fd = -1;
    return receive_descriptors(channel, &fd, 1, 0, NULL) == 1 ? fd : -1;
}

void make_channel(int channel[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, channel) < 0)
        say_result("socketpair", -1);
}

void say_status(pid_t pid)
{
    int status = 0;
    waitpid(pid, &status, 0);
    say("exit %d", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
}

void say_works(const char *what, int one, int other)
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

void say_end(int fd)
{
    char byte;
    say_events("end", wait_for(fd, POLLIN | POLLRDHUP));
    say_result("recv", recv(fd, &byte, 1, 0));
}

void say_is_empty(const char *what, int fd)
{
    char byte;
    say_result(what, recv(fd, &byte, 1, MSG_DONTWAIT));
}

void echo_once(int fd)
{
    char bytes[64];
    ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
    if (got > 0)
        send(fd, bytes, (size_t)got, 0);
}
