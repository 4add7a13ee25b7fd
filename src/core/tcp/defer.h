/**
 * @file defer.h
 * Whether a burst waits to become larger: as Linux (tcp_tso_should_defer), what the window leaves
 * room for is not sent in small pieces while acknowledgements arrive closely one after the other.
 * There is always something in flight then, whose acknowledgement, or timer, ends the waiting.
 */
#ifndef PNO_CORE_TCP_DEFER_H
#define PNO_CORE_TCP_DEFER_H

#include "core/tcp/connection.h"

/** What could be sent, bytes. */
struct tcp_burst {
    uint64_t available;   /**< what the application gave, up to a record's end */
    uint64_t window_room; /**< what the peer's window lets out */
    uint32_t cwnd_room;   /**< what the congestion window lets out: not 0 */
    uint32_t most;        /**< what the port segments at once */
    bool more_follows;    /**< another record does */
};

/** @return true: of more than a segment of new payload nothing goes now. */
bool tcp_defers(const struct tcp_connection *connection, const struct tcp_burst *burst,
                uint64_t now_ns);

#endif
