/**
 * @file log.h
 * Levelled logging: one line per message on standard error, as "program: level: text".
 *
 * For the daemon, the tools and the host library; never for the core. Each message is one write(2)
 * without stdio, so lines of several threads and processes don't mix and an application's own
 * buffers stay untouched. errno is preserved. Longer text than fits a line is cut.
 */
#ifndef PNO_BASE_LOG_H
#define PNO_BASE_LOG_H

#include <stdbool.h>

/** Bytes of a whole line with its prefix and newline. */
#define LOG_LINE_MAX 512

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/**
 * Set who speaks and how much. Call it before threads start; without it: "pno", warnings and worse.
 * @param program  kept by reference: a literal, or something that lives as long as the process.
 */
void log_set(const char *program, enum log_level level);

/** The least important level that is still written. */
enum log_level log_level_current(void);

/** @param name  "error", "warning", "info" or "debug". @return false: no such level. */
bool log_level_parse(const char *name, enum log_level *level);

/** Write one line, if the level is wanted. Line breaks within it become spaces. */
void log_message(enum log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_message(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_message(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_message(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_message(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
