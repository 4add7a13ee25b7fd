#include "engine/namespace_sysctls.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "core/sysctl.h"

#define VALUE_BYTES 128

static bool has_own_default(const char *name)
{
    static const char *const own[] = {"net.ipv4.tcp_congestion_control",
                                      "net.ipv4.tcp_fastopen_key", "net.ipv4.tcp_mtu_probing"};
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        if (strcmp(name, own[i]) == 0)
            return true;
    }
    return false;
}

/** @return false if this kernel has none of the name, or does not tell. */
static bool read_value(const char *name, char value[VALUE_BYTES])
{
    char path[VALUE_BYTES];
    (void)snprintf(path, sizeof(path), "/proc/sys/%s", name);
    for (char *c = path; *c != '\0'; c++)
        *c = (char)(*c == '.' ? '/' : *c);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool got = fgets(value, VALUE_BYTES, file) != NULL;
    (void)fclose(file);
    value[got ? strcspn(value, "\n") : 0] = '\0';
    for (char *c = value; *c != '\0'; c++)
        *c = (char)(*c == '\t' ? ' ' : *c);
    return got;
}

void namespace_sysctls_follow(struct stack_config *config)
{
    const char *name;
    for (unsigned i = 0; (name = stack_sysctl_name(i)) != NULL; i++) {
        char value[VALUE_BYTES];
        if (has_own_default(name) || !read_value(name, value))
            continue;
        if (stack_sysctl_set(config, name, value) != 0)
            log_warning("%s is %s here, which pnod does not have", name, value);
    }
}
