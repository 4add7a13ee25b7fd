/* Processes: the forks without handlers, the exits without destructors, our own start and end. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hostlib/fd_table.h"
#include "hostlib/process.h"
#include "hostlib/real.h"

__attribute__((constructor(101))) static void start(void)
{
    process_init();
}

__attribute__((destructor)) static void end(void)
{
    process_exit();
}

PNO_EXPORT pid_t _Fork(void)
{
    process_fork_prepare();
    pid_t pid = REAL(_Fork)();
    int saved_errno = errno;
    if (pid == 0)
        process_fork_child();
    else
        process_fork_parent();
    errno = saved_errno;
    return pid;
}

/* ---- Children that share our memory, were they let ----------------------------------------------
 */

/*
 * A child that shares our memory would call our functions on its parent's sockets. So it gets a
 * copy, as by fork(); the parent waits for its exec or exit as it would for a vfork() child:
 * until the pipe, close-on-exec, has no writer left.
 */
struct exec_watch {
    int ends[2]; /* -1: no descriptor could be had, nobody waits */
};

static void watch_begin(struct exec_watch *watch)
{
    if (syscall(SYS_pipe2, watch->ends, O_CLOEXEC) < 0)
        watch->ends[0] = watch->ends[1] = -1;
}

static void watch_child(struct exec_watch *watch)
{
    process_may_not_allocate = true;
    if (watch->ends[0] < 0)
        return;
    syscall(SYS_close, watch->ends[0]);
    watch->ends[1] = fd_make_internal(watch->ends[1]);
}

static void watch_parent(const struct exec_watch *watch, pid_t pid)
{
    char byte;
    int saved_errno = errno;
    if (watch->ends[0] < 0)
        return;
    syscall(SYS_close, watch->ends[1]);
    while (pid > 0 && syscall(SYS_read, watch->ends[0], &byte, 1) < 0 && errno == EINTR)
        ;
    syscall(SYS_close, watch->ends[0]);
    errno = saved_errno;
}

pid_t process_fork_until_exec(void)
{
    struct exec_watch watch;
    watch_begin(&watch);
    pid_t pid = _Fork();
    if (pid == 0)
        watch_child(&watch);
    else
        watch_parent(&watch, pid);
    return pid;
}

PNO_EXPORT pid_t vfork(void)
{
    return process_fork_until_exec();
}

struct cloned {
    int (*run)(void *argument);
    void *argument;
    bool is_watched;
    struct exec_watch watch;
};

static int run_cloned(void *context)
{
    struct cloned *cloned = context;
    process_fork_child();
    if (cloned->is_watched)
        watch_child(&cloned->watch);
    return cloned->run(cloned->argument);
}

/* Threads, and children that share memory but do not exec, are left as they are. */
PNO_EXPORT int clone(int (*run)(void *argument), void *stack, int flags, void *argument, ...)
{
    va_list list;
    va_start(list, argument);
    pid_t *parent_tid = va_arg(list, pid_t *);
    void *tls = va_arg(list, void *);
    pid_t *child_tid = va_arg(list, pid_t *);
    va_end(list);
    bool is_vfork = (flags & CLONE_VM) != 0 && (flags & CLONE_VFORK) != 0;
    if (((flags & CLONE_VM) != 0 && !is_vfork) || run == NULL || stack == NULL)
        return REAL(clone)(run, stack, flags, argument, parent_tid, tls, child_tid);
    struct cloned cloned = {.run = run, .argument = argument};
    if (is_vfork) {
        cloned.is_watched = true;
        watch_begin(&cloned.watch);
        flags &= ~(CLONE_VM | CLONE_VFORK);
    }
    process_fork_prepare();
    int pid = REAL(clone)(run_cloned, stack, flags, &cloned, parent_tid, tls, child_tid);
    int saved_errno = errno;
    process_fork_parent();
    errno = saved_errno;
    if (cloned.is_watched)
        watch_parent(&cloned.watch, pid);
    return pid;
}

PNO_EXPORT int __clone(int (*run)(void *argument), void *stack, int flags, void *argument,
                       ...) __THROW __attribute__((alias("clone")));

PNO_EXPORT void _exit(int status)
{
    process_exit();
    syscall(SYS_exit_group, status);
    __builtin_unreachable();
}

PNO_EXPORT void _Exit(int status)
{
    _exit(status);
}
