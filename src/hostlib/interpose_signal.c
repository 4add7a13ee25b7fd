/* The calls that change signals' actions. sigaction() is ours; the older ones libc does, and what
   it did is looked at. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>

#include "hostlib/real.h"
#include "hostlib/signals.h"

PNO_EXPORT int sigaction(int number, const struct sigaction *action, struct sigaction *before)
{
    int error = signals_action(number, action, before);
    if (error < 0)
        errno = -error;
    return error < 0 ? -1 : 0;
}

int __sigaction(int number, const struct sigaction *action, struct sigaction *before);

PNO_EXPORT int __sigaction(int number, const struct sigaction *action, struct sigaction *before)
{
    return sigaction(number, action, before);
}

/* libc has put a handler in place of `before`, which may be ours for the program's. */
static sighandler_t changed(int number, sighandler_t before, sighandler_t programs)
{
    bool was_ours = signals_is_ours(before);
    signals_note(number);
    return was_ours ? programs : before;
}

PNO_EXPORT sighandler_t signal(int number, sighandler_t handler)
{
    sighandler_t programs = signals_handler(number);
    return changed(number, REAL(signal)(number, handler), programs);
}

PNO_EXPORT sighandler_t ssignal(int number, sighandler_t handler)
{
    return signal(number, handler);
}

PNO_EXPORT sighandler_t __sysv_signal(int number, sighandler_t handler)
{
    sighandler_t programs = signals_handler(number);
    return changed(number, REAL(__sysv_signal)(number, handler), programs);
}

PNO_EXPORT sighandler_t sysv_signal(int number, sighandler_t handler)
{
    return __sysv_signal(number, handler);
}

PNO_EXPORT sighandler_t sigset(int number, sighandler_t handler)
{
    sighandler_t programs = signals_handler(number);
    return changed(number, REAL(sigset)(number, handler), programs);
}

PNO_EXPORT int sigignore(int number)
{
    int result = REAL(sigignore)(number);
    signals_note(number);
    return result;
}

PNO_EXPORT int siginterrupt(int number, int interrupts)
{
    int result = REAL(siginterrupt)(number, interrupts);
    signals_note(number);
    return result;
}

PNO_EXPORT int sigwaitinfo(const sigset_t *set, siginfo_t *info)
{
    int result = REAL(sigwaitinfo)(set, info);
    if (result > 0 && info != NULL)
        signals_reveal(info);
    return result;
}

PNO_EXPORT int sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
{
    int result = REAL(sigtimedwait)(set, info, timeout);
    if (result > 0 && info != NULL)
        signals_reveal(info);
    return result;
}
