/* Provided buffers. The kernel takes from a group until the library has to for the first time: then
   the group is the library's, and every operation that selects from it is done here. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "hostlib/interpose.h"
#include "hostlib/uring_ring.h"

#define POINTER(value) ((void *)(uintptr_t)(value))

/* Source: Linux io_uring/kbuf.c, MAX_BIDS_PER_BGID, and what io_add_buffers() fills a list up to.
 */
#define BUFFERS_MAX (1u << 16)
#define LIST_MAX    ((uint32_t)UINT16_MAX)

static struct uring_group *find(const struct uring *ring, uint16_t id)
{
    struct uring_group *group = ring->groups;
    while (group != NULL && group->id != id)
        group = group->next;
    return group;
}

static struct uring_group *create(struct uring *ring, uint16_t id)
{
    struct uring_group *group = calloc(1, sizeof(*group));
    if (group == NULL)
        return NULL;
    group->id = id;
    group->next = ring->groups;
    ring->groups = group;
    return group;
}

static void group_free(struct uring_group *group)
{
    if (group->mapped)
        (void)munmap(group->ring, group->entries * sizeof(struct io_uring_buf));
    free(group->list);
    free(group);
}

bool uring_group_is_ours(const struct uring *ring, uint16_t id)
{
    const struct uring_group *group = find(ring, id);
    return group != NULL && group->ours;
}

void uring_group_note_kernel(struct uring *ring, uint16_t id)
{
    struct uring_group *group = find(ring, id);
    if (group != NULL)
        group->kernel_used = true;
}

/* ---- Rings in the program's memory ---------------------------------------------------------- */

void uring_group_registered(struct uring *ring, const struct io_uring_buf_reg *registration)
{
    struct uring_group *group = create(ring, registration->bgid);
    if (group == NULL)
        return;
    group->entries = registration->ring_entries;
    group->incremental = (registration->pad & URING_PBUF_INC) != 0;
    group->ring = POINTER(registration->ring_addr);
    group->min_left = (uint32_t)registration->resv[0]; /* since 7.0 */
    if ((registration->pad & URING_PBUF_MMAP) == 0)
        return;
    uint64_t offset = URING_OFF_PBUF_RING | ((uint64_t)group->id << URING_OFF_PBUF_SHIFT);
    void *memory = mmap(NULL, group->entries * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE,
                        MAP_SHARED, ring->program.fd, (off_t)offset);
    group->mapped = memory != MAP_FAILED;
    group->ring = group->mapped ? memory : NULL;
}

bool uring_group_unregistered(struct uring *ring, uint16_t id)
{
    struct uring_group **place = &ring->groups;
    while (*place != NULL && (*place)->id != id)
        place = &(*place)->next;
    struct uring_group *group = *place;
    if (group == NULL || group->is_list)
        return false;
    bool ours = group->ours;
    *place = group->next;
    group_free(group);
    return ours;
}

bool uring_group_head(const struct uring *ring, uint16_t id, uint32_t *head)
{
    const struct uring_group *group = find(ring, id);
    if (group == NULL || !group->ours || group->is_list)
        return false;
    *head = (uint16_t)group->head;
    return true;
}

/* From the kernel's hands into ours. */
static void take_ring(struct uring *ring, struct uring_group *group)
{
    struct uring_buf_status status = {.buf_group = group->id};
    struct io_uring_buf_reg registration = {.bgid = group->id};
    if (syscall(SYS_io_uring_register, ring->program.fd, URING_REGISTER_PBUF_STATUS, &status, 1) ==
        0)
        group->head = status.head;
    (void)syscall(SYS_io_uring_register, ring->program.fd, IORING_UNREGISTER_PBUF_RING,
                  &registration, 1);
    group->ours = true;
}

/* ---- Lists: IORING_OP_PROVIDE_BUFFERS -------------------------------------------------------- */

/* Source: Linux io_uring/kbuf.c, io_provide_buffers_prep(). @return 0; negative errno. */
static int judge_provided(const struct io_uring_sqe *sqe)
{
    uint32_t count = (uint32_t)sqe->fd;
    uint64_t bytes = (uint64_t)sqe->len * count, end;
    if (count == 0 || count > BUFFERS_MAX)
        return -E2BIG;
    if (sqe->len == 0)
        return -EINVAL;
    if (__builtin_add_overflow(sqe->addr, bytes, &end))
        return -EOVERFLOW;
    if (end > INT64_MAX)
        return -EFAULT;
    if (sqe->off > UINT16_MAX)
        return -E2BIG;
    return sqe->off + count > BUFFERS_MAX ? -EINVAL : 0;
}

