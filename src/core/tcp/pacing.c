#include "core/tcp/pacing.h"

#include "core/tcp/congestion.h"
#include "core/tcp/output.h"
#include "core/tcp/rare.h"
#include "core/tcp/timers.h"

/** As Linux (and its fq), the initial window goes out in one burst: nothing is known yet. */
#define UNPACED_SEGMENTS 10

/** Windows of up to so many segments, less than what hosts give their ports to segment at once, do
    little harm in one burst, and lose by waiting: a tenth of Reno's goodput at 5 % loss. */
#define UNPACED_WINDOW_SEGMENTS 32

/** Linux's net.ipv4.tcp_pacing_ss_ratio and _ca_ratio, percent. */
#define SLOW_START_PERCENT 200
#define AVOIDANCE_PERCENT  120

/** A burst takes this long, within bounds. */
#define BURST_NS           NS_PER_MS
#define BURST_SEGMENTS_MIN 2
#define BURST_BYTES_MAX    65536

/** Linux's sk_pacing_shift (a second's share, here about a millisecond), and its
    net.ipv4.tcp_tso_rtt_log: halve the allowance for short paths for every 2^9 µs of round trip. */
#define TSO_RATE_SHIFT 10
#define TSO_RTT_SHIFT  9

/** A machine that wakes us later than this is not caught up with: bursts would be too long. */
#define LATE_MAX_NS (4 * NS_PER_MS)

/** Window-based algorithms are paced where the path is long enough for a burst to matter. */
static bool is_long_path(const struct stack *stack, const struct tcp_connection *connection)
{
    uint32_t rtt_us = connection->congestion.min_rtt_us;
    return rtt_us != UINT32_MAX && rtt_us * NS_PER_US >= stack_get_config(stack)->tcp.pace_rtt_ns;
}

/** By the application, or by the algorithm. */
static bool is_asked_for(const struct tcp_connection *connection)
{
    return connection->options->max_pacing_rate != UINT64_MAX ||
           tcp_congestion_of(connection)->sets_rate;
}

void tcp_pacing_update(struct stack *stack, struct tcp_connection *connection)
{
    if (connection->hot.paced || (!is_asked_for(connection) && !is_long_path(stack, connection)))
        return;
    connection->hot.paced = true;
    struct tcp_pacing *pacing = stack_pacing_area(stack, connection);
    *pacing = (struct tcp_pacing){.rate = UINT64_MAX};
    tcp_rare_take(stack, connection)->pacing = pacing;
}

/** What the window amounts to per second, with the room to grow that Linux gives it. */
static uint64_t window_rate(const struct tcp_connection *connection)
{
    const struct tcp_congestion *congestion = &connection->congestion;
    uint64_t window = connection->hot.cwnd;
    if (tcp_srtt_us(connection) == 0)
        return UINT64_MAX;
    uint64_t outstanding = tcp_outstanding(connection);
    bool slow_start = window < congestion->ssthresh / 2;
    uint64_t most = window > outstanding ? window : outstanding;
    return most * (slow_start ? SLOW_START_PERCENT : AVOIDANCE_PERCENT) * 10000 /
           tcp_srtt_us(connection);
}

uint64_t tcp_pacing_rate(const struct tcp_connection *connection)
{
    uint64_t limit = connection->options->max_pacing_rate;
    uint64_t rate = tcp_congestion_of(connection)->sets_rate && connection->hot.paced
                        ? connection->rare->pacing->rate
                        : window_rate(connection);
    return rate < limit ? rate : limit;
}

/** SO_MAX_PACING_RATE of 0 sets no limit either, as in Linux. */
static bool is_unlimited(uint64_t rate)
{
    return rate == 0 || rate == UINT64_MAX;
}

static uint32_t quantum(const struct tcp_connection *connection, uint64_t rate)
{
    uint64_t bytes = rate / (NS_PER_S / BURST_NS);
    uint32_t least = BURST_SEGMENTS_MIN * (uint32_t)connection->hot.mss;
    if (bytes > BURST_BYTES_MAX)
        bytes = BURST_BYTES_MAX;
    return bytes > least ? (uint32_t)bytes : least;
}

bool tcp_pacing_allows(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_pacing *pacing = connection->rare->pacing;
    if (pacing->burst_left > 0 || now_ns >= pacing->next_ns)
        return true;
    if (tcp_unsent(connection) > 0 || tcp_fin_unsent(connection) ||
        connection->hot.ca_state >= TCP_CA_RECOVERY)
        tcp_pacing_timer_set(stack, connection);
    return false;
}

