#include "engine/socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/assert.h"
#include "engine/awaited_copy.h"
#include "engine/engine_core.h"
#include "engine/pipeline/fence.h"
#include "engine/pipeline/notify.h"
#include "engine/pipeline/transmit.h"

static struct rx_memory rx_memory(struct engine_socket *socket)
{
    return (struct rx_memory){.chunks = &socket->tenant->rx_chunks,
                              .pool = &socket->tenant->receive_pool};
}

/* ---- Making and freeing --------------------------------------------------------------------- */

struct engine_socket *socket_create(struct tenant_core *tenant, struct link_socket_name name)
{
    struct engine_socket *socket = object_share_take(&tenant->sockets_share);
    if (socket == NULL)
        return NULL;
    *socket = (struct engine_socket){.tenant = tenant, .name = name};
    tenant_use_slot(tenant, name.slot, socket);
    (void)atomic_fetch_add_explicit(&tenant->tenant->sockets_live, 1, memory_order_relaxed);
    return socket;
}

struct engine_socket *socket_create_with_setup(struct tenant_core *tenant,
                                               struct link_socket_name name)
{
    struct engine_core *core = tenant->core;
    struct socket_setup *setup = object_pool_take(&core->setups);
    if (setup == NULL)
        return NULL;
    struct engine_socket *socket = socket_create(tenant, name);
    if (socket == NULL) {
        object_pool_give(&core->setups, setup);
        return NULL;
    }
    *setup = (struct socket_setup){.socket = socket};
    struct stack_config defaults;
    stack_config_init(&defaults);
    tcp_options_set_init(&setup->options, &defaults.tcp);
    TAILQ_INIT(&setup->unaccepted);
    LIST_INSERT_HEAD(&tenant->setups, setup, link);
    socket_get_extra(socket)->setup = setup;
    return socket;
}

void socket_drop_setup(struct engine_socket *socket)
{
    struct socket_setup *setup = socket_setup_of(socket);
    struct engine_core *core = socket_core(socket);
    if (setup == NULL)
        return;
    first_core_flows_remove(&core->engine->first_core_flows, &setup->flow);
    if (setup->port_bound)
        stack_port_release(core->stack, &setup->bound, (setup->bind_flags & LINK_FLAG_IPV6) != 0,
                           (setup->bind_flags & LINK_FLAG_V6ONLY) != 0);
    LIST_REMOVE(setup, link);
    object_pool_give(&core->setups, setup);
    socket->extra->setup = NULL;
}

struct socket_extra *socket_get_extra(struct engine_socket *socket)
{
    if (socket->extra != NULL)
        return socket->extra;
    socket->extra = object_pool_take(&socket_core(socket)->extras);
    PNO_ASSERT(socket->extra != NULL);
    *socket->extra = (struct socket_extra){0};
    return socket->extra;
}

void socket_trim_extra(struct engine_socket *socket)
{
    struct socket_extra *extra = socket->extra;
    if (extra == NULL || extra->setup != NULL || extra->listener != NULL ||
        extra->urgent_offset != 0 || extra->error != 0 || extra->soft_error != 0 ||
        socket->shutdown_wanted || socket->stamps || socket->connection == NULL)
        return;
    object_pool_give(&socket_core(socket)->extras, extra);
    socket->extra = NULL;
}

void socket_endpoints(const struct engine_socket *socket, struct ip_endpoint *local,
                      struct ip_endpoint *remote)
{
    if (socket->connection != NULL) {
        tcp_endpoints(socket->connection, local, remote);
        return;
    }
    const struct socket_extra *extra = socket->extra;
    *local = extra != NULL ? extra->local : (struct ip_endpoint){0};
    *remote = extra != NULL ? extra->remote : (struct ip_endpoint){0};
}

static void remove_holder(struct engine_socket *socket, struct socket_holder *holder)
{
    notify_forget(holder);
    LIST_REMOVE(holder, process_link);
    if (holder == &socket->first_holder) {
        holder->socket = NULL;
        return;
    }
    struct socket_holder *before = &socket->first_holder;
    while (before->next != holder)
        before = before->next;
    before->next = holder->next;
    object_share_give(&socket->tenant->holders, holder);
}

static void remove_holders(struct engine_socket *socket)
{
    struct socket_holder *holder;
    while ((holder = socket_holders(socket)) != NULL)
        remove_holder(socket, holder);
}

