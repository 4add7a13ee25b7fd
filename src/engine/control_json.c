#include "engine/control_json.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/time_units.h"
#include "engine/control.h"
#include "engine/control_sockets.h"
#include "engine/engine_core.h"
#include "engine/ports/port.h"
#include "engine/socket.h"

json_t *control_json_processes(struct process *const *processes, unsigned count)
{
    json_t *array = json_array();
    for (unsigned i = 0; i < count; i++)
        (void)json_array_append_new(array, json_pack("{s:s, s:i}", "program", processes[i]->program,
                                                     "pid", (int)processes[i]->pid));
    return array;
}

/* ---- ping
 * ---------------------------------------------------------------------------------------- */

static json_t *addresses(const struct engine_options *options)
{
    json_t *array = json_array();
    for (unsigned i = 0; i < options->address_count; i++) {
        const struct stack_prefix *prefix = &options->addresses[i];
        bool v4 = ip_address_is_v4(&prefix->address);
        char text[INET6_ADDRSTRLEN];
        (void)inet_ntop(v4 ? AF_INET : AF_INET6, &prefix->address.bytes[v4 ? 12 : 0], text,
                        sizeof(text));
        (void)json_array_append_new(
            array, json_sprintf("%s/%u", text, prefix->prefix_length - (v4 ? 96 : 0)));
    }
    return array;
}

static json_t *answer_ping(const struct control *control)
{
    const struct engine *engine = control->engine;
    return json_pack("{s:i, s:s, s:i, s:I, s:s, s:o}", "pid", (int)getpid(), "version",
                     ENGINE_VERSION, "abi_version", LINK_ABI_VERSION, "uptime_ns",
                     (json_int_t)(engine_now_ns() - engine->started_ns), "port",
                     port_name(engine->port), "addresses", addresses(&engine->options));
}

/* ---- stats
 * ---------------------------------------------------------------------------------------- */

/** What one core says of itself; taken by the core. */
struct core_snapshot {
    struct stack_counters stack;
    struct core_counters core;
    uint32_t listeners;
    uint64_t chunks_in_use, extents_in_use;
};

static void take_snapshot(struct engine_core *core, void *context)
{
    struct core_snapshot *snapshot = context;
    struct tenant_core *tenant;
    snapshot->stack = *stack_get_counters(core->stack);
    snapshot->core = core->counters;
    snapshot->chunks_in_use = core->rx_chunks.in_use;
    snapshot->extents_in_use = core->tx_extents.in_use;
    LIST_FOREACH(tenant, &core->tenants, link)
    {
        snapshot->listeners += tenant->listener_count;
    }
}

static void set_count(json_t *object, const char *name, uint64_t count)
{
    (void)json_object_set_new(object, name, json_integer((json_int_t)count));
}

static json_t *stack_counters_json(const struct core_snapshot *snapshot)
{
    json_t *object = json_object();
    const struct stack_counters *stack = &snapshot->stack;
#define COUNT(name) set_count(object, #name, stack->name)
    COUNT(frames_in);
    COUNT(frames_out);
    COUNT(bytes_in);
    COUNT(bytes_out);
    COUNT(segments_in);
    COUNT(segments_out);
    COUNT(retransmits);
    COUNT(rto_expirations);
    COUNT(resets_in);
    COUNT(resets_out);
    COUNT(challenge_acks);
    COUNT(active_opens);
    COUNT(passive_opens);
    COUNT(syn_cookies_sent);
    COUNT(syn_cookies_accepted);
    COUNT(out_of_order);
    COUNT(arp_in);
    COUNT(nd_in);
    COUNT(icmp_in);
    COUNT(fragments_in);
    COUNT(reassembled);
    COUNT(listens);
    COUNT(fast_open_active);
    COUNT(fast_open_active_failed);
    COUNT(fast_open_passive);
    COUNT(fast_open_passive_failed);
    COUNT(fast_open_cookies_asked);
    COUNT(fast_open_listen_overflows);
    COUNT(fast_open_black_holes);
    COUNT(mtu_probes);
    COUNT(mtu_probe_successes);
#undef COUNT
    return object;
}

