#include "engine/pipeline/socket_options.h"

#include "base/time_units.h"
#include "engine/engine_core.h"
#include "engine/pipeline/notify.h"
#include "engine/socket.h"
#include "hostlink/abi.h"

/* One numbering for the link and the stack. */
_Static_assert((int)LINK_CONGESTION_CUBIC == (int)TCP_CONGESTION_CUBIC, "cubic");
_Static_assert((int)LINK_CONGESTION_RENO == (int)TCP_CONGESTION_NEWRENO, "reno");
_Static_assert((int)LINK_CONGESTION_DCTCP == (int)TCP_CONGESTION_DCTCP, "dctcp");
_Static_assert((int)LINK_CONGESTION_BBR == (int)TCP_CONGESTION_BBR, "bbr");
_Static_assert((int)LINK_CONGESTION_DCTCP_RATE == (int)TCP_CONGESTION_DCTCP_RATE, "dctcp-rate");
_Static_assert((int)LINK_CONGESTION_TIMELY == (int)TCP_CONGESTION_TIMELY, "timely");
_Static_assert((int)LINK_CONGESTION_CONSTANT_RATE == (int)TCP_CONGESTION_CONSTANT_RATE,
               "constant-rate");
_Static_assert((int)LINK_CONGESTION_COUNT == (int)TCP_CONGESTION_COUNT, "no more");

/** The values an option may have; those of Linux, as far as they matter to the stack. */
struct option_range {
    int64_t minimum, maximum;
};

static const struct option_range ranges[LINK_OPTION_COUNT] = {
    [LINK_OPTION_NODELAY] = {0, 1},
    [LINK_OPTION_CORK] = {0, 1},
    [LINK_OPTION_KEEPALIVE] = {0, 1},
    [LINK_OPTION_KEEPALIVE_IDLE_S] = {1, 32767},
    [LINK_OPTION_KEEPALIVE_INTERVAL_S] = {1, 32767},
    [LINK_OPTION_KEEPALIVE_COUNT] = {1, 127},
    [LINK_OPTION_USER_TIMEOUT_MS] = {0, INT32_MAX},
    [LINK_OPTION_RECEIVE_BUFFER] = {0, INT32_MAX},
    [LINK_OPTION_SEND_BUFFER] = {0, INT32_MAX},
    [LINK_OPTION_MAXSEG] = {0, 32767},
    [LINK_OPTION_QUICKACK] = {0, 1},
    [LINK_OPTION_CONGESTION] = {0, LINK_CONGESTION_COUNT - 1},
    [LINK_OPTION_LINGER2_S] = {-1, INT32_MAX},
    [LINK_OPTION_SYNCNT] = {1, 127},
    [LINK_OPTION_WINDOW_CLAMP] = {0, INT32_MAX},
    [LINK_OPTION_NOTSENT_LOWAT] = {0, UINT32_MAX},
    [LINK_OPTION_DEFER_ACCEPT_S] = {0, INT32_MAX},
    [LINK_OPTION_TOS] = {0, 255},
    [LINK_OPTION_TTL] = {1, 255},
    [LINK_OPTION_FAST_OPEN] = {0, INT32_MAX},
    [LINK_OPTION_FAST_OPEN_NO_COOKIE] = {0, 1},
    [LINK_OPTION_RECEIVE_STAMPS] = {0, 1},
    [LINK_OPTION_RTO_MAX_MS] = {1000, 120000},
    [LINK_OPTION_RTO_MIN_US] = {1000, 200000},
    [LINK_OPTION_ACK_DELAY_MAX_US] = {1000, 200000},
    [LINK_OPTION_MTU_DISCOVER_V4] = {TCP_MTU_DISCOVER_DONT, TCP_MTU_DISCOVER_OMIT},
    [LINK_OPTION_MTU_DISCOVER_V6] = {TCP_MTU_DISCOVER_DONT, TCP_MTU_DISCOVER_OMIT},
    [LINK_OPTION_MAX_PACING_RATE] = {-1, INT64_MAX},
};

static void change_timing(struct tcp_options_set *options, uint32_t option, uint64_t value)
{
    switch (option) {
    case LINK_OPTION_KEEPALIVE_IDLE_S:
        options->keepalive_idle_ns = value * NS_PER_S;
        break;
    case LINK_OPTION_KEEPALIVE_INTERVAL_S:
        options->keepalive_interval_ns = value * NS_PER_S;
        break;
    case LINK_OPTION_KEEPALIVE_COUNT:
        options->keepalive_count = (uint8_t)value;
        break;
    case LINK_OPTION_USER_TIMEOUT_MS:
        options->user_timeout_ns = value * NS_PER_MS;
        break;
    case LINK_OPTION_LINGER2_S:
        options->linger2_ns = (int64_t)value < 0 ? UINT64_MAX : value * NS_PER_S;
        break;
    case LINK_OPTION_SYNCNT:
        options->syn_retries = (uint8_t)value;
        break;
    case LINK_OPTION_RTO_MAX_MS:
        options->rto_max_us = (uint32_t)(value * (NS_PER_MS / NS_PER_US));
        break;
    case LINK_OPTION_RTO_MIN_US:
        options->rto_min_us = (uint32_t)value;
        break;
    case LINK_OPTION_ACK_DELAY_MAX_US:
        options->ack_delay_max_us = (uint32_t)value;
        break;
    default:
        break;
    }
}

