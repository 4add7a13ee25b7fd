#include "core/tcp/sent.h"

#include "core/tcp/delivery.h"
#include "core/tcp/rack.h"
#include "core/tcp/rare.h"
#include "core/tcp/recovery.h"

/** Bursts this share of a round trip apart have one record: at most so many fly at once. */
#define RECORDS_PER_RTT 256
#define AGE_MAX_US      (15u * 60 * 1000 * 1000)
/** From so many on, bursts share a record even if the first was pushed, or they are of many sizes:
    that is forgotten. */
#define RECORDS_PUSHED_MAX 64
/** A longer burst counts as several. */
#define BURST_MAX UINT16_MAX

/* ---- Pool ---------------------------------------------------------------------------------- */

size_t tcp_sent_bytes(void)
{
    return sizeof(struct tcp_sent);
}

void tcp_sent_pool_init(struct tcp_sent_pool *pool, void *nodes, uint32_t connections,
                        uint32_t share)
{
    struct tcp_sent *first = nodes;
    *pool = (struct tcp_sent_pool){
        .fresh = first, .fresh_end = first + connections + share, .share = share};
}

/** A connection's first record is always there; NULL when there is none left for a further one. */
static struct tcp_sent *record_alloc(struct stack *stack, struct tcp_connection *connection)
{
    struct tcp_sent_pool *pool = stack_sent_pool(stack);
    bool is_first = connection->hot.sent_count == 0;
    if (!is_first && pool->share == 0)
        return NULL;
    struct tcp_sent *record = pool->free;
    if (record != NULL) {
        pool->free = record->next;
    } else {
        PNO_ASSERT(pool->fresh < pool->fresh_end);
        record = pool->fresh++;
    }
    pool->share -= !is_first;
    connection->hot.sent_count++;
    return record;
}

static void record_free(struct stack *stack, struct tcp_connection *connection,
                        struct tcp_sent *record)
{
    struct tcp_sent_pool *pool = stack_sent_pool(stack);
    PNO_ASSERT(connection->hot.sent_count > 0);
    connection->hot.sent_count--;
    pool->share += connection->hot.sent_count > 0;
    record->next = pool->free;
    pool->free = record;
}

/* ---- Lists --------------------------------------------------------------------------------- */

/** Bytes and records that a list's counters hold. */
static void sent_count_change(struct tcp_connection *connection, const struct tcp_sent_list *list,
                              const struct tcp_sent *record, uint32_t bytes, bool added)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    uint32_t change = added ? bytes : 0 - bytes;
    if (list == &recovery->lost)
        recovery->lost_bytes += change;
    else if (record->again)
        recovery->again_bytes += change;
}

static void sent_insert(struct tcp_connection *connection, struct tcp_sent_list *list,
                        struct tcp_sent *before, struct tcp_sent *record)
{
    record->next = before != NULL ? before->next : list->first;
    if (before != NULL)
        before->next = record;
    else
        list->first = record;
    if (list->last == before)
        list->last = record;
    sent_count_change(connection, list, record, record->length, true);
    if (record->again && list == &connection->flight)
        connection->rare->recovery->again_count++;
}

static void sent_remove(struct tcp_connection *connection, struct tcp_sent_list *list,
                        struct tcp_sent *before, struct tcp_sent *record)
{
    if (before != NULL)
        before->next = record->next;
    else
        list->first = record->next;
    if (list->last == record)
        list->last = before;
    sent_count_change(connection, list, record, record->length, false);
    if (record->again && list == &connection->flight)
        connection->rare->recovery->again_count--;
}

/** Take [start, end) out of a record that holds some of it.
    @return the record that is now behind what was cut, its predecessor in *before. */
