#include "core/tcp/output.h"
#include "core/tcp/rare.h"
#include "core/tcp/receive.h"

#define UNSCALED_MAX UINT32_C(65535)
/** Linux's SOCK_MIN_RCVBUF, half of it. */
#define WINDOW_CLAMP_MIN UINT32_C(1152)

/** Linux counts memory against the buffer; until it has measured, half of it is taken to be
    payload. In 256ths: */
#define WINDOW_SHARE_USUAL 128

static uint32_t window_share(const struct tcp_connection *connection)
{
    uint32_t measured = connection->rare->window_share;
    return measured != 0 ? measured : WINDOW_SHARE_USUAL;
}

static uint32_t window_from_buffer(uint32_t buffer, uint32_t share)
{
    return (uint32_t)((uint64_t)buffer * share >> 8);
}

/** Payload of a full segment from the peer (Linux's tp->advmss). */
static uint32_t full_payload(const struct tcp_connection *connection)
{
    return tcp_advertised_mss(connection) -
           (connection->hot.timestamps ? TCP_TIMESTAMP_OPTION_BYTES : 0);
}

/** What of the receive buffer may be payload. */
static uint32_t receive_room(const struct tcp_connection *connection)
{
    return window_from_buffer(connection->receive.buffer, window_share(connection));
}

static uint32_t buffer_initial(const struct stack *stack, const struct tcp_options_set *options)
{
    return options->receive_buffer ? options->receive_buffer
                                   : stack_get_config(stack)->tcp.receive_buffer_initial;
}

uint32_t tcp_window_initial(const struct stack *stack, const struct tcp_options_set *options,
                            uint32_t mss, bool scaling, uint8_t *scale)
{
    uint32_t clamp = options->window_clamp ? options->window_clamp : UINT32_MAX;
    uint32_t space = window_from_buffer(buffer_initial(stack, options), WINDOW_SHARE_USUAL);
    if (options->receive_buffer != 0 && clamp > space)
        clamp = space;
    if (space > clamp)
        space = clamp;
    *scale = 0;
    if (scaling) {
        uint32_t most = stack_get_config(stack)->tcp.receive_buffer_max;
        if (most < space)
            most = space;
        if (most > clamp)
            most = clamp;
        if (most > UNSCALED_MAX) /* so many bits too long for 16 */
            *scale = (uint8_t)(16 - __builtin_clz(most));
        if (*scale > TCP_WINDOW_SCALE_MAX)
            *scale = TCP_WINDOW_SCALE_MAX;
    }
    if (mss > 0 && space > mss)
        space -= space % mss;
    uint32_t largest = UNSCALED_MAX << *scale;
    return space < largest ? space : largest;
}

void tcp_window_init(struct stack *stack, struct tcp_connection *connection, uint32_t mss)
{
    struct tcp_hot *hot = &connection->hot;
    hot->rcv_wnd =
        tcp_window_initial(stack, connection->options, mss, hot->window_scaling, &hot->rcv_wscale);
    connection->receive.buffer = buffer_initial(stack, connection->options);
    connection->receive.ssthresh = hot->rcv_wnd;
    connection->receive.window_clamp =
        connection->options->window_clamp ? connection->options->window_clamp : UINT32_MAX;
}

void tcp_window_established(struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_hot *hot = &connection->hot;
    struct tcp_receive *receive = &connection->receive;
    uint32_t mss = full_payload(connection);
    uint32_t most = receive_room(connection);
    if (!hot->window_scaling) {
        hot->rcv_wscale = hot->snd_wscale = 0;
        hot->rcv_wnd = hot->rcv_wnd < UNSCALED_MAX ? hot->rcv_wnd : UNSCALED_MAX;
    }
    if (receive->window_clamp > UNSCALED_MAX << hot->rcv_wscale)
        receive->window_clamp = UNSCALED_MAX << hot->rcv_wscale;
    if (receive->window_clamp > most)
        receive->window_clamp = most;
    /* Linux keeps room for one segment that the window does not offer. */
    if (receive->window_clamp > 2 * mss && receive->window_clamp + mss > most)
        receive->window_clamp = most > 3 * mss ? most - mss : 2 * mss;
    if (receive->ssthresh > receive->window_clamp)
        receive->ssthresh = receive->window_clamp;
    receive->space = 10 * mss;
    if (receive->space > hot->rcv_wnd)
        receive->space = hot->rcv_wnd;
    receive->space_measured = hot->rcv_read;
    receive->space_measured_us = (uint32_t)(now_ns / NS_PER_US);
}

