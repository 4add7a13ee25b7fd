/*
 * Options that the library itself checks and keeps for accepted sockets, which need no kernel
 * socket for them; and those that only the kernel's stack can do. Source: Linux net/core/sock.c,
 * sk_setsockopt(); net/ipv4/tcp.c, do_tcp_setsockopt().
 */
#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <time.h>

#include "hostlib/policy.h"
#include "hostlib/socket.h"
#include "hostlib/socket_options_own.h"
#include "hostlib/user_memory.h"

/* As SO_RCVLOWAT less than half of any net.ipv4.tcp_rmem's maximum. The kernel judges more. */
#define LOW_WATER_MAX (1 << 20)

/* ---- The kernel's alone ---------------------------------------------------------------------- */

struct kernel_only {
    int level, name;
    int error; /* what a kernel without it says */
};

static const struct kernel_only kernel_only[] = {
    {SOL_SOCKET, SO_BINDTODEVICE, ENODEV},         {SOL_SOCKET, SO_BINDTOIFINDEX, ENODEV},
    {SOL_SOCKET, SO_ATTACH_FILTER, ENOPROTOOPT},   {SOL_SOCKET, SO_ATTACH_BPF, ENOPROTOOPT},
    {SOL_SOCKET, SO_TXTIME, ENOPROTOOPT},          {IPPROTO_TCP, TCP_REPAIR, EPERM},
    {IPPROTO_TCP, TCP_SAVE_SYN, ENOPROTOOPT},      {IPPROTO_TCP, TCP_ULP, ENOENT},
    {IPPROTO_TCP, TCP_TX_DELAY, ENOPROTOOPT},      {IPPROTO_IP, IP_OPTIONS, ENOPROTOOPT},
    {IPPROTO_IP, IP_TRANSPARENT, ENOPROTOOPT},     {IPPROTO_IP, IP_MINTTL, ENOPROTOOPT},
    {IPPROTO_IPV6, IPV6_TRANSPARENT, ENOPROTOOPT}, {IPPROTO_IPV6, IPV6_MINHOPCOUNT, ENOPROTOOPT},
    {IPPROTO_IPV6, IPV6_HOPOPTS, ENOPROTOOPT},     {IPPROTO_IPV6, IPV6_RTHDRDSTOPTS, ENOPROTOOPT},
    {IPPROTO_IPV6, IPV6_RTHDR, ENOPROTOOPT},       {IPPROTO_IPV6, IPV6_DSTOPTS, ENOPROTOOPT},
};

/* Taking one away, or switching it off, is nothing. */
static bool asks_for_nothing(const void *value, socklen_t length)
{
    uint8_t bytes[64];
    size_t known = length < sizeof(bytes) ? length : sizeof(bytes);
    if (length == 0 || user_memory_copy_in(bytes, value, known) < 0)
        return true; /* the kernel has something to say to that */
    for (size_t i = 0; i < known; i++) {
        if (bytes[i] != 0)
            return false;
    }
    return true;
}

static bool is_loopback_device(int level, int name, const void *value, socklen_t length)
{
    char device[4] = "";
    return level == SOL_SOCKET && name == SO_BINDTODEVICE && length >= 2 &&
           user_memory_copy_in(device, value, length < 3 ? length : 3) == 0 &&
           strcmp(device, "lo") == 0;
}

int socket_option_needs_kernel(int level, int name, const void *value, socklen_t length)
{
    for (size_t i = 0; i < sizeof(kernel_only) / sizeof(kernel_only[0]); i++) {
        if (kernel_only[i].level != level || kernel_only[i].name != name)
            continue;
        bool is_filter = level == SOL_SOCKET && name == SO_ATTACH_FILTER;
        if (is_filter && length != sizeof(struct sock_fprog))
            return 0; /* the kernel's to refuse */
        bool served = policy_offloads_loopback() && is_loopback_device(level, name, value, length);
        return served || asks_for_nothing(value, length) ? 0 : -kernel_only[i].error;
    }
    return 0;
}

/* ---- Ours ------------------------------------------------------------------------------------ */

/* Linux counts timeouts in ticks, and tells them so. */
static uint64_t tick_ns(void)
{
    struct timespec tick;
    return clock_getres(CLOCK_MONOTONIC_COARSE, &tick) == 0 && tick.tv_nsec > 0
               ? (uint64_t)tick.tv_nsec
               : NS_PER_MS;
}

