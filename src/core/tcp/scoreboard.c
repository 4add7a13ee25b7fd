#include "core/tcp/scoreboard.h"

#include "core/tcp/recovery.h"

void tcp_scoreboard_add(struct stack *stack, struct tcp_connection *connection, uint64_t start,
                        uint64_t end, struct tcp_ack_facts *facts)
{
    struct tcp_recovery *recovery = tcp_recovery_take(stack, connection);
    if (interval_set_contains(&recovery->sacked, start, end))
        return;
    tcp_sent_round_to_segments(connection, &start, &end);
    int64_t added = interval_set_add(&recovery->sacked, stack_interval_pool(stack), start, end,
                                     TCP_INTERVALS_MAX);
    if (added <= 0)
        return; /* known, or no memory for it: SACKs are advisory */
    recovery->sacked_bytes += (uint32_t)added;
    facts->newly_sacked += (uint32_t)added;
    tcp_sent_delivered(stack, connection, start, end, facts);
    if (end > recovery->sacked_high)
        recovery->sacked_high = end;
}

uint64_t tcp_scoreboard_advance(struct stack *stack, struct tcp_connection *connection)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    if (recovery->sacked.first == NULL)
        return 0;
    uint64_t removed = interval_set_remove_below(&recovery->sacked, stack_interval_pool(stack),
                                                 connection->hot.snd_una);
    recovery->sacked_bytes -= (uint32_t)removed;
    return removed;
}

void tcp_scoreboard_clear(struct stack *stack, struct tcp_connection *connection)
{
    if (connection->rare->recovery == &tcp_recovery_none)
        return;
    interval_set_clear(&connection->rare->recovery->sacked, stack_interval_pool(stack));
    connection->rare->recovery->sacked_bytes = 0;
    connection->rare->recovery->sacked_high = 0;
}

unsigned tcp_scoreboard_sacked_segments(const struct tcp_connection *connection)
{
    const struct tcp_recovery *recovery = connection->rare->recovery;
    uint32_t mss = connection->hot.mss;
    uint32_t bytes = recovery->sacked_bytes + recovery->dupack_bytes;
    unsigned segments = mss == 0 ? 0 : (bytes + mss - 1) / mss;
    /* Small segments: each interval is one at least. */
    return segments > recovery->sacked.count ? segments : recovery->sacked.count;
}
