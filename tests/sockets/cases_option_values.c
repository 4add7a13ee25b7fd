/* Every option by itself, on each kind of socket: its default, values that are good, odd, too short
   and too long, and what reads back. */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "case.h"

/* What an option's default says only about the machine or the traffic so far. */
#define NO_DEFAULT 1u
/* A value set by the walk would read back as the machine's limit allows. */
#define NO_VALUE 2u

/* Other sockets are refused it, since only the kernel's stack has it; see docs/sockets.md. */
#define FRESH_ALONE 4u

#define OPTIONS(X)                                                                                 \
    X(so_debug, SOL_SOCKET, SO_DEBUG, 0)                                                           \
    X(so_reuseaddr, SOL_SOCKET, SO_REUSEADDR, 0)                                                   \
    X(so_type, SOL_SOCKET, SO_TYPE, 0)                                                             \
    X(so_error, SOL_SOCKET, SO_ERROR, 0)                                                           \
    X(so_dontroute, SOL_SOCKET, SO_DONTROUTE, 0)                                                   \
    X(so_broadcast, SOL_SOCKET, SO_BROADCAST, 0)                                                   \
    X(so_sndbuf, SOL_SOCKET, SO_SNDBUF, NO_DEFAULT)                                                \
    X(so_rcvbuf, SOL_SOCKET, SO_RCVBUF, NO_DEFAULT)                                                \
    X(so_sndbufforce, SOL_SOCKET, SO_SNDBUFFORCE, NO_DEFAULT)                                      \
    X(so_rcvbufforce, SOL_SOCKET, SO_RCVBUFFORCE, NO_DEFAULT)                                      \
    X(so_keepalive, SOL_SOCKET, SO_KEEPALIVE, 0)                                                   \
    X(so_oobinline, SOL_SOCKET, SO_OOBINLINE, 0)                                                   \
    X(so_no_check, SOL_SOCKET, SO_NO_CHECK, 0)                                                     \
    X(so_priority, SOL_SOCKET, SO_PRIORITY, 0)                                                     \
    X(so_linger, SOL_SOCKET, SO_LINGER, 0)                                                         \
    X(so_reuseport, SOL_SOCKET, SO_REUSEPORT, 0)                                                   \
    X(so_passcred, SOL_SOCKET, SO_PASSCRED, 0)                                                     \
    X(so_peercred, SOL_SOCKET, SO_PEERCRED, 0)                                                     \
    X(so_rcvlowat, SOL_SOCKET, SO_RCVLOWAT, NO_VALUE)                                              \
    X(so_sndlowat, SOL_SOCKET, SO_SNDLOWAT, 0)                                                     \
    X(so_rcvtimeo, SOL_SOCKET, SO_RCVTIMEO, 0)                                                     \
    X(so_sndtimeo, SOL_SOCKET, SO_SNDTIMEO, 0)                                                     \
    X(so_bindtodevice, SOL_SOCKET, SO_BINDTODEVICE, NO_VALUE)                                      \
    X(so_timestamp, SOL_SOCKET, SO_TIMESTAMP, 0)                                                   \
    X(so_timestampns, SOL_SOCKET, SO_TIMESTAMPNS, 0)                                               \
    X(so_timestamping, SOL_SOCKET, SO_TIMESTAMPING, NO_VALUE)                                      \
    X(so_acceptconn, SOL_SOCKET, SO_ACCEPTCONN, 0)                                                 \
    X(so_peersec, SOL_SOCKET, SO_PEERSEC, 0)                                                       \
    X(so_passsec, SOL_SOCKET, SO_PASSSEC, 0)                                                       \
    X(so_mark, SOL_SOCKET, SO_MARK, 0)                                                             \
    X(so_protocol, SOL_SOCKET, SO_PROTOCOL, 0)                                                     \
    X(so_domain, SOL_SOCKET, SO_DOMAIN, 0)                                                         \
    X(so_rxq_ovfl, SOL_SOCKET, SO_RXQ_OVFL, 0)                                                     \
    X(so_wifi_status, SOL_SOCKET, SO_WIFI_STATUS, 0)                                               \
    X(so_peek_off, SOL_SOCKET, SO_PEEK_OFF, NO_VALUE)                                              \
    X(so_nofcs, SOL_SOCKET, SO_NOFCS, 0)                                                           \
    X(so_lock_filter, SOL_SOCKET, SO_LOCK_FILTER, 0)                                               \
    X(so_attach_filter, SOL_SOCKET, SO_ATTACH_FILTER, FRESH_ALONE)                                 \
    X(so_detach_filter, SOL_SOCKET, SO_DETACH_FILTER, 0)                                           \
    X(so_select_err_queue, SOL_SOCKET, SO_SELECT_ERR_QUEUE, 0)                                     \
    X(so_busy_poll, SOL_SOCKET, SO_BUSY_POLL, 0)                                                   \
    X(so_max_pacing_rate, SOL_SOCKET, SO_MAX_PACING_RATE, 0)                                       \
    X(so_incoming_cpu, SOL_SOCKET, SO_INCOMING_CPU, NO_DEFAULT)                                    \
    X(so_cookie, SOL_SOCKET, SO_COOKIE, NO_DEFAULT)                                                \
    X(so_zerocopy, SOL_SOCKET, SO_ZEROCOPY, 0)                                                     \
    X(so_prefer_busy_poll, SOL_SOCKET, SO_PREFER_BUSY_POLL, 0)                                     \
    X(so_buf_lock, SOL_SOCKET, SO_BUF_LOCK, 0)                                                     \
    X(so_unknown, SOL_SOCKET, 9999, 0)                                                             \
    X(tcp_nodelay, IPPROTO_TCP, TCP_NODELAY, 0)                                                    \
    X(tcp_maxseg, IPPROTO_TCP, TCP_MAXSEG, NO_DEFAULT | NO_VALUE)                                  \
    X(tcp_cork, IPPROTO_TCP, TCP_CORK, 0)                                                          \
    X(tcp_keepidle, IPPROTO_TCP, TCP_KEEPIDLE, 0)                                                  \
    X(tcp_keepintvl, IPPROTO_TCP, TCP_KEEPINTVL, 0)                                                \
    X(tcp_keepcnt, IPPROTO_TCP, TCP_KEEPCNT, 0)                                                    \
    X(tcp_syncnt, IPPROTO_TCP, TCP_SYNCNT, 0)                                                      \
    X(tcp_linger2, IPPROTO_TCP, TCP_LINGER2, 0)                                                    \
    X(tcp_defer_accept, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0)                                          \
    X(tcp_window_clamp, IPPROTO_TCP, TCP_WINDOW_CLAMP, NO_DEFAULT | NO_VALUE)                      \
    X(tcp_quickack, IPPROTO_TCP, TCP_QUICKACK, NO_DEFAULT | NO_VALUE)                              \
    X(tcp_md5sig, IPPROTO_TCP, TCP_MD5SIG, NO_VALUE)                                               \
    X(tcp_thin_linear_timeouts, IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 0)                          \
    X(tcp_thin_dupack, IPPROTO_TCP, TCP_THIN_DUPACK, 0)                                            \
    X(tcp_user_timeout, IPPROTO_TCP, TCP_USER_TIMEOUT, 0)                                          \
    X(tcp_fastopen, IPPROTO_TCP, TCP_FASTOPEN, 0)                                                  \
    X(tcp_fastopen_connect, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 0)                                  \
    X(tcp_fastopen_no_cookie, IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 0)                              \
    X(tcp_notsent_lowat, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 0)                                        \
    X(tcp_save_syn, IPPROTO_TCP, TCP_SAVE_SYN, FRESH_ALONE)                                        \
    X(tcp_saved_syn, IPPROTO_TCP, TCP_SAVED_SYN, 0)                                                \
    X(tcp_inq, IPPROTO_TCP, TCP_INQ, 0)                                                            \
    X(tcp_ulp, IPPROTO_TCP, TCP_ULP, NO_VALUE)                                                     \
    X(tcp_repair_queue, IPPROTO_TCP, TCP_REPAIR_QUEUE, NO_VALUE)                                   \
    X(tcp_unknown, IPPROTO_TCP, 9999, 0)                                                           \
    X(ip_tos, IPPROTO_IP, IP_TOS, 0)                                                               \
    X(ip_ttl, IPPROTO_IP, IP_TTL, 0)                                                               \
    X(ip_recvopts, IPPROTO_IP, IP_RECVOPTS, 0)                                                     \
    X(ip_retopts, IPPROTO_IP, IP_RETOPTS, 0)                                                       \
    X(ip_pktinfo, IPPROTO_IP, IP_PKTINFO, 0)                                                       \
    X(ip_mtu_discover, IPPROTO_IP, IP_MTU_DISCOVER, 0)                                             \
    X(ip_recverr, IPPROTO_IP, IP_RECVERR, 0)                                                       \
    X(ip_recvttl, IPPROTO_IP, IP_RECVTTL, 0)                                                       \
    X(ip_recvtos, IPPROTO_IP, IP_RECVTOS, 0)                                                       \
    X(ip_freebind, IPPROTO_IP, IP_FREEBIND, 0)                                                     \
    X(ip_transparent, IPPROTO_IP, IP_TRANSPARENT, FRESH_ALONE)                                     \
    X(ip_minttl, IPPROTO_IP, IP_MINTTL, FRESH_ALONE)                                               \
    X(ip_nodefrag, IPPROTO_IP, IP_NODEFRAG, 0)                                                     \
    X(ip_bind_address_no_port, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 0)                             \
    X(ip_multicast_ttl, IPPROTO_IP, IP_MULTICAST_TTL, NO_VALUE)                                    \
    X(ip_multicast_loop, IPPROTO_IP, IP_MULTICAST_LOOP, 0)                                         \
    X(ip_unknown, IPPROTO_IP, 9999, 0)                                                             \
    X(ipv6_v6only, IPPROTO_IPV6, IPV6_V6ONLY, 0)                                                   \
    X(ipv6_unicast_hops, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 0)                                       \
    X(ipv6_multicast_hops, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, NO_VALUE)                            \
    X(ipv6_multicast_loop, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0)                                   \
    X(ipv6_mtu_discover, IPPROTO_IPV6, IPV6_MTU_DISCOVER, 0)                                       \
    X(ipv6_recverr, IPPROTO_IPV6, IPV6_RECVERR, 0)                                                 \
    X(ipv6_recvpktinfo, IPPROTO_IPV6, IPV6_RECVPKTINFO, 0)                                         \
    X(ipv6_recvhoplimit, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 0)                                       \
    X(ipv6_recvtclass, IPPROTO_IPV6, IPV6_RECVTCLASS, 0)                                           \
    X(ipv6_tclass, IPPROTO_IPV6, IPV6_TCLASS, 0)                                                   \
    X(ipv6_dontfrag, IPPROTO_IPV6, IPV6_DONTFRAG, 0)                                               \
    X(ipv6_freebind, IPPROTO_IPV6, IPV6_FREEBIND, 0)                                               \
    X(ipv6_transparent, IPPROTO_IPV6, IPV6_TRANSPARENT, FRESH_ALONE)                               \
    X(ipv6_recvrthdr, IPPROTO_IPV6, IPV6_RECVRTHDR, 0)                                             \
    X(ipv6_unknown, IPPROTO_IPV6, 9999, 0)                                                         \
    X(level_udp, IPPROTO_UDP, 1, 0)                                                                \
    X(level_raw, IPPROTO_RAW, 1, 0)                                                                \
    X(level_icmpv6, IPPROTO_ICMPV6, 1, 0)                                                          \
    X(level_negative, -1, 1, 0)

