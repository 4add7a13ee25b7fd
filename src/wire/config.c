#include "wire/config.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TEXT_MAX     512
#define NS_PER_S     1e9
#define DELAY_MAX_NS (60 * NS_PER_S)
#define RATE_MAX_BPS 1e12
#define RATE_MIN_BPS 1e3
#define BUFFER_MAX   (1024.0 * 1024.0 * 1024.0)

enum key {
    KEY_LOSS,
    KEY_DELAY,
    KEY_JITTER,
    KEY_REORDER,
    KEY_DUP,
    KEY_CORRUPT,
    KEY_RATE,
    KEY_BUFFER,
    KEY_SEED,
    KEY_COUNT,
};

static const char *const key_names[KEY_COUNT] = {
    "loss", "delay", "jitter", "reorder", "dup", "corrupt", "rate", "buffer", "seed",
};

struct unit {
    const char *name;
    double factor;
};

static const struct unit time_units[] = {
    {"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", NS_PER_S}, {NULL, 0}};
static const struct unit rate_units[] = {
    {"bit", 1}, {"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}, {NULL, 0}};

enum buffer_kind { BUFFER_BYTES, BUFFER_PACKETS, BUFFER_BDP };

static const struct {
    const char *name;
    double factor;
    enum buffer_kind kind;
} buffer_units[] = {
    {"bytes", 1, BUFFER_BYTES},     {"b", 1, BUFFER_BYTES},
    {"kb", 1024, BUFFER_BYTES},     {"mb", 1024 * 1024, BUFFER_BYTES},
    {"packets", 1, BUFFER_PACKETS}, {"packet", 1, BUFFER_PACKETS},
    {"p", 1, BUFFER_PACKETS},       {"bdp", 1, BUFFER_BDP},
};

struct parser {
    struct wire_config *config;
    bool given[KEY_COUNT];
    double buffer_bdp; /**< when the buffer is said so; 0 otherwise */
    char *problem;
    size_t problem_bytes;
};

__attribute__((format(printf, 2, 3))) static bool fail(struct parser *parser, const char *format,
                                                       ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(parser->problem, parser->problem_bytes, format, arguments);
    va_end(arguments);
    return false;
}

/* A number that is not negative, and what follows it. */
static bool parse_number(const char *text, double *number, const char **suffix)
{
    char *end;
    if ((text[0] < '0' || text[0] > '9') && text[0] != '.') {
        return false; /* strtod() takes signs, white space, "inf" and "nan" too */
    }
    *number = strtod(text, &end);
    *suffix = end;
    return end != text && isfinite(*number);
}

static bool parse_share(struct parser *parser, const char *key, const char *text, double *share)
{
    double number;
    const char *suffix;
    if (parse_number(text, &number, &suffix)) {
        if (strcmp(suffix, "%") == 0 && number <= 100) {
            *share = number / 100;
            return true;
        }
        if (suffix[0] == '\0' && number < 1) {
            *share = number;
            return true;
        }
    }
    return fail(parser, "%s=%s: say a percentage such as 1%% (or a fraction below 1)", key, text);
}

static bool parse_in_units(struct parser *parser, const char *key, const char *text,
                           const struct unit *units, double low, double high, uint64_t *value)
{
    double number;
    const char *suffix;
    if (parse_number(text, &number, &suffix)) {
        if (number == 0 && suffix[0] == '\0') {
            *value = 0;
            return true;
        }
        for (; units->name != NULL; units++) {
            double scaled = number * units->factor;
            if (strcasecmp(suffix, units->name) == 0 && (scaled == 0 || scaled >= low) &&
                scaled <= high) {
                *value = (uint64_t)llround(scaled);
                return true;
            }
        }
    }
    return fail(parser, "%s=%s: say %s", key, text,
                high == RATE_MAX_BPS ? "a rate from 1kbit to 1000gbit, such as 100mbit"
                                     : "a time up to 60s in ns, us, ms or s, such as 10ms");
}

static bool parse_buffer(struct parser *parser, const char *text)
{
    double number;
    const char *suffix;
    if (parse_number(text, &number, &suffix) && number > 0) {
        for (size_t i = 0; i < sizeof(buffer_units) / sizeof(buffer_units[0]); i++) {
            double scaled = number * buffer_units[i].factor;
            if (strcasecmp(suffix, buffer_units[i].name) != 0 || scaled > BUFFER_MAX) {
                continue;
            }
            switch (buffer_units[i].kind) {
            case BUFFER_BYTES:
                parser->config->buffer_bytes = (uint64_t)ceil(scaled);
                return true;
            case BUFFER_PACKETS:
                parser->config->buffer_packets = (uint64_t)ceil(scaled);
                return true;
            case BUFFER_BDP:
                parser->buffer_bdp = scaled;
                return true;
            }
        }
    }
    return fail(parser, "buffer=%s: say bytes, kb, mb, packets or bdp, such as 64kb or 1bdp", text);
}

static bool parse_seed(struct parser *parser, const char *text)
{
    char *end;
    parser->config->seed = strtoull(text, &end, 0);
    parser->config->turned = *end == 'r';
    if (text[0] < '0' || text[0] > '9' || end[parser->config->turned] != '\0') {
        return fail(parser, "seed=%s: say a whole number, or one with r behind it", text);
    }
    return true;
}

static bool parse_value(struct parser *parser, enum key key, const char *text)
{
    struct wire_config *config = parser->config;
    const char *name = key_names[key];
    switch (key) {
    case KEY_LOSS:
        return parse_share(parser, name, text, &config->loss);
    case KEY_REORDER:
        return parse_share(parser, name, text, &config->reorder);
    case KEY_DUP:
        return parse_share(parser, name, text, &config->duplicate);
    case KEY_CORRUPT:
        return parse_share(parser, name, text, &config->corrupt);
    case KEY_DELAY:
        return parse_in_units(parser, name, text, time_units, 0, DELAY_MAX_NS, &config->delay_ns);
    case KEY_JITTER:
        return parse_in_units(parser, name, text, time_units, 0, DELAY_MAX_NS, &config->jitter_ns);
    case KEY_RATE:
        return parse_in_units(parser, name, text, rate_units, RATE_MIN_BPS, RATE_MAX_BPS,
                              &config->rate_bps);
    case KEY_BUFFER:
        return parse_buffer(parser, text);
    case KEY_SEED:
        return parse_seed(parser, text);
    case KEY_COUNT:
        break;
    }
    return false;
}

static bool parse_setting(struct parser *parser, char *word)
{
    char *value = strchr(word, '=');
    if (value != NULL) {
        *value++ = '\0';
    }
    for (int key = 0; key < KEY_COUNT; key++) {
        if (strcmp(word, key_names[key]) != 0) {
            continue;
        }
        if (value == NULL || value[0] == '\0') {
            return fail(parser, "%s needs a value, as in %s", word, WIRE_CONFIG_HELP);
        }
        if (parser->given[key]) {
            return fail(parser, "%s is given twice", word);
        }
        parser->given[key] = true;
        return parse_value(parser, (enum key)key, value);
    }
    return fail(parser, "no setting '%s': say some of %s", word, WIRE_CONFIG_HELP);
}

/* What depends on several settings. */
static bool finish(struct parser *parser)
{
    struct wire_config *config = parser->config;
    if (parser->given[KEY_BUFFER] && config->rate_bps == 0) {
        return fail(parser, "a buffer fills only before a limit: say rate= too");
    }
    if (config->reorder > 0 && config->delay_ns == 0) {
        return fail(parser, "reordered frames overtake delayed ones: say delay= too");
    }
    if (config->jitter_ns > config->delay_ns) {
        return fail(parser, "jitter can't be larger than delay");
    }
    if (config->rate_bps != 0 && !parser->given[KEY_BUFFER]) {
        config->buffer_packets = WIRE_BUFFER_PACKETS_DEFAULT;
    }
    if (parser->buffer_bdp > 0) {
        double bytes = parser->buffer_bdp * (double)config->rate_bps / 8 * 2 *
                       (double)config->delay_ns / NS_PER_S;
        if (bytes > BUFFER_MAX) {
            return fail(parser, "such a buffer is larger than 1024mb");
        }
        config->buffer_bytes = (uint64_t)fmax(ceil(bytes), 2 * WIRE_FULL_FRAME_BYTES);
    }
    return true;
}

bool wire_config_parse(const char *text, struct wire_config *config, char *problem,
                       size_t problem_bytes)
{
    struct parser parser = {.config = config, .problem = problem, .problem_bytes = problem_bytes};
    *config = (struct wire_config){.seed = 1};
    char copy[TEXT_MAX];
    if (strlen(text) >= sizeof(copy)) {
        return fail(&parser, "the wire's description is longer than %d characters", TEXT_MAX - 1);
    }
    memcpy(copy, text, strlen(text) + 1);
    char *rest = copy;
    for (char *word; (word = strsep(&rest, ",")) != NULL;) {
        if (!parse_setting(&parser, word)) {
            return false;
        }
    }
    return finish(&parser);
}
