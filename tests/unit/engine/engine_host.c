#include "engine/dpdk.h"

#include "engine_host.h"

#include <arpa/inet.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>

#include "base/time_units.h"
#include "engine/eal.h"
#include "engine/ports/port.h"
#include "hostlink/cmocka_all.h"

#define PATIENCE_NS   (10 * NS_PER_S)
#define TURNED_FRAMES 127

static struct engine engine;
static uint32_t last_id;

static void require(int result, const char *problem)
{
    if (result == 0)
        return;
    (void)fprintf(stderr, "engine: %s\n", problem);
    abort();
}

static unsigned first_allowed_cpu(void)
{
    cpu_set_t allowed;
    require(sched_getaffinity(0, sizeof(allowed), &allowed), "affinity");
    unsigned cpu = 0;
    while (!CPU_ISSET(cpu, &allowed))
        cpu++;
    return cpu;
}

struct ip_address engine_host_address(void)
{
    static const uint8_t bytes[4] = {10, 77, 0, 1};
    return ip_address_from_v4(bytes);
}

struct engine *engine_host_start(unsigned core_count)
{
    char problem[512] = "";
    struct engine_options *options = &engine.options;
    engine_options_init(options);
    (void)snprintf(options->port, sizeof(options->port), "net_null0,no-rx=1");
    options->address_count = 1;
    options->addresses[0] = (struct stack_prefix){engine_host_address(), 120};
    options->core_count = core_count;
    for (unsigned i = 0; i < core_count; i++)
        options->cpus[i] = first_allowed_cpu();
    options->arena_mib = 64;
    options->connections_max = 1024;
    engine.core_count = core_count;
    engine.dma = &dma_backend_memcpy;
    engine.control_event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    require(getrandom(engine.secret, sizeof(engine.secret), 0) < 0, "random numbers");
    require(eal_start(options, problem, sizeof(problem)), problem);
    require(
        port_open(&engine.port, options->port, core_count, options->mtu, problem, sizeof(problem)),
        problem);
    engine.turned_frames = rte_mempool_create("turned", TURNED_FRAMES, sizeof(struct turned_frame),
                                              0, 0, NULL, NULL, NULL, NULL, SOCKET_ID_ANY, 0);
    require(engine.turned_frames == NULL, "no memory");
    for (unsigned i = 0; i < core_count; i++)
        require(engine_core_create(&engine, i, &engine.cores[i], problem, sizeof(problem)),
                problem);
    for (unsigned i = 0; i < core_count; i++)
        require(rte_eal_remote_launch(engine_core_run, engine.cores[i], eal_core_lcore(i)),
                "thread");
    return &engine;
}

void engine_host_stop(void)
{
    atomic_store(&engine.stopping, true);
    for (unsigned i = 0; i < engine.core_count; i++)
        wakeup_ring(&engine.cores[i]->wakeup);
    for (unsigned i = 0; i < engine.core_count; i++)
        (void)rte_eal_wait_lcore(eal_core_lcore(i));
    for (unsigned i = 0; i < engine.core_count; i++)
        engine_core_destroy(engine.cores[i]);
    port_close(engine.port);
    eal_stop();
}

static void join(struct host *host, struct process *parent)
{
    struct link_channel_reply place = {0};
    assert_int_equal(process_create(host->tenant, parent, ++last_id, 1, "test", &host->process), 0);
    assert_int_equal(channel_create(host->process, &host->channel, &place), 0);
    uint8_t *arena = host->tenant->arena.base;
    uint8_t *window = host->tenant->window;
    for (unsigned i = 0; i < engine.core_count; i++)
        link_producer_init(&host->to_engine[i], (void *)(window + place.core[i].to_engine_ring),
                           (void *)(arena + place.core[i].to_engine_feedback), place.ring_slots);
    link_consumer_init(&host->to_host, (void *)(arena + place.core[0].to_host_ring),
                       (void *)(window + place.core[0].to_host_feedback), place.ring_slots);
}

void host_open(struct host *host)
{
    memset((void *)host, 0, sizeof(*host));
    assert_int_equal(tenant_create(&engine, ++last_id, &host->tenant), 0);
    join(host, NULL);
}

void host_fork(struct host *host, const struct host *parent)
{
    memset((void *)host, 0, sizeof(*host));
    host->tenant = parent->tenant;
    join(host, parent->process);
}

void host_kill(struct host *host)
{
    process_destroy(host->process);
    host->process = NULL;
}

void host_take_down(struct tenant *tenant)
{
    uint64_t deadline_ns = engine_now_ns() + PATIENCE_NS;
    while (atomic_load(&tenant->sockets_live) != 0) {
        assert_true(engine_now_ns() < deadline_ns);
        (void)sched_yield();
    }
    assert_int_equal(tenant->cores[0].receive_pool.statistics.bytes_in_use, 0);
    tenant_destroy(tenant);
}