static void add_core_counters(json_t *object, const struct core_counters *core)
{
#define COUNT(name) set_count(object, #name, core->name)
    COUNT(rounds);
    COUNT(operations);
    COUNT(events);
    COUNT(doorbells);
    COUNT(garbage_descriptors);
    COUNT(rings_full);
    COUNT(frames_unreadable);
    COUNT(frames_steered);
    COUNT(frames_steer_dropped);
    COUNT(frames_turned);
    COUNT(transmit_deferred);
    COUNT(fetch_failures);
    COUNT(placement_failures);
    COUNT(accept_refused);
#undef COUNT
}

/** Names as in drop_reasons.def, in lower case. */
static json_t *drops_json(const struct stack_counters *stack)
{
    json_t *object = json_object();
    for (unsigned reason = DROP_NONE + 1; reason < DROP_REASON_COUNT; reason++) {
        char name[64] = "";
        const char *from = drop_reason_name((enum drop_reason)reason);
        for (size_t i = 0; from[i] != '\0' && i + 1 < sizeof(name); i++)
            name[i] = from[i] >= 'A' && from[i] <= 'Z' ? (char)(from[i] - 'A' + 'a') : from[i];
        set_count(object, name, stack->drops[reason]);
    }
    return object;
}

static json_t *core_json(struct engine_core *core, struct core_snapshot *snapshot)
{
    const struct engine *engine = core->engine;
    bool sleeping = atomic_load_explicit(&core->wakeup.sleeping, memory_order_relaxed) != 0;
    engine_core_call(core, take_snapshot, snapshot);
    uint64_t elapsed = engine_now_ns() - core->started_ns;
    uint64_t busy = elapsed > snapshot->core.slept_ns ? elapsed - snapshot->core.slept_ns : 0;
    json_t *counters = stack_counters_json(snapshot);
    add_core_counters(counters, &snapshot->core);
    set_count(counters, "rx_chunks_in_use", snapshot->chunks_in_use);
    set_count(counters, "tx_extents_in_use", snapshot->extents_in_use);
    return json_pack("{s:i, s:b, s:I, s:I, s:o, s:o}", "core",
                     (int)engine->options.cpus[core->index], "sleeping", sleeping, "busy_ns",
                     (json_int_t)busy, "wakeups", (json_int_t)snapshot->core.wakeups, "counters",
                     counters, "drops", drops_json(&snapshot->stack));
}

static json_t *port_json(const struct port *port)
{
    struct port_statistics statistics;
    port_read_statistics(port, &statistics);
    json_t *object = json_pack("{s:s}", "name", port_name(port));
#define COUNT(name) set_count(object, #name, statistics.name)
    COUNT(packets_in);
    COUNT(packets_out);
    COUNT(bytes_in);
    COUNT(bytes_out);
    COUNT(missed);
    COUNT(errors_in);
    COUNT(errors_out);
    COUNT(no_buffer);
#undef COUNT
    return object;
}

/** What a tenant has on one core; taken by the core. */
struct tenant_usage {
    const struct tenant *tenant;
    uint64_t receive_bytes, garbage, refused;
};

static void add_usage(struct engine_core *core, void *context)
{
    struct tenant_usage *usage = context;
    const struct tenant_core *part = &usage->tenant->cores[core->index];
    usage->receive_bytes += part->receive_pool.statistics.bytes_in_use;
    usage->garbage += part->garbage_descriptors;
    usage->refused += part->sockets_share.refused + part->holders.refused +
                      part->rx_chunks.refused + part->listeners_refused;
}

