#include "engine/pipeline/host_operations.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "engine/engine_core.h"
#include "engine/pipeline/fence.h"
#include "engine/pipeline/notify.h"
#include "engine/pipeline/socket_options.h"
#include "engine/pipeline/tcp_info.h"
#include "engine/socket.h"

/** Bytes one SEND may tell of. */
#define SEND_BYTES_MAX (UINT64_C(1) << 30)

/** Ports below need CAP_NET_BIND_SERVICE (Linux's ip_unprivileged_port_start). */
#define LOW_PORTS_END 1024

/** Linux caps the back-log of listen() at somaxconn; the host library has applied it. */
#define BACKLOG_MAX 1048576

/** Rounds that a channel waits for what LINK_FLAG_STEP was set on: more than a message and its
    acknowledgement take, and few enough for others' traffic not to hold it up. */
#define STEP_ROUNDS_MAX 8

/* ---- Replies -------------------------------------------------------------------------------- */

static void reply_with_room(struct channel_core *channel, const struct link_descriptor *request,
                            int error, const struct ip_endpoint *local, uint32_t room)
{
    struct link_descriptor answer = {
        .type = LINK_EVENT_REPLY,
        .error = (uint16_t)-error,
        .socket = request->socket,
        .request_id = request->request_id,
    };
    if (local != NULL) {
        answer.endpoints.local = local->address;
        answer.endpoints.local_port = local->port;
        answer.endpoints.accept_slot = room;
    }
    notify_reply(channel, &answer);
}

static void reply(struct channel_core *channel, const struct link_descriptor *request, int error,
                  const struct ip_endpoint *local)
{
    reply_with_room(channel, request, error, local, 0);
}

static void garbage(struct channel_core *channel)
{
    tenant_count_garbage(channel->tenant);
}

/* ---- Listeners on several cores -------------------------------------------------------------- */

/**
 * Core 0 decides about ports and listeners; what it did is repeated on the others by message. The
 * messages to a core keep their order, and come before word of a process's death.
 */
struct replica_message {
    struct core_message message;
    struct channel *channel;
    struct link_descriptor descriptor;
    struct socket_setup setup;
    struct ip_endpoint local;
    struct accept_counter *accept_counter; /**< of a new listener; NULL: it has one already */
};

static uint32_t backlog_of(const struct link_descriptor *listen)
{
    int64_t wanted = listen->option.value;
    return wanted < 0 || wanted > BACKLOG_MAX ? BACKLOG_MAX : (uint32_t)wanted;
}

static int listen_here(struct engine_socket *socket, struct accept_counter *counter,
                       uint32_t backlog);

/** What the first core's setup says, but for its ties there. */
static void take_over_setup(struct socket_setup *setup, const struct socket_setup *first)
{
    setup->options = first->options;
    setup->defer_accept_ns = first->defer_accept_ns;
    setup->fast_open = first->fast_open;
    setup->bind_flags = first->bind_flags;
    setup->ports = first->ports;
}

/** @return whether this core listens now, and holds the counter. */
static bool begin_replica(struct channel_core *channel, const struct replica_message *replica)
{
    struct tenant_core *tenant = channel->tenant;
    struct link_socket_name name = replica->descriptor.socket;
    if (slot_socket(&tenant->slots[name.slot]) != NULL)
        return false; /* a host made something of the slot here that it should not have */
    struct engine_socket *socket = socket_create_with_setup(tenant, name);
    if (socket == NULL)
        return false;
    take_over_setup(socket->extra->setup, &replica->setup);
    socket->extra->local = replica->local;
    (void)socket_hold(socket, channel->process, channel);
    return listen_here(socket, replica->accept_counter, backlog_of(&replica->descriptor)) == 0;
}

/** Nobody asked this core: it does not answer. */
static void run_replica(struct engine_core *core, struct core_message *message)
{
    struct replica_message *replica = (struct replica_message *)message;
    struct channel_core *channel = &replica->channel->cores[core->index];
    if (replica->descriptor.type != LINK_OP_LISTEN) {
        host_operations_apply(channel, &replica->descriptor);
    } else if (replica->accept_counter == NULL) {
        struct engine_socket *socket =
            tenant_find_socket(channel->tenant, replica->descriptor.socket);
        if (socket != NULL && socket_listener(socket) != NULL)
            tcp_listener_set_backlog(socket_listener(socket), backlog_of(&replica->descriptor));
    } else if (!begin_replica(channel, replica)) {
        accept_counter_put(replica->accept_counter);
    }
    free(replica);
}

