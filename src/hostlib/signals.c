#include "hostlib/signals.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "hostlib/real.h"
#include "hostlib/signal_guard.h"
#include "hostlib/user_memory.h"
#include "hostlib/waiter.h"

#define SIGNALS_END 65

/* What the kernel calls a signal set: bit per signal, from 1 on. */
typedef uint64_t kernel_mask;

/* Flags that are the program's to see, and ours to choose. */
#define FLAGS_OF_OURS (SA_SIGINFO | (int)SA_RESETHAND)

_Thread_local struct signal_guard signal_guard;

/* The thread's own mask while signals are held back. */
static _Thread_local kernel_mask mask_before __attribute__((tls_model("initial-exec")));

/* Signals that are held back without the kernel: where it has no room for another
   (RLIMIT_SIGPENDING), where a sandbox forbids to ask it, and where the signal can't be blocked
   lest a fault of ours ends the program. A ring, from which only the end of a guarded stretch
   takes; a handler of ours that interrupts another adds to it in between, hence the atomic end. */
#define KEPT_MAX 8

static _Thread_local struct {
    siginfo_t infos[KEPT_MAX];
    unsigned first;
    _Atomic unsigned end;
} kept __attribute__((tls_model("initial-exec")));

/* Where to tell the program to come of what is held back; NULL: no exec() is under way. */
static _Thread_local struct signals_left *left_to __attribute__((tls_model("initial-exec")));

/* What the program has installed, where ours is installed for it. Handler and flags are changed one
   by one: a signal that comes in between finds a pair that both were good a moment ago. */
static struct {
    _Atomic(sighandler_t) handler;
    _Atomic int flags;
} actions[SIGNALS_END];

static _Atomic bool faults_are_caught;

static bool is_fault(int number)
{
    return number == SIGSEGV || number == SIGBUS;
}

/* Raised by what the thread itself does: can't wait. */
static bool is_synchronous(int number)
{
    return is_fault(number) || number == SIGFPE || number == SIGILL || number == SIGTRAP ||
           number == SIGABRT || number == SIGSYS;
}

static kernel_mask bit_of(int number)
{
    return (kernel_mask)1 << (number - 1);
}

/* All that can wait and be blocked; not libc's own two (cancellation, setuid() of all threads). */
static kernel_mask deferrable(void)
{
    kernel_mask mask = 0;
    for (int number = 1; number < SIGNALS_END; number++) {
        if (!is_synchronous(number) && (number < 32 || number >= SIGRTMIN) && number != SIGKILL &&
            number != SIGSTOP)
            mask |= bit_of(number);
    }
    return mask;
}

/* @return false: it is not allowed. */
static bool set_mask(int how, kernel_mask mask, kernel_mask *before)
{
    return syscall(SYS_rt_sigprocmask, how, &mask, before, sizeof(mask)) == 0;
}

static int send_to_self(int number)
{
    return (int)syscall(SYS_tgkill, syscall(SYS_getpid), syscall(SYS_gettid), number);
}

/* @return negative: the kernel has no room for it, or may not be asked. */
static int queue_to_self(int number, siginfo_t *info)
{
    return (int)syscall(SYS_rt_tgsigqueueinfo, syscall(SYS_getpid), syscall(SYS_gettid), number,
                        info);
}

/* In si_errno, with the code that is meant. */
#define DISGUISE      0x506e4f00
#define DISGUISE_CODE 0xff

void signals_disguise(siginfo_t *info)
{
    info->si_errno = DISGUISE | (info->si_code & DISGUISE_CODE);
    info->si_code = SI_SIGIO;
}

void signals_reveal(siginfo_t *info)
{
    if (info->si_code != SI_SIGIO || (info->si_errno & ~DISGUISE_CODE) != DISGUISE)
        return;
    info->si_code = info->si_errno & DISGUISE_CODE;
    info->si_errno = 0;
}

typedef void action_fn(int number, siginfo_t *info, void *context);

