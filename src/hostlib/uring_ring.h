/**
 * @file uring_ring.h
 * What the parts of our io_uring share: the ring, its operations, its buffers. See uring.h.
 *
 * Locks: a ring's lock guards the ring and its operations, and is held while operations are tried
 * (which never sleep). uring_event_lock, a leaf, guards the lists that a socket's events touch.
 */
#ifndef PNO_HOSTLIB_URING_RING_H
#define PNO_HOSTLIB_URING_RING_H

#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "hostlib/fd_table.h"
#include "hostlib/lock.h"
#include "hostlib/uring_abi.h"
#include "hostlib/waiter.h"

/** What a completion of the helper ring is about: the operation, or'ed with one of these. Of what
    is never to complete with success (messages): 0. */
#define URING_TAG_POLL    1u
#define URING_TAG_KERNEL  2u
#define URING_TAG_TIMEOUT 3u
#define URING_TAG_INSTALL 4u
#define URING_TAG_MASK    7u

/** Not an operation's result: it waits. */
#define URING_PENDING INT_MIN

/** A kernel ring as mapped by the library. */
struct uring_queue {
    int fd; /**< ours; -1: none */
    uint8_t *rings;
    uint8_t *sqes;
    size_t rings_bytes, sqes_bytes; /**< 0: the program's own memory */
    _Atomic uint32_t *sq_head, *sq_tail, *sq_flags, *cq_head, *cq_tail;
    uint32_t *sq_array; /**< NULL: entries are taken in order */
    uint8_t *cqes;
    uint32_t sq_entries, cq_entries;
    uint8_t sqe_shift, cqe_shift;
};

/** A slot of the ring's registered files that holds one of ours. */
struct uring_slot {
    struct file *file; /**< with a reference; NULL: the kernel's alone */
    int fd;            /**< a descriptor of ours for it, -1: none needed */
};

struct uring_op {
    struct uring_op *next, **link; /**< all of the ring, oldest first */
    struct uring_op *chain;        /**< to be started when this one is done */
    struct uring_op *timeout;      /**< the IORING_OP_LINK_TIMEOUT on it */
    struct uring_op *timed;        /**< of such a timeout: what it is on */
    struct uring *ring;
    struct file *file; /**< what it is about, with a reference; NULL: the kernel's */
    int fd;            /**< descriptor for the kernel's part in it */
    struct io_uring_sqe sqe;
    uint32_t wanted;   /**< EPOLL* bits that it waits for */
    uint32_t helpers;  /**< its requests at the helper ring */
    size_t done_bytes; /**< MSG_WAITALL: so far */
    bool started;      /**< CONNECT: under way at the engine */
    bool polls_kernel; /**< the helper ring watches fd */
    bool is_kernels;   /**< in a chain with ours: the helper ring has it */
    bool finished;     /**< completed; goes when the helper ring is done with it */
    bool cancelled;    /**< completes when it is next tried */
    bool drains;       /**< IOSQE_IO_DRAIN */
    /* Guarded by uring_event_lock: */
    struct uring_op *socket_next, **socket_link; /**< of its socket; link NULL: not on it */
    struct uring_op *ready_next;
    bool ready; /**< on the ring's ready list */
};

/** A group of provided buffers. */
struct uring_group {
    struct uring_group *next;
    uint16_t id;
    bool ours;         /**< else the kernel takes from it */
    bool kernel_used;  /**< the kernel may have taken some */
    bool is_list;      /**< IORING_OP_PROVIDE_BUFFERS, else a ring in the program's memory */
    bool incremental;  /**< IOU_PBUF_RING_INC */
    bool mapped;       /**< by us (IOU_PBUF_RING_MMAP) */
    uint32_t entries;  /**< ring: a power of two; list: how many are there */
    uint32_t capacity; /**< list */
    uint32_t min_left; /**< incremental: less than that is no use any more */
    uint32_t head;     /**< ring */
    struct io_uring_buf_ring *ring;
    struct io_uring_buf *list;
};

