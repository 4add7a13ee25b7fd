/**
 * @file stack.h
 * The TCP/IP stack as its embedder sees it: the engine (one stack per core, nothing shared), the
 * simulator, the packet-script runner and the fuzzers all use just this.
 *
 * Sans-IO: frames come in with the time, frames to send and events come out when asked for. No
 * syscalls, no clock, no allocation after stack_create(), no payload bytes kept: payload is known
 * by stream offset (0 = first byte after SYN in that direction), and the embedder places and
 * fetches the bytes.
 *
 * A receive burst:
 *     for each frame: stack_receive_parse() → STACK_RX_TCP: reserve memory for its payload (or set
 *         segment.payload_refused) → stack_receive_segment() → place result.place_* bytes;
 *     then stack_next_event() until empty, then stack_transmit() until empty.
 * Application operations (tcp_send …) and stack_advance() are followed by the same two loops.
 *
 * While payload is on its way to host memory (asynchronous DMA), tcp_placement_begin()/_end()
 * hold back everything the connection would send, so that nothing is acknowledged before it lies
 * there.
 */
#ifndef PNO_CORE_STACK_H
#define PNO_CORE_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ip_address.h"
#include "core/drop_reasons.h"
#include "core/segment.h"

struct stack;
struct tcp_connection;
struct tcp_listener;

#define STACK_PREFIXES_MAX 16

struct stack_prefix {
    struct ip_address address; /**< our own address in this prefix */
    unsigned prefix_length;    /**< of the 128-bit form: IPv4 /24 is 120 */
};

/** Explicit congestion notification (RFC 3168); Linux's numbers of net.ipv4.tcp_ecn. */
enum tcp_ecn_use {
    TCP_ECN_OFF = 0,
    TCP_ECN_REQUEST = 1, /**< asked for by active opens, and accepted */
    TCP_ECN_ACCEPT = 2,  /**< accepted when the peer asks: the default */
};

/** SYN cookies (RFC 4987 §3.6); Linux's numbers of net.ipv4.tcp_syncookies. */
enum tcp_syn_cookie_use {
    TCP_SYN_COOKIES_OFF = 0,       /**< a SYN too many is dropped */
    TCP_SYN_COOKIES_WHEN_FULL = 1, /**< once the SYN queue is full: the default */
    TCP_SYN_COOKIES_ALWAYS = 2,
};

/** Path MTU by probing (RFC 4821, 8899); Linux's numbers of net.ipv4.tcp_mtu_probing. */
enum tcp_mtu_probing {
    TCP_MTU_PROBING_OFF = 0,        /**< the core's default, as Linux's */
    TCP_MTU_PROBING_BLACK_HOLE = 1, /**< once large segments seem to get lost without a word */
    TCP_MTU_PROBING_ALWAYS = 2,     /**< from tcp_defaults.mtu_probe_base on */
};

/** TCP Fast Open (RFC 7413); Linux's bits of net.ipv4.tcp_fastopen. */
enum tcp_fast_open_use {
    TCP_FAST_OPEN_CLIENT = 0x1,           /**< the default */
    TCP_FAST_OPEN_SERVER = 0x2,           /**< on listeners that ask for it */
    TCP_FAST_OPEN_CLIENT_NO_COOKIE = 0x4, /**< data goes out without one */
    TCP_FAST_OPEN_SERVER_NO_COOKIE = 0x200,
    TCP_FAST_OPEN_SERVER_ALWAYS = 0x400, /**< on all listeners, their back-log being the limit */
};

