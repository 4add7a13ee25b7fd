/*
 * libFuzzer target: what a hostile application can write into the link, against a whole engine core
 * (its pipeline, its sockets, its stack) with nobody on the wire.
 *
 * An input is a list of operations of one hostile tenant: descriptors that almost make sense, raw
 * bytes in rings and feedback, forks and deaths, and time. The tenant can connect to itself, so all
 * states of a socket are within reach. Beside it lives an honest tenant, whose bytes must keep
 * coming. At the end everything the hostile one had must be given back, and the stack be sound.
 */
#include "engine/dpdk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "engine/eal.h"
#include "engine/engine_core.h"
#include "engine/pipeline/host_operations.h"
#include "engine/ports/port.h"
#include "fuzz/link/clock.h"
#include "fuzz/link/fuzz_host.h"
#include "fuzz/link/witness.h"

#define OPERATIONS_MAX  400
#define SLOTS           4 /**< host slots that operations mostly name */
#define TURNED_FRAMES   64
#define CONNECTIONS_MAX 64
#define ARENA_MIB       16

/** After the hostile tenant's death, its last connection must end within this. */
#define AFTERLIFE_STEP_NS (500 * NS_PER_MS)
#define AFTERLIFE_STEPS   4000

struct fuzz {
    const uint8_t *input;
    size_t left;
    struct engine_core *core;
    struct fuzz_host host;
    struct link_socket_name accepted[SLOTS]; /**< the last that were announced */
    uint64_t told_end[2 * SLOTS];            /**< of the stream, per slot as named here */
};

static struct engine engine;

/* ---- The world of the engine ------------------------------------------------------------------
 */

static uint64_t clock_ns = NS_PER_S;

void fuzz_clock_advance(uint64_t ns)
{
    clock_ns += ns;
}

/* Linked in place of the functions they name, so that nothing depends on the time or on chance. */
int __wrap_clock_gettime(clockid_t id, struct timespec *now);
ssize_t __wrap_getrandom(void *buffer, size_t bytes, unsigned flags);
void __wrap_engine_core_call(struct engine_core *core,
                             void (*function)(struct engine_core *core, void *context),
                             void *context);

int __wrap_clock_gettime(clockid_t id, struct timespec *now)
{
    (void)id;
    now->tv_sec = (time_t)(clock_ns / NS_PER_S);
    now->tv_nsec = (long)(clock_ns % NS_PER_S);
    return 0;
}

ssize_t __wrap_getrandom(void *buffer, size_t bytes, unsigned flags)
{
    (void)flags;
    memset(buffer, 0x5a, bytes);
    return (ssize_t)bytes;
}

/** The one thread is the control thread and the core's. */
void __wrap_engine_core_call(struct engine_core *core,
                             void (*function)(struct engine_core *core, void *context),
                             void *context)
{
    function(core, context);
}

static void require(bool condition, const char *what)
{
    if (condition)
        return;
    (void)fprintf(stderr, "link-descriptors: %s\n", what);
    abort();
}

static struct ip_address address_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    const uint8_t bytes[4] = {a, b, c, d};
    return ip_address_from_v4(bytes);
}

static struct ip_address address_v6(uint8_t last)
{
    const uint8_t bytes[16] = {0xfd, 0x77, [15] = last};
    return ip_address_from_v6(bytes);
}

/** Short inputs get nowhere here: a default, before what the command line says. */
static void prefer_long_inputs(int *argc, char ***argv)
{
    static char no_length_control[] = "-len_control=0";
    char **arguments = calloc((size_t)*argc + 2, sizeof(*arguments));
    require(arguments != NULL, "out of memory");
    arguments[0] = (*argv)[0];
    arguments[1] = no_length_control;
    memcpy(&arguments[2], &(*argv)[1], (size_t)(*argc - 1) * sizeof(*arguments));
    *argv = arguments;
    (*argc)++;
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    prefer_long_inputs(argc, argv);
    char problem[256] = "";
    struct engine_options *options = &engine.options;
    engine_options_init(options);
    (void)snprintf(options->port, sizeof(options->port), "net_null0,no-rx=1");
    options->core_count = 1;
    options->address_count = 2;
    options->addresses[0] = (struct stack_prefix){address_v4(10, 77, 0, 1), 120};
    options->addresses[1] = (struct stack_prefix){address_v6(1), 64};
    options->arena_mib = ARENA_MIB;
    options->connections_max = CONNECTIONS_MAX;
    require(eal_start(options, problem, sizeof(problem)) == 0, problem);
    require(port_open(&engine.port, options->port, 1, options->mtu, problem, sizeof(problem)) == 0,
            problem);
    engine.dma = &dma_backend_memcpy;
    engine.core_count = 1;
    engine.control_event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    engine.turned_frames =
        rte_mempool_create("turned", TURNED_FRAMES, sizeof(struct turned_frame), 0, 0, NULL, NULL,
                           NULL, NULL, SOCKET_ID_ANY, RTE_MEMPOOL_F_SC_GET);
    require(engine.turned_frames != NULL, "no memory for frames");
    return 0;
}

