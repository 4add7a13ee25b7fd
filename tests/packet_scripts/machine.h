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
#define MACHINE_PORT        8080
#define MACHINE_REMOTE_PORT 36000
#define MACHINE_TS_MAP_MAX  64
#define MACHINE_WATCHES_MAX 16

enum socket_kind { SOCKET_FREE, SOCKET_NEW, SOCKET_LISTENING, SOCKET_CONNECTION, SOCKET_EPOLL };

struct epoll_watch {
    int fd; /**< -1: free */
    uint32_t events;
    int64_t data;
    uint32_t reported; /**< for edge-triggered watches */
    uint64_t activity; /**< of the socket, when it was reported */
    bool disabled;     /**< one-shot, spent */
};

/** A socket as its program sees it. */
struct machine_socket {
    enum socket_kind kind;
    int fd; /**< as the script counts; -1 after close() */
    bool is_ipv6;
    bool nonblocking, connecting, established, connect_reported;
    bool fin_arrived, read_shut, write_shut, reset_on_close;
    bool reuse_address, v6only;
    int error; /**< pending, as SO_ERROR would tell */
    int soft_error;
    struct ip_endpoint local;
    struct tcp_listener *listener;
    struct tcp_connection *connection; /**< NULL when gone */
    struct machine_socket *backlog[MACHINE_SOCKETS_MAX];
    unsigned backlog_count;
    uint64_t written, consumed;
    uint64_t activity; /**< counts events, for edge-triggered watches */
    int64_t receive_low_water;
    struct tcp_options_set options;
    uint64_t defer_accept_ns;
    struct epoll_watch watches[MACHINE_WATCHES_MAX];
};

/** A frame that the stack sent and the script has not yet asked about. */
struct live_frame {
    struct live_frame *next;
    uint64_t time_ns;
    bool in_burst; /**< more of what was sent as one follows: the stack left PSH to the last */
    struct frame *frame;
};

struct machine {
    const char *path;
    bool is_ipv6, verbose;
    uint64_t now_ns, start_ns;
    uint64_t tolerance_ns;
    double tolerance_percent;
    uint32_t timestamp_tick_us; /**< 0: values of timestamps are not compared */
    uint16_t mtu;
    uint32_t gso_bytes_max; /**< what the wire's end cuts by itself; 0 after ethtool's "tso off" */
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
    uint32_t local_offset; /**< added to the script's sequence numbers gives the wire's */
    struct {
        uint32_t script, live;
    } timestamps[MACHINE_TS_MAP_MAX];
    unsigned timestamp_count;
    bool first_timestamp_known;
    uint32_t first_script_timestamp, first_live_timestamp;
    uint64_t call_started_ns; /**< of the call that sleeps, or is being tried first */
    uint64_t partly_written;  /**< by a call that sleeps */
    uint32_t partly_seen;     /**< bytes of an expected segment that came in smaller ones */

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

/** A symbol of the system calls' world. @return whether it is known. */
bool symbol_find(const char *name, int64_t *value);
const char *symbol_errno_name(int error);

/** Shell commands (commands.c): those that set up what the core knows. */
int machine_command(struct machine *machine, const char *text, unsigned line, bool is_init);
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
