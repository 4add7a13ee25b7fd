/* The calls that change signals' actions: libc does it, and what it did is noted. */
#include <signal.h>

#include "hostlib/real.h"
#include "hostlib/signals.h"

PNO_EXPORT int sigaction(int number, const struct sigaction *action, struct sigaction *before)
{
    int result = REAL(sigaction)(number, action, before);
    if (action != NULL)
        signals_note(number);
    return result;
}

int __sigaction(int number, const struct sigaction *action, struct sigaction *before);

PNO_EXPORT int __sigaction(int number, const struct sigaction *action, struct sigaction *before)
{
    return sigaction(number, action, before);
}

PNO_EXPORT sighandler_t signal(int number, sighandler_t handler)
{
    sighandler_t before = REAL(signal)(number, handler);
    signals_note(number);
    return before;
}

PNO_EXPORT sighandler_t ssignal(int number, sighandler_t handler)
{
    return signal(number, handler);
}

PNO_EXPORT sighandler_t __sysv_signal(int number, sighandler_t handler)
{
    sighandler_t before = REAL(__sysv_signal)(number, handler);
    signals_note(number);
    return before;
}

PNO_EXPORT sighandler_t sysv_signal(int number, sighandler_t handler)
{
    return __sysv_signal(number, handler);
}

PNO_EXPORT sighandler_t sigset(int number, sighandler_t handler)
{
    sighandler_t before = REAL(sigset)(number, handler);
    signals_note(number);
    return before;
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
