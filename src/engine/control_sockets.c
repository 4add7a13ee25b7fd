#include "engine/control_sockets.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/time_units.h"
#include "engine/control.h"
#include "engine/engine_core.h"
#include "engine/socket.h"

/** Processes shown per socket; a listener shared by more shows the first ones. */
#define PROCESSES_SHOWN_MAX 16

/** ssthresh before the first loss. */
#define SSTHRESH_INFINITE 0x7fffffff

/** One socket, copied by its core; formatted by the control thread. */
struct socket_record {
    enum { RECORD_CONNECTION, RECORD_LISTENER, RECORD_BOUND } kind;
    bool is_ipv6;
    uint32_t tenant; /**< 0: none any more */
    struct ip_endpoint local, remote;
    struct tcp_connection_info info;
    struct tcp_listener_info listener;
    struct process *processes[PROCESSES_SHOWN_MAX];
    unsigned process_count;
};

struct collection {
    struct engine_core *core;
    struct socket_record *records;
    size_t count, capacity;
};

/* ---- On the core
 * ---------------------------------------------------------------------------------- */

static struct socket_record *next_record(struct collection *collection)
{
    if (collection->count == collection->capacity)
        return NULL;
    struct socket_record *record = &collection->records[collection->count++];
    memset(record, 0, sizeof(*record));
    return record;
}

static void copy_owners(struct socket_record *record, struct engine_socket *socket)
{
    record->tenant = socket->tenant->tenant->id;
    for (const struct socket_holder *holder = socket_holders(socket);
         holder != NULL && record->process_count < PROCESSES_SHOWN_MAX; holder = holder->next)
        if (!holder->released)
            record->processes[record->process_count++] = holder->process->process;
}

static bool copy_connection(void *context, struct tcp_connection *connection)
{
    struct collection *collection = context;
    struct engine_core *core = collection->core;
    struct socket_record *record = next_record(collection);
    if (record == NULL)
        return false;
    record->kind = RECORD_CONNECTION;
    tcp_endpoints(connection, &record->local, &record->remote);
    record->is_ipv6 = !ip_address_is_v4(&record->remote.address);
    tcp_get_info(core->stack, connection, core->now_ns, &record->info);
    struct engine_socket *socket = tcp_user(connection);
    if (socket != NULL)
        copy_owners(record, socket);
    return true;
}

static void copy_other(struct collection *collection, struct engine_socket *socket)
{
    struct socket_record *record;
    const struct tcp_listener *listener = socket_listener(socket);
    if (socket->kind != SOCKET_BOUND && (socket->kind != SOCKET_LISTENER || socket->orphan))
        return;
    record = next_record(collection);
    if (record == NULL)
        return;
    copy_owners(record, socket);
    record->local = socket->extra->local;
    record->is_ipv6 = !ip_address_is_v4(&record->local.address);
    record->kind = RECORD_BOUND;
    if (listener != NULL) {
        record->kind = RECORD_LISTENER;
        tcp_listener_get_info(listener, &record->listener);
        record->is_ipv6 = record->listener.is_ipv6;
    }
}

static void count_sockets(struct engine_core *core, void *context)
{
    struct collection *collection = context;
    struct tenant_core *tenant;
    collection->capacity = stack_get_counters(core->stack)->connections_now;
    LIST_FOREACH(tenant, &core->tenants, link)
    {
        collection->capacity += tenant->sockets_share.in_use;
    }
}

static void collect_sockets(struct engine_core *core, void *context)
{
    struct collection *collection = context;
    struct tenant_core *tenant;
    const struct socket_setup *setup;
    collection->core = core;
    stack_for_each_connection(core->stack, copy_connection, collection);
    /* Listeners and bound ports are core 0's; the others hold replicas. */
    if (core->index != 0)
        return;
    LIST_FOREACH(tenant, &core->tenants, link)
    {
        LIST_FOREACH(setup, &tenant->setups, link)
        {
            copy_other(collection, setup->socket);
        }
    }
}

/* ---- In the control thread
 * ------------------------------------------------------------------------- */

static json_t *endpoint_json(const struct ip_endpoint *endpoint, bool is_ipv6)
{
    char text[INET6_ADDRSTRLEN];
    const struct ip_address *address = &endpoint->address;
    if (ip_address_is_v4(address))
        (void)inet_ntop(AF_INET, &address->bytes[12], text, sizeof(text));
    else if (ip_address_is_any(address) && !is_ipv6)
        (void)strcpy(text, "0.0.0.0");
    else
        (void)inet_ntop(AF_INET6, address->bytes, text, sizeof(text));
    return json_pack("{s:s, s:i}", "address", text, "port", endpoint->port);
}

static const char *state_name(unsigned state)
{
    static const char *const names[] = {
        [1] = "ESTABLISHED", [2] = "SYN-SENT",  [3] = "SYN-RECEIVED", [4] = "FIN-WAIT-1",
        [5] = "FIN-WAIT-2",  [6] = "TIME-WAIT", [7] = "CLOSED",       [8] = "CLOSE-WAIT",
        [9] = "LAST-ACK",    [10] = "LISTEN",   [11] = "CLOSING",
    };
    return state >= 1 && state < sizeof(names) / sizeof(names[0]) ? names[state] : "CLOSED";
}

