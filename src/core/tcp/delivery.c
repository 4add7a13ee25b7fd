#include "core/tcp/delivery.h"

#include "core/tcp/rare.h"
#include "core/tcp/recovery.h"
#include "core/tcp/scoreboard.h"
#include "core/tcp/sent.h"

void tcp_delivery_init(struct tcp_connection *connection)
{
    /* As Linux: until the window was once filled, the application is taken to be the limit. */
    connection->delivery = (struct tcp_delivery){.rate_limited = true};
}

/** How long it took until what the sample stands for had arrived; 0: not known well enough, ACKs
    came compressed. */
static uint32_t sample_interval_us(const struct tcp_connection *connection,
                                   const struct tcp_sent *sample)
{
    uint32_t send_us = sample->sent_us - sample->first_sent_us;
    uint32_t ack_us = connection->delivery.delivered_us - sample->delivered_us;
    uint32_t interval_us = send_us > ack_us ? send_us : ack_us;
    uint32_t min_rtt_us = connection->congestion.min_rtt_us;
    return interval_us >= min_rtt_us || min_rtt_us == UINT32_MAX ? interval_us : 0;
}

/** The sample has arrived: GenerateRateSample() of the draft. */
static void sample_take(struct tcp_connection *connection, const struct tcp_sent *sample)
{
    struct tcp_delivery *delivery = &connection->delivery;
    uint32_t interval_us = sample_interval_us(connection, sample);
    uint32_t bytes = delivery->delivered - sample->delivered;
    delivery->first_sent_us = sample->sent_us;
    if (interval_us == 0)
        return;
    uint64_t rate = (uint64_t)bytes * delivery->rate_interval_us;
    bool faster = rate >= (uint64_t)delivery->rate_bytes * interval_us;
    if (sample->app_limited && !faster)
        return; /* the application's rate, not the path's */
    delivery->rate_bytes = bytes;
    delivery->rate_interval_us = interval_us;
    delivery->rate_limited = sample->app_limited;
}

static void delivered_add(struct tcp_delivery *delivery, uint32_t bytes, uint32_t now_us)
{
    delivery->delivered += bytes;
    delivery->delivered_us = now_us;
    if (delivery->limited && (int32_t)(delivery->delivered - delivery->limited_until) > 0)
        delivery->limited = false;
}

void tcp_delivery_acked(struct tcp_connection *connection, const struct tcp_ack_facts *facts)
{
    delivered_add(&connection->delivery, facts->delivered, tcp_sent_clock_us(facts->now_ns));
    if (facts->sampled)
        sample_take(connection, &facts->sample);
}

void tcp_delivery_predicted(struct tcp_connection *connection, uint32_t bytes,
                            const struct tcp_sent *newest, uint32_t now_us)
{
    delivered_add(&connection->delivery, bytes, now_us);
    sample_take(connection, newest);
}

void tcp_delivery_sample(const struct tcp_connection *connection, const struct tcp_ack_facts *facts,
                         struct tcp_rate_sample *rs)
{
    const struct tcp_delivery *delivery = &connection->delivery;
    const struct tcp_sent *sample = &facts->sample;
    *rs = (struct tcp_rate_sample){.now_ns = facts->now_ns,
                                   .newly_acked = facts->delivered,
                                   .newly_lost = facts->newly_lost,
                                   .rtt_us = facts->rtt_us};
    if (!facts->sampled)
        return;
    rs->has_data = true;
    rs->prior_delivered = sample->delivered;
    rs->delivered = delivery->delivered - sample->delivered;
    rs->tx_in_flight = sample->in_flight;
    rs->lost = connection->rare->lost - sample->lost;
    rs->is_app_limited = sample->app_limited;
    uint32_t interval_us = sample_interval_us(connection, sample);
    if (interval_us != 0)
        rs->rate = (uint64_t)rs->delivered * 1000000 / interval_us;
}

/** pipe: bytes in flight. */
static void mark_limited(struct tcp_delivery *delivery, uint32_t pipe)
{
    delivery->limited = true;
    delivery->limited_until = delivery->delivered + (pipe > 0 ? pipe : 1);
}

void tcp_delivery_mark_limited(struct tcp_connection *connection)
{
    mark_limited(&connection->delivery, tcp_pipe(connection));
}

