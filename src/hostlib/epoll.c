#include "hostlib/epoll_set.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hostlib/engine_link.h"
#include "hostlib/joined_links.h"
#include "hostlib/policy.h"
#include "hostlib/real.h"
#include "hostlib/rejoin.h"
#include "hostlib/socket.h"
#include "hostlib/user_memory.h"

/* While offloaded sockets keep a thread busy, the kernel's descriptors are looked at so often; by a
   program that speaks to itself, each time, as it may expect events of both kinds together. */
#define KERNEL_LOOK_NS (100 * NS_PER_US)

/* Linux's EP_MAX_EVENTS. */
#define EVENTS_MAX ((int)(INT32_MAX / sizeof(struct epoll_event)))

#define ALWAYS_REPORTED ((uint32_t)(EPOLLERR | EPOLLHUP))
#define EXCLUSIVE_OK                                                                               \
    ((uint32_t)(EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE))

/* An item's data in the kernel's set if merged: this and its descriptor. No pointer or small number
   of the application's. */
#define MERGED_MARK 0xb5297a4d00000000u

struct lock epoll_lock;

/* Marks the kick descriptor's event in the kernel's set. */
static char kick_mark;

struct epoll_set *epoll_adopt(int fd)
{
    struct epoll_set *set = calloc(1, sizeof(*set));
    if (set == NULL)
        return NULL;
    set->file.kind = FILE_EPOLL;
    set->file.references = 1;
    set->fd = fd;
    set->kick_fd = -1;
    set->ready_end = &set->ready_first;
    /* Whatever the kernel's set holds was added elsewhere. */
    set->kernel_count = 1;
    return set;
}

void epoll_note_descriptor(struct epoll_set *set, int fd)
{
    set->fd = fd;
}

bool epoll_register(int fd)
{
    struct epoll_set *set = epoll_adopt(fd);
    if (set == NULL)
        return false;
    set->kernel_count = 0;
    if (!fd_set_file(fd, &set->file)) /* no table, so no offloaded sockets either */
        free(set);
    return true;
}

struct epoll_set *epoll_get(int fd)
{
    struct file *file = fd_get(fd);
    if (file == NULL || file->kind == FILE_EPOLL)
        return (struct epoll_set *)file;
    file_put(file);
    return NULL;
}

/* ---- Items; epoll_lock held ---------------------------------------------------------------- */

static void make_ready(struct epoll_item *item)
{
    struct epoll_set *set = item->set;
    if (item->ready_link != NULL)
        return;
    item->ready_next = NULL;
    item->ready_link = set->ready_end;
    __atomic_store_n(set->ready_end, item, __ATOMIC_RELAXED);
    set->ready_end = &item->ready_next;
}

static void make_unready(struct epoll_item *item)
{
    if (item->ready_link == NULL)
        return;
    __atomic_store_n(item->ready_link, item->ready_next, __ATOMIC_RELAXED);
    if (item->ready_next != NULL)
        item->ready_next->ready_link = item->ready_link;
    else
        item->set->ready_end = item->ready_link;
    item->ready_link = NULL;
}

/* There is something to report: tell who waits for it, also through sets that this one is in. */
static void wake_set(struct epoll_set *set)
{
    wait_queue_wake(&set->waiters, true);
    wait_queue_wake(&set->pollers, false);
    for (struct epoll_item *item = set->items; item != NULL; item = item->next_of_file) {
        if ((item->events & EPOLLIN) == 0)
            continue;
        make_ready(item);
        wake_set(item->set);
    }
}

static bool has_ready(struct epoll_set *set);

/* What the item would report now. */
static uint32_t poll_item(struct epoll_item *item)
{
    struct socket *socket = (struct socket *)item->file;
    uint32_t mask = 0;
    if (item->file->kind == FILE_EPOLL)
        mask = has_ready((struct epoll_set *)item->file) ? EPOLLIN | EPOLLRDNORM : 0;
    else if (socket_has_readiness(socket))
        mask = socket_poll(socket);
    if (item->kernel_said) {
        /* EPOLL* and POLL* bits are the same numbers. */
        struct pollfd kernel = {.fd = item->fd, .events = (short)item->events};
        item->kernel_said = syscall(SYS_poll, &kernel, 1, 0) > 0;
        mask |= (unsigned short)kernel.revents;
    }
    return mask & item->events & ~EPOLL_MODE_BITS;
}

