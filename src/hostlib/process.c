#include "hostlib/process.h"

#include <pthread.h>
#include <string.h>

#include "hostlib/engine_attach.h"
#include "hostlib/engine_link.h"
#include "hostlib/environment.h"
#include "hostlib/epoll.h"
#include "hostlib/fd_table.h"
#include "hostlib/handover.h"
#include "hostlib/interpose.h"
#include "hostlib/joined_links.h"
#include "hostlib/option_kept.h"
#include "hostlib/placeholder.h"
#include "hostlib/policy.h"
#include "hostlib/poll_unrestarted.h"
#include "hostlib/real.h"
#include "hostlib/rejoin.h"
#include "hostlib/signal_guard.h"
#include "hostlib/signals.h"
#include "hostlib/socket.h"
#include "hostlib/socket_async.h"
#include "hostlib/syscall_sites.h"
#include "hostlib/uring.h"
#include "hostlib/waiter.h"

bool process_may_not_allocate;

/* Held around fork(), outer ones first, so that the child finds nothing half changed. */
static struct lock *(*const fork_locks[])(void) = {
    engine_link_fork_lock, placeholder_fork_lock, epoll_fork_lock,         socket_fork_lock,
    option_set_fork_lock,  option_kept_fork_lock, rejoin_fork_lock,        uring_fork_lock,
    waiter_fork_lock,      fd_table_fork_lock,    receive_queue_fork_lock, dlopen_fork_lock,
};

#define FORK_LOCKS (sizeof(fork_locks) / sizeof(fork_locks[0]))

/* The links that the child of the fork under way will have. */
static struct engine_link *forked_links[PROCESS_LINKS_MAX];
static unsigned forked_count;

/* The links that are stopped for an exec() under way. */
static struct engine_link *stopped_links[PROCESS_LINKS_MAX];
static unsigned stopped_count;

unsigned process_links(struct engine_link *links[PROCESS_LINKS_MAX])
{
    unsigned count = 0;
    struct engine_link *own = engine_link_current();
    if (own != NULL)
        links[count++] = own;
    for (unsigned i = 0; joined_links_any() && i < atomic_load(&joined_links_count); i++) {
        struct engine_link *link = atomic_load_explicit(&joined_links[i], memory_order_acquire);
        if (link != NULL && !atomic_load_explicit(&link->dead, memory_order_acquire))
            links[count++] = link;
    }
    return count;
}

/* From now on another process may use these sockets too: their shared locks count. */
static void share_sockets(struct engine_link *link)
{
    for (uint32_t slot = 0; slot < link->slots_high; slot++) {
        struct socket *socket = atomic_load_explicit(&link->slots[slot], memory_order_relaxed);
        if (socket == NULL)
            continue;
        lock_acquire(&socket->lock);
        socket->shared = true;
        lock_release(&socket->lock);
    }
}

static void settle_link(struct engine_link *link)
{
    engine_link_flush(link);
    engine_link_settle(link);
}

/* From here on no event is applied and no operation pushed. */
static void stop_link(struct engine_link *link)
{
    engine_link_poll(link);
    lock_acquire(&link->consume_lock);
    share_sockets(link);
    lock_acquire(&link->produce_lock);
}

void process_fork_prepare(void)
{
    struct engine_link *own = engine_link_current();
    /* An engine that died unseen would leave the child without its listeners. */
    if (own != NULL)
        engine_link_check_alive(own, waiter_now_ns());
    rejoin_share();
    epoll_share_sets();
    forked_count = process_links(forked_links);
    for (unsigned i = 0; i < forked_count; i++) {
        settle_link(forked_links[i]);
        engine_attach_fork_prepare(forked_links[i]);
        stop_link(forked_links[i]);
    }
    for (size_t i = 0; i < FORK_LOCKS; i++)
        lock_acquire(fork_locks[i]());
}

static void release_fork_locks(void)
{
    for (size_t i = FORK_LOCKS; i > 0; i--)
        lock_release(fork_locks[i - 1]());
}

static void resume_link(struct engine_link *link)
{
    lock_release(&link->produce_lock);
    lock_release(&link->consume_lock);
}

