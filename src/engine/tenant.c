#include "engine/tenant.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "engine/engine_core.h"
#include "engine/pipeline/host_operations.h"
#include "engine/pipeline/notify.h"
#include "engine/socket.h"

/** One tenant may have this part of a core's send extents, and of its other pools. */
#define TENANT_EXTENTS_SHARE 4
#define TENANT_POOLS_SHARE   2
/** Sockets, in quarters of a core's connections. */
#define TENANT_CONNECTIONS_4 3

/** Enough for the largest window there is by default, twice. */
#define RECEIVE_RESERVE_MAX (UINT64_C(16) << 20)

/* ---- A core's part ------------------------------------------------------------------------- */

static size_t slots_bytes(const struct tenant *tenant)
{
    return (size_t)tenant->slots * sizeof(struct slot_entry);
}

static struct object_share share_of(struct object_pool *pool)
{
    return (struct object_share){.pool = pool, .limit = pool->capacity / TENANT_POOLS_SHARE};
}

/** What does not need the core's thread: memory. */
static int prepare_core(struct tenant *tenant, unsigned index)
{
    struct tenant_core *part = &tenant->cores[index];
    uint32_t cores = tenant->engine->core_count;
    uint32_t accepted_slots = tenant->slots - TENANT_HOST_SLOTS;
    part->tenant = tenant;
    part->core = tenant->engine->cores[index];
    part->slot_first = TENANT_HOST_SLOTS + accepted_slots / cores * index;
    part->slot_end = part->slot_first + accepted_slots / cores;
    part->slot_unused = part->slot_first;
    part->tx_memory = (struct tx_memory){
        .extents = &part->core->tx_extents,
        .limit = part->core->tx_extents.capacity / TENANT_EXTENTS_SHARE,
    };
    part->sockets_share = share_of(&part->core->sockets);
    part->sockets_share.limit = tenant->engine->options.connections_max / 4 * TENANT_CONNECTIONS_4;
    part->holders = share_of(&part->core->holders);
    part->rx_chunks = share_of(&part->core->rx_chunks);
    part->listener_limit = ENGINE_CORE_LISTENERS_MAX / TENANT_POOLS_SHARE;
    void *slots = mmap(NULL, slots_bytes(tenant), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (slots == MAP_FAILED)
        return -ENOMEM;
    part->slots = slots;
    uint64_t share =
        tenant->layout.sizes.receive_region_bytes / cores / CHUNK_BYTES_MAX * CHUNK_BYTES_MAX;
    int result =
        chunk_pool_init(&part->receive_pool, tenant->layout.receive_region + share * index, share);
    if (result != 0)
        return result;
    /* A segment may land anywhere in its window, so we take none when a whole window with the
       rounding of its chunks could not be placed. */
    part->receive_reserve_bytes = share / 4 < RECEIVE_RESERVE_MAX ? share / 4 : RECEIVE_RESERVE_MAX;
    return 0;
}

static void attach(struct engine_core *core, void *context)
{
    struct tenant *tenant = context;
    struct tenant_core *part = &tenant->cores[core->index];
    LIST_INSERT_HEAD(&core->tenants, part, link);
    part->attached = true;
}

static void detach(struct engine_core *core, void *context)
{
    struct tenant *tenant = context;
    struct tenant_core *part = &tenant->cores[core->index];
    PNO_ASSERT(part->sockets_share.in_use == 0);
    LIST_REMOVE(part, link);
    part->attached = false;
}

/* ---- Tenants ------------------------------------------------------------------------------- */

static int make_memory(struct tenant *tenant)
{
    const struct engine *engine = tenant->engine;
    uint64_t region_bytes = ((uint64_t)engine->options.arena_mib << 20) / 2;
    struct link_layout_sizes sizes = {
        .engine_cores = engine->core_count,
        .channels = LINK_TENANT_CHANNELS_MAX,
        .ring_slots = TENANT_RING_SLOTS,
        .receive_region_bytes = region_bytes,
        .host_region_bytes = region_bytes,
    };
    int result = link_layout_compute(&tenant->layout, &sizes);
    if (result != 0)
        return result;
    tenant->arena_fd = link_region_create("pno-arena", tenant->layout.arena_bytes);
    if (tenant->arena_fd < 0)
        return tenant->arena_fd;
    tenant->window_fd = link_region_create("pno-window", tenant->layout.window_bytes);
    if (tenant->window_fd < 0)
        return tenant->window_fd;
    result = link_region_map(tenant->arena_fd, tenant->layout.arena_bytes, &tenant->arena.base);
    if (result != 0)
        return result;
    tenant->arena.bytes = tenant->layout.arena_bytes;
    result = link_region_map(tenant->window_fd, tenant->layout.window_bytes, &tenant->window);
    if (result != 0)
        return result;
    struct link_arena_header *header = (struct link_arena_header *)(void *)tenant->arena.base;
    header->abi_version = LINK_ABI_VERSION;
    header->engine_cores = engine->core_count;
    header->policy_count = engine->options.policy_count;
    memcpy(header->policy, engine->options.policy,
           engine->options.policy_count * sizeof(header->policy[0]));
    return 0;
}

static int make_doorbells(struct tenant *tenant)
{
    for (unsigned i = 0; i < tenant->engine->core_count; i++) {
        tenant->doorbells[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (tenant->doorbells[i] < 0)
            return -errno;
        int result = wakeup_watch_doorbell(tenant->engine->cores[i], tenant->doorbells[i]);
        if (result != 0)
            return result;
    }
    return 0;
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}

static void free_memory(struct tenant *tenant)
{
    for (unsigned i = 0; i < tenant->engine->core_count; i++) {
        struct tenant_core *part = &tenant->cores[i];
        if (part->slots != NULL)
            (void)munmap(part->slots, slots_bytes(tenant));
        chunk_pool_destroy(&part->receive_pool);
        close_if_open(tenant->doorbells[i]);
    }
    if (tenant->arena.base != NULL)
        link_region_unmap(tenant->arena.base, tenant->layout.arena_bytes);
    if (tenant->window != NULL)
        link_region_unmap(tenant->window, tenant->layout.window_bytes);
    close_if_open(tenant->arena_fd);
    close_if_open(tenant->window_fd);
    free(tenant);
}

int tenant_create(struct engine *engine, uint32_t id, struct tenant **out)
{
    struct tenant *tenant = calloc(1, sizeof(*tenant));
    if (tenant == NULL)
        return -ENOMEM;
    tenant->engine = engine;
    tenant->id = id;
    tenant->slots = TENANT_HOST_SLOTS + engine->options.connections_max * engine->core_count;
    tenant->arena_fd = tenant->window_fd = -1;
    for (unsigned i = 0; i < LINK_CORES_MAX; i++)
        tenant->doorbells[i] = -1;
    int result = 0;
    if (getrandom(tenant->token, sizeof(tenant->token), 0) != (ssize_t)sizeof(tenant->token))
        result = -EIO;
    if (result == 0)
        result = make_memory(tenant);
    for (unsigned i = 0; i < engine->core_count && result == 0; i++)
        result = prepare_core(tenant, i);
    if (result == 0)
        result = make_doorbells(tenant);
    if (result != 0) {
        free_memory(tenant);
        return result;
    }
    for (unsigned i = 0; i < engine->core_count; i++)
        engine_core_call(engine->cores[i], attach, tenant);
    *out = tenant;
    return 0;
}

void tenant_destroy(struct tenant *tenant)
{
    PNO_ASSERT(LIST_EMPTY(&tenant->processes));
    for (unsigned i = 0; i < tenant->engine->core_count; i++)
        engine_core_call(tenant->engine->cores[i], detach, tenant);
    free_memory(tenant);
}

/* ---- Processes ------------------------------------------------------------------------------ */

struct adoption {
    struct process *parent, *child;
};

static void attach_process(struct engine_core *core, void *context)
{
    struct adoption *adoption = context;
    struct process_core *part = &adoption->child->cores[core->index];
    LIST_INSERT_HEAD(&adoption->child->tenant->cores[core->index].processes, part, link);
    if (adoption->parent == NULL)
        return;
    struct process_core *parent = &adoption->parent->cores[core->index];
    host_operations_drain(core, parent);
    socket_copy_holders(parent, part);
}

int process_create(struct tenant *tenant, struct process *parent, uint32_t id, pid_t pid,
                   const char *program, struct process **out)
{
    if (tenant->process_count == TENANT_PROCESSES_MAX)
        return -EUSERS;
    struct process *process = calloc(1, sizeof(*process));
    if (process == NULL)
        return -ENOMEM;
    process->tenant = tenant;
    process->id = id;
    process->pid = pid;
    (void)snprintf(process->program, sizeof(process->program), "%s", program);
    for (unsigned i = 0; i < tenant->engine->core_count; i++)
        process->cores[i].process = process;
    LIST_INSERT_HEAD(&tenant->processes, process, link);
    tenant->process_count++;
    struct adoption adoption = {.parent = parent, .child = process};
    for (unsigned i = 0; i < tenant->engine->core_count; i++)
        engine_core_call(tenant->engine->cores[i], attach_process, &adoption);
    *out = process;
    return 0;
}

struct passage {
    struct process *from, *to;
    struct link_socket_name name;
    bool held;
};

static void pass_socket(struct engine_core *core, void *context)
{
    struct passage *passage = context;
    struct process_core *sender = &passage->from->cores[core->index];
    struct process_core *ticket = &passage->to->cores[core->index];
    host_operations_drain(core, sender);
    struct tenant_core *tenant = &passage->from->tenant->cores[core->index];
    struct engine_socket *socket = tenant_find_socket(tenant, passage->name);
    if (socket == NULL || socket_find_holder(socket, sender) == NULL ||
        socket_hold(socket, ticket, NULL) == NULL)
        return;
    passage->held = true;
    struct engine_socket *announced;
    if (socket_listener(socket) == NULL)
        return;
    TAILQ_FOREACH(announced, &socket->extra->setup->unaccepted, extra->link)
    (void)socket_hold(announced, ticket, NULL);
}

int process_pass(struct process *sender, struct process *ticket, struct link_socket_name name)
{
    struct passage passage = {.from = sender, .to = ticket, .name = name};
    for (unsigned i = 0; i < sender->tenant->engine->core_count; i++)
        engine_core_call(sender->tenant->engine->cores[i], pass_socket, &passage);
    return passage.held ? 0 : -ENOENT;
}

static void share_sockets(struct engine_core *core, void *context)
{
    struct passage *passage = context;
    host_operations_drain(core, &passage->to->cores[core->index]);
    socket_copy_holders(&passage->from->cores[core->index], &passage->to->cores[core->index]);
    (void)notify_flush(core);
}

void process_share(struct process *ticket, struct process *process)
{
    struct passage passage = {.from = ticket, .to = process};
    for (unsigned i = 0; i < ticket->tenant->engine->core_count; i++)
        engine_core_call(ticket->tenant->engine->cores[i], share_sockets, &passage);
}

static void detach_process(struct engine_core *core, void *context)
{
    struct process *process = context;
    struct process_core *part = &process->cores[core->index];
    host_operations_drain(core, part);
    LIST_REMOVE(part, link);
    socket_let_go_all(core, part);
    engine_core_settle(core);
}

static void channel_free(struct channel *channel)
{
    struct tenant *tenant = channel->process->tenant;
    link_layout_clear_channel(&tenant->layout, channel->block, tenant->arena.base, tenant->window);
    tenant->channels_in_use[channel->block] = 0;
    LIST_REMOVE(channel, link);
    close_if_open(channel->doorbell_fd);
    free(channel);
}

void process_destroy(struct process *process)
{
    struct tenant *tenant = process->tenant;
    for (unsigned i = 0; i < tenant->engine->core_count; i++)
        engine_core_call(tenant->engine->cores[i], detach_process, process);
    while (!LIST_EMPTY(&process->channels))
        channel_free(LIST_FIRST(&process->channels));
    LIST_REMOVE(process, link);
    tenant->process_count--;
    free(process);
}

/* ---- Channels ------------------------------------------------------------------------------- */

static void attach_channel(struct engine_core *core, void *context)
{
    struct channel *channel = context;
    struct channel_core *part = &channel->cores[core->index];
    TAILQ_INSERT_TAIL(&core->channels, part, link);
    struct process_core *process = part->process;
    process->channels[channel->number] = part;
    if (process->channel != NULL)
        return;
    process->channel = part;
    struct socket_holder *holder;
    LIST_FOREACH(holder, &process->holders, process_link)
    {
        if (holder->channel == 0)
            notify_move(holder, part);
    }
    (void)notify_flush(core);
}

static void prepare_channel_core(struct channel *channel, unsigned index,
                                 const struct link_channel_reply *place)
{
    struct channel_core *part = &channel->cores[index];
    struct tenant *tenant = channel->process->tenant;
    uint8_t *arena = tenant->arena.base;
    uint8_t *window = tenant->window;
    part->channel = channel;
    part->process = &channel->process->cores[index];
    part->tenant = &tenant->cores[index];
    TAILQ_INIT(&part->pending);
    TAILQ_INIT(&part->lazy);
    link_consumer_init(&part->to_engine, (void *)(window + place->core[index].to_engine_ring),
                       (void *)(arena + place->core[index].to_engine_feedback), place->ring_slots);
    link_producer_init(&part->to_host, (void *)(arena + place->core[index].to_host_ring),
                       (void *)(window + place->core[index].to_host_feedback), place->ring_slots);
}

int channel_create(struct process *process, struct channel **out, struct link_channel_reply *reply)
{
    struct tenant *tenant = process->tenant;
    if (process->channel_count == LINK_CHANNELS_MAX)
        return -EUSERS;
    uint32_t block = 0;
    while (block < LINK_TENANT_CHANNELS_MAX && tenant->channels_in_use[block] != 0)
        block++;
    if (block == LINK_TENANT_CHANNELS_MAX)
        return -EUSERS;
    struct channel *channel = calloc(1, sizeof(*channel));
    if (channel == NULL)
        return -ENOMEM;
    channel->process = process;
    channel->block = block;
    channel->number = (uint8_t)(process->channel_count + 1);
    channel->doorbell_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (channel->doorbell_fd < 0) {
        int error = errno;
        free(channel);
        return -error;
    }
    tenant->channels_in_use[block] = 1;
    process->channel_count++;
    LIST_INSERT_HEAD(&process->channels, channel, link);
    link_layout_place_channel(&tenant->layout, block, reply);
    for (unsigned i = 0; i < tenant->engine->core_count; i++) {
        prepare_channel_core(channel, i, reply);
        engine_core_call(tenant->engine->cores[i], attach_channel, channel);
    }
    *out = channel;
    return 0;
}

/* ---- Slots ---------------------------------------------------------------------------------- */

struct engine_socket *tenant_find_socket(const struct tenant_core *tenant,
                                         struct link_socket_name name)
{
    if (name.slot >= tenant->tenant->slots)
        return NULL;
    struct engine_socket *socket = slot_socket(&tenant->slots[name.slot]);
    return socket != NULL && socket->name.incarnation == name.incarnation ? socket : NULL;
}

bool tenant_take_slot(struct tenant_core *tenant, struct link_socket_name *name)
{
    if (tenant->slot_free != 0) {
        name->slot = tenant->slot_free - 1;
        tenant->slot_free = (uint32_t)tenant->slots[name->slot].word >> 1;
    } else if (tenant->slot_unused < tenant->slot_end) {
        name->slot = tenant->slot_unused++;
    } else {
        return false;
    }
    name->incarnation = slot_last_incarnation(&tenant->slots[name->slot]) + 1;
    return true;
}

void tenant_free_slot(struct tenant_core *tenant, uint32_t slot)
{
    struct slot_entry *entry = &tenant->slots[slot];
    const struct engine_socket *socket = slot_socket(entry);
    uint64_t incarnation = socket != NULL ? socket->name.incarnation : slot_last_incarnation(entry);
    entry->word = incarnation << 32 | 1;
    if (slot < TENANT_HOST_SLOTS)
        return;
    entry->word |= (uint64_t)tenant->slot_free << 1;
    tenant->slot_free = slot + 1;
}

void tenant_count_garbage(struct tenant_core *tenant)
{
    struct engine_core *core = tenant->core;
    core->counters.garbage_descriptors++;
    if (++tenant->garbage_descriptors != TENANT_GARBAGE_MAX)
        return;
    atomic_store_explicit(&tenant->tenant->hopeless, true, memory_order_release);
    (void)eventfd_write(core->engine->control_event_fd, 1);
}
