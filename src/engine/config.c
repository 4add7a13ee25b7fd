#include "engine/config.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>

static int apply_scalar(struct engine_options *options, const char *key, const json_t *value,
                        char *problem, size_t problem_bytes)
{
    char text[32];
    const char *given = text;
    if (json_is_string(value)) {
        given = json_string_value(value);
    } else if (json_is_integer(value)) {
        (void)snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(value));
    } else if (json_is_boolean(value)) {
        (void)snprintf(text, sizeof(text), "%s", json_is_true(value) ? "true" : "false");
    } else {
        (void)snprintf(problem, problem_bytes, "\"%s\" needs a text, a number or true/false", key);
        return -EINVAL;
    }
    int result = engine_options_set(options, key, given, problem, problem_bytes);
    if (result == -ENOENT)
        (void)snprintf(problem, problem_bytes, "unknown key \"%s\"", key);
    return result == 0 ? 0 : -EINVAL;
}

static int apply_key(struct engine_options *options, const char *key, const json_t *value,
                     char *problem, size_t problem_bytes)
{
    if (!json_is_array(value))
        return apply_scalar(options, key, value, problem, problem_bytes);
    size_t index;
    const json_t *element;
    json_array_foreach(value, index, element)
    {
        int result = apply_scalar(options, key, element, problem, problem_bytes);
        if (result != 0)
            return result;
    }
    return 0;
}

int config_load(struct engine_options *options, const char *path, char *problem,
                size_t problem_bytes)
{
    json_error_t error;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        if (error.line > 0)
            (void)snprintf(problem, problem_bytes, "%s:%d: %s", path, error.line, error.text);
        else
            (void)snprintf(problem, problem_bytes, "%s", error.text);
        return -EINVAL;
    }
    int result = 0;
    char detail[OPTIONS_TEXT_MAX] = "";
    if (!json_is_object(root)) {
        (void)snprintf(detail, sizeof(detail), "not a JSON object");
        result = -EINVAL;
    }
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        if (result == 0)
            result = apply_key(options, key, value, detail, sizeof(detail));
    }
    if (result != 0)
        (void)snprintf(problem, problem_bytes, "%s: %s", path, detail);
    json_decref(root);
    return result;
}
