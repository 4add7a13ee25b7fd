/**
 * @file sockets.h
 * System calls on sockets, inside: sockets.c (descriptors, opening, closing), readiness.c (poll,
 * epoll), socket_data.c (transfer), options.c, send_memory.c (how much may be written),
 * error_queue.c (MSG_ERRQUEUE), fast_open.c, files.c (files and pipes for sendfile and splice).
 *
 * Calls answer as Linux's do: a result, or a negative errno.
 */
#ifndef PNO_PACKET_SCRIPTS_SOCKETS_H
#define PNO_PACKET_SCRIPTS_SOCKETS_H

#include "machine.h"

/* Of Linux 6.15: younger than libc's headers. */
#ifndef TCP_RTO_MAX_MS
#define TCP_RTO_MAX_MS    44
#define TCP_RTO_MIN_US    45
#define TCP_DELACK_MAX_US 46
#endif

/** What became of one try of a call. */
struct call_state {
    bool blocks;          /**< it would sleep */
    bool known;           /**< all names in its arguments are known */
    const char *cannot;   /**< what of it can't be run */
    const char *mismatch; /**< what it gave back that the script did not expect */
    uint64_t started_ns;
};

int64_t argument(const struct system_call *call, unsigned index, struct call_state *state);
int64_t call_cannot(struct call_state *state, const char *what);
/** -EAGAIN for a non-blocking socket or call or once timeout_ns (0: never) is over, else it sleeps.
 */
int64_t call_would_block(struct machine *machine, const struct machine_socket *socket,
                         struct call_state *state, int64_t flags, uint64_t timeout_ns);
/** Whether a call with a timeout as poll's has to wait on. */
bool call_may_wait(struct machine *machine, const struct call_state *state, int64_t timeout_ms);

struct machine_socket *socket_by_fd(struct machine *machine, int64_t fd);
struct machine_socket *socket_new(struct machine *machine, enum socket_kind kind);
/** The descriptor for a new socket: the one the script calls it by, if that is free. */
int socket_fd_for(struct machine *machine, const struct system_call *call);
int socket_lowest_fd(struct machine *machine);
/** The pending error, negative, and it is no longer pending. */
int64_t socket_take_error(struct machine_socket *socket);
/** Up to urgent data, which is not in the stream. */
int64_t socket_readable_bytes(const struct machine_socket *socket);
bool socket_urgent_waits(const struct machine_socket *socket);
uint32_t socket_ready(struct machine *machine, struct machine_socket *socket);

int64_t socket_poll(struct machine *machine, const struct system_call *call,
                    struct call_state *state);
int64_t socket_epoll_create(struct machine *machine, const struct system_call *call,
                            struct call_state *state);
int64_t socket_epoll_ctl(struct machine *machine, struct machine_socket *epoll,
                         const struct system_call *call, struct call_state *state);
int64_t socket_epoll_wait(struct machine *machine, struct machine_socket *epoll,
                          const struct system_call *call, struct call_state *state);

/** read, recv, write, send and their kin. */
int64_t socket_transfer(struct machine *machine, struct machine_socket *socket,
                        const struct system_call *call, struct call_state *state);
int64_t socket_receive(struct machine *machine, struct machine_socket *socket, int64_t size,
                       int64_t flags, struct call_state *state);
int64_t socket_transmit(struct machine *machine, struct machine_socket *socket, int64_t size,
                        int64_t flags, struct call_state *state);
/** Begin to connect; fast: with fast open, if it is on. @return 0 or a negative errno. */
int64_t socket_connect_begin(struct machine *machine, struct machine_socket *socket, uint16_t port,
                             bool fast, bool more);

/** Give a new listener what was set of fast open. */
void socket_fast_open_listen(struct machine_socket *socket);
/** Linux's tcp_sendmsg_fastopen(): a write that opens the connection.
    @return whether the call ends here, with *result; else it goes on as any write. */
bool socket_fast_open_write(struct machine *machine, struct machine_socket *socket, int64_t size,
                            int64_t flags, struct call_state *state, int64_t *result);
/** TCP_FASTOPEN and its like. @return whether it was one of them; *result is the call's. */
bool socket_fast_open_option(struct machine *machine, struct machine_socket *socket, int64_t name,
                             const struct node *value, int64_t number, int64_t size,
                             int64_t *result);
int64_t socket_set_option(struct machine *machine, struct machine_socket *socket,
                          const struct system_call *call, struct call_state *state);
int64_t socket_get_option(struct machine *machine, struct machine_socket *socket,
                          const struct system_call *call, struct call_state *state);
int64_t socket_ioctl(struct machine *machine, struct machine_socket *socket,
                     const struct system_call *call, struct call_state *state);

/** SO_SNDBUF as it is now. */
uint64_t send_memory_limit(struct machine *machine, struct machine_socket *socket);
/** Whether another buffer may be begun; *room is what still fits the last one. */
bool send_memory_is_free(struct machine *machine, struct machine_socket *socket, uint64_t *room);
/** Bytes were written, up to this offset; fresh: they begin a buffer. */
void send_memory_written(struct machine_socket *socket, uint64_t end, bool fresh);
/** How large a buffer becomes. */
uint64_t send_memory_goal(struct machine *machine, struct machine_socket *socket);
/** A segment was cut there. */
void send_memory_sent(struct machine_socket *socket, uint64_t end);
void send_memory_acked(struct machine *machine, struct machine_socket *socket);
/** Whether poll says POLLOUT: a third is free, and little enough is not sent yet. */
bool send_memory_is_writable(struct machine *machine, const struct machine_socket *socket);

/** A write up to this offset is done: what its flags and the socket's ask to be told of. */
void error_queue_written(struct machine *machine, struct machine_socket *socket, int64_t flags,
                         uint64_t end);
void error_queue_sent(struct machine *machine, struct machine_socket *socket, uint64_t end);
void error_queue_acked(struct machine *machine, struct machine_socket *socket);
/** recvmsg(…, MSG_ERRQUEUE). */
int64_t error_queue_receive(struct machine *machine, struct machine_socket *socket,
                            const struct node *message, struct call_state *state);

int64_t file_open(struct machine *machine, const struct system_call *call,
                  struct call_state *state);
int64_t file_pipe(struct machine *machine, const struct system_call *call,
                  struct call_state *state);
int64_t file_sendfile(struct machine *machine, struct machine_socket *socket,
                      const struct system_call *call, struct call_state *state);
int64_t file_splice(struct machine *machine, struct machine_socket *socket,
                    const struct system_call *call, struct call_state *state);
int64_t file_transfer(struct machine *machine, struct machine_socket *socket,
                      const struct system_call *call, struct call_state *state);

#endif