uint32_t tcp_pacing_quantum(const struct tcp_connection *connection)
{
    return quantum(connection, tcp_pacing_rate(connection));
}

uint32_t tcp_pacing_burst_bytes(const struct tcp_connection *connection)
{
    const struct tcp_pacing *pacing = connection->rare->pacing;
    if (pacing->burst_left > 0)
        return pacing->burst_left;
    uint64_t rate = tcp_pacing_rate(connection);
    return is_unlimited(rate) ? UINT32_MAX : quantum(connection, rate);
}

uint32_t tcp_pacing_tso_bytes(const struct stack *stack, const struct tcp_connection *connection,
                              uint32_t gso_bytes_max)
{
    uint32_t rtt_unit = connection->congestion.min_rtt_us >> TSO_RTT_SHIFT;
    uint64_t bytes = rtt_unit < 32 ? gso_bytes_max >> rtt_unit : 0;
    if (bytes < gso_bytes_max)
        bytes += tcp_pacing_rate(connection) >> TSO_RATE_SHIFT;
    uint32_t least = stack_get_config(stack)->tcp.min_tso_segs * (uint32_t)connection->hot.mss;
    if (bytes < least)
        bytes = least;
    return bytes < gso_bytes_max ? (uint32_t)bytes : gso_bytes_max;
}

/** What is sent at once holds back the next for a second at most, as in Linux's fq: the rate may
    rise, and nobody looks at it again before. */
#define WAIT_MAX_NS NS_PER_S

/** Nanoseconds that bytes take at this rate, within bounds; bytes below 2^32. */
static uint64_t duration_ns(uint64_t bytes, uint64_t rate)
{
    uint64_t duration_ns = bytes * NS_PER_S / rate;
    return duration_ns < WAIT_MAX_NS ? duration_ns : WAIT_MAX_NS;
}

static void burst_begin(struct tcp_connection *connection, uint64_t rate, uint64_t now_ns)
{
    struct tcp_pacing *pacing = connection->rare->pacing;
    uint64_t late_ns = now_ns - pacing->next_ns;
    bool waited = pacing->woken_ns == now_ns || connection->hot.pacing_waits;
    pacing->burst_left = quantum(connection, rate);
    pacing->late_ns = 0;
    /* There was something to send, and we were woken late for it: the rate goes on as if not. */
    if (waited && late_ns <= LATE_MAX_NS)
        return;
    pacing->late_ns = late_ns;
    pacing->next_ns = now_ns;
}

/** The initial window, and small ones that nobody asked to be paced. */
static bool is_let_out(const struct stack *stack, const struct tcp_connection *connection)
{
    return connection->statistics.data_segments_out <= UNPACED_SEGMENTS ||
           (connection->hot.cwnd <= UNPACED_WINDOW_SEGMENTS * (uint32_t)connection->hot.mss &&
            stack_get_config(stack)->tcp.pace_rtt_ns != 0 && !is_asked_for(connection));
}

void tcp_pacing_sent(const struct stack *stack, struct tcp_connection *connection, uint32_t bytes,
                     uint64_t now_ns)
{
    struct tcp_pacing *pacing = connection->rare->pacing;
    uint64_t rate = tcp_pacing_rate(connection);
    if (is_unlimited(rate) || is_let_out(stack, connection)) {
        pacing->next_ns = now_ns;
        pacing->burst_left = 0;
        return;
    }
    if (now_ns >= pacing->next_ns)
        burst_begin(connection, rate, now_ns);
    /* What was not sent for a while is made up for by half of the burst at most, as in Linux, so
       that no idleness is saved up. */
    uint64_t cost_ns = duration_ns(bytes, rate);
    uint64_t credit_ns = pacing->late_ns < cost_ns / 2 ? pacing->late_ns : cost_ns / 2;
    pacing->late_ns -= credit_ns;
    pacing->next_ns += cost_ns - credit_ns;
    pacing->burst_left -= bytes < pacing->burst_left ? bytes : pacing->burst_left;
}

void tcp_pacing_expired(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    connection->hot.pacing_waits = false;
    connection->rare->pacing->woken_ns = now_ns;
    tcp_output_request(stack, connection);
}

size_t tcp_pacing_bytes(void)
{
    return sizeof(struct tcp_pacing);
}
