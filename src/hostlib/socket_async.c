#include "hostlib/socket_async.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hostlib/engine_link.h"
#include "hostlib/joined_links.h"
#include "hostlib/real.h"
#include "hostlib/signals.h"
#include "hostlib/socket_extra.h"
#include "hostlib/user_memory.h"

#define HELPER_STACK_BYTES (128u << 10)

static _Atomic bool helper_runs;

/* ---- The thread that looks for events -------------------------------------------------------- */

static void *look_for_events(void *unused)
{
    (void)unused;
    struct waiter waiter;
    struct pollfd pollfds[WAITER_POLLFDS];
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    waiter_begin(&waiter, NULL);
    for (;;) {
        links_poll_all();
        (void)waiter_sleep(&waiter, pollfds, 0, TIME_NEVER, NULL);
    }
    return NULL;
}

/* Without it signals come when the program next looks at a socket. */
static void need_helper(void)
{
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    if (atomic_exchange(&helper_runs, true))
        return;
    sigfillset(&all);
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attributes, HELPER_STACK_BYTES);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread, &attributes, look_for_events, NULL);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    atomic_store(&helper_runs, error == 0);
}

bool socket_async_is_used(void)
{
    return atomic_load_explicit(&helper_runs, memory_order_relaxed);
}

void socket_async_fork_child(void)
{
    atomic_store(&helper_runs, false);
}

/* ---- Owner and signal ------------------------------------------------------------------------ */

bool socket_async_is_control(int command)
{
    return command == F_SETOWN || command == F_GETOWN || command == F_SETOWN_EX ||
           command == F_GETOWN_EX || command == F_SETSIG || command == F_GETSIG;
}

static bool exists(const struct f_owner_ex *owner)
{
    pid_t pid = owner->type == F_OWNER_PGRP ? -owner->pid : owner->pid;
    int saved_errno = errno;
    bool found = syscall(SYS_kill, pid, 0) == 0 || errno != ESRCH;
    errno = saved_errno;
    return found;
}

/* The kernel's socket, where there is one, has it too: its own events are signalled by the kernel.
 */
static int tell_kernel(const struct socket *socket, int fd, int command, long argument)
{
    if (socket->is_accepted)
        return 0;
    return syscall(SYS_fcntl, fd, command, argument) < 0 ? -errno : 0;
}

static int set_owner(struct socket *socket, int fd, const struct f_owner_ex *owner)
{
    if (owner->type != F_OWNER_TID && owner->type != F_OWNER_PID && owner->type != F_OWNER_PGRP)
        return -EINVAL;
    if (owner->pid != 0 && (owner->pid < 0 || !exists(owner)))
        return -ESRCH;
    int error = tell_kernel(socket, fd, F_SETOWN_EX, (long)owner);
    if (error < 0)
        return error;
    socket_lock(socket);
    struct socket_extra *extra = socket_extra_get(socket);
    if (extra != NULL) {
        extra->async.owner = *owner;
        extra->async.named_by = getpid();
    }
    socket_unlock(socket);
    if (extra == NULL)
        return -ENOMEM;
    if (owner->pid != 0)
        need_helper();
    return 0;
}

static int set_owner_number(struct socket *socket, int fd, int number)
{
    struct f_owner_ex owner = {.type = number < 0 ? F_OWNER_PGRP : F_OWNER_PID};
    if (number == INT_MIN)
        return -EINVAL;
    owner.pid = number < 0 ? -number : number;
    return set_owner(socket, fd, &owner);
}

static struct f_owner_ex get_owner(struct socket *socket)
{
    struct f_owner_ex owner = {.type = F_OWNER_TID};
    socket_lock(socket);
    if (socket->extra != NULL)
        owner = socket->extra->async.owner;
    socket_unlock(socket);
    if (owner.pid != 0 && !exists(&owner))
        owner.pid = 0;
    return owner;
}

int socket_async_owner(struct socket *socket)
{
    struct f_owner_ex owner = get_owner(socket);
    return owner.type == F_OWNER_PGRP ? -owner.pid : owner.pid;
}

static int set_signal(struct socket *socket, int fd, long number)
{
    if (number < 0 || number > SIGRTMAX)
        return -EINVAL;
    int error = tell_kernel(socket, fd, F_SETSIG, number);
    if (error < 0)
        return error;
    socket_lock(socket);
    struct socket_extra *extra = socket_extra_get(socket);
    if (extra != NULL)
        extra->async.signal = (int)number;
    socket_unlock(socket);
    return extra == NULL ? -ENOMEM : 0;
}

