#include "hostlib/socket_stamps.h"

#include <time.h>

#include <linux/net_tstamp.h>

#include "base/time_units.h"
#include "hostlib/option_set.h"
#include "hostlib/real.h"
#include "hostlib/socket_control.h"

/* SOF_TIMESTAMPING_OPT_RX_FILTER, which is newer than many headers. */
#define OPT_RX_FILTER (1u << 17)

/* ---- Arrivals -------------------------------------------------------------------------------- */

static void append(struct socket_stamps *stamps, uint64_t end, uint64_t time_ns)
{
    uint32_t place = stamps->count < SOCKET_STAMPS_MAX ? stamps->count++ : SOCKET_STAMPS_MAX - 1;
    stamps->arrivals[place].end_offset = end;
    stamps->arrivals[place].time_ns = time_ns;
}

void socket_stamps_add(struct socket_stamps *stamps, uint64_t start, uint64_t end, uint64_t time_ns)
{
    uint64_t known = stamps->count > 0 ? stamps->arrivals[stamps->count - 1].end_offset : 0;
    if (known < start)
        append(stamps, start, 0); /* came before times were asked for */
    append(stamps, end, time_ns);
}

uint64_t socket_stamps_at(const struct socket_stamps *stamps, uint64_t offset)
{
    for (uint32_t i = 0; i < stamps->count; i++) {
        if (offset < stamps->arrivals[i].end_offset)
            return stamps->arrivals[i].time_ns;
    }
    return 0;
}

void socket_stamps_forget(struct socket_stamps *stamps, uint64_t offset)
{
    uint32_t gone = 0;
    while (gone < stamps->count && stamps->arrivals[gone].end_offset <= offset)
        gone++;
    for (uint32_t i = gone; i < stamps->count; i++)
        stamps->arrivals[i - gone] = stamps->arrivals[i];
    stamps->count -= gone;
}

/* ---- Options --------------------------------------------------------------------------------- */

bool socket_stamps_is_option(int name)
{
    return name == SO_TIMESTAMP_OLD || name == SO_TIMESTAMPNS_OLD || name == SO_TIMESTAMPING_OLD ||
           name == SO_TIMESTAMP_NEW || name == SO_TIMESTAMPNS_NEW || name == SO_TIMESTAMPING_NEW;
}

static int32_t read_back(int kernel_fd, int name)
{
    int32_t number = 0;
    socklen_t length = sizeof(number);
    return REAL(getsockopt)(kernel_fd, SOL_SOCKET, name, &number, &length) == 0 ? number : 0;
}

/* Source: Linux net/core/sock.c, sk_getsockopt(), from whose answers the flags of the socket
   follow: SOCK_RCVTSTAMP, SOCK_RCVTSTAMPNS, SOCK_TSTAMP_NEW. */
bool socket_stamps_note(struct socket_options *options, int kernel_fd)
{
    bool is_new = read_back(kernel_fd, SO_TIMESTAMP_NEW) != 0;
    options->timestamping = (uint32_t)read_back(kernel_fd, SO_TIMESTAMPING_OLD);
    options->stamps_in_ns = read_back(kernel_fd, SO_TIMESTAMPNS_OLD) != 0 ||
                            read_back(kernel_fd, SO_TIMESTAMPNS_NEW) != 0;
    options->stamps =
        is_new || options->stamps_in_ns || read_back(kernel_fd, SO_TIMESTAMP_OLD) != 0;
    options->stamps_new =
        is_new || (options->timestamping != 0 && read_back(kernel_fd, SO_TIMESTAMPING_NEW) != 0);
    return options->stamps || (options->timestamping & SOF_TIMESTAMPING_RX_SOFTWARE) != 0;
}

int32_t socket_stamps_get(const struct socket_options *options, int name)
{
    bool is_new = options->stamps_new;
    switch (name) {
    case SO_TIMESTAMP_OLD:
        return options->stamps && !is_new && !options->stamps_in_ns;
    case SO_TIMESTAMPNS_OLD:
        return options->stamps_in_ns && !is_new;
    case SO_TIMESTAMP_NEW:
        return options->stamps && is_new;
    case SO_TIMESTAMPNS_NEW:
        return options->stamps_in_ns && is_new;
    case SO_TIMESTAMPING_NEW:
        return is_new ? (int32_t)options->timestamping : 0;
    default:
        return (int32_t)options->timestamping;
    }
}

/* ---- Control messages ------------------------------------------------------------------------ */

int socket_stamps_put(const struct socket_options *options, struct control_room *room,
                      uint64_t time_ns)
{
    struct timespec stamps[3] = {
        {.tv_sec = (time_t)(time_ns / NS_PER_S), .tv_nsec = (long)(time_ns % NS_PER_S)}};
    struct timeval in_us = {stamps[0].tv_sec, stamps[0].tv_nsec / (long)NS_PER_US};
    bool is_new = options->stamps_new;
    int error = 0;
    if (time_ns == 0)
        return 0;
    if (options->stamps && options->stamps_in_ns)
        error = control_put(room, SOL_SOCKET, is_new ? SO_TIMESTAMPNS_NEW : SO_TIMESTAMPNS_OLD,
                            &stamps[0], sizeof(stamps[0]));
    else if (options->stamps)
        error = control_put(room, SOL_SOCKET, is_new ? SO_TIMESTAMP_NEW : SO_TIMESTAMP_OLD, &in_us,
                            sizeof(in_us));
    uint32_t flags = options->timestamping;
    bool reports = (flags & SOF_TIMESTAMPING_SOFTWARE) != 0 &&
                   ((flags & SOF_TIMESTAMPING_RX_SOFTWARE) != 0 || (flags & OPT_RX_FILTER) == 0);
    if (error == 0 && reports)
        error = control_put(room, SOL_SOCKET, is_new ? SO_TIMESTAMPING_NEW : SO_TIMESTAMPING_OLD,
                            stamps, sizeof(stamps));
    return error;
}
