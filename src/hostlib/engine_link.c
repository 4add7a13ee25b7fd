#include "hostlib/engine_link.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "hostlib/engine_attach.h"
#include "hostlib/fd_table.h"
#include "hostlib/send_queue.h"
#include "hostlib/socket.h"
#include "hostlib/socket_events.h"
#include "hostlib/waiter.h"

/* How often a process without an engine looks for one, and a busy one whether its still lives. */
#define ATTACH_RETRY_NS NS_PER_S
#define ALIVE_CHECK_NS  (2 * NS_PER_MS)

/* Looks at a full ring, yielding in between, until the engine is asked whether it lives. */
#define FULL_RING_LOOKS 64

/* Looks (some 70 us apart) at whether the engine has taken everything, before giving up. */
#define SETTLE_LOOKS 1000
#define NAP_NS       20000

/* Looks at the ring for an answer before sleeping: an engine that is awake answers within µs. */
#define REPLY_SPINS 2000

/* Looks (some 70 us apart) for an answer by who can't sleep as others do, and then gives up. */
#define REPLY_NAPS 30000

/* An engine that is stopped, or has no processor, must not hold up a send() for ever. */
#define FENCE_WAIT_NS NS_PER_S

/* Few: it takes a fence some rounds to be answered, for which the engine may need this processor.
 */
#define FENCE_SPINS 16

struct engine_link *_Atomic engine_link_present;

static struct lock attach_lock;
static uint64_t attach_tried_ns;

static struct engine_link *attach(uint64_t pause_ns)
{
    lock_acquire(&attach_lock);
    struct engine_link *link = engine_link_current();
    uint64_t now_ns = waiter_now_ns();
    if (link == NULL && (attach_tried_ns == 0 || now_ns - attach_tried_ns > pause_ns)) {
        attach_tried_ns = now_ns;
        int saved_errno = errno;
        link = engine_attach_tenant();
        errno = saved_errno;
        atomic_store_explicit(&engine_link_present, link, memory_order_release);
    }
    lock_release(&attach_lock);
    if (link != NULL)
        waiter_wake_all(); /* who sleeps already does not watch it yet */
    return link;
}

struct engine_link *engine_link_attach(void)
{
    struct engine_link *link = engine_link_current();
    if (link != NULL) {
        engine_link_check_alive(link, waiter_now_ns());
        link = engine_link_current();
        if (link != NULL)
            return link;
    }
    return attach(ATTACH_RETRY_NS);
}

struct engine_link *engine_link_attach_now(void)
{
    struct engine_link *link = engine_link_current();
    return link != NULL ? link : attach(0);
}

struct engine_link *engine_link_adopt(struct engine_attachment *attachment)
{
    struct engine_link *link = engine_attach_adopt(attachment);
    atomic_store_explicit(&engine_link_present, link, memory_order_release);
    return link;
}

struct engine_link *engine_link_join(int ticket_fd, const uint8_t tenant_token[16],
                                     uint32_t ticket_process,
                                     void (*adopt)(struct engine_link *link, void *context),
                                     void *context)
{
    struct engine_link *link = NULL;
    lock_acquire(&attach_lock);
    if (engine_link_current() == NULL)
        link = engine_attach_join(ticket_fd, tenant_token, ticket_process);
    if (link != NULL) {
        adopt(link, context);
        atomic_store_explicit(&engine_link_present, link, memory_order_release);
    }
    lock_release(&attach_lock);
    return link;
}

struct lock *engine_link_fork_lock(void)
{
    return &attach_lock;
}

static void ring_engine(struct engine_link *link, unsigned core)
{
    uint64_t one = 1;
    int saved_errno = errno;
    (void)!syscall(SYS_write, link->engine_doorbell_fd[core], &one, sizeof(one));
    errno = saved_errno;
}

/* By the call that every sleep here uses: a sandboxed worker may have few others. */
static void nap(void)
{
    const struct timespec time = {.tv_nsec = NAP_NS};
    int saved_errno = errno;
    syscall(SYS_ppoll, NULL, 0, &time, NULL, 0);
    errno = saved_errno;
}

/* produce_lock held. */
static void note_overflowing(struct engine_link *link)
{
    bool any = false;
    for (unsigned core = 0; core < link->hello.engine_cores; core++)
        any = any || !overflow_is_empty(&link->overflows[core]);
    atomic_store_explicit(&link->overflowing, any, memory_order_relaxed);
}

