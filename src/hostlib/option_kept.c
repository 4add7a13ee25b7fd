#include "hostlib/option_kept.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "hostlib/lock.h"
#include "hostlib/real.h"

/* The lock guards them; entries below `count` do not change. */
static struct lock lock;
static struct option_kept entries[OPTION_KEPT_MAX];
static unsigned count;

struct lock *option_kept_fork_lock(void)
{
    return &lock;
}

/* A range of numbers of one level. */
struct numbers {
    int level, first, last;
};

/* Source: Linux net/core/sock.c, sk_clone_lock(); net/ipv4/inet_connection_sock.c,
   inet_csk_clone_lock(); and what means more than a value: groups that are joined, programs,
   keys, queues of a connection. */
static const struct numbers not_inherited[] = {
    {SOL_SOCKET, SO_PRIORITY, SO_PRIORITY},
    {SOL_SOCKET, SO_BINDTODEVICE, SO_DETACH_FILTER},
    {SOL_SOCKET, SO_INCOMING_CPU, SO_ATTACH_REUSEPORT_EBPF},
    {SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, SO_DETACH_REUSEPORT_BPF},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT, TCP_DEFER_ACCEPT},
    {IPPROTO_TCP, TCP_QUICKACK, TCP_QUICKACK},
    {IPPROTO_TCP, TCP_MD5SIG, TCP_MD5SIG},
    {IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OPTIONS},
    {IPPROTO_TCP, TCP_FASTOPEN, TCP_FASTOPEN},
    {IPPROTO_TCP, TCP_ULP, TCP_FASTOPEN_KEY},
    {IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, TCP_ZEROCOPY_RECEIVE},
    {IPPROTO_IP, IP_OPTIONS, IP_OPTIONS},
    {IPPROTO_IP, IP_IPSEC_POLICY, IP_XFRM_POLICY},
    {IPPROTO_IP, IP_MULTICAST_TTL, IP_MULTICAST_TTL},
    {IPPROTO_IP, IP_ADD_MEMBERSHIP, MCAST_MSFILTER},
    {IPPROTO_IPV6, IPV6_ADDRFORM, IPV6_ADDRFORM},
    {IPPROTO_IPV6, IPV6_MULTICAST_HOPS, IPV6_MULTICAST_HOPS},
    {IPPROTO_IPV6, IPV6_JOIN_GROUP, IPV6_LEAVE_GROUP},
    {IPPROTO_IPV6, IPV6_V6ONLY, IPV6_LEAVE_ANYCAST},
    {IPPROTO_IPV6, IPV6_IPSEC_POLICY, IPV6_XFRM_POLICY},
    {IPPROTO_IPV6, MCAST_JOIN_GROUP, MCAST_MSFILTER},
};

bool option_kept_is_inherited(int level, int name)
{
    for (size_t i = 0; i < sizeof(not_inherited) / sizeof(not_inherited[0]); i++) {
        const struct numbers *numbers = &not_inherited[i];
        if (level == numbers->level && name >= numbers->first && name <= numbers->last)
            return false;
    }
    return true;
}

/* Lock held. @return NULL: there are too many. */
static const struct option_kept *find_or_make(const struct option_kept *wanted)
{
    for (unsigned i = 0; i < count; i++) {
        if (memcmp(&entries[i], wanted, sizeof(*wanted)) == 0)
            return &entries[i];
    }
    if (count == OPTION_KEPT_MAX)
        return NULL;
    memcpy(&entries[count], wanted, sizeof(*wanted));
    return &entries[count++];
}

/* The list's entries, the last one first, without the option. @return how many. */
static unsigned others(const struct option_kept *list, int level, int name,
                       const struct option_kept *found[OPTION_KEPT_ENTRIES_MAX])
{
    unsigned number = 0;
    for (; list != NULL; list = list->before) {
        if (list->level != level || list->name != name)
            found[number++] = list;
    }
    return number;
}

const struct option_kept *option_kept_add(const struct option_kept *list, int level, int name,
                                          const void *value, socklen_t length)
{
    const struct option_kept *kept[OPTION_KEPT_ENTRIES_MAX];
    const struct option_kept *result = NULL;
    struct option_kept entry;
    if (length > OPTION_KEPT_BYTES_MAX)
        return list;
    unsigned number = others(list, level, name, kept);
    lock_acquire(&lock);
    bool fits = number < OPTION_KEPT_ENTRIES_MAX;
    while (fits && number > 0) {
        memcpy(&entry, kept[--number], sizeof(entry));
        entry.before = result;
        result = find_or_make(&entry);
        fits = result != NULL;
    }
    memset(&entry, 0, sizeof(entry));
    entry.before = result;
    entry.level = level;
    entry.name = name;
    entry.length = length;
    memcpy(entry.value, value, length);
    result = fits ? find_or_make(&entry) : NULL;
    lock_release(&lock);
    return result != NULL ? result : list;
}

const struct option_kept *option_kept_find(const struct option_kept *list, int level, int name)
{
    while (list != NULL && (list->level != level || list->name != name))
        list = list->before;
    return list;
}

void option_kept_apply(const struct option_kept *list, int kernel_fd)
{
    const struct option_kept *kept[OPTION_KEPT_ENTRIES_MAX];
    int saved_errno = errno;
    unsigned number = others(list, -1, -1, kept);
    while (number > 0) {
        const struct option_kept *entry = kept[--number];
        (void)REAL(setsockopt)(kernel_fd, entry->level, entry->name, entry->value, entry->length);
    }
    errno = saved_errno;
}
