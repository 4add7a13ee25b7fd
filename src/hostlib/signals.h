/**
 * @file signals.h
 * Which signal handlers ask for interrupted calls to be restarted (SA_RESTART): what a blocking
 * call needs to know to end by EINTR exactly where Linux's would. Not a layer between the program
 * and its handlers: they are installed as they are, and only their flags are noted.
 */
#ifndef PNO_HOSTLIB_SIGNALS_H
#define PNO_HOSTLIB_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

/** Look at what is installed already. Not when first needed: a sandbox may not allow it then. */
void signals_init(void);

/** The program may have changed this signal's action. Async-signal-safe. */
void signals_note(int number);

/** Whether every handler installed asks for a restart, and there is one. */
bool signals_all_restart(void);

/** Whether some handlers ask for it and some do not. Then a call that is to be restarted sleeps
    with the former's signals blocked, and wakes for them by a signalfd. */
bool signals_are_mixed(void);

/**
 * The mask to sleep with: the thread's own, and what restarts.
 * @return a descriptor that is readable when a signal is pending that the mask alone holds back;
 *         close it by fd_close_internal(). Negative: none can be had.
 */
int signals_hold_back(sigset_t *mask);

#endif
