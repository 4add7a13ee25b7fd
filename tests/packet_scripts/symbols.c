#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <linux/sockios.h>

#include "machine.h"
#include "sockets.h"

/* Newer than some libc's headers. */
#ifndef IPV6_FLOWINFO_SEND
#define IPV6_FLOWINFO_SEND 33
#endif
#ifndef SO_EE_CODE_ZEROCOPY_COPIED
#define SO_EE_CODE_ZEROCOPY_COPIED 1
#endif
#ifndef MSG_SPLICE_PAGES
#define MSG_SPLICE_PAGES 0x8000000
#endif
#define SOF_TIMESTAMPING_OPT_ID_TCP_VALUE (1 << 16)

struct symbol {
    const char *name;
    int64_t value;
};

#define SYMBOL(name)                                                                               \
    {                                                                                              \
#name, (int64_t)name                                                                       \
    }

static const struct symbol symbols[] = {
    SYMBOL(AF_INET),
    SYMBOL(AF_INET6),
    SYMBOL(AF_UNSPEC),
    SYMBOL(PF_INET),
    SYMBOL(PF_INET6),
    SYMBOL(PF_UNSPEC),
    SYMBOL(SOCK_STREAM),
    SYMBOL(SOCK_DGRAM),
    SYMBOL(SOCK_NONBLOCK),
    SYMBOL(SOCK_CLOEXEC),
    SYMBOL(IPPROTO_TCP),
    SYMBOL(IPPROTO_UDP),
    SYMBOL(IPPROTO_IP),
    SYMBOL(IPPROTO_IPV6),
    SYMBOL(SOL_SOCKET),
    SYMBOL(SOL_TCP),
    SYMBOL(SOL_IP),
    SYMBOL(SOL_IPV6),
    SYMBOL(SO_ACCEPTCONN),
    SYMBOL(SO_BINDTODEVICE),
    SYMBOL(SO_BROADCAST),
    SYMBOL(SO_BUSY_POLL),
    SYMBOL(SO_COOKIE),
    SYMBOL(SO_DEBUG),
    SYMBOL(SO_DOMAIN),
    SYMBOL(SO_DONTROUTE),
    SYMBOL(SO_ERROR),
    SYMBOL(SO_INCOMING_CPU),
    SYMBOL(SO_INCOMING_NAPI_ID),
    SYMBOL(SO_KEEPALIVE),
    SYMBOL(SO_LINGER),
    SYMBOL(SO_MARK),
    SYMBOL(SO_MAX_PACING_RATE),
    SYMBOL(SO_OOBINLINE),
    SYMBOL(SO_PEEK_OFF),
    SYMBOL(SO_PRIORITY),
    SYMBOL(SO_PROTOCOL),
    SYMBOL(SO_RCVBUF),
    SYMBOL(SO_RCVBUFFORCE),
    SYMBOL(SO_RCVLOWAT),
    SYMBOL(SO_RCVTIMEO),
    SYMBOL(SO_REUSEADDR),
    SYMBOL(SO_REUSEPORT),
    SYMBOL(SO_SNDBUF),
    SYMBOL(SO_SNDBUFFORCE),
    SYMBOL(SO_SNDLOWAT),
    SYMBOL(SO_SNDTIMEO),
    SYMBOL(SO_TIMESTAMP),
    SYMBOL(SO_TIMESTAMPNS),
    SYMBOL(SO_TIMESTAMPING),
    SYMBOL(SO_TXTIME),
    SYMBOL(SO_TYPE),
    SYMBOL(SO_ZEROCOPY),
    SYMBOL(SCM_TIMESTAMPING),
    SYMBOL(SCM_TSTAMP_SCHED),
    SYMBOL(SCM_TSTAMP_SND),
    SYMBOL(SCM_TSTAMP_ACK),
    SYMBOL(SO_EE_ORIGIN_NONE),
    SYMBOL(SO_EE_ORIGIN_LOCAL),
    SYMBOL(SO_EE_ORIGIN_ICMP),
    SYMBOL(SO_EE_ORIGIN_ICMP6),
    SYMBOL(SO_EE_ORIGIN_TIMESTAMPING),
    SYMBOL(SO_EE_ORIGIN_ZEROCOPY),
    SYMBOL(SO_EE_CODE_ZEROCOPY_COPIED),
    SYMBOL(SOF_TIMESTAMPING_TX_HARDWARE),
    SYMBOL(SOF_TIMESTAMPING_TX_SOFTWARE),
    SYMBOL(SOF_TIMESTAMPING_RX_HARDWARE),
    SYMBOL(SOF_TIMESTAMPING_RX_SOFTWARE),
    SYMBOL(SOF_TIMESTAMPING_SOFTWARE),
    SYMBOL(SOF_TIMESTAMPING_RAW_HARDWARE),
    SYMBOL(SOF_TIMESTAMPING_OPT_ID),
    SYMBOL(SOF_TIMESTAMPING_TX_SCHED),
    SYMBOL(SOF_TIMESTAMPING_TX_ACK),
    SYMBOL(SOF_TIMESTAMPING_OPT_CMSG),
    SYMBOL(SOF_TIMESTAMPING_OPT_TSONLY),
    SYMBOL(SOF_TIMESTAMPING_OPT_STATS),
    {"SOF_TIMESTAMPING_OPT_ID_TCP", SOF_TIMESTAMPING_OPT_ID_TCP_VALUE},
    SYMBOL(TCP_NODELAY),
    SYMBOL(TCP_MAXSEG),
    SYMBOL(TCP_CORK),
    SYMBOL(TCP_KEEPIDLE),
    SYMBOL(TCP_KEEPINTVL),
    SYMBOL(TCP_KEEPCNT),
    SYMBOL(TCP_SYNCNT),
    SYMBOL(TCP_LINGER2),
    SYMBOL(TCP_DEFER_ACCEPT),
    SYMBOL(TCP_WINDOW_CLAMP),
    SYMBOL(TCP_INFO),
    SYMBOL(TCP_QUICKACK),
    SYMBOL(TCP_CONGESTION),
    SYMBOL(TCP_MD5SIG),
    SYMBOL(TCP_MD5SIG_EXT),
    SYMBOL(TCP_USER_TIMEOUT),
    SYMBOL(TCP_REPAIR),
    SYMBOL(TCP_FASTOPEN),
    SYMBOL(TCP_FASTOPEN_CONNECT),
    SYMBOL(TCP_FASTOPEN_KEY),
    SYMBOL(TCP_FASTOPEN_NO_COOKIE),
    SYMBOL(TCP_TIMESTAMP),
    SYMBOL(TCP_NOTSENT_LOWAT),
    SYMBOL(TCP_CC_INFO),
    SYMBOL(TCP_SAVE_SYN),
    SYMBOL(TCP_SAVED_SYN),
    SYMBOL(TCP_THIN_LINEAR_TIMEOUTS),
    SYMBOL(TCP_THIN_DUPACK),
    SYMBOL(TCP_ULP),
    SYMBOL(TCP_INQ),
    SYMBOL(TCP_CM_INQ),
    SYMBOL(TCP_TX_DELAY),
    SYMBOL(TCP_ZEROCOPY_RECEIVE),
    SYMBOL(TCP_RTO_MAX_MS),
    SYMBOL(TCP_RTO_MIN_US),
    SYMBOL(TCP_DELACK_MAX_US),
    SYMBOL(IP_TOS),
    SYMBOL(IP_TTL),
    SYMBOL(IP_MTU),
    SYMBOL(IP_MTU_DISCOVER),
    SYMBOL(IP_RECVERR),
    SYMBOL(IP_FREEBIND),
    SYMBOL(IP_TRANSPARENT),
    SYMBOL(IP_RECVTOS),
    SYMBOL(IP_PMTUDISC_DONT),
    SYMBOL(IP_PMTUDISC_WANT),
    SYMBOL(IP_PMTUDISC_DO),
    SYMBOL(IP_PMTUDISC_PROBE),
    SYMBOL(IP_PMTUDISC_INTERFACE),
    SYMBOL(IP_PMTUDISC_OMIT),
    SYMBOL(IP_BIND_ADDRESS_NO_PORT),
    SYMBOL(IP_MINTTL),
    SYMBOL(IPV6_TCLASS),
    SYMBOL(IPV6_V6ONLY),
    SYMBOL(IPV6_UNICAST_HOPS),
    SYMBOL(IPV6_RECVERR),
    SYMBOL(IPV6_MTU),
    SYMBOL(IPV6_MTU_DISCOVER),
    SYMBOL(IPV6_FREEBIND),
    SYMBOL(IPV6_FLOWINFO_SEND),
    SYMBOL(IPV6_AUTOFLOWLABEL),
    SYMBOL(IPV6_RECVTCLASS),
    SYMBOL(MSG_DONTWAIT),
    SYMBOL(MSG_MORE),
    SYMBOL(MSG_NOSIGNAL),
    SYMBOL(MSG_PEEK),
    SYMBOL(MSG_OOB),
    SYMBOL(MSG_TRUNC),
    SYMBOL(MSG_WAITALL),
    SYMBOL(MSG_EOR),
    SYMBOL(MSG_ERRQUEUE),
    SYMBOL(MSG_CTRUNC),
    SYMBOL(MSG_ZEROCOPY),
    SYMBOL(MSG_FASTOPEN),
    SYMBOL(MSG_CMSG_CLOEXEC),
    SYMBOL(MSG_DONTROUTE),
    SYMBOL(MSG_CONFIRM),
    SYMBOL(MSG_SPLICE_PAGES),
    SYMBOL(SHUT_RD),
    SYMBOL(SHUT_WR),
    SYMBOL(SHUT_RDWR),
    SYMBOL(F_GETFL),
    SYMBOL(F_SETFL),
    SYMBOL(F_GETFD),
    SYMBOL(F_SETFD),
    SYMBOL(F_DUPFD),
    SYMBOL(FD_CLOEXEC),
    SYMBOL(O_RDWR),
    SYMBOL(O_RDONLY),
    SYMBOL(O_WRONLY),
    SYMBOL(O_NONBLOCK),
    SYMBOL(O_CLOEXEC),
    SYMBOL(O_CREAT),
    SYMBOL(O_TRUNC),
    SYMBOL(O_APPEND),
    SYMBOL(O_DIRECT),
    SYMBOL(FIONREAD),
    SYMBOL(FIONBIO),
    SYMBOL(SIOCINQ),
    SYMBOL(SIOCOUTQ),
    SYMBOL(SIOCOUTQNSD),
    SYMBOL(SIOCATMARK),
    SYMBOL(SPLICE_F_MOVE),
    SYMBOL(SPLICE_F_NONBLOCK),
    SYMBOL(SPLICE_F_MORE),
    SYMBOL(SPLICE_F_GIFT),
    SYMBOL(POLLIN),
    SYMBOL(POLLOUT),
    SYMBOL(POLLERR),
    SYMBOL(POLLHUP),
    SYMBOL(POLLRDHUP),
    SYMBOL(POLLPRI),
    SYMBOL(POLLNVAL),
    SYMBOL(POLLRDNORM),
    SYMBOL(POLLWRNORM),
    SYMBOL(POLLRDBAND),
    SYMBOL(POLLWRBAND),
    SYMBOL(EPOLLIN),
    SYMBOL(EPOLLOUT),
    SYMBOL(EPOLLERR),
    SYMBOL(EPOLLHUP),
    SYMBOL(EPOLLRDHUP),
    SYMBOL(EPOLLPRI),
    SYMBOL(EPOLLET),
    SYMBOL(EPOLLONESHOT),
    SYMBOL(EPOLLEXCLUSIVE),
    SYMBOL(EPOLLRDNORM),
    SYMBOL(EPOLLWRNORM),
    SYMBOL(EPOLLWAKEUP),
    SYMBOL(EPOLL_CTL_ADD),
    SYMBOL(EPOLL_CTL_MOD),
    SYMBOL(EPOLL_CTL_DEL),
    SYMBOL(EPOLL_CLOEXEC),
    SYMBOL(INADDR_ANY),
    SYMBOL(INADDR_LOOPBACK),
    SYMBOL(TCP_ESTABLISHED),
    SYMBOL(TCP_SYN_SENT),
    SYMBOL(TCP_SYN_RECV),
    SYMBOL(TCP_FIN_WAIT1),
    SYMBOL(TCP_FIN_WAIT2),
    SYMBOL(TCP_TIME_WAIT),
    SYMBOL(TCP_CLOSE),
    SYMBOL(TCP_CLOSE_WAIT),
    SYMBOL(TCP_LAST_ACK),
    SYMBOL(TCP_LISTEN),
    SYMBOL(TCP_CLOSING),
};

