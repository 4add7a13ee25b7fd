#include "core/tcp/mtu_probe.h"

#include "core/tcp/output.h"
#include "core/tcp/rare.h"
#include "core/tcp/scoreboard.h"

#define TCP_HEADER_BYTES 20
/** Linux's limits: a window to probe with, where the search ends, the least segment. */
#define WINDOW_SEGMENTS_MIN 11
#define SEARCH_ENDS_BYTES   8
#define BASE_FLOOR          48
/** Segments to follow the probe, so that its loss is found without a timeout. */
#define SEGMENTS_AFTER 4

static uint32_t headers(const struct tcp_connection *connection)
{
    return (connection->is_ipv6 ? 40u : 20u) + TCP_HEADER_BYTES;
}

/** Payload of a packet of this size, timestamps taken off. */
static uint32_t payload_of(const struct tcp_connection *connection, uint32_t mtu)
{
    uint32_t taken =
        headers(connection) + (connection->hot.timestamps ? TCP_TIMESTAMP_OPTION_BYTES : 0);
    return mtu > taken ? mtu - taken : 0;
}

static uint16_t minutes(uint64_t now_ns)
{
    return (uint16_t)(now_ns / NS_PER_S / 60);
}

static uint16_t limit_of(const struct tcp_connection *connection)
{
    uint32_t limit = connection->peer_mss + headers(connection);
    return limit < connection->path_mtu ? (uint16_t)limit : connection->path_mtu;
}

/** Between the size that passes anywhere and the largest that may. */
static void probing_begin(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_mtu_probe *probe = &tcp_rare_take(stack, connection)->mtu_probe;
    uint32_t base = stack_get_config(stack)->tcp.mtu_probe_base;
    connection->mtu_probing = true;
    probe->low = (uint16_t)(base + headers(connection));
    probe->high = limit_of(connection);
    probe->since_min = minutes(now_ns);
}

void tcp_mtu_probe_init(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    const struct tcp_defaults *defaults = &stack_get_config(stack)->tcp;
    if (defaults->mtu_probing != TCP_MTU_PROBING_ALWAYS)
        return;
    probing_begin(stack, connection, now_ns);
    /* As Linux, what a listener accepted keeps its size until that is worked out anew: when the
       peer's window has grown, the path's MTU has changed or a probe has passed. */
    if (!connection->passive)
        tcp_mss_update(connection);
}

bool tcp_mtu_black_hole(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_mtu_probe *probe = &connection->rare->mtu_probe;
    uint16_t before = connection->hot.mss;
    if (stack_get_config(stack)->tcp.mtu_probing == TCP_MTU_PROBING_OFF)
        return false;
    if (!connection->mtu_probing) {
        probing_begin(stack, connection, now_ns);
    } else {
        uint32_t half = (probe->low - headers(connection)) / 2;
        uint32_t base = stack_get_config(stack)->tcp.mtu_probe_base;
        uint32_t mss = half < base ? half : base;
        probe->low = (uint16_t)((mss > BASE_FLOOR ? mss : BASE_FLOOR) + headers(connection));
    }
    tcp_mss_update(connection);
    return connection->hot.mss < before;
}

/** A size that did not pass may do so after a while: the path can have changed. */
static void search_again_if_due(struct stack *stack, struct tcp_connection *connection,
                                uint64_t now_ns)
{
    struct tcp_mtu_probe *probe = &connection->rare->mtu_probe;
    uint64_t passed_min = (uint16_t)(minutes(now_ns) - probe->since_min);
    if (passed_min * 60 * NS_PER_S < stack_get_config(stack)->tcp.mtu_probe_interval_ns)
        return;
    probe->high = limit_of(connection);
    probe->since_min = minutes(now_ns);
}

uint32_t tcp_mtu_probe_due(struct stack *stack, struct tcp_connection *connection, uint32_t pipe,
                           uint64_t now_ns)
{
    const struct tcp_hot *hot = &connection->hot;
    struct tcp_mtu_probe *probe = &connection->rare->mtu_probe;
    if (!connection->mtu_probing || probe->size != 0 || hot->ca_state != TCP_CA_OPEN ||
        hot->cwnd < WINDOW_SEGMENTS_MIN * (uint32_t)hot->mss ||
        hot->state == TCP_STATE_SYN_RECEIVED)
        return 0;
    if (probe->high < probe->low + SEARCH_ENDS_BYTES) {
        search_again_if_due(stack, connection, now_ns);
        return 0;
    }
    uint32_t payload = payload_of(connection, (probe->low + probe->high) / 2u);
    uint64_t needed = payload + SEGMENTS_AFTER * (uint64_t)hot->mss;
    uint64_t window_end = hot->snd_una + hot->snd_wnd;
    if (payload <= hot->mss || tcp_unsent(connection) < needed ||
        hot->snd_nxt + needed > window_end || pipe + payload > hot->cwnd)
        return 0;
    return payload;
}

void tcp_mtu_probe_sent(struct stack *stack, struct tcp_connection *connection, uint64_t start)
{
    struct tcp_mtu_probe *probe = &connection->rare->mtu_probe;
    probe->size = (uint16_t)((probe->low + probe->high) / 2u);
    probe->start = tcp_wire(start);
    stack_counters(stack)->mtu_probes++;
}

void tcp_mtu_probe_acked(struct stack *stack, struct tcp_connection *connection)
{
    struct tcp_mtu_probe *probe = &connection->rare->mtu_probe;
    seq_t end = seq_add(probe->start, payload_of(connection, probe->size));
    if (probe->size == 0 || seq_lt(tcp_wire(connection->hot.snd_una), end))
        return;
    probe->low = probe->size;
    probe->size = 0;
    stack_counters(stack)->mtu_probe_successes++;
    tcp_mss_update(connection);
}

bool tcp_mtu_probe_failed(struct tcp_connection *connection)
{
    struct tcp_mtu_probe *probe = &connection->rare->mtu_probe;
    if (probe->size == 0 || !seq_eq(probe->start, tcp_wire(connection->hot.snd_una)))
        return false;
    probe->high = (uint16_t)(probe->size - 1);
    probe->size = 0;
    return true;
}