/** Defaults for new connections and limits; stack_config_init() sets Linux's. */
struct tcp_defaults {
    uint32_t receive_buffer_initial; /**< bytes; 131072, of which the window is offered */
    uint32_t receive_buffer_max;     /**< auto-tuning's limit; 6 MiB */
    uint32_t send_buffer_initial;    /**< bytes; 16384 × what Linux makes of it: 87040 */
    uint32_t send_buffer_max;        /**< 4 MiB */
    uint8_t congestion;              /**< enum tcp_congestion_id */
    uint64_t constant_rate; /**< bytes/s of "constant-rate" without SO_MAX_PACING_RATE; 125 MB/s */
    uint8_t syn_retries;    /**< 6 */
    uint8_t syn_linear_timeouts; /**< of a SYN before each waits twice as long as the last; 4 */
    uint8_t synack_retries;      /**< 5 */
    uint8_t retries;             /**< 15: data retransmissions before ETIMEDOUT */
    uint8_t min_tso_segs;   /**< 2: segments that one segmentation offload may take at any rate */
    uint8_t orphan_retries; /**< 8 */
    uint64_t fin_wait2_timeout_ns;  /**< 60 s */
    uint64_t time_wait_ns;          /**< 60 s */
    uint64_t keepalive_idle_ns;     /**< 7200 s */
    uint64_t keepalive_interval_ns; /**< 75 s */
    uint8_t keepalive_count;        /**< 9 */
    uint64_t rto_min_ns;            /**< 200 ms … */
    uint64_t rto_max_ns;            /**< … and 120 s: bounds of the retransmission timeout */
    uint64_t pace_rtt_ns; /**< connections whose handshake took this long are paced, but for windows
                             of up to 32 segments; 0: all, as on Linux with the fq queueing
                             discipline; TIME_NEVER, as without */
    bool timestamps, window_scaling, sack; /**< offered and accepted; all true */
    bool tail_probes;                      /**< RFC 8985 §7; true (Linux's tcp_early_retrans) */
    bool slow_start_after_idle;            /**< the window decays while nothing is sent; true */
    uint8_t ecn;                           /**< enum tcp_ecn_use */
    uint8_t syn_cookies;                   /**< enum tcp_syn_cookie_use */
    uint8_t mtu_probing;                   /**< enum tcp_mtu_probing */
    uint16_t mtu_probe_base;               /**< MSS to begin with; 1024 */
    uint64_t mtu_probe_interval_ns;        /**< how long a failed probe's size holds; 600 s */
    uint16_t fast_open;                    /**< enum tcp_fast_open_use */
    uint8_t fast_open_key_count;           /**< 0: one made from the secret; else 1, or 2 with the
                                                key of before */
    uint8_t fast_open_keys[2][16];
    uint64_t fast_open_black_hole_ns; /**< how long active fast open pauses after one; 0: never */
};

struct stack_config {
    uint8_t mac[6];
    uint16_t mtu; /**< of the link, IP bytes: 1500 */
    unsigned prefix_count;
    struct stack_prefix prefixes[STACK_PREFIXES_MAX]; /**< more than one per family allowed */
    bool has_gateway_v4, has_gateway_v6;
    struct ip_address gateway_v4, gateway_v6;
    uint8_t secret[32];   /**< random: initial sequence numbers, SYN cookies, ports, hash tables */
    uint64_t random_seed; /**< random: jitter, IPv4 identification, … */
    uint32_t connections_max; /**< incl. embryonic and TIME_WAIT; memory is reserved for all */
    uint32_t listeners_max;
    uint32_t intervals_max;       /**< pool of out-of-order and scoreboard intervals; 0 = derived */
    uint32_t sent_records_max;    /**< of bursts in flight, beyond one for each connection; 0 =
                                       derived */
    uint32_t fragments_bytes_max; /**< memory for reassembly of IP fragments */
    uint16_t local_port_first, local_port_last; /**< 32768..60999 */
    uint16_t core_index,
        core_count;     /**< for port choice: with several cores, an ephemeral port is
                             taken so that stack_rss_core() of the flow is core_index */
    bool no_prediction; /**< for tests: every segment takes the whole way, none the short one */
    /** For tests: bytes of a receive buffer that a segment with so much payload takes, from which
        follows, as on Linux, how much of the buffer is offered. NULL: twice the payload. */
    uint32_t (*receive_memory)(uint32_t payload);
    struct tcp_defaults tcp;
};

