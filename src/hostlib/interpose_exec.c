/* exec: a program that inherits TCP sockets of ours gets what it needs to go on with them. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "hostlib/environment.h"
#include "hostlib/fd_table.h"
#include "hostlib/handover.h"
#include "hostlib/interpose.h"
#include "hostlib/loadable.h"
#include "hostlib/process.h"
#include "hostlib/pump.h"
#include "hostlib/real.h"

/* Connections that a program without libpno.so inherits: its standard streams. What has another
   number was mostly forgotten there by who executes sudo, ping or sendmail, and goes on being used
   by that program: a helper that reads ahead, and ends with the child, would ruin it. */
#define PROMOTED_MAX (STDERR_FILENO + 1)

/* One call of the family: which program, and what runs it. */
struct exec_call {
    const char *file;
    int directory_fd;
    int flags;
    char *const *arguments;
    enum { EXEC_PATH, EXEC_SEARCH, EXEC_AT, EXEC_DESCRIPTOR } kind;
};

static int run(const struct exec_call *call, char *const environment[])
{
    switch (call->kind) {
    case EXEC_SEARCH:
        return REAL(execvpe)(call->file, call->arguments, environment);
    case EXEC_AT:
        return REAL(execveat)(call->directory_fd, call->file, call->arguments, environment,
                              call->flags);
    case EXEC_DESCRIPTOR:
        return REAL(fexecve)(call->directory_fd, call->arguments, environment);
    case EXEC_PATH:
    default:
        return REAL(execve)(call->file, call->arguments, environment);
    }
}

/* ---- exec ----------------------------------------------------------------------------------- */

static int run_with_sockets(const struct exec_call *call, char *const given[])
{
    struct environment environment;
    struct handover handover;
    char number[16];
    if (!environment_begin(&environment, given, LOADABLE_YES))
        return -1;
    int error = handover_prepare(&handover);
    if (error == -ENOMEM) { /* as the kernel has it */
        environment_release(&environment);
        errno = ENOMEM;
        return -1;
    }
    if (error < 0) {
        log_warning("'%s' does not get the sockets it inherits: %s", call->file, strerror(-error));
        environment_release(&environment);
        return run(call, given);
    }
    (void)snprintf(number, sizeof(number), "%d", handover.memory_fd);
    environment_set(&environment, HANDOVER_VARIABLE, number);
    int result = run(call, environment.variables);
    int saved_errno = errno;
    handover_cancel(&handover);
    environment_release(&environment);
    errno = saved_errno;
    return result;
}

/* Open the program as the call will find it. @return negative: it can't be told which. */
static int open_program(const struct exec_call *call)
{
    const int how = O_RDONLY | O_CLOEXEC;
    if (call->kind == EXEC_DESCRIPTOR)
        return (int)syscall(SYS_fcntl, call->directory_fd, F_DUPFD_CLOEXEC, 3);
    if (call->kind == EXEC_AT)
        return call->file[0] == '\0'
                   ? (int)syscall(SYS_fcntl, call->directory_fd, F_DUPFD_CLOEXEC, 3)
                   : (int)syscall(SYS_openat, call->directory_fd, call->file, how, 0);
    if (call->kind == EXEC_PATH || strchr(call->file, '/') != NULL)
        return (int)syscall(SYS_openat, AT_FDCWD, call->file, how, 0);
    const char *folders = getenv("PATH");
    int fd = -1;
    while (folders != NULL && fd < 0) {
        char path[PATH_MAX];
        int length = (int)strcspn(folders, ":");
        int written = snprintf(path, sizeof(path), "%.*s/%s", length, folders, call->file);
        if (written > 0 && (size_t)written < sizeof(path))
            fd = (int)syscall(SYS_openat, AT_FDCWD, path, how, 0);
        folders = folders[length] == ':' ? folders + length + 1 : NULL;
    }
    return fd;
}

static enum loadable loadable_call(const struct exec_call *call)
{
    int saved_errno = errno;
    int fd = open_program(call);
    enum loadable loadable = fd < 0 ? LOADABLE_YES : loadable_by(fd);
    if (fd >= 0)
        syscall(SYS_close, fd);
    errno = saved_errno;
    return loadable;
}

enum loadable interpose_loadable(const char *file, bool searches)
{
    struct exec_call call = {.kind = searches ? EXEC_SEARCH : EXEC_PATH, .file = file};
    return loadable_call(&call);
}

/* With our variables added or taken away, as the program needs it. */
static int run_fittingly(const struct exec_call *call, char *const given[], enum loadable loadable)
{
    struct environment environment;
    if (!environment_is_to_change(given, loadable) ||
        !environment_begin(&environment, given, loadable))
        return run(call, given);
    int result = run(call, environment.variables);
    int saved_errno = errno;
    environment_release(&environment);
    errno = saved_errno;
    return result;
}

/* ---- Programs without libpno.so -------------------------------------------------------------- */

/* Connections replaced by kernel streams, and a copy of each in case exec() fails. Their helpers
   wait for the end of a pipe whose other end exec() closes. */
struct promoted {
    int fds[PROMOTED_MAX], copies[PROMOTED_MAX];
    size_t count;
    int go[2]; /* -1: not made yet */
};

