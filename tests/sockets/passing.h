/**
 * @file passing.h
 * Descriptors over Unix sockets, for the cases about them: one byte with descriptors each way, and
 * what is said of a connection that came so. Needs case.h.
 */
#ifndef PNO_TESTS_SOCKETS_PASSING_H
#define PNO_TESTS_SOCKETS_PASSING_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

/** What a message has at most. */
#define PASSED_MAX 8

/** Room for it. */
union passing_control {
    char bytes[CMSG_SPACE(PASSED_MAX * sizeof(int))];
    struct cmsghdr alignment;
};

/** A pair of Unix stream sockets. */
void make_channel(int channel[2]);

/** One byte with `count` descriptors, PASSED_MAX at most. @return as sendmsg(). */
ssize_t send_descriptors(int channel, const int *fds, size_t count);

/** One byte, and the descriptors that come with it.
    @param room           descriptors that there is room for, PASSED_MAX at most.
    @param flags          of recvmsg().
    @param message_flags  takes those of the message; may be NULL.
    @return how many came; -1 on error or at the end. */
int receive_descriptors(int channel, int *fds, size_t room, int flags, int *message_flags);

/** @return the descriptor that came; -1. */
int receive_one(int channel);

/** Answer the next bytes of a connection with themselves. */
void echo_once(int fd);

/** Wait for a child, and tell its exit status, or its signal below zero. */
void say_status(pid_t pid);

/** Both directions of a pair. */
void say_works(const char *what, int one, int other);

/** Wait for the peer's end, and tell what it is. */
void say_end(int fd);

/** What recv() says now. */
void say_is_empty(const char *what, int fd);

#endif
