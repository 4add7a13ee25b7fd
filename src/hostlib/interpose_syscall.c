/* syscall(): what programs call by number that is ours under its name. A descriptor that nobody
   here knows costs one more switch. */
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>

#include "hostlib/interpose.h"
#include "hostlib/poll.h"
#include "hostlib/process.h"
#include "hostlib/uring.h"
#include "hostlib/waiter.h"
#include "hostlink/raw_syscall.h"

/* What none of these calls returns: the kernel has the call. */
#define NOT_OURS (-2L)

#define INT(x)      ((int)arguments->x)
#define SIZE(x)     ((size_t)arguments->x)
#define UNSIGNED(x) ((unsigned)arguments->x)
#define POINTER(x)  ((void *)arguments->x)

static long call_data(long number, const struct interpose_arguments *arguments)
{
    switch (number) {
    case SYS_read:
        return read(INT(a), POINTER(b), SIZE(c));
    case SYS_write:
        return write(INT(a), POINTER(b), SIZE(c));
    case SYS_readv:
        return readv(INT(a), POINTER(b), INT(c));
    case SYS_writev:
        return writev(INT(a), POINTER(b), INT(c));
    case SYS_recvfrom:
        return recvfrom(INT(a), POINTER(b), SIZE(c), INT(d), POINTER(e), POINTER(f));
    case SYS_sendto:
        return sendto(INT(a), POINTER(b), SIZE(c), INT(d), POINTER(e), (socklen_t)arguments->f);
    case SYS_recvmsg:
        return recvmsg(INT(a), POINTER(b), INT(c));
    case SYS_sendmsg:
        return sendmsg(INT(a), POINTER(b), INT(c));
    case SYS_recvmmsg:
        return recvmmsg(INT(a), POINTER(b), UNSIGNED(c), INT(d), POINTER(e));
    case SYS_sendmmsg:
        return sendmmsg(INT(a), POINTER(b), UNSIGNED(c), INT(d));
    case SYS_preadv2: /* the kernel has the offset in two halves, of which the lower is whole */
        return preadv2(INT(a), POINTER(b), INT(c), arguments->d, INT(f));
    case SYS_pwritev2:
        return pwritev2(INT(a), POINTER(b), INT(c), arguments->d, INT(f));
    case SYS_sendfile:
        return sendfile(INT(a), INT(b), POINTER(c), SIZE(d));
    case SYS_splice:
        return splice(INT(a), POINTER(b), INT(c), POINTER(d), SIZE(e), UNSIGNED(f));
    default:
        return NOT_OURS;
    }
}

static long call_socket(long number, const struct interpose_arguments *arguments)
{
    switch (number) {
    case SYS_bind:
        return bind(INT(a), POINTER(b), (socklen_t)arguments->c);
    case SYS_listen:
        return listen(INT(a), INT(b));
    case SYS_accept:
        return accept(INT(a), POINTER(b), POINTER(c));
    case SYS_accept4:
        return accept4(INT(a), POINTER(b), POINTER(c), INT(d));
    case SYS_connect:
        return connect(INT(a), POINTER(b), (socklen_t)arguments->c);
    case SYS_shutdown:
        return shutdown(INT(a), INT(b));
    case SYS_getsockname:
        return getsockname(INT(a), POINTER(b), POINTER(c));
    case SYS_getpeername:
        return getpeername(INT(a), POINTER(b), POINTER(c));
    case SYS_getsockopt:
        return getsockopt(INT(a), INT(b), INT(c), POINTER(d), POINTER(e));
    case SYS_setsockopt:
        return setsockopt(INT(a), INT(b), INT(c), POINTER(d), (socklen_t)arguments->e);
    case SYS_dup:
        return dup(INT(a));
    case SYS_fcntl:
        return fcntl(INT(a), INT(b), POINTER(c));
    case SYS_ioctl:
        return ioctl(INT(a), (unsigned long)arguments->b, POINTER(c));
    default:
        return call_data(number, arguments);
    }
}

