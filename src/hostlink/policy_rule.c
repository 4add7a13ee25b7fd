#define _GNU_SOURCE
#include "hostlink/policy_rule.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RULE_TEXT_MAX 512
#define SEPARATORS    " \t\n"

struct problem {
    char *text;
    size_t bytes;
};

static int refuse(struct problem *problem, const char *word, const char *why)
{
    (void)snprintf(problem->text, problem->bytes, "'%s': %s", word, why);
    return -EINVAL;
}

/* ---- Values ------------------------------------------------------------------------------- */

static bool parse_number(const char *text, const char **end, uint64_t maximum, uint64_t *number)
{
    char *stop;
    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    *number = strtoull(text, &stop, 10);
    *end = stop;
    return errno == 0 && *number <= maximum;
}

/* "N" or "N-M". */
static bool parse_range(const char *text, uint64_t maximum, uint64_t *first, uint64_t *last)
{
    const char *end;
    if (!parse_number(text, &end, maximum, first))
        return false;
    *last = *first;
    if (*end == '-' && !parse_number(end + 1, &end, maximum, last))
        return false;
    return *end == '\0' && *first <= *last;
}

static bool parse_prefix(char *value, struct link_policy_rule *rule)
{
    uint8_t bytes[16];
    char *slash = strchr(value, '/');
    if (slash != NULL)
        *slash = '\0';
    bool v4 = inet_pton(AF_INET, value, bytes) == 1;
    if (!v4 && inet_pton(AF_INET6, value, bytes) != 1)
        return false;
    rule->address = v4 ? ip_address_from_v4(bytes) : ip_address_from_v6(bytes);
    uint64_t length = v4 ? 32 : 128;
    const char *end;
    if (slash != NULL && (!parse_number(slash + 1, &end, v4 ? 32 : 128, &length) || *end != '\0'))
        return false;
    rule->prefix_length = (uint32_t)length + (v4 ? 96 : 0);
    rule->has_address = 1;
    return true;
}

/* ---- Words -------------------------------------------------------------------------------- */

static int parse_key(const char *word, const char *key, char *value, struct link_policy_rule *rule,
                     struct problem *problem)
{
    uint64_t first, last;
    if (strcmp(key, "address") == 0)
        return parse_prefix(value, rule)
                   ? 0
                   : refuse(problem, word, "needs an IPv4 or IPv6 address or ADDRESS/LENGTH");
    if (strcmp(key, "port") == 0) {
        if (!parse_range(value, UINT16_MAX, &first, &last))
            return refuse(problem, word, "needs a port or a range N-M, at most 65535");
        rule->port_first = (uint16_t)first;
        rule->port_last = (uint16_t)last;
        return 0;
    }
    if (strcmp(key, "uid") == 0) {
        if (!parse_range(value, UINT32_MAX, &first, &last))
            return refuse(problem, word, "needs a user id or a range N-M");
        rule->uid_first = (uint32_t)first;
        rule->uid_last = (uint32_t)last;
        return 0;
    }
    if (strcmp(key, "program") == 0) {
        size_t length = strlen(value);
        if (length == 0 || length >= sizeof(rule->program))
            return refuse(problem, word, "needs a program's name or path of at most 119 bytes");
        memcpy(rule->program, value, length + 1);
        return 0;
    }
    return refuse(problem, word, "no such key (there are: address, port, program, uid)");
}

static int parse_call(const char *word, struct link_policy_rule *rule, struct problem *problem)
{
    if (strcmp(word, "bind") == 0)
        rule->calls |= LINK_POLICY_BIND;
    else if (strcmp(word, "listen") == 0)
        rule->calls |= LINK_POLICY_LISTEN;
    else if (strcmp(word, "connect") == 0)
        rule->calls |= LINK_POLICY_CONNECT;
    else
        return refuse(problem, word, "neither bind, listen, connect nor KEY=VALUE");
    return 0;
}

static int parse_word(char *word, struct link_policy_rule *rule, struct problem *problem)
{
    char key[16];
    const char *equals = strchr(word, '=');
    if (equals == NULL)
        return parse_call(word, rule, problem);
    size_t length = (size_t)(equals - word);
    if (length >= sizeof(key))
        return refuse(problem, word, "no such key (there are: address, port, program, uid)");
    memcpy(key, word, length);
    key[length] = '\0';
    char value[RULE_TEXT_MAX];
    memcpy(value, equals + 1, strlen(equals + 1) + 1);
    return parse_key(word, key, value, rule, problem);
}