bool host_try_push_to(struct host *host, unsigned core, struct link_descriptor *descriptor)
{
    struct link_arena_header *header = (struct link_arena_header *)(void *)host->tenant->arena.base;
    if (!link_producer_push(&host->to_engine[core], descriptor))
        return false;
    if (link_take_armed(&header->engine[core].armed))
        assert_int_equal(eventfd_write(host->tenant->doorbells[core], 1), 0);
    return true;
}

void host_push(struct host *host, struct link_descriptor *descriptor)
{
    uint64_t deadline_ns = engine_now_ns() + PATIENCE_NS;
    while (!host_try_push_to(host, 0, descriptor)) {
        assert_true(engine_now_ns() < deadline_ns);
        (void)sched_yield();
    }
}

void host_drain(struct host *host)
{
    while (host->event_count < HOST_EVENTS_KEPT &&
           link_consumer_pop(&host->to_host, &host->events[host->event_count]))
        host->event_count++;
    link_consumer_report(&host->to_host);
}

struct link_descriptor host_expect(struct host *host, enum link_event type, uint32_t slot)
{
    uint64_t deadline_ns = engine_now_ns() + PATIENCE_NS;
    for (;;) {
        while (host->events_seen < host->event_count) {
            struct link_descriptor *event = &host->events[host->events_seen++];
            if (event->type == type && event->socket.slot == slot)
                return *event;
        }
        if (engine_now_ns() > deadline_ns)
            fail_msg("event %d for slot %u did not come", (int)type, slot);
        (void)sched_yield();
        host_drain(host);
    }
}

void host_expect_none(struct host *host, enum link_event type, uint32_t slot)
{
    host_drain(host);
    for (unsigned i = host->events_seen; i < host->event_count; i++)
        assert_false(host->events[i].type == type && host->events[i].socket.slot == slot);
}

struct link_descriptor host_call(struct host *host, struct link_descriptor *request)
{
    request->request_id = ++host->next_request_id;
    host_push(host, request);
    struct link_descriptor answer = host_expect(host, LINK_EVENT_REPLY, request->socket.slot);
    assert_int_equal(answer.request_id, request->request_id);
    return answer;
}

uint16_t host_listen(struct host *host, uint32_t slot)
{
    struct link_descriptor bind = {.type = LINK_OP_BIND, .socket = host_name(slot)};
    bind.endpoints.local = engine_host_address();
    struct link_descriptor bound = host_call(host, &bind);
    assert_int_equal(bound.error, 0);
    struct link_descriptor listening = {.type = LINK_OP_LISTEN, .socket = host_name(slot)};
    listening.option.value = 64;
    assert_int_equal(host_call(host, &listening).error, 0);
    return bound.endpoints.local_port;
}

struct link_descriptor host_connect(struct host *host, uint32_t slot, uint16_t port)
{
    struct link_descriptor connect = {.type = LINK_OP_CONNECT, .socket = host_name(slot)};
    connect.endpoints.remote = engine_host_address();
    connect.endpoints.remote_port = port;
    return host_call(host, &connect);
}

struct link_socket_name host_accept(struct host *host, uint32_t listener_slot)
{
    struct link_descriptor event = host_expect(host, LINK_EVENT_ACCEPT, listener_slot);
    struct link_descriptor accepted = {
        .type = LINK_OP_ACCEPTED,
        .socket = {event.endpoints.accept_slot, event.accept_incarnation},
    };
    accepted.option.value = listener_slot;
    host_push(host, &accepted);
    return accepted.socket;
}

void host_send(struct host *host, struct link_socket_name name, uint64_t stream_offset,
               uint64_t place, const void *bytes, uint32_t length)
{
    uint64_t arena_offset = host->tenant->layout.host_region + place;
    memcpy(host->tenant->arena.base + arena_offset, bytes, length);
    struct link_descriptor send = {
        .type = LINK_OP_SEND,
        .socket = name,
        .data = {.stream_offset = stream_offset, .arena_offset = arena_offset, .length = length},
    };
    host_push(host, &send);
}

void host_close(struct host *host, struct link_socket_name name, uint64_t read_offset,
                uint8_t flags)
{
    struct link_descriptor close = {
        .type = LINK_OP_CLOSE,
        .flags = flags,
        .socket = name,
        .data = {.stream_offset = read_offset},
    };
    host_push(host, &close);
}

const uint8_t *host_bytes(const struct host *host, const struct link_descriptor *event)
{
    return host->tenant->arena.base + event->data.arena_offset;
}
