/* setsockopt and getsockopt, as Linux answers them. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/net_tstamp.h>

#include "base/time_units.h"
#include "sockets.h"

#ifndef TCP_INQ
#define TCP_INQ 36
#endif

/** Options that say nothing about segments: kept, and told when asked for. */
static int64_t *kept_value(struct machine_socket *socket, int64_t level, int64_t name)
{
    static const struct {
        int level, name;
    } kept[KEPT_OPTIONS] = {
        {SOL_SOCKET, SO_PRIORITY},
        {SOL_SOCKET, SO_MARK},
        {SOL_SOCKET, SO_REUSEPORT},
        {SOL_SOCKET, SO_BROADCAST},
        {SOL_SOCKET, SO_DONTROUTE},
        {SOL_SOCKET, SO_BUSY_POLL},
        {SOL_SOCKET, SO_TIMESTAMP},
        {SOL_SOCKET, SO_TIMESTAMPNS},
        {SOL_SOCKET, SO_PEEK_OFF},
        {SOL_SOCKET, SO_BINDTODEVICE},
        {SOL_IP, IP_FREEBIND},
        {SOL_IP, IP_TRANSPARENT},
        {SOL_IP, IP_BIND_ADDRESS_NO_PORT},
        {SOL_IP, IP_RECVTOS},
        {SOL_IP, IP_MINTTL},
        {SOL_IPV6, IPV6_RECVTCLASS},
        {SOL_TCP, TCP_THIN_LINEAR_TIMEOUTS},
        {SOL_TCP, TCP_THIN_DUPACK},
        {SOL_TCP, TCP_SAVE_SYN},
        {SOL_SOCKET, SO_DEBUG},
    };
    for (unsigned i = 0; i < KEPT_OPTIONS; i++) {
        if (kept[i].level == level && kept[i].name == name)
            return &socket->kept[i];
    }
    return NULL;
}

/* ---- Set ---------------------------------------------------------------------------------- */

static int64_t apply(struct machine *machine, struct machine_socket *socket)
{
    if (socket->listener != NULL && socket->kind == SOCKET_LISTENING)
        *tcp_listener_options(socket->listener) = socket->options;
    else if (socket->connection != NULL)
        tcp_set_options(machine->stack, socket->connection, &socket->options, machine->now_ns);
    return 0;
}

static int64_t set_linger(struct machine_socket *socket, const struct node *value,
                          struct call_state *state)
{
    bool on = node_integer(node_field(value, "onoff"), &state->known) != 0 ||
              node_integer(node_field(value, "l_onoff"), &state->known) != 0;
    int64_t seconds = node_integer(node_field(value, "linger"), &state->known) +
                      node_integer(node_field(value, "l_linger"), &state->known);
    socket->linger_seconds = on ? seconds : -1;
    socket->reset_on_close = on && seconds == 0;
    return 0;
}

static uint64_t timeout_ns(const struct node *value, int64_t number, struct call_state *state)
{
    if (value == NULL || value->kind != NODE_STRUCT)
        return (uint64_t)number * NS_PER_S;
    return (uint64_t)node_integer(node_field(value, "tv_sec"), &state->known) * NS_PER_S +
           (uint64_t)node_integer(node_field(value, "tv_usec"), &state->known) * NS_PER_US;
}

static int64_t set_timestamping(struct machine_socket *socket, int64_t number)
{
    const uint32_t with_id = SOF_TIMESTAMPING_OPT_ID;
    bool begins = (number & with_id) != 0 && (socket->timestamping & with_id) == 0;
    if (begins) {
        if (socket->connection == NULL)
            return -EINVAL;
        socket->timestamping_base = (uint32_t)tcp_acked_offset(socket->connection);
    }
    socket->timestamping = (uint32_t)number;
    return 0;
}

