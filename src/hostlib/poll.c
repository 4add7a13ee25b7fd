#include "hostlib/poll.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hostlib/epoll.h"
#include "hostlib/epoll_shared.h"
#include "hostlib/joined_links.h"
#include "hostlib/real.h"
#include "hostlib/rejoin.h"
#include "hostlib/socket.h"
#include "hostlib/user_memory.h"

/* Up to so many descriptors no memory is allocated. */
#define ON_STACK 32

/* One entry of the application's array that is (also) ours. */
struct watched {
    nfds_t index;
    struct file *file;
    struct wait_node node;
    struct epoll_shared *shared; /* a set's, once its bell is listened for; else NULL */
};

/* A call under way. */
struct polling {
    struct pollfd *fds;
    nfds_t count;
    struct pollfd *kernel; /* WAITER_POLLFDS, a copy of fds for the kernel, and bells */
    struct watched *watched;
    nfds_t watched_count;
};

static bool needs_us(struct file *file)
{
    return (file->kind == FILE_SOCKET && socket_has_readiness((struct socket *)file)) ||
           file->kind == FILE_EPOLL;
}

bool poll_has_offloaded(const struct pollfd *fds, nfds_t count)
{
    if ((count > 0 && user_memory_unreadable(fds, count * sizeof(*fds))) ||
        atomic_load_explicit(&fd_table_size, memory_order_relaxed) == 0)
        return false; /* the kernel says what is wrong with the array, if anything */
    for (nfds_t i = 0; i < count; i++) {
        struct file *file = fd_peek(fds[i].fd);
        if (file != NULL && needs_us(file))
            return true;
    }
    return false;
}

static struct wait_queue *queue_of(struct file *file)
{
    return file->kind == FILE_SOCKET ? &((struct socket *)file)->waiters
                                     : epoll_pollers((struct epoll_set *)file);
}

/* The kernel watches the rest, and of listeners on both stacks its half. */
static void watch_all(struct polling *polling)
{
    for (nfds_t i = 0; i < polling->count; i++) {
        struct pollfd *kernel = &polling->kernel[WAITER_POLLFDS + i];
        *kernel = (struct pollfd){.fd = polling->fds[i].fd, .events = polling->fds[i].events};
        struct file *file = fd_get(polling->fds[i].fd);
        if (file == NULL)
            continue;
        if (!needs_us(file)) {
            file_put(file);
            continue;
        }
        if (file->kind == FILE_SOCKET) {
            struct socket *socket = (struct socket *)file;
            if (socket->state != SOCKET_LISTENING || !socket->also_kernel)
                kernel->fd = -1;
        }
        polling->watched[polling->watched_count++] = (struct watched){.index = i, .file = file};
    }
}

static short ready_events(const struct watched *watched, short wanted)
{
    const int always = POLLERR | POLLHUP;
    uint32_t mask;
    if (watched->file->kind == FILE_SOCKET)
        mask = socket_poll((struct socket *)watched->file);
    else
        mask = epoll_is_ready((struct epoll_set *)watched->file) ? POLLIN | POLLRDNORM : 0;
    /* EPOLL* and POLL* bits are the same numbers. */
    return (short)(mask & (uint32_t)(wanted | always));
}

/* Merge what both stacks say into the application's array. @return how many entries are ready. */
static int gather(struct polling *polling)
{
    int ready = 0;
    for (nfds_t i = 0; i < polling->count; i++)
        polling->fds[i].revents = polling->kernel[WAITER_POLLFDS + i].revents;
    for (nfds_t i = 0; i < polling->watched_count; i++) {
        struct pollfd *entry = &polling->fds[polling->watched[i].index];
        entry->revents =
            (short)(entry->revents | ready_events(&polling->watched[i], entry->events));
    }
    for (nfds_t i = 0; i < polling->count; i++)
        ready += polling->fds[i].revents != 0;
    return ready;
}

/* With PNO_LOOPBACK=1, let what is on its way arrive: but what this socket has sent changes nothing
   for one who waits for its answer. */
static void settle(const struct polling *polling)
{
    struct file *file = polling->watched_count == 1 ? polling->watched[0].file : NULL;
    if (file == NULL || file->kind != FILE_SOCKET) {
        turned_round_settle_all();
        return;
    }
    struct socket *socket = (struct socket *)file;
    bool for_room = (polling->fds[polling->watched[0].index].events & (POLLOUT | POLLWRNORM)) != 0;
    turned_round_settle(socket->link, for_room ? TURNED_BY_NONE : turned_by(&socket->name));
}