/** Fill in Linux's defaults; the caller then sets addresses and secrets. */
void stack_config_init(struct stack_config *config);

/** Bytes of memory that stack_create() needs for this configuration; 0 = invalid configuration. */
size_t stack_memory_bytes(const struct stack_config *config);

/**
 * Make a stack within memory (zeroed, 64-byte aligned; may be lazily backed: untouched parts stay
 * untouched until used).
 * @return the stack, or NULL when the configuration is invalid.
 */
struct stack *stack_create(void *memory, const struct stack_config *config, uint64_t now_ns);

/** Change the defaults: for what happens from now on. */
void stack_set_tcp_defaults(struct stack *stack, const struct tcp_defaults *defaults);

/* ---- Receive ------------------------------------------------------------------------------ */

enum stack_rx_verdict {
    STACK_RX_TCP,      /**< segment filled in: go on with stack_receive_segment() */
    STACK_RX_CONSUMED, /**< ARP, ND, ICMP, a fragment kept: nothing more to do */
    STACK_RX_DROPPED,  /**< counted under its drop reason */
};

/** What the frame's port already knows. */
struct stack_rx_hints {
    bool ip_checksum_good;
    bool l4_checksum_good; /**< also set for frames turned round inside */
    uint16_t gso_size;     /**< 0, or segments of this much payload were joined into this frame */
};

struct stack_rx {
    struct tcp_segment segment;
    struct tcp_connection *connection; /**< NULL: none yet (listener or nobody) */
    struct tcp_listener *listener;     /**< NULL unless no connection matched and one listens */
    const uint8_t *packet; /**< payload is at packet + segment.payload_frame_offset: the frame, or
                                the stack's buffer of a packet reassembled from fragments (valid
                                until the next call of stack_receive_parse) */
    enum drop_reason drop;
};

/** Pre-process: parse, validate, look up. */
enum stack_rx_verdict stack_receive_parse(struct stack *stack, const uint8_t *frame,
                                          uint32_t frame_bytes, struct stack_rx_hints hints,
                                          uint64_t now_ns, struct stack_rx *rx);

/** Look up again whose a parsed segment is: connections may have come or gone since. */
void stack_receive_look_up(struct stack *stack, struct stack_rx *rx);

struct stack_rx_result {
    /** Payload to place: place_length bytes from packet + segment.payload_frame_offset +
        place_skip, at stream offset place_offset. place_length 0: nothing. */
    struct tcp_connection *connection;
    uint64_t place_offset;
    uint32_t place_skip;
    uint32_t place_length;
    enum drop_reason drop; /**< DROP_NONE, or why the segment (or its payload) was not used */
};

/** Protocol: apply the segment (RFC 9293 §3.10.7) to its connection, listener, or nobody (RST). */
void stack_receive_segment(struct stack *stack, struct stack_rx *rx, uint64_t now_ns,
                           struct stack_rx_result *result);

/** Which core a flow belongs to, for a frame; the same for both ways of computing it. */
unsigned stack_rss_core(const uint8_t secret[32], const uint8_t *frame, uint32_t frame_bytes,
                        unsigned core_count);

/** ARP and neighbour discovery teach every core's stack: with several cores, give such a frame to
    the stack of each (the one of core_index 0 answers). */
bool stack_frame_is_for_all_cores(const uint8_t *frame, uint32_t frame_bytes);

/* ---- Transmit ----------------------------------------------------------------------------- */

/** Ethernet 14 + VLAN 4 + IPv6 40 + TCP 60, rounded up. */
#define STACK_HEADER_MAX 128

