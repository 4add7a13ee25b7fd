/**
 * @file poll.h
 * poll() and select() over offloaded sockets and kernel descriptors mixed.
 */
#ifndef PNO_HOSTLIB_POLL_H
#define PNO_HOSTLIB_POLL_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/select.h>

/** Whether any of these needs us; if not, the kernel's call serves. */
bool poll_has_offloaded(const struct pollfd *fds, nfds_t count);

/** ppoll(). @return as poll(), or negative errno. */
int poll_wait(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
              const sigset_t *mask);

/** Whether any descriptor below `count` in the sets needs us. */
bool select_has_offloaded(int count, const fd_set *read_set, const fd_set *write_set,
                          const fd_set *except_set);

/** pselect(). @return as select(), or negative errno. */
int select_wait(int count, fd_set *read_set, fd_set *write_set, fd_set *except_set,
                const struct timespec *timeout, const sigset_t *mask);

#endif
