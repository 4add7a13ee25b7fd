/*
 * Events for the embedder: merged bits per connection and listener, delivered in the order in which
 * their owners first had one.
 */
#include "base/assert.h"
#include "core/stack_state.h"

void stack_event_raise(struct stack *stack, struct tcp_connection *connection, uint32_t bits)
{
    struct tcp_links *links = connection_links(stack, connection);
    links->events |= (uint16_t)bits;
    if (links->event_next != 0)
        return;
    links->event_next = EVENT_LAST;
    if (stack->events_first == NULL)
        stack->events_first = connection;
    else
        connection_links(stack, stack->events_last)->event_next =
            connection_reference(stack, connection);
    stack->events_last = connection;
}

/** The connection after this one; NULL: it is the last. */
static struct tcp_connection *event_after(const struct stack *stack, const struct tcp_links *links)
{
    return links->event_next == EVENT_LAST ? NULL : connection_referred(stack, links->event_next);
}

void stack_event_forget(struct stack *stack, struct tcp_connection *connection)
{
    struct tcp_links *links = connection_links(stack, connection);
    if (links->event_next == 0)
        return;
    struct tcp_connection *previous = NULL;
    for (struct tcp_connection *at = stack->events_first; at != connection;
         at = event_after(stack, connection_links(stack, at)))
        previous = at;
    if (previous == NULL)
        stack->events_first = event_after(stack, links);
    else
        connection_links(stack, previous)->event_next = links->event_next;
    if (stack->events_last == connection)
        stack->events_last = previous;
    links->event_next = 0;
}

void stack_listener_event_raise(struct stack *stack, struct tcp_listener *listener, uint32_t bits)
{
    uint32_t *events = tcp_listener_events(listener);
    if (*events == 0) {
        *tcp_listener_event_next(listener) = NULL;
        *stack->listener_events_last = listener;
        stack->listener_events_last = tcp_listener_event_next(listener);
    }
    *events |= bits;
}

/** A connection whose end was told at the last call: the embedder no longer looks at it. */
static void let_go_of_closed(struct stack *stack)
{
    struct tcp_connection *connection = stack->closed_delivered;
    if (connection == NULL)
        return;
    stack->closed_delivered = NULL;
    tcp_closed_delivered(stack, connection);
}

static bool next_listener_event(struct stack *stack, struct stack_event *event)
{
    struct tcp_listener *listener = stack->listener_events;
    if (listener == NULL)
        return false;
    stack->listener_events = *tcp_listener_event_next(listener);
    if (stack->listener_events == NULL)
        stack->listener_events_last = &stack->listener_events;
    *tcp_listener_event_next(listener) = NULL;

    uint32_t *events = tcp_listener_events(listener);
    *event = (struct stack_event){
        .listener = listener, .user = tcp_listener_user(listener), .bits = *events};
    *events = 0;
    return true;
}

static inline bool next_connection_event(struct stack *stack, struct stack_event *event)
{
    struct tcp_connection *connection = stack->events_first;
    if (connection == NULL)
        return false;
    struct tcp_links *links = connection_links(stack, connection);
    stack->events_first = event_after(stack, links);
    links->event_next = 0;
    *event = (struct stack_event){
        .connection = connection, .user = tcp_user(connection), .bits = links->events};
    links->events = 0;
    if ((event->bits & STACK_EVENT_CLOSED) != 0)
        stack->closed_delivered = connection;
    return true;
}

/** Apart, so that connections' events do not pay for saving its registers. */
static __attribute__((noinline)) bool next_any_event(struct stack *stack, struct stack_event *event)
{
    let_go_of_closed(stack);
    return next_listener_event(stack, event) || next_connection_event(stack, event);
}

bool stack_next_event(struct stack *stack, struct stack_event *event)
{
    if (stack->closed_delivered != NULL || stack->listener_events != NULL)
        return next_any_event(stack, event);
    return next_connection_event(stack, event);
}