struct stack_frame {
    uint8_t header[STACK_HEADER_MAX];
    uint16_t header_length; /**< Ethernet up to and with TCP/ICMP header */
    uint16_t l3_offset;     /**< 14 */
    uint16_t l4_offset;
    bool is_ipv6;
    bool turn_round; /**< to one of our own addresses: feed it back to stack_receive_parse() of the
                          core it belongs to, instead of the port (hints: all good) */
    uint32_t payload_length;
    /** Where payload comes from: the connection's stream, or bytes of the stack's own (ARP, ICMP;
        valid until the next call into the stack); NULL + NULL when there is none. */
    struct tcp_connection *connection;
    uint64_t stream_offset;
    const uint8_t *payload;
    uint16_t gso_size; /**< 0, or payload is to be cut into segments of this size (TSO) */
    /** TCP frames: header holds the pseudo-header's sum in the checksum field (as hardware offload
        wants it). Software: stack_frame_finish_checksum(). ICMP/ARP frames are complete. */
    bool l4_checksum_partial;
};

/**
 * The next frame that wants to go out; call until it returns false.
 * @param gso_bytes_max  0, or how large a payload the port can segment by itself.
 */
bool stack_transmit(struct stack *stack, uint64_t now_ns, uint32_t gso_bytes_max,
                    struct stack_frame *frame);

/** Complete a partial checksum in software: header at l4_offset, then payload, as laid out in a
    contiguous frame buffer. */
void stack_frame_finish_checksum(const struct stack_frame *frame, uint8_t *frame_bytes);

/** The same when payload has been summed already, as by checksum_copy(): frame_bytes need hold the
    header only. */
void stack_frame_finish_checksum_sum(const struct stack_frame *frame, uint8_t *frame_bytes,
                                     uint32_t payload_sum);

/** Complete the checksum of a frame from elsewhere that holds the pseudo-header's sum alone, as a
    port may hand over what was never on a wire. Neither TCP nor UDP in plain IP: left as it is. */
void stack_bytes_finish_checksum(uint8_t *frame, uint32_t frame_bytes);

/* ---- Time --------------------------------------------------------------------------------- */

/** Run what is due at now_ns. */
void stack_advance(struct stack *stack, uint64_t now_ns);

/** When stack_advance() is wanted next; TIME_NEVER if nothing is pending. May be early, never late.
 */
uint64_t stack_next_deadline(struct stack *stack);

/* ---- Events ------------------------------------------------------------------------------- */

enum stack_event_bit {
    STACK_EVENT_ESTABLISHED = 1 << 0, /**< active open completed */
    STACK_EVENT_DATA = 1 << 1,        /**< tcp_received_offset() advanced */
    STACK_EVENT_FIN = 1 << 2,         /**< peer's FIN reached in order */
    STACK_EVENT_ACKED = 1 << 3,       /**< tcp_acked_offset() advanced or send buffer limit grew */
    STACK_EVENT_ERROR = 1 << 4,       /**< tcp_error() says what; connection is dead */
    STACK_EVENT_SOFT_ERROR = 1 << 5,  /**< ICMP unreachable and the like while retrying */
    STACK_EVENT_URGENT = 1 << 6,
    STACK_EVENT_CLOSED = 1 << 7, /**< gone: after this event the embedder must not use the
                                      connection pointer again (TIME_WAIT goes on without it,
                                    tcp_user() being NULL) */
    STACK_EVENT_ACCEPT = 1 << 8, /**< on a listener: tcp_listener_next() has one */
};

struct stack_event {
    struct tcp_connection *connection; /**< or NULL, and listener set */
    struct tcp_listener *listener;
    void *user;    /**< the embedder's pointer of whichever it is */
    uint32_t bits; /**< enum stack_event_bit, merged since the last time */
};

bool stack_next_event(struct stack *stack, struct stack_event *event);

/* ---- TCP: listeners ----------------------------------------------------------------------- */

/** Whether a SYN to this address and port would find a listener, or the socket itself that sends it
    from `source` (RFC 9293 section 3.5, simultaneous open). */
bool stack_is_heard(const struct stack *stack, const struct ip_endpoint *destination,
                    const struct ip_endpoint *source);

struct tcp_listen_request {
    struct ip_endpoint local; /**< address any: all own addresses of the family, or both for :: */
    bool is_ipv6;
    bool v6only;
    bool reuse_port; /**< several listeners share the port, connections spread by hash */
    uint32_t backlog;
    void *user;
};

