#include "core/tcp/prototype.h"

#include "core/tcp/connect.h"
#include "core/tcp/listener.h"

/** Whatever a SYN's options say but for MSS and time stamps, in one word. */
static uint64_t options_word(const struct tcp_options *options)
{
    uint64_t word;
    _Static_assert(offsetof(struct tcp_options, sack_block_count) == sizeof(word),
                   "all that tells which there are, and the window scale, lies before");
    memcpy(&word, options, sizeof(word));
    return word;
}

/** Time stamps, SACK and window scale; anything else, as fast open's, is rare. */
static bool options_are_usual(const struct tcp_options *options)
{
    return options->has_mss && options->has_timestamps && options->has_sack_permitted &&
           options->has_window_scale && !options->has_fast_open && !options->has_signature;
}

static bool is_off(const struct stack *stack)
{
    return stack_get_config(stack)->no_prediction;
}

/* ---- Which -------------------------------------------------------------------------------- */

/** Known options at once: a set is one set as long as it is held. */
static bool has_options(const struct tcp_prototype *prototype,
                        const struct tcp_connect_request *request)
{
    if (request->options == NULL)
        return prototype->is_default;
    return memcmp(request->options, prototype->options, sizeof(*request->options)) == 0;
}

const struct tcp_prototype *tcp_prototype_active(struct stack *stack, const struct tcp_flow *flow,
                                                 const struct tcp_connect_request *request,
                                                 uint64_t now_ns)
{
    const struct tcp_prototype *prototype = &stack_prototypes(stack)->active;
    if (prototype->options == NULL || request->fast_open || !ip_address_is_v4(&flow->remote) ||
        !has_options(prototype, request) ||
        stack_path_mtu(stack, &flow->remote, now_ns) != prototype->path_mtu || is_off(stack))
        return NULL;
    return prototype;
}

const struct tcp_prototype *tcp_prototype_passive(struct stack *stack,
                                                  const struct tcp_listener *listener,
                                                  const struct tcp_segment *segment,
                                                  const struct tcp_options *options,
                                                  uint64_t now_ns)
{
    const struct tcp_prototype *prototype = &stack_prototypes(stack)->passive;
    if (prototype->options == NULL || listener->shared_options != prototype->options ||
        segment->flags != TCP_SYN || segment->window != prototype->syn_window ||
        options_word(options) != prototype->syn_options || options->mss != prototype->syn_mss ||
        !ip_address_is_v4(&segment->source.address) ||
        stack_path_mtu(stack, &segment->source.address, now_ns) != prototype->path_mtu ||
        is_off(stack))
        return NULL;
    return prototype;
}

/* ---- Copies ------------------------------------------------------------------------------- */

struct tcp_connection *tcp_prototype_copy(struct stack *stack,
                                          const struct tcp_prototype *prototype,
                                          const struct tcp_flow *flow, const seq_t *iss,
                                          uint64_t now_ns)
{
    struct tcp_connection *connection = stack_connection_copy(stack, &prototype->connection);
    if (connection == NULL)
        return NULL;
    tcp_options_hold(prototype->options);
    connection->flow = *flow;
    tcp_numbers_init(stack, connection, iss, now_ns);
    return connection;
}

static void keep(struct stack *stack, struct tcp_prototype *prototype,
                 const struct tcp_connection *connection)
{
    tcp_options_hold(connection->options);
    if (prototype->options != NULL)
        tcp_options_release(stack, prototype->options);
    *prototype = (struct tcp_prototype){
        .options = connection->options,
        .path_mtu = connection->path_mtu,
        .connection = *connection,
    };
    prototype->connection.links = (struct tcp_links){0};
}

void tcp_prototype_active_keep(struct stack *stack, const struct tcp_connection *connection,
                               const struct tcp_connect_request *request)
{
    struct tcp_prototype *prototype = &stack_prototypes(stack)->active;
    if (connection->is_ipv6 || request->fast_open || is_off(stack))
        return;
    keep(stack, prototype, connection);
    prototype->is_default = request->options == NULL;
}

void tcp_prototype_passive_keep(struct stack *stack, struct tcp_listener *listener,
                                const struct tcp_connection *connection,
                                const struct tcp_segment *segment,
                                const struct tcp_options *options)
{
    struct tcp_prototype *prototype = &stack_prototypes(stack)->passive;
    if (connection->is_ipv6 || segment->flags != TCP_SYN || !options_are_usual(options) ||
        is_off(stack))
        return;
    tcp_prototype_forget_listener(stack, listener);
    tcp_options_hold(connection->options);
    listener->shared_options = connection->options;
    keep(stack, prototype, connection);
    prototype->syn_window = segment->window;
    prototype->syn_mss = options->mss;
    prototype->syn_options = options_word(options);
}

void tcp_prototype_forget_listener(struct stack *stack, struct tcp_listener *listener)
{
    if (listener->shared_options != NULL)
        tcp_options_release(stack, listener->shared_options);
    listener->shared_options = NULL;
}

/* ---- The stack's memory --------------------------------------------------------------------- */

size_t tcp_prototypes_bytes(void)
{
    return sizeof(struct tcp_prototypes);
}

static void forget(struct stack *stack, struct tcp_prototype *prototype)
{
    if (prototype->options != NULL)
        tcp_options_release(stack, prototype->options);
    prototype->options = NULL;
}

void tcp_prototypes_forget(struct stack *stack)
{
    forget(stack, &stack_prototypes(stack)->active);
    forget(stack, &stack_prototypes(stack)->passive);
}
