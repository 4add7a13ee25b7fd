/**
 * @file path_mtu.h
 * What path MTU discovery learnt (RFC 1191, RFC 8201), per destination, forgotten after ten minutes
 * so that a path grown wider is noticed. A cache: a collision only costs another discovery.
 */
#ifndef PNO_CORE_IP_PATH_MTU_H
#define PNO_CORE_IP_PATH_MTU_H

#include "core/stack_state.h"

#define IPV4_MTU_MIN     68   /**< RFC 791 */
#define PATH_MTU_MIN_V4  552  /**< below which Linux does not follow (min_pmtu) */
#define PATH_MTU_MIN_V6  1280 /**< who tells of less is not believed (RFC 8201 §4) */
#define PATH_MTU_LIFE_NS (600 * NS_PER_S)

size_t path_mtu_entry_bytes(void);

/**
 * A packet too big for its path: the router says what fits.
 * @param mtu          as told; 0 from routers older than RFC 1191.
 * @param packet_bytes length of the packet that did not fit.
 * @return the path's MTU from now on.
 */
uint16_t path_mtu_learn(struct stack *stack, const struct ip_address *remote, uint32_t mtu,
                        uint32_t packet_bytes, uint64_t now_ns);

#endif