/* produce_lock held. @return whether anything was pushed. */
static bool push_overflow(struct engine_link *link, unsigned core)
{
    struct overflow *overflow = &link->overflows[core];
    bool any = false;
    while (!overflow_is_empty(overflow) &&
           link_producer_push(&link->producers[core], overflow_first(overflow))) {
        overflow_remove_first(overflow);
        any = true;
    }
    if (any && overflow_is_empty(overflow))
        note_overflowing(link);
    return any;
}

void engine_link_push_overflow(struct engine_link *link)
{
    for (unsigned core = 0; core < link->hello.engine_cores; core++) {
        lock_acquire(&link->produce_lock);
        bool pushed = push_overflow(link, core);
        lock_release(&link->produce_lock);
        if (pushed && link_take_armed(&link->header->engine[core].armed))
            ring_engine(link, core);
    }
}

/* produce_lock held; gives up when the engine is dead. */
static bool wait_for_room(struct engine_link *link, unsigned core)
{
    for (unsigned looks = 1; link_producer_room(&link->producers[core], 1) == 0; looks++) {
        if (atomic_load_explicit(&link->dead, memory_order_relaxed))
            return false;
        if (link_take_armed(&link->header->engine[core].armed))
            ring_engine(link, core);
        sched_yield();
        if (looks % FULL_RING_LOOKS == 0 && !engine_attach_is_alive(link->control_fd))
            return false;
    }
    return true;
}

void engine_link_wait_for_room(struct engine_link *link)
{
    for (unsigned looks = 1; atomic_load_explicit(&link->overflowing, memory_order_relaxed);
         looks++) {
        engine_link_push_overflow(link);
        if (atomic_load_explicit(&link->dead, memory_order_relaxed) ||
            !atomic_load_explicit(&link->overflowing, memory_order_relaxed) ||
            (looks % FULL_RING_LOOKS == 0 && !engine_attach_is_alive(link->control_fd)))
            return;
        if (looks < FULL_RING_LOOKS)
            sched_yield();
        else
            nap();
    }
}

/* The ring is full: with those that wait already. produce_lock held. */
static void defer(struct engine_link *link, unsigned core, const struct link_descriptor *descriptor)
{
    if (overflow_add(&link->overflows[core], descriptor)) {
        /* Whoever sleeps as the leader now is woken when there is room; whoever is about to sees
           the one or the other of these. */
        atomic_store_explicit(&link->overflowing, true, memory_order_seq_cst);
        atomic_fetch_or_explicit(link->armed[core], LINK_ARMED_FOR_ROOM, memory_order_seq_cst);
        push_overflow(link, core);
        return;
    }
    /* No memory: what came before goes first, and this one when there is room. */
    while (wait_for_room(link, core)) {
        if (overflow_is_empty(&link->overflows[core])) {
            (void)link_producer_push(&link->producers[core], descriptor);
            return;
        }
        push_overflow(link, core);
    }
}

void engine_link_push(struct engine_link *link, unsigned core,
                      const struct link_descriptor *descriptor)
{
    if (atomic_load_explicit(&link->dead, memory_order_relaxed))
        return;
    lock_acquire(&link->produce_lock);
    if (__builtin_expect(!overflow_is_empty(&link->overflows[core]), 0))
        push_overflow(link, core);
    if (!overflow_is_empty(&link->overflows[core]) ||
        !link_producer_push(&link->producers[core], descriptor))
        defer(link, core, descriptor);
    lock_release(&link->produce_lock);
    if (link_take_armed(&link->header->engine[core].armed))
        ring_engine(link, core);
}

void engine_link_settle(struct engine_link *link)
{
    for (unsigned core = 0; core < link->hello.engine_cores; core++) {
        struct link_producer *producer = &link->producers[core];
        uint32_t slots = producer->mask + 1;
        for (unsigned looks = 0; looks < SETTLE_LOOKS; looks++) {
            lock_acquire(&link->produce_lock);
            push_overflow(link, core);
            bool taken = overflow_is_empty(&link->overflows[core]) &&
                         link_producer_room(producer, slots) == slots;
            lock_release(&link->produce_lock);
            if (taken || atomic_load_explicit(&link->dead, memory_order_relaxed))
                break;
            if (link_take_armed(&link->header->engine[core].armed))
                ring_engine(link, core);
            nap();
        }
    }
}

static void forget_reply(struct engine_link *link, struct pending_reply *reply)
{
    lock_acquire(&link->reply_lock);
    for (struct pending_reply **place = &link->replies; *place != NULL; place = &(*place)->next) {
        if (*place == reply) {
            *place = reply->next;
            break;
        }
    }
    lock_release(&link->reply_lock);
}

