/**
 * @file signals.h
 * The layer between the kernel and the program's signal handlers. Each handler is installed behind
 * one of ours, with the program's own flags and mask, which
 *   - holds the signal back while its thread is within the library (signal_guard.h): it is blocked
 *     and sent again, so that the kernel delivers it, with all that belongs to it, once that is
 *     over;
 *   - notes whether the handler asks for interrupted calls to be restarted (SA_RESTART), by which a
 *     blocking call ends by EINTR exactly where Linux's would;
 *   - keeps the wait that it interrupts apart from waits in the handler (waiter.h);
 *   - and ends an access of ours to the program's memory that faulted (user_memory.h).
 * The program is told of its own handlers alone.
 */
#ifndef PNO_HOSTLIB_SIGNALS_H
#define PNO_HOSTLIB_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

/** Put what is installed already behind ours. */
void signals_init(void);

/** sigaction(): negative errno, or 0. Async-signal-safe. */
int signals_action(int number, const struct sigaction *action, struct sigaction *before);

/** What the program has installed, where signals_is_ours(). */
sighandler_t signals_handler(int number);
bool signals_is_ours(sighandler_t handler);

/** libc has changed this signal's action by itself: put a new handler behind ours. */
void signals_note(int number);

/**
 * The kernel lets no thread but the receiver itself send what it has the right to say (si_code 0
 * and above); so such a signal is sent in disguise, and revealed where the program is told of it.
 */
void signals_disguise(siginfo_t *info);
void signals_reveal(siginfo_t *info);

/** Have faults on the program's memory end the access instead of the program, from now on. */
void signals_catch_faults(void);

#endif
