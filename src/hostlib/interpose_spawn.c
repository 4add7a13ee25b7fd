/* Programs that libc starts by itself: posix_spawn(), system(), popen(). libc makes the child where
   nobody can intercept its exec; so when the program is to inherit sockets of the engine's, it is
   started here, by our own fork and exec. All other programs are left to libc. */
#include <errno.h>
#include <fcntl.h>
#include <paths.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostlib/environment.h"
#include "hostlib/handover.h"
#include "hostlib/interpose.h"
#include "hostlib/lock.h"
#include "hostlib/process.h"

/* ---- File actions ---------------------------------------------------------------------------- */

/* As glibc lays them out, since version 2.35 with the last kind. Source: its
   posix/spawn_int.h; posix_spawn_file_actions_t says where they are and how many. */
enum action_kind {
    ACTION_CLOSE,
    ACTION_DUP2,
    ACTION_OPEN,
    ACTION_CHDIR,
    ACTION_FCHDIR,
    ACTION_CLOSEFROM,
    ACTION_TCSETPGRP,
};

struct __spawn_action {
    enum action_kind kind;
    union {
        struct {
            int fd, new_fd;
        } dup2;
        struct {
            int fd;
            char *path;
            int flags;
            mode_t mode;
        } open;
        const char *path; /* chdir */
        int fd;           /* all others */
    };
};

static bool apply_open(const struct __spawn_action *action)
{
    (void)close(action->open.fd);
    int fd = open(action->open.path, action->open.flags | O_LARGEFILE, action->open.mode);
    if (fd < 0)
        return false;
    if (fd == action->open.fd)
        return true;
    bool moved = dup2(fd, action->open.fd) >= 0;
    (void)close(fd);
    return moved;
}

static bool apply_dup2(const struct __spawn_action *action)
{
    if (action->dup2.fd != action->dup2.new_fd)
        return dup2(action->dup2.fd, action->dup2.new_fd) >= 0;
    /* So that a descriptor can be made to stay open. */
    int flags = fcntl(action->dup2.fd, F_GETFD);
    return flags >= 0 && fcntl(action->dup2.fd, F_SETFD, flags & ~FD_CLOEXEC) >= 0;
}

/* In the child. @return false, with errno. */
static bool apply(const struct __spawn_action *action)
{
    switch (action->kind) {
    case ACTION_CLOSE:
        (void)close(action->fd);
        return true;
    case ACTION_DUP2:
        return apply_dup2(action);
    case ACTION_OPEN:
        return apply_open(action);
    case ACTION_CHDIR:
        return chdir(action->path) == 0;
    case ACTION_FCHDIR:
        return fchdir(action->fd) == 0;
    case ACTION_CLOSEFROM:
        closefrom(action->fd);
        return true;
    case ACTION_TCSETPGRP:
        return tcsetpgrp(action->fd, getpgrp()) == 0;
    }
    errno = ENOSYS;
    return false;
}

/* Whether the program will have sockets of ours: inherited, or by an action. */
static bool passes_sockets(const posix_spawn_file_actions_t *actions)
{
    if (handover_is_needed())
        return true;
    for (int i = 0; actions != NULL && i < actions->__used; i++) {
        const struct __spawn_action *action = &actions->__actions[i];
        struct socket *socket =
            action->kind == ACTION_DUP2 ? interpose_offloaded(action->dup2.fd) : NULL;
        if (socket == NULL)
            continue;
        file_put(&socket->file);
        return true;
    }
    return false;
}

/* ---- posix_spawn ----------------------------------------------------------------------------- */

struct spawn {
    const char *file;
    bool searches;
    const posix_spawn_file_actions_t *actions;
    const posix_spawnattr_t *attributes;
    char *const *arguments;
    char *const *environment;
    sigset_t mask; /* the caller's */
};

