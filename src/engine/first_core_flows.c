#include "engine/first_core_flows.h"

void first_core_flows_init(struct first_core_flows *flows)
{
    (void)pthread_mutex_init(&flows->lock, NULL);
    atomic_init(&flows->count, 0);
    for (unsigned i = 0; i < FIRST_CORE_FLOWS_BUCKETS; i++)
        LIST_INIT(&flows->buckets[i]);
}

/** Nobody gains by steering it: a bucket's length costs lookers on a rare path only. */
static unsigned bucket_of(const struct ip_endpoint *local, const struct ip_endpoint *remote)
{
    unsigned hash = local->port * 31u + remote->port;
    return (hash * 31u + remote->address.bytes[15]) % FIRST_CORE_FLOWS_BUCKETS;
}

void first_core_flows_add(struct first_core_flows *flows, struct first_core_flow *flow,
                          const struct ip_endpoint *local, const struct ip_endpoint *remote)
{
    flow->local = *local;
    flow->remote = *remote;
    flow->listed = true;
    (void)pthread_mutex_lock(&flows->lock);
    LIST_INSERT_HEAD(&flows->buckets[bucket_of(local, remote)], flow, link);
    (void)pthread_mutex_unlock(&flows->lock);
    /* Release pairs with the acquire in first_core_flows_have(): before its first segment leaves.
     */
    (void)atomic_fetch_add_explicit(&flows->count, 1, memory_order_release);
}

void first_core_flows_remove(struct first_core_flows *flows, struct first_core_flow *flow)
{
    if (!flow->listed)
        return;
    flow->listed = false;
    (void)atomic_fetch_sub_explicit(&flows->count, 1, memory_order_release);
    (void)pthread_mutex_lock(&flows->lock);
    LIST_REMOVE(flow, link);
    (void)pthread_mutex_unlock(&flows->lock);
}

static bool is_flow(const struct first_core_flow *flow, const struct ip_endpoint *local,
                    const struct ip_endpoint *remote)
{
    return flow->local.port == local->port && flow->remote.port == remote->port &&
           ip_address_equal(&flow->local.address, &local->address) &&
           ip_address_equal(&flow->remote.address, &remote->address);
}

bool first_core_flows_have(struct first_core_flows *flows, const struct ip_endpoint *local,
                           const struct ip_endpoint *remote)
{
    if (atomic_load_explicit(&flows->count, memory_order_acquire) == 0)
        return false;
    (void)pthread_mutex_lock(&flows->lock);
    struct first_core_flow *flow;
    bool found = false;
    LIST_FOREACH(flow, &flows->buckets[bucket_of(local, remote)], link)
    {
        found = found || is_flow(flow, local, remote);
    }
    (void)pthread_mutex_unlock(&flows->lock);
    return found;
}