void process_fork_parent(void)
{
    release_fork_locks();
    for (unsigned i = 0; i < forked_count; i++) {
        resume_link(forked_links[i]);
        engine_attach_fork_parent(forked_links[i]);
    }
    forked_count = 0;
}

static void reset_locks(struct engine_link *link)
{
    lock_reset(&link->consume_lock);
    lock_reset(&link->produce_lock);
    lock_reset(&link->reply_lock);
    lock_reset(&link->unread_lock);
    link->replies = NULL;
    for (uint32_t slot = 0; slot < link->slots_high; slot++) {
        struct socket *socket = atomic_load_explicit(&link->slots[slot], memory_order_relaxed);
        if (socket != NULL)
            lock_reset(&socket->lock);
    }
}

/* The table forgets sockets and sets without their ends being told to anybody. */
static void abandon(void)
{
    lock_thread_id = 0;
    atomic_store(&engine_link_present, NULL);
    atomic_store(&joined_links_count, 0);
    uint32_t high = atomic_load_explicit(&fd_table_high, memory_order_relaxed);
    for (uint32_t fd = 0; fd < high; fd++) {
        struct file *file = fd_peek((int)fd);
        if (file != NULL && file->kind != FILE_INTERNAL)
            atomic_store_explicit(&fd_table[fd], NULL, memory_order_relaxed);
    }
}

void process_fork_child(void)
{
    /* At once, lest a sandbox forbids to ask later. */
    (void)lock_fetch_thread_id();
    for (size_t i = 0; i < FORK_LOCKS; i++)
        lock_reset(fork_locks[i]());
    waiter_fork_child();
    epoll_fork_child();
    socket_async_fork_child();
    bool all = true;
    for (unsigned i = 0; i < forked_count; i++) {
        reset_locks(forked_links[i]);
        all = engine_attach_fork_child(forked_links[i]) && all;
    }
    if (!all)
        abandon();
    joined_links_fork_child();
    uring_fork_child();
    forked_count = 0;
    signal_guard_fork_child();
}

static void resume_links(unsigned count, struct engine_attachment *attachments)
{
    for (unsigned i = 0; i < count; i++) {
        resume_link(stopped_links[i]);
        engine_attach_exec_failed(&attachments[i]);
    }
    stopped_count = 0;
}

int process_exec_prepare(struct engine_link *const *links, unsigned count,
                         struct engine_attachment *attachments)
{
    signal_guard_enter();
    memcpy(stopped_links, links, count * sizeof(*links));
    for (unsigned i = 0; i < count; i++) {
        settle_link(links[i]);
        int error = engine_attach_exec_prepare(links[i], &attachments[i]);
        if (error < 0) {
            resume_links(i, attachments);
            signal_guard_leave();
            return error;
        }
        stop_link(links[i]);
    }
    stopped_count = count;
    for (size_t i = 0; i < FORK_LOCKS; i++)
        lock_acquire(fork_locks[i]());
    return 0;
}

void process_exec_failed(struct engine_attachment *attachments)
{
    release_fork_locks();
    resume_links(stopped_count, attachments);
    signal_guard_leave();
}

void process_settle(void)
{
    struct engine_link *links[PROCESS_LINKS_MAX];
    unsigned count = process_links(links);
    for (unsigned i = 0; i < count; i++)
        settle_link(links[i]);
}

static void close_listeners(const struct engine_link *link)
{
    for (uint32_t slot = 0; slot < link->slots_high; slot++) {
        const struct socket *socket =
            atomic_load_explicit(&link->slots[slot], memory_order_acquire);
        if (socket == NULL || socket->state != SOCKET_LISTENING)
            continue;
        struct link_descriptor operation = socket_operation(socket, LINK_OP_CLOSE);
        socket_push(socket, &operation);
    }
}

void process_exit(void)
{
    struct engine_link *links[PROCESS_LINKS_MAX];
    unsigned count = process_links(links);
    for (unsigned i = 0; i < count; i++)
        close_listeners(links[i]);
    process_settle();
}

void process_init(void)
{
    real_resolve();
    environment_adopt();
    policy_init();
    signals_init();
    poll_unrestarted_init();
    syscall_sites_rewrite();
    handover_adopt();
    pthread_atfork(process_fork_prepare, process_fork_parent, process_fork_child);
}
