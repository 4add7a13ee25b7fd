#include "core/tcp/records.h"

#include "core/tcp/recovery.h"

void tcp_send_record_end(struct stack *stack, struct tcp_connection *connection)
{
    const struct tcp_hot *hot = &connection->hot;
    if (hot->state == TCP_STATE_CLOSED || hot->snd_end <= hot->snd_una ||
        hot->snd_end == tcp_snd_start(hot))
        return;
    struct tcp_recovery *recovery = tcp_recovery_take(stack, connection);
    (void)interval_set_add(&recovery->records, stack_interval_pool(stack), hot->snd_end - 1,
                           hot->snd_end, TCP_RECORDS_MAX);
}

void tcp_records_advance(struct stack *stack, struct tcp_connection *connection)
{
    if (connection->rare->recovery->records.first != NULL)
        (void)interval_set_remove_below(&connection->rare->recovery->records,
                                        stack_interval_pool(stack), connection->hot.snd_una);
}
