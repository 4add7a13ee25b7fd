#include "core/tcp/keepalive.h"

#include <errno.h>

#include "core/tcp/output.h"
#include "core/tcp/state.h"
#include "core/tcp/timers.h"

static bool state_allows(const struct tcp_connection *connection)
{
    return tcp_is_synchronized(connection) && connection->hot.state != TCP_STATE_TIME_WAIT &&
           connection->hot.state != TCP_STATE_SYN_RECEIVED;
}

/** Since the peer was last heard of. */
static uint64_t silence_ns(const struct tcp_connection *connection, uint64_t now_ns)
{
    uint64_t silence = tcp_age_ns(connection->congestion.last_ack_ms, now_ns);
    uint64_t data_ns = tcp_age_ns(connection->receive.last_data_ms, now_ns);
    return connection->receive.last_data_ms != 0 && data_ns < silence ? data_ns : silence;
}

void tcp_keepalive_update(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    bool running = connection->state_timer == TCP_STATE_TIMER_KEEPALIVE;
    if (!state_allows(connection) || (connection->state_timer != TCP_STATE_TIMER_NONE && !running))
        return;
    if (!connection->options->keepalive) {
        if (running)
            tcp_state_timer_set(stack, connection, TCP_STATE_TIMER_NONE, TIME_NEVER);
        return;
    }
    uint64_t silence = silence_ns(connection, now_ns);
    uint64_t idle = connection->options->keepalive_idle_ns;
    tcp_state_timer_set(stack, connection, TCP_STATE_TIMER_KEEPALIVE,
                        now_ns + (idle > silence ? idle - silence : 0));
}

/** The peer has been silent for too long, or too many probes went unanswered. */
static bool is_dead(const struct tcp_connection *connection, uint64_t silence)
{
    uint64_t user_timeout_ns = connection->options->user_timeout_ns;
    if (user_timeout_ns != 0)
        return silence >= user_timeout_ns && connection->congestion.probes > 0;
    return connection->congestion.probes >= connection->options->keepalive_count;
}

void tcp_keepalive_expired(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    if (!connection->options->keepalive || !state_allows(connection))
        return;
    uint64_t idle_ns = connection->options->keepalive_idle_ns;
    uint64_t next_ns = idle_ns;
    /* While something is in flight or waits, retransmissions and probes test the peer. */
    if (tcp_outstanding(connection) == 0 && tcp_unsent(connection) == 0) {
        uint64_t silence = silence_ns(connection, now_ns);
        if (silence < idle_ns) {
            next_ns = idle_ns - silence;
        } else if (is_dead(connection, silence)) {
            tcp_send_reset(stack, connection, now_ns);
            tcp_enter_closed(stack, connection,
                             connection->rare->soft_error ? connection->rare->soft_error
                                                          : ETIMEDOUT);
            return;
        } else {
            connection->congestion.probes++;
            connection->hot.probe_due = true;
            tcp_output_request(stack, connection);
            next_ns = connection->options->keepalive_interval_ns;
        }
    }
    tcp_state_timer_set(stack, connection, TCP_STATE_TIMER_KEEPALIVE, now_ns + next_ns);
}
