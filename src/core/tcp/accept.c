/* Listeners as the embedder sees them: opening, the accept queue, closing. */
#include <errno.h>

#include "core/tcp/listener.h"
#include "core/tcp/prototype.h"
#include "core/tcp/state.h"

size_t tcp_pending_bytes(void)
{
    return sizeof(struct tcp_pending);
}

size_t tcp_listener_bytes(void)
{
    return sizeof(struct tcp_listener);
}

const struct tcp_listener_key *tcp_listener_key(const struct tcp_listener *listener)
{
    return &listener->key;
}

struct tcp_listener **tcp_listener_hash_next(struct tcp_listener *listener)
{
    return &listener->hash_next;
}

struct tcp_listener **tcp_listener_event_next(struct tcp_listener *listener)
{
    return &listener->event_next;
}

uint32_t *tcp_listener_events(struct tcp_listener *listener)
{
    return &listener->events;
}

void *tcp_listener_user(const struct tcp_listener *listener)
{
    return listener->user;
}

void tcp_listener_set_user(struct tcp_listener *listener, void *user)
{
    listener->user = user;
}

struct tcp_options_set *tcp_listener_options(struct tcp_listener *listener)
{
    tcp_prototype_forget_listener(listener->stack, listener); /* they are about to change */
    return &listener->options;
}

void tcp_listener_set_backlog(struct tcp_listener *listener, uint32_t backlog)
{
    listener->backlog = backlog;
}

void tcp_listener_set_defer_accept(struct tcp_listener *listener, uint64_t defer_ns)
{
    listener->defer_ns = defer_ns;
}

int tcp_listen(struct stack *stack, const struct tcp_listen_request *request,
               struct tcp_listener **listener)
{
    struct tcp_listener *l = stack_listener_alloc(stack);
    if (l == NULL)
        return -ENOBUFS;
    l->stack = stack;
    l->id = (uint32_t)++stack_counters(stack)->listens;
    l->key = (struct tcp_listener_key){
        .local = request->local,
        .is_ipv6 = request->is_ipv6,
        .v6only = request->v6only,
        .reuse_port = request->reuse_port,
    };
    l->backlog = request->backlog;
    l->user = request->user;
    l->accept_last_next = &l->accept_first;
    const uint16_t always = TCP_FAST_OPEN_SERVER | TCP_FAST_OPEN_SERVER_ALWAYS;
    if ((stack_get_config(stack)->tcp.fast_open & always) == always)
        l->fast_open.max = request->backlog;
    tcp_options_set_init(&l->options, &stack_get_config(stack)->tcp);
    int error = stack_listener_insert(stack, l);
    if (error != 0) {
        stack_listener_free(stack, l);
        return error;
    }
    *listener = l;
    return 0;
}

static void embryonic_remove(struct tcp_connection *connection)
{
    struct tcp_pending *pending = connection->pending;
    *pending->previous_next = pending->next;
    if (pending->next)
        pending->next->pending->previous_next = pending->previous_next;
    pending->next = NULL;
    pending->previous_next = NULL;
    pending->listener->syn_count--;
}

void tcp_pending_drop(struct stack *stack, struct tcp_connection *connection)
{
    part_give_back(stack_pendings(stack), connection->pending);
    connection->queued = false;
    connection->user = NULL;
}

void tcp_listener_forget_embryonic(struct stack *stack, struct tcp_connection *connection)
{
    embryonic_remove(connection);
    tcp_pending_drop(stack, connection);
}

void tcp_listener_established(struct stack *stack, struct tcp_connection *connection)
{
    embryonic_remove(connection);
    tcp_listener_accept(stack, connection);
}

void tcp_listener_accept(struct stack *stack, struct tcp_connection *connection)
{
    struct tcp_listener *listener = connection->pending->listener;
    connection->unannounced = true;
    *listener->accept_last_next = connection;
    listener->accept_last_next = &connection->pending->next;
    listener->accept_count++;
    stack_listener_event_raise(stack, listener, STACK_EVENT_ACCEPT);
}

struct tcp_connection *tcp_listener_next(struct tcp_listener *listener)
{
    struct tcp_connection *connection = listener->accept_first;
    if (connection == NULL)
        return NULL;
    listener->accept_first = connection->pending->next;
    if (listener->accept_first == NULL)
        listener->accept_last_next = &listener->accept_first;
    uint32_t held_events = connection->pending->held_events;
    tcp_pending_drop(listener->stack, connection);
    connection->unannounced = false;
    if (held_events != 0)
        stack_event_raise(listener->stack, connection, held_events);
    return connection;
}

void tcp_listener_taken(struct tcp_listener *listener)
{
    PNO_ASSERT(listener->accept_count > 0);
    listener->accept_count--;
}

/** Nobody will ever hold it: end it without telling anyone. */
static void discard(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    bool reset = connection->unannounced && connection->hot.state != TCP_STATE_CLOSED;
    if (reset && connection->hot.state != TCP_STATE_TIME_WAIT)
        tcp_send_reset(stack, connection, now_ns);
    connection->orphaned = connection->closed_told = connection->released = true;
    connection->unannounced = false;
    if (connection->hot.state != TCP_STATE_CLOSED)
        tcp_enter_closed(stack, connection, 0);
    tcp_release_if_done(stack, connection);
}

void tcp_listener_close(struct stack *stack, struct tcp_listener *listener, uint64_t now_ns)
{
    while (listener->embryonic_first)
        discard(stack, listener->embryonic_first, now_ns);
    while (listener->accept_first) {
        struct tcp_connection *connection = listener->accept_first;
        listener->accept_first = connection->pending->next;
        tcp_pending_drop(stack, connection);
        discard(stack, connection, now_ns);
    }
    stack_listener_remove(stack, listener);
    tcp_prototype_forget_listener(stack, listener);
    listener->id = 0; /* fast connections not yet confirmed lose sight of it */
    stack_listener_free(stack, listener);
}

void tcp_listener_get_info(const struct tcp_listener *listener, struct tcp_listener_info *info)
{
    *info = (struct tcp_listener_info){
        .local = listener->key.local,
        .is_ipv6 = listener->key.is_ipv6,
        .v6only = listener->key.v6only,
        .backlog = listener->backlog,
        .accept_queue = listener->accept_count,
        .syn_queue = listener->syn_count,
        .syn_cookies_sent = listener->syn_cookies_sent,
        .overflows = listener->overflows,
    };
}