static const struct symbol errors[] = {
    SYMBOL(EPERM),
    SYMBOL(ENOENT),
    SYMBOL(EINTR),
    SYMBOL(EIO),
    SYMBOL(EBADF),
    SYMBOL(EAGAIN),
    SYMBOL(ENOMEM),
    SYMBOL(EACCES),
    SYMBOL(EFAULT),
    SYMBOL(EEXIST),
    SYMBOL(ENODEV),
    SYMBOL(ENOTDIR),
    SYMBOL(EISDIR),
    SYMBOL(EINVAL),
    SYMBOL(ENFILE),
    SYMBOL(EMFILE),
    SYMBOL(ENOTTY),
    SYMBOL(EFBIG),
    SYMBOL(ENOSPC),
    SYMBOL(ESPIPE),
    SYMBOL(EROFS),
    SYMBOL(EPIPE),
    SYMBOL(EDOM),
    SYMBOL(ERANGE),
    SYMBOL(EPROTO),
    SYMBOL(ENOTSOCK),
    SYMBOL(EDESTADDRREQ),
    SYMBOL(EMSGSIZE),
    SYMBOL(EPROTOTYPE),
    SYMBOL(ENOPROTOOPT),
    SYMBOL(EPROTONOSUPPORT),
    SYMBOL(ESOCKTNOSUPPORT),
    SYMBOL(EOPNOTSUPP),
    SYMBOL(EPFNOSUPPORT),
    SYMBOL(EAFNOSUPPORT),
    SYMBOL(EADDRINUSE),
    SYMBOL(EADDRNOTAVAIL),
    SYMBOL(ENETDOWN),
    SYMBOL(ENETUNREACH),
    SYMBOL(ENETRESET),
    SYMBOL(ECONNABORTED),
    SYMBOL(ECONNRESET),
    SYMBOL(ENOBUFS),
    SYMBOL(EISCONN),
    SYMBOL(ENOTCONN),
    SYMBOL(ESHUTDOWN),
    SYMBOL(ETIMEDOUT),
    SYMBOL(ECONNREFUSED),
    SYMBOL(EHOSTDOWN),
    SYMBOL(EHOSTUNREACH),
    SYMBOL(EALREADY),
    SYMBOL(EINPROGRESS),
    SYMBOL(ENOMSG),
    SYMBOL(ENOSYS),
    SYMBOL(ENODATA),
    SYMBOL(ENOTUNIQ),
    SYMBOL(EBUSY),
    SYMBOL(ECANCELED),
    SYMBOL(ENONET),
};