struct uring {
    struct file file; /**< first */
    struct lock lock;
    struct uring *next, **link; /**< all rings; uring_list_lock */
    struct uring_queue program; /**< its fd is our duplicate */
    struct uring_queue helper;
    uint32_t helper_queued;     /**< entries not yet submitted */
    uint32_t helper_pending;    /**< requests that its completion queue will tell of */
    bool helper_has_slot;       /**< of a registered file */
    int installed_slot;         /**< what the last URING_TAG_INSTALL gave */
    uint32_t flags;             /**< IORING_SETUP_* as the program gave them */
    uint32_t lag;               /**< entries of the program's that the kernel never saw */
    uint32_t *scratch;          /**< 2 x sq_entries */
    _Atomic uint32_t submitter; /**< IORING_SETUP_SINGLE_ISSUER: the thread; 0: not yet known */
    struct uring_slot *slots;
    uint32_t slot_count;
    struct uring_group *groups;
    struct uring_op *ops, **ops_end;
    struct uring_op *graveyard; /**< to be freed, and their references given back, unlocked */
    _Atomic uint32_t pending;   /**< operations in ops */
    uint32_t draining;          /**< operations that wait for others (IOSQE_IO_DRAIN) */
    uint64_t retry_ns;          /**< try senders again then (the pool was empty); TIME_NEVER */
    int edge_fd;                /**< epoll set that tells of each new completion; -1 */
    struct uring_op *ready_first, **ready_end; /**< uring_event_lock */
    struct wait_queue waiters;       /**< threads in io_uring_enter(), which carry operations on */
    _Atomic uint32_t native_waiters; /**< threads that wait in the kernel alone */
    _Atomic uint32_t entered;        /**< counts io_uring_enter() */
    uint32_t entered_seen;           /**< the worker's */
    _Atomic bool polled;             /**< the program waits elsewhere: the worker's to carry on */
};

extern struct lock uring_event_lock;
extern struct lock uring_list_lock;
extern struct uring *uring_list;

/* ---- Rings (uring.c) ---- */

/** The completions that the program has not taken yet. */
uint32_t uring_ready_count(const struct uring *ring);

/** A zeroed entry of the helper ring's queue. The ring's lock is held for all of these. */
struct io_uring_sqe *uring_helper_entry(struct uring *ring);
void uring_helper_flush(struct uring *ring);
/** Take what the helper ring has completed. */
void uring_helper_drain(struct uring *ring);

/** Put a completion into the program's queue; flags: IORING_CQE_F_*. */
void uring_post(struct uring *ring, uint64_t user_data, int32_t result, uint32_t flags);

/** Whether a thread of the program's waits in io_uring_enter(), here. */
static inline bool uring_is_attended(const struct uring *ring)
{
    return atomic_load(&ring->waiters.head) != NULL;
}

/* ---- Registration (uring_register.c) ---- */

/** The ring behind a descriptor, or behind a number that the thread has registered for it; with a
    reference. NULL: not one of ours. */
struct uring *uring_get(uint32_t fd, bool registered);
void uring_own_rings_fork_child(void);
/** The ring has another table of registered files, empty so far. */
void uring_slots_resize(struct uring *ring, uint32_t count);

/** Make descriptor fd known (or, with -1, forgotten) in a slot of the registered files. */
void uring_slot_set(struct uring *ring, uint32_t slot, int fd);

/** Give the slot a descriptor: the kernel's table, too. Of a free slot (IORING_FILE_INDEX_ALLOC)
   the number. @return the slot; negative errno. fd stays the caller's. */
int uring_slot_install(struct uring *ring, uint32_t slot, int fd);

/* ---- Submission (uring_submit.c) ---- */

/** Take up to `count` submissions. Ring locked. @return how many, or negative errno. */
int uring_submit(struct uring *ring, uint32_t count);

/** Whether it is about something that the library serves, or has to know of. */
bool uring_is_ours(struct uring *ring, const struct io_uring_sqe *sqe);

