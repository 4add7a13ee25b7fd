/*
 * The library's one thread. A program's own threads carry their ring's operations on while they
 * wait in io_uring_enter(). A program may as well wait elsewhere (in epoll_wait() for the ring, on
 * an eventfd, by looking at its completion queue): then nobody would. This thread sees to such
 * rings. It exists once there is an operation that waits.
 *
 * While all that wait do so in io_uring_enter() the thread must not lead (see waiter.h): each event
 * would go by way of it. So it only looks, at intervals, whether a ring with waiting operations has
 * been entered since; if not, the ring is "polled" and the thread's own until the program waits in
 * io_uring_enter() again.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include "hostlib/engine_link.h"
#include "hostlib/interpose.h"
#include "hostlib/joined_links.h"
#include "hostlib/uring_ring.h"

#define LOOK_NS (1 * NS_PER_MS)

/* So many looks in a row that found every ring attended, and the thread sleeps until told. */
#define LOOKS_BEFORE_SLEEP 16

#define RINGS_WATCHED_MAX 64

static _Atomic bool started;
static _Atomic uint32_t kicks;   /* counts uring_worker_notice(); a futex */
static _Atomic bool asleep;      /* until kicked */
static struct wait_queue events; /* while it watches polled rings */

void uring_worker_wake(void)
{
    wait_queue_wake(&events, true);
}

/* References to all rings with waiting operations. @return how many. */
static uint32_t collect(struct uring *rings[RINGS_WATCHED_MAX])
{
    uint32_t count = 0;
    lock_acquire(&uring_list_lock);
    for (struct uring *ring = uring_list; ring != NULL && count < RINGS_WATCHED_MAX;
         ring = ring->next) {
        if (atomic_load(&ring->pending) > 0 && file_hold_living(&ring->file))
            rings[count++] = ring;
    }
    lock_release(&uring_list_lock);
    return count;
}

static void put(struct uring *rings[], uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        file_put(&rings[i]->file);
}

static bool is_polled(struct uring *ring)
{
    if (uring_is_attended(ring))
        return false;
    if (atomic_load(&ring->native_waiters) > 0)
        atomic_store(&ring->polled, true);
    return atomic_load(&ring->polled);
}

/* Whether the ring wants nobody now. Nobody has entered it since the last look: it is polled. */
static bool is_attended(struct uring *ring)
{
    if (uring_is_attended(ring))
        return true;
    uint32_t entered = atomic_load(&ring->entered);
    if (entered == ring->entered_seen)
        atomic_store(&ring->polled, true);
    ring->entered_seen = entered;
    return false;
}

/* What there is to wait for, of polled rings. No reference is held while asleep: a ring may go. */
struct watched {
    struct pollfd pollfds[WAITER_POLLFDS + RINGS_WATCHED_MAX];
    uint32_t count;
    uint64_t deadline_ns;
    bool has_work;
};

static void look_at(struct watched *watched, struct uring *ring)
{
    if (ring->helper_pending > 0)
        watched->pollfds[WAITER_POLLFDS + watched->count++] =
            (struct pollfd){.fd = ring->helper.fd, .events = POLLIN};
    if (ring->retry_ns < watched->deadline_ns)
        watched->deadline_ns = ring->retry_ns;
    watched->has_work = watched->has_work || uring_has_work(ring);
}

/* Sleep until an event of the polled rings, or a kick. Takes over the references. */
static void watch(struct uring *rings[], uint32_t count, uint32_t kicks_seen)
{
    struct waiter waiter;
    struct wait_node node;
    struct watched watched = {.deadline_ns = TIME_NEVER};
    waiter_begin(&waiter, NULL);
    waiter_watch(&waiter, &node, &events);
    links_poll_all();
    for (uint32_t i = 0; i < count; i++) {
        if (is_polled(rings[i]))
            look_at(&watched, rings[i]);
    }
    put(rings, count);
    if (!watched.has_work && atomic_load(&kicks) == kicks_seen)
        (void)waiter_sleep(&waiter, watched.pollfds, watched.count, watched.deadline_ns, NULL);
    waiter_end(&waiter);
    links_poll_all();
}

static void sleep_for(const struct timespec *timeout, uint32_t kicks_seen)
{
    syscall(SYS_futex, &kicks, FUTEX_WAIT_PRIVATE, kicks_seen, timeout, NULL, 0);
}

static void *work(void *unused)
{
    (void)unused;
    uint32_t idle_looks = 0;
    (void)prctl(PR_SET_NAME, "pno-uring");
    for (;;) {
        struct uring *rings[RINGS_WATCHED_MAX];
        uint32_t kicks_seen = atomic_load(&kicks);
        uint32_t count = collect(rings), polled = 0, attended = 0;
        for (uint32_t i = 0; i < count; i++) {
            if (is_polled(rings[i])) {
                polled++;
                uring_process(rings[i]);
            }
        }
        if (polled > 0) {
            watch(rings, count, kicks_seen);
            continue;
        }
        for (uint32_t i = 0; i < count; i++)
            attended += is_attended(rings[i]);
        put(rings, count);
        idle_looks = attended == count ? idle_looks + 1 : 0;
        if (idle_looks < LOOKS_BEFORE_SLEEP && count > 0) {
            struct timespec look = {.tv_nsec = LOOK_NS};
            syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &look, NULL);
            continue;
        }
        atomic_store(&asleep, true);
        sleep_for(NULL, kicks_seen);
        atomic_store(&asleep, false);
        idle_looks = 0;
    }
    return NULL;
}

static void start(void)
{
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    if (atomic_exchange(&started, true))
        return;
    sigfillset(&all);
    sigdelset(&all, SIGSEGV); /* wild pointers of the program's: user_memory.h */
    sigdelset(&all, SIGBUS);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attributes, work, NULL) != 0)
        atomic_store(&started, false); /* tried again with the next operation that waits */
    (void)pthread_attr_destroy(&attributes);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void uring_worker_look_again(void)
{
    atomic_fetch_add(&kicks, 1);
    uring_worker_wake();
}

void uring_worker_notice(struct uring *ring)
{
    if (!atomic_load_explicit(&started, memory_order_relaxed))
        start();
    bool polled = atomic_load(&ring->polled) || atomic_load(&ring->native_waiters) > 0;
    if (!polled && !atomic_load(&asleep))
        return;
    atomic_fetch_add(&kicks, 1);
    if (polled)
        uring_worker_wake();
    if (atomic_load(&asleep))
        syscall(SYS_futex, &kicks, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void uring_worker_fork_child(void)
{
    atomic_store(&started, false);
    atomic_store(&asleep, false);
    atomic_store(&events.head, NULL);
}
