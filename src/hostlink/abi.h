/**
 * @file abi.h
 * The host-engine contract: what lies in shared memory and what the descriptors mean.
 *
 * Two memories, as across PCIe. The *arena* is host memory: one memfd per tenant (an application
 * and the children it forks), made and sealed by the engine. The *window* is engine memory that
 * the host may write: one memfd per tenant too. Each ring lives with its consumer; what the
 * consumer tells the producer (credit, "I sleep") lives with the producer. So nobody polls across
 * the link; every crossing is a write.
 *
 *   arena (host memory)                          window (engine memory)
 *   ├ engine_armed[core]  written by engine      ├ to-engine rings      written by host
 *   ├ to-host rings       written by engine      └ feedback of to-host rings
 *   ├ feedback of to-engine rings                    (consumed, armed)  written by host
 *   │     (consumed)      written by engine
 *   ├ receive region      payload, allocated and written by engine, read by host
 *   └ host region         allocated and written by host alone: socket blocks, send chunks;
 *                         the engine only reads payload from it, and link_slot_block
 *
 * Events and operations are *cumulative*: they carry stream offsets ("acknowledged up to",
 * "consumed up to"), so that pending ones merge when a ring is full, and so that one event can be
 * told to several processes that share a socket after fork. Stream offset 0 is the first payload
 * byte in a direction.
 *
 * Everything the engine reads from the host is copied once, validated, then used.
 */
#ifndef PNO_HOSTLINK_ABI_H
#define PNO_HOSTLINK_ABI_H

#include <assert.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/ip_address.h"

/** Changes with every incompatible change of this file; a mismatch is refused in the hello. */
#define LINK_ABI_VERSION 12

#define LINK_CORES_MAX     8  /**< engine cores that one tenant can talk to */
#define LINK_CHANNELS_MAX  64 /**< channels (threads with rings of their own) per process */
#define LINK_ADDRESSES_MAX 16 /**< engine addresses told in the hello */
#define LINK_PROGRAM_MAX   32 /**< bytes of the program's name, with its NUL */

#define LINK_HOST_SLOT_BYTES 80 /**< the library keeps no more for a slot in the host region */

#define LINK_POLICY_RULES_MAX   64
#define LINK_POLICY_PROGRAM_MAX 120 /**< bytes of a rule's program, with its NUL */

/** A default place for the control socket; PNO_SOCKET and --socket override it. */
#define LINK_SOCKET_PATH_DEFAULT "/run/pno/pnod.sock"

/* ---- Sockets as the link knows them ------------------------------------------------------- */

/**
 * A socket is named by a slot in its tenant's table and by the incarnation of that slot, which
 * whoever allocates the slot increments; descriptors of an earlier incarnation are ignored.
 * Slots [0, host_slots) are allocated by the host (sockets it binds, listens on or connects), the
 * rest by the engine (accepted connections). A slot may be used again after LINK_EVENT_SLOT_FREE.
 */
struct link_socket_name {
    uint32_t slot;
    uint32_t incarnation;
};

/**
 * The host region begins with one of these for each slot, LINK_SLOT_BLOCK_BYTES apart; the library
 * keeps more in the rest. The engine looks when the last process that has a socket ends without
 * closing it: as in Linux the end is a reset only where bytes are left that nobody has read, or
 * where SO_LINGER says so.
 */
struct link_slot_block {
    uint32_t lock;        /**< the library's */
    uint32_t incarnation; /**< whose the rest is */
    uint64_t read_offset; /**< the application has read up to here */
    uint32_t flags;       /**< LINK_SLOT_ABORTS, and the library's */
};

#define LINK_SLOT_ABORTS      4u /**< SO_LINGER without time: closing resets */
#define LINK_SLOT_BLOCK_BYTES 64

/* ---- Descriptors -------------------------------------------------------------------------- */

