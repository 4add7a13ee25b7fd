#include "core/tcp/defer.h"

#include "core/tcp/sent.h"

/** Only what was sent lately is waited for … */
#define RECENT_NS NS_PER_MS
/** … and no acknowledgement that is further away than this, or half a round trip. */
#define ACK_DISTANCE_MAX_US 1000
/** So large a part of the window goes out in any case (net.ipv4.tcp_tso_win_divisor). */
#define WINDOW_DIVISOR 3

/** Whether the acknowledgement of the first that is outstanding is about to come. */
static bool is_ack_near(const struct tcp_connection *connection, uint64_t now_ns)
{
    uint32_t sent_us, srtt_us = tcp_srtt_us(connection);
    uint32_t near_us = srtt_us / 2 < ACK_DISTANCE_MAX_US ? srtt_us / 2 : ACK_DISTANCE_MAX_US;
    if (tcp_outstanding(connection) == 0 || !tcp_sent_head(connection, &sent_us))
        return false;
    return (int32_t)(sent_us + srtt_us - tcp_sent_clock_us(now_ns)) <= (int32_t)near_us;
}

bool tcp_defers(const struct tcp_connection *connection, const struct tcp_burst *burst,
                uint64_t now_ns)
{
    const struct tcp_hot *hot = &connection->hot;
    if (hot->ca_state >= TCP_CA_RECOVERY || now_ns - hot->last_sent_ns >= RECENT_NS)
        return false;
    bool by_cwnd = burst->cwnd_room < burst->window_room;
    uint64_t room = by_cwnd ? burst->cwnd_room : burst->window_room;
    if (room >= burst->most || (burst->more_follows && room >= burst->available))
        return false;
    uint32_t window = hot->snd_wnd < hot->cwnd ? hot->snd_wnd : hot->cwnd;
    if (room >= window / WINDOW_DIVISOR || !is_ack_near(connection, now_ns))
        return false;
    /* What ends the stream or a record gets no more, but where a window cuts it. */
    return room <= burst->available || (!hot->fin_queued && !burst->more_follows);
}