/* ---- Input -------------------------------------------------------------------------------------
 */

static uint8_t take_byte(struct fuzz *fuzz)
{
    if (fuzz->left == 0)
        return 0;
    fuzz->left--;
    return *fuzz->input++;
}

static uint64_t take_number(struct fuzz *fuzz, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value = value << 8 | take_byte(fuzz);
    return value;
}

/** Near `expected` as a rule, anything at times. */
static uint64_t take_offset(struct fuzz *fuzz, uint64_t expected)
{
    uint8_t kind = take_byte(fuzz);
    if (kind < 160)
        return expected;
    if (kind < 200)
        return expected + (uint64_t)(int64_t)(int8_t)take_byte(fuzz);
    if (kind < 240)
        return expected + take_number(fuzz, 3);
    return take_number(fuzz, 8);
}

static struct fuzz_process *take_process(struct fuzz *fuzz)
{
    struct fuzz_process *process = &fuzz->host.processes[take_byte(fuzz) % FUZZ_PROCESSES_MAX];
    return process->process != NULL ? process : NULL;
}

/** A name, and in *index where its stream is kept account of. */
static struct link_socket_name take_name(struct fuzz *fuzz, unsigned *index)
{
    uint8_t which = take_byte(fuzz);
    *index = which % (2 * SLOTS);
    if (which >= 250)
        return (struct link_socket_name){(uint32_t)take_number(fuzz, 4),
                                         (uint32_t)take_number(fuzz, 4)};
    if (*index >= SLOTS)
        return fuzz->accepted[*index - SLOTS];
    return (struct link_socket_name){*index, 1u + (which >> 3) % 3};
}

static struct ip_address take_address(struct fuzz *fuzz)
{
    struct ip_address address = {0};
    switch (take_byte(fuzz) % 8) {
    case 0:
    case 1:
    case 2:
        return address_v4(10, 77, 0, 1);
    case 3:
        return address_v6(1);
    case 4:
        return address_v4(0, 0, 0, 0);
    case 5:
        return address_v4(10, 77, 0, 2);
    case 6:
        return address;
    default:
        for (unsigned i = 0; i < sizeof(address.bytes); i++)
            address.bytes[i] = take_byte(fuzz);
        return address;
    }
}

static uint16_t take_port(struct fuzz *fuzz)
{
    uint8_t which = take_byte(fuzz);
    return which < 240 ? (uint16_t)(which % 4 == 3 ? 0 : 8080 + which % 4)
                       : (uint16_t)take_number(fuzz, 2);
}

/* ---- Operations --------------------------------------------------------------------------------
 */

static void fill_data(struct fuzz *fuzz, struct link_descriptor *descriptor, unsigned index)
{
    const struct link_layout *layout = &fuzz->host.tenant->layout;
    uint64_t *end = &fuzz->told_end[index];
    descriptor->data.stream_offset = take_offset(fuzz, *end);
    descriptor->data.arena_offset = take_offset(fuzz, layout->host_region);
    descriptor->data.length = take_offset(fuzz, 1 + take_byte(fuzz) * 64u);
    descriptor->data.consumed = take_offset(fuzz, 0);
    if (descriptor->type == LINK_OP_SEND && descriptor->data.stream_offset == *end)
        *end += descriptor->data.length;
}

