/*
 * getsockopt(): the engine's figures, the library's values, and for all others the kernel's socket,
 * which keeps what was set (socket_options.c).
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>

#include "hostlib/option_kept.h"
#include "hostlib/real.h"
#include "hostlib/socket.h"
#include "hostlib/socket_extra.h"
#include "hostlib/socket_options_own.h"
#include "hostlib/user_memory.h"

/* Linux's own header for it can't be included beside libc's. */
#ifndef IP_PROTOCOL
#define IP_PROTOCOL 52
#endif

/* More than any struct tcp_info so far. */
#define TCP_INFO_BYTES_MAX 512

/* Where Linux's has tcpi_bytes_acked; libc's ends before that. */
#define TCP_INFO_BYTES_ACKED 120

/* Source: Linux tcp_v4_syn_recv_sock(): an accepted socket has its SYN's TTL for this, and nobody
   can set it on a TCP socket. The SYN's is not told here: what nearly all hosts send. */
#define MULTICAST_TTL_OF_ACCEPTED 64

static bool is_multicast_ttl(const struct socket *socket, int level, int name)
{
    if (socket->is_v6)
        return level == IPPROTO_IPV6 && name == IPV6_MULTICAST_HOPS;
    return level == IPPROTO_IP && name == IP_MULTICAST_TTL;
}

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

/* The engine tells of acknowledgements now and then, so it is asked where any is outstanding. */
int socket_unacknowledged_bytes(struct socket *socket)
{
    uint8_t bytes[TCP_INFO_BYTES_MAX];
    uint64_t end_offset = 0, outstanding = 0, acked;
    socket_look(socket);
    socket_lock(socket);
    if (socket->block != NULL) {
        end_offset = socket->block->send.end_offset;
        outstanding = send_queue_outstanding(&socket->block->send);
    }
    socket_unlock(socket);
    if (outstanding == 0 || fetch_info(socket, bytes) < 0)
        return (int)outstanding;
    memcpy(&acked, bytes + TCP_INFO_BYTES_ACKED, sizeof(acked));
    uint64_t unacknowledged = acked < end_offset ? end_offset - acked : 0;
    return (int)(unacknowledged < outstanding ? unacknowledged : outstanding);
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
    if (info[0] == TCP_TIME_WAIT)
        info[0] = TCP_CLOSE; /* Linux's socket is, once the connection has come to that */
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
        return give_number(socket_option_lost_port(socket) ? 0 : socket->local.port, value, length);
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
    const struct known_option *known = socket_option_known(socket, level, name);
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
    turned_round_settle(socket->link, TURNED_BY_NONE);
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
        memcpy(text, socket_congestion_names[index], strlen(socket_congestion_names[index]) + 1);
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
            (void)socket_option_fd(socket, fd);
        if (socket->shadow_fd >= 0)
            fd = socket->shadow_fd;
        if (is_multicast_ttl(socket, level, name) && socket->is_v6 && (int)*length < 0)
            *length = sizeof(int); /* this level takes it as unsigned */
        if (is_multicast_ttl(socket, level, name))
            return give_number(MULTICAST_TTL_OF_ACCEPTED, value, length);
    }
    return REAL(getsockopt)(fd, level, name, value, length) < 0 ? -errno : 0;
}
