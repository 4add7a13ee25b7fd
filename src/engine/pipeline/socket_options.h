/**
 * @file socket_options.h
 * LINK_OP_SET_OPTION: values checked again (the host is not trusted) and turned into the stack's.
 */
#ifndef PNO_ENGINE_PIPELINE_SOCKET_OPTIONS_H
#define PNO_ENGINE_PIPELINE_SOCKET_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct engine_socket;

/**
 * Set one option of a socket in any state: before use, listening or connected.
 * @param option  enum link_option.
 * @return false: no such option, or a value that it cannot have; nothing was changed.
 */
bool socket_options_set(struct engine_socket *socket, uint32_t option, int64_t value);

#endif
