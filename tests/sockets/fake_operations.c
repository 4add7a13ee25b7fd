/* pno-fake-engine: what the host asks for. */
#include "fake_engine.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#define EPHEMERAL_FIRST 40000

static uint16_t next_port = EPHEMERAL_FIRST;

static bool addresses_meet(const struct end *bound, const struct ip_endpoint *wanted)
{
    if (bound->local.port != wanted->port)
        return false;
    if (!ip_address_is_any(&bound->local.address) && !ip_address_is_any(&wanted->address))
        return ip_address_equal(&bound->local.address, &wanted->address);
    bool v4 = ip_address_is_v4(&wanted->address);
    if (!ip_address_is_v4(&bound->local.address) && v4)
        return (bound->flags & LINK_FLAG_V6ONLY) == 0;
    return ip_address_is_v4(&bound->local.address) == v4;
}

static bool port_is_taken(const struct end *self, const struct ip_endpoint *wanted)
{
    struct end *end;
    LIST_FOREACH(end, &all_ends, link)
    {
        if (end == self || (end->kind != BOUND && end->kind != LISTENER) ||
            !addresses_meet(end, wanted))
            continue;
        if (end->kind == BOUND && (end->flags & self->flags & LINK_FLAG_REUSEADDR))
            continue;
        if (end->flags & self->flags & LINK_FLAG_REUSEPORT)
            continue;
        return true;
    }
    return false;
}

static uint16_t choose_port(void)
{
    if (++next_port >= 60000)
        next_port = EPHEMERAL_FIRST;
    return next_port;
}

static int bind_end(struct end *end, const struct link_descriptor *operation)
{
    struct ip_endpoint wanted = {operation->endpoints.local, operation->endpoints.local_port};
    end->flags = operation->flags;
    if (wanted.port == 0) {
        do
            wanted.port = choose_port();
        while (port_is_taken(end, &wanted));
    } else if (port_is_taken(end, &wanted)) {
        return EADDRINUSE;
    }
    end->local = wanted;
    end->kind = BOUND;
    return 0;
}

static struct end *find_listener(const struct ip_endpoint *to)
{
    struct end *end, *found = NULL;
    LIST_FOREACH(end, &all_ends, link)
    {
        if (end->kind == LISTENER && addresses_meet(end, to) &&
            (found == NULL || !ip_address_is_any(&end->local.address)))
            found = end;
    }
    return found;
}

static uint32_t free_slot(const struct tenant *tenant)
{
    for (uint32_t slot = HOST_SLOTS; slot < SLOTS; slot++) {
        if (tenant->ends[slot] == NULL)
            return slot;
    }
    return SLOTS;
}

static void establish(struct end *end, struct end *at)
{
    uint32_t slot = free_slot(at->tenant);
    if (slot == SLOTS) {
        reset(end, ECONNREFUSED);
        return;
    }
    struct end *accepted =
        end_create(at->tenant, (struct link_socket_name){slot, at->tenant->incarnations[slot] + 1});
    accepted->kind = CONNECTION;
    accepted->listener = at;
    accepted->local = end->remote;
    accepted->remote = end->local;
    accepted->receive_buffer = at->receive_buffer;
    accepted->send_buffer = at->send_buffer;
    accepted->peer = end;
    end->peer = accepted;
    struct link_descriptor established = {.type = LINK_EVENT_ESTABLISHED};
    established.endpoints.local = end->local.address;
    established.endpoints.local_port = end->local.port;
    tell(end, &established);
    struct link_descriptor accept = {.type = LINK_EVENT_ACCEPT,
                                     .socket = at->name,
                                     .request_id = at->accept_sequence++,
                                     .accept_incarnation = accepted->name.incarnation};
    accept.endpoints.local = accepted->local.address;
    accept.endpoints.local_port = accepted->local.port;
    accept.endpoints.remote = accepted->remote.address;
    accept.endpoints.remote_port = accepted->remote.port;
    accept.endpoints.accept_slot = slot;
    tell(at, &accept);
}

static void reply(struct process *process, const struct link_descriptor *operation, int error,
                  const struct end *end)
{
    struct link_descriptor answer = {.type = LINK_EVENT_REPLY,
                                     .error = (uint16_t)error,
                                     .socket = operation->socket,
                                     .request_id = operation->request_id};
    if (end != NULL) {
        answer.endpoints.local = end->local.address;
        answer.endpoints.local_port = end->local.port;
    }
    tell_process(process, &answer);
}

static void connect_end(struct process *process, struct end *end,
                        const struct link_descriptor *operation)
{
    end->remote =
        (struct ip_endpoint){operation->endpoints.remote, operation->endpoints.remote_port};
    if ((operation->flags & LINK_FLAG_IF_HEARD) != 0 && find_listener(&end->remote) == NULL) {
        reply(process, operation, ECONNREFUSED, end);
        return;
    }
    if (end->kind != BOUND || ip_address_is_any(&end->local.address))
        end->local.address = end->remote.address;
    if (end->local.port == 0)
        end->local.port = choose_port();
    end->kind = CONNECTION;
    reply(process, operation, 0, end);
    struct end *at = find_listener(&end->remote);
    if (at == NULL)
        reset(end, ECONNREFUSED);
    else
        establish(end, at);
}

