/**
 * @file connection.h
 * What a TCP connection is: the transmission control block, split by the stage that writes it.
 *
 * Not an interface for embedders (core/stack.h is), and no behaviour beyond arithmetic on its own
 * fields: each concept has its file (receive.c, output.c, recovery.c, ...).
 *
 * Sequence numbers are kept unwrapped, as 64-bit numbers whose low half is what the wire carries;
 * they start above 2^32, so that "slightly before the first" is still positive. The interval sets
 * use the same numbers. Stream offsets (0 = first byte after SYN) appear only at the interface:
 * offset = number - tcp_snd_start(), or - tcp_rcv_start().
 */
#ifndef PNO_CORE_TCP_CONNECTION_H
#define PNO_CORE_TCP_CONNECTION_H

#include <stdalign.h>

#include "base/assert.h"
#include "core/stack_internal.h"

/** States with Linux's numbers, as TCP_INFO reports them. */
enum tcp_state {
    TCP_STATE_ESTABLISHED = 1,
    TCP_STATE_SYN_SENT = 2,
    TCP_STATE_SYN_RECEIVED = 3,
    TCP_STATE_FIN_WAIT_1 = 4,
    TCP_STATE_FIN_WAIT_2 = 5,
    TCP_STATE_TIME_WAIT = 6,
    TCP_STATE_CLOSED = 7,
    TCP_STATE_CLOSE_WAIT = 8,
    TCP_STATE_LAST_ACK = 9,
    TCP_STATE_LISTEN = 10,
    TCP_STATE_CLOSING = 11,
};

/** State of congestion and loss recovery; Linux's numbers (tcpi_ca_state). */
enum tcp_ca_state {
    TCP_CA_OPEN = 0,     /**< all is well */
    TCP_CA_DISORDER = 1, /**< SACKs or duplicate ACKs, not yet enough to call it loss */
    TCP_CA_CWR = 2,      /**< reducing the window because of ECN, without a loss */
    TCP_CA_RECOVERY = 3, /**< fast recovery (RFC 6675, RFC 6582) */
    TCP_CA_LOSS = 4,     /**< after a retransmission timeout */
};

/** What the send timer is for: at most one of these is running. See timers.h. */
enum tcp_send_timer {
    TCP_SEND_TIMER_NONE,
    TCP_SEND_TIMER_RETRANSMIT,
    TCP_SEND_TIMER_TAIL_PROBE,
    TCP_SEND_TIMER_REORDER,
    TCP_SEND_TIMER_PERSIST,
};

/** What the state timer is for: at most one of these is running. See timers.h. */
enum tcp_state_timer {
    TCP_STATE_TIMER_NONE,
    TCP_STATE_TIMER_KEEPALIVE,
    TCP_STATE_TIMER_FIN_WAIT_2,
    TCP_STATE_TIMER_TIME_WAIT,
};

/** The first byte's number is its 32-bit sequence number plus this. */
#define TCP_SEQ_EPOCH (UINT64_C(1) << 32)

/** Segments of reordering that are taken for granted: Linux's tcp_reordering, RFC 6675's
    DupThresh. */
#define TCP_REORDERING_DEFAULT 3

/** Out-of-order and scoreboard intervals one connection may take from the pool. */
#define TCP_INTERVALS_MAX 1024

/** MSS where the peer names none (RFC 9293 §3.7.1; Linux uses the same for IPv6). */
#define TCP_MSS_DEFAULT 536
/** The peer's segments are never taken to be smaller (Linux's TCP_MIN_MSS). */
#define TCP_RCV_MSS_MIN 88
/** Below this a peer's MSS is raised: Linux's tcp_min_snd_mss (48) less 12 bytes of options. */
#define TCP_MSS_MIN 48

#define TCP_WINDOW_SCALE_MAX       14
#define TCP_TIMESTAMP_OPTION_BYTES 12
#define TCP_CWND_MAX               (UINT32_C(1) << 30)
#define TCP_SSTHRESH_INFINITE      UINT32_MAX

