#include "core/tcp/scoreboard.h"

uint32_t tcp_scoreboard_add(struct stack *stack, struct tcp_connection *connection, uint64_t start,
                            uint64_t end)
{
    struct tcp_recovery *recovery = &connection->recovery;
    int64_t added = interval_set_add(&recovery->sacked, stack_interval_pool(stack), start, end,
                                     TCP_INTERVALS_MAX);
    if (added <= 0)
        return 0; /* known, or no memory for it: SACKs are advisory */
    recovery->sacked_bytes += (uint64_t)added;
    if (end > recovery->sacked_high)
        recovery->sacked_high = end;
    return (uint32_t)added;
}

uint64_t tcp_scoreboard_advance(struct stack *stack, struct tcp_connection *connection)
{
    struct tcp_recovery *recovery = &connection->recovery;
    if (recovery->sacked.first == NULL)
        return 0;
    uint64_t removed = interval_set_remove_below(&recovery->sacked, stack_interval_pool(stack),
                                                 connection->hot.snd_una);
    recovery->sacked_bytes -= removed;
    return removed;
}

void tcp_scoreboard_clear(struct stack *stack, struct tcp_connection *connection)
{
    interval_set_clear(&connection->recovery.sacked, stack_interval_pool(stack));
    connection->recovery.sacked_bytes = 0;
    connection->recovery.sacked_high = 0;
}

/** Un-SACKed bytes from snd_una up to number. */
static uint64_t unsacked_below(const struct tcp_connection *connection, uint64_t number)
{
    if (number <= connection->hot.snd_una)
        return 0;
    uint64_t bytes = number - connection->hot.snd_una;
    for (const struct interval *i = connection->recovery.sacked.first; i && i->start < number;
         i = i->next)
        bytes -= (i->end < number ? i->end : number) - i->start;
    return bytes;
}

void tcp_scoreboard_lost(const struct tcp_connection *connection, uint64_t *lost,
                         uint64_t *retransmitted)
{
    const struct tcp_recovery *recovery = &connection->recovery;
    uint64_t high =
        recovery->rxt_high < recovery->lost_high ? recovery->rxt_high : recovery->lost_high;
    *lost = unsacked_below(connection, recovery->lost_high);
    *retransmitted = unsacked_below(connection, high);
}

uint32_t tcp_scoreboard_pipe(const struct tcp_connection *connection)
{
    const struct tcp_recovery *recovery = &connection->recovery;
    uint64_t lost, retransmitted;
    tcp_scoreboard_lost(connection, &lost, &retransmitted);
    uint64_t flight = tcp_outstanding(connection) - recovery->sacked_bytes - lost;
    flight -= recovery->dupack_bytes < flight ? recovery->dupack_bytes : flight;
    return (uint32_t)(flight + retransmitted);
}

uint64_t tcp_scoreboard_last_start(const struct tcp_connection *connection)
{
    const struct interval *i = connection->recovery.sacked.first;
    if (i == NULL)
        return connection->hot.snd_una;
    while (i->next)
        i = i->next;
    return i->start;
}

uint64_t tcp_scoreboard_lost_high(const struct tcp_connection *connection)
{
    const struct tcp_recovery *recovery = &connection->recovery;
    uint64_t threshold = 2 * (uint64_t)connection->hot.mss;
    if (recovery->reordering_seen && recovery->reordering_bytes > threshold)
        threshold = recovery->reordering_bytes;
    if (!recovery->reordering_seen &&
        (recovery->sacked_bytes > threshold || recovery->sacked.count >= 3 ||
         connection->hot.dup_acks >= 3))
        return tcp_scoreboard_last_start(connection);
    uint64_t lost = connection->hot.snd_una;
    uint64_t above = recovery->sacked_bytes;
    for (const struct interval *i = recovery->sacked.first; i && above > threshold; i = i->next) {
        lost = i->start;
        above -= i->end - i->start;
    }
    return lost;
}

bool tcp_scoreboard_next_lost(const struct tcp_connection *connection, uint32_t limit,
                              uint64_t *start, uint64_t *end)
{
    const struct tcp_recovery *recovery = &connection->recovery;
    uint64_t from =
        recovery->rxt_high > connection->hot.snd_una ? recovery->rxt_high : connection->hot.snd_una;
    if (from >= recovery->lost_high)
        return false;
    const struct interval *i = interval_set_from(&recovery->sacked, from);
    while (i && i->start <= from) {
        from = i->end;
        i = i->next;
    }
    if (from >= recovery->lost_high)
        return false;
    uint64_t to = from + limit;
    if (i && i->start < to)
        to = i->start;
    if (connection->hot.snd_nxt < to)
        to = connection->hot.snd_nxt;
    *start = from;
    *end = to;
    return true;
}