static bool has_ready(struct epoll_set *set)
{
    for (struct epoll_item *item = set->ready_first; item != NULL; item = item->ready_next) {
        if ((item->shared ? epoll_item_peek(item, poll_item) : poll_item(item)) != 0)
            return true;
    }
    return false;
}

struct epoll_item *epoll_item_find(struct epoll_set *set, int fd, const struct file *file)
{
    if ((uint32_t)fd >= set->by_fd_count)
        return NULL;
    struct epoll_item *item = set->by_fd[fd];
    if (item != NULL && item->file == file)
        return item;
    item = set->displaced;
    while (item != NULL && (item->fd != fd || item->file != file))
        item = item->next_displaced;
    return item;
}

void epoll_item_set_merged(struct epoll_item *item, bool merged)
{
    struct epoll_item **link = &item->set->merged;
    if (item->merged == merged)
        return;
    item->merged = merged;
    item->kernel_said = false;
    if (merged) {
        item->next_merged = *link;
        *link = item;
        return;
    }
    while (*link != item)
        link = &(*link)->next_merged;
    *link = item->next_merged;
}

/* Its number means it no more. */
static void leave_number(struct epoll_item *item)
{
    struct epoll_item **link = &item->set->displaced;
    if (item->set->by_fd[item->fd] == item) {
        item->set->by_fd[item->fd] = NULL;
        return;
    }
    while (*link != item)
        link = &(*link)->next_displaced;
    *link = item->next_displaced;
}

void epoll_item_free(struct epoll_item *item)
{
    make_unready(item);
    epoll_item_set_merged(item, false);
    __atomic_store_n(item->link_of_file, item->next_of_file, __ATOMIC_RELAXED);
    if (item->next_of_file != NULL)
        item->next_of_file->link_of_file = item->link_of_file;
    leave_number(item);
    free(item);
}

static struct epoll_item **items_of(struct file *file)
{
    return file->kind == FILE_EPOLL ? &((struct epoll_set *)file)->items
                                    : &((struct socket *)file)->items;
}

/* Source: Linux kernel/sched/wait.c: those that are exclusive come last, in order of age. */
static void link_to_file(struct epoll_item *item)
{
    struct epoll_item **place = items_of(item->file);
    while ((item->events & EPOLLEXCLUSIVE) && *place != NULL)
        place = &(*place)->next_of_file;
    item->next_of_file = *place;
    item->link_of_file = place;
    if (item->next_of_file != NULL)
        item->next_of_file->link_of_file = &item->next_of_file;
    __atomic_store_n(place, item, __ATOMIC_RELAXED);
    /* Its readiness is looked at after this; see tell() in socket.c. */
    atomic_thread_fence(memory_order_seq_cst);
}

struct epoll_item *epoll_item_new(struct epoll_set *set, int fd, struct file *file,
                                  const struct epoll_event *event)
{
    if ((uint32_t)fd >= set->by_fd_count) {
        uint32_t count = set->by_fd_count == 0 ? 64 : set->by_fd_count;
        while (count <= (uint32_t)fd)
            count *= 2;
        struct epoll_item **wider = realloc(set->by_fd, count * sizeof(struct epoll_item *));
        if (wider == NULL)
            return NULL;
        memset(wider + set->by_fd_count, 0,
               (count - set->by_fd_count) * sizeof(struct epoll_item *));
        set->by_fd = wider;
        set->by_fd_count = count;
    }
    struct epoll_item *item = calloc(1, sizeof(*item));
    if (item == NULL)
        return NULL;
    item->set = set;
    item->file = file;
    item->fd = fd;
    item->events = event->events | ALWAYS_REPORTED;
    item->data = event->data;
    link_to_file(item);
    struct epoll_item *before = set->by_fd[fd];
    if (before != NULL) { /* of a file that lives on under other numbers */
        before->next_displaced = set->displaced;
        set->displaced = before;
    }
    set->by_fd[fd] = item;
    return item;
}