static int64_t set_socket_level(struct machine *machine, struct machine_socket *socket,
                                int64_t name, const struct node *value, int64_t number,
                                struct call_state *state)
{
    switch (name) {
    case SO_REUSEADDR:
        socket->reuse_address = number != 0;
        return 0;
    case SO_KEEPALIVE:
        socket->options.keepalive = number != 0;
        break;
    case SO_RCVBUF:
    case SO_RCVBUFFORCE:
        /* Linux doubles what is asked for, and gives no less than it needs itself. */
        socket->options.receive_buffer = (uint32_t)(number * 2 < 2304 ? 2304 : number * 2);
        break;
    case SO_SNDBUF:
    case SO_SNDBUFFORCE:
        socket->options.send_buffer = (uint32_t)(number * 2 < 4608 ? 4608 : number * 2);
        break;
    case SO_RCVLOWAT:
        socket->receive_low_water = number < 0 ? INT32_MAX : number == 0 ? 1 : number;
        return 0;
    case SO_MAX_PACING_RATE:
        socket->options.max_pacing_rate = number == -1 ? UINT64_MAX : (uint32_t)number;
        break;
    case SO_LINGER:
        return set_linger(socket, value, state);
    case SO_OOBINLINE:
        socket->oob_inline = number != 0;
        return 0;
    case SO_RCVTIMEO:
        socket->receive_timeout_ns = timeout_ns(value, number, state);
        return 0;
    case SO_SNDTIMEO:
        socket->send_timeout_ns = timeout_ns(value, number, state);
        return 0;
    case SO_ZEROCOPY:
        if (number != 0 && number != 1)
            return -EINVAL;
        socket->zerocopy = number != 0;
        return 0;
    case SO_TIMESTAMPING:
        return set_timestamping(socket, number);
    default:
        return call_cannot(state, "this option");
    }
    return apply(machine, socket);
}

static int64_t set_congestion(struct machine_socket *socket, const struct node *value)
{
    const struct node *name = value != NULL && value->kind == NODE_LIST ? value->children : value;
    if (name == NULL || name->text == NULL)
        return -EFAULT;
    int id = tcp_congestion_by_name(name->text);
    if (id < 0)
        return -ENOENT;
    socket->options.congestion = (uint8_t)id;
    return 0;
}

static bool within(int64_t value, int64_t least, int64_t most)
{
    return value >= least && value <= most;
}

/** Those with a number that has limits. @return 1 done, 0 another option, -EINVAL. */
static int64_t set_number(struct machine_socket *socket, int64_t name, int64_t number)
{
    struct tcp_options_set *options = &socket->options;
    switch (name) {
    case TCP_MAXSEG:
        if (number != 0 && !within(number, 88, 32767))
            return -EINVAL;
        options->maxseg = (uint16_t)number;
        return 1;
    case TCP_KEEPIDLE:
        if (!within(number, 1, 32767))
            return -EINVAL;
        options->keepalive_idle_ns = (uint64_t)number * NS_PER_S;
        return 1;
    case TCP_KEEPINTVL:
        if (!within(number, 1, 32767))
            return -EINVAL;
        options->keepalive_interval_ns = (uint64_t)number * NS_PER_S;
        return 1;
    case TCP_KEEPCNT:
        if (!within(number, 1, 127))
            return -EINVAL;
        options->keepalive_count = (uint8_t)number;
        return 1;
    case TCP_SYNCNT:
        if (!within(number, 1, 127))
            return -EINVAL;
        options->syn_retries = (uint8_t)number;
        return 1;
    case TCP_USER_TIMEOUT:
        if (number < 0)
            return -EINVAL;
        options->user_timeout_ns = (uint64_t)number * NS_PER_MS;
        return 1;
    case TCP_RTO_MAX_MS:
        if (!within(number, 1000, 120000))
            return -EINVAL;
        options->rto_max_us = (uint32_t)((uint64_t)number * (NS_PER_MS / NS_PER_US));
        return 1;
    case TCP_RTO_MIN_US:
    case TCP_DELACK_MAX_US:
        if (!within(number, 1001, 200000))
            return -EINVAL;
        *(name == TCP_RTO_MIN_US ? &options->rto_min_us : &options->ack_delay_max_us) =
            (uint32_t)number;
        return 1;
    case TCP_INQ:
        if (!within(number, 0, 1))
            return -EINVAL;
        socket->inq = number != 0;
        return 1;
    default:
        return 0;
    }
}

