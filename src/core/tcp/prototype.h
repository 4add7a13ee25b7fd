/**
 * @file prototype.h
 * New connections are mostly like the one before them: what does not depend on addresses, numbers
 * and time is copied from a prototype, one for those that connect and one for those that listeners
 * make. It is as the whole way (tcp_connection_init() and what follows) made it for an earlier
 * connection, and gives the same as that would. IPv4 only.
 */
#ifndef PNO_CORE_TCP_PROTOTYPE_H
#define PNO_CORE_TCP_PROTOTYPE_H

#include "core/tcp/connection.h"

struct tcp_prototype {
    const struct tcp_options_set *options; /**< held; NULL: none is made */
    bool is_default;                       /**< those that a connection has without being told */
    uint16_t path_mtu;
    /* Of the SYN: its window, and options but for the time stamps. */
    uint16_t syn_window, syn_mss;
    uint64_t syn_options;
    struct tcp_connection connection;
};

struct tcp_prototypes {
    struct tcp_prototype active, passive;
};

/** For this request; NULL: it must be made the whole way. */
const struct tcp_prototype *tcp_prototype_active(struct stack *stack, const struct tcp_flow *flow,
                                                 const struct tcp_connect_request *request,
                                                 uint64_t now_ns);

/** For a SYN to this listener, with these options; NULL: it must be made the whole way. */
const struct tcp_prototype *tcp_prototype_passive(struct stack *stack,
                                                  const struct tcp_listener *listener,
                                                  const struct tcp_segment *segment,
                                                  const struct tcp_options *options,
                                                  uint64_t now_ns);

/** A connection like it of this flow; numbers are its own.
    @param iss  initial sequence number; NULL: chosen.
    @return     NULL, and counted, if there is none left. */
struct tcp_connection *tcp_prototype_copy(struct stack *stack,
                                          const struct tcp_prototype *prototype,
                                          const struct tcp_flow *flow, const seq_t *iss,
                                          uint64_t now_ns);

/** It was made the whole way just now, for this request: the next ones may be like it. */
void tcp_prototype_active_keep(struct stack *stack, const struct tcp_connection *connection,
                               const struct tcp_connect_request *request);

/** The same for a SYN. Both of IPv4 only; of others nothing is kept. */
void tcp_prototype_passive_keep(struct stack *stack, struct tcp_listener *listener,
                                const struct tcp_connection *connection,
                                const struct tcp_segment *segment,
                                const struct tcp_options *options);

/** The listener has other options, or ends. */
void tcp_prototype_forget_listener(struct stack *stack, struct tcp_listener *listener);

#endif