bool symbol_find(const char *name, int64_t *value)
{
    if (strcmp(name, "EWOULDBLOCK") == 0)
        name = "EAGAIN";
    if (strcmp(name, "ENOTSUP") == 0)
        name = "EOPNOTSUPP";
    if (strcmp(name, "NULL") == 0) {
        *value = 0;
        return true;
    }
    for (unsigned i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        if (strcmp(symbols[i].name, name) == 0) {
            *value = symbols[i].value;
            return true;
        }
    }
    for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        if (strcmp(errors[i].name, name) == 0) {
            *value = errors[i].value;
            return true;
        }
    }
    return false;
}

const char *symbol_errno_name(int error)
{
    for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        if (errors[i].value == error)
            return errors[i].name;
    }
    return "an unnamed error";
}

/* ---- Arguments ---------------------------------------------------------------------------- */

/** As two's complement does, whatever a script asks for. */
static int64_t calculate(enum node_kind kind, int64_t left, int64_t right)
{
    uint64_t a = (uint64_t)left, b = (uint64_t)right;
    switch (kind) {
    case NODE_SHIFT:
        return b < 64 ? (int64_t)(a << b) : 0;
    case NODE_PRODUCT:
        return (int64_t)(a * b);
    case NODE_SUM:
        return (int64_t)(a + b);
    default:
        return (int64_t)(a - b);
    }
}

