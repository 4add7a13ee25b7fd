#include "hostlib/turned_round.h"

#include <errno.h>
#include <sys/stat.h>

#include "hostlib/engine_link.h"
#include "hostlib/joined_links.h"

_Atomic bool turned_round_any;

/* Upper half of noted[]. */
#define COUNT_SHIFT 32
#define COUNT_ONE   (UINT64_C(1) << COUNT_SHIFT)

static uint32_t count_of(uint64_t noted)
{
    return (uint32_t)(noted >> COUNT_SHIFT);
}

/* Of two counts, which wrap round, keep the later. */
static void advance(_Atomic uint32_t *to, uint32_t count)
{
    uint32_t old = atomic_load_explicit(to, memory_order_relaxed);
    while ((int32_t)(count - old) > 0 &&
           !atomic_compare_exchange_weak_explicit(to, &old, count, memory_order_release,
                                                  memory_order_relaxed))
        ;
}

/* @return the count with this one. */
static uint32_t note(struct engine_link *link, unsigned core, uint32_t by)
{
    struct turned_round *turned = &link->shared->turned;
    uint64_t old = atomic_load_explicit(&turned->noted[core], memory_order_relaxed);
    uint64_t new;
    do {
        uint32_t arrived = atomic_load_explicit(&turned->arrived[core], memory_order_relaxed);
        bool alone = count_of(old) == arrived || (uint32_t)old == by;
        new = (old - (uint32_t)old + COUNT_ONE) | (alone ? by : TURNED_BY_SEVERAL);
        /* Release pairs with the acquire in count(): who sees it pushes its fence after what was
           pushed here. */
    } while (!atomic_compare_exchange_weak_explicit(&turned->noted[core], &old, new,
                                                    memory_order_release, memory_order_relaxed));
    if (!atomic_load_explicit(&turned_round_any, memory_order_relaxed))
        atomic_store_explicit(&turned_round_any, true, memory_order_relaxed);
    return count_of(new);
}

void turned_round_note(struct engine_link *link, unsigned core, uint32_t by)
{
    (void)note(link, core, by);
}

void turned_round_note_end(struct engine_link *link, unsigned core)
{
    advance(&link->shared->turned.ended[core], note(link, core, TURNED_BY_SEVERAL));
}

static uint64_t noted(const struct engine_link *link, unsigned core)
{
    return atomic_load_explicit(&link->shared->turned.noted[core], memory_order_acquire);
}

uint32_t turned_round_count(const struct engine_link *link, unsigned core)
{
    return count_of(noted(link, core));
}

void turned_round_arrived(struct engine_link *link, unsigned core, uint32_t count)
{
    struct turned_round *turned = &link->shared->turned;
    advance(&turned->arrived[core], count);
    /* The last end is never so long ago that it looks to be one to come. */
    advance(&turned->ended[core], count);
}

void turned_round_wait(struct engine_link *link, uint32_t except)
{
    for (unsigned core = 0; core < link->hello.engine_cores; core++) {
        uint64_t now = noted(link, core);
        uint32_t arrived =
            atomic_load_explicit(&link->shared->turned.arrived[core], memory_order_relaxed);
        if (count_of(now) != arrived && (except == TURNED_BY_NONE || (uint32_t)now != except))
            engine_link_fence(link, core);
    }
}

void turned_round_wait_for_ends(struct engine_link *link)
{
    const struct turned_round *turned = &link->shared->turned;
    for (unsigned core = 0; core < link->hello.engine_cores; core++) {
        uint32_t ended = atomic_load_explicit(&turned->ended[core], memory_order_acquire);
        uint32_t arrived = atomic_load_explicit(&turned->arrived[core], memory_order_relaxed);
        if ((int32_t)(ended - arrived) > 0)
            engine_link_fence(link, core);
    }
}

void turned_round_wait_all(void)
{
    struct engine_link *link = engine_link_current();
    atomic_store_explicit(&turned_round_any, false, memory_order_relaxed);
    if (link != NULL)
        turned_round_wait(link, TURNED_BY_NONE);
    if (joined_links_any())
        joined_links_settle();
}

void turned_round_wait_unless_file(int fd)
{
    struct stat status;
    int saved_errno = errno;
    bool is_file = fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
    errno = saved_errno;
    if (!is_file)
        turned_round_wait_all();
}
