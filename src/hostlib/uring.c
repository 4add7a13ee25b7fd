/* Rings: making them, posting into them, their end. */
#include "hostlib/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/assert.h"
#include "hostlib/interpose.h"
#include "hostlib/uring_ring.h"
#include "hostlib/user_memory.h"

#define HELPER_ENTRIES 128

struct lock uring_event_lock;
struct lock uring_list_lock;
struct uring *uring_list;

/* ---- Mapping ------------------------------------------------------------------------------- */

static _Atomic uint32_t *word(const struct uring_queue *queue, uint32_t offset)
{
    return (_Atomic uint32_t *)(void *)(queue->rings + offset);
}

static uint8_t *map(int fd, size_t bytes, uint64_t offset)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
    return memory == MAP_FAILED ? NULL : memory;
}

static void queue_close(struct uring_queue *queue)
{
    if (queue->rings_bytes != 0)
        (void)munmap(queue->rings, queue->rings_bytes);
    if (queue->sqes_bytes != 0)
        (void)munmap(queue->sqes, queue->sqes_bytes);
    fd_close_internal(queue->fd);
    queue->fd = -1;
}

static int map_memory(struct uring_queue *queue, const struct io_uring_params *params)
{
    size_t array = params->sq_off.array + params->sq_entries * sizeof(uint32_t);
    size_t cqes = params->cq_off.cqes + ((size_t)params->cq_entries << queue->cqe_shift);
    size_t bytes = array > cqes ? array : cqes;
    queue->rings = map(queue->fd, bytes, IORING_OFF_SQ_RING);
    if (queue->rings == NULL)
        return -errno;
    queue->rings_bytes = bytes;
    bytes = (size_t)params->sq_entries << queue->sqe_shift;
    queue->sqes = map(queue->fd, bytes, IORING_OFF_SQES);
    if (queue->sqes == NULL)
        return -errno;
    queue->sqes_bytes = bytes;
    return 0;
}

/* The addresses are those of the program's own memory (IORING_SETUP_NO_MMAP). Kernels of before 5.4
   have two mappings of the rings; those lack what we need anyway. */
static int queue_map(struct uring_queue *queue, const struct io_uring_params *params,
                     uint64_t rings_address, uint64_t sqes_address)
{
    queue->sqe_shift = params->flags & IORING_SETUP_SQE128 ? 7 : 6;
    queue->cqe_shift = params->flags & IORING_SETUP_CQE32 ? 5 : 4;
    queue->rings = (uint8_t *)(uintptr_t)rings_address;
    queue->sqes = (uint8_t *)(uintptr_t)sqes_address;
    int error = params->flags & IORING_SETUP_NO_MMAP ? 0 : map_memory(queue, params);
    if (error < 0)
        return error;
    queue->sq_entries = params->sq_entries;
    queue->cq_entries = params->cq_entries;
    queue->sq_head = word(queue, params->sq_off.head);
    queue->sq_tail = word(queue, params->sq_off.tail);
    queue->sq_flags = word(queue, params->sq_off.flags);
    queue->cq_head = word(queue, params->cq_off.head);
    queue->cq_tail = word(queue, params->cq_off.tail);
    queue->cqes = queue->rings + params->cq_off.cqes;
    queue->sq_array = (uint32_t *)(void *)(queue->rings + params->sq_off.array);
    return 0;
}

static int helper_open(struct uring_queue *helper)
{
    struct io_uring_params params = {0};
    int fd = (int)syscall(SYS_io_uring_setup, HELPER_ENTRIES, &params);
    if (fd < 0)
        return -errno;
    helper->fd = fd_make_internal(fd);
    if (helper->fd < 0)
        return helper->fd;
    return queue_map(helper, &params, 0, 0);
}

/* ---- The helper ring ----------------------------------------------------------------------- */

void uring_helper_flush(struct uring *ring)
{
    int saved_errno = errno;
    while (ring->helper_queued > 0) {
        long taken =
            syscall(SYS_io_uring_enter, ring->helper.fd, ring->helper_queued, 0, 0, NULL, 0);
        if (taken < 0 && errno != EINTR && errno != EAGAIN && errno != EBUSY)
            break;
        ring->helper_queued -= taken > 0 ? (uint32_t)taken : 0;
    }
    errno = saved_errno;
}