static struct tcp_sent *cut(struct stack *stack, struct tcp_connection *connection,
                            struct tcp_sent_list *list, struct tcp_sent **before,
                            struct tcp_sent *record, uint64_t start, uint64_t end)
{
    uint64_t record_end = tcp_sent_end(record);
    if (start <= record->start && end >= record_end) {
        struct tcp_sent *next = record->next;
        sent_remove(connection, list, *before, record);
        record_free(stack, connection, record);
        return next;
    }
    uint32_t cut_bytes;
    if (start <= record->start) {
        cut_bytes = (uint32_t)(end - record->start);
        record->start = end;
    } else if (end >= record_end) {
        cut_bytes = (uint32_t)(record_end - start);
        record->pushed = false;
    } else {
        struct tcp_sent *rest = record_alloc(stack, connection);
        if (rest != NULL) {
            *rest = *record;
            rest->start = end;
            rest->length = (uint32_t)(record_end - end);
            cut_bytes = (uint32_t)(record_end - start);
            record->length -= cut_bytes;
            record->pushed = false;
            sent_count_change(connection, list, record, cut_bytes, false);
            sent_insert(connection, list, record, rest);
            *before = rest;
            return rest->next;
        }
        cut_bytes = 0; /* it keeps what is known to have arrived; whoever sends again skips it */
        tcp_rare_take(stack, connection)->untimed_end = connection->hot.snd_nxt;
    }
    record->length -= cut_bytes;
    sent_count_change(connection, list, record, cut_bytes, false);
    *before = record;
    return record->next;
}

/** Take [start, end) out of a list; what it was part of is noted in facts unless NULL. */
static void sent_cut(struct stack *stack, struct tcp_connection *connection,
                     struct tcp_sent_list *list, uint64_t start, uint64_t end,
                     struct tcp_ack_facts *facts)
{
    bool is_flight = list == &connection->flight;
    unsigned again_ahead = is_flight ? connection->rare->recovery->again_count : 0;
    struct tcp_sent *before = NULL;
    struct tcp_sent *record = list->first;
    while (record != NULL) {
        bool in_order = !is_flight || !record->again;
        if (in_order && record->start >= end && again_ahead == 0)
            return;
        if (is_flight)
            again_ahead -= record->again;
        if (record->start >= end || tcp_sent_end(record) <= start) {
            before = record;
            record = record->next;
            continue;
        }
        if (facts != NULL)
            tcp_recovery_note_delivered(connection, record, start, end, facts);
        record = cut(stack, connection, list, &before, record, start, end);
    }
}

/* ---- Sending ------------------------------------------------------------------------------- */

/** The piece was sent with so much in flight. All at once: the flags are written together so. */
static inline void record_fill(struct tcp_connection *connection, struct tcp_sent *record,
                               const struct tcp_sent_piece *piece, uint32_t burst, bool again,
                               uint32_t pipe, uint64_t now_ns)
{
    uint32_t length = (uint32_t)(piece->end - piece->start);
    const struct tcp_delivery *delivery = &connection->delivery;
    uint32_t now_us = tcp_sent_clock_us(now_ns);
    if (pipe == 0)
        tcp_delivery_flight_begins(connection, now_us);
    *record = (struct tcp_sent){
        .start = piece->start,
        .length = length,
        .sent_us = now_us,
        .delivered = delivery->delivered,
        .delivered_us = delivery->delivered_us,
        .first_sent_us = delivery->first_sent_us,
        .in_flight = pipe + length,
        .lost = connection->rare->lost,
        .origin = (uint32_t)piece->start,
        .burst = (uint16_t)(burst < BURST_MAX ? burst : BURST_MAX),
        .again = again,
        .app_limited = delivery->limited,
        .pushed = piece->pushed,
    };
}

static void flight_append(struct tcp_connection *connection, struct tcp_sent *record,
                          const struct tcp_sent_piece *piece, bool again, uint32_t pipe,
                          uint64_t now_ns)
{
    uint32_t length = (uint32_t)(piece->end - piece->start);
    struct tcp_sent_list *flight = &connection->flight;
    record_fill(connection, record, piece, length, again, pipe, now_ns);
    if (flight->last != NULL)
        flight->last->next = record;
    else
        flight->first = record;
    flight->last = record;
    if (again) {
        connection->rare->recovery->again_bytes += length;
        connection->rare->recovery->again_count++;
    }
}

/** Bytes of a record from number on to the end of the burst that this was sent in. */
static uint32_t burst_left(const struct tcp_sent *record, uint64_t number)
{
    if (record->burst == 0)
        return 0;
    return record->burst - ((uint32_t)number - record->origin) % record->burst;
}

/** Whether [start, end) can be added to what was sent last without what ends there being lost. */
static inline bool joins(const struct tcp_sent *last, uint64_t start, uint64_t end)
{
    return !last->pushed && end - start <= last->burst && burst_left(last, start) == last->burst;
}

