/**
 * @file socket.h
 * A TCP socket as the application's calls see it: Linux's states, errors and readiness over the
 * link's cumulative events. One object per open file description; descriptors, epoll items and the
 * link's slot table refer to it.
 *
 * It starts as a kernel socket and stays one (SOCKET_KERNEL) unless its addresses are the engine's.
 * What can change at any moment is guarded by its lock; readiness is one atomic word, recomputed
 * with every change, so that poll and epoll look at it without locking.
 *
 * Functions return 0 or more, or a negative errno.
 */
#ifndef PNO_HOSTLIB_SOCKET_H
#define PNO_HOSTLIB_SOCKET_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/ip_address.h"
#include "hostlib/engine_link.h"
#include "hostlib/fd_table.h"
#include "hostlib/lock.h"
#include "hostlib/option_set.h"
#include "hostlib/receive_queue.h"
#include "hostlib/send_queue.h"
#include "hostlib/waiter.h"
#include "hostlink/abi.h"

enum socket_state {
    SOCKET_FRESH,     /**< nobody knows yet which stack will have it: all calls go to the kernel */
    SOCKET_KERNEL,    /**< the kernel has it for good: entries in the table are cleared as found */
    SOCKET_BOUND,     /**< bound in the engine (on the wildcard address in the kernel too) */
    SOCKET_LISTENING, /**< likewise */
    SOCKET_CONNECTING,
    SOCKET_CONNECTED, /**< with or without FINs sent and received */
    SOCKET_CLOSED,    /**< was connected or failed to: Linux's TCP_CLOSE */
};

/**
 * Shared by the processes that share the socket after fork; in the arena's host region, by slot.
 * The engine may give the slot to a connection that another process accepts before this one has
 * read that it is free: whoever has told the engine to close looks at the block only under its
 * lock, and only while the incarnation is still its own.
 */
struct socket_block {
    struct lock lock;
    uint32_t incarnation;
    uint64_t read_offset;          /**< the application has read up to here */
    _Atomic uint32_t shut;         /**< SHUT_*, by whichever process */
    _Atomic uint32_t space_wanted; /**< how often wants_space was set, by whichever process */
    uint64_t consumed_told;        /**< the engine knows of so much that was read */
    struct send_queue_shared send;
};

#define SHUT_DONE_READ  1u
#define SHUT_DONE_WRITE 2u
#define SHUT_ABORTS     LINK_SLOT_ABORTS

struct epoll_item;
struct socket_extra;
struct uring_op;

/** What bind() and listen() made of it. */
struct socket_bound {
    struct ip_endpoint asked; /**< what bind() asked for: kept when a connection is no more */
    uint16_t former_port; /**< bound again to another, it tells this one until it listens; or 0 */
    bool rejoins;         /**< in the list of listeners whose engine died: rejoin.h */
    _Atomic bool accepts; /**< accept() was called in this process */
    bool shared_out;      /**< another process has this listener too, or had */
    uint32_t rejoin_attempt;
    uint32_t arrived;                 /**< connections that have come in this process */
    struct link_socket_name arriving; /**< while its event is told; incarnation 0: none */
    struct socket *rejoin_next;
    int32_t backlog;
    struct socket *accept_first, *accept_last; /**< connections, chained by accept_next */
};

/** The size of this counts, for programs with many connections that are idle. */
struct socket {
    struct file file; /**< first: a struct file * of kind FILE_SOCKET is a struct socket * */
    struct lock lock;

