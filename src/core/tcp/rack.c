#include "core/tcp/rack.h"

#include "core/tcp/scoreboard.h"

/** Recoveries that a window grown by D-SACK outlives (RFC 8985 §6.2, step 4). */
#define WINDOW_PERSIST_RECOVERIES 16

static uint64_t rack_end(const struct tcp_connection *connection)
{
    return tcp_unwrap(connection->hot.snd_una, connection->rack.end);
}

void tcp_rack_delivered(struct tcp_connection *connection, const struct tcp_sent *record,
                        uint64_t end, uint64_t now_ns)
{
    struct tcp_rack *rack = &connection->rack;
    uint32_t rtt_us = tcp_sent_clock_us(now_ns) - record->sent_us;
    /* Sooner than any round trip: it is the original that has arrived. */
    if (record->again && rtt_us < connection->congestion.min_rtt_us)
        return;
    connection->rack_advanced = true;
    rack->rtt_us = rtt_us;
    if (!connection->rack_known ||
        tcp_sent_after(record->sent_us, end, rack->sent_us, rack_end(connection))) {
        connection->rack_known = true;
        rack->sent_us = record->sent_us;
        rack->end = tcp_wire(end);
        rack->newest_rtt_us = rtt_us;
    }
}

void tcp_rack_overtaken(struct tcp_connection *connection, const struct tcp_sent *record,
                        uint64_t now_ns)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    uint32_t rtt_us = tcp_sent_clock_us(now_ns) - record->sent_us;
    if (rtt_us <= connection->rack.newest_rtt_us ||
        rtt_us - connection->rack.newest_rtt_us <= recovery->late_us)
        return;
    recovery->late_us = rtt_us - connection->rack.newest_rtt_us;
    recovery->window_persist = WINDOW_PERSIST_RECOVERIES;
}

void tcp_rack_window_update(struct tcp_connection *connection, uint32_t prior_delivered)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    if ((int32_t)(prior_delivered - recovery->dsack_delivered) < 0)
        recovery->dsack_seen = false; /* of the round trip in which it grew already */
    if (recovery->dsack_seen) {
        if (recovery->window_steps < UINT8_MAX - 1)
            recovery->window_steps++;
        recovery->dsack_seen = false;
        recovery->dsack_delivered = connection->delivery.delivered;
        recovery->window_persist = WINDOW_PERSIST_RECOVERIES;
    } else if (recovery->window_persist == 0) {
        recovery->window_steps = 0;
        recovery->late_us = 0;
    }
}

static uint32_t window_us(const struct tcp_connection *connection)
{
    const struct tcp_recovery *recovery = connection->rare->recovery;
    const struct tcp_congestion *congestion = &connection->congestion;
    if (!recovery->reordering_seen) {
        if (connection->hot.ca_state >= TCP_CA_RECOVERY ||
            tcp_scoreboard_sacked_segments(connection) >= recovery->reordering)
            return 0;
    }
    if (congestion->min_rtt_us == UINT32_MAX)
        return tcp_srtt_us(connection);
    uint64_t window = (uint64_t)(congestion->min_rtt_us / 4) * (recovery->window_steps + 1U);
    if (window < recovery->late_us)
        window = recovery->late_us;
    return window < tcp_srtt_us(connection) ? (uint32_t)window : tcp_srtt_us(connection);
}

int32_t tcp_rack_remaining_us(const struct tcp_connection *connection,
                              const struct tcp_sent *record, uint64_t now_ns)
{
    return (int32_t)(record->sent_us + connection->rack.rtt_us - tcp_sent_clock_us(now_ns));
}

uint32_t tcp_rack_detect(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    const struct tcp_rack *rack = &connection->rack;
    uint64_t end = rack_end(connection);
    uint32_t window = window_us(connection);
    uint32_t wait_us = 0;
    struct tcp_sent *before = NULL;
    struct tcp_sent *record = connection->rack_known ? connection->flight.first : NULL;
    while (record != NULL &&
           tcp_sent_after(rack->sent_us, end, record->sent_us, record->start + 1)) {
        struct tcp_sent *next = record->next;
        int32_t remaining_us = tcp_rack_remaining_us(connection, record, now_ns) + (int32_t)window;
        if (remaining_us > 0) {
            if ((uint32_t)remaining_us > wait_us)
                wait_us = (uint32_t)remaining_us;
            before = record;
        } else {
            uint64_t until = tcp_sent_end(record);
            if (record->sent_us == rack->sent_us && end < until)
                until = end;
            if (!tcp_sent_lose(stack, connection, before, record, until))
                before = record;
        }
        record = next;
    }
    return wait_us;
}

void tcp_rack_timeout(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    uint64_t head = connection->hot.snd_una;
    if (!connection->hot.sack || head < connection->rare->untimed_end) {
        tcp_sent_lose_all(stack, connection);
        return;
    }
    struct tcp_sent *before = NULL;
    struct tcp_sent *record = connection->flight.first;
    while (record != NULL) {
        struct tcp_sent *next = record->next;
        bool is_late = tcp_rack_remaining_us(connection, record, now_ns) <= 0;
        if (is_late || record->start == head) {
            uint64_t until = tcp_sent_end(record);
            if (!is_late && until > head + connection->hot.mss)
                until = head + connection->hot.mss;
            if (!tcp_sent_lose(stack, connection, before, record, until))
                before = record;
        } else {
            before = record;
        }
        record = next;
    }
}