/* Handlers are the parent's: none may run before exec takes them away. */
static void reset_signals(const struct spawn *spawn, short flags)
{
    sigset_t defaults;
    sigemptyset(&defaults);
    if (flags & POSIX_SPAWN_SETSIGDEF)
        (void)posix_spawnattr_getsigdefault(spawn->attributes, &defaults);
    for (int number = 1; number < _NSIG; number++) {
        struct sigaction action;
        if (number == SIGKILL || number == SIGSTOP || sigaction(number, NULL, &action) != 0)
            continue;
        bool handled = action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
        if (handled || sigismember(&defaults, number) == 1)
            (void)signal(number, SIG_DFL);
    }
}

static bool set_scheduling(const struct spawn *spawn, short flags)
{
    struct sched_param parameters;
    int policy;
    if (posix_spawnattr_getschedparam(spawn->attributes, &parameters) != 0)
        return false;
    if (flags & POSIX_SPAWN_SETSCHEDULER)
        return posix_spawnattr_getschedpolicy(spawn->attributes, &policy) == 0 &&
               sched_setscheduler(0, policy, &parameters) >= 0;
    return (flags & POSIX_SPAWN_SETSCHEDPARAM) == 0 || sched_setparam(0, &parameters) == 0;
}

static bool set_attributes(const struct spawn *spawn, short flags)
{
    pid_t group;
    if (flags != 0 && !set_scheduling(spawn, flags))
        return false;
    if ((flags & POSIX_SPAWN_SETSID) && setsid() < 0)
        return false;
    if ((flags & POSIX_SPAWN_SETPGROUP) &&
        (posix_spawnattr_getpgroup(spawn->attributes, &group) != 0 || setpgid(0, group) < 0))
        return false;
    return (flags & POSIX_SPAWN_RESETIDS) == 0 ||
           (seteuid(getuid()) == 0 && setegid(getgid()) == 0);
}

/* The child's life; returns when it could not be the program, with errno. */
static void become(const struct spawn *spawn)
{
    short flags = 0;
    sigset_t mask = spawn->mask;
    if (spawn->attributes != NULL)
        (void)posix_spawnattr_getflags(spawn->attributes, &flags);
    reset_signals(spawn, flags);
    if (!set_attributes(spawn, flags))
        return;
    for (int i = 0; spawn->actions != NULL && i < spawn->actions->__used; i++) {
        if (!apply(&spawn->actions->__actions[i]))
            return;
    }
    if (flags & POSIX_SPAWN_SETSIGMASK)
        (void)posix_spawnattr_getsigmask(spawn->attributes, &mask);
    (void)sigprocmask(SIG_SETMASK, &mask, NULL);
    if (spawn->searches)
        (void)execvpe(spawn->file, spawn->arguments, spawn->environment);
    else
        (void)execve(spawn->file, spawn->arguments, spawn->environment);
}

/* @return 0; an errno, as posix_spawn() does. */
static int start(struct spawn *spawn, pid_t *pid)
{
    int *failure =
        mmap(NULL, sizeof(*failure), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    sigset_t all;
    if (failure == MAP_FAILED)
        return ENOMEM;
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &spawn->mask);
    pid_t child = process_fork_until_exec();
    int error = child < 0 ? errno : 0;
    if (child == 0) {
        become(spawn);
        *failure = errno;
        _exit(127);
    }
    (void)pthread_sigmask(SIG_SETMASK, &spawn->mask, NULL);
    if (child > 0 && *failure != 0) {
        error = *failure;
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            ;
    } else if (child > 0 && pid != NULL) {
        *pid = child;
    }
    munmap(failure, sizeof(*failure));
    return error;
}

