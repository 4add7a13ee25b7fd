/**
 * @file policy_rule.h
 * The rules by which sockets are offloaded or left to the kernel: their text, as in pnod's
 * configuration and in PNO_POLICY, and whether one fits a call. What becomes of a socket that no
 * rule fits is the library's affair (hostlib/policy.h).
 *
 *   ACTION [CALL...] [KEY=VALUE...]
 *
 *   ACTION   offload | kernel
 *   CALL     bind | listen | connect      none: all three
 *   address=ADDRESS[/LENGTH]              of the call: local for bind and listen, remote for
 * connect port=N | port=N-M                     likewise program=NAME | program=/PATH          a
 * shell pattern of the program's name, or of its path uid=N | uid=N-M effective user id
 *
 * All that a rule names must fit; the first rule that fits decides.
 */
#ifndef PNO_HOSTLINK_POLICY_RULE_H
#define PNO_HOSTLINK_POLICY_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ip_address.h"
#include "hostlink/abi.h"

/** What a rule is held against. */
struct link_policy_subject {
    enum link_policy_call call;
    struct ip_endpoint endpoint; /**< bind, listen: local; connect: remote */
    uint32_t uid;                /**< effective */
    const char *program_name;    /**< the kernel's name of the program; "" if not known */
    const char *program_path;    /**< its executable's path; "" if not known */
};

/**
 * Parse one rule.
 * @param problem  filled with one line, without the rule's own text, if it is malformed.
 * @return 0 or -EINVAL.
 */
int link_policy_parse(const char *text, struct link_policy_rule *rule, char *problem,
                      size_t problem_bytes);

/**
 * Parse rules separated by ';'; empty ones don't count.
 * @param count  how many there were.
 * @return 0; -EINVAL: `problem` says which rule and why; *count is 0 then.
 */
int link_policy_parse_list(const char *text, struct link_policy_rule rules[LINK_POLICY_RULES_MAX],
                           uint32_t *count, char *problem, size_t problem_bytes);

/** Whether a rule fits. The rule may come from shared memory: whatever it holds is survived. */
bool link_policy_matches(const struct link_policy_rule *rule,
                         const struct link_policy_subject *subject);

/** The first of the rules that fits, counted from 0; -1: none. */
int link_policy_find(const struct link_policy_rule *rules, uint32_t count,
                     const struct link_policy_subject *subject);

#endif
