#include "core/tcp/fast_open.h"

#include <string.h>

#include "base/siphash.h"
#include "core/tcp/close.h"
#include "core/tcp/connect.h"
#include "core/tcp/fast_open_cache.h"
#include "core/tcp/listener.h"
#include "core/tcp/output.h"
#include "core/tcp/rare.h"
#include "core/tcp/receive.h"
#include "core/tcp/recovery.h"
#include "core/tcp/timers.h"

/** Room for options is left in the SYN, as Linux does: middle-boxes may add theirs. */
#define SYN_OPTIONS_RESERVE 40
/** Black holes in a row lengthen the pause at most 2^6-fold (as Linux). */
#define BLACK_HOLE_DOUBLINGS_MAX 6
/** A connection that was reset before its handshake was done counts this long (RFC 7413 §5.1). */
#define PENALTY_S 60

size_t tcp_fast_open_bytes(void)
{
    return sizeof(struct tcp_fast_open_memory);
}

static const struct tcp_defaults *defaults_of(const struct stack *stack)
{
    return &stack_get_config(stack)->tcp;
}

/* ---- Client: the cache --------------------------------------------------------------------- */

static uint64_t address_hash(struct stack *stack, const struct ip_address *address)
{
    return stack_siphash(stack, address->bytes, sizeof(address->bytes));
}

static struct tcp_fast_open_entry *find_entry(struct stack *stack,
                                              const struct tcp_connection *connection)
{
    const struct ip_address *remote = &connection->flow.remote;
    return tcp_fast_open_cache_find(stack_fast_open_memory(stack), remote,
                                    address_hash(stack, remote));
}

void tcp_fast_open_forget(struct stack *stack)
{
    memset(stack_fast_open_memory(stack), 0, sizeof(struct tcp_fast_open_memory));
}

/** Whether fast open pauses because something on the way swallowed it (RFC 7413 §5.1.2). */
static bool is_pausing(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    const struct tcp_fast_open_memory *memory = stack_fast_open_memory(stack);
    uint64_t pause_ns = defaults_of(stack)->fast_open_black_hole_ns;
    if (pause_ns == 0 || memory->black_holes == 0)
        return false;
    unsigned doublings = memory->black_holes - 1;
    if (doublings > BLACK_HOLE_DOUBLINGS_MAX)
        doublings = BLACK_HOLE_DOUBLINGS_MAX;
    if (now_ns < memory->black_hole_ns + (pause_ns << doublings))
        return true;
    connection->fast_open.probes_path = true;
    return false;
}

void tcp_fast_open_timeout(struct stack *stack, const struct tcp_connection *connection,
                           bool expired, uint64_t now_ns)
{
    struct tcp_fast_open_memory *memory = stack_fast_open_memory(stack);
    const struct tcp_fast_open_state *state = &connection->fast_open;
    unsigned timeouts = connection->congestion.retransmits;
    if (connection->passive || !(state->asked || state->data_sent || state->data_acked))
        return;
    if (timeouts != 2 && !(timeouts < 2 && expired))
        return;
    memory->black_hole_ns = now_ns;
    memory->black_holes++;
    stack_counters(stack)->fast_open_black_holes++;
}

/* ---- Client: the SYN ----------------------------------------------------------------------- */

static bool no_cookie_needed(const struct stack *stack, const struct tcp_connection *connection)
{
    return (defaults_of(stack)->fast_open & TCP_FAST_OPEN_CLIENT_NO_COOKIE) ||
           connection->options->fast_open_no_cookie;
}

/** Payload that fits the SYN: the peer's MSS as remembered, path MTU, TCP_MAXSEG. */
static uint32_t syn_room(struct stack *stack, const struct tcp_connection *connection)
{
    const struct tcp_fast_open_entry *entry = find_entry(stack, connection);
    uint32_t mss = tcp_path_mss(connection);
    if (entry != NULL && entry->mss != 0 && entry->mss < mss)
        mss = entry->mss;
    if (mss < TCP_MSS_MIN)
        mss = TCP_MSS_MIN;
    return mss - SYN_OPTIONS_RESERVE;
}

uint32_t tcp_fast_open_room(struct stack *stack, const struct tcp_connection *connection)
{
    return connection->fast_open.held ? syn_room(stack, connection) : 0;
}

bool tcp_fast_open_begin(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    const struct tcp_fast_open_entry *entry = find_entry(stack, connection);
    struct tcp_fast_open_state *state = &connection->fast_open;
    if (!(defaults_of(stack)->fast_open & TCP_FAST_OPEN_CLIENT))
        return false;
    state->wanted = true;
    if (is_pausing(stack, connection, now_ns)) {
        state->wanted = false;
        return false;
    }
    state->held = no_cookie_needed(stack, connection) || (entry != NULL && entry->cookie_bytes > 0);
    if (!state->held)
        state->failure = TCP_FAST_OPEN_NO_COOKIE_CACHED;
    return state->held;
}

