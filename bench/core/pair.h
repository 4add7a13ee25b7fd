/**
 * @file pair.h
 * Two ends of one TCP stack, back to back in memory: what bench_core.c drives and measures. One
 * implementation per stack (pno_pair.c, lwip_pair.c), with the same wire, the same applications and
 * the same bytes touched:
 *
 *   - the sending application's bytes are copied once, and summed, on their way into a frame;
 *   - the wire copies each frame once, into memory of the receiving end;
 *   - the receiving stack verifies the checksum;
 *   - the receiving application copies the bytes out of the frame.
 *
 * Time is virtual: PAIR_FRAME_NS per frame; when nothing is on the wire, it jumps to the next
 * timer. Nothing here reads a clock.
 */
#ifndef PNO_BENCH_CORE_PAIR_H
#define PNO_BENCH_CORE_PAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Duration of a frame on the wire: that of 1250 bytes at 10 Gbit/s. */
#define PAIR_FRAME_NS 1000

/** Frames that one end may put on the wire before the other has its turn. */
#define PAIR_BURST_FRAMES 64

#define PAIR_MTU         1500
#define PAIR_FRAME_BYTES 1536

#define PAIR_ECHO_BYTES 64

/** Connections are told apart by these server ports and the client ports from this on. */
#define PAIR_SERVER_PORT_FIRST  7000
#define PAIR_SERVER_PORTS       4
#define PAIR_CLIENT_PORT_FIRST  1024
#define PAIR_CLIENTS_PER_PORT   25000
#define PAIR_CONNECTIONS_MAX    (PAIR_SERVER_PORTS * PAIR_CLIENTS_PER_PORT)
#define PAIR_OPEN_CLOSE_PORT    (PAIR_SERVER_PORT_FIRST + PAIR_SERVER_PORTS)
#define PAIR_CLIENT_IPV4_OCTETS 10, 9, 0, 1
#define PAIR_SERVER_IPV4_OCTETS 10, 9, 0, 2

/** What applications send repeats with this period, so that any place of a stream is contiguous. */
#define PAIR_PATTERN_BYTES 65536

struct pair_operations {
    const char *name;
    /** Make the two ends and this many established, idle connections. */
    bool (*set_up)(uint32_t connections);
    /** Client to server, until the server's application has them all. */
    bool (*bulk)(uint32_t connection, uint64_t bytes);
    /** A request of PAIR_ECHO_BYTES, and as long an answer. */
    bool (*echo)(uint32_t connection);
    /** Open, one request and answer, close (client first), until both applications are told. */
    bool (*open_close)(void);
    /** Let TIME_WAIT run out. */
    bool (*rest)(void);
    /** TCP segments delivered so far, in both directions. */
    uint64_t (*segments)(void);
    /** Memory that one end takes for an established, idle connection. */
    double (*bytes_per_idle_connection)(void);
};

extern const struct pair_operations pno_pair;
extern const struct pair_operations lwip_pair;

/** What applications send at this place of a stream; PAIR_FRAME_BYTES more may be read on. */
const uint8_t *pair_pattern(uint64_t stream_offset);

/** While set, receiving applications compare what they get with what was sent. */
extern bool pair_verifies;

/** An application has received these bytes at this place of its stream: copy them, and compare if
    asked. @return false when they are not what was sent. */
bool pair_take(uint64_t stream_offset, const uint8_t *bytes, size_t length);

#endif