/* libc starts it; with our variables added or taken away, as it needs. @return as posix_spawn(). */
static int start_by_libc(const struct spawn *spawn, pid_t *pid)
{
    struct environment environment;
    enum loadable loadable = interpose_loadable(spawn->file, spawn->searches);
    bool changed = environment_is_to_change(spawn->environment, loadable) &&
                   environment_begin(&environment, spawn->environment, loadable);
    char *const *variables = changed ? environment.variables : spawn->environment;
    int error = spawn->searches ? REAL(posix_spawnp)(pid, spawn->file, spawn->actions,
                                                     spawn->attributes, spawn->arguments, variables)
                                : REAL(posix_spawn)(pid, spawn->file, spawn->actions,
                                                    spawn->attributes, spawn->arguments, variables);
    if (changed)
        environment_release(&environment);
    return error;
}

/* posix_spawn() leaves errno alone. */
static int spawn_program(struct spawn *spawn, pid_t *pid)
{
    int saved_errno = errno;
    int error = passes_sockets(spawn->actions) ? start(spawn, pid) : start_by_libc(spawn, pid);
    errno = saved_errno;
    return error;
}

PNO_EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                           const posix_spawnattr_t *attributes, char *const arguments[],
                           char *const environment[])
{
    struct spawn spawn = {.file = path,
                          .actions = actions,
                          .attributes = attributes,
                          .arguments = arguments,
                          .environment = environment};
    return spawn_program(&spawn, pid);
}

PNO_EXPORT int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                            const posix_spawnattr_t *attributes, char *const arguments[],
                            char *const environment[])
{
    struct spawn spawn = {.file = file,
                          .searches = true,
                          .actions = actions,
                          .attributes = attributes,
                          .arguments = arguments,
                          .environment = environment};
    return spawn_program(&spawn, pid);
}

/* ---- system ---------------------------------------------------------------------------------- */

static int start_shell(const char *command, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attributes, pid_t *pid)
{
    char shell[] = "sh", option[] = "-c";
    char *const arguments[] = {shell, option, (char *)(uintptr_t)command, NULL};
    return posix_spawn(pid, _PATH_BSHELL, actions, attributes, arguments, environ);
}

/* Several threads may be in system(): the first in and the last out change the signals. */
static struct lock system_lock;
static unsigned system_calls;
static struct sigaction saved_interrupt, saved_quit;

static void ignore_signals(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    lock_acquire(&system_lock);
    if (system_calls++ == 0) {
        (void)sigaction(SIGINT, &ignore, &saved_interrupt);
        (void)sigaction(SIGQUIT, &ignore, &saved_quit);
    }
    lock_release(&system_lock);
}

static void restore_signals(void)
{
    lock_acquire(&system_lock);
    if (--system_calls == 0) {
        (void)sigaction(SIGINT, &saved_interrupt, NULL);
        (void)sigaction(SIGQUIT, &saved_quit, NULL);
    }
    lock_release(&system_lock);
}

/* In the shell SIGINT and SIGQUIT are what they were for the caller. */
static void choose_signals(posix_spawnattr_t *attributes, const sigset_t *mask)
{
    sigset_t defaults;
    sigemptyset(&defaults);
    if (saved_interrupt.sa_handler != SIG_IGN)
        sigaddset(&defaults, SIGINT);
    if (saved_quit.sa_handler != SIG_IGN)
        sigaddset(&defaults, SIGQUIT);
    (void)posix_spawnattr_init(attributes);
    (void)posix_spawnattr_setsigmask(attributes, mask);
    (void)posix_spawnattr_setsigdefault(attributes, &defaults);
    (void)posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
}

