/* io_uring_register(): registered files and rings, and what else the library has to know of. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

#include "hostlib/interpose.h"
#include "hostlib/uring.h"
#include "hostlib/uring_ring.h"
#include "hostlib/user_memory.h"

static long call_kernel(uint32_t fd, uint32_t opcode, const void *argument, uint32_t count)
{
    long result = syscall(SYS_io_uring_register, fd, opcode, argument, count);
    return result < 0 ? -errno : result;
}

/* ---- Registered files ---------------------------------------------------------------------- */

void uring_slot_set(struct uring *ring, uint32_t slot, int fd)
{
    if (slot >= ring->slot_count)
        return;
    struct uring_slot *place = &ring->slots[slot];
    struct uring_slot before = *place;
    struct file *file = fd >= 0 ? fd_get(fd) : NULL;
    if (file != NULL && file->kind != FILE_SOCKET && file->kind != FILE_EPOLL) {
        file_put(file);
        file = NULL;
    }
    *place = (struct uring_slot){.file = file, .fd = -1};
    bool needs_kernel =
        file != NULL && !(file->kind == FILE_SOCKET && ((struct socket *)file)->is_accepted);
    if (needs_kernel) {
        int copy = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
        place->fd = copy < 0 ? -1 : fd_make_internal(copy);
    }
    if (before.file != NULL) {
        fd_close_internal(before.fd);
        file_put(before.file);
    }
}

static int update_file(const struct uring_queue *queue, uint32_t slot, int fd)
{
    struct io_uring_files_update update = {.offset = slot, .fds = (uintptr_t)&fd};
    long result = call_kernel((uint32_t)queue->fd, IORING_REGISTER_FILES_UPDATE, &update, 1);
    return result < 0 ? (int)result : 0;
}

/* The kernel chooses the slot: only a message from another ring that carries the file makes it. */
static int install_anywhere(struct uring *ring, int fd)
{
    if (!ring->helper_has_slot) {
        struct io_uring_rsrc_register one = {.nr = 1, .flags = IORING_RSRC_REGISTER_SPARSE};
        long result =
            call_kernel((uint32_t)ring->helper.fd, IORING_REGISTER_FILES2, &one, sizeof(one));
        if (result < 0)
            return (int)result;
        ring->helper_has_slot = true;
    }
    int error = update_file(&ring->helper, 0, fd);
    if (error < 0)
        return error;
    struct io_uring_sqe *entry = uring_helper_entry(ring);
    entry->opcode = IORING_OP_MSG_RING;
    entry->fd = ring->program.fd;
    entry->addr = IORING_MSG_SEND_FD;
    entry->file_index = IORING_FILE_INDEX_ALLOC;
    entry->msg_ring_flags = IORING_MSG_RING_CQE_SKIP;
    entry->user_data = URING_TAG_INSTALL;
    ring->helper_pending++;
    ring->installed_slot = -EAGAIN;
    uring_helper_flush(ring);
    uring_helper_drain(ring);
    (void)update_file(&ring->helper, 0, -1);
    return ring->installed_slot;
}

int uring_slot_install(struct uring *ring, uint32_t slot, int fd)
{
    int result = (int)slot;
    if (slot == IORING_FILE_INDEX_ALLOC)
        result = install_anywhere(ring, fd);
    else if (ring->slot_count == 0)
        result = -ENXIO;
    else if (slot >= ring->slot_count)
        result = -EINVAL;
    else if (update_file(&ring->program, slot, fd) < 0)
        result = -EBADF;
    if (result >= 0)
        uring_slot_set(ring, (uint32_t)result, fd);
    return result;
}

void uring_slots_resize(struct uring *ring, uint32_t count)
{
    for (uint32_t slot = 0; slot < ring->slot_count; slot++)
        uring_slot_set(ring, slot, -1);
    free(ring->slots);
    ring->slots = count > 0 ? calloc(count, sizeof(*ring->slots)) : NULL;
    ring->slot_count = ring->slots != NULL ? count : 0;
    for (uint32_t slot = 0; slot < ring->slot_count; slot++)
        ring->slots[slot].fd = -1;
}

