#include "engine/config.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** A configuration file is no larger, as far as its lines are counted. */
#define FILE_BYTES_MAX 1048576

/* ---- Where a mistake is --------------------------------------------------------------------- */

/** The line on which `sought` first stands after `*from`, which moves there; 0: nowhere. */
static unsigned line_of(const char *text, const char **from, const char *sought)
{
    const char *found = strstr(*from, sought);
    if (found == NULL)
        return 0;
    *from = found;
    unsigned line = 1;
    for (const char *c = text; c < found; c++)
        line += *c == '\n';
    return line;
}

/** jansson does not say where a value stood, so its text is looked for after its key's. */
static unsigned find_line(const char *path, const char *key, const json_t *value)
{
    char *text = calloc(1, FILE_BYTES_MAX + 1);
    char quoted_key[OPTIONS_TEXT_MAX];
    char *literal = json_dumps(value, JSON_ENCODE_ANY);
    FILE *file = fopen(path, "re");
    unsigned line = 0;
    if (text != NULL && literal != NULL && file != NULL) {
        (void)!fread(text, 1, FILE_BYTES_MAX, file);
        (void)snprintf(quoted_key, sizeof(quoted_key), "\"%s\"", key);
        const char *from = text;
        line = line_of(text, &from, quoted_key);
        unsigned value_line = line_of(text, &from, literal);
        if (value_line != 0)
            line = value_line;
    }
    if (file != NULL)
        (void)fclose(file);
    free(literal);
    free(text);
    return line;
}

/* ---- Values ------------------------------------------------------------------------------- */

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

/** @param culprit  on failure: the value that was refused. */
static int apply_key(struct engine_options *options, const char *key, const json_t *value,
                     const json_t **culprit, char *problem, size_t problem_bytes)
{
    *culprit = value;
    if (!json_is_array(value))
        return apply_scalar(options, key, value, problem, problem_bytes);
    size_t index;
    const json_t *element;
    json_array_foreach(value, index, element)
    {
        *culprit = element;
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
    char detail[OPTIONS_TEXT_MAX * 2] = "";
    unsigned line = 0;
    if (!json_is_object(root)) {
        (void)snprintf(detail, sizeof(detail), "not a JSON object");
        result = -EINVAL;
    }
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        const json_t *culprit;
        if (result != 0)
            break;
        result = apply_key(options, key, value, &culprit, detail, sizeof(detail));
        if (result != 0)
            line = find_line(path, key, culprit);
    }
    if (result != 0 && line != 0)
        (void)snprintf(problem, problem_bytes, "%s:%u: %s", path, line, detail);
    else if (result != 0)
        (void)snprintf(problem, problem_bytes, "%s: %s", path, detail);
    json_decref(root);
    return result;
}
