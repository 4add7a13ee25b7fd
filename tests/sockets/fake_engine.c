/*
 * A stand-in for pnod that speaks the link (hostlink/abi.h) and nothing else: no packets, no TCP.
 * What one socket sends is copied to the socket it is connected to, within a tenant or between two.
 * It lets the host library be tested where there is neither DPDK nor a network, and makes a failure
 * in the differential cases attributable: with this engine it is the library's.
 *
 *     pno-fake-engine SOCKET_PATH
 *
 * One process, one thread, until SIGTERM. Not fast, not fair, no limits but memory's.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "hostlink/chunk_pool.h"
#include "hostlink/control.h"
#include "hostlink/region.h"
#include "hostlink/ring.h"

#define SLOTS           8192
#define HOST_SLOTS      4096
#define RING_SLOTS      256
#define REGION_BYTES    (UINT64_C(128) << 20)
#define SEND_BUFFER     (256u << 10)
#define RECEIVE_BUFFER  (128u << 10)
#define PROCESSES_MAX   64
#define EPHEMERAL_FIRST 40000
#define POLLFDS_MAX     (2 * PROCESSES_MAX + 2)
#define FENCES_MAX      64

/* An event that waits for room in its process's ring. */
struct event {
    STAILQ_ENTRY(event) link;
    struct link_descriptor descriptor;
};

/* Sent bytes that the receiver has not taken yet, or received bytes the application has not read.
 */
struct piece {
    STAILQ_ENTRY(piece) link;
    uint64_t stream_offset, arena_offset, length;
};

struct tenant {
    struct link_layout layout;
    int arena_fd, window_fd, doorbell_fd;
    uint8_t *arena, *window;
    struct link_arena_header *header;
    struct chunk_pool pool;
    struct end *ends[SLOTS];
    uint32_t incarnations[SLOTS];
    uint8_t token[16];
    uint32_t channels;
};

struct process {
    struct tenant *tenant;
    int control_fd, doorbell_fd;
    uint32_t id;
    bool has_channel;
    struct link_consumer to_engine;
    struct link_producer to_host;
    STAILQ_HEAD(, event) events;
    uint32_t fences[FENCES_MAX]; /* requests, answered when there is nothing left to do */
    unsigned fence_count;
};

enum kind { NEW, BOUND, LISTENER, CONNECTION };

struct end {
    LIST_ENTRY(end) link;
    struct tenant *tenant;
    struct link_socket_name name;
    enum kind kind;
    bool held[PROCESSES_MAX];
    struct end *peer; /* NULL: gone */
    struct end *listener;
    struct ip_endpoint local, remote;
    uint8_t flags;
    uint32_t accept_sequence;
    uint64_t sent, fin_at, received, consumed, receive_buffer, send_buffer;
    bool fin_wanted, fin_told, let_go, accepted;
    STAILQ_HEAD(, piece) outgoing, incoming;
};

static struct process *processes[PROCESSES_MAX];
static LIST_HEAD(, end) all_ends;
static struct link_control_listener listener;
static uint16_t next_port = EPHEMERAL_FIRST;
static volatile sig_atomic_t stopped;

/* ---- Events -------------------------------------------------------------------------------- */

static void tell_process(struct process *process, const struct link_descriptor *descriptor)
{
    struct event *event = calloc(1, sizeof(*event));
    if (event == NULL)
        abort();
    memcpy((void *)&event->descriptor, descriptor, sizeof(*descriptor));
    STAILQ_INSERT_TAIL(&process->events, event, link);
}

static void tell(const struct end *end, struct link_descriptor *descriptor)
{
    const struct end *holder = end->listener != NULL ? end->listener : end;
    if (descriptor->type != LINK_EVENT_ACCEPT)
        descriptor->socket = end->name;
    for (unsigned i = 0; i < PROCESSES_MAX; i++) {
        if (processes[i] != NULL && processes[i]->tenant == end->tenant && holder->held[i])
            tell_process(processes[i], descriptor);
    }
}

static void flush(struct process *process)
{
    struct event *event;
    bool pushed = false;
    if (!process->has_channel)
        return;
    while ((event = STAILQ_FIRST(&process->events)) != NULL &&
           link_producer_push(&process->to_host, &event->descriptor)) {
        STAILQ_REMOVE_HEAD(&process->events, link);
        free(event);
        pushed = true;
    }
    if ((pushed || event != NULL) && link_take_armed(&process->to_host.feedback->armed))
        (void)eventfd_write(process->doorbell_fd, 1);
}