static bool reply_came(struct engine_link *link, struct pending_reply *reply)
{
    engine_link_poll(link);
    return atomic_load_explicit(&reply->done, memory_order_acquire) ||
           atomic_load_explicit(&link->dead, memory_order_relaxed);
}

/* Push an operation that is answered; await_reply() ends it. */
static void begin_call(struct engine_link *link, unsigned core, struct pending_reply *reply,
                       struct link_descriptor *descriptor)
{
    lock_acquire(&link->reply_lock);
    reply->request_id = descriptor->request_id = ++link->next_request_id;
    reply->next = link->replies;
    link->replies = reply;
    lock_release(&link->reply_lock);
    engine_link_push(link, core, descriptor);
}

static void nap_until_reply(struct engine_link *link, struct pending_reply *reply,
                            uint64_t deadline_ns)
{
    for (int i = 0; i < REPLY_NAPS && !reply_came(link, reply) &&
                    (deadline_ns == TIME_NEVER || waiter_now_ns() < deadline_ns);
         i++) {
        nap();
        if (i % FULL_RING_LOOKS == 0)
            engine_link_check_alive(link, waiter_now_ns());
    }
}

static void sleep_until_reply(struct engine_link *link, struct pending_reply *reply,
                              uint64_t deadline_ns)
{
    struct waiter waiter;
    struct wait_node node;
    struct pollfd pollfds[WAITER_POLLFDS];
    sigset_t all;
    int cancellable;
    sigfillset(&all);
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancellable);
    waiter_begin(&waiter, NULL);
    waiter_watch(&waiter, &node, &link->reply_waiters);
    while (!reply_came(link, reply) &&
           waiter_sleep(&waiter, pollfds, 0, deadline_ns, &all) != -ETIMEDOUT)
        ;
    waiter_end(&waiter);
    (void)pthread_setcancelstate(cancellable, NULL);
}

/* @param spins  looks at the ring before sleeping. @return -ETIMEDOUT: no answer by deadline_ns. */
static int await_reply(struct engine_link *link, struct pending_reply *reply, int spins,
                       uint64_t deadline_ns)
{
    bool came = false;
    for (int i = 0; i < spins && !(came = reply_came(link, reply)); i++)
        __builtin_ia32_pause();
    if (!came && waiter_is_waiting())
        nap_until_reply(link, reply, deadline_ns);
    else if (!came)
        sleep_until_reply(link, reply, deadline_ns);
    forget_reply(link, reply);
    if (atomic_load_explicit(&reply->done, memory_order_acquire))
        return 0;
    return atomic_load_explicit(&link->dead, memory_order_relaxed) ? -ECONNRESET : -ETIMEDOUT;
}

/* The answer, however long it takes, but for who can't sleep. */
static int end_call(struct engine_link *link, struct pending_reply *reply, int spins,
                    struct link_descriptor *answer)
{
    if (await_reply(link, reply, spins, TIME_NEVER) < 0)
        return -ECONNRESET;
    *answer = reply->answer;
    return 0;
}

int engine_link_call(struct engine_link *link, unsigned core, struct link_descriptor *descriptor,
                     struct link_descriptor *answer)
{
    struct pending_reply reply = {0};
    turned_round_settle(link, TURNED_BY_NONE); /* an end may have to make room for it */
    begin_call(link, core, &reply, descriptor);
    return end_call(link, &reply, REPLY_SPINS, answer);
}

/* Push a fence after `operation`, if there is one, and wait for both answers' coming. */
static void fence(struct engine_link *link, unsigned core, struct pending_reply *reply,
                  struct link_descriptor *operation)
{
    struct link_descriptor descriptor = {.type = LINK_OP_FENCE};
    struct pending_reply fence_reply = {0};
    uint32_t count = turned_round_count(link, core);
    if (operation != NULL)
        begin_call(link, core, reply, operation);
    if (!atomic_load_explicit(&link->dead, memory_order_relaxed)) {
        begin_call(link, core, &fence_reply, &descriptor);
        (void)await_reply(link, &fence_reply, FENCE_SPINS, waiter_now_ns() + FENCE_WAIT_NS);
    }
    turned_round_arrived(link, core, count);
}

void engine_link_fence(struct engine_link *link, unsigned core)
{
    int saved_errno = errno;
    fence(link, core, NULL, NULL);
    errno = saved_errno;
}

