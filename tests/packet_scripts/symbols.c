#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/sockios.h>

#include "machine.h"

#ifndef TCP_INQ
#define TCP_INQ 36
#endif

struct symbol {
    const char *name;
    int64_t value;
};

#define SYMBOL(name)                                                                               \
    {                                                                                              \
#name, (int64_t)name                                                                       \
    }

static const struct symbol symbols[] = {
    SYMBOL(AF_INET),          SYMBOL(AF_INET6),
    SYMBOL(PF_INET),          SYMBOL(PF_INET6),
    SYMBOL(SOCK_STREAM),      SYMBOL(SOCK_DGRAM),
    SYMBOL(SOCK_NONBLOCK),    SYMBOL(SOCK_CLOEXEC),
    SYMBOL(IPPROTO_TCP),      SYMBOL(IPPROTO_UDP),
    SYMBOL(IPPROTO_IP),       SYMBOL(IPPROTO_IPV6),
    SYMBOL(SOL_SOCKET),       SYMBOL(SOL_TCP),
    SYMBOL(SOL_IP),           SYMBOL(SOL_IPV6),
    SYMBOL(SO_REUSEADDR),     SYMBOL(SO_REUSEPORT),
    SYMBOL(SO_ERROR),         SYMBOL(SO_KEEPALIVE),
    SYMBOL(SO_LINGER),        SYMBOL(SO_RCVBUF),
    SYMBOL(SO_SNDBUF),        SYMBOL(SO_RCVLOWAT),
    SYMBOL(SO_PRIORITY),      SYMBOL(SO_MARK),
    SYMBOL(SO_OOBINLINE),     SYMBOL(SO_MAX_PACING_RATE),
    SYMBOL(TCP_NODELAY),      SYMBOL(TCP_MAXSEG),
    SYMBOL(TCP_CORK),         SYMBOL(TCP_KEEPIDLE),
    SYMBOL(TCP_KEEPINTVL),    SYMBOL(TCP_KEEPCNT),
    SYMBOL(TCP_SYNCNT),       SYMBOL(TCP_LINGER2),
    SYMBOL(TCP_DEFER_ACCEPT), SYMBOL(TCP_WINDOW_CLAMP),
    SYMBOL(TCP_INFO),         SYMBOL(TCP_QUICKACK),
    SYMBOL(TCP_CONGESTION),   SYMBOL(TCP_USER_TIMEOUT),
    SYMBOL(TCP_FASTOPEN),     SYMBOL(TCP_NOTSENT_LOWAT),
    SYMBOL(TCP_INQ),          SYMBOL(IP_TOS),
    SYMBOL(IP_TTL),           SYMBOL(IP_MTU_DISCOVER),
    SYMBOL(IP_RECVERR),       SYMBOL(IPV6_TCLASS),
    SYMBOL(IPV6_V6ONLY),      SYMBOL(IPV6_UNICAST_HOPS),
    SYMBOL(IP_PMTUDISC_DONT), SYMBOL(IP_PMTUDISC_WANT),
    SYMBOL(IP_PMTUDISC_DO),   SYMBOL(IP_PMTUDISC_PROBE),
    SYMBOL(IP_MTU),           SYMBOL(MSG_DONTWAIT),
    SYMBOL(MSG_MORE),         SYMBOL(MSG_NOSIGNAL),
    SYMBOL(MSG_PEEK),         SYMBOL(MSG_OOB),
    SYMBOL(MSG_TRUNC),        SYMBOL(MSG_WAITALL),
    SYMBOL(MSG_EOR),          SYMBOL(MSG_ERRQUEUE),
    SYMBOL(MSG_CTRUNC),       SYMBOL(SHUT_RD),
    SYMBOL(SHUT_WR),          SYMBOL(SHUT_RDWR),
    SYMBOL(F_GETFL),          SYMBOL(F_SETFL),
    SYMBOL(O_RDWR),           SYMBOL(O_RDONLY),
    SYMBOL(O_WRONLY),         SYMBOL(O_NONBLOCK),
    SYMBOL(FIONREAD),         SYMBOL(FIONBIO),
    SYMBOL(SIOCINQ),          SYMBOL(SIOCOUTQ),
    SYMBOL(SIOCOUTQNSD),      SYMBOL(POLLIN),
    SYMBOL(POLLOUT),          SYMBOL(POLLERR),
    SYMBOL(POLLHUP),          SYMBOL(POLLRDHUP),
    SYMBOL(POLLPRI),          SYMBOL(POLLNVAL),
    SYMBOL(EPOLLIN),          SYMBOL(EPOLLOUT),
    SYMBOL(EPOLLERR),         SYMBOL(EPOLLHUP),
    SYMBOL(EPOLLRDHUP),       SYMBOL(EPOLLPRI),
    SYMBOL(EPOLLET),          SYMBOL(EPOLLONESHOT),
    SYMBOL(EPOLLEXCLUSIVE),   SYMBOL(EPOLL_CTL_ADD),
    SYMBOL(EPOLL_CTL_MOD),    SYMBOL(EPOLL_CTL_DEL),
};

static const struct symbol errors[] = {
    SYMBOL(EAGAIN),        SYMBOL(EPIPE),        SYMBOL(ECONNRESET),   SYMBOL(ECONNREFUSED),
    SYMBOL(ETIMEDOUT),     SYMBOL(EINPROGRESS),  SYMBOL(EALREADY),     SYMBOL(EISCONN),
    SYMBOL(ENOTCONN),      SYMBOL(EINVAL),       SYMBOL(EBADF),        SYMBOL(EADDRINUSE),
    SYMBOL(EADDRNOTAVAIL), SYMBOL(ENETUNREACH),  SYMBOL(EHOSTUNREACH), SYMBOL(EMSGSIZE),
    SYMBOL(EOPNOTSUPP),    SYMBOL(ENOPROTOOPT),  SYMBOL(EFAULT),       SYMBOL(EINTR),
    SYMBOL(ENOBUFS),       SYMBOL(ECONNABORTED), SYMBOL(ENOENT),       SYMBOL(EEXIST),
    SYMBOL(EPERM),         SYMBOL(EHOSTDOWN),    SYMBOL(ENOPROTOOPT),  SYMBOL(EPROTO),
};

bool symbol_find(const char *name, int64_t *value)
{
    if (strcmp(name, "EWOULDBLOCK") == 0)
        name = "EAGAIN";
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
