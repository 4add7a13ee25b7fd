/**
 * @file eal.h
 * DPDK's environment: started quietly, privately (several engines run side by side), without huge
 * pages unless asked. Engine core i is lcore i + 1; the control thread is lcore 0 and shares the
 * first core's CPU.
 */
#ifndef PNO_ENGINE_EAL_H
#define PNO_ENGINE_EAL_H

#include <stddef.h>

#include "engine/options.h"

/**
 * Start DPDK and probe the port's device.
 * @param problem  filled with one line on failure.
 * @return 0 or a negative errno.
 */
int eal_start(const struct engine_options *options, char *problem, size_t problem_bytes);

/** Stop DPDK. */
void eal_stop(void);

/** The lcore that runs engine core `index`. */
static inline unsigned eal_core_lcore(unsigned index)
{
    return index + 1;
}

#endif
