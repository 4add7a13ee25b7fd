/*
 * Socket options. A socket made by socket() has its kernel socket: the kernel checks and keeps
 * every value, and we pass on what means something to the engine. An accepted one has only a
 * placeholder; common options are kept here, for the rest it gets a kernel socket of its own (the
 * shadow). socket_options_get.c tells what is set.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "hostlib/notes.h"
#include "hostlib/option_kept.h"
#include "hostlib/policy.h"
#include "hostlib/real.h"
#include "hostlib/socket.h"
#include "hostlib/socket_extra.h"
#include "hostlib/socket_options_own.h"
#include "hostlib/user_memory.h"

/* Newer than many of libc's headers. */
#ifndef TCP_RTO_MAX_MS
#define TCP_RTO_MAX_MS 44
#endif
#ifndef TCP_RTO_MIN_US
#define TCP_RTO_MIN_US 45
#endif
#ifndef TCP_DELACK_MAX_US
#define TCP_DELACK_MAX_US 46
#endif
#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif

static const struct known_option known_options[] = {
    {IPPROTO_TCP, TCP_NODELAY, LINK_OPTION_NODELAY, true, INT32_MIN, INT32_MAX, true},
    {SOL_SOCKET, SO_KEEPALIVE, LINK_OPTION_KEEPALIVE, true, INT32_MIN, INT32_MAX, true},
    {IPPROTO_TCP, TCP_KEEPIDLE, LINK_OPTION_KEEPALIVE_IDLE_S, true, 1, 32767, false},
    {IPPROTO_TCP, TCP_KEEPINTVL, LINK_OPTION_KEEPALIVE_INTERVAL_S, true, 1, 32767, false},
    {IPPROTO_TCP, TCP_KEEPCNT, LINK_OPTION_KEEPALIVE_COUNT, true, 1, 127, false},
    {IPPROTO_TCP, TCP_CORK, LINK_OPTION_CORK, true, INT32_MIN, INT32_MAX, true},
    {IPPROTO_TCP, TCP_QUICKACK, LINK_OPTION_QUICKACK, true, INT32_MIN, INT32_MAX, true},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, LINK_OPTION_USER_TIMEOUT_MS, true, 0, INT32_MAX, false},
    {SOL_SOCKET, SO_RCVBUF, LINK_OPTION_RECEIVE_BUFFER, false, 0, 0, false},
    {SOL_SOCKET, SO_RCVBUFFORCE, LINK_OPTION_RECEIVE_BUFFER, false, 0, 0, false},
    {SOL_SOCKET, SO_SNDBUF, LINK_OPTION_SEND_BUFFER, false, 0, 0, false},
    {SOL_SOCKET, SO_SNDBUFFORCE, LINK_OPTION_SEND_BUFFER, false, 0, 0, false},
    {IPPROTO_TCP, TCP_MAXSEG, LINK_OPTION_MAXSEG, false, 0, 0, false},
    {IPPROTO_TCP, TCP_LINGER2, LINK_OPTION_LINGER2_S, false, 0, 0, false},
    {IPPROTO_TCP, TCP_SYNCNT, LINK_OPTION_SYNCNT, true, 1, 127, false},
    {IPPROTO_TCP, TCP_WINDOW_CLAMP, LINK_OPTION_WINDOW_CLAMP, false, 0, 0, false},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT, LINK_OPTION_NOTSENT_LOWAT, true, INT32_MIN, INT32_MAX, false},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT, LINK_OPTION_DEFER_ACCEPT_S, false, 0, 0, false},
    {IPPROTO_TCP, TCP_FASTOPEN, LINK_OPTION_FAST_OPEN, false, 0, 0, false},
    {IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, LINK_OPTION_FAST_OPEN_NO_COOKIE, false, 0, 0, false},
    {IPPROTO_TCP, TCP_RTO_MAX_MS, LINK_OPTION_RTO_MAX_MS, false, 0, 0, false},
    {IPPROTO_TCP, TCP_RTO_MIN_US, LINK_OPTION_RTO_MIN_US, false, 0, 0, false},
    {IPPROTO_TCP, TCP_DELACK_MAX_US, LINK_OPTION_ACK_DELAY_MAX_US, false, 0, 0, false},
    {IPPROTO_IP, IP_TOS, LINK_OPTION_TOS, false, 0, 0, false},
    {IPPROTO_IPV6, IPV6_TCLASS, LINK_OPTION_TOS, false, 0, 0, false},
    {IPPROTO_IP, IP_TTL, LINK_OPTION_TTL, false, 0, 0, false},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS, LINK_OPTION_TTL, false, 0, 0, false},
    {IPPROTO_IP, IP_MTU_DISCOVER, LINK_OPTION_MTU_DISCOVER_V4, false, 0, 0, false},
    {IPPROTO_IPV6, IPV6_MTU_DISCOVER, LINK_OPTION_MTU_DISCOVER_V6, false, 0, 0, false},
};