    _Atomic uint32_t readiness; /**< EPOLL* bits as Linux's tcp_poll() would give */
    _Atomic bool wants_space;   /**< Linux's SOCK_NOSPACE: somebody saw it not writable */
    _Atomic bool nonblocking;
    _Atomic bool unread_listed;
    _Atomic bool lingers; /**< close() waits for acknowledgements */
    bool shared;          /**< held at a fork, or detached: block->lock counts too */
    _Atomic bool queued;  /**< a connection in its listener's queue */
    uint16_t space_seen;  /**< of block->space_wanted: what this process has heard of room for */
    /* Changed by calls that set the socket up. */
    bool is_accepted : 1; /**< its descriptors are placeholders, not kernel sockets */
    bool also_kernel : 1; /**< bound in the kernel as well: to the wildcard address, or a loopback
                             listener */
    bool connect_reported : 1; /**< a connect() has returned the outcome */
    bool had_connection : 1;   /**< FRESH again: with what Linux leaves of it, which we tell */
    bool shut_early : 1;       /**< shutdown() without a connection, for reading */
    bool shut_early_send : 1;  /**< ... for writing */
    bool peer_fin;
    bool options_own; /**< its set of options is not shared */
    bool detached;    /**< closed by the application; lives on until its chunks are acknowledged */
    bool is_v6;       /**< the application's socket is AF_INET6; looked at without lock */
    bool syn_held;    /**< TCP_FASTOPEN_CONNECT: the first write lets the SYN go */
    /* Changed under the lock, and looked at without. */
    _Atomic uint8_t core;
    _Atomic uint8_t state; /**< enum socket_state */
    int error;             /**< SO_ERROR: positive errno */
    uint32_t send_limit;   /**< bytes that may be outstanding */

    struct engine_link *_Atomic link; /**< NULL: none of the engine's business; as `state` */
    struct link_socket_name name;
    struct socket_block *block;
    struct receive_queue receive;
    /** Options: equal ones of several sockets are kept once. Read without lock, changed by
        socket_options_replace(). */
    const struct socket_options *_Atomic options;
    struct socket_extra *extra; /**< NULL: nothing of it is needed */
    struct wait_queue waiters;
    struct epoll_item *items;   /**< guarded by the epoll lock */
    struct uring_op *uring_ops; /**< that wait for it; guarded by uring_event_lock */

    struct ip_endpoint local, remote;
    int shadow_fd; /**< accepted: a kernel socket for rare options, -1 until needed */
    union {
        struct { /* connections before accept() */
            struct socket *accept_next;
            uint32_t accept_sequence; /**< its place among the listener's connections */
        };
        struct { /* later, with unread_listed; guarded by link->unread_lock */
            struct socket *unread_next;
            struct socket **unread_link;
        };
    };
};

/* ---- Life (socket.c) ---- */

/** A new object with one reference, state FRESH. NULL: no memory. */
struct socket *socket_create(bool is_v6);

/** Last reference gone: tell the engine, free. Called by file_destroy(). */
void socket_destroy(struct socket *socket);

/** What Linux's sock_def_readable() and sk_stream_write_space() tell wait queues of. */
#define SOCKET_EVENTS_OF_DATA  (EPOLLIN | EPOLLPRI | EPOLLRDNORM | EPOLLRDBAND)
#define SOCKET_EVENTS_OF_SPACE (EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND)

/** Give the object back to the allocator. */
void socket_free(struct socket *socket);

/** What fork() has to hold and its child to reset. */
struct lock *socket_fork_lock(void);

void socket_lock(struct socket *socket);
void socket_unlock(struct socket *socket);

/** Give the socket its slot's shared block, freeing what an earlier incarnation left there. */
void socket_attach_block(struct socket *socket);

/** Let the block say what SO_LINGER does to the connection should all its processes die. */
void socket_note_linger(struct socket *socket);

/** Whether the block still is this socket's, not a later one's in the same slot. Block lock held.
 */
bool socket_owns_block(const struct socket *socket);

/** Drop the slot and the block: nothing of it is needed any more. */
void socket_release_slot(struct socket *socket);

/** Give up the slot at a dead engine for one of another; others may be looking at the socket. */
void socket_change_link(struct socket *socket, struct engine_link *link,
                        const struct link_socket_name *name);

/** send_limit until the engine tells another: by SO_SNDBUF, else the engine's first. */
uint32_t socket_first_send_limit(const struct socket *socket, const struct engine_link *link);

/** Take a host slot at the engine for a socket that has none. @return 0; -ENOBUFS. */
int socket_take_slot(struct socket *socket, struct engine_link *link);