static void leave_listener(struct engine_socket *socket)
{
    if (!socket_is_unaccepted(socket))
        return;
    struct socket_setup *setup = socket->extra->listener->extra->setup;
    TAILQ_REMOVE(&setup->unaccepted, socket, extra->link);
    socket->extra->listener = NULL;
}

void socket_free(struct engine_socket *socket)
{
    struct tenant_core *tenant = socket->tenant;
    struct engine_core *core = tenant->core;
    PNO_ASSERT(socket->connection == NULL && socket_listener(socket) == NULL);
    PNO_ASSERT(socket->copies_in_flight == 0);
    remove_holders(socket);
    leave_listener(socket);
    struct rx_memory memory = rx_memory(socket);
    rx_buffer_release(&socket->rx, &memory);
    tx_buffer_release(&socket->tx, &socket->tenant->tx_memory);
    socket_drop_setup(socket);
    if (socket->extra != NULL)
        object_pool_give(&core->extras, socket->extra);
    tenant_free_slot(tenant, socket->name.slot);
    object_share_give(&tenant->sockets_share, socket);
    /* The last one lets the control thread take down a tenant without processes. */
    if (atomic_fetch_sub_explicit(&tenant->tenant->sockets_live, 1, memory_order_release) == 1)
        (void)eventfd_write(core->engine->control_event_fd, 1);
}

/* ---- Holders -------------------------------------------------------------------------------- */

struct socket_holder *socket_find_holder(struct engine_socket *socket,
                                         const struct process_core *process)
{
    struct socket_holder *holder = socket_holders(socket);
    while (holder != NULL && (holder->process != process || holder->released))
        holder = holder->next;
    return holder;
}

struct socket_holder *socket_hold(struct engine_socket *socket, struct process_core *process,
                                  struct channel_core *channel)
{
    struct socket_holder *holder = socket_find_holder(socket, process);
    if (holder != NULL)
        return holder;
    struct socket_holder *first = &socket->first_holder;
    bool is_first = first->socket == NULL;
    holder = is_first ? first : object_share_take(&socket->tenant->holders);
    if (holder == NULL)
        return NULL;
    *holder = (struct socket_holder){
        .socket = socket,
        .process = process,
        .channel = channel_number(channel != NULL ? channel : process->channel),
        .next = first->next,
        .told_data = (uint32_t)socket->rx.consumed,
        .told_limit = TENANT_SEND_BUFFER_BYTES,
    };
    if (!is_first)
        first->next = holder;
    LIST_INSERT_HEAD(&process->holders, holder, process_link);
    return holder;
}

/** All that a newcomer has to know of the socket. */
static uint16_t everything_to_tell(const struct engine_socket *socket)
{
    if (socket->kind != SOCKET_CONNECTION)
        return 0;
    uint16_t dirty = 0;
    if (socket_is_unaccepted(socket))
        dirty |= DIRTY_ACCEPT;
    else if (socket->established)
        dirty |= DIRTY_ESTABLISHED;
    if (socket_urgent_offset(socket) > socket->rx.consumed)
        dirty |= DIRTY_URGENT;
    if (socket->received > socket->rx.consumed)
        dirty |= DIRTY_DATA;
    if (socket->fin)
        dirty |= DIRTY_FIN;
    if (socket->established)
        dirty |= DIRTY_SENT;
    if (socket_error(socket) != 0)
        dirty |= DIRTY_ERROR;
    return dirty;
}

void socket_copy_holders(struct process_core *parent, struct process_core *child)
{
    struct socket_holder *held;
    LIST_FOREACH(held, &parent->holders, process_link)
    {
        if (held->released || socket_find_holder(held->socket, child) != NULL)
            continue;
        struct socket_holder *holder = socket_hold(held->socket, child, NULL);
        if (holder != NULL)
            notify_holder(holder, everything_to_tell(held->socket));
    }
}

/* ---- Letting go ----------------------------------------------------------------------------- */

/** Another process of the tenant that can be told when the dead one's send chunks are free. */
static struct process_core *find_heir(struct engine_socket *socket)
{
    struct process_core *process;
    LIST_FOREACH(process, &socket->tenant->processes, link)
    {
        if (process->channel != NULL)
            return process;
    }
    return NULL;
}

void accept_counter_put(struct accept_counter *counter)
{
    if (atomic_fetch_sub_explicit(&counter->references, 1, memory_order_acq_rel) == 1)
        free(counter);
}

