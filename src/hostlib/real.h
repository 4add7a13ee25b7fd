/**
 * @file real.h
 * The next definitions of the calls that we interpose: libc's, or those of another preloaded
 * library. Not a wrapper: nothing here looks at descriptors.
 */
#ifndef PNO_HOSTLIB_REAL_H
#define PNO_HOSTLIB_REAL_H

#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <termios.h>
#include <time.h>

struct real_calls {
#define INTERPOSED(result, name, parameters) result(*name) parameters;
#include "hostlib/interposed.def"
#undef INTERPOSED
};

extern struct real_calls real_calls;

/** Fill in the whole table; idempotent. A call that this libc lacks stays NULL. */
void real_resolve(void);

/** The next definition of `name`, also when another library's constructor runs before ours. */
#define REAL(name)                                                                                 \
    (__builtin_expect(real_calls.name != NULL, 1) ? real_calls.name                                \
                                                  : (real_resolve(), real_calls.name))

/** Marks the definitions that replace libc's. */
#define PNO_EXPORT __attribute__((visibility("default")))

#endif
