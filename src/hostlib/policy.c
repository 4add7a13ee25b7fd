#include "hostlib/policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/time_units.h"
#include "hostlib/engine_link.h"
#include "hostlib/environment.h"
#include "hostlib/syscall_sites.h"
#include "hostlink/policy_rule.h"

/* Longer would be polling. */
#define SPIN_US_MAX 1000

bool policy_loopback;
static uint64_t spin_ns;

/* PNO_POLICY. */
static struct link_policy_rule own_rules[LINK_POLICY_RULES_MAX];
static uint32_t own_rule_count;

/* Only known if a rule asks for them; see know_program(). */
static char program_name[LINK_PROGRAM_MAX];
static char program_path[LINK_POLICY_PROGRAM_MAX];

static void read_own_rules(void)
{
    const char *text = environment_value("PNO_POLICY");
    char problem[200];
    /* `pno run` refuses such a variable; here it is too late for that. */
    if (text != NULL &&
        link_policy_parse_list(text, own_rules, &own_rule_count, problem, sizeof(problem)) != 0)
        log_error("PNO_POLICY is ignored: %s", problem);
}

void policy_init(void)
{
    const char *loopback = environment_value("PNO_LOOPBACK");
    policy_loopback = loopback != NULL && strcmp(loopback, "1") == 0;
    const char *spin_us = environment_value("PNO_SPIN_US");
    unsigned long wanted_us = spin_us != NULL ? strtoul(spin_us, NULL, 10) : 0;
    spin_ns = (wanted_us < SPIN_US_MAX ? wanted_us : SPIN_US_MAX) * NS_PER_US;
    enum log_level level = LOG_LEVEL_WARNING;
    const char *name = environment_value("PNO_LOG");
    if (name != NULL)
        log_level_parse(name, &level);
    log_set("libpno", level);
    read_own_rules();
}

uint64_t policy_spin_ns(void)
{
    return spin_ns;
}

/* ---- Rules -------------------------------------------------------------------------------- */

static bool any_names_a_program(const struct link_policy_rule *rules, uint32_t count)
{
    for (uint32_t i = 0; i < count && i < LINK_POLICY_RULES_MAX; i++) {
        if (rules[i].program[0] != '\0')
            return true;
    }
    return false;
}

/* When it is first asked for: a script's name is the kernel's from its start on. Races write the
   same text. */
static void know_program(void)
{
    char path[LINK_POLICY_PROGRAM_MAX] = "";
    if (program_name[0] != '\0')
        return;
    long length = syscall(SYS_readlink, "/proc/self/exe", path, sizeof(path) - 1);
    memcpy(program_path, path, length > 0 ? (size_t)length + 1 : 0);
    (void)prctl(PR_GET_NAME, program_name);
}

/* @return the number of the first rule that fits, from 1; 0: none. */
static uint32_t find_rule(const struct link_policy_rule *rules, uint32_t count,
                          enum link_policy_call call, const struct ip_endpoint *endpoint)
{
    if (count == 0)
        return 0;
    int saved_errno = errno;
    if (any_names_a_program(rules, count))
        know_program();
    const struct link_policy_subject subject = {
        .call = call,
        .endpoint = *endpoint,
        .uid = (uint32_t)geteuid(),
        .program_name = program_name,
        .program_path = program_path,
    };
    errno = saved_errno;
    return (uint32_t)(link_policy_find(rules, count, &subject) + 1);
}

/* @param own  the number of the rule of PNO_POLICY that fits, found before the engine was known. */
static bool rules_allow(const struct engine_link *link, uint32_t own, enum link_policy_call call,
                        const struct ip_endpoint *endpoint, struct policy_reason *reason)
{
    if (own != 0) {
        *reason = (struct policy_reason){SOCKET_NOTE_OWN_RULE, own};
        return own_rules[own - 1].action != LINK_POLICY_KERNEL;
    }
    uint32_t rule = find_rule(link->header->policy, link->header->policy_count, call, endpoint);
    *reason = (struct policy_reason){SOCKET_NOTE_RULE, rule};
    return rule == 0 || link->header->policy[rule - 1].action != LINK_POLICY_KERNEL;
}