/** @param counter  of a new listener, which has a reference for each core; else NULL. */
static void replicate(struct channel_core *channel, const struct engine_socket *socket,
                      const struct link_descriptor *descriptor, struct accept_counter *counter)
{
    struct engine_core *core = channel->tenant->core;
    if (core->index != 0)
        return;
    for (unsigned i = 1; i < core->engine->core_count; i++) {
        struct replica_message *replica = calloc(1, sizeof(*replica));
        if (replica == NULL) {
            /* Connections of that core's flows are refused there, as without memory they must be.
             */
            if (counter != NULL)
                accept_counter_put(counter);
            continue;
        }
        replica->message.run = run_replica;
        replica->channel = channel->channel;
        replica->accept_counter = counter;
        memcpy((void *)&replica->descriptor, descriptor, sizeof(*descriptor));
        const struct socket_setup *setup = socket_setup_of(socket);
        if (setup != NULL) {
            replica->setup = *setup;
            replica->local = socket->extra->local;
        }
        engine_core_send(core->engine->cores[i], &replica->message);
    }
}

/* ---- Bind, listen, connect ------------------------------------------------------------------- */

/** The socket that the host names, made if the slot is unused. NULL: garbage or no room. */
static struct engine_socket *find_or_create(struct channel_core *channel,
                                            const struct link_descriptor *descriptor)
{
    struct tenant_core *tenant = channel->tenant;
    struct engine_socket *socket = tenant_find_socket(tenant, descriptor->socket);
    if (socket != NULL)
        return socket_find_holder(socket, channel->process) != NULL ? socket : NULL;
    if (descriptor->socket.slot >= TENANT_HOST_SLOTS)
        return NULL;
    const struct slot_entry *entry = &tenant->slots[descriptor->socket.slot];
    if (slot_socket(entry) != NULL ||
        slot_last_incarnation(entry) == descriptor->socket.incarnation)
        return NULL; /* still in use, or a late word about one that is gone */
    socket = socket_create_with_setup(tenant, descriptor->socket);
    if (socket == NULL)
        return NULL;
    if (socket_hold(socket, channel->process, channel) == NULL) {
        socket_free(socket);
        return NULL;
    }
    return socket;
}

static struct port_range ports_of(const struct link_descriptor *descriptor)
{
    uint32_t ports = descriptor->endpoints.accept_slot;
    return (struct port_range){.first = (uint16_t)ports, .last = (uint16_t)(ports >> 16)};
}

/** Hold a port for the socket's local address. */
static int bind_port(struct engine_socket *socket)
{
    struct ip_endpoint *local = &socket->extra->local;
    struct socket_setup *setup = socket->extra->setup;
    uint8_t flags = setup->bind_flags;
    int result =
        stack_port_bind(socket_core(socket)->stack, local, setup->ports,
                        (flags & LINK_FLAG_IPV6) != 0, (flags & LINK_FLAG_V6ONLY) != 0,
                        (flags & LINK_FLAG_REUSEADDR) != 0, (flags & LINK_FLAG_REUSEPORT) != 0);
    if (result != 0)
        return result;
    setup->bound = *local; /* a connection gives `local` a narrower address */
    setup->port_bound = true;
    return 0;
}

static int bind_socket(struct engine_socket *socket, const struct link_descriptor *descriptor)
{
    struct socket_setup *setup = socket_setup_of(socket);
    if (socket->kind != SOCKET_NEW || setup == NULL)
        return -EINVAL;
    struct ip_endpoint local = {descriptor->endpoints.local, descriptor->endpoints.local_port};
    if (local.port > 0 && local.port < LOW_PORTS_END && !socket->tenant->tenant->may_bind_low_ports)
        return -EACCES;
    int result = 0;
    socket->extra->local = local;
    setup->bind_flags = descriptor->flags;
    setup->ports = ports_of(descriptor);
    if (local.port != 0 || (descriptor->flags & LINK_FLAG_NO_PORT) == 0)
        result = bind_port(socket);
    else if (!stack_may_bind(socket_core(socket)->stack, &local.address))
        result = -EADDRNOTAVAIL;
    if (result == 0)
        socket->kind = SOCKET_BOUND;
    return result;
}

