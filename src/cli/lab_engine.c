#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control_client.h"
#include "lab.h"
#include "paths.h"

#define READY_TIMEOUT_MS 30000
#define ENGINE_ARGS_MAX  64
#define ENGINE_CORE      1

pid_t lab_engine_pid(const struct lab *lab)
{
    return lab_process_find(lab->pid_file);
}

static const char *port_devargs(enum lab_port port)
{
    switch (port) {
    case LAB_PORT_AF_PACKET:
        return "packet,iface=" LAB_ENGINE_PORT;
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

/*
 * A veth hands frames to whichever CPU sent them: from a program on one and from the timers of
 * another they overtake each other, which the client takes for losses. So one CPU receives all, the
 * engine's, as the interrupts of a real device would see to. Good to have: without it works too.
 */
static void receive_on(size_t core)
{
    char mask[16];
    int length = snprintf(mask, sizeof(mask), "%x", 1U << core % 32);
    int fd = open("/sys/class/net/" LAB_ENGINE_PORT "/queues/rx-0/rps_cpus", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || core >= 32 || write(fd, mask, (size_t)length) != length) {
        fprintf(stderr, "frames may overtake each other: cannot have CPU %zu receive all\n", core);
    }
    if (fd >= 0) {
        close(fd);
    }
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
    if (port == LAB_PORT_AF_PACKET) {
        receive_on(engine_core());
    }
    execv(pnod, (char *const *)arguments);
    lab_fail(lab, "cannot run %s: %s", pnod, strerror(errno));
}

struct engine_arguments {
    enum lab_port port;
    char **options;
};

static void engine_child(struct lab *lab, const void *context)
{
    const struct engine_arguments *arguments = context;
    become_engine(lab, arguments->port, arguments->options);
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
    for (int waited = 0; waited < READY_TIMEOUT_MS; waited += LAB_POLL_INTERVAL_MS) {
        int status;
        if (waitpid(pid, &status, WNOHANG) == pid) {
            char line[LAB_LAST_WORDS_MAX];
            lab_process_last_words(lab->log, line);
            return lab_fail(lab, "pnod ended at once: %s (whole log: %s)", line, lab->log);
        }
        if (lab_interrupted) {
            return lab_fail(lab, "interrupted, everything is removed again");
        }
        if (access(lab->socket, F_OK) == 0 && lab_engine_answers(lab)) {
            return true;
        }
        lab_process_sleep_ms(LAB_POLL_INTERVAL_MS);
    }
    return lab_fail(lab, "pnod is not ready after %d s: see its log %s", READY_TIMEOUT_MS / 1000,
                    lab->log);
}

bool lab_engine_start(struct lab *lab, enum lab_port port, char **options)
{
    (void)unlink(lab->socket);
    struct engine_arguments arguments = {port, options};
    pid_t pid = lab_process_start(lab, lab->pid_file, lab->log, engine_child, &arguments);
    return pid > 0 && wait_until_ready(lab, pid);
}

bool lab_engine_stop(struct lab *lab)
{
    if (!lab_process_stop(lab, "pnod", lab->pid_file, lab->log)) {
        return false;
    }
    (void)unlink(lab->socket);
    (void)unlink(lab->socket_lock);
    (void)unlink(lab->socket_key);
    return true;
}
