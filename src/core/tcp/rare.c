#include "core/tcp/rare.h"

const struct tcp_rare tcp_rare_none = {0};

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
    part_give_back(stack_rares(stack), connection->rare);
    tcp_rare_init(connection);
}