void epoll_item_look(struct epoll_item *item)
{
    if (poll_item(item) != 0) {
        make_ready(item);
        wake_set(item->set);
    }
}

bool epoll_belongs_in_both(const struct file *file)
{
    const struct socket *socket = (const struct socket *)file;
    return file->kind == FILE_EPOLL || (socket->state == SOCKET_LISTENING && socket->also_kernel);
}

static bool belongs_in_kernel(const struct file *file)
{
    return epoll_belongs_in_both(file) || !socket_has_readiness((const struct socket *)file);
}

static int place_in_kernel(struct epoll_item *item, int epoll_fd, int operation)
{
    bool merged = operation != EPOLL_CTL_DEL && epoll_belongs_in_both(item->file);
    struct epoll_event event = {.events = item->events, .data = item->data};
    if (merged)
        event.data.u64 = MERGED_MARK | (uint32_t)item->fd;
    if (REAL(epoll_ctl)(epoll_fd, operation, item->fd, &event) < 0)
        return -errno;
    if (operation == EPOLL_CTL_ADD)
        item->set->kernel_count++;
    if (operation == EPOLL_CTL_DEL)
        item->set->kernel_count--;
    item->in_kernel = operation != EPOLL_CTL_DEL;
    epoll_item_set_merged(item, merged);
    return 0;
}

void epoll_kick_native_waiters(struct epoll_set *set)
{
    if (set->native_waiters == 0 || set->kick_fd >= 0)
        return;
    int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return;
    set->kick_fd = fd_make_internal(fd);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &kick_mark};
    REAL(epoll_ctl)(set->fd, EPOLL_CTL_ADD, set->kick_fd, &event);
}

/* ---- epoll_ctl ----------------------------------------------------------------------------- */

static int add_item(struct epoll_set *set, int epoll_fd, int fd, struct file *file,
                    const struct epoll_event *event)
{
    if (epoll_item_find(set, fd, file) != NULL)
        return -EEXIST;
    if ((event->events & EPOLLEXCLUSIVE) && (event->events & ~EXCLUSIVE_OK))
        return -EINVAL;
    struct epoll_item *item = epoll_item_new(set, fd, file, event);
    if (item == NULL)
        return -ENOMEM;
    if (belongs_in_kernel(file)) {
        int error = place_in_kernel(item, epoll_fd, EPOLL_CTL_ADD);
        if (error < 0) {
            epoll_item_free(item);
            return error;
        }
    }
    epoll_item_publish(item);
    epoll_kick_native_waiters(set);
    epoll_item_look(item);
    return 0;
}

static int modify_item(struct epoll_set *set, int epoll_fd, int fd, const struct file *file,
                       const struct epoll_event *event)
{
    struct epoll_item *item = epoll_item_find(set, fd, file);
    if (item == NULL)
        return -ENOENT;
    if ((event->events & EPOLLEXCLUSIVE) || (item->events & EPOLLEXCLUSIVE))
        return -EINVAL;
    item->events = event->events | ALWAYS_REPORTED;
    item->data = event->data;
    if (item->in_kernel) {
        int error = place_in_kernel(item, epoll_fd, EPOLL_CTL_MOD);
        if (error < 0)
            return error;
    }
    epoll_item_publish(item);
    epoll_item_look(item);
    return 0;
}

static int remove_item(struct epoll_set *set, int epoll_fd, int fd, const struct file *file)
{
    struct epoll_item *item = epoll_item_find(set, fd, file);
    if (item == NULL)
        return -ENOENT;
    if (item->in_kernel)
        (void)place_in_kernel(item, epoll_fd, EPOLL_CTL_DEL);
    epoll_item_withdraw(item);
    epoll_item_free(item);
    return 0;
}