struct io_uring_sqe *uring_helper_entry(struct uring *ring)
{
    struct uring_queue *helper = &ring->helper;
    if (ring->helper_queued == helper->sq_entries)
        uring_helper_flush(ring);
    uint32_t tail = atomic_load_explicit(helper->sq_tail, memory_order_relaxed);
    uint32_t index = tail & (helper->sq_entries - 1);
    struct io_uring_sqe *entry = (struct io_uring_sqe *)(void *)helper->sqes + index;
    memset(entry, 0, sizeof(*entry));
    helper->sq_array[index] = index;
    atomic_store_explicit(helper->sq_tail, tail + 1, memory_order_release);
    ring->helper_queued++;
    return entry;
}

void uring_post(struct uring *ring, uint64_t user_data, int32_t result, uint32_t flags)
{
    struct io_uring_sqe *entry = uring_helper_entry(ring);
    entry->opcode = IORING_OP_MSG_RING;
    entry->flags = IOSQE_CQE_SKIP_SUCCESS;
    entry->fd = ring->program.fd;
    entry->len = (uint32_t)result;
    entry->off = user_data;
    if (flags != 0) {
        entry->msg_ring_flags = URING_MSG_FLAGS_PASS;
        entry->file_index = flags;
    }
}

uint32_t uring_ready_count(const struct uring *ring)
{
    return atomic_load_explicit(ring->program.cq_tail, memory_order_acquire) -
           atomic_load_explicit(ring->program.cq_head, memory_order_relaxed);
}

/* ---- Making -------------------------------------------------------------------------------- */

/* What the kernel is asked for in place of what the program wants. Its ring is submitted to by
   several threads (ours too), nobody may take entries before us, and we reorder them. */
static uint32_t kernel_flags(uint32_t flags)
{
    if (flags & IORING_SETUP_SQPOLL)
        flags &= ~(uint32_t)(IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF);
    if (flags & IORING_SETUP_DEFER_TASKRUN)
        flags = (flags & ~(uint32_t)IORING_SETUP_DEFER_TASKRUN) | IORING_SETUP_COOP_TASKRUN;
    return flags & ~(uint32_t)(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_NO_SQARRAY);
}

/* What the kernel refuses, and would not as we ask it. Source: Linux io_uring_sanitise_params(). */
static bool are_refused(const struct io_uring_params *params)
{
    uint32_t flags = params->flags;
    if ((flags & IORING_SETUP_SQ_AFF) && params->sq_thread_cpu >= (uint32_t)get_nprocs_conf())
        return true;
    bool deferred = (flags & IORING_SETUP_DEFER_TASKRUN) != 0;
    bool issuer = (flags & IORING_SETUP_SINGLE_ISSUER) != 0;
    bool polled = (flags & IORING_SETUP_SQPOLL) != 0;
    uint32_t task = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    return (deferred && !issuer) || (polled && (deferred || (flags & task) != 0));
}

static bool is_beyond_us(uint32_t flags)
{
    return (flags & (IORING_SETUP_IOPOLL | IORING_SETUP_REGISTERED_FD_ONLY | URING_SETUP_CQE_MIXED |
                     URING_SETUP_SQE_MIXED | URING_SETUP_SQ_REWIND)) != 0;
}

static int ring_begin(struct uring *ring, int fd, const struct io_uring_params *params,
                      uint64_t rings_address, uint64_t sqes_address)
{
    int copy = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0)
        return -errno;
    ring->program.fd = fd_make_internal(copy);
    if (ring->program.fd < 0)
        return ring->program.fd;
    int error = queue_map(&ring->program, params, rings_address, sqes_address);
    if (error == 0)
        error = helper_open(&ring->helper);
    if (error == 0)
        ring->scratch = calloc((size_t)params->sq_entries * 2, sizeof(uint32_t));
    return error == 0 && ring->scratch == NULL ? -ENOMEM : error;
}

static void ring_free(struct uring *ring)
{
    queue_close(&ring->helper);
    queue_close(&ring->program);
    fd_close_internal(ring->edge_fd);
    free(ring->scratch);
    ring->scratch = NULL;
}

static struct uring *ring_create(uint32_t flags)
{
    struct uring *ring = calloc(1, sizeof(*ring));
    if (ring == NULL)
        return NULL;
    ring->file.kind = FILE_URING;
    ring->file.references = 1;
    ring->program.fd = ring->helper.fd = ring->edge_fd = -1;
    ring->ops_end = &ring->ops;
    ring->ready_end = &ring->ready_first;
    ring->retry_ns = TIME_NEVER;
    ring->flags = flags;
    if (flags & IORING_SETUP_SINGLE_ISSUER)
        ring->submitter = flags & IORING_SETUP_R_DISABLED ? 0 : lock_self();
    return ring;
}

static void list_ring(struct uring *ring)
{
    lock_acquire(&uring_list_lock);
    ring->next = uring_list;
    ring->link = &uring_list;
    if (ring->next != NULL)
        ring->next->link = &ring->next;
    uring_list = ring;
    lock_release(&uring_list_lock);
}