int engine_link_call_fenced(struct engine_link *link, unsigned core,
                            struct link_descriptor *descriptor, struct link_descriptor *answer)
{
    struct pending_reply reply = {0};
    turned_round_settle(link, TURNED_BY_NONE);
    fence(link, core, &reply, descriptor);
    return end_call(link, &reply, FENCE_SPINS, answer);
}

void engine_link_reply_arrived(struct engine_link *link, const struct link_descriptor *descriptor)
{
    lock_acquire(&link->reply_lock);
    for (struct pending_reply *reply = link->replies; reply != NULL; reply = reply->next) {
        if (reply->request_id == descriptor->request_id) {
            memcpy((void *)&reply->answer, descriptor, sizeof(reply->answer));
            atomic_store_explicit(&reply->done, true, memory_order_release);
        }
    }
    lock_release(&link->reply_lock);
    wait_queue_wake(&link->reply_waiters, false);
}

bool engine_link_drain(struct engine_link *link)
{
    bool any = false;
    lock_acquire(&link->consume_lock);
    for (unsigned core = 0; core < link->hello.engine_cores; core++) {
        struct link_consumer *consumer = &link->consumers[core];
        struct link_descriptor descriptor;
        uint32_t before = consumer->consumed;
        /* One lap at most, so that a fast engine can't hold us here for ever. */
        while (consumer->consumed - before <= consumer->mask &&
               link_consumer_pop(consumer, &descriptor))
            socket_events_apply(link, core, &descriptor);
        if (consumer->consumed == before)
            continue;
        any = true;
        link_consumer_report(consumer);
        if (link_take_armed_for_room(&link->header->engine[core].armed))
            ring_engine(link, core);
    }
    lock_release(&link->consume_lock);
    return any;
}

bool engine_link_arm(struct engine_link *link)
{
    for (unsigned core = 0; core < link->hello.engine_cores; core++)
        link_arm(link->armed[core]);
    if (atomic_load_explicit(&link->overflowing, memory_order_relaxed)) {
        for (unsigned core = 0; core < link->hello.engine_cores; core++)
            link_arm_for_room(link->armed[core]);
        /* Room may have come before the engine could see that somebody waits for it. */
        engine_link_push_overflow(link);
    }
    if (engine_link_empty(link) && !atomic_load_explicit(&link->dead, memory_order_acquire))
        return true;
    engine_link_disarm(link, false);
    return false;
}

void engine_link_disarm(struct engine_link *link, bool rung)
{
    for (unsigned core = 0; core < link->hello.engine_cores; core++)
        link_disarm(link->armed[core]);
    if (rung) {
        uint64_t count;
        int saved_errno = errno;
        (void)!syscall(SYS_read, link->doorbell_fd, &count, sizeof(count));
        errno = saved_errno;
    }
}

/* unread_lock held. */
static void unlist(struct socket *socket)
{
    __atomic_store_n(socket->unread_link, socket->unread_next, __ATOMIC_RELAXED);
    if (socket->unread_next != NULL)
        socket->unread_next->unread_link = socket->unread_link;
    /* Release pairs with the acquire in engine_link_unlist_unread(): who then frees it comes after
       us. */
    atomic_store_explicit(&socket->unread_listed, false, memory_order_release);
}

void engine_link_flush(struct engine_link *link)
{
    if (atomic_load_explicit(&link->overflowing, memory_order_relaxed))
        engine_link_push_overflow(link);
    while (__atomic_load_n(&link->unread_first, __ATOMIC_RELAXED) != NULL) {
        lock_acquire(&link->unread_lock);
        struct socket *socket = link->unread_first;
        if (socket != NULL) {
            /* Without references left it is about to be closed, which tells as much; and to be
               freed, once it is off the list. */
            bool held = file_hold_living(&socket->file);
            unlist(socket);
            if (!held)
                socket = NULL;
        }
        lock_release(&link->unread_lock);
        if (socket == NULL)
            continue;
        socket_lock(socket);
        socket_tell_consumed(socket);
        socket_unlock(socket);
        file_put(&socket->file);
    }
}

void engine_link_list_unread(struct engine_link *link, struct socket *socket)
{
    lock_acquire(&link->unread_lock);
    if (!atomic_load_explicit(&socket->unread_listed, memory_order_relaxed)) {
        socket->unread_next = link->unread_first;
        socket->unread_link = &link->unread_first;
        if (socket->unread_next != NULL)
            socket->unread_next->unread_link = &socket->unread_next;
        __atomic_store_n(&link->unread_first, socket, __ATOMIC_RELAXED);
        atomic_store_explicit(&socket->unread_listed, true, memory_order_relaxed);
    }
    lock_release(&link->unread_lock);
}

