/**
 * @file machine.h
 * The machine under test: a stack in virtual time, the far end of its wire, and the sockets that
 * system calls of a script work on.
 */
#ifndef PNO_PACKET_SCRIPTS_MACHINE_H
#define PNO_PACKET_SCRIPTS_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/stack.h"
#include "script.h"
#include "simulation/frame.h"

#define MACHINE_SOCKETS_MAX 64
#define MACHINE_PORT        8080 /* unless --bind_port, --connect_port say otherwise */
#define MACHINE_REMOTE_PORT 36000
#define MACHINE_TS_MAP_MAX  64
#define MACHINE_WATCHES_MAX 16

#define MACHINE_NOTES_MAX  128
#define MACHINE_FILES_MAX  8
#define KEPT_OPTIONS       24
#define MACHINE_CHUNKS_MAX 512

enum socket_kind {
    SOCKET_FREE,
    SOCKET_NEW,
    SOCKET_LISTENING,
    SOCKET_CONNECTION,
    SOCKET_EPOLL,
    SOCKET_PIPE, /**< either end; peer is the other */
    SOCKET_FILE,
};

/** What woke whoever waits, counted; epoll's edges are when these move. */
enum wake_kind { WAKE_IN, WAKE_OUT, WAKE_ERROR, WAKE_STATE, WAKE_KINDS };

struct epoll_watch {
    int fd; /**< -1: free */
    uint32_t events;
    int64_t data;
    uint64_t wakes; /**< of the socket, those that matter here, when it was last asked */
    bool disabled;  /**< one-shot, spent */
};

/** Linux's accounting of a socket's send memory: see send_memory.c. */
struct send_memory {
    uint64_t chunk_ends[MACHINE_CHUNKS_MAX]; /**< stream offsets where its buffers end */
    unsigned chunk_count;
    uint64_t buffer_bytes; /**< SO_SNDBUF as grown by auto-tuning */
    uint64_t pushed;       /**< offset up to which data was marked for pushing */
    bool writer_sleeps;    /**< until there is space again */
    bool no_space;         /**< a writer or poller found it full: wants to be woken */
};

/** An entry of the error queue, or one that waits for what it tells of. */
struct socket_note {
    bool zerocopy, pending_sent, pending_acked;
    uint64_t end;             /**< stream offset that it is about */
    uint32_t id_low, id_high; /**< of zero-copy sends; a timestamp's key is id_high */
    uint32_t kind;            /**< SCM_TSTAMP_* */
    uint64_t time_ns;
};

/** A socket as its program sees it. */
struct machine_socket {
    enum socket_kind kind;
    int fd; /**< as the script counts; -1 after close() */
    bool is_ipv6;
    bool nonblocking, connecting, established, connect_reported;
    bool fin_arrived; /**< or an error */
    bool peer_fin, read_shut, write_shut, reset_on_close;
    bool reuse_address, v6only, oob_inline, zerocopy, inq, close_on_exec, receive_errors;
    int error; /**< pending, as SO_ERROR would tell */
    int soft_error;
    uint64_t receive_timeout_ns, send_timeout_ns; /**< 0: none */
    uint32_t timestamping, timestamping_base;     /**< SOF_TIMESTAMPING_*; offset of key 0 */
    uint32_t zerocopy_next;
    uint32_t notsent_low_water;                    /**< 0: as the sysctl says */
    int64_t linger_seconds;                        /**< -1: off */
    struct socket_note notes[MACHINE_NOTES_MAX];   /**< the error queue, oldest first … */
    struct socket_note waiting[MACHINE_NOTES_MAX]; /**< … and what will come into it */
    unsigned note_count, waiting_count;
    struct send_memory memory;
    struct machine_socket *peer;  /**< of a pipe */
    uint64_t file_bytes, file_at; /**< of a file; file_bytes also what a pipe holds */
    int64_t kept[KEPT_OPTIONS];   /**< options that only getsockopt asks about: options.c */
    struct ip_endpoint local;
    struct tcp_listener *listener;
    struct tcp_connection *connection; /**< NULL when gone */
    struct machine_socket *backlog[MACHINE_SOCKETS_MAX];
    unsigned backlog_count;
    uint64_t written, consumed;
    uint64_t urgent_read; /**< tcp_urgent_offset() of the urgent byte that was read apart */
    bool lingers;         /**< in close() */
    uint64_t wakes[WAKE_KINDS];
    int64_t receive_low_water;
    struct tcp_options_set options;
    uint64_t defer_accept_ns;
    bool fast_open_connect; /**< TCP_FASTOPEN_CONNECT */
    bool deferred;          /**< connect() has left the SYN to the first write */
    uint32_t fast_open_queue;
    uint8_t fast_open_keys[2][16];
    unsigned fast_open_key_count;
    struct epoll_watch watches[MACHINE_WATCHES_MAX];
};

/** A frame that the stack sent and the script has not yet asked about. */
struct live_frame {
    struct live_frame *next;
    uint64_t time_ns;
    bool in_burst; /**< more of what was sent as one follows: the stack left PSH to the last */
    struct frame *frame;
};

/** A file that a command made and open() finds. */
struct machine_file {
    char name[64];
    uint64_t bytes;
};