/** Protocol part: all that a segment in the ordinary course of events reads and writes. */
struct tcp_hot {
    /* Send sequence space (RFC 9293 §3.3.1). snd_una <= snd_nxt <= snd_end + FIN. */
    uint64_t snd_una;
    uint64_t snd_nxt;
    uint64_t snd_end; /**< one past the last byte the application gave; the FIN's number */
    /* Receive sequence space. tcp_rcv_start() <= rcv_read <= rcv_nxt. */
    uint64_t rcv_nxt;
    /* In the wire's form; what is more is known (tcp_snd_start() and the like). */
    seq_t snd_first;  /**< iss + 1 */
    seq_t rcv_first;  /**< irs + 1 */
    seq_t rcv_wup;    /**< rcv_nxt when last advertised: the Last.ACK.sent of RFC 7323 */
    seq_t rcv_read;   /**< what the application has consumed */
    uint32_t snd_wnd; /**< bytes, from snd_una */
    uint32_t rcv_wnd; /**< bytes, from rcv_wup */
    uint32_t cwnd;    /**< bytes */
    seq_t snd_wl1;    /**< segment of the last window update */
    uint32_t ts_recent;
    uint32_t ts_offset; /**< of our timestamp clock, per flow */
    uint64_t send_deadline_ns;
    uint64_t ack_deadline_ns; /**< delayed ACK; TIME_NEVER: none */
    uint64_t last_sent_ns;    /**< last payload sent */
    uint16_t mss;             /**< payload bytes per segment, timestamps taken off */
    uint16_t rcv_mss;         /**< estimate of the peer's segments, for delayed ACK and SWS */
    uint8_t state;            /**< enum tcp_state; written by tcp_set_state() only */
    uint8_t ca_state;         /**< enum tcp_ca_state */
    uint8_t snd_wscale, rcv_wscale;
    uint8_t send_timer;  /**< enum tcp_send_timer */
    uint8_t quick_acks;  /**< ACKs still to be sent at once (Linux's quickack mode) */
    uint8_t acks_owed;   /**< pure ACKs to send now; one per out-of-order segment without SACK */
    uint8_t dup_acks;    /**< duplicate ACKs since snd_una advanced */
    uint16_t placements; /**< payload on its way to host memory: send nothing */
    uint16_t sent_count; /**< records in `flight` and recovery->lost */
    union {
        struct {
            /* Negotiated. */
            bool timestamps : 1;
            bool sack : 1;
            bool window_scaling : 1;
            bool ecn : 1; /**< RFC 3168; in SYN_SENT: asked for */
            /* What output is to do. */
            bool syn_due : 1;        /**< SYN or SYN-ACK */
            bool probe_due : 1;      /**< window or keepalive probe: an old, empty segment */
            bool tail_probe_due : 1; /**< RFC 8985 §7.3 */
            bool push_partial : 1; /**< send what there is, Nagle and silly windows notwithstanding
                                    */
            bool more : 1;         /**< MSG_MORE: hold back the partial tail … */
            bool more_released : 1; /**< … until a segment arrives: it goes then, but without PSH */
            bool nagle_push : 1; /**< TCP_NODELAY was set: nothing holds back what is there now */
            /* ECN (ecn.h). */
            bool ece_due : 1;  /**< tell the peer of congestion until it answers with CWR */
            bool cwr_due : 1;  /**< tell the peer that the window was reduced */
            bool ecn_seen : 1; /**< the peer does mark its packets as capable of ECN */
            /* FINs. */
            bool fin_queued : 1;   /**< ours follows snd_end */
            bool fin_received : 1; /**< the peer's is in order, rcv_nxt is past it */
            bool fin_waiting : 1;  /**< the peer's lies beyond a gap, at reassembly->fin */
            /* Mode. */
            bool pingpong : 1;   /**< request–response: ACKs ride on our answers */
            bool controlled : 1; /**< by an algorithm that sets the window by itself (congestion.h)
                                  */
            bool hystart : 1;    /**< or by one whose slow start is HyStart++'s */
            bool challenge_acked : 1; /**< an unacceptable segment was answered */
            /* Pacing (pacing.h). */
            bool paced : 1;         /**< payload goes out at a rate: rare->pacing says which */
            bool pacing_waits : 1;  /**< … and is held back until pacing->next_ns */
            bool received_push : 1; /**< payload with PSH came since the last ACK */
        };
        uint32_t flags; /**< all of these at once: TCP_HOT_FLAGS() */
    };
    seq_t snd_sml; /**< end of the last small segment sent (Minshall) */
};
_Static_assert(sizeof(struct tcp_hot) <= 128, "the hot part fills two cache lines");

