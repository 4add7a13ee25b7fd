#include "core/tcp/receive.h"

#include "core/tcp/ecn.h"
#include "core/tcp/output.h"
#include "core/tcp/rare.h"
#include "core/tcp/timers.h"

/** ACKs sent at once when a connection starts: Linux's TCP_MAX_QUICKACKS. */
#define QUICK_ACKS_MAX 16
/** ACKs wait so long at least: Linux's TCP_ATO_MIN … */
#define ACK_DELAY_MIN_US UINT32_C(40000)
/** … and so much less than the peer's timeout at least, if that is like ours. */
#define TIMER_GRAIN_US UINT32_C(1000)
/** At most one answer to unacceptable segments in this time (Linux: tcp_invalid_ratelimit). */
#define CHALLENGE_INTERVAL_MS 500

void tcp_ack_now(struct stack *stack, struct tcp_connection *connection)
{
    if (connection->hot.acks_owed == 0)
        connection->hot.acks_owed = 1;
    tcp_output_request(stack, connection);
}

/** So many ACKs are not delayed, outside of request and response (Linux's tcp_incr_quickack). */
static void quick_acks_raise(struct tcp_connection *connection, unsigned count_max)
{
    struct tcp_hot *hot = &connection->hot;
    unsigned count = hot->rcv_mss ? hot->rcv_wnd / (2u * hot->rcv_mss) : 2;
    if (count < 2)
        count = 2;
    if (count > count_max)
        count = count_max;
    if (count > hot->quick_acks)
        hot->quick_acks = (uint8_t)count;
}

void tcp_quick_ack_enter(struct tcp_connection *connection, unsigned count_max)
{
    quick_acks_raise(connection, count_max);
    connection->hot.pingpong = false;
    connection->receive.ack_delay_us = ACK_DELAY_MIN_US;
}

/** How long an ACK may wait: as data comes in, within limits (Linux's tcp_send_delayed_ack). */
static uint32_t ack_delay_us(const struct tcp_connection *connection)
{
    const struct tcp_options_set *options = connection->options;
    uint32_t delay_us = connection->receive.ack_delay_us;
    uint32_t most_us = options->ack_delay_max_us;
    if (most_us >= options->rto_min_us)
        most_us = options->rto_min_us > 2 * TIMER_GRAIN_US ? options->rto_min_us - TIMER_GRAIN_US
                                                           : TIMER_GRAIN_US;
    uint32_t srtt_us = tcp_srtt_us(connection);
    if (delay_us > ACK_DELAY_MIN_US && srtt_us != 0 && srtt_us < delay_us)
        delay_us = srtt_us < ACK_DELAY_MIN_US ? ACK_DELAY_MIN_US : srtt_us;
    return delay_us < most_us ? delay_us : most_us;
}

void tcp_ack_schedule(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_hot *hot = &connection->hot;
    bool second = tcp_unadvertised(hot) > hot->rcv_mss;
    /* Until there is room again the peer can send nothing: that is told with it, or after a while.
     */
    if (second && tcp_window_is_closing(connection))
        hot->quick_acks = 0;
    else if (second || (hot->quick_acks > 0 && !hot->pingpong)) {
        tcp_ack_now(stack, connection);
        return;
    }
    uint64_t delay_ns = ack_delay_us(connection) * NS_PER_US;
    if (hot->ack_deadline_ns == TIME_NEVER || hot->ack_deadline_ns > now_ns + delay_ns)
        tcp_ack_timer_set(stack, connection, now_ns + delay_ns);
    else if (hot->ack_deadline_ns <= now_ns + delay_ns / 4)
        tcp_ack_now(stack, connection);
}

bool tcp_challenge_allowed(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    uint32_t now_ms = (uint32_t)(now_ns / NS_PER_MS);
    if (connection->hot.challenge_acked &&
        now_ms - connection->rare->challenge_acked_ms < CHALLENGE_INTERVAL_MS)
        return false;
    connection->hot.challenge_acked = true;
    tcp_rare_take(stack, connection)->challenge_acked_ms = now_ms;
    return true;
}

void tcp_challenge_ack(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    if (!tcp_challenge_allowed(stack, connection, now_ns))
        return;
    stack_counters(stack)->challenge_acks++;
    tcp_ack_now(stack, connection);
}

