/**
 * @file port_right.h
 * Tokens by which a program that has given up its right to ports below 1024, as servers do once
 * they are bound, shows the next engine at the same control socket that it had it. The key lies
 * beside the control socket and outlives the engine; who can read it is root anyway.
 */
#ifndef PNO_ENGINE_PORT_RIGHT_H
#define PNO_ENGINE_PORT_RIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/siphash.h"

/** Read SOCKET_PATH.key, or make it. @return 0; a negative errno: `key` is good for this run only.
 */
int port_right_load_key(struct siphash_key *key, const char *socket_path);

/** A new token. */
void port_right_make(const struct siphash_key *key, uint64_t token[2]);

/** Whether an engine with this key made it. */
bool port_right_is_good(const struct siphash_key *key, const uint64_t token[2]);

#endif