PNO_EXPORT int system(const char *command)
{
    if (command == NULL || !handover_is_needed())
        return REAL(system)(command);
    posix_spawnattr_t attributes;
    sigset_t child_ended, mask;
    pid_t pid;
    int status = W_EXITCODE(127, 0);
    ignore_signals();
    sigemptyset(&child_ended);
    sigaddset(&child_ended, SIGCHLD);
    (void)pthread_sigmask(SIG_BLOCK, &child_ended, &mask);
    choose_signals(&attributes, &mask);
    int error = start_shell(command, NULL, &attributes, &pid);
    (void)posix_spawnattr_destroy(&attributes);
    while (error == 0 && waitpid(pid, &status, 0) < 0) {
        if (errno == EINTR)
            continue;
        status = -1;
        error = errno;
    }
    restore_signals();
    (void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
    if (error != 0)
        errno = error;
    return status;
}

/* ---- popen ----------------------------------------------------------------------------------- */

/* The streams that popen() opened here; libc knows its own. */
struct piped_program {
    struct piped_program *next;
    FILE *stream;
    pid_t pid;
};

static struct lock piped_lock;
static struct piped_program *piped_programs;

struct popen_mode {
    bool reads, close_on_exec;
};

static bool parse_mode(const char *text, struct popen_mode *mode)
{
    bool writes = false;
    *mode = (struct popen_mode){0};
    for (; *text != '\0'; text++) {
        if (*text == 'r')
            mode->reads = true;
        else if (*text == 'w')
            writes = true;
        else if (*text == 'e')
            mode->close_on_exec = true;
        else
            return false;
    }
    return mode->reads != writes;
}

/* @return 0; an errno. The program gets one end, and none of the earlier ones' streams. */
static int start_piped(const char *command, int program_end, bool reads, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return ENOMEM;
    int error = posix_spawn_file_actions_adddup2(&actions, program_end,
                                                 reads ? STDOUT_FILENO : STDIN_FILENO);
    lock_acquire(&piped_lock);
    for (struct piped_program *one = piped_programs; one != NULL && error == 0; one = one->next) {
        int fd = fileno(one->stream);
        if (fd != (reads ? STDOUT_FILENO : STDIN_FILENO))
            error = posix_spawn_file_actions_addclose(&actions, fd);
    }
    lock_release(&piped_lock);
    if (error == 0)
        error = start_shell(command, &actions, NULL, pid);
    (void)posix_spawn_file_actions_destroy(&actions);
    return error;
}

static FILE *open_piped(const char *command, const struct popen_mode *mode)
{
    int ends[2];
    struct piped_program *program = malloc(sizeof(*program));
    if (program == NULL || pipe2(ends, O_CLOEXEC) < 0) {
        free(program);
        return NULL;
    }
    int ours = ends[!mode->reads], theirs = ends[mode->reads];
    program->stream = fdopen(ours, mode->reads ? "r" : "w");
    int error =
        program->stream == NULL ? errno : start_piped(command, theirs, mode->reads, &program->pid);
    (void)close(theirs);
    if (error != 0) {
        if (program->stream != NULL)
            (void)fclose(program->stream);
        else
            (void)close(ours);
        free(program);
        errno = error;
        return NULL;
    }
    if (!mode->close_on_exec)
        (void)fcntl(ours, F_SETFD, 0);
    lock_acquire(&piped_lock);
    program->next = piped_programs;
    piped_programs = program;
    lock_release(&piped_lock);
    return program->stream;
}

PNO_EXPORT FILE *popen(const char *command, const char *type)
{
    struct popen_mode mode;
    if (!handover_is_needed() || !parse_mode(type, &mode))
        return REAL(popen)(command, type);
    return open_piped(command, &mode);
}

PNO_EXPORT int pclose(FILE *stream)
{
    struct piped_program *program = NULL;
    lock_acquire(&piped_lock);
    for (struct piped_program **place = &piped_programs; *place != NULL; place = &(*place)->next) {
        if ((*place)->stream == stream) {
            program = *place;
            *place = program->next;
            break;
        }
    }
    lock_release(&piped_lock);
    if (program == NULL)
        return REAL(pclose)(stream);
    pid_t pid = program->pid, ended;
    int status = -1;
    free(program);
    (void)fclose(stream);
    while ((ended = waitpid(pid, &status, 0)) < 0 && errno == EINTR)
        ;
    return ended < 0 ? -1 : status;
}
