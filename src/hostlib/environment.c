#include "hostlib/environment.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PRELOAD      "LD_PRELOAD"
#define ASAN_OPTIONS "ASAN_OPTIONS"
#define ASAN_ALLOWS  "verify_asan_link_order=0" /* as `pno run` sets it */
#define ADDED        "PNO_ADDED"
#define ADDED_SPLIT  ':'
#define ADDED_LENGTH 128

/* Room for the variables that we add. */
#define ADDED_VARIABLES 10
#define ADDED_BYTES     (6 * PATH_MAX)

static const char *const own_names[] = {"PNO_SOCKET", "PNO_LOOPBACK", "PNO_POLICY", "PNO_LOG",
                                        "PNO_SPIN_US"};
#define OWN_COUNT (sizeof(own_names) / sizeof(own_names[0]))

/* As they were at the beginning; copies, since programs clear and overwrite their environments. */
static char *values_at_start[OWN_COUNT];

/* ---- This program's ------------------------------------------------------------------------- */

static void hide_preload(void)
{
    char *value = getenv(PRELOAD);
    char *ours = value != NULL ? strstr(value, loadable_library_path()) : NULL;
    if (ours == NULL || ours == value)
        (void)unsetenv(PRELOAD);
    else
        ours[-1] = '\0'; /* added behind what was there */
}

void environment_adopt(void)
{
    char names[ADDED_LENGTH];
    for (size_t i = 0; i < OWN_COUNT; i++) {
        const char *value = getenv(own_names[i]);
        values_at_start[i] = value != NULL ? strdup(value) : NULL;
    }
    const char *added = getenv(ADDED);
    if (added == NULL)
        return;
    (void)snprintf(names, sizeof(names), "%s", added);
    (void)unsetenv(ADDED);
    for (char *name = names; name != NULL;) {
        char *end = strchr(name, ADDED_SPLIT);
        if (end != NULL)
            *end = '\0';
        if (strcmp(name, PRELOAD) == 0)
            hide_preload();
        else
            (void)unsetenv(name);
        name = end != NULL ? end + 1 : NULL;
    }
}

const char *environment_value(const char *name)
{
    const char *value = getenv(name);
    for (size_t i = 0; i < OWN_COUNT && value == NULL; i++) {
        if (strcmp(name, own_names[i]) == 0)
            value = values_at_start[i];
    }
    return value;
}

/* ---- Those of others ------------------------------------------------------------------------ */

static const char *value_in(char *const variables[], const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; variables != NULL && variables[i] != NULL; i++) {
        if (strncmp(variables[i], name, length) == 0 && variables[i][length] == '=')
            return variables[i] + length + 1;
    }
    return NULL;
}

bool environment_is_to_change(char *const given[], enum loadable loadable)
{
    const char *library = loadable_library_path();
    const char *preload = value_in(given, PRELOAD);
    const char *asan = value_in(given, ASAN_OPTIONS);
    if (library[0] == '\0' || loadable == LOADABLE_IGNORED)
        return false;
    if (loadable == LOADABLE_REFUSED)
        return preload != NULL && strstr(preload, library) != NULL;
    if (asan != NULL && strstr(asan, ASAN_ALLOWS) == NULL)
        return false;
    return preload == NULL || (preload[0] != '\0' && strstr(preload, library) == NULL);
}

static size_t count_strings(char *const strings[])
{
    size_t count = 0;
    while (strings != NULL && strings[count] != NULL)
        count++;
    return count;
}

void environment_release(struct environment *environment)
{
    munmap((void *)environment->variables, environment->bytes);
}

/* @return where the variable is; the count: nowhere. */
static size_t place_of(const struct environment *environment, const char *name)
{
    size_t length = strlen(name);
    size_t place = 0;
    while (place < environment->count &&
           (strncmp(environment->variables[place], name, length) != 0 ||
            environment->variables[place][length] != '='))
        place++;
    return place;
}

void environment_set(struct environment *environment, const char *name, const char *value)
{
    int length = snprintf(environment->text, environment->text_left, "%s=%s", name, value);
    if (length < 0 || (size_t)length >= environment->text_left)
        return;
    size_t place = place_of(environment, name);
    if (place == environment->count)
        environment->variables[++environment->count] = NULL;
    environment->variables[place] = environment->text;
    environment->text += length + 1;
    environment->text_left -= (size_t)length + 1;
}

static void unset(struct environment *environment, const char *name)
{
    size_t place = place_of(environment, name);
    if (place == environment->count)
        return;
    for (; place < environment->count; place++)
        environment->variables[place] = environment->variables[place + 1];
    environment->count--;
}

/* Set a variable that the new program is not to see. */
static void set_hidden(struct environment *environment, const char *name, const char *value,
                       char added[ADDED_LENGTH])
{
    size_t length = strlen(added);
    (void)snprintf(added + length, ADDED_LENGTH - length, "%s%s", length != 0 ? ":" : "", name);
    environment_set(environment, name, value);
}

/* Set what the program needs to load us and find pnod, as far as it is missing. */
static void set_ours(struct environment *environment)
{
    char added[ADDED_LENGTH] = "";
    char text[PATH_MAX];
    char *const *variables = environment->variables;
    const char *library = loadable_library_path();
    const char *preload = value_in(variables, PRELOAD);
    if (preload == NULL || strstr(preload, library) == NULL) {
        const char *before = preload != NULL ? preload : "";
        (void)snprintf(text, sizeof(text), "%s%s%s", before, before[0] != '\0' ? ":" : "", library);
        set_hidden(environment, PRELOAD, text, added);
    }
    for (size_t i = 0; i < OWN_COUNT; i++) {
        const char *value = environment_value(own_names[i]);
        if (value != NULL && value_in(variables, own_names[i]) == NULL)
            set_hidden(environment, own_names[i], value, added);
    }
    if (value_in(variables, ASAN_OPTIONS) == NULL)
        set_hidden(environment, ASAN_OPTIONS, ASAN_ALLOWS, added);
    if (added[0] != '\0')
        environment_set(environment, ADDED, added);
}

/* Take us out of LD_PRELOAD, with what separates us from others there. */
static void remove_ours(struct environment *environment)
{
    char text[PATH_MAX];
    const char *library = loadable_library_path();
    const char *preload = value_in(environment->variables, PRELOAD);
    const char *ours = preload != NULL ? strstr(preload, library) : NULL;
    if (ours == NULL)
        return;
    const char *after = ours + strlen(library);
    size_t before = (size_t)(ours - preload);
    if (*after != '\0')
        after++;
    else if (before > 0)
        before--;
    (void)snprintf(text, sizeof(text), "%.*s%s", (int)before, preload, after);
    if (text[0] != '\0')
        environment_set(environment, PRELOAD, text);
    else
        unset(environment, PRELOAD);
}

bool environment_begin(struct environment *environment, char *const given[], enum loadable loadable)
{
    size_t count = count_strings(given);
    size_t pointers = (count + ADDED_VARIABLES + 1) * sizeof(char *);
    environment->bytes = pointers + ADDED_BYTES;
    void *memory =
        mmap(NULL, environment->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    environment->variables = memory;
    environment->count = count;
    environment->text = (char *)memory + pointers;
    environment->text_left = ADDED_BYTES;
    if (count > 0)
        memcpy((void *)environment->variables, (const void *)given, count * sizeof(char *));
    if (loadable == LOADABLE_YES)
        set_ours(environment);
    else
        remove_ours(environment);
    return true;
}