/** Linux acts on each call that switches Nagle off: what MSG_MORE or a cork holds back goes. */
static int64_t set_nodelay(struct machine *machine, struct machine_socket *socket, bool on)
{
    socket->options.nodelay = false;
    apply(machine, socket);
    socket->options.nodelay = on;
    return apply(machine, socket);
}

/** Linux counts how often a SYN-ACK is sent again: seconds are those of as many as are needed. */
static uint64_t retransmissions_ns(int64_t seconds)
{
    uint64_t period = 0;
    for (uint64_t timeout = 1; (int64_t)period < seconds;
         timeout = timeout < 60 ? 2 * timeout : 120)
        period += timeout;
    return period * NS_PER_S;
}

static int64_t set_tcp_level(struct machine *machine, struct machine_socket *socket, int64_t name,
                             const struct node *value, int64_t number, struct call_state *state)
{
    struct tcp_options_set *options = &socket->options;
    int64_t done = set_number(socket, name, number);
    if (done != 0)
        return done < 0 ? done : apply(machine, socket);
    switch (name) {
    case TCP_NODELAY:
        return set_nodelay(machine, socket, number != 0);
    case TCP_CORK:
        options->cork = number != 0;
        break;
    case TCP_QUICKACK:
        options->delay_acks = number == 0;
        if (socket->connection != NULL)
            tcp_quickack(machine->stack, socket->connection, number != 0);
        break;
    case TCP_LINGER2:
        options->linger2_ns = number < 0 ? UINT64_MAX : (uint64_t)number * NS_PER_S;
        break;
    case TCP_WINDOW_CLAMP:
        options->window_clamp = (uint32_t)number;
        break;
    case TCP_NOTSENT_LOWAT:
        socket->notsent_low_water = (uint32_t)number;
        return 0;
    case TCP_DEFER_ACCEPT:
        socket->defer_accept_ns = retransmissions_ns(number);
        if (socket->kind == SOCKET_LISTENING)
            tcp_listener_set_defer_accept(socket->listener, socket->defer_accept_ns);
        return 0;
    case TCP_CONGESTION: {
        int64_t error = set_congestion(socket, value);
        return error != 0 ? error : apply(machine, socket);
    }
    default:
        return call_cannot(state, "this option");
    }
    return apply(machine, socket);
}

static uint16_t *mtu_discover_of(struct tcp_options_set *options, bool v4)
{
    return v4 ? &options->mtu_discover_v4 : &options->mtu_discover_v6;
}

static int64_t set_ip_level(struct machine *machine, struct machine_socket *socket, int64_t level,
                            int64_t name, int64_t number, struct call_state *state)
{
    bool v4 = level == SOL_IP;
    if (name == (v4 ? IP_RECVERR : IPV6_RECVERR))
        socket->receive_errors = number != 0;
    else if (name == (v4 ? IP_TOS : IPV6_TCLASS))
        socket->options.traffic_class = (uint8_t)number;
    else if (name == (v4 ? IP_TTL : IPV6_UNICAST_HOPS))
        socket->options.ttl = (uint8_t)number;
    else if (name == (v4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER) && number >= 0 &&
             number <= IP_PMTUDISC_OMIT)
        *mtu_discover_of(&socket->options, v4) = (uint16_t)number;
    else if (!v4 && name == IPV6_V6ONLY)
        socket->v6only = number != 0;
    else
        return call_cannot(state, "this option");
    return apply(machine, socket);
}