/* ---- SACK blocks --------------------------------------------------------------------------- */

static bool block_is_empty(const struct tcp_sack_block *block)
{
    return seq_eq(block->start, block->end);
}

static struct tcp_sack_block block_of(uint64_t start, uint64_t end)
{
    return (struct tcp_sack_block){.start = tcp_wire(start), .end = tcp_wire(end)};
}

/** The block that just grew goes first; those it swallowed go (RFC 2018 §4). */
static void recent_block_put(struct tcp_reassembly *reassembly, struct tcp_sack_block block)
{
    unsigned kept = 0;
    struct tcp_sack_block blocks[TCP_RECENT_BLOCKS];
    for (unsigned i = 0; i < TCP_RECENT_BLOCKS; i++) {
        const struct tcp_sack_block *old = &reassembly->recent[i];
        bool swallowed = seq_geq(old->start, block.start) && seq_leq(old->end, block.end);
        if (!block_is_empty(old) && !swallowed && kept < TCP_RECENT_BLOCKS - 1)
            blocks[kept++] = *old;
    }
    reassembly->recent[0] = block;
    for (unsigned i = 1; i < TCP_RECENT_BLOCKS; i++)
        reassembly->recent[i] = i <= kept ? blocks[i - 1] : (struct tcp_sack_block){0};
}

/** rcv_nxt advanced: drop the blocks it passed. */
static void recent_blocks_trim(struct tcp_connection *connection)
{
    struct tcp_reassembly *reassembly = connection->rare->reassembly;
    unsigned kept = 0;
    for (unsigned i = 0; i < TCP_RECENT_BLOCKS; i++)
        if (!block_is_empty(&reassembly->recent[i]) &&
            seq_gt(reassembly->recent[i].start, tcp_wire(connection->hot.rcv_nxt)))
            reassembly->recent[kept++] = reassembly->recent[i];
    while (kept < TCP_RECENT_BLOCKS)
        reassembly->recent[kept++] = (struct tcp_sack_block){0};
}

unsigned tcp_sack_blocks_wanted(const struct tcp_connection *connection)
{
    const struct tcp_reassembly *reassembly = connection->rare->reassembly;
    unsigned count = !block_is_empty(&reassembly->dsack);
    for (unsigned i = 0; i < TCP_RECENT_BLOCKS && !block_is_empty(&reassembly->recent[i]); i++)
        count++;
    return count;
}

bool tcp_sack_ends_at(const struct tcp_connection *connection, seq_t number)
{
    const struct tcp_sack_block *recent = connection->rare->reassembly->recent;
    bool is_end = false;
    for (unsigned i = 0; i < TCP_RECENT_BLOCKS && !block_is_empty(&recent[i]); i++) {
        if (seq_gt(recent[i].end, number))
            return false;
        is_end = is_end || seq_eq(recent[i].end, number);
    }
    return is_end;
}

unsigned tcp_sack_blocks(struct tcp_connection *connection, unsigned max,
                         struct tcp_sack_block *blocks)
{
    struct tcp_reassembly *reassembly = connection->rare->reassembly;
    unsigned count = 0;
    if (!block_is_empty(&reassembly->dsack) && count < max) {
        blocks[count++] = reassembly->dsack;
        reassembly->dsack = (struct tcp_sack_block){0};
    }
    for (unsigned i = 0; i < TCP_RECENT_BLOCKS && count < max; i++) {
        if (block_is_empty(&reassembly->recent[i]))
            break;
        blocks[count++] = reassembly->recent[i];
    }
    return count;
}

/** D-SACK [start, end) with the next ACK. What came in the same burst just before is not forgotten:
    a peer that wants to undo needs to hear of every duplicate. */
static void dsack_note(struct stack *stack, struct tcp_connection *connection, uint64_t start,
                       uint64_t end)
{
    if (!connection->hot.sack || start >= end)
        return;
    struct tcp_sack_block *dsack = &tcp_reassembly_take(stack, connection)->dsack;
    if (!block_is_empty(dsack) && seq_eq(dsack->end, tcp_wire(start)))
        dsack->end = tcp_wire(end);
    else
        *dsack = block_of(start, end);
}

void tcp_duplicate_report(struct stack *stack, struct tcp_connection *connection, uint64_t start,
                          uint64_t end)
{
    dsack_note(stack, connection, start, end);
    tcp_quick_ack_enter(connection, QUICK_ACKS_MAX);
    tcp_ack_now(stack, connection);
}