static const char *congestion_state_name(unsigned state)
{
    static const char *const names[] = {"open", "disorder", "cwr", "recovery", "loss"};
    return state < sizeof(names) / sizeof(names[0]) ? names[state] : "open";
}

static void set_number(json_t *object, const char *name, uint64_t number)
{
    (void)json_object_set_new(object, name, json_integer((json_int_t)number));
}

static json_t *options_json(const struct tcp_connection_info *info)
{
    json_t *options = json_array();
    if ((info->options & 1) != 0)
        (void)json_array_append_new(options, json_string("ts"));
    if ((info->options & 2) != 0)
        (void)json_array_append_new(options, json_string("sack"));
    if ((info->options & 8) != 0)
        (void)json_array_append_new(options, json_string("ecn"));
    return options;
}

static void add_facts(json_t *object, const struct tcp_connection_info *info)
{
    if (info->congestion_name != NULL)
        (void)json_object_set_new(object, "congestion_control", json_string(info->congestion_name));
    (void)json_object_set_new(object, "congestion_state",
                              json_string(congestion_state_name(info->ca_state)));
    (void)json_object_set_new(object, "options", options_json(info));
    set_number(object, "snd_wscale", info->snd_wscale);
    set_number(object, "rcv_wscale", info->rcv_wscale);
    set_number(object, "rto_us", info->rto_ns / NS_PER_US);
    set_number(object, "rtt_us", info->srtt_ns / NS_PER_US);
    set_number(object, "rttvar_us", info->rttvar_ns / NS_PER_US);
    set_number(object, "mss_bytes", info->snd_mss);
    set_number(object, "pmtu_bytes", info->pmtu);
    set_number(object, "cwnd", info->snd_cwnd);
    set_number(object, "cwnd_bytes", (uint64_t)info->snd_cwnd * info->snd_mss);
    if (info->snd_ssthresh < SSTHRESH_INFINITE) {
        set_number(object, "ssthresh", info->snd_ssthresh);
        set_number(object, "ssthresh_bytes", (uint64_t)info->snd_ssthresh * info->snd_mss);
    }
    set_number(object, "rcv_space_bytes", info->rcv_space);
    set_number(object, "snd_wnd_bytes", info->snd_wnd);
    set_number(object, "rcv_wnd_bytes", info->rcv_wnd);
    set_number(object, "last_snd_ms", info->last_data_sent_ns / NS_PER_MS);
    set_number(object, "last_rcv_ms", info->last_data_recv_ns / NS_PER_MS);
    set_number(object, "last_ack_ms", info->last_ack_recv_ns / NS_PER_MS);
}

static void add_counts(json_t *object, const struct tcp_connection_info *info)
{
    set_number(object, "bytes_sent", info->bytes_sent);
    set_number(object, "bytes_retrans", info->bytes_retrans);
    set_number(object, "bytes_acked", info->bytes_acked);
    set_number(object, "bytes_received", info->bytes_received);
    set_number(object, "segs_out", info->segs_out);
    set_number(object, "segs_in", info->segs_in);
    set_number(object, "retrans", info->retrans);
    set_number(object, "retrans_total", info->total_retrans);
    set_number(object, "lost", info->lost);
    set_number(object, "sacked", info->sacked);
    set_number(object, "unacked", info->unacked);
    set_number(object, "dsack_dups", info->dsack_dups);
    set_number(object, "reordering", info->reordering);
}

static json_t *record_json(const struct socket_record *record)
{
    unsigned state = record->kind == RECORD_CONNECTION ? record->info.state
                     : record->kind == RECORD_LISTENER ? 10
                                                       : 7;
    json_t *object = json_pack("{s:s, s:s, s:o, s:o, s:o}", "state", state_name(state), "family",
                               record->is_ipv6 ? "ipv6" : "ipv4", "local",
                               endpoint_json(&record->local, record->is_ipv6), "remote",
                               endpoint_json(&record->remote, record->is_ipv6), "processes",
                               control_json_processes(record->processes, record->process_count));
    if (object == NULL)
        return NULL;
    if (record->tenant != 0)
        set_number(object, "tenant", record->tenant);
    if (record->kind == RECORD_CONNECTION) {
        set_number(object, "recv_q", record->info.receive_queue_bytes);
        set_number(object, "send_q", record->info.send_queue_bytes);
        add_facts(object, &record->info);
        add_counts(object, &record->info);
    } else {
        set_number(object, "recv_q", record->listener.accept_queue);
        set_number(object, "send_q", record->listener.backlog);
    }
    return object;
}

json_t *control_sockets_answer(struct control *control)
{
    json_t *sockets = json_array();
    for (unsigned i = 0; i < control->engine->core_count; i++) {
        struct engine_core *core = control->engine->cores[i];
        struct collection collection = {0};
        engine_core_call(core, count_sockets, &collection);
        if (collection.capacity == 0)
            continue;
        /* Those that come while we allocate are shown the next time. */
        collection.records = malloc(collection.capacity * sizeof(collection.records[0]));
        if (collection.records == NULL) {
            json_decref(sockets);
            return json_pack("{s:s}", "error", "not enough memory to list the sockets");
        }
        engine_core_call(core, collect_sockets, &collection);
        for (size_t record = 0; record < collection.count; record++)
            (void)json_array_append_new(sockets, record_json(&collection.records[record]));
        free(collection.records);
    }
    return json_pack("{s:o}", "sockets", sockets);
}