/** @return 0, -EADDRINUSE, -EADDRNOTAVAIL, -ENOBUFS. */
int tcp_listen(struct stack *stack, const struct tcp_listen_request *request,
               struct tcp_listener **listener);

void tcp_listener_set_backlog(struct tcp_listener *listener, uint32_t backlog);

/** TCP_DEFER_ACCEPT, in nanoseconds; 0 = off. Other options set on the listener are inherited. */
void tcp_listener_set_defer_accept(struct tcp_listener *listener, uint64_t defer_ns);

/** TCP_FASTOPEN: how many connections may be in use before their handshake is done; 0 = off. */
void tcp_listener_set_fast_open(struct tcp_listener *listener, uint32_t queue_max);

/** TCP_FASTOPEN_KEY: keys of its own, at most 2, the first to make cookies with; 0: the stack's. */
void tcp_listener_set_fast_open_keys(struct tcp_listener *listener, const uint8_t (*keys)[16],
                                     unsigned count);

/** The options that connections accepted here start with: set them as on a connection. */
struct tcp_options_set *tcp_listener_options(struct tcp_listener *listener);

/** Take the next established connection to announce; NULL when none. It keeps its place in the
    back-log until tcp_listener_taken(). The embedder then sets its pointer: tcp_set_user(). */
struct tcp_connection *tcp_listener_next(struct tcp_listener *listener);

/** The application took one announced connection (or it died before): frees its back-log place. */
void tcp_listener_taken(struct tcp_listener *listener);

/** Stop listening: embryonic and unannounced connections are reset, as Linux does. */
void tcp_listener_close(struct stack *stack, struct tcp_listener *listener, uint64_t now_ns);

/* ---- TCP: connections --------------------------------------------------------------------- */

enum tcp_congestion_id {
    TCP_CONGESTION_CUBIC = 0,
    TCP_CONGESTION_NEWRENO = 1,
    TCP_CONGESTION_DCTCP = 2,
    TCP_CONGESTION_BBR = 3,
    TCP_CONGESTION_DCTCP_RATE = 4,
    TCP_CONGESTION_TIMELY = 5,
    TCP_CONGESTION_CONSTANT_RATE = 6,
    TCP_CONGESTION_COUNT
};

/** The algorithm that TCP_CONGESTION calls so; -1: none. */
int tcp_congestion_by_name(const char *name);
/** As TCP_CONGESTION calls it; NULL: no such number. */
const char *tcp_congestion_name(unsigned id);

/** What is done about a path's MTU, by IP_MTU_DISCOVER's numbers (ip(7)). */
enum tcp_mtu_discover {
    TCP_MTU_DISCOVER_DONT = 0, /**< packets may be fragmented on their way */
    TCP_MTU_DISCOVER_WANT = 1,
    TCP_MTU_DISCOVER_DO = 2,
    TCP_MTU_DISCOVER_PROBE = 3,     /**< as DONT, but what ICMP says counts at once */
    TCP_MTU_DISCOVER_INTERFACE = 4, /**< as DONT; over IPv6 what ICMP says does not count */
    TCP_MTU_DISCOVER_OMIT = 5,      /**< likewise */
};

/** Options of one connection (or inherited through a listener). Without padding: sets are compared
   byte by byte. */