/* ---- Connections --------------------------------------------------------------------------- */

static struct end *end_create(struct tenant *tenant, struct link_socket_name name)
{
    struct end *end = calloc(1, sizeof(*end));
    if (end == NULL)
        abort();
    end->tenant = tenant;
    end->name = name;
    end->receive_buffer = RECEIVE_BUFFER;
    end->send_buffer = SEND_BUFFER;
    STAILQ_INIT(&end->outgoing);
    STAILQ_INIT(&end->incoming);
    tenant->ends[name.slot] = end;
    tenant->incarnations[name.slot] = name.incarnation;
    LIST_INSERT_HEAD(&all_ends, end, link);
    return end;
}

static void drop_consumed(struct end *end)
{
    struct piece *piece;
    while ((piece = STAILQ_FIRST(&end->incoming)) != NULL &&
           piece->stream_offset + piece->length <= end->consumed) {
        chunk_pool_free(&end->tenant->pool, piece->arena_offset);
        STAILQ_REMOVE_HEAD(&end->incoming, link);
        free(piece);
    }
}

static void drop_outgoing(struct end *end)
{
    struct piece *piece;
    while ((piece = STAILQ_FIRST(&end->outgoing)) != NULL) {
        STAILQ_REMOVE_HEAD(&end->outgoing, link);
        free(piece);
    }
}

static void end_free(struct end *end)
{
    end->consumed = UINT64_MAX;
    drop_consumed(end);
    drop_outgoing(end);
    if (end->peer != NULL)
        end->peer->peer = NULL;
    struct link_descriptor event = {.type = LINK_EVENT_SLOT_FREE, .socket = end->name};
    for (unsigned i = 0; i < PROCESSES_MAX; i++) {
        if (processes[i] != NULL && processes[i]->tenant == end->tenant)
            tell_process(processes[i], &event);
    }
    end->tenant->ends[end->name.slot] = NULL;
    LIST_REMOVE(end, link);
    free(end);
}

static void reset(struct end *end, int error)
{
    drop_outgoing(end);
    struct link_descriptor event = {
        .type = LINK_EVENT_ERROR, .flags = LINK_FLAG_FATAL, .error = (uint16_t)error};
    tell(end, &event);
    if (end->peer != NULL)
        end->peer->peer = NULL;
    end->peer = NULL;
}

static uint64_t real_now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Move bytes of one piece to the peer, as far as its window is open. */
static bool deliver(struct end *from)
{
    struct end *to = from->peer;
    struct piece *piece = STAILQ_FIRST(&from->outgoing);
    if (piece == NULL || to == NULL)
        return false;
    uint64_t window = to->receive_buffer - (to->received - to->consumed);
    if (to->received - to->consumed >= to->receive_buffer)
        return false;
    uint64_t length = piece->length < window ? piece->length : window;
    if (length > CHUNK_BYTES_MAX)
        length = CHUNK_BYTES_MAX;
    struct chunk chunk;
    struct piece *arrived = calloc(1, sizeof(*arrived));
    if (arrived == NULL || !chunk_pool_allocate(&to->tenant->pool, length, &chunk)) {
        free(arrived);
        return false;
    }
    memcpy(to->tenant->arena + chunk.offset, from->tenant->arena + piece->arena_offset, length);
    *arrived = (struct piece){
        .stream_offset = to->received, .arena_offset = chunk.offset, .length = length};
    STAILQ_INSERT_TAIL(&to->incoming, arrived, link);
    struct link_descriptor data = {.type = LINK_EVENT_DATA,
                                   .data = {.stream_offset = to->received,
                                            .arena_offset = chunk.offset,
                                            .length = length,
                                            .consumed = real_now_ns()}};
    to->received += length;
    tell(to, &data);
    piece->stream_offset += length;
    piece->arena_offset += length;
    piece->length -= length;
    struct link_descriptor sent = {
        .type = LINK_EVENT_SENT,
        .data = {.stream_offset = piece->stream_offset, .length = from->send_buffer}};
    tell(from, &sent);
    if (piece->length == 0) {
        STAILQ_REMOVE_HEAD(&from->outgoing, link);
        free(piece);
    }
    return true;
}