/* @return the stream for fd, to be closed; that of another descriptor of the same connection. */
static int promote_once(int fd, struct promoted *promoted)
{
    for (size_t i = 0; i < promoted->count; i++) {
        if (fd_peek(promoted->copies[i]) == fd_peek(fd))
            return (int)syscall(SYS_fcntl, promoted->fds[i], F_DUPFD_CLOEXEC, 0);
    }
    if (promoted->go[0] < 0 && syscall(SYS_pipe2, promoted->go, O_CLOEXEC) < 0)
        return -errno;
    return pump_promote(fd, promoted->go[0]);
}

static void promote(const struct exec_call *call, int fd, struct promoted *promoted)
{
    struct socket *socket = interpose_offloaded(fd);
    if (socket == NULL)
        return; /* the kernel's socket is what it is */
    file_put(&socket->file);
    int stream = promote_once(fd, promoted);
    if (stream < 0) {
        log_warning("'%s' can't load libpno.so: of socket %d it has the kernel's half (%s)",
                    call->file, fd, stream == -ENOTSOCK ? "no connection" : strerror(-stream));
        return;
    }
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy >= 0 && dup2(stream, fd) >= 0) {
        promoted->fds[promoted->count] = fd;
        promoted->copies[promoted->count++] = copy;
    }
    syscall(SYS_close, stream);
}

static int run_without_us(const struct exec_call *call, char *const environment[],
                          enum loadable loadable)
{
    struct promoted promoted = {.go = {-1, -1}};
    for (int fd = 0; fd < PROMOTED_MAX; fd++) {
        if (handover_includes(fd))
            promote(call, fd, &promoted);
    }
    process_settle();
    int result = run_fittingly(call, environment, loadable);
    int saved_errno = errno;
    if (promoted.go[0] >= 0) {
        /* A byte for each helper. */
        (void)!syscall(SYS_write, promoted.go[1], (char[PROMOTED_MAX]){0}, PROMOTED_MAX);
        syscall(SYS_close, promoted.go[0]);
        syscall(SYS_close, promoted.go[1]);
    }
    for (size_t i = 0; i < promoted.count; i++) {
        (void)dup2(promoted.copies[i], promoted.fds[i]);
        (void)close(promoted.copies[i]);
    }
    errno = saved_errno;
    return result;
}

static int run_program(const struct exec_call *call, char *const environment[])
{
    enum loadable loadable = loadable_call(call);
    if (handover_is_needed())
        return loadable == LOADABLE_YES ? run_with_sockets(call, environment)
                                        : run_without_us(call, environment, loadable);
    process_settle();
    return run_fittingly(call, environment, loadable);
}

PNO_EXPORT int execve(const char *path, char *const arguments[], char *const environment[])
{
    struct exec_call call = {.kind = EXEC_PATH, .file = path, .arguments = arguments};
    return run_program(&call, environment);
}

PNO_EXPORT int execv(const char *path, char *const arguments[])
{
    return execve(path, arguments, environ);
}

PNO_EXPORT int execvpe(const char *file, char *const arguments[], char *const environment[])
{
    struct exec_call call = {.kind = EXEC_SEARCH, .file = file, .arguments = arguments};
    return run_program(&call, environment);
}

PNO_EXPORT int execvp(const char *file, char *const arguments[])
{
    return execvpe(file, arguments, environ);
}

PNO_EXPORT int fexecve(int fd, char *const arguments[], char *const environment[])
{
    struct exec_call call = {
        .kind = EXEC_DESCRIPTOR, .file = "", .directory_fd = fd, .arguments = arguments};
    return run_program(&call, environment);
}

PNO_EXPORT int execveat(int directory_fd, const char *path, char *const arguments[],
                        char *const environment[], int flags)
{
    struct exec_call call = {.kind = EXEC_AT,
                             .file = path,
                             .directory_fd = directory_fd,
                             .flags = flags,
                             .arguments = arguments};
    return run_program(&call, environment);
}

/* execl() and its kin: how many arguments there are, `first` among them. */
static size_t count_arguments(const char *first, va_list list)
{
    size_t count = first != NULL;
    while (count > 0 && va_arg(list, const char *) != NULL)
        count++;
    return count;
}

static void collect_arguments(char **arguments, const char *first, size_t count, va_list *list)
{
    arguments[0] = (char *)(uintptr_t)first;
    for (size_t i = 1; i <= count; i++)
        arguments[i] = va_arg(*list, char *);
}

/* Declares `arguments`, an array made of the variable arguments; `list` stands behind them. */
#define COLLECT_ARGUMENTS(first)                                                                   \
    va_list list;                                                                                  \
    va_start(list, first);                                                                         \
    size_t count = count_arguments(first, list);                                                   \
    va_end(list);                                                                                  \
    char **arguments = __builtin_alloca((count + 1) * sizeof(char *));                             \
    va_start(list, first);                                                                         \
    collect_arguments(arguments, first, count, &list)

PNO_EXPORT int execl(const char *path, const char *first, ...)
{
    COLLECT_ARGUMENTS(first);
    va_end(list);
    return execve(path, arguments, environ);
}

PNO_EXPORT int execlp(const char *file, const char *first, ...)
{
    COLLECT_ARGUMENTS(first);
    va_end(list);
    return execvpe(file, arguments, environ);
}

PNO_EXPORT int execle(const char *path, const char *first, ...)
{
    COLLECT_ARGUMENTS(first);
    char *const *environment = va_arg(list, char *const *);
    va_end(list);
    return execve(path, arguments, environment);
}
