#define _GNU_SOURCE
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_WARNING] = "warning",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_DEBUG] = "debug",
};

static const char *log_program = "pno";
static enum log_level log_level_wanted = LOG_LEVEL_WARNING;

void log_set(const char *program, enum log_level level)
{
    log_program = program;
    log_level_wanted = level;
}

enum log_level log_level_current(void)
{
    return log_level_wanted;
}

bool log_level_parse(const char *name, enum log_level *level)
{
    for (unsigned i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

/** snprintf's answer as the number of bytes that really lie in a buffer of `room` bytes. */
static size_t length_written(int would_be, size_t room)
{
    if (would_be < 0)
        return 0;
    return (size_t)would_be < room ? (size_t)would_be : room - 1;
}

void log_message(enum log_level level, const char *format, ...)
{
    if (level > log_level_wanted)
        return;
    int saved_errno = errno;
    char line[LOG_LINE_MAX];
    size_t room = sizeof(line) - 1; /* one byte is kept for the newline */
    size_t length =
        length_written(snprintf(line, room, "%s: %s: ", log_program, level_names[level]), room);

    va_list arguments;
    va_start(arguments, format);
    length +=
        length_written(vsnprintf(line + length, room - length, format, arguments), room - length);
    va_end(arguments);

    for (size_t i = 0; i < length; i++) {
        if (line[i] == '\n' || line[i] == '\r')
            line[i] = ' ';
    }
    line[length++] = '\n';
    /* The call itself, because in an application write() is intercepted by our own library.
       Nobody is left to tell when standard error can't be written. */
    (void)syscall(SYS_write, STDERR_FILENO, line, length);
    errno = saved_errno;
}