int epoll_control(struct epoll_set *set, int epoll_fd, int operation, int fd, struct file *file,
                  struct epoll_event *event)
{
    int result;
    if (operation != EPOLL_CTL_DEL && user_memory_unreadable(event, sizeof(*event)))
        return -EFAULT;
    epoll_follow(set);
    turned_round_settle_all();
    lock_acquire(&epoll_lock);
    set->fd = epoll_fd;
    if (operation == EPOLL_CTL_ADD)
        result = add_item(set, epoll_fd, fd, file, event);
    else if (operation == EPOLL_CTL_MOD)
        result = modify_item(set, epoll_fd, fd, file, event);
    else if (operation == EPOLL_CTL_DEL)
        result = remove_item(set, epoll_fd, fd, file);
    else
        result = -EINVAL;
    lock_release(&epoll_lock);
    return result;
}

void epoll_visit_entries(struct file *file,
                         void (*visit)(void *context, const struct epoll_entry *entry),
                         void *context)
{
    for (struct epoll_item *item = *items_of(file); item != NULL; item = item->next_of_file) {
        const struct epoll_entry entry = {.set = item->set,
                                          .file = file,
                                          .fd = item->fd,
                                          .events = item->events,
                                          .data = item->data,
                                          .in_kernel = item->in_kernel,
                                          .is_ready = item->ready_link != NULL};
        visit(context, &entry);
    }
}

void epoll_restore_entry(const struct epoll_entry *entry, bool happened)
{
    struct epoll_event event = {.events = entry->events, .data = entry->data};
    lock_acquire(&epoll_lock);
    struct epoll_item *item = epoll_item_new(entry->set, entry->fd, entry->file, &event);
    if (item != NULL) {
        item->events = entry->events; /* a one-shot entry that has fired asks for nothing */
        item->in_kernel = entry->in_kernel;
        if (item->in_kernel)
            epoll_item_set_merged(item, epoll_belongs_in_both(item->file));
        if (entry->is_ready || happened || (item->events & EPOLLET) == 0)
            epoll_item_look(item);
    }
    lock_release(&epoll_lock);
}

void epoll_count_kernel(struct epoll_set *set, int change)
{
    lock_acquire(&epoll_lock);
    set->kernel_count += change;
    lock_release(&epoll_lock);
}

/* ---- Events -------------------------------------------------------------------------------- */

/* Source: Linux fs/eventpoll.c, ep_poll_callback(). Of the exclusive ones those up to the first
   whose set is waited for, be it in another process. */
void epoll_socket_event(struct socket *socket, uint32_t key)
{
    bool one_woken = false;
    lock_acquire(&epoll_lock);
    for (struct epoll_item *item = socket->items; item != NULL; item = item->next_of_file) {
        if ((item->events & ~EPOLL_MODE_BITS) == 0 || (key & item->events) == 0)
            continue;
        if (item->events & EPOLLEXCLUSIVE) {
            if (one_woken)
                break;
            one_woken = wait_queue_has_sleeper(&item->set->waiters);
            if (one_woken && !socket_wakes_exclusively(socket))
                break;
        }
        make_ready(item);
        wake_set(item->set);
    }
    lock_release(&epoll_lock);
}

/* An exclusive item may not be modified. */
static void replace_in_kernel(struct epoll_item *item)
{
    (void)place_in_kernel(item, item->set->fd, EPOLL_CTL_DEL);
    (void)place_in_kernel(item, item->set->fd, EPOLL_CTL_ADD);
}

void epoll_socket_moved(struct socket *socket)
{
    if (__atomic_load_n(&socket->items, __ATOMIC_RELAXED) == NULL)
        return;
    lock_acquire(&epoll_lock);
    bool wanted = belongs_in_kernel(&socket->file);
    for (struct epoll_item *item = socket->items; item != NULL; item = item->next_of_file) {
        if (item->in_kernel != wanted)
            (void)place_in_kernel(item, item->set->fd, wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL);
        else if (wanted && item->merged != epoll_belongs_in_both(&socket->file))
            replace_in_kernel(item);
        if (socket_has_readiness(socket)) {
            epoll_kick_native_waiters(item->set);
            epoll_item_look(item);
        }
    }
    lock_release(&epoll_lock);
}