/** Host to engine. */
enum link_operation {
    LINK_OP_NONE = 0,
    /** endpoints.local, ports, flags; answered by LINK_EVENT_REPLY. */
    LINK_OP_BIND,
    /** option.value = backlog; answered by LINK_EVENT_REPLY, with the local endpoint. */
    LINK_OP_LISTEN,
    /** endpoints.remote, ports; from where BIND put it, else from what the engine chooses. With a
        request_id other than 0 answered at once by LINK_EVENT_REPLY, as connect() returns its local
        errors; then LINK_EVENT_ESTABLISHED or LINK_EVENT_ERROR. */
    LINK_OP_CONNECT,
    /** data: stream offset, place in the arena, length. */
    LINK_OP_SEND,
    /** data.stream_offset: the application has read up to here. */
    LINK_OP_CONSUMED,
    /** data.stream_offset: FIN follows this many bytes. */
    LINK_OP_SHUTDOWN_WRITE,
    /** Later payload is acknowledged and dropped, as Linux does. */
    LINK_OP_SHUTDOWN_READ,
    /**
     * This process lets go of the socket. data.stream_offset: bytes read by the application (fewer
     * than received: RST, as Linux does); LINK_FLAG_ABORT: RST anyway (SO_LINGER 0). The last
     * process to let go closes the connection.
     */
    LINK_OP_CLOSE,
    /**
     * The application took the connection `socket` (told by LINK_EVENT_ACCEPT) off the listener
     * option.value (a slot); this process now holds it.
     */
    LINK_OP_ACCEPTED,
    /** option; no answer: the host has checked the value. */
    LINK_OP_SET_OPTION,
    /** Write struct tcp_info to data.arena_offset (host region, data.length bytes of room), then
        answer by LINK_EVENT_REPLY. */
    LINK_OP_GET_INFO,
    /** Later events of this socket go to the channel this came by. */
    LINK_OP_REBIND,
    /**
     * Of no socket. Answered by LINK_EVENT_REPLY after all that this core's earlier operations
     * caused among the engine's own sockets has been done and told, to whomever it concerns: what a
     * program that speaks to itself over Linux's loopback finds done when its call returns.
     */
    LINK_OP_FENCE,
    LINK_OP_COUNT
};

/** Engine to host. */
enum link_event {
    LINK_EVENT_NONE = 0,
    /** To request_id; error; BIND, CONNECT: endpoints.local and local_port as bound or chosen. */
    LINK_EVENT_REPLY,
    /** endpoints: connected. */
    LINK_EVENT_ESTABLISHED,
    /**
     * data: these payload bytes lie in the receive region. In stream order without gaps; may repeat
     * bytes told before (to be skipped). They stay until CONSUMED passes them. data.consumed: when
     * the last of them came, CLOCK_REALTIME in ns, with LINK_OPTION_RECEIVE_STAMPS; else 0.
     */
    LINK_EVENT_DATA,
    /** data.stream_offset: the peer's stream ends here. */
    LINK_EVENT_FIN,
    /**
     * data.stream_offset: acknowledged by the peer up to here, the chunks below may be reused;
     * data.length: how many bytes may be outstanding beyond it (send buffer, auto-tuned).
     */
    LINK_EVENT_SENT,
    /** error: ECONNRESET, ETIMEDOUT, ECONNREFUSED, …; LINK_FLAG_FATAL: the connection is gone (else
        a soft error). */
    LINK_EVENT_ERROR,
    /** endpoints: a connection is ready on listener `socket`; its events come by the same channel
        from now on. */
    LINK_EVENT_ACCEPT,
    /**
     * The engine is done with this slot, and with the send chunks below it that no SENT has freed
     * yet. Told of every socket, accepted ones too, to the process that let go last (until then it
     * is still told SENT); if that is dead, to another of its tenant.
     */
    LINK_EVENT_SLOT_FREE,
    /** data.stream_offset: urgent pointer, the byte before it. */
    LINK_EVENT_URGENT,
    LINK_EVENT_COUNT
};

enum link_flag {
    LINK_FLAG_ABORT = 1 << 0,     /**< CLOSE: reset the connection */
    LINK_FLAG_FATAL = 1 << 1,     /**< ERROR: the connection is gone */
    LINK_FLAG_REUSEADDR = 1 << 2, /**< BIND */
    LINK_FLAG_REUSEPORT = 1 << 3, /**< BIND */
    LINK_FLAG_V6ONLY = 1 << 4,    /**< BIND on :: */
    LINK_FLAG_IPV6 = 1 << 5,      /**< BIND/CONNECT: the application's socket is AF_INET6 */
    LINK_FLAG_MORE = 1 << 6,      /**< SEND: more follows soon (MSG_MORE, TCP_CORK) */
    LINK_FLAG_URGENT = 1 << 7,    /**< SEND: the last byte is urgent (MSG_OOB) */
    /**
     * CONNECT: with TCP Fast Open (RFC 7413). If the SYN may carry data it is held, and the reply's
     * accept_slot tells how many bytes it takes; SEND: the held SYN goes, with what was sent so far
     * (which may be nothing: length 0). MORE in either: the application has more to send.
     */
    LINK_FLAG_FAST_OPEN = 1 << 2,
    LINK_FLAG_NO_PORT = 1 << 6,    /**< BIND to port 0: CONNECT or LISTEN chooses one */
    LINK_FLAG_RECORD_END = 1 << 3, /**< SEND: a record ends with the last byte (MSG_EOR) */
    /** SEND: this channel's later operations wait (not for long) until what it causes among the
        engine's own sockets is done, as over Linux's loopback the next call finds it done. */
    LINK_FLAG_STEP = 1 << 4,
    /** CONNECT: answered by ECONNREFUSED at once if no listener of the engine's is there. */
    LINK_FLAG_IF_HEARD = 1 << 4,
};

