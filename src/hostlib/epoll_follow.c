/* Epoll sets that several processes have, after a fork or since they were sent: each follows what
   the others did. */
#include <sys/stat.h>

#include "hostlib/engine_link.h"
#include "hostlib/epoll_set.h"
#include "hostlib/process.h"
#include "hostlib/socket.h"

static bool can_be_shared(const struct epoll_item *item)
{
    return item->set->shared != NULL && item->file->kind == FILE_SOCKET &&
           epoll_shared_takes(item->set->shared, (struct socket *)item->file);
}

void epoll_item_publish(struct epoll_item *item)
{
    if (!can_be_shared(item))
        return;
    const struct epoll_event event = {.events = item->events, .data = item->data};
    item->shared =
        epoll_shared_put(item->set->shared, (struct socket *)item->file, item->fd, &event);
}

void epoll_item_withdraw(struct epoll_item *item)
{
    if (item->shared)
        epoll_shared_remove(item->set->shared, (struct socket *)item->file, item->fd);
}

/* What the item reports, by its entry, which comes locked or NULL. */
static uint32_t poll_shared(struct epoll_item *item, const struct epoll_shared_entry *entry,
                            const struct epoll_progress *progress,
                            uint32_t (*poll)(struct epoll_item *item))
{
    bool kernel_said = item->kernel_said; /* to this process alone */
    if (entry == NULL)
        return 0;
    item->events = entry->events;
    item->data = entry->data;
    uint32_t mask = poll(item);
    bool is_old = (entry->events & EPOLLET) != 0 && !kernel_said &&
                  !epoll_shared_is_news(entry, progress, mask);
    return is_old ? 0 : mask;
}

/* Whether what it reports is told to all processes: it is as long as it is there. */
static bool is_level(const struct epoll_item *item)
{
    return (item->events & (EPOLLET | EPOLLONESHOT)) == 0;
}

uint32_t epoll_item_claim(struct epoll_item *item, uint32_t (*poll)(struct epoll_item *item))
{
    const struct socket *socket = (const struct socket *)item->file;
    if (is_level(item))
        return poll(item);
    struct epoll_shared *shared = item->set->shared;
    struct epoll_progress progress = epoll_progress_of(socket);
    struct epoll_shared_entry *entry = epoll_shared_hold(shared, socket, item->fd);
    uint32_t mask = poll_shared(item, entry, &progress, poll);
    if (mask != 0) {
        epoll_shared_tell(entry, &progress, mask);
        if ((entry->events & EPOLLONESHOT) != 0)
            entry->events &= EPOLL_MODE_BITS;
    }
    epoll_shared_release(shared);
    return mask;
}

uint32_t epoll_item_peek(struct epoll_item *item, uint32_t (*poll)(struct epoll_item *item))
{
    const struct socket *socket = (const struct socket *)item->file;
    if (is_level(item))
        return poll(item);
    struct epoll_shared *shared = item->set->shared;
    struct epoll_progress progress = epoll_progress_of(socket);
    uint32_t mask = poll_shared(item, epoll_shared_hold(shared, socket, item->fd), &progress, poll);
    epoll_shared_release(shared);
    return mask;
}

/* ---- Following ------------------------------------------------------------------------------ */

static void add_followed(struct epoll_set *set, struct socket *socket,
                         const struct epoll_shared_entry *entry)
{
    const struct epoll_event event = {.events = entry->events, .data = entry->data};
    if ((uint32_t)entry->fd < set->by_fd_count && set->by_fd[entry->fd] != NULL)
        return; /* the number means another socket here */
    struct epoll_item *item = epoll_item_new(set, entry->fd, &socket->file, &event);
    if (item == NULL)
        return;
    item->shared = true;
    item->events = entry->events;
    item->in_kernel = epoll_belongs_in_both(item->file); /* the kernel's set is one for all */
    epoll_item_set_merged(item, item->in_kernel);
    epoll_item_look(item);
}

static void follow_change(struct epoll_set *set, struct socket *socket,
                          const struct epoll_shared_entry *entry)
{
    struct epoll_item *item = epoll_item_find(set, entry->fd, &socket->file);
    if (item == NULL) {
        if (entry->incarnation != 0)
            add_followed(set, socket, entry);
    } else if (entry->incarnation == 0) {
        if (item->shared)
            epoll_item_free(item);
    } else {
        item->shared = true;
        item->events = entry->events;
        item->data = entry->data;
        epoll_item_look(item);
    }
}

void epoll_follow(struct epoll_set *set)
{
    struct epoll_shared_entry entry;
    struct socket *socket;
    struct epoll_shared *shared = set->shared;
    while (shared != NULL && epoll_shared_has_changed(shared)) {
        socket = NULL;
        lock_acquire(&epoll_lock);
        if (epoll_shared_next_change(shared, &socket, &entry) && socket != NULL)
            follow_change(set, socket, &entry);
        lock_release(&epoll_lock);
        if (socket != NULL)
            file_put(&socket->file); /* may be the last: needs the lock */
    }
}