static void close_listener(struct engine_socket *socket)
{
    struct engine_core *core = socket_core(socket);
    struct socket_setup *setup = socket->extra->setup;
    struct engine_socket *announced;
    while ((announced = TAILQ_FIRST(&setup->unaccepted)) != NULL) {
        leave_listener(announced);
        remove_holders(announced);
        announced->orphan = true;
        if (announced->connection != NULL)
            tcp_abort(core->stack, announced->connection, core->now_ns);
        socket_finish_if_orphan(announced);
    }
    tcp_listener_close(core->stack, setup->listener, core->now_ns);
    socket->tenant->listener_count--;
    setup->listener = NULL;
    accept_counter_put(setup->accept_counter);
    setup->accept_counter = NULL;
}

static void close_connection(struct engine_socket *socket, const struct socket_close *how)
{
    struct engine_core *core = socket_core(socket);
    struct tcp_connection *connection = socket->connection;
    if (connection == NULL)
        return;
    /* Linux sends within send(): what the windows let go is on the wire before a reset can be. */
    if (socket->tx.end > tcp_acked_offset(connection))
        (void)transmit_run(core);
    if (how->abort) {
        tcp_abort(core->stack, connection, core->now_ns);
        return;
    }
    if (how->has_read_offset)
        socket_consumed(socket, how->read_offset);
    tcp_close(core->stack, connection, core->now_ns);
}

/** Nobody holds the socket any more. */
static void orphan_socket(struct engine_socket *socket, const struct socket_close *how)
{
    socket->orphan = true;
    if (socket->kind == SOCKET_LISTENER)
        close_listener(socket);
    else if (socket->kind == SOCKET_CONNECTION)
        close_connection(socket, how);
    socket_finish_if_orphan(socket);
}

static bool is_held(struct engine_socket *socket)
{
    for (const struct socket_holder *holder = socket_holders(socket); holder != NULL;
         holder = holder->next)
        if (!holder->released)
            return true;
    return false;
}

/** Who lets go of a listener cannot take what it announced either. */
static void leave_unaccepted(struct engine_socket *listener, struct process_core *process)
{
    struct engine_socket *announced;
    TAILQ_FOREACH(announced, &listener->extra->setup->unaccepted, extra->link)
    {
        struct socket_holder *holder = socket_find_holder(announced, process);
        if (holder != NULL)
            remove_holder(announced, holder);
    }
}

void socket_let_go(struct engine_socket *socket, struct process_core *process,
                   const struct socket_close *how)
{
    struct socket_holder *holder = socket_find_holder(socket, process);
    if (holder == NULL)
        return;
    /* Whoever goes last stays on the list, to learn when its send chunks are free. */
    holder->released = true;
    bool last = !is_held(socket);
    if (last)
        holder->dirty &= DIRTY_SENT | DIRTY_SLOT_FREE;
    else
        remove_holder(socket, holder);
    if (socket->kind == SOCKET_LISTENER && !last)
        leave_unaccepted(socket, process);
    if (last)
        orphan_socket(socket, how);
}

/** What the dead have read, and SO_LINGER, they did not tell: the socket's block knows. */
static struct socket_close how_the_dead_close(const struct engine_socket *socket)
{
    struct link_slot_block block;
    uint64_t offset = socket->tenant->tenant->layout.host_region +
                      (uint64_t)socket->name.slot * LINK_SLOT_BLOCK_BYTES;
    if (awaited_copy_read(socket, offset, &block, sizeof(block)) != 0)
        return (struct socket_close){0};
    if (block.incarnation != socket->name.incarnation)
        return (struct socket_close){0};
    return (struct socket_close){
        .has_read_offset = true,
        .read_offset = block.read_offset,
        .abort = (block.flags & LINK_SLOT_ABORTS) != 0,
    };
}

static void let_go_dead(struct socket_holder *holder)
{
    struct engine_socket *socket = holder->socket;
    struct process_core *process = holder->process;
    bool was_released = holder->released;
    remove_holder(socket, holder);
    if (!was_released && is_held(socket)) {
        if (socket->kind == SOCKET_LISTENER)
            leave_unaccepted(socket, process);
        return;
    }
    if (socket_is_unaccepted(socket))
        return; /* its listener, held by the same process, takes it along */
    struct process_core *heir = find_heir(socket);
    struct socket_holder *told = heir != NULL ? socket_hold(socket, heir, NULL) : NULL;
    if (told != NULL)
        told->released = true;
    socket->farewell = false;
    if (was_released) {
        socket_finish_if_orphan(socket);
    } else {
        struct socket_close how = how_the_dead_close(socket);
        orphan_socket(socket, &how);
    }
}