/** tcp_hot.flags with just these set, as in TCP_HOT_FLAGS(.sack = true). */
#define TCP_HOT_FLAGS(...) (((struct tcp_hot){__VA_ARGS__}).flags)

#define TCP_RECENT_BLOCKS 4

/** Numbers [start, end). */
struct tcp_range {
    uint64_t start, end;
};

/** What receiving out of order, twice, and urgently needs. Connections that receive all in order
    share tcp_reassembly_none (reassembly.c). */
struct tcp_reassembly {
    struct interval_set out_of_order;
    struct tcp_sack_block recent[TCP_RECENT_BLOCKS]; /**< most recent first (RFC 2018 §4);
                                                          start == end: none, nor after it */
    struct tcp_sack_block dsack;                     /**< duplicate to report, unless empty */
    uint64_t high;   /**< one past the highest byte wanted out of order */
    uint64_t fin;    /**< number of a FIN beyond a gap */
    uint64_t urgent; /**< one past the urgent byte; 0 none */
};

/** That of connections that receive in order: only read. */
extern const struct tcp_reassembly tcp_reassembly_none;

/** What tuning the receive window needs. */
struct tcp_receive {
    uint32_t last_data_ms;      /**< of the last payload or FIN; 0 never */
    uint32_t rtt_started_us;    /**< window-based estimate of the round trip began; 0 not … */
    seq_t rtt_seq;              /**< … and ends when this has arrived */
    uint32_t space_measured_us; /**< dynamic right-sizing: when the measurement began … */
    seq_t space_measured;       /**< … and rcv_read then */
    uint32_t space;             /**< bytes the application read in the last round trip */
    uint32_t rtt_us;            /**< receiver's estimate of the round trip; 0 unknown */
    uint32_t buffer;            /**< Linux's sk_rcvbuf: twice the window it allows */
    uint32_t window_clamp;
    uint32_t ack_delay_us;    /**< how long ACKs wait for company (Linux's ato); 0: no data yet */
    uint32_t ssthresh;        /**< slow start of the offered window (Linux's rcv_ssthresh) */
    uint32_t ts_recent_age_s; /**< when ts_recent was written, for PAWS after long idleness */
};

struct tcp_sent;

/** Records of what was sent: sent.h. */
struct tcp_sent_list {
    struct tcp_sent *first, *last;
};

/** Loss detection by time (rack.h): what arrivals tell. */
struct tcp_rack {
    seq_t end;        /**< of the most recently sent segment that has arrived (RACK.end_seq) */
    uint32_t sent_us; /**< when it was sent (RACK.xmit_ts) */
    uint32_t newest_rtt_us; /**< its round trip … */
    uint32_t rtt_us;        /**< … and that of what arrived last (RACK.rtt, as in Linux) */
};

/** What recovery and few senders need; post-process stage. Most connections have nothing to recover
    from: they share tcp_recovery_none (recovery_state.c). */
struct tcp_recovery {
    struct interval_set sacked;  /**< the scoreboard (RFC 6675 §3) */
    struct interval_set records; /**< the last bytes of the application's records (records.h) */
    struct tcp_sent_list lost;   /**< to be sent again, by number */
    uint32_t sacked_bytes, lost_bytes;
    uint32_t again_bytes;    /**< of retransmissions in flight */
    uint16_t again_count;    /**< retransmissions among those in flight */
    uint64_t sacked_high;    /**< one past the highest SACKed byte; below snd_una: none */
    uint64_t recover;        /**< snd_nxt when the episode began (RecoveryPoint) */
    uint64_t tail_probe;     /**< snd_nxt when a tail probe was sent; 0 none outstanding */
    uint64_t undo_una;       /**< snd_una when the window was reduced; 0: nothing to undo */
    uint32_t undo_bytes;     /**< retransmitted, not yet shown superfluous by D-SACK */
    uint32_t undo_ts;        /**< our timestamp clock at the episode's first retransmission */
    uint32_t prior_cwnd;     /**< before the reduction, for undo and PRR */
    uint32_t prior_ssthresh; /**< 0: the reduction stands (ECN) */
    uint32_t prr_delivered, prr_out; /**< RFC 6937 */
    uint32_t dupack_bytes; /**< without SACK: what duplicate ACKs say has left the network */
    uint16_t reordering;   /**< segments: SACKed above a hole before it counts as lost at once */
    bool reordering_seen : 1;
    bool tail_probe_retransmitted : 1;
    bool retransmitted : 1; /**< in this episode: undo_ts and undo_bytes count */
    bool frto : 1;          /**< the timeout may prove spurious (RFC 5682) … */
    bool frto_new : 1;      /**< … new data is being sent to find out */
    bool dsack_seen : 1;    /**< RACK's reordering window is to grow */
    uint8_t window_steps;   /**< it is so many quarters of the shortest round trip, less one … */
    uint32_t late_us; /**< … or as much longer as originals took than what overtook them, at most */
    uint32_t dsack_delivered; /**< delivered when the window last grew: once a round trip */
    uint8_t window_persist;   /**< recoveries for which both stay (RACK.reo_wnd_persist) */
};

