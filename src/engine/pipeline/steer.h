/**
 * @file steer.h
 * With several cores: which frames a core passes on to others. Each flow has one core, by
 * stack_rss_core(); news that every core's stack needs for itself (who has which MAC address,
 * errors about flows) goes to all, as long as it calls for no answer.
 */
#ifndef PNO_ENGINE_PIPELINE_STEER_H
#define PNO_ENGINE_PIPELINE_STEER_H

#include <stdbool.h>

#include "engine/pipeline/transmit.h"

struct engine_core;
struct rte_mbuf;

/**
 * A frame from the port.
 * @return false: it is this core's, to be received here. True: it went to its core; the mbuf is no
 *         longer the caller's.
 */
bool steer_received(struct engine_core *core, struct rte_mbuf *mbuf);

/** A frame to one of our own addresses; otherwise as steer_received(). */
bool steer_turned(struct engine_core *core, struct turned_frame *frame);

/** To the first core, whoever the flow belongs to. The frame is no longer the caller's. */
void steer_mbuf_to_first(struct engine_core *core, struct rte_mbuf *mbuf);
void steer_turned_to_first(struct engine_core *core, struct turned_frame *frame);

#endif