/** tcp_receive_window() */
static inline uint32_t window_left(const struct tcp_hot *hot)
{
    uint32_t used = tcp_unadvertised(hot);
    return hot->rcv_wnd > used ? hot->rcv_wnd - used : 0;
}

uint32_t tcp_receive_window(const struct tcp_connection *connection)
{
    return window_left(&connection->hot);
}

/** Room in the buffer: what arrived in order and was not read takes it. */
static uint32_t free_space(const struct tcp_connection *connection)
{
    const struct tcp_rare *rare = connection->rare;
    uint32_t most = receive_room(connection), buffer = connection->receive.buffer;
    if (rare->window_share != 0)
        return rare->unread_memory < buffer
                   ? window_from_buffer(buffer - rare->unread_memory, rare->window_share)
                   : 0;
    uint64_t unread = tcp_received_end(connection) - tcp_rcv_read(&connection->hot);
    return unread < most ? (uint32_t)(most - unread) : 0;
}

/** As Linux while less than half is free, where memory is counted as it does; else, with less to go
    by, not before there is no room for a segment. */
bool tcp_window_is_closing(const struct tcp_connection *connection)
{
    uint32_t room = receive_room(connection), clamp = connection->receive.window_clamp;
    if (connection->rare->window_share == 0)
        return free_space(connection) < connection->hot.rcv_mss;
    return free_space(connection) < (room < clamp ? room : clamp) / 2;
}

static uint32_t round_up(uint32_t value, uint32_t shift)
{
    uint32_t mask = (UINT32_C(1) << shift) - 1;
    return (value + mask) & ~mask;
}

/** Without scaling: a multiple of the segment size, and the old window while that will do. */
static uint32_t select_unscaled(const struct tcp_connection *connection, uint32_t space,
                                uint32_t full, uint32_t mss)
{
    uint32_t window = connection->hot.rcv_wnd;
    if ((int64_t)window <= (int64_t)space - mss || window > space)
        return space - space % mss;
    if (mss == full && space > window + full / 2)
        return space;
    return window;
}

/** What could be offered now; silly windows avoided (RFC 9293 §3.8.6.2.2, by Linux's rules). */
static uint32_t window_select(const struct tcp_connection *connection)
{
    const struct tcp_hot *hot = &connection->hot;
    const struct tcp_receive *receive = &connection->receive;
    uint32_t most = receive_room(connection);
    uint32_t full = most < receive->window_clamp ? most : receive->window_clamp;
    /* Whole segments are offered only as far as any is: it must not come to none for ever. */
    uint32_t mss = hot->rcv_mss < full ? hot->rcv_mss : full;
    if (mss > receive->ssthresh)
        mss = receive->ssthresh;
    uint32_t space = free_space(connection);
    if (mss == 0)
        return 0;
    if (space < full / 2) {
        space &= ~((UINT32_C(1) << hot->rcv_wscale) - 1);
        if (space < most / 16 || space < mss)
            return 0;
    }
    if (space > receive->ssthresh)
        space = receive->ssthresh;
    if (hot->rcv_wscale > 0)
        return round_up(space, hot->rcv_wscale);
    return select_unscaled(connection, space, full, mss);
}

/** window_select() of a scaled window, not yet rounded, when all was read: nothing can be silly. */
static inline uint32_t window_of_empty_buffer(const struct tcp_receive *receive)
{
    uint32_t most = window_from_buffer(receive->buffer, WINDOW_SHARE_USUAL);
    return most < receive->ssthresh ? most : receive->ssthresh;
}

/** This window is offered, or what is left of the one before, which is not taken back. */
static inline uint16_t advertise(struct tcp_hot *hot, uint32_t window)
{
    uint32_t before = window_left(hot);
    if (window < before)
        window = before;
    uint32_t units = (window + (UINT32_C(1) << hot->rcv_wscale) - 1) >> hot->rcv_wscale;
    if (units > UNSCALED_MAX)
        units = UNSCALED_MAX;
    hot->rcv_wnd = units << hot->rcv_wscale;
    hot->rcv_wup = tcp_wire(hot->rcv_nxt);
    return (uint16_t)units;
}