int64_t socket_set_option(struct machine *machine, struct machine_socket *socket,
                          const struct system_call *call, struct call_state *state)
{
    int64_t level = argument(call, 1, state), name = argument(call, 2, state), number = 0;
    const struct node *value = node_argument(call, 3);
    bool is_number = value != NULL && value->kind == NODE_LIST && value->children != NULL &&
                     value->children->kind != NODE_STRING;
    if (is_number)
        number = (int32_t)node_integer(value, &state->known);
    if (!state->known)
        return call_cannot(state, "a name");
    int64_t *kept = kept_value(socket, level, name);
    if (kept != NULL) {
        *kept = number;
        return 0;
    }
    switch (level) {
    case SOL_SOCKET:
        return set_socket_level(machine, socket, name, value, number, state);
    case SOL_TCP: {
        int64_t result;
        if (socket_fast_open_option(machine, socket, name, value, number, argument(call, 4, state),
                                    &result))
            return result;
        return set_tcp_level(machine, socket, name, value, number, state);
    }
    case SOL_IP:
    case SOL_IPV6:
        return set_ip_level(machine, socket, level, name, number, state);
    default:
        return -ENOPROTOOPT;
    }
}

/* ---- Get ---------------------------------------------------------------------------------- */

static int64_t get_tcp_level(struct machine *machine, const struct machine_socket *socket,
                             int64_t name, struct call_state *state)
{
    const struct tcp_options_set *options = &socket->options;
    struct tcp_connection_info info = {0};
    if (socket->connection != NULL)
        tcp_get_info(machine->stack, socket->connection, machine->now_ns, &info);
    switch (name) {
    case TCP_FASTOPEN:
        return socket->fast_open_queue;
    case TCP_FASTOPEN_CONNECT:
        return socket->fast_open_connect;
    case TCP_NODELAY:
        return options->nodelay;
    case TCP_CORK:
        return options->cork;
    case TCP_QUICKACK:
        return !options->delay_acks;
    case TCP_MAXSEG:
        return info.snd_mss != 0      ? (int64_t)info.snd_mss
               : options->maxseg != 0 ? options->maxseg
                                      : 536;
    case TCP_KEEPIDLE:
        return (int64_t)(options->keepalive_idle_ns / NS_PER_S);
    case TCP_KEEPINTVL:
        return (int64_t)(options->keepalive_interval_ns / NS_PER_S);
    case TCP_KEEPCNT:
        return options->keepalive_count;
    case TCP_USER_TIMEOUT:
        return (int64_t)(options->user_timeout_ns / NS_PER_MS);
    case TCP_RTO_MAX_MS:
        return (int64_t)options->rto_max_us / (int64_t)(NS_PER_MS / NS_PER_US);
    case TCP_RTO_MIN_US:
        return options->rto_min_us;
    case TCP_DELACK_MAX_US:
        return options->ack_delay_max_us;
    case TCP_SYNCNT:
        return options->syn_retries;
    case TCP_LINGER2:
        return options->linger2_ns == UINT64_MAX ? -1 : (int64_t)(options->linger2_ns / NS_PER_S);
    case TCP_WINDOW_CLAMP:
        return options->window_clamp;
    case TCP_NOTSENT_LOWAT:
        return socket->notsent_low_water;
    case TCP_DEFER_ACCEPT:
        return (int64_t)(socket->defer_accept_ns / NS_PER_S);
    case TCP_INQ:
        return socket->inq;
    case TCP_INFO:
        return 0;
    default:
        return call_cannot(state, "this option");
    }
}

static int64_t get_socket_level(struct machine *machine, struct machine_socket *socket,
                                int64_t name, struct call_state *state)
{
    switch (name) {
    case SO_ERROR:
        if (socket->error == 0 && socket->soft_error != 0) {
            int error = socket->soft_error;
            socket->soft_error = 0;
            return error;
        }
        return -socket_take_error(socket);
    case SO_KEEPALIVE:
        return socket->options.keepalive;
    case SO_REUSEADDR:
        return socket->reuse_address;
    case SO_RCVBUF:
        return socket->options.receive_buffer != 0 ? socket->options.receive_buffer
                                                   : machine->config.tcp.receive_buffer_initial;
    case SO_SNDBUF:
        return (int64_t)send_memory_limit(machine, socket);
    case SO_RCVLOWAT:
        return socket->receive_low_water;
    case SO_OOBINLINE:
        return socket->oob_inline;
    case SO_ZEROCOPY:
        return socket->zerocopy;
    case SO_TIMESTAMPING:
        return socket->timestamping;
    case SO_ACCEPTCONN:
        return socket->kind == SOCKET_LISTENING;
    case SO_TYPE:
        return SOCK_STREAM;
    case SO_PROTOCOL:
        return IPPROTO_TCP;
    case SO_DOMAIN:
        return socket->is_ipv6 ? AF_INET6 : AF_INET;
    default:
        return call_cannot(state, "this option");
    }
}

