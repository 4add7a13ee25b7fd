/**
 * @file config.h
 * The configuration file: one JSON object whose keys are the long options' names.
 */
#ifndef PNO_ENGINE_CONFIG_H
#define PNO_ENGINE_CONFIG_H

#include <stddef.h>

#include "engine/options.h"

/**
 * Apply a file's settings. "addr" and "gateway" may be arrays, "cores" a text or an array.
 * @param problem  filled with one line on failure.
 * @return 0 or -EINVAL.
 */
int config_load(struct engine_options *options, const char *path, char *problem,
                size_t problem_bytes);

#endif
