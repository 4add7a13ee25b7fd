/* Processes: the forks without handlers, the exits without destructors, our own start and end. */
#include <errno.h>
#include <fcntl.h>
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

/*
 * A child that shares our memory would call our functions on its parent's sockets. So it gets a
 * copy, as by fork(); the parent waits for its exec or exit as it would for a vfork() child:
 * until the pipe, close-on-exec, has no writer left.
 */
pid_t process_fork_until_exec(void)
{
    int ends[2] = {-1, -1};
    bool waits = syscall(SYS_pipe2, ends, O_CLOEXEC) == 0;
    pid_t pid = _Fork();
    int saved_errno = errno;
    if (pid == 0) {
        process_may_not_allocate = true;
        if (waits) {
            syscall(SYS_close, ends[0]);
            ends[1] = fd_make_internal(ends[1]);
        }
        return 0;
    }
    if (waits) {
        char byte;
        syscall(SYS_close, ends[1]);
        while (pid > 0 && syscall(SYS_read, ends[0], &byte, 1) < 0 && errno == EINTR)
            ;
        syscall(SYS_close, ends[0]);
    }
    errno = saved_errno;
    return pid;
}

PNO_EXPORT pid_t vfork(void)
{
    return process_fork_until_exec();
}

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
