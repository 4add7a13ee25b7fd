/*
 * CUBIC (RFC 9438) in integers. Windows in bytes, time in milliseconds:
 *
 *     W_cubic(t) = C · (t − K)³ + W_max     C = 0.4 segments/s³ = mss · 4e-10 bytes/ms³
 *     K = cbrt((W_max − cwnd_epoch) / C)
 */
#include "core/tcp/congestion.h"

/** beta_cubic = 0.7, in 1024ths as Linux has it. */
#define BETA_1024 717
/** alpha_cubic = 3 (1 − beta) / (1 + beta), in 1024ths (RFC 9438 §4.3). */
#define ALPHA_1024 542
/** Beyond this the curve is steeper than any window: keeps the cube within 64 bits. */
#define DISTANCE_MAX_MS 200000

/** Integer cube root, rounded down: one bit of the result at a time. */
static uint32_t cube_root(uint64_t x)
{
    uint64_t root = 0;
    for (int shift = 63; shift >= 0; shift -= 3) {
        root *= 2;
        uint64_t step = 3 * root * (root + 1) + 1;
        if ((x >> shift) >= step) {
            x -= step << shift;
            root++;
        }
    }
    return (uint32_t)root;
}

static uint32_t milliseconds(uint64_t time_ns)
{
    return (uint32_t)(time_ns / NS_PER_MS);
}

static void cubic_init(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    (void)stack;
    (void)now_ns;
    connection->congestion.own = (union tcp_congestion_private){0};
    connection->congestion.fraction = 0;
}

static uint32_t cubic_ssthresh(struct tcp_connection *connection)
{
    struct tcp_cubic *cubic = &connection->congestion.own.cubic;
    uint32_t cwnd = connection->hot.cwnd;
    uint32_t floor = 2 * (uint32_t)connection->hot.mss;
    if (connection->congestion.ssthresh == TCP_SSTHRESH_INFINITE)
        *cubic = (struct tcp_cubic){0}; /* until now the space was HyStart++'s */
    /* Fast convergence (RFC 9438 §4.7): a shrinking share is left to newcomers. */
    if (cwnd < cubic->w_max)
        cubic->w_max = (uint32_t)((uint64_t)cwnd * (1024 + BETA_1024) / 2048);
    else
        cubic->w_max = cwnd;
    cubic->prior_cwnd = cwnd;
    cubic->epoch_ms = 0;
    uint32_t reduced = (uint32_t)((uint64_t)cwnd * BETA_1024 / 1024);
    return reduced > floor ? reduced : floor;
}

static void epoch_begin(struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_cubic *cubic = &connection->congestion.own.cubic;
    uint32_t cwnd = connection->hot.cwnd;
    cubic->epoch_ms = milliseconds(now_ns);
    cubic->epoch_ms += cubic->epoch_ms == 0;
    cubic->w_est = cwnd;
    connection->congestion.fraction = 0;
    cubic->target = 0;
    if (cwnd < cubic->w_max) {
        uint64_t distance = cubic->w_max - cwnd;
        cubic->k_ms = cube_root(distance * UINT64_C(2500000000) / connection->hot.mss);
        cubic->origin = cubic->w_max;
    } else {
        cubic->k_ms = 0;
        cubic->origin = cwnd;
    }
}

/** W_cubic(t), bytes. */
static uint32_t cubic_window(const struct tcp_connection *connection, uint64_t t_ms)
{
    const struct tcp_cubic *cubic = &connection->congestion.own.cubic;
    bool before_k = t_ms < cubic->k_ms;
    uint64_t distance = before_k ? cubic->k_ms - t_ms : t_ms - cubic->k_ms;
    if (distance > DISTANCE_MAX_MS)
        distance = DISTANCE_MAX_MS;
    uint64_t cube = distance * distance * distance / 1000000;
    uint64_t delta = cube * connection->hot.mss / 2500;
    if (before_k)
        return delta < cubic->origin ? (uint32_t)(cubic->origin - delta) : 0;
    uint64_t window = cubic->origin + delta;
    return window < TCP_CWND_MAX ? (uint32_t)window : TCP_CWND_MAX;
}

/** The window one round trip from now, bounded as RFC 9438 §4.2 says; once per millisecond. */
static uint32_t cubic_target(struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_cubic *cubic = &connection->congestion.own.cubic;
    uint32_t t_ms = milliseconds(now_ns) - cubic->epoch_ms;
    if (cubic->target == 0 || cubic->target_ms != t_ms) {
        cubic->target_ms = t_ms;
        cubic->target = cubic_window(connection, t_ms + (uint64_t)tcp_srtt_us(connection) / 1000);
    }
    uint32_t cwnd = connection->hot.cwnd;
    uint32_t limit = cwnd + cwnd / 2;
    if (cubic->target < cwnd)
        return cwnd;
    return cubic->target < limit ? cubic->target : limit;
}

/** W_est of RFC 9438 §4.3: what Reno with the same average would have by now. */
static void reno_friendly_grow(struct tcp_connection *connection, uint32_t acked)
{
    struct tcp_cubic *cubic = &connection->congestion.own.cubic;
    uint32_t alpha = cubic->w_est >= cubic->prior_cwnd ? 1024 : ALPHA_1024;
    uint64_t gain =
        (uint64_t)alpha * connection->hot.mss / 1024 * acked + connection->congestion.fraction;
    uint64_t whole = gain / connection->hot.cwnd;
    connection->congestion.fraction = (uint32_t)(gain % connection->hot.cwnd);
    cubic->w_est =
        cubic->w_est + whole < TCP_CWND_MAX ? (uint32_t)(cubic->w_est + whole) : TCP_CWND_MAX;
}

static void cubic_avoid(struct tcp_connection *connection, uint32_t acked, uint64_t now_ns)
{
    struct tcp_hot *hot = &connection->hot;
    struct tcp_cubic *cubic = &connection->congestion.own.cubic;
    if (cubic->epoch_ms == 0)
        epoch_begin(connection, now_ns);
    reno_friendly_grow(connection, acked);
    uint32_t target = cubic_target(connection, now_ns);
    uint64_t cwnd = hot->cwnd;
    cwnd += (uint64_t)(target - hot->cwnd) * acked / hot->cwnd;
    /* Idleness takes cwnd back and leaves w_est: back to that in steps, not in a burst. */
    uint64_t step = hot->cwnd + (uint64_t)acked;
    if (cwnd < cubic->w_est)
        cwnd = cubic->w_est < step ? cubic->w_est : step;
    hot->cwnd = cwnd < TCP_CWND_MAX ? (uint32_t)cwnd : TCP_CWND_MAX;
}

/** Time without sending does not count (RFC 9438 §5.8): the epoch moves along. */
static void cubic_resume(struct tcp_connection *connection, uint64_t idle_ns)
{
    if (connection->congestion.ssthresh != TCP_SSTHRESH_INFINITE &&
        connection->congestion.own.cubic.epoch_ms != 0)
        connection->congestion.own.cubic.epoch_ms += milliseconds(idle_ns);
}

static void cubic_timeout(struct tcp_connection *connection)
{
    connection->congestion.own.cubic.epoch_ms = 0;
}

const struct tcp_congestion_control tcp_congestion_cubic = {
    .name = "cubic",
    .init = cubic_init,
    .ssthresh = cubic_ssthresh,
    .avoid = cubic_avoid,
    .slow_start = tcp_hystart_slow_start,
    .resume = cubic_resume,
    .timeout = cubic_timeout,
};
