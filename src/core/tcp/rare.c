#include "core/tcp/rare.h"

/** The parts named here are only read as well. */
const struct tcp_rare tcp_rare_none = {
    .recovery = (struct tcp_recovery *)(uintptr_t)&tcp_recovery_none,
    .reassembly = (struct tcp_reassembly *)(uintptr_t)&tcp_reassembly_none,
};

size_t tcp_rare_bytes(void)
{
    return sizeof(struct tcp_rare);
}

struct tcp_rare *tcp_rare_take(struct stack *stack, struct tcp_connection *connection)
{
    if (tcp_rare_is_own(connection))
        return connection->rare;
    connection->rare = part_take(stack_rares(stack));
    *connection->rare = tcp_rare_none;
    return connection->rare;
}

void tcp_rare_drop(struct stack *stack, struct tcp_connection *connection)
{
    if (!tcp_rare_is_own(connection))
        return;
    PNO_ASSERT(connection->rare->recovery == &tcp_recovery_none &&
               connection->rare->reassembly == &tcp_reassembly_none);
    part_give_back(stack_rares(stack), connection->rare);
    tcp_rare_init(connection);
}