struct tcp_options_set {
    bool nodelay, cork, keepalive;
    bool delay_acks;          /**< from the first on: TCP_QUICKACK 0; later: tcp_quickack() */
    bool fast_open_no_cookie; /**< neither asked for nor needed: TCP_FASTOPEN_NO_COOKIE */
    uint8_t congestion; /**< enum tcp_congestion_id; effective before the handshake and after */
    uint8_t traffic_class, ttl; /**< ttl 0 = 64 */
    uint8_t keepalive_count, syn_retries;
    uint16_t maxseg;         /**< 0 = by MTU */
    uint32_t receive_buffer; /**< bytes, fixed; 0 = auto-tuned */
    uint32_t send_buffer;
    uint32_t window_clamp; /**< 0 = none */
    uint64_t keepalive_idle_ns, keepalive_interval_ns;
    uint64_t user_timeout_ns;                  /**< 0 = by retries */
    uint32_t rto_max_us;                       /**< TCP_RTO_MAX_MS */
    uint32_t rto_min_us;                       /**< TCP_RTO_MIN_US */
    uint32_t ack_delay_max_us;                 /**< TCP_DELACK_MAX_US: no ACK waits longer */
    uint16_t mtu_discover_v4, mtu_discover_v6; /**< enum tcp_mtu_discover, by family of the peer */
    uint64_t linger2_ns;                       /**< FIN_WAIT_2 timeout; UINT64_MAX = none at all */
    uint64_t max_pacing_rate; /**< bytes/s; UINT64_MAX = no limit. Whoever sets one is paced */
};

void tcp_options_set_init(struct tcp_options_set *options, const struct tcp_defaults *defaults);

/** From where to choose a local port. A bound that is not within the stack's own range, as 0 is
   not, does not count (Linux: inet_sk_get_local_port_range()). */
struct port_range {
    uint16_t first, last;
};

struct tcp_connect_request {
    struct ip_endpoint local; /**< address any and/or port 0: chosen (RFC 6724-ish, RFC 6056) … */
    struct port_range ports;  /**< … out of these */
    struct ip_endpoint remote;
    bool reuse_address;                    /**< local port may be shared when the 4-tuple differs */
    const struct tcp_options_set *options; /**< NULL = defaults */
    bool fast_open; /**< data may go with the SYN, or a cookie is asked for (RFC 7413) */
    bool more;      /**< the application waits to send: the handshake's ACK rides on that */
    void *user;
};

/** Active open. @return 0, -EADDRINUSE, -EADDRNOTAVAIL, -ENETUNREACH, -ENOBUFS, -EINVAL. */
int tcp_connect(struct stack *stack, const struct tcp_connect_request *request, uint64_t now_ns,
                struct tcp_connection **connection);

/** With fast open: bytes that the SYN takes, as it is held for tcp_send() to give them; 0: it is
    not held. */
uint32_t tcp_fast_open_room(struct stack *stack, const struct tcp_connection *connection);

/** Let a held SYN go, with what tcp_send() gave. more: as in the request. */
void tcp_fast_open_go(struct stack *stack, struct tcp_connection *connection, bool more);

/** Forget all cookies and black holes. */
void tcp_fast_open_forget(struct stack *stack);

/** Reserve a local endpoint for a socket bound but neither listening nor connected. Port 0: one of
    `ports` is chosen and written back.
    @return 0, -EADDRINUSE (by Linux's rules on reuse), -EADDRNOTAVAIL. */
int stack_port_bind(struct stack *stack, struct ip_endpoint *local, struct port_range ports,
                    bool is_ipv6, bool v6only, bool reuse_address, bool reuse_port);

/** Whether sockets can be bound to this address, whatever the port. */
bool stack_may_bind(const struct stack *stack, const struct ip_address *address);

void stack_port_release(struct stack *stack, const struct ip_endpoint *local, bool is_ipv6,
                        bool v6only);

void tcp_set_user(struct tcp_connection *connection, void *user);
void *tcp_user(const struct tcp_connection *connection);

/** bytes more lie in the send buffer; more: MSG_MORE/cork for the tail. The embedder keeps bytes
    until tcp_acked_offset() passes them. @return 0, -EPIPE after shutdown, -ENOTCONN/-ECONNRESET.
 */
int tcp_send(struct stack *stack, struct tcp_connection *connection, uint64_t bytes, bool more,
             uint64_t now_ns);

/** A record of the application's ends with the last byte given so far (MSG_EOR): no segment has
    bytes of it and of what follows. To be called before more is given. */
void tcp_send_record_end(struct stack *stack, struct tcp_connection *connection);

