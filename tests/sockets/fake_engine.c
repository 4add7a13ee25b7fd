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
#include "fake_engine.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define POLLFDS_MAX (2 * PROCESSES_MAX + 2)

static struct link_control_listener listener;
static volatile sig_atomic_t stopped;

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
    if (link_control_receive(process->control_fd, &hello, sizeof(hello), NULL, 0, &count, NULL,
                             1000) < 0)
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
    if (link_control_receive(process->control_fd, &request, sizeof(request), NULL, 0, &count, NULL,
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
            let_go(index, end, note_death(end));
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
                                                     &handed, 1, &count, NULL, 1000) == 0) {
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
