/**
 * @file awaited_copy.h
 * Single copies between the engine and an arena that the caller waits for: for what is rare.
 * Payload goes without waiting (pipeline/receive.c, transmit.c). While it waits, other copies'
 * completions run.
 */
#ifndef PNO_ENGINE_AWAITED_COPY_H
#define PNO_ENGINE_AWAITED_COPY_H

#include <stdint.h>

struct engine_socket;

/** Into the arena of the socket's tenant. @return 0, -EFAULT out of bounds, or what the copy ended
    by. */
int awaited_copy_write(const struct engine_socket *socket, uint64_t arena_offset, const void *from,
                       uint32_t bytes);

/** Out of it; as above. */
int awaited_copy_read(const struct engine_socket *socket, uint64_t arena_offset, void *to,
                      uint32_t bytes);

#endif