static int set_timeout(uint64_t *timeout_ns, const void *value, socklen_t length)
{
    struct timeval timeout;
    if (length < sizeof(timeout))
        return -EINVAL;
    if (user_memory_copy_in(&timeout, value, sizeof(timeout)) < 0)
        return -EFAULT;
    if (timeout.tv_usec < 0 || timeout.tv_usec >= 1000000)
        return -EDOM;
    uint64_t tick = tick_ns();
    uint64_t part = ((uint64_t)timeout.tv_usec * NS_PER_US + tick - 1) / tick * tick;
    if (timeout.tv_sec < 0)
        *timeout_ns = 1; /* over at once, and told as 0 */
    else if ((timeout.tv_sec == 0 && timeout.tv_usec == 0) || timeout.tv_sec > INT32_MAX)
        *timeout_ns = TIME_NEVER;
    else
        *timeout_ns = (uint64_t)timeout.tv_sec * NS_PER_S + part;
    return 0;
}

static int set_linger(struct linger *linger, const void *value, socklen_t length)
{
    struct linger wanted;
    if (length < sizeof(wanted))
        return -EINVAL;
    if (user_memory_copy_in(&wanted, value, sizeof(wanted)) < 0)
        return -EFAULT;
    linger->l_onoff = wanted.l_onoff != 0;
    if (wanted.l_onoff != 0)
        linger->l_linger = wanted.l_linger;
    return 0;
}

bool socket_option_note_flag(struct socket_options *options, int name, bool on)
{
    switch (name) {
    case SO_REUSEADDR:
        options->reuse_address = on;
        return true;
    case SO_REUSEPORT:
        options->reuse_port = on;
        return true;
    case SO_OOBINLINE:
        options->oob_inline = on;
        return true;
    default:
        return false;
    }
}

/* Lock held. */
static int set_number(struct socket *socket, int name, int32_t number)
{
    struct socket_options options = *socket->options;
    bool has_buffer = options.set & (1u << LINK_OPTION_RECEIVE_BUFFER);
    if (!socket_option_note_flag(&options, name, number != 0)) {
        if (number < 0 || number > LOW_WATER_MAX || has_buffer)
            return 1;
        options.receive_low_water = number > 0 ? number : 1;
    }
    if (!socket_options_replace(socket, &options))
        return -ENOBUFS;
    if (name == SO_RCVLOWAT && socket->link != NULL)
        socket_low_water_changed(socket);
    else if (name == SO_OOBINLINE)
        socket_changed(socket, 0);
    return 0;
}

/* Lock held. */
static int set_timeout_of(struct socket *socket, bool receives, const void *value, socklen_t length)
{
    struct socket_options options = *socket->options;
    int error = set_timeout(receives ? &options.receive_timeout_ns : &options.send_timeout_ns,
                            value, length);
    if (error < 0)
        return error;
    return socket_options_replace(socket, &options) ? 0 : -ENOBUFS;
}

/* Lock held. */
static int set_linger_of(struct socket *socket, const void *value, socklen_t length)
{
    struct socket_options options = *socket->options;
    int error = set_linger(&options.linger, value, length);
    if (error < 0)
        return error;
    if (!socket_options_replace(socket, &options))
        return -ENOBUFS;
    socket_note_linger(socket);
    return 0;
}

int socket_option_set_own(struct socket *socket, int level, int name, const void *value,
                          socklen_t length)
{
    int32_t number;
    bool is_number =
        name == SO_REUSEADDR || name == SO_REUSEPORT || name == SO_OOBINLINE || name == SO_RCVLOWAT;
    bool receives = name == SO_RCVTIMEO || name == SO_RCVTIMEO_NEW;
    bool sends = name == SO_SNDTIMEO || name == SO_SNDTIMEO_NEW;
    if (level != SOL_SOCKET || (!is_number && name != SO_LINGER && !receives && !sends))
        return 1;
    if (length < sizeof(number))
        return -EINVAL;
    if (user_memory_copy_in(&number, value, sizeof(number)) < 0)
        return -EFAULT;
    int result;
    socket_lock(socket);
    if (is_number)
        result = set_number(socket, name, number);
    else if (name == SO_LINGER)
        result = set_linger_of(socket, value, length);
    else
        result = set_timeout_of(socket, receives, value, length);
    socket_unlock(socket);
    return result;
}

/* Source: Linux's own order of checks; what nobody has set is as for any socket.
   @return a negative errno; 0: nothing is wrong with the state. */
int socket_option_judge_state(const struct socket *socket, int level, int name, const void *value,
                              socklen_t length)
{
    int32_t number;
    bool closed = socket->state < SOCKET_LISTENING || socket->state == SOCKET_CLOSED;
    if (level != IPPROTO_TCP || closed || length < sizeof(number))
        return 0;
    if (name != TCP_QUEUE_SEQ && name != TCP_REPAIR && name != TCP_AO_REPAIR)
        return 0;
    if (user_memory_copy_in(&number, value, sizeof(number)) < 0)
        return -EFAULT;
    return name == TCP_QUEUE_SEQ || socket->state == SOCKET_LISTENING ? -EPERM : 0;
}