int link_policy_parse(const char *text, struct link_policy_rule *rule, char *problem_text,
                      size_t problem_bytes)
{
    struct problem problem = {problem_text, problem_bytes};
    char copy[RULE_TEXT_MAX];
    char *rest;
    if (strlen(text) >= sizeof(copy))
        return refuse(&problem, "rule", "longer than 511 bytes");
    memcpy(copy, text, strlen(text) + 1);
    *rule = (struct link_policy_rule){.port_last = UINT16_MAX, .uid_last = UINT32_MAX};
    char *word = strtok_r(copy, SEPARATORS, &rest);
    if (word == NULL)
        return refuse(&problem, "", "an empty rule");
    if (strcmp(word, "offload") == 0)
        rule->action = LINK_POLICY_OFFLOAD;
    else if (strcmp(word, "kernel") == 0)
        rule->action = LINK_POLICY_KERNEL;
    else
        return refuse(&problem, word, "a rule begins with offload or kernel");
    while ((word = strtok_r(NULL, SEPARATORS, &rest)) != NULL) {
        int result = parse_word(word, rule, &problem);
        if (result != 0)
            return result;
    }
    if (rule->calls == 0)
        rule->calls = LINK_POLICY_BIND | LINK_POLICY_LISTEN | LINK_POLICY_CONNECT;
    return 0;
}

int link_policy_parse_list(const char *text, struct link_policy_rule rules[LINK_POLICY_RULES_MAX],
                           uint32_t *count, char *problem, size_t problem_bytes)
{
    uint32_t parsed = 0;
    *count = 0;
    for (const char *start = text; *start != '\0';) {
        char one[RULE_TEXT_MAX];
        char why[160];
        size_t length = strcspn(start, ";");
        const char *next = start[length] == ';' ? start + length + 1 : start + length;
        if (strspn(start, SEPARATORS) >= length) {
            start = next;
            continue;
        }
        if (parsed == LINK_POLICY_RULES_MAX) {
            (void)snprintf(problem, problem_bytes, "more than %d rules", LINK_POLICY_RULES_MAX);
            return -EINVAL;
        }
        if (length >= sizeof(one))
            length = sizeof(one) - 1; /* too long by far, which the parser then finds */
        memcpy(one, start, length);
        one[length] = '\0';
        int result = link_policy_parse(one, &rules[parsed++], why, sizeof(why));
        if (result != 0) {
            (void)snprintf(problem, problem_bytes, "rule %u: %s", parsed, why);
            return result;
        }
        start = next;
    }
    *count = parsed;
    return 0;
}

/* ---- Matching ----------------------------------------------------------------------------- */

static bool program_matches(const struct link_policy_rule *rule,
                            const struct link_policy_subject *subject)
{
    char pattern[LINK_POLICY_PROGRAM_MAX];
    memcpy(pattern, rule->program, sizeof(pattern));
    pattern[sizeof(pattern) - 1] = '\0';
    if (pattern[0] == '\0')
        return true;
    if (strchr(pattern, '/') != NULL)
        return fnmatch(pattern, subject->program_path, 0) == 0;
    const char *slash = strrchr(subject->program_path, '/');
    return fnmatch(pattern, subject->program_name, 0) == 0 ||
           (slash != NULL && fnmatch(pattern, slash + 1, 0) == 0);
}

bool link_policy_matches(const struct link_policy_rule *rule,
                         const struct link_policy_subject *subject)
{
    const struct ip_address *address = &subject->endpoint.address;
    if ((rule->calls & subject->call) == 0)
        return false;
    if (rule->has_address != 0 &&
        (rule->prefix_length > 128 ||
         ip_address_is_v4(&rule->address) != ip_address_is_v4(address) ||
         !ip_address_in_prefix(address, &rule->address, rule->prefix_length)))
        return false;
    return subject->endpoint.port >= rule->port_first &&
           subject->endpoint.port <= rule->port_last && subject->uid >= rule->uid_first &&
           subject->uid <= rule->uid_last && program_matches(rule, subject);
}

int link_policy_find(const struct link_policy_rule *rules, uint32_t count,
                     const struct link_policy_subject *subject)
{
    for (uint32_t i = 0; i < count && i < LINK_POLICY_RULES_MAX; i++) {
        if (link_policy_matches(&rules[i], subject))
            return (int)i;
    }
    return -1;
}
