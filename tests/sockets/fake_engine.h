/**
 * @file fake_engine.h
 * What the parts of pno-fake-engine share: a tenant's memory, processes that speak the link, and
 * the ends of connections.
 */
#ifndef PNO_TESTS_SOCKETS_FAKE_ENGINE_H
#define PNO_TESTS_SOCKETS_FAKE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/ip_address.h"
#include "hostlink/chunk_pool.h"
#include "hostlink/control.h"
#include "hostlink/region.h"
#include "hostlink/ring.h"

#define SLOTS          8192
#define HOST_SLOTS     4096
#define RING_SLOTS     256
#define REGION_BYTES   (UINT64_C(128) << 20)
#define SEND_BUFFER    (256u << 10)
#define RECEIVE_BUFFER (128u << 10)
#define PROCESSES_MAX  64
#define FENCES_MAX     64

/* An event that waits for room in its process's ring. */
struct event {
    STAILQ_ENTRY(event) link;
    struct link_descriptor descriptor;
};

/* Sent bytes that the receiver has not taken yet, or received bytes the application has not read.
 */
struct piece {
    STAILQ_ENTRY(piece) link;
    uint64_t stream_offset, arena_offset, length;
};

struct tenant {
    struct link_layout layout;
    int arena_fd, window_fd, doorbell_fd;
    uint8_t *arena, *window;
    struct link_arena_header *header;
    struct chunk_pool pool;
    struct end *ends[SLOTS];
    uint32_t incarnations[SLOTS];
    uint8_t token[16];
    uint32_t channels;
};

struct process {
    struct tenant *tenant;
    int control_fd, doorbell_fd;
    uint32_t id;
    bool has_channel;
    struct link_consumer to_engine;
    struct link_producer to_host;
    STAILQ_HEAD(, event) events;
    uint32_t fences[FENCES_MAX]; /* requests, answered when there is nothing left to do */
    unsigned fence_count;
};

enum kind { NEW, BOUND, LISTENER, CONNECTION };

struct end {
    LIST_ENTRY(end) link;
    struct tenant *tenant;
    struct link_socket_name name;
    enum kind kind;
    bool held[PROCESSES_MAX];
    struct end *peer; /* NULL: gone */
    struct end *listener;
    struct ip_endpoint local, remote;
    uint8_t flags;
    uint32_t accept_sequence;
    uint64_t sent, fin_at, received, consumed, receive_buffer, send_buffer;
    bool fin_wanted, fin_told, let_go, accepted;
    STAILQ_HEAD(, piece) outgoing, incoming;
};

LIST_HEAD(end_list, end);

extern struct process *processes[PROCESSES_MAX];
extern struct end_list all_ends;

/* ---- Ends of connections (fake_ends.c) ---- */

/** An event for one process, as soon as its ring has room. */
void tell_process(struct process *process, const struct link_descriptor *descriptor);
/** For all who hold the end, or its listener if nobody has accepted it. */
void tell(const struct end *end, struct link_descriptor *descriptor);
/** Push what waits. */
void flush(struct process *process);

struct end *end_create(struct tenant *tenant, struct link_socket_name name);
void end_free(struct end *end);
void reset(struct end *end, int error);
void set_send_buffer(struct end *end, uint64_t bytes);
/** Free what the application has read. */
void drop_consumed(struct end *end);
/** Move what can be moved. @return whether there was anything. */
bool run_end(struct end *end);

/* ---- Operations (fake_operations.c) ---- */

/** What a process asks for. */
void apply(unsigned index, const struct link_descriptor *operation);
/** There is nothing left to do: answer who waits for that. @return whether anybody did. */
bool answer_fences(void);
/** The process holds the end no more. */
void let_go(unsigned process, struct end *end, bool abort_wanted);
/** Its process has died: what that had read, as the socket's block says, counts as told.
    @return whether SO_LINGER resets. */
bool note_death(struct end *end);

#endif