static void apply_bind(struct channel_core *channel, const struct link_descriptor *descriptor)
{
    struct engine_socket *socket = find_or_create(channel, descriptor);
    int result = socket != NULL ? bind_socket(socket, descriptor) : -ENOBUFS;
    reply(channel, descriptor, result, result == 0 ? &socket->extra->local : NULL);
}

static int listen_here(struct engine_socket *socket, struct accept_counter *counter,
                       uint32_t backlog)
{
    struct engine_core *core = socket_core(socket);
    struct socket_setup *setup = socket->extra->setup;
    struct tcp_listen_request request = {
        .local = socket->extra->local,
        .is_ipv6 = (setup->bind_flags & LINK_FLAG_IPV6) != 0,
        .v6only = (setup->bind_flags & LINK_FLAG_V6ONLY) != 0,
        .reuse_port = (setup->bind_flags & LINK_FLAG_REUSEPORT) != 0,
        .backlog = backlog,
        .user = socket,
    };
    struct tenant_core *tenant = socket->tenant;
    if (tenant->listener_count == tenant->listener_limit) {
        tenant->listeners_refused++;
        return -ENOBUFS;
    }
    int result = tcp_listen(core->stack, &request, &setup->listener);
    if (result != 0)
        return result;
    tenant->listener_count++;
    socket->kind = SOCKET_LISTENER;
    setup->accept_counter = counter;
    *tcp_listener_options(setup->listener) = setup->options;
    tcp_listener_set_defer_accept(setup->listener, setup->defer_accept_ns);
    if (setup->fast_open > 0)
        tcp_listener_set_fast_open(setup->listener, setup->fast_open);
    return 0;
}

static int listen_socket(struct channel_core *channel, struct engine_socket *socket,
                         const struct link_descriptor *descriptor)
{
    struct engine_core *core = channel->tenant->core;
    if (socket->kind == SOCKET_LISTENER) {
        tcp_listener_set_backlog(socket_listener(socket), backlog_of(descriptor));
        replicate(channel, socket, descriptor, NULL);
        return 0;
    }
    if (core->index != 0 || socket->kind != SOCKET_BOUND)
        return -EINVAL;
    int result = socket->extra->setup->port_bound ? 0 : bind_port(socket);
    if (result != 0)
        return result;
    struct accept_counter *counter = calloc(1, sizeof(*counter));
    if (counter == NULL)
        return -ENOMEM;
    /* Each core's replica drops one reference when it closes. */
    atomic_init(&counter->references, core->engine->core_count);
    result = listen_here(socket, counter, backlog_of(descriptor));
    if (result != 0) {
        free(counter);
        return result;
    }
    replicate(channel, socket, descriptor, counter);
    return 0;
}

static void apply_listen(struct channel_core *channel, const struct link_descriptor *descriptor)
{
    struct engine_socket *socket = tenant_find_socket(channel->tenant, descriptor->socket);
    struct ip_endpoint local, remote;
    if (socket == NULL || socket_find_holder(socket, channel->process) == NULL) {
        reply(channel, descriptor, -EINVAL, NULL);
        return;
    }
    int result = listen_socket(channel, socket, descriptor);
    socket_endpoints(socket, &local, &remote);
    reply(channel, descriptor, result, &local);
}