void tcp_sent_new(struct stack *stack, struct tcp_connection *connection, uint64_t start,
                  uint64_t end, bool pushed, uint32_t pipe, uint64_t now_ns)
{
    struct tcp_sent *last = connection->flight.last;
    if (last != NULL && !last->again && tcp_sent_end(last) == start &&
        last->length % connection->hot.mss == 0 && start < connection->hot.snd_end &&
        (joins(last, start, end) || connection->hot.sent_count >= RECORDS_PUSHED_MAX) &&
        tcp_sent_clock_us(now_ns) - last->sent_us <= tcp_srtt_us(connection) / RECORDS_PER_RTT) {
        if (!joins(last, start, end))
            last->burst = 0;
        last->length += (uint32_t)(end - start);
        last->in_flight = pipe + (uint32_t)(end - start);
        last->pushed = pushed;
        return;
    }
    struct tcp_sent *record = record_alloc(stack, connection);
    const struct tcp_sent_piece piece = {start, end, pushed};
    if (record != NULL)
        flight_append(connection, record, &piece, false, pipe, now_ns);
    else
        tcp_rare_take(stack, connection)->untimed_end = end;
}

void tcp_sent_again(struct stack *stack, struct tcp_connection *connection,
                    const struct tcp_sent_piece *piece, uint32_t pipe, uint64_t now_ns)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    sent_cut(stack, connection, &recovery->lost, piece->start, piece->end, NULL);
    sent_cut(stack, connection, &connection->flight, piece->start, piece->end, NULL);
    struct tcp_sent *record = record_alloc(stack, connection);
    if (record != NULL)
        flight_append(connection, record, piece, true, pipe, now_ns);
    else if (piece->end > connection->rare->untimed_end)
        tcp_rare_take(stack, connection)->untimed_end = piece->end;
}

/* ---- Arriving ------------------------------------------------------------------------------ */

/** All of `flight` is in order, and [start, end) is its beginning. */
static void head_delivered(struct stack *stack, struct tcp_connection *connection, uint64_t start,
                           uint64_t end, struct tcp_ack_facts *facts)
{
    struct tcp_sent *record;
    while ((record = connection->flight.first) != NULL && record->start < end) {
        tcp_recovery_note_delivered(connection, record, start, end, facts);
        if (tcp_sent_end(record) > end) {
            record->length -= (uint32_t)(end - record->start);
            record->start = end;
            return;
        }
        tcp_sent_forget_first(stack, connection);
    }
}

void tcp_sent_delivered(struct stack *stack, struct tcp_connection *connection, uint64_t start,
                        uint64_t end, struct tcp_ack_facts *facts)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    if (recovery == &tcp_recovery_none && start == connection->hot.snd_una) {
        head_delivered(stack, connection, start, end, facts);
        return;
    }
    sent_cut(stack, connection, &connection->flight, start, end, facts);
    if (recovery->lost.first != NULL)
        sent_cut(stack, connection, &recovery->lost, start, end, facts);
}

void tcp_sent_forget_first(struct stack *stack, struct tcp_connection *connection)
{
    struct tcp_sent_list *flight = &connection->flight;
    struct tcp_sent *record = flight->first;
    PNO_ASSERT(!record->again);
    flight->first = record->next;
    if (flight->last == record)
        flight->last = NULL;
    record_free(stack, connection, record);
}

/** How far number is beyond where a segment of the record begins, as they were sent. */
static uint32_t into_segment(const struct tcp_sent *record, uint64_t number, uint32_t mss)
{
    return ((uint32_t)number - record->origin) % mss;
}

void tcp_sent_round_to_segments(const struct tcp_connection *connection, uint64_t *start,
                                uint64_t *end)
{
    const struct tcp_recovery *recovery = connection->rare->recovery;
    uint32_t mss = connection->hot.mss;
    const struct tcp_sent *lists[] = {connection->flight.first, recovery->lost.first};
    for (unsigned i = 0; i < 2; i++) {
        unsigned again_ahead = i == 0 ? recovery->again_count : 0;
        for (const struct tcp_sent *r = lists[i]; r != NULL; r = r->next) {
            if (r->start >= *end && !r->again && again_ahead == 0)
                break;
            if (i == 0)
                again_ahead -= r->again;
            uint64_t r_end = tcp_sent_end(r);
            if (r->start < *end && *end < r_end) {
                uint32_t into = into_segment(r, *end, mss);
                *end = *end - r->start > into ? *end - into : r->start;
            }
            if (r->start < *start && *start < r_end) {
                uint64_t into = into_segment(r, *start, mss);
                *start += into > 0 ? mss - into : 0;
                if (*start > r_end)
                    *start = r_end;
            }
        }
    }
}

