/**
 * @file sent.h
 * What was sent and when: one record for each burst in flight, from a pool of the stack; a
 * connection with nothing in flight holds none. Loss detection by time (rack.h), round-trip samples
 * and the delivery rate (delivery.h) all live off the same records. Remembers; decides nothing.
 *
 * A connection has two lists. `flight`, in the order of sending, holds what is believed to be on
 * its way; `lost`, by number, what is to be sent again. Bytes that are acknowledged or SACKed are
 * in neither. The originals in `flight` are in order of their numbers as well, as new data is; only
 * retransmissions are not.
 *
 * Every connection can have one record; more come from a share for all. When that is used up, bytes
 * go without a record: nothing is known of their time, and only the retransmission timeout repairs
 * them. tcp_connection_check() knows what must hold.
 */
#ifndef PNO_CORE_TCP_SENT_H
#define PNO_CORE_TCP_SENT_H

#include "core/tcp/connection.h"

struct tcp_ack_facts;

/** One transmission of numbers [start, start + length), or what is left to know of it. Times and
    counts are those of when it was sent. */
struct tcp_sent {
    struct tcp_sent *next;
    uint64_t start;
    uint32_t length;
    uint32_t sent_us;       /**< modulo 2^32 */
    uint32_t delivered;     /**< tcp_delivery.delivered … */
    uint32_t delivered_us;  /**< … and when that was */
    uint32_t first_sent_us; /**< when the flight's rate sample began */
    uint32_t in_flight;     /**< bytes in flight, this one's included */
    uint32_t lost;          /**< bytes found lost on this connection so far */
    uint32_t origin;        /**< where a burst began, modulo 2^32 … */
    uint16_t burst;         /**< … and how long each was but the last, bytes; 0: not known */
    bool again : 1;         /**< a retransmission, or in `lost`: was one */
    bool app_limited : 1;
    bool pushed : 1; /**< PSH was on its last segment, and is when that is sent again (as Linux) */
};
_Static_assert(sizeof(struct tcp_sent) == 56, "each connection may have one");

/** Numbers [start, end) to send again. */
struct tcp_sent_piece {
    uint64_t start, end;
    bool pushed; /**< PSH belongs on it */
};

/** The clock of the records: microseconds modulo 2^32, good for distances under half an hour, which
    tcp_sent_limit_ages() sees to. */
static inline uint32_t tcp_sent_clock_us(uint64_t now_ns)
{
    return (uint32_t)(now_ns / NS_PER_US);
}

static inline uint64_t tcp_sent_end(const struct tcp_sent *record)
{
    return record->start + record->length;
}

/** New data [start, end) goes out. What follows full segments within a 256th of the round trip
   shares their record: that bounds how many there are, and leaves the segments' bounds known, and
   up to a number of records where each burst ended.
    @param pushed  PSH was on the last of it.
    @param pipe    bytes in flight before. */
void tcp_sent_new(struct stack *stack, struct tcp_connection *connection, uint64_t start,
                  uint64_t end, bool pushed, uint32_t pipe, uint64_t now_ns);

/** A piece goes out once more: out of `lost`, or (a tail probe) while the original may still
   be on its way, which is then forgotten. */
void tcp_sent_again(struct stack *stack, struct tcp_connection *connection,
                    const struct tcp_sent_piece *piece, uint32_t pipe, uint64_t now_ns);

/** [start, end) has arrived, by ACK or by SACK. Of which transmission goes into facts. */
void tcp_sent_delivered(struct stack *stack, struct tcp_connection *connection, uint64_t start,
                        uint64_t end, struct tcp_ack_facts *facts);

/** The first record of `flight`, of something sent once, has arrived whole and is accounted for. */
void tcp_sent_forget_first(struct stack *stack, struct tcp_connection *connection);

/** Of [start, end), just SACKed, only whole segments count (as Linux): move the bounds inwards. */
void tcp_sent_round_to_segments(const struct tcp_connection *connection, uint64_t *start,
                                uint64_t *end);

/** The part of this record of `flight` below number is lost. @param before  the record ahead of it
    in the list, NULL: it is the first. @return whether the whole record went. */
bool tcp_sent_lose(struct stack *stack, struct tcp_connection *connection, struct tcp_sent *before,
                   struct tcp_sent *record, uint64_t number);

/** The first bytes of all, as many at most, are lost, unless they are known to be. */
void tcp_sent_lose_head(struct stack *stack, struct tcp_connection *connection, uint32_t bytes);

/** Originals that begin below number are lost, up to there (RFC 6675's IsLost()). */
void tcp_sent_lose_below(struct stack *stack, struct tcp_connection *connection, uint64_t number);

/** What is there before the first SACKed bytes is lost, should it have no record: RFC 6675's way
    when times are not known. */
void tcp_sent_lose_untimed_head(struct stack *stack, struct tcp_connection *connection);

/** Everything that is not SACKed is lost, what has no record included. */
void tcp_sent_lose_all(struct stack *stack, struct tcp_connection *connection);

/** What went out in segments of more than so many bytes is lost, as far as that is known (as Linux,
    what was a burst as a whole). @return whether anything is that was not. */
bool tcp_sent_lose_larger(struct stack *stack, struct tcp_connection *connection, uint32_t bytes);

/** What was called lost was not: back to `flight`, with the times it had. */
void tcp_sent_unlose(struct tcp_connection *connection);

/** NextSeg(): the next lost piece, at most limit bytes, or burst bytes of what was one burst (as
   Linux). Small ones that follow each other go together, each whole (as Linux collapses them).
   @return false when there is none. */
bool tcp_sent_next_lost(struct stack *stack, struct tcp_connection *connection, uint32_t limit,
                        uint32_t burst, struct tcp_sent_piece *piece);

/** Whether a transmission came after another; of one burst's, the number decides. */
static inline bool tcp_sent_after(uint32_t a_us, uint64_t a_end, uint32_t b_us, uint64_t b_end)
{
    return (int32_t)(a_us - b_us) > 0 || (a_us == b_us && a_end > b_end);
}

/** The last segment sent. */
struct tcp_sent_piece tcp_sent_last_segment(const struct tcp_connection *connection);

/** When what begins at snd_una was last sent. @return false when that is not known. */
bool tcp_sent_head(const struct tcp_connection *connection, uint32_t *sent_us);

/** No record counts as older than a quarter of an hour from now on: at each retransmission timeout,
    which come more often than that. What is that old only has to stay the oldest. */
void tcp_sent_limit_ages(struct tcp_connection *connection, uint64_t now_ns);

/** Give all records back. */
void tcp_sent_clear(struct stack *stack, struct tcp_connection *connection);

/** Traps unless the lists are as described. */
void tcp_sent_check(const struct tcp_connection *connection);

#endif