/** Whether there is one of ours among the next `count`. */
bool uring_has_ours(struct uring *ring, uint32_t count);

/* ---- Operations (uring_op.c) ---- */

struct uring_op *uring_op_create(struct uring *ring, const struct io_uring_sqe *sqe);
void uring_op_start(struct uring_op *op);
void uring_op_complete(struct uring_op *op, int32_t result, uint32_t flags);
/** Have it tried again, after others. */
void uring_op_again(struct uring_op *op);
/** Ask the kernel, by the helper ring, to tell when op->fd is ready. events: POLL*. */
void uring_op_poll_kernel(struct uring_op *op, uint32_t events);
/** Carry on all operations that can be. Locks the ring. */
void uring_process(struct uring *ring);
/** Whether uring_process() has something to do. */
bool uring_has_work(struct uring *ring);
/** Free what is in the graveyard. Ring not locked. */
void uring_bury(struct uring *ring);
/** IORING_OP_ASYNC_CANCEL and IORING_OP_POLL_REMOVE among ours.
    @return how many were cancelled; negative errno: -ENOENT none. */
int uring_cancel(struct uring *ring, const struct io_uring_sqe *sqe);
/** Whether either has one of ours to cancel or change. */
bool uring_cancel_is_ours(struct uring *ring, const struct io_uring_sqe *sqe);
int uring_poll_update(struct uring *ring, const struct io_uring_sqe *sqe);
/** The ring goes: drop all. */
void uring_ops_drop(struct uring *ring);

/* ---- What each does (uring_net.c, uring_files.c) ---- */

/** Try it. @return the result, with *flags; or URING_PENDING, with op->wanted set. */
int uring_op_run(struct uring_op *op, uint32_t *flags);
/** Those about descriptors, which never wait. */
int uring_run_files(struct uring_op *op);
/** Whether fields are set that the operation has no use for. */
bool uring_sqe_is_wrong(const struct io_uring_sqe *sqe);
/** Whether a result fails the chain. */
bool uring_op_failed(const struct uring_op *op, int32_t result);

/* ---- Provided buffers (uring_buffers.c) ---- */

#define URING_BUNDLE_MAX 256

struct uring_picked {
    struct uring_group *group;
    struct iovec vector[URING_BUNDLE_MAX];
    uint32_t count;
    uint16_t first_id;
};

/** Whether the library takes buffers of this group, for whatever descriptor. */
bool uring_group_is_ours(const struct uring *ring, uint16_t id);
/** The kernel is about to. */
void uring_group_note_kernel(struct uring *ring, uint16_t id);
/** Choose up to `most` buffers for `bytes` bytes (0: as many as one has).
    @return 0; -ENOBUFS; -EFAULT. */
int uring_buffers_pick(struct uring *ring, uint16_t id, size_t bytes, uint32_t most,
                       struct uring_picked *picked);
/** `bytes` of them were used. @return the completion's flags. */
uint32_t uring_buffers_use(struct uring_picked *picked, size_t bytes);
int uring_buffers_provide(struct uring *ring, const struct io_uring_sqe *sqe);
int uring_buffers_remove(struct uring *ring, const struct io_uring_sqe *sqe);
void uring_group_registered(struct uring *ring, const struct io_uring_buf_reg *registration);
/** IORING_REGISTER_PBUF_STATUS of a group of ours. @return false: it is the kernel's. */
bool uring_group_head(const struct uring *ring, uint16_t id, uint32_t *head);
/** @return whether the group was ours: the kernel has none of that number. */
bool uring_group_unregistered(struct uring *ring, uint16_t id);
void uring_groups_free(struct uring *ring);

/* ---- The worker (uring_worker.c) ---- */

/** There are operations of this ring that nobody carries on. */
void uring_worker_notice(struct uring *ring);
/** An operation of the ring can be carried on. Any locks. */
void uring_worker_wake(void);
/** What it watches has changed. */
void uring_worker_look_again(void);
void uring_worker_fork_child(void);

#endif