void epoll_forget_socket(struct socket *socket)
{
    lock_acquire(&epoll_lock);
    while (socket->items != NULL)
        epoll_item_free(socket->items);
    lock_release(&epoll_lock);
}

struct epoll_shared *epoll_shared_of(struct epoll_set *set)
{
    return set->shared;
}

bool epoll_is_ready(struct epoll_set *set)
{
    epoll_follow(set);
    lock_acquire(&epoll_lock);
    bool ready = has_ready(set);
    lock_release(&epoll_lock);
    return ready;
}

struct wait_queue *epoll_pollers(struct epoll_set *set)
{
    return &set->pollers;
}

void epoll_destroy(struct epoll_set *set)
{
    lock_acquire(&epoll_lock);
    for (uint32_t fd = 0; fd < set->by_fd_count; fd++) {
        if (set->by_fd[fd] != NULL)
            epoll_item_free(set->by_fd[fd]);
    }
    while (set->displaced != NULL)
        epoll_item_free(set->displaced);
    while (set->items != NULL)
        epoll_item_free(set->items);
    lock_release(&epoll_lock);
    fd_close_internal(set->kick_fd);
    epoll_shared_leave(set->shared);
    set->shared = NULL;
    free(set->by_fd);
    /* fd_get_shared() of another thread may look at references once more: the object itself is
       small and stays. */
}

struct lock *epoll_fork_lock(void)
{
    return &epoll_lock;
}

/* ---- epoll_wait ---------------------------------------------------------------------------- */

/* Looked at under the lock if there seems to be nothing: the list of a set from which another
   thread collects is empty for a moment, and who went to sleep then would miss what that one
   leaves. */
static bool anything_listed(const struct epoll_set *set)
{
    if (__atomic_load_n(&set->ready_first, __ATOMIC_RELAXED) != NULL)
        return true;
    lock_acquire(&epoll_lock);
    bool any = set->ready_first != NULL;
    lock_release(&epoll_lock);
    return any;
}

/* Source: Linux fs/eventpoll.c, ep_send_events(). Level-triggered items go to the end of the list,
   so that all get their turn when there are more than max. */
static int collect(struct epoll_set *set, struct epoll_event *events, int max)
{
    int count = 0;
    if (!anything_listed(set))
        return 0;
    if (user_memory_unwritable(events, sizeof(*events)))
        return -EFAULT;
    lock_acquire(&epoll_lock);
    struct epoll_item *pending = set->ready_first;
    struct epoll_item **pending_end = set->ready_end;
    __atomic_store_n(&set->ready_first, NULL, __ATOMIC_RELAXED);
    set->ready_end = &set->ready_first;
    if (pending != NULL)
        pending->ready_link = &pending;
    struct epoll_item *again = NULL, **again_end = &again;
    while (pending != NULL && count < max) {
        struct epoll_item *item = pending;
        pending = item->ready_next;
        item->ready_link = NULL;
        uint32_t mask = item->shared ? epoll_item_claim(item, poll_item) : poll_item(item);
        if (mask == 0)
            continue;
        if (item->events & (EPOLLET | EPOLLONESHOT))
            item->kernel_said = false;
        events[count++] = (struct epoll_event){.events = mask, .data = item->data};
        if (item->events & EPOLLONESHOT) {
            item->events &= EPOLL_MODE_BITS;
            if (item->in_kernel)
                (void)place_in_kernel(item, set->fd, EPOLL_CTL_MOD);
        } else if ((item->events & EPOLLET) == 0) {
            item->ready_next = NULL;
            item->ready_link = again_end;
            *again_end = item;
            again_end = &item->ready_next;
        }
    }
    /* What was not looked at stays in front. */
    if (pending != NULL) {
        pending->ready_link = &set->ready_first;
        __atomic_store_n(&set->ready_first, pending, __ATOMIC_RELAXED);
        set->ready_end = pending_end;
    }
    if (again != NULL) {
        again->ready_link = set->ready_end;
        __atomic_store_n(set->ready_end, again, __ATOMIC_RELAXED);
        set->ready_end = again_end;
    }
    lock_release(&epoll_lock);
    return count;
}