/**
 * Recompute readiness, and tell waiters and epoll sets. Lock held.
 * @param events  what happened, as Linux passes it to the wait queue; 0: wake nobody.
 */
void socket_changed(struct socket *socket, uint32_t events);

/** As socket_changed(), but everybody is woken, whatever they wait for (Linux's sk_state_change).
 */
void socket_state_changed(struct socket *socket);

/** SO_RCVLOWAT was set: who waits is told of what there is, if that is enough. Lock held. */
void socket_low_water_changed(struct socket *socket);

/** There may be more room in the send buffer: recompute readiness, and tell who waits for that.
   Lock held. */
void socket_has_room(struct socket *socket);

/** Somebody has seen it not writable (Linux's SOCK_NOSPACE). */
void socket_wants_space(struct socket *socket);

/** Readiness for a poller, noting like Linux's tcp_poll() that somebody waits for space. */
uint32_t socket_poll(struct socket *socket);

/** The connection is gone. Lock held. */
void socket_fail(struct socket *socket, int error);

/** Take SO_ERROR and clear it: a negative errno or 0. Lock held. */
int socket_take_error(struct socket *socket);

static inline bool socket_is_offloaded(const struct socket *socket)
{
    return socket->state >= SOCKET_BOUND;
}

/** Whether its readiness is ours to tell: offloaded, or it has had a connection. */
static inline bool socket_has_readiness(const struct socket *socket)
{
    return socket_is_offloaded(socket) || (socket->state == SOCKET_FRESH && socket->had_connection);
}

/** Linux's sk_shutdown bits. */
static inline bool socket_receive_is_shut(const struct socket *socket)
{
    return socket->state == SOCKET_CLOSED || socket->peer_fin || socket->shut_early ||
           (socket->block != NULL &&
            (atomic_load_explicit(&socket->block->shut, memory_order_relaxed) & SHUT_DONE_READ));
}

static inline bool socket_send_is_shut(const struct socket *socket)
{
    return socket->state == SOCKET_CLOSED || socket->shut_early_send ||
           (socket->block != NULL &&
            (atomic_load_explicit(&socket->block->shut, memory_order_relaxed) & SHUT_DONE_WRITE));
}

/** An operation on this socket, to be filled in further. */
static inline struct link_descriptor socket_operation(const struct socket *socket, uint8_t type)
{
    return (struct link_descriptor){.type = type, .socket = socket->name};
}

static inline void socket_push(const struct socket *socket,
                               const struct link_descriptor *descriptor)
{
    engine_link_push(socket->link, socket->core, descriptor);
}

/**
 * Over Linux's loopback all that a call causes at the other end is done when it returns: wait for
 * the engine to have turned round what was pushed, if the peer is in it too. No lock held.
 */
void socket_fence(const struct socket *socket);

/** The same of what may be waited for later, by who looks: see turned_round.h.
    @param comes_back  it may change what this socket itself can read. */
void socket_turned_round(const struct socket *socket, bool comes_back);

/** Likewise, after pushing what ends a connection or a direction of it, if socket_is_fenced() said
    so before: the socket may be gone. */
void socket_end_turned_round(struct engine_link *link, unsigned core);

/** Whether socket_fence() would wait. */
bool socket_is_fenced(const struct socket *socket);

/**
 * Sleep until one of the EPOLL* bits in `wanted` is ready.
 * @param kernel_fd    also wake when this is readable, or -1.
 * @param interrupted_restarts  the call would be restarted by SA_RESTART (no timeout set).
 * @return 0; -EINTR; -ETIMEDOUT.
 */
int socket_wait(struct socket *socket, uint32_t wanted, int kernel_fd, uint64_t deadline_ns,
                bool interrupted_restarts);

/** Sleep until bytes beyond stream offset `known` have come, or no more will; else as above. */
int socket_wait_for_bytes(struct socket *socket, uint64_t known, uint64_t deadline_ns,
                          bool interrupted_restarts);

/** Apply what the engine has told so far. Another thread may be ending the socket's last business
    with the engine (shutdown() of a listener, connect() to AF_UNSPEC). */
