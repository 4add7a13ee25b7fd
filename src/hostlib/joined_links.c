#include "hostlib/joined_links.h"

#include <string.h>
#include <sys/epoll.h>

#include "base/log.h"
#include "hostlib/engine_attach.h"
#include "hostlib/fd_table.h"
#include "hostlib/real.h"
#include "hostlib/waiter.h"

_Atomic unsigned joined_links_count;
struct engine_link *_Atomic joined_links[JOINED_LINKS_MAX];

static int wake_fd = -1;

static struct engine_link *link_at(unsigned index)
{
    struct engine_link *link = atomic_load_explicit(&joined_links[index], memory_order_acquire);
    return link != NULL && !atomic_load_explicit(&link->dead, memory_order_acquire) ? link : NULL;
}

/* Each link in use, by an index of the caller's. */
#define FOREACH_LINK(index, link)                                                                  \
    for (unsigned index = 0;                                                                       \
         index < atomic_load_explicit(&joined_links_count, memory_order_acquire); index++)         \
        if (((link) = link_at(index)) != NULL)

struct engine_link *joined_links_find(const uint8_t tenant_token[16])
{
    struct engine_link *link;
    FOREACH_LINK(i, link)
    {
        if (memcmp(link->hello.tenant_token, tenant_token, sizeof(link->hello.tenant_token)) == 0)
            return link;
    }
    return NULL;
}

/* ---- Joining; the attach lock is held -------------------------------------------------------- */

static bool is_idle(const struct engine_link *link)
{
    for (uint32_t slot = 0; slot < link->slots_high; slot++) {
        if (atomic_load_explicit(&link->slots[slot], memory_order_relaxed) != NULL)
            return false;
    }
    return true;
}

/* @return a free place; JOINED_LINKS_MAX: none. */
static unsigned make_room(void)
{
    unsigned count = atomic_load_explicit(&joined_links_count, memory_order_relaxed);
    unsigned place = count;
    for (unsigned i = 0; i < count; i++) {
        struct engine_link *link = atomic_load_explicit(&joined_links[i], memory_order_relaxed);
        if (link != NULL && !atomic_load_explicit(&link->dead, memory_order_relaxed) &&
            is_idle(link)) {
            atomic_store_explicit(&link->dead, true, memory_order_release);
            engine_attach_close_descriptors(link);
        }
        if (link == NULL || atomic_load_explicit(&link->dead, memory_order_relaxed))
            place = i;
    }
    return place;
}

static void watch(int epoll_fd, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events};
    (void)REAL(epoll_ctl)(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static bool make_wake_fd(void)
{
    if (wake_fd >= 0)
        return true;
    int fd = REAL(epoll_create1)(EPOLL_CLOEXEC);
    if (fd < 0)
        return false;
    wake_fd = fd_make_internal(fd);
    if (wake_fd < 0)
        return false;
    fd_register_internal(&wake_fd);
    return true;
}

static void watch_link(const struct engine_link *link)
{
    watch(wake_fd, link->doorbell_fd, EPOLLIN);
    watch(wake_fd, link->control_fd, EPOLLRDHUP);
}

static void put_at(unsigned place, struct engine_link *link)
{
    watch_link(link);
    atomic_store_explicit(&joined_links[place], link, memory_order_release);
    if (place == atomic_load_explicit(&joined_links_count, memory_order_relaxed))
        atomic_store_explicit(&joined_links_count, place + 1, memory_order_release);
}

struct engine_link *joined_links_adopt(struct engine_attachment *attachment)
{
    unsigned place = make_room();
    bool may = place < JOINED_LINKS_MAX && make_wake_fd();
    struct engine_link *link = engine_attach_adopt(attachment);
    if (link == NULL)
        return NULL;
    if (!may) {
        engine_attach_close_descriptors(link);
        return NULL;
    }
    put_at(place, link);
    return link;
}

bool joined_links_join(int ticket_fd, const uint8_t tenant_token[16], uint32_t ticket_process,
                       void (*adopt)(struct engine_link *link, void *context), void *context)
{
    lock_acquire(engine_link_fork_lock());
    unsigned place = make_room();
    struct engine_link *link = NULL;
    if (place < JOINED_LINKS_MAX && make_wake_fd())
        link = engine_attach_join(ticket_fd, tenant_token, ticket_process);
    if (link != NULL) {
        adopt(link, context);
        put_at(place, link);
    }
    lock_release(engine_link_fork_lock());
    /* Who sleeps already does not watch it yet. */
    if (link != NULL)
        waiter_wake_all();
    return link != NULL;
}

/* ---- Looking and sleeping -------------------------------------------------------------------- */

void joined_links_poll(void)
{
    struct engine_link *link;
    FOREACH_LINK(i, link)
    engine_link_poll(link);
}

void joined_links_settle(void)
{
    struct engine_link *link;
    FOREACH_LINK(i, link)
    turned_round_wait(link, TURNED_BY_NONE);
}

void joined_links_flush(void)
{
    struct engine_link *link;
    FOREACH_LINK(i, link)
    engine_link_flush(link);
}

bool joined_links_arm(void)
{
    struct engine_link *link;
    FOREACH_LINK(i, link)
    {
        if (!engine_link_arm(link)) {
            joined_links_disarm(false);
            return false;
        }
    }
    return true;
}

void joined_links_disarm(bool rung)
{
    struct engine_link *link;
    FOREACH_LINK(i, link)
    {
        engine_link_disarm(link, rung);
        if (rung && !engine_attach_is_alive(link->control_fd))
            engine_link_died(link);
    }
}

int joined_links_wake_fd(void)
{
    return wake_fd;
}

void joined_links_fork_child(void)
{
    struct engine_link *link;
    if (wake_fd < 0)
        return;
    fd_unregister_internal(&wake_fd);
    fd_close_internal(wake_fd);
    wake_fd = -1;
    if (!make_wake_fd())
        return;
    FOREACH_LINK(i, link)
    watch_link(link);
}