int uring_buffers_provide(struct uring *ring, const struct io_uring_sqe *sqe)
{
    uint32_t count = (uint32_t)sqe->fd, first = (uint32_t)sqe->off;
    struct uring_group *group = find(ring, sqe->buf_group);
    int error = judge_provided(sqe);
    if (error < 0)
        return error;
    if (group == NULL)
        group = create(ring, sqe->buf_group);
    if (group == NULL)
        return -ENOMEM;
    if (group->ring != NULL)
        return -EINVAL;
    if (group->entries == LIST_MAX)
        return -EOVERFLOW;
    if (count > LIST_MAX - group->entries)
        count = LIST_MAX - group->entries;
    if (group->entries + count > group->capacity) {
        uint32_t capacity = 2 * (group->entries + count);
        struct io_uring_buf *list = realloc(group->list, capacity * sizeof(*list));
        if (list == NULL)
            return -ENOMEM;
        group->list = list;
        group->capacity = capacity;
    }
    group->is_list = group->ours = true;
    for (uint32_t i = 0; i < count; i++)
        group->list[group->entries++] =
            (struct io_uring_buf){.addr = sqe->addr + (uint64_t)i * sqe->len,
                                  .len = sqe->len,
                                  .bid = (uint16_t)(first + i)};
    return 0;
}

static void drop_first(struct uring_group *group, uint32_t count)
{
    group->entries -= count;
    memmove(group->list, group->list + count, group->entries * sizeof(*group->list));
}

int uring_buffers_remove(struct uring *ring, const struct io_uring_sqe *sqe)
{
    struct uring_group *group = find(ring, sqe->buf_group);
    uint32_t count = (uint32_t)sqe->fd;
    if (sqe->fd <= 0 || count > BUFFERS_MAX)
        return -EINVAL;
    if (group == NULL)
        return -ENOENT;
    if (!group->is_list)
        return -EINVAL;
    if (count > group->entries)
        count = group->entries;
    drop_first(group, count);
    return (int)count;
}

void uring_groups_free(struct uring *ring)
{
    while (ring->groups != NULL) {
        struct uring_group *group = ring->groups;
        ring->groups = group->next;
        group_free(group);
    }
}

/* ---- Choosing and using ---------------------------------------------------------------------- */

static uint32_t available(const struct uring_group *group)
{
    if (group->is_list)
        return group->entries;
    if (group->ring == NULL)
        return 0;
    uint16_t tail = __atomic_load_n(&group->ring->tail, __ATOMIC_ACQUIRE);
    return (uint16_t)(tail - (uint16_t)group->head);
}

static struct io_uring_buf *nth(const struct uring_group *group, uint32_t n)
{
    if (group->is_list)
        return &group->list[n];
    /* The first entry's last field is the ring's tail. */
    struct io_uring_buf *buffers = (struct io_uring_buf *)(void *)group->ring;
    return &buffers[(group->head + n) & (group->entries - 1)];
}

int uring_buffers_pick(struct uring *ring, uint16_t id, size_t bytes, uint32_t most,
                       struct uring_picked *picked)
{
    struct uring_group *group = find(ring, id);
    picked->count = 0;
    picked->group = group;
    if (group == NULL)
        return -ENOBUFS;
    if (!group->ours)
        take_ring(ring, group);
    uint32_t there = available(group);
    if (there == 0)
        return -ENOBUFS;
    if (group->is_list)
        most = 1; /* Linux gives bundles from rings only */
    size_t room = 0;
    while (picked->count < there && picked->count < most && (room < bytes || bytes == 0)) {
        const struct io_uring_buf *buffer = nth(group, picked->count);
        size_t length = buffer->len;
        if (bytes != 0 && length > bytes - room)
            length = bytes - room;
        picked->vector[picked->count++] = (struct iovec){POINTER(buffer->addr), length};
        room += length;
    }
    picked->first_id = nth(group, 0)->bid;
    return 0;
}

/* Source: Linux io_uring/kbuf.c, io_kbuf_inc_commit(). @return whether the last stays in part. */
static bool use_in_part(struct uring_group *group, size_t bytes)
{
    while (bytes > 0 && available(group) > 0) {
        struct io_uring_buf *buffer = nth(group, 0);
        if (bytes < buffer->len) {
            buffer->addr += bytes;
            buffer->len -= (uint32_t)bytes;
            if (buffer->len >= group->min_left)
                return true;
            group->head++;
            return false;
        }
        bytes -= buffer->len;
        buffer->len = 0;
        group->head++;
    }
    return false;
}

uint32_t uring_buffers_use(struct uring_picked *picked, size_t bytes)
{
    struct uring_group *group = picked->group;
    uint32_t flags = IORING_CQE_F_BUFFER | ((uint32_t)picked->first_id << URING_CQE_BUFFER_SHIFT);
    if (group->incremental)
        return flags | (use_in_part(group, bytes) ? URING_CQE_F_BUF_MORE : 0);
    uint32_t used = 0;
    do {
        size_t length = picked->vector[used++].iov_len;
        bytes -= bytes < length ? bytes : length;
    } while (bytes > 0 && used < picked->count);
    if (group->is_list)
        drop_first(group, used);
    else
        group->head += used;
    return flags;
}