static inline void socket_hear(const struct socket *socket)
{
    struct engine_link *link = socket->link;
    if (link != NULL)
        engine_link_poll(link);
}

/** Before a call that sees what others have sent, or what became of what this socket has: as
    socket_hear(), with PNO_LOOPBACK=1 of all that was sent until now. No lock held. */
static inline void socket_look(const struct socket *socket)
{
    turned_round_settle(socket->link, TURNED_BY_NONE);
    socket_hear(socket);
}

/** The same of what others have sent. */
static inline void socket_look_at_others(const struct socket *socket)
{
    turned_round_settle(socket->link, turned_by(&socket->name));
    socket_hear(socket);
}

/** Deadline for a blocking call: now + timeout. */
uint64_t socket_deadline_ns(uint64_t timeout_ns);

/* ---- Names (socket_names.c) ---- */

/** @return 0; -EINVAL, -EAFNOSUPPORT as the kernel's bind and connect give. */
int socket_endpoint_parse(const struct sockaddr *address, socklen_t length, bool is_v6,
                          struct ip_endpoint *endpoint);
void socket_endpoint_write(const struct ip_endpoint *endpoint, bool is_v6, struct sockaddr *address,
                           socklen_t *length);
/** Set options.v6only to what the application set, or net.ipv6.bindv6only. */
void socket_note_v6only(struct socket *socket, int fd);
int socket_getsockname(struct socket *socket, struct sockaddr *address, socklen_t *length);
int socket_getpeername(struct socket *socket, struct sockaddr *address, socklen_t *length);

/* ---- Passive and active open (socket_listen.c, socket_connect.c) ---- */

/** The calls take the application's descriptor too, since its kernel socket plays a part. */
int socket_bind(struct socket *socket, int fd, const struct sockaddr *address, socklen_t length);
/** After a connection that is no more: have again what bind() asked for. */
void socket_bind_again(struct socket *socket, struct engine_link *link, bool also_kernel);
int socket_listen(struct socket *socket, int fd, int backlog);
/** Bind and listen at another engine, as was done at the one that died. @return 0, or why not. */
int socket_listen_again(struct socket *socket, struct engine_link *link);
int socket_accept(struct socket *socket, int fd, struct sockaddr *address, socklen_t *length,
                  int flags);
/** One attempt of accept(), whatever the socket's flags. @return -EAGAIN: none is there. */
int socket_try_accept(struct socket *socket, int fd, struct sockaddr *address, socklen_t *length,
                      int flags);
int socket_connect(struct socket *socket, int fd, const struct sockaddr *address, socklen_t length);
/** connect() that never waits. @return -EINPROGRESS: socket_connect_outcome() tells; 1: the socket
    is the kernel's, and has not been connected; else as connect(). */
int socket_connect_now(struct socket *socket, int fd, const struct sockaddr *address,
                       socklen_t length);

/** connect() as sendto() with MSG_FASTOPEN does it, up to the held SYN.
    @param more  the application has bytes to send after the SYN's.
    @return 0: the engine connects; 1: the socket is the kernel's; negative errno. */
int socket_connect_fast(struct socket *socket, int fd, const struct sockaddr *address,
                        socklen_t length, bool more);

/** Back to a socket that can connect or listen again: Linux's tcp_disconnect(). It must have a
    link.
    @param shuts  for shutdown(): only if it still listens or connects.
    @return false: another thread was faster. */
bool socket_disconnect(struct socket *socket, int fd, bool shuts);

/** What SO_ERROR tells of a connect() that goes on: the socket stays as it is, whatever that is.
    @return 0: connected; -EINPROGRESS; else why not. */
int socket_connect_result(struct socket *socket);

/** What connect() returns on a socket that connects; waits, unless that is not wanted. */
int socket_connect_outcome(struct socket *socket, int while_going_on, bool nonblocking);

/** LINK_EVENT_ACCEPT: queue the connection on the listener. */
void socket_accept_arrived(struct socket *listener, unsigned core,
                           const struct link_descriptor *descriptor);

