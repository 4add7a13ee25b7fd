/*
 * Socket options. A socket made by socket() has its kernel socket: the kernel checks and keeps
 * every value, and we pass on what means something to the engine. An accepted one has only a
 * placeholder; common options are kept here, for the rest it gets a kernel socket of its own (the
 * shadow).
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

/* Linux's own header for it can't be included beside libc's. */
#ifndef IP_PROTOCOL
#define IP_PROTOCOL 52
#endif

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

/* More than any struct tcp_info so far. */
#define TCP_INFO_BYTES_MAX 512

struct known_option {
    int level, name;
    uint8_t link_option;
    bool fast;               /* an accepted socket needs no shadow to check it */
    int32_t lowest, highest; /* fast ones: outside is EINVAL */
    bool truth;              /* any value but 0 is 1 */
};

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

static const char *const congestion_names[] = {
    [LINK_CONGESTION_CUBIC] = "cubic",
    [LINK_CONGESTION_RENO] = "reno",
    [LINK_CONGESTION_DCTCP] = "dctcp",
    [LINK_CONGESTION_BBR] = "bbr",
    [LINK_CONGESTION_DCTCP_RATE] = "dctcp-rate",
    [LINK_CONGESTION_TIMELY] = "timely",
    [LINK_CONGESTION_CONSTANT_RATE] = "constant-rate",
};

static const struct known_option *find_known(int level, int name)
{
    for (size_t i = 0; i < sizeof(known_options) / sizeof(known_options[0]); i++) {
        if (known_options[i].level == level && known_options[i].name == name)
            return &known_options[i];
    }
    return NULL;
}

static void push_option(struct socket *socket, unsigned link_option)
{
    struct link_descriptor operation = socket_operation(socket, LINK_OP_SET_OPTION);
    int64_t value = socket->options->values[link_option];
    /* The kernel doubles buffer sizes to allow for its overhead; the engine counts payload. */
    if (link_option == LINK_OPTION_RECEIVE_BUFFER || link_option == LINK_OPTION_SEND_BUFFER)
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
        socket->send_limit = (uint32_t)value / 2;
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
        socket_fence(socket);
    return error;
}

void socket_options_replay(struct socket *socket)
{
    for (unsigned option = 1; option < LINK_OPTION_COUNT; option++) {
        if (socket->options->set & (1u << option))
            push_option(socket, option);
    }
}

/* The kernel socket that keeps the options nobody here knows. */
static int option_fd(struct socket *socket, int fd)
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

/* Source: Linux tcp_v4_syn_recv_sock(): an accepted socket has its SYN's TTL for this, and nobody
   can set it on a TCP socket. The SYN's is not told here: what nearly all hosts send. */
#define MULTICAST_TTL_OF_ACCEPTED 64

static bool is_multicast_ttl(const struct socket *socket, int level, int name)
{
    if (socket->is_v6)
        return level == IPPROTO_IPV6 && name == IPV6_MULTICAST_HOPS;
    return level == IPPROTO_IP && name == IP_MULTICAST_TTL;
}

