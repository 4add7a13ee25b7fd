/**
 * @file window_check.h
 * What RFC 5681, 6928 and 9438 allow of a congestion window, watched from outside while the core
 * runs: how large it begins, how much an acknowledgement may open it, how much a loss must close
 * it, and that nobody sends past it.
 */
#ifndef PNO_SIMULATION_WINDOW_CHECK_H
#define PNO_SIMULATION_WINDOW_CHECK_H

#include <stdint.h>

struct tcp_connection;

/** A connection before an arrival. */
struct window_watch {
    const struct tcp_connection *connection; /**< NULL: nothing to watch */
    uint32_t cwnd, prior_cwnd, delivered, lost;
    uint8_t state, ca_state;
};

/** connection: whose segment is about to arrive; may be NULL. */
void window_watch_begin(struct window_watch *watch, const struct tcp_connection *connection);

/** The segment was applied. @return NULL, or which limit does not hold. */
const char *window_watch_end(const struct window_watch *watch);

/** The connection just sent payload. @return NULL, or which limit does not hold. */
const char *window_check_sent(const struct tcp_connection *connection);

#endif
