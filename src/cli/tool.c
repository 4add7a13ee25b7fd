#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS_MAX        32
#define COMMAND_LINE_MAX 512
#define COMPLAINT_MAX    256

/* Keep the first line, read the rest so that the writer never blocks. */
static void read_complaint(int fd, char complaint[COMPLAINT_MAX])
{
    size_t length = 0;
    char buffer[COMPLAINT_MAX];
    for (;;) {
        ssize_t got = read(fd, buffer, sizeof(buffer));
        if (got == 0 || (got < 0 && errno != EINTR)) {
            break;
        }
        for (ssize_t i = 0; i < got && length < COMPLAINT_MAX - 1; i++) {
            complaint[length++] = buffer[i];
        }
    }
    complaint[length] = '\0';
    complaint[strcspn(complaint, "\n")] = '\0';
}

/* Spawn with standard error into a pipe; 0 or an errno. */
static int spawn_with_pipe(char *const words[], pid_t *pid, int *complaints)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return errno;
    }
    posix_spawn_file_actions_t actions;
    int error = posix_spawn_file_actions_init(&actions);
    if (error == 0) {
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
        error = posix_spawnp(pid, words[0], &actions, NULL, words, environ);
        posix_spawn_file_actions_destroy(&actions);
    }
    close(ends[1]);
    if (error != 0) {
        close(ends[0]);
        return error;
    }
    *complaints = ends[0];
    return 0;
}

bool tool_run(char *message, size_t message_size, const char *format, ...)
{
    char line[COMMAND_LINE_MAX];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof(line)) {
        snprintf(message, message_size, "a command line is too long: %.64s", line);
        return false;
    }
    char split[COMMAND_LINE_MAX];
    memcpy(split, line, (size_t)length + 1);
    char *words[WORDS_MAX + 1] = {NULL};
    size_t count = 0;
    char *rest = split;
    for (char *word; count < WORDS_MAX && (word = strsep(&rest, " ")) != NULL;) {
        words[count++] = word;
    }

    pid_t pid = -1;
    int complaints = -1;
    int error = spawn_with_pipe(words, &pid, &complaints);
    if (error != 0) {
        snprintf(message, message_size,
                 "cannot run '%s' (%s): install it with scripts/install-deps.sh", words[0],
                 strerror(error));
        return false;
    }
    char complaint[COMPLAINT_MAX];
    read_complaint(complaints, complaint);
    close(complaints);
    int status = -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return true;
    }
    snprintf(message, message_size, "'%s' failed: %s", line,
             complaint[0] != '\0' ? complaint : "it gives no reason");
    return false;
}