/* ---- setsockopt ---------------------------------------------------------------------------- */

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
    for (int i = 0; i < (int)(sizeof(congestion_names) / sizeof(congestion_names[0])); i++) {
        if (strcmp(name, congestion_names[i]) == 0)
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

/* A connection that is over gives back a port that nobody bound. */
static bool lost_port(const struct socket *socket)
{
    return socket->state == SOCKET_CLOSED &&
           (socket->bound == NULL || socket->bound->asked.port == 0);
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

int socket_setsockopt(struct socket *socket, int fd, int level, int name, const void *value,
                      socklen_t length)
{
    const struct known_option *known = find_known(level, name);
    bool offloaded = socket_is_offloaded(socket);
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
    if (offloaded && !lost_port(socket) && level == IPPROTO_IPV6 && name == IPV6_V6ONLY &&
        socket->is_v6)
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
    int kernel_fd = option_fd(socket, fd);
    if (kernel_fd < 0)
        return kernel_fd;
    if (REAL(setsockopt)(kernel_fd, level, name, value, length) < 0) {
        error = errno;
        /* The engine may know an algorithm that this kernel has no module for. */
        bool unknown = level == IPPROTO_TCP && name == TCP_CONGESTION && error == ENOENT;
        return unknown ? set_congestion(socket, value, length) : -error;
    }
    if (known != NULL) {
        int32_t number = 0;
        socklen_t number_length = sizeof(number);
        int read_name = name == SO_RCVBUFFORCE && level == SOL_SOCKET   ? SO_RCVBUF
                        : name == SO_SNDBUFFORCE && level == SOL_SOCKET ? SO_SNDBUF
                                                                        : name;
        /* As the kernel understood it: clamped, doubled, made a truth value. */
        if (REAL(getsockopt)(kernel_fd, level, read_name, &number, &number_length) == 0)
            return note(socket, known->link_option, number);
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

/* ---- getsockopt ---------------------------------------------------------------------------- */

static int give(const void *result, size_t result_length, void *value, socklen_t *length)
{
    if ((int)*length < 0)
        return -EINVAL;
    if (*length > result_length)
        *length = (socklen_t)result_length;
    return user_memory_copy_out(value, result, *length);
}

static int give_number(int32_t number, void *value, socklen_t *length)
{
    return give(&number, sizeof(number), value, length);
}

/* Have the engine write its struct tcp_info into a chunk of ours. */
static int fetch(struct socket *socket, enum link_info kind, uint8_t info[TCP_INFO_BYTES_MAX])
{
    struct engine_link *link = socket->link;
    struct chunk chunk;
    memset(info, 0, TCP_INFO_BYTES_MAX);
    if (kind == LINK_INFO_TCP)
        info[0] = TCP_CLOSE;
    if (socket->state != SOCKET_LISTENING && socket->state != SOCKET_CONNECTING &&
        socket->state != SOCKET_CONNECTED)
        return 0;
    if (!send_pool_allocate(&link->send_memory.pool, TCP_INFO_BYTES_MAX, SEND_POOL_OWNER_NONE,
                            &chunk))
        return -ENOBUFS;
    memset(link->arena + chunk.offset, 0, TCP_INFO_BYTES_MAX);
    struct link_descriptor operation = socket_operation(socket, LINK_OP_GET_INFO);
    struct link_descriptor answer;
    operation.data.stream_offset = kind;
    operation.data.arena_offset = chunk.offset;
    operation.data.length = TCP_INFO_BYTES_MAX;
    int error = engine_link_call(link, socket->core, &operation, &answer);
    if (error == 0 && answer.error == 0)
        memcpy(info, link->arena + chunk.offset, TCP_INFO_BYTES_MAX);
    send_pool_free(&link->send_memory.pool, chunk.offset);
    return 0;
}

static int fetch_info(struct socket *socket, uint8_t info[TCP_INFO_BYTES_MAX])
{
    return fetch(socket, LINK_INFO_TCP, info);
}

bool socket_is_over(struct socket *socket)
{
    uint8_t info[TCP_INFO_BYTES_MAX];
    if (!socket->peer_fin || !socket_send_is_shut(socket) || fetch_info(socket, info) < 0)
        return false;
    return info[0] == TCP_CLOSE || info[0] == TCP_TIME_WAIT;
}

static int get_info(struct socket *socket, int fd, void *value, socklen_t *length)
{
    uint8_t info[TCP_INFO_BYTES_MAX];
    /* The kernel knows how long its structure is. */
    socklen_t kernel_length = *length;
    if (REAL(getsockopt)(fd, IPPROTO_TCP, TCP_INFO, value, &kernel_length) < 0)
        return -errno;
    int error = fetch_info(socket, info);
    if (error < 0)
        return error;
    *length = kernel_length;
    memcpy(value, info, kernel_length < TCP_INFO_BYTES_MAX ? kernel_length : TCP_INFO_BYTES_MAX);
    return 0;
}

static int get_congestion_info(struct socket *socket, void *value, socklen_t *length)
{
    uint8_t bytes[TCP_INFO_BYTES_MAX];
    struct link_congestion_info info;
    int error = fetch(socket, LINK_INFO_CONGESTION, bytes);
    if (error < 0)
        return error;
    memcpy(&info, bytes, sizeof(info));
    return give(info.bytes, info.length <= sizeof(info.bytes) ? info.length : 0, value, length);
}

static int get_maxseg(struct socket *socket, int fd, void *value, socklen_t *length)
{
    struct tcp_info info;
    uint8_t bytes[TCP_INFO_BYTES_MAX];
    if (socket->state != SOCKET_CONNECTED)
        return REAL(getsockopt)(fd, IPPROTO_TCP, TCP_MAXSEG, value, length) < 0 ? -errno : 0;
    int error = fetch_info(socket, bytes);
    if (error < 0)
        return error;
    memcpy(&info, bytes, sizeof(info));
    return give_number((int32_t)info.tcpi_snd_mss, value, length);
}

/* Source: Linux net/core/sock.c, sk_getsockopt(): a longer buffer than the name is wrong. */
static int get_peer_name(struct socket *socket, void *value, socklen_t *length)
{
    struct sockaddr_storage name;
    socklen_t name_length = sizeof(name);
    if (socket->state == SOCKET_CLOSED)
        socket_endpoint_write(&socket->remote, socket->is_v6, (struct sockaddr *)&name,
                              &name_length);
    else {
        int error = socket_getpeername(socket, (struct sockaddr *)&name, &name_length);
        if (error < 0)
            return error;
    }
    if (name_length < *length)
        return -EINVAL;
    return give(&name, name_length, value, length);
}

/* What the kernel asks of the path, the peer and the port, which its own socket does not have.
   @return 1: nothing of that. */
static int get_of_connection(struct socket *socket, int level, int name, void *value,
                             socklen_t *length)
{
    bool of_path = (level == IPPROTO_IP && name == IP_MTU) ||
                   (level == IPPROTO_IPV6 && (name == IPV6_MTU || name == IPV6_PATHMTU));
    if (level == IPPROTO_IP && name == IP_PROTOCOL)
        return give_number(lost_port(socket) ? 0 : socket->local.port, value, length);
    if (level == SOL_SOCKET && name == SO_DOMAIN)
        return give_number(socket->is_v6 ? AF_INET6 : AF_INET, value, length);
    if (level == IPPROTO_IPV6 && name == IPV6_ADDRFORM && socket->is_v6)
        return socket->state == SOCKET_CONNECTED ? give_number(AF_INET6, value, length) : 1;
    if (level == IPPROTO_TCP && name == TCP_AO_REPAIR && socket->state == SOCKET_LISTENING)
        return -EPERM;
    if (level == SOL_SOCKET && name == SO_PEERNAME)
        return get_peer_name(socket, value, length);
    if (level == SOL_SOCKET && name == SO_PEEK_OFF && socket->extra != NULL &&
        socket->extra->peeks_onward)
        return give_number(socket->extra->peek_offset, value, length);
    if (!of_path || (level == IPPROTO_IPV6 && !socket->is_v6) ||
        (socket->state != SOCKET_CONNECTED && socket->state != SOCKET_CLOSED))
        return 1;
    struct tcp_info info;
    uint8_t bytes[TCP_INFO_BYTES_MAX];
    int error = fetch_info(socket, bytes);
    if (error < 0)
        return error;
    memcpy(&info, bytes, sizeof(info));
    if (name != IPV6_PATHMTU || level != IPPROTO_IPV6)
        return give_number((int32_t)info.tcpi_pmtu, value, length);
    struct ip6_mtuinfo path = {.ip6m_mtu = info.tcpi_pmtu};
    if (*length < sizeof(path))
        return -EINVAL;
    return give(&path, sizeof(path), value, length);
}

int socket_get_error(struct socket *socket, void *value, socklen_t *length)
{
    socket_hear(socket);
    socket_lock(socket);
    int error = -socket_take_error(socket);
    if (error == 0 && socket->extra != NULL) {
        error = socket->extra->soft_error;
        socket->extra->soft_error = 0;
    }
    socket_unlock(socket);
    return give_number(error, value, length);
}

static int get_timeout(uint64_t ns, void *value, socklen_t *length)
{
    struct timeval timeout = {0};
    if (ns != TIME_NEVER) {
        timeout.tv_sec = (time_t)(ns / NS_PER_S);
        timeout.tv_usec = (suseconds_t)(ns % NS_PER_S / NS_PER_US);
    }
    return give(&timeout, sizeof(timeout), value, length);
}

/* An int or, where there is room, 64 bits, as Linux. */
static int get_pacing_rate(uint64_t rate, void *value, socklen_t *length)
{
    uint32_t clamped = rate < UINT32_MAX ? (uint32_t)rate : UINT32_MAX;
    if ((int)*length >= (int)sizeof(rate))
        return give(&rate, sizeof(rate), value, length);
    return give(&clamped, sizeof(clamped), value, length);
}

/* Options that an accepted socket inherited or was given, and whose state is ours.
   @return 1: not one of them. */
static int get_own(struct socket *socket, int level, int name, void *value, socklen_t *length)
{
    const struct socket_options *options = socket->options;
    const struct known_option *known = find_known(level, name);
    bool only_set = level == SOL_SOCKET && (name == SO_SNDBUFFORCE || name == SO_RCVBUFFORCE);
    if (known != NULL && !only_set && (options->set & (1u << known->link_option)))
        return give_number(options->values[known->link_option], value, length);
    if (level == IPPROTO_TCP && name == TCP_INQ)
        return give_number(options->tells_inq, value, length);
    if (level == IPPROTO_TCP && name == TCP_FASTOPEN_CONNECT)
        return give_number(options->fast_open_connect, value, length);
    if (level != SOL_SOCKET)
        return 1;
    if (socket_stamps_is_option(name)) {
        int32_t stamps[2] = {socket_stamps_get(options, name)}; /* so_timestamping: no clock */
        bool both = name == SO_TIMESTAMPING_OLD || name == SO_TIMESTAMPING_NEW;
        return give(stamps, both ? sizeof(stamps) : sizeof(stamps[0]), value, length);
    }
    switch (name) {
    case SO_LINGER:
        return give(&options->linger, sizeof(options->linger), value, length);
    case SO_RCVTIMEO:
    case SO_RCVTIMEO_NEW:
        return get_timeout(options->receive_timeout_ns, value, length);
    case SO_SNDTIMEO:
    case SO_SNDTIMEO_NEW:
        return get_timeout(options->send_timeout_ns, value, length);
    case SO_RCVLOWAT:
        return give_number(options->receive_low_water, value, length);
    case SO_MAX_PACING_RATE:
        if (!(options->set & (1u << LINK_OPTION_MAX_PACING_RATE)))
            return 1;
        return get_pacing_rate(options->max_pacing_rate, value, length);
    case SO_REUSEADDR:
        return give_number(options->reuse_address, value, length);
    case SO_REUSEPORT:
        return give_number(options->reuse_port, value, length);
    case SO_OOBINLINE:
        return give_number(options->oob_inline, value, length);
    case SO_ZEROCOPY:
        return give_number(options->zerocopy, value, length);
    default:
        return 1;
    }
}

static int32_t clamp_to_int(uint64_t number)
{
    return number < INT32_MAX ? (int32_t)number : INT32_MAX;
}

/* What the engine uses for sockets that choose nothing; before there is one, Linux's default. */
static int default_congestion(const struct socket *socket)
{
    const struct engine_link *link = socket->link;
    uint32_t index = link != NULL ? link->hello.congestion : (uint32_t)LINK_CONGESTION_CUBIC;
    return index < LINK_CONGESTION_COUNT ? (int)index : LINK_CONGESTION_CUBIC;
}

int socket_getsockopt(struct socket *socket, int fd, int level, int name, void *value,
                      socklen_t *length)
{
    if (user_memory_unwritable(length, sizeof(*length)))
        return -EFAULT;
    if (level == SOL_SOCKET && name == SO_ERROR)
        return socket_get_error(socket, value, length);
    if (level == SOL_SOCKET && name == SO_ACCEPTCONN)
        return give_number(socket->state == SOCKET_LISTENING, value, length);
    if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY && socket->is_v6) {
        if ((int)*length < 0) /* this level takes it as unsigned */
            *length = sizeof(int);
        return give_number(socket->options->v6only, value, length);
    }
    if (level == IPPROTO_TCP && name == TCP_INFO)
        return get_info(socket, fd, value, length);
    int answered = get_of_connection(socket, level, name, value, length);
    if (answered <= 0)
        return answered;
    if (level == IPPROTO_TCP && name == TCP_CC_INFO && socket->link != NULL)
        return get_congestion_info(socket, value, length);
    if (level == IPPROTO_TCP && name == TCP_MAXSEG)
        return get_maxseg(socket, fd, value, length);
    if (level == IPPROTO_TCP && name == TCP_CONGESTION) {
        char text[16] = "";
        bool set = socket->options->set & (1u << LINK_OPTION_CONGESTION);
        int index =
            set ? socket->options->values[LINK_OPTION_CONGESTION] : default_congestion(socket);
        memcpy(text, congestion_names[index], strlen(congestion_names[index]) + 1);
        return give(text, sizeof(text), value, length);
    }
    if (level == SOL_SOCKET && name == SO_SNDBUF && socket->state == SOCKET_CONNECTED &&
        !(socket->options->set & (1u << LINK_OPTION_SEND_BUFFER)))
        return give_number(clamp_to_int(2 * (uint64_t)socket->send_limit), value, length);
    if (socket->is_accepted) {
        int result = get_own(socket, level, name, value, length);
        if (result <= 0)
            return result;
        if (option_kept_find(socket->options->kept, level, name) != NULL)
            (void)option_fd(socket, fd);
        if (socket->shadow_fd >= 0)
            fd = socket->shadow_fd;
        if (is_multicast_ttl(socket, level, name) && socket->is_v6 && (int)*length < 0)
            *length = sizeof(int); /* this level takes it as unsigned */
        if (is_multicast_ttl(socket, level, name))
            return give_number(MULTICAST_TTL_OF_ACCEPTED, value, length);
    }
    return REAL(getsockopt)(fd, level, name, value, length) < 0 ? -errno : 0;
}