const char *const socket_congestion_names[LINK_CONGESTION_COUNT] = {
    [LINK_CONGESTION_CUBIC] = "cubic",
    [LINK_CONGESTION_RENO] = "reno",
    [LINK_CONGESTION_DCTCP] = "dctcp",
    [LINK_CONGESTION_BBR] = "bbr",
    [LINK_CONGESTION_DCTCP_RATE] = "dctcp-rate",
    [LINK_CONGESTION_TIMELY] = "timely",
    [LINK_CONGESTION_CONSTANT_RATE] = "constant-rate",
};

/* Of a connection one of IP_TOS and IPV6_TCLASS counts, and one of IP_TTL and IPV6_UNICAST_HOPS, by
   its family; an IPv6 socket has the other as well, and only keeps it. */
static bool is_one_of_two(const struct socket *socket, const struct known_option *known)
{
    return socket->is_v6 &&
           (known->link_option == LINK_OPTION_TOS || known->link_option == LINK_OPTION_TTL);
}

static bool is_of_other_family(const struct socket *socket, const struct known_option *known)
{
    return is_one_of_two(socket, known) && socket->state >= SOCKET_CONNECTING &&
           (known->level == IPPROTO_IP) != ip_address_is_v4(&socket->remote.address);
}

const struct known_option *socket_option_known(const struct socket *socket, int level, int name)
{
    for (size_t i = 0; i < sizeof(known_options) / sizeof(known_options[0]); i++) {
        const struct known_option *known = &known_options[i];
        if (known->level == level && known->name == name)
            return is_of_other_family(socket, known) ? NULL : known;
    }
    return NULL;
}

static void push_option(struct socket *socket, unsigned link_option)
{
    struct link_descriptor operation = socket_operation(socket, LINK_OP_SET_OPTION);
    int64_t value = socket->options->values[link_option];
    /* The kernel doubles buffer sizes to allow for its overhead, which takes that half of what is
       received; of what is sent the bytes nearly fill it. */
    if (link_option == LINK_OPTION_RECEIVE_BUFFER)
        value /= 2;
    if (link_option == LINK_OPTION_MAX_PACING_RATE) {
        uint64_t rate = socket->options->max_pacing_rate;
        value = rate > INT64_MAX ? -1 : (int64_t)rate;
    }
    operation.option.option = link_option;
    operation.option.value = value;
    socket_push(socket, &operation);
}

bool socket_options_replace(struct socket *socket, const struct socket_options *values)
{
    struct socket_options *own = NULL;
    if (socket->options_own) {
        memcpy((struct socket_options *)(uintptr_t)socket->options, values, sizeof(*values));
        return true;
    }
    const struct socket_options *set = option_set_shared(values);
    if (set == NULL) {
        set = own = option_set_own(values);
        if (set == NULL)
            return false;
    }
    socket->options_own = own != NULL;
    atomic_store_explicit(&socket->options, set, memory_order_release);
    return true;
}

