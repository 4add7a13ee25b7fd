/**
 * @file namespace_sysctls.h
 * The sysctls of the network namespace that pnod runs in: what an operator has set for the kernel's
 * TCP there holds for the engine's.
 */
#ifndef PNO_ENGINE_NAMESPACE_SYSCTLS_H
#define PNO_ENGINE_NAMESPACE_SYSCTLS_H

#include "core/stack.h"

/**
 * Take them over, but for those that pnod has a default of its own for: congestion control, path
 * MTU probing and the keys of fast open. A warning names each whose value pnod does not have.
 */
void namespace_sysctls_follow(struct stack_config *config);

#endif
