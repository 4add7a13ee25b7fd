/* Numbers that outsiders must not guess: initial sequence numbers and timestamp offsets. */
#include "core/tcp/connect.h"

seq_t tcp_isn_choose(struct stack *stack, const struct tcp_flow *flow, uint64_t now_ns)
{
    /* M is a 4 µs clock (RFC 9293 §3.4.1): 4.096 µs. */
    uint32_t clock = (uint32_t)(now_ns >> 12);
    return seq_of(stack_flow_hash(stack, flow, FLOW_HASH_ISN) + clock);
}

uint32_t tcp_timestamp_offset(struct stack *stack, const struct tcp_flow *flow)
{
    return stack_flow_hash(stack, flow, FLOW_HASH_TIMESTAMP);
}