/* ---- Loss ---------------------------------------------------------------------------------- */

/** Into `lost`, in order; what was sent at once stays together, where a segment could as well reach
    over both. */
static void lost_insert(struct stack *stack, struct tcp_connection *connection,
                        struct tcp_sent *record)
{
    struct tcp_sent_list *lost = &connection->rare->recovery->lost;
    struct tcp_sent *before = NULL;
    tcp_delivery_lost(connection, record->length);
    if (lost->last != NULL && lost->last->start < record->start) {
        before = lost->last;
    } else {
        for (struct tcp_sent *r = lost->first; r != NULL && r->start < record->start; r = r->next)
            before = r;
    }
    if (before != NULL && before->again == record->again && !before->pushed &&
        before->origin == record->origin && before->burst == record->burst &&
        before->length % connection->hot.mss == 0 && tcp_sent_end(before) == record->start) {
        before->length += record->length;
        before->pushed = record->pushed;
        connection->rare->recovery->lost_bytes += record->length;
        record_free(stack, connection, record);
        return;
    }
    sent_insert(connection, lost, before, record);
}

bool tcp_sent_lose(struct stack *stack, struct tcp_connection *connection, struct tcp_sent *before,
                   struct tcp_sent *record, uint64_t number)
{
    struct tcp_sent_list *flight = &connection->flight;
    PNO_ASSERT(number > record->start);
    if (number >= tcp_sent_end(record)) {
        sent_remove(connection, flight, before, record);
        lost_insert(stack, connection, record);
        return true;
    }
    struct tcp_sent *head = record_alloc(stack, connection);
    if (head == NULL)
        return false; /* found out by the next who looks, or by the timeout */
    *head = *record;
    head->length = (uint32_t)(number - record->start);
    head->pushed = false;
    sent_count_change(connection, flight, record, head->length, false);
    record->start = number;
    record->length -= head->length;
    lost_insert(stack, connection, head);
    return false;
}

void tcp_sent_lose_head(struct stack *stack, struct tcp_connection *connection, uint32_t bytes)
{
    uint64_t head = connection->hot.snd_una;
    struct tcp_sent *before = NULL;
    for (struct tcp_sent *r = connection->flight.first; r != NULL; r = r->next) {
        if (r->start <= head && tcp_sent_end(r) > head) {
            tcp_sent_lose(stack, connection, before, r, r->start + bytes);
            return;
        }
        before = r;
    }
}

void tcp_sent_lose_below(struct stack *stack, struct tcp_connection *connection, uint64_t number)
{
    struct tcp_sent *before = NULL;
    struct tcp_sent *record = connection->flight.first;
    while (record != NULL) {
        struct tcp_sent *next = record->next;
        bool is_lost = !record->again && record->start < number;
        if (!is_lost || !tcp_sent_lose(stack, connection, before, record, number))
            before = record;
        record = next;
    }
}

/** A record for what had none: nothing is to be learnt of when it was sent. */
static void untimed_fill(struct tcp_connection *connection, struct tcp_sent *record, uint64_t start,
                         uint64_t end)
{
    const struct tcp_sent_piece piece = {start, end, end == connection->hot.snd_nxt};
    record_fill(connection, record, &piece, 0, true, (uint32_t)(end - start),
                connection->hot.last_sent_ns);
}

void tcp_sent_lose_untimed_head(struct stack *stack, struct tcp_connection *connection)
{
    uint64_t head = connection->hot.snd_una;
    const struct interval *sacked = connection->rare->recovery->sacked.first;
    uint32_t sent_us;
    if (sacked == NULL || sacked->start <= head || tcp_sent_head(connection, &sent_us))
        return;
    uint64_t end =
        sacked->start < head + connection->hot.mss ? sacked->start : head + connection->hot.mss;
    for (unsigned i = 0; i < 2; i++) {
        const struct tcp_sent *r =
            i == 0 ? connection->flight.first : connection->rare->recovery->lost.first;
        for (; r != NULL; r = r->next)
            if (r->start > head && r->start < end)
                end = r->start;
    }
    struct tcp_sent *record = record_alloc(stack, connection);
    if (record == NULL)
        return;
    untimed_fill(connection, record, head, end);
    lost_insert(stack, connection, record);
}