static int connect_socket(struct engine_socket *socket, const struct link_descriptor *descriptor)
{
    struct engine_core *core = socket_core(socket);
    struct socket_setup *setup = socket_setup_of(socket);
    if (socket->kind != SOCKET_NEW && socket->kind != SOCKET_BOUND)
        return -EISCONN;
    struct tcp_connect_request request = {
        .ports = ports_of(descriptor),
        .remote = {descriptor->endpoints.remote, descriptor->endpoints.remote_port},
        .reuse_address = (setup->bind_flags & LINK_FLAG_REUSEADDR) != 0,
        .options = &setup->options,
        .fast_open = (descriptor->flags & LINK_FLAG_FAST_OPEN) != 0,
        .more = (descriptor->flags & LINK_FLAG_MORE) != 0,
        .user = socket,
    };
    if (socket->kind == SOCKET_BOUND)
        request.local = socket->extra->local;
    if ((descriptor->flags & LINK_FLAG_IF_HEARD) != 0 &&
        !stack_is_heard(core->stack, &request.remote, &request.local))
        return -ECONNREFUSED;
    int result = tcp_connect(core->stack, &request, core->now_ns, &socket->connection);
    if (result != 0) {
        socket->connection = NULL;
        return result;
    }
    socket->kind = SOCKET_CONNECTION;
    socket->send_limit = tcp_send_buffer_bytes(socket->connection);
    /* A bound port stays this socket's as long as it lives; the rest has done its service. */
    if (!setup->port_bound) {
        socket_drop_setup(socket);
        socket_trim_extra(socket);
    } else if (core->engine->core_count > 1) {
        struct ip_endpoint local, remote;
        tcp_endpoints(socket->connection, &local, &remote);
        first_core_flows_add(&core->engine->first_core_flows, &setup->flow, &local, &remote);
    }
    return 0;
}

static void apply_connect(struct channel_core *channel, const struct link_descriptor *descriptor)
{
    struct engine_socket *socket = find_or_create(channel, descriptor);
    int result = socket != NULL ? connect_socket(socket, descriptor) : -ENOBUFS;
    if (descriptor->request_id != 0) {
        const struct engine_core *core = channel->tenant->core;
        uint32_t room = result == 0 ? tcp_fast_open_room(core->stack, socket->connection) : 0;
        struct ip_endpoint local, remote;
        if (result == 0)
            socket_endpoints(socket, &local, &remote);
        reply_with_room(channel, descriptor, result, result == 0 ? &local : NULL, room);
    } else if (socket == NULL) {
        garbage(channel);
    } else if (result != 0 && result != -EISCONN) {
        socket->kind = SOCKET_CONNECTION;
        socket_get_extra(socket)->error = (uint16_t)-result;
        notify_socket(socket, DIRTY_ERROR);
    }
}

/* ---- Payload --------------------------------------------------------------------------------- */

static bool in_host_region(const struct tenant_core *tenant, uint64_t offset, uint64_t bytes)
{
    const struct link_layout *layout = &tenant->tenant->layout;
    uint64_t region_bytes = layout->sizes.host_region_bytes;
    return offset >= layout->host_region && bytes <= region_bytes &&
           offset - layout->host_region <= region_bytes - bytes;
}

static void apply_send(struct channel_core *channel, struct engine_socket *socket,
                       const struct link_descriptor *descriptor)
{
    struct engine_core *core = channel->tenant->core;
    uint64_t bytes = descriptor->data.length;
    bool opens = (descriptor->flags & LINK_FLAG_FAST_OPEN) != 0;
    bool more = (descriptor->flags & LINK_FLAG_MORE) != 0;
    if (opens && bytes == 0) {
        if (socket->connection != NULL)
            tcp_fast_open_go(core->stack, socket->connection, more);
        return;
    }
    if (bytes == 0 || bytes > SEND_BYTES_MAX ||
        descriptor->data.stream_offset > UINT64_MAX - SEND_BYTES_MAX ||
        !in_host_region(channel->tenant, descriptor->data.arena_offset, bytes)) {
        garbage(channel);
        return;
    }
    if (descriptor->data.consumed != 0)
        socket_consumed(socket, descriptor->data.consumed);
    if (socket->connection == NULL)
        return; /* it died while the descriptor was under way */
    int64_t grown =
        tx_buffer_add(&socket->tx, &channel->tenant->tx_memory, descriptor->data.stream_offset,
                      descriptor->data.arena_offset, bytes);
    if (grown < 0) {
        garbage(channel);
        if (grown == -ENOBUFS)
            tcp_abort(core->stack, socket->connection, core->now_ns);
        return;
    }
    if (grown == 0)
        return;
    bool taken =
        tcp_send(core->stack, socket->connection, (uint64_t)grown, more, core->now_ns) == 0;
    if (taken && (descriptor->flags & LINK_FLAG_RECORD_END) != 0)
        tcp_send_record_end(core->stack, socket->connection);
    if (taken && (descriptor->flags & LINK_FLAG_URGENT) != 0)
        tcp_send_urgent(core->stack, socket->connection, core->now_ns);
    if (opens)
        tcp_fast_open_go(core->stack, socket->connection, more);
    socket_shutdown_if_due(socket);
    notify_reconsider(socket);
}