static void slots_update(struct uring *ring, uint32_t offset, const int *fds, uint32_t count)
{
    for (uint32_t i = 0; fds != NULL && i < count; i++) {
        if (fds[i] != IORING_REGISTER_FILES_SKIP)
            uring_slot_set(ring, offset + i, fds[i]);
    }
}

static void files_registered(struct uring *ring, uint32_t opcode, const void *argument,
                             uint32_t count)
{
    const struct io_uring_rsrc_register *many = argument;
    const struct io_uring_rsrc_update2 *update = argument;
    switch (opcode) {
    case IORING_REGISTER_FILES:
        uring_slots_resize(ring, count);
        slots_update(ring, 0, argument, count);
        break;
    case IORING_REGISTER_FILES2:
        uring_slots_resize(ring, many->nr);
        if ((many->flags & IORING_RSRC_REGISTER_SPARSE) == 0)
            slots_update(ring, 0, (const int *)(uintptr_t)many->data, many->nr);
        break;
    case IORING_UNREGISTER_FILES:
        uring_slots_resize(ring, 0);
        break;
    case IORING_REGISTER_FILES_UPDATE:
        slots_update(ring, update->offset, (const int *)(uintptr_t)update->data, count);
        break;
    default: /* IORING_REGISTER_FILES_UPDATE2 */
        slots_update(ring, update->offset, (const int *)(uintptr_t)update->data, update->nr);
        break;
    }
}

/* ---- Registered rings: a thread's own numbers for rings ------------------------------------- */

static _Thread_local struct uring *own_rings[URING_RING_FDS_MAX]
    __attribute__((tls_model("initial-exec")));

/* Only for its destructor: a thread that ends gives up its numbers. */
static pthread_key_t end_of_thread;
static pthread_once_t end_of_thread_once = PTHREAD_ONCE_INIT;
static bool end_of_thread_made;

static void own_ring_set(uint32_t index, struct uring *ring)
{
    struct uring *before = own_rings[index];
    own_rings[index] = ring;
    if (before != NULL)
        file_put(&before->file);
}

static void forget_own_rings(void *unused)
{
    (void)unused;
    for (uint32_t i = 0; i < URING_RING_FDS_MAX; i++)
        own_ring_set(i, NULL);
}

static void make_key(void)
{
    end_of_thread_made = pthread_key_create(&end_of_thread, forget_own_rings) == 0;
}

void uring_own_rings_fork_child(void)
{
    memset((void *)own_rings, 0, sizeof(own_rings));
}

struct uring *uring_get(uint32_t fd, bool registered)
{
    struct file *file = NULL;
    if (registered) {
        file = fd < URING_RING_FDS_MAX && own_rings[fd] != NULL ? &own_rings[fd]->file : NULL;
        if (file != NULL)
            file_hold(file);
    } else {
        file = fd_get((int)fd);
    }
    if (file == NULL || file->kind == FILE_URING)
        return (struct uring *)file;
    file_put(file);
    return NULL;
}

static void ring_fds_registered(const struct io_uring_rsrc_update *updates, long count)
{
    (void)pthread_once(&end_of_thread_once, make_key);
    if (end_of_thread_made)
        (void)pthread_setspecific(end_of_thread, own_rings);
    for (long i = 0; i < count; i++) {
        struct uring *ring = uring_get((uint32_t)updates[i].data, false);
        if (updates[i].offset < URING_RING_FDS_MAX)
            own_ring_set(updates[i].offset, ring);
    }
}

static void ring_fds_unregistered(const struct io_uring_rsrc_update *updates, long count)
{
    for (long i = 0; i < count; i++) {
        if (updates[i].offset < URING_RING_FDS_MAX)
            own_ring_set(updates[i].offset, NULL);
    }
}

/* ---- The call ------------------------------------------------------------------------------ */

