/* The embedder's calls on a connection that concern sending and options. */
#include <errno.h>

#include "core/tcp/congestion.h"
#include "core/tcp/delivery.h"
#include "core/tcp/keepalive.h"
#include "core/tcp/output.h"
#include "core/tcp/pacing.h"
#include "core/tcp/receive.h"
#include "core/tcp/state.h"

/** Why nothing can be sent in this state; 0: it can. */
static int send_refusal(const struct tcp_connection *connection)
{
    const struct tcp_hot *hot = &connection->hot;
    switch ((enum tcp_state)hot->state) {
    case TCP_STATE_CLOSED:
        return connection->error != 0 ? -ECONNRESET : -EPIPE;
    case TCP_STATE_LISTEN:
        return -ENOTCONN;
    case TCP_STATE_TIME_WAIT:
        return -EPIPE;
    default:
        return hot->fin_queued || connection->fin_after_handshake ? -EPIPE : 0;
    }
}

int tcp_send(struct stack *stack, struct tcp_connection *connection, uint64_t bytes, bool more,
             uint64_t now_ns)
{
    struct tcp_hot *hot = &connection->hot;
    int error = hot->state == TCP_STATE_ESTABLISHED ? 0 : send_refusal(connection);
    if (error != 0)
        return error;
    tcp_delivery_application_writes(connection);
    if (tcp_outstanding(connection) == 0)
        tcp_cwnd_restart_if_idle(stack, connection, now_ns);
    hot->snd_end += bytes;
    hot->more = more;
    hot->more_released = false;
    tcp_output_request_if_wanted(stack, connection);
    return 0;
}

/** Turn options that act at once into action. */
void tcp_set_options(struct stack *stack, struct tcp_connection *connection,
                     const struct tcp_options_set *options, uint64_t now_ns)
{
    const struct tcp_options_set before = *connection->options;
    const struct tcp_options_set *replaced = connection->options;
    connection->options = tcp_options_share(stack, options);
    tcp_congestion_note(connection);
    tcp_options_release(stack, replaced);
    stack_options_changed(stack);
    if (connection->hot.state == TCP_STATE_CLOSED)
        return;
    if (tcp_is_synchronized(connection) && options->congestion != before.congestion)
        tcp_congestion_changed(stack, connection, now_ns);
    else if (tcp_is_synchronized(connection))
        tcp_pacing_update(stack, connection);
    if (options->receive_buffer != 0)
        connection->receive.buffer = options->receive_buffer;
    if (options->window_clamp != 0 && options->window_clamp != before.window_clamp)
        connection->receive.window_clamp = options->window_clamp;
    if (options->maxseg != before.maxseg)
        tcp_mss_update(connection);
    if (options->keepalive != before.keepalive ||
        options->keepalive_idle_ns != before.keepalive_idle_ns)
        tcp_keepalive_update(stack, connection, now_ns);
    /* Uncorked, or Nagle switched off: what was held back may go, the latter even if corked. */
    if (options->nodelay && !before.nodelay && tcp_unsent(connection) > 0)
        connection->hot.nagle_push = true;
    if ((options->nodelay && !before.nodelay) || (!options->cork && before.cork))
        tcp_output_request_if_wanted(stack, connection);
}

void tcp_quickack(struct stack *stack, struct tcp_connection *connection, bool on)
{
    struct tcp_hot *hot = &connection->hot;
    hot->pingpong = !on;
    if (on && hot->ack_deadline_ns != TIME_NEVER &&
        tcp_rcv_read(hot) == tcp_received_end(connection))
        tcp_ack_now(stack, connection);
}

void tcp_placement_begin(struct tcp_connection *connection)
{
    PNO_ASSERT(connection->hot.placements < UINT16_MAX);
    connection->hot.placements++;
}

void tcp_placement_end(struct stack *stack, struct tcp_connection *connection)
{
    PNO_ASSERT(connection->hot.placements > 0);
    if (--connection->hot.placements == 0)
        tcp_output_request_if_wanted(stack, connection);
}

void tcp_set_user(struct tcp_connection *connection, void *user)
{
    PNO_ASSERT(!connection->queued);
    connection->user = user;
}

void *tcp_user(const struct tcp_connection *connection)
{
    return connection->queued ? NULL : connection->user;
}

uint64_t tcp_received_offset(const struct tcp_connection *connection)
{
    return tcp_received_end(connection) - tcp_rcv_start(&connection->hot);
}

uint64_t tcp_acked_offset(const struct tcp_connection *connection)
{
    const struct tcp_hot *hot = &connection->hot;
    uint64_t acked = hot->snd_una < hot->snd_end ? hot->snd_una : hot->snd_end;
    uint64_t start = tcp_snd_start(hot);
    return acked > start ? acked - start : 0;
}

uint64_t tcp_send_end_offset(const struct tcp_connection *connection)
{
    return connection->hot.snd_end - tcp_snd_start(&connection->hot);
}

void tcp_send_buffer_keep(struct tcp_connection *connection)
{
    if (2 * (uint64_t)connection->hot.cwnd > connection->send_buffer_initial &&
        connection->options->send_buffer == 0)
        connection->send_buffer_initial = tcp_send_buffer_bytes(connection);
}

/** Linux grows it with cwnd, to twice the window (tcp_sndbuf_expand). */
uint32_t tcp_send_buffer_bytes(const struct tcp_connection *connection)
{
    if (connection->options->send_buffer != 0)
        return connection->options->send_buffer;
    uint64_t wanted = 2 * (uint64_t)connection->hot.cwnd;
    if (wanted <= connection->send_buffer_initial)
        return connection->send_buffer_initial;
    return wanted < connection->send_buffer_max ? (uint32_t)wanted : connection->send_buffer_max;
}

bool tcp_has_out_of_order(const struct tcp_connection *connection)
{
    return connection->rare->reassembly->out_of_order.first != NULL;
}

uint64_t tcp_received_high_offset(const struct tcp_connection *connection)
{
    uint64_t high = tcp_received_end(connection);
    if (connection->rare->reassembly->high > high)
        high = connection->rare->reassembly->high;
    return high - tcp_rcv_start(&connection->hot);
}

int tcp_error(const struct tcp_connection *connection)
{
    return connection->error != 0 ? connection->error : connection->rare->soft_error;
}

void tcp_endpoints(const struct tcp_connection *connection, struct ip_endpoint *local,
                   struct ip_endpoint *remote)
{
    *local = (struct ip_endpoint){connection->flow.local, connection->flow.local_port};
    *remote = (struct ip_endpoint){connection->flow.remote, connection->flow.remote_port};
}

const struct tcp_options_set *tcp_get_options(const struct tcp_connection *connection)
{
    return connection->options;
}

const struct tcp_options_set *tcp_connection_options(const struct tcp_connection *connection)
{
    return connection->options;
}

size_t tcp_connection_bytes(void)
{
    return sizeof(struct tcp_connection);
}
