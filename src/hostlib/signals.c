#include "hostlib/signals.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/signalfd.h>

#include "hostlib/fd_table.h"
#include "hostlib/real.h"

/* Bit per signal, from 1 on. */
#define SIGNALS_END 65

static _Atomic uint64_t restarting;   /* handled, with SA_RESTART */
static _Atomic uint64_t interrupting; /* handled, without */

/* Raised by the program's own faults, not while it sleeps. */
static bool is_fault(int number)
{
    return number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL ||
           number == SIGTRAP || number == SIGABRT || number == SIGSYS;
}

static void look(int number)
{
    struct sigaction action;
    uint64_t bit = (uint64_t)1 << (number - 1);
    if (is_fault(number) || REAL(sigaction)(number, NULL, &action) != 0)
        return;
    bool handled = action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
    bool restarts = (action.sa_flags & SA_RESTART) != 0;
    if (handled && restarts)
        atomic_fetch_or(&restarting, bit);
    else
        atomic_fetch_and(&restarting, ~bit);
    if (handled && !restarts)
        atomic_fetch_or(&interrupting, bit);
    else
        atomic_fetch_and(&interrupting, ~bit);
}

void signals_note(int number)
{
    if (number < 1 || number >= SIGNALS_END)
        return;
    int saved_errno = errno;
    look(number);
    errno = saved_errno;
}

void signals_init(void)
{
    for (int number = 1; number < SIGNALS_END; number++)
        signals_note(number);
}

bool signals_all_restart(void)
{
    return atomic_load(&interrupting) == 0 && atomic_load(&restarting) != 0;
}

bool signals_are_mixed(void)
{
    return atomic_load(&interrupting) != 0 && atomic_load(&restarting) != 0;
}

int signals_hold_back(sigset_t *mask)
{
    sigset_t watched;
    uint64_t held_back = atomic_load(&restarting);
    sigemptyset(&watched);
    if (pthread_sigmask(SIG_BLOCK, NULL, mask) != 0)
        return -EINVAL;
    for (int number = 1; number < SIGNALS_END; number++) {
        /* What the program itself blocks is to stay pending, unseen. */
        if ((held_back >> (number - 1) & 1) == 0 || sigismember(mask, number) == 1)
            continue;
        sigaddset(&watched, number);
        sigaddset(mask, number);
    }
    int fd = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd_make_internal(fd);
}
