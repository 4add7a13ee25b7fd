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

/**
 * A datagram that this core reassembled: fragments don't show their flow, so that all of them come
 * to the first core.
 * @param frame   the fragment that completed it, for its Ethernet header.
 * @param packet  the whole, from its IP header on.
 * @return        true: its flow is another core's, which gets it.
 */
bool steer_reassembled(struct engine_core *core, const uint8_t *frame, const uint8_t *packet);

/** To the first core, whoever the flow belongs to. The frame is no longer the caller's. */
void steer_mbuf_to_first(struct engine_core *core, struct rte_mbuf *mbuf);
void steer_turned_to_first(struct engine_core *core, struct turned_frame *frame);

#endif