void tcp_delivery_lost(struct tcp_connection *connection, uint32_t bytes)
{
    connection->rare->lost += bytes;
}

void tcp_delivery_application_writes(struct tcp_connection *connection)
{
    uint32_t pipe = tcp_pipe(connection);
    if (pipe < connection->hot.cwnd && tcp_unsent(connection) < connection->hot.mss)
        mark_limited(&connection->delivery, pipe);
}

/** Something is unacknowledged, and all was sent. */
static enum tcp_chrono chrono_all_sent(const struct tcp_connection *connection)
{
    const struct tcp_hot *hot = &connection->hot;
    uint64_t wanted = hot->snd_end - hot->snd_una + hot->mss;
    bool is_roomy =
        connection->options->send_buffer == 0 && wanted <= connection->send_buffer_initial;
    if (__builtin_expect(is_roomy, 1)) /* the buffer is no smaller */
        return TCP_CHRONO_BUSY;
    bool full = wanted > tcp_send_buffer_bytes(connection);
    return full && hot->ca_state <= TCP_CA_DISORDER && tcp_pipe(connection) < hot->cwnd
               ? TCP_CHRONO_SEND_BUFFER
               : TCP_CHRONO_BUSY;
}

static enum tcp_chrono chrono_now(const struct tcp_connection *connection)
{
    const struct tcp_hot *hot = &connection->hot;
    if (hot->snd_una >= hot->snd_end + hot->fin_queued)
        return TCP_CHRONO_IDLE;
    uint64_t unsent = tcp_unsent(connection);
    if (unsent == 0)
        return chrono_all_sent(connection);
    uint64_t window_end = hot->snd_una + hot->snd_wnd;
    uint64_t head = unsent < hot->mss ? unsent : hot->mss;
    bool closed = window_end < hot->snd_nxt + head;
    return closed && tcp_pipe(connection) < hot->cwnd ? TCP_CHRONO_RECEIVE_WINDOW : TCP_CHRONO_BUSY;
}

void tcp_chrono_limited(struct stack *stack, struct tcp_connection *connection, uint32_t ms)
{
    if (ms == 0)
        return;
    struct tcp_rare *rare = tcp_rare_take(stack, connection);
    if (connection->delivery.chrono == TCP_CHRONO_RECEIVE_WINDOW)
        rare->receive_window_ms += ms;
    else
        rare->send_buffer_ms += ms;
}

void tcp_chrono_sent_all(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    tcp_chrono_enter(stack, connection, chrono_all_sent(connection), now_ns);
}

void tcp_chrono_update(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    const struct tcp_hot *hot = &connection->hot;
    bool nothing = !hot->fin_queued && (hot->snd_una >= hot->snd_end ||
                                        hot->snd_end == tcp_snd_start(hot)); /* but a SYN */
    if (connection->delivery.chrono == TCP_CHRONO_IDLE && nothing)
        return;
    tcp_chrono_enter(stack, connection, chrono_now(connection), now_ns);
}

static uint64_t chrono_own_ms(const struct tcp_connection *connection, enum tcp_chrono chrono,
                              uint64_t now_ns)
{
    const struct tcp_delivery *delivery = &connection->delivery;
    uint32_t noted = delivery->busy_ms;
    if (chrono == TCP_CHRONO_RECEIVE_WINDOW)
        noted = connection->rare->receive_window_ms;
    else if (chrono == TCP_CHRONO_SEND_BUFFER)
        noted = connection->rare->send_buffer_ms;
    uint32_t running = 0;
    if (delivery->chrono == chrono)
        running = (uint32_t)(now_ns / NS_PER_MS) - delivery->chrono_started_ms;
    return noted + running;
}

uint64_t tcp_chrono_ms(const struct tcp_connection *connection, enum tcp_chrono chrono,
                       uint64_t now_ns)
{
    uint64_t total_ms = chrono_own_ms(connection, chrono, now_ns);
    if (chrono == TCP_CHRONO_BUSY)
        total_ms += chrono_own_ms(connection, TCP_CHRONO_RECEIVE_WINDOW, now_ns) +
                    chrono_own_ms(connection, TCP_CHRONO_SEND_BUFFER, now_ns);
    return total_ms;
}