static void forget_kick(struct epoll_set *set, int epoll_fd)
{
    if (set->kick_fd < 0 || set->native_waiters != 0)
        return;
    REAL(epoll_ctl)(epoll_fd, EPOLL_CTL_DEL, set->kick_fd, NULL);
    fd_close_internal(set->kick_fd);
    set->kick_fd = -1;
}

/* Whether the kernel's event is the application's to see as it is. What it says of a merged item is
   noted there. epoll_lock held. */
static bool is_plain(struct epoll_set *set, int epoll_fd, const struct epoll_event *event)
{
    if (event->data.ptr == &kick_mark) {
        forget_kick(set, epoll_fd);
        return false;
    }
    if (event->data.u64 >> 32 != MERGED_MARK >> 32)
        return true;
    for (struct epoll_item *item = set->merged; item != NULL; item = item->next_merged) {
        if ((uint32_t)item->fd != (uint32_t)event->data.u64)
            continue;
        item->kernel_said = true;
        make_ready(item);
    }
    return false;
}

/* @return how many of the kernel's events stay. */
static int sort_out(struct epoll_set *set, int epoll_fd, struct epoll_event *events, int count)
{
    int kept = 0;
    lock_acquire(&epoll_lock);
    for (int i = 0; i < count; i++) {
        if (is_plain(set, epoll_fd, &events[i]))
            events[kept++] = events[i];
    }
    lock_release(&epoll_lock);
    return kept;
}

/* Take the kernel's events without waiting. No cancellation point, unlike libc's epoll_wait(). */
static int collect_kernel(struct epoll_set *set, int epoll_fd, struct epoll_event *events, int max)
{
    long count = syscall(SYS_epoll_wait, epoll_fd, events, max, 0);
    if (count <= 0)
        return count < 0 ? -errno : 0;
    return sort_out(set, epoll_fd, events, (int)count);
}

/* How many events the kernel may give, so that there is room for ours. */
static int kernels_share(struct epoll_set *set, int max)
{
    if (max == 1 || __atomic_load_n(&set->ready_first, __ATOMIC_RELAXED) == NULL)
        return max;
    lock_acquire(&epoll_lock);
    bool ours = has_ready(set);
    lock_release(&epoll_lock);
    return ours ? max / 2 : max;
}

/* Both kinds of events, neither starving the other. */
static int collect_both(struct epoll_set *set, int epoll_fd, struct epoll_event *events, int max)
{
    struct engine_link *link = links_poll_all();
    int count = 0;
    epoll_follow(set);
    if (set->kernel_count > 0 || set->kick_fd >= 0) {
        uint64_t now_ns = waiter_now_ns();
        if (now_ns - set->kernel_looked_ns >= KERNEL_LOOK_NS || policy_offloads_loopback()) {
            set->kernel_looked_ns = now_ns;
            count = collect_kernel(set, epoll_fd, events, kernels_share(set, max));
            if (count < 0)
                return count;
            if (link != NULL)
                engine_link_check_alive(link, now_ns);
        }
    }
    if (count == max)
        return count;
    int ours = collect(set, events + count, max - count);
    return ours < 0 && count > 0 ? count : count + ours;
}

/* What the kernel has, or else what it has just said of merged items. */
static int collect_kernel_first(struct epoll_set *set, int epoll_fd, struct epoll_event *events,
                                int max)
{
    int count = collect_kernel(set, epoll_fd, events, max);
    return count != 0 ? count : collect(set, events, max);
}

static void end_native_wait(struct epoll_set *set)
{
    lock_acquire(&epoll_lock);
    set->native_waiters--;
    lock_release(&epoll_lock);
}

static void cancelled_natively(void *argument)
{
    struct epoll_set *set = argument;
    end_native_wait(set);
    file_put(&set->file);
}

static int real_epoll_wait(int epoll_fd, struct epoll_event *events, int max,
                           const struct timespec *timeout, const sigset_t *mask)
{
    if (REAL(epoll_pwait2) != NULL)
        return REAL(epoll_pwait2)(epoll_fd, events, max, timeout, mask);
    int timeout_ms = -1;
    if (timeout != NULL)
        timeout_ms = (int)(timeout->tv_sec * 1000 + (timeout->tv_nsec + 999999) / 1000000);
    return REAL(epoll_pwait)(epoll_fd, events, max, timeout_ms, mask);
}