/* ---- Payload ------------------------------------------------------------------------------- */

/** Estimate of the peer's segment size: the largest lately seen, up to what we announced, less the
    timestamps that are in each (Linux's tp->advmss). */
static void rcv_mss_update(struct stack *stack, struct tcp_connection *connection, uint32_t length,
                           uint32_t payload)
{
    struct tcp_hot *hot = &connection->hot;
    if (length < hot->rcv_mss)
        return;
    if (length != hot->rcv_mss)
        tcp_window_measure(stack, connection, payload);
    uint32_t limit = tcp_advertised_mss(connection);
    if (hot->timestamps)
        limit -= TCP_TIMESTAMP_OPTION_BYTES;
    hot->rcv_mss = (uint16_t)(length < limit ? length : limit);
}

void tcp_ack_delay_expired(struct tcp_connection *connection)
{
    struct tcp_receive *receive = &connection->receive;
    uint32_t rto_us = connection->congestion.rto_us;
    if (connection->hot.pingpong)
        receive->ack_delay_us = ACK_DELAY_MIN_US;
    else
        receive->ack_delay_us =
            receive->ack_delay_us < rto_us / 2 ? 2 * receive->ack_delay_us : rto_us;
    connection->hot.pingpong = false;
}

/** How long ACKs wait follows the pace at which data comes (Linux's tcp_event_data_recv). */
static void ack_delay_update(struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_receive *receive = &connection->receive;
    uint64_t since_ns = tcp_age_ns(receive->last_data_ms, now_ns);
    uint32_t rto_us = connection->congestion.rto_us;
    if (receive->ack_delay_us == 0) {
        quick_acks_raise(connection, QUICK_ACKS_MAX);
        receive->ack_delay_us = ACK_DELAY_MIN_US;
    } else if (since_ns <= ACK_DELAY_MIN_US / 2 * NS_PER_US) {
        receive->ack_delay_us = receive->ack_delay_us / 2 + ACK_DELAY_MIN_US / 2;
    } else if (since_ns < receive->ack_delay_us * NS_PER_US) {
        receive->ack_delay_us = receive->ack_delay_us / 2 + (uint32_t)(since_ns / NS_PER_US);
        if (receive->ack_delay_us > rto_us)
            receive->ack_delay_us = rto_us;
    } else if (since_ns > rto_us * NS_PER_US) {
        quick_acks_raise(connection, QUICK_ACKS_MAX); /* the peer may have started over */
    }
}

/** What the segment says of the peer's size of segments and messages. */
static inline void size_note(struct stack *stack, struct tcp_connection *connection,
                             const struct tcp_segment *segment)
{
    /* Until the ACK is sent; also of a full segment, which may be a message as long as all others
       (Linux's ICSK_ACK_PUSHED, from 6.7 on). */
    connection->hot.received_push =
        (segment->flags & TCP_PSH) != 0 ||
        (connection->hot.received_push && connection->hot.ack_deadline_ns != TIME_NEVER);
    rcv_mss_update(stack, connection,
                   segment->gso_size != 0 ? segment->gso_size : segment->payload_length,
                   segment->payload_length);
}

/** Beyond a gap: says nothing yet of when data comes. */
static void waiting_note(struct stack *stack, struct tcp_connection *connection,
                         const struct tcp_segment *segment, uint64_t now_ns)
{
    size_note(stack, connection, segment);
    if (connection->hot.ecn)
        tcp_ecn_payload_arrives(stack, connection, segment, now_ns);
}

/** In order. is_predicted: the segment has timestamps, and the connection no ECN. */
static inline void arrival_note(struct stack *stack, struct tcp_connection *connection,
                                const struct tcp_segment *segment, uint64_t now_ns,
                                bool is_predicted)
{
    struct tcp_receive *receive = &connection->receive;
    ack_delay_update(connection, now_ns);
    receive->last_data_ms = tcp_clock_ms(now_ns);
    size_note(stack, connection, segment);
    if (!is_predicted && connection->hot.ecn && segment->payload_length > 0)
        tcp_ecn_payload_arrives(stack, connection, segment, now_ns);
    /* No timestamp tells the round trip of what may have waited for more. */
    bool has_echo = is_predicted && segment->options.timestamp_echo != 0;
    if (!has_echo || segment->payload_length >= connection->hot.rcv_mss)
        tcp_receive_rtt_measure(connection, segment, now_ns);
}