void tcp_fast_open_go(struct stack *stack, struct tcp_connection *connection, bool more)
{
    if (!connection->fast_open.held || connection->hot.state != TCP_STATE_SYN_SENT)
        return;
    connection->fast_open.held = false;
    connection->fast_open.more = more;
    connection->hot.syn_due = true;
    tcp_output_request(stack, connection);
}

uint32_t tcp_fast_open_syn(struct stack *stack, struct tcp_connection *connection,
                           struct tcp_options *options)
{
    struct tcp_fast_open_state *state = &connection->fast_open;
    if (!state->wanted || connection->syn_timeouts > 0)
        return 0;
    const struct tcp_fast_open_entry *entry = find_entry(stack, connection);
    bool bare = no_cookie_needed(stack, connection);
    bool cookie = !bare && entry != NULL && entry->cookie_bytes > 0;
    if (!bare) {
        options->has_fast_open = true;
        options->fast_open_experimental =
            entry != NULL && (cookie ? entry->experimental : entry->try_format == 1);
        options->fast_open_length = cookie ? entry->cookie_bytes : 0;
        if (cookie)
            memcpy(options->fast_open_cookie, entry->cookie, entry->cookie_bytes);
        state->asked = true;
        state->experimental = options->fast_open_experimental;
    }
    if (!bare && !cookie)
        return 0;
    uint64_t bytes = connection->hot.snd_end - tcp_snd_start(&connection->hot);
    uint32_t room = syn_room(stack, connection);
    uint32_t length = bytes < room ? (uint32_t)bytes : room;
    state->data_sent = length > 0;
    return length;
}

/* ---- Client: the SYN-ACK ------------------------------------------------------------------- */

bool tcp_syn_timestamp_is_wrong(const struct tcp_connection *connection,
                                const struct tcp_segment *segment, uint64_t now_ns)
{
    const struct tcp_options *options = &segment->options;
    if (!connection->hot.timestamps || !options->has_timestamps || options->timestamp_echo == 0)
        return false;
    /* Before the handshake is done this says when the first SYN went. */
    uint32_t first = connection->established_ms + connection->hot.ts_offset;
    uint32_t now = tcp_timestamp_now(connection, now_ns);
    return options->timestamp_echo - first > now - first;
}

static void remember(struct stack *stack, struct tcp_connection *connection,
                     const struct tcp_options *options)
{
    const struct tcp_fast_open_state *state = &connection->fast_open;
    const struct ip_address *remote = &connection->flow.remote;
    struct tcp_fast_open_entry *entry = tcp_fast_open_cache_obtain(
        stack_fast_open_memory(stack), remote, address_hash(stack, remote));
    if (options->has_mss)
        entry->mss = options->mss;
    /* A cookie that was not asked for is none (RFC 7413 §4.1.1). */
    bool answered = options->has_fast_open && options->fast_open_length > 0;
    if (state->asked && answered) {
        entry->cookie_bytes = options->fast_open_length;
        entry->experimental = options->fast_open_experimental;
        memcpy(entry->cookie, options->fast_open_cookie, options->fast_open_length);
        return;
    }
    /* Asked in vain: the other format is tried once. */
    bool in_vain = state->asked && !options->has_fast_open && !state->data_sent &&
                   connection->syn_timeouts == 0;
    uint8_t next_format = state->experimental ? 2 : 1;
    if (in_vain && entry->cookie_bytes == 0 && next_format > entry->try_format)
        entry->try_format = next_format;
}

bool tcp_fast_open_synack_arrives(struct stack *stack, struct tcp_connection *connection,
                                  const struct tcp_segment *segment, uint64_t now_ns)
{
    struct tcp_fast_open_state *state = &connection->fast_open;
    struct tcp_hot *hot = &connection->hot;
    (void)now_ns;
    if (!state->asked && !state->data_sent)
        return false;
    remember(stack, connection, &segment->options);
    if (!state->data_sent)
        return true;
    if (hot->snd_una < hot->snd_nxt) {
        state->failure = connection->syn_timeouts > 0 ? TCP_FAST_OPEN_SYN_REPEATED
                                                      : TCP_FAST_OPEN_NOT_ACKNOWLEDGED;
        stack_counters(stack)->fast_open_active_failed++;
        /* Lost, but not by congestion: once more, at once (RFC 7413 §4.2.2). */
        tcp_recovery_path_mtu_shrank(stack, connection);
        return false;
    }
    state->data_acked = true;
    stack_counters(stack)->fast_open_active++;
    if (state->probes_path)
        stack_fast_open_memory(stack)->black_holes = 0;
    return true;
}