/* The first set from descriptor *fd on, with a reference; *fd is its descriptor. NULL: no more. */
static struct epoll_set *next_set(uint32_t *fd)
{
    uint32_t high = atomic_load_explicit(&fd_table_high, memory_order_relaxed);
    for (; *fd < high; ++*fd) {
        const struct file *file = fd_peek((int)*fd);
        struct epoll_set *set =
            file != NULL && file->kind == FILE_EPOLL ? epoll_get((int)*fd) : NULL;
        if (set != NULL)
            return set;
    }
    return NULL;
}

void epoll_socket_came(struct socket *socket)
{
    struct epoll_shared_entry entry;
    struct epoll_set *set;
    for (uint32_t fd = 0; (set = next_set(&fd)) != NULL; fd++) {
        lock_acquire(&epoll_lock);
        if (set->shared != NULL && epoll_shared_takes(set->shared, socket) &&
            epoll_shared_look_up(set->shared, socket, &entry)) {
            follow_change(set, socket, &entry);
            epoll_kick_native_waiters(set);
        }
        lock_release(&epoll_lock);
        file_put(&set->file);
    }
}

/* ---- A fork --------------------------------------------------------------------------------- */

/* Threads that wait already begin to listen for the bell. epoll_lock held. */
static bool begin_sharing(struct epoll_set *set, struct engine_link *link)
{
    set->shared = epoll_shared_make(link);
    wait_queue_wake(&set->waiters, false);
    wait_queue_wake(&set->pollers, false);
    return set->shared != NULL;
}

/* epoll_lock held. */
static void share(struct epoll_set *set, struct engine_link *link)
{
    for (uint32_t fd = 0; fd < set->by_fd_count; fd++) {
        struct epoll_item *item = set->by_fd[fd];
        if (item == NULL || item->shared || item->file->kind != FILE_SOCKET ||
            ((struct socket *)item->file)->link != link)
            continue;
        if (set->shared == NULL && !begin_sharing(set, link))
            return; /* each process has its own entries then */
        epoll_item_publish(item);
    }
}

void epoll_share_sets(void)
{
    struct engine_link *link = engine_link_current();
    struct epoll_set *set;
    if (link == NULL || process_may_not_allocate)
        return;
    for (uint32_t fd = 0; (set = next_set(&fd)) != NULL; fd++) {
        lock_acquire(&epoll_lock);
        share(set, link);
        lock_release(&epoll_lock);
        file_put(&set->file);
    }
}

void epoll_fork_child(void)
{
    uint32_t high = atomic_load_explicit(&fd_table_high, memory_order_relaxed);
    for (uint32_t fd = 0; fd < high && !process_may_not_allocate; fd++) {
        struct file *file = fd_peek((int)fd);
        struct epoll_set *set = (struct epoll_set *)file;
        if (file != NULL && file->kind == FILE_EPOLL && set->shared != NULL)
            epoll_shared_fork_child(set->shared);
    }
}

/* ---- A set that is sent ---------------------------------------------------------------------- */

/* What an edge-triggered entry has told counts as told for who gets the set. No event is applied
   meanwhile. epoll_lock held. */
static void note_told(struct epoll_set *set)
{
    for (uint32_t fd = 0; fd < set->by_fd_count; fd++) {
        struct epoll_item *item = set->by_fd[fd];
        if (item == NULL || !item->shared || item->ready_link != NULL ||
            (item->events & EPOLLET) == 0)
            continue;
        const struct socket *socket = (const struct socket *)item->file;
        struct epoll_progress progress = epoll_progress_of(socket);
        uint32_t mask = atomic_load_explicit(&socket->readiness, memory_order_relaxed);
        struct epoll_shared_entry *entry = epoll_shared_hold(set->shared, socket, item->fd);
        if (entry != NULL)
            epoll_shared_tell(entry, &progress, mask & item->events & ~EPOLL_MODE_BITS);
        epoll_shared_release(set->shared);
    }
}

struct epoll_shared_parts epoll_share_out(struct epoll_set *set, struct engine_link *link)
{
    struct epoll_shared_parts parts = {.memory_fd = -1, .bell_fd = -1};
    lock_acquire(&link->consume_lock);
    lock_acquire(&epoll_lock);
    bool begins = set->shared == NULL;
    if (!begins || begin_sharing(set, link)) {
        share(set, link);
        if (begins)
            note_told(set);
        parts = epoll_shared_parts_of(set->shared);
    }
    lock_release(&epoll_lock);
    lock_release(&link->consume_lock);
    return parts;
}

struct epoll_set *epoll_find_shared(int memory_fd)
{
    struct stat wanted, status;
    struct epoll_set *set;
    if (fstat(memory_fd, &wanted) < 0)
        return NULL;
    for (uint32_t fd = 0; (set = next_set(&fd)) != NULL; fd++) {
        struct epoll_shared *shared = set->shared;
        int own_fd = shared != NULL ? epoll_shared_parts_of(shared).memory_fd : -1;
        if (own_fd >= 0 && fstat(own_fd, &status) == 0 && status.st_ino == wanted.st_ino &&
            status.st_dev == wanted.st_dev)
            return set;
        file_put(&set->file);
    }
    return NULL;
}

struct epoll_set *epoll_adopt_shared(int fd, const struct epoll_shared_parts *parts)
{
    struct epoll_set *set = epoll_adopt(fd);
    if (set == NULL)
        return NULL;
    set->shared = epoll_shared_join(parts);
    if (set->shared != NULL)
        return set;
    epoll_destroy(set);
    return NULL;
}
