#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "control_client.h"
#include "lab.h"
#include "paths.h"

#define READY_TIMEOUT_MS 30000
#define END_TIMEOUT_MS   5000
#define POLL_INTERVAL_MS 10
#define ENGINE_ARGS_MAX  64
#define ENGINE_CORE      1
#define LOG_TAIL_MAX     4096

static void sleep_ms(int milliseconds)
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

static bool read_pid_file(const struct lab *lab, int *pid, uint64_t *started)
{
    FILE *file = fopen(lab->pid_file, "re");
    if (file == NULL) {
        return false;
    }
    bool whole = fscanf(file, "%d %" SCNu64, pid, started) == 2;
    fclose(file);
    return whole && *pid > 1;
}

pid_t lab_engine_pid(const struct lab *lab)
{
    int pid;
    uint64_t started;
    if (!read_pid_file(lab, &pid, &started) || start_time(pid) != started) {
        return 0;
    }
    return pid;
}

/* By way of another name, so that a reader never sees half of it. */
static bool write_pid_file(struct lab *lab, pid_t pid)
{
    char draft[LAB_PATH_MAX + 8];
    snprintf(draft, sizeof(draft), "%s.new", lab->pid_file);
    FILE *file = fopen(draft, "we");
    if (file == NULL) {
        return lab_fail(lab, "cannot write %s: %s", draft, strerror(errno));
    }
    fprintf(file, "%d %" PRIu64 "\n", (int)pid, start_time(pid));
    if (fclose(file) != 0 || rename(draft, lab->pid_file) != 0) {
        return lab_fail(lab, "cannot write %s: %s", lab->pid_file, strerror(errno));
    }
    return true;
}

static const char *port_devargs(enum lab_port port)
{
    switch (port) {
    case LAB_PORT_AF_PACKET:
        return "net_af_packet0,iface=" LAB_ENGINE_PORT;
    case LAB_PORT_TAP:
        return "net_tap0,iface=" LAB_TAP;
    case LAB_PORT_AF_XDP:
    default:
        return "net_af_xdp0,iface=" LAB_ENGINE_PORT;
    }
}

static bool names_cores(char **options)
{
    for (; options != NULL && *options != NULL; options++) {
        if (strncmp(*options, "--cores", strlen("--cores")) == 0) {
            return true;
        }
    }
    return false;
}

/* Core 1, away from the programs served; the machine's only core if it has just one. */
static size_t engine_core(void)
{
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0 || CPU_ISSET(ENGINE_CORE, &allowed)) {
        return ENGINE_CORE;
    }
    for (size_t core = CPU_SETSIZE - 1; core > 0; core--) {
        if (CPU_ISSET(core, &allowed)) {
            return core;
        }
    }
    return 0;
}

/* In the child: all that is to be done before pnod, then pnod. Returns if that fails. */
static void become_engine(struct lab *lab, enum lab_port port, char **options)
{
    char pnod[PATH_MAX];
    if (!paths_find_pnod(pnod)) {
        lab_fail(lab, "there is no pnod next to this pno: build it (ninja) or install PnO again");
        return;
    }
    char core[16];
    snprintf(core, sizeof(core), "%zu", engine_core());
    const char *arguments[ENGINE_ARGS_MAX + 1] = {pnod,          "--socket",         lab->socket,
                                                  "--port",      port_devargs(port), "--addr",
                                                  LAB_ENGINE_V4, "--addr",           LAB_ENGINE_V6};
    size_t count = 9;
    if (!names_cores(options)) {
        arguments[count++] = "--cores";
        arguments[count++] = core;
        cpu_set_t only;
        CPU_ZERO(&only);
        CPU_SET(engine_core(), &only);
        (void)sched_setaffinity(0, sizeof(only), &only);
    }
    for (; options != NULL && *options != NULL; options++) {
        if (count == ENGINE_ARGS_MAX) {
            lab_fail(lab, "more than %d arguments for pnod", ENGINE_ARGS_MAX);
            return;
        }
        arguments[count++] = *options;
    }
    if (!lab_space_enter(lab, LAB_DPU)) {
        return;
    }
    execv(pnod, (char *const *)arguments);
    lab_fail(lab, "cannot run %s: %s", pnod, strerror(errno));
}

static pid_t spawn_engine(struct lab *lab, enum lab_port port, char **options)
{
    int log = open(lab->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (log < 0 || null < 0) {
        lab_fail(lab, "cannot open %s: %s", log < 0 ? lab->log : "/dev/null", strerror(errno));
        return -1;
    }
    /* A signal must not be spent on our handler in the child, or lab_engine_stop()'s would be. */
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
        /* Whatever the caller had open, a pipe to a test's harness say, isn't pnod's to hold. */
        syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0);
        become_engine(lab, port, options);
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

/* The log's last line that says something. */
static void last_log_line(const struct lab *lab, char line[256])
{
    snprintf(line, 256, "its log is empty");
    FILE *file = fopen(lab->log, "re");
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
            snprintf(line, 256, "%.255s", each);
        }
    }
}

bool lab_engine_answers(const struct lab *lab)
{
    char message[CONTROL_CLIENT_MESSAGE_MAX];
    json_t *answer = control_client_request(lab->socket, "ping", message);
    json_decref(answer);
    return answer != NULL;
}

static bool wait_until_ready(struct lab *lab, pid_t pid)
{
    for (int waited = 0; waited < READY_TIMEOUT_MS; waited += POLL_INTERVAL_MS) {
        int status;
        if (waitpid(pid, &status, WNOHANG) == pid) {
            char line[256];
            last_log_line(lab, line);
            return lab_fail(lab, "pnod ended at once: %s (whole log: %s)", line, lab->log);
        }
        if (lab_interrupted) {
            return lab_fail(lab, "interrupted, everything is removed again");
        }
        if (access(lab->socket, F_OK) == 0 && lab_engine_answers(lab)) {
            return true;
        }
        sleep_ms(POLL_INTERVAL_MS);
    }
    return lab_fail(lab, "pnod is not ready after %d s: see its log %s", READY_TIMEOUT_MS / 1000,
                    lab->log);
}

bool lab_engine_start(struct lab *lab, enum lab_port port, char **options)
{
    (void)unlink(lab->socket);
    (void)unlink(lab->log);
    pid_t pid = spawn_engine(lab, port, options);
    return pid > 0 && write_pid_file(lab, pid) && wait_until_ready(lab, pid);
}

/* Whether it has ended within the time. Reaps it if it is our child. */
static bool wait_for_end(const struct lab *lab, pid_t pid)
{
    for (int waited = 0; waited < END_TIMEOUT_MS; waited += POLL_INTERVAL_MS) {
        int status;
        (void)waitpid(pid, &status, WNOHANG);
        if (lab_engine_pid(lab) == 0) {
            return true;
        }
        sleep_ms(POLL_INTERVAL_MS);
    }
    return false;
}

bool lab_engine_stop(struct lab *lab)
{
    pid_t pid = lab_engine_pid(lab);
    if (pid != 0) {
        kill(pid, SIGTERM);
        if (!wait_for_end(lab, pid) && kill(pid, SIGKILL) == 0 && !wait_for_end(lab, pid)) {
            return lab_fail(lab, "pnod (pid %d) can't be ended: see its log %s", (int)pid,
                            lab->log);
        }
    }
    (void)unlink(lab->socket);
    (void)unlink(lab->socket_lock);
    (void)unlink(lab->pid_file);
    return true;
}
