/**
 * @file socket_stamps.h
 * When received bytes arrived: SO_TIMESTAMP, SO_TIMESTAMPNS and the software part of
 * SO_TIMESTAMPING, as Linux gives them for TCP. The engine tells the time with each DATA event of a
 * socket that asks (LINK_OPTION_RECEIVE_STAMPS); here it is kept until the bytes are read, and
 * put into recvmsg()'s control messages. Not here: times of what is sent.
 */
#ifndef PNO_HOSTLIB_SOCKET_STAMPS_H
#define PNO_HOSTLIB_SOCKET_STAMPS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct control_room;
struct socket;
struct socket_options;

/** Arrivals that are told apart while unread. Where there are more the last two become one, with
    the later time, as Linux's do when it merges segments. */
#define SOCKET_STAMPS_MAX 8

struct socket_stamps {
    struct {
        uint64_t end_offset; /**< stream offset after the last byte that came then */
        uint64_t time_ns;    /**< CLOCK_REALTIME; 0: not known */
    } arrivals[SOCKET_STAMPS_MAX];
    uint32_t count;
};

/** Bytes [start, end) arrived. @param time_ns  CLOCK_REALTIME; 0: not known. */
void socket_stamps_add(struct socket_stamps *stamps, uint64_t start, uint64_t end,
                       uint64_t time_ns);

/** When the byte at this stream offset arrived. @return nanoseconds; 0: not known. */
uint64_t socket_stamps_at(const struct socket_stamps *stamps, uint64_t offset);

/** Forget what lies below this stream offset. */
void socket_stamps_forget(struct socket_stamps *stamps, uint64_t offset);

/** Whether it is one of these options (level SOL_SOCKET), by its old or new name. */
bool socket_stamps_is_option(int name);

/** Take over what the kernel's socket now has of them. @return whether times are needed. */
bool socket_stamps_note(struct socket_options *options, int kernel_fd);

/** What getsockopt() gives. @return an int or, of SO_TIMESTAMPING, its flags. */
int32_t socket_stamps_get(const struct socket_options *options, int name);

/**
 * Linux's tcp_recv_timestamp().
 * @param time_ns  when the last byte that is given came; 0: not known, then nothing is told.
 * @return 0; -EFAULT.
 */
int socket_stamps_put(const struct socket_options *options, struct control_room *room,
                      uint64_t time_ns);

#endif