/** What waits around here goes first among the blocks to report; a FIN behind it counts (Linux). */
static void waiting_block_put(struct tcp_connection *connection, uint64_t start)
{
    struct tcp_reassembly *reassembly = connection->rare->reassembly;
    const struct interval *block = interval_set_find(&reassembly->out_of_order, start);
    PNO_ASSERT(block != NULL);
    bool fin = connection->hot.fin_waiting && block->end == reassembly->fin;
    recent_block_put(reassembly, block_of(block->start, block->end + fin));
}

/** A FIN beyond a gap: it is reported with the payload before it, or alone. */
static void waiting_fin_put(struct tcp_connection *connection)
{
    struct tcp_reassembly *reassembly = connection->rare->reassembly;
    if (interval_set_find(&reassembly->out_of_order, reassembly->fin - 1) != NULL)
        waiting_block_put(connection, reassembly->fin - 1);
    else
        recent_block_put(reassembly, block_of(reassembly->fin, reassembly->fin + 1));
}

/** Beyond a gap: of what waits there already the first part is reported (RFC 2883 §4.2). */
static void overlap_note(struct stack *stack, struct tcp_connection *connection, uint64_t start,
                         uint64_t end)
{
    const struct interval *first =
        interval_set_from(&connection->rare->reassembly->out_of_order, start);
    if (first != NULL && first->start < end)
        dsack_note(stack, connection, start > first->start ? start : first->start,
                   end < first->end ? end : first->end);
}

/** Beyond a gap. @return true when it is wanted. */
static bool queue_out_of_order(struct stack *stack, struct tcp_connection *connection,
                               uint64_t start, uint64_t end, bool has_fin,
                               struct stack_rx_result *result)
{
    struct tcp_reassembly *reassembly = tcp_reassembly_take(stack, connection);
    overlap_note(stack, connection, start, end);
    int64_t added = interval_set_add(&reassembly->out_of_order, stack_interval_pool(stack), start,
                                     end, TCP_INTERVALS_MAX);
    if (added < 0) {
        result->drop = DROP_INTERVAL_LIMIT;
        tcp_ack_now(stack, connection);
        return false;
    }
    stack_counters(stack)->out_of_order++;
    tcp_rare_take(stack, connection)->out_of_order++;
    waiting_block_put(connection, start);
    if (added == 0) {
        bool new_fin = has_fin && !connection->hot.fin_waiting;
        result->drop = new_fin ? DROP_NONE : DROP_TCP_OLD_DUPLICATE;
        tcp_duplicate_report(stack, connection, start, end + (has_fin && !new_fin));
        return false;
    }
    if (end > reassembly->high)
        reassembly->high = end;
    tcp_window_keep_up(stack, connection, (uint32_t)(end - start));
    tcp_receive_memory_add(stack, connection, (uint32_t)(end - start));
    /* One duplicate ACK per segment is what a sender without SACK counts. */
    if (connection->hot.sack || connection->hot.acks_owed == UINT8_MAX)
        tcp_ack_now(stack, connection);
    else {
        connection->hot.acks_owed++;
        tcp_output_request(stack, connection);
    }
    return true;
}

/** Nothing follows a FIN: what pretended to is forgotten (as Linux). */
static void forget_out_of_order(struct stack *stack, struct tcp_connection *connection)
{
    struct tcp_reassembly *reassembly = connection->rare->reassembly;
    if (reassembly->out_of_order.first == NULL)
        return;
    interval_set_clear(&reassembly->out_of_order, stack_interval_pool(stack));
    for (unsigned i = 0; i < TCP_RECENT_BLOCKS; i++)
        reassembly->recent[i] = (struct tcp_sack_block){0};
}