/** Whether other processes have accepted all connections in the queue of a shared listener. Without
    lock: a newcomer may be missed, but is told of by an event. */
bool socket_accept_all_taken(const struct socket *listener);

/** While a connection's event is told: whether it is this process that wakes an exclusive waiter
    for it; asked once there is one to be woken. */
bool socket_wakes_exclusively(struct socket *listener);

/** Free connections in the queue of a listener that goes away. Lock held. */
void socket_accept_discard(struct socket *listener);

/* ---- Data (socket_receive.c, socket_send.c) ---- */

/** Linux's MAX_RW_COUNT: what one call moves at most. */
#define SOCKET_IO_BYTES_MAX ((size_t)0x7ffff000)

/** What recvmsg() tells beside the bytes. */
struct socket_received {
    int flags;         /**< of msg_flags */
    uint64_t stamp_ns; /**< when the last byte came, CLOCK_REALTIME; 0: not known, or none */
};

/**
 * Linux's tcp_recvmsg(). `vector` is left as it was.
 * @param flags     MSG_*
 * @param received  all zero before; or NULL.
 * @return bytes; 0: end of stream.
 */
ssize_t socket_receive(struct socket *socket, const struct iovec *vector, size_t count, int flags,
                       struct socket_received *received);

/** Bytes that can be read now (FIONREAD). */
int socket_unread_bytes(struct socket *socket);

/** Whether the next byte to read is the urgent one (SIOCATMARK). */
int socket_is_at_mark(struct socket *socket);

/** Tell the engine what was read. Lock held. */
void socket_tell_consumed(struct socket *socket);

/** A write that opens the connection (MSG_FASTOPEN), or lets a held SYN go: Linux's
    tcp_sendmsg_fastopen(). address: where to; NULL: connect() has said.
    @param kernel  set when the socket is the kernel's: nothing was done. */
ssize_t socket_send_fast(struct socket *socket, int fd, const struct iovec *vector, size_t count,
                         int flags, const struct sockaddr *address, socklen_t length, bool *kernel);

/** Give the held SYN as much as it takes and let it go.
    @return how many it took; negative errno. */
ssize_t socket_send_syn(struct socket *socket, const struct iovec *vector, size_t count, bool more);

/** Linux's tcp_sendmsg(); raises SIGPIPE as it does. */
ssize_t socket_send(struct socket *socket, const struct iovec *vector, size_t count, int flags);

/** Send up to `count` bytes read from a kernel descriptor (sendfile, splice into a socket).
    @param offset  position to read at, advanced; NULL: the descriptor's own position.
    @param wait_for_pipe  an empty pipe is waited for, else -EAGAIN. */
ssize_t socket_send_from_fd(struct socket *socket, int in_fd, off_t *offset, size_t count,
                            int flags, bool wait_for_pipe);

/** Bytes not yet acknowledged by the peer (SIOCOUTQ). */
int socket_unacknowledged_bytes(struct socket *socket);

/* ---- The end (socket_close.c) ---- */

int socket_shutdown(struct socket *socket, int fd, int how);
/** The last descriptor is gone: LINK_OP_CLOSE, lingering if so asked. */
void socket_close(struct socket *socket);

/* ---- Options (socket_options.c) ---- */

/** Have these option values from now on. Lock held, or nobody else knows the socket.
    @return false: no memory, all is as before. */
bool socket_options_replace(struct socket *socket, const struct socket_options *values);

int socket_setsockopt(struct socket *socket, int fd, int level, int name, const void *value,
                      socklen_t length);
/** Whether TCP has ended the connection (TIME-WAIT counts); asks the engine, so for rare calls. */
bool socket_is_over(struct socket *socket);

int socket_getsockopt(struct socket *socket, int fd, int level, int name, void *value,
                      socklen_t *length);

/** Take SO_ERROR; for a socket that socket_has_readiness(). */
int socket_get_error(struct socket *socket, void *value, socklen_t *length);

/** Give a socket that has just got its slot the options set so far. */
void socket_options_replay(struct socket *socket);

#endif
