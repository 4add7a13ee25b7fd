/* tcp_connection_check(): every invariant of one connection that can be stated; traps. */
#include "core/tcp/congestion.h"
#include "core/tcp/listener.h"
#include "core/tcp/pacing.h"
#include "core/tcp/receive.h"
#include "core/tcp/sent.h"

static void check_send_space(const struct tcp_connection *c)
{
    const struct tcp_hot *hot = &c->hot;
    PNO_ASSERT(hot->snd_una <= hot->snd_nxt);
    PNO_ASSERT(hot->snd_nxt <= hot->snd_end + (hot->fin_queued ? 1 : 0));
    PNO_ASSERT(tcp_snd_start(hot) <= hot->snd_end);
    PNO_ASSERT(hot->snd_una + 1 >= tcp_snd_start(hot));
    PNO_ASSERT(hot->mss > 0 || !tcp_is_synchronized(c));
    PNO_ASSERT(hot->cwnd > 0 || !tcp_is_synchronized(c) || hot->state == TCP_STATE_SYN_RECEIVED ||
               hot->ca_state == TCP_CA_RECOVERY || hot->ca_state == TCP_CA_CWR);
    PNO_ASSERT(hot->cwnd <= 2 * TCP_CWND_MAX);
    const struct tcp_congestion_control *algorithm = tcp_congestion_of(c);
    PNO_ASSERT(hot->controlled == (algorithm->control != NULL));
    PNO_ASSERT(hot->hystart == (algorithm->slow_start == tcp_hystart_slow_start));
}

static void check_receive_space(const struct tcp_connection *c)
{
    const struct tcp_hot *hot = &c->hot;
    const struct tcp_reassembly *reassembly = c->rare->reassembly;
    PNO_ASSERT(tcp_rcv_start(hot) <= tcp_rcv_read(hot));
    PNO_ASSERT(tcp_rcv_read(hot) <= tcp_received_end(c));
    /* Else what is kept of these as on the wire would say more than is so. */
    PNO_ASSERT(hot->rcv_nxt - tcp_rcv_wup(hot) <= INT32_MAX);
    PNO_ASSERT(hot->rcv_nxt - tcp_rcv_read(hot) <= INT32_MAX);
    PNO_ASSERT(!(hot->fin_received && hot->fin_waiting));
    interval_set_check(&reassembly->out_of_order);
    const struct interval *first = reassembly->out_of_order.first;
    PNO_ASSERT(first == NULL || first->start > hot->rcv_nxt);
    PNO_ASSERT(first == NULL || !hot->fin_received);
    for (unsigned i = 0; i < TCP_RECENT_BLOCKS; i++) {
        const struct tcp_sack_block *block = &reassembly->recent[i];
        uint64_t start = tcp_unwrap(hot->rcv_nxt, block->start);
        uint64_t end = tcp_unwrap(hot->rcv_nxt, block->end);
        if (start < end && hot->fin_waiting && end == reassembly->fin + 1)
            end--; /* the FIN's own number */
        PNO_ASSERT(start == end || first == NULL ||
                   interval_set_contains(&reassembly->out_of_order, start, end));
    }
}

static void check_scoreboard(const struct tcp_connection *c)
{
    const struct tcp_recovery *recovery = c->rare->recovery;
    interval_set_check(&recovery->sacked);
    PNO_ASSERT(interval_set_bytes(&recovery->sacked) == recovery->sacked_bytes);
    PNO_ASSERT(recovery->sacked_bytes <= tcp_outstanding(c));
    const struct interval *i = recovery->sacked.first;
    PNO_ASSERT(i == NULL || i->start >= c->hot.snd_una);
    for (; i; i = i->next)
        PNO_ASSERT(i->end <= c->hot.snd_nxt);
    PNO_ASSERT(recovery->lost.first == NULL || c->hot.ca_state >= TCP_CA_RECOVERY);
    tcp_sent_check(c);
}

static void check_records(const struct tcp_connection *c)
{
    const struct interval_set *records = &c->rare->recovery->records;
    interval_set_check(records);
    PNO_ASSERT(records->first == NULL || records->first->start >= c->hot.snd_una);
    for (const struct interval *i = records->first; i != NULL; i = i->next)
        PNO_ASSERT(i->end <= c->hot.snd_end);
}