/* ---- Server: cookies ----------------------------------------------------------------------- */

void tcp_listener_set_fast_open(struct tcp_listener *listener, uint32_t queue_max)
{
    listener->fast_open.max = queue_max;
}

void tcp_listener_set_fast_open_keys(struct tcp_listener *listener, const uint8_t (*keys)[16],
                                     unsigned count)
{
    listener->fast_open.key_count = (uint8_t)count;
    for (unsigned i = 0; i < count; i++)
        listener->fast_open.keys[i] = siphash_key_load(keys[i]);
}

/** Linux's cookie: SipHash-2-4 of the SYN's source and destination address. */
static uint64_t cookie_of(const struct siphash_key *key, const struct tcp_flow *flow)
{
    uint8_t bytes[32];
    unsigned each = ip_address_is_v4(&flow->remote) ? 4 : 16;
    memcpy(bytes, flow->remote.bytes + 16 - each, each);
    memcpy(bytes + each, flow->local.bytes + 16 - each, each);
    return siphash_2_4(key, bytes, 2 * (size_t)each);
}

/** The keys in force, the one to make cookies with first. @return how many. */
static unsigned keys_of(struct stack *stack, const struct tcp_listener *listener,
                        struct siphash_key keys[2])
{
    const struct tcp_defaults *defaults = defaults_of(stack);
    unsigned count = listener->fast_open.key_count;
    if (count > 0) {
        memcpy(keys, listener->fast_open.keys, count * sizeof(keys[0]));
        return count;
    }
    for (unsigned i = 0; i < defaults->fast_open_key_count; i++)
        keys[i] = siphash_key_load(defaults->fast_open_keys[i]);
    if (defaults->fast_open_key_count > 0)
        return defaults->fast_open_key_count;
    static const char purpose[2][16] = {"fast open key 0", "fast open key 1"};
    keys[0].k0 = stack_siphash(stack, purpose[0], sizeof(purpose[0]));
    keys[0].k1 = stack_siphash(stack, purpose[1], sizeof(purpose[1]));
    return 1;
}

/** @return by which key the cookie was made: 0, 1; -1 by none of ours. */
static int cookie_check(struct stack *stack, const struct tcp_listener *listener,
                        const struct tcp_segment *segment)
{
    struct siphash_key keys[2];
    struct tcp_flow flow = tcp_segment_flow(segment);
    unsigned count = keys_of(stack, listener, keys);
    if (segment->options.fast_open_length != TCP_FAST_OPEN_COOKIE_BYTES)
        return -1;
    for (unsigned i = 0; i < count; i++) {
        uint64_t cookie = cookie_of(&keys[i], &flow);
        if (memcmp(segment->options.fast_open_cookie, &cookie, sizeof(cookie)) == 0)
            return (int)i;
    }
    return -1;
}

/* ---- Server: the queue --------------------------------------------------------------------- */

/** Forget the resets that were a minute ago. */
static void penalties_expire(struct tcp_fast_open_queue *queue, uint32_t now_s)
{
    uint32_t passed = now_s - queue->penalty_s;
    for (uint32_t i = 0; i < passed && i < PENALTY_S; i++) {
        uint16_t *bucket = &queue->penalties[(queue->penalty_s + 1 + i) % PENALTY_S];
        queue->penalty_count -= *bucket;
        *bucket = 0;
    }
    queue->penalty_s = now_s;
}

static void penalty_add(struct tcp_fast_open_queue *queue, uint32_t now_s)
{
    penalties_expire(queue, now_s);
    uint16_t *bucket = &queue->penalties[now_s % PENALTY_S];
    if (*bucket == UINT16_MAX)
        return;
    ++*bucket;
    queue->penalty_count++;
}

static bool queue_has_room(struct stack *stack, struct tcp_listener *listener, uint64_t now_ns)
{
    struct tcp_fast_open_queue *queue = &listener->fast_open;
    if (queue->max == 0)
        return false;
    penalties_expire(queue, (uint32_t)(now_ns / NS_PER_S));
    if (queue->count + queue->penalty_count < queue->max)
        return true;
    stack_counters(stack)->fast_open_listen_overflows++;
    return false;
}

