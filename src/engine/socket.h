/**
 * @file socket.h
 * A socket as the engine knows it: the link's name for a TCP connection, a listener or a bound
 * port, who holds it, and where its payload lies. No protocol state: that is the stack's.
 */
#ifndef PNO_ENGINE_SOCKET_H
#define PNO_ENGINE_SOCKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "core/stack.h"
#include "engine/first_core_flows.h"
#include "engine/rx_buffer.h"
#include "engine/tenant.h"
#include "engine/tx_buffer.h"

enum socket_kind {
    SOCKET_NEW,   /**< named by the host, nothing more */
    SOCKET_BOUND, /**< holds a port */
    SOCKET_LISTENER,
    SOCKET_CONNECTION, /**< connection is NULL once the stack is done with it */
};

/** What a holder has yet to be told. Order of telling is this order. */
enum dirty_bit {
    DIRTY_ACCEPT = 1 << 0,
    DIRTY_ESTABLISHED = 1 << 1,
    DIRTY_URGENT = 1 << 2,
    DIRTY_DATA = 1 << 3,
    DIRTY_FIN = 1 << 4,
    DIRTY_SENT = 1 << 5,
    DIRTY_SOFT_ERROR = 1 << 6,
    DIRTY_ERROR = 1 << 7,
    DIRTY_SLOT_FREE = 1 << 8,
};

enum holder_queue { HOLDER_QUIET, HOLDER_LAZY, HOLDER_PENDING };

/** One process's hold on a socket, and what it has been told. */
struct socket_holder {
    struct engine_socket *socket;
    struct process_core *process;
    struct socket_holder *next; /**< of the same socket */
    LIST_ENTRY(socket_holder) process_link;
    TAILQ_ENTRY(socket_holder) queue_link;
    /** Lower halves of stream offsets: payload told up to here, at least what is consumed;
        acknowledged offset told last with a doorbell. */
    uint32_t told_data, told_sent;
    uint32_t told_limit; /**< the least that the host may believe to be its send buffer, in bytes */
    uint16_t dirty;      /**< enum dirty_bit */
    uint8_t channel;     /**< where it is told: one of its process's; 0: it has none yet */
    uint8_t queue : 2;   /**< enum holder_queue */
    bool released : 1;   /**< the process has let go; it is told SENT and SLOT_FREE only */
};

/** Shared by a listener's replicas on all cores. */
struct accept_counter {
    _Atomic uint32_t next;
    _Atomic uint32_t references;
};

/** What a host-allocated socket carries until it is connected, or for good where it listens or
    holds a port. */
struct socket_setup {
    struct tcp_options_set options;
    uint64_t defer_accept_ns;
    uint32_t fast_open;          /**< TCP_FASTOPEN */
    uint8_t bind_flags;          /**< enum link_flag */
    bool port_bound;             /**< stack_port_bind() holds `bound` */
    struct port_range ports;     /**< to choose one from */
    struct first_core_flow flow; /**< connected with a port of its own choice */
    struct ip_endpoint bound;
    struct tcp_listener *listener;
    struct accept_counter *accept_counter;  /**< with listener */
    TAILQ_HEAD(, engine_socket) unaccepted; /**< announced connections; with listener */
    struct engine_socket *socket;           /**< whose it is */
    LIST_ENTRY(socket_setup) link;          /**< tenant_core.setups */
};

/** What a connection needs now and then only. A core has one for each socket. */
struct socket_extra {
    uint64_t urgent_offset;
    uint64_t arrived_ns;             /**< with stamps: when payload came last, CLOCK_REALTIME */
    uint64_t shutdown_at;            /**< with shutdown_wanted */
    struct ip_endpoint local;        /**< of a bound port, and while there is no connection (yet) */
    struct ip_endpoint remote;       /**< of a connection that is no more */
    uint16_t error;                  /**< errno of the last ERROR; 0: none so far */
    uint16_t soft_error;             /**< ... and of the last that was not fatal */
    uint32_t accept_sequence;        /**< with listener */
    struct engine_socket *listener;  /**< has announced it, and nobody has taken it yet; or NULL */
    TAILQ_ENTRY(engine_socket) link; /**< with listener */
    struct socket_setup *setup;      /**< or NULL */
};

/** Drop a reference; the last one frees it. */
void accept_counter_put(struct accept_counter *counter);

/** An idle connection holds this, an entry of the slot table, and no more. */
struct engine_socket {
    struct tenant_core *tenant;
    struct tcp_connection *connection;
    struct link_socket_name name;
    uint8_t kind : 2; /**< enum socket_kind */
    bool established : 1;
    bool fin : 1;
    bool shutdown_read : 1;
    bool shutdown_wanted : 1; /**< FIN once everything before extra->shutdown_at is there */
    bool shutdown_told : 1; /**< the application has ended its stream: may wait for the last SENT */
    bool orphan : 1;        /**< nobody holds it any more */
    bool farewell : 1;      /**< its last holder is being told SLOT_FREE */
    bool news_held_back : 1;    /**< a holder waits for copies in flight to be told */
    bool stamps : 1;            /**< LINK_OPTION_RECEIVE_STAMPS */
    uint16_t copies_in_flight;  /**< asynchronous DMA; the socket is not freed before it is 0 */
    uint32_t send_limit;        /**< bytes that may be outstanding */
    struct socket_extra *extra; /**< NULL: nothing of it is needed */
    uint64_t received;          /**< told to the holders up to here */
    struct rx_buffer rx;
    struct tx_buffer tx;
    struct socket_holder first_holder; /**< unused when its socket is NULL; then `next` counts */
};

