/**
 * @file socket_events.h
 * What the engine's events do to sockets. Called with the link's consume_lock held.
 */
#ifndef PNO_HOSTLIB_SOCKET_EVENTS_H
#define PNO_HOSTLIB_SOCKET_EVENTS_H

#include "hostlib/engine_link.h"
#include "hostlink/abi.h"

struct socket;

/** Apply one event that came from engine core `core`. */
void socket_events_apply(struct engine_link *link, unsigned core,
                         const struct link_descriptor *descriptor);

/** The engine died: the connection is reset, a listener goes on with its kernel half. */
void socket_events_engine_died(struct socket *socket);

#endif