/** That of connections where nothing is amiss: only read. */
extern const struct tcp_recovery tcp_recovery_none;

struct tcp_cubic {
    uint32_t epoch_ms;   /**< when it began; 0: none has */
    uint32_t w_max;      /**< bytes */
    uint32_t k_ms;       /**< time to reach w_max again */
    uint32_t origin;     /**< plateau of the curve, bytes */
    uint32_t w_est;      /**< what Reno would have, bytes */
    uint32_t prior_cwnd; /**< RFC 9438's cwnd_prior */
    uint32_t target;     /**< of the present millisecond */
    uint32_t target_ms;
};

/** HyStart++ (RFC 9406), in the initial slow start, before CUBIC's curve exists. */
struct tcp_hystart {
    seq_t round_end;                        /**< windowEnd: snd_nxt when the round began … */
    uint32_t last_min_us, current_min_us;   /**< round trips of the last and this round */
    uint32_t baseline_us;                   /**< cssBaselineMinRtt; 0: in standard slow start */
    uint32_t train_began_us, train_last_us; /**< the round's ACK train */
    uint8_t samples;
    uint8_t css_rounds; /**< rounds of conservative slow start so far */
    bool in_round;      /**< … after the first ACK */
};

/** DCTCP (RFC 8257 §3.3). */
struct tcp_dctcp {
    seq_t window_end;       /**< of the observation window */
    uint32_t acked, marked; /**< bytes in this window */
    uint32_t alpha;         /**< fraction of bytes marked, in 1024ths */
};

/** The algorithm's own; initial slow start comes before the curve. */
union tcp_congestion_private {
    struct tcp_cubic cubic;
    struct tcp_hystart hystart;
    struct tcp_dctcp dctcp;
};

/** Congestion control and round-trip time; post-process stage. */
struct tcp_congestion {
    uint32_t ssthresh;
    uint32_t rto_us;
    uint32_t srtt_eighth;     /**< with three binary places: tcp_srtt_us(); 0: no sample yet */
    uint32_t mdev_quarter_us; /**< mean deviation with two binary places … */
    union {
        uint32_t mdev_max_us; /**< … the largest of this round trip, not below the minimum … */
        uint32_t syn_sent_us; /**< before all: of a SYN sent just once, if connection->syn_timed */
    };
    uint32_t rttvar_us;   /**< … and of the last: 4 · RTTVAR of RFC 6298 */
    seq_t rtt_round;      /**< the round trip ends when this is acknowledged */
    uint32_t min_rtt_us;  /**< of the last 300 s */
    uint32_t fraction;    /**< of the window's growth: bytes² not yet worth a byte */
    uint32_t max_window;  /**< largest the peer ever offered */
    seq_t flight_round;   /**< max_flight is of the round that ends here */
    uint32_t max_flight;  /**< bytes in flight at most in this round, for cwnd validation */
    bool cwnd_limited;    /**< output stopped for want of cwnd in this round */
    uint8_t backoff;      /**< doublings of the RTO or the persist interval */
    uint8_t retransmits;  /**< RTO expirations without progress */
    uint8_t probes;       /**< window, keepalive probes without answer */
    uint32_t last_ack_ms; /**< last acceptable segment with ACK */
    union tcp_congestion_private own;
};

/** What limits sending; Linux's order: a later one hides an earlier. */
enum tcp_chrono {
    TCP_CHRONO_IDLE,
    TCP_CHRONO_BUSY, /**< something is unacknowledged or unsent */
    TCP_CHRONO_RECEIVE_WINDOW,
    TCP_CHRONO_SEND_BUFFER,
    TCP_CHRONO_COUNT
};

