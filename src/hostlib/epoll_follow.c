/* Epoll sets that several processes have after a fork: each follows what the others did. */
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
    uint32_t high = atomic_load_explicit(&fd_table_high, memory_order_relaxed);
    if (link == NULL || process_may_not_allocate)
        return;
    for (uint32_t fd = 0; fd < high; fd++) {
        struct file *file = fd_peek((int)fd);
        if (file == NULL || file->kind != FILE_EPOLL || (file = fd_get((int)fd)) == NULL)
            continue;
        if (file->kind == FILE_EPOLL) {
            lock_acquire(&epoll_lock);
            share((struct epoll_set *)file, link);
            lock_release(&epoll_lock);
        }
        file_put(file);
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