/** What LINK_OP_SET_OPTION sets; values in the units given. */
enum link_option {
    LINK_OPTION_NODELAY = 1,          /**< 0 or 1 */
    LINK_OPTION_CORK,                 /**< 0 or 1 */
    LINK_OPTION_KEEPALIVE,            /**< 0 or 1 */
    LINK_OPTION_KEEPALIVE_IDLE_S,     /**< TCP_KEEPIDLE */
    LINK_OPTION_KEEPALIVE_INTERVAL_S, /**< TCP_KEEPINTVL */
    LINK_OPTION_KEEPALIVE_COUNT,      /**< TCP_KEEPCNT */
    LINK_OPTION_USER_TIMEOUT_MS,      /**< TCP_USER_TIMEOUT, 0 = default */
    LINK_OPTION_RECEIVE_BUFFER,       /**< SO_RCVBUF, bytes of payload; ends auto-tuning */
    LINK_OPTION_SEND_BUFFER,          /**< SO_SNDBUF, bytes of payload; ends auto-tuning */
    LINK_OPTION_MAXSEG,               /**< TCP_MAXSEG, bytes */
    LINK_OPTION_QUICKACK,             /**< 0 or 1 */
    LINK_OPTION_CONGESTION,      /**< index into the engine's algorithms: enum link_congestion */
    LINK_OPTION_LINGER2_S,       /**< TCP_LINGER2, seconds; -1 = none */
    LINK_OPTION_SYNCNT,          /**< TCP_SYNCNT */
    LINK_OPTION_WINDOW_CLAMP,    /**< TCP_WINDOW_CLAMP, bytes */
    LINK_OPTION_NOTSENT_LOWAT,   /**< TCP_NOTSENT_LOWAT, bytes */
    LINK_OPTION_DEFER_ACCEPT_S,  /**< TCP_DEFER_ACCEPT on a listener */
    LINK_OPTION_TOS,             /**< IP_TOS / IPV6_TCLASS, 0..255 */
    LINK_OPTION_TTL,             /**< IP_TTL / IPV6_UNICAST_HOPS, 1..255 */
    LINK_OPTION_MAX_PACING_RATE, /**< SO_MAX_PACING_RATE, bytes/s; -1 = none */
    LINK_OPTION_FAST_OPEN,       /**< TCP_FASTOPEN on a listener: its queue; 0 = off */
    LINK_OPTION_FAST_OPEN_NO_COOKIE, /**< TCP_FASTOPEN_NO_COOKIE, 0 or 1 */
    LINK_OPTION_RECEIVE_STAMPS,      /**< 0 or 1: DATA tells when its bytes came */
    LINK_OPTION_RTO_MAX_MS,          /**< TCP_RTO_MAX_MS */
    LINK_OPTION_RTO_MIN_US,          /**< TCP_RTO_MIN_US */
    LINK_OPTION_ACK_DELAY_MAX_US,    /**< TCP_DELACK_MAX_US */
    LINK_OPTION_MTU_DISCOVER_V4,     /**< IP_MTU_DISCOVER, 0..5 */
    LINK_OPTION_MTU_DISCOVER_V6,     /**< IPV6_MTU_DISCOVER, likewise */
    LINK_OPTION_COUNT
};

/** What LINK_OP_GET_INFO asks for, in data.stream_offset. */
enum link_info {
    LINK_INFO_TCP = 0,       /**< Linux's struct tcp_info */
    LINK_INFO_CONGESTION = 1 /**< struct link_congestion_info */
};

/** TCP_CC_INFO: as many bytes of Linux's union tcp_cc_info as the algorithm has something to say.
 */
struct link_congestion_info {
    uint32_t length;
    uint8_t bytes[28];
};

enum link_congestion {
    LINK_CONGESTION_CUBIC = 0,
    LINK_CONGESTION_RENO = 1,
    LINK_CONGESTION_DCTCP = 2,
    LINK_CONGESTION_BBR = 3,
    LINK_CONGESTION_DCTCP_RATE = 4,
    LINK_CONGESTION_TIMELY = 5,
    LINK_CONGESTION_CONSTANT_RATE = 6,
    LINK_CONGESTION_COUNT
};