void engine_link_unlist_unread(struct engine_link *link, struct socket *socket)
{
    if (!atomic_load_explicit(&socket->unread_listed, memory_order_acquire))
        return;
    lock_acquire(&link->unread_lock);
    if (atomic_load_explicit(&socket->unread_listed, memory_order_relaxed))
        unlist(socket);
    lock_release(&link->unread_lock);
}

void engine_link_died(struct engine_link *link)
{
    if (atomic_exchange_explicit(&link->dead, true, memory_order_acq_rel))
        return;
    struct engine_link *expected = link;
    atomic_compare_exchange_strong(&engine_link_present, &expected, NULL);
    log_info("the engine is gone: its connections are reset, new ones use the kernel");
    lock_acquire(&link->consume_lock);
    /* What it said last still counts. */
    for (unsigned core = 0; core < link->hello.engine_cores; core++) {
        struct link_descriptor descriptor;
        uint32_t left = link->consumers[core].mask + 1;
        while (left-- > 0 && link_consumer_pop(&link->consumers[core], &descriptor))
            socket_events_apply(link, core, &descriptor);
    }
    for (uint32_t slot = 0; slot < link->slots_high; slot++) {
        struct socket *socket = atomic_load_explicit(&link->slots[slot], memory_order_acquire);
        if (socket != NULL)
            socket_events_engine_died(socket);
    }
    lock_release(&link->consume_lock);
    lock_acquire(&link->produce_lock);
    for (unsigned core = 0; core < link->hello.engine_cores; core++)
        overflow_clear(&link->overflows[core]);
    atomic_store_explicit(&link->overflowing, false, memory_order_relaxed);
    lock_release(&link->produce_lock);
    waiter_wake_all();
    /* Memory and object stay: unread payload lies there, and other threads may be looking. */
    engine_attach_close_descriptors(link);
}

void engine_link_check_alive(struct engine_link *link, uint64_t now_ns)
{
    uint64_t checked_ns = atomic_load_explicit(&link->checked_alive_ns, memory_order_relaxed);
    if (now_ns - checked_ns < ALIVE_CHECK_NS)
        return;
    atomic_store_explicit(&link->checked_alive_ns, now_ns, memory_order_relaxed);
    if (!engine_attach_is_alive(link->control_fd))
        engine_link_died(link);
}

void engine_link_slot_set(struct engine_link *link, uint32_t slot, struct socket *socket)
{
    uint32_t high = atomic_load_explicit(&link->slots_high, memory_order_relaxed);
    while (high <= slot && !atomic_compare_exchange_weak(&link->slots_high, &high, slot + 1))
        ;
    atomic_store_explicit(&link->slots[slot], socket, memory_order_release);
}

bool engine_link_slot_allocate(struct engine_link *link, struct link_socket_name *name)
{
    bool found = true;
    lock_acquire_shared(&link->shared->lock);
    struct host_slots *slots = link->shared;
    if (slots->free_count > 0)
        name->slot = link->free_slots[--slots->free_count];
    else if (slots->next_fresh < link->hello.host_slots)
        name->slot = slots->next_fresh++;
    else
        found = false;
    if (found)
        __atomic_store_n(&name->incarnation, ++link->incarnations[name->slot], __ATOMIC_RELAXED);
    lock_release_shared(&link->shared->lock);
    return found;
}

void engine_link_slot_free(struct engine_link *link, const struct link_socket_name *name)
{
    struct socket_block *block =
        (struct socket_block *)(void *)(link->blocks + name->slot * sizeof(struct socket_block));
    lock_acquire_shared(&block->lock);
    if (block->incarnation == name->incarnation)
        send_queue_free(&block->send, &link->send_memory);
    lock_release_shared(&block->lock);
    if (name->slot >= link->hello.host_slots)
        return;
    lock_acquire_shared(&link->shared->lock);
    /* Every engine core may say so; the first word counts. */
    if (link->incarnations[name->slot] == name->incarnation &&
        link->shared->free_count < link->hello.host_slots) {
        link->incarnations[name->slot]++;
        link->free_slots[link->shared->free_count++] = name->slot;
    }
    lock_release_shared(&link->shared->lock);
}