/** The last byte sent so far is urgent data (RFC 9293 §3.8.5). */
void tcp_send_urgent(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** The application has read up to this offset: the window may open. Beyond what was received:
 * capped. */
void tcp_consumed(struct stack *stack, struct tcp_connection *connection, uint64_t stream_offset,
                  uint64_t now_ns);

/** FIN after what was sent so far. */
void tcp_shutdown_write(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** shutdown(SHUT_RD) as on Linux: payload still arrives and may be read; only once our FIN is out
   as well (FIN_WAIT_1, FIN_WAIT_2) does it reset the connection. */
void tcp_shutdown_read(struct stack *stack, struct tcp_connection *connection);

/** The application let go. Unread payload: RST (RFC 2525 §2.17, as Linux), else FIN. The embedder
    keeps unacknowledged bytes until STACK_EVENT_CLOSED, which comes once nothing need be sent
   again. */
void tcp_close(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** RST and gone; STACK_EVENT_CLOSED follows. */
void tcp_abort(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** TCP_QUICKACK: on, an ACK that is delayed goes if all that arrived was read; off, ACKs ride on
    answers. Neither lasts, as in Linux: what the application does next decides anew. */
void tcp_quickack(struct stack *stack, struct tcp_connection *connection, bool on);

/** Apply changed options (all at once; compares with the present ones). */
void tcp_set_options(struct stack *stack, struct tcp_connection *connection,
                     const struct tcp_options_set *options, uint64_t now_ns);
const struct tcp_options_set *tcp_get_options(const struct tcp_connection *connection);

/** Asynchronous placement: between the two, the connection sends nothing. */
void tcp_placement_begin(struct tcp_connection *connection);
void tcp_placement_end(struct stack *stack, struct tcp_connection *connection);

uint64_t tcp_received_offset(const struct tcp_connection *connection); /**< in order so far */
uint64_t tcp_acked_offset(const struct tcp_connection *connection);
uint64_t tcp_send_end_offset(const struct tcp_connection *connection);   /**< given to tcp_send() */
uint32_t tcp_send_buffer_bytes(const struct tcp_connection *connection); /**< limit, auto-tuned */
uint64_t
tcp_urgent_offset(const struct tcp_connection *connection);         /**< one past the urgent byte */
bool tcp_has_out_of_order(const struct tcp_connection *connection); /**< payload beyond a gap */
uint64_t tcp_received_high_offset(const struct tcp_connection *connection); /**< one past the
                                                  highest byte placed, gaps included */
int tcp_error(const struct tcp_connection *connection); /**< errno of ERROR/SOFT_ERROR, positive */
void tcp_endpoints(const struct tcp_connection *connection, struct ip_endpoint *local,
                   struct ip_endpoint *remote);

/** Facts for TCP_INFO, `pno ss` and tests; Linux's meanings and units unless said. */
struct tcp_connection_info {
    uint8_t state;    /**< Linux's TCP_ESTABLISHED = 1 … TCP_CLOSING = 11 */
    uint8_t ca_state; /**< 0 open, 1 disorder, 2 CWR, 3 recovery, 4 loss */
    uint8_t retransmits, probes, backoff;
    uint8_t options; /**< TCPI_OPT_TIMESTAMPS 1, SACK 2, WSCALE 4, ECN 8, …, SYN_DATA 32 */
    uint8_t fast_open_failure; /**< tcpi_fastopen_client_fail */
    uint8_t snd_wscale, rcv_wscale;
    bool app_limited;
    uint32_t rcv_memory; /**< of rcv_buffer, what is taken (stack_config.receive_memory); else 0 */
    uint64_t rto_ns, ato_ns, srtt_ns, rttvar_ns, min_rtt_ns, rcv_rtt_ns;
    uint32_t snd_mss, rcv_mss, advmss, pmtu;
    uint32_t unacked, sacked, lost, retrans, total_retrans, reordering; /**< segments */
    uint32_t snd_cwnd, snd_ssthresh; /**< segments; ssthresh 0x7fffffff = infinite */
    uint32_t snd_wnd, rcv_wnd, rcv_space, rcv_ssthresh; /**< bytes */
    uint32_t rcv_buffer; /**< bytes, as Linux's SO_RCVBUF has grown */
    uint64_t last_data_sent_ns, last_data_recv_ns, last_ack_recv_ns; /**< ages */
    uint64_t bytes_acked, bytes_received, bytes_sent, bytes_retrans;
    uint64_t busy_time_ns, rwnd_limited_ns, sndbuf_limited_ns;
    uint64_t notsent_bytes, delivery_rate_bytes_per_s;
    uint64_t pacing_rate_bytes_per_s, max_pacing_rate_bytes_per_s; /**< UINT64_MAX: none */
    uint32_t segs_in, segs_out, data_segs_in, data_segs_out, delivered, dsack_dups;
    uint32_t reord_seen, rcv_ooopack, delivered_ce;
    uint32_t total_rto_ms; /**< tcpi_total_rto_time */
    uint16_t total_rto, total_rto_recoveries;
    uint64_t send_queue_bytes, receive_queue_bytes; /**< Send-Q and Recv-Q of ss */
    const char *congestion_name;                    /**< as TCP_CONGESTION has it */
};
void tcp_get_info(const struct stack *stack, const struct tcp_connection *connection,
                  uint64_t now_ns, struct tcp_connection_info *info);

/** What TCP_CC_INFO tells of the algorithm. */
enum tcp_congestion_info_kind {
    TCP_CONGESTION_INFO_NONE,
    TCP_CONGESTION_INFO_DCTCP,
    TCP_CONGESTION_INFO_BBR
};
struct tcp_congestion_info {
    enum tcp_congestion_info_kind kind;
    bool dctcp_enabled;                             /**< ECN was negotiated */
    bool dctcp_ce;                                  /**< the latest arrival was marked */
    uint32_t dctcp_alpha;                           /**< 1024ths */
    uint32_t dctcp_marked_bytes, dctcp_acked_bytes; /**< in this window */
    uint64_t bandwidth;                             /**< BBR: bytes per second */
    uint32_t min_rtt_us;
    uint32_t pacing_gain, cwnd_gain; /**< 256ths */
};
void tcp_get_congestion_info(const struct tcp_connection *connection,
                             struct tcp_congestion_info *info);

struct tcp_listener_info {
    struct ip_endpoint local;
    bool is_ipv6, v6only;
    uint32_t backlog, accept_queue, syn_queue;
    uint64_t syn_cookies_sent, overflows;
};
void tcp_listener_get_info(const struct tcp_listener *listener, struct tcp_listener_info *info);
void tcp_listener_set_user(struct tcp_listener *listener, void *user);

/* ---- Introspection ------------------------------------------------------------------------ */

/** Call visit for every connection (TIME_WAIT too), until it returns false. */
void stack_for_each_connection(struct stack *stack,
                               bool (*visit)(void *context, struct tcp_connection *connection),
                               void *context);

struct stack_counters {
    uint64_t drops[DROP_REASON_COUNT];
    uint64_t frames_in, frames_out, bytes_in, bytes_out, segments_in, segments_out;
    uint64_t retransmits, rto_expirations, resets_in, resets_out, challenge_acks;
    uint64_t active_opens, passive_opens, established_now, time_wait_now, connections_now;
    uint64_t syn_cookies_sent, syn_cookies_accepted, out_of_order, arp_in, nd_in, icmp_in;
    uint64_t fragments_in, reassembled;
    uint64_t listens; /**< listeners opened */
    uint64_t fast_open_active, fast_open_active_failed, fast_open_passive, fast_open_passive_failed;
    uint64_t fast_open_cookies_asked, fast_open_listen_overflows, fast_open_black_holes;
    uint64_t mtu_probes, mtu_probe_successes;
};
const struct stack_counters *stack_get_counters(const struct stack *stack);
const char *drop_reason_name(enum drop_reason reason);

/** Check every invariant of every connection and table; traps on the first that fails (debug,
    simulation, fuzzing). */
void stack_check(struct stack *stack);

#endif