static void apply_shutdown_write(struct engine_socket *socket,
                                 const struct link_descriptor *descriptor)
{
    socket->shutdown_wanted = socket->shutdown_told = true;
    socket_get_extra(socket)->shutdown_at = descriptor->data.stream_offset;
    socket_shutdown_if_due(socket);
    notify_reconsider(socket);
}

static void apply_shutdown_read(struct engine_socket *socket)
{
    if (socket->connection == NULL || socket->shutdown_read)
        return;
    socket->shutdown_read = true;
    tcp_shutdown_read(socket_core(socket)->stack, socket->connection);
}

/* ---- The rest ---------------------------------------------------------------------------------
 */

static void apply_close(struct channel_core *channel, struct engine_socket *socket,
                        const struct link_descriptor *descriptor)
{
    struct socket_close how = {
        .has_read_offset = true,
        .read_offset = descriptor->data.stream_offset,
        .abort = (descriptor->flags & LINK_FLAG_ABORT) != 0,
    };
    if (socket->kind == SOCKET_LISTENER)
        replicate(channel, socket, descriptor, NULL);
    socket_let_go(socket, channel->process, &how);
}

static void apply_accepted(struct channel_core *channel, struct engine_socket *socket,
                           const struct link_descriptor *descriptor)
{
    if (!socket_is_unaccepted(socket) ||
        (int64_t)socket->extra->listener->name.slot != descriptor->option.value) {
        garbage(channel);
        return;
    }
    socket_accepted(socket, channel->process, channel);
}

static void apply_set_option(struct channel_core *channel, struct engine_socket *socket,
                             const struct link_descriptor *descriptor)
{
    if (!socket_options_set(socket, descriptor->option.option, descriptor->option.value))
        garbage(channel);
    else if (socket->kind == SOCKET_LISTENER)
        replicate(channel, socket, descriptor, NULL);
}

static void apply_get_info(struct channel_core *channel, struct engine_socket *socket,
                           const struct link_descriptor *descriptor)
{
    int result = -EINVAL;
    if (socket != NULL && descriptor->data.length <= UINT32_MAX &&
        in_host_region(channel->tenant, descriptor->data.arena_offset, descriptor->data.length))
        result = (descriptor->data.stream_offset == LINK_INFO_CONGESTION ? tcp_congestion_info_write
                                                                         : tcp_info_write)(
            socket, descriptor->data.arena_offset, (uint32_t)descriptor->data.length);
    else
        garbage(channel);
    reply(channel, descriptor, result, NULL);
}

static void apply_rebind(struct channel_core *channel, struct engine_socket *socket)
{
    struct socket_holder *holder = socket_find_holder(socket, channel->process);
    if (holder != NULL)
        notify_move(holder, channel);
}

/** Operations on a socket that this process holds. */
static void apply_to_socket(struct channel_core *channel, struct engine_socket *socket,
                            const struct link_descriptor *descriptor)
{
    switch (descriptor->type) {
    case LINK_OP_SEND:
        apply_send(channel, socket, descriptor);
        break;
    case LINK_OP_CONSUMED:
        socket_consumed(socket, descriptor->data.stream_offset);
        break;
    case LINK_OP_SHUTDOWN_WRITE:
        apply_shutdown_write(socket, descriptor);
        break;
    case LINK_OP_SHUTDOWN_READ:
        apply_shutdown_read(socket);
        break;
    case LINK_OP_CLOSE:
        apply_close(channel, socket, descriptor);
        break;
    case LINK_OP_ACCEPTED:
        apply_accepted(channel, socket, descriptor);
        break;
    case LINK_OP_SET_OPTION:
        apply_set_option(channel, socket, descriptor);
        break;
    case LINK_OP_REBIND:
        apply_rebind(channel, socket);
        break;
    default:
        garbage(channel);
        break;
    }
}