int socket_async_control(struct socket *socket, int fd, int command, void *argument)
{
    struct f_owner_ex owner;
    switch (command) {
    case F_SETOWN:
        return set_owner_number(socket, fd, (int)(intptr_t)argument);
    case F_SETOWN_EX:
        if (user_memory_copy_in(&owner, argument, sizeof(owner)) < 0)
            return -EFAULT;
        return set_owner(socket, fd, &owner);
    case F_GETOWN_EX:
        owner = get_owner(socket);
        return user_memory_copy_out(argument, &owner, sizeof(owner));
    case F_SETSIG:
        return set_signal(socket, fd, (long)argument);
    default:
        return socket->extra != NULL ? socket->extra->async.signal : 0;
    }
}

int socket_async_set_owner(struct socket *socket, int fd, const int *owner)
{
    int number;
    if (user_memory_copy_in(&number, owner, sizeof(number)) < 0)
        return -EFAULT;
    return set_owner_number(socket, fd, number);
}

int socket_async_get_owner(struct socket *socket, int fd, int *owner)
{
    (void)fd;
    int number = socket_async_owner(socket);
    return user_memory_copy_out(owner, &number, sizeof(number));
}

int socket_async_set_flags(struct socket *socket, int fd, int flags)
{
    flags &= SOCKET_ASYNC_FLAGS;
    if (flags == 0 && socket->extra == NULL)
        return 0;
    socket_lock(socket);
    struct socket_extra *extra = socket_extra_get(socket);
    if (extra != NULL) {
        if ((flags & O_ASYNC) != 0 && (extra->async.flags & O_ASYNC) == 0)
            extra->async.fd = fd;
        extra->async.flags = flags;
    }
    socket_unlock(socket);
    return extra == NULL ? -ENOMEM : 0;
}

/* ---- Signalling ------------------------------------------------------------------------------ */

/* Source: Linux include/uapi/asm-generic/siginfo.h, NSIGPOLL; fs/fcntl.c, band_table. By reason. */
static const long bands[] = {
    [POLL_IN] = EPOLLIN | EPOLLRDNORM,
    [POLL_OUT] = EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND,
    [POLL_MSG] = EPOLLIN | EPOLLRDNORM | EPOLLMSG,
    [POLL_ERR] = EPOLLERR,
    [POLL_PRI] = EPOLLPRI | EPOLLRDBAND,
    [POLL_HUP] = EPOLLHUP | EPOLLERR,
};

static bool is_thread_of_ours(pid_t tid)
{
    return syscall(SYS_tgkill, getpid(), tid, 0) == 0;
}

/* @return 0; a negative number: the signal's queue is full. */
static long send_to_us(const struct f_owner_ex *owner, int number, siginfo_t *info)
{
    info->si_signo = number;
    signals_disguise(info);
    if (owner->type == F_OWNER_TID)
        return syscall(SYS_rt_tgsigqueueinfo, getpid(), owner->pid, number, info);
    return syscall(SYS_rt_sigqueueinfo, getpid(), number, info);
}

/* Others can't be told who or why: that is the kernel's to say. */
static void send_elsewhere(const struct f_owner_ex *owner, int number)
{
    if (owner->type == F_OWNER_TID)
        syscall(SYS_tkill, owner->pid, number);
    else
        syscall(SYS_kill, owner->type == F_OWNER_PGRP ? -owner->pid : owner->pid, number);
}

static void send_signal(const struct socket_async *async, int number, siginfo_t *info)
{
    const struct f_owner_ex *owner = &async->owner;
    int saved_errno = errno;
    bool ours = owner->type == F_OWNER_PID
                    ? owner->pid == getpid()
                    : owner->type == F_OWNER_TID && is_thread_of_ours(owner->pid);
    siginfo_t plain = {.si_code = SI_KERNEL};
    if (owner->pid == 0) {
        /* nobody */
    } else if (ours) {
        if (info == NULL || send_to_us(owner, number, info) < 0)
            (void)send_to_us(owner, info == NULL ? number : SIGIO, &plain);
    } else if (async->named_by == getpid()) {
        send_elsewhere(owner, number);
    }
    errno = saved_errno;
}

void socket_async_signal(struct socket *socket, enum socket_wake wake, int reason)
{
    struct socket_async *async = &socket->extra->async;
    if (wake == SOCKET_WAKE_URGENT)
        send_signal(async, SIGURG, NULL);
    if ((async->flags & O_ASYNC) == 0 || (wake == SOCKET_WAKE_READERS && async->readers > 0))
        return;
    if (async->signal == 0) {
        if (wake != SOCKET_WAKE_URGENT) /* it has had its own */
            send_signal(async, SIGIO, NULL);
        return;
    }
    siginfo_t info = {.si_code = reason};
    info.si_band = bands[reason];
    info.si_fd = async->fd;
    send_signal(async, async->signal, &info);
}
