/* Numbers that outsiders must not guess: initial sequence numbers and timestamp offsets. */
#include "core/tcp/connect.h"

struct tcp_first_numbers tcp_first_numbers_choose(struct stack *stack, const struct tcp_flow *flow,
                                                  uint64_t now_ns)
{
    uint64_t secret = stack_flow_hash(stack, flow, FLOW_HASH_NUMBERS);
    /* M is a 4 µs clock (RFC 9293 §3.4.1): 4.096 µs. */
    uint32_t clock = (uint32_t)(now_ns >> 12);
    return (struct tcp_first_numbers){.iss = seq_of((uint32_t)secret + clock),
                                      .ts_offset = (uint32_t)(secret >> 32)};
}