/** Delivery-rate estimation and the chronograph of what limits sending: delivery.h. */
struct tcp_delivery {
    uint32_t delivered;     /**< bytes known to have arrived, modulo 2^32 */
    uint32_t delivered_us;  /**< when the latest was */
    uint32_t first_sent_us; /**< when the sample before was sent, or the flight began */
    uint32_t limited_until; /**< delivered, when what was sent while app-limited has arrived */
    uint32_t rate_bytes, rate_interval_us; /**< latest valid sample */
    uint32_t busy_ms; /**< TCP_CHRONO_BUSY's; the others' are in struct tcp_rare */
    uint32_t chrono_started_ms;
    uint8_t chrono;    /**< enum tcp_chrono */
    bool limited;      /**< the application is the limit now … */
    bool rate_limited; /**< … and was for the latest valid sample */
};

/** Counters that TCP_INFO shows; bytes where not said. Those of trouble are in struct tcp_rare. */
struct tcp_statistics {
    uint32_t segments_in, segments_out, data_segments_in, data_segments_out, delivered_segments;
};

/** Path MTU by probing (mtu_probe.h); IP bytes per packet. */
struct tcp_mtu_probe {
    uint16_t low, high; /**< passes; may pass */
    uint16_t size;      /**< of the probe in flight; 0: none */
    uint16_t since_min; /**< when the search began, minutes modulo 2^16 */
    seq_t start;        /**< where the probe begins */
};

struct tcp_pacing;

/**
 * What few connections ever need: trouble, and features that are off. Taken when first needed and
 * kept until the connection is gone; all others share tcp_rare_none (rare.h).
 */
struct tcp_rare {
    struct tcp_recovery *recovery;     /**< &tcp_recovery_none: nothing is amiss */
    struct tcp_reassembly *reassembly; /**< &tcp_reassembly_none: all came in order */
    uint64_t retransmit_began_ns;      /**< first retransmission without progress; 0 none */
    uint64_t probe_began_ns;           /**< first window probe without progress; 0 none */
    uint64_t untimed_end;      /**< below this, bytes may be without record for want of memory */
    uint64_t snd_urgent;       /**< one past the urgent byte to send; 0 none */
    struct tcp_pacing *pacing; /**< NULL: never paced */
    struct tcp_listener *fast_open_listener; /**< while fast_open.pending, and if the listener … */
    uint32_t fast_open_listener_id;          /**< … has this id still */
    struct tcp_mtu_probe mtu_probe;
    uint32_t timeout_began_ms;   /**< first retransmission timeout, not yet repaired; 0: none */
    uint32_t challenge_acked_ms; /**< last answer to an unacceptable segment (RFC 5961 §7), if
                                    hot.challenge_acked says that there was one */
    uint32_t lost;               /**< bytes found lost, modulo 2^32 */
    /* Counters that TCP_INFO shows. */
    uint32_t retransmitted_segments, dsacks, out_of_order, reordering_seen;
    uint64_t bytes_retransmitted;
    uint32_t delivered_marked; /**< segments, told by ACKs with ECE */
    uint32_t timeout_ms;       /**< from first retransmission timeouts to the end of their repair */
    uint32_t receive_window_ms, send_buffer_ms; /**< limited by them (enum tcp_chrono) */
    uint16_t timeouts, timeout_episodes;
    uint16_t soft_error;    /**< errno, positive: what ICMP said meanwhile; 0 nothing */
    uint8_t window_share;   /**< of a receive buffer that payload fills, in 256ths, as measured
                                 (stack_config.receive_memory); 0: half */
    uint32_t unread_memory; /**< then: of the buffer, what was not read takes */
};

/** That of connections without: only read. */
extern const struct tcp_rare tcp_rare_none;

/** Fast open (fast_open.h). */
struct tcp_fast_open_state {
    bool wanted : 1;       /**< client: the first SYN has the option, or data */
    bool held : 1;         /**< client: the SYN waits for the application's data */
    bool more : 1;         /**< client: the application has more than went into the SYN */
    bool asked : 1;        /**< client: the option was in the SYN */
    bool data_sent : 1;    /**< client: payload was in the SYN */
    bool probes_path : 1;  /**< client: the first after a pause because of a black hole */
    bool pending : 1;      /**< server: in use before the handshake is done */
    bool answer : 1;       /**< server: the SYN-ACK brings a cookie */
    bool experimental : 1; /**< by the option of before RFC 7413 */
    bool data_acked : 1;   /**< the SYN's payload was taken, all of it */
    bool child : 1;        /**< server: was in use before the handshake was done */
    uint8_t failure : 2;   /**< client: enum tcp_fast_open_failure */
};