enum tcp_fast_open_verdict tcp_fast_open_judge(struct stack *stack, struct tcp_listener *listener,
                                               const struct tcp_segment *segment, uint64_t now_ns)
{
    uint16_t use = defaults_of(stack)->fast_open;
    const struct tcp_options *options = &segment->options;
    bool asks = options->has_fast_open && options->fast_open_length == 0;
    if (!(use & TCP_FAST_OPEN_SERVER) ||
        (segment->payload_length == 0 && !options->has_fast_open) ||
        !queue_has_room(stack, listener, now_ns))
        return TCP_FAST_OPEN_ORDINARY;
    if ((use & TCP_FAST_OPEN_SERVER_NO_COOKIE) || listener->options.fast_open_no_cookie)
        return TCP_FAST_OPEN_ACCEPT;
    if (!options->has_fast_open)
        return TCP_FAST_OPEN_ORDINARY;
    if (asks) {
        stack_counters(stack)->fast_open_cookies_asked++;
        return TCP_FAST_OPEN_ANSWER;
    }
    switch (cookie_check(stack, listener, segment)) {
    case 0:
        return TCP_FAST_OPEN_ACCEPT;
    case 1:
        return TCP_FAST_OPEN_RENEW;
    default:
        stack_counters(stack)->fast_open_passive_failed++;
        return TCP_FAST_OPEN_ANSWER;
    }
}

/** The listener it came by, if that is still there. */
static struct tcp_listener *listener_of(const struct tcp_connection *connection)
{
    if (!connection->fast_open.pending)
        return tcp_listener_of(connection);
    struct tcp_listener *listener = connection->rare->fast_open_listener;
    return listener->id == connection->rare->fast_open_listener_id ? listener : NULL;
}

void tcp_fast_open_synack(struct stack *stack, struct tcp_connection *connection,
                          struct tcp_options *options)
{
    struct tcp_fast_open_state *state = &connection->fast_open;
    const struct tcp_listener *listener = listener_of(connection);
    if (!state->answer || listener == NULL)
        return;
    state->answer = false; /* a repeated SYN-ACK is a plain one */
    struct siphash_key keys[2];
    (void)keys_of(stack, listener, keys);
    uint64_t cookie = cookie_of(&keys[0], &connection->flow);
    options->has_fast_open = true;
    options->fast_open_experimental = state->experimental;
    options->fast_open_length = TCP_FAST_OPEN_COOKIE_BYTES;
    memcpy(options->fast_open_cookie, &cookie, sizeof(cookie));
}

void tcp_fast_open_accept(struct stack *stack, struct tcp_listener *listener,
                          struct tcp_connection *connection, uint64_t now_ns)
{
    connection->fast_open.pending = connection->fast_open.child = true;
    struct tcp_rare *rare = tcp_rare_take(stack, connection);
    rare->fast_open_listener = listener;
    rare->fast_open_listener_id = listener->id;
    listener->fast_open.count++;
    stack_counters(stack)->fast_open_passive++;
    tcp_transfer_begin(stack, connection, tcp_snd_start(&connection->hot), now_ns);
    tcp_listener_accept(stack, connection);
}

bool tcp_fast_open_take_payload(struct stack *stack, struct tcp_connection *connection,
                                const struct tcp_segment *segment, uint64_t now_ns,
                                struct stack_rx_result *result)
{
    struct tcp_hot *hot = &connection->hot;
    uint64_t seq = tcp_rcv_start(hot);
    if (!connection->fast_open.pending || segment->payload_length == 0 || hot->rcv_nxt != seq ||
        segment->payload_refused || connection->orphaned ||
        (segment->flags & TCP_FIN) != 0) /* no listener takes those */
        return false;
    uint32_t ssthresh = connection->receive.ssthresh;
    (void)tcp_receive_payload(stack, connection, segment, seq, now_ns, result);
    if (hot->rcv_nxt == seq)
        return false;
    /* The SYN-ACK acknowledges it; as Linux, the window does not grow by it, nor does it say when
       data comes. */
    connection->receive.ssthresh = ssthresh;
    connection->receive.ack_delay_us = 0;
    hot->acks_owed = 0;
    hot->ack_deadline_ns = TIME_NEVER;
    connection->fast_open.data_acked = true;
    return true;
}

void tcp_fast_open_leave(struct stack *stack, struct tcp_connection *connection, bool failed,
                         uint64_t now_ns)
{
    (void)stack;
    if (!connection->fast_open.pending)
        return;
    struct tcp_listener *listener = listener_of(connection);
    connection->fast_open.pending = false;
    if (listener == NULL)
        return;
    listener->fast_open.count--;
    if (failed)
        penalty_add(&listener->fast_open, (uint32_t)(now_ns / NS_PER_S));
}