static void set_send_buffer(struct end *end, uint64_t bytes)
{
    struct link_descriptor sent = {.type = LINK_EVENT_SENT, .data = {.length = bytes}};
    end->send_buffer = bytes;
    if (end->kind == CONNECTION)
        tell(end, &sent);
}

/* @return whether anything happened. */
static bool run_end(struct end *end)
{
    bool any = false;
    if (end->kind != CONNECTION)
        return false;
    if ((end->peer == NULL || end->peer->let_go) && !STAILQ_EMPTY(&end->outgoing) && !end->let_go) {
        reset(end, ECONNRESET); /* nobody reads there any more */
        return true;
    }
    while (deliver(end))
        any = true;
    if (end->fin_wanted && !end->fin_told && end->sent >= end->fin_at &&
        STAILQ_EMPTY(&end->outgoing)) {
        end->fin_told = true;
        if (end->peer != NULL) {
            struct link_descriptor fin = {.type = LINK_EVENT_FIN,
                                          .data = {.stream_offset = end->peer->received}};
            tell(end->peer, &fin);
        }
        any = true;
    }
    if (end->let_go && (end->peer == NULL || end->fin_told)) {
        end_free(end);
        return true;
    }
    return any;
}

/* ---- Operations ---------------------------------------------------------------------------- */

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

static void let_go(unsigned process, struct end *end, bool abort_wanted)
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

static bool answer_fences(void)
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

static void apply(unsigned index, const struct link_descriptor *operation)
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

/* ---- Processes ----------------------------------------------------------------------------- */

static struct tenant *tenant_create(void)
{
    static uint8_t serial;
    struct tenant *tenant = calloc(1, sizeof(*tenant));
    struct link_layout_sizes sizes = {.engine_cores = 1,
                                      .channels = LINK_TENANT_CHANNELS_MAX,
                                      .ring_slots = RING_SLOTS,
                                      .receive_region_bytes = REGION_BYTES,
                                      .host_region_bytes = REGION_BYTES};
    if (tenant == NULL || link_layout_compute(&tenant->layout, &sizes) != 0)
        abort();
    tenant->arena_fd = link_region_create("fake-arena", tenant->layout.arena_bytes);
    tenant->window_fd = link_region_create("fake-window", tenant->layout.window_bytes);
    tenant->doorbell_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (link_region_map(tenant->arena_fd, tenant->layout.arena_bytes, &tenant->arena) != 0 ||
        link_region_map(tenant->window_fd, tenant->layout.window_bytes, &tenant->window) != 0 ||
        chunk_pool_init(&tenant->pool, tenant->layout.receive_region, REGION_BYTES) != 0)
        abort();
    tenant->header = (void *)tenant->arena;
    tenant->header->abi_version = LINK_ABI_VERSION;
    tenant->header->engine_cores = 1;
    tenant->token[0] = ++serial;
    return tenant;
}

static void add_address(struct link_hello_reply *reply_message, const void *v4, const void *v6)
{
    struct link_prefix *prefix = &reply_message->addresses[reply_message->address_count++];
    prefix->address = v4 != NULL ? ip_address_from_v4(v4) : ip_address_from_v6(v6);
    prefix->prefix_length = v4 != NULL ? 120 : 64;
}

static void join(struct process *process, const struct link_hello *hello)
{
    if (hello->kind == LINK_HELLO_TENANT) {
        process->tenant = tenant_create();
        return;
    }
    for (unsigned i = 0; i < PROCESSES_MAX; i++) {
        struct process *parent = processes[i];
        if (parent == NULL || parent->tenant == NULL || parent->id != hello->parent_process ||
            memcmp(parent->tenant->token, hello->tenant_token, sizeof(hello->tenant_token)) != 0)
            continue;
        process->tenant = parent->tenant;
        struct end *end;
        LIST_FOREACH(end, &all_ends, link)
        {
            if (end->tenant == parent->tenant && end->held[i])
                end->held[process->id] = true;
        }
    }
}