struct machine {
    const char *path;
    bool is_ipv6;             /**< the wire */
    bool sockets_ipv6;        /**< the sockets; on an IPv4 wire their addresses are mapped */
    uint64_t payload_sent_ns; /**< by the stack, the last time */
    uint8_t window_scale;     /**< that the script shows of its machine; 0: none */
    bool strict_segments;     /**< what is sent must be cut as the script says */
    bool strict_timestamps;   /**< what is echoed must be what the script says */
    bool packets_not_fatal, calls_not_fatal; /**< --non_fatal */
    bool egress_blocked;                     /**< a queue of no length lets nothing through */
    uint64_t now_ns, start_ns;
    uint64_t tolerance_ns;
    double tolerance_percent;
    uint32_t timestamp_tick_us; /**< 0: values of timestamps are not compared */
    uint16_t mtu;
    uint16_t bind_port, connect_port; /**< of "..." in bind() and connect() */
    uint16_t inbound_mss;             /**< --mss: what longer payload was joined from; 0 unknown */
    uint32_t notsent_lowat;           /**< net.ipv4.tcp_notsent_lowat */
    struct machine_file files[MACHINE_FILES_MAX];
    unsigned file_count;
    struct stack_config config;
    void *memory;
    struct stack *stack; /**< made when first needed: sysctls come before */
    struct ip_address local, remote, gateway;

    struct machine_socket sockets[MACHINE_SOCKETS_MAX];
    struct machine_socket *under_test; /**< that packets are about; not always with a fd */
    struct live_frame *sent, **sent_tail;

    /* The flow under test: how the script's numbers are the wire's. */
    bool flow_known, local_isn_known;
    uint16_t local_port, remote_port;
    unsigned flows_begun;
    /** Added to the script's sequence numbers these give the wire's; in SYNs they are absolute. */
    uint32_t local_offset, local_syn_offset, remote_offset;
    uint32_t script_flow_label, live_flow_label;
    uint32_t peer_max_window; /**< the largest the far end offered, bytes */
    uint8_t peer_window_shift;
    struct {
        uint32_t script, live;
    } timestamps[MACHINE_TS_MAP_MAX];
    unsigned timestamp_count;
    bool first_timestamp_known;
    uint32_t first_script_timestamp, first_live_timestamp;
    uint64_t call_started_ns;  /**< of the call that sleeps, or is being tried first */
    uint64_t call_deadline_ns; /**< when that call gives up; TIME_NEVER as a rule */
    uint64_t partly_written;   /**< by a call that sleeps */
    bool partly_opened;        /**< … which has opened the connection as well (MSG_FASTOPEN) */
    uint32_t partly_seen;      /**< bytes of an expected segment that came in smaller ones */

    struct stack_counters nstat_base; /**< when nstat last ran */

    char *code; /**< Python, gathered */
    size_t code_length;
    struct script_error *problem;
};

void machine_init(struct machine *machine);
/** Make the stack, once. @return 0, or -1 with the problem told. */
int machine_start(struct machine *machine, unsigned line);
void machine_free(struct machine *machine);

/** Let time pass until time_ns, doing what is due. */
void machine_run_until(struct machine *machine, uint64_t time_ns);
/** Let time pass until the stack did something, at most until time_ns. @return false: that came. */
bool machine_step(struct machine *machine, uint64_t time_ns);
/** Take events and frames after anything done to the stack. */
void machine_pump(struct machine *machine);
/** The script is about another connection from now on. */
void machine_flow_begin(struct machine *machine, uint16_t local_port, uint16_t remote_port);
void machine_inject(struct machine *machine, const struct frame *frame);

/** Packets (packets.c). @return 0, or -1 with the problem told. */
int machine_packet_in(struct machine *machine, const struct script_event *event);
/** Compare one frame with what the script expects. *complete: all of that has been seen. */
int machine_packet_out(struct machine *machine, const struct script_event *event,
                       const struct live_frame *live, bool *complete);
/** Whether a frame belongs to the flow that the script is about. */
bool machine_frame_is_under_test(const struct machine *machine, const struct frame *frame);

/** System calls (sockets.c). Tries a call now. @return its result, negative errno on errors;
 *blocks when it would sleep; *bad set when the call can't be run. */
int64_t machine_call(struct machine *machine, const struct system_call *call, bool *blocks,
                     struct script_error *bad);
void machine_socket_event(struct machine *machine, const struct stack_event *event);
/** Payload of a connection up to this offset has left. */
void machine_sent_payload(struct machine *machine, struct tcp_connection *connection, uint64_t end);

/** A symbol of the system calls' world. @return whether it is known. */
bool symbol_find(const char *name, int64_t *value);
const char *symbol_errno_name(int error);

/** Shell commands (commands.c): those that set up what the core knows. */
int machine_command(struct machine *machine, const char *text, unsigned line);
/** nstat, and what greps in its output (nstat.c). @return whether that finds something; -1: it
   can't be told here. */
int machine_nstat(struct machine *machine, const char *pipeline);
/** The same of grep in /proc/net/tcp. */
int machine_grep(struct machine *machine, const char *pipeline);
/** --init_scripts: run the commands of these files, whose names are separated by commas. */
int machine_init_scripts(struct machine *machine, const char *names, unsigned line);
/** Options (--name=value). */
int machine_option(struct machine *machine, const struct script_option *option);

/** Code (code.c): gather it with tcp_info's values; at the end run all of it. */
void machine_code(struct machine *machine, const struct script_event *event);
int machine_run_code(struct machine *machine);

int64_t node_integer(const struct node *node, bool *known);
const struct node *node_argument(const struct system_call *call, unsigned index);
/** The value of a field of a struct or of a list of fields; NULL when it has none. */
const struct node *node_field(const struct node *node, const char *name);

#endif