/* For the engine. Lock held. @return 0; -ENOBUFS: nothing has changed. */
static int note_locked(struct socket *socket, struct socket_options *options, unsigned link_option,
                       int32_t value)
{
    options->values[link_option] = value;
    options->set |= 1u << link_option;
    if (!socket_options_replace(socket, options))
        return -ENOBUFS;
    /* What a segment holds was agreed on when the connection opened. */
    bool too_late = link_option == LINK_OPTION_MAXSEG && socket->state == SOCKET_CONNECTED;
    if (link_option == LINK_OPTION_QUICKACK)
        socket_tell_consumed(socket); /* what was read is acknowledged, nothing else */
    if (socket->link != NULL && !too_late)
        push_option(socket, link_option);
    if (socket->block != NULL && link_option == LINK_OPTION_SEND_BUFFER) {
        socket->send_limit = (uint32_t)value;
        socket_has_room(socket);
    }
    return 0;
}

static int note(struct socket *socket, unsigned link_option, int32_t value)
{
    socket_lock(socket);
    struct socket_options options = *socket->options;
    int error = note_locked(socket, &options, link_option, value);
    socket_unlock(socket);
    /* These two let go what was held back. */
    if (link_option == LINK_OPTION_NODELAY || link_option == LINK_OPTION_CORK)
        socket_turned_round(socket, false);
    return error;
}

void socket_options_replay(struct socket *socket)
{
    for (unsigned option = 1; option < LINK_OPTION_COUNT; option++) {
        if (socket->options->set & (1u << option))
            push_option(socket, option);
    }
}

