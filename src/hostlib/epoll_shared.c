#include "hostlib/epoll_shared.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hostlib/engine_link.h"
#include "hostlib/fd_table.h"
#include "hostlib/joined_links.h"
#include "hostlib/lock.h"
#include "hostlib/socket.h"
#include "hostlib/socket_extra.h"
#include "hostlink/region.h"

/* Changes that are remembered one by one; who is further behind looks at all entries. */
#define CHANGES 256

/* So that nobody who has the memory can take it from under the others. */
#define MEMORY_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* In the memory that all map. Guarded by the lock, but for what is atomic. */
struct table {
    struct lock lock;
    _Atomic uint32_t sleepers; /**< one too many for each that was killed asleep */
    _Atomic uint64_t version;  /**< changes so far */
    uint32_t changes[CHANGES]; /**< slots, by number of the change */
    struct epoll_shared_entry entries[];
};

struct epoll_shared {
    struct engine_link *link; /**< NULL: none of its sockets has come to this process yet */
    uint8_t tenant_token[16]; /**< the link's */
    uint32_t slots;
    struct table *table;
    size_t bytes;
    int memory_fd;         /**< the table's; -1: it has none, and can't be sent */
    int bell_fd;           /**< an eventfd, the same in all; never read */
    int ear_fd;            /**< this process's set with the bell in it, edge-triggered; -1: none */
    _Atomic uint64_t seen; /**< up to this version */
    /* Too far behind: all slots are looked at, and then this version has been seen. */
    bool catches_up;
    uint32_t catch_up_slot;
    uint64_t catch_up_version;
};

static int make_ear(int bell_fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    int fd = (int)syscall(SYS_epoll_create1, EPOLL_CLOEXEC);
    if (fd < 0 || (fd = fd_make_internal(fd)) < 0)
        return -1;
    (void)syscall(SYS_epoll_ctl, fd, EPOLL_CTL_ADD, bell_fd, &event);
    return fd;
}

static size_t table_bytes(uint32_t slots)
{
    return sizeof(struct table) + slots * sizeof(struct epoll_shared_entry);
}

/* @return -1: none, such as where files may not be so large. */
static int make_memory(size_t bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) < 0 || limit.rlim_cur < bytes) /* else it raises SIGXFSZ */
        return -1;
    int fd = link_region_create("pno-epoll", bytes);
    if (fd >= 0)
        fd = fd_make_internal(fd);
    return fd < 0 ? -1 : fd;
}

/* Over descriptors which are its own from here on, also if it fails. */
static struct epoll_shared *begin(const uint8_t *tenant_token, uint32_t slots, int memory_fd,
                                  int bell_fd)
{
    struct epoll_shared *shared = calloc(1, sizeof(*shared));
    size_t bytes = table_bytes(slots);
    int origin = memory_fd < 0 ? MAP_ANONYMOUS : 0;
    void *table = MAP_FAILED;
    if (shared != NULL && bell_fd >= 0)
        table = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | origin,
                     memory_fd, 0);
    if (table == MAP_FAILED) {
        fd_close_internal(memory_fd);
        fd_close_internal(bell_fd);
        free(shared);
        return NULL;
    }
    *shared = (struct epoll_shared){.slots = slots,
                                    .table = table,
                                    .bytes = bytes,
                                    .memory_fd = memory_fd,
                                    .bell_fd = bell_fd,
                                    .ear_fd = make_ear(bell_fd)};
    memcpy(shared->tenant_token, tenant_token, sizeof(shared->tenant_token));
    return shared;
}

struct epoll_shared *epoll_shared_make(struct engine_link *link)
{
    int bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (bell_fd >= 0)
        bell_fd = fd_make_internal(bell_fd);
    struct epoll_shared *shared = begin(link->hello.tenant_token, link->hello.slots,
                                        make_memory(table_bytes(link->hello.slots)), bell_fd);
    if (shared != NULL)
        shared->link = link;
    return shared;
}

/* Whether the link is its tenant's. */
static bool is_of(const struct epoll_shared *shared, const struct engine_link *link)
{
    return memcmp(shared->tenant_token, link->hello.tenant_token, sizeof(shared->tenant_token)) ==
           0;
}

static int copy_internal(int fd)
{
    int copy = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
    return copy < 0 ? -1 : fd_make_internal(copy);
}

