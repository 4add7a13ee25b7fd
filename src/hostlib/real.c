#include "hostlib/real.h"

#include <dlfcn.h>

struct real_calls real_calls;

/* libc may come before us in the order of search, when it is named in LD_PRELOAD itself. */
static void *next_definition(const char *name)
{
    void *address = dlsym(RTLD_NEXT, name);
    if (address != NULL)
        return address;
    /* Not by dlopen(), which is in the table. */
    void *libc = dlmopen(LM_ID_BASE, "libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    if (libc == NULL)
        return NULL;
    address = dlsym(libc, name);
    (void)dlclose(libc);
    return address;
}

void real_resolve(void)
{
    /* POSIX's own idiom for a function pointer out of dlsym(). */
#define INTERPOSED(result, name, parameters)                                                       \
    *(void **)(void *)&real_calls.name = next_definition(#name);
#include "hostlib/interposed.def"
#undef INTERPOSED
}
