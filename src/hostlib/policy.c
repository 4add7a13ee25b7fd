#include "hostlib/policy.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/time_units.h"

/* Longer would be polling. */
#define SPIN_US_MAX 1000

static bool offload_loopback;
static uint64_t spin_ns;

void policy_init(void)
{
    const char *loopback = getenv("PNO_LOOPBACK");
    offload_loopback = loopback != NULL && strcmp(loopback, "1") == 0;
    const char *spin_us = getenv("PNO_SPIN_US");
    unsigned long wanted_us = spin_us != NULL ? strtoul(spin_us, NULL, 10) : 0;
    spin_ns = (wanted_us < SPIN_US_MAX ? wanted_us : SPIN_US_MAX) * NS_PER_US;
    enum log_level level = LOG_LEVEL_WARNING;
    const char *name = getenv("PNO_LOG");
    if (name != NULL)
        log_level_parse(name, &level);
    log_set("libpno", level);
}

uint64_t policy_spin_ns(void)
{
    return spin_ns;
}

bool policy_offloads_loopback(void)
{
    return offload_loopback;
}

bool policy_is_local(const struct engine_link *link, const struct ip_address *address)
{
    if (offload_loopback && ip_address_is_loopback(address))
        return true;
    for (uint32_t i = 0; i < link->hello.address_count && i < LINK_ADDRESSES_MAX; i++) {
        if (ip_address_equal(&link->hello.addresses[i].address, address))
            return true;
    }
    return false;
}

bool policy_is_kernels(const struct ip_address *remote)
{
    /* Linux connects to the wildcard address by loopback. */
    bool loopback = ip_address_is_loopback(remote) || ip_address_is_any(remote);
    return (loopback && !offload_loopback) || ip_address_is_multicast(remote);
}

bool policy_is_reachable(const struct engine_link *link, const struct ip_address *remote)
{
    if (ip_address_is_loopback(remote) || ip_address_is_any(remote))
        return offload_loopback;
    for (uint32_t i = 0; i < link->hello.address_count && i < LINK_ADDRESSES_MAX; i++) {
        const struct link_prefix *prefix = &link->hello.addresses[i];
        if (prefix->prefix_length <= 128 &&
            ip_address_is_v4(&prefix->address) == ip_address_is_v4(remote) &&
            ip_address_in_prefix(remote, &prefix->address, prefix->prefix_length))
            return true;
    }
    return ip_address_is_v4(remote) ? link->hello.gateway_v4 != 0 : link->hello.gateway_v6 != 0;
}
