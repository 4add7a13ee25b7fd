/**
 * @file options.h
 * What an operator can set, by command line or configuration file. Text and numbers only: nothing
 * here opens, resolves or starts anything.
 */
#ifndef PNO_ENGINE_OPTIONS_H
#define PNO_ENGINE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "core/stack.h"
#include "hostlink/abi.h"

#define OPTIONS_TEXT_MAX 256

struct engine_options {
    char port[OPTIONS_TEXT_MAX];        /**< DPDK device arguments; empty: none given */
    char socket_path[OPTIONS_TEXT_MAX]; /**< control socket */
    unsigned address_count;
    struct stack_prefix addresses[STACK_PREFIXES_MAX];
    bool has_gateway_v4, has_gateway_v6;
    struct ip_address gateway_v4, gateway_v6;
    unsigned core_count;
    unsigned cpus[LINK_CORES_MAX]; /**< the CPU of each engine core */
    bool has_mac;
    uint8_t mac[6];
    uint16_t mtu;
    bool poll;          /**< never sleep */
    uint32_t spin_us;   /**< look around for this long before sleeping */
    bool huge;          /**< DPDK on huge pages */
    uint32_t arena_mib; /**< of each tenant: half receive, half host region */
    uint32_t connections_max;
    char dma[OPTIONS_TEXT_MAX];
    struct stack_config stack; /**< only what sysctls set: tcp, and the range of local ports */
    uint32_t policy_count;
    struct link_policy_rule policy[LINK_POLICY_RULES_MAX];
    enum log_level log_level;
};

void engine_options_init(struct engine_options *options);

/**
 * Set one option from text: the one place where values are checked, used by the command line and
 * by the configuration file alike. List options (addr, cores, policy) may be set more than once.
 * @param name     long name without dashes, as in --help.
 * @param value    its text; "1"/"0" or "true"/"false" for switches.
 * @param problem  filled with one line when the value is refused.
 * @return 0; -ENOENT: no such option; -EINVAL: value refused, see problem.
 */
int engine_options_set(struct engine_options *options, const char *name, const char *value,
                       char *problem, size_t problem_bytes);

/** Parse the command line (and --config FILE within it) into initialized options; exits with a
    message on mistakes. */
void engine_options_parse(struct engine_options *options, int argc, char **argv);

#endif
