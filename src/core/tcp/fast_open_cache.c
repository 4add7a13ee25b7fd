#include "core/tcp/fast_open_cache.h"

#include <string.h>

struct tcp_fast_open_entry *tcp_fast_open_cache_find(struct tcp_fast_open_memory *memory,
                                                     const struct ip_address *remote, uint64_t hash)
{
    struct tcp_fast_open_entry *set = memory->entries[hash % FAST_OPEN_SETS];
    for (unsigned way = 0; way < FAST_OPEN_WAYS; way++) {
        if (set[way].in_use && ip_address_equal(&set[way].remote, remote)) {
            set[way].used = ++memory->uses;
            return &set[way];
        }
    }
    return NULL;
}

struct tcp_fast_open_entry *tcp_fast_open_cache_obtain(struct tcp_fast_open_memory *memory,
                                                       const struct ip_address *remote,
                                                       uint64_t hash)
{
    struct tcp_fast_open_entry *set = memory->entries[hash % FAST_OPEN_SETS];
    struct tcp_fast_open_entry *entry = tcp_fast_open_cache_find(memory, remote, hash);
    if (entry != NULL)
        return entry;
    entry = &set[0];
    for (unsigned way = 1; way < FAST_OPEN_WAYS; way++)
        if (set[way].used < entry->used)
            entry = &set[way];
    *entry =
        (struct tcp_fast_open_entry){.remote = *remote, .in_use = true, .used = ++memory->uses};
    return entry;
}