/** Of a connection that came through a listener, until the application has it: accept.c. */
struct tcp_pending {
    struct tcp_listener *listener;
    struct tcp_connection *next;           /**< the listener's lists … */
    struct tcp_connection **previous_next; /**< … the embryonic in both directions */
    uint32_t held_events;                  /**< while unannounced */
};

struct tcp_connection {
    alignas(64) struct tcp_hot hot;
    struct tcp_links links;
    struct tcp_flow flow;
    uint16_t peer_mss;
    uint16_t path_mtu; /**< IP bytes per packet towards the peer */
    uint16_t link_mss; /**< payload of a packet when the connection was opened: what we announce */
    uint8_t state_timer;  /**< enum tcp_state_timer */
    uint8_t syn_timeouts; /**< SYN or SYN-ACK retransmissions so far */
    bool is_ipv6 : 1;
    bool mtu_probing : 1; /**< rare->mtu_probe is in use */
    bool passive : 1;     /**< came through a listener */
    bool unannounced : 1; /**< waits in the accept queue: events are held back */
    bool defer_acked : 1; /**< TCP_DEFER_ACCEPT: the handshake's ACK was there */
    bool orphaned : 1;    /**< the application let go */
    bool closed_told : 1; /**< STACK_EVENT_CLOSED raised: embedder's use has ended … */
    bool released : 1;    /**< … and been delivered: free it when CLOSED */
    bool read_shut : 1;
    bool fin_after_handshake : 1; /**< shut down or closed in SYN_RECEIVED */
    bool queued : 1;              /**< in a list of its listener: `pending` is valid, not `user` */
    bool syn_timed : 1;           /**< congestion.syn_sent_us is valid */
    bool rack_known : 1;          /**< something sent has arrived: `rack` is valid */
    bool rack_advanced : 1;       /**< something to look at since losses were last looked for */
    struct tcp_fast_open_state fast_open;
    uint16_t error;          /**< errno, positive */
    uint16_t min_rtt_s;      /**< when congestion.min_rtt_us was taken, seconds modulo 2^16 */
    uint32_t established_ms; /**< when the handshake was done; before: when it began */
    uint64_t state_deadline_ns;
    uint32_t send_buffer_initial; /**< auto-tuning's floor: the stack's, or what was reached … */
    uint32_t send_buffer_max;     /**< … and its limit, never below */
    struct tcp_congestion congestion;
    struct tcp_rare *rare;
    struct tcp_sent_list flight; /**< what is on its way, in the order of sending */
    struct tcp_rack rack;
    struct tcp_receive receive;
    struct tcp_delivery delivery;
    struct tcp_statistics statistics;
    const struct tcp_options_set *options; /**< shared with others that have the same */
    union {
        void *user;
        struct tcp_pending *pending; /**< while `queued` */
    };
};
_Static_assert(offsetof(struct tcp_connection, links) == TCP_LINKS_OFFSET &&
                   offsetof(struct tcp_connection, flow) == TCP_FLOW_OFFSET,
               "the stack knows where they are");
_Static_assert(sizeof(struct tcp_connection) <= 512, "a connection fills eight cache lines");

/** The set with these values, held until released (option_sets.c). There is always room. */
const struct tcp_options_set *tcp_options_share(struct stack *stack,
                                                const struct tcp_options_set *values);
void tcp_options_release(struct stack *stack, const struct tcp_options_set *values);
/** Another holds this set, too. */
void tcp_options_hold(const struct tcp_options_set *values);

/** cwnd has changed: the send buffer's limit follows it up, but never down, as in Linux; who was
   told that there is room must find it. */
void tcp_send_buffer_keep(struct tcp_connection *connection);

/** The wire's form of a sequence number. */
static inline seq_t tcp_wire(uint64_t number)
{
    return seq_of((uint32_t)number);
}

/** The unwrapped number nearest to near; right within 2^31 of it. */
static inline uint64_t tcp_unwrap(uint64_t near, seq_t seq)
{
    return near + (uint64_t)(int64_t)seq_diff(seq, tcp_wire(near));
}