void host_operations_apply(struct channel_core *channel, const struct link_descriptor *descriptor)
{
    struct engine_socket *socket;
    channel->tenant->core->counters.operations++;
    switch (descriptor->type) {
    case LINK_OP_BIND:
        apply_bind(channel, descriptor);
        return;
    case LINK_OP_LISTEN:
        apply_listen(channel, descriptor);
        return;
    case LINK_OP_CONNECT:
        apply_connect(channel, descriptor);
        return;
    case LINK_OP_FENCE:
        fence_begin(channel, descriptor);
        return;
    case LINK_OP_SET_OPTION:
        socket = find_or_create(channel, descriptor);
        break;
    default:
        socket = tenant_find_socket(channel->tenant, descriptor->socket);
        if (socket != NULL && socket_find_holder(socket, channel->process) == NULL)
            socket = NULL;
        break;
    }
    if (descriptor->type == LINK_OP_GET_INFO)
        apply_get_info(channel, socket, descriptor);
    else if (socket != NULL)
        apply_to_socket(channel, socket, descriptor);
    else if (descriptor->type == LINK_OP_NONE || descriptor->type >= LINK_OP_COUNT)
        garbage(channel);
}

/* ---- Rings -------------------------------------------------------------------------------------
 */

static void report_credit(struct channel_core *channel)
{
    link_consumer_report(&channel->to_engine);
    if (link_take_armed_for_room(&channel->to_host.feedback->armed))
        (void)eventfd_write(channel->channel->doorbell_fd, 1);
}

static bool take_from(struct channel_core *channel)
{
    struct link_descriptor descriptor;
    unsigned taken = 0;
    if (link_consumer_empty(&channel->to_engine))
        return false;
    if (channel->step_rounds > 0 && fence_is_under_way(channel->tenant->core) &&
        --channel->step_rounds > 0)
        return true;
    channel->step_rounds = 0;
    /* Some operations want an answer; without room for it they wait in the ring. */
    while (taken < CHANNEL_OPERATIONS_BURST && notify_reply_room(channel) &&
           channel->step_rounds == 0 && link_consumer_pop(&channel->to_engine, &descriptor)) {
        host_operations_apply(channel, &descriptor);
        if (channel->before_fence > 0)
            channel->before_fence--;
        if (descriptor.type == LINK_OP_SEND && (descriptor.flags & LINK_FLAG_STEP) != 0)
            channel->step_rounds = STEP_ROUNDS_MAX;
        taken++;
    }
    if (channel->to_engine.consumed - channel->to_engine.reported >= TENANT_RING_SLOTS / 4)
        report_credit(channel);
    return taken > 0;
}

bool host_operations_run(struct engine_core *core)
{
    struct channel_core *channel;
    bool any = false;
    TAILQ_FOREACH(channel, &core->channels, link)
    {
        if (take_from(channel))
            any = true;
    }
    return any;
}

void host_operations_drain(struct engine_core *core, struct process_core *process)
{
    struct channel *channel;
    LIST_FOREACH(channel, &process->process->channels, link)
    {
        /* No more than a ring holds: whoever shares the memory may go on filling it. */
        struct channel_core *part = &channel->cores[core->index];
        struct link_descriptor descriptor;
        for (unsigned i = 0; i < TENANT_RING_SLOTS && notify_reply_room(part) &&
                             link_consumer_pop(&part->to_engine, &descriptor);
             i++)
            host_operations_apply(part, &descriptor);
    }
}

bool host_operations_are_idle(const struct engine_core *core)
{
    const struct channel_core *channel;
    TAILQ_FOREACH(channel, &core->channels, link)
    {
        if (!link_consumer_empty(&channel->to_engine) && notify_reply_room(channel))
            return false;
    }
    return true;
}

void host_operations_report(struct engine_core *core)
{
    struct channel_core *channel;
    TAILQ_FOREACH(channel, &core->channels, link)
    {
        if (channel->to_engine.consumed != channel->to_engine.reported)
            report_credit(channel);
    }
}