static void change(struct tcp_options_set *options, uint32_t option, uint64_t value)
{
    switch (option) {
    case LINK_OPTION_NODELAY:
        options->nodelay = value != 0;
        break;
    case LINK_OPTION_CORK:
        options->cork = value != 0;
        break;
    case LINK_OPTION_KEEPALIVE:
        options->keepalive = value != 0;
        break;
    case LINK_OPTION_RECEIVE_BUFFER:
        options->receive_buffer = (uint32_t)value;
        break;
    case LINK_OPTION_SEND_BUFFER:
        options->send_buffer = (uint32_t)value;
        break;
    case LINK_OPTION_MAXSEG:
        options->maxseg = (uint16_t)value;
        break;
    case LINK_OPTION_FAST_OPEN_NO_COOKIE:
        options->fast_open_no_cookie = value != 0;
        break;
    case LINK_OPTION_QUICKACK:
        options->delay_acks = value == 0;
        break;
    case LINK_OPTION_CONGESTION:
        options->congestion = (uint8_t)value;
        break;
    case LINK_OPTION_WINDOW_CLAMP:
        options->window_clamp = (uint32_t)value;
        break;
    case LINK_OPTION_TOS:
        options->traffic_class = (uint8_t)value;
        break;
    case LINK_OPTION_TTL:
        options->ttl = (uint8_t)value;
        break;
    case LINK_OPTION_MTU_DISCOVER_V4:
        options->mtu_discover_v4 = (uint16_t)value;
        break;
    case LINK_OPTION_MTU_DISCOVER_V6:
        options->mtu_discover_v6 = (uint16_t)value;
        break;
    case LINK_OPTION_MAX_PACING_RATE:
        options->max_pacing_rate = value;
        break;
    default:
        change_timing(options, option, value);
        break;
    }
}

static bool set_fast_open(struct engine_socket *socket, uint32_t queue)
{
    struct socket_setup *setup = socket_setup_of(socket);
    if (socket_listener(socket) != NULL)
        tcp_listener_set_fast_open(socket_listener(socket), queue);
    else if (setup != NULL)
        setup->fast_open = queue;
    return true;
}

static bool set_defer_accept(struct engine_socket *socket, uint64_t value_s)
{
    struct socket_setup *setup = socket_setup_of(socket);
    if (socket_listener(socket) != NULL)
        tcp_listener_set_defer_accept(socket_listener(socket), value_s * NS_PER_S);
    else if (setup != NULL)
        setup->defer_accept_ns = value_s * NS_PER_S;
    return true;
}

/* Nothing may be acknowledged for long, and a writer wait for the room. */
static void send_buffer_changed(struct engine_socket *socket)
{
    socket->send_limit = tcp_send_buffer_bytes(socket->connection);
    notify_socket(socket, DIRTY_SENT);
}

bool socket_options_set(struct engine_socket *socket, uint32_t option, int64_t value)
{
    if (option == 0 || option >= LINK_OPTION_COUNT || value < ranges[option].minimum ||
        value > ranges[option].maximum)
        return false;
    /* TCP_NOTSENT_LOWAT is about when the application is told it may write: the host's business. */
    if (option == LINK_OPTION_NOTSENT_LOWAT)
        return true;
    if (option == LINK_OPTION_RECEIVE_STAMPS) {
        socket->stamps = value != 0;
        return true;
    }
    if (option == LINK_OPTION_FAST_OPEN)
        return set_fast_open(socket, (uint32_t)value);
    if (option == LINK_OPTION_DEFER_ACCEPT_S)
        return set_defer_accept(socket, (uint64_t)value);
    /* Every window must fit what is kept free for it. */
    int64_t buffer_max = (int64_t)(socket->tenant->receive_reserve_bytes / 2);
    if (option == LINK_OPTION_RECEIVE_BUFFER && value > buffer_max)
        value = buffer_max;
    struct engine_core *core = socket_core(socket);
    struct tcp_listener *listener = socket_listener(socket);
    struct socket_setup *setup = socket_setup_of(socket);
    if (listener != NULL) {
        change(tcp_listener_options(listener), option, (uint64_t)value);
    } else if (socket->connection != NULL) {
        struct tcp_options_set options = *tcp_get_options(socket->connection);
        change(&options, option, (uint64_t)value);
        tcp_set_options(core->stack, socket->connection, &options, core->now_ns);
        if (option == LINK_OPTION_QUICKACK)
            tcp_quickack(core->stack, socket->connection, value != 0);
        if (option == LINK_OPTION_SEND_BUFFER)
            send_buffer_changed(socket);
    } else if (setup != NULL) {
        change(&setup->options, option, (uint64_t)value);
    }
    return true;
}