static json_t *tenant_json(const struct control *control, struct tenant *tenant)
{
    struct process *processes[TENANT_PROCESSES_MAX];
    struct process *process;
    unsigned count = 0;
    unsigned channels = 0;
    LIST_FOREACH(process, &tenant->processes, link)
    {
        processes[count++] = process;
        channels += process->channel_count;
    }
    struct tenant_usage usage = {.tenant = tenant};
    for (unsigned i = 0; i < control->engine->core_count; i++)
        engine_core_call(control->engine->cores[i], add_usage, &usage);
    uint32_t sockets = atomic_load_explicit(&tenant->sockets_live, memory_order_relaxed);
    return json_pack("{s:i, s:I, s:I, s:i, s:i, s:I, s:I, s:o}", "tenant", (int)tenant->id,
                     "arena_bytes", (json_int_t)tenant->layout.arena_bytes, "receive_bytes_in_use",
                     (json_int_t)usage.receive_bytes, "sockets", (int)sockets, "channels",
                     (int)channels, "garbage_descriptors", (json_int_t)usage.garbage,
                     "quota_refused", (json_int_t)usage.refused, "processes",
                     control_json_processes(processes, count));
}

static json_t *answer_stats(struct control *control)
{
    struct engine *engine = control->engine;
    json_t *cores = json_array();
    json_t *tenants = json_array();
    struct core_snapshot total = {0};
    for (unsigned i = 0; i < engine->core_count; i++) {
        struct core_snapshot snapshot = {0};
        (void)json_array_append_new(cores, core_json(engine->cores[i], &snapshot));
        total.stack.established_now += snapshot.stack.established_now;
        total.stack.connections_now += snapshot.stack.connections_now;
        total.stack.time_wait_now += snapshot.stack.time_wait_now;
        if (i == 0)
            total.listeners = snapshot.listeners; /* the others hold replicas */
    }
    struct tenant *tenant;
    LIST_FOREACH(tenant, &control->tenants, link)
    {
        (void)json_array_append_new(tenants, tenant_json(control, tenant));
    }
    return json_pack(
        "{s:i, s:s, s:I, s:o, s:[o], s:o, s:I, s:i, s:I}", "pid", (int)getpid(), "version",
        ENGINE_VERSION, "uptime_ns", (json_int_t)(engine_now_ns() - engine->started_ns), "cores",
        cores, "ports", port_json(engine->port), "tenants", tenants, "connections",
        (json_int_t)(total.stack.connections_now - total.stack.time_wait_now), "listeners",
        (int)total.listeners, "time_wait", (json_int_t)total.stack.time_wait_now);
}

/* ---- Requests
 * ------------------------------------------------------------------------------------- */

static json_t *answer(struct control *control, const json_t *request)
{
    const char *command = json_string_value(json_object_get(request, "command"));
    if (command == NULL)
        return json_pack("{s:s}", "error", "the request needs a \"command\"");
    if (strcmp(command, "ping") == 0 || strcmp(command, "status") == 0)
        return answer_ping(control);
    if (strcmp(command, "ss") == 0)
        return control_sockets_answer(control);
    if (strcmp(command, "stats") == 0)
        return answer_stats(control);
    return json_pack("{s:s}", "error", "unknown command (there are: ping, ss, stats, capture)");
}

/** As a line, to be freed; consumes the object. NULL: no memory. */
static char *to_line(json_t *root)
{
    char *text = root != NULL ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (text == NULL)
        return NULL;
    size_t length = strlen(text);
    char *line = malloc(length + 2);
    if (line != NULL) {
        memcpy(line, text, length);
        line[length] = '\n';
        line[length + 1] = '\0';
    }
    free(text);
    return line;
}

char *control_json_answer(struct control *control, const char *request, size_t bytes)
{
    json_error_t error;
    json_t *parsed = json_loadb(request, bytes, 0, &error);
    json_t *root = parsed != NULL ? answer(control, parsed)
                                  : json_pack("{s:s+}", "error", "not a JSON object: ", error.text);
    json_decref(parsed);
    return to_line(root);
}

char *control_json_error(const char *what)
{
    return to_line(json_pack("{s:s}", "error", what));
}

char *control_json_capture_filter(const char *request, size_t bytes)
{
    json_t *parsed = json_loadb(request, bytes, 0, NULL);
    const char *command = json_string_value(json_object_get(parsed, "command"));
    const char *filter = json_string_value(json_object_get(parsed, "filter"));
    char *copy = NULL;
    if (command != NULL && strcmp(command, "capture") == 0)
        copy = strdup(filter != NULL ? filter : "");
    json_decref(parsed);
    return copy;
}
