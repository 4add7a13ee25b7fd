/* The limit of address space. The arena is some gigabytes of it, hardly any of them memory, which a
   program that allows itself 200 MB (as vsftpd's sessions do) does not know of: it gets its limit
   beside the arena, and is told the limit that it set. */
#include <sys/resource.h>
#include <unistd.h>

#include "hostlib/interpose.h"

static rlim_t arena_bytes(void)
{
    const struct engine_link *link = engine_link_current();
    return link != NULL ? link->hello.arena_bytes : 0;
}

static rlim_t beside_arena(rlim_t limit, rlim_t arena)
{
    return limit < RLIM_INFINITY - arena ? limit + arena : RLIM_INFINITY;
}

static rlim_t without_arena(rlim_t limit, rlim_t arena)
{
    if (limit == RLIM_INFINITY)
        return limit;
    return limit > arena ? limit - arena : 0;
}

PNO_EXPORT int prlimit(pid_t pid, enum __rlimit_resource resource, const struct rlimit *wanted,
                       struct rlimit *before)
{
    rlim_t arena = resource == RLIMIT_AS && (pid == 0 || pid == getpid()) ? arena_bytes() : 0;
    struct rlimit beside;
    if (arena != 0 && wanted != NULL) {
        beside.rlim_cur = beside_arena(wanted->rlim_cur, arena);
        beside.rlim_max = beside_arena(wanted->rlim_max, arena);
        wanted = &beside;
    }
    int result = REAL(prlimit)(pid, resource, wanted, before);
    if (result == 0 && arena != 0 && before != NULL) {
        before->rlim_cur = without_arena(before->rlim_cur, arena);
        before->rlim_max = without_arena(before->rlim_max, arena);
    }
    return result;
}

PNO_EXPORT int setrlimit(enum __rlimit_resource resource, const struct rlimit *limit)
{
    if (resource != RLIMIT_AS)
        return REAL(setrlimit)(resource, limit);
    return prlimit(0, resource, limit, NULL);
}

PNO_EXPORT int getrlimit(enum __rlimit_resource resource, struct rlimit *limit)
{
    if (resource != RLIMIT_AS)
        return REAL(getrlimit)(resource, limit);
    return prlimit(0, resource, NULL, limit);
}

/* struct rlimit64 is struct rlimit here. */

PNO_EXPORT int prlimit64(pid_t pid, enum __rlimit_resource resource, const struct rlimit64 *wanted,
                         struct rlimit64 *before)
{
    return prlimit(pid, resource, (const struct rlimit *)wanted, (struct rlimit *)before);
}

PNO_EXPORT int setrlimit64(enum __rlimit_resource resource, const struct rlimit64 *limit)
{
    return setrlimit(resource, (const struct rlimit *)limit);
}

PNO_EXPORT int getrlimit64(enum __rlimit_resource resource, struct rlimit64 *limit)
{
    return getrlimit(resource, (struct rlimit *)limit);
}