/** @return NULL when there is no room for another. Its slot entry then points to it. */
struct engine_socket *socket_create(struct tenant_core *tenant, struct link_socket_name name);

/** As socket_create(), with room for options and a port; for sockets that the host allocates. */
struct engine_socket *socket_create_with_setup(struct tenant_core *tenant,
                                               struct link_socket_name name);

void socket_drop_setup(struct engine_socket *socket);

/** The socket's extra, made if need be: there is one for each socket. */
struct socket_extra *socket_get_extra(struct engine_socket *socket);

/** Give the extra back if nothing of it is needed any more. */
void socket_trim_extra(struct engine_socket *socket);

/**
 * A holder for the process, if it has none.
 * @param channel  where it is told; NULL: the process's first channel, as soon as there is one.
 * @return NULL when there is no room.
 */
struct socket_holder *socket_hold(struct engine_socket *socket, struct process_core *process,
                                  struct channel_core *channel);
struct socket_holder *socket_find_holder(struct engine_socket *socket,
                                         const struct process_core *process);

/** Give a fork's child holds on all that its parent holds; it will be told everything again, unless
    it held the socket before. */
void socket_copy_holders(struct process_core *parent, struct process_core *child);

/** How a process lets go of a socket. */
struct socket_close {
    bool has_read_offset;
    uint64_t read_offset; /**< the application has read up to here */
    bool abort;
};

/** The process lets go; the last one closes the connection or listener as Linux would. */
void socket_let_go(struct engine_socket *socket, struct process_core *process,
                   const struct socket_close *how);

/** The process has died: let go of everything it holds, and take its channels away. */
void socket_let_go_all(struct engine_core *core, struct process_core *process);

/** A connection that the listener has announced was taken by this process. */
void socket_accepted(struct engine_socket *socket, struct process_core *process,
                     struct channel_core *channel);

/** The stack is done with the connection: keep what the holders still want to know. */
void socket_connection_gone(struct engine_socket *socket);

/** If nobody holds the socket and the stack is done with it: tell, then free. */
void socket_finish_if_orphan(struct engine_socket *socket);

/** Give everything back. Its last holder knows, or nobody can. */
void socket_free(struct engine_socket *socket);

/** The application has read up to `offset`. */
void socket_consumed(struct engine_socket *socket, uint64_t offset);

/** FIN, if everything before shutdown_at has been handed to the stack. */
void socket_shutdown_if_due(struct engine_socket *socket);

/** The first of those who hold it, chained by `next`; NULL: nobody does. */
static inline struct socket_holder *socket_holders(struct engine_socket *socket)
{
    struct socket_holder *first = &socket->first_holder;
    return first->socket != NULL ? first : first->next;
}

static inline struct socket_setup *socket_setup_of(const struct engine_socket *socket)
{
    return socket->extra != NULL ? socket->extra->setup : NULL;
}

/** Where the holder is told; NULL: it has no channel yet. */
static inline struct channel_core *holder_channel(const struct socket_holder *holder)
{
    return holder->process->channels[holder->channel];
}

/** NULL: it does not listen. */
static inline struct tcp_listener *socket_listener(const struct engine_socket *socket)
{
    return socket->kind == SOCKET_LISTENER ? socket->extra->setup->listener : NULL;
}

/** Announced by its listener, and nobody has taken it yet. */
static inline bool socket_is_unaccepted(const struct engine_socket *socket)
{
    return socket->extra != NULL && socket->extra->listener != NULL;
}

/** The stream offset after the urgent byte; 0: there was none. */
static inline uint64_t socket_urgent_offset(const struct engine_socket *socket)
{
    return socket->extra != NULL ? socket->extra->urgent_offset : 0;
}

/** The errno of the last ERROR; 0: there was none. */
static inline uint16_t socket_error(const struct engine_socket *socket)
{
    return socket->extra != NULL ? socket->extra->error : 0;
}

/** What the peer has acknowledged. */
static inline uint64_t socket_acked(const struct engine_socket *socket)
{
    return socket->connection != NULL ? tcp_acked_offset(socket->connection) : socket->tx.end;
}

/** A socket's addresses; zero where it has none. */
void socket_endpoints(const struct engine_socket *socket, struct ip_endpoint *local,
                      struct ip_endpoint *remote);

static inline struct engine_core *socket_core(const struct engine_socket *socket)
{
    return socket->tenant->core;
}

#endif
