/**
 * @file bench_stack.h
 * One stack and the frames of its enemies: what attack tests share. Frames come from a builder of
 * their own; what the stack sends is counted and the last of each kind is kept.
 */
#ifndef PNO_ATTACK_BENCH_STACK_H
#define PNO_ATTACK_BENCH_STACK_H

#include <stdbool.h>
#include <stdint.h>

#include "core/stack.h"

#define BENCH_PORT 80

/** A peer's end of a flow, honest or not. */
struct peer {
    uint32_t address; /**< IPv4, host order */
    uint16_t port;
    uint32_t seq, ack; /**< what it sends next */
    uint16_t window;
};

struct bench {
    struct stack *stack;
    void *memory;
    uint64_t now_ns;
    uint64_t frames_out, tcp_out, payload_out; /**< since bench_forget() */
    uint32_t smallest_payload;                 /**< of those with payload; UINT32_MAX none */
    uint8_t last_flags;
    uint32_t last_seq, last_ack;
    struct tcp_listener *listener;
    struct tcp_connection *accepted; /**< the latest */
    unsigned accepts, errors;
};

/** A stack with a listener on BENCH_PORT, its gateway's address known. */
void bench_begin(struct bench *bench, uint32_t backlog);
void bench_end(struct bench *bench);
/** Let virtual time pass. */
void bench_pass(struct bench *bench, uint64_t ns);
/** Take what the stack has to say and send. */
void bench_pump(struct bench *bench);
void bench_forget(struct bench *bench);

/** A TCP segment from a peer; options may be NULL. */
void bench_segment(struct bench *bench, const struct peer *peer, uint8_t flags,
                   const uint8_t *options, uint32_t options_length, uint32_t payload_length);
/** An IPv4 fragment of a TCP packet from a peer: offset and length of its IP payload. */
void bench_fragment(struct bench *bench, const struct peer *peer, uint16_t id, uint16_t offset,
                    uint16_t length, bool more);

/** The three-way handshake with these options in the SYN; traps when it does not succeed. */
void bench_connect(struct bench *bench, struct peer *peer, const uint8_t *options,
                   uint32_t options_length);

uint64_t bench_drops(const struct bench *bench);
/** CPU time of this thread. */
uint64_t bench_cpu_ns(void);

#endif
