#include "core/tcp/urgent.h"

#include "core/tcp/output.h"
#include "core/tcp/rare.h"
#include "core/tcp/receive.h"
#include "core/tcp/state.h"

void tcp_urgent_arrives(struct stack *stack, struct tcp_connection *connection,
                        const struct tcp_segment *segment, uint64_t seq)
{
    struct tcp_hot *hot = &connection->hot;
    /* The pointer is that of BSD: one past the urgent byte (RFC 6093 §2.1). */
    uint64_t urgent = seq + segment->urgent_pointer;
    if (hot->fin_received || segment->urgent_pointer == 0 || urgent <= tcp_rcv_read(hot) ||
        urgent <= connection->rare->reassembly->urgent)
        return;
    tcp_reassembly_take(stack, connection)->urgent = urgent;
    tcp_event_raise(stack, connection, STACK_EVENT_URGENT);
}

uint64_t tcp_urgent_offset(const struct tcp_connection *connection)
{
    uint64_t urgent = connection->rare->reassembly->urgent;
    return urgent ? urgent - tcp_rcv_start(&connection->hot) : 0;
}

void tcp_send_urgent(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    (void)now_ns;
    if (connection->hot.snd_end == tcp_snd_start(&connection->hot))
        return;
    tcp_rare_take(stack, connection)->snd_urgent = connection->hot.snd_end;
    tcp_output_request_if_wanted(stack, connection);
}