static void push_descriptor(struct fuzz *fuzz)
{
    unsigned index;
    struct fuzz_process *process = take_process(fuzz);
    struct link_descriptor descriptor = {.type = take_byte(fuzz) % (LINK_OP_COUNT + 1),
                                         .flags = take_byte(fuzz)};
    descriptor.socket = take_name(fuzz, &index);
    descriptor.request_id = take_byte(fuzz);
    switch (descriptor.type) {
    case LINK_OP_BIND:
    case LINK_OP_CONNECT:
        descriptor.endpoints.local = take_address(fuzz);
        descriptor.endpoints.remote = take_address(fuzz);
        descriptor.endpoints.local_port = take_port(fuzz);
        descriptor.endpoints.remote_port = take_port(fuzz);
        fuzz->told_end[index] = 0;
        break;
    case LINK_OP_LISTEN:
    case LINK_OP_ACCEPTED:
    case LINK_OP_SET_OPTION:
        descriptor.option.value = (int64_t)take_offset(fuzz, take_byte(fuzz));
        descriptor.option.option = (uint32_t)take_offset(fuzz, take_byte(fuzz) % 24);
        break;
    default:
        fill_data(fuzz, &descriptor, index);
        break;
    }
    if (process != NULL)
        (void)link_producer_push(&process->to_engine, &descriptor);
}

/** Any bytes at all as the next descriptor, or anywhere in the ring with any lap. */
static void scribble_in_ring(struct fuzz *fuzz)
{
    struct fuzz_process *process = take_process(fuzz);
    struct link_descriptor descriptor;
    uint8_t bytes[sizeof(descriptor)];
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = take_byte(fuzz);
    memcpy((void *)&descriptor, bytes, sizeof(bytes));
    uint8_t where = take_byte(fuzz);
    if (process == NULL)
        return;
    if (where < 200)
        (void)link_producer_push(&process->to_engine, &descriptor);
    else
        memcpy((void *)&process->to_engine.slots[where & process->to_engine.mask], bytes,
               sizeof(bytes));
}

/** What the engine reads of its producer side, and what it believes that only it writes. */
static void scribble_in_feedback(struct fuzz *fuzz)
{
    struct fuzz_process *process = take_process(fuzz);
    uint8_t what = take_byte(fuzz);
    uint32_t value = (uint32_t)take_number(fuzz, 4);
    if (process == NULL)
        return;
    switch (what % 4) {
    case 0:
        atomic_store(&process->to_host.feedback->consumed, value);
        break;
    case 1:
        atomic_store(&process->to_host.feedback->armed, value);
        break;
    case 2:
        atomic_store(&process->to_engine.feedback->consumed, value);
        break;
    default:
        memset((void *)process->to_host.slots, (int)value, (size_t)64 * (1 + value % 512));
        break;
    }
}

/** Hear what the engine tells; perhaps take the connections that it announces. */
static void drain(struct fuzz *fuzz, struct fuzz_process *process, bool accept)
{
    struct link_descriptor event;
    for (unsigned n = 0; n < 1024 && link_consumer_pop(&process->to_host, &event); n++) {
        if (event.type != LINK_EVENT_ACCEPT)
            continue;
        struct link_socket_name name = {event.endpoints.accept_slot, event.accept_incarnation};
        unsigned place = name.slot % SLOTS;
        fuzz->accepted[place] = name;
        fuzz->told_end[SLOTS + place] = 0;
        struct link_descriptor taken = {.type = LINK_OP_ACCEPTED, .socket = name};
        taken.option.value = event.socket.slot;
        if (accept)
            (void)link_producer_push(&process->to_engine, &taken);
    }
    link_consumer_report(&process->to_host);
}

static void run_rounds(struct fuzz *fuzz, unsigned rounds, uint64_t step_ns)
{
    for (; rounds > 0; rounds--) {
        fuzz_clock_advance(step_ns);
        if (!engine_core_round(fuzz->core))
            host_operations_report(fuzz->core); /* as before sleeping */
    }
}

