#include "hostlib/real.h"

#include <dlfcn.h>

struct real_calls real_calls;

void real_resolve(void)
{
    /* POSIX's own idiom for a function pointer out of dlsym(). */
#define INTERPOSED(result, name, parameters)                                                       \
    *(void **)(void *)&real_calls.name = dlsym(RTLD_NEXT, #name);
#include "hostlib/interposed.def"
#undef INTERPOSED
}