/** The number of the first byte sent. */
static inline uint64_t tcp_snd_start(const struct tcp_hot *hot)
{
    return TCP_SEQ_EPOCH + hot->snd_first.value;
}

/** The number of the first byte received. */
static inline uint64_t tcp_rcv_start(const struct tcp_hot *hot)
{
    return TCP_SEQ_EPOCH + hot->rcv_first.value;
}

/** The number that is at most rcv_nxt, and less than 2^32 below it. */
static inline uint64_t tcp_below_rcv_nxt(const struct tcp_hot *hot, seq_t seq)
{
    return hot->rcv_nxt - (uint32_t)(tcp_wire(hot->rcv_nxt).value - seq.value);
}

/** rcv_nxt when last advertised. */
static inline uint64_t tcp_rcv_wup(const struct tcp_hot *hot)
{
    return tcp_below_rcv_nxt(hot, hot->rcv_wup);
}

/** Bytes that came in order since the window was last advertised. */
static inline uint32_t tcp_unadvertised(const struct tcp_hot *hot)
{
    return tcp_wire(hot->rcv_nxt).value - hot->rcv_wup.value;
}

/** Whether the application has consumed all that came in order, and it did not end with a FIN. */
static inline bool tcp_all_is_read(const struct tcp_hot *hot)
{
    return tcp_wire(hot->rcv_nxt).value == hot->rcv_read.value;
}

/** One past what the application has consumed. */
static inline uint64_t tcp_rcv_read(const struct tcp_hot *hot)
{
    return tcp_below_rcv_nxt(hot, hot->rcv_read);
}

static inline uint64_t tcp_outstanding(const struct tcp_connection *c)
{
    return c->hot.snd_nxt - c->hot.snd_una;
}

/** Bytes the application gave that were never sent. */
static inline uint64_t tcp_unsent(const struct tcp_connection *c)
{
    return c->hot.snd_end > c->hot.snd_nxt ? c->hot.snd_end - c->hot.snd_nxt : 0;
}

static inline bool tcp_fin_unsent(const struct tcp_connection *c)
{
    return c->hot.fin_queued && c->hot.snd_nxt <= c->hot.snd_end;
}

/** One past the last byte of payload received in order (the FIN not counted). */
static inline uint64_t tcp_received_end(const struct tcp_connection *c)
{
    return c->hot.rcv_nxt - (c->hot.fin_received ? 1 : 0);
}

/** SYN_RECEIVED and later, where sequence numbers of both sides are known. */
static inline bool tcp_is_synchronized(const struct tcp_connection *c)
{
    return c->hot.state != TCP_STATE_CLOSED && c->hot.state != TCP_STATE_LISTEN &&
           c->hot.state != TCP_STATE_SYN_SENT;
}

/** Smoothed round trip, microseconds; 0: no sample yet. */
static inline uint32_t tcp_srtt_us(const struct tcp_connection *c)
{
    return c->congestion.srtt_eighth / 8;
}

/** Time in milliseconds, modulo 2^32. */
static inline uint32_t tcp_clock_ms(uint64_t now_ns)
{
    return (uint32_t)(now_ns / NS_PER_MS);
}

/** How long ago that was, to the millisecond; less than 49 days. */
static inline uint64_t tcp_age_ns(uint32_t since_ms, uint64_t now_ns)
{
    return (uint32_t)(tcp_clock_ms(now_ns) - since_ms) * NS_PER_MS;
}

/** How long a connection in SYN_RECEIVED or SYN_SENT has been so, to the millisecond. */
static inline uint64_t tcp_handshake_age_ns(const struct tcp_connection *c, uint64_t now_ns)
{
    return tcp_age_ns(c->established_ms, now_ns);
}

/** How many segments so many bytes make. */
static inline uint32_t tcp_segments_of(const struct tcp_connection *c, uint32_t bytes)
{
    return (bytes + c->hot.mss - 1) / c->hot.mss;
}

/** Our timestamp clock: milliseconds with the flow's offset (RFC 7323 §5.4). */
static inline uint32_t tcp_timestamp_now(const struct tcp_connection *c, uint64_t now_ns)
{
    return (uint32_t)(now_ns / NS_PER_MS) + c->hot.ts_offset;
}

#endif