/* @return whether that was all that was to be cancelled. */
static bool sync_cancel(struct uring *ring, const struct io_uring_sync_cancel_reg *argument)
{
    struct io_uring_sqe like = {
        .opcode = IORING_OP_ASYNC_CANCEL,
        .fd = argument->fd,
        .addr = argument->addr,
        .cancel_flags = argument->flags,
    };
    lock_acquire(&ring->lock);
    int ours = uring_cancel(ring, &like);
    lock_release(&ring->lock);
    uring_process(ring);
    return ours > 0 && (argument->flags & IORING_ASYNC_CANCEL_ALL) == 0;
}

static void registered(struct uring *ring, uint32_t opcode, const void *argument, uint32_t count)
{
    lock_acquire(&ring->lock);
    switch (opcode) {
    case IORING_REGISTER_FILES:
    case IORING_REGISTER_FILES2:
    case IORING_UNREGISTER_FILES:
    case IORING_REGISTER_FILES_UPDATE:
    case IORING_REGISTER_FILES_UPDATE2:
        files_registered(ring, opcode, argument, count);
        break;
    case IORING_REGISTER_PBUF_RING:
        uring_group_registered(ring, argument);
        break;
    case IORING_REGISTER_EVENTFD:
    case IORING_REGISTER_EVENTFD_ASYNC:
        atomic_store(&ring->polled, true);
        break;
    case IORING_REGISTER_ENABLE_RINGS:
        if ((ring->flags & IORING_SETUP_SINGLE_ISSUER) && ring->submitter == 0)
            ring->submitter = lock_self();
        break;
    default:
        break;
    }
    lock_release(&ring->lock);
}

/* What the kernel is not asked at all. @return 1: it is. */
static long register_ours(struct uring *ring, uint32_t opcode, void *argument)
{
    if (opcode == URING_REGISTER_RESIZE_RINGS)
        return -EINVAL; /* the kernel's rings would move from under our mappings */
    if (opcode == IORING_UNREGISTER_PBUF_RING &&
        !user_memory_unreadable(argument, sizeof(struct io_uring_buf_reg))) {
        const struct io_uring_buf_reg *group = argument;
        lock_acquire(&ring->lock);
        bool was_ours = uring_group_unregistered(ring, group->bgid);
        lock_release(&ring->lock);
        return was_ours ? 0 : 1;
    }
    if (opcode == URING_REGISTER_PBUF_STATUS &&
        !user_memory_unwritable(argument, sizeof(struct uring_buf_status))) {
        struct uring_buf_status *status = argument;
        lock_acquire(&ring->lock);
        bool ours = uring_group_head(ring, (uint16_t)status->buf_group, &status->head);
        lock_release(&ring->lock);
        return ours ? 0 : 1;
    }
    if (opcode == IORING_REGISTER_SYNC_CANCEL &&
        !user_memory_unreadable(argument, sizeof(struct io_uring_sync_cancel_reg)) &&
        sync_cancel(ring, argument))
        return 0;
    return 1;
}

long uring_register(uint32_t fd, uint32_t opcode, void *argument, uint32_t count)
{
    uint32_t plain = opcode & ~URING_USE_REGISTERED;
    struct uring *ring = uring_get(fd, (opcode & URING_USE_REGISTERED) != 0);
    if (ring == NULL)
        return call_kernel(fd, opcode, argument, count);
    long result = register_ours(ring, plain, argument);
    if (result == 1) {
        if (plain == IORING_UNREGISTER_RING_FDS && count <= URING_RING_FDS_MAX &&
            !user_memory_unreadable(argument, count * sizeof(struct io_uring_rsrc_update)))
            ring_fds_unregistered(argument, count);
        result = call_kernel(fd, opcode, argument, count);
        if (result >= 0 && plain == IORING_REGISTER_RING_FDS)
            ring_fds_registered(argument, result);
        else if (result >= 0)
            registered(ring, plain, argument, count);
    }
    file_put(&ring->file);
    return result;
}
