/* LISTEN and what becomes of a SYN: RFC 9293 §3.10.7.2. */
#include <errno.h>

#include "core/tcp/ack.h"
#include "core/tcp/close.h"
#include "core/tcp/connect.h"
#include "core/tcp/ecn.h"
#include "core/tcp/fast_open.h"
#include "core/tcp/listener.h"
#include "core/tcp/output.h"
#include "core/tcp/prototype.h"
#include "core/tcp/receive.h"
#include "core/tcp/rto.h"
#include "core/tcp/state.h"
#include "core/tcp/timers.h"

static void embryonic_add(struct tcp_listener *listener, struct tcp_connection *connection)
{
    struct tcp_pending *pending = connection->pending;
    pending->next = listener->embryonic_first;
    pending->previous_next = &listener->embryonic_first;
    if (listener->embryonic_first)
        listener->embryonic_first->pending->previous_next = &pending->next;
    listener->embryonic_first = connection;
    listener->syn_count++;
}

/** The whole way. NULL: none is left. */
static struct tcp_connection *spawn_anew(struct tcp_listener *listener, const struct tcp_flow *flow,
                                         const seq_t *iss, uint64_t now_ns)
{
    struct tcp_connection *c = stack_connection_alloc(listener->stack);
    if (c == NULL)
        return NULL;
    c->flow = *flow;
    c->passive = true;
    c->statistics.segments_in = 1; /* the SYN, even if a cookie stands for it */
    tcp_connection_init(listener->stack, c, &listener->options, iss, now_ns);
    return c;
}

/** What it is by this SYN, the whole way. */
static void open_passive(struct stack *stack, struct tcp_connection *c,
                         const struct tcp_segment *segment, const struct tcp_options *options,
                         uint64_t now_ns)
{
    tcp_syn_accept(stack, c, segment, options, now_ns);
    uint32_t mss = tcp_advertised_mss(c) - (c->hot.timestamps ? TCP_TIMESTAMP_OPTION_BYTES : 0);
    tcp_window_init(stack, c, mss);
    c->queued = true;
    tcp_set_state(stack, c, TCP_STATE_SYN_RECEIVED);
}

struct tcp_connection *tcp_listener_spawn(struct tcp_listener *listener,
                                          const struct tcp_segment *segment, const seq_t *iss,
                                          const struct tcp_options *options, uint64_t now_ns)
{
    struct stack *stack = listener->stack;
    struct tcp_flow flow = tcp_segment_flow(segment);
    const struct tcp_prototype *like =
        tcp_prototype_passive(stack, listener, segment, options, now_ns);
    struct tcp_connection *c = like != NULL ? tcp_prototype_copy(stack, like, &flow, iss, now_ns)
                                            : spawn_anew(listener, &flow, iss, now_ns);
    if (c == NULL)
        return NULL;
    if (stack_flow_insert(stack, c) != 0) {
        c->queued = false;
        tcp_connection_free(stack, c);
        return NULL;
    }
    if (like != NULL) {
        tcp_syn_numbers_note(c, segment, options, now_ns);
    } else {
        open_passive(stack, c, segment, options, now_ns);
        tcp_prototype_passive_keep(stack, listener, c, segment, options);
    }
    c->pending = part_take(stack_pendings(stack));
    *c->pending = (struct tcp_pending){.listener = listener};
    stack_counters(stack)->passive_opens++;
    return c;
}

void tcp_listener_syn_arrives(struct stack *stack, struct tcp_listener *listener,
                              const struct tcp_segment *segment, const seq_t *iss, uint64_t now_ns,
                              struct stack_rx_result *result)
{
    if (tcp_accept_queue_is_full(listener)) {
        listener->overflows++;
        result->drop = DROP_TCP_LISTEN_OVERFLOW;
        return;
    }
    struct tcp_connection *c = NULL;
    enum tcp_fast_open_verdict verdict = TCP_FAST_OPEN_ORDINARY;
    uint8_t cookies = stack_get_config(stack)->tcp.syn_cookies;
    if (tcp_syn_queue_is_full(listener) && cookies == TCP_SYN_COOKIES_OFF) {
        listener->overflows++;
        result->drop = DROP_TCP_LISTEN_OVERFLOW;
        return;
    }
    if (!tcp_syn_queue_is_full(listener) && cookies != TCP_SYN_COOKIES_ALWAYS) {
        verdict = tcp_fast_open_judge(stack, listener, segment, now_ns);
        c = tcp_listener_spawn(listener, segment, iss, &segment->options, now_ns);
    }
    if (c == NULL) {
        tcp_cookie_send(stack, listener, segment, now_ns);
        return;
    }
    c->fast_open.answer = verdict == TCP_FAST_OPEN_ANSWER || verdict == TCP_FAST_OPEN_RENEW;
    c->fast_open.experimental = segment->options.fast_open_experimental;
    c->hot.syn_due = true;
    tcp_output_request(stack, c);
    result->connection = c;
    if (verdict == TCP_FAST_OPEN_ACCEPT || verdict == TCP_FAST_OPEN_RENEW) {
        tcp_fast_open_accept(stack, listener, c, now_ns);
        c->statistics.data_segments_in += segment->payload_length > 0;
        if (tcp_fast_open_take_payload(stack, c, segment, now_ns, result))
            tcp_event_raise(stack, c, STACK_EVENT_DATA);
        return;
    }
    embryonic_add(listener, c);
    c->established_ms = (uint32_t)(now_ns / NS_PER_MS); /* TCP_DEFER_ACCEPT counts from here */
}

