#include "core/tcp/ecn.h"

#include "core/tcp/congestion.h"
#include "core/tcp/options.h"
#include "core/tcp/output.h"
#include "core/tcp/receive.h"

/** ACKs not delayed after news of congestion: Linux's tcp_ecn_check_ce(). */
#define ECN_QUICK_ACKS 2

void tcp_ecn_request(struct stack *stack, struct tcp_connection *connection)
{
    const struct tcp_congestion_control *algorithm = tcp_congestion_of(connection);
    connection->hot.ecn =
        !algorithm->ignores_ecn &&
        (stack_get_config(stack)->tcp.ecn == TCP_ECN_REQUEST || algorithm->needs_ecn);
}

bool tcp_ecn_is_accepted(struct stack *stack, const struct tcp_congestion_control *algorithm,
                         const struct tcp_segment *syn)
{
    const uint8_t asks = TCP_SYN | TCP_ECE | TCP_CWR;
    /* A SYN in an ECN-capable packet is not of RFC 3168: only DCTCP sends it. */
    bool allowed = stack_get_config(stack)->tcp.ecn != TCP_ECN_OFF && syn->ecn == ECN_NOT_ECT &&
                   !algorithm->ignores_ecn;
    return (syn->flags & asks) == asks && (allowed || algorithm->needs_ecn);
}

void tcp_ecn_negotiate(struct stack *stack, struct tcp_connection *connection,
                       const struct tcp_segment *segment)
{
    bool ece = segment->flags & TCP_ECE;
    bool cwr = segment->flags & TCP_CWR;
    struct tcp_hot *hot = &connection->hot;
    if (!ece) { /* neither asks for it nor agrees */
        hot->ecn = false;
    } else if (connection->passive) {
        hot->ecn = tcp_ecn_is_accepted(stack, tcp_congestion_of(connection), segment);
    } else if (segment->flags & TCP_ACK) {
        hot->ecn = hot->ecn && !cwr;
    } else {
        hot->ecn = hot->ecn && cwr;
    }
}

/** What was to be acknowledged with delay is, apart from what follows it: marked or not as it was.
 */
static void acknowledge_apart(struct stack *stack, struct tcp_connection *connection,
                              uint64_t now_ns)
{
    const struct tcp_hot *hot = &connection->hot;
    struct tcp_reply reply = {
        .flow = connection->flow,
        .seq = tcp_wire(hot->snd_nxt),
        .ack = tcp_wire(hot->rcv_nxt),
        .flags = TCP_ACK | (hot->ece_due ? TCP_ECE : 0),
        .traffic_class = (uint8_t)((connection->options->traffic_class & ~3u) | ECN_ECT_0),
        .ttl = connection->options->ttl,
        .window = tcp_window_advertise(connection),
    };
    if (hot->timestamps)
        reply.options_length = (uint8_t)tcp_options_build_timestamps(
            tcp_timestamp_now(connection, now_ns), hot->ts_recent, reply.options);
    connection->statistics.segments_out++;
    stack_reply_queue(stack, &reply);
}

void tcp_ecn_payload_arrives(struct stack *stack, struct tcp_connection *connection,
                             const struct tcp_segment *segment, uint64_t now_ns)
{
    struct tcp_hot *hot = &connection->hot;
    bool marked = segment->ecn == ECN_CE;
    if (tcp_congestion_of(connection)->needs_ecn) {
        if (marked != hot->ece_due) { /* RFC 8257 §3.2 */
            /* Not while payload is on its way to host memory: it is not ours to acknowledge. */
            if (hot->ack_deadline_ns != TIME_NEVER && hot->placements == 0)
                acknowledge_apart(stack, connection, now_ns);
            tcp_ack_now(stack, connection);
        }
        hot->ece_due = marked;
        return;
    }
    if (segment->flags & TCP_CWR) {
        /* The peer's window may be down to one segment: it must not wait for a delayed ACK. */
        hot->ece_due = false;
        tcp_ack_now(stack, connection);
    }
    if (marked && !hot->ece_due) {
        tcp_quick_ack_enter(connection, ECN_QUICK_ACKS);
        hot->ece_due = true;
    } else if (segment->ecn == ECN_NOT_ECT && connection->hot.ecn_seen) {
        tcp_quick_ack_enter(connection, ECN_QUICK_ACKS); /* a retransmission, most likely */
    }
    connection->hot.ecn_seen = connection->hot.ecn_seen || segment->ecn != ECN_NOT_ECT;
}

void tcp_ecn_output(struct tcp_connection *connection, bool fresh, struct tcp_output *output)
{
    struct tcp_hot *hot = &connection->hot;
    const struct tcp_congestion_control *algorithm = tcp_congestion_of(connection);
    /* One that came to ignore marks after the handshake stops asking for them. */
    if ((fresh && !algorithm->ignores_ecn) || algorithm->needs_ecn)
        output->ecn = ECN_ECT_0;
    if (hot->ece_due)
        output->flags |= TCP_ECE;
    if (fresh && hot->cwr_due) {
        output->flags |= TCP_CWR;
        hot->cwr_due = false;
    }
}