/** Apart, so that an empty buffer does not pay for its registers. */
static __attribute__((noinline)) uint16_t advertise_selected(struct tcp_connection *connection)
{
    return advertise(&connection->hot, window_select(connection));
}

uint16_t tcp_window_advertise(struct tcp_connection *connection)
{
    struct tcp_hot *hot = &connection->hot;
    bool is_empty = hot->rcv_read.value == tcp_wire(tcp_received_end(connection)).value &&
                    hot->rcv_wscale > 0 && connection->rare->window_share == 0;
    if (__builtin_expect(!is_empty, 0))
        return advertise_selected(connection);
    return advertise(hot, window_of_empty_buffer(&connection->receive));
}

void tcp_window_grow(struct tcp_connection *connection, uint32_t length)
{
    struct tcp_receive *receive = &connection->receive;
    if (length < 128 || receive->ssthresh >= receive->window_clamp)
        return;
    uint32_t limit = free_space(connection);
    if (limit > receive->window_clamp)
        limit = receive->window_clamp;
    if (limit <= receive->ssthresh)
        return;
    uint32_t step = 2 * full_payload(connection);
    if (step < 2 * length)
        step = 2 * length;
    receive->ssthresh += limit - receive->ssthresh < step ? limit - receive->ssthresh : step;
    if (connection->hot.quick_acks == 0)
        connection->hot.quick_acks = 1;
}

static void rtt_sample(struct tcp_receive *receive, uint32_t rtt_us, bool from_timestamps)
{
    if (rtt_us == 0)
        rtt_us = 1;
    if (receive->rtt_us == 0)
        receive->rtt_us = rtt_us;
    else if (from_timestamps)
        receive->rtt_us = (uint32_t)(((uint64_t)receive->rtt_us * 7 + rtt_us) / 8);
    else if (rtt_us < receive->rtt_us)
        receive->rtt_us = rtt_us; /* a window's worth of time is at least a round trip */
}

void tcp_receive_rtt_measure(struct tcp_connection *connection, const struct tcp_segment *segment,
                             uint64_t now_ns)
{
    struct tcp_receive *receive = &connection->receive;
    struct tcp_hot *hot = &connection->hot;
    if (hot->timestamps && segment->options.has_timestamps &&
        segment->options.timestamp_echo != 0) {
        if (segment->payload_length < hot->rcv_mss)
            return;
        uint32_t rtt_ms = tcp_timestamp_now(connection, now_ns) - segment->options.timestamp_echo;
        if (rtt_ms < 100000)
            rtt_sample(receive, rtt_ms == 0 ? 1000 : rtt_ms * 1000, true);
        return;
    }
    uint32_t now_us = (uint32_t)(now_ns / NS_PER_US);
    if (receive->rtt_started_us != 0) {
        if (seq_lt(tcp_wire(hot->rcv_nxt), receive->rtt_seq))
            return;
        rtt_sample(receive, now_us - receive->rtt_started_us, false);
    }
    receive->rtt_seq = tcp_wire(hot->rcv_nxt + hot->rcv_wnd);
    receive->rtt_started_us = now_us;
}

/** The buffer becomes large enough to offer this window, unless the application chose its size. */
static void buffer_raise(const struct stack *stack, struct tcp_connection *connection,
                         uint64_t window)
{
    struct tcp_receive *receive = &connection->receive;
    uint64_t buffer = (window << 8) / window_share(connection);
    uint64_t most = stack_get_config(stack)->tcp.receive_buffer_max;
    if (connection->options->receive_buffer != 0 || connection->options->window_clamp != 0)
        return;
    if (buffer > most)
        buffer = most;
    if (buffer <= receive->buffer)
        return;
    receive->buffer = (uint32_t)buffer;
    receive->window_clamp = receive_room(connection);
    if (receive->window_clamp > UNSCALED_MAX << connection->hot.rcv_wscale)
        receive->window_clamp = UNSCALED_MAX << connection->hot.rcv_wscale;
}

void tcp_receive_memory_take(struct stack *stack, struct tcp_connection *connection,
                             uint32_t payload)
{
    tcp_rare_take(stack, connection)->unread_memory +=
        stack_get_config(stack)->receive_memory(payload);
}