/* The link by which a call is served as far as rules say. @param link  as known; NULL: none yet. */
static struct engine_link *link_by_rules(struct engine_link *link, enum link_policy_call call,
                                         const struct ip_endpoint *endpoint,
                                         struct policy_reason *reason)
{
    uint32_t own = find_rule(own_rules, own_rule_count, call, endpoint);
    if (own != 0 && own_rules[own - 1].action == LINK_POLICY_KERNEL) {
        /* A program that wants nothing of the engine does not attach to it. */
        *reason = (struct policy_reason){SOCKET_NOTE_OWN_RULE, own};
        return NULL;
    }
    if (own == 0 && syscall_sites_escaped()) {
        *reason = (struct policy_reason){.reason = SOCKET_NOTE_OWN_CALLS};
        return NULL;
    }
    if (link == NULL)
        link = engine_link_attach();
    if (link == NULL) {
        *reason = (struct policy_reason){.reason = SOCKET_NOTE_NO_ENGINE};
        return NULL;
    }
    return rules_allow(link, own, call, endpoint, reason) ? link : NULL;
}

/* ---- Addresses ---------------------------------------------------------------------------- */

static bool is_local(const struct engine_link *link, const struct ip_address *address)
{
    if (ip_address_is_loopback(address))
        return policy_loopback;
    for (uint32_t i = 0; i < link->hello.address_count && i < LINK_ADDRESSES_MAX; i++) {
        if (ip_address_equal(&link->hello.addresses[i].address, address))
            return true;
    }
    return false;
}

bool policy_turns_round(const struct engine_link *link, const struct ip_address *remote)
{
    return policy_loopback && is_local(link, remote);
}

/* On the engine's links, or by its gateway. */
static bool is_reachable(const struct engine_link *link, const struct ip_address *remote)
{
    if (ip_address_is_loopback(remote))
        return policy_loopback;
    for (uint32_t i = 0; i < link->hello.address_count && i < LINK_ADDRESSES_MAX; i++) {
        const struct link_prefix *prefix = &link->hello.addresses[i];
        if (prefix->prefix_length <= 128 &&
            ip_address_is_v4(&prefix->address) == ip_address_is_v4(remote) &&
            ip_address_in_prefix(remote, &prefix->address, prefix->prefix_length))
            return true;
    }
    return ip_address_is_v4(remote) ? link->hello.gateway_v4 != 0 : link->hello.gateway_v6 != 0;
}

/* Whether the kernel serves this address whatever the engine has. */
static bool is_kernels(const struct ip_address *address, struct policy_reason *reason)
{
    if (ip_address_is_loopback(address) && !policy_loopback)
        *reason = (struct policy_reason){.reason = SOCKET_NOTE_LOOPBACK};
    else if (ip_address_is_multicast(address))
        *reason = (struct policy_reason){.reason = SOCKET_NOTE_MULTICAST};
    else
        return false;
    return true;
}

/* ---- Calls -------------------------------------------------------------------------------- */

struct engine_link *policy_for_bind(const struct ip_endpoint *local, struct policy_reason *reason)
{
    if (is_kernels(&local->address, reason))
        return NULL;
    struct engine_link *link = link_by_rules(NULL, LINK_POLICY_BIND, local, reason);
    if (link == NULL || ip_address_is_any(&local->address) || is_local(link, &local->address))
        return link;
    *reason = (struct policy_reason){.reason = SOCKET_NOTE_NOT_LOCAL};
    return NULL;
}

bool policy_for_listen(const struct engine_link *link, const struct ip_endpoint *local,
                       struct policy_reason *reason)
{
    uint32_t own = find_rule(own_rules, own_rule_count, LINK_POLICY_LISTEN, local);
    return rules_allow(link, own, LINK_POLICY_LISTEN, local, reason);
}

struct engine_link *policy_for_connect(struct engine_link *link, bool is_bound,
                                       const struct ip_endpoint *remote,
                                       struct policy_reason *reason)
{
    if (is_kernels(&remote->address, reason))
        return NULL;
    if (!is_bound)
        link = link_by_rules(link, LINK_POLICY_CONNECT, remote, reason);
    if (link == NULL || is_reachable(link, &remote->address))
        return link;
    *reason = (struct policy_reason){.reason = SOCKET_NOTE_NO_ROUTE};
    return NULL;
}
