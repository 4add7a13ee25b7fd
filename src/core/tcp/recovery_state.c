/* Who has a struct tcp_recovery of his own: connections with something to repair or to remember. */
#include "core/tcp/rare.h"
#include "core/tcp/recovery.h"

const struct tcp_recovery tcp_recovery_none = {.reordering = TCP_REORDERING_DEFAULT};

size_t tcp_recovery_bytes(void)
{
    return sizeof(struct tcp_recovery);
}

static bool is_own(const struct tcp_connection *connection)
{
    return connection->rare->recovery != &tcp_recovery_none;
}

struct tcp_recovery *tcp_recovery_take(struct stack *stack, struct tcp_connection *connection)
{
    if (is_own(connection))
        return connection->rare->recovery;
    tcp_rare_take(stack, connection)->recovery = part_take(stack_recoveries(stack));
    *connection->rare->recovery = tcp_recovery_none;
    return connection->rare->recovery;
}

void tcp_recovery_drop(struct stack *stack, struct tcp_connection *connection)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    if (!is_own(connection))
        return;
    PNO_ASSERT(recovery->sacked.first == NULL && recovery->lost.first == NULL);
    interval_set_clear(&recovery->records, stack_interval_pool(stack));
    part_give_back(stack_recoveries(stack), recovery);
    connection->rare->recovery = tcp_rare_none.recovery;
}

/** Nothing but values that tcp_recovery_none has too, or that nobody looks at now. */
static bool is_idle(const struct tcp_connection *connection)
{
    const struct tcp_recovery *r = connection->rare->recovery;
    const struct tcp_hot *hot = &connection->hot;
    bool repaired = hot->ca_state == TCP_CA_OPEN && r->sacked.first == NULL &&
                    r->lost.first == NULL && r->again_bytes == 0 && r->dupack_bytes == 0 &&
                    r->recover < hot->snd_una && r->sacked_high <= hot->snd_una &&
                    r->tail_probe == 0 && r->undo_una == 0 && r->records.first == NULL;
    return repaired && r->reordering == TCP_REORDERING_DEFAULT && !r->reordering_seen &&
           !r->dsack_seen && r->window_steps == 0 && r->window_persist == 0 && r->late_us == 0;
}

void tcp_recovery_release_if_idle(struct stack *stack, struct tcp_connection *connection)
{
    if (is_own(connection) && is_idle(connection))
        tcp_recovery_drop(stack, connection);
}