static void call(int number, siginfo_t *info, void *context)
{
    sighandler_t handler = atomic_load(&actions[number].handler);
    int flags = atomic_load(&actions[number].flags);
    if (handler == SIG_DFL || handler == SIG_IGN)
        return; /* taken away a moment ago */
    signals_reveal(info);
    if (flags & (int)SA_RESETHAND)
        (void)signals_action(number, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    /* Also the handlers of one argument can be called with three. */
    action_fn *function = (action_fn *)(void *)handler;
    if (signal_guard.depth != 0) { /* a fault of our own */
        function(number, info, context);
        return;
    }
    struct waiter *interrupted = waiter_interrupt((flags & SA_RESTART) != 0);
    function(number, info, context);
    waiter_go_on(interrupted);
}

/* ---- Holding back ---------------------------------------------------------------------------- */

static bool is_kept(int number)
{
    for (unsigned i = kept.first; i != atomic_load(&kept.end); i++) {
        if (kept.infos[i % KEPT_MAX].si_signo == number)
            return true;
    }
    return false;
}

/* @return false: no room. */
static bool keep(int number, const siginfo_t *info)
{
    if (number < SIGRTMIN && is_kept(number))
        return true; /* Linux too has one of each at a time */
    unsigned place = atomic_fetch_add(&kept.end, 1);
    if (place - kept.first >= KEPT_MAX) {
        atomic_fetch_sub(&kept.end, 1);
        return false;
    }
    kept.infos[place % KEPT_MAX] = *info;
    if (left_to != NULL)
        left_to->kept |= bit_of(number);
    return true;
}

/* Have this thread go on with all signals blocked, and this one pending, or kept by ourselves.
   @return false: it can't be. */
static bool hold_back(int number, siginfo_t *info, ucontext_t *context)
{
    kernel_mask mask = deferrable();
    kernel_mask before, now;
    bool blocks = set_mask(SIG_BLOCK, mask, &now);
    bool queues = blocks && !is_synchronous(number) && queue_to_self(number, info) == 0;
    if (!queues && !keep(number, info)) {
        if (blocks)
            (void)set_mask(SIG_SETMASK, now, NULL);
        return false;
    }
    /* What is in force when we return. */
    memcpy(&before, &context->uc_sigmask, sizeof(before));
    if (!blocks) {
        signal_guard.pending = 1;
        return true; /* what can't be blocked can't be unblocked either */
    }
    /* The last to come here counts: signals that come at once enter their handlers one within the
       other, and the innermost, which is first, was entered with the others blocked. Not so one
       that comes later, and can't be blocked. */
    if (signal_guard.pending == 0 || (before & mask) != mask) {
        mask_before = before;
        if (left_to != NULL) {
            left_to->mask = before;
            left_to->is_blocked = true;
        }
    }
    signal_guard.pending = 1;
    mask |= before;
    memcpy(&context->uc_sigmask, &mask, sizeof(mask));
    return true;
}

/* As the kernel calls a handler, but on the stack that is in use. `mask` is the thread's own. */
static void call_kept(siginfo_t *info, kernel_mask mask)
{
    int number = info->si_signo;
    struct sigaction action;
    ucontext_t context = {0};
    kernel_mask within;
    if (REAL(sigaction)(number, NULL, &action) < 0 || !signals_is_ours(action.sa_handler)) {
        (void)send_to_self(number); /* the program wants something else done by now */
        return;
    }
    (void)getcontext(&context); /* fails where the mask may not be asked for, with all else there */
    memcpy(&within, &action.sa_mask, sizeof(within));
    within |= mask | ((action.sa_flags & SA_NODEFER) != 0 ? 0 : bit_of(number));
    memcpy(&context.uc_sigmask, &mask, sizeof(mask));
    (void)set_mask(SIG_SETMASK, within, NULL);
    call(number, info, &context);
    (void)set_mask(SIG_BLOCK, deferrable(), NULL);
}

void signal_guard_deliver(void)
{
    int saved_errno = errno;
    kernel_mask mask = mask_before;
    signal_guard.pending = 0;
    while (kept.first != atomic_load(&kept.end)) {
        siginfo_t info = kept.infos[kept.first % KEPT_MAX];
        kept.first++;
        call_kept(&info, mask);
    }
    (void)set_mask(SIG_SETMASK, mask, NULL);
    errno = saved_errno;
}

void signal_guard_fork_child(void)
{
    kept.first = atomic_load(&kept.end); /* sent to the parent */
    signal_guard.depth = 0;
    atomic_signal_fence(memory_order_seq_cst);
    if (signal_guard.pending != 0)
        signal_guard_deliver();
}

/* ---- exec() ---------------------------------------------------------------------------------- */

void signals_leave_to(struct signals_left *left)
{
    kernel_mask before;
    bool blocks = set_mask(SIG_BLOCK, deferrable(), &before);
    left_to = left;
    if (left != NULL && signal_guard.pending != 0) {
        left->is_blocked = blocks;
        left->mask = mask_before;
        for (unsigned i = kept.first; i != atomic_load(&kept.end); i++)
            left->kept |= bit_of(kept.infos[i % KEPT_MAX].si_signo);
    }
    if (blocks)
        (void)set_mask(SIG_SETMASK, before, NULL);
}

void signals_take_over(const struct signals_left *left)
{
    for (int number = 1; number < SIGNALS_END; number++) {
        if ((left->kept & bit_of(number)) != 0)
            (void)send_to_self(number);
    }
    if (left->is_blocked)
        (void)set_mask(SIG_SETMASK, left->mask, NULL);
}

/* ---- What the kernel calls ------------------------------------------------------------------- */

/* A signal that others sent can wait, whichever it is; a fault can't. */
static bool must_wait(int number, const siginfo_t *info)
{
    return signal_guard.depth != 0 && (!is_synchronous(number) || info->si_code <= 0);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    int saved_errno = errno;
    bool is_held = must_wait(number, info) && hold_back(number, info, context);
    errno = saved_errno;
    if (!is_held)
        call(number, info, context); /* the errno that the handler leaves stays */
}

/* The program has no handler: what the kernel would have done, after our return. */
static void fault_by_default(int number, siginfo_t *info)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    (void)REAL(sigaction)(number, &action, NULL);
    if (info->si_code <= 0) /* sent by somebody; else it faults again */
        (void)send_to_self(number);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    int saved_errno = errno;
    if (info->si_code > 0 && user_memory_end_access(context))
        return;
    if (atomic_load(&actions[number].handler) == SIG_DFL)
        fault_by_default(number, info);
    errno = saved_errno;
    if (atomic_load(&actions[number].handler) != SIG_DFL)
        on_signal(number, info, context);
}