/* Unlike libc's, they leave the time not slept in their timeout. */
static void leave_rest(struct timespec *timeout, uint64_t deadline_ns)
{
    uint64_t now_ns = waiter_now_ns();
    uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    if (timeout == NULL)
        return;
    timeout->tv_sec = (time_t)(left_ns / NS_PER_S);
    timeout->tv_nsec = (long)(left_ns % NS_PER_S);
}

static long call_ppoll(const struct interpose_arguments *arguments)
{
    if (!poll_has_offloaded(POINTER(a), (nfds_t)arguments->b))
        return NOT_OURS;
    uint64_t deadline_ns = waiter_deadline_ns(POINTER(c));
    int result = ppoll(POINTER(a), (nfds_t)arguments->b, POINTER(c), POINTER(d));
    leave_rest(POINTER(c), deadline_ns);
    return result;
}

static long call_pselect(const struct interpose_arguments *arguments)
{
    const struct {
        const sigset_t *set;
        size_t bytes;
    } *mask = POINTER(f);
    if (!select_has_offloaded(INT(a), POINTER(b), POINTER(c), POINTER(d)))
        return NOT_OURS;
    uint64_t deadline_ns = waiter_deadline_ns(POINTER(e));
    int result = pselect(INT(a), POINTER(b), POINTER(c), POINTER(d), POINTER(e),
                         mask != NULL ? mask->set : NULL);
    leave_rest(POINTER(e), deadline_ns);
    return result;
}

/* Readiness. Such calls may watch any descriptor. @return NOT_OURS: none of these. */
static long call_readiness(long number, const struct interpose_arguments *arguments)
{
    switch (number) {
    case SYS_epoll_ctl:
        return epoll_ctl(INT(a), INT(b), INT(c), POINTER(d));
    case SYS_epoll_wait:
        return epoll_wait(INT(a), POINTER(b), INT(c), INT(d));
    case SYS_epoll_pwait:
        return epoll_pwait(INT(a), POINTER(b), INT(c), INT(d), POINTER(e));
    case SYS_epoll_pwait2:
        return epoll_pwait2(INT(a), POINTER(b), INT(c), POINTER(d), POINTER(e));
    case SYS_poll:
        return poll(POINTER(a), (nfds_t)arguments->b, INT(c));
    case SYS_ppoll:
        return call_ppoll(arguments);
    case SYS_select:
        return select(INT(a), POINTER(b), POINTER(c), POINTER(d), POINTER(e));
    case SYS_pselect6:
        return call_pselect(arguments);
    default:
        return NOT_OURS;
    }
}

/* What makes, ends or renumbers descriptors, of which the table must know. */
static long call_descriptors(long number, const struct interpose_arguments *arguments)
{
    switch (number) {
    case SYS_socket:
        return socket(INT(a), INT(b), INT(c));
    case SYS_epoll_create:
        return epoll_create(INT(a));
    case SYS_epoll_create1:
        return epoll_create1(INT(a));
    case SYS_close:
        return close(INT(a));
    case SYS_close_range:
        return close_range(UNSIGNED(a), UNSIGNED(b), INT(c));
    case SYS_dup2:
        return dup2(INT(a), INT(b));
    case SYS_dup3:
        return dup3(INT(a), INT(b), INT(c));
    default:
        return NOT_OURS;
    }
}

/* A copy of the process that goes on where it was made, as fork()'s does. With memory or a stack
   given it is a thread or the like, which syscall() can't return in. */
static bool is_fork(long number, const struct interpose_arguments *arguments)
{
    if (number == SYS_fork)
        return true;
    if (number == SYS_clone)
        return (arguments->a & CLONE_VM) == 0 && arguments->b == 0;
    const struct clone_args *clone = (const struct clone_args *)arguments->a;
    return number == SYS_clone3 && (clone->flags & CLONE_VM) == 0 && clone->stack == 0;
}

