#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lab.h"

#define END_TIMEOUT_MS 5000
#define LOG_TAIL_MAX   4096

void lab_process_sleep_ms(int milliseconds)
{
    struct timespec time = {.tv_sec = milliseconds / 1000,
                            .tv_nsec = (milliseconds % 1000) * 1000000L};
    nanosleep(&time, NULL);
}

/* Field 22 of /proc/PID/stat tells a process from a later one with its pid; 0 if there is none. */
static uint64_t start_time(pid_t pid)
{
    char path[64];
    char text[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t length = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (length <= 0) {
        return 0;
    }
    text[length] = '\0';
    const char *field = strrchr(text, ')'); /* the name before it may hold anything */
    if (field == NULL || field[1] != ' ' || field[2] == 'Z') {
        return 0;
    }
    for (int number = 2; number < 22; number++) {
        field = strchr(field + 1, ' ');
        if (field == NULL) {
            return 0;
        }
    }
    return strtoull(field + 1, NULL, 10);
}

static bool read_pid_file(const char *pid_file, int *pid, uint64_t *started)
{
    FILE *file = fopen(pid_file, "re");
    if (file == NULL) {
        return false;
    }
    bool whole = fscanf(file, "%d %" SCNu64, pid, started) == 2;
    fclose(file);
    return whole && *pid > 1;
}

pid_t lab_process_find(const char *pid_file)
{
    int pid;
    uint64_t started;
    if (!read_pid_file(pid_file, &pid, &started) || start_time(pid) != started) {
        return 0;
    }
    return pid;
}

/* By way of another name, so that a reader never sees half of it. */
static bool write_pid_file(struct lab *lab, const char *pid_file, pid_t pid)
{
    char draft[LAB_PATH_MAX + 8];
    snprintf(draft, sizeof(draft), "%s.new", pid_file);
    FILE *file = fopen(draft, "we");
    if (file == NULL) {
        return lab_fail(lab, "cannot write %s: %s", draft, strerror(errno));
    }
    fprintf(file, "%d %" PRIu64 "\n", (int)pid, start_time(pid));
    if (fclose(file) != 0 || rename(draft, pid_file) != 0) {
        return lab_fail(lab, "cannot write %s: %s", pid_file, strerror(errno));
    }
    return true;
}

static pid_t spawn(struct lab *lab, const char *log_path,
                   void (*become)(struct lab *lab, const void *context), const void *context)
{
    int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (log < 0 || null < 0) {
        lab_fail(lab, "cannot open %s: %s", log < 0 ? log_path : "/dev/null", strerror(errno));
        return -1;
    }
    /* A signal must not be spent on our handler in the child, or lab_process_stop()'s would be. */
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        signal(SIGHUP, SIG_DFL);
        sigprocmask(SIG_SETMASK, &before, NULL);
        dup2(null, STDIN_FILENO);
        dup2(log, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
        /* Whatever the caller had open, a pipe to a test's harness say, isn't the daemon's to hold.
         */
        syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0);
        become(lab, context);
        fprintf(stderr, "%s\n", lab->message);
        _exit(EXIT_FAILURE);
    }
    if (pid < 0) {
        lab_fail(lab, "cannot fork: %s", strerror(errno));
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(log);
    close(null);
    return pid;
}

void lab_process_last_words(const char *log, char line[LAB_LAST_WORDS_MAX])
{
    snprintf(line, LAB_LAST_WORDS_MAX, "its log is empty");
    FILE *file = fopen(log, "re");
    if (file == NULL) {
        return;
    }
    char text[LOG_TAIL_MAX];
    if (fseek(file, -(LOG_TAIL_MAX - 1), SEEK_END) != 0) {
        rewind(file);
    }
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    char *rest = text;
    for (char *each; (each = strsep(&rest, "\n")) != NULL;) {
        if (each[strspn(each, " \t\r")] != '\0') {
            snprintf(line, LAB_LAST_WORDS_MAX, "%.255s", each);
        }
    }
}

pid_t lab_process_start(struct lab *lab, const char *pid_file, const char *log,
                        void (*become)(struct lab *lab, const void *context), const void *context)
{
    (void)unlink(log);
    pid_t pid = spawn(lab, log, become, context);
    return pid > 0 && write_pid_file(lab, pid_file, pid) ? pid : -1;
}

/* Whether it has ended within the time. Reaps it if it is our child. */
static bool wait_for_end(const char *pid_file, pid_t pid)
{
    for (int waited = 0; waited < END_TIMEOUT_MS; waited += LAB_POLL_INTERVAL_MS) {
        int status;
        (void)waitpid(pid, &status, WNOHANG);
        if (lab_process_find(pid_file) == 0) {
            return true;
        }
        lab_process_sleep_ms(LAB_POLL_INTERVAL_MS);
    }
    return false;
}

bool lab_process_stop(struct lab *lab, const char *name, const char *pid_file, const char *log)
{
    pid_t pid = lab_process_find(pid_file);
    if (pid != 0) {
        kill(pid, SIGTERM);
        if (!wait_for_end(pid_file, pid) && kill(pid, SIGKILL) == 0 &&
            !wait_for_end(pid_file, pid)) {
            return lab_fail(lab, "%s (pid %d) can't be ended: see its log %s", name, (int)pid, log);
        }
    }
    (void)unlink(pid_file);
    return true;
}
