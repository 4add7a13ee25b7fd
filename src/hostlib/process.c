#include "hostlib/process.h"

#include <pthread.h>

#include "hostlib/engine_attach.h"
#include "hostlib/engine_link.h"
#include "hostlib/epoll.h"
#include "hostlib/fd_table.h"
#include "hostlib/policy.h"
#include "hostlib/real.h"
#include "hostlib/socket.h"
#include "hostlib/waiter.h"

/* The link that the child of the fork under way will have; NULL: none. */
static struct engine_link *forked_link;

/* From now on another process may use these sockets too: their shared locks count. */
static void share_sockets(struct engine_link *link)
{
    for (uint32_t slot = 0; slot < link->hello.slots; slot++) {
        struct socket *socket = atomic_load_explicit(&link->slots[slot], memory_order_relaxed);
        if (socket == NULL)
            continue;
        lock_acquire(&socket->lock);
        socket->shared = true;
        lock_release(&socket->lock);
    }
}

void process_fork_prepare(void)
{
    struct engine_link *link = engine_link_current();
    forked_link = link;
    if (link == NULL)
        return;
    engine_link_flush(link);
    engine_link_settle(link);
    engine_attach_fork_prepare(link);
    engine_link_poll(link);
    lock_acquire(&link->consume_lock);
    share_sockets(link);
    lock_acquire(&link->produce_lock);
}

static void release_locks(struct engine_link *link)
{
    lock_release(&link->produce_lock);
    lock_release(&link->consume_lock);
}

void process_fork_parent(void)
{
    if (forked_link == NULL)
        return;
    release_locks(forked_link);
    engine_attach_fork_parent();
    forked_link = NULL;
}

static void reset_locks(struct engine_link *link)
{
    lock_reset(&link->consume_lock);
    lock_reset(&link->produce_lock);
    lock_reset(&link->reply_lock);
    lock_reset(&link->unread_lock);
    link->replies = NULL;
    for (uint32_t slot = 0; slot < link->hello.slots; slot++) {
        struct socket *socket = atomic_load_explicit(&link->slots[slot], memory_order_relaxed);
        if (socket != NULL)
            lock_reset(&socket->lock);
    }
}

void process_fork_child(void)
{
    lock_thread_id = 0;
    waiter_fork_child();
    epoll_fork_child();
    if (forked_link == NULL)
        return;
    reset_locks(forked_link);
    if (!engine_attach_fork_child(forked_link))
        process_abandon();
    forked_link = NULL;
}

/* The table forgets sockets and sets without their ends being told to anybody. */
void process_abandon(void)
{
    lock_thread_id = 0;
    atomic_store(&engine_link_present, NULL);
    uint32_t high = atomic_load_explicit(&fd_table_high, memory_order_relaxed);
    for (uint32_t fd = 0; fd < high; fd++) {
        struct file *file = fd_peek((int)fd);
        if (file != NULL && file->kind != FILE_INTERNAL)
            atomic_store_explicit(&fd_table[fd], NULL, memory_order_relaxed);
    }
}

void process_exit(void)
{
    struct engine_link *link = engine_link_current();
    if (link == NULL)
        return;
    engine_link_flush(link);
    engine_link_settle(link);
}

void process_init(void)
{
    real_resolve();
    policy_init();
    pthread_atfork(process_fork_prepare, process_fork_parent, process_fork_child);
}
