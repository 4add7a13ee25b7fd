/**
 * @file dpdk.h
 * What we use of DPDK. To be included first: it has a macro NS_PER_S of its own, a floating-point
 * number, that base/time_units.h must be able to replace.
 */
#ifndef PNO_ENGINE_DPDK_H
#define PNO_ENGINE_DPDK_H

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_interrupts.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_prefetch.h>
#include <rte_ring.h>

#undef NS_PER_S

#endif
