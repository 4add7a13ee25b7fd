#include "window_check.h"

#include "core/tcp/congestion.h"
#include "core/tcp/scoreboard.h"

#define INITIAL_SEGMENTS 10 /* RFC 6928 §2, of any size as Linux */

/** What a loss leaves of the window, in 1024ths (RFC 5681 §3.1; RFC 9438 §4.6, as Linux rounds it).
 */
static uint32_t share_kept(const struct tcp_connection *c)
{
    return c->options->congestion == TCP_CONGESTION_CUBIC ? 717 : 512;
}

static bool is_open(uint8_t state)
{
    return state != TCP_STATE_CLOSED && state != TCP_STATE_SYN_SENT &&
           state != TCP_STATE_SYN_RECEIVED && state != TCP_STATE_TIME_WAIT;
}

void window_watch_begin(struct window_watch *watch, const struct tcp_connection *c)
{
    *watch = (struct window_watch){.connection = c};
    if (c == NULL)
        return;
    bool may_undo = c->hot.ca_state >= TCP_CA_CWR || c->rare->recovery->undo_una != 0;
    watch->cwnd = c->hot.cwnd;
    watch->prior_cwnd = may_undo ? c->rare->recovery->prior_cwnd : 0;
    watch->delivered = c->delivery.delivered;
    watch->lost = c->rare->lost;
    /* With fast open it has been in use, by another algorithm perhaps, in larger segments. */
    watch->state = c->fast_open.pending ? TCP_STATE_ESTABLISHED : c->hot.state;
    watch->ca_state = c->hot.ca_state;
}

/** The handshake is done. */
static const char *check_beginning(const struct window_watch *watch)
{
    const struct tcp_connection *c = watch->connection;
    uint64_t delivered = c->delivery.delivered - watch->delivered;
    return c->hot.cwnd > INITIAL_SEGMENTS * (uint64_t)c->hot.mss + delivered + c->hot.mss
               ? "the initial window exceeds ten segments"
               : NULL;
}

static const char *check_growth(const struct window_watch *watch)
{
    const struct tcp_connection *c = watch->connection;
    uint64_t most = watch->cwnd > watch->prior_cwnd ? watch->cwnd : watch->prior_cwnd;
    uint32_t pipe = tcp_pipe(c);
    if (most < 2 * c->hot.mss)
        most = 2 * c->hot.mss;
    if (c->hot.ca_state >= TCP_CA_CWR && most < pipe)
        most = pipe; /* PRR counts from what is in flight */
    most += c->delivery.delivered - watch->delivered;
    if (c->hot.fin_queued)
        most++; /* PRR's window is what is in flight and a segment: the FIN's number may be in it */
    return c->hot.cwnd > most + c->hot.mss ? "the window grows by more than was acknowledged"
                                           : NULL;
}

static const char *check_reduction(const struct window_watch *watch)
{
    const struct tcp_connection *c = watch->connection;
    bool begins = watch->ca_state < TCP_CA_CWR && c->hot.ca_state == TCP_CA_RECOVERY;
    uint64_t cwnd = watch->cwnd > watch->prior_cwnd ? watch->cwnd : watch->prior_cwnd;
    cwnd += c->delivery.delivered - watch->delivered;
    uint64_t most = cwnd * share_kept(c) / 1024;
    if (most < 2 * c->hot.mss)
        most = 2 * c->hot.mss;
    return begins && c->congestion.ssthresh > most + c->hot.mss
               ? "a loss does not reduce the window as it must"
               : NULL;
}

const char *window_watch_end(const struct window_watch *watch)
{
    const struct tcp_connection *c = watch->connection;
    if (c == NULL || !is_open(c->hot.state) || tcp_congestion_controls(c))
        return NULL;
    if (!is_open(watch->state))
        return check_beginning(watch);
    const char *failure = check_growth(watch);
    return failure != NULL ? failure : check_reduction(watch);
}

const char *window_check_sent(const struct tcp_connection *c)
{
    uint64_t most = c->hot.cwnd > c->hot.mss ? c->hot.cwnd : c->hot.mss;
    if (!is_open(c->hot.state) || c->rare->recovery->tail_probe == c->hot.snd_nxt)
        return NULL; /* RFC 8985 §7.3: a tail probe asks no window */
    if (c->rare->untimed_end > c->hot.snd_una)
        return NULL; /* for want of records, what is SACKed within a lost one counts twice */
    most += c->hot.fin_queued; /* its number is no byte */
    if (c->rare->mtu_probe.size != 0)
        most += c->rare->mtu_probe.size;
    return tcp_pipe(c) > most ? "more is in flight than the window allows" : NULL;
}