/** One cache line, so that the consumer touches just the next slot. */
struct link_descriptor {
    uint8_t type;   /**< enum link_operation or enum link_event */
    uint8_t flags;  /**< enum link_flag */
    uint16_t error; /**< errno, 0 = none */
    struct link_socket_name socket;
    /** BIND, LISTEN, CONNECT, GET_INFO, FENCE and REPLY: chosen by the host. ACCEPT: 0, 1, 2, … per
       listener, by which processes that share the listener agree who takes which connection. */
    uint32_t request_id;
    union {
        struct {
            uint64_t stream_offset;
            uint64_t arena_offset;
            uint64_t length;
            uint64_t consumed; /**< SEND: does the work of a CONSUMED up to here, so that a request
                                    and its answer cost one descriptor; 0 = nothing new */
        } data;
        struct { /* BIND, CONNECT, ESTABLISHED, ACCEPT, REPLY to BIND */
            struct ip_address local;
            struct ip_address remote;
            uint16_t local_port;
            uint16_t remote_port;
            uint32_t accept_slot; /**< ACCEPT: the new connection's slot; REPLY to CONNECT: bytes
                                       that the held SYN takes, 0: it is not held; BIND, CONNECT:
                                       ports to choose from, the first below and the last above 16
                                       bits, as IP_LOCAL_PORT_RANGE; 0: the engine's bound */
        } endpoints;
        struct {
            int64_t value;   /**< SET_OPTION: the value; LISTEN: backlog; ACCEPTED: listener */
            uint32_t option; /**< SET_OPTION: enum link_option */
            uint32_t reserved;
        } option;
        uint8_t bytes[40];
    };
    uint32_t accept_incarnation; /**< ACCEPT: the new slot's incarnation */
    /**
     * Lap number of the ring (1, 2, …, wrapping but never 0), written last with release; the
     * consumer reads it with acquire. A slot is full when it equals the consumer's lap.
     */
    _Atomic uint32_t lap;
};
static_assert(sizeof(struct link_descriptor) == 64, "a descriptor is one cache line");

/** Why to ring a sleeper's doorbell: bits of an armed flag. */
enum link_armed {
    LINK_ARMED_FOR_DESCRIPTORS = 1, /**< after the next push */
    LINK_ARMED_FOR_ROOM = 2,        /**< after the next report of credit too: its ring was full */
};

/** What a consumer tells its producer; lives in the producer's memory. One writer: the consumer. */
struct link_feedback {
    _Alignas(64) _Atomic uint32_t consumed; /**< descriptors consumed so far, modulo 2^32 */
    _Atomic uint32_t armed; /**< to-host rings: enum link_armed, 0 = awake. (The engine's own
                                 flags are in the arena's header, one per core.) */
};
static_assert(sizeof(struct link_feedback) == 64, "one cache line");

enum link_policy_action { LINK_POLICY_OFFLOAD = 1, LINK_POLICY_KERNEL = 2 };

/** The calls by which it is decided which stack has a socket: bits. */
enum link_policy_call {
    LINK_POLICY_BIND = 1,
    LINK_POLICY_LISTEN = 2,
    LINK_POLICY_CONNECT = 4,
};

/** Which sockets are offloaded; hostlink/policy_rule.h has the meaning and the text of a rule. */
struct link_policy_rule {
    uint8_t action; /**< enum link_policy_action */
    uint8_t calls;  /**< enum link_policy_call */
    uint8_t has_address;
    uint8_t reserved;
    uint16_t port_first, port_last; /**< all: 0, 65535 */
    uint32_t prefix_length;         /**< of the 128-bit form: an IPv4 /24 is 120 */
    struct ip_address address;
    uint32_t uid_first, uid_last;          /**< all: 0, UINT32_MAX */
    char program[LINK_POLICY_PROGRAM_MAX]; /**< empty: any */
};

/** At the start of the arena. Written by the engine; the policy before the hello's reply. */
struct link_arena_header {
    uint32_t abi_version;
    uint32_t engine_cores;
    uint32_t policy_count;
    struct link_policy_rule policy[LINK_POLICY_RULES_MAX];
    /** Per engine core, a line each: enum link_armed, 0 = awake; who finds the bit set that he
        cares for must exchange it for 0 and ring. */
    struct {
        _Alignas(64) _Atomic uint32_t armed;
    } engine[LINK_CORES_MAX];
};

/*
 * Rings and control connection are ordered thus: the engine applies what a process has pushed
 * before it acts on that process's end of connection (a killed program's last bytes still go out),
 * and on a LINK_HELLO_FORK that names it as the parent (a connection just accepted is the child's
 * too).
 */