static bool greet(struct process *process)
{
    struct link_hello hello;
    struct link_hello_reply answer = {.magic = LINK_MAGIC, .abi_version = LINK_ABI_VERSION};
    unsigned count;
    if (link_control_receive(process->control_fd, &hello, sizeof(hello), NULL, 0, &count, 1000) < 0)
        return false;
    join(process, &hello);
    if (process->tenant == NULL)
        return false;
    struct tenant *tenant = process->tenant;
    memcpy(answer.tenant_token, tenant->token, sizeof(answer.tenant_token));
    answer.process_id = process->id;
    answer.engine_cores = 1;
    answer.arena_bytes = tenant->layout.arena_bytes;
    answer.window_bytes = tenant->layout.window_bytes;
    answer.receive_region_offset = tenant->layout.receive_region;
    answer.receive_region_bytes = REGION_BYTES;
    answer.host_region_offset = tenant->layout.host_region;
    answer.host_region_bytes = REGION_BYTES;
    answer.slots = SLOTS;
    answer.host_slots = HOST_SLOTS;
    answer.send_buffer_initial = SEND_BUFFER;
    answer.fast_open = 1;
    add_address(&answer, (const uint8_t[]){10, 99, 0, 1}, NULL);
    add_address(&answer, NULL, (const uint8_t[16]){0xfd, 0x99, [15] = 1});
    int descriptors[] = {tenant->arena_fd, tenant->window_fd, tenant->doorbell_fd};
    return link_control_send(process->control_fd, &answer, sizeof(answer), descriptors, 3, 1000) ==
           0;
}

static bool make_channel(struct process *process)
{
    struct link_request request;
    struct link_channel_reply answer = {.magic = LINK_MAGIC, .ring_slots = RING_SLOTS};
    struct tenant *tenant = process->tenant;
    unsigned count;
    if (link_control_receive(process->control_fd, &request, sizeof(request), NULL, 0, &count,
                             1000) < 0)
        return false;
    link_layout_place_channel(&tenant->layout, tenant->channels++, &answer);
    process->doorbell_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    link_consumer_init(&process->to_engine,
                       (void *)(tenant->window + answer.core[0].to_engine_ring),
                       (void *)(tenant->arena + answer.core[0].to_engine_feedback), RING_SLOTS);
    link_producer_init(&process->to_host, (void *)(tenant->arena + answer.core[0].to_host_ring),
                       (void *)(tenant->window + answer.core[0].to_host_feedback), RING_SLOTS);
    process->has_channel = true;
    return link_control_send(process->control_fd, &answer, sizeof(answer), &process->doorbell_fd, 1,
                             1000) == 0;
}

/* What a newcomer by fork must know: all that is unread, and how the streams stand. */
static void tell_everything(struct process *process)
{
    struct end *end;
    LIST_FOREACH(end, &all_ends, link)
    {
        if (end->tenant != process->tenant || !end->held[process->id] || end->kind != CONNECTION)
            continue;
        struct piece *piece;
        STAILQ_FOREACH(piece, &end->incoming, link)
        {
            struct link_descriptor data = {.type = LINK_EVENT_DATA,
                                           .socket = end->name,
                                           .data = {.stream_offset = piece->stream_offset,
                                                    .arena_offset = piece->arena_offset,
                                                    .length = piece->length}};
            tell_process(process, &data);
        }
    }
}

static bool take_operations(unsigned index)
{
    struct link_descriptor operation;
    bool any = false;
    while (link_consumer_pop(&processes[index]->to_engine, &operation)) {
        apply(index, &operation);
        any = true;
    }
    link_consumer_report(&processes[index]->to_engine);
    return any;
}

static void process_died(unsigned index)
{
    struct process *process = processes[index];
    if (process->has_channel)
        (void)take_operations(index); /* what it said last still counts */
    struct event *event;
    struct end *end, *next;
    processes[index] = NULL;
    for (end = LIST_FIRST(&all_ends); end != NULL; end = next) {
        next = LIST_NEXT(end, link);
        /* Ends still unaccepted go with their listener: start over, since the list changes. */
        if (end->held[index] && end->tenant == process->tenant) {
            let_go(index, end, false);
            next = LIST_FIRST(&all_ends);
        }
    }
    while ((event = STAILQ_FIRST(&process->events)) != NULL) {
        STAILQ_REMOVE_HEAD(&process->events, link);
        free(event);
    }
    close(process->control_fd);
    if (process->has_channel)
        close(process->doorbell_fd);
    free(process);
}