/* The kernel's descriptor becomes one that we know. There is no thread of the kernel's that polls:
   the program is always to call, as if it had gone to sleep. */
static void adopt(int fd, struct uring *ring)
{
    list_ring(ring);
    if (ring->flags & IORING_SETUP_SQPOLL)
        atomic_fetch_or(ring->program.sq_flags, IORING_SQ_NEED_WAKEUP);
    if (!fd_set_file(fd, &ring->file))
        file_put(&ring->file);
}

bool uring_kernel_suffices(void)
{
    static _Atomic int answer = -1;
    int known = atomic_load_explicit(&answer, memory_order_relaxed);
    if (known < 0) {
        struct utsname name;
        unsigned major = 0, minor = 0;
        known = uname(&name) == 0 && sscanf(name.release, "%u.%u", &major, &minor) == 2 &&
                (major > 6 || (major == 6 && minor >= 3));
        atomic_store_explicit(&answer, known, memory_order_relaxed);
    }
    return known != 0;
}

long uring_setup(uint32_t entries, struct io_uring_params *params)
{
    struct io_uring_params asked;
    if (!uring_kernel_suffices())
        return -ENOSYS; /* run-times do without, then */
    if (user_memory_unwritable(params, sizeof(*params)) ||
        user_memory_copy_in(&asked, params, sizeof(asked)) < 0)
        return -EFAULT;
    if (are_refused(&asked) || is_beyond_us(asked.flags)) {
        long result = syscall(SYS_io_uring_setup, entries, params);
        return result < 0 ? -errno : result;
    }
    struct io_uring_params given = asked;
    given.flags = kernel_flags(asked.flags);
    int fd = (int)syscall(SYS_io_uring_setup, entries, &given);
    if (fd < 0)
        return -errno;
    fd_set_file(fd, NULL); /* whatever was known of the number is gone */
    struct uring *ring = ring_create(asked.flags);
    int error = ring == NULL ? -ENOMEM
                             : ring_begin(ring, fd, &given, asked.cq_off.resv2, asked.sq_off.resv2);
    if (error < 0) {
        if (ring != NULL)
            ring_free(ring);
        free(ring);
        syscall(SYS_close, fd);
        return error;
    }
    given.flags = asked.flags;
    if (asked.flags & IORING_SETUP_NO_SQARRAY) {
        uint32_t *array = ring->program.sq_array;
        PNO_ASSERT(array != NULL); /* kernel_flags() has asked for one */
        given.sq_off.array = 0;
        for (uint32_t i = 0; i < given.sq_entries; i++)
            array[i] = i; /* as if there were none */
    }
    *params = given;
    adopt(fd, ring);
    return fd;
}

/* ---- Ending -------------------------------------------------------------------------------- */

void uring_destroy(struct uring *ring)
{
    lock_acquire(&uring_list_lock);
    *ring->link = ring->next;
    if (ring->next != NULL)
        ring->next->link = ring->link;
    lock_release(&uring_list_lock);
    uring_worker_look_again();
    uring_ops_drop(ring);
    uring_slots_resize(ring, 0);
    uring_groups_free(ring);
    ring_free(ring);
    /* As with epoll sets, the object itself stays: fd_get_shared() may look at it once more. */
}

struct lock *uring_fork_lock(void)
{
    return &uring_event_lock;
}

static void forget_in_child(struct uring *ring)
{
    lock_reset(&ring->lock);
    for (struct uring_op *op = ring->ops; op != NULL; op = op->next) {
        if (op->file == NULL)
            continue;
        if (op->file->kind == FILE_SOCKET)
            ((struct socket *)op->file)->uring_ops = NULL;
        file_put(op->file);
    }
    ring->ops = NULL;
    fd_close_internal(ring->helper.fd);
    fd_close_internal(ring->program.fd);
    fd_close_internal(ring->edge_fd);
}

void uring_fork_child(void)
{
    lock_reset(&uring_list_lock);
    uint32_t high = uring_list == NULL ? 0 : atomic_load(&fd_table_high);
    for (uint32_t fd = 0; fd < high; fd++) {
        struct file *file = fd_peek((int)fd);
        if (file != NULL && file->kind == FILE_URING)
            atomic_store_explicit(&fd_table[fd], NULL, memory_order_relaxed);
    }
    for (struct uring *ring = uring_list; ring != NULL; ring = ring->next)
        forget_in_child(ring);
    uring_list = NULL;
    uring_own_rings_fork_child();
    uring_worker_fork_child();
}