int socket_option_fd(struct socket *socket, int fd)
{
    if (!socket->is_accepted)
        return fd;
    if (socket->shadow_fd >= 0)
        return socket->shadow_fd;
    int shadow =
        (int)syscall(SYS_socket, socket->is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (shadow < 0)
        return -errno;
    socket->shadow_fd = fd_make_internal(shadow);
    option_kept_apply(socket->options->kept, socket->shadow_fd);
    return socket->shadow_fd;
}

static int set_fast(struct socket *socket, const struct known_option *known, const void *value,
                    socklen_t length)
{
    int32_t number;
    if (length < sizeof(number))
        return -EINVAL;
    if (user_memory_copy_in(&number, value, sizeof(number)) < 0)
        return -EFAULT;
    if (number < known->lowest || number > known->highest)
        return -EINVAL;
    return note(socket, known->link_option, known->truth ? number != 0 : number);
}

static int set_congestion(struct socket *socket, const void *value, socklen_t length)
{
    char name[16] = "";
    if (length < 1)
        return -EINVAL;
    if (user_memory_copy_in(name, value, length < sizeof(name) - 1 ? length : sizeof(name) - 1) < 0)
        return -EFAULT;
    for (int i = 0; i < LINK_CONGESTION_COUNT; i++) {
        if (strcmp(name, socket_congestion_names[i]) == 0)
            return note(socket, LINK_OPTION_CONGESTION, i);
    }
    return -ENOENT;
}

static uint64_t timeout_ns(const void *value, socklen_t length)
{
    struct timeval timeout;
    if (length < sizeof(timeout))
        return TIME_NEVER;
    memcpy(&timeout, value, sizeof(timeout));
    if (timeout.tv_sec == 0 && timeout.tv_usec == 0)
        return TIME_NEVER;
    if (timeout.tv_sec < 0)
        return 1;
    if ((uint64_t)timeout.tv_sec > INT32_MAX)
        return TIME_NEVER;
    return (uint64_t)timeout.tv_sec * NS_PER_S + (uint64_t)timeout.tv_usec * NS_PER_US;
}

/* For the sockets that are accepted from this one. @return whether there is something new. */
static bool keep(const struct socket *socket, struct socket_options *options, int level, int name,
                 const void *value, socklen_t length)
{
    uint8_t bytes[OPTION_KEPT_BYTES_MAX];
    if (socket->is_accepted || socket->state > SOCKET_LISTENING || length > sizeof(bytes) ||
        !option_kept_is_inherited(level, name) || user_memory_copy_in(bytes, value, length) < 0)
        return false;
    options->kept = option_kept_add(options->kept, level, name, bytes, length);
    return options->kept != socket->options->kept;
}

/* How a port is chosen and what ICMP's errors do, by what the kernel's socket now has.
   @return whether it is about that. */
static bool note_ip(struct socket_options *options, int kernel_fd, int level, int name)
{
    bool of_v6 = level == IPPROTO_IPV6 && name == IPV6_RECVERR;
    bool of_v4 = level == IPPROTO_IP && (name == IP_BIND_ADDRESS_NO_PORT ||
                                         name == IP_LOCAL_PORT_RANGE || name == IP_RECVERR);
    uint32_t number = 0;
    socklen_t length = sizeof(number);
    if ((!of_v4 && !of_v6) || REAL(getsockopt)(kernel_fd, level, name, &number, &length) != 0)
        return false;
    if (of_v6)
        options->receive_errors_v6 = number != 0;
    else if (name == IP_RECVERR)
        options->receive_errors = number != 0;
    else if (name == IP_LOCAL_PORT_RANGE)
        options->port_range = number;
    else
        options->bind_no_port = number != 0;
    return true;
}

static int note_kept(struct socket *socket, int kernel_fd, int level, int name, const void *value,
                     socklen_t length)
{
    socket_lock(socket);
    struct socket_options options = *socket->options;
    bool changed = note_ip(&options, kernel_fd, level, name);
    changed = keep(socket, &options, level, name, value, length) || changed;
    bool noted = !changed || socket_options_replace(socket, &options);
    socket_unlock(socket);
    return noted ? 0 : -ENOBUFS;
}

/* SO_PEEK_OFF. Lock held. @return 0; -ENOBUFS. */
static int note_peek_offset(struct socket *socket, int32_t offset)
{
    struct socket_extra *extra = socket_extra_get(socket);
    if (extra == NULL)
        return -ENOBUFS;
    extra->peeks_onward = true;
    extra->peek_offset = offset;
    return 0;
}

/* What the kernel has accepted and we must act on ourselves. Lock held. @return 0; -ENOBUFS. */
static int note_own_locked(struct socket *socket, int kernel_fd, int name, const void *value,
                           socklen_t length)
{
    struct socket_options options = *socket->options;
    int32_t number = 0;
    if (length >= sizeof(number))
        memcpy(&number, value, sizeof(number));
    if (socket_stamps_is_option(name)) {
        bool wanted = socket_stamps_note(&options, kernel_fd);
        (void)keep(socket, &options, SOL_SOCKET, name, value, length);
        return note_locked(socket, &options, LINK_OPTION_RECEIVE_STAMPS, wanted);
    }
    switch (name) {
    case SO_PEEK_OFF:
        return note_peek_offset(socket, number);
    case SO_ZEROCOPY:
        options.zerocopy = number != 0;
        break;
    case SO_LINGER:
        memcpy(&options.linger, value, sizeof(options.linger));
        break;
    case SO_RCVTIMEO:
    case SO_RCVTIMEO_NEW:
        options.receive_timeout_ns = timeout_ns(value, length);
        break;
    case SO_SNDTIMEO:
    case SO_SNDTIMEO_NEW:
        options.send_timeout_ns = timeout_ns(value, length);
        break;
    case SO_MAX_PACING_RATE: {
        uint64_t rate;
        socklen_t rate_length = sizeof(rate);
        if (REAL(getsockopt)(kernel_fd, SOL_SOCKET, name, &rate, &rate_length) != 0 ||
            rate_length != sizeof(rate))
            return 0;
        options.max_pacing_rate = rate;
        return note_locked(socket, &options, LINK_OPTION_MAX_PACING_RATE, 0);
    }
    case SO_RCVLOWAT: {
        socklen_t number_length = sizeof(number);
        REAL(getsockopt)(kernel_fd, SOL_SOCKET, SO_RCVLOWAT, &number, &number_length);
        options.receive_low_water = number > 0 ? number : 1;
        break;
    }
    default:
        if (!socket_option_note_flag(&options, name, number != 0) &&
            !keep(socket, &options, SOL_SOCKET, name, value, length))
            return 0;
        break;
    }
    if (!socket_options_replace(socket, &options))
        return -ENOBUFS;
    if (name == SO_RCVLOWAT && socket->link != NULL)
        socket_low_water_changed(socket);
    else if (name == SO_OOBINLINE)
        socket_changed(socket, 0);
    return 0;
}

static int note_own(struct socket *socket, int kernel_fd, int name, const void *value,
                    socklen_t length)
{
    socket_lock(socket);
    int error = note_own_locked(socket, kernel_fd, name, value, length);
    socket_unlock(socket);
    return error;
}

/* TCP_INQ, TCP_FASTOPEN_CONNECT. */
static int note_tcp_flag(struct socket *socket, int name, const void *value)
{
    int32_t number;
    memcpy(&number, value, sizeof(number));
    socket_lock(socket);
    struct socket_options options = *socket->options;
    if (name == TCP_INQ)
        options.tells_inq = number != 0;
    else
        options.fast_open_connect = number != 0;
    bool noted = socket_options_replace(socket, &options);
    socket_unlock(socket);
    return noted ? 0 : -ENOBUFS;
}

/* Options that Linux takes only before a connection: TCP_CLOSE, most when listening too. */
static bool is_too_late(const struct socket *socket, int name, const void *value, socklen_t length)
{
    int32_t number = -1;
    if (length >= sizeof(number) && user_memory_copy_in(&number, value, sizeof(number)) < 0)
        return false;
    bool listening = socket->state == SOCKET_LISTENING;
    bool active = socket->state == SOCKET_CONNECTING || socket->state == SOCKET_CONNECTED;
    if (name == TCP_FASTOPEN_CONNECT || (name == TCP_WINDOW_CLAMP && number == 0))
        return active || listening;
    return (name == TCP_FASTOPEN || name == TCP_FASTOPEN_NO_COOKIE) && active;
}

/* A key for signed segments (RFC 2385): kept where nobody signs, it would only seem to protect.
   Taking a key away, and what the kernel has no key in, is the kernel's to answer. */
static bool is_signing_key(int level, int name, const void *value, socklen_t length)
{
    struct tcp_md5sig signature;
    if (level != IPPROTO_TCP || (name != TCP_MD5SIG && name != TCP_MD5SIG_EXT) ||
        length < sizeof(signature) || user_memory_copy_in(&signature, value, sizeof(signature)) < 0)
        return false;
    return signature.tcpm_keylen != 0;
}

bool socket_option_lost_port(const struct socket *socket)
{
    return socket->state == SOCKET_CLOSED &&
           (socket_bound_of(socket) == NULL || socket_bound_of(socket)->asked.port == 0);
}

/* Source: Linux do_ipv6_setsockopt(). */
static int set_address_form(struct socket *socket, const void *value, socklen_t length)
{
    int32_t family;
    if (length < sizeof(family))
        return -EINVAL;
    if (user_memory_copy_in(&family, value, sizeof(family)) < 0)
        return -EFAULT;
    if (family != AF_INET)
        return -EINVAL;
    if (socket->options->v6only || !ip_address_is_v4(&socket->remote.address))
        return -EADDRNOTAVAIL;
    socket->is_v6 = false;
    return 0;
}

/* An option that acts, as the kernel understood it: clamped, doubled, made a truth value. */
static int note_known(struct socket *socket, int kernel_fd, const struct known_option *known,
                      const void *value, socklen_t length)
{
    int32_t number = 0;
    socklen_t number_length = sizeof(number);
    bool of_socket = known->level == SOL_SOCKET;
    int read_name = of_socket && known->name == SO_RCVBUFFORCE   ? SO_RCVBUF
                    : of_socket && known->name == SO_SNDBUFFORCE ? SO_SNDBUF
                                                                 : known->name;
    if (REAL(getsockopt)(kernel_fd, known->level, read_name, &number, &number_length) < 0)
        return 0;
    int error = note(socket, known->link_option, number);
    /* A connection to come may be of the other family. */
    if (error == 0 && is_one_of_two(socket, known) && socket->state < SOCKET_CONNECTING)
        error = note_kept(socket, kernel_fd, known->level, known->name, value, length);
    return error;
}

int socket_setsockopt(struct socket *socket, int fd, int level, int name, const void *value,
                      socklen_t length)
{
    const struct known_option *known = socket_option_known(socket, level, name);
    bool offloaded = socket_is_offloaded(socket);
    turned_round_settle(socket->link, TURNED_BY_NONE);
    if ((int)length < 0)
        return -EINVAL;
    int unserved = socket_option_needs_kernel(level, name, value, length);
    int error = socket_option_judge_state(socket, level, name, value, length);
    if (error == 0 && offloaded)
        error = unserved;
    if (error < 0)
        return error;
    if (known != NULL && known->fast && socket->is_accepted)
        return set_fast(socket, known, value, length);
    if (socket->is_accepted &&
        (error = socket_option_set_own(socket, level, name, value, length)) <= 0)
        return error;
    if (offloaded && !socket_option_lost_port(socket) && level == IPPROTO_IPV6 &&
        name == IPV6_V6ONLY && socket->is_v6)
        return -EINVAL; /* bound, as Linux sees it */
    if (level == IPPROTO_IPV6 && name == IPV6_ADDRFORM && socket->is_v6 &&
        socket->state == SOCKET_CONNECTED)
        return set_address_form(socket, value, length);
    if (level == IPPROTO_TCP && is_too_late(socket, name, value, length))
        return -EINVAL;
    if (offloaded && level == IPPROTO_TCP && name == TCP_CONGESTION)
        return set_congestion(socket, value, length);
    if (is_signing_key(level, name, value, length))
        return -ENOPROTOOPT; /* as a kernel without them */
    int kernel_fd = socket_option_fd(socket, fd);
    if (kernel_fd < 0)
        return kernel_fd;
    if (REAL(setsockopt)(kernel_fd, level, name, value, length) < 0) {
        error = errno;
        /* The engine may know an algorithm that this kernel has no module for. */
        bool unknown = level == IPPROTO_TCP && name == TCP_CONGESTION && error == ENOENT;
        return unknown ? set_congestion(socket, value, length) : -error;
    }
    if (known != NULL) {
        error = note_known(socket, kernel_fd, known, value, length);
    } else if (level == SOL_SOCKET) {
        error = note_own(socket, kernel_fd, name, value, length);
    } else if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY) {
        socket_note_v6only(socket, fd);
    } else if (level == IPPROTO_TCP && name == TCP_CONGESTION) {
        (void)set_congestion(socket, value, length);
    } else if (level == IPPROTO_TCP && (name == TCP_INQ || name == TCP_FASTOPEN_CONNECT)) {
        error = note_tcp_flag(socket, name, value);
    } else {
        error = note_kept(socket, kernel_fd, level, name, value, length);
    }
    if (error < 0)
        return error;
    if (unserved < 0 && socket->state == SOCKET_FRESH && policy_offloads_loopback()) {
        /* Its peers are all here, and the kernel's stack would not reach them. */
        static _Atomic bool said;
        if (!atomic_exchange(&said, true))
            log_warning("option %d of level %d has no effect on offloaded sockets", name, level);
    } else if (unserved < 0 && socket->state == SOCKET_FRESH && socket->link == NULL) {
        notes_set(fd, SOCKET_NOTE_OPTION, 0);
        socket->state = SOCKET_KERNEL;
    }
    return 0;
}
