#include "engine/pipeline/events.h"

#include "engine/engine_core.h"
#include "engine/pipeline/notify.h"
#include "engine/socket.h"

/** Nobody can be given this connection: the peer learns at once. */
static void refuse_connection(struct engine_core *core, struct engine_socket *listener,
                              struct tcp_connection *connection)
{
    core->counters.accept_refused++;
    tcp_listener_taken(socket_listener(listener));
    tcp_abort(core->stack, connection, core->now_ns);
}

static void announce(struct engine_core *core, struct engine_socket *listener,
                     struct tcp_connection *connection)
{
    struct tenant_core *tenant = listener->tenant;
    struct link_socket_name name;
    if (!tenant_take_slot(tenant, &name)) {
        refuse_connection(core, listener, connection);
        return;
    }
    struct engine_socket *socket = socket_create(tenant, name);
    if (socket == NULL) {
        tenant_free_slot(tenant, name.slot);
        refuse_connection(core, listener, connection);
        return;
    }
    socket->kind = SOCKET_CONNECTION;
    socket->connection = connection;
    socket->established = true;
    socket->stamps = listener->stamps;
    socket->send_limit = tcp_send_buffer_bytes(connection);
    tcp_set_user(connection, socket);
    struct socket_setup *setup = listener->extra->setup;
    struct socket_extra *extra = socket_get_extra(socket);
    extra->listener = listener;
    extra->accept_sequence =
        atomic_fetch_add_explicit(&setup->accept_counter->next, 1, memory_order_relaxed);
    TAILQ_INSERT_TAIL(&setup->unaccepted, socket, extra->link);
    for (struct socket_holder *holder = socket_holders(listener); holder != NULL;
         holder = holder->next)
        (void)socket_hold(socket, holder->process, holder_channel(holder));
    notify_socket(socket, DIRTY_ACCEPT);
}

static void listener_event(struct engine_core *core, struct engine_socket *listener)
{
    struct tcp_connection *connection;
    while ((connection = tcp_listener_next(socket_listener(listener))) != NULL)
        announce(core, listener, connection);
}

static uint16_t acknowledged(struct engine_socket *socket)
{
    socket->send_limit = tcp_send_buffer_bytes(socket->connection);
    tx_buffer_acknowledge(&socket->tx, &socket->tenant->tx_memory,
                          tcp_acked_offset(socket->connection));
    return DIRTY_SENT;
}

static void connection_event(struct engine_socket *socket, uint32_t bits)
{
    struct tcp_connection *connection = socket->connection;
    uint16_t dirty = 0;
    if ((bits & STACK_EVENT_ESTABLISHED) != 0) {
        socket->established = true;
        socket->send_limit = tcp_send_buffer_bytes(connection);
        dirty |= DIRTY_ESTABLISHED | DIRTY_SENT;
    }
    if ((bits & STACK_EVENT_URGENT) != 0) {
        socket_get_extra(socket)->urgent_offset = tcp_urgent_offset(connection);
        dirty |= DIRTY_URGENT;
    }
    if ((bits & STACK_EVENT_DATA) != 0) {
        socket->received = tcp_received_offset(connection);
        dirty |= DIRTY_DATA;
    }
    if ((bits & STACK_EVENT_FIN) != 0) {
        socket->received = tcp_received_offset(connection);
        socket->fin = true;
        dirty |= DIRTY_DATA | DIRTY_FIN;
    }
    if ((bits & STACK_EVENT_ACKED) != 0)
        dirty |= acknowledged(socket);
    if ((bits & STACK_EVENT_SOFT_ERROR) != 0) {
        socket_get_extra(socket)->soft_error = (uint16_t)tcp_error(connection);
        dirty |= DIRTY_SOFT_ERROR;
    }
    if ((bits & STACK_EVENT_ERROR) != 0) {
        socket_get_extra(socket)->error = (uint16_t)tcp_error(connection);
        dirty |= DIRTY_ERROR;
    }
    notify_socket(socket, dirty);
    if ((bits & STACK_EVENT_CLOSED) != 0)
        socket_connection_gone(socket);
}

bool events_run(struct engine_core *core)
{
    struct stack_event event;
    bool any = false;
    while (stack_next_event(core->stack, &event)) {
        any = true;
        struct engine_socket *socket = event.user;
        if (socket == NULL)
            continue; /* refused, or the engine let go of it: nobody to tell */
        if (event.listener != NULL)
            listener_event(core, socket);
        else
            connection_event(socket, event.bits);
    }
    return any;
}