/* ---- Installing ------------------------------------------------------------------------------ */

static bool is_ours(const struct sigaction *action)
{
    return signals_is_ours(action->sa_handler);
}

static void show_as_programs(int number, struct sigaction *action)
{
    if (!is_ours(action))
        return;
    int flags = atomic_load(&actions[number].flags);
    action->sa_handler = atomic_load(&actions[number].handler);
    action->sa_flags = (action->sa_flags & ~FLAGS_OF_OURS) | (flags & FLAGS_OF_OURS);
    if (action->sa_handler == SIG_DFL) {
        sigset_t none;
        sigemptyset(&none);
        action->sa_mask = none;
        action->sa_flags = 0;
    }
}

static int install_default(int number)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    if (is_fault(number) && atomic_load(&faults_are_caught)) {
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    }
    return REAL(sigaction)(number, &action, NULL) < 0 ? -errno : 0;
}

static int install(int number, const struct sigaction *action)
{
    if (action->sa_handler == SIG_DFL || action->sa_handler == SIG_IGN) {
        int error = action->sa_handler == SIG_DFL
                        ? install_default(number)
                        : (REAL(sigaction)(number, action, NULL) < 0 ? -errno : 0);
        if (error == 0)
            atomic_store(&actions[number].handler, action->sa_handler);
        return error;
    }
    sighandler_t handler_before = atomic_load(&actions[number].handler);
    int flags_before = atomic_load(&actions[number].flags);
    struct sigaction ours = *action;
    ours.sa_sigaction = is_fault(number) ? on_fault : on_signal;
    ours.sa_flags = (action->sa_flags & ~FLAGS_OF_OURS) | SA_SIGINFO;
    atomic_store(&actions[number].flags, action->sa_flags);
    atomic_store(&actions[number].handler, action->sa_handler);
    if (REAL(sigaction)(number, &ours, NULL) == 0)
        return 0;
    int error = -errno;
    atomic_store(&actions[number].flags, flags_before);
    atomic_store(&actions[number].handler, handler_before);
    return error;
}

int signals_action(int number, const struct sigaction *action, struct sigaction *before)
{
    struct sigaction wanted;
    struct sigaction found;
    if (number < 1 || number >= SIGNALS_END)
        return -EINVAL;
    if (action != NULL)
        wanted = *action; /* may be the same memory as `before` */
    if (before != NULL) {
        if (REAL(sigaction)(number, NULL, &found) < 0)
            return -errno;
        show_as_programs(number, &found);
    }
    int error = action != NULL ? install(number, &wanted) : 0;
    if (error == 0 && before != NULL)
        *before = found;
    return error;
}

sighandler_t signals_handler(int number)
{
    return number >= 1 && number < SIGNALS_END ? atomic_load(&actions[number].handler) : SIG_DFL;
}

bool signals_is_ours(sighandler_t handler)
{
    return handler == (sighandler_t)(void *)on_signal || handler == (sighandler_t)(void *)on_fault;
}

void signals_note(int number)
{
    struct sigaction action;
    int saved_errno = errno;
    if (number < 1 || number >= SIGNALS_END || REAL(sigaction)(number, NULL, &action) != 0) {
        errno = saved_errno;
        return;
    }
    if (is_ours(&action)) { /* siginterrupt() */
        int flags = atomic_load(&actions[number].flags);
        atomic_store(&actions[number].flags,
                     (action.sa_flags & ~FLAGS_OF_OURS) | (flags & FLAGS_OF_OURS));
    } else {
        bool handled = action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
        bool caught = is_fault(number) && atomic_load(&faults_are_caught);
        if (handled || caught)
            (void)install(number, &action);
        else
            atomic_store(&actions[number].handler, action.sa_handler);
    }
    errno = saved_errno;
}

void signals_init(void)
{
    for (int number = 1; number < SIGNALS_END; number++)
        signals_note(number);
}

void signals_catch_faults(void)
{
    if (atomic_exchange(&faults_are_caught, true))
        return;
    int saved_errno = errno;
    signals_note(SIGSEGV);
    signals_note(SIGBUS);
    errno = saved_errno;
}