/* ---- Control connection: a Unix stream socket, fixed-size messages ------------------------- */

#define LINK_MAGIC 0x4c4f4e50u /**< "PNOL"; a first byte of '{' is a JSON request instead */

enum link_hello_kind {
    LINK_HELLO_TENANT = 1, /**< a new application: makes a tenant */
    LINK_HELLO_FORK = 2,   /**< a process about to be forked joins the tenant tenant_token and gets
                                its own reference on every socket that the process parent_process
                                holds. Made by the parent before fork, by LINK_REQUEST_CONNECT over
                                its own connection; kept by the child. The parent may be a ticket,
                                whose connection the joining process was sent. */
    LINK_HELLO_PASS = 3,   /**< a ticket: a process without a program, that holds `socket` as
                                parent_process does for as long as its connection has an end open.
                                That end is what travels by SCM_RIGHTS. No descriptors come back. */
    LINK_HELLO_SHARE = 4,  /**< the process `process` of this tenant, over whose connection it
                                came, gets references on what parent_process, a ticket, holds.
                                The answer is the end of this connection's use. */
};

struct link_hello {
    uint32_t magic;
    uint16_t abi_version;
    uint16_t kind;
    uint32_t pid;            /**< for people (pno ss); the engine trusts SO_PEERCRED */
    uint32_t parent_process; /**< FORK: process_id from the parent's own hello reply */
    uint8_t tenant_token[16];
    struct link_socket_name socket; /**< PASS */
    uint32_t process;               /**< SHARE: process_id */
    uint64_t port_right[2]; /**< TENANT: from the hello's reply of an engine before; 0: none */
    char program[LINK_PROGRAM_MAX];
};

struct link_prefix {
    struct ip_address address;
    uint32_t prefix_length; /**< of the 128-bit form: an IPv4 /24 is 120 */
};

/** With descriptors by SCM_RIGHTS: arena, window, then one doorbell eventfd per engine core. */
struct link_hello_reply {
    uint32_t magic;
    uint16_t abi_version;
    uint16_t error; /**< errno; then `message` says why, in one line, and no descriptors come */
    char message[112];
    uint8_t tenant_token[16];
    /** Says to the next engine at this control socket that the tenant might use ports below 1024
        before it gave up that right: it may bind to them again. 0: it might not. */
    uint64_t port_right[2];
    uint32_t process_id;
    uint32_t engine_cores;
    uint64_t arena_bytes;
    uint64_t window_bytes;
    uint64_t receive_region_offset;
    uint64_t receive_region_bytes;
    uint64_t host_region_offset;
    uint64_t host_region_bytes;
    uint32_t slots;               /**< in all */
    uint32_t host_slots;          /**< [0, host_slots) are the host's to allocate */
    uint32_t send_buffer_initial; /**< bytes that may be outstanding before the first SENT event */
    uint32_t congestion;          /**< enum link_congestion, of sockets that choose none */
    uint32_t address_count;
    uint32_t gateway_v4; /**< 1: any IPv4 destination can be reached */
    uint32_t gateway_v6;
    uint32_t fast_open; /**< active fast open is on */
    struct link_prefix addresses[LINK_ADDRESSES_MAX];
};

enum link_request_type {
    LINK_REQUEST_CHANNEL = 1, /**< rings for one more thread */
    LINK_REQUEST_PROCESS = 2, /**< no answer: whoever sends this is the process from now on, as a
                                   child that keeps the connection its parent made; the engine
                                   learns the pid from the kernel (SCM_CREDENTIALS) */
    LINK_REQUEST_CONNECT = 3, /**< no answer: the descriptor that comes along, one end of a Unix
                                   stream pair, is a further control connection; for who can't reach
                                   the socket's path any more (chroot, other user) */
};

struct link_request {
    uint32_t magic;
    uint32_t type;
};

/** With one descriptor by SCM_RIGHTS: the channel's doorbell eventfd (the host reads it). */
struct link_channel_reply {
    uint32_t magic;
    uint32_t error; /**< errno */
    uint32_t channel;
    uint32_t ring_slots; /**< of every ring: a power of two */
    struct {
        uint64_t to_engine_ring;     /**< window offset of link_descriptor[ring_slots] */
        uint64_t to_engine_feedback; /**< arena offset of struct link_feedback */
        uint64_t to_host_ring;       /**< arena offset */
        uint64_t to_host_feedback;   /**< window offset */
    } core[LINK_CORES_MAX];
};

#endif
