#include "core/tcp/ecn.h"

#include "core/tcp/congestion.h"
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

void tcp_ecn_negotiate(struct stack *stack, struct tcp_connection *connection,
                       const struct tcp_segment *segment)
{
    bool ece = segment->flags & TCP_ECE;
    bool cwr = segment->flags & TCP_CWR;
    struct tcp_hot *hot = &connection->hot;
    if (connection->passive) {
        /* A SYN in an ECN-capable packet is not of RFC 3168: only DCTCP sends it. */
        bool needed = tcp_congestion_of(connection)->needs_ecn;
        bool allowed = stack_get_config(stack)->tcp.ecn != TCP_ECN_OFF &&
                       segment->ecn == ECN_NOT_ECT && !tcp_congestion_of(connection)->ignores_ecn;
        hot->ecn = (segment->flags & TCP_SYN) && ece && cwr && (allowed || needed);
    } else if (segment->flags & TCP_ACK) {
        hot->ecn = hot->ecn && ece && !cwr;
    } else {
        hot->ecn = hot->ecn && ece && cwr;
    }
}

void tcp_ecn_payload_arrives(struct stack *stack, struct tcp_connection *connection,
                             const struct tcp_segment *segment)
{
    struct tcp_hot *hot = &connection->hot;
    bool marked = segment->ecn == ECN_CE;
    if (tcp_congestion_of(connection)->needs_ecn) {
        if (marked != hot->ece_due)
            tcp_ack_now(stack, connection); /* RFC 8257 §3.2 */
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
    } else if (segment->ecn == ECN_NOT_ECT && connection->receive.ecn_seen) {
        tcp_quick_ack_enter(connection, ECN_QUICK_ACKS); /* a retransmission, most likely */
    }
    connection->receive.ecn_seen = connection->receive.ecn_seen || segment->ecn != ECN_NOT_ECT;
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