/** Straight to where it gets interesting: a listener, a connection to it, both ends held. */
static void open_pair(struct fuzz *fuzz, struct fuzz_process *process)
{
    const struct ip_address own = address_v4(10, 77, 0, 1);
    uint8_t choice = take_byte(fuzz);
    uint32_t incarnation = 1 + (choice >> 6) % 3;
    unsigned client = 1 + choice % (SLOTS - 1);
    struct link_descriptor descriptor = {.type = LINK_OP_BIND, .socket = {0, incarnation}};
    descriptor.endpoints.local = own;
    descriptor.endpoints.local_port = 8080;
    (void)link_producer_push(&process->to_engine, &descriptor);
    descriptor = (struct link_descriptor){.type = LINK_OP_LISTEN, .socket = {0, incarnation}};
    descriptor.option.value = 1 + (choice >> 2) % 8;
    (void)link_producer_push(&process->to_engine, &descriptor);
    descriptor = (struct link_descriptor){.type = LINK_OP_CONNECT, .socket = {client, incarnation}};
    descriptor.endpoints.local = own;
    descriptor.endpoints.remote = own;
    descriptor.endpoints.remote_port = 8080;
    (void)link_producer_push(&process->to_engine, &descriptor);
    fuzz->told_end[client] = 0;
    run_rounds(fuzz, 8, NS_PER_MS);
    drain(fuzz, process, true);
    run_rounds(fuzz, 2, NS_PER_MS);
}

static void operate(struct fuzz *fuzz)
{
    struct fuzz_process *process;
    switch (take_byte(fuzz) % 16) {
    case 0:
        scribble_in_ring(fuzz);
        break;
    case 1:
        scribble_in_feedback(fuzz);
        break;
    case 2:
    case 3:
        process = take_process(fuzz);
        if (process != NULL)
            drain(fuzz, process, take_byte(fuzz) < 192);
        break;
    case 4:
    case 5:
        run_rounds(fuzz, 1 + take_byte(fuzz) % 16, NS_PER_MS);
        break;
    case 6:
        run_rounds(fuzz, 1 + take_byte(fuzz) % 16, NS_PER_S * take_byte(fuzz));
        break;
    case 9:
        process = take_process(fuzz);
        if (process != NULL)
            open_pair(fuzz, process);
        break;
    case 7:
        process = take_process(fuzz);
        if (process != NULL)
            (void)fuzz_host_add_process(&fuzz->host, process);
        break;
    case 8:
        process = take_process(fuzz);
        if (process != NULL && take_byte(fuzz) < 64)
            fuzz_host_kill_process(process);
        break;
    default:
        push_descriptor(fuzz);
        break;
    }
}

/* ---- One input ---------------------------------------------------------------------------------
 */

/** Run until a tenant without processes has no sockets left, and take it down. */
static void end_tenant(struct engine_core *core, struct fuzz_host *host)
{
    fuzz_host_kill(host);
    for (unsigned step = 0; atomic_load(&host->tenant->sockets_live) > 0; step++) {
        require(step < AFTERLIFE_STEPS, "a dead tenant's sockets never go away");
        fuzz_clock_advance(AFTERLIFE_STEP_NS);
        (void)engine_core_round(core);
    }
    require(host->tenant->cores[0].receive_pool.statistics.bytes_in_use == 0,
            "a dead tenant's receive buffers are lost");
    tenant_destroy(host->tenant);
}

static void require_nothing_left(const struct engine_core *core)
{
    require(core->sockets.in_use == 0, "sockets are lost");
    require(core->holders.in_use == 0, "holders are lost");
    require(core->extras.in_use == 0, "extras are lost");
    require(core->setups.in_use == 0, "setups are lost");
    require(core->rx_chunks.in_use == 0, "receive chunks are lost");
    require(core->tx_extents.in_use == 0, "send extents are lost");
    require(core->dma_operations.in_use == 0, "DMA operations are lost");
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes)
{
    static struct fuzz fuzz;
    static struct witness witness;
    const struct ip_endpoint server = {address_v4(10, 77, 0, 1), 7777};
    char problem[256] = "";
    clock_ns = NS_PER_S;
    fuzz = (struct fuzz){.input = input, .left = bytes};
    require(engine_core_create(&engine, 0, &fuzz.core, problem, sizeof(problem)) == 0, problem);
    engine.cores[0] = fuzz.core;
    witness_open(&witness, &engine, &server);
    fuzz_host_open(&fuzz.host, &engine, 2);
    for (unsigned i = 0; i < OPERATIONS_MAX && fuzz.left > 0; i++)
        operate(&fuzz);
    witness_speak(&witness, &engine);
    stack_check(fuzz.core->stack);
    end_tenant(fuzz.core, &fuzz.host);
    witness_speak(&witness, &engine);
    end_tenant(fuzz.core, &witness.host);
    require_nothing_left(fuzz.core);
    stack_check(fuzz.core->stack);
    engine_core_destroy(fuzz.core);
    return 0;
}