/** Of what is unread in order, so many bytes are read now: what they took is free. */
static void memory_release(struct tcp_connection *connection, uint64_t bytes, uint64_t unread)
{
    uint32_t taken = connection->rare->unread_memory;
    if (taken == 0)
        return;
    const struct tcp_reassembly *reassembly = connection->rare->reassembly;
    if (reassembly->out_of_order.first != NULL)
        unread += reassembly->high - connection->hot.rcv_nxt;
    connection->rare->unread_memory =
        bytes < unread ? (uint32_t)(taken - taken * bytes / unread) : 0;
}

void tcp_window_measure(struct stack *stack, struct tcp_connection *connection, uint32_t payload)
{
    uint32_t (*memory)(uint32_t payload) = stack_get_config(stack)->receive_memory;
    struct tcp_receive *receive = &connection->receive;
    if (memory == NULL)
        return;
    uint32_t share = (uint32_t)(((uint64_t)payload << 8) / memory(payload));
    if (share > UINT8_MAX)
        share = UINT8_MAX;
    if (share == 0)
        share = 1;
    if (share == window_share(connection))
        return;
    tcp_rare_take(stack, connection)->window_share = (uint8_t)share;
    /* As tcp_set_window_clamp(). */
    uint32_t before = receive->window_clamp, offered = connection->hot.rcv_wnd;
    uint32_t room = receive_room(connection);
    receive->window_clamp = room < WINDOW_CLAMP_MIN ? WINDOW_CLAMP_MIN : room;
    if (receive->window_clamp < before && receive->ssthresh > receive->window_clamp)
        receive->ssthresh = receive->window_clamp;
    if (offered > receive->window_clamp)
        offered = receive->window_clamp;
    if (receive->window_clamp > before && receive->ssthresh < offered)
        receive->ssthresh = offered;
    if (receive->space > receive->window_clamp)
        receive->space = receive->window_clamp;
}

/** Dynamic right-sizing: the buffer follows twice what the application reads in a round trip. */
static void right_size(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_receive *receive = &connection->receive;
    uint32_t now_us = (uint32_t)(now_ns / NS_PER_US);
    if (receive->rtt_us == 0 || now_us - receive->space_measured_us < receive->rtt_us)
        return;
    uint32_t copied = connection->hot.rcv_read.value - receive->space_measured.value;
    if (copied > receive->space) {
        uint64_t window = 2 * (uint64_t)copied + 16 * (uint64_t)full_payload(connection);
        window += 2 * (window * (copied - receive->space) / receive->space);
        buffer_raise(stack, connection, window);
        receive->space = copied;
    }
    receive->space_measured = connection->hot.rcv_read;
    receive->space_measured_us = now_us;
}

void tcp_window_keep_up(const struct stack *stack, struct tcp_connection *connection,
                        uint32_t length)
{
    if (connection->hot.sack)
        tcp_window_grow(connection, length);
    if (connection->unannounced || connection->orphaned)
        return;
    uint64_t waiting = connection->rare->reassembly->high - connection->hot.rcv_nxt;
    buffer_raise(stack, connection, 2 * (uint64_t)connection->receive.space + waiting);
}

/** Whether reading calls for an ACK now: to open the window, or as nothing else is coming. */
static bool read_wants_ack(const struct tcp_connection *connection)
{
    const struct tcp_hot *hot = &connection->hot;
    if (hot->ack_deadline_ns != TIME_NEVER &&
        (tcp_unadvertised(hot) > hot->rcv_mss ||
         (!hot->pingpong && connection->hot.received_push && tcp_all_is_read(hot))))
        return true;
    uint32_t present = tcp_receive_window(connection);
    if (hot->fin_received || 2 * (uint64_t)present > connection->receive.window_clamp)
        return false;
    uint32_t window = window_select(connection);
    return window != 0 && window >= 2 * (uint64_t)present;
}

void tcp_consumed(struct stack *stack, struct tcp_connection *connection, uint64_t stream_offset,
                  uint64_t now_ns)
{
    struct tcp_hot *hot = &connection->hot;
    uint64_t number = tcp_rcv_start(hot) + stream_offset;
    uint64_t end = tcp_received_end(connection);
    if (hot->state == TCP_STATE_CLOSED || hot->state == TCP_STATE_SYN_SENT)
        return;
    if (number > end)
        number = end;
    if (number <= tcp_rcv_read(hot))
        return;
    memory_release(connection, number - tcp_rcv_read(hot), end - tcp_rcv_read(hot));
    hot->rcv_read = tcp_wire(number);
    right_size(stack, connection, now_ns);
    if (read_wants_ack(connection))
        tcp_ack_now(stack, connection);
}