static int64_t get_ip_level(struct machine *machine, const struct machine_socket *socket,
                            int64_t level, int64_t name, struct call_state *state)
{
    bool v4 = level == SOL_IP;
    struct tcp_connection_info info = {0};
    if (socket->connection != NULL)
        tcp_get_info(machine->stack, socket->connection, machine->now_ns, &info);
    if (name == (v4 ? IP_TOS : IPV6_TCLASS))
        return socket->options.traffic_class;
    if (name == (v4 ? IP_TTL : IPV6_UNICAST_HOPS))
        return socket->options.ttl != 0 ? socket->options.ttl : 64;
    if (name == (v4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER))
        return v4 ? socket->options.mtu_discover_v4 : socket->options.mtu_discover_v6;
    if (name == (v4 ? IP_RECVERR : IPV6_RECVERR))
        return socket->receive_errors;
    if (name == (v4 ? IP_MTU : IPV6_MTU))
        return info.pmtu != 0 ? (int64_t)info.pmtu : -ENOTCONN;
    if (!v4 && name == IPV6_V6ONLY)
        return socket->v6only;
    return call_cannot(state, "this option");
}

/** SO_LINGER's struct and TCP_CONGESTION's name are compared as such. */
static bool other_kind_agrees(const struct machine_socket *socket, int64_t level, int64_t name,
                              const struct node *expected, struct call_state *state, bool *is_other)
{
    bool known = true;
    *is_other = false;
    if (level == SOL_TCP && name == TCP_CONGESTION) {
        const struct node *text =
            expected != NULL && expected->kind == NODE_LIST ? expected->children : expected;
        *is_other = true;
        return text == NULL || text->kind != NODE_STRING ||
               strcmp(text->text, tcp_congestion_name(socket->options.congestion)) == 0;
    }
    if (level == SOL_SOCKET && name == SO_LINGER) {
        *is_other = true;
        bool on = node_integer(node_field(expected, "onoff"), &known) != 0;
        int64_t seconds = node_integer(node_field(expected, "linger"), &state->known);
        return expected == NULL || expected->kind != NODE_STRUCT ||
               (on == (socket->linger_seconds >= 0) && (!on || seconds == socket->linger_seconds));
    }
    return true;
}

int64_t socket_get_option(struct machine *machine, struct machine_socket *socket,
                          const struct system_call *call, struct call_state *state)
{
    int64_t level = argument(call, 1, state), name = argument(call, 2, state), value;
    const struct node *expected = node_argument(call, 3);
    bool is_other;
    if (!state->known)
        return call_cannot(state, "a name");
    bool agrees = other_kind_agrees(socket, level, name, expected, state, &is_other);
    if (is_other) {
        if (!agrees)
            state->mismatch = "the value differs";
        return 0;
    }
    if (kept_value(socket, level, name) != NULL)
        value = *kept_value(socket, level, name);
    else if (level == SOL_SOCKET)
        value = get_socket_level(machine, socket, name, state);
    else if (level == SOL_TCP)
        value = get_tcp_level(machine, socket, name, state);
    else if (level == SOL_IP || level == SOL_IPV6)
        value = get_ip_level(machine, socket, level, name, state);
    else
        return -ENOPROTOOPT;
    if (state->cannot != NULL)
        return -ENOSYS;
    if (value < 0 && level != SOL_SOCKET && name != TCP_LINGER2)
        return value;
    if (expected != NULL && expected->kind == NODE_LIST && expected->children != NULL &&
        expected->children->kind != NODE_ANY &&
        (int32_t)node_integer(expected, &state->known) != (int32_t)value)
        state->mismatch = "the value differs";
    return 0;
}