static void check_timers(const struct tcp_connection *c)
{
    const struct tcp_hot *hot = &c->hot;
    PNO_ASSERT((hot->send_timer == TCP_SEND_TIMER_NONE) == (hot->send_deadline_ns == TIME_NEVER));
    PNO_ASSERT((c->state_timer == TCP_STATE_TIMER_NONE) == (c->state_deadline_ns == TIME_NEVER));
    uint64_t earliest_ns = hot->send_deadline_ns;
    if (hot->ack_deadline_ns < earliest_ns)
        earliest_ns = hot->ack_deadline_ns;
    if (c->state_deadline_ns < earliest_ns)
        earliest_ns = c->state_deadline_ns;
    PNO_ASSERT(!hot->pacing_waits || hot->paced);
    PNO_ASSERT(hot->paced == (c->rare->pacing != NULL));
    if (hot->pacing_waits && c->rare->pacing->next_ns < earliest_ns)
        earliest_ns = c->rare->pacing->next_ns;
    if (earliest_ns != TIME_NEVER)
        PNO_ASSERT(c->links.timer.previous_next && c->links.timer.deadline_ns <= earliest_ns);
    /* What is in flight is never without a timer. */
    bool established = tcp_is_synchronized(c) && hot->state != TCP_STATE_SYN_RECEIVED &&
                       hot->state != TCP_STATE_TIME_WAIT;
    if (established && tcp_outstanding(c) > 0)
        PNO_ASSERT(hot->send_timer != TCP_SEND_TIMER_NONE &&
                   hot->send_timer != TCP_SEND_TIMER_PERSIST);
    if (hot->state == TCP_STATE_TIME_WAIT)
        PNO_ASSERT(c->state_timer == TCP_STATE_TIMER_TIME_WAIT);
}

static void check_state(const struct tcp_connection *c)
{
    const struct tcp_hot *hot = &c->hot;
    bool fin_sent_state = hot->state == TCP_STATE_FIN_WAIT_1 ||
                          hot->state == TCP_STATE_FIN_WAIT_2 || hot->state == TCP_STATE_CLOSING ||
                          hot->state == TCP_STATE_LAST_ACK || hot->state == TCP_STATE_TIME_WAIT;
    bool fin_got_state = hot->state == TCP_STATE_CLOSE_WAIT || hot->state == TCP_STATE_CLOSING ||
                         hot->state == TCP_STATE_LAST_ACK || hot->state == TCP_STATE_TIME_WAIT;
    if (hot->state != TCP_STATE_CLOSED) {
        bool early =
            hot->state == TCP_STATE_SYN_RECEIVED && c->fast_open.pending && c->fin_after_handshake;
        PNO_ASSERT(hot->fin_queued == (fin_sent_state || early));
        PNO_ASSERT(hot->fin_received == fin_got_state);
    }
    if (hot->state == TCP_STATE_FIN_WAIT_2 || hot->state == TCP_STATE_TIME_WAIT)
        PNO_ASSERT(hot->snd_una == hot->snd_end + 1);
    if (hot->state == TCP_STATE_CLOSED)
        PNO_ASSERT(hot->send_timer == TCP_SEND_TIMER_NONE &&
                   c->state_timer == TCP_STATE_TIMER_NONE);
    PNO_ASSERT(c->queued || !c->unannounced);
    if (c->queued && !c->unannounced)
        PNO_ASSERT(hot->state == TCP_STATE_SYN_RECEIVED && c->pending->listener->syn_count > 0);
    if (c->released)
        PNO_ASSERT(c->orphaned && c->closed_told);
    PNO_ASSERT(!c->mtu_probing || c->rare != &tcp_rare_none);
}

void tcp_connection_check(const struct stack *stack, const struct tcp_connection *connection)
{
    (void)stack;
    check_send_space(connection);
    if (tcp_is_synchronized(connection))
        check_receive_space(connection);
    check_scoreboard(connection);
    check_records(connection);
    check_timers(connection);
    check_state(connection);
}
