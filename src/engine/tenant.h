/**
 * @file tenant.h
 * A tenant: an application and the processes it forked, with the memory they share with us.
 *
 * struct tenant, process and channel belong to the control thread, which makes and destroys them;
 * their *_core parts belong to one engine core each and are touched by that core alone.
 */
#ifndef PNO_ENGINE_TENANT_H
#define PNO_ENGINE_TENANT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "engine/object_pool.h"
#include "engine/tx_buffer.h"
#include "hostlink/abi.h"
#include "hostlink/chunk_pool.h"
#include "hostlink/dma.h"
#include "hostlink/region.h"
#include "hostlink/ring.h"

struct engine;
struct engine_core;
struct engine_socket;
struct socket_holder;

#define TENANT_HOST_SLOTS        131072 /**< sockets a tenant can bind, listen on or connect */
#define TENANT_PROCESSES_MAX     2048   /**< with its tickets */
#define TENANT_RING_SLOTS        512
#define TENANT_SEND_BUFFER_BYTES 87040 /**< outstanding before the first SENT; as Linux */
#define CHANNEL_REPLIES_MAX      16    /**< answers waiting for room; then operations wait */
#define CHANNEL_OPERATIONS_BURST 64    /**< operations taken from a channel per round */
#define TENANT_GARBAGE_MAX       65536 /**< invalid descriptors after which a tenant is cut off */

/**
 * What a slot holds on one core, in a word: the address of its socket, which is even; or, odd, what
 * is known of a free one: bits 32..63 its last socket's incarnation, bits 1..31 where it is on the
 * free list of slots that the engine allocates, the next one's number plus one, 0 = end. Zero:
 * never used here.
 */
struct slot_entry {
    uint64_t word;
};

/** One core's part of a tenant. */
struct tenant_core {
    struct tenant *tenant;
    struct engine_core *core;
    LIST_ENTRY(tenant_core) link;
    LIST_HEAD(, process_core) processes;
    LIST_HEAD(, socket_setup) setups; /**< sockets that are more than a connection */
    struct slot_entry *slots;         /**< all of the tenant's, touched as used */
    uint32_t slot_first, slot_end;    /**< the accepted connections' slots that are this core's */
    uint32_t slot_unused;             /**< never used so far: [slot_unused, slot_end) */
    uint32_t slot_free;               /**< free list: slot + 1; 0 = empty */
    struct chunk_pool receive_pool;
    uint64_t receive_reserve_bytes; /**< payload is refused when less than this is free */
    struct tx_memory tx_memory;
    /** So that a tenant cannot use up what is for all. */
    struct object_share sockets_share, holders, rx_chunks;
    uint32_t listener_count, listener_limit;
    uint64_t listeners_refused;
    uint64_t garbage_descriptors;
    uint32_t armed_for; /**< enum link_armed as set in the arena; 0 = awake */
    bool attached;
};

struct tenant {
    struct engine *engine;
    uint32_t id;  /**< 1, 2, … */
    uint32_t uid; /**< of its first process */
    uint8_t token[16];
    struct link_layout layout;
    int arena_fd, window_fd;
    struct dma_arena arena;
    uint8_t *window;
    int doorbells[LINK_CORES_MAX];
    uint32_t slots;
    struct tenant_core cores[LINK_CORES_MAX];
    bool may_bind_low_ports; /**< below 1024; else EACCES, as Linux has it */
    uint8_t channels_in_use[LINK_TENANT_CHANNELS_MAX];
    LIST_HEAD(, process) processes;
    uint32_t process_count;
    _Atomic uint32_t sockets_live; /**< over all cores, written by them */
    _Atomic bool hopeless;         /**< a core asks the control thread to cut the tenant off */
    LIST_ENTRY(tenant) link;
};

/** One core's part of a process. */
struct process_core {
    struct process *process;
    LIST_ENTRY(process_core) link;
    LIST_HEAD(, socket_holder) holders;
    struct channel_core *channel; /**< where events go that no channel has asked for */
    struct channel_core *channels[LINK_CHANNELS_MAX + 1]; /**< by number; [0] is NULL */
};

struct process {
    struct tenant *tenant;
    uint32_t id; /**< unique in the engine's life */
    pid_t pid;
    uid_t uid; /**< as it joined */
    char program[LINK_PROGRAM_MAX];
    bool is_ticket; /**< holds a socket that is on its way between processes; has no channel */
    int control_fd;
    struct process_core cores[LINK_CORES_MAX];
    LIST_HEAD(, channel) channels;
    unsigned channel_count;
    LIST_ENTRY(process) link;
};

