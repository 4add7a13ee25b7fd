/* What proves spurious is undone: by timestamps (RFC 3522, 4015), D-SACK (RFC 3708) or F-RTO. */
#include "core/tcp/congestion.h"
#include "core/tcp/rack.h"
#include "core/tcp/recovery.h"

/** ssthresh to go back to: what the window made of it may be more (as Linux). */
static uint32_t present_ssthresh(const struct tcp_connection *connection)
{
    uint32_t three_quarters = connection->hot.cwnd - connection->hot.cwnd / 4;
    uint32_t ssthresh = connection->congestion.ssthresh;
    return ssthresh > three_quarters ? ssthresh : three_quarters;
}

void tcp_undo_begin(struct tcp_connection *connection)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    bool probe = recovery->tail_probe != 0 && recovery->tail_probe_retransmitted;
    recovery->undo_una = connection->hot.snd_una;
    /* What was sent again before and is still on its way may yet be reported as duplicate. */
    recovery->undo_bytes = recovery->again_bytes;
    if (recovery->undo_bytes == 0 && probe)
        recovery->undo_bytes = connection->hot.mss;
    recovery->retransmitted = false;
    recovery->prior_ssthresh = present_ssthresh(connection);
}

void tcp_undo_forget(struct tcp_connection *connection)
{
    connection->rare->recovery->undo_una = 0;
}

void tcp_undo_dsack(struct tcp_connection *connection, const struct tcp_ack_facts *facts,
                    uint64_t start, uint64_t end)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    uint64_t bytes = end - start;
    if (recovery->undo_una == 0 || end > facts->prior_una || end <= recovery->undo_una)
        return;
    recovery->undo_bytes -= bytes < recovery->undo_bytes ? (uint32_t)bytes : recovery->undo_bytes;
}

bool tcp_undo_was_delayed(const struct tcp_connection *connection,
                          const struct tcp_ack_facts *facts)
{
    const struct tcp_recovery *recovery = connection->rare->recovery;
    if (!recovery->retransmitted)
        return connection->hot.sack || connection->hot.snd_una < recovery->recover;
    return facts->has_timestamp_echo && (int32_t)(facts->timestamp_echo - recovery->undo_ts) < 0;
}

bool tcp_undo_all_duplicates(const struct tcp_connection *connection)
{
    const struct tcp_recovery *recovery = connection->rare->recovery;
    return recovery->undo_una != 0 && recovery->retransmitted && recovery->undo_bytes == 0;
}

void tcp_undo(struct tcp_connection *connection)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    struct tcp_congestion *congestion = &connection->congestion;
    if (recovery->prior_ssthresh != 0) {
        if (recovery->prior_cwnd > connection->hot.cwnd)
            connection->hot.cwnd = recovery->prior_cwnd;
        if (recovery->prior_ssthresh > congestion->ssthresh) {
            congestion->ssthresh = recovery->prior_ssthresh;
            connection->hot.cwr_due = false;
        }
        if (congestion->ssthresh == TCP_SSTHRESH_INFINITE)
            tcp_hystart_restart(connection);
    }
    if (tcp_congestion_of(connection)->undo != NULL)
        tcp_congestion_of(connection)->undo(connection);
    tcp_undo_forget(connection);
    connection->rack_advanced = true; /* it may see losses anew */
}
