/**
 * @file option_set.h
 * Values of socket options, each set of them kept once: the sockets of a program have mostly the
 * same. A shared set neither changes nor goes away, so it may be read without a lock. When there
 * are OPTION_SETS_MAX of them, a socket with other values gets a set of its own.
 */
#ifndef PNO_HOSTLIB_OPTION_SET_H
#define PNO_HOSTLIB_OPTION_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "hostlink/abi.h"

#define OPTION_SETS_MAX 1024

struct lock;
struct option_kept;

/** Where option values of a socket are kept that has no kernel socket of its own. Without padding:
    sets are compared as bytes. */
struct socket_options {
    uint64_t max_pacing_rate;       /**< SO_MAX_PACING_RATE, bytes/s; UINT64_MAX: none */
    const struct option_kept *kept; /**< what accepted sockets take over beside the rest */
    uint64_t receive_timeout_ns;    /**< SO_RCVTIMEO; TIME_NEVER: none */
    uint64_t send_timeout_ns;       /**< SO_SNDTIMEO */
    int32_t values[LINK_OPTION_COUNT];
    uint32_t set; /**< bit per link_option: given by the application */
    struct linger linger;
    int32_t receive_low_water;
    uint32_t timestamping; /**< SO_TIMESTAMPING: SOF_TIMESTAMPING_* */
    uint32_t port_range;   /**< IP_LOCAL_PORT_RANGE: first and, above 16 bits, last; 0 = any */
    bool reuse_address, reuse_port, v6only, oob_inline;
    bool zerocopy;                                 /**< SO_ZEROCOPY */
    bool tells_inq;                                /**< TCP_INQ */
    bool fast_open_connect;                        /**< TCP_FASTOPEN_CONNECT */
    bool stamps;                                   /**< SO_TIMESTAMP or SO_TIMESTAMPNS ... */
    bool stamps_in_ns;                             /**< ... the latter */
    bool stamps_new;                               /**< by the newer of their names */
    bool bind_no_port;                             /**< IP_BIND_ADDRESS_NO_PORT */
    bool receive_errors;                           /**< IP_RECVERR */
    bool receive_errors_v6;                        /**< IPV6_RECVERR */
    uint8_t unused[3 + LINK_OPTION_COUNT % 2 * 4]; /**< up to a multiple of 8 bytes */
};
_Static_assert(sizeof(struct socket_options) == offsetof(struct socket_options, unused) +
                                                    sizeof(((struct socket_options *)0)->unused),
               "no padding");

/** What a new socket has. */
extern const struct socket_options option_set_default;

/** The shared set with these values. @return NULL: there are too many, or no memory for it. */
const struct socket_options *option_set_shared(const struct socket_options *values);

/** A set for one socket, which may change it and gives it back. @return NULL: no memory. */
struct socket_options *option_set_own(const struct socket_options *values);
void option_set_free(struct socket_options *own);

/** What fork() has to hold and its child to reset. */
struct lock *option_set_fork_lock(void);

#endif