/** An ACK for a listener: a cookie that comes back, or a stray.
    @return true: a connection has it. */
static bool ack_arrives(struct stack *stack, struct tcp_listener *listener,
                        const struct tcp_segment *segment, uint64_t now_ns,
                        struct stack_rx_result *result)
{
    struct tcp_options options;
    bool ecn;
    if (now_ns >= listener->cookies_allowed_ns ||
        !tcp_cookie_check(stack, segment, now_ns, &options, &ecn)) {
        result->drop = DROP_TCP_COOKIE_INVALID;
        tcp_reset_reply(stack, segment);
        return false;
    }
    if (tcp_accept_queue_is_full(listener) && tcp_syn_queue_is_full(listener)) {
        listener->overflows++;
        result->drop = DROP_TCP_LISTEN_OVERFLOW;
        return false;
    }
    /* The SYN as it was, and then this ACK on top of it. Should it have to wait for room in the
       accept queue, it does so as an embryonic connection whose SYN-ACK is repeated. */
    struct tcp_segment syn = *segment;
    syn.seq = seq_sub(segment->seq, 1);
    syn.flags = ecn ? TCP_SYN | TCP_ECE | TCP_CWR : TCP_SYN;
    syn.ecn = ECN_NOT_ECT;
    seq_t iss = seq_sub(segment->ack, 1);
    struct tcp_connection *c = tcp_listener_spawn(listener, &syn, &iss, &options, now_ns);
    if (c == NULL) {
        result->drop = DROP_CONNECTION_LIMIT;
        return false;
    }
    stack_counters(stack)->syn_cookies_accepted++;
    embryonic_add(listener, c);
    tcp_send_timer_set(stack, c, TCP_SEND_TIMER_RETRANSMIT, now_ns + tcp_rto_ns(c, now_ns));
    tcp_segment_arrives(stack, c, segment, now_ns, result);
    return true;
}

/** @return true: a connection has the segment, and has counted it if it was dropped. */
static bool listener_arrives(struct stack *stack, struct tcp_listener *listener,
                             const struct tcp_segment *segment, uint64_t now_ns,
                             struct stack_rx_result *result)
{
    if (segment->options.has_signature) {
        result->drop = DROP_TCP_SIGNATURE;
        return false;
    }
    if (segment->flags & TCP_RST) {
        result->drop = DROP_TCP_RESET_INVALID;
        return false;
    }
    if (segment->flags & TCP_ACK) {
        if (segment->flags & TCP_SYN) {
            result->drop = DROP_TCP_BAD_FLAGS;
            tcp_reset_reply(stack, segment);
            return false;
        }
        return ack_arrives(stack, listener, segment, now_ns, result);
    }
    if (!(segment->flags & TCP_SYN) || (segment->flags & TCP_FIN)) {
        result->drop = DROP_TCP_BAD_FLAGS;
        return false;
    }
    tcp_listener_syn_arrives(stack, listener, segment, NULL, now_ns, result);
    return false;
}

void tcp_listener_segment_arrives(struct stack *stack, struct tcp_listener *listener,
                                  const struct tcp_segment *segment, uint64_t now_ns,
                                  struct stack_rx_result *result)
{
    bool is_counted = listener_arrives(stack, listener, segment, now_ns, result);
    if (!is_counted && result->drop != DROP_NONE)
        stack_counters(stack)->drops[result->drop]++;
}

void tcp_syn_received_expired(struct stack *stack, struct tcp_connection *connection,
                              uint64_t now_ns)
{
    bool fast = tcp_fast_open_is_pending(connection);
    const struct tcp_listener *listener = tcp_listener_of(connection);
    unsigned most = listener || fast
                        ? stack_get_config(stack)->tcp.synack_retries + fast /* as Linux */
                        : connection->options->syn_retries;
    if (connection->syn_timeouts >= most) {
        tcp_fast_open_leave(stack, connection, true, now_ns);
        tcp_enter_closed(stack, connection, ETIMEDOUT);
        return;
    }
    connection->syn_timeouts++;
    connection->congestion.backoff++;
    /* A client whose ACK was put off by TCP_DEFER_ACCEPT is asked again only when time is up. */
    bool deferred = !fast && connection->defer_acked && listener &&
                    tcp_handshake_age_ns(connection, now_ns) < listener->defer_ns;
    connection->hot.syn_due = !deferred;
    tcp_send_timer_set(stack, connection, TCP_SEND_TIMER_RETRANSMIT,
                       now_ns + tcp_rto_ns(connection, now_ns));
    tcp_output_request(stack, connection);
}