struct epoll_shared *epoll_shared_join(const struct epoll_shared_parts *parts)
{
    struct stat status;
    long seals = syscall(SYS_fcntl, parts->memory_fd, F_GET_SEALS);
    if (seals < 0 || (seals & MEMORY_SEALS) != MEMORY_SEALS ||
        fstat(parts->memory_fd, &status) < 0 || (size_t)status.st_size <= table_bytes(0) ||
        (size_t)status.st_size > table_bytes(UINT32_MAX))
        return NULL;
    size_t slots = ((size_t)status.st_size - table_bytes(0)) / sizeof(struct epoll_shared_entry);
    int memory_fd = copy_internal(parts->memory_fd);
    if (memory_fd < 0)
        return NULL;
    struct epoll_shared *shared =
        begin(parts->tenant_token, (uint32_t)slots, memory_fd, copy_internal(parts->bell_fd));
    struct engine_link *link = engine_link_current();
    if (shared != NULL)
        shared->link =
            link != NULL && is_of(shared, link) ? link : joined_links_find(shared->tenant_token);
    return shared;
}

struct epoll_shared_parts epoll_shared_parts_of(const struct epoll_shared *shared)
{
    return (struct epoll_shared_parts){.tenant_token = shared->tenant_token,
                                       .memory_fd = shared->memory_fd,
                                       .bell_fd = shared->bell_fd};
}

void epoll_shared_fork_child(struct epoll_shared *shared)
{
    fd_close_internal(shared->ear_fd);
    shared->ear_fd = make_ear(shared->bell_fd);
}

void epoll_shared_leave(struct epoll_shared *shared)
{
    if (shared == NULL)
        return;
    munmap(shared->table, shared->bytes);
    fd_close_internal(shared->memory_fd);
    fd_close_internal(shared->bell_fd);
    fd_close_internal(shared->ear_fd);
    free(shared);
}

bool epoll_shared_takes(struct epoll_shared *shared, const struct socket *socket)
{
    struct engine_link *link = socket->link;
    if (link == NULL || socket->block == NULL || socket->name.slot >= shared->slots)
        return false;
    if (shared->link == NULL && is_of(shared, link))
        shared->link = link;
    return shared->link == link;
}

/* ---- Changes; the table is locked ----------------------------------------------------------- */

static void note_change(struct epoll_shared *shared, uint32_t slot)
{
    struct table *table = shared->table;
    uint64_t version = atomic_load_explicit(&table->version, memory_order_relaxed);
    table->changes[version % CHANGES] = slot;
    if (shared->seen == version)
        shared->seen = version + 1; /* our own */
    atomic_store(&table->version, version + 1);
}

/* After the table is unlocked. Who goes to sleep is counted first, then looks at the version. */
static void ring(struct epoll_shared *shared)
{
    uint64_t one = 1;
    int saved_errno = errno;
    if (atomic_load(&shared->table->sleepers) != 0)
        (void)!syscall(SYS_write, shared->bell_fd, &one, sizeof(one));
    errno = saved_errno;
}

bool epoll_shared_put(struct epoll_shared *shared, const struct socket *socket, int fd,
                      const struct epoll_event *event)
{
    struct table *table = shared->table;
    struct epoll_shared_entry *entry = &table->entries[socket->name.slot];
    lock_acquire_shared(&table->lock);
    bool is_ours = entry->incarnation != socket->name.incarnation || entry->fd == fd;
    if (is_ours) {
        *entry = (struct epoll_shared_entry){.incarnation = socket->name.incarnation,
                                             .fd = fd,
                                             .events = event->events,
                                             .data = event->data};
        note_change(shared, socket->name.slot);
    }
    lock_release_shared(&table->lock);
    if (is_ours)
        ring(shared);
    return is_ours;
}

void epoll_shared_remove(struct epoll_shared *shared, const struct socket *socket, int fd)
{
    struct table *table = shared->table;
    struct epoll_shared_entry *entry = &table->entries[socket->name.slot];
    lock_acquire_shared(&table->lock);
    if (entry->incarnation == socket->name.incarnation && entry->fd == fd) {
        entry->incarnation = 0;
        note_change(shared, socket->name.slot);
    }
    lock_release_shared(&table->lock);
}

struct epoll_shared_entry *epoll_shared_hold(struct epoll_shared *shared,
                                             const struct socket *socket, int fd)
{
    struct epoll_shared_entry *entry = &shared->table->entries[socket->name.slot];
    lock_acquire_shared(&shared->table->lock);
    return entry->incarnation == socket->name.incarnation && entry->fd == fd ? entry : NULL;
}

void epoll_shared_release(struct epoll_shared *shared)
{
    lock_release_shared(&shared->table->lock);
}

/* ---- Edges ---------------------------------------------------------------------------------- */

