/* Who has a struct tcp_reassembly of his own: connections that do not receive all in order. */
#include "core/tcp/rare.h"
#include "core/tcp/receive.h"

const struct tcp_reassembly tcp_reassembly_none = {0};

size_t tcp_reassembly_bytes(void)
{
    return sizeof(struct tcp_reassembly);
}

static bool is_own(const struct tcp_connection *connection)
{
    return connection->rare->reassembly != &tcp_reassembly_none;
}

struct tcp_reassembly *tcp_reassembly_take(struct stack *stack, struct tcp_connection *connection)
{
    if (is_own(connection))
        return connection->rare->reassembly;
    tcp_rare_take(stack, connection)->reassembly = part_take(stack_reassemblies(stack));
    *connection->rare->reassembly = tcp_reassembly_none;
    return connection->rare->reassembly;
}

void tcp_reassembly_clear(struct stack *stack, struct tcp_connection *connection)
{
    if (!is_own(connection))
        return;
    interval_set_clear(&connection->rare->reassembly->out_of_order, stack_interval_pool(stack));
    connection->rare->reassembly->dsack = (struct tcp_sack_block){0};
}

void tcp_reassembly_drop(struct stack *stack, struct tcp_connection *connection)
{
    if (!is_own(connection))
        return;
    tcp_reassembly_clear(stack, connection);
    part_give_back(stack_reassemblies(stack), connection->rare->reassembly);
    connection->rare->reassembly = tcp_rare_none.reassembly;
}

void tcp_reassembly_release_if_idle(struct stack *stack, struct tcp_connection *connection)
{
    const struct tcp_reassembly *r = connection->rare->reassembly;
    if (is_own(connection) && r->out_of_order.first == NULL &&
        tcp_sack_blocks_wanted(connection) == 0 && r->high <= connection->hot.rcv_nxt &&
        r->urgent == 0 && !connection->hot.fin_waiting)
        tcp_reassembly_drop(stack, connection);
}
