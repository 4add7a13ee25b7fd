#include "assertions.h"

#include <ctype.h>
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 256
#define DEPTH_MAX 64

struct assertions {
    struct {
        char name[40];
        double value;
    } names[NAMES_MAX];
    unsigned count;
};

struct evaluation {
    struct assertions *assertions;
    const char *at;
    unsigned depth;
    jmp_buf unknown; /**< taken at whatever is not understood */
};

struct assertions *assertions_new(void)
{
    struct assertions *assertions = calloc(1, sizeof(*assertions));
    if (assertions == NULL)
        abort();
    return assertions;
}

void assertions_free(struct assertions *assertions)
{
    free(assertions);
}

static double *find(struct assertions *assertions, const char *name)
{
    for (unsigned i = 0; i < assertions->count; i++) {
        if (strcmp(assertions->names[i].name, name) == 0)
            return &assertions->names[i].value;
    }
    return NULL;
}

void assertions_set(struct assertions *assertions, const char *name, double value)
{
    double *known = find(assertions, name);
    if (known == NULL && assertions->count < NAMES_MAX &&
        strlen(name) < sizeof(assertions->names[0].name)) {
        memcpy(assertions->names[assertions->count].name, name, strlen(name) + 1);
        known = &assertions->names[assertions->count++].value;
    }
    if (known != NULL)
        *known = value;
}

/* ---- Tokens ------------------------------------------------------------------------------- */

static _Noreturn void unknown(struct evaluation *e)
{
    longjmp(e->unknown, 1);
}

/** White space; within brackets, and after a backslash, lines go on. */
static void skip(struct evaluation *e)
{
    for (;;) {
        if (*e->at == ' ' || *e->at == '\t' || *e->at == '\r')
            e->at++;
        else if (*e->at == '\\' && e->at[1] == '\n')
            e->at += 2;
        else if (*e->at == '\n' && e->depth > 0)
            e->at++;
        else
            return;
    }
}

static bool accept(struct evaluation *e, const char *token)
{
    skip(e);
    size_t length = strlen(token);
    if (strncmp(e->at, token, length) != 0)
        return false;
    if (isalpha((unsigned char)token[0]) &&
        (isalnum((unsigned char)e->at[length]) || e->at[length] == '_'))
        return false;
    e->at += length;
    return true;
}

static void expect(struct evaluation *e, const char *token)
{
    if (!accept(e, token))
        unknown(e);
}

static void word(struct evaluation *e, char name[40])
{
    unsigned n = 0;
    skip(e);
    if (!isalpha((unsigned char)*e->at) && *e->at != '_')
        unknown(e);
    while (isalnum((unsigned char)*e->at) || *e->at == '_') {
        if (n == 39)
            unknown(e);
        name[n++] = *e->at++;
    }
    name[n] = '\0';
}

/* ---- Expressions -------------------------------------------------------------------------- */

static double expression(struct evaluation *e);

static int64_t whole(struct evaluation *e, double value)
{
    if (value != floor(value) || fabs(value) > 9e15)
        unknown(e);
    return (int64_t)value;
}

static double call(struct evaluation *e, const char *name)
{
    double first = expression(e), other;
    if (strcmp(name, "abs") == 0) {
        first = fabs(first);
    } else if (strcmp(name, "int") == 0) {
        first = trunc(first);
    } else if (strcmp(name, "min") == 0 || strcmp(name, "max") == 0) {
        while (accept(e, ",")) {
            other = expression(e);
            first = (strcmp(name, "min") == 0) == (other < first) ? other : first;
        }
    } else {
        unknown(e);
    }
    expect(e, ")");
    return first;
}

static double primary(struct evaluation *e)
{
    char name[40], *end;
    double value;
    skip(e);
    if (e->depth == DEPTH_MAX)
        unknown(e);
    if (accept(e, "(")) {
        e->depth++;
        value = expression(e);
        e->depth--;
        expect(e, ")");
        return value;
    }
    if (isdigit((unsigned char)*e->at) || *e->at == '.') {
        value = strtod(e->at, &end);
        if (end == e->at)
            unknown(e);
        e->at = end;
        return value;
    }
    word(e, name);
    if (*e->at == '(') {
        e->at++;
        e->depth++;
        value = call(e, name);
        e->depth--;
        return value;
    }
    if (strcmp(name, "True") == 0 || strcmp(name, "False") == 0)
        return strcmp(name, "True") == 0;
    const double *known = find(e->assertions, name);
    if (known == NULL)
        unknown(e);
    return *known;
}

static double unary(struct evaluation *e)
{
    if (e->depth == DEPTH_MAX)
        unknown(e);
    if (!accept(e, "-"))
        return primary(e);
    e->depth++;
    double value = -unary(e);
    e->depth--;
    return value;
}

static double product(struct evaluation *e)
{
    double value = unary(e), other;
    for (;;) {
        if (accept(e, "//")) {
            other = unary(e);
            if (other == 0)
                unknown(e);
            value = floor(value / other);
        } else if (accept(e, "*")) {
            value *= unary(e);
        } else if (accept(e, "/")) {
            other = unary(e);
            if (other == 0)
                unknown(e);
            value /= other;
        } else {
            return value;
        }
    }
}

static double sum(struct evaluation *e)
{
    double value = product(e);
    for (;;) {
        skip(e);
        if (e->at[0] != '\0' && e->at[1] == '=')
            return value; /* += is no operator of an expression */
        if (accept(e, "+"))
            value += product(e);
        else if (accept(e, "-"))
            value -= product(e);
        else
            return value;
    }
}