struct option {
    int level, name;
    unsigned traits;
};

static void read_back(int fd, const struct option *option, const char *what, socklen_t length)
{
    union {
        int32_t numbers[32];
        uint8_t bytes[128];
    } value;
    memset(&value, 0x5a, sizeof(value));
    int result = getsockopt(fd, option->level, option->name, &value, &length);
    if (result < 0)
        say("%s: get %s, length %d", what, strerrorname_np(errno), (int)length);
    else if (length >= 4 && (option->traits & NO_DEFAULT) == 0)
        say("%s: get %d, length %d", what, value.numbers[0], (int)length);
    else if (length == 1 && (option->traits & NO_DEFAULT) == 0)
        say("%s: get byte %d", what, value.bytes[0]);
    else
        say("%s: got, length %d", what, (int)length);
}

static void put(int fd, const struct option *option, int32_t number, socklen_t length)
{
    int32_t value[32] = {number};
    char what[32];
    (void)snprintf(what, sizeof(what), "set %d in %d", number, (int)length);
    say_result(what, setsockopt(fd, option->level, option->name, value, length));
}

static void walk(const char *kind, int fd, const struct option *option)
{
    static const int32_t numbers[] = {1, 0, -1, 2, 255, 70000};
    struct option exact = *option;
    read_back(fd, option, kind, 4);
    read_back(fd, option, "in 1 byte", 1);
    read_back(fd, option, "in 128 bytes", 128);
    read_back(fd, option, "in -1 bytes", (socklen_t)-1);
    read_back(fd, option, "in no bytes", 0);
    if (option->traits & NO_VALUE)
        return;
    exact.traits &= ~NO_DEFAULT;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        put(fd, option, numbers[i], 4);
        /* A large buffer is as large as the machine allows. */
        read_back(fd, numbers[i] == 70000 || numbers[i] < 0 ? option : &exact, "  then", 4);
    }
    put(fd, option, 1, 8);
    put(fd, option, 1, 16);
    put(fd, option, 1, 1);
    put(fd, option, 1, 0);
    say_result("NULL", setsockopt(fd, option->level, option->name, NULL, 4));
}

static void try_option(const struct case_context *context, const struct option *option)
{
    int pair[2];
    int fd = make_socket(context, 0);
    walk("fresh", fd, option);
    close(fd);
    if (option->traits & FRESH_ALONE)
        return;
    fd = make_listener(context, 1);
    walk("listener", fd, option);
    close(fd);
    make_pair(context, pair);
    walk("connected", pair[0], option);
    walk("accepted", pair[1], option);
    close_pair(pair);
}

#define OPTION_CASE(what, option_level, option_name, option_traits)                                \
    static void option_##what(const struct case_context *context)                                  \
    {                                                                                              \
        static const struct option option = {option_level, option_name, option_traits};            \
        try_option(context, &option);                                                              \
    }
OPTIONS(OPTION_CASE)

#define OPTION_ENTRY(what, option_level, option_name, option_traits)                               \
    {"option_" #what, option_##what},

const struct socket_case cases_option_values[] = {OPTIONS(OPTION_ENTRY){0}};