/** rcv_nxt moves up to end, and over what was waiting behind it. @return true: a gap was filled. */
static bool advance(struct stack *stack, struct tcp_connection *connection, uint64_t end)
{
    struct tcp_reassembly *reassembly = connection->rare->reassembly;
    connection->hot.rcv_nxt = end;
    if (reassembly->out_of_order.first == NULL)
        return false;
    const struct interval *covered = reassembly->out_of_order.first;
    if (connection->hot.sack && covered->start < end && block_is_empty(&reassembly->dsack))
        reassembly->dsack = block_of(covered->start, covered->end < end ? covered->end : end);
    /* A long segment may have covered the first intervals: what counts is who reaches beyond. */
    const struct interval *next = interval_set_from(&reassembly->out_of_order, end);
    if (next && next->start <= end)
        connection->hot.rcv_nxt = next->end;
    if (connection->hot.fin_waiting && connection->hot.rcv_nxt >= reassembly->fin) {
        connection->hot.rcv_nxt = reassembly->fin;
        forget_out_of_order(stack, connection);
        return true;
    }
    interval_set_remove_below(&reassembly->out_of_order, stack_interval_pool(stack),
                              connection->hot.rcv_nxt);
    recent_blocks_trim(connection);
    return true;
}

/** [start, end) cut to the window lies at rcv_nxt or beyond. @return true: place it. */
static bool accept_payload(struct stack *stack, struct tcp_connection *connection, uint64_t start,
                           uint64_t end, bool has_fin, uint64_t now_ns,
                           struct stack_rx_result *result)
{
    struct tcp_hot *hot = &connection->hot;
    if (start > hot->rcv_nxt)
        return queue_out_of_order(stack, connection, start, end, has_fin, result);
    bool filled = advance(stack, connection, end);
    tcp_receive_memory_add(stack, connection, (uint32_t)(end - start));
    tcp_window_grow(connection, (uint32_t)(end - start));
    if (filled)
        tcp_ack_now(stack, connection); /* RFC 5681 §4.2 */
    else
        tcp_ack_schedule(stack, connection, now_ns);
    return true;
}

/** There is a FIN at number fin: the first that says so counts. */
static void note_fin(struct stack *stack, struct tcp_connection *connection, uint64_t fin)
{
    if (connection->hot.fin_waiting)
        return;
    connection->hot.fin_waiting = true;
    tcp_reassembly_take(stack, connection)->fin = fin;
}

/** Note the FIN at number fin, and take it when it is in order. @return true when it just was. */
static bool accept_fin(struct stack *stack, struct tcp_connection *connection, bool has_fin,
                       bool is_bare, uint64_t fin)
{
    struct tcp_hot *hot = &connection->hot;
    if (hot->fin_received || (!has_fin && !hot->fin_waiting))
        return false;
    if (hot->fin_waiting)
        fin = connection->rare->reassembly->fin;
    if (hot->rcv_nxt != fin) {
        bool is_news = !hot->fin_waiting && fin > hot->rcv_nxt;
        note_fin(stack, connection, fin);
        if (is_news || is_bare)
            waiting_fin_put(connection);
        tcp_rare_take(stack, connection)->out_of_order += is_bare;
        if (!is_news && is_bare)
            tcp_duplicate_report(stack, connection, fin, fin + 1);
        return false;
    }
    hot->fin_waiting = false;
    hot->fin_received = true;
    hot->rcv_nxt++;
    forget_out_of_order(stack, connection);
    if (!block_is_empty(&connection->rare->reassembly->recent[0]))
        recent_blocks_trim(connection); /* a FIN that waited alone */
    return true;
}

/** What of [start, end) is to be placed: not the ends that lie in place already. They may be on
    their way there, and must not be written once they have been read. */
static struct tcp_range unplaced(const struct tcp_connection *connection, uint64_t start,
                                 uint64_t end)
{
    const struct interval_set *waiting = &connection->rare->reassembly->out_of_order;
    struct tcp_range range = {.start = start, .end = end};
    if (waiting->first == NULL || start >= end)
        return range;
    const struct interval *first = interval_set_find(waiting, start);
    const struct interval *last = interval_set_find(waiting, end - 1);
    if (last != NULL && last != first)
        range.end = last->start;
    if (first != NULL && first->end < range.end)
        range.start = first->end;
    return range;
}