/** & and |, which in Python bind more tightly than comparisons. */
static double bits(struct evaluation *e)
{
    double value = sum(e);
    for (;;) {
        if (accept(e, "&"))
            value = (double)(whole(e, value) & whole(e, sum(e)));
        else if (accept(e, "|"))
            value = (double)(whole(e, value) | whole(e, sum(e)));
        else
            return value;
    }
}

/** a in (b, c) */
static bool among(struct evaluation *e, double value)
{
    bool found = false;
    if (!accept(e, "(") && !accept(e, "["))
        unknown(e);
    e->depth++;
    do {
        found |= expression(e) == value;
    } while (accept(e, ","));
    e->depth--;
    if (!accept(e, ")"))
        expect(e, "]");
    return found;
}

/** a <= b < c holds when each pair does. */
static double comparison(struct evaluation *e)
{
    double left = bits(e), right;
    bool holds = true, any = false;
    for (;; any = true, left = right) {
        if (accept(e, "=="))
            right = bits(e), holds &= left == right;
        else if (accept(e, "!="))
            right = bits(e), holds &= left != right;
        else if (accept(e, "<="))
            right = bits(e), holds &= left <= right;
        else if (accept(e, ">="))
            right = bits(e), holds &= left >= right;
        else if (accept(e, "<"))
            right = bits(e), holds &= left < right;
        else if (accept(e, ">"))
            right = bits(e), holds &= left > right;
        else if (accept(e, "in"))
            right = left, holds &= among(e, left);
        else
            return any ? holds : left;
    }
}

static double negation(struct evaluation *e)
{
    bool negated = false;
    while (accept(e, "not"))
        negated = !negated;
    double value = comparison(e);
    return negated ? value == 0 : value;
}

static double conjunction(struct evaluation *e)
{
    double value = negation(e);
    while (accept(e, "and")) {
        double other = negation(e);
        value = value != 0 ? other : value;
    }
    return value;
}

static double expression(struct evaluation *e)
{
    double value = conjunction(e);
    while (accept(e, "or")) {
        double other = conjunction(e);
        value = value != 0 ? value : other;
    }
    return value;
}

/* ---- Statements --------------------------------------------------------------------------- */

/** To the end of a statement whose rest does not matter: brackets and quotes are kept together. */
static void skip_statement(struct evaluation *e)
{
    unsigned depth = 0;
    char quote = '\0';
    for (; *e->at != '\0'; e->at++) {
        if (quote != '\0') {
            quote = *e->at == quote ? '\0' : quote;
        } else if (*e->at == '\'' || *e->at == '"') {
            quote = *e->at;
        } else if (*e->at == '(' || *e->at == '[') {
            depth++;
        } else if (*e->at == ')' || *e->at == ']') {
            depth -= depth > 0;
        } else if (*e->at == '\\' && e->at[1] == '\n') {
            e->at++;
        } else if (depth == 0 && (*e->at == '\n' || *e->at == ';' || *e->at == '#')) {
            return;
        }
    }
}

static void assignment(struct evaluation *e)
{
    char name[40];
    word(e, name);
    const double *known = find(e->assertions, name);
    bool adds = accept(e, "+="), subtracts = !adds && accept(e, "-=");
    if ((adds || subtracts) && known == NULL)
        unknown(e);
    double before = known == NULL ? 0 : *known;
    if (!adds && !subtracts)
        expect(e, "=");
    double value = expression(e);
    assertions_set(e->assertions, name, adds ? before + value : subtracts ? before - value : value);
}

/** @return false: an assertion does not hold; e->at is after its condition. */
static bool statement(struct evaluation *e)
{
    if (accept(e, "print")) {
        skip_statement(e);
    } else if (accept(e, "pass")) {
        return true;
    } else if (accept(e, "assert")) {
        if (expression(e) == 0)
            return false;
        if (accept(e, ","))
            skip_statement(e);
    } else {
        assignment(e);
    }
    return true;
}

static void tell(struct evaluation *e, unsigned line, const char *began,
                 struct script_error *problem)
{
    struct evaluation message = *e;
    char text[240];
    unsigned n = 0;
    const char *end = began;
    for (struct evaluation rest = *e; end < rest.at; end++) {
        if (n < sizeof(text) - 1)
            text[n++] = isspace((unsigned char)*end) ? ' ' : *end;
    }
    text[n] = '\0';
    if (setjmp(message.unknown) == 0 && accept(&message, ","))
        script_error_set(problem, line, "AssertionError %.15g in: %s", expression(&message), text);
    else
        script_error_set(problem, line, "AssertionError in: %s", text);
}

enum assertions_result assertions_run(struct assertions *assertions, unsigned line,
                                      const char *code, struct script_error *problem)
{
    struct evaluation *e = calloc(1, sizeof(*e));
    if (e == NULL)
        abort();
    e->assertions = assertions;
    e->at = code;
    if (setjmp(e->unknown) != 0) {
        free(e);
        return ASSERTIONS_UNKNOWN;
    }
    for (;;) {
        skip(e);
        if (*e->at == '#')
            e->at += strcspn(e->at, "\n");
        if (*e->at == '\n' || *e->at == ';') {
            e->at++;
            continue;
        }
        if (*e->at == '\0' || strcmp(e->at, "\\") == 0)
            break;
        const char *began = e->at;
        if (!statement(e)) {
            tell(e, line, began, problem);
            free(e);
            return ASSERTIONS_FAIL;
        }
        skip(e);
        if (*e->at != '\0' && *e->at != '\n' && *e->at != ';' && *e->at != '#')
            unknown(e);
    }
    free(e);
    return ASSERTIONS_HOLD;
}
