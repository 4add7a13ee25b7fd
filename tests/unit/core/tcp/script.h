/**
 * @file script.h
 * Tests of TCP that read like packet transcripts: one stack, and a peer made of text.
 *
 *     peer("S 0:0(0) win 65535 <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>");
 *     ours("S. 0:0(0) ack 1 win 65160 <mss 1460,sackOK,TS val 0 ecr 100,nop,wscale 7>");
 *
 * Flags are those of tcpdump (S F E W R P U .), sequence numbers relative to each side's SYN,
 * windows as on the wire. In ours() what is left out is not compared: " win ..." and "<...>". "TS"
 * alone stands for any timestamps. Our timestamps count milliseconds from the first one seen;
 * sequence numbers of both sides start just below 2^32, so that every test crosses the wrap.
 *
 * After each step every invariant of the stack is checked.
 */
#ifndef PNO_TESTS_UNIT_CORE_TCP_SCRIPT_H
#define PNO_TESTS_UNIT_CORE_TCP_SCRIPT_H

#include "../../base/test_support.h"
#include "core/tcp/connection.h"
#include "core/tcp/listener.h"

#define PEER_PORT 40000
#define OUR_PORT  80

struct script {
    struct stack *stack;
    void *memory;
    struct stack_config config;
    uint64_t now_ns;
    uint16_t peer_port; /**< whose segments peer() sends */
    struct tcp_listener *listener;
    struct tcp_connection *connection; /**< last accepted or connected; NULL once closed */
    uint32_t events;                   /**< of it, merged since events_taken() */
    uint32_t accepted;
    struct stack_rx_result result; /**< of the last peer() */
    uint64_t placed_offset;        /**< of the last payload wanted */
    uint32_t placed_length;
    uint8_t peer_ecn;       /**< the ECN bits of what the peer sends … */
    uint8_t our_ecn;        /**< … and of the segment we sent last */
    uint16_t peer_gso_size; /**< what the peer sends was joined of segments of this size */
    bool refuse_payload;
    bool no_accept; /**< leave connections in the accept queue */
    uint32_t gso_bytes_max;
    uint32_t our_iss;
    bool our_iss_known;
    uint32_t our_ts_base;
    bool our_ts_known;
};

extern struct script script;

/** cmocka setup and teardown: a stack at 10.77.0.1 that knows its neighbour, listening on OUR_PORT
    with a back-log of 10. */
int script_setup(void **state);
int script_teardown(void **state);
/** Begin anew, after changing script.config. */
void script_restart(void);

/** A segment arrives from the peer. */
void peer(const char *format, ...) __attribute__((format(printf, 1, 2)));
/** The next segment we send is this one. */
void ours(const char *format, ...) __attribute__((format(printf, 1, 2)));
/** We send nothing (more). */
void nothing(void);
/** Let everything go that we send now. @return how many segments. */
unsigned ours_any(void);
/** Let time pass, with timers. */
void after_ms(uint64_t ms);
void after_us(uint64_t us);

/** Handshake with a peer that offers what Linux does; the connection is script.connection. */
void established(void);
/** Handshake without any option but MSS 1000, the peer's window being given. */
void established_plain(unsigned window);
/** Active open up to ESTABLISHED, peer as Linux. */
void connected(void);
/** Begin an active open to the peer, whose port is PEER_PORT. */
void connect_begin(void);

void app_send(uint64_t bytes);
void app_send_more(uint64_t bytes);
/** Read everything received so far. */
void app_read_all(void);
void app_read(uint64_t bytes);
void app_close(void);
void app_shutdown_write(void);
void app_abort(void);
struct tcp_options_set app_options(void);
void app_set_options(struct tcp_options_set options);

/** Event bits since last asked; they are forgotten. */
uint32_t events_taken(void);
struct tcp_connection_info info(void);
unsigned state(void);
uint64_t drops(enum drop_reason reason);
uint64_t connections_now(void);

#define TEST(name) cmocka_unit_test_setup_teardown(name, script_setup, script_teardown)

#endif