static void welcome(int fd)
{
    unsigned index = 0;
    if (fd < 0)
        return;
    while (index < PROCESSES_MAX && processes[index] != NULL)
        index++;
    struct process *process = calloc(1, sizeof(*process));
    if (index == PROCESSES_MAX || process == NULL)
        abort();
    process->control_fd = fd;
    process->id = index;
    STAILQ_INIT(&process->events);
    processes[index] = process;
    if (!greet(process))
        process_died(index);
}

static void hear(unsigned index)
{
    struct process *process = processes[index];
    struct link_request request;
    int handed = -1;
    unsigned count = 0;
    if (process->has_channel && link_control_receive(process->control_fd, &request, sizeof(request),
                                                     &handed, 1, &count, 1000) == 0) {
        if (request.type == LINK_REQUEST_PROCESS)
            return; /* a child says that it is the one: nobody asks us who is who */
        if (request.type == LINK_REQUEST_CONNECT && count == 1) {
            welcome(handed);
            return;
        }
    }
    if (process->has_channel || !make_channel(process))
        process_died(index);
    else
        tell_everything(process);
}

/* ---- The loop ------------------------------------------------------------------------------ */

static bool work(void)
{
    bool any = false;
    for (unsigned i = 0; i < PROCESSES_MAX; i++) {
        if (processes[i] != NULL && processes[i]->has_channel)
            any = take_operations(i) || any;
    }
    struct end *end, *next;
    for (end = LIST_FIRST(&all_ends); end != NULL; end = next) {
        next = LIST_NEXT(end, link);
        any = run_end(end) || any;
    }
    for (unsigned i = 0; i < PROCESSES_MAX; i++) {
        if (processes[i] != NULL)
            flush(processes[i]);
    }
    return any;
}

static void arm_all(bool on)
{
    for (unsigned i = 0; i < PROCESSES_MAX; i++) {
        if (processes[i] == NULL)
            continue;
        _Atomic uint32_t *armed = &processes[i]->tenant->header->engine[0].armed;
        if (on)
            link_arm_for_room(armed);
        else
            link_disarm(armed);
    }
}

static bool something_waits(void)
{
    for (unsigned i = 0; i < PROCESSES_MAX; i++) {
        struct process *process = processes[i];
        if (process == NULL || !process->has_channel)
            continue;
        if (!link_consumer_empty(&process->to_engine) ||
            (!STAILQ_EMPTY(&process->events) && link_producer_room(&process->to_host, 1) > 0))
            return true;
    }
    return false;
}

static void sleep_until_news(void)
{
    struct pollfd fds[POLLFDS_MAX] = {{.fd = listener.fd, .events = POLLIN}};
    unsigned owners[POLLFDS_MAX];
    nfds_t count = 1;
    for (unsigned i = 0; i < PROCESSES_MAX; i++) {
        if (processes[i] == NULL)
            continue;
        owners[count] = i;
        fds[count++] = (struct pollfd){.fd = processes[i]->control_fd, .events = POLLIN};
        owners[count] = PROCESSES_MAX;
        fds[count++] = (struct pollfd){.fd = processes[i]->tenant->doorbell_fd, .events = POLLIN};
    }
    arm_all(true);
    (void)poll(fds, count, something_waits() ? 0 : 1000);
    arm_all(false);
    for (nfds_t i = 1; i < count; i++) {
        eventfd_t rings;
        if (fds[i].revents == 0)
            continue;
        if (owners[i] == PROCESSES_MAX)
            (void)eventfd_read(fds[i].fd, &rings);
        else
            hear(owners[i]);
    }
    if (fds[0].revents != 0)
        welcome(accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC));
}

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s SOCKET_PATH\n", argv[0]);
        return 2;
    }
    int error = link_control_bind(&listener, argv[1], 0666);
    if (error == 0)
        error = link_control_listen(&listener);
    if (error < 0) {
        (void)fprintf(stderr, "%s: %s: %s\n", argv[0], argv[1], strerror(-error));
        return 1;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    while (!stopped) {
        if (!work() && !answer_fences())
            sleep_until_news();
    }
    link_control_unlisten(&listener);
    return 0;
}