bool tcp_receive_payload(struct stack *stack, struct tcp_connection *connection,
                         const struct tcp_segment *segment, uint64_t seq, uint64_t now_ns,
                         struct stack_rx_result *result)
{
    struct tcp_hot *hot = &connection->hot;
    bool has_fin = segment->flags & TCP_FIN;
    uint64_t start = seq;
    uint64_t end = seq + segment->payload_length;
    uint32_t window = tcp_receive_window(connection);
    if (segment->payload_length == 0 && !has_fin)
        return false;
    if (hot->fin_received && start >= hot->rcv_nxt) {
        result->drop =
            DROP_TCP_OUT_OF_WINDOW; /* nothing follows a FIN, nor is it answered (Linux) */
        return false;
    }
    if (hot->fin_received || end + has_fin <= hot->rcv_nxt) {
        uint64_t duplicate_end = end + has_fin < hot->rcv_nxt ? end + has_fin : hot->rcv_nxt;
        result->drop = DROP_TCP_OLD_DUPLICATE;
        tcp_duplicate_report(stack, connection, start, duplicate_end);
        return false;
    }
    if (segment->payload_refused) {
        result->drop = DROP_NO_HOST_MEMORY;
        tcp_ack_now(stack, connection);
        return false;
    }
    if (start < hot->rcv_nxt) {
        dsack_note(stack, connection, start, end < hot->rcv_nxt ? end : hot->rcv_nxt);
        start = hot->rcv_nxt;
    }
    if (segment->payload_length > 0 && start >= hot->rcv_nxt + window) {
        result->drop = start == hot->rcv_nxt ? DROP_TCP_ZERO_WINDOW : DROP_TCP_OUT_OF_WINDOW;
        tcp_quick_ack_enter(connection, QUICK_ACKS_MAX);
        tcp_ack_now(stack, connection);
        return false;
    }
    if (hot->fin_waiting && end > connection->rare->reassembly->fin) {
        end = connection->rare->reassembly->fin; /* nothing follows a FIN */
        has_fin = false;
    }
    /* As Linux: a bare FIN is no data. */
    if (segment->payload_length > 0 && start > hot->rcv_nxt)
        waiting_note(stack, connection, segment, now_ns);
    else if (segment->payload_length > 0)
        arrival_note(stack, connection, segment, now_ns, false);
    if (start < end) {
        struct tcp_range place = unplaced(connection, start, end);
        if (has_fin && start == hot->rcv_nxt) {
            if (connection->rare->reassembly->out_of_order.first != NULL)
                note_fin(stack, connection, end); /* before anything that lies beyond is joined */
            hot->pingpong = true; /* as in tcp_fin_arrived(): our FIN carries the ACK */
        }
        if (accept_payload(stack, connection, start, end, has_fin, now_ns, result)) {
            result->place_offset = place.start - tcp_rcv_start(hot);
            result->place_skip = (uint32_t)(place.start - seq);
            result->place_length = (uint32_t)(place.end - place.start);
        }
    } else if (!has_fin) {
        result->drop = DROP_TCP_OUT_OF_WINDOW;
        tcp_ack_now(stack, connection);
    }
    if (result->drop != DROP_NONE)
        return false;
    /* A bare FIN beyond a gap; or in spite of a closed window, of which the peer has to hear. */
    if (start == end && (start > hot->rcv_nxt || window == 0))
        tcp_ack_now(stack, connection);
    return accept_fin(stack, connection, has_fin, segment->payload_length == 0, end);
}

void tcp_receive_predicted(struct stack *stack, struct tcp_connection *connection,
                           const struct tcp_segment *segment, uint64_t now_ns,
                           struct stack_rx_result *result)
{
    struct tcp_hot *hot = &connection->hot;
    uint32_t length = segment->payload_length;
    arrival_note(stack, connection, segment, now_ns, true);
    result->place_offset = hot->rcv_nxt - tcp_rcv_start(hot);
    result->place_skip = 0;
    result->place_length = length;
    hot->rcv_nxt += length;
    tcp_receive_memory_add(stack, connection, length);
    tcp_window_grow(connection, length);
    tcp_ack_schedule(stack, connection, now_ns);
}

void tcp_receive_predicted_fin(struct stack *stack, struct tcp_connection *connection,
                               const struct tcp_segment *segment, uint64_t now_ns,
                               struct stack_rx_result *result)
{
    struct tcp_hot *hot = &connection->hot;
    if (segment->payload_length > 0) {
        hot->pingpong = true; /* as in tcp_receive_payload() */
        tcp_receive_predicted(stack, connection, segment, now_ns, result);
    }
    hot->fin_received = true;
    hot->rcv_nxt++;
}