/* No offloaded sockets and no link: the kernel alone serves the call; see
   epoll_kick_native_waiters().
   @return -EAGAIN: kicked, look again. */
static int wait_natively(struct epoll_set *set, int epoll_fd, struct epoll_event *events, int max,
                         const struct timespec *timeout, const sigset_t *mask)
{
    lock_acquire(&epoll_lock);
    set->fd = epoll_fd;
    set->native_waiters++;
    lock_release(&epoll_lock);
    int count;
    pthread_cleanup_push(cancelled_natively, set);
    count = real_epoll_wait(epoll_fd, events, max, timeout, mask);
    pthread_cleanup_pop(0);
    int error = errno;
    end_native_wait(set);
    if (count <= 0)
        return count < 0 ? -error : 0;
    int kept = sort_out(set, epoll_fd, events, count);
    return kept == 0 ? -EAGAIN : kept;
}

static int wait_for_both(struct epoll_set *set, int epoll_fd, struct epoll_event *events, int max,
                         uint64_t deadline_ns, const sigset_t *mask)
{
    struct waiter waiter;
    struct wait_node node;
    struct pollfd pollfds[WAITER_POLLFDS + 2];
    struct epoll_shared *shared = NULL;
    int result;
    waiter_begin(&waiter, &set->file);
    waiter.ends_by_stop = true;
    waiter_watch(&waiter, &node, &set->waiters);
    for (;;) {
        if (shared == NULL && (shared = set->shared) != NULL)
            epoll_shared_begin_sleep(shared);
        result = collect_both(set, epoll_fd, events, max);
        if (result != 0)
            break;
        /* Even a set without kernel descriptors may be given some by another thread. */
        pollfds[WAITER_POLLFDS] = (struct pollfd){.fd = epoll_fd, .events = POLLIN};
        int bell_fd = shared != NULL ? epoll_shared_bell(shared) : -1;
        pollfds[WAITER_POLLFDS + 1] = (struct pollfd){.fd = bell_fd, .events = POLLIN};
        result = waiter_sleep(&waiter, pollfds, 2, deadline_ns, mask);
        if (pollfds[WAITER_POLLFDS + 1].revents != 0)
            epoll_shared_silence(shared);
        if (result == -ETIMEDOUT)
            result = collect(set, events, max);
        else if (result == 0 && pollfds[WAITER_POLLFDS].revents != 0)
            result = collect_kernel_first(set, epoll_fd, events, max);
        else if (result == 0) {
            if (waiter.slept) /* the kernel has just said that it has nothing */
                set->kernel_looked_ns = waiter_now_ns();
            continue;
        }
        if (result != 0 || deadline_ns == 0 ||
            (deadline_ns != TIME_NEVER && waiter_now_ns() >= deadline_ns))
            break;
    }
    if (shared != NULL)
        epoll_shared_end_sleep(shared);
    waiter_end(&waiter);
    return result;
}

int epoll_wait_for_events(struct epoll_set *set, int epoll_fd, struct epoll_event *events,
                          int max_events, const struct timespec *timeout, const sigset_t *mask)
{
    if (max_events <= 0 || max_events > EVENTS_MAX)
        return -EINVAL;
    uint64_t deadline_ns = waiter_deadline_ns(timeout);
    while (engine_link_current() == NULL && !rejoin_is_wanted() && !anything_listed(set)) {
        int result = wait_natively(set, epoll_fd, events, max_events, timeout, mask);
        if (result != -EAGAIN)
            return result;
    }
    turned_round_settle_all();
    int result = collect_both(set, epoll_fd, events, max_events);
    if (result == 0 && deadline_ns == 0)
        return collect_kernel_first(set, epoll_fd, events, max_events);
    return result != 0 ? result
                       : wait_for_both(set, epoll_fd, events, max_events, deadline_ns, mask);
}
