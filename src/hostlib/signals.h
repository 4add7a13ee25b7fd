/**
 * @file signals.h
 * The layer between the kernel and the program's signal handlers. Each handler is installed behind
 * one of ours, with the program's own flags and mask, which
 *   - holds the signal back while its thread is within the library (signal_guard.h): it is blocked
 *     and sent again, so that the kernel delivers it, with all that belongs to it, once that is
 *     over. Where the kernel can't, we call the handler then, on the stack that is in use. Only a
 *     fault of the thread's own does not wait;
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
#include <stdint.h>

/** What a thread held back when it called exec(): for the program that comes. */
struct signals_left {
    uint64_t mask;   /**< the thread's own: bit per signal, from 1 on */
    uint64_t kept;   /**< likewise: came, and the kernel does not know */
    bool is_blocked; /**< all that can be is blocked, instead of `mask` */
};

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

/**
 * Have `left`, shared with the program to come, say at any moment what this thread holds back. An
 * exec() ends a guarded stretch without its end being reached.
 * @param left  all zero; NULL: the exec() has failed.
 */
void signals_leave_to(struct signals_left *left);

/** In the new program: as if these signals had come just after the exec(). */
void signals_take_over(const struct signals_left *left);

/** Have faults on the program's memory end the access instead of the program, from now on. */
void signals_catch_faults(void);

#endif