/** What lies between the SACKed intervals, afresh. */
static void lose_holes(struct stack *stack, struct tcp_connection *connection)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    uint64_t start = connection->hot.snd_una;
    const struct interval *sacked = recovery->sacked.first;
    while (start < connection->hot.snd_nxt) {
        uint64_t end = sacked != NULL ? sacked->start : connection->hot.snd_nxt;
        if (end > start) {
            struct tcp_sent *record = record_alloc(stack, connection);
            if (record == NULL) {                        /* the last one made takes all the rest */
                PNO_ASSERT(recovery->lost.last != NULL); /* a first record is always there */
                uint32_t rest =
                    (uint32_t)(connection->hot.snd_nxt - tcp_sent_end(recovery->lost.last));
                recovery->lost.last->length += rest;
                recovery->lost_bytes += rest;
                return;
            }
            untimed_fill(connection, record, start, end);
            lost_insert(stack, connection, record);
        }
        if (sacked == NULL)
            return;
        start = sacked->end;
        sacked = sacked->next;
    }
}

void tcp_sent_lose_all(struct stack *stack, struct tcp_connection *connection)
{
    if (connection->hot.snd_una < connection->rare->untimed_end) {
        tcp_sent_clear(stack, connection);
        lose_holes(stack, connection);
        return;
    }
    while (connection->flight.first != NULL)
        tcp_sent_lose(stack, connection, NULL, connection->flight.first,
                      tcp_sent_end(connection->flight.first));
}

bool tcp_sent_lose_larger(struct stack *stack, struct tcp_connection *connection, uint32_t bytes)
{
    uint32_t lost_before = connection->rare->recovery->lost_bytes;
    if (connection->hot.snd_una < connection->rare->untimed_end) {
        tcp_sent_lose_all(stack, connection);
        return true;
    }
    struct tcp_sent *before = NULL, *next;
    for (struct tcp_sent *r = connection->flight.first; r != NULL; r = next) {
        bool is_larger = r->length > bytes && (r->burst == 0 || r->burst > bytes);
        next = r->next;
        if (!is_larger || !tcp_sent_lose(stack, connection, before, r, tcp_sent_end(r)))
            before = r;
    }
    return connection->rare->recovery->lost_bytes != lost_before;
}

void tcp_sent_unlose(struct tcp_connection *connection)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    struct tcp_sent *record;
    while ((record = recovery->lost.first) != NULL) {
        sent_remove(connection, &recovery->lost, NULL, record);
        struct tcp_sent *before = NULL;
        for (struct tcp_sent *r = connection->flight.first;
             r != NULL && tcp_sent_after(record->sent_us, record->start, r->sent_us, r->start);
             r = r->next)
            before = r;
        sent_insert(connection, &connection->flight, before, record);
    }
}

/** How much of a record that is longer than limit goes again at once: what was one burst, at most
   so many bytes; of what is not known a segment of limit bytes. */
static uint32_t burst_of_lost(const struct tcp_sent *record, uint32_t limit, uint32_t most)
{
    uint32_t bytes = burst_left(record, record->start);
    if (bytes == 0)
        return limit;
    if (bytes > record->length)
        bytes = record->length;
    return bytes < most ? bytes : most;
}

bool tcp_sent_next_lost(struct stack *stack, struct tcp_connection *connection, uint32_t limit,
                        uint32_t burst, struct tcp_sent_piece *piece)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    struct tcp_sent *record;
    while ((record = recovery->lost.first) != NULL) {
        const struct interval *sacked = interval_set_from(&recovery->sacked, record->start);
        if (sacked != NULL && sacked->start <= record->start) {
            sent_cut(stack, connection, &recovery->lost, record->start, sacked->end, NULL);
            continue;
        }
        uint64_t reach = record->start + limit;
        if (record->length > limit)
            reach = record->start + burst_of_lost(record, limit, burst);
        if (sacked != NULL && sacked->start < reach)
            reach = sacked->start;
        *piece = (struct tcp_sent_piece){.start = record->start, .end = record->start};
        for (const struct tcp_sent *r = record;
             r != NULL && r->start == piece->end && tcp_sent_end(r) <= reach; r = r->next) {
            piece->end = tcp_sent_end(r);
            piece->pushed |= r->pushed;
        }
        if (piece->end == piece->start)
            piece->end = reach;
        return true;
    }
    return false;
}

