#include "hostlib/option_set.h"

#include <string.h>

#include "base/time_units.h"
#include "hostlib/lock.h"
#include "hostlib/slab.h"

#define SLAB_BYTES (64u << 10)
#define BUCKETS    256

struct option_set {
    struct socket_options values; /**< first: what others know of it */
    struct option_set *next;      /**< in its bucket */
};

const struct socket_options option_set_default = {
    .receive_timeout_ns = TIME_NEVER,
    .send_timeout_ns = TIME_NEVER,
    .receive_low_water = 1,
};

/* The lock guards the rest. */
static struct lock lock;
static struct option_set *buckets[BUCKETS];
static struct slab sets = {
    .object_bytes = sizeof(struct option_set),
    .mapped_bytes = SLAB_BYTES,
    .link_offset = offsetof(struct option_set, next),
};
static unsigned shared_count;

struct lock *option_set_fork_lock(void)
{
    return &lock;
}

/** Lock held. */
static struct option_set *take(const struct socket_options *values)
{
    struct option_set *set = slab_take(&sets);
    if (set != NULL)
        memcpy(&set->values, values, sizeof(set->values));
    return set;
}

/** FNV-1a (Fowler, Noll, Vo). */
static unsigned bucket_of(const struct socket_options *values)
{
    const unsigned char *bytes = (const unsigned char *)values;
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < sizeof(*values); i++)
        hash = (hash ^ bytes[i]) * 16777619u;
    return (hash ^ hash >> 16) % BUCKETS;
}

const struct socket_options *option_set_shared(const struct socket_options *values)
{
    if (memcmp(values, &option_set_default, sizeof(*values)) == 0)
        return &option_set_default;
    struct option_set **bucket = &buckets[bucket_of(values)];
    lock_acquire(&lock);
    struct option_set *set = *bucket;
    while (set != NULL && memcmp(&set->values, values, sizeof(*values)) != 0)
        set = set->next;
    if (set == NULL && shared_count < OPTION_SETS_MAX && (set = take(values)) != NULL) {
        set->next = *bucket;
        *bucket = set;
        shared_count++;
    }
    lock_release(&lock);
    return set != NULL ? &set->values : NULL;
}

struct socket_options *option_set_own(const struct socket_options *values)
{
    lock_acquire(&lock);
    struct option_set *set = take(values);
    lock_release(&lock);
    return set != NULL ? &set->values : NULL;
}

void option_set_free(struct socket_options *own)
{
    lock_acquire(&lock);
    slab_give(&sets, own); /* what begins with it */
    lock_release(&lock);
}
