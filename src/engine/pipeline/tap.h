/**
 * @file tap.h
 * Copies of the frames that a core receives and sends, as they are on the wire, for those who
 * capture. Costs a core one predictable branch per frame while nobody does.
 */
#ifndef PNO_ENGINE_PIPELINE_TAP_H
#define PNO_ENGINE_PIPELINE_TAP_H

#include <stdbool.h>

#include "engine/engine_core.h"

struct rte_mbuf;
struct transmit_entry;

static inline bool tap_is_on(const struct engine_core *core)
{
    return __builtin_expect(core->capture != NULL, 0);
}

/** A frame from the port; only if tap_is_on(). A checksum that its sender left to its own port is
    completed in the copy. */
void tap_received(struct engine_core *core, const struct rte_mbuf *mbuf);

/**
 * A frame about to leave for the port, or for ourselves, its payload in place; only if
 * tap_is_on(). A checksum left to the port is completed in the copy.
 */
void tap_sent(struct engine_core *core, const struct transmit_entry *entry);

#endif
