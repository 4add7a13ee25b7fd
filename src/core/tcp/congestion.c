#include "core/tcp/congestion.h"

#include "core/tcp/pacing.h"

static const struct tcp_congestion_control *const algorithms[TCP_CONGESTION_COUNT] = {
    [TCP_CONGESTION_CUBIC] = &tcp_congestion_cubic,
    [TCP_CONGESTION_NEWRENO] = &tcp_congestion_newreno,
    [TCP_CONGESTION_DCTCP] = &tcp_congestion_dctcp,
    [TCP_CONGESTION_BBR] = &tcp_congestion_bbr,
    [TCP_CONGESTION_DCTCP_RATE] = &tcp_congestion_dctcp_rate,
    [TCP_CONGESTION_TIMELY] = &tcp_congestion_timely,
    [TCP_CONGESTION_CONSTANT_RATE] = &tcp_congestion_constant_rate,
};

#define INITIAL_WINDOW_SEGMENTS 10

const struct tcp_congestion_control *tcp_congestion_find(uint8_t id)
{
    return algorithms[id < TCP_CONGESTION_COUNT ? id : TCP_CONGESTION_CUBIC];
}

static bool is_same(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

int tcp_congestion_by_name(const char *name)
{
    for (int id = 0; id < TCP_CONGESTION_COUNT; id++)
        if (is_same(algorithms[id]->name, name))
            return id;
    return -1;
}

const char *tcp_congestion_name(unsigned id)
{
    return id < TCP_CONGESTION_COUNT ? algorithms[id]->name : NULL;
}

uint32_t tcp_cwnd_initial(const struct tcp_connection *connection)
{
    uint32_t segments = connection->syn_timeouts > 1 ? 1 : INITIAL_WINDOW_SEGMENTS;
    return segments * connection->hot.mss;
}

void tcp_cwnd_init(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    connection->congestion.ssthresh = TCP_SSTHRESH_INFINITE;
    connection->hot.cwnd = tcp_cwnd_initial(connection);
    tcp_congestion_changed(stack, connection, now_ns);
}

void tcp_congestion_changed(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    tcp_pacing_update(stack, connection);
    if (tcp_congestion_controls(connection))
        connection->congestion.ssthresh = TCP_SSTHRESH_INFINITE; /* it has none */
    tcp_congestion_of(connection)->init(stack, connection, now_ns);
}

/** Whether the window, not the application, determines how much is in flight. */
static bool cwnd_limits(const struct tcp_connection *connection)
{
    const struct tcp_congestion *congestion = &connection->congestion;
    if (congestion->cwnd_limited)
        return true;
    /* In slow start a window up to twice what was used may grow: the sender may just have been
       held up by the burst's own ACK clock. */
    return connection->hot.cwnd < congestion->ssthresh &&
           connection->hot.cwnd < 2 * (uint64_t)congestion->max_flight;
}

void tcp_cwnd_note_flight(struct tcp_connection *connection, uint32_t flight)
{
    struct tcp_congestion *congestion = &connection->congestion;
    if (seq_geq(tcp_wire(connection->hot.snd_una), congestion->flight_round)) {
        congestion->flight_round = tcp_wire(connection->hot.snd_nxt);
        congestion->max_flight = flight;
        congestion->cwnd_limited = false;
    } else if (flight > congestion->max_flight) {
        congestion->max_flight = flight;
    }
    if (flight + connection->hot.mss > connection->hot.cwnd)
        congestion->cwnd_limited = true;
}

void tcp_cwnd_on_ack(struct tcp_connection *connection, uint32_t acked, uint64_t now_ns)
{
    struct tcp_hot *hot = &connection->hot;
    uint32_t ssthresh = connection->congestion.ssthresh;
    if (!cwnd_limits(connection))
        return;
    if (hot->cwnd < ssthresh && tcp_congestion_of(connection)->slow_start != NULL) {
        acked = tcp_congestion_of(connection)->slow_start(connection, acked, now_ns);
        ssthresh = connection->congestion.ssthresh;
    }
    if (hot->cwnd < ssthresh) {
        uint32_t room = ssthresh - hot->cwnd;
        uint32_t step = acked < room ? acked : room;
        if (step > TCP_CWND_MAX - hot->cwnd)
            step = TCP_CWND_MAX - hot->cwnd;
        hot->cwnd += step;
        acked -= step;
    }
    if (acked > 0 && hot->cwnd < TCP_CWND_MAX)
        tcp_congestion_of(connection)->avoid(connection, acked, now_ns);
}

void tcp_cwnd_restart_if_idle(struct stack *stack, struct tcp_connection *connection,
                              uint64_t now_ns)
{
    struct tcp_congestion *congestion = &connection->congestion;
    struct tcp_hot *hot = &connection->hot;
    uint64_t rto_ns = congestion->rto_us * NS_PER_US;
    if (tcp_congestion_controls(connection)) {
        if (tcp_congestion_of(connection)->restart != NULL)
            tcp_congestion_of(connection)->restart(connection, now_ns);
        return;
    }
    if (hot->last_sent_ns == 0 || now_ns - hot->last_sent_ns <= rto_ns)
        return;
    uint64_t idle_ns = now_ns - hot->last_sent_ns;
    tcp_congestion_of(connection)->resume(connection, idle_ns);
    uint32_t restart = tcp_cwnd_initial(connection);
    if (hot->cwnd <= restart || !stack_get_config(stack)->tcp.slow_start_after_idle)
        return;
    uint32_t three_quarters = hot->cwnd - hot->cwnd / 4;
    if (congestion->ssthresh < three_quarters)
        congestion->ssthresh = three_quarters;
    for (; idle_ns > rto_ns && hot->cwnd > restart; idle_ns -= rto_ns)
        hot->cwnd /= 2;
    if (hot->cwnd < restart)
        hot->cwnd = restart;
}