struct epoll_progress epoll_progress_of(const struct socket *socket)
{
    struct epoll_progress progress = {0};
    if (socket->state == SOCKET_LISTENING) {
        progress.connections = __atomic_load_n(&socket_bound_of(socket)->arrived, __ATOMIC_RELAXED);
        return progress;
    }
    progress.received = __atomic_load_n(&socket->receive.end_offset, __ATOMIC_RELAXED) +
                        (uint64_t)__atomic_load_n(&socket->peer_fin, __ATOMIC_RELAXED);
    if (socket->block != NULL)
        progress.space_wanted = atomic_load(&socket->block->space_wanted);
    return progress;
}

/* Where it can't be known, it is news: an edge told twice does less harm than one not told. */
bool epoll_shared_is_news(const struct epoll_shared_entry *entry,
                          const struct epoll_progress *progress, uint32_t mask)
{
    /* What comes again without a byte more: messages in the error queue, urgent data. */
    const uint32_t uncounted = EPOLLERR | EPOLLPRI;
    return (mask & (~entry->told_events | uncounted)) != 0 ||
           progress->received > entry->told.received ||
           ((mask & (EPOLLOUT | EPOLLWRNORM)) != 0 &&
            progress->space_wanted != entry->told.space_wanted) ||
           progress->connections != entry->told.connections;
}

void epoll_shared_tell(struct epoll_shared_entry *entry, const struct epoll_progress *progress,
                       uint32_t mask)
{
    entry->told_events = mask;
    entry->told = *progress;
}

/* ---- Following ------------------------------------------------------------------------------ */

static uint32_t slots_used(const struct epoll_shared *shared)
{
    return shared->link == NULL
               ? 0
               : atomic_load_explicit(&shared->link->slots_high, memory_order_relaxed);
}

/* This process's socket in the slot, with a reference. Not one that another process accepts. */
static struct socket *socket_in(struct epoll_shared *shared, uint32_t slot)
{
    struct socket *socket =
        slot < slots_used(shared)
            ? atomic_load_explicit(&shared->link->slots[slot], memory_order_acquire)
            : NULL;
    if (socket == NULL || atomic_load(&socket->queued) || socket->detached ||
        !file_hold_living(&socket->file))
        return NULL;
    return socket;
}

static uint32_t next_slot(struct epoll_shared *shared, uint64_t version)
{
    if (!shared->catches_up && version - shared->seen <= CHANGES)
        return shared->table->changes[shared->seen++ % CHANGES];
    if (!shared->catches_up) {
        shared->catches_up = true;
        shared->catch_up_slot = 0;
        shared->catch_up_version = version;
    }
    uint32_t slot = shared->catch_up_slot++;
    if (slot + 1 >= slots_used(shared)) {
        shared->catches_up = false;
        shared->seen = shared->catch_up_version;
    }
    return slot;
}

bool epoll_shared_next_change(struct epoll_shared *shared, struct socket **socket,
                              struct epoll_shared_entry *entry)
{
    struct table *table = shared->table;
    lock_acquire_shared(&table->lock);
    uint64_t version = atomic_load_explicit(&table->version, memory_order_relaxed);
    bool changed = version != shared->seen;
    if (changed) {
        uint32_t slot = next_slot(shared, version);
        if (slot >= shared->slots)
            slot = 0; /* another program's memory says so */
        *entry = table->entries[slot];
        *socket = socket_in(shared, slot);
        if (*socket != NULL && entry->incarnation != (*socket)->name.incarnation)
            entry->incarnation = 0;
    }
    lock_release_shared(&table->lock);
    return changed;
}

bool epoll_shared_look_up(struct epoll_shared *shared, const struct socket *socket,
                          struct epoll_shared_entry *entry)
{
    lock_acquire_shared(&shared->table->lock);
    *entry = shared->table->entries[socket->name.slot];
    lock_release_shared(&shared->table->lock);
    return entry->incarnation == socket->name.incarnation;
}

bool epoll_shared_has_changed(const struct epoll_shared *shared)
{
    return atomic_load(&shared->table->version) != shared->seen;
}

void epoll_shared_begin_sleep(struct epoll_shared *shared)
{
    atomic_fetch_add(&shared->table->sleepers, 1);
}

void epoll_shared_end_sleep(struct epoll_shared *shared)
{
    atomic_fetch_sub(&shared->table->sleepers, 1);
}

int epoll_shared_bell(const struct epoll_shared *shared)
{
    return shared->ear_fd;
}

void epoll_shared_silence(struct epoll_shared *shared)
{
    struct epoll_event event;
    int saved_errno = errno;
    (void)syscall(SYS_epoll_wait, shared->ear_fd, &event, 1, 0);
    errno = saved_errno;
}
