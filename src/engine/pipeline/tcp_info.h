/**
 * @file tcp_info.h
 * LINK_OP_GET_INFO: Linux's struct tcp_info, filled from what the stack knows.
 */
#ifndef PNO_ENGINE_PIPELINE_TCP_INFO_H
#define PNO_ENGINE_PIPELINE_TCP_INFO_H

#include <stdint.h>

struct engine_socket;

/**
 * Write at most `bytes` of the socket's struct tcp_info into its tenant's arena.
 * @return 0, or a negative errno of the copy.
 */
int tcp_info_write(struct engine_socket *socket, uint64_t arena_offset, uint32_t bytes);

/** Write struct link_congestion_info, at most bytes of it, there. @return 0 or -errno. */
int tcp_congestion_info_write(struct engine_socket *socket, uint64_t arena_offset, uint32_t bytes);

#endif