void socket_let_go_all(struct engine_core *core, struct process_core *process)
{
    /* From now on nobody is told anything here. */
    struct socket_holder *holder;
    LIST_FOREACH(holder, &process->holders, process_link)
    {
        notify_forget(holder);
        holder->channel = 0;
    }
    process->channel = NULL;
    while ((holder = LIST_FIRST(&process->holders)) != NULL)
        let_go_dead(holder);
    struct channel *channel;
    LIST_FOREACH(channel, &process->process->channels, link)
    {
        struct channel_core *part = &channel->cores[core->index];
        fence_forget_channel(part);
        notify_forget_channel(part);
        TAILQ_REMOVE(&core->channels, part, link);
        process->channels[channel->number] = NULL;
    }
}

/* ---- What happens to a socket ---------------------------------------------------------------- */

void socket_accepted(struct engine_socket *socket, struct process_core *process,
                     struct channel_core *channel)
{
    const struct engine_socket *listener = socket->extra->listener;
    struct socket_holder *next;
    for (struct socket_holder *holder = socket_holders(socket); holder != NULL; holder = next) {
        next = holder->next;
        if (holder->process != process)
            remove_holder(socket, holder);
        else
            notify_move(holder, channel);
    }
    leave_listener(socket);
    socket_trim_extra(socket);
    tcp_listener_taken(socket_listener(listener));
}

void socket_connection_gone(struct engine_socket *socket)
{
    struct tcp_connection *connection = socket->connection;
    if (connection == NULL)
        return;
    socket->received = tcp_received_offset(connection);
    if (!socket->orphan) {
        struct socket_extra *extra = socket_get_extra(socket);
        tcp_endpoints(connection, &extra->local, &extra->remote);
    }
    /* What the peer has not acknowledged by now it never will. */
    tx_buffer_release(&socket->tx, &socket->tenant->tx_memory);
    socket->tx.end = tcp_acked_offset(connection);
    tcp_set_user(connection, NULL);
    socket->connection = NULL;
    notify_socket(socket, DIRTY_SENT);
    socket_finish_if_orphan(socket);
}

void socket_finish_if_orphan(struct engine_socket *socket)
{
    if (!socket->orphan || socket->connection != NULL || socket->copies_in_flight > 0)
        return;
    struct socket_holder *holder = socket_holders(socket);
    /* A listener's replica ends unseen: the host knows the one on core 0. */
    bool replica = socket->kind == SOCKET_LISTENER && socket_core(socket)->index != 0;
    if (holder != NULL && holder->channel != 0 && !replica) {
        if (!socket->farewell) {
            socket->farewell = true;
            notify_holder(holder, DIRTY_SLOT_FREE);
        }
        if (holder->dirty != 0)
            return; /* freed by whoever tells it */
    }
    socket_free(socket);
}

void socket_consumed(struct engine_socket *socket, uint64_t offset)
{
    struct engine_core *core = socket_core(socket);
    if (offset > socket->received)
        offset = socket->received;
    if (offset <= socket->rx.consumed)
        return;
    /* Who was not told of them yet need not be: so no holder lags by more than a window. */
    for (struct socket_holder *holder = socket_holders(socket); holder != NULL;
         holder = holder->next)
        if ((int32_t)(holder->told_data - (uint32_t)offset) < 0)
            holder->told_data = (uint32_t)offset;
    struct rx_memory memory = rx_memory(socket);
    bool all = offset == socket->received && socket->copies_in_flight == 0 &&
               (socket->connection == NULL || (tcp_received_offset(socket->connection) == offset &&
                                               !tcp_has_out_of_order(socket->connection)));
    rx_buffer_consume(&socket->rx, &memory, offset, all);
    if (socket->connection != NULL)
        tcp_consumed(core->stack, socket->connection, offset, core->now_ns);
}

void socket_shutdown_if_due(struct engine_socket *socket)
{
    struct engine_core *core = socket_core(socket);
    if (!socket->shutdown_wanted || socket->connection == NULL ||
        socket->tx.end < socket->extra->shutdown_at)
        return;
    socket->shutdown_wanted = false;
    socket_trim_extra(socket);
    tcp_shutdown_write(core->stack, socket->connection, core->now_ns);
}
