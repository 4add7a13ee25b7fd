/**
 * @file poll_unrestarted.h
 * ppoll() that ends where the kernel would restart it: when a signal without a handler has come,
 * which is when the process was stopped and goes on (SIGSTOP, SIGTSTP, SIGCONT; a debugger, a
 * frozen control group). Linux's epoll_wait(), and socket calls with SO_RCVTIMEO or SO_SNDTIMEO,
 * end by EINTR then, while ppoll() is restarted and does not tell (signal(7), "Interruption of
 * system calls and library functions by stop signals").
 *
 * No thread, handler or descriptor is needed to learn of it: the system call instruction is a
 * restartable sequence (rseq(2)), which the kernel aborts when it is about to be executed again.
 * Where the kernel or libc has none (before Linux 4.18 and glibc 2.35; a tunable), and where the
 * kernel aborts none after a system call, it is ppoll() as it is.
 */
#ifndef PNO_HOSTLIB_POLL_UNRESTARTED_H
#define PNO_HOSTLIB_POLL_UNRESTARTED_H

#include <poll.h>
#include <signal.h>
#include <time.h>

/** Look for libc's restartable sequences; once, at start. */
void poll_unrestarted_init(void);

/**
 * No cancellation point by itself: the thread's cancellation type is asynchronous meanwhile.
 * @param timeout  what is left of it is written there; NULL: none.
 * @param mask     or NULL.
 * @return how many are ready, or negative errno; -EINTR also where ppoll() would be restarted.
 */
int poll_unrestarted(struct pollfd *pollfds, nfds_t count, struct timespec *timeout,
                     const sigset_t *mask);

#endif