static int look_once(struct polling *polling)
{
    rejoin_poll();
    settle(polling);
    struct engine_link *link = engine_link_current();
    if (link != NULL) {
        engine_link_poll(link);
        engine_link_check_alive(link, waiter_now_ns());
    }
    if (joined_links_any())
        joined_links_poll();
    struct timespec none = {0};
    struct pollfd *kernel = polling->kernel + WAITER_POLLFDS;
    if (polling->watched_count < polling->count &&
        syscall(SYS_ppoll, kernel, polling->count, &none, NULL, 0) < 0 && errno != EINTR)
        return -errno;
    return gather(polling);
}

/* ---- Sets that other processes change ------------------------------------------------------- */

/* @return how many bells there are, behind what else the kernel looks at. */
static nfds_t listen_for_bells(struct polling *polling)
{
    nfds_t count = 0;
    for (nfds_t i = 0; i < polling->watched_count; i++) {
        struct watched *watched = &polling->watched[i];
        if (watched->file->kind != FILE_EPOLL)
            continue;
        if (watched->shared == NULL) {
            watched->shared = epoll_shared_of((struct epoll_set *)watched->file);
            if (watched->shared == NULL)
                continue;
            epoll_shared_begin_sleep(watched->shared);
        }
        polling->kernel[WAITER_POLLFDS + polling->count + count++] =
            (struct pollfd){.fd = epoll_shared_bell(watched->shared), .events = POLLIN};
    }
    return count;
}

static void silence_bells(struct polling *polling)
{
    nfds_t bell = WAITER_POLLFDS + polling->count;
    for (nfds_t i = 0; i < polling->watched_count; i++) {
        if (polling->watched[i].shared != NULL && polling->kernel[bell++].revents != 0)
            epoll_shared_silence(polling->watched[i].shared);
    }
}

static int sleep_until_ready(struct polling *polling, uint64_t deadline_ns, const sigset_t *mask)
{
    struct waiter waiter;
    int result = 0;
    waiter_begin(&waiter, NULL);
    for (nfds_t i = 0; i < polling->watched_count; i++)
        waiter_watch(&waiter, &polling->watched[i].node, queue_of(polling->watched[i].file));
    for (;;) {
        links_poll_all();
        for (nfds_t i = 0; i < polling->count; i++)
            polling->kernel[WAITER_POLLFDS + i].revents = 0;
        nfds_t bells = listen_for_bells(polling);
        if ((result = gather(polling)) != 0)
            break;
        result = waiter_sleep(&waiter, polling->kernel, polling->count + bells, deadline_ns, mask);
        if (bells > 0)
            silence_bells(polling);
        if (result == -EINTR)
            break;
        int slept = result;
        if (slept == 0)
            links_poll_all();
        if ((result = gather(polling)) != 0 || slept == -ETIMEDOUT)
            break;
    }
    waiter_end(&waiter);
    return result;
}

/* Also when the thread is cancelled in its sleep. */
static void release(void *argument)
{
    struct polling *polling = argument;
    for (nfds_t i = 0; i < polling->watched_count; i++) {
        if (polling->watched[i].shared != NULL)
            epoll_shared_end_sleep(polling->watched[i].shared);
        file_put(polling->watched[i].file);
    }
    if (polling->count > ON_STACK) {
        free(polling->kernel);
        free(polling->watched);
    }
}

int poll_wait(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
              const sigset_t *mask)
{
    struct pollfd few_kernel[WAITER_POLLFDS + 2 * ON_STACK];
    struct watched few_watched[ON_STACK];
    struct polling polling = {.fds = fds, .count = count};
    polling.kernel = count <= ON_STACK
                         ? few_kernel
                         : malloc((WAITER_POLLFDS + 2 * count) * sizeof(struct pollfd));
    polling.watched = count <= ON_STACK ? few_watched : malloc(count * sizeof(struct watched));
    int result = -ENOMEM;
    if (polling.kernel != NULL && polling.watched != NULL) {
        uint64_t deadline_ns = waiter_deadline_ns(timeout);
        watch_all(&polling);
        result = look_once(&polling);
        if (result == 0 && deadline_ns != 0) {
            pthread_cleanup_push(release, &polling);
            result = sleep_until_ready(&polling, deadline_ns, mask);
            pthread_cleanup_pop(0);
        }
    }
    release(&polling);
    return result;
}