static void add_outgoing(struct end *end, const struct link_descriptor *operation)
{
    struct piece *piece = calloc(1, sizeof(*piece));
    if (piece == NULL)
        abort();
    *piece = (struct piece){.stream_offset = operation->data.stream_offset,
                            .arena_offset = operation->data.arena_offset,
                            .length = operation->data.length};
    end->sent = piece->stream_offset + piece->length;
    STAILQ_INSERT_TAIL(&end->outgoing, piece, link);
}

static void consume(struct end *end, uint64_t offset)
{
    if (offset <= end->consumed || offset > end->received)
        return;
    end->consumed = offset;
    drop_consumed(end);
}

bool note_death(struct end *end)
{
    const struct link_slot_block *block =
        (const void *)(end->tenant->arena + end->tenant->layout.host_region +
                       (uint64_t)end->name.slot * LINK_SLOT_BLOCK_BYTES);
    if (block->incarnation != end->name.incarnation)
        return false;
    consume(end, block->read_offset);
    return (block->flags & LINK_SLOT_ABORTS) != 0;
}

static void last_let_go(struct end *end, bool abort_wanted)
{
    struct end *other, *next;
    end->let_go = true;
    if (end->kind == LISTENER) {
        for (other = LIST_FIRST(&all_ends); other != NULL; other = next) {
            next = LIST_NEXT(other, link);
            if (other->listener != end)
                continue;
            other->listener = NULL;
            other->let_go = true;
            if (other->peer != NULL)
                reset(other->peer, ECONNRESET);
            other->peer = NULL;
        }
        end_free(end);
    } else if (end->kind != CONNECTION) {
        end_free(end);
    } else if (abort_wanted || end->consumed < end->received) {
        if (end->peer != NULL)
            reset(end->peer, ECONNRESET);
        end->peer = NULL;
    } else if (!end->fin_wanted) {
        end->fin_wanted = true;
        end->fin_at = end->sent;
    }
}

void let_go(unsigned process, struct end *end, bool abort_wanted)
{
    end->held[process] = false;
    for (unsigned i = 0; i < PROCESSES_MAX; i++) {
        if (end->held[i])
            return;
    }
    last_let_go(end, abort_wanted);
}

static void accepted(unsigned process, struct end *end)
{
    if (end->listener == NULL)
        return;
    end->listener = NULL;
    end->held[process] = true;
}

static void get_info(struct process *process, const struct end *end,
                     const struct link_descriptor *operation)
{
    struct tcp_info *info = (void *)(end->tenant->arena + operation->data.arena_offset);
    info->tcpi_state = end->kind == LISTENER ? TCP_LISTEN : TCP_ESTABLISHED;
    info->tcpi_snd_mss = 1448;
    info->tcpi_rtt = 100;
    reply(process, operation, 0, NULL);
}

static void apply_to(unsigned index, struct end *end, const struct link_descriptor *operation)
{
    struct process *process = processes[index];
    switch (operation->type) {
    case LINK_OP_BIND:
        reply(process, operation, bind_end(end, operation), end);
        break;
    case LINK_OP_LISTEN:
        end->kind = LISTENER;
        reply(process, operation, 0, end);
        break;
    case LINK_OP_CONNECT:
        connect_end(process, end, operation);
        break;
    case LINK_OP_SEND:
        add_outgoing(end, operation);
        consume(end, operation->data.consumed);
        break;
    case LINK_OP_CONSUMED:
        consume(end, operation->data.stream_offset);
        break;
    case LINK_OP_SHUTDOWN_WRITE:
        end->fin_wanted = true;
        end->fin_at = operation->data.stream_offset;
        break;
    case LINK_OP_CLOSE:
        consume(end, operation->data.stream_offset);
        let_go(index, end, (operation->flags & LINK_FLAG_ABORT) != 0);
        break;
    case LINK_OP_ACCEPTED:
        accepted(index, end);
        break;
    case LINK_OP_SET_OPTION:
        if (operation->option.option == LINK_OPTION_RECEIVE_BUFFER)
            end->receive_buffer = (uint64_t)operation->option.value;
        if (operation->option.option == LINK_OPTION_SEND_BUFFER)
            set_send_buffer(end, (uint64_t)operation->option.value);
        break;
    case LINK_OP_GET_INFO:
        get_info(process, end, operation);
        break;
    default:
        break;
    }
}

static void note_fence(struct process *process, uint32_t request_id)
{
    if (process->fence_count == FENCES_MAX)
        abort();
    process->fences[process->fence_count++] = request_id;
}

bool answer_fences(void)
{
    bool any = false;
    for (unsigned i = 0; i < PROCESSES_MAX; i++) {
        struct process *process = processes[i];
        while (process != NULL && process->fence_count > 0) {
            struct link_descriptor request = {.request_id =
                                                  process->fences[--process->fence_count]};
            reply(process, &request, 0, NULL);
            any = true;
        }
    }
    return any;
}

void apply(unsigned index, const struct link_descriptor *operation)
{
    struct tenant *tenant = processes[index]->tenant;
    if (operation->type == LINK_OP_FENCE) {
        note_fence(processes[index], operation->request_id);
        return;
    }
    uint32_t slot = operation->socket.slot;
    if (slot >= SLOTS)
        return;
    struct end *end = tenant->ends[slot];
    if (end == NULL && slot < HOST_SLOTS && operation->type != LINK_OP_CLOSE) {
        end = end_create(tenant, operation->socket);
        end->held[index] = true;
    }
    if (end != NULL && end->name.incarnation == operation->socket.incarnation)
        apply_to(index, end, operation);
}
