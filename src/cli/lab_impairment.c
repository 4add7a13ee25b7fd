#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lab.h"
#include "paths.h"

#define READY_TIMEOUT_MS 5000
#define READY_WORD       "ready" /**< what pno-wire says when it joins the ends */

pid_t lab_impairment_pid(const struct lab *lab)
{
    return lab_process_find(lab->wire_pid_file);
}

void lab_impairment_settings(const struct lab *lab, char *settings, size_t settings_size)
{
    char path[64];
    char arguments[1024];
    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)lab_impairment_pid(lab));
    snprintf(settings, settings_size, "?");
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return;
    }
    size_t length = fread(arguments, 1, sizeof(arguments) - 1, file);
    fclose(file);
    arguments[length] = '\0';
    size_t name_length = strlen(arguments);
    if (name_length + 1 < length) {
        snprintf(settings, settings_size, "%s", arguments + name_length + 1);
    }
}

static void become_wire(struct lab *lab, const void *context)
{
    const char *settings = context;
    char program[PATH_MAX];
    if (!paths_find_wire(program)) {
        lab_fail(lab, "there is no pno-wire next to this pno: build it (ninja) or install it");
        return;
    }
    if (!lab_space_enter(lab, LAB_WIRE)) {
        return;
    }
    execl(program, program, settings, LAB_WIRE_NEAR, LAB_WIRE_FAR, (char *)NULL);
    lab_fail(lab, "cannot run %s: %s", program, strerror(errno));
}

bool lab_impairment_start(struct lab *lab, const char *settings)
{
    if (!lab_impairment_stop(lab)) {
        return false;
    }
    pid_t pid = lab_process_start(lab, lab->wire_pid_file, lab->wire_log, become_wire, settings);
    if (pid < 0) {
        return false;
    }
    for (int waited = 0; waited < READY_TIMEOUT_MS; waited += LAB_POLL_INTERVAL_MS) {
        int status;
        char line[LAB_LAST_WORDS_MAX];
        bool ended = waitpid(pid, &status, WNOHANG) == pid;
        lab_process_last_words(lab->wire_log, line);
        if (ended) {
            return lab_fail(lab, "pno-wire ended at once: %s", line);
        }
        if (strcmp(line, READY_WORD) == 0) {
            return true;
        }
        if (lab_interrupted) {
            return lab_fail(lab, "interrupted, everything is removed again");
        }
        lab_process_sleep_ms(LAB_POLL_INTERVAL_MS);
    }
    return lab_fail(lab, "pno-wire is not ready after %d s", READY_TIMEOUT_MS / 1000);
}

bool lab_impairment_stop(struct lab *lab)
{
    bool stopped = lab_process_stop(lab, "pno-wire", lab->wire_pid_file, lab->wire_log);
    (void)unlink(lab->wire_log);
    return stopped;
}