static long call_fork(long number, const struct interpose_arguments *arguments)
{
    process_fork_prepare();
    long child = raw_syscall(number, arguments->a, arguments->b, arguments->c, arguments->d,
                             arguments->e, arguments->f);
    if (child == 0) {
        process_fork_child();
        return 0;
    }
    int saved_errno = errno;
    process_fork_parent();
    errno = saved_errno;
    return child;
}

static long call_uring(long number, const struct interpose_arguments *arguments)
{
    long result = uring_call(number, arguments->a, arguments->b, arguments->c, arguments->d,
                             arguments->e, arguments->f);
    if (result >= 0)
        return result;
    errno = (int)-result;
    return -1;
}

/* They may carry descriptors of ours over a socket that is none. */
static bool carries_descriptors(long number)
{
    return number == SYS_sendmsg || number == SYS_recvmsg || number == SYS_sendmmsg ||
           number == SYS_recvmmsg;
}

static bool is_known(long fd)
{
    return fd_peek((int)fd) != NULL;
}

static long call_ours(long number, const struct interpose_arguments *arguments)
{
    long result = call_descriptors(number, arguments);
    if (result == NOT_OURS && atomic_load_explicit(&fd_table_size, memory_order_relaxed) != 0)
        result = call_readiness(number, arguments);
    if (result == NOT_OURS && (is_known(arguments->a) || carries_descriptors(number) ||
                               (number == SYS_splice && is_known(arguments->c))))
        result = call_socket(number, arguments);
    return result;
}

const uint16_t interpose_numbers[] = {
    SYS_read,           SYS_write,          SYS_close,
    SYS_poll,           SYS_ioctl,          SYS_readv,
    SYS_writev,         SYS_select,         SYS_dup,
    SYS_dup2,           SYS_sendfile,       SYS_socket,
    SYS_connect,        SYS_accept,         SYS_sendto,
    SYS_recvfrom,       SYS_sendmsg,        SYS_recvmsg,
    SYS_shutdown,       SYS_bind,           SYS_listen,
    SYS_getsockname,    SYS_getpeername,    SYS_setsockopt,
    SYS_getsockopt,     SYS_fork,           SYS_execve,
    SYS_fcntl,          SYS_epoll_create,   SYS_epoll_wait,
    SYS_epoll_ctl,      SYS_pselect6,       SYS_ppoll,
    SYS_splice,         SYS_epoll_pwait,    SYS_accept4,
    SYS_epoll_create1,  SYS_dup3,           SYS_recvmmsg,
    SYS_sendmmsg,       SYS_preadv2,        SYS_pwritev2,
    SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register,
    SYS_close_range,    SYS_epoll_pwait2,   INTERPOSE_NUMBER_END,
};

long interpose_call(long number, const struct interpose_arguments *arguments)
{
    if (is_fork(number, arguments))
        return call_fork(number, arguments);
    if (number == SYS_execve)
        return execve(POINTER(a), POINTER(b), POINTER(c));
    if (number >= SYS_io_uring_setup && number <= SYS_io_uring_register)
        return call_uring(number, arguments);
    long result = call_ours(number, arguments);
    if (result != NOT_OURS)
        return result;
    return raw_syscall(number, arguments->a, arguments->b, arguments->c, arguments->d, arguments->e,
                       arguments->f);
}

/* Parentheses keep raw_syscall.h's macro off. As libc's, it takes six arguments whatever the caller
   gave, the last from the caller's stack: not for a sanitizer to judge. */
PNO_EXPORT __attribute__((no_sanitize("address"))) long(syscall)(long number, ...)
{
    struct interpose_arguments arguments;
    va_list list;
    va_start(list, number);
    arguments.a = va_arg(list, long);
    arguments.b = va_arg(list, long);
    arguments.c = va_arg(list, long);
    arguments.d = va_arg(list, long);
    arguments.e = va_arg(list, long);
    arguments.f = va_arg(list, long);
    va_end(list);
    return interpose_call(number, &arguments);
}
