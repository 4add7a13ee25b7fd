/**
 * @file sysctl.h
 * Linux's sysctls of TCP, by their names and with their values, as settings of a stack: so that
 * what an operator knows of net.ipv4.* is true of this stack as well. Source: Linux
 * Documentation/networking/ip-sysctl.rst, net/ipv4/sysctl_net_ipv4.c.
 */
#ifndef PNO_CORE_SYSCTL_H
#define PNO_CORE_SYSCTL_H

#include "core/stack.h"

/**
 * Set one.
 * @param name   as `sysctl` tells it: net.ipv4.tcp_keepalive_time.
 * @param value  as `sysctl` tells it; several numbers with blanks or tabs between.
 * @return 0; -ENOENT: no sysctl that this stack has; -EINVAL: no value of it that this stack has.
 */
int stack_sysctl_set(struct stack_config *config, const char *name, const char *value);

/** Their names in turn, those included of which the stack has one value only; NULL at the end. */
const char *stack_sysctl_name(unsigned index);

#endif