struct tcp_sent_piece tcp_sent_last_segment(const struct tcp_connection *connection)
{
    const struct tcp_hot *hot = &connection->hot;
    const struct tcp_sent *record = connection->flight.first;
    struct tcp_sent_piece piece = {.end = hot->snd_nxt};
    while (record != NULL && tcp_sent_end(record) != hot->snd_nxt)
        record = record->next;
    if (record != NULL)
        piece.start = record->start + (record->length - 1) / hot->mss * hot->mss;
    else
        piece.start =
            tcp_outstanding(connection) > hot->mss ? hot->snd_nxt - hot->mss : hot->snd_una;
    piece.pushed = record == NULL || record->pushed;
    return piece;
}

static const struct tcp_sent *find_head(const struct tcp_connection *connection,
                                        const struct tcp_sent_list *list)
{
    uint64_t head = connection->hot.snd_una;
    const struct tcp_sent *record = list->first;
    while (record != NULL && (record->start > head || tcp_sent_end(record) <= head))
        record = record->next;
    return record;
}

bool tcp_sent_head(const struct tcp_connection *connection, uint32_t *sent_us)
{
    const struct tcp_sent *record = find_head(connection, &connection->flight);
    if (record == NULL)
        record = find_head(connection, &connection->rare->recovery->lost);
    if (record != NULL)
        *sent_us = record->sent_us;
    return record != NULL;
}

/* ---- All ----------------------------------------------------------------------------------- */

static void sent_clear(struct stack *stack, struct tcp_connection *connection,
                       struct tcp_sent_list *list)
{
    struct tcp_sent *record;
    while ((record = list->first) != NULL) {
        sent_remove(connection, list, NULL, record);
        record_free(stack, connection, record);
    }
}

static void limit_ages(struct tcp_sent *first, uint32_t now_us)
{
    for (struct tcp_sent *r = first; r != NULL; r = r->next) {
        if (now_us - r->sent_us > AGE_MAX_US)
            r->sent_us = now_us - AGE_MAX_US;
    }
}

void tcp_sent_limit_ages(struct tcp_connection *connection, uint64_t now_ns)
{
    uint32_t now_us = tcp_sent_clock_us(now_ns);
    limit_ages(connection->flight.first, now_us);
    limit_ages(connection->rare->recovery->lost.first, now_us);
}

void tcp_sent_clear(struct stack *stack, struct tcp_connection *connection)
{
    sent_clear(stack, connection, &connection->flight);
    sent_clear(stack, connection, &connection->rare->recovery->lost);
}

void tcp_sent_check(const struct tcp_connection *c)
{
    const struct tcp_recovery *recovery = c->rare->recovery;
    uint64_t covered = 0, lost = 0, again = 0, edge = 0;
    unsigned count = 0, again_count = 0;
    for (const struct tcp_sent *r = c->flight.first; r != NULL; r = r->next, count++) {
        PNO_ASSERT(r->length > 0 && r->start >= c->hot.snd_una);
        PNO_ASSERT(tcp_sent_end(r) <= c->hot.snd_nxt);
        PNO_ASSERT(r->again || r->start >= edge);
        PNO_ASSERT(r->next != NULL || c->flight.last == r);
        PNO_ASSERT(r->next == NULL || (int32_t)(r->next->sent_us - r->sent_us) >= 0);
        edge = r->again ? edge : tcp_sent_end(r);
        covered += r->length;
        again += r->again ? r->length : 0;
        again_count += r->again;
    }
    edge = 0;
    for (const struct tcp_sent *r = recovery->lost.first; r != NULL; r = r->next, count++) {
        PNO_ASSERT(r->length > 0 && r->start >= c->hot.snd_una && r->start >= edge);
        PNO_ASSERT(tcp_sent_end(r) <= c->hot.snd_nxt);
        PNO_ASSERT(r->next != NULL || recovery->lost.last == r);
        edge = tcp_sent_end(r);
        lost += r->length;
    }
    PNO_ASSERT(lost == recovery->lost_bytes);
    PNO_ASSERT(again == recovery->again_bytes && again_count == recovery->again_count);
    PNO_ASSERT(count == c->hot.sent_count);
    /* All that is outstanding has a record or is SACKed, but for want of records. */
    if (c->hot.state != TCP_STATE_CLOSED && c->hot.snd_una >= tcp_snd_start(&c->hot) &&
        c->hot.snd_una >= c->rare->untimed_end)
        PNO_ASSERT(covered + lost + recovery->sacked_bytes == tcp_outstanding(c));
}