/** htons(8080): ports stay as they are written. */
static int64_t call_value(const struct node *node, bool *known)
{
    static const char *const swaps[] = {"htons", "htonl", "ntohs", "ntohl"};
    for (unsigned i = 0; i < sizeof(swaps) / sizeof(swaps[0]); i++) {
        if (strcmp(node->text, swaps[i]) == 0)
            return node_integer(node->children, known);
    }
    *known = false;
    return 0;
}

int64_t node_integer(const struct node *node, bool *known)
{
    int64_t value = 0;
    if (node == NULL || node->kind == NODE_ANY)
        return 0;
    switch (node->kind) {
    case NODE_INTEGER:
        return node->value;
    case NODE_WORD:
        if (!symbol_find(node->text, &value))
            *known = false;
        return value;
    case NODE_OR:
        for (const struct node *n = node->children; n != NULL; n = n->next)
            value |= node_integer(n, known);
        return value;
    case NODE_NOT:
        return ~node_integer(node->children, known);
    case NODE_SHIFT:
    case NODE_PRODUCT:
    case NODE_SUM:
    case NODE_DIFFERENCE:
        return calculate(node->kind, node_integer(node->children, known),
                         node_integer(node->children->next, known));
    case NODE_CALL:
        return call_value(node, known);
    case NODE_FIELD:
    case NODE_LIST:
        return node_integer(node->children, known);
    default:
        *known = false;
        return 0;
    }
}

const struct node *node_argument(const struct system_call *call, unsigned index)
{
    const struct node *node = call->arguments;
    while (node != NULL && index-- > 0)
        node = node->next;
    return node;
}

const struct node *node_field(const struct node *node, const char *name)
{
    if (node == NULL)
        return NULL;
    for (const struct node *n = node->children; n != NULL; n = n->next) {
        if (n->kind == NODE_FIELD && strcmp(n->text, name) == 0)
            return n->children;
    }
    return NULL;
}
