/**
 * @file records.h
 * Where the application says that a record ends (MSG_EOR): no segment has bytes of two records, nor
 * when it is sent again, and the end of a record is not held back for what follows. The receiver
 * learns nothing of it: TCP is a stream (RFC 9293 §3.8.2 has no such mark; as Linux).
 *
 * Kept as the set of records' last bytes in struct tcp_recovery, from their being given until they
 * are acknowledged. What finds no room there, or is one too many, is a stream without marks.
 */
#ifndef PNO_CORE_TCP_RECORDS_H
#define PNO_CORE_TCP_RECORDS_H

#include "core/tcp/connection.h"

/** Ends of records that a connection remembers. Adjacent ones of a byte each count once. */
#define TCP_RECORDS_MAX 128

/** One past the last byte of the record that number lies in; UINT64_MAX: it has no end yet. */
static inline uint64_t tcp_record_end(const struct tcp_connection *connection, uint64_t number)
{
    const struct interval_set *records = &connection->rare->recovery->records;
    if (records->first == NULL)
        return UINT64_MAX;
    const struct interval *last = interval_set_from(records, number);
    return last == NULL ? UINT64_MAX : (last->start > number ? last->start : number) + 1;
}

/** Whether a record ends where end is one past the last byte. */
static inline bool tcp_record_ends(const struct tcp_connection *connection, uint64_t end)
{
    return connection->rare->recovery->records.first != NULL &&
           interval_set_find(&connection->rare->recovery->records, end - 1) != NULL;
}

/** Forget the records below snd_una. */
void tcp_records_advance(struct stack *stack, struct tcp_connection *connection);

#endif