/** One core's part of a channel: a ring each way. */
struct channel_core {
    struct channel *channel;
    struct process_core *process;
    struct tenant_core *tenant;
    struct link_consumer to_engine;
    struct link_producer to_host;
    TAILQ_ENTRY(channel_core) link; /**< engine_core.channels */
    TAILQ_ENTRY(channel_core) told_link;
    TAILQ_ENTRY(channel_core) lazy_link;
    TAILQ_ENTRY(channel_core) fenced_link;
    TAILQ_HEAD(, socket_holder) pending; /**< have something to tell, in order */
    TAILQ_HEAD(, socket_holder) lazy;    /**< have something to tell that can wait */
    uint64_t lazy_since_ns;
    struct link_descriptor replies[CHANNEL_REPLIES_MAX];
    unsigned reply_first, reply_count;
    uint32_t fences[CHANNEL_REPLIES_MAX]; /**< requests; their answers' room is theirs already */
    unsigned fence_count;
    uint32_t before_fence; /**< operations in the ring that another process's fence is for */
    unsigned step_rounds;  /**< for so many at most the ring waits for LINK_FLAG_STEP; 0: not */
    bool is_told, is_lazy; /**< in these lists */
    bool pushed;           /**< since the doorbell was last considered */
};

struct channel {
    struct process *process;
    uint32_t block; /**< its place in the tenant's layout */
    uint8_t number; /**< among its process's, from 1 on */
    int doorbell_fd;
    struct channel_core cores[LINK_CORES_MAX];
    LIST_ENTRY(channel) link;
};

/** By which its process knows it; 0 of NULL. */
static inline uint8_t channel_number(const struct channel_core *channel)
{
    return channel != NULL ? channel->channel->number : 0;
}

/* ---- Control thread ------------------------------------------------------------------------ */

/** @return 0 or a negative errno. */
int tenant_create(struct engine *engine, uint32_t id, struct tenant **tenant);

/** Detach from all cores and free; only without processes and sockets. */
void tenant_destroy(struct tenant *tenant);

/**
 * Add a process. With a parent, it gets references on all the sockets that the parent holds.
 * @return 0 or a negative errno.
 */
int process_create(struct tenant *tenant, struct process *parent, uint32_t id, pid_t pid,
                   const char *program, struct process **process);

/**
 * Make `ticket`, a process without holds, hold the socket of this name as `sender` does, with what
 * a listener has announced and nobody has taken. @return 0; -ENOENT: the sender holds no such.
 */
int process_pass(struct process *sender, struct process *ticket, struct link_socket_name name);

/** The process also holds, and is told of, what the ticket holds. */
void process_share(struct process *ticket, struct process *process);

/** The process is gone: its sockets are let go of as Linux would, its channels freed. */
void process_destroy(struct process *process);

/** Make a channel: rings and a doorbell. @param reply filled in. @return 0 or a negative errno. */
int channel_create(struct process *process, struct channel **channel,
                   struct link_channel_reply *reply);

/* ---- A core -------------------------------------------------------------------------------- */

/** The socket of this name, or NULL. */
struct engine_socket *tenant_find_socket(const struct tenant_core *tenant,
                                         struct link_socket_name name);

/** What a slot holds; NULL: it is free here. */
static inline struct engine_socket *slot_socket(const struct slot_entry *entry)
{
    return (entry->word & 1) == 0 ? (struct engine_socket *)(uintptr_t)entry->word : NULL;
}

/** Of a free slot: the incarnation of its last socket, 0: it had none. */
static inline uint32_t slot_last_incarnation(const struct slot_entry *entry)
{
    return (uint32_t)(entry->word >> 32);
}

/** The slot, free so far, is this socket's. */
static inline void tenant_use_slot(struct tenant_core *tenant, uint32_t slot,
                                   struct engine_socket *socket)
{
    tenant->slots[slot].word = (uintptr_t)socket;
}

/** An unused slot for an accepted connection. @return false: all are in use. */
bool tenant_take_slot(struct tenant_core *tenant, struct link_socket_name *name);

/** Give a slot back; for engine-allocated ones into the free list. */
void tenant_free_slot(struct tenant_core *tenant, uint32_t slot);

/** Count an invalid descriptor; past TENANT_GARBAGE_MAX the tenant is cut off. */
void tenant_count_garbage(struct tenant_core *tenant);

#endif
